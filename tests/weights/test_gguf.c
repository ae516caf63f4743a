/* GGUF files. tests/data/weights/every_type.gguf was made by the gguf package (tests/reference/make_quants.py). */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights.h"

static struct weights *opened(const char *name)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data(name), &e);
    REQUIRE(w);
    return w;
}

TEST(every_type_of_a_gguf_file_is_read)
{
    struct err e = { 0 };
    struct weights *w = opened("weights/every_type.gguf"), *expected = opened("tensor/quants.safetensors");
    assert_string_equal(weights_format(w), "gguf");
    assert_int_equal(weights_count(w), 17);
    static const char *const plain[] = { "f32", "f16", "bf16", "f64" };
    for (int k = 0; k < 4; k++) {
        const struct weight *t = weights_find(w, plain[k]);
        CHECK(t && !strcmp(dtype_name(t->type), plain[k]), "%s", plain[k]);
        CHECK(shape_same(t->shape, SHAPE(2, 3)), "%s is %s", plain[k], shape_text(t->shape).s);
        for (int64_t i = 0; i < 6; i++)
            CHECK_NEAR(dtype_load(t->data, t->type, i), (double)i * 0.5 - 2, 0, "%s", plain[k]);
    }
    CHECK_NEAR(dtype_load(weights_find(w, "i32")->data, DTYPE_I32, 1), -8, 0, "i32");
    CHECK_NEAR(dtype_load(weights_find(w, "i8")->data, DTYPE_I8, 0), -5, 0, "i8");
    int quantised = 0;
    for (enum dtype type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_quantised(type))
            continue;
        char name[40];
        snprintf(name, sizeof name, "%s.packed", dtype_name(type));
        const struct weight *t = weights_find(w, dtype_name(type)), *want = weights_find(expected, name);
        CHECK(t && t->type == type && shape_same(t->shape, SHAPE(3, 512)), "%s", dtype_name(type));
        assert_int_equal(weight_bytes(t), weight_bytes(want));
        assert_memory_equal(t->data, want->data, weight_bytes(t));
        REQUIRE(weights_check_finite(t, &e));
        weights_forget(w, t);
        quantised++;
    }
    assert_int_equal(quantised, 10);
    const struct weight *kernel = weights_find(w, "kernel");
    CHECK(shape_same(kernel->shape, SHAPE(2, 32, 3, 8)), "the kernel is %s", shape_text(kernel->shape).s);
    weights_free(w);
    weights_free(expected);
}

TEST(metadata_are_text)
{
    static const char *const pairs[][2] = {
        { "general.architecture", "sd1" }, { "n.u8", "200" }, { "n.i8", "-3" }, { "n.u16", "60000" }, { "n.i16", "-300" },
        { "n.u32", "4000000000" }, { "n.i32", "-5" }, { "n.f32", "0.5" }, { "n.u64", "9223372036854775808" },
        { "n.i64", "-1099511627776" }, { "n.bool", "true" }, { "n.text", "值 \"a\"" }, { "n.list", "[1, 2, 3]" },
        { "n.texts", "[\"a\", \"b c\"]" },
    };
    struct weights *w = opened("weights/every_type.gguf");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *value = weights_metadata(w, pairs[i][0]);
        CHECK(value && !strcmp(value, pairs[i][1]), "%s: %s", pairs[i][0], value ? value : "nothing");
    }
    CHECK_NEAR(strtod(weights_metadata(w, "n.f64"), NULL), 1e-4, 0, "n.f64");
    const char *many = weights_metadata(w, "n.long");
    CHECK(strstr(many, "62, 63, ... 1000 in all]"), "%s", many);
    weights_free(w);
}

/* ---- broken files ---- */

#define T(s) s, sizeof(s) - 1
#define HEAD(tensors, pairs) "GGUF\3\0\0\0" tensors "\0\0\0\0\0\0\0" pairs "\0\0\0\0\0\0\0"
#define NAME "\1\0\0\0\0\0\0\0t"
#define TENSOR(rank, dims, type, offset) NAME rank "\0\0\0" dims type "\0\0\0" offset "\0\0\0\0\0\0\0"
#define D(d) d "\0\0\0\0\0\0\0"
#define KEY(bytes, key, kind) bytes "\0\0\0\0\0\0\0" key kind "\0\0\0"
#define ALIGN KEY("\x11", "general.alignment", "\4")

static const char *spill(const void *data, size_t bytes, size_t zeros)
{
    const char *path = test_scratch("bad.gguf");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(data, 1, bytes, f);
    for (size_t i = 0; i < zeros; i++)
        fputc(0, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

TEST(bad_files_are_refused_with_the_cause)
{
    static const struct {
        const char *data;
        size_t bytes, zeros;
        enum err_code code;
        const char *part;
    } cases[] = {
        { T("GGUF\3\0\0\0"), 0, ERR_FORMAT, "ends within its header" },
        { T("GGUF\1\0\0\0"), 16, ERR_FORMAT, "GGUF version 1, 2 and 3" },
        { T("GGUF\0\0\0\3"), 16, ERR_FORMAT, "a big-endian file?" },
        { T("GGUF\3\0\0\0\xff\xff\xff\xff\0\0\0\0"), 8, ERR_LIMIT, "4294967295 tensors" },
        { T(HEAD("\0", "\1")), 0, ERR_FORMAT, "ends within its metadata" },
        { T(HEAD("\0", "\1") "\xff\xff\xff\xff\xff\xff\xff\xffk"), 0, ERR_FORMAT, "ends within its metadata" },
        { T(HEAD("\0", "\1") KEY("\1", "\xff", "\0")), 1, ERR_FORMAT, "key of the metadata is not UTF-8" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x0d")), 8, ERR_FORMAT, "\"k\" has the unknown type 13" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x08") "\2\0\0\0\0\0\0\0a"), 0, ERR_FORMAT, "ends within its metadata" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x0a") "1234567"), 0, ERR_FORMAT, "ends within its metadata" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x09") "\x09\0\0\0\0\0\0\0\0\0\0\0"), 0, ERR_FORMAT, "a list of type 9" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x09") "\4\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), 8, ERR_FORMAT, "a list of its metadata" },
        { T(HEAD("\0", "\1") KEY("\1", "k", "\x09") "\x08\0\0\0\1\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0"), 8, ERR_FORMAT, "a list of its" },
        { T(HEAD("\0", "\1") ALIGN "\3\0\0\0"), 0, ERR_FORMAT, "general.alignment is no power of two" },
        { T(HEAD("\0", "\1") ALIGN "\0\0\0\0"), 0, ERR_FORMAT, "general.alignment is no power of two" },
        { T(HEAD("\1", "\0")), 0, ERR_FORMAT, "ends within its list of tensors" },
        { T(HEAD("\1", "\0") "\1\0\0\0\0\0\0\0\0\1\0\0\0" D("\1") "\0\0\0\0"), 8, ERR_FORMAT, "name of a tensor is not UTF-8" },
        { T(HEAD("\1", "\0") TENSOR("\7", "", "\0", "\0")), 56, ERR_LIMIT, "7 dimensions, at most 6" },
        { T(HEAD("\1", "\0") TENSOR("\1", "\0\0\0\0\0\0\0\x80", "\0", "\0")), 0, ERR_FORMAT, "a dimension of 9223372036854775808" },
        { T(HEAD("\1", "\0") TENSOR("\2", "\0\0\0\0\0\0\0\x40" D("\2"), "\0", "\0")), 0, ERR_FORMAT, "too large for any file" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\x10", "\0")), 64, ERR_TYPE, "the type IQ2_XXS is not one" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\xc8", "\0")), 64, ERR_TYPE, "the type number 200 is unknown" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\x08", "\0")), 64, ERR_FORMAT, "no whole blocks of q8_0" },
        { T(HEAD("\1", "\0") TENSOR("\2", D("\x10") D("\2"), "\x08", "\0")), 64, ERR_FORMAT, "no whole blocks of q8_0" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\0", "\4")), 64, ERR_FORMAT, "its offset 4 is no multiple of 32" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\0", "\0")), 7, ERR_FORMAT, "is it cut off?" },
        { T(HEAD("\1", "\0") TENSOR("\1", D("\2"), "\0", "\x40")), 64, ERR_FORMAT, "is it cut off?" },
        { T(HEAD("\2", "\0") TENSOR("\1", D("\2"), "\0", "\0") TENSOR("\1", D("\2"), "\0", "\0")), 64, ERR_FORMAT, "they overlap" },
        { T(HEAD("\2", "\0") TENSOR("\1", D("\2"), "\0", "\0") TENSOR("\1", D("\2"), "\0", "\x20")), 99, ERR_FORMAT, "is there twice" },
        { T(HEAD("\1", "\1") KEY("\x17", "comfy.gguf.orig_shape.t", "\x09") "\5\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0"
            TENSOR("\1", D("\2"), "\0", "\0")), 64, ERR_FORMAT, "give it the shape [3], but it holds [2]" },
        { T(HEAD("\1", "\1") KEY("\x17", "comfy.gguf.orig_shape.t", "\x08") "\1\0\0\0\0\0\0\0x"
            TENSOR("\1", D("\2"), "\0", "\0")), 64, ERR_FORMAT, "give it the shape x" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weights *w = weights_open(spill(cases[i].data, cases[i].bytes, cases[i].zeros), &e);
        CHECK(!w && e.code == cases[i].code && strstr(e.text, cases[i].part) && strstr(e.text, "bad.gguf"),
              "case %zu, wanted \"%s\", code %d: %s", i, cases[i].part, (int)e.code, e.text);
        err_clear(&e);
    }
}

TEST(a_small_file_made_by_hand_is_read)
{
    struct err e = { 0 };
    struct weights *w = weights_open(spill(T(HEAD("\1", "\1") ALIGN "\x08\0\0\0" TENSOR("\1", D("\1"), "\0", "\0") "......\0\0\x80\x3f"), 0), &e);
    REQUIRE(w);
    CHECK_NEAR(dtype_load(weights_find(w, "t")->data, DTYPE_F32, 0), 1, 0, "t");
    weights_free(w);
}

TEST(every_cut_and_every_changed_byte_comes_back)
{
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(test_data("weights/every_type.gguf"), 1 << 20, &data, &bytes, &e));
    for (size_t n = 0; n < bytes; n += 41) {
        struct weights *w = weights_open(spill(data, n, 0), &e);
        CHECK(!w && e.text[0], "cut to %zu of %zu bytes: it opened", n, bytes);
        err_clear(&e);
    }
    for (size_t n = 0; n < 3000; n += 7) {
        char kept = data[n];
        data[n] = (char)(kept ^ (n % 2 ? 0xFF : 1));
        struct weights *w = weights_open(spill(data, bytes, 0), &e);
        data[n] = kept;
        CHECK(w || e.text[0], "byte %zu: an error without a text", n);
        for (size_t i = 0; w && i < weights_count(w); i++) {
            (void)weights_check_finite(weights_at(w, i), &e);
            err_clear(&e);
        }
        weights_free(w);
        err_clear(&e);
    }
    mem_free(data);
}

TEST(every_allocation_that_fails_is_an_error)
{
    struct err e = { 0 };
    struct weights *w = NULL;
    size_t n = 1;
    for (; n < 2000 && !w; n++) {
        mem_fail_at(n);
        w = weights_open(test_data("weights/every_type.gguf"), &e);
        mem_fail_at(0);
        CHECK(w || e.code == ERR_NOMEM, "allocation %zu: %s", n, e.text);
        err_clear(&e);
    }
    CHECK(w && n > 10, "%zu", n);
    weights_free(w);
}
