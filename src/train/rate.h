/* How the learning rate moves over a run: a warm-up, then a schedule. */
#ifndef LIMN_TRAIN_RATE_H
#define LIMN_TRAIN_RATE_H

#include <stdint.h>

/* One table: constant, name, what it multiplies the rate with after the warm-up, with p = 0..1 the share of the steps that is done:
 *   constant  1              linear  1 - p              cosine  (1 + cos pi p) / 2
 *   restarts  (1 + cos pi q) / 2, q the fraction of cycles * p: the cosine again and again
 *   polynomial  (1 - p)^power
 * All but constant are then drawn from 1..0 to 1..final. As get_scheduler of transformers and diffusers, where final is 0 (of
 * polynomial 1e-7 / rate); but there the warm-up begins with a step at rate 0, here with the step after it. */
enum rate_schedule { RATE_CONSTANT, RATE_LINEAR, RATE_COSINE, RATE_RESTARTS, RATE_POLYNOMIAL, RATE_SCHEDULES };
extern const char *const rate_schedule_names[RATE_SCHEDULES + 1];

struct rate_options {
    enum rate_schedule schedule;
    int64_t steps, warmup; /* of the whole run; in which the rate rises linearly */
    double final;          /* where it ends, as a share of the rate */
    double cycles;         /* restarts: how often the cosine begins; 0: once */
    double power;          /* polynomial; 0: 1 */
};

/* What the rate is multiplied with at step (0 is the first). */
double rate_factor(const struct rate_options *o, int64_t step);

#endif
