/* Sums. Long sums go through f64, so that their error does not grow with their length. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"

enum { BLOCK = 64 * LANES }; /* numbers summed in f32 before they go to f64 */

ALWAYS_INLINE double sum(bool bf16, const void *x, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t end = n - i < BLOCK ? n : i + BLOCK, j = i;
        vf s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
        for (; j + 4 * LANES <= end; j += 4 * LANES) {
            s0 += get(bf16, x, j, n);
            s1 += get(bf16, x, j + LANES, n);
            s2 += get(bf16, x, j + 2 * LANES, n);
            s3 += get(bf16, x, j + 3 * LANES, n);
        }
        for (; j < end; j += LANES)
            s0 += get(bf16, x, j, n);
        total += add_lanes((s0 + s1) + (s2 + s3));
    }
    return total;
}
FOR_BOTH_TYPES(double, sum, (const void *x, int64_t n), (false, x, n), (true, x, n))

ALWAYS_INLINE double sum_squares(bool bf16, const void *x, int64_t n)
{
    vd s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        s0 += squares_in_double(get(bf16, x, i, n));
        s1 += squares_in_double(get(bf16, x, i + LANES, n));
        s2 += squares_in_double(get(bf16, x, i + 2 * LANES, n));
        s3 += squares_in_double(get(bf16, x, i + 3 * LANES, n));
    }
    for (; i < n; i += LANES)
        s0 += squares_in_double(get(bf16, x, i, n));
    s0 += s1 + (s2 + s3);
    double total = 0;
    for (int j = 0; j < LANES / 2; j++)
        total += s0[j];
    return total;
}
FOR_BOTH_TYPES(double, sum_squares, (const void *x, int64_t n), (false, x, n), (true, x, n))

ALWAYS_INLINE void columns(bool bf16, float *sums, const void *x, int64_t rows, int64_t c, int64_t ld)
{
    const int64_t bytes = (bf16 ? 2 : 4) * ld;
    int64_t j = 0;
    for (; j + 4 * LANES <= c; j += 4 * LANES) {
        vf s0 = get_float(sums, j, c), s1 = get_float(sums, j + LANES, c);
        vf s2 = get_float(sums, j + 2 * LANES, c), s3 = get_float(sums, j + 3 * LANES, c);
        for (int64_t r = 0; r < rows; r++) {
            const void *row = (const char *)x + r * bytes;
            s0 += get(bf16, row, j, c);
            s1 += get(bf16, row, j + LANES, c);
            s2 += get(bf16, row, j + 2 * LANES, c);
            s3 += get(bf16, row, j + 3 * LANES, c);
        }
        put_float(sums, j, c, s0);
        put_float(sums, j + LANES, c, s1);
        put_float(sums, j + 2 * LANES, c, s2);
        put_float(sums, j + 3 * LANES, c, s3);
    }
    for (; j < c; j += LANES) {
        vf s = get_float(sums, j, c);
        for (int64_t r = 0; r < rows; r++)
            s += get(bf16, (const char *)x + r * bytes, j, c);
        put_float(sums, j, c, s);
    }
}
FOR_BOTH_TYPES(void, columns, (float *sums, const void *x, int64_t rows, int64_t c, int64_t ld),
               (false, sums, x, rows, c, ld), (true, sums, x, rows, c, ld))

static void flush(double *restrict sums, const float *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        sums[i] += x[i];
}

static void drain(double *restrict sums, float *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        sums[i] += x[i];
        x[i] = 0;
    }
}

const struct reduce_kernels KERNEL(reduce) = {
    .sum = BOTH(sum), .sum_squares = BOTH(sum_squares), .columns = BOTH(columns), .flush = flush, .drain = drain,
};
