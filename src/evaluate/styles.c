#include "evaluate/styles.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { SHOWN = 4 }; /* pictures of a set on a page */

static bool show(struct findings *f, const struct picture_set *set, struct err *e)
{
    bool good = true;
    for (size_t k = 0; good && k < picture_set_thinned(set, SHOWN); k++) {
        struct image image;
        good = picture_set_square(set, picture_set_nth(set, SHOWN, k), 128, &image, e);
        if (good)
            findings_cell_picture(f, &image, NULL);
        image_release(&image);
    }
    return good;
}

static void begin(struct findings *f, bool pictures)
{
    findings_table(f, "sets", "Distances to the reference", 0);
    findings_column(f, "name", "", 0);
    findings_column(f, "style", "the mean of the three beside it; 0: the same, 1: everything a standard deviation off", 3);
    findings_column(f, style_part_names[STYLE_LATENTS], "of the cells of VAE latents", 3);
    findings_column(f, style_part_names[STYLE_COLOUR], "of pixels in Oklab", 3);
    findings_column(f, style_part_names[STYLE_SHADING], "of how steep colours are over 1, 2 and 4 pixels: flat, soft, drawn with lines", 3);
    findings_column(f, "pictures", "", 0);
    for (int k = 0; pictures && k < SHOWN; k++)
        findings_column(f, "", "", 0);
}

bool styles_compare(struct findings *f, const struct picture_set *reference, const struct picture_set *sets, const char *const *names,
                    size_t count, struct reconstruction *vae, int64_t most, bool pictures, const struct progress *progress,
                    struct err *e)
{
    struct style wanted;
    struct style_distance floor, *d = mem_zeroed(count + 1, sizeof *d);
    size_t best = 0;
    bool good = (d || err_nomem(e, "distances")) && style_init(&wanted, vae, e);
    if (!good) {
        mem_free(d);
        return false;
    }
    good = style_add_set(&wanted, vae, reference, most, -1, progress, e) && style_floor(vae, reference, most, &floor, progress, e);
    for (size_t i = 0; good && i < count; i++) {
        struct style s;
        good = style_init(&s, vae, e) && style_add_set(&s, vae, &sets[i], most, -1, progress, e) && style_distance(&s, &wanted, &d[i], e);
        style_release(&s);
        best = good && d[i].style < d[best].style ? i : best;
    }
    if (good) {
        findings_number(f, NULL, "reference_pictures", (double)wanted.pictures, 0);
        findings_number(f, "floor", "style", floor.style, 3);
        for (int k = 0; k < STYLE_PARTS; k++)
            findings_number(f, "floor", style_part_names[k], floor.part[k], 3);
        findings_words(f, "The floor is the distance between two halves of the reference: nothing drawn can be expected to be nearer.");
        begin(f, pictures);
    }
    for (size_t i = 0; good && i < count; i++) {
        findings_row(f);
        findings_cell_text(f, "%s", names[i]);
        findings_cell_number(f, d[i].style);
        for (int k = 0; k < STYLE_PARTS; k++)
            findings_cell_number(f, d[i].part[k]);
        findings_cell_number(f, (double)picture_set_thinned(&sets[i], most));
        if (i == best && count > 1)
            findings_mark(f);
        good = !pictures || show(f, &sets[i], e);
    }
    style_release(&wanted);
    mem_free(d);
    return good && findings_ok(f, e);
}

/* --- each against each --- */

enum { STYLES_MOST = FINDINGS_COLUMNS - 3 };

struct matrix {
    const char *name[STYLES_MOST]; /* borrowed from the set */
    struct style half[STYLES_MOST][2];
    size_t seen[STYLES_MOST], all[STYLES_MOST];
    size_t count;
};

static bool name_styles(struct matrix *m, const struct picture_set *set, struct err *e)
{
    for (size_t i = 0; i < set->count; i++) {
        size_t k = 0;
        const char *style = set->at[i].style;
        while (*style && k < m->count && strcmp(m->name[k], style))
            k++;
        if (*style && k == m->count) {
            if (m->count == STYLES_MOST)
                return err_set(e, ERR_LIMIT, "the list names more than %d styles", STYLES_MOST);
            m->name[m->count++] = style;
        }
        if (*style)
            m->all[k]++;
    }
    return m->count >= 2 || err_set(e, ERR_MISSING, "the list names %zu styles: two are needed to compare them", m->count);
}

/* The n-th picture of its style goes to one half or the other, if it is among those that are looked at. */
static bool add_picture(struct matrix *m, const struct picture_set *set, size_t i, struct reconstruction *vae, int64_t most,
                        struct err *e)
{
    size_t k = 0;
    while (k < m->count && strcmp(m->name[k], set->at[i].style))
        k++;
    if (k == m->count)
        return true;
    size_t n = m->seen[k]++, wanted = most > 0 && (size_t)most < m->all[k] ? (size_t)most : m->all[k];
    size_t rank = n * wanted / m->all[k]; /* spread over the style's pictures */
    if (n && rank == (n - 1) * wanted / m->all[k])
        return true;
    struct image image = { 0 };
    bool good = picture_set_load(set, i, &image, e) && (style_add(&m->half[k][rank % 2], vae, &image, e) || err_add(e, "%s", set->at[i].path));
    image_release(&image);
    return good;
}

static bool tell(struct findings *f, const struct matrix *m, struct err *e)
{
    size_t right = 0;
    findings_table(f, "styles", "Each style's first half (rows) against the second half of each (columns)", 0);
    findings_column(f, "style", "", 0);
    for (size_t k = 0; k < m->count; k++)
        findings_column(f, m->name[k], "", 3);
    findings_column(f, "nearest", "", 0);
    for (size_t i = 0; i < m->count; i++) {
        size_t best = 0;
        double least = INFINITY;
        findings_row(f);
        findings_cell_text(f, "%s", m->name[i]);
        for (size_t k = 0; k < m->count; k++) {
            struct style_distance d;
            if (!style_distance(&m->half[i][0], &m->half[k][1], &d, e))
                return err_add(e, "%s against %s", m->name[i], m->name[k]);
            findings_cell_number(f, d.style);
            if (d.style < least) {
                least = d.style;
                best = k;
            }
        }
        findings_cell_text(f, "%s", m->name[best]);
        right += best == i;
    }
    findings_number(f, NULL, "styles", (double)m->count, 0);
    findings_number(f, NULL, "recognised", (double)right, 0);
    return findings_ok(f, e);
}

bool styles_matrix(struct findings *f, const struct picture_set *set, struct reconstruction *vae, int64_t most,
                   const struct progress *progress, struct err *e)
{
    struct matrix *m = mem_zeroed(1, sizeof *m);
    bool good = (m || err_nomem(e, "styles")) && name_styles(m, set, e);
    for (size_t k = 0; good && k < m->count; k++)
        good = style_init(&m->half[k][0], vae, e) && style_init(&m->half[k][1], vae, e);
    for (size_t i = 0; good && i < set->count; i++) {
        progress_step(progress, "looking at styles", (long)i, (long)set->count, NULL);
        good = stop_check(e) && add_picture(m, set, i, vae, most, e);
    }
    good = good && tell(f, m, e);
    for (size_t k = 0; m && k < m->count; k++) {
        style_release(&m->half[k][0]);
        style_release(&m->half[k][1]);
    }
    mem_free(m);
    return good;
}
