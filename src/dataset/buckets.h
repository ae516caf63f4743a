/* Aspect buckets: the sizes that a trainer uses, so that pictures of different shapes are cut as little as possible. */
#ifndef LIMN_DATASET_BUCKETS_H
#define LIMN_DATASET_BUCKETS_H

#include "base/err.h"

struct bucket {
    int width, height;
};
#define BUCKETS_MOST 512
struct buckets {
    struct bucket at[BUCKETS_MOST]; /* by width, then height, ascending; none twice */
    int count;
};

/* One size. */
void buckets_one(struct buckets *b, int width, int height);
/* kohya's sd-scripts' (make_bucket_resolutions): sides are multiples of `step` from `least` to `most`; of each width the height with
 * the most pixels within resolution^2, both ways round, and the square.
 * errors  ERR_ARG unless 1 <= step, least <= resolution <= 16384, least <= most <= 16384 and least is a multiple of step; ERR_LIMIT. */
MUST_USE bool buckets_kohya(struct buckets *b, int resolution, int least, int most, int step, struct err *e);
/* SDXL's, about 1024^2 pixels each. Podell et al. 2023, "SDXL: Improving Latent Diffusion Models for High-Resolution Image
 * Synthesis", appendix I, both ways round. */
void buckets_sdxl(struct buckets *b);

/* "none": one of width x height; "kohya": sd-scripts' for the resolution `width`, with its usual bounds, 256 and 2048 in steps of 64;
 * "sdxl". errors  ERR_ARG, ERR_LIMIT. */
MUST_USE bool buckets_named(struct buckets *b, const char *name, int width, int height, struct err *e);

/* The bucket whose ratio of width to height is nearest to that of a picture (as sd-scripts': by the difference of the ratios, the
 * first of equals); the picture's own size if that is a bucket. */
struct bucket bucket_nearest(const struct buckets *b, int64_t width, int64_t height);

/* The size of a picture that is scaled, its shape kept, until it just covers width x height: halves are rounded up. */
struct bucket bucket_cover(int64_t picture_width, int64_t picture_height, int width, int height);

#endif
