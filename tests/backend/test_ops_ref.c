/* The shape rules and the gradient rules, judged on the reference backend. */
#include "test.h"

#include <stdlib.h>

#include "backend/op_cases.h"
#include "backend/ref/ref.h"
#include "base/random.h"

static const struct case_types f64 = { DTYPE_F64, DTYPE_F64, false, false, DTYPE_F32 };
enum { SEED = 20 };

TEST(every_op_has_a_case_and_every_gradient_is_measured)
{
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        int cases = 0, gradients = 0;
        for (size_t i = 0; i < op_case_count; i++)
            if (op_cases[i].op == (enum op)op) {
                cases++;
                gradients += !op_cases[i].no_gradient;
            }
        CHECK(cases >= 3, "%s has %d cases", op_desc((enum op)op)->name, cases);
        CHECK(!op_desc((enum op)op)->has_gradient || gradients >= 3, "%s has %d cases with a gradient",
              op_desc((enum op)op)->name, gradients);
    }
}

TEST(shapes_and_types_of_results_are_as_the_cases_say)
{
    static const struct case_types all[] = {
        { DTYPE_F32, DTYPE_F32, false, false, DTYPE_F32 }, { DTYPE_BF16, DTYPE_BF16, false, false, DTYPE_F32 }, { DTYPE_BF16, DTYPE_F32, true, false, DTYPE_F32 },
        { DTYPE_F16, DTYPE_BF16, false, false, DTYPE_F32 }, { DTYPE_F64, DTYPE_F64, false, false, DTYPE_F32 },
    };
    for (size_t i = 0; i < op_case_count; i++)
        for (size_t t = 0; t < sizeof all / sizeof *all; t++) {
            struct err e = { 0 };
            struct graph g;
            graph_init(&g);
            struct case_values v = case_build(&op_cases[i], all[t], &g);
            CHECK(graph_ok(&g, &e), "%s: %s", case_text(&op_cases[i], all[t]).s, e.text);
            CHECK(graph_verify(&g, &e), "%s: %s", case_text(&op_cases[i], all[t]).s, e.text);
            for (int k = 0; k < v.n_out; k++) {
                struct shape shape;
                enum dtype type;
                case_expected(&op_cases[i], k, all[t], &shape, &type);
                CHECK(shape_same(graph_shape(&g, v.out[k]), shape) && graph_type(&g, v.out[k]) == type,
                      "%s: output %d is %s %s", case_text(&op_cases[i], all[t]).s, k,
                      dtype_name(graph_type(&g, v.out[k])), shape_text(graph_shape(&g, v.out[k])).s);
            }
            graph_release(&g);
        }
}

TEST(ref_can_and_runs_every_case_in_every_floating_type)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64 };
    int failed = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        /* Half precision keeps 8 (bf16) or 11 bits: half a step of the inputs' and the result's rounding, and sums of
         * what was rounded. f32's own rounding is 6e-8. */
        static const double tolerance[] = { 1e-5, 3e-2, 6e-3, 1e-12 };
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            struct case_types ct = { types[t], types[t], false, false, DTYPE_F32 };
            struct err e = { 0 };
            struct case_data d;
            struct case_result came, wanted;
            CHECK(case_can(backend_ref(), &op_cases[i], ct), "%s", case_text(&op_cases[i], ct).s);
            REQUIRE(case_data_init(&d, &op_cases[i], ct, SEED, &e));
            REQUIRE(case_run(backend_ref(), &op_cases[i], ct, &d, false, &came, &e));
            REQUIRE(case_run(backend_ref(), &op_cases[i], f64, &d, false, &wanted, &e));
            for (int k = 0; k < OP_MAX_OUT; k++)
                if (wanted.v[k])
                    failed += !case_near(case_text(&op_cases[i], ct).s, SEED, k, came.v[k], wanted.v[k],
                                         wanted.count[k], tolerance[t], 1e-6);
            case_result_release(&came);
            case_result_release(&wanted);
            case_data_release(&d);
        }
    }
    CHECK(!failed, "%d arrays differ", failed);
}

/* How far apart f(x + step), f(x - step) are when `values` move along `direction`: central, so the error is step^2. */
static double slope(struct case_loss *l, double *values, const double *direction, int64_t count)
{
    static const double step = 1e-5;
    struct err e = { 0 };
    double above, below;
    double *saved = malloc((size_t)count * sizeof *saved);
    memcpy(saved, values, (size_t)count * sizeof *saved);
    for (int64_t i = 0; i < count; i++)
        values[i] = saved[i] + step * direction[i];
    REQUIRE(case_loss_at(l, &above, &e));
    for (int64_t i = 0; i < count; i++)
        values[i] = saved[i] - step * direction[i];
    REQUIRE(case_loss_at(l, &below, &e));
    memcpy(values, saved, (size_t)count * sizeof *saved);
    free(saved);
    return (above - below) / (2 * step);
}

/* One random direction through all elements (a wrong element anywhere shows), then single elements (to say which). */
static int probe(const struct op_case *c, const char *what, struct case_loss *l, struct case_data *d, int input,
                 const double *gradient)
{
    int64_t count = d->count[input];
    struct random r = random_of(SEED, 2);
    double *direction = calloc((size_t)count, sizeof *direction), along = 0, size = 0;
    int failed = 0;
    for (int64_t i = 0; i < count; i++) {
        direction[i] = (double)random_normal(&r);
        along += direction[i] * gradient[i];
        size += direction[i] * direction[i] * gradient[i] * gradient[i];
    }
    /* Rounding of the loss (1e-16 of the sum of its terms) over the step is the floor; the square of the step times a
     * third derivative is below 1e-8. The worst seen over all cases is 1e-7. */
    double came = slope(l, d->in[input], direction, count), floor = 1e-8 * sqrt((double)d->loss_count);
    if (!(fabs(came - along) <= 1e-6 * sqrt(size) + floor)) {
        print_error("%s, seed %d: input %d along a direction: measured %.9g, the gradient says %.9g\n", what, SEED,
                    input, came, along);
        failed++;
    }
    memset(direction, 0, (size_t)count * sizeof *direction);
    for (int k = 0; k < 6; k++) {
        int64_t i = (int64_t)random_below(&r, (uint64_t)count);
        double largest = 0;
        for (int64_t j = 0; j < count; j++)
            largest = fmax(largest, fabs(gradient[j]));
        direction[i] = 1;
        came = slope(l, d->in[input], direction, count);
        direction[i] = 0;
        if (!(fabs(came - gradient[i]) <= 1e-6 * largest + floor)) {
            print_error("%s, seed %d: input %d [%lld]: measured %.9g, the gradient says %.9g\n", what, SEED, input,
                        (long long)i, came, gradient[i]);
            failed++;
        }
    }
    free(direction);
    return failed;
}

TEST(gradients_agree_with_finite_differences)
{
    int failed = 0, measured = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        const struct op_case *c = &op_cases[i];
        struct err e = { 0 };
        struct case_data d;
        struct case_result gradient;
        if (!op_desc(c->op)->has_gradient || c->no_gradient)
            continue;
        REQUIRE(case_data_init(&d, c, f64, SEED, &e));
        if (!case_run(backend_ref(), c, f64, &d, true, &gradient, &e))
            fail_msg("%s: %s", case_text(c, f64).s, e.text);
        struct case_loss *l = case_loss_new(backend_ref(), c, &d, &e);
        REQUIRE(l);
        for (int k = 0; k < OP_MAX_IN; k++) {
            if (!d.in[k] || d.whole[k])
                continue;
            CHECK(gradient.v[k] && gradient.count[k] == d.count[k] && gradient.type[k] == DTYPE_F64,
                  "%s: input %d has no gradient of its shape in f64", case_text(c, f64).s, k);
            failed += probe(c, case_text(c, f64).s, l, &d, k, gradient.v[k]);
            measured++;
        }
        case_loss_free(l);
        case_result_release(&gradient);
        case_data_release(&d);
    }
    CHECK(!failed, "%d of %d gradients differ", failed, measured);
}
