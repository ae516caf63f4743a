/* Pictures to be measured: those of a data set's list, of a folder and the folders in it, or a single file. Only names are kept;
 * pixels are read when they are asked for, so a set may be larger than memory. */
#ifndef LIMN_EVALUATE_PICTURE_SET_H
#define LIMN_EVALUATE_PICTURE_SET_H

#include "base/progress.h"
#include "image/image.h"

enum {
    PICTURE_SET_MOST = 4000000, /* pictures */
    PICTURE_SET_DEPTH = 8,      /* folders in folders */
};

/* Which pictures of a list that tells training pictures from held-out ones; other folders have all. */
enum picture_which { PICTURES_ALL, PICTURES_TRAINED, PICTURES_HELD_OUT };

struct picture_entry {
    char *path;    /* owned, as all strings */
    char *name;    /* below the set's folder: "cats/1.png" */
    char *caption; /* the list's; of others what the PNG file says it was drawn from; "" if nothing does */
    char *style;   /* the list's, or "" */
    int subject;   /* pictures of one number show the same thing by the list's own words; -1: not told */
};
struct picture_set {
    struct picture_entry *at; /* by name, or in the list's order */
    size_t count, cap;
    bool listed; /* it has a list with captions */
};

/* Opens a file, a folder with metadata.jsonl or metadata.csv, or any folder. Release with picture_set_release (also after a
 * failure).
 * errors  ERR_MISSING without a picture, ERR_LIMIT (the bounds above), those of dataset_open. */
MUST_USE bool picture_set_open(struct picture_set *s, const char *path, enum picture_which which, struct err *e);
void picture_set_release(struct picture_set *s);

/* The whole picture on white, RGB. errors  as image_load. */
MUST_USE bool picture_set_load(const struct picture_set *s, size_t i, struct image *out, struct err *e);
/* Cut to the square around its middle and resized to side x side (by area if it is larger, else by Lanczos), as a training sees
 * it. errors  as image_load. */
MUST_USE bool picture_set_square(const struct picture_set *s, size_t i, int side, struct image *out, struct err *e);
/* An image cut and resized in that way; `out` is overwritten. */
MUST_USE bool picture_square(const struct image *from, int side, struct image *out, struct err *e);

/* The index in b of the picture with the name of a's i-th: the same name, else the same but for its ending, else (where a name has
 * folders) that without them. -1: there is none. */
long picture_set_partner(const struct picture_set *a, size_t i, const struct picture_set *b);

/* Every n-th index of a set so that `most` remain, spread over it: the k-th of them. most 0 or more than count: all. */
size_t picture_set_thinned(const struct picture_set *s, int64_t most);
size_t picture_set_nth(const struct picture_set *s, int64_t most, size_t k);

#endif
