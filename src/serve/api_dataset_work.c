/* Work on a data set that the page asks for and that is over soon: pictures in, captions by rules, a look at crops, and the way back. What takes
 * long is a job: the nodes of flow/nodes/dataset.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "dataset/clean.h"
#include "dataset/import.h"
#include "dataset/recaption.h"
#include "dataset/reshape.h"
#include "serve/multipart.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

enum { SHOWN = 60 };

/* --- pictures in --- */

struct intake {
    struct manifest *m;
    char folder[PATH_MAX_BYTES];
    int64_t taken, there;
    json_t *reasons; /* [{"file", "reason"}] */
};

static bool is_named(const char *name, const char *ending)
{
    size_t n = strlen(name), k = strlen(ending);
    return n > k && !strcasecmp(name + n - k, ending);
}

static void refuse(struct intake *in, const char *file, const char *why)
{
    if (json_array_size(in->reasons) < IMPORT_MOST_REASONS)
        json_array_append_new(in->reasons, json_pack("{s:s,s:s}", "file", file, "reason", why));
}

/* The text file of the form that has the picture's name. */
static const struct part *caption_of(const struct multipart *form, const char *picture)
{
    size_t stem = strrchr(picture, '.') ? (size_t)(strrchr(picture, '.') - picture) : strlen(picture);
    for (size_t i = 0; i < form->count; i++) {
        const char *name = form->parts[i].filename;
        if ((is_named(name, ".txt") || is_named(name, ".caption")) && !strncmp(name, picture, stem) && strrchr(name, '.') == name + stem)
            return &form->parts[i];
    }
    return NULL;
}

static bool take_picture(struct exchange *x, struct intake *in, const struct multipart *form, const struct part *part, struct err *e)
{
    struct image_facts facts;
    struct err why = { 0 };
    char name[FILE_NAME_BYTES];
    snprintf(name, sizeof name, "%s", part->filename);
    if (!path_name_safe(name, &why) || strchr(name, '/') || !image_probe(&facts, part->data, part->bytes, name, &why)) {
        refuse(in, part->filename, why.text[0] ? why.text : "its name has a slash");
        return why.code != ERR_NOMEM || err_nomem(e, "a picture");
    }
    if (!exchange_put_file(x, in->folder, name, part->data, part->bytes, false, e))
        return false;
    long at = manifest_find_file(in->m, name);
    const struct part *words = caption_of(form, part->filename);
    in->taken += at < 0;
    in->there += at >= 0;
    if (at >= 0 && !words)
        return true;
    json_t *fields = json_pack("{s:s,s:i,s:i,s:I}", "file_name", name, "width", facts.width, "height", facts.height, "bytes", (json_int_t)part->bytes);
    if (fields && words) {
        size_t bytes = words->bytes;
        while (bytes && strchr(" \r\n\t", words->data[bytes - 1]))
            bytes--;
        json_t *text = json_stringn(words->data, bytes);
        if (!text)
            refuse(in, words->filename, "no text in UTF-8");
        else if (json_object_set_new(fields, "text", text)) {
            json_decref(fields);
            fields = NULL;
        }
    }
    return at < 0 ? manifest_add(in->m, fields, "added", NULL, e) : manifest_change(in->m, (size_t)at, fields, "edited", NULL, e);
}

/* A zip lies in the temporary folder for as long as it is read, under its own name: by which a second sending is known. */
static bool take_zip(struct exchange *x, struct intake *in, const struct part *part, struct err *e)
{
    char temp[PATH_MAX_BYTES], path[PATH_MAX_BYTES], name[FILE_NAME_BYTES];
    struct import_result r = { 0 };
    snprintf(name, sizeof name, "%s", part->filename);
    if (!path_name_safe(name, e) || !exchange_folder(x, "temp", temp, e) || !folder_make(temp, e) || !path_below(path, temp, name, e) ||
        !file_write_whole(path, part->data, part->bytes, e))
        return false;
    bool good = dataset_import(&(struct import_options){ .from = path, .to = in->folder }, &r, NULL, e);
    unlink(path);
    in->taken += r.taken;
    in->there += r.there;
    size_t i;
    json_t *one;
    json_array_foreach(r.reasons, i, one)
        refuse(in, json_string_value(json_object_get(one, "file")), json_string_value(json_object_get(one, "reason")));
    json_decref(r.reasons);
    return good;
}

/* The pictures of the form, with one look at the list for all. */
static bool take_pictures(struct exchange *x, struct intake *in, const struct multipart *form, struct err *e)
{
    bool any = false, good = true;
    for (size_t i = 0; i < form->count; i++)
        any |= *form->parts[i].filename && !is_named(form->parts[i].filename, ".zip");
    if (!any)
        return true;
    if (!(in->m = manifest_open(in->folder, MANIFEST_MAKE, e)))
        return false;
    for (size_t i = 0; good && i < form->count; i++) {
        const struct part *part = &form->parts[i];
        bool words = is_named(part->filename, ".txt") || is_named(part->filename, ".caption");
        if (*part->filename && !is_named(part->filename, ".zip") && !words)
            good = take_picture(x, in, form, part, e);
    }
    good = good && manifest_identify(in->m, NULL, NULL, e) && manifest_save(in->m, e);
    manifest_free(in->m);
    return good;
}

bool post_dataset_files(struct exchange *x, struct err *e)
{
    struct intake in = { .reasons = json_array() };
    struct multipart form = { 0 };
    bool good = (in.reasons || err_nomem(e, "a list of files")) && exchange_dataset(x, in.folder, e) && exchange_form(x, &form, e) &&
                take_pictures(x, &in, &form, e);
    for (size_t i = 0; good && i < form.count; i++)
        if (is_named(form.parts[i].filename, ".zip"))
            good = take_zip(x, &in, &form.parts[i], e);
    multipart_release(&form);
    json_t *all = good ? json_pack("{s:I,s:I,s:O}", "taken", (json_int_t)in.taken, "there", (json_int_t)in.there, "reasons", in.reasons) : NULL;
    json_decref(in.reasons);
    return good && (all ? answer_json(x, 200, all, e) : err_nomem(e, "an answer"));
}

/* --- captions --- */

static void show(void *self, const char *file_name, const char *was, const char *now)
{
    json_t *list = self;
    if (json_array_size(list) < SHOWN)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "file_name", file_name, "was", was, "now", now));
}

/* What is not empty. */
static const char *said(const json_t *body, const char *key)
{
    const char *s = json_string_value(json_object_get(body, key));
    return s && *s ? s : NULL;
}

bool post_dataset_captions(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    const json_t *b = x->json;
    bool dry = json_is_true(json_object_get(b, "dry_run"));
    struct recaption_options o = { .template = said(b, "template"), .prefix = said(b, "prefix"), .suffix = said(b, "suffix"), .again = true,
                                   .only_missing = json_is_true(json_object_get(b, "only_missing")), .spaces = json_is_true(json_object_get(b, "spaces")),
                                   .unique = json_is_true(json_object_get(b, "unique")) };
    struct recaption_result r = { 0 };
    if (!exchange_dataset(x, folder, e))
        return false;
    const char **remove = exchange_texts(x, "remove", &o.removes, e), **replace = remove ? exchange_texts(x, "replace", &o.replaces, e) : NULL;
    o.remove = remove;
    o.replace = replace;
    json_t *shown = json_array();
    struct manifest *m = replace && shown ? manifest_open(folder, dry ? MANIFEST_READ : MANIFEST_CHANGE, e) : NULL;
    bool good = m && dataset_recaption(m, &o, dry, show, shown, &r, NULL, e);
    manifest_free(m);
    mem_free(remove);
    mem_free(replace);
    json_t *all = good ? json_pack("{s:I,s:I,s:O}", "changed", (json_int_t)r.changed, "same", (json_int_t)r.same, "shown", shown) : NULL;
    json_decref(shown);
    if (!good)
        return e->code != ERR_NONE ? false : err_nomem(e, "captions");
    return all ? answer_json(x, 200, all, e) : err_nomem(e, "captions");
}

bool post_dataset_undo(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    const char *what = json_string_value(json_object_get(x->json, "what"));
    size_t count = 0;
    long captions = 0;
    struct manifest *m = exchange_dataset(x, folder, e) ? manifest_open(folder, MANIFEST_CHANGE, e) : NULL;
    bool good = m && (!strcmp(what, "clean")  ? clean_undo(m, &count, e) && manifest_save(m, e)
                      : !strcmp(what, "crop") ? dataset_reshape_undo(m, "crop", &count, e) && manifest_save(m, e)
                                              : recaption_undo(m, &captions, e));
    manifest_free(m);
    return good && answer_json(x, 200, json_pack("{s:I}", "count", (json_int_t)count + captions), e);
}

/* --- crops --- */

static bool crop_options(struct exchange *x, struct buckets *b, struct reshape_options *o, struct err *e)
{
    char buckets[16] = "none", part[16] = "centre";
    int64_t size = 512, height = 0;
    bool ignored;
    if (!exchange_query_int(x, "size", 1, 16384, &size, e) || !exchange_query_int(x, "height", 1, 16384, &height, e) ||
        !exchange_query(x, "buckets", buckets, sizeof buckets, &ignored, e) || !exchange_query(x, "part", part, sizeof part, &ignored, e))
        return false;
    *o = (struct reshape_options){ .kind = RESHAPE_CROP, .buckets = b, .trim = exchange_query_bool(x, "trim"), .enlarge = exchange_query_bool(x, "enlarge") };
    while (strcmp(image_part_names[o->part], part))
        o->part++; /* the route's table knows the names: one is found */
    return buckets_named(b, buckets, (int)size, (int)(height ? height : size), e);
}

/* {"file_name", "width", "height"} and, if it is cut, "cut": [x, y, width, height] in its own pixels and "becomes": [width, height]; else "left":
 * "small", "same" or "broken". */
static json_t *crop_of(const struct manifest *m, size_t i, const struct reshape_options *o, struct err *e)
{
    static const char *const left[] = { NULL, "small", "same" }; /* by outcome */
    char path[PATH_MAX_BYTES];
    struct image image = { 0 };
    struct reshape_part part;
    struct err why = { 0 };
    if (!manifest_path(m, i, path, e))
        return NULL;
    bool good = image_load(&image, path, IMAGE_KEEP_ALPHA, 0, &why) && reshape_look(o, &image, &part, &why);
    json_t *one = json_pack("{s:s,s:i,s:i}", "file_name", manifest_picture(m, i)->file_name, "width", image.width, "height", image.height);
    image_release(&image);
    if (!one || why.code == ERR_NOMEM) {
        json_decref(one);
        err_nomem(e, "a crop");
        return NULL;
    }
    if (!good || part.outcome != RESHAPE_IS_CUT) {
        json_object_set_new(one, "left", json_string(good ? left[part.outcome] : "broken"));
        return one;
    }
    json_object_set_new(one, "cut", json_pack("[i,i,i,i]", part.x, part.y, part.width, part.height));
    json_object_set_new(one, "becomes", json_pack("[i,i]", part.becomes.width, part.becomes.height));
    return one;
}

bool get_dataset_crops(struct exchange *x, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    struct buckets b;
    struct reshape_options o;
    int64_t offset = 0, limit = 12, used = 0;
    if (!exchange_dataset(x, folder, e) || !exchange_query_int(x, "offset", 0, INT64_MAX, &offset, e) ||
        !exchange_query_int(x, "limit", 1, 60, &limit, e) || !crop_options(x, &b, &o, e))
        return false;
    struct manifest *m = manifest_open(folder, MANIFEST_READ, e);
    json_t *list = m ? json_array() : NULL;
    bool good = list || (m && err_nomem(e, "crops"));
    for (size_t i = 0; good && i < manifest_count(m); i++) {
        if (*manifest_picture(m, i)->excluded || used++ < offset || used > offset + limit)
            continue;
        json_t *one = crop_of(m, i, &o, e);
        good = one && (!json_array_append_new(list, one) || err_nomem(e, "crops"));
    }
    manifest_free(m);
    json_t *all = good ? json_pack("{s:I,s:O}", "total", (json_int_t)used, "pictures", list) : NULL;
    json_decref(list);
    return good && (all ? answer_json(x, 200, all, e) : err_nomem(e, "crops"));
}
