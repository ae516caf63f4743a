#include "train/loss.h"

/* f32, but f64 in an f64 graph. */
static enum dtype sums(const struct graph *g, struct value v)
{
    return graph_type(g, v) == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

struct value loss_weighted_mse(struct graph *g, struct value prediction, struct value target, struct value weight)
{
    struct shape s = graph_shape(g, prediction);
    struct value d = op_sub(g, op_cast(g, prediction, sums(g, prediction)), target);
    d = op_mul(g, op_unary(g, d, UNARY_SQUARE), op_reshape(g, weight, SHAPE(s.dim[0], 1, 1, 1)));
    return op_mean(g, d);
}

struct value loss_vae_sample(struct graph *g, struct value moments, struct value noise, struct value *mean,
                             struct value *logvar)
{
    int64_t channels = shape_last(graph_shape(g, moments)) / 2;
    struct value wide = op_cast(g, moments, sums(g, moments));
    *mean = op_slice(g, wide, -1, 0, channels);
    /* as diffusers: a variance of e^20 is beyond any picture's, and exp of much more is infinite */
    *logvar = op_clamp(g, op_slice(g, wide, -1, channels, channels), -30, 20);
    struct value deviation = op_unary(g, op_scale(g, *logvar, 0.5, 0), UNARY_EXP);
    return op_cast(g, op_add(g, op_mul(g, deviation, noise), *mean), graph_type(g, moments));
}

/* sum += weight * mean of fn(x); weight 0 adds nothing. */
static struct value add_part(struct graph *g, struct value sum, struct value x, enum unary fn, double weight)
{
    struct value part = op_scale(g, op_mean(g, op_unary(g, x, fn)), weight, 0);
    return sum.id ? op_add(g, sum, part) : part;
}

/* x minus its neighbour along `axis`. */
static struct value neighbours(struct graph *g, struct value x, int axis)
{
    int64_t n = graph_shape(g, x).dim[axis];
    return op_sub(g, op_slice(g, x, axis, 1, n - 1), op_slice(g, x, axis, 0, n - 1));
}

struct value loss_vae(struct graph *g, struct value decoded, struct value picture, struct value mean,
                      struct value logvar, const struct vae_loss_weights *w)
{
    struct value d = op_sub(g, op_cast(g, decoded, sums(g, decoded)), picture), sum = VALUE_NONE;
    if (w->l1 > 0)
        sum = add_part(g, sum, d, UNARY_ABS, w->l1);
    if (w->l2 > 0)
        sum = add_part(g, sum, d, UNARY_SQUARE, w->l2);
    for (int scale = 0; w->gradient > 0 && scale < 3; scale++) {
        if (scale)
            d = op_avg_pool(g, d, 2);
        sum = add_part(g, sum, neighbours(g, d, 1), UNARY_ABS, w->gradient);
        sum = add_part(g, sum, neighbours(g, d, 2), UNARY_ABS, w->gradient);
    }
    if (w->kl > 0) {
        struct value kl = op_sub(g, op_add(g, op_unary(g, mean, UNARY_SQUARE), op_unary(g, logvar, UNARY_EXP)), logvar);
        sum = add_part(g, sum, op_scale(g, kl, 0.5, -0.5), UNARY_NONE, w->kl);
    }
    return sum;
}
