#include "dataset/csv.h"

#include <string.h>

void csv_init(struct csv *c, const char *path, const char *data, size_t bytes)
{
    bool marked = bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0;
    c->path = path;
    c->at = data + (marked ? 3 : 0);
    c->end = data + bytes;
    c->line = 0;
    c->next_line = 1;
    c->count = 0;
    for (int i = 0; i < CSV_COLUMNS; i++)
        text_init(&c->fields[i], CSV_MAX_FIELD_BYTES);
}

void csv_release(struct csv *c)
{
    for (int i = 0; i < CSV_COLUMNS; i++)
        text_release(&c->fields[i]);
}

static bool bad(const struct csv *c, const char *what, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s, line %ld: %s", c->path, c->line, what);
}

/* One field into `field` (NULL: counted only). */
static bool read_field(struct csv *c, struct text *field, struct err *e)
{
    const char *s = c->at, *end = c->end;
    if (s < end && *s == '"') {
        for (s++;; s++) {
            if (s >= end)
                return bad(c, "a quote is not closed", e);
            if (*s == '"' && !(s + 1 < end && s[1] == '"'))
                break;
            s += *s == '"';
            c->next_line += *s == '\n';
            if (field)
                text_add_bytes(field, s, 1);
        }
        s++;
        if (s < end && *s != ',' && *s != '\n' && *s != '\r')
            return bad(c, "something follows a closed quote", e);
    } else {
        const char *from = s;
        while (s < end && *s != ',' && *s != '\n' && *s != '\r') {
            if (*s == '"')
                return bad(c, "a quote inside a field that does not begin with one", e);
            s++;
        }
        if (field)
            text_add_bytes(field, from, (size_t)(s - from));
    }
    c->at = s;
    return !field || text_ok(field, e) || err_add(e, "%s, line %ld", c->path, c->line);
}

bool csv_next(struct csv *c, bool *there, struct err *e)
{
    while (c->at < c->end && (*c->at == '\n' || *c->at == '\r'))
        c->next_line += *c->at++ == '\n';
    *there = c->at < c->end;
    c->count = 0;
    c->line = c->next_line;
    for (bool more = *there; more; c->count++) {
        struct text *field = c->count < CSV_COLUMNS ? &c->fields[c->count] : NULL;
        if (field)
            text_clear(field);
        if (!read_field(c, field, e))
            return false;
        more = c->at < c->end && *c->at == ',';
        c->at += more;
    }
    c->at += c->at < c->end && *c->at == '\r';
    if (c->at < c->end && *c->at == '\n') {
        c->at++;
        c->next_line++;
    }
    return true;
}

bool csv_column(const struct csv *c, const char *name, int *out, struct err *e)
{
    *out = -1;
    for (size_t i = 0; i < c->count && i < CSV_COLUMNS; i++) {
        if (strcmp(text_string(&c->fields[i]), name) != 0)
            continue;
        if (*out >= 0)
            return bad(c, "a column is named twice", e);
        *out = (int)i;
    }
    return true;
}

void csv_add(struct text *out, const char *field)
{
    if (!strpbrk(field, ",\"\r\n")) {
        text_add(out, field);
        return;
    }
    text_add(out, "\"");
    for (const char *s = field; *s; s++)
        text_add_bytes(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    text_add(out, "\"");
}
