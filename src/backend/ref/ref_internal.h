/* What ref.c hands to the functions of the ops: the op's arrays as doubles. */
#ifndef LIMN_BACKEND_REF_REF_INTERNAL_H
#define LIMN_BACKEND_REF_REF_INTERNAL_H

#include "graph/backend.h"
#include "graph/ops.h"

/* in[i] is NULL where an optional input is left out. Outputs never overlap inputs, and hold nothing yet. */
struct ref_args {
    const struct op_attr *attr;
    const struct op_call *call; /* for shapes and types; not for data */
    const double *in[OP_MAX_IN];
    double *out[OP_MAX_OUT];
    bool large; /* worth several threads: waking them takes longer than most ops of a test */
};

typedef bool ref_function(const struct ref_args *a, struct err *e);

ref_function ref_matmul;
ref_function ref_conv2d, ref_conv2d_grad_x, ref_conv2d_grad_w;
ref_function ref_binary, ref_scale, ref_clamp, ref_clamp_grad, ref_unary, ref_unary_grad, ref_gated, ref_gated_grad;
ref_function ref_sum_squares;
ref_function ref_group_norm, ref_group_norm_grad, ref_layer_norm, ref_layer_norm_grad, ref_softmax, ref_softmax_grad;
ref_function ref_rms_norm, ref_rms_norm_grad, ref_rotary;
ref_function ref_attention, ref_attention_grad;
ref_function ref_upsample, ref_avg_pool;
ref_function ref_concat, ref_slice, ref_place, ref_copy, ref_sum_to, ref_expand;
ref_function ref_embedding, ref_embedding_grad, ref_timestep_embedding;
ref_function ref_accumulate, ref_adamw, ref_adamw8, ref_lion, ref_adafactor, ref_adafactor_whole, ref_prodigy_measure, ref_prodigy, ref_ema;

static inline struct shape ref_in_shape(const struct ref_args *a, int i)
{
    return a->call->in[i].shape;
}

static inline struct shape ref_out_shape(const struct ref_args *a, int i)
{
    return a->call->out[i].shape;
}

/* v as it comes back from memory of this type. */
static inline double ref_round(double v, enum dtype type)
{
    double bytes = 0;
    dtype_store(&bytes, type, 0, v);
    return dtype_load(&bytes, type, 0);
}

double ref_unary_value(enum unary fn, double x);
double ref_unary_slope(enum unary fn, double x);

/* The index in an array of shape `small` that goes with index `at` in `large`: same rank, dimensions of 1 repeat. */
int64_t ref_broadcast_index(struct shape large, struct shape small, int64_t at);

#endif
