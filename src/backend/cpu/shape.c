/* Ops that only move numbers: concat, slice, place, cast. */
#include "backend/cpu/cpu_internal.h"

enum { GRAIN = 64 };

/* An array around one axis: [before, entries, after]; a run is all entries of one `before`, in bytes. */
struct around {
    int64_t before;
    size_t run, entry;
};

static struct around around(const struct tensor *t, int64_t axis)
{
    struct around a = { 1, 0, dtype_bytes(t->type) };
    for (int i = 0; i < t->shape.rank; i++)
        if (i < axis)
            a.before *= t->shape.dim[i];
        else if (i > axis)
            a.entry *= (size_t)t->shape.dim[i];
    a.run = a.entry * (size_t)t->shape.dim[axis];
    return a;
}

/* Copies; short ones of a multiple of 16 bytes (a few channels) without a call. */
static void copy(char *to, const char *from, size_t bytes)
{
    if (bytes > 256 || bytes % 16) {
        memcpy(to, from, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += 16)
        memcpy(to + i, from + i, 16);
}

/* count pieces of `bytes`, `to_step` and `from_step` apart. */
static void copy_runs(char *to, size_t to_step, const char *from, size_t from_step, size_t bytes, struct span part)
{
    for (int64_t i = part.begin; i < part.end; i++)
        copy(to + (size_t)i * to_step, from + (size_t)i * from_step, bytes);
}

/* The calling thread's share of [0, bytes) when there are too few runs to go round. */
static struct span share_of(size_t bytes)
{
    return cpu_my_part((int64_t)bytes, 256);
}

static bool same_types(const struct op_call *call)
{
    for (int i = 0; i < call->node->n_in; i++)
        if (call->in[i].type != call->out[0].type)
            return false;
    return cpu_is_activation(call->in[0].type);
}

/* As copy_runs, shared by the team; to be called by all its threads. */
static void copy_shared(char *to, size_t to_step, const char *from, size_t from_step, size_t bytes, int64_t runs)
{
    if (runs >= 4 * omp_get_num_threads()) {
        copy_runs(to, to_step, from, from_step, bytes, cpu_my_part(runs, 1));
    } else {
        struct span share = share_of(bytes);
        copy_runs(to + share.begin, to_step, from + share.begin, from_step, (size_t)(share.end - share.begin),
                  (struct span){ 0, runs });
    }
}

static bool concat_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    int64_t axis = call->node->attr.axis;
    struct around a = around(&call->in[0], axis), b = around(&call->in[1], axis);
    char *to = call->out[0].data;
#pragma omp parallel num_threads(cpu_team(cpu, shape_count(call->out[0].shape)))
    {
        copy_shared(to, a.run + b.run, call->in[0].data, a.run, a.run, a.before);
        copy_shared(to + a.run, a.run + b.run, call->in[1].data, b.run, b.run, a.before);
    }
    return true;
}

static bool slice_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    int64_t axis = call->node->attr.axis;
    struct around whole = around(&call->in[0], axis), part = around(&call->out[0], axis);
    const char *from = (const char *)call->in[0].data + (size_t)call->node->attr.begin * whole.entry;
#pragma omp parallel num_threads(cpu_team(cpu, shape_count(call->out[0].shape)))
    copy_shared(call->out[0].data, part.run, from, whole.run, part.run, part.before);
    return true;
}

static bool place_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    int64_t axis = call->node->attr.axis;
    struct around part = around(&call->in[0], axis), whole = around(&call->out[0], axis);
    size_t before = (size_t)call->node->attr.begin * whole.entry, after = whole.run - before - part.run;
    char *to = call->out[0].data;
#pragma omp parallel num_threads(cpu_team(cpu, shape_count(call->out[0].shape)))
    {
        copy_shared(to + before, whole.run, call->in[0].data, part.run, part.run, part.before);
        struct span mine = cpu_my_part(part.before, 1);
        for (int64_t i = mine.begin; i < mine.end; i++) {
            memset(to + (size_t)i * whole.run, 0, before);
            memset(to + (size_t)i * whole.run + before + part.run, 0, after);
        }
    }
    return true;
}

const struct cpu_op cpu_concat = { .can = same_types, .run = concat_run };
const struct cpu_op cpu_slice = { .can = same_types, .run = slice_run };
const struct cpu_op cpu_place = { .can = same_types, .run = place_run };

static bool cast_can(const struct op_call *call)
{
    return (cpu_is_readable(call->in[0].type) || cpu_is_narrow(call->in[0].type)) && cpu_is_float(call->out[0].type);
}

static bool cast_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, 1024); /* whole blocks of every type */
        cpu_convert(cpu, cpu_at(y, part.begin), y->type, cpu_at(x, part.begin), x->type, part.end - part.begin);
    }
    return true;
}

const struct cpu_op cpu_cast = { .can = cast_can, .run = cast_run };
