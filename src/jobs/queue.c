/* The changes of the queue: each is one transaction, told to listeners when it is committed. The drawing is in queue.h. */
#include "jobs/queue.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/json_text.h"
#include "base/mem.h"
#include "jobs/queue_internal.h"

const char *const job_state_names[] = { "pending", "in_progress", "completed", "failed", "cancelled", NULL };

enum { LEASE_MS = 30000, POLL_MS = 500 };
#define EXTRA_MOST_BYTES ((size_t)64 << 20)

struct queue *queue_open(const struct queue_options *options, struct err *e)
{
    struct queue *q = mem_zeroed(1, sizeof *q);
    int64_t found;
    if (!q) {
        err_nomem(e, "the queue");
        return NULL;
    }
    q->options = *options;
    q->options.lease_ms = options->lease_ms > 0 ? options->lease_ms : LEASE_MS;
    q->options.poll_ms = options->poll_ms > 0 ? options->poll_ms : POLL_MS;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->letters_lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    if (options->workers > QUEUE_MOST_WORKERS)
        err_set(e, ERR_LIMIT, "%d workers: at most %d", options->workers, QUEUE_MOST_WORKERS);
    else if (recover_jobs(q, &found, e) && others_start(q, e) && workers_start(q, e))
        return q;
    queue_close(q, false);
    return NULL;
}

void queue_close(struct queue *q, bool wait)
{
    if (!q)
        return;
    workers_stop(q, wait);
    others_stop(q);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->letters_lock);
    pthread_mutex_destroy(&q->lock);
    mem_free(q);
}

/* --- telling --- */

void queue_tell(struct queue *q, const struct queue_event *event)
{
    if (q->options.listen)
        q->options.listen(q->options.listen_self, event);
    others_tell(q, event);
}

void queue_tell_status(struct queue *q, int64_t remaining)
{
    queue_tell(q, &(struct queue_event){ .type = "status", .remaining = remaining });
}

void queue_tell_fault(struct queue *q, const struct err *e)
{
    pthread_mutex_lock(&q->lock);
    bool tell = q->fault != (e != NULL);
    q->fault = e != NULL;
    pthread_mutex_unlock(&q->lock);
    if (!tell || !q->options.listen)
        return;
    json_t *data = json_pack("{s:s?}", "message", e ? e->text : NULL);
    struct queue_event event = { .type = "fault", .data = data };
    q->options.listen(q->options.listen_self, &event);
    json_decref(data);
}

bool queue_remaining_in(struct db *db, const char *owner, int64_t *count, struct err *e)
{
    struct rows r;
    for (rows_open(&r, db, SQL_JOBS_REMAINING, SQL_VALUES(sql_text(owner))); rows_next(&r);)
        *count = rows_int(&r, 0);
    return rows_close(&r, e);
}

bool queue_remaining(struct queue *q, const char *owner, int64_t *count, struct err *e)
{
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    return store_end(db, db && queue_remaining_in(db, owner, count, e), e);
}

/* Ends a change: commits it with the count that is then told. */
static bool end_and_tell(struct queue *q, struct db *db, bool good, struct err *e)
{
    int64_t remaining = 0;
    good = good && queue_remaining_in(db, NULL, &remaining, e);
    if (!store_end(db, good, e))
        return false;
    queue_tell_status(q, remaining);
    return true;
}

/* --- adding --- */

static bool make_uuid(char out[37], struct err *e)
{
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        return err_errno(e, "no random numbers");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        snprintf(out + at, 3, "%02x", b[i]);
        at += 2;
    }
    return true;
}

static bool check_job(const struct job *job, struct err *e)
{
    struct err why = { 0 };
    if (job->id && (!*job->id || strlen(job->id) > JOB_ID_MOST_BYTES || !utf8_valid(job->id, strlen(job->id))))
        return err_set(e, ERR_ARG, "a job's id is text of 1 to %d bytes", JOB_ID_MOST_BYTES);
    if (job->has_number && !isfinite(job->number))
        return err_set(e, ERR_ARG, "a job's number must be finite");
    bool good = job->prompt ? json_text_check(job->prompt, "prompt", &why) : err_set(&why, ERR_ARG, "a job without a prompt");
    good = good && (!job->extra || json_text_check(job->extra, "extra_data", &why)) &&
           (!job->targets || json_text_check(job->targets, "partial_execution_targets", &why));
    return good || err_set(e, ERR_ARG, "%s", why.text); /* whoever handed it in must change it */
}

/* The row; *was_there if the id is taken by the same. */
static bool add_row(struct db *db, const struct job *job, const char *extra, struct job_added *added, struct err *e)
{
    const char *owner = job->owner ? job->owner : "";
    int64_t sequence = 0;
    struct rows r;
    for (rows_open(&r, db, SQL_JOB_ADD,
                   SQL_VALUES(sql_text(added->id), sql_text(owner), sql_text(job->client), sql_real(job->number), sql_text(job->workflow),
                              sql_text(job->prompt), sql_text(extra), sql_text(job->targets ? job->targets : "[]")));
         rows_next(&r);)
        sequence = rows_int(&r, 0);
    if (!rows_close(&r, e))
        return false;
    added->number = job->number;
    if (sequence && job->has_number)
        return true;
    if (sequence) {
        added->number = job->front ? -(double)(sequence - 1) : (double)(sequence - 1);
        return sql_run(db, SQL_JOB_NUMBER, SQL_VALUES(sql_int(sequence), sql_real(added->number)), NULL, e);
    }
    bool same = false;
    for (rows_open(&r, db, SQL_JOB_SAME, SQL_VALUES(sql_text(added->id))); rows_next(&r);) {
        added->number = rows_real(&r, 0);
        same = !strcmp(rows_text(&r, 1), job->prompt) && !strcmp(rows_text(&r, 2), owner);
    }
    added->was_there = true;
    return rows_close(&r, e) &&
           (same || err_set(e, ERR_ARG, "the id %s belongs to another job already: give each job its own", added->id));
}

bool queue_add(struct queue *q, const struct job *job, struct job_added *result, struct err *e)
{
    static const char *const secrets[] = { "auth_token_comfy_org", "api_key_comfy_org" };
    struct job_added added = { 0 };
    struct text extra;
    if (!check_job(job, e) || (!job->id && !make_uuid(added.id, e)))
        return false;
    if (job->id)
        strcpy(added.id, job->id);
    text_init(&extra, EXTRA_MOST_BYTES);
    json_text_without(&extra, job->extra ? job->extra : "{}", secrets, 2);
    struct db *db = text_ok(&extra, e) ? store_begin(q->options.store, STORE_WRITE, e) : NULL;
    bool good = end_and_tell(q, db, db && add_row(db, job, text_string(&extra), &added, e), e);
    text_release(&extra);
    if (!good)
        return e->code == ERR_IO ? err_add(e, "the job was not accepted") : false;
    workers_wake(q);
    if (result)
        *result = added;
    return true;
}

/* --- taking away --- */

/* Runs a statement of ($1 id, $2 owner) for each id. */
static bool for_each_id(struct db *db, enum sql_id id, const char *owner, const char *const *ids, size_t count, int64_t *all,
                        struct err *e)
{
    *all = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t changed;
        if (!sql_run(db, id, SQL_VALUES(sql_text(ids[i]), sql_text(owner)), &changed, e))
            return false;
        *all += changed;
    }
    return true;
}

bool queue_delete(struct queue *q, const char *owner, const char *const *ids, size_t count, int64_t *deleted, struct err *e)
{
    int64_t all;
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    bool good = end_and_tell(q, db, db && for_each_id(db, SQL_JOB_DELETE_PENDING, owner, ids, count, &all, e), e);
    if (good && deleted)
        *deleted = all;
    return good;
}

bool queue_clear(struct queue *q, const char *owner, int64_t *deleted, struct err *e)
{
    int64_t all;
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    bool good = end_and_tell(q, db, db && sql_run(db, SQL_JOBS_CLEAR_PENDING, SQL_VALUES(sql_text(owner)), &all, e), e);
    if (good && deleted)
        *deleted = all;
    return good;
}

/* The wish is in the database for workers elsewhere; those of this process are told at once, also when the database is gone. */
bool queue_interrupt(struct queue *q, const char *owner, const char *id, struct err *e)
{
    workers_interrupt(q, id, owner);
    int64_t running = 0;
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    if (!store_end(db, db && sql_run(db, SQL_JOBS_INTERRUPT, SQL_VALUES(sql_text(id), sql_text(owner)), &running, e), e))
        return false;
    if (running)
        others_tell(q, &(struct queue_event){ .type = OTHERS_INTERRUPT });
    return true;
}

bool queue_cancel(struct queue *q, const char *owner, const char *id, bool *cancelled, struct err *e)
{
    int64_t pending = 0, running = 0;
    const struct sql_value values[] = { sql_text(id), sql_text(owner) };
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    bool good = db && sql_run(db, SQL_JOB_CANCEL_PENDING, values, 2, &pending, e) &&
                (pending || sql_run(db, SQL_JOBS_INTERRUPT, values, 2, &running, e));
    if (!end_and_tell(q, db, good, e))
        return false;
    if (running) {
        workers_interrupt(q, id, owner);
        others_tell(q, &(struct queue_event){ .type = OTHERS_INTERRUPT });
    }
    *cancelled = pending || running;
    return true;
}

bool queue_history_delete(struct queue *q, const char *owner, const char *const *ids, size_t count, struct err *e)
{
    int64_t all;
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    return store_end(db, db && for_each_id(db, SQL_JOB_HISTORY_DELETE, owner, ids, count, &all, e), e);
}

bool queue_history_clear(struct queue *q, const char *owner, struct err *e)
{
    struct db *db = store_begin(q->options.store, STORE_WRITE, e);
    return store_end(db, db && sql_run(db, SQL_JOBS_HISTORY_CLEAR, SQL_VALUES(sql_text(owner)), NULL, e), e);
}
