/* What /object_info answers, made once and kept until a folder changes that it tells of. Any thread. */
#ifndef LIMN_SERVE_CATALOG_H
#define LIMN_SERVE_CATALOG_H

#include "flow/node.h"
#include "serve/http.h"

struct catalog;
/* make: the answer as JSON for a host, a new reference; NULL with e set. */
struct catalog_options {
    json_t *(*make)(void *self, const struct flow_host *host, struct err *e);
    void *self;
};
MUST_USE struct catalog *catalog_new(const struct catalog_options *options, struct err *e);
void catalog_free(struct catalog *c); /* accepts NULL */

/* Answers for the exchange's user, whose folders are the host's. False with e set: nothing was answered. */
MUST_USE bool catalog_answer(struct catalog *c, struct exchange *x, const struct flow_host *host, struct err *e);

#endif
