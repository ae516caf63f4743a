/* Noise of a Brownian motion that depends on the seed and the time alone, not on which times were asked
 * before: the dyadic tree of torchsde.BrownianTree (Li et al. 2020, "Scalable Gradients for Stochastic
 * Differential Equations"), with the random numbers it takes: numpy's SeedSequence of pool size 24 gives each
 * node a seed for torch's generator. Times are rounded to six decimals, as torchsde does with its tolerance
 * 1e-6. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sampler/sampler_internal.h"

#define POOL 24

/* --- numpy.random.SeedSequence: Melissa O'Neill's seed_seq_fe --- */

static uint32_t hash_in(uint32_t v, uint32_t *constant)
{
    v ^= *constant;
    *constant *= 0x931E8875;
    v *= *constant;
    return v ^ v >> 16;
}

static uint32_t mix_in(uint32_t x, uint32_t y)
{
    uint32_t v = 0xCA01F9DD * x - 0x4973F715 * y;
    return v ^ v >> 16;
}

/* Appends v as 32-bit words, lowest first, at least one. */
static size_t append_words(uint32_t *words, size_t count, uint64_t v)
{
    words[count++] = (uint32_t)v;
    if (v >> 32)
        words[count++] = (uint32_t)(v >> 32);
    return count;
}

/* The first word of generate_state for this entropy and, unless it is the top of the tree, spawn_key (key,
 * depth). */
static uint32_t node_seed(uint64_t entropy, bool top, uint64_t key, uint64_t depth)
{
    uint32_t words[POOL + 4] = { 0 }, pool[POOL];
    size_t count = append_words(words, 0, entropy);
    if (!top) {
        count = append_words(words, POOL, key);
        count = append_words(words, count, depth);
    }
    uint32_t constant = 0x43B0D7E5;
    for (size_t i = 0; i < POOL; i++)
        pool[i] = hash_in(words[i], &constant);
    for (size_t from = 0; from < POOL; from++)
        for (size_t to = 0; to < POOL; to++)
            if (from != to)
                pool[to] = mix_in(pool[to], hash_in(pool[from], &constant));
    for (size_t from = POOL; from < count; from++)
        for (size_t to = 0; to < POOL; to++)
            pool[to] = mix_in(pool[to], hash_in(words[from], &constant));
    uint32_t out = pool[0] ^ 0x8B51F9DD;
    out *= (uint32_t)(0x8B51F9DDull * 0x58F38DED);
    return out ^ out >> 16;
}

/* --- the tree --- */

/* Python's round(v, 6): through the decimal text, halves to even as printf rounds exact binary values. */
static double six_decimals(double v)
{
    char text[400];
    snprintf(text, sizeof text, "%.6f", v);
    return strtod(text, NULL);
}

struct walk {
    uint64_t entropy;
    bool cuda;
    double from, to; /* rounded */
    float *out;
    size_t count;
};

static void normals(uint32_t seed, bool cuda, float *out, size_t count)
{
    struct torch_random r;
    if (cuda)
        torch_random_seed_cuda(&r, seed);
    else
        torch_random_seed(&r, seed);
    torch_random_normal(&r, out, count);
}

/* Adds to w->out the increments of the largest nodes that make up [from, to] within this node; `whole` is the
 * node's own increment. The depth is bounded by the rounding: a node of 1e-6 is always asked for as a whole.
 */
MUST_USE static bool descend(const struct walk *w, double start, double end, uint64_t key, uint64_t depth,
                             const float *whole, struct err *e)
{
    if (w->from <= start && w->to >= end) {
        for (size_t i = 0; i < w->count; i++)
            w->out[i] += whole[i];
        return true;
    }
    double middle = six_decimals(0.5 * (end + start));
    if (!(middle > start && middle < end))
        return true;
    float *part = mem_aligned(sizeof(float) * w->count);
    if (!part)
        return err_nomem(e, "a Brownian tree");
    normals(node_seed(w->entropy, false, key, depth), w->cuda, part, w->count);
    double left = middle - start, right = end - middle, part_left = 1 / (end - start);
    double deviation = sqrt(left * right * part_left);
    for (size_t i = 0; i < w->count; i++)
        part[i] = (float)(left * (double)whole[i] * part_left + deviation * (double)part[i]);
    bool ok = w->from >= middle || descend(w, start, middle, 2 * key, depth + 1, part, e);
    if (ok && w->to > middle) {
        for (size_t i = 0; i < w->count; i++)
            part[i] = whole[i] - part[i];
        ok = descend(w, middle, end, 2 * key + 1, depth + 1, part, e);
    }
    mem_free(part);
    return ok;
}

bool brownian_increment(uint64_t seed, bool cuda, double t0, double t1, double from, double to, float *out,
                        size_t count, struct err *e)
{
    double start = six_decimals(t0), end = six_decimals(t1);
    struct walk w = { .entropy = seed,
                      .cuda = cuda,
                      .from = fmax(six_decimals(from), start),
                      .to = fmin(six_decimals(to), end),
                      .out = out,
                      .count = count };
    for (size_t i = 0; i < count; i++)
        out[i] = 0;
    if (!(w.to > w.from))
        return true;
    float *whole = mem_aligned(sizeof(float) * count);
    if (!whole)
        return err_nomem(e, "a Brownian tree");
    normals(node_seed(seed, true, 0, 0), cuda, whole, count);
    double deviation = sqrt(t1 - t0);
    for (size_t i = 0; i < count; i++)
        whole[i] = (float)((double)whole[i] * deviation);
    bool ok = descend(&w, start, end, 0, 0, whole, e);
    mem_free(whole);
    return ok;
}
