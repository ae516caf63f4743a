/* Small line plots: a loss curve and its like, drawn into an image with a font of our own (ASCII; other
 * characters become '?'). */
#ifndef LIMN_IMAGE_PLOT_H
#define LIMN_IMAGE_PLOT_H

#include "image/image.h"

struct plot_series {
    const char *name; /* for the legend; NULL: not in it */
    const double *x,
        *y; /* [count]; x rising. Points that are not finite (or not above 0 on a log axis) are left out */
    size_t count;
    double smooth; /* 0: the line itself. In (0, 1): the line faint, and over it its exponential mean where an
                      old point weighs `smooth` of the next (0.9 is a good one) */
};

struct plot {
    const char *title, *x_label, *y_label; /* NULL: none */
    int width, height;                     /* pixels; 0: 960 x 540 */
    bool log_y;
    const struct plot_series *series; /* borrowed */
    size_t series_count;
};

/* Draws the plot. No point at all gives empty axes. ERR_ARG if it is smaller than 160 x 120. */
MUST_USE bool plot_draw(struct image *out, const struct plot *plot, struct err *e);
MUST_USE bool plot_save_png(const char *path, const struct plot *plot, struct err *e);

#endif
