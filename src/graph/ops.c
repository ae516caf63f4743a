#include "graph/ops.h"

#include "graph/graph_internal.h"

static struct value one(struct graph *g, enum op op, struct value x, const struct op_attr *attr)
{
    return x.id ? graph_add(g, op, &x, 1, attr) : VALUE_NONE;
}

static struct value two(struct graph *g, enum op op, struct value a, struct value b, const struct op_attr *attr)
{
    return a.id && b.id ? graph_add(g, op, (struct value[]){ a, b }, 2, attr) : VALUE_NONE;
}

struct value op_matmul(struct graph *g, struct value a, struct value b, bool trans_a, bool trans_b, enum dtype type)
{
    return two(g, OP_MATMUL, a, b, &(struct op_attr){ .trans_a = trans_a, .trans_b = trans_b, .type = type });
}

struct value op_linear(struct graph *g, struct value x, struct value w, struct value bias)
{
    if (!x.id || !w.id)
        return VALUE_NONE;
    struct op_attr attr = { .trans_b = true, .type = graph_type(g, x) };
    return graph_add(g, OP_MATMUL, (struct value[]){ x, w, bias }, bias.id ? 3 : 2, &attr);
}

struct value op_conv2d(struct graph *g, struct value x, struct value w, struct value bias, int64_t stride,
                       const int64_t pad[4])
{
    if (!x.id || !w.id)
        return VALUE_NONE;
    struct op_attr attr = { .stride = stride, .pad = { pad[0], pad[1], pad[2], pad[3] } };
    return graph_add(g, OP_CONV2D, (struct value[]){ x, w, bias }, bias.id ? 3 : 2, &attr);
}

struct value op_add(struct graph *g, struct value a, struct value b)
{
    return two(g, OP_ADD, a, b, &(struct op_attr){ 0 });
}

struct value op_sub(struct graph *g, struct value a, struct value b)
{
    return two(g, OP_SUB, a, b, &(struct op_attr){ 0 });
}

struct value op_mul(struct graph *g, struct value a, struct value b)
{
    return two(g, OP_MUL, a, b, &(struct op_attr){ 0 });
}

struct value op_div(struct graph *g, struct value a, struct value b)
{
    return two(g, OP_DIV, a, b, &(struct op_attr){ 0 });
}

struct value op_scale(struct graph *g, struct value x, double alpha, double beta)
{
    return one(g, OP_SCALE, x, &(struct op_attr){ .alpha = alpha, .beta = beta });
}

struct value op_clamp(struct graph *g, struct value x, double least, double most)
{
    return one(g, OP_CLAMP, x, &(struct op_attr){ .alpha = least, .beta = most });
}

struct value op_unary(struct graph *g, struct value x, enum unary fn)
{
    return fn == UNARY_NONE ? x : one(g, OP_UNARY, x, &(struct op_attr){ .fn = fn });
}

struct value op_geglu(struct graph *g, struct value x)
{
    return one(g, OP_GATED, x, &(struct op_attr){ .fn = UNARY_GELU });
}

struct value op_swiglu(struct graph *g, struct value x)
{
    return one(g, OP_GATED, x, &(struct op_attr){ .fn = UNARY_SILU });
}

struct value op_group_norm(struct graph *g, struct value x, struct value gamma, struct value beta, int64_t groups,
                           double eps, enum unary act)
{
    if (!x.id || !gamma.id || !beta.id)
        return VALUE_NONE;
    struct op_attr attr = { .groups = groups, .eps = eps, .fn = act };
    return graph_add(g, OP_GROUP_NORM, (struct value[]){ x, gamma, beta }, 3, &attr);
}

struct value op_layer_norm(struct graph *g, struct value x, struct value gamma, struct value beta, double eps)
{
    if (!x.id || !gamma.id || !beta.id)
        return VALUE_NONE;
    return graph_add(g, OP_LAYER_NORM, (struct value[]){ x, gamma, beta }, 3, &(struct op_attr){ .eps = eps });
}

struct value op_rms_norm(struct graph *g, struct value x, struct value gamma, double eps)
{
    return two(g, OP_RMS_NORM, x, gamma, &(struct op_attr){ .eps = eps });
}

struct value op_softmax(struct graph *g, struct value x)
{
    return one(g, OP_SOFTMAX, x, &(struct op_attr){ 0 });
}

struct value op_rotary(struct graph *g, struct value x, struct value places, int64_t heads, int64_t count, double base)
{
    return two(g, OP_ROTARY, x, places, &(struct op_attr){ .heads = heads, .count = count, .alpha = 1, .beta = base });
}

struct value op_attention(struct graph *g, struct value q, struct value k, struct value v, int64_t heads, double scale,
                          bool causal)
{
    if (!q.id || !k.id || !v.id)
        return VALUE_NONE;
    struct op_attr attr = { .heads = heads, .alpha = scale, .causal = causal };
    return graph_add(g, OP_ATTENTION, (struct value[]){ q, k, v }, 3, &attr);
}

struct value op_attention_padded(struct graph *g, struct value q, struct value k, struct value v, struct value pads,
                                 int64_t heads, double scale, bool causal)
{
    if (!q.id || !k.id || !v.id || !pads.id)
        return VALUE_NONE;
    struct op_attr attr = { .heads = heads, .alpha = scale, .causal = causal };
    return graph_add(g, OP_ATTENTION, (struct value[]){ q, k, v, pads }, 4, &attr);
}

struct value op_upsample(struct graph *g, struct value x, int64_t factor)
{
    return one(g, OP_UPSAMPLE, x, &(struct op_attr){ .factor = factor });
}

struct value op_avg_pool(struct graph *g, struct value x, int64_t factor)
{
    return one(g, OP_AVG_POOL, x, &(struct op_attr){ .factor = factor });
}

static int64_t from_front(const struct graph *g, struct value x, int axis)
{
    return axis < 0 ? graph_shape(g, x).rank + axis : axis;
}

struct value op_concat(struct graph *g, struct value a, struct value b, int axis)
{
    return two(g, OP_CONCAT, a, b, &(struct op_attr){ .axis = from_front(g, a, axis) });
}

struct value op_slice(struct graph *g, struct value x, int axis, int64_t begin, int64_t count)
{
    return one(g, OP_SLICE, x, &(struct op_attr){ .axis = from_front(g, x, axis), .begin = begin, .count = count });
}

struct value op_place(struct graph *g, struct value x, int axis, int64_t begin, struct shape shape)
{
    return one(g, OP_PLACE, x, &(struct op_attr){ .axis = from_front(g, x, axis), .begin = begin, .shape = shape });
}

struct value op_reshape(struct graph *g, struct value x, struct shape shape)
{
    return one(g, OP_RESHAPE, x, &(struct op_attr){ .shape = shape });
}

struct value op_cast(struct graph *g, struct value x, enum dtype type)
{
    return x.id && graph_type(g, x) == type ? x : one(g, OP_CAST, x, &(struct op_attr){ .type = type });
}

struct value op_sum_to(struct graph *g, struct value x, struct shape shape, enum dtype type)
{
    return one(g, OP_SUM_TO, x, &(struct op_attr){ .shape = shape, .type = type });
}

struct value op_expand(struct graph *g, struct value x, struct shape shape, enum dtype type)
{
    return one(g, OP_EXPAND, x, &(struct op_attr){ .shape = shape, .type = type });
}

struct value op_mean(struct graph *g, struct value x)
{
    int64_t count = shape_count(graph_shape(g, x));
    struct value flat = op_reshape(g, x, SHAPE(count));
    return op_scale(g, op_sum_to(g, flat, SHAPE(1), sum_type(graph_type(g, x))), 1.0 / (double)count, 0);
}

struct value op_sum_squares(struct graph *g, struct value x)
{
    return one(g, OP_SUM_SQUARES, x, &(struct op_attr){ 0 });
}

struct value op_embedding(struct graph *g, struct value table, struct value ids, enum dtype type)
{
    return two(g, OP_EMBEDDING, table, ids, &(struct op_attr){ .type = type });
}

struct value op_timestep_embedding(struct graph *g, struct value t, int64_t dim, bool cosine_first, double shift,
                                   double max_period)
{
    struct op_attr attr = { .count = dim, .cosine_first = cosine_first, .alpha = shift, .beta = max_period };
    return one(g, OP_TIMESTEP_EMBEDDING, t, &attr);
}

struct value op_accumulate(struct graph *g, struct value sum, struct value x)
{
    return two(g, OP_ACCUMULATE, sum, x, &(struct op_attr){ 0 });
}

/* An op whose inputs must all be there. */
static struct value update(struct graph *g, enum op op, const struct value *in, int n, double decay)
{
    for (int i = 0; i < n; i++)
        if (!in[i].id)
            return VALUE_NONE;
    return graph_add(g, op, in, n, &(struct op_attr){ .alpha = decay });
}

struct value op_adamw(struct graph *g, struct value p, struct value m, struct value v, struct value gradient,
                      struct value step, double decay)
{
    return update(g, OP_ADAMW, (struct value[]){ p, m, v, gradient, step }, 5, decay);
}

struct value op_adamw8(struct graph *g, struct value p, struct value m, struct value v, struct value m_scale, struct value v_scale,
                       struct value gradient, struct value step, double decay)
{
    return update(g, OP_ADAMW8, (struct value[]){ p, m, v, m_scale, v_scale, gradient, step }, 7, decay);
}

struct value op_lion(struct graph *g, struct value p, struct value m, struct value gradient, struct value step, double decay)
{
    return update(g, OP_LION, (struct value[]){ p, m, gradient, step }, 4, decay);
}

struct value op_adafactor(struct graph *g, struct value p, struct value rows, struct value columns, struct value gradient,
                          struct value step, double decay)
{
    return update(g, OP_ADAFACTOR, (struct value[]){ p, rows, columns, gradient, step }, 5, decay);
}

struct value op_adafactor_whole(struct graph *g, struct value p, struct value v, struct value gradient, struct value step,
                                double decay)
{
    return update(g, OP_ADAFACTOR_WHOLE, (struct value[]){ p, v, gradient, step }, 4, decay);
}

struct value op_prodigy_measure(struct graph *g, struct value m, struct value v, struct value s, struct value p, struct value p0,
                                struct value gradient, struct value step)
{
    return graph_out(g, update(g, OP_PRODIGY_MEASURE, (struct value[]){ m, v, s, p, p0, gradient, step }, 7, 0), 3);
}

struct value op_prodigy(struct graph *g, struct value p, struct value m, struct value v, struct value step, double decay)
{
    return update(g, OP_PRODIGY, (struct value[]){ p, m, v, step }, 4, decay);
}

struct value op_ema(struct graph *g, struct value e, struct value p, struct value step)
{
    return update(g, OP_EMA, (struct value[]){ e, p, step }, 3, 0);
}
