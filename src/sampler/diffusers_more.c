/* The steps of diffusers' DPMSolverSinglestep, KDPM2Discrete, KDPM2AncestralDiscrete, DEISMultistep, DDPM, LCM and TCD schedulers. */
#include <math.h>

#include "sampler/diffusers_internal.h"

/* --- DPM-Solver in steps of up to three calls, each of which is a timestep and a whole step of diffusers' --- */

/* The order of the update at point i of the run: 1 2, or 1 2 3, again and again, lower at the end. */
static int single_order(const struct sampler *s, int64_t i)
{
    const struct scheduler_config *c = &s->config;
    int64_t steps = s->steps, most = c->solver_order;
    bool lower = c->lower_order_final || steps % most != 0 || !c->final_sigma_min;
    if (most == 1 || (i == steps - 1 && !c->final_sigma_min))
        return 1;
    if (lower && most == 2)
        return i % 2 == 0 || i == steps - 1 ? 1 : 2;
    if (lower && steps % 3 == 0 && i == steps - 1) /* ... 1 2 3, 1 2, 1 */
        return 1;
    return (int)(i % most) + 1;
}

static bool take_single(struct sampler *s, const float *output, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t at = s->first + s->call;
    float *m0 = sampler_history_push(s, c->solver_order);
    if (!dpm_convert(s, point_at(s, at), output, m0, e))
        return false;
    if (c->algorithm == DPM_SDE_PLUS)
        sampler_draw(s, s->noise);
    int order = single_order(s, at);
    if (order > s->history_count) /* after a start midway */
        order = s->history_count;
    if (order == 1)
        COMBINE(s, s->saved, { 1, s->x });
    struct point from = point_at(s, at - order + 1), to = point_at(s, at + 1);
    struct dpm_factors f = dpm_factors_of(c->algorithm, from, to);
    const float *m1 = s->history[1], *m2 = s->history[2];
    double h = to.lambda - from.lambda, r0 = (point_at(s, at).lambda - from.lambda) / h;
    if (order == 1) {
        COMBINE(s, s->x, { f.keep, s->saved }, { f.first, m0 }, { f.noise, s->drawn });
    } else if (order == 2) {
        double slope = (c->solver == SOLVER_HEUN ? f.second : f.midpoint) / r0;
        COMBINE(s, s->x, { f.keep, s->saved }, { f.first - slope, m1 }, { slope, m0 }, { f.noise, s->drawn });
    } else {
        /* D1_0 = (m1 - m2) / r1, D1_1 = (m0 - m2) / r0, D1 = (r0 D1_0 - r1 D1_1) / (r0 - r1), D2 = 2 (D1_1 - D1_0) / (r0 - r1) */
        double r1 = (point_at(s, at - 1).lambda - from.lambda) / h, of_0 = 0, of_1 = f.second;
        if (c->solver == SOLVER_HEUN) {
            of_0 = (f.second * r0 - 2 * f.third) / (r0 - r1);
            of_1 = (2 * f.third - f.second * r1) / (r0 - r1);
        }
        COMBINE(s, s->x, { f.keep, s->saved }, { f.first - of_0 / r1 - of_1 / r0, m2 }, { of_0 / r1, m1 }, { of_1 / r0, m0 },
                { f.noise, s->drawn });
    }
    return true;
}

/* --- DPM-Solver-2 as k-diffusion has it --- */

static bool take_kdpm2(struct sampler *s, const float *output, struct err *e)
{
    const struct planned_call *call = &s->planned[s->call];
    bool ancestral = s->config.class == SCHEDULER_KDPM2_ANCESTRAL;
    float from = (float)s->sigmas[s->first + call->step], to = (float)s->sigmas[s->first + call->step + 1];
    double at = call->stage ? call->sigma : (double)from, up = 0, end = (double)to;
    sampler_x0_from_ve(s, at, output, s->x0);
    if (call->stage == 0) {
        double ratio = call->sigma / (double)from;
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    if (ancestral) {
        float part;
        end = (double)diffusers_down(from, to, &part);
        up = (double)part;
        sampler_draw(s, s->noise);
    }
    double step = (end - (double)from) / at;
    COMBINE(s, s->x, { 1, s->saved }, { step, s->x }, { -step, s->x0 }, { up, s->drawn });
    return true;
}

/* --- DEIS (Zhang and Chen 2022), polynomials in log rho, rho = sigma / alpha --- */

/* Antiderivative at t of the Lagrange polynomial that is 1 at log b and 0 at the other `order` - 1 of c and d. */
static double deis_antiderivative(double t, double b, double c, double d, int order)
{
    double lt = log(t), lb = log(b), lc = log(c), ld = log(d);
    if (order == 1)
        return t;
    if (order == 2)
        return t * (lt - 1 - lc) / (lb - lc);
    return t * (lt * lt - 2 * lt + 2 - (lc + ld) * (lt - 1) + lc * ld) / ((lb - lc) * (lb - ld));
}

static bool take_deis(struct sampler *s, const float *output, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t at = s->first + s->call, steps = s->first + s->planned_calls;
    struct point now = point_at(s, at), next = point_at(s, at + 1);
    sampler_x0_from_vp(s, now.alpha, now.sigma, output, s->x0);
    if (c->thresholding && !sampler_threshold(s, s->x0, e))
        return false;
    float *m0 = sampler_history_push(s, c->solver_order);
    COMBINE(s, m0, { 1 / now.sigma, s->x }, { -now.alpha / now.sigma, s->x0 });
    bool few = c->lower_order_final && steps < 15;
    int order = s->history_count < c->solver_order ? s->history_count : c->solver_order;
    if (few && at == steps - 1)
        order = 1;
    else if (few && at == steps - 2 && order > 2)
        order = 2;
    double rho[3] = { s->sigmas[at], order > 1 ? s->sigmas[at - 1] : 1, order > 2 ? s->sigmas[at - 2] : 1 };
    struct term terms[4] = { { next.alpha / now.alpha, s->x } };
    for (int j = 0; j < order; j++) {
        double b = rho[j], c1 = rho[j == 0 ? 1 : 0], d = rho[j == 2 ? 1 : 2];
        double part = deis_antiderivative(s->sigmas[at + 1], b, c1, d, order) - deis_antiderivative(rho[0], b, c1, d, order);
        terms[1 + j] = (struct term){ next.alpha * part, s->history[j] };
    }
    sampler_combine(s->x, s->count, terms, 1 + order);
    return true;
}

/* --- classes on timesteps --- */

/* x0, thresholded or clipped. */
MUST_USE static bool bounded_x0(struct sampler *s, double abar, const float *output, struct err *e)
{
    sampler_x0_from_vp(s, sqrt(abar), sqrt(1 - abar), output, s->x0);
    if (s->config.thresholding)
        return sampler_threshold(s, s->x0, e);
    if (s->config.clip_sample)
        diffusers_clip(s, s->x0);
    return true;
}

/* The timestep after the one at hand; -1 after the last. */
static int64_t next_timestep(const struct sampler *s)
{
    int64_t next = s->start_step + s->call + 1;
    return next < s->all_calls ? s->train_timesteps[next] : -1;
}

/* Ho et al. 2020, eq. 6 and 7. */
static bool take_ddpm(struct sampler *s, const float *output, struct err *e)
{
    int64_t t = (int64_t)s->planned[s->call].timestep, next = next_timestep(s);
    double abar = diffusers_abar(s, t), abar_next = next >= 0 ? diffusers_abar(s, next) : 1;
    double alpha = abar / abar_next, beta = 1 - alpha, variance = fmax((1 - abar_next) / (1 - abar) * beta, 1e-20);
    if (!bounded_x0(s, abar, output, e))
        return false;
    if (t > 0)
        sampler_draw(s, s->noise);
    double noise = t > 0 ? sqrt(s->config.large_variance ? beta : variance) : 0;
    COMBINE(s, s->x, { sqrt(abar_next) * beta / (1 - abar), s->x0 }, { sqrt(alpha) * (1 - abar_next) / (1 - abar), s->x },
            { noise, s->drawn });
    return true;
}

/* Luo et al. 2023, "Latent Consistency Models", algorithm 3 with the boundary conditions of eq. 9. */
static bool take_lcm(struct sampler *s, const float *output, struct err *e)
{
    int64_t t = (int64_t)s->planned[s->call].timestep, next = next_timestep(s);
    double abar = diffusers_abar(s, t), abar_next = next >= 0 ? diffusers_abar(s, next) : 1, data = 0.5;
    double scaled = (double)t * s->config.timestep_scaling, above = scaled * scaled + data * data;
    double skip = data * data / above, out = scaled / sqrt(above), keep = sqrt(abar_next);
    if (!bounded_x0(s, abar, output, e))
        return false;
    if (next >= 0)
        sampler_draw(s, s->noise);
    COMBINE(s, s->x, { keep * out, s->x0 }, { keep * skip, s->x }, { next >= 0 ? sqrt(1 - abar_next) : 0, s->drawn });
    return true;
}

/* Zheng et al. 2024, "Trajectory Consistency Distillation", strategic stochastic sampling with gamma = eta. */
static bool take_tcd(struct sampler *s, const float *output, struct err *e)
{
    int64_t t = (int64_t)s->planned[s->call].timestep, next = next_timestep(s), to = next >= 0 ? next : 0;
    int64_t between = (int64_t)floor((double)(float)((1 - s->eta) * (double)to));
    double abar = diffusers_abar(s, t), abar_to = diffusers_abar(s, to), abar_s = diffusers_abar(s, between);
    float *eps = s->saved;
    sampler_x0_from_vp(s, sqrt(abar), sqrt(1 - abar), output, s->x0);
    sampler_eps_from_vp(s, sqrt(abar), sqrt(1 - abar), output, eps);
    double keep = 1, noise = 0;
    if (s->eta > 0 && next >= 0) {
        sampler_draw(s, s->noise);
        keep = sqrt(abar_to / abar_s);
        noise = sqrt(1 - abar_to / abar_s);
    }
    COMBINE(s, s->x, { keep * sqrt(abar_s), s->x0 }, { keep * sqrt(1 - abar_s), eps }, { noise, s->drawn });
    return true;
}

#define ON_SIGMAS .plan = diffusers_plan_sigmas
const struct sampler_method method_dpm_singlestep = {
    ON_SIGMAS, .take = take_single, .history = 3, .saves = true, .draws = true, .calls_per_step = 1
};
const struct sampler_method method_kdpm2 = { ON_SIGMAS, .take = take_kdpm2, .saves = true, .calls_per_step = 2 };
const struct sampler_method method_kdpm2_ancestral = {
    ON_SIGMAS, .take = take_kdpm2, .saves = true, .draws = true, .calls_per_step = 2
};
const struct sampler_method method_deis = { ON_SIGMAS, .take = take_deis, .history = 3, .calls_per_step = 1 };
const struct sampler_method method_ddpm = {
    .plan = diffusers_plan_ddim, .take = take_ddpm, .draws = true, .calls_per_step = 1
};
const struct sampler_method method_lcm = { .plan = diffusers_plan_few, .take = take_lcm, .draws = true, .calls_per_step = 1 };
const struct sampler_method method_tcd = {
    .plan = diffusers_plan_few, .take = take_tcd, .saves = true, .draws = true, .calls_per_step = 1
};
