#include "model/family/glm_file.h"

#include <string.h>

#include "model/layer/net.h"
#include "weights/name_map.h"

enum { MOST_LAYERS = 200, HEAD_WIDTH = 128 };

static bool ggml_names(struct name_map *m, struct err *e)
{
    static const struct { const char *outer, *inner; } rows[] = {
        { "attn_norm", "input_layernorm" }, { "attn_qkv", "self_attention.query_key_value" },
        { "attn_output", "self_attention.dense" }, { "ffn_norm", "post_attention_layernorm" },
        { "ffn_up", "mlp.dense_h_to_4h" }, { "ffn_down", "mlp.dense_4h_to_h" },
    };
    bool good = name_map_add(m, NAME_WHOLE, "token_embd", "embedding.word_embeddings", e) &&
                name_map_add(m, NAME_WHOLE, "output_norm", "encoder.final_layernorm", e) &&
                name_map_add(m, NAME_WHOLE, "output", "output_layer", e);
    for (int i = 0; good && i < MOST_LAYERS; i++)
        for (size_t k = 0; good && k < sizeof rows / sizeof *rows; k++)
            good = name_map_add(m, NAME_WHOLE, path_of("blk.%d.%s", i, rows[k].outer).s,
                                path_of("encoder.layers.%d.%s", i, rows[k].inner).s, e);
    return good;
}

static bool own_names(struct name_map *m, struct err *e)
{
    static const char *const firsts[] = { "embedding", "encoder", "output_layer" }; /* not rotary_pos_emb, which is computed */
    bool good = true;
    for (size_t i = 0; good && i < sizeof firsts / sizeof *firsts; i++)
        good = name_map_add(m, NAME_WHOLE, firsts[i], firsts[i], e);
    return good;
}

/* A matrix, packed or not. The scales' own name has the matrix's before it. */
static bool add_tensor(struct weights *view, const struct weights *plain, const struct weight *t, struct err *e)
{
    const struct weight *scale = weights_find(plain, path_of("%s_scale", t->name).s);
    if (!scale || t->type != DTYPE_I8)
        return weights_view_add(view, t->name, t, e);
    /* two numbers in a byte make the matrix half as wide as what it is multiplied with */
    const struct weight *words = weights_find(plain, "embedding.word_embeddings.weight");
    const struct weight *qkv = weights_find(plain, GLM_WITNESS);
    int64_t width = words && words->shape.rank == 2 ? words->shape.dim[1] : 0;
    int64_t row = qkv && qkv->shape.rank == 2 ? qkv->shape.dim[1] : 0;
    if (width < 1 || (row != width && 2 * row != width))
        return err_set(e, ERR_SHAPE, "%s: \"%s\" has rows of %lld bytes for words of %lld numbers: packed weights of 8 and 4 bit are "
                       "known", weights_path(plain), GLM_WITNESS, (long long)row, (long long)width);
    return weights_view_scaled(view, t->name, t, scale, row == width ? 8 : 4, e);
}

struct weights *glm_view(const struct weights *file, const char *prefix, bool ggml, struct err *e)
{
    struct name_map map;
    name_map_init(&map);
    struct weights *plain = (ggml ? ggml_names(&map, e) : own_names(&map, e)) ? name_map_view(&map, file, prefix, e) : NULL;
    name_map_release(&map);
    if (!plain || !weights_find(plain, GLM_WITNESS "_scale"))
        return plain;
    struct weights *view = weights_view_new(file, e);
    bool good = view != NULL;
    for (size_t i = 0; good && i < weights_count(plain); i++) {
        const struct weight *t = weights_at(plain, i);
        if (!strstr(t->name, ".weight_scale"))
            good = add_tensor(view, plain, t, e);
    }
    good = good && weights_view_end(view, e);
    weights_free(plain);
    if (good)
        return view;
    weights_free(view);
    return NULL;
}

static const struct weight *matrix(const struct weights *w, const char *name, struct err *e)
{
    const struct weight *t = weights_need(w, name, e);
    if (t && t->shape.rank != 2) {
        err_set(e, ERR_SHAPE, "%s: \"%s\" is %s", weights_path(w), name, shape_text(t->shape).s);
        return NULL;
    }
    return t;
}

bool glm_config(json_t *config, const struct weights *w, struct err *e)
{
    const struct weight *words = matrix(w, "embedding.word_embeddings.weight", e), *qkv = matrix(w, GLM_WITNESS, e);
    const struct weight *dense = matrix(w, "encoder.layers.0.self_attention.dense.weight", e);
    const struct weight *up = matrix(w, "encoder.layers.0.mlp.dense_h_to_4h.weight", e);
    if (!words || !qkv || !dense || !up)
        return false;
    int64_t layers = 0, heads = dense->shape.dim[1] / HEAD_WIDTH, others = (qkv->shape.dim[0] - dense->shape.dim[1]) / 2;
    while (layers < MOST_LAYERS && weights_find(w, path_of("encoder.layers.%d.input_layernorm.weight", (int)layers).s))
        layers++;
    if (dense->shape.dim[1] % HEAD_WIDTH || others < HEAD_WIDTH || others % HEAD_WIDTH)
        return err_set(e, ERR_TYPE, "%s: keys of %lld numbers beside queries of %lld: no multiples of %d as in ChatGLM3, so heads cannot "
                       "be known; --config FOLDER gives the configs of such a model", weights_path(w), (long long)others,
                       (long long)dense->shape.dim[1], HEAD_WIDTH);
    json_t *sizes = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "num_layers", (json_int_t)layers,
                              "padded_vocab_size", (json_int_t)words->shape.dim[0], "vocab_size", (json_int_t)words->shape.dim[0],
                              "hidden_size", (json_int_t)words->shape.dim[1], "ffn_hidden_size", (json_int_t)up->shape.dim[0] / 2,
                              "num_attention_heads", (json_int_t)heads, "multi_query_group_num", (json_int_t)(others / HEAD_WIDTH),
                              "add_qkv_bias", weights_find(w, "encoder.layers.0.self_attention.query_key_value.bias") != NULL,
                              "add_bias_linear", weights_find(w, "encoder.layers.0.self_attention.dense.bias") != NULL);
    bool good = (sizes && !json_object_update(config, sizes) &&
                 !json_object_set_new(config, "kv_channels", json_integer(HEAD_WIDTH))) || err_nomem(e, "a config");
    json_decref(sizes);
    return good;
}
