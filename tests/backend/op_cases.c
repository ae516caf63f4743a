#include "backend/op_cases.h"

#include <math.h>

#define CASE(op_, name_, in_, out_, ...) { .op = op_, .name = name_, .in = in_, .out = out_, __VA_ARGS__ }

#define UNARY_CASES(fn_, name_, fill_)                                                                        \
    CASE(OP_UNARY, name_, "T[2,3,5,7]", "T[2,3,5,7]", .attr = { .fn = fn_ }, .fill = fill_),                  \
    CASE(OP_UNARY, name_ ", one", "T[1]", "T[1]", .attr = { .fn = fn_ }, .fill = fill_),                      \
    CASE(OP_UNARY_GRAD, name_, "T[5,67] T[5,67]", "T[5,67]", .attr = { .fn = fn_ }, .fill = fill_)

#define CLAMP_CASES(name_, x_, least_, most_)                                                                 \
    CASE(OP_CLAMP, name_, "T" x_, "T" x_, .attr = { .alpha = least_, .beta = most_ }),                        \
    CASE(OP_CLAMP_GRAD, name_, "T" x_ " T" x_, "T" x_, .attr = { .alpha = least_, .beta = most_ })

#define GATED_CASES(name_, x_, y_, fn_)                                                                       \
    CASE(OP_GATED, name_, "T" x_, "T" y_, .attr = { .fn = fn_ }),                                             \
    CASE(OP_GATED_GRAD, name_, "T" x_ " T" y_, "T" x_, .attr = { .fn = fn_ })

#define BINARY_CASES(op_, fill_)                                                                              \
    CASE(op_, "same shape", "T[2,3,5,7] T[2,3,5,7]", "T[2,3,5,7]", .fill = fill_),                            \
    CASE(op_, "per image and channel", "T[3,4,5,16] T[3,1,1,16]", "T[3,4,5,16]", .fill = fill_),              \
    CASE(op_, "per image and channel, odd", "T[2,3,3,13] T[2,1,1,13]", "T[2,3,3,13]", .fill = fill_),         \
    CASE(op_, "per channel", "T[2,3,4,40] T[1,1,1,40]", "T[2,3,4,40]", .fill = fill_),                        \
    CASE(op_, "per channel, a weight", "T[2,3,4,5] W[1,1,1,5]", "T[2,3,4,5]", .fill = fill_),                 \
    CASE(op_, "positions, a weight", "T[3,7,24] W[1,7,24]", "T[3,7,24]", .fill = fill_),                      \
    CASE(op_, "per pixel", "T[2,4,3,6] T[2,4,3,1]", "T[2,4,3,6]", .fill = fill_),                             \
    CASE(op_, "between", "T[2,4,3,6] T[1,4,1,6]", "T[2,4,3,6]", .fill = fill_),                               \
    CASE(op_, "one number", "T[3,2,2,9] T[1,1,1,1]", "T[3,2,2,9]", .fill = fill_),                            \
    CASE(op_, "rank 1", "T[17] T[17]", "T[17]", .fill = fill_),                                               \
    CASE(op_, "of sums' type", "T[6,5] S[6,1]", "T[6,5]", .fill = fill_)

#define ATTENTION_CASES(name_, q_, k_, y_, ...)                                                               \
    CASE(OP_ATTENTION, name_, "T" q_ " T" k_ " T" k_, "T" q_ " S" y_, .attr = { __VA_ARGS__ }),               \
    CASE(OP_ATTENTION_GRAD, name_, "T" q_ " T" k_ " T" k_ " T" q_, "T" q_ " T" k_ " T" k_,                    \
         .attr = { __VA_ARGS__ }, .with_forward = true)

/* pads_ is the batch. Every number of pads below `ids` is drawn. */
#define PADDED_CASES(name_, q_, k_, y_, pads_, ids_, ...)                                                     \
    CASE(OP_ATTENTION, name_, "T" q_ " T" k_ " T" k_ " I" pads_, "T" q_ " S" y_, .attr = { __VA_ARGS__ }, .ids = ids_), \
    CASE(OP_ATTENTION_GRAD, name_, "T" q_ " T" k_ " T" k_ " T" q_ " I" pads_, "T" q_ " T" k_ " T" k_,         \
         .attr = { __VA_ARGS__ }, .ids = ids_, .with_forward = true)

#define CONV_CASES(name_, x_, w_, o_, y_, ...)                                                                \
    CASE(OP_CONV2D, name_, "T" x_ " W" w_ " W" o_, "T" y_, .attr = { __VA_ARGS__ }),                          \
    CASE(OP_CONV2D_GRAD_X, name_, "T" y_ " W" w_, "T" x_, .attr = { __VA_ARGS__ }),                           \
    CASE(OP_CONV2D_GRAD_W, name_, "T" y_ " T" x_, "S" w_, .attr = { __VA_ARGS__ })

#define GROUP_NORM_CASES(name_, x_, c_, s_, ...)                                                              \
    CASE(OP_GROUP_NORM, name_, "T" x_ " W" c_ " W" c_, "T" x_ " S" s_ " S" s_, .attr = { __VA_ARGS__ }),      \
    CASE(OP_GROUP_NORM_GRAD, name_, "T" x_ " W" c_ " W" c_ " T" x_, "T" x_ " S" c_ " S" c_,                   \
         .attr = { __VA_ARGS__ }, .with_forward = true)

#define LAYER_NORM_CASES(name_, x_, c_, s_)                                                                   \
    CASE(OP_LAYER_NORM, name_, "T" x_ " W" c_ " W" c_, "T" x_ " S" s_ " S" s_, .attr = { .eps = 1e-5 }),      \
    CASE(OP_LAYER_NORM_GRAD, name_, "T" x_ " W" c_ " W" c_ " T" x_, "T" x_ " S" c_ " S" c_,                   \
         .attr = { .eps = 1e-5 }, .with_forward = true)

#define RMS_NORM_CASES(name_, x_, c_, s_)                                                                     \
    CASE(OP_RMS_NORM, name_, "T" x_ " W" c_, "T" x_ " S" s_, .attr = { .eps = 1e-5 }),                        \
    CASE(OP_RMS_NORM_GRAD, name_, "T" x_ " W" c_ " T" x_, "T" x_ " S" c_, .attr = { .eps = 1e-5 }, .with_forward = true)

#define ROTARY_CASES(name_, x_, t_, ...)                                                                      \
    CASE(OP_ROTARY, name_, "T" x_ " I" t_, "T" x_, .attr = { .beta = 10000, __VA_ARGS__ }, .ids = 300)

#define SOFTMAX_CASES(name_, x_)                                                                              \
    CASE(OP_SOFTMAX, name_, "T" x_, "T" x_),                                                                  \
    CASE(OP_SOFTMAX_GRAD, name_, "T" x_ " T" x_, "T" x_, .with_forward = true)

/* What graph_fuse may join for inference: any function behind a product. */
#define PRODUCT_CASES(fn_, name_, fill_)                                                                      \
    CASE(OP_MATMUL, name_, "T[6,24] W[24,17] W[17]", "T[6,17]", .attr = { .fn = fn_ }, .fill = fill_,         \
         .no_gradient = true),                                                                                \
    CASE(OP_CONV2D, name_, "T[1,5,4,8] W[16,8,3,3] W[16]", "T[1,5,4,16]",                                     \
         .attr = { .fn = fn_, .stride = 1, .pad = { 1, 1, 1, 1 } }, .fill = fill_, .no_gradient = true)

const struct op_case op_cases[] = {
    CASE(OP_MATMUL, "small", "T[2,5] W[5,7]", "T[2,7]"),
    CASE(OP_MATMUL, "one by one", "T[4,1] W[1,1]", "T[4,1]"),
    CASE(OP_MATMUL, "one row", "T[1,64] W[64,33]", "T[1,33]"),
    CASE(OP_MATMUL, "two activations", "T[7,33] T[33,17]", "T[7,17]"),
    CASE(OP_MATMUL, "linear", "T[3,7,20] W[9,20] W[9]", "T[3,7,9]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "linear, text width", "T[1,77,64] W[96,64] W[96]", "T[1,77,96]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "linear, no bias", "T[2,3,5,16] W[48,16]", "T[2,3,5,48]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "linear, rank 1", "T[12] W[5,12] W[5]", "T[5]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "weight gradient", "T[6,4,10] T[6,4,7]", "S[10,7]", .attr = { .trans_a = true }),
    CASE(OP_MATMUL, "weight gradient, odd", "T[77,31] T[77,45]", "S[31,45]", .attr = { .trans_a = true }),
    CASE(OP_MATMUL, "both turned", "T[6,5] W[8,6]", "T[5,8]", .attr = { .trans_a = true, .trans_b = true }),
    CASE(OP_MATMUL, "residual", "T[3,5,16] W[32,16] W[32] T[3,5,32]", "T[3,5,32]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "residual, no bias", "T[9,10] W[11,10] - T[9,11]", "T[9,11]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "stored", "T[3,7,512] Q[9,512] W[9]", "T[3,7,9]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "stored, large", "T[70,256] Q[320,256] W[320] T[70,320]", "T[70,320]", .attr = { .trans_b = true }),
    CASE(OP_MATMUL, "stored, not turned", "T[5,24] Q[24,32]", "T[5,32]"),
    CASE(OP_MATMUL, "silu", "T[6,24] W[17,24] W[17]", "T[6,17]",
         .attr = { .trans_b = true, .fn = UNARY_SILU }, .no_gradient = true),
    CASE(OP_MATMUL, "gelu", "T[6,24] W[32,24] W[32]", "T[6,32]",
         .attr = { .trans_b = true, .fn = UNARY_GELU }, .no_gradient = true),
    CASE(OP_MATMUL, "gelu_tanh", "T[6,24] W[32,24]", "T[6,32]",
         .attr = { .trans_b = true, .fn = UNARY_GELU_TANH }, .no_gradient = true),
    CASE(OP_MATMUL, "quick_gelu", "T[5,32] W[32,32] W[32]", "T[5,32]",
         .attr = { .trans_b = true, .fn = UNARY_QUICK_GELU }, .no_gradient = true),
    PRODUCT_CASES(UNARY_SIGMOID, "sigmoid", FILL_NORMAL),
    PRODUCT_CASES(UNARY_TANH, "tanh", FILL_NORMAL),
    PRODUCT_CASES(UNARY_RELU, "relu", FILL_NORMAL),
    PRODUCT_CASES(UNARY_EXP, "exp", FILL_NORMAL),
    PRODUCT_CASES(UNARY_LOG, "log", FILL_POSITIVE),
    PRODUCT_CASES(UNARY_SQRT, "sqrt", FILL_POSITIVE),
    PRODUCT_CASES(UNARY_SQUARE, "square", FILL_NORMAL),
    PRODUCT_CASES(UNARY_ABS, "abs", FILL_NORMAL),
    PRODUCT_CASES(UNARY_SOFTPLUS, "softplus", FILL_NORMAL),
    CASE(OP_MATMUL, "leaky_relu and residual", "T[5,8] W[8,8] W[8] T[5,8]", "T[5,8]",
         .attr = { .fn = UNARY_LEAKY_RELU }, .no_gradient = true),

    CONV_CASES("3x3", "[2,9,7,16]", "[32,16,3,3]", "[32]", "[2,9,7,32]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("odd channels", "[3,5,6,5]", "[7,5,3,3]", "[7]", "[3,5,6,7]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("4 in", "[2,8,8,4]", "[32,4,3,3]", "[32]", "[2,8,8,32]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("3 in", "[1,7,9,3]", "[16,3,3,3]", "[16]", "[1,7,9,16]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("3 out", "[2,8,6,32]", "[3,32,3,3]", "[3]", "[2,8,6,3]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("3x3, many pixels", "[2,33,30,40]", "[72,40,3,3]", "[72]", "[2,33,30,72]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("3x3, many channels", "[4,16,14,70]", "[97,70,3,3]", "[97]", "[4,16,14,97]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("1x1", "[2,5,5,20]", "[12,20,1,1]", "[12]", "[2,5,5,12]", .stride = 1),
    CONV_CASES("1x1, one pixel", "[1,1,1,1]", "[1,1,1,1]", "[1]", "[1,1,1,1]", .stride = 1),
    CONV_CASES("stride 2, padded behind", "[2,8,8,16]", "[16,16,3,3]", "[16]", "[2,4,4,16]", .stride = 2,
               .pad = { 0, 0, 1, 1 }),
    CONV_CASES("stride 2, odd size", "[2,7,9,6]", "[10,6,3,3]", "[10]", "[2,4,5,10]", .stride = 2,
               .pad = { 1, 1, 1, 1 }),
    CONV_CASES("stride 2, a row left over", "[1,8,6,5]", "[4,5,3,3]", "[4]", "[1,3,2,4]", .stride = 2),
    CONV_CASES("stride 2, 1x1", "[1,5,6,8]", "[16,8,1,1]", "[16]", "[1,3,3,16]", .stride = 2),
    CONV_CASES("patches", "[1,8,12,3]", "[10,3,4,4]", "[10]", "[1,2,3,10]", .stride = 4),
    CONV_CASES("4x4, stride 2", "[1,8,8,3]", "[16,3,4,4]", "[16]", "[1,4,4,16]", .stride = 2, .pad = { 1, 1, 1, 1 }),
    CONV_CASES("width 1", "[1,9,1,16]", "[16,16,3,3]", "[16]", "[1,9,1,16]", .stride = 1, .pad = { 1, 1, 1, 1 }),
    CASE(OP_CONV2D, "no bias", "T[1,6,6,8] W[8,8,3,3]", "T[1,6,6,8]", .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "residual", "T[2,6,5,16] W[16,16,3,3] W[16] T[2,6,5,16]", "T[2,6,5,16]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "residual, no bias, odd", "T[2,6,5,7] W[9,7,3,3] - T[2,6,5,9]", "T[2,6,5,9]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "stored", "T[2,6,5,32] Q[8,32,3,3] W[8]", "T[2,6,5,8]", .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "stored, one by one", "T[1,4,4,64] Q[32,64,1,1]", "T[1,4,4,32]", .attr = { .stride = 1 }),
    CASE(OP_CONV2D_GRAD_X, "stored", "T[2,6,5,8] Q[8,32,3,3]", "T[2,6,5,32]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "silu", "T[2,6,5,16] W[32,16,3,3] W[32]", "T[2,6,5,32]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 }, .fn = UNARY_SILU }, .no_gradient = true),
    CASE(OP_CONV2D, "silu and residual, many pixels", "T[1,31,33,24] W[25,24,3,3] W[25] T[1,31,33,25]", "T[1,31,33,25]",
         .attr = { .fn = UNARY_SILU, .stride = 1, .pad = { 1, 1, 1, 1 } }, .no_gradient = true),
    CASE(OP_CONV2D, "stored, many pixels", "T[1,31,33,32] Q[32,32,3,3]", "T[1,31,33,32]", .attr = { .stride = 1, .pad = { 1, 1, 1, 1 } }),
    CASE(OP_CONV2D, "relu, no bias", "T[2,6,5,3] W[9,3,3,3]", "T[2,6,5,9]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 }, .fn = UNARY_RELU }, .no_gradient = true),
    CASE(OP_CONV2D, "relu and residual", "T[1,6,6,8] W[8,8,3,3] W[8] T[1,6,6,8]", "T[1,6,6,8]",
         .attr = { .stride = 1, .pad = { 1, 1, 1, 1 }, .fn = UNARY_RELU }, .no_gradient = true),

    BINARY_CASES(OP_ADD, FILL_NORMAL),
    BINARY_CASES(OP_SUB, FILL_NORMAL),
    BINARY_CASES(OP_MUL, FILL_NORMAL),
    BINARY_CASES(OP_DIV, FILL_AWAY),

    CASE(OP_SCALE, "factor", "T[2,3,5]", "T[2,3,5]", .attr = { .alpha = 0.18215 }),
    CASE(OP_SCALE, "factor and term", "T[1001]", "T[1001]", .attr = { .alpha = -2, .beta = 0.5 }),
    CASE(OP_SCALE, "constant", "T[3,3]", "T[3,3]", .attr = { .beta = 4 }),

    /* Limits that no type holds exactly, so that no number lies on one, where there is no slope to measure. */
    CLAMP_CASES("both ends", "[2,3,5,7]", -0.7, 0.61),
    CLAMP_CASES("one number", "[1]", -0.7, 0.61),
    CLAMP_CASES("from below", "[67]", 0.1, INFINITY),
    CLAMP_CASES("wide enough", "[4,33]", -30, 20),

    UNARY_CASES(UNARY_SILU, "silu", FILL_NORMAL),
    UNARY_CASES(UNARY_GELU, "gelu", FILL_NORMAL),
    UNARY_CASES(UNARY_GELU_TANH, "gelu_tanh", FILL_NORMAL),
    UNARY_CASES(UNARY_QUICK_GELU, "quick_gelu", FILL_NORMAL),
    UNARY_CASES(UNARY_RELU, "relu", FILL_AWAY),
    UNARY_CASES(UNARY_LEAKY_RELU, "leaky_relu", FILL_AWAY),
    UNARY_CASES(UNARY_SIGMOID, "sigmoid", FILL_NORMAL),
    UNARY_CASES(UNARY_TANH, "tanh", FILL_NORMAL),
    UNARY_CASES(UNARY_EXP, "exp", FILL_NORMAL),
    UNARY_CASES(UNARY_LOG, "log", FILL_POSITIVE),
    UNARY_CASES(UNARY_SQRT, "sqrt", FILL_POSITIVE),
    UNARY_CASES(UNARY_SQUARE, "square", FILL_NORMAL),
    UNARY_CASES(UNARY_ABS, "abs", FILL_AWAY),
    UNARY_CASES(UNARY_SOFTPLUS, "softplus", FILL_NORMAL),

    GATED_CASES("geglu, odd", "[3,5,14]", "[3,5,7]", UNARY_GELU),
    GATED_CASES("geglu, one", "[1,2]", "[1,1]", UNARY_GELU),
    GATED_CASES("geglu, wide", "[4,128]", "[4,64]", UNARY_GELU),
    GATED_CASES("swiglu, odd", "[3,5,14]", "[3,5,7]", UNARY_SILU),
    GATED_CASES("swiglu, one", "[1,2]", "[1,1]", UNARY_SILU),
    GATED_CASES("swiglu, wide", "[4,128]", "[4,64]", UNARY_SILU),

    GROUP_NORM_CASES("32 groups", "[2,6,6,64]", "[64]", "[2,32]", .groups = 32, .eps = 1e-5),
    GROUP_NORM_CASES("32 groups, silu", "[2,6,5,96]", "[96]", "[2,32]", .groups = 32, .eps = 1e-6, .fn = UNARY_SILU),
    GROUP_NORM_CASES("3 groups of 10", "[3,5,5,30]", "[30]", "[3,3]", .groups = 3, .eps = 1e-5),
    GROUP_NORM_CASES("5 groups of 2, silu", "[2,4,6,10]", "[10]", "[2,5]", .groups = 5, .eps = 1e-5,
                     .fn = UNARY_SILU),
    GROUP_NORM_CASES("7 groups of 1", "[1,9,3,7]", "[7]", "[1,7]", .groups = 7, .eps = 1e-5),
    GROUP_NORM_CASES("one group, tokens", "[2,15,24]", "[24]", "[2,1]", .groups = 1, .eps = 1e-5),
    GROUP_NORM_CASES("no pixels between", "[3,12]", "[12]", "[3,4]", .groups = 4, .eps = 1e-5),
    GROUP_NORM_CASES("one image, silu", "[1,16,16,32]", "[32]", "[1,8]", .groups = 8, .eps = 1e-6, .fn = UNARY_SILU),

    LAYER_NORM_CASES("tokens", "[3,11,40]", "[40]", "[33]"),
    LAYER_NORM_CASES("odd", "[7,33]", "[33]", "[7]"),
    LAYER_NORM_CASES("wide", "[2,320]", "[320]", "[2]"),
    LAYER_NORM_CASES("width 1", "[5,1]", "[1]", "[5]"),
    LAYER_NORM_CASES("many rows", "[300,24]", "[24]", "[300]"),

    RMS_NORM_CASES("tokens", "[3,11,40]", "[40]", "[33]"),
    RMS_NORM_CASES("odd", "[7,33]", "[33]", "[7]"),
    RMS_NORM_CASES("wide", "[2,320]", "[320]", "[2]"),
    RMS_NORM_CASES("width 1", "[5,1]", "[1]", "[5]"),
    RMS_NORM_CASES("many rows", "[300,24]", "[24]", "[300]"),

    SOFTMAX_CASES("small", "[3,5]"),
    SOFTMAX_CASES("77 words", "[2,3,77]"),
    SOFTMAX_CASES("one", "[4,1]"),
    SOFTMAX_CASES("wide", "[2,513]"),

    ROTARY_CASES("half of a head", "[2,9,48]", "[2,9]", .heads = 3, .count = 8, .alpha = 1),
    ROTARY_CASES("whole heads", "[1,5,66]", "[1,5]", .heads = 3, .count = 22, .alpha = 1),
    ROTARY_CASES("back", "[2,3,128]", "[2,3]", .heads = 1, .count = 64, .alpha = -1),
    ROTARY_CASES("nothing", "[1,2,6]", "[1,2]", .heads = 2, .count = 0, .alpha = 1),
    ROTARY_CASES("many tokens", "[2,130,80]", "[2,130]", .heads = 2, .count = 20, .alpha = 1),

    PADDED_CASES("padded", "[3,9,24]", "[3,9,24]", "[3,3,9]", "[3]", 9, .heads = 3, .alpha = 0.35355339),
    PADDED_CASES("padded, causal", "[4,9,24]", "[4,9,24]", "[4,3,9]", "[4]", 9, .heads = 3, .alpha = 0.35355339,
                 .causal = true),
    PADDED_CASES("padded, causal, long", "[3,130,80]", "[3,130,80]", "[3,2,130]", "[3]", 130, .heads = 2,
                 .alpha = 0.15811388, .causal = true),
    PADDED_CASES("padded, causal, longer", "[2,300,32]", "[2,300,32]", "[2,1,300]", "[2]", 300, .heads = 1,
                 .alpha = 0.17677670, .causal = true),
    PADDED_CASES("padded, one query", "[3,1,64]", "[3,300,64]", "[3,2,1]", "[3]", 300, .heads = 2, .alpha = 0.17677670,
                 .causal = true),
    PADDED_CASES("padded by nothing", "[2,7,16]", "[2,7,16]", "[2,2,7]", "[2]", 1, .heads = 2, .alpha = 0.35355339,
                 .causal = true),
    ATTENTION_CASES("width 8", "[2,9,24]", "[2,77,24]", "[2,3,9]", .heads = 3, .alpha = 0.35355339),
    ATTENTION_CASES("width 33", "[1,10,66]", "[1,7,66]", "[1,2,10]", .heads = 2, .alpha = 0.17407766),
    ATTENTION_CASES("width 40", "[2,33,80]", "[2,77,80]", "[2,2,33]", .heads = 2, .alpha = 0.15811388),
    ATTENTION_CASES("width 40, itself", "[1,130,40]", "[1,130,40]", "[1,1,130]", .heads = 1, .alpha = 0.15811388),
    ATTENTION_CASES("width 64", "[1,65,128]", "[1,77,128]", "[1,2,65]", .heads = 2, .alpha = 0.125),
    ATTENTION_CASES("width 64, causal", "[2,77,128]", "[2,77,128]", "[2,2,77]", .heads = 2, .alpha = 0.125,
                    .causal = true),
    ATTENTION_CASES("width 64, sharp", "[1,20,64]", "[1,77,64]", "[1,1,20]", .heads = 1, .alpha = 1),
    ATTENTION_CASES("width 80", "[3,5,80]", "[3,77,80]", "[3,1,5]", .heads = 1, .alpha = 0.1118034),
    ATTENTION_CASES("width 128", "[1,34,256]", "[1,50,256]", "[1,2,34]", .heads = 2, .alpha = 0.08838835),
    ATTENTION_CASES("width 160", "[1,16,320]", "[1,77,320]", "[1,2,16]", .heads = 2, .alpha = 0.07905694),
    ATTENTION_CASES("width 512, as in a VAE", "[1,36,512]", "[1,36,512]", "[1,1,36]", .heads = 1,
                    .alpha = 0.04419417),
    ATTENTION_CASES("one key", "[2,4,16]", "[2,1,16]", "[2,2,4]", .heads = 2, .alpha = 0.35355339),
    ATTENTION_CASES("one query", "[1,1,32]", "[1,9,32]", "[1,4,1]", .heads = 4, .alpha = 0.35355339),
    ATTENTION_CASES("causal, more keys", "[1,5,16]", "[1,8,16]", "[1,2,5]", .heads = 2, .alpha = 0.35355339,
                    .causal = true),
    ATTENTION_CASES("many keys", "[1,70,40]", "[1,600,40]", "[1,1,70]", .heads = 1, .alpha = 0.15811388),

    CASE(OP_UPSAMPLE, "twice", "T[2,3,5,7]", "T[2,6,10,7]", .attr = { .factor = 2 }),
    CASE(OP_UPSAMPLE, "three times", "T[1,2,1,16]", "T[1,6,3,16]", .attr = { .factor = 3 }),
    CASE(OP_UPSAMPLE, "once", "T[3,2,2,1]", "T[3,2,2,1]", .attr = { .factor = 1 }),
    CASE(OP_AVG_POOL, "half", "T[2,6,4,7]", "T[2,3,2,7]", .attr = { .factor = 2 }),
    CASE(OP_AVG_POOL, "a third", "T[1,3,9,16]", "T[1,1,3,16]", .attr = { .factor = 3 }),
    CASE(OP_AVG_POOL, "all", "T[3,8,8,1]", "T[3,1,1,1]", .attr = { .factor = 8 }),

    CASE(OP_CONCAT, "channels", "T[2,3,4,5] T[2,3,4,7]", "T[2,3,4,12]", .attr = { .axis = 3 }),
    CASE(OP_CONCAT, "channels of 16", "T[1,4,4,16] T[1,4,4,32]", "T[1,4,4,48]", .attr = { .axis = 3 }),
    CASE(OP_CONCAT, "rows", "T[2,3,4] T[2,1,4]", "T[2,4,4]", .attr = { .axis = 1 }),
    CASE(OP_CONCAT, "images", "T[1,3,3,3] T[2,3,3,3]", "T[3,3,3,3]", .attr = { .axis = 0 }),
    CASE(OP_SLICE, "channels", "T[2,3,4,9]", "T[2,3,4,4]", .attr = { .axis = 3, .begin = 5, .count = 4 }),
    CASE(OP_SLICE, "one row", "T[2,5,8]", "T[2,1,8]", .attr = { .axis = 1, .begin = 4, .count = 1 }),
    CASE(OP_SLICE, "images", "T[4,3,3,2]", "T[2,3,3,2]", .attr = { .axis = 0, .begin = 1, .count = 2 }),
    CASE(OP_SLICE, "all", "T[6]", "T[6]", .attr = { .axis = 0, .begin = 0, .count = 6 }),
    CASE(OP_PLACE, "channels", "T[2,3,4,4]", "T[2,3,4,9]", .attr = { .axis = 3, .begin = 5 }),
    CASE(OP_PLACE, "one row", "T[2,1,8]", "T[2,5,8]", .attr = { .axis = 1, .begin = 2 }),
    CASE(OP_PLACE, "images", "T[2,3,3,2]", "T[4,3,3,2]", .attr = { .axis = 0, .begin = 0 }),
    CASE(OP_RESHAPE, "tokens", "T[2,3,4,5]", "T[2,12,5]"),
    CASE(OP_RESHAPE, "flat", "T[2,7]", "T[14]"),
    CASE(OP_RESHAPE, "image", "T[3,6,4]", "T[3,2,3,4]"),

    CASE(OP_CAST, "to sums' type", "T[3,5,7]", "S[3,5,7]"),
    CASE(OP_CAST, "from sums' type", "S[3,5,7]", "T[3,5,7]"),
    CASE(OP_CAST, "large", "T[70001]", "S[70001]"),
    CASE(OP_CAST, "from a stored type", "Q[4,192]", "T[4,192]", .no_gradient = true),
    CASE(OP_CAST, "from f16", "H[3,33]", "T[3,33]", .no_gradient = true),
    CASE(OP_CAST, "to f16", "T[3,33]", "H[3,33]", .no_gradient = true),

    CASE(OP_SUM_TO, "bias", "T[2,3,4,5]", "S[1,1,1,5]"),
    CASE(OP_SUM_TO, "bias of rows", "T[77,40]", "S[1,40]"),
    CASE(OP_SUM_TO, "per image and channel", "T[3,4,5,16]", "T[3,1,1,16]"),
    CASE(OP_SUM_TO, "per pixel", "T[2,3,4,9]", "S[2,3,4,1]"),
    CASE(OP_SUM_TO, "between", "T[2,4,3,6]", "S[1,4,1,6]"),
    CASE(OP_SUM_TO, "all", "T[5000]", "S[1]"),
    CASE(OP_SUM_TO, "all of rank 4", "T[2,3,4,5]", "T[1,1,1,1]"),
    CASE(OP_SUM_TO, "nothing", "T[2,3]", "S[2,3]"),
    CASE(OP_EXPAND, "bias", "S[1,1,1,5]", "T[2,3,4,5]"),
    CASE(OP_EXPAND, "per image and channel", "T[3,1,1,16]", "T[3,4,5,16]"),
    CASE(OP_EXPAND, "per pixel", "T[2,3,4,1]", "S[2,3,4,9]"),
    CASE(OP_EXPAND, "one number", "S[1]", "T[33]"),
    CASE(OP_EXPAND, "between", "T[1,4,1,6]", "T[2,4,3,6]"),
    CASE(OP_SUM_SQUARES, "small", "T[3]", "S[1]"),
    CASE(OP_SUM_SQUARES, "odd", "T[3,5,7]", "S[1]"),
    CASE(OP_SUM_SQUARES, "large", "T[70001]", "S[1]"),

    CASE(OP_EMBEDDING, "words", "W[49,24] I[2,7]", "T[2,7,24]", .ids = 49),
    CASE(OP_ADD, "stored positions", "T[3,4,64] Q[1,4,64]", "T[3,4,64]"),
    CASE(OP_MUL, "stored", "T[8,96] Q[8,96]", "T[8,96]"),
    CASE(OP_EMBEDDING, "stored", "Q[7,512] I[2,7]", "T[2,7,512]", .ids = 7),
    CASE(OP_EMBEDDING, "odd", "W[5,7] I[11]", "T[11,7]", .ids = 5),
    CASE(OP_EMBEDDING, "one row", "W[1,3] I[1,4]", "T[1,4,3]", .ids = 1),
    CASE(OP_EMBEDDING, "width 1", "W[9,1] I[3]", "T[3,1]", .ids = 9),
    CASE(OP_EMBEDDING_GRAD, "words", "T[2,7,24] I[2,7]", "S[49,24]", .ids = 49),
    CASE(OP_EMBEDDING_GRAD, "often the same", "T[77,7] I[77]", "S[5,7]", .ids = 5),
    CASE(OP_EMBEDDING_GRAD, "one row", "T[1,4,3] I[1,4]", "S[1,3]", .ids = 1),

    CASE(OP_TIMESTEP_EMBEDDING, "SD", "S[3]", "S[3,320]",
         .attr = { .count = 320, .cosine_first = true, .beta = 10000 }, .fill = FILL_TIME),
    CASE(OP_TIMESTEP_EMBEDDING, "shifted", "S[1]", "S[1,32]",
         .attr = { .count = 32, .alpha = 1, .beta = 10000 }, .fill = FILL_TIME),
    CASE(OP_TIMESTEP_EMBEDDING, "small", "S[5]", "S[5,6]",
         .attr = { .count = 6, .cosine_first = true, .alpha = 0.5, .beta = 100 }, .fill = FILL_TIME),

    CASE(OP_ACCUMULATE, "odd", "U[3,5,7] T[3,5,7]", "S[3,5,7]"),
    CASE(OP_ACCUMULATE, "one", "U[1] T[1]", "S[1]"),
    CASE(OP_ACCUMULATE, "large", "U[70001] T[70001]", "S[70001]"),
    CASE(OP_ADAMW, "odd", "U[3,5,7] U[3,5,7] U[3,5,7] S[3,5,7] P[12]", "S[3,5,7] S[3,5,7] S[3,5,7]",
         .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAMW, "no decay", "U[33] U[33] U[33] S[33] P[12]", "S[33] S[33] S[33]", .fill = FILL_POSITIVE),
    CASE(OP_ADAMW, "large", "U[70001] U[70001] U[70001] S[70001] P[12]", "S[70001] S[70001] S[70001]",
         .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAMW8, "one block", "U[3,5,7] C[3,5,7] C[3,5,7] U[1] U[1] S[3,5,7] P[12]", "S[3,5,7] C[3,5,7] C[3,5,7] S[1] S[1]",
         .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAMW8, "no decay", "U[513] C[513] C[513] U[3] U[3] S[513] P[12]", "S[513] C[513] C[513] S[3] S[3]",
         .fill = FILL_AWAY),
    /* as few as several threads share: of many one lies so near a border that f32 puts it on the other side */
    CASE(OP_ADAMW8, "large", "U[20001] C[20001] C[20001] U[79] U[79] S[20001] P[12]",
         "S[20001] C[20001] C[20001] S[79] S[79]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_LION, "odd", "U[3,5,7] U[3,5,7] S[3,5,7] P[12]", "S[3,5,7] S[3,5,7]", .attr = { .alpha = 1 }),
    CASE(OP_LION, "no decay", "U[33] U[33] S[33] P[12]", "S[33] S[33]"),
    CASE(OP_LION, "large", "U[70001] U[70001] S[70001] P[12]", "S[70001] S[70001]", .attr = { .alpha = 1 }),
    CASE(OP_ADAFACTOR, "matrix", "U[5,7] U[5] U[7] S[5,7] P[12]", "S[5,7] S[5] S[7]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAFACTOR, "kernels", "U[40,16,3,3] U[40,16,3] U[40,16,3] S[40,16,3,3] P[12]", "S[40,16,3,3] S[40,16,3] S[40,16,3]",
         .fill = FILL_POSITIVE),
    CASE(OP_ADAFACTOR, "large", "U[333,211] U[333] U[211] S[333,211] P[12]", "S[333,211] S[333] S[211]",
         .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAFACTOR_WHOLE, "odd", "U[17] U[17] S[17] P[12]", "S[17] S[17]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_ADAFACTOR_WHOLE, "one", "U[1] U[1] S[1] P[12]", "S[1] S[1]", .fill = FILL_POSITIVE),
    CASE(OP_ADAFACTOR_WHOLE, "large", "U[70001] U[70001] S[70001] P[12]", "S[70001] S[70001]", .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY_MEASURE, "odd", "U[3,5,7] U[3,5,7] U[3,5,7] S[3,5,7] S[3,5,7] S[3,5,7] P[12]",
         "S[3,5,7] S[3,5,7] S[3,5,7] S[2]", .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY_MEASURE, "one", "U[1] U[1] U[1] S[1] S[1] S[1] P[12]", "S[1] S[1] S[1] S[2]", .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY_MEASURE, "large", "U[70001] U[70001] U[70001] S[70001] S[70001] S[70001] P[12]",
         "S[70001] S[70001] S[70001] S[2]", .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY, "odd", "U[3,5,7] S[3,5,7] S[3,5,7] P[12]", "S[3,5,7]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY, "no decay", "U[33] S[33] S[33] P[12]", "S[33]", .fill = FILL_POSITIVE),
    CASE(OP_PRODIGY, "large", "U[70001] S[70001] S[70001] P[12]", "S[70001]", .attr = { .alpha = 1 }, .fill = FILL_POSITIVE),
    CASE(OP_EMA, "odd", "U[3,5,7] S[3,5,7] P[12]", "S[3,5,7]"),
    CASE(OP_EMA, "one", "U[1] S[1] P[12]", "S[1]"),
    CASE(OP_EMA, "large", "U[70001] S[70001] P[12]", "S[70001]"),
};
const size_t op_case_count = sizeof op_cases / sizeof *op_cases;
