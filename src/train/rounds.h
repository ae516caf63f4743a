/* Which entries of a data set come in which batch. A batch holds entries of one shape (an aspect bucket). In a round every entry comes
 * once, in a new order; the last batch of a shape is filled up from the beginning of that shape's. All of it is a function of the seed and
 * of the batch's number. */
#ifndef LIMN_TRAIN_ROUNDS_H
#define LIMN_TRAIN_ROUNDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rounds {
    uint64_t seed;
    int64_t batch;     /* entries in a batch */
    bool draws;        /* no rounds: every entry is drawn from all, the others of its batch from those of the first one's shape */
    size_t count;      /* entries */
    const int32_t *shape; /* [count]; borrowed */
    size_t shapes, *first; /* [shapes + 1]: entries of shape s are order[first[s]..first[s + 1]) */
    size_t batches;    /* of a round */
    uint32_t *order, *shuffled; /* [count], in round `round`: by shape, and before that */
    struct round_batch {
        uint32_t shape, number; /* batch `number` of its shape */
    } *at;             /* [batches], in round `round` */
    int64_t round;
};

/* shape[i] < shapes, count and shapes at least 1. ERR_LIMIT for more than 2^32 entries. Release with rounds_release, also after a
 * failure. */
MUST_USE bool rounds_init(struct rounds *r, const int32_t *shape, size_t count, size_t shapes, int64_t batch, bool draws, uint64_t seed,
                          struct err *e);
void rounds_release(struct rounds *r);
/* The shape of a batch of the run, and its entry i < batch. */
size_t rounds_shape(struct rounds *r, int64_t batch);
size_t rounds_entry(struct rounds *r, int64_t batch, int64_t i);

#endif
