/* limn dataset scan: what a data set is made of. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/any_tokenizer.h"
#include "cli/commands.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "dataset/scan.h"

struct scan_args {
    struct option_texts words;
    const char *tokenizer, *sort;
    int64_t shown, tags, threads;
    bool keep, descending;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct scan_args, member)

static const char *sort_names(int index)
{
    return index < 0 || index > SCAN_FIGURES ? NULL : index == 0 ? "list" : scan_figures[index - 1].name;
}

static const struct option scan_options_table[] = {
    { "tokenizer", 0, OPTION_TEXT, AT(tokenizer), .value = "FOLDER", .help = "count the captions' tokens: a model's folder or a tokenizer's" },
    { "sort", 0, OPTION_TEXT, AT(sort), "list", .value = "NAME",
      .help = "the order of pictures: list, or a figure's name (width, blur, words, ...)", .group = "Pictures" },
    { "descending", 0, OPTION_FLAG, AT(descending), .help = "the largest first" },
    { "show", 0, OPTION_INT, AT(shown), "60", .min = 0, .max = 1e6, .value = "N", .help = "pictures in the table and on the page; 0: all" },
    { "tags", 0, OPTION_INT, AT(tags), "20", .min = 1, .max = 1e6, .value = "N", .help = "tags to list, the most frequent" },
    { "survey", 0, OPTION_FLAG, AT(keep), "yes",
      .help = "look at all pictures anew and keep nothing of it in the folder's " SURVEY_FILE },
    OPTION_ROW_THREADS(struct scan_args),
    OPTION_ROWS_EVAL_OUTPUT(struct scan_args),
    { 0 },
};

static bool count_tokens(void *self, const char *text, long *count, struct err *e)
{
    int32_t *ids = NULL;
    size_t n = 0;
    if (!any_tokenizer_encode(self, text, &ids, &n, e))
        return false;
    mem_free(ids);
    *count = (long)n - ANY_TOKENIZER_AROUND;
    return true;
}

/* ---- the order of pictures ---- */

struct order {
    const struct scan *scan;
    int figure; /* -1: the list's */
    bool descending;
};

static int compare(const void *a, const void *b, void *self)
{
    const struct order *o = self;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    if (o->figure >= 0) {
        double x = o->scan->of[i][o->figure], y = o->scan->of[k][o->figure];
        if (isnan(x) != isnan(y)) /* what is not known comes last */
            return isnan(x) ? 1 : -1;
        if (x != y && !isnan(x))
            return (x > y) == o->descending ? -1 : 1;
    }
    return i != k ? ((i > k) == (o->descending && o->figure < 0) ? -1 : 1) : 0;
}

static size_t *sorted(const struct scan *r, int figure, bool descending, struct err *e)
{
    size_t *list = mem_zeroed(r->pictures ? r->pictures : 1, sizeof *list);
    struct order order = { r, figure, descending };
    if (!list) {
        err_nomem(e, "the order of pictures");
        return NULL;
    }
    for (size_t i = 0; i < r->pictures; i++)
        list[i] = i;
    if (r->pictures)
        qsort_r(list, r->pictures, sizeof *list, compare, &order);
    return list;
}

/* ---- the report ---- */

static void add_facts(struct findings *f, const struct scan *r, const struct any_tokenizer *t)
{
    const struct {
        const char *key;
        size_t value;
    } counts[] = {
        { "pictures", r->pictures }, { "excluded", r->excluded }, { "used", r->used }, { "held_out", r->held_out },
        { "broken", r->broken }, { "missing", r->missing }, { "with_alpha", r->with_alpha }, { "without_caption", r->without_text },
        { "same_caption", r->same_text },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        findings_number(f, "", counts[i].key, (double)counts[i].value, 0);
    findings_number(f, "", "mebibytes", (double)r->bytes / (1 << 20), 1);
    findings_text(f, "", "mean_colour", "#%02lx%02lx%02lx", lrint(r->mean_colour[0]), lrint(r->mean_colour[1]), lrint(r->mean_colour[2]));
    if (t->clip || t->chatglm) {
        findings_number(f, "", "tokens_room", any_tokenizer_room(t), 0);
        findings_number(f, "", "captions_beyond_it", (double)r->too_long, 0);
    }
}

static void add_ranges(struct findings *f, const struct scan *r)
{
    static const char *const columns[] = { "least", "5%", "median", "95%", "most", "mean" };
    findings_table(f, "figures", "Figures", 0);
    findings_column(f, "figure", "", 0);
    for (int c = 0; c < 6; c++)
        findings_column(f, columns[c], "", 2);
    findings_column(f, "is", "", 0);
    for (int k = 0; k < SCAN_FIGURES; k++) {
        const struct scan_range *x = &r->range[k];
        const double values[] = { x->least, x->low, x->median, x->high, x->most, x->mean };
        if (!x->count)
            continue;
        findings_row(f);
        findings_cell_text(f, "%s", scan_figures[k].name);
        for (int c = 0; c < 6; c++)
            findings_cell_number(f, values[c]);
        findings_cell_text(f, "%s", scan_figures[k].help);
    }
}

static void add_counts(struct findings *f, const struct scan *r, size_t tags)
{
    findings_table(f, "shapes", "Shapes: width to height, the nearest", 0);
    findings_column(f, "shape", "", 0);
    findings_column(f, "pictures", "", 0);
    for (int i = 0; i < SCAN_SHAPES; i++) {
        if (!r->shape[i])
            continue;
        findings_row(f);
        findings_cell_text(f, "%s", scan_shapes[i]);
        findings_cell_number(f, (double)r->shape[i]);
    }
    findings_table(f, "tags", "What stands between the commas of captions, the most frequent", tags);
    findings_column(f, "tag", "", 0);
    findings_column(f, "captions", "", 0);
    for (size_t i = 0; i < r->tag_count && i < tags; i++) {
        findings_row(f);
        findings_cell_text(f, "%s", r->tags[i].tag);
        findings_cell_number(f, (double)r->tags[i].count);
    }
}

static void add_picture(struct findings *f, const struct manifest *m, size_t i)
{
    struct image image;
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 }; /* that a picture is broken is what its row says */
    if (manifest_path(m, i, path, &ignored) && image_load(&image, path, IMAGE_FLATTEN, 0xFFFFFF, &ignored)) {
        findings_cell_picture(f, &image, NULL);
        image_release(&image);
    } else {
        findings_cell_none(f);
    }
}

static bool add_pictures(struct findings *f, const struct scan_args *a, const struct manifest *m, const struct survey *s,
                         const struct scan *r, const size_t *order, const struct progress *progress, struct err *e)
{
    size_t shown = a->shown ? (size_t)a->shown : r->pictures, made = 0;
    findings_table(f, "list", "Pictures", (size_t)a->shown);
    findings_column(f, "file_name", "", 0);
    for (int k = 0; k < SCAN_FIGURES; k++)
        if (r->range[k].count)
            findings_column(f, scan_figures[k].name, "", scan_figures[k].decimals);
    findings_column(f, "text", "", 0);
    if (a->out.html)
        findings_column(f, "picture", "", 0);
    for (size_t n = 0; n < r->pictures; n++) {
        size_t i = order[n];
        const struct manifest_picture *p = manifest_picture(m, i);
        if (*p->excluded)
            continue;
        findings_row(f);
        findings_cell_text(f, "%s", p->file_name);
        for (int k = 0; k < SCAN_FIGURES; k++)
            if (r->range[k].count && isnan(r->of[i][k]))
                findings_cell_none(f);
            else if (r->range[k].count)
                findings_cell_number(f, r->of[i][k]);
        findings_cell_text(f, "%s", s->pictures[i].state == SURVEY_SEEN ? p->text : s->pictures[i].why);
        if (!a->out.html || !findings_row_is_shown(f))
            continue;
        add_picture(f, m, i);
        progress_step(progress, "making the page", (long)++made, (long)(shown < r->used ? shown : r->used), NULL);
        if (!stop_check(e))
            return false;
    }
    return true;
}

static bool tell(const struct scan_args *a, int figure, const struct manifest *m, const struct survey *s, const struct scan *r,
                 const struct any_tokenizer *t, const struct progress *progress, struct err *e)
{
    struct findings f;
    size_t *order = sorted(r, figure, a->descending, e);
    if (!order)
        return false;
    findings_init(&f, "What the data set is made of");
    add_facts(&f, r, t);
    bool good = add_pictures(&f, a, m, s, r, order, progress, e);
    add_ranges(&f, r);
    add_counts(&f, r, (size_t)a->tags);
    good = good && eval_output(&f, &a->out, "dataset scan", e);
    findings_release(&f);
    mem_free(order);
    return good;
}

static bool find_figure(const char *name, int *figure, struct err *e)
{
    for (int i = 0; sort_names(i); i++)
        if (!strcmp(sort_names(i), name)) {
            *figure = i - 1;
            return true;
        }
    return err_set(e, ERR_ARG, "--sort: no figure is called \"%s\"; there are list, width, height, megapixels, aspect, sharpness, blur, "
                               "entropy, contrast, colour, light, words, tokens", name);
}

static bool scan_run(const void *args, struct err *e)
{
    const struct scan_args *a = args;
    struct any_tokenizer t = { 0 };
    struct survey s = { 0 };
    struct scan r = { 0 };
    int figure = -1;
    if (!find_figure(a->sort, &figure, e) || (a->tokenizer && !any_tokenizer_open(&t, a->tokenizer, e)))
        return false;
    struct progress_bar bar;
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    const struct scan_options o = { a->tokenizer ? count_tokens : NULL, &t, a->tokenizer ? any_tokenizer_room(&t) : 0 };
    struct manifest *m = manifest_open(a->words.items[0], MANIFEST_READ, e);
    bool good = m && survey_make(&s, m, false, a->keep, (int)a->threads, &progress, e) && scan_make(&r, m, &s, &o, e);
    progress_bar_end(&bar);
    good = good && tell(a, figure, m, &s, &r, &t, &progress, e);
    progress_bar_end(&bar);
    scan_release(&r);
    survey_release(&s);
    manifest_free(m);
    any_tokenizer_close(&t);
    return good;
}

const struct command command_dataset_scan = {
    .name = "dataset scan",
    .help = "Tells what a data set is made of: sizes, shapes, colour, sharpness, captions, tokens; also as a page with pictures.",
    .details = "What was seen of each picture is kept in " SURVEY_FILE ", which `limn dataset clean` uses too: after a stop the work goes on "
               "where it was.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = scan_options_table, .args_bytes = sizeof(struct scan_args), .run = scan_run,
};
