/* ChatGLM3 (Du et al. 2022; GLM team 2024) as a text encoder: config and graph. It is the decoder of a language model whose states
 * are taken and whose next word is not asked for: no final norm, no LM head.
 *
 * source  judged against diffusers' ChatGLMModel (pipelines/kolors/text_encoder.py)
 * layer   x += dense(attention(rms(x))); x += down(swiglu(up(rms(x)))). Groups of heads share keys and values; half of each
 *         head's numbers are turned by the token's place. */
#ifndef LIMN_MODEL_TEXT_CHATGLM3_H
#define LIMN_MODEL_TEXT_CHATGLM3_H

#include "base/json.h"
#include "model/layer/net.h"

struct chatglm_config {
    int64_t layers, vocab_size, hidden_size, intermediate_size, head_width, heads, groups, positions;
    bool bias, qkv_bias; /* of the linear layers; of query_key_value */
    double eps;
};

/* Reads a text encoder's config.json. ERR_FORMAT names file, key and value; ERR_TYPE for a variant that this graph has not:
 * weights of 4 or 8 bit, a learnt prefix, layer norm, keys of its own for every head. */
MUST_USE bool chatglm_config_read(struct chatglm_config *c, const char *path, struct err *e);
/* The same of what is read already; path: its place, for errors. */
MUST_USE bool chatglm_config_from_json(struct chatglm_config *c, const json_t *j, const char *path, struct err *e);

struct chatglm_input {
    struct value ids;    /* i32 [n, t], t <= positions */
    struct value places; /* i32 [n, t]: of each token, 0 for padding */
    struct value pads;   /* i32 [n]: so many of a row's first ids are padding */
};

/* x [n, t, hidden_size]: the embedding, and the states after layers first .. end - 1. */
struct value chatglm_embed(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in);
struct value chatglm_layers(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in, struct value x,
                            int64_t first, int64_t end);
/* The state of the last token after layers first .. end - 1, first < end: [n, hidden_size]. Of the last layer only that
 * token's query and MLP are computed. */
struct value chatglm_last_token(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in,
                                struct value x, int64_t first, int64_t end);

#endif
