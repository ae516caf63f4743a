#include "dataset/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dataset/dataset_internal.h"

void *strings_take(struct strings *s, size_t bytes)
{
    enum { BLOCK = 1 << 18 };
    bytes = (bytes + 7) & ~(size_t)7;
    if (bytes > s->room - s->used) {
        char **more = mem_grow(s->blocks, &s->cap, s->count + 1, sizeof *more);
        if (!more)
            return NULL;
        s->blocks = more;
        size_t room = bytes > BLOCK ? bytes : BLOCK;
        char *block = mem_zeroed(room, 1);
        if (!block)
            return NULL;
        s->blocks[s->count++] = block;
        s->used = 0;
        s->room = room;
    }
    char *p = s->blocks[s->count - 1] + s->used;
    s->used += bytes;
    return p;
}

const char *strings_copy(struct strings *s, const char *text, size_t bytes)
{
    if (bytes == 0)
        return "";
    char *p = strings_take(s, bytes + 1);
    if (p) {
        memcpy(p, text, bytes);
        p[bytes] = 0;
    }
    return p;
}

void strings_release(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->blocks[i]);
    mem_free(s->blocks);
    *s = (struct strings){ 0 };
}

static int by_name(const struct dataset_picture *a, const struct dataset_picture *b)
{
    int order = strcmp(a->hexcode, b->hexcode);
    return order ? order : strcmp(a->style, b->style);
}

static int compare_concepts(const void *a, const void *b, void *pictures)
{
    const struct dataset_picture *p = pictures;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int order = by_name(&p[i], &p[j]);
    return order ? order : (i > j) - (i < j);
}

static int compare_files(const void *a, const void *b, void *pictures)
{
    const struct dataset_picture *p = pictures;
    return strcmp(p[*(const uint32_t *)a].file_name, p[*(const uint32_t *)b].file_name);
}

/* Numbers styles by first appearance. */
static bool number_styles(struct dataset *d, struct err *e)
{
    int last = 0; /* lists are mostly ordered by style */
    for (size_t i = 0; i < d->count; i++) {
        struct dataset_picture *p = &d->pictures[i];
        if (!*p->style)
            continue;
        if (last >= d->styles || strcmp(d->style_names[last], p->style) != 0)
            for (last = 0; last < d->styles && strcmp(d->style_names[last], p->style) != 0;)
                last++;
        if (last == d->styles) {
            if (d->styles == DATASET_MAX_STYLES)
                return err_set(e, ERR_LIMIT, "%s: more than %d styles", d->folder, DATASET_MAX_STYLES);
            d->style_names[d->styles++] = p->style;
        }
        p->style_index = last;
    }
    return true;
}

/* Numbers concepts by first appearance, fills by_concept and refuses doubles. `order` is scratch of count numbers. */
static bool number_concepts(struct dataset *d, uint32_t *order, struct err *e)
{
    struct dataset_picture *p = d->pictures;
    for (size_t i = 0; i < d->count; i++)
        order[i] = d->by_concept[i] = (uint32_t)i;
    qsort_r(order, d->count, sizeof *order, compare_files, p);
    for (size_t i = 1; i < d->count; i++)
        if (strcmp(p[order[i - 1]].file_name, p[order[i]].file_name) == 0)
            return err_set(e, ERR_FORMAT, "%s: the list has %.200s twice", d->folder, p[order[i]].file_name);
    qsort_r(d->by_concept, d->count, sizeof *d->by_concept, compare_concepts, p);
    for (size_t i = 1; i < d->count; i++) {
        const struct dataset_picture *a = &p[d->by_concept[i - 1]], *b = &p[d->by_concept[i]];
        if (*a->hexcode && *a->style && by_name(a, b) == 0)
            return err_set(e, ERR_FORMAT, "%s: the list has the concept %.100s in the style %.100s twice", d->folder,
                           a->hexcode, a->style);
    }
    /* order[i]: the first picture that shows picture i's concept. */
    for (size_t from = 0, to; from < d->count; from = to) {
        uint32_t first = d->by_concept[from];
        for (to = from; to < d->count && strcmp(p[d->by_concept[to]].hexcode, p[d->by_concept[from]].hexcode) == 0; to++)
            first = d->by_concept[to] < first ? d->by_concept[to] : first;
        for (size_t i = from; i < to; i++)
            order[d->by_concept[i]] = first;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (!*p[i].hexcode)
            continue;
        if (order[i] == i) {
            p[i].concept_index = d->concepts;
            d->first_of_concept[d->concepts++] = (uint32_t)i;
        } else {
            p[i].concept_index = p[order[i]].concept_index;
        }
    }
    return true;
}

static bool make_splits(struct dataset *d, struct err *e)
{
    for (int held = 0; held < 2; held++)
        for (int style = -1; style < d->styles; style++) {
            size_t n = 0;
            for (size_t i = 0; i < d->count; i++)
                n += d->pictures[i].held_out == held && (style < 0 || d->pictures[i].style_index == style);
            uint32_t *list = mem_zeroed(n ? n : 1, sizeof *list);
            if (!list)
                return err_nomem(e, "the splits of a dataset");
            d->split[held][style + 1] = list;
            d->split_count[held][style + 1] = n;
            for (size_t i = 0, at = 0; i < d->count; i++)
                if (d->pictures[i].held_out == held && (style < 0 || d->pictures[i].style_index == style))
                    list[at++] = (uint32_t)i;
        }
    return true;
}

static bool make_indices(struct dataset *d, struct err *e)
{
    uint32_t *scratch = mem_zeroed(d->count, sizeof *scratch);
    d->by_concept = mem_zeroed(d->count, sizeof *d->by_concept);
    d->first_of_concept = mem_zeroed(d->count, sizeof *d->first_of_concept);
    if (!scratch || !d->by_concept || !d->first_of_concept) {
        mem_free(scratch);
        return err_nomem(e, "the index of a dataset");
    }
    bool good = number_styles(d, e) && number_concepts(d, scratch, e) && make_splits(d, e);
    mem_free(scratch);
    return good;
}

struct dataset *dataset_open(const char *folder, struct err *e)
{
    struct dataset *d = mem_zeroed(1, sizeof *d);
    if (!d) {
        err_nomem(e, "a dataset");
        return NULL;
    }
    if (snprintf(d->folder, sizeof d->folder, "%s", folder) >= (int)sizeof d->folder) {
        err_set(e, ERR_LIMIT, "%.100s...: the path is too long", folder);
    } else if (!path_is_folder(folder)) {
        err_set(e, ERR_MISSING, "%s: there is no such folder", folder);
    } else if (metadata_read(d, e) && make_indices(d, e)) {
        return d;
    }
    dataset_free(d);
    return NULL;
}

void dataset_free(struct dataset *d)
{
    if (!d)
        return;
    pixels_release(d);
    for (int held = 0; held < 2; held++)
        for (int i = 0; i <= d->styles; i++)
            mem_free(d->split[held][i]);
    mem_free(d->by_concept);
    mem_free(d->first_of_concept);
    mem_free(d->pictures);
    strings_release(&d->strings);
    mem_free(d);
}

const char *dataset_folder(const struct dataset *d)
{
    return d->folder;
}

size_t dataset_count(const struct dataset *d)
{
    return d->count;
}

const struct dataset_picture *dataset_picture(const struct dataset *d, size_t i)
{
    return &d->pictures[i];
}

int dataset_concepts(const struct dataset *d)
{
    return d->concepts;
}

int dataset_styles(const struct dataset *d)
{
    return d->styles;
}

const char *dataset_style_name(const struct dataset *d, int style_index)
{
    return d->style_names[style_index];
}

long dataset_find(const struct dataset *d, const char *hexcode, const char *style)
{
    const struct dataset_picture wanted = { .hexcode = hexcode, .style = style };
    size_t low = 0, high = d->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = by_name(&d->pictures[d->by_concept[middle]], &wanted);
        if (order == 0)
            return (long)d->by_concept[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

long dataset_at(const struct dataset *d, int concept_index, int style_index)
{
    if (concept_index < 0 || concept_index >= d->concepts || style_index < 0 || style_index >= d->styles)
        return -1;
    return dataset_find(d, d->pictures[d->first_of_concept[concept_index]].hexcode, d->style_names[style_index]);
}

const uint32_t *dataset_split(const struct dataset *d, bool held_out, int style_index, size_t *count)
{
    *count = d->split_count[held_out][style_index + 1];
    return d->split[held_out][style_index + 1];
}

uint64_t dataset_fingerprint(const struct dataset *d)
{
    return d->fingerprint;
}

int dataset_size_px(const struct dataset *d)
{
    return d->size_px;
}

const uint8_t *dataset_pixels(const struct dataset *d, size_t i)
{
    return d->pixels + i * (size_t)d->size_px * (size_t)d->size_px * 4;
}
