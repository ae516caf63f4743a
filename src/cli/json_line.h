/* How every command with --json tells its facts. */
#ifndef LIMN_CLI_JSON_LINE_H
#define LIMN_CLI_JSON_LINE_H

#include <jansson.h>

#include "base/err.h"

/* Prints facts as a line on stdout, written as jansson's flags say, and lets go of them. NULL stands for facts that could not be
 * made. errors  ERR_NOMEM. */
MUST_USE bool json_line(json_t *facts, size_t flags, struct err *e);

#endif
