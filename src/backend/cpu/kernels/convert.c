/* Conversions between f32 and the 16-bit types. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"

static void many_bf16_to_f32(float *y, const void *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put_float(y, i, n, get(true, x, i, n));
}

static void many_f32_to_bf16(void *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put(true, y, i, n, get_float(x, i, n));
}

#ifdef __F16C__
ALWAYS_INLINE vf load_f16(const uint16_t *p)
{
#ifdef __AVX512F__
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#else
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#endif
}

ALWAYS_INLINE void store_f16(uint16_t *p, vf x)
{
#ifdef __AVX512F__
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT));
#else
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#endif
}

static void many_f16_to_f32(float *y, const void *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put_float(y, i, n, load_f16((const uint16_t *)x + i));
    if (i < n) {
        uint16_t few[LANES] = { 0 };
        memcpy(few, (const uint16_t *)x + i, (size_t)(n - i) * sizeof *few);
        put_float(y, i, n, load_f16(few));
    }
}

static void many_f32_to_f16(void *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_f16((uint16_t *)y + i, get_float(x, i, n));
    if (i < n) {
        uint16_t few[LANES];
        store_f16(few, get_float(x, i, n));
        memcpy((uint16_t *)y + i, few, (size_t)(n - i) * sizeof *few);
    }
}
#else
#define many_f16_to_f32 NULL
#define many_f32_to_f16 NULL
#endif

const struct convert_kernels KERNEL(convert) = { many_bf16_to_f32, many_f32_to_bf16, many_f16_to_f32, many_f32_to_f16 };
