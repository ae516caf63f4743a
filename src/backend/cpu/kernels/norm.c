/* Group norm, layer norm, RMS norm, softmax. Columns are channels, rows are pixels or tokens. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"

ALWAYS_INLINE const void *row_of(bool bf16, const void *x, int64_t row, int64_t ld)
{
    return (const char *)x + row * ld * (bf16 ? 2 : 4);
}

/* Two vectors of columns at a time, so that four chains of sums run beside each other. */
ALWAYS_INLINE void moments(bool bf16, float *sum, float *squares, const float *origin, const void *x, int64_t rows,
                           int64_t c, int64_t ld)
{
    int64_t j = 0;
    for (; j + 2 * LANES <= c; j += 2 * LANES) {
        vf s0 = get_float(sum, j, c), s1 = get_float(sum, j + LANES, c);
        vf q0 = get_float(squares, j, c), q1 = get_float(squares, j + LANES, c);
        vf o0 = get_float(origin, j, c), o1 = get_float(origin, j + LANES, c);
        for (int64_t r = 0; r < rows; r++) {
            const void *row = row_of(bf16, x, r, ld);
            vf d0 = get(bf16, row, j, c) - o0, d1 = get(bf16, row, j + LANES, c) - o1;
            s0 += d0;
            s1 += d1;
            q0 += d0 * d0;
            q1 += d1 * d1;
        }
        put_float(sum, j, c, s0);
        put_float(sum, j + LANES, c, s1);
        put_float(squares, j, c, q0);
        put_float(squares, j + LANES, c, q1);
    }
    for (; j < c; j += LANES) {
        vf s = get_float(sum, j, c), q = get_float(squares, j, c), o = get_float(origin, j, c);
        for (int64_t r = 0; r < rows; r++) {
            vf d = get(bf16, row_of(bf16, x, r, ld), j, c) - o;
            s += d;
            q += d * d;
        }
        put_float(sum, j, c, s);
        put_float(squares, j, c, q);
    }
}
FOR_BOTH_TYPES(void, moments, (float *sum, float *squares, const float *origin, const void *x, int64_t rows, int64_t c, int64_t ld),
               (false, sum, squares, origin, x, rows, c, ld), (true, sum, squares, origin, x, rows, c, ld))

ALWAYS_INLINE void apply_loop(bool bf16, bool silu, void *y, const void *x, const float *a, const float *b,
                              int64_t rows, int64_t c, int64_t ld)
{
    for (int64_t r = 0; r < rows; r++) {
        const void *from = row_of(bf16, x, r, ld);
        void *to = (void *)row_of(bf16, y, r, ld);
        for (int64_t j = 0; j < c; j += LANES) {
            vf z = get_float(a, j, c) * get(bf16, from, j, c) + get_float(b, j, c);
            put(bf16, to, j, c, silu ? z * sigmoid(z) : z);
        }
    }
}

ALWAYS_INLINE void apply(bool bf16, void *y, const void *x, const float *a, const float *b, int64_t rows, int64_t c,
                         int64_t ld, bool silu)
{
    if (silu)
        apply_loop(bf16, true, y, x, a, b, rows, c, ld);
    else
        apply_loop(bf16, false, y, x, a, b, rows, c, ld);
}
FOR_BOTH_TYPES(void, apply, (void *y, const void *x, const float *a, const float *b, int64_t rows, int64_t c, int64_t ld, bool silu),
               (false, y, x, a, b, rows, c, ld, silu), (true, y, x, a, b, rows, c, ld, silu))

/* The gradient before the activation. */
ALWAYS_INLINE vf before_silu(vf dy, vf normalised, vf gamma, vf beta)
{
    return dy * silu_slope(gamma * normalised + beta);
}

ALWAYS_INLINE void grad_sums_loop(bool bf16, bool silu, float *sum, float *dot, const void *x, const void *dy,
                                  const struct norm_channels *k, int64_t rows, int64_t c, int64_t ld)
{
    for (int64_t j = 0; j < c; j += LANES) {
        vf s = get_float(sum, j, c), d = get_float(dot, j, c);
        vf rstd = get_float(k->rstd, j, c), shift = get_float(k->shift, j, c);
        vf gamma = silu ? get_float(k->gamma, j, c) : all(0), beta = silu ? get_float(k->beta, j, c) : all(0);
        for (int64_t r = 0; r < rows; r++) {
            vf normalised = rstd * get(bf16, row_of(bf16, x, r, ld), j, c) + shift;
            vf dz = get(bf16, row_of(bf16, dy, r, ld), j, c);
            if (silu)
                dz = before_silu(dz, normalised, gamma, beta);
            s += dz;
            d += dz * normalised;
        }
        put_float(sum, j, c, s);
        put_float(dot, j, c, d);
    }
}

ALWAYS_INLINE void grad_sums(bool bf16, float *sum, float *dot, const void *x, const void *dy,
                             const struct norm_channels *k, int64_t rows, int64_t c, int64_t ld, bool silu)
{
    if (silu)
        grad_sums_loop(bf16, true, sum, dot, x, dy, k, rows, c, ld);
    else
        grad_sums_loop(bf16, false, sum, dot, x, dy, k, rows, c, ld);
}
FOR_BOTH_TYPES(void, grad_sums,
               (float *sum, float *dot, const void *x, const void *dy, const struct norm_channels *k, int64_t rows,
                int64_t c, int64_t ld, bool silu),
               (false, sum, dot, x, dy, k, rows, c, ld, silu), (true, sum, dot, x, dy, k, rows, c, ld, silu))

ALWAYS_INLINE void grad_apply_loop(bool bf16, bool silu, void *dx, const void *x, const void *dy,
                                   const struct norm_channels *k, int64_t rows, int64_t c, int64_t ld)
{
    for (int64_t j = 0; j < c; j += LANES) {
        vf rstd = get_float(k->rstd, j, c), shift = get_float(k->shift, j, c);
        vf gamma = silu ? get_float(k->gamma, j, c) : all(0), beta = silu ? get_float(k->beta, j, c) : all(0);
        vf p = get_float(k->p, j, c), q = get_float(k->q, j, c), t = get_float(k->r, j, c);
        for (int64_t r = 0; r < rows; r++) {
            vf normalised = rstd * get(bf16, row_of(bf16, x, r, ld), j, c) + shift;
            vf dz = get(bf16, row_of(bf16, dy, r, ld), j, c);
            if (silu)
                dz = before_silu(dz, normalised, gamma, beta);
            put(bf16, (void *)row_of(bf16, dx, r, ld), j, c, p * dz + (q * normalised + t));
        }
    }
}

ALWAYS_INLINE void grad_apply(bool bf16, void *dx, const void *x, const void *dy, const struct norm_channels *k,
                              int64_t rows, int64_t c, int64_t ld, bool silu)
{
    if (silu)
        grad_apply_loop(bf16, true, dx, x, dy, k, rows, c, ld);
    else
        grad_apply_loop(bf16, false, dx, x, dy, k, rows, c, ld);
}
FOR_BOTH_TYPES(void, grad_apply,
               (void *dx, const void *x, const void *dy, const struct norm_channels *k, int64_t rows, int64_t c, int64_t ld,
                bool silu),
               (false, dx, x, dy, k, rows, c, ld, silu), (true, dx, x, dy, k, rows, c, ld, silu))

/* Zero where lane j + i is behind the end. */
ALWAYS_INLINE vf within(vf x, int64_t j, int64_t c)
{
    if (__builtin_expect(c - j < LANES, 0))
        for (int i = (int)(c - j); i < LANES; i++)
            x[i] = 0;
    return x;
}

/* Mean first, then squares of differences: nothing cancels. */
ALWAYS_INLINE void layer(bool bf16, void *y, const void *x, const float *gamma, const float *beta, int64_t c, float eps,
                         float *mean, float *rstd)
{
    vf s0 = { 0 }, s1 = { 0 };
    int64_t j = 0;
    for (; j + 2 * LANES <= c; j += 2 * LANES) {
        s0 += get(bf16, x, j, c);
        s1 += get(bf16, x, j + LANES, c);
    }
    for (; j < c; j += LANES)
        s0 += get(bf16, x, j, c);
    float m = add_lanes(s0 + s1) / (float)c;
    vf q0 = { 0 }, q1 = { 0 };
    for (j = 0; j + 2 * LANES <= c; j += 2 * LANES) {
        vf d0 = get(bf16, x, j, c) - m, d1 = get(bf16, x, j + LANES, c) - m;
        q0 += d0 * d0;
        q1 += d1 * d1;
    }
    for (; j < c; j += LANES) {
        vf d = within(get(bf16, x, j, c) - m, j, c);
        q0 += d * d;
    }
    float r = 1 / __builtin_sqrtf(add_lanes(q0 + q1) / (float)c + eps);
    for (j = 0; j < c; j += LANES)
        put(bf16, y, j, c, (get(bf16, x, j, c) - m) * r * get_float(gamma, j, c) + get_float(beta, j, c));
    *mean = m;
    *rstd = r;
}
FOR_BOTH_TYPES(void, layer,
               (void *y, const void *x, const float *gamma, const float *beta, int64_t c, float eps, float *mean, float *rstd),
               (false, y, x, gamma, beta, c, eps, mean, rstd), (true, y, x, gamma, beta, c, eps, mean, rstd))

ALWAYS_INLINE void layer_grad(bool bf16, void *dx, float *dgamma, float *dbeta, const void *x, const void *dy,
                              const float *gamma, int64_t c, float mean, float rstd)
{
    vf sum = { 0 }, dot = { 0 };
    for (int64_t j = 0; j < c; j += LANES) {
        vf normalised = (get(bf16, x, j, c) - mean) * rstd, d = get(bf16, dy, j, c);
        vf g = d * get_float(gamma, j, c);
        sum += g;
        dot += g * normalised;
        put_float(dgamma, j, c, get_float(dgamma, j, c) + d * normalised);
        put_float(dbeta, j, c, get_float(dbeta, j, c) + d);
    }
    float a = add_lanes(sum) / (float)c, b = add_lanes(dot) / (float)c;
    for (int64_t j = 0; j < c; j += LANES) {
        vf normalised = (get(bf16, x, j, c) - mean) * rstd;
        put(bf16, dx, j, c, rstd * (get(bf16, dy, j, c) * get_float(gamma, j, c) - a - normalised * b));
    }
}
FOR_BOTH_TYPES(void, layer_grad,
               (void *dx, float *dgamma, float *dbeta, const void *x, const void *dy, const float *gamma, int64_t c,
                float mean, float rstd),
               (false, dx, dgamma, dbeta, x, dy, gamma, c, mean, rstd),
               (true, dx, dgamma, dbeta, x, dy, gamma, c, mean, rstd))

ALWAYS_INLINE void rms(bool bf16, void *y, const void *x, const float *gamma, int64_t c, float eps, float *rstd)
{
    vf q0 = { 0 }, q1 = { 0 };
    int64_t j = 0;
    for (; j + 2 * LANES <= c; j += 2 * LANES) {
        vf x0 = get(bf16, x, j, c), x1 = get(bf16, x, j + LANES, c);
        q0 += x0 * x0;
        q1 += x1 * x1;
    }
    for (; j < c; j += LANES) {
        vf x0 = get(bf16, x, j, c);
        q0 += x0 * x0;
    }
    float r = 1 / __builtin_sqrtf(add_lanes(q0 + q1) / (float)c + eps);
    for (j = 0; j < c; j += LANES)
        put(bf16, y, j, c, get(bf16, x, j, c) * r * get_float(gamma, j, c));
    *rstd = r;
}
FOR_BOTH_TYPES(void, rms, (void *y, const void *x, const float *gamma, int64_t c, float eps, float *rstd),
               (false, y, x, gamma, c, eps, rstd), (true, y, x, gamma, c, eps, rstd))

ALWAYS_INLINE void rms_grad(bool bf16, void *dx, float *dgamma, const void *x, const void *dy, const float *gamma, int64_t c,
                            float rstd)
{
    vf dot = { 0 };
    for (int64_t j = 0; j < c; j += LANES) {
        vf z = get(bf16, x, j, c) * rstd, d = get(bf16, dy, j, c);
        dot += d * get_float(gamma, j, c) * z;
        put_float(dgamma, j, c, get_float(dgamma, j, c) + d * z);
    }
    float average = add_lanes(dot) / (float)c;
    for (int64_t j = 0; j < c; j += LANES)
        put(bf16, dx, j, c,
            rstd * (get(bf16, dy, j, c) * get_float(gamma, j, c) - get(bf16, x, j, c) * rstd * average));
}
FOR_BOTH_TYPES(void, rms_grad,
               (void *dx, float *dgamma, const void *x, const void *dy, const float *gamma, int64_t c, float rstd),
               (false, dx, dgamma, x, dy, gamma, c, rstd), (true, dx, dgamma, x, dy, gamma, c, rstd))

ALWAYS_INLINE void softmax(bool bf16, void *y, const void *x, float *work, int64_t c)
{
    vf top = all(-__builtin_inff());
    int64_t j = 0;
    for (; j + LANES <= c; j += LANES)
        top = larger(top, get(bf16, x, j, c));
    if (j < c) {
        vf rest = get(bf16, x, j, c);
        for (int i = (int)(c - j); i < LANES; i++)
            rest[i] = -__builtin_inff();
        top = larger(top, rest);
    }
    float largest = largest_lane(top);
    vf sum = { 0 };
    for (j = 0; j < c; j += LANES) {
        vf p = exponential(get(bf16, x, j, c) - largest);
        put_float(work, j, c, p);
        sum += within(p, j, c);
    }
    float inverse = 1 / add_lanes(sum);
    for (j = 0; j < c; j += LANES)
        put(bf16, y, j, c, get_float(work, j, c) * inverse);
}
FOR_BOTH_TYPES(void, softmax, (void *y, const void *x, float *work, int64_t c), (false, y, x, work, c), (true, y, x, work, c))

ALWAYS_INLINE void softmax_grad(bool bf16, void *dx, const void *y, const void *dy, int64_t c)
{
    vf sum = { 0 };
    for (int64_t j = 0; j < c; j += LANES)
        sum += get(bf16, y, j, c) * get(bf16, dy, j, c);
    float dot = add_lanes(sum);
    for (int64_t j = 0; j < c; j += LANES)
        put(bf16, dx, j, c, get(bf16, y, j, c) * (get(bf16, dy, j, c) - dot));
}
FOR_BOTH_TYPES(void, softmax_grad, (void *dx, const void *y, const void *dy, int64_t c), (false, dx, y, dy, c), (true, dx, y, dy, c))

const struct norm_kernels KERNEL(norm) = {
    .moments = BOTH(moments),
    .apply = BOTH(apply),
    .grad_sums = BOTH(grad_sums),
    .grad_apply = BOTH(grad_apply),
    .layer = BOTH(layer),
    .layer_grad = BOTH(layer_grad),
    .rms = BOTH(rms),
    .rms_grad = BOTH(rms_grad),
    .softmax = BOTH(softmax),
    .softmax_grad = BOTH(softmax_grad),
};
