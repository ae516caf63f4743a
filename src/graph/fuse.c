#include "base/mem.h"
#include "graph/graph_internal.h"
#include "graph/passes.h"

/* The op that makes v, if v is read once and is that op's first output; otherwise -1. */
static int32_t only_maker(const struct graph *g, const int32_t *uses, int32_t v)
{
    int32_t o = v ? g->values[v].op : -1;
    return o >= 0 && uses[v] == 1 && g->ops[o].op != OP_NONE && g->ops[o].out[0] == v ? o : -1;
}

/* Puts `merged` (whose inputs are all made before `later`) in the place of op `later`, whose result it now makes, and
 * removes op `earlier`. */
static void replace(struct graph *g, size_t later, int32_t earlier, struct op_node merged)
{
    merged.out[0] = g->ops[later].out[0];
    merged.block = g->ops[later].block;
    g->ops[earlier].op = OP_NONE;
    g->ops[later] = merged;
    for (int i = 0; i < merged.n_out; i++)
        g->values[merged.out[i]].op = (int32_t)later;
}

static bool makes_product(const struct op_node *node)
{
    return node->op == OP_MATMUL || node->op == OP_CONV2D;
}

static void fuse_unary(struct graph *g, const int32_t *uses, size_t o, bool forward_only)
{
    int32_t m = only_maker(g, uses, g->ops[o].in[0]);
    if (m < 0 || g->ops[m].attr.fn != UNARY_NONE || g->ops[m].block != g->ops[o].block)
        return;
    struct op_node merged = g->ops[m];
    bool norm = merged.op == OP_GROUP_NORM && g->ops[o].attr.fn == UNARY_SILU && !uses[merged.out[1]] &&
                !uses[merged.out[2]];
    bool product = forward_only && makes_product(&merged) && merged.n_in < 4;
    if (!norm && !product)
        return;
    merged.attr.fn = g->ops[o].attr.fn;
    replace(g, o, m, merged);
}

static void fuse_residual(struct graph *g, const int32_t *uses, size_t o)
{
    for (int side = 1; side >= 0; side--) {
        int32_t m = only_maker(g, uses, g->ops[o].in[side]), other = g->ops[o].in[1 - side];
        if (m < 0 || !makes_product(&g->ops[m]) || g->ops[m].n_in == 4 || g->ops[m].block != g->ops[o].block ||
            other == g->ops[o].in[side])
            continue;
        const struct value_info *y = &g->values[g->ops[o].in[side]], *r = &g->values[other];
        if (!shape_same(y->shape, r->shape) || y->type != r->type)
            continue;
        struct op_node merged = g->ops[m];
        merged.in[3] = other;
        merged.n_in = 4;
        replace(g, o, m, merged);
        return;
    }
}

void graph_fuse(struct graph *g, bool forward_only)
{
    int32_t *uses = g->err.code ? NULL : mem_zeroed(g->n_values, sizeof *uses);
    if (!uses) /* without memory for counting the graph stays as it is: slower, not wrong */
        return;
    graph_count_uses(g, uses);
    for (size_t o = 0; o < g->n_ops; o++)
        if (g->ops[o].op == OP_UNARY)
            fuse_unary(g, uses, o, forward_only);
    for (size_t o = 0; o < g->n_ops; o++)
        if (g->ops[o].op == OP_ADD)
            fuse_residual(g, uses, o);
    mem_free(uses);
}

void graph_prune(struct graph *g)
{
    int32_t *uses = g->err.code ? NULL : mem_zeroed(g->n_values, sizeof *uses);
    if (!uses)
        return;
    graph_count_uses(g, uses);
    for (size_t o = g->n_ops; o-- > 0;) {
        struct op_node *node = &g->ops[o];
        bool used = node->op != OP_NONE && op_desc(node->op)->updates > 0;
        for (int i = 0; node->op != OP_NONE && i < node->n_out; i++)
            used |= uses[node->out[i]] > 0;
        if (used || node->op == OP_NONE)
            continue;
        for (int i = 0; i < node->n_in; i++)
            uses[node->in[i]]--;
        node->op = OP_NONE;
    }
    mem_free(uses);
}
