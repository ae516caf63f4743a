/* What a look at every picture of a data set tells: is it whole, how large is it, the figures of image/measure.h, a hash and a few
 * colours to find its likes by, the hash of its bytes. What was seen is kept in "survey.jsonl" in the folder, a JSON line a
 * picture, written as the work goes on: a survey that was stopped, or killed, goes on where it was, and a later one looks only at
 * files that are new or have another size or time. The list itself is not changed. */
#ifndef LIMN_DATASET_SURVEY_H
#define LIMN_DATASET_SURVEY_H

#include "base/digest.h"
#include "dataset/manifest.h"
#include "image/measure.h"
#include "image/phash.h"

enum { SURVEY_CELLS = 8, SURVEY_SIDE_PX = 1024 };
#define SURVEY_FILE "survey.jsonl"

enum survey_state {
    SURVEY_NOT_YET,
    SURVEY_SEEN,
    SURVEY_BROKEN,  /* why: no picture, a broken one, or one beyond image.h's bounds */
    SURVEY_MISSING, /* why: the file cannot be read */
};

struct survey_picture {
    enum survey_state state;
    char *why;                 /* NULL if it was seen; owned by the survey */
    char id[DIGEST_TEXT_BYTES]; /* SHA-256 of the file's bytes; "" if it is missing */
    int64_t bytes;
    int width, height;         /* turned as its EXIF says */
    bool alpha;                /* some pixel lets something through; for all that follows it lies over white */
    /* Of the picture, shrunk so that its shorter side is SURVEY_SIDE_PX if it is longer: what a trainer will see of it. */
    struct image_measures measures;
    float border[IMAGE_SIDES]; /* measures.border_px as part of the width (left, right) or height (top, bottom), 0 to 1 */
    uint64_t phash;            /* phash.h's, of the whole picture */
    uint8_t colours[SURVEY_CELLS][SURVEY_CELLS][3]; /* mean colours of 8x8 parts */
};

struct survey {
    struct survey_picture *pictures; /* [count], one for each of the manifest's, in its order */
    size_t count;
};

/* Looks at all pictures, by `threads` threads (0: all); those that the manifest excludes only if `excluded`. Memory is that of one
 * picture a thread. keep: false leaves the folder as it is and reads no survey.jsonl. progress may be NULL.
 * errors  ERR_STOPPED (what was seen is kept), ERR_NOMEM, ERR_IO where survey.jsonl cannot be written. Then `out` holds nothing. */
MUST_USE bool survey_make(struct survey *out, const struct manifest *m, bool excluded, bool keep, int threads,
                          const struct progress *progress, struct err *e);
void survey_release(struct survey *s);

/* How far two pictures' colours are from each other: the mean difference of the 8x8 parts, 0 to 255. Pictures whose hashes are near
 * may still be a red heart and a green one. */
double survey_colour_distance(const struct survey_picture *a, const struct survey_picture *b);

/* One line of survey.jsonl without its newline, as of a file of this name, size and time; NULL without memory (free it). */
char *survey_line(const struct survey_picture *p, const char *file_name, int64_t time_ns);
/* The other way. False, without a word, for a line that is none. *file_name is to be freed with mem_free. */
MUST_USE bool survey_line_read(struct survey_picture *p, const char *line, size_t bytes, char **file_name, int64_t *time_ns);

#endif
