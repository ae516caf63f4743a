/* The denoiser of Stable Diffusion, as diffusers' UNet2DConditionModel: config and graph. */
#ifndef LIMN_MODEL_DENOISER_UNET_H
#define LIMN_MODEL_DENOISER_UNET_H

#include "base/json.h"
#include "model/layer/net.h"

enum { UNET_MAX_BLOCKS = 8 };

struct unet_config {
    int64_t in_channels, out_channels, sample_size, cross_attention_dim, groups;
    size_t blocks;
    int64_t width[UNET_MAX_BLOCKS];            /* block_out_channels */
    int64_t layers[UNET_MAX_BLOCKS];           /* layers_per_block */
    int64_t heads[UNET_MAX_BLOCKS];            /* "attention_head_dim" (which means heads) or "num_attention_heads" */
    int64_t depth[UNET_MAX_BLOCKS];            /* transformer_layers_per_block */
    bool down_attention[UNET_MAX_BLOCKS], up_attention[UNET_MAX_BLOCKS];
    bool use_linear_projection, flip_sin_to_cos;
    double freq_shift, eps;
    int64_t downsample_padding;
};

/* ERR_FORMAT names file, key and value; ERR_TYPE for a part of the family that this graph does not have. */
MUST_USE bool unet_config_read(struct unet_config *c, const char *path, struct err *e);
MUST_USE json_t *unet_config_json(const struct unet_config *c);

/* latent [n, h, w, in_channels] of n->type, timestep f32 [n], text [n, t, cross_attention_dim] of n->type.
 * Gives the prediction [n, h, w, out_channels]. */
struct value unet(struct net *n, const struct unet_config *c, struct value latent, struct value timestep,
                  struct value text);

#endif
