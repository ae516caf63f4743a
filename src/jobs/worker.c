/* Threads that run jobs, and the one that keeps their leases: every poll_ms, or when it is told to, it looks whether a job was interrupted from elsewhere, and
 * every third of a lease it renews what runs here and takes back what died elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "jobs/queue_internal.h"

enum { FIRST_PAUSE_MS = 50, LONGEST_PAUSE_MS = 5000, CLOSING_TURNS = 8 };
#define ERROR_MOST_BYTES 8000

static bool is_closing(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool closing = q->closing;
    pthread_mutex_unlock(&q->lock);
    return closing;
}

/* Sleeps until ms have gone by, the queue closes, or (seen not NULL) a job was added that was not counted in *seen. */
static void pause_ms(struct queue *q, int ms, uint64_t *seen)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&q->lock);
    while (!q->closing && !(seen && *seen != q->added) && pthread_cond_timedwait(&q->changed, &q->lock, &until) == 0)
        ;
    if (seen)
        *seen = q->added;
    pthread_mutex_unlock(&q->lock);
}

/* --- what a run is --- */

static void run_free(struct job_run *run)
{
    if (!run)
        return;
    char *const texts[] = { run->id, run->owner, run->client, run->prompt, run->extra, run->targets,
                            run->outputs, run->meta, run->messages, run->error };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        mem_free(texts[i]);
    for (size_t i = 0; i < run->late_count; i++) {
        mem_free(run->late[i].type);
        json_decref(run->late[i].data);
    }
    for (size_t i = 0; i < run->picture_count; i++)
        mem_free(run->picture_texts[i]);
    json_decref(run->files);
    mem_free(run->late);
    mem_free(run->pictures);
    mem_free(run->picture_texts);
    mem_free(run);
}

static bool copy(char **out, const char *text)
{
    char *own = text ? mem_string(text) : NULL;
    if (text && !own)
        return false;
    mem_free(*out);
    *out = own;
    return true;
}

/* The run of a row of JOB_TAKE. */
static struct job_run *run_of(struct worker *w, const struct rows *r)
{
    struct job_run *run = mem_zeroed(1, sizeof *run);
    if (!run)
        return NULL;
    run->queue = w->queue;
    run->worker = w->name;
    run->sequence = rows_int(r, 0);
    run->attempt = (int)rows_int(r, 7);
    if (copy(&run->id, rows_text(r, 1)) && copy(&run->owner, rows_text(r, 2)) && copy(&run->client, rows_text(r, 3)) &&
        copy(&run->prompt, rows_text(r, 4)) && copy(&run->extra, rows_text(r, 5)) && copy(&run->targets, rows_text(r, 6)))
        return run;
    run_free(run);
    return NULL;
}

const char *job_run_id(const struct job_run *run)
{
    return run->id;
}

const char *job_run_owner(const struct job_run *run)
{
    return run->owner;
}

const char *job_run_client(const struct job_run *run)
{
    return run->client;
}

const char *job_run_prompt(const struct job_run *run)
{
    return run->prompt;
}

const char *job_run_extra(const struct job_run *run)
{
    return run->extra;
}

const char *job_run_targets(const struct job_run *run)
{
    return run->targets;
}

int job_run_attempt(const struct job_run *run)
{
    return run->attempt;
}

const atomic_bool *job_run_stop(const struct job_run *run)
{
    return &run->stop;
}

bool job_run_check(const struct job_run *run, struct err *e)
{
    struct job_run *own = (struct job_run *)(uintptr_t)run; /* clang reads no atomics that are const */
    if (!atomic_load(&own->stop))
        return true;
    int why = atomic_load(&own->why);
    return err_set(e, ERR_STOPPED, why == RUN_CLOSING ? "the queue is closing" : why == RUN_LOST ? "another worker has this job"
                                                                                                : "interrupted");
}

static void stop_run(struct job_run *run, enum run_stop why)
{
    int none = RUN_GOES_ON;
    if (why == RUN_LOST) /* whatever else was asked for: nothing of this run may be kept */
        atomic_store(&run->why, why);
    else
        atomic_compare_exchange_strong(&run->why, &none, (int)why);
    atomic_store(&run->stop, true);
}

void job_run_event(struct job_run *run, const char *type, json_t *data)
{
    queue_tell(run->queue, &(struct queue_event){ .job = run->id, .client = run->client, .owner = run->owner, .type = type, .data = data });
    json_decref(data);
}

void job_run_bytes(struct job_run *run, const char *type, const void *bytes, size_t count)
{
    queue_tell(run->queue, &(struct queue_event){ .job = run->id, .client = run->client, .owner = run->owner, .type = type, .bytes = bytes,
                                                  .byte_count = count });
}

/* An event that there is no memory for is lost; the job is not. */
void job_run_event_at_end(struct job_run *run, const char *type, json_t *data, bool before)
{
    struct late_event *grown = mem_grow(run->late, &run->late_cap, run->late_count + 1, sizeof *grown);
    char *own = grown ? mem_string(type) : NULL;
    if (grown)
        run->late = grown;
    if (own)
        run->late[run->late_count++] = (struct late_event){ own, data, before };
    else
        json_decref(data);
}

bool job_run_result(struct job_run *run, const char *outputs, const char *meta, const char *messages, const char *error, struct err *e)
{
    return (copy(&run->outputs, outputs) && copy(&run->meta, meta) && copy(&run->messages, messages) && copy(&run->error, error)) ||
           err_nomem(e, "a job's result");
}

/* --- files --- */

void job_run_file(struct job_run *run, const char *key, const char *path)
{
    struct err ignored = { 0 };
    struct db *db = store_begin(run->queue->options.store, STORE_WRITE_SOON, &ignored);
    bool good = db && sql_run(db, SQL_JOB_FILE_ADD, SQL_VALUES(sql_int(run->sequence), sql_text(key), sql_text(path)), NULL, &ignored);
    good = store_end(db, good, &ignored);
}

const char *job_run_file_before(const struct job_run *run, const char *key)
{
    return json_string_value(json_object_get(run->files, key));
}

/* What attempts before have made. */
static bool read_files(struct db *db, struct job_run *run, struct err *e)
{
    struct rows r;
    bool good = true;
    for (rows_open(&r, db, SQL_JOB_FILES, SQL_VALUES(sql_int(run->sequence))); rows_next(&r);) {
        run->files = run->files ? run->files : json_object();
        good = good && !json_object_set_new(run->files, rows_text(&r, 0), json_string(rows_text(&r, 1)));
    }
    return rows_close(&r, e) && (good || err_nomem(e, "a job"));
}

/* --- pictures --- */

/* The members of gallery_facts that are texts. */
static void each_text(struct gallery_facts *f, void (*use)(void *self, const char **text), void *self)
{
    const char **const texts[] = { &f->hash, &f->type, &f->prompt, &f->negative, &f->model, &f->model_hash, &f->vae, &f->sampler,
                                   &f->schedule, &f->name, &f->source, &f->graph, &f->workflow, &f->parameters };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        use(self, texts[i]);
    for (size_t i = 0; i < f->lora_count; i++) {
        use(self, &f->loras[i].name);
        use(self, &f->loras[i].hash);
    }
    for (size_t i = 0; i < f->parent_count; i++)
        use(self, &f->parents[i]);
}

static void count_text(void *self, const char **text)
{
    *(size_t *)self += *text ? strlen(*text) + 1 : 0;
}

static void move_text(void *self, const char **text)
{
    char **at = self;
    if (!*text)
        return;
    size_t bytes = strlen(*text) + 1;
    memcpy(*at, *text, bytes);
    *text = *at;
    *at += bytes;
}

bool job_run_picture(struct job_run *run, const struct gallery_facts *facts, struct err *e)
{
    struct gallery_facts own = *facts;
    size_t bytes = 1;
    each_text(&own, count_text, &bytes);
    struct gallery_facts *pictures = mem_grow(run->pictures, &run->picture_cap, run->picture_count + 1, sizeof *pictures);
    run->pictures = pictures ? pictures : run->pictures;
    char **texts = mem_grow(run->picture_texts, &run->texts_cap, run->picture_count + 1, sizeof *texts);
    run->picture_texts = texts ? texts : run->picture_texts;
    char *block = pictures && texts ? mem_zeroed(bytes, 1) : NULL;
    if (!block)
        return err_nomem(e, "a job's picture");
    texts[run->picture_count] = block;
    each_text(&own, move_text, &block);
    own.owner = run->owner;
    own.job = run->id;
    own.source = own.source ? own.source : "job";
    pictures[run->picture_count++] = own;
    return true;
}

/* --- a job's end --- */

/* The error of a run that told none. */
static void error_text(struct text *out, const struct err *e)
{
    text_init(out, ERROR_MOST_BYTES);
    text_add(out, "{\"exception_message\":");
    json_text_string(out, e->text);
    text_addf(out, ",\"exception_type\":\"%s\",\"traceback\":[],\"executed\":[]}", e->code == ERR_NOMEM ? "OutOfMemory" : "Error");
}

/* Writes the end and the pictures, or gives the job back. *lost: it is another worker's. again: it was tried before, and a connection
 * that broke off then may have written it. */
static bool end_row(struct job_run *run, enum job_state state, const char *error, bool again, bool *lost, int64_t *remaining,
                    struct err *e)
{
    int64_t changed = 0;
    bool ended = false;
    struct db *db = store_begin(run->queue->options.store, STORE_WRITE, e);
    bool good = db != NULL;
    if (good && state == JOB_PENDING)
        good = sql_run(db, SQL_JOB_GIVE_BACK, SQL_VALUES(sql_int(run->sequence), sql_text(run->worker), sql_int(run->attempt)), &changed, e);
    else if (good)
        good = sql_run(db, SQL_JOB_END,
                       SQL_VALUES(sql_int(run->sequence), sql_text(run->worker), sql_int(run->attempt), sql_int(state),
                                  sql_text(run->outputs), sql_text(run->meta), sql_text(run->messages), sql_text(error)),
                       &changed, e);
    if (good && !changed && again) {
        struct rows r;
        for (rows_open(&r, db, SQL_JOB_ENDED, SQL_VALUES(sql_int(run->sequence))); rows_next(&r);)
            ended = true;
        good = rows_close(&r, e);
    }
    *lost = good && !changed && !ended;
    for (size_t i = 0; good && changed && state != JOB_PENDING && i < run->picture_count; i++) {
        int64_t id;
        bool added;
        good = gallery_add(db, &run->pictures[i], &id, &added, e);
    }
    good = good && (!changed || state == JOB_PENDING || sql_run(db, SQL_JOB_FILES_FORGET, SQL_VALUES(sql_int(run->sequence)), NULL, e));
    good = good && (!changed || state == JOB_PENDING || sql_run(db, SQL_JOBS_HISTORY_TRIM, SQL_VALUES(sql_int(JOB_HISTORY_MOST)), NULL, e));
    good = good && queue_remaining_in(db, NULL, remaining, e);
    return store_end(db, good, e);
}

static void tell_late(struct job_run *run, bool before)
{
    for (size_t i = 0; i < run->late_count; i++)
        if (run->late[i].before == before)
            job_run_event(run, run->late[i].type, json_incref(run->late[i].data));
}

/* Until it is written: a database that is away comes back. A queue that closes waits a little; then the job runs again after the
 * next start, as if the program had been killed. */
static void end_run(struct job_run *run, bool good, struct err *why)
{
    struct queue *q = run->queue;
    struct text made;
    error_text(&made, why);
    enum run_stop stopped = (enum run_stop)atomic_load(&run->why);
    enum job_state state = good ? JOB_COMPLETED : why->code != ERR_STOPPED ? JOB_FAILED : stopped == RUN_CLOSING ? JOB_PENDING : JOB_CANCELLED;
    const char *error = good || state == JOB_CANCELLED ? run->error : run->error ? run->error : text_string(&made);
    bool lost = stopped == RUN_LOST, written = lost;
    int64_t remaining = 0;
    for (int turn = 0, pause = FIRST_PAUSE_MS; !written; turn++) {
        struct err e = { 0 };
        written = end_row(run, state, error, turn > 0, &lost, &remaining, &e);
        if (written)
            break;
        if (e.code != ERR_IO && e.code != ERR_NOMEM && run->picture_count && state != JOB_FAILED) {
            /* what this job made cannot be stored, so it did not succeed */
            text_release(&made);
            error_text(&made, &e);
            error = text_string(&made);
            state = JOB_FAILED;
            run->picture_count = 0;
            continue;
        }
        queue_tell_fault(q, &e);
        bool closing = is_closing(q);
        if (closing && turn >= CLOSING_TURNS)
            break;
        if (closing)
            nanosleep(&(struct timespec){ .tv_nsec = FIRST_PAUSE_MS * 4000000L }, NULL);
        else
            pause_ms(q, pause, NULL);
        pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
    }
    if (written && !lost) {
        queue_tell_fault(q, NULL);
        if (state != JOB_PENDING)
            tell_late(run, true);
        queue_tell_status(q, remaining);
        if (state != JOB_PENDING)
            tell_late(run, false);
    }
    text_release(&made);
}

/* --- the threads --- */

/* The next job, or NULL: none (e without a code) or a fault. */
static struct job_run *take(struct worker *w, struct err *e)
{
    struct queue *q = w->queue;
    struct job_run *run = NULL;
    int64_t remaining = 0;
    struct rows r;
    struct db *db = store_begin(q->options.store, STORE_WRITE_SOON, e);
    if (!db)
        return NULL;
    bool good = true;
    for (rows_open(&r, db, SQL_JOB_TAKE, SQL_VALUES(sql_text(w->name), sql_int(q->options.lease_ms))); rows_next(&r);)
        good = (run = run_of(w, &r)) || err_nomem(e, "a job");
    good = rows_close(&r, e) && good && (!run || read_files(db, run, e)) && (!run || queue_remaining_in(db, NULL, &remaining, e));
    if (!store_end(db, good, e)) {
        run_free(run);
        return NULL;
    }
    if (run)
        queue_tell_status(q, remaining);
    return run;
}

static void set_run(struct worker *w, struct job_run *run)
{
    pthread_mutex_lock(&w->queue->lock);
    w->run = run;
    if (run && w->queue->closing)
        stop_run(run, RUN_CLOSING);
    pthread_mutex_unlock(&w->queue->lock);
}

static void *work(void *self)
{
    struct worker *w = self;
    struct queue *q = w->queue;
    uint64_t seen = 0;
    int pause = FIRST_PAUSE_MS;
    while (!is_closing(q)) {
        struct err e = { 0 };
        struct job_run *run = take(w, &e);
        if (e.code != ERR_NONE) {
            queue_tell_fault(q, &e);
            pause_ms(q, pause, NULL);
            pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
            continue;
        }
        queue_tell_fault(q, NULL);
        pause = FIRST_PAUSE_MS;
        if (!run) {
            pause_ms(q, q->options.poll_ms, &seen);
            continue;
        }
        set_run(w, run);
        bool good = q->options.run(q->options.run_self, run, &e);
        set_run(w, NULL);
        end_run(run, good, &e);
        run_free(run);
    }
    return NULL;
}

/* What runs here, as far as the database is asked about it without holding the lock. */
struct beat {
    int64_t sequence;
    int attempt, worker;
};

static int beats_of(struct queue *q, struct beat *out)
{
    int count = 0;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->worker_count; i++)
        if (q->workers[i].run)
            out[count++] = (struct beat){ q->workers[i].run->sequence, q->workers[i].run->attempt, i };
    pthread_mutex_unlock(&q->lock);
    return count;
}

static void stop_beat(struct queue *q, const struct beat *b, enum run_stop why)
{
    pthread_mutex_lock(&q->lock);
    struct job_run *run = q->workers[b->worker].run;
    if (run && run->sequence == b->sequence && run->attempt == b->attempt)
        stop_run(run, why);
    pthread_mutex_unlock(&q->lock);
}

/* Renews leases; sees interrupts of other processes and jobs that were lost. */
static bool renew(struct queue *q, struct err *e)
{
    struct beat beats[QUEUE_MOST_WORKERS];
    bool found[QUEUE_MOST_WORKERS] = { false }, interrupted[QUEUE_MOST_WORKERS] = { false };
    int count = beats_of(q, beats);
    if (!count)
        return true;
    struct db *db = store_begin(q->options.store, STORE_WRITE_SOON, e);
    bool good = db != NULL;
    for (int i = 0; good && i < count; i++) {
        struct rows r;
        for (rows_open(&r, db, SQL_JOB_BEAT,
                       SQL_VALUES(sql_int(beats[i].sequence), sql_text(q->workers[beats[i].worker].name), sql_int(beats[i].attempt),
                                  sql_int(q->options.lease_ms)));
             rows_next(&r);) {
            found[i] = true;
            interrupted[i] = rows_int(&r, 0) != 0;
        }
        good = rows_close(&r, e);
    }
    if (!store_end(db, good, e))
        return false;
    for (int i = 0; i < count; i++)
        if (!found[i] || interrupted[i])
            stop_beat(q, &beats[i], found[i] ? RUN_INTERRUPTED : RUN_LOST);
    return true;
}

static bool see_interrupts(struct queue *q, struct err *e)
{
    struct beat beats[QUEUE_MOST_WORKERS];
    bool interrupted[QUEUE_MOST_WORKERS] = { false };
    int count = beats_of(q, beats);
    if (!count)
        return true;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    bool good = db != NULL;
    for (int i = 0; good && i < count; i++) {
        struct rows r;
        for (rows_open(&r, db, SQL_JOB_INTERRUPTED, SQL_VALUES(sql_int(beats[i].sequence), sql_int(beats[i].attempt))); rows_next(&r);)
            interrupted[i] = true;
        good = rows_close(&r, e);
    }
    if (!store_end(db, good, e))
        return false;
    for (int i = 0; i < count; i++)
        if (interrupted[i])
            stop_beat(q, &beats[i], RUN_INTERRUPTED);
    return true;
}

static void *keep_leases(void *self)
{
    struct queue *q = self;
    uint64_t seen = 0;
    double renewed = clock_seconds();
    for (;;) {
        pthread_mutex_lock(&q->lock);
        bool busy = false;
        for (int i = 0; i < q->worker_count; i++)
            busy |= q->workers[i].run != NULL;
        bool over = q->closing && !busy;
        pthread_mutex_unlock(&q->lock);
        if (over)
            return NULL;
        struct err e = { 0 };
        int64_t found = 0;
        if (clock_seconds() - renewed >= q->options.lease_ms * 1e-3 / 3) {
            if (renew(q, &e) && recover_jobs(q, &found, &e))
                renewed = clock_seconds();
        } else if (!see_interrupts(q, &e)) {
            err_clear(&e); /* a worker tells of the fault */
        }
        if (found)
            workers_wake(q);
        if (is_closing(q))
            nanosleep(&(struct timespec){ .tv_nsec = 20000000L }, NULL);
        else
            pause_ms(q, q->options.poll_ms, &seen);
    }
}

bool workers_start(struct queue *q, struct err *e)
{
    for (int i = 0; i < q->options.workers; i++) {
        q->workers[i].queue = q;
        worker_name(q->workers[i].name, i);
    }
    for (int i = 0; i <= q->options.workers; i++) {
        bool beat = i == q->options.workers;
        int code = pthread_create(beat ? &q->beat : &q->workers[i].thread, NULL, beat ? keep_leases : work, beat ? (void *)q : &q->workers[i]);
        if (code)
            return err_set(e, ERR_NOMEM, "no thread for the queue: %s", strerror(code));
        pthread_mutex_lock(&q->lock);
        if (beat)
            q->beating = true;
        else
            q->worker_count++;
        pthread_mutex_unlock(&q->lock);
    }
    return true;
}

void workers_stop(struct queue *q, bool wait)
{
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    for (int i = 0; !wait && i < q->worker_count; i++)
        if (q->workers[i].run)
            stop_run(q->workers[i].run, RUN_CLOSING);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->worker_count; i++)
        pthread_join(q->workers[i].thread, NULL);
    if (q->beating)
        pthread_join(q->beat, NULL);
}

void workers_wake(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->added++;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void workers_interrupt(struct queue *q, const char *id, const char *owner)
{
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->worker_count; i++) {
        struct job_run *run = q->workers[i].run;
        if (run && (!id || !strcmp(run->id, id)) && (!owner || !strcmp(run->owner, owner)))
            stop_run(run, RUN_INTERRUPTED);
    }
    pthread_mutex_unlock(&q->lock);
}
