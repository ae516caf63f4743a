/* A data set in the layouts that other trainers read: pictures as copies or hard links, and their captions.
 *
 *   diffsynth  train/metadata.csv (file_name,text) and the pictures in train/
 *   csv        metadata.csv (file_name,text) beside the pictures
 *   jsonl      metadata.jsonl ({"file_name", "text"} a line): what other programs call an image folder
 *   kohya      folders "N_concept" with flat names and a .txt file for each picture; N is the picture's repeats
 *   folder     the pictures, each with a .txt file */
#ifndef LIMN_DATASET_EXPORT_H
#define LIMN_DATASET_EXPORT_H

#include "dataset/manifest.h"

enum export_layout { EXPORT_DIFFSYNTH, EXPORT_CSV, EXPORT_JSONL, EXPORT_KOHYA, EXPORT_FOLDER };
enum export_split { EXPORT_TRAIN, EXPORT_HELD_OUT, EXPORT_ALL };

struct export_options {
    const char *to;
    enum export_layout layout;
    enum export_split split;
    const char *concept; /* kohya: for pictures that have no field "concept"; NULL: the data set's folder's name */
    bool link;           /* hard links where the file system can */
};

/* Pictures that are excluded stay behind. A file that is there with the same bytes is left alone, so the same call goes on after a
 * stop; one with other bytes is replaced. The list comes last. *count: how many pictures.
 * errors  ERR_MISSING (a picture's file, or there are none), ERR_ARG (`to` is the data set's own folder), ERR_LIMIT, ERR_IO,
 *         ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool dataset_export(const struct manifest *m, const struct export_options *o, long *count, const struct progress *progress,
                             struct err *e);

#endif
