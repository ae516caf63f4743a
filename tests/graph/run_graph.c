#include "graph/run_graph.h"

#include "backend/ref/ref.h"
#include "base/mem.h"
#include "base/random.h"
#include "graph/program.h"

static const char *moved_name;
static int64_t moved_at;
static double moved_by;

void run_graph_move(const char *name, int64_t at, double by)
{
    moved_name = name;
    moved_at = at;
    moved_by = by;
}

static void fill(struct tensor *t, const char *name)
{
    uint64_t key = 1469598103934665603u; /* FNV-1a of the name */
    for (const char *s = name; *s; s++)
        key = (key ^ (unsigned char)*s) * 1099511628211u;
    struct random r = random_of(key, 0);
    int64_t count = shape_count(t->shape);
    for (int64_t i = 0; i < count; i++)
        dtype_store(t->data, t->type, i,
                    t->type == DTYPE_I32 ? (double)(i % 2)
                                         : (double)random_normal(&r) +
                                               (moved_name && i == moved_at && !strcmp(moved_name, name) ? moved_by : 0));
}

static bool read_out(const struct graph *g, struct value v, const void *from, double **result, struct err *e)
{
    int64_t n = shape_count(graph_shape(g, v));
    *result = mem_zeroed((size_t)n, sizeof **result);
    for (int64_t k = 0; *result && k < n; k++)
        (*result)[k] = dtype_load(from, graph_type(g, v), k);
    return *result || err_nomem(e, "running a graph");
}

bool run_graph(struct graph *g, const struct value *outs, size_t count, double **results, size_t *memory_bytes,
               struct err *e)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NULL;
    struct program *p = program_new(backend_ref(), g, e);
    if (!p)
        return false;
    const struct graph *graph = program_graph(p);
    struct tensor *data = mem_zeroed(graph->n_values, sizeof *data);
    bool good = data != NULL || err_nomem(e, "running a graph"), kept;
    for (size_t v = 1; good && v < graph->n_values; v++) {
        const struct value_info *info = &graph->values[v];
        if (info->kind == VALUE_OP)
            continue;
        good = tensor_init(&data[v], info->type, info->shape, e);
        if (!good)
            break;
        fill(&data[v], info->name);
        good = info->kind == VALUE_INPUT ? program_set_input(p, info->name, data[v].data, e)
                                         : program_bind_weight(p, info->name, &data[v], &kept, e);
    }
    good = good && program_run(p, e);
    for (size_t i = 0; good && i < count; i++)
        good = read_out(graph, outs[i], program_output(p, outs[i]), &results[i], e);
    if (memory_bytes)
        *memory_bytes = program_memory(p).arena;
    for (size_t v = 1; data && v < graph->n_values; v++)
        tensor_release(&data[v]);
    mem_free(data);
    program_free(p);
    return good;
}

static bool run_op(const struct graph *g, const struct op_node *node, struct tensor *data, struct err *e)
{
    const struct backend *ref = backend_ref();
    struct op_call call = { .graph = g, .node = node };
    for (int i = 0; i < node->n_in; i++)
        call.in[i] = data[node->in[i]];
    for (int i = 0; i < node->n_out; i++)
        call.out[i] = data[node->out[i]];
    if (!ref->prepare(ref, &call, e))
        return false;
    call.scratch = mem_aligned(call.scratch_bytes);
    bool good = call.scratch ? ref->run(ref, &call, e) : err_nomem(e, "running an op");
    mem_free(call.scratch);
    ref->release(ref, &call);
    return good;
}

bool run_graph_plainly(struct graph *g, const struct value *outs, size_t count, double **results, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        results[i] = NULL;
    struct tensor *data = mem_zeroed(g->n_values, sizeof *data);
    bool good = data != NULL || err_nomem(e, "running a graph");
    for (size_t v = 1; good && v < g->n_values; v++) {
        good = tensor_init(&data[v], g->values[v].type, g->values[v].shape, e);
        if (good && g->values[v].kind != VALUE_OP)
            fill(&data[v], g->values[v].name);
    }
    for (size_t o = 0; good && o < g->n_ops; o++)
        if (g->ops[o].op != OP_NONE)
            good = run_op(g, &g->ops[o], data, e);
    for (size_t i = 0; good && i < count; i++)
        good = read_out(g, outs[i], data[outs[i].id].data, &results[i], e);
    for (size_t v = 1; data && v < g->n_values; v++)
        tensor_release(&data[v]);
    mem_free(data);
    graph_release(g);
    return good;
}

int count_ops(const struct graph *g, enum op op)
{
    int n = 0;
    for (size_t o = 0; o < g->n_ops; o++)
        n += g->ops[o].op != OP_NONE && (op == OP_NONE || g->ops[o].op == op);
    return n;
}
