/* Who may speak with the server: names it is called by (against DNS rebinding), pages of other origins, the token, and how often.
 * Any thread. */
#ifndef LIMN_SERVE_GUARD_H
#define LIMN_SERVE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct guard_options {
    const char *token;        /* NULL: none */
    const char *cors;         /* an origin that may call, "*": any; NULL: only the server's own pages */
    const char *const *hosts; /* more names, NULL-ended; NULL: none */
    bool loopback;            /* the server listens on the loopback only: it is then called by the loopback's names */
    int rate;                 /* works a minute and address; 0: any number */
};
struct guard;
MUST_USE struct guard *guard_new(const struct guard_options *options, struct err *e);
void guard_free(struct guard *g); /* accepts NULL */

/* What a request says of itself; NULL: the header is missing. */
struct guard_request {
    const char *host, *origin, *authorization, *fetch_site, *fetch_mode, *method, *address;
    const char *query_token; /* ?token=, or NULL */
};
enum guard_verdict { GUARD_GOOD, GUARD_WRONG_HOST, GUARD_WRONG_ORIGIN, GUARD_NO_TOKEN, GUARD_TOO_OFTEN };
/* open: no token is needed; work: it counts against the rate. *wait_seconds is for GUARD_TOO_OFTEN. */
enum guard_verdict guard_ask(struct guard *g, const struct guard_request *r, bool open, bool work, int *wait_seconds);

/* Whether a host's name, with or without a port, means this machine: localhost, 127.x.x.x, [::1], *.localhost. */
bool guard_is_loopback(const char *host);
/* 43 characters of 256 random bits into out[44]. */
MUST_USE bool guard_make_token(char out[44], struct err *e);

#endif
