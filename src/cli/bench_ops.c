/* Single ops at the shapes that a UNet of this shape has, two pictures: a weighted mix of sizes in one program, so that one
 * figure says how a kind of op does. */
#include <math.h>
#include <stdio.h>

#include "cli/bench.h"

enum { MOST_OPS = 64, PICTURES = 2 };

struct ops {
    struct graph g;
    struct params params;
    struct net net;
    struct value outs[MOST_OPS];
    size_t count;
};

static void ops_init(struct ops *b, const struct bench_options *o)
{
    graph_init(&b->g);
    params_init(&b->params);
    b->net = (struct net){ .g = &b->g, .type = o->type, .part = "bench", .params = &b->params };
    b->count = 0;
}

/* The input that ops of this shape read. */
static struct value data(struct ops *b, struct shape shape)
{
    struct path name = path_of("x%s", shape_text(shape).s);
    struct value x = graph_find(&b->g, VALUE_INPUT, name.s);
    return x.id ? x : graph_input(&b->g, name.s, b->net.type, shape);
}

static void keep(struct ops *b, struct value y)
{
    if (b->count < MOST_OPS)
        b->outs[b->count++] = y;
}

static struct value weight(struct ops *b, struct shape shape, double fan_in)
{
    struct path name = path_of("w%zu%s", b->count, shape_text(shape).s);
    return net_weight(&b->net, "", name.s, shape, INIT_FAN_IN, 1 / sqrt(fan_in), true);
}

static struct value bias(struct ops *b, int64_t width)
{
    return weight(b, SHAPE(width), (double)width);
}

static void linear(struct ops *b, int64_t rows, int64_t in, int64_t out)
{
    keep(b, op_linear(&b->g, data(b, SHAPE(rows, in)), weight(b, SHAPE(out, in), (double)in), bias(b, out)));
}

static void conv(struct ops *b, int64_t side, int64_t in, int64_t out)
{
    static const int64_t pad[4] = { 1, 1, 1, 1 };
    keep(b, op_conv2d(&b->g, data(b, SHAPE(PICTURES, side, side, in)), weight(b, SHAPE(out, in, 3, 3), 9.0 * (double)in),
                      bias(b, out), 1, pad));
}

/* Pixels of a side at level i, where it has attention. */
static int64_t side_at(const struct bench_shape *s, size_t i)
{
    int64_t side = s->side >> i;
    return side > 0 ? side : 1;
}

bool bench_matmul(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct ops b;
    ops_init(&b, o);
    for (size_t i = 0; i < s->unet.blocks; i++) {
        int64_t c = s->unet.width[i], rows = PICTURES * side_at(s, i) * side_at(s, i);
        if (!s->unet.down_attention[i])
            continue;
        linear(&b, rows, c, c);
        linear(&b, rows, c, 8 * c);
        linear(&b, rows, 4 * c, c);
    }
    out->batch = PICTURES;
    return bench_graph(o, &b.g, &b.params, b.outs, b.count, out, e);
}

bool bench_conv(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct ops b;
    ops_init(&b, o);
    for (size_t i = 0; i < s->unet.blocks; i++) {
        conv(&b, side_at(s, i), s->unet.width[i], s->unet.width[i]);
        conv(&b, side_at(s, i), 2 * s->unet.width[i], s->unet.width[i]);
    }
    out->batch = PICTURES;
    return bench_graph(o, &b.g, &b.params, b.outs, b.count, out, e);
}

bool bench_attention(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct ops b;
    ops_init(&b, o);
    for (size_t i = 0; i < s->unet.blocks; i++) {
        int64_t c = s->unet.width[i], n = side_at(s, i) * side_at(s, i), heads = s->unet.heads[i];
        if (!s->unet.down_attention[i])
            continue;
        struct value x = data(&b, SHAPE(PICTURES, n, c)), words = data(&b, SHAPE(PICTURES, s->text.positions, c));
        double scale = 1 / sqrt((double)(c / heads));
        keep(&b, op_attention(&b.g, x, x, x, heads, scale, false));
        keep(&b, op_attention(&b.g, x, words, words, heads, scale, false));
    }
    out->batch = PICTURES;
    return bench_graph(o, &b.g, &b.params, b.outs, b.count, out, e);
}

bool bench_norm(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct ops b;
    ops_init(&b, o);
    for (size_t i = 0; i < s->unet.blocks; i++) {
        int64_t c = s->unet.width[i], side = side_at(s, i);
        struct value x = data(&b, SHAPE(PICTURES, side, side, c)), gamma = bias(&b, c), beta = bias(&b, c);
        keep(&b, op_unary(&b.g, op_group_norm(&b.g, x, gamma, beta, s->unet.groups, 1e-5, UNARY_NONE), UNARY_SILU));
        keep(&b, op_layer_norm(&b.g, x, gamma, beta, 1e-5));
    }
    out->batch = PICTURES;
    return bench_graph(o, &b.g, &b.params, b.outs, b.count, out, e);
}
