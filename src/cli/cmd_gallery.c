/* limn gallery list, search, show, names: looking. What changes it is in cmd_gallery_change.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/gallery_args.h"
#include "image/image.h"
#include "store/picture_files.h"

/* --- list and search --- */

struct search_args {
    struct option_texts words;
    struct gallery_query_args query;
    const char *database, *gallery_folder, *user;
    int64_t before;
    bool json, count;
};
#define AT(member) offsetof(struct search_args, member)

static const struct option search_options[] = {
    OPTION_ROWS_QUERY(struct search_args, "60", 'l'),
    { "before", 0, OPTION_INT, AT(before), "0", .min = 1, .max = (double)INT64_MAX, .value = "ID", .initial_help = "the first page",
      .help = "go on behind this picture, the last of the page before" },
    { "count", 0, OPTION_FLAG, AT(count), .help = "print only how many there are" },
    OPTION_ROWS_GALLERY(struct search_args),
    OPTION_ROW_GALLERY_USER(struct search_args),
    OPTION_ROW_JSON(struct search_args),
    { 0 },
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void print_time(char out[20], int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;
    localtime_r(&seconds, &t);
    strftime(out, 20, "%Y-%m-%d %H:%M", &t);
}

/* At most so many characters of a text, on one line. */
static void print_cut(const char *text, int characters)
{
    for (; *text && characters > 0; characters--) {
        putchar(*text == '\n' || *text == '\t' ? ' ' : *text);
        for (text++; ((unsigned char)*text & 0xc0) == 0x80; text++)
            putchar(*text);
    }
    if (*text)
        fputs("...", stdout);
}

static void print_page(const json_t *page)
{
    const json_t *one;
    size_t i;
    json_array_foreach(page, i, one) {
        char when[20];
        int rating = (int)json_integer_value(json_object_get(one, "rating"));
        print_time(when, json_integer_value(json_object_get(one, "created")));
        printf("%8lld  %s  %4lldx%-4lld  %.*s%*s  %-16.16s  ", (long long)json_integer_value(json_object_get(one, "id")), when,
               (long long)json_integer_value(json_object_get(one, "width")), (long long)json_integer_value(json_object_get(one, "height")), rating,
               "*****", 5 - rating, "", text_of(one, "model"));
        print_cut(text_of(one, "prompt"), 60);
        putchar('\n');
    }
}

static bool search_run(const void *args, struct err *e)
{
    const struct search_args *a = args;
    struct gallery_place place;
    struct gallery_query query;
    struct text words;
    json_t *page = NULL;
    int64_t count = 0;
    text_init(&words, 1 << 16);
    gallery_query_of(&query, &a->query, a->user, &a->words, &words);
    query.before = a->before;
    bool good = text_ok(&words, e) && gallery_place_open(&place, a->database, a->gallery_folder, e);
    if (good) {
        good = (!a->count && !a->json) || gallery_count(place.store, &query, &count, e);
        good = good && (a->count || gallery_search(place.store, &query, &page, e));
        gallery_place_close(&place);
    }
    if (good && a->json)
        good = gallery_print_new(page ? json_pack("{s:I,s:O}", "count", (json_int_t)count, "pictures", page)
                                      : json_pack("{s:I}", "count", (json_int_t)count), e);
    else if (good && a->count)
        printf("%lld\n", (long long)count);
    else if (good)
        print_page(page);
    json_decref(page);
    text_release(&words);
    return good;
}

const struct command command_gallery_list = {
    .name = "gallery list", .help = "Lists the gallery's pictures, the latest first.",
    .details = "A filter is NAME, one of = != >= <= > < ~ (contains), and a value: --where \"steps>=20\" --where model~emoji --where tag=cat "
               "--where created>=2026-01-31. limn gallery names tells the values that a name has.",
    .options = search_options, .args_bytes = sizeof(struct search_args), .run = search_run,
};

const struct command command_gallery_search = {
    .name = "gallery search", .help = "Finds pictures by words.",
    .details = "Every word must be in the picture's words, model, LoRAs, sampler, tags or name, in any case, also as a part: ppl finds apples. "
               "In Chinese one character is enough. \"in quotes\" stand whole words behind each other; -word must not be there. One or two Latin "
               "letters stand for the beginning of a word. Behind -- a word may begin with a minus.",
    .words = "TEXT...", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = search_options, .args_bytes = sizeof(struct search_args), .run = search_run,
};

/* --- show --- */

struct show_args {
    struct option_texts words;
    const char *database, *gallery_folder, *user;
    bool json, quiet, lineage, path;
    int64_t similar;
};
#undef AT
#define AT(member) offsetof(struct show_args, member)

static const struct option show_options[] = {
    { "lineage", 0, OPTION_FLAG, AT(lineage), .help = "where it comes from, and what came of it: models, LoRAs, training runs and their pictures" },
    { "similar", 0, OPTION_INT, AT(similar), "-1", .min = 0, .max = 64, .value = "N", .initial_help = "not",
      .help = "those that look like it instead: at most so many of 64 bits of the look differ; 10 is much alike" },
    { "path", 0, OPTION_FLAG, AT(path), .help = "print only where its file is" },
    OPTION_ROWS_GALLERY(struct show_args),
    OPTION_ROW_GALLERY_USER(struct show_args),
    OPTION_ROW_JSON(struct show_args),
    OPTION_ROW_QUIET(struct show_args),
    { 0 },
};

static void print_value(const json_t *value)
{
    size_t i;
    const json_t *one;
    if (json_is_string(value))
        fputs(json_string_value(value), stdout);
    else if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        printf("%g", json_real_value(value));
    else
        json_array_foreach(value, i, one) {
            fputs(i ? ", " : "", stdout);
            if (json_is_object(one))
                printf("%s (%s, %g)", text_of(one, "name"), text_of(one, "hash"), json_number_value(json_object_get(one, "scale")));
            else
                print_value(one);
        }
}

/* Everything but the long texts, which --json has. */
static void print_picture(json_t *picture, const char *path)
{
    const char *key;
    json_t *value;
    printf("%-12s %s\n", "path", path);
    json_object_foreach(picture, key, value) {
        char when[20];
        bool is_time = !strcmp(key, "created") || !strcmp(key, "added") || !strcmp(key, "deleted");
        if (!strcmp(key, "graph") || !strcmp(key, "workflow") || !strcmp(key, "parameters") || !strcmp(key, "file") ||
            (json_is_array(value) && !json_array_size(value)))
            continue;
        printf("%-12s ", key);
        if (is_time) {
            print_time(when, json_integer_value(value));
            fputs(when, stdout);
        } else {
            print_value(value);
        }
        putchar('\n');
    }
}

static void print_lineage(const json_t *list, const char *next, int depth)
{
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        printf("%*s", 2 * depth, "");
        if (json_object_get(one, "more"))
            printf("and %lld more\n", (long long)json_integer_value(json_object_get(one, "more")));
        else {
            const char *kind = text_of(one, "kind"), *name = text_of(one, !strcmp(kind, "run") ? "run" : "name");
            printf("%s", kind);
            if (json_object_get(one, "id"))
                printf(" %lld", (long long)json_integer_value(json_object_get(one, "id")));
            printf("%s%s%s%.12s", *name ? " " : "", name, *text_of(one, "hash") ? " " : "", text_of(one, "hash"));
            if (json_object_get(one, "step"))
                printf(", step %lld", (long long)json_integer_value(json_object_get(one, "step")));
            printf("%s%s\n", *text_of(one, "caption") ? ": " : "", text_of(one, "caption"));
        }
        print_lineage(json_object_get(one, next), next, depth + 1);
    }
}

static bool show_lineage(const struct show_args *a, struct store *s, const char *which, struct err *e)
{
    json_t *l;
    if (!gallery_lineage(s, gallery_owner(a->user), which, &l, e))
        return false;
    bool good = true;
    if (a->json) {
        good = gallery_print(l, e);
    } else {
        puts("from");
        print_lineage(json_object_get(l, "from"), "from", 1);
        puts("to");
        print_lineage(json_object_get(l, "to"), "to", 1);
    }
    json_decref(l);
    return good;
}

static bool show_similar(const struct show_args *a, struct store *s, const json_t *picture, struct err *e)
{
    const char *look = text_of(picture, "look");
    json_t *page;
    if (!*look)
        return err_set(e, ERR_MISSING, "of picture %s no look is known", a->words.items[0]);
    if (!gallery_similar(s, gallery_owner(a->user), strtoull(look, NULL, 16), (int)a->similar, 0, &page, e))
        return false;
    bool good = true;
    if (a->json)
        good = gallery_print(page, e);
    else
        print_page(page);
    json_decref(page);
    return good;
}

static bool show_picture(const struct show_args *a, const struct gallery_place *place, json_t *picture, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct image image = { 0 };
    struct err ignored = { 0 };
    if (!picture_file_path(path, place->folder, text_of(picture, "hash"), text_of(picture, "type"), e))
        return false;
    if (a->path) {
        puts(path);
        return true;
    }
    json_object_set_new(picture, "path", json_string(path));
    if (a->json)
        return gallery_print(picture, e);
    print_picture(picture, path);
    fflush(stdout);
    if (!a->quiet && image_load(&image, path, IMAGE_FLATTEN, 0xffffff, &ignored))
        (void)!image_show(&image, 0, &ignored);
    image_release(&image);
    return true;
}

static bool show_run(const void *args, struct err *e)
{
    const struct show_args *a = args;
    struct gallery_place place;
    json_t *picture = NULL;
    const char *which = a->words.items[0];
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    bool good = a->lineage ? show_lineage(a, place.store, which, e) : gallery_get(place.store, gallery_owner(a->user), which, &picture, e);
    if (good && !a->lineage)
        good = a->similar >= 0 ? show_similar(a, place.store, picture, e) : show_picture(a, &place, picture, e);
    json_decref(picture);
    gallery_place_close(&place);
    return good;
}

const struct command command_gallery_show = {
    .name = "gallery show", .help = "Shows a picture of the gallery and everything that is known of it.",
    .details = "With --lineage also weights:HASH, run:FOLDER and training:HASH can be asked for: a model or LoRA, a training run, a picture that "
               "was learnt from.",
    .words = "ID", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = show_options, .args_bytes = sizeof(struct show_args), .run = show_run,
};

/* --- names --- */

struct names_args {
    struct option_texts words;
    const char *database, *gallery_folder, *user;
    int64_t limit;
    bool json;
};
#undef AT
#define AT(member) offsetof(struct names_args, member)

static const struct option names_options[] = {
    { "limit", 'l', OPTION_INT, AT(limit), "100", .min = 1, .max = 100000, .help = "at most so many" },
    OPTION_ROWS_GALLERY(struct names_args),
    OPTION_ROW_GALLERY_USER(struct names_args),
    OPTION_ROW_JSON(struct names_args),
    { 0 },
};

static const char *column_choice(int index)
{
    for (const struct gallery_column *c = gallery_columns; c->name; c++)
        if ((c->value == GALLERY_TEXT || c->value == GALLERY_LABEL) && index-- == 0)
            return c->name;
    return NULL;
}

static bool names_run(const void *args, struct err *e)
{
    const struct names_args *a = args;
    struct gallery_place place;
    json_t *names, *one;
    size_t i;
    if (!gallery_place_open(&place, a->database, a->gallery_folder, e))
        return false;
    bool good = gallery_names(place.store, gallery_owner(a->user), a->words.items[0], a->limit, &names, e);
    gallery_place_close(&place);
    if (!good)
        return false;
    if (a->json)
        good = gallery_print(names, e);
    else
        json_array_foreach(names, i, one)
            printf("%8lld  %s\n", (long long)json_integer_value(json_object_get(one, "count")), text_of(one, "name"));
    json_decref(names);
    return good;
}

const struct command command_gallery_names = {
    .name = "gallery names", .help = "Lists what pictures have as model, sampler, tag, lora, ..., with how many have it.",
    .words = "NAME", .words_place = AT(words), .words_min = 1, .words_max = 1, .words_choices = column_choice,
    .options = names_options, .args_bytes = sizeof(struct names_args), .run = names_run,
};
