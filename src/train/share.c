#include "train/share.h"

#include <stdlib.h>

#include "base/mem.h"

enum { PIECE_ELEMENTS = 1 << 20 }; /* 4 MiB: small enough to overlap, large enough that its way costs more than its beginning */

struct piece {
    size_t first, count; /* of the flat array */
    size_t ready;        /* the op behind which all its gradients are there */
};

struct share {
    struct ranks_sum *sum;
    struct piece *piece; /* by ready */
    size_t pieces, begun;
};

/* Per weight the op that adds its gradient; 0 where there is none and the gradient stays 0. */
static size_t *find_ops(const struct train_state *s, const struct graph *g)
{
    size_t *op = mem_zeroed(s->params.count, sizeof *op), *of_value = mem_zeroed(g->n_values, sizeof *of_value);
    for (size_t i = 0; op && of_value && i < s->params.count; i++) {
        struct value v = graph_find(g, VALUE_WEIGHT, path_of("gradient/%s", s->params.at[i].name).s);
        if (v.id)
            of_value[v.id] = i + 1;
    }
    for (size_t o = 0; op && of_value && o < g->n_ops; o++)
        if (g->ops[o].op == OP_ACCUMULATE && of_value[g->ops[o].in[0]])
            op[of_value[g->ops[o].in[0]] - 1] = o;
    mem_free(of_value);
    return op;
}

static int by_ready(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    if (x->ready != y->ready)
        return x->ready < y->ready ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

struct share *share_new(struct ranks *ranks, const struct train_state *state, const struct program *program, struct err *e)
{
    struct share *s = mem_zeroed(1, sizeof *s);
    size_t *op = find_ops(state, program_graph(program));
    if (!s || !op || !(s->piece = mem_zeroed(state->params.count, sizeof *s->piece))) {
        err_nomem(e, "the gradients of several processes");
        mem_free(op);
        mem_free(s);
        return NULL;
    }
    for (size_t k = 0; k < state->params.count; k++) { /* in the order of places */
        size_t i = state->order[k], end = k + 1 < state->params.count ? state->offset[state->order[k + 1]] : state->count;
        if (!s->pieces || s->piece[s->pieces - 1].count >= PIECE_ELEMENTS)
            s->piece[s->pieces++].first = state->offset[i];
        struct piece *p = &s->piece[s->pieces - 1];
        p->count = end - p->first;
        p->ready = op[i] > p->ready ? op[i] : p->ready;
    }
    mem_free(op);
    qsort(s->piece, s->pieces, sizeof *s->piece, by_ready);
    s->sum = ranks_sum_new(ranks, state->array[STATE_GRADIENT], state->count, s->pieces, e);
    if (s->sum)
        return s;
    share_free(s);
    return NULL;
}

void share_free(struct share *s)
{
    if (!s)
        return;
    ranks_sum_free(s->sum);
    mem_free(s->piece);
    mem_free(s);
}

size_t share_bytes(const struct share *s)
{
    return s ? ranks_sum_bytes(s->sum) : 0;
}

static bool after_op(void *self, size_t op, struct err *e)
{
    struct share *s = self;
    for (; s->begun < s->pieces && s->piece[s->begun].ready <= op; s->begun++)
        if (!ranks_sum_begin(s->sum, s->piece[s->begun].first, s->piece[s->begun].count, e))
            return false;
    return ranks_sum_go_on(s->sum, e); /* MPI moves only while it is called */
}

bool share_run(struct share *s, struct program *program, struct err *e)
{
    s->begun = 0;
    return program_run_watched(program, after_op, s, e) && ranks_sum_end(s->sum, e);
}

bool share_state(struct ranks *ranks, struct train_state *s, struct err *e)
{
    bool good = true;
    for (int k = 0; good && k < STATE_KINDS; k++)
        if (k != STATE_GRADIENT && (k != STATE_EMA || s->ema))
            good = ranks_broadcast(ranks, s->array[k], s->count * sizeof(float), e);
    for (int k = 0; good && k < s->slots; k++)
        good = ranks_broadcast(ranks, s->slot[k].data, s->slot[k].count * dtype_bytes(s->slot[k].desc.type), e);
    return good && ranks_broadcast(ranks, s->number, sizeof s->number, e);
}
