/* The planner: when each value lives, and where in one arena. */
#ifndef LIMN_GRAPH_PLAN_H
#define LIMN_GRAPH_PLAN_H

#include "graph/graph.h"

enum { PLAN_ALIGN = 64 };
#define PLAN_OUTSIDE SIZE_MAX /* inputs, weights, what updates them, and views of those: not in the arena */

struct plan {
    size_t *offset;         /* per value number */
    int32_t *root;          /* per value: the value whose bytes it is (itself, or what it views, reuses or updates) */
    size_t *scratch_offset; /* per op */
    size_t arena_bytes;
};

/* scratch_bytes: per op, alive only while it runs. Invariants (plan_verify checks them, tests call it): two values that
 * live at the same time share no byte unless one is the other's root; offsets are multiples of PLAN_ALIGN; outputs live
 * to the end. Greedy by size: larger first, lowest offset that fits (Pisarchyk and Lee 2020, "greedy by size"). */
MUST_USE bool plan_make(struct plan *p, const struct graph *g, const size_t *scratch_bytes, struct err *e);
void plan_release(struct plan *p);
MUST_USE bool plan_verify(const struct plan *p, const struct graph *g, const size_t *scratch_bytes, struct err *e);

#endif
