/* A perceptual hash: 64 bits that stay nearly the same when a picture is resized, encoded anew or slightly recoloured, and an
 * index that finds near ones among very many. */
#ifndef LIMN_IMAGE_PHASH_H
#define LIMN_IMAGE_PHASH_H

#include <stddef.h>

#include "image/image.h"

/* The luma (measure.h) resized to 32x32 (Lanczos), its cosine transform, the 8x8 lowest frequencies: a bit is 1 where a
 * coefficient is above their median. Row by row (down the picture), the first bit is the highest. This is the hash that the Python
 * package imagehash calls phash, and its bits, where the picture decides them: a coefficient that is the median, up to 1e-6,
 * gives 0 here, and there whatever the rounding of a sum says (half of all coefficients of a symmetric picture are exactly 0).
 * source  Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", 3.2.1; imagehash 4.3.
 * A mirrored or turned picture has quite another hash. Alpha is not looked at: lay the picture over a colour first.
 * errors  ERR_NOMEM. */
MUST_USE bool phash_of(uint64_t *out, const struct image *image, struct err *e);

/* How many bits differ: 0 the same, about 32 for pictures that have nothing to do with each other. */
static inline int phash_distance(uint64_t a, uint64_t b)
{
    return __builtin_popcountll(a ^ b);
}

/* 16 hexadecimal digits, as imagehash writes it. */
enum { PHASH_TEXT_BYTES = 17 };
void phash_text(uint64_t hash, char out[PHASH_TEXT_BYTES]);
/* False, without a word, if the text is not such digits. */
MUST_USE bool phash_read(uint64_t *out, const char *text);

/* Hashes with a number of the caller's each. Any number of threads may search at a time, as long as none adds. */
struct phash_index;
MUST_USE struct phash_index *phash_index_new(struct err *e);
void phash_index_free(struct phash_index *index);
size_t phash_index_count(const struct phash_index *index);
/* The same hash and the same number may be added again. errors  ERR_NOMEM, ERR_LIMIT beyond 2^31 - 1; then nothing is added. */
MUST_USE bool phash_index_add(struct phash_index *index, uint64_t hash, uint32_t number, struct err *e);
/* Calls `near` once for every one added whose hash differs in at most `distance` bits (0 to 64), in no order.
 * source  Norouzi et al. 2012, "Fast search in Hamming space with multi-index hashing". Among 100,000 random hashes a search takes
 * about half a microsecond for distance 3, 8 for 8 and 23 for 11; from 12 on all hashes are looked at (80). */
void phash_index_near(const struct phash_index *index, uint64_t hash, int distance,
                      void (*near)(void *self, uint32_t number, int distance), void *self);

#endif
