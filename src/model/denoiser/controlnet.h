/* A ControlNet, as diffusers' ControlNetModel: a copy of a UNet's way down that sees a picture, too, and says what is to be added to the
 * UNet's skip connections and to its middle.
 *
 * source  Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models"; diffusers 0.42.1. */
#ifndef LIMN_MODEL_DENOISER_CONTROLNET_H
#define LIMN_MODEL_DENOISER_CONTROLNET_H

#include "model/denoiser/unet.h"

enum { CONTROLNET_MOST_HINTS = 8, CONTROLNET_MOST = UNET_MAX_BLOCKS * (UNET_MAX_LAYERS + 1) + 2 };

struct controlnet_config {
    struct unet_config unet;      /* what its way up would be is the mirror of the way down */
    int64_t picture_channels;     /* conditioning_channels */
    int64_t hint[CONTROLNET_MOST_HINTS]; /* conditioning_embedding_out_channels; each but the first halves the picture */
    size_t hints;
    bool bgr;                     /* controlnet_conditioning_channel_order: the picture's channels are turned round */
    bool means;                   /* global_pool_conditions: of each residual only the mean over the picture counts */
};

/* From parsed config.json; path names it in errors, which are those of unet_config_from_json. */
MUST_USE bool controlnet_config_from_json(struct controlnet_config *c, const json_t *j, const char *path, struct err *e);

/* Pixels of the picture for a cell of the latent: 2^(hints - 1). */
int64_t controlnet_cell(const struct controlnet_config *c);

/* latent, timestep, text, extra: as the UNet has them. picture [n or 1, h cell, w cell, picture_channels] of n->type, 0..1.
 * Gives the residuals into out[CONTROLNET_MOST], skip connections in their order, then the middle; returns how many. They are neither scaled
 * nor made means. Errors stick in the graph. */
size_t controlnet(struct net *n, const struct controlnet_config *c, struct value latent, struct value picture, struct value timestep,
                  struct value text, const struct unet_extra *extra, struct value *out);

#endif
