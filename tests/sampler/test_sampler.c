/* Every sampler against final latents made by tests/reference/make_sampler.py: diffusers' own classes, and
 * the published k-diffusion formulas, with denoisers that both sides compute alike. */
#include "sampler/sampler.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"

enum { N = 2, C = 4, H = 6, W = 5, COUNT = N * C * H * W, K_EVERY = 6 };

static bool denoiser(void *self, const float *x, double t, float *out, float *unguided, struct err *e)
{
    (*(int *)self)++;
    for (int i = 0; i < COUNT; i++) {
        out[i] = (float)tanh(0.8 * (double)x[i] + 0.5 * sin(t / 100) + 0.3 * (double)x[(i + 7) % COUNT]);
        if (unguided)
            unguided[i] = (float)tanh(0.6 * (double)x[i] + 0.4 * cos(t / 100) - 0.2 * (double)x[(i + 11) % COUNT]);
    }
    return true;
}

struct data {
    json_t *cases, *k_cases;
    char *bytes, *k_bytes;
    const float *noise, *latent, *finals, *k_finals;
    size_t count, k_count;
};

static void read_values(const char *name, json_t **cases, char **bytes, size_t *count, size_t each, size_t before)
{
    struct err e = { 0 };
    char path[200];
    size_t size = 0;
    snprintf(path, sizeof path, "sampler/%s.json", name);
    *cases = json_read(test_data(path), &e);
    CHECK(*cases, "%s", e.text);
    snprintf(path, sizeof path, "sampler/%s.f32", name);
    REQUIRE(file_read(test_data(path), 1 << 24, bytes, &size, &e));
    *count = json_array_size(*cases);
    CHECK(size == (*count * each + before) * sizeof(float), "%s: %zu bytes for %zu cases", name, size, *count);
}

static void data_init(struct data *d)
{
    read_values("model", &d->cases, &d->bytes, &d->count, COUNT, 2 * COUNT);
    read_values("k", &d->k_cases, &d->k_bytes, &d->k_count, COUNT / K_EVERY, 0);
    d->noise = (const float *)(const void *)d->bytes;
    d->latent = d->noise + COUNT;
    d->finals = d->latent + COUNT;
    d->k_finals = (const float *)(const void *)d->k_bytes;
}

static void data_release(struct data *d)
{
    json_decref(d->cases);
    json_decref(d->k_cases);
    mem_free(d->bytes);
    mem_free(d->k_bytes);
}

struct run {
    struct scheduler_config config;
    struct sampler_spec spec;
    struct torch_random noise;
    int64_t calls;
};

static struct scheduler_config sd(enum scheduler_class class);

static void run_init(struct run *r, const json_t *c)
{
    struct err e = { 0 };
    int64_t seed = 5;
    bool zero_snr = false;
    const char *prediction = "epsilon";
    const json_t *config = json_object_get(c, "config");
    *r = (struct run){ .spec = { .shape = SHAPE(N, C, H, W), .eta = -1 } };
    REQUIRE(json_get_string(c, "case", "sampler", &r->spec.sampler, &e));
    REQUIRE(json_get_string(c, "case", "schedule", &r->spec.schedule, &e));
    REQUIRE(json_get_int(c, "case", "steps", 1, 1000, &r->spec.steps, &e));
    REQUIRE(json_get_int(c, "case", "start", 0, 1000, &r->spec.start_step, &e));
    REQUIRE(json_get_int(c, "case", "end", 0, 1000, &r->spec.end_step, &e));
    REQUIRE(json_get_bool(c, "case", "leftover", &r->spec.leftover_noise, &e));
    REQUIRE(json_get_bool(c, "case", "cuda", &r->spec.cuda_noise, &e));
    REQUIRE(json_get_double(c, "case", "denoise", 0, 1, &r->spec.denoise, &e));
    REQUIRE(json_get_int(c, "case", "calls", 1, 1000, &r->calls, &e));
    REQUIRE(json_get_double(c, "case", "eta", -1, 1, &r->spec.eta, &e));
    REQUIRE(json_get_int(c, "case", "seed", 0, INT64_MAX, &seed, &e));
    REQUIRE(json_get_bool(c, "case", "zero_snr", &zero_snr, &e));
    REQUIRE(json_get_string(c, "case", "prediction", &prediction, &e));
    if (config) {
        REQUIRE(scheduler_config_from_json(&r->config, config, "case", &e));
    } else {
        r->config = sd(SCHEDULER_DDIM);
        r->config.rescale_zero_snr = zero_snr;
        for (enum prediction p = PREDICTION_EPSILON; p <= PREDICTION_SAMPLE; p++)
            if (!strcmp(prediction_name(p), prediction))
                r->config.prediction = p;
    }
    r->spec.seed = (uint64_t)seed;
    torch_random_seed(&r->noise, r->spec.seed);
    r->spec.noise = &r->noise;
}

/* Runs a case; the final latents are in `out`. False if the number of calls is another one. */
static bool run_case(const struct data *d, const struct run *r, float *out)
{
    struct err e = { 0 };
    struct sampler *s;
    int called = 0;
    REQUIRE(sampler_new(&s, &r->spec, &r->config, &e));
    bool adaptive = sampler_calls(s) == 0, partly = r->spec.start_step || (r->spec.denoise > 0 && r->spec.denoise < 1);
    bool good = adaptive || sampler_calls(s) == r->calls;
    sampler_begin(s, d->noise, partly ? d->latent : NULL);
    REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
    /* (a refused step of dpm_adaptive costs ComfyUI one call more than it costs us) */
    good = good && called == sampler_calls(s) && sampler_done(s) && (adaptive ? called <= r->calls : called == r->calls);
    memcpy(out, sampler_latents(s), COUNT * sizeof *out);
    sampler_free(s);
    return good;
}

/* LIMN_TEST_VERBOSE=1 prints how far each case is off. */
static bool judge(const json_t *c, size_t i, bool good, struct difference x, double tolerance)
{
    bool off = !good || !(x.relative <= tolerance);
    if (getenv("LIMN_TEST_VERBOSE") || off) {
        char *text = json_dumps(c, JSON_COMPACT);
        print_message("%g, largest %g%s: case %zu %s\n", x.relative, x.max, good ? "" : ", another number of calls", i, text);
        free(text);
    }
    return !off;
}

TEST(final_latents_agree_with_diffusers)
{
    struct data d;
    data_init(&d);
    int wrong = 0;
    for (size_t i = 0; i < d.count; i++) {
        struct run r;
        float out[COUNT];
        run_init(&r, json_array_get(d.cases, i));
        bool good = run_case(&d, &r, out);
        /* diffusers computes in f32: 1e-7 at each of up to 20 steps; worst measured 4e-6. Euler ancestral at zero
         * SNR subtracts numbers of the size of sigma_max = 4096 and a last bit of its table makes 3e-5; KDPM2 ancestral in 2 steps
         * takes a slope over 14.6 that it knows at 0.03: 4.5e-5. */
        bool digits_lost = (r.config.rescale_zero_snr && r.config.class == SCHEDULER_EULER_ANCESTRAL) ||
                           (r.config.class == SCHEDULER_KDPM2_ANCESTRAL && r.spec.steps == 2);
        struct difference x = tensor_difference(out, d.finals + i * COUNT, COUNT);
        wrong += !judge(json_array_get(d.cases, i), i, good, x, digits_lost ? 1e-4 : 1e-5);
        scheduler_config_release(&r.config);
    }
    CHECK(!wrong, "%d of %zu cases", wrong, d.count);
    data_release(&d);
}

TEST(final_latents_agree_with_the_published_formulas_of_comfyuis_samplers)
{
    struct data d;
    data_init(&d);
    int wrong = 0;
    for (size_t i = 0; i < d.k_count; i++) {
        struct run r;
        float out[COUNT], some[COUNT / K_EVERY];
        run_init(&r, json_array_get(d.k_cases, i));
        bool zero_snr = r.config.rescale_zero_snr, adaptive = !strcmp(r.spec.sampler, "dpm_adaptive");
        bool good = run_case(&d, &r, out);
        for (int k = 0; k < COUNT / K_EVERY; k++)
            some[k] = out[k * K_EVERY];
        struct difference x = tensor_difference(some, d.k_finals + i * (COUNT / K_EVERY), COUNT / K_EVERY);
        /* The formulas are in f64, our arrays in f32: 6e-8 at each call, of x, which is 4500 times as large as x0 at zero SNR.
         * dpm_adaptive: a step that comes out a little longer moves the rest, and its own error is 5 %. */
        double tolerance = zero_snr ? adaptive ? 5e-3 : 1e-4 : 1e-5;
        wrong += !judge(json_array_get(d.k_cases, i), i, good, x, tolerance);
        scheduler_config_release(&r.config);
    }
    CHECK(!wrong, "%d of %zu cases", wrong, d.k_count);
    data_release(&d);
}

static struct scheduler_config sd(enum scheduler_class class)
{
    struct scheduler_config c;
    scheduler_config_defaults(&c, class);
    c.beta_schedule = BETAS_SCALED_LINEAR;
    c.beta_start = 0.00085;
    c.beta_end = 0.012;
    return c;
}

TEST(a_second_begin_gives_the_same_latents_again)
{
    struct data d;
    data_init(&d);
    struct err e = { 0 };
    for (const struct sampler_name *n = sampler_names + 1; n->name; n++) {
        struct scheduler_config c = sd(SCHEDULER_DDIM);
        struct sampler_spec spec = {
            .sampler = n->name, .steps = 6, .eta = -1, .seed = 3, .shape = SHAPE(N, C, H, W)
        };
        struct sampler *s;
        float first[COUNT];
        int called = 0;
        REQUIRE(sampler_new(&s, &spec, &c, &e));
        sampler_begin(s, d.noise, NULL);
        REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
        memcpy(first, sampler_latents(s), sizeof first);
        sampler_begin(s, d.noise, NULL);
        REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
        CHECK(!memcmp(first, sampler_latents(s), sizeof first), "%s", n->name);
        sampler_free(s);
    }
    data_release(&d);
}

/* Steps done go 0, 1, 2, ..., also where a step takes two calls, and the preview is there after each call. */
/* KSampler (Advanced): a run cut in two, with the noise left in between, is the whole run. What remembers steps forgets them at
 * the cut, so only samplers that look at one step alone are here. */
TEST(a_run_in_two_parts_is_the_whole_run)
{
    static const struct {
        const char *sampler;
        enum scheduler_class class;
        const char *schedule;
    } cases[] = { { "euler", SCHEDULER_DDIM, "karras" }, { "heun", SCHEDULER_DDIM, NULL },  { "dpm_2", SCHEDULER_DDIM, NULL },
                  { "euler_cfg_pp", SCHEDULER_DDIM, NULL }, { NULL, SCHEDULER_DDIM, NULL }, { NULL, SCHEDULER_EULER, NULL },
                  { NULL, SCHEDULER_HEUN, NULL } };
    struct data d;
    data_init(&d);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float whole[COUNT], parts[COUNT];
        for (int part = 0; part < 3; part++) {
            struct run r = { .config = sd(cases[k].class), .calls = 0 };
            r.spec = (struct sampler_spec){ .sampler = cases[k].sampler, .schedule = cases[k].schedule, .steps = 6, .eta = -1,
                                            .start_step = part == 2 ? 2 : 0, .end_step = part == 1 ? 2 : 0,
                                            .leftover_noise = part == 1, .shape = SHAPE(N, C, H, W) };
            struct err e = { 0 };
            struct sampler *s;
            int called = 0;
            REQUIRE(sampler_new(&s, &r.spec, &r.config, &e));
            CHECK(sampler_steps(s) == (part == 0 ? 6 : part == 1 ? 2 : 4), "case %zu, part %d", k, part);
            if (part < 2)
                sampler_begin(s, d.noise, NULL);
            else
                sampler_begin(s, NULL, parts);
            /* (what the first part leaves in diffusers' DDIM is on its own scale: the latents go over as they are) */
            if (part == 2)
                memcpy(sampler_latents(s), parts, sizeof parts);
            REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
            memcpy(part ? parts : whole, sampler_latents(s), sizeof parts);
            sampler_free(s);
        }
        struct difference x = tensor_difference(parts, whole, COUNT);
        CHECK(x.max == 0, "case %zu: %g", k, x.max);
    }
    data_release(&d);
}

/* diffusers' strength: the last int(steps * denoise) steps. ComfyUI's denoise is judged by its own cases. */
TEST(denoise_of_a_diffusers_class_is_its_start_step)
{
    static const enum scheduler_class classes[] = { SCHEDULER_DDIM, SCHEDULER_HEUN, SCHEDULER_UNIPC, SCHEDULER_KDPM2 };
    struct data d;
    data_init(&d);
    for (size_t k = 0; k < sizeof classes / sizeof *classes; k++) {
        struct run r = { .config = sd(classes[k]) };
        float out[2][COUNT];
        for (int by_denoise = 0; by_denoise < 2; by_denoise++) {
            r.spec = (struct sampler_spec){ .steps = 7, .start_step = by_denoise ? 0 : 4, .denoise = by_denoise ? 0.55 : 0,
                                            .eta = -1, .shape = SHAPE(N, C, H, W) };
            r.calls = classes[k] == SCHEDULER_HEUN || classes[k] == SCHEDULER_KDPM2 ? 5 : 3;
            CHECK(run_case(&d, &r, out[by_denoise]), "class %zu", k);
        }
        CHECK(!memcmp(out[0], out[1], sizeof out[0]), "class %zu: other latents", k);
    }
    data_release(&d);
}

/* SamplerCustom: levels of the caller in place of a schedule. */
TEST(levels_of_the_caller_are_those_of_the_schedule_that_made_them)
{
    struct data d;
    struct err e = { 0 };
    float out[2][COUNT];
    struct scheduler_config c = sd(SCHEDULER_DDIM);
    struct noise_schedule n;
    struct sigmas levels;
    data_init(&d);
    REQUIRE(noise_schedule_init(&n, &c, &e));
    REQUIRE(schedule_sigmas(&levels, &n, "karras", 7, 1, &e));
    for (int own = 0; own < 2; own++) {
        struct sampler_spec spec = { .sampler = "dpmpp_3m_sde", .eta = -1, .seed = 9, .shape = SHAPE(N, C, H, W) };
        struct sampler *s;
        int called = 0;
        spec.sigmas = own ? &levels : NULL;
        spec.steps = own ? 0 : 7;
        spec.schedule = own ? NULL : "karras";
        REQUIRE(sampler_new(&s, &spec, &c, &e));
        sampler_begin(s, d.noise, NULL);
        REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
        memcpy(out[own], sampler_latents(s), sizeof out[own]);
        sampler_free(s);
    }
    CHECK(!memcmp(out[0], out[1], sizeof out[0]), "other latents");
    struct sampler_spec spec = { .sampler = "euler", .sigmas = &levels, .shape = SHAPE(N, C, H, W) };
    struct sampler *s;
    levels.at[3] = 0;
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_ARG, "noise level 4 of 8 is 0");
    spec.sampler = NULL;
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_ARG, "takes its noise levels from the model");
    sigmas_release(&levels);
    noise_schedule_release(&n);
    data_release(&d);
}

/* With an output without guidance that is the guided one, CFG++ is the plain sampler where its x0 is the only thing it takes from
 * there: euler and euler_ancestral. */
TEST(cfg_pp_without_guidance_is_the_plain_sampler)
{
    static const char *const pairs[][2] = { { "euler", "euler_cfg_pp" }, { "euler_ancestral", "euler_ancestral_cfg_pp" },
                                            { "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp" },
                                            { "res_multistep", "res_multistep_cfg_pp" } };
    struct data d;
    data_init(&d);
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        float out[2][COUNT], input[COUNT], output[COUNT];
        for (int pp = 0; pp < 2; pp++) {
            struct scheduler_config c = sd(SCHEDULER_DDIM);
            struct sampler_spec spec = { .sampler = pairs[k][pp], .steps = 6, .eta = -1, .shape = SHAPE(N, C, H, W) };
            struct err e = { 0 };
            struct sampler *s;
            int called = 0;
            REQUIRE(sampler_new(&s, &spec, &c, &e));
            CHECK(sampler_uses_unguided(s) == (pp == 1), "%s", pairs[k][pp]);
            sampler_begin(s, d.noise, NULL);
            while (!sampler_done(s)) {
                double t = sampler_input(s, input);
                denoiser(&called, input, t, output, NULL, &e);
                REQUIRE(sampler_take(s, output, NULL, &e));
            }
            memcpy(out[pp], sampler_latents(s), sizeof out[pp]);
            sampler_free(s);
        }
        struct difference x = tensor_difference(out[1], out[0], COUNT);
        CHECK(x.relative < 1e-6, "%s: %g", pairs[k][1], x.relative);
    }
    data_release(&d);
}

TEST(steps_are_counted_as_the_user_counts_them)
{
    static const struct {
        const char *sampler;
        int64_t steps, start, calls;
    } cases[] = { { "euler", 5, 0, 5 },
                  { "heun", 5, 0, 9 },
                  { "heun", 1, 0, 1 },
                  { "heun", 5, 2, 5 },
                  { "uni_pc", 5, 1, 4 },
                  { "heunpp2", 5, 0, 12 },
                  { "dpmpp_sde", 3, 1, 3 },
                  { "seeds_3", 4, 0, 10 },
                  { "sa_solver_pece", 4, 0, 7 },
                  { "dpm_fast", 6, 0, 6 },
                  { "euler_cfg_pp", 3, 0, 3 } };
    struct err e = { 0 };
    float noise[COUNT], input[COUNT], output[COUNT];
    for (int i = 0; i < COUNT; i++)
        noise[i] = (float)sin(i);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct scheduler_config c = sd(SCHEDULER_DDIM);
        struct sampler_spec spec = { .sampler = cases[k].sampler,
                                     .steps = cases[k].steps,
                                     .start_step = cases[k].start,
                                     .eta = -1,
                                     .shape = SHAPE(N, C, H, W) };
        struct sampler *s;
        int called = 0;
        REQUIRE(sampler_new(&s, &spec, &c, &e));
        CHECK(sampler_calls(s) == cases[k].calls, "case %zu: %lld", k, (long long)sampler_calls(s));
        CHECK(sampler_steps(s) == cases[k].steps - cases[k].start, "case %zu", k);
        sampler_begin(s, noise, NULL);
        int64_t before = 0;
        while (!sampler_done(s)) {
            CHECK(sampler_calls_done(s) == called, "case %zu", k);
            int64_t call = sampler_calls_done(s);
            double t = sampler_input(s, input);
            CHECK(t == sampler_timestep(s, call), "case %zu", k);
            denoiser(&called, input, t, output, NULL, &e);
            REQUIRE(sampler_take(s, output, NULL, &e));
            int64_t done = sampler_steps_done(s);
            CHECK(done == before || done == before + 1, "case %zu: from %lld to %lld", k, (long long)before,
                  (long long)done);
            before = done;
            CHECK(isfinite(sampler_denoised(s)[0]), "case %zu", k);
        }
        CHECK(before == sampler_steps(s), "case %zu", k);
        sampler_free(s);
    }
}

TEST(a_spec_that_cannot_be_run_says_why)
{
    struct err e = { 0 };
    struct sampler *s;
    struct shape shape = SHAPE(1, 4, 8, 8);
    static const struct {
        const char *sampler, *schedule;
        int64_t steps, start;
        double eta;
        enum scheduler_class class;
        const char *part;
    } cases[] = {
        { "ddmi", NULL, 5, 0, 0, SCHEDULER_DDIM, "there are: model ddim euler euler_cfg_pp" },
        { "euler", "karass", 5, 0, 0, SCHEDULER_DDIM, "there are: normal karras" },
        { "model", "karras", 5, 0, 0, SCHEDULER_DDIM, "schedule karras cannot be given" },
        { "euler", NULL, 0, 0, 0, SCHEDULER_DDIM, "0 steps: want 1 to 10000" },
        { "euler", NULL, 10001, 0, 0, SCHEDULER_DDIM, "10001 steps" },
        { "euler", NULL, 5, 5, 0, SCHEDULER_DDIM, "start step 5 of 5" },
        { "euler", NULL, 5, -1, 0, SCHEDULER_DDIM, "start step -1" },
        { "euler", NULL, 5, 0, NAN, SCHEDULER_DDIM, "eta" },
        { "euler", "simple", 1001, 0, 0, SCHEDULER_DDIM, "at most 1000 steps" },
        { "dpm_fast", NULL, 1, 0, 0, SCHEDULER_DDIM, "dpm_fast ends at the last noise level above 0" },
        { "dpm_adaptive", NULL, 3, 2, 0, SCHEDULER_DDIM, "with 1 step" },
        { "euler", "ddim_uniform", 7, 8, 0, SCHEDULER_DDIM, "start step 8 of 8 steps" },
        { NULL, NULL, 1001, 0, 0, SCHEDULER_DDIM, "DDIMScheduler takes 1 to 1000" },
        { NULL, NULL, 3, 0, 0, SCHEDULER_PNDM, "PNDMScheduler takes 4 to 1000" },
        { NULL, NULL, 5, 0, 0.5, SCHEDULER_DDIM, "was given no generator" },
        { NULL, NULL, 5, 0, 0, SCHEDULER_EULER_ANCESTRAL, "was given no generator" },
        { NULL, NULL, 5, 0, 0, SCHEDULER_LCM, "LCMScheduler draws noise in its steps and was given no generator" },
        { NULL, NULL, 51, 0, 0, SCHEDULER_TCD, "TCDScheduler takes 1 to 50 here" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scheduler_config c = sd(cases[i].class);
        struct sampler_spec spec = { .sampler = cases[i].sampler,
                                     .schedule = cases[i].schedule,
                                     .steps = cases[i].steps,
                                     .start_step = cases[i].start,
                                     .eta = cases[i].eta,
                                     .shape = shape };
        CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_ARG, cases[i].part);
        CHECK(!s, "case %zu", i);
    }
    struct scheduler_config c = sd(SCHEDULER_DDIM);
    struct sampler_spec cut = { .sampler = "euler", .steps = 5, .start_step = 3, .end_step = 3, .shape = shape };
    CHECK_FAILS(sampler_new(&s, &cut, &c, &e), ERR_ARG, "start step 3, end step 3: nothing to do");
    cut = (struct sampler_spec){ .steps = 5, .end_step = 3, .shape = shape };
    CHECK_FAILS(sampler_new(&s, &cut, &c, &e), ERR_ARG, "can only leave the noise");
    cut = (struct sampler_spec){ .steps = 5, .denoise = 0.1, .shape = shape };
    CHECK_FAILS(sampler_new(&s, &cut, &c, &e), ERR_ARG, "5 steps with denoise 0.1 are none");
    cut = (struct sampler_spec){ .steps = 5, .denoise = 0.5, .start_step = 1, .shape = shape };
    CHECK_FAILS(sampler_new(&s, &cut, &c, &e), ERR_ARG, "takes one of them");
    cut = (struct sampler_spec){ .sampler = "euler", .steps = 5, .denoise = 1.5, .shape = shape };
    CHECK_FAILS(sampler_new(&s, &cut, &c, &e), ERR_ARG, "denoise 1.5");
    struct sampler_spec spec = { .steps = 1000, .shape = shape };
    c.steps_offset = 1;
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_ARG, "ask for timestep 1000");
    c.rescale_zero_snr = true;
    c.spacing = SPACING_TRAILING;
    spec.steps = 5;
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_ARG, "rescale_betas_zero_snr");
    spec.shape = SHAPE(0, 4);
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_SHAPE, "[0, 4]");
    c.beta_end = 1;
    c.beta_schedule = BETAS_LINEAR;
    spec.shape = shape;
    CHECK_FAILS(sampler_new(&s, &spec, &c, &e), ERR_FORMAT, "beta 1 at timestep 999");
}

static bool no_number(void *self, const float *x, double t, float *out, float *unguided, struct err *e)
{
    for (int i = 0; i < COUNT; i++)
        out[i] = i == 7 && ++*(int *)self == 3 ? NAN : 0;
    return true;
}

static bool asks_to_stop(void *self, const float *x, double t, float *out, float *unguided, struct err *e)
{
    if (++*(int *)self == 2)
        stop_request();
    memset(out, 0, sizeof *out * COUNT);
    return true;
}

TEST(a_run_ends_with_nan_or_a_wish_to_stop)
{
    struct err e = { 0 };
    struct scheduler_config c = sd(SCHEDULER_DDIM);
    struct sampler_spec spec = { .sampler = "euler", .steps = 5, .shape = SHAPE(N, C, H, W) };
    struct sampler *s;
    float noise[COUNT] = { 1 };
    int called = 0;
    REQUIRE(sampler_new(&s, &spec, &c, &e));
    sampler_begin(s, noise, NULL);
    CHECK_FAILS(sampler_run(s, no_number, &called, &(struct progress){ 0 }, &e), ERR_FORMAT, "step 3 of 5");
    sampler_begin(s, noise, NULL);
    called = 0;
    CHECK_FAILS(sampler_run(s, asks_to_stop, &called, &(struct progress){ 0 }, &e), ERR_STOPPED, "");
    stop_forget();
    CHECK(called == 2, "called %d times", called);
    sampler_free(s);
}

TEST(every_failing_allocation_is_an_error_and_leaks_nothing)
{
    struct err e = { 0 };
    float noise[COUNT] = { 1 };
    static const struct {
        const char *sampler;
        enum scheduler_class class;
    } cases[] = { { "model", SCHEDULER_DDIM },
                  { "model", SCHEDULER_PNDM },
                  { "model", SCHEDULER_UNIPC },
                  { "dpmpp_2m_sde", SCHEDULER_DDIM },
                  { "dpmpp_2s_ancestral_cfg_pp", SCHEDULER_DDIM },
                  { "dpm_adaptive", SCHEDULER_DDIM } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        bool ok = false;
        for (size_t n = 1; !ok; n++) {
            struct scheduler_config c = sd(cases[k].class);
            c.thresholding = cases[k].class != SCHEDULER_PNDM;
            struct sampler_spec spec = {
                .sampler = cases[k].sampler, .steps = 4, .eta = -1, .shape = SHAPE(N, C, H, W)
            };
            struct sampler *s;
            int called = 0;
            err_clear(&e);
            mem_fail_at(n);
            ok = sampler_new(&s, &spec, &c, &e);
            if (ok) {
                sampler_begin(s, noise, NULL);
                ok = sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e);
                sampler_free(s);
            }
            mem_fail_at(0);
            CHECK(ok || e.code == ERR_NOMEM, "case %zu, allocation %zu: %s", k, n, e.text);
        }
    }
}
