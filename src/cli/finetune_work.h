/* A fine-tuning from its arguments to its end: what every such command does. */
#ifndef LIMN_CLI_FINETUNE_WORK_H
#define LIMN_CLI_FINETUNE_WORK_H

#include "cli/finetune_args.h"

/* command: whose table the settings are told by. */
MUST_USE bool finetune_command(const struct command *command, const struct finetune_args *a, struct err *e);

/* What a fine-tuning with these arguments would make of its data set before its first step, made now and kept where it will look for
 * it: in a->cache, else in "cache" in the data set's folder. Of the arguments those of the model, the pictures and the words count, the
 * seed and epochs: so many rounds' samples. Stoppable, and goes on. */
struct finetune_cached {
    size_t pictures, made, there; /* made, there: files, one for each cut of a picture and for each text */
    char folder[4096];
};
MUST_USE bool finetune_cache(const struct finetune_args *a, struct finetune_cached *out, const struct progress *progress,
                             struct err *e);

#endif
