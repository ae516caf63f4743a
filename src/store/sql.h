/* Statements in a transaction. Fixed texts are lines of sql.def; $1, $2, ... stand for values, in both dialects. */
#ifndef LIMN_STORE_SQL_H
#define LIMN_STORE_SQL_H

#include <stddef.h>

#include "store/store.h"

enum sql_id {
#define SQL(name, sqlite, postgresql) SQL_##name,
#include "store/sql.def"
#undef SQL
    SQL_COUNT
};

enum sql_kind { SQL_KIND_NULL, SQL_KIND_INT, SQL_KIND_REAL, SQL_KIND_TEXT };
struct sql_value {
    enum sql_kind kind;
    int64_t whole;
    double real;
    const char *text; /* borrowed until the call returns, for rows until rows_close */
};
static inline struct sql_value sql_int(int64_t v)
{
    return (struct sql_value){ .kind = SQL_KIND_INT, .whole = v };
}
static inline struct sql_value sql_real(double v)
{
    return (struct sql_value){ .kind = SQL_KIND_REAL, .real = v };
}
/* NULL is SQL's NULL, of the type text. */
static inline struct sql_value sql_text(const char *v)
{
    return (struct sql_value){ .kind = SQL_KIND_TEXT, .text = v };
}
static inline struct sql_value sql_null(void)
{
    return (struct sql_value){ .kind = SQL_KIND_NULL };
}
enum { SQL_MOST_VALUES = 128 };

/* Values of one statement, written in place: SQL_VALUES(sql_int(3), sql_text("a")). */
#define SQL_VALUES(...) ((const struct sql_value[]){ __VA_ARGS__ }), (sizeof((const struct sql_value[]){ __VA_ARGS__ }) / sizeof(struct sql_value))
#define SQL_NO_VALUES NULL, 0

/* Runs a statement that gives no rows; *changed (may be NULL): rows inserted, changed or deleted.
 * errors  ERR_IO, ERR_NOMEM, ERR_BACKEND (a statement of ours is wrong). The transaction can then only be taken back. */
MUST_USE bool sql_run(struct db *db, enum sql_id id, const struct sql_value *values, size_t count, int64_t *changed, struct err *e);

/* Rows of a statement:
 *     struct rows r;
 *     for (rows_open(&r, db, SQL_X, SQL_VALUES(...)); rows_next(&r);)
 *         use(rows_int(&r, 0));
 *     return rows_close(&r, e);
 * An error ends the rows and is given by rows_close, which must be called once. Texts are borrowed until the next row. At most 4
 * may be open in one transaction. */
struct rows {
    struct db *db;
    void *cursor; /* the driver's */
    bool done;
    struct err failed;
};
void rows_open(struct rows *r, struct db *db, enum sql_id id, const struct sql_value *values, size_t count);
/* The same for a text made at run time, of our own pieces only: what people say goes into values. */
void rows_open_text(struct rows *r, struct db *db, const char *text, const struct sql_value *values, size_t count);
bool rows_next(struct rows *r);
MUST_USE bool rows_close(struct rows *r, struct err *e);
bool rows_is_null(const struct rows *r, int column);
int64_t rows_int(const struct rows *r, int column); /* NULL: 0 */
double rows_real(const struct rows *r, int column);
const char *rows_text(const struct rows *r, int column); /* NULL: NULL */

/* Whether the transaction's database is PostgreSQL: for texts made at run time. */
bool sql_is_postgresql(const struct db *db);

#endif
