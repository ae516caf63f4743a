/* ComfyUI's schedules against noise levels made by tests/reference/make_sampler.py. */
#include "sampler/schedules.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "sampler/sampler.h"
#include "test.h"

static void noise_init(struct noise_schedule *n, int64_t train_steps, bool zero_snr)
{
    struct err e = { 0 };
    struct scheduler_config c;
    scheduler_config_defaults(&c, SCHEDULER_DDIM);
    c.beta_schedule = BETAS_SCALED_LINEAR;
    c.beta_start = 0.00085;
    c.beta_end = 0.012;
    c.train_steps = train_steps;
    c.rescale_zero_snr = zero_snr;
    REQUIRE(noise_schedule_init(n, &c, &e));
}

static bool by_settings(struct sigmas *out, const struct noise_schedule *n, const char *node, int64_t steps, const double *v,
                        struct err *e)
{
    if (!strcmp(node, "karras"))
        return sigmas_karras(out, steps, v[0], v[1], v[2], e);
    if (!strcmp(node, "polyexponential"))
        return sigmas_polyexponential(out, steps, v[0], v[1], v[2], e);
    if (!strcmp(node, "exponential"))
        return sigmas_exponential(out, steps, v[0], v[1], e);
    if (!strcmp(node, "laplace"))
        return sigmas_laplace(out, steps, v[0], v[1], v[2], v[3], e);
    if (!strcmp(node, "vp"))
        return sigmas_vp(out, steps, v[0], v[1], v[2], e);
    if (!strcmp(node, "beta"))
        return sigmas_beta(out, n, steps, v[0], v[1], e);
    return sigmas_sd_turbo(out, n, steps, v[0], e);
}

static void make(const json_t *c, struct sigmas *out, bool *zero_snr)
{
    struct err e = { 0 };
    struct noise_schedule n;
    const char *schedule = NULL, *node = NULL;
    int64_t steps = 0, train_steps = 1000;
    double settings[4] = { 0 };
    REQUIRE(json_get_string(c, "case", "schedule", &schedule, &e));
    REQUIRE(json_get_string(c, "case", "node", &node, &e));
    REQUIRE(json_get_int(c, "case", "steps", 1, 1000, &steps, &e));
    REQUIRE(json_get_int(c, "case", "train_steps", 1, 2000, &train_steps, &e));
    REQUIRE(json_get_bool(c, "case", "zero_snr", zero_snr, &e));
    const json_t *list = json_object_get(c, "settings");
    for (size_t i = 0; i < json_array_size(list) && i < 4; i++)
        settings[i] = json_number_value(json_array_get(list, i));
    noise_init(&n, train_steps, *zero_snr);
    if (schedule)
        REQUIRE(schedule_sigmas(out, &n, schedule, steps, 1, &e));
    else
        REQUIRE(by_settings(out, &n, node, steps, settings, &e));
    noise_schedule_release(&n);
}

TEST(noise_levels_are_comfyuis)
{
    struct err e = { 0 };
    char *bytes;
    size_t size, at = 0, wrong = 0;
    json_t *cases = json_read(test_data("sampler/schedules.json"), &e);
    CHECK(cases, "%s", e.text);
    REQUIRE(file_read(test_data("sampler/schedules.f32"), 1 << 20, &bytes, &size, &e));
    const float *values = (const float *)(const void *)bytes;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        struct sigmas s;
        int64_t count = 0;
        bool zero_snr = false;
        REQUIRE(json_get_int(c, "case", "count", 1, 2000, &count, &e));
        make(c, &s, &zero_snr);
        double worst = s.count == count ? 0 : INFINITY;
        for (int64_t k = 0; k < count && s.count == count; k++)
            worst = fmax(worst, fabs(s.at[k] - (double)values[at + (size_t)k]) / fmax(1e-3, s.at[k]));
        /* Both are rounded to f32, 6e-8; the tangent of kl_optimal at sigma 4518 makes a last bit of its argument 5e-4, and the C
         * library's and PyTorch's tangents differ there. */
        const char *name = json_string_value(json_object_get(c, "schedule"));
        bool steep = zero_snr && name && !strcmp(name, "kl_optimal");
        bool off = !(worst <= (steep ? 1e-3 : 3e-7));
        if (getenv("LIMN_TEST_VERBOSE") || off) {
            char *text = json_dumps(c, JSON_COMPACT);
            print_message("%g off, %lld levels: %s\n", worst, (long long)s.count, text);
            free(text);
        }
        wrong += off;
        at += (size_t)count;
        sigmas_release(&s);
    }
    CHECK(at * sizeof(float) == size, "%zu numbers, %zu bytes", at, size);
    CHECK(!wrong, "%zu of %zu schedules", wrong, json_array_size(cases));
    json_decref(cases);
    mem_free(bytes);
}

/* BasicScheduler and KSampler: int(steps / denoise) steps are computed and the last steps + 1 levels kept. */
TEST(denoise_keeps_the_end_of_a_longer_run)
{
    static const struct {
        int64_t steps;
        double denoise;
        int64_t computed;
    } cases[] = { { 20, 0.5, 40 }, { 7, 0.6, 11 }, { 20, 0.87, 22 }, { 1, 0.3, 3 }, { 20, 0.99995, 20 } };
    struct err e = { 0 };
    struct noise_schedule n;
    noise_init(&n, 1000, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sigmas some, all;
        REQUIRE(schedule_sigmas(&some, &n, "normal", cases[i].steps, cases[i].denoise, &e));
        REQUIRE(schedule_sigmas(&all, &n, "normal", cases[i].computed, 1, &e));
        CHECK(some.count == cases[i].steps + 1, "case %zu: %lld", i, (long long)some.count);
        const double *end = all.at + all.count - some.count;
        CHECK(!memcmp(some.at, end, (size_t)some.count * sizeof *end), "case %zu", i);
        sigmas_release(&some);
        sigmas_release(&all);
    }
    noise_schedule_release(&n);
}

TEST(a_schedule_that_cannot_be_made_says_why)
{
    struct err e = { 0 };
    struct noise_schedule n;
    struct sigmas s;
    noise_init(&n, 1000, false);
    CHECK_FAILS(schedule_sigmas(&s, &n, "karass", 5, 1, &e), ERR_ARG, "there are: normal karras");
    CHECK_FAILS(schedule_sigmas(&s, &n, "normal", 0, 1, &e), ERR_ARG, "0 steps: want 1 to 10000");
    CHECK_FAILS(schedule_sigmas(&s, &n, "normal", 5, 0, &e), ERR_ARG, "denoise 0");
    CHECK_FAILS(schedule_sigmas(&s, &n, "normal", 5, 1e-9, &e), ERR_ARG, "want 1 to 10000");
    CHECK_FAILS(schedule_sigmas(&s, &n, "simple", 20, 0.01, &e), ERR_ARG, "at most 1000 steps");
    CHECK_FAILS(sigmas_karras(&s, 5, -1, 0.03, 7, &e), ERR_ARG, "schedule karras with these settings");
    CHECK_FAILS(sigmas_beta(&s, &n, 5, 0, 0.6, &e), ERR_ARG, "alpha 0");
    CHECK_FAILS(sigmas_sd_turbo(&s, &n, 11, 1, &e), ERR_ARG, "1 to 10 steps");
    CHECK_FAILS(sigmas_sd_turbo(&s, &n, 1, 0.05, &e), ERR_ARG, "denoise 0.05");
    CHECK(!s.at && !s.count, "something is left");
    noise_schedule_release(&n);
}
