/* Folders of pictures into the gallery, and out of it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"
#include "jobs/keep.h"
#include "store/picture_files.h"

enum { MOST_DEPTH = 32 };

struct walk {
    struct store *store;
    const char *folder, *owner;
    size_t root; /* bytes of the path that names do not have */
    const struct progress *progress;
    struct import_count *count;
};

/* Whether an error is the file's own fault, so that the others go on. */
static bool is_refusal(const struct err *e)
{
    return e->code == ERR_FORMAT || e->code == ERR_LIMIT || e->code == ERR_TYPE;
}

static bool import_file(const struct walk *w, const char *path, const struct stat *s, struct err *e)
{
    char *data;
    size_t bytes;
    int64_t id;
    bool added = false, good;
    struct err why = { 0 };
    const char *name = path + w->root;
    if (!utf8_valid(name, strlen(name)))
        name = NULL;
    struct gallery_facts more = { .owner = w->owner, .source = "import", .name = name,
                                  .created_ms = (int64_t)s->st_mtim.tv_sec * 1000 + s->st_mtim.tv_nsec / 1000000 };
    good = file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, &why);
    if (good) {
        good = keep_picture(w->store, w->folder, data, bytes, &more, &id, &added, &why);
        mem_free(data);
    }
    struct import_count *c = w->count;
    if (!good && !is_refusal(&why)) {
        *e = why;
        return false;
    }
    if (!good)
        progress_line(w->progress, "left out: %s", why.text);
    c->refused += !good;
    c->added += good && added;
    c->known += good && !added;
    progress_step(w->progress, "import", (long)(c->added + c->known + c->refused), 0, name);
    return true;
}

static bool walk(const struct walk *w, const char *path, int depth, struct err *e)
{
    char **names, below[PATH_MAX_BYTES];
    size_t count;
    if (depth > MOST_DEPTH)
        return err_set(e, ERR_LIMIT, "%s: folders deeper than %d", path, MOST_DEPTH);
    bool good = folder_names(path, NULL, &names, &count, e);
    if (!good)
        return false;
    for (size_t i = 0; good && i < count; i++) {
        struct stat s, link;
        good = stop_check(e) && path_join(below, path, names[i], e);
        if (!good || names[i][0] == '.' || stat(below, &s) || lstat(below, &link))
            continue;
        if (S_ISDIR(s.st_mode) && !S_ISLNK(link.st_mode))
            good = walk(w, below, depth + 1, e);
        else if (S_ISREG(s.st_mode) && image_is_picture_name(names[i]))
            good = import_file(w, below, &s, e);
    }
    folder_names_free(names, count);
    return good;
}

bool keep_folder(struct store *s, const char *folder, const char *path, const char *owner, const struct progress *progress,
                 struct import_count *count, struct err *e)
{
    struct stat at;
    char whole[PATH_MAX_BYTES];
    if (!path_join(whole, "", path, e))
        return false;
    for (size_t n = strlen(whole); n > 1 && whole[n - 1] == '/';)
        whole[--n] = 0;
    if (stat(whole, &at))
        return err_errno(e, "cannot read %s", path);
    bool is_folder = S_ISDIR(at.st_mode);
    struct walk w = { s, folder, owner, is_folder ? strlen(whole) + 1 : (size_t)(path_name(whole) - whole), progress, count };
    return is_folder ? walk(&w, whole, 0, e) : import_file(&w, whole, &at, e);
}

/* --- out of it --- */

struct export {
    struct store *store;
    const char *folder, *out, *owner;
    struct file_write list;
    const struct progress *progress;
    int64_t *count;
};

static bool export_one(struct export *x, int64_t id, struct err *e)
{
    char which[24], name[40], from[PATH_MAX_BYTES], to[PATH_MAX_BYTES], *data;
    size_t bytes;
    json_t *picture = NULL;
    snprintf(which, sizeof which, "%lld", (long long)id);
    if (!gallery_get(x->store, x->owner, which, &picture, e))
        return false;
    const char *hash = json_string_value(json_object_get(picture, "hash")), *type = json_string_value(json_object_get(picture, "type"));
    snprintf(name, sizeof name, "%06lld.%s", (long long)id, type);
    bool good = path_join(to, x->out, name, e) && picture_file_path(from, x->folder, hash, type, e) &&
                file_read(from, IMAGE_FILE_MAX_BYTES, &data, &bytes, e);
    if (good) {
        good = file_write_whole(to, data, bytes, e);
        mem_free(data);
    }
    json_t *words = json_object_get(picture, "prompt"), *line = json_object();
    json_object_set_new(line, "file_name", json_string(name));
    json_object_set_new(line, "text", words ? json_incref(words) : json_string(""));
    json_object_update_missing(line, picture);
    char *text = good && line ? json_dumps(line, JSON_COMPACT) : NULL;
    good = good && (text || err_nomem(e, "a picture's line")) && file_put(&x->list, text, strlen(text), e) && file_put(&x->list, "\n", 1, e);
    free(text);
    json_decref(line);
    json_decref(picture);
    *x->count += good;
    progress_step(x->progress, "export", (long)*x->count, 0, name);
    return good;
}

static bool export_found(void *self, const json_t *picture, struct err *e)
{
    return stop_check(e) && export_one(self, json_integer_value(json_object_get(picture, "id")), e);
}

bool keep_export(struct store *s, const char *folder, const struct gallery_query *query, const int64_t *ids, size_t id_count,
                 const char *out, const struct progress *progress, int64_t *count, struct err *e)
{
    struct export x = { .store = s, .folder = folder, .out = out, .owner = query->owner ? query->owner : "", .progress = progress, .count = count };
    char path[PATH_MAX_BYTES];
    *count = 0;
    if (!folder_make(out, e) || !path_join(path, out, "metadata.jsonl", e))
        return false;
    if (path_exists(path))
        return err_set(e, ERR_IO, "%s is there: export into a folder without a list", path);
    if (!file_begin(&x.list, path, e))
        return false;
    bool good = ids || gallery_each(s, query, export_found, &x, e);
    for (size_t i = 0; good && i < id_count; i++)
        good = stop_check(e) && export_one(&x, ids[i], e);
    if (good)
        return file_commit(&x.list, e);
    file_abandon(&x.list);
    return false;
}
