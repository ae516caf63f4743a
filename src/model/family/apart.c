#include "model/family/apart.h"

#include <stdio.h>
#include <string.h>

#include "model/family/single_file.h"

static const struct {
    const char *part, *name, *json;
} configs[] = {
    { "", NULL,
      "{\"_class_name\": \"KolorsPipeline\", \"force_zeros_for_empty_prompt\": false,"
      " \"scheduler\": [\"diffusers\", \"EulerDiscreteScheduler\"], \"text_encoder\": [\"kolors\", \"ChatGLMModel\"],"
      " \"tokenizer\": [\"kolors\", \"ChatGLMTokenizer\"], \"unet\": [\"diffusers\", \"UNet2DConditionModel\"],"
      " \"vae\": [\"diffusers\", \"AutoencoderKL\"]}" },
    { "scheduler", "../scheduler/scheduler_config.json", NULL }, /* single_kind_json has it */
    { "unet", "config.json",
      "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 128, \"in_channels\": 4, \"out_channels\": 4,"
      " \"block_out_channels\": [320, 640, 1280], \"layers_per_block\": 2, \"attention_head_dim\": [5, 10, 20],"
      " \"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\"],"
      " \"up_block_types\": [\"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"UpBlock2D\"],"
      " \"transformer_layers_per_block\": [1, 2, 10], \"cross_attention_dim\": 2048, \"norm_num_groups\": 32,"
      " \"use_linear_projection\": true, \"flip_sin_to_cos\": true, \"freq_shift\": 0, \"encoder_hid_dim\": 4096,"
      " \"encoder_hid_dim_type\": \"text_proj\", \"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 256,"
      " \"projection_class_embeddings_input_dim\": 5632}" },
    { "vae", "config.json",
      "{\"_class_name\": \"AutoencoderKL\", \"block_out_channels\": [128, 256, 512, 512], \"latent_channels\": 4,"
      " \"layers_per_block\": 2, \"norm_num_groups\": 32, \"sample_size\": 1024, \"scaling_factor\": 0.13025,"
      " \"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\"],"
      " \"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]}" },
};

bool apart_folder(char *out, const char *path, struct err *e)
{
    if (!path_join(out, "", path, e))
        return false;
    if (!path_is_folder(path))
        out[strlen(out) - strlen(path_name(out))] = 0;
    if (!*out)
        strcpy(out, ".");
    return true;
}

json_t *apart_config(const char *path, const char *key, const char *begins, char where[PATH_MAX_BYTES], struct err *e)
{
    char folder[PATH_MAX_BYTES];
    if (!apart_folder(folder, path, e) || !path_join(where, folder, "config.json", e) || !path_exists(where))
        return NULL;
    json_t *j = json_read(where, e);
    const json_t *class = json_object_get(j, key);
    const char *word = json_string_value(json_is_array(class) ? json_array_get(class, 0) : class);
    if (j && word && !strncmp(word, begins, strlen(begins)))
        return j;
    json_decref(j);
    return NULL;
}

json_t *apart_json(const char *part, const char *path, char where[PATH_MAX_BYTES], struct err *e)
{
    char folder[PATH_MAX_BYTES];
    size_t i = 0, count = sizeof configs / sizeof *configs;
    while (i < count && strcmp(configs[i].part, part))
        i++;
    if (i == count) {
        err_set(e, ERR_MISSING, "a Kolors in parts has no \"%s\"", part);
        return NULL;
    }
    if (configs[i].name) {
        if (!apart_folder(folder, path, e) || !path_join(where, folder, configs[i].name, e))
            return NULL;
        if (path_exists(where))
            return json_read(where, e);
    }
    if (!configs[i].json)
        return single_kind_json(KIND_KOLORS, part, e);
    snprintf(where, PATH_MAX_BYTES, "Kolors' own config of %s", *part ? part : "its pipeline");
    return json_parse(configs[i].json, strlen(configs[i].json), where, e);
}
