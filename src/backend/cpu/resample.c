/* Nearest-neighbour enlargement and mean pooling of NHWC images. A row here is a line of pixels. */
#include "backend/cpu/cpu_internal.h"

static bool resample_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type);
}

static bool upsample_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t factor = call->node->attr.factor, rows = x->shape.dim[0] * x->shape.dim[1], w = x->shape.dim[2];
    size_t pixel = (size_t)x->shape.dim[3] * dtype_bytes(x->type), line = pixel * (size_t)(w * factor);
#pragma omp parallel num_threads(cpu_team(cpu, shape_count(y->shape)))
    {
        struct span part = cpu_my_part(rows, 1);
        for (int64_t r = part.begin; r < part.end; r++) {
            const char *from = (const char *)x->data + (size_t)(r * w) * pixel;
            char *to = (char *)y->data + (size_t)(r * factor) * line, *first = to;
            for (int64_t j = 0; j < w; j++, from += pixel)
                for (int64_t k = 0; k < factor; k++, to += pixel)
                    memcpy(to, from, pixel);
            for (int64_t k = 1; k < factor; k++)
                memcpy(first + (size_t)k * line, first, line);
        }
    }
    return true;
}

/* For each thread a line of x in f32, summed over `factor` lines, and a line of y. */
static size_t pool_bytes(const struct op_call *call)
{
    return cpu_round((size_t)(call->in[0].shape.dim[2] * call->in[0].shape.dim[3]) * sizeof(float)) +
           cpu_round((size_t)(call->out[0].shape.dim[2] * call->out[0].shape.dim[3]) * sizeof(float));
}

static bool avg_pool_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    call->scratch_bytes = (size_t)cpu->threads * pool_bytes(call);
    return true;
}

static bool avg_pool_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t factor = call->node->attr.factor, c = x->shape.dim[3], w = y->shape.dim[2];
    int64_t rows = y->shape.dim[0] * y->shape.dim[1], line = x->shape.dim[2] * c;
    const struct kernels *k = cpu->kernels;
#pragma omp parallel num_threads(cpu_team(cpu, shape_count(x->shape)))
    {
        float *sum = (float *)((char *)call->scratch + (size_t)omp_get_thread_num() * pool_bytes(call));
        float *mean = (float *)((char *)sum + cpu_round((size_t)line * sizeof *sum));
        struct span part = cpu_my_part(rows, 1);
        for (int64_t r = part.begin; r < part.end; r++) {
            cpu_convert(cpu, sum, DTYPE_F32, cpu_at(x, r * factor * line), x->type, line);
            for (int64_t i = 1; i < factor; i++)
                k->update->accumulate[x->type == DTYPE_BF16](sum, cpu_at(x, (r * factor + i) * line), line);
            memset(mean, 0, (size_t)(w * c) * sizeof *mean);
            for (int64_t j = 0; j < w; j++)
                k->reduce->columns[0](mean + j * c, sum + j * factor * c, factor, c, c);
            k->elementwise->scale[0](mean, mean, w * c, 1.0f / (float)(factor * factor), 0);
            cpu_convert(cpu, cpu_at(y, r * w * c), y->type, mean, DTYPE_F32, w * c);
        }
    }
    return true;
}

const struct cpu_op cpu_upsample = { .can = resample_can, .run = upsample_run };
const struct cpu_op cpu_avg_pool = { .can = resample_can, .prepare = avg_pool_prepare, .run = avg_pool_run };
