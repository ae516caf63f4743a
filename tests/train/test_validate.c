/* The loss on what is held out: what it is, what it leaves alone, and what a run does by it. */
#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "test.h"
#include "train/trainer.h"

enum { STEPS_MOST = 40 };

/* loss = the mean of (w x + y): training with x = 1 makes w smaller by the rate in each step, the held-out loss follows `way`. */
struct lonely {
    float x[1], y[1];
    double way;           /* held-out loss: way w, and what is added */
    int64_t turn;         /* step behind which it gets worse; 0: never */
    int64_t step, best_at[STEPS_MOST];
    int best_count, kept_count;
};

static bool give(struct lonely *t, float x, float y, struct program *program, struct err *e)
{
    t->x[0] = x;
    t->y[0] = y;
    return program_set_input(program, "x", t->x, e) && program_set_input(program, "y", t->y, e);
}

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    struct lonely *t = self;
    t->step = index + 1;
    return give(t, 1, 0, program, e);
}

static bool fill_held_out(void *self, int64_t index, struct program *program, struct err *e)
{
    struct lonely *t = self;
    double late = t->turn && t->step > t->turn ? 0.5 * (double)(t->step - t->turn) : 0;
    return give(t, (float)t->way, (float)(late + 0.25 * (double)index), program, e);
}

static bool export(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    struct lonely *t = self;
    if (!strcmp(path_name(folder), "best"))
        t->best_at[t->best_count++] = t->step;
    t->kept_count += strstr(folder, "/kept/step-0000") != NULL;
    return true;
}

static struct trainer *make(const struct backend *backend, const struct train_options *o)
{
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "line", .trained = true, .params = &params };
    struct value x = graph_input(&g, "x", DTYPE_F32, SHAPE(1)), y = graph_input(&g, "y", DTYPE_F32, SHAPE(1));
    struct value w = net_weight(&net, "", "w", SHAPE(1), INIT_ONES, 0, false);
    struct trainer_goal goal = { .loss = op_add(&g, op_mul(&g, w, x), y) };
    struct trainer *t = trainer_new(backend, &g, &goal, &params, o, false, 1, &e);
    CHECK(t, "%s", e.text);
    return t;
}

static struct train_options options(const char *folder)
{
    return (struct train_options){ .folder = folder, .steps = 20, .accumulate = 1, .batch = 1, .rate = 0.125, .beta1 = 0.5, .beta2 = 0.5,
                                   .log_every = 5, .save_every = 4, .validate_every = 2, .resume = true };
}

static struct train_task task_of(struct lonely *t)
{
    return (struct train_task){ .self = t, .what = "a line", .fill = fill, .export = export, .fill_held_out = fill_held_out, .held_out = 2 };
}

/* The held-out losses of metrics.jsonl by step, NAN where there is none. */
static int read_losses(const char *folder, double *out)
{
    struct err e = { 0 };
    struct path path = path_of("%s/metrics.jsonl", folder);
    FILE *f = fopen(path.s, "r");
    CHECK(f, "%s", path.s);
    char line[1000];
    int count = 0;
    for (int i = 0; i < STEPS_MOST; i++)
        out[i] = NAN;
    while (fgets(line, sizeof line, f)) {
        json_t *j = json_parse(line, strlen(line), "metrics", &e);
        CHECK(j, "%s", e.text);
        if (json_object_get(j, "held_out"))
            out[json_integer_value(json_object_get(j, "step"))] = json_number_value(json_object_get(j, "held_out"));
        count++;
        json_decref(j);
    }
    fclose(f);
    return count;
}

TEST(a_validation_is_the_mean_loss_and_changes_nothing)
{
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    struct train_options o = options("");
    o.ema = 0.5;
    struct lonely line = { .way = 3 };
    struct train_task task = task_of(&line);
    struct trainer *t = make(backend, &o);
    double loss, norm, held_out;
    REQUIRE(trainer_step(t, &task, &o, 0, &loss, &norm, &e) && trainer_step(t, &task, &o, 1, &loss, &norm, &e));
    const struct train_state *s = trainer_state(t);
    float value = s->array[STATE_VALUE][0], mean = s->array[STATE_EMA][0], gradient = s->array[STATE_GRADIENT][0];
    CHECK(value != mean, "%g", (double)value);
    REQUIRE(trainer_validate(t, &task, NULL, &held_out, &e));
    CHECK_NEAR(held_out, 3 * mean + 0.125, 1e-6, "of the running mean");
    CHECK(s->array[STATE_VALUE][0] == value && s->array[STATE_EMA][0] == mean && s->array[STATE_GRADIENT][0] == gradient, "%s",
          "state");
    REQUIRE(trainer_step(t, &task, &o, 2, &loss, &norm, &e)); /* the weights are back */
    CHECK_NEAR(loss, value, 1e-6, "loss");
    trainer_free(t);
    backend_cpu_free(backend);
}

TEST(the_best_is_kept_and_a_run_that_finds_nothing_better_is_over)
{
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", test_scratch("patience"));
    struct train_options o = options(folder);
    o.patience = 3;
    o.keep_every = 5;
    struct lonely line = { .way = 1, .turn = 6 };
    struct train_task task = task_of(&line);
    struct trainer *t = make(backend, &o);
    REQUIRE(trainer_run(t, &task, &o, NULL, &e));
    double losses[STEPS_MOST];
    read_losses(folder, losses);
    /* w falls by 1/8 a step; measured after 2, 4, 6 it is better each time, after 8, 10, 12 worse: over at 12 */
    CHECK(line.best_count == 3 && line.best_at[2] == 6, "%d best, the last at %lld", line.best_count, (long long)line.best_at[2]);
    CHECK_NEAR(losses[6], 1 - 6 / 8.0 + 0.125, 1e-6, "held-out loss");
    CHECK(!isnan(losses[12]) && isnan(losses[14]), "%g and %g", losses[12], losses[14]);
    CHECK(line.kept_count == 2, "%d kept", line.kept_count);
    REQUIRE(trainer_run(t, &task, &o, NULL, &e)); /* and stays so */
    CHECK(line.step == 12, "step %lld", (long long)line.step);
    trainer_free(t);
    task.fill_held_out = NULL;
    t = make(backend, &o);
    CHECK_FAILS(trainer_run(t, &task, &o, NULL, &e), ERR_ARG, "--patience");
    trainer_free(t);
    backend_cpu_free(backend);
}

TEST(a_resumed_run_remembers_its_best)
{
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    double losses[2][STEPS_MOST];
    int lines[2];
    for (int broken = 0; broken < 2; broken++) {
        char folder[PATH_MAX_BYTES];
        snprintf(folder, sizeof folder, "%s", test_scratch(broken ? "remembers-broken" : "remembers"));
        struct train_options o = options(folder);
        o.patience = 4;
        struct lonely line = { .way = 1, .turn = 6 };
        struct train_task task = task_of(&line);
        for (int64_t stop = broken ? 3 : 0; stop < 20; stop = stop ? stop + 3 : 20) {
            struct trainer *t = make(backend, &o);
            o.stop_at = stop;
            REQUIRE(trainer_run(t, &task, &o, NULL, &e));
            trainer_free(t);
        }
        CHECK(line.best_count == 3 && line.step == 14, "%d best, over at %lld", line.best_count, (long long)line.step);
        lines[broken] = read_losses(folder, losses[broken]);
    }
    CHECK(lines[0] == lines[1], "%d and %d lines", lines[0], lines[1]);
    for (int i = 0; i < STEPS_MOST; i++)
        CHECK(isnan(losses[0][i]) ? isnan(losses[1][i]) : losses[0][i] == losses[1][i], "step %d: %g and %g", i, losses[0][i],
              losses[1][i]);
    backend_cpu_free(backend);
}
