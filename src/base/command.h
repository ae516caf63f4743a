/* Another program, run for its answer. */
#ifndef LIMN_BASE_COMMAND_H
#define LIMN_BASE_COMMAND_H

#include <stddef.h>

#include "base/text.h"

/* Runs a line of shell with `argument` behind it (as one word, whatever it holds) and puts what it writes to stdout into *out, which
 * the caller has made with text_init and its largest size. It reads nothing (stdin is empty). After limit_seconds, or when a stop is
 * asked for, it and what it started are killed. Any number of threads may run commands.
 * errors  ERR_IO (it cannot be started, ends with a status other than 0, is killed, takes too long: the text has the last line that it
 *         wrote to stderr), ERR_LIMIT (an answer longer than *out can hold), ERR_STOPPED. */
MUST_USE bool command_ask(const char *line, const char *argument, double limit_seconds, struct text *out, struct err *e);

#endif
