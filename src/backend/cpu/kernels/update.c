/* Optimizer updates: one pass over memory each. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"
#include "tensor/dynamic_code.h"

/* Moments of weights that get no gradient decay into subnormal numbers and stay there, where every operation takes a
 * hundred times as long. While these kernels run, subnormal numbers count as 0. */
static unsigned flush_subnormal(void)
{
#ifdef __x86_64__
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_subnormal(unsigned before)
{
#ifdef __x86_64__
    _mm_setcsr(before);
#endif
}

ALWAYS_INLINE void accumulate(bool bf16, float *sum, const void *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put_float(sum, i, n, get_float(sum, i, n) + get(bf16, x, i, n));
}
FOR_BOTH_TYPES(void, accumulate, (float *sum, const void *x, int64_t n), (false, sum, x, n), (true, sum, x, n))

static void adamw(float *p, float *m, float *v, const float *g, int64_t n, const struct adamw_step *step)
{
    struct adamw_step s = *step;
    unsigned mode = flush_subnormal();
    for (int64_t i = 0; i < n; i += LANES) {
        vf gradient = s.grad_scale * get_float(g, i, n);
        vf first = s.beta1 * get_float(m, i, n) + (1 - s.beta1) * gradient;
        vf second = s.beta2 * get_float(v, i, n) + (1 - s.beta2) * gradient * gradient;
        vf step_size = s.rate * first / (square_root(second * s.correction2) + s.eps);
        put_float(p, i, n, s.keep * get_float(p, i, n) - step_size);
        put_float(m, i, n, first);
        put_float(v, i, n, second);
    }
    restore_subnormal(mode);
}

static void from_codes(float *out, const uint8_t *codes, float scale, const struct dynamic_code *code, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = code->value[codes[i]] * scale;
}

static float to_codes(uint8_t *codes, const float *x, const struct dynamic_code *code, int64_t n)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = __builtin_fabsf(x[i]) > largest ? __builtin_fabsf(x[i]) : largest;
    float scale = largest > 0 ? 1 / largest : 0;
    for (int64_t i = 0; i < n; i++)
        codes[i] = dynamic_code_nearest(code, x[i] * scale);
    return largest;
}

static void adamw8(float *p, uint8_t *m, uint8_t *v, float *m_scale, float *v_scale, const float *g, int64_t n,
                   const struct adamw_step *step, const struct dynamic_code *with_sign, const struct dynamic_code *without)
{
    float first[256], second[256];
    from_codes(first, m, *m_scale, with_sign, n);
    from_codes(second, v, *v_scale, without, n);
    adamw(p, first, second, g, n, step);
    *m_scale = to_codes(m, first, with_sign, n);
    *v_scale = to_codes(v, second, without, n);
}

static void lion(float *p, float *m, const float *g, int64_t n, const struct update_step *step)
{
    struct update_step s = *step;
    unsigned mode = flush_subnormal();
    for (int64_t i = 0; i < n; i += LANES) {
        vf gradient = s.grad_scale * get_float(g, i, n), old = get_float(m, i, n);
        vf u = s.beta1 * old + (1 - s.beta1) * gradient;
        vf by = pick(u == 0, all(0), with_sign_of(all(s.rate), u));
        put_float(p, i, n, s.keep * get_float(p, i, n) - by);
        put_float(m, i, n, s.beta2 * old + (1 - s.beta2) * gradient);
    }
    restore_subnormal(mode);
}

#define TINY 1e-30f /* Adafactor's epsilon */

static void square_columns(float *c, const float *g, int64_t rows, int64_t n, int64_t ld, const struct update_step *step)
{
    float scale = step->grad_scale, by = (1 - step->beta2) / (float)rows;
    for (int64_t j = 0; j < n; j++)
        c[j] *= step->beta2;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            float x = scale * g[i * ld + j];
            c[j] += by * (x * x + TINY);
        }
}

static double square_row(const float *g, int64_t n, const struct update_step *step)
{
    float sum = 0, scale = step->grad_scale;
    for (int64_t j = 0; j < n; j++) {
        float x = scale * g[j];
        sum += x * x + TINY;
    }
    return (double)sum;
}

static void square_whole(float *v, const float *g, int64_t n, const struct update_step *step)
{
    struct update_step s = *step;
    for (int64_t j = 0; j < n; j++) {
        float x = s.grad_scale * g[j];
        v[j] = s.beta2 * v[j] + (1 - s.beta2) * (x * x + TINY);
    }
}

static double scaled_squares(const float *g, const float *c, int64_t n, float by)
{
    float sum = 0;
    for (int64_t j = 0; j < n; j++) {
        float u = by * g[j] / __builtin_sqrtf(c[j]);
        sum += u * u;
    }
    return (double)sum;
}

static void scaled_step(float *p, const float *g, const float *c, int64_t n, float by, float keep)
{
    for (int64_t j = 0; j < n; j++)
        p[j] = keep * p[j] - by * g[j] / __builtin_sqrtf(c[j]);
}

/* Adds to sums what a piece gives that is short enough for f32. */
static void prodigy_measure(float *m, float *v, float *s, const float *p, const float *p0, const float *g, int64_t n,
                            const struct update_step *step, double sums[2])
{
    struct update_step with = *step;
    unsigned mode = flush_subnormal();
    vf product = { 0 }, magnitude = { 0 };
    for (int64_t i = 0; i < n; i += LANES) {
        vf gradient = with.grad_scale * get_float(g, i, n), moved = with.distance * gradient;
        vf sum = with.beta3 * get_float(s, i, n) + with.sum_rate * gradient;
        put_float(m, i, n, with.beta1 * get_float(m, i, n) + (1 - with.beta1) * moved);
        put_float(v, i, n, with.beta2 * get_float(v, i, n) + (1 - with.beta2) * (moved * moved));
        put_float(s, i, n, sum);
        product += gradient * (get_float(p0, i, n) - get_float(p, i, n));
        magnitude += absolute(sum);
    }
    sums[0] += (double)add_lanes(product);
    sums[1] += (double)add_lanes(magnitude);
    restore_subnormal(mode);
}

static void prodigy(float *p, const float *m, const float *v, int64_t n, const struct update_step *step)
{
    struct update_step s = *step;
    unsigned mode = flush_subnormal();
    for (int64_t i = 0; i < n; i += LANES)
        put_float(p, i, n, s.keep * get_float(p, i, n) -
                               s.rate * get_float(m, i, n) / (square_root(get_float(v, i, n)) + s.eps));
    restore_subnormal(mode);
}

static void ema(float *e, const float *p, int64_t n, float rate)
{
    unsigned mode = flush_subnormal();
    for (int64_t i = 0; i < n; i += LANES) {
        vf old = get_float(e, i, n);
        put_float(e, i, n, old + rate * (get_float(p, i, n) - old));
    }
    restore_subnormal(mode);
}

const struct update_kernels KERNEL(update) = { .accumulate = BOTH(accumulate), .adamw = adamw, .adamw8 = adamw8,
                                              .lion = lion, .square_columns = square_columns, .square_row = square_row,
                                              .square_whole = square_whole, .scaled_squares = scaled_squares,
                                              .scaled_step = scaled_step, .prodigy_measure = prodigy_measure,
                                              .prodigy = prodigy, .ema = ema };
