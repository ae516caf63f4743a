/* PostgreSQL behind the table of driver_internal.h, through libpq. An answer is held in memory whole: texts ask for a page. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/driver_internal.h"

enum { NUMBER_BYTES = 40 };

struct connection {
    PGconn *pg;
    bool lost;       /* an error that the server did not send: libpq sees late that a connection is broken */
    char shown[200]; /* host and database, for messages */
};

struct cursor {
    PGresult *result;
    int row, rows;
};

static bool takes(const char *where)
{
    return !strncmp(where, "postgresql://", 13) || !strncmp(where, "postgres://", 11);
}

/* libpq's text without the end of the line; it may have several lines. */
static const char *one_line(const char *text, char *out, size_t room)
{
    size_t n = 0;
    for (; *text && n + 1 < room; text++)
        out[n++] = *text == '\n' || *text == '\t' ? ' ' : *text;
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = 0;
    return out;
}

/* The sentence for a failure: classes of SQLSTATE as in PostgreSQL's manual, appendix A. */
static bool failed(struct connection *c, const PGresult *result, const char *doing, struct err *e)
{
    char text[600];
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    one_line(result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result) : PQerrorMessage(c->pg), text, sizeof text);
    c->lost |= !state || PQstatus(c->pg) != CONNECTION_OK;
    if (c->lost || (state && (!strncmp(state, "57P", 3) || !strncmp(state, "08", 2))))
        return err_set(e, ERR_IO, "the database %s is gone (%s): it goes on when the server is back", c->shown, text);
    if (state && !strcmp(state, "53100"))
        return err_set(e, ERR_IO, "the disk of the database %s is full: make room there, then it goes on", c->shown);
    if (state && !strncmp(state, "53", 2))
        return err_set(e, ERR_IO, "the database %s has too little of something: %s", c->shown, text);
    if (state && (!strncmp(state, "40", 2) || !strncmp(state, "55P03", 5) || !strncmp(state, "57014", 5)))
        return err_set(e, ERR_IO, "the database %s was in use by another program: try again (%s)", c->shown, text);
    if (state && (!strcmp(state, "25006") || !strcmp(state, "42501")))
        return err_set(e, ERR_IO, "the database %s may not be written by this user: %s", c->shown, text);
    return err_set(e, ERR_BACKEND, "%s the database %s: %s", doing, c->shown, text);
}

static void close_connection(void *connection)
{
    struct connection *c = connection;
    PQfinish(c->pg);
    mem_free(c);
}

static void no_notices(void *self, const PGresult *result)
{
}

static void *open_connection(const char *where, bool again, struct err *e)
{
    char text[600];
    static const char *const keys[] = { "dbname", "application_name", "connect_timeout", "client_encoding", "keepalives_idle", NULL };
    const char *const values[] = { where, "limn", "10", "UTF8", "30", NULL };
    struct connection *c = mem_zeroed(1, sizeof *c);
    if (!c || !(c->pg = PQconnectdbParams(keys, values, 1))) {
        mem_free(c);
        err_nomem(e, "a database connection");
        return NULL;
    }
    const char *host = PQhost(c->pg), *name = PQdb(c->pg);
    snprintf(c->shown, sizeof c->shown, "%s on %s", name ? name : "?", host && *host ? host : "?");
    PQsetNoticeReceiver(c->pg, no_notices, NULL);
    if (PQstatus(c->pg) == CONNECTION_OK)
        return c;
    err_set(e, ERR_IO, "no connection to the database %s: %s", c->shown, one_line(PQerrorMessage(c->pg), text, sizeof text));
    close_connection(c);
    return NULL;
}

static bool alive(void *connection, struct err *e)
{
    struct connection *c = connection;
    return (!c->lost && PQstatus(c->pg) == CONNECTION_OK) || failed(c, NULL, "using", e);
}

static bool script(void *connection, const char *text, struct err *e)
{
    struct connection *c = connection;
    PGresult *result = PQexec(c->pg, text);
    ExecStatusType status = PQresultStatus(result);
    bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || failed(c, result, "using", e);
    PQclear(result);
    return good;
}

static bool begin(void *connection, enum store_access access, struct err *e)
{
    return script(connection, access == STORE_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN", e);
}

static bool commit(void *connection, struct err *e)
{
    struct connection *c = connection;
    PGresult *result = PQexec(c->pg, "COMMIT");
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK && !strcmp(PQcmdStatus(result), "COMMIT");
    struct err why = { 0 };
    if (!good && !failed(c, result, "writing", &why) && c->lost)
        err_set(e, ERR_IO, "the database %s broke off while it wrote: this change may or may not be in it", c->shown);
    else if (!good)
        err_set(e, why.code, "%s", why.text);
    PQclear(result);
    return good;
}

static void rollback(void *connection)
{
    struct connection *c = connection;
    PQclear(PQexec(c->pg, "ROLLBACK"));
}

static void *query(void *connection, const char *text, bool keep, const struct sql_value *values, size_t count, struct err *e)
{
    enum { INT8 = 20, TEXT = 25, FLOAT8 = 701 }; /* OIDs of pg_type.dat */
    struct connection *c = connection;
    char numbers[SQL_MOST_VALUES][NUMBER_BYTES];
    const char *texts[SQL_MOST_VALUES];
    Oid types[SQL_MOST_VALUES];
    if (count > SQL_MOST_VALUES) {
        err_set(e, ERR_LIMIT, "a statement with %zu values: at most %d", count, SQL_MOST_VALUES);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        const struct sql_value *v = &values[i];
        texts[i] = v->kind == SQL_KIND_NULL ? NULL : v->kind == SQL_KIND_TEXT ? v->text : numbers[i];
        types[i] = v->kind == SQL_KIND_INT ? INT8 : v->kind == SQL_KIND_REAL ? FLOAT8 : v->kind == SQL_KIND_TEXT ? TEXT : 0;
        if (v->kind == SQL_KIND_INT)
            snprintf(numbers[i], NUMBER_BYTES, "%lld", (long long)v->whole);
        else if (v->kind == SQL_KIND_REAL)
            snprintf(numbers[i], NUMBER_BYTES, "%.17g", v->real);
    }
    struct cursor *k = mem_zeroed(1, sizeof *k);
    if (!k) {
        err_nomem(e, "a statement");
        return NULL;
    }
    k->row = -1;
    k->result = PQexecParams(c->pg, text, (int)count, types, texts, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(k->result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        k->rows = PQntuples(k->result);
        return k;
    }
    failed(c, k->result, "asking", e);
    PQclear(k->result);
    mem_free(k);
    return NULL;
}

static bool next(void *cursor, struct err *e)
{
    struct cursor *k = cursor;
    return ++k->row < k->rows;
}

static int64_t changed(void *cursor)
{
    return strtoll(PQcmdTuples(((struct cursor *)cursor)->result), NULL, 10);
}

static void close_cursor(void *cursor)
{
    struct cursor *k = cursor;
    PQclear(k->result);
    mem_free(k);
}

static bool is_null(void *cursor, int column)
{
    struct cursor *k = cursor;
    return PQgetisnull(k->result, k->row, column) != 0;
}

static const char *text_of(void *cursor, int column)
{
    struct cursor *k = cursor;
    return PQgetvalue(k->result, k->row, column);
}

static int64_t whole(void *cursor, int column)
{
    return strtoll(text_of(cursor, column), NULL, 10);
}

static double real(void *cursor, int column)
{
    return strtod(text_of(cursor, column), NULL);
}

const struct driver driver_postgresql = {
    .name = "postgresql", .shared = true, .postgresql = true,
    .now_text = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    .identity_text = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", .key_text = "BIGINT PRIMARY KEY",
    .bytes_text = "COLLATE \"C\"", .takes = takes, .open = open_connection, .close = close_connection, .alive = alive,
    .begin = begin, .commit = commit, .rollback = rollback, .script = script, .query = query, .next = next, .changed = changed,
    .close_cursor = close_cursor, .is_null = is_null, .whole = whole, .real = real, .text = text_of,
};
