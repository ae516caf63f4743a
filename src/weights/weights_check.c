/* Is every number of a tensor a number? A block is first asked as a whole, in a loop without a branch. */
#include <string.h>

#include "tensor/quant.h"
#include "weights/weights.h"

enum { BLOCK = 1024 };

/* A value is not finite when all bits of its exponent are set: then adding the exponent's lowest bit to the masked exponent
 * carries into the sign's place. ORing the carries of a block asks about all of its values at once. */
#define DEFINE_BLOCK(name, word, mask, carry)                                     \
    static bool name(const word *x, size_t n)                                     \
    {                                                                             \
        word any = 0;                                                             \
        if (n == BLOCK) {                                                         \
            for (size_t i = 0; i < BLOCK; i++)                                    \
                any |= (word)((x[i] & (word)(mask)) + (word)(carry));             \
        } else {                                                                  \
            for (size_t i = 0; i < n; i++)                                        \
                any |= (word)((x[i] & (word)(mask)) + (word)(carry));             \
        }                                                                         \
        return (any & (word)((word)1 << (8 * sizeof(word) - 1))) == 0;                       \
    }

DEFINE_BLOCK(finite_f64, uint64_t, 0x7FF0000000000000, 0x0010000000000000)
DEFINE_BLOCK(finite_f32, uint32_t, 0x7F800000, 0x00800000)
DEFINE_BLOCK(finite_bf16, uint16_t, 0x7F80, 0x0080)
DEFINE_BLOCK(finite_f16, uint16_t, 0x7C00, 0x0400)
DEFINE_BLOCK(finite_e5m2, uint8_t, 0x7C, 0x04)
DEFINE_BLOCK(finite_e4m3, uint8_t, 0x7F, 0x01) /* no infinity; all seven bits set is NaN */

static bool finite_block(enum dtype type, const void *x, size_t n)
{
    switch (type) {
    case DTYPE_F64: return finite_f64(x, n);
    case DTYPE_F32: return finite_f32(x, n);
    case DTYPE_BF16: return finite_bf16(x, n);
    case DTYPE_F16: return finite_f16(x, n);
    case DTYPE_F8_E5M2: return finite_e5m2(x, n);
    case DTYPE_F8_E4M3: return finite_e4m3(x, n);
    default: return true;
    }
}

/* Of quantised numbers only the scales can be none. */
static bool check_blocks(const struct weight *t, struct err *e)
{
    int64_t block = dtype_block(t->type), count = shape_count(t->shape) / block;
    int64_t bad = quant_first_not_finite(t->data, t->type, count);
    return bad == count || err_set(e, ERR_FORMAT, "tensor \"%.200s\": a scale of the %s block at index %lld of %s is no finite number",
                                   t->name, dtype_name(t->type), (long long)(bad * block), shape_text(t->shape).s);
}

bool weights_check_finite(const struct weight *t, struct err *e)
{
    if (dtype_is_quantised(t->type))
        return check_blocks(t, e);
    size_t count = (size_t)shape_count(t->shape), each = dtype_bytes(t->type);
    const char *data = t->data;
    for (size_t i = 0; i < count; i += BLOCK) {
        size_t n = count - i < BLOCK ? count - i : BLOCK;
        if (finite_block(t->type, data + i * each, n))
            continue;
        for (size_t k = i;; k++)
            if (!finite_block(t->type, data + k * each, 1))
                return err_set(e, ERR_FORMAT, "tensor \"%.200s\": the value at index %zu of %s is %g", t->name, k,
                               shape_text(t->shape).s, dtype_load(t->data, t->type, (int64_t)k));
    }
    return true;
}
