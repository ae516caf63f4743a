/* Connections and transactions. */
#include "store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/driver_internal.h"

enum { CONNECTIONS = 8 };

/* `lock` guards slots; `writer` is held through a write transaction of SQLite, whose writers wait for each other anyway: so they
 * come in the order of a mutex and not by polling. */
struct store {
    const struct driver *driver;
    char *where, *shown;
    char *statements[SQL_COUNT];
    pthread_mutex_t lock, writer;
    pthread_cond_t freed;
    struct {
        void *connection;
        bool used;
    } slots[CONNECTIONS];
    struct db transactions[CONNECTIONS];
};

static const struct driver *const drivers[] = { &driver_postgresql, &driver_sqlite };

/* The address without what stands between "user:" and "@". */
static char *without_password(const char *where)
{
    char *shown = mem_string(where);
    char *scheme = shown ? strstr(shown, "://") : NULL, *at = scheme ? strchr(scheme, '@') : NULL;
    char *colon = at ? strchr(scheme + 3, ':') : NULL;
    if (colon && colon < at)
        memmove(colon, at, strlen(at) + 1);
    char *password = shown && scheme ? strstr(shown, "password=") : NULL;
    if (password) {
        size_t skip = strcspn(password + 9, "&");
        memmove(password + 9, password + 9 + skip, strlen(password + 9 + skip) + 1);
    }
    return shown;
}

static bool make_schema(struct store *s, void *connection, struct err *e)
{
    if (!s->driver->begin(connection, STORE_WRITE, e))
        return false;
    if (schema_update(s->driver, connection, s->shown, e) && s->driver->commit(connection, e))
        return true;
    s->driver->rollback(connection);
    return false;
}

struct store *store_open(const char *where, struct err *e)
{
    static const char *const texts[] = {
#define SQL(name, sqlite, postgresql) sqlite,
#include "store/sql.def"
#undef SQL
    };
    static const char *const other_texts[] = {
#define SQL(name, sqlite, postgresql) postgresql,
#include "store/sql.def"
#undef SQL
    };
    struct store *s = mem_zeroed(1, sizeof *s);
    if (!s) {
        err_nomem(e, "a database");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->writer, NULL);
    pthread_cond_init(&s->freed, NULL);
    size_t i = 0;
    while (!drivers[i]->takes(where))
        i++;
    s->driver = drivers[i];
    s->where = mem_string(where);
    s->shown = without_password(where);
    bool good = (s->where && s->shown) || err_nomem(e, "a database");
    for (int id = 0; good && id < SQL_COUNT; id++) {
        const char *text = s->driver->postgresql && other_texts[id] ? other_texts[id] : texts[id];
        good = (s->statements[id] = dialect_text(s->driver, text, e)) != NULL;
    }
    good = good && (s->slots[0].connection = s->driver->open(where, false, e)) && make_schema(s, s->slots[0].connection, e);
    if (good)
        return s;
    store_close(s);
    return NULL;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < CONNECTIONS; i++)
        if (s->slots[i].connection)
            s->driver->close(s->slots[i].connection);
    for (int id = 0; id < SQL_COUNT; id++)
        mem_free(s->statements[id]);
    pthread_cond_destroy(&s->freed);
    pthread_mutex_destroy(&s->writer);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->where);
    mem_free(s->shown);
    mem_free(s);
}

const char *store_where(const struct store *s)
{
    return s->shown;
}

bool store_is_shared(const struct store *s)
{
    return s->driver->shared;
}

const char *store_statement(const struct db *db, enum sql_id id)
{
    return db->store->statements[id];
}

/* A free slot, one with a connection if there is one. */
static int take_slot(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    int found = -1;
    while (found < 0) {
        for (int i = 0; i < CONNECTIONS; i++)
            if (!s->slots[i].used && (found < 0 || (!s->slots[found].connection && s->slots[i].connection)))
                found = i;
        if (found < 0)
            pthread_cond_wait(&s->freed, &s->lock);
    }
    s->slots[found].used = true;
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void free_slot(struct store *s, int slot)
{
    pthread_mutex_lock(&s->lock);
    s->slots[slot].used = false;
    pthread_cond_signal(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

/* A transaction on the connection of a slot; one that has died is opened again, once. */
static bool begin_in(struct store *s, int slot, enum store_access access, struct err *e)
{
    const struct driver *d = s->driver;
    void **connection = &s->slots[slot].connection;
    bool was_open = false;
    for (int turn = 0; turn < 2; turn++) {
        struct err why = { 0 };
        if (*connection && !d->alive(*connection, &why)) {
            d->close(*connection);
            *connection = NULL;
            was_open = true;
        }
        bool fresh = !*connection;
        if (fresh && !(*connection = d->open(s->where, true, e)))
            return false;
        if (fresh && was_open && !make_schema(s, *connection, e)) { /* it may be another one now */
            d->close(*connection);
            *connection = NULL;
            return false;
        }
        if (d->begin(*connection, access, &why))
            return true;
        if (fresh || d->alive(*connection, &(struct err){ 0 })) {
            *e = e->code ? *e : why;
            return false;
        }
    }
    return err_set(e, ERR_IO, "the database %s breaks off", s->shown);
}

struct db *store_begin(struct store *s, enum store_access access, struct err *e)
{
    bool alone = access != STORE_READ && !s->driver->shared;
    if (alone)
        pthread_mutex_lock(&s->writer);
    int slot = take_slot(s);
    if (!begin_in(s, slot, access, e)) {
        free_slot(s, slot);
        if (alone)
            pthread_mutex_unlock(&s->writer);
        return NULL;
    }
    struct db *db = &s->transactions[slot];
    *db = (struct db){ .store = s, .driver = s->driver, .connection = s->slots[slot].connection, .access = access, .slot = slot };
    return db;
}

bool store_end(struct db *db, bool good, struct err *e)
{
    if (!db)
        return false;
    struct store *s = db->store;
    good = good && !db->broken && s->driver->commit(db->connection, e);
    if (!good)
        s->driver->rollback(db->connection);
    bool alone = db->access != STORE_READ && !s->driver->shared;
    free_slot(s, db->slot);
    if (alone)
        pthread_mutex_unlock(&s->writer);
    if (!good && e->code == ERR_NONE)
        err_set(e, ERR_BACKEND, "a change of the database %s was taken back", s->shown);
    return good;
}

bool store_now_ms(struct db *db, int64_t *ms, struct err *e)
{
    struct rows r;
    for (rows_open(&r, db, SQL_NOW, SQL_NO_VALUES); rows_next(&r);)
        *ms = rows_int(&r, 0);
    return rows_close(&r, e);
}
