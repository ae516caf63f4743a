/* Clouds of numbers as Gaussians: mean and covariance, and how far one cloud is from another. */
#ifndef LIMN_EVALUATE_GAUSSIAN_H
#define LIMN_EVALUATE_GAUSSIAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Points of `dims` numbers, taken one by one; only their sums are kept. */
struct cloud {
    int64_t dims, count;
    double *origin;   /* [dims] the first point: sums are taken from it, so that they stay small */
    double *sum;      /* [dims] */
    double *products; /* [dims, dims], the lower half */
};
MUST_USE bool cloud_init(struct cloud *c, int64_t dims, struct err *e);
void cloud_release(struct cloud *c);
/* x [count, dims] */
void cloud_add(struct cloud *c, const float *x, int64_t count);

/* |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)): the squared 2-Wasserstein distance of two Gaussians.
 * source  Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions"; Heusel et al. 2017, "GANs Trained
 *         by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (FID).
 * scaled: each number is first divided by its standard deviation in b, so that all count alike; one that does not vary in b counts as it
 * is.
 * errors  ERR_SHAPE if dims differ, ERR_ARG for fewer than 2 points, ERR_NOMEM. */
MUST_USE bool cloud_distance(const struct cloud *a, const struct cloud *b, bool scaled, double *squared, struct err *e);

/* Eigenvalues of a symmetric matrix [n, n], of which the lower half is read and overwritten; in no order, into values[n]. work [n].
 * source  Golub and Van Loan, "Matrix Computations", 8.3: Householder's tridiagonal form, then QL with implicit shifts.
 * errors  ERR_FORMAT if a number in it is not finite. */
MUST_USE bool gaussian_eigenvalues(double *a, int64_t n, double *values, double *work, struct err *e);

#endif
