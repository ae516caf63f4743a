/* The record of a data set's folder: where every picture came from and what was done to it.
 *
 * It is the list that trainers read (dataset.h), metadata.jsonl: one JSON object a line, which holds more than trainers ask for,
 * so a data set that was prepared is trainable as it stands. Fields that have a meaning here:
 *
 *   file_name   relative, inside the folder           text        the caption, "" if there is none
 *   id          SHA-256 of the file's bytes           origin      the id of the file that came in, once another took its place
 *   source      path or address that it came from     split       "train" or "held-out"
 *   width, height, bytes   of the file                repeats     how often a round of training shows it; 1 if not told
 *   excluded    why trainers leave it out             history     array of {"op", "time", ...}: what was done, oldest first
 *
 * All others are kept as they are. In lists of other programs id, source and the like may be of another kind: then they are as if not
 * there, and an id is kept as list_id once there is one of ours. A folder that has metadata.csv only is read from that; the first save writes metadata.jsonl,
 * which comes before it from then on. Pictures are never deleted by what is here: to leave one out, set `excluded`.
 *
 * Memory is about twice the list's bytes (100,000 pictures: some 100 MB). One thread uses a manifest at a time. */
#ifndef LIMN_DATASET_MANIFEST_H
#define LIMN_DATASET_MANIFEST_H

#include <stddef.h>

#include "base/json.h"
#include "base/progress.h"
#include "dataset/dataset.h"

#define MANIFEST_MAX_LINE_BYTES ((size_t)4 << 20) /* of one picture */

/* What is asked for often. Strings are UTF-8, "" where the list has none, borrowed until the picture changes. */
struct manifest_picture {
    const char *file_name, *text, *id, *origin, *source, *split, *excluded;
    int64_t width, height, bytes; /* 0: not known */
    int64_t repeats;              /* 1 or more */
};

struct manifest;

enum manifest_use {
    MANIFEST_READ,
    MANIFEST_CHANGE, /* nobody else may change it meanwhile (a lock that ends with the process) */
    MANIFEST_MAKE,   /* the same; the folder is made, and may have no list yet; no "train" inside is looked at */
};
/* errors  those of dataset_open; ERR_IO if another program is changing it. NULL then; free with manifest_free. */
MUST_USE struct manifest *manifest_open(const char *folder, enum manifest_use use, struct err *e);
void manifest_free(struct manifest *m);

/* Writes the list, whole or not at all, if something changed. Not for MANIFEST_READ. */
MUST_USE bool manifest_save(struct manifest *m, struct err *e);
/* For long work, to be called after each picture: saves when enough time has passed since the last save (1 s, and 20 times what
 * saving took), so that little is lost if the process dies. */
MUST_USE bool manifest_checkpoint(struct manifest *m, struct err *e);

const char *manifest_folder(const struct manifest *m);
size_t manifest_count(const struct manifest *m); /* with those excluded */
const struct manifest_picture *manifest_picture(const struct manifest *m, size_t i); /* i < count; borrowed */
/* The first picture with this file_name, id (not "") or source; -1 if there is none. */
long manifest_find_file(const struct manifest *m, const char *file_name);
long manifest_find_id(const struct manifest *m, const char *id);
long manifest_find_source(const struct manifest *m, const char *source);
/* path[PATH_MAX_BYTES] of picture i's file. */
MUST_USE bool manifest_path(const struct manifest *m, size_t i, char *path, struct err *e);

/* All that the list says of picture i, history too: a new object, json_decref it. NULL without memory. */
MUST_USE json_t *manifest_object(const struct manifest *m, size_t i, struct err *e);

/* Changes picture i. `fields` (an object) is laid over what is there, null takes a field away. With `operation` an entry
 * {"op": operation, "time": now, <details>} is added to its history; `details` (an object or NULL) should hold what an undo
 * needs. Where the id changes and there is no origin yet, the old id becomes the origin. fields and details are taken over,
 * also on failure (hand in json_pack's result as it is: NULL is ERR_NOMEM for fields). A failure leaves the picture as it was.
 * errors  ERR_FORMAT (a field above that is of the wrong kind, a file_name outside the folder or of another picture), ERR_LIMIT. */
MUST_USE bool manifest_change(struct manifest *m, size_t i, json_t *fields, const char *operation, json_t *details,
                              struct err *e);
/* Adds a picture at the end; fields as above and with a file_name. */
MUST_USE bool manifest_add(struct manifest *m, json_t *fields, const char *operation, json_t *details, struct err *e);
/* The time of all that is written into histories: that of manifest_open, so it tells the pictures of one run. */
const char *manifest_time(const struct manifest *m);

/* Gives every picture that has none its id and its bytes, by all threads. A file that cannot be read stays without; *missing
 * (may be NULL) counts them. errors  ERR_STOPPED (what is done stays done), ERR_NOMEM. */
MUST_USE bool manifest_identify(struct manifest *m, const struct progress *progress, size_t *missing, struct err *e);

#endif
