/* What a denoiser is taught: which timesteps, how much noise, what it shall say of it, and how a mistake counts. Host arithmetic and
 * the loss as a graph; what the prediction means (noise, v, x0) is the scheduler's. */
#ifndef LIMN_TRAIN_OBJECTIVE_H
#define LIMN_TRAIN_OBJECTIVE_H

#include "base/random.h"
#include "sampler/noise_schedule.h"
#include "train/batch.h"

/* One table each: constant, name as a user types it. */
enum objective_loss {
    LOSS_MSE,    /* d^2 */
    LOSS_L1,     /* |d| */
    LOSS_HUBER,  /* pseudo-Huber, 2 c (sqrt(d^2 + c^2) - c): near MSE for d far below c, near 2 c |d| far above */
    LOSS_KINDS
};
extern const char *const objective_loss_names[LOSS_KINDS + 1];
enum objective_timesteps {
    TIMESTEPS_UNIFORM,
    TIMESTEPS_LOGIT_NORMAL, /* sigmoid of a normal (Esser et al. 2024, "Scaling Rectified Flow Transformers ...", eq. 19) */
    TIMESTEPS_KINDS
};
extern const char *const objective_timesteps_names[TIMESTEPS_KINDS + 1];

struct objective_options {
    enum objective_loss loss;
    double huber;          /* c of LOSS_HUBER */
    enum objective_timesteps timesteps;
    double logit_mean, logit_deviation;
    double least, most;    /* the range of timesteps, as shares of all: [0, 1] is all */
    bool one_timestep;     /* the whole batch has the same, as DiffSynth's trainer draws it */
    double min_snr;        /* gamma; 0: off */
    double noise_offset;   /* adds so much of one normal per sample and channel to its noise (Guttenberg 2023); 0: off */
    bool zero_snr;         /* the schedule is rescaled to zero terminal SNR, whatever the scheduler's file says */
};
/* Plain: MSE, all timesteps alike. */
extern const struct objective_options objective_plain;

struct objective {
    struct objective_options o;
    struct noise_schedule noise;
};
/* errors  ERR_ARG (a range that is empty; zero terminal SNR with a denoiser that says the noise: the last timestep teaches it
 *         nothing), those of noise_schedule_init. Release with objective_release. */
MUST_USE bool objective_init(struct objective *j, const struct objective_options *o, const struct scheduler_config *scheduler,
                             struct err *e);
void objective_release(struct objective *j);

/* A timestep of the range. */
int64_t objective_timestep(const struct objective *j, struct random *r);
/* Noise of one sample, [cells, channels]. */
void objective_noise(const struct objective *j, struct random *r, float *noise, int64_t cells, int64_t channels);

/* The batch as the program has it: noisy and target [n, h, w, channels], weight [n], timestep [n] in f32. */
void objective_apply(const struct objective *j, const struct batch *b, float *noisy, float *target, float *timestep, float *weight);

/* Mean over the batch of weight * mean over places and channels of mask * loss(prediction - target): one f32 number. prediction any
 * type [n, h, w, c], target f32 of its shape, weight f32 [n], mask f32 [n, h, w, 1] or VALUE_NONE. */
struct value objective_graph(const struct objective_options *o, struct graph *g, struct value prediction, struct value target,
                             struct value weight, struct value mask);

#endif
