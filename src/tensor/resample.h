/* Planes of f32 numbers at another size: latents, masks. (Pixels in u8 are image/image.h's business.) */
#ifndef LIMN_TENSOR_RESAMPLE_H
#define LIMN_TENSOR_RESAMPLE_H

#include <stdint.h>

#include "base/err.h"

/* Ways to resample, in the order of resample_names; the first five are torch.nn.functional.interpolate's with a size given,
 * align_corners false and antialias false, bislerp is ComfyUI's. The centre of output i lies at (i + 1/2) in / out - 1/2. */
enum resample {
    RESAMPLE_NEAREST,  /* "nearest-exact": the input whose square holds the centre */
    RESAMPLE_BILINEAR, /* two neighbours a side, held at the edges */
    RESAMPLE_BICUBIC,  /* four a side: cubic convolution with a = -3/4 (Keys 1981) */
    RESAMPLE_AREA,     /* the mean of every input that the output's square touches, each counted whole */
    RESAMPLE_BISLERP,  /* as bilinear, rows after columns, but between the vectors of all channels at two points: length
                        * linear, direction along the great circle (Shoemake 1985) */
    RESAMPLE_COUNT
};
extern const char *const resample_names[RESAMPLE_COUNT + 1]; /* ends with NULL */

/* from [n, c, h, w] -> to [n, c, out_h, out_w]; the arrays must not overlap, sizes are 1 or more. ERR_NOMEM. */
MUST_USE bool tensor_resample(float *to, const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t out_h,
                              int64_t out_w, enum resample how, struct err *e);

#endif
