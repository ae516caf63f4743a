/* Optimizers: from gradients to weights. One table (optimizer.c) says what each keeps of a weight and which ops make its step;
 * numbers of a step are in graph/ops.h beside the ops. */
#ifndef LIMN_TRAIN_OPTIMIZER_H
#define LIMN_TRAIN_OPTIMIZER_H

#include "graph/backend.h"
#include "train/state.h"

/* adamw      Loshchilov and Hutter 2019, as torch.optim.AdamW
 * adamw8bit  the same with moments of 8 bits in blocks of 256 (Dettmers et al. 2022), as bitsandbytes' AdamW8bit: weights of
 *            less than 4096 elements keep theirs in f32
 * lion       Chen et al. 2023, as lion-pytorch
 * adafactor  Shazeer and Stern 2018 with a rate from outside and no first moment, as transformers' Adafactor with scale_parameter,
 *            relative_step and warmup_init off: beta2 and epsilon are its own
 * prodigy    Mishchenko and Defazio 2024, as prodigyopt's Prodigy: it finds the rate itself, the rate given (1) multiplies it */
enum optimizer_kind { OPTIMIZER_ADAMW, OPTIMIZER_ADAMW8BIT, OPTIMIZER_LION, OPTIMIZER_ADAFACTOR, OPTIMIZER_PRODIGY, OPTIMIZERS };
const char *optimizer_name(int kind); /* "adamw"; NULL behind the last */
const struct state_plan *optimizer_state_plan(enum optimizer_kind kind);

struct optimizer;

struct optimizer_step {
    int64_t step;          /* 0 is the first */
    double factor;         /* of all rates: warm-up and schedule */
    double rate, beta1, beta2, eps, decay;
    double grad_scale;     /* gradients are multiplied with it: clipping, and the mean over batches */
    double ema_decay;
};

/* state and backend are borrowed; state was made with this kind's plan and these groups (borrowed too). ERR_ARG: prodigy with rates
 * that differ. */
MUST_USE struct optimizer *optimizer_new(const struct backend *backend, struct train_state *state, enum optimizer_kind kind,
                                         const struct train_group *groups, size_t group_count, struct err *e);
void optimizer_free(struct optimizer *o);
/* Moves the weights, the optimizer's slots and numbers, and the running mean by the gradients that state holds. */
MUST_USE bool optimizer_step(struct optimizer *o, const struct optimizer_step *with, struct err *e);
void optimizer_profile_text(const struct optimizer *o, struct text *out);

#endif
