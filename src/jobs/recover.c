/* What dead workers left behind. A worker's name says on which machine and in which process it is, so that a program that starts
 * again on the same machine need not wait for its leases to run out. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_text.h"
#include "base/mem.h"
#include "jobs/queue_internal.h"

static void read_line(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "re");
    out[0] = 0;
    if (f && fgets(out, (int)room, f))
        out[strcspn(out, "\n")] = 0;
    if (f)
        fclose(f);
}

/* When the process began, in ticks since the machine started (proc(5), stat, field 22): with it a pid is never mistaken. 0: no such
 * process. */
static unsigned long long process_start(long pid)
{
    char path[64], line[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    read_line(path, line, sizeof line);
    const char *at = strrchr(line, ')'); /* a program's name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at)
        start = strtoull(at + 1, NULL, 10);
    /* one that ended and was not waited for is dead */
    const char *state = strrchr(line, ')');
    return state && state[1] && (state[2] == 'Z' || state[2] == 'X') ? 0 : start;
}

/* "host boot/pids": the machine since it was started, and among whose processes a pid is to be looked up (a container's own). */
static void machine_name(char out[130])
{
    char host[65] = "?", boot[40], pids[24] = "";
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        *p = *p == ' ' ? '-' : *p;
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    ssize_t length = readlink("/proc/self/ns/pid", pids, sizeof pids - 1);
    pids[length > 0 ? length : 0] = 0;
    snprintf(out, 130, "%s %s/%s", host, *boot ? boot : "?", pids);
}

void worker_name(char out[WORKER_NAME_BYTES], int number)
{
    char machine[130];
    machine_name(machine);
    snprintf(out, WORKER_NAME_BYTES, "%s %ld %llu %d", machine, (long)getpid(), process_start(getpid()), number);
}

bool worker_is_dead(const char *name, bool shared)
{
    char machine[130], host[65], boot[65], its[131];
    long pid;
    unsigned long long start;
    machine_name(machine);
    if (sscanf(name, "%64s %64s %ld %llu", host, boot, &pid, &start) != 4)
        return false;
    snprintf(its, sizeof its, "%s %s", host, boot);
    if (strcmp(its, machine)) /* this machine before it was started anew; in a shared database two may have one name: leases tell */
        return !shared && !strncmp(machine, its, strlen(host) + 1);
    return process_start(pid) != start;
}

struct left {
    int64_t sequence, attempts;
    char worker[WORKER_NAME_BYTES];
};

static bool find_left(struct db *db, bool shared, struct left **left, size_t *count, struct err *e)
{
    size_t cap = 0;
    struct rows r;
    bool good = true;
    for (rows_open(&r, db, SQL_JOB_RUNNING, SQL_NO_VALUES); good && rows_next(&r);) {
        const char *name = rows_text(&r, 1);
        if (!rows_int(&r, 3) && !(name && worker_is_dead(name, shared)))
            continue;
        struct left *grown = mem_grow(*left, &cap, *count + 1, sizeof *grown);
        good = grown || err_nomem(e, "a list of jobs");
        if (!good)
            break;
        *left = grown;
        struct left *l = &grown[(*count)++];
        *l = (struct left){ .sequence = rows_int(&r, 0), .attempts = rows_int(&r, 2) };
        snprintf(l->worker, sizeof l->worker, "%s", name ? name : "");
    }
    return rows_close(&r, e) && good;
}

/* Conditions in the statements see to it that of several who find the same job one takes it back. */
static bool take_back(struct db *db, const struct left *l, int64_t *found, struct err *e)
{
    int64_t changed;
    if (l->attempts < JOB_MOST_ATTEMPTS) {
        if (!sql_run(db, SQL_JOB_RECOVER, SQL_VALUES(sql_int(l->sequence), sql_text(l->worker), sql_int(l->attempts)), &changed, e))
            return false;
        *found += changed;
        return true;
    }
    char text[300];
    snprintf(text, sizeof text, "{\"exception_message\":\"the program ended %d times while it did this job: it was not tried again\","
             "\"exception_type\":\"WorkerDied\",\"traceback\":[],\"executed\":[]}", JOB_MOST_ATTEMPTS);
    return sql_run(db, SQL_JOB_GIVE_UP,
                   SQL_VALUES(sql_int(l->sequence), sql_text(l->worker), sql_int(l->attempts), sql_text(text), sql_text("[]")), NULL, e);
}

bool recover_jobs(struct queue *q, int64_t *found, struct err *e)
{
    struct left *left = NULL;
    size_t count = 0;
    *found = 0;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    bool good = store_end(db, db && find_left(db, store_is_shared(q->options.store), &left, &count, e), e);
    if (good && count) {
        db = store_begin(q->options.store, STORE_WRITE, e);
        good = db != NULL;
        for (size_t i = 0; good && i < count; i++)
            good = take_back(db, &left[i], found, e);
        good = store_end(db, good, e);
    }
    mem_free(left);
    return good;
}
