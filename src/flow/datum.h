/* What goes along the links of a flow: a number, a text, or an object (a picture, a model) with a type that knows how to free it.
 *
 * A datum never changes once it is made, so many links, the cache and several nodes hold the same one; datum_keep and
 * datum_drop count. Counting is not locked: data belong to the thread that runs the flow. */
#ifndef LIMN_FLOW_DATUM_H
#define LIMN_FLOW_DATUM_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum datum_kind {
    DATUM_NOTHING, /* an output that has no meaning, None there */
    DATUM_INT,     /* int64_t; a seed above INT64_MAX has its bits */
    DATUM_FLOAT,
    DATUM_BOOL,
    DATUM_TEXT,
    DATUM_JSON,    /* a list or an object that a flow gave as it is, or a link that a node wants to see (NODE_RAW_LINK) */
    DATUM_OBJECT,
    DATUM_BLOCKER, /* what depends on it is left out; its text, if it has one, is an error that the user is told */
};

struct datum_type {
    const char *name;                  /* of the socket: "IMAGE" */
    void (*free)(void *object);        /* all of it */
    size_t (*bytes)(const void *object); /* for the cache's bound; NULL: small */
};

struct datum {
    enum datum_kind kind;
    int holders;
    int64_t whole; /* INT, BOOL */
    double real;   /* FLOAT */
    char *text;    /* TEXT, BLOCKER (may be NULL); owned */
    json_t *json;  /* JSON; a reference */
    const struct datum_type *type;
    void *object;  /* owned */
};

/* Each returns a datum with one holder, or NULL with e set (ERR_NOMEM). datum_of_object takes the object in any case: it is freed
 * if there is no memory, and NULL for it means that it could not be made and e says why. */
MUST_USE struct datum *datum_of_nothing(struct err *e);
MUST_USE struct datum *datum_of_int(int64_t v, struct err *e);
MUST_USE struct datum *datum_of_float(double v, struct err *e);
MUST_USE struct datum *datum_of_bool(bool v, struct err *e);
MUST_USE struct datum *datum_of_text(const char *v, struct err *e);
MUST_USE struct datum *datum_of_json(json_t *v, struct err *e); /* a new reference is taken */
MUST_USE struct datum *datum_of_blocker(const char *why, struct err *e); /* why NULL: silent */
MUST_USE struct datum *datum_of_object(const struct datum_type *type, void *object, struct err *e);

/* Returns v, with a holder more. */
struct datum *datum_keep(struct datum *v);
/* Accepts NULL. */
void datum_drop(struct datum *v);
/* What it takes in memory. */
size_t datum_bytes(const struct datum *v);

/* Data in a row: an output, of which most nodes have one. */
struct datum_list {
    struct datum **at; /* each held */
    size_t count, cap;
};
void datum_list_release(struct datum_list *l);
/* Takes v, in any case; NULL is a failure that e knows. */
MUST_USE bool datum_list_add(struct datum_list *l, struct datum *v, struct err *e);

#endif
