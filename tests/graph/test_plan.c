#include "test.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "graph/ops.h"
#include "graph/plan.h"
#include "graph/run_graph.h"

#define F64 DTYPE_F64
enum { ROWS = 4, OPS = 40, GRAPHS = 200 };

static size_t bytes_of(const struct graph *g, struct value v)
{
    size_t bytes = (size_t)shape_count(graph_shape(g, v)) * dtype_bytes(graph_type(g, v));
    return (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

/* A random graph: matrices of ROWS rows (or the same numbers in one row), ops that reuse, view, repeat, join and
 * update. */
static struct value random_graph(struct graph *g, uint64_t seed)
{
    struct random r = random_of(seed, 0);
    struct value pool[OPS + 2] = { graph_input(g, "x", F64, SHAPE(ROWS, 3)), graph_weight(g, "w", F64, SHAPE(ROWS, 5), false) };
    int n = 2;
    for (int i = 0; i < OPS; i++) {
        struct value a = pool[random_below(&r, (uint64_t)n)], b = pool[random_below(&r, (uint64_t)n)], y = VALUE_NONE;
        struct shape s = graph_shape(g, a);
        if (random_below(&r, 2)) /* often the newest: chains, where reuse is possible */
            a = pool[n - 1], s = graph_shape(g, a);
        switch (random_below(&r, 8)) {
        case 0: y = op_unary(g, a, UNARY_TANH); break;
        case 1: y = op_scale(g, a, 0.5, 1); break;
        case 2: y = shape_same(s, graph_shape(g, b)) ? op_add(g, a, b) : op_mul(g, a, a); break;
        case 3: y = op_reshape(g, a, s.dim[0] == 1 ? SHAPE(ROWS, s.dim[1] / ROWS) : SHAPE(1, s.dim[1] * ROWS)); break;
        case 4:
            y = s.dim[0] == graph_shape(g, b).dim[0] && s.dim[1] < 100 ? op_concat(g, a, b, 1) : op_softmax(g, a);
            break;
        case 5: y = op_mul(g, a, op_sum_to(g, a, SHAPE(s.dim[0], 1), F64)); break;
        case 6: {
            char name[8];
            snprintf(name, sizeof name, "u%d", i);
            y = op_accumulate(g, graph_weight(g, name, F64, s, true), a);
            break;
        }
        case 7: y = op_unary(g, op_sub(g, a, op_reshape(g, a, s)), UNARY_SIGMOID); break;
        }
        pool[n++] = y;
    }
    graph_output(g, pool[n - 1]);
    graph_output(g, pool[n / 2]);
    return pool[n - 1];
}

TEST(plans_of_random_graphs_hold_their_invariants_and_save_memory)
{
    size_t saved = 0, all = 0;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        struct err e = { 0 };
        struct graph g;
        struct plan p;
        graph_init(&g);
        random_graph(&g, seed);
        REQUIRE(graph_verify(&g, &e));
        struct random r = random_of(seed, 1);
        size_t scratch[4 * OPS] = { 0 }, sum = 0;
        for (size_t o = 0; o < g.n_ops; o++)
            sum += scratch[o] = PLAN_ALIGN * random_below(&r, 5);
        for (size_t v = 1; v < g.n_values; v++)
            if (g.values[v].kind == VALUE_OP)
                sum += bytes_of(&g, (struct value){ (int32_t)v });
        CHECK(plan_make(&p, &g, scratch, &e), "seed %llu: %s", (unsigned long long)seed, e.text);
        CHECK(plan_verify(&p, &g, scratch, &e), "seed %llu: %s", (unsigned long long)seed, e.text);
        CHECK(p.arena_bytes <= sum, "seed %llu: %zu of %zu bytes", (unsigned long long)seed, p.arena_bytes, sum);
        saved += sum - p.arena_bytes;
        all += sum;
        plan_release(&p);
        graph_release(&g);
    }
    CHECK(saved > all / 2, "only %zu of %zu bytes are saved", saved, all);
}

/* plan_verify trusts what the plan says is reused; this does not: nothing may be overwritten that is read later. */
TEST(results_are_the_same_as_with_memory_of_its_own_for_every_value)
{
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        double *planned, *plain;
        struct err e = { 0 };
        struct graph g;
        graph_init(&g);
        struct value y = random_graph(&g, seed);
        size_t count = (size_t)shape_count(graph_shape(&g, y));
        REQUIRE(run_graph(&g, &y, 1, &planned, NULL, &e));
        graph_init(&g);
        random_graph(&g, seed);
        REQUIRE(run_graph_plainly(&g, &y, 1, &plain, &e));
        CHECK(!memcmp(planned, plain, count * sizeof(double)), "seed %llu", (unsigned long long)seed);
        free(planned);
        free(plain);
    }
}

TEST(a_view_an_update_and_a_reused_input_take_no_memory)
{
    struct err e = { 0 };
    struct graph g;
    struct plan p;
    graph_init(&g);
    struct value x = graph_input(&g, "x", F64, SHAPE(8, 8)), w = graph_weight(&g, "w", F64, SHAPE(8, 8), true);
    struct value first = op_unary(&g, x, UNARY_SILU);           /* x is not ours: new memory */
    struct value view = op_reshape(&g, first, SHAPE(64));       /* the same bytes */
    struct value over = op_scale(&g, view, 2, 0);               /* first is not read again: over it */
    struct value kept = op_unary(&g, over, UNARY_TANH);         /* over is read below: new memory */
    struct value sum = op_add(&g, kept, over);                  /* over kept */
    struct value outside = op_reshape(&g, x, SHAPE(64));        /* a view of an input */
    struct value updated = op_accumulate(&g, w, op_reshape(&g, op_add(&g, sum, outside), SHAPE(8, 8)));
    graph_output(&g, updated);
    size_t scratch[16] = { 0 };
    REQUIRE(graph_verify(&g, &e));
    REQUIRE(plan_make(&p, &g, scratch, &e));
    REQUIRE(plan_verify(&p, &g, scratch, &e));
    CHECK(p.root[view.id] == first.id && p.offset[view.id] == p.offset[first.id], "a view");
    CHECK(p.root[over.id] == first.id, "a reused input behind a view");
    CHECK(p.root[kept.id] == kept.id && p.offset[kept.id] != p.offset[over.id], "an input that is read again");
    CHECK(p.root[sum.id] == kept.id, "a reused sum");
    CHECK(p.root[outside.id] == x.id && p.offset[outside.id] == PLAN_OUTSIDE, "a view of an input");
    CHECK(p.root[updated.id] == w.id && p.offset[updated.id] == PLAN_OUTSIDE, "an update");
    CHECK(p.arena_bytes == 2 * 64 * 8, "%zu bytes", p.arena_bytes);
    plan_release(&p);
    graph_release(&g);
}

TEST(a_wrong_plan_is_refused)
{
    for (int damage = 0; damage < 3; damage++) {
        struct err e = { 0 };
        struct graph g;
        struct plan p;
        graph_init(&g);
        struct value x = graph_input(&g, "x", F64, SHAPE(8, 8)), a = op_unary(&g, x, UNARY_SILU);
        struct value b = op_softmax(&g, op_concat(&g, a, x, 0)), c = op_concat(&g, a, b, 0);
        graph_output(&g, c);
        size_t scratch[8] = { 0, 64, 64, 64 };
        REQUIRE(plan_make(&p, &g, scratch, &e));
        REQUIRE(plan_verify(&p, &g, scratch, &e));
        switch (damage) {
        case 0: p.offset[b.id] = p.offset[a.id]; break;
        case 1: p.scratch_offset[1] = p.offset[a.id]; break;
        case 2: p.offset[c.id] += p.arena_bytes; break;
        }
        CHECK(!plan_verify(&p, &g, scratch, &e) && e.code == ERR_LIMIT, "damage %d was not seen", damage);
        plan_release(&p);
        graph_release(&g);
    }
}

TEST(a_plan_without_memory_is_an_error)
{
    struct graph g;
    struct plan p;
    graph_init(&g);
    random_graph(&g, 1);
    size_t scratch[4 * OPS] = { 0 };
    for (size_t n = 1;; n++) {
        struct err e = { 0 };
        mem_fail_at(n);
        bool made = plan_make(&p, &g, scratch, &e);
        mem_fail_at(0);
        if (made) {
            plan_release(&p);
            CHECK(n > 5, "plan_make allocates %zu times", n);
            break;
        }
        CHECK(e.code == ERR_NOMEM, "code %d: %s", (int)e.code, e.text);
    }
    graph_release(&g);
}
