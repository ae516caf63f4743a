/* A run's numbers: metrics.jsonl (a line per logged step), the same as a TensorBoard event file (events.h), and curve.png. */
#ifndef LIMN_TRAIN_METRICS_H
#define LIMN_TRAIN_METRICS_H

#include <jansson.h>
#include <stdint.h>

#include "base/file.h"

struct metric {
    int64_t step;
    double loss, rate, grad_norm, seconds, pictures_per_second;
    double held_out; /* the loss on what was held out; NAN: not measured at this step */
};

struct metrics {
    char jsonl[PATH_MAX_BYTES], events[PATH_MAX_BYTES], curve[PATH_MAX_BYTES];
    double epoch; /* seconds since 1970 at which the run would have begun without pauses */
    struct metric *at; /* all that the file holds */
    size_t count, cap;
};

/* The numbers of a finished or broken run alone: nothing is written. */
MUST_USE bool metrics_read(struct metrics *m, const char *folder, struct err *e);
/* Reads what is there and drops lines after `step` (a run that goes on from there writes them anew, with the same
 * numbers). A line that was cut off by a crash is dropped too. The event file is made anew from what stays. seconds: the run's
 * so far. */
MUST_USE bool metrics_open(struct metrics *m, const char *folder, int64_t step, double seconds, struct err *e);
void metrics_close(struct metrics *m);
/* Appends; `more` (NULL: nothing) is an object whose members join the line. */
MUST_USE bool metrics_add(struct metrics *m, const struct metric *one, const json_t *more, struct err *e);
const struct metric *metrics_last(const struct metrics *m); /* NULL: none */
MUST_USE bool metrics_plot(const struct metrics *m, struct err *e);

#endif
