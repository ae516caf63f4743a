/* A pool of scenes as latents, made once and read again and again: encoding a picture costs as much as training on it.
 * The file is keyed by content: another dataset, VAE, size, seed or choice of scenes makes it anew. Captions are not in it:
 * a scene's words can be said in many ways, and each look at it says them in another. */
#ifndef LIMN_TRAIN_LATENTS_H
#define LIMN_TRAIN_LATENTS_H

#include "dataset/scene.h"
#include "graph/backend.h"
#include "model/vae/vae.h"

struct latents_options {
    const struct dataset *dataset;  /* loaded; borrowed */
    struct scene_options scenes;
    const struct vae_config *vae;
    const struct weights *weights;  /* of the VAE; borrowed while opening */
    int64_t size;                   /* pixels of a side */
    int64_t count;                  /* scenes in the pool */
    uint64_t seed;                  /* scene i is scene_choose(dataset, scenes, seed, i) */
    enum dtype type;                /* to encode in */
};

struct latents {
    struct weights *file;
    const uint16_t *data; /* f16 [count, h, w, c], the posterior's mean times scaling_factor; borrowed from file */
    int64_t count, height, width, channels;
};

/* Opens `path`, or makes it first (atomically; progress, stoppable). Release with latents_release. */
MUST_USE bool latents_open(struct latents *l, const char *path, const struct latents_options *o,
                           const struct backend *backend, const struct progress *progress, struct err *e);
void latents_release(struct latents *l);
/* Scene i as f32 [h, w, c]. */
void latents_read(const struct latents *l, int64_t i, float *out);

#endif
