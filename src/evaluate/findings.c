#include "evaluate/findings.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/plain.h"

/* --- putting together --- */

/* A name of a file may be any bytes; JSON and pages want UTF-8. */
static void make_utf8(char *s)
{
    size_t bytes = strlen(s);
    for (size_t at = 0; at < bytes;) {
        uint32_t rune;
        size_t took = utf8_decode(s + at, bytes - at, &rune);
        if (took == 1 && rune == 0xFFFD)
            s[at] = '?';
        at += took;
    }
}

static char *copy_of(struct findings *f, const char *s)
{
    char *copy = f->err.code ? NULL : mem_string(s ? s : "");
    if (copy)
        make_utf8(copy);
    else
        err_nomem(&f->err, "what was found");
    return copy;
}

static char *format_of(struct findings *f, const char *format, va_list args)
{
    char *out = NULL;
    int length = vasprintf(&out, format, args);
    if (length < 0) {
        err_nomem(&f->err, "what was found");
        return NULL;
    }
    char *copy = copy_of(f, out);
    free(out);
    return copy;
}

static void finding_release(struct finding *v)
{
    mem_free(v->text);
    mem_free(v->png);
}

void findings_init(struct findings *f, const char *title)
{
    *f = (struct findings){ 0 };
    f->title = copy_of(f, title);
}

static void table_release(struct findings_table *t)
{
    mem_free(t->name);
    mem_free(t->title);
    for (size_t i = 0; i < t->column_count; i++) {
        mem_free(t->columns[i].name);
        mem_free(t->columns[i].help);
    }
    for (size_t i = 0; i < t->cell_count; i++)
        finding_release(&t->cells[i]);
    mem_free(t->cells);
    mem_free(t->marked);
}

static void curve_release(struct findings_curve *c)
{
    mem_free(c->title);
    mem_free(c->x_label);
    mem_free(c->y_label);
    for (size_t i = 0; i < c->series_count; i++) {
        mem_free(c->series[i].name);
        mem_free(c->series[i].x);
        mem_free(c->series[i].y);
    }
}

void findings_release(struct findings *f)
{
    for (size_t i = 0; i < f->fact_count; i++) {
        mem_free(f->facts[i].group);
        mem_free(f->facts[i].key);
        finding_release(&f->facts[i].value);
    }
    for (size_t i = 0; i < f->section_count; i++) {
        table_release(&f->sections[i].table);
        curve_release(&f->sections[i].curve);
        mem_free(f->sections[i].words);
    }
    mem_free(f->title);
    mem_free(f->facts);
    mem_free(f->sections);
    *f = (struct findings){ 0 };
}

bool findings_ok(const struct findings *f, struct err *e)
{
    return !f->err.code || err_set(e, f->err.code, "%s", f->err.text);
}

static void add_fact(struct findings *f, const char *group, const char *key, int decimals, struct finding value)
{
    struct findings_fact *grown = f->err.code ? NULL : mem_grow(f->facts, &f->fact_cap, f->fact_count + 1, sizeof *grown);
    if (!grown) {
        finding_release(&value);
        err_nomem(&f->err, "what was found");
        return;
    }
    f->facts = grown;
    grown[f->fact_count++] = (struct findings_fact){ copy_of(f, group), copy_of(f, key), decimals, value };
}

void findings_number(struct findings *f, const char *group, const char *key, double value, int decimals)
{
    add_fact(f, group, key, decimals, (struct finding){ .kind = FINDING_NUMBER, .number = value });
}

void findings_text(struct findings *f, const char *group, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_of(f, format, args);
    va_end(args);
    add_fact(f, group, key, 0, (struct finding){ .kind = FINDING_TEXT, .text = text });
}

static struct findings_section *add_section(struct findings *f, enum findings_section_kind kind)
{
    struct findings_section *grown =
        f->err.code ? NULL : mem_grow(f->sections, &f->section_cap, f->section_count + 1, sizeof *grown);
    if (!grown) {
        err_nomem(&f->err, "what was found");
        return NULL;
    }
    f->sections = grown;
    grown[f->section_count] = (struct findings_section){ .kind = kind };
    return &grown[f->section_count++];
}

void findings_words(struct findings *f, const char *format, ...)
{
    struct findings_section *s = add_section(f, SECTION_WORDS);
    va_list args;
    va_start(args, format);
    if (s)
        s->words = format_of(f, format, args);
    va_end(args);
}

void findings_table(struct findings *f, const char *name, const char *title, size_t shown)
{
    struct findings_section *s = add_section(f, SECTION_TABLE);
    if (s)
        s->table = (struct findings_table){ .name = copy_of(f, name), .title = copy_of(f, title), .shown = shown };
}

/* The section begun last if it is of this kind; else a mistake of the caller, which is told like any other. */
static struct findings_section *last(struct findings *f, enum findings_section_kind kind)
{
    struct findings_section *s = f->section_count ? &f->sections[f->section_count - 1] : NULL;
    if (s && s->kind == kind)
        return f->err.code ? NULL : s;
    err_set(&f->err, ERR_ARG, "a row, column or series belongs to no table or curve");
    return NULL;
}

void findings_page_only(struct findings *f)
{
    struct findings_section *s = last(f, SECTION_TABLE);
    if (s)
        s->table.page_only = true;
}

void findings_column(struct findings *f, const char *name, const char *help, int decimals)
{
    struct findings_section *s = last(f, SECTION_TABLE);
    if (!s)
        return;
    if (s->table.column_count == FINDINGS_COLUMNS || s->table.rows) {
        err_set(&f->err, ERR_LIMIT, "a table of what was found: more than %d columns, or one behind a row", FINDINGS_COLUMNS);
        return;
    }
    s->table.columns[s->table.column_count++] = (struct findings_column){ copy_of(f, name), copy_of(f, help), decimals };
}

static void add_cell(struct findings *f, struct finding value)
{
    struct findings_section *s = last(f, SECTION_TABLE);
    struct findings_table *t = s ? &s->table : NULL;
    if (t && t->cell_count >= t->rows * t->column_count) {
        err_set(&f->err, ERR_LIMIT, "a table of what was found: a cell too many in row %zu of \"%s\"", t->rows, t->name);
        t = NULL;
    }
    struct finding *grown = t ? mem_grow(t->cells, &t->cap, t->cell_count + 1, sizeof *grown) : NULL;
    if (!grown) {
        finding_release(&value);
        if (t)
            err_nomem(&f->err, "what was found");
        return;
    }
    t->cells = grown;
    grown[t->cell_count++] = value;
}

static void fill_row(struct findings *f, const struct findings_table *t)
{
    while (!f->err.code && t->cell_count < t->rows * t->column_count)
        add_cell(f, (struct finding){ 0 });
}

void findings_row(struct findings *f)
{
    struct findings_section *s = last(f, SECTION_TABLE);
    if (!s)
        return;
    fill_row(f, &s->table);
    bool *grown = mem_grow(s->table.marked, &s->table.marked_cap, s->table.rows + 1, sizeof *grown);
    if (!grown) {
        err_nomem(&f->err, "what was found");
        return;
    }
    s->table.marked = grown;
    grown[s->table.rows++] = false;
}

void findings_mark(struct findings *f)
{
    struct findings_section *s = last(f, SECTION_TABLE);
    if (s && s->table.rows)
        s->table.marked[s->table.rows - 1] = true;
}

bool findings_row_is_shown(const struct findings *f)
{
    const struct findings_table *t = f->section_count ? &f->sections[f->section_count - 1].table : NULL;
    return t && (!t->shown || t->rows <= t->shown);
}

void findings_cell_none(struct findings *f)
{
    add_cell(f, (struct finding){ 0 });
}

void findings_cell_number(struct findings *f, double value)
{
    add_cell(f, (struct finding){ .kind = FINDING_NUMBER, .number = value });
}

void findings_cell_text(struct findings *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_of(f, format, args);
    va_end(args);
    add_cell(f, (struct finding){ .kind = FINDING_TEXT, .text = text });
}

void findings_cell_picture(struct findings *f, const struct image *image, const char *words)
{
    struct finding v = { .kind = FINDING_PICTURE };
    struct image small = { 0 };
    int longest = image->width > image->height ? image->width : image->height, most = FINDINGS_PICTURE_PX;
    bool good = !f->err.code;
    if (good && longest > most) {
        int w = (int)((int64_t)image->width * most / longest), h = (int)((int64_t)image->height * most / longest);
        good = image_resize(&small, image, w ? w : 1, h ? h : 1, IMAGE_AREA, &f->err);
        image = &small;
    }
    good = good && image_encode_png(image, NULL, 0, &v.png, &v.png_bytes, &f->err);
    v.width = image->width;
    v.height = image->height;
    v.text = good && words ? copy_of(f, words) : NULL;
    image_release(&small);
    add_cell(f, v);
}

void findings_curve(struct findings *f, const char *title, const char *x_label, const char *y_label)
{
    struct findings_section *s = add_section(f, SECTION_CURVE);
    if (s)
        s->curve = (struct findings_curve){ .title = copy_of(f, title), .x_label = copy_of(f, x_label),
                                            .y_label = copy_of(f, y_label) };
}

void findings_series(struct findings *f, const char *name, const double *x, const double *y, size_t count, long marked)
{
    struct findings_section *s = last(f, SECTION_CURVE);
    if (s && s->curve.series_count == FINDINGS_SERIES) {
        err_set(&f->err, ERR_LIMIT, "a curve of what was found has more than %d series", FINDINGS_SERIES);
        return;
    }
    struct findings_series *out = s ? &s->curve.series[s->curve.series_count++] : NULL;
    if (!out)
        return;
    *out = (struct findings_series){ .name = copy_of(f, name), .x = mem_aligned((count + 1) * sizeof *x),
                                     .y = mem_aligned((count + 1) * sizeof *y), .marked = -1 };
    if (!out->x || !out->y) {
        err_nomem(&f->err, "what was found");
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (isfinite(x[i]) && isfinite(y[i])) {
            out->x[out->count] = x[i];
            out->y[out->count] = y[i];
            if ((long)i == marked)
                out->marked = (long)out->count;
            out->count++;
        }
}

/* --- words --- */

static void number_text(char out[64], double v, int decimals)
{
    if (isnan(v))
        snprintf(out, 64, "-");
    else if (isinf(v))
        snprintf(out, 64, v > 0 ? "inf" : "-inf");
    else
        snprintf(out, 64, "%.*f", decimals, v);
}

/* How wide a text is in a terminal: characters beyond Latin count two cells. */
static int cells_of(const char *s)
{
    int cells = 0;
    size_t bytes = strlen(s);
    for (size_t at = 0; at < bytes;) {
        uint32_t rune;
        at += utf8_decode(s + at, bytes - at, &rune);
        cells += rune >= 0x1100 ? 2 : 1;
    }
    return cells;
}

static const char *cell_text(const struct findings_table *t, size_t row, size_t column, char number[64])
{
    size_t at = row * t->column_count + column;
    const struct finding *v = at < t->cell_count ? &t->cells[at] : NULL;
    if (!v || v->kind == FINDING_NONE || v->kind == FINDING_PICTURE)
        return "";
    if (v->kind == FINDING_TEXT)
        return v->text;
    number_text(number, v->number, t->columns[column].decimals);
    return number;
}

/* A column of pictures only has nothing to say outside of a page. */
static bool is_spoken(const struct findings_table *t, size_t column)
{
    for (size_t at = column; at < t->cell_count; at += t->column_count)
        if (t->cells[at].kind == FINDING_NUMBER || t->cells[at].kind == FINDING_TEXT)
            return true;
    return !t->rows;
}

static bool is_numeric(const struct findings_table *t, size_t column)
{
    for (size_t at = column; at < t->cell_count; at += t->column_count)
        if (t->cells[at].kind == FINDING_TEXT)
            return false;
    return true;
}

/* A text of any length, without what would break its line. */
static void add_plain(struct text *out, const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *plain = mem_aligned(bytes);
    text_add(out, plain ? plain_line(plain, bytes, s) : "");
    out->failed = out->failed || !plain;
    mem_free(plain);
}

static void print_cell(struct text *out, const char *s, int width, bool right)
{
    int room = width - cells_of(s);
    text_addf(out, "%*s", right ? room : 0, "");
    add_plain(out, s);
    text_addf(out, "%*s  ", right ? 0 : room, "");
}

static void print_table(const struct findings_table *t, struct text *out)
{
    int width[FINDINGS_COLUMNS] = { 0 };
    char number[64];
    size_t rows = t->shown && t->shown < t->rows ? t->shown : t->rows;
    bool marks = false;
    for (size_t r = 0; r < rows; r++)
        marks = marks || t->marked[r];
    for (size_t c = 0; c < t->column_count; c++) {
        width[c] = cells_of(t->columns[c].name);
        for (size_t r = 0; r < rows; r++) {
            int cells = cells_of(cell_text(t, r, c, number));
            width[c] = cells > width[c] ? cells : width[c];
        }
    }
    if (*t->title)
        text_addf(out, "\n%s\n", t->title);
    for (long r = -1; r < (long)rows; r++) {
        for (size_t c = 0; c < t->column_count; c++)
            if (is_spoken(t, c))
                print_cell(out, r < 0 ? t->columns[c].name : cell_text(t, (size_t)r, c, number), width[c], is_numeric(t, c));
        if (marks && r >= 0 && t->marked[r])
            text_add(out, "<");
        while (out->length && !out->failed && out->s[out->length - 1] == ' ')
            out->s[--out->length] = 0;
        text_add(out, "\n");
    }
    if (rows < t->rows)
        text_addf(out, "... and %zu more\n", t->rows - rows);
}

void findings_print(const struct findings *f, struct text *out)
{
    int width = 0;
    for (size_t i = 0; i < f->fact_count; i++) {
        int cells = cells_of(f->facts[i].group) + 1 + cells_of(f->facts[i].key);
        width = cells > width ? cells : width;
    }
    for (size_t i = 0; i < f->fact_count; i++) {
        const struct findings_fact *a = &f->facts[i];
        char number[64];
        number_text(number, a->value.number, a->decimals);
        int room = width - cells_of(a->group) - cells_of(a->key) - (*a->group ? 1 : 0);
        text_addf(out, "%s%s%s%*s  ", a->group, *a->group ? " " : "", a->key, room, "");
        add_plain(out, a->value.kind == FINDING_TEXT ? a->value.text : number);
        text_add(out, "\n");
    }
    for (size_t i = 0; i < f->section_count; i++)
        if (f->sections[i].kind == SECTION_TABLE && !f->sections[i].table.page_only)
            print_table(&f->sections[i].table, out);
}

/* --- Markdown --- */

static void markdown_cell(struct text *out, const char *s, bool bold)
{
    text_add(out, bold ? " **" : " ");
    for (; *s; s++)
        text_addf(out, *s == '|' ? "\\|" : "%c", *s == '\n' ? ' ' : *s);
    text_add(out, bold ? "** |" : " |");
}

static void markdown_table(const struct findings_table *t, struct text *out)
{
    char number[64];
    size_t rows = t->shown && t->shown < t->rows ? t->shown : t->rows;
    if (*t->title)
        text_addf(out, "\n## %s\n", t->title);
    for (long r = -2; r < (long)rows; r++) {
        text_add(out, r == -2 ? "\n|" : "|");
        for (size_t c = 0; c < t->column_count; c++)
            if (is_spoken(t, c) && r == -1)
                text_add(out, is_numeric(t, c) ? "---:|" : "---|");
            else if (is_spoken(t, c))
                markdown_cell(out, r < 0 ? t->columns[c].name : cell_text(t, (size_t)r, c, number), r >= 0 && t->marked[r] && c == 0);
        text_add(out, "\n");
    }
    text_add(out, "\n");
    for (size_t c = 0; c < t->column_count; c++)
        if (*t->columns[c].help)
            text_addf(out, "- %s: %s\n", t->columns[c].name, t->columns[c].help);
}

void findings_markdown(const struct findings *f, struct text *out)
{
    for (size_t i = 0; i < f->fact_count; i++) {
        const struct findings_fact *a = &f->facts[i];
        char number[64];
        number_text(number, a->value.number, a->decimals);
        text_addf(out, "- %s%s%s: %s\n", a->group, *a->group ? " " : "", a->key, a->value.kind == FINDING_TEXT ? a->value.text : number);
    }
    for (size_t i = 0; i < f->section_count; i++)
        if (f->sections[i].kind == SECTION_TABLE && !f->sections[i].table.page_only)
            markdown_table(&f->sections[i].table, out);
        else if (f->sections[i].kind == SECTION_WORDS)
            text_addf(out, "\n%s\n", f->sections[i].words);
}

/* --- JSON --- */

static json_t *json_of(const struct finding *v)
{
    if (v->kind == FINDING_TEXT)
        return json_string(v->text);
    if (isnan(v->number))
        return json_null();
    if (isinf(v->number))
        return json_string(v->number > 0 ? "inf" : "-inf");
    if (v->number == rint(v->number) && fabs(v->number) < 9e15)
        return json_integer((json_int_t)v->number);
    return json_real(v->number);
}

static json_t *json_row(const struct findings_table *t, size_t row)
{
    json_t *out = json_object();
    bool good = out != NULL;
    for (size_t c = 0; good && c < t->column_count; c++) {
        size_t at = row * t->column_count + c;
        const struct finding *v = at < t->cell_count ? &t->cells[at] : NULL;
        if (v && (v->kind == FINDING_NUMBER || v->kind == FINDING_TEXT))
            good = !json_object_set_new(out, t->columns[c].name, json_of(v));
    }
    if (good && t->marked[row])
        good = !json_object_set_new(out, "best", json_true());
    if (!good) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

/* Facts of a group before its object is there make it. */
static bool add_json_fact(json_t *out, const struct findings_fact *a)
{
    json_t *into = out;
    if (*a->group) {
        into = json_object_get(out, a->group);
        if (!into && json_object_set_new(out, a->group, json_object()))
            return false;
        into = json_object_get(out, a->group);
    }
    return !json_object_set_new(into, a->key, json_of(&a->value));
}

json_t *findings_json(const struct findings *f)
{
    json_t *out = json_object();
    bool good = out != NULL && !f->err.code;
    for (size_t i = 0; good && i < f->fact_count; i++)
        good = add_json_fact(out, &f->facts[i]);
    for (size_t i = 0; good && i < f->section_count; i++) {
        const struct findings_table *t = &f->sections[i].table;
        if (f->sections[i].kind != SECTION_TABLE || t->page_only)
            continue;
        json_t *rows = json_array();
        good = rows != NULL;
        for (size_t r = 0; good && r < t->rows; r++)
            good = !json_array_append_new(rows, json_row(t, r));
        if (good)
            good = !json_object_set_new(out, t->name, rows);
        else
            json_decref(rows);
    }
    if (!good) {
        json_decref(out);
        return NULL;
    }
    return out;
}

/* --- CSV --- */

static void csv_cell(struct text *out, const char *s, bool first)
{
    if (!first)
        text_add(out, ",");
    if (!strpbrk(s, ",\"\r\n")) {
        text_add(out, s);
        return;
    }
    text_add(out, "\"");
    for (; *s; s++)
        text_addf(out, *s == '"' ? "\"\"" : "%c", *s);
    text_add(out, "\"");
}

static void csv_value(struct text *out, const struct finding *v, bool first)
{
    char number[64] = "";
    if (v && v->kind == FINDING_NUMBER && !isnan(v->number))
        snprintf(number, sizeof number, "%.12g", v->number);
    csv_cell(out, v && v->kind == FINDING_TEXT ? v->text : number, first);
}

void findings_csv(const struct findings *f, struct text *out)
{
    for (size_t i = 0; i < f->section_count; i++) {
        const struct findings_table *t = &f->sections[i].table;
        if (f->sections[i].kind != SECTION_TABLE || t->page_only)
            continue;
        for (long r = -1; r < (long)t->rows; r++) {
            bool first = true;
            for (size_t c = 0; c < t->column_count; c++) {
                size_t at = (size_t)(r < 0 ? 0 : r) * t->column_count + c;
                if (!is_spoken(t, c))
                    continue;
                if (r < 0)
                    csv_cell(out, t->columns[c].name, first);
                else
                    csv_value(out, at < t->cell_count ? &t->cells[at] : NULL, first);
                first = false;
            }
            text_add(out, "\r\n");
        }
        return;
    }
    text_add(out, "group,figure,value\r\n");
    for (size_t i = 0; i < f->fact_count; i++) {
        csv_cell(out, f->facts[i].group, true);
        csv_cell(out, f->facts[i].key, false);
        csv_value(out, &f->facts[i].value, false);
        text_add(out, "\r\n");
    }
}
