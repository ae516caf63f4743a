#include "cli/course.h"
#include "cli/finetune_work.h"

static const char *format_choice(int index)
{
    return index >= 0 && index < LORA_LAYOUTS ? lora_layout_names[index] : NULL;
}

OPTION_CHOICES(init_choice, "kaiming", "gaussian")
OPTION_CHOICES(type_choice, "f32", "bf16", "f16")

static const struct option lora_options[] = {
    OPTION_ROWS_FINETUNE_MODEL,
    { "lora-rank", 0, OPTION_INT, FINETUNE_AT(rank), "0", .min = 1, .max = LORA_MAX_RANK, .help = "of each pair",
      .initial_help = "16, or --init-lora's", .group = "LoRA" },
    { "lora-alpha", 0, OPTION_FLOAT, FINETUNE_AT(alpha), "0", .min = 1e-6, .max = 1e6, .help = "a pair counts alpha / rank",
      .initial_help = "the rank, or --init-lora's" },
    { "lora-targets", 0, OPTION_TEXT, FINETUNE_AT(targets), .value = "NAMES",
      .help = "attention, linear, all (linear layers and convolutions), or ends of modules' names with commas between them",
      .initial_help = "attention, or --init-lora's modules" },
    { "dora", 0, OPTION_FLAG, FINETUNE_AT(dora), .help = "learn magnitudes, too (DoRA)" },
    { "init-lora", 0, OPTION_TEXT, FINETUNE_AT(init_lora), .value = "FILE", .help = "begin with this LoRA" },
    { "init-lora-weights", 0, OPTION_CHOICE, FINETUNE_AT(init), "kaiming", .choices = init_choice, .help = "how pairs begin that begin anew" },
    { "lora-format", 0, OPTION_CHOICE, FINETUNE_AT(format), "kohya", .choices = format_choice, .help = "names in the file" },
    { "lora-type", 0, OPTION_CHOICE, FINETUNE_AT(type), "f32", .choices = type_choice, .help = "type of the tensors in the file" },
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
