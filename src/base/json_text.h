/* JSON as text, not as a tree: checked, cut and joined without a number or a letter of it being changed (jansson has no whole
 * numbers above 2^63 - 1, and seeds go to 2^64 - 1). */
#ifndef LIMN_BASE_JSON_TEXT_H
#define LIMN_BASE_JSON_TEXT_H

#include <jansson.h>

#include "base/text.h"

enum { JSON_TEXT_MOST_DEPTH = 1000 };

/* Whether the text is one JSON value (RFC 8259), valid UTF-8, at most JSON_TEXT_MOST_DEPTH deep. `where` names it in errors.
 * errors  ERR_FORMAT (with the place), ERR_LIMIT. */
MUST_USE bool json_text_check(const char *text, const char *where, struct err *e);
/* Adds a checked object's text without its members of these names (those at the top only). Anything else is added as it is. */
void json_text_without(struct text *out, const char *text, const char *const *names, size_t count);
/* Adds a string in quotes, its UTF-8 as it is. */
void json_text_string(struct text *out, const char *s);
/* The tree, for readers of few facts: whole numbers that jansson has no room for become strings of their digits. */
MUST_USE json_t *json_text_tree(const char *text, const char *where, struct err *e);

#endif
