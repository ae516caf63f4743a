/* JSON from files of others (jansson), with errors that name file, key, what came and what was wanted. */
#ifndef LIMN_BASE_JSON_H
#define LIMN_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define JSON_FILE_MAX_BYTES ((size_t)64 << 20)

/* Parses a whole text (depth is bounded by jansson: 2048). `where` names it in errors. Free with json_decref. */
MUST_USE json_t *json_parse(const char *text, size_t bytes, const char *where, struct err *e);
MUST_USE json_t *json_read(const char *path, struct err *e);
/* Writes it indented by 2, keys in their order, atomically. */
MUST_USE bool json_write(const json_t *j, const char *path, struct err *e);

/* The getters below look up `key` in `object`. A key that is missing or null leaves *out as it is (its default) and
 * returns true; a value of the wrong kind or outside [min, max] is an error that names `where` and the key. */
MUST_USE bool json_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max,
                           int64_t *out, struct err *e);
MUST_USE bool json_get_double(const json_t *object, const char *where, const char *key, double min, double max,
                              double *out, struct err *e);
MUST_USE bool json_get_bool(const json_t *object, const char *where, const char *key, bool *out, struct err *e);
/* *out is borrowed from object. */
MUST_USE bool json_get_string(const json_t *object, const char *where, const char *key, const char **out,
                              struct err *e);
/* Array of whole numbers: *count in is the capacity, out how many there were. A single number counts as an array of 1.
 * A missing key leaves both as they are. */
MUST_USE bool json_get_ints(const json_t *object, const char *where, const char *key, int64_t min, int64_t max,
                            int64_t *out, size_t *count, struct err *e);

#endif
