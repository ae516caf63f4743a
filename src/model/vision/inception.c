#include "model/vision/inception.h"

/* --- parts --- */

/* Convolution without bias, batch norm, ReLU: BasicConv2d. Kernel and widths are as the file has them. */
static struct value conv(struct net *n, struct value x, const char *at, int64_t stride, int64_t pad_y, int64_t pad_x)
{
    const struct weight *w = weights_find(n->stored, path_of("%s.conv.weight", at).s);
    if (!w || w->shape.rank != 4)
        return graph_fail(n->g, ERR_MISSING, "%s.conv.weight is not there, or no kernel: the file is not the Inception network of FID", at);
    int64_t out = w->shape.dim[0];
    struct value kernel = net_weight(n, path_of("%s.conv", at).s, "weight",
                                     SHAPE(out, shape_last(graph_shape(n->g, x)), w->shape.dim[2], w->shape.dim[3]), INIT_FAN_IN, 1, true);
    struct path bn = path_of("%s.bn", at);
    struct value gamma = net_weight(n, bn.s, "weight", SHAPE(out), INIT_ONES, 0, false);
    struct value beta = net_weight(n, bn.s, "bias", SHAPE(out), INIT_ZEROS, 0, false);
    struct value mean = net_weight(n, bn.s, "running_mean", SHAPE(out), INIT_ZEROS, 0, false);
    struct value variance = net_weight(n, bn.s, "running_var", SHAPE(out), INIT_ONES, 0, false);
    struct value scale = op_div(n->g, gamma, op_unary(n->g, op_scale(n->g, variance, 1, 1e-3), UNARY_SQRT));
    struct value shift = op_sub(n->g, beta, op_mul(n->g, mean, scale));
    x = op_conv2d(n->g, x, kernel, VALUE_NONE, stride, (int64_t[]){ pad_y, pad_x, pad_y, pad_x });
    x = op_mul(n->g, x, op_reshape(n->g, scale, SHAPE(1, 1, 1, out)));
    return op_unary(n->g, op_add(n->g, x, op_reshape(n->g, shift, SHAPE(1, 1, 1, out))), UNARY_RELU);
}

static struct value below(struct net *n, struct value x, const char *block, const char *name, int64_t stride, int64_t pad_y, int64_t pad_x)
{
    return conv(n, x, path_of("%s.%s", block, name).s, stride, pad_y, pad_x);
}

/* max(a, b) = a + relu(b - a) */
static struct value larger(struct net *n, struct value a, struct value b)
{
    return op_add(n->g, a, op_unary(n->g, op_sub(n->g, b, a), UNARY_RELU));
}

/* Three neighbours along an axis, joined to one that is two shorter. */
static struct value three(struct net *n, struct value x, int axis, struct value (*join)(struct net *, struct value, struct value))
{
    int64_t length = graph_shape(n->g, x).dim[axis] - 2;
    struct value both = join(n, op_slice(n->g, x, axis, 0, length), op_slice(n->g, x, axis, 1, length));
    return join(n, both, op_slice(n->g, x, axis, 2, length));
}

static struct value sum(struct net *n, struct value a, struct value b)
{
    return op_add(n->g, a, b);
}

/* Every second row and column from the first: an odd side gets a line of zeros, pairs become a dimension, and its first half is kept. */
static struct value every_second(struct net *n, struct value x)
{
    struct shape s = graph_shape(n->g, x);
    int64_t h = (s.dim[1] + 1) / 2, w = (s.dim[2] + 1) / 2, c = s.dim[3];
    if (s.dim[1] % 2 || s.dim[2] % 2)
        x = op_place(n->g, op_place(n->g, x, 1, 0, SHAPE(s.dim[0], 2 * h, s.dim[2], c)), 2, 0, SHAPE(s.dim[0], 2 * h, 2 * w, c));
    x = op_slice(n->g, op_reshape(n->g, x, SHAPE(s.dim[0], h, 2, 2 * w * c)), 2, 0, 1);
    return op_slice(n->g, op_reshape(n->g, x, SHAPE(s.dim[0], h, w, 2 * c)), 3, 0, c);
}

/* 3x3, stride 2, no border. */
static struct value max_pool_half(struct net *n, struct value x)
{
    return every_second(n, three(n, three(n, x, 1, larger), 2, larger));
}

/* A line of zeros all around. */
static struct value bordered(struct net *n, struct value x)
{
    struct shape s = graph_shape(n->g, x);
    x = op_place(n->g, x, 1, 1, SHAPE(s.dim[0], s.dim[1] + 2, s.dim[2], s.dim[3]));
    return op_place(n->g, x, 2, 1, SHAPE(s.dim[0], s.dim[1] + 2, s.dim[2] + 2, s.dim[3]));
}

/* 3x3, stride 1, the size is kept; x is not negative, so a border of zeros is no maximum. */
static struct value max_pool_same(struct net *n, struct value x)
{
    return three(n, three(n, bordered(n, x), 1, larger), 2, larger);
}

/* The mean of those of 3x3 neighbours that are there: sums by how many they are, which are sums of ones. */
static struct value mean_pool_same(struct net *n, struct value x)
{
    struct value ones = op_scale(n->g, op_slice(n->g, op_slice(n->g, x, 0, 0, 1), 3, 0, 1), 0, 1);
    struct value count = three(n, three(n, bordered(n, ones), 1, sum), 2, sum);
    return op_div(n->g, three(n, three(n, bordered(n, x), 1, sum), 2, sum), count);
}

static struct value concat(struct net *n, const struct value *v, int count)
{
    struct value x = v[0];
    for (int i = 1; i < count; i++)
        x = op_concat(n->g, x, v[i], 3);
    return x;
}

/* --- blocks, as PyTorch's torchvision names them --- */

static struct value block_a(struct net *n, struct value x, const char *at)
{
    struct value five = below(n, below(n, x, at, "branch5x5_1", 1, 0, 0), at, "branch5x5_2", 1, 2, 2);
    struct value three_ = below(n, below(n, x, at, "branch3x3dbl_1", 1, 0, 0), at, "branch3x3dbl_2", 1, 1, 1);
    return concat(n, (struct value[]){ below(n, x, at, "branch1x1", 1, 0, 0), five, below(n, three_, at, "branch3x3dbl_3", 1, 1, 1),
                                       below(n, mean_pool_same(n, x), at, "branch_pool", 1, 0, 0) }, 4);
}

static struct value block_b(struct net *n, struct value x, const char *at)
{
    struct value twice = below(n, below(n, x, at, "branch3x3dbl_1", 1, 0, 0), at, "branch3x3dbl_2", 1, 1, 1);
    return concat(n, (struct value[]){ below(n, x, at, "branch3x3", 2, 0, 0), below(n, twice, at, "branch3x3dbl_3", 2, 0, 0),
                                       max_pool_half(n, x) }, 3);
}

static struct value block_c(struct net *n, struct value x, const char *at)
{
    struct value once = below(n, below(n, x, at, "branch7x7_1", 1, 0, 0), at, "branch7x7_2", 1, 0, 3);
    struct value twice = below(n, below(n, x, at, "branch7x7dbl_1", 1, 0, 0), at, "branch7x7dbl_2", 1, 3, 0);
    twice = below(n, below(n, twice, at, "branch7x7dbl_3", 1, 0, 3), at, "branch7x7dbl_4", 1, 3, 0);
    return concat(n, (struct value[]){ below(n, x, at, "branch1x1", 1, 0, 0), below(n, once, at, "branch7x7_3", 1, 3, 0),
                                       below(n, twice, at, "branch7x7dbl_5", 1, 0, 3),
                                       below(n, mean_pool_same(n, x), at, "branch_pool", 1, 0, 0) }, 4);
}

static struct value block_d(struct net *n, struct value x, const char *at)
{
    struct value seven = below(n, below(n, x, at, "branch7x7x3_1", 1, 0, 0), at, "branch7x7x3_2", 1, 0, 3);
    seven = below(n, seven, at, "branch7x7x3_3", 1, 3, 0);
    return concat(n, (struct value[]){ below(n, below(n, x, at, "branch3x3_1", 1, 0, 0), at, "branch3x3_2", 2, 0, 0),
                                       below(n, seven, at, "branch7x7x3_4", 2, 0, 0), max_pool_half(n, x) }, 3);
}

static struct value block_e(struct net *n, struct value x, const char *at, struct value (*pool)(struct net *, struct value))
{
    struct value once = below(n, x, at, "branch3x3_1", 1, 0, 0);
    struct value twice = below(n, below(n, x, at, "branch3x3dbl_1", 1, 0, 0), at, "branch3x3dbl_2", 1, 1, 1);
    return concat(n, (struct value[]){ below(n, x, at, "branch1x1", 1, 0, 0), below(n, once, at, "branch3x3_2a", 1, 0, 1),
                                       below(n, once, at, "branch3x3_2b", 1, 1, 0), below(n, twice, at, "branch3x3dbl_3a", 1, 0, 1),
                                       below(n, twice, at, "branch3x3dbl_3b", 1, 1, 0), below(n, pool(n, x), at, "branch_pool", 1, 0, 0) },
                  6);
}

struct value inception(struct net *n, struct value x)
{
    x = conv(n, x, "Conv2d_1a_3x3", 2, 0, 0);
    x = conv(n, x, "Conv2d_2a_3x3", 1, 0, 0);
    x = max_pool_half(n, conv(n, x, "Conv2d_2b_3x3", 1, 1, 1));
    x = conv(n, x, "Conv2d_3b_1x1", 1, 0, 0);
    x = max_pool_half(n, conv(n, x, "Conv2d_4a_3x3", 1, 0, 0));
    x = block_a(n, block_a(n, block_a(n, x, "Mixed_5b"), "Mixed_5c"), "Mixed_5d");
    x = block_b(n, x, "Mixed_6a");
    x = block_c(n, block_c(n, block_c(n, block_c(n, x, "Mixed_6b"), "Mixed_6c"), "Mixed_6d"), "Mixed_6e");
    x = block_d(n, x, "Mixed_7a");
    x = block_e(n, block_e(n, x, "Mixed_7b", mean_pool_same), "Mixed_7c", max_pool_same);
    struct shape s = graph_shape(n->g, x);
    if (!x.id)
        return x;
    double area = (double)(s.dim[1] * s.dim[2]);
    x = op_scale(n->g, op_sum_to(n->g, x, SHAPE(s.dim[0], 1, 1, s.dim[3]), DTYPE_F32), 1 / area, 0);
    return op_reshape(n->g, x, SHAPE(s.dim[0], s.dim[3]));
}
