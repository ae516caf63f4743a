/* Updates of weights and optimizer state, in place. */
#include "backend/cpu/cpu_internal.h"
#include "graph/ops.h"

enum { GRAIN = 64, CHUNK = 1024 };

static bool accumulate_can(const struct op_call *call)
{
    return call->in[0].type == DTYPE_F32 && cpu_is_readable(call->in[1].type);
}

static bool accumulate_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *sum = call->in[0].data;
    const struct tensor *x = &call->in[1];
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        if (cpu_is_activation(x->type)) {
            cpu->kernels->update->accumulate[x->type == DTYPE_BF16](sum + part.begin, cpu_at(x, part.begin),
                                                                    part.end - part.begin);
        } else {
            float piece[CHUNK] __attribute__((aligned(64)));
            for (int64_t i = part.begin; i < part.end; i += CHUNK) {
                int64_t n = cpu_least(CHUNK, part.end - i);
                cpu_convert(cpu, piece, DTYPE_F32, cpu_at(x, i), x->type, n);
                cpu->kernels->update->accumulate[0](sum + i, piece, n);
            }
        }
    }
    return true;
}

static bool all_f32(const struct op_call *call)
{
    for (int i = 0; i < call->node->n_in; i++)
        if (call->in[i].type != DTYPE_F32)
            return false;
    return true;
}

static bool adamw_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *p = call->in[0].data, *m = call->in[1].data, *v = call->in[2].data;
    const float *g = call->in[3].data, *s = call->in[4].data;
    int64_t count = shape_count(call->in[0].shape);
    double decay = (double)s[STEP_DECAY] * call->node->attr.alpha;
    struct adamw_step step = {
        .beta1 = s[STEP_BETA1], .beta2 = s[STEP_BETA2], .eps = s[STEP_EPS], .grad_scale = s[STEP_GRAD_SCALE],
        .keep = (float)(1 - (double)s[STEP_RATE] * decay),
        .rate = (float)((double)s[STEP_RATE] / (double)s[STEP_CORRECTION1]),
        .correction2 = (float)(1 / (double)s[STEP_CORRECTION2]),
    };
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->adamw(p + part.begin, m + part.begin, v + part.begin, g + part.begin,
                                    part.end - part.begin, &step);
    }
    return true;
}

static bool ema_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *average = call->in[0].data;
    const float *p = call->in[1].data, *s = call->in[2].data;
    int64_t count = shape_count(call->in[0].shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->ema(average + part.begin, p + part.begin, part.end - part.begin, 1 - s[STEP_EMA_DECAY]);
    }
    return true;
}

const struct cpu_op cpu_accumulate = { .can = accumulate_can, .run = accumulate_run };
const struct cpu_op cpu_adamw = { .can = all_f32, .run = adamw_run };
const struct cpu_op cpu_ema = { .can = all_f32, .run = ema_run };
