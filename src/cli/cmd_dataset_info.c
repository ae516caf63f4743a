/* limn dataset info: what a data set's list says: of all pictures in figures, of some in full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "dataset/manifest.h"

struct info_args {
    struct option_texts words;
    bool json;
};

#define AT(member) offsetof(struct info_args, member)

static const struct option info_options[] = {
    OPTION_ROW_JSON(struct info_args),
    { 0 },
};

struct figures {
    long pictures, excluded, held_out, without_text, known_source;
    int64_t bytes;
    json_t *reasons; /* reason -> how many */
};

static bool count(const struct manifest *m, struct figures *f, struct err *e)
{
    f->pictures = (long)manifest_count(m);
    for (size_t i = 0; i < manifest_count(m); i++) {
        const struct manifest_picture *p = manifest_picture(m, i);
        f->bytes += p->bytes;
        f->known_source += *p->source != 0;
        if (*p->excluded) {
            json_int_t before = json_integer_value(json_object_get(f->reasons, p->excluded));
            if (json_object_set_new(f->reasons, p->excluded, json_integer(before + 1)))
                return err_nomem(e, "the reasons");
            f->excluded++;
            continue;
        }
        f->held_out += *p->split == 'h';
        f->without_text += !*p->text;
    }
    return true;
}

static bool print_object(json_t *j, size_t flags, struct err *e)
{
    return json_line(j, flags | JSON_REAL_PRECISION(12), e);
}

static bool print_figures(const struct figures *f, bool json, struct err *e)
{
    long used = f->pictures - f->excluded;
    if (json)
        return print_object(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:O}", "pictures", (json_int_t)f->pictures, "used", (json_int_t)used,
                                      "train", (json_int_t)(used - f->held_out), "held_out", (json_int_t)f->held_out, "without_text",
                                      (json_int_t)f->without_text, "known_source", (json_int_t)f->known_source, "bytes",
                                      (json_int_t)f->bytes, "excluded", f->reasons),
                            JSON_COMPACT, e);
    printf("%ld pictures, %ld used: %ld to train on, %ld held out; %ld without a caption\n", f->pictures, used, used - f->held_out,
           f->held_out, f->without_text);
    printf("%ld with a known source; %.1f MiB\n", f->known_source, (double)f->bytes / (1 << 20));
    const char *reason;
    json_t *times;
    if (f->excluded)
        printf("%ld left out:\n", f->excluded);
    json_object_foreach(f->reasons, reason, times)
        printf("%8lld  %s\n", (long long)json_integer_value(times), reason);
    return true;
}

/* One picture in full: by its file's name, or the beginning of its id. */
static bool print_picture(const struct manifest *m, const char *name, bool json, struct err *e)
{
    long i = manifest_find_file(m, name);
    for (size_t k = 0; i < 0 && strlen(name) >= 8 && k < manifest_count(m); k++)
        if (!strncmp(manifest_picture(m, k)->id, name, strlen(name)))
            i = (long)k;
    if (i < 0)
        return err_set(e, ERR_MISSING, "%s: has no picture %s (a file_name, or an id's first 8 digits or more)", manifest_folder(m), name);
    json_t *object = manifest_object(m, (size_t)i, e);
    return object && print_object(object, json ? JSON_COMPACT : JSON_INDENT(2), e);
}

static bool info_run(const void *args, struct err *e)
{
    const struct info_args *a = args;
    struct manifest *m = manifest_open(a->words.items[0], MANIFEST_READ, e);
    struct figures f = { .reasons = json_object() };
    bool good = m && (f.reasons || err_nomem(e, "the reasons"));
    if (good && a->words.count == 1)
        good = count(m, &f, e) && print_figures(&f, a->json, e);
    for (int i = 1; good && i < a->words.count; i++)
        good = print_picture(m, a->words.items[i], a->json, e);
    json_decref(f.reasons);
    manifest_free(m);
    return good;
}

const struct command command_dataset_info = {
    .name = "dataset info",
    .help = "Tells what a data set holds and what was left out, or where a picture came from and what was done to it.",
    .words = "FOLDER [PICTURE...]", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = info_options, .args_bytes = sizeof(struct info_args), .run = info_run,
};
