#include "dataset/scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

const struct scan_figure_words scan_figures[SCAN_FIGURES] = {
    [SCAN_WIDTH] = { "width", "pixels", 0 },
    [SCAN_HEIGHT] = { "height", "pixels", 0 },
    [SCAN_MEGAPIXELS] = { "megapixels", "", 3 },
    [SCAN_ASPECT] = { "aspect", "width by height", 2 },
    [SCAN_SHARPNESS] = { "sharpness", "variance of the Laplacian; depends on what is shown", 0 },
    [SCAN_BLUR] = { "blur", "0 sharp to 1 blurred", 3 },
    [SCAN_ENTROPY] = { "entropy", "bits of the brightness, 0 to 8", 2 },
    [SCAN_DEVIATION] = { "contrast", "deviation of the brightness, of 255", 1 },
    [SCAN_COLOURFULNESS] = { "colour", "0 grey, 33 a little, above 100 very colourful", 1 },
    [SCAN_LIGHT] = { "light", "mean brightness, of 255", 1 },
    [SCAN_WORDS] = { "words", "of the caption", 0 },
    [SCAN_TOKENS] = { "tokens", "of the caption", 0 },
};

const char *const scan_shapes[SCAN_SHAPES] = { "1:2", "9:16", "2:3", "3:4", "1:1", "4:3", "3:2", "16:9", "2:1" };
static const double shape_aspect[SCAN_SHAPES] = { 1 / 2.0, 9 / 16.0, 2 / 3.0, 3 / 4.0, 1, 4 / 3.0, 3 / 2.0, 16 / 9.0, 2 };

static int nearest_shape(double aspect)
{
    int best = 0;
    for (int i = 1; i < SCAN_SHAPES; i++)
        if (fabs(log(aspect / shape_aspect[i])) < fabs(log(aspect / shape_aspect[best])))
            best = i;
    return best;
}

long scan_words(const char *text)
{
    long words = 0;
    bool inside = false;
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        uint32_t c;
        n = utf8_decode(text, left, &c);
        bool space = c == ' ' || (c >= 9 && c <= 13) || c == 0xA0 || c == 0x3000;
        /* CJK ideographs and their extensions, kana, hangul */
        bool alone = (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3) ||
                     (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
        words += alone || (!space && !inside);
        inside = !alone && !space;
    }
    return words;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double rank(const double *sorted, size_t n, double share)
{
    double at = share * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static bool make_ranges(struct scan *r, struct err *e)
{
    double *list = mem_zeroed(r->pictures ? r->pictures : 1, sizeof *list);
    if (!list)
        return err_nomem(e, "figures of a data set");
    for (int f = 0; f < SCAN_FIGURES; f++) {
        size_t n = 0;
        double sum = 0;
        for (size_t i = 0; i < r->pictures; i++)
            if (!isnan(r->of[i][f]))
                sum += list[n++] = r->of[i][f];
        if (!n)
            continue;
        qsort(list, n, sizeof *list, by_value);
        r->range[f] = (struct scan_range){ n, list[0], rank(list, n, 0.05), rank(list, n, 0.5), rank(list, n, 0.95), list[n - 1],
                                           sum / (double)n };
    }
    mem_free(list);
    return true;
}

/* ---- captions ---- */

/* Adds one to a word's count. */
static bool count_word(json_t *counts, const char *word)
{
    return !json_object_set_new(counts, word, json_integer(json_integer_value(json_object_get(counts, word)) + 1));
}

/* The tags of a caption, in lower case (A to Z), without spaces around. `copy` is scratch of strlen(text) + 1 bytes. */
static bool count_tags(json_t *counts, const char *text, char *copy)
{
    strcpy(copy, text);
    for (char *c = copy; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    for (char *at = copy, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        at += strspn(at, " \t\r\n");
        size_t bytes = strlen(at);
        while (bytes && strchr(" \t\r\n", at[bytes - 1]))
            at[--bytes] = 0;
        if (bytes && !count_word(counts, at))
            return false;
    }
    return true;
}

static int by_count(const void *a, const void *b)
{
    const struct scan_tag *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->tag, y->tag);
}

static bool list_tags(struct scan *r, json_t *counts, struct err *e)
{
    const char *tag;
    json_t *count;
    if (!(r->tags = mem_zeroed(json_object_size(counts) + 1, sizeof *r->tags)))
        return err_nomem(e, "the tags of a data set");
    json_object_foreach(counts, tag, count)
    {
        if (!(r->tags[r->tag_count].tag = mem_string(tag)))
            return err_nomem(e, "the tags of a data set");
        r->tags[r->tag_count++].count = (size_t)json_integer_value(count);
    }
    if (r->tag_count)
        qsort(r->tags, r->tag_count, sizeof *r->tags, by_count);
    return true;
}

static bool read_captions(struct scan *r, const struct manifest *m, const struct scan_options *o, json_t *tags, json_t *texts,
                          struct err *e)
{
    char copy[DATASET_MAX_TEXT_BYTES + 1];
    for (size_t i = 0; i < r->pictures; i++) {
        const struct manifest_picture *p = manifest_picture(m, i);
        long tokens;
        if (*p->excluded)
            continue;
        if (!*p->text) {
            r->without_text++;
            continue;
        }
        r->same_text += json_object_get(texts, p->text) != NULL;
        if (!count_word(texts, p->text) || !count_tags(tags, p->text, copy))
            return err_nomem(e, "the captions of a data set");
        r->of[i][SCAN_WORDS] = (double)scan_words(p->text);
        if (!o->tokens)
            continue;
        if (!o->tokens(o->self, p->text, &tokens, e))
            return err_add(e, "the caption of %s", p->file_name);
        r->of[i][SCAN_TOKENS] = (double)tokens;
        r->too_long += tokens > o->room;
    }
    return list_tags(r, tags, e);
}

/* ---- pictures ---- */

static void read_picture(struct scan *r, size_t i, const struct survey_picture *p)
{
    double *of = r->of[i];
    const struct image_measures *x = &p->measures;
    of[SCAN_WIDTH] = p->width;
    of[SCAN_HEIGHT] = p->height;
    of[SCAN_MEGAPIXELS] = (double)p->width * p->height / 1e6;
    of[SCAN_ASPECT] = (double)p->width / p->height;
    of[SCAN_SHARPNESS] = x->sharpness;
    of[SCAN_BLUR] = x->blur;
    of[SCAN_ENTROPY] = x->entropy;
    of[SCAN_DEVIATION] = x->deviation;
    of[SCAN_COLOURFULNESS] = x->colourfulness;
    of[SCAN_LIGHT] = 0.299 * x->mean[0] + 0.587 * x->mean[1] + 0.114 * x->mean[2];
    for (int c = 0; c < 3; c++)
        r->mean_colour[c] += x->mean[c];
    r->shape[nearest_shape(of[SCAN_ASPECT])]++;
    r->with_alpha += p->alpha;
}

static void read_pictures(struct scan *r, const struct manifest *m, const struct survey *s)
{
    size_t seen = 0;
    for (size_t i = 0; i < r->pictures; i++) {
        const struct manifest_picture *p = manifest_picture(m, i);
        for (int f = 0; f < SCAN_FIGURES; f++)
            r->of[i][f] = NAN;
        if (*p->excluded) {
            r->excluded++;
            continue;
        }
        r->used++;
        r->held_out += *p->split == 'h';
        r->bytes += s->pictures[i].bytes;
        r->broken += s->pictures[i].state == SURVEY_BROKEN;
        r->missing += s->pictures[i].state == SURVEY_MISSING;
        if (s->pictures[i].state == SURVEY_SEEN) {
            read_picture(r, i, &s->pictures[i]);
            seen++;
        }
    }
    for (int c = 0; c < 3 && seen; c++)
        r->mean_colour[c] /= (double)seen;
}

bool scan_make(struct scan *r, const struct manifest *m, const struct survey *s, const struct scan_options *o, struct err *e)
{
    *r = (struct scan){ .pictures = manifest_count(m) };
    r->of = mem_zeroed(r->pictures ? r->pictures : 1, sizeof *r->of);
    json_t *tags = json_object(), *texts = json_object();
    bool good = (r->of && tags && texts) || err_nomem(e, "figures of a data set");
    if (good)
        read_pictures(r, m, s);
    good = good && read_captions(r, m, o, tags, texts, e) && make_ranges(r, e);
    json_decref(tags);
    json_decref(texts);
    if (!good)
        scan_release(r);
    return good;
}

void scan_release(struct scan *r)
{
    for (size_t i = 0; i < r->tag_count; i++)
        mem_free(r->tags[i].tag);
    mem_free(r->tags);
    mem_free(r->of);
    *r = (struct scan){ 0 };
}
