/* Kernels of Winograd's minimal filtering: a tile of 4x4 results of a 3x3 convolution from 36 products in place of 144.
 *
 *     Y = A' [ (G g G') * (B' d B) ] A        d 6x6 pixels, g 3x3 taps, * position by position, summed over channels
 *
 * source  Winograd 1980; Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks". The points are 0,
 *         +-1/sqrt 2, +-sqrt 2 and infinity: with the papers' (0, +-1, +-2) the largest error was three times as large. It is
 *         3e-6 of the largest result over 320 channels; summing directly has 4e-7.
 * The gradient of the weights is the same with other sizes: three taps from 6x6 pixels and the gradient of 4x4 results. */
#ifndef LIMN_BACKEND_CPU_KERNELS_WINOGRAD_H
#define LIMN_BACKEND_CPU_KERNELS_WINOGRAD_H

#include "backend/cpu/kernels/kernels.h"

enum { WINOGRAD_TILE = 4, WINOGRAD_POINTS = 36, WINOGRAD_MOST_COLUMNS = 32 };

/* m[i][0..columns) = the sum over k of a[i, k] b[k, 0..columns), or is added to. */
struct winograd_product {
    float *m;
    const float *a, *b;
    int64_t m_row;         /* floats from a row of m to the next */
    int64_t a_row, a_term; /* from a row, a term to the next */
    int64_t b_term;
    int64_t rows, terms; /* rows at most the kernels' */
    bool adds;
};

/* Where a tile's results go: y = act(m + bias) + residual. */
struct winograd_target {
    void *y;              /* the first pixel's first channel */
    const void *residual; /* beside y; NULL: none */
    const float *bias;    /* NULL: none */
    void (*act)(void *y, const void *x, int64_t n); /* NULL: none */
    int64_t row, pixel;   /* elements from a row, a pixel to the next */
    int64_t channels;     /* at most the kernels' columns */
    int rows, columns;    /* of the tile that lie in the image */
};

/* Pointers to pixels (NHWC) give their c channels of type T; arrays of positions are f32, padded to `lanes` channels. */
struct winograd_kernels {
    int rows, columns, lanes;
    void (*input[2])(float *v, int64_t position, const void *const at[WINOGRAD_POINTS], int64_t c); /* B' d B */
    void (*weights)(float *u, int64_t position, const float *taps); /* G g G'; taps [9][columns] */
    void (*product)(const struct winograd_product *p);
    void (*output[2])(const struct winograd_target *to, const float *m, int64_t position); /* A' m A of `columns` channels */
    void (*gradient[2])(float *u, int64_t position, const void *const at[16], int64_t c); /* G dy G' */
    void (*weight_gradient)(float *taps, const float *m, int64_t position); /* A' m A; taps [9][columns] */
};

extern const struct winograd_kernels winograd_v2, winograd_v3, winograd_v4, winograd_bf16, winograd_amx;

#endif
