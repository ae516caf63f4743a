/* Attention in bf16 for processors that multiply bf16: as attention.c, with the products on tiles
 * (attention_tiles.h). Compiled for the kinds bf16 and amx.
 *
 * The gradient works on transposed scores, S' = K Q' with a row per key: P' and dS' then come out as the left
 * operand of dV += P' dY and dK += dS' Q, and dQ' += K' dS' takes dS' as the right one. */
#if defined ISA_bf16 || defined ISA_amx

#include "backend/cpu/kernels/attention.h"

#include <math.h>
#include <omp.h>

#include "backend/cpu/kernels/attention_tiles.h"

enum { QUERIES = 32, KEYS = 256, QUERIES_BACK = 128, KEYS_BACK = 128 };

static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

static int64_t in_parts(int64_t x, int64_t part)
{
    return (x + part - 1) / part;
}

static int64_t at_most(int64_t x, int64_t limit)
{
    return x < limit ? x : limit;
}

/* Rows first .. first + rows - 1 of a head of an array whose batches have `tokens` rows. */
static struct slice head_slice(const struct attention_shape *s, const void *x, int64_t tokens, int64_t head,
                               int64_t first, int64_t rows)
{
    int64_t stride = s->heads * s->d;
    return (struct slice){ (const uint16_t *)x + (head / s->heads * tokens + first) * stride +
                               head % s->heads * s->d,
                           stride, rows, s->d };
}

/* Line r of the tiles at `scores` (KEYS wide): P = exp2(factor (score - max)), written as the left operand of
 * a product over the tiles that were read already. The keys of `seen` count, the rest up to width (a multiple
 * of 32) become 0. */
INLINE float softmax_line(float *scores, int64_t r, struct attention_keys seen, int64_t width, float factor,
                          float *max, float *sum)
{
    float *line = scores + 16 * r;
    uint16_t *p = (uint16_t *)scores + 32 * r;
    int64_t whole = in_parts(seen.end, 32) * 32;
    for (int64_t j = 0; j < seen.begin; j += 16) {
        float *at = line + j / 16 * TILE_F32;
        _mm512_store_ps(at, _mm512_mask_load_ps(_mm512_set1_ps(-INFINITY), (__mmask16)~first_of_16(seen.begin - j), at));
    }
    for (int64_t j = seen.end / 16 * 16; j < whole; j += 16) {
        float *at = line + j / 16 * TILE_F32;
        _mm512_store_ps(at, _mm512_mask_load_ps(_mm512_set1_ps(-INFINITY), first_of_16(seen.end - j), at));
    }
    float rescale = 1;
    if (whole) {
        __m512 most = _mm512_set1_ps(-INFINITY), more = most;
        for (int64_t j = 0; j < whole; j += 32) {
            most = _mm512_max_ps(most, _mm512_load_ps(line + j / 16 * TILE_F32));
            more = _mm512_max_ps(more, _mm512_load_ps(line + j / 16 * TILE_F32 + TILE_F32));
        }
        float m = _mm512_reduce_max_ps(_mm512_max_ps(most, more)) * factor;
        m = m > *max ? m : *max;
        rescale = *max == m ? 1 : exp2f(*max - m);
        __m512 by = _mm512_set1_ps(factor), minus = _mm512_set1_ps(-m);
        __m512 add = _mm512_setzero_ps(), more_add = add;
        for (int64_t j = 0; j < whole; j += 32) {
            const float *at = line + j / 16 * TILE_F32;
            __m512 a = exp2_cubic(_mm512_fmadd_ps(_mm512_load_ps(at), by, minus));
            __m512 b = exp2_cubic(_mm512_fmadd_ps(_mm512_load_ps(at + TILE_F32), by, minus));
            add = _mm512_add_ps(add, a);
            more_add = _mm512_add_ps(more_add, b);
            _mm512_store_si512(p + j / 32 * TILE_BF16, (__m512i)_mm512_cvtne2ps_pbh(b, a));
        }
        *sum = *sum * rescale + _mm512_reduce_add_ps(_mm512_add_ps(add, more_add));
        *max = m;
    }
    for (int64_t j = whole; j < width; j += 32)
        _mm512_store_si512(p + j / 32 * TILE_BF16, _mm512_setzero_si512());
    return rescale;
}

/* What a head needs in tiles, and where the parts of a thread's scratch lie, in bytes. */
struct forward_parts {
    int64_t steps, columns16, keys32; /* d in 32s and in 16s, keys in 32s */
    int64_t keys, values, queries, scores, sums, end;
};

static struct forward_parts forward_parts(const struct attention_shape *s)
{
    struct forward_parts p = {
        in_parts(s->d, 32), in_parts(s->d, 16), in_parts(s->tk, 32), 0, 0, 0, 0, 0, 0
    };
    p.values = p.keys32 * 2 * p.steps * 1024;
    p.queries = p.values + p.keys32 * p.columns16 * 1024;
    p.scores = p.queries + 2 * p.steps * 1024;
    p.sums = p.scores + 2 * (KEYS / 16) * 1024;
    p.end = p.sums + 2 * p.columns16 * 1024 + 64;
    return p;
}

static size_t forward_scratch(const struct attention_shape *s, int threads)
{
    return (size_t)forward_parts(s).end * (size_t)threads;
}

static void forward_block(const struct attention_shape *s, const struct forward_parts *p, char *mem,
                          const void *q, int64_t head, int64_t begin, int64_t rows, void *y, float *lse)
{
    float max[QUERIES], sum[QUERIES], factor = s->scale * LOG2_E;
    uint16_t *queries = (uint16_t *)(mem + p->queries);
    const uint16_t *keys = (const uint16_t *)(mem + p->keys), *values = (const uint16_t *)(mem + p->values);
    float *scores = (float *)(mem + p->scores), *sums = (float *)(mem + p->sums);
    for (int r = 0; r < QUERIES; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    pack_rows(queries, head_slice(s, q, s->tq, head, begin, rows), 2, p->steps);
    int64_t n = head / s->heads;
    struct attention_keys all_seen = attention_keys_of_rows(s, n, begin, rows, 0, s->tk);
    int64_t start = all_seen.begin / KEYS * KEYS;
    if (!all_seen.end)
        memset(sums, 0, (size_t)(2 * p->columns16 * 1024));
    for (int64_t k = start; k < all_seen.end; k += KEYS) {
        int64_t count = at_most(all_seen.end - k, KEYS), tiles = in_parts(count, 32);
        tile_product(2, 2 * tiles, p->steps, scores, KEYS / 16, queries, p->steps,
                     keys + k / 16 * p->steps * TILE_BF16, 1, p->steps, false);
        for (int64_t r = 0; r < QUERIES; r++) {
            struct attention_keys seen = { 0, 0 };
            if (r < rows)
                seen = attention_keys(s, n, begin + r, k, count);
            float rescale = softmax_line(scores + r / 16 * (KEYS / 16) * TILE_F32, r % 16, seen, 32 * tiles,
                                         factor, &max[r], &sum[r]);
            if (k > start && rescale != 1)
                for (int64_t j = 0; j < p->columns16; j++) {
                    float *at = sums + (r / 16 * p->columns16 + j) * TILE_F32 + r % 16 * 16;
                    _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), _mm512_set1_ps(rescale)));
                }
        }
        tile_product(2, p->columns16, tiles, sums, p->columns16, (uint16_t *)scores, KEYS / 16,
                     values + k / 32 * p->columns16 * TILE_BF16, p->columns16, 1, k > start);
    }
    float natural[QUERIES];
    for (int r = 0; r < QUERIES; r++) {
        natural[r] = logf(sum[r]) + max[r] * LN_2; /* of no keys: -infinity twice */
        sum[r] = sum[r] == 0 ? 0 : 1 / sum[r];
    }
    memcpy(lse, natural, sizeof(float) * (size_t)rows);
    struct slice out = head_slice(s, y, s->tq, head, begin, rows);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < p->columns16; j++) {
            __m512 line = _mm512_load_ps(sums + (r / 16 * p->columns16 + j) * TILE_F32 + r % 16 * 16);
            line = _mm512_mul_ps(line, _mm512_set1_ps(sum[r]));
            _mm256_mask_storeu_epi16((uint16_t *)out.data + r * out.stride + 16 * j,
                                     first_of_16(s->d - 16 * j), (__m256i)_mm512_cvtneps_pbh(line));
        }
}

static void forward(const struct attention_shape *s, const void *q, const void *k, const void *v, void *y,
                    float *lse, void *scratch, int threads)
{
    struct forward_parts p = forward_parts(s);
    int64_t heads = s->n * s->heads, blocks = in_parts(s->tq, QUERIES);
    /* Many heads: a thread takes whole ones and packs their keys once. Few: it takes a share of the queries.
     */
    int64_t shares =
        heads % threads == 0 || heads >= 8 * threads ? 1 : at_most(in_parts(8 * threads, heads), blocks);
#pragma omp parallel num_threads(threads)
    {
        struct tile_settings before;
        tiles_begin(&before);
        char *mem = (char *)scratch + omp_get_thread_num() * p.end;
        int64_t packed = -1;
#pragma omp for schedule(dynamic)
        for (int64_t unit = 0; unit < heads * shares; unit++) {
            int64_t head = unit / shares, share = unit % shares;
            if (head != packed) {
                pack_across((uint16_t *)(mem + p.keys), head_slice(s, k, s->tk, head, 0, s->tk), 2 * p.keys32,
                            p.steps);
                pack_pairs((uint16_t *)(mem + p.values), head_slice(s, v, s->tk, head, 0, s->tk), p.keys32,
                           p.columns16);
            }
            packed = head;
            int64_t end = at_most((share + 1) * blocks / shares * QUERIES, s->tq);
            for (int64_t i = share * blocks / shares * QUERIES; i < end; i += QUERIES)
                forward_block(s, &p, mem, q, head, i, at_most(end - i, QUERIES), y, lse + head * s->tq + i);
        }
        tiles_end(&before);
    }
}

struct backward_parts {
    int64_t steps, columns16, queries32; /* d in 32s and in 16s, queries in 32s */
    int64_t q_across, q_pairs, dy_across, dy_pairs, dq, delta, lse, keys, keys_columns, values, dk, dv, p, ds,
        ds_pairs, squares, end;
};

static struct backward_parts backward_parts(const struct attention_shape *s)
{
    struct backward_parts p = { .steps = in_parts(s->d, 32),
                                .columns16 = in_parts(s->d, 16),
                                .queries32 = in_parts(s->tq, 32) };
    int64_t across = p.queries32 * 2 * p.steps * 1024, pairs = p.queries32 * p.columns16 * 1024;
    enum { BLOCK = QUERIES_BACK * KEYS_BACK * 2 };
    p.q_pairs = p.q_across + across;
    p.dy_across = p.q_pairs + pairs;
    p.dy_pairs = p.dy_across + across;
    p.dq = p.dy_pairs + pairs;
    p.delta = p.dq + 2 * pairs;
    p.lse = p.delta + p.queries32 * 128;
    p.keys = p.lse + p.queries32 * 128;
    p.values = p.keys + KEYS_BACK / 16 * p.steps * 1024;
    p.keys_columns = p.values + KEYS_BACK / 16 * p.steps * 1024;
    p.dk = p.keys_columns + KEYS_BACK / 32 * p.columns16 * 1024;
    p.dv = p.dk + KEYS_BACK / 16 * p.columns16 * 1024;
    p.p = p.dv + KEYS_BACK / 16 * p.columns16 * 1024;
    p.ds = p.p + BLOCK;
    p.ds_pairs = p.ds + BLOCK;
    p.squares = p.ds_pairs + BLOCK;
    p.end = p.squares + 2 * 8 * 1024 + 64;
    return p;
}

static size_t backward_scratch(const struct attention_shape *s, int threads)
{
    return (size_t)backward_parts(s).end * (size_t)threads;
}

/* Inputs and outputs of the gradient, as the caller gave them. */
struct gradient {
    const void *q, *k, *v, *y, *dy;
    const float *lse;
    void *dq, *dk, *dv;
};

/* From S' and dP' of 32 keys x 32 queries (four tiles each): P' and dS' as left operands (tiles `row` apart),
 * and dS' as right operand in two tiles. In those, queries come in another order: word c of the first tile is
 * query 8 (c / 4) + c % 4, of the second 4 more (order_of_queries). */
INLINE void square_gradient(const float *s, const float *dp, float factor, const float *lse,
                            const float *delta, const bool masked, const __mmask16 (*seen)[2], uint16_t *p,
                            uint16_t *ds, int64_t row, uint16_t *ds_pairs)
{
    __m512 by = _mm512_set1_ps(factor);
    __m512 lse0 = _mm512_load_ps(lse), lse1 = _mm512_load_ps(lse + 16);
    __m512 delta0 = _mm512_load_ps(delta), delta1 = _mm512_load_ps(delta + 16);
    for (int i = 0; i < 2; i++)
        for (int r = 0; r < 16; r += 2) {
            __m512i two[2];
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int64_t at = 2 * i * TILE_F32 + 16 * (r + j), to = i * row * TILE_BF16 + 32 * (r + j);
                __m512 p0 = exp2_cubic(_mm512_fmsub_ps(_mm512_load_ps(s + at), by, lse0));
                __m512 p1 = exp2_cubic(_mm512_fmsub_ps(_mm512_load_ps(s + at + TILE_F32), by, lse1));
                if (masked) {
                    p0 = _mm512_maskz_mov_ps(seen[16 * i + r + j][0], p0);
                    p1 = _mm512_maskz_mov_ps(seen[16 * i + r + j][1], p1);
                }
                __m512 ds0 = _mm512_mul_ps(p0, _mm512_sub_ps(_mm512_load_ps(dp + at), delta0));
                __m512 ds1 = _mm512_mul_ps(p1, _mm512_sub_ps(_mm512_load_ps(dp + at + TILE_F32), delta1));
                _mm512_store_si512(p + to, (__m512i)_mm512_cvtne2ps_pbh(p1, p0));
                two[j] = (__m512i)_mm512_cvtne2ps_pbh(ds1, ds0);
                _mm512_store_si512(ds + to, two[j]);
            }
            int64_t line = (16 * i + r) / 2 * 32;
            _mm512_store_si512(ds_pairs + line, _mm512_unpacklo_epi16(two[0], two[1]));
            _mm512_store_si512(ds_pairs + TILE_BF16 + line, _mm512_unpackhi_epi16(two[0], two[1]));
        }
}

static int64_t order_of_queries(int64_t word)
{
    return 8 * (word / 4) + word % 4;
}

/* P', dS' for `rows` queries of batch row `batch` from query i (relative to q_begin: from_i) and `count` keys from k. */
static void probabilities(const struct attention_shape *s, const struct backward_parts *at, char *mem, int64_t batch,
                          int64_t i, int64_t from_i, int64_t queries32, int64_t k, int64_t count)
{
    const uint16_t *keys = (uint16_t *)(mem + at->keys), *values = (uint16_t *)(mem + at->values);
    const uint16_t *q = (uint16_t *)(mem + at->q_across) + from_i / 16 * at->steps * TILE_BF16;
    const uint16_t *dy = (uint16_t *)(mem + at->dy_across) + from_i / 16 * at->steps * TILE_BF16;
    const float *lse = (float *)(mem + at->lse) + from_i, *delta = (float *)(mem + at->delta) + from_i;
    uint16_t *p = (uint16_t *)(mem + at->p), *ds = (uint16_t *)(mem + at->ds);
    uint16_t *ds_pairs = (uint16_t *)(mem + at->ds_pairs);
    float factor = s->scale * LOG2_E;
    enum { ROW = QUERIES_BACK / 32 };
    int64_t squares = in_parts(count, 32) * queries32;
    /* The tile unit makes a square while the vector unit works on the one before. */
    for (int64_t n = 0; n <= squares; n++) {
        if (n < squares) {
            int64_t kk = n / queries32, ii = n % queries32;
            float *square = (float *)(mem + at->squares) + n % 2 * 8 * TILE_F32;
            tile_square(true, true, at->steps, square, 2, keys + 2 * kk * at->steps * TILE_BF16, at->steps,
                        q + 2 * ii * at->steps * TILE_BF16, 1, at->steps, false);
            tile_square(true, true, at->steps, square + 4 * TILE_F32, 2,
                        values + 2 * kk * at->steps * TILE_BF16, at->steps,
                        dy + 2 * ii * at->steps * TILE_BF16, 1, at->steps, false);
        }
        if (!n)
            continue;
        int64_t kk = (n - 1) / queries32, ii = (n - 1) % queries32;
        const float *square = (float *)(mem + at->squares) + (n - 1) % 2 * 8 * TILE_F32;
        uint16_t *to_p = p + (2 * kk * ROW + ii) * TILE_BF16, *to_ds = ds + (2 * kk * ROW + ii) * TILE_BF16;
        uint16_t *to_pairs = ds_pairs + (kk * 2 * ROW + 2 * ii) * TILE_BF16;
        int64_t first =
            i + 32 * ii + s->tk - s->tq; /* the last key that the square's first query sees, if causal */
        int64_t pads = s->pads ? s->pads[batch] : 0;
        if (count - 32 * kk >= 32 && (!s->causal || first >= k + 32 * kk + 31) && k + 32 * kk >= pads) {
            square_gradient(square, square + 4 * TILE_F32, factor, lse + 32 * ii, delta + 32 * ii, false,
                            NULL, to_p, to_ds, ROW, to_pairs);
            continue;
        }
        __mmask16 seen[32][2];
        for (int64_t r = 0; r < 32; r++)
            for (int64_t half = 0; half < 2; half++) {
                int64_t key = k + 32 * kk + r, token = first + 16 * half; /* of the half's first query */
                int64_t late = key < pads ? 16 : s->causal ? key - token : 0; /* queries that come too early */
                __mmask16 see = (__mmask16)(~first_of_16(late) | first_of_16(pads - token));
                seen[r][half] = 32 * kk + r < count ? see : 0;
            }
        square_gradient(square, square + 4 * TILE_F32, factor, lse + 32 * ii, delta + 32 * ii, true,
                        (const __mmask16(*)[2])seen, to_p, to_ds, ROW, to_pairs);
    }
}

/* Rows of f32 tiles -> bf16 rows, multiplied by factor. */
static void store_tiles(struct slice out, const float *tiles, int64_t columns16, float factor)
{
    for (int64_t j = 0; j < columns16; j++) {
        __mmask16 columns = first_of_16(out.d - 16 * j);
        for (int64_t r = 0; r < out.rows; r++) {
            __m512 line = _mm512_load_ps(tiles + (r / 16 * columns16 + j) * TILE_F32 + r % 16 * 16);
            _mm256_mask_storeu_epi16(
                (uint16_t *)out.data + r * out.stride + 16 * j, columns,
                (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(line, _mm512_set1_ps(factor))));
        }
    }
}

/* dQ' [columns16][queries16] in the order of square_gradient -> rows of dq. */
static void store_queries(struct slice out, const float *tiles, int64_t columns16, int64_t queries16,
                          float factor)
{
    for (int64_t i = 0; i < queries16; i++)
        for (int64_t j = 0; j < columns16; j++) {
            __mmask16 columns = first_of_16(out.d - 16 * j);
            const float *tile = tiles + (j * queries16 + i) * TILE_F32;
            __m512i t[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                t[r] = _mm512_load_si512(tile + 16 * r);
            transpose_words(t);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int64_t row = i / 2 * 32 + i % 2 * 4 + order_of_queries(r);
                if (row < out.rows)
                    _mm256_mask_storeu_epi16(
                        (uint16_t *)out.data + row * out.stride + 16 * j, columns,
                        (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps((__m512)t[r], _mm512_set1_ps(factor))));
            }
        }
}

/* delta = rowsum(dy y) and lse in powers of two; a query that does not exist or sees nothing gets lse =
 * infinity, and with it P = 0. */
static void pack_sums(struct slice y, struct slice dy, const float *lse, int64_t queries32, float *to_delta,
                      float *to_lse)
{
    for (int64_t r = 0; r < queries32 * 32; r++) {
        __m512 sum = _mm512_setzero_ps();
        for (int64_t j = 0; r < y.rows && j < y.d; j += 16) {
            __mmask16 columns = first_of_16(y.d - j);
            __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, y.data + r * y.stride + j));
            __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, dy.data + r * dy.stride + j));
            sum = _mm512_fmadd_ps((__m512)_mm512_slli_epi32(a, 16), (__m512)_mm512_slli_epi32(b, 16), sum);
        }
        to_delta[r] = _mm512_reduce_add_ps(sum);
        to_lse[r] = r >= y.rows || lse[r] == -INFINITY ? INFINITY : lse[r] * LOG2_E;
    }
}

/* One head: dq of queries q_begin .. q_end - 1 and, if wanted, dk and dv of keys k_begin .. k_end - 1; these
 * ranges are also what the sums run over, so one of the two is everything. */
static void backward_head(const struct attention_shape *s, const struct backward_parts *at, char *mem,
                          const struct gradient *g, int64_t head, int64_t q_begin, int64_t q_end,
                          int64_t k_begin, int64_t k_end, bool want_q, bool want_k)
{
    uint16_t *q_pairs = (uint16_t *)(mem + at->q_pairs), *dy_pairs = (uint16_t *)(mem + at->dy_pairs);
    float *dq = (float *)(mem + at->dq), *dk = (float *)(mem + at->dk), *dv = (float *)(mem + at->dv);
    const uint16_t *p = (uint16_t *)(mem + at->p), *ds = (uint16_t *)(mem + at->ds);
    const uint16_t *ds_pairs = (uint16_t *)(mem + at->ds_pairs),
                   *keys_columns = (uint16_t *)(mem + at->keys_columns);
    int64_t rows = q_end - q_begin, queries32 = in_parts(rows, 32), c16 = at->columns16;
    struct slice q = head_slice(s, g->q, s->tq, head, q_begin, rows),
                 dy = head_slice(s, g->dy, s->tq, head, q_begin, rows);

    pack_across((uint16_t *)(mem + at->q_across), q, 2 * queries32, at->steps);
    pack_across((uint16_t *)(mem + at->dy_across), dy, 2 * queries32, at->steps);
    if (want_k) {
        pack_pairs(q_pairs, q, queries32, c16);
        pack_pairs(dy_pairs, dy, queries32, c16);
    }
    pack_sums(head_slice(s, g->y, s->tq, head, q_begin, rows), dy, g->lse + head * s->tq + q_begin, queries32,
              (float *)(mem + at->delta), (float *)(mem + at->lse));
    bool left_out = s->causal || s->pads; /* some blocks may be; otherwise the first product of each sum starts it */
    if (want_q && left_out)
        memset(dq, 0, (size_t)(queries32 * 2 * c16 * 1024));

    enum { ROW = QUERIES_BACK / 32 };
    for (int64_t k = k_begin; k < k_end; k += KEYS_BACK) {
        int64_t count = at_most(k_end - k, KEYS_BACK), keys32 = in_parts(count, 32);
        struct slice keys = head_slice(s, g->k, s->tk, head, k, count);
        pack_rows((uint16_t *)(mem + at->keys), keys, 2 * keys32, at->steps);
        pack_rows((uint16_t *)(mem + at->values), head_slice(s, g->v, s->tk, head, k, count), 2 * keys32,
                  at->steps);
        if (want_q)
            pack_columns((uint16_t *)(mem + at->keys_columns), keys, keys32, c16);
        if (want_k && left_out) {
            memset(dk, 0, (size_t)(2 * keys32 * c16 * 1024));
            memset(dv, 0, (size_t)(2 * keys32 * c16 * 1024));
        }
        for (int64_t i = 0; i < rows; i += QUERIES_BACK) {
            int64_t some = at_most(rows - i, QUERIES_BACK), some32 = in_parts(some, 32);
            if (!attention_keys_of_rows(s, head / s->heads, q_begin + i, some, k, count).end)
                continue;
            probabilities(s, at, mem, head / s->heads, q_begin + i, i, some32, k, count);
            if (want_k) {
                tile_product(2 * keys32, c16, some32, dv, c16, p, ROW, dy_pairs + i / 32 * c16 * TILE_BF16,
                             c16, 1, left_out || i > 0);
                tile_product(2 * keys32, c16, some32, dk, c16, ds, ROW, q_pairs + i / 32 * c16 * TILE_BF16,
                             c16, 1, left_out || i > 0);
            }
            if (want_q)
                tile_product(c16, 2 * some32, keys32, dq + i / 16 * TILE_F32, 2 * queries32, keys_columns,
                             keys32, ds_pairs, 2 * ROW, 1, left_out || k > k_begin);
        }
        if (want_k) {
            store_tiles(head_slice(s, g->dk, s->tk, head, k, count), dk, c16, s->scale);
            store_tiles(head_slice(s, g->dv, s->tk, head, k, count), dv, c16, 1);
        }
    }
    if (want_q)
        store_queries(head_slice(s, g->dq, s->tq, head, q_begin, rows), dq, c16, 2 * queries32, s->scale);
}

static void backward(const struct attention_shape *s, const void *q, const void *k, const void *v,
                     const void *y, const float *lse, const void *dy, void *dq, void *dk, void *dv,
                     void *scratch, int threads)
{
    struct backward_parts p = backward_parts(s);
    struct gradient g = { q, k, v, y, dy, lse, dq, dk, dv };
    int64_t heads = s->n * s->heads;
    int64_t parts = heads % threads == 0 || heads >= 4 * threads ? 1 : in_parts(4 * threads, heads);
    /* Whole blocks, as half a block costs nearly as much. Sums run across a share, so its borders do not
     * change them. */
    int64_t k_share = in_parts(in_parts(s->tk, parts), KEYS_BACK) * KEYS_BACK;
    int64_t q_share = in_parts(in_parts(s->tq, parts), QUERIES_BACK) * QUERIES_BACK;
#pragma omp parallel num_threads(threads)
    {
        struct tile_settings before;
        tiles_begin(&before);
        char *mem = (char *)scratch + omp_get_thread_num() * p.end;
#pragma omp for schedule(dynamic)
        for (int64_t unit = 0; unit < heads * (parts == 1 ? 1 : 2 * parts); unit++) {
            if (parts == 1) {
                backward_head(s, &p, mem, &g, unit, 0, s->tq, 0, s->tk, true, true);
            } else if (unit < heads * parts) {
                int64_t begin = unit % parts * k_share;
                if (begin < s->tk)
                    backward_head(s, &p, mem, &g, unit / parts, 0, s->tq, begin,
                                  at_most(begin + k_share, s->tk), false, true);
            } else {
                int64_t begin = unit % parts * q_share;
                if (begin < s->tq)
                    backward_head(s, &p, mem, &g, unit / parts - heads, begin,
                                  at_most(begin + q_share, s->tq), 0, s->tk, true, false);
            }
        }
        tiles_end(&before);
    }
}

#ifdef ISA_amx
#define KERNELS attention_tiles_amx
#define NAME "tiles, amx"
#else
#define KERNELS attention_tiles_bf16
#define NAME "tiles, bf16"
#endif
const struct attention_kernels KERNELS = {
    .name = NAME,
    .forward_scratch = forward_scratch,
    .forward = forward,
    .backward_scratch = backward_scratch,
    .backward = backward,
};

#endif
