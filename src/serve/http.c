#include "serve/http.h"

#include <civetweb.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "serve/json_io.h"
#include "serve/paths.h"
#include "serve/range.h"
#include "serve/server_internal.h"

const char *exchange_header(const struct exchange *x, const char *name)
{
    return mg_get_header(x->connection, name);
}

const char *exchange_peer(struct exchange *x)
{
    const struct mg_request_info *info = mg_get_request_info(x->connection);
    if (!x->server->tls || !tls_peer(x->server->tls, info->remote_port, x->peer))
        snprintf(x->peer, sizeof x->peer, "%s", info->remote_addr);
    return x->peer;
}

static void stage(struct exchange *x, enum connection_stage stage, int64_t bytes)
{
    const struct peer *peer = mg_get_user_connection_data(x->connection);
    connection_stage(x->server->connections, peer ? peer->watched : NULL, stage, bytes);
}

/* --- what is asked --- */

bool exchange_query(const struct exchange *x, const char *name, char *out, size_t cap, bool *found, struct err *e)
{
    return query_value(x->query, name, out, cap, found, e);
}

bool exchange_query_int(const struct exchange *x, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char text[32], *end;
    bool found;
    if (!exchange_query(x, name, text, sizeof text, &found, e))
        return false;
    if (!found)
        return true;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end || isspace((unsigned char)*text) || n < min || n > max)
        return err_set(e, ERR_ARG, "%s is \"%s\", want a whole number from %lld to %lld", name, text, (long long)min, (long long)max);
    *out = n;
    return true;
}

bool exchange_cookie(const struct exchange *x, const char *name, char *out, size_t cap)
{
    const char *all = exchange_header(x, "Cookie");
    return all && mg_get_cookie(all, name, out, cap) > 0;
}

bool exchange_query_bool(const struct exchange *x, const char *name)
{
    char text[16];
    bool found;
    struct err ignored = { 0 };
    return exchange_query(x, name, text, sizeof text, &found, &ignored) && found &&
           (!strcasecmp(text, "true") || !strcmp(text, "1") || !strcasecmp(text, "yes"));
}

/* --- the body --- */

/* A file of the temporary folder that has no name. */
static int nameless_file(const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES], name[64];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    static atomic_uint number; /* file systems that know no such files: one that loses its name at once */
    snprintf(name, sizeof name, ".upload-%ld-%u", (long)getpid(), atomic_fetch_add(&number, 1));
    if (!path_join(path, folder, name, e))
        return -1;
    if ((fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600)) < 0) {
        err_errno(e, "cannot keep what is sent in %s", folder);
        return -1;
    }
    unlink(path);
    return fd;
}

static bool write_all(int fd, const char *data, size_t bytes, struct err *e)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, data + done, bytes - done);
        if (n < 0 && errno != EINTR)
            return err_errno(e, "cannot keep what is sent");
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Reads until the end or `most`; small bodies stay in memory, larger ones go to *fd. */
static bool read_pieces(struct exchange *x, size_t most, int *fd, struct err *e)
{
    enum { PIECE = 32768 };
    const struct mg_request_info *info = mg_get_request_info(x->connection);
    size_t cap = 0;
    char piece[PIECE];
    for (;;) {
        int n = mg_read(x->connection, piece, PIECE);
        if (n < 0)
            return err_set(e, ERR_FORMAT, "the body of the request is cut off");
        if (n == 0)
            break;
        if ((size_t)n > most - x->body_bytes) {
            mg_disable_connection_keep_alive(x->connection);
            return err_set(e, ERR_LIMIT, "the body has more than %zu bytes", most);
        }
        if (*fd < 0 && x->body_bytes + (size_t)n > BODY_IN_MEMORY) {
            *fd = nameless_file(x->server->o->temp, e);
            if (*fd < 0 || !write_all(*fd, x->body, x->body_bytes, e))
                return false;
        }
        if (*fd >= 0) {
            if (!write_all(*fd, piece, (size_t)n, e))
                return false;
        } else {
            char *grown = mem_grow(x->body, &cap, x->body_bytes + (size_t)n + 1, 1);
            if (!grown)
                return err_nomem(e, "the body of a request");
            x->body = grown;
            memcpy(x->body + x->body_bytes, piece, (size_t)n);
            x->body[x->body_bytes + (size_t)n] = 0;
        }
        x->body_bytes += (size_t)n;
    }
    if (info->content_length > 0 && x->body_bytes < (size_t)info->content_length) {
        mg_disable_connection_keep_alive(x->connection);
        return err_set(e, ERR_FORMAT, "the body of the request is cut off: %zu of %lld bytes came", x->body_bytes, info->content_length);
    }
    return true;
}

bool exchange_read_body(struct exchange *x, size_t most, struct err *e)
{
    const struct mg_request_info *info = mg_get_request_info(x->connection);
    if (info->content_length > 0 && (size_t)info->content_length > most) {
        mg_disable_connection_keep_alive(x->connection);
        return err_set(e, ERR_LIMIT, "the body has %lld bytes, at most %zu are taken", info->content_length, most);
    }
    int fd = -1;
    stage(x, CONNECTION_BODY, info->content_length > 0 ? info->content_length : (int64_t)most);
    bool good = read_pieces(x, most, &fd, e);
    stage(x, CONNECTION_WORK, 0);
    atomic_fetch_add(&x->server->received_bytes, (long long)x->body_bytes);
    if (fd >= 0) {
        mem_free(x->body);
        void *p = good ? mmap(NULL, x->body_bytes, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
        if (p == MAP_FAILED) {
            good = err_errno(e, "cannot map what was sent");
            p = NULL;
        }
        x->body = p;
        x->body_mapped = p != NULL;
        close(fd);
    }
    return good;
}

void exchange_release(struct exchange *x)
{
    json_decref(x->json);
    if (x->body_mapped)
        munmap(x->body, x->body_bytes);
    else
        mem_free(x->body);
    for (int i = 0; i < EXCHANGE_PARAMS; i++)
        mem_free(x->param[i]);
}

/* --- the answer --- */

static const struct { int status; const char *reason; } reasons[] = {
    { 200, "OK" }, { 201, "Created" }, { 204, "No Content" }, { 206, "Partial Content" }, { 304, "Not Modified" },
    { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
    { 408, "Request Timeout" }, { 409, "Conflict" }, { 411, "Length Required" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" }, { 416, "Range Not Satisfiable" }, { 422, "Unprocessable Content" },
    { 426, "Upgrade Required" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 503, "Service Unavailable" }, { 505, "HTTP Version Not Supported" }, { 507, "Insufficient Storage" },
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

static const struct { const char *ending, *type; } types[] = {
    { "html", "text/html; charset=utf-8" }, { "htm", "text/html; charset=utf-8" }, { "js", "text/javascript; charset=utf-8" },
    { "mjs", "text/javascript; charset=utf-8" }, { "css", "text/css; charset=utf-8" }, { "json", "application/json; charset=utf-8" },
    { "map", "application/json; charset=utf-8" }, { "svg", "image/svg+xml" }, { "png", "image/png" }, { "jpg", "image/jpeg" },
    { "jpeg", "image/jpeg" }, { "webp", "image/webp" }, { "gif", "image/gif" }, { "avif", "image/avif" }, { "bmp", "image/bmp" },
    { "tif", "image/tiff" }, { "tiff", "image/tiff" }, { "ico", "image/vnd.microsoft.icon" }, { "woff2", "font/woff2" },
    { "woff", "font/woff" }, { "ttf", "font/ttf" }, { "otf", "font/otf" }, { "txt", "text/plain; charset=utf-8" },
    { "md", "text/markdown; charset=utf-8" }, { "xml", "application/xml" }, { "wasm", "application/wasm" }, { "pdf", "application/pdf" },
    { "mp4", "video/mp4" }, { "webm", "video/webm" }, { "mp3", "audio/mpeg" }, { "wav", "audio/wav" }, { "flac", "audio/flac" },
    { "yaml", "application/yaml" }, { "webmanifest", "application/manifest+json" },
};

const char *http_type(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(dot + 1, types[i].ending))
            return types[i].type;
    return "application/octet-stream";
}

const char **exchange_texts(const struct exchange *x, const char *key, size_t *count, struct err *e)
{
    const json_t *list = json_object_get(x->json, key);
    *count = json_array_size(list);
    const char **texts = mem_zeroed(*count + 1, sizeof *texts);
    if (!texts)
        err_nomem(e, "a list of texts");
    for (size_t i = 0; texts && i < *count; i++)
        if (!(texts[i] = json_string_value(json_array_get(list, i)))) {
            err_set(e, ERR_ARG, "%s: want texts", key);
            mem_free(texts);
            return NULL;
        }
    return texts;
}

void exchange_add_header(struct exchange *x, const char *name, const char *value)
{
    size_t used = strlen(x->headers), left = sizeof x->headers - used;
    if (strpbrk(value, "\r\n") || (size_t)snprintf(x->headers + used, left, "%s: %s\r\n", name, value) >= left)
        x->headers[used] = 0; /* what does not fit or breaks a line is left out */
}

/* "keep-alive", "close" or NULL as civetweb decides for itself. */
static const char *connection_wish(const struct exchange *x)
{
    const struct mg_request_info *info = mg_get_request_info(x->connection);
    const char *asked = exchange_header(x, "Connection");
    if (asked && strcasestr(asked, "keep-alive"))
        return "keep-alive";
    bool modern = info->http_version && !strcmp(info->http_version, "1.1");
    return modern && !asked ? NULL : "close";
}

/* The page may load nothing from elsewhere: what it shows and what it calls is here. */
static const char page_policy[] =
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'";

static bool send_head(struct exchange *x, int status, const char *type, int64_t bytes)
{
    char date[HTTP_DATE_BYTES];
    struct text t;
    text_init(&t, 16384);
    http_date(time(NULL), date);
    text_addf(&t, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n", status,
              http_reason(status), date);
    const char *wish = connection_wish(x), *cors = x->server->o->cors;
    if (wish)
        text_addf(&t, "Connection: %s\r\n", wish);
    if (type)
        text_addf(&t, "Content-Type: %s\r\n", type);
    if (status != 204 && status != 304)
        text_addf(&t, "Content-Length: %lld\r\n", (long long)bytes);
    if (type && !strncmp(type, "text/html", 9))
        text_addf(&t, "Content-Security-Policy: %s\r\n", page_policy);
    if (cors)
        text_addf(&t, "Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Methods: POST, GET, DELETE, PUT, PATCH, OPTIONS\r\n"
                      "Access-Control-Allow-Headers: Content-Type, Authorization, Comfy-User\r\nAccess-Control-Allow-Credentials: true\r\n"
                      "Vary: Origin\r\n", cors);
    else
        text_add(&t, "Cross-Origin-Resource-Policy: same-origin\r\n");
    text_add(&t, x->headers);
    text_add(&t, "\r\n");
    struct err e = { 0 };
    x->status = status;
    stage(x, CONNECTION_ANSWER, bytes);
    bool good = text_ok(&t, &e) && mg_write(x->connection, text_string(&t), t.length) == (int)t.length;
    text_release(&t);
    return good;
}

/* mg_write takes an int. */
static bool send_bytes(struct exchange *x, const char *data, size_t bytes)
{
    enum { PIECE = 1 << 18 };
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < PIECE ? bytes - done : PIECE;
        if (mg_write(x->connection, data + done, n) != (int)n) {
            mg_disable_connection_keep_alive(x->connection);
            return false;
        }
        done += n;
        x->sent_bytes += (int64_t)n;
    }
    return true;
}

bool answer_bytes(struct exchange *x, int status, const char *type, const void *data, size_t bytes)
{
    if (x->status)
        return true;
    if (!send_head(x, status, type, (int64_t)bytes))
        mg_disable_connection_keep_alive(x->connection);
    else if (!x->head && status != 204 && status != 304)
        send_bytes(x, data, bytes);
    return true;
}

bool answer_empty(struct exchange *x, int status)
{
    return answer_bytes(x, status, NULL, "", 0);
}

bool answer_text(struct exchange *x, int status, const char *type, const char *text)
{
    return answer_bytes(x, status, type, text, strlen(text));
}

bool answer_json(struct exchange *x, int status, json_t *json, struct err *e)
{
    struct text t;
    if (!json)
        return err_nomem(e, "an answer");
    text_init(&t, (size_t)1 << 30);
    json_io_text(&t, json);
    json_decref(json);
    bool good = text_ok(&t, e);
    if (good)
        answer_bytes(x, status, "application/json; charset=utf-8", text_string(&t), t.length);
    text_release(&t);
    return good;
}

bool answer_error(struct exchange *x, int status, const char *type, const char *format, ...)
{
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!utf8_valid(text, strlen(text)))
        for (char *c = text; *c; c++)
            *c = *c & 128 ? '?' : *c;
    json_t *j = NULL;
    switch (x->route ? x->route->family : FAMILY_COMFY) {
    case FAMILY_PLAIN: j = json_pack("{s:s}", "error", text); break;
    case FAMILY_OPENAI: j = json_pack("{s:{s:s,s:s,s:n,s:s}}", "error", "message", text, "type",
                                      status < 500 ? "invalid_request_error" : "server_error", "param", "code", type); break;
    case FAMILY_A1111: j = json_pack("{s:s,s:s}", "detail", text, "error", type); break;
    case FAMILY_COMFY: j = json_pack("{s:{s:s,s:s,s:s,s:{}},s:{}}", "error", "type", type, "message", text, "details", "",
                                     "extra_info", "node_errors"); break;
    }
    struct err e = { 0 };
    if (!answer_json(x, status, j, &e))
        answer_empty(x, status);
    return true;
}

bool answer_failure(struct exchange *x, const struct err *e)
{
    static const struct { enum err_code code; int status; const char *type; } all[] = {
        { ERR_ARG, 400, "bad_request" }, { ERR_FORMAT, 400, "bad_request" }, { ERR_SHAPE, 400, "bad_request" },
        { ERR_TYPE, 400, "bad_request" }, { ERR_MISSING, 404, "not_found" }, { ERR_LIMIT, 413, "too_large" },
        { ERR_NOMEM, 503, "out_of_memory" }, { ERR_STOPPED, 503, "stopping" }, { ERR_IO, 503, "unavailable" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].code == e->code)
            return answer_error(x, all[i].status, all[i].type, "%s", e->text);
    return answer_error(x, 500, "failed", "%s", e->text);
}

/* --- files --- */

/* Whether the client has what it would be sent: by the tag if it names tags, else by the date. */
static bool is_known(const struct exchange *x, const char *tag, time_t modified)
{
    const char *tags = exchange_header(x, "If-None-Match"), *since = exchange_header(x, "If-Modified-Since");
    if (tags)
        return tag_listed(tags, tag);
    time_t when = since ? http_date_parse(since) : -1;
    return when >= 0 && modified <= when;
}

bool answer_tagged(struct exchange *x, const struct tagged *t)
{
    char tag[80];
    bool packed = t->gzip && gzip_accepted(exchange_header(x, "Accept-Encoding"));
    snprintf(tag, sizeof tag, "%s%s", t->gzip ? "W/" : "", t->tag);
    exchange_add_header(x, "ETag", tag);
    exchange_add_header(x, "Cache-Control", "no-cache");
    if (t->gzip)
        exchange_add_header(x, "Vary", "Accept-Encoding");
    if (is_known(x, t->tag, 0))
        return answer_empty(x, 304);
    if (packed)
        exchange_add_header(x, "Content-Encoding", "gzip");
    return answer_bytes(x, 200, t->type, packed ? t->gzip : t->data, packed ? t->gzip_bytes : t->bytes);
}

/* Whether a range may be sent: If-Range (a tag or a date) must mean this very file. */
static bool range_allowed(const struct exchange *x, const char *tag, time_t modified)
{
    const char *wanted = exchange_header(x, "If-Range");
    return !wanted || !strcmp(wanted, tag) || http_date_parse(wanted) == modified;
}

static bool send_file(struct exchange *x, int fd, int64_t from, int64_t bytes)
{
    enum { PIECE = 1 << 16 };
    char *piece = mem_aligned(PIECE);
    bool good = piece != NULL;
    for (int64_t done = 0; good && done < bytes;) {
        size_t want = bytes - done < PIECE ? (size_t)(bytes - done) : PIECE;
        ssize_t n = pread(fd, piece, want, (off_t)(from + done));
        good = n > 0 && send_bytes(x, piece, (size_t)n);
        done += n > 0 ? n : 0;
    }
    mem_free(piece);
    if (!good)
        mg_disable_connection_keep_alive(x->connection); /* the length was promised */
    return good;
}

bool answer_file(struct exchange *x, const char *path, const char *cache, const char *as_name, bool plain, struct err *e)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
        return err_errno(e, "cannot open %s", path_name(path));
    if (fd < 0 || fstat(fd, &s) || !S_ISREG(s.st_mode)) {
        if (fd >= 0)
            close(fd);
        return err_set(e, ERR_MISSING, "there is no file %s", path_name(path));
    }
    char tag[64], date[HTTP_DATE_BYTES], text[600];
    snprintf(tag, sizeof tag, "\"%llx-%llx-%lx\"", (long long)s.st_size, (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    http_date(s.st_mtim.tv_sec, date);
    exchange_add_header(x, "ETag", tag);
    exchange_add_header(x, "Last-Modified", date);
    exchange_add_header(x, "Accept-Ranges", "bytes");
    if (cache)
        exchange_add_header(x, "Cache-Control", cache);
    const char *type = http_type(path);
    bool runs = plain && (!strncmp(type, "text/html", 9) || !strncmp(type, "text/javascript", 15) || !strncmp(type, "text/css", 8) ||
                          strstr(type, "xml"));
    if (as_name) {
        int n = snprintf(text, sizeof text, "%sfilename=\"", runs ? "attachment; " : "");
        for (const char *c = as_name; *c && n < 560; c++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
        snprintf(text + n, sizeof text - (size_t)n, "\"");
        exchange_add_header(x, "Content-Disposition", text);
    }
    if (runs)
        type = "application/octet-stream";
    int64_t first = 0, last = (int64_t)s.st_size - 1;
    enum range_kind kind = range_allowed(x, tag, s.st_mtim.tv_sec) ? range_parse(exchange_header(x, "Range"), s.st_size, &first, &last)
                                                                   : RANGE_WHOLE;
    if (is_known(x, tag, s.st_mtim.tv_sec)) {
        answer_empty(x, 304);
    } else if (kind == RANGE_NONE) {
        snprintf(text, sizeof text, "bytes */%lld", (long long)s.st_size);
        exchange_add_header(x, "Content-Range", text);
        answer_error(x, 416, "bad_range", "the file has %lld bytes", (long long)s.st_size);
    } else {
        if (kind == RANGE_PART) {
            snprintf(text, sizeof text, "bytes %lld-%lld/%lld", (long long)first, (long long)last, (long long)s.st_size);
            exchange_add_header(x, "Content-Range", text);
        } else {
            first = 0;
            last = (int64_t)s.st_size - 1;
        }
        if (!x->status && send_head(x, kind == RANGE_PART ? 206 : 200, type, last - first + 1) && !x->head)
            send_file(x, fd, first, last - first + 1);
    }
    close(fd);
    return true;
}
