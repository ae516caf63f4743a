/* A database: SQLite in a file, or PostgreSQL for many servers and workers.
 *
 * A struct store is shared by all threads of a process: it holds a few connections, and a thread borrows one from store_begin to
 * store_end. It must not be used across fork.
 *
 * Durable  what store_end has committed is on the disk: SQLite writes a WAL with synchronous = FULL, PostgreSQL as its server is set up.
 * Faults   a full disk, a file that was removed, a server that is gone are ERR_IO with a sentence for people; nothing of the
 *          transaction has happened then, except after "may or may not" in the text (the connection broke while it committed).
 *          The store stays usable: the next store_begin opens the connection again, so work goes on when the fault ends. */
#ifndef LIMN_STORE_STORE_H
#define LIMN_STORE_STORE_H

#include <stdint.h>

#include "base/err.h"

struct store;
struct db; /* a connection in a transaction; one thread's */

/* Opens `where`: "postgresql://..." or "postgres://..." (libpq's addresses), else the path of a SQLite file, made if it is not there
 * (its folder too). The schema is made, or brought to this program's version, in one transaction: several processes may do it at once.
 * errors  ERR_IO (the text says what to do), ERR_FORMAT for a file that is no database or one of a newer limn, ERR_NOMEM. */
MUST_USE struct store *store_open(const char *where, struct err *e);
void store_close(struct store *s); /* NULL is fine; every transaction must have ended */

/* The place without a password, for messages; borrowed. */
const char *store_where(const struct store *s);
/* Whether other machines can share it (PostgreSQL). */
bool store_is_shared(const struct store *s);

enum store_access {
    STORE_READ,  /* sees one state of the database; never waits for writers (SQLite's WAL) */
    STORE_WRITE, /* SQLite: one writer at a time, waits up to 30 s for other processes */
    STORE_WRITE_SOON, /* the same, but SQLite may have it on the disk a little later: it can be lost with the machine's power (not with
                         the process), as if it had not been; never without what was committed after it */
};
/* Begins a transaction. NULL with e set. A thread holds one at a time: a second would wait for the first. */
MUST_USE struct db *store_begin(struct store *s, enum store_access access, struct err *e);
/* Ends it: commits if `good`, else takes everything back. True only if it was good and is committed. db may be NULL (a failed
 * store_begin), so that this reads well:
 *     struct db *db = store_begin(s, STORE_WRITE, e);
 *     return store_end(db, db && one(db, e) && two(db, e), e);  */
MUST_USE bool store_end(struct db *db, bool good, struct err *e);

/* Milliseconds since 1970 by the database's clock: one clock for all workers. */
MUST_USE bool store_now_ms(struct db *db, int64_t *ms, struct err *e);

#endif
