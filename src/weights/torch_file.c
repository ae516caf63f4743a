/* Files of PyTorch: the zip that torch.save writes since 1.6 (data.pkl, and data/N for each storage) and the row of pickles with
 * the storages behind them that it wrote before.
 *
 * source  torch/serialization.py (_save, _legacy_save) and torch/_utils.py (_rebuild_tensor_v2) of PyTorch 2.13.
 * names   Keys of nested dictionaries and places in lists are joined with '.'. What a training wraps around its model is taken
 *         off: a dictionary under "state_dict", else one under "model" that holds tensors, else one that is all there is; what
 *         lies beside it (an optimizer's state) is not listed. Texts and numbers of the outermost dictionary are metadata.
 * copies  A tensor is mapped where it lies. One that is a transposed or otherwise strided view is copied into row-major order
 *         when the file is opened, as long as all copies together are no larger than the file. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "weights/unpickle.h"
#include "weights/weights_internal.h"
#include "base/zip.h"

enum { MAX_DEPTH = 32, MAX_NAME = 1000 };

/* Where a storage's numbers are. */
struct place {
    const unsigned char *data;
    size_t bytes;
};

struct named {
    const char *name;    /* a word of the shard */
    uint32_t tensor;
    const unsigned char *data; /* where its storage has it */
    bool strided;
};

struct reader {
    const char *path;
    struct shard *shard;
    struct pickle pickle;
    struct place *places; /* one per storage */
    struct named *list;
    size_t count, cap, steps;
    char name[MAX_NAME + 1]; /* of the value that is walked now */
    size_t name_bytes;
    struct err *e;
};

static bool broken(const struct reader *r, const char *what)
{
    return err_set(r->e, ERR_FORMAT, "%s: %s", r->path, what);
}

/* ---- names ---- */

static bool add_name(struct reader *r, uint32_t tensor)
{
    struct named *grown = mem_grow(r->list, &r->cap, r->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(r->e, r->path);
    r->list = grown;
    const char *name = shard_word(r->shard, r->name, r->name_bytes, r->path, r->e);
    r->list[r->count] = (struct named){ .name = name, .tensor = tensor };
    r->count += name != NULL;
    return name != NULL;
}

/* Appends a key to the name; *usable is false for a key that is neither a text nor a number. */
static bool enter(struct reader *r, const struct pickle_value *key, bool *usable)
{
    char number[24];
    const char *s = number;
    size_t bytes;
    *usable = key->kind == PICKLE_TEXT || key->kind == PICKLE_INT;
    if (!*usable)
        return true;
    if (key->kind == PICKLE_INT) {
        bytes = (size_t)snprintf(number, sizeof number, "%lld", (long long)key->number);
    } else {
        s = key->text.s;
        bytes = key->text.bytes;
        if (memchr(s, 0, bytes) || !utf8_valid(s, bytes))
            return broken(r, "a name in it is not UTF-8");
    }
    if (r->name_bytes + 1 + bytes > MAX_NAME)
        return err_set(r->e, ERR_LIMIT, "%s: a name of more than %d bytes: \"%.60s...\"", r->path, MAX_NAME, r->name);
    if (r->name_bytes)
        r->name[r->name_bytes++] = '.';
    memcpy(r->name + r->name_bytes, s, bytes);
    r->name_bytes += bytes;
    r->name[r->name_bytes] = 0;
    return true;
}

static bool walk(struct reader *r, const struct pickle_value *v, int depth)
{
    const struct pickle *p = &r->pickle;
    size_t before = r->name_bytes;
    if (++r->steps > PICKLE_MAX_OPS || depth > MAX_DEPTH)
        return err_set(r->e, ERR_LIMIT, "%s: dictionaries more than %d deep, or one that holds itself", r->path, MAX_DEPTH);
    if (v->kind == PICKLE_TENSOR)
        return add_name(r, (uint32_t)v->number);
    if (v->kind != PICKLE_DICT && v->kind != PICKLE_LIST && v->kind != PICKLE_TUPLE)
        return true;
    size_t each = v->kind == PICKLE_DICT ? 2 : 1;
    for (size_t i = 0; i + each <= v->items.count; i += each) {
        struct pickle_value place = { .kind = PICKLE_INT, .number = (int64_t)i };
        const struct pickle_value *key = each == 2 ? &p->values[v->items.at[i]] : &place;
        bool usable;
        if (!enter(r, key, &usable) || (usable && !walk(r, &p->values[v->items.at[i + each - 1]], depth + 1)))
            return false;
        r->name[r->name_bytes = before] = 0;
    }
    return true;
}

static bool holds_tensors(const struct pickle *p, const struct pickle_value *v)
{
    if (v && v->kind == PICKLE_DICT)
        for (size_t i = 0; i + 1 < v->items.count; i += 2)
            if (p->values[v->items.at[i + 1]].kind == PICKLE_TENSOR)
                return true;
    return false;
}

/* The dictionary of the model in what was saved. */
static const struct pickle_value *unwrap(const struct pickle *p, const struct pickle_value *top)
{
    const struct pickle_value *state = pickle_get(p, top, "state_dict"), *model = pickle_get(p, top, "model");
    if (state && state->kind == PICKLE_DICT)
        return state;
    if (holds_tensors(p, model))
        return model;
    if (top->kind == PICKLE_DICT && top->items.count == 2 && p->values[top->items.at[1]].kind == PICKLE_DICT)
        return &p->values[top->items.at[1]];
    return top;
}

/* ---- metadata ---- */

/* The value as text; borrowed from v or from room. NULL: not a fact to keep. */
static const char *value_text(const struct pickle_value *v, char room[40], size_t *bytes)
{
    switch (v->kind) {
    case PICKLE_TEXT:
        *bytes = v->text.bytes;
        return !memchr(v->text.s, 0, v->text.bytes) && utf8_valid(v->text.s, v->text.bytes) ? v->text.s : NULL;
    case PICKLE_INT: *bytes = (size_t)snprintf(room, 40, "%lld", (long long)v->number); return room;
    case PICKLE_FLOAT: *bytes = (size_t)snprintf(room, 40, "%.17g", v->real); return room;
    case PICKLE_BOOL: *bytes = (size_t)snprintf(room, 40, "%s", v->number ? "true" : "false"); return room;
    default: return NULL;
    }
}

static bool add_metadata(struct reader *r, struct weights *w, const struct pickle_value *top)
{
    const struct pickle *p = &r->pickle;
    for (size_t i = 0; top->kind == PICKLE_DICT && i + 1 < top->items.count; i += 2) {
        const struct pickle_value *key = &p->values[top->items.at[i]];
        char room[40];
        size_t key_bytes, bytes;
        const char *k = key->kind == PICKLE_TEXT ? value_text(key, room, &key_bytes) : NULL;
        const char *v = k ? value_text(&p->values[top->items.at[i + 1]], room, &bytes) : NULL;
        if (v && !weights_add_pair(w, r->shard, k, key_bytes, v, bytes, r->path, r->e))
            return false;
    }
    return true;
}

/* ---- from tensors to memory ---- */

/* Checks that a tensor lies within its storage and finds its first byte. */
static bool locate(const struct reader *r, struct named *n)
{
    const struct pickle_tensor *t = &r->pickle.tensors[n->tensor];
    const struct pickle_storage *s = &r->pickle.storages[t->storage];
    size_t bytes, each = dtype_bytes(t->type), unit = dtype_bytes(s->type);
    struct where at = weight_where(r->path, n->name);
    if (!weight_size(t->type, &t->shape, &bytes))
        return err_set(r->e, ERR_FORMAT, "%s: the shape %s is too large for any file", at.s, shape_text(t->shape).s);
    int64_t last = t->offset, expected = 1;
    bool over = false;
    for (int i = t->shape.rank - 1; i >= 0; i--) {
        int64_t d = t->shape.dim[i], reach;
        if (d > 1 && t->stride[i] != expected)
            n->strided = bytes != 0;
        expected *= d ? d : 1;
        over |= d > 1 && (__builtin_mul_overflow(d - 1, t->stride[i], &reach) || __builtin_add_overflow(last, reach, &last));
    }
    size_t room = (size_t)s->view_count * unit / each; /* in elements of the tensor */
    if (over || (bytes ? (size_t)last >= room : (size_t)t->offset > room))
        return err_set(r->e, ERR_FORMAT, "%s: %s from element %lld on reaches beyond its storage of %zu", at.s,
                       shape_text(t->shape).s, (long long)t->offset, room);
    if (n->strided && bytes / each > room)
        return err_set(r->e, ERR_FORMAT, "%s: %s repeats the %zu numbers of its storage: refused", at.s,
                       shape_text(t->shape).s, room);
    n->data = r->places[t->storage].data + (size_t)s->view_at * unit + (size_t)t->offset * each;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Copies a strided tensor into row-major order. */
static void gather(char *to, const struct pickle_tensor *t, const unsigned char *from)
{
    int64_t index[SHAPE_MAX_RANK] = { 0 }, count = shape_count(t->shape), at = 0;
    size_t each = dtype_bytes(t->type);
    for (int64_t i = 0; i < count; i++, to += each) {
        memcpy(to, from + (size_t)at * each, each);
        for (int d = t->shape.rank - 1; d >= 0; d--) {
            at += t->stride[d];
            if (++index[d] < t->shape.dim[d])
                break;
            at -= index[d] * t->stride[d];
            index[d] = 0;
        }
    }
}

static size_t tensor_room(const struct pickle_tensor *t)
{
    return ((size_t)shape_count(t->shape) * dtype_bytes(t->type) + 63) & ~(size_t)63;
}

static bool add_tensors(struct reader *r, struct weights *w)
{
    struct shard *s = r->shard;
    const struct pickle_tensor *tensors = r->pickle.tensors;
    for (size_t i = 0; i < r->count; i++) {
        if (!locate(r, &r->list[i]))
            return false;
        if (r->list[i].strided)
            s->gathered_bytes += tensor_room(&tensors[r->list[i].tensor]);
        if (s->gathered_bytes > s->map.bytes + 4096) {
            s->gathered_bytes = 0;
            return err_set(r->e, ERR_LIMIT, "%s: the tensors that do not lie in order are together larger than the file", r->path);
        }
    }
    if (s->gathered_bytes && !(s->gathered = mem_pages(s->gathered_bytes))) {
        s->gathered_bytes = 0;
        return err_nomem(r->e, r->path);
    }
    if (r->count)
        qsort(r->list, r->count, sizeof *r->list, by_place);
    char *to = s->gathered;
    for (size_t i = 0; i < r->count; i++) {
        const struct named *n = &r->list[i];
        const struct pickle_tensor *t = &tensors[n->tensor];
        const void *data = n->data;
        if (n->strided) {
            gather(to, t, n->data);
            data = to;
            to += tensor_room(t);
        }
        if (!weights_add(w, (struct weight){ n->name, t->type, t->shape, data }, r->e))
            return false;
    }
    return true;
}

/* Everything behind the pickle: names, places, tensors. */
static bool add_all(struct reader *r, struct weights *w, uint32_t top_index)
{
    const struct pickle_value *top = &r->pickle.values[top_index];
    if (top->kind != PICKLE_DICT && top->kind != PICKLE_LIST && top->kind != PICKLE_TUPLE)
        return err_set(r->e, ERR_FORMAT, "%s holds %s, not a dictionary of tensors", r->path, pickle_kind_name(top->kind));
    return walk(r, unwrap(&r->pickle, top), 0) && add_metadata(r, w, top) && add_tensors(r, w);
}

static bool make_places(struct reader *r)
{
    return (r->places = mem_zeroed(r->pickle.storage_count, sizeof *r->places)) || err_nomem(r->e, r->path);
}

/* ---- the zip ---- */

static const struct zip_entry *plain_entry(const struct reader *r, const struct zip *z, const char *folder, size_t folder_bytes,
                                           const char *name, size_t name_bytes)
{
    const struct zip_entry *found = zip_find(z, folder, folder_bytes, name, name_bytes);
    int shown = name_bytes < 100 ? (int)name_bytes : 100;
    if (!found)
        err_set(r->e, ERR_FORMAT, "%s: the zip has no entry for \"%.*s\"", r->path, shown, name);
    else if (!found->plain)
        err_set(r->e, ERR_FORMAT, "%s: the zip entry \"%.*s\" is compressed or encrypted, which torch.save never does", r->path,
                shown, name);
    else
        return found;
    return NULL;
}

/* The archive's own folder: that of the entry "x/data.pkl". */
static const struct zip_entry *find_pickle(const struct zip *z)
{
    static const char tail[] = "/data.pkl";
    for (size_t i = 0; i < z->count; i++) {
        const struct zip_entry *x = &z->entries[i];
        size_t bytes = sizeof tail - 1;
        if (x->name_bytes > bytes && !memcmp(x->name + x->name_bytes - bytes, tail, bytes) &&
            !memchr(x->name, '/', x->name_bytes - bytes))
            return x;
    }
    return NULL;
}

static bool place_entries(struct reader *r, const struct zip *z, const char *folder, size_t folder_bytes)
{
    char inner[200];
    size_t data_bytes = (size_t)snprintf(inner, sizeof inner, "data/");
    for (size_t i = 0; i < r->pickle.storage_count; i++) {
        const struct pickle_storage *s = &r->pickle.storages[i];
        if (s->key_bytes > sizeof inner - data_bytes)
            return broken(r, "a storage's key is too long");
        memcpy(inner + data_bytes, s->key, s->key_bytes);
        const struct zip_entry *x = plain_entry(r, z, folder, folder_bytes, inner, data_bytes + s->key_bytes);
        if (!x)
            return false;
        if (x->bytes % dtype_bytes(s->type) || x->bytes / dtype_bytes(s->type) != (size_t)s->count)
            return err_set(r->e, ERR_FORMAT, "%s: the storage \"%.*s\" should have %lld numbers of %s, its entry has %zu bytes",
                           r->path, (int)s->key_bytes, s->key, (long long)s->count, dtype_name(s->type), x->bytes);
        r->places[i] = (struct place){ x->data, x->bytes };
    }
    return true;
}

static bool add_zip(struct reader *r, struct weights *w, const struct zip *z)
{
    const struct zip_entry *first = find_pickle(z);
    if (!first)
        return broken(r, "a zip file without data.pkl is not of PyTorch");
    const char *folder = first->name;
    size_t folder_bytes = first->name_bytes - strlen("data.pkl");
    const struct zip_entry *pickle = plain_entry(r, z, folder, folder_bytes, "data.pkl", 8);
    const struct zip_entry *order = zip_find(z, folder, folder_bytes, "byteorder", 9);
    if (!pickle)
        return false;
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6)))
        return broken(r, "its numbers are not little-endian");
    if (pickle->bytes > WEIGHTS_HEADER_MAX_BYTES)
        return err_set(r->e, ERR_LIMIT, "%s: data.pkl of %zu bytes, at most %zu are read", r->path, pickle->bytes,
                       WEIGHTS_HEADER_MAX_BYTES);
    struct bytes b = bytes_of(pickle->data, pickle->bytes);
    uint32_t top;
    return pickle_read(&r->pickle, &b, &top, r->e) && make_places(r) && place_entries(r, z, folder, folder_bytes) &&
           add_all(r, w, top);
}

/* ---- the row of pickles ---- */

static int by_key(const struct pickle_storage *s, const char *key, size_t key_bytes)
{
    int c = memcmp(s->key, key, s->key_bytes < key_bytes ? s->key_bytes : key_bytes);
    return c ? c : (s->key_bytes > key_bytes) - (s->key_bytes < key_bytes);
}

static int compare_storages(const void *a, const void *b)
{
    const struct pickle_storage *const *x = a, *const *y = b;
    return by_key(*x, (*y)->key, (*y)->key_bytes);
}

/* One storage of the file, which all in `order` with this key mean. */
static bool place_key(struct reader *r, struct pickle_storage **order, const struct pickle_value *key, struct bytes *b)
{
    size_t low = 0, high = r->pickle.storage_count, all = high;
    if (key->kind != PICKLE_TEXT)
        return broken(r, "a storage's key is no text");
    while (low < high) {
        size_t i = low + (high - low) / 2;
        if (by_key(order[i], key->text.s, key->text.bytes) < 0)
            low = i + 1;
        else
            high = i;
    }
    int shown = key->text.bytes < 100 ? (int)key->text.bytes : 100;
    if (low == all || by_key(order[low], key->text.s, key->text.bytes))
        return err_set(r->e, ERR_FORMAT, "%s: no tensor has the storage \"%.*s\", so its size is unknown", r->path, shown,
                       key->text.s);
    uint64_t count = bytes_u64(b);
    size_t each = dtype_bytes(order[low]->type);
    const unsigned char *data = count <= b->left / each ? bytes_take(b, (size_t)count * each) : NULL;
    if (b->short_by || !data)
        return err_set(r->e, ERR_FORMAT, "%s: the storage \"%.*s\" reaches beyond the file: is it cut off?", r->path, shown,
                       key->text.s);
    for (; low < all && !by_key(order[low], key->text.s, key->text.bytes); low++) {
        const struct pickle_storage *s = order[low];
        struct place *place = &r->places[s - r->pickle.storages];
        if (place->data)
            return err_set(r->e, ERR_FORMAT, "%s: the storage \"%.*s\" is there twice", r->path, shown, key->text.s);
        if ((uint64_t)s->count != count || dtype_bytes(s->type) != each)
            return err_set(r->e, ERR_FORMAT, "%s: the storage \"%.*s\" has %llu numbers, a tensor wants %lld", r->path, shown,
                           key->text.s, (unsigned long long)count, (long long)s->count);
        *place = (struct place){ data, (size_t)count * each };
    }
    return true;
}

static bool place_row(struct reader *r, const struct pickle_value *keys, struct bytes *b)
{
    size_t all = r->pickle.storage_count;
    struct pickle_storage **order = mem_zeroed(all, sizeof *order);
    if (!order)
        return err_nomem(r->e, r->path);
    for (size_t i = 0; i < all; i++)
        order[i] = &r->pickle.storages[i];
    if (all)
        qsort(order, all, sizeof *order, compare_storages);
    bool good = keys->kind == PICKLE_LIST || broken(r, "the list of storages is missing");
    for (size_t i = 0; good && i < keys->items.count; i++)
        good = place_key(r, order, &r->pickle.values[keys->items.at[i]], b);
    for (size_t i = 0; good && i < all; i++)
        if (!r->places[i].data)
            good = err_set(r->e, ERR_FORMAT, "%s: the storage \"%.*s\" is not in the file", r->path,
                           (int)(r->pickle.storages[i].key_bytes < 100 ? r->pickle.storages[i].key_bytes : 100),
                           r->pickle.storages[i].key);
    mem_free(order);
    return good;
}

static bool add_row(struct reader *r, struct weights *w)
{
    static const unsigned char magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
    struct bytes b = bytes_of(r->shard->map.data, r->shard->map.bytes);
    struct pickle *p = &r->pickle;
    uint32_t at, top, keys;
    if (!pickle_read(p, &b, &at, r->e))
        return false;
    if (p->values[at].kind != PICKLE_BIG || p->values[at].text.bytes != sizeof magic ||
        memcmp(p->values[at].text.s, magic, sizeof magic))
        return err_set(r->e, ERR_FORMAT, "%s is a pickle that torch.save did not write (it holds %s)", r->path,
                       pickle_kind_name(p->values[at].kind));
    if (!pickle_read(p, &b, &at, r->e))
        return false;
    if (p->values[at].kind != PICKLE_INT || p->values[at].number != 1001)
        return broken(r, "its version of torch.save's format is not 1001");
    if (!pickle_read(p, &b, &at, r->e))
        return false;
    const struct pickle_value *little = pickle_get(p, &p->values[at], "little_endian");
    if (!little || little->kind != PICKLE_BOOL || !little->number)
        return broken(r, "its numbers are not little-endian");
    return pickle_read(p, &b, &top, r->e) && pickle_read(p, &b, &keys, r->e) && make_places(r) &&
           place_row(r, &p->values[keys], &b) && add_all(r, w, top);
}

bool torch_is(const struct file_map *m)
{
    if (m->bytes < 4)
        return false;
    bool zip = !memcmp(m->data, "PK\3\4", 4), pickle = m->data[0] == 0x80 && m->data[1] >= 2 && m->data[1] <= 5;
    /* the length of a safetensors header may begin like a pickle's protocol, but then its next bytes are zeros and '{' */
    return zip || (pickle && !(m->bytes > 8 && m->data[4] == 0 && m->data[5] == 0 && m->data[8] == '{'));
}

bool torch_add(struct weights *w, struct shard *s, const char *path, struct err *e)
{
    struct reader r = { .path = path, .shard = s, .e = e };
    struct zip z;
    bool good;
    pickle_init(&r.pickle, path);
    if (s->map.data[0] == 'P') {
        good = zip_init(&z, s->map.data, s->map.bytes, path, e) && add_zip(&r, w, &z);
        zip_release(&z);
    } else {
        good = add_row(&r, w);
    }
    pickle_release(&r.pickle);
    mem_free(r.places);
    mem_free(r.list);
    return good;
}
