/* Two or three models into one, number by number, as a stream. */
#ifndef LIMN_MODEL_FAMILY_MERGE_H
#define LIMN_MODEL_FAMILY_MERGE_H

#include "base/progress.h"
#include "tensor/tensor.h"

enum { MERGE_MOST_BLOCKS = 64 };

/* Files of weights with the same names (single files; LoRAs, VAEs too): all borrowed.
 *   a (1 - weight) + b weight      without c
 *   a + weight (b - c)             with c: what was learnt on the way from c to b, added
 * In f32, then in the type of a's tensor or in `type`. A tensor that b or c lack stays a's, and is told in a line of progress; so
 * does what is no floating-point number.
 * blocks: a weight for each block of the UNet in the order input_blocks, middle_block, output_blocks; for every other tensor
 * (text encoders, VAE, the UNet's ends) `weight`. */
struct merge {
    const char *a, *b, *c; /* c: NULL for the weighted sum */
    const char *output;    /* must not be there */
    double weight;
    enum dtype type;       /* DTYPE_COUNT: as in a */
    double blocks[MERGE_MOST_BLOCKS];
    size_t block_count;    /* 0: none */
};

/* errors  those of opening; ERR_ARG (the output is there; another number of blocks than the UNet has; blocks without a UNet);
 *         ERR_SHAPE (a tensor has other sizes in b or c), ERR_MISSING (b has none of a's tensors), and those of writing. */
MUST_USE bool model_merge(const struct merge *m, const struct progress *progress, struct err *e);

#endif
