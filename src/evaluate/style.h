/* How far the look of one set of pictures is from that of another, whatever they show.
 *
 * A style is the spread of what lies at any place of its pictures, as Gatys et al. 2016 ("Image Style Transfer Using Convolutional Neural
 * Networks") keep of features which occur together and forget where; between sets it is the Frechet distance of such spreads, as the
 * single-image FID of Shaham et al. 2019 ("SinGAN") takes it over the places of a network's inner layer. Three clouds of points:
 *
 *   latents  the cells of the latents of the model's own VAE
 *   colour   pixels at 32x32 in Oklab (Ottosson 2020, "A perceptual color space for image processing")
 *   shading  at places of the picture at 128x128, how steep the colour is over 1, 2 and 4 pixels: log(0.004 + length of the gradient in
 *            Oklab). What tells flat from soft from drawn with lines
 *
 * Of each the distance is the root of Frechet's squared one by the number of dimensions, every number in units of its standard deviation
 * in the reference: 0 is the same, 1 is as if every number were one deviation off. `style` is the mean of the three. Few pictures look
 * different by chance: compare with style_floor. */
#ifndef LIMN_EVALUATE_STYLE_H
#define LIMN_EVALUATE_STYLE_H

#include "base/progress.h"
#include "evaluate/gaussian.h"
#include "evaluate/picture_set.h"
#include "evaluate/reconstruct.h"

enum style_part { STYLE_LATENTS, STYLE_COLOUR, STYLE_SHADING, STYLE_PARTS };
extern const char *const style_part_names[STYLE_PARTS];

struct style {
    struct cloud part[STYLE_PARTS];
    int64_t pictures;
};
/* For pictures that this VAE encodes (vae only encodes; one picture at a time). */
MUST_USE bool style_init(struct style *s, const struct reconstruction *vae, struct err *e);
void style_release(struct style *s);
/* Adds a picture, RGB of any size: it is cut and resized as a training would. errors  of the VAE; ERR_NOMEM. */
MUST_USE bool style_add(struct style *s, struct reconstruction *vae, const struct image *image, struct err *e);
/* Adds at most `most` pictures of a set (0: all); those whose number is not `half` modulo 2 are left out (-1: none). */
MUST_USE bool style_add_set(struct style *s, struct reconstruction *vae, const struct picture_set *set, int64_t most, int half,
                            const struct progress *progress, struct err *e);

struct style_distance {
    double part[STYLE_PARTS], style;
};
/* errors  those of cloud_distance. */
MUST_USE bool style_distance(const struct style *of, const struct style *reference, struct style_distance *out, struct err *e);
/* Between the two halves of a set, each against the other as reference: the mean. */
MUST_USE bool style_floor(struct reconstruction *vae, const struct picture_set *set, int64_t most, struct style_distance *out,
                          const struct progress *progress, struct err *e);

/* sRGB bytes to Oklab: L 0..1, a and b about -0.4..0.4. */
void style_oklab(const uint8_t rgb[3], float lab[3]);

#endif
