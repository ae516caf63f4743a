/* What the commands that put variants of a model to a test share: words, pictures, how it is drawn. */
#ifndef LIMN_CLI_TRIAL_ARGS_H
#define LIMN_CLI_TRIAL_ARGS_H

#include "cli/engine.h"
#include "cli/eval_output.h"
#include "cli/lora_args.h"
#include "cli/progress_bar.h"
#include "evaluate/trial.h"

struct trial_args {
    const char *prompts, *unrelated, *dataset, *style, *pictures, *sheet, *comfyui, *extra_model_paths, *by;
    int64_t count, held_out, timesteps, steps, side, batch, seed, threads;
    double cfg;
    int sampler, precision, split;
    struct eval_output_args out;
};

const char *trial_sampler_choice(int index);

/* Rows for a command whose arguments hold `struct trial_args trial`. by_initial: the measure that says what is best; count_initial: seeds. */
#define TRIAL_AT(type, member) offsetof(type, trial.member)
#define OPTION_ROWS_TRIAL(type, by_initial, count_initial)                                                             \
    { "prompts", 0, OPTION_TEXT, TRIAL_AT(type, prompts), .value = "FILE", .help = "words to draw, a line each",       \
      .group = "Test" },                                                                                               \
    { "count", 'c', OPTION_INT, TRIAL_AT(type, count), count_initial, .min = 1, .max = 1000,                           \
      .help = "seeds for each of the words" },                                                                         \
    { "seed", 's', OPTION_INT, TRIAL_AT(type, seed), "0", .min = 0, .max = 4294967295.0, .help = "of the first picture" }, \
    { "dataset", 'd', OPTION_TEXT, TRIAL_AT(type, dataset), .value = "FOLDER",                                         \
      .help = "pictures with words that the model was not taught: they are drawn from their words and compared, and give the held-out loss" }, \
    { "split", 0, OPTION_CHOICE, TRIAL_AT(type, split), "held-out", .choices = eval_split_choice,                      \
      .help = "which of its pictures" },                                                                               \
    { "held-out", 0, OPTION_INT, TRIAL_AT(type, held_out), "16", .min = 0, .max = 1000000,                             \
      .help = "so many of them, spread over the set; 0: all" },                                                        \
    { "timesteps", 0, OPTION_INT, TRIAL_AT(type, timesteps), "4", .min = 0, .max = 64,                                 \
      .help = "noise levels of each picture for the held-out loss; 0: no loss" },                                      \
    { "style", 0, OPTION_TEXT, TRIAL_AT(type, style), .value = "FOLDER",                                               \
      .help = "pictures whose look is the wanted one", .initial_help = "--dataset's" },                                \
    { "unrelated", 0, OPTION_TEXT, TRIAL_AT(type, unrelated), .value = "FILE",                                         \
      .help = "words that have nothing to do with what was taught, a line each: how much they change is the drift",    \
      .initial_help = "eight of limn's own; \"none\": not measured" },                                                 \
    { "best-by", 0, OPTION_TEXT, TRIAL_AT(type, by), by_initial, .value = "NAME", .help = "the measure that says which is best" }, \
    { "pictures", 0, OPTION_TEXT, TRIAL_AT(type, pictures), .value = "FOLDER", .help = "keep what is drawn, at full size" }, \
    { "steps", 0, OPTION_INT, TRIAL_AT(type, steps), "0", .min = 1, .max = SAMPLER_MAX_STEPS, .help = "denoising steps",\
      .initial_help = "the model's, or 20", .group = "Drawing" },                                                      \
    { "cfg", 0, OPTION_FLOAT, TRIAL_AT(type, cfg), "-1", .min = 0, .max = 1000, .help = "how closely the words are followed", \
      .initial_help = "the model's, or 7.5" },                                                                         \
    { "sampler", 0, OPTION_CHOICE, TRIAL_AT(type, sampler), "model", .choices = trial_sampler_choice,                  \
      .help = "how a step is taken" },                                                                                 \
    { "size", 0, OPTION_INT, TRIAL_AT(type, side), "0", .min = 8, .max = 4096, .help = "pixels of a side",             \
      .initial_help = "the model's" },                                                                                 \
    { "batch", 'b', OPTION_INT, TRIAL_AT(type, batch), "1", .min = 1, .max = 256, .help = "pictures in a denoiser call" }, \
    { "comfyui", 0, OPTION_TEXT, TRIAL_AT(type, comfyui), .value = "FOLDER",                                           \
      .help = "an installation of ComfyUI: models and LoRAs are found in it by name", .initial_help = "$LIMN_COMFYUI" }, \
    { "extra-model-paths", 0, OPTION_TEXT, TRIAL_AT(type, extra_model_paths), .value = "FILE",                         \
      .help = "more folders of models, in the form of ComfyUI's extra_model_paths.yaml",                               \
      .initial_help = "$LIMN_EXTRA_MODEL_PATHS" },                                                                     \
    OPTION_ROW_PRECISION_OF_TRIAL(type), OPTION_ROW_THREADS_OF_TRIAL(type),                                            \
    { "html", 0, OPTION_TEXT, TRIAL_AT(type, out.html), .value = "FILE", .group = "Output",                            \
      .help = "write a page with the pictures in it, one file that needs no other" },                                  \
    { "csv", 0, OPTION_TEXT, TRIAL_AT(type, out.csv), .value = "FILE", .help = "write the first table, all of its rows" }, \
    { "markdown", 0, OPTION_TEXT, TRIAL_AT(type, out.markdown), .value = "FILE",                                       \
      .help = "write facts and tables for a page in Markdown" },                                                       \
    { "sheet", 0, OPTION_TEXT, TRIAL_AT(type, sheet), .value = "FILE",                                                 \
      .help = "write a PNG of twelve rows of what was drawn: the held-out picture first, then a column for each" },    \
    { "json", 0, OPTION_FLAG, TRIAL_AT(type, out.json), .help = "one JSON line of facts on stdout" },                  \
    { "quiet", 'q', OPTION_FLAG, TRIAL_AT(type, out.quiet), .help = "no progress" }
#define OPTION_ROW_PRECISION_OF_TRIAL(type)                                                                            \
    { "precision", 0, OPTION_CHOICE, TRIAL_AT(type, precision), "auto", .choices = precision_choice,                   \
      .help = "what the models compute in; auto is bf16 where the processor has it" }
#define OPTION_ROW_THREADS_OF_TRIAL(type)                                                                              \
    { "threads", 't', OPTION_INT, TRIAL_AT(type, threads), "0", .min = 1, .max = 1024, .value = "N",                   \
      .help = "processor threads", .initial_help = "all cores" }

/* Everything a trial borrows. */
struct trial_work {
    struct engine engine;
    struct model_places places;
    struct trial_options options;
    struct trial_variant variants[TRIAL_MOST];
    char *texts[TRIAL_MOST * (1 + TRIAL_LORAS)]; /* paths that variants borrow; owned */
    size_t text_count;
    struct picture_set held_out, style;
    char *prompt_text, *unrelated_text;
    const char **prompts, **unrelated;
};
/* Backend, places, sets of pictures and words. Then variants are added. Release with trial_work_release (also after a failure). */
MUST_USE bool trial_work_open(struct trial_work *w, const struct trial_args *a, struct err *e);
void trial_work_release(struct trial_work *w);
/* A variant of a model that is found by its name or path (NULL: limn's own); *out is borrowed until the next one is added. */
MUST_USE bool trial_work_add(struct trial_work *w, const char *name, double at, const char *model, struct trial_variant **out,
                             struct err *e);
/* A LoRA for the variant: FILE, FILE:SCALE or FILE:UNET:TEXT. */
MUST_USE bool trial_work_lora(struct trial_work *w, struct trial_variant *v, const char *word, struct err *e);
/* Runs the trial and tells everything. command: its name; x_label: of the variants' `at`, or NULL. */
MUST_USE bool trial_work_run(struct trial_work *w, const struct trial_args *a, struct findings *f, const char *command,
                             const char *x_label, struct err *e);

#endif
