/* What queue.c (changes), queue_list.c (answers) and worker.c (runs) share. */
#ifndef LIMN_JOBS_QUEUE_INTERNAL_H
#define LIMN_JOBS_QUEUE_INTERNAL_H

#include <pthread.h>

#include "jobs/queue.h"

enum { WORKER_NAME_BYTES = 200, QUEUE_MOST_WORKERS = 64 };

/* What a listener is told at a job's end. */
struct late_event {
    char *type;
    json_t *data;
    bool before;
};

struct job_run {
    struct queue *queue;
    const char *worker;          /* borrowed from its worker */
    int64_t sequence;
    int attempt;
    char *id, *owner, *client, *prompt, *extra, *targets;
    atomic_bool stop;
    atomic_int why;              /* enum run_stop, set before `stop` */
    char *outputs, *meta, *messages, *error;
    struct late_event *late;
    size_t late_count, late_cap;
    json_t *files;               /* {key: path} of what it made before it was broken off; NULL: it was not */
    struct gallery_facts *pictures; /* texts owned: one block each, in picture_texts */
    char **picture_texts;
    size_t picture_count, picture_cap, texts_cap;
};
enum run_stop { RUN_GOES_ON, RUN_INTERRUPTED, RUN_CLOSING, RUN_LOST };

struct worker {
    struct queue *queue;
    pthread_t thread;
    char name[WORKER_NAME_BYTES];
    struct job_run *run;         /* what it does now; under queue.lock */
};

/* Something told, on its way to other processes. */
struct letter {
    char *job, *client, *owner, *type, *data, *bytes; /* owned; bytes in base64 */
    size_t byte_count;                        /* of what the base64 stands for */
};

struct queue {
    struct queue_options options;
    pthread_mutex_t lock;        /* guards what follows; never held while the database or a callback is called */
    pthread_cond_t changed;      /* a job was added, or the queue closes */
    bool closing;
    uint64_t added;              /* counts what was added or interrupted: a worker that found nothing looks again when it grew */
    bool fault;                  /* a fault was told and is not over */
    struct worker workers[QUEUE_MOST_WORKERS];
    int worker_count;
    char origin[WORKER_NAME_BYTES]; /* this process, for others; "" if there are none */
    struct letter *letters;      /* not sent yet, under letters_lock, which may be taken while `lock` is not held */
    size_t letter_count, letter_cap, letter_bytes;
    pthread_mutex_t letters_lock;
    int64_t last_heard;          /* the last event of others that was told here; the postman's own */
    bool delivering;
    pthread_t postman;           /* sends letters and tells what others sent */
    bool beating;
    pthread_t beat;              /* keeps leases */
};

/* --- queue.c --- */
/* Pending and running, all owners'. */
MUST_USE bool queue_remaining_in(struct db *db, const char *owner, int64_t *count, struct err *e);
void queue_tell_status(struct queue *q, int64_t remaining);
/* e: the fault; NULL: it is over. */
void queue_tell_fault(struct queue *q, const struct err *e);

/* Tells the listener here, and those of other processes. */
void queue_tell(struct queue *q, const struct queue_event *event);

/* --- others.c --- */
/* Starts the postman, if there are others. */
MUST_USE bool others_start(struct queue *q, struct err *e);
/* Sends what is left, ends it. */
void others_stop(struct queue *q);
/* A letter to the others. One that there is no memory or no room for is lost. */
void others_tell(struct queue *q, const struct queue_event *event);
/* A letter that no listener hears: whoever runs something looks at once whether it was interrupted. */
#define OTHERS_INTERRUPT "interrupt"

/* --- worker.c --- */
MUST_USE bool workers_start(struct queue *q, struct err *e);
void workers_stop(struct queue *q, bool wait);
/* Something was added or interrupted, here or elsewhere: nobody sleeps on. */
void workers_wake(struct queue *q);
/* Asks the running job of this id (NULL: all) and owner (NULL: all) in this process to stop. */
void workers_interrupt(struct queue *q, const char *id, const char *owner);

/* --- recover.c --- */
/* "host boot/pids pid start number": tells whether the process still is. */
void worker_name(char out[WORKER_NAME_BYTES], int number);
/* Whether the worker was a process of this machine that is no more. shared: other machines use the database, too. */
bool worker_is_dead(const char *name, bool shared);
/* Takes back jobs of workers that are dead, or whose lease ran out. *found: how many are pending again. */
MUST_USE bool recover_jobs(struct queue *q, int64_t *found, struct err *e);

#endif
