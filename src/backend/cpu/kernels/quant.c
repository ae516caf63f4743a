/* Quantised blocks to f32: tensor/quant_blocks.h, compiled for each kind of processor. */
#include "tensor/quant_blocks.h"

#include "backend/cpu/kernels/kernels.h"

static void unpack(float *y, const void *blocks, enum dtype t, int64_t n)
{
    const uint8_t *b = blocks;
    switch (t) {
#define X(type, tail, first, second)                                                         \
    case type:                                                                               \
        for (int64_t i = 0; i < n; i += dtype_block(type), b += dtype_block_bytes(type))     \
            unpack_##tail(y + i, b);                                                         \
        break;
        QUANT_TABLE(X)
#undef X
    default: break;
    }
}

const struct quant_kernels KERNEL(quant) = { unpack };
