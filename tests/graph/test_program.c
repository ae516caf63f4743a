#include "test.h"

#include "backend/ref/ref.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/text.h"
#include "graph/ops.h"
#include "graph/program.h"

/* y = 2 x w', and a sum that is updated. */
static struct value build(struct graph *g)
{
    graph_init(g);
    struct value x = graph_input(g, "x", DTYPE_F32, SHAPE(2, 3)), w = graph_weight(g, "w", DTYPE_F32, SHAPE(1, 3), false);
    struct value y = op_scale(g, op_linear(g, x, w, VALUE_NONE), 2, 0);
    struct value sum = op_accumulate(g, graph_weight(g, "sum", DTYPE_F32, SHAPE(2, 1), true), y);
    graph_output(g, y);
    graph_output(g, sum);
    return y;
}

TEST(a_program_runs_again_and_again_and_updates_where_the_weight_lies)
{
    struct err e = { 0 };
    struct graph g;
    struct value y = build(&g);
    float x[6] = { 1, 2, 3, 4, 5, 6 }, other[6] = { 0 }, w[3] = { 1, 0, -1 }, sum[2] = { 100, 200 };
    struct program *p = program_new(backend_ref(), &g, &e);
    REQUIRE(p);
    CHECK(g.n_ops == 0 && program_graph(p)->n_ops == 3, "the graph is the program's now");
    bool kept;
    REQUIRE(program_bind_weight(p, "w", &(struct tensor){ DTYPE_F32, SHAPE(1, 3), w }, &kept, &e));
    CHECK(kept, "ref packs nothing");
    REQUIRE(program_bind_weight(p, "sum", &(struct tensor){ DTYPE_F32, SHAPE(2, 1), sum }, &kept, &e));
    CHECK(kept, "what is updated stays where it is");
    REQUIRE(program_set_input(p, "x", x, &e));
    for (int run = 1; run <= 3; run++) {
        REQUIRE(program_run(p, &e));
        const float *got = program_output(p, y);
        CHECK(got[0] == -4 && got[1] == -4, "run %d: %g %g", run, (double)got[0], (double)got[1]);
        CHECK(sum[0] == 100 - 4 * (float)run && sum[1] == 200 - 4 * (float)run, "run %d: %g %g", run, (double)sum[0],
              (double)sum[1]);
    }
    REQUIRE(program_set_input(p, "x", other, &e));
    REQUIRE(program_run(p, &e));
    CHECK(*(const float *)program_output(p, y) == 0, "another input");
    CHECK(program_profile(p)[OP_MATMUL].calls == 4 && program_profile(p)[OP_MATMUL].flops == 4 * 2 * 2 * 3, "profile");
    struct text t;
    text_init(&t, 10000);
    program_profile_text(p, &t);
    CHECK(strstr(text_string(&t), "matmul") && strstr(text_string(&t), "accumulate"), "%s", text_string(&t));
    text_release(&t);
    struct program_memory m = program_memory(p);
    CHECK(m.borrowed == 3 * 4 + 2 * 4 && m.packed == 0 && m.arena > 0, "%zu, %zu, %zu", m.borrowed, m.packed, m.arena);
    program_free(p);
}

/* A backend that runs like ref, and asks for a stop when the first op is done. */
static bool run_and_ask_to_stop(const struct backend *b, struct op_call *call, struct err *e)
{
    stop_request();
    return backend_ref()->run(b, call, e);
}

TEST(a_stop_ends_a_stoppable_run_between_two_ops_and_no_other)
{
    struct err e = { 0 };
    struct graph g;
    struct backend backend = *backend_ref();
    backend.run = run_and_ask_to_stop;
    build(&g);
    float x[6] = { 1, 2, 3, 4, 5, 6 }, w[3] = { 1, 0, -1 }, sum[2] = { 100, 200 };
    struct program *p = program_new(&backend, &g, &e);
    bool kept;
    REQUIRE(p && program_bind_weight(p, "w", &(struct tensor){ DTYPE_F32, SHAPE(1, 3), w }, &kept, &e) &&
            program_bind_weight(p, "sum", &(struct tensor){ DTYPE_F32, SHAPE(2, 1), sum }, &kept, &e) &&
            program_set_input(p, "x", x, &e));
    CHECK_FAILS(program_run_stoppable(p, &e), ERR_STOPPED, "");
    CHECK(program_profile(p)[OP_MATMUL].calls == 1 && sum[0] == 100, "after the first op: %g", (double)sum[0]);
    CHECK(program_run(p, &e), "%s", e.text);
    CHECK(sum[0] == 96, "%g", (double)sum[0]);
    stop_forget();
    program_free(p);
}

TEST(what_was_not_given_or_does_not_fit_is_named)
{
    struct err e = { 0 };
    struct graph g;
    build(&g);
    float x[6] = { 0 }, w[3] = { 0 }, sum[2] = { 0 };
    bool kept;
    struct program *p = program_new(backend_ref(), &g, &e);
    REQUIRE(p);
    CHECK_FAILS(program_run(p, &e), ERR_MISSING, "was not given");
    CHECK_FAILS(program_set_input(p, "z", x, &e), ERR_MISSING, "no input z");
    CHECK_FAILS(program_set_input(p, "w", x, &e), ERR_MISSING, "no input w");
    CHECK_FAILS(program_bind_weight(p, "x", &(struct tensor){ DTYPE_F32, SHAPE(2, 3), x }, &kept, &e), ERR_MISSING,
                "no weight x");
    CHECK_FAILS(program_bind_weight(p, "w", &(struct tensor){ DTYPE_F32, SHAPE(3, 1), w }, &kept, &e), ERR_SHAPE,
                "w: want f32 [1, 3], got f32 [3, 1]");
    CHECK_FAILS(program_bind_weight(p, "w", &(struct tensor){ DTYPE_BF16, SHAPE(1, 3), w }, &kept, &e), ERR_SHAPE,
                "got bf16");
    REQUIRE(program_set_input(p, "x", x, &e));
    REQUIRE(program_bind_weight(p, "w", &(struct tensor){ DTYPE_F32, SHAPE(1, 3), w }, &kept, &e));
    CHECK_FAILS(program_run(p, &e), ERR_MISSING, "sum was not given");
    REQUIRE(program_bind_weight(p, "sum", &(struct tensor){ DTYPE_F32, SHAPE(2, 1), sum }, &kept, &e));
    REQUIRE(program_run(p, &e));
    program_free(p);
}

TEST(a_wrong_graph_or_no_memory_gives_no_program)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    op_reshape(&g, graph_input(&g, "x", DTYPE_F32, SHAPE(3)), SHAPE(4));
    CHECK_FAILS(program_new(backend_ref(), &g, &e), ERR_SHAPE, "cannot become [4]");
    CHECK(g.n_ops == 0 && !g.values, "the graph was not released");
    for (size_t n = 1;; n++) {
        build(&g);
        err_clear(&e);
        mem_fail_at(n);
        struct program *p = program_new(backend_ref(), &g, &e);
        mem_fail_at(0);
        program_free(p);
        if (p)
            break;
        CHECK(e.code == ERR_NOMEM, "allocation %zu: code %d: %s", n, (int)e.code, e.text);
    }
}

TEST(an_id_outside_its_table_stops_the_run_with_its_number)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value table = graph_weight(&g, "table", DTYPE_F32, SHAPE(49, 2), false);
    graph_output(&g, op_embedding(&g, table, graph_input(&g, "ids", DTYPE_I32, SHAPE(3)), DTYPE_F32));
    float numbers[98] = { 0 };
    int32_t ids[3] = { 0, 48, 49 };
    bool kept;
    struct program *p = program_new(backend_ref(), &g, &e);
    REQUIRE(p);
    REQUIRE(program_bind_weight(p, "table", &(struct tensor){ DTYPE_F32, SHAPE(49, 2), numbers }, &kept, &e));
    REQUIRE(program_set_input(p, "ids", ids, &e));
    CHECK_FAILS(program_run(p, &e), ERR_ARG, "id 49 at place 2 is outside the table of 49 rows");
    ids[2] = -1;
    CHECK_FAILS(program_run(p, &e), ERR_ARG, "id -1");
    ids[2] = 3;
    REQUIRE(program_run(p, &e));
    program_free(p);
}

TEST(more_pads_than_keys_stop_the_run_with_their_number)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct value x = graph_input(&g, "x", DTYPE_F32, SHAPE(2, 3, 4));
    graph_output(&g, op_attention_padded(&g, x, x, x, graph_input(&g, "pads", DTYPE_I32, SHAPE(2)), 2, 1, true));
    float numbers[24] = { 0 };
    int32_t pads[2] = { 3, 4 };
    struct program *p = program_new(backend_ref(), &g, &e);
    REQUIRE(p);
    REQUIRE(program_set_input(p, "x", numbers, &e));
    REQUIRE(program_set_input(p, "pads", pads, &e));
    CHECK_FAILS(program_run(p, &e), ERR_ARG, "row 1 has 4 pads, but there are 3 keys");
    pads[1] = -1;
    CHECK_FAILS(program_run(p, &e), ERR_ARG, "row 1 has -1 pads");
    pads[1] = 0;
    REQUIRE(program_run(p, &e));
    program_free(p);
}

TEST(of_a_table_that_is_only_looked_up_the_rows_count_as_memory)
{
    struct err e = { 0 };
    for (int twice = 0; twice < 2; twice++) {
        struct graph g;
        graph_init(&g);
        struct value table = graph_weight(&g, "table", DTYPE_F16, SHAPE(1000, 8), false);
        graph_output(&g, op_embedding(&g, table, graph_input(&g, "ids", DTYPE_I32, SHAPE(2, 3)), DTYPE_F32));
        if (twice) /* read as a whole, too */
            graph_output(&g, op_cast(&g, table, DTYPE_F32));
        struct program *p = program_new(backend_ref(), &g, &e);
        REQUIRE(p);
        struct program_memory m = program_memory(p);
        CHECK(m.borrowed == (twice ? 1000 : 6) * 8 * 2, "%zu bytes", m.borrowed);
        program_free(p);
    }
}
