/* The cpu backend, judged by ref over the cases of op_cases.c. */
#include "test.h"

#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/op_cases.h"
#include "backend/ref/ref.h"

enum { SEED = 7 };

/* How far a result may be from ref's, in parts of the largest number of the array.
 * f32: 2^-24 for each rounding, and some hundred terms summed in another order.
 * bf16: both round to 8 bits (a step is 2^-8 of a number, half of it is lost), and a kernel may round once more what it
 * multiplies next (attention's weights) or has between two kernels (an activation before the residual). */
static double value_tolerance(const struct op_case *c, enum dtype activation, enum dtype result)
{
    if (activation != DTYPE_BF16)
        return 2e-5;
    if (result == DTYPE_F32 && !c->with_forward) /* sums of exact products; attention's exp is a cubic: 1e-4 */
        return c->op == OP_ATTENTION ? 1e-4 : 2e-5;
    return 1e-2;
}

/* Where the true result is 0 because large terms cancel (a norm over one number: rstd is 316 there; one key), what is
 * left is their rounding. */
static double floor_of(const struct op_case *c)
{
    return c->with_forward ? 1e-5 : 1e-7;
}

/* Gradients against ref in f64: in bf16 the values on the way are rounded too (y, the statistics' inputs, weights); a
 * quotient's has three such steps before a sum that cancels. */
static double gradient_tolerance(const struct op_case *c, enum dtype activation)
{
    return activation != DTYPE_BF16 ? 5e-5 : c->op == OP_DIV ? 5e-2 : 2e-2;
}

static const struct backend *new_backend(const char *isa)
{
    struct err e = { 0 };
    const struct backend *b = backend_cpu_new(0, isa, &e);
    REQUIRE(b);
    return b;
}

static bool has_weight(const struct op_case *c)
{
    return strchr(c->in, 'W') != NULL;
}

/* Counts what is not near. */
static int compare_values(const struct backend *b, const struct op_case *c, struct case_types types)
{
    struct err e = { 0 };
    struct case_data d;
    struct case_result came, wanted;
    REQUIRE(case_data_init(&d, c, types, SEED, &e));
    REQUIRE(case_run(backend_ref(), c, types, &d, false, &wanted, &e));
    int failed = 0;
    if (!case_run(b, c, types, &d, false, &came, &e)) {
        print_error("%s: %s\n", case_text(c, types).s, e.text);
        failed++;
    }
    for (int k = 0; k < OP_MAX_OUT && !failed; k++)
        if (wanted.v[k])
            failed += !case_near(case_text(c, types).s, SEED, k, came.v[k], wanted.v[k], wanted.count[k],
                                 value_tolerance(c, types.activation, wanted.type[k]), floor_of(c));
    case_result_release(&came);
    case_result_release(&wanted);
    case_data_release(&d);
    return failed;
}

static int compare_gradients(const struct backend *b, const struct op_case *c, struct case_types types)
{
    static const struct case_types f64 = { DTYPE_F64, DTYPE_F64, false, false, DTYPE_F32 };
    struct err e = { 0 };
    struct case_data d;
    struct case_result came, wanted;
    REQUIRE(case_data_init(&d, c, types, SEED, &e));
    REQUIRE(case_run(backend_ref(), c, f64, &d, true, &wanted, &e));
    int failed = 0;
    if (!case_run(b, c, types, &d, true, &came, &e)) {
        print_error("the gradient of %s: %s\n", case_text(c, types).s, e.text);
        failed++;
    }
    for (int k = 0; k < OP_MAX_IN && !failed; k++)
        if (wanted.v[k]) {
            CHECK(came.v[k], "%s: input %d has no gradient", case_text(c, types).s, k);
            failed += !case_near(case_text(c, types).s, SEED, k, came.v[k], wanted.v[k], wanted.count[k],
                                 gradient_tolerance(c, types.activation), 1e-5);
        }
    case_result_release(&came);
    case_result_release(&wanted);
    case_data_release(&d);
    return failed;
}

/* Runs `compare` over all cases, activation types, weight types, and constant and mutable weights. */
static void over_all(int (*compare)(const struct backend *, const struct op_case *, struct case_types), bool gradient,
                     bool all_weights, const struct backend *b)
{
    static const enum dtype activations[] = { DTYPE_F32, DTYPE_BF16 };
    static const enum dtype weights[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
    int failed = 0, compared = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        const struct op_case *c = &op_cases[i];
        if (gradient && (!op_desc(c->op)->has_gradient || c->no_gradient))
            continue;
        for (size_t a = 0; a < 2; a++)
            for (size_t w = 0; w < 3; w++)
                for (int mutable_ = 0; mutable_ < 2; mutable_++) {
                    struct case_types types = { activations[a], weights[w], mutable_, false, DTYPE_F32 };
                    if (!(has_weight(c) && all_weights) && (types.weight != types.activation || mutable_))
                        continue;
                    failed += compare(b, c, types);
                    compared++;
                }
    }
    CHECK(!failed, "%d of %d differ on %s", failed, compared, backend_cpu_isa(b));
}

/* Quantised and 8-bit weights are used as they lie: case_run fails if a matrix, a kernel or a table was copied. The values are ref's, which rounds every
 * number to the activations' type as it does with weights of f32. */
TEST(weights_of_storage_types_are_used_as_they_are)
{
    static const enum dtype activations[] = { DTYPE_F32, DTYPE_BF16 };
    const struct backend *b = new_backend(NULL);
    int failed = 0, compared = 0;
    for (size_t i = 0; i < op_case_count; i++)
        for (enum dtype t = 0; t < DTYPE_COUNT && strchr(op_cases[i].in, 'Q'); t++)
            for (int a = 0; a < 2; a++) {
                if (!dtype_is_quantised(t) && t != DTYPE_F8_E4M3 && t != DTYPE_F8_E5M2)
                    continue;
                struct case_types types = { activations[a], activations[a], false, false, t };
                failed += compare_values(b, &op_cases[i], types);
                compared++;
            }
    backend_cpu_free(b);
    CHECK(!failed && compared >= 7 * 12 * 2, "%d of %d differ", failed, compared);
}

TEST(cpu_can_do_what_is_expected_and_nothing_else)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64 };
    const struct backend *b = new_backend(NULL);
    int failed = 0;
    for (size_t i = 0; i < op_case_count; i++)
        for (size_t t = 0; t < 4; t++)
            for (size_t w = 0; w < 3; w++) {
                const struct op_case *c = &op_cases[i];
                struct case_types ct = { types[t], types[w], false, false, DTYPE_F32 };
                /* only ref computes in f16 and f64; a view never runs */
                if (op_desc(c->op)->view || (types[t] > DTYPE_BF16 && !strchr(c->in, 'T')))
                    continue;
                bool expected = types[t] == DTYPE_F32 || types[t] == DTYPE_BF16 || c->op == OP_CAST ||
                                (c->op == OP_ACCUMULATE && types[t] == DTYPE_F16);
                if (case_can(b, c, ct) != expected) {
                    print_error("%s: cpu says it can%s\n", case_text(c, ct).s, expected ? "not" : "");
                    failed++;
                }
            }
    backend_cpu_free(b);
    CHECK(!failed, "%d surprises", failed);
}

TEST(cpu_gives_what_ref_gives)
{
    const struct backend *b = new_backend(NULL);
    over_all(compare_values, false, true, b);
    backend_cpu_free(b);
}

TEST(gradients_on_cpu_agree_with_ref_in_f64)
{
    const struct backend *b = new_backend(NULL);
    over_all(compare_gradients, true, true, b);
    backend_cpu_free(b);
}

/* Our own kernels for lesser processors; oneDNN keeps to what it chose first. */
TEST(kernels_of_every_kind_of_processor_give_what_ref_gives)
{
    static const char *const kinds[] = { "v2", "v3", "v4", "bf16" };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!backend_cpu_supports(kinds[i]))
            continue;
        const struct backend *b = new_backend(kinds[i]);
        over_all(compare_values, false, false, b);
        over_all(compare_gradients, true, false, b);
        backend_cpu_free(b);
    }
}

TEST(the_same_run_has_the_same_bits)
{
    const struct backend *b = new_backend(NULL);
    for (size_t i = 0; i < op_case_count; i++) {
        struct case_types types = { DTYPE_BF16, DTYPE_F32, true, false, DTYPE_F32 };
        struct err e = { 0 };
        struct case_data d;
        struct case_result one, two;
        REQUIRE(case_data_init(&d, &op_cases[i], types, SEED, &e));
        REQUIRE(case_run(b, &op_cases[i], types, &d, false, &one, &e));
        REQUIRE(case_run(b, &op_cases[i], types, &d, false, &two, &e));
        for (int k = 0; k < OP_MAX_OUT; k++)
            CHECK(!one.v[k] || !memcmp(one.v[k], two.v[k], (size_t)one.count[k] * sizeof *one.v[k]), "%s: output %d",
                  case_text(&op_cases[i], types).s, k);
        case_result_release(&one);
        case_result_release(&two);
        case_data_release(&d);
    }
    backend_cpu_free(b);
}

/* A case's inputs lie outside the arena, so nothing is written over them; a copy may be. */
TEST(a_result_written_over_the_first_input_is_the_same)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16 };
    const struct backend *b = new_backend(NULL);
    for (size_t i = 0; i < op_case_count; i++)
        for (size_t t = 0; t < 2; t++) {
            const struct op_case *c = &op_cases[i];
            struct case_types apart = { types[t], types[t], false, false, DTYPE_F32 }, over = { types[t], types[t], false, true, DTYPE_F32 };
            struct err e = { 0 };
            struct case_data d;
            struct case_result one, two;
            if (!op_desc(c->op)->reuse)
                continue;
            REQUIRE(case_data_init(&d, c, apart, SEED, &e));
            REQUIRE(case_run(b, c, apart, &d, false, &one, &e));
            REQUIRE(case_run(b, c, over, &d, false, &two, &e));
            CHECK(!memcmp(one.v[0], two.v[0], (size_t)one.count[0] * sizeof *one.v[0]), "%s",
                  case_text(c, over).s);
            case_result_release(&one);
            case_result_release(&two);
            case_data_release(&d);
        }
    backend_cpu_free(b);
}
