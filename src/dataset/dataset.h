/* A folder of pictures with words: metadata.jsonl (one JSON object a line) or else metadata.csv (RFC 4180, its first line
 * names the columns, in any order). Where neither is there but in a folder "train" inside, as DiffSynth has it, that is read.
 *
 * Every picture has file_name (relative, inside the folder) and text. What a set of concepts drawn in styles adds is
 * jsonl only and optional: hexcode (the concept's name), style, group, label_en, label_zh, style_en, style_zh ("3d style",
 * "3D风格"), tags_en, tags_zh (arrays), article_en ("a", "an", ""), counter_zh ("个"), split ("train" or "held-out").
 * What manifest.h adds is read too: repeats, and excluded, which leaves a picture out.
 * A picture with label_en, style_en, label_zh and style_zh is "worded": captions can be built for it (scene.h).
 *
 * After dataset_open (and dataset_load) nothing changes any more, so threads may share a dataset. */
#ifndef LIMN_DATASET_DATASET_H
#define LIMN_DATASET_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/progress.h"

#define DATASET_MAX_BYTES ((size_t)1 << 30)  /* of the list */
#define DATASET_MAX_PICTURES 4000000
#define DATASET_MAX_WORD_BYTES 255           /* of a label, style, tag: they are put together to captions */
#define DATASET_MAX_TEXT_BYTES 4095          /* of text and file_name */
#define DATASET_MAX_TAGS 64                  /* of one picture and language; more are left out */
#define DATASET_MAX_STYLES 256
#define DATASET_MAX_REPEATS 1000000
#define DATASET_MAX_SIZE 2048                /* pixels of a side, when loaded */

enum dataset_language { DATASET_ENGLISH, DATASET_CHINESE, DATASET_LANGUAGES };

/* One picture's words. All strings are borrowed from the dataset, UTF-8, and "" where the list has none. */
struct dataset_picture {
    const char *file_name, *text, *hexcode, *style, *group, *article, *counter;
    const char *label[DATASET_LANGUAGES], *style_phrase[DATASET_LANGUAGES];
    const char *const *tags[DATASET_LANGUAGES];
    int tag_count[DATASET_LANGUAGES];
    int concept_index, style_index; /* 0, 1, ... in order of first appearance; -1 without hexcode or style */
    int repeats;                    /* how often a round of training shows it, 1 or more; scenes do not look at it */
    bool held_out, worded;
};

struct dataset;

/* Reads and checks the list; pictures are not opened. NULL on failure; free with dataset_free.
 * errors  ERR_MISSING without a list, a file_name or a text; ERR_FORMAT (broken JSON, CSV or UTF-8, a file_name that leaves
 *         the folder, a split of another name, the same file_name or the same hexcode and style twice); ERR_LIMIT (the
 *         bounds above); ERR_IO. The text has file and line. */
MUST_USE struct dataset *dataset_open(const char *folder, struct err *e);
void dataset_free(struct dataset *d);

/* Makes the pixels available: every picture as [size, size, 4] u8, sRGB, alpha premultiplied (so that mixing pixels and
 * laying them over a background are linear), cut to a square around its middle and resized by area.
 * With `keep` they are in the file "pixels-<size>.rgba" in the folder, mapped; it is made if it is not there or does not
 * fit the pictures any more (names, sizes or times of the files differ). Without: in memory, made anew.
 * May be called once. `progress` may be NULL. errors: as image_load, naming the file; ERR_STOPPED. */
MUST_USE bool dataset_load(struct dataset *d, int size_px, bool keep, const struct progress *progress, struct err *e);

const char *dataset_folder(const struct dataset *d);
size_t dataset_count(const struct dataset *d);
const struct dataset_picture *dataset_picture(const struct dataset *d, size_t i); /* i < count; borrowed */
int dataset_concepts(const struct dataset *d);
int dataset_styles(const struct dataset *d);
const char *dataset_style_name(const struct dataset *d, int style_index);
/* The picture of this concept in this style, by names or by indices; -1 if there is none. */
long dataset_find(const struct dataset *d, const char *hexcode, const char *style);
long dataset_at(const struct dataset *d, int concept_index, int style_index);
/* The pictures of one split (held_out or not), ascending; borrowed. style_index -1: of all styles. */
const uint32_t *dataset_split(const struct dataset *d, bool held_out, int style_index, size_t *count);

/* A hash of all that the list says: a cache or a checkpoint made from another list does not fit. */
uint64_t dataset_fingerprint(const struct dataset *d);

int dataset_size_px(const struct dataset *d); /* 0 before dataset_load */
/* [size, size, 4] premultiplied, borrowed. Only after dataset_load. */
const uint8_t *dataset_pixels(const struct dataset *d, size_t i);
/* The picture over a background 0xRRGGBB, resized by area: out[size_px, size_px, 3]. errors  ERR_NOMEM. */
MUST_USE bool dataset_read(const struct dataset *d, size_t i, int size_px, uint32_t background, uint8_t *out,
                           struct err *e);

#endif
