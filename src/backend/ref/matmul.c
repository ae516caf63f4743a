#include <string.h>

#include "backend/ref/ref_internal.h"
#include "base/mem.h"

bool ref_matmul(const struct ref_args *a, struct err *e)
{
    const struct op_attr *attr = a->attr;
    enum dtype activation = a->call->in[0].type;
    struct shape sa = ref_in_shape(a, 0), sb = ref_in_shape(a, 1);
    int64_t rows_a = shape_rows(sa), last_a = shape_last(sa), rows_b = shape_rows(sb), last_b = shape_last(sb);
    int64_t m = attr->trans_a ? last_a : rows_a, k = attr->trans_a ? rows_a : last_a;
    int64_t n = attr->trans_b ? rows_b : last_b;
    const double *left = a->in[0], *bias = a->in[2], *residual = a->in[3];
    double *right = mem_aligned((size_t)(k * n) * sizeof *right); /* [k, n], as the activations' type has it */
    if (!right)
        return err_nomem(e, "a reference matmul");
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
            right[i * n + j] = ref_round(attr->trans_b ? a->in[1][j * k + i] : a->in[1][i * n + j], activation);
#pragma omp parallel for if (a->large)
    for (int64_t i = 0; i < m; i++) {
        double *y = a->out[0] + i * n;
        memset(y, 0, (size_t)n * sizeof *y);
        for (int64_t l = 0; l < k; l++) {
            double x = attr->trans_a ? left[l * m + i] : left[i * k + l];
            for (int64_t j = 0; j < n; j++)
                y[j] += x * right[l * n + j];
        }
        for (int64_t j = 0; j < n; j++)
            y[j] = ref_unary_value(attr->fn, y[j] + (bias ? bias[j] : 0)) + (residual ? residual[i * n + j] : 0);
    }
    mem_free(right);
    return true;
}
