/* RFC 8259, "The JavaScript Object Notation (JSON) Data Interchange Format": sections 2 to 7. */
#include "base/json_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

/* Each of these gives the place behind what stands at p, or NULL if it is not there; *bad is then where it went wrong. */
static const char *skip_string(const char *p, const char **bad)
{
    *bad = p;
    if (*p++ != '"')
        return NULL;
    while (*p != '"') {
        *bad = p;
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p++ != '\\')
            continue;
        if (*p == 'u') {
            for (int i = 0; i < 4; i++)
                if (!isxdigit((unsigned char)*++p))
                    return NULL;
        } else if (!*p || !strchr("\"\\/bfnrt", *p)) {
            return NULL;
        }
        p++;
    }
    return p + 1;
}

static const char *skip_digits(const char *p)
{
    const char *begin = p;
    while (isdigit((unsigned char)*p))
        p++;
    return p == begin ? NULL : p;
}

static const char *skip_number(const char *p, const char **bad)
{
    *bad = p;
    p += *p == '-';
    p = *p == '0' ? p + 1 : skip_digits(p);
    if (p && *p == '.')
        p = skip_digits(p + 1);
    if (p && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '+' || *p == '-';
        p = skip_digits(p);
    }
    return p;
}

static const char *skip_value(const char *p, int depth, const char **bad, bool *deep);

/* What stands between brackets, with the space around. */
static const char *skip_inside(const char *p, bool object, int depth, const char **bad, bool *deep)
{
    char end = object ? '}' : ']';
    p = skip_space(p + 1);
    if (*p == end)
        return p + 1;
    for (;;) {
        if (object) {
            p = skip_string(p, bad);
            p = p ? skip_space(p) : NULL;
            if (!p || *p != ':') {
                *bad = p ? p : *bad;
                return NULL;
            }
            p = skip_space(p + 1);
        }
        p = skip_value(p, depth + 1, bad, deep);
        if (!p)
            return NULL;
        p = skip_space(p);
        if (*p == end)
            return p + 1;
        *bad = p;
        if (*p != ',')
            return NULL;
        p = skip_space(p + 1);
    }
}

static const char *skip_value(const char *p, int depth, const char **bad, bool *deep)
{
    static const char *const words[] = { "true", "false", "null" };
    *bad = p;
    if (depth > JSON_TEXT_MOST_DEPTH) {
        *deep = true;
        return NULL;
    }
    if (*p == '{' || *p == '[')
        return skip_inside(p, *p == '{', depth, bad, deep);
    if (*p == '"')
        return skip_string(p, bad);
    for (int i = 0; i < 3; i++)
        if (!strncmp(p, words[i], strlen(words[i])))
            return p + strlen(words[i]);
    return skip_number(p, bad);
}

bool json_text_check(const char *text, const char *where, struct err *e)
{
    const char *bad = text, *end;
    bool deep = false;
    if (!utf8_valid(text, strlen(text)))
        return err_set(e, ERR_FORMAT, "%s: not valid UTF-8", where);
    end = skip_value(skip_space(text), 1, &bad, &deep);
    if (deep)
        return err_set(e, ERR_LIMIT, "%s: JSON deeper than %d", where, JSON_TEXT_MOST_DEPTH);
    if (end)
        bad = end = skip_space(end);
    return (end && !*end) || err_set(e, ERR_FORMAT, "%s: no JSON at byte %zu: \"%.20s\"", where, (size_t)(bad - text), bad);
}

void json_text_without(struct text *out, const char *text, const char *const *names, size_t count)
{
    const char *bad, *p = skip_space(text);
    bool deep = false, first = true;
    if (*p != '{') {
        text_add(out, text);
        return;
    }
    text_add(out, "{");
    for (p = skip_space(p + 1); *p == '"';) {
        const char *name = p, *name_end = skip_string(p, &bad), *value = name_end ? skip_space(name_end) : NULL;
        const char *end = value && *value == ':' ? skip_value(skip_space(value + 1), 2, &bad, &deep) : NULL;
        bool left_out = false;
        if (!end)
            break;
        for (size_t i = 0; i < count; i++)
            left_out |= strlen(names[i]) == (size_t)(name_end - name - 2) && !strncmp(name + 1, names[i], strlen(names[i]));
        if (!left_out) {
            text_add(out, first ? "" : ",");
            text_add_bytes(out, name, (size_t)(end - name));
            first = false;
        }
        p = skip_space(end);
        p = *p == ',' ? skip_space(p + 1) : p;
    }
    text_add(out, "}");
}

void json_text_string(struct text *out, const char *s)
{
    text_add(out, "\"");
    while (*s) {
        size_t plain = 0;
        while ((unsigned char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\')
            plain++;
        text_add_bytes(out, s, plain);
        s += plain;
        if (!*s)
            break;
        if (*s == '"' || *s == '\\')
            text_addf(out, "\\%c", *s);
        else
            text_addf(out, "\\u%04x", (unsigned)(unsigned char)*s);
        s++;
    }
    text_add(out, "\"");
}

/* Whether digits[0..count) are beyond int64_t. */
static bool is_large(const char *digits, size_t count, bool negative)
{
    const char *most = negative ? "9223372036854775808" : "9223372036854775807";
    return count > 19 || (count == 19 && strncmp(digits, most, 19) > 0);
}

json_t *json_text_tree(const char *text, const char *where, struct err *e)
{
    struct text safe;
    text_init(&safe, JSON_FILE_MAX_BYTES);
    if (!json_text_check(text, where, e))
        return NULL;
    for (const char *p = text, *bad; *p;) {
        const char *end;
        if (*p == '"') {
            end = skip_string(p, &bad);
            text_add_bytes(&safe, p, (size_t)(end - p));
        } else if (*p == '-' || isdigit((unsigned char)*p)) {
            end = skip_number(p, &bad);
            size_t sign = *p == '-', digits = (size_t)(end - p) - sign;
            bool large = !memchr(p, '.', (size_t)(end - p)) && !memchr(p, 'e', (size_t)(end - p)) && !memchr(p, 'E', (size_t)(end - p)) &&
                         is_large(p + sign, digits, sign);
            text_addf(&safe, large ? "\"%.*s\"" : "%.*s", (int)(end - p), p);
        } else {
            end = p + 1;
            text_add_bytes(&safe, p, 1);
        }
        p = end;
    }
    json_t *j = text_ok(&safe, e) ? json_parse(text_string(&safe), safe.length, where, e) : NULL;
    text_release(&safe);
    return j;
}
