/* A weight file is written whole or not at all. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights.h"

static const struct weights_entry two[] = { { "half", DTYPE_BF16, { .rank = 1, .dim = { 3 } } },
                                            { "full", DTYPE_F32, { .rank = 1, .dim = { 2 } } } };
static const uint16_t half[] = { 1, 2, 3 };
static const float full[] = { 4, 5 };
static const void *const data[] = { half, full };

static size_t files_in_scratch(void)
{
    struct err e = { 0 };
    char **names;
    size_t count;
    REQUIRE(folder_names(test_scratch(""), NULL, &names, &count, &e));
    folder_names_free(names, count);
    return count;
}

TEST(the_wider_type_comes_first)
{
    struct err e = { 0 };
    const char *path = test_scratch("two.safetensors");
    struct weights_writer *writer = weights_write_begin(path, two, 2, NULL, 0, &e);
    REQUIRE(writer);
    assert_int_equal(weights_writer_at(writer, 0), 1);
    assert_int_equal(weights_writer_at(writer, 1), 0);
    weights_write_abandon(writer);
    assert_int_equal(files_in_scratch(), 0);
    REQUIRE(weights_save(path, two, data, 2, NULL, 0, &e));
    struct weights *w = weights_open(path, &e);
    REQUIRE(w);
    assert_string_equal(weights_at(w, 0)->name, "full");
    assert_memory_equal(weights_at(w, 0)->data, full, sizeof full);
    assert_memory_equal(weights_at(w, 1)->data, half, sizeof half);
    assert_null(weights_metadata(w, "format"));
    weights_free(w);
    unlink(path);
}

TEST(no_tensor_at_all_is_a_file_too)
{
    struct err e = { 0 };
    const char *path = test_scratch("none.safetensors");
    REQUIRE(weights_save(path, NULL, NULL, 0, NULL, 0, &e));
    struct weights *w = weights_open(path, &e);
    REQUIRE(w);
    assert_int_equal(weights_count(w), 0);
    assert_null(weights_find(w, ""));
    weights_free(w);
    unlink(path);
}

TEST(a_wrong_use_of_the_writer_is_an_error_and_leaves_nothing)
{
    struct err e = { 0 };
    const char *path = test_scratch("wrong.safetensors");
    struct weights_writer *w = weights_write_begin(path, two, 2, NULL, 0, &e);
    REQUIRE(w);
    CHECK_FAILS(weights_write_tensor(w, 0, half, &e), ERR_ARG, "tensor 0 is written out of order");
    REQUIRE(weights_write_tensor(w, 1, full, &e));
    CHECK_FAILS(weights_write_commit(w, &e), ERR_ARG, "1 of 2 tensors were written");
    assert_int_equal(files_in_scratch(), 0);
    const struct weights_entry twice[] = { two[0], two[0] };
    CHECK_FAILS(weights_write_begin(path, twice, 2, NULL, 0, &e), ERR_ARG, "\"half\" is given twice");
    const struct weights_entry foreign = { "\xFF", DTYPE_U8, SHAPE(1) };
    CHECK_FAILS(weights_write_begin(path, &foreign, 1, NULL, 0, &e), ERR_ARG, "cannot have the name");
    const struct weights_entry reserved = { "__metadata__", DTYPE_U8, SHAPE(1) };
    CHECK_FAILS(weights_write_begin(path, &reserved, 1, NULL, 0, &e), ERR_ARG, "cannot have the name");
    const struct weights_entry negative = { "n", DTYPE_U8, SHAPE(-1) };
    CHECK_FAILS(weights_write_begin(path, &negative, 1, NULL, 0, &e), ERR_ARG, "the shape [-1]");
    const struct weights_pair bad = { "k", "\xFF" };
    CHECK_FAILS(weights_write_begin(path, two, 2, &bad, 1, &e), ERR_ARG, "metadata 0 is not UTF-8");
    assert_int_equal(files_in_scratch(), 0);
    CHECK_FAILS(weights_save(test_scratch("no/such/folder.safetensors"), two, data, 2, NULL, 0, &e), ERR_IO,
                "cannot write");
}

/* A limit on the size of files stands for a full disk: write fails with EFBIG instead of ENOSPC at the same places. */
TEST(a_full_disk_is_an_error_and_leaves_the_old_file)
{
    enum { N = 100000 };
    static float many[N];
    const struct weights_entry entry = { "many", DTYPE_F32, SHAPE(N) };
    const void *const values[] = { many };
    struct err e = { 0 };
    const char *path = test_scratch("full.safetensors");
    REQUIRE(weights_save(path, two, data, 2, NULL, 0, &e));
    struct rlimit before, tiny;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    static const rlim_t limits[] = { 0, 10, 4096, 100000, N * 4 };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        tiny = before;
        tiny.rlim_cur = limits[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
        bool good = weights_save(path, &entry, values, 1, NULL, 0, &e);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        CHECK(!good && e.code == ERR_IO && strstr(e.text, "full.safetensors"), "limit %lu: %s", (long)limits[i], e.text);
        err_clear(&e);
        assert_int_equal(files_in_scratch(), 1);
        struct weights *w = weights_open(path, &e);
        REQUIRE(w);
        assert_int_equal(weights_count(w), 2);
        weights_free(w);
    }
    signal(SIGXFSZ, handler);
    unlink(path);
}

TEST(every_allocation_that_fails_is_an_error)
{
    struct err e = { 0 };
    const char *path = test_scratch("memory.safetensors");
    const struct weights_pair pair = { "k", "v" };
    bool good = false;
    for (size_t n = 1; n < 100 && !good; n++) {
        mem_fail_at(n);
        good = weights_save(path, two, data, 2, &pair, 1, &e);
        mem_fail_at(0);
        CHECK(good || e.code == ERR_NOMEM, "allocation %zu: %s", n, e.text);
        err_clear(&e);
        assert_int_equal(files_in_scratch(), good);
    }
    CHECK(good, "it never succeeds");
    static const char *const files[] = { "weights/odd_places.safetensors", "weights/model.safetensors.index.json" };
    for (size_t i = 0; i < 2; i++) {
        struct weights *w = NULL;
        size_t n = 1;
        for (; n < 100 && !w; n++) {
            mem_fail_at(n);
            w = weights_open(test_data(files[i]), &e);
            mem_fail_at(0);
            CHECK(w || e.code == ERR_NOMEM, "%s, allocation %zu: %s", files[i], n, e.text);
            err_clear(&e);
        }
        CHECK(w && n > 5, "%s: %zu", files[i], n);
        weights_free(w);
    }
    unlink(path);
}
