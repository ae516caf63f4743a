#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "weights/weights_internal.h"

size_t weight_bytes(const struct weight *t)
{
    return dtype_span(t->type, shape_count(t->shape));
}

static uint64_t hash(const char *s)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h ^ h >> 32;
}

bool weights_make_slots(struct weights *w, struct err *e)
{
    if (w->count > UINT32_MAX / 4)
        return err_set(e, ERR_LIMIT, "%s: %zu tensors", w->path, w->count);
    size_t slots = 16;
    while (slots < 2 * w->count)
        slots *= 2;
    w->slot_mask = slots - 1;
    if (!(w->slots = mem_zeroed(slots, sizeof *w->slots)))
        return err_nomem(e, w->path);
    for (size_t i = 0; i < w->count; i++) {
        const char *name = w->list[i].name;
        size_t at = hash(name) & w->slot_mask;
        for (; w->slots[at]; at = (at + 1) & w->slot_mask)
            if (!strcmp(w->list[w->slots[at] - 1].name, name))
                return err_set(e, ERR_FORMAT, "%s: the tensor \"%.200s\" is there twice", w->path, name);
        w->slots[at] = (uint32_t)(i + 1);
    }
    return true;
}

const struct weight *weights_find(const struct weights *w, const char *name)
{
    for (size_t at = hash(name) & w->slot_mask; w->slots[at]; at = (at + 1) & w->slot_mask) {
        const struct weight *t = &w->list[w->slots[at] - 1];
        if (!strcmp(t->name, name))
            return t;
    }
    return NULL;
}

const struct weight *weights_need(const struct weights *w, const char *name, struct err *e)
{
    const struct weight *t = weights_find(w, name);
    if (!t)
        err_set(e, ERR_MISSING, "%s has no tensor \"%s\"", w->path, name);
    return t;
}

/* How a file of each format is told by its first bytes, and read. The last one takes what is left. */
static const struct format {
    const char *name;
    bool (*is)(const struct file_map *m);
    bool (*add)(struct weights *w, struct shard *s, const char *path, struct err *e);
} formats[] = {
    { "pytorch", torch_is, torch_add },
    { "gguf", gguf_is, gguf_add },
    { "safetensors", NULL, safetensors_add },
};

static bool begins_with(const struct file_map *m, const char *text)
{
    return m->bytes >= strlen(text) && !memcmp(m->data, text, strlen(text));
}

/* What often lies where weights should: better named than called a broken safetensors file. */
static bool refuse_known(const struct file_map *m, const char *path, struct err *e)
{
    static const struct { const char *begin, *what; } known[] = {
        { "version https://git-lfs", "a pointer of git-lfs, not the weights: fetch them with git lfs pull" },
        { "<!DOCTYPE", "a page of the web, not weights: the download went wrong" },
        { "<html", "a page of the web, not weights: the download went wrong" },
        { "\x89PNG", "a picture, not weights" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins_with(m, known[i].begin))
            return err_set(e, ERR_FORMAT, "%s is %s", path, known[i].what);
    return true;
}

/* Maps the file and appends its tensors to w. */
static bool add_file(struct weights *w, const char *path, struct err *e)
{
    struct shard *grown = mem_grow(w->shards, &w->shard_cap, w->shard_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, path);
    w->shards = grown;
    struct shard *s = &w->shards[w->shard_count];
    *s = (struct shard){ 0 };
    if (!file_map(&s->map, path, e))
        return false;
    w->shard_count++;
    if (!refuse_known(&s->map, path, e))
        return false;
    const struct format *f = formats;
    while (f->is && !f->is(&s->map))
        f++;
    s->format = f->name;
    size_t first = w->count;
    return f->add(w, s, path, e) && weights_align(w, s, first, path, e);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens the shards that the index names, sorted; a shard lies beside the index, never elsewhere. */
static bool open_shards(struct weights *w, const json_t *map, const char *path, const char **names, struct err *e)
{
    char folder[PATH_MAX_BYTES], shard[PATH_MAX_BYTES];
    size_t folder_bytes = (size_t)(path_name(path) - path), n = 0;
    if (folder_bytes >= sizeof folder)
        return err_set(e, ERR_LIMIT, "a path of more than %d bytes", PATH_MAX_BYTES);
    memcpy(folder, path, folder_bytes);
    folder[folder_bytes] = 0;
    const char *key, *last = NULL;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        const char *name = json_string_value(value);
        if (!name || !name[0] || strchr(name, '/') || !strcmp(name, ".."))
            return err_set(e, ERR_FORMAT, "%s: \"weight_map\": \"%.200s\" must name a file beside the index", path, key);
        if (last && !strcmp(last, name))
            continue;
        names[n++] = last = name;
    }
    if (n)
        qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(names[i], names[i - 1]))
            continue;
        if (w->shard_count == WEIGHTS_MAX_SHARDS)
            return err_set(e, ERR_LIMIT, "%s: more than %d shards", path, WEIGHTS_MAX_SHARDS);
        if (!path_join(shard, folder, names[i], e))
            return false;
        if (!path_exists(shard))
            return err_set(e, ERR_MISSING, "%s names the shard %s, which is not there", path, names[i]);
        if (!add_file(w, shard, e))
            return err_add(e, "a shard of %s", path);
    }
    return true;
}

static bool open_index(struct weights *w, const char *path, struct err *e)
{
    json_t *index = json_read(path, e);
    if (!index)
        return false;
    const json_t *map = json_object_get(index, "weight_map");
    const char **names = NULL;
    bool good = false;
    if (!json_is_object(map))
        err_set(e, ERR_FORMAT, "%s: \"weight_map\" must be an object of tensor names and files", path);
    else if (!(names = mem_zeroed(json_object_size(map), sizeof *names)))
        err_nomem(e, path);
    else
        good = open_shards(w, map, path, names, e) && weights_make_slots(w, e);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
        if (good && !weights_find(w, key))
            good = err_set(e, ERR_MISSING, "%s: no shard has the tensor \"%.200s\"", path, key);
    mem_free(names);
    json_decref(index);
    return good;
}

/* An index is a JSON object. A safetensors file may begin with the same byte, but its header's length has zeros. */
static bool is_index(const char *path, bool *index, struct err *e)
{
    struct file_map m;
    if (!file_map(&m, path, e))
        return false;
    size_t i = 0, head = m.bytes < 8 ? m.bytes : 8;
    while (i < m.bytes && strchr(" \t\r\n", m.data[i]) && m.data[i])
        i++;
    *index = m.bytes && !memchr(m.data, 0, head) && (i == m.bytes || m.data[i] == '{' || m.data[i] == '[');
    file_unmap(&m);
    return true;
}

/* The weight file of a component folder into out[PATH_MAX_BYTES]. */
static bool find_in_folder(char *out, const char *folder, struct err *e)
{
    static const char *const names[] = {
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors.index.json",
        "diffusion_pytorch_model.fp16.safetensors",
        "model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
        "model.fp16.safetensors.index.json",
        "diffusion_pytorch_model.bin",
        "pytorch_model.bin",
        "diffusion_pytorch_model.bin.index.json",
        "pytorch_model.bin.index.json",
        "diffusion_pytorch_model.fp16.bin",
        "pytorch_model.fp16.bin",
        "pytorch_model.bin.index.fp16.json",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!path_join(out, folder, names[i], e))
            return false;
        if (path_exists(out))
            return true;
    }
    return err_set(e, ERR_MISSING, "%s has no diffusion_pytorch_model.safetensors, model.safetensors or pytorch_model.bin",
                   folder);
}

static bool open_any(struct weights *w, const char *path, struct err *e)
{
    char found[PATH_MAX_BYTES];
    if (path_is_folder(path)) {
        if (!find_in_folder(found, path, e))
            return false;
        path = found;
    } else if (!path_exists(path)) {
        return err_set(e, ERR_MISSING, "%s is not there", path);
    }
    if (!(w->path = mem_string(path)))
        return err_nomem(e, path);
    bool index;
    if (!is_index(path, &index, e))
        return false;
    return index ? open_index(w, path, e) : add_file(w, path, e) && weights_make_slots(w, e);
}

struct weights *weights_open(const char *path, struct err *e)
{
    struct weights *w = mem_zeroed(1, sizeof *w);
    if (!w) {
        err_nomem(e, path);
        return NULL;
    }
    if (!open_any(w, path, e)) {
        weights_free(w);
        return NULL;
    }
    return w;
}

void weights_free(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->shard_count; i++)
        shard_release(&w->shards[i]);
    for (size_t i = 0; i < w->owned_count; i++)
        mem_free(w->owned[i]);
    mem_free(w->owned);
    mem_free(w->shards);
    mem_free(w->list);
    mem_free(w->metadata);
    mem_free(w->slots);
    mem_free(w->path);
    mem_free(w);
}

const char *weights_path(const struct weights *w)
{
    return w->path;
}

const char *weights_format(const struct weights *w)
{
    return w->shard_count ? w->shards[0].format : "safetensors";
}

size_t weights_count(const struct weights *w)
{
    return w->count;
}

const struct weight *weights_at(const struct weights *w, size_t i)
{
    return &w->list[i];
}

size_t weights_bytes(const struct weights *w)
{
    size_t bytes = 0;
    for (size_t i = 0; i < w->count; i++)
        bytes += weight_bytes(&w->list[i]);
    return bytes;
}

const char *weights_metadata(const struct weights *w, const char *key)
{
    if (w->base)
        return weights_metadata(w->base, key);
    for (size_t i = 0; i < w->pairs; i++)
        if (!strcmp(w->metadata[i].key, key))
            return w->metadata[i].value;
    return NULL;
}

const struct weights_pair *weights_pairs(const struct weights *w, size_t *count)
{
    if (w->base)
        return weights_pairs(w->base, count);
    *count = w->pairs;
    return w->metadata;
}

void weights_forget(const struct weights *w, const struct weight *t)
{
    while (w->base)
        w = w->base;
    uintptr_t at = (uintptr_t)t->data;
    for (size_t i = 0; i < 2 * w->shard_count; i++) {
        const struct file_map *m = i % 2 ? &w->shards[i / 2].spilled : &w->shards[i / 2].map;
        uintptr_t from = (uintptr_t)m->data;
        if (at >= from && at - from < m->bytes) { /* not an aligned copy in memory: that exists only once */
            file_map_forget(m, at - from, weight_bytes(t));
            return;
        }
    }
}
