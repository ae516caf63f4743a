/* Whole drawings against diffusers' StableDiffusionPipeline: same words, seed and settings, f32. The final latents of diffusers
 * in f32 and in f64 differ by up to 3e-5 (tests/reference), more where a sampler amplifies; a wrong formula costs 3e-4 and
 * more. */
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "test.h"

static const char *const models[] = { "tiny-sd1", "tiny-sd2", "tiny-emoji" };
static const char *const of_families[] = { "tiny-sdxl", "tiny-refiner", "tiny-inpaint", "tiny-kolors" };

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(0, NULL, &e);
    if (!made)
        fail_msg("%s", e.text);
    return made;
}

static const char *folder_of(const char *model)
{
    char path[200];
    snprintf(path, sizeof path, "models/%s", model);
    return test_data(path);
}

/* A folder with another scheduler, as its pipeline would run it. */
static struct pipeline *open_with(struct model_folder *f, const char *model, const json_t *scheduler, enum dtype type)
{
    struct err e = { 0 };
    REQUIRE(model_folder_open(f, folder_of(model), &e));
    if (json_is_object(scheduler)) {
        scheduler_config_release(&f->scheduler);
        REQUIRE(scheduler_config_from_json(&f->scheduler, scheduler, "case", &e));
        if (f->parts.family == &family_sd) {
            f->scheduler.steps_offset = 1;
            f->scheduler.clip_sample = false;
        }
    }
    struct pipeline_source source = pipeline_source_of(f);
    struct pipeline *p = pipeline_new(&source, cpu(), type, &e);
    REQUIRE(p != NULL);
    return p;
}

/* The two numbers of a case's list, if it has it. */
static void pair_of(const json_t *c, const char *key, int64_t *first, int64_t *second)
{
    const json_t *list = json_object_get(c, key);
    if (!list)
        return;
    *first = json_integer_value(json_array_get(list, 0));
    *second = json_integer_value(json_array_get(list, 1));
}

static struct draw_request request_of(const struct pipeline *p, const json_t *c)
{
    struct draw_request r = draw_request_defaults(p);
    r.prompt = json_string_value(json_object_get(c, "prompt"));
    r.negative = json_string_value(json_object_get(c, "negative"));
    r.width = json_integer_value(json_object_get(c, "width"));
    r.height = json_integer_value(json_object_get(c, "height"));
    r.steps = json_integer_value(json_object_get(c, "steps"));
    r.cfg = json_number_value(json_object_get(c, "cfg"));
    r.seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    r.sampler = json_string_value(json_object_get(c, "sampler"));
    if (json_object_get(c, "eta"))
        r.eta = json_number_value(json_object_get(c, "eta"));
    pair_of(c, "original", &r.facts.original_width, &r.facts.original_height);
    pair_of(c, "crop", &r.facts.crop_left, &r.facts.crop_top);
    pair_of(c, "target", &r.facts.target_width, &r.facts.target_height);
    r.facts.score = json_number_value(json_object_get(c, "score"));
    r.negative_score = json_number_value(json_object_get(c, "negative_score"));
    r.clip_skip = json_integer_value(json_object_get(c, "clip_skip"));
    r.batch = json_integer_value(json_object_get(c, "count"));
    return r;
}

static const struct weight *of_case(const struct weights *w, const json_t *c, const char *what)
{
    char name[200];
    snprintf(name, sizeof name, "%s.%s", json_string_value(json_object_get(c, "name")), what);
    return weights_find(w, name);
}

/* PSNR of u8 values. */
static double psnr(const uint8_t *a, const uint8_t *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * (double)count / sum);
}

/* As f32; NULL stays NULL. Free with mem_free. */
static float *floats_of(const struct weight *w)
{
    size_t count = w ? (size_t)shape_count(w->shape) : 0;
    float *out = w ? mem_zeroed(count, sizeof *out) : NULL;
    assert_true(!w || (out && dtype_convert(out, DTYPE_F32, w->data, w->type, count)));
    return out;
}

static void draw_case(const char *model, const json_t *c, const struct weights *expected, double limit)
{
    struct err e = { 0 };
    struct model_folder f;
    struct drawing d;
    const char *name = json_string_value(json_object_get(c, "name"));
    struct pipeline *p = open_with(&f, model, json_object_get(c, "scheduler"), DTYPE_F32);
    struct draw_request r = request_of(p, c);
    float *given[2] = { floats_of(of_case(expected, c, "image")), floats_of(of_case(expected, c, "mask")) };
    r.picture = given[0];
    r.mask = given[1];
    r.strength = 1;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    const struct weight *final = of_case(expected, c, "final"), *picture = of_case(expected, c, "picture");
    assert_non_null(final);
    CHECK(shape_same(final->shape, d.shape), "%s %s: %s, wanted %s", model, name, shape_text(d.shape).s,
          shape_text(final->shape).s);
    struct difference off = tensor_difference(d.latents, final->data, shape_count(d.shape));
    double least = INFINITY;
    for (int64_t i = 0; picture && i < d.batch; i++) {
        size_t bytes = image_bytes(&d.images[i]);
        double db = psnr(d.images[i].pixels, (const uint8_t *)picture->data + (size_t)i * bytes, bytes);
        least = db < least ? db : least;
    }
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-12s %-28s latents %.1e  picture %.1f dB\n", model, name, off.max, least);
    CHECK(off.max <= limit, "%s %s: final latents differ by %.2e (limit %.0e)", model, name, off.max, limit);
    CHECK(least > 60, "%s %s: picture at %.1f dB", model, name, least);
    drawing_release(&d);
    pipeline_free(p);
    mem_free(given[0]);
    mem_free(given[1]);
    model_folder_release(&f);
}

static json_t *cases_of(const char *model, json_t **info, struct weights **expected)
{
    char path[200];
    struct err e = { 0 };
    snprintf(path, sizeof path, "expected/%s.json", model);
    *info = json_read(test_data(path), &e);
    snprintf(path, sizeof path, "expected/%s.safetensors", model);
    *expected = weights_open(test_data(path), &e);
    if (!*info || !*expected)
        fail_msg("%s", e.text);
    return json_object_get(*info, "cases");
}

/* Folders' own schedulers at 2e-4. The other schedulers amplify rounding more: diffusers' own f32 misses its f64 by 1.5e-4 with
 * third-order DPM and by 3.1e-3 with 20 steps of LMS (tiny-emoji), and another order of sums (threads, kind of processor) by up
 * to twice that. */
static double limit_of(const char *name)
{
    return strncmp(name, "scheduler.", 10) ? 2e-4 : strcmp(name, "scheduler.lms") ? 1e-3 : 2e-2;
}

TEST(latents_and_pictures_are_those_of_diffusers)
{
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        json_t *info, *c, *cases;
        struct weights *expected;
        size_t i;
        cases = cases_of(models[m], &info, &expected);
        json_array_foreach(cases, i, c)
            draw_case(models[m], c, expected, limit_of(json_string_value(json_object_get(c, "name"))));
        json_decref(info);
        weights_free(expected);
    }
}

TEST(sdxl_its_refiner_inpainting_turbo_and_kolors_draw_as_diffusers_and_comfyui)
{
    for (size_t m = 0; m < sizeof of_families / sizeof *of_families; m++) {
        json_t *info, *c, *cases;
        struct weights *expected;
        size_t i;
        cases = cases_of(of_families[m], &info, &expected);
        json_array_foreach(cases, i, c)
            draw_case(of_families[m], c, expected, 2e-4);
        json_decref(info);
        weights_free(expected);
    }
}

/* The parts that draw_guided of tests/reference/make_families.py takes from other models. */
static const struct weights *weights_from(void *self, enum model_part part, struct err *e)
{
    struct model_folder *folders = self;
    if (part == PART_UNET)
        return folders[2].weights[PART_UNET];
    return part == PART_VAE ? model_folder_weights(&folders[1], PART_VAE, e) : model_folder_weights(&folders[0], PART_TEXT_2, e);
}

TEST(a_denoiser_that_is_told_the_guidance_is_asked_once)
{
    struct err e = { 0 };
    struct model_folder folders[3] = { 0 };
    struct drawing d;
    char path[PATH_MAX_BYTES];
    REQUIRE(model_folder_open(&folders[0], folder_of("tiny-refiner"), &e));
    REQUIRE(model_folder_open(&folders[1], folder_of("tiny-inpaint"), &e));
    struct weights *expected = weights_open(test_data("expected/tiny-odd.safetensors"), &e);
    struct model_parts parts = { .family = &family_sd, .vae = folders[1].parts.vae };
    parts.text[PART_TEXT] = folders[0].parts.text[PART_TEXT_2];
    REQUIRE(expected && path_join(path, folder_of("tiny-odd"), "unet/config.json", &e) &&
            unet_config_read(&parts.unet, path, &e));
    folders[2].weights[PART_UNET] = weights_open(test_data("models/tiny-odd/unet"), &e);
    REQUIRE(folders[2].weights[PART_UNET] && model_parts_agree(&parts, "tiny-odd", &e));
    struct pipeline_source source = { &parts, &folders[0].scheduler, weights_from, NULL, folders };
    struct pipeline *p = pipeline_new(&source, cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red circle on a blue ground";
    r.cfg = 4;
    r.seed = 5;
    r.steps = 3;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    const struct weight *final = weights_find(expected, "guided.final");
    assert_non_null(final);
    struct difference off = tensor_difference(d.latents, final->data, shape_count(d.shape));
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("guided latents %.1e of %.1f\n", off.max, (double)((const float *)final->data)[off.worst]);
    CHECK(d.calls == 3 && off.max < 2e-4, "off by %g", off.max);
    drawing_release(&d);
    r.sampler = "euler_cfg_pp";
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_ARG, "sampler euler_cfg_pp compares");
    pipeline_free(p);
    weights_free(expected);
    weights_free(folders[2].weights[PART_UNET]);
    model_folder_release(&folders[0]);
    model_folder_release(&folders[1]);
}

/* With SDXL's pipelines words that are not given and words that are empty are two things: zeros, and the states of nothing. */
TEST(kept_states_are_not_taken_for_zeros)
{
    struct err e = { 0 };
    struct drawing d[3];
    static const char *const negatives[3] = { NULL, "", NULL };
    struct pipeline *p = pipeline_open(folder_of("tiny-sdxl"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    pipeline_keep(p, true);
    struct draw_request r = draw_request_defaults(p);
    CHECK(r.cfg == 5, "cfg %g", r.cfg);
    r.prompt = "a red circle";
    r.steps = 2;
    for (int i = 0; i < 3; i++) {
        r.negative = negatives[i];
        REQUIRE(pipeline_draw(p, &r, NULL, &d[i], &e));
    }
    size_t bytes = (size_t)shape_count(d[0].shape) * sizeof(float);
    CHECK(!memcmp(d[0].latents, d[2].latents, bytes), "not given twice");
    CHECK(memcmp(d[0].latents, d[1].latents, bytes) != 0, "empty words gave zeros");
    for (int i = 0; i < 3; i++)
        drawing_release(&d[i]);
    pipeline_free(p);
}

TEST(given_start_noise_replaces_the_seed)
{
    struct err e = { 0 };
    json_t *info, *c;
    struct weights *expected;
    struct model_folder f;
    struct drawing d;
    c = json_array_get(cases_of("tiny-sd2", &info, &expected), 0);
    struct pipeline *p = open_with(&f, "tiny-sd2", NULL, DTYPE_F32);
    struct draw_request r = request_of(p, c);
    r.seed = 99;
    r.noise = of_case(expected, c, "start")->data;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    struct difference off = tensor_difference(d.latents, of_case(expected, c, "final")->data, shape_count(d.shape));
    CHECK(off.max < 2e-4, "off by %g", off.max);
    drawing_release(&d);
    pipeline_free(p);
    model_folder_release(&f);
    json_decref(info);
    weights_free(expected);
}

TEST(bf16_gives_nearly_the_picture_of_f32)
{
    static const char *const drawn[] = { "tiny-sd1", "tiny-sd2", "tiny-emoji", "tiny-sdxl", "tiny-refiner", "tiny-kolors" };
    for (size_t m = 0; m < sizeof drawn / sizeof *drawn; m++) {
        struct err e = { 0 };
        struct drawing d[2];
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct model_folder f;
            struct pipeline *p = open_with(&f, drawn[m], NULL, bf16 ? DTYPE_BF16 : DTYPE_F32);
            struct draw_request r = draw_request_defaults(p);
            r.prompt = "a red circle on a blue ground";
            r.seed = 5;
            r.cfg = 3;
            REQUIRE(pipeline_draw(p, &r, NULL, &d[bf16], &e));
            pipeline_free(p);
            model_folder_release(&f);
        }
        double db = psnr(d[0].images[0].pixels, d[1].images[0].pixels, image_bytes(&d[0].images[0]));
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%s: bf16 against f32 %.1f dB\n", drawn[m], db);
        CHECK(db > 30 && db < 80, "%s: %.1f dB", drawn[m], db);
        drawing_release(&d[0]);
        drawing_release(&d[1]);
    }
}

static bool same_drawing(const struct drawing *a, const struct drawing *b, int64_t i, int64_t k)
{
    size_t bytes = image_bytes(&a->images[i]);
    return bytes == image_bytes(&b->images[k]) && !memcmp(a->images[i].pixels, b->images[k].pixels, bytes);
}

TEST(a_kept_pipeline_draws_the_same_bits_as_a_fresh_one)
{
    struct err e = { 0 };
    static const struct { const char *prompt; int64_t width; double cfg; int64_t skip; } turns[] = {
        { "a red circle", 64, 5, 0 }, { "a red circle", 64, 5, 0 }, { "a cat", 64, 5, 0 }, { "a cat", 80, 5, 1 },
        { "a cat", 80, 1, 1 }, { "a red circle", 64, 5, 0 },
    };
    struct pipeline *kept = pipeline_open(folder_of("tiny-sd1"), cpu(), DTYPE_F32, &e);
    REQUIRE(kept != NULL);
    pipeline_keep(kept, true);
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        struct drawing d[2];
        struct pipeline *fresh = pipeline_open(folder_of("tiny-sd1"), cpu(), DTYPE_F32, &e);
        REQUIRE(fresh != NULL);
        struct draw_request r = draw_request_defaults(fresh);
        r.prompt = turns[i].prompt;
        r.negative = "green stripes";
        r.width = turns[i].width;
        r.cfg = turns[i].cfg;
        r.clip_skip = turns[i].skip;
        r.steps = 3;
        REQUIRE(pipeline_draw(fresh, &r, NULL, &d[0], &e));
        REQUIRE(pipeline_draw(kept, &r, NULL, &d[1], &e));
        CHECK(same_drawing(&d[0], &d[1], 0, 0), "turn %zu", i);
        drawing_release(&d[0]);
        drawing_release(&d[1]);
        pipeline_free(fresh);
    }
    pipeline_free(kept);
}

/* On a processor whose kernels sum each row alone the bits are equal; the limit leaves room for those that do not. Another
 * seed, noise of a neighbour's stream or a neighbour's words cost 1e-3 and more. */
TEST(several_prompts_in_one_drawing_are_the_pictures_drawn_alone)
{
    enum { PICTURES = 3 };
    static const char *const prompts[PICTURES] = { "a red circle", NULL, "two cats" };
    static const uint64_t seeds[PICTURES] = { 7, 3, 7 };
    static const struct { const char *model, *sampler; double cfg; int64_t skip; } cases[] = {
        { "tiny-sd1", "model", 5, 0 }, { "tiny-sd2", "euler_ancestral", 5, 1 }, { "tiny-emoji", "dpmpp_2m_sde", 3, 0 },
        { "tiny-emoji", "model", 1, 0 }, { "tiny-emoji", "euler_cfg_pp", 1, 0 },
        { "tiny-emoji", "dpm_adaptive", 2, 0 }, /* each picture takes its own number of calls */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct drawing all, one;
        struct pipeline *p = pipeline_open(folder_of(cases[i].model), cpu(), DTYPE_F32, &e);
        REQUIRE(p != NULL);
        struct draw_request r = draw_request_defaults(p);
        r.negative = "green stripes";
        r.sampler = cases[i].sampler;
        r.cfg = cases[i].cfg;
        r.clip_skip = cases[i].skip;
        r.steps = 4;
        r.batch = PICTURES;
        r.prompts = prompts;
        r.seeds = seeds;
        REQUIRE(pipeline_draw(p, &r, NULL, &all, &e));
        size_t each = (size_t)shape_count(all.shape) / PICTURES;
        r.batch = 1;
        r.prompts = NULL;
        r.seeds = NULL;
        for (size_t k = 0; k < PICTURES; k++) {
            r.prompt = prompts[k];
            r.seed = seeds[k];
            REQUIRE(pipeline_draw(p, &r, NULL, &one, &e));
            struct difference off = tensor_difference(all.latents + k * each, one.latents, shape_count(one.shape));
            if (getenv("LIMN_TEST_VERBOSE"))
                print_message("%-12s %-16s picture %zu alone %.1e\n", cases[i].model, cases[i].sampler, k, off.max);
            CHECK(off.max <= 3e-5, "%s %s, picture %zu: %.2e", cases[i].model, cases[i].sampler, k, off.max);
            if (k == 0)
                CHECK(tensor_difference(all.latents + 2 * each, one.latents, shape_count(one.shape)).max > 1e-3,
                      "%s %s: other words gave the same picture", cases[i].model, cases[i].sampler);
            drawing_release(&one);
        }
        drawing_release(&all);
        pipeline_free(p);
    }
}

TEST(a_wrong_request_is_an_error_that_names_the_value)
{
    struct err e = { 0 };
    struct drawing d;
    static const uint64_t one_seed[] = { 1 };
    static const float some_noise = 1;
    static const struct {
        struct draw_request r;
        const char *part;
    } bad[] = {
        { { .width = 100, .steps = 2, .cfg = 2, .batch = 1 }, "width 100: must be a multiple of 8" },
        { { .height = 4, .steps = 2, .cfg = 2, .batch = 1 }, "height 4: must be a multiple of 8" },
        { { .height = 1 << 20, .steps = 2, .cfg = 2, .batch = 1 }, "height 1048576: at most 32768" },
        { { .width = 32768, .height = 32768, .steps = 2, .cfg = 2, .batch = 1 }, "32768x32768: at most" },
        { { .steps = 0, .cfg = 2, .batch = 1 }, "steps 0: must be 1 to" },
        { { .steps = 2, .cfg = -1, .batch = 1 }, "cfg -1: must be 0 or more" },
        { { .steps = 2, .cfg = NAN, .batch = 1 }, "cfg nan" },
        { { .steps = 2, .cfg = 2, .batch = 1, .cfg_rescale = 1.5 }, "cfg rescale 1.5: must be 0 to 1" },
        { { .steps = 2, .cfg = 2, .batch = 1, .subseed_strength = -1 }, "subseed strength -1: must be 0 to 1" },
        { { .steps = 2, .cfg = 2, .batch = 1, .subseed_strength = 0.5, .noise = &some_noise }, "the start noise is given" },
        { { .steps = 2, .cfg = 2, .batch = 0 }, "batch 0" },
        { { .steps = 2, .cfg = 2, .batch = 1, .clip_skip = 3 }, "clip skip 3: the text encoder has 3 layers" },
        { { .steps = 2, .cfg = 2, .batch = 1, .sampler = "eular" }, "no sampler \"eular\"" },
        { { .steps = 2, .cfg = 2, .batch = 1, .sampler = "euler", .schedule = "nix" }, "no schedule \"nix\"" },
        { { .steps = 2, .cfg = 2, .batch = 1, .schedule = "karras" }, "takes its schedule from the model" },
        { { .steps = 2, .cfg = 2, .batch = 1, .seeds = one_seed }, "several seeds needs the prompt" },
        { { .steps = 2, .cfg = 2, .batch = 1, .facts = { .crop_top = -1 } }, "crop top -1" },
        { { .steps = 2, .cfg = 2, .batch = 1, .facts = { .score = NAN } }, "aesthetic score nan" },
    };
    struct pipeline *p = pipeline_open(folder_of("tiny-sd1"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(pipeline_draw(p, &bad[i].r, NULL, &d, &e), ERR_ARG, bad[i].part);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "\xff\xfe";
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_FORMAT, "in the prompt");
    pipeline_free(p);
    p = pipeline_open(folder_of("tiny-sdxl"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    r.clip_skip = 2;
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_ARG, "clip skip 2: the text encoder has 3 layers, the last is never");
    pipeline_free(p);
}

TEST(a_drawing_that_is_stopped_leaves_nothing)
{
    struct err e = { 0 };
    struct drawing d;
    struct pipeline *p = pipeline_open(folder_of("tiny-sd1"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    struct draw_request r = draw_request_defaults(p);
    stop_request();
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_STOPPED, "");
    stop_forget();
    CHECK(!d.images && !d.latents, "something is left");
    r.steps = 1;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    drawing_release(&d);
    pipeline_free(p);
}

TEST(the_plan_knows_the_programs_and_refuses_what_cannot_fit)
{
    struct err e = { 0 };
    struct draw_plan small, large;
    struct drawing d;
    struct pipeline *p = pipeline_open(folder_of("tiny-sd1"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    struct draw_request r = draw_request_defaults(p);
    REQUIRE(pipeline_plan(p, &r, &small, &e));
    r.width = r.height = 512;
    REQUIRE(pipeline_plan(p, &r, &large, &e));
    CHECK(large.activations > 20 * small.activations && large.peak >= large.weights + large.activations, "%zu and %zu bytes",
          small.activations, large.activations);
    r.width = r.height = 8192;
    r.batch = 256;
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_NOMEM, "GiB more memory");
    pipeline_free(p);
}
