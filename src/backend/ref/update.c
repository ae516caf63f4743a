#include <math.h>

#include "backend/ref/ref_internal.h"
#include "tensor/dynamic_code.h"

bool ref_accumulate(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->in[0][i] + a->in[1][i];
    return true;
}

bool ref_adamw(const struct ref_args *a, struct err *e)
{
    const double *p = a->in[0], *m = a->in[1], *v = a->in[2], *step = a->in[4];
    double rate = step[STEP_RATE], beta1 = step[STEP_BETA1], beta2 = step[STEP_BETA2];
    double decay = step[STEP_DECAY] * a->attr->alpha;
    int64_t count = shape_count(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < count; i++) {
        double g = step[STEP_GRAD_SCALE] * a->in[3][i];
        double m_new = beta1 * m[i] + (1 - beta1) * g, v_new = beta2 * v[i] + (1 - beta2) * g * g;
        a->out[0][i] = p[i] - rate * decay * p[i] -
                       rate / step[STEP_CORRECTION1] * m_new / (sqrt(v_new / step[STEP_CORRECTION2]) + step[STEP_EPS]);
        a->out[1][i] = m_new;
        a->out[2][i] = v_new;
    }
    return true;
}

bool ref_ema(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->in[0][i] + (1 - a->in[2][STEP_EMA_DECAY]) * (a->in[1][i] - a->in[0][i]);
    return true;
}

/* Scratch of a block's moments after they were moved; then codes of the nearest values, with the largest magnitude. */
static double to_codes(const struct dynamic_code *code, const double *moment, int64_t count, double *codes)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(moment[i]));
    for (int64_t i = 0; i < count; i++) {
        double x = largest > 0 ? moment[i] / largest : 0;
        int near = 0;
        while (near < DYNAMIC_CODES - 1 && x > code->border[near])
            near++;
        codes[i] = near;
    }
    return largest;
}

bool ref_adamw8(const struct ref_args *a, struct err *e)
{
    const double *p = a->in[0], *step = a->in[6];
    double rate = step[STEP_RATE], beta1 = step[STEP_BETA1], beta2 = step[STEP_BETA2];
    double decay = step[STEP_DECAY] * a->attr->alpha;
    struct dynamic_code with_sign, without;
    dynamic_code_make(&with_sign, true);
    dynamic_code_make(&without, false);
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t b = 0; b * UPDATE_BLOCK < count; b++) {
        double m[UPDATE_BLOCK], v[UPDATE_BLOCK];
        int64_t begin = b * UPDATE_BLOCK, n = count - begin < UPDATE_BLOCK ? count - begin : UPDATE_BLOCK;
        for (int64_t k = 0; k < n; k++) {
            int64_t i = begin + k;
            double g = step[STEP_GRAD_SCALE] * a->in[5][i];
            m[k] = beta1 * with_sign.value[(int)a->in[1][i]] * a->in[3][b] + (1 - beta1) * g;
            v[k] = beta2 * without.value[(int)a->in[2][i]] * a->in[4][b] + (1 - beta2) * g * g;
            a->out[0][i] = p[i] - rate * decay * p[i] -
                           rate / step[STEP_CORRECTION1] * m[k] / (sqrt(v[k] / step[STEP_CORRECTION2]) + step[STEP_EPS]);
        }
        a->out[3][b] = to_codes(&with_sign, m, n, a->out[1] + begin);
        a->out[4][b] = to_codes(&without, v, n, a->out[2] + begin);
    }
    return true;
}

bool ref_lion(const struct ref_args *a, struct err *e)
{
    const double *p = a->in[0], *m = a->in[1], *step = a->in[3];
    double rate = step[STEP_RATE], decay = step[STEP_DECAY] * a->attr->alpha;
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++) {
        double g = step[STEP_GRAD_SCALE] * a->in[2][i], u = step[STEP_BETA1] * m[i] + (1 - step[STEP_BETA1]) * g;
        a->out[0][i] = p[i] - rate * decay * p[i] - rate * ((u > 0) - (u < 0));
        a->out[1][i] = step[STEP_BETA2] * m[i] + (1 - step[STEP_BETA2]) * g;
    }
    return true;
}

/* p from u, which lies in out[0]. */
static void adafactor_step(const struct ref_args *a, const double *step)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    double squares = 0, decay = step[STEP_RATE] * step[STEP_DECAY] * a->attr->alpha;
    for (int64_t i = 0; i < count; i++)
        squares += a->out[0][i] * a->out[0][i];
    double by = fmax(1, sqrt(squares / (double)count));
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->in[0][i] - decay * a->in[0][i] - step[STEP_RATE] * a->out[0][i] / by;
}

bool ref_adafactor(const struct ref_args *a, struct err *e)
{
    const double *g = a->in[3], *step = a->in[4];
    struct shape s = ref_in_shape(a, 0);
    int64_t columns = s.dim[s.rank - 1], rows = s.dim[s.rank - 2], count = shape_count(s);
    double beta2 = step[STEP_BETA2], scale = step[STEP_GRAD_SCALE];
    for (int64_t i = 0; i < count / columns; i++)
        a->out[1][i] = beta2 * a->in[1][i];
    for (int64_t i = 0; i < count / rows; i++)
        a->out[2][i] = beta2 * a->in[2][i];
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / columns, column = row / rows * columns + i % columns;
        double square = (1 - beta2) * (scale * g[i] * scale * g[i] + 1e-30);
        a->out[1][row] += square / (double)columns;
        a->out[2][column] += square / (double)rows;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / columns, matrix = row / rows;
        double mean = 0;
        for (int64_t k = 0; k < rows; k++)
            mean += a->out[1][matrix * rows + k] / (double)rows;
        a->out[0][i] = scale * g[i] / sqrt(a->out[1][row] / mean * a->out[2][matrix * columns + i % columns]);
    }
    adafactor_step(a, step);
    return true;
}

bool ref_adafactor_whole(const struct ref_args *a, struct err *e)
{
    const double *step = a->in[3];
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++) {
        double g = step[STEP_GRAD_SCALE] * a->in[2][i];
        a->out[1][i] = step[STEP_BETA2] * a->in[1][i] + (1 - step[STEP_BETA2]) * (g * g + 1e-30);
        a->out[0][i] = g / sqrt(a->out[1][i]);
    }
    adafactor_step(a, step);
    return true;
}

bool ref_prodigy_measure(const struct ref_args *a, struct err *e)
{
    const double *p = a->in[3], *p0 = a->in[4], *step = a->in[6];
    double beta1 = step[STEP_BETA1], beta2 = step[STEP_BETA2], d = step[STEP_DISTANCE];
    int64_t count = shape_count(ref_in_shape(a, 0));
    a->out[3][0] = a->out[3][1] = 0;
    for (int64_t i = 0; i < count; i++) {
        double g = step[STEP_GRAD_SCALE] * a->in[5][i];
        a->out[0][i] = beta1 * a->in[0][i] + (1 - beta1) * d * g;
        a->out[1][i] = beta2 * a->in[1][i] + (1 - beta2) * d * d * g * g;
        a->out[2][i] = step[STEP_BETA3] * a->in[2][i] + step[STEP_SUM_RATE] * g;
        a->out[3][0] += g * (p0[i] - p[i]);
        a->out[3][1] += fabs(a->out[2][i]);
    }
    return true;
}

bool ref_prodigy(const struct ref_args *a, struct err *e)
{
    const double *p = a->in[0], *step = a->in[3];
    double rate = step[STEP_RATE], decay = step[STEP_DECAY] * a->attr->alpha;
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = p[i] - rate * decay * p[i] - rate * a->in[1][i] / (sqrt(a->in[2][i]) + step[STEP_EPS]);
    return true;
}
