#include "evaluate/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "evaluate/judge.h"

enum { SHOWN = 20 };

struct measured {
    size_t a, b; /* indices in the sets */
    double value[SIMILARITY_MOST];
};
struct measures {
    const struct compare_metrics *metrics;
    struct measured *at;
    size_t count, cap;
};

static bool measure(struct measures *m, size_t a, size_t b, const struct image *x, const struct image *y, struct err *e)
{
    struct measured *grown = mem_grow(m->at, &m->cap, m->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "a list of figures");
    m->at = grown;
    struct measured *now = &grown[m->count];
    *now = (struct measured){ .a = a, .b = b };
    for (int i = 0; i < m->metrics->count; i++)
        if (!similarity_measure(m->metrics->at[i], x, y, &now->value[i], e))
            return false;
    m->count++;
    return true;
}

static int by_quality(const void *a, const void *b, void *metric)
{
    const struct measured *x = a, *y = b;
    int order = (x->value[0] > y->value[0]) - (x->value[0] < y->value[0]);
    if (((const struct similarity_metric *)metric)->less_is_better)
        order = -order;
    return order ? order : (x->a > y->a) - (x->a < y->a);
}

/* Sorts the worst to the front and tells means and the worst. */
static void sum_up(struct findings *f, struct measures *m, const struct picture_set *a)
{
    const struct compare_metrics *k = m->metrics;
    qsort_r(m->at, m->count, sizeof *m->at, by_quality, (void *)k->at[0]);
    for (int i = 0; i < k->count; i++) {
        double sum = 0;
        for (size_t p = 0; p < m->count; p++)
            sum += m->at[p].value[i];
        findings_number(f, "mean", k->at[i]->name, sum / (double)m->count, 6);
    }
    findings_text(f, "worst", "name", "%s", a->at[m->at[0].a].name);
    for (int i = 0; i < k->count; i++)
        findings_number(f, "worst", k->at[i]->name, m->at[0].value[i], 6);
}

static void begin_table(struct findings *f, const struct measures *m, const char *first, const char *second, bool pictures)
{
    findings_table(f, "images", "Pictures, the worst first", SHOWN);
    findings_column(f, "name", "", 0);
    for (int i = 0; i < m->metrics->count; i++)
        findings_column(f, m->metrics->at[i]->name, m->metrics->at[i]->help, 6);
    if (pictures) {
        findings_column(f, first, "", 0);
        findings_column(f, second, "", 0);
    }
}

static void begin_row(struct findings *f, const struct measures *m, size_t row, const struct picture_set *a)
{
    findings_row(f);
    findings_cell_text(f, "%s", a->at[m->at[row].a].name);
    for (int i = 0; i < m->metrics->count; i++)
        findings_cell_number(f, m->at[row].value[i]);
}

/* Both pictures, b's at a's size if it shall be. */
static bool load_pair(const char *a, const char *b, bool fit, struct image *x, struct image *y, struct err *e)
{
    struct image other = { 0 };
    *x = *y = other;
    bool good = image_load(x, a, IMAGE_FLATTEN, 0xFFFFFF, e) && image_load(&other, b, IMAGE_FLATTEN, 0xFFFFFF, e);
    if (good && fit && (x->width != other.width || x->height != other.height)) {
        good = image_resize(y, &other, x->width, x->height, x->width > other.width ? IMAGE_LANCZOS : IMAGE_AREA, e);
        image_release(&other);
    } else {
        *y = other;
    }
    return good;
}

static bool measure_files(struct measures *m, size_t i, const char *a, size_t k, const char *b, bool fit, struct err *e)
{
    struct image x, y;
    bool good = load_pair(a, b, fit, &x, &y, e) && (measure(m, i, k, &x, &y, e) || err_add(e, "%s and %s", a, b));
    image_release(&x);
    image_release(&y);
    return good;
}

static bool list_pairs(struct findings *f, const struct measures *m, const struct picture_set *a, const struct picture_set *b,
                       bool fit, bool pictures, struct err *e)
{
    bool good = true;
    begin_table(f, m, "first", "second", pictures);
    for (size_t r = 0; good && r < m->count; r++) {
        begin_row(f, m, r, a);
        if (!pictures || !findings_row_is_shown(f))
            continue;
        struct image x, y;
        good = load_pair(a->at[m->at[r].a].path, b->at[m->at[r].b].path, fit, &x, &y, e);
        if (good) {
            findings_cell_picture(f, &x, NULL);
            findings_cell_picture(f, &y, NULL);
        }
        image_release(&x);
        image_release(&y);
    }
    return good;
}

bool compare_sets(struct findings *f, const struct picture_set *a, const struct picture_set *b,
                  const struct compare_metrics *metrics, bool fit, bool pictures, const struct progress *progress,
                  struct err *e)
{
    struct measures m = { .metrics = metrics };
    bool *used = mem_zeroed(b->count + 1, sizeof *used), good = used || err_nomem(e, "a list of pictures");
    size_t partners = 0;
    for (size_t i = 0; good && i < a->count; i++) {
        long k = picture_set_partner(a, i, b);
        progress_step(progress, "comparing", (long)i, (long)a->count, NULL);
        good = stop_check(e);
        if (good && k >= 0) {
            partners += !used[k];
            used[k] = true;
            good = measure_files(&m, i, a->at[i].path, (size_t)k, b->at[k].path, fit, e);
        }
    }
    mem_free(used);
    progress_step(progress, "comparing", (long)a->count, (long)a->count, NULL);
    if (good && !m.count)
        good = err_set(e, ERR_MISSING, "the two folders have no pictures of the same name");
    if (good) {
        findings_number(f, NULL, "pairs", (double)m.count, 0);
        findings_number(f, NULL, "unpaired", (double)(a->count - m.count + b->count - partners), 0);
        sum_up(f, &m, a);
        good = list_pairs(f, &m, a, b, fit, pictures, e);
    }
    mem_free(m.at);
    return good && findings_ok(f, e);
}

bool compare_pair(struct findings *f, const char *a, const char *b, const struct compare_metrics *metrics, bool fit,
                  struct err *e)
{
    struct measures m = { .metrics = metrics };
    bool good = measure_files(&m, 0, a, 0, b, fit, e);
    for (int i = 0; good && i < metrics->count; i++)
        findings_number(f, NULL, metrics->at[i]->name, m.at[0].value[i], 6);
    mem_free(m.at);
    return good && findings_ok(f, e);
}

/* --- through a VAE --- */

/* Pictures first to first + n of the thinned set, and what the VAE makes of them. in, out [n]. */
static bool reconstruct(const struct picture_set *s, const size_t *indices, size_t n, struct reconstruction *vae, struct image *in,
                        struct image *out, struct err *e)
{
    int side = (int)vae->side;
    size_t bytes = (size_t)side * (size_t)side * 3;
    uint8_t *rgb = mem_aligned(2 * (size_t)vae->batch * bytes), *back = rgb ? rgb + (size_t)vae->batch * bytes : NULL;
    bool good = rgb || err_nomem(e, "pictures");
    for (size_t k = 0; good && k < n; k++)
        if ((good = picture_set_square(s, indices[k], side, &in[k], e)))
            memcpy(rgb + k * bytes, in[k].pixels, bytes);
    good = good && reconstruction_run(vae, rgb, (int64_t)n, back, e);
    for (size_t k = 0; good && k < n; k++)
        if ((good = image_make(&out[k], side, side, 3, e)))
            memcpy(out[k].pixels, back + k * bytes, bytes);
    mem_free(rgb);
    return good;
}

static void release_all(struct image *images, size_t n)
{
    for (size_t k = 0; k < n; k++)
        image_release(&images[k]);
}

static double squares_of(const struct image *a, const struct image *b)
{
    double sum = 0;
    for (size_t i = 0; i < image_bytes(a); i++)
        sum += (double)((a->pixels[i] - b->pixels[i]) * (a->pixels[i] - b->pixels[i]));
    return sum;
}

static bool list_reconstructed(struct findings *f, const struct measures *m, const struct picture_set *s,
                               struct reconstruction *vae, bool pictures, struct err *e)
{
    bool good = true;
    begin_table(f, m, "picture", "reconstruction", pictures);
    for (size_t r = 0; good && r < m->count; r++) {
        begin_row(f, m, r, s);
        if (!pictures || !findings_row_is_shown(f))
            continue;
        struct image in = { 0 }, out = { 0 };
        good = reconstruct(s, &m->at[r].a, 1, vae, &in, &out, e);
        if (good) {
            findings_cell_picture(f, &in, NULL);
            findings_cell_picture(f, &out, NULL);
        }
        image_release(&in);
        image_release(&out);
    }
    return good;
}

bool compare_reconstructed(struct findings *f, const struct picture_set *s, struct reconstruction *vae, int64_t most,
                           const struct compare_metrics *metrics, bool pictures, const struct progress *progress, struct err *e)
{
    struct measures m = { .metrics = metrics };
    size_t count = picture_set_thinned(s, most), batch = (size_t)vae->batch;
    struct image *in = mem_zeroed(2 * batch, sizeof *in), *out = in ? in + batch : NULL;
    size_t *indices = mem_zeroed(batch, sizeof *indices);
    double squares = 0;
    bool good = (in && indices) || err_nomem(e, "pictures");
    for (size_t i = 0; good && i < count; i += batch) {
        size_t n = count - i < batch ? count - i : batch;
        progress_step(progress, "reconstructing", (long)i, (long)count, NULL);
        for (size_t k = 0; k < n; k++)
            indices[k] = picture_set_nth(s, most, i + k);
        good = stop_check(e) && reconstruct(s, indices, n, vae, in, out, e);
        for (size_t k = 0; good && k < n; k++) {
            squares += squares_of(&in[k], &out[k]);
            good = measure(&m, indices[k], indices[k], &in[k], &out[k], e) || err_add(e, "%s", s->at[indices[k]].path);
        }
        release_all(in, 2 * batch);
        memset(in, 0, 2 * batch * sizeof *in);
    }
    progress_step(progress, "reconstructing", (long)count, (long)count, NULL);
    if (good) {
        findings_number(f, NULL, "pictures", (double)m.count, 0);
        findings_number(f, NULL, "side", (double)vae->side, 0);
        findings_number(f, NULL, "pooled_psnr", psnr_of(squares, (double)m.count * 3 * (double)(vae->side * vae->side)), 3);
        sum_up(f, &m, s);
        good = list_reconstructed(f, &m, s, vae, pictures, e);
    }
    mem_free(in);
    mem_free(indices);
    mem_free(m.at);
    return good && findings_ok(f, e);
}
