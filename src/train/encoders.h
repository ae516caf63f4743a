/* The parts of a model that a fine-tuning leaves as they are, run once for each text and picture: words -> states and pooled text,
 * pixels -> latents. Programs are made at the first use and stay until the release. */
#ifndef LIMN_TRAIN_ENCODERS_H
#define LIMN_TRAIN_ENCODERS_H

#include "model/family/folder.h"

struct encoder {
    struct program *program; /* NULL: not made */
    struct params params;
    struct value out, pooled;
    int64_t h, w; /* VAE: the pixels it was made for */
};

struct encoders {
    struct model_folder *model; /* borrowed */
    const struct backend *backend;
    enum dtype type;
    struct encoder text[TEXT_PARTS], vae;
};
void encoders_init(struct encoders *c, struct model_folder *model, const struct backend *backend, enum dtype type);
void encoders_release(struct encoders *c);

/* One row of ids through one encoder: states [tokens, text_width] get its columns; pooled [pooled_width] is written by the encoder
 * that pools (NULL: not wanted). */
MUST_USE bool encoders_row(struct encoders *c, enum model_part part, const int32_t *ids, float *states, float *pooled,
                           struct err *e);
/* All encoders; words are cut at their length. */
MUST_USE bool encoders_words(struct encoders *c, const char *words, float *states, float *pooled, struct err *e);
/* pixels [h, w, 3] in -1..1, sides multiples of the VAE's factor -> mean and deviation of the latent, scaled as the denoiser has it:
 * moments [2, h / f, w / f, channels]. ERR_FORMAT if it is not finite. */
MUST_USE bool encoders_picture(struct encoders *c, const float *pixels, int64_t h, int64_t w, float *moments, struct err *e);

#endif
