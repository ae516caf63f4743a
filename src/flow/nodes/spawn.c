#include "flow/nodes/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "flow/nodes/nodes.h"

void spawn_add(struct spawn_line *l, const char *option, const char *value)
{
    if (l->count + 2 > SPAWN_MOST_WORDS) {
        l->count = SPAWN_MOST_WORDS;
        return;
    }
    l->words[l->count++] = option;
    if (value)
        l->words[l->count++] = value;
}

void spawn_add_number(struct spawn_line *l, const char *option, double value)
{
    if (l->count >= SPAWN_MOST_WORDS)
        return;
    char *word = l->made[l->count];
    snprintf(word, SPAWN_WORD_BYTES, "%.10g", value);
    spawn_add(l, option, word);
}

bool spawn_is_name(const char *name)
{
    return name && *name && *name != '.' && *name != '-' && !strpbrk(name, "/\\\n") && strlen(name) < 150;
}

bool spawn_folder(const struct node_call *call, const char *name, char *out, struct err *e)
{
    char runs[PATH_MAX_BYTES];
    if (!spawn_is_name(name))
        return err_set(e, ERR_ARG, "%s: want a plain name, without slashes", name);
    return path_join(runs, call_host(call)->output, "runs", e) && folder_make(runs, e) && path_join(out, runs, name, e);
}

bool spawn_publish(const struct node_call *call, const char *folder, const char *name, const char *target, struct err *e)
{
    char below[PATH_MAX_BYTES], path[PATH_MAX_BYTES], fresh[PATH_MAX_BYTES], whole[PATH_MAX_BYTES];
    if (!path_join(below, call_host(call)->output, folder, e) || !folder_make(below, e) || !path_join(path, below, name, e) ||
        !path_join(fresh, below, path_of(".%s.%ld", name, (long)getpid()).s, e))
        return false;
    if (!realpath(target, whole))
        return err_errno(e, "%s", target);
    struct stat s;
    if (!lstat(path, &s) && !S_ISLNK(s.st_mode))
        return err_set(e, ERR_ARG, "%s is there already, and no link: choose another name", path);
    unlink(fresh);
    if (symlink(whole, fresh) || rename(fresh, path)) {
        err_errno(e, "%s", path);
        unlink(fresh);
        return false;
    }
    return true;
}

/* Starts it, with what it says in the file `log`. -1 with e set. */
static pid_t start(const struct spawn_line *l, const char *log, struct err *e)
{
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = out >= 0 && nothing >= 0 ? fork() : -1;
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGINT); /* it saves, when the server dies */
        signal(SIGINT, SIG_DFL);
        dup2(nothing, 0);
        dup2(out, 1);
        dup2(out, 2);
        execv("/proc/self/exe", (char *const *)(uintptr_t)l->words);
        _exit(127);
    }
    if (child < 0)
        err_set(e, ERR_IO, "limn %s cannot be started: %s", l->words[1], strerror(errno));
    if (out >= 0)
        close(out);
    if (nothing >= 0)
        close(nothing);
    return child;
}

enum { TAIL = 4096 };

/* The last bytes of a file as text, without the last line where it is not whole. */
static void tail_of(const char *path, char tail[TAIL + 1])
{
    *tail = 0;
    FILE *f = fopen(path, "rb");
    if (!f)
        return;
    long size = !fseek(f, 0, SEEK_END) ? ftell(f) : 0;
    size_t n = size > 0 && !fseek(f, size > TAIL ? -TAIL : -size, SEEK_END) ? fread(tail, 1, TAIL, f) : 0;
    fclose(f);
    while (n && tail[n - 1] != '\n')
        n--;
    tail[n ? n - 1 : 0] = 0;
}

/* The step in the last whole line of metrics.jsonl; 0: none yet. */
static int64_t step_of(const char *metrics)
{
    char tail[TAIL + 1];
    tail_of(metrics, tail);
    const char *line = strrchr(tail, '\n'), *step = strstr(line ? line : tail, "\"step\":");
    return step ? strtoll(step + 7, NULL, 10) : 0;
}

/* The last "12/20" that a progress bar wrote; false: none. */
static bool count_of(const char *log, int64_t *done, int64_t *total)
{
    char tail[TAIL + 1];
    tail_of(log, tail);
    for (char *at = tail + strlen(tail); at-- > tail;) {
        if (*at != '/' || at == tail || at[-1] < '0' || at[-1] > '9' || at[1] < '0' || at[1] > '9')
            continue;
        char *first = at;
        while (first > tail && first[-1] >= '0' && first[-1] <= '9')
            first--;
        *done = strtoll(first, NULL, 10);
        *total = strtoll(at + 1, NULL, 10);
        return *total > 0 && *done <= *total && (first == tail || first[-1] == ' ');
    }
    return false;
}

/* Waits for it; a stop ends it. */
static bool wait_for(struct node_call *call, pid_t child, const char *log, const char *metrics, int64_t steps, int *status, struct err *e)
{
    double asked = 0;
    int64_t told = -1;
    pid_t done;
    while (!(done = waitpid(child, status, WNOHANG))) {
        struct err stop = { 0 };
        int64_t step = metrics ? step_of(metrics) : told, total = steps;
        if (!metrics && !count_of(log, &step, &total))
            step = told;
        bool go = step == told ? stop_check(&stop) : node_progress(call, told = step, total, NULL, &stop);
        if (!go && !asked) {
            *e = stop;
            asked = clock_seconds();
            kill(child, SIGINT);
        }
        if (asked && clock_seconds() - asked > 10)
            kill(child, SIGKILL);
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
    return done == child ? !asked : err_set(e, ERR_IO, "a program cannot be waited for: %s", strerror(errno));
}

bool spawn_run(struct node_call *call, const struct spawn_line *l, const char *log, const char *metrics, int64_t steps, struct text *said,
                 struct err *e)
{
    struct text own;
    struct err ignored = { 0 };
    char *data = NULL;
    size_t bytes = 0;
    int status = 0;
    if (l->count >= SPAWN_MOST_WORDS)
        return err_set(e, ERR_LIMIT, "limn %s: more than %d words", l->words[1], SPAWN_MOST_WORDS);
    pid_t child = start(l, log, e);
    if (child < 1 || !wait_for(call, child, log, metrics, steps, &status, e))
        return false;
    text_init(&own, 2 << 20);
    if (file_read(log, 1 << 20, &data, &bytes, &ignored))
        while (bytes && data[bytes - 1] == '\n')
            data[--bytes] = 0;
    text_add(said ? said : &own, data ? data : "");
    mem_free(data);
    bool good = text_ok(said ? said : &own, e);
    if (good && (!WIFEXITED(status) || WEXITSTATUS(status)))
        good = err_set(e, ERR_BACKEND, "limn %s %s failed: %s", l->words[1], l->count > 2 ? l->words[2] : "", text_string(said ? said : &own));
    text_release(&own);
    return good;
}
