/* The vocabulary for single files: CLIP's list of merges. */
#include <stdlib.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "tokenizer/clip_internal.h"

static json_t *config(const char *pad)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:f}", "bos_token", CLIP_START, "eos_token", CLIP_END, "unk_token", CLIP_END,
                     "pad_token", pad, "model_max_length", 77.0);
}

/* tiny-sd1's merges with a title, as CLIP's makers write them, packed. */
static const char *tiny_list(void)
{
    struct err e = { 0 };
    char *text;
    size_t bytes;
    REQUIRE(file_read(test_data("models/tiny-sd1/tokenizer/merges.txt"), 1 << 20, &text, &bytes, &e));
    const char *path = test_scratch("bpe_simple_vocab_16e6.txt.gz"), *rest = strchr(text, '\n') + 1;
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    gzputs(f, "\"bpe_simple_vocab_16e6.txt#version: 0.2\n");
    gzputs(f, rest);
    gzclose(f);
    mem_free(text);
    return path;
}

TEST(a_list_of_merges_is_the_vocabulary_of_the_folder_made_from_it)
{
    struct err e = { 0 };
    json_t *c = config("<|endoftext|>");
    struct clip_tokenizer *folder = clip_tokenizer_open(test_data("models/tiny-sd1/tokenizer"), &e);
    REQUIRE(folder);
    struct clip_tokenizer *list = clip_tokenizer_open_vocabulary(tiny_list(), c, &e);
    REQUIRE(list);
    assert_int_equal(clip_tokenizer_size(list), clip_tokenizer_size(folder));
    for (int32_t id = 0; id < clip_tokenizer_size(folder); id++)
        CHECK(!strcmp(clip_tokenizer_token(list, id), clip_tokenizer_token(folder, id)), "id %d: %s, wanted %s", (int)id,
              clip_tokenizer_token(list, id), clip_tokenizer_token(folder, id));
    int32_t a[77], b[77];
    size_t n, m;
    REQUIRE(clip_tokenizer_encode(folder, "a green wave on a red ground! 猫", true, a, 77, &n, &e));
    REQUIRE(clip_tokenizer_encode(list, "a green wave on a red ground! 猫", true, b, 77, &m, &e));
    CHECK(n == m && !memcmp(a, b, n * sizeof *a), "other ids");
    assert_int_equal(clip_tokenizer_pad(list), clip_tokenizer_end(list));
    assert_int_equal(clip_tokenizer_max_length(list), 77);
    clip_tokenizer_free(list);
    clip_tokenizer_free(folder);
    json_decref(c);
    c = config("!");
    REQUIRE((list = clip_tokenizer_open_vocabulary(tiny_list(), c, &e)));
    assert_int_equal(clip_tokenizer_pad(list), 0);
    clip_tokenizer_free(list);
    json_decref(c);
}

TEST(what_is_no_list_is_told)
{
    static const struct { const char *text, *part; } cases[] = {
        { "", "not a list of merges" }, { "title", "not a list of merges" }, { "title\na\n", "line 2 must be two tokens" },
        { "title\na b\na b c\n", "line 3 must be two tokens" }, { "title\n\xff b\n", "not a list of merges" },
        { "title\nxyz b\n", "the vocabulary has no \"xyz\"" },
    };
    struct err e = { 0 };
    json_t *c = config("!");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_FAILS(clip_tokenizer_of_list(cases[i].text, strlen(cases[i].text), c, "list", &e), ERR_FORMAT, cases[i].part);
    CHECK_FAILS(clip_tokenizer_open_vocabulary("/nowhere/list.gz", c, &e), ERR_IO, "/nowhere/list.gz");
    /* packed, and cut */
    char *data;
    size_t bytes;
    REQUIRE(file_read(tiny_list(), 1 << 20, &data, &bytes, &e));
    const char *cut = test_scratch("cut.gz");
    REQUIRE(file_write_whole(cut, data, bytes / 2, &e));
    CHECK_FAILS(clip_tokenizer_open_vocabulary(cut, c, &e), ERR_FORMAT, "cannot be unpacked");
    mem_free(data);
    json_decref(c);
}

TEST(a_missing_vocabulary_says_what_to_do)
{
    struct err e = { 0 };
    static const char *const words[] = { "LIMN_CLIP_VOCABULARY", "LIMN_MODELS", "VIRTUAL_ENV", "HOME" };
    char path[PATH_MAX_BYTES], *kept[4];
    for (int i = 0; i < 4; i++)
        kept[i] = getenv(words[i]) ? mem_string(getenv(words[i])) : NULL;
    setenv("LIMN_CLIP_VOCABULARY", "/some/where.gz", 1);
    REQUIRE(clip_vocabulary_find(path, &e));
    assert_string_equal(path, "/some/where.gz");
    unsetenv("LIMN_CLIP_VOCABULARY");
    setenv("LIMN_MODELS", test_scratch("."), 1);
    tiny_list();
    REQUIRE(clip_vocabulary_find(path, &e));
    CHECK(strstr(path, "/bpe_simple_vocab_16e6.txt.gz"), "%s", path);
    remove(test_scratch("bpe_simple_vocab_16e6.txt.gz"));
    unsetenv("LIMN_MODELS");
    unsetenv("VIRTUAL_ENV");
    setenv("HOME", test_scratch("home"), 1);
    if (clip_vocabulary_find(path, &e)) /* of the system's own Python */
        CHECK(path_exists(path), "%s", path);
    else
        CHECK(e.code == ERR_MISSING && strstr(e.text, "./setup vocabulary") && strstr(e.text, "--config FOLDER"), "%s", e.text);
    for (int i = 0; i < 4; i++) {
        if (kept[i])
            setenv(words[i], kept[i], 1);
        else
            unsetenv(words[i]);
        mem_free(kept[i]);
    }
}

/* Only where it is installed: OpenAI's own examples of ids. */
TEST(the_real_vocabulary_gives_clips_ids)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    if (!clip_vocabulary_find(path, &e))
        skip();
    json_t *c = config("!");
    struct clip_tokenizer *t = clip_tokenizer_open_vocabulary(path, c, &e);
    REQUIRE(t);
    assert_int_equal(clip_tokenizer_size(t), 49408);
    static const int32_t want[] = { 49406, 320, 1125, 539, 320, 2368, 49407 };
    int32_t *ids;
    size_t count;
    REQUIRE(clip_tokenizer_encode_all(t, "a photo of a cat", &ids, &count, &e));
    CHECK(count == 7 && !memcmp(ids, want, sizeof want), "%zu ids", count);
    mem_free(ids);
    clip_tokenizer_free(t);
    json_decref(c);
}
