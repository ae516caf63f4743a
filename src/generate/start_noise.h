/* The noise that a drawing starts from, by its seeds. */
#ifndef LIMN_GENERATE_START_NOISE_H
#define LIMN_GENERATE_START_NOISE_H

#include "base/err.h"
#include "base/random.h"
#include "tensor/tensor.h"

struct start_noise {
    uint64_t seed;
    bool cuda; /* the noise of PyTorch's CUDA generator, not of its CPU generator */
    /* A variation: strength in [0, 1] of the way from the seed's noise to that of the subseed. */
    uint64_t subseed;
    double subseed_strength;
};

/* Seeds r with n->seed. */
void start_noise_seed(const struct start_noise *n, struct torch_random *r);
/* Draws standard normal noise of shape [pictures, c, h, w] from r, which is seeded, into out; r may go on for the noise within the
 * run. With a strength above 0 every column of h numbers turns that part of the angle towards the subseed's column, as in A1111's
 * web UI; a picture whose columns all but agree is mixed instead. ERR_NOMEM. */
MUST_USE bool start_noise_draw(const struct start_noise *n, struct torch_random *r, float *out, struct shape shape,
                               struct err *e);

#endif
