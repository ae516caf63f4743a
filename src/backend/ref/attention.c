#include <math.h>
#include <string.h>

#include "backend/ref/ref_internal.h"

struct heads {
    int64_t n, tq, tk, heads, d, width; /* width = heads * d: from one token to the next */
    double scale;
    bool causal;
    const double *pads; /* [n], or NULL */
};

static struct heads heads_of(const struct ref_args *a)
{
    struct shape q = ref_in_shape(a, 0), k = ref_in_shape(a, 1);
    return (struct heads){
        .n = q.dim[0], .tq = q.dim[1], .tk = k.dim[1], .heads = a->attr->heads, .d = q.dim[2] / a->attr->heads,
        .width = q.dim[2], .scale = a->attr->alpha, .causal = a->attr->causal,
        .pads = a->in[a->call->node->op == OP_ATTENTION ? 3 : 6],
    };
}

/* Keys begin .. end - 1. */
struct keys {
    int64_t begin, end;
};

/* Which keys query i of batch row n sees: causal attention lines the last query up with the last key. A pad sees all. */
static struct keys keys_of(const struct heads *s, int64_t n, int64_t i)
{
    int64_t pads = s->pads ? (int64_t)s->pads[n] : 0, token = i + s->tk - s->tq;
    if (s->pads && token < pads)
        return (struct keys){ 0, s->tk };
    return (struct keys){ pads, !s->causal ? s->tk : token < 0 ? 0 : token + 1 };
}

static bool pads_fit(const struct heads *s, struct err *e)
{
    for (int64_t n = 0; s->pads && n < s->n; n++)
        if (!(s->pads[n] >= 0 && s->pads[n] <= (double)s->tk))
            return err_set(e, ERR_ARG, "row %lld has %g pads, but there are %lld keys", (long long)n, s->pads[n],
                           (long long)s->tk);
    return true;
}

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One row at a time, the largest logit found first: the row of scores is computed twice and never kept. */
bool ref_attention(const struct ref_args *a, struct err *e)
{
    struct heads s = heads_of(a);
    if (!pads_fit(&s, e))
        return false;
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t i = 0; i < s.tq; i++) {
                const double *q = a->in[0] + (n * s.tq + i) * s.width + h * s.d;
                const double *k = a->in[1] + n * s.tk * s.width + h * s.d;
                const double *v = a->in[2] + n * s.tk * s.width + h * s.d;
                double *y = a->out[0] + (n * s.tq + i) * s.width + h * s.d, largest = -INFINITY, sum = 0;
                struct keys seen = keys_of(&s, n, i);
                for (int64_t j = seen.begin; j < seen.end; j++)
                    largest = fmax(largest, s.scale * dot(q, k + j * s.width, s.d));
                memset(y, 0, (size_t)s.d * sizeof *y);
                for (int64_t j = seen.begin; j < seen.end; j++) {
                    double p = exp(s.scale * dot(q, k + j * s.width, s.d) - largest);
                    sum += p;
                    for (int64_t l = 0; l < s.d; l++)
                        y[l] += p * v[j * s.width + l];
                }
                for (int64_t l = 0; seen.begin < seen.end && l < s.d; l++)
                    y[l] /= sum;
                a->out[1][(n * s.heads + h) * s.tq + i] = largest + log(sum);
            }
    return true;
}

/* Dao et al. 2022, algorithm 4: p = exp(scale q k' - lse), dv = p' dy, ds = p (dy v' - rowsum(dy y)),
 * dq = scale ds k, dk = scale ds' q. */
bool ref_attention_grad(const struct ref_args *a, struct err *e)
{
    struct heads s = heads_of(a);
    if (!pads_fit(&s, e))
        return false;
    for (int i = 0; i < 3; i++)
        memset(a->out[i], 0, (size_t)shape_count(ref_out_shape(a, i)) * sizeof(double));
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t i = 0; i < s.tq; i++) {
                int64_t row = (n * s.tq + i) * s.width + h * s.d;
                const double *q = a->in[0] + row, *y = a->in[3] + row, *dy = a->in[5] + row;
                double *dq = a->out[0] + row;
                double lse = a->in[4][(n * s.heads + h) * s.tq + i], common = dot(dy, y, s.d);
                struct keys seen = keys_of(&s, n, i);
                for (int64_t j = seen.begin; j < seen.end; j++) {
                    int64_t at = (n * s.tk + j) * s.width + h * s.d;
                    const double *k = a->in[1] + at, *v = a->in[2] + at;
                    double p = exp(s.scale * dot(q, k, s.d) - lse);
                    double ds = s.scale * p * (dot(dy, v, s.d) - common);
                    for (int64_t l = 0; l < s.d; l++) {
                        dq[l] += ds * k[l];
                        a->out[1][at + l] += ds * q[l];
                        a->out[2][at + l] += p * dy[l];
                    }
                }
            }
    return true;
}
