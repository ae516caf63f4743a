#include "model/vae/vae.h"

#include "model/layer/layer.h"
#include "model/vae/vae_internal.h"

static const double eps = 1e-6; /* diffusers' encoder and decoder, all norms */

/* Every entry of a list of words must be `want`. */
static bool all_words(const json_t *j, const char *path, const char *key, const char *want, size_t count,
                      struct err *e)
{
    const json_t *list = json_object_get(j, key);
    if (!list)
        return true;
    if (!json_is_array(list) || json_array_size(list) != count)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" must be a list of %zu names, as block_out_channels", path, key, count);
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word || strcmp(word, want))
            return err_set(e, ERR_TYPE, "%s: \"%s\" holds \"%s\"; only %s is known", path, key, word ? word : "?", want);
    }
    return true;
}

/* A list of a number for each latent channel; missing: *count stays 0. */
static bool channel_numbers(const json_t *j, const char *path, const char *key, int64_t channels, double least, double *out,
                            size_t *count, struct err *e)
{
    const json_t *list = json_object_get(j, key);
    *count = 0;
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list) || json_array_size(list) != (size_t)channels || channels > VAE_MAX_NORMED)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" must be a list of \"latent_channels\" numbers, at most %d", path, key,
                       VAE_MAX_NORMED);
    for (size_t i = 0; i < (size_t)channels; i++) {
        const json_t *v = json_array_get(list, i);
        out[i] = json_number_value(v);
        if (!json_is_number(v) || !(out[i] >= least && out[i] <= 1e9))
            return err_set(e, ERR_FORMAT, "%s: entry %zu of \"%s\" must be a number from %g to 1e9", path, i, key, least);
    }
    *count = (size_t)channels;
    return true;
}

bool vae_config_from_json(struct vae_config *c, const json_t *j, const char *path, struct err *e)
{
    const char *kind = json_string_value(json_object_get(j, "_class_name"));
    if (kind && !strcmp(kind, "AutoencoderTiny"))
        return vae_tiny_config(c, j, path, e);
    *c = (struct vae_config){ .in_channels = 3, .out_channels = 3, .latent_channels = 4, .layers_per_block = 1,
                              .groups = 32, .width = { 64 }, .blocks = VAE_MAX_BLOCKS, .sample_size = 32,
                              .mid_attention = true, .quant_conv = true, .post_quant_conv = true,
                              .scaling_factor = 0.18215 };
    const char *class = "AutoencoderKL", *act = "silu";
    if (!json_object_get(j, "block_out_channels"))
        c->blocks = 1; /* diffusers' default: one block of 64 */
    bool good = json_get_string(j, path, "_class_name", &class, e) && json_get_string(j, path, "act_fn", &act, e) &&
                json_get_int(j, path, "in_channels", 1, 64, &c->in_channels, e) &&
                json_get_int(j, path, "out_channels", 1, 64, &c->out_channels, e) &&
                json_get_int(j, path, "latent_channels", 1, 256, &c->latent_channels, e) &&
                json_get_int(j, path, "layers_per_block", 1, 16, &c->layers_per_block, e) &&
                json_get_int(j, path, "norm_num_groups", 1, 4096, &c->groups, e) &&
                json_get_int(j, path, "sample_size", 1, 1 << 16, &c->sample_size, e) &&
                json_get_ints(j, path, "block_out_channels", 1, 1 << 16, c->width, &c->blocks, e) &&
                json_get_bool(j, path, "mid_block_add_attention", &c->mid_attention, e) &&
                json_get_bool(j, path, "use_quant_conv", &c->quant_conv, e) &&
                json_get_bool(j, path, "use_post_quant_conv", &c->post_quant_conv, e) &&
                json_get_double(j, path, "scaling_factor", 1e-9, 1e9, &c->scaling_factor, e) &&
                json_get_double(j, path, "shift_factor", -1e9, 1e9, &c->shift_factor, e) &&
                all_words(j, path, "down_block_types", "DownEncoderBlock2D", c->blocks, e) &&
                all_words(j, path, "up_block_types", "UpDecoderBlock2D", c->blocks, e);
    size_t means = 0;
    good = good && channel_numbers(j, path, "latents_mean", c->latent_channels, -1e9, c->mean, &means, e) &&
           channel_numbers(j, path, "latents_std", c->latent_channels, 1e-9, c->deviation, &c->normed, e);
    c->normed = means < c->normed ? means : c->normed; /* diffusers: only where both are there */
    if (good && strcmp(class, "AutoencoderKL"))
        good = err_set(e, ERR_TYPE, "%s: \"_class_name\" is \"%s\", want AutoencoderKL or AutoencoderTiny", path, class);
    if (good && strcmp(act, "silu") && strcmp(act, "swish"))
        good = err_set(e, ERR_FORMAT, "%s: \"act_fn\" is \"%s\", want silu", path, act);
    for (size_t i = 0; good && i < c->blocks; i++)
        if (c->width[i] % c->groups)
            good = err_set(e, ERR_FORMAT, "%s: \"norm_num_groups\" %lld does not divide \"block_out_channels\" %lld", path,
                           (long long)c->groups, (long long)c->width[i]);
    return good;
}

bool vae_config_read(struct vae_config *c, const char *path, struct err *e)
{
    json_t *j = json_read(path, e);
    bool good = j && vae_config_from_json(c, j, path, e);
    json_decref(j);
    return good;
}

json_t *vae_config_json(const struct vae_config *c)
{
    json_t *widths = json_array(), *down = json_array(), *up = json_array();
    for (size_t i = 0; i < c->blocks; i++) {
        json_array_append_new(widths, json_integer(c->width[i]));
        json_array_append_new(down, json_string("DownEncoderBlock2D"));
        json_array_append_new(up, json_string("UpDecoderBlock2D"));
    }
    json_t *j = json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:s,s:b,s:b,s:b,s:f,s:f}", "_class_name",
                          "AutoencoderKL", "_diffusers_version", "0.42.1", "in_channels", (int)c->in_channels, "out_channels",
                          (int)c->out_channels, "latent_channels", (int)c->latent_channels, "layers_per_block",
                          (int)c->layers_per_block, "norm_num_groups", (int)c->groups, "sample_size", (int)c->sample_size,
                          "block_out_channels", widths, "down_block_types", down, "up_block_types", up, "act_fn", "silu",
                          "mid_block_add_attention", c->mid_attention, "use_quant_conv", c->quant_conv,
                          "use_post_quant_conv", c->post_quant_conv, "scaling_factor", c->scaling_factor, "shift_factor",
                          c->shift_factor);
    json_t *mean = json_array(), *deviation = json_array();
    for (size_t i = 0; i < c->normed; i++) {
        json_array_append_new(mean, json_real(c->mean[i]));
        json_array_append_new(deviation, json_real(c->deviation[i]));
    }
    if (j && c->normed) {
        json_object_set(j, "latents_mean", mean);
        json_object_set(j, "latents_std", deviation);
    }
    json_decref(mean);
    json_decref(deviation);
    return j;
}

void vae_unscale(const struct vae_config *c, float *latents, int64_t n, int64_t cells)
{
    float factor = (float)c->scaling_factor;
    for (int64_t i = 0; i < n * c->latent_channels; i++) {
        float *x = latents + i * cells, mean = 0, deviation = 1;
        if (c->normed) {
            mean = (float)c->mean[i % c->latent_channels];
            deviation = (float)c->deviation[i % c->latent_channels];
        }
        for (int64_t k = 0; k < cells; k++)
            x[k] = x[k] * deviation / factor + mean;
    }
}

void vae_scale(const struct vae_config *c, float *latents, int64_t n, int64_t cells)
{
    float factor = (float)c->scaling_factor;
    for (int64_t i = 0; i < n * c->latent_channels; i++) {
        float *x = latents + i * cells, mean = 0, deviation = 1;
        if (c->normed) {
            mean = (float)c->mean[i % c->latent_channels];
            deviation = (float)c->deviation[i % c->latent_channels];
        }
        for (int64_t k = 0; k < cells; k++)
            x[k] = (x[k] - mean) * factor / deviation;
    }
}

int64_t vae_factor(const struct vae_config *c)
{
    return (int64_t)1 << (c->blocks - 1);
}

static struct value resnet(struct net *n, const struct vae_config *c, struct value x, const char *at, int64_t out)
{
    graph_block_begin(n->g);
    x = layer_resnet(n, x, VALUE_NONE, at, out, c->groups, eps);
    graph_block_end(n->g);
    return x;
}

static struct value middle(struct net *n, const struct vae_config *c, struct value x, const char *at)
{
    int64_t width = shape_last(graph_shape(n->g, x));
    x = resnet(n, c, x, path_of("%s.resnets.0", at).s, width);
    if (c->mid_attention) {
        struct path a = path_of("%s.attentions.0", at);
        struct shape s = graph_shape(n->g, x);
        struct value h = layer_group_norm(n, x, path_of("%s.group_norm", a.s).s, c->groups, eps, UNARY_NONE);
        h = op_reshape(n->g, h, SHAPE(s.dim[0], s.dim[1] * s.dim[2], s.dim[3]));
        h = op_reshape(n->g, layer_attention(n, h, h, a.s, 1, true), s);
        x = op_add(n->g, x, h);
    }
    return resnet(n, c, x, path_of("%s.resnets.1", at).s, width);
}

static struct value head(struct net *n, const struct vae_config *c, struct value x, const char *at, int64_t out)
{
    x = layer_group_norm(n, x, path_of("%s.conv_norm_out", at).s, c->groups, eps, UNARY_SILU);
    return layer_conv(n, x, path_of("%s.conv_out", at).s, out, 3, false);
}

struct value vae_encode(struct net *n, const struct vae_config *c, struct value image)
{
    static const int64_t pad[4] = { 0, 0, 1, 1 }; /* diffusers pads right and below only */
    if (c->kind == VAE_TINY)
        return vae_tiny_encode(n, c, image);
    struct value x = layer_conv(n, image, "encoder.conv_in", c->width[0], 3, false);
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("encoder.down_blocks.%zu", i);
        for (int64_t j = 0; j < c->layers_per_block; j++)
            x = resnet(n, c, x, path_of("%s.resnets.%d", at.s, (int)j).s, c->width[i]);
        if (i + 1 < c->blocks)
            x = layer_conv_down(n, x, path_of("%s.downsamplers.0.conv", at.s).s, c->width[i], pad);
    }
    x = head(n, c, middle(n, c, x, "encoder.mid_block"), "encoder", 2 * c->latent_channels);
    if (!c->quant_conv)
        return x;
    /* A latent that begins with a deviation of 1 drowns the mean, whose deviation begins near 0.1: measured on the emoji set,
     * colours were not found within 2000 steps. exp(-6 / 2) = 0.05 lets them through from the first step. */
    net_weight(n, "quant_conv", "bias", SHAPE(2 * c->latent_channels), INIT_LOGVAR, -6, false);
    return layer_conv(n, x, "quant_conv", 2 * c->latent_channels, 1, false);
}

struct value vae_decode(struct net *n, const struct vae_config *c, struct value latent)
{
    struct value x = latent;
    if (c->kind == VAE_TINY)
        return vae_tiny_decode(n, c, latent);
    if (c->post_quant_conv)
        x = layer_conv(n, x, "post_quant_conv", c->latent_channels, 1, false);
    x = layer_conv(n, x, "decoder.conv_in", c->width[c->blocks - 1], 3, false);
    x = middle(n, c, x, "decoder.mid_block");
    for (size_t i = 0; i < c->blocks; i++) {
        struct path at = path_of("decoder.up_blocks.%zu", i);
        int64_t width = c->width[c->blocks - 1 - i];
        for (int64_t j = 0; j <= c->layers_per_block; j++)
            x = resnet(n, c, x, path_of("%s.resnets.%d", at.s, (int)j).s, width);
        struct shape s = graph_shape(n->g, x);
        if (i + 1 < c->blocks)
            x = layer_conv_up(n, x, path_of("%s.upsamplers.0.conv", at.s).s, width, 2 * s.dim[1], 2 * s.dim[2]);
    }
    return head(n, c, x, "decoder", c->out_channels);
}
