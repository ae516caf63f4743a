/* TOML 1.0 as JSON: a file of settings that people write. Dates, infinity and NaN are refused by name, for JSON has no word for them.
 * A table that a later header opens again goes on; a key that is given twice is an error. */
#ifndef LIMN_BASE_TOML_H
#define LIMN_BASE_TOML_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum { TOML_DEPTH_MAX = 32, TOML_KEY_MAX_BYTES = 256 };

/* Parses a whole text (UTF-8) into an object. `where` names it in errors, which say the line. Free with json_decref.
 * errors  ERR_FORMAT; ERR_NOMEM. */
MUST_USE json_t *toml_parse(const char *text, size_t bytes, const char *where, struct err *e);

#endif
