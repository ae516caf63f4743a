/* The connections that are open, and how long each may take for what it is doing: a head that comes a byte a minute, a body that
 * stops, an answer that nobody reads are cut off by a watching thread. (civetweb's own limits end at a pause, not at a trickle.)
 *
 *     accepted -> HEAD -> [BODY] -> WORK -> ANSWER -> HEAD (kept alive) ...      each with a deadline, but WORK and SOCKET
 *                                    \-> SOCKET (upgraded)
 *
 * Threads: everything may be called from any; one lock. */
#ifndef LIMN_SERVE_CONNECTIONS_H
#define LIMN_SERVE_CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum connection_stage { CONNECTION_HEAD, CONNECTION_BODY, CONNECTION_WORK, CONNECTION_ANSWER, CONNECTION_SOCKET };

struct connection;
struct connections;

/* seconds: for a head, and the pause on top of a slow but steady transfer. NULL with e set: ERR_NOMEM. */
MUST_USE struct connections *connections_new(int seconds, struct err *e);
void connections_free(struct connections *all); /* accepts NULL; no connection may be left */

/* The port that is listened on: connections to it are looked for from now on, also those that have not sent a whole head yet. */
void connections_of_port(struct connections *all, int port);

/* The one from an IPv4 address and port, which has sent a head; NULL without memory (then it is not watched). */
struct connection *connection_open(struct connections *all, const char *address, int port);
void connection_close(struct connections *all, struct connection *c); /* accepts NULL */

/* What it does now; `bytes` more are to be carried in this stage at CONNECTION_LEAST_BYTES a second or more. c may be NULL. */
#define CONNECTION_LEAST_BYTES 16384
void connection_stage(struct connections *all, struct connection *c, enum connection_stage stage, int64_t bytes);
/* Shuts it down: reads and writes of it end at once. */
void connection_cut(struct connections *all, struct connection *c);

size_t connections_count(struct connections *all);
/* How many were cut because they took too long. */
size_t connections_cut(struct connections *all);

#endif
