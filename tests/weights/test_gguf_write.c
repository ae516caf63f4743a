/* Writing GGUF. tests/data/weights/written.gguf is what this test writes; tests/reference/check_gguf.py reads it with the gguf
 * package and compares every number. */
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights.h"

static struct weights *opened(const char *path)
{
    struct err e = { 0 };
    struct weights *w = weights_open(path, &e);
    REQUIRE(w);
    return w;
}

static const struct weights_pair pairs[] = {
    { "general.architecture", "sd1" },
    { "general.alignment", "64" }, /* of the file it came from; not of this one */
    { "comfy.gguf.orig_shape.gone", "[1]" },
    { "made by", "limn, 值" },
};

/* The reference numbers in each type that can be packed, a kernel whose rows are no blocks, and plain types. */
static void write_all(const char *path, const float *x, struct err *e)
{
    const struct weights_entry entries[] = {
        { "x.q8_0", DTYPE_Q8_0, SHAPE(3, 512) },        { "x.f32", DTYPE_F32, SHAPE(3, 512) },
        { "x.q4_0", DTYPE_Q4_0, SHAPE(3, 512) },        { "x.f16", DTYPE_F16, SHAPE(3, 512) },
        { "x.q4_k", DTYPE_Q4_K, SHAPE(2, 3, 256) },     { "x.bf16", DTYPE_BF16, SHAPE(3, 512) },
        { "kernel.q4_k", DTYPE_Q4_K, SHAPE(16, 32, 1, 3) }, { "kernel.q8_0", DTYPE_Q8_0, SHAPE(3, 32, 1, 1) },
        { "number", DTYPE_F32, { 0 } },
    };
    enum { COUNT = sizeof entries / sizeof *entries };
    struct weights_writer *w = weights_write_begin_as(WEIGHTS_GGUF, path, entries, COUNT, pairs, 4, e);
    for (size_t i = 0; w && i < COUNT; i++) {
        assert_int_equal(weights_writer_at(w, i), i);
        if (!weights_write_converted(w, i, x, DTYPE_F32, e)) {
            weights_write_abandon(w);
            w = NULL;
        }
    }
    if (w && !weights_write_commit(w, e))
        return;
}

TEST(what_is_written_is_the_file_that_the_gguf_package_has_read)
{
    struct err e = { 0 };
    struct weights *source = opened(test_data("tensor/quants.safetensors"));
    const char *path = test_scratch("written.gguf");
    write_all(path, weights_find(source, "x")->data, &e);
    CHECK(!e.code, "%s", e.text);
    char *came, *wanted;
    size_t came_bytes, wanted_bytes;
    REQUIRE(file_read(path, 1 << 20, &came, &came_bytes, &e));
    REQUIRE(file_read(test_data("weights/written.gguf"), 1 << 20, &wanted, &wanted_bytes, &e));
    CHECK(came_bytes == wanted_bytes && !memcmp(came, wanted, came_bytes), "%zu bytes, wanted %zu", came_bytes, wanted_bytes);
    mem_free(came);
    mem_free(wanted);
    struct weights *w = opened(path);
    assert_int_equal(weights_count(w), 9);
    assert_string_equal(weights_metadata(w, "made by"), "limn, 值");
    assert_string_equal(weights_metadata(w, "general.quantization_version"), "2");
    assert_null(weights_metadata(w, "general.alignment"));
    assert_null(weights_metadata(w, "comfy.gguf.orig_shape.gone"));
    CHECK(shape_same(weights_find(w, "kernel.q4_k")->shape, SHAPE(16, 32, 1, 3)), "the kernel");
    CHECK(shape_same(weights_find(w, "kernel.q8_0")->shape, SHAPE(3, 32, 1, 1)), "the small kernel");
    CHECK(weights_find(w, "number")->shape.rank == 0, "the number");
    static const char *const types[] = { "q8_0", "q4_0", "q4_k" };
    for (int i = 0; i < 3; i++) {
        char ours[20], theirs[20];
        snprintf(ours, sizeof ours, "x.%s", types[i]);
        snprintf(theirs, sizeof theirs, "%s.packed", types[i]);
        const struct weight *a = weights_find(w, ours), *b = weights_find(source, theirs);
        assert_int_equal(weight_bytes(a), weight_bytes(b));
        assert_memory_equal(a->data, b->data, weight_bytes(a));
    }
    weights_free(w);
    weights_free(source);
    unlink(path);
}

TEST(what_gguf_cannot_hold_is_refused)
{
    struct err e = { 0 };
    const char *path = test_scratch("no.gguf");
    static const struct {
        struct weights_entry entry;
        enum err_code code;
        const char *part;
    } cases[] = {
        { { "a", DTYPE_BOOL, { .rank = 1, .dim = { 4 } } }, ERR_TYPE, "GGUF has no type for bool" },
        { { "a", DTYPE_F8_E4M3, { .rank = 1, .dim = { 4 } } }, ERR_TYPE, "GGUF has no type for f8_e4m3" },
        { { "a", DTYPE_F32, { .rank = 5, .dim = { 1, 1, 1, 1, 1 } } }, ERR_ARG, "more than 4 dimensions" },
        { { "a", DTYPE_Q8_0, { .rank = 1, .dim = { 33 } } }, ERR_ARG, "tensor \"a\": the shape [33]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_FAILS(weights_write_begin_as(WEIGHTS_GGUF, path, &cases[i].entry, 1, NULL, 0, &e), cases[i].code, cases[i].part);
    const struct weights_entry good = { "a", DTYPE_F32, SHAPE(2) }, quantised = { "a", DTYPE_Q8_0, SHAPE(32) };
    const struct weights_pair twice[] = { { "k", "v" }, { "k", "w" } }, bad = { "k", "\xFF" };
    CHECK_FAILS(weights_write_begin_as(WEIGHTS_GGUF, path, &good, 1, twice, 2, &e), ERR_ARG, "\"k\" is given twice");
    CHECK_FAILS(weights_write_begin_as(WEIGHTS_GGUF, path, &good, 1, &bad, 1, &e), ERR_ARG, "metadata 0 is not UTF-8");
    CHECK_FAILS(weights_write_begin(path, &quantised, 1, NULL, 0, &e), ERR_TYPE, "safetensors has no type for q8_0");
    const struct weights_entry no_packer = { "a", DTYPE_Q6_K, SHAPE(256) };
    float x[256] = { 0 };
    struct weights_writer *w = weights_write_begin_as(WEIGHTS_GGUF, path, &no_packer, 1, NULL, 0, &e);
    REQUIRE(w);
    CHECK_FAILS(weights_write_converted(w, 0, x, DTYPE_F32, &e), ERR_TYPE, "is f32 and cannot become q6_k");
    weights_write_abandon(w);
    CHECK(!path_exists(path), "something was left");
}

TEST(every_allocation_that_fails_is_an_error)
{
    struct err e = { 0 };
    struct weights *source = opened(test_data("tensor/quants.safetensors"));
    const float *x = weights_find(source, "x")->data;
    const char *path = test_scratch("memory.gguf");
    size_t n = 1;
    for (; n < 200; n++) {
        err_clear(&e);
        mem_fail_at(n);
        write_all(path, x, &e);
        mem_fail_at(0);
        if (!e.code)
            break;
        CHECK(e.code == ERR_NOMEM && !path_exists(path), "allocation %zu: %s", n, e.text);
    }
    CHECK(n > 20 && n < 200, "%zu", n);
    weights_free(source);
    unlink(path);
}
