/* The processes of one run, started together by mpirun or Slurm's srun: they are numbered from 0 and send each other numbers. MPI is
 * Debian's Open MPI (libmpi.so.40), opened when a run is started by it and not before: the program needs none to begin.
 *
 * Every wait gives up when the user asks to stop, or MPI says that another process is gone. All functions are called from one thread. A
 * `struct ranks *` that is NULL is a process alone: number 0 of 1. */
#ifndef LIMN_BASE_RANKS_H
#define LIMN_BASE_RANKS_H

#include <stddef.h>

#include "base/err.h"

enum { RANKS_MOST = 4096 };

struct ranks;
/* *out is NULL if this process was not started by MPI, or alone. *out is freed with ranks_free.
 * errors  ERR_BACKEND: MPI cannot be opened or begun; it says which package is missing. ERR_ARG: srun started several processes, and not so
 * that they find each other. */
MUST_USE bool ranks_new(struct ranks **out, struct err *e);
/* all_good: every process ends well, so that they can wait for each other; otherwise the system tells the rest. */
void ranks_free(struct ranks *r, bool all_good);

int ranks_mine(const struct ranks *r);
int ranks_count(const struct ranks *r);

/* all[count * ranks_count] gets mine[count] of every process, in order of their numbers. */
MUST_USE bool ranks_gather(struct ranks *r, const double *mine, int count, double *all, struct err *e);
/* The bytes of number 0 to all. */
MUST_USE bool ranks_broadcast(struct ranks *r, void *data, size_t bytes, struct err *e);
/* Number 0 does `work` alone first, for what it leaves in files; then all others do it. */
MUST_USE bool ranks_first(struct ranks *r, bool (*work)(void *self, struct err *e), void *self, struct err *e);

/* A sum of f32 arrays over all processes while other work goes on: ranks_sum_begin for pieces as they are ready, in the same order
 * everywhere, ranks_sum_go_on now and then, ranks_sum_end. Each process adds a share of every piece in the order of numbers
 * and sends it to the others: so the sum has the same bits everywhere and every time. */
struct ranks_sum;
/* data[count] is borrowed; pieces: at most so many. NULL with e set on failure. */
MUST_USE struct ranks_sum *ranks_sum_new(struct ranks *r, float *data, size_t count, size_t pieces, struct err *e);
void ranks_sum_free(struct ranks_sum *s);
size_t ranks_sum_bytes(const struct ranks_sum *s); /* what it takes beside the data */
MUST_USE bool ranks_sum_begin(struct ranks_sum *s, size_t first, size_t count, struct err *e);
MUST_USE bool ranks_sum_go_on(struct ranks_sum *s, struct err *e);
/* Waits until every piece that was begun is summed. */
MUST_USE bool ranks_sum_end(struct ranks_sum *s, struct err *e);

#endif
