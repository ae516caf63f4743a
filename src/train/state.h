/* What a training changes: the weights in f32, the two moments of AdamW, the running mean of the weights (EMA), and the
 * gradients of the step being made.
 *
 * Each kind is one flat array, so that a step of the optimizer is one op over memory. The order in it: first the weights
 * that decay, then those that do not (biases, norms, embeddings); each begins at a multiple of 16 elements. */
#ifndef LIMN_TRAIN_STATE_H
#define LIMN_TRAIN_STATE_H

#include "model/layer/net.h"

enum state_kind { STATE_VALUE, STATE_MOMENT1, STATE_MOMENT2, STATE_EMA, STATE_GRADIENT, STATE_KINDS };

struct train_state {
    struct params params;       /* what is learned; owned */
    size_t *offset;             /* per param: first element */
    size_t count, decayed;      /* elements of an array; how many of them decay */
    float *array[STATE_KINDS];  /* mem_pages, `count` elements each, gaps are 0 */
};

/* Takes over params (p is empty afterwards). Weights that lie in a file (param.stored) begin as copies of it, the others by
 * their rule, drawn from Philox streams named by (seed, the weight's place in the list). EMA begins as the weights. */
MUST_USE bool state_init(struct train_state *s, struct params *p, uint64_t seed, struct err *e);
void state_release(struct train_state *s);
size_t state_bytes(const struct train_state *s);

/* Weight i in an array. */
struct tensor state_tensor(const struct train_state *s, enum state_kind kind, size_t i);
/* Binds every weight of params that a program's graph has to an array (values to train, EMA to look at). */
MUST_USE bool state_bind(const struct train_state *s, enum state_kind kind, struct program *program, struct err *e);

/* The whole state but the gradients, with facts beside it, atomically. */
MUST_USE bool state_save(const struct train_state *s, const char *path, const struct weights_pair *facts, size_t count,
                         struct err *e);
/* Reads it back bit for bit. ERR_SHAPE or ERR_MISSING if the file is of another model. */
MUST_USE bool state_load(struct train_state *s, const struct weights *file, struct err *e);

/* Writes the weights of one part ("unet") as a model file in `type`, names without the part. */
MUST_USE bool state_export(const struct train_state *s, enum state_kind kind, const char *part, const char *path,
                           enum dtype type, struct err *e);

#endif
