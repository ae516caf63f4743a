/* Encoding, judged by diffusers' ChatGLMTokenizer: tests/reference/make_kolors.py made the model and the cases. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"
#include "tokenizer/chatglm_tokenizer.h"

static const char *tiny(void)
{
    return test_data("models/tiny-kolors/tokenizer");
}

static struct chatglm_tokenizer *open_tiny(void)
{
    struct err e = { 0 };
    struct chatglm_tokenizer *t = chatglm_tokenizer_open(tiny(), &e);
    if (!t)
        fail_msg("%s", e.text);
    return t;
}

/* What is cut to 12 or padded to 256 follows from all the ids. */
static bool agrees(const struct chatglm_tokenizer *t, const json_t *c)
{
    static const size_t rooms[] = { 2, 12, 256 };
    const char *text = json_string_value(json_object_get(c, "text"));
    const json_t *list = json_object_get(c, "ids");
    size_t want_count = json_array_size(list), all_count;
    bool good = true;
    int32_t *all;
    struct err cause = { 0 };
    if (!chatglm_tokenizer_encode_all(t, text, &all, &all_count, &cause))
        fail_msg("%s", cause.text);
    for (size_t i = 0; i < all_count && i < want_count; i++)
        good = good && all[i] == json_integer_value(json_array_get(list, i));
    CHECK(good && all_count == want_count, "\"%s\": %zu ids in all, want %zu", text, all_count, want_count);
    mem_free(all);
    for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
        struct err e = { 0 };
        int32_t ids[256], places[256];
        size_t room = rooms[r], kept = want_count < room ? want_count : room;
        REQUIRE(chatglm_tokenizer_encode(t, text, ids, room, &e));
        size_t pads = (size_t)chatglm_tokenizer_places(t, ids, room, places);
        if (pads != room - kept) {
            print_error("\"%s\" in %zu: %zu pads, want %zu\n", text, room, pads, room - kept);
            good = false;
            continue;
        }
        for (size_t i = 0; i < room; i++) {
            int64_t want = i < pads ? 0 : json_integer_value(json_array_get(list, i - pads));
            int32_t place = i < pads ? 0 : (int32_t)(i - pads);
            if (ids[i] != want || places[i] != place) {
                print_error("\"%s\" in %zu: id %zu is %d (%s) at %d, want %lld at %d\n", text, room, i, ids[i],
                            chatglm_tokenizer_token(t, ids[i]), places[i], (long long)want, place);
                good = false;
            }
        }
    }
    return good;
}

TEST(ids_are_those_of_diffusers)
{
    struct err e = { 0 };
    json_t *cases = json_read(test_data("tokenizer/chatglm_cases.json"), &e), *c;
    REQUIRE(cases);
    struct chatglm_tokenizer *t = open_tiny();
    size_t i, wrong = 0;
    json_array_foreach(cases, i, c) wrong += !agrees(t, c);
    CHECK(i > 200, "only %zu cases", i);
    CHECK(!wrong, "%zu of %zu texts differ", wrong, i);
    chatglm_tokenizer_free(t);
    json_decref(cases);
}

TEST(nine_tokens_follow_the_pieces)
{
    struct chatglm_tokenizer *t = open_tiny();
    static const struct { int32_t id; const char *token; } known[] = {
        { 0, "<unk>" }, { 1, "<s>" }, { 2, "</s>" }, { 3, "<0x00>" }, { 258, "<0xFF>" }, { 420, "[MASK]" }, { 421, "[gMASK]" },
        { 422, "[sMASK]" }, { 423, "sop" }, { 424, "eop" }, { 425, "<|system|>" }, { 428, "<|observation|>" },
    };
    assert_int_equal(chatglm_tokenizer_size(t), 429);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_string_equal(chatglm_tokenizer_token(t, known[i].id), known[i].token);
    CHECK(!chatglm_tokenizer_token(t, -1) && !chatglm_tokenizer_token(t, 429), "a token that is not there");
    chatglm_tokenizer_free(t);
}

TEST(what_cannot_be_encoded_is_an_error)
{
    struct err e = { 0 };
    struct chatglm_tokenizer *t = open_tiny();
    int32_t ids[8];
    char *text = mem_zeroed(CHATGLM_TEXT_MAX_BYTES + 2, 1);
    assert_non_null(text);
    CHECK_FAILS(chatglm_tokenizer_encode(t, "a", ids, 1, &e), ERR_ARG, "room for 1 ids");
    CHECK_FAILS(chatglm_tokenizer_encode(t, "a\xff", ids, 8, &e), ERR_FORMAT, "not valid UTF-8");
    memset(text, 'a', CHATGLM_TEXT_MAX_BYTES + 1);
    CHECK_FAILS(chatglm_tokenizer_encode(t, text, ids, 8, &e), ERR_LIMIT, "a text of 65537 bytes");
    text[CHATGLM_TEXT_MAX_BYTES] = 0;
    REQUIRE(chatglm_tokenizer_encode(t, text, ids, 8, &e));
    mem_free(text);
    chatglm_tokenizer_free(t);
}

/* The whole of the tiny model with `count` bytes at `at` replaced, or cut to `cut` bytes. */
static bool parses(size_t at, const char *bytes, size_t count, size_t cut, struct err *why)
{
    char path[PATH_MAX_BYTES], *data;
    size_t size;
    struct err e = { 0 };
    REQUIRE(path_join(path, tiny(), "tokenizer.model", &e) && file_read(path, 1 << 20, &data, &size, &e));
    memcpy(data + at, bytes, count);
    struct chatglm_tokenizer *t = chatglm_tokenizer_parse(data, cut && cut < size ? cut : size, "tokenizer.model", why);
    mem_free(data);
    chatglm_tokenizer_free(t);
    return t != NULL;
}

/* Where the normalizer's table begins: behind its field's number and length, found by the size that the table begins with. */
static size_t table_at(void)
{
    char path[PATH_MAX_BYTES], *data;
    size_t size, at = 0;
    struct err e = { 0 };
    REQUIRE(path_join(path, tiny(), "tokenizer.model", &e) && file_read(path, 1 << 20, &data, &size, &e));
    const char name[] = "\x0a\x0cuser_defined\x12";
    char *found = memmem(data, size, name, sizeof name - 1);
    if (found)
        at = (size_t)(found - data) + sizeof name - 1 + 2; /* a length of two bytes */
    mem_free(data);
    CHECK(at, "the tiny model has no table");
    return at;
}

TEST(a_broken_model_is_an_error_that_names_it)
{
    struct err e = { 0 };
    size_t table = table_at();
    CHECK(parses(0, "", 0, 0, &e), "the model itself: %s", e.text);
    CHECK_FAILS(parses(0, "\xff\xff", 2, 0, &e), ERR_FORMAT, "tokenizer.model: not a SentencePiece model");
    for (size_t cut = 1; cut < 3000; cut += 7) {
        err_clear(&e);
        CHECK(parses(0, "", 0, cut, &e) || (e.code == ERR_FORMAT && strstr(e.text, "tokenizer.model")), "cut to %zu: %s", cut,
              e.text);
    }
    err_clear(&e);
    CHECK_FAILS(parses(table, "\xff\xff\xff\x7f", 4, 0, &e), ERR_FORMAT, "table points outside itself");
    CHECK_FAILS(parses(table + 4, "\x00\xff\xff\x7f", 4, 0, &e), ERR_FORMAT, "table points outside itself");
    CHECK_FAILS(chatglm_tokenizer_parse("", 0, "tokenizer.model", &e) != NULL, ERR_FORMAT, "it has no pieces");
    CHECK_FAILS(chatglm_tokenizer_open("/nowhere", &e) != NULL, ERR_MISSING, "/nowhere/tokenizer.model");
}
