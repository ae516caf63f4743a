#include "serve/server.h"

#include <civetweb.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "image/image.h"
#include "serve/helper.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

static struct server *server_of(const struct mg_connection *c)
{
    return mg_get_user_context_data(c);
}

/* --- what civetweb calls --- */

static int on_open(const struct mg_connection *c, void **data)
{
    (void)c; /* which does not tell yet who it is */
    *data = mem_zeroed(1, sizeof(struct peer));
    return 0;
}

static void on_close(const struct mg_connection *c)
{
    struct peer *peer = mg_get_user_connection_data(c);
    if (peer)
        connection_close(server_of(c)->connections, peer->watched);
    mem_free(peer);
    mg_set_user_connection_data(c, NULL);
}

static void *on_thread(const struct mg_context *context, int kind)
{
    enum { WORKER = 1 };
    (void)context;
    return kind == WORKER ? helper_new() : NULL;
}

static void on_thread_end(const struct mg_context *context, int kind, void *helper)
{
    (void)context, (void)kind;
    helper_free(helper);
}

struct request {
    struct mg_connection *connection;
    int status;
};

static void do_request(void *self)
{
    struct request *r = self;
    r->status = dispatch(server_of(r->connection), r->connection);
}

static int on_request(struct mg_connection *c)
{
    struct request r = { c, 503 };
    struct helper *helper = mg_get_thread_pointer(c);
    if (!helper || !helper_do(helper, do_request, &r))
        mg_disable_connection_keep_alive(c);
    return r.status;
}

/* What civetweb itself refuses: broken heads, too long ones. */
static int on_error(struct mg_connection *c, int status, const char *text)
{
    char body[300];
    int n = snprintf(body, sizeof body, "{\"error\":{\"type\":\"bad_request\",\"message\":\"%s\",\"details\":\"\",\"extra_info\":{}},"
                     "\"node_errors\":{}}", http_reason(status));
    mg_disable_connection_keep_alive(c);
    mg_printf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
              status, http_reason(status), n, body);
    (void)text;
    return 0;
}

static int on_log(const struct mg_connection *c, const char *message)
{
    /* while it starts it says why it cannot; later it tells of broken connections of others, which are not our business */
    struct server *s = c ? server_of(c) : NULL;
    if (s && !s->context)
        snprintf(s->refused, sizeof s->refused, "%s", message);
    return 1;
}

static int on_socket(const struct mg_connection *c, void *self)
{
    (void)self;
    return mg_get_user_connection_data(c) ? 0 : 1;
}

static void greet(void *self)
{
    struct mg_connection *c = self;
    struct server *s = server_of(c);
    struct peer *peer = mg_get_user_connection_data(c);
    struct exchange x = { .server = s, .connection = c, .method = "GET", .query = mg_get_request_info(c)->query_string };
    struct err e = { 0 };
    char id[SOCKET_ID_BYTES];
    bool found;
    connection_stage(s->connections, peer->watched, CONNECTION_SOCKET, 0);
    if (!query_value(x.query, "clientId", id, sizeof id, &found, &e) || !found || !*id) {
        char token[44];
        err_clear(&e);
        if (!guard_make_token(token, &e))
            return;
        for (int i = 0; i < 32; i++) /* 32 hexadecimal digits, as others make them */
            id[i] = "0123456789abcdef"[token[i] & 15];
        id[32] = 0;
    }
    if (!exchange_user(&x, &e))
        return;
    peer->socket = server_greet(s, c, peer->watched, id, x.user);
}

static void on_socket_ready(struct mg_connection *c, void *self)
{
    struct helper *helper = mg_get_thread_pointer(c);
    (void)self;
    if (helper)
        (void)helper_do(helper, greet, c); /* without a socket the connection ends with its first frame */
}

static int on_socket_data(struct mg_connection *c, int bits, char *data, size_t bytes, void *self)
{
    struct server *s = self;
    struct peer *peer = mg_get_user_connection_data(c);
    return peer->socket && socket_receive(s->sockets, peer->socket, bits, data, bytes);
}

static void on_socket_close(const struct mg_connection *c, void *self)
{
    struct server *s = self;
    struct peer *peer = mg_get_user_connection_data(c);
    if (peer) {
        socket_close(s->sockets, peer->socket);
        peer->socket = NULL;
    }
}

static void tell_logs(void *self, const json_t *entry)
{
    struct server *s = self;
    json_t *data = json_pack("{s:[O]}", "entries", entry);
    if (data && s->sockets)
        sockets_send_logs(s->sockets, data);
    json_decref(data);
}

struct socket *server_greet(struct server *s, struct mg_connection *c, struct connection *watched, const char *id, const char *user)
{
    char status[SOCKET_ID_BYTES * 6 + 2200] = "", running[1024]; /* a letter of an id is \\u and four digits at most */
    const char *hello[] = { status, running };
    json_t *data = events_status(s->events, id), *message = data ? json_pack("{s:s,s:o}", "type", "status", "data", data) : NULL;
    if (message && json_dumpb(message, status, sizeof status - 1, JSON_COMPACT | JSON_ENSURE_ASCII) >= sizeof status)
        *status = 0;
    json_decref(message);
    events_running(s->events, s->o->users ? user : NULL, id, running, sizeof running);
    return socket_open(s->sockets, c, watched, id, user, hello, *running ? 2 : 1);
}

/* --- jobs --- */

static bool anyone_watches(void *self, const char *client)
{
    struct server *s = self;
    return client && sockets_any(s->sockets, (struct audience){ .client = client });
}

static void log_line(void *self, const char *text)
{
    struct server *s = self;
    if (s->o->users) /* whose job it is about the others shall not read */
        serve_log_aside(s->log, text);
    else
        serve_log_line(s->log, "%s", text);
}

/* A queue_listener: all is for sockets; what goes wrong with the database is for the log, too. */
static void server_hears(void *self, const struct queue_event *event)
{
    struct server *s = self;
    if (!strcmp(event->type, "fault")) {
        const char *text = json_string_value(json_object_get(event->data, "message"));
        serve_log_line(s->log, "%s", text ? text : "the database answers again");
    }
    events_listen(s->events, event);
}

static bool open_queue(struct server *s, struct err *e)
{
    const struct serve_options *o = s->o;
    s->runner_options = (struct runner_options){
        .engine = { .backend = o->backend, .type = o->type, .cache = o->cache, .cache_results = o->cache_results }, .places = o->places, .input = o->input,
        .output = o->output, .temp = o->temp, .gallery = o->gallery, .version = o->version, .users = o->users, .test_nodes = o->test_nodes,
        .no_metadata = o->no_metadata, .preview_side = o->preview_side, .watched = anyone_watches, .line = log_line, .self = s,
    };
    if (!(s->runner = runner_new(&s->runner_options, e)) || !(s->catalog = catalog_new(&(struct catalog_options){ server_nodes, s }, e)) ||
         !(s->store = store_open(o->database, e)) || !(s->events = events_new(s->sockets, e)))
        return false;
    const struct queue_options queue = { .store = s->store, .workers = o->workers, .run = runner_run, .run_self = s->runner, .listen = server_hears, .listen_self = s };
    struct queue_event waiting = { .type = "status" };
    if (!(s->queue = queue_open(&queue, e)) || !queue_remaining(s->queue, NULL, &waiting.remaining, e))
        return false;
    events_listen(s->events, &waiting); /* what the last server has left */
    return true;
}

/* --- start and end --- */

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    (void)s, (void)kind;
    if (where->level) /* the folder itself stays */
        remove(path);
    return 0;
}

/* Links are removed, not followed. What cannot be removed stays. */
static void empty_folder(const char *path)
{
    enum { OPEN_FOLDERS = 16 };
    nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool make_folders(const struct serve_options *o, struct err *e)
{
    const char *folders[] = { o->input, o->output, o->temp, o->user };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!folder_make(folders[i], e))
            return err_add(e, "the server's folders");
    return true;
}

static bool listen_on(struct server *s, struct err *e)
{
    const struct serve_options *o = s->o;
    char ports[80], threads[16], head_ms[16];
    const char *address = o->certificate || !strcmp(o->listen, "localhost") ? "127.0.0.1" : o->listen;
    snprintf(ports, sizeof ports, "%s:%d", address, o->certificate ? 0 : o->port); /* TLS: the door is elsewhere */
    snprintf(threads, sizeof threads, "%d", o->connections);
    snprintf(head_ms, sizeof head_ms, "%d", o->head_seconds * 1000);
    const char *options[] = {
        "listening_ports", ports, "num_threads", threads, "enable_keep_alive", "yes", "keep_alive_timeout_ms", "5000",
        "request_timeout_ms", head_ms, "websocket_timeout_ms", "20000", "enable_websocket_ping_pong", "yes", "decode_url", "no",
        "tcp_nodelay", "1", "max_request_size", "32768", "listen_backlog", "512", "connection_queue", "128", NULL,
    };
    const struct mg_callbacks callbacks = {
        .begin_request = on_request, .http_error = on_error, .log_message = on_log, .log_access = on_log,
        .init_thread = on_thread, .exit_thread = on_thread_end, .init_connection = on_open, .connection_close = on_close,
    };
    s->context = mg_start(&callbacks, s, options);
    if (!s->context)
        return err_set(e, ERR_IO, "cannot listen on %s: is another program there? --port takes another one (%.200s)", ports, s->refused);
    mg_set_websocket_handler(s->context, "/ws", on_socket, on_socket_ready, on_socket_data, on_socket_close, s);
    mg_set_websocket_handler(s->context, "/api/ws", on_socket, on_socket_ready, on_socket_data, on_socket_close, s);
    struct mg_server_port port;
    s->port = mg_get_server_ports(s->context, 1, &port) > 0 ? port.port : o->port;
    connections_of_port(s->connections, s->port);
    if (!o->certificate)
        return true;
    const struct tls_options tls = { .listen = !strcmp(o->listen, "localhost") ? "127.0.0.1" : o->listen, .port = o->port, .certificate = o->certificate,
                                     .key = o->key ? o->key : o->certificate, .inner_port = s->port, .connections = o->connections,
                                     .seconds = o->head_seconds };
    if (!(s->tls = tls_start(&tls, e)))
        return false;
    s->port = tls_port(s->tls);
    return true;
}

struct server *server_start(const struct serve_options *o, struct err *e)
{
    bool loopback = guard_is_loopback(o->listen);
    if (!loopback && !o->token) {
        err_set(e, ERR_ARG, "a server that listens on %s needs a token", o->listen);
        return NULL;
    }
    struct server *s = mem_zeroed(1, sizeof *s);
    if (!s) {
        err_nomem(e, "the server");
        return NULL;
    }
    s->o = o;
    s->started = clock_seconds();
    atomic_store(&s->stopping, true); /* until all is there */
    pthread_mutex_init(&s->user_lock, NULL);
    const struct guard_options guard = { o->token, o->cors, o->hosts, loopback, o->rate };
    bool good = image_init(e) && make_folders(o, e) && (s->log = serve_log_new(o->quiet, tell_logs, s, e)) &&
                (s->guard = guard_new(&guard, e)) && (s->connections = connections_new(o->head_seconds, e)) &&
                (s->sockets = sockets_new(&(struct sockets_options){ s->connections, (int64_t)o->max_upload_bytes }, e)) &&
                listen_on(s, e);
    if (good) { /* the port is ours, so no other server has these folders' leftovers in use */
        s->began = true;
        empty_folder(o->temp);
        good = open_queue(s, e);
    }
    if (good) {
        atomic_store(&s->stopping, false);
        return s;
    }
    server_stop(s, 0);
    return NULL;
}

int server_port(const struct server *s)
{
    return s->port;
}

void server_stop(struct server *s, double seconds)
{
    if (!s)
        return;
    atomic_store(&s->stopping, true);
    if (s->context) {
        double until = clock_seconds() + seconds;
        sockets_farewell(s->sockets);
        while (clock_seconds() < until && (atomic_load(&s->answering) || sockets_count(s->sockets)))
            nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        mg_stop(s->context); /* behind it no handler runs that could want what follows */
        tls_stop(s->tls);
    }
    queue_close(s->queue, false); /* a job that runs begins anew with the next start */
    events_free(s->events);
    runner_free(s->runner);
    catalog_free(s->catalog);
    store_close(s->store);
    sockets_free(s->sockets);
    connections_free(s->connections);
    guard_free(s->guard);
    serve_log_free(s->log);
    pthread_mutex_destroy(&s->user_lock);
    if (s->began)
        empty_folder(s->o->temp);
    mem_free(s);
}
