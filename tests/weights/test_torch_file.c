/* Files of torch.save. tests/data/weights was made by torch (tests/reference/make_weights.py). */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "weights/unpickle.h"
#include "weights/weights.h"

static struct weights *opened(const char *name)
{
    struct err e = { 0 };
    struct weights *w = weights_open(test_data(name), &e);
    REQUIRE(w);
    return w;
}

static double value(const struct weights *w, const char *name, int64_t index)
{
    const struct weight *t = weights_find(w, name);
    CHECK(t, "no tensor %s", name);
    return dtype_load(t->data, t->type, index);
}

TEST(what_torch_saved_is_what_torch_gave_to_safetensors)
{
    static const char *const files[] = { "weights/every_type.pt", "weights/protocol4.pt", "weights/before_1_6.bin" };
    struct weights *expected = opened("weights/torch_expected.safetensors");
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        struct weights *w = opened(files[f]);
        assert_string_equal(weights_format(w), "pytorch");
        assert_int_equal(weights_count(w), weights_count(expected));
        for (size_t i = 0; i < weights_count(expected); i++) {
            const struct weight *a = weights_at(expected, i), *b = weights_find(w, a->name);
            CHECK(b, "%s has no %s", files[f], a->name);
            CHECK(a->type == b->type && shape_same(a->shape, b->shape), "%s: %s %s is %s", a->name, dtype_name(b->type),
                  shape_text(b->shape).s, shape_text(a->shape).s);
            CHECK(!memcmp(a->data, b->data, weight_bytes(a)), "%s: %s has other numbers", files[f], a->name);
            CHECK((uintptr_t)b->data % dtype_bytes(b->type) == 0, "%s is not aligned", b->name);
        }
        weights_free(w);
    }
    weights_free(expected);
}

TEST(storages_of_the_zip_are_mapped_where_they_lie)
{
    struct weights *w = opened("weights/every_type.pt");
    const struct weight *a = weights_find(w, "tied.a"), *b = weights_find(w, "tied.b");
    CHECK(a && b && a->data == b->data, "tied tensors were copied");
    const char *slice = weights_find(w, "slice")->data, *whole = weights_find(w, "transposed")->data;
    CHECK(slice != whole + 6 * 4, "the transposed tensor was not copied");
    weights_forget(w, a);
    weights_forget(w, weights_find(w, "transposed"));
    CHECK_NEAR(value(w, "tied.b", 5), 0.5, 0, "after it was forgotten");
    CHECK_NEAR(value(w, "transposed", 1), 1, 0, "after it was forgotten"); /* [1, 0] of the ramp */
    const char *before = NULL; /* mapped ones in the order of their bytes */
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        if (!strcmp(t->name, "transposed") || !strcmp(t->name, "columns") || !strcmp(t->name, "channels_last"))
            continue;
        CHECK((const char *)t->data >= before, "%s", t->name);
        before = t->data;
    }
    weights_free(w);
}

/* Checkpoints of more than 4 GiB have their sizes and places in other fields. */
TEST(a_zip_with_everything_in_its_64_bit_fields_is_read)
{
    struct weights *w = opened("weights/zip64.pt");
    assert_int_equal(weights_count(w), 2);
    CHECK_NEAR(value(w, "a", 3), -0.5, 0, "a");
    CHECK_NEAR(value(w, "b", 5), 0.5, 0, "b");
    weights_free(w);
}

TEST(what_a_training_wraps_around_its_model_is_taken_off)
{
    struct weights *w = opened("weights/lightning.ckpt");
    assert_int_equal(weights_count(w), 4);
    CHECK_NEAR(value(w, "conv.weight", 5), 0.5, 0, "conv.weight");
    CHECK_NEAR(value(w, "norm.bias", 1), -1.5, 0, "norm.bias");
    assert_string_equal(weights_metadata(w, "global_step"), "470000");
    assert_string_equal(weights_metadata(w, "pytorch-lightning_version"), "1.4.2");
    CHECK_NEAR(strtod(weights_metadata(w, "lr"), NULL), 1e-4, 0, "lr");
    assert_string_equal(weights_metadata(w, "ema"), "true");
    assert_null(weights_metadata(w, "nothing"));
    assert_null(weights_metadata(w, "big"));
    size_t pairs;
    const struct weights_pair *list = weights_pairs(w, &pairs);
    assert_int_equal(pairs, 5);
    assert_string_equal(list[0].key, "epoch");
    assert_string_equal(list[0].value, "3");
    weights_free(w);

    w = opened("weights/embedding.pt");
    assert_int_equal(weights_count(w), 1);
    CHECK_NEAR(value(w, "string_to_param.*", 7), 1.5, 0, "the embedding");
    assert_string_equal(weights_metadata(w, "name"), "cat");
    weights_free(w);

    w = opened("weights/wrapped.pth");
    assert_int_equal(weights_count(w), 2);
    CHECK_NEAR(value(w, "body.1", 2), -1, 0, "body.1");
    weights_free(w);
}

TEST(a_folder_of_pytorch_shards_is_one_set_of_weights)
{
    struct weights *w = opened("weights/bin");
    assert_string_equal(path_name(weights_path(w)), "pytorch_model.bin.index.json");
    assert_int_equal(weights_count(w), 3);
    CHECK_NEAR(value(w, "three", 3), -0.5, 0, "three");
    weights_free(w);
}

/* ---- files made by hand: the row of pickles, whose fourth is the case ---- */

#define START "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION "\x80\x02M\xe9\x03."
#define LITTLE "\x80\x02}X\x0d\0\0\0little_endian\x88s."
#define T(s) s, sizeof(s) - 1
/* a storage "k" of 4 floats, and a tensor of it; both stay on the stack */
#define STORAGE "(U\x07storagectorch\nFloatStorage\nU\x01kU\3cpuK\x04tQ"
#define TENSOR(offset, sizes, strides) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K" offset sizes strides "\x89NtR"
#define DICT_OF(value) "\x80\x02}U\x01t" value "s."
#define KEYS "\x80\x02]U\x01ka."
#define NO_KEYS "\x80\x02]."
#define FOUR "\4\0\0\0\0\0\0\0" "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40"

/* Without file_write_whole's wait for the disk: these files are many. */
static const char *spill(const char *name, const void *data, size_t bytes)
{
    const char *path = test_scratch(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *row(const char *pickle, size_t bytes, const char *rest, size_t rest_bytes)
{
    const char *path = test_scratch("row.bin");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(T(START), 1, f);
    fwrite(T(VERSION), 1, f);
    fwrite(T(LITTLE), 1, f);
    fwrite(pickle, bytes, 1, f);
    fwrite(rest, rest_bytes, 1, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

TEST(a_hand_made_row_is_read)
{
    struct err e = { 0 };
    struct weights *w = weights_open(row(T(DICT_OF(TENSOR("\1", "K\3\x85", "K\1\x85"))), T(KEYS FOUR)), &e);
    REQUIRE(w);
    CHECK_NEAR(value(w, "t", 2), 4, 0, "t[2]");
    weights_free(w);
}

TEST(whatever_is_not_a_tensor_or_its_like_is_refused_by_name)
{
    static const struct {
        const char *pickle;
        size_t bytes;
        enum err_code code;
        const char *part;
    } cases[] = {
        { T("\x80\x02" "cos\nsystem\nX\x02\0\0\0ls\x85R."), ERR_FORMAT, "\"os.system\"" },
        { T("\x80\x04\x8c\x05posix\x8c\x06system\x93."), ERR_FORMAT, "\"posix.system\"" },
        { T("\x80\x02" "c__builtin__\neval\n."), ERR_FORMAT, "\"__builtin__.eval\"" },
        { T("\x80\x02" "ctorch\nload\n."), ERR_FORMAT, "\"torch.load\"" },
        { T("\x80\x02" "ctorch\nQUInt8Storage\n."), ERR_FORMAT, "\"torch.QUInt8Storage\"" },
        { T("\x80\x02" "ctorch._utils\n_rebuild_qtensor\n."), ERR_FORMAT, "_rebuild_qtensor" },
        { T("\x80\x02(U\x02lsios\nsystem\n."), ERR_FORMAT, "the opcode INST" },
        { T("\x80\x02(cos\nsystem\n."), ERR_FORMAT, "\"os.system\"" },
        { T("\x80\x02(o."), ERR_FORMAT, "the opcode OBJ" },
        { T("\x80\x02S'x'\n."), ERR_FORMAT, "the opcode STRING" },
        { T("\x80\x02\x82\x01."), ERR_FORMAT, "the opcode EXT1" },
        { T("\x80\x02\x8f."), ERR_FORMAT, "the opcode EMPTY_SET" },
        { T("\x80\x02N2."), ERR_FORMAT, "the opcode DUP" },
        { T("\x80\x05\x96\x01\0\0\0\0\0\0\0x."), ERR_FORMAT, "the opcode BYTEARRAY8" },
        { T("\x80\x02Px\n."), ERR_FORMAT, "the opcode PERSID" },
        { T("\x80\x02\xff."), ERR_FORMAT, "byte 0xff is no opcode" },
        { T("\x80\x06N."), ERR_FORMAT, "pickle protocol 6" },
        { T("\x80\x02" "ctorch\nFloatStorage\n)R."), ERR_FORMAT, "calls torch.FloatStorage, which is refused" },
        { T("\x80\x02" "ctorch\nfloat16\n)\x81."), ERR_FORMAT, "calls torch.float16, which is refused" },
        { T("\x80\x02}N)R."), ERR_FORMAT, "calls what is no function" },
        { T("\x80\x02" "ccollections\nOrderedDict\n}R."), ERR_FORMAT, "the arguments of a call are no tuple" },
        { T("\x80\x02" "ccollections\nOrderedDict\n}\x85R."), ERR_FORMAT, "a list of pairs" },
        { T("\x80\x02" "ccollections\nOrderedDict\n]Na\x85R."), ERR_FORMAT, "a list of pairs" },
        { T("\x80\x02" "ctorch\nSize\n}b."), ERR_FORMAT, "changes a class" },
        { T("\x80\x02" "ctorch.nn.modules.container\nParameterDict\n)\x81}b."), ERR_FORMAT, "a module without parameters" },
        { T("\x80\x02."), ERR_FORMAT, "empty stack" },
        { T("\x80\x02(."), ERR_FORMAT, "a mark for a value" },
        { T("\x80\x02t."), ERR_FORMAT, "a mark is missing" },
        { T("\x80\x02(Nd."), ERR_FORMAT, "a key without a value" },
        { T("\x80\x02}(Nu."), ERR_FORMAT, "a key without a value" },
        { T("\x80\x02}Na."), ERR_FORMAT, "appends to what is no list" },
        { T("\x80\x02]NNs."), ERR_FORMAT, "sets an item of what is no dictionary" },
        { T("\x80\x02h\x07."), ERR_FORMAT, "never remembered" },
        { T("\x80\x02Nr\xff\xff\xff\xff."), ERR_LIMIT, "remembers value 4294967295" },
        { T("\x80\x02X\xff\xff\xff\xffx."), ERR_FORMAT, "ends in the middle" },
        { T("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffx."), ERR_FORMAT, "ends in the middle" },
        { T("\x80\x02" "ctorch"), ERR_FORMAT, "ends in the middle" },
        { T("\x80\x02NQ."), ERR_FORMAT, "a persistent id is not" },
        { T("\x80\x02(U\x07storagectorch\nSize\nU\x01kU\3cpuK\x04tQ."), ERR_FORMAT, "the class of a storage" },
        { T("\x80\x02(U\x07storagectorch\nFloatStorage\nU\x01kU\3cpuK\x04(NK\x03K\x02ttQ."), ERR_FORMAT, "a view of a storage" },
        { T("\x80\x02K\1." NO_KEYS), ERR_FORMAT, "holds a number, not a dictionary" },
        { T("\x80\x02}q\0U\1ah\0s." NO_KEYS), ERR_LIMIT, "one that holds itself" },
        { T(DICT_OF(TENSOR("\0", "N", "N")) NO_KEYS), ERR_FORMAT, "are no tuple" },
        { T(DICT_OF(TENSOR("\0", "(K\1K\1K\1K\1K\1K\1K\1t", ")")) NO_KEYS), ERR_LIMIT, "7 dimensions, at most 6" },
        { T(DICT_OF(TENSOR("\0", "J\xff\xff\xff\xff\x85", "K\1\x85")) NO_KEYS), ERR_FORMAT, "not a number from 0 on" },
        { T(DICT_OF(TENSOR("\0", "K\1\x85", ")")) NO_KEYS), ERR_FORMAT, "more strides than sizes" },
        { T(DICT_OF("ctorch._utils\n_rebuild_tensor_v2\n)R")), ERR_FORMAT, "other things than a storage" },
        { T(DICT_OF("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE "K\0K\4\x85K\1\x85\x89NNtR")), ERR_FORMAT, "no torch.dtype" },
        { T(DICT_OF("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE "K\0K\4\x85K\1\x85\x89Nctorch\nfloat16\ntR")), ERR_FORMAT,
          "another type than its storage" },
        { T(DICT_OF(TENSOR("\1", "K\4\x85", "K\1\x85")) KEYS FOUR), ERR_FORMAT, "beyond its storage of 4" },
        { T(DICT_OF(TENSOR("\5", "K\0\x85", "K\1\x85")) KEYS FOUR), ERR_FORMAT, "beyond its storage of 4" },
        { T(DICT_OF(TENSOR("\0", "K\2K\3\x86", "K\2K\1\x86")) KEYS FOUR), ERR_FORMAT, "beyond its storage of 4" },
        { T(DICT_OF(TENSOR("\0", "K\4K\4\x86", "K\0K\1\x86")) KEYS FOUR), ERR_FORMAT, "repeats the 4 numbers" },
        { T(DICT_OF(TENSOR("\0", "\x8a\x08\0\0\0\0\0\0\0\x7f\x85", "K\1\x85")) KEYS FOUR), ERR_FORMAT, "too large for any file" },
        { T(DICT_OF(TENSOR("\0", "K\2K\2\x86", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\1\x86")) KEYS FOUR), ERR_FORMAT,
          "beyond its storage" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) NO_KEYS), ERR_FORMAT, "the storage \"k\" is not in the file" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) "\x80\x02N."), ERR_FORMAT, "the list of storages is missing" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) "\x80\x02]K\1a."), ERR_FORMAT, "key is no text" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) "\x80\x02]U\1ja." FOUR), ERR_FORMAT, "no tensor has the storage \"j\"" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) "\x80\x02](U\1kU\1ke." FOUR FOUR), ERR_FORMAT, "\"k\" is there twice" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) KEYS "\3\0\0\0\0\0\0\0............"), ERR_FORMAT, "a tensor wants 4" },
        { T(DICT_OF(TENSOR("\0", "K\4\x85", "K\1\x85")) KEYS "\4\0\0\0\0\0\0\0..............."), ERR_FORMAT, "is it cut off?" },
        { T("\x80\x02}U\x02\xff\xff" TENSOR("\0", "K\4\x85", "K\1\x85") "s." KEYS FOUR), ERR_FORMAT, "not UTF-8" },
        { T("\x80\x02}(U\1tK\1U\1t" TENSOR("\0", "K\4\x85", "K\1\x85") "U\1t" TENSOR("\0", "K\4\x85", "K\1\x85") "u." KEYS FOUR),
          ERR_FORMAT, "\"t\" is there twice" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = row(cases[i].pickle, cases[i].bytes, "", 0);
        CHECK(!weights_open(path, &e) && e.code == cases[i].code && strstr(e.text, cases[i].part) && strstr(e.text, "row.bin"),
              "case %zu, wanted \"%s\", code %d: %s", i, cases[i].part, (int)e.code, e.text);
        err_clear(&e);
    }
    static const struct { const char *text; size_t bytes; const char *part; } rows[] = {
        { T("\x80\x02}."), "a pickle that torch.save did not write (it holds a dictionary)" },
        { T(START "\x80\x02M\xea\x03."), "format is not 1001" },
        { T(START VERSION "\x80\x02}."), "not little-endian" },
        { T(START VERSION "\x80\x02}U\x0dlittle_endian\x89s."), "not little-endian" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK_FAILS(weights_open(spill("row.bin", rows[i].text, rows[i].bytes), &e), ERR_FORMAT, rows[i].part);
    }
}

/* Short pickles that would grow without end: one whose parameters are added again and again, one that makes values forever. */
TEST(a_pickle_cannot_eat_the_machine)
{
    struct err e = { 0 };
    enum { N = 3000, M = 4000 };
    static char pickle[400 + N + 3 * M], *at = pickle;
    at += sprintf(at, "%c%cctorch.nn.modules.container\nParameterDict\n)%c}U%c_parameters(", 0x80, 2, 0x81, 11);
    for (int i = 0; i < N; i++)
        *at++ = ')';
    at += sprintf(at, "dsq%c", 1);
    for (int i = 0; i < M; i++) {
        *at++ = 'b';
        *at++ = 'h';
        *at++ = 1;
    }
    CHECK_FAILS(weights_open(row(pickle, (size_t)(at - pickle), "b.", 2), &e), ERR_LIMIT, "a pickle of more than 8000000 opcodes");
    size_t bytes = PICKLE_MAX_OPS + 10;
    char *many = mem_aligned(bytes);
    assert_non_null(many);
    memset(many, '(', bytes);
    CHECK_FAILS(weights_open(row(many, bytes, "", 0), &e), ERR_LIMIT, "a pickle of more than 8000000 opcodes");
    mem_free(many);
}

/* ---- the zip ---- */

static char *read_zip(size_t *bytes)
{
    struct err e = { 0 };
    char *data;
    REQUIRE(file_read(test_data("weights/every_type.pt"), 1 << 20, &data, bytes, &e));
    return data;
}

/* The n-th place of `text`. */
static char *find(char *data, size_t bytes, const char *text, int n)
{
    for (char *p = data; (p = memmem(p, (size_t)(data + bytes - p), text, strlen(text))); p++)
        if (n-- == 0)
            return p;
    fail_msg("no \"%s\"", text);
    return NULL;
}

TEST(broken_zips_are_refused_with_the_cause)
{
    struct err e = { 0 };
    static const struct {
        const char *text; /* where: the n-th of these */
        int n, offset;
        const char *patch;
        size_t bytes;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "PK\5\6", 0, 0, T("XX"), ERR_FORMAT, "a zip file without its directory" },
        { "PK\5\6", 0, 20, T("\1"), ERR_FORMAT, "a zip file without its directory" },
        { "PK\6\6", 0, 32, T("\xff\xff"), ERR_FORMAT, "directory reaches beyond" },
        { "PK\6\6", 0, 48, T("\xff\xff\xff\x7f"), ERR_FORMAT, "directory reaches beyond" },
        { "PK\6\6", 0, 0, T("XX"), ERR_FORMAT, "64-bit directory is not where it should be" },
        { "PK\6\7", 0, 8, T("\xff\xff\xff\x7f"), ERR_FORMAT, "64-bit directory is not where it should be" },
        { "PK\1\2", 0, 0, T("XX"), ERR_FORMAT, "directory is broken" },
        { "PK\1\2", 4, 10, T("\x08"), ERR_FORMAT, "compressed or encrypted" },
        { "PK\1\2", 0, 8, T("\1"), ERR_FORMAT, "compressed or encrypted" },
        { "PK\1\2", 0, 42, T("\xff\xff\xff\x7f"), ERR_FORMAT, "is not where the directory says" },
        { "PK\1\2", 2, 20, T("\xff\xff\xff\x7f"), ERR_FORMAT, "reaches beyond the file" },
        { "data.pkl", 1, 0, T("dota.pkl"), ERR_FORMAT, "without data.pkl" },
        { "little", 0, 0, T("tittle"), ERR_FORMAT, "not little-endian" },
        { "/data/0", 1, 0, T("/dita/0"), ERR_FORMAT, "no entry for \"data/0\"" },
        { "FloatStorage", 0, 0, T("FlootStorage"), ERR_FORMAT, "torch.FlootStorage" },
        { "FloatStorage\n", 0, 0, T("Int"), ERR_FORMAT, "\"torch.IntatStorage\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes;
        char *data = read_zip(&bytes);
        memcpy(find(data, bytes, cases[i].text, cases[i].n) + cases[i].offset, cases[i].patch, cases[i].bytes);
        const char *path = spill("bad.pt", data, bytes);
        CHECK(!weights_open(path, &e) && e.code == cases[i].code && strstr(e.text, cases[i].part),
              "case %zu, wanted \"%s\", code %d: %s", i, cases[i].part, (int)e.code, e.text);
        err_clear(&e);
        mem_free(data);
    }
    size_t bytes; /* the directory's 32-bit form says the same */
    char *data = read_zip(&bytes);
    memcpy(find(data, bytes, "PK\6\7", 0), "XXXX", 4);
    struct weights *w = weights_open(spill("bad.pt", data, bytes), &e);
    REQUIRE(w);
    CHECK_NEAR(value(w, "slice", 0), 1, 0, "slice");
    weights_free(w);
    mem_free(data);
}

TEST(every_cut_and_every_changed_byte_comes_back)
{
    struct err e = { 0 };
    static const char *const files[] = { "weights/every_type.pt", "weights/before_1_6.bin" };
    for (int f = 0; f < 2; f++) {
        char *data;
        size_t bytes, opened_anyway = 0;
        REQUIRE(file_read(test_data(files[f]), 1 << 20, &data, &bytes, &e));
        for (size_t n = 0; n < bytes; n += 13) {
            struct weights *w = weights_open(spill("cut.pt", data, n), &e);
            CHECK(!w && e.text[0], "%s cut to %zu of %zu bytes: it opened", files[f], n, bytes);
            err_clear(&e);
        }
        for (size_t n = 0; n < bytes; n += 17) {
            char kept = data[n];
            data[n] = (char)(kept ^ (n % 2 ? 0xFF : 1));
            const char *path = spill("cut.pt", data, bytes);
            data[n] = kept;
            struct weights *w = weights_open(path, &e);
            opened_anyway += w != NULL;
            CHECK(w || e.text[0], "byte %zu: an error without a text", n);
            for (size_t i = 0; w && i < weights_count(w); i++) {
                (void)weights_check_finite(weights_at(w, i), &e);
                err_clear(&e);
            }
            weights_free(w);
            err_clear(&e);
        }
        CHECK(opened_anyway > 10, "only %zu changes of a number or a comment", opened_anyway);
        mem_free(data);
    }
}

TEST(every_allocation_that_fails_is_an_error)
{
    struct err e = { 0 };
    static const char *const files[] = { "weights/every_type.pt", "weights/before_1_6.bin", "weights/embedding.pt" };
    for (int f = 0; f < 3; f++) {
        struct weights *w = NULL;
        size_t n = 1;
        for (; n < 2000 && !w; n++) {
            mem_fail_at(n);
            w = weights_open(test_data(files[f]), &e);
            mem_fail_at(0);
            CHECK(w || e.code == ERR_NOMEM, "%s, allocation %zu: %s", files[f], n, e.text);
            err_clear(&e);
        }
        CHECK(w && n > 20, "%s: %zu", files[f], n);
        weights_free(w);
    }
}

TEST(what_often_lies_there_instead_is_named)
{
    struct err e = { 0 };
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    static const char page[] = "<!DOCTYPE html><html></html>";
    CHECK_FAILS(weights_open(spill("model.safetensors", T(lfs)), &e), ERR_FORMAT, "a pointer of git-lfs");
    CHECK_FAILS(weights_open(spill("model.safetensors", T(page)), &e), ERR_FORMAT, "a page of the web");
    CHECK_FAILS(weights_open(spill("model.safetensors", T("PK\5\6aaaaaaaaaaaaaaaaaa")), &e), ERR_LIMIT,
                "is it a safetensors file?");
}
