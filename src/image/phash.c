#include "image/phash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "image/measure.h"
#include "image/resize_internal.h"

enum { SIDE = 32, LOW = 8, BITS = LOW * LOW };

/* Coefficients are sums of up to 1024 pixels of 255, so their rounding errors are below 1e-9. */
static const double equal = 1e-6;

/* The lowest frequencies of the cosine transform (DCT-II, each axis without its factor 2) of pixels[SIDE, SIDE]. */
static void low_frequencies(double out[BITS], const uint8_t *pixels)
{
    double wave[LOW][SIDE], across[SIDE][LOW];
    for (int k = 0; k < LOW; k++)
        for (int i = 0; i < SIDE; i++)
            wave[k][i] = cos(M_PI * k * (2 * i + 1) / (2 * SIDE));
    for (int y = 0; y < SIDE; y++)
        for (int u = 0; u < LOW; u++) {
            across[y][u] = 0;
            for (int x = 0; x < SIDE; x++)
                across[y][u] += wave[u][x] * pixels[y * SIDE + x];
        }
    for (int v = 0; v < LOW; v++)
        for (int u = 0; u < LOW; u++) {
            double sum = 0;
            for (int y = 0; y < SIDE; y++)
                sum += wave[v][y] * across[y][u];
            out[v * LOW + u] = sum;
        }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool phash_of(uint64_t *out, const struct image *image, struct err *e)
{
    uint8_t small[SIDE * SIDE], *luma = mem_aligned((size_t)image->width * (size_t)image->height);
    if (!luma)
        return err_nomem(e, "a picture's luma");
    image_luma(luma, image);
    bool good = resize_plane(small, SIDE, SIDE, luma, image->width, image->height, e);
    mem_free(luma);
    if (!good)
        return false;
    double low[BITS], sorted[BITS];
    low_frequencies(low, small);
    memcpy(sorted, low, sizeof sorted);
    qsort(sorted, BITS, sizeof *sorted, ascending);
    double median = (sorted[BITS / 2 - 1] + sorted[BITS / 2]) / 2;
    *out = 0;
    for (int i = 0; i < BITS; i++)
        *out = *out << 1 | (low[i] > median + equal);
    return true;
}

void phash_text(uint64_t hash, char out[PHASH_TEXT_BYTES])
{
    for (int i = 0; i < PHASH_TEXT_BYTES - 1; i++)
        out[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    out[PHASH_TEXT_BYTES - 1] = 0;
}

bool phash_read(uint64_t *out, const char *text)
{
    const size_t digits = PHASH_TEXT_BYTES - 1;
    if (strlen(text) != digits || strspn(text, "0123456789abcdefABCDEF") != digits)
        return false;
    *out = strtoull(text, NULL, 16);
    return true;
}

/* --- The index. A hash is cut into PARTS of PART_BITS; a table for each part lists the hashes by its value. Of two hashes that
 * differ in at most d bits, the differences cannot be spread so that each part has more than its share: some part differs in
 * at most its reach (reach_of). So all values of a part within its reach are looked up, part by part. --- */

enum { PARTS = 4, PART_BITS = 16, VALUES = 1 << PART_BITS };

struct entry {
    uint64_t hash;
    uint32_t number;
    uint32_t next[PARTS]; /* the entry before it with the same value of the part, plus 1; 0: none */
    uint32_t twin;        /* the one before it with the same hash, plus 1; only the last of twins is in the tables */
};

struct phash_index {
    struct entry *entries;
    size_t count, cap;
    uint32_t *heads; /* [PARTS, VALUES]: the last entry with a value, plus 1 */
};

static uint32_t part_of(uint64_t hash, int part)
{
    return (uint32_t)(hash >> part * PART_BITS & (VALUES - 1));
}

struct phash_index *phash_index_new(struct err *e)
{
    struct phash_index *index = mem_zeroed(1, sizeof *index);
    if (index)
        index->heads = mem_zeroed((size_t)PARTS * VALUES, sizeof *index->heads);
    if (index && index->heads)
        return index;
    phash_index_free(index);
    err_nomem(e, "an index of pictures");
    return NULL;
}

void phash_index_free(struct phash_index *index)
{
    if (!index)
        return;
    mem_free(index->entries);
    mem_free(index->heads);
    mem_free(index);
}

size_t phash_index_count(const struct phash_index *index)
{
    return index->count;
}

/* Where the tables lead to the hash: a head or a `next`; NULL if it is not there. */
static uint32_t *link_to(const struct phash_index *index, uint64_t hash, int part)
{
    uint32_t *link = &index->heads[(size_t)part * VALUES + part_of(hash, part)];
    while (*link && index->entries[*link - 1].hash != hash)
        link = &index->entries[*link - 1].next[part];
    return *link ? link : NULL;
}

bool phash_index_add(struct phash_index *index, uint64_t hash, uint32_t number, struct err *e)
{
    if (index->count >= INT32_MAX)
        return err_set(e, ERR_LIMIT, "an index of pictures holds at most %d", INT32_MAX);
    struct entry *more = mem_grow(index->entries, &index->cap, index->count + 1, sizeof *more);
    if (!more)
        return err_nomem(e, "an index of pictures");
    index->entries = more;
    struct entry *entry = &more[index->count];
    *entry = (struct entry){ .hash = hash, .number = number };
    uint32_t own = (uint32_t)index->count + 1;
    for (int part = 0; part < PARTS; part++) {
        uint32_t *twin = link_to(index, hash, part); /* in all parts or in none */
        uint32_t *head = &index->heads[(size_t)part * VALUES + part_of(hash, part)];
        if (twin) {
            entry->twin = *twin;
            entry->next[part] = more[*twin - 1].next[part];
            *twin = own;
        } else {
            entry->next[part] = *head;
            *head = own;
        }
    }
    index->count++;
    return true;
}

/* How many bits of this part must be tried: with d = PARTS * r + a, were the first a + 1 parts to differ in more than r bits and
 * the others in more than r - 1, the sum would be above d. -1: the part need not be looked at. */
static int reach_of(int part, int distance)
{
    int r = distance / PARTS, a = distance % PARTS;
    return part <= a ? r : r - 1;
}

struct search {
    const struct phash_index *index;
    uint64_t hash;
    int distance;
    void (*near)(void *self, uint32_t number, int distance);
    void *self;
};

static void report(const struct search *s, const struct entry *entry)
{
    int distance = phash_distance(s->hash, entry->hash);
    for (;; entry = &s->index->entries[entry->twin - 1]) {
        s->near(s->self, entry->number, distance);
        if (!entry->twin)
            return;
    }
}

/* The hashes whose part has this value, unless a part before this one has led to them. */
static void look_up(const struct search *s, int part, uint32_t value)
{
    for (uint32_t at = s->index->heads[(size_t)part * VALUES + value]; at; at = s->index->entries[at - 1].next[part]) {
        const struct entry *entry = &s->index->entries[at - 1];
        if (phash_distance(s->hash, entry->hash) > s->distance)
            continue;
        bool before = false;
        for (int p = 0; p < part && !before; p++)
            before = __builtin_popcount(part_of(s->hash, p) ^ part_of(entry->hash, p)) <= reach_of(p, s->distance);
        if (!before)
            report(s, entry);
    }
}

/* All values that differ from `value` in exactly `bits` bits below `end`. */
static void look_around(const struct search *s, int part, uint32_t value, int bits, int end)
{
    if (bits == 0) {
        look_up(s, part, value);
        return;
    }
    for (int bit = bits - 1; bit < end; bit++)
        look_around(s, part, value ^ 1u << bit, bits - 1, bit);
}

/* Looks at everything; twins are entries of their own here. */
static void look_at_all(const struct search *s)
{
    for (size_t i = 0; i < s->index->count; i++) {
        int distance = phash_distance(s->hash, s->index->entries[i].hash);
        if (distance <= s->distance)
            s->near(s->self, s->index->entries[i].number, distance);
    }
}

void phash_index_near(const struct phash_index *index, uint64_t hash, int distance,
                      void (*near)(void *self, uint32_t number, int distance), void *self)
{
    /* a table of reach 3 has 697 values, and each is likely to miss the processor's caches */
    enum { MOST_REACH = 2, FEW = 500 };
    struct search s = { index, hash, distance, near, self };
    if (reach_of(0, distance) > MOST_REACH || index->count < FEW) {
        look_at_all(&s);
        return;
    }
    for (int part = 0; part < PARTS; part++)
        for (int bits = 0; bits <= reach_of(part, distance); bits++)
            look_around(&s, part, part_of(hash, part), bits, PART_BITS);
}
