/* Whole numbers up to 2^64 - 1 in JSON, which jansson does not have: on the way in, such a number becomes a text with a mark before its
 * digits; on the way out, such a text is a number again. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "flow/flow_internal.h"

#define MARK "\x01u64:"
#define MARK_IN_JSON "\"\\u0001u64:"
enum { MOST_DIGITS = 20, LEAST_DIGITS = 19 };

/* Whether digits[0..count) are a number above INT64_MAX that uint64_t has. */
static bool is_large(const char *digits, size_t count)
{
    static const char least[] = "9223372036854775807", most[] = "18446744073709551615";
    if (count == LEAST_DIGITS)
        return strncmp(digits, least, count) > 0;
    return count == MOST_DIGITS && strncmp(digits, most, count) <= 0;
}

/* The text with its large numbers marked. */
static void mark(struct text *out, const char *text, size_t bytes)
{
    bool quoted = false;
    for (size_t i = 0; i < bytes;) {
        size_t end = i;
        if (quoted || !isdigit((unsigned char)text[i])) {
            if (quoted && text[i] == '\\' && i + 1 < bytes) {
                text_add_bytes(out, text + i, 2);
                i += 2;
                continue;
            }
            quoted = text[i] == '"' ? !quoted : quoted;
            text_add_bytes(out, text + i++, 1);
            continue;
        }
        while (end < bytes && isdigit((unsigned char)text[end]))
            end++;
        char before = i ? text[i - 1] : 0, behind = end < bytes ? text[end] : 0;
        bool whole = before != '.' && before != '-' && before != '+' && !isalpha((unsigned char)before) && behind != '.' && behind != 'e' &&
                     behind != 'E';
        if (whole && is_large(text + i, end - i))
            text_addf(out, "%s%.*s\"", MARK_IN_JSON, (int)(end - i), text + i);
        else
            text_add_bytes(out, text + i, end - i);
        i = end;
    }
}

json_t *flow_json_parse(const char *text, size_t bytes, const char *where, struct err *e)
{
    struct text marked;
    json_t *j = NULL;
    if (bytes > FLOW_MAX_BYTES) {
        err_set(e, ERR_LIMIT, "%s: %zu bytes of JSON: at most %zu", where, bytes, (size_t)FLOW_MAX_BYTES);
        return NULL;
    }
    text_init(&marked, 2 * FLOW_MAX_BYTES);
    mark(&marked, text, bytes);
    if (text_ok(&marked, e))
        j = json_parse(text_string(&marked), marked.length, where, e);
    text_release(&marked);
    return j;
}

static int add_part(const char *bytes, size_t count, void *out)
{
    text_add_bytes(out, bytes, count);
    return 0;
}

void flow_json_text(struct text *out, const json_t *j)
{
    struct text marked;
    text_init(&marked, 8 * FLOW_MAX_BYTES);
    if (json_dump_callback(j, add_part, &marked, JSON_ENSURE_ASCII | JSON_COMPACT | JSON_ENCODE_ANY))
        marked.failed = true;
    const char *at = text_string(&marked), *found;
    while ((found = strstr(at, MARK_IN_JSON))) {
        const char *digits = found + strlen(MARK_IN_JSON);
        size_t count = strspn(digits, "0123456789");
        bool number = digits[count] == '"' && is_large(digits, count);
        text_add_bytes(out, at, (size_t)(found - at));
        if (number)
            text_add_bytes(out, digits, count);
        else
            text_add_bytes(out, found, (size_t)(digits - found));
        at = number ? digits + count + 1 : digits;
    }
    text_add(out, at);
    out->failed |= marked.failed;
    text_release(&marked);
}

json_t *flow_json_u64(uint64_t v)
{
    char text[40];
    if (v <= INT64_MAX)
        return json_integer((json_int_t)v);
    snprintf(text, sizeof text, MARK "%llu", (unsigned long long)v);
    return json_string(text);
}

bool flow_json_is_whole(const json_t *j, int64_t *bits, bool *large)
{
    const char *s = json_string_value(j);
    *large = false;
    if (json_is_integer(j)) {
        *bits = json_integer_value(j);
        return true;
    }
    if (!s || strncmp(s, MARK, strlen(MARK)))
        return false;
    s += strlen(MARK);
    if (strspn(s, "0123456789") != strlen(s) || !is_large(s, strlen(s)))
        return false;
    *large = true;
    *bits = (int64_t)strtoull(s, NULL, 10);
    return true;
}

bool flow_is_link(const json_t *value, const char **id, int64_t *output)
{
    const json_t *first = json_array_get(value, 0), *second = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_string(first) || !json_is_integer(second))
        return false;
    *id = json_string_value(first);
    *output = json_integer_value(second);
    return true;
}
