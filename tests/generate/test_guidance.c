/* Guidance and start noise against values made by tests/reference/make_guidance.py. */
#include "generate/guidance.h"

#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "generate/start_noise.h"
#include "test.h"

enum { N = 2, C = 4, H = 6, W = 5, EACH = C * H * W, COUNT = N * EACH };

static json_t *read_data(void)
{
    struct err e = { 0 };
    json_t *data = json_read(test_data("generate/guidance.json"), &e);
    CHECK(data, "%s", e.text);
    return data;
}

static double number(const json_t *c, const char *key)
{
    return json_number_value(json_object_get(c, key));
}

static double worst_of(const json_t *c, const float *came)
{
    const json_t *want = json_object_get(c, "out");
    double worst = 0;
    CHECK(json_array_size(want) == COUNT, "%zu numbers", json_array_size(want));
    for (size_t i = 0; i < COUNT; i++)
        worst = fmax(worst, fabs(json_number_value(json_array_get(want, i)) - (double)came[i]));
    return worst;
}

static void noise_of(uint64_t seed, float *out)
{
    struct torch_random r;
    torch_random_seed(&r, seed);
    torch_random_normal(&r, out, COUNT);
}

/* f32 numbers of up to 20, and noise that agrees with PyTorch's within 2e-6. */
TEST(guidance_and_its_rescaling_are_those_of_diffusers)
{
    json_t *data = read_data();
    const json_t *cases = json_object_get(data, "guidance");
    float unguided[COUNT], guided[COUNT], out[COUNT];
    noise_of(1, unguided);
    noise_of(2, guided);
    for (int i = 0; i < COUNT; i++)
        guided[i] += 0.3f * unguided[i];
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        guidance_mix(out, unguided, guided, N, EACH, number(c, "cfg"), number(c, "rescale"));
        CHECK(worst_of(c, out) < 3e-5, "case %zu: %g", i, worst_of(c, out));
    }
    json_decref(data);
}

TEST(a_subseed_turns_the_noise_column_by_column)
{
    struct err e = { 0 };
    json_t *data = read_data();
    const json_t *cases = json_object_get(data, "variations");
    struct torch_random r;
    float out[COUNT], plain[COUNT];
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        struct start_noise n = { .seed = (uint64_t)number(c, "seed"), .subseed = (uint64_t)number(c, "subseed"),
                                 .subseed_strength = number(c, "strength") };
        start_noise_seed(&n, &r);
        REQUIRE(start_noise_draw(&n, &r, out, SHAPE(N, C, H, W), &e));
        CHECK(worst_of(c, out) < 1e-5, "case %zu: %g", i, worst_of(c, out));
    }
    struct start_noise n = { .seed = 9, .subseed = 10 };
    start_noise_seed(&n, &r);
    REQUIRE(start_noise_draw(&n, &r, out, SHAPE(N, C, H, W), &e));
    noise_of(9, plain);
    CHECK(!memcmp(out, plain, sizeof out), "strength 0 changes the noise");
    json_decref(data);
}

/* The first case is the output that A1111's rng_philox.py states for its own generator. Agrees with the f32 arithmetic of numpy's
 * logarithm, sine and cosine within 2e-6. */
TEST(cuda_noise_has_pytorchs_layout)
{
    json_t *data = read_data();
    const json_t *cases = json_object_get(data, "cuda");
    struct torch_random r, skipping;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *places = json_object_get(c, "places"), *values = json_object_get(c, "values");
        size_t count = (size_t)number(c, "count");
        float *out = mem_aligned(count * sizeof *out), *again = mem_aligned(count * sizeof *again);
        torch_random_seed_cuda(&skipping, (uint64_t)number(c, "seed"));
        if (number(c, "draw") == 0)
            torch_random_seed_cuda(&r, (uint64_t)number(c, "seed"));
        else
            torch_random_skip_normals(&skipping, count);
        torch_random_normal(&r, out, count);
        torch_random_normal(&skipping, again, count);
        CHECK(!memcmp(out, again, count * sizeof *out), "case %zu: skipping is not drawing", i);
        for (size_t k = 0; k < json_array_size(places); k++) {
            size_t at = (size_t)json_integer_value(json_array_get(places, k));
            CHECK_NEAR(out[at], json_number_value(json_array_get(values, k)), 3e-6, "case %zu, place %zu", i, at);
        }
        mem_free(out);
        mem_free(again);
    }
    static const double published[12] = { -0.92466259, -0.42534415, -2.6438457,  0.14518388,  -0.12086647, -0.57972564,
                                          -0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497 };
    float first[12];
    torch_random_seed_cuda(&r, 0);
    torch_random_normal(&r, first, 12);
    for (int i = 0; i < 12; i++)
        CHECK_NEAR(first[i], published[i], 1e-6, "place %d", i);
    json_decref(data);
}
