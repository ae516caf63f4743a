/* Variants of a model at the same test: what is asked, that its figures are those of its pictures, and which is best. */
#include "evaluate/trial.h"

#include "backend/cpu/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/random.h"
#include "evaluate/similarity.h"
#include "sampler/noise_schedule.h"
#include "tensor/tensor.h"
#include "test.h"

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(0, NULL, &e);
    REQUIRE(made != NULL);
    return made;
}

static const char *data(const char *name)
{
    static char kept[4][300];
    static int next;
    char *out = kept[next++ % 4];
    snprintf(out, 300, "%s", test_data(name));
    return out;
}

/* tests/reference/make_evaluate.py */
TEST(the_denoiser_says_what_diffusers_says)
{
    struct err e = { 0 };
    enum { N = 2 * 4 * 8 * 8 };
    float x[N], out[N];
    const double timesteps[] = { 10, 500 };
    const char *prompts[] = { "a red apple", "一只猫" };
    const uint64_t seeds[] = { 0, 0 };
    struct pipeline *p = pipeline_open(data("models/tiny-sd1"), cpu(), DTYPE_F32, &e);
    json_t *expected = json_read(test_data("evaluate/expected.json"), &e), *said = json_object_get(expected, "said");
    REQUIRE(p && expected);
    struct draw_request r = draw_request_defaults(p);
    r.width = r.height = 64;
    r.batch = 2;
    r.prompts = prompts;
    r.seeds = seeds;
    for (int i = 0; i < N; i++)
        x[i] = (float)sin(0.37 * i);
    for (int keep = 0; keep < 2; keep++) {
        pipeline_keep(p, keep);
        REQUIRE(pipeline_predict(p, &r, x, timesteps, out, NULL, &e));
        for (int i = 0; i < N; i++)
            CHECK_NEAR(out[i], json_number_value(json_array_get(said, (size_t)i)), 2e-5, "number %d", i);
    }
    json_decref(expected);
    pipeline_free(p);
    p = pipeline_open(data("models/tiny-inpaint"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    r.width = r.height = model_folder_side(pipeline_folder(p));
    CHECK_FAILS(pipeline_predict(p, &r, x, timesteps, out, NULL, &e), ERR_TYPE, "inpainting");
    pipeline_free(p);
}

static const char *const words[] = { "a red apple", "a cat" };

/* The base twice, then a LoRA at 0 and at 1. */
static void variants(struct trial_variant v[4])
{
    const char *model = data("models/tiny-sd1"), *lora = data("lora/kohya.safetensors");
    for (int i = 0; i < 4; i++) {
        v[i] = (struct trial_variant){ .at = i, .model.path = model, .lora_count = i >= 2 };
        snprintf(v[i].name, sizeof v[i].name, "v%d", i);
        v[i].loras[0] = (struct trial_lora){ lora, i == 3, i == 3 };
    }
}

static double one_less_ssim(const struct image *a, const struct image *b)
{
    struct err e = { 0 };
    double out;
    REQUIRE(similarity_measure(similarity_find("ssim", 4, &e), a, b, &out, &e));
    return 1 - out;
}

TEST(figures_are_those_of_the_pictures)
{
    struct err e = { 0 };
    struct trial_variant v[4];
    struct picture_set held_out;
    struct trial t;
    variants(v);
    REQUIRE(picture_set_open(&held_out, test_data("emoji-mini"), PICTURES_HELD_OUT, &e));
    struct trial_options o = { .variants = v, .count = 4, .backend = cpu(), .type = DTYPE_F32, .prompts = words, .prompt_count = 2,
                               .seeds = 2, .held_out = &held_out, .timesteps = 3, .unrelated = words + 1, .unrelated_count = 1,
                               .style = &held_out, .steps = 2, .cfg = 3, .side = 64, .batch = 3, .seed = 5 };
    REQUIRE(trial_run(&t, &o, NULL, &e));
    CHECK(t.drawn == 4 + 2 + 1 && t.words[1].seed == 6 && t.words[4].held_out == 0 && t.words[6].kind == TRIAL_UNRELATED, "%zu", t.drawn);
    const double *base = t.results[0].measure, *same = t.results[1].measure, *off = t.results[2].measure, *on = t.results[3].measure;
    for (int m = 0; m < TRIAL_SECONDS; m++) {
        CHECK(base[m] == same[m], "%s: %g and %g of the same model", trial_measures[m].name, base[m], same[m]);
        CHECK_NEAR(off[m], base[m], 1e-6 * fabs(base[m]), "%s of a LoRA at 0", trial_measures[m].name);
    }
    CHECK(base[TRIAL_CHANGE] == 0 && base[TRIAL_DRIFT] == 0 && on[TRIAL_CHANGE] > 0.01 && on[TRIAL_DRIFT] > 0.01, "change %g, drift %g",
          on[TRIAL_CHANGE], on[TRIAL_DRIFT]);
    CHECK(on[TRIAL_LOSS] != base[TRIAL_LOSS] && on[TRIAL_BYTES] < base[TRIAL_BYTES] && on[TRIAL_MEMORY] > 0, "loss %g", on[TRIAL_LOSS]);
    /* By hand, from the pictures. */
    double change = 0, psnr = 0;
    for (size_t k = 0; k < 6; k++)
        change += one_less_ssim(&t.results[3].pictures[k], &t.results[0].pictures[k]) / 6;
    CHECK_NEAR(on[TRIAL_CHANGE], change, 1e-12, "change");
    CHECK_NEAR(on[TRIAL_DRIFT], one_less_ssim(&t.results[3].pictures[6], &t.results[0].pictures[6]), 1e-12, "drift");
    CHECK_NEAR(on[TRIAL_DIVERSITY], (one_less_ssim(&t.results[3].pictures[0], &t.results[3].pictures[1]) +
                                     one_less_ssim(&t.results[3].pictures[2], &t.results[3].pictures[3])) / 2, 1e-12, "diversity");
    for (size_t i = 0; i < 2; i++) {
        struct image wanted;
        double now;
        REQUIRE(picture_set_square(&held_out, i, 64, &wanted, &e));
        REQUIRE(image_psnr(&t.results[3].pictures[4 + i], &wanted, &now, &e));
        psnr += now / 2;
        image_release(&wanted);
    }
    CHECK_NEAR(on[TRIAL_PSNR], psnr, 1e-12, "psnr");
    /* Two held-out pictures: a drawn one is right if it is nearer to its own than to the other, at 32x32. */
    double right = 0;
    for (size_t i = 0; i < 2; i++) {
        struct image seen, own, other;
        double near, far;
        REQUIRE(picture_square(&t.results[3].pictures[4 + i], 32, &seen, &e));
        REQUIRE(picture_set_square(&held_out, i, 32, &own, &e) && picture_set_square(&held_out, !i, 32, &other, &e));
        REQUIRE(image_psnr(&seen, &own, &near, &e) && image_psnr(&seen, &other, &far, &e));
        right += (near >= far) / 2.0;
        image_release(&seen);
        image_release(&own);
        image_release(&other);
    }
    CHECK(on[TRIAL_THING] == right, "thing %g, by hand %g", on[TRIAL_THING], right);
    /* A sheet: the held-out picture and four variants beside each other, every second row of seven. */
    struct image sheet;
    REQUIRE(trial_sheet(&sheet, &t, &o, 3, &e));
    CHECK(sheet.width == 5 * 66 + 2 && sheet.height == 3 * 66 + 2, "%dx%d", sheet.width, sheet.height);
    image_release(&sheet);
    /* The best by each measure, and what is told of it. */
    CHECK(trial_best(&t, TRIAL_DRIFT) == 0 && trial_best(&t, TRIAL_BYTES) == 2, "best by drift %ld", trial_best(&t, TRIAL_DRIFT));
    long best = trial_best(&t, TRIAL_LOSS);
    for (int i = 0; i < 4; i++)
        CHECK(t.results[best].measure[TRIAL_LOSS] <= t.results[i].measure[TRIAL_LOSS], "best by loss %ld", best);
    struct findings f;
    findings_init(&f, "");
    REQUIRE(trial_findings(&f, &t, &o, TRIAL_LOSS, "step", true, &e));
    json_t *j = findings_json(&f), *row = json_array_get(json_object_get(j, "variants"), (size_t)best);
    CHECK(json_is_true(json_object_get(row, "best")) && json_object_get(row, "shading"), "the best is not marked");
    json_decref(j);
    findings_release(&f);
    trial_release(&t);
    picture_set_release(&held_out);
}

/* The loss of one picture, put together from its definition: noise of stream 21, timesteps by the golden ratio. */
TEST(the_held_out_loss_is_the_mean_squared_error_at_fixed_noise)
{
    struct err e = { 0 };
    enum { EACH = 4 * 8 * 8, STEPS = 3 };
    struct trial_variant v[4];
    struct picture_set set;
    struct trial t;
    struct vae_files files;
    struct reconstruction vae;
    struct noise_schedule s;
    struct image square;
    float nhwc[EACH], x0[EACH], noise[EACH], x[EACH], target[EACH], said[EACH];
    double sum = 0;
    variants(v);
    REQUIRE(picture_set_open(&set, test_data("emoji-mini"), PICTURES_ALL, &e));
    struct trial_options o = { .variants = v, .count = 1, .backend = cpu(), .type = DTYPE_F32, .held_out = &set, .held_out_most = 1,
                               .timesteps = STEPS, .steps = 1, .cfg = 1, .side = 64, .batch = 1, .seed = 9 };
    REQUIRE(trial_run(&t, &o, NULL, &e));
    REQUIRE(vae_files_open(&files, &v[0].model, &e));
    REQUIRE(reconstruction_init(&vae, &files, 64, 1, false, DTYPE_F32, cpu(), &e));
    REQUIRE(picture_set_square(&set, 0, 64, &square, &e));
    REQUIRE(reconstruction_encode(&vae, square.pixels, 1, nhwc, &e));
    tensor_nhwc_to_nchw(x0, nhwc, 1, 4, 8, 8);
    struct pipeline *p = pipeline_open(v[0].model.path, cpu(), DTYPE_F32, &e);
    REQUIRE(p && noise_schedule_init(&s, &pipeline_folder(p)->scheduler, &e));
    for (int k = 0; k < STEPS; k++) {
        struct random random = random_of(9 + 21, (uint64_t)k);
        double u = fmod(0.5 + k * (sqrt(5) - 1) / 2, 1), timestep = floor(u * (double)s.count);
        struct draw_request r = draw_request_defaults(p);
        r.prompt = set.at[0].caption;
        r.width = r.height = 64;
        random_normals(&random, noise, EACH);
        double abar = s.alphas_cumprod[(int)timestep];
        for (int i = 0; i < EACH; i++) {
            x[i] = (float)(sqrt(abar) * x0[i] + sqrt(1 - abar) * noise[i]);
            target[i] = s.prediction == PREDICTION_EPSILON ? noise[i] : (float)(sqrt(abar) * noise[i] - sqrt(1 - abar) * x0[i]);
        }
        REQUIRE(pipeline_predict(p, &r, x, &timestep, said, NULL, &e));
        for (int i = 0; i < EACH; i++)
            sum += (said[i] - target[i]) * (said[i] - target[i]);
    }
    CHECK_NEAR(t.results[0].measure[TRIAL_LOSS], sum / (STEPS * EACH), 1e-5 * sum / (STEPS * EACH), "loss");
    pipeline_free(p);
    noise_schedule_release(&s);
    image_release(&square);
    reconstruction_release(&vae);
    vae_files_release(&files);
    trial_release(&t);
    picture_set_release(&set);
}

TEST(a_trial_of_nothing_is_refused)
{
    struct err e = { 0 };
    struct trial_variant v[4];
    struct trial t;
    enum trial_measure by;
    variants(v);
    struct trial_options o = { .variants = v, .count = 1, .backend = cpu(), .type = DTYPE_F32 };
    CHECK_FAILS(trial_run(&t, &o, NULL, &e), ERR_ARG, "no words to draw");
    o.count = 0;
    CHECK_FAILS(trial_run(&t, &o, NULL, &e), ERR_ARG, "0 variants");
    CHECK_FAILS(trial_measure_of("beauty", &by, &e), ERR_ARG, "diversity");
}
