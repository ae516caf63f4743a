/* Between the plans of the diffusers classes (diffusers_plan.c) and their steps: diffusers_steps.c, multistep.c, diffusers_more.c
 * (the classes that are asked for less often). */
#ifndef LIMN_SAMPLER_DIFFUSERS_INTERNAL_H
#define LIMN_SAMPLER_DIFFUSERS_INTERNAL_H

#include "sampler/sampler_internal.h"

bool diffusers_plan_ddim(struct sampler *s, struct err *e);
bool diffusers_plan_pndm(struct sampler *s, struct err *e);
bool diffusers_plan_few(struct sampler *s, struct err *e); /* LCM and TCD */
/* Euler, EulerAncestral, Heun, KDPM2, LMS, DPM, DEIS and UniPC: fills sigmas[steps + 1] of the whole run. */
bool diffusers_plan_sigmas(struct sampler *s, struct err *e);

/* abar at a timestep of DDIM and PNDM; below 0 the final one. */
double diffusers_abar(const struct sampler *s, int64_t t);
/* Where an ancestral step from one sigma to another goes without noise, and how much noise it then takes: in f32, whose
 * differences can be seen in a long step. */
float diffusers_down(float from, float to, float *up);
/* x0 clipped as the config says. */
void diffusers_clip(const struct sampler *s, float *x0);

/* A point of the variance preserving form x = alpha x0 + sigma noise, alpha^2 + sigma^2 = 1. */
struct point {
    double alpha, sigma, lambda; /* lambda = log(alpha / sigma), infinite at sigma 0 */
};
struct point point_at(const struct sampler *s, int64_t index); /* of s->sigmas */

/* multistep.c: DPM-Solver. The output as what the algorithm integrates: x0 for the "++" ones, the noise for the plain ones. s->x0
 * is set either way. */
MUST_USE bool dpm_convert(struct sampler *s, struct point p, const float *output, float *to, struct err *e);
/* Factors of one step from `from` to `to`: x_t = x * keep + D0 * first + D1 * second + D2 * third + noise; midpoint stands for
 * second in that solver type. */
struct dpm_factors {
    double keep, first, midpoint, second, third, noise;
};
struct dpm_factors dpm_factors_of(enum dpm_algorithm algorithm, struct point from, struct point to);

#endif
