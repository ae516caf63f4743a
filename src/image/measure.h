/* What can be said of a picture without looking at what it shows: is it blurred, flat, framed; what are its colours.
 * Everything is computed from whole numbers, so the same pixels give the same figures everywhere. Alpha is not looked at: lay
 * the picture over a colour first. */
#ifndef LIMN_IMAGE_MEASURE_H
#define LIMN_IMAGE_MEASURE_H

#include "image/image.h"

enum image_side { IMAGE_LEFT, IMAGE_TOP, IMAGE_RIGHT, IMAGE_BOTTOM, IMAGE_SIDES };

struct image_measures {
    /* Variance of the Laplacian (the four neighbours less four times the pixel) of the luma, over the pixels that have four
     * neighbours. Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy". Large is sharp, but what is large
     * depends on what the picture shows and on its size. */
    double sharpness;
    /* Crete et al. 2007, "The blur effect: perception and estimation with a new no-reference perceptual blur metric", windows of
     * 11 pixels; scikit-image's measure.blur_effect of the luma. 0 sharp to 1 blurred, whatever the picture shows; it counts edges
     * only, so that a plain background does no harm. 0 too for a picture without edges, or of less than 4 pixels a side. */
    double blur;
    double entropy;   /* bits of the histogram of the luma, 0 to 8; scikit-image's measure.shannon_entropy */
    double deviation; /* standard deviation of the luma, 0 to 127.5 */
    double mean[3];   /* of red, green, blue, 0 to 255 */
    /* Hasler and Suesstrunk 2003, "Measuring colorfulness in natural images": 0 grey, 33 a little, 59 quite, above 100 very. */
    double colourfulness;
    /* Plain borders: the lines of one colour along a side. A line counts if all its pixels but one in a hundred are within 10 of 255,
     * in each channel, of the middle one of the outermost line's pixels. All are 0 if the whole picture is plain. */
    int border_px[IMAGE_SIDES];
    /* Which part of the first lines inside a border is of another colour, 0 to 1; 0 without a border. Near 1 for a frame around a
     * picture, which ends in a straight edge; small for a thing before a plain background, which touches the line at a few places. */
    double border_edge[IMAGE_SIDES];
};

/* errors  ERR_NOMEM. Takes about two bytes a pixel of memory and 6 ms for a million pixels. */
MUST_USE bool image_measure(struct image_measures *out, const struct image *image, struct err *e);

/* Plain borders of two opposite sides that both end in a straight edge, in pixels; 0 elsewhere. edge: the least border_edge, 0 to 1
 * (0.9: see docs/cleaning.md). False if there are none. */
bool image_frame(const struct image_measures *m, double edge, int px[IMAGE_SIDES]);

/* luma[height, width]: (19595 R + 38470 G + 7471 B + 32768) >> 16, ITU-R 601's as Pillow rounds it. */
void image_luma(uint8_t *luma, const struct image *image);

#endif
