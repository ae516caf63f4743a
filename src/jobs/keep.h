/* A picture into the gallery: its file by content, what it tells of how it was made, how it looks. */
#ifndef LIMN_JOBS_KEEP_H
#define LIMN_JOBS_KEEP_H

#include "store/gallery.h"

/* What was read from a picture; the facts' texts belong to it. */
struct kept {
    struct gallery_facts facts;
    char hash[GALLERY_HASH_BYTES];
    char type[8];
    void *texts; /* owned */
};

/* Reads the bytes of a picture's file: size, look, and how it was made, from the texts in it: our own and A1111's "parameters",
 * ComfyUI's "prompt" and "workflow". A text that cannot be read is left out; a picture that cannot be decoded is an error.
 * name: the file's name, for errors and the gallery. Release with kept_release, not after a failure.
 * errors  ERR_FORMAT, ERR_LIMIT (image.h), ERR_NOMEM. */
MUST_USE bool kept_read(struct kept *k, const void *data, size_t bytes, const char *name, struct err *e);
void kept_release(struct kept *k);

/* kept_read, the file into the gallery's folder, and the row. `more` (may be NULL) is laid over what was read: its members that are
 * known win. *id, *added as of gallery_add. */
MUST_USE bool keep_picture(struct store *s, const char *folder, const void *data, size_t bytes, const struct gallery_facts *more,
                           int64_t *id, bool *added, struct err *e);

#endif
