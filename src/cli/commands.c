#include "cli/commands.h"

/* In the order of help. */
const struct command *const commands[] = {
    &command_generate,
    &command_run,
    &command_tokenize,
    &command_pull,
    &command_bench,
    &command_train_tokenizer,
    &command_train_vae,
    &command_train_base,
    &command_eval_images,
    &command_eval_report,
    &command_models,
    &command_model_info,
    &command_model_convert,
    &command_model_merge,
    &command_model_bake,
    &command_help,
    &command_version,
    &command_completion,
    NULL,
};
