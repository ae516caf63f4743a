/* Convolution and its gradients: by oneDNN, or by ours (winograd.c) where that takes fewer products. Images are NHWC in the
 * graph; oneDNN is told their sizes as N, C, H, W with strides. */
#include "backend/cpu/dnnl_internal.h"
#include "backend/cpu/winograd.h"

struct sizes {
    dnnl_dims_t x, x_strides, w, y, y_strides, stride, pad_before, pad_after;
};

static void image_sizes(struct shape s, dnnl_dim_t *dims, dnnl_dim_t *strides)
{
    dnnl_dim_t n = s.dim[0], h = s.dim[1], w = s.dim[2], c = s.dim[3];
    memcpy(dims, (dnnl_dim_t[]){ n, c, h, w }, 4 * sizeof *dims);
    memcpy(strides, (dnnl_dim_t[]){ h * w * c, 1, w * c, c }, 4 * sizeof *strides);
}

static struct sizes sizes_of(const struct op_call *call)
{
    struct sizes s = { 0 };
    enum op op = call->node->op;
    const struct op_attr *attr = &call->node->attr;
    image_sizes(op == OP_CONV2D_GRAD_X ? call->out[0].shape : call->in[op == OP_CONV2D_GRAD_W].shape, s.x, s.x_strides);
    image_sizes(op == OP_CONV2D ? call->out[0].shape : call->in[0].shape, s.y, s.y_strides);
    struct shape w = op == OP_CONV2D_GRAD_W ? call->out[0].shape : call->in[1].shape;
    memcpy(s.w, w.dim, 4 * sizeof *s.w);
    for (int i = 0; i < 2; i++) {
        s.stride[i] = attr->stride;
        s.pad_before[i] = attr->pad[i];
        s.pad_after[i] = attr->pad[2 + i];
    }
    return s;
}

static dnnl_status_t describe_forward(const struct op_call *call, const struct dnnl_work *work, dnnl_data_type_t t,
                                      dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                                      dnnl_primitive_desc_t *descriptor)
{
    struct sizes s = sizes_of(call);
    const dnnl_memory_desc_t *bias = NULL;
    for (int i = 0; i < work->count; i++)
        if (work->operands[i].arg == DNNL_ARG_BIAS)
            bias = &work->operands[i].prim;
    dnnl_convolution_desc_t d;
    dnnl_status_t status = dnnl_convolution_forward_desc_init(
        &d, dnnl_forward_inference, dnnl_convolution_direct, &work->operands[0].prim, &work->operands[1].prim, bias,
        &work->operands[2].prim, s.stride, s.pad_before, s.pad_after);
    return status == dnnl_success ? dnnl_primitive_desc_create(descriptor, &d, attr, engine, NULL) : status;
}

/* A gradient's descriptor wants the forward one as a hint; `forward` is freed by the caller. */
static dnnl_status_t forward_hint(const struct sizes *s, dnnl_data_type_t t, dnnl_engine_t engine,
                                  dnnl_primitive_desc_t *forward)
{
    dnnl_memory_desc_t x, w, y;
    dnnl_memory_desc_init_by_strides(&x, 4, s->x, t, s->x_strides);
    dnnl_memory_desc_init_by_strides(&y, 4, s->y, t, s->y_strides);
    dnnl_memory_desc_init_by_tag(&w, 4, s->w, t, dnnl_format_tag_any);
    dnnl_convolution_desc_t d;
    dnnl_status_t status =
        dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct, &x, &w, NULL, &y,
                                           s->stride, s->pad_before, s->pad_after);
    return status == dnnl_success ? dnnl_primitive_desc_create(forward, &d, NULL, engine, NULL) : status;
}

static dnnl_status_t describe_gradient(const struct op_call *call, const struct dnnl_work *work, dnnl_data_type_t t,
                                       dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                                       dnnl_primitive_desc_t *descriptor)
{
    struct sizes s = sizes_of(call);
    dnnl_primitive_desc_t forward = NULL;
    dnnl_status_t status = forward_hint(&s, t, engine, &forward);
    if (status != dnnl_success)
        return status;
    dnnl_convolution_desc_t d;
    if (call->node->op == OP_CONV2D_GRAD_X)
        status = dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &work->operands[2].prim,
                                                          &work->operands[1].prim, &work->operands[0].prim, s.stride,
                                                          s.pad_before, s.pad_after);
    else
        status = dnnl_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &work->operands[1].prim,
                                                             &work->operands[2].prim, NULL, &work->operands[0].prim,
                                                             s.stride, s.pad_before, s.pad_after);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(descriptor, &d, attr, engine, forward);
    dnnl_primitive_desc_destroy(forward);
    return status;
}

static bool can_forward(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && (cpu_is_float(call->in[1].type) || cpu_is_narrow(call->in[1].type)) &&
           call->in[1].type != DTYPE_F64;
}

static bool can_gradient(const struct op_call *call)
{
    return can_forward(call) && cpu_is_activation(call->out[0].type);
}

/* oneDNN 2.6's convolutions for SSE4.1 add a residual wrongly to the channels behind the last whole group of 8: there it is
 * added after the convolution. */
static bool adds_apart(const struct op_call *call)
{
    return dnnl_get_effective_cpu_isa() <= dnnl_cpu_isa_avx && call->node->n_in > 3 && call->node->in[3] &&
           shape_last(call->out[0].shape) % 8;
}

static bool prepare_forward(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct sizes s = sizes_of(call);
    struct dnnl_work work = { 0 };
    dnnl_operand_add(call, &work, DNNL_ARG_SRC, false, 0, dnnl_query_src_md, 4, s.x, s.x_strides, false);
    dnnl_operand_add(call, &work, DNNL_ARG_WEIGHTS, false, 1, dnnl_query_weights_md, 4, s.w, NULL, true);
    dnnl_operand_add(call, &work, DNNL_ARG_DST, true, 0, dnnl_query_dst_md, 4, s.y, s.y_strides, false);
    if (call->node->n_in > 2 && call->node->in[2])
        dnnl_operand_add(call, &work, DNNL_ARG_BIAS, false, 2, -1, 1, &s.w[0], NULL, false);
    if (call->node->n_in > 3 && !adds_apart(call))
        dnnl_operand_add(call, &work, dnnl_residual_arg(call), false, 3, -1, 4, s.y, s.y_strides, false);
    return dnnl_finish(cpu, call, &work, describe_forward, e);
}

static bool run_forward(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    if (!dnnl_op_run(cpu, call, e))
        return false;
    const struct tensor *y = &call->out[0];
    if (adds_apart(call))
        cpu->kernels->elementwise->same[y->type == DTYPE_BF16][KERNEL_ADD](y->data, y->data, call->in[3].data,
                                                                          shape_count(y->shape));
    return true;
}

static bool prepare_grad_x(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct sizes s = sizes_of(call);
    struct dnnl_work work = { 0 };
    dnnl_operand_add(call, &work, DNNL_ARG_DIFF_DST, false, 0, dnnl_query_diff_dst_md, 4, s.y, s.y_strides, false);
    dnnl_operand_add(call, &work, DNNL_ARG_WEIGHTS, false, 1, dnnl_query_weights_md, 4, s.w, NULL, true);
    dnnl_operand_add(call, &work, DNNL_ARG_DIFF_SRC, true, 0, dnnl_query_diff_src_md, 4, s.x, s.x_strides, false);
    return dnnl_finish(cpu, call, &work, describe_gradient, e);
}

static bool prepare_grad_w(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct sizes s = sizes_of(call);
    struct dnnl_work work = { 0 };
    dnnl_operand_add(call, &work, DNNL_ARG_DIFF_DST, false, 0, dnnl_query_diff_dst_md, 4, s.y, s.y_strides, false);
    dnnl_operand_add(call, &work, DNNL_ARG_SRC, false, 1, dnnl_query_src_md, 4, s.x, s.x_strides, false);
    dnnl_operand_add(call, &work, DNNL_ARG_DIFF_WEIGHTS, true, 0, dnnl_query_diff_weights_md, 4, s.w, NULL, true);
    return dnnl_finish(cpu, call, &work, describe_gradient, e);
}

static bool prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    if (winograd_takes(cpu, call)) {
        winograd_prepare(cpu, call);
        return true;
    }
    enum op op = call->node->op;
    return op == OP_CONV2D ? prepare_forward(cpu, call, e) : op == OP_CONV2D_GRAD_X ? prepare_grad_x(cpu, call, e) : prepare_grad_w(cpu, call, e);
}

static bool pack(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed, struct err *e)
{
    return winograd_takes(cpu, call) ? cpu_f32_pack(cpu, call, index, src, packed, e) : dnnl_op_pack(cpu, call, index, src, packed, e);
}

static bool run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    if (!winograd_takes(cpu, call))
        return call->node->op == OP_CONV2D ? run_forward(cpu, call, e) : dnnl_op_run(cpu, call, e);
    winograd_run(cpu, call);
    return true;
}

const struct cpu_op cpu_conv2d = { can_forward, prepare, pack, run, dnnl_op_release };
const struct cpu_op cpu_conv2d_grad_x = { can_gradient, prepare, pack, run, dnnl_op_release };
const struct cpu_op cpu_conv2d_grad_w = { can_gradient, prepare, pack, run, dnnl_op_release };
