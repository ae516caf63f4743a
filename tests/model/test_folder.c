/* What a model folder may hold, and which contradictions are told. Each case copies tiny-sd1's configs and changes one value. */
#include "base/file.h"
#include "base/json.h"
#include "judge.h"
#include "model/family/folder.h"

TEST(a_folder_is_read_as_its_configs_say)
{
    struct err e = { 0 };
    struct model_folder f;
    REQUIRE(model_folder_open(&f, test_data("models/tiny-emoji"), &e));
    CHECK(f.scheduler.class == SCHEDULER_DDIM && f.scheduler.prediction == PREDICTION_V && f.scheduler.rescale_zero_snr,
          "the scheduler");
    CHECK(vae_factor(&f.parts.vae) == 16 && f.parts.unet.in_channels == f.parts.vae.latent_channels, "the VAE");
    CHECK(model_folder_side(&f) == 16 * f.parts.unet.sample_size, "the side");
    const struct weights *unet = model_folder_weights(&f, PART_UNET, &e), *again = model_folder_weights(&f, PART_UNET, &e);
    CHECK(unet && unet == again, "%s", e.text);
    model_folder_close(&f, PART_UNET);
    CHECK(!f.weights[PART_UNET], "closed");
    model_folder_release(&f);
}

TEST(the_pipeline_decides_class_offset_and_clipping_of_the_scheduler)
{
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = judge_copy_of("tiny-sd1", "scheduler");
    judge_change(folder, "scheduler/scheduler_config.json", "_class_name", "\"PNDMScheduler\"");
    judge_change(folder, "scheduler/scheduler_config.json", "steps_offset", "0");
    judge_change(folder, "scheduler/scheduler_config.json", "clip_sample", "true");
    judge_change(folder, "model_index.json", "scheduler", "[\"diffusers\", \"DDIMScheduler\"]");
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.scheduler.class == SCHEDULER_DDIM && f.scheduler.steps_offset == 1 && !f.scheduler.clip_sample, "class %d",
          (int)f.scheduler.class);
    model_folder_release(&f);
}

TEST(recommended_settings_are_read_from_our_own_key)
{
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = judge_copy_of("tiny-sd1", "recommended");
    judge_change(folder, "model_index.json", "_limn", "{\"steps\": 30, \"cfg\": 4.5}");
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.default_steps == 30 && f.default_cfg == 4.5, "%lld", (long long)f.default_steps);
    model_folder_release(&f);
}

TEST(a_contradiction_or_a_strange_part_is_told_with_file_and_value)
{
    static const struct {
        const char *file, *key, *value;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "model_index.json", "_class_name", "\"FluxPipeline\"", ERR_TYPE, "\"_class_name\" is \"FluxPipeline\"" },
        { "model_index.json", "_class_name", "", ERR_MISSING, "\"_class_name\" is missing" },
        { "model_index.json", "_class_name", "3", ERR_FORMAT, "_class_name" },
        { "model_index.json", "unet", "[\"diffusers\", \"FluxTransformer2DModel\"]", ERR_TYPE,
          "\"unet\" is a FluxTransformer2DModel" },
        { "model_index.json", "vae", "null", ERR_FORMAT, "\"vae\" must be [library, class]" },
        { "model_index.json", "vae", "", ERR_MISSING, "\"vae\" is missing" },
        { "model_index.json", "scheduler", "[\"diffusers\", \"FlowMatchEulerDiscreteScheduler\"]", ERR_TYPE,
          "FlowMatchEulerDiscreteScheduler" },
        { "model_index.json", "_limn", "{\"steps\": 0}", ERR_FORMAT, "steps" },
        { "unet/config.json", "cross_attention_dim", "64", ERR_FORMAT, "\"cross_attention_dim\" 64" },
        { "unet/config.json", "in_channels", "9", ERR_FORMAT, "\"in_channels\" 9" },
        { "unet/config.json", "out_channels", "8", ERR_FORMAT, "\"out_channels\" 8" },
        { "unet/config.json", "block_out_channels", "", ERR_MISSING, "\"block_out_channels\" is missing" },
        { "unet/config.json", "block_out_channels", "[10, 20]", ERR_FORMAT, "down_block_types" },
        { "unet/config.json", "attention_head_dim", "7", ERR_FORMAT, "7 heads" },
        { "unet/config.json", "norm_num_groups", "32", ERR_FORMAT, "\"norm_num_groups\" 32 does not divide" },
        { "unet/config.json", "addition_embed_type", "\"text_time\"", ERR_TYPE, "\"addition_embed_type\" is \"text_time\"" },
        { "unet/config.json", "layers_per_block", "-1", ERR_FORMAT, "layers_per_block" },
        { "vae/config.json", "latent_channels", "16", ERR_FORMAT, "\"latent_channels\" 16" },
        { "vae/config.json", "out_channels", "4", ERR_TYPE, "\"out_channels\" 4" },
        { "vae/config.json", "shift_factor", "0.1", ERR_TYPE, "\"shift_factor\" 0.1" },
        { "vae/config.json", "scaling_factor", "0", ERR_FORMAT, "scaling_factor" },
        { "vae/config.json", "norm_num_groups", "2", ERR_FORMAT, "\"norm_num_groups\" 2 does not divide" },
        { "text_encoder/config.json", "vocab_size", "599", ERR_FORMAT, "the tokenizer has 600 tokens" },
        { "text_encoder/config.json", "max_position_embeddings", "64", ERR_FORMAT, "\"model_max_length\" 77" },
        { "text_encoder/config.json", "hidden_act", "\"swish\"", ERR_FORMAT, "\"hidden_act\" is \"swish\"" },
        { "text_encoder/config.json", "num_attention_heads", "7", ERR_FORMAT, "\"num_attention_heads\" 7" },
        { "text_encoder/config.json", "model_type", "\"t5\"", ERR_TYPE, "\"model_type\" is \"t5\"" },
        { "scheduler/scheduler_config.json", "beta_schedule", "\"wave\"", ERR_FORMAT, "wave" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_folder f;
        const char *folder = judge_copy_of("tiny-sd1", "case");
        judge_change(folder, cases[i].file, cases[i].key, cases[i].value);
        CHECK_FAILS(model_folder_open(&f, folder, &e), cases[i].code, cases[i].part);
    }
}

TEST(what_is_missing_is_named)
{
    static const struct { const char *file, *part; } cases[] = {
        { "model_index.json", "model_index.json" }, { "unet/config.json", "unet/config.json" },
        { "tokenizer/vocab.json", "vocab.json" }, { "scheduler/scheduler_config.json", "scheduler_config.json" },
    };
    struct err e = { 0 };
    struct model_folder f;
    CHECK_FAILS(model_folder_open(&f, "/nowhere/at/all", &e), ERR_MISSING, "/nowhere/at/all: no such folder");
    CHECK_FAILS(model_folder_open(&f, test_data("models/tiny-sd1/model_index.json"), &e), ERR_FORMAT, "weight_map");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[PATH_MAX_BYTES];
        const char *folder = judge_copy_of("tiny-sd1", "case");
        REQUIRE(path_join(path, folder, cases[i].file, &e));
        assert_int_equal(remove(path), 0);
        CHECK(!model_folder_open(&f, folder, &e) && strstr(e.text, cases[i].part), "%s: %s", cases[i].file, e.text);
        err_clear(&e);
    }
}

TEST(weights_that_do_not_fit_the_config_are_told_when_the_program_is_made)
{
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = judge_copy_of("tiny-sd1", "fit");
    judge_change(folder, "unet/config.json", "layers_per_block", "3");
    REQUIRE(model_folder_open(&f, folder, &e));
    const struct weights *stored = model_folder_weights(&f, PART_UNET, &e);
    REQUIRE(stored != NULL);
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .stored = stored, .params = &params };
    (void)unet(&n, &f.parts.unet, graph_input(&g, "latent", DTYPE_F32, SHAPE(1, 8, 8, 4)),
               graph_input(&g, "timestep", DTYPE_F32, SHAPE(1)), graph_input(&g, "text", DTYPE_F32, SHAPE(1, 77, 48)), NULL);
    CHECK_FAILS(graph_ok(&g, &e), ERR_MISSING, "has no down_blocks.0.resnets.2");
    graph_release(&g);
    params_release(&params);
    model_folder_release(&f);
}
