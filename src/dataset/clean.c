#include "dataset/clean.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

const struct clean_check_words clean_checks[CLEAN_CHECKS] = {
    [CLEAN_BROKEN] = { "broken", "broken" },
    [CLEAN_SMALL] = { "small", "too small" },
    [CLEAN_ELONGATED] = { "elongated", "elongated" },
    [CLEAN_FLAT] = { "flat", "flat" },
    [CLEAN_BLURRED] = { "blurred", "blurred" },
    [CLEAN_BORDERED] = { "bordered", "bordered" },
    [CLEAN_NO_CAPTION] = { "no-caption", "no caption" },
    [CLEAN_DUPLICATE] = { "duplicate", "duplicate" },
    [CLEAN_NEAR] = { "near-duplicate", "near duplicate" },
    [CLEAN_SAME_CAPTION] = { "same-caption", "same caption" },
};

/* In a picture's history. */
static const char clean_op[] = "clean", undone_op[] = "clean undone";

/* Faults by picture while they are found. */
struct finding {
    const struct manifest *manifest;
    const struct survey *survey;
    const struct clean_options *options;
    struct clean_fault *of; /* [count]; check CLEAN_CHECKS: none */
    bool *skip;             /* [count]: excluded before */
    size_t count;
};

static bool is_open(const struct finding *f, size_t i)
{
    return !f->skip[i] && f->of[i].check == CLEAN_CHECKS;
}

static void set(struct finding *f, size_t i, enum clean_check check, long twin, double value, double limit)
{
    f->of[i] = (struct clean_fault){ .check = check, .picture = i, .twin = twin, .value = value, .limit = limit };
}

static bool is_blank(const char *s)
{
    return !s[strspn(s, " \t\r\n")];
}

/* The larger share of a frame, of the two pairs of opposite sides. */
static double frame_of(const struct survey_picture *p, double edge)
{
    int px[IMAGE_SIDES];
    double across, down;
    if (!image_frame(&p->measures, edge, px))
        return 0;
    across = px[IMAGE_LEFT] ? (double)p->border[IMAGE_LEFT] + (double)p->border[IMAGE_RIGHT] : 0;
    down = px[IMAGE_TOP] ? (double)p->border[IMAGE_TOP] + (double)p->border[IMAGE_BOTTOM] : 0;
    return across > down ? across : down;
}

/* What a picture shows by itself. */
static void judge(struct finding *f, size_t i)
{
    const struct clean_options *o = f->options;
    const struct survey_picture *p = &f->survey->pictures[i];
    int least = p->width < p->height ? p->width : p->height, most = p->width + p->height - least;
    if (p->state != SURVEY_SEEN) {
        if (o->check[CLEAN_BROKEN])
            set(f, i, CLEAN_BROKEN, -1, 0, 0);
        return;
    }
    double frame = frame_of(p, o->border_edge);
    if (o->check[CLEAN_SMALL] && least < o->min_side_px)
        set(f, i, CLEAN_SMALL, -1, least, o->min_side_px);
    else if (o->check[CLEAN_ELONGATED] && most > o->elongated * least)
        set(f, i, CLEAN_ELONGATED, -1, (double)most / least, o->elongated);
    else if (o->check[CLEAN_FLAT] && p->measures.deviation < o->flat)
        set(f, i, CLEAN_FLAT, -1, p->measures.deviation, o->flat);
    else if (o->check[CLEAN_BLURRED] && p->measures.blur > o->blur)
        set(f, i, CLEAN_BLURRED, -1, p->measures.blur, o->blur);
    else if (o->check[CLEAN_BORDERED] && frame > 0 && frame >= o->border)
        set(f, i, CLEAN_BORDERED, -1, frame, o->border);
    else if (o->check[CLEAN_NO_CAPTION] && is_blank(manifest_picture(f->manifest, i)->text))
        set(f, i, CLEAN_NO_CAPTION, -1, 0, 0);
}

/* --- Pictures that resemble each other --- */

/* By pixels, then those with a caption, then the sharpest. */
static int best_first(const void *a, const void *b, void *finding)
{
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const struct finding *f = finding;
    const struct survey_picture *p = &f->survey->pictures[i], *q = &f->survey->pictures[k];
    int64_t more = (int64_t)q->width * q->height - (int64_t)p->width * p->height;
    int blank = is_blank(manifest_picture(f->manifest, i)->text) - is_blank(manifest_picture(f->manifest, k)->text);
    if (more || blank)
        return more ? (more > 0 ? 1 : -1) : blank;
    if (p->measures.blur != q->measures.blur)
        return p->measures.blur > q->measures.blur ? 1 : -1;
    return (i > k) - (i < k);
}

static int by_id(const void *a, const void *b, void *finding)
{
    const struct survey_picture *all = ((const struct finding *)finding)->survey->pictures;
    int order = strcmp(all[*(const size_t *)a].id, all[*(const size_t *)b].id);
    return order ? order : best_first(a, b, finding);
}

/* The numbers of the pictures without fault into list[count]; returns how many. */
static size_t open_pictures(const struct finding *f, size_t *list)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        if (is_open(f, i) && f->survey->pictures[i].state == SURVEY_SEEN)
            list[n++] = i;
    return n;
}

static void same_bytes(struct finding *f, size_t *list)
{
    size_t n = open_pictures(f, list), first = 0;
    qsort_r(list, n, sizeof *list, by_id, f);
    for (size_t k = 1; k < n; k++) {
        if (!strcmp(f->survey->pictures[list[first]].id, f->survey->pictures[list[k]].id))
            set(f, list[k], CLEAN_DUPLICATE, (long)list[first], 0, 0);
        else
            first = k;
    }
}

/* The nearest of those that stay. */
struct nearest {
    const struct finding *finding;
    size_t picture;
    long twin;
    int distance;
    double colour;
};

static void take_nearer(void *self, uint32_t number, int distance)
{
    struct nearest *n = self;
    const struct survey_picture *all = n->finding->survey->pictures;
    double colour = survey_colour_distance(&all[n->picture], &all[number]);
    bool nearer = n->twin < 0 || distance < n->distance || (distance == n->distance && colour < n->colour) ||
                  (distance == n->distance && colour == n->colour && (long)number < n->twin);
    if (colour <= n->finding->options->near_colour && nearer) {
        n->twin = number;
        n->distance = distance;
        n->colour = colour;
    }
}

static bool near_ones(struct finding *f, size_t *list, struct err *e)
{
    const struct clean_options *o = f->options;
    struct phash_index *index = phash_index_new(e);
    bool good = index != NULL;
    size_t n = open_pictures(f, list);
    qsort_r(list, n, sizeof *list, best_first, f);
    for (size_t k = 0; good && k < n; k++) {
        struct nearest found = { f, list[k], -1, 0, 0 };
        uint64_t hash = f->survey->pictures[list[k]].phash;
        phash_index_near(index, hash, o->near_bits, take_nearer, &found);
        if (found.twin >= 0) {
            set(f, list[k], CLEAN_NEAR, found.twin, found.colour, o->near_colour);
            f->of[list[k]].distance = found.distance;
        } else {
            good = phash_index_add(index, hash, (uint32_t)list[k], e);
        }
    }
    phash_index_free(index);
    return good;
}

static int by_caption(const void *a, const void *b, void *captions)
{
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    int order = strcmp(((char **)captions)[i], ((char **)captions)[k]);
    return order ? order : (i > k) - (i < k);
}

/* Without blanks at its ends, A to Z in lower case; freed with mem_free. */
static char *plain_caption(const char *text)
{
    char *s = mem_string(text + strspn(text, " \t\r\n"));
    if (!s)
        return NULL;
    size_t length = strlen(s);
    while (length && strchr(" \t\r\n", s[length - 1]))
        s[--length] = 0;
    for (char *c = s; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 'a' - 'A' : *c);
    return s;
}

static bool same_captions(struct finding *f, size_t *list, size_t *found, struct err *e)
{
    char **captions = mem_zeroed(f->count, sizeof *captions);
    bool good = captions || err_nomem(e, "captions");
    size_t n = good ? open_pictures(f, list) : 0, first = 0;
    for (size_t k = 0; good && k < n; k++)
        if (!(captions[list[k]] = plain_caption(manifest_picture(f->manifest, list[k])->text)))
            good = err_nomem(e, "captions");
    if (good)
        qsort_r(list, n, sizeof *list, by_caption, captions);
    for (size_t k = 1; good && k < n; k++) {
        bool same = *captions[list[k]] && !strcmp(captions[list[first]], captions[list[k]]);
        *found += same;
        if (same && f->options->check[CLEAN_SAME_CAPTION])
            set(f, list[k], CLEAN_SAME_CAPTION, (long)list[first], 0, 0);
        else if (!same)
            first = k;
    }
    for (size_t i = 0; captions && i < f->count; i++)
        mem_free(captions[i]);
    mem_free(captions);
    return good;
}

static bool collect(struct clean_report *out, const struct finding *f, struct err *e)
{
    for (size_t i = 0; i < f->count; i++) {
        out->looked_at += !f->skip[i];
        if (!f->skip[i] && f->of[i].check < CLEAN_CHECKS) {
            out->of_check[f->of[i].check]++;
            out->count++;
        }
    }
    if (!(out->faults = mem_zeroed(out->count, sizeof *out->faults)))
        return err_nomem(e, "the faults of pictures");
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        if (!f->skip[i] && f->of[i].check < CLEAN_CHECKS)
            out->faults[n++] = f->of[i];
    return true;
}

bool clean_find(struct clean_report *out, const struct manifest *m, const struct survey *s, const struct clean_options *o,
                struct err *e)
{
    *out = (struct clean_report){ 0 };
    struct finding f = { m, s, o, mem_zeroed(s->count, sizeof *f.of), mem_zeroed(s->count, sizeof *f.skip), s->count };
    size_t *list = mem_zeroed(s->count, sizeof *list);
    bool good = (f.of && f.skip && list) || err_nomem(e, "the faults of pictures");
    for (size_t i = 0; good && i < f.count; i++) {
        set(&f, i, CLEAN_CHECKS, -1, 0, 0);
        f.skip[i] = *manifest_picture(m, i)->excluded || s->pictures[i].state == SURVEY_NOT_YET;
        if (!f.skip[i])
            judge(&f, i);
    }
    if (good && o->check[CLEAN_DUPLICATE])
        same_bytes(&f, list);
    good = good && (!o->check[CLEAN_NEAR] || near_ones(&f, list, e)) && same_captions(&f, list, &out->same_caption, e) &&
           collect(out, &f, e);
    mem_free(f.of);
    mem_free(f.skip);
    mem_free(list);
    if (!good)
        clean_release(out);
    return good;
}

void clean_release(struct clean_report *r)
{
    mem_free(r->faults);
    *r = (struct clean_report){ 0 };
}

void clean_fault_words(const struct clean_fault *f, const struct manifest *m, const struct survey *s, struct text *out)
{
    const char *name = manifest_picture(m, f->picture)->file_name, *why = s->pictures[f->picture].why;
    const char *twin = f->twin >= 0 ? manifest_picture(m, (size_t)f->twin)->file_name : "";
    switch (f->check) {
    case CLEAN_BROKEN:
        why = why ? why : "";
        text_add(out, !strncmp(why, name, strlen(name)) && why[strlen(name)] == ':' ? why + strlen(name) + 2 : why);
        break;
    case CLEAN_SMALL:
        text_addf(out, "%dx%d, want %g a side", s->pictures[f->picture].width, s->pictures[f->picture].height, f->limit);
        break;
    case CLEAN_ELONGATED:
        text_addf(out, "%dx%d, want at most %g times as long as wide", s->pictures[f->picture].width, s->pictures[f->picture].height,
                  f->limit);
        break;
    case CLEAN_FLAT:
        text_addf(out, "deviates by %.2f, want %g", f->value, f->limit);
        break;
    case CLEAN_BLURRED:
        text_addf(out, "blur %.3f, want at most %g", f->value, f->limit);
        break;
    case CLEAN_BORDERED:
        text_addf(out, "%.1f %% of a side is border", 100 * f->value);
        break;
    case CLEAN_NEAR:
        text_addf(out, "of %s: %d bits, colours %.1f apart", twin, f->distance, f->value);
        break;
    case CLEAN_DUPLICATE:
    case CLEAN_SAME_CAPTION:
        text_addf(out, "of %s", twin);
        break;
    default:
        break;
    }
}

bool clean_apply(struct manifest *m, const struct clean_report *r, struct err *e)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct clean_fault *f = &r->faults[i];
        json_t *details = json_pack("{s:s}", "check", clean_checks[f->check].name);
        bool good = details != NULL;
        if (good && f->limit)
            good = !json_object_set_new(details, "value", json_real(f->value)) &&
                   !json_object_set_new(details, "limit", json_real(f->limit));
        if (good && f->twin >= 0)
            good = !json_object_set_new(details, "of", json_string(manifest_picture(m, (size_t)f->twin)->file_name));
        if (!good) {
            json_decref(details);
            return err_nomem(e, "a history");
        }
        if (!manifest_change(m, f->picture, json_pack("{s:s}", "excluded", clean_checks[f->check].reason), clean_op, details, e))
            return false;
    }
    return true;
}

/* The time of the clean_apply that excluded picture i and still does, into time[64]; "" if none did. */
static bool cleaned_at(const struct manifest *m, size_t i, char time[64], struct err *e)
{
    time[0] = 0;
    const char *excluded = manifest_picture(m, i)->excluded;
    if (!*excluded)
        return true;
    json_t *j = manifest_object(m, i, e);
    if (!j)
        return false;
    const json_t *history = json_object_get(j, "history");
    for (size_t k = json_array_size(history); k > 0 && !time[0]; k--) {
        const json_t *entry = json_array_get(history, k - 1);
        const char *op = json_string_value(json_object_get(entry, "op")), *when = json_string_value(json_object_get(entry, "time"));
        const char *check = json_string_value(json_object_get(entry, "check"));
        if (op && !strcmp(op, undone_op))
            break;
        if (!op || !when || !check || strcmp(op, clean_op))
            continue;
        for (int c = 0; c < CLEAN_CHECKS; c++)
            if (!strcmp(clean_checks[c].name, check) && !strcmp(clean_checks[c].reason, excluded))
                snprintf(time, 64, "%s", when);
        break;
    }
    json_decref(j);
    return true;
}

bool clean_undo(struct manifest *m, size_t *count, struct err *e)
{
    char last[64] = "", time[64];
    *count = 0;
    for (size_t i = 0; i < manifest_count(m); i++) {
        if (!cleaned_at(m, i, time, e))
            return false;
        if (strcmp(time, last) > 0)
            strcpy(last, time);
    }
    for (size_t i = 0; last[0] && i < manifest_count(m); i++) {
        if (!cleaned_at(m, i, time, e))
            return false;
        if (strcmp(time, last) != 0)
            continue;
        if (!manifest_change(m, i, json_pack("{s:n}", "excluded"), undone_op, json_pack("{s:s}", "of", last), e))
            return false;
        ++*count;
    }
    return true;
}
