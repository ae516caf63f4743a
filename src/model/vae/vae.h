/* The variational autoencoder of latent diffusion (Rombach et al. 2022), as diffusers' AutoencoderKL. */
#ifndef LIMN_MODEL_VAE_VAE_H
#define LIMN_MODEL_VAE_VAE_H

#include "base/json.h"
#include "model/layer/net.h"

enum { VAE_MAX_BLOCKS = 8 };

struct vae_config {
    int64_t in_channels, out_channels, latent_channels, layers_per_block, groups;
    int64_t width[VAE_MAX_BLOCKS]; /* block_out_channels */
    size_t blocks;
    int64_t sample_size;
    bool mid_attention, quant_conv, post_quant_conv;
    double scaling_factor, shift_factor;
};

MUST_USE bool vae_config_read(struct vae_config *c, const char *path, struct err *e);
/* The same from parsed JSON; path names it in errors. */
MUST_USE bool vae_config_from_json(struct vae_config *c, const json_t *j, const char *path, struct err *e);
MUST_USE json_t *vae_config_json(const struct vae_config *c);
/* Pixels per latent cell along a side: 2^(blocks - 1). */
int64_t vae_factor(const struct vae_config *c);

/* image [n, h, w, in_channels] in -1..1, sides multiples of the factor -> mean and log variance of the latent, one after
 * the other in the last dimension: [n, h/f, w/f, 2 * latent_channels]. Not scaled. */
struct value vae_encode(struct net *n, const struct vae_config *c, struct value image);
/* latent [n, h, w, latent_channels], not scaled (divide by scaling_factor and add shift_factor first) -> image in about
 * -1..1, [n, h*f, w*f, out_channels]. */
struct value vae_decode(struct net *n, const struct vae_config *c, struct value latent);

#endif
