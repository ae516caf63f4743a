/* limn dataset export: a data set in the layouts of other trainers. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "dataset/export.h"

struct export_args {
    struct option_texts words;
    const char *output, *concept;
    int layout, split;
    bool link, quiet;
};

#define AT(member) offsetof(struct export_args, member)
OPTION_CHOICES(layouts, "diffsynth", "csv", "jsonl", "kohya", "folder") /* as enum export_layout */
OPTION_CHOICES(splits, "train", "held-out", "all")                      /* as enum export_split */

static const struct option export_options[] = {
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "where the pictures and their list go" },
    { "layout", 'l', OPTION_CHOICE, AT(layout), "diffsynth", .choices = layouts,
      .help = "diffsynth: train/metadata.csv; csv, jsonl: a list beside the pictures; kohya: folders N_concept with .txt files; folder: "
              "pictures with .txt files" },
    { "split", 0, OPTION_CHOICE, AT(split), "train", .choices = splits, .help = "which pictures" },
    { "concept", 0, OPTION_TEXT, AT(concept), .value = "NAME", .help = "kohya: behind the N_ of a folder's name",
      .initial_help = "each picture's own, or the data set's name" },
    { "link", 0, OPTION_FLAG, AT(link), .help = "hard links in place of copies" },
    OPTION_ROW_QUIET(struct export_args),
    { 0 },
};

static bool export_run(const void *args, struct err *e)
{
    const struct export_args *a = args;
    const struct export_options o = { .to = a->output, .layout = (enum export_layout)a->layout, .split = (enum export_split)a->split,
                                      .concept = a->concept, .link = a->link };
    if (!a->output)
        return err_set(e, ERR_ARG, "--output is missing: the folder to export to");
    struct manifest *m = manifest_open(a->words.items[0], MANIFEST_READ, e);
    if (!m)
        return false;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    long count = 0;
    bool good = dataset_export(m, &o, &count, &progress, e);
    progress_bar_end(&bar);
    manifest_free(m);
    if (good)
        printf("%ld pictures in %s\n", count, o.to);
    return good;
}

const struct command command_dataset_export = {
    .name = "dataset export",
    .help = "Writes a data set in the layouts that other trainers read: DiffSynth's, kohya's, CSV, JSONL.",
    .details = "Pictures that are left out stay behind. The same command goes on after a stop.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = export_options, .args_bytes = sizeof(struct export_args), .run = export_run,
};
