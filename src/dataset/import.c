/* Pictures are read, checked and written by all threads, a batch at a time; names are chosen and the manifest is changed by one. */
#include "dataset/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/text.h"
#include "dataset/dataset_internal.h"
#include "dataset/import_internal.h"
#include "dataset/manifest.h"
#include "image/image.h"

enum { BATCH = 32 };

struct importer {
    const struct import_options *o;
    const struct import_source *source;
    struct manifest *m;
    struct import_result *r;
    const struct progress *progress;
    bool in_place;
};

/* One picture on its way. */
struct take {
    struct import_item *item;
    char source[PATH_MAX_BYTES], target[PATH_MAX_BYTES]; /* target: below the data set's folder */
    bool there;     /* from an earlier run */
    bool contested; /* its name has another picture: what to do is known when its bytes are */
    char *data;     /* only of what is contested */
    size_t bytes;
    char *text;
    char id[DIGEST_TEXT_BYTES];
    struct image_facts facts;
    struct err why; /* why it is skipped */
};

static bool skip(struct importer *w, const char *file, const char *reason, struct err *e)
{
    enum { MOST_LINES = 20 };
    char told_file[PATH_MAX_BYTES], told_reason[PATH_MAX_BYTES];
    plain_utf8(told_file, sizeof told_file, file);
    plain_utf8(told_reason, sizeof told_reason, reason);
    if (w->r->skipped++ < MOST_LINES)
        progress_line(w->progress, "skipped %s", told_reason);
    if (json_array_size(w->r->reasons) >= IMPORT_MOST_REASONS)
        return true;
    json_t *entry = json_pack("{s:s,s:s}", "file", told_file, "reason", told_reason);
    return (entry && !json_array_append_new(w->r->reasons, entry)) || err_nomem(e, "the list of what was skipped");
}

/* "a/b.png" -> "a/b-2.png" for n = 2. */
static bool numbered(const char *name, int n, char *out, struct err *e)
{
    const char *dot = strrchr(path_name(name), '.');
    size_t stem = dot && dot != path_name(name) ? (size_t)(dot - name) : strlen(name);
    return snprintf(out, PATH_MAX_BYTES, "%.*s-%d%s", (int)stem, name, n, name + stem) < PATH_MAX_BYTES ||
           err_set(e, ERR_LIMIT, "a path of more than %d bytes: %.60s...", PATH_MAX_BYTES, name);
}

/* ---- before the bytes are known ---- */

static void look(struct importer *w, struct take *batch, size_t at)
{
    struct take *t = &batch[at];
    struct err *why = &t->why;
    const char *name = t->item->name;
    if (!utf8_valid(name, strlen(name)) || !utf8_valid(t->item->target, strlen(t->item->target))) {
        char told[300];
        err_set(why, ERR_FORMAT, "%s: a name that is not UTF-8", plain_utf8(told, sizeof told, name));
        return;
    }
    if (!dataset_name_inside(name) && !(w->o->outside && name[0] == '/' && !w->source->zipped)) {
        err_set(why, ERR_FORMAT, "%s: outside the folder that the list is in%s", name, w->source->zipped ? "" : "; --outside allows that");
        return;
    }
    if (!source_path(w->source, name, t->source, why) || !path_join(t->target, "", t->item->target, why))
        return;
    if (manifest_find_source(w->m, t->source) >= 0 || (w->in_place && manifest_find_file(w->m, t->target) >= 0)) {
        t->there = true;
        return;
    }
    t->contested = manifest_find_file(w->m, t->target) >= 0;
    for (size_t i = 0; i < at && !t->contested; i++)
        t->contested = !strcmp(batch[i].target, t->target);
}

/* ---- by any thread ---- */

static char *trimmed(const char *data, size_t bytes)
{
    while (bytes && strchr(" \t\r\n", data[bytes - 1]))
        bytes--;
    while (bytes && strchr(" \t\r\n", *data))
        data++, bytes--;
    char *copy = mem_zeroed(bytes + 1, 1);
    if (copy)
        memcpy(copy, data, bytes);
    return copy;
}

/* The caption: of the list, of a file beside the picture, or what the layout gives. */
static bool find_text(const struct importer *w, struct take *t)
{
    static const char *const endings[] = { ".txt", ".caption" };
    char name[PATH_MAX_BYTES], *data = NULL;
    size_t bytes = 0;
    const char *dot = strrchr(path_name(t->item->name), '.');
    int stem = (int)(dot ? dot - t->item->name : (long)strlen(t->item->name));
    for (int i = 0; i < 2 && !t->item->text && !data; i++) {
        bool fits = snprintf(name, sizeof name, "%.*s%s", stem, t->item->name, endings[i]) < (int)sizeof name;
        if (fits && source_has(w->source, name) && !source_read(w->source, name, (size_t)1 << 20, &data, &bytes, &t->why))
            return err_add(&t->why, "the caption of %s", t->item->name);
    }
    if (data && (memchr(data, 0, bytes) || !utf8_valid(data, bytes))) {
        mem_free(data);
        return err_set(&t->why, ERR_FORMAT, "%s: its caption is not UTF-8 text", t->item->name);
    }
    if (data && bytes >= 3 && !memcmp(data, "\xEF\xBB\xBF", 3))
        memmove(data, data + 3, bytes -= 3);
    const char *text = data ? data : t->item->text ? t->item->text : t->item->fallback ? t->item->fallback : "";
    t->text = trimmed(text, data ? bytes : strlen(text));
    mem_free(data);
    return t->text || err_nomem(&t->why, "a caption");
}

/* The file's bytes to its place in the data set. */
static bool put_file(const struct importer *w, const struct take *t, const char *data, struct err *e)
{
    char path[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    if (w->in_place)
        return true;
    if (!path_join(path, manifest_folder(w->m), t->target, e))
        return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(path_name(path) - path), path);
    if (!folder_make(folder, e))
        return false;
    if (w->o->link && !w->source->zipped) {
        /* what an interrupted run left is not in the manifest */
        if (link(t->source, path) == 0 || (errno == EEXIST && unlink(path) == 0 && link(t->source, path) == 0))
            return true;
    }
    return file_write_whole(path, data, t->bytes, e);
}

static void take_one(const struct importer *w, struct take *t)
{
    char *data = NULL;
    bool good = t->item->name[0] == '/' ? file_read(t->item->name, IMAGE_FILE_MAX_BYTES, &data, &t->bytes, &t->why)
                                        : source_read(w->source, t->item->name, IMAGE_FILE_MAX_BYTES, &data, &t->bytes, &t->why);
    good = good && image_probe(&t->facts, data, t->bytes, t->item->name, &t->why) && find_text(w, t) &&
           (digest_bytes(data, t->bytes, t->id) || err_nomem(&t->why, "a hash")) &&
           (t->contested || put_file(w, t, data, &t->why));
    if (good && t->contested)
        t->data = data;
    else
        mem_free(data);
}

/* ---- when the bytes are known ---- */

/* The picture that has the name: the same one, or another, which keeps it. */
static bool settle(struct importer *w, struct take *t, struct err *e)
{
    char name[PATH_MAX_BYTES];
    snprintf(name, sizeof name, "%s", t->target);
    if (manifest_find_source(w->m, t->source) >= 0) { /* the list names the file twice */
        t->there = true;
        return true;
    }
    for (int n = 2;; n++) {
        long other = manifest_find_file(w->m, t->target);
        if (other < 0)
            break;
        const struct manifest_picture *p = manifest_picture(w->m, (size_t)other);
        if (!strcmp(p->id, t->id) || !strcmp(p->origin, t->id)) {
            t->there = true;
            return true;
        }
        if (!numbered(name, n, t->target, e))
            return false;
    }
    return put_file(w, t, t->data, e);
}

static bool record(struct importer *w, struct take *t, struct err *e)
{
    char path[PATH_MAX_BYTES];
    json_t *fields = json_pack("{s:s,s:s}", "file_name", t->target, "text", t->text);
    bool good = fields && (!t->item->fields || !json_object_update(fields, t->item->fields)) &&
                !json_object_set_new(fields, "id", json_string(t->id)) && !json_object_set_new(fields, "source", json_string(t->source)) &&
                !json_object_set_new(fields, "width", json_integer(t->facts.width)) &&
                !json_object_set_new(fields, "height", json_integer(t->facts.height)) &&
                !json_object_set_new(fields, "bytes", json_integer((json_int_t)t->bytes)) &&
                (t->item->repeats == 1 || !json_object_set_new(fields, "repeats", json_integer(t->item->repeats)));
    if (!good) {
        json_decref(fields);
        return err_nomem(e, "a picture's fields");
    }
    if (manifest_add(w->m, fields, "import", NULL, &t->why)) {
        w->r->taken++;
        return true;
    }
    /* a caption beyond its limit, and the like: the file is taken back */
    struct err ignored = { 0 };
    if (!w->in_place && path_join(path, manifest_folder(w->m), t->target, &ignored))
        unlink(path);
    return t->why.code == ERR_NOMEM ? err_set(e, ERR_NOMEM, "%s", t->why.text) : skip(w, t->item->name, t->why.text, e);
}

static bool finish(struct importer *w, struct take *t, struct err *e)
{
    if (t->why.code == ERR_NOMEM || t->why.code == ERR_STOPPED)
        return err_set(e, t->why.code, "%s", t->why.text);
    if (t->why.code)
        return skip(w, t->item->name, t->why.text, e);
    if (!t->there && t->contested && !settle(w, t, e))
        return false;
    if (!t->there)
        return record(w, t, e);
    w->r->there++;
    return true;
}

static bool take_batch(struct importer *w, struct import_item *items, size_t count, struct err *e)
{
    struct take *batch = mem_zeroed(BATCH, sizeof *batch);
    if (!batch)
        return err_nomem(e, "a batch of pictures");
    for (size_t i = 0; i < count; i++) {
        batch[i].item = &items[i];
        look(w, batch, i);
    }
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < count; i++)
        if (!batch[i].there && !batch[i].why.code)
            take_one(w, &batch[i]);
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = finish(w, &batch[i], e);
    for (size_t i = 0; i < count; i++) {
        mem_free(batch[i].data);
        mem_free(batch[i].text);
    }
    mem_free(batch);
    return good;
}

static bool take_all(struct importer *w, struct import_items *items, struct err *e)
{
    bool good = true;
    for (size_t i = 0; good && i < items->count; i += BATCH) {
        size_t n = items->count - i < BATCH ? items->count - i : BATCH;
        good = stop_check(e) && take_batch(w, items->at + i, n, e) && manifest_checkpoint(w->m, e);
        if (good)
            progress_step(w->progress, "importing pictures", (long)(i + n), (long)items->count, NULL);
    }
    struct err ignored = { 0 }; /* the first cause stays */
    return manifest_save(w->m, good ? e : &ignored) && good;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t a = strlen(path), b = strlen(ending);
    return a > b && !strcasecmp(path + a - b, ending);
}

/* The manifest of `to`, or of the folder where the list is. */
static bool open_manifest(struct importer *w, const struct import_items *items, struct err *e)
{
    char path[PATH_MAX_BYTES], here[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    if (!w->o->to && (w->source->zipped || w->o->gallery))
        return err_set(e, ERR_ARG, "--output is missing: the folder that %s %s into", w->o->gallery ? "pictures" : w->o->from,
                       w->o->gallery ? "are copied" : "is unpacked");
    if (!path_join(path, w->source->root, items->folder, e))
        return false;
    if (!(w->m = manifest_open(w->o->to ? w->o->to : path, MANIFEST_MAKE, e)))
        return false;
    if (w->source->zipped)
        return true;
    if (!realpath(path, here) || !realpath(manifest_folder(w->m), to))
        return err_errno(e, "%s", path);
    w->in_place = !strcmp(here, to);
    size_t length = strlen(here);
    if (!w->in_place && !strncmp(to, here, length) && to[length] == '/')
        return err_set(e, ERR_ARG, "%s is inside %s: the next run would take its pictures for new ones", w->o->to, here);
    return true;
}

/* Where pictures come from, and which. */
static bool open_source(const struct import_options *o, struct import_source *source, struct import_items *items, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    if (o->gallery) {
        if (!items_of_gallery(items, o->gallery, e))
            return false;
        if (source_open(source, o->gallery->folder, false, e))
            return true;
        items_release(items);
        return err_add(e, "the gallery's pictures");
    }
    bool is_list = ends_in(o->from, ".jsonl") || ends_in(o->from, ".csv"), zipped = ends_in(o->from, ".zip");
    const char *name = path_name(o->from);
    snprintf(folder, sizeof folder, "%.*s", name == o->from ? 1 : (int)(name - o->from), name == o->from ? "." : o->from);
    if (!path_exists(o->from))
        return err_set(e, ERR_MISSING, "%s: there is no such file or folder", o->from);
    if (!is_list && !zipped && !path_is_folder(o->from))
        return err_set(e, ERR_ARG, "%s: pictures come from a folder, or from a .zip, .jsonl or .csv file", o->from);
    if (!source_open(source, is_list ? folder : o->from, zipped, e))
        return false;
    if (items_find(items, source, is_list ? name : NULL, o, e))
        return true;
    source_close(source);
    return false;
}

bool dataset_import(const struct import_options *o, struct import_result *r, const struct progress *progress, struct err *e)
{
    struct import_source source;
    struct import_items items;
    *r = (struct import_result){ .reasons = json_array() };
    if (!r->reasons)
        return err_nomem(e, "the list of what was skipped");
    if (!image_init(e) || !open_source(o, &source, &items, e))
        return false;
    struct importer w = { .o = o, .source = &source, .r = r, .progress = progress };
    bool good = open_manifest(&w, &items, e) && take_all(&w, &items, e);
    manifest_free(w.m);
    items_release(&items);
    source_close(&source);
    return good;
}
