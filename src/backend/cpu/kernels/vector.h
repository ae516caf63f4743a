/* Vectors of the processor's own width, and the functions of them that the kernels need. GNU vector types, so that the
 * loops are vector code by construction; intrinsics only where the language has no word for the instruction.
 *
 * -ffast-math is on in this folder, -ffinite-math-only off: NaN and infinity go through, sums may be reordered by the
 * compiler unless a hold() stands around them. */
#ifndef LIMN_BACKEND_CPU_KERNELS_VECTOR_H
#define LIMN_BACKEND_CPU_KERNELS_VECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#define VECTOR(type) type __attribute__((vector_size(16 * sizeof(type))))
#elif defined(__AVX2__)
enum { LANES = 8 };
#define VECTOR(type) type __attribute__((vector_size(8 * sizeof(type))))
#else
enum { LANES = 4 };
#define VECTOR(type) type __attribute__((vector_size(4 * sizeof(type))))
#endif

/* The only typedefs of the house: a vector type has no other readable name. */
typedef VECTOR(float) vf;
typedef VECTOR(int32_t) vi;
typedef VECTOR(uint32_t) vu;
typedef double vd __attribute__((vector_size(sizeof(vf)))); /* half as many lanes */

#if defined(__AVX512F__)
#define LANE_NUMBERS { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
#elif defined(__AVX2__)
#define LANE_NUMBERS { 0, 1, 2, 3, 4, 5, 6, 7 }
#else
#define LANE_NUMBERS { 0, 1, 2, 3 }
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The value as it was computed, so that -ffast-math does not mix it with what comes next. (gcc 12 takes
 * __builtin_assoc_barrier of a vector apart into its lanes: a third of the speed of exp.) */
ALWAYS_INLINE vf hold(vf x)
{
#if defined(__AVX512F__)
    __asm__("" : "+v"(x));
#elif defined(__x86_64__)
    __asm__("" : "+x"(x));
#else
    __asm__("" : "+w"(x));
#endif
    return x;
}

ALWAYS_INLINE vf all(float x)
{
    return x - (vf){ 0 };
}

/* yes where the mask has ones, no where it has zeros. */
ALWAYS_INLINE vf pick(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* The smaller and the larger; a NaN in x stays. */
ALWAYS_INLINE vf at_most(vf x, float bound)
{
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps(_mm_set1_ps(bound), (__m128)x);
#else
    return pick(x > bound, all(bound), x);
#endif
}

ALWAYS_INLINE vf at_least(vf x, float bound)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps(_mm_set1_ps(bound), (__m128)x);
#else
    return pick(x < bound, all(bound), x);
#endif
}

ALWAYS_INLINE vf absolute(vf x)
{
    return (vf)((vi)x & 0x7FFFFFFF);
}

ALWAYS_INLINE vf with_sign_of(vf x, vf sign)
{
    return (vf)(((vi)x & 0x7FFFFFFF) | ((vi)sign & INT32_MIN));
}

ALWAYS_INLINE vf square_root(vf x)
{
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/* 1 / x for 1 <= x <= 2^126, to 2 units in the last place: an estimate and a Newton step where that is faster. */
ALWAYS_INLINE vf reciprocal(vf x)
{
#if defined(__AVX512F__)
    vf r = (vf)_mm512_rcp14_ps((__m512)x);
    return r + r * hold(1 - x * r);
#elif defined(__AVX2__)
    vf r = (vf)_mm256_rcp_ps((__m256)x);
    return r + r * hold(1 - x * r);
#else
    return 1 / x;
#endif
}

/* e^x for |x| <= 87 and NaN; relative error 1e-7. A polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2] (our fit), ln 2 in two
 * parts (Cody and Waite 1980). */
ALWAYS_INLINE vf exp_polynomial(vf x, vf k)
{
    vf r = hold(x - k * 0.693359375f) + k * 2.12194440e-4f;
    vf p = 0.00138368419f * r + 0.00837481578f;
    p = p * r + 0.0416682256f;
    p = p * r + 0.166664202f;
    p = p * r + 0.499999921f;
    p = p * r + 1.00000004f;
    return p * r + 1;
}

ALWAYS_INLINE vf exponential_near(vf x)
{
#if defined(__AVX512F__)
    __m512 k = _mm512_roundscale_ps((__m512)(x * 1.44269504f), 0);
    return (vf)_mm512_scalef_ps((__m512)exp_polynomial(x, (vf)k), k);
#else
    vi n = __builtin_convertvector(x * 1.44269504f + 200.5f, vi) - 200; /* rounds down: the sum is positive */
    return exp_polynomial(x, __builtin_convertvector(n, vf)) * (vf)((n + 127) << 23);
#endif
}

/* e^x for every x: 0 below -104, infinity above 88.73. */
ALWAYS_INLINE vf exponential(vf x)
{
    x = at_least(at_most(x, 89), -104);
#if defined(__AVX512F__)
    return exponential_near(x);
#else
    vi n = __builtin_convertvector(x * 1.44269504f + 200.5f, vi) - 200, half = n >> 1;
    return hold(exp_polynomial(x, __builtin_convertvector(n, vf)) * (vf)((half + 127) << 23)) *
           (vf)((n - half + 127) << 23); /* in two steps: 2^n itself may not be a float */
#endif
}

/* And 1 - sigmoid(x), which would cancel where x is large. */
ALWAYS_INLINE vf sigmoid_and_rest(vf x, vf *rest)
{
    vf e = exponential_near(at_least(at_most(-x, 87), -87)), s = reciprocal(1 + e);
    *rest = hold(e * s); /* e alone times anything may overflow */
    return s;
}

ALWAYS_INLINE vf sigmoid(vf x)
{
    vf rest;
    return sigmoid_and_rest(x, &rest);
}

/* The slope of x sigmoid(x). */
ALWAYS_INLINE vf silu_slope(vf x)
{
    vf rest, s = sigmoid_and_rest(x, &rest);
    return s + s * x * rest;
}

/* 2 atanh(s) for 0 <= s <= 1/3. */
ALWAYS_INLINE vf twice_atanh(vf s)
{
    vf u = s * s;
    vf p = 0.244249009f * u + 0.213899628f;
    p = p * u + 0.286210419f;
    p = p * u + 0.399986782f;
    p = p * u + 0.666666795f;
    return (p * u + 2) * s;
}

/* Phi(x), the normal distribution: 1/2 (1 + erf(x / sqrt 2)). -ln Phi(-a) is a polynomial of degree 10 on [0, 6] (our fit,
 * weighted so that the error of Phi is below 4e-8 everywhere); beyond it Phi(-6) = 1e-9 is as good as 0. */
ALWAYS_INLINE vf normal_distribution(vf x)
{
    vf a = at_most(absolute(x), 6);
    vf p = 3.63975516e-08f * a - 9.14016817e-07f;
    p = p * a + 1.01521208e-05f;
    p = p * a - 6.38410035e-05f;
    p = p * a + 0.000220232207f;
    p = p * a - 3.68271521e-05f;
    p = p * a - 0.0047872151f;
    p = p * a + 0.0363394023f;
    p = p * a + 0.318308758f;
    p = p * a + 0.797884681f;
    p = p * a + 0.693147179f;
    vf tail = exponential_near(-p);
    return pick(x < 0, tail, 1 - tail);
}

ALWAYS_INLINE vf normal_density(vf x)
{
    return 0.398942280f * exponential(-0.5f * x * x);
}

/* Each lane's partner `width` away: lane i gets lane i ^ width. */
ALWAYS_INLINE vf partners(vf x, int width)
{
#ifdef __clang__
    vf y;
    for (int i = 0; i < LANES; i++)
        y[i] = x[i ^ width];
    return y;
#else
    return __builtin_shuffle(x, (vi)LANE_NUMBERS ^ width);
#endif
}

ALWAYS_INLINE float add_lanes(vf x)
{
    for (int width = LANES / 2; width; width /= 2)
        x += partners(x, width);
    return x[0];
}

/* The larger of each lane; NaN wins. */
ALWAYS_INLINE vf larger(vf a, vf b)
{
    return pick((a > b) | (a != a), a, b);
}

ALWAYS_INLINE float largest_lane(vf x)
{
    for (int width = LANES / 2; width; width /= 2)
        x = larger(x, partners(x, width));
    return x[0];
}

/* The squares of all lanes, added two by two: the sum of the result's lanes is theirs. */
ALWAYS_INLINE vd squares_in_double(vf x)
{
#if defined(__AVX512F__)
    vd a = (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)x));
    vd b = (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)x, 1));
#elif defined(__AVX2__)
    vd a = (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)x));
    vd b = (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)x, 1));
#elif defined(__SSE2__)
    vd a = (vd)_mm_cvtps_pd((__m128)x), b = (vd)_mm_cvtps_pd(_mm_movehl_ps((__m128)x, (__m128)x));
#else
    vd a, b;
    for (int i = 0; i < LANES / 2; i++) {
        a[i] = x[i];
        b[i] = x[i + LANES / 2];
    }
#endif
    return a * a + b * b;
}

ALWAYS_INLINE vf load_bf16(const uint16_t *p)
{
#if defined(__AVX512F__)
    vu wide = (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    vu wide = (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__SSE4_1__)
    vu wide = (vu)_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    vu wide;
    for (int i = 0; i < LANES; i++)
        wide[i] = p[i];
#endif
    return (vf)(wide << 16);
}

/* To nearest even; NaN stays NaN. */
ALWAYS_INLINE void store_bf16(uint16_t *p, vf x)
{
#if defined(__AVX512BF16__)
    __m256bh h = _mm512_cvtneps_pbh((__m512)x);
    memcpy(p, &h, sizeof h);
#else
    vu u = (vu)x, rounded = u + 0x7FFF + (u >> 16 & 1);
    vu nan = (vu)(x != x), high = ((nan & (u | 0x400000)) | (~nan & rounded)) >> 16;
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)high));
#elif defined(__AVX2__)
    __m256i pairs = _mm256_packus_epi32((__m256i)high, (__m256i)high);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 8)));
#elif defined(__SSE4_1__)
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi32((__m128i)high, (__m128i)high));
#else
    for (int i = 0; i < LANES; i++)
        p[i] = (uint16_t)high[i];
#endif
#endif
}

static __attribute__((noinline)) vf get_few(bool bf16, const void *x, int64_t count)
{
    float few[LANES] = { 0 };
    for (int64_t i = 0; i < count; i++)
        if (bf16) {
            uint32_t u = (uint32_t)((const uint16_t *)x)[i] << 16;
            memcpy(few + i, &u, sizeof u);
        } else {
            few[i] = ((const float *)x)[i];
        }
    vf v;
    memcpy(&v, few, sizeof v);
    return v;
}

static __attribute__((noinline)) void put_few(bool bf16, void *y, int64_t count, vf v)
{
    if (bf16) {
        uint16_t few[LANES];
        store_bf16(few, v);
        memcpy(y, few, (size_t)count * sizeof *few);
    } else {
        memcpy(y, &v, (size_t)count * sizeof(float));
    }
}

/* Elements i, i + 1, ... of an array that has n: LANES of them, zeros behind its end. */
ALWAYS_INLINE vf get(bool bf16, const void *x, int64_t i, int64_t n)
{
    const void *p = (const char *)x + i * (bf16 ? 2 : 4);
    if (__builtin_expect(n - i < LANES, 0))
        return get_few(bf16, p, n - i);
    if (bf16)
        return load_bf16(p);
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

ALWAYS_INLINE void put(bool bf16, void *y, int64_t i, int64_t n, vf v)
{
    void *p = (char *)y + i * (bf16 ? 2 : 4);
    if (__builtin_expect(n - i < LANES, 0))
        put_few(bf16, p, n - i, v);
    else if (bf16)
        store_bf16(p, v);
    else
        memcpy(p, &v, sizeof v);
}

ALWAYS_INLINE vf get_float(const float *x, int64_t i, int64_t n)
{
    return get(false, x, i, n);
}

ALWAYS_INLINE void put_float(float *y, int64_t i, int64_t n, vf v)
{
    put(false, y, i, n, v);
}

/* Two functions from one body: name_f32 and name_bf16, for a pair of table entries. */
#define FOR_BOTH_TYPES(returns, name, parameters, arguments_f32, arguments_bf16) \
    static returns name##_f32 parameters                                         \
    {                                                                            \
        return name arguments_f32;                                               \
    }                                                                            \
    static returns name##_bf16 parameters                                        \
    {                                                                            \
        return name arguments_bf16;                                              \
    }
#define BOTH(name) { name##_f32, name##_bf16 }

#endif
