#include "base/json.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"

json_t *json_parse(const char *text, size_t bytes, const char *where, struct err *e)
{
    json_error_t cause;
    json_t *j = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &cause);
    if (!j)
        err_set(e, ERR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", where, cause.line, cause.column,
                cause.text);
    return j;
}

json_t *json_read(const char *path, struct err *e)
{
    char *text;
    size_t bytes;
    if (!file_read(path, JSON_FILE_MAX_BYTES, &text, &bytes, e))
        return NULL;
    json_t *j = json_parse(text, bytes, path, e);
    mem_free(text);
    return j;
}

bool json_write(const json_t *j, const char *path, struct err *e)
{
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
    if (!text)
        return err_nomem(e, path);
    size_t bytes = strlen(text);
    text[bytes] = '\n'; /* in place of the final 0: the file ends in a newline */
    bool good = file_write_whole(path, text, bytes + 1, e);
    free(text);
    return good;
}

/* The value behind key, or NULL if it is missing or null. */
static const json_t *present(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return v && !json_is_null(v) ? v : NULL;
}

static const char *kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a number";
    default: return "true or false";
    }
}

static bool whole_number(const json_t *v, const char *where, const char *key, int64_t min, int64_t max, int64_t *out,
                         struct err *e)
{
    if (!json_is_integer(v))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %s, want a whole number", where, key, kind(v));
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %lld, want %lld to %lld", where, key, (long long)n,
                       (long long)min, (long long)max);
    *out = n;
    return true;
}

bool json_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max, int64_t *out,
                  struct err *e)
{
    const json_t *v = present(object, key);
    return !v || whole_number(v, where, key, min, max, out, e);
}

bool json_get_double(const json_t *object, const char *where, const char *key, double min, double max, double *out,
                     struct err *e)
{
    const json_t *v = present(object, key);
    if (!v)
        return true;
    if (!json_is_number(v))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %s, want a number", where, key, kind(v));
    double n = json_number_value(v);
    if (!(n >= min && n <= max))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %g, want %g to %g", where, key, n, min, max);
    *out = n;
    return true;
}

bool json_get_bool(const json_t *object, const char *where, const char *key, bool *out, struct err *e)
{
    const json_t *v = present(object, key);
    if (!v)
        return true;
    if (!json_is_boolean(v))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %s, want true or false", where, key, kind(v));
    *out = json_is_true(v);
    return true;
}

bool json_get_string(const json_t *object, const char *where, const char *key, const char **out, struct err *e)
{
    const json_t *v = present(object, key);
    if (!v)
        return true;
    if (!json_is_string(v))
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is %s, want a string", where, key, kind(v));
    *out = json_string_value(v);
    return true;
}

bool json_get_ints(const json_t *object, const char *where, const char *key, int64_t min, int64_t max, int64_t *out,
                   size_t *count, struct err *e)
{
    const json_t *v = present(object, key);
    if (!v)
        return true;
    if (!json_is_array(v)) {
        if (*count < 1)
            return err_set(e, ERR_LIMIT, "%s: \"%s\" is not expected", where, key);
        *count = 1;
        return whole_number(v, where, key, min, max, out, e);
    }
    if (json_array_size(v) > *count)
        return err_set(e, ERR_LIMIT, "%s: \"%s\" has %zu items, at most %zu are read", where, key, json_array_size(v),
                       *count);
    *count = json_array_size(v);
    for (size_t i = 0; i < *count; i++)
        if (!whole_number(json_array_get(v, i), where, key, min, max, &out[i], e))
            return false;
    return true;
}
