#include "test.h"

#include "base/mem.h"
#include "base/text.h"
#include "graph/ops.h"
#include "graph/passes.h"

#define F32 DTYPE_F32
#define X(...) graph_input(g, "x", F32, SHAPE(__VA_ARGS__))
#define Y(...) graph_input(g, "y", F32, SHAPE(__VA_ARGS__))
#define Z(...) graph_input(g, "z", F32, SHAPE(__VA_ARGS__))

/* One wrong use each. */
static void inner_sizes(struct graph *g) { op_matmul(g, X(2, 3), Y(4, 5), false, false, F32); }
static void bias_width(struct graph *g) { op_linear(g, X(2, 3), Y(4, 3), Z(3)); }
static void conv_channels(struct graph *g) { op_conv2d(g, X(1, 4, 4, 3), Y(8, 4, 3, 3), VALUE_NONE, 1, (int64_t[4]){ 0 }); }
static void conv_rank(struct graph *g) { op_conv2d(g, X(4, 4, 3), Y(8, 3, 3, 3), VALUE_NONE, 1, (int64_t[4]){ 0 }); }
static void conv_small(struct graph *g) { op_conv2d(g, X(1, 2, 2, 3), Y(8, 3, 3, 3), VALUE_NONE, 1, (int64_t[4]){ 0 }); }
static void conv_stride(struct graph *g) { op_conv2d(g, X(1, 4, 4, 3), Y(8, 3, 3, 3), VALUE_NONE, 0, (int64_t[4]){ 0 }); }
static void add_larger(struct graph *g) { op_add(g, X(1, 3), Y(2, 3)); }
static void add_rank(struct graph *g) { op_add(g, X(2, 3), Y(3)); }
static void geglu_odd(struct graph *g) { op_geglu(g, X(2, 3)); }
static void gate_relu(struct graph *g) { graph_add(g, OP_GATED, (struct value[]){ X(2, 4) }, 1, &(struct op_attr){ .fn = UNARY_RELU }); }
static void groups(struct graph *g) { op_group_norm(g, X(1, 2, 2, 6), Y(6), Z(6), 4, 1e-5, UNARY_NONE); }
static void gamma_width(struct graph *g) { op_group_norm(g, X(1, 2, 2, 6), Y(5), Z(6), 3, 1e-5, UNARY_NONE); }
static void layer_width(struct graph *g) { op_layer_norm(g, X(2, 6), Y(2), Z(6), 1e-5); }
static void heads(struct graph *g) { op_attention(g, X(1, 4, 8), Y(1, 5, 8), Z(1, 5, 8), 3, 1, false); }
static void keys_values(struct graph *g) { op_attention(g, X(1, 4, 8), Y(1, 5, 8), Z(1, 6, 8), 2, 1, false); }
static struct value whole(struct graph *g, const char *name, struct shape s) { return graph_input(g, name, DTYPE_I32, s); }
static void pads_type(struct graph *g) { op_attention_padded(g, X(2, 4, 8), Y(2, 4, 8), Z(2, 4, 8), graph_input(g, "p", F32, SHAPE(2)), 2, 1, true); }
static void pads_count(struct graph *g) { op_attention_padded(g, X(2, 4, 8), Y(2, 4, 8), Z(2, 4, 8), whole(g, "p", SHAPE(3)), 2, 1, true); }
static void pads_queries(struct graph *g) { op_attention_padded(g, X(2, 5, 8), Y(2, 4, 8), Z(2, 4, 8), whole(g, "p", SHAPE(2)), 2, 1, true); }
static void rms_width(struct graph *g) { op_rms_norm(g, X(2, 6), Y(2), 1e-5); }
static void rotary_heads(struct graph *g) { op_rotary(g, X(1, 4, 8), whole(g, "p", SHAPE(1, 4)), 3, 2, 10000); }
static void rotary_odd(struct graph *g) { op_rotary(g, X(1, 4, 8), whole(g, "p", SHAPE(1, 4)), 2, 3, 10000); }
static void rotary_many(struct graph *g) { op_rotary(g, X(1, 4, 8), whole(g, "p", SHAPE(1, 4)), 2, 6, 10000); }
static void rotary_base(struct graph *g) { op_rotary(g, X(1, 4, 8), whole(g, "p", SHAPE(1, 4)), 2, 2, 0); }
static void rotary_places(struct graph *g) { op_rotary(g, X(1, 4, 8), whole(g, "p", SHAPE(4)), 2, 2, 10000); }
static void pool_rest(struct graph *g) { op_avg_pool(g, X(1, 5, 4, 1), 2); }
static void upsample_zero(struct graph *g) { op_upsample(g, X(1, 5, 4, 1), 0); }
static void clamp_empty(struct graph *g) { op_clamp(g, X(2, 3), 1, -1); }
static void clamp_nan(struct graph *g) { op_clamp(g, X(2, 3), 0, NAN); }
static void concat_other(struct graph *g) { op_concat(g, X(2, 3), Y(3, 3), 1); }
static void slice_beyond(struct graph *g) { op_slice(g, X(2, 3), 1, 2, 2); }
static void slice_huge(struct graph *g) { op_slice(g, X(2, 3), 1, 1, INT64_MAX); }
static void place_beyond(struct graph *g) { op_place(g, X(2, 3), 1, 2, SHAPE(2, 4)); }
static void reshape_count(struct graph *g) { op_reshape(g, X(2, 3), SHAPE(5)); }
static void cast_ids(struct graph *g) { op_cast(g, X(2), DTYPE_I32); }
static void sum_other(struct graph *g) { op_sum_to(g, X(2, 3), SHAPE(2, 2), F32); }
static void expand_other(struct graph *g) { op_expand(g, X(2, 3), SHAPE(4, 3), F32); }
static void ids_type(struct graph *g) { op_embedding(g, X(9, 4), Y(2), F32); }
static void odd_times(struct graph *g) { op_timestep_embedding(g, X(2), 5, true, 0, 10000); }
static void step_shape(struct graph *g) { op_ema(g, X(3), Y(3), Z(3)); }
static void half_moments(struct graph *g)
{
    struct value h = graph_weight(g, "h", DTYPE_BF16, SHAPE(3), true);
    op_accumulate(g, h, X(3));
}
static void float_codes(struct graph *g) { op_adamw8(g, X(3), Y(3), Z(3), X(3), X(3), X(3), X(3), 0); }
static void vector_rows(struct graph *g) { op_adafactor(g, X(3), Y(3), Z(3), X(3), X(3), 0); }
static void empty_input(struct graph *g) { X(2, 0); }
static void huge_input(struct graph *g) { X((int64_t)1 << 40, 1 << 20); }
static void two_shapes(struct graph *g) { X(2); X(3); }
static void no_input(struct graph *g) { graph_add(g, OP_ADD, (struct value[]){ X(2), VALUE_NONE }, 2, &(struct op_attr){ 0 }); }
static void few_inputs(struct graph *g) { graph_add(g, OP_ADD, (struct value[]){ X(2) }, 1, &(struct op_attr){ 0 }); }

TEST(a_wrong_use_of_an_op_is_an_error_that_names_it)
{
    static const struct {
        void (*build)(struct graph *g);
        enum err_code code;
        const char *part;
    } cases[] = {
        { inner_sizes, ERR_SHAPE, "inner sizes 3 and 4 differ; in matmul [2, 3] f32 x [4, 5] f32" },
        { bias_width, ERR_SHAPE, "input 2 must be [4], is [3]" },
        { conv_channels, ERR_SHAPE, "the image has 3 channels, the weight wants 4" },
        { conv_rank, ERR_SHAPE, "input 0 must have rank 4" },
        { conv_small, ERR_SHAPE, "smaller than the kernel" },
        { conv_stride, ERR_ARG, "stride 0" },
        { add_larger, ERR_SHAPE, "in add" },
        { add_rank, ERR_SHAPE, "in add" },
        { geglu_odd, ERR_SHAPE, "even" },
        { gate_relu, ERR_ARG, "gelu or silu, not relu" },
        { pads_type, ERR_TYPE, "input 3 must be i32" },
        { pads_count, ERR_SHAPE, "input 3 must be [2], is [3]" },
        { pads_queries, ERR_SHAPE, "there are 5 for 4 keys" },
        { rms_width, ERR_SHAPE, "input 1 must be [6]" },
        { rotary_heads, ERR_SHAPE, "3 heads do not divide the width 8" },
        { rotary_odd, ERR_ARG, "3 numbers of a head" },
        { rotary_many, ERR_ARG, "at most 4" },
        { rotary_base, ERR_ARG, "base 0" },
        { rotary_places, ERR_SHAPE, "input 1 must be [1, 4], is [4]" },
        { groups, ERR_SHAPE, "4 groups" },
        { gamma_width, ERR_SHAPE, "input 1 must be [6]" },
        { layer_width, ERR_SHAPE, "input 1 must be [6]" },
        { heads, ERR_SHAPE, "3 heads" },
        { keys_values, ERR_SHAPE, "input 2 must be [1, 5, 8]" },
        { pool_rest, ERR_SHAPE, "multiples of 2" },
        { upsample_zero, ERR_ARG, "factor 0" },
        { clamp_empty, ERR_ARG, "nothing lies between 1 and -1" },
        { clamp_nan, ERR_ARG, "nothing lies between 0 and nan" },
        { concat_other, ERR_SHAPE, "dimension 1" },
        { slice_beyond, ERR_SHAPE, "no 2 entries from 2" },
        { slice_huge, ERR_SHAPE, "entries from 1" },
        { place_beyond, ERR_SHAPE, "does not fit into [2, 4] at 2" },
        { reshape_count, ERR_SHAPE, "cannot become [5]" },
        { cast_ids, ERR_TYPE, "cannot become i32" },
        { sum_other, ERR_SHAPE, "cannot be summed to [2, 2]" },
        { expand_other, ERR_SHAPE, "cannot be repeated to [4, 3]" },
        { ids_type, ERR_TYPE, "input 1 must be i32" },
        { odd_times, ERR_SHAPE, "the width 5" },
        { step_shape, ERR_SHAPE, "input 2 must be [12]" },
        { half_moments, ERR_TYPE, "input 0 is bf16" },
        { float_codes, ERR_TYPE, "input 1 must be u8" },
        { vector_rows, ERR_SHAPE, "no two dimensions" },
        { empty_input, ERR_SHAPE, "x: the shape [2, 0]" },
        { huge_input, ERR_SHAPE, "too large" },
        { two_shapes, ERR_SHAPE, "x is used as f32 [2] and as f32 [3]" },
        { no_input, ERR_ARG, "input 1 of add is missing" },
        { few_inputs, ERR_ARG, "add takes 2 to 2 inputs, got 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct graph g;
        graph_init(&g);
        cases[i].build(&g);
        CHECK_FAILS(graph_ok(&g, &e), cases[i].code, cases[i].part);
        CHECK_FAILS(graph_verify(&g, &e), cases[i].code, cases[i].part);
        graph_release(&g);
    }
}

TEST(the_first_error_sticks_and_nothing_is_built_after_it)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = graph_input(&g, "x", F32, SHAPE(2, 3));
    struct value wrong = op_reshape(&g, x, SHAPE(7));
    CHECK(!wrong.id, "value %d", (int)wrong.id);
    size_t values = g.n_values;
    CHECK(!op_add(&g, wrong, x).id && !op_add(&g, x, x).id && !op_geglu(&g, x).id, "something was built");
    CHECK(!graph_input(&g, "y", F32, SHAPE(1)).id && !op_slice(&g, wrong, -1, 0, 1).id, "something was built");
    CHECK(!graph_out(&g, wrong, 1).id && !op_cast(&g, wrong, DTYPE_BF16).id && !op_mean(&g, wrong).id, "something");
    graph_output(&g, wrong);
    CHECK(g.n_values == values && g.n_ops == 0, "%zu values, %zu ops", g.n_values, g.n_ops);
    CHECK_FAILS(graph_ok(&g, &e), ERR_SHAPE, "cannot become [7]");
    struct value grad;
    CHECK_FAILS(graph_gradient(&g, x, &x, 1, false, &grad, &e), ERR_SHAPE, "cannot become [7]");
    graph_fuse(&g, true);
    graph_prune(&g);
    graph_release(&g);
}

TEST(names_are_unique_within_their_kind_and_found_again)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = graph_input(&g, "a", F32, SHAPE(2)), w = graph_weight(&g, "a", DTYPE_BF16, SHAPE(3), false);
    char name[] = "b";
    struct value b = graph_weight(&g, name, F32, SHAPE(4), false);
    name[0] = 'c'; /* the graph keeps its own copy */
    CHECK(x.id != w.id, "one value for an input and a weight");
    CHECK(graph_weight(&g, "a", DTYPE_BF16, SHAPE(3), false).id == w.id, "a second weight a");
    CHECK(!graph_value(&g, w)->mutable_, "constant");
    CHECK(graph_weight(&g, "a", DTYPE_BF16, SHAPE(3), true).id == w.id && graph_value(&g, w)->mutable_, "mutable once");
    CHECK(graph_find(&g, VALUE_INPUT, "a").id == x.id && graph_find(&g, VALUE_WEIGHT, "a").id == w.id, "found");
    CHECK(graph_find(&g, VALUE_WEIGHT, "b").id == b.id && !graph_find(&g, VALUE_INPUT, "b").id, "found b");
    REQUIRE(graph_ok(&g, &e));
    graph_weight(&g, "a", F32, SHAPE(3), false);
    CHECK_FAILS(graph_ok(&g, &e), ERR_SHAPE, "a is used as bf16 [3] and as f32 [3]");
    graph_release(&g);
}

TEST(verify_finds_what_a_pass_might_break)
{
    for (int damage = 0; damage < 5; damage++) {
        struct err e = { 0 };
        struct graph g;
        graph_init(&g);
        struct value x = graph_input(&g, "x", F32, SHAPE(2, 3)), w = graph_weight(&g, "w", F32, SHAPE(2, 3), true);
        struct value y = op_unary(&g, op_add(&g, x, x), UNARY_SILU);
        graph_output(&g, op_accumulate(&g, w, y));
        REQUIRE(graph_verify(&g, &e));
        switch (damage) {
        case 0: g.ops[0].in[1] = y.id; break;
        case 1: g.ops[0].op = OP_NONE; break;
        case 2: g.values[y.id].shape = SHAPE(3, 2); break;
        case 3: g.values[w.id].mutable_ = false; break;
        case 4: g.ops[1].n_in = 2; break;
        }
        CHECK(!graph_verify(&g, &e) && e.code, "damage %d was not seen", damage);
        graph_release(&g);
    }
}

TEST(a_dump_has_a_line_per_op)
{
    struct graph g;
    struct text t;
    graph_init(&g);
    text_init(&t, 10000);
    graph_block_begin(&g);
    struct value x = graph_input(&g, "x", F32, SHAPE(2, 4)), w = graph_weight(&g, "w", DTYPE_BF16, SHAPE(3, 4), false);
    struct value y = op_linear(&g, x, w, VALUE_NONE);
    graph_block_end(&g);
    op_unary(&g, y, UNARY_GELU);
    graph_dump(&g, &t);
    assert_string_equal(text_string(&t), "%3 = matmul(x, w) : f32 [2, 3]  block 1\n%4 = unary(%3) gelu : f32 [2, 3]\n");
    text_release(&t);
    graph_release(&g);
}

TEST(multiply_adds_are_counted_as_two)
{
    struct graph graph, *g = &graph;
    graph_init(g);
    op_linear(g, X(5, 7, 8), Y(3, 8), VALUE_NONE);
    op_conv2d(g, graph_input(g, "i", F32, SHAPE(2, 8, 8, 4)), graph_input(g, "f", F32, SHAPE(16, 4, 3, 3)), VALUE_NONE, 2,
              (int64_t[4]){ 0, 0, 1, 1 });
    struct value q = graph_input(g, "q", F32, SHAPE(2, 6, 10)), k = graph_input(g, "k", F32, SHAPE(2, 9, 10));
    op_attention(g, q, k, k, 5, 1, false);
    op_add(g, q, q);
    static const double flops[] = { 2. * 5 * 7 * 3 * 8, 2. * 2 * 4 * 4 * 16 * 4 * 9, 4. * 2 * 6 * 9 * 10, 0 };
    for (size_t i = 0; i < 4; i++)
        CHECK_NEAR(op_flops(g, &g->ops[i]), flops[i], 0, "op %zu", i);
    graph_release(g);
}

static void build_something(struct graph *g)
{
    struct value x = X(1, 4, 4, 8), n = graph_weight(g, "n", F32, SHAPE(8), false);
    for (int i = 0; i < 12; i++)
        x = op_group_norm(g, op_unary(g, x, UNARY_SILU), n, n, 4, 1e-5, UNARY_NONE);
    struct value grad, loss = op_mean(g, x);
    struct err e = { 0 };
    if (graph_gradient(g, loss, &n, 1, false, &grad, &e))
        graph_output(g, grad);
    else if (!g->err.code)
        graph_fail(g, e.code, "%s", e.text);
}

TEST(every_allocation_that_fails_is_an_error_and_leaks_nothing)
{
    struct graph g;
    mem_fail_at(0);
    graph_init(&g);
    build_something(&g);
    CHECK(!g.err.code, "%s", g.err.text);
    graph_release(&g);
    size_t allocations = mem_fail_at(0);
    for (size_t n = 1; n <= allocations; n++) {
        struct err e = { 0 };
        graph_init(&g);
        mem_fail_at(n);
        build_something(&g);
        mem_fail_at(0);
        CHECK_FAILS(graph_ok(&g, &e), ERR_NOMEM, "");
        graph_release(&g);
    }
}
