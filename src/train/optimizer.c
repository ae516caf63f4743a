#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "graph/passes.h"

enum { SMALL = 4096 };      /* adamw8bit: weights of fewer elements keep moments in f32 */
enum { CLASS_PLAIN, CLASS_CODED };    /* of adamw8bit */
enum { CLASS_FACTORED, CLASS_WHOLE }; /* of adafactor */
enum { DISTANCE, LARGEST_DISTANCE, NUMERATOR }; /* prodigy's numbers */
enum { SUM = 2, START = 3 };                    /* its slots behind the moments */
static const double first_distance = 1e-6;

/* One stretch as values of the graph that is being built. */
struct stretch_values {
    struct graph *g;
    struct value p, ema, gradient, step, slot[STATE_SLOTS_MAX];
    double decay;
    int class;
};

static struct value add_adamw(const struct stretch_values *v)
{
    return op_adamw(v->g, v->p, v->slot[0], v->slot[1], v->gradient, v->step, v->decay);
}

static struct value add_adamw8bit(const struct stretch_values *v)
{
    return v->class == CLASS_PLAIN ? add_adamw(v)
                                   : op_adamw8(v->g, v->p, v->slot[2], v->slot[3], v->slot[4], v->slot[5], v->gradient, v->step,
                                               v->decay);
}

static struct value add_lion(const struct stretch_values *v)
{
    return op_lion(v->g, v->p, v->slot[0], v->gradient, v->step, v->decay);
}

static struct value add_adafactor(const struct stretch_values *v)
{
    return v->class == CLASS_WHOLE ? op_adafactor_whole(v->g, v->p, v->slot[2], v->gradient, v->step, v->decay)
                                   : op_adafactor(v->g, v->p, v->slot[0], v->slot[1], v->gradient, v->step, v->decay);
}

static struct value measure_prodigy(const struct stretch_values *v)
{
    return op_prodigy_measure(v->g, v->slot[0], v->slot[1], v->slot[SUM], v->p, v->slot[START], v->gradient, v->step);
}

static struct value add_prodigy(const struct stretch_values *v)
{
    return op_prodigy(v->g, v->p, v->slot[0], v->slot[1], v->step, v->decay);
}

static int class_by_size(const struct param *p)
{
    return shape_count(p->shape) < SMALL ? CLASS_PLAIN : CLASS_CODED;
}

static int class_by_rank(const struct param *p)
{
    return p->shape.rank < 2 ? CLASS_WHOLE : CLASS_FACTORED;
}

static const struct optimizer_desc {
    const char *name;
    /* Gives p's new value. */
    struct value (*add)(const struct stretch_values *v);
    /* A first program, whose two numbers for each stretch are wanted before the step; NULL: none. */
    struct value (*measure)(const struct stretch_values *v);
    struct state_plan plan;
} table[OPTIMIZERS] = {
    [OPTIMIZER_ADAMW] = { "adamw", add_adamw, NULL,
                          { .slot = { { "moment1", DTYPE_F32, SLOT_ELEMENT, 1 }, { "moment2", DTYPE_F32, SLOT_ELEMENT, 1 } } } },
    [OPTIMIZER_ADAMW8BIT] = { "adamw8bit", add_adamw8bit, NULL,
                              { .class_of = class_by_size, .blocks = 1 << CLASS_CODED,
                                .slot = { { "moment1", DTYPE_F32, SLOT_ELEMENT, 1 << CLASS_PLAIN },
                                          { "moment2", DTYPE_F32, SLOT_ELEMENT, 1 << CLASS_PLAIN },
                                          { "moment1", DTYPE_U8, SLOT_ELEMENT, 1 << CLASS_CODED },
                                          { "moment2", DTYPE_U8, SLOT_ELEMENT, 1 << CLASS_CODED },
                                          { "scale1", DTYPE_F32, SLOT_BLOCK, 1 << CLASS_CODED },
                                          { "scale2", DTYPE_F32, SLOT_BLOCK, 1 << CLASS_CODED } } } },
    [OPTIMIZER_LION] = { "lion", add_lion, NULL, { .slot = { { "moment1", DTYPE_F32, SLOT_ELEMENT, 1 } } } },
    [OPTIMIZER_ADAFACTOR] = { "adafactor", add_adafactor, NULL,
                              { .class_of = class_by_rank, .apart = 1 << CLASS_FACTORED | 1 << CLASS_WHOLE,
                                .slot = { { "rows", DTYPE_F32, SLOT_ROW, 1 << CLASS_FACTORED },
                                          { "columns", DTYPE_F32, SLOT_COLUMN, 1 << CLASS_FACTORED },
                                          { "moment2", DTYPE_F32, SLOT_ELEMENT, 1 << CLASS_WHOLE } } } },
    [OPTIMIZER_PRODIGY] = { "prodigy", add_prodigy, measure_prodigy,
                            { .slot = { { "moment1", DTYPE_F32, SLOT_ELEMENT, 1 }, { "moment2", DTYPE_F32, SLOT_ELEMENT, 1 },
                                        { "sum", DTYPE_F32, SLOT_ELEMENT, 1 }, { "start", DTYPE_F32, SLOT_ELEMENT, 1 } } } },
};

const char *optimizer_name(int kind)
{
    return kind >= 0 && kind < OPTIMIZERS ? table[kind].name : NULL;
}

const struct state_plan *optimizer_state_plan(enum optimizer_kind kind)
{
    return &table[kind].plan;
}

struct optimizer {
    const struct optimizer_desc *desc;
    enum optimizer_kind kind;
    struct train_state *state;
    const struct train_group *groups;
    size_t group_count;
    struct program *measure, *update;
    struct value *measured;            /* per stretch: outputs of measure */
    float (*step)[STEP_COUNT];         /* per group: inputs of both */
};

static bool is_frozen(const struct optimizer *o, const struct state_stretch *s)
{
    return s->group && o->groups[s->group - 1].rate == 0;
}

struct stretch_name {
    char s[40];
};

static struct stretch_name stretch_name(const char *what, size_t number)
{
    struct stretch_name n;
    snprintf(n.s, sizeof n.s, "%s/%zu", what, number);
    return n;
}

/* Calls `one` for each array of a stretch, with what it is called in the graphs: slot is its number, or kind - STATE_KINDS. */
static bool each_array(const struct optimizer *o, size_t index,
                       bool (*one)(void *self, const char *name, int slot, struct tensor t, struct err *e), void *self, struct err *e)
{
    static const char *const kinds[STATE_KINDS] = { "value", "ema", "gradient" };
    static const char *const slots[STATE_SLOTS_MAX] = { "slot0", "slot1", "slot2", "slot3", "slot4", "slot5" };
    const struct train_state *s = o->state;
    const struct state_stretch *stretch = &s->stretch[index];
    for (int k = 0; k < STATE_KINDS; k++) {
        struct shape shape = stretch->apart ? s->params.at[s->order[stretch->first]].shape
                                            : SHAPE((int64_t)(stretch->end - stretch->begin));
        if (!one(self, stretch_name(kinds[k], index).s, k - STATE_KINDS, (struct tensor){ DTYPE_F32, shape, s->array[k] + stretch->begin }, e))
            return false;
    }
    for (int k = 0; k < s->slots; k++) {
        struct tensor t = state_slot_stretch(s, k, stretch);
        if (t.data && !one(self, stretch_name(slots[k], index).s, k, t, e))
            return false;
    }
    return true;
}

static bool declare(void *self, const char *name, int slot, struct tensor t, struct err *e)
{
    struct stretch_values *v = self;
    struct value *of_kind[STATE_KINDS] = { [STATE_VALUE] = &v->p, [STATE_EMA] = &v->ema, [STATE_GRADIENT] = &v->gradient };
    *(slot < 0 ? of_kind[slot + STATE_KINDS] : &v->slot[slot]) = graph_weight(v->g, name, t.type, t.shape, true);
    return true;
}

static bool bind(void *self, const char *name, int slot, struct tensor t, struct err *e)
{
    struct program *p = self;
    bool kept;
    return !graph_find(program_graph(p), VALUE_WEIGHT, name).id || program_bind_weight(p, name, &t, &kept, e);
}

/* The step of every stretch, or what is measured before it. */
static struct program *make_program(struct optimizer *o, const struct backend *backend, bool measures, struct err *e)
{
    const struct train_state *s = o->state;
    struct graph g;
    graph_init(&g);
    for (size_t i = 0; i < s->stretches; i++) {
        const struct state_stretch *stretch = &s->stretch[i];
        struct stretch_values v = { .g = &g, .class = stretch->class, .decay = stretch->decay };
        if (is_frozen(o, stretch))
            continue;
        if (!each_array(o, i, declare, &v, e)) {
            graph_release(&g);
            return NULL;
        }
        v.step = graph_input(&g, stretch_name("step", (size_t)stretch->group).s, DTYPE_F32, SHAPE(STEP_COUNT));
        if (measures) {
            o->measured[i] = o->desc->measure(&v);
            graph_output(&g, o->measured[i]);
            continue;
        }
        struct value p = o->desc->add(&v);
        if (s->ema)
            op_ema(&g, v.ema, p, v.step);
    }
    graph_prune(&g);
    struct program *program = program_new(backend, &g, e);
    bool good = program != NULL;
    for (size_t i = 0; good && i < s->stretches; i++)
        good = each_array(o, i, bind, program, e);
    for (size_t i = 0; good && i <= o->group_count; i++)
        if (graph_find(program_graph(program), VALUE_INPUT, stretch_name("step", i).s).id)
            good = program_set_input(program, stretch_name("step", i).s, o->step[i], e);
    if (good)
        return program;
    program_free(program);
    return NULL;
}

struct optimizer *optimizer_new(const struct backend *backend, struct train_state *state, enum optimizer_kind kind,
                                const struct train_group *groups, size_t group_count, struct err *e)
{
    struct optimizer *o = mem_zeroed(1, sizeof *o);
    if (!o) {
        err_nomem(e, "an optimizer");
        return NULL;
    }
    *o = (struct optimizer){ .desc = &table[kind], .kind = kind, .state = state, .groups = groups, .group_count = group_count };
    o->step = mem_zeroed(group_count + 1, sizeof *o->step);
    o->measured = mem_zeroed(state->stretches, sizeof *o->measured);
    bool good = (o->step && o->measured) || err_nomem(e, "an optimizer");
    good = good && (!o->desc->measure || (o->measure = make_program(o, backend, true, e))) &&
           (o->update = make_program(o, backend, false, e));
    if (!good) {
        optimizer_free(o);
        return NULL;
    }
    return o;
}

void optimizer_free(struct optimizer *o)
{
    if (!o)
        return;
    program_free(o->measure);
    program_free(o->update);
    mem_free(o->measured);
    mem_free(o->step);
    mem_free(o);
}

static double group_rate(const struct optimizer *o, const struct optimizer_step *with, size_t group)
{
    return (group ? o->groups[group - 1].rate : with->rate) * with->factor;
}

/* The numbers that all optimizers read, and adafactor's own beta2 (Shazeer and Stern 2018, section 7.2). */
static void give_numbers(struct optimizer *o, const struct optimizer_step *with)
{
    double n = (double)with->step + 1;
    for (size_t i = 0; i <= o->group_count; i++) {
        float *step = o->step[i];
        step[STEP_RATE] = (float)group_rate(o, with, i);
        step[STEP_BETA1] = (float)with->beta1;
        step[STEP_BETA2] = (float)(o->kind == OPTIMIZER_ADAFACTOR ? 1 - pow(n, -0.8) : with->beta2);
        step[STEP_EPS] = (float)with->eps;
        step[STEP_DECAY] = (float)with->decay;
        step[STEP_CORRECTION1] = (float)(1 - pow(with->beta1, n));
        step[STEP_CORRECTION2] = (float)(1 - pow(with->beta2, n));
        step[STEP_GRAD_SCALE] = (float)with->grad_scale;
        step[STEP_EMA_DECAY] = (float)with->ema_decay;
    }
}

/* Moves prodigy's estimate by what the gradients say; *moves is false if they say nothing at all. */
static bool estimate(struct optimizer *o, const struct optimizer_step *with, bool *moves, struct err *e)
{
    double *d = &o->state->number[DISTANCE], *largest = &o->state->number[LARGEST_DISTANCE];
    double *numerator = &o->state->number[NUMERATOR];
    if (with->step == 0) {
        *d = *largest = first_distance;
        memcpy(o->state->slot[START].data, o->state->array[STATE_VALUE], o->state->count * sizeof(float));
    }
    double rate = *d * with->rate * with->factor, beta3 = sqrt(with->beta2), by = *d / first_distance * rate, product = 0, sum = 0;
    for (size_t i = 0; i <= o->group_count; i++) {
        if (i && o->groups[i - 1].rate != 0 && o->groups[i - 1].rate != with->rate)
            return err_set(e, ERR_ARG, "prodigy finds one rate for all weights: the rate of %s can only be 0 or that of the others, %g",
                           o->groups[i - 1].pattern, with->rate);
        o->step[i][STEP_RATE] = (float)rate;
        o->step[i][STEP_DISTANCE] = (float)*d;
        o->step[i][STEP_BETA3] = (float)beta3;
        o->step[i][STEP_SUM_RATE] = (float)by;
    }
    if (!program_run(o->measure, e))
        return false;
    for (size_t i = 0; i < o->state->stretches; i++)
        if (o->measured[i].id) {
            const float *sums = program_output(o->measure, o->measured[i]);
            product += (double)sums[0];
            sum += (double)sums[1];
        }
    *moves = sum > 0;
    if (!*moves)
        return true;
    *numerator = beta3 * *numerator + by * product;
    if (rate > 0) {
        double found = *numerator / sum;
        if (*d == first_distance)
            *d = fmax(*d, found);
        *largest = fmax(*largest, found);
        *d = *largest;
    }
    for (size_t i = 0; i <= o->group_count; i++)
        o->step[i][STEP_EPS] = (float)(*d * with->eps);
    return true;
}

bool optimizer_step(struct optimizer *o, const struct optimizer_step *with, struct err *e)
{
    bool moves = true;
    give_numbers(o, with);
    if (o->kind == OPTIMIZER_PRODIGY && !estimate(o, with, &moves, e))
        return false;
    return !moves || program_run(o->update, e);
}

void optimizer_profile_text(const struct optimizer *o, struct text *out)
{
    if (o->measure)
        program_profile_text(o->measure, out);
    program_profile_text(o->update, out);
}
