#include "serve/origins.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "flow/nodes/place.h"
#include "jobs/learn.h"

enum { MOST_KNOWN = 4096 };
#define MODEL_MOST_BYTES ((int64_t)512 << 20)

/* A file or run as it was when it was looked at. */
struct seen {
    char *path; /* owned */
    int64_t bytes, time_ns;
    char hash[DIGEST_TEXT_BYTES]; /* "" for a run */
};
struct origins {
    pthread_mutex_t lock; /* of all that follows */
    struct seen *seen;
    size_t count, cap;
};

struct origins *origins_new(struct err *e)
{
    struct origins *o = mem_zeroed(1, sizeof *o);
    if (!o) {
        err_nomem(e, "what pictures come from");
        return NULL;
    }
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void origins_free(struct origins *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->count; i++)
        mem_free(o->seen[i].path);
    mem_free(o->seen);
    pthread_mutex_destroy(&o->lock);
    mem_free(o);
}

static int64_t time_of(const struct stat *at)
{
    return (int64_t)at->st_mtim.tv_sec * 1000000000 + at->st_mtim.tv_nsec;
}

/* Whether the file is as it was; then hash (may be NULL) is what it was. */
static bool recall(struct origins *o, const char *path, const struct stat *at, char hash[DIGEST_TEXT_BYTES])
{
    bool found = false;
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < o->count && !found; i++) {
        const struct seen *s = &o->seen[i];
        found = !strcmp(s->path, path) && s->bytes == at->st_size && s->time_ns == time_of(at);
        if (found && hash)
            strcpy(hash, s->hash);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

/* Without memory it is looked at again the next time. */
static void note(struct origins *o, const char *path, const struct stat *at, const char *hash)
{
    pthread_mutex_lock(&o->lock);
    size_t i = 0;
    while (i < o->count && strcmp(o->seen[i].path, path))
        i++;
    if (i == o->count && i < MOST_KNOWN) {
        struct seen *grown = mem_grow(o->seen, &o->cap, i + 1, sizeof *grown);
        o->seen = grown ? grown : o->seen;
        char *own = grown ? mem_string(path) : NULL;
        if (own) {
            o->seen[i] = (struct seen){ .path = own };
            o->count++;
        }
    }
    if (i < o->count) {
        o->seen[i].bytes = at->st_size;
        o->seen[i].time_ns = time_of(at);
        snprintf(o->seen[i].hash, sizeof o->seen[i].hash, "%s", hash);
    }
    pthread_mutex_unlock(&o->lock);
}

/* The hash of a file of at most `most` bytes, kept in texts; *hash stays where there is none. */
static bool hash_of(struct origins *o, const char *path, int64_t most, struct origin_texts *texts, const char **hash, struct err *e)
{
    struct stat at;
    struct err why = { 0 };
    char *out = texts->hash[texts->count];
    if (texts->count == sizeof texts->hash / sizeof *texts->hash || stat(path, &at) || !S_ISREG(at.st_mode) || at.st_size > most)
        return true;
    if (!recall(o, path, &at, out)) {
        if (!digest_file(path, 0, out, NULL, NULL, &why)) {
            if (why.code == ERR_STOPPED || why.code == ERR_NOMEM)
                return err_set(e, why.code, "%s", why.text);
            return true;
        }
        note(o, path, &at, out);
    }
    *hash = out;
    texts->count++;
    return true;
}

/* Of a model in parts the denoiser stands for it, as for what a run made (jobs/learn.c). */
static bool model_path(const struct flow_host *host, const char *name, char path[PATH_MAX_BYTES])
{
    char unet[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    if (!model_places_find(host->models, 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS, "model", name, path, &ignored))
        return false;
    if (!path_is_folder(path))
        return true;
    return path_join(unet, path, "unet/diffusion_pytorch_model.safetensors", &ignored) && path_join(path, "", unet, &ignored);
}

bool origins_add(struct origins *o, struct gallery_facts *f, const json_t *flow, const struct flow_host *host, struct origin_texts *texts, struct err *e)
{
    char path[PATH_MAX_BYTES];
    const char *id, *hash;
    json_t *node;
    *texts = (struct origin_texts){ 0 };
    for (size_t i = 0; i < f->lora_count; i++) {
        struct err ignored = { 0 };
        if (!f->loras[i].hash && model_places_find(host->models, 1U << MODELS_LORAS, "LoRA", f->loras[i].name, path, &ignored) &&
            !hash_of(o, path, INT64_MAX, texts, &f->loras[i].hash, e))
            return false;
    }
    if (f->model && !f->model_hash && model_path(host, f->model, path) && !hash_of(o, path, MODEL_MOST_BYTES, texts, &f->model_hash, e))
        return false;
    json_object_foreach((json_t *)(uintptr_t)flow, id, node) {
        struct err ignored = { 0 };
        const char *class = json_string_value(json_object_get(node, "class_type")), *image = json_string_value(json_object_get(json_object_get(node, "inputs"), "image"));
        if (!class || strcmp(class, "LoadImage") || !image || f->parent_count == GALLERY_MOST_LORAS || !place_find(host, image, "input", path, &ignored))
            continue;
        hash = NULL;
        if (!hash_of(o, path, INT64_MAX, texts, &hash, e))
            return false;
        if (hash)
            f->parents[f->parent_count++] = hash;
    }
    return true;
}

/* When anything in a run's folder was made or renamed last: its config, checkpoints, LoRAs. */
static bool run_time(const char *run, struct stat *at)
{
    char config[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    struct stat own;
    if (!path_join(config, run, "config.json", &ignored) || stat(config, at) || stat(run, &own))
        return false;
    if (time_of(&own) > time_of(at))
        at->st_mtim = own.st_mtim;
    return true;
}

bool origins_learn(struct origins *o, struct store *s, const char *runs, struct err *e)
{
    char **names, run[PATH_MAX_BYTES];
    size_t count;
    if (!path_is_folder(runs))
        return true;
    if (!folder_names(runs, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        struct stat at;
        struct err why = { 0 };
        struct learnt_count learnt;
        good = path_join(run, runs, names[i], e);
        if (!good || !path_is_folder(run) || !run_time(run, &at) || recall(o, run, &at, NULL))
            continue;
        if (learn_run(s, run, NULL, &learnt, &why))
            note(o, run, &at, "");
        else if (why.code == ERR_STOPPED || why.code == ERR_NOMEM)
            good = err_set(e, why.code, "%s", why.text);
    }
    folder_names_free(names, count);
    return good;
}
