#include "test.h"

#include <stdlib.h>

#include "graph/ops.h"
#include "graph/passes.h"
#include "graph/run_graph.h"

#define F64 DTYPE_F64

static struct value in(struct graph *g, const char *name, struct shape s)
{
    return graph_input(g, name, F64, s);
}

static struct value w(struct graph *g, const char *name, struct shape s)
{
    return graph_weight(g, name, F64, s, false);
}

static struct value norm_silu(struct graph *g)
{
    struct value n = w(g, "n", SHAPE(6));
    return op_unary(g, op_group_norm(g, in(g, "x", SHAPE(2, 3, 3, 6)), n, n, 3, 1e-5, UNARY_NONE), UNARY_SILU);
}

static struct value norm_gelu(struct graph *g)
{
    struct value n = w(g, "n", SHAPE(6));
    return op_unary(g, op_group_norm(g, in(g, "x", SHAPE(2, 3, 3, 6)), n, n, 3, 1e-5, UNARY_NONE), UNARY_GELU);
}

static struct value linear(struct graph *g)
{
    return op_linear(g, in(g, "x", SHAPE(3, 4)), w(g, "w", SHAPE(5, 4)), w(g, "b", SHAPE(5)));
}

static struct value linear_gelu(struct graph *g)
{
    return op_unary(g, linear(g), UNARY_GELU);
}

static struct value conv(struct graph *g)
{
    return op_conv2d(g, in(g, "x", SHAPE(1, 4, 4, 3)), w(g, "f", SHAPE(3, 3, 3, 3)), VALUE_NONE, 1,
                     (int64_t[4]){ 1, 1, 1, 1 });
}

static struct value conv_silu(struct graph *g)
{
    return op_unary(g, conv(g), UNARY_SILU);
}

static struct value residual_after(struct graph *g)
{
    return op_add(g, linear(g), in(g, "r", SHAPE(3, 5)));
}

static struct value residual_before(struct graph *g)
{
    return op_add(g, in(g, "x", SHAPE(1, 4, 4, 3)), conv(g));
}

static struct value two_products(struct graph *g)
{
    return op_add(g, linear(g), op_linear(g, in(g, "y", SHAPE(3, 6)), w(g, "v", SHAPE(5, 6)), VALUE_NONE));
}

static struct value act_then_residual(struct graph *g)
{
    return op_add(g, conv_silu(g), in(g, "x", SHAPE(1, 4, 4, 3)));
}

static struct value two_residuals(struct graph *g)
{
    return op_add(g, residual_after(g), in(g, "s", SHAPE(3, 5)));
}

static struct value residual_then_act(struct graph *g) /* act(product + r) is not act(product) + r */
{
    return op_unary(g, residual_after(g), UNARY_SILU);
}

static struct value two_activations(struct graph *g)
{
    return op_unary(g, linear_gelu(g), UNARY_SILU);
}

static struct value norm_two_activations(struct graph *g)
{
    return op_unary(g, norm_silu(g), UNARY_SILU);
}

static struct value added_to_itself(struct graph *g)
{
    struct value y = linear(g);
    return op_add(g, y, y);
}

static struct value read_twice(struct graph *g)
{
    struct value y = linear(g);
    return op_concat(g, op_unary(g, y, UNARY_SILU), op_add(g, y, in(g, "r", SHAPE(3, 5))), 1);
}

static struct value an_output(struct graph *g)
{
    struct value y = linear(g);
    graph_output(g, y);
    return op_unary(g, y, UNARY_SILU);
}

static struct value repeated_residual(struct graph *g)
{
    return op_add(g, linear(g), w(g, "row", SHAPE(1, 5)));
}

static struct value other_block(struct graph *g)
{
    graph_block_begin(g);
    struct value y = linear(g);
    graph_block_end(g);
    return op_unary(g, y, UNARY_SILU);
}

static struct value late_residual(struct graph *g) /* the residual is made after the product */
{
    struct value y = linear(g);
    return op_add(g, y, op_unary(g, in(g, "r", SHAPE(3, 5)), UNARY_TANH));
}

/* How many ops are left. */
static const struct {
    const char *name;
    struct value (*build)(struct graph *g);
    int before, for_training, for_inference;
} cases[] = {
    { "norm, silu", norm_silu, 2, 1, 1 },
    { "norm, gelu", norm_gelu, 2, 2, 2 },
    { "linear, gelu", linear_gelu, 2, 2, 1 },
    { "conv, silu", conv_silu, 2, 2, 1 },
    { "linear + r", residual_after, 2, 1, 1 },
    { "x + conv", residual_before, 2, 1, 1 },
    { "linear + linear", two_products, 3, 2, 2 },
    { "silu(conv) + x", act_then_residual, 3, 3, 1 },
    { "linear + r + s", two_residuals, 3, 2, 2 },
    { "silu(linear + r)", residual_then_act, 3, 2, 2 },
    { "silu(gelu(linear))", two_activations, 3, 3, 2 },
    { "norm, silu, silu", norm_two_activations, 3, 2, 2 },
    { "y + y", added_to_itself, 2, 2, 2 },
    { "read twice", read_twice, 4, 4, 4 },
    { "an output", an_output, 2, 2, 2 },
    { "linear + row", repeated_residual, 2, 2, 2 },
    { "in another block", other_block, 2, 2, 2 },
    { "linear + later", late_residual, 3, 2, 2 },
};

TEST(fusing_joins_what_it_should_and_changes_no_bit_on_ref)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *results[3] = { 0 };
        size_t count = 0;
        for (int how = 0; how < 3; how++) {
            static const char *const words[] = { "before", "for training", "for inference" };
            struct err e = { 0 };
            struct graph g;
            graph_init(&g);
            struct value y = cases[i].build(&g);
            graph_output(&g, y);
            if (how)
                graph_fuse(&g, how == 2);
            REQUIRE(graph_verify(&g, &e));
            int wanted = how == 0 ? cases[i].before : how == 1 ? cases[i].for_training : cases[i].for_inference;
            CHECK(count_ops(&g, OP_NONE) == wanted, "%s: %d ops %s, want %d", cases[i].name, count_ops(&g, OP_NONE),
                  words[how], wanted);
            count = (size_t)shape_count(graph_shape(&g, y));
            REQUIRE(run_graph(&g, &y, 1, &results[how], NULL, &e));
            CHECK(!memcmp(results[0], results[how], count * sizeof(double)), "%s %s", cases[i].name, words[how]);
        }
        for (int how = 0; how < 3; how++)
            free(results[how]);
    }
}

TEST(pruning_removes_what_nobody_reads_and_keeps_updates)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = in(&g, "x", SHAPE(3, 4)), y = op_unary(&g, x, UNARY_SILU), unread = op_unary(&g, y, UNARY_TANH);
    op_scale(&g, op_add(&g, unread, y), 2, 0);
    op_accumulate(&g, graph_weight(&g, "sum", F64, SHAPE(3, 4), true), op_unary(&g, x, UNARY_EXP));
    graph_output(&g, y);
    graph_prune(&g);
    REQUIRE(graph_verify(&g, &e));
    CHECK(count_ops(&g, OP_NONE) == 3 && count_ops(&g, OP_ACCUMULATE) == 1 && count_ops(&g, OP_UNARY) == 2,
          "%d ops are left", count_ops(&g, OP_NONE));
    graph_release(&g);
}
