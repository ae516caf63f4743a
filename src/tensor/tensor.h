/* Element types, shapes, and arrays of numbers in memory. */
#ifndef LIMN_TENSOR_TENSOR_H
#define LIMN_TENSOR_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* One table of element types: constant, name, safetensors name, elements of a block, bytes of a block.
 *
 * A plain type has blocks of one element. A quantised type (ggml's: quant.h) keeps `elements` numbers in `bytes` bytes that only
 * make sense together: it is for storage, an array of it has a multiple of `elements` numbers, blocks run along the row-major
 * order, and it has no bytes per element. safetensors has no name for it (NULL). */
#define DTYPE_TABLE(X) \
    X(DTYPE_F32, "f32", "F32", 1, 4)   \
    X(DTYPE_BF16, "bf16", "BF16", 1, 2) \
    X(DTYPE_F16, "f16", "F16", 1, 2)   \
    X(DTYPE_I32, "i32", "I32", 1, 4)   \
    X(DTYPE_U8, "u8", "U8", 1, 1)      \
    X(DTYPE_F64, "f64", "F64", 1, 8)   \
    X(DTYPE_I64, "i64", "I64", 1, 8)   \
    X(DTYPE_F8_E4M3, "f8_e4m3", "F8_E4M3", 1, 1) \
    X(DTYPE_F8_E5M2, "f8_e5m2", "F8_E5M2", 1, 1) \
    X(DTYPE_I16, "i16", "I16", 1, 2)   \
    X(DTYPE_I8, "i8", "I8", 1, 1)      \
    X(DTYPE_BOOL, "bool", "BOOL", 1, 1) \
    X(DTYPE_Q4_0, "q4_0", NULL, 32, 18) \
    X(DTYPE_Q4_1, "q4_1", NULL, 32, 20) \
    X(DTYPE_Q5_0, "q5_0", NULL, 32, 22) \
    X(DTYPE_Q5_1, "q5_1", NULL, 32, 24) \
    X(DTYPE_Q8_0, "q8_0", NULL, 32, 34) \
    X(DTYPE_Q2_K, "q2_k", NULL, 256, 84) \
    X(DTYPE_Q3_K, "q3_k", NULL, 256, 110) \
    X(DTYPE_Q4_K, "q4_k", NULL, 256, 144) \
    X(DTYPE_Q5_K, "q5_k", NULL, 256, 176) \
    X(DTYPE_Q6_K, "q6_k", NULL, 256, 210)

enum dtype {
#define X(constant, name, file_name, elements, bytes) constant,
    DTYPE_TABLE(X)
#undef X
    DTYPE_COUNT
};

const char *dtype_name(enum dtype t);
const char *dtype_file_name(enum dtype t); /* as safetensors writes it; NULL if it has no word for it */
/* The type with this safetensors name, or DTYPE_COUNT. */
enum dtype dtype_of_file_name(const char *name);
/* The type with our own name, or DTYPE_COUNT. */
enum dtype dtype_of_name(const char *name);

bool dtype_is_quantised(enum dtype t);
size_t dtype_bytes(enum dtype t);       /* of one element; an error of ours for a quantised type */
int64_t dtype_block(enum dtype t);      /* elements of a block: 1 for a plain type */
size_t dtype_block_bytes(enum dtype t);
/* Bytes of `count` elements from a block's begin on; a part of a block counts as a whole one. Works for every type. */
size_t dtype_span(enum dtype t, int64_t count);

#define SHAPE_MAX_RANK 6

/* Sizes, outermost first; row-major without gaps. rank 0 is a single number. */
struct shape {
    int rank;
    int64_t dim[SHAPE_MAX_RANK];
};

#define SHAPE(...) shape_of((int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })

static inline struct shape shape_of(int rank, const int64_t *dims)
{
    struct shape s = { .rank = rank };
    for (int i = 0; i < rank && i < SHAPE_MAX_RANK; i++)
        s.dim[i] = dims[i];
    return s;
}

static inline int64_t shape_count(struct shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.rank; i++)
        n *= s.dim[i];
    return n;
}

static inline bool shape_same(struct shape a, struct shape b)
{
    return a.rank == b.rank && !memcmp(a.dim, b.dim, sizeof a.dim[0] * (size_t)a.rank);
}

/* The last dimension; 1 for rank 0. */
static inline int64_t shape_last(struct shape s)
{
    return s.rank ? s.dim[s.rank - 1] : 1;
}

/* How many rows of the last dimension there are. */
static inline int64_t shape_rows(struct shape s)
{
    int64_t last = shape_last(s);
    return last ? shape_count(s) / last : 0;
}

struct shape_text {
    char s[80];
};
/* "[2, 77, 768]" */
struct shape_text shape_text(struct shape s);

/* An array in memory. Who owns data is said where a tensor is handed over. */
struct tensor {
    enum dtype type;
    struct shape shape;
    void *data;
};

static inline size_t tensor_bytes(const struct tensor *t)
{
    return dtype_span(t->type, shape_count(t->shape));
}

/* Allocates (64-byte aligned, zeroed). Free with tensor_release. */
MUST_USE bool tensor_init(struct tensor *t, enum dtype type, struct shape shape, struct err *e);
void tensor_release(struct tensor *t);

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);

/* Converts count elements between any two of the floating types, or from any integer or quantised type to a floating one
 * (numbers, not bits; f32 in between), or from a floating type to one that quant.h can pack. With a quantised type, count is a
 * multiple of its block. src and dst may not overlap unless they are the same type. False if there is no such conversion. */
bool dtype_convert(void *dst, enum dtype to, const void *src, enum dtype from, size_t count);
/* One element as a double, and back. The plain way, for ref/ and tests; a quantised type can only be loaded. */
double dtype_load(const void *data, enum dtype t, int64_t index);
void dtype_store(void *data, enum dtype t, int64_t index, double v);

/* [n, c, h, w] <-> [n, h, w, c] for f32. */
void tensor_nchw_to_nhwc(float *dst, const float *src, int64_t n, int64_t c, int64_t h, int64_t w);
void tensor_nhwc_to_nchw(float *dst, const float *src, int64_t n, int64_t c, int64_t h, int64_t w);

/* How far two arrays are apart, in double precision. `relative` is |a - b| / |b| in the 2-norm. NaN in either makes
 * every field NaN. */
struct difference {
    double max, mean, relative, cosine;
    int64_t worst; /* index of max */
};
struct difference tensor_difference(const float *a, const float *b, int64_t count);

#endif
