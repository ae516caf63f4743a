/* What an evaluation found, to be read by people and by programs: single figures, tables whose cells may be pictures, curves. It is
 * put together once and written in five ways: words for a terminal, Markdown, one JSON object, CSV, a page of HTML that needs no other file.
 *
 *     findings_init(&f, "Pictures through the autoencoder");
 *     findings_number(&f, "mean", "psnr", 28.31, 2);
 *     findings_table(&f, "pictures", "The worst first", 20);
 *     findings_column(&f, "name", "", 0);  findings_column(&f, "psnr", "dB, larger is better", 3);
 *     for (...) { findings_row(&f); findings_cell_text(&f, "%s", name); findings_cell_number(&f, psnr); }
 *     if (!findings_ok(&f, e)) ...
 *
 * An addition that finds no memory or passes a bound is remembered; findings_ok tells it once. Texts are UTF-8 and copied. */
#ifndef LIMN_EVALUATE_FINDINGS_H
#define LIMN_EVALUATE_FINDINGS_H

#include "base/json.h"
#include "base/text.h"
#include "image/image.h"

enum {
    FINDINGS_COLUMNS = 24,     /* of a table */
    FINDINGS_TABLES = 16,
    FINDINGS_SERIES = 16,      /* of a curve */
    FINDINGS_PICTURE_PX = 256, /* a larger picture is shown at this size */
    FINDINGS_MAX_BYTES = 1 << 30,
};

enum finding_kind { FINDING_NONE, FINDING_NUMBER, FINDING_TEXT, FINDING_PICTURE };
struct finding {
    enum finding_kind kind;
    double number;
    char *text;   /* owned; of a picture what it is, or NULL */
    uint8_t *png; /* owned; of a picture */
    size_t png_bytes;
    int width, height;
};

struct findings_fact {
    char *group, *key; /* group: an object that facts share in JSON; "" is none */
    int decimals;
    struct finding value;
};

struct findings_column {
    char *name, *help;
    int decimals;
};
struct findings_table {
    char *name, *title; /* name: in JSON */
    size_t shown;       /* people see the first rows only; 0: all */
    bool page_only;     /* it is there for its pictures */
    struct findings_column columns[FINDINGS_COLUMNS];
    size_t column_count;
    struct finding *cells; /* row by row, [rows * column_count] */
    size_t cell_count, cap;
    bool *marked; /* [rows] */
    size_t rows, marked_cap;
};

struct findings_series {
    char *name;
    double *x, *y;
    size_t count;
    long marked; /* the index of a point that is drawn large; -1: none */
};
struct findings_curve {
    char *title, *x_label, *y_label;
    struct findings_series series[FINDINGS_SERIES];
    size_t series_count;
};

/* What stands where on the page. */
enum findings_section_kind { SECTION_TABLE, SECTION_CURVE, SECTION_WORDS };
struct findings_section {
    enum findings_section_kind kind;
    struct findings_table table;
    struct findings_curve curve;
    char *words;
};

struct findings {
    char *title;
    struct findings_fact *facts;
    size_t fact_count, fact_cap;
    struct findings_section *sections;
    size_t section_count, section_cap;
    struct err err;
};

void findings_init(struct findings *f, const char *title);
void findings_release(struct findings *f);
MUST_USE bool findings_ok(const struct findings *f, struct err *e);

/* Figures that stand alone. group NULL or "": the key itself is in the JSON object. decimals: behind the point, for people. */
void findings_number(struct findings *f, const char *group, const char *key, double value, int decimals);
void findings_text(struct findings *f, const char *group, const char *key, const char *format, ...) PRINTF_LIKE(4, 5);
/* A paragraph for the page. */
void findings_words(struct findings *f, const char *format, ...) PRINTF_LIKE(2, 3);

/* Begins a table; columns, rows and cells that follow are its own. Cells fill a row from the left; those that a row lacks are
 * empty. */
void findings_table(struct findings *f, const char *name, const char *title, size_t shown);
/* The table that was begun last has pictures and nothing to say without them: only the page has it. */
void findings_page_only(struct findings *f);
void findings_column(struct findings *f, const char *name, const char *help, int decimals);
void findings_row(struct findings *f);
void findings_cell_none(struct findings *f);
void findings_cell_number(struct findings *f, double value);
void findings_cell_text(struct findings *f, const char *format, ...) PRINTF_LIKE(2, 3);
/* Made smaller if it is larger than FINDINGS_PICTURE_PX. Only the page shows it; words (or NULL) stand below it. */
void findings_cell_picture(struct findings *f, const struct image *image, const char *words);
/* The row is the one to look at: "best": true in JSON. */
void findings_mark(struct findings *f);
/* Whether people will see the row that was begun last: else its pictures need not be made. */
bool findings_row_is_shown(const struct findings *f);

/* Begins a curve; series that follow are its own. x, y [count] are copied; points that are not finite are left out. */
void findings_curve(struct findings *f, const char *title, const char *x_label, const char *y_label);
void findings_series(struct findings *f, const char *name, const double *x, const double *y, size_t count, long marked);

/* --- readers --- */

/* For a terminal: facts, then tables without their pictures. */
void findings_print(const struct findings *f, struct text *out);
/* {"key": .., "group": {..}, "table": [{"column": ..}, ..]}: infinite numbers are "inf" and "-inf", others that are not numbers
 * null. NULL without memory. */
json_t *findings_json(const struct findings *f);
/* The first table as RFC 4180 has it, all rows, without its pictures; the facts where there is no table. */
void findings_csv(const struct findings *f, struct text *out);
/* The same as findings_print in Markdown: for a page in a repository. */
void findings_markdown(const struct findings *f, struct text *out);
/* One file of HTML: pictures inside, curves as SVG, no script. foot: its last line, or NULL. Written whole or not at all. */
MUST_USE bool findings_page(const struct findings *f, const char *path, const char *foot, struct err *e);

#endif
