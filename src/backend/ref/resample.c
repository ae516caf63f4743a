#include "backend/ref/ref_internal.h"

bool ref_upsample(const struct ref_args *a, struct err *e)
{
    struct shape s = ref_out_shape(a, 0);
    int64_t h = s.dim[1], w = s.dim[2], c = s.dim[3], factor = a->attr->factor;
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t n = 0; n < s.dim[0]; n++)
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++)
                for (int64_t k = 0; k < c; k++)
                    a->out[0][((n * h + i) * w + j) * c + k] =
                        a->in[0][((n * (h / factor) + i / factor) * (w / factor) + j / factor) * c + k];
    return true;
}

bool ref_avg_pool(const struct ref_args *a, struct err *e)
{
    struct shape s = ref_out_shape(a, 0);
    int64_t h = s.dim[1], w = s.dim[2], c = s.dim[3], factor = a->attr->factor;
#pragma omp parallel for collapse(2) if (a->large)
    for (int64_t n = 0; n < s.dim[0]; n++)
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++)
                for (int64_t k = 0; k < c; k++) {
                    double sum = 0;
                    for (int64_t p = 0; p < factor; p++)
                        for (int64_t q = 0; q < factor; q++)
                            sum += a->in[0][((n * h * factor + i * factor + p) * w * factor + j * factor + q) * c + k];
                    a->out[0][((n * h + i) * w + j) * c + k] = sum / (double)(factor * factor);
                }
    return true;
}
