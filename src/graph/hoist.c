#include "base/mem.h"
#include "graph/graph_internal.h"
#include "graph/passes.h"

/* The op behind which op o may stand: the latest that makes one of its inputs; -1: none does. */
static int32_t after(const struct graph *g, size_t o)
{
    const struct op_node *node = &g->ops[o];
    int32_t latest = -1;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] && g->values[node->in[i]].op > latest)
            latest = g->values[node->in[i]].op;
    return latest;
}

/* Whether it adds to a weight that no other op reads, so that nobody sees when it does. */
static bool moves(const struct graph *g, const int32_t *uses, size_t o)
{
    const struct op_node *node = &g->ops[o];
    return node->op == OP_ACCUMULATE && g->values[node->in[0]].kind == VALUE_WEIGHT && uses[node->in[0]] == 1 &&
           !uses[node->out[0]] && after(g, o) >= 0;
}

/* Writes op o into its new place and, behind it, those that wait for it. */
static void place(const struct graph *g, struct op_node *to, size_t *count, const int32_t *first, const int32_t *next, size_t o)
{
    to[(*count)++] = g->ops[o];
    for (int32_t w = first[o]; w >= 0; w = next[w])
        to[(*count)++] = g->ops[w];
}

void graph_hoist(struct graph *g)
{
    size_t n = g->n_ops, count = 0;
    int32_t *uses = g->err.code ? NULL : mem_zeroed(g->n_values, sizeof *uses);
    int32_t *first = mem_aligned((n + 1) * sizeof *first), *next = mem_aligned((n + 1) * sizeof *next);
    struct op_node *to = mem_zeroed(n + 1, sizeof *to);
    bool *waits = mem_zeroed(n + 1, sizeof *waits);
    if (uses && first && next && to && waits) { /* without memory the order stays as it is, which is right too */
        graph_count_uses(g, uses);
        for (size_t o = 0; o < n; o++)
            first[o] = next[o] = -1;
        for (size_t o = n; o-- > 0;)
            if (moves(g, uses, o)) {
                int32_t behind = after(g, o);
                waits[o] = true;
                next[o] = first[behind];
                first[behind] = (int32_t)o;
            }
        for (size_t o = 0; o < n; o++)
            if (!waits[o])
                place(g, to, &count, first, next, o);
        memcpy(g->ops, to, n * sizeof *to);
        for (size_t o = 0; o < n; o++)
            for (int i = 0; g->ops[o].op != OP_NONE && i < g->ops[o].n_out; i++)
                g->values[g->ops[o].out[i]].op = (int32_t)o;
    }
    mem_free(uses);
    mem_free(first);
    mem_free(next);
    mem_free(to);
    mem_free(waits);
}
