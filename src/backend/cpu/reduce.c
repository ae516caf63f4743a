/* Sums over dimensions, over everything, and repetition (the other way round). */
#include "backend/cpu/cpu_internal.h"

enum { GRAIN = 64, ROWS_IN_F32 = 128 };

static bool sum_to_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && cpu_is_float(call->out[0].type);
}

/* After cpu_collapse kept and summed dimensions alternate. The last two (three) of them are done by kernels:
 *   [.., many, c]  c kept: sums of columns        [.., c]  c summed: sums of rows
 * and what stands before is walked over, `before` times; several of those may add to the same numbers. */
struct summing {
    struct collapsed c;
    bool columns;
    int64_t many, width; /* rows and columns of a block; many is 1 when rows are summed */
    int64_t blocks;
    bool blocks_are_apart; /* no two blocks add to the same numbers */
};

static struct summing summing_of(const struct op_call *call)
{
    struct summing s = { .c = cpu_collapse(call->in[0].shape, call->out[0].shape), .many = 1 };
    const struct collapsed *c = &s.c;
    int left = c->rank - 1;
    s.width = c->dim[left];
    s.columns = c->small_stride[left] != 0;
    if (s.columns && left)
        s.many = c->dim[--left];
    s.blocks = shape_count(call->in[0].shape) / s.many / s.width;
    s.blocks_are_apart = true;
    for (int i = 0; i < left; i++)
        s.blocks_are_apart &= c->small_stride[i] != 0;
    return s;
}

static int64_t block_offset(const struct summing *s, int64_t block)
{
    int64_t offset = 0;
    for (int i = s->c.rank - 2 - (s->columns && s->c.rank > 1); i >= 0; i--) {
        offset += block % s->c.dim[i] * s->c.small_stride[i];
        block /= s->c.dim[i];
    }
    return offset;
}

/* Sums of `out` numbers in f64, and for each thread as many again and a row in f32. */
static size_t each_thread_bytes(const struct summing *s)
{
    return s->columns ? cpu_round((size_t)s->width * sizeof(double)) + cpu_round((size_t)s->width * sizeof(float))
                      : cpu_round(sizeof(double));
}

static bool sum_to_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct summing s = summing_of(call);
    call->scratch_bytes = cpu_round((size_t)shape_count(call->out[0].shape) * sizeof(double)) +
                          (size_t)cpu->threads * each_thread_bytes(&s);
    return true;
}

/* total[j] += the sum of rows `rows` and columns `columns` of a block of x; work is f32, all 0 before and after. */
static void sum_columns(const struct cpu *cpu, const struct tensor *x, int64_t block_at, struct span rows,
                        struct span columns, int64_t width, double *total, float *work)
{
    int64_t c = columns.end - columns.begin, step = 8192 / (c ? c : 1), summed = 0;
    step = step < 4 ? 4 : cpu_least(step, ROWS_IN_F32);
    for (int64_t r = rows.begin; r < rows.end; r += step) {
        int64_t count = cpu_least(step, rows.end - r);
        cpu->kernels->reduce->columns[x->type == DTYPE_BF16](work, cpu_at(x, block_at + r * width + columns.begin), count, c,
                                                             width);
        summed += count;
        if (summed >= ROWS_IN_F32 || r + step >= rows.end) {
            cpu->kernels->reduce->drain(total, work, c);
            summed = 0;
        }
    }
}

/* Many blocks with sums of their own: each thread takes some. */
static void sum_blocks(const struct cpu *cpu, const struct op_call *call, const struct summing *s, double *sums, char *own,
                       int team)
{
    const struct tensor *x = &call->in[0];
    int64_t size = s->many * s->width;
#pragma omp parallel num_threads(team)
    {
        char *mine = own + (size_t)omp_get_thread_num() * each_thread_bytes(s);
        float *work = (float *)(mine + cpu_round((size_t)s->width * sizeof(double)));
        struct span part = cpu_my_part(s->blocks, 1);
        if (s->columns)
            memset(work, 0, (size_t)s->width * sizeof *work);
        for (int64_t b = part.begin; b < part.end; b++) {
            double *total = sums + block_offset(s, b);
            if (s->columns)
                sum_columns(cpu, x, b * size, (struct span){ 0, s->many }, (struct span){ 0, s->width }, s->width, total,
                            work);
            else
                *total += cpu->kernels->reduce->sum[x->type == DTYPE_BF16](cpu_at(x, b * size), size);
        }
    }
}

/* Few blocks, or blocks that share sums: one block after the other, all threads on it. They share rows, or columns
 * where those are many; partial sums are added in the order of the threads. */
static void sum_inside_blocks(const struct cpu *cpu, const struct op_call *call, const struct summing *s, double *sums,
                              char *own, int team)
{
    const struct tensor *x = &call->in[0];
    int64_t size = s->many * s->width, c = s->columns ? s->width : 1;
    bool cut_columns = s->columns && s->many < s->width;
#pragma omp parallel num_threads(team)
    {
        double *total = (double *)(own + (size_t)omp_get_thread_num() * each_thread_bytes(s));
        float *work = (float *)((char *)total + cpu_round((size_t)s->width * sizeof(double)));
        struct span rows = cut_columns ? (struct span){ 0, s->many } : cpu_my_part(s->many, 1);
        struct span columns = cut_columns ? cpu_my_part(s->width, GRAIN) : (struct span){ 0, s->width };
        if (s->columns)
            memset(work, 0, (size_t)s->width * sizeof *work);
        for (int64_t b = 0; b < s->blocks; b++) {
            double *sum = sums + block_offset(s, b);
            if (cut_columns) {
                sum_columns(cpu, x, b * size, rows, columns, s->width, sum + columns.begin, work);
                continue; /* threads own their columns: no one waits */
            }
            memset(total, 0, (size_t)c * sizeof *total);
            if (s->columns) {
                sum_columns(cpu, x, b * size, rows, columns, s->width, total, work);
            } else {
                struct span part = cpu_my_part(size, GRAIN);
                *total = cpu->kernels->reduce->sum[x->type == DTYPE_BF16](cpu_at(x, b * size + part.begin),
                                                                          part.end - part.begin);
            }
#pragma omp barrier
#pragma omp single
            for (int t = 0; t < team; t++)
                for (int64_t j = 0; j < c; j++)
                    sum[j] += ((const double *)(own + (size_t)t * each_thread_bytes(s)))[j];
        }
    }
}

static bool sum_to_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    struct summing s = summing_of(call);
    const struct tensor *y = &call->out[0];
    int64_t outputs = shape_count(y->shape), count = shape_count(call->in[0].shape);
    double *sums = call->scratch;
    char *own = (char *)sums + cpu_round((size_t)outputs * sizeof *sums);
    int team = cpu_team(cpu, count);
    memset(sums, 0, (size_t)outputs * sizeof *sums);
    if (team == 1 || (s.blocks_are_apart && s.blocks >= 4 * team) || (s.blocks_are_apart && s.blocks % team == 0))
        sum_blocks(cpu, call, &s, sums, own, team);
    else if (count / s.blocks >= CPU_SMALL)
        sum_inside_blocks(cpu, call, &s, sums, own, team);
    else /* small blocks that share sums: threads would wait for each other more than they add */
        sum_blocks(cpu, call, &s, sums, own, 1);
    cpu_convert(cpu, y->data, y->type, sums, DTYPE_F64, outputs);
    return true;
}

const struct cpu_op cpu_sum_to = { .can = sum_to_can, .prepare = sum_to_prepare, .run = sum_to_run };

/* ---- sum of squares ---- */

static bool sum_squares_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && call->out[0].type == DTYPE_F32;
}

static bool sum_squares_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    call->scratch_bytes = (size_t)cpu->threads * cpu_round(sizeof(double));
    return true;
}

static bool sum_squares_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0];
    int64_t count = shape_count(x->shape);
    int team = cpu_team(cpu, count);
    double sum = 0;
#pragma omp parallel num_threads(team)
    {
        struct span part = cpu_my_part(count, GRAIN);
        double mine = cpu->kernels->reduce->sum_squares[x->type == DTYPE_BF16](cpu_at(x, part.begin), part.end - part.begin);
        memcpy((char *)call->scratch + (size_t)omp_get_thread_num() * cpu_round(sizeof mine), &mine, sizeof mine);
    }
    for (int t = 0; t < team; t++)
        sum += *(const double *)((const char *)call->scratch + (size_t)t * cpu_round(sizeof sum));
    *(float *)call->out[0].data = (float)sum;
    return true;
}

const struct cpu_op cpu_sum_squares = { .can = sum_squares_can, .prepare = sum_squares_prepare, .run = sum_squares_run };

/* ---- expand ---- */

static bool expand_can(const struct op_call *call)
{
    return cpu_is_activation(call->in[0].type) && cpu_is_float(call->out[0].type);
}

static bool expand_prepare(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    if (call->in[0].type != call->out[0].type)
        call->scratch_bytes = (size_t)shape_count(call->in[0].shape) * dtype_bytes(call->out[0].type);
    return true;
}

/* count copies of one element. */
static void fill(char *to, const char *element, size_t bytes, int64_t count)
{
    int64_t have = count ? 1 : 0;
    memcpy(to, element, have ? bytes : 0);
    for (; have < count; have *= 2) /* what is there doubles, so that long copies do the work */
        memcpy(to + (size_t)have * bytes, to, (size_t)cpu_least(have, count - have) * bytes);
}

static bool expand_run(const struct cpu *cpu, struct op_call *call, struct err *e)
{
    const struct tensor *x = &call->in[0], *y = &call->out[0];
    struct collapsed c = cpu_collapse(y->shape, x->shape);
    int64_t count = shape_count(y->shape), inner = c.dim[c.rank - 1], rows = count / inner;
    bool number = c.small_stride[c.rank - 1] == 0;
    size_t bytes = dtype_bytes(y->type);
    const char *small = x->data;
    if (x->type != y->type) {
        cpu_convert(cpu, call->scratch, y->type, x->data, x->type, shape_count(x->shape));
        small = call->scratch;
    }
    int team = cpu_team(cpu, count);
#pragma omp parallel num_threads(team)
    {
        bool cut_rows = rows >= 4 * team;
        struct span part = cut_rows ? cpu_my_part(rows, 1) : (struct span){ 0, rows };
        struct span columns = cut_rows ? (struct span){ 0, inner } : cpu_my_part(inner, GRAIN);
        for (int64_t r = part.begin; r < part.end && columns.begin < columns.end; r++) {
            int64_t offset = 0, left = r;
            for (int i = c.rank - 2; i >= 0; i--) {
                offset += left % c.dim[i] * c.small_stride[i];
                left /= c.dim[i];
            }
            char *to = cpu_at(y, r * inner + columns.begin);
            const char *from = small + (size_t)(offset + (number ? 0 : columns.begin)) * bytes;
            if (number)
                fill(to, from, bytes, columns.end - columns.begin);
            else
                memcpy(to, from, (size_t)(columns.end - columns.begin) * bytes);
        }
    }
    return true;
}

const struct cpu_op cpu_expand = { .can = expand_can, .prepare = expand_prepare, .run = expand_run };
