/* How long a fine-tuning will take, told before it begins. */
#ifndef LIMN_CLI_FINETUNE_TIME_H
#define LIMN_CLI_FINETUNE_TIME_H

#include "train/finetune.h"
#include "train/samples.h"

/* About: the operations of a step, by the speed of one convolution and one product of a denoiser's size, which are timed now (a fifth of a
 * second each). Small models take longer than it says, since their operations are not what costs. samples: whose shapes have their shares;
 * NULL: there is one shape. */
MUST_USE bool finetune_time(const struct finetune *f, const struct finetune_options *o, const struct samples *samples,
                            const struct backend *backend, double *seconds_per_step, struct err *e);

#endif
