/* limn dataset split: which pictures are held out of training. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "dataset/split.h"

struct split_args {
    struct option_texts words;
    double held_out;
    int64_t count, seed;
    const char *by;
    bool dry_run, json, quiet;
};

#define AT(member) offsetof(struct split_args, member)

static const struct option split_options[] = {
    { "held-out", 0, OPTION_FLOAT, AT(held_out), "0.1", .min = 0, .max = 1, .help = "the share to hold out, about; 0 takes a split back" },
    { "count", 'n', OPTION_INT, AT(count), "0", .min = 0, .max = 1e9, .help = "hold out exactly so many", .initial_help = "by share" },
    { "by", 0, OPTION_TEXT, AT(by), .value = "FIELD", .help = "pictures that agree in this field of the list stay together",
      .initial_help = "each picture for itself" },
    { "seed", 0, OPTION_INT, AT(seed), "0", .min = 0, .max = 9007199254740992.0, .help = "another one chooses others" },
    { "dry-run", 0, OPTION_FLAG, AT(dry_run), .help = "only tell what would be" },
    OPTION_ROW_JSON(struct split_args),
    OPTION_ROW_QUIET(struct split_args),
    { 0 },
};

static bool split_run(const void *args, struct err *e)
{
    const struct split_args *a = args;
    const struct split_options o = { .share = a->held_out, .count = a->count, .by = a->by, .seed = (uint64_t)a->seed };
    struct manifest *m = manifest_open(a->words.items[0], a->dry_run ? MANIFEST_READ : MANIFEST_CHANGE, e);
    if (!m)
        return false;
    struct split_result r;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = split_pictures(m, &o, &r, &progress, e) && (a->dry_run || manifest_save(m, e));
    progress_bar_end(&bar);
    manifest_free(m);
    if (good && a->json)
        printf("{\"train\":%ld,\"held_out\":%ld,\"changed\":%ld}\n", r.train, r.held_out, r.changed);
    else if (good)
        printf("%ld pictures to train on, %ld held out; %ld changed sides%s\n", r.train, r.held_out, r.changed,
               a->dry_run ? " (nothing was written)" : "");
    return good;
}

const struct command command_dataset_split = {
    .name = "dataset split",
    .help = "Chooses pictures to hold out of training, by a hash of what they are.",
    .details = "The same pictures are chosen whatever their order and names, also after a crop; copies of one picture stay on one side.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = split_options, .args_bytes = sizeof(struct split_args), .run = split_run,
};
