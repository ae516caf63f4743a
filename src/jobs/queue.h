/* The queue of jobs.
 *
 *                 queue_add
 *                     |                      a worker died (its lease ran out, or its process is gone)
 *                  PENDING  <------------------------------------------------.
 *                  |     \                                                   |
 *    queue_cancel  |      `-- a worker takes it: lowest number, then id --> RUNNING
 *    queue_clear   |                                                     |    |    |
 *                  v                                                     v    v    v
 *    (the row goes; a job that is cancelled by id stays)         COMPLETED FAILED CANCELLED (queue_interrupt, queue_cancel)
 *
 * A job is in the database before queue_add returns. It ends in one transaction with its outputs and its pictures, whose files are
 * in place before, so that a kill at any moment loses no accepted job and no finished picture and shows none twice. What was
 * running when the program ended runs again; after JOB_MOST_ATTEMPTS ends of that kind it is FAILED.
 *
 * Threads   Every function may be called from any thread; none is held up by a job that runs. run is called from worker
 *           threads, listen also from threads that add, cancel and delete.
 * Owners    What is handed in is borrowed until the call returns and copied where it is kept.
 * Faults    When the database or the disk refuses, queue_add fails with ERR_IO and the job is not accepted; a job that is
 *           finished then keeps its result in memory and is written when the database is back; workers try again. */
#ifndef LIMN_JOBS_QUEUE_H
#define LIMN_JOBS_QUEUE_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/text.h"
#include "store/gallery.h"

enum job_state { JOB_PENDING, JOB_RUNNING, JOB_COMPLETED, JOB_FAILED, JOB_CANCELLED, JOB_STATES };
extern const char *const job_state_names[]; /* "pending", "in_progress", "completed", "failed", "cancelled": those of ComfyUI's /jobs */

enum { JOB_MOST_ATTEMPTS = 3, JOB_HISTORY_MOST = 10000, JOB_ID_MOST_BYTES = 200 };

/* A job as it is added. Texts are JSON; they are kept to the byte (numbers up to 2^64 - 1 stay what they are). */
struct job {
    const char *id;         /* 1 to JOB_ID_MOST_BYTES bytes; NULL: a new UUID */
    const char *owner;      /* "" or NULL: no users */
    const char *client;     /* ComfyUI's client_id, or NULL */
    const char *prompt;     /* the flow, as its API has it: required */
    const char *extra;      /* extra_data, or NULL: {}. Its members auth_token_comfy_org and api_key_comfy_org are never stored */
    const char *targets;    /* array of the ids of output nodes, or NULL: [] */
    const char *workflow;   /* extra_data.extra_pnginfo.workflow.id, or NULL */
    bool has_number;        /* false: the number is a counter of this database, from 0 */
    bool front;             /* the counter's number is negated */
    double number;          /* lower runs first; equal numbers run by id */
};

/* What a worker's run gets. It belongs to the queue and lives until run returns. */
struct job_run;

/* Does a job: true and it is COMPLETED; false with ERR_STOPPED and it is CANCELLED, with another error FAILED. It should ask
 * job_run_check at each step (200 ms at most). */
typedef bool (*job_runner)(void *self, struct job_run *run, struct err *e);

/* What is told while jobs go on, by the worker's thread, or ("status") by the one that changed the queue. Borrowed until the call
 * returns; must not block, must not call the queue. */
struct queue_event {
    const char *job, *client; /* client: NULL if the job has none; both NULL for "status" */
    const char *owner;        /* of the job; "": no users. NULL for "status" and "fault" */
    const char *type;         /* "status" (something entered, was taken, ended or left), "fault" (data: {"message"}: the database or the
                                 disk refuses; told once until it is over, then {"message": null}), or what job_run_event was given */
    const json_t *data;       /* of job_run_event, or NULL */
    const void *bytes;        /* of job_run_bytes (a preview frame), or NULL */
    size_t byte_count;
    int64_t remaining;        /* "status": pending and running */
    bool elsewhere;           /* it happened in another process */
};
typedef void (*queue_listener)(void *self, const struct queue_event *event);

struct queue_options {
    struct store *store;      /* borrowed; must outlive the queue */
    int workers;              /* threads that run jobs; 0: only add and look, as a server whose workers are elsewhere */
    job_runner run;
    void *run_self;
    queue_listener listen;    /* or NULL */
    void *listen_self;
    int lease_ms;             /* how long a silent worker counts as alive; 0: 30 s. Renewed at a third of it */
    int poll_ms;              /* how often to look for jobs that other processes added; 0: 500 */
    bool others;              /* other processes run its jobs or listen to them, too: what is told goes to their listeners through the
                                 database, a fifth of a second later. Always so for a store that is shared */
};
struct queue;
/* Takes back what dead processes of this machine left RUNNING, and starts the workers. */
MUST_USE struct queue *queue_open(const struct queue_options *options, struct err *e);
/* Stops: with `wait` after the jobs that run, else they are asked to stop and become PENDING again. NULL is fine. */
void queue_close(struct queue *q, bool wait);

/* Stores a job. *added (may be NULL): its id and number. The same id with the same prompt is accepted once (a client that asks again
 * after a broken connection), *was_there is then true.
 * errors  ERR_ARG (an id that is taken by another prompt; text that is no JSON), ERR_IO (not accepted; what to do). */
struct job_added {
    char id[JOB_ID_MOST_BYTES + 1];
    double number;
    bool was_there;
};
MUST_USE bool queue_add(struct queue *q, const struct job *job, struct job_added *added, struct err *e);

/* Looks. owner NULL: all owners'. Answers are JSON text, added to out (which the caller has given room and releases): what was
 * handed in stands in it to the byte. */
MUST_USE bool queue_remaining(struct queue *q, const char *owner, int64_t *count, struct err *e);
/* GET /queue: {"queue_running": [Q], "queue_pending": [Q]}, Q = [number, id, prompt, extra_data, targets]; pending in the order in which
 * they will run. */
MUST_USE bool queue_list(struct queue *q, const char *owner, struct text *out, struct err *e);
/* GET /history: {id: H}, oldest first. most < 0: all; offset < 0: the last `most`. */
MUST_USE bool queue_history(struct queue *q, const char *owner, int64_t most, int64_t offset, struct text *out, struct err *e);
/* GET /history/ID: {id: H}, or {} if it is not there or not finished. */
MUST_USE bool queue_history_of(struct queue *q, const char *owner, const char *id, struct text *out, struct err *e);
/* GET /jobs. */
struct job_query {
    const char *owner;        /* NULL: all */
    unsigned states;          /* bits 1 << enum job_state; 0: all */
    const char *workflow;     /* or NULL */
    bool by_duration, ascending;
    int64_t limit, offset;    /* limit 0: no limit */
};
/* {"jobs": [J], "pagination": {"offset", "limit", "total", "has_more"}}. */
MUST_USE bool queue_jobs(struct queue *q, const struct job_query *query, struct text *out, struct err *e);
/* GET /jobs/ID: J with outputs, execution_status and workflow. ERR_MISSING. */
MUST_USE bool queue_job(struct queue *q, const char *owner, const char *id, struct text *out, struct err *e);

/* POST /queue. Only pending jobs: they leave the queue and leave no history. *count: how many (may be NULL). */
MUST_USE bool queue_delete(struct queue *q, const char *owner, const char *const *ids, size_t count, int64_t *deleted, struct err *e);
MUST_USE bool queue_clear(struct queue *q, const char *owner, int64_t *deleted, struct err *e);
/* POST /interrupt: the running job of this id, NULL: every running job; nothing runs: nothing happens. Another process that runs it is told
 * at once if it listens to others, and sees it with its next poll at the latest. */
MUST_USE bool queue_interrupt(struct queue *q, const char *owner, const char *id, struct err *e);
/* POST /jobs/ID/cancel: running: interrupted; pending: CANCELLED and kept; else *cancelled is false. */
MUST_USE bool queue_cancel(struct queue *q, const char *owner, const char *id, bool *cancelled, struct err *e);
/* POST /history: finished jobs only. */
MUST_USE bool queue_history_delete(struct queue *q, const char *owner, const char *const *ids, size_t count, struct err *e);
MUST_USE bool queue_history_clear(struct queue *q, const char *owner, struct err *e);

/* --- inside run --- */

/* Borrowed until run returns. */
const char *job_run_id(const struct job_run *run);
const char *job_run_owner(const struct job_run *run);
const char *job_run_client(const struct job_run *run); /* or NULL */
const char *job_run_prompt(const struct job_run *run);
const char *job_run_extra(const struct job_run *run);
const char *job_run_targets(const struct job_run *run);
int job_run_attempt(const struct job_run *run); /* 1: the first */

/* True when the job shall end: it was interrupted, the queue closes, or another worker has it. For what takes a flag to watch. */
const atomic_bool *job_run_stop(const struct job_run *run);
/* The same as an error: false with ERR_STOPPED. */
MUST_USE bool job_run_check(const struct job_run *run, struct err *e);
/* Tells listeners. Takes data. */
void job_run_event(struct job_run *run, const char *type, json_t *data);
void job_run_bytes(struct job_run *run, const char *type, const void *bytes, size_t count);
/* Told after the job's end is stored: those with `before` in front of the "status" that tells of it (execution_success), the others
 * behind it (executing with node null). Not told if another worker has the job. Takes data. */
void job_run_event_at_end(struct job_run *run, const char *type, json_t *data, bool before);
/* What is kept of the run, as JSON texts, each NULL for nothing: H.outputs, H.meta, H.status.messages, and execution_error of GET /jobs
 * (without it one is made of run's error). The last call counts. ERR_NOMEM. */
MUST_USE bool job_run_result(struct job_run *run, const char *outputs, const char *meta, const char *messages, const char *error,
                             struct err *e);
/* Files of the run, each under a key of its own: noted when they are made, so that the job, if it is broken off and begins anew, finds
 * what it had made and writes it again in place of a second one. A note that cannot be kept is lost. Forgotten with the job's end. */
void job_run_file(struct job_run *run, const char *key, const char *path);
const char *job_run_file_before(const struct job_run *run, const char *key); /* of an attempt before; borrowed, NULL: none */
/* A picture that shall be in the gallery when the job is finished, whatever way it ends; its file must be in place
 * (picture_file_put). Copied; facts->job and facts->owner are set by the queue. ERR_NOMEM. */
MUST_USE bool job_run_picture(struct job_run *run, const struct gallery_facts *facts, struct err *e);

#endif
