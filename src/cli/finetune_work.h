/* A fine-tuning from its arguments to its end: what every such command does. */
#ifndef LIMN_CLI_FINETUNE_WORK_H
#define LIMN_CLI_FINETUNE_WORK_H

#include "cli/finetune_args.h"

/* command: whose table the settings are told by. */
MUST_USE bool finetune_command(const struct command *command, const struct finetune_args *a, struct err *e);

#endif
