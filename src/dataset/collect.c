/* A picture on its way:
 *
 *   listed --in the manifest, or failed before--> passed over
 *     |
 *     '--download--> ".collect/<hash>" --looked at--> "<name>-<hash>.png" --> a line in the manifest
 *             '--> failed: a line in collect-failed.jsonl, if another try would not help
 *
 * <hash> is the address's, so what a killed run left is found again or written over. */
#include "dataset/collect.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "dataset/dataset_internal.h"
#include "dataset/import_internal.h"
#include "dataset/manifest.h"
#include "dataset/rows.h"
#include "fetch/download.h"
#include "image/image.h"

enum { BATCH = 1024, MOST_URL = 2048, MOST_LINES = 20, HASH = 16 };
static const char *const url_columns[] = { "url", "image_url", "link", NULL };
static const char *const picture_types[] = { "image/", "application/octet-stream", "binary/octet-stream", NULL };

struct wanted {
    char *url;
    json_t *row;   /* what else the list says, with "text"; NULL: nothing */
    uint64_t turn; /* the first of each host come before the second of each */
};

struct collector {
    const struct collect_options *o;
    struct collect_result *r;
    const struct progress *progress;
    struct manifest *m;
    struct wanted *list;
    size_t count, cap;
    json_t *failed; /* addresses that failed before */
    /* The batch in hand. */
    struct wanted **batch;
    struct download *downloads;
    size_t done_before; /* of the list, for progress */
    size_t ended;
};

/* ---- the list ---- */

/* url is copied, row taken over. */
static bool want(struct collector *w, const char *url, json_t *row, long line, struct err *e)
{
    size_t bytes = strlen(url);
    if (bytes > MOST_URL || (strncasecmp(url, "http://", 7) && strncasecmp(url, "https://", 8))) {
        json_decref(row);
        return err_set(e, ERR_FORMAT, "%s, line %ld: \"%.100s\" is not an address that begins with http:// or https:// and has at most %d bytes",
                       w->o->list, line, url, MOST_URL);
    }
    struct wanted *more = w->count < DATASET_MAX_PICTURES ? mem_grow(w->list, &w->cap, w->count + 1, sizeof *more) : NULL;
    char *copy = mem_string(url);
    if (more)
        w->list = more;
    if (!more || !copy) {
        mem_free(copy);
        json_decref(row);
        return err_nomem(e, "a list of addresses");
    }
    more[w->count++] = (struct wanted){ .url = copy, .row = row };
    return true;
}

static bool take_row(void *self, long line, json_t *row, struct err *e)
{
    struct collector *w = self;
    const char *url_key = NULL, *text_key = NULL;
    const char *url = import_column(row, w->o->url_column, url_columns, &url_key);
    const char *text = import_column(row, w->o->text_column, import_text_columns, &text_key);
    if (!url || !*url) {
        json_decref(row);
        return err_set(e, ERR_MISSING, "%s, line %ld: no address: none of the columns %s", w->o->list, line,
                       w->o->url_column ? w->o->url_column : "url, image_url and link");
    }
    char address[MOST_URL + 2];
    int64_t repeats;
    snprintf(address, sizeof address, "%s", url); /* one that is too long is refused below */
    json_t *words = json_string(text ? text : "");
    json_object_del(row, url_key);
    if (text_key)
        json_object_del(row, text_key);
    bool good = words && import_clean_fields(row, &repeats) && !json_object_set(row, "text", words) &&
                (repeats == 1 || !json_object_set_new(row, "repeats", json_integer(repeats)));
    json_decref(words);
    if (!good) {
        json_decref(row);
        return err_nomem(e, "a list of addresses");
    }
    return want(w, address, row, line, e);
}

static bool take_lines(struct collector *w, char *data, struct err *e)
{
    long number = 0;
    for (char *at = data, *next; at; at = next) {
        next = strchr(at, '\n');
        if (next)
            *next++ = 0;
        number++;
        at += strspn(at, " \t\r");
        at[strcspn(at, " \t\r")] = 0;
        if (*at && *at != '#' && !want(w, at, NULL, number, e))
            return false;
    }
    return true;
}

static uint64_t host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t bytes = strcspn(host, "/?#");
    uint64_t h = 0xCBF29CE484222325;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)host[i]) * 0x100000001B3;
    return h;
}

struct by_host {
    uint64_t host;
    size_t at;
};

static int compare_hosts(const void *a, const void *b)
{
    const struct by_host *x = a, *y = b;
    return x->host != y->host ? (x->host > y->host ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

static int compare_turns(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    return (x->turn > y->turn) - (x->turn < y->turn);
}

/* In turns: the first of each host, then the second of each, so that a batch has many hosts. */
static bool mix_hosts(struct collector *w, struct err *e)
{
    struct by_host *order = mem_zeroed(w->count + 1, sizeof *order);
    if (!order)
        return err_nomem(e, "a list of addresses");
    for (size_t i = 0; i < w->count; i++)
        order[i] = (struct by_host){ host_of(w->list[i].url), i };
    qsort(order, w->count, sizeof *order, compare_hosts);
    for (size_t i = 0, turn = 0; i < w->count; i++) {
        turn = i && order[i].host == order[i - 1].host ? turn + 1 : 0;
        w->list[order[i].at].turn = (uint64_t)turn << 32 | order[i].at; /* equal turns in the order of the list */
    }
    mem_free(order);
    qsort(w->list, w->count, sizeof *w->list, compare_turns);
    return true;
}

static bool read_list(struct collector *w, struct err *e)
{
    char *data;
    size_t bytes, length = strlen(w->o->list);
    if (!file_read(w->o->list, DATASET_MAX_BYTES, &data, &bytes, e))
        return false;
    bool rows = rows_are_csv(w->o->list) || (length > 6 && !strcasecmp(w->o->list + length - 6, ".jsonl"));
    bool good = rows ? rows_read(w->o->list, data, bytes, rows_are_csv(w->o->list), take_row, w, e) : take_lines(w, data, e);
    mem_free(data);
    if (good && !w->count)
        return err_set(e, ERR_MISSING, "%s: no addresses", w->o->list);
    return good && mix_hosts(w, e);
}

/* ---- what failed before ---- */

static bool take_failed(void *self, long line, json_t *row, struct err *e)
{
    struct collector *w = self;
    const char *url = json_string_value(json_object_get(row, "url"));
    bool good = !url || !json_object_set_new(w->failed, url, json_true());
    json_decref(row);
    return good || err_nomem(e, "the addresses that failed");
}

static bool read_failed(struct collector *w, struct err *e)
{
    char path[PATH_MAX_BYTES], *data;
    size_t bytes;
    if (!(w->failed = json_object()))
        return err_nomem(e, "the addresses that failed");
    if (!path_join(path, manifest_folder(w->m), COLLECT_FAILED_FILE, e))
        return false;
    if (w->o->again || !path_exists(path))
        return true;
    bool good = file_read(path, DATASET_MAX_BYTES, &data, &bytes, e);
    if (good) {
        good = rows_read(path, data, bytes, false, take_failed, w, e);
        mem_free(data);
    }
    return good;
}

static bool note_failure(struct collector *w, const char *url, const struct err *why, struct err *e)
{
    char path[PATH_MAX_BYTES], now[21];
    const char *reason = utf8_valid(why->text, strlen(why->text)) ? why->text : "cannot be read";
    bool good = true;
    if (w->r->failed++ < MOST_LINES)
        progress_line(w->progress, "failed: %s: %s", url, reason);
    clock_utc(now);
    json_t *line = json_pack("{s:s,s:s,s:s}", "url", url, "reason", reason, "time", now);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!text)
        good = err_nomem(e, "the addresses that failed");
    if (good && json_array_size(w->r->reasons) < COLLECT_MOST_REASONS && json_array_append(w->r->reasons, line))
        good = err_nomem(e, "the addresses that failed");
    if (good && why->code != ERR_IO) /* a network that is down may be up tomorrow */
        good = path_join(path, manifest_folder(w->m), COLLECT_FAILED_FILE, e) && file_append_line(path, text, e);
    json_decref(line);
    free(text);
    return good;
}

/* ---- a file that has come ---- */

/* The last part of the address as a name: letters, digits, '-' and '_', 60 at most, without its ending. */
static void name_of(const char *url, char out[64])
{
    const char *path = strstr(url, "://") + 3;
    size_t bytes = strcspn(path, "?#"), from = bytes, n = 0;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (!memchr(path, '/', bytes)) /* a host alone */
        from = bytes;
    size_t end = bytes;
    for (size_t i = bytes; i > from; i--)
        if (path[i - 1] == '.') {
            end = i - 1;
            break;
        }
    for (size_t i = from; i < end && n < 60; i++) {
        char c = path[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (plain || (n && out[n - 1] != '-'))
            out[n++] = plain ? c : '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    if (!n)
        n = (size_t)sprintf(out, "picture");
    out[n] = 0;
}

static const char *ending_of(const char *format)
{
    return !strcmp(format, "jpeg") ? "jpg" : !strcmp(format, "tiff") ? "tif" : !strcmp(format, "heif") ? "avif" : *format ? format : "image";
}

static bool record(struct collector *w, const struct wanted *wanted, const char *name, const char *id, const struct image_facts *facts,
                   size_t bytes, struct err *why, struct err *e)
{
    json_t *fields = json_pack("{s:s,s:s}", "file_name", name, "text", "");
    bool good = fields && (!wanted->row || !json_object_update(fields, wanted->row)) &&
                !json_object_set_new(fields, "id", json_string(id)) && !json_object_set_new(fields, "source", json_string(wanted->url)) &&
                !json_object_set_new(fields, "width", json_integer(facts->width)) &&
                !json_object_set_new(fields, "height", json_integer(facts->height)) &&
                !json_object_set_new(fields, "bytes", json_integer((json_int_t)bytes));
    if (!good) {
        json_decref(fields);
        return err_set(why, ERR_FORMAT, "its address or what the list says of it is not UTF-8 text");
    }
    return manifest_add(w->m, fields, "collect", NULL, why) && manifest_checkpoint(w->m, e);
}

/* Looks at the file, gives it its name and writes it into the manifest. False with why: it is no picture; with e: nothing goes any
 * more. */
static bool take_file(struct collector *w, const struct wanted *wanted, const char *from, struct err *why, struct err *e)
{
    char *data, id[DIGEST_TEXT_BYTES], name[128], stem[64], to[PATH_MAX_BYTES];
    size_t bytes;
    struct image_facts facts;
    if (!file_read(from, (size_t)w->o->max_bytes, &data, &bytes, e))
        return false;
    bool good = image_probe(&facts, data, bytes, wanted->url, why) && (digest_bytes(data, bytes, id) || err_nomem(e, "a hash"));
    mem_free(data);
    if (!good) {
        remove(from);
        return false;
    }
    name_of(wanted->url, stem);
    snprintf(name, sizeof name, "%s-%.8s.%s", stem, path_name(from), ending_of(facts.format));
    if (!path_join(to, manifest_folder(w->m), name, e))
        return false;
    if (rename(from, to))
        return err_errno(e, "cannot rename %s", from);
    if (record(w, wanted, name, id, &facts, bytes, why, e))
        return true;
    if (!e->code)
        remove(to);
    return false;
}

static bool file_ended(void *self, size_t index, const struct err *failure, struct err *e)
{
    struct collector *w = self;
    const struct wanted *wanted = w->batch[index];
    struct err why = *failure;
    progress_step(w->progress, "collecting pictures", (long)(w->done_before + ++w->ended), (long)w->count, NULL);
    if (!why.code && take_file(w, wanted, w->downloads[index].path, &why, e)) {
        w->r->taken++;
        return true;
    }
    if (e->code || why.code == ERR_NOMEM)
        return err_set(e, ERR_NOMEM, "%s", why.text);
    return note_failure(w, wanted->url, &why, e);
}

/* ---- the work ---- */

/* The next of the list that are to be fetched, into the batch; *at moves on. */
static bool fill_batch(struct collector *w, size_t *at, size_t *n, json_t *asked, struct err *e)
{
    for (*n = 0; *n < BATCH && *at < w->count; ++*at) {
        struct wanted *wanted = &w->list[*at];
        char hash[DIGEST_TEXT_BYTES], name[40], path[PATH_MAX_BYTES];
        if (manifest_find_source(w->m, wanted->url) >= 0 || json_object_get(asked, wanted->url)) {
            w->r->there++;
            continue;
        }
        if (json_object_get(w->failed, wanted->url)) {
            w->r->failed_before++;
            continue;
        }
        if (!digest_bytes(wanted->url, strlen(wanted->url), hash))
            return err_nomem(e, "a hash");
        snprintf(name, sizeof name, ".collect/%.*s", HASH, hash);
        if (!path_join(path, manifest_folder(w->m), name, e))
            return false;
        char *copy = mem_string(path);
        if (!copy || (utf8_valid(wanted->url, strlen(wanted->url)) && json_object_set_new(asked, wanted->url, json_true()))) {
            mem_free(copy);
            return err_nomem(e, "a download");
        }
        w->downloads[*n] = (struct download){ .url = wanted->url, .path = copy, .bytes = -1 };
        w->batch[(*n)++] = wanted;
    }
    return true;
}

static bool collect_batch(struct collector *w, size_t *at, json_t *asked, struct err *e)
{
    size_t n = 0;
    const struct download_options o = { .jobs = w->o->jobs, .tries = w->o->tries, .wait_seconds = w->o->wait_seconds,
                                        .stall_seconds = w->o->stall_seconds, .host_seconds = w->o->host_seconds > 0.001 ? w->o->host_seconds
                                                                                                                         : 0.001,
                                        .max_bytes = w->o->max_bytes, .types = picture_types, .ended = file_ended, .self = w };
    bool good = fill_batch(w, at, &n, asked, e);
    w->done_before = *at - n; /* those passed over count as done */
    w->ended = 0;
    for (size_t i = 0; good && i < n; i++) /* whole, but no line in the manifest tells of it: a killed run's */
        remove(w->downloads[i].path);
    good = good && (!n || download_files(w->downloads, n, &o, NULL, e));
    for (size_t i = 0; i < n; i++)
        mem_free((char *)(uintptr_t)w->downloads[i].path);
    return good;
}

static bool collect_all(struct collector *w, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    json_t *asked = json_object();
    w->batch = mem_zeroed(BATCH, sizeof *w->batch);
    w->downloads = mem_zeroed(BATCH, sizeof *w->downloads);
    bool good = (asked && w->batch && w->downloads) || err_nomem(e, "a list of addresses");
    good = good && path_join(folder, manifest_folder(w->m), ".collect", e) && folder_make(folder, e);
    for (size_t at = 0; good && at < w->count;)
        good = stop_check(e) && collect_batch(w, &at, asked, e);
    struct err ignored = { 0 }; /* the first cause stays */
    good = manifest_save(w->m, good ? e : &ignored) && good;
    if (good)
        rmdir(folder); /* parts of broken connections may still be in it */
    json_decref(asked);
    mem_free(w->batch);
    mem_free(w->downloads);
    return good;
}

bool dataset_collect(const struct collect_options *o, struct collect_result *r, const struct progress *progress, struct err *e)
{
    struct collector w = { .o = o, .r = r, .progress = progress };
    *r = (struct collect_result){ .reasons = json_array() };
    bool good = r->reasons || err_nomem(e, "a list of addresses");
    good = good && image_init(e) && read_list(&w, e) && (w.m = manifest_open(o->to, MANIFEST_MAKE, e)) && read_failed(&w, e) &&
           collect_all(&w, e);
    for (size_t i = 0; i < w.count; i++) {
        mem_free(w.list[i].url);
        json_decref(w.list[i].row);
    }
    mem_free(w.list);
    json_decref(w.failed);
    manifest_free(w.m);
    return good;
}
