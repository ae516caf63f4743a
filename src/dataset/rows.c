#include "dataset/rows.h"

#include <string.h>
#include <strings.h>

#include "dataset/csv.h"
#include "dataset/dataset_internal.h"


bool rows_are_csv(const char *path)
{
    size_t bytes = strlen(path);
    return bytes > 4 && !strcasecmp(path + bytes - 4, ".csv");
}

static bool read_lines(const char *path, const char *data, size_t bytes, bool (*take)(void *self, long line, json_t *row, struct err *e), void *self, struct err *e)
{
    long number = 0;
    for (const char *at = data, *end = data + bytes; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *line = at;
        size_t length = (size_t)((stop ? stop : end) - at);
        at += length + (stop != NULL);
        number++;
        if (dataset_line_blank(line, length))
            continue;
        if (length > ROWS_MAX_LINE_BYTES)
            return err_set(e, ERR_LIMIT, "%s, line %ld: %zu bytes, the limit is %zu", path, number, length, ROWS_MAX_LINE_BYTES);
        struct err cause = { 0 };
        json_t *row = json_parse(line, length, "this line", &cause);
        if (!row || !json_is_object(row)) {
            json_decref(row);
            return err_set(e, row ? ERR_FORMAT : cause.code, "%s, line %ld: %s", path, number, row ? "not a JSON object" : cause.text);
        }
        if (!take(self, number, row, e))
            return false;
    }
    return true;
}

static json_t *row_of(const struct csv *c, const json_t *names, struct err *e)
{
    json_t *row = json_object();
    if (!row)
        err_nomem(e, "a record");
    for (size_t i = 0; row && i < json_array_size(names); i++)
        if (json_object_set_new(row, json_string_value(json_array_get(names, i)), json_string(text_string(&c->fields[i])))) {
            err_set(e, ERR_FORMAT, "%s, line %ld: field %zu is not UTF-8 text", c->path, c->line, i + 1);
            json_decref(row);
            return NULL;
        }
    return row;
}

static bool read_records(struct csv *c, json_t *names, bool (*take)(void *self, long line, json_t *row, struct err *e), void *self, struct err *e)
{
    bool there;
    if (!csv_next(c, &there, e))
        return false;
    size_t columns = c->count;
    for (size_t i = 0; i < columns && i < CSV_COLUMNS; i++) {
        int first;
        if (!csv_column(c, text_string(&c->fields[i]), &first, e)) /* no name twice */
            return false;
        if (json_array_append_new(names, json_string(text_string(&c->fields[i]))))
            return err_set(e, ERR_FORMAT, "%s: the name of column %zu is not UTF-8 text", c->path, i + 1);
    }
    while (csv_next(c, &there, e)) {
        if (!there)
            return true;
        if (c->count != columns)
            return err_set(e, ERR_FORMAT, "%s, line %ld: %zu fields, the first line has %zu", c->path, c->line, c->count, columns);
        json_t *row = row_of(c, names, e);
        if (!row || !take(self, c->line, row, e))
            return false;
    }
    return false;
}

bool rows_read(const char *path, const char *data, size_t bytes, bool csv, bool (*take)(void *self, long line, json_t *row, struct err *e), void *self, struct err *e)
{
    if (!csv)
        return read_lines(path, data, bytes, take, self, e);
    struct csv c;
    json_t *names = json_array();
    csv_init(&c, path, data, bytes);
    bool good = names ? read_records(&c, names, take, self, e) : err_nomem(e, "a list");
    csv_release(&c);
    json_decref(names);
    return good;
}
