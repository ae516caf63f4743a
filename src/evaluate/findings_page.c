/* What was found as one file of HTML: style, pictures and curves are inside, and nothing runs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "evaluate/findings.h"

enum { CURVE_WIDTH = 720, CURVE_HEIGHT = 300, LEFT = 64, RIGHT = 16, TOP = 14, BOTTOM = 42 };

/* Text between tags and in attributes. */
static void escape(struct text *out, const char *s)
{
    for (; s && *s; s++)
        switch (*s) {
        case '&': text_add(out, "&amp;"); break;
        case '<': text_add(out, "&lt;"); break;
        case '>': text_add(out, "&gt;"); break;
        case '"': text_add(out, "&quot;"); break;
        default: text_add_bytes(out, s, 1);
        }
}

/* RFC 4648, section 4. */
static void base64(struct text *out, const uint8_t *p, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t three = (uint32_t)p[i] << 16 | (i + 1 < bytes ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < bytes ? p[i + 2] : 0u);
        char four[4];
        for (int k = 0; k < 4; k++)
            four[k] = i + (size_t)k <= bytes ? digits[three >> (18 - 6 * k) & 63] : '=';
        text_add_bytes(out, four, 4);
    }
}

static void add_value(struct text *out, const struct finding *v, int decimals)
{
    switch (v->kind) {
    case FINDING_NUMBER:
        if (isfinite(v->number))
            text_addf(out, "%.*f", decimals, v->number);
        else
            text_add(out, isnan(v->number) ? "–" : v->number > 0 ? "∞" : "−∞");
        break;
    case FINDING_TEXT:
        escape(out, v->text);
        break;
    case FINDING_PICTURE:
        text_addf(out, "<img width=\"%d\" height=\"%d\" alt=\"", v->width, v->height);
        escape(out, v->text ? v->text : "");
        text_add(out, "\" src=\"data:image/png;base64,");
        base64(out, v->png, v->png_bytes);
        text_add(out, "\">");
        if (v->text) {
            text_add(out, "<br><small>");
            escape(out, v->text);
            text_add(out, "</small>");
        }
        break;
    case FINDING_NONE:
        break;
    }
}

static void add_facts(struct text *out, const struct findings *f)
{
    if (f->fact_count)
        text_add(out, "<table class=\"facts\">\n");
    for (size_t i = 0; i < f->fact_count; i++) {
        const struct findings_fact *a = &f->facts[i];
        text_add(out, "<tr><th>");
        escape(out, a->group);
        text_add(out, *a->group ? " " : "");
        escape(out, a->key);
        text_add(out, "</th><td>");
        add_value(out, &a->value, a->decimals);
        text_add(out, "</td></tr>\n");
    }
    if (f->fact_count)
        text_add(out, "</table>\n");
}

/* The order of columns: what a row is, its pictures, which a wide table would hide at its right end, then the rest. Many pictures of a row
 * stay where they are. */
static void order_columns(const struct findings_table *t, size_t order[FINDINGS_COLUMNS])
{
    enum { FEW = 3 };
    bool shows[FINDINGS_COLUMNS] = { false };
    size_t pictures = 0, at = 0;
    for (size_t c = 1; c < t->column_count; c++) {
        for (size_t i = c; i < t->cell_count && !shows[c]; i += t->column_count)
            shows[c] = t->cells[i].kind == FINDING_PICTURE;
        pictures += shows[c];
    }
    order[at++] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t c = 1; c < t->column_count; c++)
            if (pictures > FEW ? pass == 0 : shows[c] == (pass == 0))
                order[at++] = c;
}

static void add_table(struct text *out, const struct findings_table *t)
{
    size_t rows = t->shown && t->shown < t->rows ? t->shown : t->rows, order[FINDINGS_COLUMNS];
    order_columns(t, order);
    if (*t->title) {
        text_add(out, "<h2>");
        escape(out, t->title);
        text_add(out, "</h2>\n");
    }
    text_add(out, "<div class=\"wide\"><table>\n<tr>");
    for (size_t c = 0; c < t->column_count; c++) {
        text_add(out, "<th title=\"");
        escape(out, t->columns[order[c]].help);
        text_add(out, "\">");
        escape(out, t->columns[order[c]].name);
        text_add(out, "</th>");
    }
    text_add(out, "</tr>\n");
    for (size_t r = 0; r < rows; r++) {
        text_add(out, t->marked[r] ? "<tr class=\"best\">" : "<tr>");
        for (size_t c = 0; c < t->column_count; c++) {
            static const struct finding nothing;
            size_t cell = r * t->column_count + order[c];
            const struct finding *v = cell < t->cell_count ? &t->cells[cell] : &nothing;
            text_add(out, v->kind == FINDING_NUMBER ? "<td class=\"number\">" : "<td>");
            add_value(out, v, t->columns[order[c]].decimals);
            text_add(out, "</td>");
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table></div>\n");
    if (rows < t->rows)
        text_addf(out, "<p>The first %zu of %zu.</p>\n", rows, t->rows);
    for (size_t c = 0; c < t->column_count; c++)
        if (*t->columns[c].help) {
            text_add(out, "<p class=\"help\"><b>");
            escape(out, t->columns[c].name);
            text_add(out, "</b>: ");
            escape(out, t->columns[c].help);
            text_add(out, "</p>\n");
        }
}

/* --- curves --- */

struct axis {
    double least, most, step; /* step: between its marks, 1, 2 or 5 times a power of ten */
};

static struct axis axis_of(double least, double most)
{
    if (!(most > least)) {
        double around = fabs(least) > 0 ? fabs(least) * 0.1 : 1;
        least -= around;
        most += around;
    }
    double rough = (most - least) / 5, ten = pow(10, floor(log10(rough)));
    double step = rough <= ten ? ten : rough <= 2 * ten ? 2 * ten : rough <= 5 * ten ? 5 * ten : 10 * ten;
    return (struct axis){ floor(least / step) * step, ceil(most / step) * step, step };
}

static struct axis axis_of_curve(const struct findings_curve *c, bool across)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t s = 0; s < c->series_count; s++)
        for (size_t i = 0; i < c->series[s].count; i++) {
            double v = across ? c->series[s].x[i] : c->series[s].y[i];
            least = fmin(least, v);
            most = fmax(most, v);
        }
    return isfinite(least) ? axis_of(least, most) : axis_of(0, 1);
}

static double place(const struct axis *a, double v, double from, double to)
{
    return from + (v - a->least) / (a->most - a->least) * (to - from);
}

static void add_axes(struct text *out, const struct findings_curve *c, const struct axis *x, const struct axis *y)
{
    const double bottom = CURVE_HEIGHT - BOTTOM, right = CURVE_WIDTH - RIGHT;
    long marks = lround((x->most - x->least) / x->step);
    for (long i = 0; i <= marks; i++) {
        double v = x->least + (double)i * x->step, at = place(x, v, LEFT, right);
        text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n", at, bottom + 16, fabs(v) < x->step / 2 ? 0 : v);
    }
    marks = lround((y->most - y->least) / y->step);
    for (long i = 0; i <= marks; i++) {
        double v = y->least + (double)i * y->step, at = place(y, v, bottom, TOP);
        text_addf(out, "<line x1=\"%d\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                       "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT, right, at, at, LEFT - 6, at + 4,
                  fabs(v) < y->step / 2 ? 0 : v);
    }
    text_addf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", (LEFT + right) / 2, CURVE_HEIGHT - 8);
    escape(out, c->x_label);
    text_addf(out, "</text>\n<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">", (TOP + bottom) / 2);
    escape(out, c->y_label);
    text_add(out, "</text>\n");
}

static void add_curve(struct text *out, const struct findings_curve *c)
{
    static const char *const colours[] = { "#1f5fbf", "#c2491d", "#2b8a3e", "#8a3ab9", "#a87b00", "#00808a", "#b3195c", "#555555" };
    struct axis x = axis_of_curve(c, true), y = axis_of_curve(c, false);
    const double bottom = CURVE_HEIGHT - BOTTOM, right = CURVE_WIDTH - RIGHT;
    text_add(out, "<h2>");
    escape(out, c->title);
    text_addf(out, "</h2>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", CURVE_WIDTH, CURVE_HEIGHT, CURVE_WIDTH,
              CURVE_HEIGHT);
    add_axes(out, c, &x, &y);
    for (size_t s = 0; s < c->series_count; s++) {
        const struct findings_series *one = &c->series[s];
        const char *colour = colours[s % (sizeof colours / sizeof *colours)];
        text_addf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
        for (size_t i = 0; i < one->count; i++)
            text_addf(out, "%.1f,%.1f ", place(&x, one->x[i], LEFT, right), place(&y, one->y[i], bottom, TOP));
        text_add(out, "\"/>\n");
        for (size_t i = 0; i < one->count; i++)
            if (one->count <= 60 || (long)i == one->marked)
                text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"><title>%g: %g</title></circle>\n",
                          place(&x, one->x[i], LEFT, right), place(&y, one->y[i], bottom, TOP), (long)i == one->marked ? 6 : 3,
                          colour, one->x[i], one->y[i]);
    }
    text_add(out, "</svg>\n");
    if (c->series_count > 1) {
        text_add(out, "<p>");
        for (size_t s = 0; s < c->series_count; s++) {
            text_addf(out, "<span style=\"color:%s\">&#9632;</span> ", colours[s % (sizeof colours / sizeof *colours)]);
            escape(out, c->series[s].name);
            text_add(out, "&emsp;");
        }
        text_add(out, "</p>\n");
    }
}

bool findings_page(const struct findings *f, const char *path, const char *foot, struct err *e)
{
    static const char head[] =
        "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
        "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#222;background:#fff}\n"
        "table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .7em;text-align:left;vertical-align:top;"
        "border-bottom:1px solid #ddd}th{background:#f4f4f4}.number{text-align:right;font-variant-numeric:tabular-nums}\n"
        ".best td{background:#e8f5e0;font-weight:bold}.wide{overflow-x:auto}.help,.foot{color:#666;font-size:13px;margin:.2em 0}\n"
        "svg text{font-size:12px;fill:#444}.grid{stroke:#ddd}small{color:#666}img{max-width:none}\n</style>\n";
    struct text out;
    if (!findings_ok(f, e))
        return false;
    text_init(&out, FINDINGS_MAX_BYTES);
    text_add(&out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
    escape(&out, f->title);
    text_addf(&out, "</title>\n%s<h1>", head);
    escape(&out, f->title);
    text_add(&out, "</h1>\n");
    add_facts(&out, f);
    for (size_t i = 0; i < f->section_count; i++) {
        const struct findings_section *s = &f->sections[i];
        if (s->kind == SECTION_TABLE)
            add_table(&out, &s->table);
        else if (s->kind == SECTION_CURVE)
            add_curve(&out, &s->curve);
        else {
            text_add(&out, "<p>");
            escape(&out, s->words);
            text_add(&out, "</p>\n");
        }
    }
    if (foot) {
        text_add(&out, "<p class=\"foot\">");
        escape(&out, foot);
        text_add(&out, "</p>\n");
    }
    text_add(&out, "</html>\n");
    bool good = text_ok(&out, e) && file_write_whole(path, text_string(&out), out.length, e);
    text_release(&out);
    return good;
}
