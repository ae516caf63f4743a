#include <math.h>
#include <string.h>

#include "backend/ref/ref_internal.h"

static bool id_at(const struct ref_args *a, int64_t i, int64_t table, int64_t *id, struct err *e)
{
    *id = (int64_t)a->in[1][i];
    if (*id < 0 || *id >= table)
        return err_set(e, ERR_ARG, "id %lld at place %lld is outside the table of %lld rows", (long long)*id,
                       (long long)i, (long long)table);
    return true;
}

bool ref_embedding(const struct ref_args *a, struct err *e)
{
    int64_t rows = ref_in_shape(a, 0).dim[0], c = ref_in_shape(a, 0).dim[1], ids = shape_count(ref_in_shape(a, 1)), id;
    for (int64_t i = 0; i < ids; i++) {
        if (!id_at(a, i, rows, &id, e))
            return false;
        memcpy(a->out[0] + i * c, a->in[0] + id * c, (size_t)c * sizeof(double));
    }
    return true;
}

bool ref_embedding_grad(const struct ref_args *a, struct err *e)
{
    int64_t rows = ref_out_shape(a, 0).dim[0], c = ref_out_shape(a, 0).dim[1], ids = shape_count(ref_in_shape(a, 1)), id;
    memset(a->out[0], 0, (size_t)(rows * c) * sizeof(double));
    for (int64_t i = 0; i < ids; i++) {
        if (!id_at(a, i, rows, &id, e))
            return false;
        for (int64_t j = 0; j < c; j++)
            a->out[0][id * c + j] += a->in[0][i * c + j];
    }
    return true;
}

bool ref_rotary(const struct ref_args *a, struct err *e)
{
    struct shape s = ref_in_shape(a, 0);
    int64_t tokens = s.dim[0] * s.dim[1], d = s.dim[2] / a->attr->heads, count = a->attr->count;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < a->attr->heads; h++) {
            const double *x = a->in[0] + t * s.dim[2] + h * d;
            double *y = a->out[0] + t * s.dim[2] + h * d;
            memcpy(y, x, (size_t)d * sizeof *y);
            for (int64_t j = 0; j < count; j += 2) {
                double angle = a->attr->alpha * a->in[1][t] * pow(a->attr->beta, -(double)j / (double)count);
                y[j] = x[j] * cos(angle) - x[j + 1] * sin(angle);
                y[j + 1] = x[j] * sin(angle) + x[j + 1] * cos(angle);
            }
        }
    return true;
}

bool ref_timestep_embedding(const struct ref_args *a, struct err *e)
{
    int64_t count = ref_out_shape(a, 0).dim[0], dim = ref_out_shape(a, 0).dim[1], half = dim / 2;
    double shift = a->attr->alpha, period = a->attr->beta;
    memset(a->out[0], 0, (size_t)(count * dim) * sizeof(double)); /* an odd dim ends in a zero */
    for (int64_t n = 0; n < count; n++)
        for (int64_t i = 0; i < half; i++) {
            double angle = a->in[0][n] * exp(-log(period) * (double)i / ((double)half - shift));
            a->out[0][n * dim + i] = a->attr->cosine_first ? cos(angle) : sin(angle);
            a->out[0][n * dim + half + i] = a->attr->cosine_first ? sin(angle) : cos(angle);
        }
    return true;
}
