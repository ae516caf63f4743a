/* Encoding, judged by transformers: tests/data/tokenizer was made by tests/reference/make_tokenizer.py. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "test.h"
#include "tokenizer/clip_tokenizer.h"

static void print_ids(const char *what, const int32_t *ids, size_t count, const struct clip_tokenizer *t)
{
    print_error("%s:", what);
    for (size_t i = 0; i < count; i++)
        print_error(" %d(%s)", ids[i], clip_tokenizer_token(t, ids[i]));
    print_error("\n");
}

/* Compares one case; prints it and returns false if it differs. */
static bool agrees(const struct clip_tokenizer *t, const json_t *c, const char *folder)
{
    struct err e = { 0 };
    const char *text = json_string_value(json_object_get(c, "text"));
    const json_t *list = json_object_get(c, "ids");
    size_t want_count = json_array_size(list), count = 0;
    int32_t want[2000], cut[12], *ids = NULL;
    assert_true(want_count <= 2000);
    for (size_t i = 0; i < want_count; i++)
        want[i] = (int32_t)json_integer_value(json_array_get(list, i));
    REQUIRE(clip_tokenizer_encode_all(t, text, &ids, &count, &e));
    bool good = count == want_count && !memcmp(ids, want, count * sizeof *ids);
    if (!good) {
        print_error("%s, text \"%s\"\n", folder, text);
        print_ids("came", ids, count, t);
        print_ids("want", want, want_count, t);
    }
    mem_free(ids);
    assert_int_equal(clip_tokenizer_pad(t), json_integer_value(json_object_get(c, "pad")));
    REQUIRE(clip_tokenizer_encode(t, text, true, cut, 12, &count, &e));
    assert_int_equal(count, 12);
    for (size_t i = 0; good && i < 12; i++) {
        int32_t w = i < want_count ? want[i] : clip_tokenizer_pad(t);
        if (i == 11 && want_count > 12)
            w = clip_tokenizer_end(t);
        CHECK(cut[i] == w, "\"%s\" cut to 12: id %zu is %d, want %d", text, i, cut[i], w);
    }
    return good;
}

TEST(ids_are_those_of_transformers)
{
    struct err e = { 0 };
    json_t *cases = json_read(test_data("tokenizer/cases.json"), &e), *c;
    REQUIRE(cases);
    struct clip_tokenizer *t = NULL;
    const char *open = "none yet";
    size_t i, wrong = 0;
    json_array_foreach(cases, i, c) {
        const char *folder = json_string_value(json_object_get(c, "folder"));
        if (strcmp(folder, open)) {
            char path[PATH_MAX_BYTES];
            clip_tokenizer_free(t);
            REQUIRE(path_join(path, test_data("tokenizer"), folder, &e));
            REQUIRE(t = clip_tokenizer_open(path, &e));
            open = folder;
        }
        wrong += !agrees(t, c, folder);
    }
    CHECK(i > 500, "only %zu cases", i);
    CHECK(!wrong, "%zu of %zu cases differ", wrong, i);
    clip_tokenizer_free(t);
    json_decref(cases);
}

TEST(the_files_say_which_tokens_are_special)
{
    static const struct {
        const char *folder;
        int32_t start, end, pad, size, max_length;
    } cases[] = {
        { "tokenizer", 1088, 1089, 1089, 1090, 77 },
        { "tokenizer/variants/bare", 572, 573, 573, 574, 77 },
        { "tokenizer/variants/pad_is_a_sign", 572, 573, 0, 574, 77 },
        { "tokenizer/variants/saved", 572, 573, 0, 574, 77 },
        { "tokenizer/variants/new_tokens", 572, 573, 577, 578, 77 }, /* its bound of 10^30 is none */
        { "tokenizer/variants/few", 21, 22, 22, 23, 16 },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clip_tokenizer *t = clip_tokenizer_open(test_data(cases[i].folder), &e);
        REQUIRE(t);
        CHECK(clip_tokenizer_start(t) == cases[i].start, "%s: %d", cases[i].folder, clip_tokenizer_start(t));
        CHECK(clip_tokenizer_end(t) == cases[i].end, "%s: %d", cases[i].folder, clip_tokenizer_end(t));
        CHECK(clip_tokenizer_pad(t) == cases[i].pad, "%s: %d", cases[i].folder, clip_tokenizer_pad(t));
        CHECK(clip_tokenizer_size(t) == cases[i].size, "%s: %d", cases[i].folder, clip_tokenizer_size(t));
        CHECK(clip_tokenizer_max_length(t) == cases[i].max_length, "%s: %d", cases[i].folder, clip_tokenizer_max_length(t));
        clip_tokenizer_free(t);
    }
}

TEST(a_token_has_a_text)
{
    struct err e = { 0 };
    struct clip_tokenizer *t = clip_tokenizer_open(test_data("tokenizer"), &e);
    REQUIRE(t);
    int32_t ids[20];
    size_t count;
    char text[200] = "", part[60];
    REQUIRE(clip_tokenizer_encode(t, "Red  APPLE, caf\u00e9 \u7ea2", false, ids, 20, &count, &e));
    for (size_t i = 0; i < count; i++) {
        size_t length = clip_tokenizer_token_text(t, ids[i], part, sizeof part);
        assert_int_equal(length, strlen(part));
        strcat(text, part);
    }
    assert_string_equal(text, "<|startoftext|>red apple , caf\u00e9 \u7ea2 <|endoftext|>");
    assert_string_equal(clip_tokenizer_token(t, ids[1]), "red</w>");
    assert_null(clip_tokenizer_token(t, -1));
    assert_null(clip_tokenizer_token(t, 1090));
    assert_int_equal(clip_tokenizer_token_text(t, ids[0], part, 4), 3);
    assert_string_equal(part, "<|s");
    clip_tokenizer_free(t);
}

TEST(a_text_that_cannot_be_encoded_is_an_error)
{
    struct err e = { 0 };
    struct clip_tokenizer *t = clip_tokenizer_open(test_data("tokenizer"), &e);
    REQUIRE(t);
    int32_t ids[2];
    size_t count;
    CHECK_FAILS(clip_tokenizer_encode(t, "a", false, ids, 1, &count, &e), ERR_ARG, "room for 1 ids");
    CHECK_FAILS(clip_tokenizer_encode(t, "a\xFF", false, ids, 2, &count, &e), ERR_FORMAT, "not valid UTF-8");
    CHECK_FAILS(clip_tokenizer_encode(t, "\xED\xA0\x80", false, ids, 2, &count, &e), ERR_FORMAT, "not valid UTF-8");
    char *long_text = mem_zeroed(CLIP_TEXT_MAX_BYTES + 2, 1);
    memset(long_text, 'a', CLIP_TEXT_MAX_BYTES + 1);
    CHECK_FAILS(clip_tokenizer_encode(t, long_text, false, ids, 2, &count, &e), ERR_LIMIT, "65537 bytes");
    long_text[CLIP_TEXT_MAX_BYTES] = 0;
    REQUIRE(clip_tokenizer_encode(t, long_text, false, ids, 2, &count, &e));
    assert_int_equal(ids[0], clip_tokenizer_start(t));
    assert_int_equal(ids[1], clip_tokenizer_end(t));
    mem_free(long_text);
    clip_tokenizer_free(t);
}

static void put(const char *name, const char *text)
{
    struct err e = { 0 };
    if (text)
        REQUIRE(file_write_whole(test_scratch(name), text, strlen(text), &e));
    else
        unlink(test_scratch(name));
}

TEST(a_folder_that_does_not_fit_together_is_refused_with_the_cause)
{
#define GOOD "{\"a\":0,\"b</w>\":1,\"ab</w>\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}"
    static const struct {
        const char *vocab, *merges, *config, *special, *tokenizer, *part;
        enum err_code code;
    } cases[] = {
        { NULL, "a b</w>\n", NULL, NULL, NULL, "has no vocab.json and no tokenizer.json", ERR_MISSING },
        { GOOD, NULL, NULL, NULL, NULL, "merges.txt is not there", ERR_MISSING },
        { "{\"a\":0", "", NULL, NULL, NULL, "vocab.json: not valid JSON", ERR_FORMAT },
        { "{\"a\xFF\":0}", "", NULL, NULL, NULL, "vocab.json: not valid JSON", ERR_FORMAT },
        { "[]", "", NULL, NULL, NULL, "vocab.json: must be a JSON object", ERR_FORMAT },
        { "{}", "", NULL, NULL, NULL, "must be an object of tokens and ids", ERR_FORMAT },
        { "{\"a\":\"0\"}", "", NULL, NULL, NULL, "the token \"a\" must have an id", ERR_FORMAT },
        { "{\"a\":-1}", "", NULL, NULL, NULL, "the token \"a\" must have an id", ERR_FORMAT },
        { "{\"a\":0.5}", "", NULL, NULL, NULL, "the token \"a\" must have an id", ERR_FORMAT },
        { "{\"a\":2000000}", "", NULL, NULL, NULL, "the token \"a\" must have an id from 0 to 1999999", ERR_FORMAT },
        { "{\"a\":1e300}", "", NULL, NULL, NULL, "the token \"a\" must have an id", ERR_FORMAT },
        { "{\"a\":0,\"b\":0}", "", NULL, NULL, NULL, "\"a\" and \"b\" both have the id 0", ERR_FORMAT },
        { GOOD, "a b</w>\na c\n", NULL, NULL, NULL, "merge 2, \"a c\": the vocabulary has no \"c\"", ERR_FORMAT },
        { GOOD, "#version: 0.2\na a\n", NULL, NULL, NULL, "merge 1, \"a a\": the vocabulary has no \"aa\"", ERR_FORMAT },
        { GOOD, "ab\n", NULL, NULL, NULL, "merge 1 must be two tokens", ERR_FORMAT },
        { GOOD, "a b c\n", NULL, NULL, NULL, "merge 1 must be two tokens", ERR_FORMAT },
        { GOOD, "a \xFF\n", NULL, NULL, NULL, "merges.txt is not UTF-8", ERR_FORMAT },
        { GOOD, "", "{\"model_max_length\":1}", NULL, NULL, "\"model_max_length\" must be a number from 2", ERR_FORMAT },
        { GOOD, "", "{\"model_max_length\":\"x\"}", NULL, NULL, "\"model_max_length\" must be a number", ERR_FORMAT },
        { GOOD, "", "{\"padding_side\":\"left\"}", NULL, NULL, "\"padding_side\" is \"left\"", ERR_FORMAT },
        { GOOD, "", "{\"bos_token\":3}", NULL, NULL, "\"bos_token\" is not a token", ERR_FORMAT },
        { GOOD, "", "{\"eos_token\":\"\"}", NULL, NULL, "\"eos_token\" is empty", ERR_FORMAT },
        { GOOD, "", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"c\"}}}", NULL, NULL, "\"x\" is no id", ERR_FORMAT },
        { GOOD, "", "{\"added_tokens_decoder\":{\"-4\":{\"content\":\"c\"}}}", NULL, NULL, "has the id -4", ERR_FORMAT },
        { GOOD, "", "[7]", NULL, NULL, "tokenizer_config.json: must be a JSON object", ERR_FORMAT },
        { GOOD, "", NULL, "{\"pad_token\":{\"content\":\"p\",\"single_word\":true}}", NULL, "\"single_word\"", ERR_FORMAT },
        { GOOD, "", NULL, NULL, "{}", "must be an object of tokens and ids", ERR_FORMAT },
        { GOOD, "", NULL, NULL, "{\"model\":{\"vocab\":{\"a\":0}}}", "\"merges\" must be a list", ERR_FORMAT },
        { GOOD, "", NULL, NULL, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 1 must be two", ERR_FORMAT },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("vocab.json", cases[i].vocab);
        put("merges.txt", cases[i].merges);
        put("tokenizer_config.json", cases[i].config);
        put("special_tokens_map.json", cases[i].special);
        put("tokenizer.json", cases[i].tokenizer);
        CHECK_FAILS(clip_tokenizer_open(test_scratch(""), &e), cases[i].code, cases[i].part);
    }
    put("vocab.json", GOOD);
    put("merges.txt", "#version: 0.2\r\na b</w>\r\n");
    put("tokenizer.json", NULL);
    put("special_tokens_map.json", NULL);
    put("tokenizer_config.json", "{\"unk_token\":\"none\"}");
    struct clip_tokenizer *t = clip_tokenizer_open(test_scratch(""), &e);
    REQUIRE(t);
    int32_t ids[4];
    size_t count;
    REQUIRE(clip_tokenizer_encode(t, "AB", false, ids, 4, &count, &e));
    CHECK(count == 3 && ids[1] == 2, "%zu, %d", count, ids[1]);
    CHECK_FAILS(clip_tokenizer_encode(t, "c", false, ids, 4, &count, &e), ERR_MISSING,
                "neither the byte 99 at a word's end nor the unknown token \"none\"");
    clip_tokenizer_free(t);
}

TEST(every_allocation_that_fails_is_an_error)
{
    struct err e = { 0 };
    struct clip_tokenizer *t = NULL;
    for (size_t n = 1; n < 4000 && !t; n += n < 60 ? 1 : 97) { /* most of them are one token each */
        mem_fail_at(n);
        t = clip_tokenizer_open(test_data("tokenizer/variants/new_tokens"), &e);
        mem_fail_at(0);
        CHECK(t || e.code == ERR_NOMEM || e.code == ERR_LIMIT, "allocation %zu: %s", n, e.text);
        err_clear(&e);
    }
    assert_non_null(t);
    bool good = false;
    for (size_t n = 1; n < 100 && !good; n++) {
        int32_t ids[30];
        size_t count;
        mem_fail_at(n);
        good = clip_tokenizer_encode(t, "<my-cat> caf\u00e9 apple", true, ids, 30, &count, &e);
        mem_fail_at(0);
        CHECK(good || e.code == ERR_NOMEM || e.code == ERR_LIMIT, "allocation %zu: %s", n, e.text);
        err_clear(&e);
    }
    CHECK(good, "it never succeeds");
    clip_tokenizer_free(t);
}
