/* CLIP's text encoder (Radford et al. 2021), as transformers' CLIPTextModel: config and graph. */
#ifndef LIMN_MODEL_TEXT_CLIP_H
#define LIMN_MODEL_TEXT_CLIP_H

#include "base/json.h"
#include "model/layer/net.h"

struct clip_config {
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, positions;
    enum unary act; /* quick_gelu or gelu */
    double eps;
};

/* Reads a text encoder's config.json. ERR_FORMAT names file, key and value; ERR_TYPE for another kind of model. */
MUST_USE bool clip_config_read(struct clip_config *c, const char *path, struct err *e);
/* What transformers reads back to the same model. Free with json_decref; NULL without memory. */
MUST_USE json_t *clip_config_json(const struct clip_config *c);

/* ids i32 [n, t], t <= positions. skip: how many of the last layers are left out (clip skip); the final norm is applied in
 * any case. Gives the states [n, t, hidden_size]. */
struct value clip_text(struct net *n, const struct clip_config *c, struct value ids, int64_t skip);

#endif
