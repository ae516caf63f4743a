#include "backend/cpu/dnnl_internal.h"

static dnnl_status_t describe(const struct op_call *call, const struct dnnl_work *work, dnnl_data_type_t t,
                              dnnl_primitive_attr_t attr, dnnl_engine_t engine, dnnl_primitive_desc_t *descriptor)
{
    const dnnl_memory_desc_t *bias = NULL;
    for (int i = 0; i < work->count; i++)
        if (work->operands[i].arg == DNNL_ARG_BIAS)
            bias = &work->operands[i].prim;
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, &work->operands[0].prim, &work->operands[1].prim, bias,
                                            &work->operands[2].prim);
    return s == dnnl_success ? dnnl_primitive_desc_create(descriptor, &d, attr, engine, NULL) : s;
}

static bool can(const struct op_call *call)
{
    enum dtype t = call->in[0].type, y = call->out[0].type;
    return cpu_is_activation(t) && (cpu_is_float(call->in[1].type) || cpu_is_narrow(call->in[1].type)) && cpu_is_activation(y) &&
           call->in[1].type != DTYPE_F64 && (y == t || y == DTYPE_F32);
}

static bool prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct op_attr *attr = &call->node->attr;
    struct shape a = call->in[0].shape, b = call->in[1].shape;
    dnnl_dim_t m = attr->trans_a ? shape_last(a) : shape_rows(a), k = attr->trans_a ? shape_rows(a) : shape_last(a);
    dnnl_dim_t n = attr->trans_b ? shape_rows(b) : shape_last(b);
    /* a weight that stays, or is converted, is best in the layout oneDNN likes; a product of two activations (a weight's
     * gradient) and what is unpacked at each run are taken as they lie, since reordering would cost a pass over them */
    bool any = !cpu_is_narrow(call->in[1].type) && (call->is_constant[1] || call->in[1].type != call->in[0].type);
    struct dnnl_work work = { 0 };
    dnnl_operand_add(call, &work, DNNL_ARG_SRC, false, 0, dnnl_query_src_md, 2, (dnnl_dim_t[]){ m, k },
                     attr->trans_a ? (dnnl_dim_t[]){ 1, m } : NULL, false);
    dnnl_operand_add(call, &work, DNNL_ARG_WEIGHTS, false, 1, dnnl_query_weights_md, 2, (dnnl_dim_t[]){ k, n },
                     attr->trans_b ? (dnnl_dim_t[]){ 1, k } : NULL, any);
    dnnl_operand_add(call, &work, DNNL_ARG_DST, true, 0, dnnl_query_dst_md, 2, (dnnl_dim_t[]){ m, n }, NULL, false);
    if (call->node->in[2] && call->node->n_in > 2)
        dnnl_operand_add(call, &work, DNNL_ARG_BIAS, false, 2, -1, 2, (dnnl_dim_t[]){ 1, n }, NULL, false);
    if (call->node->n_in > 3)
        dnnl_operand_add(call, &work, dnnl_residual_arg(call), false, 3, -1, 2, (dnnl_dim_t[]){ m, n }, NULL, false);
    return dnnl_finish(cpu, call, &work, describe, e);
}

const struct cpu_op cpu_matmul = { can, prepare, dnnl_op_pack, dnnl_op_run, dnnl_op_release };
