#include "tensor/quant.h"

#include <math.h>

#include "tensor/quant_blocks.h"

static const struct { void (*unpack)(float *y, const uint8_t *block); int scale_at[2]; } quants[DTYPE_COUNT] = {
#define X(type, tail, first, second) [type] = { unpack_##tail, { first, second } },
    QUANT_TABLE(X)
#undef X
};

void quant_unpack(float *y, const void *blocks, enum dtype t, int64_t count)
{
    int64_t n = dtype_block(t);
    size_t bytes = dtype_block_bytes(t);
    const uint8_t *b = blocks;
    for (int64_t i = 0; i < count; i += n, b += bytes)
        quants[t].unpack(y + i, b);
}

double quant_load(const void *blocks, enum dtype t, int64_t index)
{
    float numbers[QUANT_MOST];
    int64_t n = dtype_block(t), block = index / n;
    quants[t].unpack(numbers, (const uint8_t *)blocks + dtype_span(t, block * n));
    return numbers[index % n];
}

int64_t quant_first_not_finite(const void *blocks, enum dtype t, int64_t count)
{
    const uint8_t *b = blocks;
    size_t bytes = dtype_block_bytes(t);
    for (int64_t i = 0; i < count; i++, b += bytes)
        for (int k = 0; k < 2; k++) {
            int at = quants[t].scale_at[k];
            if (at >= 0 && (b[at + 1] & 0x7C) == 0x7C)
                return i;
        }
    return count;
}

/* ---- packing ---- */

static void put_f16(uint8_t *at, float v)
{
    uint16_t h = f32_to_f16(v);
    at[0] = (uint8_t)h;
    at[1] = (uint8_t)(h >> 8);
}

static void pack_q8_0(uint8_t *b, const float *x)
{
    float largest = 0;
    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
    put_f16(b, d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
}

/* The number of the largest size becomes -8, the end with one step more. */
static void pack_q4_0(uint8_t *b, const float *x)
{
    float size = 0, largest = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > size) {
            size = fabsf(x[i]);
            largest = x[i];
        }
    float d = largest / -8, inverse = d != 0 ? 1 / d : 0;
    put_f16(b, d);
    for (int i = 0; i < 16; i++) {
        int low = (int)(x[i] * inverse + 8.5f), high = (int)(x[16 + i] * inverse + 8.5f);
        b[2 + i] = (uint8_t)((low < 15 ? low : 15) | (high < 15 ? high : 15) << 4);
    }
}

/* Rounds to nearest, ties to even. */
static int nearest(float v)
{
    return (int)rintf(v);
}

static int clamp(int v, int most)
{
    return v < 0 ? 0 : v > most ? most : v;
}

/* Scale and minimum for 32 numbers x ~ scale q - least with q in 0..15, and the q. From the range of x on, 21 scales are tried;
 * for each the q are taken and then scale and minimum by weighted least squares; a better fit also moves the minimum that the next
 * tries begin from. The method and the order of sums of ggml's make_qkx2_quants. */
static float fit_group(const float *x, const float *weight, uint8_t *q, float *least)
{
    enum { N = 32, MOST = 15, TRIES = 20 };
    float low = x[0], high = x[0], sum_w = weight[0], sum_x = weight[0] * x[0];
    for (int i = 1; i < N; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum_w += weight[i];
        sum_x += weight[i] * x[i];
    }
    low = low > 0 ? 0 : low;
    if (high == low) {
        memset(q, 0, N);
        *least = -low;
        return 0;
    }
    float step = MOST / (high - low), scale = 1 / step, best = 0;
    for (int i = 0; i < N; i++) {
        q[i] = (uint8_t)clamp(nearest(step * (x[i] - low)), MOST);
        float gap = scale * q[i] + low - x[i];
        best += weight[i] * (gap * gap);
    }
    for (int try = 0; try <= TRIES; try++) {
        uint8_t tried[N];
        float sum_q = 0, sum_qq = 0, sum_xq = 0;
        step = (-1.0f + 0.1f * (float)try + MOST) / (high - low);
        for (int i = 0; i < N; i++) {
            int v = clamp(nearest(step * (x[i] - low)), MOST);
            tried[i] = (uint8_t)v;
            sum_q += weight[i] * (float)v;
            sum_qq += weight[i] * (float)v * (float)v;
            sum_xq += weight[i] * (float)v * x[i];
        }
        float d = sum_w * sum_qq - sum_q * sum_q;
        if (!(d > 0))
            continue;
        float this_scale = (sum_w * sum_xq - sum_x * sum_q) / d, this_low = (sum_qq * sum_x - sum_q * sum_xq) / d;
        if (this_low > 0) {
            this_low = 0;
            this_scale = sum_xq / sum_qq;
        }
        float sum = 0;
        for (int i = 0; i < N; i++) {
            float gap = this_scale * tried[i] + this_low - x[i];
            sum += weight[i] * (gap * gap);
        }
        if (sum < best) {
            memcpy(q, tried, N);
            best = sum;
            scale = this_scale;
            low = this_low;
        }
    }
    *least = -low;
    return scale;
}

static void pack_q4_k(uint8_t *b, const float *x)
{
    uint8_t q[256], *scales = b + 4;
    float scale[8], least[8], most_scale = 0, most_least = 0;
    for (int g = 0; g < 8; g++) {
        float weight[32], sum = 0;
        for (int i = 0; i < 32; i++)
            sum += x[32 * g + i] * x[32 * g + i];
        float size = sqrtf(sum / 32);
        for (int i = 0; i < 32; i++)
            weight[i] = size + fabsf(x[32 * g + i]);
        scale[g] = fit_group(x + 32 * g, weight, q + 32 * g, &least[g]);
        most_scale = scale[g] > most_scale ? scale[g] : most_scale;
        most_least = least[g] > most_least ? least[g] : most_least;
    }
    float scale_step = most_scale > 0 ? 63 / most_scale : 0, least_step = most_least > 0 ? 63 / most_least : 0;
    memset(scales, 0, 12);
    for (int g = 0; g < 8; g++) {
        int s = clamp(nearest(scale_step * scale[g]), 63), l = clamp(nearest(least_step * least[g]), 63);
        if (g < 4) {
            scales[g] = (uint8_t)s;
            scales[4 + g] = (uint8_t)l;
        } else {
            scales[4 + g] = (uint8_t)((s & 15) | (l & 15) << 4);
            scales[g - 4] |= (uint8_t)((s >> 4) << 6);
            scales[g] |= (uint8_t)((l >> 4) << 6);
        }
    }
    put_f16(b, most_scale / 63);
    put_f16(b + 2, most_least / 63);
    float d = quant_scale(b), m = quant_scale(b + 2);
    for (int g = 0; g < 8; g++) { /* the q once more, for the scales as they were rounded */
        int s, l;
        quant_k_scale(scales, g, &s, &l);
        float whole = d * (float)s, down = m * (float)l;
        for (int i = 0; whole != 0 && i < 32; i++)
            q[32 * g + i] = (uint8_t)clamp(nearest((x[32 * g + i] + down) / whole), 15);
    }
    for (int pair = 0; pair < 4; pair++)
        for (int i = 0; i < 32; i++)
            b[16 + 32 * pair + i] = (uint8_t)(q[64 * pair + i] | q[64 * pair + 32 + i] << 4);
}

static void (*packer(enum dtype t))(uint8_t *b, const float *x)
{
    return t == DTYPE_Q8_0 ? pack_q8_0 : t == DTYPE_Q4_0 ? pack_q4_0 : t == DTYPE_Q4_K ? pack_q4_k : NULL;
}

bool quant_can_pack(enum dtype t)
{
    return packer(t) != NULL;
}

void quant_pack(void *blocks, const float *x, enum dtype t, int64_t count)
{
    int64_t n = dtype_block(t);
    for (int64_t i = 0; i < count; i += n)
        packer(t)((uint8_t *)blocks + dtype_span(t, i), x + i);
}
