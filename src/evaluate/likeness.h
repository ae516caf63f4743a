/* How much of one picture is in another, whatever was done to it: found again though it was resized, cut out, turned round or
 * coloured anew.
 *
 * A picture's structure is the length of its colour gradient (Di Zenzo 1986, "A note on the gradient of a multi-image": squares summed
 * over the channels, so any turning or exchange of colours leaves it as it is), pooled to a coarse map. Two maps are compared by their
 * correlation, which brightness and contrast do not change. One map is that of the whole picture asked for and of its mirror image;
 * the other of a window of the picture it may come from: windows from the whole down to half of its side, over all places. */
#ifndef LIMN_EVALUATE_LIKENESS_H
#define LIMN_EVALUATE_LIKENESS_H

#include "image/image.h"

enum {
    LIKENESS_SIDE = 128, /* pixels of a side that pictures are looked at with */
    LIKENESS_MAP = 16,  /* cells of a side of a coarse map, for finding */
    LIKENESS_FINE = 32, /* of a fine one, for judging */
};

/* What a picture is compared by. */
struct likeness {
    uint8_t rgb[LIKENESS_SIDE * LIKENESS_SIDE * 3];
    /* Gradient lengths summed over all pixels above and left of (x, y), [side + 1, side + 1]. */
    double sums[(LIKENESS_SIDE + 1) * (LIKENESS_SIDE + 1)];
};
/* image: RGB, LIKENESS_SIDE square (picture_square). */
void likeness_init(struct likeness *l, const struct image *image);

/* A square of a picture, as shares of its side. */
struct window {
    double x, y, side;
};

/* The map of a window, with `cells` a side: mean 0, length 1 (all 0 where nothing is to be seen). */
void likeness_map(const struct likeness *l, struct window w, int cells, float *map);
/* The maps of the whole picture and of its mirror image: asked[2][LIKENESS_MAP^2]. */
void likeness_asked(const struct likeness *l, float *asked);

/* The windows in which a picture is looked for: sides 1, 0.9 ... 0.5, and of each all places a tenth apart. */
enum { LIKENESS_SIZES = 6, LIKENESS_WINDOWS = 1 + 4 + 9 + 16 + 25 + 36 };
void likeness_windows(struct window out[LIKENESS_WINDOWS]);

struct match {
    struct window window; /* of the picture it may come from */
    bool mirrored;
    double structure;     /* correlation of the maps, -1 to 1 */
    double pixels;        /* root of the mean squared difference of the colours at that place, 0 to 255 */
};
/* For each of `count` asked pictures (maps one after the other as likeness_asked gives them) the best window of `from` on the coarse
 * map, into best[count]; pixels are not looked at. maps: room, [LIKENESS_WINDOWS, LIKENESS_MAP^2]. */
void likeness_find(const struct likeness *from, const float *asked, size_t count, float *maps, struct match *best);
/* Makes a match exact: moves and sizes the window until the fine maps agree best, then looks at the pixels. */
void likeness_refine(const struct likeness *asked, const struct likeness *from, struct match *m);

#endif
