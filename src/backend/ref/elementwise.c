#include <math.h>

#include "backend/ref/ref_internal.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double normal_density(double x)
{
    return exp(-0.5 * x * x) * 0.5 * M_SQRT1_2 * M_2_SQRTPI;
}

/* gelu's tanh form: x/2 (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3) */
static const double gelu_a = 0.79788456080286535588, gelu_b = 0.044715;
static const double quick = 1.702, leak = 0.2;

double ref_unary_value(enum unary fn, double x)
{
    switch (fn) {
    case UNARY_NONE: return x;
    case UNARY_SILU: return x * sigmoid(x);
    case UNARY_GELU: return x * normal_cdf(x);
    case UNARY_GELU_TANH: return 0.5 * x * (1 + tanh(gelu_a * (x + gelu_b * x * x * x)));
    case UNARY_QUICK_GELU: return x * sigmoid(quick * x);
    case UNARY_RELU: return x > 0 ? x : 0;
    case UNARY_LEAKY_RELU: return x > 0 ? x : leak * x;
    case UNARY_SIGMOID: return sigmoid(x);
    case UNARY_TANH: return tanh(x);
    case UNARY_EXP: return exp(x);
    case UNARY_LOG: return log(x);
    case UNARY_SQRT: return sqrt(x);
    case UNARY_SQUARE: return x * x;
    case UNARY_ABS: return fabs(x);
    case UNARY_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case UNARY_COUNT: break;
    }
    return NAN;
}

double ref_unary_slope(enum unary fn, double x)
{
    double s, t;
    switch (fn) {
    case UNARY_NONE: return 1;
    case UNARY_SILU: s = sigmoid(x); return s * (1 + x * (1 - s));
    case UNARY_GELU: return normal_cdf(x) + x * normal_density(x);
    case UNARY_GELU_TANH:
        t = tanh(gelu_a * (x + gelu_b * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_a * (1 + 3 * gelu_b * x * x);
    case UNARY_QUICK_GELU: s = sigmoid(quick * x); return s * (1 + quick * x * (1 - s));
    case UNARY_RELU: return x > 0 ? 1 : 0;
    case UNARY_LEAKY_RELU: return x > 0 ? 1 : leak;
    case UNARY_SIGMOID: s = sigmoid(x); return s * (1 - s);
    case UNARY_TANH: t = tanh(x); return 1 - t * t;
    case UNARY_EXP: return exp(x);
    case UNARY_LOG: return 1 / x;
    case UNARY_SQRT: return 0.5 / sqrt(x);
    case UNARY_SQUARE: return 2 * x;
    case UNARY_ABS: return x > 0 ? 1 : x < 0 ? -1 : 0;
    case UNARY_SOFTPLUS: return sigmoid(x);
    case UNARY_COUNT: break;
    }
    return NAN;
}

int64_t ref_broadcast_index(struct shape large, struct shape small, int64_t at)
{
    int64_t index = 0, stride = 1;
    for (int d = large.rank - 1; d >= 0; d--) {
        int64_t place = at % large.dim[d];
        at /= large.dim[d];
        if (small.dim[d] != 1)
            index += place * stride;
        stride *= small.dim[d];
    }
    return index;
}

/* add, sub, mul, div */
bool ref_binary(const struct ref_args *a, struct err *e)
{
    struct shape sa = ref_in_shape(a, 0), sb = ref_in_shape(a, 1);
    enum op op = a->call->node->op;
    int64_t count = shape_count(sa);
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < count; i++) {
        double x = a->in[0][i], y = a->in[1][ref_broadcast_index(sa, sb, i)];
        a->out[0][i] = op == OP_ADD ? x + y : op == OP_SUB ? x - y : op == OP_MUL ? x * y : x / y;
    }
    return true;
}

bool ref_scale(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->attr->alpha * a->in[0][i] + a->attr->beta;
    return true;
}

bool ref_clamp(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++) {
        double x = a->in[0][i];
        a->out[0][i] = x < a->attr->alpha ? a->attr->alpha : x > a->attr->beta ? a->attr->beta : x;
    }
    return true;
}

bool ref_clamp_grad(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    for (int64_t i = 0; i < count; i++) {
        double x = a->in[0][i];
        a->out[0][i] = x < a->attr->alpha || x > a->attr->beta ? 0 : a->in[1][i];
    }
    return true;
}

bool ref_unary(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = ref_unary_value(a->attr->fn, a->in[0][i]);
    return true;
}

bool ref_unary_grad(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->in[1][i] * ref_unary_slope(a->attr->fn, a->in[0][i]);
    return true;
}

bool ref_gated(const struct ref_args *a, struct err *e)
{
    int64_t c = shape_last(ref_out_shape(a, 0)), rows = shape_rows(ref_out_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++) {
            const double *x = a->in[0] + i * 2 * c;
            int64_t gate = a->attr->fn == UNARY_SILU ? j : c + j, value = a->attr->fn == UNARY_SILU ? c + j : j;
            a->out[0][i * c + j] = x[value] * ref_unary_value(a->attr->fn, x[gate]);
        }
    return true;
}

bool ref_gated_grad(const struct ref_args *a, struct err *e)
{
    int64_t c = shape_last(ref_in_shape(a, 0)) / 2, rows = shape_rows(ref_in_shape(a, 0));
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++) {
            const double *x = a->in[0] + i * 2 * c;
            double *dx = a->out[0] + i * 2 * c, dy = a->in[1][i * c + j];
            int64_t gate = a->attr->fn == UNARY_SILU ? j : c + j, value = a->attr->fn == UNARY_SILU ? c + j : j;
            dx[value] = dy * ref_unary_value(a->attr->fn, x[gate]);
            dx[gate] = dy * x[value] * ref_unary_slope(a->attr->fn, x[gate]);
        }
    return true;
}

bool ref_sum_squares(const struct ref_args *a, struct err *e)
{
    int64_t count = shape_count(ref_in_shape(a, 0));
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a->in[0][i] * a->in[0][i];
    a->out[0][0] = sum;
    return true;
}
