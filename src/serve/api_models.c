/* Which models there are, in which folders, and what their files tell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/mem.h"
#include "image/image.h"
#include "serve/json_io.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

/* ComfyUI's order of keys; those that are no kind of ours have no files here. */
static const char *const keys[] = {
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models", "embeddings",
    "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "custom_nodes", "hypernetworks", "photomaker", "classifiers",
    "model_patches", "audio_encoders",
};
enum { KEYS = sizeof keys / sizeof *keys };
#define METADATA_MAX_BYTES ((size_t)100 << 20)

static bool is_key(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(keys[i], name))
            return true;
    return false;
}

struct names {
    json_t *list;
    bool without_ending, info;
    const struct model_places *places;
    enum model_kind kind;
};

/* Which of the kind's folders a model lies in: what its path without its name is. */
static int place_of(const struct names *n, const struct model_found *found)
{
    size_t bytes = strlen(found->path) - strlen(found->name);
    int index = 0;
    for (size_t i = 0; i < n->places->count; i++) {
        const struct model_place *p = &n->places->items[i];
        if (p->kind != n->kind)
            continue;
        size_t length = strlen(p->path);
        while (length && p->path[length - 1] == '/')
            length--;
        if (length <= bytes && !strncmp(p->path, found->path, length) && found->path[length] == '/')
            return index;
        index++;
    }
    return 0;
}

static bool add_name(void *self, const struct model_found *found, struct err *e)
{
    struct names *n = self;
    json_t *item;
    if (!utf8_valid(found->name, strlen(found->name)))
        return true;
    if (n->info) {
        struct stat s = { 0 };
        if (stat(found->path, &s))
            return true;
        double modified = (double)s.st_mtim.tv_sec + 1e-9 * (double)s.st_mtim.tv_nsec;
        item = json_pack("{s:s,s:i,s:f,s:f,s:I}", "name", found->name, "pathIndex", place_of(n, found), "modified", modified, "created",
                         (double)s.st_ctim.tv_sec, "size", (json_int_t)found->bytes);
    } else {
        const char *dot = n->without_ending && !found->folder ? strrchr(found->name, '.') : NULL;
        item = json_stringn(found->name, dot ? (size_t)(dot - found->name) : strlen(found->name));
    }
    return (item && !json_array_append_new(n->list, item)) || err_nomem(e, "a list of models");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

/* Names sorted, each once: two folders may hold the same. */
static json_t *sorted(json_t *list)
{
    size_t count = json_array_size(list);
    json_t **at = mem_zeroed(count + 1, sizeof *at), *out = json_array();
    for (size_t i = 0; at && i < count; i++)
        at[i] = json_array_get(list, i);
    if (at)
        qsort(at, count, sizeof *at, by_text);
    for (size_t i = 0; at && out && i < count; i++)
        if (!i || strcmp(json_string_value(at[i]), json_string_value(at[i - 1])))
            json_array_append(out, at[i]);
    mem_free(at);
    json_decref(list);
    return out;
}

/* The models of a key; a new reference. */
static json_t *list_models(const struct exchange *x, const char *key, bool without_ending, bool info, struct err *e)
{
    struct runner_place place;
    struct names n = { json_array(), without_ending, info, &place.models, model_kind_of(key) };
    bool good = (runner_place_init(&place, &x->server->runner_options, owner_of(x), e) && n.list) || err_nomem(e, "a list of models");
    good = good && (n.kind == MODELS_KINDS || model_places_walk(&place.models, n.kind, add_name, &n, e));
    runner_place_release(&place);
    if (good)
        return info ? n.list : sorted(n.list);
    json_decref(n.list);
    return NULL;
}

bool get_embeddings(struct exchange *x, struct err *e)
{
    json_t *list = list_models(x, "embeddings", true, false, e);
    return list && answer_json(x, 200, list, e);
}

bool get_models(struct exchange *x, struct err *e)
{
    json_t *list = json_array();
    for (int i = 0; list && i < KEYS; i++)
        json_array_append_new(list, json_string(keys[i]));
    return answer_json(x, 200, list, e);
}

static bool known_folder(const char *name, struct err *e)
{
    return is_key(name) || model_kind_of(name) != MODELS_KINDS || err_set(e, ERR_MISSING, "there is no kind of models called %.100s", name);
}

bool get_models_folder(struct exchange *x, struct err *e)
{
    if (!known_folder(x->param[0], e))
        return false;
    json_t *list = list_models(x, x->param[0], false, false, e);
    return list && answer_json(x, 200, list, e);
}

/* The folders of a key; a new reference. */
static json_t *folders_of(const struct model_places *places, const char *key)
{
    json_t *list = json_array();
    enum model_kind kind = model_kind_of(key);
    for (size_t i = 0; list && i < places->count; i++)
        if (kind != MODELS_KINDS && places->items[i].kind == kind)
            json_array_append_new(list, json_string(places->items[i].path));
    return list;
}

bool get_experiment_models(struct exchange *x, struct err *e)
{
    struct runner_place place;
    json_t *list = json_array();
    bool good = runner_place_init(&place, &x->server->runner_options, owner_of(x), e);
    for (int i = 0; good && list && i < KEYS; i++)
        if (strcmp(keys[i], "configs") && strcmp(keys[i], "custom_nodes"))
            json_array_append_new(list, json_pack("{s:s,s:o}", "name", keys[i], "folders", folders_of(&place.models, keys[i])));
    runner_place_release(&place);
    if (good)
        return answer_json(x, 200, list, e);
    json_decref(list);
    return false;
}

bool get_folder_paths(struct exchange *x, struct err *e)
{
    struct runner_place place;
    json_t *all = json_object();
    bool good = runner_place_init(&place, &x->server->runner_options, owner_of(x), e);
    for (int i = 0; good && all && i < KEYS; i++)
        json_object_set_new(all, keys[i], folders_of(&place.models, keys[i]));
    runner_place_release(&place);
    if (good)
        return answer_json(x, 200, all, e);
    json_decref(all);
    return false;
}

bool get_experiment_folder(struct exchange *x, struct err *e)
{
    if (!known_folder(x->param[0], e))
        return false;
    json_t *list = list_models(x, x->param[0], false, true, e);
    return list && answer_json(x, 200, list, e);
}

/* --- what a file tells --- */

/* The __metadata__ of a safetensors file; NULL: there is none, or e is set. */
static json_t *read_metadata(const char *path, struct err *e)
{
    FILE *f = fopen(path, "rb");
    unsigned char head[8];
    if (!f) {
        err_errno(e, "cannot open %s", path_name(path));
        return NULL;
    }
    json_t *metadata = NULL;
    char *text = NULL;
    uint64_t bytes = 0;
    if (fread(head, 1, 8, f) == 8) {
        struct bytes b = bytes_of(head, 8);
        bytes = bytes_u64(&b);
    }
    if (bytes > 1 && bytes <= METADATA_MAX_BYTES && (text = mem_aligned((size_t)bytes)) && fread(text, 1, (size_t)bytes, f) == bytes) {
        json_t *header = json_parse(text, (size_t)bytes, path_name(path), e);
        metadata = json_incref(json_object_get(header, "__metadata__"));
        json_decref(header);
    }
    mem_free(text);
    fclose(f);
    return metadata;
}

static bool find_model(struct exchange *x, const char *key, const char *name, char out[PATH_MAX_BYTES], struct err *e)
{
    enum model_kind kind = model_kind_of(key);
    if (kind == MODELS_KINDS)
        return err_set(e, ERR_MISSING, "there is no kind of models called %.100s", key);
    struct runner_place place;
    bool found = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) && model_places_find(&place.models, 1U << kind, key, name, out, e);
    runner_place_release(&place);
    if (found)
        return true;
    e->code = e->code == ERR_ARG ? ERR_MISSING : e->code;
    return false;
}

bool get_view_metadata(struct exchange *x, struct err *e)
{
    char name[1024], path[PATH_MAX_BYTES];
    bool found;
    if (!exchange_query(x, "filename", name, sizeof name, &found, e))
        return false;
    if (!found || strlen(name) < 12 || strcmp(name + strlen(name) - 12, ".safetensors"))
        return err_set(e, ERR_MISSING, "want ?filename= of a .safetensors file");
    if (!find_model(x, x->param[0], name, path, e))
        return false;
    json_t *metadata = read_metadata(path, e);
    if (!metadata)
        return e->code ? false : err_set(e, ERR_MISSING, "%.200s has no metadata", name);
    return answer_json(x, 200, metadata, e);
}

/* A picture beside the model: name.png, name.preview.jpg ... */
static bool preview_beside(const char *model, char out[PATH_MAX_BYTES])
{
    static const char *const endings[] = { "png", "jpg", "jpeg", "webp", "gif" };
    char stem[PATH_MAX_BYTES];
    snprintf(stem, sizeof stem, "%s", model);
    char *dot = strrchr(stem, '.');
    if (dot && dot > path_name(stem))
        *dot = 0;
    for (int between = 0; between < 2; between++)
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
            if (snprintf(out, PATH_MAX_BYTES, "%s%s.%s", stem, between ? ".preview" : "", endings[i]) < PATH_MAX_BYTES && path_exists(out))
                return true;
    return false;
}

bool get_experiment_preview(struct exchange *x, struct err *e)
{
    char model[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    struct image image;
    uint8_t *data;
    size_t bytes;
    if (!find_model(x, x->param[0], x->param[2], model, e))
        return false;
    if (!preview_beside(model, path))
        return err_set(e, ERR_MISSING, "there is no preview of %.200s", x->param[2]);
    if (!image_load(&image, path, IMAGE_KEEP_ALPHA, 0, e))
        return false;
    bool good = image_encode_for_web(&image, IMAGE_WEBP, 80, &data, &bytes, e);
    image_release(&image);
    if (good)
        answer_bytes(x, 200, "image/webp", data, bytes);
    mem_free(data);
    return good;
}
