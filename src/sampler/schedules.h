/* The noise levels (sigmas) that a run of ComfyUI's samplers goes through: falling f32 numbers, of which the last is the
 * level that the run ends at, 0 unless said otherwise. A schedule chooses them for a number of steps. */
#ifndef LIMN_SAMPLER_SCHEDULES_H
#define LIMN_SAMPLER_SCHEDULES_H

#include "sampler/noise_schedule.h"

struct sigmas {
    double *at; /* [count] owned, f32 values */
    int64_t count;
};
void sigmas_release(struct sigmas *s);

/* The table for flags, help and forms; ends with a NULL name. */
struct schedule_name {
    const char *name, *help;
};
extern const struct schedule_name schedule_names[];

/* The sigmas of ComfyUI's schedule of that name, with the 0 at the end: those of int(steps / denoise) steps, for denoise in
 * (0, 1], of which the last steps + 1 are kept: the node BasicScheduler. There can be fewer: ddim_uniform has a stride of whole
 * training timesteps, and beta leaves out a level that comes twice. (A sampler's run with denoise 1 keeps all that there are:
 * ddim_uniform can have more than steps.)
 * errors  ERR_ARG (an unknown name, steps or denoise out of range, `simple` with more levels than the model has), ERR_NOMEM;
 *         out then holds nothing. */
MUST_USE bool schedule_sigmas(struct sigmas *out, const struct noise_schedule *n, const char *name, int64_t steps,
                              double denoise, struct err *e);

/* The schedules that ComfyUI has only as nodes, with their settings; the same errors, and ERR_ARG for a level that is no
 * number. All end with the 0 but laplace, which ends at `least`.
 * source  Karras et al. 2022, eq. 5 (karras), k-diffusion (exponential, polyexponential, vp), Hang et al. 2024, "Improved
 *         Noise Schedule for Diffusion Training" (laplace), Lee et al. 2024, "Beta Sampling is All You Need" (beta). */
MUST_USE bool sigmas_karras(struct sigmas *out, int64_t steps, double most, double least, double rho, struct err *e);
MUST_USE bool sigmas_exponential(struct sigmas *out, int64_t steps, double most, double least, struct err *e);
MUST_USE bool sigmas_polyexponential(struct sigmas *out, int64_t steps, double most, double least, double rho, struct err *e);
MUST_USE bool sigmas_laplace(struct sigmas *out, int64_t steps, double most, double least, double mu, double beta,
                             struct err *e);
MUST_USE bool sigmas_vp(struct sigmas *out, int64_t steps, double beta_d, double beta_min, double eps, struct err *e);
/* Levels of the model at quantiles of the Beta(alpha, beta) distribution, both above 0. */
MUST_USE bool sigmas_beta(struct sigmas *out, const struct noise_schedule *n, int64_t steps, double alpha, double beta,
                          struct err *e);
/* Timesteps 999, 899, ... 99 of which the first 10 - int(10 denoise) are left out, at most `steps` of the others. */
MUST_USE bool sigmas_sd_turbo(struct sigmas *out, const struct noise_schedule *n, int64_t steps, double denoise,
                              struct err *e);

/* The level at a training timestep that may be a fraction: linear in log sigma between whole ones, held at the ends. */
double schedule_sigma_at(const struct noise_schedule *n, double timestep);
/* The whole training timestep whose level is nearest in log sigma: what ComfyUI tells the model. */
int64_t schedule_timestep_of(const struct noise_schedule *n, double sigma);

#endif
