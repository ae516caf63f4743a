/* Gradients of composed graphs; each op's own rule is judged in tests/backend. */
#include "test.h"

#include <stdlib.h>

#include "graph/ops.h"
#include "graph/passes.h"
#include "graph/run_graph.h"

#define F64 DTYPE_F64

enum { WEIGHTS = 9, DEPTH = 3 };

static struct value weight(struct graph *g, struct value *all, int *n, const char *name, struct shape shape)
{
    return all[(*n)++] = graph_weight(g, name, F64, shape, false);
}

/* Blocks as in a UNet: norm, silu, conv, residual; norm, attention, residual; one weight is used in every block. */
static struct value small_net(struct graph *g, struct value *all)
{
    int n = 0;
    struct value x = graph_input(g, "x", F64, SHAPE(2, 4, 4, 6));
    struct value gamma = weight(g, all, &n, "gamma", SHAPE(6)), beta = weight(g, all, &n, "beta", SHAPE(6));
    struct value filter = weight(g, all, &n, "filter", SHAPE(6, 6, 3, 3)), bias = weight(g, all, &n, "bias", SHAPE(6));
    struct value q = weight(g, all, &n, "q", SHAPE(6, 6)), k = weight(g, all, &n, "k", SHAPE(6, 6));
    struct value v = weight(g, all, &n, "v", SHAPE(6, 6)), gate = weight(g, all, &n, "gate", SHAPE(1, 1, 1, 6));
    weight(g, all, &n, "unused", SHAPE(3));
    for (int i = 0; i < DEPTH; i++) {
        graph_block_begin(g);
        struct value h = op_unary(g, op_group_norm(g, x, gamma, beta, 3, 1e-5, UNARY_NONE), UNARY_SILU);
        h = op_conv2d(g, h, op_scale(g, filter, 0.1, 0), bias, 1, (int64_t[4]){ 1, 1, 1, 1 });
        x = op_add(g, x, op_mul(g, h, gate));
        graph_block_end(g);
        graph_block_begin(g);
        struct value t = op_layer_norm(g, op_reshape(g, x, SHAPE(2, 16, 6)), gamma, beta, 1e-5);
        struct value y = op_attention(g, op_linear(g, t, q, VALUE_NONE), op_linear(g, t, k, VALUE_NONE),
                                      op_linear(g, t, v, VALUE_NONE), 2, 0.5, false);
        x = op_add(g, x, op_reshape(g, y, SHAPE(2, 4, 4, 6)));
        graph_block_end(g);
    }
    struct value wanted = graph_input(g, "wanted", F64, SHAPE(2, 4, 4, 6));
    return op_mean(g, op_unary(g, op_sub(g, x, wanted), UNARY_SQUARE));
}

/* Fills grads (WEIGHTS, NULL for none) and the loss. */
static void gradients_of_net(bool fuse, bool recompute, bool prune, double **grads, double *loss, size_t *memory)
{
    struct err e = { 0 };
    struct graph g;
    struct value all[WEIGHTS], d[WEIGHTS], outs[WEIGHTS + 1];
    double *results[WEIGHTS + 1];
    size_t n = 0;
    graph_init(&g);
    struct value l = small_net(&g, all);
    if (fuse)
        graph_fuse(&g, false);
    graph_output(&g, outs[n++] = l);
    REQUIRE(graph_gradient(&g, l, all, WEIGHTS, recompute, d, &e));
    for (int i = 0; i < WEIGHTS; i++)
        if (d[i].id)
            graph_output(&g, outs[n++] = d[i]);
    if (prune)
        graph_prune(&g);
    REQUIRE(graph_verify(&g, &e));
    REQUIRE(run_graph(&g, outs, n, results, memory, &e));
    *loss = results[0][0];
    free(results[0]);
    n = 1;
    for (int i = 0; i < WEIGHTS; i++)
        grads[i] = d[i].id ? results[n++] : NULL;
}

static const int64_t counts[WEIGHTS] = { 6, 6, 324, 6, 36, 36, 36, 6, 3 };
static const char *const names[WEIGHTS] = { "gamma", "beta", "filter", "bias", "q", "k", "v", "gate", "unused" };

TEST(the_gradient_of_a_net_agrees_with_finite_differences)
{
    double *grads[WEIGHTS], *other[WEIGHTS], loss, above, below;
    gradients_of_net(false, false, false, grads, &loss, NULL);
    CHECK(!grads[WEIGHTS - 1], "a weight that nothing reads has a gradient");
    for (int i = 0; i < WEIGHTS - 1; i++) {
        CHECK(grads[i], "%s has no gradient", names[i]);
        for (int64_t at = 0; at < counts[i]; at += counts[i] / 3) {
            static const double step = 1e-5;
            run_graph_move(names[i], at, step);
            gradients_of_net(false, false, false, other, &above, NULL);
            for (int k = 0; k < WEIGHTS; k++)
                free(other[k]);
            run_graph_move(names[i], at, -step);
            gradients_of_net(false, false, false, other, &below, NULL);
            for (int k = 0; k < WEIGHTS; k++)
                free(other[k]);
            run_graph_move(NULL, 0, 0);
            /* error of central differences: step^2 and rounding 1e-16 / step */
            CHECK_NEAR((above - below) / (2 * step), grads[i][at], 1e-7 * (1 + fabs(grads[i][at])), "%s [%lld]",
                       names[i], (long long)at);
        }
    }
    for (int i = 0; i < WEIGHTS; i++)
        free(grads[i]);
}

/* Recomputed values have the same bits, so the gradients must have them too; fusing changes no sum on ref. */
TEST(recompute_fuse_and_prune_change_no_bit_of_the_gradients)
{
    double *grads[WEIGHTS], loss;
    size_t plain;
    gradients_of_net(false, false, false, grads, &loss, &plain);
    for (int variant = 1; variant < 8; variant++) {
        double *other[WEIGHTS], other_loss;
        size_t memory;
        gradients_of_net(variant & 1, variant & 2, variant & 4, other, &other_loss, &memory);
        CHECK(other_loss == loss, "loss in variant %d", variant);
        for (int i = 0; i < WEIGHTS; i++) {
            CHECK(!grads[i] == !other[i], "%s in variant %d", names[i], variant);
            if (grads[i])
                CHECK(!memcmp(grads[i], other[i], (size_t)counts[i] * sizeof(double)), "%s in variant %d: %.17g, %.17g",
                      names[i], variant, grads[i][0], other[i][0]);
            free(other[i]);
        }
    }
    for (int i = 0; i < WEIGHTS; i++)
        free(grads[i]);
}

/* A chain of blocks that each keep four large values: with recompute only one block's are alive at a time. */
static size_t memory_of_chain(bool recompute)
{
    struct err e = { 0 };
    struct graph g;
    struct value d, w;
    double *results[1];
    size_t memory;
    graph_init(&g);
    struct value x = op_mul(&g, graph_input(&g, "x", F64, SHAPE(64, 64)),
                            w = graph_weight(&g, "w", F64, SHAPE(1, 64), false));
    for (int i = 0; i < 16; i++) {
        graph_block_begin(&g);
        for (int k = 0; k < 4; k++)
            x = op_unary(&g, x, k % 2 ? UNARY_TANH : UNARY_GELU);
        graph_block_end(&g);
    }
    struct value loss = op_mean(&g, x);
    REQUIRE(graph_gradient(&g, loss, &w, 1, recompute, &d, &e));
    graph_output(&g, d);
    graph_prune(&g);
    REQUIRE(run_graph(&g, &d, 1, results, &memory, &e));
    free(results[0]);
    return memory;
}

TEST(recompute_needs_less_memory)
{
    size_t plain = memory_of_chain(false), less = memory_of_chain(true);
    /* 64 values kept, against 16 borders and the 4 of a block; ref's scratch (3 values) and a few more on both sides */
    CHECK(less < plain * 45 / 100, "%zu bytes with recompute, %zu without", less, plain);
}

/* Blocks of a product of 8 numbers and one of 2048: the gradient reads what both make. */
static int products_of_blocks(enum recompute recompute, double *gradient)
{
    enum { BLOCKS = 3 };
    struct err e = { 0 };
    struct graph g;
    struct value d, first, second;
    double *results[1];
    int products = 0;
    graph_init(&g);
    first = graph_weight(&g, "first", F64, SHAPE(2048, 8), false);
    second = graph_weight(&g, "second", F64, SHAPE(8, 2048), false);
    struct value x = graph_input(&g, "x", F64, SHAPE(4, 8));
    for (int i = 0; i < BLOCKS; i++) {
        graph_block_begin(&g);
        struct value wide = op_unary(&g, op_linear(&g, x, first, VALUE_NONE), UNARY_TANH);
        x = op_unary(&g, op_scale(&g, op_linear(&g, wide, second, VALUE_NONE), 0.01, 0), UNARY_TANH);
        graph_block_end(&g);
    }
    REQUIRE(graph_gradient(&g, op_mean(&g, x), &first, 1, recompute, &d, &e));
    graph_output(&g, d);
    graph_prune(&g);
    for (size_t o = 0; o < g.n_ops; o++)
        products += g.ops[o].op == OP_MATMUL;
    REQUIRE(run_graph(&g, &d, 1, results, NULL, &e));
    memcpy(gradient, results[0], 64 * sizeof *gradient);
    free(results[0]);
    return products;
}

TEST(cheap_recompute_keeps_what_is_dear_and_changes_no_bit)
{
    double plain[64], cheap[64], all[64];
    int n = products_of_blocks(RECOMPUTE_NONE, plain);
    int n_cheap = products_of_blocks(RECOMPUTE_CHEAP, cheap), n_all = products_of_blocks(RECOMPUTE_ALL, all);
    CHECK(n_cheap == n + 3 && n_all == n + 6, "%d products, %d and %d", n, n_cheap, n_all);
    CHECK(!memcmp(plain, cheap, sizeof plain) && !memcmp(plain, all, sizeof plain), "%.17g, %.17g, %.17g", plain[0], cheap[0], all[0]);
}

TEST(a_value_used_twice_gets_the_sum_of_its_gradients)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = graph_input(&g, "x", F64, SHAPE(5)), square = op_mul(&g, x, x), d;
    struct value loss = op_sum_to(&g, op_add(&g, op_add(&g, square, x), op_mul(&g, square, x)), SHAPE(1), F64);
    REQUIRE(graph_gradient(&g, loss, &x, 1, false, &d, &e)); /* of x^2 + x + x^3 */
    graph_output(&g, d);
    graph_output(&g, x);
    double *r[2];
    REQUIRE(run_graph(&g, (struct value[]){ d, x }, 2, r, NULL, &e));
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(r[0][i], 2 * r[1][i] + 1 + 3 * r[1][i] * r[1][i], 1e-13, "x = %g", r[1][i]);
    free(r[0]);
    free(r[1]);
}

TEST(what_the_loss_does_not_depend_on_has_no_gradient)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = graph_input(&g, "x", F64, SHAPE(4)), y = graph_input(&g, "y", F64, SHAPE(4));
    struct value z = graph_input(&g, "z", F64, SHAPE(4)), beside = op_add(&g, z, x), d[4];
    struct value loss = op_mean(&g, op_add(&g, x, y));
    graph_output(&g, beside);
    size_t ops = g.n_ops;
    REQUIRE(graph_gradient(&g, loss, (struct value[]){ x, z, VALUE_NONE, loss }, 4, false, d, &e));
    CHECK(d[0].id && !d[1].id && !d[2].id && d[3].id, "%d %d %d %d", d[0].id, d[1].id, d[2].id, d[3].id);
    CHECK(g.n_ops > ops && g.values[loss.id].op < (int32_t)ops, "the forward graph stays as it is");
    graph_release(&g);
}

TEST(a_gradient_of_many_numbers_or_of_an_op_without_one_is_an_error)
{
    struct err e = { 0 };
    struct graph g;
    struct value d;
    graph_init(&g);
    struct value x = graph_input(&g, "x", F64, SHAPE(4));
    CHECK_FAILS(graph_gradient(&g, x, &x, 1, false, &d, &e), ERR_SHAPE, "not of [4]");
    struct value loss = op_sum_squares(&g, x);
    CHECK_FAILS(graph_gradient(&g, loss, &x, 1, false, &d, &e), ERR_TYPE, "sum_squares [4] f64 has no gradient");
    graph_release(&g);
    graph_init(&g);
    struct value a = graph_input(&g, "a", F64, SHAPE(2, 4)), w = graph_weight(&g, "w", F64, SHAPE(3, 4), false);
    loss = op_mean(&g, op_unary(&g, op_linear(&g, a, w, VALUE_NONE), UNARY_SILU));
    graph_fuse(&g, true);
    CHECK_FAILS(graph_gradient(&g, loss, &w, 1, false, &d, &e), ERR_TYPE, "fuse for inference only");
    graph_release(&g);
}
