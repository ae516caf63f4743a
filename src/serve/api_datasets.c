/* Data sets for the page: the folders of the input folder that have a list of pictures (dataset/manifest.h). */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "dataset/manifest.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

bool exchange_dataset(struct exchange *x, char out[PATH_MAX_BYTES], struct err *e)
{
    char root[PATH_MAX_BYTES];
    const char *name = x->param[0];
    return path_name_safe(name, e) && exchange_folder(x, "input", root, e) && path_below(out, root, name, e);
}

static bool add_set(json_t *list, const char *name, const char *folder, struct err *e)
{
    struct err why = { 0 };
    struct manifest *m = manifest_open(folder, MANIFEST_READ, &why);
    if (!m) /* a folder of pictures that is no data set */
        return why.code != ERR_NOMEM || err_nomem(e, "a list of data sets");
    int64_t excluded = 0;
    for (size_t i = 0; i < manifest_count(m); i++)
        excluded += *manifest_picture(m, i)->excluded != 0;
    json_t *set = json_pack("{s:s,s:I,s:I}", "name", name, "pictures", (json_int_t)manifest_count(m), "excluded", (json_int_t)excluded);
    manifest_free(m);
    return (set && !json_array_append_new(list, set)) || err_nomem(e, "a list of data sets");
}

bool get_datasets(struct exchange *x, struct err *e)
{
    char root[PATH_MAX_BYTES], path[PATH_MAX_BYTES], **names;
    size_t count;
    if (!exchange_folder(x, "input", root, e) || !folder_make(root, e) || !folder_names(root, NULL, &names, &count, e))
        return false;
    json_t *list = json_array();
    bool good = list || err_nomem(e, "a list of data sets");
    for (size_t i = 0; good && i < count; i++)
        if (*names[i] != '.' && path_join(path, root, names[i], e) && path_is_folder(path))
            good = add_set(list, names[i], path, e);
    folder_names_free(names, count);
    json_t *all = good ? json_pack("{s:o}", "datasets", list) : NULL;
    if (good)
        return all ? answer_json(x, 200, all, e) : err_nomem(e, "a list of data sets");
    json_decref(list);
    return false;
}

/* Which pictures are asked for: of `only` and with `words` in name or caption. */
static bool is_wanted(const struct manifest_picture *p, const char *only, const char *words)
{
    bool kind = !strcmp(only, "used")          ? !*p->excluded
                : !strcmp(only, "excluded")    ? *p->excluded != 0
                : !strcmp(only, "uncaptioned") ? !*p->text && !*p->excluded
                                               : true;
    return kind && (!*words || strcasestr(p->text, words) || strcasestr(p->file_name, words));
}

bool get_dataset(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], only[16] = "all", words[1024] = "";
    bool ignored;
    int64_t offset = 0, limit = 60, found = 0;
    if (!exchange_dataset(x, folder, e) || !exchange_query_int(x, "offset", 0, INT64_MAX, &offset, e) ||
        !exchange_query_int(x, "limit", 1, 1000, &limit, e) || !exchange_query(x, "only", only, sizeof only, &ignored, e) ||
        !exchange_query(x, "words", words, sizeof words, &ignored, e))
        return false;
    struct manifest *m = manifest_open(folder, MANIFEST_READ, e);
    if (!m)
        return false;
    json_t *pictures = json_array();
    bool good = pictures || err_nomem(e, "a data set's pictures");
    for (size_t i = 0; good && i < manifest_count(m); i++) {
        if (!is_wanted(manifest_picture(m, i), only, words) || found++ < offset || found > offset + limit)
            continue;
        json_t *p = manifest_object(m, i, e);
        json_object_del(p, "history");
        good = p && (!json_array_append_new(pictures, p) || err_nomem(e, "a data set's pictures"));
    }
    json_t *all = good ? json_pack("{s:s,s:I,s:O}", "name", x->param[0], "total", (json_int_t)found, "pictures", pictures) : NULL;
    manifest_free(m);
    json_decref(pictures);
    return good && (all ? answer_json(x, 200, all, e) : err_nomem(e, "a data set's pictures"));
}

/* A picture's caption, and that it belongs to the set; null for `excluded` takes it back in. */
bool post_dataset(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    const char *file = json_string_value(json_object_get(x->json, "file_name"));
    json_t *text = json_object_get(x->json, "text"), *excluded = json_object_get(x->json, "excluded");
    if (!exchange_dataset(x, folder, e) || !path_below(path, folder, file, e))
        return false;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s: no picture %.200s: send it to /upload/image with subfolder %s first", x->param[0], file, x->param[0]);
    json_t *fields = json_pack("{s:s}", "file_name", file);
    bool good = fields && (!text || !json_object_set(fields, "text", text)) && (!excluded || !json_object_set(fields, "excluded", excluded));
    struct manifest *m = good ? manifest_open(folder, MANIFEST_MAKE, e) : NULL;
    if (!m) {
        json_decref(fields);
        return good ? false : err_nomem(e, "a picture's fields");
    }
    long at = manifest_find_file(m, file);
    good = at < 0 ? manifest_add(m, fields, "added", NULL, e) : manifest_change(m, (size_t)at, fields, "edited", NULL, e);
    good = good && (at >= 0 || manifest_identify(m, NULL, NULL, e)) && manifest_save(m, e);
    manifest_free(m);
    return good && answer_json(x, 200, json_object(), e);
}
