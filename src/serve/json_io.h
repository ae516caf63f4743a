/* JSON as it goes over the wire: compact, ASCII, keys in their order. */
#ifndef LIMN_SERVE_JSON_IO_H
#define LIMN_SERVE_JSON_IO_H

#include <jansson.h>

#include "base/text.h"

#define JSON_IO_MAX_BYTES ((size_t)32 << 20)

/* Appends it to out, whose text_ok tells. */
void json_io_text(struct text *out, const json_t *j);
/* ERR_FORMAT, ERR_LIMIT, ERR_NOMEM. */
MUST_USE json_t *json_io_parse(const char *text, size_t bytes, const char *where, struct err *e);

#endif
