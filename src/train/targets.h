/* Which modules of a model a LoRA training changes, and with what it begins. */
#ifndef LIMN_TRAIN_TARGETS_H
#define LIMN_TRAIN_TARGETS_H

#include "model/family/folder.h"
#include "model/lora/lora.h"

struct target_options {
    /* "attention" (queries, keys, values and what follows them), "linear", "all" (linear layers and convolutions), or names of
     * modules with commas between them: each takes every module whose name ends in it, as PEFT ("to_out" also takes to_out.0).
     * NULL: those of `init`, or else attention. */
    const char *names;
    bool text;            /* text encoders learn, too */
    int64_t rank;         /* 0: that of init, or else 16 */
    double alpha;         /* a branch counts alpha / rank; 0: that of init, or else the rank */
    bool dora;            /* with DoRA's magnitudes */
    bool gaussian;        /* A begins normal with deviation 1 / rank */
    const char *init;     /* a LoRA file of any layout that the training begins with; NULL: none */
};

struct targets {
    struct lora_modules modules; /* of the parts that learn */
    struct adapter *list;        /* sorted by name; names are the modules' */
    struct adapters adapters;    /* over list, trained; for struct net */
    struct lora *init;           /* NULL: none */
    bool learns[PART_COUNT];     /* a module of this part is among them */
};

/* errors  ERR_ARG (a name that no module has; a rank that is not the init's), those of lora_open and lora_pair. Release with
 * targets_release. */
MUST_USE bool targets_init(struct targets *t, struct model_folder *model, const struct target_options *o, struct err *e);
void targets_release(struct targets *t);
/* Where params of role DOWN, UP or GAIN lie in the init file, they begin from there (param.stored). */
MUST_USE bool targets_begin(const struct targets *t, struct params *learnt, struct err *e);
/* The module behind adapter i. */
const struct lora_module *targets_module(const struct targets *t, size_t i);

#endif
