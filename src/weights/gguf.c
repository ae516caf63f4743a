/* One GGUF file: metadata as text, tensors where they lie. */
#include "weights/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/text.h"
#include "weights/weights_internal.h"

#define MAX_TENSORS ((uint64_t)1000000)
#define MAX_PAIRS ((uint64_t)1000000)
enum { LIST_SHOWN = 64, MAX_ALIGNMENT = 1 << 20, VALUE_MAX_BYTES = 1 << 20 };

static const struct { const char *name; int type; } types[] = { /* by ggml's number; -1: not read */
    { "F32", DTYPE_F32 },   { "F16", DTYPE_F16 },   { "Q4_0", DTYPE_Q4_0 }, { "Q4_1", DTYPE_Q4_1 }, { "Q4_2", -1 },
    { "Q4_3", -1 },         { "Q5_0", DTYPE_Q5_0 }, { "Q5_1", DTYPE_Q5_1 }, { "Q8_0", DTYPE_Q8_0 }, { "Q8_1", -1 },
    { "Q2_K", DTYPE_Q2_K }, { "Q3_K", DTYPE_Q3_K }, { "Q4_K", DTYPE_Q4_K }, { "Q5_K", DTYPE_Q5_K }, { "Q6_K", DTYPE_Q6_K },
    { "Q8_K", -1 },         { "IQ2_XXS", -1 },      { "IQ2_XS", -1 },       { "IQ3_XXS", -1 },      { "IQ1_S", -1 },
    { "IQ4_NL", -1 },       { "IQ3_S", -1 },        { "IQ2_S", -1 },        { "IQ4_XS", -1 },       { "I8", DTYPE_I8 },
    { "I16", DTYPE_I16 },   { "I32", DTYPE_I32 },   { "I64", DTYPE_I64 },   { "F64", DTYPE_F64 },   { "IQ1_M", -1 },
    { "BF16", DTYPE_BF16 }, { "Q4_0_4_4", -1 },     { "Q4_0_4_8", -1 },     { "Q4_0_8_8", -1 },     { "TQ1_0", -1 },
    { "TQ2_0", -1 },        { "IQ4_NL_4_4", -1 },   { "IQ4_NL_4_8", -1 },   { "IQ4_NL_8_8", -1 },   { "MXFP4", -1 },
    { "NVFP4", -1 },
};
enum { TYPES = sizeof types / sizeof *types };

enum dtype gguf_type(uint32_t number, const char **name)
{
    *name = number < TYPES ? types[number].name : NULL;
    return number < TYPES && types[number].type >= 0 ? (enum dtype)types[number].type : DTYPE_COUNT;
}

int gguf_number(enum dtype t)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == (int)t)
            return i;
    return -1;
}

struct reader {
    struct weights *w;
    struct shard *shard;
    const char *path;
    struct bytes b;
    struct text value;
    uint64_t alignment;
    bool has_true_shapes;
    struct err *e;
};

static bool cut(const struct reader *r, const char *where)
{
    return err_set(r->e, ERR_FORMAT, "%s: the GGUF file ends within %s: is it cut off?", r->path, where);
}

/* A text of the file: borrowed, not ended by 0. */
static const char *take_text(struct bytes *b, size_t *bytes)
{
    uint64_t n = bytes_u64(b);
    if (n > b->left) {
        b->short_by = true;
        return NULL;
    }
    *bytes = (size_t)n;
    return (const char *)bytes_take(b, *bytes);
}

static bool plain(const char *s, size_t bytes)
{
    return !memchr(s, 0, bytes) && utf8_valid(s, bytes);
}

/* Bytes of a number of this kind, 0 for texts and lists. */
static size_t kind_bytes(enum gguf_kind kind)
{
    static const unsigned char bytes[GGUF_KINDS] = { [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_BOOL] = 1, [GGUF_U16] = 2, [GGUF_I16] = 2,
                                                     [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4,  [GGUF_U64] = 8, [GGUF_I64] = 8,
                                                     [GGUF_F64] = 8 };
    return bytes[kind];
}

static void show_number(struct text *t, enum gguf_kind kind, uint64_t bits)
{
    float f;
    double d;
    uint32_t low = (uint32_t)bits;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    switch (kind) {
    case GGUF_I8: text_addf(t, "%d", (int8_t)bits); break;
    case GGUF_I16: text_addf(t, "%d", (int16_t)bits); break;
    case GGUF_I32: text_addf(t, "%d", (int32_t)bits); break;
    case GGUF_I64: text_addf(t, "%lld", (long long)bits); break;
    case GGUF_F32: text_addf(t, "%.9g", f); break;
    case GGUF_F64: text_addf(t, "%.17g", d); break;
    case GGUF_BOOL: text_add(t, bits ? "true" : "false"); break;
    default: text_addf(t, "%llu", (unsigned long long)bits); break;
    }
}

/* Texts of a list in quotes, with '"' and '\' behind a '\'. */
static void show_quoted(struct text *t, const char *s, size_t bytes)
{
    text_add(t, "\"");
    for (size_t i = 0; i < bytes; i++) {
        if (s[i] == '"' || s[i] == '\\')
            text_add(t, "\\");
        text_add_bytes(t, s + i, 1);
    }
    text_add(t, "\"");
}

/* A list of numbers or texts as "[1, 2, 3]"; of a long one the first LIST_SHOWN. */
static bool read_list(struct reader *r, const char *key, bool *keep)
{
    uint32_t kind = bytes_u32(&r->b);
    uint64_t count = bytes_u64(&r->b);
    size_t each = kind < GGUF_KINDS ? kind_bytes((enum gguf_kind)kind) : 0;
    if (r->b.short_by)
        return cut(r, "its metadata");
    if (kind >= GGUF_KINDS || kind == GGUF_LIST)
        return err_set(r->e, ERR_FORMAT, "%s: the metadata \"%.100s\" is a list of type %u, which is not read", r->path, key, kind);
    if (count > r->b.left / (each ? each : 8))
        return cut(r, "a list of its metadata");
    text_add(&r->value, "[");
    for (uint64_t i = 0; i < count; i++) {
        bool shown = i < LIST_SHOWN;
        size_t bytes = 0;
        if (shown && i)
            text_add(&r->value, ", ");
        if (each && !shown) {
            (void)bytes_take(&r->b, (size_t)(count - i) * each);
            break;
        }
        if (each) {
            show_number(&r->value, (enum gguf_kind)kind, bytes_u(&r->b, each));
            continue;
        }
        const char *s = take_text(&r->b, &bytes);
        if (!s)
            return cut(r, "a list of its metadata");
        *keep = *keep && plain(s, bytes);
        if (shown)
            show_quoted(&r->value, s, bytes);
    }
    if (count > LIST_SHOWN)
        text_addf(&r->value, ", ... %llu in all", (unsigned long long)count);
    text_add(&r->value, "]");
    return true;
}

/* One pair of the metadata. A value that is no valid text is not kept. */
static bool read_pair(struct reader *r)
{
    size_t key_bytes = 0, bytes = 0;
    const char *key = take_text(&r->b, &key_bytes);
    uint32_t kind = bytes_u32(&r->b);
    if (r->b.short_by)
        return cut(r, "its metadata");
    if (key_bytes > 65535 || !plain(key, key_bytes))
        return err_set(r->e, ERR_FORMAT, "%s: a key of the metadata is not UTF-8 of at most 65535 bytes", r->path);
    if (kind >= GGUF_KINDS)
        return err_set(r->e, ERR_FORMAT, "%s: the metadata \"%.*s\" has the unknown type %u", r->path,
                       (int)(key_bytes < 100 ? key_bytes : 100), key, kind);
    char name[101];
    snprintf(name, sizeof name, "%.*s", (int)(key_bytes < 100 ? key_bytes : 100), key);
    bool keep = true;
    text_clear(&r->value);
    if (kind == GGUF_LIST) {
        if (!read_list(r, name, &keep))
            return false;
    } else if (kind == GGUF_TEXT) {
        const char *s = take_text(&r->b, &bytes);
        if (!s)
            return cut(r, "its metadata");
        keep = plain(s, bytes);
        text_add_bytes(&r->value, s, bytes);
    } else {
        uint64_t bits = bytes_u(&r->b, kind_bytes((enum gguf_kind)kind));
        show_number(&r->value, (enum gguf_kind)kind, bits);
        if (!strcmp(name, "general.alignment")) {
            if (kind != GGUF_U32 || bits == 0 || bits > MAX_ALIGNMENT || (bits & (bits - 1)))
                return err_set(r->e, ERR_FORMAT, "%s: general.alignment is no power of two up to %d", r->path, MAX_ALIGNMENT);
            r->alignment = bits;
        }
    }
    if (r->b.short_by)
        return cut(r, "its metadata");
    if (r->value.failed)
        return err_set(r->e, r->value.length + 65536 > VALUE_MAX_BYTES ? ERR_LIMIT : ERR_NOMEM,
                       "%s: the metadata \"%s\" is longer than %d bytes, or memory is out", r->path, name, VALUE_MAX_BYTES);
    r->has_true_shapes |= !strncmp(name, GGUF_TRUE_SHAPE, strlen(GGUF_TRUE_SHAPE));
    return !keep || weights_add_pair(r->w, r->shard, key, key_bytes, text_string(&r->value), r->value.length, r->path, r->e);
}

/* A tensor as the header tells it; data is its offset for now. */
static bool read_tensor(struct reader *r, struct weight *t, uint64_t *offset)
{
    size_t name_bytes = 0;
    const char *name = take_text(&r->b, &name_bytes), *type_name;
    uint32_t rank = bytes_u32(&r->b);
    if (r->b.short_by)
        return cut(r, "its list of tensors");
    if (name_bytes > 65535 || !plain(name, name_bytes))
        return err_set(r->e, ERR_FORMAT, "%s: the name of a tensor is not UTF-8 of at most 65535 bytes", r->path);
    if (!(t->name = shard_word(r->shard, name, name_bytes, r->path, r->e)))
        return false;
    struct where at = weight_where(r->path, t->name);
    if (rank > SHAPE_MAX_RANK)
        return err_set(r->e, ERR_LIMIT, "%s: %u dimensions, at most %d are read", at.s, rank, SHAPE_MAX_RANK);
    t->shape = (struct shape){ .rank = (int)rank };
    for (int i = (int)rank - 1; i >= 0; i--) {
        uint64_t d = bytes_u64(&r->b);
        if (d > INT64_MAX)
            return err_set(r->e, ERR_FORMAT, "%s: a dimension of %llu", at.s, (unsigned long long)d);
        t->shape.dim[i] = (int64_t)d;
    }
    uint32_t number = bytes_u32(&r->b);
    *offset = bytes_u64(&r->b);
    if (r->b.short_by)
        return cut(r, "its list of tensors");
    t->type = gguf_type(number, &type_name);
    if (t->type == DTYPE_COUNT && type_name)
        return err_set(r->e, ERR_TYPE, "%s: the type %s is not one that is read here", at.s, type_name);
    if (t->type == DTYPE_COUNT)
        return err_set(r->e, ERR_TYPE, "%s: the type number %u is unknown", at.s, number);
    size_t bytes;
    if (!weight_size(t->type, &t->shape, &bytes) || shape_last(t->shape) % dtype_block(t->type))
        return err_set(r->e, ERR_FORMAT, "%s: the shape %s is too large for any file, or its rows are no whole blocks of %s", at.s,
                       shape_text(t->shape).s, dtype_name(t->type));
    return true;
}

struct placed {
    struct weight weight;
    uint64_t offset;
};

static int by_offset(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return strcmp(x->weight.name, y->weight.name);
}

/* Everything behind the header: places, and that none overlap. */
static bool place(struct reader *r, struct placed *list, size_t count)
{
    const struct file_map *m = &r->shard->map;
    uint64_t begin = (m->bytes - r->b.left + r->alignment - 1) / r->alignment * r->alignment, end = 0;
    uint64_t room = begin < m->bytes ? m->bytes - begin : 0;
    if (count)
        qsort(list, count, sizeof *list, by_offset);
    for (size_t i = 0; i < count; i++) {
        struct weight *t = &list[i].weight;
        struct where at = weight_where(r->path, t->name);
        uint64_t offset = list[i].offset;
        size_t bytes = weight_bytes(t);
        if (offset % r->alignment)
            return err_set(r->e, ERR_FORMAT, "%s: its offset %llu is no multiple of %llu", at.s, (unsigned long long)offset,
                           (unsigned long long)r->alignment);
        if (offset > room || bytes > room - offset)
            return err_set(r->e, ERR_FORMAT, "%s: ends behind the file's end: is it cut off?", at.s);
        if (offset < end)
            return err_set(r->e, ERR_FORMAT, "%s: begins at byte %llu of the data, but the one before it ends at %llu: they overlap",
                           at.s, (unsigned long long)offset, (unsigned long long)end);
        end = offset + bytes;
        t->data = bytes ? m->data + begin + offset : m->data;
        if (!weights_add(r->w, *t, r->e))
            return false;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct weight *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* "[2, 32, 3, 8]" */
static bool read_shape(const char *s, struct shape *shape)
{
    *shape = (struct shape){ 0 };
    char *end;
    while (*s == '[' || *s == ',') {
        long long d = strtoll(++s, &end, 10);
        if (end == s || d < 0 || shape->rank == SHAPE_MAX_RANK)
            return false;
        shape->dim[shape->rank++] = d;
        s = end;
    }
    return *s == ']';
}

/* Gives tensors that were stored as rows of blocks the shape that the metadata tell. */
static bool true_shapes(struct reader *r, size_t first, size_t first_pair)
{
    struct weights *w = r->w;
    size_t count = w->count - first;
    struct weight **order = mem_zeroed(count, sizeof *order);
    bool good = order || err_nomem(r->e, r->path);
    for (size_t i = 0; good && i < count; i++)
        order[i] = &w->list[first + i];
    if (good && count)
        qsort(order, count, sizeof *order, by_name);
    for (size_t i = first_pair; good && count && i < w->pairs; i++) {
        if (strncmp(w->metadata[i].key, GGUF_TRUE_SHAPE, strlen(GGUF_TRUE_SHAPE)))
            continue;
        const struct weight wanted = { .name = w->metadata[i].key + strlen(GGUF_TRUE_SHAPE) }, *key = &wanted;
        struct weight **found = bsearch(&key, order, count, sizeof *order, by_name);
        struct shape shape;
        size_t bytes;
        if (!found)
            continue;
        struct weight *t = *found;
        if (!read_shape(w->metadata[i].value, &shape) || !weight_size(t->type, &shape, &bytes) || bytes != weight_bytes(t) ||
            shape_count(shape) != shape_count(t->shape))
            good = err_set(r->e, ERR_FORMAT, "%s: the metadata give it the shape %.60s, but it holds %s",
                           weight_where(r->path, t->name).s, w->metadata[i].value, shape_text(t->shape).s);
        else
            t->shape = shape;
    }
    mem_free(order);
    return good;
}

static bool read_all(struct reader *r)
{
    size_t first = r->w->count, first_pair = r->w->pairs;
    (void)bytes_u32(&r->b);
    uint32_t version = bytes_u32(&r->b);
    uint64_t tensors = bytes_u64(&r->b), pairs = bytes_u64(&r->b);
    if (r->b.short_by)
        return cut(r, "its header");
    if (version != 2 && version != 3)
        return err_set(r->e, ERR_FORMAT, "%s: GGUF version %u%s, 2 and 3 are read", r->path, version,
                       version && !(version & 0xFFFF) ? " (a big-endian file?)" : "");
    if (tensors > MAX_TENSORS || pairs > MAX_PAIRS)
        return err_set(r->e, ERR_LIMIT, "%s: %llu tensors and %llu metadata, at most %llu of each are read", r->path,
                       (unsigned long long)tensors, (unsigned long long)pairs, (unsigned long long)MAX_TENSORS);
    for (uint64_t i = 0; i < pairs; i++)
        if (!read_pair(r))
            return false;
    if (tensors > r->b.left / 24)
        return cut(r, "its list of tensors");
    struct placed *list = mem_zeroed((size_t)tensors, sizeof *list);
    bool good = list || err_nomem(r->e, r->path);
    for (uint64_t i = 0; good && i < tensors; i++)
        good = read_tensor(r, &list[i].weight, &list[i].offset);
    good = good && place(r, list, (size_t)tensors) && (!r->has_true_shapes || true_shapes(r, first, first_pair));
    mem_free(list);
    return good;
}

bool gguf_is(const struct file_map *m)
{
    return m->bytes >= 4 && !memcmp(m->data, "GGUF", 4);
}

bool gguf_add(struct weights *w, struct shard *s, const char *path, struct err *e)
{
    struct reader r = { .w = w, .shard = s, .path = path, .b = bytes_of(s->map.data, s->map.bytes), .alignment = GGUF_ALIGNMENT,
                        .e = e };
    text_init(&r.value, VALUE_MAX_BYTES);
    bool good = read_all(&r);
    text_release(&r.value);
    return good;
}
