#include <stdio.h>
#include <stdlib.h>
#include "graph/program.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "graph/graph_internal.h"
#include "graph/plan.h"

struct program {
    const struct backend *backend;
    struct graph graph;
    struct plan plan;
    struct op_call *calls;   /* one per op; those of removed ops and views stay empty */
    bool *prepared;          /* per op */
    const void **outside;    /* per value: where an input or weight lies; NULL: not given yet */
    bool *bound;             /* per value: a weight that was given */
    size_t (*pack_at)[OP_MAX_IN]; /* per op and input: where its packed form lies */
    struct program *host;    /* the program in whose room this one runs: itself, or that of program_share_room */
    unsigned char *arena, *packed; /* arena: the host's */
    size_t room_bytes;       /* of the arena: the largest need of all that run in it */
    size_t packed_bytes;
    bool resolved;           /* the calls' data pointers are those of the present arena and bindings */
    struct op_profile profile[OP_COUNT];
};

static size_t rounded(size_t bytes)
{
    return (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

static bool runs(const struct op_node *node)
{
    return node->op != OP_NONE && !op_desc(node->op)->view;
}

static bool prepare_ops(struct program *p, size_t *scratch, struct err *e)
{
    struct graph *g = &p->graph;
    for (size_t o = 0; o < g->n_ops; o++) {
        const struct op_node *node = &g->ops[o];
        struct op_call *call = &p->calls[o];
        if (!runs(node))
            continue;
        *call = (struct op_call){ .graph = g, .node = node };
        for (int i = 0; i < node->n_in; i++) {
            const struct value_info *v = &g->values[node->in[i]];
            call->in[i] = (struct tensor){ v->type, v->shape, NULL };
            call->is_constant[i] = node->in[i] && v->kind == VALUE_WEIGHT && !v->mutable_;
        }
        for (int i = 0; i < node->n_out; i++)
            call->out[i] = (struct tensor){ g->values[node->out[i]].type, g->values[node->out[i]].shape, NULL };
        if (!p->backend->can(p->backend, call))
            return err_set(e, ERR_BACKEND, "the %s backend cannot do %s", p->backend->name, op_text(g, node).s);
        if (!p->backend->prepare(p->backend, call, e))
            return err_add(e, "preparing %s", op_text(g, node).s);
        p->prepared[o] = true;
        scratch[o] = call->scratch_bytes;
        for (int i = 0; i < node->n_in; i++) {
            p->pack_at[o][i] = p->packed_bytes;
            p->packed_bytes += rounded(call->packed_bytes[i]);
        }
    }
    return true;
}

struct program *program_new(const struct backend *backend, struct graph *g, struct err *e)
{
    struct program *p = mem_zeroed(1, sizeof *p);
    if (!p || !graph_verify(g, e)) {
        if (!p)
            err_nomem(e, "a program");
        mem_free(p);
        graph_release(g);
        return NULL;
    }
    p->backend = backend;
    p->graph = *g;
    graph_init(g);
    size_t n_ops = p->graph.n_ops, n_values = p->graph.n_values;
    p->calls = mem_zeroed(n_ops, sizeof *p->calls);
    p->prepared = mem_zeroed(n_ops, sizeof *p->prepared);
    p->pack_at = mem_zeroed(n_ops, sizeof *p->pack_at);
    p->outside = mem_zeroed(n_values, sizeof *p->outside);
    p->bound = mem_zeroed(n_values, sizeof *p->bound);
    size_t *scratch = mem_zeroed(n_ops, sizeof *scratch);
    bool good = p->calls && p->prepared && p->pack_at && p->outside && p->bound && scratch;
    if (!good)
        err_nomem(e, "a program");
    good = good && prepare_ops(p, scratch, e) && plan_make(&p->plan, &p->graph, scratch, e);
    mem_free(scratch);
    p->host = p;
    p->room_bytes = p->plan.arena_bytes;
    if (good)
        return p;
    program_free(p);
    return NULL;
}

void program_share_room(struct program *p, struct program *host)
{
    assert(!p->arena && !host->arena && p->host == p && host->host == host);
    p->host = host;
    if (p->room_bytes > host->room_bytes)
        host->room_bytes = p->room_bytes;
}

void program_free(struct program *p)
{
    if (!p)
        return;
    for (size_t o = 0; p->prepared && o < p->graph.n_ops; o++)
        if (p->prepared[o])
            p->backend->release(p->backend, &p->calls[o]);
    mem_pages_free(p->arena, p->room_bytes);
    mem_pages_free(p->packed, p->packed_bytes);
    plan_release(&p->plan);
    mem_free(p->calls);
    mem_free(p->prepared);
    mem_free(p->pack_at);
    mem_free(p->outside);
    mem_free(p->bound);
    graph_release(&p->graph);
    mem_free(p);
}

const struct graph *program_graph(const struct program *p)
{
    return &p->graph;
}

/* Whether some op reads value v itself, not a packed copy. */
static bool read_in_place(const struct program *p, int32_t v)
{
    for (size_t o = 0; o < p->graph.n_ops; o++) {
        const struct op_node *node = &p->graph.ops[o];
        for (int i = 0; node->op != OP_NONE && i < node->n_in; i++)
            if (node->in[i] == v && (op_desc(node->op)->view || !p->calls[o].packed_bytes[i]))
                return true;
    }
    return false;
}

/* Bytes of a weight that are read where it lies: of a table that is only looked up, the rows of the ids. */
static size_t bytes_in_place(const struct program *p, int32_t v)
{
    const struct graph *g = &p->graph;
    enum dtype type = g->values[v].type;
    size_t all = dtype_span(type, shape_count(g->values[v].shape)), rows = 0;
    for (size_t o = 0; o < g->n_ops; o++) {
        const struct op_node *node = &g->ops[o];
        for (int i = 0; node->op != OP_NONE && i < node->n_in; i++) {
            if (node->in[i] != v)
                continue;
            if (node->op != OP_EMBEDDING || i != 0 || rows > all)
                return all;
            rows += dtype_span(type, shape_count(g->values[node->out[0]].shape));
        }
    }
    return rows < all ? rows : all;
}

struct program_memory program_memory(const struct program *p)
{
    struct program_memory m = { .arena = p->plan.arena_bytes, .packed = p->packed_bytes };
    for (size_t v = 1; v < p->graph.n_values; v++) {
        const struct value_info *info = &p->graph.values[v];
        if (info->kind == VALUE_WEIGHT && read_in_place(p, (int32_t)v))
            m.borrowed += bytes_in_place(p, (int32_t)v);
    }
    return m;
}

bool program_bind_weight(struct program *p, const char *name, const struct tensor *src, bool *kept, struct err *e)
{
    struct value v = graph_find(&p->graph, VALUE_WEIGHT, name);
    *kept = false;
    if (!v.id)
        return err_set(e, ERR_MISSING, "the graph has no weight %s", name);
    const struct value_info *info = graph_value(&p->graph, v);
    if (src->type != info->type || !shape_same(src->shape, info->shape))
        return err_set(e, ERR_SHAPE, "%s: want %s %s, got %s %s", name, dtype_name(info->type),
                       shape_text(info->shape).s, dtype_name(src->type), shape_text(src->shape).s);
    if (p->packed_bytes && !p->packed && !(p->packed = mem_pages(p->packed_bytes)))
        return err_set(e, ERR_NOMEM, "out of memory for %zu bytes of packed weights", p->packed_bytes);
    for (size_t o = 0; o < p->graph.n_ops; o++) {
        const struct op_node *node = &p->graph.ops[o];
        for (int i = 0; node->op != OP_NONE && i < node->n_in; i++) {
            if (node->in[i] != v.id)
                continue;
            if (op_desc(node->op)->view || !p->calls[o].packed_bytes[i])
                *kept = true;
            else if (!p->backend->pack(p->backend, &p->calls[o], i, src->data, p->packed + p->pack_at[o][i], e))
                return err_add(e, "packing %s", name);
        }
    }
    p->outside[v.id] = src->data;
    p->bound[v.id] = true;
    p->resolved = false;
    return true;
}

bool program_set_input(struct program *p, const char *name, const void *data, struct err *e)
{
    struct value v = graph_find(&p->graph, VALUE_INPUT, name);
    if (!v.id)
        return err_set(e, ERR_MISSING, "the graph has no input %s", name);
    if (p->outside[v.id] != data)
        p->resolved = false;
    p->outside[v.id] = data;
    return true;
}

static void *address(const struct program *p, int32_t v)
{
    size_t offset = p->plan.offset[v];
    return offset == PLAN_OUTSIDE ? (void *)(uintptr_t)p->outside[p->plan.root[v]] : p->host->arena + offset;
}

/* Fills in the data pointers of every call. */
static bool resolve(struct program *p, struct err *e)
{
    const struct graph *g = &p->graph;
    struct program *host = p->host;
    if (!host->arena && !(host->arena = mem_pages(host->room_bytes)))
        return err_set(e, ERR_NOMEM, "out of memory for an arena of %zu bytes", host->room_bytes);
    for (size_t v = 1; v < g->n_values; v++) {
        bool there = g->values[v].kind == VALUE_WEIGHT ? p->bound[v] : p->outside[v] != NULL;
        if (g->values[v].kind != VALUE_OP && !there && read_in_place(p, (int32_t)v))
            return err_set(e, ERR_MISSING, "%s was not given to the program", g->values[v].name);
        if (g->values[v].kind == VALUE_WEIGHT && !there)
            for (size_t o = 0; o < g->n_ops; o++)
                for (int i = 0; g->ops[o].op != OP_NONE && i < g->ops[o].n_in; i++)
                    if (g->ops[o].in[i] == (int32_t)v)
                        return err_set(e, ERR_MISSING, "%s was not given to the program", g->values[v].name);
    }
    for (size_t o = 0; o < g->n_ops; o++) {
        struct op_call *call = &p->calls[o];
        const struct op_node *node = &g->ops[o];
        if (!runs(node))
            continue;
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i])
                call->in[i].data = call->packed_bytes[i] ? p->packed + p->pack_at[o][i] : address(p, node->in[i]);
        for (int i = 0; i < node->n_out; i++)
            call->out[i].data = address(p, node->out[i]);
        call->scratch = host->arena + p->plan.scratch_offset[o];
    }
    p->resolved = true;
    return true;
}

/* Who looks on behind each op, and may end the run. */
struct watcher {
    bool (*after)(void *self, size_t op, struct err *e);
    void *self;
};

static bool stop_checked(void *self, size_t op, struct err *e)
{
    return stop_check(e);
}

static bool run(struct program *p, size_t n_ops, const struct watcher *watcher, struct err *e)
{
    if (!p->resolved && !resolve(p, e))
        return false;
    for (size_t o = 0; o < n_ops; o++) {
        const struct op_node *node = &p->graph.ops[o];
        if (!runs(node))
            continue;
        double start = clock_seconds();
        if (!p->backend->run(p->backend, &p->calls[o], e))
            return err_add(e, "running %s", op_text(&p->graph, node).s);
        struct op_profile *profile = &p->profile[node->op];
        profile->seconds += clock_seconds() - start;
        if (getenv("LIMN_SHAPES")) { double dt = clock_seconds() - start; fprintf(stderr, "SHAPE %.3f %.4f %s ta%d tb%d fn%d st%d -> %s %s\n", 1e6 * dt, 1e-9*op_flops(&p->graph, node), op_text(&p->graph, node).s, node->attr.trans_a, node->attr.trans_b, node->attr.fn, (int)node->attr.stride, shape_text(p->graph.values[node->out[0]].shape).s, dtype_name(p->graph.values[node->out[0]].type)); }
        profile->flops += op_flops(&p->graph, node);
        profile->calls++;
        if (watcher && !watcher->after(watcher->self, o, e))
            return false;
    }
    return true;
}

bool program_run(struct program *p, struct err *e)
{
    return run(p, p->graph.n_ops, NULL, e);
}

bool program_run_watched(struct program *p, bool (*after)(void *self, size_t op, struct err *e), void *self, struct err *e)
{
    return run(p, p->graph.n_ops, &(struct watcher){ after, self }, e);
}

bool program_run_until(struct program *p, struct value v, struct err *e)
{
    return run(p, (size_t)(graph_value(&p->graph, v)->op + 1), NULL, e);
}

bool program_run_stoppable(struct program *p, struct err *e)
{
    return run(p, p->graph.n_ops, &(struct watcher){ stop_checked, NULL }, e);
}

const void *program_output(const struct program *p, struct value v)
{
    return address(p, v.id);
}

const struct op_profile *program_profile(const struct program *p)
{
    return p->profile;
}

void program_profile_text(const struct program *p, struct text *out)
{
    double total = 0;
    bool shown[OP_COUNT] = { false };
    for (int op = 0; op < OP_COUNT; op++)
        total += p->profile[op].seconds;
    text_addf(out, "%-20s %8s %10s %6s %10s\n", "op", "calls", "ms", "%", "GFLOP/s");
    for (;;) {
        int best = -1;
        for (int op = 0; op < OP_COUNT; op++)
            if (!shown[op] && p->profile[op].calls && (best < 0 || p->profile[op].seconds > p->profile[best].seconds))
                best = op;
        if (best < 0)
            break;
        const struct op_profile *o = &p->profile[best];
        text_addf(out, "%-20s %8ld %10.2f %6.1f %10.1f\n", op_desc((enum op)best)->name, o->calls, 1e3 * o->seconds,
                  100 * o->seconds / total, o->seconds > 0 ? 1e-9 * o->flops / o->seconds : 0);
        shown[best] = true;
    }
}
