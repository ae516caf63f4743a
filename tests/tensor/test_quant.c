/* Quantised blocks against ggml's numbers (tests/reference/make_quants.py). */
#include "base/mem.h"
#include "tensor/quant.h"
#include "test.h"
#include "weights/weights.h"

enum { N = 1536 };

static struct weights *expected(void)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data("tensor/quants.safetensors"), &e);
    REQUIRE(w);
    return w;
}

static const void *data_of(const struct weights *w, const char *type, const char *tail)
{
    char name[40];
    snprintf(name, sizeof name, "%s%s", type, tail);
    const struct weight *t = weights_find(w, name);
    CHECK(t, "no %s", name);
    return t->data;
}

TEST(every_quantised_type_unpacks_to_ggmls_numbers)
{
    struct weights *w = expected();
    static float y[N], chunk[N];
    static uint16_t half[N];
    int types = 0;
    for (enum dtype t = 0; t < DTYPE_COUNT; t++) {
        if (!dtype_is_quantised(t))
            continue;
        types++;
        const void *packed = data_of(w, dtype_name(t), ".packed");
        const float *want = data_of(w, dtype_name(t), ".unpacked");
        quant_unpack(y, packed, t, N);
        CHECK(!memcmp(y, want, sizeof y), "%s: other numbers", dtype_name(t));
        assert_true(dtype_convert(chunk, DTYPE_F32, packed, t, N));
        CHECK(!memcmp(chunk, want, sizeof y), "%s: converted", dtype_name(t));
        assert_true(dtype_convert(half, DTYPE_BF16, packed, t, N));
        for (int64_t i = 0; i < N; i++) {
            CHECK(half[i] == f32_to_bf16(want[i]), "%s as bf16: %lld", dtype_name(t), (long long)i);
            CHECK_NEAR(dtype_load(packed, t, i), want[i], 0, "%s: %lld", dtype_name(t), (long long)i);
        }
        assert_false(dtype_convert(chunk, DTYPE_F32, packed, t, (size_t)dtype_block(t) - 1));
        assert_int_equal(dtype_span(t, 2 * dtype_block(t)), 2 * dtype_block_bytes(t));
        assert_int_equal(dtype_span(t, dtype_block(t) + 1), 2 * dtype_block_bytes(t));
    }
    assert_int_equal(types, 10);
    weights_free(w);
}

TEST(what_is_packed_has_ggmls_bits)
{
    struct weights *w = expected();
    const float *x = data_of(w, "x", "");
    static unsigned char packed[N * 2];
    int types = 0;
    for (enum dtype t = 0; t < DTYPE_COUNT; t++) {
        if (!dtype_is_quantised(t))
            continue;
        if (!quant_can_pack(t)) {
            assert_false(dtype_convert(packed, t, x, DTYPE_F32, N));
            continue;
        }
        types++;
        assert_true(dtype_convert(packed, t, x, DTYPE_F32, N));
        CHECK(!memcmp(packed, data_of(w, dtype_name(t), ".packed"), dtype_span(t, N)), "%s: other bits", dtype_name(t));
        CHECK(packed[dtype_span(t, N)] == 0, "%s wrote too much", dtype_name(t));
        memset(packed, 0, sizeof packed);
    }
    assert_int_equal(types, 3);
    weights_free(w);
}

TEST(bytes_as_floats_are_torchs)
{
    struct weights *w = expected();
    static const struct { enum dtype type; const char *name; } types[] = { { DTYPE_F8_E4M3, "e4m3" }, { DTYPE_F8_E5M2, "e5m2" } };
    for (int k = 0; k < 2; k++) {
        const float *want = data_of(w, types[k].name, "");
        unsigned char codes[256];
        float y[256];
        for (int i = 0; i < 256; i++)
            codes[i] = (unsigned char)i;
        assert_true(dtype_convert(y, DTYPE_F32, codes, types[k].type, 256));
        for (int i = 0; i < 256; i++)
            CHECK((isnan(y[i]) && isnan(want[i])) || !memcmp(&y[i], &want[i], 4), "%s 0x%02x: %g, torch %g", types[k].name, i, y[i],
                  want[i]);
    }
    weights_free(w);
}

TEST(a_scale_that_is_no_number_is_found)
{
    struct weights *w = expected();
    struct err e = { 0 };
    for (enum dtype t = 0; t < DTYPE_COUNT; t++) {
        if (!dtype_is_quantised(t))
            continue;
        size_t bytes = dtype_span(t, N), block = dtype_block_bytes(t);
        unsigned char *data = mem_aligned(bytes);
        assert_non_null(data);
        memcpy(data, data_of(w, dtype_name(t), ".packed"), bytes);
        struct weight weight = { "a", t, SHAPE(N), data };
        REQUIRE(weights_check_finite(&weight, &e));
        int found = 0;
        for (size_t i = 0; i + 1 < block; i += 2) { /* an infinity at every place of the second block: only scales are asked */
            uint16_t kept, infinite = 0x7C00;
            float y[QUANT_MOST];
            memcpy(&kept, data + block + i, 2);
            memcpy(data + block + i, &infinite, 2);
            bool good = weights_check_finite(&weight, &e);
            quant_unpack(y, data + block, t, dtype_block(t));
            bool finite = true;
            for (int64_t k = 0; k < dtype_block(t); k++)
                finite = finite && isfinite(y[k]);
            CHECK(good == finite, "%s, byte %zu of the block", dtype_name(t), i);
            CHECK(good || strstr(e.text, "a scale of the q"), "%s", e.text);
            err_clear(&e);
            found += !good;
            memcpy(data + block + i, &kept, 2);
        }
        CHECK(found == 1 || found == 2, "%s: %d scales", dtype_name(t), found);
        mem_free(data);
    }
    weights_free(w);
}
