/* Trainings for the page: the folders below output/runs, each as train/trainer.h leaves it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

enum { MOST_POINTS = 1000 };
#define METRICS_MAX_BYTES ((size_t)64 << 20)

static bool runs_folder(struct exchange *x, const char *name, char out[PATH_MAX_BYTES], struct err *e)
{
    char root[PATH_MAX_BYTES], runs[PATH_MAX_BYTES];
    return exchange_folder(x, "output", root, e) && path_join(runs, root, "runs", e) && path_below(out, runs, name, e);
}

/* The lines of metrics.jsonl, at most MOST_POINTS: every k-th and the last. A line that is cut off is left out; none is an empty array. */
static json_t *points(const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES], *data;
    size_t bytes, lines = 0, line = 0;
    json_t *all = json_array();
    if (!all || !path_join(path, folder, "metrics.jsonl", e) || !path_exists(path))
        return all;
    if (!file_read(path, METRICS_MAX_BYTES, &data, &bytes, e)) {
        json_decref(all);
        return NULL;
    }
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    size_t stride = lines / MOST_POINTS + 1;
    for (char *at = data, *end; all && (end = strchr(at, '\n')); at = end + 1, line++) {
        json_t *one = line % stride == 0 || line + 1 == lines ? json_loadb(at, (size_t)(end - at), 0, NULL) : NULL;
        if (one && json_array_append_new(all, one)) {
            json_decref(all);
            all = NULL;
        }
    }
    mem_free(data);
    if (!all)
        err_nomem(e, "a training's numbers");
    return all;
}

static json_t *settings_of(const char *folder)
{
    char path[PATH_MAX_BYTES];
    struct err why = { 0 };
    json_t *settings = path_join(path, folder, "config.json", &why) ? json_read(path, &why) : NULL;
    return settings ? settings : json_object();
}

/* {"name", "kind", "step", "steps", "changed"} and with `whole` all that is known. */
static json_t *run_object(const char *name, const char *folder, bool whole, struct err *e)
{
    json_t *metrics = points(folder, e), *settings = settings_of(folder);
    json_t *last = json_array_get(metrics, json_array_size(metrics) ? json_array_size(metrics) - 1 : 0);
    const char *kind = json_string_value(json_object_get(settings, "command"));
    json_t *run = metrics ? json_pack("{s:s,s:s,s:I,s:I}", "name", name, "kind", kind ? kind : "", "step",
                                      json_integer_value(json_object_get(last, "step")), "steps",
                                      json_integer_value(json_object_get(settings, "steps")))
                          : NULL;
    /* when it wrote its last line: a run that nobody started here may be going on */
    char log[PATH_MAX_BYTES];
    struct stat at;
    struct err ignored = { 0 };
    if (run && path_join(log, folder, "metrics.jsonl", &ignored) && !stat(log, &at))
        json_object_set_new(run, "changed", json_integer((json_int_t)at.st_mtim.tv_sec * 1000 + at.st_mtim.tv_nsec / 1000000));
    if (run && whole) {
        char path[PATH_MAX_BYTES], **names = NULL;
        size_t count = 0;
        json_t *samples = json_array();
        struct err why = { 0 };
        if (path_join(path, folder, "samples", &why) && path_is_folder(path) && folder_names(path, ".png", &names, &count, &why))
            for (size_t i = 0; i < count; i++)
                json_array_append_new(samples, json_sprintf("samples/%s", names[i]));
        folder_names_free(names, count);
        json_object_set_new(run, "samples", samples);
        json_object_set(run, "metrics", metrics);
        json_object_set(run, "settings", settings);
    }
    json_decref(metrics);
    json_decref(settings);
    if (!run && !e->code)
        err_nomem(e, "a training's facts");
    return run;
}

bool get_runs(struct exchange *x, struct err *e)
{
    char root[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES], **names = NULL;
    size_t count = 0;
    json_t *list = json_array();
    bool good = (list || err_nomem(e, "a list of trainings")) && runs_folder(x, "", root, e) &&
                (!path_is_folder(root) || folder_names(root, NULL, &names, &count, e));
    for (size_t i = 0; good && i < count; i++) {
        good = path_join(folder, root, names[i], e) && path_join(config, folder, "config.json", e);
        json_t *run = good && path_exists(config) ? run_object(names[i], folder, false, e) : NULL;
        good = good && (!path_exists(config) || (run && !json_array_append_new(list, run)));
    }
    folder_names_free(names, count);
    json_t *all = good ? json_pack("{s:O}", "runs", list) : NULL;
    json_decref(list);
    return good && (all ? answer_json(x, 200, all, e) : err_nomem(e, "a list of trainings"));
}

bool get_run(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    if (!path_name_safe(x->param[0], e) || !runs_folder(x, x->param[0], folder, e) || !path_join(config, folder, "config.json", e))
        return false;
    if (!path_exists(config))
        return err_set(e, ERR_MISSING, "there is no training %.200s", x->param[0]);
    json_t *run = run_object(x->param[0], folder, true, e);
    return run && answer_json(x, 200, run, e);
}

/* A sample, the curve, or what was learnt. */
bool get_run_file(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES], name[1024];
    bool found;
    if (!path_name_safe(x->param[0], e) || !runs_folder(x, x->param[0], folder, e) || !exchange_query(x, "name", name, sizeof name, &found, e))
        return false;
    if (!found)
        return err_set(e, ERR_ARG, "the query has no name");
    return path_name_safe(name, e) && path_below(path, folder, name, e) && answer_file(x, path, "no-cache", path_name(path), true, e);
}
