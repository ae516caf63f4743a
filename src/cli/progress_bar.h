/* A bar on stderr for struct progress: name, bar, count, speed, time left, memory and note. On a terminal it
 * is redrawn at most 10 times a second; elsewhere a plain line comes about every tenth of the work or every
 * 10 s, so that a log stays readable. */
#ifndef LIMN_CLI_PROGRESS_BAR_H
#define LIMN_CLI_PROGRESS_BAR_H

#include <stdio.h>

#include "base/progress.h"

/* Used by one thread at a time. */
struct progress_bar {
    FILE *out; /* NULL: quiet, nothing is written */
    bool terminal, utf8;
    int columns;
    double (*now)(void); /* seconds; a test puts its own clock here */
    char what[64];       /* the work in hand; "" before the first step */
    long done, total;
    char note[96];
    double begun, last, shown; /* when this work began, its last step came, a line was last written */
    long begun_done, shown_done;
    double seconds_each; /* smoothed; 0: not known yet */
    bool open;           /* the terminal's line is not ended */
};

/* Writes to stderr; quiet: to nowhere. */
void progress_bar_init(struct progress_bar *bar, bool quiet);
/* What a worker gets. Borrows bar. */
struct progress progress_bar_steps(struct progress_bar *bar);
/* Ends an open line, so that other text may follow. Call it before printing and at the end. */
void progress_bar_end(struct progress_bar *bar);

#endif
