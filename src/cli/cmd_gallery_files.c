/* limn gallery import, export and learn. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/gallery_args.h"
#include "cli/progress_bar.h"
#include "image/image.h"
#include "jobs/keep.h"
#include "jobs/learn.h"

struct files_args {
    struct option_texts words, ids, search;
    struct gallery_query_args query;
    const char *database, *gallery_folder, *user;
    bool json, quiet;
};
#define AT(member) offsetof(struct files_args, member)

static const struct option import_options[] = {
    OPTION_ROWS_GALLERY(struct files_args),
    OPTION_ROW_GALLERY_USER(struct files_args),
    OPTION_ROW_JSON(struct files_args),
    OPTION_ROW_QUIET(struct files_args),
    { 0 },
};

static bool import_run(const void *args, struct err *e)
{
    const struct files_args *a = args;
    struct gallery_place place;
    struct progress_bar bar;
    struct import_count count = { 0 };
    if (!image_init(e) || !gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = true;
    for (int i = 0; good && i < a->words.count; i++)
        good = keep_folder(place.store, place.folder, a->words.items[i], gallery_owner(a->user), &progress, &count, e);
    progress_bar_end(&bar);
    gallery_place_close(&place);
    if (good && a->json)
        return gallery_print_new(json_pack("{s:I,s:I,s:I}", "added", (json_int_t)count.added, "known", (json_int_t)count.known, "refused",
                                       (json_int_t)count.refused), e);
    if (count.added + count.known + count.refused || good)
        printf("%lld added, %lld known already, %lld left out\n", (long long)count.added, (long long)count.known, (long long)count.refused);
    return good;
}

const struct command command_gallery_import = {
    .name = "gallery import", .help = "Copies pictures, and folders of them, into the gallery.",
    .details = "How a picture was made is read from its file: from what limn, stable-diffusion-webui (parameters) and ComfyUI (prompt, workflow) "
               "write into PNG, JPEG (EXIF, XMP, comment) and WebP files. A picture that is there already is not added again.",
    .words = "FOLDER...", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = import_options, .args_bytes = sizeof(struct files_args), .run = import_run,
};

static const struct option export_options[] = {
    { "id", 'i', OPTION_TEXTS, AT(ids), .value = "ID", .help = "these pictures, in place of all" },
    { "search", 's', OPTION_TEXTS, AT(search), .value = "TEXT", .help = "only pictures with these words, as limn gallery search finds them" },
    OPTION_ROWS_QUERY(struct files_args, "0", 'l'),
    OPTION_ROWS_GALLERY(struct files_args),
    OPTION_ROW_GALLERY_USER(struct files_args),
    OPTION_ROW_JSON(struct files_args),
    OPTION_ROW_QUIET(struct files_args),
    { 0 },
};

static bool export_run(const void *args, struct err *e)
{
    const struct files_args *a = args;
    struct gallery_place place;
    struct progress_bar bar;
    struct gallery_query query;
    struct text words;
    int64_t *ids = NULL, count = 0;
    size_t id_count = 0;
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    text_init(&words, 1 << 16);
    gallery_query_of(&query, &a->query, a->user, &a->search, &words);
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = text_ok(&words, e) && (!a->ids.count || gallery_ids(place.store, a->user, &a->ids, &ids, &id_count, e)) &&
                keep_export(place.store, place.folder, &query, ids, id_count, a->words.items[0], &progress, &count, e);
    progress_bar_end(&bar);
    gallery_place_close(&place);
    text_release(&words);
    mem_free(ids);
    if (good && a->json)
        return gallery_print_new(json_pack("{s:I}", "exported", (json_int_t)count), e);
    if (good)
        printf("%lld exported to %s\n", (long long)count, a->words.items[0]);
    return good;
}

const struct command command_gallery_export = {
    .name = "gallery export", .help = "Writes pictures of the gallery, with all that is known of them, into a folder.",
    .details = "The folder gets the pictures' files and metadata.jsonl, a line a picture, with file_name and text: it is a data set that limn "
               "can train on.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = export_options, .args_bytes = sizeof(struct files_args), .run = export_run,
};

/* Trainings are everybody's. */
static const struct option learn_options[] = {
    OPTION_ROWS_GALLERY(struct files_args),
    OPTION_ROW_JSON(struct files_args),
    OPTION_ROW_QUIET(struct files_args),
    { 0 },
};

static bool learn_runs(const void *args, struct err *e)
{
    const struct files_args *a = args;
    struct gallery_place place;
    struct progress_bar bar;
    struct learnt_count count = { 0 }, one;
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = true;
    for (int i = 0; good && i < a->words.count; i++) {
        good = learn_run(place.store, a->words.items[i], &progress, &one, e);
        count.pictures += good ? one.pictures : 0;
        count.weights += good ? one.weights : 0;
    }
    progress_bar_end(&bar);
    gallery_place_close(&place);
    if (good && a->json)
        return gallery_print_new(json_pack("{s:I,s:I}", "pictures", (json_int_t)count.pictures, "weights", (json_int_t)count.weights), e);
    if (good)
        printf("%lld pictures learnt from, %lld files of weights\n", (long long)count.pictures, (long long)count.weights);
    return good;
}

const struct command command_gallery_learn = {
    .name = "gallery learn", .help = "Notes what training runs learnt from and made, for lineage.",
    .details = "limn gallery show ID --lineage then leads from a picture to its LoRA or model, the run and step that made it and the pictures it "
               "learnt from, and limn gallery show training:HASH --lineage back.",
    .words = "FOLDER...", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = learn_options, .args_bytes = sizeof(struct files_args), .run = learn_runs,
};
