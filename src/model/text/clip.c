#include "model/text/clip.h"

#include <math.h>

#include "model/layer/layer.h"

/* The names that configs give to activations. */
static const struct { const char *name; enum unary act; } acts[] = {
    { "quick_gelu", UNARY_QUICK_GELU }, { "gelu", UNARY_GELU }, { "gelu_new", UNARY_GELU_TANH },
    { "gelu_pytorch_tanh", UNARY_GELU_TANH },
};

bool clip_config_from_json(struct clip_config *c, const json_t *j, const char *path, struct err *e)
{
    /* transformers' defaults for CLIPTextConfig */
    *c = (struct clip_config){ 49408, 512, 2048, 12, 8, 77, UNARY_QUICK_GELU, 1e-5, .end = 49407,
                              .projection_dim = 512 };
    const char *act = "quick_gelu", *type = "clip_text_model";
    enum { MOST = 1 << 20 };
    bool good = json_get_int(j, path, "vocab_size", 2, 1 << 24, &c->vocab_size, e) &&
                json_get_int(j, path, "hidden_size", 1, MOST, &c->hidden_size, e) &&
                json_get_int(j, path, "intermediate_size", 1, MOST, &c->intermediate_size, e) &&
                json_get_int(j, path, "num_hidden_layers", 1, 1000, &c->layers, e) &&
                json_get_int(j, path, "num_attention_heads", 1, 1000, &c->heads, e) &&
                json_get_int(j, path, "max_position_embeddings", 1, MOST, &c->positions, e) &&
                json_get_double(j, path, "layer_norm_eps", 0, 1, &c->eps, e) &&
                json_get_int(j, path, "eos_token_id", 0, 1 << 24, &c->end, e) &&
                json_get_int(j, path, "projection_dim", 1, MOST, &c->projection_dim, e) &&
                json_get_string(j, path, "hidden_act", &act, e) && json_get_string(j, path, "model_type", &type, e);
    if (good && strcmp(type, "clip_text_model"))
        good = err_set(e, ERR_TYPE, "%s: \"model_type\" is \"%s\"; CLIP's text encoder is \"clip_text_model\"", path,
                       type);
    if (good && c->hidden_size % c->heads)
        good = err_set(e, ERR_FORMAT, "%s: \"num_attention_heads\" %lld does not divide \"hidden_size\" %lld", path,
                       (long long)c->heads, (long long)c->hidden_size);
    size_t i = 0, count = sizeof acts / sizeof *acts;
    while (good && i < count && strcmp(acts[i].name, act))
        i++;
    if (good && i == count)
        good = err_set(e, ERR_FORMAT, "%s: \"hidden_act\" is \"%s\", want quick_gelu or gelu", path, act);
    if (good)
        c->act = acts[i].act;
    return good;
}

bool clip_config_read(struct clip_config *c, const char *path, struct err *e)
{
    json_t *j = json_read(path, e);
    bool good = j && clip_config_from_json(c, j, path, e);
    json_decref(j);
    return good;
}

json_t *clip_config_json(const struct clip_config *c)
{
    const char *act = "gelu";
    for (size_t i = sizeof acts / sizeof *acts; i-- > 0;)
        if (acts[i].act == c->act)
            act = acts[i].name;
    int64_t end = c->end > 0 && c->end < c->vocab_size ? c->end : c->vocab_size - 1;
    return json_pack("{s:[s],s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:s,s:f,s:i,s:i,s:i,s:f,s:i,s:s}", "architectures",
                     c->projects ? "CLIPTextModelWithProjection" : "CLIPTextModel", "model_type", "clip_text_model",
                     "vocab_size", (int)c->vocab_size, "hidden_size", (int)c->hidden_size, "intermediate_size",
                     (int)c->intermediate_size, "num_hidden_layers", (int)c->layers, "num_attention_heads", (int)c->heads,
                     "max_position_embeddings", (int)c->positions, "hidden_act", act, "layer_norm_eps", c->eps,
                     "bos_token_id", (int)c->vocab_size - 2, "eos_token_id", (int)end, "pad_token_id",
                     (int)c->vocab_size - 1, "attention_dropout", 0.0, "projection_dim",
                     (int)(c->projects ? c->projection_dim : c->hidden_size), "torch_dtype", "float32");
}

struct value clip_encoder_layer(struct net *n, const struct clip_config *c, struct value x, const char *at, bool causal)
{
    struct value h = layer_layer_norm(n, x, path_of("%s.layer_norm1", at).s, c->eps);
    struct value q = layer_linear(n, h, path_of("%s.self_attn.q_proj", at).s, c->hidden_size, true);
    struct value k = layer_linear(n, h, path_of("%s.self_attn.k_proj", at).s, c->hidden_size, true);
    struct value v = layer_linear(n, h, path_of("%s.self_attn.v_proj", at).s, c->hidden_size, true);
    double scale = 1 / sqrt((double)(c->hidden_size / c->heads));
    h = op_attention(n->g, q, k, v, c->heads, scale, causal);
    x = op_add(n->g, x, layer_linear(n, h, path_of("%s.self_attn.out_proj", at).s, c->hidden_size, true));
    h = layer_layer_norm(n, x, path_of("%s.layer_norm2", at).s, c->eps);
    h = op_unary(n->g, layer_linear(n, h, path_of("%s.mlp.fc1", at).s, c->intermediate_size, true), c->act);
    return op_add(n->g, x, layer_linear(n, h, path_of("%s.mlp.fc2", at).s, c->hidden_size, true));
}

struct value clip_embed(struct net *n, const struct clip_config *c, struct value ids, struct value keep, struct value vectors)
{
    int64_t tokens = shape_last(graph_shape(n->g, ids));
    if (tokens > c->positions)
        return graph_fail(n->g, ERR_SHAPE, "%lld tokens; the text encoder has %lld positions", (long long)tokens,
                          (long long)c->positions);
    struct value words = net_weight(n, "text_model.embeddings", "token_embedding.weight",
                                    SHAPE(c->vocab_size, c->hidden_size), INIT_NORMAL, 0.02, false);
    struct value places = net_weight(n, "text_model.embeddings", "position_embedding.weight",
                                     SHAPE(c->positions, c->hidden_size), INIT_NORMAL, 0.02, false);
    if (places.id && tokens < c->positions) {
        enum dtype type = graph_type(n->g, places);
        if (dtype_is_quantised(type) || dtype_bytes(type) == 1) /* no part can be taken of what is only stored */
            places = op_cast(n->g, places, DTYPE_F32);
        places = op_slice(n->g, places, 0, 0, tokens);
    }
    struct value x = op_embedding(n->g, words, ids, n->type);
    if (keep.id)
        x = op_add(n->g, op_mul(n->g, x, keep), vectors);
    return op_add(n->g, x, op_reshape(n->g, places, SHAPE(1, tokens, c->hidden_size)));
}

struct value clip_layers(struct net *n, const struct clip_config *c, struct value x, int64_t from, int64_t to)
{
    if (to < 1 || to > c->layers)
        return graph_fail(n->g, ERR_ARG, "%lld layers of the text encoder are asked for; it has %lld", (long long)to,
                          (long long)c->layers);
    for (int64_t i = from; i < to; i++) {
        graph_block_begin(n->g);
        x = clip_encoder_layer(n, c, x, path_of("text_model.encoder.layers.%d", (int)i).s, true);
        graph_block_end(n->g);
    }
    return x;
}

struct value clip_norm(struct net *n, const struct clip_config *c, struct value x)
{
    return layer_layer_norm(n, x, "text_model.final_layer_norm", c->eps);
}

struct value clip_pool(struct net *n, const struct clip_config *c, struct value states, struct value place)
{
    struct shape s = graph_shape(n->g, states);
    if (!states.id)
        return states;
    struct value rows = op_reshape(n->g, states, SHAPE(s.dim[0] * s.dim[1], s.dim[2]));
    struct value x = op_embedding(n->g, rows, place, n->type);
    return c->projects ? layer_linear(n, x, "text_projection", c->projection_dim, false) : x;
}

int32_t clip_pooled_place(const struct clip_config *c, const int32_t *ids, int64_t count)
{
    enum { WRONG_END = 2 };
    int64_t highest = 0;
    for (int64_t i = 0; i < count; i++) {
        if (c->end != WRONG_END && ids[i] == c->end)
            return (int32_t)i;
        highest = ids[i] > ids[highest] ? i : highest;
    }
    return c->end == WRONG_END ? (int32_t)highest : 0;
}

struct value clip_text(struct net *n, const struct clip_config *c, struct value ids, int64_t skip)
{
    if (skip < 0 || skip >= c->layers)
        return graph_fail(n->g, ERR_ARG, "clip skip %lld: the text encoder has %lld layers", (long long)skip,
                          (long long)c->layers);
    return clip_norm(n, c, clip_layers(n, c, clip_embed(n, c, ids, VALUE_NONE, VALUE_NONE), 0, c->layers - skip));
}
