/* What a kind of database must be able to do: sqlite.c and postgresql.c. store.c and sql.c know no more of it. */
#ifndef LIMN_STORE_DRIVER_INTERNAL_H
#define LIMN_STORE_DRIVER_INTERNAL_H

#include "store/sql.h"

struct driver {
    const char *name;
    bool shared, postgresql;
    /* What the pieces below are called in this dialect. */
    const char *now_text, *identity_text, *key_text, *bytes_text;
    /* Whether `where` is for this driver. The last of the table takes all. */
    bool (*takes)(const char *where);
    /* A connection. `again`: it was open before, so nothing may be made anew that has gone. */
    void *(*open)(const char *where, bool again, struct err *e);
    void (*close)(void *connection);
    /* Whether the connection can still be used: asked before a transaction. */
    bool (*alive)(void *connection, struct err *e);
    MUST_USE bool (*begin)(void *connection, enum store_access access, struct err *e);
    MUST_USE bool (*commit)(void *connection, struct err *e);
    void (*rollback)(void *connection);
    /* Several statements without values: the schema. */
    MUST_USE bool (*script)(void *connection, const char *text, struct err *e);
    /* One statement. The cursor stands before the first row. keep: the text is a constant, its compiled form may be kept. */
    void *(*query)(void *connection, const char *text, bool keep, const struct sql_value *values, size_t count, struct err *e);
    /* True: a row. False: the end, or an error. */
    bool (*next)(void *cursor, struct err *e);
    int64_t (*changed)(void *cursor); /* at the end */
    void (*close_cursor)(void *cursor);
    bool (*is_null)(void *cursor, int column);
    int64_t (*whole)(void *cursor, int column);
    double (*real)(void *cursor, int column);
    const char *(*text)(void *cursor, int column);
};
extern const struct driver driver_sqlite, driver_postgresql;

/* The schema: made, or brought up to date, inside a write transaction. */
MUST_USE bool schema_update(const struct driver *d, void *connection, const char *where, struct err *e);
/* Its text with $now, $id (a growing key), $key (one that is given) and $bytes (compare by bytes) replaced. Free with mem_free. */
char *dialect_text(const struct driver *d, const char *text, struct err *e);

struct db {
    struct store *store;
    const struct driver *driver;
    void *connection;
    enum store_access access;
    bool broken; /* a statement failed: only taking back is left */
    int slot; /* the connection's place in the store */
};
/* The statement's text in the dialect of the store; lives as long as it. */
const char *store_statement(const struct db *db, enum sql_id id);

#endif
