/* The variational autoencoder of latent diffusion (Rombach et al. 2022), as diffusers' AutoencoderKL, and its small stand-in, the
 * tiny autoencoder (TAESD), as diffusers' AutoencoderTiny. */
#ifndef LIMN_MODEL_VAE_VAE_H
#define LIMN_MODEL_VAE_VAE_H

#include "base/json.h"
#include "model/layer/net.h"

enum { VAE_MAX_BLOCKS = 8, VAE_MAX_NORMED = 64 };

enum vae_kind { VAE_KL, VAE_TINY };

struct vae_config {
    enum vae_kind kind;
    int64_t in_channels, out_channels, latent_channels, layers_per_block, groups;
    int64_t width[VAE_MAX_BLOCKS]; /* block_out_channels */
    size_t blocks;
    int64_t sample_size;
    bool mid_attention, quant_conv, post_quant_conv;
    double scaling_factor, shift_factor;
    /* latents_mean and latents_std, [latent_channels]: the denoiser's latents are normed with them; count 0: they are not. */
    size_t normed;
    double mean[VAE_MAX_NORMED], deviation[VAE_MAX_NORMED];
    int64_t encoder_layers[VAE_MAX_BLOCKS], decoder_layers[VAE_MAX_BLOCKS]; /* VAE_TINY: blocks of each size */
};

MUST_USE bool vae_config_read(struct vae_config *c, const char *path, struct err *e);
/* The same from parsed JSON; path names it in errors. */
MUST_USE bool vae_config_from_json(struct vae_config *c, const json_t *j, const char *path, struct err *e);
/* Of VAE_KL. */
MUST_USE json_t *vae_config_json(const struct vae_config *c);
/* Pixels per latent cell along a side: 2^(blocks - 1). */
int64_t vae_factor(const struct vae_config *c);

/* image [n, h, w, in_channels] in -1..1, sides multiples of the factor -> mean and log variance of the latent, one after
 * the other in the last dimension: [n, h/f, w/f, 2 * latent_channels]. Not scaled. A tiny autoencoder has no variance: -30. */
struct value vae_encode(struct net *n, const struct vae_config *c, struct value image);
/* latent [n, h, w, latent_channels], not scaled (vae_unscale) -> image in about -1..1, [n, h*f, w*f, out_channels].
 * force_upcast in a config says that the decoder's sums leave the range of f16. It asks for nothing here: f32 and bf16, which
 * has f32's range, are all that a net computes in. */
struct value vae_decode(struct net *n, const struct vae_config *c, struct value latent);

/* Host arithmetic on latents [n, latent_channels, cells], in place: from the denoiser's to the VAE's,
 *     x / scaling_factor, or x deviation / scaling_factor + mean,
 * and back. */
void vae_unscale(const struct vae_config *c, float *latents, int64_t n, int64_t cells);
void vae_scale(const struct vae_config *c, float *latents, int64_t n, int64_t cells);

#endif
