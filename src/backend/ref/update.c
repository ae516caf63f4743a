#include <math.h>

#include "backend/ref/ref_internal.h"

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
