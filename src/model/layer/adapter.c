#include "model/layer/adapter.h"

#include <math.h>
#include <stdlib.h>

static int by_name(const void *name, const void *adapter)
{
    return strcmp(name, ((const struct adapter *)adapter)->name);
}

static const struct adapter *find(const struct net *n, const char *name)
{
    const struct adapters *all = n->adapters;
    return all && all->count ? bsearch(name, all->at, all->count, sizeof *all->at, by_name) : NULL;
}

const struct adapter *net_adapter(const struct net *n, const char *at)
{
    const struct adapter *a = n->adapters ? find(n, path_of("%s/%s", n->part, at).s) : NULL;
    return a && (a->rank || a->gain) ? a : NULL;
}

enum adapter_role net_changed(const struct net *n, const char *whole_name, size_t *index)
{
    const char *dot = n->adapters ? strrchr(whole_name, '.') : NULL;
    const struct adapter *a = dot ? find(n, path_of("%.*s", (int)(dot - whole_name), whole_name).s) : NULL;
    if (!a)
        return ADAPTER_NONE;
    *index = (size_t)(a - n->adapters->at);
    return a->weight && !strcmp(dot, ".weight") ? ADAPTER_WEIGHT : a->bias && !strcmp(dot, ".bias") ? ADAPTER_BIAS : ADAPTER_NONE;
}

/* A weight of an adapter, listed where it belongs. */
static struct value weight(struct net *n, const struct adapter *a, const char *at, const char *name, enum adapter_role role,
                           struct shape shape, enum init init, double scale)
{
    const struct adapters *all = n->adapters;
    struct param p = { .shape = shape, .init = init, .scale = scale, .decay = true, .role = role, .adapters = all,
                       .adapter = (size_t)(a - all->at) };
    struct path whole = path_of("%s/%s.%s", n->part, at, name);
    if (n->g->err.code || !params_add(all->params ? all->params : n->params, whole.s, &p, &n->g->err))
        return VALUE_NONE;
    return graph_weight(n->g, whole.s, n->type == DTYPE_F64 && all->trained ? DTYPE_F64 : DTYPE_F32, shape, all->trained);
}

/* A vector [c] as what is broadcast over all but the last dimension of y. */
static struct value beside(struct graph *g, struct value vector, struct value y)
{
    struct shape s = graph_shape(g, y);
    for (int i = 0; i + 1 < s.rank; i++)
        s.dim[i] = 1;
    return op_reshape(g, vector, s);
}

struct value adapter_join(struct net *n, const struct adapter *a, const char *at, struct value x, struct value y,
                          struct value bias, int64_t k, int64_t stride, const int64_t pad[4])
{
    if (!x.id || !y.id)
        return VALUE_NONE;
    int64_t in = shape_last(graph_shape(n->g, x)), out = shape_last(graph_shape(n->g, y));
    bool learns = n->adapters->trained;
    struct value gain = a->gain ? weight(n, a, at, "gain", ADAPTER_GAIN, SHAPE(out), INIT_ONES, 0) : VALUE_NONE;
    if (gain.id && !learns)
        y = op_mul(n->g, y, beside(n->g, gain, y));
    if (a->rank) {
        bool plain = k == 0 || (k == 1 && stride == 1 && !pad[0] && !pad[1] && !pad[2] && !pad[3]);
        double fan_in = (double)(in * (k ? k * k : 1));
        /* A begins as PEFT's, uniform in +-1 / sqrt(fan in); B at zero, so that training begins at the base model */
        bool normal = n->adapters->gaussian;
        double scale = learns ? a->scale : n->adapters->scale;
        struct value down = weight(n, a, at, "lora_A.weight", ADAPTER_DOWN, k ? SHAPE(a->rank, in, k, k) : SHAPE(a->rank, in),
                                   normal ? INIT_NORMAL : INIT_FAN_IN, normal ? 1 / (double)a->rank : 1 / sqrt(fan_in));
        struct value up = weight(n, a, at, "lora_B.weight", ADAPTER_UP, SHAPE(out, a->rank), INIT_ZEROS, 0);
        if (k && plain)
            down = op_reshape(n->g, down, SHAPE(a->rank, in));
        struct value h = plain ? op_linear(n->g, x, down, VALUE_NONE) : op_conv2d(n->g, x, down, VALUE_NONE, stride, pad);
        if (scale != 1)
            h = op_scale(n->g, h, scale, 0);
        y = op_add(n->g, y, op_linear(n->g, h, up, VALUE_NONE));
    }
    if (gain.id && learns) {
        enum dtype type = n->type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
        struct value norm = graph_input(n->g, path_of("%s/%s.norm", n->part, at).s, type, SHAPE(out));
        y = op_mul(n->g, y, beside(n->g, op_div(n->g, gain, norm), y));
    }
    return bias.id ? op_add(n->g, y, beside(n->g, bias, y)) : y;
}
