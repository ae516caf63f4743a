/* limn dataset cache: what a training's frozen parts make of a data set, made before it. */
#include <stdio.h>

#include "cli/finetune_work.h"
#include "cli/progress_bar.h"

struct cache_args {
    struct finetune_args train; /* first: the rows that the trainings have say where they lie in it */
    struct option_texts words;
};

static const struct option cache_options[] = {
    OPTION_ROW_MODEL(struct finetune_args),
    { "vae", 0, OPTION_TEXT, FINETUNE_AT(vae), .value = "FILE", .help = "a file or folder whose VAE is taken in place of the model's" },
    OPTION_ROWS_PLACES(struct finetune_args),
    OPTION_ROWS_FINETUNE_DATA,
    { "epochs", 0, OPTION_INT, FINETUNE_AT(epochs), "1", .min = 1, .max = 1e6,
      .help = "rounds: with --random-crop, --random-flip and --shuffle-caption each has other cuts and words" },
    { "batch", 'b', OPTION_INT, FINETUNE_AT(batch), "1", .min = 1, .max = 4096, .help = "the training's, for --regular" },
    { "seed", 0, OPTION_INT, FINETUNE_AT(seed), "0", .min = 0, .max = 4294967295.0, .help = "the training's" },
    { "precision", 0, OPTION_CHOICE, FINETUNE_AT(precision), "auto", .choices = finetune_precision_choice,
      .help = "the training's; auto is bf16 where the processor has it", .group = "Memory and time" },
    OPTION_ROW_THREADS(struct finetune_args),
    OPTION_ROW_JSON(struct finetune_args),
    OPTION_ROW_QUIET(struct finetune_args),
    { 0 },
};

static bool cache_run(const void *args, struct err *e)
{
    struct cache_args a = *(const struct cache_args *)args;
    struct finetune_cached c;
    struct progress_bar bar;
    a.train.dataset = a.words.items[0];
    progress_bar_init(&bar, a.train.quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = finetune_cache(&a.train, &c, &progress, e);
    progress_bar_end(&bar);
    if (!good)
        return false;
    if (!a.train.json) {
        printf("%zu pictures with their words: %zu files made, %zu were there; in %s\n", c.pictures, c.made, c.there, c.folder);
        return true;
    }
    json_t *j = json_pack("{s:I,s:I,s:I,s:s}", "pictures", (json_int_t)c.pictures, "made", (json_int_t)c.made, "there",
                          (json_int_t)c.there, "folder", c.folder);
    bool written = j && json_dumpf(j, stdout, JSON_COMPACT) == 0 && putchar('\n') == '\n';
    json_decref(j);
    return written || err_nomem(e, "a line of JSON");
}

const struct command command_dataset_cache = {
    .name = "dataset cache",
    .help = "Encodes pictures and words once, so that trainings begin at once: latents and text states.",
    .details = "They are kept in the folder \"cache\" of the data set, where limn train lora looks for them: a file for each cut of a picture and "
               "for each text, named by the hash of the picture's bytes, the cut, the weights and the type. So nothing in it is ever wrong: "
               "what changes is made anew, what is there is taken, also after a stop. Give it the options of the training.",
    .words = "FOLDER", .words_place = offsetof(struct cache_args, words), .words_min = 1, .words_max = 1,
    .options = cache_options, .args_bytes = sizeof(struct cache_args), .run = cache_run,
};
