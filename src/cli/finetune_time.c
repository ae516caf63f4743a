#include "cli/finetune_time.h"

#include "base/clock.h"
#include "base/mem.h"

enum { SIDE = 32, CHANNELS = 640, ROWS = SIDE * SIDE };

/* One op whose operands are zeros. */
static struct program *make(const struct backend *backend, enum dtype type, bool conv, double *flops, struct err *e)
{
    static const int64_t pad[4] = { 1, 1, 1, 1 };
    struct graph g;
    graph_init(&g);
    struct shape kernel = conv ? SHAPE(CHANNELS, CHANNELS, 3, 3) : SHAPE(CHANNELS, CHANNELS);
    struct value x = graph_input(&g, "x", type, conv ? SHAPE(1, SIDE, SIDE, CHANNELS) : SHAPE(ROWS, CHANNELS));
    struct value w = graph_weight(&g, "w", type, kernel, true); /* read where it lies, as frozen weights are */
    struct value y = conv ? op_conv2d(&g, x, w, VALUE_NONE, 1, pad) : op_linear(&g, x, w, VALUE_NONE);
    graph_output(&g, y);
    if (!graph_ok(&g, e)) {
        graph_release(&g);
        return NULL;
    }
    *flops = op_flops(&g, &g.ops[graph_value(&g, y)->op]);
    return program_new(backend, &g, e);
}

/* Operations a second. */
static bool measure(const struct backend *backend, enum dtype type, bool conv, double *speed, struct err *e)
{
    static const double long_enough = 0.2;
    double flops, done = 0, seconds = 0;
    struct program *p = make(backend, type, conv, &flops, e);
    struct tensor w = { type, conv ? SHAPE(CHANNELS, CHANNELS, 3, 3) : SHAPE(CHANNELS, CHANNELS), NULL };
    void *zeros = mem_zeroed((size_t)(CHANNELS * CHANNELS * 9), sizeof(float)); /* more than x has */
    bool kept, good = p && (zeros || err_nomem(e, "a measurement"));
    w.data = zeros;
    good = good && program_bind_weight(p, "w", &w, &kept, e) && program_set_input(p, "x", zeros, e) && program_run(p, e);
    for (double start = clock_seconds(); good && seconds < long_enough; seconds = clock_seconds() - start) {
        good = program_run(p, e);
        done += flops;
    }
    program_free(p);
    mem_free(zeros);
    *speed = good ? done / seconds : 0;
    return good;
}

bool finetune_time(const struct finetune *f, const struct finetune_options *o, const struct samples *samples, const struct backend *backend,
                   double *seconds_per_step, struct err *e)
{
    double conv, other, all = 0, sum = 0;
    if (!measure(backend, o->type, true, &conv, e) || !measure(backend, o->type, false, &other, e))
        return false;
    for (size_t i = 0; i < (samples ? samples->shape_count : 1); i++) {
        double share = samples ? (double)samples_of_shape(samples, i) : 1;
        all += share;
        sum += share * (finetune_flops(f, i, true) / conv + finetune_flops(f, i, false) / other);
    }
    *seconds_per_step = (double)(o->run.accumulate / ranks_count(o->run.ranks)) * sum / all;
    return true;
}
