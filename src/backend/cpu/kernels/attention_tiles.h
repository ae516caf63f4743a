/* Products of tiles for attention_tiles.c, on Intel's tile unit (AMX) or, where there is none, by AVX-512's bf16
 * dot products on the same layout. Matrices are kept as tiles of 16 lines of 64 bytes, one after the other, so
 * that every tile is loaded from 1024 consecutive bytes. In a product  c (+)= a b:
 *
 * - a is bf16, a tile of it 16 rows of 32 columns
 * - b is bf16, a tile of it 32 rows of 16 columns; line p holds rows 2p and 2p + 1 in turns, column by column
 * - c is f32, a tile of it 16 rows of 16 columns */
#ifndef LIMN_BACKEND_CPU_KERNELS_ATTENTION_TILES_H
#define LIMN_BACKEND_CPU_KERNELS_ATTENTION_TILES_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { TILE_BF16 = 512, TILE_F32 = 256 }; /* elements of a tile */

#ifdef ISA_amx

/* All eight tiles are 16 x 64 bytes. The settings of whoever used tiles in this thread before are put back
 * afterwards. */
struct tile_settings {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} __attribute__((aligned(64)));

/* GCC's tile intrinsics do not say what memory they touch: nothing may be moved across them. */
INLINE void tiles_barrier(const void *touched)
{
    __asm__ volatile("" ::"r"(touched) : "memory");
}

static inline void tiles_begin(struct tile_settings *before)
{
    struct tile_settings ours = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        ours.line_bytes[i] = 64;
        ours.lines[i] = 16;
    }
    _tile_storeconfig(before);
    tiles_barrier(before);
    tiles_barrier(&ours);
    _tile_loadconfig(&ours);
}

static inline void tiles_end(const struct tile_settings *before)
{
    if (before->palette)
        _tile_loadconfig(before);
    else
        _tile_release();
}

/* Up to 2 x 2 tiles of c: element tiles (i, j) at c + (i c_row + j), of a (i, s) at a + i a_row + s, of b (s,
 * j) at b + s b_row + j b_col; all distances in tiles. */
INLINE void tile_square(const bool two_rows, const bool two_columns, int64_t depth, float *c, int64_t c_row,
                        const uint16_t *a, int64_t a_row, const uint16_t *b, int64_t b_row, int64_t b_col,
                        const bool add)
{
    float *c1 = c + c_row * TILE_F32;
    tiles_barrier(c);
    if (add) {
        _tile_loadd(0, c, 64);
        if (two_columns)
            _tile_loadd(1, c + TILE_F32, 64);
        if (two_rows)
            _tile_loadd(2, c1, 64);
        if (two_rows && two_columns)
            _tile_loadd(3, c1 + TILE_F32, 64);
    } else {
        _tile_zero(0);
        if (two_columns)
            _tile_zero(1);
        if (two_rows)
            _tile_zero(2);
        if (two_rows && two_columns)
            _tile_zero(3);
    }
    for (int64_t s = 0; s < depth; s++) {
        const uint16_t *as = a + s * TILE_BF16, *bs = b + s * b_row * TILE_BF16;
        _tile_loadd(4, as, 64);
        _tile_loadd(6, bs, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, bs + b_col * TILE_BF16, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, as + a_row * TILE_BF16, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (two_columns)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, 64);
    if (two_columns)
        _tile_stored(1, c + TILE_F32, 64);
    if (two_rows)
        _tile_stored(2, c1, 64);
    if (two_rows && two_columns)
        _tile_stored(3, c1 + TILE_F32, 64);
    tiles_barrier(c);
}

#else /* no tile unit */

struct tile_settings {
    char none;
};

static inline void tiles_begin(struct tile_settings *before)
{
    before->none = 0;
}

static inline void tiles_end(const struct tile_settings *before)
{
}

/* 8 rows of one or two tiles of c. A word of a, two neighbours of its row, meets a line of b. */
INLINE void eight_rows(const bool two_columns, int64_t depth, float *c, const uint16_t *a, const uint16_t *b,
                       int64_t b_row, int64_t b_col, const bool add)
{
    __m512 sum[8][2];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        sum[r][0] = add ? _mm512_load_ps(c + 16 * r) : _mm512_setzero_ps();
        if (two_columns)
            sum[r][1] = add ? _mm512_load_ps(c + TILE_F32 + 16 * r) : _mm512_setzero_ps();
    }
    for (int64_t s = 0; s < depth; s++, a += TILE_BF16, b += b_row * TILE_BF16)
        for (int p = 0; p < 16; p++) {
            __m512bh b0 = (__m512bh)_mm512_load_si512(b + 32 * p), b1 = b0;
            if (two_columns)
                b1 = (__m512bh)_mm512_load_si512(b + b_col * TILE_BF16 + 32 * p);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) {
                int32_t two;
                memcpy(&two, a + 32 * r + 2 * p, sizeof two);
                __m512bh word = (__m512bh)_mm512_set1_epi32(two);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], word, b0);
                if (two_columns)
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], word, b1);
            }
        }
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        _mm512_store_ps(c + 16 * r, sum[r][0]);
        if (two_columns)
            _mm512_store_ps(c + TILE_F32 + 16 * r, sum[r][1]);
    }
}

/* As the tile unit's. */
INLINE void tile_square(const bool two_rows, const bool two_columns, int64_t depth, float *c, int64_t c_row,
                        const uint16_t *a, int64_t a_row, const uint16_t *b, int64_t b_row, int64_t b_col,
                        const bool add)
{
    for (int i = 0; i < (two_rows ? 2 : 1); i++)
        for (int half = 0; half < 2; half++)
            eight_rows(two_columns, depth, c + i * c_row * TILE_F32 + half * 128,
                       a + i * a_row * TILE_BF16 + half * 256, b, b_row, b_col, add);
}

#endif

/* The whole product of rows x columns tiles. */
INLINE void tile_product(int64_t rows, int64_t columns, int64_t depth, float *c, int64_t c_row,
                         const uint16_t *a, int64_t a_row, const uint16_t *b, int64_t b_row, int64_t b_col,
                         const bool add)
{
    for (int64_t j = 0; j < columns; j += 2) {
        const uint16_t *bj = b + j * b_col * TILE_BF16;
        for (int64_t i = 0; i < rows; i += 2) {
            const uint16_t *ai = a + i * a_row * TILE_BF16;
            float *cij = c + (i * c_row + j) * TILE_F32;
            if (rows - i > 1 && columns - j > 1)
                tile_square(true, true, depth, cij, c_row, ai, a_row, bj, b_row, b_col, add);
            else if (rows - i > 1)
                tile_square(true, false, depth, cij, c_row, ai, a_row, bj, b_row, b_col, add);
            else if (columns - j > 1)
                tile_square(false, true, depth, cij, c_row, ai, a_row, bj, b_row, b_col, add);
            else
                tile_square(false, false, depth, cij, c_row, ai, a_row, bj, b_row, b_col, add);
        }
    }
}

/* The first `count` of 32 (16) lanes. */
INLINE __mmask32 first_of_32(int64_t count)
{
    return count >= 32 ? 0xFFFFFFFFu : count <= 0 ? 0 : (1u << count) - 1;
}

INLINE __mmask16 first_of_16(int64_t count)
{
    return (__mmask16)(count >= 16 ? 0xFFFF : count <= 0 ? 0 : (1u << count) - 1);
}

/* 16 lines of 16 words of 32 bits, mirrored at the diagonal. */
INLINE void transpose_words(__m512i x[16])
{
    __m512i y[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xDD);
        y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xDD);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xDD);
        x[i + 4] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88);
        x[i + 12] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xDD);
    }
}

/* What is packed: `rows` rows of d bf16, `stride` elements apart; beyond them and beyond d zeros are packed.
 */
struct slice {
    const uint16_t *data;
    int64_t stride, rows, d;
};

INLINE __m512i slice_words(const struct slice *x, int64_t row, int64_t column, __mmask32 columns)
{
    return row < x->rows ? _mm512_maskz_loadu_epi16(columns, x->data + row * x->stride + column)
                         : _mm512_setzero_si512();
}

/* As a of a product: tile (i, s) holds rows 16 i.. and columns 32 s..; [rows16][steps]. */
static inline void pack_rows(uint16_t *dst, struct slice x, int64_t rows16, int64_t steps)
{
    for (int64_t s = 0; s < steps; s++) {
        __mmask32 columns = first_of_32(x.d - 32 * s);
        for (int64_t r = 0; r < rows16 * 16; r++)
            _mm512_store_si512(dst + (r / 16 * steps + s) * TILE_BF16 + r % 16 * 32,
                               slice_words(&x, r, 32 * s, columns));
    }
}

/* Transposed, as b of a product: tile (s, i) has the columns 32 s.. as its rows; [rows16][steps]. */
static inline void pack_across(uint16_t *dst, struct slice x, int64_t rows16, int64_t steps)
{
    for (int64_t i = 0; i < rows16; i++)
        for (int64_t s = 0; s < steps; s++) {
            __mmask32 columns = first_of_32(x.d - 32 * s);
            __m512i t[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                t[r] = slice_words(&x, 16 * i + r, 32 * s, columns);
            transpose_words(t);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                _mm512_store_si512(dst + (i * steps + s) * TILE_BF16 + 32 * r, t[r]);
        }
}

/* As b of a product: tile (i, j) holds rows 32 i.. and columns 16 j..; [rows32][columns16]. */
static inline void pack_pairs(uint16_t *dst, struct slice x, int64_t rows32, int64_t columns16)
{
    for (int64_t i = 0; i < rows32; i++)
        for (int64_t j = 0; j < columns16; j++) {
            __mmask16 columns = first_of_16(x.d - 16 * j);
            uint16_t *tile = dst + (i * columns16 + j) * TILE_BF16;
            for (int64_t p = 0; p < 16; p++) {
                int64_t row = 32 * i + 2 * p;
                const uint16_t *at = x.data + row * x.stride + 16 * j;
                __m512i even = _mm512_setzero_si512(), odd = even;
                if (row < x.rows)
                    even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, at));
                if (row + 1 < x.rows)
                    odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, at + x.stride));
                _mm512_store_si512(tile + 32 * p, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
            }
        }
}

/* Transposed, as a of a product: tile (j, i) has columns 16 j.. as its rows and rows 32 i.. as its columns;
 * [columns16][rows32]. */
static inline void pack_columns(uint16_t *dst, struct slice x, int64_t rows32, int64_t columns16)
{
    __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28,
                                    26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
    for (int64_t i = 0; i < rows32; i++)
        for (int64_t j = 0; j < columns16; j += 2) {
            __mmask32 columns = first_of_32(x.d - 16 * j);
            __m512i t[16], u[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                t[r] = slice_words(&x, 32 * i + r, 16 * j, columns);
            transpose_words(t);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                u[r] = slice_words(&x, 32 * i + 16 + r, 16 * j, columns);
            transpose_words(u);
            for (int64_t half = 0; half < 2 && j + half < columns16; half++) {
                uint16_t *tile = dst + ((j + half) * rows32 + i) * TILE_BF16;
                for (int p = 0; p < 8; p++) {
                    __m512i a = t[8 * half + p], b = u[8 * half + p];
                    _mm512_store_si512(tile + 64 * p, _mm512_permutex2var_epi16(a, even, b));
                    _mm512_store_si512(tile + 64 * p + 32, _mm512_permutex2var_epi16(a, odd, b));
                }
            }
        }
}

/* 2^x within 1e-4: a cubic on [0, 1) (7.5e-5); what it is for is rounded to bf16, 2e-3. 0 for -infinity. */
INLINE __m512 exp2_cubic(__m512 x)
{
    __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.0780245212f), _mm512_set1_ps(0.226067158f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.69583354f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999925219f));
    return _mm512_scalef_ps(p, x);
}

#endif
