#include "model/layer/layer.h"

#include <math.h>

#include "model/layer/adapter.h"

static struct value norm_weight(struct net *n, const char *at, const char *name, int64_t width, enum init init)
{
    return net_weight(n, at, name, SHAPE(width), init, 0, false);
}

static struct value linear(struct net *n, struct value x, const char *at, int64_t out, bool bias, bool zero)
{
    int64_t in = shape_last(graph_shape(n->g, x));
    if (!x.id)
        return x;
    enum init init = zero ? INIT_ZEROS : INIT_FAN_IN;
    struct value w = net_weight(n, at, "weight", SHAPE(out, in), init, sqrt(3.0 / (double)in), true);
    struct value b = bias ? net_weight(n, at, "bias", SHAPE(out), INIT_ZEROS, 0, false) : VALUE_NONE;
    const struct adapter *a = net_adapter(n, at);
    if (!a)
        return op_linear(n->g, x, w, b);
    struct value y = op_linear(n->g, x, w, a->gain ? VALUE_NONE : b);
    return adapter_join(n, a, at, x, y, a->gain ? b : VALUE_NONE, 0, 1, NULL);
}

struct value layer_linear(struct net *n, struct value x, const char *at, int64_t out, bool bias)
{
    return linear(n, x, at, out, bias, false);
}

struct value layer_linear_zero(struct net *n, struct value x, const char *at, int64_t out)
{
    return linear(n, x, at, out, true, true);
}

static struct value conv(struct net *n, struct value x, const char *at, int64_t out, int64_t k, int64_t stride,
                         const int64_t pad[4], bool zero)
{
    if (!x.id)
        return x;
    int64_t in = shape_last(graph_shape(n->g, x));
    enum init init = zero ? INIT_ZEROS : INIT_FAN_IN;
    struct value w = net_weight(n, at, "weight", SHAPE(out, in, k, k), init, sqrt(3.0 / (double)(in * k * k)), true);
    struct value b = net_weight(n, at, "bias", SHAPE(out), INIT_ZEROS, 0, false);
    const struct adapter *a = net_adapter(n, at);
    if (!a)
        return op_conv2d(n->g, x, w, b, stride, pad);
    struct value y = op_conv2d(n->g, x, w, a->gain ? VALUE_NONE : b, stride, pad);
    return adapter_join(n, a, at, x, y, a->gain ? b : VALUE_NONE, k, stride, pad);
}

struct value layer_conv(struct net *n, struct value x, const char *at, int64_t out, int64_t k, bool zero)
{
    int64_t p = k / 2;
    return conv(n, x, at, out, k, 1, (int64_t[]){ p, p, p, p }, zero);
}

struct value layer_conv_down(struct net *n, struct value x, const char *at, int64_t out, const int64_t pad[4])
{
    return conv(n, x, at, out, 3, 2, pad, false);
}

struct value layer_conv_up(struct net *n, struct value x, const char *at, int64_t out, int64_t height, int64_t width)
{
    x = op_upsample(n->g, x, 2);
    if (x.id && graph_shape(n->g, x).dim[1] != height)
        x = op_slice(n->g, x, 1, 0, height);
    if (x.id && graph_shape(n->g, x).dim[2] != width)
        x = op_slice(n->g, x, 2, 0, width);
    return layer_conv(n, x, at, out, 3, false);
}

struct value layer_group_norm(struct net *n, struct value x, const char *at, int64_t groups, double eps,
                              enum unary act)
{
    int64_t width = shape_last(graph_shape(n->g, x));
    struct value gamma = norm_weight(n, at, "weight", width, INIT_ONES);
    struct value beta = norm_weight(n, at, "bias", width, INIT_ZEROS);
    return op_unary(n->g, op_group_norm(n->g, x, gamma, beta, groups, eps, UNARY_NONE), act);
}

struct value layer_layer_norm(struct net *n, struct value x, const char *at, double eps)
{
    int64_t width = shape_last(graph_shape(n->g, x));
    struct value gamma = norm_weight(n, at, "weight", width, INIT_ONES);
    struct value beta = norm_weight(n, at, "bias", width, INIT_ZEROS);
    return op_layer_norm(n->g, x, gamma, beta, eps);
}

struct value layer_rms_norm(struct net *n, struct value x, const char *at, double eps)
{
    int64_t width = shape_last(graph_shape(n->g, x));
    return op_rms_norm(n->g, x, norm_weight(n, at, "weight", width, INIT_ONES), eps);
}

struct value layer_resnet(struct net *n, struct value x, struct value time, const char *at, int64_t out,
                          int64_t groups, double eps)
{
    struct value h = layer_group_norm(n, x, path_of("%s.norm1", at).s, groups, eps, UNARY_SILU);
    h = layer_conv(n, h, path_of("%s.conv1", at).s, out, 3, false);
    if (time.id) {
        struct value t = layer_linear(n, time, path_of("%s.time_emb_proj", at).s, out, true);
        h = op_add(n->g, h, op_reshape(n->g, t, SHAPE(graph_shape(n->g, t).dim[0], 1, 1, out)));
    }
    h = layer_group_norm(n, h, path_of("%s.norm2", at).s, groups, eps, UNARY_SILU);
    h = layer_conv(n, h, path_of("%s.conv2", at).s, out, 3, true);
    if (shape_last(graph_shape(n->g, x)) != out)
        x = layer_conv(n, x, path_of("%s.conv_shortcut", at).s, out, 1, false);
    return op_add(n->g, x, h);
}

static struct value attend(struct net *n, struct value x, struct value context, const char *at, int64_t heads,
                           bool qkv_bias, bool zero)
{
    int64_t width = shape_last(graph_shape(n->g, x));
    struct value q = layer_linear(n, x, path_of("%s.to_q", at).s, width, qkv_bias);
    struct value k = layer_linear(n, context, path_of("%s.to_k", at).s, width, qkv_bias);
    struct value v = layer_linear(n, context, path_of("%s.to_v", at).s, width, qkv_bias);
    double scale = 1 / sqrt((double)(width / (heads > 0 ? heads : 1)));
    return linear(n, op_attention(n->g, q, k, v, heads, scale, false), path_of("%s.to_out.0", at).s, width, true, zero);
}

struct value layer_attention(struct net *n, struct value x, struct value context, const char *at, int64_t heads,
                             bool qkv_bias)
{
    return attend(n, x, context, at, heads, qkv_bias, false);
}

static struct value transformer_block(struct net *n, struct value x, struct value context, const char *at,
                                      int64_t heads)
{
    const double eps = 1e-5;
    int64_t width = shape_last(graph_shape(n->g, x));
    struct value h = layer_layer_norm(n, x, path_of("%s.norm1", at).s, eps);
    x = op_add(n->g, x, attend(n, h, h, path_of("%s.attn1", at).s, heads, false, false));
    h = layer_layer_norm(n, x, path_of("%s.norm2", at).s, eps);
    x = op_add(n->g, x, attend(n, h, context, path_of("%s.attn2", at).s, heads, false, false));
    h = layer_layer_norm(n, x, path_of("%s.norm3", at).s, eps);
    h = op_geglu(n->g, layer_linear(n, h, path_of("%s.ff.net.0.proj", at).s, 8 * width, true));
    return op_add(n->g, x, layer_linear(n, h, path_of("%s.ff.net.2", at).s, width, true));
}

struct value layer_transformer(struct net *n, struct value x, struct value context, const char *at, int64_t heads,
                               int64_t depth, int64_t groups, bool use_linear)
{
    struct shape s = graph_shape(n->g, x);
    struct path in = path_of("%s.proj_in", at), out = path_of("%s.proj_out", at);
    struct value h = layer_group_norm(n, x, path_of("%s.norm", at).s, groups, 1e-6, UNARY_NONE);
    h = use_linear ? layer_linear(n, h, in.s, s.dim[3], true) : layer_conv(n, h, in.s, s.dim[3], 1, false);
    h = op_reshape(n->g, h, SHAPE(s.dim[0], s.dim[1] * s.dim[2], s.dim[3]));
    for (int64_t i = 0; i < depth; i++)
        h = transformer_block(n, h, context, path_of("%s.transformer_blocks.%d", at, (int)i).s, heads);
    h = op_reshape(n->g, h, s);
    h = use_linear ? layer_linear_zero(n, h, out.s, s.dim[3]) : layer_conv(n, h, out.s, s.dim[3], 1, true);
    return op_add(n->g, x, h);
}
