/* The last lines of what the server tells people: on stderr, at /internal/logs, and to sockets that asked. Any thread. */
#ifndef LIMN_SERVE_LOG_H
#define LIMN_SERVE_LOG_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

enum { LOG_LINES = 500, LOG_LINE_BYTES = 400 };

struct serve_log;
/* quiet: nothing on stderr. told (may be NULL) is given each line as {"t", "m"} of contract section 1.3; it must not log. */
MUST_USE struct serve_log *serve_log_new(bool quiet, void (*told)(void *self, const json_t *entry), void *self, struct err *e);
void serve_log_free(struct serve_log *l); /* accepts NULL */
void serve_log_line(struct serve_log *l, const char *format, ...) PRINTF_LIKE(2, 3);
/* For stderr alone: what no caller may read. */
void serve_log_aside(struct serve_log *l, const char *line);
/* [{"t": time, "m": line}, ...], the oldest first; a new reference. */
MUST_USE json_t *serve_log_entries(struct serve_log *l, struct err *e);

#endif
