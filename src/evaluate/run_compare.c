#include "evaluate/run_compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "image/plot.h"
#include "train/metrics.h"

/* A run as its folder tells it. */
struct side {
    const char *folder; /* borrowed */
    struct metrics metrics;
    double *x, *loss, *held_out; /* of all lines */
    long best;                   /* the line with the lowest held-out loss; -1: none measured */
    json_t *config;
    char samples[PATH_MAX_BYTES], **names; /* names: step-00000500.png, ascending */
    size_t sample_count;
};

static void side_release(struct side *s)
{
    metrics_close(&s->metrics);
    mem_free(s->x);
    mem_free(s->loss);
    mem_free(s->held_out);
    json_decref(s->config);
    if (s->names)
        folder_names_free(s->names, s->sample_count);
}

static bool side_open(struct side *s, const char *folder, struct err *e)
{
    char config[PATH_MAX_BYTES];
    *s = (struct side){ .folder = folder, .best = -1 };
    if (!metrics_read(&s->metrics, folder, e))
        return err_add(e, "%s is no folder of a training run", folder);
    if (!path_join(config, folder, "config.json", e) || !path_join(s->samples, folder, "samples", e) ||
        (path_exists(config) && !(s->config = json_read(config, e))) ||
        (path_is_folder(s->samples) && !folder_names(s->samples, ".png", &s->names, &s->sample_count, e)))
        return false;
    size_t n = s->metrics.count;
    s->x = mem_zeroed(n, sizeof *s->x);
    s->loss = mem_zeroed(n, sizeof *s->loss);
    s->held_out = mem_zeroed(n, sizeof *s->held_out);
    if (!s->x || !s->loss || !s->held_out)
        return err_nomem(e, "a run's curve");
    for (size_t i = 0; i < n; i++) {
        const struct metric *m = &s->metrics.at[i];
        s->x[i] = (double)m->step;
        s->loss[i] = m->loss;
        s->held_out[i] = m->held_out;
        if (isfinite(m->held_out) && (s->best < 0 || m->held_out < s->held_out[s->best]))
            s->best = (long)i;
    }
    return true;
}

struct sides {
    struct side at[RUN_COMPARE_MOST];
    size_t count;
};

static bool sides_open(struct sides *s, const char *const *folders, size_t count, struct err *e)
{
    s->count = 0;
    if (count > RUN_COMPARE_MOST)
        return err_set(e, ERR_ARG, "%zu runs: at most %d can be shown side by side", count, RUN_COMPARE_MOST);
    bool good = true;
    for (; good && s->count < count; s->count++)
        good = side_open(&s->at[s->count], folders[s->count], e); /* what a failure left is released with the others */
    return good;
}

static void sides_release(struct sides *s)
{
    for (size_t i = 0; i < s->count; i++)
        side_release(&s->at[i]);
}

/* The mean over the last tenth of the lines: single ones are noise. */
static double last_loss(const struct side *s)
{
    size_t n = s->metrics.count, few = n / 10 ? n / 10 : 1;
    double sum = 0;
    for (size_t i = n - (n ? few : 0); i < n; i++)
        sum += s->loss[i];
    return n ? sum / (double)few : NAN;
}

static bool is_better(const struct side *a, const struct side *b, bool measured)
{
    return measured ? a->best >= 0 && (b->best < 0 || a->held_out[a->best] < b->held_out[b->best]) : last_loss(a) < last_loss(b);
}

static void cell(struct findings *f, double v)
{
    if (isfinite(v))
        findings_cell_number(f, v);
    else
        findings_cell_none(f);
}

static void add_runs(struct findings *f, const struct sides *sides)
{
    size_t best = 0;
    bool measured = false;
    for (size_t i = 0; i < sides->count; i++)
        measured |= sides->at[i].best >= 0;
    for (size_t i = 1; i < sides->count; i++)
        if (is_better(&sides->at[i], &sides->at[best], measured))
            best = i;
    findings_table(f, "runs", "Runs", 0);
    findings_column(f, "run", "", 0);
    findings_column(f, "steps", "done", 0);
    findings_column(f, "loss", "mean over the last tenth", 5);
    findings_column(f, "held_out", "lowest loss on held-out pictures", 5);
    findings_column(f, "at_step", "where that was", 0);
    findings_column(f, "held_out_last", "the last one", 5);
    findings_column(f, "seconds", "of work", 0);
    findings_column(f, "pictures_per_second", "over the whole run: mean of what was logged", 2);
    for (size_t i = 0; i < sides->count; i++) {
        const struct side *s = &sides->at[i];
        const struct metric *last = metrics_last(&s->metrics);
        double held_out_last = NAN, speed = 0;
        for (size_t k = 0; k < s->metrics.count; k++) {
            held_out_last = isfinite(s->held_out[k]) ? s->held_out[k] : held_out_last;
            speed += s->metrics.at[k].pictures_per_second / (double)s->metrics.count;
        }
        findings_row(f);
        findings_cell_text(f, "%s", s->folder);
        cell(f, last ? (double)last->step : 0);
        cell(f, last_loss(s));
        cell(f, s->best >= 0 ? s->held_out[s->best] : NAN);
        cell(f, s->best >= 0 ? s->x[s->best] : NAN);
        cell(f, held_out_last);
        cell(f, last ? last->seconds : NAN);
        cell(f, last ? speed : NAN);
        if (i == best && last)
            findings_mark(f);
    }
}

/* Options that some run lacks or has otherwise; where the run lies is not one. */
static void add_settings(struct findings *f, const struct sides *sides)
{
    bool begun = false;
    const char *key;
    json_t *value;
    json_object_foreach(sides->at[0].config, key, value) {
        bool same = true;
        for (size_t i = 1; i < sides->count; i++)
            same &= json_equal(value, json_object_get(sides->at[i].config, key)) != 0;
        if (same || !strcmp(key, "output") || !strcmp(key, "resume") || !strcmp(key, "quiet"))
            continue;
        if (!begun) {
            findings_table(f, "settings", "What was asked for otherwise", 0);
            findings_column(f, "option", "", 0);
            for (size_t i = 0; i < sides->count; i++)
                findings_column(f, sides->at[i].folder, "", 0);
            begun = true;
        }
        findings_row(f);
        findings_cell_text(f, "%s", key);
        for (size_t i = 0; i < sides->count; i++) {
            const json_t *j = json_object_get(sides->at[i].config, key);
            char *text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
            findings_cell_text(f, "%s", text && strcmp(text, "null") ? text : "-");
            free(text);
        }
    }
}

static const char *sample_of(const struct side *s, const char *name)
{
    for (size_t i = 0; i < s->sample_count; i++)
        if (!strcmp(s->names[i], name))
            return s->names[i];
    return NULL;
}

static bool add_sample(struct findings *f, const struct side *s, const char *name, bool with_picture, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct image image;
    if (!sample_of(s, name)) {
        findings_cell_none(f);
        return true;
    }
    if (!path_join(path, s->samples, name, e))
        return false;
    if (!with_picture) {
        findings_cell_text(f, "%s", path);
        return true;
    }
    if (!image_load(&image, path, IMAGE_FLATTEN, 0xFFFFFF, e))
        return false;
    findings_cell_picture(f, &image, NULL);
    image_release(&image);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A row for each step that has samples in any run; of many, some that are spread evenly and the last. */
static bool add_samples(struct findings *f, const struct sides *sides, bool with_pictures, struct err *e)
{
    size_t all = 0, count = 0;
    for (size_t i = 0; i < sides->count; i++)
        all += sides->at[i].sample_count;
    const char **names = mem_zeroed(all, sizeof *names);
    if (!names)
        return err_nomem(e, "a list of samples");
    for (size_t i = 0, k = 0; i < sides->count; i++)
        for (size_t j = 0; j < sides->at[i].sample_count; j++)
            names[k++] = sides->at[i].names[j];
    qsort(names, all, sizeof *names, by_name);
    for (size_t i = 0; i < all; i++)
        if (!i || strcmp(names[i], names[i - 1]))
            names[count++] = names[i];
    size_t shown = count < RUN_COMPARE_SAMPLES ? count : RUN_COMPARE_SAMPLES;
    bool good = true;
    if (shown) {
        findings_table(f, "samples", "Samples", 0);
        findings_column(f, "sample", "", 0);
        for (size_t i = 0; i < sides->count; i++)
            findings_column(f, sides->at[i].folder, "", 0);
    }
    for (size_t k = 0; good && k < shown; k++) {
        const char *name = names[shown > 1 ? k * (count - 1) / (shown - 1) : count - 1];
        findings_row(f);
        findings_cell_text(f, "%.*s", (int)strlen(name) - 4, name);
        for (size_t i = 0; good && i < sides->count; i++)
            good = add_sample(f, &sides->at[i], name, with_pictures, e);
    }
    mem_free(names);
    return good;
}

bool run_compare(struct findings *f, const char *const *folders, size_t count, bool with_pictures, struct err *e)
{
    struct sides sides;
    bool good = sides_open(&sides, folders, count, e);
    if (good) {
        add_runs(f, &sides);
        findings_curve(f, "loss", "step", "loss");
        for (size_t i = 0; i < count; i++)
            findings_series(f, folders[i], sides.at[i].x, sides.at[i].loss, sides.at[i].metrics.count, -1);
        findings_curve(f, "loss on held-out pictures", "step", "loss");
        for (size_t i = 0; i < count; i++)
            if (sides.at[i].best >= 0)
                findings_series(f, folders[i], sides.at[i].x, sides.at[i].held_out, sides.at[i].metrics.count, sides.at[i].best);
        add_settings(f, &sides);
        good = add_samples(f, &sides, with_pictures, e);
    }
    sides_release(&sides);
    return good;
}

/* The last samples beside each other, as wide as the curves. */
static bool draw_samples(struct image *out, const struct sides *sides, int width, struct err *e)
{
    enum { GAP = 8 };
    struct image cells[RUN_COMPARE_MOST] = { { 0 } };
    int each = (width - GAP) / (int)sides->count - GAP;
    bool good = true, any = false;
    for (size_t i = 0; good && i < sides->count; i++) {
        const struct side *s = &sides->at[i];
        char path[PATH_MAX_BYTES];
        struct image sample = { 0 };
        if (!s->sample_count) {
            good = image_make(&cells[i], each, 1, 3, e);
            continue;
        }
        good = path_join(path, s->samples, s->names[s->sample_count - 1], e) &&
               image_load(&sample, path, IMAGE_FLATTEN, 0xFFFFFF, e);
        int height = good ? (int)((long)sample.height * each / sample.width) : 0;
        good = good && image_resize(&cells[i], &sample, each, height < 1 ? 1 : height, IMAGE_AREA, e);
        image_release(&sample);
        any = true;
    }
    good = good && (!any || image_grid(out, cells, sides->count, (int)sides->count, GAP, 0xFFFFFF, e));
    for (size_t i = 0; i < sides->count; i++)
        image_release(&cells[i]);
    return good;
}

bool run_compare_png(const char *path, const char *const *folders, size_t count, struct err *e)
{
    struct sides sides;
    struct plot_series series[2 * RUN_COMPARE_MOST];
    char names[RUN_COMPARE_MOST][80];
    size_t n = 0;
    struct image curve = { 0 }, samples = { 0 }, all = { 0 };
    bool good = sides_open(&sides, folders, count, e);
    for (size_t i = 0; good && i < count; i++) {
        const struct side *s = &sides.at[i];
        series[n++] = (struct plot_series){ path_name(folders[i]), s->x, s->loss, s->metrics.count, 0.9 };
        if (s->best < 0)
            continue;
        snprintf(names[i], sizeof names[i], "%.60s, held out", path_name(folders[i]));
        series[n++] = (struct plot_series){ names[i], s->x, s->held_out, s->metrics.count, 0 };
    }
    struct plot plot = { .title = "runs", .x_label = "step", .y_label = "loss", .log_y = true, .series = series, .series_count = n };
    good = good && plot_draw(&curve, &plot, e) && draw_samples(&samples, &sides, curve.width, e) &&
           image_make(&all, curve.width, curve.height + samples.height, 3, e);
    if (good) {
        image_fill(&all, 0xFFFFFF);
        image_paste(&all, &curve, 0, 0);
        if (samples.pixels)
            image_paste(&all, &samples, 0, curve.height);
    }
    good = good && image_save_png(path, &all, NULL, 0, e);
    image_release(&curve);
    image_release(&samples);
    image_release(&all);
    sides_release(&sides);
    return good;
}
