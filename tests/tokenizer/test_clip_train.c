/* Learning a vocabulary from captions. */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "test.h"
#include "tokenizer/clip_tokenizer.h"

static void learn(const char *const *captions, size_t count, int32_t size, struct clip_tokenizer **t)
{
    struct err e = { 0 };
    const struct progress silent = { 0 };
    const char *folder = test_scratch("learnt");
    REQUIRE(clip_tokenizer_train(captions, count, size, 77, folder, &silent, &e));
    REQUIRE(*t = clip_tokenizer_open(folder, &e));
}

/* Worked by hand: "abab" 3 times and "ab" twice. Pairs: a+b 3 (inside), b+a 3, a+b</w> 5. First ab</w>; then a+b 3, before
 * b+a</w>... : inside "ab ab</w>" a+b and b+ab</w> occur 3 times each, and a has the lower id; then ab+ab</w>. */
TEST(the_most_frequent_pair_comes_first_and_of_equals_the_lower_ids)
{
    static const char *const captions[] = { "abab", "abab ABAB", "ab, ab" };
    struct clip_tokenizer *t;
    struct err e = { 0 };
    learn(captions, 3, 1000, &t);
    assert_int_equal(clip_tokenizer_size(t), 512 + 3 + 2);
    assert_string_equal(clip_tokenizer_token(t, 512), "ab</w>");
    assert_string_equal(clip_tokenizer_token(t, 513), "ab");
    assert_string_equal(clip_tokenizer_token(t, 514), "abab</w>");
    assert_int_equal(clip_tokenizer_start(t), 515);
    assert_int_equal(clip_tokenizer_end(t), 516);
    assert_int_equal(clip_tokenizer_pad(t), 516);
    assert_int_equal(clip_tokenizer_max_length(t), 77);
    int32_t ids[8];
    size_t count;
    REQUIRE(clip_tokenizer_encode(t, "abab! ab", false, ids, 8, &count, &e));
    static const int32_t want[] = { 515, 514, 256, 512, 516 };
    assert_int_equal(count, 5);
    assert_memory_equal(ids, want, sizeof want);
    clip_tokenizer_free(t);
}

TEST(words_of_a_language_without_spaces_are_learnt)
{
    static const char *const captions[] = { "\u7ea2\u82f9\u679c,3D\u98ce\u683c", "\u7eff\u82f9\u679c,3D\u98ce\u683c", "\u7ea2\u6c14\u7403" };
    struct clip_tokenizer *t;
    struct err e = { 0 };
    learn(captions, 3, 2000, &t);
    int32_t ids[20];
    size_t count;
    char text[40] = "";
    REQUIRE(clip_tokenizer_encode(t, "\u7ea2\u82f9\u679c", false, ids, 20, &count, &e));
    assert_int_equal(count, 4); /* start, red, apple, end */
    clip_tokenizer_token_text(t, ids[2], text, sizeof text);
    assert_string_equal(text, "\u82f9\u679c ");
    clip_tokenizer_free(t);
}

/* Every text is a sequence of known tokens, so decoding gives its words back. */
TEST(what_was_learnt_covers_any_text)
{
    static const char *const captions[] = { "a red apple", "a red ball", "" };
    struct clip_tokenizer *t;
    struct err e = { 0 };
    learn(captions, 3, 520, &t);
    int32_t *ids;
    size_t count;
    char whole[200] = "", part[40];
    REQUIRE(clip_tokenizer_encode_all(t, "\u96ea red \U0001f600\u00e9", &ids, &count, &e));
    for (size_t i = 1; i + 1 < count; i++) {
        clip_tokenizer_token_text(t, ids[i], part, sizeof part);
        strcat(whole, part);
    }
    assert_string_equal(whole, "\u96ea red \U0001f600 \u00e9 ");
    mem_free(ids);
    clip_tokenizer_free(t);
}

/* Captions of random words of the letters a to e. */
static void scribble(char (*lines)[40], const char **captions, size_t count)
{
    struct random r = random_of(7, 1);
    for (size_t i = 0; i < count; i++) {
        size_t n = 1 + random_below(&r, 30);
        for (size_t k = 0; k < n; k++)
            lines[i][k] = "aaabbcd e"[random_below(&r, 9)];
        captions[i] = lines[i];
    }
}

/* The plain way: all pairs are counted anew before every merge. Words and their symbols' ids in a row, -1 behind each. */
struct plain {
    int32_t *symbols;
    size_t length;
    char tokens[1000][64];
    int32_t count;
};

static void plain_add(struct plain *p, const char *word, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) /* '!' is 0, and so on to '~' */
        p->symbols[p->length++] = word[i] - '!' + (i + 1 == bytes ? 256 : 0);
    p->symbols[p->length++] = -1;
}

static bool plain_best(const struct plain *p, int32_t *left, int32_t *right)
{
    static int64_t counts[1000][1000];
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i + 1 < p->length; i++)
        if (p->symbols[i] >= 0 && p->symbols[i + 1] >= 0)
            counts[p->symbols[i]][p->symbols[i + 1]]++;
    int64_t most = 1;
    for (int32_t a = 0; a < p->count; a++)
        for (int32_t b = 0; b < p->count; b++)
            if (counts[a][b] > most) {
                most = counts[a][b];
                *left = a;
                *right = b;
            }
    return most > 1;
}

static void plain_merge(struct plain *p, int32_t left, int32_t right)
{
    char both[130];
    snprintf(both, sizeof both, "%s%s", p->tokens[left], p->tokens[right]);
    int32_t id = 0;
    while (id < p->count && strcmp(p->tokens[id], both))
        id++;
    assert_true(strlen(both) < sizeof p->tokens[0]);
    if (id == p->count)
        strcpy(p->tokens[p->count++], both);
    size_t to = 0;
    for (size_t from = 0; from < p->length; to++) {
        bool pair = from + 1 < p->length && p->symbols[from] == left && p->symbols[from + 1] == right;
        p->symbols[to] = pair ? id : p->symbols[from];
        from += pair ? 2 : 1;
    }
    p->length = to;
}

TEST(the_merges_are_those_of_counting_all_pairs_anew)
{
    enum { CAPTIONS = 400, SIZE = 800 };
    static char lines[CAPTIONS][40];
    static struct plain p;
    const char *captions[CAPTIONS];
    struct clip_tokenizer *t;
    struct err e = { 0 };
    char *merges;
    size_t bytes, same = 0;
    scribble(lines, captions, CAPTIONS);
    learn(captions, CAPTIONS, SIZE, &t);
    p.symbols = mem_zeroed(CAPTIONS * 80, sizeof *p.symbols);
    assert_non_null(p.symbols);
    for (p.count = 0; p.count < 512; p.count++)
        snprintf(p.tokens[p.count], sizeof p.tokens[0], "%s", clip_tokenizer_token(t, p.count));
    for (size_t i = 0; i < CAPTIONS; i++)
        for (const char *w = captions[i]; *w; w += strcspn(w, " "), w += strspn(w, " "))
            if (*w != ' ')
                plain_add(&p, w, strcspn(w, " "));
    REQUIRE(file_read(test_scratch("learnt/merges.txt"), 1 << 20, &merges, &bytes, &e));
    char *line = strchr(merges, '\n') + 1;
    for (int32_t a, b; p.count + 2 < SIZE && plain_best(&p, &a, &b); same++) {
        char want[140];
        snprintf(want, sizeof want, "%s %s\n", p.tokens[a], p.tokens[b]);
        CHECK(!strncmp(line, want, strlen(want)), "merge %zu: want %scame %.60s", same + 1, want, line);
        line += strlen(want);
        plain_merge(&p, a, b);
    }
    CHECK(!*line && same >= 250, "%zu merges, then %.60s", same, line);
    mem_free(merges);
    mem_free(p.symbols);
    clip_tokenizer_free(t);
}

TEST(the_same_captions_give_the_same_files)
{
    enum { CAPTIONS = 3000 };
    static char lines[CAPTIONS][40];
    const char *captions[CAPTIONS];
    scribble(lines, captions, CAPTIONS);
    struct clip_tokenizer *t;
    struct err e = { 0 };
    char *first[2], *again[2];
    static const char *const files[] = { "learnt/vocab.json", "learnt/merges.txt" };
    size_t bytes;
    learn(captions, CAPTIONS, 900, &t);
    clip_tokenizer_free(t);
    for (int i = 0; i < 2; i++)
        REQUIRE(file_read(test_scratch(files[i]), 1 << 20, &first[i], &bytes, &e));
    learn(captions, CAPTIONS, 900, &t);
    assert_int_equal(clip_tokenizer_size(t), 900);
    for (int i = 0; i < 2; i++) {
        REQUIRE(file_read(test_scratch(files[i]), 1 << 20, &again[i], &bytes, &e));
        assert_string_equal(first[i], again[i]);
        mem_free(first[i]);
        mem_free(again[i]);
    }
    /* Fewer tokens are the beginning of more: a merge depends on those before it alone. */
    struct clip_tokenizer *few;
    learn(captions, CAPTIONS, 600, &few);
    for (int32_t id = 0; id < 598; id++)
        assert_string_equal(clip_tokenizer_token(few, id), clip_tokenizer_token(t, id));
    clip_tokenizer_free(few);
    clip_tokenizer_free(t);
}

TEST(wrong_arguments_and_captions_are_errors)
{
    static const char *const bad[] = { "good", "b\xFF" }, *const good[] = { "good" };
    const struct progress silent = { 0 };
    struct err e = { 0 };
    const char *folder = test_scratch("none");
    CHECK_FAILS(clip_tokenizer_train(good, 1, 513, 77, folder, &silent, &e), ERR_ARG, "a vocabulary of 513 tokens");
    CHECK_FAILS(clip_tokenizer_train(good, 1, 600, 1, folder, &silent, &e), ERR_ARG, "a length of 1 tokens");
    CHECK_FAILS(clip_tokenizer_train(bad, 2, 600, 77, folder, &silent, &e), ERR_FORMAT, "caption 2 is not valid UTF-8");
    CHECK(!path_exists(folder), "a folder was left");
    CHECK_FAILS(clip_tokenizer_train(good, 1, 600, 77, "/dev/null/x", &silent, &e), ERR_IO, "/dev/null");
    stop_request();
    bool went = clip_tokenizer_train(good, 1, 600, 77, folder, &silent, &e);
    stop_forget();
    CHECK(!went && e.code == ERR_STOPPED, "%s", e.text);
}

TEST(every_allocation_that_fails_while_learning_is_an_error)
{
    static const char *const captions[] = { "a red apple", "a red ball" };
    const struct progress silent = { 0 };
    struct err e = { 0 };
    bool good = false;
    for (size_t n = 1; n < 2000 && !good; n += n > 10 && n < 500 ? 61 : 1) { /* the bytes' tokens are 512 of them */
        mem_fail_at(n);
        good = clip_tokenizer_train(captions, 2, 600, 77, test_scratch("memory"), &silent, &e);
        mem_fail_at(0);
        CHECK(good || e.code == ERR_NOMEM || e.code == ERR_LIMIT, "allocation %zu: %s", n, e.text);
        err_clear(&e);
    }
    CHECK(good, "it never succeeds");
}
