/* Runs a graph on ref with numbers that depend only on the names of its inputs and weights. */
#ifndef LIMN_TESTS_GRAPH_RUN_GRAPH_H
#define LIMN_TESTS_GRAPH_RUN_GRAPH_H

#include "graph/graph.h"

/* Takes over g (also when it fails). outs: values marked as outputs; results[i] is a new array of doubles, freed by the
 * caller. memory_bytes, if not NULL, gets the arena's size. Numbers are normal; i32 inputs are 0, 1, 0, 1, ... */
MUST_USE bool run_graph(struct graph *g, const struct value *outs, size_t count, double **results,
                        size_t *memory_bytes, struct err *e);

/* The same by the plainest way: op by op, every value in memory of its own; no program and no plan. */
MUST_USE bool run_graph_plainly(struct graph *g, const struct value *outs, size_t count, double **results,
                                struct err *e);

/* In the next runs `by` is added to element `at` of the input or weight with this name (borrowed); NULL turns it off. */
void run_graph_move(const char *name, int64_t at, double by);

/* How many ops of this kind (OP_NONE: of any) the graph still has. */
int count_ops(const struct graph *g, enum op op);

#endif
