/* CLIP's picture encoder (Radford et al. 2021), as transformers' CLIPVisionModelWithProjection: config and graph. */
#ifndef LIMN_MODEL_VISION_CLIP_VISION_H
#define LIMN_MODEL_VISION_CLIP_VISION_H

#include "model/text/clip.h"

struct clip_vision_config {
    struct clip_config tower; /* sizes, heads, layers, activation, eps, projection_dim; the rest is not looked at */
    int64_t image_size, patch_size;
};

/* From the object "vision_config" of a CLIPModel's config.json, with the model's projection_dim. ERR_FORMAT names path and key. */
MUST_USE bool clip_vision_config_from_json(struct clip_vision_config *c, const json_t *j, int64_t projection_dim, const char *path,
                                           struct err *e);
/* picture [n, image_size, image_size, 3] of n->type, normed by CLIP's means and deviations -> [n, projection_dim]. */
struct value clip_vision(struct net *n, const struct clip_vision_config *c, struct value picture);

#endif
