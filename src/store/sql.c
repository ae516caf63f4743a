/* Statements: the driver's cursors behind what sql.h promises. */
#include "store/sql.h"

#include "store/driver_internal.h"

bool sql_is_postgresql(const struct db *db)
{
    return db->driver->postgresql;
}

static void open_rows(struct rows *r, struct db *db, const char *text, bool keep, const struct sql_value *values, size_t count)
{
    *r = (struct rows){ .db = db };
    r->cursor = db->driver->query(db->connection, text, keep, values, count, &r->failed);
    r->done = !r->cursor;
}

void rows_open(struct rows *r, struct db *db, enum sql_id id, const struct sql_value *values, size_t count)
{
    open_rows(r, db, store_statement(db, id), true, values, count);
}

void rows_open_text(struct rows *r, struct db *db, const char *text, const struct sql_value *values, size_t count)
{
    open_rows(r, db, text, false, values, count);
}

bool rows_next(struct rows *r)
{
    r->done = r->done || !r->db->driver->next(r->cursor, &r->failed);
    return !r->done;
}

bool rows_close(struct rows *r, struct err *e)
{
    if (r->cursor)
        r->db->driver->close_cursor(r->cursor);
    r->cursor = NULL;
    if (r->failed.code == ERR_NONE)
        return true;
    r->db->broken = true;
    if (e->code == ERR_NONE)
        *e = r->failed;
    return false;
}

bool sql_run(struct db *db, enum sql_id id, const struct sql_value *values, size_t count, int64_t *changed, struct err *e)
{
    struct rows r;
    rows_open(&r, db, id, values, count);
    while (rows_next(&r))
        ;
    if (changed)
        *changed = r.cursor && r.failed.code == ERR_NONE ? db->driver->changed(r.cursor) : 0;
    return rows_close(&r, e);
}

bool rows_is_null(const struct rows *r, int column)
{
    return r->db->driver->is_null(r->cursor, column);
}

int64_t rows_int(const struct rows *r, int column)
{
    return r->db->driver->whole(r->cursor, column);
}

double rows_real(const struct rows *r, int column)
{
    return r->db->driver->real(r->cursor, column);
}

const char *rows_text(const struct rows *r, int column)
{
    return r->db->driver->is_null(r->cursor, column) ? NULL : r->db->driver->text(r->cursor, column);
}
