/* graph_hoist: sums of gradients come as soon as they can, and nothing else moves. */
#include "base/mem.h"
#include "graph/ops.h"
#include "graph/passes.h"
#include "graph/plan.h"
#include "test.h"

enum { LAYERS = 6, WIDTH = 64 };

/* A chain of layers with gradients of all weights, accumulated at the end as a trainer writes it. */
static void chain(struct graph *g)
{
    struct value x = graph_input(g, "x", DTYPE_F32, SHAPE(2, WIDTH)), w[LAYERS], grads[LAYERS];
    struct err e = { 0 };
    for (int i = 0; i < LAYERS; i++) {
        char name[20];
        snprintf(name, sizeof name, "w%d", i);
        w[i] = graph_weight(g, name, DTYPE_F32, SHAPE(WIDTH, WIDTH), true);
        x = op_unary(g, op_linear(g, x, w[i], VALUE_NONE), UNARY_TANH);
    }
    struct value loss = op_mean(g, x);
    graph_output(g, loss);
    REQUIRE(graph_gradient(g, loss, w, LAYERS, false, grads, &e));
    for (int i = 0; i < LAYERS; i++) {
        char name[20];
        snprintf(name, sizeof name, "gradient/w%d", i);
        op_accumulate(g, graph_weight(g, name, DTYPE_F32, SHAPE(WIDTH, WIDTH), true), grads[i]);
    }
    graph_prune(g);
}

static size_t planned(const struct graph *g)
{
    struct err e = { 0 };
    struct plan plan;
    size_t *scratch = mem_zeroed(g->n_ops, sizeof *scratch);
    assert_non_null(scratch);
    REQUIRE(plan_make(&plan, g, scratch, &e));
    size_t bytes = plan.arena_bytes;
    plan_release(&plan);
    mem_free(scratch);
    return bytes;
}

TEST(gradients_are_summed_as_soon_as_they_are_made)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    chain(&g);
    size_t before = planned(&g), sums = 0, each = WIDTH * WIDTH * sizeof(float);
    graph_hoist(&g);
    REQUIRE(graph_verify(&g, &e));
    for (size_t o = 0; o < g.n_ops; o++) {
        const struct op_node *node = &g.ops[o];
        if (node->op != OP_ACCUMULATE)
            continue;
        sums++;
        for (size_t k = (size_t)g.values[node->in[1]].op + 1; k < o; k++)
            CHECK(g.ops[k].op == OP_ACCUMULATE || g.ops[k].op == OP_NONE, "%s stands between", op_desc(g.ops[k].op)->name);
    }
    CHECK(sums == LAYERS, "%zu sums are left", sums);
    size_t after = planned(&g); /* of the gradients of all weights one or two are there at a time */
    CHECK(before >= LAYERS * each && after < 3 * each, "%zu bytes before, %zu after, a weight has %zu", before, after, each);
    graph_release(&g);
}

TEST(a_sum_that_is_read_stays_where_it_is)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value w = graph_weight(&g, "w", DTYPE_F32, SHAPE(4), true), x = graph_input(&g, "x", DTYPE_F32, SHAPE(4));
    struct value first = op_scale(&g, w, 2, 0), y = op_unary(&g, x, UNARY_TANH);
    struct value late = op_mul(&g, first, y);
    graph_output(&g, late);
    op_accumulate(&g, w, x); /* x is an input: made by no op; and w is read above */
    size_t last = g.n_ops - 1;
    graph_hoist(&g);
    REQUIRE(graph_verify(&g, &e));
    CHECK(g.ops[last].op == OP_ACCUMULATE, "%s is the last op", op_desc(g.ops[last].op)->name);
    graph_release(&g);
}
