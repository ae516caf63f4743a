/* Lineage:   picture -> weights (its model, its LoRAs) -> the training run and step that made them -> the pictures it learnt from
 *            picture -> the picture it was drawn over
 * read both ways. A hash that a picture tells may be the beginning of the file's, or of the weights' in it. */
#include <stdio.h>
#include <string.h>

#include "store/gallery_internal.h"

enum { MOST_AT_ONE_PLACE = 200, MOST_DEPTH = 6, DIGITS_8 = 8, DIGITS_10 = 10, DIGITS_12 = 12, DIGITS_ALL = 64 };

bool gallery_add_weights(struct db *db, const struct weights_facts *f, struct err *e)
{
    char hash[GALLERY_HASH_BYTES], inside[GALLERY_HASH_BYTES];
    if (!f->hash || !hash_digits(hash, f->hash) || strlen(hash) != DIGITS_ALL)
        return err_set(e, ERR_ARG, "weights without the SHA-256 of their file");
    return sql_run(db, SQL_WEIGHTS_ADD,
                   SQL_VALUES(sql_text(hash), sql_text(f->weights_hash && hash_digits(inside, f->weights_hash) ? inside : NULL), sql_text(f->kind),
                              sql_text(f->name), sql_text(f->path), sql_text(f->run), f->step ? sql_int(f->step) : sql_null()),
                   NULL, e);
}

bool gallery_add_training(struct db *db, const struct training_facts *f, struct err *e)
{
    if (!f->run || !*f->run)
        return err_set(e, ERR_ARG, "a training run without its folder");
    return sql_run(db, SQL_TRAINING_ADD, SQL_VALUES(sql_text(f->run), sql_text(f->kind), sql_text(f->settings), sql_int(f->started_ms)), NULL, e);
}

bool gallery_add_training_pictures(struct db *db, const char *run, const struct training_picture *pictures, size_t count, struct err *e)
{
    if (!sql_run(db, SQL_TRAINING_PICTURES_CLEAR, SQL_VALUES(sql_text(run)), NULL, e))
        return false;
    for (size_t i = 0; i < count; i++) {
        char hash[GALLERY_HASH_BYTES];
        if (!pictures[i].hash || !hash_digits(hash, pictures[i].hash))
            return err_set(e, ERR_ARG, "a training picture without the SHA-256 of its file");
        if (!sql_run(db, SQL_TRAINING_PICTURE_ADD,
                     SQL_VALUES(sql_text(run), sql_int((int64_t)i), sql_text(hash), sql_text(pictures[i].name), sql_text(pictures[i].caption)), NULL, e))
            return false;
    }
    return true;
}

/* A walk in one direction. */
struct walk {
    struct db *db;
    const char *owner;
    bool back; /* to where things come from */
};
static bool follow(const struct walk *w, json_t *thing, int depth, struct err *e);

static const char *get(const json_t *thing, const char *key)
{
    return json_string_value(json_object_get(thing, key));
}

/* Adds a thing to a list, up to the bound; what is beyond is counted by {"more": n}, always last. */
static void append(json_t *list, json_t *thing)
{
    size_t count = json_array_size(list);
    if (count < MOST_AT_ONE_PLACE) {
        json_array_append_new(list, thing);
        return;
    }
    json_decref(thing);
    json_t *last = json_array_get(list, count - 1), *more = json_object_get(last, "more");
    if (more)
        json_object_set_new(last, "more", json_integer(json_integer_value(more) + 1));
    else
        json_array_append_new(list, json_pack("{s:i}", "more", 1));
}

/* Where there are users, whether a file or run is this one's: it lies in a folder of the user's name, which is not to be guessed. */
static bool may_see(const struct walk *w, const char *path)
{
    if (!w->owner || !*w->owner || !path)
        return true;
    size_t n = strlen(w->owner);
    for (const char *at = path; (at = strstr(at, w->owner)); at += n)
        if (at > path && at[-1] == '/' && at[n] == '/')
            return true;
    return false;
}

/* Rows of hash, kind, name, path, run, step. */
static bool add_weights_rows(const struct walk *w, struct rows *r, json_t *list, struct err *e)
{
    while (rows_next(r)) {
        const char *path = rows_text(r, 3), *run = rows_text(r, 4);
        json_t *o = json_pack("{s:s,s:s,s:s?,s:s?,s:s?,s:s?}", "kind", "weights", "hash", rows_text(r, 0), "type", rows_text(r, 1), "name",
                              rows_text(r, 2), "path", may_see(w, path) ? path : NULL, "run", may_see(w, run) ? run : NULL);
        if (!rows_is_null(r, 5) && may_see(w, run))
            json_object_set_new(o, "step", json_integer(rows_int(r, 5)));
        append(list, o);
    }
    return rows_close(r, e);
}

static bool add_weights_of(const struct walk *w, json_t *list, const char *hash, const char *name, const char *type, struct err *e)
{
    char begin[GALLERY_HASH_BYTES], end[GALLERY_HASH_BYTES + 1];
    struct rows r;
    size_t before = json_array_size(list);
    if (hash && hash_digits(begin, hash) && strlen(begin) >= DIGITS_8) {
        hash_end(end, begin);
        rows_open(&r, w->db, SQL_WEIGHTS_OF_HASH, SQL_VALUES(sql_text(begin), sql_text(end), sql_int(MOST_AT_ONE_PLACE)));
        if (!add_weights_rows(w, &r, list, e))
            return false;
    }
    if (!hash && name) { /* no hash was told: the name may be enough to find them */
        rows_open(&r, w->db, SQL_WEIGHTS_OF_NAME, SQL_VALUES(sql_text(name), sql_text(type)));
        if (!add_weights_rows(w, &r, list, e))
            return false;
        if (json_array_size(list) > before)
            json_object_set_new(json_array_get(list, before), "by", json_string("name"));
    }
    if (json_array_size(list) == before && (hash || name)) /* not known here, but that much is */
        append(list, json_pack("{s:s,s:s?,s:s,s:s?}", "kind", "weights", "hash", hash, "type", type, "name", name));
    return true;
}

/* Rows of id, hash. */
static bool add_pictures(struct rows *r, json_t *list, struct err *e)
{
    while (rows_next(r))
        append(list, json_pack("{s:s,s:I,s:s}", "kind", "picture", "id", (json_int_t)rows_int(r, 0), "hash", rows_text(r, 1)));
    return rows_close(r, e);
}

static bool add_trainings(const struct walk *w, struct rows *r, json_t *list, struct err *e)
{
    while (rows_next(r))
        if (may_see(w, rows_text(r, 0)))
            append(list, json_pack("{s:s,s:s,s:s?,s:s?,s:I}", "kind", "run", "run", rows_text(r, 0), "type", rows_text(r, 1), "settings",
                               rows_text(r, 2), "started", (json_int_t)rows_int(r, 3)));
    return rows_close(r, e);
}

/* Rows of hash, name, caption. */
static bool add_training_rows(struct rows *r, json_t *list, struct err *e)
{
    while (rows_next(r))
        append(list, json_pack("{s:s,s:s,s:s?,s:s?}", "kind", "training", "hash", rows_text(r, 0), "name", rows_text(r, 1), "caption",
                               rows_text(r, 2)));
    return rows_close(r, e);
}

static bool from_picture(const struct walk *w, json_t *thing, json_t *list, struct err *e)
{
    struct rows r;
    int64_t id = json_integer_value(json_object_get(thing, "id"));
    json_t *whole = picture_json(w->db, id, true, e), *one;
    size_t i;
    if (!whole)
        return false;
    bool good = add_weights_of(w, list, get(whole, "model_hash"), get(whole, "model"), "model", e);
    json_array_foreach(json_object_get(whole, "loras"), i, one) {
        good = good && add_weights_of(w, list, get(one, "hash"), get(one, "name"), "lora", e);
    }
    json_array_foreach(json_object_get(whole, "parents"), i, one) {
        size_t before = json_array_size(list);
        rows_open(&r, w->db, SQL_PICTURE_FIND_HASH, SQL_VALUES(sql_text(w->owner), sql_text(json_string_value(one))));
        while (good && rows_next(&r))
            append(list, json_pack("{s:s,s:I,s:O}", "kind", "picture", "id", (json_int_t)rows_int(&r, 0), "hash", one));
        good = rows_close(&r, e) && good;
        if (good && json_array_size(list) == before)
            append(list, json_pack("{s:s,s:O}", "kind", "picture", "hash", one));
    }
    json_decref(whole);
    return good;
}

static bool to_pictures(const struct walk *w, json_t *thing, json_t *list, struct err *e)
{
    static const int lengths[] = { DIGITS_8, DIGITS_10, DIGITS_12, DIGITS_ALL };
    char parts[8][GALLERY_HASH_BYTES] = { "" }, name[GALLERY_HASH_BYTES * 5] = "";
    struct rows r;
    for (rows_open(&r, w->db, SQL_WEIGHTS_HASHES, SQL_VALUES(sql_text(get(thing, "hash")))); rows_next(&r);) {
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 4 && rows_text(&r, k); i++)
                snprintf(parts[4 * k + i], GALLERY_HASH_BYTES, "%.*s", lengths[i], rows_text(&r, k));
        snprintf(name, sizeof name, "%s", rows_text(&r, 2) ? rows_text(&r, 2) : "");
    }
    if (!rows_close(&r, e))
        return false;
    struct sql_value values[11] = { sql_text(w->owner) };
    for (int i = 0; i < 8; i++)
        values[1 + i] = sql_text(parts[i]);
    values[9] = sql_int(10 * MOST_AT_ONE_PLACE);
    values[10] = sql_text(name);
    rows_open(&r, w->db, SQL_PICTURES_OF_WEIGHTS, values, 11);
    return add_pictures(&r, list, e);
}

/* The next things of one, into list. */
static bool neighbours(const struct walk *w, json_t *thing, json_t *list, struct err *e)
{
    struct rows r;
    const char *kind = get(thing, "kind"), *run = get(thing, "run"), *hash = get(thing, "hash");
    const struct sql_value most = sql_int(10 * MOST_AT_ONE_PLACE);
    if (!strcmp(kind, "picture")) {
        if (w->back)
            return !json_object_get(thing, "id") || from_picture(w, thing, list, e);
        rows_open(&r, w->db, SQL_PICTURES_DRAWN_OVER, SQL_VALUES(sql_text(w->owner), sql_text(hash), most));
        return add_pictures(&r, list, e);
    }
    if (!strcmp(kind, "weights")) {
        if (!w->back)
            return to_pictures(w, thing, list, e);
        if (!run)
            return true;
        rows_open(&r, w->db, SQL_TRAINING_GET, SQL_VALUES(sql_text(run)));
        return add_trainings(w, &r, list, e);
    }
    if (!strcmp(kind, "run")) {
        rows_open(&r, w->db, w->back ? SQL_TRAINING_PICTURES : SQL_WEIGHTS_OF_RUN, SQL_VALUES(sql_text(run), most));
        return w->back ? add_training_rows(&r, list, e) : add_weights_rows(w, &r, list, e);
    }
    if (strcmp(kind, "training") || w->back)
        return true;
    rows_open(&r, w->db, SQL_TRAININGS_OF_PICTURE, SQL_VALUES(sql_text(hash), most));
    return add_trainings(w, &r, list, e);
}

static bool follow(const struct walk *w, json_t *thing, int depth, struct err *e)
{
    json_t *list = json_array(), *next;
    size_t i;
    bool good = (list || err_nomem(e, "lineage")) && (!depth || neighbours(w, thing, list, e));
    json_array_foreach(list, i, next) {
        if (good && json_object_get(next, "kind"))
            good = follow(w, next, depth - 1, e);
    }
    if (good && json_array_size(list))
        json_object_set(thing, w->back ? "from" : "to", list);
    json_decref(list);
    return good;
}

/* What `which` names, as an object of its kind. */
static json_t *named(struct db *db, const char *owner, const char *which, struct err *e)
{
    struct rows r;
    json_t *found = json_array(), *thing = NULL;
    struct walk w = { .db = db, .owner = owner };
    const char *colon = strchr(which, ':'), *name = colon ? colon + 1 : which;
    bool good = true;
    if (!found) {
        err_nomem(e, "lineage");
    } else if (!strncmp(which, "weights:", 8)) {
        char begin[GALLERY_HASH_BYTES];
        good = hash_digits(begin, name) || err_set(e, ERR_ARG, "%.80s: want weights:HASH", which);
        good = good && add_weights_of(&w, found, begin, NULL, NULL, e);
    } else if (!strncmp(which, "run:", 4)) {
        rows_open(&r, db, SQL_TRAINING_GET, SQL_VALUES(sql_text(name)));
        good = add_trainings(&w, &r, found, e);
    } else if (!strncmp(which, "training:", 9)) {
        json_t *runs = json_array(); /* which of them may be seen */
        rows_open(&r, db, SQL_TRAININGS_OF_PICTURE, SQL_VALUES(sql_text(name), sql_int(10 * MOST_AT_ONE_PLACE)));
        good = add_trainings(&w, &r, runs, e);
        if (good && json_array_size(runs)) {
            rows_open(&r, db, SQL_TRAINING_PICTURE_GET, SQL_VALUES(sql_text(name)));
            good = add_training_rows(&r, found, e);
        }
        json_decref(runs);
    } else {
        int64_t id;
        name = strncmp(which, "picture:", 8) ? which : name;
        good = gallery_find(db, owner, name, &id, e);
        json_t *whole = good ? picture_json(db, id, false, e) : NULL;
        if (whole) {
            json_object_set_new(whole, "kind", json_string("picture"));
            json_array_append_new(found, whole);
        }
    }
    if (good && json_array_size(found))
        thing = json_incref(json_array_get(found, 0));
    else if (good)
        err_set(e, ERR_MISSING, "nothing is known of %.200s: want picture:ID, weights:HASH, run:FOLDER or training:HASH", which);
    json_decref(found);
    return thing;
}

bool gallery_lineage(struct store *s, const char *owner, const char *which, json_t **lineage, struct err *e)
{
    struct db *db = store_begin(s, STORE_READ, e);
    json_t *what = db ? named(db, owner, which, e) : NULL, *result = NULL;
    json_t *back = what ? json_copy(what) : NULL, *onward = what ? json_copy(what) : NULL;
    bool good = back && onward && follow(&(struct walk){ db, owner, true }, back, MOST_DEPTH, e) &&
                follow(&(struct walk){ db, owner, false }, onward, MOST_DEPTH, e);
    if (good) {
        json_t *from = json_object_get(back, "from"), *to = json_object_get(onward, "to");
        result = json_pack("{s:O,s:o,s:o}", "what", what, "from", from ? json_incref(from) : json_array(), "to", to ? json_incref(to) : json_array());
        good = result || err_nomem(e, "lineage");
    }
    json_decref(what);
    json_decref(back);
    json_decref(onward);
    if (store_end(db, good, e)) {
        *lineage = result;
        return true;
    }
    json_decref(result);
    return false;
}
