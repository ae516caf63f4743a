/* A picture is kept as the line of JSON that stands for it and, decoded once, the few words of struct manifest_picture. A change
 * parses the line, changes it and writes it again: ten microseconds, against a hundred megabytes of parsed lines. */
#include "dataset/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/leftovers.h"
#include "base/mem.h"
#include "dataset/dataset_internal.h"
#include "dataset/rows.h"

struct entry {
    struct manifest_picture picture;
    char *line;  /* 0-ended, without its newline */
    char *words; /* the decoded strings of picture, one behind the other */
};

/* Open addressing, picture numbers + 1. A picture whose word changed is put in again; its old place is passed over, because
 * the words there do not agree any more. */
struct places {
    uint32_t *slots;
    size_t cap, used;
};
enum { BY_FILE, BY_ID, BY_SOURCE, WAYS };

struct manifest {
    char folder[PATH_MAX_BYTES], list[PATH_MAX_BYTES];
    char time[21];
    enum manifest_use use;
    int lock; /* the folder's descriptor, locked; -1: none */
    struct entry *entries;
    size_t count, cap;
    struct places places[WAYS];
    bool changed;
    double saved, save_seconds; /* when, and how long it took */
};

/* The words of struct manifest_picture: one list for reading, copying and finding them. */
static const struct word {
    const char *key;
    size_t place, max_bytes;
    bool must; /* a list that says it in another kind is broken; else it means something else there, and is as if not there */
} words[] = {
    { "file_name", offsetof(struct manifest_picture, file_name), DATASET_MAX_TEXT_BYTES, true },
    { "text", offsetof(struct manifest_picture, text), DATASET_MAX_TEXT_BYTES, true },
    { "id", offsetof(struct manifest_picture, id), DIGEST_TEXT_BYTES - 1, false },
    { "origin", offsetof(struct manifest_picture, origin), DIGEST_TEXT_BYTES - 1, false },
    { "source", offsetof(struct manifest_picture, source), DATASET_MAX_TEXT_BYTES, false },
    { "split", offsetof(struct manifest_picture, split), DATASET_MAX_WORD_BYTES, true },
    { "excluded", offsetof(struct manifest_picture, excluded), DATASET_MAX_TEXT_BYTES, false },
};
enum { WORDS = sizeof words / sizeof *words };

static const struct number {
    const char *key;
    size_t place;
    int64_t min, max;
    bool must;
} numbers[] = {
    { "width", offsetof(struct manifest_picture, width), 0, INT32_MAX, false },
    { "height", offsetof(struct manifest_picture, height), 0, INT32_MAX, false },
    { "bytes", offsetof(struct manifest_picture, bytes), 0, INT64_MAX, false },
    { "repeats", offsetof(struct manifest_picture, repeats), 1, DATASET_MAX_REPEATS, true },
};

static const char **word_of(struct manifest_picture *p, int w)
{
    return (const char **)((char *)p + words[w].place);
}

static const char *word_at(const struct manifest *m, size_t i, int way)
{
    const struct manifest_picture *p = &m->entries[i].picture;
    return way == BY_FILE ? p->file_name : way == BY_ID ? p->id : p->source;
}

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *s)
{
    uint64_t h = 0xCBF29CE484222325;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3;
    return h;
}

static void put_place(const struct manifest *m, struct places *p, int way, size_t i)
{
    size_t at = hash_of(word_at(m, i, way)) & (p->cap - 1);
    while (p->slots[at])
        at = (at + 1) & (p->cap - 1);
    p->slots[at] = (uint32_t)i + 1;
    p->used++;
}

/* Room for one more in each index: a place is never refused later, when the picture has been changed already. */
static bool make_room(struct manifest *m, struct err *e)
{
    for (int way = 0; way < WAYS; way++) {
        struct places *p = &m->places[way], bigger = { .cap = p->cap ? p->cap : 64 };
        if (p->cap && 2 * (p->used + 1) <= p->cap)
            continue;
        while (4 * (m->count + 1) > bigger.cap)
            bigger.cap *= 2;
        if (!(bigger.slots = mem_zeroed(bigger.cap, sizeof *bigger.slots)))
            return err_nomem(e, "the index of a manifest");
        for (size_t i = 0; i < m->count; i++)
            if (*word_at(m, i, way))
                put_place(m, &bigger, way, i);
        mem_free(p->slots);
        *p = bigger;
    }
    return true;
}

static long find(const struct manifest *m, int way, const char *word)
{
    const struct places *p = &m->places[way];
    long first = -1;
    if (!*word || !p->cap)
        return -1;
    for (size_t at = hash_of(word) & (p->cap - 1); p->slots[at]; at = (at + 1) & (p->cap - 1)) {
        long i = (long)p->slots[at] - 1;
        if ((first < 0 || i < first) && !strcmp(word_at(m, (size_t)i, way), word))
            first = i;
    }
    return first;
}

long manifest_find_file(const struct manifest *m, const char *file_name)
{
    return find(m, BY_FILE, file_name);
}

long manifest_find_id(const struct manifest *m, const char *id)
{
    return find(m, BY_ID, id);
}

long manifest_find_source(const struct manifest *m, const char *source)
{
    return find(m, BY_SOURCE, source);
}

static void entry_release(struct entry *n)
{
    mem_free(n->line);
    mem_free(n->words);
}

/* The word that object says under a key, "" if it says none. False where it must say it otherwise. */
static bool word_of_object(const struct word *w, const json_t *object, const json_t *changed, const char *where, const char **out,
                           struct err *e)
{
    struct err cause = { 0 };
    *out = "";
    bool good = json_get_string(object, where, w->key, out, &cause);
    size_t bytes = strlen(*out);
    if (good && bytes > w->max_bytes)
        good = err_set(&cause, ERR_LIMIT, "%s: %s has %zu bytes, the limit is %zu", where, w->key, bytes, w->max_bytes);
    if (good)
        return true;
    *out = "";
    return (!w->must && !json_object_get(changed, w->key)) || err_set(e, cause.code, "%s", cause.text);
}

/* Decodes the words and numbers of an object into n. What is in `changed` (NULL: nothing) must be of its kind. */
static bool read_words(struct entry *n, const json_t *object, const json_t *changed, const char *where, struct err *e)
{
    const char *said[WORDS];
    size_t bytes = 1;
    for (int w = 0; w < WORDS; w++) {
        if (!word_of_object(&words[w], object, changed, where, &said[w], e))
            return false;
        bytes += strlen(said[w]) + 1;
    }
    n->picture = (struct manifest_picture){ .repeats = 1 };
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        struct err cause = { 0 };
        int64_t *to = (int64_t *)((char *)&n->picture + numbers[k].place);
        if (!json_get_int(object, where, numbers[k].key, numbers[k].min, numbers[k].max, to, &cause) &&
            (numbers[k].must || json_object_get(changed, numbers[k].key)))
            return err_set(e, cause.code, "%s", cause.text);
    }
    if (!(n->words = mem_zeroed(bytes, 1)))
        return err_nomem(e, "a picture's words");
    char *at = n->words + 1; /* the byte before is "" for all that are not there */
    for (int w = 0; w < WORDS; w++) {
        size_t length = strlen(said[w]) + 1;
        *word_of(&n->picture, w) = length > 1 ? memcpy(at, said[w], length) : n->words;
        at += length > 1 ? length : 0;
    }
    if (!*n->picture.file_name)
        return err_set(e, ERR_MISSING, "%s: no file_name", where);
    if (!dataset_name_inside(n->picture.file_name))
        return err_set(e, ERR_FORMAT, "%s: file_name \"%.200s\" is not a path inside the folder", where, n->picture.file_name);
    if (*n->picture.split && strcmp(n->picture.split, "train") && strcmp(n->picture.split, "held-out"))
        return err_set(e, ERR_FORMAT, "%s: split \"%.50s\"; want \"train\" or \"held-out\"", where, n->picture.split);
    return true;
}

/* Makes n of an object; on failure it holds nothing. */
static bool entry_of(struct entry *n, const json_t *object, const json_t *changed, const char *where, struct err *e)
{
    *n = (struct entry){ 0 };
    char *text = NULL;
    bool good = read_words(n, object, changed, where, e);
    if (good && !(text = json_dumps(object, JSON_COMPACT)))
        good = err_nomem(e, "a line of a manifest");
    size_t bytes = good ? strlen(text) : 0;
    if (good && bytes > MANIFEST_MAX_LINE_BYTES)
        good = err_set(e, ERR_LIMIT, "%s: %zu bytes about one picture, the limit is %zu", where, bytes, MANIFEST_MAX_LINE_BYTES);
    if (good && !(n->line = mem_string(text)))
        good = err_nomem(e, "a line of a manifest");
    free(text);
    if (!good) {
        entry_release(n);
        *n = (struct entry){ 0 };
    }
    return good;
}

/* Takes n over, also on failure. */
static bool append(struct manifest *m, struct entry *n, const char *where, struct err *e)
{
    struct entry *more = NULL;
    bool good = make_room(m, e);
    if (good && m->count >= DATASET_MAX_PICTURES)
        good = err_set(e, ERR_LIMIT, "%s: more than %d pictures", where, DATASET_MAX_PICTURES);
    if (good && find(m, BY_FILE, n->picture.file_name) >= 0)
        good = err_set(e, ERR_FORMAT, "%s: the list has %.200s twice", where, n->picture.file_name);
    if (good && !(more = mem_grow(m->entries, &m->cap, m->count + 1, sizeof *more)))
        good = err_nomem(e, "a manifest");
    if (!good) {
        entry_release(n);
        return false;
    }
    m->entries = more;
    more[m->count++] = *n;
    for (int way = 0; way < WAYS; way++)
        if (*word_at(m, m->count - 1, way))
            put_place(m, &m->places[way], way, m->count - 1);
    return true;
}

/* Fields of a CSV file are texts: numbers where the list has numbers. */
static bool make_numbers(json_t *row)
{
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        const char *text = json_string_value(json_object_get(row, numbers[k].key));
        char *end;
        if (!text)
            continue;
        long long n = strtoll(text, &end, 10);
        if (json_object_set_new(row, numbers[k].key, end == text || *end ? json_null() : json_integer(n)))
            return false;
    }
    return true;
}

/* row is taken over. */
static bool take_row(void *self, long line, json_t *row, struct err *e)
{
    struct manifest *m = self;
    struct entry n;
    char where[PATH_MAX_BYTES + 40];
    snprintf(where, sizeof where, "%s, line %ld", m->list, line);
    bool good = (!rows_are_csv(m->list) || make_numbers(row) || err_nomem(e, "a record")) && entry_of(&n, row, NULL, where, e) &&
                append(m, &n, where, e);
    json_decref(row);
    return good;
}

static bool read_list(struct manifest *m, struct err *e)
{
    char *data;
    size_t bytes;
    bool lines;
    if (m->use != MANIFEST_MAKE && !dataset_find_list(m->folder, m->list, &lines, e))
        return false;
    if (m->use == MANIFEST_MAKE) { /* in this folder, whatever lies in "train" inside */
        if (!path_join(m->list, m->folder, "metadata.jsonl", e))
            return false;
        lines = path_exists(m->list);
        if (!lines && !path_join(m->list, m->folder, "metadata.csv", e))
            return false;
        if (!path_exists(m->list))
            return true;
    }
    if (!file_read(m->list, DATASET_MAX_BYTES, &data, &bytes, e))
        return false;
    bool good = rows_read(m->list, data, bytes, !lines, take_row, m, e);
    mem_free(data);
    m->changed = good && !lines; /* the next save writes metadata.jsonl */
    return good;
}

struct manifest *manifest_parse(const char *data, size_t bytes, bool csv, struct err *e)
{
    struct manifest *m = mem_zeroed(1, sizeof *m);
    if (!m) {
        err_nomem(e, "a manifest");
        return NULL;
    }
    *m = (struct manifest){ .use = MANIFEST_READ, .lock = -1 };
    strcpy(m->list, csv ? "list.csv" : "list.jsonl");
    if (rows_read(m->list, data, bytes, csv, take_row, m, e))
        return m;
    manifest_free(m);
    return NULL;
}

static bool lock(struct manifest *m, struct err *e)
{
    m->lock = open(m->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->lock < 0)
        return err_errno(e, "cannot open the folder %s", m->folder);
    /* a file system that knows no locks is no reason to refuse */
    if (flock(m->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return err_set(e, ERR_IO, "%s: another program is changing this data set: wait until it has ended", m->folder);
    leftovers_remove(m->folder);
    return true;
}

struct manifest *manifest_open(const char *folder, enum manifest_use use, struct err *e)
{
    struct manifest *m = mem_zeroed(1, sizeof *m);
    if (!m) {
        err_nomem(e, "a manifest");
        return NULL;
    }
    m->use = use;
    m->lock = -1;
    m->saved = clock_seconds();
    clock_utc(m->time);
    bool good = snprintf(m->folder, sizeof m->folder, "%s", folder) < (int)sizeof m->folder ||
                err_set(e, ERR_LIMIT, "%.60s...: the path is too long", folder);
    if (good && use == MANIFEST_MAKE)
        good = folder_make(folder, e);
    if (good && !path_is_folder(folder))
        good = err_set(e, ERR_MISSING, "%s: there is no such folder", folder);
    bool lines; /* read_list looks again: here only for the folder, which is locked first */
    good = good && (use == MANIFEST_MAKE || dataset_find_list(m->folder, m->list, &lines, e));
    if (good && (use == MANIFEST_READ || lock(m, e)) && read_list(m, e))
        return m;
    manifest_free(m);
    return NULL;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        entry_release(&m->entries[i]);
    for (int way = 0; way < WAYS; way++)
        mem_free(m->places[way].slots);
    mem_free(m->entries);
    if (m->lock >= 0)
        close(m->lock);
    mem_free(m);
}

bool manifest_save(struct manifest *m, struct err *e)
{
    struct file_write w;
    if (!m->changed)
        return true;
    double begun = clock_seconds();
    if (!path_join(m->list, m->folder, "metadata.jsonl", e) || !file_begin(&w, m->list, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < m->count; i++)
        good = file_put(&w, m->entries[i].line, strlen(m->entries[i].line), e) && file_put(&w, "\n", 1, e);
    if (!good)
        file_abandon(&w);
    else if (!file_commit(&w, e))
        good = false;
    m->changed = !good;
    m->saved = clock_seconds();
    m->save_seconds = m->saved - begun;
    return good;
}

bool manifest_checkpoint(struct manifest *m, struct err *e)
{
    double wait = 20 * m->save_seconds;
    return clock_seconds() - m->saved < (wait > 1 ? wait : 1) || manifest_save(m, e);
}

const char *manifest_folder(const struct manifest *m)
{
    return m->folder;
}

size_t manifest_count(const struct manifest *m)
{
    return m->count;
}

const struct manifest_picture *manifest_picture(const struct manifest *m, size_t i)
{
    return &m->entries[i].picture;
}

bool manifest_path(const struct manifest *m, size_t i, char *path, struct err *e)
{
    return path_join(path, m->folder, m->entries[i].picture.file_name, e);
}

const char *manifest_time(const struct manifest *m)
{
    return m->time;
}

json_t *manifest_object(const struct manifest *m, size_t i, struct err *e)
{
    return json_parse(m->entries[i].line, strlen(m->entries[i].line), m->entries[i].picture.file_name, e);
}

static bool add_history(const struct manifest *m, json_t *object, const char *operation, const json_t *details, struct err *e)
{
    json_t *history = json_object_get(object, "history");
    if (history && !json_is_array(history))
        return err_set(e, ERR_FORMAT, "%s: a picture's history is not an array", m->folder);
    if (!history) {
        history = json_array();
        if (json_object_set_new(object, "history", history))
            return err_nomem(e, "a picture's history");
    }
    json_t *entry = json_pack("{s:s,s:s}", "op", operation, "time", m->time);
    bool good = entry && (!details || !json_object_update(entry, (json_t *)(uintptr_t)details));
    /* appending takes the entry over, also on failure */
    if (!good)
        json_decref(entry);
    return (good && !json_array_append_new(history, entry)) || err_nomem(e, "a picture's history");
}

/* Lays fields over object: a null takes away. */
static bool lay_over(json_t *object, const json_t *fields, struct err *e)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)fields, key, value)
    {
        if (json_is_null(value))
            json_object_del(object, key);
        else if (json_object_set(object, key, value))
            return err_nomem(e, "a picture's fields");
    }
    return true;
}

/* A changed object of a picture that had the id `old_id`, as an entry. */
static bool change_object(const struct manifest *m, json_t *object, const char *old_id, const json_t *fields, const char *operation,
                          const json_t *details, struct entry *n, struct err *e)
{
    const json_t *other = json_object_get(object, "id"); /* what another program calls so is kept beside ours */
    if (other && !*old_id && json_object_get(fields, "id") && !json_object_get(object, "list_id") &&
        json_object_set(object, "list_id", (json_t *)(uintptr_t)other))
        return err_nomem(e, "a picture's fields");
    if (!lay_over(object, fields, e))
        return false;
    const char *id = json_string_value(json_object_get(object, "id"));
    if (*old_id && id && strcmp(id, old_id) && !json_object_get(object, "origin") &&
        json_object_set_new(object, "origin", json_string(old_id)))
        return err_nomem(e, "a picture's fields");
    if (!json_object_get(object, "text") && json_object_set_new(object, "text", json_string("")))
        return err_nomem(e, "a picture's fields");
    return (!operation || add_history(m, object, operation, details, e)) && entry_of(n, object, fields, m->folder, e);
}

bool manifest_change(struct manifest *m, size_t i, json_t *fields, const char *operation, json_t *details, struct err *e)
{
    struct entry *old = &m->entries[i], n = { 0 };
    json_t *object = fields ? manifest_object(m, i, e) : NULL;
    bool good = (fields || err_nomem(e, "a picture's fields")) && object && make_room(m, e) &&
                change_object(m, object, old->picture.id, fields, operation, details, &n, e);
    json_decref(object);
    json_decref(fields);
    json_decref(details);
    if (!good)
        return err_add(e, "picture %s", old->picture.file_name);
    long same = find(m, BY_FILE, n.picture.file_name);
    if (same >= 0 && (size_t)same != i) {
        err_set(e, ERR_FORMAT, "%s: %s is another picture's file already", m->folder, n.picture.file_name);
        entry_release(&n);
        return false;
    }
    struct entry was = *old;
    *old = n;
    const char *const before[WAYS] = { was.picture.file_name, was.picture.id, was.picture.source };
    for (int way = 0; way < WAYS; way++)
        if (*word_at(m, i, way) && strcmp(before[way], word_at(m, i, way)))
            put_place(m, &m->places[way], way, i);
    entry_release(&was);
    m->changed = true;
    return true;
}

bool manifest_add(struct manifest *m, json_t *fields, const char *operation, json_t *details, struct err *e)
{
    struct entry n = { 0 };
    json_t *object = fields ? json_object() : NULL;
    bool good = (object || err_nomem(e, "a picture's fields")) &&
                change_object(m, object, "", fields, operation, details, &n, e) && append(m, &n, m->folder, e);
    json_decref(object);
    json_decref(fields);
    json_decref(details);
    m->changed = m->changed || good;
    return good;
}

/* Id and bytes of pictures first, first + 1, ... (count of them); "" where a file cannot be read. */
static void identify_batch(const struct manifest *m, size_t first, size_t count, char (*ids)[DIGEST_TEXT_BYTES], int64_t *bytes)
{
#pragma omp parallel for schedule(dynamic)
    for (size_t k = 0; k < count; k++) {
        char path[PATH_MAX_BYTES];
        struct stat s;
        struct err ignored = { 0 };
        ids[k][0] = 0;
        if (*m->entries[first + k].picture.id || !manifest_path(m, first + k, path, &ignored) || stat(path, &s) ||
            !digest_file(path, 0, ids[k], NULL, NULL, &ignored))
            ids[k][0] = 0;
        else
            bytes[k] = s.st_size;
    }
}

bool manifest_identify(struct manifest *m, const struct progress *progress, size_t *missing, struct err *e)
{
    enum { BATCH = 64 };
    char ids[BATCH][DIGEST_TEXT_BYTES];
    int64_t bytes[BATCH];
    size_t without = 0;
    for (size_t i = 0; i < m->count; i += BATCH) {
        size_t n = m->count - i < BATCH ? m->count - i : BATCH;
        if (!stop_check(e))
            return false;
        identify_batch(m, i, n, ids, bytes);
        for (size_t k = 0; k < n; k++) {
            bool known = *m->entries[i + k].picture.id;
            without += !known && !ids[k][0];
            if (!known && ids[k][0] &&
                !manifest_change(m, i + k, json_pack("{s:s,s:I}", "id", ids[k], "bytes", (json_int_t)bytes[k]), NULL, NULL, e))
                return false;
        }
        progress_step(progress, "hashing pictures", (long)(i + n), (long)m->count, NULL);
    }
    if (missing)
        *missing = without;
    return true;
}
