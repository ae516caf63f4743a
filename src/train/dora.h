/* DoRA's norms: |W + scale B A| of each row, for every adapter with a magnitude, from the weights as they are at a step's beginning.
 * source  Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", eq. 5; PEFT takes the norms with the branch's scale. */
#ifndef LIMN_TRAIN_DORA_H
#define LIMN_TRAIN_DORA_H

#include "train/state.h"
#include "train/targets.h"

struct dora {
    struct program *program; /* NULL: no adapter has a magnitude */
    struct value *norms;     /* per adapter */
    const struct targets *targets; /* borrowed */
};

/* The state's pairs and the model's weights are borrowed. Release with dora_release. */
MUST_USE bool dora_init(struct dora *d, const struct targets *t, struct model_folder *model, const struct backend *backend,
                        const struct train_state *state, struct err *e);
void dora_release(struct dora *d);
/* Computes the norms, which stay as they are until the next call. */
MUST_USE bool dora_step(struct dora *d, struct err *e);
/* Gives them to a program that trains. */
MUST_USE bool dora_give(const struct dora *d, struct program *trains, struct err *e);
/* Magnitudes that lie in no file begin as the norms, so that the first step begins at the model with its pairs. */
MUST_USE bool dora_begin(struct dora *d, struct train_state *state, struct err *e);

#endif
