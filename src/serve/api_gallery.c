/* The gallery over the net (store/gallery.h): search, one picture and where it comes from, tags, ratings, deletion and its undoing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "image/image.h"
#include "image/phash.h"
#include "jobs/keep.h"
#include "serve/origins.h"
#include "serve/server_internal.h"
#include "store/gallery.h"
#include "store/picture_files.h"

enum { WORDS_BYTES = 4096, NEAR = 12, MOST_NEAR = 60 };

/* Whose gallery: without users there is one, of nobody. */
static const char *gallery_owner(const struct exchange *x)
{
    const char *owner = owner_of(x);
    return owner ? owner : "";
}

/* {name: list}, which is taken. */
static bool answer_list(struct exchange *x, const char *name, json_t *list, struct err *e)
{
    json_t *all = json_pack("{s:o}", name, list);
    return all ? answer_json(x, 200, all, e) : err_nomem(e, "a list");
}

/* "steps>=20, tag=cat" -> its parts, which point into text. */
static bool split_filters(struct gallery_query *q, char *text, struct err *e)
{
    for (char *save = NULL, *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        part += strspn(part, " ");
        if (!*part)
            continue;
        if (q->filter_count == GALLERY_MOST_FILTERS)
            return err_set(e, ERR_LIMIT, "filter has more than %d parts", GALLERY_MOST_FILTERS);
        q->filters[q->filter_count++] = part;
    }
    return true;
}

/* What the query string asks for; words and filter are its room. */
static bool read_query(struct exchange *x, struct gallery_query *q, char words[WORDS_BYTES], char filter[WORDS_BYTES], struct err *e)
{
    char sort[16] = "latest";
    bool found, ignored;
    *filter = 0;
    *q = (struct gallery_query){ .owner = gallery_owner(x), .deleted = exchange_query_bool(x, "deleted") };
    if (!exchange_query(x, "words", words, WORDS_BYTES, &found, e) || !exchange_query(x, "filter", filter, WORDS_BYTES, &ignored, e) ||
        !exchange_query(x, "sort", sort, sizeof sort, &ignored, e) || !split_filters(q, filter, e))
        return false;
    q->words = found && *words ? words : NULL;
    while (q->sort < GALLERY_SORTS && strcmp(gallery_sort_names[q->sort], sort))
        q->sort++; /* the route's table knows the names: one is found */
    return true;
}

bool get_gallery(struct exchange *x, struct err *e)
{
    char words[WORDS_BYTES], filter[WORDS_BYTES];
    struct gallery_query q;
    json_t *page;
    return read_query(x, &q, words, filter, e) && exchange_query_int(x, "before", 0, INT64_MAX, &q.before, e) &&
           exchange_query_int(x, "offset", 0, INT64_MAX, &q.offset, e) && exchange_query_int(x, "limit", 1, 1000, &q.limit, e) &&
           gallery_search(x->server->store, &q, &page, e) && answer_list(x, "pictures", page, e);
}

bool get_gallery_ids(struct exchange *x, struct err *e)
{
    char words[WORDS_BYTES], filter[WORDS_BYTES];
    struct gallery_query q;
    json_t *ids;
    return read_query(x, &q, words, filter, e) && gallery_all(x->server->store, &q, &ids, e) && answer_list(x, "ids", ids, e);
}

bool get_gallery_names(struct exchange *x, struct err *e)
{
    json_t *names;
    return gallery_names(x->server->store, gallery_owner(x), x->param[0], 100, &names, e) && answer_list(x, "names", names, e);
}

bool get_gallery_picture(struct exchange *x, struct err *e)
{
    json_t *picture;
    return gallery_get(x->server->store, gallery_owner(x), x->param[0], &picture, e) && answer_json(x, 200, picture, e);
}

/* The path of the picture's file. */
static bool picture_path(struct exchange *x, char out[PATH_MAX_BYTES], struct err *e)
{
    json_t *picture;
    if (!gallery_get(x->server->store, gallery_owner(x), x->param[0], &picture, e))
        return false;
    const char *type = json_string_value(json_object_get(picture, "type"));
    bool good = picture_file_path(out, x->server->o->gallery, json_string_value(json_object_get(picture, "hash")), type ? type : "png", e);
    json_decref(picture);
    return good;
}

/* The file as it is, or a small WebP of it: `small` pixels for the longer side. Files are named by content, so they never change. */
bool get_gallery_file(struct exchange *x, struct err *e)
{
    static const char forever[] = "private, max-age=31536000, immutable";
    char path[PATH_MAX_BYTES];
    int64_t small = 0;
    if (!exchange_query_int(x, "small", 16, 4096, &small, e) || !picture_path(x, path, e))
        return false;
    return small ? answer_small(x, path, small, forever, e) : answer_file(x, path, forever, path_name(path), true, e);
}

bool get_gallery_similar(struct exchange *x, struct err *e)
{
    uint64_t look;
    json_t *picture, *page;
    if (!gallery_get(x->server->store, gallery_owner(x), x->param[0], &picture, e))
        return false;
    const char *text = json_string_value(json_object_get(picture, "look"));
    bool good = text && phash_read(&look, text);
    json_decref(picture);
    if (!good)
        return err_set(e, ERR_MISSING, "picture %.80s: how it looks is not known", x->param[0]);
    return gallery_similar(x->server->store, gallery_owner(x), look, NEAR, MOST_NEAR, &page, e) && answer_list(x, "pictures", page, e);
}

bool get_gallery_lineage(struct exchange *x, struct err *e)
{
    json_t *lineage;
    char output[PATH_MAX_BYTES], runs[PATH_MAX_BYTES];
    return exchange_folder(x, "output", output, e) && path_join(runs, output, "runs", e) &&
           origins_learn(runner_origins(x->server->runner), x->server->store, runs, e) && gallery_lineage(x->server->store, gallery_owner(x), x->param[0], &lineage, e) && answer_json(x, 200, lineage, e);
}

/* {"words", "negative", ...} by the gallery's names, and "graph", "workflow", "parameters": as far as they are known. */
static json_t *told_object(const struct gallery_facts *f)
{
    json_t *o = json_pack("{s:I,s:I,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s*}", "width", (json_int_t)f->width, "height", (json_int_t)f->height,
                          "prompt", f->prompt, "negative", f->negative, "model", f->model, "model_hash", f->model_hash, "vae", f->vae, "sampler",
                          f->sampler, "schedule", f->schedule, "graph", f->graph, "workflow", f->workflow, "parameters", f->parameters);
    json_t *loras = json_array();
    for (size_t i = 0; i < f->lora_count; i++)
        json_array_append_new(loras, json_pack("{s:s,s:f,s:s*}", "name", f->loras[i].name, "scale", f->loras[i].scale, "hash", f->loras[i].hash));
    json_object_set_new(o, "loras", loras);
    if (f->steps)
        json_object_set_new(o, "steps", json_integer(f->steps));
    if (f->cfg > 0)
        json_object_set_new(o, "cfg", json_real(f->cfg));
    if (f->strength > 0)
        json_object_set_new(o, "strength", json_real(f->strength));
    if (f->has_seed)
        json_object_set_new(o, "seed", f->seed <= INT64_MAX ? json_integer((json_int_t)f->seed) : json_sprintf("%llu", (unsigned long long)f->seed));
    return o;
}

bool post_told(struct exchange *x, struct err *e)
{
    struct kept k;
    if (!exchange_read_body(x, x->server->o->max_upload_bytes, e) || !kept_read(&k, x->body ? x->body : "", x->body_bytes, "the picture", e))
        return false;
    json_t *all = told_object(&k.facts);
    kept_release(&k);
    return all ? answer_json(x, 200, all, e) : err_nomem(e, "an answer");
}

/* --- changes --- */

/* The whole numbers of the body's "ids"; free with mem_free. */
static int64_t *ids_of(struct exchange *x, size_t *count, struct err *e)
{
    const json_t *list = json_object_get(x->json, "ids");
    *count = json_array_size(list);
    int64_t *ids = mem_zeroed(*count + 1, sizeof *ids);
    if (!ids)
        err_nomem(e, "a list of pictures");
    for (size_t i = 0; ids && i < *count; i++) {
        ids[i] = json_integer_value(json_array_get(list, i));
        if (ids[i] < 1) {
            err_set(e, ERR_ARG, "ids: want whole numbers above 0");
            mem_free(ids);
            return NULL;
        }
    }
    return ids;
}

bool post_gallery_delete(struct exchange *x, struct err *e)
{
    size_t count;
    int64_t batch = 0, *ids = ids_of(x, &count, e);
    bool good = ids && gallery_delete(x->server->store, gallery_owner(x), ids, count, &batch, e);
    mem_free(ids);
    return good && answer_json(x, 200, json_pack("{s:I}", "batch", (json_int_t)batch), e);
}

bool post_gallery_undo(struct exchange *x, struct err *e)
{
    int64_t count;
    return gallery_undo(x->server->store, gallery_owner(x), json_integer_value(json_object_get(x->json, "batch")), &count, e) &&
           answer_json(x, 200, json_pack("{s:I}", "count", (json_int_t)count), e);
}

bool post_gallery_rate(struct exchange *x, struct err *e)
{
    size_t count;
    int64_t *ids = ids_of(x, &count, e);
    bool good = ids && gallery_rate(x->server->store, gallery_owner(x), ids, count, (int)json_integer_value(json_object_get(x->json, "rating")), e);
    mem_free(ids);
    return good && answer_json(x, 200, json_object(), e);
}

/* Tags, or with "collections" true collections. */
bool post_gallery_tag(struct exchange *x, struct err *e)
{
    size_t count = 0, adds = 0, removes = 0;
    int64_t *ids = ids_of(x, &count, e);
    const char **add = ids ? exchange_texts(x, "add", &adds, e) : NULL, **remove = add ? exchange_texts(x, "remove", &removes, e) : NULL;
    bool collections = json_is_true(json_object_get(x->json, "collections"));
    bool good = remove && (collections ? gallery_collect : gallery_tag)(x->server->store, gallery_owner(x), ids, count, add, adds, remove, removes, e);
    mem_free(ids);
    mem_free(add);
    mem_free(remove);
    return good && answer_json(x, 200, json_object(), e);
}
