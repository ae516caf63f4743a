#include "evaluate/leak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAP = LIKENESS_MAP * LIKENESS_MAP, USUAL = 300, SHOWN = 100, SHOWN_NEAR = 3 };

static const char *const measure_names[LEAK_MEASURES] = { "structure", "pixels", "latents" };

/* Everything that is asked for: the drawn pictures, then the training pictures that stand for drawn ones. */
struct search {
    const struct leak_options *o;
    struct leak *leak;
    size_t asked; /* of both kinds */
    float *maps;  /* [asked, 2, MAP] */
};

static struct leak_answer *answer_of(const struct search *s, size_t i)
{
    return i < s->leak->drawn_count ? &s->leak->drawn[i] : &s->leak->usual[i - s->leak->drawn_count];
}

static bool is_usual(const struct search *s, size_t i)
{
    return i >= s->leak->drawn_count;
}

static const struct picture_set *set_of(const struct search *s, size_t i)
{
    return is_usual(s, i) ? s->o->trained : s->o->drawn;
}

static bool look_at(const struct picture_set *set, size_t i, struct likeness *out, struct err *e)
{
    struct image square;
    if (!picture_set_square(set, i, LIKENESS_SIDE, &square, e))
        return false;
    likeness_init(out, &square);
    image_release(&square);
    return true;
}

/* The first error of any thread becomes the caller's. */
static void keep_error(bool *failed, struct err *e, const struct err *mine)
{
#pragma omp critical(leak_error)
    {
        *failed = true;
        err_set(e, mine->code, "%s", mine->text);
    }
}

/* --- finding --- */

static bool read_asked(struct search *s, struct err *e)
{
    bool failed = false;
#pragma omp parallel
    {
        struct likeness *l = mem_aligned(sizeof *l);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < s->asked; i++) {
            struct err mine = { 0 };
            if (failed)
                continue;
            if ((l || err_nomem(&mine, "a picture")) && look_at(set_of(s, i), answer_of(s, i)->asked, l, &mine))
                likeness_asked(l, s->maps + 2 * i * MAP);
            else
                keep_error(&failed, e, &mine);
        }
        mem_free(l);
    }
    return !failed;
}

/* Whether a is to stand before b: more alike, or as alike and earlier in the set; so the order in which they come is nothing. */
static bool is_before(const struct leak_match *a, const struct leak_match *b)
{
    return a->match.structure > b->match.structure || (a->match.structure == b->match.structure && a->trained < b->trained);
}

static void keep_match(struct leak_answer *a, struct leak_match m)
{
    size_t at = a->near_count;
    if (at == LEAK_KEPT && !is_before(&m, &a->near[at - 1]))
        return;
    at = at == LEAK_KEPT ? at - 1 : a->near_count++;
    for (; at > 0 && is_before(&m, &a->near[at - 1]); at--)
        a->near[at] = a->near[at - 1];
    a->near[at] = m;
}

/* A training picture that stands for a drawn one has no likeness to itself, nor to what shows the same. */
static bool counts(const struct search *s, size_t i, size_t trained)
{
    const struct picture_set *set = s->o->trained;
    size_t self = answer_of(s, i)->asked;
    return !is_usual(s, i) || (trained != self && (set->at[self].subject < 0 || set->at[self].subject != set->at[trained].subject));
}

static bool find_all(struct search *s, const struct progress *progress, struct err *e)
{
    const struct picture_set *set = s->o->trained;
    bool failed = false;
    size_t done = 0;
#pragma omp parallel
    {
        struct likeness *l = mem_aligned(sizeof *l);
        float *maps = mem_aligned(LIKENESS_WINDOWS * MAP * sizeof *maps);
        struct match *best = mem_aligned(s->asked * sizeof *best);
#pragma omp for schedule(dynamic)
        for (size_t t = 0; t < set->count; t++) {
            struct err mine = { 0 };
            if (failed)
                continue;
            if (!(l && maps && best) ? err_nomem(&mine, "a picture") : stop_check(&mine) && look_at(set, t, l, &mine)) {
                likeness_find(l, s->maps, s->asked, maps, best);
#pragma omp critical(leak_keep)
                {
                    for (size_t i = 0; i < s->asked; i++)
                        if (counts(s, i, t))
                            keep_match(answer_of(s, i), (struct leak_match){ t, best[i] });
                    progress_step(progress, "looking through the training pictures", (long)++done, (long)set->count, NULL);
                }
            } else {
                keep_error(&failed, e, &mine);
            }
        }
        mem_free(l);
        mem_free(maps);
        mem_free(best);
    }
    return !failed;
}

/* --- judging --- */

static void refine_one(struct search *s, size_t i, struct likeness *asked, struct likeness *from, struct err *e)
{
    struct leak_answer *a = answer_of(s, i);
    struct leak_match near[LEAK_KEPT];
    size_t count = a->near_count;
    memcpy(near, a->near, sizeof near);
    a->near_count = 0;
    a->measure[LEAK_STRUCTURE] = -1;
    a->measure[LEAK_PIXELS] = 255;
    a->measure[LEAK_LATENTS] = NAN;
    if (!look_at(set_of(s, i), a->asked, asked, e))
        return;
    for (size_t k = 0; k < count; k++) {
        if (!look_at(s->o->trained, near[k].trained, from, e))
            return;
        /* Of a picture that is nearly its own mirror image the coarse map may have taken the wrong one. */
        struct match turned = near[k].match;
        turned.mirrored = !turned.mirrored;
        likeness_refine(asked, from, &near[k].match);
        likeness_refine(asked, from, &turned);
        if (turned.structure > near[k].match.structure)
            near[k].match = turned;
        keep_match(a, near[k]);
        a->measure[LEAK_STRUCTURE] = fmax(a->measure[LEAK_STRUCTURE], near[k].match.structure);
        a->measure[LEAK_PIXELS] = fmin(a->measure[LEAK_PIXELS], near[k].match.pixels);
    }
}

static bool refine_all(struct search *s, const struct progress *progress, struct err *e)
{
    bool failed = false;
    size_t done = 0;
#pragma omp parallel
    {
        struct likeness *asked = mem_aligned(sizeof *asked), *from = mem_aligned(sizeof *from);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < s->asked; i++) {
            struct err mine = { 0 };
            if (failed)
                continue;
            if (asked && from && stop_check(&mine))
                refine_one(s, i, asked, from, &mine);
            else
                err_nomem(&mine, "a picture");
            if (mine.code)
                keep_error(&failed, e, &mine);
#pragma omp critical(leak_keep)
            progress_step(progress, "looking closely", (long)++done, (long)s->asked, NULL);
        }
        mem_free(asked);
        mem_free(from);
    }
    return !failed;
}

/* What a match compares: the asked picture (mirrored where it was found so), and the part of the training picture. */
static bool matched_pictures(const struct search *s, size_t i, const struct leak_match *m, int side, struct image *asked,
                             struct image *part, struct err *e)
{
    struct image whole = { 0 }, square = { 0 }, cut = { 0 };
    *asked = *part = whole;
    bool good = picture_set_square(set_of(s, i), answer_of(s, i)->asked, side, asked, e) &&
                picture_set_load(s->o->trained, m->trained, &whole, e);
    int longest = good ? (whole.width < whole.height ? whole.width : whole.height) : 0;
    good = good && picture_square(&whole, longest, &square, e);
    if (good) {
        const struct window *w = &m->match.window;
        int length = (int)lround(w->side * longest), x = (int)lround(w->x * longest), y = (int)lround(w->y * longest);
        length = length < 1 ? 1 : length;
        x = x + length > longest ? longest - length : x;
        y = y + length > longest ? longest - length : y;
        good = image_crop(&cut, &square, x, y, length, length, e) && picture_square(&cut, side, part, e);
        if (good && m->match.mirrored)
            image_mirror(asked);
    }
    image_release(&whole);
    image_release(&square);
    image_release(&cut);
    return good;
}

/* Correlation of two latents, channel by channel freed from their means: what remains when colour as a whole is another. */
static double correlation(const float *a, const float *b, int64_t cells, int64_t channels)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t c = 0; c < channels; c++) {
        double ma = 0, mb = 0;
        for (int64_t i = 0; i < cells; i++) {
            ma += a[i * channels + c];
            mb += b[i * channels + c];
        }
        ma /= (double)cells;
        mb /= (double)cells;
        for (int64_t i = 0; i < cells; i++) {
            double x = a[i * channels + c] - ma, y = b[i * channels + c] - mb;
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static bool compare_latents(struct search *s, const struct progress *progress, struct err *e)
{
    struct reconstruction *vae = s->o->vae;
    int64_t cells = reconstruction_cells(vae) * reconstruction_cells(vae), channels = reconstruction_channels(vae);
    float *a = mem_aligned(2 * (size_t)(cells * channels) * sizeof *a), *b = a ? a + cells * channels : NULL;
    bool good = a || err_nomem(e, "latents");
    for (size_t i = 0; good && i < s->asked; i++) {
        struct leak_answer *answer = answer_of(s, i);
        struct image asked = { 0 }, part = { 0 };
        progress_step(progress, "comparing latents", (long)i, (long)s->asked, NULL);
        good = stop_check(e) && matched_pictures(s, i, &answer->near[0], (int)vae->side, &asked, &part, e) &&
               reconstruction_encode(vae, asked.pixels, 1, a, e) && reconstruction_encode(vae, part.pixels, 1, b, e);
        if (good)
            answer->measure[LEAK_LATENTS] = correlation(a, b, cells, channels);
        image_release(&asked);
        image_release(&part);
    }
    mem_free(a);
    return good;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A measure on a scale without ends, the larger the nearer: correlations as Fisher 1915, "Frequency distribution of the values of the
 * correlation coefficient", and the logarithm of a difference. And back. */
static double to_scale(enum leak_measure m, double v)
{
    return m == LEAK_PIXELS ? -log(v + 0.1) : atanh(fmin(fmax(v, -1), 1 - 1e-6));
}

static double from_scale(enum leak_measure m, double v)
{
    return m == LEAK_PIXELS ? fmax(exp(-v) - 0.1, 0) : tanh(v);
}

/* The value that a share of the usual ones passes. The best of many chances is spread as Gumbel 1935 has it ("Les valeurs extremes
 * des distributions statistiques"), F(x) = exp(-exp(-(x - m) / b)): m and b are taken from the quartiles, which stay where they are though
 * up to a quarter of the pictures are in the set twice. */
static bool set_threshold(struct leak *l, enum leak_measure m, double share, struct err *e)
{
    double *values = mem_aligned((l->usual_count + 1) * sizeof *values), quartile[3];
    if (!values)
        return err_nomem(e, "thresholds");
    for (size_t i = 0; i < l->usual_count; i++)
        values[i] = to_scale(m, l->usual[i].measure[m]);
    qsort(values, l->usual_count, sizeof *values, by_value);
    for (int q = 0; q < 3; q++) {
        double at = 0.25 * (q + 1) * (double)(l->usual_count - 1), low = floor(at);
        size_t i = (size_t)low, next = i + 1 < l->usual_count ? i + 1 : i;
        quartile[q] = values[i] + (at - low) * (values[next] - values[i]);
    }
    double b = (quartile[2] - quartile[0]) / (log(log(4)) - log(log(4.0 / 3)));
    l->threshold[m] = from_scale(m, quartile[1] + b * (log(log(2)) - log(-log1p(-share))));
    mem_free(values);
    return true;
}

static bool judge(struct leak *l, double share, struct err *e)
{
    for (int m = 0; m < LEAK_MEASURES; m++)
        if ((m != LEAK_LATENTS || l->latents) && !set_threshold(l, (enum leak_measure)m, share, e))
            return false;
    l->threshold[LEAK_PIXELS] = fmax(l->threshold[LEAK_PIXELS], LEAK_SAME_PIXELS);
    for (size_t i = 0; i < l->drawn_count; i++) {
        struct leak_answer *a = &l->drawn[i];
        a->says[LEAK_STRUCTURE] = a->measure[LEAK_STRUCTURE] > l->threshold[LEAK_STRUCTURE];
        a->says[LEAK_PIXELS] = a->measure[LEAK_PIXELS] < l->threshold[LEAK_PIXELS];
        a->says[LEAK_LATENTS] = l->latents && a->measure[LEAK_LATENTS] > l->threshold[LEAK_LATENTS];
        a->copy = a->says[LEAK_STRUCTURE] || a->says[LEAK_PIXELS] || a->says[LEAK_LATENTS];
    }
    return true;
}

static bool prepare(struct search *s, struct err *e)
{
    const struct leak_options *o = s->o;
    struct leak *l = s->leak;
    int64_t usual = o->calibrate ? o->calibrate : USUAL;
    if (o->trained->count < 3)
        return err_set(e, ERR_ARG, "%zu training pictures: at least 3 are needed to know how alike they are", o->trained->count);
    l->drawn_count = o->drawn->count;
    l->usual_count = picture_set_thinned(o->trained, usual);
    l->latents = o->vae != NULL;
    s->asked = l->drawn_count + l->usual_count;
    l->drawn = mem_zeroed(l->drawn_count + 1, sizeof *l->drawn);
    l->usual = mem_zeroed(l->usual_count + 1, sizeof *l->usual);
    s->maps = mem_aligned(2 * s->asked * MAP * sizeof *s->maps);
    if (!l->drawn || !l->usual || !s->maps)
        return err_nomem(e, "the pictures that are asked for");
    for (size_t i = 0; i < l->drawn_count; i++)
        l->drawn[i].asked = i;
    for (size_t i = 0; i < l->usual_count; i++)
        l->usual[i].asked = picture_set_nth(o->trained, usual, i);
    return true;
}

bool leak_find(struct leak *l, const struct leak_options *o, const struct progress *progress, struct err *e)
{
    struct search s = { .o = o, .leak = l };
    *l = (struct leak){ 0 };
    bool good = prepare(&s, e) && read_asked(&s, e) && find_all(&s, progress, e) && refine_all(&s, progress, e) &&
                (!o->vae || compare_latents(&s, progress, e)) && judge(l, o->share > 0 ? o->share : 0.01, e);
    mem_free(s.maps);
    if (!good)
        leak_release(l);
    return good;
}

void leak_release(struct leak *l)
{
    mem_free(l->drawn);
    mem_free(l->usual);
    *l = (struct leak){ 0 };
}

/* --- telling --- */

static int by_alarm(const void *a, const void *b)
{
    const struct leak_answer *x = *(const struct leak_answer *const *)a, *y = *(const struct leak_answer *const *)b;
    if (x->copy != y->copy)
        return x->copy ? -1 : 1;
    double p = x->measure[LEAK_STRUCTURE], q = y->measure[LEAK_STRUCTURE];
    return p != q ? (p < q) - (p > q) : (x->asked > y->asked) - (x->asked < y->asked);
}

static void tell_how(struct findings *f, const struct match *m)
{
    char how[100];
    size_t n = m->window.side > 0.97 ? (size_t)snprintf(how, sizeof how, "whole")
                                     : (size_t)snprintf(how, sizeof how, "%.0f %% of the side at %.0f, %.0f", 100 * m->window.side,
                                                        100 * m->window.x, 100 * m->window.y);
    findings_cell_text(f, "%.*s%s", (int)n, how, m->mirrored ? ", mirrored" : "");
}

static bool tell_drawn(struct findings *f, const struct search *s, bool pictures, struct err *e)
{
    struct leak *l = s->leak;
    const struct leak_answer **order = mem_zeroed(l->drawn_count + 1, sizeof *order);
    bool good = order || err_nomem(e, "an order");
    for (size_t i = 0; good && i < l->drawn_count; i++)
        order[i] = &l->drawn[i];
    if (good)
        qsort(order, l->drawn_count, sizeof *order, by_alarm);
    findings_table(f, "pictures", "Drawn pictures, the most like a training picture first", SHOWN);
    findings_column(f, "name", "", 0);
    findings_column(f, "copy", "1: more like a training picture than training pictures are like each other", 0);
    findings_column(f, "nearest", "the training picture that it is most like", 0);
    findings_column(f, "structure", "correlation of edges at the same place, 1: the same", 3);
    findings_column(f, "pixels", "difference of colours at the same place, 0: the same, 255: black and white", 1);
    if (l->latents)
        findings_column(f, "latents", "correlation of VAE latents, 1: the same", 3);
    findings_column(f, "part", "of the training picture that was found", 0);
    findings_column(f, "second", "", 0);
    findings_column(f, "second_structure", "", 3);
    findings_column(f, "third", "", 0);
    findings_column(f, "third_structure", "", 3);
    if (pictures) {
        findings_column(f, "drawn", "", 0);
        findings_column(f, "most like", "", 0);
        findings_column(f, "next", "", 0);
        findings_column(f, "third one", "", 0);
    }
    for (size_t i = 0; good && i < l->drawn_count; i++) {
        const struct leak_answer *a = order[i];
        findings_row(f);
        findings_cell_text(f, "%s", s->o->drawn->at[a->asked].name);
        findings_cell_number(f, a->copy);
        findings_cell_text(f, "%s", s->o->trained->at[a->near[0].trained].name);
        for (int m = 0; m < LEAK_MEASURES; m++)
            if (m != LEAK_LATENTS || l->latents)
                findings_cell_number(f, a->measure[m]);
        tell_how(f, &a->near[0].match);
        for (size_t k = 1; k < SHOWN_NEAR; k++) {
            if (k < a->near_count) {
                findings_cell_text(f, "%s", s->o->trained->at[a->near[k].trained].name);
                findings_cell_number(f, a->near[k].match.structure);
            } else {
                findings_cell_none(f);
                findings_cell_none(f);
            }
        }
        if (a->copy)
            findings_mark(f);
        for (size_t k = 0; good && pictures && findings_row_is_shown(f) && k <= SHOWN_NEAR && k <= a->near_count; k++) {
            struct image image;
            good = picture_set_square(k ? s->o->trained : s->o->drawn, k ? a->near[k - 1].trained : a->asked, 128, &image, e);
            if (good)
                findings_cell_picture(f, &image, NULL);
            image_release(&image);
        }
    }
    mem_free(order);
    return good;
}

static bool tell_repeated(struct findings *f, const struct search *s, bool pictures, struct err *e)
{
    const struct leak *l = s->leak;
    const struct picture_set *set = s->o->trained;
    bool good = true;
    findings_table(f, "repeated", "Training pictures that are repeated", SHOWN);
    findings_column(f, "name", "", 0);
    findings_column(f, "times", "drawn pictures that are copies of it", 0);
    findings_column(f, "drawn_as", "", 0);
    if (pictures)
        findings_column(f, "picture", "", 0);
    /* By how often; few, so looked for again and again. */
    size_t most = 0, *times = mem_zeroed(set->count + 1, sizeof *times);
    if (!times)
        return err_nomem(e, "how often pictures are repeated");
    for (size_t i = 0; i < l->drawn_count; i++)
        if (l->drawn[i].copy) {
            size_t n = ++times[l->drawn[i].near[0].trained];
            most = n > most ? n : most;
        }
    for (size_t n = most; good && n > 0; n--)
        for (size_t t = 0; good && t < set->count; t++) {
            struct text names;
            if (times[t] != n)
                continue;
            text_init(&names, 1 << 20);
            for (size_t i = 0; i < l->drawn_count; i++)
                if (l->drawn[i].copy && l->drawn[i].near[0].trained == t)
                    text_addf(&names, "%s%s", names.length ? ", " : "", s->o->drawn->at[l->drawn[i].asked].name);
            findings_row(f);
            findings_cell_text(f, "%s", set->at[t].name);
            findings_cell_number(f, (double)n);
            findings_cell_text(f, "%s", text_string(&names));
            text_release(&names);
            if (pictures && findings_row_is_shown(f)) {
                struct image image;
                good = picture_set_square(set, t, 128, &image, e);
                if (good)
                    findings_cell_picture(f, &image, NULL);
                image_release(&image);
            }
        }
    mem_free(times);
    return good;
}

bool leak_findings(struct findings *f, const struct leak *l, const struct leak_options *o, bool pictures, struct err *e)
{
    struct search s = { .o = o, .leak = (struct leak *)l };
    size_t copies = 0;
    for (size_t i = 0; i < l->drawn_count; i++)
        copies += l->drawn[i].copy;
    findings_number(f, NULL, "drawn_pictures", (double)l->drawn_count, 0);
    findings_number(f, NULL, "training_pictures", (double)o->trained->count, 0);
    findings_number(f, NULL, "copies", (double)copies, 0);
    findings_number(f, NULL, "share", (double)copies / (double)l->drawn_count, 3);
    for (int m = 0; m < LEAK_MEASURES; m++)
        if (m != LEAK_LATENTS || l->latents)
            findings_number(f, "threshold", measure_names[m], l->threshold[m], m == LEAK_PIXELS ? 1 : 3);
    findings_number(f, "threshold", "calibrated_on", (double)l->usual_count, 0);
    findings_words(f, "A picture counts as a copy if one of its measures passes a threshold. The thresholds are what %g %% of pictures "
                      "like these would pass by chance, as the training pictures' likeness among themselves tells.", 100 * (o->share > 0 ? o->share : 0.01));
    return tell_drawn(f, &s, pictures, e) && tell_repeated(f, &s, pictures, e) && findings_ok(f, e);
}
