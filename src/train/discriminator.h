/* A patch discriminator: a small convolutional net that says for each patch of a picture whether it looks real, and so teaches a
 * VAE the fine texture that a mean of differences blurs.
 * source  Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 6.1.2 (PatchGAN, 70x70
 *         patches), with group norm in place of batch norm; hinge losses and the late start as in Esser et al. 2021, "Taming
 *         Transformers for High-Resolution Image Synthesis". */
#ifndef LIMN_TRAIN_DISCRIMINATOR_H
#define LIMN_TRAIN_DISCRIMINATOR_H

#include "model/layer/net.h"

/* Names of its weights begin with this part; they are learned by discriminator_loss alone and never exported. */
#define DISCRIMINATOR_PART "discriminator"

enum { DISCRIMINATOR_LEAST_PX = 32 }; /* smaller pictures have no patch left */

/* picture [n, h, w, 3] in -1..1, h and w at least DISCRIMINATOR_LEAST_PX -> [n, h', w', 1]: above 0 for real, below for made.
 * width: channels of the first layer, a multiple of 4; each of the next three has twice as many. net->part must be DISCRIMINATOR_PART. Asking twice uses the same weights. Errors stick in the graph. */
struct value discriminator(struct net *net, struct value picture, int64_t width);

/* What the discriminator learns: (mean max(0, 1 - real) + mean max(0, 1 + made)) / 2, one f32 number. */
struct value discriminator_loss(struct graph *g, struct value real, struct value made);
/* What the maker is told: minus the mean of `made`, one f32 number. */
struct value discriminator_opinion(struct graph *g, struct value made);

#endif
