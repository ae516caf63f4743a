/* KID: how far two sets of points (features of pictures) are apart, by a kernel. */
#ifndef LIMN_EVALUATE_KID_H
#define LIMN_EVALUATE_KID_H

#include "base/progress.h"

/* The squared maximum mean discrepancy of all points with the kernel (x y / dims + 1)^3.
 * source  Binkowski et al. 2018, "Demystifying MMD GANs", section 4: the unbiased estimate; it may be below 0.
 * shapes  a [n, dims], b [m, dims]; n, m at least 2. */
double kernel_distance(const float *a, int64_t n, const float *b, int64_t m, int64_t dims);

struct kid {
    double mean, deviation; /* over the subsets; the deviation as numpy.std: with their number below */
    int64_t subsets, size;
};
enum { KID_SUBSETS = 100, KID_SIZE = 1000 };
/* The mean over subsets, each `size` points of a and as many of b, drawn without putting back.
 * source  as the papers report it, with Binkowski's numbers: 100 subsets of 1000. Points are drawn as torch-fidelity draws them, by
 *         numpy.random.RandomState(2020).choice, so it is torch-fidelity's figure, digit by digit.
 * small   subsets 0: KID_SUBSETS. size 0: KID_SIZE, or half of the smaller set (at least 2) where that has fewer points than KID_SIZE,
 *         so that subsets are not all the same.
 * errors  ERR_ARG for a size above the smaller set's or below 2 (sets of 1 point, too), ERR_NOMEM, ERR_STOPPED. */
MUST_USE bool kid_of(struct kid *out, const float *a, int64_t n, const float *b, int64_t m, int64_t dims, int64_t subsets, int64_t size,
                     const struct progress *progress, struct err *e);

#endif
