/* Functions of single numbers, sums and products, GEGLU and SwiGLU, rotation of pairs. */
#include "backend/cpu/kernels/kernels.h"
#include "backend/cpu/kernels/vector.h"

/* gelu's tanh form (Hendrycks and Gimpel 2016) is x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
ALWAYS_INLINE vf gelu_tanh_gate(vf x, vf *rest)
{
    return sigmoid_and_rest(x * (1.59576912f + 0.0713548163f * x * x), rest);
}

ALWAYS_INLINE vf unary_value(enum unary fn, vf x)
{
    vf rest;
    switch (fn) {
    case UNARY_SILU: return x * sigmoid(x);
    case UNARY_GELU: return x * normal_distribution(x);
    case UNARY_GELU_TANH: return x * gelu_tanh_gate(x, &rest);
    case UNARY_QUICK_GELU: return x * sigmoid(1.702f * x);
    case UNARY_RELU: return pick(x <= 0, all(0), x);
    case UNARY_LEAKY_RELU: return pick(x <= 0, 0.2f * x, x);
    case UNARY_SIGMOID: return sigmoid(x);
    case UNARY_TANH: {
        /* near 0 an odd polynomial, for there 1 - 2 / (e^2x + 1) cancels */
        vf a = at_most(absolute(x), 40), u = a * a;
        vf p = -0.00555816144f * u + 0.0205007234f;
        p = p * u - 0.0536935217f;
        p = p * u + 0.133307919f;
        p = p * u - 0.333332466f;
        vf large = 1 - 2 * reciprocal(exponential_near(2 * a) + 1);
        return with_sign_of(pick(a < 0.625f, a + a * (p * u), large), x);
    }
    case UNARY_EXP: return exponential(x);
    case UNARY_LOG: {
        /* x = 2^k m with m in [sqrt 1/2, sqrt 2); ln m = 2 atanh((m - 1) / (m + 1)); subnormal x are scaled first */
        vi small = x < 1.17549435e-38f;
        vf y = pick(small, x * 8388608.0f, x);
        vi k = ((vi)y - 0x3F3504F3) >> 23;
        vf m = (vf)((vi)y - (k << 23));
        vf s = (m - 1) / (m + 1), u = s * s;
        vf p = 0.236181797f * u + 0.285349439f;
        p = p * u + 0.400003866f;
        p = p * u + 0.666666652f;
        vf power = __builtin_convertvector(k - (small & 23), vf);
        vf r = power * 0.693359375f + ((p * u + 2) * s - power * 2.12194440e-4f);
        r = pick(x == 0, all(-__builtin_inff()), r);
        r = pick(x < 0, all(__builtin_nanf("")), r);
        return pick((x != x) | (x == __builtin_inff()), x, r);
    }
    case UNARY_SQRT: return square_root(x);
    case UNARY_SQUARE: return x * x;
    case UNARY_ABS: return absolute(x);
    case UNARY_SOFTPLUS: {
        /* max(x, 0) + ln(1 + u), u = e^-|x|; ln(1 + u) = 2 atanh(u / (2 + u)) */
        vf u = exponential(-absolute(x));
        return at_least(x, 0) + twice_atanh(u / (2 + u));
    }
    default: return x;
    }
}

ALWAYS_INLINE vf unary_slope(enum unary fn, vf x)
{
    vf s, rest;
    switch (fn) {
    case UNARY_SILU: return silu_slope(x);
    case UNARY_GELU: return normal_distribution(x) + x * normal_density(x);
    case UNARY_GELU_TANH: s = gelu_tanh_gate(x, &rest); return s + s * (x * rest) * (1.59576912f + 0.214064449f * x * x);
    case UNARY_QUICK_GELU: return silu_slope(1.702f * x);
    case UNARY_RELU: return pick(x <= 0, all(0), all(1));
    case UNARY_LEAKY_RELU: return pick(x <= 0, all(0.2f), all(1));
    case UNARY_SIGMOID: s = sigmoid_and_rest(x, &rest); return s * rest;
    case UNARY_TANH: s = sigmoid_and_rest(2 * absolute(x), &rest); return 4 * s * rest;
    case UNARY_EXP: return exponential(x);
    case UNARY_LOG: return 1 / x;
    case UNARY_SQRT: return 0.5f / square_root(x);
    case UNARY_SQUARE: return 2 * x;
    case UNARY_ABS: return pick(x == 0, all(0), with_sign_of(all(1), x));
    case UNARY_SOFTPLUS: return sigmoid(x);
    default: return all(1);
    }
}

ALWAYS_INLINE void unary_loop(bool bf16, enum unary fn, void *y, const void *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put(bf16, y, i, n, unary_value(fn, get(bf16, x, i, n)));
}

ALWAYS_INLINE void unary_grad_loop(bool bf16, enum unary fn, void *dx, const void *x, const void *dy, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put(bf16, dx, i, n, get(bf16, dy, i, n) * unary_slope(fn, get(bf16, x, i, n)));
}

#define X(fn, text)                                                                   \
    static void value_##fn##_f32(void *y, const void *x, int64_t n)                   \
    {                                                                                 \
        unary_loop(false, fn, y, x, n);                                               \
    }                                                                                 \
    static void value_##fn##_bf16(void *y, const void *x, int64_t n)                  \
    {                                                                                 \
        unary_loop(true, fn, y, x, n);                                                \
    }                                                                                 \
    static void slope_##fn##_f32(void *dx, const void *x, const void *dy, int64_t n)  \
    {                                                                                 \
        unary_grad_loop(false, fn, dx, x, dy, n);                                     \
    }                                                                                 \
    static void slope_##fn##_bf16(void *dx, const void *x, const void *dy, int64_t n) \
    {                                                                                 \
        unary_grad_loop(true, fn, dx, x, dy, n);                                      \
    }
UNARY_TABLE(X)
#undef X

ALWAYS_INLINE void scale(bool bf16, void *y, const void *x, int64_t n, float alpha, float beta)
{
    for (int64_t i = 0; i < n; i += LANES)
        put(bf16, y, i, n, alpha * get(bf16, x, i, n) + beta);
}
FOR_BOTH_TYPES(void, scale, (void *y, const void *x, int64_t n, float alpha, float beta),
               (false, y, x, n, alpha, beta), (true, y, x, n, alpha, beta))

ALWAYS_INLINE void clamp(bool bf16, void *y, const void *x, int64_t n, float least, float most)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = get(bf16, x, i, n);
        put(bf16, y, i, n, pick(v < least, all(least), pick(v > most, all(most), v)));
    }
}
FOR_BOTH_TYPES(void, clamp, (void *y, const void *x, int64_t n, float least, float most),
               (false, y, x, n, least, most), (true, y, x, n, least, most))

ALWAYS_INLINE void clamp_grad(bool bf16, void *dx, const void *x, const void *dy, int64_t n, float least, float most)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = get(bf16, x, i, n);
        put(bf16, dx, i, n, pick((v < least) | (v > most), all(0), get(bf16, dy, i, n)));
    }
}
FOR_BOTH_TYPES(void, clamp_grad, (void *dx, const void *x, const void *dy, int64_t n, float least, float most),
               (false, dx, x, dy, n, least, most), (true, dx, x, dy, n, least, most))

ALWAYS_INLINE vf binary(int op, vf a, vf b)
{
    return op == KERNEL_ADD ? a + b : op == KERNEL_SUB ? a - b : op == KERNEL_MUL ? a * b : a / b;
}

ALWAYS_INLINE void same_loop(bool bf16, int op, void *y, const void *a, const void *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        put(bf16, y, i, n, binary(op, get(bf16, a, i, n), get(bf16, b, i, n)));
}

ALWAYS_INLINE void row_loop(bool bf16, int op, void *y, const void *a, const float *b, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *from = (const char *)a + r * c * bytes;
        void *to = (char *)y + r * c * bytes;
        for (int64_t j = 0; j < c; j += LANES)
            put(bf16, to, j, c, binary(op, get(bf16, from, j, c), get_float(b, j, c)));
    }
}

ALWAYS_INLINE void column_loop(bool bf16, int op, void *y, const void *a, const float *b, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *from = (const char *)a + r * c * bytes;
        void *to = (char *)y + r * c * bytes;
        vf number = all(b[r]);
        for (int64_t j = 0; j < c; j += LANES)
            put(bf16, to, j, c, binary(op, get(bf16, from, j, c), number));
    }
}

#define BINARY_OF_TYPE(op, type, bf16)                                                                         \
    static void same_##op##_##type(void *y, const void *a, const void *b, int64_t n)                           \
    {                                                                                                          \
        same_loop(bf16, op, y, a, b, n);                                                                       \
    }                                                                                                          \
    static void row_##op##_##type(void *y, const void *a, const float *b, int64_t rows, int64_t c)             \
    {                                                                                                          \
        row_loop(bf16, op, y, a, b, rows, c);                                                                  \
    }                                                                                                          \
    static void column_##op##_##type(void *y, const void *a, const float *b, int64_t rows, int64_t c)          \
    {                                                                                                          \
        column_loop(bf16, op, y, a, b, rows, c);                                                               \
    }
#define BINARY(op) BINARY_OF_TYPE(op, f32, false) BINARY_OF_TYPE(op, bf16, true)
BINARY(KERNEL_ADD)
BINARY(KERNEL_SUB)
BINARY(KERNEL_MUL)
BINARY(KERNEL_DIV)

ALWAYS_INLINE void geglu(bool bf16, void *y, const void *x, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *value = (const char *)x + 2 * r * c * bytes, *gate = (const char *)value + c * bytes;
        void *to = (char *)y + r * c * bytes;
        for (int64_t j = 0; j < c; j += LANES)
            put(bf16, to, j, c, get(bf16, value, j, c) * unary_value(UNARY_GELU, get(bf16, gate, j, c)));
    }
}
FOR_BOTH_TYPES(void, geglu, (void *y, const void *x, int64_t rows, int64_t c), (false, y, x, rows, c),
               (true, y, x, rows, c))

ALWAYS_INLINE void geglu_grad(bool bf16, void *dx, const void *x, const void *dy, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *value = (const char *)x + 2 * r * c * bytes, *gate = (const char *)value + c * bytes;
        const void *from = (const char *)dy + r * c * bytes;
        void *d_value = (char *)dx + 2 * r * c * bytes, *d_gate = (char *)d_value + c * bytes;
        for (int64_t j = 0; j < c; j += LANES) {
            vf d = get(bf16, from, j, c), v = get(bf16, value, j, c), g = get(bf16, gate, j, c);
            vf phi = normal_distribution(g);
            put(bf16, d_value, j, c, d * g * phi);
            put(bf16, d_gate, j, c, d * v * (phi + g * normal_density(g)));
        }
    }
}
FOR_BOTH_TYPES(void, geglu_grad, (void *dx, const void *x, const void *dy, int64_t rows, int64_t c),
               (false, dx, x, dy, rows, c), (true, dx, x, dy, rows, c))

ALWAYS_INLINE void swiglu(bool bf16, void *y, const void *x, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *gate = (const char *)x + 2 * r * c * bytes, *value = (const char *)gate + c * bytes;
        void *to = (char *)y + r * c * bytes;
        for (int64_t j = 0; j < c; j += LANES)
            put(bf16, to, j, c, unary_value(UNARY_SILU, get(bf16, gate, j, c)) * get(bf16, value, j, c));
    }
}
FOR_BOTH_TYPES(void, swiglu, (void *y, const void *x, int64_t rows, int64_t c), (false, y, x, rows, c),
               (true, y, x, rows, c))

ALWAYS_INLINE void swiglu_grad(bool bf16, void *dx, const void *x, const void *dy, int64_t rows, int64_t c)
{
    const int64_t bytes = bf16 ? 2 : 4;
    for (int64_t r = 0; r < rows; r++) {
        const void *gate = (const char *)x + 2 * r * c * bytes, *value = (const char *)gate + c * bytes;
        const void *from = (const char *)dy + r * c * bytes;
        void *d_gate = (char *)dx + 2 * r * c * bytes, *d_value = (char *)d_gate + c * bytes;
        for (int64_t j = 0; j < c; j += LANES) {
            vf d = get(bf16, from, j, c), v = get(bf16, value, j, c), g = get(bf16, gate, j, c);
            put(bf16, d_gate, j, c, d * v * silu_slope(g));
            put(bf16, d_value, j, c, d * unary_value(UNARY_SILU, g));
        }
    }
}
FOR_BOTH_TYPES(void, swiglu_grad, (void *dx, const void *x, const void *dy, int64_t rows, int64_t c),
               (false, dx, x, dy, rows, c), (true, dx, x, dy, rows, c))

ALWAYS_INLINE void rotate(bool bf16, void *y, const void *x, const float *cosine, const float *sine, int64_t n)
{
    for (int64_t j = 0; j < n; j += LANES) {
        vf v = get(bf16, x, j, n);
        put(bf16, y, j, n, v * get_float(cosine, j, n) + partners(v, 1) * get_float(sine, j, n));
    }
}
FOR_BOTH_TYPES(void, rotate, (void *y, const void *x, const float *cosine, const float *sine, int64_t n),
               (false, y, x, cosine, sine, n), (true, y, x, cosine, sine, n))

#define OPS(kind, type) \
    { kind##_KERNEL_ADD_##type, kind##_KERNEL_SUB_##type, kind##_KERNEL_MUL_##type, kind##_KERNEL_DIV_##type }

const struct elementwise_kernels KERNEL(elementwise) = {
#define X(fn, text) [fn] = value_##fn##_f32,
    .unary[0] = { UNARY_TABLE(X) },
#undef X
#define X(fn, text) [fn] = value_##fn##_bf16,
    .unary[1] = { UNARY_TABLE(X) },
#undef X
#define X(fn, text) [fn] = slope_##fn##_f32,
    .unary_grad[0] = { UNARY_TABLE(X) },
#undef X
#define X(fn, text) [fn] = slope_##fn##_bf16,
    .unary_grad[1] = { UNARY_TABLE(X) },
#undef X
    .scale = BOTH(scale),
    .clamp = BOTH(clamp),
    .clamp_grad = BOTH(clamp_grad),
    .same = { OPS(same, f32), OPS(same, bf16) },
    .row = { OPS(row, f32), OPS(row, bf16) },
    .column = { OPS(column, f32), OPS(column, bf16) },
    .geglu = BOTH(geglu),
    .geglu_grad = BOTH(geglu_grad),
    .swiglu = BOTH(swiglu),
    .swiglu_grad = BOTH(swiglu_grad),
    .rotate = BOTH(rotate),
};
