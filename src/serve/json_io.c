#include "serve/json_io.h"

#include <string.h>

#include "base/mem.h"
#include "flow/flow.h"

void json_io_text(struct text *out, const json_t *j)
{
    flow_json_text(out, j);
}

json_t *json_io_parse(const char *text, size_t bytes, const char *where, struct err *e)
{
    if (bytes > JSON_IO_MAX_BYTES) {
        err_set(e, ERR_LIMIT, "%s has %zu bytes, at most %zu are read", where, bytes, JSON_IO_MAX_BYTES);
        return NULL;
    }
    size_t blank = 0;
    while (blank < bytes && strchr(" \t\r\n", text[blank]))
        blank++;
    if (blank < bytes && (text[blank] == '{' || text[blank] == '['))
        return flow_json_parse(text, bytes, where, e);
    /* a number, a text: as the one item of a list */
    char *list = mem_aligned(bytes + 2);
    if (!list) {
        err_nomem(e, where);
        return NULL;
    }
    list[0] = '[';
    memcpy(list + 1, text, bytes);
    list[bytes + 1] = ']';
    json_t *all = flow_json_parse(list, bytes + 2, where, e), *one = NULL;
    mem_free(list);
    if (all && json_array_size(all) == 1)
        one = json_incref(json_array_get(all, 0));
    else if (all)
        err_set(e, ERR_FORMAT, "%s is no JSON", where);
    json_decref(all);
    return one;
}
