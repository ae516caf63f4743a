/* What is told, across processes: a client's socket may be at another server than the worker that has its job. Letters are gathered and
 * written a few times a second in one transaction; each process reads those of the others in their order and tells its listener. What
 * is lost with a process, or in a fault, is only what was told: results are in the jobs themselves. */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "jobs/queue_internal.h"

enum { ROUND_MS = 100, MOST_LETTERS = 5000, FORGET_S = 10, LOOK_BACK = 4 };
/* Of the bytes (a picture) of one event, and of all that wait. */
#define MOST_LETTER_BYTES ((size_t)4 << 20)
#define MOST_BYTES_WAITING ((size_t)64 << 20)

static void letter_release(struct letter *l)
{
    mem_free(l->job);
    mem_free(l->client);
    mem_free(l->owner);
    mem_free(l->type);
    free(l->data);
    g_free(l->bytes);
    *l = (struct letter){ 0 };
}

/* Of these only the latest counts: an older one that waits is replaced. */
static bool is_passing(const char *type)
{
    return !strcmp(type, "status") || !strcmp(type, "progress") || !strcmp(type, "progress_state") || !strcmp(type, "preview");
}

static bool same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

/* The one of the last few letters that a new one replaces: nothing that does not pass stands between. */
static struct letter *replaced(struct queue *q, const struct queue_event *event)
{
    for (size_t i = q->letter_count; i > 0 && i + LOOK_BACK > q->letter_count; i--) {
        struct letter *l = &q->letters[i - 1];
        if (!is_passing(l->type))
            return NULL;
        if (same(l->type, event->type) && same(l->job, event->job))
            return l;
    }
    return NULL;
}

static bool copy(char **out, const char *text)
{
    *out = text ? mem_string(text) : NULL;
    return *out || !text;
}

void others_tell(struct queue *q, const struct queue_event *event)
{
    struct letter own = { 0 };
    size_t bytes = event->byte_count;
    if (!*q->origin || bytes > MOST_LETTER_BYTES)
        return;
    bool good = copy(&own.job, event->job) && copy(&own.client, event->client) && copy(&own.owner, event->owner) && copy(&own.type, event->type);
    if (good && !event->job) { /* "status", OTHERS_INTERRUPT */
        json_t *count = json_integer(event->remaining);
        own.data = count ? json_dumps(count, JSON_ENCODE_ANY) : NULL;
        json_decref(count);
    } else if (good && event->data) {
        own.data = json_dumps(event->data, JSON_COMPACT | JSON_ENCODE_ANY);
    }
    if (good && event->bytes)
        own.bytes = g_base64_encode(event->bytes, bytes);
    own.byte_count = bytes;
    pthread_mutex_lock(&q->letters_lock);
    struct letter *old = good && is_passing(event->type) ? replaced(q, event) : NULL;
    struct letter *grown = good && !old && q->letter_count < MOST_LETTERS && q->letter_bytes + bytes <= MOST_BYTES_WAITING
                               ? mem_grow(q->letters, &q->letter_cap, q->letter_count + 1, sizeof *grown) : NULL;
    if (grown) {
        q->letters = grown;
        old = &grown[q->letter_count++];
        *old = (struct letter){ 0 };
    }
    if (old) {
        struct letter swap = *old;
        *old = own;
        own = swap;
        q->letter_bytes += old->byte_count - own.byte_count;
    }
    pthread_mutex_unlock(&q->letters_lock);
    letter_release(&own);
}

/* Everything that waits, out of the queue. */
static struct letter *take_letters(struct queue *q, size_t *count)
{
    pthread_mutex_lock(&q->letters_lock);
    struct letter *all = q->letters;
    *count = q->letter_count;
    q->letters = NULL;
    q->letter_count = q->letter_cap = q->letter_bytes = 0;
    pthread_mutex_unlock(&q->letters_lock);
    return all;
}

static void send_letters(struct queue *q, bool forget)
{
    size_t count;
    struct err e = { 0 };
    struct letter *all = take_letters(q, &count);
    if (count || forget) {
        struct db *db = store_begin(q->options.store, STORE_WRITE_SOON, &e);
        bool good = db && sql_run(db, SQL_EVENTS_LOCK, SQL_NO_VALUES, NULL, &e);
        for (size_t i = 0; good && i < count; i++)
            good = sql_run(db, SQL_EVENT_ADD,
                           SQL_VALUES(sql_text(q->origin), sql_text(all[i].job), sql_text(all[i].client), sql_text(all[i].type),
                                      sql_text(all[i].data), sql_text(all[i].bytes), sql_text(all[i].owner)), NULL, &e);
        good = good && (!forget || sql_run(db, SQL_EVENTS_FORGET, SQL_NO_VALUES, NULL, &e));
        good = store_end(db, good, &e); /* a fault is told by who needs the database, not for a letter */
    }
    for (size_t i = 0; i < count; i++)
        letter_release(&all[i]);
    mem_free(all);
}

/* A row of EVENTS_NEXT to the listener here. */
static void deliver(struct queue *q, const struct rows *r)
{
    const char *data = rows_text(r, 5), *bytes = rows_text(r, 6);
    struct queue_event event = { .job = rows_text(r, 2), .client = rows_text(r, 3), .type = rows_text(r, 4),
                                 .owner = rows_text(r, 7), .elsewhere = true };
    json_t *tree = data ? json_loads(data, JSON_DECODE_ANY, NULL) : NULL;
    gsize count = 0;
    guchar *raw = bytes ? g_base64_decode(bytes, &count) : NULL;
    if (event.job)
        event.data = tree;
    else
        event.remaining = json_integer_value(tree);
    event.bytes = raw;
    event.byte_count = count;
    q->options.listen(q->options.listen_self, &event);
    g_free(raw);
    json_decref(tree);
}

/* What others sent since the last time. */
static void read_letters(struct queue *q)
{
    struct rows r;
    struct err e = { 0 };
    bool wake = false;
    struct db *db = store_begin(q->options.store, STORE_READ, &e);
    if (!db)
        return;
    for (rows_open(&r, db, SQL_EVENTS_NEXT, SQL_VALUES(sql_int(q->last_heard))); rows_next(&r);) {
        q->last_heard = rows_int(&r, 0);
        const char *type = rows_text(&r, 4);
        if (!strcmp(rows_text(&r, 1), q->origin))
            continue;
        wake = wake || !strcmp(type, "status") || !strcmp(type, OTHERS_INTERRUPT); /* something was added, or is to end */
        if (q->options.listen && strcmp(type, OTHERS_INTERRUPT))
            deliver(q, &r);
    }
    bool good = rows_close(&r, &e);
    good = store_end(db, good, &e);
    if (wake)
        workers_wake(q);
}

static void *deliver_for_ever(void *self)
{
    struct queue *q = self;
    double forgot = clock_seconds();
    for (bool over = false; !over;) {
        pthread_mutex_lock(&q->lock);
        over = !q->delivering;
        pthread_mutex_unlock(&q->lock);
        bool forget = clock_seconds() - forgot > FORGET_S;
        send_letters(q, forget);
        forgot = forget ? clock_seconds() : forgot;
        if (!over)
            read_letters(q);
        if (!over)
            nanosleep(&(struct timespec){ .tv_nsec = ROUND_MS * 1000000L }, NULL);
    }
    return NULL;
}

bool others_start(struct queue *q, struct err *e)
{
    struct rows r;
    if (!q->options.others && !store_is_shared(q->options.store))
        return true;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    if (!db)
        return false;
    for (rows_open(&r, db, SQL_EVENTS_LAST, SQL_NO_VALUES); rows_next(&r);)
        q->last_heard = rows_int(&r, 0);
    if (!store_end(db, rows_close(&r, e), e))
        return false;
    size_t used;
    worker_name(q->origin, 0);
    used = strlen(q->origin);
    snprintf(q->origin + used, sizeof q->origin - used, " %p", (void *)q); /* several of one process are others to each other */
    q->delivering = true;
    int code = pthread_create(&q->postman, NULL, deliver_for_ever, q);
    q->delivering = code == 0;
    return code == 0 || err_set(e, ERR_NOMEM, "no thread for the queue: %s", strerror(code));
}

void others_stop(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool delivering = q->delivering;
    q->delivering = false;
    pthread_mutex_unlock(&q->lock);
    if (delivering)
        pthread_join(q->postman, NULL);
    for (size_t i = 0; i < q->letter_count; i++)
        letter_release(&q->letters[i]);
    mem_free(q->letters);
}
