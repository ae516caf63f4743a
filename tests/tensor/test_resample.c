/* Resampling against torch.nn.functional.interpolate, a written-out bislerp and Pillow (tests/reference/make_resample.py). */
#include "base/mem.h"
#include "image/image.h"
#include "tensor/resample.h"
#include "test.h"
#include "weights/weights.h"

enum { N = 2, C = 4, H = 5, W = 7 };

static struct weights *expected(void)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data("expected/resample.safetensors"), &e);
    REQUIRE(w != NULL);
    return w;
}

TEST(planes_are_those_of_torch_interpolate_and_of_bislerp)
{
    static const int64_t sizes[][2] = { { 10, 14 }, { 8, 9 }, { 3, 4 } };
    struct err e = { 0 };
    struct weights *w = expected();
    const float *in = weights_need(w, "in", &e)->data;
    for (int how = 0; how < RESAMPLE_COUNT; how++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char name[40];
            int64_t h = sizes[i][0], width = sizes[i][1], count = N * C * h * width;
            snprintf(name, sizeof name, "%s.%dx%d", resample_names[how], (int)h, (int)width);
            const struct weight *want = weights_find(w, name);
            assert_non_null(want);
            float *out = mem_aligned((size_t)count * sizeof *out);
            REQUIRE(tensor_resample(out, in, N, C, H, W, h, width, (enum resample)how, &e));
            struct difference off = tensor_difference(out, want->data, count);
            /* bislerp: near opposite vectors sin(angle) is small and f32's acos coarse; elsewhere 2e-6 */
            CHECK(off.max <= (how == RESAMPLE_BISLERP ? 1e-4 : 2e-6), "%s: %.2e at %lld", name, off.max, (long long)off.worst);
            mem_free(out);
        }
    weights_free(w);
}

TEST(the_same_size_is_the_same_numbers)
{
    struct err e = { 0 };
    struct weights *w = expected();
    const float *in = weights_need(w, "in", &e)->data;
    float out[N * C * H * W];
    for (int how = 0; how < RESAMPLE_COUNT; how++) {
        REQUIRE(tensor_resample(out, in, N, C, H, W, H, W, (enum resample)how, &e));
        CHECK(tensor_difference(out, in, N * C * H * W).max <= 1e-6, "%s", resample_names[how]);
    }
    weights_free(w);
}

TEST(lanczos_of_pixels_is_pillow_to_the_bit)
{
    static const int sizes[][2] = { { 18, 26 }, { 5, 13 }, { 9, 6 }, { 30, 7 } };
    struct err e = { 0 };
    struct weights *w = expected();
    struct image in = { 13, 9, 3, (uint8_t *)weights_need(w, "picture", &e)->data }, out;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[40];
        snprintf(name, sizeof name, "lanczos.%dx%d", sizes[i][0], sizes[i][1]);
        const struct weight *want = weights_find(w, name);
        assert_non_null(want);
        REQUIRE(image_resize(&out, &in, sizes[i][1], sizes[i][0], IMAGE_LANCZOS, &e));
        CHECK(!memcmp(out.pixels, want->data, image_bytes(&out)), "%s", name);
        image_release(&out);
    }
    weights_free(w);
}
