#include "cli/commands.h"

/* In the order of help. */
const struct command *const commands[] = {
    &command_generate,
    &command_tokenize,
    &command_pull,
    &command_bench,
    &command_dataset_import,
    &command_dataset_info,
    &command_dataset_export,
    &command_train_tokenizer,
    &command_train_vae,
    &command_train_base,
    &command_train_lora,
    &command_eval_images,
    &command_eval_vae,
    &command_eval_leak,
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
