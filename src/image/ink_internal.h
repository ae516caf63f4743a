/* Drawing with a round pen into a mask of coverage: lines and, as lines between lit cells, letters. A mask
 * keeps the largest coverage, so strokes that cross in one mask do not darken each other. */
#ifndef LIMN_IMAGE_INK_INTERNAL_H
#define LIMN_IMAGE_INK_INTERNAL_H

#include "image/image.h"

struct ink {
    int width, height;
    float *cover; /* [height, width], 0 to 1 */
};

MUST_USE bool ink_init(struct ink *ink, int width, int height, struct err *e);
void ink_release(struct ink *ink);
/* A stroke of 2 * radius pixels; pixel (i, j) covers [i, i + 1] x [j, j + 1]. */
void ink_line(struct ink *ink, double x0, double y0, double x1, double y1, double radius);
/* Text whose cells are `cell` pixels: a character is 5 cells wide (6 with its gap) and 7 high. (x, y) is the
 * left top; `up`: turned by a quarter, (x, y) is the left bottom and the text runs upwards. */
void ink_text(struct ink *ink, double x, double y, const char *text, double cell, bool up);
/* Pixels the text is wide. */
double ink_text_width(const char *text, double cell);
/* Lays colour 0xRRGGBB through the mask over a 3-channel image of its size, times opacity, and empties the
 * mask. */
void ink_flush(struct ink *ink, struct image *onto, uint32_t rgb, double opacity);

#endif
