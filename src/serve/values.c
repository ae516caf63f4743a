/* The lists of values that a route takes, read from their text: "limit:int, sort_order:asc|desc, image:file!". */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/paths.h"
#include "serve/routes.h"

bool route_value_next(route_values *at, struct route_value *out)
{
    if (!*at)
        return false;
    *at += strspn(*at, " ,");
    if (!**at)
        return false;
    size_t whole = strcspn(*at, ","), name = strcspn(*at, ":,");
    const char *type = name < whole ? *at + name + 1 : "any";
    size_t bytes = name < whole ? whole - name - 1 : 3;
    out->needed = bytes && type[bytes - 1] == '!';
    bytes -= out->needed;
    snprintf(out->name, sizeof out->name, "%.*s", (int)name, *at);
    snprintf(out->type, sizeof out->type, "%.*s", (int)bytes, type);
    *at += whole;
    return true;
}

static bool is(const char *type, const char *name)
{
    return !strcmp(type, name);
}

/* Whether a text is one of "a|b|c". */
static bool among(const char *names, const char *text)
{
    size_t n = strlen(text);
    for (const char *at = names; *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == n && !strncmp(at, text, n))
            return true;
    return false;
}

static bool whole(const char *text, bool negative)
{
    const char *at = text + (*text == '-' && negative);
    size_t n = strspn(at, "0123456789");
    return n && n < 19 && !at[n];
}

/* Whether a query's text is of a type. */
static bool text_is(const char *type, const char *text)
{
    if (is(type, "str") || is(type, "any") || is(type, "list"))
        return true;
    if (is(type, "int") || is(type, "uint"))
        return whole(text, is(type, "int"));
    if (is(type, "bool"))
        return among("true|false|True|False|1|0|yes|no|", text) || !*text;
    if (is(type, "num")) {
        char *end;
        errno = 0;
        double v = strtod(text, &end);
        return !errno && end != text && !*end && v - v == 0 && !isspace((unsigned char)*text);
    }
    return among(type, text);
}

static bool json_is(const char *type, const json_t *v)
{
    if (is(type, "any"))
        return true;
    if (is(type, "str") || is(type, "file"))
        return json_is_string(v);
    if (is(type, "int") || is(type, "uint"))
        return json_is_integer(v) && (is(type, "int") || json_integer_value(v) >= 0);
    if (is(type, "num"))
        return json_is_number(v);
    if (is(type, "bool"))
        return json_is_boolean(v);
    if (is(type, "obj"))
        return json_is_object(v);
    if (is(type, "list"))
        return json_is_array(v);
    return json_is_string(v) && among(type, json_string_value(v));
}

static const char *words(const char *type)
{
    static const struct { const char *type, *words; } all[] = {
        { "str", "text" }, { "int", "a whole number" }, { "uint", "a whole number, not negative" }, { "num", "a number" },
        { "bool", "true or false" }, { "obj", "an object" }, { "list", "a list" }, { "file", "a file" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (is(all[i].type, type))
            return all[i].words;
    return type;
}

bool route_check_query(const struct route *r, const char *query, struct err *e)
{
    struct route_value v;
    char text[PATH_MAX_BYTES];
    for (route_values at = r->query; route_value_next(&at, &v);) {
        bool found;
        if (!query_value(query, v.name, text, sizeof text, &found, e))
            return false;
        if (!found && v.needed)
            return err_set(e, ERR_ARG, "the query has no %s", v.name);
        if (found && !text_is(v.type, text))
            return err_set(e, ERR_ARG, "%s is \"%.100s\" in the query, want %s", v.name, text, words(v.type));
    }
    return true;
}

bool route_check_body(const struct route *r, const json_t *body, struct err *e)
{
    struct route_value v;
    if (!r->body)
        return true;
    if (!json_is_object(body))
        return err_set(e, ERR_ARG, "the body is no JSON object");
    for (route_values at = r->body; route_value_next(&at, &v);) {
        const json_t *value = json_object_get(body, v.name);
        if (!value || json_is_null(value)) {
            if (v.needed)
                return err_set(e, ERR_ARG, "the body has no \"%s\"", v.name);
        } else if (!json_is(v.type, value)) {
            return err_set(e, ERR_ARG, "\"%s\" in the body is no %s", v.name, words(v.type));
        }
    }
    return true;
}
