/* The rows of a list, lines of JSON or records of a CSV file, as JSON objects. */
#ifndef LIMN_DATASET_ROWS_H
#define LIMN_DATASET_ROWS_H

#include "base/json.h"

/* Calls `take` for each row, in order; it takes the row over. `line` is where the row begins. A CSV file's first record names the
 * columns, and its fields are texts. Empty lines are passed over. path is for errors; the bytes need no end.
 * errors  ERR_FORMAT (not JSON, not an object, not UTF-8, a record with more or fewer fields than the first), ERR_LIMIT (a line of
 *         more than ROWS_MAX_LINE_BYTES), with path and line; those of take. */
#define ROWS_MAX_LINE_BYTES ((size_t)4 << 20)
MUST_USE bool rows_read(const char *path, const char *data, size_t bytes, bool csv,
                        bool (*take)(void *self, long line, json_t *row, struct err *e), void *self, struct err *e);
/* Whether a file's name ends in ".csv", in either case. */
bool rows_are_csv(const char *path);

#endif
