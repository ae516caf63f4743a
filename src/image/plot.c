#include "image/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "image/ink_internal.h"

enum { WIDTH = 960, HEIGHT = 540, MARGIN = 14, TICK = 5, TICKS_MAX = 64, LEGEND_MAX = 8 };
static const double CELL = 1.8, TITLE_CELL = 2.2;
static const uint32_t INK = 0x333A44, GRID = 0xE3E7EC, AXIS = 0x8A94A0;
static const uint32_t colours[] = { 0x2563C9, 0xD9480F, 0x2B8A3E, 0x9C36B5,
                                    0x0B7285, 0xC2255C, 0x846A00, 0x495057 };

/* An axis maps [low, high] of its values (their log10 if `log`) to pixels [from, to]. */
struct axis {
    double low, high, from, to;
    bool log;
    int ticks;
    double at[TICKS_MAX]; /* values */
    char label[TICKS_MAX][16];
};

static bool usable(double v, bool log)
{
    return isfinite(v) && (!log || v > 0);
}

static double pixel(const struct axis *a, double v)
{
    double t = ((a->log ? log10(v) : v) - a->low) / (a->high - a->low);
    return a->from + t * (a->to - a->from);
}

static void add_tick(struct axis *a, double v, int digits)
{
    if (a->ticks == TICKS_MAX)
        return;
    char *label = a->label[a->ticks];
    size_t bytes = sizeof a->label[0];
    double size = fabs(v);
    if (digits >= 0 && size < 1e4)
        snprintf(label, bytes, "%.*f", digits, v);
    else if (size >= 1e4 && size < 1e6)
        snprintf(label, bytes, "%.6gk", v / 1e3);
    else if (size >= 1e6 && size < 1e12)
        snprintf(label, bytes, "%.6gM", v / 1e6);
    else
        snprintf(label, bytes, "%.3g", v);
    a->at[a->ticks++] = v;
}

/* Multiples of 1, 2 or 5 times a power of ten, about `wanted` of them. */
static void linear_ticks(struct axis *a, int wanted)
{
    double rough = (a->high - a->low) / wanted, power = pow(10, floor(log10(rough))), m = rough / power;
    double each = power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
    int digits = each >= 1 ? 0 : (int)ceil(-log10(each) - 1e-9);
    if (digits > 6)
        digits = -1;
    for (double i = ceil(a->low / each - 1e-9); i * each <= a->high + each * 1e-9; i++)
        add_tick(a, i == 0 ? 0 : i * each, digits);
}

/* Powers of ten, and 2 and 5 times them where the range is short. */
static void log_ticks(struct axis *a)
{
    double decades = a->high - a->low;
    int each = (int)fmax(1, ceil(decades / 8));
    for (int p = (int)floor(a->low); p <= (int)ceil(a->high); p++)
        for (int m = 0; m < 3; m++) {
            static const double times[3] = { 1, 2, 5 };
            double v = times[m] * pow(10, p), at = log10(v);
            if (at < a->low - 1e-9 || at > a->high + 1e-9 || (m && decades > 3) || p % each != 0)
                continue;
            add_tick(a, v, -1);
        }
}

/* The range of all points; a single value or none is widened to something that can be divided by. */
static void find_range(struct axis *a, const struct plot *plot, bool is_y)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < plot->series_count; s++)
        for (size_t i = 0; i < plot->series[s].count; i++) {
            double x = plot->series[s].x[i], y = plot->series[s].y[i];
            if (!usable(x, false) || !usable(y, plot->log_y))
                continue;
            double v = is_y ? plot->log_y ? log10(y) : y : x;
            low = fmin(low, v);
            high = fmax(high, v);
        }
    if (low > high) {
        low = 0;
        high = 1;
    }
    double widest = fmax(fabs(low), fabs(high));
    if (high - low <= 1e-9 * widest || high == low) {
        double half = a->log ? 0.5 : widest > 0 ? widest * 0.1 : 0.5;
        low -= half;
        high += half;
    } else if (is_y) {
        double air = (high - low) * 0.05;
        bool touches_zero = !a->log && low >= 0 && low < (high - low) * 0.25;
        low = touches_zero ? 0 : low - air;
        high += air;
    }
    a->low = low;
    a->high = high;
}

/* Joins the points. Within one column of pixels only the first, lowest, highest and last are drawn: a million
 * steps look the same and cost no more than the picture is wide. */
struct pen {
    struct ink *ink;
    double radius, x, y; /* the point before */
    int column;
    double first_y, low, high, last_x, last_y;
    bool down, any;
};

static void pen_flush(struct pen *p)
{
    if (!p->any)
        return;
    double x = p->last_x;
    if (p->down)
        ink_line(p->ink, p->x, p->y, x, p->first_y, p->radius);
    ink_line(p->ink, x, p->low, x, p->high, p->radius);
    p->x = x;
    p->y = p->last_y;
    p->down = true;
    p->any = false;
}

static void pen_point(struct pen *p, double x, double y)
{
    int column = (int)floor(x);
    if (!p->any || column != p->column) {
        pen_flush(p);
        p->column = column;
        p->first_y = p->low = p->high = y;
        p->any = true;
    }
    p->low = fmin(p->low, y);
    p->high = fmax(p->high, y);
    p->last_x = x;
    p->last_y = y;
}

static void draw_line(struct ink *ink, const struct plot_series *s, const struct axis *x,
                      const struct axis *y, double smooth, double radius)
{
    struct pen pen = { .ink = ink, .radius = radius };
    double mean = 0, weight = 0; /* the mean so far is mean / weight: early points are not pulled towards 0 */
    for (size_t i = 0; i < s->count; i++) {
        if (!usable(s->x[i], false) || !usable(s->y[i], y->log))
            continue;
        mean = smooth * mean + (1 - smooth) * s->y[i];
        weight = smooth * weight + (1 - smooth);
        pen_point(&pen, pixel(x, s->x[i]), pixel(y, mean / weight));
    }
    pen_flush(&pen);
}

static void draw_axes(struct ink *ink, struct image *out, const struct plot *plot, const struct axis *x,
                      const struct axis *y)
{
    double high = 7 * CELL;
    for (int i = 0; i < x->ticks; i++)
        ink_line(ink, pixel(x, x->at[i]), y->from, pixel(x, x->at[i]), y->to, 0.5);
    for (int i = 0; i < y->ticks; i++)
        ink_line(ink, x->from, pixel(y, y->at[i]), x->to, pixel(y, y->at[i]), 0.5);
    ink_flush(ink, out, GRID, 1);
    ink_line(ink, x->from, y->from, x->to, y->from, 0.6);
    ink_line(ink, x->from, y->from, x->from, y->to, 0.6);
    for (int i = 0; i < x->ticks; i++)
        ink_line(ink, pixel(x, x->at[i]), y->from, pixel(x, x->at[i]), y->from + TICK, 0.6);
    for (int i = 0; i < y->ticks; i++)
        ink_line(ink, x->from - TICK, pixel(y, y->at[i]), x->from, pixel(y, y->at[i]), 0.6);
    ink_flush(ink, out, AXIS, 1);
    double free_from = -INFINITY; /* a label that would touch the one before it is left out */
    for (int i = 0; i < x->ticks; i++) {
        double w = ink_text_width(x->label[i], CELL), left = pixel(x, x->at[i]) - w / 2;
        if (left < free_from || left + w > ink->width)
            continue;
        ink_text(ink, left, y->from + TICK + 4, x->label[i], CELL, false);
        free_from = left + w + 6 * CELL;
    }
    for (int i = 0; i < y->ticks; i++)
        ink_text(ink, x->from - TICK - 5 - ink_text_width(y->label[i], CELL), pixel(y, y->at[i]) - high / 2,
                 y->label[i], CELL, false);
    if (plot->x_label)
        ink_text(ink, (x->from + x->to - ink_text_width(plot->x_label, CELL)) / 2,
                 ink->height - MARGIN - high, plot->x_label, CELL, false);
    if (plot->y_label)
        ink_text(ink, MARGIN, (y->from + y->to + ink_text_width(plot->y_label, CELL)) / 2, plot->y_label,
                 CELL, true);
    if (plot->title)
        ink_text(ink, (x->from + x->to - ink_text_width(plot->title, TITLE_CELL)) / 2, MARGIN, plot->title,
                 TITLE_CELL, false);
    ink_flush(ink, out, INK, 1);
}

static void draw_legend(struct ink *ink, struct image *out, const struct plot *plot, const struct axis *x,
                        const struct axis *y)
{
    enum { LINE = 24, GAP = 10 };
    double widest = 0, row = 7 * CELL + 8;
    int rows = 0;
    for (size_t s = 0; s < plot->series_count; s++)
        if (plot->series[s].name && rows < LEGEND_MAX) {
            widest = fmax(widest, ink_text_width(plot->series[s].name, CELL));
            rows++;
        }
    if (!rows)
        return;
    double left = x->to - widest - LINE - 3 * GAP, top = y->to + GAP;
    double right = x->to - GAP / 2.0, bottom = top + rows * row + 4;
    for (double j = top; j < bottom; j++)
        ink_line(ink, left - GAP / 2.0, j, right, j, 0.7);
    ink_flush(ink, out, 0xFFFFFF, 0.85);
    rows = 0;
    for (size_t s = 0; s < plot->series_count && rows < LEGEND_MAX; s++) {
        if (!plot->series[s].name)
            continue;
        double at = top + 6 + rows++ * row;
        ink_line(ink, left + 2, at + 3.5 * CELL, left + LINE, at + 3.5 * CELL, 1.5);
        ink_flush(ink, out, colours[s % (sizeof colours / sizeof *colours)], 1);
        ink_text(ink, left + LINE + GAP, at, plot->series[s].name, CELL, false);
        ink_flush(ink, out, INK, 1);
    }
}

bool plot_draw(struct image *out, const struct plot *plot, struct err *e)
{
    *out = (struct image){ 0 };
    int width = plot->width ? plot->width : WIDTH, height = plot->height ? plot->height : HEIGHT;
    if (width < 160 || height < 120)
        return err_set(e, ERR_ARG, "a plot of %dx%d: at least 160x120", width, height);
    struct axis x = { 0 }, y = { .log = plot->log_y };
    find_range(&x, plot, false);
    find_range(&y, plot, true);
    double high = 7 * CELL, widest = 0;
    y.from = height - MARGIN - TICK - 6 - high - (plot->x_label ? high + 8 : 0);
    y.to = MARGIN + (plot->title ? 7 * TITLE_CELL + 10 : 6);
    if (y.log)
        log_ticks(&y);
    if (y.ticks < 2) { /* a log axis shorter than from 2 to 5 has no room for more: mark plain values */
        struct axis plain = { .low = y.log ? pow(10, y.low) : y.low,
                              .high = y.log ? pow(10, y.high) : y.high };
        linear_ticks(&plain, (int)fmax(2, (y.from - y.to) / 55));
        y.ticks = plain.ticks;
        memcpy(y.at, plain.at, sizeof y.at);
        memcpy(y.label, plain.label, sizeof y.label);
    }
    for (int i = 0; i < y.ticks; i++)
        widest = fmax(widest, ink_text_width(y.label[i], CELL));
    x.from = MARGIN + (plot->y_label ? high + 10 : 0) + widest + TICK + 5;
    x.to = width - 2 * MARGIN;
    linear_ticks(&x, (int)fmax(2, (x.to - x.from) / 110));
    if (!image_make(out, width, height, 3, e))
        return false;
    struct ink ink;
    if (!ink_init(&ink, width, height, e)) {
        image_release(out);
        return false;
    }
    image_fill(out, 0xFFFFFF);
    draw_axes(&ink, out, plot, &x, &y);
    for (size_t s = 0; s < plot->series_count; s++) {
        const struct plot_series *line = &plot->series[s];
        uint32_t colour = colours[s % (sizeof colours / sizeof *colours)];
        bool smooth = line->smooth > 0 && line->smooth < 1;
        draw_line(&ink, line, &x, &y, 0, smooth ? 0.6 : 1.0);
        ink_flush(&ink, out, colour, smooth ? 0.28 : 1);
        if (smooth) {
            draw_line(&ink, line, &x, &y, line->smooth, 1.1);
            ink_flush(&ink, out, colour, 1);
        }
    }
    draw_legend(&ink, out, plot, &x, &y);
    ink_release(&ink);
    return true;
}

bool plot_save_png(const char *path, const struct plot *plot, struct err *e)
{
    struct image image;
    if (!plot_draw(&image, plot, e))
        return err_add(e, "plotting %s", path);
    bool good = image_save_png(path, &image, NULL, 0, e);
    image_release(&image);
    return good;
}
