/* limn run: a flow of nodes, without a server. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/gallery_place.h"
#include "cli/progress_bar.h"
#include "flow/flow.h"
#include "flow/run.h"
#include "jobs/keep.h"

struct run_args {
    struct option_texts files, set;
    const char *output, *input, *comfyui, *extra_model_paths;
    int64_t threads;
    int precision;
    bool check, json, quiet, metadata, gallery;
    const char *database, *gallery_folder;
};

#define AT(member) offsetof(struct run_args, member)

static const struct option run_options[] = {
    { "set", 's', OPTION_TEXTS, AT(set), .value = "NODE.INPUT=VALUE", .group = "What",
      .help = "another value for an input; NODE is an id, a title, or a class that only one node has" },
    { "check", 0, OPTION_FLAG, AT(check), .help = "only say what is wrong with the flow" },
    OPTION_ROWS_PLACES(struct run_args),
    { "output", 'o', OPTION_TEXT, AT(output), "output", .value = "FOLDER", .group = "Files", .help = "where pictures are saved" },
    { "input", 'i', OPTION_TEXT, AT(input), ".", .value = "FOLDER", .help = "where Load Image looks for pictures" },
    { "metadata", 0, OPTION_FLAG, AT(metadata), "yes", .help = "do not write into pictures how they were made" },
    { "gallery", 'g', OPTION_FLAG, AT(gallery), .help = "put saved pictures into the gallery, too" },
    OPTION_ROWS_GALLERY(struct run_args),
    OPTION_ROW_PRECISION(struct run_args),
    OPTION_ROW_THREADS(struct run_args),
    OPTION_ROW_JSON(struct run_args),
    OPTION_ROW_QUIET(struct run_args),
    { 0 },
};

struct run_command {
    const struct run_args *args;
    struct engine engine;
    struct model_places places;
    struct flow_host host;
    struct progress_bar bar;
    struct progress progress;
    char temp[PATH_MAX_BYTES];
    const json_t *flow;
    struct gallery_place gallery; /* of --gallery */
};

/* Temporary pictures live as long as the command. */
static bool make_temp(struct run_command *r, struct err *e)
{
    const char *folder = getenv("TMPDIR");
    int length = snprintf(r->temp, sizeof r->temp, "%s/limn-run-", folder && *folder ? folder : P_tmpdir);
    enum { DRAWN = 6 }; /* letters that mkdtemp draws */
    if (length < 0 || length + DRAWN >= (int)sizeof r->temp)
        return err_set(e, ERR_LIMIT, "TMPDIR is too long a path");
    memset(r->temp + length, 'X', DRAWN);
    return mkdtemp(r->temp) || err_errno(e, "cannot make a temporary folder %s", r->temp);
}

static void remove_temp(struct run_command *r)
{
    char **names, path[PATH_MAX_BYTES];
    size_t count;
    struct err ignored = { 0 };
    if (!*r->temp || !folder_names(r->temp, NULL, &names, &count, &ignored))
        return;
    for (size_t i = 0; i < count; i++)
        if (path_join(path, r->temp, names[i], &ignored))
            unlink(path);
    folder_names_free(names, count);
    rmdir(r->temp);
}

/* The node's title, or its class, for the bar. */
static const char *name_of(const struct run_command *r, const char *id)
{
    const json_t *node = json_object_get(r->flow, id);
    const char *title = json_string_value(json_object_get(json_object_get(node, "_meta"), "title"));
    const char *class = json_string_value(json_object_get(node, "class_type"));
    return title && *title ? title : class ? class : id;
}

static void on_message(void *self, const char *type, const json_t *data)
{
    struct run_command *r = self;
    const char *node = json_string_value(json_object_get(data, "node"));
    if (!strcmp(type, "progress") && node)
        progress_step(&r->progress, name_of(r, node), (long)json_integer_value(json_object_get(data, "value")),
                      (long)json_integer_value(json_object_get(data, "max")), NULL);
    else if (!strcmp(type, "executing") && node)
        progress_step(&r->progress, name_of(r, node), 0, 1, NULL);
}

static void on_line(void *self, const char *text)
{
    struct run_command *r = self;
    progress_line(&r->progress, "%s", text);
}

static bool is_saved(const json_t *file)
{
    const char *type = json_string_value(json_object_get(file, "type"));
    return type && !strcmp(type, "output");
}

/* The saved pictures into the gallery. */
static bool keep_files(const struct run_command *r, const struct flow_result *result, struct err *e)
{
    const char *id;
    json_t *ui, *file;
    size_t i;
    if (!r->gallery.store)
        return true;
    json_object_foreach(result->outputs, id, ui)
        json_array_foreach(json_object_get(ui, "images"), i, file) {
            char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
            const char *sub = json_string_value(json_object_get(file, "subfolder"));
            const char *name = json_string_value(json_object_get(file, "filename"));
            if (is_saved(file) && (!path_join(folder, r->host.output, sub ? sub : "", e) || !path_join(path, folder, name, e) ||
                                   !keep_file(r->gallery.store, r->gallery.folder, path, "run", e)))
                return false;
        }
    return true;
}

/* The files that were written, one a line; or the results as JSON. */
static bool print_files(const struct run_command *r, const struct flow_result *result, struct err *e)
{
    const char *id;
    json_t *ui, *file;
    size_t i;
    if (r->args->json) {
        char *line = json_dumps(result->outputs, JSON_COMPACT);
        if (!line)
            return err_nomem(e, "a line of JSON");
        puts(line);
        free(line);
        return true;
    }
    json_object_foreach(result->outputs, id, ui)
        json_array_foreach(json_object_get(ui, "images"), i, file) {
            char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
            const char *sub = json_string_value(json_object_get(file, "subfolder"));
            const char *name = json_string_value(json_object_get(file, "filename"));
            struct image image = { 0 };
            struct err ignored = { 0 };
            if (!path_join(folder, is_saved(file) ? r->host.output : r->host.temp, sub ? sub : "", e) || !path_join(path, folder, name, e))
                return false;
            if (is_saved(file))
                puts(path);
            fflush(stdout);
            if (!r->args->quiet && image_load(&image, path, IMAGE_KEEP_ALPHA, 0, &ignored) && !image_show(&image, 0, &ignored))
                progress_line(&r->progress, "the picture cannot be shown here: %s", ignored.text);
            image_release(&image);
        }
    return true;
}

static bool run_flow(struct run_command *r, const struct flow_checked *checked, const json_t *workflow, struct err *e)
{
    struct flow_engine *engine = flow_engine_new(&(struct flow_engine_options){ .backend = r->engine.backend, .type = r->engine.type }, e);
    json_t *extra = workflow ? json_pack("{s:{s:O}}", "extra_pnginfo", "workflow", workflow) : json_object();
    struct flow_run_options options = { .host = &r->host, .extra_data = extra,
                                        .events = { .message = on_message, .line = on_line, .self = r } };
    struct flow_result result = { 0 };
    bool good = engine && flow_run(engine, r->flow, checked->outputs, &options, &result, e);
    progress_bar_end(&r->bar);
    if (good && result.end == FLOW_INTERRUPTED) {
        good = err_set(e, ERR_STOPPED, "stopped");
    } else if (good && result.end == FLOW_ERROR) {
        const json_t *d = result.last_data;
        good = err_set(e, ERR_FORMAT, "node %s (%s): %s", json_string_value(json_object_get(d, "node_id")),
                       json_string_value(json_object_get(d, "node_type")), json_string_value(json_object_get(d, "exception_message")));
    }
    good = good && keep_files(r, &result, e) && print_files(r, &result, e);
    flow_result_release(&result);
    json_decref(extra);
    flow_engine_free(engine);
    return good;
}

static bool check_flow(struct run_command *r, json_t *flow, struct flow_checked *checked, struct err *e)
{
    struct text text;
    if (!flow_check(checked, flow, NULL, &r->host, e))
        return false;
    text_init(&text, 1 << 22);
    flow_checked_text(checked, &text);
    if (checked->error)
        err_set(e, ERR_ARG, "%s: %s", r->args->files.items[0], text_string(&text));
    else if (text.length)
        progress_line(&r->progress, "%s", text_string(&text));
    text_release(&text);
    return !checked->error;
}

static bool run_run(const void *args, struct err *e)
{
    const struct run_args *a = args;
    struct run_command *r = mem_zeroed(1, sizeof *r);
    if (!r)
        return err_nomem(e, "a run");
    r->args = a;
    progress_bar_init(&r->bar, a->quiet);
    r->progress = progress_bar_steps(&r->bar);
    r->host = (struct flow_host){ .models = &r->places, .output = a->output, .input = a->input, .temp = r->temp, .version = LIMN_VERSION,
                                  .no_metadata = !a->metadata };
    struct flow_checked checked = { 0 };
    json_t *workflow = NULL, *flow = NULL;
    bool good = image_init(e) && engine_places(&r->places, a->comfyui, a->extra_model_paths, e) &&
                model_places_add_written(&r->places, a->output, e) && make_temp(r, e) &&
                (!a->gallery || gallery_place_open(&r->gallery, a->database, a->gallery_folder, e));
    flow = good ? flow_read(a->files.items[0], &r->host, &workflow, e) : NULL;
    good = flow != NULL;
    for (int i = 0; good && i < a->set.count; i++)
        good = flow_set(flow, a->set.items[i], &r->host, e);
    r->flow = flow;
    good = good && check_flow(r, flow, &checked, e);
    if (good && a->check)
        puts("the flow can run");
    else
        good = good && engine_init(&r->engine, a->threads, a->precision, e) && run_flow(r, &checked, workflow, e);
    progress_bar_end(&r->bar);
    flow_checked_release(&checked);
    json_decref(flow);
    json_decref(workflow);
    remove_temp(r);
    gallery_place_close(&r->gallery);
    engine_release(&r->engine);
    model_places_release(&r->places);
    mem_free(r);
    return good;
}

const struct command command_run = {
    .name = "run",
    .help = "Runs a flow of nodes.",
    .details = "FILE is a flow in ComfyUI's API format, a workflow as a page of nodes saves it, or a PNG picture that has one of them in it, as "
               "limn and ComfyUI write: the picture is then drawn again.\n"
               "--set seed.input=value changes it: --set KSampler.seed=7 --set 6.text=\"a red apple\". The nodes and their inputs are "
               "in docs/nodes.md.",
    .words = "FILE", .words_place = AT(files), .words_min = 1, .words_max = 1,
    .options = run_options, .args_bytes = sizeof(struct run_args), .run = run_run,
};
