/* limn models: what is in the folders of models. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/progress_bar.h"
#include "model/family/model_facts.h"

struct models_args {
    const char *comfyui, *extra_model_paths;
    int kind;
    bool facts, json, quiet;
};

/* The first stands for every kind. */
static const char *kind_choice(int index)
{
    return index == 0 ? "all" : index <= MODELS_KINDS ? model_kind_names[index - 1] : NULL;
}

#define AT(member) offsetof(struct models_args, member)
static const struct option models_options[] = {
    { "kind", 'k', OPTION_CHOICE, AT(kind), "all", .choices = kind_choice, .help = "list only these" },
    { "facts", 0, OPTION_FLAG, AT(facts), "yes", .help = "do not open the files: names and sizes alone" },
    OPTION_ROWS_PLACES(struct models_args),
    OPTION_ROW_JSON(struct models_args),
    OPTION_ROW_QUIET(struct models_args),
    { 0 },
};

/* A model of the list. */
struct row {
    enum model_kind kind;
    int64_t bytes;
    char *name, *path, *why; /* owned; why: NULL if it can be looked at */
    json_t *facts;           /* NULL: not looked at */
};
struct list {
    struct row *rows;
    size_t count, cap;
    json_t *names; /* "kind/name" of those that are in it */
};

/* What a name means is what is found first: another of the same name is left out, as it could not be named. */
static bool add_row(void *self, const struct model_found *found, struct err *e)
{
    struct list *list = self;
    char key[PATH_MAX_BYTES + 32];
    snprintf(key, sizeof key, "%d/%s%s", (int)found->kind, found->name, found->why ? found->path : "");
    bool valid = utf8_valid(key, strlen(key)); /* JSON has no other keys; such names are always listed */
    if (valid && json_object_get(list->names, key))
        return true;
    if (valid && json_object_set_new(list->names, key, json_true()))
        return err_nomem(e, "the list of models");
    struct row *grown = mem_grow(list->rows, &list->cap, list->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "the list of models");
    list->rows = grown;
    struct row *row = &grown[list->count++];
    *row = (struct row){ .kind = found->kind, .bytes = found->bytes, .name = mem_string(found->name), .path = mem_string(found->path),
                         .why = found->why ? mem_string(found->why) : NULL };
    return (row->name && row->path && (row->why || !found->why)) || err_nomem(e, "the list of models");
}

static int by_name(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);
}

/* A file that cannot be read is a row of the list, not the end of it. */
static bool look(struct list *list, const struct progress *progress, struct err *e)
{
    for (size_t i = 0; i < list->count; i++) {
        struct row *row = &list->rows[i];
        struct err why = { 0 };
        if (!stop_check(e))
            return false;
        progress_step(progress, "look", (long)i + 1, (long)list->count, row->name);
        if (row->why || (row->facts = model_facts(row->path, false, NULL, &why)))
            continue;
        if (why.code == ERR_NOMEM || why.code == ERR_STOPPED) {
            *e = why;
            return false;
        }
        if (!(row->why = mem_string(why.text)))
            return err_nomem(e, row->path);
    }
    return true;
}

static const char *text_of(const struct row *row, const char *key)
{
    return json_string_value(json_object_get(row->facts, key));
}

static void print_table(const struct list *list)
{
    int width = 4;
    for (size_t i = 0; i < list->count; i++)
        width = strlen(list->rows[i].name) > (size_t)width ? (int)strlen(list->rows[i].name) : width;
    width = width > 60 ? 60 : width;
    for (size_t i = 0; i < list->count; i++) {
        const struct row *row = &list->rows[i];
        const char *family = text_of(row, "family"), *what = text_of(row, "kind");
        if (!i)
            printf("%-16s  %-*s  %12s  %s\n", "kind", width, "name", "size", "what");
        printf("%-16s  %-*s  %8.1f MiB  %s%s%s%s\n", model_kind_names[row->kind], width, row->name, ldexp((double)row->bytes, -20),
               row->why ? "cannot be read: " : family ? family : "", row->why ? row->why : family && what ? ", " : "",
               !row->why && what ? what : "", json_is_true(json_object_get(row->facts, "inpaints")) ? ", for inpainting" : "");
    }
}

static json_t *row_json(const struct row *row)
{
    const char *family = text_of(row, "family"), *what = text_of(row, "kind"), *layout = text_of(row, "layout");
    return json_pack("{s:s, s:s, s:s, s:I, s:s?, s:s?, s:s?, s:s?}", "kind", model_kind_names[row->kind], "name", row->name, "path",
                     row->path, "bytes", (json_int_t)row->bytes, "what", what, "family", family, "layout", layout, "why", row->why);
}

static bool print_json(const struct list *list, const struct model_places *places, int kind, struct err *e)
{
    json_t *models = json_array(), *folders = json_array();
    for (size_t i = 0; i < list->count; i++)
        if (json_array_append_new(models, row_json(&list->rows[i])))
            err_set(e, ERR_NOMEM, "%s cannot be written as JSON", list->rows[i].path);
    for (size_t i = 0; i < places->count; i++)
        if (kind == 0 || kind - 1 == (int)places->items[i].kind)
            json_array_append_new(folders, json_pack("{s:s, s:s, s:b}", "kind", model_kind_names[places->items[i].kind], "path",
                                                     places->items[i].path, "there", path_is_folder(places->items[i].path)));
    json_t *all = e->code ? NULL : json_pack("{s:O, s:O}", "models", models, "folders", folders);
    char *line = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(models);
    json_decref(folders);
    json_decref(all);
    if (!line)
        return e->code ? false : err_nomem(e, "a line of JSON");
    puts(line);
    free(line);
    return true;
}

/* Nothing is there: where it should lie. */
static void tell_empty(const struct model_places *places, int kind)
{
    fprintf(stderr, "no models in");
    for (size_t i = 0; i < places->count; i++)
        if (kind ? kind - 1 == (int)places->items[i].kind : places->items[i].form == PLACE_ROOT && places->items[i].kind == MODELS_CHECKPOINTS)
            fprintf(stderr, " %s", places->items[i].path);
    fputs("\n", stderr);
}

static bool models_run(const void *args, struct err *e)
{
    const struct models_args *a = args;
    struct model_places places;
    struct list list = { .names = json_object() };
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet || a->json);
    struct progress progress = progress_bar_steps(&bar);
    bool good = (list.names || err_nomem(e, "the list of models"));
    good = engine_places(&places, a->comfyui, a->extra_model_paths, e) && good;
    for (int kind = 0; good && kind < MODELS_KINDS; kind++)
        if (a->kind == 0 || a->kind - 1 == kind)
            good = model_places_walk(&places, (enum model_kind)kind, add_row, &list, e);
    if (good && list.count)
        qsort(list.rows, list.count, sizeof *list.rows, by_name);
    good = good && (!a->facts || look(&list, &progress, e));
    progress_bar_end(&bar);
    if (good && a->json)
        good = print_json(&list, &places, a->kind, e);
    else if (good && list.count)
        print_table(&list);
    else if (good)
        tell_empty(&places, a->kind);
    for (size_t i = 0; i < list.count; i++) {
        mem_free(list.rows[i].name);
        mem_free(list.rows[i].path);
        mem_free(list.rows[i].why);
        json_decref(list.rows[i].facts);
    }
    mem_free(list.rows);
    json_decref(list.names);
    model_places_release(&places);
    return good;
}

const struct command command_models = {
    .name = "models",
    .help = "Lists the models in the folders.",
    .details = "Looked at are limn's folders ($LIMN_MODELS or ~/.local/share/limn/models, and where the program lies; LoRAs, VAEs and the "
               "like are in folders loras, vae, ... in them), an installation of ComfyUI (--comfyui), which is used in place, and what "
               "a file of model paths names (--extra-model-paths).\n"
               "A name of the list is what --model, --lora, --vae and <lora:name:1> take, with or without its ending, with '/' or '\\', or its "
               "last part alone where only one has it. Only the heads of files are read; what cannot be read is listed with the reason.",
    .options = models_options, .args_bytes = sizeof(struct models_args), .run = models_run,
};
