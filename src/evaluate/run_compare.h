/* Several training runs side by side: their losses, what was asked of them where they differ, and their samples. */
#ifndef LIMN_EVALUATE_RUN_COMPARE_H
#define LIMN_EVALUATE_RUN_COMPARE_H

#include "evaluate/findings.h"

enum { RUN_COMPARE_MOST = 8, RUN_COMPARE_SAMPLES = 12 }; /* runs; steps whose samples are shown */

/* Into f: curves of the loss and of the held-out loss, the table "runs" (the lowest held-out loss, or else the lowest last loss, is
 * marked), "settings" (options that are not the same everywhere), "samples" (with_pictures: else only their names). Reads
 * metrics.jsonl, config.json and samples/ of each folder; a run may be going on.
 * errors  ERR_ARG for more than RUN_COMPARE_MOST; ERR_IO, ERR_FORMAT of a folder's files. */
MUST_USE bool run_compare(struct findings *f, const char *const *folders, size_t count, bool with_pictures, struct err *e);
/* One picture of it: the curves, and below them the last sample of each run. Written whole or not at all. */
MUST_USE bool run_compare_png(const char *path, const char *const *folders, size_t count, struct err *e);

#endif
