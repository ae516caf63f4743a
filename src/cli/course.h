/* The command line of DiffSynth-Studio 1's Kolors LoRA trainer (train_kolors_lora.py, which a well-known course uses), as it stands:
 * its flags, their defaults and what they did. Any of its flags picks its behaviour:
 *   - an epoch is --steps_per_epoch batches of pictures drawn at random, each time from all
 *   - latents are the VAE's mean, time ids the size of the cut and no crop, one timestep for a whole batch
 *   - AdamW at a constant rate, weight decay 0.01, no clipping, nothing left out of the words
 *   - the run is OUTPUT/lightning_logs/version_<N>, and each epoch's end leaves checkpoints/epoch=<E>-step=<S>.ckpt there, in
 *     DiffSynth's names, which hold no alpha
 * Latents and text states are made once here and not at every step; what comes of it is the same. */
#ifndef LIMN_CLI_COURSE_H
#define LIMN_CLI_COURSE_H

#include "cli/finetune_args.h"

#define OPTION_ROWS_COURSE                                                                                                             \
    { "pretrained-unet-path", 0, OPTION_TEXT, FINETUNE_AT(unet_path), .value = "FILE", .help = "Kolors' denoiser",                     \
      .group = "DiffSynth's Kolors trainer" },                                                                                         \
    { "pretrained-text-encoder-path", 0, OPTION_TEXT, FINETUNE_AT(text_path), .value = "FOLDER", .help = "ChatGLM3 with tokenizer.model" }, \
    { "pretrained-fp16-vae-path", 0, OPTION_TEXT, FINETUNE_AT(vae_path), .value = "FILE", .help = "SDXL's VAE" },                      \
    { "dataset-path", 0, OPTION_TEXT, FINETUNE_AT(course_dataset), .value = "FOLDER", .help = "holds train/metadata.csv: file_name, text" }, \
    { "output-path", 0, OPTION_TEXT, FINETUNE_AT(course_output), .value = "FOLDER", .help = "gets lightning_logs/version_<N>",         \
      .initial_help = "./" },                                                                                                          \
    { "lora-target-modules", 0, OPTION_TEXT, FINETUNE_AT(course_targets), .value = "NAMES", .help = "as --lora-targets",               \
      .initial_help = "to_q,to_k,to_v,to_out" },                                                                                       \
    { "pretrained-lora-path", 0, OPTION_TEXT, FINETUNE_AT(course_init), .value = "FILE", .help = "as --init-lora" },                   \
    { "steps-per-epoch", 0, OPTION_INT, FINETUNE_AT(epoch_batches), "0", .min = 1, .max = 1e9, .help = "batches of an epoch",          \
      .initial_help = "500" },                                                                                                         \
    { "max-epochs", 0, OPTION_INT, FINETUNE_AT(course_epochs), "0", .min = 1, .max = 1e6, .help = "epochs", .initial_help = "1" },     \
    { "height", 0, OPTION_INT, FINETUNE_AT(height), "0", .min = 8, .max = 8192, .help = "pixels", .initial_help = "1024" },            \
    { "width", 0, OPTION_INT, FINETUNE_AT(width), "0", .min = 8, .max = 8192, .help = "pixels", .initial_help = "1024" },              \
    { "batch-size", 0, OPTION_INT, FINETUNE_AT(course_batch), "0", .min = 1, .max = 4096, .help = "as --batch", .initial_help = "1" }, \
    { "accumulate-grad-batches", 0, OPTION_INT, FINETUNE_AT(course_accumulate), "0", .min = 1, .max = 65536,                           \
      .help = "as --accumulate; divides --steps-per-epoch", .initial_help = "1" },                                                     \
    { "use-gradient-checkpointing", 0, OPTION_FLAG, FINETUNE_AT(course_checkpointing), .help = "as --gradient-checkpointing" },        \
    { "dataloader-num-workers", 0, OPTION_INT, FINETUNE_AT(workers), "-1", .min = 0, .max = 1024,                                      \
      .help = "of no effect: pictures are encoded before the first step", .initial_help = "0" },                                       \
    { "training-strategy", 0, OPTION_TEXT, FINETUNE_AT(strategy), .value = "NAME",                                                     \
      .help = "of no effect: --plan and --gradient-checkpointing are what fits a model into memory here", .initial_help = "auto" },    \
    { "modelscope-model-id", 0, OPTION_TEXT, FINETUNE_AT(hub_model), .value = "NAME", .help = "of no effect: nothing is uploaded" },   \
    { "modelscope-access-token", 0, OPTION_TEXT, FINETUNE_AT(hub_token), .value = "TEXT", .help = "of no effect, and kept nowhere" },  \
    { "use-swanlab", 0, OPTION_FLAG, FINETUNE_AT(diary), .help = "of no effect: metrics.jsonl and curve.png have the losses" },        \
    { "swanlab-mode", 0, OPTION_TEXT, FINETUNE_AT(diary_mode), .value = "NAME", .help = "of no effect" }

/* Whether one of its own flags was given. */
bool course_given(const struct finetune_args *a);
/* Runs as its trainer would; a is changed to what that means. */
MUST_USE bool course_run(const struct command *command, struct finetune_args *a, struct err *e);

#endif
