#include "model/family/ldm_names.h"

#include <string.h>

#include "model/layer/net.h"

/* Parts of a module under both names. */
struct inside {
    const char *outer, *inner;
};

static const struct inside unet_resnet[] = {
    { "in_layers.0", "norm1" }, { "in_layers.2", "conv1" }, { "emb_layers.1", "time_emb_proj" },
    { "out_layers.0", "norm2" }, { "out_layers.3", "conv2" }, { "skip_connection", "conv_shortcut" }, { 0 },
};
static const struct inside unet_ends[] = {
    { "time_embed.0", "time_embedding.linear_1" }, { "time_embed.2", "time_embedding.linear_2" },
    { "encoder_hid_proj", "encoder_hid_proj" }, { "label_emb.0.0", "add_embedding.linear_1" }, { "label_emb.0.2", "add_embedding.linear_2" },
    { "input_blocks.0.0", "conv_in" }, { "out.0", "conv_norm_out" }, { "out.2", "conv_out" }, { 0 },
};
static const struct inside vae_resnet[] = {
    { "norm1", "norm1" }, { "conv1", "conv1" }, { "norm2", "norm2" }, { "conv2", "conv2" },
    { "nin_shortcut", "conv_shortcut" }, { 0 },
};
static const struct inside vae_attention[] = {
    { "norm", "group_norm" }, { "q", "to_q" }, { "k", "to_k" }, { "v", "to_v" }, { "proj_out", "to_out.0" }, { 0 },
};
static const struct inside vae_ends[] = {
    { "conv_in", "conv_in" }, { "norm_out", "conv_norm_out" }, { "conv_out", "conv_out" }, { 0 },
};
static const struct inside openclip_layer[] = {
    { "ln_1", "layer_norm1" }, { "ln_2", "layer_norm2" }, { "attn.out_proj", "self_attn.out_proj" },
    { "mlp.c_fc", "mlp.fc1" }, { "mlp.c_proj", "mlp.fc2" }, { 0 },
};
static const struct inside openclip_ends[] = {
    { "token_embedding", "text_model.embeddings.token_embedding" },
    { "positional_embedding", "text_model.embeddings.position_embedding.weight" },
    { "ln_final", "text_model.final_layer_norm" }, { 0 },
};

static bool pair(struct name_map *m, struct path outer, struct path inner, struct err *e)
{
    return name_map_add(m, NAME_WHOLE, outer.s, inner.s, e);
}

/* outer.x <-> inner.y for every row. */
static bool module(struct name_map *m, const struct inside *rows, const char *outer, const char *inner, struct err *e)
{
    for (; rows->outer; rows++)
        if (!pair(m, path_of("%s%s%s", outer, *outer ? "." : "", rows->outer),
                  path_of("%s%s%s", inner, *inner ? "." : "", rows->inner), e))
            return false;
    return true;
}

/* Blocks are numbered through: input_blocks.0 is the first convolution, then each level's resnets and its way down. */
static bool way_down(struct name_map *m, const struct ldm_unet *u, struct err *e)
{
    int block = 1;
    bool good = true;
    for (size_t i = 0; good && i < u->levels; i++) {
        for (int j = 0; good && j < u->layers[i]; j++, block++) {
            good = module(m, unet_resnet, path_of("input_blocks.%d.0", block).s, path_of("down_blocks.%zu.resnets.%d", i, j).s, e);
            if (good && u->down_attention[i])
                good = pair(m, path_of("input_blocks.%d.1", block), path_of("down_blocks.%zu.attentions.%d", i, j), e);
        }
        if (good && i + 1 < u->levels)
            good = pair(m, path_of("input_blocks.%d.0.op", block++), path_of("down_blocks.%zu.downsamplers.0.conv", i), e);
    }
    return good;
}

/* Here the way up is a part of the level's last block, behind its attention if it has one. */
static bool way_up(struct name_map *m, const struct ldm_unet *u, struct err *e)
{
    int block = 0;
    bool good = true;
    for (size_t i = 0; good && i < u->levels; i++) {
        size_t level = u->levels - 1 - i;
        bool attention = u->up_attention[level];
        for (int j = 0; good && j <= u->layers[level]; j++, block++) {
            good = module(m, unet_resnet, path_of("output_blocks.%d.0", block).s, path_of("up_blocks.%zu.resnets.%d", i, j).s, e);
            if (good && attention)
                good = pair(m, path_of("output_blocks.%d.1", block), path_of("up_blocks.%zu.attentions.%d", i, j), e);
            if (good && j == u->layers[level] && level > 0)
                good = pair(m, path_of("output_blocks.%d.%d.conv", block, attention ? 2 : 1),
                            path_of("up_blocks.%zu.upsamplers.0.conv", i), e);
        }
    }
    return good;
}

bool ldm_unet_names(struct name_map *m, const struct ldm_unet *u, struct err *e)
{
    return module(m, unet_ends, "", "", e) && way_down(m, u, e) && way_up(m, u, e) &&
           module(m, unet_resnet, "middle_block.0", "mid_block.resnets.0", e) &&
           name_map_add(m, NAME_WHOLE, "middle_block.1", "mid_block.attentions.0", e) &&
           module(m, unet_resnet, "middle_block.2", "mid_block.resnets.1", e);
}

bool ldm_control_names(struct name_map *m, struct err *e)
{
    enum { HINTS = 6, MOST_SKIPS = LDM_MAX_LEVELS * (LDM_MAX_LAYERS + 1) };
    bool good = pair(m, path_of("input_hint_block.0"), path_of("controlnet_cond_embedding.conv_in"), e) &&
                pair(m, path_of("input_hint_block.14"), path_of("controlnet_cond_embedding.conv_out"), e) &&
                pair(m, path_of("middle_block_out.0"), path_of("controlnet_mid_block"), e);
    for (int i = 0; good && i < HINTS; i++)
        good = pair(m, path_of("input_hint_block.%d", 2 + 2 * i), path_of("controlnet_cond_embedding.blocks.%d", i), e);
    for (int i = 0; good && i < MOST_SKIPS; i++)
        good = pair(m, path_of("zero_convs.%d.0", i), path_of("controlnet_down_blocks.%d", i), e);
    return good;
}

static bool vae_half(struct name_map *m, const struct ldm_vae *v, const char *half, struct err *e)
{
    bool encoder = !strcmp(half, "encoder"), good = module(m, vae_ends, half, half, e);
    const char *way = encoder ? "down" : "up";
    for (size_t i = 0; good && i < v->levels; i++) {
        size_t at = encoder ? i : v->levels - 1 - i; /* diffusers counts the decoder's blocks from the coarsest */
        struct path outer = path_of("%s.%s.%zu", half, way, i), inner = path_of("%s.%s_blocks.%zu", half, way, at);
        for (int j = 0; good && j < v->layers + !encoder; j++)
            good = module(m, vae_resnet, path_of("%s.block.%d", outer.s, j).s, path_of("%s.resnets.%d", inner.s, j).s, e);
        good = good && pair(m, path_of("%s.%ssample.conv", outer.s, way), path_of("%s.%ssamplers.0.conv", inner.s, way), e);
    }
    return good && module(m, vae_resnet, path_of("%s.mid.block_1", half).s, path_of("%s.mid_block.resnets.0", half).s, e) &&
           module(m, vae_attention, path_of("%s.mid.attn_1", half).s, path_of("%s.mid_block.attentions.0", half).s, e) &&
           module(m, vae_resnet, path_of("%s.mid.block_2", half).s, path_of("%s.mid_block.resnets.1", half).s, e);
}

bool ldm_vae_names(struct name_map *m, const struct ldm_vae *v, struct err *e)
{
    return vae_half(m, v, "encoder", e) && vae_half(m, v, "decoder", e) &&
           name_map_add(m, NAME_WHOLE, "quant_conv", "quant_conv", e) &&
           name_map_add(m, NAME_WHOLE, "post_quant_conv", "post_quant_conv", e);
}

bool ldm_vae_old_names(struct name_map *m, struct err *e)
{
    static const struct inside rows[] = { { "q", "query" }, { "k", "key" }, { "v", "value" }, { "proj_out", "proj_attn" }, { 0 } };
    return module(m, rows, "encoder.mid.attn_1", "encoder.mid_block.attentions.0", e) &&
           module(m, rows, "decoder.mid.attn_1", "decoder.mid_block.attentions.0", e);
}

bool ldm_tiny_vae_names(struct name_map *m, bool whole, struct err *e)
{
    enum { MOST_LAYERS = 64 };
    bool good = true;
    for (int i = 0; good && i < MOST_LAYERS; i++)
        good = pair(m, path_of("%s%d", whole ? "taesd_decoder." : "", i + 1), path_of("decoder.layers.%d", i), e) &&
               (!whole || pair(m, path_of("taesd_encoder.%d", i), path_of("encoder.layers.%d", i), e));
    return good;
}

bool ldm_openclip_names(struct name_map *m, int64_t layers, struct err *e)
{
    static const char *const thirds[] = { "q_proj", "k_proj", "v_proj" };
    static const char *const kinds[] = { "weight", "bias" };
    bool good = module(m, openclip_ends, "", "", e) &&
                name_map_add(m, NAME_TURNED, "text_projection", "text_projection.weight", e);
    for (int i = 0; good && i < layers; i++) {
        struct path outer = path_of("transformer.resblocks.%d", i), inner = path_of("text_model.encoder.layers.%d", i);
        good = module(m, openclip_layer, outer.s, inner.s, e);
        for (int k = 0; good && k < 6; k++)
            good = name_map_add(m, NAME_FIRST + k % 3, path_of("%s.attn.in_proj_%s", outer.s, kinds[k / 3]).s,
                                path_of("%s.self_attn.%s.%s", inner.s, thirds[k % 3], kinds[k / 3]).s, e);
    }
    return good;
}

bool ldm_clip_names(struct name_map *m, struct err *e)
{
    static const struct inside rows[] = {
        { "text_model", "text_model" }, { "embeddings", "text_model.embeddings" }, { "encoder", "text_model.encoder" },
        { "final_layer_norm", "text_model.final_layer_norm" }, { "text_projection", "text_projection" }, { 0 },
    };
    return module(m, rows, "", "", e);
}

bool ldm_same_names(struct name_map *m, struct err *e)
{
    return name_map_add(m, NAME_WHOLE, "", "", e);
}

static int64_t layers_of(const json_t *config, size_t level)
{
    const json_t *layers = json_object_get(config, "layers_per_block");
    return json_integer_value(json_is_array(layers) ? json_array_get(layers, level) : layers);
}

static bool attends(const json_t *config, const char *key, size_t at)
{
    const char *type = json_string_value(json_array_get(json_object_get(config, key), at));
    return type && !strncmp(type, "CrossAttn", 9);
}

void ldm_unet_of_config(struct ldm_unet *u, const json_t *config)
{
    size_t levels = json_array_size(json_object_get(config, "block_out_channels"));
    *u = (struct ldm_unet){ .levels = levels < LDM_MAX_LEVELS ? levels : LDM_MAX_LEVELS };
    for (size_t i = 0; i < u->levels; i++) {
        u->layers[i] = json_object_get(config, "layers_per_block") ? layers_of(config, i) : 2;
        u->down_attention[i] = attends(config, "down_block_types", i);
        u->up_attention[i] = attends(config, "up_block_types", u->levels - 1 - i);
    }
}

void ldm_vae_of_config(struct ldm_vae *v, const json_t *config)
{
    size_t levels = json_array_size(json_object_get(config, "block_out_channels"));
    *v = (struct ldm_vae){ levels < LDM_MAX_LEVELS ? levels : LDM_MAX_LEVELS,
                           json_object_get(config, "layers_per_block") ? layers_of(config, 0) : 1 };
}
