/* Updates of weights and optimizer state, in place. */
#include <math.h>

#include "backend/cpu/cpu_internal.h"
#include "base/mem.h"
#include "graph/ops.h"
#include "tensor/dynamic_code.h"

enum { GRAIN = 64, CHUNK = 1024 };

static bool accumulate_can(const struct op_call *call)
{
    return call->in[0].type == DTYPE_F32 && cpu_is_readable(call->in[1].type);
}

static bool accumulate_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *sum = call->in[0].data;
    const struct tensor *x = &call->in[1];
    int64_t count = shape_count(x->shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        if (cpu_is_activation(x->type)) {
            cpu->kernels->update->accumulate[x->type == DTYPE_BF16](sum + part.begin, cpu_at(x, part.begin),
                                                                    part.end - part.begin);
        } else {
            float piece[CHUNK] __attribute__((aligned(64)));
            for (int64_t i = part.begin; i < part.end; i += CHUNK) {
                int64_t n = cpu_least(CHUNK, part.end - i);
                cpu_convert(cpu, piece, DTYPE_F32, cpu_at(x, i), x->type, n);
                cpu->kernels->update->accumulate[0](sum + i, piece, n);
            }
        }
    }
    return true;
}

static bool all_f32(const struct op_call *call)
{
    for (int i = 0; i < call->node->n_in; i++)
        if (call->in[i].type != DTYPE_F32)
            return false;
    return true;
}

static struct adamw_step adamw_numbers(const struct op_call *call, const float *s)
{
    double decay = (double)s[STEP_DECAY] * call->node->attr.alpha;
    return (struct adamw_step){
        .beta1 = s[STEP_BETA1], .beta2 = s[STEP_BETA2], .eps = s[STEP_EPS], .grad_scale = s[STEP_GRAD_SCALE],
        .keep = (float)(1 - (double)s[STEP_RATE] * decay),
        .rate = (float)((double)s[STEP_RATE] / (double)s[STEP_CORRECTION1]),
        .correction2 = (float)(1 / (double)s[STEP_CORRECTION2]),
    };
}

static struct update_step numbers(const struct op_call *call, const float *s)
{
    double decay = (double)s[STEP_DECAY] * call->node->attr.alpha;
    return (struct update_step){
        .rate = s[STEP_RATE], .keep = (float)(1 - (double)s[STEP_RATE] * decay), .beta1 = s[STEP_BETA1], .beta2 = s[STEP_BETA2],
        .eps = s[STEP_EPS], .grad_scale = s[STEP_GRAD_SCALE], .distance = s[STEP_DISTANCE], .beta3 = s[STEP_BETA3],
        .sum_rate = s[STEP_SUM_RATE],
    };
}

static bool adamw_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *p = call->in[0].data, *m = call->in[1].data, *v = call->in[2].data;
    const float *g = call->in[3].data;
    int64_t count = shape_count(call->in[0].shape);
    struct adamw_step step = adamw_numbers(call, call->in[4].data);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->adamw(p + part.begin, m + part.begin, v + part.begin, g + part.begin,
                                    part.end - part.begin, &step);
    }
    return true;
}

/* What the codes stand for, with and without sign. */
static bool adamw8_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct dynamic_code *codes = mem_zeroed(2, sizeof *codes);
    if (!codes)
        return err_nomem(e, "the codes of moments");
    dynamic_code_make(&codes[0], true);
    dynamic_code_make(&codes[1], false);
    call->state = codes;
    return true;
}

static void adamw8_release(struct op_call *call)
{
    mem_free(call->state);
}

static bool adamw8_can(const struct op_call *call)
{
    for (int i = 0; i < call->node->n_in; i++)
        if (call->in[i].type != (i == 1 || i == 2 ? DTYPE_U8 : DTYPE_F32))
            return false;
    return true;
}

static bool adamw8_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *p = call->in[0].data, *m_scale = call->in[3].data, *v_scale = call->in[4].data;
    uint8_t *m = call->in[1].data, *v = call->in[2].data;
    const float *g = call->in[5].data;
    const struct dynamic_code *codes = call->state;
    int64_t count = shape_count(call->in[0].shape);
    struct adamw_step step = adamw_numbers(call, call->in[6].data);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, UPDATE_BLOCK);
        for (int64_t i = part.begin; i < part.end; i += UPDATE_BLOCK)
            cpu->kernels->update->adamw8(p + i, m + i, v + i, m_scale + i / UPDATE_BLOCK, v_scale + i / UPDATE_BLOCK, g + i,
                                         cpu_least(UPDATE_BLOCK, part.end - i), &step, &codes[0], &codes[1]);
    }
    return true;
}

static bool lion_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *p = call->in[0].data, *m = call->in[1].data;
    const float *g = call->in[2].data;
    int64_t count = shape_count(call->in[0].shape);
    struct update_step step = numbers(call, call->in[3].data);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->lion(p + part.begin, m + part.begin, g + part.begin, part.end - part.begin, &step);
    }
    return true;
}

/* Matrices one behind the other. */
struct matrices {
    int64_t count, rows, columns;
};

static struct matrices matrices_of(const struct op_call *call)
{
    struct shape s = call->in[0].shape;
    struct matrices m = { .rows = s.dim[s.rank - 2], .columns = s.dim[s.rank - 1] };
    m.count = shape_count(s) / (m.rows * m.columns);
    return m;
}

/* Scratch: for each matrix what its rows' means are divided by, for each row the sum of u^2. */
static bool adafactor_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct matrices m = matrices_of(call);
    call->scratch_bytes = (size_t)(m.count + m.count * m.rows) * sizeof(double);
    return true;
}

/* The factor that makes the root mean square of u at most 1, from the sums of u^2. */
static double clipped(const double *squares, int64_t count, int64_t numbers_of_u)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += squares[i];
    double rms = sqrt(sum / (double)numbers_of_u);
    return rms > 1 ? 1 / rms : 1;
}

static bool adafactor_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct update_kernels *k = cpu->kernels->update;
    struct matrices m = matrices_of(call);
    float *p = call->in[0].data, *r = call->in[1].data, *c = call->in[2].data;
    const float *g = call->in[3].data;
    struct update_step step = numbers(call, call->in[4].data);
    double *mean = call->scratch, *squares = mean + m.count, by = 1;
    int64_t all = m.count * m.rows, columns = m.columns, each = m.rows * columns;
#pragma omp parallel num_threads(cpu_team(cpu, all * columns))
    {
        /* some columns of every matrix, or every column of some */
        bool few = m.count < omp_get_num_threads();
        struct span mine = few ? (struct span){ 0, m.count } : cpu_my_part(m.count, 1);
        struct span part = few ? cpu_my_part(columns, GRAIN) : (struct span){ 0, columns };
        for (int64_t i = mine.begin; i < mine.end; i++)
            k->square_columns(c + i * columns + part.begin, g + i * each + part.begin, m.rows, part.end - part.begin, columns, &step);
        struct span rows = cpu_my_part(all, 1);
        for (int64_t i = rows.begin; i < rows.end; i++)
            r[i] = step.beta2 * r[i] + (1 - step.beta2) * (float)(k->square_row(g + i * columns, columns, &step) / (double)columns);
#pragma omp barrier
#pragma omp for
        for (int64_t i = 0; i < m.count; i++) {
            mean[i] = 0;
            for (int64_t j = 0; j < m.rows; j++)
                mean[i] += (double)r[i * m.rows + j] / (double)m.rows;
        }
        for (int64_t i = rows.begin; i < rows.end; i++)
            squares[i] = k->scaled_squares(g + i * columns, c + i / m.rows * columns, columns,
                                           step.grad_scale * (float)sqrt(mean[i / m.rows] / (double)r[i]));
#pragma omp barrier
#pragma omp single
        by = clipped(squares, all, all * columns) * (double)step.rate * (double)step.grad_scale;
        for (int64_t i = rows.begin; i < rows.end; i++)
            k->scaled_step(p + i * columns, g + i * columns, c + i / m.rows * columns, columns,
                           (float)(by * sqrt(mean[i / m.rows] / (double)r[i])), step.keep);
    }
    return true;
}

enum { PIECE = 4096 };

static bool pieces_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    call->scratch_bytes = (size_t)((shape_count(call->in[0].shape) + PIECE - 1) / PIECE) * 2 * sizeof(double);
    return true;
}

static bool adafactor_whole_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct update_kernels *k = cpu->kernels->update;
    float *p = call->in[0].data, *v = call->in[1].data;
    const float *g = call->in[2].data;
    int64_t count = shape_count(call->in[0].shape), pieces = (count + PIECE - 1) / PIECE;
    struct update_step step = numbers(call, call->in[3].data);
    double *squares = call->scratch, by = 1;
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
#pragma omp for
        for (int64_t i = 0; i < pieces; i++) {
            int64_t at = i * PIECE, n = cpu_least(PIECE, count - at);
            k->square_whole(v + at, g + at, n, &step);
            squares[i] = k->scaled_squares(g + at, v + at, n, step.grad_scale);
        }
#pragma omp single
        by = clipped(squares, pieces, count) * (double)step.rate * (double)step.grad_scale;
#pragma omp for
        for (int64_t i = 0; i < pieces; i++)
            k->scaled_step(p + i * PIECE, g + i * PIECE, v + i * PIECE, cpu_least(PIECE, count - i * PIECE), (float)by, step.keep);
    }
    return true;
}

static bool prodigy_measure_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *m = call->in[0].data, *v = call->in[1].data, *s = call->in[2].data, *out = call->out[3].data;
    const float *p = call->in[3].data, *p0 = call->in[4].data, *g = call->in[5].data;
    int64_t count = shape_count(call->in[0].shape), pieces = (count + PIECE - 1) / PIECE;
    struct update_step step = numbers(call, call->in[6].data);
    double *sums = call->scratch, total[2] = { 0, 0 };
#pragma omp parallel for num_threads(cpu_team(cpu, count))
    for (int64_t i = 0; i < pieces; i++) {
        int64_t at = i * PIECE;
        sums[2 * i] = sums[2 * i + 1] = 0;
        cpu->kernels->update->prodigy_measure(m + at, v + at, s + at, p + at, p0 + at, g + at, cpu_least(PIECE, count - at), &step,
                                              sums + 2 * i);
    }
    for (int64_t i = 0; i < pieces; i++) /* in the same order for any number of threads */
        for (int k = 0; k < 2; k++)
            total[k] += sums[2 * i + k];
    for (int k = 0; k < 2 && out; k++)
        out[k] = (float)total[k];
    return true;
}

static bool prodigy_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *p = call->in[0].data;
    const float *m = call->in[1].data, *v = call->in[2].data;
    int64_t count = shape_count(call->in[0].shape);
    struct update_step step = numbers(call, call->in[3].data);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->prodigy(p + part.begin, m + part.begin, v + part.begin, part.end - part.begin, &step);
    }
    return true;
}

static bool ema_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    float *average = call->in[0].data;
    const float *p = call->in[1].data, *s = call->in[2].data;
    int64_t count = shape_count(call->in[0].shape);
#pragma omp parallel num_threads(cpu_team(cpu, count))
    {
        struct span part = cpu_my_part(count, GRAIN);
        cpu->kernels->update->ema(average + part.begin, p + part.begin, part.end - part.begin, 1 - s[STEP_EMA_DECAY]);
    }
    return true;
}

const struct cpu_op cpu_accumulate = { .can = accumulate_can, .run = accumulate_run };
const struct cpu_op cpu_adamw = { .can = all_f32, .run = adamw_run };
const struct cpu_op cpu_adamw8 = { .can = adamw8_can, .prepare = adamw8_prepare, .run = adamw8_run, .release = adamw8_release };
const struct cpu_op cpu_lion = { .can = all_f32, .run = lion_run };
const struct cpu_op cpu_adafactor = { .can = all_f32, .prepare = adafactor_prepare, .run = adafactor_run };
const struct cpu_op cpu_adafactor_whole = { .can = all_f32, .prepare = pieces_prepare, .run = adafactor_whole_run };
const struct cpu_op cpu_prodigy_measure = { .can = all_f32, .prepare = pieces_prepare, .run = prodigy_measure_run };
const struct cpu_op cpu_prodigy = { .can = all_f32, .run = prodigy_run };
const struct cpu_op cpu_ema = { .can = all_f32, .run = ema_run };
