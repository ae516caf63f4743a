/* The gradients of several processes (base/ranks.h) become their sum while the backward pass still runs: the flat array is cut into
 * pieces of whole weights, and a piece goes out as soon as the last of its gradients is there. */
#ifndef LIMN_TRAIN_SHARE_H
#define LIMN_TRAIN_SHARE_H

#include "base/ranks.h"
#include "train/state.h"

struct share;
/* All are borrowed; each program adds to the gradients by ops that update "gradient/<name>". Of several, which run in turn, processes may
 * run different ones at the same time: pieces go in the order of the first. */
MUST_USE struct share *share_new(struct ranks *ranks, const struct train_state *state, struct program *const *programs, size_t count,
                                 struct err *e);
void share_free(struct share *s);
size_t share_bytes(const struct share *s);
/* Runs program `which` of them (the last one before the optimizer's step), and then all gradients are sums. */
MUST_USE bool share_run(struct share *s, size_t which, struct err *e);

/* The state of process 0 to all others. */
MUST_USE bool share_state(struct ranks *ranks, struct train_state *state, struct err *e);

#endif
