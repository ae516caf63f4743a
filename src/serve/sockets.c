#include "serve/sockets.h"

#include <civetweb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "serve/json_io.h"

/* One frame, held by as many queues as it waits in. Its count is guarded by the lock of the list. */
struct frame {
    int holders, opcode;
    size_t bytes;
    char data[];
};
struct waiting {
    struct frame *frame;
    bool spare;
};

/* Everything below `lock` is guarded by the list's lock; the thread sends without holding it. */
struct socket {
    struct socket *next;
    struct mg_connection *connection;
    struct connection *watched;
    char id[SOCKET_ID_BYTES], user[64];
    pthread_t thread;
    pthread_cond_t wake;
    /* lock */
    struct waiting *queue; /* [first, first + count) modulo cap */
    size_t first, count, cap, bytes, spares;
    bool ended, metadata, heard, logs;
    bool joined;    /* its thread has been waited for; the connection's thread's alone, as what follows */
    char *received; /* a message that comes in pieces */
    size_t received_bytes;
};
struct sockets {
    struct sockets_options o;
    pthread_mutex_t lock;
    struct socket *newest; /* the newest first: it is the one that an id means */
    size_t count, cut, dropped;
};

struct sockets *sockets_new(const struct sockets_options *options, struct err *e)
{
    struct sockets *all = mem_zeroed(1, sizeof *all);
    if (!all) {
        err_nomem(e, "the list of sockets");
        return NULL;
    }
    all->o = *options;
    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void sockets_free(struct sockets *all)
{
    if (all)
        pthread_mutex_destroy(&all->lock);
    mem_free(all);
}

static struct frame *frame_new(int opcode, size_t bytes)
{
    struct frame *f = mem_aligned(sizeof *f + bytes);
    if (f)
        *f = (struct frame){ .holders = 1, .opcode = opcode, .bytes = bytes };
    return f;
}

/* Under the lock, as all that follows up to the senders. */
static void frame_drop(struct frame *f)
{
    if (f && --f->holders == 0)
        mem_free(f);
}

static void give_up(struct sockets *all, struct socket *s)
{
    if (!s->ended)
        all->cut++;
    s->ended = true;
    connection_cut(all->o.connections, s->watched);
    pthread_cond_signal(&s->wake);
}

/* Takes the oldest message that may be lost out of the queue. */
static void lose_spare(struct sockets *all, struct socket *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct waiting *w = &s->queue[(s->first + i) % s->cap];
        if (!w->spare)
            continue;
        s->bytes -= w->frame->bytes;
        frame_drop(w->frame);
        for (size_t k = i; k + 1 < s->count; k++)
            s->queue[(s->first + k) % s->cap] = s->queue[(s->first + k + 1) % s->cap];
        s->count--;
        s->spares--;
        all->dropped++;
        return;
    }
}

static void push(struct sockets *all, struct socket *s, struct frame *f, bool spare)
{
    if (s->ended)
        return;
    if (spare && s->spares >= SOCKET_MOST_SPARE)
        lose_spare(all, s);
    if (s->count == SOCKET_MOST_MESSAGES || s->bytes + f->bytes > SOCKET_MOST_BYTES) {
        give_up(all, s);
        return;
    }
    if (s->count == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 16;
        struct waiting *queue = mem_zeroed(cap, sizeof *queue);
        if (!queue) {
            give_up(all, s);
            return;
        }
        for (size_t i = 0; i < s->count; i++)
            queue[i] = s->queue[(s->first + i) % s->cap];
        mem_free(s->queue);
        s->queue = queue;
        s->cap = cap;
        s->first = 0;
    }
    s->queue[(s->first + s->count++) % s->cap] = (struct waiting){ f, spare };
    f->holders++;
    s->bytes += f->bytes;
    s->spares += spare;
    pthread_cond_signal(&s->wake);
}

/* The thread of a socket: sends what waits until the socket ends. */
static void *send_all(void *self)
{
    void **both = self;
    struct sockets *all = both[0];
    struct socket *s = both[1];
    mem_free(both);
    pthread_mutex_lock(&all->lock);
    for (;;) {
        while (!s->count && !s->ended)
            pthread_cond_wait(&s->wake, &all->lock);
        if (s->ended)
            break;
        struct waiting w = s->queue[s->first];
        s->first = (s->first + 1) % s->cap;
        s->count--;
        s->bytes -= w.frame->bytes;
        s->spares -= w.spare;
        pthread_mutex_unlock(&all->lock);
        int sent = mg_websocket_write(s->connection, w.frame->opcode, w.frame->data, w.frame->bytes);
        pthread_mutex_lock(&all->lock);
        bool last = w.frame->opcode == MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE;
        frame_drop(w.frame);
        if (sent <= 0 || last) {
            s->ended = true;
            if (!last)
                connection_cut(all->o.connections, s->watched);
        }
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

static struct frame *text_frame(const char *text)
{
    size_t n = strlen(text);
    struct frame *f = frame_new(MG_WEBSOCKET_OPCODE_TEXT, n);
    if (f)
        memcpy(f->data, text, n);
    return f;
}

struct socket *socket_open(struct sockets *all, struct mg_connection *c, struct connection *watched, const char *id, const char *user,
                           const char *const *hello, size_t hellos)
{
    struct socket *s = mem_zeroed(1, sizeof *s);
    void **both = mem_zeroed(2, sizeof *both);
    if (!s || !both) {
        mem_free(s);
        mem_free(both);
        return NULL;
    }
    s->connection = c;
    s->watched = watched;
    snprintf(s->id, sizeof s->id, "%s", id);
    snprintf(s->user, sizeof s->user, "%s", user);
    pthread_cond_init(&s->wake, NULL);
    both[0] = all;
    both[1] = s;
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < hellos; i++) {
        struct frame *f = text_frame(hello[i]);
        if (f)
            push(all, s, f, false);
        frame_drop(f);
    }
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, (size_t)256 << 10);
    bool started = !pthread_create(&s->thread, &small, send_all, both);
    pthread_attr_destroy(&small);
    if (started) {
        s->next = all->newest;
        all->newest = s;
        all->count++;
    }
    pthread_mutex_unlock(&all->lock);
    if (started)
        return s;
    while (s->count--)
        frame_drop(s->queue[s->first++ % s->cap].frame);
    mem_free(s->queue);
    mem_free(s);
    mem_free(both);
    return NULL;
}

void socket_close(struct sockets *all, struct socket *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&all->lock);
    for (struct socket **at = &all->newest; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            all->count--;
            break;
        }
    bool sending = !s->ended;
    s->ended = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&all->lock);
    if (sending)
        connection_cut(all->o.connections, s->watched); /* so that a write that waits ends */
    if (!s->joined)
        pthread_join(s->thread, NULL);
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < s->count; i++)
        frame_drop(s->queue[(s->first + i) % s->cap].frame);
    pthread_mutex_unlock(&all->lock);
    pthread_cond_destroy(&s->wake);
    mem_free(s->queue);
    mem_free(s->received);
    mem_free(s);
}

/* The first message of a client may say what it understands; it is told what the server does. */
static void first_message(struct sockets *all, struct socket *s, const char *data, size_t bytes)
{
    json_t *j = json_loadb(data, bytes, 0, NULL);
    const char *type = json_string_value(json_object_get(j, "type"));
    if (type && !strcmp(type, "feature_flags")) {
        char text[160];
        snprintf(text, sizeof text, "{\"type\":\"feature_flags\",\"data\":{\"supports_preview_metadata\":true,\"max_upload_size\":%lld}}",
                 (long long)all->o.max_upload_bytes);
        struct frame *f = text_frame(text);
        pthread_mutex_lock(&all->lock);
        s->metadata = json_is_true(json_object_get(json_object_get(j, "data"), "supports_preview_metadata"));
        if (f)
            push(all, s, f, false);
        frame_drop(f);
        pthread_mutex_unlock(&all->lock);
    }
    json_decref(j);
}

bool socket_receive(struct sockets *all, struct socket *s, int bits, const char *data, size_t bytes)
{
    int opcode = bits & 15;
    if (opcode == MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE) {
        struct frame *f = frame_new(opcode, bytes >= 2 ? 2 : 0);
        pthread_mutex_lock(&all->lock);
        if (f) {
            memcpy(f->data, data, f->bytes);
            push(all, s, f, false);
        }
        frame_drop(f);
        bool sending = !s->ended;
        pthread_mutex_unlock(&all->lock);
        if (sending) {
            pthread_join(s->thread, NULL);
            s->joined = true;
        }
        return false;
    }
    if (opcode != MG_WEBSOCKET_OPCODE_TEXT && opcode != MG_WEBSOCKET_OPCODE_BINARY && opcode != MG_WEBSOCKET_OPCODE_CONTINUATION)
        return true;
    if (s->heard || s->received_bytes + bytes > SOCKET_MOST_RECEIVED) {
        s->heard = true; /* only the first message counts, and it is small */
        return true;
    }
    char *grown = mem_aligned(s->received_bytes + bytes + 1);
    if (!grown)
        return true;
    if (s->received_bytes)
        memcpy(grown, s->received, s->received_bytes);
    memcpy(grown + s->received_bytes, data, bytes);
    mem_free(s->received);
    s->received = grown;
    s->received_bytes += bytes;
    if (bits & 128) { /* the last piece */
        first_message(all, s, s->received, s->received_bytes);
        s->heard = true;
    }
    return true;
}

/* --- whom a message is for --- */

static bool meant(const struct socket *s, struct audience to)
{
    return (!to.client || !strcmp(s->id, to.client)) && (!to.user || !strcmp(s->user, to.user));
}

/* Calls for each socket that is meant; of one client's only the newest. */
#define EACH_MEANT(all, s, to)                                                     \
    for (struct socket *s = (all)->newest; s; s = (to).client && meant(s, to) ? NULL : s->next) \
        if (meant(s, to))

static void send_frame(struct sockets *all, struct audience to, struct frame *f, bool spare, bool logs)
{
    if (!f)
        return;
    pthread_mutex_lock(&all->lock);
    EACH_MEANT(all, s, to)
        if (!logs || s->logs)
            push(all, s, f, spare);
    frame_drop(f);
    pthread_mutex_unlock(&all->lock);
}

static struct frame *message_frame(const char *type, const json_t *data)
{
    struct text t;
    text_init(&t, JSON_IO_MAX_BYTES);
    text_addf(&t, "{\"type\":\"%s\",\"data\":", type);
    json_io_text(&t, data);
    text_add(&t, "}");
    struct err e = { 0 };
    struct frame *f = text_ok(&t, &e) ? text_frame(text_string(&t)) : NULL;
    text_release(&t);
    return f;
}

void sockets_send(struct sockets *all, struct audience to, const char *type, const json_t *data, bool spare)
{
    send_frame(all, to, message_frame(type, data), spare, false);
}

void sockets_send_logs(struct sockets *all, const json_t *data)
{
    send_frame(all, (struct audience){ 0 }, message_frame("logs", data), true, true);
}

static char *put_u32(char *p, size_t v)
{
    for (int i = 0; i < 4; i++)
        *p++ = (char)(v >> (24 - 8 * i));
    return p;
}

void sockets_send_picture(struct sockets *all, struct audience to, const char *metadata, const char *type, const void *data,
                          size_t bytes, bool spare)
{
    enum { PREVIEW = 1, PREVIEW_WITH_METADATA = 4, JPEG = 1, PNG = 2 };
    size_t words = metadata ? strlen(metadata) : 0;
    struct frame *plain = frame_new(MG_WEBSOCKET_OPCODE_BINARY, 8 + bytes);
    struct frame *named = metadata ? frame_new(MG_WEBSOCKET_OPCODE_BINARY, 8 + words + bytes) : NULL;
    if (plain) {
        char *p = put_u32(put_u32(plain->data, PREVIEW), !strcmp(type, "image/png") ? PNG : JPEG);
        memcpy(p, data, bytes);
    }
    if (named) {
        char *p = put_u32(put_u32(named->data, PREVIEW_WITH_METADATA), words);
        memcpy(p, metadata, words);
        memcpy(p + words, data, bytes);
    }
    pthread_mutex_lock(&all->lock);
    EACH_MEANT(all, s, to) {
        struct frame *f = metadata && s->metadata ? named : plain;
        if (f)
            push(all, s, f, spare);
    }
    frame_drop(plain);
    frame_drop(named);
    pthread_mutex_unlock(&all->lock);
}

bool sockets_any(struct sockets *all, struct audience to)
{
    bool any = false;
    pthread_mutex_lock(&all->lock);
    EACH_MEANT(all, s, to)
        any = any || !s->ended;
    pthread_mutex_unlock(&all->lock);
    return any;
}

void sockets_subscribe_logs(struct sockets *all, const char *client, bool on)
{
    struct audience to = { .client = client };
    pthread_mutex_lock(&all->lock);
    EACH_MEANT(all, s, to)
        s->logs = on;
    pthread_mutex_unlock(&all->lock);
}

void sockets_farewell(struct sockets *all)
{
    struct frame *f = frame_new(MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE, 2);
    if (f)
        memcpy(f->data, "\x03\xe9", 2); /* 1001 */
    send_frame(all, (struct audience){ 0 }, f, false, false);
}

size_t sockets_count(struct sockets *all)
{
    pthread_mutex_lock(&all->lock);
    size_t n = all->count;
    pthread_mutex_unlock(&all->lock);
    return n;
}

void sockets_losses(struct sockets *all, size_t *cut, size_t *dropped)
{
    pthread_mutex_lock(&all->lock);
    *cut = all->cut;
    *dropped = all->dropped;
    pthread_mutex_unlock(&all->lock);
}
