/* limn eval images: how alike two pictures are, or the pictures of two folders with the same names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "evaluate/similarity.h"

enum { MOST_METRICS = 16 };

struct images_args {
    struct option_texts words;
    const char *metrics;
    bool json, quiet;
};

#define AT(member) offsetof(struct images_args, member)

static const struct option images_options[] = {
    { "metrics", 'm', OPTION_TEXT, AT(metrics), "psnr,ssim", .value = "LIST",
      .help = "psnr, ssim (Gaussian window), ssim-uniform (7x7), ms-ssim, gmsd; with commas between" },
    OPTION_ROW_JSON(struct images_args),
    OPTION_ROW_QUIET(struct images_args),
    { 0 },
};

struct comparison {
    const struct similarity_metric *metrics[MOST_METRICS];
    int count;
    double sum[MOST_METRICS];
    json_t *list; /* of folders: a line per pair */
};

static bool read_metrics(struct comparison *c, const char *list, struct err *e)
{
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        if (c->count == MOST_METRICS)
            return err_set(e, ERR_ARG, "--metrics names more than %d metrics", MOST_METRICS);
        if (!(c->metrics[c->count++] = similarity_find(at, length, e)))
            return err_add(e, "in --metrics");
        at += length;
        if (!*at)
            return true;
    }
}

/* A number as JSON can say it: equal pictures have an infinite PSNR, which is the text "inf". */
static json_t *number(double v)
{
    return isinf(v) ? json_string(v > 0 ? "inf" : "-inf") : json_real(v);
}

static bool compare(struct comparison *c, const char *a, const char *b, double *out, struct err *e)
{
    struct image x = { 0 }, y = { 0 };
    bool good = image_load(&x, a, IMAGE_FLATTEN, 0xFFFFFF, e) && image_load(&y, b, IMAGE_FLATTEN, 0xFFFFFF, e);
    for (int i = 0; good && i < c->count; i++)
        good = similarity_measure(c->metrics[i], &x, &y, &out[i], e) || err_add(e, "%s and %s", a, b);
    image_release(&x);
    image_release(&y);
    return good;
}

static json_t *object_of(const struct comparison *c, const double *values)
{
    json_t *j = json_object();
    for (int i = 0; j && i < c->count; i++)
        json_object_set_new(j, c->metrics[i]->name, number(values[i]));
    return j;
}

static void print_line(const struct comparison *c, const char *name, const double *values)
{
    printf("%-32s", name);
    for (int i = 0; i < c->count; i++)
        printf(" %14.6f", values[i]);
    printf("\n");
}

static void print_head(const struct comparison *c)
{
    printf("%-32s", "");
    for (int i = 0; i < c->count; i++)
        printf(" %14s", c->metrics[i]->name);
    printf("\n");
}

static bool is_picture(const char *name)
{
    static const char *const endings[] = { ".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

static bool compare_folders(struct comparison *c, const char *a, const char *b, const struct images_args *args,
                            const struct progress *progress, long *pairs, struct err *e)
{
    char **names;
    size_t count;
    if (!folder_names(a, NULL, &names, &count, e))
        return false;
    bool good = true;
    if (!args->json)
        print_head(c);
    for (size_t i = 0; good && i < count; i++) {
        char x[PATH_MAX_BYTES], y[PATH_MAX_BYTES];
        double values[MOST_METRICS];
        progress_step(progress, "comparing", (long)i, (long)count, NULL);
        if (!is_picture(names[i]))
            continue;
        good = stop_check(e) && path_join(x, a, names[i], e) && path_join(y, b, names[i], e);
        if (!good || !path_exists(y))
            continue;
        good = compare(c, x, y, values, e);
        for (int m = 0; good && m < c->count; m++)
            c->sum[m] += values[m];
        *pairs += good;
        if (good && args->json) {
            json_t *line = object_of(c, values);
            good = line && !json_object_set_new(line, "name", json_string(names[i])) &&
                   !json_array_append_new(c->list, line);
            if (!good)
                err_nomem(e, "a list of figures");
        } else if (good) {
            print_line(c, names[i], values);
        }
    }
    folder_names_free(names, count);
    if (good && !*pairs)
        return err_set(e, ERR_MISSING, "%s and %s have no pictures of the same name", a, b);
    for (int m = 0; good && m < c->count; m++)
        c->sum[m] /= (double)*pairs;
    if (good && !args->json)
        print_line(c, "mean", c->sum);
    return good;
}

static bool print_json(const struct comparison *c, bool folders, struct err *e)
{
    json_t *j = object_of(c, c->sum);
    if (j && folders)
        j = json_pack("{s:o,s:O}", "mean", j, "images", c->list);
    char *line = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(j);
    if (!line)
        return err_nomem(e, "a line of JSON");
    puts(line);
    free(line);
    return true;
}

static bool images_run(const void *args, struct err *e)
{
    const struct images_args *a = args;
    const char *first = a->words.items[0], *second = a->words.items[1];
    struct comparison c = { .list = json_array() };
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    long pairs = 0;
    bool folders = path_is_folder(first) && path_is_folder(second);
    bool good = (c.list || err_nomem(e, "a list")) && read_metrics(&c, a->metrics, e);
    if (good && !folders && path_is_folder(first) != path_is_folder(second))
        good = err_set(e, ERR_ARG, "%s and %s: two pictures or two folders can be compared, not one of each", first, second);
    good = good && image_init(e) &&
           (folders ? compare_folders(&c, first, second, a, &progress, &pairs, e) : compare(&c, first, second, c.sum, e));
    progress_bar_end(&bar);
    if (good && a->json)
        good = print_json(&c, folders, e);
    for (int i = 0; good && !a->json && !folders && i < c.count; i++)
        printf("%-14s %.6f\n", c.metrics[i]->name, c.sum[i]);
    json_decref(c.list);
    return good;
}

const struct command command_eval_images = {
    .name = "eval images",
    .help = "Measures how alike two pictures are, or the pictures of two folders with the same names.",
    .details = "PSNR and both SSIM are scikit-image's to 1e-6; alpha is laid over white. Equal pictures have the PSNR inf.",
    .words = "FILE|FOLDER FILE|FOLDER", .words_place = AT(words), .words_min = 2, .words_max = 2,
    .options = images_options, .args_bytes = sizeof(struct images_args), .run = images_run,
};
