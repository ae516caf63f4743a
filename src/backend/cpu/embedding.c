/* Rows of a table by number, the gradient of that; the sinusoids of a time step, and the rotation by a place. */
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
    enum dtype t = call->in[0].type;
    bool rows = dtype_is_quantised(t) && shape_last(call->in[0].shape) % dtype_block(t) == 0; /* a row begins with a block */
    return (cpu_is_readable(t) || rows) && call->in[1].type == DTYPE_I32 && cpu_is_float(call->out[0].type);
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

static bool rotary_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && call->in[1].type == DTYPE_I32 && call->out[0].type == call->in[0].type;
}

static bool rotary_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    call->scratch_bytes = (size_t)cpu->threads * cpu_round(2 * (size_t)call->node->attr.count * sizeof(float));
    return true;
}

/* A token's sines are made once, in double, and serve all its heads. */
static bool rotary_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    const struct op_attr *at = &call->node->attr;
    const int32_t *places = call->in[1].data;
    int64_t tokens = shape_rows(x->shape), width = shape_last(x->shape), d = width / at->heads, turned = at->count;
    bool bf16 = x->type == DTYPE_BF16;
    size_t each = cpu_round(2 * (size_t)turned * sizeof(float));
#pragma omp parallel num_threads(cpu_team(cpu, tokens * width))
    {
        struct span part = cpu_my_part(tokens, 1);
        float *cosine = (float *)((char *)call->scratch + (size_t)omp_get_thread_num() * each), *sine = cosine + turned;
        for (int64_t t = part.begin; t < part.end; t++) {
            for (int64_t j = 0; j < turned; j += 2) {
                double angle = at->alpha * places[t] * pow(at->beta, -(double)j / (double)turned);
                cosine[j] = cosine[j + 1] = (float)cos(angle);
                sine[j + 1] = (float)sin(angle);
                sine[j] = -sine[j + 1];
            }
            for (int64_t h = 0; h < at->heads; h++) {
                int64_t from = t * width + h * d;
                cpu->kernels->elementwise->rotate[bf16](cpu_at(y, from), cpu_at(x, from), cosine, sine, turned);
                if (y->data != x->data)
                    memcpy(cpu_at(y, from + turned), cpu_at(x, from + turned), (size_t)(d - turned) * dtype_bytes(x->type));
            }
        }
    }
    return true;
}

const struct cpu_op cpu_rotary = { .can = rotary_can, .prepare = rotary_prepare, .run = rotary_run };
