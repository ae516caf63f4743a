/* limn dataset import: pictures and captions from folders, lists and zip files. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "dataset/import.h"

struct import_args {
    struct option_texts words;
    const char *output, *name_column, *text_column;
    int layout;
    bool link, outside, json, quiet;
};

#define AT(member) offsetof(struct import_args, member)
OPTION_CHOICES(layouts, "auto", "list", "kohya", "folder") /* as enum import_layout */

static const struct option import_options[] = {
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "the data set's folder; pictures are copied into it",
      .initial_help = "the list is written beside the pictures" },
    { "layout", 'l', OPTION_CHOICE, AT(layout), "auto", .choices = layouts,
      .help = "list: metadata.jsonl or metadata.csv, also in train/; kohya: folders named N_name; folder: pictures with .txt or .caption "
              "files beside them" },
    { "link", 0, OPTION_FLAG, AT(link), .help = "hard links in place of copies" },
    { "name-column", 0, OPTION_TEXT, AT(name_column), .value = "NAME", .help = "of a list: where the picture is named",
      .initial_help = "file_name, file, filename, image, image_path or path" },
    { "text-column", 0, OPTION_TEXT, AT(text_column), .value = "NAME", .help = "of a list: where its caption is",
      .initial_help = "text, caption or prompt" },
    { "outside", 0, OPTION_FLAG, AT(outside), .help = "a list may name files outside its own folder" },
    OPTION_ROW_JSON(struct import_args),
    OPTION_ROW_QUIET(struct import_args),
    { 0 },
};

static bool print_result(const struct import_result *r, bool json, struct err *e)
{
    if (!json) {
        printf("%ld pictures taken, %ld were there, %ld skipped\n", r->taken, r->there, r->skipped);
        return true;
    }
    json_t *j = json_pack("{s:I,s:I,s:I,s:O}", "taken", (json_int_t)r->taken, "there", (json_int_t)r->there, "skipped",
                          (json_int_t)r->skipped, "reasons", r->reasons);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text)
        return err_nomem(e, "a line of JSON");
    puts(text);
    free(text);
    return true;
}

static bool import_run(const void *args, struct err *e)
{
    const struct import_args *a = args;
    const struct import_options o = { .from = a->words.items[0], .to = a->output, .layout = (enum import_layout)a->layout,
                                      .name_column = a->name_column, .text_column = a->text_column, .link = a->link,
                                      .outside = a->outside };
    struct import_result r;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = dataset_import(&o, &r, &progress, e);
    progress_bar_end(&bar);
    good = good && print_result(&r, a->json, e);
    if (good && !r.taken && !r.there)
        good = err_set(e, ERR_MISSING, "%s: not one picture could be taken", o.from);
    json_decref(r.reasons);
    return good;
}

const struct command command_dataset_import = {
    .name = "dataset import",
    .help = "Makes a data set of pictures and captions: a folder, a zip file, a list, kohya's or DiffSynth's layout.",
    .details = "Every picture gets a line in the data set's metadata.jsonl that says where it came from. What is there already is left alone, so "
               "the same command goes on after a stop. Files that are no pictures are skipped, each with its reason.\n"
               "A selection of the gallery is a data set as `limn gallery export` writes it.",
    .words = "FOLDER|FILE", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = import_options, .args_bytes = sizeof(struct import_args), .run = import_run,
};
