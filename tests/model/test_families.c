/* SDXL, its refiner, inpainting and distilled models: text encoders of two kinds of pooling, denoisers with more inputs, and what
 * their folders may not hold. Judged by transformers and diffusers (tests/reference/make_families.py), whose f32 and f64 differ by
 * about 3e-6. */
#include "base/file.h"
#include "base/mem.h"
#include "judge.h"
#include "model/family/folder.h"

static const char *const folders[] = { "tiny-sdxl", "tiny-refiner", "tiny-inpaint" };

static void open_folder(struct model_folder *f, const char *model)
{
    char path[100];
    struct err e = { 0 };
    snprintf(path, sizeof path, "models/%s", model);
    REQUIRE(model_folder_open(f, test_data(path), &e));
}

/* The program of a text encoder with all of its outputs. */
static struct program *text_program(struct model_folder *f, int part, const struct judge_way *way, int64_t skip,
                                    struct text_values *v)
{
    struct err e = { 0 };
    struct graph g;
    struct params params;
    const struct weights *stored = model_folder_weights(f, (enum model_part)part, &e);
    REQUIRE(stored != NULL);
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = model_part_names[part], .stored = stored, .params = &params };
    const struct text_encoder *t = &f->parts.text[part];
    *v = t->kind->graph(&n, t, f->parts.family->states, skip, TEXT_POOLED);
    REQUIRE(graph_ok(&g, &e));
    graph_output(&g, v->states);
    graph_output(&g, v->pooled);
    if (skip)
        graph_output(&g, v->unskipped);
    if (way->fused)
        graph_fuse(&g, true);
    graph_prune(&g);
    struct program *p = program_new(way->backend, &g, &e);
    REQUIRE(p != NULL);
    REQUIRE(params_bind(&params, p, stored, &e));
    params_release(&params);
    return p;
}

/* What the reference has under text.<part>.<what>. */
static float *wanted_text(const struct weights *expected, int part, const char *what, struct shape *s)
{
    char name[100];
    snprintf(name, sizeof name, "text.%s.%s", model_part_names[part], what);
    return judge_floats(expected, name, false, s);
}

static void text_case(const char *model, int part, const struct judge_way *way)
{
    struct err e = { 0 };
    struct model_folder f;
    struct text_values v;
    open_folder(&f, model);
    struct weights *expected = judge_expected(model);
    json_t *info = judge_info(model);
    const struct text_encoder *t = &f.parts.text[part];
    struct shape s, ps;
    float *states = wanted_text(expected, part, "states", &s), *pooled = wanted_text(expected, part, "pooled", &ps);
    float *skipped = wanted_text(expected, part, "skip1", NULL);
    assert_true(s.dim[1] == t->tokens && s.dim[2] == t->width && ps.dim[1] == t->pooled);
    int32_t *ids = mem_zeroed((size_t)t->tokens, sizeof *ids);
    struct program *p = text_program(&f, part, way, 1, &v);
    size_t i;
    json_t *prompt;
    json_array_foreach(json_object_get(json_object_get(info, "text"), "prompts"), i, prompt) {
        REQUIRE(t->kind->ids(t, json_string_value(prompt), ids, &e));
        REQUIRE(t->kind->run(t, p, ids, &e));
        judge_near(program_output(p, v.unskipped), states + i * (size_t)(t->tokens * t->width), t->tokens * t->width, 1e-5, 2e-6,
                   "%s %s, %s, states %zu", model, model_part_names[part], way->name, i);
        judge_near(program_output(p, v.pooled), pooled + i * (size_t)t->pooled, t->pooled, 1e-5, 2e-6, "%s %s, %s, pooled %zu",
                   model, model_part_names[part], way->name, i);
        if (i == 1)
            judge_near(program_output(p, v.states), skipped, t->tokens * t->width, 1e-5, 2e-6, "%s %s, %s, skip", model,
                       model_part_names[part], way->name);
    }
    program_free(p);
    mem_free(ids);
    mem_free(states);
    mem_free(pooled);
    mem_free(skipped);
    json_decref(info);
    weights_free(expected);
    model_folder_release(&f);
}

TEST(states_and_pooled_text_of_every_encoder_are_those_of_transformers)
{
    int cases = 0;
    for (size_t m = 0; m < sizeof folders / sizeof *folders; m++)
        for (int part = 0; part < TEXT_PARTS; part++) {
            struct model_folder f;
            open_folder(&f, folders[m]);
            bool there = f.parts.text[part].kind;
            model_folder_release(&f);
            for (const struct judge_way *way = judge_ways(); there && way->backend; way++, cases++)
                text_case(folders[m], part, way);
        }
    CHECK(cases == 4 * 3, "%d cases", cases);
}

TEST(the_pooled_state_is_found_by_the_rule_of_the_end_token)
{
    static const struct { int64_t end; int32_t ids[6], place; } cases[] = {
        { 2, { 7, 3, 9, 9, 2, 0 }, 2 },  /* old configs: the first of the highest ids */
        { 9, { 7, 3, 9, 9, 2, 0 }, 2 }, { 3, { 7, 3, 9, 3, 2, 0 }, 1 },
        { 5, { 7, 3, 9, 9, 2, 0 }, 0 },  /* none: transformers' argmax of nothing but false */
        { 2, { 1, 1, 1, 1, 1, 1 }, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clip_config c = { .end = cases[i].end };
        int32_t place = clip_pooled_place(&c, cases[i].ids, 6);
        CHECK(place == cases[i].place, "case %zu: %d", i, (int)place);
    }
}

static struct value optional_input(struct graph *g, const struct weights *expected, const char *name, enum dtype type)
{
    char stored[100];
    snprintf(stored, sizeof stored, "unet.%s", name);
    const struct weight *w = weights_find(expected, stored);
    return w ? graph_input(g, name, type, w->shape) : VALUE_NONE;
}

static float *optional_floats(const struct weights *expected, const char *name)
{
    return weights_find(expected, name) ? judge_floats(expected, name, false, NULL) : NULL;
}

static void unet_case(const char *model, const struct judge_way *way)
{
    struct err e = { 0 };
    struct unet_config c;
    REQUIRE(unet_config_read(&c, judge_path(model, "unet", "config.json"), &e));
    struct weights *expected = judge_expected(model), *stored = weights_open(judge_path(model, "unet", NULL), &e);
    REQUIRE(stored != NULL);
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape latent, time, text;
    float *x = judge_floats(expected, "unet.sample", true, &latent), *t = judge_floats(expected, "unet.timesteps", false, &time);
    float *states = judge_floats(expected, "unet.states", false, &text);
    float *pooled = optional_floats(expected, "unet.pooled"), *ids = optional_floats(expected, "unet.time_ids");
    float *guidance = optional_floats(expected, "unet.guidance");
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .stored = stored, .params = &params };
    struct unet_extra extra = { optional_input(&g, expected, "pooled", DTYPE_F32),
                                optional_input(&g, expected, "time_ids", DTYPE_F32),
                                optional_input(&g, expected, "guidance", DTYPE_F32), false };
    struct value out = unet(&n, &c, graph_input(&g, "latent", DTYPE_F32, latent), graph_input(&g, "timestep", DTYPE_F32, time),
                            graph_input(&g, "text", DTYPE_F32, text), &extra);
    const void *more[] = { pooled ? "pooled" : guidance ? "guidance" : NULL, pooled ? pooled : guidance, pooled ? "time_ids" : NULL,
                           ids };
    float *came = judge_run(way, &g, &params, stored, out, "latent", x, "timestep", t, "text", states, more[0], more[1], more[2],
                            more[3], NULL);
    float *wanted = judge_floats(expected, "unet.out", true, &latent);
    judge_near(came, wanted, shape_count(latent), 2e-5, 4e-6, "%s, %s, unet", model, way->name);
    mem_free(came);
    mem_free(wanted);
    mem_free(x);
    mem_free(t);
    mem_free(states);
    mem_free(pooled);
    mem_free(ids);
    mem_free(guidance);
    weights_free(expected);
    weights_free(stored);
}

TEST(one_call_of_every_denoiser_is_that_of_diffusers)
{
    for (const struct judge_way *way = judge_ways(); way->backend; way++) {
        for (size_t m = 0; m < sizeof folders / sizeof *folders; m++)
            unet_case(folders[m], way);
        unet_case("tiny-odd", way);
    }
}

TEST(a_denoiser_that_lacks_an_input_is_an_error)
{
    static const char *const models[] = { "tiny-sdxl", "tiny-odd" };
    static const char *const parts[] = { "wants pooled text and time ids", "wants the guidance" };
    for (size_t i = 0; i < 2; i++) {
        struct err e = { 0 };
        struct unet_config c;
        struct graph g;
        struct params params;
        REQUIRE(unet_config_read(&c, judge_path(models[i], "unet", "config.json"), &e));
        graph_init(&g);
        params_init(&params);
        struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .params = &params };
        (void)unet(&n, &c, graph_input(&g, "latent", DTYPE_F32, SHAPE(1, 8, 8, 4)), graph_input(&g, "timestep", DTYPE_F32, SHAPE(1)),
                   graph_input(&g, "text", DTYPE_F32, SHAPE(1, 7, c.cross_attention_dim)), NULL);
        CHECK_FAILS(graph_ok(&g, &e), ERR_ARG, parts[i]);
        graph_release(&g);
        params_release(&params);
    }
}

/* What a trainer writes must make the same denoiser. */
TEST(a_config_that_is_written_is_read_back_the_same)
{
    static const char *const models[] = { "tiny-sdxl", "tiny-refiner", "tiny-inpaint", "tiny-odd" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct err e = { 0 };
        struct unet_config c, again;
        const char *path = test_scratch("config.json");
        REQUIRE(unet_config_read(&c, judge_path(models[i], "unet", "config.json"), &e));
        json_t *j = unet_config_json(&c);
        REQUIRE(j && json_write(j, path, &e) && unet_config_read(&again, path, &e));
        CHECK(!memcmp(&c, &again, sizeof c), "%s", models[i]);
        json_decref(j);
    }
    struct err e = { 0 };
    struct vae_config v, again;
    REQUIRE(vae_config_read(&v, judge_path("tiny-refiner", "vae", "config.json"), &e));
    CHECK(v.normed == 4, "%zu means", v.normed);
    json_t *j = vae_config_json(&v);
    REQUIRE(j && json_write(j, test_scratch("config.json"), &e) && vae_config_read(&again, test_scratch("config.json"), &e));
    CHECK(!memcmp(&v, &again, sizeof v), "the VAE's");
    json_decref(j);
}

TEST(scaling_a_latent_and_back_gives_it_again)
{
    struct vae_config c = { .latent_channels = 2, .scaling_factor = 0.5, .normed = 2, .mean = { 1, -3 }, .deviation = { 4, 2 } };
    float x[] = { 5, 1, 1, -3, 9, -7, 0, 2 };
    static const float scaled[] = { 0.5F, 0, 1, 0, 1, -1, 0.75F, 1.25F };
    float y[8];
    memcpy(y, x, sizeof x);
    vae_scale(&c, y, 2, 2);
    CHECK(!memcmp(y, scaled, sizeof y), "scaled: %g %g %g %g", (double)y[0], (double)y[1], (double)y[2], (double)y[3]);
    vae_unscale(&c, y, 2, 2);
    CHECK(!memcmp(y, x, sizeof y), "back");
}

/* --- folders --- */

TEST(a_folder_says_which_parts_its_family_has)
{
    struct model_folder f;
    open_folder(&f, "tiny-sdxl");
    CHECK(!strcmp(f.parts.family->name, "sdxl") && f.parts.text[PART_TEXT].kind && f.parts.text[PART_TEXT_2].kind &&
              model_text_width(&f.parts) == 44 && model_pooled_width(&f.parts) == 12 && f.parts.settings.force_zeros &&
              !f.parts.settings.aesthetic_score && f.default_cfg == 5,
          "SDXL");
    model_folder_release(&f);
    open_folder(&f, "tiny-refiner");
    CHECK(!f.parts.text[PART_TEXT].kind && model_text_width(&f.parts) == 20 && f.parts.settings.aesthetic_score &&
              !f.parts.settings.force_zeros && f.parts.settings.redraws,
          "the refiner");
    model_folder_release(&f);
    open_folder(&f, "tiny-inpaint");
    CHECK(model_extra_channels(&f.parts) == 5 && f.scheduler.skip_prk_steps && f.scheduler.steps_offset == 1, "inpainting");
    model_folder_release(&f);
}

TEST(distilled_models_have_their_own_schedulers_and_defaults)
{
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = judge_copy_of("tiny-sd1", "lcm");
    judge_change(folder, "model_index.json", "_class_name", "\"LatentConsistencyModelPipeline\"");
    judge_change(folder, "model_index.json", "scheduler", "[\"diffusers\", \"LCMScheduler\"]");
    judge_change(folder, "scheduler/scheduler_config.json", "steps_offset", "0");
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.scheduler.class == SCHEDULER_LCM && f.scheduler.steps_offset == 0 && f.default_steps == 4 && f.default_cfg == 8.5,
          "class %d, offset %lld", (int)f.scheduler.class, (long long)f.scheduler.steps_offset);
    model_folder_release(&f);
    folder = judge_copy_of("tiny-sdxl", "turbo");
    judge_change(folder, "model_index.json", "scheduler", "[\"diffusers\", \"EulerAncestralDiscreteScheduler\"]");
    judge_change(folder, "scheduler/scheduler_config.json", "timestep_spacing", "\"trailing\"");
    judge_change(folder, "scheduler/scheduler_config.json", "steps_offset", "0");
    REQUIRE(model_folder_open(&f, folder, &e));
    CHECK(f.scheduler.class == SCHEDULER_EULER_ANCESTRAL && f.scheduler.spacing == SPACING_TRAILING &&
              f.scheduler.steps_offset == 0, "SDXL's pipelines correct nothing");
    model_folder_release(&f);
}

TEST(a_contradiction_in_a_family_is_told_with_file_and_value)
{
    static const struct {
        const char *model, *file, *key, *value;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "tiny-sdxl", "unet/config.json", "cross_attention_dim", "24", ERR_FORMAT, "of both text encoders is together 44" },
        { "tiny-sdxl", "unet/config.json", "projection_class_embeddings_input_dim", "61", ERR_FORMAT,
          "\"projection_class_embeddings_input_dim\" 61; the pooled text is 12, and 6 time ids" },
        { "tiny-sdxl", "unet/config.json", "projection_class_embeddings_input_dim", "", ERR_MISSING,
          "\"projection_class_embeddings_input_dim\" is missing" },
        { "tiny-sdxl", "unet/config.json", "addition_time_embed_dim", "null", ERR_MISSING, "\"addition_time_embed_dim\" is missing" },
        { "tiny-sdxl", "unet/config.json", "addition_embed_type", "null", ERR_TYPE, "no \"addition_embed_type\"" },
        { "tiny-sdxl", "unet/config.json", "addition_embed_type", "\"image\"", ERR_TYPE, "\"addition_embed_type\" is \"image\"" },
        { "tiny-sdxl", "unet/config.json", "transformer_layers_per_block", "[1, 2]", ERR_FORMAT, "has 2 entries" },
        { "tiny-sdxl", "unet/config.json", "transformer_layers_per_block", "[1, [1, 1], 2]", ERR_FORMAT, "list of lists" },
        { "tiny-sdxl", "unet/config.json", "transformer_layers_per_block", "[1, [1], 2]", ERR_FORMAT, "a list of 1 for" },
        { "tiny-sdxl", "unet/config.json", "reverse_transformer_layers_per_block", "[0, 1, 1]", ERR_FORMAT, "is 0 for a block" },
        { "tiny-sdxl", "unet/config.json", "time_cond_proj_dim", "\"x\"", ERR_FORMAT, "time_cond_proj_dim" },
        { "tiny-sdxl", "model_index.json", "text_encoder_2", "[null, null]", ERR_FORMAT, "\"text_encoder_2\" must be" },
        { "tiny-sdxl", "model_index.json", "text_encoder_2", "[\"transformers\", \"CLIPTextModel\"]", ERR_TYPE,
          "\"text_encoder_2\" is a CLIPTextModel; only CLIPTextModelWithProjection" },
        { "tiny-sdxl", "model_index.json", "text_encoder", "[null, null]", ERR_FORMAT,
          "text_encoder_2/config.json has \"hidden_size\" 20" },
        { "tiny-sdxl", "model_index.json", "tokenizer_2", "[\"transformers\", \"T5Tokenizer\"]", ERR_TYPE, "T5Tokenizer" },
        { "tiny-sdxl", "model_index.json", "force_zeros_for_empty_prompt", "3", ERR_FORMAT, "force_zeros_for_empty_prompt" },
        { "tiny-sdxl", "text_encoder_2/config.json", "projection_dim", "16", ERR_FORMAT, "the pooled text is 16" },
        { "tiny-sdxl", "text_encoder/config.json", "num_hidden_layers", "1", ERR_FORMAT, "text_encoder has one layer" },
        { "tiny-sdxl", "tokenizer_2/tokenizer_config.json", "model_max_length", "76", ERR_FORMAT, "takes 77 tokens, the other 76" },
        { "tiny-sdxl", "unet/config.json", "in_channels", "9", ERR_FORMAT, "\"in_channels\" 9" },
        { "tiny-refiner", "model_index.json", "requires_aesthetics_score", "false", ERR_FORMAT, "6 time ids" },
        { "tiny-refiner", "vae/config.json", "latents_mean", "[1, 2, 3]", ERR_FORMAT, "latents_mean" },
        { "tiny-refiner", "vae/config.json", "latents_std", "[1, 2, 3, 0]", ERR_FORMAT, "entry 3 of \"latents_std\"" },
        { "tiny-inpaint", "vae/config.json", "latents_std", "[1, 2, 3, 4]", ERR_NONE, "" },
        { "tiny-inpaint", "unet/config.json", "in_channels", "8", ERR_FORMAT, "as many again and one for a mask" },
        { "tiny-inpaint", "unet/config.json", "in_channels", "4", ERR_NONE, "" },
        { "tiny-inpaint", "model_index.json", "_class_name", "\"StableDiffusionPipeline\"", ERR_FORMAT, "\"in_channels\" 9" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct model_folder f;
        const char *folder = judge_copy_of(cases[i].model, "case");
        judge_change(folder, cases[i].file, cases[i].key, cases[i].value);
        if (cases[i].code == ERR_NONE) {
            REQUIRE(model_folder_open(&f, folder, &e));
            model_folder_release(&f);
            continue;
        }
        CHECK_FAILS(model_folder_open(&f, folder, &e), cases[i].code, cases[i].part);
    }
    struct err e = { 0 };
    struct model_folder f;
    const char *folder = judge_copy_of("tiny-inpaint", "normed");
    judge_change(folder, "vae/config.json", "latents_std", "[1, 2, 3, 4]");
    judge_change(folder, "vae/config.json", "latents_mean", "[1, 2, 3, 4]");
    CHECK_FAILS(model_folder_open(&f, folder, &e), ERR_TYPE, "\"latents_mean\": StableDiffusionPipeline has none");
}
