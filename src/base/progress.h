/* How long work tells the outside that it goes on, and how the outside stops it. The worker calls progress_step; what
 * draws a bar, sends an event or does nothing is the caller's (cli/, serve/). */
#ifndef LIMN_BASE_PROGRESS_H
#define LIMN_BASE_PROGRESS_H

#include <stdatomic.h>

#include "base/err.h"

struct progress {
    /* `done` of `total` units (total 0: unknown) of the work called `what`; `note` (may be NULL) is a short text such
     * as "loss 0.1234". Called from the working thread; must not block. NULL: silent. */
    void (*step)(void *self, const char *what, long done, long total, const char *note);
    /* A whole line for people, above the bar. NULL: silent. */
    void (*line)(void *self, const char *text);
    void *self;
};

void progress_step(const struct progress *p, const char *what, long done, long total, const char *note);
void progress_line(const struct progress *p, const char *format, ...) PRINTF_LIKE(2, 3);

/* The user's wish to stop (Ctrl-C, SIGTERM). stop_on_signals installs the handlers; a second signal ends the process
 * at once. */
void stop_on_signals(void);
bool stop_requested(void);
void stop_request(void); /* as if a signal had come: for tests and servers */
void stop_forget(void);
/* From now on a true *flag, which other threads may set, counts as a stop in the calling thread, and in no other: the cancel of one
 * job among several. Borrowed; NULL: none any more. Returns the flag that was watched before. */
const atomic_bool *stop_watch(const atomic_bool *flag);
/* False with ERR_STOPPED if a stop was asked for. */
MUST_USE bool stop_check(struct err *e);

#endif
