/* limn dataset crop, limn dataset resize: pictures scaled and cut for training, beside their originals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/progress_bar.h"
#include "dataset/reshape.h"

/* What both have. */
struct output_args {
    const char *into;
    int64_t quality, threads;
    int format;
    bool trim, enlarge, undo, json, quiet;
};
OPTION_CHOICES(formats, "png", "jpeg", "webp") /* as enum image_format */

#define OPTION_ROWS_OUTPUT(type, folder)                                                                                         \
    { "trim", 0, OPTION_FLAG, offsetof(type, out.trim), .group = "Output",                                                       \
      .help = "cut away plain frames first: black bars, white margins with a straight edge" },                                   \
    { "enlarge", 0, OPTION_FLAG, offsetof(type, out.enlarge),                                                 \
      .help = "make smaller pictures larger; without it they are left as they are" },                                           \
    { "into", 0, OPTION_TEXT, offsetof(type, out.into), folder, .value = "NAME",                                                 \
      .help = "the new files' folder, inside the data set's" },                                                                  \
    { "format", 0, OPTION_CHOICE, offsetof(type, out.format), "png", .choices = formats, .help = "of the new files" },           \
    { "quality", 0, OPTION_INT, offsetof(type, out.quality), "95", .min = 1, .max = 100,                                         \
      .help = "of jpeg and webp; webp loses nothing at 100" },                                                                   \
    { "undo", 0, OPTION_FLAG, offsetof(type, out.undo),                                                                          \
      .help = "go back to the pictures that the last one was made of; no file is deleted" },                                     \
    { "threads", 't', OPTION_INT, offsetof(type, out.threads), "0", .min = 1, .max = 1024, .value = "N",                         \
      .help = "processor threads", .initial_help = "all cores" },                                                                \
    { "json", 0, OPTION_FLAG, offsetof(type, out.json), .help = "one JSON line of facts on stdout" },                            \
    { "quiet", 'q', OPTION_FLAG, offsetof(type, out.quiet), .help = "no progress" }

static bool print_json(json_t *j, struct err *e)
{
    return json_line(j, JSON_COMPACT, e);
}

static bool print_result(const struct reshape_result *r, bool json, struct err *e)
{
    if (json)
        return print_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:O,s:O}", "made", (json_int_t)r->made, "there", (json_int_t)r->there,
                                    "too_small", (json_int_t)r->small, "as_they_are", (json_int_t)r->same, "failed",
                                    (json_int_t)r->failed, "sizes", r->sizes, "reasons", r->reasons), e);
    printf("%ld pictures made, %ld were there, %ld are right already, %ld too small, %ld failed\n", r->made, r->there, r->same,
           r->small, r->failed);
    const char *size;
    json_t *count, *reason;
    size_t i;
    if (json_object_size(r->sizes) <= 48)
        json_object_foreach(r->sizes, size, count)
            printf("%8lld  %s\n", (long long)json_integer_value(count), size);
    else
        printf("in %zu sizes\n", json_object_size(r->sizes));
    json_array_foreach(r->reasons, i, reason)
        printf("%s: %s\n", json_string_value(json_object_get(reason, "file")), json_string_value(json_object_get(reason, "reason")));
    return true;
}

static bool work(const char *folder, const struct output_args *a, struct reshape_options *o, struct err *e)
{
    struct reshape_result r = { 0 };
    size_t undone = 0;
    struct progress_bar bar;
    o->trim = a->trim;
    o->enlarge = a->enlarge;
    o->format = (enum image_format)a->format;
    o->quality = (int)a->quality;
    o->into = a->into;
    o->threads = (int)a->threads;
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, e);
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = m != NULL;
    if (good && a->undo)
        good = dataset_reshape_undo(m, o->kind == RESHAPE_CROP ? "crop" : "resize", &undone, e) && manifest_save(m, e);
    else if (good)
        good = dataset_reshape(m, o, &r, &progress, e);
    progress_bar_end(&bar);
    if (good && a->undo && a->json)
        good = print_json(json_pack("{s:I}", "undone", (json_int_t)undone), e);
    else if (good && a->undo)
        printf("%zu pictures are what they were\n", undone);
    else if (good)
        good = print_result(&r, a->json, e);
    reshape_release(&r);
    manifest_free(m);
    return good;
}

/* --- crop --- */

struct crop_args {
    struct option_texts words;
    const char *size;
    int64_t least, most, step;
    int buckets, part;
    struct output_args out;
};
enum { BUCKETS_NONE, BUCKETS_KOHYA, BUCKETS_SDXL };
OPTION_CHOICES(bucket_lists, "none", "kohya", "sdxl")
OPTION_CHOICES(parts, "centre", "entropy", "attention", "start", "end") /* as enum image_part */

#define AT(member) offsetof(struct crop_args, member)
static const struct option crop_options[] = {
    { "size", 's', OPTION_TEXT, AT(size), "1024", .value = "N|WxH", .help = "pixels; with --buckets kohya the resolution" },
    { "part", 0, OPTION_CHOICE, AT(part), "centre", .choices = parts,
      .help = "what is kept: the middle, where most is to be seen (entropy), what draws the eye (attention), left or top, right or bottom" },
    { "buckets", 'b', OPTION_CHOICE, AT(buckets), "none", .choices = bucket_lists,
      .help = "many sizes, each picture gets the one of its shape: sd-scripts' or SDXL's", .group = "Buckets" },
    { "bucket-min", 0, OPTION_INT, AT(least), "256", .min = 1, .max = 16384, .value = "PX", .help = "kohya: the shortest side" },
    { "bucket-max", 0, OPTION_INT, AT(most), "2048", .min = 1, .max = 16384, .value = "PX", .help = "kohya: the longest side" },
    { "bucket-step", 0, OPTION_INT, AT(step), "64", .min = 1, .max = 1024, .value = "PX", .help = "kohya: sides are multiples of it" },
    OPTION_ROWS_OUTPUT(struct crop_args, "cropped"),
    { 0 },
};
#undef AT

/* "512" or "768x512". */
static bool read_size(const char *text, int *width, int *height, struct err *e)
{
    char *end;
    long w = strtol(text, &end, 10), h = w;
    if (*end == 'x')
        h = strtol(end + 1, &end, 10);
    if (*end || end == text || w < 1 || h < 1 || w > 16384 || h > 16384)
        return err_set(e, ERR_ARG, "--size %s: want a number or WIDTHxHEIGHT, 1 to 16384", text);
    *width = (int)w;
    *height = (int)h;
    return true;
}

static bool crop_run(const void *args, struct err *e)
{
    const struct crop_args *a = args;
    struct buckets b;
    int width = 0, height = 0;
    if (!read_size(a->size, &width, &height, e))
        return false;
    buckets_one(&b, width, height);
    if (a->buckets == BUCKETS_SDXL)
        buckets_sdxl(&b);
    if (a->buckets == BUCKETS_KOHYA && width != height)
        return err_set(e, ERR_ARG, "--buckets kohya wants one number for --size, not %s", a->size);
    if (a->buckets == BUCKETS_KOHYA && !buckets_kohya(&b, width, (int)a->least, (int)a->most, (int)a->step, e))
        return false;
    struct reshape_options o = { .kind = RESHAPE_CROP, .buckets = &b, .part = (enum image_part)a->part };
    return work(a->words.items[0], &a->out, &o, e);
}

const struct command command_dataset_crop = {
    .name = "dataset crop",
    .help = "Scales pictures to cover a size, or the nearest of many, and cuts them to it: into new files.",
    .details = "The originals stay where they are; metadata.jsonl then names the new files, and its history says what was made of what. The "
               "same command goes on after a stop, and makes only what is not there. --undo goes back.",
    .words = "FOLDER", .words_place = offsetof(struct crop_args, words), .words_min = 1, .words_max = 1,
    .options = crop_options, .args_bytes = sizeof(struct crop_args), .run = crop_run,
};

/* --- resize --- */

struct resize_args {
    struct option_texts words;
    int64_t size, multiple;
    int measure;
    struct output_args out;
};
OPTION_CHOICES(measures, "shorter", "longer", "area")

#define AT(member) offsetof(struct resize_args, member)
static const struct option resize_options[] = {
    { "size", 's', OPTION_INT, AT(size), "1024", .min = 1, .max = 16384, .value = "PX", .help = "pixels" },
    { "measure", 'm', OPTION_CHOICE, AT(measure), "shorter", .choices = measures,
      .help = "what becomes --size: the shorter side, the longer one, or the square root of the area" },
    { "multiple", 0, OPTION_INT, AT(multiple), "1", .min = 1, .max = 1024, .value = "PX",
      .help = "sides are cut down to multiples of it; 8 or 64 for models" },
    OPTION_ROWS_OUTPUT(struct resize_args, "resized"),
    { 0 },
};

static bool resize_run(const void *args, struct err *e)
{
    const struct resize_args *a = args;
    static const enum reshape_kind kinds[] = { RESHAPE_SHORTER, RESHAPE_LONGER, RESHAPE_AREA };
    struct reshape_options o = { .kind = kinds[a->measure], .side = (int)a->size, .multiple = (int)a->multiple };
    return work(a->words.items[0], &a->out, &o, e);
}

const struct command command_dataset_resize = {
    .name = "dataset resize",
    .help = "Scales pictures down without changing their shape: into new files.",
    .details = "The originals stay where they are; metadata.jsonl then names the new files, and its history says what was made of what. The "
               "same command goes on after a stop, and makes only what is not there. --undo goes back.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = resize_options, .args_bytes = sizeof(struct resize_args), .run = resize_run,
};
