#include "backend/cpu/dnnl_internal.h"

#include <string.h>

#include "base/mem.h"

static const char *reason(dnnl_status_t status)
{
    switch (status) {
    case dnnl_success: return "success";
    case dnnl_out_of_memory: return "oneDNN ran out of memory";
    case dnnl_invalid_arguments: return "oneDNN does not accept these shapes or types";
    case dnnl_unimplemented: return "oneDNN has no kernel for these shapes and types";
    default: return "oneDNN failed";
    }
}

/* The oneDNN type of ours; undef where it has none on a CPU. */
static dnnl_data_type_t type_of(enum dtype t)
{
    return t == DTYPE_F32 ? dnnl_f32 : t == DTYPE_BF16 ? dnnl_bf16 : dnnl_data_type_undef;
}

static enum dtype our_type(dnnl_data_type_t t)
{
    return t == dnnl_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

static const struct tensor *tensor_of(const struct op_call *call, const struct dnnl_operand *o)
{
    return o->is_output ? &call->out[o->index] : &call->in[o->index];
}

void dnnl_operand_add(const struct op_call *call, struct dnnl_work *work, int arg, bool is_output, int index,
                      int prim_query, int rank, const dnnl_dim_t *dims, const dnnl_dim_t *strides, bool any)
{
    struct dnnl_operand *o = &work->operands[work->count++];
    *o = (struct dnnl_operand){ .arg = arg, .is_output = is_output, .index = index, .prim_query = prim_query, .any = any };
    dnnl_dim_t row_major[DNNL_MAX_NDIMS];
    if (!strides) {
        dnnl_dim_t step = 1;
        for (int i = rank; i-- > 0; step *= dims[i])
            row_major[i] = step;
        strides = row_major;
    }
    dnnl_data_type_t t = type_of(tensor_of(call, o)->type);
    o->convert = t == dnnl_data_type_undef; /* e.g. f16 weights: converted first, a matrix to what it is multiplied with */
    if (o->convert)
        t = arg == DNNL_ARG_WEIGHTS && call->in[0].type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_memory_desc_init_by_strides(&o->user, rank, dims, t, strides);
}

/* What the primitive shall see, before it was asked: biases and weight gradients in f32, the rest in t. */
static void wish(struct dnnl_operand *o, dnnl_data_type_t t)
{
    bool sums = o->arg == DNNL_ARG_BIAS || o->arg == DNNL_ARG_DIFF_WEIGHTS || o->arg == DNNL_ARG_DIFF_BIAS;
    dnnl_data_type_t type = sums ? dnnl_f32 : t;
    if (o->is_output && o->arg == DNNL_ARG_DST)
        type = o->user.data_type == dnnl_f32 ? dnnl_f32 : t; /* a product may be kept in f32 */
    o->prim = o->user;
    o->prim.data_type = type;
    if (o->any)
        dnnl_memory_desc_init_by_tag(&o->prim, o->user.ndims, o->user.dims, type, dnnl_format_tag_any);
}

static bool fail(struct err *e, const struct op_call *call, const char *what, dnnl_status_t status)
{
    return err_set(e, status == dnnl_out_of_memory ? ERR_NOMEM : ERR_BACKEND, "%s: %s of %s", reason(status), what,
                   op_text(call->graph, call->node).s);
}

static dnnl_status_t post_ops(const struct op_call *call, const struct dnnl_work *work, dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops;
    dnnl_status_t s = dnnl_post_ops_create(&ops);
    if (s != dnnl_success)
        return s;
    static const struct { dnnl_alg_kind_t kind; float alpha; } eltwise[UNARY_COUNT] = {
        [UNARY_SILU] = { dnnl_eltwise_swish, 1 },        [UNARY_QUICK_GELU] = { dnnl_eltwise_swish, 1.702f },
        [UNARY_GELU] = { dnnl_eltwise_gelu_erf, 0 },     [UNARY_GELU_TANH] = { dnnl_eltwise_gelu_tanh, 0 },
        [UNARY_RELU] = { dnnl_eltwise_relu, 0 },         [UNARY_LEAKY_RELU] = { dnnl_eltwise_relu, 0.2f },
        [UNARY_SIGMOID] = { dnnl_eltwise_logistic, 0 },  [UNARY_TANH] = { dnnl_eltwise_tanh, 0 },
        [UNARY_EXP] = { dnnl_eltwise_exp, 0 },           [UNARY_LOG] = { dnnl_eltwise_log, 0 },
        [UNARY_SQRT] = { dnnl_eltwise_sqrt, 0 },         [UNARY_SQUARE] = { dnnl_eltwise_square, 0 },
        [UNARY_ABS] = { dnnl_eltwise_abs, 0 },           [UNARY_SOFTPLUS] = { dnnl_eltwise_soft_relu, 1 },
    };
    enum unary fn = call->node->attr.fn;
    if (fn != UNARY_NONE)
        s = dnnl_post_ops_append_eltwise(ops, 1, eltwise[fn].kind, eltwise[fn].alpha, 0);
    for (int i = 0; s == dnnl_success && i < work->count; i++)
        if ((work->operands[i].arg & ~DNNL_ARG_SRC_1) == DNNL_ARG_ATTR_MULTIPLE_POST_OP(fn != UNARY_NONE))
            s = dnnl_post_ops_append_binary(ops, dnnl_binary_add, &work->operands[i].prim);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return s;
}

/* The primitive's descriptor in t, with operands[].prim asked back from it. */
static dnnl_status_t describe_in(const struct cpu *cpu, struct op_call *call, struct dnnl_work *work,
                                 dnnl_describe *describe, dnnl_data_type_t t, dnnl_primitive_desc_t *descriptor)
{
    for (int i = 0; i < work->count; i++)
        wish(&work->operands[i], t);
    dnnl_primitive_attr_t attr;
    dnnl_status_t s = dnnl_primitive_attr_create(&attr);
    if (s != dnnl_success)
        return s;
    s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success)
        s = post_ops(call, work, attr);
    if (s == dnnl_success)
        s = describe(call, work, t, attr, cpu->engine, descriptor);
    dnnl_primitive_attr_destroy(attr);
    for (int i = 0; s == dnnl_success && i < work->count; i++) {
        struct dnnl_operand *o = &work->operands[i];
        if (o->prim_query >= 0)
            o->prim = *dnnl_primitive_desc_query_md(*descriptor, (dnnl_query_t)o->prim_query, 0);
    }
    return s;
}

/* Room in the op's scratch, as an offset. */
static size_t scratch_room(struct op_call *call, size_t bytes)
{
    size_t at = call->scratch_bytes;
    call->scratch_bytes += cpu_round(bytes);
    return at;
}

static dnnl_status_t make_operand(const struct cpu *cpu, struct op_call *call, struct dnnl_operand *o)
{
    bool same = dnnl_memory_desc_equal(&o->user, &o->prim);
    o->direct = !o->convert && same;
    dnnl_status_t s = dnnl_memory_create(&o->prim_memory, &o->prim, cpu->engine, DNNL_MEMORY_NONE);
    if (s != dnnl_success || o->direct)
        return s;
    bool constant = !o->is_output && call->is_constant[o->index] && !cpu_is_narrow(call->in[o->index].type);
    if (constant)
        call->packed_bytes[o->index] = dnnl_memory_desc_get_size(&o->prim);
    else {
        if (o->convert)
            o->convert_at = scratch_room(call, dnnl_memory_desc_get_size(&o->user));
        o->prim_at = same ? o->convert_at : scratch_room(call, dnnl_memory_desc_get_size(&o->prim));
    }
    if (same) /* converting is all */
        return s;
    s = dnnl_memory_create(&o->user_memory, &o->user, cpu->engine, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_t descriptor;
    if (s == dnnl_success)
        s = dnnl_reorder_primitive_desc_create(&descriptor, o->is_output ? &o->prim : &o->user, cpu->engine,
                                               o->is_output ? &o->user : &o->prim, cpu->engine, NULL);
    if (s != dnnl_success)
        return s;
    s = dnnl_primitive_create(&o->reorder, descriptor);
    dnnl_primitive_desc_destroy(descriptor);
    return s;
}

bool dnnl_finish(const struct cpu *cpu, struct op_call *call, struct dnnl_work *work, dnnl_describe *describe,
                 struct err *e)
{
    struct dnnl_work *kept = mem_zeroed(1, sizeof *kept);
    if (!kept)
        return err_nomem(e, "a oneDNN primitive");
    *kept = *work;
    call->state = kept;
    bool half = call->in[0].type == DTYPE_BF16;
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t s = describe_in(cpu, call, kept, describe, half ? dnnl_bf16 : dnnl_f32, &descriptor);
    if (half && s == dnnl_unimplemented) /* a processor without AVX-512 */
        s = describe_in(cpu, call, kept, describe, dnnl_f32, &descriptor);
    if (s != dnnl_success) {
        fail(e, call, "making", s);
        dnnl_op_release(call);
        return false;
    }
    for (int i = 0; s == dnnl_success && i < kept->count; i++)
        s = make_operand(cpu, call, &kept->operands[i]);
    const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0);
    if (s == dnnl_success && pad && dnnl_memory_desc_get_size(pad)) {
        kept->scratchpad_at = scratch_room(call, dnnl_memory_desc_get_size(pad));
        s = dnnl_memory_create(&kept->scratchpad, pad, cpu->engine, DNNL_MEMORY_NONE);
    }
    if (s == dnnl_success)
        s = dnnl_primitive_create(&kept->primitive, descriptor);
    dnnl_primitive_desc_destroy(descriptor);
    if (s == dnnl_success)
        return true;
    fail(e, call, "making", s);
    dnnl_op_release(call);
    return false;
}

void dnnl_op_release(struct op_call *call)
{
    struct dnnl_work *work = call->state;
    if (!work)
        return;
    for (int i = 0; i < work->count; i++) {
        struct dnnl_operand *o = &work->operands[i];
        if (o->user_memory)
            dnnl_memory_destroy(o->user_memory);
        if (o->prim_memory)
            dnnl_memory_destroy(o->prim_memory);
        if (o->reorder)
            dnnl_primitive_destroy(o->reorder);
    }
    if (work->scratchpad)
        dnnl_memory_destroy(work->scratchpad);
    if (work->primitive)
        dnnl_primitive_destroy(work->primitive);
    mem_free(work);
    call->state = NULL;
}

static bool reorder(const struct cpu *cpu, const struct op_call *call, const struct dnnl_operand *o, void *user,
                    void *prim, struct err *e)
{
    dnnl_memory_set_data_handle(o->user_memory, user);
    dnnl_memory_set_data_handle(o->prim_memory, prim);
    dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, o->is_output ? o->prim_memory : o->user_memory },
                               { DNNL_ARG_TO, o->is_output ? o->user_memory : o->prim_memory } };
    dnnl_status_t s = dnnl_primitive_execute(o->reorder, cpu->stream, 2, args);
    return s == dnnl_success || fail(e, call, "reordering an operand", s);
}

/* The operand as it lies at src, in `user`'s type. */
static void convert(const struct cpu *cpu, const struct dnnl_operand *o, void *to, const void *src, const struct tensor *as)
{
    enum { GRAIN = 1024 }; /* whole blocks of every type */
    enum dtype type = our_type(o->user.data_type);
    int64_t count = shape_count(as->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span s = cpu_my_part(count, GRAIN);
        cpu_convert(cpu, (char *)to + dtype_span(type, s.begin), type, (const char *)src + dtype_span(as->type, s.begin), as->type,
                    s.end - s.begin);
    }
}

bool dnnl_op_pack(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed,
                  struct err *e)
{
    const struct dnnl_work *work = call->state;
    for (int i = 0; i < work->count; i++) {
        const struct dnnl_operand *o = &work->operands[i];
        if (o->is_output || o->index != index)
            continue;
        void *converted = NULL;
        if (!o->reorder) {
            convert(cpu, o, packed, src, &call->in[index]);
            return true;
        }
        if (o->convert) {
            converted = mem_aligned(dnnl_memory_desc_get_size(&o->user));
            if (!converted)
                return err_nomem(e, "converting a weight");
            convert(cpu, o, converted, src, &call->in[index]);
        }
        bool good = reorder(cpu, call, o, converted ? converted : (void *)(uintptr_t)src, packed, e);
        mem_free(converted);
        return good;
    }
    return err_set(e, ERR_BACKEND, "input %d is not packed", index);
}

bool dnnl_op_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct dnnl_work *work = call->state;
    dnnl_exec_arg_t args[DNNL_MOST_OPERANDS + 1];
    char *scratch = call->scratch;
    int count = 0;
    for (int i = 0; i < work->count; i++) {
        const struct dnnl_operand *o = &work->operands[i];
        void *data = tensor_of(call, o)->data;
        if (!o->direct && (o->is_output || !call->packed_bytes[o->index])) {
            void *user = data;
            data = scratch + o->prim_at;
            if (!o->is_output && o->convert) {
                convert(cpu, o, scratch + o->convert_at, user, &call->in[o->index]);
                user = scratch + o->convert_at;
            }
            if (!o->is_output && o->reorder && !reorder(cpu, call, o, user, data, e))
                return false;
        }
        dnnl_memory_set_data_handle(o->prim_memory, data);
        args[count++] = (dnnl_exec_arg_t){ o->arg, o->prim_memory };
    }
    if (work->scratchpad) {
        dnnl_memory_set_data_handle(work->scratchpad, scratch + work->scratchpad_at);
        args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, work->scratchpad };
    }
    dnnl_status_t s = dnnl_primitive_execute(work->primitive, cpu->stream, count, args);
    if (s != dnnl_success)
        return fail(e, call, "running", s);
    for (int i = 0; i < work->count; i++) {
        const struct dnnl_operand *o = &work->operands[i];
        if (o->is_output && !o->direct &&
            !reorder(cpu, call, o, tensor_of(call, o)->data, scratch + o->prim_at, e))
            return false;
    }
    return true;
}
