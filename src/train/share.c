#include "train/share.h"

#include <stdlib.h>

#include "base/mem.h"

enum { PIECE_ELEMENTS = 1 << 20 }; /* 4 MiB: small enough to overlap, large enough that its way costs more than its beginning */

struct piece {
    size_t first, count; /* of the flat array */
    size_t *ready;       /* per program: the op behind which all its gradients are there, and those of pieces before it */
};

struct share {
    struct ranks_sum *sum;
    struct program *const *programs; /* borrowed */
    size_t count, running;
    struct piece *piece; /* by the first program's order */
    size_t pieces, begun;
    size_t *ready;       /* what the pieces point into */
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
    if (x->ready[0] != y->ready[0])
        return x->ready[0] < y->ready[0] ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Cuts the array into pieces of whole weights, in the order of their places. */
static void cut(struct share *s, const struct train_state *state)
{
    for (size_t k = 0; k < state->params.count; k++) {
        size_t i = state->order[k], end = k + 1 < state->params.count ? state->offset[state->order[k + 1]] : state->count;
        if (!s->pieces || s->piece[s->pieces - 1].count >= PIECE_ELEMENTS)
            s->piece[s->pieces++].first = state->offset[i];
        struct piece *p = &s->piece[s->pieces - 1];
        p->count = end - p->first;
        p->ready = s->ready + (s->pieces - 1) * s->count;
    }
}

/* When the pieces are ready in program `which`. */
static bool find_ready(struct share *s, const struct train_state *state, size_t which)
{
    size_t *op = find_ops(state, program_graph(s->programs[which]));
    for (size_t i = 0; op && i < state->params.count; i++)
        for (size_t k = 0; k < s->pieces; k++) {
            struct piece *p = &s->piece[k];
            if (state->offset[i] >= p->first && state->offset[i] < p->first + p->count && op[i] > p->ready[which])
                p->ready[which] = op[i];
        }
    mem_free(op);
    return op != NULL;
}

struct share *share_new(struct ranks *ranks, const struct train_state *state, struct program *const *programs, size_t count, struct err *e)
{
    struct share *s = mem_zeroed(1, sizeof *s);
    bool good = s != NULL;
    if (good) {
        s->programs = programs;
        s->count = count;
        s->piece = mem_zeroed(state->params.count, sizeof *s->piece);
        s->ready = mem_zeroed(state->params.count * count, sizeof *s->ready);
        good = s->piece && s->ready;
    }
    if (good)
        cut(s, state);
    for (size_t i = 0; good && i < count; i++)
        good = find_ready(s, state, i);
    if (!good) {
        share_free(s);
        err_nomem(e, "the gradients of several processes");
        return NULL;
    }
    qsort(s->piece, s->pieces, sizeof *s->piece, by_ready);
    for (size_t k = 1; k < s->pieces; k++)
        for (size_t i = 1; i < count; i++)
            if (s->piece[k].ready[i] < s->piece[k - 1].ready[i])
                s->piece[k].ready[i] = s->piece[k - 1].ready[i];
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
    mem_free(s->ready);
    mem_free(s);
}

size_t share_bytes(const struct share *s)
{
    return s ? ranks_sum_bytes(s->sum) : 0;
}

static bool after_op(void *self, size_t op, struct err *e)
{
    struct share *s = self;
    for (; s->begun < s->pieces && s->piece[s->begun].ready[s->running] <= op; s->begun++)
        if (!ranks_sum_begin(s->sum, s->piece[s->begun].first, s->piece[s->begun].count, e))
            return false;
    return ranks_sum_go_on(s->sum, e); /* MPI moves only while it is called */
}

bool share_run(struct share *s, size_t which, struct err *e)
{
    s->begun = 0;
    s->running = which;
    return program_run_watched(s->programs[which], after_op, s, e) && ranks_sum_end(s->sum, e);
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
