/* The ops, one builder each. Shapes are row-major, images NHWC, so tokens [n, h*w, c] are the same bytes.
 *
 * types  x, y and their gradients have one activation type T (f32 or bf16; ref/ also f64 and f16). Sums are in f32 or
 *        better. Weights (matmul b, conv w, bias, gamma, beta, embedding table) may have any floating type whatever T is;
 *        matmul and conv weights are rounded to T before use. Gradients of weights are f32 (f64 where T is f64).
 * errors stick in the graph (graph.h): ERR_SHAPE, ERR_TYPE, ERR_NOMEM. */
#ifndef LIMN_GRAPH_OPS_H
#define LIMN_GRAPH_OPS_H

#include "graph/graph.h"

/* y = act(A B + bias) + residual. a is seen as a matrix of its last dimension, b likewise; A = a or a', B = b or b'.
 * a [.., k] (trans_a: [.., m] whose rows are k), b [k, n] (trans_b: [n, k]); bias [n]; residual has y's shape and type.
 * y [.., n] (trans_a: [m, n]). type of y: attr.type (T by default; f32 for weight gradients). */
struct value op_matmul(struct graph *g, struct value a, struct value b, bool trans_a, bool trans_b, enum dtype type);
/* Linear layer as PyTorch keeps it: y = x w' + bias, w [n, k], bias [n] or none. */
struct value op_linear(struct graph *g, struct value x, struct value w, struct value bias);

/* x [n, h, w, c], w [o, c, kh, kw] (PyTorch's order), bias [o] or none; y [n, ho, wo, o] with
 * ho = (h + top + bottom - kh) / stride + 1 (rounded down). pad: top, left, bottom, right. */
struct value op_conv2d(struct graph *g, struct value x, struct value w, struct value bias, int64_t stride,
                       const int64_t pad[4]);
/* Gradients of conv2d: with respect to x (attr.shape is x's) and to w (attr.shape is w's; f32). Inputs (dy, w), (dy, x). */

/* a + b and so on. b has a's rank; each of its dimensions is a's or 1 (then it is repeated). Types equal, or b any floating
 * type; y has a's. */
struct value op_add(struct graph *g, struct value a, struct value b);
struct value op_sub(struct graph *g, struct value a, struct value b);
struct value op_mul(struct graph *g, struct value a, struct value b);
struct value op_div(struct graph *g, struct value a, struct value b);
/* alpha x + beta */
struct value op_scale(struct graph *g, struct value x, double alpha, double beta);
/* x, but least where x is less and most where it is more; NaN stays NaN. ERR_ARG unless least <= most.
 * clamp_grad(x, dy) is dy where least <= x <= most, also at the ends (as PyTorch), and 0 elsewhere. */
struct value op_clamp(struct graph *g, struct value x, double least, double most);
struct value op_unary(struct graph *g, struct value x, enum unary fn);
/* unary_grad(x, dy) = dy f'(x) */

/* x [.., 2c] -> y [.., c] (Shazeer 2020). geglu: first half times gelu(second half), as diffusers' GEGLU. swiglu: silu(first
 * half) times second half, as ChatGLM and LLaMA. One op, gated: attr.fn is UNARY_GELU or UNARY_SILU. */
struct value op_geglu(struct graph *g, struct value x);
struct value op_swiglu(struct graph *g, struct value x);

/* Wu and He 2018. x [n, .., c] (anything between counts as pixels), gamma and beta [c]; groups divides c.
 * y = act((x - mean) rstd gamma + beta), population variance. Outputs: y (T), mean and rstd [n, groups] (f32).
 * act is UNARY_NONE or UNARY_SILU. */
struct value op_group_norm(struct graph *g, struct value x, struct value gamma, struct value beta, int64_t groups,
                           double eps, enum unary act);
/* Over the last dimension. Outputs: y, mean and rstd [rows] (f32), rows as one dimension. */
struct value op_layer_norm(struct graph *g, struct value x, struct value gamma, struct value beta, double eps);
/* Zhang and Sennrich 2019, over the last dimension: y = x rstd gamma, rstd = 1 / sqrt(mean of x^2 + eps). gamma [c]. Outputs:
 * y, rstd [rows] (f32). rms_norm_grad(x, gamma, rstd, dy) -> dx (T), dgamma (f32). */
struct value op_rms_norm(struct graph *g, struct value x, struct value gamma, double eps);
/* group_norm_grad, layer_norm_grad (x, gamma, beta, mean, rstd, dy) -> dx (T), dgamma, dbeta (f32). */

/* Over the last dimension. softmax_grad(y, dy). */
struct value op_softmax(struct graph *g, struct value x);

/* Rotary position embedding (Su et al. 2021) on neighbours, as ChatGLM: of each head's d numbers the pairs (0, 1), (2, 3), ...
 * of the first `count` are turned, pair i of a token at place p by the angle p base^(-2 i / count); the others stay.
 * x [n, t, heads*d], places i32 [n, t]; count is even and at most d. The gradient turns back: attr.alpha is 1 or -1. */
struct value op_rotary(struct graph *g, struct value x, struct value places, int64_t heads, int64_t count, double base);

/* softmax(scale q k' [+ causal mask]) v for each head. q [n, tq, heads*d], k and v [n, tk, heads*d]; head i owns columns
 * i*d .. i*d + d - 1. causal: query i sees keys j <= i + (tk - tq). Never stores tq x tk.
 * Outputs: y [n, tq, heads*d] (T) and lse [n, heads, tq] (f32): log of the sum of exp(scale q k'), for the gradient.
 * attention_grad(q, k, v, y, lse, dy[, pads]) -> dq, dk, dv (Dao et al. 2022, algorithm 4). */
struct value op_attention(struct graph *g, struct value q, struct value k, struct value v, int64_t heads, double scale,
                          bool causal);
/* The same with padding on the left: of batch row n the first pads[n] keys are pads (pads i32 [n], each 0 to tk; another
 * number is a run-time ERR_ARG). A token sees no pads; a pad, however, sees every key, pads and later ones too, also if
 * causal: ChatGLM's mask, whose models were trained with it. Query i is the token of key i + (tk - tq). */
struct value op_attention_padded(struct graph *g, struct value q, struct value k, struct value v, struct value pads,
                                 int64_t heads, double scale, bool causal);

/* Nearest neighbour: each pixel becomes factor x factor. x [n, h, w, c]. */
struct value op_upsample(struct graph *g, struct value x, int64_t factor);
/* Mean over factor x factor pixels; h and w are multiples of factor. */
struct value op_avg_pool(struct graph *g, struct value x, int64_t factor);

/* Along `axis` (negative counts from the end); the other dimensions agree. */
struct value op_concat(struct graph *g, struct value a, struct value b, int axis);
/* count entries from begin along axis. */
struct value op_slice(struct graph *g, struct value x, int axis, int64_t begin, int64_t count);
/* Zeros of `shape` with x at `begin` along axis: slice's gradient. */
struct value op_place(struct graph *g, struct value x, int axis, int64_t begin, struct shape shape);
struct value op_reshape(struct graph *g, struct value x, struct shape shape);
struct value op_cast(struct graph *g, struct value x, enum dtype type);

/* Sums over the dimensions that are 1 in `shape` (same rank). type: of the result (f32 for bias gradients). */
struct value op_sum_to(struct graph *g, struct value x, struct shape shape, enum dtype type);
/* Repeats along the dimensions of x that are 1. */
struct value op_expand(struct graph *g, struct value x, struct shape shape, enum dtype type);
/* Mean over everything: f32 of shape [1] (f64 for f64). */
struct value op_mean(struct graph *g, struct value x);
/* Sum of x^2 over everything: f32 [1], summed in f64. */
struct value op_sum_squares(struct graph *g, struct value x);

/* Rows of table [v, c] by ids i32 [..]: y [.., c] of `type`. An id outside [0, v) is a run-time ERR_ARG.
 * embedding_grad(dy, ids) -> attr.shape = table's, f32; rows that occur often are summed in the order of ids. */
struct value op_embedding(struct graph *g, struct value table, struct value ids, enum dtype type);

/* Sinusoids of t (f32 [n]): y [n, dim] f32, with half = dim / 2 and f_i = exp(-ln(max_period) i / (half - shift)):
 * sines then cosines of t f_i (cosine_first: the other way round). Ho et al. 2020, as diffusers' get_timestep_embedding. */
struct value op_timestep_embedding(struct graph *g, struct value t, int64_t dim, bool cosine_first, double shift,
                                   double max_period);

/* Updates in place: as many of the first inputs as op.def says are mutable weights. Those of optimizers return p's new value; g' is
 * grad_scale g; `decay` multiplies the step's (0 turns it off for norms and biases).
 * accumulate: sum += x (sum f32, x any floating type). */
struct value op_accumulate(struct graph *g, struct value sum, struct value x);

/* The numbers of a step, an f32 input of shape [STEP_COUNT]. */
enum { STEP_RATE, STEP_BETA1, STEP_BETA2, STEP_EPS, STEP_DECAY, STEP_CORRECTION1, STEP_CORRECTION2, STEP_GRAD_SCALE,
       STEP_EMA_DECAY, STEP_DISTANCE, STEP_BETA3, STEP_SUM_RATE, STEP_COUNT }; /* the last three: prodigy */
/* Loshchilov and Hutter 2019, as torch.optim.AdamW: p -= rate decay p; m = b1 m + (1 - b1) g';
 * v = b2 v + (1 - b2) g'^2; p -= rate / correction1 * m / (sqrt(v / correction2) + eps), correction_i = 1 - beta_i^t.
 * p, m, v, g f32 of one shape. */
struct value op_adamw(struct graph *g, struct value p, struct value m, struct value v, struct value gradient,
                      struct value step, double decay);
/* The same with moments in codes of 8 bits: m and v u8 of p's shape (tensor/dynamic_code.h; v's without sign), times their blocks'
 * largest magnitudes m_scale and v_scale f32 [ceil(elements / UPDATE_BLOCK)]. p moves by the moments before they become codes
 * again. Dettmers et al. 2022, as bitsandbytes' AdamW8bit. */
enum { UPDATE_BLOCK = 256 };
struct value op_adamw8(struct graph *g, struct value p, struct value m, struct value v, struct value m_scale, struct value v_scale,
                       struct value gradient, struct value step, double decay);
/* Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2: p -= rate decay p;
 * p -= rate sign(b1 m + (1 - b1) g'); m = b2 m + (1 - b2) g'. p, m, g f32 of one shape. */
struct value op_lion(struct graph *g, struct value p, struct value m, struct value gradient, struct value step, double decay);
/* Shazeer and Stern 2018, algorithms 4 and 5 with a given rate, as transformers' Adafactor: the second moments of a matrix p
 * [.., rows, columns] are the means of its rows [.., rows] and columns [.., columns], of each matrix apart:
 * r = b2 r + (1 - b2) mean of (g'^2 + 1e-30) over columns; c likewise over rows; u = g' / sqrt(r c / mean of r);
 * p -= rate decay p; p -= rate u / max(1, rms of all u). whole: v = b2 v + (1 - b2) (g'^2 + 1e-30), u = g' / sqrt v, for p of
 * any rank. All f32. */
struct value op_adafactor(struct graph *g, struct value p, struct value rows, struct value columns, struct value gradient,
                          struct value step, double decay);
struct value op_adafactor_whole(struct graph *g, struct value p, struct value v, struct value gradient, struct value step,
                                double decay);
/* Mishchenko and Defazio 2024, "Prodigy", algorithm 4, as prodigyopt. First, with d the estimate so far (STEP_DISTANCE) and p0 the
 * weights at the beginning: m = b1 m + (1 - b1) d g'; v = b2 v + (1 - b2) d^2 g'^2; s = b3 s + sum_rate g'. Returns f32 [2]: the sum of
 * g' (p0 - p), the sum of |s|. All f32 of one shape. */
struct value op_prodigy_measure(struct graph *g, struct value m, struct value v, struct value s, struct value p, struct value p0,
                                struct value gradient, struct value step);
/* Then p -= rate decay p; p -= rate m / (sqrt v + eps); the caller puts the estimates into rate and eps. */
struct value op_prodigy(struct graph *g, struct value p, struct value m, struct value v, struct value step, double decay);
/* e += (1 - ema_decay) (p - e). */
struct value op_ema(struct graph *g, struct value e, struct value p, struct value step);

#endif
