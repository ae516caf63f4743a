/* Attention without a tq x tk matrix: Dao et al. 2022, "FlashAttention", and its gradient (algorithm 4).
 *
 * One plain source, attention.c, is compiled for each kind of processor and works in f32 (bf16 is converted
 * on the way in and out); attention_tiles.c multiplies bf16, by AVX-512 or on Intel's tile unit. Every output element is summed by
 * one thread in an order that depends on the shape alone, so results do not change with the number of
 * threads.
 *
 * shapes  q, y, dy, dq [n, tq, heads*d]; k, v, dk, dv [n, tk, heads*d]; lse [n, heads, tq]. All without gaps.
 *
 * types   lse f32; the others bf16 as uint16_t bits if attention_shape.bf16, else float.
 *
 * A query that sees no key (causal with tq > tk) gets y = 0, lse = -infinity and no gradient. */
#ifndef LIMN_BACKEND_CPU_KERNELS_ATTENTION_H
#define LIMN_BACKEND_CPU_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attention_shape {
    int64_t n, tq, tk, heads, d;
    float scale;
    bool causal, bf16;
};

struct attention_kernels {
    const char *name;
    /* Bytes of scratch (64-byte aligned) that a call with this many threads needs. */
    size_t (*forward_scratch)(const struct attention_shape *s, int threads);
    void (*forward)(const struct attention_shape *s, const void *q, const void *k, const void *v, void *y,
                    float *lse, void *scratch, int threads);
    size_t (*backward_scratch)(const struct attention_shape *s, int threads);
    /* Overwrites dq, dk, dv. */
    void (*backward)(const struct attention_shape *s, const void *q, const void *k, const void *v,
                     const void *y, const float *lse, const void *dy, void *dq, void *dk, void *dv,
                     void *scratch, int threads);
};

extern const struct attention_kernels attention_v2, attention_v3, attention_v4, attention_bf16, attention_amx;

/* bf16 and scale > 0 only. For amx Linux must have granted the process the use of tiles, as it has where the kind
 * is "amx". */
extern const struct attention_kernels attention_tiles_bf16, attention_tiles_amx;

#endif
