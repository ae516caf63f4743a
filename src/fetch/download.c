#include "fetch/download.h"

#include <curl/curl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

enum { MOST_JOBS = 16, MOST_REDIRECTS = 10, POLL_MS = 100 };

/* Where files come from, when strangers are to be spared: its name's hash, whether one is on its way, when the next may begin. */
struct host {
    uint64_t name;
    bool busy;
    double not_before;
};

/* One file on its way.
 *
 *   waiting --begin--> running --all bytes--> done
 *      ^                  |
 *      '---- broken ------'   (later each time; `tries` counts those in a row that brought nothing) */
struct transfer {
    const struct download *file;      /* NULL for a text */
    struct host *host;                /* NULL: hosts are not looked at */
    struct text *text;
    const struct download_options *o;
    enum { WAITING, RUNNING, DONE } state;
    char part[PATH_MAX_BYTES];
    FILE *f;
    CURL *curl;
    struct curl_slist *headers;
    int64_t have;    /* bytes of the part that are right */
    int64_t at_begin; /* have when this try began */
    int tries;
    bool hashed_wrong; /* once already */
    double not_before; /* clock_seconds */
    char *next;      /* of a text: the link, next_bytes */
    size_t next_bytes;
    struct err err;  /* of a callback */
    char curl_text[CURL_ERROR_SIZE];
};

static const char *name_of(const struct transfer *t)
{
    return t->file ? path_name(t->file->path) : "the list of files";
}

static long status_of(const struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static bool empty_part(struct transfer *t, struct err *e)
{
    t->have = 0;
    return (!fflush(t->f) && !ftruncate(fileno(t->f), 0)) || err_errno(e, "cannot empty %s", t->part);
}

/* The first bytes have come: whether they are of a kind and a size that were asked for. */
static bool is_wanted(struct transfer *t)
{
    const char *type = NULL;
    curl_off_t more = -1;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &more);
    bool fits = !t->o->types || !type;
    for (const char *const *wanted = t->o->types; !fits && *wanted; wanted++)
        fits = !strncasecmp(type, *wanted, strlen(*wanted));
    if (!fits)
        return err_set(&t->err, ERR_TYPE, "the server sends \"%.80s\"", type);
    int64_t bytes = t->have + (more > 0 ? more : 0);
    return !t->o->max_bytes || bytes <= t->o->max_bytes ||
           err_set(&t->err, ERR_LIMIT, "%lld bytes, at most %lld are taken", (long long)bytes, (long long)t->o->max_bytes);
}

/* A body's bytes. What comes with an error status is left out. */
static size_t take_bytes(char *data, size_t one, size_t count, void *self)
{
    struct transfer *t = self;
    long status = status_of(t);
    if (status >= 300)
        return count;
    if (t->text) {
        text_add_bytes(t->text, data, count);
        return text_ok(t->text, &t->err) ? count : 0;
    }
    if (status == 200 && t->have == t->at_begin && t->at_begin > 0) { /* no ranges here: from the start */
        t->at_begin = 0;
        if (!empty_part(t, &t->err))
            return 0;
    }
    if (t->have == t->at_begin && !is_wanted(t))
        return 0;
    if (t->o->max_bytes && t->have + (int64_t)count > t->o->max_bytes) {
        err_set(&t->err, ERR_LIMIT, "more than %lld bytes", (long long)t->o->max_bytes);
        return 0;
    }
    if (t->file->bytes >= 0 && t->have + (int64_t)count > t->file->bytes) {
        err_set(&t->err, ERR_FORMAT, "the server sends more than the %lld bytes that it told", (long long)t->file->bytes);
        return 0;
    }
    if (fwrite(data, 1, count, t->f) != count) {
        err_errno(&t->err, "cannot write %s", t->part);
        return 0;
    }
    t->have += (int64_t)count;
    return count;
}

/* Link: <https://host/next>; rel="next" */
static size_t take_header(char *line, size_t one, size_t count, void *self)
{
    struct transfer *t = self;
    static const char link[] = "link:";
    if (t->next && count > sizeof link && !strncasecmp(line, link, sizeof link - 1)) {
        char copy[4096];
        snprintf(copy, sizeof copy, "%.*s", (int)count, line);
        char *begin = strchr(copy, '<'), *end = begin ? strchr(begin, '>') : NULL;
        if (end && strstr(end, "rel=\"next\"") && (size_t)(end - begin) < t->next_bytes)
            snprintf(t->next, t->next_bytes, "%.*s", (int)(end - begin - 1), begin + 1);
    }
    return count;
}

/* Whether the file is there, whole, already. */
static bool look(struct transfer *t, const struct progress *progress, struct err *e)
{
    const struct download *d = t->file;
    char hash[65];
    struct stat s;
    if (snprintf(t->part, sizeof t->part, "%s.part", d->path) >= (int)sizeof t->part)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", d->path);
    if (stat(d->path, &s) || (d->bytes >= 0 && s.st_size != d->bytes))
        return true;
    if (d->sha256 && !file_sha256(d->path, hash, progress, e))
        return false;
    if (!d->sha256 || !strcasecmp(hash, d->sha256)) {
        t->have = s.st_size;
        t->state = DONE;
    }
    return true;
}

/* What an earlier try left is gone on with; more than the file can have is of another version. */
static bool open_part(struct transfer *t, struct err *e)
{
    const struct download *d = t->file;
    char folder[PATH_MAX_BYTES];
    struct stat s;
    snprintf(folder, sizeof folder, "%s", d->path);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = 0;
        if (!folder_make(folder, e))
            return false;
    }
    if (!(t->f = fopen(t->part, "a+be")) || fstat(fileno(t->f), &s))
        return err_errno(e, "cannot write %s", t->part);
    t->have = s.st_size;
    return d->bytes < 0 || t->have <= d->bytes || empty_part(t, e);
}

static bool begin(struct transfer *t, struct err *e)
{
    if (t->file && !t->f && !open_part(t, e))
        return false;
    const char *url = t->file ? t->file->url : t->part;
    t->curl_text[0] = 0;
    t->at_begin = t->have;
    if (!t->curl && !(t->curl = curl_easy_init()))
        return err_nomem(e, "a download");
    CURL *c = t->curl;
    curl_easy_reset(c);
    double stall = t->o->stall_seconds > 0 ? t->o->stall_seconds : 30;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->curl_text);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MOST_REDIRECTS);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "limn");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(stall * 1000));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, stall < 1 ? 1L : (long)stall);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    if (t->o->token && *t->o->token) { /* curl keeps it from the hosts of redirects */
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, t->o->token);
    }
    if (t->have > 0) { /* not as "resume", which curl refuses to read from a server without ranges */
        char range[32];
        snprintf(range, sizeof range, "%lld-", (long long)t->have);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    t->state = RUNNING;
    return true;
}

/* The part holds all bytes: checks it and gives it its name. *again: it was wrong and is to be fetched once more. */
static bool finish(struct transfer *t, bool *again, const struct progress *progress, struct err *e)
{
    const struct download *d = t->file;
    char hash[65];
    *again = false;
    if (fflush(t->f) || fsync(fileno(t->f)))
        return err_errno(e, "cannot write %s", t->part);
    if (d->bytes >= 0 && t->have != d->bytes)
        return err_set(e, ERR_FORMAT, "%s: %lld bytes came, the server told of %lld", name_of(t), (long long)t->have,
                       (long long)d->bytes);
    if (d->sha256) {
        if (!file_sha256(t->part, hash, progress, e))
            return false;
        if (strcasecmp(hash, d->sha256)) {
            if (!empty_part(t, e))
                return false;
            *again = !t->hashed_wrong;
            t->hashed_wrong = true;
            return *again || err_set(e, ERR_FORMAT, "%s: its bytes have the SHA-256 %s, it should be %s: they were changed on the way or "
                                     "at the server", name_of(t), hash, d->sha256);
        }
    }
    fclose(t->f);
    t->f = NULL;
    if (rename(t->part, d->path))
        return err_errno(e, "cannot rename %s", t->part);
    t->state = DONE;
    return true;
}

/* Waits for another try, or gives up with e set. */
static bool try_again(struct transfer *t, const char *why, struct err *e)
{
    int most = t->o->tries ? t->o->tries : 5;
    if (t->have > t->at_begin)
        t->tries = 0;
    if (++t->tries >= most)
        return err_set(e, ERR_IO, "%s: %s, after %d tries; what has come is kept, and the same command goes on from there", name_of(t),
                       why, t->tries);
    double wait = (t->o->wait_seconds > 0 ? t->o->wait_seconds : 1) * (1 << (t->tries - 1));
    curl_off_t asked = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &asked);
    if (asked > DOWNLOAD_MOST_WAIT)
        return err_set(e, ERR_IO, "%s: %s, and to come again in %lld s", name_of(t), why, (long long)asked);
    wait = (double)asked > wait ? (double)asked : wait;
    t->not_before = clock_seconds() + wait;
    if (t->host && asked && t->host->not_before < t->not_before) /* all its files wait */
        t->host->not_before = t->not_before;
    t->state = WAITING;
    if (t->text)
        text_clear(t->text);
    return true;
}

static bool refused(const struct transfer *t, long status, struct err *e)
{
    const char *help = t->o->token_help;
    if (status == 401 || status == 403)
        return err_set(e, ERR_IO, "%s: the server refuses it (%ld)%s%s%s", name_of(t), status,
                       help ? ": if it is not for everyone, accept its terms there and set " : "", help ? help : "",
                       help ? " to your token" : "");
    return err_set(e, status == 404 || status == 410 ? ERR_MISSING : ERR_IO, "%s: the server answers with status %ld%s", name_of(t),
                   status, status == 404 ? ": there is no such thing" : "");
}

/* A try that ended. */
static bool ended(struct transfer *t, CURLcode code, const struct progress *progress, struct err *e)
{
    long status = status_of(t);
    if (t->err.code) {
        *e = t->err;
        return err_add(e, "while getting %s", name_of(t));
    }
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        return err_set(e, ERR_ARG, "%s: not an address that begins with http:// or https://", t->file ? t->file->url : t->part);
    if (status == 416 && t->file && t->at_begin > 0) { /* the part is whole, or wrong */
        bool whole = t->file->bytes == t->have;
        if (!whole)
            return empty_part(t, e) && try_again(t, "the server has another version", e);
        status = 206;
        code = CURLE_OK;
    }
    if (status == 408 || status == 429 || status >= 500)
        return try_again(t, status == 429 ? "the server asks for patience (429)" : "the server has trouble", e);
    if (status >= 400)
        return refused(t, status, e);
    if (code != CURLE_OK)
        return try_again(t, t->curl_text[0] ? t->curl_text : curl_easy_strerror(code), e);
    if (!t->file) {
        t->state = DONE;
        return true;
    }
    if (t->file->bytes >= 0 && t->have < t->file->bytes)
        return try_again(t, "the connection ended early", e);
    bool again;
    return finish(t, &again, progress, e) && (!again || try_again(t, "wrong bytes came", e));
}

static void tell(const struct transfer *all, size_t count, const struct progress *progress)
{
    int64_t have = 0, total = 0;
    const char *note = NULL;
    for (size_t i = 0; i < count; i++) {
        have += all[i].have;
        total += all[i].file->bytes > all[i].have ? all[i].file->bytes : all[i].have;
        if (all[i].state == RUNNING && !note)
            note = name_of(&all[i]);
    }
    progress_step(progress, "getting MiB", (long)(have >> 20), (long)((total + (1 << 20) - 1) >> 20), note);
}

/* Begins those whose time has come, as long as fewer than `jobs` run. *left: those that are not done. */
static bool begin_some(CURLM *multi, struct transfer *all, size_t count, int jobs, size_t *left, struct err *e)
{
    int running = 0;
    double now = clock_seconds();
    *left = 0;
    for (size_t i = 0; i < count; i++) {
        running += all[i].state == RUNNING;
        *left += all[i].state != DONE;
    }
    for (size_t i = 0; i < count && running < jobs; i++)
        if (all[i].state == WAITING && all[i].not_before <= now &&
            !(all[i].host && (all[i].host->busy || all[i].host->not_before > now))) {
            if (!begin(&all[i], e))
                return false;
            if (all[i].host)
                all[i].host->busy = true;
            if (curl_multi_add_handle(multi, all[i].curl) != CURLM_OK)
                return err_nomem(e, "a download");
            running++;
        }
    return true;
}

static bool forget(struct transfer *t)
{
    if (t->f)
        fclose(t->f);
    t->f = NULL;
    t->state = DONE;
    curl_easy_cleanup(t->curl);
    t->curl = NULL;
    return true;
}

/* As ended, for a caller who wants to hear of each file. */
static bool one_ended(struct transfer *t, size_t index, CURLcode code, const struct progress *progress, struct err *e)
{
    struct err why = { 0 };
    bool good = ended(t, code, progress, &why), fatal = why.code == ERR_NOMEM || why.code == ERR_STOPPED || t->err.code == ERR_IO;
    if (t->host) {
        double rest = clock_seconds() + t->o->host_seconds;
        t->host->busy = false;
        t->host->not_before = t->host->not_before > rest ? t->host->not_before : rest;
    }
    if (!t->o->ended || fatal) {
        if (!good)
            *e = why;
        return good;
    }
    if (good && t->state != DONE) /* it will be tried again */
        return true;
    if (!good && why.code != ERR_IO) /* after a broken connection the part is gone on with another day */
        remove(t->part);
    return forget(t) && t->o->ended(t->o->self, index, &why, e);
}

static bool run_all(struct transfer *all, size_t count, int jobs, const struct progress *progress, struct err *e)
{
    CURLM *multi = curl_multi_init();
    size_t left = count;
    bool good = multi || err_nomem(e, "downloads");
    while (good && (good = stop_check(e) && begin_some(multi, all, count, jobs, &left, e)) && left) {
        int running, messages;
        CURLMsg *m;
        if (curl_multi_perform(multi, &running) != CURLM_OK || curl_multi_poll(multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
            good = err_nomem(e, "downloads");
        while (good && (m = curl_multi_info_read(multi, &messages))) {
            struct transfer *t = NULL;
            CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
            curl_multi_remove_handle(multi, t->curl);
            good = one_ended(t, (size_t)(t - all), code, progress, e);
        }
        if (good && all->file)
            tell(all, count, progress);
    }
    for (size_t i = 0; i < count; i++) {
        if (multi && all[i].curl)
            curl_multi_remove_handle(multi, all[i].curl);
        curl_easy_cleanup(all[i].curl);
        if (all[i].f)
            fclose(all[i].f);
    }
    curl_multi_cleanup(multi);
    return good;
}

/* The host of an address, hashed: what is between "://" and the next of "/?#", without its letters' case. */
static uint64_t host_of(const char *url)
{
    uint64_t h = 0xCBF29CE484222325;
    const char *at = strstr(url, "://");
    for (at = at ? at + 3 : url; *at && !strchr("/?#", *at); at++)
        h = (h ^ (unsigned char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at)) * 0x100000001B3;
    return h;
}

/* Gives files of one host one struct host; hosts[count]. */
static void find_hosts(struct transfer *all, size_t count, struct host *hosts)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t name = host_of(all[i].file->url);
        size_t k = 0;
        while (k < n && hosts[k].name != name)
            k++;
        if (k == n)
            hosts[n++] = (struct host){ .name = name };
        all[i].host = &hosts[k];
    }
}

bool download_files(const struct download *files, size_t count, const struct download_options *o,
                    const struct progress *progress, struct err *e)
{
    struct transfer *all = mem_zeroed(count + 1, sizeof *all);
    struct host *hosts = o->host_seconds > 0 ? mem_zeroed(count + 1, sizeof *hosts) : NULL;
    bool good = (all && (hosts || !(o->host_seconds > 0))) || err_nomem(e, "downloads");
    int jobs = o->jobs < 1 ? 4 : o->jobs > MOST_JOBS ? MOST_JOBS : o->jobs;
    for (size_t i = 0; good && i < count; i++) {
        all[i].file = &files[i];
        all[i].o = o;
        good = look(&all[i], progress, e);
    }
    if (good && hosts)
        find_hosts(all, count, hosts);
    good = good && run_all(all, count, jobs, progress, e);
    mem_free(hosts);
    mem_free(all);
    return good;
}

bool download_text(const char *url, const struct download_options *o, size_t max_bytes, struct text *out, char *next,
                   size_t next_bytes, struct err *e)
{
    struct transfer t = { .o = o, .text = out, .next = next, .next_bytes = next_bytes };
    text_init(out, max_bytes);
    if (next)
        *next = 0;
    if (snprintf(t.part, sizeof t.part, "%s", url) >= (int)sizeof t.part)
        return err_set(e, ERR_LIMIT, "an address of more than %d bytes", PATH_MAX_BYTES);
    return run_all(&t, 1, 1, NULL, e) || err_add(e, "at %s", url);
}

bool file_sha256(const char *path, char out[65], const struct progress *progress, struct err *e)
{
    enum { BLOCK = 1 << 22 };
    struct file_map m;
    if (!file_map(&m, path, e))
        return false;
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    bool good = true;
    for (size_t at = 0; good && at < m.bytes; at += BLOCK) {
        size_t n = m.bytes - at < BLOCK ? m.bytes - at : BLOCK;
        g_checksum_update(sum, m.data + at, (gssize)n);
        file_map_forget(&m, at, n);
        progress_step(progress, "checking MiB", (long)(at >> 20), (long)(m.bytes >> 20), path_name(path));
        good = stop_check(e);
    }
    snprintf(out, 65, "%s", g_checksum_get_string(sum));
    g_checksum_free(sum);
    file_unmap(&m);
    return good;
}
