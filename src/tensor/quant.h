/* Quantised numbers: blocks of 32 or 256 that share one or two scales, as ggml keeps them.
 *
 * source  ggml (github.com/ggml-org/ggml): the structs of ggml-common.h say the layout, ggml-quants.c what the bits mean and how a
 *         block is chosen. quant_blocks.h has the layouts. tests/tensor compares every type with the gguf package's numbers.
 * types   f32 on the other side. Unpacked numbers are exactly ggml's. */
#ifndef LIMN_TENSOR_QUANT_H
#define LIMN_TENSOR_QUANT_H

#include "tensor/tensor.h"

enum { QUANT_MOST = 256 }; /* elements of the longest block */

/* y[i] = the number, for `count` numbers (a multiple of the block) of a quantised type. */
void quant_unpack(float *y, const void *blocks, enum dtype t, int64_t count);
double quant_load(const void *blocks, enum dtype t, int64_t index);

/* Q8_0, Q4_0 and Q4_K can be written. Rounds as ggml's reference functions do (quantize_row_..._ref): the same bits. The numbers
 * must be finite and below 65504 times the largest quant, or the scale becomes infinite. */
bool quant_can_pack(enum dtype t);
void quant_pack(void *blocks, const float *x, enum dtype t, int64_t count);

/* The index of the first block (from `blocks` on, of `count`) whose scale is no finite number, or count. */
int64_t quant_first_not_finite(const void *blocks, enum dtype t, int64_t count);

#endif
