/* The server: it starts, waits for requests and ends. Loopback only unless told otherwise, and then with a token. */
#ifndef LIMN_SERVE_SERVER_H
#define LIMN_SERVE_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "flow/run.h"
#include "model/places/places.h"

#define SERVE_VERSION_OF_COMFYUI "0.3.64" /* whose API the routes are */

struct serve_options {
    const char *listen;       /* an IPv4 address or "localhost" */
    int port;                 /* 0: any; server_port tells */
    const char *token;        /* NULL: none; needed where `listen` is no loopback */
    const char *cors;         /* an origin that may call from its own pages, "*" any; NULL: none */
    const char *const *hosts; /* more names by which the server may be called; NULL-ended or NULL */
    const char *certificate, *key; /* PEM files; NULL: plain HTTP */
    const char *base, *input, *output, *temp, *user; /* folders; they are made. temp is emptied at start and end */
    const char *page;         /* the folder of a page that is served at /, or NULL */
    bool foreign_page;        /* it is not ours: it may ask for nodes that limn has not */
    const struct model_places *places; /* borrowed */
    const struct backend *backend;     /* what draws; borrowed */
    enum dtype type;                   /* what models compute in */
    enum flow_cache cache;
    size_t cache_results;
    const char *database;     /* a file or a postgresql:// address */
    const char *gallery;      /* the folder of the gallery's pictures */
    int workers;              /* jobs at a time; 0: workers elsewhere take them */
    int preview_side;         /* of previews for clients that do not ask; 0: none */
    size_t max_upload_bytes;
    int connections;          /* at most so many at a time */
    int rate;                 /* jobs a minute for one address; 0: any number */
    int head_seconds;         /* how long a request's head may take, and a pause in a body */
    bool users;               /* several users, each with settings, files and jobs of their own */
    bool no_metadata, test_nodes, quiet;
    const char *version;      /* of the program */
};

struct server;

/* Starts it: after this it answers. options and what they point to must outlive it. NULL with e set: ERR_ARG (a token is missing, a file is
 * no certificate), ERR_IO (the port is taken), ERR_NOMEM. */
MUST_USE struct server *server_start(const struct serve_options *options, struct err *e);
int server_port(const struct server *server);
/* No new connections; what is being answered has `seconds` to end; then all is closed and freed. Accepts NULL. */
void server_stop(struct server *server, double seconds);

#endif
