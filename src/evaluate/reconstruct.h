/* A model's autoencoder alone: pictures to the mean of their latents and back. */
#ifndef LIMN_EVALUATE_RECONSTRUCT_H
#define LIMN_EVALUATE_RECONSTRUCT_H

#include "graph/program.h"
#include "model/layer/net.h"
#include "model/vae/vae.h"

struct reconstruction {
    int64_t side, batch;
    enum dtype type;
    struct program *program;
    struct value output;
    struct params params;
    struct weights *weights;
    float *input; /* [batch, side, side, 3] in -1..1 */
    void *typed;  /* the same in `type` */
    float *decoded;
};
/* Opens <folder>/vae/config.json and the weights beside it, for pictures of side x side. backend is borrowed. Release with
 * reconstruction_release (also after a failure).
 * errors  those of the files; ERR_ARG if side is no multiple of the VAE's factor, ERR_TYPE if it is not one for RGB. */
MUST_USE bool reconstruction_init(struct reconstruction *r, const char *folder, int64_t side, int64_t batch, enum dtype type,
                                  const struct backend *backend, struct err *e);
void reconstruction_release(struct reconstruction *r);
/* rgb[count, side, side, 3] u8 to out, count <= batch. Values are clipped and rounded as those of a drawn picture. */
MUST_USE bool reconstruction_run(struct reconstruction *r, const uint8_t *rgb, int64_t count, uint8_t *out, struct err *e);

#endif
