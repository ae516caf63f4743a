#include "cli/course.h"
#include "cli/finetune_work.h"

static const struct option lora_options[] = {
    OPTION_ROWS_FINETUNE_MODEL,
    OPTION_ROWS_FINETUNE_LORA,
    OPTION_ROWS_FINETUNE_DATA,
    OPTION_ROWS_FINETUNE_RUN,
    OPTION_ROWS_FINETUNE_REPLAY,
    OPTION_ROWS_FINETUNE_OBJECTIVE,
    OPTION_ROWS_FINETUNE_MEMORY,
    OPTION_ROWS_COURSE,
    { 0 },
};

static bool run(const void *args, struct err *e)
{
    struct finetune_args a = *(const struct finetune_args *)args;
    if (course_given(&a))
        return course_run(&command_train_lora, &a, e);
    return finetune_command(&command_train_lora, &a, e);
}

const struct command command_train_lora = {
    .name = "train lora",
    .help = "Teaches a model a style or a thing from a few pictures, as a LoRA.",
    .details = "The run's folder gets config.json, metrics.jsonl, curve.png, checkpoint.safetensors, lora.safetensors and a "
               "lora-step<step>.safetensors for every save. Ctrl-C saves; --resume goes on in the same bits.",
    .options = lora_options,
    .args_bytes = sizeof(struct finetune_args),
    .run = run,
};
