#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/progress.h"

extern char **environ;

enum { OUT, ERROR, STREAMS, POLL_MS = 100 };

struct child {
    pid_t pid;
    int from[STREAMS]; /* -1: closed */
    char last[200];    /* the last line of stderr, as far as it came */
    size_t last_bytes;
};

/* The child leads a process group, so that what it starts ends with it. */
static bool start(struct child *c, const char *line, const char *argument, struct err *e)
{
    char script[4096];
    int ends[STREAMS][2] = { { -1, -1 }, { -1, -1 } };
    if (snprintf(script, sizeof script, "%s \"$1\"", line) >= (int)sizeof script)
        return err_set(e, ERR_LIMIT, "a command of more than %zu bytes", sizeof script);
    char *const argv[] = { "sh", "-c", script, "sh", (char *)(uintptr_t)argument, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGPIPE);
    bool good = pipe2(ends[OUT], O_CLOEXEC) == 0 && pipe2(ends[ERROR], O_CLOEXEC) == 0;
    if (!good)
        err_errno(e, "cannot run %s", line);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    if (good) {
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[OUT][1], 1);
        posix_spawn_file_actions_adddup2(&actions, ends[ERROR][1], 2);
        posix_spawnattr_setpgroup(&attributes, 0);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &defaults);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        errno = posix_spawn(&c->pid, "/bin/sh", &actions, &attributes, argv, environ);
        good = errno == 0 || err_errno(e, "cannot run %s", line);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    for (int i = 0; i < STREAMS; i++) {
        if (ends[i][1] >= 0)
            close(ends[i][1]);
        if (!good && ends[i][0] >= 0)
            close(ends[i][0]);
        c->from[i] = ends[i][0];
    }
    return good;
}

/* Keeps the last line that is not empty. */
static void note_errors(struct child *c, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (c->last_bytes && c->last[c->last_bytes - 1] == '\n' && data[i] != '\n')
            c->last_bytes = 0;
        if (c->last_bytes + 1 < sizeof c->last && (data[i] != '\n' || (c->last_bytes && c->last[c->last_bytes - 1] != '\n')))
            c->last[c->last_bytes++] = data[i];
    }
}

/* False when both streams have ended. */
static bool read_some(struct child *c, struct text *out)
{
    struct pollfd polls[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        polls[i] = (struct pollfd){ .fd = c->from[i], .events = POLLIN };
    if (poll(polls, STREAMS, POLL_MS) <= 0)
        return true;
    for (int i = 0; i < STREAMS; i++) {
        char buffer[4096];
        if (!polls[i].revents)
            continue;
        ssize_t n = read(c->from[i], buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(c->from[i]);
            c->from[i] = -1;
        } else if (i == OUT) {
            text_add_bytes(out, buffer, (size_t)n);
        } else {
            note_errors(c, buffer, (size_t)n);
        }
    }
    return c->from[OUT] >= 0 || c->from[ERROR] >= 0;
}

bool command_ask(const char *line, const char *argument, double limit_seconds, struct text *out, struct err *e)
{
    struct child c = { .from = { -1, -1 } };
    if (!start(&c, line, argument, e))
        return false;
    double begun = clock_seconds();
    int status = 0;
    bool late = false, ended = false, open = true;
    /* a stream may stay open behind it (a child in the background), and it may go on when it has closed both */
    while (!ended && !late && !stop_requested() && !out->failed) {
        open = open && read_some(&c, out);
        late = clock_seconds() - begun > limit_seconds;
        ended = waitpid(c.pid, &status, WNOHANG) == c.pid;
        if (!ended && !open)
            poll(NULL, 0, 5);
    }
    while (ended && open && !out->failed) { /* what is still in the pipes */
        struct pollfd polls[STREAMS] = { { .fd = c.from[OUT], .events = POLLIN }, { .fd = c.from[ERROR], .events = POLLIN } };
        if (poll(polls, STREAMS, 0) <= 0)
            break;
        open = read_some(&c, out);
    }
    kill(-c.pid, SIGKILL);
    if (!ended)
        waitpid(c.pid, &status, 0);
    for (int i = 0; i < STREAMS; i++)
        if (c.from[i] >= 0)
            close(c.from[i]);
    c.last[strcspn(c.last, "\n")] = 0;
    if (!ended && !late && !out->failed)
        return stop_check(e) || err_set(e, ERR_IO, "%s: was stopped", line);
    if (out->failed)
        return err_set(e, ERR_LIMIT, "%s: an answer of more than %zu bytes", line, out->max_bytes);
    if (!ended)
        return err_set(e, ERR_IO, "%s: took more than %g s%s%s", line, limit_seconds, c.last[0] ? ": " : "", c.last);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_IO, "%s: ended by signal %d%s%s", line, WTERMSIG(status), c.last[0] ? ": " : "", c.last);
    if (WEXITSTATUS(status))
        return err_set(e, ERR_IO, "%s: ended with status %d%s%s", line, WEXITSTATUS(status), c.last[0] ? ": " : "", c.last);
    return true;
}
