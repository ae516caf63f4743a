/* The loops over numbers, each for one thread's share of the work. The files of this folder are compiled once for each
 * kind of processor (kernel_flags in meson.build) and each gives one table per kind: elementwise_v3, norm_amx, ...
 *
 * Arrays of type T (void *) are f32 in element 0 of a pair of functions and bf16 in element 1; arithmetic is in f32, bf16 is
 * rounded to nearest even. An output may be the very array of an input of the same type, unless "apart" is said. */
#ifndef LIMN_BACKEND_CPU_KERNELS_KERNELS_H
#define LIMN_BACKEND_CPU_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"

#define KERNEL_PASTE2(name, isa) name##_##isa
#define KERNEL_PASTE(name, isa) KERNEL_PASTE2(name, isa)
/* In a kernel file: the name with the kind of processor behind it. */
#define KERNEL(name) KERNEL_PASTE(name, ISA)

enum { KERNEL_ADD, KERNEL_SUB, KERNEL_MUL, KERNEL_DIV, KERNEL_BINARY_COUNT };

/* Functions of n numbers each. */
struct elementwise_kernels {
    void (*unary[2][UNARY_COUNT])(void *y, const void *x, int64_t n);
    void (*unary_grad[2][UNARY_COUNT])(void *dx, const void *x, const void *dy, int64_t n);
    void (*scale[2])(void *y, const void *x, int64_t n, float alpha, float beta);
    void (*clamp[2])(void *y, const void *x, int64_t n, float least, float most);
    void (*clamp_grad[2])(void *dx, const void *x, const void *dy, int64_t n, float least, float most);
    void (*same[2][KERNEL_BINARY_COUNT])(void *y, const void *a, const void *b, int64_t n); /* b of type T too */
    /* a [rows, c] with b [c] f32, the same for each row. */
    void (*row[2][KERNEL_BINARY_COUNT])(void *y, const void *a, const float *b, int64_t rows, int64_t c);
    /* a [rows, c] with b [rows] f32. */
    void (*column[2][KERNEL_BINARY_COUNT])(void *y, const void *a, const float *b, int64_t rows, int64_t c);
    /* x [rows, 2c] -> y [rows, c], apart; gradient dx [rows, 2c] (may be x). */
    void (*geglu[2])(void *y, const void *x, int64_t rows, int64_t c);
    void (*geglu_grad[2])(void *dx, const void *x, const void *dy, int64_t rows, int64_t c);
    void (*swiglu[2])(void *y, const void *x, int64_t rows, int64_t c);
    void (*swiglu_grad[2])(void *dx, const void *x, const void *dy, int64_t rows, int64_t c);
    /* y[j] = cosine[j] x[j] + sine[j] x[j ^ 1], n even: neighbours are turned if sine is -sin, sin. */
    void (*rotate[2])(void *y, const void *x, const float *cosine, const float *sine, int64_t n);
};

/* Conversions of n numbers; NULL in the table where dtype_convert does it. y and x apart. */
struct convert_kernels {
    void (*bf16_to_f32)(float *y, const void *x, int64_t n);
    void (*f32_to_bf16)(void *y, const float *x, int64_t n);
    void (*f16_to_f32)(float *y, const void *x, int64_t n);
    void (*f32_to_f16)(void *y, const float *x, int64_t n);
};

/* y[i] = the number, n of a quantised type (tensor/quant.h), n a multiple of its block. */
struct quant_kernels {
    void (*unpack)(float *y, const void *blocks, enum dtype t, int64_t n);
};

/* What a channel of an image is normalised and differentiated with; arrays of c numbers. */
struct norm_channels {
    const float *rstd, *shift; /* normalised = rstd x + shift */
    const float *gamma, *beta; /* before the activation: gamma normalised + beta */
    const float *p, *q, *r;    /* dx = p dz + q normalised + r, dz the gradient before the activation */
};

/* Rows of c numbers follow each other `ld` apart (in elements), so that a block of columns can be worked on. */
struct norm_kernels {
    /* sum[j] += x - origin[j], squares[j] += (x - origin[j])^2 over the rows. */
    void (*moments[2])(float *sum, float *squares, const float *origin, const void *x, int64_t rows, int64_t c,
                       int64_t ld);
    /* y = act(a[j] x + b[j]), act by silu. */
    void (*apply[2])(void *y, const void *x, const float *a, const float *b, int64_t rows, int64_t c, int64_t ld,
                     bool silu);
    /* sum[j] += dz, dot[j] += dz normalised over the rows. */
    void (*grad_sums[2])(float *sum, float *dot, const void *x, const void *dy, const struct norm_channels *k,
                         int64_t rows, int64_t c, int64_t ld, bool silu);
    void (*grad_apply[2])(void *dx, const void *x, const void *dy, const struct norm_channels *k, int64_t rows,
                          int64_t c, int64_t ld, bool silu);
    /* One row. The gradient adds to dgamma and dbeta. */
    void (*layer[2])(void *y, const void *x, const float *gamma, const float *beta, int64_t c, float eps,
                     float *mean, float *rstd);
    void (*layer_grad[2])(void *dx, float *dgamma, float *dbeta, const void *x, const void *dy, const float *gamma,
                          int64_t c, float mean, float rstd);
    void (*rms[2])(void *y, const void *x, const float *gamma, int64_t c, float eps, float *rstd);
    void (*rms_grad[2])(void *dx, float *dgamma, const void *x, const void *dy, const float *gamma, int64_t c, float rstd);
    /* One row; work holds c floats. */
    void (*softmax[2])(void *y, const void *x, float *work, int64_t c);
    void (*softmax_grad[2])(void *dx, const void *y, const void *dy, int64_t c);
};

struct reduce_kernels {
    double (*sum[2])(const void *x, int64_t n);
    double (*sum_squares[2])(const void *x, int64_t n);
    /* sum[j] += x over rows of c numbers that lie ld apart. */
    void (*columns[2])(float *sum, const void *x, int64_t rows, int64_t c, int64_t ld);
    /* sum[i] += x[i], n numbers, in f64. */
    void (*flush)(double *sum, const float *x, int64_t n);
    /* The same, and sets x to 0. */
    void (*drain)(double *sum, float *x, int64_t n);
};

/* The numbers of an AdamW step, as the kernel wants them. */
struct adamw_step {
    float beta1, beta2, eps, keep; /* keep = 1 - rate decay */
    float rate;                    /* rate / correction1 */
    float correction2;             /* 1 / correction2 */
    float grad_scale;
};

struct dynamic_code;

/* The numbers of another optimizer's step (graph/ops.h); keep = 1 - rate decay. */
struct update_step {
    float rate, keep, beta1, beta2, eps, grad_scale, distance, beta3, sum_rate;
};

struct update_kernels {
    void (*accumulate[2])(float *sum, const void *x, int64_t n);
    void (*adamw)(float *p, float *m, float *v, const float *g, int64_t n, const struct adamw_step *step);
    /* One block, of at most 256 numbers, of moments in codes (tensor/dynamic_code.h). */
    void (*adamw8)(float *p, uint8_t *m, uint8_t *v, float *m_scale, float *v_scale, const float *g, int64_t n,
                   const struct adamw_step *step, const struct dynamic_code *with_sign, const struct dynamic_code *without);
    void (*lion)(float *p, float *m, const float *g, int64_t n, const struct update_step *step);
    /* Adafactor's second moments: of some columns of a matrix whose rows lie ld apart (c), of a row (gives the sum), of an array (v). */
    void (*square_columns)(float *c, const float *g, int64_t rows, int64_t n, int64_t ld, const struct update_step *step);
    double (*square_row)(const float *g, int64_t n, const struct update_step *step);
    void (*square_whole)(float *v, const float *g, int64_t n, const struct update_step *step);
    /* u = by g / sqrt(c): gives the sum of u^2; moves p: keep p - u. */
    double (*scaled_squares)(const float *g, const float *c, int64_t n, float by);
    void (*scaled_step)(float *p, const float *g, const float *c, int64_t n, float by, float keep);
    void (*prodigy_measure)(float *m, float *v, float *s, const float *p, const float *p0, const float *g, int64_t n,
                            const struct update_step *step, double sums[2]);
    void (*prodigy)(float *p, const float *m, const float *v, int64_t n, const struct update_step *step);
    void (*ema)(float *e, const float *p, int64_t n, float rate);
};

struct kernels {
    const struct elementwise_kernels *elementwise;
    const struct convert_kernels *convert;
    const struct quant_kernels *quant;
    const struct norm_kernels *norm;
    const struct reduce_kernels *reduce;
    const struct update_kernels *update;
};

#define KERNELS_OF(isa)                                             \
    extern const struct elementwise_kernels elementwise_##isa;      \
    extern const struct convert_kernels convert_##isa;              \
    extern const struct quant_kernels quant_##isa;                  \
    extern const struct norm_kernels norm_##isa;                    \
    extern const struct reduce_kernels reduce_##isa;                \
    extern const struct update_kernels update_##isa;
KERNELS_OF(v2)
KERNELS_OF(v3)
KERNELS_OF(v4)
KERNELS_OF(bf16)
KERNELS_OF(amx)
#undef KERNELS_OF

#endif
