#include "backend/ref/ref.h"

#include "backend/ref/ref_internal.h"

static ref_function *const functions[OP_COUNT] = {
    [OP_MATMUL] = ref_matmul,
    [OP_CONV2D] = ref_conv2d,
    [OP_CONV2D_GRAD_X] = ref_conv2d_grad_x,
    [OP_CONV2D_GRAD_W] = ref_conv2d_grad_w,
    [OP_ADD] = ref_binary,
    [OP_SUB] = ref_binary,
    [OP_MUL] = ref_binary,
    [OP_DIV] = ref_binary,
    [OP_SCALE] = ref_scale,
    [OP_CLAMP] = ref_clamp,
    [OP_CLAMP_GRAD] = ref_clamp_grad,
    [OP_UNARY] = ref_unary,
    [OP_UNARY_GRAD] = ref_unary_grad,
    [OP_GATED] = ref_gated,
    [OP_GATED_GRAD] = ref_gated_grad,
    [OP_GROUP_NORM] = ref_group_norm,
    [OP_GROUP_NORM_GRAD] = ref_group_norm_grad,
    [OP_LAYER_NORM] = ref_layer_norm,
    [OP_LAYER_NORM_GRAD] = ref_layer_norm_grad,
    [OP_SOFTMAX] = ref_softmax,
    [OP_SOFTMAX_GRAD] = ref_softmax_grad,
    [OP_RMS_NORM] = ref_rms_norm,
    [OP_RMS_NORM_GRAD] = ref_rms_norm_grad,
    [OP_ROTARY] = ref_rotary,
    [OP_ATTENTION] = ref_attention,
    [OP_ATTENTION_GRAD] = ref_attention_grad,
    [OP_UPSAMPLE] = ref_upsample,
    [OP_AVG_POOL] = ref_avg_pool,
    [OP_CONCAT] = ref_concat,
    [OP_SLICE] = ref_slice,
    [OP_PLACE] = ref_place,
    [OP_RESHAPE] = ref_copy,
    [OP_CAST] = ref_copy,
    [OP_SUM_TO] = ref_sum_to,
    [OP_EXPAND] = ref_expand,
    [OP_SUM_SQUARES] = ref_sum_squares,
    [OP_EMBEDDING] = ref_embedding,
    [OP_EMBEDDING_GRAD] = ref_embedding_grad,
    [OP_TIMESTEP_EMBEDDING] = ref_timestep_embedding,
    [OP_ACCUMULATE] = ref_accumulate,
    [OP_ADAMW] = ref_adamw,
    [OP_ADAMW8] = ref_adamw8,
    [OP_LION] = ref_lion,
    [OP_ADAFACTOR] = ref_adafactor,
    [OP_ADAFACTOR_WHOLE] = ref_adafactor_whole,
    [OP_PRODIGY_MEASURE] = ref_prodigy_measure,
    [OP_PRODIGY] = ref_prodigy,
    [OP_EMA] = ref_ema,
};

enum { LARGE_BYTES = 1 << 20, LARGE_FLOPS = 30000000 };

static bool is_floating(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F64 || t == DTYPE_BF16 || t == DTYPE_F16;
}

/* Inputs may also be weights of types for storage. */
static bool is_readable(enum dtype t)
{
    return is_floating(t) || t == DTYPE_F8_E4M3 || t == DTYPE_F8_E5M2 || dtype_is_quantised(t);
}

/* Rows of a table, places, counts. */
static bool takes_whole_numbers(enum op op, int input)
{
    switch (op) {
    case OP_EMBEDDING:
    case OP_EMBEDDING_GRAD:
    case OP_ROTARY: return input == 1;
    case OP_ATTENTION: return input == 3;
    case OP_ATTENTION_GRAD: return input == 6;
    default: return false;
    }
}

/* Moments that are kept as codes, among inputs and outputs. */
static bool takes_codes(enum op op, int place)
{
    return op == OP_ADAMW8 && (place == 1 || place == 2);
}

static bool ref_can(const struct backend *b, const struct op_call *call)
{
    const struct op_node *node = call->node;
    if (node->op >= OP_COUNT || !functions[node->op])
        return false;
    for (int i = 0; i < node->n_in; i++) {
        enum dtype t = call->in[i].type;
        if (!node->in[i])
            continue;
        if (takes_whole_numbers(node->op, i) ? t != DTYPE_I32 : takes_codes(node->op, i) ? t != DTYPE_U8 : !is_readable(t))
            return false;
    }
    for (int i = 0; i < node->n_out; i++)
        if (takes_codes(node->op, i) ? call->out[i].type != DTYPE_U8 : !is_floating(call->out[i].type))
            return false;
    return true;
}

/* Every array starts on a cache line. */
static size_t doubles_of(const struct tensor *t)
{
    return ((size_t)shape_count(t->shape) + 7) & ~(size_t)7;
}

static bool ref_prepare(const struct backend *b, struct op_call *call, struct err *e)
{
    const struct op_node *node = call->node;
    if (!ref_can(b, call))
        return err_set(e, ERR_TYPE, "ref cannot do %s", op_text(call->graph, node).s);
    size_t doubles = 0;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i])
            doubles += doubles_of(&call->in[i]);
    for (int i = 0; i < node->n_out; i++)
        doubles += doubles_of(&call->out[i]);
    call->scratch_bytes = doubles * sizeof(double);
    return true;
}

/* Never called: prepare asks for no packed input. */
static bool ref_pack(const struct backend *b, const struct op_call *call, int index, const void *src, void *packed,
                     struct err *e)
{
    return err_set(e, ERR_BACKEND, "ref packs nothing (input %d)", index);
}

static bool ref_run(const struct backend *b, struct op_call *call, struct err *e)
{
    const struct op_node *node = call->node;
    struct ref_args args = { .attr = &node->attr, .call = call };
    args.large = call->scratch_bytes > LARGE_BYTES || op_flops(call->graph, node) > LARGE_FLOPS;
    double *at = call->scratch;
    for (int i = 0; i < node->n_in; i++) {
        const struct tensor *t = &call->in[i];
        if (!node->in[i] || !t->data)
            continue;
        int64_t count = shape_count(t->shape);
        if (dtype_is_quantised(t->type)) {
            (void)dtype_convert(at, DTYPE_F64, t->data, t->type, (size_t)count); /* block by block: loading one number unpacks all */
        } else {
#pragma omp parallel for if (args.large)
            for (int64_t k = 0; k < count; k++)
                at[k] = dtype_load(t->data, t->type, k);
        }
        args.in[i] = at;
        at += doubles_of(t);
    }
    for (int i = 0; i < node->n_out; i++) {
        args.out[i] = at;
        at += doubles_of(&call->out[i]);
    }
    if (!functions[node->op](&args, e))
        return err_add(e, "in %s", op_text(call->graph, node).s);
    for (int i = 0; i < node->n_out; i++) {
        const struct tensor *t = &call->out[i];
        int64_t count = shape_count(t->shape);
        if (!t->data) /* an output that nobody reads may have no memory */
            continue;
#pragma omp parallel for if (args.large)
        for (int64_t k = 0; k < count; k++)
            dtype_store(t->data, t->type, k, args.out[i][k]);
    }
    return true;
}

static void ref_release(const struct backend *b, struct op_call *call)
{
}

const struct backend *backend_ref(void)
{
    static const struct backend ref = {
        .name = "ref", .can = ref_can, .prepare = ref_prepare, .pack = ref_pack, .run = ref_run, .release = ref_release,
    };
    return &ref;
}
