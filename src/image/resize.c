/* Resizing by weighted sums, rows first, then columns, in f32. Our own and not libvips' so that a shrinking
 * filter is widened exactly as Pillow's (what diffusers feeds its models with) and the area mean is exact for
 * every size. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "image/image.h"
#include "image/resize_internal.h"

/* For each of `count` outputs: weights[i * most ..] of inputs first[i] .. first[i] + taps[i] - 1; they sum
 * to 1. */
struct taps {
    int *first, *taps;
    float *weights;
    int most;
};

static void taps_release(struct taps *t)
{
    mem_free(t->first);
    mem_free(t->taps);
    mem_free(t->weights);
}

static double sinc(double x)
{
    return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x);
}

/* Keys 1981, "Cubic convolution interpolation for digital image processing", with a = -1/2. */
static double cubic(double x)
{
    const double a = -0.5;
    return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

static double reach_of(enum image_filter filter)
{
    return filter == IMAGE_LANCZOS ? 3 : filter == IMAGE_BICUBIC ? 2 : 1;
}

/* The weight of the input pixel [i, i + 1] for an output pixel that covers [begin, end]. */
static double weight(enum image_filter filter, int i, double begin, double end)
{
    double widen = end - begin > 1 ? end - begin : 1;
    double x = fabs(i + 0.5 - (begin + end) / 2) / widen;
    switch (filter) {
    case IMAGE_BILINEAR:
        return x < 1 ? 1 - x : 0;
    case IMAGE_LANCZOS:
        return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    case IMAGE_BICUBIC:
        return cubic(x);
    default:
        return fmax(0, fmin(i + 1, end) - fmax(i, begin));
    }
}

static bool taps_init(struct taps *t, int in, int out, enum image_filter filter, struct err *e)
{
    double scale = (double)in / out, widen = scale > 1 ? scale : 1;
    double reach = filter == IMAGE_AREA ? scale / 2 : reach_of(filter) * widen;
    t->most = (int)ceil(2 * reach) + 2;
    t->first = mem_zeroed((size_t)out, sizeof *t->first);
    t->taps = mem_zeroed((size_t)out, sizeof *t->taps);
    t->weights = mem_zeroed((size_t)out * (size_t)t->most, sizeof *t->weights);
    if (!t->first || !t->taps || !t->weights) {
        taps_release(t);
        return err_nomem(e, "a resizing table");
    }
    for (int o = 0; o < out; o++) {
        double begin = o * scale, end = (o + 1) * scale, centre = (begin + end) / 2, sum = 0;
        int low = (int)fmax(0, floor(centre - reach)), high = (int)fmin(in, ceil(centre + reach));
        float *w = t->weights + (size_t)o * (size_t)t->most;
        for (int i = low; i < high; i++)
            sum += weight(filter, i, begin, end);
        for (int i = low; i < high; i++)
            w[i - low] = (float)(weight(filter, i, begin, end) / sum);
        t->first[o] = low;
        t->taps[o] = high - low;
    }
    return true;
}

/* row[width * channels] += w * a row of pixels; colours are multiplied by alpha here and divided by it at the
 * end. */
static void add_row(float *restrict row, const uint8_t *restrict pixels, int width, int channels, float w)
{
    if (channels == 3) {
        for (int i = 0; i < 3 * width; i++)
            row[i] += w * (float)pixels[i];
        return;
    }
    for (int i = 0; i < width; i++, row += 4, pixels += 4) {
        float a = w * (float)pixels[3];
        for (int k = 0; k < 3; k++)
            row[k] += a * (float)pixels[k];
        row[3] += a;
    }
}

static uint8_t to_u8(float v)
{
    return (uint8_t)nearbyintf(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* --- Lanczos and cubic of RGB in Pillow's own arithmetic, so that a picture to be drawn anew is diffusers' to the bit: weights
 * are whole numbers of 2^-22, and what leaves a pass is u8 --- */

enum { FIXED_BITS = 22 };

struct fixed {
    struct taps taps;
    int32_t *weights;
};

static void fixed_release(struct fixed *f)
{
    taps_release(&f->taps);
    mem_free(f->weights);
    *f = (struct fixed){ 0 };
}

static bool fixed_init(struct fixed *f, int in, int out, enum image_filter filter, struct err *e)
{
    double scale = (double)in / out, widen = scale > 1 ? scale : 1, reach = reach_of(filter) * widen;
    struct taps *t = &f->taps;
    t->most = (int)ceil(reach) * 2 + 1;
    t->first = mem_zeroed((size_t)out, sizeof *t->first);
    t->taps = mem_zeroed((size_t)out, sizeof *t->taps);
    f->weights = mem_zeroed((size_t)out * (size_t)t->most, sizeof *f->weights);
    if (!t->first || !t->taps || !f->weights) {
        fixed_release(f);
        return err_nomem(e, "a resizing table");
    }
    for (int o = 0; o < out; o++) {
        double centre = (o + 0.5) * scale, sum = 0;
        int low = (int)fmax(0, trunc(centre - reach + 0.5)), high = (int)fmin(in, trunc(centre + reach + 0.5));
        int32_t *w = f->weights + (size_t)o * (size_t)t->most;
        for (int turn = 0; turn < 2; turn++)
            for (int i = low; i < high; i++) {
                double x = fabs((i - centre + 0.5) / widen), v = filter == IMAGE_BICUBIC ? cubic(x) : x < 3 ? sinc(x) * sinc(x / 3) : 0;
                if (turn == 0)
                    sum += v;
                else
                    w[i - low] = (int32_t)(v / sum * (1 << FIXED_BITS) + (v < 0 ? -0.5 : 0.5));
            }
        t->first[o] = low;
        t->taps[o] = high - low;
    }
    return true;
}

static uint8_t from_fixed(int32_t sum)
{
    int32_t v = sum >> FIXED_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Rows of from_width pixels become rows of `width`; channels is a constant where this is called, so that loops over it are unrolled. */
static inline __attribute__((always_inline)) void fixed_across(uint8_t *out, int width, const uint8_t *in, int from_width, int rows,
                                                               const struct fixed *f, int channels)
{
    for (int y = 0; y < rows; y++, in += (size_t)from_width * (size_t)channels)
        for (int x = 0; x < width; x++, out += channels) {
            const int32_t *w = f->weights + (size_t)x * (size_t)f->taps.most;
            const uint8_t *p = in + (size_t)f->taps.first[x] * (size_t)channels;
            int32_t sum[3] = { 1 << (FIXED_BITS - 1), 1 << (FIXED_BITS - 1), 1 << (FIXED_BITS - 1) };
            for (int k = 0; k < f->taps.taps[x]; k++, p += channels)
                for (int j = 0; j < channels; j++)
                    sum[j] += w[k] * p[j];
            for (int j = 0; j < channels; j++)
                out[j] = from_fixed(sum[j]);
        }
}

/* Rows of `bytes` bytes become `height` rows; sums[bytes] is scratch. */
static void fixed_down(uint8_t *restrict out, int height, const uint8_t *restrict in, size_t bytes, const struct fixed *f,
                       int32_t *restrict sums)
{
    for (int y = 0; y < height; y++, out += bytes) {
        const int32_t *w = f->weights + (size_t)y * (size_t)f->taps.most;
        for (size_t i = 0; i < bytes; i++)
            sums[i] = 1 << (FIXED_BITS - 1);
        for (int k = 0; k < f->taps.taps[y]; k++) {
            const uint8_t *row = in + (size_t)(f->taps.first[y] + k) * bytes;
            const int32_t weight = w[k];
#pragma omp simd
            for (size_t i = 0; i < bytes; i++)
                sums[i] += weight * row[i];
        }
        for (size_t i = 0; i < bytes; i++)
            out[i] = from_fixed(sums[i]);
    }
}

/* Across first, then down, by way of middle[from_height, width, channels]; a side that keeps its length is left alone. */
static inline __attribute__((always_inline)) bool fixed_resize(uint8_t *out, int width, int height, const uint8_t *from,
                                                               int from_width, int from_height, uint8_t *middle,
                                                               int channels, enum image_filter filter, struct err *e)
{
    struct fixed across = { 0 }, down = { 0 };
    size_t line = (size_t)channels * (size_t)width;
    int32_t *sums = mem_aligned(line * sizeof *sums);
    bool good = (sums || err_nomem(e, "a row to resize")) && fixed_init(&across, from_width, width, filter, e) &&
                fixed_init(&down, from_height, height, filter, e);
    if (good && width == from_width)
        memcpy(middle, from, line * (size_t)from_height);
    else if (good)
        fixed_across(middle, width, from, from_width, from_height, &across, channels);
    if (good && height == from_height)
        memcpy(out, middle, line * (size_t)height);
    else if (good)
        fixed_down(out, height, middle, line, &down, sums);
    fixed_release(&across);
    fixed_release(&down);
    mem_free(sums);
    return good;
}

static bool resize_as_pillow(struct image *out, const struct image *from, int width, int height, enum image_filter filter,
                             struct err *e)
{
    struct image middle;
    if (!image_make(&middle, width, from->height, 3, e))
        return false;
    bool good = image_make(out, width, height, 3, e) &&
                fixed_resize(out->pixels, width, height, from->pixels, from->width, from->height, middle.pixels, 3,
                             filter, e);
    image_release(&middle);
    if (!good)
        image_release(out);
    return good;
}

bool resize_plane(uint8_t *out, int width, int height, const uint8_t *plane, int plane_width, int plane_height,
                  struct err *e)
{
    uint8_t *middle = mem_aligned((size_t)width * (size_t)plane_height);
    bool good = (middle || err_nomem(e, "a picture's channel")) &&
                fixed_resize(out, width, height, plane, plane_width, plane_height, middle, 1, IMAGE_LANCZOS, e);
    mem_free(middle);
    return good;
}

bool image_resize(struct image *out, const struct image *from, int width, int height,
                  enum image_filter filter, struct err *e)
{
    *out = (struct image){ 0 };
    if ((filter == IMAGE_LANCZOS || filter == IMAGE_BICUBIC) && from->channels == 3)
        return resize_as_pillow(out, from, width, height, filter, e);
    if (!image_make(out, width, height, from->channels, e))
        return false;
    struct taps across = { 0 }, down = { 0 };
    size_t c = (size_t)from->channels, row_count = (size_t)from->width * c;
    float *row = mem_aligned(row_count * sizeof *row);
    if (!row) {
        image_release(out);
        return err_nomem(e, "a row to resize");
    }
    bool good = taps_init(&across, from->width, width, filter, e);
    if (good && !taps_init(&down, from->height, height, filter, e)) {
        taps_release(&across);
        good = false;
    }
    if (!good) {
        mem_free(row);
        image_release(out);
        return false;
    }
    for (int y = 0; y < height; y++) {
        memset(row, 0, row_count * sizeof *row);
        for (int k = 0; k < down.taps[y]; k++)
            add_row(row, from->pixels + (size_t)(down.first[y] + k) * row_count, from->width, from->channels,
                    down.weights[(size_t)y * (size_t)down.most + (size_t)k]);
        uint8_t *p = out->pixels + (size_t)y * (size_t)width * c;
        for (int x = 0; x < width; x++, p += c) {
            const float *w = across.weights + (size_t)x * (size_t)across.most,
                        *in = row + (size_t)across.first[x] * c;
            float sum[4] = { 0 };
            for (int k = 0; k < across.taps[x]; k++, in += c)
                for (size_t j = 0; j < c; j++)
                    sum[j] += w[k] * in[j];
            float divide = c == 4 ? sum[3] : 1;
            for (size_t j = 0; j < 3; j++)
                p[j] = divide > 0 ? to_u8(sum[j] / divide) : 0;
            if (c == 4)
                p[3] = to_u8(sum[3]);
        }
    }
    taps_release(&across);
    taps_release(&down);
    mem_free(row);
    return true;
}
