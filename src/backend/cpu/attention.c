/* attention and attention_grad: which kernel, and the way from an op_call to it. */
#include "backend/cpu/kernels/attention.h"
#include "backend/cpu/cpu_internal.h"

static struct attention_shape shape_of_call(const struct op_call *call)
{
    const struct shape *q = &call->in[0].shape, *k = &call->in[1].shape;
    int64_t heads = call->node->attr.heads;
    int index = call->node->op == OP_ATTENTION ? 3 : 6; /* of the pads, where there are any */
    return (struct attention_shape){
        .n = q->dim[0],
        .tq = q->dim[1],
        .tk = k->dim[1],
        .heads = heads,
        .d = q->dim[2] / heads,
        .scale = (float)call->node->attr.alpha,
        .causal = call->node->attr.causal,
        .bf16 = call->in[0].type == DTYPE_BF16,
        .pads = call->node->n_in > index ? call->in[index].data : NULL,
    };
}

static bool pads_fit(const struct attention_shape *s, struct err *e)
{
    for (int64_t n = 0; s->pads && n < s->n; n++)
        if (s->pads[n] < 0 || s->pads[n] > s->tk)
            return err_set(e, ERR_ARG, "row %lld has %d pads, but there are %lld keys", (long long)n, s->pads[n],
                           (long long)s->tk);
    return true;
}

static const struct attention_kernels *kernels_for(const struct cpu *cpu, const struct attention_shape *s)
{
    static const struct attention_kernels *const plain[ISA_COUNT] = {
        [ISA_V2] = &attention_v2,     [ISA_V3] = &attention_v3,   [ISA_V4] = &attention_v4,
        [ISA_BF16] = &attention_bf16, [ISA_AMX] = &attention_amx,
    };
    bool tiles = s->bf16 && s->scale > 0;
    if (tiles && cpu->isa == ISA_AMX)
        return &attention_tiles_amx;
    if (tiles && cpu->isa == ISA_BF16)
        return &attention_tiles_bf16;
    return plain[cpu->isa];
}

/* Work too small to share is done by one thread, where the others would cost more than they do. */
static int team(const struct cpu *cpu, const struct attention_shape *s)
{
    return cpu_team(cpu, s->n * s->heads * s->tq * s->tk);
}

static bool can(const struct op_call *call)
{
    enum dtype t = call->in[0].type;
    if (!cpu_is_activation(t) || call->in[1].type != t || call->in[2].type != t)
        return false;
    if (call->node->op == OP_ATTENTION)
        return call->node->n_in <= 3 || call->in[3].type == DTYPE_I32;
    return call->in[3].type == t && call->in[5].type == t && (call->node->n_in <= 6 || call->in[6].type == DTYPE_I32);
}

static bool prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct attention_shape s = shape_of_call(call);
    call->scratch_bytes = kernels_for(cpu, &s)->forward_scratch(&s, team(cpu, &s));
    return true;
}

static bool run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct attention_shape s = shape_of_call(call);
    if (!pads_fit(&s, e))
        return false;
    kernels_for(cpu, &s)->forward(&s, call->in[0].data, call->in[1].data, call->in[2].data, call->out[0].data,
                                  call->out[1].data, call->scratch, team(cpu, &s));
    return true;
}

static bool prepare_grad(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct attention_shape s = shape_of_call(call);
    call->scratch_bytes = kernels_for(cpu, &s)->backward_scratch(&s, team(cpu, &s));
    return true;
}

static bool run_grad(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct attention_shape s = shape_of_call(call);
    const struct tensor *in = call->in, *out = call->out;
    if (!pads_fit(&s, e))
        return false;
    kernels_for(cpu, &s)->backward(&s, in[0].data, in[1].data, in[2].data, in[3].data, in[4].data, in[5].data,
                                   out[0].data, out[1].data, out[2].data, call->scratch, team(cpu, &s));
    return true;
}

const struct cpu_op cpu_attention = { .can = can, .prepare = prepare, .run = run };
const struct cpu_op cpu_attention_grad = { .can = can, .prepare = prepare_grad, .run = run_grad };
