/* Records of a CSV file (RFC 4180): fields are plain, or in quotes with "" for a quote and newlines allowed; lines end in LF or
 * CRLF; empty lines and a byte order mark (spreadsheets write one) are passed over. */
#ifndef LIMN_DATASET_CSV_H
#define LIMN_DATASET_CSV_H

#include <stddef.h>

#include "base/text.h"

#define CSV_COLUMNS 64 /* more are counted, not kept */
#define CSV_MAX_FIELD_BYTES ((size_t)1 << 20)

struct csv {
    const char *path; /* for errors; borrowed, as the bytes are */
    const char *at, *end;
    long line, next_line;           /* where the record begins that was read last, and the one behind it */
    struct text fields[CSV_COLUMNS]; /* of the last record; good until the next */
    size_t count;                   /* fields that it had */
};

void csv_init(struct csv *c, const char *path, const char *data, size_t bytes);
void csv_release(struct csv *c);
/* The next record, or *there = false behind the last. errors  ERR_FORMAT and ERR_LIMIT, with path and line. */
MUST_USE bool csv_next(struct csv *c, bool *there, struct err *e);
/* The column whose name (in the record read last) this is, or -1. errors  ERR_FORMAT if two have it: *out is then unset. */
MUST_USE bool csv_column(const struct csv *c, const char *name, int *out, struct err *e);

/* Adds a field, in quotes where it needs them. */
void csv_add(struct text *out, const char *field);

#endif
