/* Whether a model repeats what it was trained on: for each drawn picture the training pictures it is most like (likeness.h), and how
 * like is too like.
 *
 * Where copying begins is not a number of ours: the training pictures themselves say it. Some of them are treated as if they had been
 * drawn, and compared with all others (without those that the list says to show the same subject). The threshold is what one in a
 * hundred pictures of their kind passes by chance: a drawn picture above it is more like a training picture than training pictures
 * are like each other. Pictures that are in the set twice do not move it, as long as they are fewer than a quarter; and
 * whatever the set says, pixels that differ by less than LEAK_SAME_PIXELS, as they do after another encoder, are a copy. */
#ifndef LIMN_EVALUATE_LEAK_H
#define LIMN_EVALUATE_LEAK_H

#include "evaluate/findings.h"
#include "evaluate/likeness.h"
#include "evaluate/picture_set.h"
#include "evaluate/reconstruct.h"

enum { LEAK_SAME_PIXELS = 4 }; /* as struct match has them, of 255 */
enum { LEAK_KEPT = 8 }; /* training pictures that are looked at closely, for each asked one */

/* The three measures. Structure and latents: the more the nearer. Pixels: the less. */
enum leak_measure { LEAK_STRUCTURE, LEAK_PIXELS, LEAK_LATENTS, LEAK_MEASURES };

struct leak_options {
    const struct picture_set *drawn, *trained; /* borrowed */
    struct reconstruction *vae; /* encodes one picture; NULL: latents are not compared. Borrowed */
    int64_t calibrate;          /* so many training pictures say what is usual; 0: 300 */
    double share;               /* of pictures that pass a threshold by chance; 0: 0.01 */
};

struct leak_match {
    size_t trained; /* index in the set */
    struct match match;
};
/* A drawn picture (or a training picture that stands for one). */
struct leak_answer {
    size_t asked;                       /* index in its set */
    struct leak_match near[LEAK_KEPT];  /* by structure, the nearest first */
    size_t near_count;
    double measure[LEAK_MEASURES];      /* the most alarming one of all near; latents: of the first */
    bool says[LEAK_MEASURES], copy;     /* measures beyond their thresholds; any of them */
};
struct leak {
    struct leak_answer *drawn;  /* [drawn_count], in the order of the set */
    size_t drawn_count;
    struct leak_answer *usual;  /* [usual_count] */
    size_t usual_count;
    double threshold[LEAK_MEASURES];
    bool latents;
};

/* errors  ERR_ARG if there are fewer than three training pictures, those of the files, ERR_STOPPED. After a failure l holds nothing. */
MUST_USE bool leak_find(struct leak *l, const struct leak_options *o, const struct progress *progress, struct err *e);
void leak_release(struct leak *l);

/* Facts, a row for each drawn picture (copies first), a row for each training picture that is repeated. pictures: for a page. */
MUST_USE bool leak_findings(struct findings *f, const struct leak *l, const struct leak_options *o, bool pictures, struct err *e);

#endif
