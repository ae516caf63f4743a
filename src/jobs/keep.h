/* A picture into the gallery: its file by content, what it tells of how it was made, how it looks. */
#ifndef LIMN_JOBS_KEEP_H
#define LIMN_JOBS_KEEP_H

#include "base/progress.h"
#include "store/gallery.h"

/* What was read from a picture; the facts' texts belong to it. */
struct kept {
    struct gallery_facts facts;
    char hash[GALLERY_HASH_BYTES];
    char type[8];
    void *texts; /* owned */
};

/* Reads the bytes of a picture's file: size, look, and how it was made, from the texts in it (image/picture_texts.h): our own and A1111's
 * "parameters", ComfyUI's "prompt" and "workflow". A text that cannot be read is left out; a picture that cannot be decoded is an error.
 * name: the file's name, for errors and the gallery. Release with kept_release, not after a failure.
 * errors  ERR_FORMAT, ERR_LIMIT (image.h), ERR_NOMEM. */
MUST_USE bool kept_read(struct kept *k, const void *data, size_t bytes, const char *name, struct err *e);
void kept_release(struct kept *k);

/* kept_read, the file into the gallery's folder, and the row. `more` (may be NULL) is laid over what was read: its members that are
 * known win. *id, *added as of gallery_add. */
MUST_USE bool keep_picture(struct store *s, const char *folder, const void *data, size_t bytes, const struct gallery_facts *more,
                           int64_t *id, bool *added, struct err *e);

/* keep_picture for a file that was just written. errors  ERR_IO, too. */
MUST_USE bool keep_file(struct store *s, const char *folder, const char *path, const char *source, struct err *e);

/* Pictures of a file or folder, with those below it, into the gallery. */
struct import_count {
    int64_t added, known, refused; /* known: was there; refused: no picture, or a broken one (a line of progress says why) */
};
/* Files whose names end as pictures' do; the time a picture was made is its file's, its name the path below `path`. Links to folders are
 * not followed. owner "": no users. errors  ERR_IO (path is not there; the database; a full disk), ERR_STOPPED: what was added stays. */
MUST_USE bool keep_folder(struct store *s, const char *folder, const char *path, const char *owner, const struct progress *progress,
                          struct import_count *count, struct err *e);

/* Writes the pictures of a query, at most `limit` of them (0: all), into a folder: files named by id, and metadata.jsonl, a line a picture, with
 * "file_name" and "text" (the words) as data sets have it and all that is known of it. `ids` (may be NULL): these pictures in place of the
 * query's. errors  ERR_IO; what was written before stays. */
MUST_USE bool keep_export(struct store *s, const char *folder, const struct gallery_query *query, const int64_t *ids, size_t id_count,
                          const char *out, const struct progress *progress, int64_t *count, struct err *e);

#endif
