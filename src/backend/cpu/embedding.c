/* Rows of a table by number, the gradient of that, and the sinusoids of a time step. */
#include "backend/cpu/cpu_internal.h"

#include <math.h>

static bool ids_in_range(const struct op_call *call, int64_t rows, struct err *e)
{
    const int32_t *ids = call->in[1].data;
    int64_t count = shape_count(call->in[1].shape);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= rows)
            return err_set(e, ERR_ARG, "id %d at place %lld is outside the table of %lld rows", ids[i], (long long)i,
                           (long long)rows);
    return true;
}

static bool embedding_can(const struct op_call *call)
{
    return cpu_is_readable(call->in[0].type) && call->in[1].type == DTYPE_I32 && cpu_is_float(call->out[0].type);
}

static bool embedding_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *table = &call->in[0], *y = &call->out[0];
    const int32_t *ids = call->in[1].data;
    int64_t c = table->shape.dim[1], count = shape_count(call->in[1].shape);
    if (!ids_in_range(call, table->shape.dim[0], e))
        return false;
#pragma omp parallel num_threads(cpu_team(cpu, count * c))
    {
        struct span part = cpu_my_part(count, 1);
        for (int64_t i = part.begin; i < part.end; i++)
            cpu_convert(cpu, cpu_at(y, i * c), y->type, cpu_at(table, ids[i] * c), table->type, c);
    }
    return true;
}

static bool embedding_grad_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && call->in[1].type == DTYPE_I32 && call->out[0].type == DTYPE_F32;
}

/* Threads own columns, so that each row is summed in the order of ids whatever the number of threads. */
static bool embedding_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *dy = &call->in[0], *table = &call->out[0];
    const int32_t *ids = call->in[1].data;
    int64_t rows = table->shape.dim[0], c = table->shape.dim[1], count = shape_count(call->in[1].shape);
    if (!ids_in_range(call, rows, e))
        return false;
#pragma omp parallel num_threads(cpu_team(cpu, rows * c + count * c))
    {
        struct span zeroed = cpu_my_part(rows * c, 64), columns = cpu_my_part(c, 32);
        memset(cpu_at(table, zeroed.begin), 0, (size_t)(zeroed.end - zeroed.begin) * sizeof(float));
#pragma omp barrier
        if (columns.begin < columns.end)
            for (int64_t i = 0; i < count; i++)
                cpu->kernels->update->accumulate[dy->type == DTYPE_BF16](
                    cpu_at(table, ids[i] * c + columns.begin), cpu_at(dy, i * c + columns.begin),
                    columns.end - columns.begin);
    }
    return true;
}

const struct cpu_op cpu_embedding = { .can = embedding_can, .run = embedding_run };
const struct cpu_op cpu_embedding_grad = { .can = embedding_grad_can, .run = embedding_grad_run };

static bool timestep_can(const struct op_call *call)
{
    return call->in[0].type == DTYPE_F32 && call->out[0].type == DTYPE_F32;
}

/* A few thousand numbers a step: plain double arithmetic. */
static bool timestep_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct op_attr *at = &call->node->attr;
    const float *t = call->in[0].data;
    int64_t n = call->out[0].shape.dim[0], dim = call->out[0].shape.dim[1], half = dim / 2;
    for (int64_t j = 0; j < half; j++) {
        double frequency = exp(-log(at->beta) * (double)j / ((double)half - at->alpha));
        for (int64_t i = 0; i < n; i++) {
            float *y = (float *)call->out[0].data + i * dim;
            double angle = (double)t[i] * frequency;
            y[j] = (float)(at->cosine_first ? cos(angle) : sin(angle));
            y[half + j] = (float)(at->cosine_first ? sin(angle) : cos(angle));
        }
    }
    return true;
}

const struct cpu_op cpu_timestep_embedding = { .can = timestep_can, .run = timestep_run };
