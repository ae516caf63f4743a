/* A graph is a program of ops. A model writes it once per shape; everything else (gradients, fusion, planning, running)
 * is a pass over it.
 *
 *   value   an array that exists while the program runs: an input, a weight, or an op's output. Values are numbered in
 *           the order they are made; {0} is "none".
 *   op      one tensor operation; its inputs were made before it, so the order of ops is an order to run them in.
 *
 * Errors stick: a builder that is given a wrong shape stores the cause in the graph and returns {0}; builders that are
 * given {0} return {0}. So a model may build without looking, and ask once (graph_ok). */
#ifndef LIMN_GRAPH_GRAPH_H
#define LIMN_GRAPH_GRAPH_H

#include "base/err.h"
#include "tensor/tensor.h"

enum op {
    OP_NONE, /* an op that a pass removed */
#define OP(constant, ...) constant,
#include "graph/op.def"
#undef OP
    OP_COUNT
};

struct value {
    int32_t id;
};
#define VALUE_NONE ((struct value){ 0 })

/* One table of element-wise functions: constant, name. */
#define UNARY_TABLE(X) \
    X(UNARY_NONE, "none")             \
    X(UNARY_SILU, "silu")             /* x sigmoid(x) */                                   \
    X(UNARY_GELU, "gelu")             /* x Phi(x), by erf */                               \
    X(UNARY_GELU_TANH, "gelu_tanh")   /* Hendrycks and Gimpel 2016, the tanh form */       \
    X(UNARY_QUICK_GELU, "quick_gelu") /* x sigmoid(1.702 x): OpenAI's CLIP */              \
    X(UNARY_RELU, "relu")             \
    X(UNARY_LEAKY_RELU, "leaky_relu") /* slope 0.2 below 0 */                              \
    X(UNARY_SIGMOID, "sigmoid")       \
    X(UNARY_TANH, "tanh")             \
    X(UNARY_EXP, "exp")               \
    X(UNARY_LOG, "log")               \
    X(UNARY_SQRT, "sqrt")             \
    X(UNARY_SQUARE, "square")         \
    X(UNARY_ABS, "abs")               /* gradient 0 at 0 */                                \
    X(UNARY_SOFTPLUS, "softplus")     /* log(1 + exp x) */

enum unary {
#define X(constant, name) constant,
    UNARY_TABLE(X)
#undef X
    UNARY_COUNT
};
const char *unary_name(enum unary fn);

enum { OP_MAX_IN = 7, OP_MAX_OUT = 5 };

/* What an op needs beside its inputs. Which fields an op reads is said in ops.h; the others are 0. */
struct op_attr {
    enum unary fn;              /* unary, unary_grad; activation of group_norm, matmul, conv2d; gated: which */
    bool trans_a, trans_b;      /* matmul */
    enum dtype type;            /* type of output 0 where it is not input 0's: matmul, cast, embedding, ... */
    struct shape shape;         /* reshape, sum_to, expand, the conv gradients, embedding_grad, place */
    int64_t stride;             /* conv2d */
    int64_t pad[4];             /* conv2d: top, left, bottom, right, in pixels */
    int64_t groups;             /* group_norm */
    int64_t heads;              /* attention, rotary */
    int64_t factor;             /* upsample, avg_pool */
    int64_t axis, begin, count; /* concat, slice, place; rotary and timestep_embedding: count */
    bool causal;                /* attention */
    bool cosine_first;          /* timestep_embedding (diffusers: flip_sin_to_cos) */
    double eps;                 /* norms */
    double alpha, beta;         /* scale: alpha x + beta; clamp: least, most; attention: alpha scales q k'; timestep_embedding: frequency
                                   shift and largest period; rotary: factor of the angles and base */
};

struct op_node {
    enum op op;
    int n_in, n_out;
    int32_t in[OP_MAX_IN];  /* value numbers; 0 where an optional input is left out */
    int32_t out[OP_MAX_OUT];
    int32_t block;          /* recompute block it was built in; 0: none */
    struct op_attr attr;
};

enum value_kind { VALUE_OP, VALUE_INPUT, VALUE_WEIGHT };

struct value_info {
    enum value_kind kind;
    enum dtype type;
    struct shape shape;
    int32_t op;        /* index of the op that makes it; -1 for inputs and weights */
    bool is_output;    /* readable after the program ran */
    bool mutable_;     /* a weight that an op of some program overwrites: a backend must not keep a packed copy */
    const char *name;  /* inputs and weights; owned by the graph */
};

struct graph {
    struct value_info *values; /* values[0] is unused */
    size_t n_values, cap_values;
    struct op_node *ops;
    size_t n_ops, cap_ops;
    int32_t block, last_block;
    struct err err;
};

void graph_init(struct graph *g);
void graph_release(struct graph *g);
/* False with the first cause if building went wrong anywhere. */
MUST_USE bool graph_ok(const struct graph *g, struct err *e);

/* Data that comes from outside at each run. Names of inputs and weights are unique within their kind. */
struct value graph_input(struct graph *g, const char *name, enum dtype type, struct shape shape);
/* Data that stays from run to run. type is the type it is stored in; ops convert (see ops.h). Asking twice for a name
 * gives the same value; another type or shape for it is an error. */
struct value graph_weight(struct graph *g, const char *name, enum dtype type, struct shape shape, bool mutable_);
/* Marks v as readable after a run. */
void graph_output(struct graph *g, struct value v);

/* The input or weight with this name, or VALUE_NONE. */
struct value graph_find(const struct graph *g, enum value_kind kind, const char *name);

static inline const struct value_info *graph_value(const struct graph *g, struct value v)
{
    return &g->values[v.id];
}
struct shape graph_shape(const struct graph *g, struct value v);
enum dtype graph_type(const struct graph *g, struct value v);

/* Ops built between begin and end form a recompute block: with recompute on, the gradient pass keeps only what enters
 * the block and computes the rest again. Blocks do not nest. */
void graph_block_begin(struct graph *g);
void graph_block_end(struct graph *g);

/* Adds an op: checks arity, infers the shapes and types of all outputs. `in` may hold VALUE_NONE for optional inputs.
 * Returns output 0; the others are out_of(g, v, 1), ... Builders in ops.h are the ordinary door. */
struct value graph_add(struct graph *g, enum op op, const struct value *in, int n_in, const struct op_attr *attr);
/* Output `slot` of the op that made v. */
struct value graph_out(const struct graph *g, struct value v, int slot);

/* Stores the cause and returns VALUE_NONE. */
struct value graph_fail(struct graph *g, enum err_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Checks every invariant: inputs made before use, shapes as the rules give them, updates only on mutable weights. */
MUST_USE bool graph_verify(const struct graph *g, struct err *e);

struct text;
/* A line per op, for people. */
void graph_dump(const struct graph *g, struct text *out);

struct op_desc {
    const char *name;
    int least_in, most_in, outs, updates;
    bool view, reuse, has_gradient;
};
const struct op_desc *op_desc(enum op op);
/* "conv2d [2, 64, 64, 320] bf16 x [320, 320, 3, 3] bf16": for errors and profiles. */
struct op_text {
    char s[240];
};
struct op_text op_text(const struct graph *g, const struct op_node *node);

/* How many floating-point operations the op does (a multiply-add is 2); 0 for those that only move memory. */
double op_flops(const struct graph *g, const struct op_node *node);

#endif
