/* Pictures and captions from elsewhere into a data set's folder, with a line in its manifest for each.
 *
 * What can be read, from a folder or a zip file:
 *   list    metadata.jsonl or metadata.csv, also in "train/" (as DiffSynth has it), or any .jsonl or .csv file: columns in any
 *           order; the picture in file_name, file, filename, image, image_path or path, the caption in text, caption or prompt
 *   kohya   folders named "N_name": each picture counts N times; captions in .txt or .caption files beside the pictures, or else
 *           the name
 *   folder  pictures in folders of any depth (not through links to folders), captions in .txt or .caption files beside them
 * And from the gallery: the pictures that a query finds, captioned with their words; what else is known of each, its id first, is in
 * the manifest's field "gallery". */
#ifndef LIMN_DATASET_IMPORT_H
#define LIMN_DATASET_IMPORT_H

#include <jansson.h>

#include "base/progress.h"
#include "store/gallery.h"

enum import_layout { IMPORT_AUTO, IMPORT_LIST, IMPORT_KOHYA, IMPORT_FOLDER };

struct import_gallery {
    struct store *store;
    const char *folder; /* of its picture files */
    struct gallery_query query;
};

struct import_options {
    const char *from; /* a folder, a .zip, .jsonl or .csv file */
    const struct import_gallery *gallery; /* in place of `from`; then `to` is not NULL */
    const char *to;   /* the data set's folder; NULL or `from`: the list is written beside the pictures, nothing is copied */
    enum import_layout layout;
    const char *name_column, *text_column; /* of a list; NULL: the usual names */
    bool link;    /* hard links in place of copies, where the file system can */
    bool outside; /* a list may name files outside its folder: not for lists of people you do not know */
};

struct import_result {
    long taken, there, skipped; /* there: from an earlier run; skipped: each with a reason */
    json_t *reasons;            /* [{"file": .., "reason": ..}, ..], the first IMPORT_MOST_REASONS; json_decref it */
};
#define IMPORT_MOST_REASONS 1000
/* What a zip file may become when it is unpacked: a bomb is refused by what its directory tells. */
#define IMPORT_ZIP_MAX_TIMES 100
#define IMPORT_ZIP_FREE_BYTES ((uint64_t)64 << 20)

/* Takes every picture that is not there yet (told by its source), several at a time, and saves the manifest now and then, when it
 * is stopped and at the end: the same call goes on. A file that is no picture, cannot be read or is missing is skipped; one that
 * breaks off in its middle is taken, `clean` finds it. r is filled also after a failure.
 * errors  ERR_MISSING, ERR_FORMAT and ERR_LIMIT of lists and zips, ERR_IO of the data set's folder, ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool dataset_import(const struct import_options *o, struct import_result *r, const struct progress *progress,
                             struct err *e);

#endif
