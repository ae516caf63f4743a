/* The cpu backend at sizes where it cuts work for threads, with thread counts that fit and that do not; judged by ref. */
#include "test.h"

#include "backend/cpu/cpu.h"
#include "backend/op_cases.h"
#include "backend/ref/ref.h"

enum { SEED = 11 };

#define NORM(name_, x_, c_, s_, ...)                                                                          \
    { .op = OP_GROUP_NORM, .name = name_, .in = "T" x_ " W" c_ " W" c_, .out = "T" x_ " S" s_ " S" s_,        \
      .attr = { __VA_ARGS__ } },                                                                              \
    { .op = OP_GROUP_NORM_GRAD, .name = name_, .in = "T" x_ " W" c_ " W" c_ " T" x_,                          \
      .out = "T" x_ " S" c_ " S" c_, .attr = { __VA_ARGS__ }, .with_forward = true }

static const struct op_case cases[] = {
    /* fewer images than threads, as many, more; channels below, at, above a vector and a cache block */
    NORM("one image", "[1,40,21,32]", "[32]", "[1,8]", .groups = 8, .eps = 1e-5, .fn = UNARY_SILU),
    NORM("two images", "[2,21,23,40]", "[40]", "[2,4]", .groups = 4, .eps = 1e-5),
    NORM("three images", "[3,64,5,36]", "[36]", "[3,12]", .groups = 12, .eps = 1e-6, .fn = UNARY_SILU),
    NORM("many images", "[12,13,5,24]", "[24]", "[12,2]", .groups = 2, .eps = 1e-6, .fn = UNARY_SILU),
    NORM("wide", "[1,3,3,2560]", "[2560]", "[1,32]", .groups = 32, .eps = 1e-5, .fn = UNARY_SILU),
    NORM("one pixel a thread", "[1,2,1,9000]", "[9000]", "[1,3]", .groups = 3, .eps = 1e-5),
    { .op = OP_RMS_NORM, .name = "rows", .in = "T[2,171,77] W[77]", .out = "T[2,171,77] S[342]", .attr = { .eps = 1e-5 } },
    { .op = OP_RMS_NORM_GRAD, .name = "rows", .in = "T[2,171,77] W[77] T[2,171,77]", .out = "T[2,171,77] S[77]",
      .attr = { .eps = 1e-5 }, .with_forward = true },
    { .op = OP_ROTARY, .name = "tokens", .in = "T[2,90,120] I[2,90]", .out = "T[2,90,120]",
      .attr = { .heads = 3, .count = 20, .alpha = 1, .beta = 10000 }, .ids = 90 },
    { .op = OP_LAYER_NORM, .name = "rows", .in = "T[2,171,77] W[77] W[77]", .out = "T[2,171,77] S[342] S[342]",
      .attr = { .eps = 1e-5 } },
    { .op = OP_LAYER_NORM_GRAD, .name = "rows", .in = "T[2,171,77] W[77] W[77] T[2,171,77]",
      .out = "T[2,171,77] S[77] S[77]", .attr = { .eps = 1e-5 }, .with_forward = true },
    { .op = OP_LAYER_NORM_GRAD, .name = "fewer rows than threads", .in = "T[1,17000] W[17000] W[17000] T[1,17000]",
      .out = "T[1,17000] S[17000] S[17000]", .attr = { .eps = 1e-5 }, .with_forward = true },
    { .op = OP_SOFTMAX, .name = "rows", .in = "T[171,101]", .out = "T[171,101]" },
    { .op = OP_SOFTMAX_GRAD, .name = "rows", .in = "T[171,101] T[171,101]", .out = "T[171,101]", .with_forward = true },

    { .op = OP_ADD, .name = "same", .in = "T[17003] T[17003]", .out = "T[17003]" },
    { .op = OP_SUB, .name = "same, another type", .in = "T[17003] H[17003]", .out = "T[17003]" },
    { .op = OP_MUL, .name = "one number", .in = "T[17003] T[1]", .out = "T[17003]" },
    { .op = OP_ADD, .name = "per channel", .in = "T[2,30,30,36] W[1,1,1,36]", .out = "T[2,30,30,36]" },
    { .op = OP_ADD, .name = "per image and channel", .in = "T[5,12,12,36] T[5,1,1,36]", .out = "T[5,12,12,36]" },
    { .op = OP_SUB, .name = "rows longer than many", .in = "T[3,9001] T[1,9001]", .out = "T[3,9001]" },
    { .op = OP_MUL, .name = "a number a row", .in = "T[601,31] T[601,1]", .out = "T[601,31]" },
    { .op = OP_MUL, .name = "a number a long row", .in = "T[3,9001] T[3,1]", .out = "T[3,9001]" },
    { .op = OP_DIV, .name = "between", .in = "T[7,5,17,31] T[1,5,1,31]", .out = "T[7,5,17,31]", .fill = FILL_AWAY },
    { .op = OP_DIV, .name = "between, numbers", .in = "T[7,5,17,31] T[7,1,17,1]", .out = "T[7,5,17,31]", .fill = FILL_AWAY },
    { .op = OP_ADD, .name = "large positions", .in = "T[2,150,120] W[1,150,120]", .out = "T[2,150,120]" },
    { .op = OP_UNARY, .name = "silu", .in = "T[17003]", .out = "T[17003]", .attr = { .fn = UNARY_SILU } },
    { .op = OP_UNARY_GRAD, .name = "silu", .in = "T[17003] T[17003]", .out = "T[17003]", .attr = { .fn = UNARY_SILU } },
    { .op = OP_SCALE, .name = "long", .in = "T[17003]", .out = "T[17003]", .attr = { .alpha = 3, .beta = -1 } },
    { .op = OP_GATED, .name = "geglu, rows", .in = "T[301,142]", .out = "T[301,71]", .attr = { .fn = UNARY_GELU } },
    { .op = OP_GATED, .name = "swiglu, rows", .in = "T[301,142]", .out = "T[301,71]", .attr = { .fn = UNARY_SILU } },
    { .op = OP_GATED_GRAD, .name = "geglu, rows", .in = "T[301,142] T[301,71]", .out = "T[301,142]", .attr = { .fn = UNARY_GELU } },
    { .op = OP_GATED_GRAD, .name = "swiglu, rows", .in = "T[301,142] T[301,71]", .out = "T[301,142]", .attr = { .fn = UNARY_SILU } },

    { .op = OP_SUM_TO, .name = "columns", .in = "T[700,33]", .out = "S[1,33]", .attr = { .shape = { 2, { 1, 33 } } } },
    { .op = OP_SUM_TO, .name = "few long rows to one", .in = "T[3,9001]", .out = "S[1,9001]",
      .attr = { .shape = { 2, { 1, 9001 } } } },
    { .op = OP_SUM_TO, .name = "per image and channel", .in = "T[3,21,11,40]", .out = "T[3,1,1,40]",
      .attr = { .shape = { 4, { 3, 1, 1, 40 } } } },
    { .op = OP_SUM_TO, .name = "many images", .in = "T[31,5,5,40]", .out = "S[31,1,1,40]",
      .attr = { .shape = { 4, { 31, 1, 1, 40 } } } },
    { .op = OP_SUM_TO, .name = "everything", .in = "T[23,29,31]", .out = "S[1,1,1]", .attr = { .shape = { 3, { 1, 1, 1 } } } },
    { .op = OP_SUM_TO, .name = "rows", .in = "T[601,37]", .out = "S[601,1]", .attr = { .shape = { 2, { 601, 1 } } } },
    { .op = OP_SUM_TO, .name = "two long rows", .in = "T[2,17001]", .out = "S[2,1]", .attr = { .shape = { 2, { 2, 1 } } } },
    { .op = OP_SUM_TO, .name = "between", .in = "T[5,7,30,31]", .out = "S[1,7,1,31]", .attr = { .shape = { 4, { 1, 7, 1, 31 } } } },
    { .op = OP_SUM_TO, .name = "between, long", .in = "T[3,2,300,71]", .out = "S[1,2,1,71]",
      .attr = { .shape = { 4, { 1, 2, 1, 71 } } } },
    { .op = OP_SUM_TO, .name = "numbers between", .in = "T[5,7,30,31]", .out = "S[5,1,30,1]",
      .attr = { .shape = { 4, { 5, 1, 30, 1 } } } },
    { .op = OP_SUM_TO, .name = "long shared rows", .in = "T[2,3,2,17003]", .out = "S[1,3,1,1]",
      .attr = { .shape = { 4, { 1, 3, 1, 1 } } } },
    { .op = OP_SUM_TO, .name = "nothing", .in = "T[31,607]", .out = "T[31,607]", .attr = { .shape = { 2, { 31, 607 } } } },
    { .op = OP_SUM_SQUARES, .name = "long", .in = "T[17003]", .out = "S[1]" },
    { .op = OP_EXPAND, .name = "per channel", .in = "T[1,1,37]", .out = "T[3,200,37]", .attr = { .shape = { 3, { 3, 200, 37 } } } },
    { .op = OP_EXPAND, .name = "per row", .in = "T[3,200,1]", .out = "T[3,200,37]", .attr = { .shape = { 3, { 3, 200, 37 } } } },
    { .op = OP_EXPAND, .name = "a number", .in = "T[1]", .out = "T[17003]", .attr = { .shape = { 1, { 17003 } } } },
    { .op = OP_EXPAND, .name = "few long rows", .in = "T[1,9001]", .out = "T[3,9001]", .attr = { .shape = { 2, { 3, 9001 } } } },

    { .op = OP_UPSAMPLE, .name = "twice", .in = "T[2,9,11,48]", .out = "T[2,18,22,48]", .attr = { .factor = 2 } },
    { .op = OP_AVG_POOL, .name = "halves", .in = "T[2,18,22,48]", .out = "T[2,9,11,48]", .attr = { .factor = 2 } },
    { .op = OP_CONCAT, .name = "channels", .in = "T[1,21,20,40] T[1,21,20,24]", .out = "T[1,21,20,64]", .attr = { .axis = 3 } },
    { .op = OP_CONCAT, .name = "images", .in = "T[1,9001] T[2,9001]", .out = "T[3,9001]", .attr = { .axis = 0 } },
    { .op = OP_SLICE, .name = "channels", .in = "T[601,64]", .out = "T[601,31]", .attr = { .axis = 1, .begin = 3, .count = 31 } },
    { .op = OP_SLICE, .name = "images", .in = "T[3,17003]", .out = "T[2,17003]", .attr = { .axis = 0, .begin = 1, .count = 2 } },
    { .op = OP_PLACE, .name = "channels", .in = "T[601,31]", .out = "T[601,64]",
      .attr = { .axis = 1, .begin = 3, .shape = { 2, { 601, 64 } } } },
    { .op = OP_PLACE, .name = "images", .in = "T[1,17003]", .out = "T[3,17003]",
      .attr = { .axis = 0, .begin = 1, .shape = { 2, { 3, 17003 } } } },
    { .op = OP_EMBEDDING, .name = "long", .in = "W[50,77] I[3,77]", .out = "T[3,77,77]", .ids = 50 },
    { .op = OP_EMBEDDING_GRAD, .name = "long", .in = "T[3,77,77] I[3,77]", .out = "S[50,77]",
      .attr = { .shape = { 2, { 50, 77 } } }, .ids = 50 },
    { .op = OP_ACCUMULATE, .name = "long", .in = "U[17003] T[17003]", .out = "S[17003]" },
    { .op = OP_ACCUMULATE, .name = "long, f16", .in = "U[17003] H[17003]", .out = "S[17003]" },
    { .op = OP_ADAMW, .name = "long", .in = "U[17003] U[17003] U[17003] S[17003] P[12]",
      .out = "S[17003] S[17003] S[17003]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE },
    { .op = OP_EMA, .name = "long", .in = "U[17003] S[17003] P[12]", .out = "S[17003]" },
};
enum { CASES = sizeof cases / sizeof *cases };

/* Counts the cases that differ. f32: sums of up to 17,000 terms in blocks, 2^-24 each, and our functions' 2e-7; bf16: half
 * a step of 2^-8. */
static int compare(const struct backend *b, const struct op_case *c, struct case_types types)
{
    struct err e = { 0 };
    struct case_data d;
    struct case_result came, wanted;
    REQUIRE(case_data_init(&d, c, types, SEED, &e));
    REQUIRE(case_run(backend_ref(), c, types, &d, false, &wanted, &e));
    REQUIRE(case_run(b, c, types, &d, false, &came, &e));
    int failed = 0;
    for (int k = 0; k < OP_MAX_OUT; k++)
        if (wanted.v[k])
            failed += !case_near(case_text(c, types).s, SEED, k, came.v[k], wanted.v[k], wanted.count[k],
                                 wanted.type[k] == DTYPE_BF16 ? 4e-3 : 1e-5, 1e-6);
    case_result_release(&came);
    case_result_release(&wanted);
    case_data_release(&d);
    return failed;
}

static void compare_all(int threads, const char *isa)
{
    static const struct case_types types[] = {
        { .activation = DTYPE_F32, .weight = DTYPE_F32, .mutable_ = true },
        { .activation = DTYPE_BF16, .weight = DTYPE_F32, .mutable_ = true },
        { .activation = DTYPE_BF16, .weight = DTYPE_BF16 },
        { .activation = DTYPE_F32, .weight = DTYPE_F16, .mutable_ = true },
    };
    struct err e = { 0 };
    if (isa && !backend_cpu_supports(isa))
        return;
    const struct backend *b = backend_cpu_new(threads, isa, &e);
    REQUIRE(b);
    int failed = 0;
    for (int i = 0; i < CASES; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            failed += compare(b, &cases[i], types[t]);
    CHECK(!failed, "%d differ with %d threads on %s", failed, threads, backend_cpu_isa(b));
    backend_cpu_free(b);
}

TEST(one_thread_gives_what_ref_gives)
{
    compare_all(1, NULL);
}

TEST(two_threads_give_what_ref_gives)
{
    compare_all(2, "v2");
    compare_all(2, "v3");
}

TEST(three_threads_give_what_ref_gives)
{
    compare_all(3, "v4");
    compare_all(3, "bf16");
}

TEST(two_runs_on_three_threads_have_the_same_bits)
{
    static const struct case_types types = { .activation = DTYPE_F32, .weight = DTYPE_F32, .mutable_ = true };
    struct err e = { 0 };
    const struct backend *b = backend_cpu_new(3, NULL, &e);
    REQUIRE(b);
    for (int i = 0; i < CASES; i++) {
        struct case_data d;
        struct case_result one, two;
        REQUIRE(case_data_init(&d, &cases[i], types, SEED, &e));
        REQUIRE(case_run(b, &cases[i], types, &d, false, &one, &e));
        REQUIRE(case_run(b, &cases[i], types, &d, false, &two, &e));
        for (int k = 0; k < OP_MAX_OUT; k++)
            CHECK(!one.v[k] || !memcmp(one.v[k], two.v[k], (size_t)one.count[k] * sizeof *one.v[k]), "%s: output %d",
                  case_text(&cases[i], types).s, k);
        case_result_release(&one);
        case_result_release(&two);
        case_data_release(&d);
    }
    backend_cpu_free(b);
}
