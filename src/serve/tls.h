/* HTTPS: a door in front of the server. It speaks TLS (OpenSSL) with the outside and plain HTTP with the server on the loopback.
 * (Debian 12's civetweb can load no OpenSSL 3.) Limits of time are the server's: a connection that it closes is closed here.
 *
 * Threads: one that accepts and one for each connection. Everything may be called from any. */
#ifndef LIMN_SERVE_TLS_H
#define LIMN_SERVE_TLS_H

#include <stdbool.h>

#include "base/err.h"

struct tls_options {
    const char *listen;            /* an IPv4 address */
    int port;                      /* 0: any */
    const char *certificate, *key; /* PEM files: a chain, the server's first; its key */
    int inner_port;                /* of the server */
    int connections;               /* at most so many at a time */
    int seconds;                   /* for the handshake */
};
struct tls;
/* NULL with e set: ERR_ARG for files that are no certificate and its key, ERR_IO for the port. */
MUST_USE struct tls *tls_start(const struct tls_options *options, struct err *e);
void tls_stop(struct tls *t); /* accepts NULL */
int tls_port(const struct tls *t);
/* Who is behind a connection that the server sees as coming from this port of the loopback. False: nobody of ours. */
bool tls_peer(struct tls *t, int inner_port, char out[48]);

#endif
