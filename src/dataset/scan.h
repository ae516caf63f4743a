/* What a data set is made of, in figures: of each picture, and of all together. */
#ifndef LIMN_DATASET_SCAN_H
#define LIMN_DATASET_SCAN_H

#include "dataset/manifest.h"
#include "dataset/survey.h"

enum scan_figure {
    SCAN_WIDTH, SCAN_HEIGHT, SCAN_MEGAPIXELS, SCAN_ASPECT,
    SCAN_SHARPNESS, SCAN_BLUR, SCAN_ENTROPY, SCAN_DEVIATION, SCAN_COLOURFULNESS, SCAN_LIGHT,
    SCAN_WORDS, SCAN_TOKENS,
    SCAN_FIGURES
};
struct scan_figure_words {
    const char *name, *help;
    int decimals;
};
extern const struct scan_figure_words scan_figures[SCAN_FIGURES];

/* Of those pictures that have the figure; all 0 where none has. Ranks as NumPy's percentile gives them, linear in between. */
struct scan_range {
    size_t count;
    double least, low, median, high, most, mean; /* low, high: the 5th and 95th percentile */
};

#define SCAN_SHAPES 9
extern const char *const scan_shapes[SCAN_SHAPES]; /* "1:2", ..., "1:1", ..., "2:1": a picture counts for the nearest */

struct scan_tag {
    char *tag; /* owned; in lower case */
    size_t count;
};

struct scan {
    size_t pictures, excluded, used, held_out; /* used: not excluded; the figures below are of them */
    size_t broken, missing, with_alpha, without_text, same_text; /* same_text: a caption that a picture before it has */
    size_t too_long; /* captions of more tokens than `room` */
    int64_t bytes;
    double mean_colour[3]; /* red, green, blue: the mean of pictures, 0 to 255 */
    double (*of)[SCAN_FIGURES]; /* [pictures]; NAN where it is not known */
    struct scan_range range[SCAN_FIGURES];
    size_t shape[SCAN_SHAPES];
    struct scan_tag *tags; /* what stands between commas, the most frequent first */
    size_t tag_count;
};

struct scan_options {
    /* How many tokens a caption has; NULL: they are not counted. Called from one thread. */
    bool (*tokens)(void *self, const char *text, long *count, struct err *e);
    void *self;
    long room; /* tokens that a model sees */
};

/* s: survey_make's of m. errors  those of tokens, ERR_NOMEM. Then `out` holds nothing. */
MUST_USE bool scan_make(struct scan *out, const struct manifest *m, const struct survey *s, const struct scan_options *o,
                        struct err *e);
void scan_release(struct scan *r);

/* How many words a text has: what white space cuts, and every Chinese, Japanese or Korean character for itself. */
long scan_words(const char *text);

#endif
