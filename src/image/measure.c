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

static double sharpness_of(const uint8_t *luma, int width, int height)
{
    int64_t sum = 0, squares = 0;
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *row = luma + (size_t)y * (size_t)width;
        for (int x = 1; x < width - 1; x++) {
            int v = row[x - 1] + row[x + 1] + row[x - width] + row[x + width] - 4 * row[x];
            sum += v;
            squares += v * v;
        }
    }
    return width > 2 && height > 2 ? variance(sum, squares, (int64_t)(width - 2) * (height - 2)) : 0;
}

/* --- The blur effect. An edge that a blur changes much is sharp; one that it changes little was blurred already. The picture
 * is compared with its mean over windows of WINDOW pixels along one axis, by the steepness (Sobel) along that axis --- */

enum { WINDOW = 11 };

/* The index, reflected at both ends (d c b a | a b c d | d c b a). */
static int reflected(int i, int count)
{
    int period = 2 * count;
    i = ((i % period) + period) % period;
    return i < count ? i : period - 1 - i;
}

/* sums[n] = the windows' sums of a line of n pixels that lie `step` bytes apart. */
static void window_sums(uint16_t *sums, const uint8_t *line, int n, size_t step)
{
    int sum = 0;
    for (int k = -(WINDOW / 2); k <= WINDOW / 2; k++)
        sum += line[(size_t)reflected(k, n) * step];
    for (int i = 0; i < n; i++) {
        sums[i] = (uint16_t)sum;
        sum += line[(size_t)reflected(i + WINDOW / 2 + 1, n) * step] - line[(size_t)reflected(i - WINDOW / 2, n) * step];
    }
}

/* Along lines of n pixels that lie `step` bytes apart; there are `lines` of them, `line_step` bytes apart. sums[3, n] is scratch:
 * a ring of three lines' window sums. */
static double blur_along(const uint8_t *luma, int n, size_t step, int lines, size_t line_step, uint16_t *sums)
{
    int64_t sharp = 0, lost = 0; /* both times 8 WINDOW */
    for (int y = 0; y < lines; y++) {
        window_sums(sums + (size_t)(y % 3) * (size_t)n, luma + (size_t)y * line_step, n, step);
        if (y < 3) /* the line before this one is judged, from the third on */
            continue;
        const uint8_t *b = luma + (size_t)(y - 1) * line_step, *a = b - line_step, *c = b + line_step;
        const uint16_t *sa = sums + (size_t)((y - 2) % 3) * (size_t)n, *sb = sums + (size_t)((y - 1) % 3) * (size_t)n,
                       *sc = sums + (size_t)(y % 3) * (size_t)n;
        for (int x = 2; x < n - 1; x++) {
            size_t before = (size_t)(x - 1) * step, behind = (size_t)(x + 1) * step;
            int steep = WINDOW * abs(a[behind] - a[before] + 2 * (b[behind] - b[before]) + c[behind] - c[before]);
            int left = abs(sa[x + 1] - sa[x - 1] + 2 * (sb[x + 1] - sb[x - 1]) + sc[x + 1] - sc[x - 1]);
            sharp += steep;
            lost += steep > left ? steep - left : 0;
        }
    }
    return sharp ? (double)(sharp - lost) / (double)sharp : 0;
}

static bool blur_of(double *out, const uint8_t *luma, int width, int height, struct err *e)
{
    uint16_t *sums = mem_aligned(3 * (size_t)(width > height ? width : height) * sizeof *sums);
    if (!sums)
        return err_nomem(e, "a picture's lines");
    *out = 0;
    if (width >= 4 && height >= 4)
        *out = fmax(blur_along(luma, width, 1, height, (size_t)width, sums),
                    blur_along(luma, height, (size_t)width, width, 1, sums));
    mem_free(sums);
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
    for (int64_t i = 0; i < pixels; i++, p += image->channels) {
        int a = p[0] - p[1], b = p[0] + p[1] - 2 * p[2];
        for (int k = 0; k < 3; k++)
            sums[k] += p[k];
        rg += a;
        rg_squares += a * a;
        yb += b;
        yb_squares += b * b;
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
