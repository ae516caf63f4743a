/* Between the plans of the diffusers classes (diffusers_plan.c) and their steps (diffusers_steps.c,
 * multistep.c). */
#ifndef LIMN_SAMPLER_DIFFUSERS_INTERNAL_H
#define LIMN_SAMPLER_DIFFUSERS_INTERNAL_H

#include "sampler/sampler_internal.h"

bool diffusers_plan_ddim(struct sampler *s, struct err *e);
bool diffusers_plan_pndm(struct sampler *s, struct err *e);
/* Euler, EulerAncestral, Heun, LMS, DPM and UniPC: fills sigmas[steps + 1] of the whole run. */
bool diffusers_plan_sigmas(struct sampler *s, struct err *e);

/* abar at a timestep of DDIM and PNDM; below 0 the final one. */
double diffusers_abar(const struct sampler *s, int64_t t);

#endif
