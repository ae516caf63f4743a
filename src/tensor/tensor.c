#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>

#include <assert.h>

#include "base/mem.h"
#include "tensor/quant.h"

static const struct { const char *name, *file_name; int64_t elements; size_t bytes; } types[DTYPE_COUNT] = {
#define X(constant, name, file_name, elements, bytes) [constant] = { name, file_name, elements, bytes },
    DTYPE_TABLE(X)
#undef X
};

const char *dtype_name(enum dtype t)
{
    return t < DTYPE_COUNT ? types[t].name : "?";
}

const char *dtype_file_name(enum dtype t)
{
    return t < DTYPE_COUNT ? types[t].file_name : NULL;
}

bool dtype_is_quantised(enum dtype t)
{
    return t < DTYPE_COUNT && types[t].elements > 1;
}

size_t dtype_bytes(enum dtype t)
{
    assert(!dtype_is_quantised(t));
    return t < DTYPE_COUNT ? types[t].bytes : 0;
}

int64_t dtype_block(enum dtype t)
{
    return t < DTYPE_COUNT ? types[t].elements : 1;
}

size_t dtype_block_bytes(enum dtype t)
{
    return t < DTYPE_COUNT ? types[t].bytes : 0;
}

size_t dtype_span(enum dtype t, int64_t count)
{
    int64_t elements = dtype_block(t);
    return (size_t)((count + elements - 1) / elements) * dtype_block_bytes(t);
}

enum dtype dtype_of_file_name(const char *name)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (types[t].file_name && !strcmp(types[t].file_name, name))
            return (enum dtype)t;
    return DTYPE_COUNT;
}

enum dtype dtype_of_name(const char *name)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (!strcmp(types[t].name, name))
            return (enum dtype)t;
    return DTYPE_COUNT;
}

struct shape_text shape_text(struct shape s)
{
    struct shape_text t;
    size_t used = (size_t)snprintf(t.s, sizeof t.s, "[");
    for (int i = 0; i < s.rank && used < sizeof t.s; i++)
        used += (size_t)snprintf(t.s + used, sizeof t.s - used, "%s%lld", i ? ", " : "", (long long)s.dim[i]);
    if (used < sizeof t.s)
        snprintf(t.s + used, sizeof t.s - used, "]");
    return t;
}

bool tensor_init(struct tensor *t, enum dtype type, struct shape shape, struct err *e)
{
    *t = (struct tensor){ .type = type, .shape = shape };
    t->data = mem_aligned(tensor_bytes(t));
    if (!t->data)
        return err_nomem(e, "a tensor");
    memset(t->data, 0, tensor_bytes(t));
    return true;
}

void tensor_release(struct tensor *t)
{
    mem_free(t->data);
    *t = (struct tensor){ 0 };
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023, u;
    if (exponent == 31)
        u = sign | 0x7F800000 | fraction << 13;
    else if (exponent)
        u = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        float f = ldexpf((float)fraction, -24);
        return sign ? -f : f;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7FFFFFFF;
    if (u > 0x7F800000)
        return sign | 0x7E00;
    if (u >= 0x477FF000) /* rounds to 65536 or more */
        return sign | 0x7C00;
    if (u < 0x38800000) { /* subnormal in f16: adding 0.5 puts the bits, rounded to even, at the bottom */
        float magnitude, half = 0.5f;
        memcpy(&magnitude, &u, 4);
        magnitude += half;
        uint32_t bits;
        memcpy(&bits, &magnitude, 4);
        return (uint16_t)(sign | (bits - 0x3F000000));
    }
    u += 0xFFF + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000) >> 13);
}

/* The 8-bit floats, all 256 of each: 1 sign, 4 or 5 bits of exponent, 3 or 2 of fraction. e4m3 ("fn") has no infinity and one NaN
 * per sign, e5m2 is f16 cut short (Micikevicius et al. 2022, "FP8 Formats for Deep Learning", table 1). */
#define E4M3(e, f) ((e) == 15 && (f) == 7 ? NAN : (e) ? (float)(8 + (f)) * (float)(1 << (e)) / 1024 : (float)(f) / 512)
#define E5M2(e, f)                                                                                                     \
    ((e) == 31 ? (f) ? NAN : INFINITY : (e) ? (float)(4 + (f)) * (float)(1u << (e)) / 131072 : (float)(f) / 65536)
#define CODE4(V, sign, e, f) sign V(e, f), sign V(e, (f) + 1), sign V(e, (f) + 2), sign V(e, (f) + 3)
#define E4M3_8(sign, e) CODE4(E4M3, sign, e, 0), CODE4(E4M3, sign, e, 4)
#define E5M2_8(sign, e) CODE4(E5M2, sign, 2 * (e), 0), CODE4(E5M2, sign, 2 * (e) + 1, 0)
#define HALF(OF8, sign)                                                                                                \
    OF8(sign, 0), OF8(sign, 1), OF8(sign, 2), OF8(sign, 3), OF8(sign, 4), OF8(sign, 5), OF8(sign, 6), OF8(sign, 7),     \
        OF8(sign, 8), OF8(sign, 9), OF8(sign, 10), OF8(sign, 11), OF8(sign, 12), OF8(sign, 13), OF8(sign, 14), OF8(sign, 15)
static const float e4m3[256] = { HALF(E4M3_8, +), HALF(E4M3_8, -) };
static const float e5m2[256] = { HALF(E5M2_8, +), HALF(E5M2_8, -) };

double dtype_load(const void *data, enum dtype t, int64_t i)
{
    switch (t) {
    case DTYPE_F32: return ((const float *)data)[i];
    case DTYPE_BF16: return bf16_to_f32(((const uint16_t *)data)[i]);
    case DTYPE_F16: return f16_to_f32(((const uint16_t *)data)[i]);
    case DTYPE_F64: return ((const double *)data)[i];
    case DTYPE_I32: return ((const int32_t *)data)[i];
    case DTYPE_I64: return (double)((const int64_t *)data)[i];
    case DTYPE_I16: return ((const int16_t *)data)[i];
    case DTYPE_I8: return ((const int8_t *)data)[i];
    case DTYPE_U8: case DTYPE_BOOL: return ((const uint8_t *)data)[i];
    case DTYPE_F8_E4M3: return e4m3[((const uint8_t *)data)[i]];
    case DTYPE_F8_E5M2: return e5m2[((const uint8_t *)data)[i]];
    default: return dtype_is_quantised(t) ? quant_load(data, t, i) : NAN;
    }
}

void dtype_store(void *data, enum dtype t, int64_t i, double v)
{
    switch (t) {
    case DTYPE_F32: ((float *)data)[i] = (float)v; break;
    case DTYPE_BF16: ((uint16_t *)data)[i] = f32_to_bf16((float)v); break;
    case DTYPE_F16: ((uint16_t *)data)[i] = f32_to_f16((float)v); break;
    case DTYPE_F64: ((double *)data)[i] = v; break;
    case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)v; break;
    case DTYPE_I64: ((int64_t *)data)[i] = (int64_t)v; break;
    case DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)v; break;
    default: break;
    }
}

static bool writable(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_F16 || t == DTYPE_F64;
}

/* From or to a quantised type: block by block through f32. */
static bool convert_blocks(void *dst, enum dtype to, const void *src, enum dtype from, size_t count)
{
    enum dtype type = dtype_is_quantised(from) ? from : to;
    int64_t n = dtype_block(type), blocks = (int64_t)count / n;
    if (count % (size_t)n || (type == from ? !writable(to) : !writable(from) || !quant_can_pack(to)))
        return false;
#pragma omp parallel for if (count > 1 << 16)
    for (int64_t i = 0; i < blocks; i++) {
        float numbers[QUANT_MOST];
        const char *in = (const char *)src + dtype_span(from, i * n);
        char *out = (char *)dst + dtype_span(to, i * n);
        if (type == from)
            quant_unpack(numbers, in, from, n);
        for (int64_t k = 0; k < n; k++)
            if (type == from)
                dtype_store(out, to, k, numbers[k]);
            else
                numbers[k] = (float)dtype_load(in, from, k);
        if (type == to)
            quant_pack(out, numbers, to, n);
    }
    return true;
}

bool dtype_convert(void *dst, enum dtype to, const void *src, enum dtype from, size_t count)
{
    if (to >= DTYPE_COUNT || from >= DTYPE_COUNT)
        return false;
    if (to == from) {
        memmove(dst, src, dtype_span(to, (int64_t)count));
        return true;
    }
    if (dtype_is_quantised(from) || dtype_is_quantised(to))
        return convert_blocks(dst, to, src, from, count);
    if (!writable(to))
        return false;
    if (from == DTYPE_F32 && to == DTYPE_BF16) {
        const float *s = src;
        uint16_t *d = dst;
#pragma omp parallel for simd if (count > 1 << 16)
        for (size_t i = 0; i < count; i++)
            d[i] = f32_to_bf16(s[i]);
    } else if (from == DTYPE_BF16 && to == DTYPE_F32) {
        const uint16_t *s = src;
        float *d = dst;
#pragma omp parallel for simd if (count > 1 << 16)
        for (size_t i = 0; i < count; i++)
            d[i] = bf16_to_f32(s[i]);
    } else if (to == DTYPE_F32 && (from == DTYPE_F8_E4M3 || from == DTYPE_F8_E5M2)) {
        const float *values = from == DTYPE_F8_E4M3 ? e4m3 : e5m2;
        const uint8_t *s = src;
        float *d = dst;
#pragma omp parallel for if (count > 1 << 16)
        for (size_t i = 0; i < count; i++)
            d[i] = values[s[i]];
    } else {
#pragma omp parallel for if (count > 1 << 16)
        for (size_t i = 0; i < count; i++)
            dtype_store(dst, to, (int64_t)i, dtype_load(src, from, (int64_t)i));
    }
    return true;
}

void tensor_nchw_to_nhwc(float *dst, const float *src, int64_t n, int64_t c, int64_t h, int64_t w)
{
    int64_t hw = h * w;
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < hw; p++)
            for (int64_t k = 0; k < c; k++)
                dst[(i * hw + p) * c + k] = src[(i * c + k) * hw + p];
}

void tensor_nhwc_to_nchw(float *dst, const float *src, int64_t n, int64_t c, int64_t h, int64_t w)
{
    int64_t hw = h * w;
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t p = 0; p < hw; p++)
                dst[(i * c + k) * hw + p] = src[(i * hw + p) * c + k];
}

struct difference tensor_difference(const float *a, const float *b, int64_t count)
{
    struct difference d = { 0 };
    double sum = 0, aa = 0, bb = 0, ab = 0, dd = 0;
    for (int64_t i = 0; i < count; i++) {
        double gap = fabs((double)a[i] - (double)b[i]);
        if (isnan(gap))
            return (struct difference){ NAN, NAN, NAN, NAN, i };
        if (gap > d.max) {
            d.max = gap;
            d.worst = i;
        }
        sum += gap;
        dd += gap * gap;
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
        ab += (double)a[i] * b[i];
    }
    d.mean = count ? sum / (double)count : 0;
    d.relative = bb > 0 ? sqrt(dd / bb) : sqrt(dd);
    d.cosine = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : (aa == bb);
    return d;
}
