/* Names that come from outside: percent-encoding, query strings, and paths that must stay below a folder. */
#ifndef LIMN_SERVE_PATHS_H
#define LIMN_SERVE_PATHS_H

#include <stddef.h>

#include "base/err.h"
#include "base/file.h"

/* Decodes %XX of text[0..bytes) into out (capacity cap, ends in 0); '+' becomes a space where `form` is set (query strings). A '%'
 * without two digits stays. ERR_FORMAT for a zero byte or what is not UTF-8, ERR_LIMIT where it does not fit. */
MUST_USE bool percent_decode(const char *text, size_t bytes, bool form, char *out, size_t cap, struct err *e);

/* The value of a name in a query string ("a=1&b=2"; NULL: empty), decoded. True with *found; the first one counts. Errors are those
 * of percent_decode. */
MUST_USE bool query_value(const char *query, const char *name, char *out, size_t cap, bool *found, struct err *e);
/* Calls visit for every name and value, decoded, in order; stops with its false. Values that cannot be decoded are errors. */
MUST_USE bool query_walk(const char *query, bool (*visit)(void *self, const char *name, const char *value, struct err *e), void *self,
                         struct err *e);

/* A relative name that cannot leave its folder: not empty, not absolute, no "." or ".." parts, no '\', ':' as the second letter or
 * control characters; every part at most 255 bytes. Says why not in e (ERR_ARG). */
MUST_USE bool path_name_safe(const char *name, struct err *e);

/* root/name into out[PATH_MAX_BYTES]; name "" gives the root. The name must be safe, and what is already there must lie below the
 * root when links are followed. What is not there is fine: the caller sees when it opens it.
 * errors  ERR_ARG (leaves the folder), ERR_LIMIT (too long). */
MUST_USE bool path_below(char *out, const char *root, const char *name, struct err *e);

#endif
