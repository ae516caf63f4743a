#include <math.h>
#include <string.h>

#include "backend/ref/ref_internal.h"

/* group_norm sees x as [n, pixels, groups, width]; layer_norm is the same with one pixel and one group per row. */
struct norm {
    int64_t n, pixels, groups, width;
};

static struct norm norm_of(const struct ref_args *a)
{
    struct shape s = ref_in_shape(a, 0);
    int64_t c = shape_last(s);
    if (a->call->node->op == OP_LAYER_NORM || a->call->node->op == OP_LAYER_NORM_GRAD)
        return (struct norm){ shape_rows(s), 1, 1, c };
    return (struct norm){ s.dim[0], shape_count(s) / s.dim[0] / c, a->attr->groups, c / a->attr->groups };
}

/* Index of the first of `width` neighbours. */
static int64_t norm_at(const struct norm *s, int64_t n, int64_t pixel, int64_t group)
{
    return ((n * s->pixels + pixel) * s->groups + group) * s->width;
}

static bool norm_forward(const struct ref_args *a, enum unary act)
{
    struct norm s = norm_of(a);
    const double *x = a->in[0], *gamma = a->in[1], *beta = a->in[2];
    double count = (double)(s.pixels * s.width);
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t g = 0; g < s.groups; g++) {
            double mean = 0, variance = 0;
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < s.width; i++)
                    mean += x[norm_at(&s, n, p, g) + i] / count;
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < s.width; i++) {
                    double d = x[norm_at(&s, n, p, g) + i] - mean;
                    variance += d * d / count;
                }
            double rstd = 1 / sqrt(variance + a->attr->eps);
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < s.width; i++) {
                    int64_t at = norm_at(&s, n, p, g) + i, channel = g * s.width + i;
                    a->out[0][at] = ref_unary_value(act, (x[at] - mean) * rstd * gamma[channel] + beta[channel]);
                }
            a->out[1][n * s.groups + g] = mean;
            a->out[2][n * s.groups + g] = rstd;
        }
    return true;
}

/* With z = (x - mean) rstd, u = z gamma + beta, y = act(u) and averages over a group:
 *   du = dy act'(u), dgamma = sum du z, dbeta = sum du, dz = du gamma, dx = rstd (dz - avg(dz) - z avg(dz z)). */
static bool norm_backward(const struct ref_args *a, enum unary act)
{
    struct norm s = norm_of(a);
    const double *x = a->in[0], *gamma = a->in[1], *beta = a->in[2], *dy = a->in[5];
    double *dx = a->out[0], *dgamma = a->out[1], *dbeta = a->out[2];
    double count = (double)(s.pixels * s.width);
    memset(dgamma, 0, (size_t)(s.groups * s.width) * sizeof *dgamma);
    memset(dbeta, 0, (size_t)(s.groups * s.width) * sizeof *dbeta);
#pragma omp parallel for if (a->large)
    for (int64_t g = 0; g < s.groups; g++)
        for (int64_t n = 0; n < s.n; n++) {
            double mean = a->in[3][n * s.groups + g], rstd = a->in[4][n * s.groups + g];
            double average = 0, average_z = 0;
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < s.width; i++) {
                    int64_t at = norm_at(&s, n, p, g) + i, channel = g * s.width + i;
                    double z = (x[at] - mean) * rstd;
                    double du = dy[at] * ref_unary_slope(act, z * gamma[channel] + beta[channel]);
                    dgamma[channel] += du * z;
                    dbeta[channel] += du;
                    dx[at] = du * gamma[channel];
                    average += dx[at] / count;
                    average_z += dx[at] * z / count;
                }
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < s.width; i++) {
                    int64_t at = norm_at(&s, n, p, g) + i;
                    dx[at] = rstd * (dx[at] - average - (x[at] - mean) * rstd * average_z);
                }
        }
    return true;
}

bool ref_group_norm(const struct ref_args *a, struct err *e)
{
    return norm_forward(a, a->attr->fn);
}

bool ref_group_norm_grad(const struct ref_args *a, struct err *e)
{
    return norm_backward(a, a->attr->fn);
}

bool ref_layer_norm(const struct ref_args *a, struct err *e)
{
    return norm_forward(a, UNARY_NONE);
}

bool ref_layer_norm_grad(const struct ref_args *a, struct err *e)
{
    return norm_backward(a, UNARY_NONE);
}

bool ref_rms_norm(const struct ref_args *a, struct err *e)
{
    int64_t rows = shape_rows(ref_in_shape(a, 0)), c = shape_last(ref_in_shape(a, 0));
    for (int64_t i = 0; i < rows; i++) {
        const double *x = a->in[0] + i * c;
        double squares = 0;
        for (int64_t j = 0; j < c; j++)
            squares += x[j] * x[j];
        double rstd = a->out[1][i] = 1 / sqrt(squares / (double)c + a->attr->eps);
        for (int64_t j = 0; j < c; j++)
            a->out[0][i * c + j] = x[j] * rstd * a->in[1][j];
    }
    return true;
}

/* With z = x rstd and dz = dy gamma: dx = rstd (dz - z avg(dz z)), dgamma = sum dy z. */
bool ref_rms_norm_grad(const struct ref_args *a, struct err *e)
{
    int64_t rows = shape_rows(ref_in_shape(a, 0)), c = shape_last(ref_in_shape(a, 0));
    memset(a->out[1], 0, (size_t)c * sizeof(double));
    for (int64_t i = 0; i < rows; i++) {
        const double *x = a->in[0] + i * c, *dy = a->in[3] + i * c;
        double rstd = a->in[2][i], average = 0;
        for (int64_t j = 0; j < c; j++) {
            average += dy[j] * a->in[1][j] * x[j] * rstd / (double)c;
            a->out[1][j] += dy[j] * x[j] * rstd;
        }
        for (int64_t j = 0; j < c; j++)
            a->out[0][i * c + j] = rstd * (dy[j] * a->in[1][j] - x[j] * rstd * average);
    }
    return true;
}

bool ref_softmax(const struct ref_args *a, struct err *e)
{
    int64_t rows = shape_rows(ref_in_shape(a, 0)), width = shape_last(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < rows; i++) {
        const double *x = a->in[0] + i * width;
        double *y = a->out[0] + i * width, largest = x[0], sum = 0;
        for (int64_t j = 1; j < width; j++)
            largest = fmax(largest, x[j]);
        for (int64_t j = 0; j < width; j++)
            sum += y[j] = exp(x[j] - largest);
        for (int64_t j = 0; j < width; j++)
            y[j] /= sum;
    }
    return true;
}

bool ref_softmax_grad(const struct ref_args *a, struct err *e)
{
    int64_t rows = shape_rows(ref_in_shape(a, 0)), width = shape_last(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < rows; i++) {
        const double *y = a->in[0] + i * width, *dy = a->in[1] + i * width;
        double sum = 0;
        for (int64_t j = 0; j < width; j++)
            sum += y[j] * dy[j];
        for (int64_t j = 0; j < width; j++)
            a->out[0][i * width + j] = y[j] * (dy[j] - sum);
    }
    return true;
}
