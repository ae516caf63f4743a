/* The gradient rules that op.def names. Each builds, in the same graph, the gradients of the inputs that are wanted from
 * the gradients of the outputs. The gradient of an activation has its type, that of a weight is f32 (f64 for f64). */
#include "graph/graph_internal.h"
#include "graph/ops.h"

static const struct op_attr *attr_of(const struct gradient_call *c)
{
    return &c->node->attr;
}

/* The type of the gradient of input i. */
static enum dtype gradient_type(const struct gradient_call *c, int i)
{
    const struct value_info *v = graph_value(c->g, c->in[i]);
    return v->kind == VALUE_WEIGHT ? sum_type(graph_type(c->g, c->dout[0])) : v->type;
}

static struct shape shape_in(const struct gradient_call *c, int i)
{
    return graph_shape(c->g, c->in[i]);
}

/* dy summed over the dimensions along which input i was repeated. */
static struct value sum_like(const struct gradient_call *c, struct value dy, int i)
{
    if (shape_same(graph_shape(c->g, dy), shape_in(c, i)))
        return op_cast(c->g, dy, gradient_type(c, i));
    return op_sum_to(c->g, dy, shape_in(c, i), gradient_type(c, i));
}

/* The gradient of a bias [n] added to rows of n. */
static struct value bias_gradient(const struct gradient_call *c, int i)
{
    struct shape y = graph_shape(c->g, c->dout[0]);
    struct value rows = op_reshape(c->g, c->dout[0], SHAPE(shape_rows(y), shape_last(y)));
    return op_reshape(c->g, op_sum_to(c->g, rows, SHAPE(1, shape_last(y)), gradient_type(c, i)), shape_in(c, i));
}

static bool fused_activation(const struct gradient_call *c)
{
    if (c->node->attr.fn == UNARY_NONE)
        return false;
    graph_fail(c->g, ERR_TYPE, "%s with a fused activation has no gradient: fuse for inference only",
               op_desc(c->node->op)->name);
    return true;
}

void grad_matmul(struct gradient_call *c)
{
    bool ta = attr_of(c)->trans_a, tb = attr_of(c)->trans_b;
    struct value a = c->in[0], b = c->in[1], dy = c->dout[0];
    if (fused_activation(c))
        return;
    if (c->wanted[0]) {
        enum dtype t = gradient_type(c, 0);
        /* the first factor says the type of the product: a weight comes to the activations' type, as forward */
        struct value da = ta ? op_matmul(c->g, op_cast(c->g, b, graph_type(c->g, a)), dy, tb, true, t)
                             : op_matmul(c->g, dy, b, false, !tb, t);
        c->din[0] = op_reshape(c->g, da, shape_in(c, 0));
    }
    if (c->wanted[1]) {
        enum dtype t = gradient_type(c, 1);
        struct value db = tb ? op_matmul(c->g, dy, a, true, ta, t) : op_matmul(c->g, a, dy, !ta, false, t);
        c->din[1] = op_reshape(c->g, db, shape_in(c, 1));
    }
    if (c->wanted[2])
        c->din[2] = bias_gradient(c, 2);
    if (c->wanted[3])
        c->din[3] = dy;
}

void grad_conv2d(struct gradient_call *c)
{
    struct value dy = c->dout[0];
    if (fused_activation(c))
        return;
    struct op_attr attr = *attr_of(c);
    for (int i = 0; i < 2; i++) {
        if (!c->wanted[i])
            continue;
        attr.shape = shape_in(c, i);
        attr.type = gradient_type(c, i);
        c->din[i] = graph_add(c->g, i ? OP_CONV2D_GRAD_W : OP_CONV2D_GRAD_X, (struct value[]){ dy, c->in[1 - i] }, 2,
                              &attr);
    }
    if (c->wanted[2])
        c->din[2] = bias_gradient(c, 2);
    if (c->wanted[3])
        c->din[3] = dy;
}

void grad_add(struct gradient_call *c)
{
    if (c->wanted[0])
        c->din[0] = c->dout[0];
    if (c->wanted[1])
        c->din[1] = sum_like(c, c->dout[0], 1);
}

void grad_sub(struct gradient_call *c)
{
    if (c->wanted[0])
        c->din[0] = c->dout[0];
    if (c->wanted[1])
        c->din[1] = op_scale(c->g, sum_like(c, c->dout[0], 1), -1, 0);
}

void grad_mul(struct gradient_call *c)
{
    if (c->wanted[0])
        c->din[0] = op_mul(c->g, c->dout[0], c->in[1]);
    if (c->wanted[1])
        c->din[1] = sum_like(c, op_mul(c->g, c->dout[0], c->in[0]), 1);
}

void grad_div(struct gradient_call *c)
{
    struct value da = op_div(c->g, c->dout[0], c->in[1]);
    if (c->wanted[0])
        c->din[0] = da;
    if (c->wanted[1]) /* d(a/b)/db = -y / b */
        c->din[1] = op_scale(c->g, sum_like(c, op_mul(c->g, da, c->out[0]), 1), -1, 0);
}

void grad_scale(struct gradient_call *c)
{
    c->din[0] = op_scale(c->g, c->dout[0], attr_of(c)->alpha, 0);
}

/* An op of (x, dy) -> dx. */
static void from_input(struct gradient_call *c, enum op op, struct value x)
{
    c->din[0] = graph_add(c->g, op, (struct value[]){ x, c->dout[0] }, 2, attr_of(c));
}

void grad_clamp(struct gradient_call *c)
{
    from_input(c, OP_CLAMP_GRAD, c->in[0]);
}

void grad_unary(struct gradient_call *c)
{
    from_input(c, OP_UNARY_GRAD, c->in[0]);
}

void grad_gated(struct gradient_call *c)
{
    from_input(c, OP_GATED_GRAD, c->in[0]);
}

void grad_softmax(struct gradient_call *c)
{
    from_input(c, OP_SOFTMAX_GRAD, c->out[0]);
}

/* Spreads the outputs of a gradient op over the inputs that want them. */
static void spread(struct gradient_call *c, enum op op, const struct value *in, int n_in, int count)
{
    struct value first = graph_add(c->g, op, in, n_in, attr_of(c));
    for (int i = 0; i < count; i++)
        if (c->wanted[i])
            c->din[i] = graph_out(c->g, first, i);
}

static void norm_gradient(struct gradient_call *c, enum op op)
{
    spread(c, op, (struct value[]){ c->in[0], c->in[1], c->in[2], c->out[1], c->out[2], c->dout[0] }, 6, 3);
}

void grad_group_norm(struct gradient_call *c)
{
    norm_gradient(c, OP_GROUP_NORM_GRAD);
}

void grad_layer_norm(struct gradient_call *c)
{
    norm_gradient(c, OP_LAYER_NORM_GRAD);
}

void grad_rms_norm(struct gradient_call *c)
{
    spread(c, OP_RMS_NORM_GRAD, (struct value[]){ c->in[0], c->in[1], c->out[1], c->dout[0] }, 4, 2);
}

void grad_rotary(struct gradient_call *c)
{
    struct op_attr back = *attr_of(c);
    back.alpha = -back.alpha;
    c->din[0] = graph_add(c->g, OP_ROTARY, (struct value[]){ c->dout[0], c->in[1] }, 2, &back);
}

void grad_attention(struct gradient_call *c)
{
    bool padded = c->node->n_in > 3;
    spread(c, OP_ATTENTION_GRAD,
           (struct value[]){ c->in[0], c->in[1], c->in[2], c->out[0], c->out[1], c->dout[0], c->in[3] }, padded ? 7 : 6, 3);
}

void grad_upsample(struct gradient_call *c)
{
    double f = (double)attr_of(c)->factor;
    c->din[0] = op_scale(c->g, op_avg_pool(c->g, c->dout[0], attr_of(c)->factor), f * f, 0);
}

void grad_avg_pool(struct gradient_call *c)
{
    double f = (double)attr_of(c)->factor;
    c->din[0] = op_upsample(c->g, op_scale(c->g, c->dout[0], 1 / (f * f), 0), attr_of(c)->factor);
}

void grad_concat(struct gradient_call *c)
{
    int axis = (int)attr_of(c)->axis;
    int64_t first = shape_in(c, 0).dim[axis];
    if (c->wanted[0])
        c->din[0] = op_slice(c->g, c->dout[0], axis, 0, first);
    if (c->wanted[1])
        c->din[1] = op_slice(c->g, c->dout[0], axis, first, shape_in(c, 1).dim[axis]);
}

void grad_slice(struct gradient_call *c)
{
    c->din[0] = op_place(c->g, c->dout[0], (int)attr_of(c)->axis, attr_of(c)->begin, shape_in(c, 0));
}

void grad_place(struct gradient_call *c)
{
    int axis = (int)attr_of(c)->axis;
    c->din[0] = op_slice(c->g, c->dout[0], axis, attr_of(c)->begin, shape_in(c, 0).dim[axis]);
}

void grad_reshape(struct gradient_call *c)
{
    c->din[0] = op_reshape(c->g, c->dout[0], shape_in(c, 0));
}

void grad_cast(struct gradient_call *c)
{
    c->din[0] = op_cast(c->g, c->dout[0], gradient_type(c, 0));
}

void grad_sum_to(struct gradient_call *c)
{
    c->din[0] = op_expand(c->g, c->dout[0], shape_in(c, 0), gradient_type(c, 0));
}

void grad_expand(struct gradient_call *c)
{
    c->din[0] = sum_like(c, c->dout[0], 0);
}

void grad_embedding(struct gradient_call *c)
{
    struct op_attr attr = { .shape = shape_in(c, 0), .type = gradient_type(c, 0) };
    c->din[0] = graph_add(c->g, OP_EMBEDDING_GRAD, (struct value[]){ c->dout[0], c->in[1] }, 2, &attr);
}
