/* SQLite behind the table of driver_internal.h. A connection keeps the compiled form of constant texts. */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/driver_internal.h"

enum { MOST_KEPT = 128, WAIT_MS = 30000, PAUSE_MS = 20 };

struct connection {
    sqlite3 *db;
    char path[PATH_MAX_BYTES];
    dev_t device;
    ino_t inode;
    struct {
        const char *text; /* compared by address: a constant */
        sqlite3_stmt *statement;
        bool used;
    } kept[MOST_KEPT];
    int kept_count;
    bool soon; /* synchronous is NORMAL: commits do not wait for the disk */
};

struct cursor {
    struct connection *connection;
    sqlite3_stmt *statement;
    int kept; /* its place, or -1 */
    int64_t before;
    bool at_end;
};

/* The sentence for a failure of the library. */
static bool failed(struct connection *c, int code, const char *doing, struct err *e)
{
    const char *path = c->path, *text = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(code);
    int system = c->db ? sqlite3_system_errno(c->db) : 0;
    struct stat s;
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return err_nomem(e, "the database");
    case SQLITE_FULL:
        return err_set(e, ERR_IO, "the disk that holds the database %s is full: make room there, then it goes on", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, ERR_IO, "the database %s was in use by another program for %d s: end that program, or try again", path,
                       WAIT_MS / 1000);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(e, ERR_FORMAT, "%s is no database of limn, or is damaged (%s): use another --database, or a copy of it", path, text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, ERR_IO, "the database %s cannot be written: its file, or its folder, is read-only", path);
    case SQLITE_CANTOPEN:
        if (stat(path, &s) && errno == ENOENT)
            return err_set(e, ERR_IO, "the database %s is gone: its file or folder was removed", path);
        return err_set(e, ERR_IO, "the database %s cannot be opened: %s%s%s", path, text, system ? ": " : "", system ? strerror(system) : "");
    case SQLITE_IOERR:
        switch (c->db ? sqlite3_extended_errcode(c->db) : code) {
        case SQLITE_IOERR_WRITE:
        case SQLITE_IOERR_FSYNC:
        case SQLITE_IOERR_DIR_FSYNC:
        case SQLITE_IOERR_TRUNCATE:
        case SQLITE_IOERR_SHMSIZE: /* a full disk has a code of its own, a quota or a limit of files' sizes does not */
            return err_set(e, ERR_IO, "the database %s cannot grow: its disk, or what this user may use of it, is at an end: make room there, "
                           "then it goes on", path);
        }
        return err_set(e, ERR_IO, "%s the database %s failed: %s%s%s", doing, path, text, system ? ": " : "", system ? strerror(system) : "");
    default:
        return err_set(e, ERR_BACKEND, "%s the database %s: %s", doing, path, text);
    }
}

static bool takes(const char *where)
{
    return true;
}

static void now_ms(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    sqlite3_result_int64(context, (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* Bits in which two words differ. */
static void bits_apart(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint64_t a = (uint64_t)sqlite3_value_int64(values[0]), b = (uint64_t)sqlite3_value_int64(values[1]);
    sqlite3_result_int(context, __builtin_popcountll(a ^ b));
}

static void close_connection(void *connection)
{
    struct connection *c = connection;
    for (int i = 0; i < c->kept_count; i++)
        sqlite3_finalize(c->kept[i].statement);
    sqlite3_close(c->db);
    mem_free(c);
}

static void *open_connection(const char *where, bool again, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    struct connection *c = mem_zeroed(1, sizeof *c);
    struct stat s;
    if (!c) {
        err_nomem(e, "a database connection");
        return NULL;
    }
    bool good = path_join(c->path, "", where, e) && path_join(folder, "", where, e);
    char *slash = good ? strrchr(folder, '/') : NULL;
    if (slash && slash > folder && !again) {
        *slash = 0;
        good = folder_make(folder, e);
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (again ? 0 : SQLITE_OPEN_CREATE);
    int code = good ? sqlite3_open_v2(c->path, &c->db, flags, NULL) : SQLITE_OK;
    if (good && code == SQLITE_OK)
        code = sqlite3_busy_timeout(c->db, WAIT_MS);
    /* The change to WAL does not wait for others that do the same. */
    for (int turn = 0; good && code == SQLITE_OK && turn < WAIT_MS / PAUSE_MS; turn++) {
        code = sqlite3_exec(c->db,
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; "
                            "PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 1073741824; PRAGMA journal_size_limit = 67108864",
                            NULL, NULL, NULL);
        if (code != SQLITE_BUSY)
            break;
        code = SQLITE_OK;
        usleep(PAUSE_MS * 1000);
    }
    if (good && code == SQLITE_OK)
        code = sqlite3_create_function(c->db, "now_ms", 0, SQLITE_UTF8, NULL, now_ms, NULL, NULL);
    if (good && code == SQLITE_OK)
        code = sqlite3_create_function(c->db, "bits_apart", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, bits_apart, NULL, NULL);
    if (good && code != SQLITE_OK)
        good = failed(c, code, "opening", e);
    if (good && stat(c->path, &s))
        good = err_errno(e, "the database %s", c->path);
    if (!good) {
        close_connection(c);
        return NULL;
    }
    c->device = s.st_dev;
    c->inode = s.st_ino;
    return c;
}

/* A file that was removed or replaced would take what is written with it. */
static bool alive(void *connection, struct err *e)
{
    struct connection *c = connection;
    struct stat s;
    if (stat(c->path, &s))
        return err_set(e, ERR_IO, "the database %s is gone: its file or folder was removed; it goes on when it is back", c->path);
    return (s.st_dev == c->device && s.st_ino == c->inode) ||
           err_set(e, ERR_IO, "the database %s was replaced by another file", c->path);
}

static bool simple(struct connection *c, const char *text, const char *doing, struct err *e)
{
    int code = sqlite3_exec(c->db, text, NULL, NULL, NULL);
    return code == SQLITE_OK || failed(c, code, doing, e);
}

static bool begin(void *connection, enum store_access access, struct err *e)
{
    struct connection *c = connection;
    bool soon = access == STORE_WRITE_SOON;
    if (access == STORE_READ)
        return simple(c, "BEGIN", "using", e);
    if (c->soon != soon && !simple(c, soon ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", "using", e))
        return false;
    c->soon = soon;
    return simple(c, "BEGIN IMMEDIATE", "using", e);
}

static bool commit(void *connection, struct err *e)
{
    return simple(connection, "COMMIT", "writing", e);
}

static void rollback(void *connection)
{
    struct connection *c = connection;
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

static bool script(void *connection, const char *text, struct err *e)
{
    return simple(connection, text, "changing", e);
}

static void close_cursor(void *cursor)
{
    struct cursor *k = cursor;
    if (k->kept >= 0) {
        sqlite3_reset(k->statement);
        sqlite3_clear_bindings(k->statement);
        k->connection->kept[k->kept].used = false;
    } else {
        sqlite3_finalize(k->statement);
    }
    mem_free(k);
}

/* The compiled form of a text: kept or made. *place -1: not kept. */
static sqlite3_stmt *compile(struct connection *c, const char *text, bool keep, int *place, struct err *e)
{
    sqlite3_stmt *statement;
    *place = -1;
    for (int i = 0; keep && i < c->kept_count; i++)
        if (c->kept[i].text == text && !c->kept[i].used) {
            c->kept[i].used = true;
            *place = i;
            return c->kept[i].statement;
        }
    int code = sqlite3_prepare_v3(c->db, text, -1, keep ? SQLITE_PREPARE_PERSISTENT : 0, &statement, NULL);
    if (code != SQLITE_OK) {
        failed(c, code, "asking", e);
        return NULL;
    }
    if (keep && c->kept_count < MOST_KEPT) {
        *place = c->kept_count++;
        c->kept[*place].text = text;
        c->kept[*place].statement = statement;
        c->kept[*place].used = true;
    }
    return statement;
}

static int bind(sqlite3_stmt *statement, int place, const struct sql_value *v)
{
    switch (v->kind) {
    case SQL_KIND_INT:
        return sqlite3_bind_int64(statement, place, v->whole);
    case SQL_KIND_REAL:
        return sqlite3_bind_double(statement, place, v->real);
    case SQL_KIND_TEXT:
        return sqlite3_bind_text(statement, place, v->text, -1, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(statement, place);
    }
}

static void *query(void *connection, const char *text, bool keep, const struct sql_value *values, size_t count, struct err *e)
{
    struct connection *c = connection;
    struct cursor *k = mem_zeroed(1, sizeof *k);
    if (!k) {
        err_nomem(e, "a statement");
        return NULL;
    }
    *k = (struct cursor){ .connection = c, .before = sqlite3_total_changes64(c->db) };
    k->statement = compile(c, text, keep, &k->kept, e);
    if (!k->statement) {
        mem_free(k);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "$%zu", i + 1);
        int place = sqlite3_bind_parameter_index(k->statement, name);
        int code = place ? bind(k->statement, place, &values[i]) : SQLITE_OK;
        if (code != SQLITE_OK) {
            failed(c, code, "asking", e);
            close_cursor(k);
            return NULL;
        }
    }
    return k;
}

static bool next(void *cursor, struct err *e)
{
    struct cursor *k = cursor;
    int code = k->at_end ? SQLITE_DONE : sqlite3_step(k->statement);
    if (code == SQLITE_ROW)
        return true;
    k->at_end = true;
    if (code != SQLITE_DONE)
        failed(k->connection, code, "using", e);
    return false;
}

/* sqlite3_changes counts no trigger's work, but keeps the number of the statement before if this one changed nothing by being
 * no change at all. */
static int64_t changed(void *cursor)
{
    struct cursor *k = cursor;
    sqlite3 *db = k->connection->db;
    return sqlite3_total_changes64(db) == k->before ? 0 : sqlite3_changes64(db);
}

static bool is_null(void *cursor, int column)
{
    return sqlite3_column_type(((struct cursor *)cursor)->statement, column) == SQLITE_NULL;
}

static int64_t whole(void *cursor, int column)
{
    return sqlite3_column_int64(((struct cursor *)cursor)->statement, column);
}

static double real(void *cursor, int column)
{
    return sqlite3_column_double(((struct cursor *)cursor)->statement, column);
}

static const char *text_of(void *cursor, int column)
{
    return (const char *)sqlite3_column_text(((struct cursor *)cursor)->statement, column);
}

const struct driver driver_sqlite = {
    .name = "sqlite", .now_text = "now_ms()", .identity_text = "INTEGER PRIMARY KEY AUTOINCREMENT", .key_text = "INTEGER PRIMARY KEY",
    .bytes_text = "",
    .takes = takes, .open = open_connection, .close = close_connection, .alive = alive, .begin = begin, .commit = commit,
    .rollback = rollback, .script = script, .query = query, .next = next, .changed = changed, .close_cursor = close_cursor,
    .is_null = is_null, .whole = whole, .real = real, .text = text_of,
};
