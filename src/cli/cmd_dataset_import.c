/* limn dataset import: pictures and captions from folders, lists, zip files and the gallery. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/gallery_args.h"
#include "cli/json_line.h"
#include "cli/progress_bar.h"
#include "dataset/import.h"

struct import_args {
    struct option_texts words;
    const char *output, *name_column, *text_column, *gallery, *database, *gallery_folder, *user;
    struct gallery_query_args query;
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
    { "gallery", 'g', OPTION_TEXT, AT(gallery), .value = "WORDS", .group = "from the gallery",
      .help = "its pictures with these words, as limn gallery search finds them; \"\": all that --where lets through" },
    OPTION_ROWS_QUERY(struct import_args, "0", 0),
    OPTION_ROWS_GALLERY(struct import_args),
    OPTION_ROW_GALLERY_USER(struct import_args),
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
    return json_line(j, JSON_COMPACT, e);
}

static bool import_pictures(const struct import_args *a, const struct import_options *o, struct err *e)
{
    struct import_result r;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = dataset_import(o, &r, &progress, e);
    progress_bar_end(&bar);
    good = good && print_result(&r, a->json, e);
    if (good && !r.taken && !r.there)
        good = err_set(e, ERR_MISSING, "%s: not one picture could be taken", o->from ? o->from : "the gallery");
    json_decref(r.reasons);
    return good;
}

static bool import_gallery(const struct import_args *a, struct import_options *o, struct err *e)
{
    struct gallery_place place;
    struct text words;
    const struct option_texts searched = { .items = { a->gallery }, .count = 1 };
    struct import_gallery gallery = { 0 };
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    text_init(&words, 1 << 16);
    gallery.store = place.store;
    gallery.folder = place.folder;
    gallery_query_of(&gallery.query, &a->query, a->user, &searched, &words);
    o->gallery = &gallery;
    bool good = text_ok(&words, e) && import_pictures(a, o, e);
    gallery_place_close(&place);
    text_release(&words);
    return good;
}

static bool import_run(const void *args, struct err *e)
{
    const struct import_args *a = args;
    struct import_options o = { .from = a->words.count ? a->words.items[0] : NULL, .to = a->output, .layout = (enum import_layout)a->layout,
                                .name_column = a->name_column, .text_column = a->text_column, .link = a->link, .outside = a->outside };
    if ((o.from != NULL) == (a->gallery != NULL))
        return err_set(e, ERR_ARG, "say one place that pictures come from: a folder or file, or --gallery WORDS");
    return a->gallery ? import_gallery(a, &o, e) : import_pictures(a, &o, e);
}

const struct command command_dataset_import = {
    .name = "dataset import",
    .help = "Makes a data set of pictures and captions: a folder, a zip file, a list, kohya's or DiffSynth's layout, or a selection of the "
            "gallery.",
    .details = "Every picture gets a line in the data set's metadata.jsonl that says where it came from. What is there already is left alone, so "
               "the same command goes on after a stop. Files that are no pictures are skipped, each with its reason.\n"
               "Pictures of the gallery have their words as captions, and what else is known of them in the field gallery: "
               "limn dataset import --gallery apple --where \"rating>=4\" --output apples.",
    .words = "FOLDER|FILE", .words_place = AT(words), .words_min = 0, .words_max = 1,
    .options = import_options, .args_bytes = sizeof(struct import_args), .run = import_run,
};
