/* Passes over a graph. Each leaves a graph that graph_verify accepts. */
#ifndef LIMN_GRAPH_PASSES_H
#define LIMN_GRAPH_PASSES_H

#include "graph/graph.h"

/* Joins ops where the result stays the same and a trip through memory is saved:
 *   group_norm, silu -> group_norm with act       (has a gradient of its own)
 *   matmul or conv2d, add -> residual input       (the gradient passes through)
 *   matmul or conv2d, unary -> act                (only with `forward_only`: the gradient needs what lies between)
 * Call it before graph_gradient with forward_only false, or for inference with true. */
void graph_fuse(struct graph *g, bool forward_only);

/* Removes ops whose results nobody reads. */
void graph_prune(struct graph *g);

/* Moves each sum into a weight that nothing else reads (gradients that are accumulated) right behind the op that makes what is added, so
 * that it need not be kept until the graph's end. Where weights themselves learn that is as much memory as they take. */
void graph_hoist(struct graph *g);

/* RECOMPUTE_CHEAP keeps what attention, convolutions and wide products make: most of the work in a small part of the memory. (true is
 * RECOMPUTE_ALL.) */
enum recompute { RECOMPUTE_NONE, RECOMPUTE_ALL, RECOMPUTE_CHEAP };

/* Appends the ops that compute d loss / d wrt[i] for a loss of one element, by the rules of op.def in reverse order.
 *   grads[i] is VALUE_NONE if the loss does not depend on wrt[i].
 *   recompute: which values made inside blocks are computed again in the backward pass instead of kept.
 * errors: ERR_SHAPE if loss has more than one element, ERR_TYPE naming an op on the way that has no gradient. */
MUST_USE bool graph_gradient(struct graph *g, struct value loss, const struct value *wrt, size_t count, enum recompute recompute,
                             struct value *grads, struct err *e);

#endif
