/* Optimizers against the packages that publish them, and rates against diffusers' schedules (tests/reference/make_optimizers.py). */
#include "train/optimizer.h"

#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/json.h"
#include "base/mem.h"
#include "tensor/dynamic_code.h"
#include "test.h"
#include "train/trainer.h"

enum { WEIGHTS = 4, LARGE = 3, SPARSE = 13 };
static const struct weight_case { const char *name; struct shape shape; bool decay; } weight_cases[WEIGHTS] = {
    { "matrix", { 2, { 24, 40 } }, true }, { "kernel", { 4, { 6, 4, 3, 3 } }, true }, { "bias", { 1, { 24 } }, false },
    { "large", { 2, { 70, 61 } }, true },
};

/* As draw in the script. */
static float draw(int index, int64_t step, int64_t i)
{
    return (float)sin((double)(i + 1) * (index + 1.5) * 0.7 + (double)step * 1.3 + (double)(i % 7) * 2.1);
}

/* Where the script lets number k of weight i begin. */
static float began(enum optimizer_kind kind, size_t i, int64_t k)
{
    return (kind == OPTIMIZER_PRODIGY ? 0x1p-12f : 0.5f) * draw((int)i, 0, k);
}

/* loss = the sum of every weight times what is given: that is then its gradient. */
struct given {
    struct trainer *trainer;
    float *gradient[WEIGHTS];
    int64_t step;
};

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    struct given *t = self;
    const struct train_state *s = trainer_state(t->trainer);
    float scale = index % 5 ? 0.02f : 0.2f;
    for (size_t i = 0; i < WEIGHTS; i++) {
        const float *p = state_tensor(s, STATE_VALUE, i).data;
        for (int64_t k = 0; k < shape_count(weight_cases[i].shape); k++)
            t->gradient[i][k] = p[k] * 0.05f + scale * draw((int)i + 10, index, k);
        if (!program_set_input(program, weight_cases[i].name, t->gradient[i], e))
            return false;
    }
    return true;
}

static bool given_init(struct given *t, const struct backend *backend, const struct train_options *o, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "part", .trained = true, .params = &params };
    struct value loss = VALUE_NONE;
    *t = (struct given){ 0 };
    for (size_t i = 0; i < WEIGHTS; i++) {
        const struct weight_case *w = &weight_cases[i];
        struct value p = net_weight(&net, "", w->name, w->shape, INIT_ONES, 0, w->decay);
        struct value by = op_mul(&g, p, graph_input(&g, w->name, DTYPE_F32, w->shape));
        struct value sum = op_sum_to(&g, op_reshape(&g, by, SHAPE(shape_count(w->shape))), SHAPE(1), DTYPE_F32);
        loss = i ? op_add(&g, loss, sum) : sum;
        t->gradient[i] = mem_zeroed((size_t)shape_count(w->shape), sizeof(float));
    }
    struct trainer_goal goal = { .loss = loss };
    t->trainer = trainer_new(backend, &g, &goal, &params, o, false, 1, e);
    if (!t->trainer)
        return false;
    for (size_t i = 0; i < WEIGHTS; i++) {
        struct tensor p = state_tensor(trainer_state(t->trainer), STATE_VALUE, i);
        for (int64_t k = 0; k < shape_count(p.shape); k++)
            ((float *)p.data)[k] = began(o->optimizer, i, k);
    }
    return true;
}

static void given_release(struct given *t)
{
    trainer_free(t->trainer);
    for (size_t i = 0; i < WEIGHTS; i++)
        mem_free(t->gradient[i]);
}

static struct train_options options(enum optimizer_kind kind)
{
    return (struct train_options){ .steps = 100, .accumulate = 1, .batch = 1, .optimizer = kind, .beta1 = 0.9, .beta2 = 0.99,
                                   .rate = kind == OPTIMIZER_PRODIGY ? 1 : 1e-2, .eps = 1e-8, .decay = 0.05 };
}

/* The largest difference of weight i from what is expected; *beyond counts those above the limit. */
static double difference(const struct given *t, const struct weights *expected, const char *kind, int64_t step, size_t i, double limit,
                         int *beyond)
{
    const struct weight *w = weights_need(expected, path_of("%s.%lld.%s", kind, (long long)step, weight_cases[i].name).s, NULL);
    const float *came = state_tensor(trainer_state(t->trainer), STATE_VALUE, i).data;
    double worst = 0;
    for (int64_t k = 0; k < shape_count(w->shape); k++) {
        double d = fabs((double)came[i == LARGE ? k * SPARSE : k] - dtype_load(w->data, w->type, k));
        worst = d <= worst ? worst : d; /* NaN is the worst */
        *beyond += !(d <= limit);
    }
    return worst;
}

/* A moment of 8 bits that lies at a border between two codes may get either, and the weight is then off by some percent of a step:
 * so many of the 329 numbers that are kept of the large weight may be off, and so far. */
enum { OTHER_CODES = 8 };
static const double other_code = 1e-3;
/* f32 against f32: a step moves a weight by 0.01, forty by up to 0.4. Prodigy's steps all depend on one sum over everything. */
static const double limits[OPTIMIZERS] = {
    [OPTIMIZER_ADAMW] = 1e-6, [OPTIMIZER_ADAMW8BIT] = 1e-6, [OPTIMIZER_LION] = 1e-6, [OPTIMIZER_ADAFACTOR] = 1e-6,
    [OPTIMIZER_PRODIGY] = 2e-6,
};

static void forty_steps(const struct backend *backend, enum optimizer_kind kind, const struct weights *expected, const json_t *facts)
{
    struct err e = { 0 };
    struct train_options o = options(kind);
    struct given t;
    REQUIRE(given_init(&t, backend, &o, &e));
    struct train_task task = { .self = &t, .what = "given gradients", .fill = fill };
    double loss, norm;
    for (int64_t step = 0; step < 40; step++) {
        REQUIRE(trainer_step(t.trainer, &task, &o, step, &loss, &norm, &e));
        for (size_t i = 0; i < WEIGHTS && (step == 0 || step == 4 || step == 39); i++) {
            int beyond = 0;
            double d = difference(&t, expected, optimizer_name((int)kind), step + 1, i, limits[kind], &beyond);
            bool coded = kind == OPTIMIZER_ADAMW8BIT && i == LARGE;
            if (getenv("LIMN_TEST_VERBOSE"))
                print_message("%-10s %-10s step %2lld %-7s off by %.1e, %d beyond\n", backend->name, optimizer_name((int)kind),
                              (long long)step + 1, weight_cases[i].name, d, beyond);
            CHECK(coded ? beyond <= OTHER_CODES && d <= other_code : !beyond, "%s on %s, %s after %lld steps: off by %.2e", optimizer_name((int)kind), backend->name,
                  weight_cases[i].name, (long long)step + 1, d);
        }
    }
    const struct train_state *s = trainer_state(t.trainer);
    if (kind == OPTIMIZER_PRODIGY)
        CHECK_NEAR(s->number[0] / json_number_value(json_object_get(facts, "prodigy_d")), 1, 1e-5, "the estimate");
    if (kind == OPTIMIZER_ADAMW8BIT)
        for (int k = 0; k < 2; k++) {
            const struct weight *codes = weights_need(expected, k ? "adamw8bit.codes2" : "adamw8bit.codes1", NULL);
            const uint8_t *came = state_slot_tensor(s, 2 + k, LARGE).data, *wanted = codes->data;
            int off = 0;
            for (int64_t i = 0; i < shape_count(codes->shape); i++)
                off += abs(came[i] - wanted[i]);
            CHECK(off <= 2, "moment %d: codes differ by %d together", k + 1, off); /* f32 sums near a border between codes */
        }
    given_release(&t);
}

TEST(forty_steps_of_every_optimizer_are_those_of_its_package)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(2, NULL, &e);
    struct weights *expected = weights_open(test_data("expected/optimizers.safetensors"), &e);
    json_t *facts = json_read(test_data("expected/optimizers.json"), &e);
    CHECK(cpu && expected && facts, "%s", e.text);
    for (int kind = 0; kind < OPTIMIZERS; kind++) {
        forty_steps(backend_ref(), (enum optimizer_kind)kind, expected, facts);
        forty_steps(cpu, (enum optimizer_kind)kind, expected, facts);
    }
    backend_cpu_free(cpu);
    weights_free(expected);
    json_decref(facts);
}

TEST(the_numbers_of_8_bit_moments_are_those_of_bitsandbytes)
{
    struct err e = { 0 };
    struct weights *expected = weights_open(test_data("expected/optimizers.safetensors"), &e);
    CHECK(expected, "%s", e.text);
    for (int has_sign = 0; has_sign < 2; has_sign++) {
        struct dynamic_code c;
        dynamic_code_make(&c, has_sign);
        const float *wanted = weights_need(expected, has_sign ? "adamw8bit.signed" : "adamw8bit.unsigned", &e)->data;
        for (int i = 0; i < DYNAMIC_CODES; i++)
            CHECK(c.value[i] == wanted[i], "value %d: came %.9g, wanted %.9g", i, (double)c.value[i], (double)wanted[i]);
        /* the fast search is the slow one: at every border, beside it, and far away */
        for (int i = 0; i < DYNAMIC_CODES - 1; i++)
            for (int beside = -1; beside <= 1; beside++) {
                float x = beside < 0 ? nextafterf(c.border[i], -2) : beside ? nextafterf(c.border[i], 2) : c.border[i];
                int near = 0;
                while (near < DYNAMIC_CODES - 1 && x > c.border[near])
                    near++;
                CHECK(dynamic_code_nearest(&c, x) == near, "%.9g: came %d, wanted %d", (double)x, dynamic_code_nearest(&c, x), near);
            }
        for (int i = 0; i <= 100000; i++) {
            float x = (float)((i - 50000) / 50000.0) * (i % 3 ? 1 : 1e-5f);
            int near = 0;
            while (near < DYNAMIC_CODES - 1 && x > c.border[near])
                near++;
            CHECK(dynamic_code_nearest(&c, x) == near, "%.9g: came %d, wanted %d", (double)x, dynamic_code_nearest(&c, x), near);
        }
    }
    weights_free(expected);
}

TEST(rates_are_those_of_diffusers_schedules)
{
    struct err e = { 0 };
    json_t *facts = json_read(test_data("expected/optimizers.json"), &e), *all = json_object_get(facts, "schedules");
    CHECK(all && json_object_size(all) == RATE_SCHEDULES, "%s", e.text);
    for (int i = 0; i < RATE_SCHEDULES; i++) {
        struct rate_options o = { .schedule = (enum rate_schedule)i, .steps = 110, .warmup = 10, .cycles = 3, .power = 2,
                                  .final = i == RATE_POLYNOMIAL ? 1e-7 / 0.5 : 0 };
        const json_t *rates = json_object_get(all, rate_schedule_names[i]);
        for (int64_t step = 0; step < 110; step++) /* in the warm-up ours is one step ahead: it does not begin with 0 */
            CHECK_NEAR(0.5 * rate_factor(&o, step), json_number_value(json_array_get(rates, (size_t)(step < 10 ? step + 1 : step))),
                       1e-12, "%s, step %lld", rate_schedule_names[i], (long long)step);
    }
    json_decref(facts);
}

TEST(groups_learn_at_their_own_rates_or_stay_as_they_are)
{
    static const struct train_group groups[] = { { "part/ker*", 0 }, { "part/bias", 3e-2 } };
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    CHECK(backend, "%s", e.text);
    for (int kind = 0; kind < OPTIMIZERS; kind++) {
        struct train_options o = options((enum optimizer_kind)kind), plain = o;
        struct given with, without;
        double loss, norm;
        o.groups = groups;
        o.group_count = kind == OPTIMIZER_PRODIGY ? 1 : 2;
        o.decay = plain.decay = 0;
        REQUIRE(given_init(&with, backend, &o, &e) && given_init(&without, backend, &plain, &e));
        struct train_task a = { .self = &with, .what = "", .fill = fill }, b = { .self = &without, .what = "", .fill = fill };
        REQUIRE(trainer_step(with.trainer, &a, &o, 0, &loss, &norm, &e) && trainer_step(without.trainer, &b, &plain, 0, &loss, &norm, &e));
        for (size_t i = 0; i < WEIGHTS; i++) {
            double faster = i == 1 ? 0 : i == 2 && o.group_count == 2 ? 3 : 1;
            const float *x = state_tensor(trainer_state(with.trainer), STATE_VALUE, i).data;
            const float *y = state_tensor(trainer_state(without.trainer), STATE_VALUE, i).data;
            for (int64_t k = 0; k < shape_count(weight_cases[i].shape) && !(kind == OPTIMIZER_PRODIGY && faster == 1); k++) {
                double first = (double)began(o.optimizer, i, k);
                CHECK_NEAR(x[k] - first, faster * (y[k] - first), 1e-6, "%s, %s, %lld", optimizer_name(kind), weight_cases[i].name,
                           (long long)k);
            }
        }
        given_release(&with);
        given_release(&without);
    }
    struct train_options o = options(OPTIMIZER_PRODIGY);
    struct given t;
    double loss, norm;
    o.groups = groups;
    o.group_count = 2;
    REQUIRE(given_init(&t, backend, &o, &e));
    struct train_task task = { .self = &t, .what = "", .fill = fill };
    CHECK_FAILS(trainer_step(t.trainer, &task, &o, 0, &loss, &norm, &e), ERR_ARG, "one rate");
    given_release(&t);
    static const struct train_group nobody = { "text_encoder", 1 };
    o.groups = &nobody;
    o.group_count = 1;
    CHECK_FAILS(given_init(&t, backend, &o, &e), ERR_ARG, "text_encoder");
    given_release(&t);
    backend_cpu_free(backend);
}
