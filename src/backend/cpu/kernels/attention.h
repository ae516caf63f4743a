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
 * pads    of the keys of batch row n the first pads[n] are padding. Query i is the token of key i + (tk - tq): a token
 *         sees no padding, padding sees every key (graph/ops.h). NULL: there is none.
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
    const int32_t *pads; /* [n], each 0 to tk; NULL without padding. Borrowed for the call */
};

/* Keys begin .. end - 1 of a block. */
struct attention_keys {
    int64_t begin, end;
};

/* Which of `count` keys from key `first` on query i of batch row n sees, counted from `first`; begin = end: none. */
static inline struct attention_keys attention_keys(const struct attention_shape *s, int64_t n, int64_t i, int64_t first,
                                                   int64_t count)
{
    int64_t token = i + (s->tk - s->tq), begin = 0, end = s->tk;
    if (!s->pads || token >= s->pads[n]) {
        begin = s->pads ? s->pads[n] : 0;
        end = s->causal ? token + 1 : s->tk;
    }
    begin = begin < first ? 0 : begin - first;
    end = end - first < count ? end - first : count;
    return begin < end ? (struct attention_keys){ begin, end } : (struct attention_keys){ 0, 0 };
}

/* The keys that at least one of `rows` queries from query i on sees: padding, which sees all, comes first, and later tokens
 * see more. */
static inline struct attention_keys attention_keys_of_rows(const struct attention_shape *s, int64_t n, int64_t i,
                                                           int64_t rows, int64_t first, int64_t count)
{
    struct attention_keys a = attention_keys(s, n, i, first, count), b = attention_keys(s, n, i + rows - 1, first, count);
    if (a.begin == a.end)
        return b;
    if (b.begin == b.end)
        return a;
    return (struct attention_keys){ a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end };
}

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
