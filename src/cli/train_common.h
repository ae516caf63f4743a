/* What the training commands share: the options of a run, their arguments, and the backend. */
#ifndef LIMN_CLI_TRAIN_COMMON_H
#define LIMN_CLI_TRAIN_COMMON_H

#include "cli/commands.h"
#include "dataset/scene.h"
#include "train/trainer.h"

struct run_args {
    const char *dataset, *output, *config;
    int64_t size, steps, batch, accumulate, warmup, seed, log_every, save_every, sample_every, threads, stop_at;
    int64_t validate_every, keep_every, patience;
    double rate, decay, beta1, beta2, eps, clip, ema, final_rate, power, minutes, pair, placed, coloured;
    int64_t cycles;
    struct option_texts rates;
    struct option_settings settings;
    int optimizer, schedule, precision, export;
    bool resume, recompute, plan, profile, quiet;
};

const char *rate_schedule_choice(int index);
const char *train_precision_choice(int index);
const char *train_export_choice(int index);

/* Rows for the table of a command whose arguments hold `struct run_args run`. `rate_initial` and so on are the defaults. */
#define RUN_AT(type, member) offsetof(type, run.member)
#define OPTION_ROWS_RUN(type, size_initial, steps_initial, batch_initial, rate_initial, warmup_initial, decay_initial, \
                        ema_initial)                                                                                   \
    { "dataset", 'd', OPTION_TEXT, RUN_AT(type, dataset), .value = "FOLDER",                                           \
      .help = "pictures with metadata.jsonl or metadata.csv", .group = "Run" },                                        \
    { "output", 'o', OPTION_TEXT, RUN_AT(type, output), .value = "FOLDER", .help = "the run's folder" },               \
    { "config", 0, OPTION_TEXT, RUN_AT(type, config), .value = "FOLDER",                                               \
      .help = "configs in diffusers layout: <part>/config.json; with weights beside them training goes on from these" }, \
    OPTION_ROW_SETTINGS(RUN_AT(type, settings)),                                                                       \
    { "resume", 0, OPTION_FLAG, RUN_AT(type, resume), .help = "go on from the run's checkpoint, in the same bits" },   \
    { "steps", 0, OPTION_INT, RUN_AT(type, steps), steps_initial, .min = 1, .max = 1e9, .help = "optimizer steps" },   \
    { "minutes", 0, OPTION_FLOAT, RUN_AT(type, minutes), "0", .min = 0, .max = 1e6,                                    \
      .help = "save and stop after so long; 0: not" },                                                                 \
    { "stop-at", 0, OPTION_INT, RUN_AT(type, stop_at), "0", .min = 0, .max = 1e9,                                      \
      .help = "save and stop after this step; 0: not" },                                                               \
    { "seed", 0, OPTION_INT, RUN_AT(type, seed), "0", .min = 0, .max = 4294967295.0, .help = "of everything random" }, \
    { "log-every", 0, OPTION_INT, RUN_AT(type, log_every), "20", .min = 1, .max = 1e9, .help = "steps" },              \
    { "save-every", 0, OPTION_INT, RUN_AT(type, save_every), "500", .min = 1, .max = 1e9, .help = "steps" },           \
    { "sample-every", 0, OPTION_INT, RUN_AT(type, sample_every), "500", .min = 1, .max = 1e9, .help = "steps" },       \
    { "validate-every", 0, OPTION_INT, RUN_AT(type, validate_every), "500", .min = 1, .max = 1e9,                      \
      .help = "steps between measures of the loss on held-out pictures; the best model is kept in best/" },            \
    { "patience", 0, OPTION_INT, RUN_AT(type, patience), "0", .min = 0, .max = 1e9,                                    \
      .help = "end after so many of them without a new best; 0: never" },                                              \
    { "keep-every", 0, OPTION_INT, RUN_AT(type, keep_every), "0", .min = 0, .max = 1e9,                                \
      .help = "steps whose model stays in kept/; 0: none" },                                                           \
    { "profile", 0, OPTION_FLAG, RUN_AT(type, profile), .help = "print at the end where the time went, by kind of op" },\
    OPTION_ROW_THREADS_OF(type), OPTION_ROW_PLAN_OF(type), OPTION_ROW_QUIET_OF(type),                                  \
    { "size", 0, OPTION_INT, RUN_AT(type, size), size_initial, .min = 8, .max = 2048, .help = "pixels of a side",      \
      .group = "Pictures" },                                                                                           \
    { "pair", 0, OPTION_FLOAT, RUN_AT(type, pair), "0.3", .min = 0, .max = 1,                                          \
      .help = "share of scenes with two pictures side by side (worded datasets)" },                                    \
    { "placed", 0, OPTION_FLOAT, RUN_AT(type, placed), "0.15", .min = 0, .max = 1,                                     \
      .help = "share of scenes with a small or placed picture" },                                                      \
    { "coloured", 0, OPTION_FLOAT, RUN_AT(type, coloured), "0.3", .min = 0, .max = 1,                                  \
      .help = "share of scenes on a named background colour" },                                                        \
    { "batch", 'b', OPTION_INT, RUN_AT(type, batch), batch_initial, .min = 1, .max = 65536,                            \
      .help = "pictures at once", .group = "Optimizer" },                                                              \
    { "accumulate", 0, OPTION_INT, RUN_AT(type, accumulate), "1", .min = 1, .max = 65536,                              \
      .help = "batches per step" },                                                                                    \
    { "optimizer", 0, OPTION_CHOICE, RUN_AT(type, optimizer), "adamw", .choices = optimizer_name,                      \
      .help = "adamw8bit keeps a quarter of its state; lion wants a third of the rate; prodigy finds it: give it 1" }, \
    { "learning-rate", 0, OPTION_FLOAT, RUN_AT(type, rate), rate_initial, .min = 0, .max = 1, .help = "how far a step goes" },\
    { "rate-of", 0, OPTION_TEXTS, RUN_AT(type, rates), .value = "NAME=RATE",                                           \
      .help = "another rate for a part (text_encoder=1e-5) or for weights by a pattern (unet*attn2*=0: they stay)" },  \
    { "lr-schedule", 0, OPTION_CHOICE, RUN_AT(type, schedule), "cosine", .choices = rate_schedule_choice,              \
      .help = "how the rate falls after the warm-up" },                                                                \
    { "final-rate", 0, OPTION_FLOAT, RUN_AT(type, final_rate), "0.02", .min = 0, .max = 1,                             \
      .help = "where it ends, as a share of the rate" },                                                               \
    { "lr-cycles", 0, OPTION_INT, RUN_AT(type, cycles), "1", .min = 1, .max = 1e6,                                     \
      .help = "how often cosine-with-restarts begins" },                                                               \
    { "lr-power", 0, OPTION_FLOAT, RUN_AT(type, power), "1", .min = 0.01, .max = 100, .help = "of the polynomial" },   \
    { "warmup", 0, OPTION_INT, RUN_AT(type, warmup), warmup_initial, .min = 0, .max = 1e9, .help = "steps" },          \
    { "weight-decay", 0, OPTION_FLOAT, RUN_AT(type, decay), decay_initial, .min = 0, .max = 10,                        \
      .help = "share of the rate by which matrices shrink in a step" },                                                \
    { "beta1", 0, OPTION_FLOAT, RUN_AT(type, beta1), "0.9", .min = 0, .max = 0.9999, .help = "of the first moment" },  \
    { "beta2", 0, OPTION_FLOAT, RUN_AT(type, beta2), "0.99", .min = 0, .max = 0.999999, .help = "of the second moment" },\
    { "epsilon", 0, OPTION_FLOAT, RUN_AT(type, eps), "1e-8", .min = 0, .max = 1, .help = "added to the root of the second moment" },\
    { "max-grad-norm", 0, OPTION_FLOAT, RUN_AT(type, clip), "1", .min = 0, .max = 1e9,                                 \
      .help = "longer gradients are shortened to it; 0: off" },                                                        \
    { "ema", 0, OPTION_FLOAT, RUN_AT(type, ema), ema_initial, .min = 0, .max = 0.999999,                               \
      .help = "decay of the running mean of the weights, which is what is kept; 0: the weights as they are" },         \
    { "precision", 0, OPTION_CHOICE, RUN_AT(type, precision), "auto", .choices = train_precision_choice,               \
      .help = "of activations; weights and sums are f32" },                                                            \
    { "export", 0, OPTION_CHOICE, RUN_AT(type, export), "bf16", .choices = train_export_choice,                        \
      .help = "type of the weights in model/" },                                                                       \
    { "recompute", 0, OPTION_FLAG, RUN_AT(type, recompute),                                                            \
      .help = "compute inner activations twice instead of keeping them: less memory" }

/* Of every command that trains. */
#define OPTION_ROW_SETTINGS(place_)                                                                                    \
    { "settings", 0, OPTION_SETTINGS, place_, .value = "FILE",                                                         \
      .help = "TOML or JSON with values of these options by their names; a run's config.json repeats it" }

#define OPTION_ROW_THREADS_OF(type)                                                                                    \
    { "threads", 't', OPTION_INT, RUN_AT(type, threads), "0", .min = 1, .max = 1024, .value = "N",                     \
      .help = "processor threads", .initial_help = "all cores" }
#define OPTION_ROW_PLAN_OF(type)                                                                                       \
    { "plan", 0, OPTION_FLAG, RUN_AT(type, plan), .help = "print the planned memory by kind and stop" }
#define OPTION_ROW_QUIET_OF(type)                                                                                      \
    { "quiet", 'q', OPTION_FLAG, RUN_AT(type, quiet), .help = "no progress" }

/* Everything that is missing or contradicts: ERR_ARG. */
MUST_USE bool run_args_check(const struct run_args *a, struct err *e);
/* The run's options; texts are borrowed from a. *groups, which must live as long as the run, gets the rates of --rate-of. ERR_ARG
 * for one that cannot be read. */
struct run_groups {
    struct train_group at[OPTION_TEXTS_MAX];
    char pattern[OPTION_TEXTS_MAX][200];
    size_t count;
};
MUST_USE bool run_groups_read(struct run_groups *groups, const struct option_texts *rates, struct err *e);
MUST_USE bool run_options(const struct run_args *a, struct run_groups *groups, struct train_options *o, struct err *e);
struct scene_options run_scenes(const struct run_args *a);
/* f32 or bf16 for "auto" by what the backend can do fast. */
enum dtype run_type(const struct run_args *a, const struct backend *backend);
enum dtype run_export_type(const struct run_args *a);
/* Makes the run's folder and writes config.json into it: what was asked for, by option names. */
MUST_USE bool run_write_config(const struct command *command, const void *args, const char *folder, struct err *e);
/* The planned memory by kind, on stdout. */
void run_print_plan(const struct train_memory *m);

#endif
