#include "evaluate/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

enum { METRICS_MAX_BYTES = 256 << 20 };

static bool keep(char **out, const json_t *config, const char *where, const char *key, struct err *e)
{
    const char *value = NULL;
    if (!json_get_string(config, where, key, &value, e))
        return false;
    return !value || (*out = mem_string(value)) || err_nomem(e, "a run's settings");
}

static bool read_config(struct run_folder *r, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, folder, "config.json", e))
        return false;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s is no folder of a training run: it has no config.json", folder);
    json_t *j = json_read(path, e);
    r->teaches = json_object_get(j, "model") != NULL;
    bool good = j && keep(&r->model, j, path, "model", e) && keep(&r->vae, j, path, "vae", e) && keep(&r->dataset, j, path, "dataset", e);
    json_decref(j);
    return good;
}

/* Lines as far as they can be read: a run may be writing the next one. */
static bool read_metrics(struct run_folder *r, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES], *text;
    size_t bytes, steps_cap = 0, losses_cap = 0;
    if (!path_join(path, folder, "metrics.jsonl", e))
        return false;
    if (!path_exists(path))
        return true;
    if (!file_read(path, METRICS_MAX_BYTES, &text, &bytes, e))
        return false;
    bool good = true;
    for (char *line = text, *next; good && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        json_t *j = json_loads(line, 0, NULL);
        const json_t *step = json_object_get(j, "step"), *loss = json_object_get(j, "loss");
        if (json_is_number(step) && json_is_number(loss)) {
            double *s = mem_grow(r->steps, &steps_cap, r->metric_count + 1, sizeof *s);
            r->steps = s ? s : r->steps;
            double *l = mem_grow(r->losses, &losses_cap, r->metric_count + 1, sizeof *l);
            r->losses = l ? l : r->losses;
            good = (s && l) || err_nomem(e, "a run's numbers");
            if (good) {
                s[r->metric_count] = json_number_value(step);
                l[r->metric_count++] = json_number_value(loss);
            }
        }
        json_decref(j);
    }
    mem_free(text);
    return good;
}

static bool add(struct run_folder *r, const char *folder, const char *name, int64_t step, bool whole, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct run_checkpoint *grown = mem_grow(r->checkpoints, &r->cap, r->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "checkpoints");
    r->checkpoints = grown;
    if (!path_join(path, folder, name, e))
        return false;
    grown[r->count++] = (struct run_checkpoint){ mem_string(path), step, whole };
    return grown[r->count - 1].path || err_nomem(e, "checkpoints");
}

static int by_step(const void *a, const void *b)
{
    const struct run_checkpoint *x = a, *y = b;
    return (x->step > y->step) - (x->step < y->step);
}

/* The step that a name tells: digits behind `before`, then the end of a name or an ending of LoRAs. -1: another name. */
static int64_t step_of(const char *name, const char *before)
{
    const char *at = strstr(name, before);
    size_t n = strlen(before), digits = at ? strspn(at + n, "0123456789") : 0;
    if (!at || (at != name && strcmp(before, "-step=")) || digits == 0 || digits > 15)
        return -1;
    const char *end = at + n + digits;
    bool lora = !strcmp(end, ".safetensors") || !strcmp(end, ".ckpt");
    return lora || (!*end && !strcmp(before, "model-step")) ? strtoll(at + n, NULL, 10) : -1;
}

static bool add_folder(struct run_folder *r, const char *folder, const char **last, struct err *e)
{
    static const char *const lasts[] = { "lora.safetensors", "lora.ckpt", "model" };
    char **names;
    size_t count;
    bool good = true;
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    for (size_t i = 0; good && i < count; i++) {
        int64_t lora = step_of(names[i], "lora-step"), epoch = step_of(names[i], "-step="), whole = step_of(names[i], "model-step");
        int64_t step = lora >= 0 ? lora : epoch >= 0 ? epoch : whole;
        if (step >= 0)
            good = add(r, folder, names[i], step, whole >= 0, e);
        for (size_t k = 0; k < sizeof lasts / sizeof *lasts; k++)
            if (!strcmp(names[i], lasts[k]))
                *last = lasts[k];
    }
    folder_names_free(names, count);
    return good;
}

static bool find_checkpoints(struct run_folder *r, const char *folder, struct err *e)
{
    char epochs[PATH_MAX_BYTES];
    const char *last = NULL, *none = NULL;
    if (!add_folder(r, folder, &last, e) || !path_join(epochs, folder, "checkpoints", e) ||
        (path_is_folder(epochs) && !add_folder(r, epochs, &none, e)))
        return false;
    qsort(r->checkpoints, r->count, sizeof *r->checkpoints, by_step);
    /* The last one is a copy of the last step's where that was kept. */
    int64_t end = r->metric_count ? (int64_t)r->steps[r->metric_count - 1] : 0, had = r->count ? r->checkpoints[r->count - 1].step : -1;
    if (last && (had < end || !r->count) && !add(r, folder, last, end, !strcmp(last, "model"), e))
        return false;
    return (r->count || err_set(e, ERR_MISSING, "%s holds no checkpoint: no lora-step*.safetensors and no model", folder));
}

bool run_folder_open(struct run_folder *r, const char *path, struct err *e)
{
    *r = (struct run_folder){ 0 };
    if (!path_is_folder(path))
        return err_set(e, ERR_MISSING, "%s: no such folder", path);
    return read_config(r, path, e) && read_metrics(r, path, e) && find_checkpoints(r, path, e);
}

void run_folder_release(struct run_folder *r)
{
    for (size_t i = 0; i < r->count; i++)
        mem_free(r->checkpoints[i].path);
    mem_free(r->checkpoints);
    mem_free(r->model);
    mem_free(r->vae);
    mem_free(r->dataset);
    mem_free(r->steps);
    mem_free(r->losses);
    *r = (struct run_folder){ 0 };
}

void run_folder_curve(const struct run_folder *r, struct findings *f)
{
    if (!r->metric_count)
        return;
    findings_curve(f, "training loss", "step", "loss");
    findings_series(f, "training loss", r->steps, r->losses, r->metric_count, -1);
}
