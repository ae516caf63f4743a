/* The names that single files have for the tensors of our models ("latent diffusion" names, after the code of Rombach et al. 2022),
 * computed from a model's layout, not listed.
 *
 * source  the modules of CompVis/latent-diffusion (UNetModel, AutoencoderKL) and OpenCLIP; judged against diffusers' converters
 *         (tests/reference/make_single.py). */
#ifndef LIMN_MODEL_FAMILY_LDM_NAMES_H
#define LIMN_MODEL_FAMILY_LDM_NAMES_H

#include "base/json.h"
#include "weights/name_map.h"

enum { LDM_MAX_LEVELS = 8, LDM_MAX_LAYERS = 16 };

/* What the names of a UNet depend on. Levels from the finest. */
struct ldm_unet {
    size_t levels;
    int64_t layers[LDM_MAX_LEVELS];                                     /* resnets on the way down; one more on the way up */
    bool down_attention[LDM_MAX_LEVELS], up_attention[LDM_MAX_LEVELS];  /* both by level */
};
/* ... of a VAE. */
struct ldm_vae {
    size_t levels;
    int64_t layers;
};

/* Each adds the pairs of a part (outer: LDM's names below the part's prefix, inner: diffusers'). */
MUST_USE bool ldm_unet_names(struct name_map *m, const struct ldm_unet *u, struct err *e);
/* What a ControlNet has beside a UNet's way down: its picture's convolutions and those that begin at zero. */
MUST_USE bool ldm_control_names(struct name_map *m, struct err *e);
MUST_USE bool ldm_vae_names(struct name_map *m, const struct ldm_vae *v, struct err *e);
/* Only inner names that files of old diffusers have for the attention in a VAE: for looking up outer names. */
MUST_USE bool ldm_vae_old_names(struct name_map *m, struct err *e);
/* A tiny autoencoder as its maker publishes it: numbered layers, of which the decoder's first is no convolution. whole: encoder and
 * decoder in one file, each behind a word; else the decoder alone. */
MUST_USE bool ldm_tiny_vae_names(struct name_map *m, bool whole, struct err *e);
/* OpenCLIP's text tower with `layers` layers <-> transformers' CLIPTextModel(WithProjection). */
MUST_USE bool ldm_openclip_names(struct name_map *m, int64_t layers, struct err *e);
/* transformers' own names, of old files also without their first word. */
MUST_USE bool ldm_clip_names(struct name_map *m, struct err *e);
/* Everything keeps its name. */
MUST_USE bool ldm_same_names(struct name_map *m, struct err *e);

/* The layouts from diffusers' configs, which a reader of configs has checked. */
void ldm_unet_of_config(struct ldm_unet *u, const json_t *config);
void ldm_vae_of_config(struct ldm_vae *v, const json_t *config);

#endif
