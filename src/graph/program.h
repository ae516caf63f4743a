/* A program is a graph with a plan and a backend: ready to run, again and again, with no allocation.
 *
 *   program_new -> program_bind_weight for each weight -> (program_set_input, program_run, program_output)* -> program_free
 */
#ifndef LIMN_GRAPH_PROGRAM_H
#define LIMN_GRAPH_PROGRAM_H

#include "base/text.h"
#include "graph/backend.h"

struct program;

/* Takes over the graph (also when it fails: then the graph is released). Prepares every op, plans the arena; allocates
 * nothing big before the first bind or run. backend is borrowed. */
MUST_USE struct program *program_new(const struct backend *backend, struct graph *g, struct err *e);
void program_free(struct program *p);
/* For programs that run in turn: p runs in the room of `host`, whose arena becomes as large as the larger of both needs. What one
 * left as its output is gone once the other runs. Before the first run of either; host outlives p. */
void program_share_room(struct program *p, struct program *host);
const struct graph *program_graph(const struct program *p);

/* What the program will take, in bytes. */
struct program_memory {
    size_t arena;    /* activations, gradients and scratch, at the planned peak of this program alone */
    size_t packed;   /* constant weights in the backend's form */
    size_t borrowed; /* weights used where they lie (mapped from a file, or the trainer's); of tables the rows looked up */
};
struct program_memory program_memory(const struct program *p);

/* Gives weight `name` its bytes: src.type and src.shape must be the graph's. *kept says whether src.data is still used
 * after the call (borrowed: it must then outlive p) or was packed and may be forgotten. */
MUST_USE bool program_bind_weight(struct program *p, const char *name, const struct tensor *src, bool *kept,
                                  struct err *e);
/* Borrowed until the next program_run returns. */
MUST_USE bool program_set_input(struct program *p, const char *name, const void *data, struct err *e);
/* Checks that everything is bound, then runs every op once. */
MUST_USE bool program_run(struct program *p, struct err *e);
/* The same, and calls `after` behind each op that runs; where that fails the run ends. */
MUST_USE bool program_run_watched(struct program *p, bool (*after)(void *self, size_t op, struct err *e), void *self, struct err *e);
/* Runs the ops up to the one that makes v, an output: a loss alone, of a program that goes on with its gradient. */
MUST_USE bool program_run_until(struct program *p, struct value v, struct err *e);
/* The same as program_run, but ends with ERR_STOPPED between two ops once the user asks for it (progress.h). For programs that update no
 * weights: an optimizer's step is done wholly or not at all. */
MUST_USE bool program_run_stoppable(struct program *p, struct err *e);
/* The bytes of a value marked graph_output, valid until the next run. */
const void *program_output(const struct program *p, struct value v);

/* Where the time went: per kind of op, since the program was made. */
struct op_profile {
    long calls;
    double seconds, flops;
};
const struct op_profile *program_profile(const struct program *p); /* [OP_COUNT] */
/* A table of it for people, most expensive first. */
void program_profile_text(const struct program *p, struct text *out);

#endif
