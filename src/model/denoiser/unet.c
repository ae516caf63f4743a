#include "model/denoiser/unet.h"

#include "model/layer/layer.h"

/* Settings that change the graph and that this one does not have: each must be missing, null or the value here. */
static bool only_plain(const json_t *j, const char *path, struct err *e)
{
    static const struct { const char *key, *plain; } settings[] = {
        { "class_embed_type", NULL }, { "addition_embed_type", NULL }, { "encoder_hid_dim", NULL },
        { "encoder_hid_dim_type", NULL }, { "num_class_embeds", NULL }, { "time_cond_proj_dim", NULL },
        { "addition_time_embed_dim", NULL }, { "time_embedding_act_fn", NULL }, { "cross_attention_norm", NULL },
        { "time_embedding_dim", NULL }, { "timestep_post_act", NULL }, { "reverse_transformer_layers_per_block", NULL },
        { "act_fn", "\"silu\"" }, { "resnet_time_scale_shift", "\"default\"" }, { "time_embedding_type", "\"positional\"" },
        { "attention_type", "\"default\"" }, { "only_cross_attention", "false" }, { "dual_cross_attention", "false" },
        { "class_embeddings_concat", "false" }, { "resnet_skip_time_act", "false" }, { "center_input_sample", "false" },
        { "mid_block_only_cross_attention", "false" }, { "conv_in_kernel", "3" }, { "conv_out_kernel", "3" },
        { "mid_block_scale_factor", "1" }, { "resnet_out_scale_factor", "1" }, { "dropout", "0" },
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const json_t *v = json_object_get(j, settings[i].key);
        if (!v || json_is_null(v))
            continue;
        char came[64];
        size_t n = json_dumpb(v, came, sizeof came - 1, JSON_ENCODE_ANY);
        came[n < sizeof came ? n : 0] = 0;
        bool plain = settings[i].plain && (!strcmp(came, settings[i].plain) ||
                                           (json_is_real(v) && json_real_value(v) == atof(settings[i].plain)));
        if (!plain)
            return err_set(e, ERR_TYPE, "%s: \"%s\" is %s; only %s is known here", path, settings[i].key, came,
                           settings[i].plain ? settings[i].plain : "null");
    }
    return true;
}

/* The names of block types: which have attention. */
static bool block_types(const json_t *j, const char *path, const char *key, const char *plain, const char *attending,
                        size_t count, bool *attention, struct err *e)
{
    const json_t *list = json_object_get(j, key);
    if (!json_is_array(list) || json_array_size(list) != count)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" must be a list of %zu names, as block_out_channels", path, key, count);
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        attention[i] = word && !strcmp(word, attending);
        if (!attention[i] && (!word || strcmp(word, plain)))
            return err_set(e, ERR_TYPE, "%s: \"%s\" holds \"%s\"; %s and %s are known", path, key, word ? word : "?", plain,
                           attending);
    }
    return true;
}

/* A list with an entry per block; a single number is for all. */
static bool per_block(const json_t *j, const char *path, const char *key, int64_t max, size_t blocks, int64_t *out,
                      struct err *e)
{
    size_t count = UNET_MAX_BLOCKS;
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v))
        return true;
    if (!json_get_ints(j, path, key, 1, max, out, &count, e))
        return false;
    if (!json_is_array(v))
        for (size_t i = 1; i < blocks; i++)
            out[i] = out[0];
    else if (count != blocks)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" has %zu entries, block_out_channels has %zu", path, key, count, blocks);
    return true;
}

bool unet_config_read(struct unet_config *c, const char *path, struct err *e)
{
    json_t *j = json_read(path, e);
    if (!j)
        return false;
    *c = (struct unet_config){ .in_channels = 4, .out_channels = 4, .sample_size = 64, .cross_attention_dim = 1280,
                               .groups = 32, .blocks = UNET_MAX_BLOCKS, .flip_sin_to_cos = true,
                               .eps = 1e-5, .downsample_padding = 1 };
    for (int i = 0; i < UNET_MAX_BLOCKS; i++) {
        c->layers[i] = 2;
        c->heads[i] = 8;
        c->depth[i] = 1;
    }
    const char *class = "UNet2DConditionModel", *mid = "UNetMidBlock2DCrossAttn";
    bool good = json_get_string(j, path, "_class_name", &class, e);
    if (good && strcmp(class, "UNet2DConditionModel"))
        good = err_set(e, ERR_TYPE, "%s: \"_class_name\" is \"%s\", want UNet2DConditionModel", path, class);
    if (good && !json_object_get(j, "block_out_channels"))
        good = err_set(e, ERR_MISSING, "%s: \"block_out_channels\" is missing", path);
    good = good && only_plain(j, path, e) && json_get_int(j, path, "in_channels", 1, 1024, &c->in_channels, e) &&
           json_get_int(j, path, "out_channels", 1, 1024, &c->out_channels, e) &&
           json_get_int(j, path, "cross_attention_dim", 1, 1 << 16, &c->cross_attention_dim, e) &&
           json_get_int(j, path, "norm_num_groups", 1, 4096, &c->groups, e) &&
           json_get_int(j, path, "downsample_padding", 0, 1, &c->downsample_padding, e) &&
           json_get_ints(j, path, "block_out_channels", 1, 1 << 16, c->width, &c->blocks, e) &&
           per_block(j, path, "layers_per_block", 16, c->blocks, c->layers, e) &&
           per_block(j, path, "attention_head_dim", 1024, c->blocks, c->heads, e) &&
           per_block(j, path, "num_attention_heads", 1024, c->blocks, c->heads, e) &&
           per_block(j, path, "transformer_layers_per_block", 64, c->blocks, c->depth, e) &&
           json_get_bool(j, path, "use_linear_projection", &c->use_linear_projection, e) &&
           json_get_bool(j, path, "flip_sin_to_cos", &c->flip_sin_to_cos, e) &&
           json_get_double(j, path, "freq_shift", -1e3, 1e3, &c->freq_shift, e) &&
           json_get_double(j, path, "norm_eps", 0, 1, &c->eps, e) &&
           json_get_string(j, path, "mid_block_type", &mid, e) &&
           block_types(j, path, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D", c->blocks,
                       c->down_attention, e) &&
           block_types(j, path, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", c->blocks, c->up_attention, e);
    if (good && strcmp(mid, "UNetMidBlock2DCrossAttn"))
        good = err_set(e, ERR_TYPE, "%s: \"mid_block_type\" is \"%s\", want UNetMidBlock2DCrossAttn", path, mid);
    const json_t *sample = json_object_get(j, "sample_size"); /* a list [h, w] is read as its first */
    if (good && json_is_array(sample))
        sample = json_array_get(sample, 0);
    if (good && json_is_integer(sample))
        c->sample_size = json_integer_value(sample);
    for (size_t i = 0; good && i < c->blocks; i++) {
        if (c->width[i] % c->groups)
            good = err_set(e, ERR_FORMAT, "%s: \"norm_num_groups\" %lld does not divide \"block_out_channels\" %lld", path,
                           (long long)c->groups, (long long)c->width[i]);
        else if ((c->down_attention[i] || c->up_attention[c->blocks - 1 - i]) && c->width[i] % c->heads[i])
            good = err_set(e, ERR_FORMAT, "%s: %lld heads (\"attention_head_dim\") do not divide the width %lld", path,
                           (long long)c->heads[i], (long long)c->width[i]);
    }
    json_decref(j);
    return good;
}

static json_t *int_list(const int64_t *v, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(v[i]));
    return list;
}

json_t *unet_config_json(const struct unet_config *c)
{
    json_t *down = json_array(), *up = json_array();
    for (size_t i = 0; i < c->blocks; i++) {
        json_array_append_new(down, json_string(c->down_attention[i] ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        json_array_append_new(up, json_string(c->up_attention[i] ? "CrossAttnUpBlock2D" : "UpBlock2D"));
    }
    return json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:f,s:f,s:i,s:s,s:s,s:b,s:i}",
                     "_class_name", "UNet2DConditionModel", "_diffusers_version", "0.42.1", "in_channels",
                     (int)c->in_channels, "out_channels", (int)c->out_channels, "sample_size", (int)c->sample_size,
                     "cross_attention_dim", (int)c->cross_attention_dim, "norm_num_groups", (int)c->groups,
                     "block_out_channels", int_list(c->width, c->blocks), "layers_per_block",
                     int_list(c->layers, c->blocks), "attention_head_dim", int_list(c->heads, c->blocks),
                     "transformer_layers_per_block", int_list(c->depth, c->blocks), "down_block_types", down,
                     "up_block_types", up, "use_linear_projection", c->use_linear_projection, "flip_sin_to_cos",
                     c->flip_sin_to_cos, "freq_shift", c->freq_shift, "norm_eps", c->eps, "downsample_padding",
                     (int)c->downsample_padding, "act_fn", "silu", "mid_block_type", "UNetMidBlock2DCrossAttn",
                     "center_input_sample", false, "mid_block_scale_factor", 1);
}

struct builder {
    struct net *n;
    const struct unet_config *c;
    struct value time, text; /* silu of the time embedding; the text states */
};

static struct value resnet(struct builder *b, struct value x, const char *at, int64_t out)
{
    return layer_resnet(b->n, x, b->time, at, out, b->c->groups, b->c->eps);
}

static struct value attention(struct builder *b, struct value x, const char *at, size_t block)
{
    return layer_transformer(b->n, x, b->text, at, b->c->heads[block], b->c->depth[block], b->c->groups,
                             b->c->use_linear_projection);
}

static struct value time_embedding(struct net *n, const struct unet_config *c, struct value timestep)
{
    int64_t width = 4 * c->width[0];
    struct value t = op_timestep_embedding(n->g, timestep, c->width[0], c->flip_sin_to_cos, c->freq_shift, 10000);
    t = layer_linear(n, op_cast(n->g, t, n->type), "time_embedding.linear_1", width, true);
    t = layer_linear(n, op_unary(n->g, t, UNARY_SILU), "time_embedding.linear_2", width, true);
    return op_unary(n->g, t, UNARY_SILU); /* every resnet begins with it */
}

struct value unet(struct net *n, const struct unet_config *c, struct value latent, struct value timestep,
                  struct value text)
{
    struct builder b = { n, c, time_embedding(n, c, timestep), text };
    struct value skips[UNET_MAX_BLOCKS * 17 + 1];
    size_t skip_count = 0;
    struct value x = layer_conv(n, latent, "conv_in", c->width[0], 3, false);
    skips[skip_count++] = x;
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("down_blocks.%zu", i);
        for (int64_t j = 0; j < c->layers[i]; j++) {
            graph_block_begin(n->g);
            x = resnet(&b, x, path_of("%s.resnets.%d", at.s, (int)j).s, c->width[i]);
            if (c->down_attention[i])
                x = attention(&b, x, path_of("%s.attentions.%d", at.s, (int)j).s, i);
            graph_block_end(n->g);
            skips[skip_count++] = x;
        }
        if (i + 1 < c->blocks) {
            int64_t p = c->downsample_padding, pad[4] = { p, p, p, p };
            if (p == 0) /* diffusers: padded right and below only */
                pad[2] = pad[3] = 1;
            x = layer_conv_down(n, x, path_of("%s.downsamplers.0.conv", at.s).s, c->width[i], pad);
            skips[skip_count++] = x;
        }
    }
    size_t last = c->blocks - 1;
    graph_block_begin(n->g);
    x = resnet(&b, x, "mid_block.resnets.0", c->width[last]);
    x = attention(&b, x, "mid_block.attentions.0", last);
    x = resnet(&b, x, "mid_block.resnets.1", c->width[last]);
    graph_block_end(n->g);
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("up_blocks.%zu", i);
        size_t block = last - i;
        for (int64_t j = 0; j <= c->layers[block]; j++) {
            graph_block_begin(n->g);
            x = op_concat(n->g, x, skips[--skip_count], -1);
            x = resnet(&b, x, path_of("%s.resnets.%d", at.s, (int)j).s, c->width[block]);
            if (c->up_attention[i])
                x = attention(&b, x, path_of("%s.attentions.%d", at.s, (int)j).s, block);
            graph_block_end(n->g);
        }
        if (i < last) { /* up to the size of what is joined next */
            struct shape s = graph_shape(n->g, skips[skip_count - 1]);
            x = layer_conv_up(n, x, path_of("%s.upsamplers.0.conv", at.s).s, c->width[block], s.dim[1], s.dim[2]);
        }
    }
    x = layer_group_norm(n, x, "conv_norm_out", c->groups, c->eps, UNARY_SILU);
    return layer_conv(n, x, "conv_out", c->out_channels, 3, true);
}
