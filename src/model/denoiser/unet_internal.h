/* The first half of a UNet, which a ControlNet is, too. */
#ifndef LIMN_MODEL_DENOISER_UNET_INTERNAL_H
#define LIMN_MODEL_DENOISER_UNET_INTERNAL_H

#include "model/denoiser/unet.h"

enum { UNET_MOST_SKIPS = UNET_MAX_BLOCKS * (UNET_MAX_LAYERS + 1) + 1 };

struct unet_way {
    struct net *n;
    const struct unet_config *c;
    struct value time, text; /* silu of the time embedding; the text states */
    struct value skips[UNET_MOST_SKIPS]; /* connections to the way up, in their order */
    size_t skip_count;
};

/* The embeddings; the inputs are unet()'s. */
struct unet_way unet_way_begin(struct net *n, const struct unet_config *c, struct value timestep, struct value text, const struct unet_extra *extra);
/* The way down and the middle, from what conv_in gives. Fills skips; gives what the middle gives. */
struct value unet_way_down(struct unet_way *w, struct value x);

#endif
