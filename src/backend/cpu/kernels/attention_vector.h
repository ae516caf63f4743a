/* What attention.c needs of a processor: a vector of W floats in GCC's vector extension, exp2, and a small
 * matrix product whose sums stay in registers. Compiled once per kind of processor, so everything here is
 * static. */
#ifndef LIMN_BACKEND_CPU_KERNELS_ATTENTION_VECTOR_H
#define LIMN_BACKEND_CPU_KERNELS_ATTENTION_VECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* W floats a register; MR rows of two registers are summed at once: 2 MR sums, 2 of b and 1 of a fit the
 * registers, and 2 MR multiply-adds in flight hide their latency. */
#if defined __AVX512F__
enum { W = 16, MR = 8 };
#elif defined __AVX__
enum { W = 8, MR = 6 };
#else
enum { W = 4, MR = 6 };
#endif
enum { NR = 2 * W };

#define VECTOR float __attribute__((vector_size(4 * W)))
#define INTS int32_t __attribute__((vector_size(4 * W)))
#define INLINE static inline __attribute__((always_inline))

INLINE VECTOR load(const float *p)
{
    VECTOR v;
    memcpy(&v, p, sizeof v); /* p need not be aligned; one instruction */
    return v;
}

INLINE void store(float *p, VECTOR v)
{
    memcpy(p, &v, sizeof v);
}

INLINE VECTOR all(float x)
{
    return x - (VECTOR){ 0 };
}

/* b where either is NaN, as the instruction does. */
INLINE VECTOR larger(VECTOR a, VECTOR b)
{
#if defined __AVX512F__
    return (VECTOR)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined __AVX__
    return (VECTOR)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined __SSE__
    return (VECTOR)_mm_max_ps((__m128)a, (__m128)b);
#else
    return a > b ? a : b;
#endif
}

INLINE float largest(VECTOR v)
{
    float m = v[0];
    for (int i = 1; i < W; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

INLINE float total(VECTOR v)
{
    float t = 0;
    for (int i = 0; i < W; i++)
        t += v[i];
    return t;
}

/* 2^x for x up to a rounding error above 0; below -126 it stays at 2^-126. Relative error 1e-7: the
 * polynomial is the best of degree 5 on [-1/2, 1/2] (7.5e-8). */
INLINE VECTOR exp2_of(VECTOR x)
{
    x = larger(all(-126.0f), x);
    INTS n = __builtin_convertvector(x - 0.5f, INTS); /* towards 0, and x <= 0: to the nearest */
    VECTOR f = x - __builtin_convertvector(n, VECTOR);
    VECTOR p = f * 0.00132764719f + 0.00967554133f;
    p = p * f + 0.0555071327f;
    p = p * f + 0.240221197f;
    p = p * f + 0.693146967f;
    p = p * f + 1.00000007f;
    return p * (VECTOR)((n + 127) << 23);
}

/* A matrix whose columns come in panels of NR: element (p, j) is data[j / NR * panel + p * row + j % NR]. An
 * ordinary row-major matrix has panel = NR. */
struct panels {
    const float *data;
    int64_t row, panel;
};

/* c[mr][nv * W] (+)= a b for one panel. Element (r, p) of a is a[r * a_row + p], or a[p * a_row + r] if
 * transposed. */
INLINE void tile(const int mr, const int nv, const bool transposed, int64_t depth, const float *a,
                 int64_t a_row, const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    VECTOR sum[MR][2];
#pragma GCC unroll 8
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++)
            sum[r][i] = add ? load(c + r * c_row + i * W) : all(0);
    for (int64_t p = 0; p < depth; p++) {
        VECTOR x[2];
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++)
            x[i] = load(b + p * b_row + i * W);
#pragma GCC unroll 8
        for (int r = 0; r < mr; r++) {
            VECTOR f = all(transposed ? a[p * a_row + r] : a[r * a_row + p]);
#pragma GCC unroll 2
            for (int i = 0; i < nv; i++)
                sum[r][i] += f * x[i];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++)
            store(c + r * c_row + i * W, sum[r][i]);
}

INLINE void column_of_tiles(const int nv, const bool transposed, int64_t rows, int64_t depth, const float *a,
                            int64_t a_row, const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    int64_t step = transposed ? 1 : a_row, r = 0;
    for (; r + MR <= rows; r += MR)
        tile(MR, nv, transposed, depth, a + r * step, a_row, b, b_row, c + r * c_row, c_row, add);
    if (MR > 4 && r + 4 <= rows) {
        tile(4, nv, transposed, depth, a + r * step, a_row, b, b_row, c + r * c_row, c_row, add);
        r += 4;
    }
    if (r + 2 <= rows) {
        tile(2, nv, transposed, depth, a + r * step, a_row, b, b_row, c + r * c_row, c_row, add);
        r += 2;
    }
    if (r < rows)
        tile(1, nv, transposed, depth, a + r * step, a_row, b, b_row, c + r * c_row, c_row, add);
}

/* c [rows, columns] (+)= a b, with columns rounded up to W (c and b have room). */
INLINE void multiply(const bool transposed, int64_t rows, int64_t columns, int64_t depth, const float *a,
                     int64_t a_row, struct panels b, float *c, int64_t c_row, bool add)
{
    for (int64_t j = 0; j < columns; j += NR) {
        const float *panel = b.data + j / NR * b.panel;
        if (columns - j > W)
            column_of_tiles(2, transposed, rows, depth, a, a_row, panel, b.row, c + j, c_row, add);
        else
            column_of_tiles(1, transposed, rows, depth, a, a_row, panel, b.row, c + j, c_row, add);
    }
}

#endif
