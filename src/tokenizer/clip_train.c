/* Learning a CLIP vocabulary: count words, then merge the most frequent pair of symbols again and again.
 *
 * Sennrich et al. 2016, algorithm 1, with the usual bookkeeping: every pair knows how often it occurs and in which words;
 * a heap offers the most frequent. The heap's entries are not updated when a count falls: one that is found out of date is
 * put back with its present count. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/clip_internal.h"

struct word {
    size_t symbols_at; /* into symbols */
    uint32_t length;   /* in symbols, now */
    uint32_t bytes;
    int64_t count;
    uint32_t touched;  /* by which merge last */
};

struct pair {
    int32_t left, right; /* token ids; left -1 is a free slot of the table */
    int64_t count;
    uint32_t *words;     /* where it occurs, or did */
    size_t words_count, words_cap;
    uint32_t touched;
};

struct offer {
    int64_t count;
    int32_t left, right;
};

struct trainer {
    /* words: open addressing over `words`, index + 1 */
    struct text letters; /* the bytes of all words, one after the other; a word's symbols have the same places */
    int32_t *symbols;
    struct word *words;
    size_t words_count, words_cap;
    uint32_t *word_slots;
    size_t word_mask;
    /* pairs: open addressing, the structs themselves */
    struct pair *pairs;
    size_t pairs_count, pair_mask;
    struct offer *heap;
    size_t heap_count, heap_cap;
    uint64_t *fresh; /* pairs that the merge in progress made or strengthened */
    size_t fresh_count, fresh_cap;
    char **tokens;   /* by id */
    json_t *vocabulary;
    int32_t tokens_count;
    struct text merges; /* merges.txt */
};

static size_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

/* ---- words ---- */

static bool grow_word_slots(struct trainer *t, struct err *e)
{
    size_t slots = t->word_mask ? 2 * (t->word_mask + 1) : 1 << 12;
    uint32_t *made = mem_zeroed(slots, sizeof *made);
    if (!made)
        return err_nomem(e, "counting words");
    for (size_t i = 0; i < t->words_count; i++) {
        size_t at = hash_bytes(t->letters.s + t->words[i].symbols_at, t->words[i].bytes) & (slots - 1);
        while (made[at])
            at = (at + 1) & (slots - 1);
        made[at] = (uint32_t)(i + 1);
    }
    mem_free(t->word_slots);
    t->word_slots = made;
    t->word_mask = slots - 1;
    return true;
}

static bool count_word(struct trainer *t, const char *word, size_t bytes, struct err *e)
{
    if (2 * t->words_count >= t->word_mask && !grow_word_slots(t, e))
        return false;
    size_t at = hash_bytes(word, bytes) & t->word_mask;
    for (; t->word_slots[at]; at = (at + 1) & t->word_mask) {
        struct word *w = &t->words[t->word_slots[at] - 1];
        if (w->bytes == bytes && !memcmp(t->letters.s + w->symbols_at, word, bytes)) {
            w->count++;
            return true;
        }
    }
    if (t->words_count >= UINT32_MAX - 1)
        return err_set(e, ERR_LIMIT, "more than %u different words", UINT32_MAX - 1);
    struct word *grown = mem_grow(t->words, &t->words_cap, t->words_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "counting words");
    t->words = grown;
    grown[t->words_count++] = (struct word){ t->letters.length, (uint32_t)bytes, (uint32_t)bytes, 1, 0 };
    t->word_slots[at] = (uint32_t)t->words_count;
    text_add_bytes(&t->letters, word, bytes);
    return text_ok(&t->letters, e);
}

static bool count_words(struct trainer *t, const char *const *captions, size_t count, const struct progress *progress,
                        struct err *e)
{
    struct text normal;
    text_init(&normal, 4 * CLIP_TEXT_MAX_BYTES);
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        size_t bytes = strlen(captions[i]), word_bytes;
        const char *word;
        if (bytes > CLIP_TEXT_MAX_BYTES)
            good = err_set(e, ERR_ARG, "caption %zu has %zu bytes, at most %zu are read", i + 1, bytes, CLIP_TEXT_MAX_BYTES);
        else if (!utf8_valid(captions[i], bytes))
            good = err_set(e, ERR_FORMAT, "caption %zu is not valid UTF-8: \"%.60s\"", i + 1, captions[i]);
        good = good && clip_normalize(captions[i], bytes, &normal, e);
        struct clip_words words = clip_words_of(text_string(&normal), good ? normal.length : 0);
        while (good && clip_words_next(&words, &word, &word_bytes))
            good = count_word(t, word, word_bytes, e);
        if (good && i % 4096 == 0) {
            progress_step(progress, "reading captions", (long)i, (long)count, NULL);
            good = stop_check(e);
        }
    }
    text_release(&normal);
    return good;
}

/* ---- pairs ---- */

static size_t pair_place(const struct pair *pairs, size_t mask, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(h ^ h >> 32) & mask;
    while (pairs[at].left >= 0 && (pairs[at].left != left || pairs[at].right != right))
        at = (at + 1) & mask;
    return at;
}

static bool grow_pairs(struct trainer *t, struct err *e)
{
    size_t slots = t->pairs ? 2 * (t->pair_mask + 1) : 1 << 14;
    struct pair *made = mem_zeroed(slots, sizeof *made);
    if (!made)
        return err_nomem(e, "counting pairs");
    for (size_t i = 0; i < slots; i++)
        made[i].left = -1;
    for (size_t i = 0; t->pairs && i <= t->pair_mask; i++)
        if (t->pairs[i].left >= 0)
            made[pair_place(made, slots - 1, t->pairs[i].left, t->pairs[i].right)] = t->pairs[i];
    mem_free(t->pairs);
    t->pairs = made;
    t->pair_mask = slots - 1;
    return true;
}

/* Counts every pair of a word `sign` times the word's count; only when counting up, the pairs that hold `of` (-1: all) learn
 * that they occur in it and become fresh. `turn` is the number of the merge. */
static bool count_pairs(struct trainer *t, uint32_t word, int sign, int32_t of, uint32_t turn, struct err *e)
{
    const struct word *w = &t->words[word];
    const int32_t *s = t->symbols + w->symbols_at;
    for (uint32_t i = 0; i + 1 < w->length; i++) {
        if (2 * (t->pairs_count + 1) > t->pair_mask && !grow_pairs(t, e))
            return false;
        struct pair *p = &t->pairs[pair_place(t->pairs, t->pair_mask, s[i], s[i + 1])];
        if (p->left < 0) {
            *p = (struct pair){ .left = s[i], .right = s[i + 1] };
            t->pairs_count++;
        }
        p->count += sign * w->count;
        if (sign < 0 || (of >= 0 && s[i] != of && s[i + 1] != of))
            continue;
        if (!p->words_count || p->words[p->words_count - 1] != word) {
            uint32_t *grown = mem_grow(p->words, &p->words_cap, p->words_count + 1, sizeof *grown);
            if (!grown)
                return err_nomem(e, "counting pairs");
            p->words = grown;
            grown[p->words_count++] = word;
        }
        if (p->touched != turn) {
            p->touched = turn;
            uint64_t *grown = mem_grow(t->fresh, &t->fresh_cap, t->fresh_count + 1, sizeof *grown);
            if (!grown)
                return err_nomem(e, "counting pairs");
            t->fresh = grown;
            grown[t->fresh_count++] = (uint64_t)(uint32_t)p->left << 32 | (uint32_t)p->right;
        }
    }
    return true;
}

/* ---- the heap: most frequent first; of equals the lower ids ---- */

static bool before(const struct offer *a, const struct offer *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static bool push(struct trainer *t, struct offer o, struct err *e)
{
    struct offer *heap = mem_grow(t->heap, &t->heap_cap, t->heap_count + 1, sizeof *heap);
    if (!heap)
        return err_nomem(e, "the heap of pairs");
    t->heap = heap;
    size_t i = t->heap_count++;
    for (; i && before(&o, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = o;
    return true;
}

static struct offer pop(struct trainer *t)
{
    struct offer *heap = t->heap, first = heap[0], last = heap[--t->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap_count; i = child) {
        if (child + 1 < t->heap_count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return first;
}

static bool push_fresh(struct trainer *t, struct err *e)
{
    for (size_t i = 0; i < t->fresh_count; i++) {
        int32_t left = (int32_t)(t->fresh[i] >> 32), right = (int32_t)(uint32_t)t->fresh[i];
        const struct pair *p = &t->pairs[pair_place(t->pairs, t->pair_mask, left, right)];
        if (p->count > 1 && !push(t, (struct offer){ p->count, left, right }, e))
            return false;
    }
    t->fresh_count = 0;
    return true;
}

/* The most frequent pair that occurs twice or more, its counts true, or false when there is none or on an error. */
static bool next_pair(struct trainer *t, struct offer *out, struct err *e)
{
    while (t->heap_count) {
        struct offer o = pop(t);
        const struct pair *p = &t->pairs[pair_place(t->pairs, t->pair_mask, o.left, o.right)];
        if (p->count == o.count) {
            *out = o;
            return true;
        }
        o.count = p->count < o.count ? p->count : 0; /* one that grew was pushed again when it did */
        if (o.count > 1 && !push(t, o, e))
            return false;
    }
    return false;
}

/* ---- tokens ---- */

/* The id of a token that may be there already; takes over `token`. -1 on an error. */
static int32_t add_token(struct trainer *t, char *token, struct err *e)
{
    const json_t *there = token ? json_object_get(t->vocabulary, token) : NULL;
    if (there) {
        mem_free(token);
        return (int32_t)json_integer_value(there);
    }
    if (!token || json_object_set_new(t->vocabulary, token, json_integer(t->tokens_count)) != 0) {
        mem_free(token);
        err_nomem(e, "a vocabulary");
        return -1;
    }
    t->tokens[t->tokens_count] = token;
    return t->tokens_count++;
}

static bool add_bytes(struct trainer *t, struct err *e)
{
    for (int i = 0; i < 512; i++) {
        char symbol[4 + sizeof CLIP_WORD_END];
        size_t n = clip_byte_symbol(clip_byte_at(i % 256), symbol);
        memcpy(symbol + n, CLIP_WORD_END, sizeof CLIP_WORD_END);
        if (i < 256)
            symbol[n] = 0;
        if (add_token(t, mem_string(symbol), e) < 0)
            return false;
    }
    return true;
}

static char *joined(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *s = mem_zeroed(n + m + 1, 1);
    if (s) {
        memcpy(s, a, n);
        memcpy(s + n, b, m);
    }
    return s;
}

static bool merge_pair(struct trainer *t, int32_t left, int32_t right, uint32_t turn, struct err *e)
{
    int32_t id = add_token(t, joined(t->tokens[left], t->tokens[right]), e);
    if (id < 0)
        return false;
    text_addf(&t->merges, "%s %s\n", t->tokens[left], t->tokens[right]);
    struct pair *p = &t->pairs[pair_place(t->pairs, t->pair_mask, left, right)];
    uint32_t *words = p->words;
    size_t count = p->words_count;
    p->words = NULL;
    p->words_count = p->words_cap = 0;
    bool good = text_ok(&t->merges, e);
    for (size_t i = 0; good && i < count; i++) {
        struct word *w = &t->words[words[i]];
        if (w->touched == turn)
            continue;
        w->touched = turn;
        good = count_pairs(t, words[i], -1, id, turn, e);
        int32_t *s = t->symbols + w->symbols_at;
        uint32_t to = 0;
        for (uint32_t from = 0; from < w->length; to++) {
            bool both = from + 1 < w->length && s[from] == left && s[from + 1] == right;
            s[to] = both ? id : s[from];
            from += both ? 2 : 1;
        }
        w->length = to;
        good = good && count_pairs(t, words[i], 1, id, turn, e);
    }
    mem_free(words);
    return good && push_fresh(t, e);
}

static bool learn(struct trainer *t, int32_t vocab_size, const struct progress *progress, struct err *e)
{
    if (!grow_pairs(t, e) || !(t->symbols = mem_zeroed(t->letters.length, sizeof *t->symbols)))
        return err_nomem(e, "the symbols of the words");
    int order[256];
    for (int b = 0; b < 256; b++)
        order[b] = clip_byte_order((unsigned char)b);
    for (size_t i = 0; i < t->words_count; i++) {
        struct word *w = &t->words[i];
        for (uint32_t k = 0; k < w->bytes; k++) {
            unsigned char byte = (unsigned char)t->letters.s[w->symbols_at + k];
            t->symbols[w->symbols_at + k] = order[byte] + (k + 1 == w->bytes ? 256 : 0);
        }
        if (!count_pairs(t, (uint32_t)i, 1, -1, 1, e))
            return false;
    }
    if (!push_fresh(t, e))
        return false;
    struct offer o;
    for (uint32_t turn = 2; t->tokens_count + 2 < vocab_size && next_pair(t, &o, e); turn++) {
        if (!merge_pair(t, o.left, o.right, turn, e))
            return false;
        if (turn % 64 == 0) {
            progress_step(progress, "learning tokens", t->tokens_count, vocab_size, NULL);
            if (!stop_check(e))
                return false;
        }
    }
    return e->code == ERR_NONE;
}

/* ---- files ---- */

static bool write_json(json_t *j, const char *folder, const char *name, struct err *e)
{
    char path[PATH_MAX_BYTES];
    bool good = j ? path_join(path, folder, name, e) && json_write(j, path, e) : err_nomem(e, name);
    json_decref(j);
    return good;
}

static bool write_files(struct trainer *t, int32_t max_length, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (add_token(t, mem_string(CLIP_START), e) < 0 || add_token(t, mem_string(CLIP_END), e) < 0 ||
        !folder_make(folder, e) || !path_join(path, folder, "merges.txt", e) ||
        !file_write_whole(path, t->merges.s, t->merges.length, e))
        return false;
    return write_json(json_incref(t->vocabulary), folder, "vocab.json", e) &&
           write_json(json_pack("{s:s, s:s, s:s, s:s}", "bos_token", CLIP_START, "eos_token", CLIP_END, "pad_token",
                                CLIP_END, "unk_token", CLIP_END), folder, "special_tokens_map.json", e) &&
           write_json(json_pack("{s:b, s:s, s:b, s:s, s:s, s:i, s:s, s:s, s:s}", "add_prefix_space", 0, "bos_token",
                                CLIP_START, "do_lower_case", 1, "eos_token", CLIP_END, "errors", "replace",
                                "model_max_length", (int)max_length, "pad_token", CLIP_END, "tokenizer_class",
                                "CLIPTokenizer", "unk_token", CLIP_END), folder, "tokenizer_config.json", e);
}

static void release(struct trainer *t)
{
    for (size_t i = 0; t->pairs && i <= t->pair_mask; i++)
        mem_free(t->pairs[i].words);
    for (int32_t i = 0; i < t->tokens_count; i++)
        mem_free(t->tokens[i]);
    mem_free(t->tokens);
    mem_free(t->pairs);
    mem_free(t->heap);
    mem_free(t->fresh);
    mem_free(t->words);
    mem_free(t->word_slots);
    mem_free(t->symbols);
    text_release(&t->letters);
    text_release(&t->merges);
    json_decref(t->vocabulary);
}

bool clip_tokenizer_train(const char *const *captions, size_t count, int32_t vocab_size, int32_t max_length,
                          const char *folder, const struct progress *progress, struct err *e)
{
    if (vocab_size < 514 || vocab_size > CLIP_VOCABULARY_MAX)
        return err_set(e, ERR_ARG, "a vocabulary of %d tokens, want 514 to %d", vocab_size, CLIP_VOCABULARY_MAX);
    if (max_length < 2)
        return err_set(e, ERR_ARG, "a length of %d tokens, want 2 or more", max_length);
    struct trainer t = { .tokens = mem_zeroed((size_t)vocab_size, sizeof *t.tokens), .vocabulary = json_object() };
    text_init(&t.letters, (size_t)1 << 32);
    text_init(&t.merges, (size_t)1 << 30);
    text_add(&t.merges, "#version: 0.2\n");
    bool good = (t.tokens && t.vocabulary) || err_nomem(e, "a vocabulary");
    good = good && add_bytes(&t, e) && count_words(&t, captions, count, progress, e) &&
           learn(&t, vocab_size, progress, e) && write_files(&t, max_length, folder, e);
    if (good)
        progress_step(progress, "learning tokens", vocab_size, vocab_size, NULL);
    release(&t);
    return good;
}
