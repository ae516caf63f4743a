/* Writing one file as a stream: the header is known before the first tensor. What both formats share, and safetensors' header;
 * GGUF's is in gguf_write.c. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "weights/weights_write_internal.h"

/* Upstream's order: by its list of types from the last (the wider ones, so that none needs padding), then by name. */
static int rank_of(enum dtype type)
{
    static const enum dtype order[] = { DTYPE_I64, DTYPE_F64,     DTYPE_F32,     DTYPE_I32, DTYPE_BF16, DTYPE_F16,
                                        DTYPE_I16, DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_I8, DTYPE_U8, DTYPE_BOOL };
    _Static_assert(sizeof order / sizeof *order == DTYPE_Q4_0, "a type with a safetensors name and no place");
    int at = 0;
    while (order[at] != type)
        at++;
    return at;
}

static int by_type_and_name(const void *a, const void *b)
{
    const struct planned *x = a, *y = b;
    int difference = rank_of(x->type) - rank_of(y->type);
    return difference ? difference : strcmp(x->name, y->name);
}

static void release(struct weights_writer *w)
{
    for (size_t i = 0; i < w->count; i++)
        mem_free(w->list[i].name);
    mem_free(w->list);
    mem_free(w);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct planned *)a)->name, ((const struct planned *)b)->name);
}

static int by_entry(const void *a, const void *b)
{
    const struct planned *x = a, *y = b;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

static bool plan(struct weights_writer *w, const struct weights_entry *entries, size_t count, struct err *e)
{
    const char *path = w->file.path;
    if (!(w->list = mem_zeroed(count, sizeof *w->list)))
        return err_nomem(e, path);
    for (size_t i = 0; i < count; i++) {
        const struct weights_entry *x = &entries[i];
        struct planned *p = &w->list[i];
        if (!utf8_valid(x->name, strlen(x->name)) || !strcmp(x->name, "__metadata__"))
            return err_set(e, ERR_ARG, "%s: tensor %zu cannot have the name \"%.100s\"", path, i, x->name);
        if (x->shape.rank < 0 || x->shape.rank > SHAPE_MAX_RANK || x->type >= DTYPE_COUNT)
            return err_set(e, ERR_ARG, "%s: tensor \"%.200s\": a bad rank or type", path, x->name);
        if (w->format == WEIGHTS_SAFETENSORS && !dtype_file_name(x->type))
            return err_set(e, ERR_TYPE, "%s: tensor \"%.200s\": safetensors has no type for %s: write GGUF, or convert it", path,
                           x->name, dtype_name(x->type));
        *p = (struct planned){ .name = mem_string(x->name), .type = x->type, .shape = x->shape, .entry = i };
        if (!p->name)
            return err_nomem(e, path);
        w->count++;
        if (!weight_size(x->type, &x->shape, &p->bytes))
            return err_set(e, ERR_ARG, "%s: tensor \"%.200s\": the shape %s", path, x->name, shape_text(x->shape).s);
    }
    if (count)
        qsort(w->list, count, sizeof *w->list, by_name);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(w->list[i].name, w->list[i - 1].name))
            return err_set(e, ERR_ARG, "%s: the tensor \"%.200s\" is given twice", path, w->list[i].name);
    if (count)
        qsort(w->list, count, sizeof *w->list, w->format == WEIGHTS_GGUF ? by_entry : by_type_and_name);
    return true;
}

/* The header as JSON, or NULL. */
static json_t *describe(const struct weights_writer *w, const struct weights_pair *metadata, size_t pairs)
{
    json_t *header = json_object(), *words = pairs ? json_object() : NULL;
    bool good = header && (words || !pairs);
    for (size_t i = 0; good && i < pairs; i++)
        good = json_object_set_new(words, metadata[i].key, json_string(metadata[i].value)) == 0;
    if (good && pairs)
        good = json_object_set(header, "__metadata__", words) == 0;
    json_decref(words);
    size_t at = 0;
    for (size_t i = 0; good && i < w->count; i++) {
        const struct planned *p = &w->list[i];
        json_t *dims = json_array();
        for (int k = 0; good && k < p->shape.rank; k++)
            good = json_array_append_new(dims, json_integer(p->shape.dim[k])) == 0;
        json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_file_name(p->type), "shape", dims,
                                 "data_offsets", (json_int_t)at, (json_int_t)(at + p->bytes));
        good = json_object_set_new(header, p->name, info) == 0 && good;
        at += p->bytes;
    }
    if (good)
        return header;
    json_decref(header);
    return NULL;
}

static bool put_header(struct weights_writer *w, const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    for (size_t i = 0; i < pairs; i++)
        if (!utf8_valid(metadata[i].key, strlen(metadata[i].key)) ||
            !utf8_valid(metadata[i].value, strlen(metadata[i].value)))
            return err_set(e, ERR_ARG, "%s: metadata %zu is not UTF-8", w->file.path, i);
    json_t *header = describe(w, metadata, pairs);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text)
        return err_nomem(e, w->file.path);
    size_t length = strlen(text), padded = (length + 7) & ~(size_t)7;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(padded >> 8 * i);
    bool good = padded <= WEIGHTS_HEADER_MAX_BYTES ||
                err_set(e, ERR_LIMIT, "%s: a header of %zu bytes, at most %zu can be read", w->file.path, padded,
                        WEIGHTS_HEADER_MAX_BYTES);
    good = good && file_put(&w->file, prefix, sizeof prefix, e) && file_put(&w->file, text, length, e) &&
           file_put(&w->file, "       ", padded - length, e);
    free(text);
    return good;
}

struct weights_writer *weights_write_begin_as(enum weights_format format, const char *path, const struct weights_entry *entries,
                                              size_t count, const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    struct weights_writer *w = mem_zeroed(1, sizeof *w);
    if (!w) {
        err_nomem(e, path);
        return NULL;
    }
    w->format = format;
    if (!file_begin(&w->file, path, e)) {
        mem_free(w);
        return NULL;
    }
    if (!plan(w, entries, count, e) ||
        !(format == WEIGHTS_GGUF ? gguf_put_header(w, metadata, pairs, e) : put_header(w, metadata, pairs, e))) {
        weights_write_abandon(w);
        return NULL;
    }
    return w;
}

struct weights_writer *weights_write_begin(const char *path, const struct weights_entry *entries, size_t count,
                                           const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    return weights_write_begin_as(WEIGHTS_SAFETENSORS, path, entries, count, metadata, pairs, e);
}

size_t weights_writer_at(const struct weights_writer *w, size_t i)
{
    return w->list[i].entry;
}

/* The zeros behind a tensor. */
static bool put_gap(struct weights_writer *w, const struct planned *p, struct err *e)
{
    static const char zeros[64];
    return !p->gap_bytes || file_put(&w->file, zeros, p->gap_bytes, e);
}

bool weights_write_piece(struct weights_writer *w, size_t entry, const void *data, size_t bytes, struct err *e)
{
    if (w->next == w->count || w->list[w->next].entry != entry)
        return err_set(e, ERR_ARG, "%s: tensor %zu is written out of order", w->file.path, entry);
    const struct planned *p = &w->list[w->next];
    if (bytes > p->bytes - w->written)
        return err_set(e, ERR_ARG, "%s: more than the %zu bytes of \"%.200s\"", w->file.path, p->bytes, p->name);
    if (bytes && !file_put(&w->file, data, bytes, e))
        return err_add(e, "writing the tensor \"%.200s\"", p->name);
    w->written += bytes;
    if (w->written == p->bytes) {
        w->written = 0;
        w->next++;
        return put_gap(w, p, e);
    }
    return true;
}

bool weights_write_tensor(struct weights_writer *w, size_t entry, const void *data, struct err *e)
{
    return weights_write_piece(w, entry, data, w->next < w->count ? w->list[w->next].bytes : 0, e);
}

bool weights_write_converted(struct weights_writer *w, size_t entry, const void *data, enum dtype type, struct err *e)
{
    enum { PIECE = 1 << 20 }; /* whole blocks of every type */
    const struct planned *p = w->next < w->count ? &w->list[w->next] : NULL;
    int64_t count = p ? shape_count(p->shape) : 0;
    if (count == 0)
        return weights_write_piece(w, entry, data, 0, e);
    void *piece = mem_aligned(dtype_span(p->type, PIECE));
    bool good = piece || err_nomem(e, w->file.path);
    for (int64_t i = 0; good && i < count; i += PIECE) {
        int64_t n = count - i < PIECE ? count - i : PIECE;
        good = dtype_convert(piece, p->type, (const char *)data + dtype_span(type, i), type, (size_t)n)
                   ? weights_write_piece(w, entry, piece, dtype_span(p->type, n), e)
                   : err_set(e, ERR_TYPE, "%s: \"%.200s\" is %s and cannot become %s", w->file.path, p->name, dtype_name(type),
                             dtype_name(p->type));
    }
    mem_free(piece);
    return good;
}

bool weights_write_commit(struct weights_writer *w, struct err *e)
{
    bool good = false;
    if (w->next != w->count) {
        err_set(e, ERR_ARG, "%s: %zu of %zu tensors were written", w->file.path, w->next, w->count);
        file_abandon(&w->file);
    } else {
        good = file_commit(&w->file, e);
    }
    release(w);
    return good;
}

void weights_write_abandon(struct weights_writer *w)
{
    if (!w)
        return;
    file_abandon(&w->file);
    release(w);
}

bool weights_save(const char *path, const struct weights_entry *entries, const void *const *data, size_t count,
                  const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    struct weights_writer *w = weights_write_begin(path, entries, count, metadata, pairs, e);
    if (!w)
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t entry = weights_writer_at(w, i);
        if (!weights_write_tensor(w, entry, data[entry], e)) {
            weights_write_abandon(w);
            return false;
        }
    }
    return weights_write_commit(w, e);
}
