#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_set(struct err *e, enum err_code code, const char *format, ...)
{
    if (e->code != ERR_NONE)
        return false;
    va_list args;
    va_start(args, format);
    e->code = code;
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return false;
}

bool err_errno(struct err *e, const char *format, ...)
{
    if (e->code != ERR_NONE)
        return false;
    int cause = errno;
    va_list args;
    va_start(args, format);
    e->code = ERR_IO;
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    size_t used = strlen(e->text);
    bool full = cause == ENOSPC || cause == EDQUOT;
    snprintf(e->text + used, sizeof e->text - used, ": %s%s", strerror(cause), full ? ": make room there, then try again" : "");
    return false;
}

bool err_add(struct err *e, const char *format, ...)
{
    size_t used = strlen(e->text);
    if (used + 3 >= sizeof e->text)
        return false;
    memcpy(e->text + used, "; ", 3);
    va_list args;
    va_start(args, format);
    vsnprintf(e->text + used + 2, sizeof e->text - used - 2, format, args);
    va_end(args);
    return false;
}

bool err_nomem(struct err *e, const char *what)
{
    return err_set(e, ERR_NOMEM, "out of memory for %s", what);
}

void err_clear(struct err *e)
{
    e->code = ERR_NONE;
    e->text[0] = 0;
}
