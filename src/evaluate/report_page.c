/* A report as JSON, as a table for a terminal, and as a page with pictures. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "evaluate/report.h"

enum { COLUMNS = 8, PAGE_MAX_BYTES = 1 << 20 };

static double share_of(struct report_share s)
{
    return s.asked ? (double)s.right / (double)s.asked : 0;
}

/* In percent, "12 %"; nothing asked: "-". */
static void add_percent(struct text *t, struct report_share s)
{
    if (s.asked)
        text_addf(t, "%.1f %% (%ld of %ld)", 100 * share_of(s), s.right, s.asked);
    else
        text_add(t, "-");
}

static bool has_figure(const struct report *r, int part)
{
    return r->asked[part] && (part == PART_A ? r->reconstructed > 0 : r->share[part].asked > 0);
}

static bool is_reached(const struct report *r, int part)
{
    double got = part == PART_A ? r->psnr : share_of(r->share[part]);
    return got >= report_goals[part].wanted;
}

json_t *report_json(const struct report *r)
{
    json_t *out = json_object();
    for (int part = PART_A; out && part < PART_G; part++) {
        char letter[2] = { (char)('a' + part), 0 };
        struct report_share s = r->share[part];
        const struct report_share *by = r->by_language[part];
        if (!has_figure(r, part))
            continue;
        if (part == PART_A)
            json_object_set_new(out, letter, json_pack("{s:f,s:f,s:f,s:I,s:f}", "psnr", r->psnr, "psnr_pooled", r->psnr_pooled,
                                                       "psnr_least", r->psnr_least, "pictures",
                                                       (json_int_t)r->reconstructed, "ceiling", share_of(r->ceiling)));
        else
            json_object_set_new(out, letter, json_pack("{s:f,s:I,s:I,s:f,s:f}", "share", share_of(s), "right",
                                                       (json_int_t)s.right, "asked", (json_int_t)s.asked, "english",
                                                       share_of(by[DATASET_ENGLISH]), "chinese",
                                                       share_of(by[DATASET_CHINESE])));
    }
    json_t *how = json_pack("{s:s,s:I,s:f,s:s,s:s,s:I,s:I,s:f,s:f}", "model", r->model, "steps", (json_int_t)r->steps, "cfg",
                            r->cfg, "sampler", r->sampler ? r->sampler : "model", "precision", r->precision, "seed",
                            (json_int_t)r->seed, "drawn", (json_int_t)r->count, "draw_seconds", r->draw_seconds, "seconds",
                            r->seconds);
    if (!out || !how || json_object_update(out, how)) {
        json_decref(out);
        out = NULL;
    }
    json_decref(how);
    return out;
}

static void add_figure(struct text *t, const struct report *r, int part)
{
    double low, high;
    if (part == PART_A) {
        text_addf(t, "%.2f dB", r->psnr);
        return;
    }
    add_percent(t, r->share[part]);
    share_interval(r->share[part].right, r->share[part].asked, &low, &high);
    text_addf(t, ", %.0f to %.0f", 100 * low, 100 * high);
}

static void add_wanted(struct text *t, int part)
{
    if (part == PART_A)
        text_addf(t, "%.0f dB", report_goals[part].wanted);
    else
        text_addf(t, "%.0f %%", 100 * report_goals[part].wanted);
}

void report_table(const struct report *r, struct text *out)
{
    for (int part = PART_A; part < PART_G; part++)
        if (has_figure(r, part)) {
            text_addf(out, "%c  %-12s ", 'a' + part, report_goals[part].short_name);
            add_figure(out, r, part);
            text_add(out, "; wanted ");
            add_wanted(out, part);
            text_add(out, is_reached(r, part) ? "\n" : ": missed\n");
        }
    if (r->ceiling.asked) {
        text_add(out, "   after the autoencoder alone b would be ");
        add_percent(out, r->ceiling);
        text_add(out, "\n");
    }
    if (r->either_half.asked) {
        text_add(out, "   halves of e that are right: ");
        add_percent(out, r->either_half);
        text_add(out, "\n");
    }
    if (r->count)
        text_addf(out, "%zu pictures in %.1f s (%.3f s each); everything %.1f s; %lld steps, cfg %g\n", r->count,
                  r->draw_seconds, r->draw_seconds / (double)r->count, r->seconds, (long long)r->steps, r->cfg);
}

/* --- pictures --- */

/* The page being written: its text, and where its pictures go. */
struct page {
    const struct report *report;
    struct text text;
    char folder[PATH_MAX_BYTES]; /* "docs/pictures" */
    char stem[256];              /* "model-report" */
};

/* Sheets but the last one are shown at three quarters: a repository keeps every version of them. */
static bool save_sheet(struct page *p, const char *name, const char *words, const struct image *sheet, struct err *e)
{
    char file[512], path[PATH_MAX_BYTES];
    struct image small = { 0 };
    bool whole = !strcmp(name, "g");
    if (!whole && !image_resize(&small, sheet, (sheet->width * 3 + 3) / 4, (sheet->height * 3 + 3) / 4, IMAGE_LANCZOS, e))
        return false;
    snprintf(file, sizeof file, "%s-%s.png", p->stem, name);
    text_addf(&p->text, "\n![%s](pictures/%s)\n", words, file);
    bool good = path_join(path, p->folder, file, e) && image_save_png(path, whole ? sheet : &small, NULL, 0, e);
    image_release(&small);
    return good;
}

/* The picture that was asked for, or (pairs) the scene. */
static bool paint_asked(const struct page *p, const struct answer *a, struct image *out, struct err *e)
{
    int side = p->report->side_px;
    return image_make(out, side, side, 3, e) && scene_paint(p->report->dataset, &a->question.facts, side, out->pixels, e);
}

/* The first answers of a kind, row by row; with `asked` each row has what was asked for below it. */
static bool add_sheet(struct page *p, enum question_kind kind, size_t most, int columns, bool asked, const char *name,
                      const char *words, struct err *e)
{
    const struct report *r = p->report;
    size_t first = r->first[kind], count = r->first[kind + 1] - first;
    count = count < most ? count : most;
    if (!count)
        return true;
    size_t rows = (count + (size_t)columns - 1) / (size_t)columns, times = asked ? 2 : 1;
    size_t cells = asked ? rows * 2 * (size_t)columns : count;
    struct image sheet = { 0 }, *tiles = mem_zeroed(cells, sizeof *tiles), *made = mem_zeroed(cells, sizeof *made);
    bool good = (tiles && made) || err_nomem(e, "a sheet");
    for (size_t i = 0; good && i < count; i++) {
        size_t at = i / (size_t)columns * times * (size_t)columns + i % (size_t)columns;
        tiles[at] = r->answers[first + i].image; /* borrowed */
        if (asked) {
            size_t below = at + (size_t)columns;
            good = paint_asked(p, &r->answers[first + i], &made[below], e);
            tiles[below] = made[below];
        }
    }
    /* What the last row lacks. */
    for (size_t i = 0; good && i < cells; i++)
        if (!tiles[i].pixels) {
            good = image_make(&made[i], r->side_px, r->side_px, 3, e);
            if (good)
                image_fill(&made[i], 0xE4E4E4);
            tiles[i] = made[i];
        }
    good = good && image_grid(&sheet, tiles, cells, columns, 2, 0xE4E4E4, e) && save_sheet(p, name, words, &sheet, e);
    image_release(&sheet);
    for (size_t i = 0; made && i < cells; i++)
        image_release(&made[i]);
    mem_free(made);
    mem_free(tiles);
    return good;
}

static void add_verdict(struct text *t, const struct report *r, const struct verdict *v)
{
    const struct dataset_picture *p = dataset_picture(r->dataset, v->nearest);
    if (v->right)
        text_add(t, " ✓");
    else
        text_addf(t, " ✗ (nearest: %s, %s)", p->label[DATASET_ENGLISH], p->style);
}

/* The prompts of a sheet, in its order, and what the judge said. */
static void add_prompts(struct page *p, enum question_kind kind, size_t most)
{
    const struct report *r = p->report;
    struct text *t = &p->text;
    size_t first = r->first[kind], count = r->first[kind + 1] - first;
    count = count < most ? count : most;
    text_add(t, "\n");
    for (size_t i = 0; i < count; i++) {
        const struct answer *a = &r->answers[first + i];
        text_addf(t, "%zu. %s", i + 1, a->question.prompt);
        if (kind == QUESTION_TRAINED || kind == QUESTION_HELD_OUT)
            add_verdict(t, r, &a->thing[0]);
        for (int k = 0; kind == QUESTION_PAIR && k < 2; k++)
            add_verdict(t, r, &a->thing[k]);
        if (kind == QUESTION_COLOUR) {
            const char *nearest = scene_colours[nearest_scene_colour(a->border)].name[DATASET_ENGLISH];
            text_addf(t, a->right ? " ✓" : " ✗ (%s)", nearest);
        }
        text_add(t, "\n");
    }
}

/* --- words --- */

static void add_summary(struct page *p)
{
    const struct report *r = p->report;
    struct text *t = &p->text;
    text_add(t, "\n<!-- figures -->\n| | what | measured | wanted | |\n|---|---|---|---|---|\n");
    for (int part = PART_A; part < PART_G; part++)
        if (has_figure(r, part)) {
            text_addf(t, "| %c | %s | ", 'a' + part, report_goals[part].name);
            add_figure(t, r, part);
            text_add(t, " | at least ");
            add_wanted(t, part);
            text_add(t, is_reached(r, part) ? " | reached |\n" : " | missed |\n");
        }
    text_add(t, "<!-- /figures -->\n\nBehind a share stands the interval, in percent, in which the model's true share lies with 95 % "
                "confidence.\n");
}

static void add_how(struct page *p, const char *name, const char *machine)
{
    const struct report *r = p->report;
    struct text *t = &p->text;
    size_t trained, held_out;
    dataset_split(r->dataset, false, -1, &trained);
    dataset_split(r->dataset, true, -1, &held_out);
    text_addf(t, "# What %s can do, measured\n\n", name);
    text_addf(t, "Made by `make model-report`. Nothing is picked by hand: questions are chosen by a hash of concept and style, every "
                 "other one is Chinese, the i-th question of a part is drawn once with seed %llu + i, and a sheet shows the first "
                 "ones in this order.\n\n", (unsigned long long)r->seed);
    text_addf(t, "- data: %zu training pictures and %zu held-out ones, %d concepts, %d styles; pictures of %d pixels\n", trained,
              held_out, dataset_concepts(r->dataset), dataset_styles(r->dataset), r->side_px);
    text_addf(t, "- settings: %lld steps, cfg %g, sampler `%s`, %s, %lld pictures in a denoiser call\n", (long long)r->steps, r->cfg,
              r->sampler ? r->sampler : "model", r->precision, (long long)r->batch);
    text_addf(t, "- time: %zu pictures in %.0f s, %.3f s a picture; the whole report %.0f s; %s\n", r->count, r->draw_seconds,
              r->count ? r->draw_seconds / (double)r->count : 0, r->seconds, machine);
}

static void add_share_row(struct text *t, const char *name, const struct report_share *shares)
{
    text_addf(t, "| %s |", name);
    for (int part = PART_B; part < PART_G; part++) {
        text_add(t, " ");
        add_percent(t, shares[part]);
        text_add(t, " |");
    }
    text_add(t, "\n");
}

static void add_breakdown(struct page *p)
{
    const struct report *r = p->report;
    struct text *t = &p->text;
    struct report_share by_language[DATASET_LANGUAGES][REPORT_PARTS];
    text_add(t, "\n## By language and style\n\n| |");
    for (int part = PART_B; part < PART_G; part++) {
        text_addf(t, " %c %s |", 'a' + part, report_goals[part].short_name);
        for (int l = 0; l < DATASET_LANGUAGES; l++)
            by_language[l][part] = r->by_language[part][l];
    }
    text_add(t, "\n|---|---|---|---|---|---|\n");
    add_share_row(t, "English", by_language[DATASET_ENGLISH]);
    add_share_row(t, "Chinese", by_language[DATASET_CHINESE]);
    for (int style = 0; style < dataset_styles(r->dataset); style++)
        add_share_row(t, dataset_style_name(r->dataset, style), r->by_style[style]);
    if (r->either_half.asked) {
        text_add(t, "\nOf the halves of e, counted alone, ");
        add_percent(t, r->either_half);
        text_add(t, " are right.\n");
    }
}

static void add_ranks(struct page *p)
{
    const struct report *r = p->report;
    long five = 0, twenty = 0, candidates = 0, asked = 0;
    for (size_t i = r->first[QUESTION_TRAINED]; i < r->first[QUESTION_TRAINED + 1]; i++, asked++) {
        five += r->answers[i].thing[0].rank < 5;
        twenty += r->answers[i].thing[0].rank < 20;
        candidates += r->answers[i].thing[0].candidates;
    }
    if (asked)
        text_addf(&p->text, "By chance b would be right once in %.0f times. The asked picture is among the five nearest in %.1f %%, "
                            "among the twenty nearest in %.1f %%.", (double)candidates / (double)asked,
                  100.0 * (double)five / (double)asked, 100.0 * (double)twenty / (double)asked);
    if (r->ceiling.asked) {
        text_add(&p->text, " The asked pictures themselves, sent through the autoencoder, are recognised in ");
        add_percent(&p->text, r->ceiling);
        text_add(&p->text, ": no denoiser can do better.");
    }
    text_add(&p->text, "\n");
}

static bool add_parts(struct page *p, struct err *e)
{
    const struct report *r = p->report;
    struct text *t = &p->text;
    if (has_figure(r, PART_A)) {
        text_addf(t, "\n## a. The autoencoder\n\n%ld held-out pictures on white at %d pixels, to the mean of their latents and "
                     "back. %.2f dB is the mean of the pictures' PSNR; of the squared error of all together it is %.2f dB, of the "
                     "worst picture %.2f dB. Each row has its reconstructions below it.\n",
                  r->reconstructed, r->side_px, r->psnr, r->psnr_pooled, r->psnr_least);
        if (!save_sheet(p, "a", "pictures and their reconstructions", &r->reconstructions, e))
            return false;
    }
    if (has_figure(r, PART_B) || has_figure(r, PART_C)) {
        text_add(t, "\n## b, c. The asked thing in the asked style\n\nPrompts of training pictures. b: of all training pictures of "
                    "the asked style the nearest to the drawn one (squared distance of RGB at 32x32) is the asked one. c: the "
                    "nearest of all pictures of the asked concept, held-out ones included, has the asked style. ");
        add_ranks(p);
        text_add(t, "Each row has the asked pictures below it; the marks are b's.\n");
        if (!add_sheet(p, QUESTION_TRAINED, 24, COLUMNS, true, "b", "drawn pictures, and below them the asked ones", e))
            return false;
        add_prompts(p, QUESTION_TRAINED, 24);
    }
    if (has_figure(r, PART_D)) {
        text_add(t, "\n## d. Held-out pairs\n\nConcepts and styles that were shown, but never together; judged as b with the held-out "
                    "pictures added. Each row has the asked pictures below it.\n");
        if (!add_sheet(p, QUESTION_HELD_OUT, 16, COLUMNS, true, "d", "held-out pairs, and below them the asked pictures", e))
            return false;
        add_prompts(p, QUESTION_HELD_OUT, 16);
    }
    if (has_figure(r, PART_E)) {
        text_add(t, "\n## e. Two things side by side\n\nTwo training pictures of one style. Each half is compared with halves that hold "
                    "a training picture of this style where a scene would place it. Each row has the asked scenes below it.\n");
        if (!add_sheet(p, QUESTION_PAIR, 16, COLUMNS, true, "e", "pairs, and below them the asked scenes", e))
            return false;
        add_prompts(p, QUESTION_PAIR, 16);
    }
    if (has_figure(r, PART_F)) {
        text_add(t, "\n## f. Background colours\n\nThe 13 colours that scenes are made with, in turn. Right if of these the asked one is "
                    "nearest to the median colour of the picture's frame (4 of 128 pixels wide).\n");
        if (!add_sheet(p, QUESTION_COLOUR, 26, 13, false, "f", "backgrounds", e))
            return false;
        add_prompts(p, QUESTION_COLOUR, 26);
    }
    if (r->asked[PART_G]) {
        text_add(t, "\n## g. Forty-eight prompts\n\nWritten before the model was trained and never changed; many ask for what the set "
                    "does not hold. Row by row:\n");
        if (!add_sheet(p, QUESTION_FREE, FREE_PROMPTS, COLUMNS, false, "g", "48 prompts, as listed", e))
            return false;
        add_prompts(p, QUESTION_FREE, FREE_PROMPTS);
    }
    return true;
}

static bool place_page(struct page *p, const char *path, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    const char *name = path_name(path);
    size_t above = (size_t)(name - path);
    if (!path_join(folder, "", path, e))
        return false;
    folder[above] = 0;
    const char *dot = strrchr(name, '.');
    snprintf(p->stem, sizeof p->stem, "%.*s", (int)(dot && dot > name ? dot - name : (long)strlen(name)), name);
    return path_join(p->folder, folder, "pictures", e) && folder_make(p->folder, e);
}

bool report_page(const struct report *r, const char *path, const char *name, const char *machine, const char *notes,
                 struct err *e)
{
    struct page p = { .report = r };
    text_init(&p.text, PAGE_MAX_BYTES);
    bool good = place_page(&p, path, e);
    if (good) {
        add_how(&p, name, machine);
        add_summary(&p);
        if (notes && *notes)
            text_addf(&p.text, "\n%s", notes);
        add_breakdown(&p);
        good = add_parts(&p, e);
    }
    good = good && text_ok(&p.text, e) &&
           file_write_whole(path, text_string(&p.text), strlen(text_string(&p.text)), e);
    text_release(&p.text);
    return good;
}
