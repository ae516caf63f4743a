/* Pictures are added, changed and found by name. Searching is in gallery_search.c. */
#include "store/gallery.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/gallery_internal.h"
#include "store/picture_files.h"

enum { HASH_DIGITS = 64, LEAST_DIGITS = 4, LABEL_MOST_BYTES = 100, RATING_MOST = 5, PURGE_STEP = 500 };
#define SEARCHED_MOST_BYTES ((size_t)1 << 20)

bool hash_digits(char out[GALLERY_HASH_BYTES], const char *which)
{
    size_t n = strlen(which);
    if (n < LEAST_DIGITS || n > HASH_DIGITS)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)which[i]))
            return false;
        out[i] = (char)tolower((unsigned char)which[i]);
    }
    out[n] = 0;
    return true;
}

void hash_end(char out[GALLERY_HASH_BYTES + 1], const char *begin)
{
    snprintf(out, GALLERY_HASH_BYTES + 1, "%sg", begin); /* behind every digit */
}

/* What is searched of a picture: all its texts in small letters, and its words. */
struct searched {
    struct text all, body, words;
};

static void searched_init(struct searched *s)
{
    text_init(&s->all, SEARCHED_MOST_BYTES);
    text_init(&s->body, 2 * SEARCHED_MOST_BYTES);
    text_init(&s->words, 3 * SEARCHED_MOST_BYTES);
}

static void searched_add(struct searched *s, const char *text)
{
    if (text)
        text_addf(&s->all, "%.200000s\n", text);
}

static bool searched_end(struct searched *s, struct err *e)
{
    words_fold(&s->body, text_string(&s->all));
    text_add(&s->words, " ");
    words_split(&s->words, text_string(&s->all));
    return text_ok(&s->all, e) && text_ok(&s->body, e) && text_ok(&s->words, e);
}

static void searched_release(struct searched *s)
{
    text_release(&s->all);
    text_release(&s->body);
    text_release(&s->words);
}

/* Writes it anew from what is stored, after a change. */
static bool write_searched(struct db *db, int64_t id, struct err *e)
{
    struct searched s;
    struct rows r;
    searched_init(&s);
    for (rows_open(&r, db, SQL_PICTURE_SEARCHED, SQL_VALUES(sql_int(id))); rows_next(&r);)
        for (int i = 0; i < 5; i++)
            searched_add(&s, rows_text(&r, i));
    bool good = rows_close(&r, e);
    for (rows_open(&r, db, SQL_PICTURE_LORAS, SQL_VALUES(sql_int(id))); rows_next(&r);)
        searched_add(&s, rows_text(&r, 0));
    good = rows_close(&r, e) && good;
    for (rows_open(&r, db, SQL_PICTURE_LABELS, SQL_VALUES(sql_int(id))); rows_next(&r);)
        searched_add(&s, rows_text(&r, 1));
    good = rows_close(&r, e) && good && searched_end(&s, e) &&
           sql_run(db, SQL_PICTURE_TEXTS_SET, SQL_VALUES(sql_int(id), sql_text(text_string(&s.body)), sql_text(text_string(&s.words))), NULL, e);
    searched_release(&s);
    return good;
}

/* 0 is unknown. */
static struct sql_value known_int(int64_t v)
{
    return v ? sql_int(v) : sql_null();
}

static struct sql_value known_real(double v)
{
    return v > 0 ? sql_real(v) : sql_null();
}

static struct sql_value known_text(const char *s)
{
    return sql_text(s && *s ? s : NULL);
}

/* Texts of files that are not UTF-8 would be refused by PostgreSQL and by JSON. */
static bool check_facts(const struct gallery_facts *f, char hash[GALLERY_HASH_BYTES], struct err *e)
{
    const char *const texts[] = { f->owner, f->type, f->prompt, f->negative, f->model, f->model_hash, f->vae, f->sampler, f->schedule,
                                  f->name, f->source, f->job, f->graph, f->workflow, f->parameters };
    if (!f->hash || !hash_digits(hash, f->hash) || strlen(hash) != HASH_DIGITS)
        return err_set(e, ERR_ARG, "a picture without the SHA-256 of its file");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i] && !utf8_valid(texts[i], strlen(texts[i])))
            return err_set(e, ERR_ARG, "picture %.12s: a text that is not valid UTF-8", hash);
    return true;
}

static bool add_lists(struct db *db, int64_t id, const struct gallery_facts *f, struct err *e)
{
    for (size_t i = 0; i < f->lora_count; i++) {
        const struct picture_lora *l = &f->loras[i];
        char digits[GALLERY_HASH_BYTES];
        if (!sql_run(db, SQL_PICTURE_LORA_ADD,
                     SQL_VALUES(sql_int(id), sql_int((int64_t)i), sql_text(l->name ? l->name : "?"),
                                sql_text(l->hash && hash_digits(digits, l->hash) ? digits : NULL), sql_real(l->scale), sql_real(l->text_scale)),
                     NULL, e))
            return false;
    }
    for (size_t i = 0; i < f->parent_count; i++)
        if (!sql_run(db, SQL_PICTURE_PARENT_ADD, SQL_VALUES(sql_int(id), sql_text(f->parents[i])), NULL, e))
            return false;
    return true;
}

/* In the order of PICTURE_SEARCHED, so that a new picture's text is written once. */
static bool add_texts(struct db *db, int64_t id, const struct gallery_facts *f, struct err *e)
{
    const char *const texts[] = { f->prompt, f->negative, f->model, f->sampler, f->name };
    struct searched s;
    searched_init(&s);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        searched_add(&s, texts[i]);
    for (size_t i = 0; i < f->lora_count; i++)
        searched_add(&s, f->loras[i].name);
    bool good = searched_end(&s, e) &&
                sql_run(db, SQL_PICTURE_TEXTS_ADD,
                        SQL_VALUES(sql_int(id), known_text(f->prompt), known_text(f->negative), sql_text(text_string(&s.body)),
                                   sql_text(text_string(&s.words))), NULL, e);
    searched_release(&s);
    return good;
}

bool gallery_add(struct db *db, const struct gallery_facts *f, int64_t *id, bool *added, struct err *e)
{
    char hash[GALLERY_HASH_BYTES], model_hash[GALLERY_HASH_BYTES];
    struct rows r;
    if (!check_facts(f, hash, e))
        return false;
    struct sql_value seed = f->has_seed ? sql_int((int64_t)f->seed) : sql_null(), look = f->has_look ? sql_int((int64_t)f->look) : sql_null();
    struct sql_value model = sql_text(f->model_hash && hash_digits(model_hash, f->model_hash) ? model_hash : NULL);
    struct sql_value owner = sql_text(f->owner ? f->owner : "");
    *id = 0;
    for (rows_open(&r, db, SQL_PICTURE_ADD,
                   SQL_VALUES(owner, sql_text(hash), sql_text(f->type ? f->type : "png"), known_int(f->bytes), known_int(f->width),
                              known_int(f->height), sql_int(f->created_ms), known_text(f->model), model, known_text(f->vae),
                              known_text(f->sampler), known_text(f->schedule), known_int(f->steps), known_int(f->clip_skip),
                              known_real(f->cfg), known_real(f->strength), seed, look, known_text(f->name), known_text(f->source),
                              known_text(f->job)));
         rows_next(&r);)
        *id = rows_int(&r, 0);
    if (!rows_close(&r, e))
        return false;
    *added = *id != 0;
    if (!*added) {
        for (rows_open(&r, db, SQL_PICTURE_FIND_HASH, SQL_VALUES(owner, sql_text(hash))); rows_next(&r);)
            *id = rows_int(&r, 0);
        if (!rows_close(&r, e) ||
            !sql_run(db, SQL_PICTURE_MORE,
                     SQL_VALUES(sql_int(*id), known_text(f->model), model, known_text(f->vae), known_text(f->sampler), known_text(f->schedule),
                                known_int(f->steps), known_int(f->clip_skip), known_real(f->cfg), known_real(f->strength), seed, look,
                                known_text(f->name), known_text(f->job)),
                     NULL, e))
            return false;
    }
    return add_texts(db, *id, f, e) &&
           sql_run(db, SQL_PICTURE_SOURCES_ADD,
                   SQL_VALUES(sql_int(*id), known_text(f->graph), known_text(f->workflow), known_text(f->parameters)), NULL, e) &&
           add_lists(db, *id, f, e) && (*added || write_searched(db, *id, e));
}

bool gallery_find(struct db *db, const char *owner, const char *which, int64_t *id, struct err *e)
{
    char begin[GALLERY_HASH_BYTES], end[GALLERY_HASH_BYTES + 1], *stop;
    int found = 0;
    struct rows r;
    long long number = strtoll(which, &stop, 10);
    if (*which && !*stop && number > 0) {
        for (rows_open(&r, db, SQL_PICTURE_FIND_ID, SQL_VALUES(sql_text(owner), sql_int(number))); rows_next(&r); found++)
            *id = rows_int(&r, 0);
        if (!rows_close(&r, e) || found)
            return e->code == ERR_NONE;
    }
    if (hash_digits(begin, which)) {
        hash_end(end, begin);
        for (rows_open(&r, db, SQL_PICTURE_FIND_BEGIN, SQL_VALUES(sql_text(owner), sql_text(begin), sql_text(end))); rows_next(&r); found++)
            *id = rows_int(&r, 0);
        if (!rows_close(&r, e))
            return false;
    }
    if (found > 1)
        return err_set(e, ERR_ARG, "several pictures have a hash that begins with %s: give more of it", which);
    return found == 1 || err_set(e, ERR_MISSING, "no picture %s in the gallery: an id, or a hash or its first digits (%d or more)", which,
                                 LEAST_DIGITS);
}

/* --- changes --- */

/* Runs the statement for each picture; one that is not there is an error. values[1] is set to the id. */
static bool change_each(struct db *db, enum sql_id statement, const int64_t *ids, size_t count, struct sql_value *values,
                        size_t value_count, bool must, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        int64_t changed;
        values[1] = sql_int(ids[i]);
        if (!sql_run(db, statement, values, value_count, &changed, e))
            return false;
        if (must && !changed)
            return err_set(e, ERR_MISSING, "no picture %lld in the gallery", (long long)ids[i]);
    }
    return true;
}

static bool need_all(struct db *db, const char *owner, const int64_t *ids, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct rows r;
        bool found = false;
        for (rows_open(&r, db, SQL_PICTURE_FIND_ID, SQL_VALUES(sql_text(owner), sql_int(ids[i]))); rows_next(&r);)
            found = true;
        if (!rows_close(&r, e))
            return false;
        if (!found)
            return err_set(e, ERR_MISSING, "no picture %lld in the gallery", (long long)ids[i]);
    }
    return true;
}

bool gallery_rate(struct store *s, const char *owner, const int64_t *ids, size_t count, int rating, struct err *e)
{
    if (rating < 0 || rating > RATING_MOST)
        return err_set(e, ERR_ARG, "a rating is 0 to %d, not %d", RATING_MOST, rating);
    struct sql_value values[] = { sql_text(owner), sql_null(), sql_int(rating) };
    struct db *db = store_begin(s, STORE_WRITE, e);
    return store_end(db, db && change_each(db, SQL_PICTURE_RATE, ids, count, values, 3, true, e), e);
}

static bool check_label(const char *name, struct err *e)
{
    size_t n = strlen(name);
    return (n >= 1 && n <= LABEL_MOST_BYTES && utf8_valid(name, n) && !strchr(name, ',') && name[0] != ' ' && name[n - 1] != ' ') ||
           err_set(e, ERR_ARG, "\"%.120s\": a tag or collection is 1 to %d bytes of text without commas, and without spaces around it", name,
                   LABEL_MOST_BYTES);
}

static bool label(struct store *s, const char *owner, int kind, const int64_t *ids, size_t count, const char *const *add, size_t adds,
                  const char *const *remove, size_t removes, struct err *e)
{
    for (size_t i = 0; i < adds; i++)
        if (!check_label(add[i], e))
            return false;
    struct db *db = store_begin(s, STORE_WRITE, e);
    bool good = db && need_all(db, owner, ids, count, e);
    for (size_t k = 0; good && k < count; k++) {
        for (size_t i = 0; good && i < adds; i++)
            good = sql_run(db, SQL_PICTURE_LABEL_ADD, SQL_VALUES(sql_int(ids[k]), sql_int(kind), sql_text(add[i])), NULL, e);
        for (size_t i = 0; good && i < removes; i++)
            good = sql_run(db, SQL_PICTURE_LABEL_REMOVE, SQL_VALUES(sql_int(ids[k]), sql_int(kind), sql_text(remove[i])), NULL, e);
        good = good && write_searched(db, ids[k], e);
    }
    return store_end(db, good, e);
}

bool gallery_tag(struct store *s, const char *owner, const int64_t *ids, size_t count, const char *const *add, size_t adds,
                 const char *const *remove, size_t removes, struct err *e)
{
    return label(s, owner, LABEL_TAG, ids, count, add, adds, remove, removes, e);
}

bool gallery_collect(struct store *s, const char *owner, const int64_t *ids, size_t count, const char *const *add, size_t adds,
                     const char *const *remove, size_t removes, struct err *e)
{
    return label(s, owner, LABEL_COLLECTION, ids, count, add, adds, remove, removes, e);
}

bool gallery_delete(struct store *s, const char *owner, const int64_t *ids, size_t count, int64_t *batch, struct err *e)
{
    struct rows r;
    struct db *db = store_begin(s, STORE_WRITE, e);
    if (!db)
        return false;
    for (rows_open(&r, db, SQL_DELETION_ADD, SQL_VALUES(sql_text(owner))); rows_next(&r);)
        *batch = rows_int(&r, 0);
    struct sql_value values[] = { sql_text(owner), sql_null(), sql_int(*batch) };
    return store_end(db, rows_close(&r, e) && change_each(db, SQL_PICTURE_DELETE, ids, count, values, 3, true, e), e);
}

bool gallery_undo(struct store *s, const char *owner, int64_t batch, int64_t *count, struct err *e)
{
    struct rows r;
    int64_t undone = 0;
    struct db *db = store_begin(s, STORE_WRITE, e);
    bool good = db != NULL;
    if (good && !batch) {
        for (rows_open(&r, db, SQL_DELETION_LATEST, SQL_VALUES(sql_text(owner))); rows_next(&r);)
            batch = rows_int(&r, 0);
        good = rows_close(&r, e) && (batch || err_set(e, ERR_MISSING, "nothing was deleted that could come back"));
    }
    good = good && sql_run(db, SQL_DELETION_UNDO, SQL_VALUES(sql_int(batch), sql_text(owner)), &undone, e) &&
           (undone || err_set(e, ERR_MISSING, "no deletion %lld that could come back", (long long)batch)) &&
           sql_run(db, SQL_PICTURES_UNDELETE, SQL_VALUES(sql_text(owner), sql_int(batch)), count, e);
    return store_end(db, good, e);
}

/* --- forgetting --- */

struct old {
    int64_t id;
    char hash[GALLERY_HASH_BYTES], type[12];
};

/* Deletes the rows; those whose file nobody else names keep their place in the list, the others lose their hash. */
static bool forget_rows(struct db *db, struct old *old, size_t count, struct err *e)
{
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        int64_t users = 0;
        struct rows r;
        good = sql_run(db, SQL_PICTURE_FORGET, SQL_VALUES(sql_int(old[i].id)), NULL, e);
        if (!good)
            break;
        for (rows_open(&r, db, SQL_PICTURE_FILE_USERS, SQL_VALUES(sql_text(old[i].hash))); rows_next(&r);)
            users = rows_int(&r, 0);
        good = rows_close(&r, e);
        if (users)
            old[i].hash[0] = 0;
    }
    return good && sql_run(db, SQL_DELETIONS_FORGET, SQL_NO_VALUES, NULL, e);
}

bool gallery_purge(struct store *s, const char *folder, int64_t before_ms, int64_t *count, struct err *e)
{
    struct old old[PURGE_STEP];
    *count = 0;
    for (;;) {
        size_t found = 0;
        struct rows r;
        struct db *db = store_begin(s, STORE_WRITE, e);
        if (!db)
            return false;
        for (rows_open(&r, db, SQL_PICTURES_OLD_DELETED, SQL_VALUES(sql_int(before_ms))); rows_next(&r) && found < PURGE_STEP; found++) {
            old[found].id = rows_int(&r, 0);
            snprintf(old[found].hash, sizeof old[found].hash, "%s", rows_text(&r, 1));
            snprintf(old[found].type, sizeof old[found].type, "%s", rows_text(&r, 2));
        }
        if (!store_end(db, rows_close(&r, e) && forget_rows(db, old, found, e), e))
            return false;
        for (size_t i = 0; i < found; i++)
            if (old[i].hash[0])
                picture_file_forget(folder, old[i].hash, old[i].type);
        *count += (int64_t)found;
        if (found < PURGE_STEP)
            return true;
    }
}
