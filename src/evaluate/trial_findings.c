/* What a trial found, as a table, curves and a grid of pictures. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "evaluate/trial.h"

enum { GRID_ROWS = 24, GRID_COLUMNS = FINDINGS_COLUMNS - 2 };

const struct trial_measure_facts trial_measures[TRIAL_MEASURES] = {
    [TRIAL_STYLE] = { "style", "distance to the reference pictures' look; less is better", 3, 1, -1 },
    [TRIAL_THING] = { "thing", "share of held-out pictures' words from which the right thing is drawn; more is better", 3, 1, 1 },
    [TRIAL_LOSS] = { "loss", "of held-out pictures at fixed noise; less is better", 5, 1, -1 },
    [TRIAL_PSNR] = { "psnr", "dB of what is drawn from a held-out picture's words to that picture; more is better", 2, 1, 1 },
    [TRIAL_SSIM] = { "ssim", "the same in structural similarity", 4, 1, 1 },
    [TRIAL_DIVERSITY] = { "diversity", "1 - SSIM between seeds of the same words: 0 is always the same picture", 3, 1, 1 },
    [TRIAL_CHANGE] = { "change", "1 - SSIM to the first row's pictures of the same words and seed", 3, 1, 0 },
    [TRIAL_DRIFT] = { "drift", "the same on words that have nothing to do with it; less is better", 3, 1, -1 },
    [TRIAL_SECONDS] = { "seconds", "for a picture", 3, 1, -1 },
    [TRIAL_MEMORY] = { "memory_mib", "weights, activations and caches at their planned peak, MiB", 1, 1.0 / (1 << 20), -1 },
    [TRIAL_BYTES] = { "file_mib", "the files that make it: of a LoRA the LoRA's, MiB", 2, 1.0 / (1 << 20), -1 },
};

bool trial_measure_of(const char *name, enum trial_measure *out, struct err *e)
{
    for (int m = 0; m < TRIAL_MEASURES; m++)
        if (text_same_name(trial_measures[m].name, name)) {
            *out = (enum trial_measure)m;
            return true;
        }
    return err_set(e, ERR_ARG, "there is no measure \"%s\"; there are style, thing, loss, psnr, ssim, diversity, change, drift, seconds, memory_mib "
                   "and file_mib", name);
}

static bool is_measured(const struct trial *t, int m)
{
    for (size_t v = 0; v < t->count; v++)
        if (!isnan(t->results[v].measure[m]))
            return true;
    return false;
}

long trial_best(const struct trial *t, enum trial_measure by)
{
    long best = -1;
    for (size_t v = 0; v < t->count; v++) {
        double now = t->results[v].measure[by], had = best < 0 ? NAN : t->results[best].measure[by];
        if (!isnan(now) && (best < 0 || (trial_measures[by].best > 0 ? now > had : now < had)))
            best = (long)v;
    }
    return best;
}

static void add_table(struct findings *f, const struct trial *t, const struct trial_options *o, long best, const char *x_label)
{
    findings_table(f, "variants", "Variants", 0);
    findings_column(f, "name", "", 0);
    if (x_label)
        findings_column(f, x_label, "", 3);
    for (int m = 0; m < TRIAL_MEASURES; m++)
        if (is_measured(t, m))
            findings_column(f, trial_measures[m].name, trial_measures[m].help, trial_measures[m].decimals);
    for (int p = 0; t->has_style && p < STYLE_PARTS; p++)
        findings_column(f, style_part_names[p], "part of style", 3);
    for (size_t v = 0; v < t->count; v++) {
        const struct trial_result *r = &t->results[v];
        findings_row(f);
        findings_cell_text(f, "%s", o->variants[v].name);
        if (x_label)
            findings_cell_number(f, o->variants[v].at);
        for (int m = 0; m < TRIAL_MEASURES; m++)
            if (is_measured(t, m))
                findings_cell_number(f, r->measure[m] * trial_measures[m].scale);
        for (int p = 0; t->has_style && p < STYLE_PARTS; p++)
            findings_cell_number(f, isnan(r->measure[TRIAL_STYLE]) ? NAN : r->style.part[p]);
        if ((long)v == best)
            findings_mark(f);
    }
}

static bool add_curves(struct findings *f, const struct trial *t, const struct trial_options *o, enum trial_measure by, long best,
                       const char *x_label, struct err *e)
{
    double *x = mem_zeroed(2 * t->count, sizeof *x), *y = x ? x + t->count : NULL;
    if (!x)
        return err_nomem(e, "a curve");
    for (int k = 0; k < TRIAL_SECONDS; k++) {
        int m = k == 0 ? (int)by : k <= (int)by ? k - 1 : k; /* the one that decides comes first */
        if (!is_measured(t, m))
            continue;
        for (size_t v = 0; v < t->count; v++) {
            x[v] = o->variants[v].at;
            y[v] = t->results[v].measure[m] * trial_measures[m].scale;
        }
        findings_curve(f, trial_measures[m].name, x_label, trial_measures[m].name);
        findings_series(f, trial_measures[m].name, x, y, t->count, best);
    }
    mem_free(x);
    return true;
}

static bool add_grid(struct findings *f, const struct trial *t, const struct trial_options *o, struct err *e)
{
    bool good = true, wants = false;
    for (size_t k = 0; k < t->drawn; k++)
        wants = wants || t->words[k].held_out >= 0;
    size_t columns = t->count < (size_t)GRID_COLUMNS ? t->count : (size_t)GRID_COLUMNS;
    findings_table(f, "pictures", "Pictures, each row with one noise", GRID_ROWS);
    findings_page_only(f);
    findings_column(f, "words", "", 0);
    if (wants)
        findings_column(f, "held out", "", 0);
    for (size_t c = 0; c < columns; c++)
        findings_column(f, o->variants[c * t->count / columns].name, "", 0);
    for (size_t k = 0; good && k < t->drawn; k++) {
        const struct trial_words *w = &t->words[k];
        findings_row(f);
        findings_cell_text(f, "%s%s (seed %llu)", w->kind == TRIAL_UNRELATED ? "unrelated: " : "", w->words, (unsigned long long)w->seed);
        if (!findings_row_is_shown(f))
            continue;
        if (wants && w->held_out >= 0) {
            struct image image;
            good = picture_set_square(o->held_out, (size_t)w->held_out, (int)t->side, &image, e);
            if (good)
                findings_cell_picture(f, &image, NULL);
            image_release(&image);
        } else if (wants) {
            findings_cell_none(f);
        }
        for (size_t c = 0; good && c < columns; c++)
            findings_cell_picture(f, &t->results[c * t->count / columns].pictures[k], NULL);
    }
    return good;
}

/* A cell of the sheet: a copy at one size, which the sheet lays out. */
static bool put(struct image *out, const struct image *from, int side, struct err *e)
{
    return image_resize(out, from, side, side, from->width > side ? IMAGE_AREA : IMAGE_LANCZOS, e);
}

bool trial_sheet(struct image *out, const struct trial *t, const struct trial_options *o, size_t rows, struct err *e)
{
    int side = t->side < FINDINGS_PICTURE_PX ? (int)t->side : FINDINGS_PICTURE_PX;
    bool wants = o->held_out != NULL;
    size_t count = rows < t->drawn ? rows : t->drawn, columns = t->count + wants, cells = count * columns;
    struct image *tiles = mem_zeroed(cells + 1, sizeof *tiles);
    bool good = tiles || err_nomem(e, "a sheet");
    *out = (struct image){ 0 };
    for (size_t r = 0; good && r < count; r++) {
        size_t k = r * t->drawn / count;
        struct image *row = tiles + r * columns;
        for (size_t v = 0; good && v < t->count; v++)
            good = put(&row[v + wants], &t->results[v].pictures[k], side, e);
        if (good && wants && t->words[k].held_out >= 0) {
            good = picture_set_square(o->held_out, (size_t)t->words[k].held_out, side, &row[0], e);
        } else if (good && wants && (good = image_make(&row[0], side, side, 3, e))) {
            image_fill(&row[0], 0xE4E4E4);
        }
    }
    good = good && (cells || err_set(e, ERR_ARG, "nothing was drawn: there is no sheet"));
    good = good && image_grid(out, tiles, cells, (int)columns, 2, 0xE4E4E4, e);
    for (size_t i = 0; tiles && i < cells; i++)
        image_release(&tiles[i]);
    mem_free(tiles);
    return good;
}

bool trial_findings(struct findings *f, const struct trial *t, const struct trial_options *o, enum trial_measure by,
                    const char *x_label, bool pictures, struct err *e)
{
    long best = t->count > 1 && trial_measures[by].best ? trial_best(t, by) : -1;
    if (t->has_style) {
        findings_number(f, NULL, "style_floor", t->floor.style, 3);
        findings_words(f, "style_floor is the distance between two halves of the reference pictures: nothing drawn can be expected to be "
                          "nearer.");
    }
    if (best >= 0) {
        findings_text(f, "best", "name", "%s", o->variants[best].name);
        findings_text(f, "best", "by", "%s", trial_measures[by].name);
        findings_number(f, "best", "value", t->results[best].measure[by] * trial_measures[by].scale, trial_measures[by].decimals);
        if (x_label)
            findings_number(f, "best", x_label, o->variants[best].at, 3);
    }
    add_table(f, t, o, best, x_label);
    return (!x_label || t->count < 2 || add_curves(f, t, o, by, best, x_label, e)) && (!pictures || !t->drawn || add_grid(f, t, o, e)) &&
           findings_ok(f, e);
}
