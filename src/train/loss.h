/* Losses as graphs. Each gives one f32 number (f64 where the graph is in f64). */
#ifndef LIMN_TRAIN_LOSS_H
#define LIMN_TRAIN_LOSS_H

#include "graph/ops.h"

/* Mean over the batch of weight * mean over elements of (prediction - target)^2. prediction any type [n, h, w, c], target
 * f32 of the same shape, weight f32 [n]. */
struct value loss_weighted_mse(struct graph *g, struct value prediction, struct value target, struct value weight);

/* What a VAE is judged by. Each weight may be 0: that part is then not computed. */
struct vae_loss_weights {
    double l1, l2;   /* mean |d|, mean d^2 of the pixels, d = decoded - picture */
    double gradient; /* mean |difference of d between neighbours|, summed over 3 scales (1, 1/2, 1/4) and both directions */
    double kl;       /* mean over everything of (mean^2 + exp(logvar) - 1 - logvar) / 2 (Kingma and Welling 2014) */
};
/* The latent that is decoded: mean + exp(logvar / 2) noise. moments [n, h, w, 2c] of any type, noise f32 [n, h, w, c];
 * mean and logvar are given back in f32. (diffusers clamps logvar to -30..20 before this; the KL part keeps a training far
 * inside, so nothing is clamped here.) */
struct value loss_vae_sample(struct graph *g, struct value moments, struct value noise, struct value *mean,
                             struct value *logvar);
struct value loss_vae(struct graph *g, struct value decoded, struct value picture, struct value mean,
                      struct value logvar, const struct vae_loss_weights *w);

#endif
