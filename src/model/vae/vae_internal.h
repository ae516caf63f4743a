/* The kinds of autoencoders behind vae.h. */
#ifndef LIMN_MODEL_VAE_VAE_INTERNAL_H
#define LIMN_MODEL_VAE_VAE_INTERNAL_H

#include "model/vae/vae.h"

/* diffusers' AutoencoderTiny. errors as vae_config_from_json. */
MUST_USE bool vae_tiny_config(struct vae_config *c, const json_t *j, const char *path, struct err *e);
struct value vae_tiny_encode(struct net *n, const struct vae_config *c, struct value image);
struct value vae_tiny_decode(struct net *n, const struct vae_config *c, struct value latent);

#endif
