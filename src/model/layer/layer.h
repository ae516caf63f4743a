/* The parts that models share. Each reads its weights below `at` in the names that diffusers gives them. Images are
 * NHWC, tokens [n, t, c]. Errors stick in the graph. */
#ifndef LIMN_MODEL_LAYER_LAYER_H
#define LIMN_MODEL_LAYER_LAYER_H

#include "model/layer/net.h"

/* y = x w' + b; x [.., in]. */
struct value layer_linear(struct net *n, struct value x, const char *at, int64_t out, bool bias);
/* The same with the weight beginning at zero (with stored weights there is no difference). */
struct value layer_linear_zero(struct net *n, struct value x, const char *at, int64_t out);
/* A k x k convolution that keeps the size (odd k, stride 1). zero: begins at zero. */
struct value layer_conv(struct net *n, struct value x, const char *at, int64_t out, int64_t k, bool zero);
/* 3x3, stride 2. pad: top, left, bottom, right. */
struct value layer_conv_down(struct net *n, struct value x, const char *at, int64_t out, const int64_t pad[4]);
/* Doubles the size (nearest), then a 3x3 convolution; cut to height x width (an odd size that was halved upwards). */
struct value layer_conv_up(struct net *n, struct value x, const char *at, int64_t out, int64_t height, int64_t width);
struct value layer_group_norm(struct net *n, struct value x, const char *at, int64_t groups, double eps,
                              enum unary act);
struct value layer_layer_norm(struct net *n, struct value x, const char *at, double eps);
struct value layer_rms_norm(struct net *n, struct value x, const char *at, double eps);

/* diffusers ResnetBlock2D: x + conv2(silu(norm2(conv1(silu(norm1 x)) + time))), 1x1 shortcut where widths differ.
 * time: silu of the time embedding [n, c'], or VALUE_NONE. */
struct value layer_resnet(struct net *n, struct value x, struct value time, const char *at, int64_t out,
                          int64_t groups, double eps);

/* Multi-head attention with projections to_q, to_k, to_v, to_out.0. x [n, t, c]; context [n, tk, cc] (x itself for self
 * attention). qkv_bias: to_q, to_k, to_v have biases. */
struct value layer_attention(struct net *n, struct value x, struct value context, const char *at, int64_t heads,
                             bool qkv_bias);

/* diffusers Transformer2DModel: norm, proj_in, `depth` BasicTransformerBlocks (self attention, cross attention, GEGLU
 * feed-forward), proj_out, and x again. linear: the projections are linear layers, not 1x1 convolutions. */
struct value layer_transformer(struct net *n, struct value x, struct value context, const char *at, int64_t heads,
                               int64_t depth, int64_t groups, bool linear);

#endif
