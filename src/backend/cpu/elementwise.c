/* Functions of single numbers, arithmetic with repetition, gates. */
#include "backend/cpu/cpu_internal.h"

enum { GRAIN = 64 }; /* elements: whole cache lines, so that no two threads write to one */

/* ---- unary, unary_grad, scale, clamp ---- */

static bool same_activations(const struct op_call *call)
{
    for (int i = 0; i < call->node->n_in; i++)
        if (call->in[i].type != call->in[0].type)
            return false;
    return cpu_is_activation(call->in[0].type) && call->out[0].type == call->in[0].type;
}

static bool unary_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t count = shape_count(x->shape);
    void (*kernel)(void *, const void *, int64_t) =
        cpu->kernels->elementwise->unary[x->type == DTYPE_BF16][call->node->attr.fn];
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        kernel(cpu_at(y, part.begin), cpu_at(x, part.begin), part.end - part.begin);
    }
    return true;
}

static bool unary_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    int64_t count = shape_count(x->shape);
    void (*kernel)(void *, const void *, const void *, int64_t) =
        cpu->kernels->elementwise->unary_grad[x->type == DTYPE_BF16][call->node->attr.fn];
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        kernel(cpu_at(dx, part.begin), cpu_at(x, part.begin), cpu_at(dy, part.begin), part.end - part.begin);
    }
    return true;
}

static bool scale_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    const struct op_attr *at = &call->node->attr;
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->elementwise->scale[x->type == DTYPE_BF16](cpu_at(y, part.begin), cpu_at(x, part.begin),
                                                                part.end - part.begin, (float)at->alpha, (float)at->beta);
    }
    return true;
}

static bool clamp_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    const struct op_attr *at = &call->node->attr;
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->elementwise->clamp[x->type == DTYPE_BF16](cpu_at(y, part.begin), cpu_at(x, part.begin),
                                                                part.end - part.begin, (float)at->alpha, (float)at->beta);
    }
    return true;
}

static bool clamp_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    const struct op_attr *at = &call->node->attr;
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->elementwise->clamp_grad[x->type == DTYPE_BF16](
            cpu_at(dx, part.begin), cpu_at(x, part.begin), cpu_at(dy, part.begin), part.end - part.begin,
            (float)at->alpha, (float)at->beta);
    }
    return true;
}

const struct cpu_op cpu_clamp = { .can = same_activations, .run = clamp_run };
const struct cpu_op cpu_clamp_grad = { .can = same_activations, .run = clamp_grad_run };
const struct cpu_op cpu_unary = { .can = same_activations, .run = unary_run };
const struct cpu_op cpu_unary_grad = { .can = same_activations, .run = unary_grad_run };
const struct cpu_op cpu_scale = { .can = same_activations, .run = scale_run };

/* ---- gated ---- */

static bool gated_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t rows = shape_rows(y->shape), c = shape_last(y->shape);
    const struct elementwise_kernels *k = cpu->kernels->elementwise;
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        (call->node->attr.fn == UNARY_SILU ? k->swiglu : k->geglu)[x->type == DTYPE_BF16](
            cpu_at(y, part.begin * c), cpu_at(x, part.begin * 2 * c), part.end - part.begin, c);
    }
    return true;
}

static bool gated_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    int64_t rows = shape_rows(dy->shape), c = shape_last(dy->shape);
    const struct elementwise_kernels *k = cpu->kernels->elementwise;
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        (call->node->attr.fn == UNARY_SILU ? k->swiglu_grad : k->geglu_grad)[x->type == DTYPE_BF16](
            cpu_at(dx, part.begin * 2 * c), cpu_at(x, part.begin * 2 * c), cpu_at(dy, part.begin * c),
            part.end - part.begin, c);
    }
    return true;
}

const struct cpu_op cpu_gated = { .can = same_activations, .run = gated_run };
const struct cpu_op cpu_gated_grad = { .can = same_activations, .run = gated_grad_run };

/* ---- add, sub, mul, div ---- */

static int binary_of(const struct op_call *call)
{
    switch (call->node->op) {
    case OP_ADD: return KERNEL_ADD;
    case OP_SUB: return KERNEL_SUB;
    case OP_MUL: return KERNEL_MUL;
    default: return KERNEL_DIV;
    }
}

static bool binary_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && call->out[0].type == call->in[0].type &&
           (cpu_is_readable(call->in[1].type) || cpu_is_narrow(call->in[1].type));
}

static bool repeats(const struct op_call *call)
{
    return shape_count(call->in[0].shape) != shape_count(call->in[1].shape);
}

static bool binary_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    if (repeats(call))
        cpu_f32_prepare(call, 1);
    return true;
}

/* b has a's shape; where it has another type both go through f32, a piece at a time. */
static void binary_same(const struct cpu *cpu, const struct op_call *call)
{
    enum { CHUNK = 1024 }; /* whole blocks of every type */
    const struct tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    const struct elementwise_kernels *k = cpu->kernels->elementwise;
    int64_t count = shape_count(a->shape);
    int op = binary_of(call);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, b->type == a->type ? GRAIN : CHUNK);
        if (b->type == a->type) {
            k->same[a->type == DTYPE_BF16][op](cpu_at(y, part.begin), cpu_at(a, part.begin), cpu_at(b, part.begin),
                                               part.end - part.begin);
        } else {
            float from[CHUNK] __attribute__((aligned(64))), with[CHUNK] __attribute__((aligned(64)));
            for (int64_t i = part.begin; i < part.end; i += CHUNK) {
                int64_t n = cpu_least(CHUNK, part.end - i);
                cpu_convert(cpu, from, DTYPE_F32, cpu_at(a, i), a->type, n);
                cpu_convert(cpu, with, DTYPE_F32, cpu_at(b, i), b->type, n);
                k->same[0][op](from, from, with, n);
                cpu_convert(cpu, cpu_at(y, i), y->type, from, DTYPE_F32, n);
            }
        }
    }
}

/* Where the part of b that belongs to a row of a begins. A row is the last dimension. */
static int64_t row_offset(const struct collapsed *c, int64_t row)
{
    int64_t offset = 0;
    for (int i = c->rank - 2; i >= 0; i--) {
        offset += row % c->dim[i] * c->small_stride[i];
        row /= c->dim[i];
    }
    return offset;
}

static bool binary_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *a = &call->in[0], *y = &call->out[0];
    if (!repeats(call)) {
        binary_same(cpu, call);
        return true;
    }
    char *scratch = call->scratch;
    const float *b = cpu_f32_input(cpu, call, 1, &scratch);
    const struct elementwise_kernels *k = cpu->kernels->elementwise;
    struct collapsed c = cpu_collapse(a->shape, call->in[1].shape);
    bool bf16 = a->type == DTYPE_BF16, number = c.small_stride[c.rank - 1] == 0; /* one b for the whole row */
    int64_t count = shape_count(a->shape), inner = c.dim[c.rank - 1], rows = count / inner;
    int64_t alike = c.rank > 1 ? c.dim[c.rank - 2] : 1; /* rows that one kernel call may take */
    void (*kernel)(void *, const void *, const float *, int64_t, int64_t) =
        (number ? k->column : k->row)[bf16][binary_of(call)];
    int team = cpu_team(cpu, count);
#pragma omp parallel num_threads(team)
    {
        if (rows >= 4 * team) {
            struct span part = cpu_my_part(rows, 1);
            for (int64_t r = part.begin, n; r < part.end; r += n) {
                n = cpu_least(part.end - r, alike - r % alike);
                kernel(cpu_at(y, r * inner), cpu_at(a, r * inner), b + row_offset(&c, r), n, inner);
            }
        } else {
            struct span part = cpu_my_part(inner, GRAIN);
            for (int64_t r = 0; r < rows; r++) {
                int64_t at = r * inner + part.begin;
                kernel(cpu_at(y, at), cpu_at(a, at), b + row_offset(&c, r) + (number ? 0 : part.begin), 1,
                       part.end - part.begin);
            }
        }
    }
    return true;
}

const struct cpu_op cpu_binary = { .can = binary_can, .prepare = binary_prepare, .pack = cpu_f32_pack, .run = binary_run };
