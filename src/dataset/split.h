/* Which pictures are held out of training: by a hash of what they are, so that the same pictures are chosen whatever their order and
 * names, also after they were cropped, and a picture that is there twice is never on both sides. */
#ifndef LIMN_DATASET_SPLIT_H
#define LIMN_DATASET_SPLIT_H

#include "dataset/manifest.h"

struct split_options {
    double share;   /* of the pictures to hold out, in [0, 1]; with more pictures later, those chosen stay chosen */
    int64_t count;  /* above 0: exactly so many instead (of groups, with `by`) */
    const char *by; /* a field: pictures that agree in it stay together; NULL: each for itself */
    uint64_t seed;
};

struct split_result {
    long train, held_out;
    long changed; /* pictures whose split is another than before */
};

/* Sets "split" of every picture that is not excluded, after giving ids to those that have none; save the manifest afterwards.
 * errors  ERR_ARG (a share outside [0, 1]), ERR_MISSING (a file without an id that cannot be read, or a count that is too large),
 *         ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool split_pictures(struct manifest *m, const struct split_options *o, struct split_result *r,
                             const struct progress *progress, struct err *e);

#endif
