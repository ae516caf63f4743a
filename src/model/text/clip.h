/* CLIP's text encoder (Radford et al. 2021), as transformers' CLIPTextModel and CLIPTextModelWithProjection: config and graph.
 * OpenCLIP's encoders (SD 2, the second one of SDXL) are the same graph in diffusers' folders. */
#ifndef LIMN_MODEL_TEXT_CLIP_H
#define LIMN_MODEL_TEXT_CLIP_H

#include "base/json.h"
#include "model/layer/net.h"

struct clip_config {
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, positions;
    enum unary act; /* quick_gelu or gelu */
    double eps;
    int64_t end;            /* eos_token_id: whose state is pooled (clip_pooled_place) */
    int64_t projection_dim; /* of text_projection */
    bool projects;          /* CLIPTextModelWithProjection; the class says it, not config.json */
};

/* Reads a text encoder's config.json. ERR_FORMAT names file, key and value; ERR_TYPE for another kind of model. */
MUST_USE bool clip_config_read(struct clip_config *c, const char *path, struct err *e);
/* The same from parsed JSON; path names it in errors. */
MUST_USE bool clip_config_from_json(struct clip_config *c, const json_t *j, const char *path, struct err *e);
/* What transformers reads back to the same model. Free with json_decref; NULL without memory. */
MUST_USE json_t *clip_config_json(const struct clip_config *c);

/* ids i32 [n, t], t <= positions. skip: how many of the last layers are left out (clip skip); the final norm is applied in
 * any case. Gives the states [n, t, hidden_size]. */
struct value clip_text(struct net *n, const struct clip_config *c, struct value ids, int64_t skip);

/* The parts of clip_text. The words' vectors, times keep [n, t, 1] and plus vectors [n, t, hidden_size] (VALUE_NONE: as they are;
 * both or neither), plus the positions': [n, t, hidden_size]. */
struct value clip_embed(struct net *n, const struct clip_config *c, struct value ids, struct value keep, struct value vectors);
/* Layers [from, to) of the encoder. */
struct value clip_layers(struct net *n, const struct clip_config *c, struct value x, int64_t from, int64_t to);
/* One layer, below `at`; causal: a token sees those before it only (words do, patches of a picture see all). */
struct value clip_encoder_layer(struct net *n, const struct clip_config *c, struct value x, const char *at, bool causal);
struct value clip_norm(struct net *n, const struct clip_config *c, struct value x);
/* One vector for a text: the state at `place` (i32 [n]; row i of n texts counts from i * t) of the last layer's normed states, and
 * text_projection where the encoder projects: [n, hidden_size or projection_dim]. */
struct value clip_pool(struct net *n, const struct clip_config *c, struct value states, struct value place);
/* Which id of a row is the one: with eos_token_id 2 (configs that are older than transformers 4.31) the highest, otherwise the first
 * eos_token_id; transformers takes the first token where there is none. */
int32_t clip_pooled_place(const struct clip_config *c, const int32_t *ids, int64_t count);

#endif
