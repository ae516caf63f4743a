/* What a training run learnt from and made, into the gallery's lineage. */
#ifndef LIMN_JOBS_LEARN_H
#define LIMN_JOBS_LEARN_H

#include "base/progress.h"
#include "store/gallery.h"

struct learnt_count {
    int64_t pictures, weights; /* that are noted now */
};
/* Reads the folder of a run (train/trainer.h): config.json, the data set that it names, and every file of weights that it wrote, whose
 * step is in its name or the run's last. Files are read whole for their hashes. What was noted of this run before is replaced. A
 * data set that is not there any more is told (progress) and left out.
 * errors  ERR_MISSING (no run: it has no config.json), ERR_FORMAT, ERR_IO, ERR_STOPPED; then nothing is changed. */
MUST_USE bool learn_run(struct store *s, const char *folder, const struct progress *progress, struct learnt_count *count, struct err *e);

#endif
