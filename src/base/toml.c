#include "base/toml.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct reader {
    const char *text, *where;
    size_t at, bytes;
    int line;
    struct err *e;
};

struct key {
    char s[TOML_KEY_MAX_BYTES];
};

static bool wrong(const struct reader *r, const char *what)
{
    return err_set(r->e, ERR_FORMAT, "%s, line %d: %s", r->where, r->line, what);
}

/* The next byte, or '\0' at the end (which a text may not hold). */
static char peek(const struct reader *r)
{
    return r->at < r->bytes ? r->text[r->at] : 0;
}

static bool starts(const struct reader *r, const char *with)
{
    size_t length = strlen(with);
    return r->bytes - r->at >= length && !memcmp(r->text + r->at, with, length);
}

static bool take(struct reader *r, const char *what)
{
    if (!starts(r, what))
        return false;
    r->at += strlen(what);
    return true;
}

static void skip_blanks(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t')
        r->at++;
}

static bool take_newline(struct reader *r)
{
    if (!take(r, "\n") && !take(r, "\r\n"))
        return false;
    r->line++;
    return true;
}

static void skip_comment(struct reader *r)
{
    if (peek(r) == '#')
        while (r->at < r->bytes && peek(r) != '\n')
            r->at++;
}

/* Blanks, comments and line ends: what may stand between the values of an array. */
static void skip_all(struct reader *r)
{
    do {
        skip_blanks(r);
        skip_comment(r);
    } while (take_newline(r));
}

static bool end_of_line(struct reader *r)
{
    skip_blanks(r);
    skip_comment(r);
    return r->at == r->bytes || take_newline(r) || wrong(r, "something stands behind the value");
}

/* \n, \u00e4 and the like, behind the backslash. */
static bool escape(struct reader *r, struct text *out)
{
    static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    char c = peek(r);
    const char *known = c ? strchr(names, c) : NULL;
    r->at++;
    if (known) {
        text_add_bytes(out, &values[known - names], 1);
        return true;
    }
    int digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t rune = 0;
    for (int i = 0; i < digits; i++) {
        char h = peek(r);
        if (!isxdigit((unsigned char)h))
            return wrong(r, "an escape needs 4 (\\u) or 8 (\\U) hexadecimal digits");
        rune = rune * 16 + (uint32_t)(isdigit((unsigned char)h) ? h - '0' : tolower(h) - 'a' + 10);
        r->at++;
    }
    char encoded[4];
    if (!digits || rune == 0 || rune > 0x10FFFF || (rune >= 0xD800 && rune < 0xE000))
        return wrong(r, "an escape that TOML does not know (in 'single quotes' a backslash is itself)");
    text_add_bytes(out, encoded, utf8_encode(rune, encoded));
    return true;
}

/* A string of any of the four kinds, at its first quote. */
static bool read_string(struct reader *r, struct text *out)
{
    char quote = peek(r);
    const char *three = quote == '"' ? "\"\"\"" : "'''";
    bool several = take(r, three);
    if (several)
        (void)take_newline(r);
    else
        r->at++;
    for (;;) {
        char c = peek(r);
        if (!c)
            return wrong(r, r->at < r->bytes ? "a byte 0 in a string" : "a string without an end");
        if (several ? starts(r, three) : c == quote) {
            r->at += several ? 3 : 1;
            for (int i = 0; several && i < 2 && peek(r) == quote; i++, r->at++) /* up to two quotes may end a string */
                text_add_bytes(out, &quote, 1);
            return true;
        }
        if (c == '\n' || starts(r, "\r\n")) {
            if (!several)
                return wrong(r, "a string without an end");
            (void)take_newline(r);
            text_add(out, "\n");
        } else if (c == '\\' && quote == '"') {
            r->at++;
            size_t behind = r->at;
            skip_blanks(r);
            if (several && take_newline(r)) { /* a backslash at a line's end joins it with the next word */
                while (peek(r) == ' ' || peek(r) == '\t' || take_newline(r))
                    r->at += peek(r) == ' ' || peek(r) == '\t';
                continue;
            }
            r->at = behind;
            if (!escape(r, out))
                return false;
        } else if ((unsigned char)c < 0x20 && c != '\t') {
            return wrong(r, "a control character in a string");
        } else {
            text_add_bytes(out, &c, 1);
            r->at++;
        }
    }
}

static bool read_key(struct reader *r, struct key *key)
{
    struct text text;
    text_init(&text, sizeof key->s);
    bool good = true;
    if (peek(r) == '"' || peek(r) == '\'')
        good = read_string(r, &text);
    else
        while (isalnum((unsigned char)peek(r)) || peek(r) == '_' || peek(r) == '-') {
            text_add_bytes(&text, r->text + r->at, 1);
            r->at++;
        }
    if (good && (text.failed || !text.length || text.length >= sizeof key->s))
        good = wrong(r, text.length ? "a key is too long" : "a key (letters, digits, - and _) is missing");
    snprintf(key->s, sizeof key->s, "%s", text_string(&text));
    text_release(&text);
    return good;
}

/* The table called `key` in another, made if it is not there; of an array of tables the last one. */
static json_t *table_in(struct reader *r, json_t *in, const char *key)
{
    json_t *there = json_object_get(in, key);
    if (json_is_array(there) && json_array_size(there))
        there = json_array_get(there, json_array_size(there) - 1);
    if (!there && json_object_set_new(in, key, there = json_object()) != 0) {
        err_nomem(r->e, "a table");
        return NULL;
    }
    if (!json_is_object(there)) {
        wrong(r, "a value is used as a table");
        return NULL;
    }
    return there;
}

/* "a.b.c": the table that holds the last part, which *key gets. */
static json_t *read_path(struct reader *r, json_t *in, struct key *key)
{
    for (int depth = 0; depth < TOML_DEPTH_MAX; depth++) {
        if (!read_key(r, key))
            return NULL;
        skip_blanks(r);
        if (!take(r, "."))
            return in;
        skip_blanks(r);
        if (!(in = table_in(r, in, key->s)))
            return NULL;
    }
    wrong(r, "a key has too many parts");
    return NULL;
}

static json_t *read_value(struct reader *r, int depth);

/* key = value, into the table. */
static bool read_pair(struct reader *r, json_t *table, int depth)
{
    struct key key;
    json_t *in = read_path(r, table, &key);
    if (!in)
        return false;
    if (!take(r, "="))
        return wrong(r, "'=' is missing behind the key");
    skip_blanks(r);
    if (json_object_get(in, key.s))
        return err_set(r->e, ERR_FORMAT, "%s, line %d: %s is given twice", r->where, r->line, key.s);
    json_t *value = read_value(r, depth);
    if (!value)
        return false;
    return json_object_set_new(in, key.s, value) == 0 || err_nomem(r->e, "a table");
}

static json_t *read_inline_table(struct reader *r, int depth)
{
    json_t *table = json_object();
    bool good = table || err_nomem(r->e, "a table");
    r->at++;
    skip_blanks(r);
    if (good && !take(r, "}"))
        do {
            skip_blanks(r);
            good = read_pair(r, table, depth + 1);
            skip_blanks(r);
            if (good && take(r, "}"))
                return table;
        } while (good && (take(r, ",") || !(good = wrong(r, "',' or '}' is missing in a table"))));
    if (good)
        return table;
    json_decref(table);
    return NULL;
}

static json_t *read_array(struct reader *r, int depth)
{
    json_t *array = json_array();
    bool good = array || err_nomem(r->e, "an array");
    r->at++;
    while (good) {
        skip_all(r);
        if (take(r, "]"))
            return array;
        json_t *value = read_value(r, depth + 1);
        good = value && (json_array_append_new(array, value) == 0 || err_nomem(r->e, "an array"));
        skip_all(r);
        if (good && !take(r, ",") && peek(r) != ']')
            good = wrong(r, "',' or ']' is missing in an array");
    }
    json_decref(array);
    return NULL;
}

/* Digits with single underscores between them, without these; false if they do not look so. */
static bool plain_digits(const char *word, char *out)
{
    char before = 0;
    for (; *word; word++) {
        if (*word == '_' && (!isxdigit((unsigned char)before) || !isxdigit((unsigned char)word[1])))
            return false;
        if (*word != '_')
            *out++ = *word;
        before = *word;
    }
    *out = 0;
    return true;
}

/* Everything that is not quoted. */
static json_t *read_word(struct reader *r)
{
    char word[64], digits[64], *end;
    size_t length = 0;
    while (length < sizeof word - 1 && peek(r) && (isalnum((unsigned char)peek(r)) || strchr("+-_.:", peek(r)))) {
        word[length++] = peek(r);
        r->at++;
    }
    word[length] = 0;
    if (!strcmp(word, "true") || !strcmp(word, "false"))
        return json_boolean(word[0] == 't');
    const char *number = word[0] == '+' || word[0] == '-' ? word + 1 : word;
    int base = !strncmp(number, "0x", 2) ? 16 : !strncmp(number, "0o", 2) ? 8 : !strncmp(number, "0b", 2) ? 2 : 10;
    bool leading_zero = number[0] == '0' && isdigit((unsigned char)number[1]);
    if (isdigit((unsigned char)number[0]) && !leading_zero && plain_digits(base == 10 ? word : number + 2, digits) && digits[0] &&
        (base == 10 || number == word)) {
        errno = 0;
        long long whole = strtoll(digits, &end, base);
        if (!*end && !errno && (base == 10 || isxdigit((unsigned char)digits[0])))
            return json_integer(whole);
        double real = base == 10 && !errno && digits[strlen(digits) - 1] != '.' && !strstr(digits, ".e") && !strstr(digits, ".E")
                          ? strtod(digits, &end) : NAN;
        if (!*end && isfinite(real))
            return json_real(real);
    }
    err_set(r->e, ERR_FORMAT, "%s, line %d: %.60s is no value that settings can have: want a number, true, false, a \"text\" or a [list]",
            r->where, r->line, length ? word : "what stands behind '='");
    return NULL;
}

static json_t *read_value(struct reader *r, int depth)
{
    if (depth > TOML_DEPTH_MAX) {
        wrong(r, "lists and tables lie too deep in each other");
        return NULL;
    }
    if (peek(r) == '[')
        return read_array(r, depth);
    if (peek(r) == '{')
        return read_inline_table(r, depth);
    if (peek(r) != '"' && peek(r) != '\'')
        return read_word(r);
    struct text text;
    text_init(&text, r->bytes + 8);
    json_t *value = NULL;
    if (read_string(r, &text) && text_ok(&text, r->e) && !(value = json_stringn(text_string(&text), text.length)))
        wrong(r, "a text that is not UTF-8");
    text_release(&text);
    return value;
}

/* [a.b] or [[a.b]]: the table that the following lines belong to. */
static json_t *read_header(struct reader *r, json_t *root)
{
    struct key key;
    bool many = take(r, "[[");
    if (!many)
        r->at++;
    skip_blanks(r);
    json_t *in = read_path(r, root, &key);
    if (!in)
        return NULL;
    if (!take(r, many ? "]]" : "]")) {
        wrong(r, "']' is missing behind a table's name");
        return NULL;
    }
    json_t *array = json_object_get(in, key.s);
    if (!many)
        return table_in(r, in, key.s);
    if (!array && json_object_set_new(in, key.s, array = json_array()) != 0) {
        err_nomem(r->e, "an array of tables");
        return NULL;
    }
    if (!json_is_array(array) || json_array_append_new(array, json_object()) != 0) {
        wrong(r, "a value is used as an array of tables");
        return NULL;
    }
    return table_in(r, in, key.s);
}

json_t *toml_parse(const char *text, size_t bytes, const char *where, struct err *e)
{
    struct reader r = { text, where, 0, bytes, 1, e };
    json_t *root = json_object(), *table = root;
    bool good = root || err_nomem(e, "settings");
    (void)take(&r, "\xEF\xBB\xBF");
    while (good) {
        skip_all(&r);
        if (r.at == r.bytes)
            return root;
        good = peek(&r) == '[' ? (table = read_header(&r, root)) != NULL : read_pair(&r, table, 0);
        good = good && end_of_line(&r);
    }
    json_decref(root);
    return NULL;
}
