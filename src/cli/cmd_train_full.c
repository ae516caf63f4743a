#include "cli/finetune_work.h"

/* Types that a folder's weights can have. */
static const char *export_choice(int index)
{
    return index >= 0 && index < 4 ? weights_type_choice(index) : NULL;
}

static const struct option full_options[] = {
    OPTION_ROWS_FINETUNE_MODEL,
    { "blocks", 0, OPTION_TEXT, FINETUNE_AT(blocks), .value = "NAMES",
      .help = "the denoiser's weights that learn, by patterns with commas between them: *attn2*, or up_blocks.*,mid_block.*",
      .initial_help = "all", .group = "Weights" },
    { "export", 0, OPTION_CHOICE, FINETUNE_AT(export), "keep", .choices = export_choice, .help = "type of the weights in model/" },
    OPTION_ROWS_FINETUNE_DATA,
    OPTION_ROWS_FINETUNE_RUN,
    OPTION_ROWS_FINETUNE_REPLAY,
    OPTION_ROWS_FINETUNE_OBJECTIVE,
    OPTION_ROWS_FINETUNE_MEMORY,
    { 0 },
};

static bool run(const void *args, struct err *e)
{
    struct finetune_args a = *(const struct finetune_args *)args;
    a.full = true;
    return finetune_command(&command_train_full, &a, e);
}

const struct command command_train_full = {
    .name = "train full",
    .help = "Teaches a model's own weights, all or chosen ones, from pictures.",
    .details = "The run's folder gets config.json, metrics.jsonl, curve.png, checkpoint.safetensors and model/, a whole diffusers folder. "
               "Weights and their state are f32: 16 bytes a weight, with --optimizer adamw8bit 10. Ctrl-C saves; --resume goes on in the "
               "same bits.",
    .options = full_options,
    .args_bytes = sizeof(struct finetune_args),
    .run = run,
};
