#include "base/progress.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>

void progress_step(const struct progress *p, const char *what, long done, long total, const char *note)
{
    if (p && p->step)
        p->step(p->self, what, done, total, note);
}

void progress_line(const struct progress *p, const char *format, ...)
{
    if (!p || !p->line)
        return;
    char text[8000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->line(p->self, text);
}

static volatile sig_atomic_t stopping;
static _Thread_local const atomic_bool *watched;

static void on_signal(int number)
{
    stopping = 1;
    signal(number, SIG_DFL); /* the second one ends the process */
}

void stop_on_signals(void)
{
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

const atomic_bool *stop_watch(const atomic_bool *flag)
{
    const atomic_bool *before = watched;
    watched = flag;
    return before;
}

bool stop_requested(void)
{
    return stopping || (watched && atomic_load_explicit((atomic_bool *)(uintptr_t)watched, memory_order_relaxed));
}

void stop_request(void)
{
    stopping = 1;
}

void stop_forget(void)
{
    stopping = 0;
}

bool stop_check(struct err *e)
{
    return !stop_requested() || err_set(e, ERR_STOPPED, "stopped");
}
