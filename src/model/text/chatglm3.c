#include "model/text/chatglm3.h"

#include <math.h>

#include "model/layer/layer.h"

/* Keys whose other values would be another graph. */
static bool only_ours(const json_t *j, const char *path, struct err *e)
{
    static const struct { const char *key; bool want, unsaid; const char *why; } flags[] = {
        { "rmsnorm", true, true, "layer norm in place of RMS norm" },
        { "multi_query_attention", true, false, "keys and values of its own for every head" },
        { "apply_residual_connection_post_layernorm", false, false, "residuals taken behind the norm" },
        { "prefix_projection", false, false, "a learnt prefix" },
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool value = flags[i].unsaid;
        if (!json_get_bool(j, path, flags[i].key, &value, e))
            return false;
        if (value != flags[i].want)
            return err_set(e, ERR_TYPE, "%s: \"%s\" is %s (%s): ChatGLM3 has it otherwise, and only that is known", path,
                           flags[i].key, value ? "true" : "false", flags[i].why);
    }
    int64_t bits = 0;
    double rope_ratio = 1;
    const json_t *prefix = json_object_get(j, "pre_seq_len");
    if (!json_get_int(j, path, "quantization_bit", 0, 64, &bits, e) ||
        !json_get_double(j, path, "rope_ratio", 0, 1e9, &rope_ratio, e))
        return false;
    if (bits)
        return err_set(e, ERR_TYPE, "%s: \"quantization_bit\" is %lld: a folder of ChatGLM's packed weights is not read, a file of "
                       "them is (--text-encoder)", path, (long long)bits);
    if (rope_ratio != 1)
        return err_set(e, ERR_TYPE, "%s: \"rope_ratio\" is %g: only ChatGLM3-6B's 1 is known", path, rope_ratio);
    if (prefix && !json_is_null(prefix))
        return err_set(e, ERR_TYPE, "%s: \"pre_seq_len\" is there: a learnt prefix is not known", path);
    return true;
}

bool chatglm_config_read(struct chatglm_config *c, const char *path, struct err *e)
{
    json_t *j = json_read(path, e);
    bool good = j && chatglm_config_from_json(c, j, path, e);
    json_decref(j);
    return good;
}

bool chatglm_config_from_json(struct chatglm_config *c, const json_t *j, const char *path, struct err *e)
{
    /* diffusers' defaults for ChatGLMConfig */
    *c = (struct chatglm_config){ 28, 65024, 4096, 13696, 128, 32, 1, 2048, false, false, 1e-5 };
    const char *type = "chatglm";
    enum { MOST = 1 << 20 };
    bool good = json_get_string(j, path, "model_type", &type, e);
    if (good && strcmp(type, "chatglm"))
        good = err_set(e, ERR_TYPE, "%s: \"model_type\" is \"%s\"; ChatGLM3's is \"chatglm\"", path, type);
    good = good && only_ours(j, path, e) && json_get_int(j, path, "num_layers", 1, 1000, &c->layers, e) &&
           json_get_int(j, path, "padded_vocab_size", 2, 1 << 24, &c->vocab_size, e) &&
           json_get_int(j, path, "hidden_size", 1, MOST, &c->hidden_size, e) &&
           json_get_int(j, path, "ffn_hidden_size", 1, MOST, &c->intermediate_size, e) &&
           json_get_int(j, path, "kv_channels", 1, MOST, &c->head_width, e) &&
           json_get_int(j, path, "num_attention_heads", 1, 1000, &c->heads, e) &&
           json_get_int(j, path, "multi_query_group_num", 1, 1000, &c->groups, e) &&
           json_get_int(j, path, "seq_length", 1, 1 << 24, &c->positions, e) &&
           json_get_bool(j, path, "add_bias_linear", &c->bias, e) && json_get_bool(j, path, "add_qkv_bias", &c->qkv_bias, e) &&
           json_get_double(j, path, "layernorm_epsilon", 0, 1, &c->eps, e);
    if (good && c->heads % c->groups)
        good = err_set(e, ERR_FORMAT, "%s: \"multi_query_group_num\" %lld does not divide \"num_attention_heads\" %lld", path,
                       (long long)c->groups, (long long)c->heads);
    if (good && c->head_width % 4)
        good = err_set(e, ERR_FORMAT, "%s: \"kv_channels\" is %lld: pairs of its half are turned, so 4 must divide it", path,
                       (long long)c->head_width);
    return good;
}

struct value chatglm_embed(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in)
{
    static const char scale[] = "encoder.layers.0.self_attention.query_key_value.weight_scale";
    int64_t tokens = shape_last(graph_shape(n->g, in->ids));
    if (n->stored && (weights_find(n->stored, scale) || weights_find(n->stored, path_of("transformer.%s", scale).s)))
        return graph_fail(n->g, ERR_TYPE, "%s: ChatGLM's packed weights of 4 or 8 bit are read of a file of their own (--text-encoder), not here",
                          weights_path(n->stored));
    if (tokens > c->positions)
        return graph_fail(n->g, ERR_SHAPE, "%lld tokens; the text encoder has %lld positions", (long long)tokens,
                          (long long)c->positions);
    struct value words = net_weight(n, "embedding.word_embeddings", "weight", SHAPE(c->vocab_size, c->hidden_size),
                                    INIT_NORMAL, 0.02, false);
    return op_embedding(n->g, words, in->ids, n->type);
}

/* [n, t, groups * d] -> [n, t, heads * d]: each group serves heads / groups heads in a row. */
static struct value for_every_head(struct net *n, const struct chatglm_config *c, struct value x)
{
    struct shape s = graph_shape(n->g, x);
    int64_t tokens = s.dim[0] * s.dim[1], d = c->head_width;
    if (!x.id || c->heads == c->groups)
        return x;
    x = op_reshape(n->g, x, SHAPE(tokens, c->groups, 1, d));
    x = op_expand(n->g, x, SHAPE(tokens, c->groups, c->heads / c->groups, d), n->type);
    return op_reshape(n->g, x, SHAPE(s.dim[0], s.dim[1], c->heads * d));
}

/* last: only the last token goes on; it still sees the keys of all. */
static struct value layer(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in, struct value x,
                          const char *at, bool last)
{
    const double base = 10000;
    int64_t d = c->head_width, q_width = c->heads * d, kv_width = c->groups * d;
    int64_t tokens = graph_shape(n->g, in->ids).dim[1];
    struct value h = layer_rms_norm(n, x, path_of("%s.input_layernorm", at).s, c->eps);
    h = layer_linear(n, h, path_of("%s.self_attention.query_key_value", at).s, q_width + 2 * kv_width,
                     c->bias || c->qkv_bias);
    struct value q = op_rotary(n->g, op_slice(n->g, h, -1, 0, q_width), in->places, c->heads, d / 2, base);
    struct value k = op_rotary(n->g, op_slice(n->g, h, -1, q_width, kv_width), in->places, c->groups, d / 2, base);
    struct value v = op_slice(n->g, h, -1, q_width + kv_width, kv_width);
    if (last) {
        q = op_slice(n->g, q, 1, tokens - 1, 1);
        x = op_slice(n->g, x, 1, tokens - 1, 1);
    }
    h = op_attention_padded(n->g, q, for_every_head(n, c, k), for_every_head(n, c, v), in->pads, c->heads,
                            1 / sqrt((double)d), true);
    x = op_add(n->g, x, layer_linear(n, h, path_of("%s.self_attention.dense", at).s, c->hidden_size, c->bias));
    h = layer_rms_norm(n, x, path_of("%s.post_attention_layernorm", at).s, c->eps);
    h = op_swiglu(n->g, layer_linear(n, h, path_of("%s.mlp.dense_h_to_4h", at).s, 2 * c->intermediate_size, c->bias));
    return op_add(n->g, x, layer_linear(n, h, path_of("%s.mlp.dense_4h_to_h", at).s, c->hidden_size, c->bias));
}

struct value chatglm_layers(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in, struct value x,
                            int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i++) {
        graph_block_begin(n->g);
        x = layer(n, c, in, x, path_of("encoder.layers.%d", (int)i).s, false);
        graph_block_end(n->g);
    }
    return x;
}

struct value chatglm_last_token(struct net *n, const struct chatglm_config *c, const struct chatglm_input *in,
                                struct value x, int64_t first, int64_t end)
{
    x = chatglm_layers(n, c, in, x, first, end - 1);
    graph_block_begin(n->g);
    x = layer(n, c, in, x, path_of("encoder.layers.%d", (int)end - 1).s, true);
    graph_block_end(n->g);
    return x.id ? op_reshape(n->g, x, SHAPE(graph_shape(n->g, x).dim[0], c->hidden_size)) : x;
}
