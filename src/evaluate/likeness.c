#include "evaluate/likeness.h"

#include <math.h>
#include <string.h>

enum { SIDE = LIKENESS_SIDE, ROW = SIDE + 1 };

/* Central differences, one-sided at the border. */
static double gradient(const uint8_t *rgb, int x, int y)
{
    int left = x > 0 ? x - 1 : x, right = x < SIDE - 1 ? x + 1 : x, up = y > 0 ? y - 1 : y, down = y < SIDE - 1 ? y + 1 : y;
    double sum = 0;
    for (int c = 0; c < 3; c++) {
        double across = (double)(rgb[3 * (y * SIDE + right) + c] - rgb[3 * (y * SIDE + left) + c]) / (right - left);
        double along = (double)(rgb[3 * (down * SIDE + x) + c] - rgb[3 * (up * SIDE + x) + c]) / (down - up);
        sum += across * across + along * along;
    }
    return sqrt(sum);
}

void likeness_init(struct likeness *l, const struct image *image)
{
    memcpy(l->rgb, image->pixels, sizeof l->rgb);
    memset(l->sums, 0, sizeof l->sums);
    for (int y = 0; y < SIDE; y++) {
        double row = 0;
        for (int x = 0; x < SIDE; x++) {
            row += gradient(l->rgb, x, y);
            l->sums[(y + 1) * ROW + x + 1] = l->sums[y * ROW + x + 1] + row;
        }
    }
}

/* The sum over everything above and left of a point, in pixels; between pixels as if each were an even square. */
static double sum_to(const double *sums, double x, double y)
{
    int i = (int)x, j = (int)y;
    i = i < SIDE ? i : SIDE - 1;
    j = j < SIDE ? j : SIDE - 1;
    double u = x - i, v = y - j;
    const double *at = sums + j * ROW + i;
    return (1 - v) * ((1 - u) * at[0] + u * at[1]) + v * ((1 - u) * at[ROW] + u * at[ROW + 1]);
}

void likeness_map(const struct likeness *l, struct window w, int cells, float *map)
{
    double corner[LIKENESS_FINE + 1][LIKENESS_FINE + 1], sum = 0, squares = 0, step = w.side * SIDE / cells;
    for (int j = 0; j <= cells; j++)
        for (int i = 0; i <= cells; i++)
            corner[j][i] = sum_to(l->sums, fmin(w.x * SIDE + i * step, SIDE), fmin(w.y * SIDE + j * step, SIDE));
    for (int j = 0; j < cells; j++)
        for (int i = 0; i < cells; i++) {
            double area = corner[j + 1][i + 1] - corner[j][i + 1] - corner[j + 1][i] + corner[j][i];
            /* The root lets faint edges count beside strong ones. */
            double v = sqrt(fmax(area, 0) / (step * step));
            map[j * cells + i] = (float)v;
            sum += v;
            squares += v * v;
        }
    int n = cells * cells;
    double mean = sum / n, length = sqrt(fmax(squares - sum * mean, 0));
    for (int i = 0; i < n; i++)
        map[i] = length > 1e-6 ? (float)((map[i] - mean) / length) : 0;
}

static void mirror(const float *map, int cells, float *out)
{
    for (int j = 0; j < cells; j++)
        for (int i = 0; i < cells; i++)
            out[j * cells + i] = map[j * cells + cells - 1 - i];
}

void likeness_asked(const struct likeness *l, float *asked)
{
    likeness_map(l, (struct window){ 0, 0, 1 }, LIKENESS_MAP, asked);
    mirror(asked, LIKENESS_MAP, asked + LIKENESS_MAP * LIKENESS_MAP);
}

void likeness_windows(struct window out[LIKENESS_WINDOWS])
{
    for (int size = 0; size < LIKENESS_SIZES; size++)
        for (int j = 0; j <= size; j++)
            for (int i = 0; i <= size; i++)
                *out++ = (struct window){ 0.1 * i, 0.1 * j, 1 - 0.1 * size };
}

/* In eight sums, so that a processor does eight products at a time whatever it may reorder. */
static float dot(const float *a, const float *b, int n)
{
    float sum[8] = { 0 };
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += a[i + k] * b[i + k];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void likeness_find(const struct likeness *from, const float *asked, size_t count, float *maps, struct match *best)
{
    enum { CELLS = LIKENESS_MAP * LIKENESS_MAP };
    struct window all[LIKENESS_WINDOWS];
    likeness_windows(all);
    for (size_t w = 0; w < LIKENESS_WINDOWS; w++)
        likeness_map(from, all[w], LIKENESS_MAP, maps + w * CELLS);
    for (size_t i = 0; i < count; i++) {
        best[i] = (struct match){ .window = all[0], .structure = -2 };
        for (size_t w = 0; w < LIKENESS_WINDOWS; w++)
            for (int m = 0; m < 2; m++) {
                double now = (double)dot(asked + (2 * i + (size_t)m) * CELLS, maps + w * CELLS, CELLS);
                if (now > best[i].structure)
                    best[i] = (struct match){ .window = all[w], .mirrored = m, .structure = now };
            }
    }
}

/* --- judging --- */

static bool inside(struct window w)
{
    return w.x >= 0 && w.y >= 0 && w.side >= 0.4 && w.side <= 1 && w.x + w.side <= 1 + 1e-9 && w.y + w.side <= 1 + 1e-9;
}

/* The mean colour of a square of `side` pixels at (x, y), by the pixels whose middles lie in it, or the nearest one. */
static void colour_at(const uint8_t *rgb, double x, double y, double side, double out[3])
{
    int left = (int)ceil(x - 0.5), right = (int)ceil(x + side - 0.5), top = (int)ceil(y - 0.5), bottom = (int)ceil(y + side - 0.5);
    if (right <= left)
        right = (left = (int)(x + side / 2)) + 1;
    if (bottom <= top)
        bottom = (top = (int)(y + side / 2)) + 1;
    double count = 0;
    out[0] = out[1] = out[2] = 0;
    for (int j = top; j < bottom; j++)
        for (int i = left; i < right; i++, count++)
            for (int c = 0; c < 3; c++)
                out[c] += rgb[3 * ((j < SIDE ? j : SIDE - 1) * SIDE + (i < SIDE ? i : SIDE - 1)) + c];
    for (int c = 0; c < 3; c++)
        out[c] /= count;
}

/* Over coarse cells, so that an edge that lies a pixel off does not count. */
static double colour_distance(const struct likeness *asked, const struct likeness *from, const struct match *m)
{
    const int cells = LIKENESS_MAP;
    double sum = 0;
    for (int j = 0; j < cells; j++)
        for (int i = 0; i < cells; i++) {
            double a[3], b[3], step = m->window.side * SIDE / cells;
            int at = m->mirrored ? cells - 1 - i : i;
            colour_at(asked->rgb, (double)at * SIDE / cells, (double)j * SIDE / cells, (double)SIDE / cells, a);
            colour_at(from->rgb, m->window.x * SIDE + i * step, m->window.y * SIDE + j * step, step, b);
            for (int c = 0; c < 3; c++)
                sum += (a[c] - b[c]) * (a[c] - b[c]);
        }
    return sqrt(sum / (3 * cells * cells));
}

void likeness_refine(const struct likeness *asked, const struct likeness *from, struct match *m)
{
    enum { CELLS = LIKENESS_FINE * LIKENESS_FINE };
    float whole[CELLS], wanted[CELLS], map[CELLS];
    likeness_map(asked, (struct window){ 0, 0, 1 }, LIKENESS_FINE, whole);
    if (m->mirrored)
        mirror(whole, LIKENESS_FINE, wanted);
    else
        memcpy(wanted, whole, sizeof wanted);
    likeness_map(from, m->window, LIKENESS_FINE, map);
    m->structure = (double)dot(wanted, map, CELLS);
    /* Uphill: the best of the neighbours in place and size, with steps that become smaller where none is better. */
    for (double step = 0.04; step > 0.004;) {
        struct match best = *m;
        for (int way = 0; way < 6; way++) { /* left, right, up, down, smaller, larger */
            double by = way % 2 ? step : -step, grow = way / 2 == 2 ? by : 0;
            struct window w = { m->window.x + (way / 2 == 0 ? by : -grow / 2), m->window.y + (way / 2 == 1 ? by : -grow / 2),
                                m->window.side + grow };
            if (w.side > 1)
                continue;
            w.x = fmin(fmax(w.x, 0), 1 - w.side);
            w.y = fmin(fmax(w.y, 0), 1 - w.side);
            if (!inside(w))
                continue;
            likeness_map(from, w, LIKENESS_FINE, map);
            double now = (double)dot(wanted, map, CELLS);
            if (now > best.structure + 1e-6) {
                best.window = w;
                best.structure = now;
            }
        }
        if (best.structure > m->structure)
            *m = best;
        else
            step /= 2;
    }
    m->pixels = colour_distance(asked, from, m);
}
