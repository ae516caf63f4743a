/* Reading and writing safetensors. tests/data/weights was made by the upstream package (tests/reference/make_weights.py). */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights_view.h"

static const struct weight *need(const struct weights *w, const char *name)
{
    const struct weight *t = weights_find(w, name);
    CHECK(t, "no tensor %s", name);
    return t;
}

TEST(every_type_of_an_upstream_file_is_read)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data("weights/every_type.safetensors"), &e);
    REQUIRE(w);
    assert_int_equal(weights_count(w), 16);
    static const struct {
        const char *name;
        enum dtype type;
        int64_t index;
        double value;
    } cases[] = {
        { "z.f32", DTYPE_F32, 5, 0.5 },   { "a.f32", DTYPE_F32, 3, -0.5 },  { "bf16", DTYPE_BF16, 1, -1.5 },
        { "f16", DTYPE_F16, 5, 0.5 },     { "f64", DTYPE_F64, 0, -2 },      { "i64", DTYPE_I64, 1, 1099511627776.0 },
        { "i32", DTYPE_I32, 1, -8 },      { "i16", DTYPE_I16, 0, -300 },    { "i8", DTYPE_I8, 0, -5 },
        { "u8", DTYPE_U8, 0, 250 },       { "bool", DTYPE_BOOL, 2, 1 },     { "e4m3", DTYPE_F8_E4M3, 3, -0.5 },
        { "e5m2", DTYPE_F8_E5M2, 1, -1.5 }, { "scalar", DTYPE_F32, 0, 2.5 }, { "名", DTYPE_F32, 1, -1.5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct weight *t = need(w, cases[i].name);
        CHECK(t->type == cases[i].type, "%s has type %s", cases[i].name, dtype_name(t->type));
        CHECK_NEAR(dtype_load(t->data, t->type, cases[i].index), cases[i].value, 0, "%s", cases[i].name);
        CHECK((uintptr_t)t->data % dtype_bytes(t->type) == 0, "%s is not aligned", cases[i].name);
        REQUIRE(weights_check_finite(t, &e));
    }
    assert_int_equal(need(w, "a.f32")->shape.rank, 4);
    assert_int_equal(need(w, "scalar")->shape.rank, 0);
    assert_int_equal(weight_bytes(need(w, "empty")), 0);
    assert_string_equal(weights_metadata(w, "format"), "pt");
    assert_string_equal(weights_metadata(w, "quote \"\\\n"), "值");
    assert_null(weights_metadata(w, "nothing"));
    assert_null(weights_find(w, "z.f3"));
    CHECK_FAILS(weights_need(w, "z.f3", &e), ERR_MISSING, "every_type.safetensors has no tensor \"z.f3\"");
    const char *before = NULL; /* in the order of their bytes */
    size_t bytes = 0;
    for (size_t i = 0; i < weights_count(w); i++) {
        CHECK((const char *)weights_at(w, i)->data >= before, "tensor %zu", i);
        before = weights_at(w, i)->data;
        bytes += weight_bytes(weights_at(w, i));
    }
    assert_int_equal(weights_bytes(w), bytes);
    weights_forget(w, need(w, "z.f32"));
    CHECK_NEAR(dtype_load(need(w, "z.f32")->data, DTYPE_F32, 5), 0.5, 0, "after it was forgotten");
    weights_free(w);
    weights_free(NULL);
}

TEST(what_is_written_is_byte_for_byte_what_upstream_writes)
{
    struct err e = { 0 };
    const char *theirs = test_data("weights/every_type.safetensors"), *ours = test_scratch("ours.safetensors");
    struct weights *w = weights_open(theirs, &e);
    REQUIRE(w);
    struct weights_entry entries[16];
    const void *data[16];
    for (size_t i = 0; i < 16; i++) { /* handed over in another order */
        const struct weight *t = weights_at(w, 15 - i);
        entries[i] = (struct weights_entry){ t->name, t->type, t->shape };
        data[i] = t->data;
    }
    static const char *const keys[] = { "format", "quote \"\\\n" };
    char *a, *b;
    size_t a_bytes, b_bytes;
    REQUIRE(file_read(theirs, 1 << 20, &a, &a_bytes, &e));
    bool same = false;
    for (int turn = 0; turn < 2 && !same; turn++) { /* upstream's metadata have no order of their own */
        struct weights_pair pairs[2];
        for (int k = 0; k < 2; k++)
            pairs[k] = (struct weights_pair){ keys[k ^ turn], weights_metadata(w, keys[k ^ turn]) };
        REQUIRE(weights_save(ours, entries, data, 16, pairs, 2, &e));
        REQUIRE(file_read(ours, 1 << 20, &b, &b_bytes, &e));
        same = a_bytes == b_bytes && !memcmp(a, b, a_bytes);
        mem_free(b);
    }
    CHECK(same, "the files differ");
    mem_free(a);
    weights_free(w);
    unlink(ours);
}

TEST(tensors_at_odd_places_are_aligned)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data("weights/odd_places.safetensors"), &e);
    REQUIRE(w);
    const struct weight *t = need(w, "number");
    CHECK((uintptr_t)t->data % 4 == 0, "at %p", t->data);
    CHECK_NEAR(((const float *)t->data)[1], -2, 0, "number[1]");
    weights_forget(w, t);
    CHECK_NEAR(((const float *)t->data)[0], 1.5, 0, "number[0], after it was forgotten");
    CHECK_NEAR(dtype_load(need(w, "half")->data, DTYPE_F16, 0), 0.25, 0, "half");
    assert_int_equal(*(const unsigned char *)need(w, "byte")->data, 7);
    weights_free(w);
}

/* Bytes of the process that no file is behind. */
static long anonymous_bytes(void)
{
    char line[200];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld kB", &kib) == 1)
            break;
    fclose(f);
    return kib << 10;
}

/* A file whose tensors all lie at odd places, larger than what is copied to memory. */
TEST(many_tensors_at_odd_places_do_not_fill_the_memory)
{
    enum { COUNT = 3, EACH = 100 << 20 };
    struct err e = { 0 };
    const char *path = test_scratch("odd.safetensors");
    char header[400];
    uint64_t length = (uint64_t)snprintf(header, sizeof header,
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[0,%d]},\"b\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[%d,%d]},"
        "\"c\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}", EACH / 2, EACH, EACH / 2, EACH, 2 * EACH, EACH / 2, 2 * EACH,
        3 * EACH);
    if (length % 2 == 0)
        header[length++] = ' ';
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&length, 8, 1, f);
    fwrite(header, length, 1, f);
    const uint16_t first = 0x3C00, last = 0x4200; /* 1 and 3 in f16 */
    for (int i = 0; i < COUNT; i++) {
        fseek(f, (long)(8 + length) + (long)i * EACH, SEEK_SET);
        fwrite(&first, 2, 1, f);
        fseek(f, (long)(8 + length) + (long)(i + 1) * EACH - 2, SEEK_SET);
        fwrite(&last, 2, 1, f);
    }
    fclose(f);
    long before = anonymous_bytes();
    struct weights *w = weights_open(path, &e);
    REQUIRE(w);
    long more = anonymous_bytes() - before;
    CHECK(more < 32 << 20, "%ld bytes more in memory", more);
    for (size_t i = 0; i < weights_count(w); i++)
        for (int twice = 0; twice < 2; twice++) {
            const struct weight *t = weights_at(w, i);
            CHECK((uintptr_t)t->data % 2 == 0 && dtype_load(t->data, DTYPE_F16, 0) == 1 && dtype_load(t->data, DTYPE_F16, EACH / 2 - 1) == 3 &&
                      dtype_load(t->data, DTYPE_F16, 1000) == 0, "%s", t->name);
            weights_forget(w, t);
        }
    weights_free(w);
    unlink(path);
}

TEST(a_folder_with_shards_is_one_set_of_weights)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data("weights"), &e);
    REQUIRE(w);
    assert_string_equal(path_name(weights_path(w)), "model.safetensors.index.json");
    assert_int_equal(weights_count(w), 3);
    assert_int_equal(weights_bytes(w), 36);
    CHECK_NEAR(dtype_load(need(w, "three")->data, DTYPE_F32, 3), -0.5, 0, "three");
    CHECK_NEAR(dtype_load(need(w, "two")->data, DTYPE_F32, 2), -1, 0, "two");
    weights_free(w);
}

TEST(an_index_that_does_not_fit_its_shards_is_refused)
{
    struct err e = { 0 };
    const char *path = test_scratch("model.safetensors.index.json");
    static const struct {
        const char *text, *part;
        enum err_code code;
    } cases[] = {
        { "{}", "\"weight_map\" must be an object", ERR_FORMAT },
        { "[1]", "\"weight_map\" must be an object", ERR_FORMAT },
        { "{\"weight_map\": {\"a\": 3}}", "\"a\" must name a file beside", ERR_FORMAT },
        { "{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "must name a file beside", ERR_FORMAT },
        { "{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "must name a file beside", ERR_FORMAT },
        { "{\"weight_map\": {\"a\": \"x.safetensors\"}}", "names the shard x.safetensors, which is not there", ERR_MISSING },
        { "{\"weight_map\": {\"b\": \"s1.safetensors\"}}", "no shard has the tensor \"b\"", ERR_MISSING },
        { "{\"weight_map\": {\"a\": \"s1.safetensors\", \"b\": \"s2.safetensors\"}}", "the tensor \"a\" is there twice",
          ERR_FORMAT },
    };
    float value = 1;
    const void *data[1] = { &value };
    struct weights_entry entry = { "a", DTYPE_F32, SHAPE(1) };
    REQUIRE(weights_save(test_scratch("s1.safetensors"), &entry, data, 1, NULL, 0, &e));
    REQUIRE(weights_save(test_scratch("s2.safetensors"), &entry, data, 1, NULL, 0, &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(file_write_whole(path, cases[i].text, strlen(cases[i].text), &e));
        CHECK_FAILS(weights_open(path, &e), cases[i].code, cases[i].part);
    }
    unlink(path);
    CHECK_FAILS(weights_open(test_scratch(""), &e), ERR_MISSING, "has no diffusion_pytorch_model.safetensors");
    CHECK_FAILS(weights_open(test_scratch("no.safetensors"), &e), ERR_MISSING, "no.safetensors is not there");
}

/* A file with this header (its length as `length`, -1: the true one) and `data` bytes of ones behind it. */
static const char *make(const char *header, long long length, size_t data)
{
    const char *path = test_scratch("bad.safetensors");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    uint64_t n = length < 0 ? strlen(header) : (uint64_t)length;
    fwrite(&n, 8, 1, f);
    fputs(header, f);
    for (size_t i = 0; i < data; i++)
        fputc(1, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

TEST(bad_files_are_refused_with_the_cause)
{
#define T(name, type, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        long long length;
        size_t data;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "", 100000001, 0, ERR_LIMIT, "a header of 100000001 bytes" },
        { "{}", 3, 0, ERR_FORMAT, "a header of 3 bytes in a file of 10" },
        { "", 0, 0, ERR_FORMAT, "header must be a JSON object" },
        { " {}", -1, 0, ERR_FORMAT, "header must be a JSON object" },
        { "[]", -1, 0, ERR_FORMAT, "header must be a JSON object" },
        { "{\"a\":", -1, 0, ERR_FORMAT, "not valid JSON" },
        { "{\"\xFF\":1}", -1, 0, ERR_FORMAT, "not valid JSON" },
        { "{\"\xC3\x28\":1}", -1, 0, ERR_FORMAT, "not valid JSON" },
        { "{\"a\":1}", -1, 0, ERR_FORMAT, "tensor \"a\": must be an object" },
        { "{\"a\":{}}", -1, 0, ERR_FORMAT, "\"data_offsets\" must be" },
        { "{\"__metadata__\":[]}", -1, 0, ERR_FORMAT, "\"__metadata__\" must be an object" },
        { "{\"__metadata__\":{\"k\":1}}", -1, 0, ERR_FORMAT, "\"k\" must be a string" },
        { "{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", -1, 8, ERR_FORMAT, "duplicate" },
        { "{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", -1, 8, ERR_FORMAT,
          "tensor \"b\": begins at byte 4, but the one before it ends at 8: they overlap" },
        { "{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", -1, 12, ERR_FORMAT,
          "tensor \"b\": begins at byte 8, but the one before it ends at 4: a gap" },
        { "{" T("a", "F32", "[1]", "[4,8]") "}", -1, 8, ERR_FORMAT, "a gap" },
        { "{" T("a", "F32", "[1]", "[0,4]") "}", -1, 3, ERR_FORMAT, "the file has only 3: is it cut off?" },
        { "{" T("a", "F32", "[1]", "[0,4]") "}", -1, 5, ERR_FORMAT, "the tensors take 4 bytes, the file has 5" },
        { "{" T("a", "F32", "[2]", "[0,4]") "}", -1, 4, ERR_FORMAT, "[2] of F32 needs 8 bytes" },
        { "{" T("a", "F32", "[1]", "[4,0]") "}", -1, 4, ERR_FORMAT, "\"data_offsets\" are [4, 0]" },
        { "{" T("a", "F32", "[1]", "[-4,0]") "}", -1, 4, ERR_FORMAT, "\"data_offsets\" are [-4, 0]" },
        { "{" T("a", "F32", "[1]", "[0.0,4]") "}", -1, 4, ERR_FORMAT, "must be whole numbers" },
        { "{" T("a", "F32", "[1]", "[0,99999999999999999999]") "}", -1, 4, ERR_FORMAT, "not valid JSON" },
        { "{" T("a", "F31", "[1]", "[0,4]") "}", -1, 4, ERR_TYPE, "tensor \"a\": the type \"F31\"" },
        { "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, ERR_FORMAT, "\"dtype\" must be" },
        { "{" T("a", "F32", "[-1]", "[0,4]") "}", -1, 4, ERR_FORMAT, "dimension 0 of \"shape\"" },
        { "{" T("a", "F32", "[1.5]", "[0,4]") "}", -1, 4, ERR_FORMAT, "dimension 0 of \"shape\"" },
        { "{" T("a", "F32", "3", "[0,4]") "}", -1, 4, ERR_FORMAT, "\"shape\" must be a list" },
        { "{" T("a", "F32", "[1,1,1,1,1,1,1]", "[0,4]") "}", -1, 4, ERR_LIMIT, "7 dimensions, at most 6" },
        { "{" T("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", -1, 0, ERR_FORMAT, "too large for any file" },
        { "{" T("a", "F32", "[0,4611686018427387904,4]", "[0,0]") "}", -1, 0, ERR_FORMAT, "too large for any file" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = make(cases[i].header, cases[i].length, cases[i].data);
        CHECK_FAILS(weights_open(path, &e), cases[i].code, cases[i].part);
        weights_open(path, &e);
        CHECK(strstr(e.text, "bad.safetensors"), "case %zu does not name the file: %s", i, e.text);
    }
    err_clear(&e);
    REQUIRE(file_write_whole(test_scratch("bad.safetensors"), "1234567", 7, &e));
    CHECK_FAILS(weights_open(test_scratch("bad.safetensors"), &e), ERR_FORMAT, "7 bytes are not a safetensors file");
    CHECK_FAILS(weights_open("/dev/null", &e), ERR_IO, "/dev/null is not a file");
}

TEST(every_cut_of_a_good_file_is_refused)
{
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(test_data("weights/every_type.safetensors"), 1 << 20, &data, &bytes, &e));
    const char *path = test_scratch("cut.safetensors");
    for (size_t n = 0; n < bytes; n++) {
        REQUIRE(file_write_whole(path, data, n, &e));
        struct weights *w = weights_open(path, &e);
        CHECK(!w && e.code == ERR_FORMAT, "cut to %zu of %zu bytes: %s", n, bytes, e.text);
        err_clear(&e);
    }
    mem_free(data);
}

TEST(the_first_value_that_is_no_number_is_found)
{
    enum { N = 2500 };
    static const struct {
        enum dtype type;
        uint64_t most, sign; /* the largest finite value, as bits */
        uint64_t bad[3];
    } types[] = {
        { DTYPE_F32, 0x7F7FFFFF, 0x80000000, { 0x7F800000, 0xFF800000, 0x7FC00001 } },
        { DTYPE_F64, 0x7FEFFFFFFFFFFFFF, 0x8000000000000000, { 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000001 } },
        { DTYPE_BF16, 0x7F7F, 0x8000, { 0x7F80, 0xFF80, 0x7FC1 } },
        { DTYPE_F16, 0x7BFF, 0x8000, { 0x7C00, 0xFC00, 0x7E01 } },
        { DTYPE_F8_E5M2, 0x7B, 0x80, { 0x7C, 0xFC, 0x7E } },
        { DTYPE_F8_E4M3, 0x7E, 0x80, { 0x7F, 0xFF, 0x7F } },
    };
    static const size_t places[] = { 0, 1023, 1024, 2047, 2048, N - 1 };
    struct err e = { 0 };
    char *data = mem_aligned(N * 8);
    assert_non_null(data);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        enum dtype type = types[i].type;
        struct weight t = { "some.weight", type, SHAPE(N / 2, 2), data };
        for (size_t k = 0; k < N; k++)
            memcpy(data + k * dtype_bytes(type), &(uint64_t){ types[i].most | (k % 2 ? types[i].sign : 0) },
                   dtype_bytes(type));
        REQUIRE(weights_check_finite(&t, &e));
        for (size_t p = 0; p < 6; p++)
            for (int b = 0; b < 3; b++) {
                char *at = data + places[p] * dtype_bytes(type), kept[8], part[60];
                memcpy(kept, at, 8);
                memcpy(at, &types[i].bad[b], dtype_bytes(type));
                snprintf(part, sizeof part, "\"some.weight\": the value at index %zu of [1250, 2]", places[p]);
                CHECK_FAILS(weights_check_finite(&t, &e), ERR_FORMAT, part);
                memcpy(at, kept, dtype_bytes(type));
            }
    }
    mem_free(data);
}

/* Rows of 64 numbers of 8 and of 4 bit, each row with its scale: blocks of ggml that mean exactly the same. */
TEST(integers_with_a_scale_for_each_row_become_blocks_of_the_same_numbers)
{
    enum { ROWS = 5, COLUMNS = 64 };
    static const int odd_columns = 40;
    for (int bits = 4; bits <= 8; bits += 4)
        for (int columns = odd_columns; columns <= COLUMNS; columns += COLUMNS - odd_columns) {
            struct err e = { 0 };
            int8_t q[ROWS * COLUMNS] = { 0 };
            uint16_t scales[ROWS];
            double want[ROWS][COLUMNS];
            for (int i = 0; i < ROWS; i++) {
                scales[i] = f32_to_f16(0.001F * (float)(i + 1));
                for (int k = 0; k < columns; k++) {
                    int v = (i * 131 + k * 37) % (1 << bits) - (1 << (bits - 1));
                    want[i][k] = v * (double)f16_to_f32(scales[i]);
                    if (bits == 8)
                        q[i * columns + k] = (int8_t)v;
                    else
                        q[(i * columns + k) / 2] |= (int8_t)(k % 2 ? v & 15 : v * 16); /* the earlier one above */
                }
            }
            struct weights_entry entries[] = { { "w", DTYPE_I8, SHAPE(ROWS, columns * bits / 8) }, { "s", DTYPE_F16, SHAPE(ROWS) } };
            REQUIRE(weights_save(test_scratch("rows.safetensors"), entries, (const void *const[]){ q, scales }, 2, NULL, 0, &e));
            struct weights *w = weights_open(test_scratch("rows.safetensors"), &e), *view = w ? weights_view_new(w, &e) : NULL;
            REQUIRE(view);
            REQUIRE(weights_view_scaled(view, "w", weights_find(w, "w"), weights_find(w, "s"), bits, &e) && weights_view_end(view, &e));
            const struct weight *t = weights_find(view, "w");
            CHECK(shape_same(t->shape, SHAPE(ROWS, columns)), "%s", shape_text(t->shape).s);
            CHECK(t->type == (columns % 32 ? DTYPE_F32 : bits == 8 ? DTYPE_Q8_0 : DTYPE_Q4_0), "%s", dtype_name(t->type));
            for (int i = 0; i < ROWS * columns; i++)
                CHECK_NEAR(dtype_load(t->data, t->type, i), (double)(float)want[i / columns][i % columns], 0, "%d bits, %d", bits, i);
            struct weights *wrong = weights_view_new(w, &e);
            REQUIRE(wrong);
            CHECK_FAILS(weights_view_scaled(wrong, "w", weights_find(w, "s"), weights_find(w, "s"), bits, &e), ERR_SHAPE, "a scale for each row");
            weights_free(wrong);
            weights_free(view);
            weights_free(w);
        }
}
