#include "base/ranks.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"

/* What is used of MPI, by the names and types of Open MPI 4 and 5's own header: handles are addresses of things in its library. */
#define MPI_FUNCTIONS(X)                                                                                                       \
    X(MPI_Init_thread, (int *argc, char ***argv, int required, int *provided))                                                 \
    X(MPI_Finalize, (void))                                                                                                    \
    X(MPI_Comm_rank, (void *comm, int *rank))                                                                                  \
    X(MPI_Comm_size, (void *comm, int *size))                                                                                  \
    X(MPI_Comm_set_errhandler, (void *comm, void *handler))                                                                    \
    X(MPI_Isend, (const void *data, int count, void *type, int peer, int tag, void *comm, void **request))                     \
    X(MPI_Irecv, (void *data, int count, void *type, int peer, int tag, void *comm, void **request))                           \
    X(MPI_Testall, (int count, void **requests, int *done, void *statuses))                                                    \
    X(MPI_Error_string, (int code, char *text, int *length))
enum { MPI_GOOD = 0, MPI_FUNNELED = 1, ERROR_TEXT = 512 };
enum { TAG_GATHER = 1, TAG_BROADCAST = 2, TAG_SUM = 16 }; /* and two more for each piece of a sum */

struct ranks {
    void *library;
#define X(name, args) int (*name) args;
    MPI_FUNCTIONS(X)
#undef X
    void *world, *bytes;
    int mine, count;
};

int ranks_mine(const struct ranks *r)
{
    return r ? r->mine : 0;
}

int ranks_count(const struct ranks *r)
{
    return r ? r->count : 1;
}

/* mpirun says it in the first, srun --mpi=pmix in the second. */
static bool started_by_mpi(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK");
}

/* Debian's srun tells its processes nothing of each other by default: each would train alone, all in the same folder. With --mpi=pmi2 it
 * tells them in a way that Debian's Open MPI does not know. */
static bool check_alone(struct err *e)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    if (!getenv("PMI_RANK") && (!tasks || atol(tasks) < 2))
        return true;
    return err_set(e, ERR_ARG, "one of several processes that cannot find each other: start them with srun --mpi=pmix, or with Open MPI's "
                   "mpirun (runs that have nothing to do with each other: env -u SLURM_STEP_NUM_TASKS -u PMI_RANK limn ...)");
}

static bool open_library(struct ranks *r, struct err *e)
{
    r->library = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL); /* global: its own plug-ins look for its names */
    if (!r->library)
        return err_set(e, ERR_BACKEND, "this process was started as one of several, but Open MPI cannot be opened (%s): install the "
                       "package openmpi-bin, or start it alone", dlerror());
    bool good = true;
#define X(name, args) good = good && (*(void **)&r->name = dlsym(r->library, #name)) != NULL;
    MPI_FUNCTIONS(X)
#undef X
    void *returns = good ? dlsym(r->library, "ompi_mpi_errors_return") : NULL;
    r->world = dlsym(r->library, "ompi_mpi_comm_world");
    r->bytes = dlsym(r->library, "ompi_mpi_byte");
    if (!good || !returns || !r->world || !r->bytes)
        return err_set(e, ERR_BACKEND, "libmpi.so.40 is not Open MPI's, or another version than 4 or 5");
    int provided, failed = r->MPI_Init_thread(NULL, NULL, MPI_FUNNELED, &provided);
    failed = failed ? failed : r->MPI_Comm_set_errhandler(r->world, returns);
    failed = failed ? failed : r->MPI_Comm_rank(r->world, &r->mine);
    failed = failed ? failed : r->MPI_Comm_size(r->world, &r->count);
    if (failed || r->count > RANKS_MOST)
        return err_set(e, ERR_BACKEND, "Open MPI cannot begin (code %d, %d processes)", failed, r->count);
    return true;
}

bool ranks_new(struct ranks **out, struct err *e)
{
    *out = NULL;
    if (!started_by_mpi())
        return check_alone(e);
    struct ranks *r = mem_zeroed(1, sizeof *r);
    if (!r)
        return err_nomem(e, "the processes of a run");
    if (!open_library(r, e)) {
        mem_free(r);
        return false;
    }
    stop_on_signals(); /* MPI may have set its own */
    if (r->count > 1) {
        *out = r;
        return true;
    }
    ranks_free(r, true);
    return true;
}

void ranks_free(struct ranks *r, bool all_good)
{
    if (!r)
        return;
    if (all_good)
        r->MPI_Finalize();
    mem_free(r); /* the library stays: its threads may run until the end */
}

static bool lost(const struct ranks *r, int code, struct err *e)
{
    char text[ERROR_TEXT] = "";
    int length;
    r->MPI_Error_string(code, text, &length);
    return err_set(e, ERR_BACKEND, "process %d of %d cannot reach another one: it has ended (%s)", r->mine, r->count, text);
}

/* How long a process that is told to stop waits for the others: mpirun kills a second after it asked. */
static const double grace_seconds = 0.3;

static bool test_all(const struct ranks *r, void **requests, int count, bool *done, struct err *e)
{
    int flag = 0, code = r->MPI_Testall(count, requests, &flag, NULL);
    *done = flag != 0;
    return code == MPI_GOOD || lost(r, code, e);
}

static bool nap(const struct ranks *r, long round, double *asked, struct err *e)
{
    if (round > 1000)
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    if (!stop_requested())
        return true;
    if (*asked == 0)
        *asked = clock_seconds();
    if (clock_seconds() - *asked < grace_seconds)
        return true;
    return err_set(e, ERR_STOPPED, "process %d of %d was told to stop while it waited for the others: one of them has ended, or all are "
                   "to end", r->mine, r->count);
}

static bool wait_all(const struct ranks *r, void **requests, int count, struct err *e)
{
    bool done = false;
    double asked = 0;
    for (long round = 0; !done; round++)
        if (!test_all(r, requests, count, &done, e) || (!done && !nap(r, round, &asked, e)))
            return false;
    return true;
}

static bool post(const struct ranks *r, bool sends, void *data, size_t bytes, int peer, int tag, void **request, struct err *e)
{
    int code = sends ? r->MPI_Isend(data, (int)bytes, r->bytes, peer, tag, r->world, request)
                     : r->MPI_Irecv(data, (int)bytes, r->bytes, peer, tag, r->world, request);
    return code == MPI_GOOD || lost(r, code, e);
}

bool ranks_gather(struct ranks *r, const double *mine, int count, double *all, struct err *e)
{
    memcpy(all + (size_t)ranks_mine(r) * (size_t)count, mine, (size_t)count * sizeof *all);
    if (!r)
        return true;
    size_t bytes = (size_t)count * sizeof *mine;
    void **requests = mem_zeroed(2 * (size_t)r->count, sizeof *requests);
    int n = 0;
    bool good = requests || err_nomem(e, "messages");
    for (int peer = 0; good && peer < r->count; peer++)
        if (peer != r->mine) {
            good = post(r, false, all + (size_t)peer * (size_t)count, bytes, peer, TAG_GATHER, &requests[n], e) &&
                   post(r, true, (void *)(size_t)mine, bytes, peer, TAG_GATHER, &requests[n + 1], e);
            n += 2;
        }
    good = good && wait_all(r, requests, n, e);
    mem_free(requests);
    return good;
}

bool ranks_broadcast(struct ranks *r, void *data, size_t bytes, struct err *e)
{
    enum { PIECE = 1 << 26 };
    if (!r)
        return true;
    void **requests = mem_zeroed((size_t)r->count, sizeof *requests);
    bool good = requests || err_nomem(e, "messages");
    for (size_t at = 0; good && at < bytes; at += PIECE) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        int count = 0;
        if (r->mine)
            good = post(r, false, (char *)data + at, n, 0, TAG_BROADCAST, &requests[count++], e);
        for (int peer = 1; good && !r->mine && peer < r->count; peer++)
            good = post(r, true, (char *)data + at, n, peer, TAG_BROADCAST, &requests[count++], e);
        good = good && wait_all(r, requests, count, e);
    }
    mem_free(requests);
    return good;
}

static bool meet(struct ranks *r, struct err *e)
{
    double nothing = 0, *all = mem_zeroed((size_t)ranks_count(r), sizeof *all);
    bool good = all ? ranks_gather(r, &nothing, 1, all, e) : err_nomem(e, "messages");
    mem_free(all);
    return good;
}

bool ranks_first(struct ranks *r, bool (*work)(void *self, struct err *e), void *self, struct err *e)
{
    if (ranks_mine(r))
        return meet(r, e) && work(self, e);
    return work(self, e) && meet(r, e);
}

/* A piece: first every process sends each other one its share of the piece, then the sums of its own share. */
struct piece {
    size_t first, count;
    enum { PIECE_SHARES, PIECE_SUMS, PIECE_DONE } phase;
    size_t came;     /* where in `shares` what the others send lies: count - 1 shares of my size */
    void **requests; /* 2 (processes - 1) */
};

struct ranks_sum {
    struct ranks *r;
    float *data, *shares;
    size_t count, used, most, pieces, done;
    struct piece *piece;
    void **requests;
};

struct ranks_sum *ranks_sum_new(struct ranks *r, float *data, size_t count, size_t pieces, struct err *e)
{
    struct ranks_sum *s = mem_zeroed(1, sizeof *s);
    if (!s) {
        err_nomem(e, "a sum");
        return NULL;
    }
    size_t others = (size_t)r->count - 1;
    *s = (struct ranks_sum){ .r = r, .data = data, .count = count + pieces * (size_t)r->count, .most = pieces };
    s->shares = mem_pages(s->count * sizeof *s->shares);
    s->piece = mem_zeroed(pieces, sizeof *s->piece);
    s->requests = mem_zeroed(pieces * 2 * others, sizeof *s->requests);
    if (s->shares && s->piece && s->requests)
        return s;
    ranks_sum_free(s);
    err_nomem(e, "a sum");
    return NULL;
}

void ranks_sum_free(struct ranks_sum *s)
{
    if (!s)
        return;
    mem_pages_free(s->shares, s->count * sizeof *s->shares);
    mem_free(s->piece);
    mem_free(s->requests);
    mem_free(s);
}

size_t ranks_sum_bytes(const struct ranks_sum *s)
{
    return s->count * sizeof *s->shares;
}

/* The share of a process: [*begin, *end) of data. */
static void share(const struct ranks_sum *s, const struct piece *p, int rank, size_t *begin, size_t *end)
{
    *begin = p->first + p->count * (size_t)rank / (size_t)s->r->count;
    *end = p->first + p->count * ((size_t)rank + 1) / (size_t)s->r->count;
}

/* To and from every other process: what is sent and where what comes goes. */
static bool exchange(struct ranks_sum *s, struct piece *p, bool sums, struct err *e)
{
    const struct ranks *r = s->r;
    size_t mine, mine_end, at = p->came;
    int tag = TAG_SUM + 2 * (int)(p - s->piece) + sums, n = 0;
    share(s, p, r->mine, &mine, &mine_end);
    for (int peer = 0; peer < r->count; peer++) {
        size_t theirs, theirs_end;
        if (peer == r->mine)
            continue;
        share(s, p, peer, &theirs, &theirs_end);
        float *out = s->data + (sums ? mine : theirs), *in = sums ? s->data + theirs : s->shares + at;
        size_t out_count = sums ? mine_end - mine : theirs_end - theirs, in_count = sums ? theirs_end - theirs : mine_end - mine;
        at += mine_end - mine;
        if (!post(r, false, in, in_count * sizeof *in, peer, tag, &p->requests[n], e) ||
            !post(r, true, out, out_count * sizeof *out, peer, tag, &p->requests[n + 1], e))
            return false;
        n += 2;
    }
    return true;
}

/* My share of everybody, in the order of their numbers. */
static void add_shares(struct ranks_sum *s, const struct piece *p)
{
    size_t mine, end;
    share(s, p, s->r->mine, &mine, &end);
    float *own = s->data + mine;
    for (size_t i = 0; i < end - mine; i++) {
        const float *theirs = s->shares + p->came + i;
        float sum = 0;
        for (int rank = 0; rank < s->r->count; rank++) {
            sum += rank == s->r->mine ? own[i] : *theirs;
            theirs += rank == s->r->mine ? 0 : end - mine;
        }
        own[i] = sum;
    }
}

bool ranks_sum_begin(struct ranks_sum *s, size_t first, size_t count, struct err *e)
{
    struct piece *p = &s->piece[s->pieces];
    size_t mine, end, others = (size_t)s->r->count - 1;
    if (s->pieces == s->most || count > INT_MAX / sizeof(float))
        return err_set(e, ERR_LIMIT, "a sum over processes of %zu pieces, one of %zu numbers", s->pieces + 1, count);
    *p = (struct piece){ first, count, PIECE_SHARES, s->used, s->requests + s->pieces * 2 * others };
    share(s, p, s->r->mine, &mine, &end);
    s->used += others * (end - mine);
    s->pieces++;
    return exchange(s, p, false, e);
}

bool ranks_sum_go_on(struct ranks_sum *s, struct err *e)
{
    int n = 2 * (s->r->count - 1);
    for (size_t i = 0; i < s->pieces; i++) {
        struct piece *p = &s->piece[i];
        bool done = false;
        if (p->phase == PIECE_DONE)
            continue;
        if (!test_all(s->r, p->requests, n, &done, e))
            return false;
        if (!done)
            continue;
        if (p->phase == PIECE_SUMS) {
            p->phase = PIECE_DONE;
            s->done++;
            continue;
        }
        add_shares(s, p);
        p->phase = PIECE_SUMS;
        if (!exchange(s, p, true, e))
            return false;
    }
    return true;
}

bool ranks_sum_end(struct ranks_sum *s, struct err *e)
{
    double asked = 0;
    for (long round = 0; s->done < s->pieces; round++)
        if (!ranks_sum_go_on(s, e) || (s->done < s->pieces && !nap(s->r, round, &asked, e)))
            return false;
    s->pieces = s->done = s->used = 0;
    return true;
}
