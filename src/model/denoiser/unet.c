#include "model/denoiser/unet_internal.h"
#include "model/layer/layer.h"

/* Settings that change the graph and that this one does not have: each must be missing, null or the value here. */
static bool only_plain(const json_t *j, const char *path, struct err *e)
{
    static const struct { const char *key, *plain; } settings[] = {
        { "class_embed_type", NULL }, { "encoder_hid_dim_type", "\"text_proj\"" },
        { "num_class_embeds", NULL }, { "time_embedding_act_fn", NULL }, { "cross_attention_norm", NULL },
        { "time_embedding_dim", NULL }, { "timestep_post_act", NULL },
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

/* One entry of transformer_layers_per_block (or the reversed one): a number for all transformers of a block, in *all, or a list
 * with one for each, in each[0 .. count). */
static bool block_depth(const json_t *v, const char *path, const char *key, size_t count, int64_t *all, int64_t *each,
                        struct err *e)
{
    enum { MOST = 64 };
    if (!json_is_array(v)) {
        *all = json_integer_value(v);
        return (json_is_integer(v) && *all >= 0 && *all <= MOST) ||
               err_set(e, ERR_FORMAT, "%s: \"%s\" holds what is no whole number from 0 to %d", path, key, MOST);
    }
    if (json_array_size(v) != count)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" has a list of %zu for a block of %zu transformers", path, key,
                       json_array_size(v), count);
    for (size_t i = 0; i < count; i++) {
        each[i] = json_integer_value(json_array_get(v, i));
        if (!json_is_integer(json_array_get(v, i)) || each[i] < 1 || each[i] > MOST)
            return err_set(e, ERR_FORMAT, "%s: \"%s\" holds a list with what is no whole number from 1 to %d", path, key,
                           MOST);
    }
    return true;
}

static bool transformer_depths(struct unet_config *c, const json_t *j, const char *path, struct err *e)
{
    static const char *const keys[] = { "transformer_layers_per_block", "reverse_transformer_layers_per_block" };
    const json_t *down = json_object_get(j, keys[0]), *up = json_object_get(j, keys[1]);
    bool nested = false;
    for (int k = 0; k < 2; k++) {
        const json_t *list = k ? up : down;
        if (json_is_array(list) && json_array_size(list) != c->blocks)
            return err_set(e, ERR_FORMAT, "%s: \"%s\" has %zu entries, block_out_channels has %zu", path, keys[k],
                           json_array_size(list), c->blocks);
    }
    for (size_t i = 0; down && !json_is_null(down) && i < c->blocks; i++) {
        const json_t *entry = json_is_array(down) ? json_array_get(down, i) : down;
        nested = nested || json_is_array(entry);
        if (!block_depth(entry, path, keys[0], (size_t)c->layers[i], &c->depth[i], c->down_depth[i], e))
            return false;
        if (json_is_array(entry)) /* the middle takes the first of the last block's list */
            c->depth[i] = c->down_depth[i][0];
    }
    if (nested && !json_is_array(up))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is a list of lists, which needs \"%s\"", path, keys[0], keys[1]);
    for (size_t i = 0; json_is_array(up) && i < c->blocks; i++) {
        size_t count = (size_t)c->layers[c->blocks - 1 - i] + 1;
        int64_t all = 0;
        if (!block_depth(json_array_get(up, i), path, keys[1], count, &all, c->up_depth[i], e))
            return false;
        for (size_t k = 0; all && k < count; k++)
            c->up_depth[i][k] = all;
    }
    return true;
}

bool unet_config_from_json(struct unet_config *c, const json_t *j, const char *path, struct err *e)
{
    *c = (struct unet_config){ .in_channels = 4, .out_channels = 4, .sample_size = 64, .cross_attention_dim = 1280,
                               .groups = 32, .blocks = UNET_MAX_BLOCKS, .flip_sin_to_cos = true,
                               .eps = 1e-5, .downsample_padding = 1 };
    for (int i = 0; i < UNET_MAX_BLOCKS; i++) {
        c->layers[i] = 2;
        c->heads[i] = 8;
        c->depth[i] = 1;
    }
    const char *class = "UNet2DConditionModel", *mid = "UNetMidBlock2DCrossAttn", *addition = NULL;
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
           per_block(j, path, "layers_per_block", UNET_MAX_LAYERS, c->blocks, c->layers, e) &&
           per_block(j, path, "attention_head_dim", 1024, c->blocks, c->heads, e) &&
           per_block(j, path, "num_attention_heads", 1024, c->blocks, c->heads, e) &&
           transformer_depths(c, j, path, e) && json_get_string(j, path, "addition_embed_type", &addition, e) &&
           json_get_int(j, path, "addition_time_embed_dim", 1, 4096, &c->time_ids_dim, e) &&
           json_get_int(j, path, "projection_class_embeddings_input_dim", 1, 1 << 16, &c->addition_width, e) &&
           json_get_int(j, path, "encoder_hid_dim", 1, 1 << 16, &c->text_dim, e) &&
           json_get_int(j, path, "time_cond_proj_dim", 3, 4096, &c->guidance_dim, e) &&
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
    c->no_middle = json_is_null(json_object_get(j, "mid_block_type"));
    c->text_time = addition != NULL;
    if (good && addition && strcmp(addition, "text_time"))
        good = err_set(e, ERR_TYPE, "%s: \"addition_embed_type\" is \"%s\"; only \"text_time\" and null are known here", path,
                       addition);
    const json_t *projection = json_object_get(j, "encoder_hid_dim_type");
    if (good && !c->text_dim && projection && !json_is_null(projection))
        good = err_set(e, ERR_MISSING, "%s: \"encoder_hid_dim\" is missing, but \"encoder_hid_dim_type\" is there", path);
    const json_t *sample = json_object_get(j, "sample_size"); /* a list [h, w] is read as its first */
    if (good && json_is_array(sample))
        sample = json_array_get(sample, 0);
    if (good && sample && !json_is_null(sample)) {
        c->sample_size = json_integer_value(sample);
        if (!json_is_integer(sample) || c->sample_size < 1 || c->sample_size > 1 << 16)
            good = err_set(e, ERR_FORMAT, "%s: \"sample_size\" must be a whole number from 1 to %d", path, 1 << 16);
    }
    bool reversed = json_is_array(json_object_get(j, "reverse_transformer_layers_per_block"));
    for (size_t i = 0; good && i < c->blocks; i++) {
        if (reversed && c->up_attention[i] && c->up_depth[i][0] == 0)
            good = err_set(e, ERR_FORMAT, "%s: \"reverse_transformer_layers_per_block\" is 0 for a block with attention", path);
        else if (c->width[i] % c->groups)
            good = err_set(e, ERR_FORMAT, "%s: \"norm_num_groups\" %lld does not divide \"block_out_channels\" %lld", path,
                           (long long)c->groups, (long long)c->width[i]);
        else if ((c->down_attention[i] || c->up_attention[c->blocks - 1 - i] || (i + 1 == c->blocks && !c->no_middle)) &&
                 c->width[i] % c->heads[i])
            good = err_set(e, ERR_FORMAT, "%s: %lld heads (\"attention_head_dim\") do not divide the width %lld", path,
                           (long long)c->heads[i], (long long)c->width[i]);
    }
    return good;
}

bool unet_config_read(struct unet_config *c, const char *path, struct err *e)
{
    json_t *j = json_read(path, e);
    bool good = j && unet_config_from_json(c, j, path, e);
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

/* The numbers of one block's transformers: a list where they have their own. */
static json_t *depths(const int64_t *each, size_t count, int64_t all)
{
    return each[0] ? int_list(each, count) : json_integer(all);
}

json_t *unet_config_json(const struct unet_config *c)
{
    json_t *down = json_array(), *up = json_array(), *depth = json_array(), *reverse = json_array();
    bool asymmetric = false;
    for (size_t i = 0; i < c->blocks; i++) {
        size_t block = c->blocks - 1 - i;
        asymmetric = asymmetric || c->down_depth[i][0] || c->up_depth[i][0];
        json_array_append_new(down, json_string(c->down_attention[i] ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        json_array_append_new(up, json_string(c->up_attention[i] ? "CrossAttnUpBlock2D" : "UpBlock2D"));
        json_array_append_new(depth, depths(c->down_depth[i], (size_t)c->layers[i], c->depth[i]));
        json_array_append_new(reverse, depths(c->up_depth[i], (size_t)c->layers[block] + 1, 0));
    }
    json_t *j = json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:f,s:f,s:i,s:s,s:s?,s:b,s:i}",
                          "_class_name", "UNet2DConditionModel", "_diffusers_version", "0.42.1", "in_channels",
                          (int)c->in_channels, "out_channels", (int)c->out_channels, "sample_size", (int)c->sample_size,
                          "cross_attention_dim", (int)c->cross_attention_dim, "norm_num_groups", (int)c->groups,
                          "block_out_channels", int_list(c->width, c->blocks), "layers_per_block",
                          int_list(c->layers, c->blocks), "attention_head_dim", int_list(c->heads, c->blocks),
                          "transformer_layers_per_block", depth, "down_block_types", down, "up_block_types", up,
                          "use_linear_projection", c->use_linear_projection, "flip_sin_to_cos", c->flip_sin_to_cos,
                          "freq_shift", c->freq_shift, "norm_eps", c->eps, "downsample_padding", (int)c->downsample_padding,
                          "act_fn", "silu", "mid_block_type", c->no_middle ? NULL : "UNetMidBlock2DCrossAttn",
                          "center_input_sample", false, "mid_block_scale_factor", 1);
    bool good = j != NULL;
    if (good && asymmetric)
        good = !json_object_set(j, "reverse_transformer_layers_per_block", reverse);
    if (good && c->text_time)
        good = !json_object_set_new(j, "addition_embed_type", json_string("text_time"));
    if (good && c->time_ids_dim)
        good = !json_object_set_new(j, "addition_time_embed_dim", json_integer(c->time_ids_dim));
    if (good && c->addition_width)
        good = !json_object_set_new(j, "projection_class_embeddings_input_dim", json_integer(c->addition_width));
    if (good && c->text_dim)
        good = !json_object_set_new(j, "encoder_hid_dim", json_integer(c->text_dim)) &&
               !json_object_set_new(j, "encoder_hid_dim_type", json_string("text_proj"));
    if (good && c->guidance_dim)
        good = !json_object_set_new(j, "time_cond_proj_dim", json_integer(c->guidance_dim));
    json_decref(reverse);
    if (!good)
        json_decref(j);
    return good ? j : NULL;
}

int64_t unet_text_width(const struct unet_config *c)
{
    return c->text_dim ? c->text_dim : c->cross_attention_dim;
}

static struct value resnet(struct unet_way *b, struct value x, const char *at, int64_t out)
{
    return layer_resnet(b->n, x, b->time, at, out, b->c->groups, b->c->eps);
}

/* own: the transformer's depth where it is not the block's. */
static struct value attention(struct unet_way *b, struct value x, const char *at, size_t block, int64_t own)
{
    return layer_transformer(b->n, x, b->text, at, b->c->heads[block], own ? own : b->c->depth[block], b->c->groups,
                             b->c->use_linear_projection);
}

/* diffusers' TimestepEmbedding. */
static struct value embedding(struct net *n, struct value x, const char *at, int64_t width)
{
    x = layer_linear(n, x, path_of("%s.linear_1", at).s, width, true);
    return layer_linear(n, op_unary(n->g, x, UNARY_SILU), path_of("%s.linear_2", at).s, width, true);
}

/* What SDXL adds to the timestep: the pooled text, then sinusoids of each time id (Podell et al. 2023, section 2.2). */
static struct value addition(struct net *n, const struct unet_config *c, const struct unet_extra *extra)
{
    if (!extra || !extra->pooled.id || !extra->time_ids.id)
        return n->g->err.code ? VALUE_NONE : graph_fail(n->g, ERR_ARG, "the denoiser wants pooled text and time ids");
    struct shape ids = graph_shape(n->g, extra->time_ids);
    int64_t count = ids.dim[0] * ids.dim[1], pooled = shape_last(graph_shape(n->g, extra->pooled));
    if (pooled + ids.dim[1] * c->time_ids_dim != c->addition_width)
        return graph_fail(n->g, ERR_SHAPE, "the denoiser wants %lld numbers beside the timestep; a pooled text of %lld and "
                          "%lld time ids of %lld are others", (long long)c->addition_width, (long long)pooled,
                          (long long)ids.dim[1], (long long)c->time_ids_dim);
    struct value x = op_timestep_embedding(n->g, op_reshape(n->g, extra->time_ids, SHAPE(count)), c->time_ids_dim,
                                           c->flip_sin_to_cos, c->freq_shift, 10000);
    x = op_cast(n->g, op_reshape(n->g, x, SHAPE(ids.dim[0], ids.dim[1] * c->time_ids_dim)), n->type);
    return embedding(n, op_concat(n->g, extra->pooled, x, -1), "add_embedding", 4 * c->width[0]);
}

static struct value time_embedding(struct net *n, const struct unet_config *c, struct value timestep,
                                   const struct unet_extra *extra)
{
    int64_t width = 4 * c->width[0];
    struct value t = op_timestep_embedding(n->g, timestep, c->width[0], c->flip_sin_to_cos, c->freq_shift, 10000);
    t = op_cast(n->g, t, n->type);
    if (c->guidance_dim) { /* Meng et al. 2023, "On Distillation of Guided Diffusion Models" */
        if (!extra || !extra->guidance.id)
            return n->g->err.code ? VALUE_NONE : graph_fail(n->g, ERR_ARG, "the denoiser wants the guidance");
        struct value g = op_timestep_embedding(n->g, extra->guidance, c->guidance_dim, false, 1, 10000);
        t = op_add(n->g, t, layer_linear(n, op_cast(n->g, g, n->type), "time_embedding.cond_proj", c->width[0], false));
    }
    t = embedding(n, t, "time_embedding", width);
    if (c->text_time)
        t = op_add(n->g, t, addition(n, c, extra));
    return op_unary(n->g, t, UNARY_SILU); /* every resnet begins with it */
}

struct unet_way unet_way_begin(struct net *n, const struct unet_config *c, struct value timestep, struct value text, const struct unet_extra *extra)
{
    if (c->text_dim) /* Kolors: its text encoder is wider than the denoiser's attention */
        text = layer_linear(n, text, "encoder_hid_proj", c->cross_attention_dim, true);
    return (struct unet_way){ n, c, time_embedding(n, c, timestep, extra), text, { { 0 } }, 0 };
}

static void keep(struct unet_way *b, struct value x)
{
    b->skips[b->skip_count++] = x;
}

struct value unet_way_down(struct unet_way *b, struct value x)
{
    struct net *n = b->n;
    const struct unet_config *c = b->c;
    keep(b, x);
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("down_blocks.%zu", i);
        for (int64_t j = 0; j < c->layers[i]; j++) {
            graph_block_begin(n->g);
            x = resnet(b, x, path_of("%s.resnets.%d", at.s, (int)j).s, c->width[i]);
            if (c->down_attention[i])
                x = attention(b, x, path_of("%s.attentions.%d", at.s, (int)j).s, i, c->down_depth[i][j]);
            graph_block_end(n->g);
            keep(b, x);
        }
        if (i + 1 < c->blocks) {
            int64_t p = c->downsample_padding, pad[4] = { p, p, p, p };
            if (p == 0) /* diffusers: padded right and below only */
                pad[2] = pad[3] = 1;
            x = layer_conv_down(n, x, path_of("%s.downsamplers.0.conv", at.s).s, c->width[i], pad);
            keep(b, x);
        }
    }
    size_t last = c->blocks - 1;
    if (!c->no_middle) {
        graph_block_begin(n->g);
        x = resnet(b, x, "mid_block.resnets.0", c->width[last]);
        x = attention(b, x, "mid_block.attentions.0", last, 0);
        x = resnet(b, x, "mid_block.resnets.1", c->width[last]);
        graph_block_end(n->g);
    }
    return x;
}

/* What ControlNets say of a skip connection, or of the middle, is added to it. */
static struct value controlled(struct net *n, struct value x, size_t i)
{
    return op_add(n->g, x, graph_input(n->g, path_of("residual.%zu", i).s, n->type, graph_shape(n->g, x)));
}

struct value unet(struct net *n, const struct unet_config *c, struct value latent, struct value timestep,
                  struct value text, const struct unet_extra *extra)
{
    struct unet_way b = unet_way_begin(n, c, timestep, text, extra);
    struct value x = unet_way_down(&b, layer_conv(n, latent, "conv_in", c->width[0], 3, false));
    if (extra && extra->controlled) {
        for (size_t i = 0; i < b.skip_count; i++)
            b.skips[i] = controlled(n, b.skips[i], i);
        x = controlled(n, x, b.skip_count);
    }
    size_t last = c->blocks - 1;
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("up_blocks.%zu", i);
        size_t block = last - i;
        for (int64_t j = 0; j <= c->layers[block]; j++) {
            graph_block_begin(n->g);
            x = op_concat(n->g, x, b.skips[--b.skip_count], -1);
            x = resnet(&b, x, path_of("%s.resnets.%d", at.s, (int)j).s, c->width[block]);
            if (c->up_attention[i])
                x = attention(&b, x, path_of("%s.attentions.%d", at.s, (int)j).s, block, c->up_depth[i][j]);
            graph_block_end(n->g);
        }
        if (i < last) { /* up to the size of what is joined next */
            struct shape s = graph_shape(n->g, b.skips[b.skip_count - 1]);
            x = layer_conv_up(n, x, path_of("%s.upsamplers.0.conv", at.s).s, c->width[block], s.dim[1], s.dim[2]);
        }
    }
    x = layer_group_norm(n, x, "conv_norm_out", c->groups, c->eps, UNARY_SILU);
    return layer_conv(n, x, "conv_out", c->out_channels, 3, true);
}
