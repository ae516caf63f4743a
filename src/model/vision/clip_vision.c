#include "model/vision/clip_vision.h"

#include <math.h>
#include <string.h>

#include "model/layer/layer.h"

bool clip_vision_config_from_json(struct clip_vision_config *c, const json_t *j, int64_t projection_dim, const char *path,
                                  struct err *e)
{
    enum { MOST = 1 << 14 };
    struct clip_config *t = &c->tower;
    const char *act = "quick_gelu";
    /* transformers' defaults for CLIPVisionConfig */
    *c = (struct clip_vision_config){ { .hidden_size = 768, .intermediate_size = 3072, .layers = 12, .heads = 12, .eps = 1e-5,
                                        .projection_dim = projection_dim, .projects = true }, 224, 32 };
    int64_t channels = 3;
    if (!json_get_int(j, path, "hidden_size", 1, 1 << 20, &t->hidden_size, e) ||
        !json_get_int(j, path, "intermediate_size", 1, 1 << 20, &t->intermediate_size, e) ||
        !json_get_int(j, path, "num_hidden_layers", 1, 1000, &t->layers, e) ||
        !json_get_int(j, path, "num_attention_heads", 1, 1000, &t->heads, e) ||
        !json_get_double(j, path, "layer_norm_eps", 0, 1, &t->eps, e) ||
        !json_get_int(j, path, "image_size", 1, MOST, &c->image_size, e) ||
        !json_get_int(j, path, "patch_size", 1, MOST, &c->patch_size, e) ||
        !json_get_int(j, path, "num_channels", 1, 64, &channels, e) || !json_get_string(j, path, "hidden_act", &act, e))
        return false;
    if (channels != 3 || c->image_size % c->patch_size || t->hidden_size % t->heads)
        return err_set(e, ERR_FORMAT, "%s: vision_config has %lld channels, patches of %lld in %lld pixels, %lld heads of %lld: they do not fit",
                       path, (long long)channels, (long long)c->patch_size, (long long)c->image_size, (long long)t->heads,
                       (long long)t->hidden_size);
    if (strcmp(act, "quick_gelu") && strcmp(act, "gelu"))
        return err_set(e, ERR_FORMAT, "%s: \"hidden_act\" is \"%s\", want quick_gelu or gelu", path, act);
    t->act = !strcmp(act, "gelu") ? UNARY_GELU : UNARY_QUICK_GELU;
    return true;
}

struct value clip_vision(struct net *n, const struct clip_vision_config *c, struct value picture)
{
    static const int64_t no_pad[4] = { 0 };
    const struct clip_config *t = &c->tower;
    struct shape s = graph_shape(n->g, picture);
    int64_t side = c->image_size / c->patch_size, patches = side * side, width = t->hidden_size, batch = s.dim[0];
    struct value kernel = net_weight(n, "vision_model.embeddings", "patch_embedding.weight",
                                     SHAPE(width, 3, c->patch_size, c->patch_size), INIT_FAN_IN, 0.02, true);
    struct value class = net_weight(n, "vision_model.embeddings", "class_embedding", SHAPE(width), INIT_NORMAL, 0.02, false);
    struct value places = net_weight(n, "vision_model.embeddings", "position_embedding.weight", SHAPE(patches + 1, width), INIT_NORMAL,
                                     0.02, false);
    struct value x = op_reshape(n->g, op_conv2d(n->g, picture, kernel, VALUE_NONE, c->patch_size, no_pad), SHAPE(batch, patches, width));
    struct value first = op_expand(n->g, op_reshape(n->g, op_cast(n->g, class, n->type), SHAPE(1, 1, width)), SHAPE(batch, 1, width),
                                   n->type);
    x = op_add(n->g, op_concat(n->g, first, x, 1), op_reshape(n->g, places, SHAPE(1, patches + 1, width)));
    x = layer_layer_norm(n, x, "vision_model.pre_layrnorm", t->eps); /* spelt so in every file */
    for (int64_t i = 0; i < t->layers; i++)
        x = clip_encoder_layer(n, t, x, path_of("vision_model.encoder.layers.%d", (int)i).s, false);
    x = op_reshape(n->g, op_slice(n->g, x, 1, 0, 1), SHAPE(batch, width));
    x = layer_layer_norm(n, x, "vision_model.post_layernorm", t->eps);
    return layer_linear(n, x, "visual_projection", t->projection_dim, false);
}
