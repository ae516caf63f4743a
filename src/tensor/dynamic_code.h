/* The 256 numbers that optimizer moments of 8 bits stand for: a sign where there is one, a decade from 1e-7 to 1, and finer
 * steps the larger it is. A block's largest magnitude is 1.
 * source  Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization", section 2.2; the numbers of bitsandbytes'
 *         create_dynamic_map. */
#ifndef LIMN_TENSOR_DYNAMIC_CODE_H
#define LIMN_TENSOR_DYNAMIC_CODE_H

#include <stdbool.h>
#include <stdint.h>

enum { DYNAMIC_CODES = 256, DYNAMIC_FIRST_BITS = 0x3300, DYNAMIC_GUESSES = 0x3F80 - DYNAMIC_FIRST_BITS + 1 };

struct dynamic_code {
    float value[DYNAMIC_CODES];    /* rising; value[255] is 1 */
    float border[DYNAMIC_CODES];   /* between a value and the next; infinite behind the last */
    /* For magnitudes with the upper 16 bits DYNAMIC_FIRST_BITS + i (smaller ones: i = 0): the code of the least of them, above 0
     * and below. No more than one border lies in such a piece, so the code is this one or its neighbour. */
    uint8_t above[DYNAMIC_GUESSES], below[DYNAMIC_GUESSES];
};

void dynamic_code_make(struct dynamic_code *c, bool has_sign);

/* The code of the value nearest to x in [-1, 1] (of two as near the smaller); what lies outside is the end's. */
static inline uint8_t dynamic_code_nearest(const struct dynamic_code *c, float x)
{
    union { float f; uint32_t u; } bits = { x };
    int32_t i = (int32_t)((bits.u & 0x7FFFFFFF) >> 16) - DYNAMIC_FIRST_BITS;
    i = i < 0 ? 0 : i >= DYNAMIC_GUESSES ? DYNAMIC_GUESSES - 1 : i;
    if (bits.u >> 31) {
        uint8_t code = c->below[i];
        return (uint8_t)(code - (code > 0 && x <= c->border[code - (code > 0)]));
    }
    uint8_t code = c->above[i];
    return (uint8_t)(code + (x > c->border[code]));
}

#endif
