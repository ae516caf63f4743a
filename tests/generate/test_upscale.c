/* Pictures made larger by RRDBNets beside the same networks in plain PyTorch (tests/reference/make_upscale.py). */
#include "generate/upscale.h"

#include <math.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights.h"

static const char *data_path(const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "upscale/%s", name);
    return test_data(path);
}

/* [1, 3, h, w] -> [h, w, 3]; free with mem_free. */
static float *picture_of(const struct weights *w, const char *name, int64_t *height, int64_t *width)
{
    const struct weight *t = weights_find(w, name);
    assert_non_null(t);
    *height = t->shape.dim[2];
    *width = t->shape.dim[3];
    float *out = mem_aligned(weight_bytes(t));
    tensor_nchw_to_nhwc(out, t->data, 1, 3, *height, *width);
    return out;
}

static const struct { const char *file, *name; int64_t scale; } nets[] = { { "x4.safetensors", "x4", 4 }, { "x2.pth", "x2", 2 }, { "old.pth", "old", 4 } };

TEST(pictures_become_larger_as_in_pytorch)
{
    struct err e = { 0 };
    struct weights *w = weights_open(data_path("expected.safetensors"), &e);
    const struct backend *backends[] = { backend_ref(), backend_cpu_new(0, NULL, &e) };
    REQUIRE(w && backends[1]);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (int b = 0; b < 2; b++) {
            int64_t h, width, large_h, large_w;
            char name[20];
            snprintf(name, sizeof name, "%s.out", nets[i].name);
            float *from = picture_of(w, "picture", &h, &width), *wanted = picture_of(w, name, &large_h, &large_w);
            struct upscaler *u = upscaler_open(data_path(nets[i].file), &e);
            REQUIRE(u && upscaler_scale(u) == nets[i].scale && large_h == h * nets[i].scale && large_w == width * nets[i].scale);
            int64_t count = large_h * large_w * 3;
            float *came = mem_aligned((size_t)count * sizeof *came);
            REQUIRE(upscaler_run(u, backends[b], DTYPE_F32, from, h, width, 0, NULL, came, &e));
            struct difference off = tensor_difference(came, wanted, count);
            CHECK(off.max <= 1e-4 && off.relative <= 1e-4, "%s, backend %d: differs by %.2e, relative %.2e", nets[i].file, b, off.max, off.relative);
            upscaler_free(u);
            mem_free(from);
            mem_free(wanted);
            mem_free(came);
        }
    weights_free(w);
}

/* An odd size is filled up for the shuffle; tiles see each other's ends, not all that the whole sees. */
TEST(tiles_give_nearly_the_picture_of_the_whole)
{
    enum { H = 75, W = 91 };
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        struct upscaler *u = upscaler_open(data_path(nets[i].file), &e);
        REQUIRE(u);
        size_t count = (size_t)(H * W * nets[i].scale * nets[i].scale) * 3;
        float *from = mem_aligned(H * W * 3 * sizeof *from), *whole = mem_aligned(count * sizeof *whole), *tiled = mem_aligned(count * sizeof *tiled);
        for (int k = 0; k < H * W; k++)
            for (int c = 0; c < 3; c++)
                from[3 * k + c] = 0.5f + 0.5f * sinf(0.1f * (float)(k % W) + (float)c + 0.07f * (float)(k / W));
        REQUIRE(upscaler_run(u, cpu, DTYPE_F32, from, H, W, 128, NULL, whole, &e) && upscaler_run(u, cpu, DTYPE_F32, from, H, W, 48, NULL, tiled, &e));
        double sum = 0;
        for (size_t k = 0; k < count; k++)
            sum += ((double)whole[k] - tiled[k]) * ((double)whole[k] - tiled[k]);
        double db = -10 * log10(sum / (double)count);
        CHECK(db > 40, "%s: %.1f dB", nets[i].file, db); /* these tiles overlap by less than the network sees */
        upscaler_free(u);
        mem_free(from);
        mem_free(whole);
        mem_free(tiled);
    }
}

TEST(what_makes_no_picture_larger_is_told)
{
    struct err e = { 0 };
    float pixel[3] = { 0 }, out[48];
    CHECK_FAILS(upscaler_open(test_data("models/tiny-sd1/vae/diffusion_pytorch_model.safetensors"), &e), ERR_TYPE, "RRDBNet: ESRGAN");
    CHECK_FAILS(upscaler_open(data_path("expected.safetensors"), &e), ERR_TYPE, "none of its 4 tensors");
    CHECK_FAILS(upscaler_open(data_path("none.pth"), &e), ERR_MISSING, "none.pth");
    struct upscaler *u = upscaler_open(data_path("x4.safetensors"), &e);
    REQUIRE(u);
    CHECK_FAILS(upscaler_run(u, backend_ref(), DTYPE_F32, pixel, 1, 1, 31, NULL, out, &e), ERR_ARG, "at least 32");
    CHECK_FAILS(upscaler_run(u, backend_ref(), DTYPE_F32, pixel, 1, 1 << 20, 0, NULL, out, &e), ERR_LIMIT, "sides are at most");
    REQUIRE(upscaler_run(u, backend_ref(), DTYPE_F32, pixel, 1, 1, 0, NULL, out, &e)); /* one pixel is a picture, too */
    upscaler_free(u);
}
