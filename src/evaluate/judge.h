/* Judges of drawn pictures: which picture of a dataset is nearest, which colour lies behind it. */
#ifndef LIMN_EVALUATE_JUDGE_H
#define LIMN_EVALUATE_JUDGE_H

#include "dataset/scene.h"

enum { LOOK_SIDE = 32 };

/* All pictures of a dataset, each painted as a scene would on white and shrunk by area to what the judge sees:
 * RGB of 32x32 pixels for a whole canvas; for half a canvas, as of a picture beside another, 32 wide and 64 high (so that the
 * picture itself is again about 32x32). */
struct looks {
    const struct dataset *dataset; /* borrowed */
    int side_px;                   /* of a canvas */
    bool half;
    size_t each_bytes;
    uint8_t *pixels; /* [pictures, each_bytes] */
};
/* The dataset must be loaded. Release with looks_release (also after a failure).
 * errors  ERR_ARG if side_px is no multiple of 32 (64 for halves), ERR_NOMEM. */
MUST_USE bool looks_init(struct looks *l, const struct dataset *d, int side_px, bool half, struct err *e);
void looks_release(struct looks *l);

/* What the judge sees of a canvas rgb[side_px, side_px, 3]: all of it, or half `which` (0 left, 1 right).
 * look[each_bytes]. */
void looks_of(const struct looks *l, const uint8_t *rgb, int which, uint8_t *look);

/* Among which pictures the nearest is looked for; `asked` is always among them. */
enum looks_among {
    AMONG_TRAINED,  /* training pictures of the asked picture's style */
    AMONG_STYLE,    /* the same and the held-out ones */
    AMONG_CONCEPT,  /* all pictures of the asked picture's concept, whatever the style */
};
struct verdict {
    uint32_t nearest;  /* the first of the nearest pictures in the order of the dataset, or `asked` if it is one of them */
    bool right;        /* nearest is `asked`: no other picture is nearer (some sets have one drawing for two concepts) */
    long rank;         /* how many are nearer than `asked` */
    long candidates;
};
struct verdict looks_judge(const struct looks *l, const uint8_t *look, uint32_t asked, enum looks_among among);

/* The median of the border's pixels, channel by channel: a frame of 1/32 of the side. 0xRRGGBB. */
uint32_t border_colour(const uint8_t *rgb, int side_px);
/* Index of the scene colour with the least squared distance. */
int nearest_scene_colour(uint32_t rgb);

/* Peak signal to noise ratio from a sum of squared differences of u8 values. INFINITY for 0. */
double psnr_of(double squares, double count);

/* The interval in which the true share lies with 95 % confidence, in [0, 1] (Wilson 1927). asked 0: all of [0, 1]. */
void share_interval(long right, long asked, double *low, double *high);

#endif
