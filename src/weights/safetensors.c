/* One safetensors file: from bytes that anybody may have written to a checked list of tensors. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/weights_internal.h"

struct entry {
    const char *name;
    const json_t *info;
    int64_t begin, end;
    size_t order; /* place in the header */
};

static int by_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static bool read_offsets(struct entry *t, const char *path, struct err *e)
{
    struct where at = weight_where(path, t->name);
    const json_t *offsets = json_object_get(t->info, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return err_set(e, ERR_FORMAT, "%s: \"data_offsets\" must be [begin, end]", at.s);
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (!json_is_integer(begin) || !json_is_integer(end))
        return err_set(e, ERR_FORMAT, "%s: \"data_offsets\" must be whole numbers", at.s);
    t->begin = json_integer_value(begin);
    t->end = json_integer_value(end);
    if (t->begin < 0 || t->end < t->begin)
        return err_set(e, ERR_FORMAT, "%s: \"data_offsets\" are [%lld, %lld]", at.s, (long long)t->begin,
                       (long long)t->end);
    return true;
}

static bool read_shape(const struct entry *t, const char *path, struct shape *shape, struct err *e)
{
    struct where at = weight_where(path, t->name);
    const json_t *dims = json_object_get(t->info, "shape");
    if (!json_is_array(dims))
        return err_set(e, ERR_FORMAT, "%s: \"shape\" must be a list", at.s);
    size_t rank = json_array_size(dims);
    if (rank > SHAPE_MAX_RANK)
        return err_set(e, ERR_LIMIT, "%s: %zu dimensions, at most %d are read", at.s, rank, SHAPE_MAX_RANK);
    *shape = (struct shape){ .rank = (int)rank };
    for (size_t i = 0; i < rank; i++) {
        const json_t *d = json_array_get(dims, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return err_set(e, ERR_FORMAT, "%s: dimension %zu of \"shape\" is not a size", at.s, i);
        shape->dim[i] = json_integer_value(d);
    }
    return true;
}

/* Type, shape and size of one tensor, whose bytes must follow the `expected` ones before it. */
static bool read_entry(const struct entry *t, const char *path, int64_t expected, struct weight *out, struct err *e)
{
    struct where at = weight_where(path, t->name);
    const json_t *type = json_object_get(t->info, "dtype");
    if (!json_is_string(type))
        return err_set(e, ERR_FORMAT, "%s: \"dtype\" must be a string", at.s);
    out->type = dtype_of_file_name(json_string_value(type));
    if (out->type == DTYPE_COUNT)
        return err_set(e, ERR_TYPE, "%s: the type \"%.20s\" is not one that is read here", at.s,
                       json_string_value(type));
    if (!read_shape(t, path, &out->shape, e))
        return false;
    size_t bytes;
    if (!weight_size(out->type, &out->shape, &bytes))
        return err_set(e, ERR_FORMAT, "%s: the shape %s is too large for any file", at.s, shape_text(out->shape).s);
    if ((uint64_t)(t->end - t->begin) != bytes)
        return err_set(e, ERR_FORMAT, "%s: %s of %s needs %zu bytes, \"data_offsets\" give it %lld", at.s,
                       shape_text(out->shape).s, dtype_file_name(out->type), bytes, (long long)(t->end - t->begin));
    if (t->begin != expected)
        return err_set(e, ERR_FORMAT, "%s: begins at byte %lld, but the one before it ends at %lld: %s", at.s,
                       (long long)t->begin, (long long)expected, t->begin < expected ? "they overlap" : "a gap");
    return true;
}

static bool add_metadata(struct weights *w, struct shard *s, json_t *metadata, const char *path, struct err *e)
{
    if (!json_is_object(metadata))
        return err_set(e, ERR_FORMAT, "%s: \"__metadata__\" must be an object", path);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return err_set(e, ERR_FORMAT, "%s: \"__metadata__\": \"%.100s\" must be a string", path, key);
        if (!weights_add_pair(w, s, key, strlen(key), json_string_value(value), json_string_length(value), path, e))
            return false;
    }
    return true;
}

/* Checks all entries against each other and the file's end, and appends them to w in the order of their bytes. The data
 * begins at byte data_at of the file. */
static bool add_tensors(struct weights *w, struct shard *s, struct entry *entries, size_t count, size_t data_at,
                        const char *path, struct err *e)
{
    qsort(entries, count, sizeof *entries, by_place);
    int64_t at = 0, room = (int64_t)(s->map.bytes - data_at);
    for (size_t i = 0; i < count; i++) {
        struct weight t;
        if (entries[i].end > room)
            return err_set(e, ERR_FORMAT, "%s ends at byte %lld of the data, but the file has only %lld: is it cut off?",
                           weight_where(path, entries[i].name).s, (long long)entries[i].end, (long long)room);
        if (!read_entry(&entries[i], path, at, &t, e))
            return false;
        t.name = shard_word(s, entries[i].name, strlen(entries[i].name), path, e);
        t.data = s->map.data + data_at + entries[i].begin;
        if (!t.name || !weights_add(w, t, e))
            return false;
        at = entries[i].end;
    }
    if (at != room)
        return err_set(e, ERR_FORMAT, "%s: the tensors take %lld bytes, the file has %lld", path, (long long)at,
                       (long long)room);
    return true;
}

static bool add_header(struct weights *w, struct shard *s, json_t *header, size_t data_at, const char *path, struct err *e)
{
    if (!json_is_object(header))
        return err_set(e, ERR_FORMAT, "%s: the header must be a JSON object", path);
    size_t count = json_object_size(header);
    struct entry *entries = mem_zeroed(count, sizeof *entries);
    bool good = entries || err_nomem(e, path);
    const char *key;
    json_t *value;
    count = 0;
    json_object_foreach(header, key, value) {
        if (!good)
            break;
        if (!strcmp(key, "__metadata__")) {
            good = add_metadata(w, s, value, path, e);
            continue;
        }
        struct entry *t = &entries[count];
        *t = (struct entry){ .name = key, .info = value, .order = count };
        count++;
        good = json_is_object(value) ? read_offsets(t, path, e)
                                     : err_set(e, ERR_FORMAT, "%s: must be an object", weight_where(path, key).s);
    }
    good = good && add_tensors(w, s, entries, count, data_at, path, e);
    mem_free(entries);
    return good;
}

bool safetensors_add(struct weights *w, struct shard *s, const char *path, struct err *e)
{
    struct bytes b = bytes_of(s->map.data, s->map.bytes);
    uint64_t length = bytes_u64(&b);
    if (b.short_by)
        return err_set(e, ERR_FORMAT, "%s: %zu bytes are not a safetensors file", path, s->map.bytes);
    if (length > WEIGHTS_HEADER_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: a header of %llu bytes, at most %zu are read (is it a safetensors file?)", path,
                       (unsigned long long)length, WEIGHTS_HEADER_MAX_BYTES);
    const char *text = (const char *)bytes_take(&b, (size_t)length);
    if (!text)
        return err_set(e, ERR_FORMAT, "%s: a header of %llu bytes in a file of %zu: is it cut off?", path,
                       (unsigned long long)length, s->map.bytes);
    if (length == 0 || text[0] != '{')
        return err_set(e, ERR_FORMAT, "%s: the header must be a JSON object", path);
    json_t *header = json_parse(text, (size_t)length, path, e);
    if (!header)
        return false;
    bool good = add_header(w, s, header, 8 + (size_t)length, path, e);
    json_decref(header);
    return good;
}
