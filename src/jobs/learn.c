#include "jobs/learn.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "dataset/manifest.h"

enum { MOST_FILES = 2000, MOST_DEPTH = 4, NAME_BYTES = 300, TAIL_BYTES = 1 << 16 };

struct made {
    char path[PATH_MAX_BYTES], name[NAME_BYTES], hash[DIGEST_TEXT_BYTES], weights[DIGEST_TEXT_BYTES];
    int64_t step;
    bool model;
};

struct run {
    const struct progress *progress;
    char folder[PATH_MAX_BYTES];
    json_t *config;
    char *settings;
    int64_t started_ms, last_step;
    struct made *made;
    size_t made_count, made_cap;
    struct training_picture *pictures;
    char (*hashes)[DIGEST_TEXT_BYTES]; /* of the pictures */
    size_t picture_count;
    struct manifest *manifest;         /* names and captions lie in it */
};

static void run_release(struct run *run)
{
    json_decref(run->config);
    free(run->settings);
    mem_free(run->made);
    mem_free(run->pictures);
    mem_free(run->hashes);
    manifest_free(run->manifest);
}

/* --- what it made --- */

static bool ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcmp(s + n - m, end);
}

/* Where the weights begin in a safetensors file: behind the header, whose length comes first. 0 for others: the file's hash counts. */
static size_t weights_begin(const char *path)
{
    unsigned char head[8];
    FILE *f = fopen(path, "rbe");
    size_t got = f ? fread(head, 1, sizeof head, f) : 0;
    uint64_t length = 0;
    if (f)
        fclose(f);
    for (int i = 7; got == 8 && i >= 0; i--)
        length = length << 8 | head[i];
    return got == 8 && ends(path, ".safetensors") && length < (100U << 20) ? (size_t)length + 8 : 0;
}

/* "lora-step00000500", "epoch=0-step=100": the digits behind the last "step"; -1: none. */
static int64_t step_in(const char *name)
{
    int64_t step = -1;
    for (const char *p = name; (p = strstr(p, "step"));) {
        p += 4;
        p += *p == '=' || *p == '-';
        if (isdigit((unsigned char)*p))
            step = strtoll(p, NULL, 10);
    }
    return step;
}

static bool add_made(struct run *run, const char *path, struct err *e)
{
    struct made *grown = run->made_count < MOST_FILES ? mem_grow(run->made, &run->made_cap, run->made_count + 1, sizeof *grown) : NULL;
    if (!grown)
        return err_set(e, ERR_LIMIT, "%s: more than %d files of weights", run->folder, MOST_FILES);
    run->made = grown;
    struct made *m = &grown[run->made_count];
    *m = (struct made){ .model = strstr(path + strlen(run->folder), "/model/") != NULL, .step = step_in(path_name(path)) };
    m->step = m->step < 0 ? run->last_step : m->step;
    snprintf(m->path, sizeof m->path, "%s", path);
    /* people call a LoRA by its file's name, a model by its folder's */
    const char *name = m->model ? path_name(run->folder) : path_name(path);
    const char *dot = m->model ? NULL : strrchr(name, '.');
    snprintf(m->name, sizeof m->name, "%.*s", (int)(dot ? dot - name : (long)strlen(name)), name);
    if (!digest_file(path, weights_begin(path), m->hash, m->weights, run->progress, e))
        return false;
    run->made_count++;
    return true;
}

/* Of a model's parts the denoiser stands for it. */
static bool is_made(const char *path, const char *name)
{
    bool weights = ends(name, ".safetensors") || ends(name, ".ckpt");
    bool part = strstr(path, "/model/") != NULL;
    return weights && strncmp(name, "checkpoint", 10) && (!part || strstr(path, "/unet/"));
}

static bool find_made(struct run *run, const char *path, int depth, struct err *e)
{
    char **names, below[PATH_MAX_BYTES];
    size_t count;
    if (!folder_names(path, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        good = stop_check(e) && path_join(below, path, names[i], e);
        if (good && path_is_folder(below))
            good = depth >= MOST_DEPTH || names[i][0] == '.' || find_made(run, below, depth + 1, e);
        else if (good && is_made(below, names[i]))
            good = add_made(run, below, e);
    }
    folder_names_free(names, count);
    return good;
}

/* The step of the log's last line; 0 if there is none. */
static int64_t last_step(const char *folder)
{
    char path[PATH_MAX_BYTES], tail[TAIL_BYTES + 1], *line = tail;
    struct err ignored = { 0 };
    FILE *f = path_join(path, folder, "metrics.jsonl", &ignored) ? fopen(path, "rbe") : NULL;
    int64_t step = 0;
    if (!f)
        return 0;
    if (fseek(f, -TAIL_BYTES, SEEK_END))
        rewind(f);
    tail[fread(tail, 1, TAIL_BYTES, f)] = 0;
    fclose(f);
    for (char *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        json_t *j = end ? json_loadb(line, (size_t)(end - line), 0, NULL) : NULL;
        const json_t *own = json_object_get(j, "step");
        step = json_is_integer(own) ? json_integer_value(own) : step;
        json_decref(j);
    }
    return step;
}

/* --- what it learnt from --- */

static const char *dataset_of(const struct run *run)
{
    static const char *const keys[] = { "dataset", "dataset_base_path", NULL };
    for (int i = 0; keys[i]; i++) {
        const char *s = json_string_value(json_object_get(run->config, keys[i]));
        if (s && *s)
            return s;
    }
    return NULL;
}

static bool find_pictures(struct run *run, struct err *e)
{
    struct err why = { 0 };
    const char *folder = dataset_of(run);
    run->manifest = folder ? manifest_open(folder, MANIFEST_READ, &why) : NULL;
    if (!run->manifest) {
        progress_line(run->progress, "the pictures of %s are not known: %s", run->folder, folder ? why.text : "its config.json names no data set");
        return why.code != ERR_NOMEM || err_nomem(e, "a data set's list");
    }
    size_t count = manifest_count(run->manifest);
    run->pictures = mem_zeroed(count + 1, sizeof *run->pictures);
    run->hashes = mem_zeroed(count + 1, sizeof *run->hashes);
    if (!run->pictures || !run->hashes)
        return err_nomem(e, "a data set's pictures");
    for (size_t i = 0; i < count; i++) {
        const struct manifest_picture *p = manifest_picture(run->manifest, i);
        char path[PATH_MAX_BYTES], *hash = run->hashes[run->picture_count];
        struct err lost = { 0 };
        if (*p->excluded)
            continue;
        if (strlen(p->id) == DIGEST_TEXT_BYTES - 1)
            strcpy(hash, p->id);
        else if (!stop_check(e))
            return false;
        else if (!manifest_path(run->manifest, i, path, &lost) || !digest_file(path, 0, hash, NULL, NULL, &lost))
            continue; /* a picture that is gone is not known any more */
        run->pictures[run->picture_count++] = (struct training_picture){ .hash = hash, .name = p->file_name, .caption = p->text };
        progress_step(run->progress, "pictures", (long)i + 1, (long)count, p->file_name);
    }
    return true;
}

static bool write_all(struct db *db, const struct run *run, struct err *e)
{
    const char *command = json_string_value(json_object_get(run->config, "command"));
    struct training_facts facts = { .run = run->folder, .kind = command, .settings = run->settings, .started_ms = run->started_ms };
    bool good = gallery_add_training(db, &facts, e) && gallery_add_training_pictures(db, run->folder, run->pictures, run->picture_count, e);
    for (size_t i = 0; good && i < run->made_count; i++) {
        const struct made *m = &run->made[i];
        struct weights_facts weights = { .hash = m->hash, .weights_hash = m->weights, .kind = m->model ? "model" : "lora", .name = m->name,
                                         .path = m->path, .run = run->folder, .step = m->step };
        good = gallery_add_weights(db, &weights, e);
    }
    return good;
}

bool learn_run(struct store *s, const char *folder, const struct progress *progress, struct learnt_count *count, struct err *e)
{
    struct run run = { .progress = progress };
    char path[PATH_MAX_BYTES], whole[PATH_MAX];
    struct stat at;
    if (!realpath(folder, whole))
        return err_errno(e, "the run %s", folder);
    bool good = path_join(run.folder, "", whole, e) && path_join(path, whole, "config.json", e);
    if (good && stat(path, &at))
        good = err_set(e, ERR_MISSING, "%s is no folder of a training run: it has no config.json", folder);
    good = good && (run.config = json_read(path, e));
    if (good) {
        run.started_ms = (int64_t)at.st_mtime * 1000;
        run.settings = json_dumps(run.config, JSON_COMPACT);
        run.last_step = last_step(whole);
    }
    good = good && find_made(&run, run.folder, 0, e) && find_pictures(&run, e);
    if (good) {
        struct db *db = store_begin(s, STORE_WRITE, e);
        good = store_end(db, db && write_all(db, &run, e), e);
        *count = (struct learnt_count){ (int64_t)run.picture_count, (int64_t)run.made_count };
    }
    run_release(&run);
    return good;
}
