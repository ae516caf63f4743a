#include "graph/graph_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"

enum { VIEW = 1, REUSE = 2 };

const struct op_rules op_rules[OP_COUNT] = {
    [OP_NONE] = { .desc = { .name = "none" } },
#define OP(constant, op_name, least, most, n_outs, n_updates, shape, gradient_of, flags)                              \
    [constant] = { .desc = { .name = op_name, .least_in = least, .most_in = most, .outs = n_outs,                     \
                             .updates = n_updates, .view = ((flags) & VIEW) != 0, .reuse = ((flags) & REUSE) != 0,    \
                             .has_gradient = __builtin_strcmp(#gradient_of, "NULL") != 0 },                           \
                   .infer = shape, .gradient = gradient_of },
#include "graph/op.def"
#undef OP
};

const struct op_desc *op_desc(enum op op)
{
    return &op_rules[op].desc;
}

const char *unary_name(enum unary fn)
{
    static const char *const names[] = {
#define X(constant, name) [constant] = name,
        UNARY_TABLE(X)
#undef X
    };
    return fn < UNARY_COUNT ? names[fn] : "?";
}

void graph_init(struct graph *g)
{
    *g = (struct graph){ .n_values = 1 };
}

void graph_release(struct graph *g)
{
    for (size_t i = 1; i < g->n_values; i++)
        mem_free((char *)(uintptr_t)g->values[i].name);
    mem_free(g->values);
    mem_free(g->ops);
    *g = (struct graph){ .n_values = 1 };
}

bool graph_ok(const struct graph *g, struct err *e)
{
    return g->err.code == ERR_NONE || err_set(e, g->err.code, "%s", g->err.text);
}

struct value graph_fail(struct graph *g, enum err_code code, const char *format, ...)
{
    char text[sizeof g->err.text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&g->err, code, "%s", text);
    return VALUE_NONE;
}

/* Makes a value; returns its number or 0 with the cause in g->err. */
static int32_t new_value(struct graph *g, enum value_kind kind, enum dtype type, struct shape shape)
{
    struct value_info *grown = mem_grow(g->values, &g->cap_values, g->n_values + 1, sizeof *g->values);
    if (!grown) {
        err_nomem(&g->err, "a graph");
        return 0;
    }
    g->values = grown;
    g->values[0] = (struct value_info){ 0 };
    g->values[g->n_values] = (struct value_info){ .kind = kind, .type = type, .shape = shape, .op = -1 };
    return (int32_t)g->n_values++;
}

static bool shape_sane(struct shape s)
{
    if (s.rank < 0 || s.rank > SHAPE_MAX_RANK)
        return false;
    int64_t count = 1;
    for (int i = 0; i < s.rank; i++)
        if (s.dim[i] < 1 || __builtin_mul_overflow(count, s.dim[i], &count) || count > (int64_t)1 << 40)
            return false;
    return true;
}

static struct value named_value(struct graph *g, enum value_kind kind, const char *name, enum dtype type,
                                struct shape shape)
{
    if (g->err.code)
        return VALUE_NONE;
    if (!shape_sane(shape))
        return graph_fail(g, ERR_SHAPE, "%s: the shape %s is empty or too large", name, shape_text(shape).s);
    struct value there = graph_find(g, kind, name);
    if (there.id) {
        const struct value_info *v = graph_value(g, there);
        if (v->type != type || !shape_same(v->shape, shape))
            return graph_fail(g, ERR_SHAPE, "%s is used as %s %s and as %s %s", name, dtype_name(v->type),
                              shape_text(v->shape).s, dtype_name(type), shape_text(shape).s);
        return there;
    }
    char *copy = mem_string(name);
    int32_t id = copy ? new_value(g, kind, type, shape) : 0;
    if (!id) {
        mem_free(copy);
        err_nomem(&g->err, "a graph");
        return VALUE_NONE;
    }
    g->values[id].name = copy;
    return (struct value){ id };
}

struct value graph_input(struct graph *g, const char *name, enum dtype type, struct shape shape)
{
    return named_value(g, VALUE_INPUT, name, type, shape);
}

struct value graph_weight(struct graph *g, const char *name, enum dtype type, struct shape shape, bool mutable_)
{
    struct value v = named_value(g, VALUE_WEIGHT, name, type, shape);
    if (v.id && mutable_)
        g->values[v.id].mutable_ = true;
    return v;
}

void graph_output(struct graph *g, struct value v)
{
    if (v.id)
        g->values[v.id].is_output = true;
}

struct value graph_find(const struct graph *g, enum value_kind kind, const char *name)
{
    for (size_t i = 1; i < g->n_values; i++)
        if (g->values[i].kind == kind && g->values[i].name && !strcmp(g->values[i].name, name))
            return (struct value){ (int32_t)i };
    return VALUE_NONE;
}

struct shape graph_shape(const struct graph *g, struct value v)
{
    return v.id ? g->values[v.id].shape : (struct shape){ 0 };
}

enum dtype graph_type(const struct graph *g, struct value v)
{
    return v.id ? g->values[v.id].type : DTYPE_F32;
}

void graph_block_begin(struct graph *g)
{
    g->block = ++g->last_block;
}

void graph_block_end(struct graph *g)
{
    g->block = 0;
}

struct value graph_out(const struct graph *g, struct value v, int slot)
{
    if (!v.id || g->values[v.id].op < 0)
        return VALUE_NONE;
    const struct op_node *node = &g->ops[g->values[v.id].op];
    return slot < node->n_out ? (struct value){ node->out[slot] } : VALUE_NONE;
}

struct op_text op_text(const struct graph *g, const struct op_node *node)
{
    struct op_text t;
    size_t used = (size_t)snprintf(t.s, sizeof t.s, "%s", op_desc(node->op)->name);
    for (int i = 0; i < node->n_in && used < sizeof t.s; i++) {
        const struct value_info *v = node->in[i] ? &g->values[node->in[i]] : NULL;
        const char *between = i ? " x " : " ";
        used += v ? (size_t)snprintf(t.s + used, sizeof t.s - used, "%s%s %s", between, shape_text(v->shape).s,
                                     dtype_name(v->type))
                  : (size_t)snprintf(t.s + used, sizeof t.s - used, "%s-", between);
    }
    return t;
}

/* Runs the shape rule of a node whose inputs are in place. */
static bool infer(const struct graph *g, const struct op_node *node, struct shape_call *c, struct err *e)
{
    *c = (struct shape_call){ .g = g, .node = node };
    for (int i = 0; i < node->n_in; i++)
        c->in[i] = node->in[i] ? &g->values[node->in[i]] : NULL;
    if (!op_rules[node->op].infer(c, e))
        return err_add(e, "in %s", op_text(g, node).s);
    for (int i = 0; i < node->n_out; i++)
        if (!shape_sane(c->out[i].shape))
            return err_set(e, ERR_SHAPE, "the result of %s would have the shape %s", op_text(g, node).s,
                           shape_text(c->out[i].shape).s);
    return true;
}

struct value graph_add(struct graph *g, enum op op, const struct value *in, int n_in, const struct op_attr *attr)
{
    const struct op_desc *desc = op_desc(op);
    if (g->err.code)
        return VALUE_NONE;
    struct op_node node = { .op = op, .n_in = n_in, .n_out = desc->outs, .block = g->block, .attr = *attr };
    if (n_in < desc->least_in || n_in > desc->most_in)
        return graph_fail(g, ERR_ARG, "%s takes %d to %d inputs, got %d", desc->name, desc->least_in, desc->most_in,
                          n_in);
    for (int i = 0; i < n_in; i++) {
        if (i < desc->least_in && !in[i].id)
            return graph_fail(g, ERR_ARG, "input %d of %s is missing", i, desc->name);
        node.in[i] = in[i].id;
    }
    struct shape_call c;
    if (!infer(g, &node, &c, &g->err))
        return VALUE_NONE;
    struct op_node *grown = mem_grow(g->ops, &g->cap_ops, g->n_ops + 1, sizeof *g->ops);
    if (!grown) {
        err_nomem(&g->err, "a graph");
        return VALUE_NONE;
    }
    g->ops = grown;
    for (int i = 0; i < node.n_out; i++) {
        node.out[i] = new_value(g, VALUE_OP, c.out[i].type, c.out[i].shape);
        if (!node.out[i])
            return VALUE_NONE;
        g->values[node.out[i]].op = (int32_t)g->n_ops;
    }
    g->ops[g->n_ops++] = node;
    return (struct value){ node.out[0] };
}

void graph_count_uses(const struct graph *g, int32_t *counts)
{
    for (size_t i = 0; i < g->n_values; i++)
        counts[i] = g->values[i].is_output ? 1 : 0;
    for (size_t o = 0; o < g->n_ops; o++)
        for (int i = 0; g->ops[o].op != OP_NONE && i < g->ops[o].n_in; i++)
            counts[g->ops[o].in[i]]++;
}

bool graph_verify(const struct graph *g, struct err *e)
{
    if (!graph_ok(g, e))
        return false;
    for (size_t o = 0; o < g->n_ops; o++) {
        const struct op_node *node = &g->ops[o];
        const struct op_desc *desc = op_desc(node->op);
        if (node->op == OP_NONE)
            continue;
        if (node->n_in < desc->least_in || node->n_in > desc->most_in || node->n_out != desc->outs)
            return err_set(e, ERR_ARG, "op %zu (%s) has %d inputs and %d outputs", o, desc->name, node->n_in,
                           node->n_out);
        for (int i = 0; i < node->n_in; i++) {
            int32_t id = node->in[i];
            if (!id && i >= desc->least_in)
                continue;
            if (id <= 0 || (size_t)id >= g->n_values || g->values[id].op >= (int32_t)o ||
                (g->values[id].op >= 0 && g->ops[g->values[id].op].op == OP_NONE))
                return err_set(e, ERR_ARG, "op %zu (%s): input %d is not made before it", o, desc->name, i);
        }
        struct shape_call c;
        if (!infer(g, node, &c, e))
            return false;
        for (int i = 0; i < node->n_out; i++) {
            const struct value_info *v = &g->values[node->out[i]];
            if (v->op != (int32_t)o || v->type != c.out[i].type || !shape_same(v->shape, c.out[i].shape))
                return err_set(e, ERR_SHAPE, "op %zu (%s): output %d is %s, its rule says %s", o, desc->name, i,
                               shape_text(v->shape).s, shape_text(c.out[i].shape).s);
            if (i < desc->updates && !g->values[node->in[i]].mutable_ && g->values[node->in[i]].op < 0)
                return err_set(e, ERR_ARG, "op %zu (%s) updates %s, which is not mutable", o, desc->name,
                               g->values[node->in[i]].name);
        }
    }
    return true;
}

void graph_dump(const struct graph *g, struct text *out)
{
    for (size_t o = 0; o < g->n_ops; o++) {
        const struct op_node *node = &g->ops[o];
        if (node->op == OP_NONE)
            continue;
        text_addf(out, "%%%d", (int)node->out[0]);
        for (int i = 1; i < node->n_out; i++)
            text_addf(out, ", %%%d", (int)node->out[i]);
        const struct value_info *y = &g->values[node->out[0]];
        text_addf(out, " = %s(", op_desc(node->op)->name);
        for (int i = 0; i < node->n_in; i++) {
            const struct value_info *v = node->in[i] ? &g->values[node->in[i]] : NULL;
            text_add(out, i ? ", " : "");
            if (v && v->name)
                text_add(out, v->name);
            else
                text_addf(out, "%%%d", (int)node->in[i]);
        }
        text_addf(out, ")%s%s : %s %s%s", node->attr.fn ? " " : "", node->attr.fn ? unary_name(node->attr.fn) : "",
                  dtype_name(y->type), shape_text(y->shape).s, node->block ? "" : "");
        if (node->block)
            text_addf(out, "  block %d", (int)node->block);
        text_add(out, "\n");
    }
}

double op_flops(const struct graph *g, const struct op_node *node)
{
    const struct value_info *y = &g->values[node->out[0]], *a = &g->values[node->in[0]], *b = &g->values[node->in[1]];
    double out = (double)shape_count(y->shape);
    switch (node->op) {
    case OP_MATMUL: {
        double inner = (double)(node->attr.trans_a ? shape_rows(a->shape) : shape_last(a->shape));
        return 2 * out * inner;
    }
    case OP_CONV2D: /* per output pixel and channel: c kh kw multiply-adds */
        return 2 * out * (double)(b->shape.dim[1] * b->shape.dim[2] * b->shape.dim[3]);
    case OP_CONV2D_GRAD_X:
        return 2 * (double)shape_count(a->shape) * (double)(b->shape.dim[1] * b->shape.dim[2] * b->shape.dim[3]);
    case OP_CONV2D_GRAD_W: /* dy's pixels times the weight's size */
        return 2 * (double)(a->shape.dim[0] * a->shape.dim[1] * a->shape.dim[2]) * out;
    case OP_ATTENTION:
    case OP_ATTENTION_GRAD: {
        double pairs = (double)(a->shape.dim[0] * a->shape.dim[1]) * (double)b->shape.dim[1];
        return pairs * (double)a->shape.dim[2] * (node->op == OP_ATTENTION ? 4 : 10);
    }
    default:
        return 0;
    }
}
