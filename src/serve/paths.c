#include "serve/paths.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool percent_decode(const char *text, size_t bytes, bool form, char *out, size_t cap, struct err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < bytes && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        if (!c)
            return err_set(e, ERR_FORMAT, "an address or a query holds a zero byte");
        if (n + 1 >= cap)
            return err_set(e, ERR_LIMIT, "a part of the address or query has more than %zu bytes", cap - 1);
        out[n++] = c;
    }
    out[n] = 0;
    return utf8_valid(out, n) || err_set(e, ERR_FORMAT, "an address or a query is not valid UTF-8");
}

/* The pair that begins at *at: name and value as they are written; *at moves behind it. False at the end. */
static bool next_pair(const char **at, const char **name, size_t *name_bytes, const char **value, size_t *value_bytes)
{
    while (**at == '&')
        ++*at;
    if (!**at)
        return false;
    size_t whole = strcspn(*at, "&"), left = strcspn(*at, "=&");
    *name = *at;
    *name_bytes = left;
    *value = *at + (left < whole ? left + 1 : whole);
    *value_bytes = (size_t)(*at + whole - *value);
    *at += whole;
    return true;
}


bool query_value(const char *query, const char *name, char *out, size_t cap, bool *found, struct err *e)
{
    const char *key, *value;
    size_t key_bytes, value_bytes;
    char decoded[256];
    *found = false;
    for (const char *at = query ? query : ""; next_pair(&at, &key, &key_bytes, &value, &value_bytes);) {
        struct err ignored = { 0 };
        if (!percent_decode(key, key_bytes, true, decoded, sizeof decoded, &ignored) || strcmp(decoded, name))
            continue;
        *found = true;
        return percent_decode(value, value_bytes, true, out, cap, e) || err_add(e, "in %s", name);
    }
    return true;
}

bool query_walk(const char *query, bool (*visit)(void *self, const char *name, const char *value, struct err *e), void *self,
                struct err *e)
{
    const char *key, *value;
    size_t key_bytes, value_bytes;
    char name[256], text[PATH_MAX_BYTES];
    for (const char *at = query ? query : ""; next_pair(&at, &key, &key_bytes, &value, &value_bytes);)
        if (!percent_decode(key, key_bytes, true, name, sizeof name, e) ||
            !percent_decode(value, value_bytes, true, text, sizeof text, e) || !visit(self, name, text, e))
            return false;
    return true;
}

bool path_name_safe(const char *name, struct err *e)
{
    if (!*name)
        return err_set(e, ERR_ARG, "a name is missing");
    if (*name == '/')
        return err_set(e, ERR_ARG, "\"%.200s\" is an absolute name; give one below the folder", name);
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "/");
        if (n > 255)
            return err_set(e, ERR_ARG, "a part of a name has %zu bytes; at most 255 are allowed", n);
        if ((n == 1 && *at == '.') || (n == 2 && !strncmp(at, "..", 2)))
            return err_set(e, ERR_ARG, "\"%.200s\" leaves its folder", name);
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)at[i] < 32 || at[i] == '\\' || at[i] == 127 || (at[i] == ':' && i == 1))
                return err_set(e, ERR_ARG, "a name holds a control character, a colon for a drive, or \\");
        at += n;
        at += strspn(at, "/");
    }
    return true;
}

bool path_below(char *out, const char *root, const char *name, struct err *e)
{
    char real_root[PATH_MAX_BYTES], there[PATH_MAX_BYTES], real[PATH_MAX_BYTES];
    if (!*name)
        return path_join(out, "", root, e);
    if (!path_name_safe(name, e) || !path_join(out, root, name, e))
        return false;
    if (!realpath(root, real_root))
        return true; /* nothing is there, so nothing leads elsewhere */
    /* the longest beginning that exists */
    for (snprintf(there, sizeof there, "%s", out); !realpath(there, real);) {
        char *slash = strrchr(there, '/');
        if (!slash || (size_t)(slash - there) < strlen(root))
            return true;
        *slash = 0;
    }
    size_t n = strlen(real_root);
    if (strncmp(real, real_root, n) || (real[n] && real[n] != '/' && strcmp(real_root, "/")))
        return err_set(e, ERR_ARG, "\"%.200s\" leads out of its folder through a link", name);
    return true;
}
