/* The denoiser of Stable Diffusion, as diffusers' UNet2DConditionModel: config and graph. */
#ifndef LIMN_MODEL_DENOISER_UNET_H
#define LIMN_MODEL_DENOISER_UNET_H

#include "base/json.h"
#include "model/layer/net.h"

enum { UNET_MAX_BLOCKS = 8, UNET_MAX_LAYERS = 16 };

struct unet_config {
    int64_t in_channels, out_channels, sample_size, cross_attention_dim, groups;
    size_t blocks;
    int64_t width[UNET_MAX_BLOCKS];            /* block_out_channels */
    int64_t layers[UNET_MAX_BLOCKS];           /* layers_per_block */
    int64_t heads[UNET_MAX_BLOCKS];            /* "attention_head_dim" (which means heads) or "num_attention_heads" */
    int64_t depth[UNET_MAX_BLOCKS];            /* transformer_layers_per_block: on the way down, up and, the last, in the middle */
    /* Where single transformers differ from that (lists in lists, reverse_transformer_layers_per_block); 0: they do not.
     * Up blocks are numbered as they run. */
    int64_t down_depth[UNET_MAX_BLOCKS][UNET_MAX_LAYERS], up_depth[UNET_MAX_BLOCKS][UNET_MAX_LAYERS + 1];
    bool no_middle;                            /* mid_block_type null */
    bool down_attention[UNET_MAX_BLOCKS], up_attention[UNET_MAX_BLOCKS];
    bool use_linear_projection, flip_sin_to_cos;
    double freq_shift, eps;
    int64_t downsample_padding;
    bool text_time;           /* addition_embed_type: SDXL's pooled text and picture sizes are added to the timestep */
    int64_t time_ids_dim;     /* addition_time_embed_dim: sinusoids for each time id; 0: missing */
    int64_t addition_width;   /* projection_class_embeddings_input_dim: pooled text and sinusoids; 0: missing */
    int64_t text_dim;         /* encoder_hid_dim: the text's width before it is projected to cross_attention_dim; 0: it is not */
    int64_t guidance_dim;     /* time_cond_proj_dim: sinusoids of the guidance (latent consistency models); 0: none */
};

/* Inputs that some configs ask for; VALUE_NONE where this one does not. */
struct unet_extra {
    struct value pooled;   /* text_time: [n, ..] of n->type */
    struct value time_ids; /* text_time: f32 [n, k]; pooled's width + k * time_ids_dim is addition_width */
    struct value guidance; /* guidance_dim: f32 [n], 1000 (cfg - 1) */
    bool controlled;       /* the graph gets inputs "residual.0", ... of n->type, in the order and the shapes of controlnet.h, which are added to
                              the skip connections and to the middle */
};

/* Of a text's states, as the denoiser takes them. */
int64_t unet_text_width(const struct unet_config *c);

/* ERR_FORMAT names file, key and value; ERR_TYPE for a part of the family that this graph does not have. */
MUST_USE bool unet_config_read(struct unet_config *c, const char *path, struct err *e);
/* The same from parsed JSON; path names it in errors. */
MUST_USE bool unet_config_from_json(struct unet_config *c, const json_t *j, const char *path, struct err *e);
MUST_USE json_t *unet_config_json(const struct unet_config *c);

/* latent [n, h, w, in_channels] of n->type, timestep f32 [n], text [n, t, unet_text_width] of n->type. extra may be NULL:
 * none. Gives the prediction [n, h, w, out_channels]. ERR_ARG in the graph where the config asks for an input that is not
 * there. */
struct value unet(struct net *n, const struct unet_config *c, struct value latent, struct value timestep,
                  struct value text, const struct unet_extra *extra);

#endif
