/* One request and its answer. A handler (routes.h) is given a struct exchange, reads what it needs and answers once. civetweb is known
 * to http.c, server.c, sockets.c and connections.c only. */
#ifndef LIMN_SERVE_HTTP_H
#define LIMN_SERVE_HTTP_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"

struct server;
struct mg_connection;
struct route;

enum { EXCHANGE_PARAMS = 3, EXCHANGE_PARAM_BYTES = 1024, USER_ID_BYTES = 64 };
/* Bodies up to this are kept in memory, larger ones in a file without a name that is mapped. */
#define BODY_IN_MEMORY ((size_t)1 << 20)
/* A body of JSON; of a file (--max-upload is asked for those). */
#define BODY_JSON ((size_t)32 << 20)

struct exchange {
    struct server *server;             /* borrowed */
    struct mg_connection *connection;  /* borrowed */
    const struct route *route;
    const char *method;                /* borrowed; HEAD is answered as GET without the body */
    const char *query;                 /* as it was sent, or NULL */
    bool head;
    char *param[EXCHANGE_PARAMS];      /* the parts of the path that the route's pattern names, decoded; base/mem.h */
    char user[USER_ID_BYTES];          /* whose settings, files and jobs are meant: "default" if there is one user */
    char *body;                        /* NULL: none was read */
    size_t body_bytes;
    bool body_mapped;
    json_t *json;                      /* the body as JSON where the route wants JSON; {} if it was empty. May be NULL */
    char peer[48];
    int status;                        /* of the answer; 0: none yet */
    int64_t sent_bytes;
    char headers[1024];                /* lines of more headers, each ending in "\r\n" */
};

/* A header of the request, or NULL. Borrowed. */
const char *exchange_header(const struct exchange *x, const char *name);
/* The value of a cookie into out[cap]; false: it is not there, or longer. */
bool exchange_cookie(const struct exchange *x, const char *name, char *out, size_t cap);
/* The address of the other side as text. Borrowed. */
const char *exchange_peer(struct exchange *x);

/* The value of a query parameter into out[cap]; *found says whether it was there. Whole numbers: a missing one leaves *out. */
MUST_USE bool exchange_query(const struct exchange *x, const char *name, char *out, size_t cap, bool *found, struct err *e);
MUST_USE bool exchange_query_int(const struct exchange *x, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e);
/* "true", "1", "yes" (any case) is true; another value or none is false. */
bool exchange_query_bool(const struct exchange *x, const char *name);

/* The texts of a list of the JSON body, borrowed; free the array with mem_free. No list is an empty one. ERR_ARG, ERR_NOMEM. */
MUST_USE const char **exchange_texts(const struct exchange *x, const char *key, size_t *count, struct err *e);

/* Adds a header to the answer that is still to come; name and value hold no line ends. */
void exchange_add_header(struct exchange *x, const char *name, const char *value);

/* Answers. After one of them the exchange is over; a second one is left out. They return true, also where the other side has gone,
 * so that a handler may end with them; answer_json takes the reference and returns false with e set if there is no memory. */
bool answer_empty(struct exchange *x, int status);
bool answer_bytes(struct exchange *x, int status, const char *type, const void *data, size_t bytes);
/* The same bytes as long as the tag (in its quotes) is the same: 304 where the client has them. gzip: their packed form for those who
 * take it, or NULL; with it the tag is sent as a weak one. */
struct tagged {
    const char *type, *tag;
    const void *data, *gzip;
    size_t bytes, gzip_bytes;
};
bool answer_tagged(struct exchange *x, const struct tagged *t);
bool answer_text(struct exchange *x, int status, const char *type, const char *text);
MUST_USE bool answer_json(struct exchange *x, int status, json_t *json, struct err *e);
/* An error in the form of the route's family: `type` for programs ("not_found"), text for people. */
bool answer_error(struct exchange *x, int status, const char *type, const char *format, ...) PRINTF_LIKE(4, 5);
/* The same of a code and its text: ERR_ARG and ERR_FORMAT are 400, ERR_MISSING 404, ERR_LIMIT 413, ERR_NOMEM,
 * ERR_STOPPED and ERR_IO (a full disk, a database that is gone) 503, others 500. */
bool answer_failure(struct exchange *x, const struct err *e);

/* A file, with its type by its name, tag, date and ranges. `cache`: Cache-Control, or NULL; as_name: Content-Disposition's filename, or
 * NULL. `plain`: what a browser would run (html, js, css, svg, xml) is sent as application/octet-stream, to be kept, not shown.
 * errors  ERR_MISSING (no such file, or no plain one), ERR_IO; then nothing was answered. */
MUST_USE bool answer_file(struct exchange *x, const char *path, const char *cache, const char *as_name, bool plain, struct err *e);
/* The type of a name's ending; "application/octet-stream" if it is not known. */
const char *http_type(const char *name);
/* "Not Found". */
const char *http_reason(int status);

/* Reads the body, at most `most` bytes. ERR_LIMIT (413), ERR_FORMAT (cut off), ERR_IO, ERR_NOMEM. */
MUST_USE bool exchange_read_body(struct exchange *x, size_t most, struct err *e);
/* Frees what the exchange holds. */
void exchange_release(struct exchange *x);

#endif
