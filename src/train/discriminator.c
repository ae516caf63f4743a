#include "train/discriminator.h"

#include "model/layer/layer.h"

enum { HALVINGS = 3, GROUPS = 8, SIDE = 4 };

static struct value conv(struct net *n, struct value x, const char *at, int64_t out, int64_t stride)
{
    static const int64_t pad[4] = { 1, 1, 1, 1 };
    if (!x.id)
        return x;
    struct shape w = SHAPE(out, shape_last(graph_shape(n->g, x)), SIDE, SIDE);
    struct value bias = net_weight(n, at, "bias", SHAPE(out), INIT_ZEROS, 0, false);
    return op_conv2d(n->g, x, net_weight(n, at, "weight", w, INIT_NORMAL, 0.02, true), bias, stride, pad);
}

struct value discriminator(struct net *n, struct value picture, int64_t width)
{
    struct value x = op_unary(n->g, conv(n, picture, "0", width, 2), UNARY_LEAKY_RELU);
    for (int i = 1; i <= HALVINGS; i++) {
        struct path at = path_of("%d", i);
        x = conv(n, x, at.s, width << i, i < HALVINGS ? 2 : 1);
        x = layer_group_norm(n, x, path_of("%s.norm", at.s).s, GROUPS, 1e-5, UNARY_LEAKY_RELU);
    }
    return conv(n, x, path_of("%d", HALVINGS + 1).s, 1, 1);
}

/* Mean of max(0, 1 + sign x). */
static struct value hinge(struct graph *g, struct value x, double sign)
{
    return op_mean(g, op_unary(g, op_scale(g, x, sign, 1), UNARY_RELU));
}

struct value discriminator_loss(struct graph *g, struct value real, struct value made)
{
    return op_scale(g, op_add(g, hinge(g, real, -1), hinge(g, made, 1)), 0.5, 0);
}

struct value discriminator_opinion(struct graph *g, struct value made)
{
    return op_scale(g, op_mean(g, made), -1, 0);
}
