/* Jobs whose work is small: what the queue promises is tested, not what a job does. */
#ifndef LIMN_TESTS_JOBS_FAKE_WORK_H
#define LIMN_TESTS_JOBS_FAKE_WORK_H

#include "jobs/queue.h"

/* How the work of a prompt {"n": 17, "ms": 5, "fails": true} goes: it takes so long, asking every millisecond whether to stop, and
 * makes one picture of its n, unless it fails. */
struct fake {
    const char *folder;            /* of the gallery */
    void (*done)(void *self, const char *id); /* behind each run that was good; or NULL */
    void *done_self;
    atomic_int runs;
    char order[4000];              /* ids in the order in which they ran, spaces between; one worker only */
};
bool fake_run(void *self, struct job_run *run, struct err *e);

/* The hash of the picture that n makes. */
void fake_hash(int n, char out[GALLERY_HASH_BYTES]);

/* A fresh folder in memory where there is one (what is tested survives a process, not the power), so that tests do not wait for a
 * disk; out[300]. Remove it with fake_folder_remove. */
void fake_folder(char *out, const char *name);
void fake_folder_remove(const char *folder);

/* Waits until nothing is pending or running, at most so many seconds. */
bool fake_wait(struct queue *q, double seconds);

#endif
