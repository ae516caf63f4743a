/* How alike two pictures are, in five numbers that other programs know.
 *
 *   psnr          10 log10(255^2 / mean squared difference) over all channels, dB; INFINITY if equal
 *   ssim          Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity": Gaussian window of
 *                 11x11, deviation 1.5, population covariance, K1 0.01, K2 0.03; mean over channels and over the pixels whose window
 *                 lies inside. scikit-image's structural_similarity(gaussian_weights, sigma 1.5, use_sample_covariance False)
 *   ssim-uniform  the same with scikit-image's defaults: mean of 7x7 pixels, sample covariance
 *   ms-ssim       Wang et al. 2003, "Multiscale Structural Similarity for Image Quality Assessment": five scales, each half of the one
 *                 before (mean of 2x2; an odd side is first given a border of zeros), exponents 0.0448, 0.2856, 0.3001, 0.2363, 0.1333,
 *                 negative terms counted as 0; mean over channels
 *   gmsd          Xue et al. 2014, "Gradient Magnitude Similarity Deviation": luma (0.299, 0.587, 0.114), halved (mean of 2x2), Prewitt
 *                 gradients, c = 170; 0 if equal, larger is worse
 * Alpha is not looked at. */
#ifndef LIMN_EVALUATE_SIMILARITY_H
#define LIMN_EVALUATE_SIMILARITY_H

#include "image/image.h"

struct similarity_metric {
    const char *name, *help;
    int64_t least_px; /* smallest side that it is defined for */
    bool less_is_better;
    /* Pictures of one size, at least least_px wide and high. *out is set. */
    bool (*measure)(const struct image *a, const struct image *b, double *out, struct err *e);
};
/* In the order above; ends with a NULL name. */
extern const struct similarity_metric similarity_metrics[];
/* NULL with e set (ERR_ARG, listing those there are) for another name; '_' counts as '-'. */
MUST_USE const struct similarity_metric *similarity_find(const char *name, size_t length, struct err *e);
/* The metrics of a list with commas between, into out[SIMILARITY_MOST]; *count of them. ERR_ARG as similarity_find, and for too many. */
enum { SIMILARITY_MOST = 16 };
MUST_USE bool similarity_list(const char *list, const struct similarity_metric **out, int *count, struct err *e);

/* errors  ERR_SHAPE if sizes differ, ERR_ARG if the pictures are too small for the metric, ERR_NOMEM. */
MUST_USE bool similarity_measure(const struct similarity_metric *m, const struct image *a, const struct image *b, double *out,
                                 struct err *e);

#endif
