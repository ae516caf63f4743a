/* oneDNN primitives as ops: what matmul and the convolutions share.
 *
 * An op describes its operands in the form the graph has them (`user`), lets oneDNN choose the form it works on (`prim`),
 * and everything in between is made here: constant weights are reordered once (pack), other operands at each run through
 * scratch (so are constant weights of types smaller than 16 bits: packed, they would be the model's second and larger copy), and where
 * a processor has no kernel for bf16 the work is done in f32. */
#ifndef LIMN_BACKEND_CPU_DNNL_INTERNAL_H
#define LIMN_BACKEND_CPU_DNNL_INTERNAL_H

#include "backend/cpu/cpu_internal.h"

enum { DNNL_MOST_OPERANDS = 6 };

struct dnnl_operand {
    int arg;         /* DNNL_ARG_SRC and so on */
    bool is_output;
    int index;       /* of call->in or call->out */
    int prim_query;  /* which memory descriptor of the primitive it is (dnnl_query_src_md, ...); -1: as `user` */
    dnnl_memory_desc_t user, prim;
    bool any;        /* oneDNN may choose the layout */

    bool direct;                 /* user and prim are the same: no copy */
    bool convert;                /* the file's type is unknown to oneDNN: first to `user`'s type */
    size_t convert_at, prim_at;  /* offsets in scratch */
    dnnl_memory_t user_memory, prim_memory;
    dnnl_primitive_t reorder;    /* NULL if the layouts are the same */
};

/* state of an op_call */
struct dnnl_work {
    struct dnnl_operand operands[DNNL_MOST_OPERANDS];
    int count;
    dnnl_primitive_t primitive;
    dnnl_memory_t scratchpad;
    size_t scratchpad_at;
};

/* Makes the primitive descriptor for computing in type `t` (dnnl_f32 or dnnl_bf16): reads operands[].prim, which has the
 * wished layout in that type. Returns oneDNN's status. */
typedef dnnl_status_t dnnl_describe(const struct op_call *call, const struct dnnl_work *work, dnnl_data_type_t t,
                                    dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                                    dnnl_primitive_desc_t *descriptor);

/* Adds an operand: strides in elements (NULL: row-major). The operand's own type is that of the call. */
void dnnl_operand_add(const struct op_call *call, struct dnnl_work *work, int arg, bool is_output, int index,
                      int prim_query, int rank, const dnnl_dim_t *dims, const dnnl_dim_t *strides, bool any);

/* Makes primitive and reorders; takes over work's contents into call->state. The op's activation and residual become
 * post-ops: act first, then the sum. */
MUST_USE bool dnnl_finish(const struct cpu *cpu, struct op_call *call, struct dnnl_work *work, dnnl_describe *describe,
                          struct err *e);

/* The argument number of a residual: the binary post-op behind the activation, if there is one. */
static inline int dnnl_residual_arg(const struct op_call *call)
{
    return DNNL_ARG_ATTR_MULTIPLE_POST_OP(call->node->attr.fn != UNARY_NONE) | DNNL_ARG_SRC_1;
}

bool dnnl_op_pack(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed,
                  struct err *e);
bool dnnl_op_run(const struct cpu *cpu, struct op_call *call, struct err *e);
void dnnl_op_release(struct op_call *call);

#endif
