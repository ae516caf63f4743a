#include "image/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void image_luma(uint8_t *luma, const struct image *image)
{
    const uint8_t *p = image->pixels;
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height; i++, p += image->channels)
        luma[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

static double variance(int64_t sum, int64_t squares, int64_t count)
{
    double mean = (double)sum / (double)count;
    return fmax((double)squares / (double)count - mean * mean, 0);
}

/* Sums of 32 bits hold so many squares of what is summed here. */
enum { PIECE = 1024 };

static double sharpness_of(const uint8_t *luma, int width, int height)
{
    int64_t sum = 0, squares = 0;
    for (int y = 1; y < height - 1; y++)
        for (int from = 1; from < width - 1; from += PIECE) {
            const uint8_t *row = luma + (size_t)y * (size_t)width;
            int to = from + PIECE < width - 1 ? from + PIECE : width - 1, own = 0, own_squares = 0;
#pragma omp simd reduction(+ : own, own_squares)
            for (int x = from; x < to; x++) {
                int v = row[x - 1] + row[x + 1] + row[x - width] + row[x + width] - 4 * row[x];
                own += v;
                own_squares += v * v;
            }
            sum += own;
            squares += own_squares;
        }
    return width > 2 && height > 2 ? variance(sum, squares, (int64_t)(width - 2) * (height - 2)) : 0;
}

/* --- The blur effect. An edge that a blur changes much is sharp; one that it changes little was blurred already. The picture
 * is compared with its mean over windows of WINDOW pixels along one axis, by the steepness (Sobel) along that axis. The windows
 * themselves are never summed: the steepness of a window's sum is the difference of the two pixels that enter it and the two that
 * leave it. --- */

enum { WINDOW = 11, NEAR_END = WINDOW / 2, FAR_END = NEAR_END + 1 };

/* Sums over all pixels, both times 8 WINDOW: the steepness, and what of it a blur takes away. */
struct steepness {
    int64_t sharp, lost;
};

static double blur_of_steepness(struct steepness s)
{
    return s.sharp ? (double)(s.sharp - s.lost) / (double)s.sharp : 0;
}

/* now: a pixel's difference before Sobel's sum over three, windows: that of the windows' sums; at n places, beginning with the
 * one before the first that counts. */
static void add_steepness(struct steepness *s, const int16_t *restrict now, const int16_t *restrict windows, int n)
{
    for (int from = 1; from < n - 1; from += PIECE) {
        int to = from + PIECE < n - 1 ? from + PIECE : n - 1, sharp = 0, lost = 0;
#pragma omp simd reduction(+ : sharp, lost)
        for (int i = from; i < to; i++) {
            int steep = WINDOW * abs(now[i - 1] + 2 * now[i] + now[i + 1]);
            int left = abs(windows[i - 1] + 2 * windows[i] + windows[i + 1]);
            sharp += steep;
            lost += steep > left ? steep - left : 0;
        }
        s->sharp += sharp;
        s->lost += lost;
    }
}

/* The index, reflected at both ends (d c b a | a b c d | d c b a). */
static int reflected(int i, int count)
{
    int period = 2 * count;
    i = ((i % period) + period) % period;
    return i < count ? i : period - 1 - i;
}

/* Down the picture: differences of rows. work[2, width]. */
static struct steepness steepness_down(const uint8_t *luma, int width, int height, int16_t *work)
{
    struct steepness s = { 0 };
    int16_t *now = work, *windows = work + width;
    for (int y = 2; y < height - 1; y++) {
        const uint8_t *above = luma + (size_t)(y - 1) * (size_t)width, *below = luma + (size_t)(y + 1) * (size_t)width;
        const uint8_t *in = luma + (size_t)reflected(y + NEAR_END, height) * (size_t)width;
        const uint8_t *next_in = luma + (size_t)reflected(y + FAR_END, height) * (size_t)width;
        const uint8_t *out = luma + (size_t)reflected(y - NEAR_END, height) * (size_t)width;
        const uint8_t *last_out = luma + (size_t)reflected(y - FAR_END, height) * (size_t)width;
#pragma omp simd
        for (int x = 0; x < width; x++) {
            now[x] = (int16_t)(below[x] - above[x]);
            windows[x] = (int16_t)(in[x] + next_in[x] - out[x] - last_out[x]);
        }
        add_steepness(&s, now + 1, windows + 1, width - 1);
    }
    return s;
}

/* Across it: differences within a sum of three rows, which stands with its reflections in line[width + 2 FAR_END]. */
static struct steepness steepness_across(const uint8_t *luma, int width, int height, int16_t *line)
{
    struct steepness s = { 0 };
    int16_t *at = line + FAR_END;
    for (int y = 2; y < height - 1; y++) {
        const uint8_t *b = luma + (size_t)y * (size_t)width, *a = b - width, *c = b + width;
#pragma omp simd
        for (int x = 0; x < width; x++)
            at[x] = (int16_t)(a[x] + 2 * b[x] + c[x]);
        for (int i = 1; i <= FAR_END; i++) {
            at[-i] = at[reflected(-i, width)];
            at[width - 1 + i] = at[reflected(width - 1 + i, width)];
        }
        for (int from = 2; from < width - 1; from += PIECE) {
            int to = from + PIECE < width - 1 ? from + PIECE : width - 1, sharp = 0, lost = 0;
#pragma omp simd reduction(+ : sharp, lost)
            for (int x = from; x < to; x++) {
                int steep = WINDOW * abs(at[x + 1] - at[x - 1]);
                int left = abs(at[x + FAR_END] + at[x + NEAR_END] - at[x - NEAR_END] - at[x - FAR_END]);
                sharp += steep;
                lost += steep > left ? steep - left : 0;
            }
            s.sharp += sharp;
            s.lost += lost;
        }
    }
    return s;
}

static bool blur_of(double *out, const uint8_t *luma, int width, int height, struct err *e)
{
    int16_t *work = mem_aligned((size_t)(2 * width + 2 * FAR_END) * sizeof *work);
    if (!work)
        return err_nomem(e, "a picture's lines");
    *out = 0;
    if (width >= 4 && height >= 4)
        *out = fmax(blur_of_steepness(steepness_across(luma, width, height, work)),
                    blur_of_steepness(steepness_down(luma, width, height, work)));
    mem_free(work);
    return true;
}

static void histogram_of(struct image_measures *m, const uint8_t *luma, size_t pixels)
{
    size_t histogram[256] = { 0 };
    int64_t sum = 0, squares = 0;
    for (size_t i = 0; i < pixels; i++)
        histogram[luma[i]]++;
    for (int v = 0; v < 256; v++) {
        double part = (double)histogram[v] / (double)pixels;
        sum += (int64_t)histogram[v] * v;
        squares += (int64_t)histogram[v] * v * v;
        m->entropy -= part > 0 ? part * log2(part) : 0;
    }
    m->entropy = fmax(m->entropy, 0); /* a single value gives -0 */
    m->deviation = sqrt(variance(sum, squares, (int64_t)pixels));
}

static void colours_of(struct image_measures *m, const struct image *image)
{
    int64_t pixels = (int64_t)image->width * image->height, sums[3] = { 0 };
    int64_t rg = 0, rg_squares = 0, yb = 0, yb_squares = 0; /* R - G; R + G - 2 B, twice the paper's */
    const uint8_t *p = image->pixels;
    for (int64_t from = 0; from < pixels; from += PIECE) {
        int n = pixels - from < PIECE ? (int)(pixels - from) : PIECE, own[3] = { 0 }, a1 = 0, a2 = 0, b1 = 0, b2 = 0;
        for (int i = 0; i < n; i++, p += image->channels) {
            int a = p[0] - p[1], b = p[0] + p[1] - 2 * p[2];
            own[0] += p[0];
            own[1] += p[1];
            own[2] += p[2];
            a1 += a;
            a2 += a * a;
            b1 += b;
            b2 += b * b;
        }
        for (int k = 0; k < 3; k++)
            sums[k] += own[k];
        rg += a1;
        rg_squares += a2;
        yb += b1;
        yb_squares += b2;
    }
    for (int k = 0; k < 3; k++)
        m->mean[k] = (double)sums[k] / (double)pixels;
    double spread = sqrt(variance(rg, rg_squares, pixels) + variance(yb, yb_squares, pixels) / 4);
    double middle = hypot((double)rg / (double)pixels, (double)yb / (double)pixels / 2);
    m->colourfulness = spread + 0.3 * middle;
}

/* --- Borders --- */

enum { NEAR = 10, STRAY_PARTS = 100, EDGE_LINES = 3 };

/* Lines along one side, the outermost first. */
struct lines {
    const uint8_t *first;
    ptrdiff_t pixel, line; /* bytes to the next */
    int pixels, lines;
};

static struct lines lines_of(const struct image *image, enum image_side side)
{
    ptrdiff_t c = image->channels, row = c * image->width;
    int last_x = image->width - 1, last_y = image->height - 1;
    switch (side) {
    case IMAGE_LEFT:
        return (struct lines){ image->pixels, row, c, image->height, image->width };
    case IMAGE_RIGHT:
        return (struct lines){ image->pixels + last_x * c, row, -c, image->height, image->width };
    case IMAGE_TOP:
        return (struct lines){ image->pixels, c, row, image->width, image->height };
    default:
        return (struct lines){ image->pixels + last_y * row, c, -row, image->width, image->height };
    }
}

/* How many pixels of line i are of another colour. */
static int others(const struct lines *s, int i, const uint8_t *colour)
{
    const uint8_t *p = s->first + i * s->line;
    int count = 0;
    for (int k = 0; k < s->pixels; k++, p += s->pixel)
        count += abs(p[0] - colour[0]) > NEAR || abs(p[1] - colour[1]) > NEAR || abs(p[2] - colour[2]) > NEAR;
    return count;
}

static void borders_of(struct image_measures *m, const struct image *image)
{
    for (int side = 0; side < IMAGE_SIDES; side++) {
        struct lines s = lines_of(image, (enum image_side)side);
        const uint8_t *colour = s.first + s.pixels / 2 * s.pixel;
        int n = 0, most = 0;
        while (n < s.lines && others(&s, n, colour) * STRAY_PARTS <= s.pixels)
            n++;
        if (n == s.lines) {
            memset(m->border_px, 0, sizeof m->border_px);
            memset(m->border_edge, 0, sizeof m->border_edge);
            return;
        }
        /* an edge may be soft: the line that differs most of the next few */
        for (int i = n; n > 0 && i < n + EDGE_LINES && i < s.lines; i++) {
            int count = others(&s, i, colour);
            most = count > most ? count : most;
        }
        m->border_px[side] = n;
        m->border_edge[side] = (double)most / s.pixels;
    }
}

bool image_frame(const struct image_measures *m, double edge, int px[IMAGE_SIDES])
{
    bool any = false;
    for (int side = IMAGE_LEFT; side <= IMAGE_TOP; side++) {
        int other = side + (IMAGE_RIGHT - IMAGE_LEFT);
        bool straight = m->border_px[side] && m->border_px[other] && m->border_edge[side] >= edge && m->border_edge[other] >= edge;
        px[side] = straight ? m->border_px[side] : 0;
        px[other] = straight ? m->border_px[other] : 0;
        any = any || straight;
    }
    return any;
}

bool image_measure(struct image_measures *out, const struct image *image, struct err *e)
{
    *out = (struct image_measures){ 0 };
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t *luma = mem_aligned(pixels);
    if (!luma)
        return err_nomem(e, "a picture's luma");
    image_luma(luma, image);
    out->sharpness = sharpness_of(luma, image->width, image->height);
    bool good = blur_of(&out->blur, luma, image->width, image->height, e);
    histogram_of(out, luma, pixels);
    mem_free(luma);
    colours_of(out, image);
    borders_of(out, image);
    return good;
}
