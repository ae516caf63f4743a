/* The configs that a single file does not carry: what a family always has is a row of text here, sizes come from shapes.
 *
 * source  the config files of the families' own folders (stable-diffusion-v1-5, -inpainting, stable-diffusion-2-base, -2-1,
 *         -2-inpainting, stable-diffusion-xl-base-1.0, -refiner-1.0, Kolors-diffusers), as diffusers takes them for single files. */
#include <string.h>

#include "model/family/glm_file.h"
#include "model/family/single_internal.h"
#include "model/layer/net.h"

#define UNET_ALL \
    "\"_class_name\": \"UNet2DConditionModel\", \"act_fn\": \"silu\", \"center_input_sample\": false, " \
    "\"downsample_padding\": 1, \"flip_sin_to_cos\": true, \"freq_shift\": 0, \"mid_block_scale_factor\": 1, " \
    "\"norm_eps\": 1e-5, \"norm_num_groups\": 32"
#define XL_CONDITIONS "\"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 256"
#define VAE_ALL \
    "\"_class_name\": \"AutoencoderKL\", \"act_fn\": \"silu\", \"norm_num_groups\": 32"
#define TEXT_ALL \
    "\"model_type\": \"clip_text_model\", \"layer_norm_eps\": 1e-5, \"bos_token_id\": 0, \"eos_token_id\": 2, " \
    "\"attention_dropout\": 0.0, \"dropout\": 0.0, \"initializer_factor\": 1.0, \"initializer_range\": 0.02"
#define CLIP_L "{" TEXT_ALL ", \"hidden_act\": \"quick_gelu\", \"pad_token_id\": 1}"
#define OPENCLIP "{" TEXT_ALL ", \"hidden_act\": \"gelu\", \"pad_token_id\": 1}"
#define SCHEDULE \
    "\"num_train_timesteps\": 1000, \"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\", " \
    "\"trained_betas\": null, \"clip_sample\": false, \"set_alpha_to_one\": false, \"skip_prk_steps\": true, " \
    "\"steps_offset\": 1"
#define EULER_OF(schedule) \
    "{\"_class_name\": \"EulerDiscreteScheduler\", " schedule ", \"interpolation_type\": \"linear\", " \
    "\"timestep_spacing\": \"leading\", \"use_karras_sigmas\": false}"
#define EULER EULER_OF(SCHEDULE)
#define KOLORS_EULER \
    EULER_OF("\"num_train_timesteps\": 1100, \"beta_start\": 0.00085, \"beta_end\": 0.014, " \
             "\"beta_schedule\": \"scaled_linear\", \"steps_offset\": 1")
#define GLM \
    "{\"model_type\": \"chatglm\", \"architectures\": [\"ChatGLMModel\"], \"layernorm_epsilon\": 1e-5, \"rmsnorm\": true, " \
    "\"post_layer_norm\": true, \"apply_residual_connection_post_layernorm\": false, \"multi_query_attention\": true, " \
    "\"seq_length\": 32768, \"original_rope\": true, \"fp32_residual_connection\": false, \"bias_dropout_fusion\": true, " \
    "\"attention_softmax_in_fp32\": true, \"apply_query_key_layer_scaling\": true, \"quantization_bit\": 0, " \
    "\"pre_seq_len\": null, \"prefix_projection\": false, \"hidden_dropout\": 0.0, \"attention_dropout\": 0.0}"

/* What no shape tells, by model line. */
static const struct line {
    const char *pipeline, *inpaint; /* diffusers' classes; NULL: there is no such model */
    const char *unet, *vae, *text, *text_2, *scheduler;
    int64_t side, v_side;           /* "sample_size" of the UNet: latent cells; the second of v-prediction */
    int64_t heads, head_width;      /* one of them is fixed */
    int64_t text_layers;            /* at most so many of the text encoder's are used; 0: all */
    const char *pad, *pad_2;        /* what the tokenizers fill up with */
} lines[KIND_COUNT] = {
    [KIND_NONE] = { .vae = "{" VAE_ALL ", \"scaling_factor\": 0.18215}", .text = CLIP_L, .text_2 = OPENCLIP,
                      .pad = "<|endoftext|>", .pad_2 = "!" },
    [KIND_SD1] = { "StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "{" UNET_ALL "}",
                     "{" VAE_ALL ", \"scaling_factor\": 0.18215}", CLIP_L, NULL,
                     "{\"_class_name\": \"PNDMScheduler\", " SCHEDULE "}", 64, 64, 8, 0, 0, "<|endoftext|>", NULL },
    /* diffusers leaves out OpenCLIP-H's last layer of 24: SD 2 was made with the states before it */
    [KIND_SD2] = { "StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "{" UNET_ALL "}",
                     "{" VAE_ALL ", \"scaling_factor\": 0.18215}", OPENCLIP, NULL,
                     "{\"_class_name\": \"PNDMScheduler\", " SCHEDULE "}", 64, 96, 0, 64, 23, "!", NULL },
    [KIND_SDXL] = { "StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline",
                      "{" UNET_ALL ", " XL_CONDITIONS "}",
                      "{" VAE_ALL ", \"scaling_factor\": 0.13025, \"force_upcast\": true}", CLIP_L, OPENCLIP, EULER, 128, 128,
                      0, 64, 0, "<|endoftext|>", "!" },
    [KIND_SDXL_REFINER] = { "StableDiffusionXLImg2ImgPipeline", NULL, "{" UNET_ALL ", " XL_CONDITIONS "}",
                              "{" VAE_ALL ", \"scaling_factor\": 0.13025, \"force_upcast\": true}", NULL, OPENCLIP, EULER, 128,
                              128, 0, 64, 0, NULL, "!" },
    [KIND_KOLORS] = { "KolorsPipeline", "KolorsInpaintPipeline", "{" UNET_ALL ", " XL_CONDITIONS "}",
                      "{" VAE_ALL ", \"scaling_factor\": 0.13025, \"force_upcast\": true}", GLM, NULL, KOLORS_EULER, 128, 128,
                      0, 64, 0, NULL, NULL },
};

/* Sizes that the family's fixed numbers do not divide are those of another model. */
static bool odd_size(const struct weights *w, const char *what, int64_t size, int64_t divisor, struct err *e)
{
    return err_set(e, ERR_TYPE, "%s: %s is %lld, no multiple of %lld as in every model of its family: heads and groups cannot be "
                   "known; --config FOLDER gives the configs of such a model", weights_path(w), what, (long long)size,
                   (long long)divisor);
}

/* A dimension of a tensor that must be there. */
static bool size_of(const struct weights *w, const char *name, int at, int64_t *out, struct err *e)
{
    const struct weight *t = weights_need(w, name, e);
    if (t && at >= t->shape.rank)
        return err_set(e, ERR_SHAPE, "%s: \"%s\" is %s", weights_path(w), name, shape_text(t->shape).s);
    if (t)
        *out = t->shape.dim[at];
    return t != NULL;
}

static int64_t count_of(const struct weights *w, const char *before, const char *behind)
{
    int64_t n = 0;
    while (n < 1000 && weights_find(w, path_of("%s%lld%s", before, (long long)n, behind).s))
        n++;
    return n;
}

static bool put(json_t *j, const char *key, json_t *value, struct err *e)
{
    return !json_object_set_new(j, key, value) || err_nomem(e, "a config");
}

/* How deep the attentions of a block are; -1 if it has none. All must be alike. */
static bool depth_of(const struct weights *w, const char *block, int64_t attentions, int64_t *depth, struct err *e)
{
    *depth = -1;
    for (int64_t j = 0; j < attentions; j++) {
        int64_t n = count_of(w, path_of("%s.attentions.%lld.transformer_blocks.", block, (long long)j).s, ".norm1.weight");
        if (n == 0)
            n = -1;
        if (j && n != *depth)
            return err_set(e, ERR_TYPE, "%s: the attentions of %s are %lld and %lld deep: no model that is known here is made "
                           "so", weights_path(w), block, (long long)*depth, (long long)n);
        *depth = n;
    }
    return true;
}

/* Widths, layers, types and heads of the levels. */
static bool unet_levels(json_t *j, const struct weights *w, const struct line *l, struct err *e)
{
    int64_t levels = count_of(w, "down_blocks.", ".resnets.0.conv1.weight");
    json_t *widths = json_array(), *layers = json_array(), *down = json_array(), *up = json_array(), *depths = json_array();
    json_t *heads = json_array();
    bool good = true;
    for (int64_t i = 0; good && i < levels; i++) {
        struct path at = path_of("down_blocks.%lld", (long long)i), last = path_of("up_blocks.%lld", (long long)i);
        int64_t n = count_of(w, path_of("%s.resnets.", at.s).s, ".conv1.weight"), width = 0, depth = 0, up_depth = 0;
        good = size_of(w, path_of("%s.resnets.0.conv1.weight", at.s).s, 0, &width, e) &&
               depth_of(w, at.s, n, &depth, e) &&
               depth_of(w, last.s, count_of(w, path_of("%s.resnets.", last.s).s, ".conv1.weight"), &up_depth, e);
        if (good && width % 32)
            good = odd_size(w, "a width of the UNet", width, 32, e);
        if (good && width % (l->heads ? l->heads : l->head_width))
            good = odd_size(w, "a width of the UNet", width, l->heads ? l->heads : l->head_width, e);
        json_array_append_new(widths, json_integer(width));
        json_array_append_new(layers, json_integer(n));
        json_array_append_new(down, json_string(depth > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        json_array_append_new(up, json_string(up_depth > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D"));
        json_array_append_new(depths, json_integer(depth > 0 ? depth : 1));
        json_array_append_new(heads, json_integer(l->heads ? l->heads : width / l->head_width));
    }
    /* the middle is as deep as the last level, which may have no attention of its own (XL's refiner) */
    int64_t middle = count_of(w, "mid_block.attentions.0.transformer_blocks.", ".norm1.weight");
    if (good && levels)
        json_array_set_new(depths, (size_t)levels - 1, json_integer(middle));
    bool same = true, flat = true;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        same = same && json_equal(json_array_get(layers, i), json_array_get(layers, 0));
        flat = flat && json_integer_value(json_array_get(depths, i)) == 1;
    }
    good = good && put(j, "block_out_channels", json_incref(widths), e) &&
           put(j, "layers_per_block", json_incref(same ? json_array_get(layers, 0) : layers), e) &&
           put(j, "down_block_types", json_incref(down), e) && put(j, "up_block_types", json_incref(up), e) &&
           put(j, "attention_head_dim", l->heads ? json_integer(l->heads) : json_incref(heads), e) &&
           (flat || put(j, "transformer_layers_per_block", json_incref(depths), e));
    json_decref(widths);
    json_decref(layers);
    json_decref(down);
    json_decref(up);
    json_decref(depths);
    json_decref(heads);
    return good;
}

/* What a ControlNet's picture goes through. */
static bool control_config(json_t *j, const struct weights *w, struct err *e)
{
    int64_t channels = 0, width = 0;
    if (!size_of(w, "controlnet_cond_embedding.conv_in.weight", 1, &channels, e) || !size_of(w, "controlnet_cond_embedding.conv_in.weight", 0, &width, e))
        return false;
    json_t *hints = json_pack("[I]", (json_int_t)width);
    int64_t count = count_of(w, "controlnet_cond_embedding.blocks.", ".weight");
    bool good = hints || err_nomem(e, "a config");
    for (int64_t i = 1; good && i < count; i += 2) {
        good = size_of(w, path_of("controlnet_cond_embedding.blocks.%lld.weight", (long long)i).s, 0, &width, e);
        json_array_append_new(hints, json_integer(width));
    }
    good = good && put(j, "_class_name", json_string("ControlNetModel"), e) && put(j, "conditioning_channels", json_integer(channels), e) &&
           put(j, "conditioning_embedding_out_channels", json_incref(hints), e);
    json_decref(hints);
    return good;
}

static bool unet_config(json_t *j, const struct weights *w, const struct line *l, enum predicts how, struct err *e)
{
    int64_t in = 0, out = 0, context = 0, conditions = 0;
    const struct weight *proj = weights_find(w, "mid_block.attentions.0.proj_in.weight");
    bool control = weights_find(w, "controlnet_cond_embedding.conv_in.weight") != NULL; /* has no way up, and so no end */
    if (!size_of(w, "conv_in.weight", 1, &in, e) || !size_of(w, control ? "conv_in.weight" : "conv_out.weight", control, &out, e) ||
        !size_of(w, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1, &context, e) ||
        !unet_levels(j, w, l, e))
        return false;
    if (in != 4 && in != 9)
        return err_set(e, ERR_TYPE, "%s: the UNet takes %lld channels; models of 4 (pictures) and 9 (inpainting) are known",
                       weights_path(w), (long long)in);
    if (weights_find(w, "add_embedding.linear_1.weight") &&
        !(size_of(w, "add_embedding.linear_1.weight", 1, &conditions, e) &&
          put(j, "projection_class_embeddings_input_dim", json_integer(conditions), e)))
        return false;
    int64_t states = 0;
    if (weights_find(w, "encoder_hid_proj.weight") &&
        !(size_of(w, "encoder_hid_proj.weight", 1, &states, e) && put(j, "encoder_hid_dim", json_integer(states), e) &&
          put(j, "encoder_hid_dim_type", json_string("text_proj"), e)))
        return false;
    return (!control || control_config(j, w, e)) && put(j, "in_channels", json_integer(in), e) && put(j, "out_channels", json_integer(out), e) &&
           put(j, "cross_attention_dim", json_integer(context), e) &&
           put(j, "sample_size", json_integer(how == PREDICTS_V ? l->v_side : l->side), e) &&
           put(j, "use_linear_projection", json_boolean(proj && proj->shape.rank == 2), e);
}

/* How many blocks stand between the convolutions that change the size: each run of blocks, then for the decoder a layer without
 * weights, then a convolution. */
static bool tiny_blocks(json_t *counts, json_t *widths, const struct weights *w, bool decoder, int64_t width, struct err *e)
{
    const char *half = decoder ? "decoder" : "encoder";
    for (int layer = decoder ? 2 : 0, runs = 0; runs < LDM_MAX_LEVELS; runs++) {
        int64_t n = 0;
        if (!decoder && !weights_find(w, path_of("encoder.layers.%d.weight", layer++).s))
            break;
        for (; n < LDM_MAX_LAYERS && weights_find(w, path_of("%s.layers.%d.conv.0.weight", half, layer).s); n++)
            layer++;
        bool last = weights_find(w, path_of("%s.layers.%d.bias", half, layer).s) != NULL; /* those between have none */
        json_array_append_new(counts, json_integer(n));
        json_array_append_new(widths, json_integer(width));
        if (last)
            return true;
        layer += decoder ? 2 : 0;
    }
    return err_set(e, ERR_TYPE, "%s: a tiny autoencoder whose %s has no end", weights_path(w), half);
}

static bool tiny_vae_config(json_t *j, const struct weights *w, struct err *e)
{
    int64_t width = 0, latent = 0;
    if (!size_of(w, "decoder.layers.0.weight", 0, &width, e) || !size_of(w, "decoder.layers.0.weight", 1, &latent, e))
        return false;
    json_t *down = json_array(), *up = json_array(), *widths = json_array(), *ignored = json_array();
    bool good = tiny_blocks(up, widths, w, true, width, e);
    if (good && weights_find(w, "encoder.layers.0.weight"))
        good = tiny_blocks(down, ignored, w, false, width, e);
    for (size_t i = json_array_size(up); good && !json_array_size(ignored) && i-- > 0;)
        json_array_append(down, json_array_get(up, i)); /* a decoder alone */
    json_object_clear(j);
    good = good && put(j, "_class_name", json_string("AutoencoderTiny"), e) && put(j, "act_fn", json_string("relu"), e) &&
           put(j, "in_channels", json_integer(3), e) && put(j, "out_channels", json_integer(3), e) &&
           put(j, "latent_channels", json_integer(latent), e) && put(j, "num_encoder_blocks", json_incref(down), e) &&
           put(j, "num_decoder_blocks", json_incref(up), e) && put(j, "encoder_block_out_channels", json_deep_copy(widths), e) &&
           put(j, "decoder_block_out_channels", json_incref(widths), e) && put(j, "upsampling_scaling_factor", json_integer(2), e) &&
           put(j, "scaling_factor", json_real(1), e) && put(j, "shift_factor", json_real(0), e);
    json_decref(down);
    json_decref(up);
    json_decref(widths);
    json_decref(ignored);
    return good;
}

static bool vae_config(json_t *j, const struct weights *w, struct err *e)
{
    if (weights_find(w, "decoder.layers.0.weight"))
        return tiny_vae_config(j, w, e);
    int64_t latent = 0, levels = count_of(w, "decoder.up_blocks.", ".resnets.0.conv1.weight"), width = 0;
    int64_t layers = count_of(w, "decoder.up_blocks.0.resnets.", ".conv1.weight") - 1;
    if (!size_of(w, "decoder.conv_in.weight", 1, &latent, e))
        return false;
    json_t *widths = json_array(), *down = json_array(), *up = json_array();
    bool good = true;
    for (int64_t i = levels; good && i-- > 0;) {
        good = size_of(w, path_of("decoder.up_blocks.%lld.resnets.0.conv1.weight", (long long)i).s, 0, &width, e) &&
               (width % 32 == 0 || odd_size(w, "a width of the VAE", width, 32, e));
        json_array_append_new(widths, json_integer(width));
        json_array_append_new(down, json_string("DownEncoderBlock2D"));
        json_array_append_new(up, json_string("UpDecoderBlock2D"));
    }
    good = good && put(j, "block_out_channels", json_incref(widths), e) && put(j, "down_block_types", json_incref(down), e) &&
           put(j, "up_block_types", json_incref(up), e) && put(j, "in_channels", json_integer(3), e) &&
           put(j, "out_channels", json_integer(3), e) && put(j, "latent_channels", json_integer(latent), e) &&
           put(j, "layers_per_block", json_integer(layers), e) &&
           put(j, "mid_block_add_attention",
               json_boolean(weights_find(w, "decoder.mid_block.attentions.0.group_norm.weight") != NULL), e) &&
           put(j, "use_quant_conv", json_boolean(weights_find(w, "quant_conv.weight") != NULL), e) &&
           put(j, "use_post_quant_conv", json_boolean(weights_find(w, "post_quant_conv.weight") != NULL), e);
    json_decref(widths);
    json_decref(down);
    json_decref(up);
    return good;
}

static bool text_config(json_t *j, const struct weights *w, const struct line *l, bool projects, struct err *e)
{
    int64_t vocabulary = 0, width = 0, places = 0, inside = 0, projection = 0;
    int64_t layers = count_of(w, "text_model.encoder.layers.", ".layer_norm1.weight");
    const char *words = "text_model.embeddings.token_embedding.weight";
    if (!size_of(w, words, 0, &vocabulary, e) || !size_of(w, words, 1, &width, e) ||
        !size_of(w, "text_model.embeddings.position_embedding.weight", 0, &places, e) ||
        !size_of(w, "text_model.encoder.layers.0.mlp.fc1.weight", 0, &inside, e))
        return false;
    if (width % 64)
        return odd_size(w, "the text encoder's width", width, 64, e);
    projection = width;
    if (weights_find(w, "text_projection.weight") && !size_of(w, "text_projection.weight", 0, &projection, e))
        return false;
    if (!projects && l->text_layers && layers > l->text_layers)
        layers = l->text_layers;
    return put(j, "architectures", json_pack("[s]", projects ? "CLIPTextModelWithProjection" : "CLIPTextModel"), e) &&
           put(j, "vocab_size", json_integer(vocabulary), e) && put(j, "hidden_size", json_integer(width), e) &&
           put(j, "max_position_embeddings", json_integer(places), e) &&
           put(j, "intermediate_size", json_integer(inside), e) && put(j, "num_hidden_layers", json_integer(layers), e) &&
           put(j, "num_attention_heads", json_integer(width / 64), e) &&
           put(j, "projection_dim", json_integer(projection), e);
}

/* SD 2 with v-prediction came with DDIM; XL models with an empty tensor "ztsnr" have no signal at the last step. */
static bool scheduler_config(json_t *j, const struct single_file *f, enum predicts how, struct err *e)
{
    if (how == PREDICTS_V && f->kind == KIND_SD2 && !put(j, "_class_name", json_string("DDIMScheduler"), e))
        return false;
    if (weights_find(f->all, "ztsnr") && !put(j, "rescale_betas_zero_snr", json_true(), e))
        return false;
    return put(j, "prediction_type", json_string(how == PREDICTS_V ? "v_prediction" : "epsilon"), e);
}

static bool kolors_index(json_t *j, struct err *e)
{
    return put(j, "text_encoder", json_pack("[s, s]", "kolors", "ChatGLMModel"), e) &&
           put(j, "tokenizer", json_pack("[s, s]", "kolors", "ChatGLMTokenizer"), e) &&
           put(j, "force_zeros_for_empty_prompt", json_false(), e);
}

static bool model_index(json_t *j, const struct single_file *f, const struct line *line, enum predicts how,
                        struct err *e)
{
    static const char *const classes[SINGLE_PARTS] = { "CLIPTextModel", "CLIPTextModelWithProjection",
                                                       "UNet2DConditionModel", "AutoencoderKL" };
    const char *class = single_file_inpaints(f) ? line->inpaint : line->pipeline;
    if (!class)
        return err_set(e, ERR_TYPE, "%s: an inpainting model of %s is not known", weights_path(f->all),
                       single_kind_titles[f->kind]);
    json_t *scheduler = json_loads(line->scheduler, 0, NULL);
    const char *steps = json_string_value(json_object_get(scheduler, "_class_name"));
    bool v = f->kind == KIND_SD2 && how == PREDICTS_V;
    bool good = put(j, "_class_name", json_string(class), e) && put(j, "_diffusers_version", json_string("0.42.1"), e) &&
                put(j, "scheduler", json_pack("[s, s]", "diffusers", v ? "DDIMScheduler" : steps), e);
    json_decref(scheduler);
    const char *const wanted[SINGLE_PARTS] = { line->text, line->text_2, line->unet, line->vae };
    for (int part = 0; good && part < SINGLE_PARTS; part++) {
        if (wanted[part])
            good = put(j, single_part_names[part],
                       json_pack("[s, s]", part <= SINGLE_TEXT_2 ? "transformers" : "diffusers", classes[part]), e);
        else if (f->kind >= KIND_SDXL && f->kind != KIND_KOLORS)
            good = put(j, single_part_names[part], json_pack("[n, n]"), e);
    }
    if (f->kind == KIND_KOLORS)
        return good && kolors_index(j, e);
    good = good && put(j, "tokenizer", line->text ? json_pack("[s, s]", "transformers", "CLIPTokenizer") : json_pack("[n, n]"), e);
    if (good && f->kind >= KIND_SDXL)
        good = put(j, "tokenizer_2", json_pack("[s, s]", "transformers", "CLIPTokenizer"), e) &&
               put(j, "force_zeros_for_empty_prompt", json_boolean(f->kind == KIND_SDXL), e);
    if (good && f->kind == KIND_SDXL_REFINER)
        good = put(j, "requires_aesthetics_score", json_true(), e);
    if (good && f->kind < KIND_SDXL)
        good = put(j, "safety_checker", json_pack("[n, n]"), e) && put(j, "feature_extractor", json_pack("[n, n]"), e) &&
               put(j, "requires_safety_checker", json_false(), e);
    return good;
}

static json_t *begin(const char *text, struct err *e)
{
    json_t *j = json_loads(text, 0, NULL);
    if (!j)
        err_nomem(e, "a config");
    return j;
}

static json_t *part_json(const struct single_file *f, enum single_part part, enum predicts how, struct err *e)
{
    const struct line *line = &lines[f->kind];
    const char *const texts[SINGLE_PARTS] = { line->text, line->text_2, line->unet, line->vae };
    bool glm = part == SINGLE_TEXT && single_file_is_glm(f), projects = part == SINGLE_TEXT_2;
    const char *text = glm ? GLM : texts[part];
    if (part == SINGLE_TEXT && f->kind == KIND_NONE && f->place[part].there && !glm) {
        enum single_kind whose = single_file_text(f);
        projects = whose == KIND_SDXL;
        line = &lines[whose];
        text = projects || f->place[part].naming == NAMING_OPENCLIP ? OPENCLIP : line->text;
    }
    if (!text) {
        err_set(e, ERR_MISSING, "%s has no %s, as %s has none", weights_path(f->all), single_part_names[part],
                single_kind_titles[f->kind]);
        return NULL;
    }
    struct weights *w = single_file_weights(f, part, e);
    json_t *j = w ? begin(text, e) : NULL;
    bool good = j != NULL;
    if (good && part == SINGLE_UNET)
        good = unet_config(j, w, line, how, e);
    else if (good && part == SINGLE_VAE)
        good = vae_config(j, w, e);
    else if (good && glm)
        good = glm_config(j, w, e);
    else if (good)
        good = text_config(j, w, line, projects, e);
    weights_free(w);
    if (good)
        return j;
    json_decref(j);
    return NULL;
}

static json_t *tokenizer_json(const struct single_file *f, const char *part, struct err *e)
{
    const struct line *line = &lines[f->kind];
    if (!strcmp(part, "tokenizer") && single_file_is_glm(f))
        return begin("{\"tokenizer_class\": \"ChatGLMTokenizer\", \"padding_side\": \"left\", \"do_lower_case\": false, "
                     "\"remove_space\": false, \"clean_up_tokenization_spaces\": false}", e);
    const char *pad = !strcmp(part, "tokenizer_2") ? line->pad_2 : line->pad;
    json_t *j = pad ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:b}", "tokenizer_class", "CLIPTokenizer", "bos_token",
                                "<|startoftext|>", "eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>", "pad_token", pad,
                                "model_max_length", 77.0, "do_lower_case", 1) : NULL;
    if (!j)
        err_set(e, pad ? ERR_NOMEM : ERR_MISSING, "%s has no %s", weights_path(f->all), part);
    return j;
}

json_t *single_kind_json(enum single_kind kind, const char *part, struct err *e)
{
    return begin(!strcmp(part, "vae") ? lines[kind].vae : lines[kind].scheduler, e);
}

json_t *single_file_json(const struct single_file *f, const char *part, enum predicts how, struct err *e)
{
    const struct line *line = &lines[f->kind];
    if (how == PREDICTS_AUTO)
        how = single_file_predicts(f, NULL);
    for (int i = 0; i < SINGLE_PARTS; i++)
        if (!strcmp(part, single_part_names[i]))
            return part_json(f, (enum single_part)i, how, e);
    if (!strncmp(part, "tokenizer", 9))
        return tokenizer_json(f, part, e);
    if (f->kind == KIND_NONE) {
        err_set(e, ERR_MISSING, "%s holds no UNet: it is a part of a model, not one that can draw", weights_path(f->all));
        return NULL;
    }
    bool scheduler = !strcmp(part, "scheduler");
    json_t *j = scheduler ? begin(line->scheduler, e) : json_object();
    bool good = j && (scheduler ? scheduler_config(j, f, how, e) : model_index(j, f, line, how, e));
    if (good)
        return j;
    json_decref(j);
    return NULL;
}
