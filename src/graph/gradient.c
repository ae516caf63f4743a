/* Reverse-mode differentiation: walks the ops backwards and lets each one's rule (gradient_rules.c) append its part. */
#include "base/mem.h"
#include "graph/graph_internal.h"
#include "graph/ops.h"
#include "graph/passes.h"

struct state {
    struct graph *g;
    size_t n_values, n_ops;  /* of the forward graph: what follows is ours */
    bool *needed;            /* per forward value: it depends on what is differentiated for */
    struct value *gradient;  /* per forward value */
    struct value *again;     /* per forward value: its recomputed copy, once its block was recomputed */
    bool *block_done;        /* per block */
};

/* Operations for each number that an op makes from which on it is kept and not made again. In a denoiser of Stable Diffusion 1.5's size:
 * attention, all 3x3 convolutions and products of 1024 rows of a weight and more are above it. */
enum { DEAR_FLOPS = 2048 };

static bool is_dear(const struct graph *g, const struct op_node *node)
{
    return op_flops(g, node) >= DEAR_FLOPS * (double)shape_count(g->values[node->out[0]].shape);
}

/* Builds the ops of one block once more, reading what entered the block and what is kept. What is then read by nobody is pruned. */
static void recompute_block(struct state *s, int32_t block, enum recompute recompute)
{
    for (size_t o = 0; o < s->n_ops; o++) {
        struct op_node node = s->g->ops[o];
        if (node.op == OP_NONE || node.block != block || (recompute == RECOMPUTE_CHEAP && is_dear(s->g, &node)))
            continue;
        struct value in[OP_MAX_IN];
        for (int i = 0; i < node.n_in; i++) {
            in[i].id = node.in[i];
            if (in[i].id && s->again[in[i].id].id)
                in[i] = s->again[in[i].id];
        }
        struct value first = graph_add(s->g, node.op, in, node.n_in, &node.attr);
        for (int i = 0; i < node.n_out; i++)
            s->again[node.out[i]] = graph_out(s->g, first, i);
    }
    s->block_done[block] = true;
}

static bool differentiate(struct state *s, size_t o, enum recompute recompute, struct err *e)
{
    struct op_node node = s->g->ops[o];
    struct gradient_call c = { .g = s->g, .node = &node };
    bool any_out = false, any_in = false;
    for (int i = 0; i < node.n_out; i++) {
        c.dout[i] = s->gradient[node.out[i]];
        any_out |= c.dout[i].id != 0;
    }
    for (int i = 0; i < node.n_in; i++) {
        c.wanted[i] = node.in[i] && s->needed[node.in[i]];
        any_in |= c.wanted[i];
    }
    if (!any_out || !any_in)
        return true;
    const struct op_rules *rules = &op_rules[node.op];
    if (!rules->gradient || !c.dout[0].id)
        return err_set(e, ERR_TYPE, "%s has no gradient", op_text(s->g, &node).s);
    if (recompute && node.block && !s->block_done[node.block])
        recompute_block(s, node.block, recompute);
    for (int i = 0; i < node.n_in; i++)
        c.in[i] = node.in[i] && s->again[node.in[i]].id && node.block ? s->again[node.in[i]]
                                                                      : (struct value){ node.in[i] };
    for (int i = 0; i < node.n_out; i++)
        c.out[i] = s->again[node.out[i]].id ? s->again[node.out[i]] : (struct value){ node.out[i] };
    rules->gradient(&c);
    for (int i = 0; i < node.n_in; i++) {
        if (!c.wanted[i] || !c.din[i].id)
            continue;
        struct value *sum = &s->gradient[node.in[i]];
        *sum = sum->id ? op_add(s->g, *sum, c.din[i]) : c.din[i];
    }
    return graph_ok(s->g, e) || err_add(e, "in the gradient of %s", op_text(s->g, &node).s);
}

bool graph_gradient(struct graph *g, struct value loss, const struct value *wrt, size_t count, enum recompute recompute,
                    struct value *grads, struct err *e)
{
    if (!graph_ok(g, e))
        return false;
    if (!loss.id || shape_count(graph_shape(g, loss)) != 1)
        return err_set(e, ERR_SHAPE, "a gradient is taken of one number, not of %s",
                       shape_text(graph_shape(g, loss)).s);
    struct state s = { .g = g, .n_values = g->n_values, .n_ops = g->n_ops };
    s.needed = mem_zeroed(s.n_values, sizeof *s.needed);
    s.gradient = mem_zeroed(s.n_values, sizeof *s.gradient);
    s.again = mem_zeroed(s.n_values, sizeof *s.again);
    s.block_done = mem_zeroed((size_t)g->last_block + 1, sizeof *s.block_done);
    bool good = s.needed && s.gradient && s.again && s.block_done;
    if (!good)
        err_nomem(e, "a gradient");
    if (good) {
        int32_t block = g->block;
        g->block = 0;
        for (size_t i = 0; i < count; i++)
            s.needed[wrt[i].id] = wrt[i].id != 0;
        for (size_t o = 0; o < s.n_ops; o++) {
            const struct op_node *node = &g->ops[o];
            bool any = false;
            for (int i = 0; node->op != OP_NONE && i < node->n_in; i++)
                any |= s.needed[node->in[i]];
            for (int i = 0; any && i < node->n_out; i++)
                s.needed[node->out[i]] = true;
        }
        s.gradient[loss.id] = op_scale(g, loss, 0, 1); /* d loss / d loss = 1 */
        for (size_t o = s.n_ops; good && o-- > 0;)
            if (g->ops[o].op != OP_NONE)
                good = differentiate(&s, o, recompute, e);
        for (size_t i = 0; good && i < count; i++)
            grads[i] = s.gradient[wrt[i].id];
        g->block = block;
        good = good && graph_ok(g, e);
    }
    mem_free(s.needed);
    mem_free(s.gradient);
    mem_free(s.again);
    mem_free(s.block_done);
    return good;
}
