/* Which pictures of a data set are better left out, and why. Nothing is deleted: a picture is excluded in the manifest, and comes
 * back by an undo.
 *
 * A picture has at most one fault, the first of the checks' order that it has. Pictures that resemble each other are compared last
 * and only among those without another fault; of them the best stays: with the most pixels, then the least blurred, then the first
 * of the list. So whatever is left out as a duplicate has a likeness that stays, within the distance asked for. */
#ifndef LIMN_DATASET_CLEAN_H
#define LIMN_DATASET_CLEAN_H

#include "dataset/survey.h"

enum clean_check {
    CLEAN_BROKEN,       /* cannot be read as a picture */
    CLEAN_SMALL,        /* its shorter side is below min_side_px */
    CLEAN_ELONGATED,    /* its longer side is above `elongated` times the shorter */
    CLEAN_FLAT,         /* its luma deviates by less than `flat` */
    CLEAN_BLURRED,      /* its blur is above `blur` */
    CLEAN_BORDERED,     /* two opposite sides have plain borders that end in a straight edge */
    CLEAN_NO_CAPTION,   /* no text, or only blanks */
    CLEAN_DUPLICATE,    /* the same bytes */
    CLEAN_NEAR,         /* near in hash and colours */
    CLEAN_SAME_CAPTION, /* the same text as a picture before it, up to blanks at the ends and the case of A to Z */
    CLEAN_CHECKS
};
struct clean_check_words {
    const char *name;   /* "near-duplicate", as an option has it */
    const char *reason; /* "near duplicate", as the manifest has it */
};
extern const struct clean_check_words clean_checks[CLEAN_CHECKS];

struct clean_options {
    bool check[CLEAN_CHECKS];
    int min_side_px;
    double elongated;
    double flat, blur;   /* image_measures.deviation, .blur */
    double border;       /* both borders together as part of width or height, 0 to 1 */
    double border_edge;  /* image_measures.border_edge of each of the two, 0 to 1 */
    int near_bits;       /* phash_distance at most */
    double near_colour;  /* survey_colour_distance at most */
};

struct clean_fault {
    enum clean_check check;
    size_t picture;
    long twin;           /* the picture that it resembles and that stays; -1 for other faults */
    double value, limit; /* what was found and what was asked for; 0 where there is no number */
    int distance;        /* CLEAN_NEAR: bits */
};
struct clean_report {
    struct clean_fault *faults; /* [count], in the order of the list; owned */
    size_t count, looked_at;    /* looked_at: pictures that were not excluded before */
    size_t of_check[CLEAN_CHECKS];
    size_t same_caption;        /* how many CLEAN_SAME_CAPTION would find, whether it is asked for or not */
};

/* errors  ERR_NOMEM. Then `out` holds nothing. */
MUST_USE bool clean_find(struct clean_report *out, const struct manifest *m, const struct survey *s, const struct clean_options *o,
                         struct err *e);
void clean_release(struct clean_report *r);

struct text;
/* Adds what is wrong in words: "0.71, more than 0.6", "of a/1.png, 2 bits and 1.3 of colour away". */
void clean_fault_words(const struct clean_fault *f, const struct manifest *m, const struct survey *s, struct text *out);

/* Excludes the pictures with faults: `excluded` becomes the check's reason, the history gets "clean" with check, value, limit and
 * what it resembles. The manifest is not saved here. errors  as manifest_change. */
MUST_USE bool clean_apply(struct manifest *m, const struct clean_report *r, struct err *e);
/* Takes the last clean_apply back that is still in force: its pictures are not excluded any more, *count says how many. Pictures
 * that were excluded by other means since stay so. */
MUST_USE bool clean_undo(struct manifest *m, size_t *count, struct err *e);

#endif
