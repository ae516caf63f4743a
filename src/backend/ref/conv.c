#include <string.h>

#include "backend/ref/ref_internal.h"
#include "base/mem.h"

/* x [n, h, w, c], filter [o, c, kh, kw], y [n, ho, wo, o] */
struct conv {
    int64_t n, h, w, c, o, kh, kw, ho, wo, stride, top, left;
};

static struct conv conv_of(const struct op_attr *attr, struct shape x, struct shape w, struct shape y)
{
    return (struct conv){
        .n = x.dim[0], .h = x.dim[1], .w = x.dim[2], .c = x.dim[3], .o = w.dim[0], .kh = w.dim[2], .kw = w.dim[3],
        .ho = y.dim[1], .wo = y.dim[2], .stride = attr->stride, .top = attr->pad[0], .left = attr->pad[1],
    };
}

/* The input row (or column) that tap `tap` of output `out` reads; outside [0, size) it reads a zero. */
static int64_t place_of(int64_t out, int64_t tap, int64_t stride, int64_t pad)
{
    return out * stride + tap - pad;
}

/* The filter as [kh, kw, c, o], rounded to the activations' type; the caller frees it. */
static double *filter_by_tap(const struct conv *s, const double *w, enum dtype type)
{
    int64_t taps = s->kh * s->kw;
    double *f = mem_aligned((size_t)(taps * s->c * s->o) * sizeof *f);
    if (f)
        for (int64_t o = 0; o < s->o; o++)
            for (int64_t c = 0; c < s->c; c++)
                for (int64_t t = 0; t < taps; t++)
                    f[(t * s->c + c) * s->o + o] = ref_round(w[(o * s->c + c) * taps + t], type);
    return f;
}

bool ref_conv2d(const struct ref_args *a, struct err *e)
{
    struct conv s = conv_of(a->attr, ref_in_shape(a, 0), ref_in_shape(a, 1), ref_out_shape(a, 0));
    const double *x = a->in[0], *bias = a->in[2], *residual = a->in[3];
    double *f = filter_by_tap(&s, a->in[1], a->call->in[0].type);
    if (!f)
        return err_nomem(e, "a reference conv2d");
#pragma omp parallel for collapse(3) if (a->large)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t i = 0; i < s.ho; i++)
            for (int64_t j = 0; j < s.wo; j++) {
                int64_t at = ((n * s.ho + i) * s.wo + j) * s.o;
                double *y = a->out[0] + at;
                memset(y, 0, (size_t)s.o * sizeof *y);
                for (int64_t p = 0; p < s.kh; p++)
                    for (int64_t q = 0; q < s.kw; q++) {
                        int64_t row = place_of(i, p, s.stride, s.top), column = place_of(j, q, s.stride, s.left);
                        if (row < 0 || row >= s.h || column < 0 || column >= s.w)
                            continue;
                        const double *pixel = x + ((n * s.h + row) * s.w + column) * s.c;
                        const double *tap = f + (p * s.kw + q) * s.c * s.o;
                        for (int64_t c = 0; c < s.c; c++)
                            for (int64_t o = 0; o < s.o; o++)
                                y[o] += pixel[c] * tap[c * s.o + o];
                    }
                for (int64_t o = 0; o < s.o; o++)
                    y[o] = ref_unary_value(a->attr->fn, y[o] + (bias ? bias[o] : 0)) + (residual ? residual[at + o] : 0);
            }
    mem_free(f);
    return true;
}

bool ref_conv2d_grad_x(const struct ref_args *a, struct err *e)
{
    struct conv s = conv_of(a->attr, ref_out_shape(a, 0), ref_in_shape(a, 1), ref_in_shape(a, 0));
    const double *dy = a->in[0];
    double *f = filter_by_tap(&s, a->in[1], a->call->in[0].type), *dx = a->out[0];
    if (!f)
        return err_nomem(e, "a reference conv2d gradient");
    memset(dx, 0, (size_t)shape_count(ref_out_shape(a, 0)) * sizeof *dx);
#pragma omp parallel for if (a->large)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t i = 0; i < s.ho; i++)
            for (int64_t j = 0; j < s.wo; j++)
                for (int64_t p = 0; p < s.kh; p++)
                    for (int64_t q = 0; q < s.kw; q++) {
                        int64_t row = place_of(i, p, s.stride, s.top), column = place_of(j, q, s.stride, s.left);
                        if (row < 0 || row >= s.h || column < 0 || column >= s.w)
                            continue;
                        const double *g = dy + ((n * s.ho + i) * s.wo + j) * s.o;
                        double *pixel = dx + ((n * s.h + row) * s.w + column) * s.c;
                        const double *tap = f + (p * s.kw + q) * s.c * s.o;
                        for (int64_t c = 0; c < s.c; c++)
                            for (int64_t o = 0; o < s.o; o++)
                                pixel[c] += g[o] * tap[c * s.o + o];
                    }
    mem_free(f);
    return true;
}

bool ref_conv2d_grad_w(const struct ref_args *a, struct err *e)
{
    struct conv s = conv_of(a->attr, ref_in_shape(a, 1), ref_out_shape(a, 0), ref_in_shape(a, 0));
    const double *dy = a->in[0], *x = a->in[1];
    double *dw = a->out[0];
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t o = 0; o < s.o; o++)
        for (int64_t c = 0; c < s.c; c++)
            for (int64_t p = 0; p < s.kh; p++)
                for (int64_t q = 0; q < s.kw; q++) {
                    double sum = 0;
                    for (int64_t n = 0; n < s.n; n++)
                        for (int64_t i = 0; i < s.ho; i++)
                            for (int64_t j = 0; j < s.wo; j++) {
                                int64_t row = place_of(i, p, s.stride, s.top);
                                int64_t column = place_of(j, q, s.stride, s.left);
                                if (row >= 0 && row < s.h && column >= 0 && column < s.w)
                                    sum += dy[((n * s.ho + i) * s.wo + j) * s.o + o] *
                                           x[((n * s.h + row) * s.w + column) * s.c + c];
                            }
                    dw[((o * s.c + c) * s.kh + p) * s.kw + q] = sum;
                }
    return true;
}
