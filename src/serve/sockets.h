/* The open WebSockets and what is sent to them. Each has a queue and a thread that empties it, so that one that does not read
 * delays nobody: previews and progress are dropped when they pile up, and a socket that leaves SOCKET_MOST_MESSAGES messages or
 * SOCKET_MOST_BYTES lying is cut off (its client connects again and is told how things stand).
 *
 * Messages are those of contract section 2: text frames {"type", "data"}, binary frames for pictures.
 * Threads: everything may be called from any. A socket belongs to the list until its connection has ended. */
#ifndef LIMN_SERVE_SOCKETS_H
#define LIMN_SERVE_SOCKETS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "serve/connections.h"

enum { SOCKET_ID_BYTES = 129, SOCKET_MOST_MESSAGES = 4096, SOCKET_MOST_SPARE = 16, SOCKET_MOST_RECEIVED = 65536 };
#define SOCKET_MOST_BYTES ((size_t)64 << 20)

struct sockets;
struct socket;
struct mg_connection;

struct sockets_options {
    struct connections *connections; /* borrowed */
    int64_t max_upload_bytes;        /* told in the answer to feature_flags */
};
MUST_USE struct sockets *sockets_new(const struct sockets_options *options, struct err *e);
void sockets_free(struct sockets *all); /* accepts NULL; no socket may be left */

/* A connection became a socket of the client `id` and user; `hello` are the messages it is sent before any other. Of two sockets with
 * one id the newer gets the messages. NULL without memory. */
struct socket *socket_open(struct sockets *all, struct mg_connection *c, struct connection *watched, const char *id, const char *user,
                           const char *const *hello, size_t hellos);
/* A frame came (bits: its first byte). False: the connection is to end. */
bool socket_receive(struct sockets *all, struct socket *s, int bits, const char *data, size_t bytes);
/* The connection has ended; waits for the socket's thread. Accepts NULL. */
void socket_close(struct sockets *all, struct socket *s);

/* Whom a message is for: a client by its id, else all of a user, else everybody. */
struct audience {
    const char *client, *user; /* NULL: any */
};
/* Sends {"type": type, "data": data}. spare: it may be dropped if the socket is behind. */
void sockets_send(struct sockets *all, struct audience to, const char *type, const json_t *data, bool spare);

/* A picture: to sockets that understand metadata as frame 4 with `metadata` (JSON text, or NULL), to others as frame 1.
 * type: "image/jpeg" or "image/png". */
void sockets_send_picture(struct sockets *all, struct audience to, const char *metadata, const char *type, const void *data,
                          size_t bytes, bool spare);
/* Whether anyone of them is there: what nobody sees need not be made. */
bool sockets_any(struct sockets *all, struct audience to);

/* `logs` messages: asked for by a client or not any more, and sent to those who asked. */
void sockets_subscribe_logs(struct sockets *all, const char *client, bool on);
void sockets_send_logs(struct sockets *all, const json_t *data);

/* Tells all of them that the server goes away (close code 1001). */
void sockets_farewell(struct sockets *all);
size_t sockets_count(struct sockets *all);
/* How many were cut off because they did not read, and messages dropped. */
void sockets_losses(struct sockets *all, size_t *cut, size_t *dropped);

#endif
