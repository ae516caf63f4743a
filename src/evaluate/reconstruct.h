/* A model's autoencoder alone: pictures to the mean of their latents, and back. */
#ifndef LIMN_EVALUATE_RECONSTRUCT_H
#define LIMN_EVALUATE_RECONSTRUCT_H

#include "graph/program.h"
#include "model/family/model_source.h"
#include "model/layer/net.h"
#include "model/vae/vae.h"

/* Where a VAE comes from. */
struct vae_files {
    struct model_source source;
    struct vae_config config;
    struct weights *weights;
};
/* The VAE of a model folder or file (of a folder only vae/ is needed), or the one that files->vae names. Release with
 * vae_files_release (also after a failure).
 * errors  those of the files; ERR_TYPE if it is not one for RGB. */
MUST_USE bool vae_files_open(struct vae_files *v, const struct model_files *files, struct err *e);
void vae_files_release(struct vae_files *v);

struct reconstruction {
    struct vae_config config;
    int64_t side, batch;
    enum dtype type;
    bool decodes;
    struct program *program;
    struct value output, mean; /* pictures, if it decodes; latents */
    struct params params;
    float *input;   /* [batch, side, side, 3] in -1..1 */
    void *typed;    /* the same in `type` */
    float *decoded; /* what came of it, [batch, side, side, 3] or latents */
};
/* For pictures of side x side. decodes: reconstruction_run can be called; else only reconstruction_encode, with less memory.
 * vae (while r lives) and backend are borrowed. Release with reconstruction_release (also after a failure).
 * errors  ERR_ARG if side is no multiple of the VAE's factor, those of making a program. */
MUST_USE bool reconstruction_init(struct reconstruction *r, const struct vae_files *vae, int64_t side, int64_t batch, bool decodes,
                                  enum dtype type, const struct backend *backend, struct err *e);
void reconstruction_release(struct reconstruction *r);
/* rgb[count, side, side, 3] u8 to out, count <= batch. Values are clipped and rounded as those of a drawn picture. */
MUST_USE bool reconstruction_run(struct reconstruction *r, const uint8_t *rgb, int64_t count, uint8_t *out, struct err *e);

/* Latents: cells of a side, channels. */
int64_t reconstruction_cells(const struct reconstruction *r);
int64_t reconstruction_channels(const struct reconstruction *r);
/* rgb as above to latents[count, cells, cells, channels]: the posterior's mean as the denoiser has it (times scaling_factor, or
 * normed by latents_mean and latents_std). */
MUST_USE bool reconstruction_encode(struct reconstruction *r, const uint8_t *rgb, int64_t count, float *latents, struct err *e);

#endif
