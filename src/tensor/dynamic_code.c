#include "tensor/dynamic_code.h"

#include <math.h>
#include <stdlib.h>

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The code of x by the definition: how many borders lie below it. */
static uint8_t nearest(const struct dynamic_code *c, float x)
{
    int code = 0;
    while (code < DYNAMIC_CODES - 1 && x > c->border[code])
        code++;
    return (uint8_t)code;
}

/* Border k of `pieces` equal ones from 0.1 to 1, rounded as PyTorch's linspace rounds: counted from the nearer end. */
static float piece_border(int k, int pieces)
{
    float step = (1 - 0.1f) / (float)pieces;
    return (float)(k < (pieces + 1) / 2 ? (double)0.1f + (double)step * k : 1 - (double)step * (pieces - k));
}

void dynamic_code_make(struct dynamic_code *c, bool has_sign)
{
    enum { DECADES = 7 };
    int count = 0;
    for (int i = 0; i < DECADES; i++) {
        int pieces = has_sign ? 1 << i : 2 << i;
        float scale = (float)pow(10, i - (DECADES - 1));
        for (int k = 0; k < pieces; k++) {
            float middle = scale * ((piece_border(k, pieces) + piece_border(k + 1, pieces)) / 2);
            c->value[count++] = middle;
            if (has_sign)
                c->value[count++] = -middle;
        }
    }
    c->value[count++] = 0;
    c->value[count++] = 1;
    qsort(c->value, DYNAMIC_CODES, sizeof *c->value, rising);
    for (int i = 0; i < DYNAMIC_CODES - 1; i++)
        c->border[i] = (c->value[i] + c->value[i + 1]) / 2;
    c->border[DYNAMIC_CODES - 1] = INFINITY;
    for (int i = 0; i < DYNAMIC_GUESSES; i++) {
        union { uint32_t u; float f; } least = { i ? (uint32_t)(DYNAMIC_FIRST_BITS + i) << 16 : 0 };
        c->above[i] = nearest(c, least.f);
        c->below[i] = nearest(c, -least.f);
    }
}
