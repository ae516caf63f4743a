#include "graph/plan.h"

#include <stdlib.h>

#include "base/mem.h"
#include "graph/graph_internal.h"

/* Something that needs memory from op `begin` to op `end`, both included: a root value or an op's scratch. */
struct need {
    size_t bytes, offset;
    int32_t begin, end;
    int32_t value, op; /* one of them; the other is -1 */
};

static size_t rounded(size_t bytes)
{
    return (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

static size_t value_bytes(const struct value_info *v)
{
    return dtype_span(v->type, shape_count(v->shape));
}

/* Fills last[v]: the last op that reads v's own number; n_ops for outputs, -1 if nobody does. */
static void last_uses(const struct graph *g, int32_t *last)
{
    for (size_t v = 0; v < g->n_values; v++)
        last[v] = g->values[v].is_output ? (int32_t)g->n_ops : -1;
    for (size_t o = 0; o < g->n_ops; o++)
        for (int i = 0; g->ops[o].op != OP_NONE && i < g->ops[o].n_in; i++)
            if (last[g->ops[o].in[i]] < (int32_t)o)
                last[g->ops[o].in[i]] = (int32_t)o;
}

/* Fills root[] and, per root, end[]: the last op at which any value of the group is read. A group's values are all known
 * when an op could reuse it: whoever joins later reads a member first, so that member's last use lies later. */
static void find_roots(const struct graph *g, const int32_t *last, int32_t *root, int32_t *end)
{
    for (size_t v = 0; v < g->n_values; v++) {
        root[v] = (int32_t)v;
        end[v] = last[v];
    }
    for (size_t o = 0; o < g->n_ops; o++) {
        const struct op_node *node = &g->ops[o];
        const struct op_desc *desc = op_desc(node->op);
        if (node->op == OP_NONE)
            continue;
        int shared = desc->updates;
        if (desc->view) {
            shared = 1;
        } else if (desc->reuse) {
            int32_t r = root[node->in[0]];
            bool arena = g->values[r].kind == VALUE_OP;
            bool second_apart = node->n_in < 2 || root[node->in[1]] != r ||
                                shape_same(g->values[node->in[0]].shape, g->values[node->in[1]].shape);
            shared = arena && end[r] == (int32_t)o && second_apart &&
                     value_bytes(&g->values[node->in[0]]) == value_bytes(&g->values[node->out[0]]);
        }
        for (int i = 0; i < shared; i++) {
            int32_t r = root[node->in[i]];
            root[node->out[i]] = r;
            if (end[r] < last[node->out[i]])
                end[r] = last[node->out[i]];
        }
    }
}

static int larger_first(const void *a, const void *b)
{
    const struct need *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->value != y->value ? (x->value < y->value ? -1 : 1) : 0; /* a full order: the plan is always the same */
}

static bool at_the_same_time(const struct need *a, const struct need *b)
{
    return a->begin <= b->end && b->begin <= a->end;
}

/* Gives each need the lowest offset at which it meets no earlier one that lives at the same time. `placed` is room for
 * count pointers, kept in the order of offsets. */
static size_t place_all(struct need *needs, size_t count, struct need **placed)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        struct need *n = &needs[i];
        size_t at = 0;
        for (size_t j = 0; j < i; j++) {
            const struct need *other = placed[j];
            if (!at_the_same_time(n, other) || other->offset + other->bytes <= at)
                continue;
            if (other->offset >= at + n->bytes)
                break;
            at = other->offset + other->bytes;
        }
        n->offset = at;
        size_t j = i;
        while (j > 0 && placed[j - 1]->offset > at) {
            placed[j] = placed[j - 1];
            j--;
        }
        placed[j] = n;
        total = at + n->bytes > total ? at + n->bytes : total;
    }
    return total;
}

bool plan_make(struct plan *p, const struct graph *g, const size_t *scratch_bytes, struct err *e)
{
    size_t n = g->n_values, count = 0;
    *p = (struct plan){ 0 };
    p->offset = mem_zeroed(n, sizeof *p->offset);
    p->root = mem_zeroed(n, sizeof *p->root);
    p->scratch_offset = mem_zeroed(g->n_ops, sizeof *p->scratch_offset);
    int32_t *last = mem_zeroed(n, sizeof *last), *end = mem_zeroed(n, sizeof *end);
    struct need *needs = mem_zeroed(n + g->n_ops, sizeof *needs);
    struct need **placed = mem_zeroed(n + g->n_ops, sizeof *placed);
    bool good = p->offset && p->root && p->scratch_offset && last && end && needs && placed;
    if (good) {
        last_uses(g, last);
        find_roots(g, last, p->root, end);
        for (size_t v = 1; v < n; v++) {
            const struct value_info *info = &g->values[v];
            p->offset[v] = PLAN_OUTSIDE;
            if (info->kind != VALUE_OP || g->ops[info->op].op == OP_NONE || p->root[v] != (int32_t)v)
                continue;
            int32_t until = end[v] < info->op ? info->op : end[v];
            needs[count++] = (struct need){ rounded(value_bytes(info)), 0, info->op, until, (int32_t)v, -1 };
        }
        for (size_t o = 0; o < g->n_ops; o++)
            if (scratch_bytes[o] && g->ops[o].op != OP_NONE)
                needs[count++] = (struct need){ rounded(scratch_bytes[o]), 0, (int32_t)o, (int32_t)o, -1, (int32_t)o };
        qsort(needs, count, sizeof *needs, larger_first);
        p->arena_bytes = place_all(needs, count, placed);
        for (size_t i = 0; i < count; i++) {
            if (needs[i].value >= 0)
                p->offset[needs[i].value] = needs[i].offset;
            else
                p->scratch_offset[needs[i].op] = needs[i].offset;
        }
        for (size_t v = 1; v < n; v++)
            p->offset[v] = p->offset[p->root[v]];
    } else {
        err_nomem(e, "a plan");
        plan_release(p);
    }
    mem_free(last);
    mem_free(end);
    mem_free(needs);
    mem_free(placed);
    return good;
}

void plan_release(struct plan *p)
{
    mem_free(p->offset);
    mem_free(p->root);
    mem_free(p->scratch_offset);
    *p = (struct plan){ 0 };
}

/* Plays the ops in order over a map of the arena that says which root each 64-byte cell belongs to: a value that is read
 * must still own all its cells. Knows nothing of how the plan was made. */
bool plan_verify(const struct plan *p, const struct graph *g, const size_t *scratch_bytes, struct err *e)
{
    size_t cells = p->arena_bytes / PLAN_ALIGN;
    int32_t *owner = mem_zeroed(cells, sizeof *owner);
    if (!owner)
        return err_nomem(e, "checking a plan");
    bool good = true;
    for (size_t o = 0; good && o <= g->n_ops; o++) {
        const struct op_node *node = o < g->n_ops ? &g->ops[o] : NULL;
        if (node && node->op == OP_NONE)
            continue;
        for (size_t c = 0; node && c < rounded(scratch_bytes[o]) / PLAN_ALIGN; c++)
            owner[p->scratch_offset[o] / PLAN_ALIGN + c] = -1;
        for (int i = 0; node && i < node->n_out; i++) {
            int32_t v = node->out[i];
            if (p->offset[v] == PLAN_OUTSIDE)
                continue;
            if (p->offset[v] % PLAN_ALIGN || p->offset[v] + value_bytes(&g->values[v]) > p->arena_bytes)
                good = err_set(e, ERR_LIMIT, "value %d lies at %zu, outside the arena", (int)v, p->offset[v]);
            for (size_t c = 0; good && c < rounded(value_bytes(&g->values[v])) / PLAN_ALIGN; c++)
                owner[p->offset[v] / PLAN_ALIGN + c] = p->root[v];
        }
        /* inputs are read while outputs are written, so they are checked after the outputs took their cells */
        for (size_t k = 1; good && k < (node ? (size_t)node->n_in + 1 : g->n_values); k++) {
            int32_t v = node ? node->in[k - 1] : (int32_t)k;
            if (!v || p->offset[v] == PLAN_OUTSIDE || (!node && !g->values[v].is_output))
                continue;
            for (size_t c = 0; good && c < rounded(value_bytes(&g->values[v])) / PLAN_ALIGN; c++)
                if (owner[p->offset[v] / PLAN_ALIGN + c] != p->root[v])
                    good = err_set(e, ERR_LIMIT, "value %d was overwritten before op %zu", (int)v, o);
        }
    }
    mem_free(owner);
    return good;
}
