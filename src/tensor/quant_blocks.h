/* What the bits of each quantised block mean. A function per type unpacks one block to f32; quant.c compiles them once for every
 * processor, backend/cpu/kernels/quant.c once for each kind.
 *
 * source  the block structs of ggml-common.h and dequantize_row_* of ggml-quants.c.
 * In words (d and m are f16, q are the quants, "nibbles" are the low halves of 16 or 32 bytes, then the high halves):
 *    Q8_0  d, 32 signed bytes             y = d q
 *    Q4_0  d, 32 nibbles                  y = d (q - 8)
 *    Q4_1  d, m, 32 nibbles               y = d q + m
 *    Q5_0  d, 32 fifth bits, 32 nibbles   y = d (q - 16)
 *    Q5_1  d, m, 32 fifth bits, nibbles   y = d q + m
 *    Qx_K  256 numbers in groups of 16 or 32 whose own scales (and minima) are small integers times d (and m): two roundings. */
#ifndef LIMN_TENSOR_QUANT_BLOCKS_H
#define LIMN_TENSOR_QUANT_BLOCKS_H

#include "tensor/tensor.h"

/* One table: type, the function's tail, where its f16 scales are (-1: none). */
#define QUANT_TABLE(X)               \
    X(DTYPE_Q4_0, q4_0, 0, -1)       \
    X(DTYPE_Q4_1, q4_1, 0, 2)        \
    X(DTYPE_Q5_0, q5_0, 0, -1)       \
    X(DTYPE_Q5_1, q5_1, 0, 2)        \
    X(DTYPE_Q8_0, q8_0, 0, -1)       \
    X(DTYPE_Q2_K, q2_k, 80, 82)      \
    X(DTYPE_Q3_K, q3_k, 108, -1)     \
    X(DTYPE_Q4_K, q4_k, 0, 2)        \
    X(DTYPE_Q5_K, q5_k, 0, 2)        \
    X(DTYPE_Q6_K, q6_k, 208, -1)

static inline float quant_scale(const uint8_t *at)
{
    return f16_to_f32((uint16_t)(at[0] | at[1] << 8));
}

static inline uint32_t quant_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void unpack_q8_0(float *y, const uint8_t *b)
{
    float d = quant_scale(b);
    for (int i = 0; i < 32; i++)
        y[i] = (float)(int8_t)b[2 + i] * d;
}

static inline void unpack_q4_0(float *y, const uint8_t *b)
{
    float d = quant_scale(b);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b[2 + i] & 15) - 8);
        y[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static inline void unpack_q4_1(float *y, const uint8_t *b)
{
    float d = quant_scale(b), m = quant_scale(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(b[4 + i] & 15) + m;
        y[16 + i] = d * (float)(b[4 + i] >> 4) + m;
    }
}

static inline void unpack_q5_0(float *y, const uint8_t *b)
{
    float d = quant_scale(b);
    uint32_t high = quant_u32(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((int)((b[6 + i] & 15u) | (high >> i & 1) << 4) - 16);
        y[16 + i] = d * (float)((int)((unsigned)(b[6 + i] >> 4) | (high >> (16 + i) & 1) << 4) - 16);
    }
}

static inline void unpack_q5_1(float *y, const uint8_t *b)
{
    float d = quant_scale(b), m = quant_scale(b + 2);
    uint32_t high = quant_u32(b + 4);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(int)((b[8 + i] & 15u) | (high >> i & 1) << 4) + m;
        y[16 + i] = d * (float)(int)((unsigned)(b[8 + i] >> 4) | (high >> (16 + i) & 1) << 4) + m;
    }
}

/* 16 scales and minima of 4 bits; the quants' two bits lie in planes: bits 2j of 32 bytes are group pair j. */
static inline void unpack_q2_k(float *y, const uint8_t *b)
{
    const uint8_t *scales = b, *q = b + 16;
    float d = quant_scale(b + 80), m = quant_scale(b + 82);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)(scales[g] & 15), least = m * (float)(scales[g] >> 4);
        const uint8_t *at = q + 32 * (g / 8) + 16 * (g % 2);
        int shift = 2 * (g / 2 % 4);
        for (int i = 0; i < 16; i++)
            y[16 * g + i] = scale * (float)(at[i] >> shift & 3) - least;
    }
}

/* 16 scales of 6 bits, 32 less; a quant is two bits, and 4 less where its bit in the mask is 0. */
static inline void unpack_q3_k(float *y, const uint8_t *b)
{
    const uint8_t *mask = b, *q = b + 32, *scales = b + 96;
    float d = quant_scale(b + 108);
    for (int g = 0; g < 16; g++) {
        int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4, high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
        float scale = d * (float)((low | high << 4) - 32);
        const uint8_t *at = q + 32 * (g / 8) + 16 * (g % 2), *bits = mask + 16 * (g % 2);
        int shift = 2 * (g / 2 % 4), plane = g / 2;
        for (int i = 0; i < 16; i++)
            y[16 * g + i] = scale * (float)((at[i] >> shift & 3) - (bits[i] >> plane & 1 ? 0 : 4));
    }
}

/* Eight scales and eight minima of 6 bits in 12 bytes: the first four of each lie in the low bits of bytes 0-7, the others in
 * the halves of bytes 8-11 with their two high bits on top of bytes 0-7. */
static inline void quant_k_scale(const uint8_t *s, int g, int *scale, int *least)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *least = s[4 + g] & 63;
    } else {
        *scale = (s[4 + g] & 15) | (s[g - 4] >> 6) << 4;
        *least = s[4 + g] >> 4 | (s[g] >> 6) << 4;
    }
}

static inline void unpack_q4_k(float *y, const uint8_t *b)
{
    const uint8_t *scales = b + 4, *q = b + 16;
    float d = quant_scale(b), m = quant_scale(b + 2);
    for (int g = 0; g < 8; g++) {
        int s, l;
        quant_k_scale(scales, g, &s, &l);
        float scale = d * (float)s, least = m * (float)l;
        const uint8_t *at = q + 32 * (g / 2);
        int shift = 4 * (g % 2);
        for (int i = 0; i < 32; i++)
            y[32 * g + i] = scale * (float)(at[i] >> shift & 15) - least;
    }
}

static inline void unpack_q5_k(float *y, const uint8_t *b)
{
    const uint8_t *scales = b + 4, *high = b + 16, *q = b + 48;
    float d = quant_scale(b), m = quant_scale(b + 2);
    for (int g = 0; g < 8; g++) {
        int s, l;
        quant_k_scale(scales, g, &s, &l);
        float scale = d * (float)s, least = m * (float)l;
        const uint8_t *at = q + 32 * (g / 2);
        int shift = 4 * (g % 2);
        for (int i = 0; i < 32; i++)
            y[32 * g + i] = scale * (float)((at[i] >> shift & 15) | (high[i] >> g & 1) << 4) - least;
    }
}

/* 16 signed scales; of a quant's six bits (32 less) four lie in halves of 64 bytes and two in planes of 32. */
static inline void unpack_q6_k(float *y, const uint8_t *b)
{
    const uint8_t *low = b, *high = b + 128, *scales = b + 192;
    float d = quant_scale(b + 208);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)(int8_t)scales[g];
        int half = g / 8, part = g / 2 % 4, side = 16 * (g % 2); /* 128 numbers, their 32s, their 16s */
        const uint8_t *at = low + 64 * half + 32 * (part % 2) + side, *bits = high + 32 * half + side;
        int shift = 4 * (part / 2), plane = 2 * part;
        for (int i = 0; i < 16; i++)
            y[16 * g + i] = scale * (float)((int)((at[i] >> shift & 15u) | (bits[i] >> plane & 3u) << 4) - 32);
    }
}

#endif
