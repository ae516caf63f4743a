#include "train/trainer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/leftovers.h"
#include "base/mem.h"
#include "graph/passes.h"
#include "train/metrics.h"
#include "train/share.h"

struct trainer {
    const struct backend *backend;
    struct train_state state;
    struct program **gradients;   /* per shape of batches; they run in the room of the first */
    struct value *loss;           /* outputs of them */
    size_t shapes;
    struct optimizer *optimizer;
    struct ranks *ranks;          /* borrowed; NULL: one process */
    struct share *share;          /* NULL: one process */
    bool wants_end, all_end;      /* this process wants the run to stop; one of all did at the last step */
    bool lost;                    /* another process did not answer */
};

static double factor(const struct train_options *o, int64_t step)
{
    struct rate_options rate = { o->schedule, o->steps, o->warmup, o->final_rate, o->cycles, o->power };
    return rate_factor(&rate, step);
}

double train_rate(const struct train_options *o, int64_t step)
{
    return o->rate * factor(o, step);
}

static bool is_of_part(const char *name, const char *part)
{
    size_t length = strlen(part);
    return !strncmp(name, part, length) && name[length] == '/';
}

/* Gradients of one loss for its weights: those of the rival's part, or all others. */
static bool add_gradients(struct graph *g, const struct params *p, const struct trainer_goal *goal, bool rival, enum recompute recompute,
                          struct value *grads, struct err *e)
{
    struct value *wrt = mem_zeroed(p->count, sizeof *wrt), *found = mem_zeroed(p->count, sizeof *found);
    size_t *place = mem_zeroed(p->count, sizeof *place), count = 0;
    bool good = (wrt && found && place) || err_nomem(e, "a gradient");
    for (size_t i = 0; good && i < p->count; i++) {
        if (rival != (goal->rival.id && is_of_part(p->at[i].name, goal->rival_part)))
            continue;
        wrt[count] = graph_find(g, VALUE_WEIGHT, p->at[i].name);
        place[count++] = i;
    }
    good = good && graph_gradient(g, rival ? goal->rival : goal->loss, wrt, count, recompute, found, e);
    for (size_t k = 0; good && k < count; k++)
        grads[place[k]] = found[k];
    mem_free(wrt);
    mem_free(found);
    mem_free(place);
    return good;
}

/* loss -> gradients, added to the arrays "gradient/<name>". */
static struct program *gradient_program(struct trainer *t, struct graph *g, const struct trainer_goal *goal, enum recompute recompute,
                                        struct err *e)
{
    const struct params *p = &t->state.params;
    struct value *grads = mem_zeroed(p->count, sizeof *grads);
    bool good = grads || err_nomem(e, "a gradient");
    graph_output(g, goal->loss);
    if (goal->rival.id)
        graph_output(g, goal->rival); /* before ops are joined: it must stay a value */
    graph_fuse(g, false);
    good = good && add_gradients(g, p, goal, false, recompute, grads, e) &&
           (!goal->rival.id || add_gradients(g, p, goal, true, recompute, grads, e));
    for (size_t i = 0; good && i < p->count; i++) {
        if (!grads[i].id)
            continue; /* its loss does not depend on it: its gradient stays 0 */
        struct path name = path_of("gradient/%s", p->at[i].name);
        op_accumulate(g, graph_weight(g, name.s, DTYPE_F32, p->at[i].shape, true), grads[i]);
    }
    mem_free(grads);
    if (!good) {
        graph_release(g);
        return NULL;
    }
    graph_prune(g);
    graph_hoist(g);
    return program_new(t->backend, g, e);
}

/* What is trained, and its gradients, lie where the state has them. */
static bool bind(const struct train_state *s, struct program *program, struct err *e)
{
    bool good = state_bind(s, STATE_VALUE, program, e);
    for (size_t i = 0; good && i < s->params.count; i++) {
        struct path name = path_of("gradient/%s", s->params.at[i].name);
        struct tensor slot = state_tensor(s, STATE_GRADIENT, i);
        bool kept_there;
        if (graph_find(program_graph(program), VALUE_WEIGHT, name.s).id)
            good = program_bind_weight(program, name.s, &slot, &kept_there, e);
    }
    return good;
}

bool trainer_add(struct trainer *t, struct graph *g, const struct trainer_goal *goal, enum recompute recompute, struct err *e)
{
    size_t n = t->shapes, room = n, loss_room = n;
    struct program **gradients = mem_grow(t->gradients, &room, n + 1, sizeof *gradients);
    t->gradients = gradients ? gradients : t->gradients;
    struct value *loss = gradients ? mem_grow(t->loss, &loss_room, n + 1, sizeof *loss) : NULL;
    t->loss = loss ? loss : t->loss;
    if (!loss) {
        graph_release(g);
        return err_nomem(e, "a trainer");
    }
    if (!(gradients[n] = gradient_program(t, g, goal, recompute, e)))
        return false;
    loss[n] = goal->loss;
    t->shapes++;
    if (n)
        program_share_room(gradients[n], gradients[0]);
    if (!bind(&t->state, gradients[n], e))
        return false;
    share_free(t->share);
    t->share = t->ranks ? share_new(t->ranks, &t->state, t->gradients, t->shapes, e) : NULL;
    return t->share || !t->ranks;
}

struct trainer *trainer_new(const struct backend *backend, struct graph *g, const struct trainer_goal *goal,
                            struct params *params, const struct train_options *o, enum recompute recompute, uint64_t seed, struct err *e)
{
    struct trainer *t = mem_zeroed(1, sizeof *t);
    int processes = ranks_count(o->ranks);
    struct state_options kept = { optimizer_state_plan(o->optimizer), o->groups, o->group_count, o->ema > 0, seed };
    bool even = o->accumulate % processes == 0 ||
                err_set(e, ERR_ARG, "%lld batches per step cannot be shared by %d processes: --accumulate %d takes the step that one process "
                        "takes with it", (long long)o->accumulate, processes, processes);
    if (!even || !t || !graph_ok(g, e) || !state_init(&t->state, params, &kept, e)) {
        if (even && !t)
            err_nomem(e, "a trainer");
        mem_free(t);
        params_release(params);
        graph_release(g);
        return NULL;
    }
    t->backend = backend;
    t->ranks = o->ranks;
    if (trainer_add(t, g, goal, recompute, e) &&
        (t->optimizer = optimizer_new(backend, &t->state, o->optimizer, o->groups, o->group_count, e)))
        return t;
    trainer_free(t);
    return NULL;
}

void trainer_free(struct trainer *t)
{
    if (!t)
        return;
    for (size_t i = t->shapes; i-- > 0;) /* the first is the others' host */
        program_free(t->gradients[i]);
    mem_free(t->gradients);
    mem_free(t->loss);
    share_free(t->share);
    optimizer_free(t->optimizer);
    state_release(&t->state);
    mem_free(t);
}

struct train_state *trainer_state(struct trainer *t)
{
    return &t->state;
}

size_t trainer_programs(const struct trainer *t)
{
    return t->shapes;
}

struct program *trainer_program(struct trainer *t, size_t shape)
{
    return t->gradients[shape];
}

struct train_memory trainer_memory(const struct trainer *t)
{
    struct train_memory m = { .weights = state_weight_bytes(&t->state), .optimizer = state_other_bytes(&t->state) + share_bytes(t->share) };
    for (size_t i = 0; i < t->shapes; i++) {
        struct program_memory one = program_memory(t->gradients[i]);
        m.activations = one.arena > m.activations ? one.arena : m.activations;
        m.packed += one.packed;
    }
    return m;
}

/* The norm of all gradients together, in f64; the order of sums does not depend on threads. */
static double gradient_norm(const struct train_state *s)
{
    enum { BLOCK = 1 << 14 };
    size_t blocks = (s->count + BLOCK - 1) / BLOCK;
    double *part = mem_zeroed(blocks, sizeof *part);
    if (!part)
        return NAN; /* taken as a failed step by the caller */
    const float *g = s->array[STATE_GRADIENT];
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < blocks; b++) {
        double sum = 0;
        size_t end = (b + 1) * BLOCK < s->count ? (b + 1) * BLOCK : s->count;
#pragma omp simd reduction(+ : sum)
        for (size_t i = b * BLOCK; i < end; i++)
            sum += (double)g[i] * g[i];
        part[b] = sum;
    }
    double total = 0;
    for (size_t b = 0; b < blocks; b++)
        total += part[b];
    mem_free(part);
    return sqrt(total);
}

/* This process's batches of a step, and what all of them came to. */
static bool gradients(struct trainer *t, const struct train_task *task, const struct train_options *o, int64_t step, double *sum,
                      struct err *e)
{
    int64_t each = o->accumulate / ranks_count(o->ranks), first = step * o->accumulate + each * ranks_mine(o->ranks);
    memset(t->state.array[STATE_GRADIENT], 0, t->state.count * sizeof(float));
    *sum = 0;
    for (int64_t i = 0; i < each; i++) {
        bool shares = t->share && i + 1 == each;
        size_t shape = task->shape ? task->shape(task->self, first + i) : 0;
        struct program *program = t->gradients[shape];
        if (!task->fill(task->self, first + i, program, e))
            return false;
        if (!(shares ? share_run(t->share, shape, e) : program_run(program, e))) {
            t->lost = shares;
            return false;
        }
        *sum += *(const float *)program_output(program, t->loss[shape]);
    }
    return true;
}

/* The sum of a number over all processes, in their order, and whether any wants to end. */
static bool agree(struct trainer *t, struct ranks *ranks, double *sum, struct err *e)
{
    int n = ranks_count(ranks);
    double mine[2] = { *sum, t->wants_end }, *all = mem_zeroed((size_t)n, sizeof mine);
    t->lost = !all || !ranks_gather(ranks, mine, 2, all, e);
    t->all_end = false;
    *sum = 0;
    for (int i = 0; !t->lost && i < n; i++) {
        *sum += all[2 * i];
        t->all_end |= all[2 * i + 1] != 0;
    }
    bool good = all ? !t->lost : err_nomem(e, "messages");
    mem_free(all);
    return good;
}

bool trainer_step(struct trainer *t, const struct train_task *task, const struct train_options *o, int64_t step,
                  double *loss, double *norm, struct err *e)
{
    double sum;
    if (!gradients(t, task, o, step, &sum, e) || !agree(t, o->ranks, &sum, e))
        return err_add(e, "in step %lld of the training", (long long)step);
    *loss = sum / (double)o->accumulate;
    *norm = gradient_norm(&t->state) / (double)o->accumulate;
    if (!isfinite(*loss) || !isfinite(*norm))
        return err_set(e, ERR_FORMAT, "the loss is %g and the gradient's norm %g at step %lld: the training has blown up; "
                       "a lower rate or a longer warm-up may help", *loss, *norm, (long long)step);
    double clip = o->clip > 0 && *norm > o->clip ? o->clip / *norm : 1, n = (double)step + 1;
    double ema = (1 + n) / (10 + n);
    struct optimizer_step with = {
        .step = step, .factor = factor(o, step), .rate = o->rate, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps,
        .decay = o->decay, .grad_scale = clip / (double)o->accumulate, .ema_decay = ema < o->ema ? ema : o->ema,
    };
    return optimizer_step(t->optimizer, &with, e);
}

/* The losses of all held-out batches, of which each process measures some. */
static bool measure(struct trainer *t, const struct train_task *task, struct ranks *ranks, double *losses, struct err *e)
{
    for (int64_t i = ranks_mine(ranks); i < task->held_out; i += ranks_count(ranks)) {
        size_t shape = task->held_out_shape ? task->held_out_shape(task->self, i) : 0;
        struct program *program = t->gradients[shape];
        if (!task->fill_held_out(task->self, i, program, e) || !program_run_until(program, t->loss[shape], e))
            return err_add(e, "measuring the loss on what is held out");
        losses[i] = (double)*(const float *)program_output(program, t->loss[shape]);
    }
    return true;
}

static bool bind_all(struct trainer *t, enum state_kind kind, struct err *e)
{
    bool good = true;
    for (size_t i = 0; good && i < t->shapes; i++)
        good = state_bind(&t->state, kind, t->gradients[i], e);
    return good;
}

bool trainer_validate(struct trainer *t, const struct train_task *task, struct ranks *ranks, double *loss, struct err *e)
{
    size_t n = (size_t)task->held_out, processes = (size_t)ranks_count(ranks);
    double *mine = mem_zeroed(n, sizeof *mine), *all = mem_zeroed(n * processes, sizeof *all), sum = 0;
    bool good = (mine && all) || err_nomem(e, "the losses of held-out batches");
    good = good && bind_all(t, STATE_EMA, e) && measure(t, task, ranks, mine, e);
    good = bind_all(t, STATE_VALUE, e) && good;
    if (good) {
        t->lost = !ranks_gather(ranks, mine, (int)n, all, e);
        good = !t->lost;
    }
    for (size_t i = 0; good && i < n; i++) /* of batch i by the process that measured it */
        sum += all[i % processes * n + i];
    *loss = sum / (double)n;
    mem_free(mine);
    mem_free(all);
    return good;
}

/* Where a run stands. */
struct run {
    struct trainer *t;
    const struct train_task *task;
    const struct train_options *o;
    const struct progress *progress;
    char checkpoint[PATH_MAX_BYTES], samples[PATH_MAX_BYTES];
    struct metrics metrics;
    int64_t step;           /* done so far */
    double loss_sum, norm_sum;
    int64_t logged;         /* steps in the sums */
    double began, log_began, earlier; /* seconds: this process's start, the last log, before this process */
    double best;            /* the lowest loss on what is held out; infinite: none measured */
    int64_t best_step, waited; /* when; validations since */
};

static bool export(struct run *r, const char *name, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    return !r->task->export || (path_join(folder, r->o->folder, name, e) && r->task->export(r->task->self, &r->t->state, folder, e));
}

/* Number 0 of a run's processes writes its files. */
static bool writes(const struct run *r)
{
    return ranks_mine(r->o->ranks) == 0;
}

static bool save_state(struct run *r, struct err *e)
{
    const struct { const char *key; double value; } numbers[] = {
        { "step", (double)r->step }, { "seconds", r->earlier + clock_seconds() - r->began }, { "best", r->best },
        { "best_step", (double)r->best_step }, { "waited", (double)r->waited },
    };
    enum { NUMBERS = sizeof numbers / sizeof *numbers };
    char text[NUMBERS][32];
    struct weights_pair facts[NUMBERS + 1] = { { "optimizer", optimizer_name((int)r->o->optimizer) } };
    size_t count = 1;
    for (size_t i = 0; i < NUMBERS; i++)
        if (isfinite(numbers[i].value)) {
            snprintf(text[i], sizeof text[i], "%.17g", numbers[i].value);
            facts[count++] = (struct weights_pair){ numbers[i].key, text[i] };
        }
    return state_save(&r->t->state, r->checkpoint, facts, count, e);
}

static bool save(struct run *r, struct err *e)
{
    return !writes(r) || (save_state(r, e) && metrics_plot(&r->metrics, e) && export(r, "model", e));
}

/* A number in a checkpoint's facts, in [0, max]. */
static bool fact(const struct weights *file, const char *key, double max, double *out, struct err *e)
{
    const char *text = weights_metadata(file, key);
    char *end = NULL;
    *out = text ? strtod(text, &end) : NAN;
    if (!text || *end || !(*out >= 0 && *out <= max))
        return err_set(e, ERR_FORMAT, "%s has no fact \"%s\" that makes sense: not a checkpoint of ours",
                       weights_path(file), key);
    return true;
}

static bool check_optimizer(const struct run *r, const struct weights *file, struct err *e)
{
    const char *came = weights_metadata(file, "optimizer"), *mine = optimizer_name((int)r->o->optimizer);
    if (!came || !strcmp(came, mine)) /* before there was another it was not said */
        return true;
    return err_set(e, ERR_ARG, "%s was trained with %.40s, not with %s: its state does not fit; give --optimizer %.40s", r->checkpoint,
                   came, mine, came);
}

/* What was best so far, if anything was measured. */
static bool load_best(struct run *r, const struct weights *file, struct err *e)
{
    double step = 0, waited = 0;
    if (!weights_metadata(file, "best"))
        return true;
    if (!fact(file, "best", DBL_MAX, &r->best, e) || !fact(file, "best_step", 1e15, &step, e) || !fact(file, "waited", 1e15, &waited, e))
        return false;
    r->best_step = (int64_t)step;
    r->waited = (int64_t)waited;
    return true;
}

static bool load(struct run *r, struct err *e)
{
    struct weights *file = weights_open(r->checkpoint, e);
    double step = 0;
    bool good = file && check_optimizer(r, file, e) && fact(file, "step", 1e15, &step, e) &&
                fact(file, "seconds", 1e12, &r->earlier, e) && load_best(r, file, e) && state_load(&r->t->state, file, e);
    r->step = (int64_t)step;
    weights_free(file);
    return good;
}

static bool begin(struct run *r, struct err *e)
{
    const struct train_options *o = r->o;
    r->best = INFINITY;
    if (o->patience && !r->task->fill_held_out)
        return err_set(e, ERR_ARG, "nothing is held out, so nobody can tell when to stop: --patience needs held-out pictures");
    if (!writes(r))
        return true;
    if (!path_join(r->checkpoint, o->folder, "checkpoint.safetensors", e) || !path_join(r->samples, o->folder, "samples", e) ||
        !folder_make(r->samples, e))
        return false;
    leftovers_remove(o->folder);
    bool there = path_exists(r->checkpoint);
    if (there && !o->resume)
        return err_set(e, ERR_ARG, "%s holds a run already: give --resume to go on with it, or another folder",
                       o->folder);
    if (there && !load(r, e))
        return false;
    r->began = r->log_began = clock_seconds();
    return metrics_open(&r->metrics, o->folder, r->step, r->earlier, e);
}

/* All processes begin where number 0 does. */
static bool begin_together(struct run *r, struct err *e)
{
    double at[] = { (double)r->step, r->earlier, r->best, (double)r->best_step, (double)r->waited };
    if (!ranks_broadcast(r->o->ranks, at, sizeof at, e) || !share_state(r->o->ranks, &r->t->state, e))
        return false;
    r->step = (int64_t)at[0];
    r->earlier = at[1];
    r->best = at[2];
    r->best_step = (int64_t)at[3];
    r->waited = (int64_t)at[4];
    if (!writes(r))
        r->began = r->log_began = clock_seconds();
    return true;
}

static bool log_step(struct run *r, double rate, double held_out, json_t *more, struct err *e)
{
    double now = clock_seconds(), pictures = (double)(r->logged * r->o->accumulate * r->o->batch);
    struct metric m = { .step = r->step, .loss = r->loss_sum / (double)r->logged, .rate = rate,
                        .grad_norm = r->norm_sum / (double)r->logged, .seconds = r->earlier + now - r->began,
                        .pictures_per_second = pictures / (now - r->log_began), .held_out = held_out };
    r->loss_sum = r->norm_sum = 0;
    r->logged = 0;
    r->log_began = now;
    return metrics_add(&r->metrics, &m, more, e);
}

static bool look(struct run *r, json_t *metrics, struct err *e)
{
    char png[PATH_MAX_BYTES];
    return path_join(png, r->samples, path_of("step-%08lld.png", (long long)r->step).s, e) &&
           r->task->sample(r->task->self, &r->t->state, r->step, png, metrics, e);
}

/* Measures on what is held out; a new best is kept. */
static bool validate(struct run *r, double *held_out, struct err *e)
{
    if (!trainer_validate(r->t, r->task, r->o->ranks, held_out, e))
        return false;
    r->waited++;
    if (!(*held_out < r->best)) /* NaN is none */
        return true;
    r->best = *held_out;
    r->best_step = r->step;
    r->waited = 0;
    return !writes(r) || export(r, "best", e);
}

static bool due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

/* No new best for so long that the run is over. */
static bool is_over(const struct run *r)
{
    return r->o->patience > 0 && r->waited >= r->o->patience;
}

static bool one_step(struct run *r, bool last, struct err *e)
{
    double loss, norm, held_out = NAN;
    if (!trainer_step(r->t, r->task, r->o, r->step, &loss, &norm, e))
        return false;
    double rate = train_rate(r->o, r->step);
    r->step++;
    r->loss_sum += loss;
    r->norm_sum += norm;
    r->logged++;
    bool validates = r->task->fill_held_out && r->task->held_out > 0 && (last || due(r->o->validate_every, r->step));
    if (validates && !validate(r, &held_out, e))
        return false;
    last |= is_over(r);
    if (!writes(r))
        return true;
    bool logs = last || due(r->o->log_every, r->step), looks = r->task->sample && (last || due(r->o->sample_every, r->step));
    json_t *more = looks ? json_object() : NULL;
    bool good = (!looks || look(r, more, e)) && (!(logs || looks || validates) || log_step(r, rate, held_out, more, e));
    json_decref(more);
    if (good && due(r->o->keep_every, r->step))
        good = export(r, path_of("kept/step-%08lld", (long long)r->step).s, e);
    if (!good || !(last || due(r->o->save_every, r->step)))
        return good;
    return save(r, e);
}

static void tell_profile(const struct trainer *t, const struct progress *progress)
{
    struct text table;
    text_init(&table, 1 << 14);
    for (size_t i = 0; i < t->shapes; i++)
        program_profile_text(t->gradients[i], &table);
    optimizer_profile_text(t->optimizer, &table);
    progress_line(progress, "%s", text_string(&table));
    text_release(&table);
}

static void tell(const struct run *r)
{
    const struct metric *m = metrics_last(&r->metrics);
    char note[120], held_out[60] = "";
    if (isfinite(r->best))
        snprintf(held_out, sizeof held_out, "  held-out %.4f best, step %lld", r->best, (long long)r->best_step);
    snprintf(note, sizeof note, "loss %.4f%s  %.*f pictures/s", m ? m->loss : 0, held_out, m && m->pictures_per_second < 10 ? 2 : 0,
             m ? m->pictures_per_second : 0);
    progress_step(r->progress, r->task->what, (long)r->step, (long)r->o->steps, note);
}

bool trainer_run(struct trainer *t, const struct train_task *task, const struct train_options *o,
                 const struct progress *progress, struct err *e)
{
    struct run r = { .t = t, .task = task, .o = o, .progress = progress };
    t->wants_end = t->lost = false;
    bool good = begin(&r, e) && begin_together(&r, e), stopped = false;
    while (good && r.step < o->steps && !stopped && !is_over(&r)) {
        good = one_step(&r, r.step + 1 == o->steps, e);
        if (!good)
            break;
        if (writes(&r))
            tell(&r);
        t->wants_end = stop_requested() || (o->minutes > 0 && clock_seconds() - r.began > 60 * o->minutes);
        stopped = (o->ranks ? t->all_end : t->wants_end) || (o->stop_at && r.step >= o->stop_at);
    }
    if (!good && t->lost && writes(&r)) { /* the weights are those of the last whole step */
        struct err saving = { 0 };
        if (save_state(&r, &saving))
            err_add(e, "saved at step %lld of %lld: start it again with --resume", (long long)r.step, (long long)o->steps);
        else
            err_add(e, "%s", saving.text);
    }
    if (good && is_over(&r)) {
        progress_line(progress, "over at step %lld of %lld: %lld validations in a row found nothing better than step %lld",
                      (long long)r.step, (long long)o->steps, (long long)r.waited, (long long)r.best_step);
    } else if (good && stopped && r.step < o->steps) {
        good = save(&r, e);
        if (good)
            progress_line(progress, "saved at step %lld of %lld; go on with --resume", (long long)r.step,
                          (long long)o->steps);
        good = good && stop_check(e);
    }
    if (good && o->profile)
        tell_profile(t, progress);
    metrics_close(&r.metrics);
    return good;
}
