/* Optimizer updates: one pass over memory each. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"

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

static void ema(float *e, const float *p, int64_t n, float rate)
{
    unsigned mode = flush_subnormal();
    for (int64_t i = 0; i < n; i += LANES) {
        vf old = get_float(e, i, n);
        put_float(e, i, n, old + rate * (get_float(p, i, n) - old));
    }
    restore_subnormal(mode);
}

const struct update_kernels KERNEL(update) = { .accumulate = BOTH(accumulate), .adamw = adamw, .ema = ema };
