/* What the files of the room share: the server itself. */
#ifndef LIMN_SERVE_SERVER_INTERNAL_H
#define LIMN_SERVE_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "flow/flow.h"
#include "jobs/queue.h"
#include "serve/catalog.h"
#include "serve/connections.h"
#include "serve/events.h"
#include "serve/guard.h"
#include "serve/log.h"
#include "serve/routes.h"
#include "serve/runner.h"
#include "serve/server.h"
#include "serve/sockets.h"
#include "serve/tls.h"

struct server {
    const struct serve_options *o;
    struct mg_context *context;
    struct tls *tls;             /* NULL: plain HTTP */
    struct connections *connections;
    struct sockets *sockets;
    struct guard *guard;
    struct serve_log *log;
    struct runner_options runner_options;
    struct runner *runner;
    struct store *store;
    struct queue *queue;
    struct catalog *catalog;     /* of nodes */
    struct events *events;
    pthread_mutex_t user_lock;   /* settings and files of users are read and written under it */
    int port;
    char refused[200];           /* civetweb's reason for a failed start */
    double started;              /* clock_seconds */
    bool began;                  /* it started */
    atomic_bool stopping;
    atomic_long answering;       /* requests that are being answered */
    atomic_long requests[6];     /* answered, by the hundred of their status; [0]: others */
    atomic_llong received_bytes, sent_bytes;
};

/* What a connection of civetweb carries along. */
struct peer {
    struct connection *watched; /* NULL: no memory */
    struct socket *socket;      /* NULL: no WebSocket */
};

/* One request (dispatch.c); 0: it becomes a WebSocket. */
int dispatch(struct server *s, struct mg_connection *c);

/* Sets x->user: "default", or with several users the one that the header Comfy-User, the query's `user` or a cookie names (api_user.c). Answers 401 itself
 * where nobody of this name is known. */
MUST_USE bool exchange_user(struct exchange *x, struct err *e);

/* A folder of one user's: with several users it is folder/<id>, else the folder itself. */
MUST_USE bool user_place(const struct server *s, const char *user, const char *folder, char out[PATH_MAX_BYTES], struct err *e);

/* The folder input, output or temp of the exchange's user; type NULL or "": output. ERR_ARG for another word (api_files.c). */
MUST_USE bool exchange_folder(const struct exchange *x, const char *type, char out[PATH_MAX_BYTES], struct err *e);

/* Reads the body as a form; release it, also after a failure. ERR_ARG: it is none (api_files.c). */
struct multipart;
MUST_USE bool exchange_form(struct exchange *x, struct multipart *m, struct err *e);
/* Puts bytes into folder/name; where another file has the name it becomes "name (1).ext" and so on, and what is there with the same
 * bytes is taken. name[1024]: in and out. */
enum { FILE_NAME_BYTES = 1024 };
MUST_USE bool exchange_put_file(struct exchange *x, const char *folder, char name[FILE_NAME_BYTES], const void *data, size_t bytes, bool overwrite,
                                struct err *e);
/* The folder of a data set by its name (api_datasets.c). ERR_ARG for a name that leaves the input folder. */
MUST_USE bool exchange_dataset(struct exchange *x, char out[PATH_MAX_BYTES], struct err *e);
/* A small WebP of a picture's file, `small` pixels for the longer side, or as large as it is; cache: Cache-Control. */
MUST_USE bool answer_small(struct exchange *x, const char *path, int64_t small, const char *cache, struct err *e);

/* The owner of jobs: the user, or NULL where there is one. */
const char *owner_of(const struct exchange *x);
/* Whether a text is a UUID as ids of jobs are written: in lower case, with its dashes (api_jobs.c). */
bool is_job_uuid(const char *s);
/* Answers with what the queue wrote, and releases it; good false: it has failed. */
bool answer_queue_text(struct exchange *x, struct text *t, bool good, struct err *e);

/* Takes a request of POST /prompt's form for the exchange's user: checks its flow and puts it into the queue. True with *accepted, or
 * without: checked has the reasons. checked is to be released in both cases, not after false. */
MUST_USE bool server_accept(struct exchange *x, json_t *body, struct flow_checked *checked, struct job_added *added, bool *accepted, struct err *e);

/* What /object_info tells (self: the server), a new reference. */
json_t *server_nodes(void *self, const struct flow_host *host, struct err *e);

/* What CheckpointLoaderSimple offers; a new reference. */
MUST_USE json_t *server_checkpoints(struct exchange *x, struct err *e);

/* One setting of the exchange's user, {} if it is not there, a new reference; and another value for it. */
MUST_USE json_t *setting_read(struct exchange *x, const char *key, struct err *e);
MUST_USE bool setting_write(struct exchange *x, const char *key, json_t *value, struct err *e);

/* A new socket and what it is told first: how many jobs wait, and which node runs if its job does. NULL without memory. */
struct socket *server_greet(struct server *s, struct mg_connection *c, struct connection *watched, const char *id, const char *user);

#endif
