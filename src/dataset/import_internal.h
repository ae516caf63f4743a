/* What the files of an import share: where bytes come from, and what there is to take. */
#ifndef LIMN_DATASET_IMPORT_INTERNAL_H
#define LIMN_DATASET_IMPORT_INTERNAL_H

#include "base/file.h"
#include "base/zip.h"
#include "dataset/import.h"

/* ---- import_source.c: a folder or a zip file, as names below it ---- */

struct import_source {
    char root[PATH_MAX_BYTES];   /* the real path of the folder or of the zip file */
    char prefix[PATH_MAX_BYTES]; /* "name/": the folder inside a zip that holds everything; else "" */
    bool zipped;
    struct file_map map;
    struct zip zip;
};
/* path is a folder or, zipped, a file. */
MUST_USE bool source_open(struct import_source *s, const char *path, bool zipped, struct err *e);
void source_close(struct import_source *s);
bool source_has(const struct import_source *s, const char *name);
/* ERR_LIMIT beyond max_bytes. *data is freed with mem_free. */
MUST_USE bool source_read(const struct import_source *s, const char *name, size_t max_bytes, char **data, size_t *bytes,
                          struct err *e);
/* All names, sorted by bytes; folders and hidden files left out. Free with folder_names_free. */
MUST_USE bool source_names(const struct import_source *s, char ***names, size_t *count, struct err *e);
/* "root/name", or "root!/name" in a zip file: what the manifest calls its source. */
MUST_USE bool source_path(const struct import_source *s, const char *name, char *out, struct err *e);

/* ---- import_items.c: what there is to take ---- */

struct import_item {
    char *name;     /* below the source's root, or an absolute path outside it; owned */
    char *target;   /* below the data set's folder; owned */
    char *text;     /* owned; NULL: of a file beside the picture, or else `fallback` */
    char *fallback; /* owned, or NULL */
    int64_t repeats;
    json_t *fields; /* all else that a list says, or NULL; owned */
};
struct import_items {
    struct import_item *at;
    size_t count, cap;
    char folder[PATH_MAX_BYTES]; /* below the root, where target begins: "train" or "" */
};
/* `list` is the name of a list in the source, or NULL: looked for. */
MUST_USE bool items_find(struct import_items *items, const struct import_source *s, const char *list, const struct import_options *o,
                         struct err *e);
/* Of the gallery; the source is then its folder. */
MUST_USE bool items_of_gallery(struct import_items *items, const struct import_gallery *gallery, struct err *e);
void items_release(struct import_items *items);
/* A new item with copies of name and target, or NULL; borrowed until the next. */
struct import_item *items_add(struct import_items *items, const char *name, const char *target, struct err *e);

/* Of a row of a list: the text in the column `asked`, or, where that is NULL, in the first of `usual` that there is; NULL without.
 * *key: which. */
const char *import_column(const json_t *row, const char *asked, const char *const *usual, const char **key);
extern const char *const import_text_columns[];
/* What the list of another data set says in fields that have a meaning here stays if it has that meaning; *repeats is taken out.
 * False without memory. */
MUST_USE bool import_clean_fields(json_t *row, int64_t *repeats);

#endif
