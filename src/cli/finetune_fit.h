/* What a fine-tuning gives up so that it fits into memory, one thing after another, until it does:
 *
 *   1 inner activations are computed twice, first those that are cheap, then all: the same bits, up to a third more work
 *   2 smaller batches, as many more of them in a step   the same step but for rounding, slower
 *   3 frozen f32 weights become bf16                    where the model computes in bf16
 *   4 AdamW keeps its state in 8 bits
 *   5 frozen weights become q8_0
 *   6 frozen weights become q4_0
 *
 * 1 and 2 do not change what is learnt, so free memory is reason enough; the others want --memory. What saves less than a hundredth is
 * left out. A run's choice is kept in its folder, in fit.json; a run that goes on keeps to it,
 * but for 1. */
#ifndef LIMN_CLI_FINETUNE_FIT_H
#define LIMN_CLI_FINETUNE_FIT_H

#include "base/json.h"
#include "cli/finetune_args.h"

/* What may be asked of this run. */
struct fit_options {
    bool batches;          /* their number can be changed: they do not come from a file */
    bool lora;             /* the model's own weights are frozen */
    enum dtype frozen;     /* type of most of them in their file */
    enum dtype computes;   /* of activations */
    size_t room;           /* bytes that weights, activations and state may take together; 0: as much as they need */
    bool asked;            /* by --memory */
    struct ranks *ranks;   /* all processes choose what the first does; borrowed */
};

enum { FIT_MOST = 16 };
struct fit {
    char said[FIT_MOST][160]; /* what was chosen and why, a line each */
    int count;
};

/* Changes a until what `make` makes of it fits, or nothing is left to give up; *fits says which. make plans the run as a says and gives
 * the bytes it takes. */
MUST_USE bool fit_choose(struct fit *f, struct finetune_args *a, const struct fit_options *o,
                         bool (*make)(void *self, size_t *bytes, struct err *e), void *self, bool *fits, struct err *e);

/* Keeps in a run's folder what was chosen and not asked for; or takes over what is kept there: *recalled. */
MUST_USE bool fit_keep(const struct finetune_args *asked, const struct finetune_args *chosen, const char *folder, struct err *e);
MUST_USE bool fit_recall(struct finetune_args *a, const char *folder, bool *recalled, struct err *e);

#endif
