/* Winograd's minimal filtering F(4x4, 3x3), for convolutions of 3x3 with stride 1 and their gradients (winograd.h). Vectors
 * go over channels; a tile's 36 positions lie `position` floats apart. */
#include "backend/cpu/kernels/winograd.h"
#include "backend/cpu/kernels/vector.h"

#if defined(__AVX512F__)
enum { ROWS = 8 };
#else
enum { ROWS = 6 }; /* 12 sums in 16 registers */
#endif
enum { COLUMNS = 2 * LANES };

static const float A = 0.707106781f, B = 1.41421356f;

ALWAYS_INLINE vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

ALWAYS_INLINE void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

/* B' d: a row or column of six pixels. */
ALWAYS_INLINE void to_points(vf out[6], vf d0, vf d1, vf d2, vf d3, vf d4, vf d5)
{
    vf even = d4 - 2 * d2, odd = A * (d3 - 2 * d1), even_b = d4 - 0.5f * d2, odd_b = B * (d3 - 0.5f * d1);
    out[0] = (d0 + d4) - 2.5f * d2;
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = (d1 + d5) - 2.5f * d3;
}

/* G g: a row or column of three taps, or (four) of the gradient of four results. */
ALWAYS_INLINE void to_values(vf out[6], vf g0, vf g1, vf g2, vf g3, bool four)
{
    vf even = (-2.f / 3) * (g0 + 0.5f * g2), odd = (-2.f / 3 * A) * (four ? g1 + 0.5f * g3 : g1);
    vf even_b = (1.f / 6) * (g0 + 2 * g2), odd_b = (1.f / 6 * B) * (four ? g1 + 2 * g3 : g1);
    out[0] = g0;
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = four ? g3 : g2;
}

/* A' m: four results, or the gradient of three taps. */
ALWAYS_INLINE void from_points(vf *out, int stride, vf m0, vf m1, vf m2, vf m3, vf m4, vf m5, bool four)
{
    vf sum = m1 + m2, difference = A * (m1 - m2), sum_b = m3 + m4, difference_b = B * (m3 - m4);
    out[0] = m0 + sum + sum_b;
    out[stride] = difference + difference_b;
    out[2 * stride] = 0.5f * sum + 2 * sum_b;
    if (four)
        out[3 * stride] = 0.5f * difference + 2 * difference_b + m5;
    else
        out[2 * stride] += m5;
}

ALWAYS_INLINE void input(bool bf16, float *v, int64_t position, const void *const at[WINOGRAD_POINTS], int64_t c)
{
    for (int64_t i = 0; i < c; i += LANES) {
        vf t[6][6], out[6];
        for (int x = 0; x < 6; x++) {
            vf d[6];
            for (int y = 0; y < 6; y++)
                d[y] = get(bf16, at[6 * y + x], i, c);
            to_points(t[x], d[0], d[1], d[2], d[3], d[4], d[5]);
        }
        for (int y = 0; y < 6; y++) {
            to_points(out, t[0][y], t[1][y], t[2][y], t[3][y], t[4][y], t[5][y]);
            for (int x = 0; x < 6; x++)
                store(v + (6 * y + x) * position + i, out[x]);
        }
    }
}
FOR_BOTH_TYPES(void, input, (float *v, int64_t position, const void *const at[WINOGRAD_POINTS], int64_t c),
               (false, v, position, at, c), (true, v, position, at, c))

/* `side` 3: taps; 4: the gradient of results. */
ALWAYS_INLINE void spread(bool bf16, int side, float *u, int64_t position, const void *const *at, int64_t c)
{
    for (int64_t i = 0; i < c; i += LANES) {
        vf t[4][6], out[6], none = { 0 };
        for (int x = 0; x < side; x++) {
            vf g[4];
            for (int y = 0; y < side; y++)
                g[y] = get(bf16, at[side * y + x], i, c);
            to_values(t[x], g[0], g[1], g[2], side == 4 ? g[3] : none, side == 4);
        }
        for (int y = 0; y < 6; y++) {
            to_values(out, t[0][y], t[1][y], t[2][y], side == 4 ? t[3][y] : none, side == 4);
            for (int x = 0; x < 6; x++)
                store(u + (6 * y + x) * position + i, out[x]);
        }
    }
}

ALWAYS_INLINE void gradient(bool bf16, float *u, int64_t position, const void *const at[16], int64_t c)
{
    spread(bf16, 4, u, position, at, c);
}
FOR_BOTH_TYPES(void, gradient, (float *u, int64_t position, const void *const at[16], int64_t c), (false, u, position, at, c),
               (true, u, position, at, c))

static void weights(float *u, int64_t position, const float *taps)
{
    const void *at[9];
    for (int i = 0; i < 9; i++)
        at[i] = taps + i * COLUMNS;
    spread(false, 3, u, position, at, COLUMNS);
}

ALWAYS_INLINE void output(bool bf16, const struct winograd_target *to, const float *m, int64_t position)
{
    float results[16][COLUMNS] __attribute__((aligned(64)));
    for (int half = 0; half < 2; half++) {
        vf t[6][4], out[4], bias = to->bias ? get_float(to->bias, half * LANES, to->channels) : (vf){ 0 };
        if (half * LANES >= to->channels)
            break;
        for (int x = 0; x < 6; x++) {
            vf p[6];
            for (int y = 0; y < 6; y++)
                p[y] = load(m + (6 * y + x) * position + half * LANES);
            from_points(t[x], 1, p[0], p[1], p[2], p[3], p[4], p[5], true);
        }
        for (int y = 0; y < 4; y++) {
            from_points(out, 1, t[0][y], t[1][y], t[2][y], t[3][y], t[4][y], t[5][y], true);
            for (int x = 0; x < 4; x++)
                store(&results[4 * y + x][half * LANES], out[x] + bias);
        }
    }
    for (int i = 0; to->act && i < 16; i++)
        to->act(results[i], results[i], to->channels);
    const int64_t bytes = bf16 ? 2 : 4;
    for (int y = 0; y < to->rows; y++)
        for (int x = 0; x < to->columns; x++) {
            int64_t at = (y * to->row + x * to->pixel) * bytes;
            for (int64_t i = 0; i < to->channels; i += LANES) {
                vf r = load(&results[4 * y + x][i]);
                if (to->residual)
                    r += get(bf16, (const char *)to->residual + at, i, to->channels);
                put(bf16, (char *)to->y + at, i, to->channels, r);
            }
        }
}
FOR_BOTH_TYPES(void, output, (const struct winograd_target *to, const float *m, int64_t position), (false, to, m, position),
               (true, to, m, position))

static void weight_gradient(float *taps, const float *m, int64_t position)
{
    for (int half = 0; half < 2; half++) {
        vf t[6][3], out[3];
        for (int x = 0; x < 6; x++) {
            vf p[6];
            for (int y = 0; y < 6; y++)
                p[y] = load(m + (6 * y + x) * position + half * LANES);
            from_points(t[x], 1, p[0], p[1], p[2], p[3], p[4], p[5], false);
        }
        for (int y = 0; y < 3; y++) {
            from_points(out, 1, t[0][y], t[1][y], t[2][y], t[3][y], t[4][y], t[5][y], false);
            for (int x = 0; x < 3; x++)
                store(taps + (3 * y + x) * COLUMNS + half * LANES, out[x]);
        }
    }
}

/* rows is a constant where this is called, so that the sums are registers. */
ALWAYS_INLINE void product_rows(const struct winograd_product *p, int rows)
{
    vf sum[ROWS][2];
    const float *a = p->a, *b = p->b;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            sum[i][j] = p->adds ? load(p->m + i * p->m_row + j * LANES) : (vf){ 0 };
    for (int64_t k = 0; k < p->terms; k++) {
        vf b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf x = all(a[i * p->a_row]);
            sum[i][0] += x * b0;
            sum[i][1] += x * b1;
        }
        a += p->a_term;
        b += p->b_term;
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            store(p->m + i * p->m_row + j * LANES, sum[i][j]);
}

static void product(const struct winograd_product *p)
{
    switch (p->rows) {
    case 1: product_rows(p, 1); break;
    case 2: product_rows(p, 2); break;
    case 3: product_rows(p, 3); break;
    case 4: product_rows(p, 4); break;
    case 5: product_rows(p, 5); break;
#if defined(__AVX512F__)
    case 6: product_rows(p, 6); break;
    case 7: product_rows(p, 7); break;
#endif
    default: product_rows(p, ROWS); break;
    }
}

const struct winograd_kernels KERNEL(winograd) = {
    .rows = ROWS, .columns = COLUMNS, .lanes = LANES, .input = BOTH(input), .weights = weights, .product = product, .output = BOTH(output),
    .gradient = BOTH(gradient), .weight_gradient = weight_gradient,
};
