/* What ComfyUI's samplers share, on k-diffusion sigmas (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based
 * Generative Models"): x = x0 + sigma noise, the model gets x / sqrt(sigma^2 + 1) and the nearest training timestep. Sigmas are
 * f32 numbers, the factors of a step are computed from them in double. A file holds a family of methods:
 * k_single.c one step at a time, k_multistep.c with a memory of steps before, k_stochastic.c integrals of a stochastic equation,
 * k_cfg_pp.c CFG++, k_dpm_solver.c DPM-Solver fast and adaptive; k_plan.c plans them all. */
#ifndef LIMN_SAMPLER_K_INTERNAL_H
#define LIMN_SAMPLER_K_INTERNAL_H

#include "sampler/sampler_internal.h"

/* k_plan.c */
/* The plan of every sampler here: the run's sigmas, its calls, and how it begins. */
MUST_USE bool k_plan(struct sampler *s, struct err *e);
/* Fills a call of the plan for x at noise level sigma. */
void k_plan_call(const struct sampler *s, struct planned_call *call, double sigma);

/* The call at hand: call `stage` of step i, which goes from one sigma to the next; x is at level `sigma`. */
struct k_call {
    int64_t i;
    int stage;
    double from, to, sigma;
};

static inline struct k_call k_call(const struct sampler *s)
{
    const struct planned_call *p = s->planned + s->call;
    return (struct k_call){ p->step, p->stage, s->sigmas[p->step], s->sigmas[p->step + 1], p->sigma };
}

/* s->x0 = what the output says of x at noise level sigma. */
static inline void k_x0(struct sampler *s, double sigma, const float *output)
{
    sampler_x0_from_ve(s, sigma, output, s->x0);
}

/* slope = (x - x0) / sigma, the derivative of x by sigma; after k_x0. */
static inline void k_slope(const struct sampler *s, double sigma, float *slope)
{
    COMBINE(s, slope, { 1 / sigma, s->x }, { -1 / sigma, s->x0 });
}

/* The last step of most samplers, to no noise at all. */
static inline bool k_end_at_x0(struct sampler *s)
{
    COMBINE(s, s->x, { 1, s->x0 });
    return true;
}

/* A step from noise level `from` to `to` as a step without noise to `down` and fresh noise of size `up`. */
struct ancestral {
    double down, up;
};

static inline struct ancestral ancestral(double from, double to, double eta)
{
    double up = fmin(to, eta * sqrt(to * to * (from * from - to * to) / (from * from)));
    return (struct ancestral){ eta > 0 ? sqrt(to * to - up * up) : to, eta > 0 ? up : 0 };
}

/* s->drawn = fresh normal noise of the sampler's own generator. */
static inline void k_draw(struct sampler *s)
{
    sampler_draw(s, &s->own_noise);
    if (s->spec.noise_strength > 0 && s->spec.noise_strength != 1)
        COMBINE(s, s->drawn, { s->spec.noise_strength, s->drawn });
}

/* s->drawn = the increment of the run's Brownian tree from level `from` down to `to`; *factor makes it normal noise. */
MUST_USE static inline bool k_draw_tree(struct sampler *s, double from, double to, double *factor, struct err *e)
{
    double least = s->sigmas[s->sigma_count - 1], most = s->sigmas[0], low = f32(to), high = f32(from);
    if (least <= 0)
        least = s->sigmas[s->sigma_count - 2];
    /* The tree runs upwards in sigma, the steps downwards. */
    *factor = -1 / sqrt(f32(high - low)) * (s->spec.noise_strength > 0 ? s->spec.noise_strength : 1);
    return brownian_increment(s->spec.seed, s->method->cuda_tree, least, most, low, high, s->drawn, s->count, e);
}

/* k_multistep.c: what RES moves from the x0 at hand to that of the step before, in step i (not the first) with this eta. */
double res_second(const struct sampler *s, int64_t i, double eta);

/* Steps with two calls (struct sampler_method, stages), the second in the middle, in log sigma, of the step, or of its part without
 * noise; one call where there is no middle. */
int k_stages_midpoint(const struct sampler *s, int64_t i, double *sigmas);
int k_stages_ancestral(const struct sampler *s, int64_t i, double *sigmas);
/* The second where spec.middle says. */
int k_stages_sde(const struct sampler *s, int64_t i, double *sigmas);

#endif
