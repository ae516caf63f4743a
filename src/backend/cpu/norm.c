/* Group norm, layer norm, RMS norm, softmax and their gradients. */
#include "backend/cpu/cpu_internal.h"

#include <math.h>

/* ---- group norm ----
 *
 * Work is cut into units: an image, or, when there are too few images for the threads, a slice of one. With whole images
 * a thread does all passes over an image before it takes the next, while the image is still in its cache. */

enum { ROWS_IN_F32 = 128 }; /* so many rows are summed in f32 before they go to f64 */

struct group_norm {
    const struct cpu *cpu;
    const struct op_call *call;
    bool bf16, silu;
    int64_t n, pixels, c, groups, slices;
    const float *gamma, *beta;
    const struct tensor *x, *dy;
    double *sums;    /* [n, slices, 2, c] */
    float *channels; /* [n, CHANNEL_ROWS, c]: what struct norm_channels points to */
    float *partial;  /* [n, slices, 3, c]: f32 sums and the origin */
};

enum { CHANNEL_RSTD, CHANNEL_SHIFT, CHANNEL_P, CHANNEL_Q, CHANNEL_R, CHANNEL_ROWS };

static struct group_norm group_norm_of(const struct cpu *cpu, const struct op_call *call)
{
    struct shape s = call->in[0].shape;
    struct group_norm g = { .cpu = cpu, .call = call, .bf16 = call->in[0].type == DTYPE_BF16,
                            .silu = call->node->attr.fn == UNARY_SILU, .n = s.dim[0], .c = shape_last(s),
                            .groups = call->node->attr.groups, .x = &call->in[0] };
    g.pixels = shape_count(s) / g.n / g.c;
    g.slices = g.n % cpu->threads == 0 || g.n >= 4 * cpu->threads ? 1 : cpu->threads;
    if (g.slices > g.pixels)
        g.slices = 1;
    return g;
}

static void group_norm_memory(struct group_norm *g, char *scratch)
{
    int64_t units = g->n * g->slices;
    g->sums = (double *)scratch;
    scratch += cpu_round((size_t)(units * 2 * g->c) * sizeof(double));
    g->channels = (float *)scratch;
    scratch += cpu_round((size_t)(g->n * CHANNEL_ROWS * g->c) * sizeof(float));
    g->partial = (float *)scratch;
}

static bool group_norm_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct group_norm g = group_norm_of(cpu, call);
    size_t units = (size_t)(g.n * g.slices), c = (size_t)g.c;
    cpu_f32_prepare(call, 1);
    cpu_f32_prepare(call, 2);
    call->scratch_bytes += cpu_round(units * 2 * c * sizeof(double)) + cpu_round(units * 3 * c * sizeof(float)) +
                           cpu_round((size_t)g.n * CHANNEL_ROWS * c * sizeof(float));
    return true;
}

static bool norm_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && cpu_is_readable(call->in[1].type) && cpu_is_readable(call->in[2].type) &&
           (call->node->attr.fn == UNARY_NONE || (call->node->attr.fn == UNARY_SILU && call->node->op == OP_GROUP_NORM));
}

static bool norm_grad_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && cpu_is_readable(call->in[1].type) && cpu_is_readable(call->in[2].type) &&
           call->in[3].type == DTYPE_F32 && call->in[4].type == DTYPE_F32 && call->in[5].type == call->in[0].type &&
           (call->node->attr.fn == UNARY_NONE ||
            (call->node->attr.fn == UNARY_SILU && call->node->op == OP_GROUP_NORM_GRAD));
}

static struct span unit_rows(const struct group_norm *g, int64_t unit)
{
    return cpu_part(g->pixels, 1, unit % g->slices, g->slices);
}

static int64_t unit_at(const struct group_norm *g, int64_t unit, int64_t row)
{
    return (unit / g->slices * g->pixels + row) * g->c;
}

static float *channel_row(const struct group_norm *g, int64_t image, int row)
{
    return g->channels + (image * CHANNEL_ROWS + row) * g->c;
}

/* Rows that a kernel takes at a time: it walks down the columns, so they must stay in the first cache. */
static int64_t rows_at_once(int64_t c)
{
    int64_t rows = 8192 / c;
    return rows < 4 ? 4 : rows > ROWS_IN_F32 ? ROWS_IN_F32 : rows;
}

/* Variance from sums of x - origin and its square: origin is the mean of the group's first pixel, near enough to the
 * mean that nothing cancels, and the same for all slices of an image. */
static void group_origin(const struct group_norm *g, int64_t image, float *origin)
{
    int64_t width = g->c / g->groups;
    cpu_convert(g->cpu, origin, DTYPE_F32, cpu_at(g->x, image * g->pixels * g->c), g->x->type, g->c);
    for (int64_t i = 0; i < g->c; i += width) {
        float mean = 0;
        for (int64_t j = i; j < i + width; j++)
            mean += origin[j] / (float)width;
        for (int64_t j = i; j < i + width; j++)
            origin[j] = isfinite(mean) ? mean : 0;
    }
}

static void moments_of_unit(const struct group_norm *g, int64_t unit)
{
    int64_t c = g->c, step = rows_at_once(c), summed = 0;
    float *sum = g->partial + unit * 3 * c, *origin = sum + 2 * c;
    double *total = g->sums + unit * 2 * c;
    struct span rows = unit_rows(g, unit);
    memset(sum, 0, (size_t)(2 * c) * sizeof *sum);
    memset(total, 0, (size_t)(2 * c) * sizeof *total);
    group_origin(g, unit / g->slices, origin);
    for (int64_t r = rows.begin; r < rows.end; r += step) {
        int64_t count = cpu_least(step, rows.end - r);
        g->cpu->kernels->norm->moments[g->bf16](sum, sum + c, origin, cpu_at(g->x, unit_at(g, unit, r)), count, c, c);
        summed += count;
        if (summed >= ROWS_IN_F32 || r + step >= rows.end) {
            g->cpu->kernels->reduce->drain(total, sum, 2 * c);
            summed = 0;
        }
    }
}

/* Mean and rstd of an image's groups, and with them y = a x + b for each channel (rows P and Q). */
static void statistics_of_image(const struct group_norm *g, int64_t image)
{
    int64_t c = g->c, width = c / g->groups;
    float *a = channel_row(g, image, CHANNEL_P), *b = channel_row(g, image, CHANNEL_Q);
    float *mean_out = g->call->out[1].data, *rstd_out = g->call->out[2].data;
    const float *origin = g->partial + (image * g->slices * 3 + 2) * c;
    double count = (double)(g->pixels * width);
    for (int64_t group = 0; group < g->groups; group++) {
        double sum = 0, squares = 0;
        for (int64_t s = 0; s < g->slices; s++) {
            const double *total = g->sums + (image * g->slices + s) * 2 * c;
            for (int64_t j = group * width; j < (group + 1) * width; j++) {
                sum += total[j];
                squares += total[c + j];
            }
        }
        double mean = sum / count, variance = squares / count - mean * mean;
        double rstd = 1 / sqrt((variance < 0 ? 0 : variance) + g->call->node->attr.eps);
        mean += (double)origin[group * width];
        mean_out[image * g->groups + group] = (float)mean;
        rstd_out[image * g->groups + group] = (float)rstd;
        for (int64_t j = group * width; j < (group + 1) * width; j++) {
            a[j] = (float)(rstd * (double)g->gamma[j]);
            b[j] = (float)((double)g->beta[j] - mean * rstd * (double)g->gamma[j]);
        }
    }
}

static void apply_to_unit(const struct group_norm *g, int64_t unit)
{
    int64_t image = unit / g->slices;
    struct span rows = unit_rows(g, unit);
    int64_t at = unit_at(g, unit, rows.begin);
    g->cpu->kernels->norm->apply[g->bf16](cpu_at(&g->call->out[0], at), cpu_at(g->x, at),
                                          channel_row(g, image, CHANNEL_P), channel_row(g, image, CHANNEL_Q),
                                          rows.end - rows.begin, g->c, g->c, g->silu);
}

/* Runs the three passes; with slices a pass must be over before the next begins. */
static void run_passes(const struct group_norm *g, void (*first)(const struct group_norm *, int64_t unit),
                       void (*combine)(const struct group_norm *, int64_t image),
                       void (*second)(const struct group_norm *, int64_t unit))
{
    int64_t units = g->n * g->slices;
#pragma omp parallel num_threads(cpu_team(g->cpu, units * g->pixels / g->slices * g->c))
    {
        if (g->slices == 1) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < g->n; i++) {
                first(g, i);
                combine(g, i);
                second(g, i);
            }
        } else {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < units; i++)
                first(g, i);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < g->n; i++)
                combine(g, i);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < units; i++)
                second(g, i);
        }
    }
}

static bool group_norm_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct group_norm g = group_norm_of(cpu, call);
    char *scratch = call->scratch;
    g.gamma = cpu_f32_input(cpu, call, 1, &scratch);
    g.beta = cpu_f32_input(cpu, call, 2, &scratch);
    group_norm_memory(&g, scratch);
    run_passes(&g, moments_of_unit, statistics_of_image, apply_to_unit);
    return true;
}

/* With h = rstd x + shift the normalised number, z = gamma h + beta, dz = dy act'(z), and sums over a group of N:
 *   dx = rstd (gamma dz - sum(gamma dz) / N - h sum(gamma dz h) / N),  dgamma = sum dz h,  dbeta = sum dz.
 * The first pass sums dz and dz h for each channel; from them come the factors of the second. */
static struct norm_channels channels_of_image(const struct group_norm *g, int64_t image)
{
    return (struct norm_channels){
        .rstd = channel_row(g, image, CHANNEL_RSTD), .shift = channel_row(g, image, CHANNEL_SHIFT),
        .gamma = g->gamma, .beta = g->beta,
        .p = channel_row(g, image, CHANNEL_P), .q = channel_row(g, image, CHANNEL_Q),
        .r = channel_row(g, image, CHANNEL_R),
    };
}

static void set_channels(const struct group_norm *g)
{
    int64_t width = g->c / g->groups;
    const float *mean = g->call->in[3].data, *rstd = g->call->in[4].data;
    for (int64_t i = 0; i < g->n; i++)
        for (int64_t j = 0; j < g->c; j++) {
            int64_t group = i * g->groups + j / width;
            channel_row(g, i, CHANNEL_RSTD)[j] = rstd[group];
            channel_row(g, i, CHANNEL_SHIFT)[j] = -mean[group] * rstd[group];
        }
}

static void grad_sums_of_unit(const struct group_norm *g, int64_t unit)
{
    int64_t c = g->c, step = rows_at_once(c), summed = 0;
    float *sum = g->partial + unit * 3 * c;
    double *total = g->sums + unit * 2 * c;
    struct norm_channels k = channels_of_image(g, unit / g->slices);
    struct span rows = unit_rows(g, unit);
    memset(sum, 0, (size_t)(2 * c) * sizeof *sum);
    memset(total, 0, (size_t)(2 * c) * sizeof *total);
    for (int64_t r = rows.begin; r < rows.end; r += step) {
        int64_t count = cpu_least(step, rows.end - r), at = unit_at(g, unit, r);
        g->cpu->kernels->norm->grad_sums[g->bf16](sum, sum + c, cpu_at(g->x, at), cpu_at(g->dy, at), &k, count, c, c,
                                                  g->silu);
        summed += count;
        if (summed >= ROWS_IN_F32 || r + step >= rows.end) {
            g->cpu->kernels->reduce->drain(total, sum, 2 * c);
            summed = 0;
        }
    }
}

static void grad_factors_of_image(const struct group_norm *g, int64_t image)
{
    int64_t c = g->c, width = c / g->groups;
    float *p = channel_row(g, image, CHANNEL_P), *q = channel_row(g, image, CHANNEL_Q), *r = channel_row(g, image, CHANNEL_R);
    const float *rstd = channel_row(g, image, CHANNEL_RSTD);
    double count = (double)(g->pixels * width);
    for (int64_t first = 0; first < c; first += width) {
        double sum = 0, dot = 0;
        for (int64_t s = 0; s < g->slices; s++) {
            const double *total = g->sums + (image * g->slices + s) * 2 * c;
            for (int64_t j = first; j < first + width; j++) {
                sum += total[j] * (double)g->gamma[j];
                dot += total[c + j] * (double)g->gamma[j];
            }
        }
        for (int64_t j = first; j < first + width; j++) {
            p[j] = rstd[j] * g->gamma[j];
            q[j] = (float)(-(double)rstd[j] * dot / count);
            r[j] = (float)(-(double)rstd[j] * sum / count);
        }
    }
}

static void grad_apply_to_unit(const struct group_norm *g, int64_t unit)
{
    struct norm_channels k = channels_of_image(g, unit / g->slices);
    struct span rows = unit_rows(g, unit);
    int64_t step = rows_at_once(g->c);
    for (int64_t r = rows.begin; r < rows.end; r += step) {
        int64_t at = unit_at(g, unit, r);
        g->cpu->kernels->norm->grad_apply[g->bf16](cpu_at(&g->call->out[0], at), cpu_at(g->x, at), cpu_at(g->dy, at), &k,
                                                   cpu_least(step, rows.end - r), g->c, g->c, g->silu);
    }
}

static bool group_norm_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct group_norm g = group_norm_of(cpu, call);
    char *scratch = call->scratch;
    float *dgamma = call->out[1].data, *dbeta = call->out[2].data;
    g.dy = &call->in[5];
    g.gamma = cpu_f32_input(cpu, call, 1, &scratch);
    g.beta = cpu_f32_input(cpu, call, 2, &scratch);
    group_norm_memory(&g, scratch);
    set_channels(&g);
    run_passes(&g, grad_sums_of_unit, grad_factors_of_image, grad_apply_to_unit);
    for (int64_t j = 0; j < g.c; j++) {
        double sum = 0, dot = 0;
        for (int64_t unit = 0; unit < g.n * g.slices; unit++) {
            sum += g.sums[unit * 2 * g.c + j];
            dot += g.sums[(unit * 2 + 1) * g.c + j];
        }
        dgamma[j] = (float)dot;
        dbeta[j] = (float)sum;
    }
    return true;
}

const struct cpu_op cpu_group_norm = { .can = norm_can, .prepare = group_norm_prepare, .pack = cpu_f32_pack,
                                       .run = group_norm_run };
const struct cpu_op cpu_group_norm_grad = { .can = norm_grad_can, .prepare = group_norm_prepare, .pack = cpu_f32_pack,
                                            .run = group_norm_grad_run };

/* ---- layer norm ---- */

static bool layer_norm_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    cpu_f32_prepare(call, 1);
    cpu_f32_prepare(call, 2);
    if (call->node->op == OP_LAYER_NORM_GRAD)
        call->scratch_bytes += (size_t)cpu->threads * cpu_round((size_t)(2 * shape_last(call->in[0].shape)) *
                                                                (sizeof(float) + sizeof(double)));
    return true;
}

static bool layer_norm_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    char *scratch = call->scratch;
    const float *gamma = cpu_f32_input(cpu, call, 1, &scratch), *beta = cpu_f32_input(cpu, call, 2, &scratch);
    float *mean = call->out[1].data, *rstd = call->out[2].data;
    int64_t rows = shape_rows(x->shape), c = shape_last(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        for (int64_t r = part.begin; r < part.end; r++)
            cpu->kernels->norm->layer[x->type == DTYPE_BF16](cpu_at(y, r * c), cpu_at(x, r * c), gamma, beta, c,
                                                             (float)call->node->attr.eps, mean + r, rstd + r);
    }
    return true;
}

static bool layer_norm_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *dy = &call->in[5], *dx = &call->out[0];
    char *scratch = call->scratch;
    const float *gamma = cpu_f32_input(cpu, call, 1, &scratch);
    (void)cpu_f32_input(cpu, call, 2, &scratch); /* keeps prepare's order; beta itself has no part in the gradient */
    const float *mean = call->in[3].data, *rstd = call->in[4].data;
    float *dgamma = call->out[1].data, *dbeta = call->out[2].data;
    int64_t rows = shape_rows(x->shape), c = shape_last(x->shape);
    size_t each = cpu_round((size_t)(2 * c) * (sizeof(float) + sizeof(double)));
    int team = cpu_team(cpu, rows * c);
#pragma omp parallel num_threads(team)
    {
        double *total = (double *)(scratch + (size_t)omp_get_thread_num() * each); /* [2, c], then the same in f32 */
        float *sum = (float *)(total + 2 * c);
        struct span part = cpu_my_part(rows, 1);
        memset(total, 0, each);
        for (int64_t r = part.begin; r < part.end; r++) {
            cpu->kernels->norm->layer_grad[x->type == DTYPE_BF16](cpu_at(dx, r * c), sum, sum + c, cpu_at(x, r * c),
                                                                  cpu_at(dy, r * c), gamma, c, mean[r], rstd[r]);
            if ((r - part.begin) % ROWS_IN_F32 == ROWS_IN_F32 - 1 || r + 1 == part.end)
                cpu->kernels->reduce->drain(total, sum, 2 * c);
        }
    }
    for (int64_t j = 0; j < c; j++) {
        double dot = 0, sum = 0;
        for (int t = 0; t < team; t++) {
            const double *total = (const double *)(scratch + (size_t)t * each);
            dot += total[j];
            sum += total[c + j];
        }
        dgamma[j] = (float)dot;
        dbeta[j] = (float)sum;
    }
    return true;
}

const struct cpu_op cpu_layer_norm = { .can = norm_can, .prepare = layer_norm_prepare, .pack = cpu_f32_pack,
                                       .run = layer_norm_run };
const struct cpu_op cpu_layer_norm_grad = { .can = norm_grad_can, .prepare = layer_norm_prepare, .pack = cpu_f32_pack,
                                            .run = layer_norm_grad_run };

/* ---- RMS norm ---- */

static bool rms_norm_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && cpu_is_readable(call->in[1].type) &&
           (call->node->op == OP_RMS_NORM || (call->in[2].type == DTYPE_F32 && call->in[3].type == call->in[0].type));
}

static bool rms_norm_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    cpu_f32_prepare(call, 1);
    if (call->node->op == OP_RMS_NORM_GRAD)
        call->scratch_bytes += (size_t)cpu->threads * cpu_round((size_t)shape_last(call->in[0].shape) *
                                                                (sizeof(float) + sizeof(double)));
    return true;
}

static bool rms_norm_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    char *scratch = call->scratch;
    const float *gamma = cpu_f32_input(cpu, call, 1, &scratch);
    float *rstd = call->out[1].data;
    int64_t rows = shape_rows(x->shape), c = shape_last(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        for (int64_t r = part.begin; r < part.end; r++)
            cpu->kernels->norm->rms[x->type == DTYPE_BF16](cpu_at(y, r * c), cpu_at(x, r * c), gamma, c,
                                                           (float)call->node->attr.eps, rstd + r);
    }
    return true;
}

static bool rms_norm_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *dy = &call->in[3], *dx = &call->out[0];
    char *scratch = call->scratch;
    const float *gamma = cpu_f32_input(cpu, call, 1, &scratch), *rstd = call->in[2].data;
    float *dgamma = call->out[1].data;
    int64_t rows = shape_rows(x->shape), c = shape_last(x->shape);
    size_t each = cpu_round((size_t)c * (sizeof(float) + sizeof(double)));
    int team = cpu_team(cpu, rows * c);
#pragma omp parallel num_threads(team)
    {
        double *total = (double *)(scratch + (size_t)omp_get_thread_num() * each); /* [c], then the same in f32 */
        float *sum = (float *)(total + c);
        struct span part = cpu_my_part(rows, 1);
        memset(total, 0, each);
        for (int64_t r = part.begin; r < part.end; r++) {
            cpu->kernels->norm->rms_grad[x->type == DTYPE_BF16](cpu_at(dx, r * c), sum, cpu_at(x, r * c),
                                                                cpu_at(dy, r * c), gamma, c, rstd[r]);
            if ((r - part.begin) % ROWS_IN_F32 == ROWS_IN_F32 - 1 || r + 1 == part.end)
                cpu->kernels->reduce->drain(total, sum, c);
        }
    }
    for (int64_t j = 0; j < c; j++) {
        double sum = 0;
        for (int t = 0; t < team; t++)
            sum += ((const double *)(scratch + (size_t)t * each))[j];
        dgamma[j] = (float)sum;
    }
    return true;
}

const struct cpu_op cpu_rms_norm = { .can = rms_norm_can, .prepare = rms_norm_prepare, .pack = cpu_f32_pack,
                                     .run = rms_norm_run };
const struct cpu_op cpu_rms_norm_grad = { .can = rms_norm_can, .prepare = rms_norm_prepare, .pack = cpu_f32_pack,
                                          .run = rms_norm_grad_run };

/* ---- softmax ---- */

static bool softmax_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) &&
           (call->node->op == OP_SOFTMAX || call->in[1].type == call->in[0].type);
}

static bool softmax_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    call->scratch_bytes = (size_t)cpu->threads * cpu_round((size_t)shape_last(call->in[0].shape) * sizeof(float));
    return true;
}

static bool softmax_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    int64_t rows = shape_rows(x->shape), c = shape_last(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        float *work = (float *)((char *)call->scratch + (size_t)omp_get_thread_num() * cpu_round((size_t)c * sizeof(float)));
        for (int64_t r = part.begin; r < part.end; r++)
            cpu->kernels->norm->softmax[x->type == DTYPE_BF16](cpu_at(y, r * c), cpu_at(x, r * c), work, c);
    }
    return true;
}

static bool softmax_grad_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *y = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    int64_t rows = shape_rows(y->shape), c = shape_last(y->shape);
#pragma omp parallel num_threads(cpu_team(cpu, rows * c))
    {
        struct span part = cpu_my_part(rows, 1);
        for (int64_t r = part.begin; r < part.end; r++)
            cpu->kernels->norm->softmax_grad[y->type == DTYPE_BF16](cpu_at(dx, r * c), cpu_at(y, r * c), cpu_at(dy, r * c), c);
    }
    return true;
}

const struct cpu_op cpu_softmax = { .can = softmax_can, .prepare = softmax_prepare, .run = softmax_run };
const struct cpu_op cpu_softmax_grad = { .can = softmax_can, .run = softmax_grad_run };
