/* What the files of graph/ share: the rules that op.def names. */
#ifndef LIMN_GRAPH_GRAPH_INTERNAL_H
#define LIMN_GRAPH_GRAPH_INTERNAL_H

#include "graph/graph.h"

/* A shape rule: fills shape and type of each output from the inputs, or says what is wrong (the caller adds the op's
 * name and inputs). */
struct shape_call {
    const struct graph *g;
    const struct op_node *node;
    const struct value_info *in[OP_MAX_IN]; /* NULL: left out */
    struct { struct shape shape; enum dtype type; } out[OP_MAX_OUT];
};
typedef bool shape_rule(struct shape_call *c, struct err *e);

/* A gradient rule: given the gradients of the outputs (VALUE_NONE: the loss does not depend on that output), builds the
 * gradients of the inputs that are wanted. node->in and node->out are the values to read (recomputed ones already
 * put in place). */
struct gradient_call {
    struct graph *g;
    const struct op_node *node; /* a copy: building may move g->ops */
    struct value in[OP_MAX_IN], out[OP_MAX_OUT], dout[OP_MAX_OUT];
    bool wanted[OP_MAX_IN];
    struct value din[OP_MAX_IN];
};
typedef void gradient_rule(struct gradient_call *c);

#define OP(constant, name, least, most, outs, updates, shape, gradient, flags) extern shape_rule shape;
#include "graph/op.def"
#undef OP

gradient_rule grad_matmul, grad_conv2d, grad_add, grad_sub, grad_mul, grad_div, grad_scale, grad_clamp, grad_unary, grad_gated,
    grad_group_norm, grad_layer_norm, grad_rms_norm, grad_softmax, grad_rotary, grad_attention, grad_upsample, grad_avg_pool, grad_concat,
    grad_slice, grad_place, grad_reshape, grad_cast, grad_sum_to, grad_expand, grad_embedding;

struct op_rules {
    struct op_desc desc;
    shape_rule *infer;
    gradient_rule *gradient;
};
extern const struct op_rules op_rules[OP_COUNT];

/* How often each value is read by ops (and once more if it is an output). counts has g->n_values entries. */
void graph_count_uses(const struct graph *g, int32_t *counts);

/* f32, but f64 for f64: the type of sums and of weights' gradients. */
static inline enum dtype sum_type(enum dtype t)
{
    return t == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

static inline bool is_floating(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_F16 || t == DTYPE_F64;
}

/* What numbers may be read from: weights may also lie in types that nothing is computed in. */
static inline bool is_readable(enum dtype t)
{
    return is_floating(t) || t == DTYPE_F8_E4M3 || t == DTYPE_F8_E5M2 || dtype_is_quantised(t);
}

#endif
