/* What there is to take, by the layout of what is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataset/dataset_internal.h"
#include "dataset/import_internal.h"
#include "dataset/rows.h"
#include "image/image.h"

static const char *const name_columns[] = { "file_name", "file", "filename", "image", "image_path", "path", NULL };
const char *const import_text_columns[] = { "text", "caption", "prompt", NULL };
static const char *const usual_lists[] = { "metadata.jsonl", "metadata.csv", "train/metadata.jsonl", "train/metadata.csv", NULL };

void items_release(struct import_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        struct import_item *t = &items->at[i];
        mem_free(t->name);
        mem_free(t->target);
        mem_free(t->text);
        mem_free(t->fallback);
        json_decref(t->fields);
    }
    mem_free(items->at);
    *items = (struct import_items){ 0 };
}

struct import_item *items_add(struct import_items *items, const char *name, const char *target, struct err *e)
{
    if (items->count >= DATASET_MAX_PICTURES) {
        err_set(e, ERR_LIMIT, "more than %d pictures", DATASET_MAX_PICTURES);
        return NULL;
    }
    struct import_item *more = mem_grow(items->at, &items->cap, items->count + 1, sizeof *more);
    if (more)
        items->at = more;
    struct import_item *t = more ? &more[items->count] : NULL;
    if (t)
        *t = (struct import_item){ .repeats = 1 };
    if (!t || !(t->name = mem_string(name)) || !(t->target = mem_string(target))) {
        mem_free(t ? t->name : NULL);
        err_nomem(e, "a list of pictures");
        return NULL;
    }
    items->count++;
    return t;
}

/* ---- folders ---- */

/* "10_cat" is 10 times "cat". The first part of the path that is so; *length without its '/'. */
static const char *repeated_part(const char *name, int64_t *repeats, const char **word, size_t *length)
{
    for (const char *part = name, *slash; (slash = strchr(part, '/')); part = slash + 1) {
        char *end;
        long n = strtol(part, &end, 10);
        if (end > part && part[0] >= '0' && part[0] <= '9' && *end == '_' && end + 1 < slash && n >= 1 && n <= DATASET_MAX_REPEATS) {
            *repeats = n;
            *word = end + 1;
            *length = (size_t)(slash - end - 1);
            return part;
        }
    }
    return NULL;
}

static bool add_repeated(struct import_items *items, const char *name, struct err *e)
{
    const char *word;
    size_t length;
    int64_t repeats;
    if (!repeated_part(name, &repeats, &word, &length))
        return true; /* other trainers pass it over too */
    struct import_item *t = items_add(items, name, name, e);
    if (!t)
        return false;
    t->repeats = repeats;
    if (!(t->fallback = mem_zeroed(length + 1, 1)))
        return err_nomem(e, "a list of pictures");
    memcpy(t->fallback, word, length);
    if (utf8_valid(word, length) && !(t->fields = json_pack("{s:s}", "concept", t->fallback)))
        return err_nomem(e, "a list of pictures");
    return true;
}

static bool of_folders(struct import_items *items, const struct import_source *s, enum import_layout layout, struct err *e)
{
    char **names;
    size_t count, length, pictures = 0;
    const char *word;
    int64_t repeats;
    if (!source_names(s, &names, &count, e))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!image_is_picture_name(names[i]))
            continue;
        pictures++;
        if (layout == IMPORT_AUTO && repeated_part(names[i], &repeats, &word, &length))
            layout = IMPORT_KOHYA;
    }
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        if (image_is_picture_name(names[i]))
            good = layout == IMPORT_KOHYA ? add_repeated(items, names[i], e) : items_add(items, names[i], names[i], e) != NULL;
    folder_names_free(names, count);
    if (good && items->count == 0)
        return err_set(e, ERR_MISSING, "%s: no pictures%s", s->root, pictures ? " in folders named N_name" : "");
    return good;
}

/* ---- lists ---- */

struct list {
    struct import_items *items;
    const struct import_source *source;
    const struct import_options *o;
    const char *path; /* for errors */
};

const char *import_column(const json_t *row, const char *asked, const char *const *usual, const char **key)
{
    const char *const one[] = { asked, NULL };
    for (const char *const *name = asked ? one : usual; *name; name++) {
        const char *value = json_string_value(json_object_get(row, *name));
        if (value) {
            *key = *name;
            return value;
        }
    }
    return NULL;
}

/* Splits have other names elsewhere; a name that means neither is kept beside. */
static bool translate_split(json_t *row)
{
    static const char *const held_out[] = { "held-out", "held_out", "validation", "valid", "val", "test", "eval", NULL };
    const char *split = json_string_value(json_object_get(row, "split"));
    if (!split || !*split || !strcmp(split, "train"))
        return true;
    for (const char *const *name = held_out; *name; name++)
        if (!strcasecmp(split, *name))
            return !json_object_set_new(row, "split", json_string("held-out"));
    return !json_object_set(row, "split_name", json_object_get(row, "split")) && !json_object_del(row, "split");
}

bool import_clean_fields(json_t *row, int64_t *repeats)
{
    static const char *const ours[] = { "id", "width", "height", "bytes", "file_name", "text" };
    static const char *const texts[] = { "origin", "excluded", "split", "source" };
    const json_t *times = json_object_get(row, "repeats");
    *repeats = json_is_string(times) ? strtol(json_string_value(times), NULL, 10) : json_integer_value(times);
    if (*repeats < 1 || *repeats > DATASET_MAX_REPEATS)
        *repeats = 1;
    json_object_del(row, "repeats");
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        json_object_del(row, ours[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!json_is_string(json_object_get(row, texts[i])))
            json_object_del(row, texts[i]);
    if (!json_is_array(json_object_get(row, "history")))
        json_object_del(row, "history");
    /* the file's place before this import; the first one of several imports stays */
    json_t *source = json_object_get(row, "source");
    if (source && *json_string_value(source) && !json_object_get(row, "first_source") && json_object_set(row, "first_source", source))
        return false;
    json_object_del(row, "source");
    return translate_split(row);
}

/* Where the file is that a list names: below the source's root, or a path outside it. */
static bool place_of(const struct list *l, const char *file, char *name, struct err *e)
{
    const char *root = l->source->root, *folder = l->items->folder;
    size_t length = strlen(root);
    char base[PATH_MAX_BYTES];
    while (!strncmp(file, "./", 2))
        file += 2;
    if (!l->source->zipped && !strncmp(file, root, length) && file[length] == '/')
        return path_join(name, "", file + length + 1, e);
    if (l->source->zipped || dataset_name_inside(file))
        return path_join(name, folder, file, e);
    return path_join(base, root, folder, e) && path_join(name, base, file, e);
}

static const char *below(const char *name, const char *folder)
{
    size_t length = strlen(folder);
    if (!dataset_name_inside(name))
        return path_name(name);
    return length && !strncmp(name, folder, length) && name[length] == '/' ? name + length + 1 : name;
}

/* row is taken over. */
static bool add_row(void *self, long line, json_t *row, struct err *e)
{
    const struct list *l = self;
    char name[PATH_MAX_BYTES];
    const char *name_key = NULL, *text_key = NULL;
    const char *file = import_column(row, l->o->name_column, name_columns, &name_key);
    const char *text = import_column(row, l->o->text_column, import_text_columns, &text_key);
    struct import_item *t = NULL;
    bool good = false;
    if (!file || !*file)
        err_set(e, ERR_MISSING, "%s, line %ld: no picture: none of the columns %s", l->path, line,
                l->o->name_column ? l->o->name_column : "file_name, file, filename, image, image_path and path");
    else if (place_of(l, file, name, e) && (t = items_add(l->items, name, below(name, l->items->folder), e)))
        good = true;
    if (good && text && !(t->text = mem_string(text)))
        good = err_nomem(e, "a list of pictures");
    if (good) {
        json_object_del(row, name_key);
        if (text_key)
            json_object_del(row, text_key);
        good = import_clean_fields(row, &t->repeats) || err_nomem(e, "a list of pictures");
        t->fields = json_incref(row);
    }
    json_decref(row);
    return good;
}

static bool of_list(struct import_items *items, const struct import_source *s, const char *list, const struct import_options *o,
                    struct err *e)
{
    char path[PATH_MAX_BYTES], *data;
    size_t bytes;
    const char *slash = strrchr(list, '/');
    snprintf(items->folder, sizeof items->folder, "%.*s", (int)(slash ? slash - list : 0), list);
    if (!source_path(s, list, path, e) || !source_read(s, list, DATASET_MAX_BYTES, &data, &bytes, e))
        return false;
    struct list l = { .items = items, .source = s, .o = o, .path = path };
    bool good = rows_read(path, data, bytes, rows_are_csv(list), add_row, &l, e);
    mem_free(data);
    if (good && items->count == 0)
        return err_set(e, ERR_MISSING, "%s: no pictures", path);
    return good;
}

bool items_find(struct import_items *items, const struct import_source *s, const char *list, const struct import_options *o,
                struct err *e)
{
    *items = (struct import_items){ 0 };
    bool look = o->layout == IMPORT_AUTO || o->layout == IMPORT_LIST;
    for (const char *const *usual = usual_lists; look && !list && *usual; usual++)
        if (source_has(s, *usual))
            list = *usual;
    if (!list && o->layout == IMPORT_LIST)
        return err_set(e, ERR_MISSING, "%s: neither metadata.jsonl nor metadata.csv is there, nor in train/", s->root);
    if (list ? of_list(items, s, list, o, e) : of_folders(items, s, o->layout, e))
        return true;
    items_release(items);
    return false;
}
