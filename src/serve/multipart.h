/* Bodies of multipart/form-data (RFC 7578): files and fields that a form sends. The parts point into the body. */
#ifndef LIMN_SERVE_MULTIPART_H
#define LIMN_SERVE_MULTIPART_H

#include <stddef.h>

#include "base/err.h"

enum { MULTIPART_MOST = 64, MULTIPART_HEAD_BYTES = 8192, MULTIPART_NAME_BYTES = 1024 };

struct part {
    char name[MULTIPART_NAME_BYTES];
    char filename[MULTIPART_NAME_BYTES]; /* "": a field, not a file */
    const char *data;                    /* borrowed from the body */
    size_t bytes;
};
struct multipart {
    struct part *parts; /* base/mem.h */
    size_t count;
};

/* Whether a Content-Type says multipart/form-data with a boundary of 1 to 70 bytes, which is copied. */
bool multipart_boundary(const char *content_type, char out[71]);

/* Reads a whole body. Free with multipart_release, also after a failure.
 * bounds  MULTIPART_MOST parts, MULTIPART_HEAD_BYTES for the lines before a part's data.
 * errors  ERR_FORMAT (cut off, or a part without a name), ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool multipart_parse(struct multipart *m, const char *body, size_t bytes, const char *boundary, struct err *e);
void multipart_release(struct multipart *m);

/* The first part of this name, or NULL. */
const struct part *multipart_find(const struct multipart *m, const char *name);
/* The text of a field into out[cap]; "" if it is not there. ERR_LIMIT if it does not fit, ERR_FORMAT if it is not UTF-8. */
MUST_USE bool multipart_text(const struct multipart *m, const char *name, char *out, size_t cap, struct err *e);

#endif
