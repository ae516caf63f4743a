/* The arguments of the fine-tuning commands (train lora, full, dreambooth), the rows of their tables, and what they mean to train/. */
#ifndef LIMN_CLI_FINETUNE_ARGS_H
#define LIMN_CLI_FINETUNE_ARGS_H

#include <math.h>

#include "cli/engine.h"
#include "cli/train_common.h"
#include "train/finetune.h"
#include "train/samples.h"

struct finetune_args {
    const char *model, *model_config, *vae, *comfyui, *extra_model_paths, *dataset, *output, *replay, *init_lora, *targets, *resolution,
        *cache, *masks, *regular;
    struct option_texts prompts, rates;
    struct option_settings settings;
    int optimizer, prediction, format, init, type, schedule, precision, loss, timesteps, buckets, frozen;
    int64_t rank, steps, epochs, keep_tokens, sample_every, sample_steps, batch, accumulate, warmup, seed, log_every, save_every,
        threads, stop_at, cycles, validate_every, patience, memory, bucket_least, bucket_most, bucket_step;
    double power, alpha, rate, text_rate, decay, beta1, beta2, eps, clip, ema, minutes, final_rate;
    double caption_dropout, regular_weight;
    double huber, min_snr, noise_offset, least, most, logit_mean, logit_deviation;
    bool center_crop, random_crop, flip, shuffle, sampled;
    bool dora, checkpointing, checkpoints_all, packed, resume, plan, json, quiet, profile, zero_snr;
    /* the course's (course.h); NULL, 0: not given */
    const char *unet_path, *text_path, *vae_path, *course_dataset, *course_output, *course_targets, *course_init, *strategy, *hub_model,
        *hub_token, *diary_mode;
    int64_t epoch_batches, height, width, course_batch, workers, course_accumulate, course_epochs;
    bool course_checkpointing, diary;
    bool full; /* whole weights learn */
    const char *words, *class_words; /* dreambooth: of every picture, and of the regular ones */
    int64_t prior_pictures;
    const char *blocks;
    int export;
    /* what the course means by it: no options */
    bool draws, size_ids, one_timestep;
    bool regular_planned; /* dreambooth: regular pictures will be drawn, but not for a plan */
    int64_t epoch_steps;
};

const char *finetune_loss_choice(int index);
const char *finetune_timesteps_choice(int index);
const char *finetune_format_choice(int index);
const char *finetune_init_choice(int index);
const char *finetune_type_choice(int index);
const char *finetune_buckets_choice(int index);
/* "auto", "f32", "bf16", then the names that Lightning has for them: "32", "16", "16-mixed", "bf16-mixed". */
const char *finetune_precision_choice(int index);
enum precision finetune_precision(int choice);

#define FINETUNE_AT(member) offsetof(struct finetune_args, member)
/* Which model, which data, where to. */
#define OPTION_ROWS_FINETUNE_MODEL                                                                                    \
    OPTION_ROW_MODEL(struct finetune_args),                                                                           \
    { "dataset", 'd', OPTION_TEXT, FINETUNE_AT(dataset), .value = "FOLDER", .help = "pictures with metadata.jsonl or metadata.csv" }, \
    { "output", 'o', OPTION_TEXT, FINETUNE_AT(output), .value = "FOLDER", .help = "the run's folder" }, \
    OPTION_ROW_SETTINGS(FINETUNE_AT(settings)),                                                                       \
    { "model-config", 0, OPTION_TEXT, FINETUNE_AT(model_config), .value = "FOLDER",                                   \
      .help = "configs and tokenizer of a model in a single file, from a folder in diffusers' layout",                \
      .initial_help = "those of its family" },                                                                        \
    { "vae", 0, OPTION_TEXT, FINETUNE_AT(vae), .value = "FILE", .help = "a file or folder whose VAE is taken in place of the model's" }, \
    { "prediction", 0, OPTION_CHOICE, FINETUNE_AT(prediction), "auto", .choices = prediction_choice,                  \
      .help = "what the denoiser predicts, where a file does not tell it truly" },                                    \
    OPTION_ROWS_PLACES(struct finetune_args)
/* Of pairs. */
#define OPTION_ROWS_FINETUNE_LORA                                                                                  \
    { "lora-rank", 0, OPTION_INT, FINETUNE_AT(rank), "0", .min = 1, .max = LORA_MAX_RANK, .help = "of each pair",     \
      .initial_help = "16, or --init-lora's", .group = "LoRA" },                                                      \
    { "lora-alpha", 0, OPTION_FLOAT, FINETUNE_AT(alpha), "0", .min = 1e-6, .max = 1e6, .help = "a pair counts alpha / rank", \
      .initial_help = "the rank, or --init-lora's" },                                                                 \
    { "lora-targets", 0, OPTION_TEXT, FINETUNE_AT(targets), .value = "NAMES",                                         \
      .help = "attention, linear, all (linear layers and convolutions), or ends of modules' names with commas between them", \
      .initial_help = "attention, or --init-lora's modules" },                                                        \
    { "dora", 0, OPTION_FLAG, FINETUNE_AT(dora), .help = "learn magnitudes, too (DoRA)" },                            \
    { "init-lora", 0, OPTION_TEXT, FINETUNE_AT(init_lora), .value = "FILE", .help = "begin with this LoRA" },         \
    { "init-lora-weights", 0, OPTION_CHOICE, FINETUNE_AT(init), "kaiming", .choices = finetune_init_choice, .help = "how pairs begin that begin anew" }, \
    { "lora-format", 0, OPTION_CHOICE, FINETUNE_AT(format), "kohya", .choices = finetune_format_choice, .help = "names in the file" }, \
    { "frozen-type", 0, OPTION_CHOICE, FINETUNE_AT(frozen), "keep", .choices = weights_type_choice,                   \
      .help = "of the denoiser's own large weights, which stay as they are: q8_0 takes half of bf16's memory, q4_0 a quarter" }, \
    { "lora-type", 0, OPTION_CHOICE, FINETUNE_AT(type), "f32", .choices = finetune_type_choice, .help = "type of the tensors in the file" }
/* Pictures and words. */
#define OPTION_ROWS_FINETUNE_DATA                                                                                     \
    { "resolution", 0, OPTION_TEXT, FINETUNE_AT(resolution), .value = "PIXELS",                                       \
      .help = "pictures are scaled to cover so many pixels and cut to them: 512, or 768x512", .initial_help = "the model's own", \
      .group = "Pictures and words" },                                                                                \
    { "buckets", 0, OPTION_CHOICE, FINETUNE_AT(buckets), "none", .choices = finetune_buckets_choice,                  \
      .help = "many sizes, each picture gets the one of its shape: sd-scripts' of --resolution, or SDXL's; a batch has pictures of one" }, \
    { "bucket-min", 0, OPTION_INT, FINETUNE_AT(bucket_least), "256", .min = 8, .max = 8192, .value = "PX", .help = "kohya: the shortest side" }, \
    { "bucket-max", 0, OPTION_INT, FINETUNE_AT(bucket_most), "2048", .min = 8, .max = 8192, .value = "PX", .help = "kohya: the longest side" }, \
    { "bucket-step", 0, OPTION_INT, FINETUNE_AT(bucket_step), "64", .min = 8, .max = 1024, .value = "PX", .help = "kohya: sides are multiples of it" }, \
    { "center-crop", 0, OPTION_FLAG, FINETUNE_AT(center_crop), .help = "cut around the middle: the default" },        \
    { "random-crop", 0, OPTION_FLAG, FINETUNE_AT(random_crop), .help = "cut somewhere, each time elsewhere" },        \
    { "random-flip", 0, OPTION_FLAG, FINETUNE_AT(flip), .help = "mirror half of the samples" },                       \
    { "sample-latents", 0, OPTION_FLAG, FINETUNE_AT(sampled), .help = "draw latents from the VAE's distribution in place of its mean" }, \
    { "caption-dropout", 0, OPTION_FLOAT, FINETUNE_AT(caption_dropout), "0", .min = 0, .max = 1, .help = "share of samples without words" }, \
    { "shuffle-caption", 0, OPTION_FLAG, FINETUNE_AT(shuffle), .help = "words between commas in another order each time" }, \
    { "keep-tokens", 0, OPTION_INT, FINETUNE_AT(keep_tokens), "0", .min = 0, .max = 100, .help = "so many of them stay at the beginning" }, \
    { "masks", 0, OPTION_TEXT, FINETUNE_AT(masks), .value = "FOLDER",                                                 \
      .help = "masks of the pictures' names, white where a place counts; \"alpha\": the pictures' own transparency" }, \
    { "regular", 0, OPTION_TEXT, FINETUNE_AT(regular), .value = "FOLDER",                                             \
      .help = "a data set of pictures of the same kind, learnt beside so that the kind stays what it is" },           \
    { "regular-weight", 0, OPTION_FLOAT, FINETUNE_AT(regular_weight), "1", .min = 0, .max = 100, .help = "how much those count" }, \
    { "cache", 0, OPTION_TEXT, FINETUNE_AT(cache), .value = "FOLDER", .help = "where latents and text states are kept, for other runs too", \
      .initial_help = "cache in the data set's folder if that is there, else in the run's" }
/* How long, how fast. */
#define OPTION_ROWS_FINETUNE_RUN                                                                                      \
    { "steps", 0, OPTION_INT, FINETUNE_AT(steps), "0", .min = 1, .max = 1e9, .help = "optimizer steps",               \
      .initial_help = "1000, or --epochs', or --replay's", .group = "Run" },                                          \
    { "epochs", 0, OPTION_INT, FINETUNE_AT(epochs), "0", .min = 1, .max = 1e6, .help = "rounds through the data set, in place of --steps", \
      .initial_help = "--steps" },                                                                                    \
    { "batch", 'b', OPTION_INT, FINETUNE_AT(batch), "1", .min = 1, .max = 4096, .help = "pictures at once" },         \
    { "accumulate", 0, OPTION_INT, FINETUNE_AT(accumulate), "1", .min = 1, .max = 65536, .help = "batches per step" }, \
    { "optimizer", 0, OPTION_CHOICE, FINETUNE_AT(optimizer), "adamw", .choices = optimizer_name,                      \
      .help = "adamw8bit keeps a quarter of its state; lion wants a third of the rate; prodigy finds it: give it 1" }, \
    { "learning-rate", 0, OPTION_FLOAT, FINETUNE_AT(rate), "-1", .min = 0, .max = 10, .help = "how far a step goes",  \
      .initial_help = "1e-4, where whole weights learn 1e-5, of prodigy 1" },                                                                         \
    { "rate-of", 0, OPTION_TEXTS, FINETUNE_AT(rates), .value = "NAME=RATE",                                           \
      .help = "another rate for a part (text_encoder_2=1e-5) or for weights by a pattern (unet*attn2*=0: they stay)" }, \
    { "text-learning-rate", 0, OPTION_FLOAT, FINETUNE_AT(text_rate), "0", .min = 0, .max = 10,                        \
      .help = "that of the text encoders; 0: they stay as they are" },                                                \
    { "weight-decay", 0, OPTION_FLOAT, FINETUNE_AT(decay), "0.01", .min = 0, .max = 10, .help = "share of the rate by which matrices shrink in a step" },          \
    { "beta1", 0, OPTION_FLOAT, FINETUNE_AT(beta1), "0.9", .min = 0, .max = 0.9999, .help = "of the first moment" },              \
    { "beta2", 0, OPTION_FLOAT, FINETUNE_AT(beta2), "0.999", .min = 0, .max = 0.999999, .help = "of the second moment" },          \
    { "epsilon", 0, OPTION_FLOAT, FINETUNE_AT(eps), "1e-8", .min = 0, .max = 1, .help = "added to the root of the second moment" },                  \
    { "max-grad-norm", 0, OPTION_FLOAT, FINETUNE_AT(clip), "-1", .min = 0, .max = 1e9,                                \
      .help = "longer gradients are shortened to it; 0: off", .initial_help = "1, with --replay 0" },                 \
    { "lr-schedule", 0, OPTION_CHOICE, FINETUNE_AT(schedule), "constant", .choices = rate_schedule_choice,            \
      .help = "how the rate falls after the warm-up" },                                                               \
    { "final-rate", 0, OPTION_FLOAT, FINETUNE_AT(final_rate), "0", .min = 0, .max = 1, .help = "where it ends, as a share of the rate" }, \
    { "lr-cycles", 0, OPTION_INT, FINETUNE_AT(cycles), "1", .min = 1, .max = 1e6, .help = "how often cosine-with-restarts begins" }, \
    { "lr-power", 0, OPTION_FLOAT, FINETUNE_AT(power), "1", .min = 0.01, .max = 100, .help = "of the polynomial" },   \
    { "warmup", 0, OPTION_INT, FINETUNE_AT(warmup), "0", .min = 0, .max = 1e9, .help = "steps" },                     \
    { "ema", 0, OPTION_FLOAT, FINETUNE_AT(ema), "0", .min = 0, .max = 0.999999,                                       \
      .help = "decay of a running mean of what is learnt, which is then what is kept; 0: none" },                     \
    { "seed", 0, OPTION_INT, FINETUNE_AT(seed), "0", .min = 0, .max = 4294967295.0, .help = "of everything random" }, \
    { "save-every", 0, OPTION_INT, FINETUNE_AT(save_every), "500", .min = 1, .max = 1e9, .help = "steps; each is kept" }, \
    { "log-every", 0, OPTION_INT, FINETUNE_AT(log_every), "10", .min = 1, .max = 1e9, .help = "steps" },              \
    { "validate-every", 0, OPTION_INT, FINETUNE_AT(validate_every), "250", .min = 1, .max = 1e9,                      \
      .help = "steps between measurements of the loss on held-out pictures; the best is kept as lora-best" },         \
    { "patience", 0, OPTION_INT, FINETUNE_AT(patience), "0", .min = 0, .max = 1e6,                                    \
      .help = "end the run after so many measurements without a new best; 0: not" },                                  \
    { "sample-every", 0, OPTION_INT, FINETUNE_AT(sample_every), "500", .min = 1, .max = 1e9,                          \
      .help = "steps between sample pictures, with the same noise each time" },                                       \
    { "sample-prompts", 0, OPTION_TEXTS, FINETUNE_AT(prompts), .value = "TEXT",                                       \
      .help = "words of a sample picture, or a file with a line for each; without it there are none" },               \
    { "sample-steps", 0, OPTION_INT, FINETUNE_AT(sample_steps), "0", .min = 1, .max = 1000, .help = "denoiser steps of a sample picture", \
      .initial_help = "the model's own" },                                                                            \
    { "resume", 0, OPTION_FLAG, FINETUNE_AT(resume), .help = "go on from the run's checkpoint, in the same bits" },   \
    { "stop-at", 0, OPTION_INT, FINETUNE_AT(stop_at), "0", .min = 0, .max = 1e9, .help = "save and stop after this step; 0: not" }, \
    { "minutes", 0, OPTION_FLOAT, FINETUNE_AT(minutes), "0", .min = 0, .max = 1e6, .help = "save and stop after so long; 0: not" }
#define OPTION_ROWS_FINETUNE_REPLAY                                                                                   \
    { "replay", 0, OPTION_TEXT, FINETUNE_AT(replay), .value = "FILE",                                                 \
      .help = "learn from the batches in this file in place of a dataset: latents, noise, timesteps, text states" }
/* What is taught. */
#define OPTION_ROWS_FINETUNE_OBJECTIVE                                                                                \
    { "loss", 0, OPTION_CHOICE, FINETUNE_AT(loss), "mse", .choices = finetune_loss_choice, .help = "how a mistake counts", .group = "Objective" }, \
    { "huber-c", 0, OPTION_FLOAT, FINETUNE_AT(huber), "0.1", .min = 1e-6, .max = 1e6, .help = "where the Huber loss turns from square to straight" }, \
    { "min-snr", 0, OPTION_FLOAT, FINETUNE_AT(min_snr), "0", .min = 0, .max = 1e6, .help = "gamma of min-SNR weighting; 0: off" }, \
    { "noise-offset", 0, OPTION_FLOAT, FINETUNE_AT(noise_offset), "0", .min = 0, .max = 10, .help = "of the noise's mean in each channel; 0: off" }, \
    { "zero-terminal-snr", 0, OPTION_FLAG, FINETUNE_AT(zero_snr), .help = "rescale the noise schedule so that the last timestep is all noise" }, \
    { "timesteps", 0, OPTION_CHOICE, FINETUNE_AT(timesteps), "uniform", .choices = finetune_timesteps_choice, .help = "how often each is learnt" }, \
    { "logit-mean", 0, OPTION_FLOAT, FINETUNE_AT(logit_mean), "0", .min = -20, .max = 20, .help = "of logit-normal: above 0 noisier timesteps" }, \
    { "logit-deviation", 0, OPTION_FLOAT, FINETUNE_AT(logit_deviation), "1", .min = 1e-3, .max = 20, .help = "of logit-normal" }, \
    { "least-timestep", 0, OPTION_FLOAT, FINETUNE_AT(least), "0", .min = 0, .max = 1, .help = "none below this share of all is learnt" }, \
    { "most-timestep", 0, OPTION_FLOAT, FINETUNE_AT(most), "1", .min = 0, .max = 1, .help = "none above" }
/* Memory and time, and what every command has. */
#define OPTION_ROWS_FINETUNE_MEMORY                                                                                   \
    { "precision", 0, OPTION_CHOICE, FINETUNE_AT(precision), "auto", .choices = finetune_precision_choice,            \
      .help = "what the model computes in; auto is bf16 where the processor has it", .group = "Memory and time" },    \
    { "gradient-checkpointing", 0, OPTION_FLAG, FINETUNE_AT(checkpointing),                                           \
      .help = "compute inner activations twice instead of keeping them, but for what convolutions and attention make: less memory, a little " \
              "more work" },                                                                                            \
    { "gradient-checkpointing-all", 0, OPTION_FLAG, FINETUNE_AT(checkpoints_all),                                     \
      .help = "all of them: least memory, a third more work" },                                                       \
    { "memory", 0, OPTION_SIZE, FINETUNE_AT(memory), "0", .min = 1, .max = INFINITY, .value = "SIZE",                 \
      .help = "what the run may take; what it gives up for that, in this order: --gradient-checkpointing, -all, smaller batches (--accumulate more " \
              "of them), frozen weights in bf16, AdamW's state in 8 bits, frozen weights in q8_0, in q4_0. Without it the first two only", \
      .initial_help = "what is free" },                                                                               \
    { "packed", 0, OPTION_FLAG, FINETUNE_AT(packed),                                                                  \
      .help = "keep a second copy of the model's weights in the order that the processor likes: faster where memory is no concern" }, \
    { "profile", 0, OPTION_FLAG, FINETUNE_AT(profile), .help = "print at the end where the time went, by kind of op" }, \
    OPTION_ROW_THREADS(struct finetune_args), OPTION_ROW_PLAN(struct finetune_args), OPTION_ROW_JSON(struct finetune_args), \
    OPTION_ROW_QUIET(struct finetune_args)

struct objective_options finetune_objective(const struct finetune_args *a);
/* *groups, which must outlive the run, gets the rates of --rate-of and, where text encoders learn, theirs. */
MUST_USE bool finetune_train_options(const struct finetune_args *a, int64_t steps, bool text, struct run_groups *groups,
                                     struct train_options *o, struct err *e);
struct sample_options finetune_samples(const struct finetune_args *a);
/* The sizes that pictures are cut to: of --buckets, or the one of --resolution; a square of `side` where that is not given. */
MUST_USE bool finetune_buckets(const struct finetune_args *a, int64_t side, struct buckets *out, struct err *e);
/* "512" or "768x512" -> width and height; without it a square of `side`. */
MUST_USE bool finetune_resolution(const char *text, int64_t side, int64_t *width, int64_t *height, struct err *e);

#endif
