/* What the writers of both formats share. */
#ifndef LIMN_WEIGHTS_WEIGHTS_WRITE_INTERNAL_H
#define LIMN_WEIGHTS_WEIGHTS_WRITE_INTERNAL_H

#include "weights/weights_internal.h"

struct planned {
    char *name;
    enum dtype type;
    struct shape shape;
    size_t bytes, gap_bytes; /* of the tensor, and of the zeros behind it */
    size_t entry;            /* index into the caller's entries */
};

struct weights_writer {
    struct file_write file;
    enum weights_format format;
    struct planned *list; /* in the order of the file */
    size_t count, next;
    size_t written; /* bytes of the tensor that is in work; 0: none is */
};

/* Writes GGUF's header for w->list and sets the gaps. */
MUST_USE bool gguf_put_header(struct weights_writer *w, const struct weights_pair *metadata, size_t pairs, struct err *e);

#endif
