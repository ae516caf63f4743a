#include "flow/node.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "flow/node_table.h"

static bool is_there(const struct node *n, bool test_nodes)
{
    return test_nodes || !(n->flags & NODE_TEST);
}

const struct node *node_at(size_t i, bool test_nodes)
{
    for (const struct node *const *set = node_sets; *set; set++)
        for (const struct node *n = *set; n->name; n++)
            if (is_there(n, test_nodes) && !i--)
                return n;
    return NULL;
}

const struct node *node_find(const char *name, bool test_nodes)
{
    for (const struct node *const *set = node_sets; *set; set++)
        for (const struct node *n = *set; n->name; n++)
            if (is_there(n, test_nodes) && !strcmp(n->name, name))
                return n;
    return NULL;
}

const struct node_input *node_input_find(const struct node *n, const char *name)
{
    for (const struct node_input *i = n->inputs; i && i->name; i++)
        if (!strcmp(i->name, name))
            return i;
    return NULL;
}

size_t node_output_count(const struct node *n)
{
    size_t count = 0;
    while (n->outputs && n->outputs[count].type)
        count++;
    return count;
}

/* Whether `list`, names with commas between them, holds the name. */
static bool holds(const char *list, const char *name, size_t length)
{
    while (*list) {
        size_t next = strcspn(list, ",");
        if (next == length && !strncmp(list, name, length))
            return true;
        list += next + (list[next] == ',');
        list += strspn(list, " ");
    }
    return false;
}

bool node_names_input(const char *list, const char *name)
{
    return list && (!strcmp(list, "*") || holds(list, name, strlen(name)));
}

bool node_types_meet(const char *from, const char *to)
{
    if (!strcmp(from, to) || !strcmp(from, "*") || !strcmp(to, "*"))
        return true;
    while (*from) {
        size_t next = strcspn(from, ",");
        if (holds(to, from, next))
            return true;
        from += next + (from[next] == ',');
        from += strspn(from, " ");
    }
    return false;
}

/* --- what a COMBO offers --- */

static bool add_text(json_t *list, const char *text, struct err *e)
{
    return !json_array_append_new(list, json_string(text)) || err_set(e, ERR_NOMEM, "no memory for a list of names, or one is not UTF-8");
}

struct names {
    json_t *list, *seen;
};

static bool add_model(void *self, const struct model_found *found, struct err *e)
{
    struct names *n = self;
    if (json_object_get(n->seen, found->name))
        return true;
    json_object_set_new(n->seen, found->name, json_true());
    /* a name that is not UTF-8 cannot be sent, so it cannot be chosen */
    if (!json_array_append_new(n->list, json_string(found->name)))
        return true;
    return err_clear(e), true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts an array of texts from `first` on. */
static bool sort_texts(json_t *list, size_t first, struct err *e)
{
    size_t count = json_array_size(list);
    const char **names = mem_zeroed(count ? count : 1, sizeof *names);
    json_t *sorted = json_array();
    bool good = (names && sorted) || err_nomem(e, "a list of names");
    for (size_t i = first; good && i < count; i++)
        names[i] = json_string_value(json_array_get(list, i));
    if (good && count > first)
        qsort(names + first, count - first, sizeof *names, by_name);
    for (size_t i = first; good && i < count; i++)
        good = add_text(sorted, names[i], e);
    while (good && json_array_size(list) > first)
        json_array_remove(list, json_array_size(list) - 1);
    good = good && !json_array_extend(list, sorted);
    mem_free(names);
    json_decref(sorted);
    return good;
}

/* Whole models: files of checkpoints, then folders in diffusers' layout, which are one thing to a flow. */
static bool add_models(json_t *list, enum model_kind kind, const struct flow_host *host, struct err *e)
{
    struct names names = { list, json_object() };
    size_t first = json_array_size(list);
    bool good = names.seen || err_nomem(e, "a list of names");
    good = good && model_places_walk(host->models, kind, add_model, &names, e) &&
           (kind != MODELS_CHECKPOINTS || model_places_walk(host->models, MODELS_DIFFUSERS, add_model, &names, e));
    json_decref(names.seen);
    return good && sort_texts(list, first, e);
}

static bool is_picture(const char *name)
{
    static const char *const ends[] = { ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", NULL };
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && ends[i]; i++)
        if (!strcasecmp(dot, ends[i]))
            return true;
    return false;
}

static bool add_files(json_t *list, const char *folder, bool folders, struct err *e)
{
    char **names, path[PATH_MAX_BYTES];
    size_t count;
    if (!folder || !path_is_folder(folder))
        return true;
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        good = path_join(path, folder, names[i], e);
        if (good && *names[i] != '.' && (folders ? path_is_folder(path) : is_picture(names[i]) && !path_is_folder(path)))
            json_array_append_new(list, json_string(names[i])); /* not UTF-8: as above */
    }
    folder_names_free(names, count);
    return good;
}

json_t *node_choices(const struct node_input *input, const struct flow_host *host, struct err *e)
{
    json_t *list = json_array();
    bool good = list || err_nomem(e, "a list of names");
    for (int i = 0; good && input->choices && input->choices[i]; i++)
        good = add_text(list, input->choices[i], e);
    for (int i = 0; good && input->choice && input->choice(i); i++)
        good = add_text(list, input->choice(i), e);
    if (good && input->folder_first)
        good = add_text(list, input->folder_first, e);
    if (good && input->folder) {
        if (!strcmp(input->folder, "input") || !strcmp(input->folder, "output"))
            good = add_files(list, input->folder[0] == 'i' ? host->input : host->output, false, e);
        else if (!strcmp(input->folder, "input/"))
            good = add_files(list, host->input, true, e);
        else
            good = add_models(list, model_kind_of(input->folder), host, e);
    }
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

bool node_choice_folders(const struct flow_host *host, bool (*enter)(void *self, const char *folder, struct err *e), void *self, struct err *e)
{
    return (!host->input || enter(self, host->input, e)) && (!host->output || enter(self, host->output, e)) &&
           model_places_folders(host->models, enter, self, e);
}
