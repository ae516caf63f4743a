/* Attention in f32 arithmetic for every kind of processor. Scores are kept in powers of two: q is multiplied
 * by scale * log2(e) when it is copied, so that softmax needs exp2 only.
 *
 * Forward: a thread takes some queries of a head; keys (transposed) and values lie in its scratch. For
 * QUERIES queries and KEYS keys at a time: scores, their maximum so far, exp2, and the product with the
 * values, whose sum so far is rescaled when the maximum rises.
 *
 * Backward: a thread takes a whole head. For KEYS_BACK keys and QUERIES_BACK queries at a time the
 * probabilities P come from lse. Then
 *
 *     dV += P' dY,  dP = dY V',  dS = P (dP - rowsum(dY Y)),  dQ += scale dS K,  dK += scale dS' Q.
 *
 * With fewer heads than threads, dK and dV are made by ranges of keys and then dQ by ranges of queries,
 * computing P twice; each sum runs in the same order as before. */
#include "backend/cpu/kernels/attention.h"

#include <math.h>
#include <omp.h>

#include "backend/cpu/kernels/attention_vector.h"
#include "tensor/tensor.h"

#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)

enum { QUERIES = 48, KEYS = 256, QUERIES_BACK = 64, KEYS_BACK = 128 };

static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

static int64_t round_up(int64_t x, int64_t step)
{
    return (x + step - 1) / step * step;
}

static int64_t at_most(int64_t x, int64_t limit)
{
    return x < limit ? x : limit;
}

/* Rows of head slices -> f32 rows of `width` numbers, multiplied by `factor`, zeros behind the d of them. */
static void load_rows(const struct attention_shape *s, const void *src, int64_t first, int64_t rows,
                      float factor, float *dst, int64_t width)
{
    int64_t stride = s->heads * s->d, d = s->d;
    for (int64_t r = 0; r < rows; r++, dst += width) {
        if (s->bf16) {
            const uint16_t *x = (const uint16_t *)src + first + r * stride;
            for (int64_t j = 0; j < d; j++)
                dst[j] = bf16_to_f32(x[j]) * factor;
        } else {
            const float *x = (const float *)src + first + r * stride;
            for (int64_t j = 0; j < d; j++)
                dst[j] = x[j] * factor;
        }
        for (int64_t j = d; j < width; j++)
            dst[j] = 0;
    }
}

/* The way back; row r is multiplied by factors[r] if factors are given, by `factor` in any case. */
static void store_rows(const struct attention_shape *s, void *dst, int64_t first, int64_t rows,
                       const float *factors, float factor, const float *src, int64_t width)
{
    int64_t stride = s->heads * s->d, d = s->d;
    for (int64_t r = 0; r < rows; r++, src += width) {
        float f = factors ? factors[r] * factor : factor;
        if (s->bf16) {
            uint16_t *y = (uint16_t *)dst + first + r * stride;
            for (int64_t j = 0; j < d; j++)
                y[j] = f32_to_bf16(src[j] * f);
        } else {
            float *y = (float *)dst + first + r * stride;
            for (int64_t j = 0; j < d; j++)
                y[j] = src[j] * f;
        }
    }
}

#define FOUR float __attribute__((vector_size(16)))

/* src [rows, width] -> panels of NR rows, each [depth][NR]: the b of  c = a src'.  Rows up to the next
 * multiple of W become zeros. width >= depth rounded up to 4. */
static void transpose_to_panels(const float *src, int64_t rows, int64_t width, int64_t depth, float *dst)
{
    for (int64_t j = 0; j < round_up(rows, W); j += 4) {
        float *panel = dst + j / NR * NR * depth + j % NR;
        for (int64_t p = 0; p < depth; p += 4) {
            FOUR a[4];
            for (int i = 0; i < 4; i++)
                if (j + i < rows)
                    memcpy(&a[i], src + (j + i) * width + p, sizeof *a);
                else
                    a[i] = (FOUR){ 0 };
            FOUR lo01 = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5);
            FOUR hi01 = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
            FOUR lo23 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5);
            FOUR hi23 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
            FOUR column[4] = {
                __builtin_shufflevector(lo01, lo23, 0, 1, 4, 5),
                __builtin_shufflevector(lo01, lo23, 2, 3, 6, 7),
                __builtin_shufflevector(hi01, hi23, 0, 1, 4, 5),
                __builtin_shufflevector(hi01, hi23, 2, 3, 6, 7),
            };
            for (int64_t i = 0; i < 4 && p + i < depth; i++)
                memcpy(panel + (p + i) * NR, &column[i], sizeof *column);
        }
    }
}

/* Scores -> exp2(score - max) in place for those of `seen`, zeros beside them up to `width`. max and sum go on
 * from earlier keys; returns what the earlier sums must be multiplied by. */
static float softmax_row(float *row, struct attention_keys seen, int64_t width, float *max, float *sum)
{
    int64_t whole = round_up(seen.end, W);
    for (int64_t j = 0; j < seen.begin; j++)
        row[j] = -INFINITY;
    for (int64_t j = seen.end; j < whole; j++)
        row[j] = -INFINITY;
    for (int64_t j = whole; j < width; j++)
        row[j] = 0;
    if (!whole)
        return 1;
    VECTOR most = all(*max);
    for (int64_t j = 0; j < whole; j += W)
        most = larger(most, load(row + j));
    float m = largest(most), rescale = *max == -INFINITY ? 0 : exp2f(*max - m);
    VECTOR add = all(0);
    for (int64_t j = 0; j < whole; j += W) {
        VECTOR e = exp2_of(load(row + j) - m);
        add += e;
        store(row + j, e);
    }
    for (int64_t j = 0; j < seen.begin; j++)
        row[j] = 0; /* it was 2^-126, which the sum does not notice */
    for (int64_t j = seen.end; j < whole; j++)
        row[j] = 0;
    *sum = *sum * rescale + total(add);
    *max = m;
    return rescale;
}

/* Where the parts of a thread's scratch lie; all in floats, multiples of 16. */
struct forward_parts {
    int64_t width, keys, values, queries, scores, sums, end;
};

static struct forward_parts forward_parts(const struct attention_shape *s)
{
    struct forward_parts p = { .width = round_up(s->d, W) };
    int64_t blocks = (s->tk + KEYS - 1) / KEYS;
    p.values = round_up(blocks * KEYS * s->d, 16);
    p.queries = p.values + round_up(s->tk * p.width, 16);
    p.scores = p.queries + round_up(QUERIES * p.width, 16);
    p.sums = p.scores + QUERIES * KEYS;
    p.end = p.sums + round_up(QUERIES * p.width, 16) + 16;
    return p;
}

static size_t forward_scratch(const struct attention_shape *s, int threads)
{
    return (size_t)forward_parts(s).end * sizeof(float) * (size_t)threads;
}

/* Queries begin .. begin + rows - 1 of a head of batch row n whose keys and values are in `mem`. */
static void forward_block(const struct attention_shape *s, const struct forward_parts *p, float *mem,
                          const void *q, int64_t n, int64_t first, int64_t begin, int64_t rows, void *y, float *lse)
{
    float max[QUERIES], sum[QUERIES];
    float *queries = mem + p->queries, *scores = mem + p->scores, *sums = mem + p->sums;
    for (int64_t r = 0; r < rows; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    load_rows(s, q, first, rows, s->scale * LOG2_E, queries, p->width);
    struct attention_keys all_seen = attention_keys_of_rows(s, n, begin, rows, 0, s->tk);
    int64_t start = all_seen.begin / KEYS * KEYS;
    if (!all_seen.end)
        memset(sums, 0, sizeof(float) * (size_t)(rows * p->width));
    for (int64_t k = start; k < all_seen.end; k += KEYS) {
        int64_t count = at_most(all_seen.end - k, KEYS), width = round_up(count, W);
        multiply(false, rows, width, s->d, queries, p->width,
                 (struct panels){ mem + p->keys + k * s->d, NR, NR * s->d }, scores, KEYS, false);
        for (int64_t r = 0; r < rows; r++) {
            float rescale =
                softmax_row(scores + r * KEYS, attention_keys(s, n, begin + r, k, count), width, &max[r], &sum[r]);
            if (k > start && rescale != 1)
                for (int64_t j = 0; j < p->width; j += W)
                    store(sums + r * p->width + j, load(sums + r * p->width + j) * rescale);
        }
        multiply(false, rows, p->width, count, scores, KEYS,
                 (struct panels){ mem + p->values + k * p->width, p->width, NR }, sums, p->width, k > start);
    }
    for (int64_t r = 0; r < rows; r++) {
        lse[r] = sum[r] > 0 ? (max[r] + log2f(sum[r])) * LN_2 : -INFINITY;
        sum[r] = sum[r] > 0 ? 1 / sum[r] : sum[r] == sum[r] ? 0 : NAN;
    }
    store_rows(s, y, first, rows, sum, 1, sums, p->width);
}

static void forward(const struct attention_shape *s, const void *q, const void *k, const void *v, void *y,
                    float *lse, void *scratch, int threads)
{
    struct forward_parts p = forward_parts(s);
    int64_t heads = s->n * s->heads, blocks = (s->tq + QUERIES - 1) / QUERIES;
    /* Many heads: a thread takes whole ones and packs their keys once. Few: it takes a share of the queries.
     */
    int64_t shares =
        heads % threads == 0 || heads >= 8 * threads ? 1 : at_most((8 * threads + heads - 1) / heads, blocks);
#pragma omp parallel num_threads(threads)
    {
        float *mem = (float *)scratch + omp_get_thread_num() * p.end;
        int64_t packed = -1;
#pragma omp for schedule(dynamic)
        for (int64_t unit = 0; unit < heads * shares; unit++) {
            int64_t head = unit / shares, share = unit % shares, n = head / s->heads,
                    column = head % s->heads * s->d;
            int64_t from_key = n * s->tk * s->heads * s->d + column, stride = s->heads * s->d;
            if (head != packed)
                for (int64_t b = 0; b < s->tk; b += KEYS) {
                    int64_t rows = at_most(s->tk - b, KEYS);
                    /* the values' place takes the keys first, to be transposed from there */
                    float *values = mem + p.values + b * p.width;
                    load_rows(s, k, from_key + b * stride, rows, 1, values, p.width);
                    transpose_to_panels(values, rows, p.width, s->d, mem + p.keys + b * s->d);
                    load_rows(s, v, from_key + b * stride, rows, 1, values, p.width);
                }
            packed = head;
            int64_t end = at_most((share + 1) * blocks / shares * QUERIES, s->tq);
            for (int64_t i = share * blocks / shares * QUERIES; i < end; i += QUERIES)
                forward_block(s, &p, mem, q, n, (n * s->tq + i) * stride + column, i, at_most(end - i, QUERIES),
                              y, lse + head * s->tq + i);
        }
    }
}

struct backward_parts {
    int64_t width, q, dy, dq, delta, lse, keys, keys_across, values_across, dk, dv, p, ds, end;
};

static struct backward_parts backward_parts(const struct attention_shape *s)
{
    int64_t width = round_up(s->d, W), queries = round_up(s->tq * width, 16), keys = KEYS_BACK * width;
    struct backward_parts p = { .width = width };
    p.dy = p.q + queries;
    p.dq = p.dy + queries;
    p.delta = p.dq + queries;
    p.lse = p.delta + round_up(s->tq, 16);
    p.keys = p.lse + round_up(s->tq, 16);
    p.keys_across = p.keys + keys;
    p.values_across = p.keys_across + keys;
    p.dk = p.values_across + keys;
    p.dv = p.dk + keys;
    p.p = p.dv + keys;
    p.ds = p.p + QUERIES_BACK * KEYS_BACK;
    p.end = p.ds + QUERIES_BACK * KEYS_BACK + 16;
    return p;
}

static size_t backward_scratch(const struct attention_shape *s, int threads)
{
    return (size_t)backward_parts(s).end * sizeof(float) * (size_t)threads;
}

/* Inputs and outputs of the gradient, as the caller gave them. */
struct gradient {
    const void *q, *k, *v, *y, *dy;
    const float *lse;
    void *dq, *dk, *dv;
};

/* P and dS for some queries (from query i on) and keys (from key k on); scores and dP come in their places.
 */
static void probabilities(const struct attention_shape *s, int64_t n, int64_t i, int64_t rows, int64_t k,
                          int64_t count, const float *lse, const float *delta, float *p, float *ds)
{
    for (int64_t r = 0; r < rows; r++, p += KEYS_BACK, ds += KEYS_BACK) {
        struct attention_keys seen = attention_keys(s, n, i + r, k, count);
        int64_t width = round_up(count, W);
        for (int64_t j = seen.begin / W * W; j < round_up(seen.end, W); j += W) {
            VECTOR e = exp2_of(load(p + j) - lse[r]);
            store(p + j, e);
            store(ds + j, e * (load(ds + j) - delta[r]));
        }
        for (int64_t j = 0; j < seen.begin; j++)
            p[j] = ds[j] = 0;
        for (int64_t j = seen.end; j < width; j++)
            p[j] = ds[j] = 0;
    }
}

/* One head: dq of queries q_begin .. q_end - 1 and, if wanted, dk and dv of keys k_begin .. k_end - 1; these
 * ranges are also what the sums run over, so one of the two is everything. */
static void backward_head(const struct attention_shape *s, const struct backward_parts *at, float *mem,
                          const struct gradient *g, int64_t head, int64_t q_begin, int64_t q_end,
                          int64_t k_begin, int64_t k_end, bool want_q, bool want_k)
{
    int64_t n = head / s->heads, column = head % s->heads * s->d, stride = s->heads * s->d, width = at->width;
    int64_t from_query = n * s->tq * stride + column, from_key = n * s->tk * stride + column;
    float *q = mem + at->q, *dy = mem + at->dy, *dq = mem + at->dq, *delta = mem + at->delta,
          *lse = mem + at->lse;
    float *keys = mem + at->keys, *keys_across = mem + at->keys_across,
          *values_across = mem + at->values_across;
    float *dk = mem + at->dk, *dv = mem + at->dv, *p = mem + at->p, *ds = mem + at->ds;
    int64_t rows = q_end - q_begin;

    load_rows(s, g->q, from_query + q_begin * stride, rows, s->scale * LOG2_E, q, width);
    load_rows(s, g->dy, from_query + q_begin * stride, rows, 1, dy, width);
    load_rows(s, g->y, from_query + q_begin * stride, rows, 1, dq, width); /* y only until delta is known */
    for (int64_t i = 0; i < rows; i++) {
        VECTOR sum = all(0);
        for (int64_t j = 0; j < width; j += W)
            sum += load(dq + i * width + j) * load(dy + i * width + j);
        delta[i] = total(sum);
        lse[i] = g->lse[head * s->tq + q_begin + i] * LOG2_E;
    }
    if (want_q)
        memset(dq, 0, sizeof(float) * (size_t)(rows * width));

    for (int64_t k = k_begin; k < k_end; k += KEYS_BACK) {
        int64_t count = at_most(k_end - k, KEYS_BACK), wide = round_up(count, W);
        load_rows(s, g->v, from_key + k * stride, count, 1, keys, width);
        transpose_to_panels(keys, count, width, s->d, values_across);
        load_rows(s, g->k, from_key + k * stride, count, 1, keys, width);
        transpose_to_panels(keys, count, width, s->d, keys_across);
        if (want_k) {
            memset(dk, 0, sizeof(float) * (size_t)(count * width));
            memset(dv, 0, sizeof(float) * (size_t)(count * width));
        }
        for (int64_t i = 0; i < rows; i += QUERIES_BACK) {
            int64_t some = at_most(rows - i, QUERIES_BACK);
            if (!attention_keys_of_rows(s, n, q_begin + i, some, k, count).end)
                continue;
            multiply(false, some, wide, s->d, q + i * width, width,
                     (struct panels){ keys_across, NR, NR * s->d }, p, KEYS_BACK, false);
            multiply(false, some, wide, s->d, dy + i * width, width,
                     (struct panels){ values_across, NR, NR * s->d }, ds, KEYS_BACK, false);
            probabilities(s, n, q_begin + i, some, k, count, lse + i, delta + i, p, ds);
            if (want_k) {
                multiply(true, count, width, some, p, KEYS_BACK, (struct panels){ dy + i * width, width, NR },
                         dv, width, true);
                multiply(true, count, width, some, ds, KEYS_BACK, (struct panels){ q + i * width, width, NR },
                         dk, width, true);
            }
            if (want_q)
                multiply(false, some, width, count, ds, KEYS_BACK, (struct panels){ keys, width, NR },
                         dq + i * width, width, true);
        }
        if (want_k) { /* q had scale log2(e) in it */
            store_rows(s, g->dk, from_key + k * stride, count, NULL, LN_2, dk, width);
            store_rows(s, g->dv, from_key + k * stride, count, NULL, 1, dv, width);
        }
    }
    if (want_q)
        store_rows(s, g->dq, from_query + q_begin * stride, rows, NULL, s->scale, dq, width);
}

static void backward(const struct attention_shape *s, const void *q, const void *k, const void *v,
                     const void *y, const float *lse, const void *dy, void *dq, void *dk, void *dv,
                     void *scratch, int threads)
{
    struct backward_parts p = backward_parts(s);
    struct gradient g = { q, k, v, y, dy, lse, dq, dk, dv };
    int64_t heads = s->n * s->heads;
    int64_t parts = heads % threads == 0 || heads >= 4 * threads ? 1 : (4 * threads + heads - 1) / heads;
    /* Whole blocks, as half a block costs nearly as much. Sums run across a share, so its borders do not
     * change them. */
    int64_t k_share = round_up((s->tk + parts - 1) / parts, KEYS_BACK);
    int64_t q_share = round_up((s->tq + parts - 1) / parts, QUERIES_BACK);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t unit = 0; unit < heads * (parts == 1 ? 1 : 2 * parts); unit++) {
        float *mem = (float *)scratch + omp_get_thread_num() * p.end;
        if (parts == 1) {
            backward_head(s, &p, mem, &g, unit, 0, s->tq, 0, s->tk, true, true);
        } else if (unit < heads * parts) {
            int64_t begin = unit % parts * k_share;
            if (begin < s->tk)
                backward_head(s, &p, mem, &g, unit / parts, 0, s->tq, begin, at_most(begin + k_share, s->tk),
                              false, true);
        } else {
            int64_t begin = unit % parts * q_share;
            if (begin < s->tq)
                backward_head(s, &p, mem, &g, unit / parts - heads, begin, at_most(begin + q_share, s->tq), 0,
                              s->tk, true, false);
        }
    }
}

#define NAME_(isa) #isa
#define NAME(isa) NAME_(isa)
const struct attention_kernels GLUE(attention, ISA) = {
    .name = NAME(ISA),
    .forward_scratch = forward_scratch,
    .forward = forward,
    .backward_scratch = backward_scratch,
    .backward = backward,
};
