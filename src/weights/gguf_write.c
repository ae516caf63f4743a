/* The header of a GGUF file (gguf.h). */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "weights/gguf.h"
#include "weights/weights_write_internal.h"

enum { MAX_RANK = 4, QUANTISATION_VERSION = 2 }; /* ggml's GGML_MAX_DIMS and GGML_QNT_VERSION */
#define HEADER_MAX_BYTES ((size_t)400000000)

static void put(struct text *t, uint64_t v, int bytes)
{
    unsigned char b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (unsigned char)(v >> 8 * i);
    text_add_bytes(t, b, (size_t)bytes);
}

static void put_text(struct text *t, const char *s)
{
    put(t, strlen(s), 8);
    text_add(t, s);
}

/* What the writer states itself; a caller that hands a file's metadata on has the old file's. */
static bool is_ours(const char *key)
{
    return !strcmp(key, "general.alignment") || !strcmp(key, "general.quantization_version") ||
           !strncmp(key, GGUF_TRUE_SHAPE, strlen(GGUF_TRUE_SHAPE));
}

/* Rows of a quantised tensor must be whole blocks. */
static bool needs_rows(const struct planned *p)
{
    return shape_last(p->shape) % dtype_block(p->type) != 0;
}

/* The shape as it is stored: its own, or rows of 256 numbers, or of one block where 256 do not go into it. */
static struct shape stored_shape(const struct planned *p)
{
    if (!needs_rows(p))
        return p->shape;
    int64_t count = shape_count(p->shape), row = count % 256 ? dtype_block(p->type) : 256;
    return SHAPE(count / row, row);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_keys(const struct weights_writer *w, const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    const char **keys = mem_zeroed(pairs, sizeof *keys);
    if (!keys)
        return err_nomem(e, w->file.path);
    bool good = true;
    for (size_t i = 0; good && i < pairs; i++) {
        keys[i] = metadata[i].key;
        if (!utf8_valid(keys[i], strlen(keys[i])) || !utf8_valid(metadata[i].value, strlen(metadata[i].value)))
            good = err_set(e, ERR_ARG, "%s: metadata %zu is not UTF-8", w->file.path, i);
    }
    if (good && pairs)
        qsort(keys, pairs, sizeof *keys, by_text);
    for (size_t i = 1; good && i < pairs; i++)
        if (!strcmp(keys[i], keys[i - 1]))
            good = err_set(e, ERR_ARG, "%s: the metadata \"%.100s\" is given twice", w->file.path, keys[i]);
    mem_free(keys);
    return good;
}

static bool check_tensor(const struct weights_writer *w, const struct planned *p, struct err *e)
{
    if (gguf_number(p->type) < 0)
        return err_set(e, ERR_TYPE, "%s: tensor \"%.200s\": GGUF has no type for %s", w->file.path, p->name, dtype_name(p->type));
    if (p->shape.rank > MAX_RANK)
        return err_set(e, ERR_ARG, "%s: tensor \"%.200s\": %s has more than %d dimensions", w->file.path, p->name,
                       shape_text(p->shape).s, MAX_RANK);
    return true;
}

static void add_metadata(struct text *t, const struct weights_writer *w, const struct weights_pair *metadata, size_t pairs)
{
    bool quantised = false;
    uint64_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        quantised |= dtype_is_quantised(w->list[i].type);
        count += needs_rows(&w->list[i]);
    }
    for (size_t i = 0; i < pairs; i++)
        count += !is_ours(metadata[i].key);
    put(t, count + quantised, 8);
    for (size_t i = 0; i < pairs; i++) {
        if (is_ours(metadata[i].key))
            continue;
        put_text(t, metadata[i].key);
        put(t, GGUF_TEXT, 4);
        put_text(t, metadata[i].value);
    }
    if (quantised) {
        put_text(t, "general.quantization_version");
        put(t, GGUF_U32, 4);
        put(t, QUANTISATION_VERSION, 4);
    }
    for (size_t i = 0; i < w->count; i++) {
        const struct planned *p = &w->list[i];
        if (!needs_rows(p))
            continue;
        put(t, strlen(GGUF_TRUE_SHAPE) + strlen(p->name), 8);
        text_add(t, GGUF_TRUE_SHAPE);
        text_add(t, p->name);
        put(t, GGUF_LIST, 4);
        put(t, GGUF_I32, 4);
        put(t, (uint64_t)p->shape.rank, 8);
        for (int k = 0; k < p->shape.rank; k++)
            put(t, (uint64_t)p->shape.dim[k], 4);
    }
}

static void add_tensors(struct text *t, struct weights_writer *w)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct planned *p = &w->list[i];
        struct shape shape = stored_shape(p);
        put_text(t, p->name);
        put(t, (uint64_t)shape.rank, 4);
        for (int k = shape.rank - 1; k >= 0; k--)
            put(t, (uint64_t)shape.dim[k], 8);
        put(t, (uint64_t)gguf_number(p->type), 4);
        put(t, offset, 8);
        p->gap_bytes = -p->bytes % GGUF_ALIGNMENT;
        offset += p->bytes + p->gap_bytes;
    }
}

bool gguf_put_header(struct weights_writer *w, const struct weights_pair *metadata, size_t pairs, struct err *e)
{
    if (!check_keys(w, metadata, pairs, e))
        return false;
    for (size_t i = 0; i < w->count; i++)
        if (!check_tensor(w, &w->list[i], e))
            return false;
    struct text t;
    text_init(&t, HEADER_MAX_BYTES);
    text_add(&t, "GGUF");
    put(&t, GGUF_VERSION, 4);
    put(&t, w->count, 8);
    add_metadata(&t, w, metadata, pairs);
    add_tensors(&t, w);
    static const char zeros[GGUF_ALIGNMENT];
    text_add_bytes(&t, zeros, -t.length % GGUF_ALIGNMENT);
    bool good = !t.failed || (t.length < HEADER_MAX_BYTES / 2 ? err_nomem(e, w->file.path) : text_ok(&t, e));
    good = good && file_put(&w->file, t.s, t.length, e);
    text_release(&t);
    return good;
}
