/* Pictures of a data set scaled and cut for training: into new files beside the originals, which stay: no
 * file is written over. The manifest then names the
 * new file, and its history says what was made of what, so that it can be taken back.
 *
 * History: {"op": "crop" or "resize", "settings": .., "from": file_name, "from_id": .., "from_size": [w, h], "scaled": [w, h],
 * "cut": [x, y, w, h]}, and "trimmed": [x, y, w, h] if there was a frame: the original, or that part of it, was scaled to `scaled` (Lanczos, as Pillow's), of which `cut` was kept. */
#ifndef LIMN_DATASET_RESHAPE_H
#define LIMN_DATASET_RESHAPE_H

#include "dataset/buckets.h"
#include "dataset/manifest.h"
#include "image/image.h"

enum reshape_kind {
    RESHAPE_CROP,    /* scaled to cover the nearest bucket, and cut to it */
    RESHAPE_SHORTER, /* scaled so that the shorter side is `side` */
    RESHAPE_LONGER,  /* the longer side */
    RESHAPE_AREA,    /* so that there are about side^2 pixels */
};
struct reshape_options {
    enum reshape_kind kind;
    const struct buckets *buckets; /* RESHAPE_CROP; borrowed */
    int side;                      /* of the others, in pixels; 1 to IMAGE_MAX_SIDE */
    int multiple;                  /* of the others: sides are cut down to multiples of it, at the right and the bottom; 1: not */
    enum image_part part;          /* RESHAPE_CROP: which part is kept */
    bool trim;                     /* a frame (image_frame, 0.9) is cut away first, and two pixels more, which may be of both */
    bool enlarge;                  /* else a picture that would have to be made larger is left as it is */
    enum image_format format;      /* for JPEG alpha is laid over white */
    int quality;
    const char *into;              /* a folder inside the data set's */
    int threads;                   /* 0: all */
};
struct reshape_result {
    long made, there; /* there: made by an earlier run with the same settings */
    long small;       /* left as they are: they would have to be made larger */
    long same;        /* left as they are: nothing is to be done */
    long failed;      /* each with a reason */
    json_t *sizes;    /* {"1024x1024": 12, ..}: of those that were made or there */
    json_t *reasons;  /* [{"file": .., "reason": ..}, ..], the first RESHAPE_MOST_REASONS */
};
#define RESHAPE_MOST_REASONS 1000

/* Works on all pictures that are not excluded, several at a time; memory is that of a picture and its copies for each thread. The
 * manifest is saved now and then, when it is stopped and at the end: the same call goes on, also after a kill. What depends on a
 * picture is a pure function of it, so files are the same whenever they are made. r is filled also after a failure; release it.
 * errors  ERR_ARG (into leaves the folder), ERR_IO of the data set's folder, ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool dataset_reshape(struct manifest *m, const struct reshape_options *o, struct reshape_result *r,
                              const struct progress *progress, struct err *e);
void reshape_release(struct reshape_result *r);

/* Pictures whose last change is a crop or a resize (op) are what they were before it; their files stay. The manifest is not saved
 * here. */
MUST_USE bool dataset_reshape_undo(struct manifest *m, const char *op, size_t *count, struct err *e);

/* What becomes of a picture of this size, without making it: false if it is left as it is. */
bool reshape_size(const struct reshape_options *o, int width, int height, struct bucket *scaled, struct bucket *cut);

/* What would become of a picture: the part that is kept, in its own pixels, and its size then. Nothing is written.
 * errors  ERR_BACKEND, ERR_NOMEM. */
struct reshape_part {
    enum { RESHAPE_IS_CUT, RESHAPE_TOO_SMALL, RESHAPE_AS_IT_IS } outcome; /* with the first the rest is set */
    int x, y, width, height;
    struct bucket becomes;
};
MUST_USE bool reshape_look(const struct reshape_options *o, const struct image *image, struct reshape_part *part, struct err *e);

#endif
