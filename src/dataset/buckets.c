#include "dataset/buckets.h"

#include <string.h>

#include <math.h>
#include <stdlib.h>

void buckets_one(struct buckets *b, int width, int height)
{
    b->count = 1;
    b->at[0] = (struct bucket){ width, height };
}

static int ascending(const void *a, const void *b)
{
    const struct bucket *x = a, *y = b;
    return x->width != y->width ? x->width - y->width : x->height - y->height;
}

/* Unless it is there. */
static bool add(struct buckets *b, int width, int height)
{
    for (int i = 0; i < b->count; i++)
        if (b->at[i].width == width && b->at[i].height == height)
            return true;
    if (b->count == BUCKETS_MOST)
        return false;
    b->at[b->count++] = (struct bucket){ width, height };
    return true;
}

bool buckets_kohya(struct buckets *b, int resolution, int least, int most, int step, struct err *e)
{
    enum { MOST = 16384 };
    b->count = 0;
    if (step < 1 || least < 1 || least % step || least > resolution || resolution > MOST || least > most || most > MOST)
        return err_set(e, ERR_ARG, "buckets of %d pixels with sides from %d to %d in steps of %d: the least side must be a multiple of the "
                                   "step and none above the others, %d at most", resolution, least, most, step, MOST);
    int area = resolution * resolution, square = resolution / step * step;
    bool good = add(b, square, square);
    for (int width = least; good && width <= most; width += step) {
        int height = area / width / step * step;
        height = height < most ? height : most;
        if (height >= least)
            good = add(b, width, height) && add(b, height, width);
    }
    if (!good)
        return err_set(e, ERR_LIMIT, "more than %d buckets: choose a larger step", BUCKETS_MOST);
    qsort(b->at, (size_t)b->count, sizeof *b->at, ascending);
    return true;
}

void buckets_sdxl(struct buckets *b)
{
    static const struct bucket upright[] = {
        { 512, 1856 },  { 512, 1920 }, { 512, 1984 }, { 512, 2048 }, { 576, 1664 }, { 576, 1728 }, { 576, 1792 },
        { 640, 1536 },  { 640, 1600 }, { 704, 1344 }, { 704, 1408 }, { 704, 1472 }, { 768, 1280 }, { 768, 1344 },
        { 832, 1152 },  { 832, 1216 }, { 896, 1088 }, { 896, 1152 }, { 960, 1024 }, { 960, 1088 }, { 1024, 1024 },
    };
    b->count = 0;
    for (size_t i = 0; i < sizeof upright / sizeof *upright; i++) {
        b->at[b->count++] = upright[i];
        if (upright[i].width != upright[i].height)
            b->at[b->count++] = (struct bucket){ upright[i].height, upright[i].width };
    }
    qsort(b->at, (size_t)b->count, sizeof *b->at, ascending);
}

bool buckets_named(struct buckets *b, const char *name, int width, int height, struct err *e)
{
    enum { LEAST = 256, MOST = 2048, STEP = 64 };
    if (!strcmp(name, "kohya"))
        return buckets_kohya(b, width, width < LEAST ? width / STEP * STEP : LEAST, width > MOST ? width : MOST, STEP, e);
    if (!strcmp(name, "sdxl"))
        buckets_sdxl(b);
    else
        buckets_one(b, width, height);
    return true;
}

struct bucket bucket_nearest(const struct buckets *b, int64_t width, int64_t height)
{
    double ratio = (double)width / (double)height, least = INFINITY;
    struct bucket nearest = b->at[0];
    for (int i = 0; i < b->count; i++) {
        if (b->at[i].width == width && b->at[i].height == height)
            return b->at[i];
        double off = fabs((double)b->at[i].width / b->at[i].height - ratio);
        if (off < least) {
            least = off;
            nearest = b->at[i];
        }
    }
    return nearest;
}

struct bucket bucket_cover(int64_t picture_width, int64_t picture_height, int width, int height)
{
    /* wider than the bucket: the heights become equal; both sides are at least the bucket's */
    bool wider = picture_width * height > picture_height * width;
    int64_t w = wider ? (2 * picture_width * height + picture_height) / (2 * picture_height) : width;
    int64_t h = wider ? height : (2 * picture_height * width + picture_width) / (2 * picture_width);
    return (struct bucket){ (int)(w > width ? w : width), (int)(h > height ? h : height) };
}
