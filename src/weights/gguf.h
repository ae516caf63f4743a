/* What reader and writer of GGUF share.
 *
 * source  docs/gguf.md of github.com/ggml-org/ggml, versions 2 and 3: "GGUF", version, counts of tensors and of metadata, the
 *         metadata (key, type, value), the tensors (name, sizes innermost first, type, offset), then padding and the data, each
 *         tensor at a multiple of general.alignment (32 if it is not there). All little-endian. */
#ifndef LIMN_WEIGHTS_GGUF_H
#define LIMN_WEIGHTS_GGUF_H

#include "tensor/tensor.h"

enum { GGUF_ALIGNMENT = 32, GGUF_VERSION = 3 };

/* The converters for ComfyUI store a tensor whose last dimension is no whole number of blocks as rows of 256 (the kernels of
 * convolutions above all), and its true sizes, outermost first, under this key and the tensor's name. */
#define GGUF_TRUE_SHAPE "comfy.gguf.orig_shape."

/* Types of metadata. */
enum gguf_kind {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_TEXT, GGUF_LIST, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_KINDS
};

/* Our type of ggml's number for it; DTYPE_COUNT: not one that is read. *name is ggml's name, or NULL for an unknown number. */
enum dtype gguf_type(uint32_t number, const char **name);
/* ggml's number for our type, or -1. */
int gguf_number(enum dtype t);

#endif
