/* What there is to take from the gallery: its folder is the source, a query's rows are the list. */
#include <string.h>

#include "base/mem.h"
#include "dataset/import_internal.h"

/* The manifest says these in its own fields, or of the file that is in the data set. */
static const char *const told_elsewhere[] = { "prompt", "file", "hash", "type", "bytes", "width", "height" };

struct gallery_rows {
    struct import_items *items;
    const struct import_gallery *gallery;
};

/* All else that the gallery knows of a picture, without what is empty: {"gallery": {"id": 5, "model": ..., ...}}. */
static json_t *fields_of(const json_t *picture)
{
    json_t *known = json_object(), *value;
    const char *key;
    bool good = known != NULL;
    json_object_foreach((json_t *)picture, key, value)
        if (!json_is_null(value) && (!json_is_array(value) || json_array_size(value)))
            good = good && !json_object_set(known, key, value);
    for (size_t i = 0; i < sizeof told_elsewhere / sizeof *told_elsewhere; i++)
        json_object_del(known, told_elsewhere[i]);
    json_t *fields = good ? json_pack("{s:O}", "gallery", known) : NULL;
    json_decref(known);
    return fields;
}

static bool add_picture(void *self, const json_t *picture, struct err *e)
{
    const struct gallery_rows *g = self;
    const char *file = json_string_value(json_object_get(picture, "file"));
    const char *type = json_string_value(json_object_get(picture, "type"));
    const char *prompt = json_string_value(json_object_get(picture, "prompt"));
    char target[64];
    if (!file || !type)
        return err_set(e, ERR_FORMAT, "%s: a picture without a file", store_where(g->gallery->store));
    snprintf(target, sizeof target, "%06lld.%s", (long long)json_integer_value(json_object_get(picture, "id")), type);
    struct import_item *t = stop_check(e) ? items_add(g->items, file, target, e) : NULL;
    return t && (((t->text = mem_string(prompt ? prompt : "")) && (t->fields = fields_of(picture))) || err_nomem(e, "a list of pictures"));
}

bool items_of_gallery(struct import_items *items, const struct import_gallery *gallery, struct err *e)
{
    *items = (struct import_items){ 0 };
    struct gallery_rows g = { items, gallery };
    if (gallery_each(gallery->store, &gallery->query, add_picture, &g, e) &&
        (items->count || err_set(e, ERR_MISSING, "the gallery has no such picture")))
        return true;
    items_release(items);
    return false;
}
