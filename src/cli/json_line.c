#include "cli/json_line.h"

#include <stdio.h>
#include <stdlib.h>

bool json_line(json_t *facts, size_t flags, struct err *e)
{
    char *line = facts ? json_dumps(facts, flags) : NULL;
    json_decref(facts);
    if (!line)
        return err_nomem(e, "a line of JSON");
    puts(line);
    fflush(stdout);
    free(line);
    return true;
}
