/* Long work as a process of its own: the program runs itself, as `limn train lora`, so that the work has memory of its own, and ends in its
 * own way, a training with a checkpoint, when the flow is cancelled or the server goes. */
#ifndef LIMN_FLOW_NODES_SPAWN_H
#define LIMN_FLOW_NODES_SPAWN_H

#include "base/file.h"
#include "base/text.h"
#include "flow/node.h"

enum { SPAWN_MOST_WORDS = 128, SPAWN_WORD_BYTES = 64 };

/* A command line. Begins empty ({ 0 }); words beyond the most are left out, and spawn_run then fails. */
struct spawn_line {
    const char *words[SPAWN_MOST_WORDS + 1]; /* borrowed, or of `made` */
    char made[SPAWN_MOST_WORDS][SPAWN_WORD_BYTES];
    int count;
};
/* An option with its value (NULL: none), or a word alone. Borrowed. */
void spawn_add(struct spawn_line *l, const char *option, const char *value);
void spawn_add_number(struct spawn_line *l, const char *option, double value);

/* Where a run's files are: names of one folder each. */
bool spawn_is_name(const char *name);

/* Runs it to its end, with all that it says in the file `log`, and tells the node's progress: the steps in the last line of `metrics` (a
 * run's metrics.jsonl) of `steps`, or, metrics NULL, the last "12/20" in the log. A stop ends it by SIGINT, with 10 seconds to save.
 * said (may be NULL) gets what it said, at most a MiB.
 * errors  ERR_STOPPED, ERR_IO, ERR_LIMIT; ERR_BACKEND with the program's own words if it failed. */
MUST_USE bool spawn_run(struct node_call *call, const struct spawn_line *l, const char *log, const char *metrics, int64_t steps,
                          struct text *said, struct err *e);

/* output/runs/NAME of the user's, with runs/ made; ERR_ARG if the name is none. */
MUST_USE bool spawn_folder(const struct node_call *call, const char *name, char *out, struct err *e);
/* output/folder/name: a link to a file or folder, in place of one that is there; so loaders find what a training made. */
MUST_USE bool spawn_publish(const struct node_call *call, const char *folder, const char *name, const char *target, struct err *e);

#endif
