/* Builds, feeds and runs the cases of op_cases.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/op_cases.h"
#include "base/mem.h"
#include "base/random.h"
#include "graph/ops.h"
#include "graph/passes.h"
#include "graph/program.h"
#include "tensor/quant_blocks.h"

/* A word of a case: letter and shape. */
struct spec {
    char letter;
    struct shape shape;
};

/* Reads the words of `s`; the cases are ours, so a mistake in one stops the test program. */
static int read_specs(const char *s, struct spec *out, int most)
{
    int n = 0;
    while (*s) {
        struct spec w = { .letter = *s++ };
        if (n == most)
            abort();
        if (w.letter != '-') {
            if (*s != '[')
                abort();
            while (*s != ']') {
                char *end;
                w.shape.dim[w.shape.rank++] = strtoll(s + 1, &end, 10);
                if (end == s + 1 || w.shape.rank > SHAPE_MAX_RANK)
                    abort();
                s = end;
            }
            s++;
        }
        out[n++] = w;
        s += *s == ' ';
    }
    return n;
}

static enum dtype sums_of(enum dtype activation)
{
    return activation == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

static enum dtype type_of(char letter, struct case_types types)
{
    switch (letter) {
    case 'T': return types.activation;
    case 'W': return types.weight;
    case 'Q': return types.stored && types.weight != DTYPE_F64 ? types.stored : types.weight;
    case 'H': return DTYPE_F16;
    case 'I': return DTYPE_I32;
    case 'C': return DTYPE_U8;
    default: return sums_of(types.activation);
    }
}

struct case_text case_text(const struct op_case *c, struct case_types types)
{
    struct case_text t;
    snprintf(t.s, sizeof t.s, "%s: %s, %s with %s %s weights", op_desc(c->op)->name, c->name,
             dtype_name(types.activation), dtype_name(types.weight), types.mutable_ ? "mutable" : "constant");
    if (types.stored)
        snprintf(t.s + strlen(t.s), sizeof t.s - strlen(t.s), " and %s", dtype_name(types.stored));
    return t;
}

void case_expected(const struct op_case *c, int slot, struct case_types types, struct shape *shape, enum dtype *type)
{
    struct spec specs[OP_MAX_OUT];
    if (slot >= read_specs(c->out, specs, OP_MAX_OUT))
        abort();
    *shape = specs[slot].shape;
    *type = type_of(specs[slot].letter, types);
}

/* The forward op, then its gradient op with the forward's results among its inputs. */
static struct value with_forward(const struct op_case *c, struct graph *g, const struct value *in,
                                 const struct op_attr *attr)
{
    if (c->op == OP_SOFTMAX_GRAD)
        return graph_add(g, c->op, (struct value[]){ op_softmax(g, in[0]), in[1] }, 2, attr);
    if (c->op == OP_RMS_NORM_GRAD) {
        struct value normed = graph_add(g, OP_RMS_NORM, in, 2, attr);
        return graph_add(g, c->op, (struct value[]){ in[0], in[1], graph_out(g, normed, 1), in[2] }, 4, attr);
    }
    enum op forward = c->op == OP_ATTENTION_GRAD ? OP_ATTENTION
                      : c->op == OP_GROUP_NORM_GRAD ? OP_GROUP_NORM : OP_LAYER_NORM;
    bool padded = forward == OP_ATTENTION && in[4].id; /* pads come last in the case, before them dy */
    struct value y = graph_add(g, forward, (struct value[]){ in[0], in[1], in[2], in[4] }, padded ? 4 : 3, attr);
    struct value first = forward == OP_ATTENTION ? y : graph_out(g, y, 1);
    struct value second = graph_out(g, y, forward == OP_ATTENTION ? 1 : 2);
    return graph_add(g, c->op, (struct value[]){ in[0], in[1], in[2], first, second, in[3], in[4] }, padded ? 7 : 6, attr);
}

struct case_values case_build(const struct op_case *c, struct case_types types, struct graph *g)
{
    struct spec specs[OP_MAX_IN];
    struct case_values v = { .n_in = read_specs(c->in, specs, OP_MAX_IN), .n_out = op_desc(c->op)->outs };
    for (int i = 0; i < v.n_in; i++) {
        char name[16], letter = v.letters[i] = specs[i].letter;
        snprintf(name, sizeof name, "in%d", i);
        if (letter == '-')
            continue;
        if (letter == 'U' || letter == 'C' || ((letter == 'W' || letter == 'Q') && types.weight != DTYPE_F64))
            v.in[i] = graph_weight(g, name, type_of(letter, types), specs[i].shape, letter == 'U' || letter == 'C' || (types.mutable_ && !(letter == 'Q' && types.stored)));
        else
            v.in[i] = graph_input(g, name, type_of(letter, types), specs[i].shape);
    }
    struct value in[OP_MAX_IN];
    memcpy(in, v.in, sizeof in);
    if (types.copied)
        in[0] = op_scale(g, in[0], 1, 0);
    struct op_attr attr = c->attr;
    case_expected(c, 0, types, &attr.shape, &attr.type);
    v.out[0] = c->with_forward ? with_forward(c, g, in, &attr) : graph_add(g, c->op, in, v.n_in, &attr);
    for (int i = 1; i < v.n_out; i++)
        v.out[i] = graph_out(g, v.out[0], i);
    return v;
}

static double draw(struct random *r, enum fill fill)
{
    double magnitude;
    switch (fill) {
    case FILL_POSITIVE: return 0.5 + 1.5 * (double)random_uniform(r);
    case FILL_AWAY:
        magnitude = 0.25 + 1.75 * (double)random_uniform(r);
        return random_u32(r) & 1 ? magnitude : -magnitude;
    case FILL_TIME: return (double)random_below(r, 1000);
    default: return (double)random_normal(r);
    }
}

static double rounded(double v, enum dtype type)
{
    double bytes = 0;
    dtype_store(&bytes, type, 0, v);
    return dtype_load(&bytes, type, 0);
}

static const double step_numbers[STEP_COUNT] = {
    [STEP_RATE] = 0.01, [STEP_BETA1] = 0.9, [STEP_BETA2] = 0.99, [STEP_EPS] = 1e-8, [STEP_DECAY] = 0.1,
    [STEP_CORRECTION1] = 0.271, [STEP_CORRECTION2] = 0.029701, [STEP_GRAD_SCALE] = 0.5, [STEP_EMA_DECAY] = 0.75, [STEP_DISTANCE] = 0.5, [STEP_BETA3] = 0.995, [STEP_SUM_RATE] = 0.02,
};

/* Blocks of random bits whose numbers are at most about `most`: with scales of 1 they say how large they would be. */
static bool draw_blocks(struct case_data *d, int i, enum dtype type, double most, struct random *r)
{
    static const struct { enum dtype type; int at[2]; } scales[] = {
#define X(type_, tail, first, second) { type_, { first, second } },
        QUANT_TABLE(X)
#undef X
    };
    size_t bytes = dtype_span(type, d->count[i]), block = dtype_block_bytes(type);
    uint8_t *b = d->stored[i] = mem_aligned(bytes);
    if (!b)
        return false;
    for (size_t k = 0; k < bytes; k++)
        b[k] = (uint8_t)random_u32(r);
    double scale = 1;
    for (int pass = 0; pass < 2; pass++) {
        double largest = 0;
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
            for (size_t at = 0; scales[s].type == type && at < bytes; at += block)
                for (int k = 0; k < 2; k++)
                    if (scales[s].at[k] >= 0)
                        memcpy(b + at + scales[s].at[k], &(uint16_t){ f32_to_f16((float)scale) }, 2);
        for (int64_t k = 0; k < d->count[i]; k++) {
            d->in[i][k] = dtype_load(b, type, k);
            largest = fmax(largest, fabs(d->in[i][k]));
        }
        scale = most / largest;
    }
    return true;
}

/* Bytes of an 8-bit float, none of them NaN or infinite, from doubles, which become what the bytes say. */
static bool draw_bytes(struct case_data *d, int i, enum dtype type)
{
    uint8_t *b = d->stored[i] = mem_aligned((size_t)d->count[i]);
    for (int64_t k = 0; b && k < d->count[i]; k++) {
        double best = INFINITY;
        for (int code = 0; code < 256; code++) {
            double v = dtype_load(&(uint8_t){ (uint8_t)code }, type, 0);
            if (fabs(v - d->in[i][k]) < best) {
                best = fabs(v - d->in[i][k]);
                b[k] = (uint8_t)code;
            }
        }
        d->in[i][k] = dtype_load(b, type, k);
    }
    return b != NULL;
}

bool case_data_init(struct case_data *d, const struct op_case *c, struct case_types types, uint64_t seed,
                    struct err *e)
{
    struct spec specs[OP_MAX_IN];
    struct shape loss;
    enum dtype loss_type;
    int n_in = read_specs(c->in, specs, OP_MAX_IN);
    struct random r = random_of(seed, 1);
    *d = (struct case_data){ 0 };
    case_expected(c, 0, types, &loss, &loss_type);
    d->loss_count = shape_count(loss);
    d->loss = mem_zeroed((size_t)d->loss_count, sizeof *d->loss);
    bool ok = d->loss != NULL;
    for (int i = 0; ok && i < n_in; i++) {
        char letter = specs[i].letter;
        if (letter == '-')
            continue;
        struct shape shape = specs[i].shape;
        d->whole[i] = letter == 'I' || letter == 'C';
        d->count[i] = shape_count(shape);
        d->in[i] = mem_zeroed((size_t)d->count[i], sizeof *d->in[i]);
        /* weights as an initialiser makes them, so that results stay near 1 */
        double scale = (letter == 'W' || letter == 'Q') && shape.rank > 1 && (c->op == OP_MATMUL || c->op == OP_CONV2D)
                           ? sqrt((double)shape.dim[0] / (double)d->count[i]) : 1;
        ok = d->in[i] != NULL;
        for (int64_t k = 0; ok && k < d->count[i]; k++)
            d->in[i][k] = letter == 'C' ? (double)random_below(&r, 256) : letter == 'I' ? (double)random_below(&r, (uint64_t)c->ids)
                          : rounded(letter == 'P' ? step_numbers[k] : scale * draw(&r, c->fill),
                                    letter == 'Q' && types.stored ? DTYPE_F64 : type_of(letter, types));
        if (ok && letter == 'Q' && types.stored)
            ok = dtype_is_quantised(types.stored) ? draw_blocks(d, i, types.stored, 4 * scale, &r) : draw_bytes(d, i, types.stored);
    }
    for (int64_t k = 0; ok && k < d->loss_count; k++)
        d->loss[k] = rounded((double)random_normal(&r), DTYPE_BF16);
    if (ok)
        return true;
    case_data_release(d);
    return err_nomem(e, "the data of a case");
}

void case_data_release(struct case_data *d)
{
    for (int i = 0; i < OP_MAX_IN; i++) {
        mem_free(d->in[i]);
        mem_free(d->stored[i]);
    }
    mem_free(d->loss);
    *d = (struct case_data){ 0 };
}

/* Loss: the sum of v times the input "factors", in sums' type. */
static struct value add_loss(struct graph *g, struct value v)
{
    enum dtype sums = sums_of(graph_type(g, v));
    struct value factors = graph_input(g, "factors", sums, graph_shape(g, v));
    struct value weighted = op_mul(g, op_cast(g, v, sums), factors);
    int64_t count = shape_count(graph_shape(g, v));
    return op_sum_to(g, op_reshape(g, weighted, SHAPE(count)), SHAPE(1), sums);
}

/* A program with the arrays it was fed: they live as long as it runs. */
struct fed {
    struct program *program;
    struct tensor in[OP_MAX_IN + 1];
};

static void fed_release(struct fed *f)
{
    program_free(f->program);
    for (size_t i = 0; i < sizeof f->in / sizeof *f->in; i++)
        tensor_release(&f->in[i]);
}

static void fill(struct tensor *t, const double *from)
{
    int64_t count = shape_count(t->shape);
    for (int64_t k = 0; k < count; k++)
        dtype_store(t->data, t->type, k, from[k]);
}

/* Whether a weight is a matrix, a kernel or a table; the operand of a sum is small and may be copied. */
static bool reads_matrix(const struct graph *g, struct value weight)
{
    for (size_t o = 0; o < g->n_ops; o++)
        for (int i = 0; g->ops[o].op == OP_ADD && i < g->ops[o].n_in; i++)
            if (g->ops[o].in[i] == weight.id)
                return false;
    return true;
}

/* Takes over g. */
static bool fed_init(struct fed *f, const struct backend *b, struct graph *g, const struct case_data *d, struct err *e)
{
    *f = (struct fed){ .program = program_new(b, g, e) };
    if (!f->program)
        return false;
    const struct graph *graph = program_graph(f->program);
    for (int i = 0; i <= OP_MAX_IN; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        if (i == OP_MAX_IN)
            strcpy(name, "factors");
        const double *from = i == OP_MAX_IN ? d->loss : d->in[i];
        struct value input = graph_find(graph, VALUE_INPUT, name), weight = graph_find(graph, VALUE_WEIGHT, name);
        struct value v = input.id ? input : weight;
        bool kept;
        if (!v.id)
            continue;
        if (!tensor_init(&f->in[i], graph_type(graph, v), graph_shape(graph, v), e))
            goto failed;
        if (i < OP_MAX_IN && d->stored[i] && f->in[i].type != DTYPE_F64)
            memcpy(f->in[i].data, d->stored[i], tensor_bytes(&f->in[i]));
        else
            fill(&f->in[i], from);
        if (input.id ? !program_set_input(f->program, name, f->in[i].data, e)
                     : !program_bind_weight(f->program, name, &f->in[i], &kept, e))
            goto failed;
        if (weight.id && !kept && d->stored[i] && reads_matrix(graph, weight)) { /* it must be read where it lies */
            err_set(e, ERR_BACKEND, "%s was copied", name);
            goto failed;
        }
        if (weight.id && !kept) /* a packed weight's bytes may be forgotten: so nothing may read them again */
            memset(f->in[i].data, 0xFF, tensor_bytes(&f->in[i]));
    }
    return true;
failed:
    fed_release(f);
    return false;
}

bool case_run(const struct backend *b, const struct op_case *c, struct case_types types, const struct case_data *d,
              bool gradient, struct case_result *r, struct err *e)
{
    struct graph g;
    struct fed fed;
    *r = (struct case_result){ 0 };
    graph_init(&g);
    struct case_values v = case_build(c, types, &g);
    struct value outputs[OP_MAX_IN] = { 0 };
    int n = v.n_out;
    memcpy(outputs, v.out, sizeof v.out);
    if (gradient) {
        struct value loss = add_loss(&g, v.out[0]), wrt[OP_MAX_IN], grads[OP_MAX_IN];
        size_t count = 0;
        int index[OP_MAX_IN];
        for (int i = 0; i < v.n_in; i++)
            if (v.letters[i] != '-' && v.letters[i] != 'I') {
                index[count] = i;
                wrt[count++] = v.in[i];
            }
        if (!graph_ok(&g, e) || !graph_gradient(&g, loss, wrt, count, false, grads, e)) {
            graph_release(&g);
            return false;
        }
        n = OP_MAX_IN;
        memset(outputs, 0, sizeof outputs);
        for (size_t i = 0; i < count; i++)
            outputs[index[i]] = grads[i];
    }
    for (int i = 0; i < n; i++)
        graph_output(&g, outputs[i]);
    if (!graph_verify(&g, e)) {
        graph_release(&g);
        return false;
    }
    if (!fed_init(&fed, b, &g, d, e))
        return false;
    bool ok = program_run(fed.program, e);
    for (int i = 0; ok && i < n; i++) {
        if (!outputs[i].id)
            continue;
        const struct graph *graph = program_graph(fed.program);
        const void *data = program_output(fed.program, outputs[i]);
        r->count[i] = shape_count(graph_shape(graph, outputs[i]));
        r->type[i] = graph_type(graph, outputs[i]);
        r->v[i] = mem_zeroed((size_t)r->count[i], sizeof *r->v[i]);
        if (!data || !r->v[i]) {
            ok = err_set(e, ERR_NOMEM, "no memory for output %d, or it has no data", i);
            break;
        }
        for (int64_t k = 0; k < r->count[i]; k++)
            r->v[i][k] = dtype_load(data, r->type[i], k);
    }
    if (!ok)
        case_result_release(r);
    fed_release(&fed);
    return ok;
}

void case_result_release(struct case_result *r)
{
    for (int i = 0; i < OP_MAX_IN; i++)
        mem_free(r->v[i]);
    *r = (struct case_result){ 0 };
}

bool case_can(const struct backend *b, const struct op_case *c, struct case_types types)
{
    struct graph g;
    graph_init(&g);
    case_build(c, types, &g);
    bool can = false;
    if (g.n_ops) {
        const struct op_node *node = &g.ops[g.n_ops - 1];
        struct op_call call = { .graph = &g, .node = node };
        for (int i = 0; i < node->n_in; i++) {
            const struct value_info *v = &g.values[node->in[i]];
            call.in[i] = (struct tensor){ .type = v->type, .shape = v->shape };
            call.is_constant[i] = v->kind == VALUE_WEIGHT && !v->mutable_;
        }
        for (int i = 0; i < node->n_out; i++) {
            const struct value_info *v = &g.values[node->out[i]];
            call.out[i] = (struct tensor){ .type = v->type, .shape = v->shape };
        }
        can = b->can(b, &call);
    }
    graph_release(&g);
    return can;
}

struct case_loss {
    struct fed fed;
    struct value loss;
    const struct case_data *data;
};

struct case_loss *case_loss_new(const struct backend *b, const struct op_case *c, const struct case_data *d,
                                struct err *e)
{
    struct case_loss *l = mem_zeroed(1, sizeof *l);
    if (!l) {
        err_nomem(e, "a loss");
        return NULL;
    }
    struct graph g;
    graph_init(&g);
    struct case_values v = case_build(c, (struct case_types){ DTYPE_F64, DTYPE_F64, false, false, DTYPE_F32 }, &g);
    l->loss = add_loss(&g, v.out[0]);
    l->data = d;
    graph_output(&g, l->loss);
    if (!graph_ok(&g, e))
        graph_release(&g);
    else if (fed_init(&l->fed, b, &g, d, e))
        return l;
    mem_free(l);
    return NULL;
}

bool case_loss_at(struct case_loss *l, double *loss, struct err *e)
{
    for (int i = 0; i < OP_MAX_IN; i++)
        if (l->fed.in[i].data)
            fill(&l->fed.in[i], l->data->in[i]);
    if (!program_run(l->fed.program, e))
        return false;
    *loss = *(const double *)program_output(l->fed.program, l->loss);
    return true;
}

void case_loss_free(struct case_loss *l)
{
    if (l)
        fed_release(&l->fed);
    mem_free(l);
}

bool case_near(const char *what, uint64_t seed, int array, const double *came, const double *wanted, int64_t count,
               double tolerance, double floor)
{
    double largest = 0, worst = -1;
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(wanted[i]))
            largest = fmax(largest, fabs(wanted[i]));
    for (int64_t i = 0; i < count; i++) {
        bool same = isfinite(wanted[i]) ? isfinite(came[i])
                                        : isnan(wanted[i]) ? isnan(came[i]) : came[i] == wanted[i];
        double d = !same ? INFINITY : isfinite(wanted[i]) ? fabs(came[i] - wanted[i]) : 0;
        if (d > worst) {
            worst = d;
            at = i;
        }
    }
    if (worst <= tolerance * largest + floor)
        return true;
    fprintf(stderr, "%s, seed %llu: array %d [%lld of %lld]: came %.9g, wanted %.9g; off by %.2g of the largest "
            "(%.3g), allowed %g\n", what, (unsigned long long)seed, array, (long long)at, (long long)count, came[at],
            wanted[at], largest > 0 ? worst / largest : worst, largest, tolerance);
    return false;
}
