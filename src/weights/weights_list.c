/* Building the list: what every reader of a format does with the tensors and words that it found. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/spill.h"
#include "weights/weights_internal.h"

#define SIZE_BOUND ((size_t)1 << 60)
#define WORDS_MAX_BYTES ((size_t)400000000)

struct words {
    struct words *before;
    size_t used, cap;
    char s[];
};

struct where weight_where(const char *path, const char *name)
{
    struct where w;
    snprintf(w.s, sizeof w.s, "%.300s: tensor \"%.200s\"", path, name);
    return w;
}

bool weight_size(enum dtype type, const struct shape *shape, size_t *bytes)
{
    size_t block = (size_t)dtype_block(type), bound = 1, count = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0)
            return false;
        size_t d = (size_t)shape->dim[i];
        if (__builtin_mul_overflow(bound, d ? d : 1, &bound) || bound > SIZE_BOUND)
            return false;
        count *= d;
    }
    if (count % block || bound > SIZE_BOUND / dtype_block_bytes(type))
        return false;
    *bytes = dtype_span(type, (int64_t)count);
    return true;
}

char *shard_word(struct shard *s, const char *text, size_t bytes, const char *path, struct err *e)
{
    enum { CHUNK = 65536 };
    struct words *last = s->words;
    if (!last || last->cap - last->used < bytes + 1) {
        size_t cap = bytes + 1 > CHUNK ? bytes + 1 : CHUNK;
        if (s->word_bytes > WORDS_MAX_BYTES - cap) {
            err_set(e, ERR_LIMIT, "%s: names and metadata of more than %zu bytes", path, WORDS_MAX_BYTES);
            return NULL;
        }
        if (!(last = mem_zeroed(1, sizeof *last + cap))) {
            err_nomem(e, path);
            return NULL;
        }
        *last = (struct words){ s->words, 0, cap };
        s->words = last;
        s->word_bytes += cap;
    }
    char *word = last->s + last->used;
    memcpy(word, text, bytes);
    word[bytes] = 0;
    last->used += bytes + 1;
    return word;
}

void shard_release(struct shard *s)
{
    file_unmap(&s->map);
    for (struct words *w = s->words; w;) {
        struct words *before = w->before;
        mem_free(w);
        w = before;
    }
    mem_pages_free(s->aligned, s->aligned ? s->aligned_bytes : 0);
    file_unmap(&s->spilled);
    mem_pages_free(s->gathered, s->gathered_bytes);
    *s = (struct shard){ 0 };
}

bool weights_add(struct weights *w, struct weight t, struct err *e)
{
    struct weight *grown = mem_grow(w->list, &w->cap, w->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "the list of tensors");
    w->list = grown;
    w->list[w->count++] = t;
    return true;
}

bool weights_add_pair(struct weights *w, struct shard *s, const char *key, size_t key_bytes, const char *value,
                      size_t value_bytes, const char *path, struct err *e)
{
    struct weights_pair *grown = mem_grow(w->metadata, &w->pairs_cap, w->pairs + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, path);
    w->metadata = grown;
    struct weights_pair pair = { .key = shard_word(s, key, key_bytes, path, e) };
    if (!pair.key || !(pair.value = shard_word(s, value, value_bytes, path, e)))
        return false;
    w->metadata[w->pairs++] = pair;
    return true;
}

static bool misplaced(const struct weight *t)
{
    return !dtype_is_quantised(t->type) && (uintptr_t)t->data % dtype_bytes(t->type) != 0; /* blocks are read by bytes */
}

static size_t rounded(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* The copies into a nameless file, a piece at a time; what is read of the file on the way is let go. */
static bool spill(struct weights *w, struct shard *s, size_t first, struct err *e)
{
    enum { PIECE = 8 << 20 };
    struct file_spill out;
    if (!file_spill_begin(&out, s->aligned_bytes, e))
        return false;
    size_t to = 0;
    for (size_t i = first; i < w->count; i++) {
        const struct weight *t = &w->list[i];
        size_t bytes = weight_bytes(t), from = (size_t)((const unsigned char *)t->data - s->map.data);
        if (!misplaced(t))
            continue;
        for (size_t at = 0; at < bytes; at += PIECE) {
            size_t n = bytes - at < PIECE ? bytes - at : PIECE;
            if (!file_spill_put(&out, to + at, s->map.data + from + at, n, e)) {
                file_spill_abandon(&out);
                return false;
            }
            file_map_forget(&s->map, from + at, n);
        }
        to += rounded(bytes);
    }
    return file_spill_map(&out, &s->spilled, e);
}

bool weights_align(struct weights *w, struct shard *s, size_t first, const char *path, struct err *e)
{
    struct err none = { 0 };
    for (size_t i = first; i < w->count; i++)
        if (misplaced(&w->list[i]))
            s->aligned_bytes += rounded(weight_bytes(&w->list[i]));
    if (!s->aligned_bytes)
        return true;
    bool spilled = s->aligned_bytes > WEIGHTS_ALIGNED_MOST && spill(w, s, first, &none);
    if (!spilled && !(s->aligned = mem_pages(s->aligned_bytes))) {
        s->aligned_bytes = 0;
        return err_nomem(e, path);
    }
    size_t to = 0;
    for (size_t i = first; i < w->count; i++) {
        struct weight *t = &w->list[i];
        size_t bytes = weight_bytes(t);
        if (!misplaced(t))
            continue;
        if (!spilled)
            memcpy((char *)s->aligned + to, t->data, bytes);
        t->data = spilled ? s->spilled.data + to : (unsigned char *)s->aligned + to;
        to += rounded(bytes);
    }
    return true;
}
