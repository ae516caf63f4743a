#include "model/denoiser/controlnet.h"

#include "model/denoiser/unet_internal.h"
#include "model/layer/layer.h"

/* A UNet's config with the way up that mirrors the way down: a new reference. */
static json_t *as_unet(const json_t *j)
{
    json_t *u = json_copy((json_t *)(uintptr_t)j), *up = json_array(), *down = json_object_get(j, "down_block_types");
    for (size_t i = json_array_size(down); i-- > 0;) {
        const char *word = json_string_value(json_array_get(down, i));
        json_array_append_new(up, json_string(word && !strncmp(word, "CrossAttn", 9) ? "CrossAttnUpBlock2D" : "UpBlock2D"));
    }
    bool good = u && !json_object_set(u, "up_block_types", up) && !json_object_set_new(u, "_class_name", json_string("UNet2DConditionModel"));
    json_decref(up);
    if (!good)
        json_decref(u);
    return good ? u : NULL;
}

bool controlnet_config_from_json(struct controlnet_config *c, const json_t *j, const char *path, struct err *e)
{
    static const int64_t usual[] = { 16, 32, 96, 256 };
    const char *class = "ControlNetModel", *order = "rgb";
    *c = (struct controlnet_config){ .picture_channels = 3, .hints = CONTROLNET_MOST_HINTS };
    bool given = json_is_array(json_object_get(j, "conditioning_embedding_out_channels"));
    if (!json_get_string(j, path, "_class_name", &class, e) || !json_get_string(j, path, "controlnet_conditioning_channel_order", &order, e) ||
        !json_get_int(j, path, "conditioning_channels", 1, 64, &c->picture_channels, e) ||
        !json_get_bool(j, path, "global_pool_conditions", &c->means, e) ||
        (given && !json_get_ints(j, path, "conditioning_embedding_out_channels", 1, 1 << 16, c->hint, &c->hints, e)))
        return false;
    if (!given) {
        memcpy(c->hint, usual, sizeof usual);
        c->hints = sizeof usual / sizeof *usual;
    }
    if (strcmp(class, "ControlNetModel"))
        return err_set(e, ERR_TYPE, "%s: \"_class_name\" is \"%s\", want ControlNetModel", path, class);
    if (strcmp(order, "rgb") && strcmp(order, "bgr"))
        return err_set(e, ERR_FORMAT, "%s: \"controlnet_conditioning_channel_order\" is \"%s\", want rgb or bgr", path, order);
    c->bgr = *order == 'b';
    json_t *u = as_unet(j);
    bool good = u ? unet_config_from_json(&c->unet, u, path, e) : err_nomem(e, path);
    json_decref(u);
    return good;
}

int64_t controlnet_cell(const struct controlnet_config *c)
{
    return (int64_t)1 << (c->hints - 1);
}

/* The picture at the latent's size, in the width of the UNet's first level: convolutions with SiLU between them. */
static struct value hint(struct net *n, const struct controlnet_config *c, struct value x)
{
    static const char *const at = "controlnet_cond_embedding";
    const int64_t pad[4] = { 1, 1, 1, 1 };
    x = layer_conv(n, x, path_of("%s.conv_in", at).s, c->hint[0], 3, false);
    for (size_t i = 0; i + 1 < c->hints; i++) {
        x = layer_conv(n, op_unary(n->g, x, UNARY_SILU), path_of("%s.blocks.%zu", at, 2 * i).s, c->hint[i], 3, false);
        x = layer_conv_down(n, op_unary(n->g, x, UNARY_SILU), path_of("%s.blocks.%zu", at, 2 * i + 1).s, c->hint[i + 1], pad);
    }
    return layer_conv(n, op_unary(n->g, x, UNARY_SILU), path_of("%s.conv_out", at).s, c->unet.width[0], 3, true);
}

size_t controlnet(struct net *n, const struct controlnet_config *c, struct value latent, struct value picture, struct value timestep,
                  struct value text, const struct unet_extra *extra, struct value *out)
{
    struct unet_way w = unet_way_begin(n, &c->unet, timestep, text, extra);
    struct value x = layer_conv(n, latent, "conv_in", c->unet.width[0], 3, false);
    x = unet_way_down(&w, op_add(n->g, x, hint(n, c, picture)));
    for (size_t i = 0; i < w.skip_count; i++) {
        int64_t width = shape_last(graph_shape(n->g, w.skips[i]));
        out[i] = layer_conv(n, w.skips[i], path_of("controlnet_down_blocks.%zu", i).s, width, 1, true);
    }
    out[w.skip_count] = layer_conv(n, x, "controlnet_mid_block", c->unet.width[c->unet.blocks - 1], 1, true);
    return w.skip_count + 1;
}
