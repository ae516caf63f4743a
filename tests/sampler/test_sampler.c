/* Every sampler against final latents made by tests/reference/make_sampler.py: diffusers' own classes, and
 * the published k-diffusion formulas, with a denoiser that both sides compute alike. */
#include "sampler/sampler.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"

enum { N = 2, C = 4, H = 6, W = 5, COUNT = N * C * H * W };

static bool denoiser(void *self, const float *x, double t, float *out, struct err *e)
{
    (*(int *)self)++;
    for (int i = 0; i < COUNT; i++)
        out[i] = (float)tanh(0.8 * (double)x[i] + 0.5 * sin(t / 100) + 0.3 * (double)x[(i + 7) % COUNT]);
    return true;
}

struct data {
    json_t *cases;
    char *bytes;
    const float *noise, *latent, *finals;
    size_t count;
};

static void data_init(struct data *d)
{
    struct err e = { 0 };
    size_t bytes = 0;
    d->cases = json_read(test_data("sampler/cases.json"), &e);
    CHECK(d->cases, "%s", e.text);
    REQUIRE(file_read(test_data("sampler/values.f32"), 1 << 24, &d->bytes, &bytes, &e));
    d->count = json_array_size(d->cases);
    CHECK(bytes == (d->count + 2) * COUNT * sizeof(float), "%zu bytes for %zu cases", bytes, d->count);
    d->noise = (const float *)(const void *)d->bytes;
    d->latent = d->noise + COUNT;
    d->finals = d->latent + COUNT;
}

static void data_release(struct data *d)
{
    json_decref(d->cases);
    mem_free(d->bytes);
}

struct run {
    struct scheduler_config config;
    struct sampler_spec spec;
    struct torch_random noise;
    int64_t calls;
};

static void run_init(struct run *r, const json_t *c)
{
    struct err e = { 0 };
    int64_t seed = 0;
    *r = (struct run){ .spec = { .shape = SHAPE(N, C, H, W) } };
    REQUIRE(scheduler_config_from_json(&r->config, json_object_get(c, "config"), "case", &e));
    REQUIRE(json_get_string(c, "case", "sampler", &r->spec.sampler, &e));
    REQUIRE(json_get_string(c, "case", "schedule", &r->spec.schedule, &e));
    REQUIRE(json_get_int(c, "case", "steps", 1, 1000, &r->spec.steps, &e));
    REQUIRE(json_get_int(c, "case", "start", 0, 1000, &r->spec.start_step, &e));
    REQUIRE(json_get_int(c, "case", "calls", 1, 1000, &r->calls, &e));
    REQUIRE(json_get_double(c, "case", "eta", -1, 1, &r->spec.eta, &e));
    REQUIRE(json_get_int(c, "case", "seed", 0, INT64_MAX, &seed, &e));
    r->spec.seed = (uint64_t)seed;
    torch_random_seed(&r->noise, r->spec.seed);
    r->spec.noise = &r->noise;
}

static struct difference run_case(const struct data *d, size_t i, double *tolerance)
{
    struct err e = { 0 };
    struct run r;
    run_init(&r, json_array_get(d->cases, i));
    struct sampler *s;
    REQUIRE(sampler_new(&s, &r.spec, &r.config, &e));
    CHECK(sampler_calls(s) == r.calls, "case %zu: %lld calls, wanted %lld", i, (long long)sampler_calls(s),
          (long long)r.calls);
    int called = 0;
    sampler_begin(s, d->noise, r.spec.start_step ? d->latent : NULL);
    REQUIRE(sampler_run(s, denoiser, &called, &(struct progress){ 0 }, &e));
    CHECK(called == r.calls && sampler_done(s), "case %zu: called %d times", i, called);
    struct difference out = tensor_difference(sampler_latents(s), d->finals + i * COUNT, COUNT);
    /* diffusers computes in f32: 1e-7 at each of up to 20 steps; worst measured 4e-6. Euler ancestral at zero
     * SNR subtracts numbers of the size of sigma_max = 4096 and a last bit of its table makes 3e-5. */
    bool digits_lost = r.config.rescale_zero_snr && r.config.class == SCHEDULER_EULER_ANCESTRAL;
    *tolerance = digits_lost ? 1e-4 : 1e-5;
    sampler_free(s);
    scheduler_config_release(&r.config);
    return out;
}

/* LIMN_TEST_VERBOSE=1 prints how far each case is off. */
TEST(final_latents_agree_with_diffusers_and_with_k_diffusion)
{
    struct data d;
    data_init(&d);
    int wrong = 0;
    for (size_t i = 0; i < d.count; i++) {
        double tolerance;
        struct difference x = run_case(&d, i, &tolerance);
        bool off = !(x.relative <= tolerance);
        if (getenv("LIMN_TEST_VERBOSE") || off) {
            char *text = json_dumps(json_array_get(d.cases, i), JSON_COMPACT);
            print_message("%g, largest %g: case %zu %s\n", x.relative, x.max, i, text);
            free(text);
        }
        wrong += off;
    }
    CHECK(!wrong, "%d of %zu cases", wrong, d.count);
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
TEST(steps_are_counted_as_the_user_counts_them)
{
    static const struct {
        const char *sampler;
        int64_t steps, start, calls;
    } cases[] = { { "euler", 5, 0, 5 },
                  { "heun", 5, 0, 9 },
                  { "heun", 1, 0, 1 },
                  { "heun", 5, 2, 5 },
                  { "uni_pc", 5, 1, 4 } };
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
            denoiser(&called, input, t, output, &e);
            REQUIRE(sampler_take(s, output, &e));
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
        { "ddmi", NULL, 5, 0, 0, SCHEDULER_DDIM, "there are: model ddim euler" },
        { "euler", "karass", 5, 0, 0, SCHEDULER_DDIM, "there are: normal karras" },
        { "model", "karras", 5, 0, 0, SCHEDULER_DDIM, "schedule karras cannot be given" },
        { "euler", NULL, 0, 0, 0, SCHEDULER_DDIM, "0 steps: want 1 to 10000" },
        { "euler", NULL, 10001, 0, 0, SCHEDULER_DDIM, "10001 steps" },
        { "euler", NULL, 5, 5, 0, SCHEDULER_DDIM, "start step 5 of 5" },
        { "euler", NULL, 5, -1, 0, SCHEDULER_DDIM, "start step -1" },
        { "euler", NULL, 5, 0, NAN, SCHEDULER_DDIM, "eta" },
        { "euler", "simple", 1001, 0, 0, SCHEDULER_DDIM, "at most 1000 steps" },
        { NULL, NULL, 1001, 0, 0, SCHEDULER_DDIM, "DDIMScheduler takes 1 to 1000" },
        { NULL, NULL, 3, 0, 0, SCHEDULER_PNDM, "PNDMScheduler takes 4 to 1000" },
        { NULL, NULL, 5, 0, 0.5, SCHEDULER_DDIM, "was given no generator" },
        { NULL, NULL, 5, 0, 0, SCHEDULER_EULER_ANCESTRAL, "was given no generator" },
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

static bool no_number(void *self, const float *x, double t, float *out, struct err *e)
{
    for (int i = 0; i < COUNT; i++)
        out[i] = i == 7 && ++*(int *)self == 3 ? NAN : 0;
    return true;
}

static bool asks_to_stop(void *self, const float *x, double t, float *out, struct err *e)
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
                  { "dpmpp_2m_sde", SCHEDULER_DDIM } };
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
