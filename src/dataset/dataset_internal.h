/* What the files of dataset/ share. */
#ifndef LIMN_DATASET_DATASET_INTERNAL_H
#define LIMN_DATASET_DATASET_INTERNAL_H

#include "base/file.h"
#include "dataset/dataset.h"

/* Strings and small arrays that live as long as the dataset, in blocks. */
struct strings {
    char **blocks;
    size_t count, cap, used, room; /* bytes used and there in the last block */
};
/* `bytes` aligned to 8, or NULL. */
MUST_USE void *strings_take(struct strings *s, size_t bytes);
/* A copy, 0-ended, or NULL. */
MUST_USE const char *strings_copy(struct strings *s, const char *text, size_t bytes);
void strings_release(struct strings *s);

struct dataset {
    char folder[PATH_MAX_BYTES];
    struct strings strings;
    struct dataset_picture *pictures;
    size_t count, cap;
    uint64_t fingerprint;
    int concepts, styles;
    const char *style_names[DATASET_MAX_STYLES];
    uint32_t *by_concept; /* picture numbers in order of (hexcode, style): count of them */
    uint32_t *first_of_concept; /* a picture of each concept */
    /* Picture numbers, ascending: [held_out][0] of all styles, [held_out][1 + style_index] of one. */
    uint32_t *split[2][1 + DATASET_MAX_STYLES];
    size_t split_count[2][1 + DATASET_MAX_STYLES];

    int size_px;
    const uint8_t *pixels; /* [count, size, size, 4]: in the map or in pages */
    struct file_map map;
    uint8_t *pages;
    size_t pages_bytes;
};

/* metadata.c: a file_name must stay inside the folder: a list of somebody else must not read other files. */
bool dataset_name_inside(const char *name);
/* metadata.c: the list's path[PATH_MAX_BYTES]: in the folder, or where DiffSynth's trainers look for it, in "train" inside: then that
 * becomes folder[PATH_MAX_BYTES]. errors  ERR_MISSING. */
MUST_USE bool dataset_find_list(char *folder, char *path, bool *json, struct err *e);
/* metadata.c: a line of a list that holds nothing. */
bool dataset_line_blank(const char *line, size_t bytes);
/* metadata.c: reads the list into d->pictures and d->fingerprint; index numbers are left to dataset.c. */
MUST_USE bool metadata_read(struct dataset *d, struct err *e);

struct manifest;
/* manifest.c: a manifest of no folder, of a list's bytes alone. */
MUST_USE struct manifest *manifest_parse(const char *data, size_t bytes, bool csv, struct err *e);

/* pixels.c: resizes premultiplied RGBA by area (the mean of what a pixel covers): from [side, side, 4] to
 * [to, to, 4]. `scratch` holds side * to * 4 floats. */
void pixels_resize(const uint8_t *from, int side, uint8_t *out, int to, float *scratch);
/* Lays picture i, resized to a square of `side` pixels, over rgb[size_px, size_px, 3] at (left, top), inside it. */
MUST_USE bool pixels_lay(const struct dataset *d, size_t i, uint8_t *rgb, int size_px, int left, int top, int side,
                         struct err *e);
void pixels_fill(uint8_t *rgb, int size_px, uint32_t background);
void pixels_release(struct dataset *d);

#endif
