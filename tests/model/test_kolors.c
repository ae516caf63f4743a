/* Kolors' text encoder, denoiser, schedule and folder against what diffusers computes with a tiny one (tests/reference/
 * make_kolors.py). The denoiser's limits are those of test_models.c. The text's attention is sharp, so rounding grows: diffusers'
 * own f32 is 9e-6 from ours in f64; cpu's f32 18e-6. A pad that sees its past only costs 9, a token that sees pads 12. */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "judge.h"
#include "model/family/folder.h"
#include "sampler/sampler.h"

static const char tiny[] = "tiny-kolors";

static struct weights *open_part(const char *part)
{
    struct err e = { 0 };
    struct weights *w = weights_open(judge_path(tiny, part, NULL), &e);
    if (!w)
        fail_msg("%s", e.text);
    return w;
}

/* All rows at once, as the graph can; through struct text_kind they go one by one (tests/generate). */
static void text_case(const struct judge_way *way, bool pooled)
{
    struct err e = { 0 };
    struct chatglm_config c;
    REQUIRE(chatglm_config_read(&c, judge_path(tiny, "text_encoder", "config.json"), &e));
    struct weights *expected = judge_expected(tiny), *stored = open_part("text_encoder");
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape row, s;
    int32_t *ids = judge_ids(expected, "text.ids", &row), *places = judge_ids(expected, "text.places", &row);
    int32_t *pads = judge_ids(expected, "text.pads", &s);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "text_encoder", .stored = stored, .params = &params };
    struct chatglm_input in = { graph_input(&g, "ids", DTYPE_I32, row), graph_input(&g, "places", DTYPE_I32, row),
                                graph_input(&g, "pads", DTYPE_I32, s) };
    struct value x = chatglm_layers(&n, &c, &in, chatglm_embed(&n, &c, &in), 0, c.layers - 1);
    struct value out = pooled ? chatglm_last_token(&n, &c, &in, x, c.layers - 1, c.layers) : x;
    float *came = judge_run(way, &g, &params, stored, out, "ids", ids, "places", places, "pads", pads, NULL);
    float *wanted = judge_floats(expected, pooled ? "text.pooled" : "text.states", false, &s);
    judge_near(came, wanted, shape_count(s), 5e-5, 5e-6, "%s, %s", way->name, pooled ? "pooled" : "states");
    CHECK(!params_find(&params, "text_encoder/output_layer.weight") &&
          !params_find(&params, "text_encoder/encoder.final_layernorm.weight"), "weights that nobody uses are read");
    mem_free(came);
    mem_free(wanted);
    mem_free(ids);
    mem_free(places);
    mem_free(pads);
    weights_free(expected);
    weights_free(stored);
}

TEST(states_and_pooled_text_are_those_of_diffusers)
{
    for (const struct judge_way *way = judge_ways(); way->backend; way++)
        for (int pooled = 0; pooled < 2; pooled++)
            text_case(way, pooled);
}

TEST(words_become_the_ids_of_diffusers)
{
    struct err e = { 0 };
    struct model_folder f;
    json_t *info = judge_info(tiny);
    const json_t *prompts = json_object_get(info, "prompts");
    struct weights *expected = judge_expected(tiny);
    struct shape row, s;
    int32_t *ids = judge_ids(expected, "text.ids", &row), *pads = judge_ids(expected, "text.pads", &s), came[256];
    REQUIRE(model_folder_open(&f, judge_path(tiny, "", NULL), &e));
    const struct text_encoder *t = &f.parts.text[0];
    assert_int_equal(t->tokens, 256);
    for (int64_t i = 0; i < s.dim[0]; i++) {
        const char *words = json_string_value(json_array_get(prompts, (size_t)i));
        REQUIRE(t->kind->ids(t, words, came, &e));
        CHECK(!memcmp(came, ids + i * 256, sizeof came), "prompt %d: %.40s", (int)i, words);
    }
    CHECK(pads[0] == 254 && pads[3] == 0, "the prompts have %d and %d pads", pads[0], pads[3]);
    mem_free(ids);
    mem_free(pads);
    model_folder_release(&f);
    weights_free(expected);
    json_decref(info);
}

static void unet_case(const struct judge_way *way)
{
    struct err e = { 0 };
    struct unet_config c;
    REQUIRE(unet_config_read(&c, judge_path(tiny, "unet", "config.json"), &e));
    struct weights *expected = judge_expected(tiny), *stored = open_part("unet");
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape latent, time, text, pooled, sizes;
    float *x = judge_floats(expected, "unet.sample", true, &latent);
    float *t = judge_floats(expected, "unet.timesteps", false, &time);
    float *ids = judge_floats(expected, "unet.time_ids", false, &sizes);
    float *states = judge_floats(expected, "text.states", false, &text); /* rows 1 and 2 */
    float *told = judge_floats(expected, "text.pooled", false, &pooled);
    text.dim[0] = pooled.dim[0] = 2;
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .stored = stored, .params = &params };
    struct unet_extra extra = { .pooled = graph_input(&g, "pooled", DTYPE_F32, pooled),
                                .time_ids = graph_input(&g, "time_ids", DTYPE_F32, sizes) };
    struct value out = unet(&n, &c, graph_input(&g, "latent", DTYPE_F32, latent), graph_input(&g, "timestep", DTYPE_F32, time),
                            graph_input(&g, "text", DTYPE_F32, text), &extra);
    float *came = judge_run(way, &g, &params, stored, out, "latent", x, "timestep", t, "text",
                            states + text.dim[1] * text.dim[2], "pooled", told + pooled.dim[1], "time_ids", ids, NULL);
    float *wanted = judge_floats(expected, "unet.out", true, &latent);
    judge_near(came, wanted, shape_count(latent), 4e-6, 1e-6, "%s, unet", way->name);
    mem_free(came);
    mem_free(wanted);
    mem_free(x);
    mem_free(t);
    mem_free(ids);
    mem_free(states);
    mem_free(told);
    weights_free(expected);
    weights_free(stored);
}

TEST(one_unet_call_is_that_of_diffusers)
{
    for (const struct judge_way *way = judge_ways(); way->backend; way++)
        unet_case(way);
}

/* The folder's own schedule: 1100 steps, leading, and the numbers that people know of Kolors. */
TEST(the_schedule_is_that_of_diffusers)
{
    static const int64_t steps[] = { 20, 25, 50 };
    struct err e = { 0 };
    struct model_folder f;
    struct noise_schedule noise;
    struct weights *expected = judge_expected(tiny);
    REQUIRE(model_folder_open(&f, judge_path(tiny, "", NULL), &e));
    REQUIRE(noise_schedule_init(&noise, &f.scheduler, &e));
    assert_int_equal(noise.count, 1100);
    CHECK_NEAR(noise.alphas_cumprod[0], 0.99915, 1e-7, "first");
    CHECK_NEAR(noise.alphas_cumprod[549], 0.2125677, 2e-7, "middle");
    CHECK_NEAR(noise.alphas_cumprod[1099], 0.00118266, 1e-8, "last");
    CHECK_NEAR(noise.sigmas[1099], 29.06122, 1e-4, "last sigma");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct sampler_spec spec = { .steps = steps[i], .eta = -1, .shape = SHAPE(1, 1) };
        struct sampler *s;
        struct shape shape;
        REQUIRE(sampler_new(&s, &spec, &f.scheduler, &e));
        float *t = judge_floats(expected, path_of("euler.%d.timesteps", (int)steps[i]).s, false, &shape);
        float *sigma = judge_floats(expected, path_of("euler.%d.sigmas", (int)steps[i]).s, false, &shape);
        assert_int_equal(sampler_calls(s), steps[i]);
        for (int64_t k = 0; k < steps[i]; k++)
            CHECK_NEAR(sampler_timestep(s, k), (double)t[k], 1e-4, "timestep %lld of %lld", (long long)k, (long long)steps[i]);
        double largest = (double)sigma[0];
        CHECK_NEAR(sampler_noise_scale(s), sqrt(largest * largest + 1), 1e-5, "noise of %lld", (long long)steps[i]);
        if (steps[i] == 50) {
            CHECK(t[0] == 1079 && t[1] == 1057 && t[49] == 1, "%g %g", (double)t[0], (double)t[49]);
            CHECK_NEAR(sampler_noise_scale(s), 25.30112, 1e-4, "the noise of 50 steps");
        }
        mem_free(t);
        mem_free(sigma);
        sampler_free(s);
    }
    noise_schedule_release(&noise);
    model_folder_release(&f);
    weights_free(expected);
}

/* Copies the folder's files to a scratch folder. */
static const char *copy_of(const char *name)
{
    char command[4 * PATH_MAX_BYTES];
    const char *to = test_scratch(name);
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", to, judge_path(tiny, "", NULL), to);
    assert_int_equal(system(command), 0);
    return to;
}

static void change(const char *folder, const char *file, const char *key, const char *value)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, file, &e));
    json_t *j = json_read(path, &e);
    REQUIRE(j != NULL);
    assert_int_equal(json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    REQUIRE(json_write(j, path, &e));
    json_decref(j);
}

TEST(the_folder_is_kolors_with_its_own_defaults)
{
    struct err e = { 0 };
    struct model_folder f;
    REQUIRE(model_folder_open(&f, judge_path(tiny, "", NULL), &e));
    CHECK(f.parts.family == &family_kolors && f.default_cfg == 5 && !f.parts.settings.force_zeros, "%s, cfg %g",
          f.parts.family->name, f.default_cfg);
    float ids[FAMILY_MAX_TIME_IDS];
    struct picture_facts facts = { 100, 90, 7, 5, 64, 48, 0 };
    CHECK(f.parts.family->time_ids(&f.parts.settings, &facts, true, ids) == 6 && ids[0] == 90 && ids[1] == 100 && ids[2] == 5 &&
          ids[3] == 7 && ids[4] == 48 && ids[5] == 64, "time ids");
    model_folder_release(&f);
}

/* The folder that Kolors came in first: a pipeline of SDXL by name, and the pieces beside the weights. */
TEST(the_text_encoders_class_tells_kolors_from_sdxl)
{
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = copy_of("first");
    char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    change(folder, "model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"");
    REQUIRE(path_join(from, folder, "tokenizer/tokenizer.model", &e));
    REQUIRE(path_join(to, folder, "text_encoder/tokenizer.model", &e));
    assert_int_equal(rename(from, to), 0);
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.parts.family == &family_kolors && !f.parts.settings.fills_in && !f.parts.settings.force_zeros, "%s",
          f.parts.family->name);
    model_folder_release(&f);
    change(folder, "model_index.json", "_class_name", "\"StableDiffusionXLInpaintPipeline\"");
    change(folder, "unet/config.json", "in_channels", "9");
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.parts.family == &family_kolors && f.parts.settings.fills_in && model_extra_channels(&f.parts) == 5, "%s",
          f.parts.family->name);
    model_folder_release(&f);
}

TEST(a_contradiction_or_a_strange_part_is_told_with_file_and_value)
{
    static const struct {
        const char *file, *key, *value;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "model_index.json", "text_encoder", "[\"kolors\", \"ChatGLM4Model\"]", ERR_TYPE, "\"text_encoder\" is a ChatGLM4Model" },
        { "model_index.json", "tokenizer", "[\"kolors\", \"T5Tokenizer\"]", ERR_TYPE, "\"tokenizer\" is a T5Tokenizer" },
        { "text_encoder/config.json", "model_type", "\"llama\"", ERR_TYPE, "\"model_type\" is \"llama\"" },
        { "text_encoder/config.json", "rmsnorm", "false", ERR_TYPE, "\"rmsnorm\" is false" },
        { "text_encoder/config.json", "multi_query_attention", "false", ERR_TYPE, "\"multi_query_attention\" is false" },
        { "text_encoder/config.json", "apply_residual_connection_post_layernorm", "true", ERR_TYPE, "is true (residuals" },
        { "text_encoder/config.json", "quantization_bit", "4", ERR_TYPE, "\"quantization_bit\" is 4" },
        { "text_encoder/config.json", "pre_seq_len", "64", ERR_TYPE, "\"pre_seq_len\"" },
        { "text_encoder/config.json", "rope_ratio", "16", ERR_TYPE, "\"rope_ratio\" is 16" },
        { "text_encoder/config.json", "multi_query_group_num", "3", ERR_FORMAT, "\"multi_query_group_num\" 3" },
        { "text_encoder/config.json", "kv_channels", "10", ERR_FORMAT, "\"kv_channels\" is 10" },
        { "text_encoder/config.json", "num_layers", "0", ERR_FORMAT, "num_layers" },
        { "text_encoder/config.json", "num_layers", "1", ERR_FORMAT, "has one layer" },
        { "text_encoder/config.json", "padded_vocab_size", "428", ERR_FORMAT, "the tokenizer has 429 tokens" },
        { "text_encoder/config.json", "seq_length", "255", ERR_FORMAT, "\"seq_length\" is 255" },
        { "text_encoder/config.json", "hidden_size", "44", ERR_FORMAT, "\"encoder_hid_dim\" 40" },
        { "unet/config.json", "encoder_hid_dim", "36", ERR_FORMAT, "\"encoder_hid_dim\" 36" },
        { "unet/config.json", "encoder_hid_dim", "null", ERR_MISSING, "\"encoder_hid_dim\" is missing" },
        { "unet/config.json", "encoder_hid_dim_type", "\"image_proj\"", ERR_TYPE, "\"encoder_hid_dim_type\" is \"image_proj\"" },
        { "unet/config.json", "addition_embed_type", "null", ERR_TYPE, "that of KolorsPipeline is \"text_time\"" },
        { "unet/config.json", "projection_class_embeddings_input_dim", "77", ERR_FORMAT, "input_dim\" 77" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_folder f;
        const char *folder = copy_of("case");
        change(folder, cases[i].file, cases[i].key, cases[i].value);
        CHECK_FAILS(model_folder_open(&f, folder, &e), cases[i].code, cases[i].part);
    }
}

/* A safetensors file of one text encoder, with names and one weight changed by the caller. */
TEST(chatglms_own_file_has_a_first_word_and_packed_weights_are_refused)
{
    struct err e = { 0 };
    struct chatglm_config c;
    REQUIRE(chatglm_config_read(&c, judge_path(tiny, "text_encoder", "config.json"), &e));
    struct weights *stored = open_part("text_encoder");
    size_t count = weights_count(stored);
    struct weights_entry *entries = mem_zeroed(count + 1, sizeof *entries);
    const void **data = mem_zeroed(count + 1, sizeof *data);
    struct path *names = mem_zeroed(count + 1, sizeof *names);
    assert_true(entries && data && names);
    for (size_t i = 0; i < count; i++) {
        const struct weight *w = weights_at(stored, i);
        names[i] = path_of("transformer.%s", w->name);
        entries[i] = (struct weights_entry){ names[i].s, w->type, w->shape };
        data[i] = w->data;
    }
    for (int packed = 0; packed < 2; packed++) {
        names[count] = path_of("transformer.encoder.layers.0.self_attention.query_key_value.weight_scale");
        entries[count] = entries[0];
        entries[count].name = names[count].s;
        data[count] = data[0];
        const char *file = test_scratch(packed ? "packed.safetensors" : "own.safetensors");
        REQUIRE(weights_save(file, entries, data, count + (size_t)packed, NULL, 0, &e));
        struct weights *own = weights_open(file, &e);
        REQUIRE(own);
        struct graph g;
        struct params params;
        graph_init(&g);
        params_init(&params);
        struct net n = { .g = &g, .type = DTYPE_F32, .part = "text_encoder", .stored = own, .params = &params };
        struct chatglm_input in = { graph_input(&g, "ids", DTYPE_I32, SHAPE(1, 256)),
                                    graph_input(&g, "places", DTYPE_I32, SHAPE(1, 256)),
                                    graph_input(&g, "pads", DTYPE_I32, SHAPE(1)) };
        struct value x = chatglm_layers(&n, &c, &in, chatglm_embed(&n, &c, &in), 0, c.layers);
        if (packed)
            CHECK_FAILS(graph_ok(&g, &e), ERR_TYPE, "packed weights of 4 or 8 bit");
        else
            CHECK(x.id && graph_ok(&g, &e) && params.count > 20, "%s", e.text);
        graph_release(&g);
        params_release(&params);
        weights_free(own);
    }
    mem_free(entries);
    mem_free(data);
    mem_free(names);
    weights_free(stored);
}
