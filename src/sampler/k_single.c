/* ComfyUI's samplers that look at one step alone. The second and later calls of a step find x of its beginning in s->saved. */
#include "sampler/k_internal.h"

/* Karras et al. 2022, algorithm 2 without its second half. */
static bool take_euler(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double ratio = c.to / c.from;
    k_x0(s, c.sigma, output);
    COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
    return true;
}

static bool take_euler_ancestral(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    struct ancestral a = ancestral(c.from, c.to, s->eta);
    double ratio = a.down / c.from;
    k_x0(s, c.sigma, output);
    if (a.down > 0)
        k_draw(s);
    else
        a.up = 0;
    COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 }, { a.up, s->drawn });
    return true;
}

/* --- Heun: the mean of the slopes at both ends --- */

static int stages_heun(const struct sampler *s, int64_t i, double *sigmas)
{
    sigmas[1] = s->sigmas[i + 1];
    return s->sigmas[i + 1] > 0 ? 2 : 1;
}

static bool take_heun(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double half = (c.to - c.from) / 2, ratio = c.to / c.from;
    k_x0(s, c.sigma, output);
    if (c.stage == 0) {
        k_slope(s, c.from, s->history[0]);
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    COMBINE(s, s->x, { 1, s->saved }, { half, s->history[0] }, { half / c.to, s->x }, { -half / c.to, s->x0 });
    return true;
}

/* Heun++: the slopes at this level, the next and the one after it, weighted by how noisy they are; at the end of the run fewer. */
static int stages_heunpp2(const struct sampler *s, int64_t i, double *sigmas)
{
    int64_t left = s->sigma_count - 1 - i;
    sigmas[1] = s->sigmas[i + 1];
    if (left > 2)
        sigmas[2] = s->sigmas[i + 2];
    return left > 3 ? 3 : (int)left;
}

static bool take_heunpp2(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double sigmas[STAGES_MAX] = { 0 }, step = c.to - c.from;
    int stages = stages_heunpp2(s, c.i, sigmas);
    k_x0(s, c.sigma, output);
    float *slope = s->history[c.stage];
    k_slope(s, c.sigma, slope);
    if (c.stage == 0)
        COMBINE(s, s->saved, { 1, s->x });
    if (c.stage < stages - 1 || stages == 1) {
        double next = stages == 1 ? c.to : s->sigmas[c.i + c.stage + 1];
        COMBINE(s, s->x, { 1, s->x }, { next - c.sigma, slope });
        return true;
    }
    double whole = stages * s->sigmas[0], second = sigmas[1] / whole, third = stages == 3 ? sigmas[2] / whole : 0;
    COMBINE(s, s->x, { 1, s->saved }, { step * (1 - second - third), s->history[0] }, { step * second, s->history[1] },
            { step * third, s->history[2] });
    return true;
}

/* --- DPM-Solver-2: the slope in the middle, in log sigma, of the step (Lu et al. 2022, algorithm 1) --- */

static bool take_dpm_2(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    if (c.stage == 0) {
        double ratio = (c.to > 0 ? s->planned[s->call + 1].sigma : 0) / c.from;
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    double step = (c.to - c.from) / c.sigma;
    COMBINE(s, s->x, { 1, s->saved }, { step, s->x }, { -step, s->x0 });
    return true;
}

static bool take_dpm_2_ancestral(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    struct ancestral a = ancestral(c.from, c.to, s->eta);
    k_x0(s, c.sigma, output);
    if (c.stage == 0) {
        double ratio = (a.down > 0 ? s->planned[s->call + 1].sigma : 0) / c.from;
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    double step = (a.down - c.from) / c.sigma;
    k_draw(s);
    COMBINE(s, s->x, { 1, s->saved }, { step, s->x }, { -step, s->x0 }, { a.up, s->drawn });
    return true;
}

/* DPM-Solver++(2S) (Lu et al. 2022, "DPM-Solver++", algorithm 1): x0 in the middle of the step. */
static bool take_dpmpp_2s_ancestral(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    struct ancestral a = ancestral(c.from, c.to, s->eta);
    k_x0(s, c.sigma, output);
    if (c.stage == 0 && a.down > 0) {
        double ratio = s->planned[s->call + 1].sigma / c.from;
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    double ratio = a.down / c.from;
    if (c.to > 0)
        k_draw(s);
    else
        a.up = 0;
    COMBINE(s, s->x, { ratio, c.stage ? s->saved : s->x }, { 1 - ratio, s->x0 }, { a.up, s->drawn });
    return true;
}

/* --- new noise on x0, or on its way --- */

/* Ho et al. 2020, "Denoising Diffusion Probabilistic Models", algorithm 2, between two levels of the schedule. */
static bool take_ddpm(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double abar = 1 / (c.from * c.from + 1), abar_to = 1 / (c.to * c.to + 1), alpha = abar / abar_to;
    double keep = 1 / (sqrt(alpha) * sqrt(1 + c.from * c.from));
    double move = -(1 - alpha) / (sqrt(alpha) * sqrt(1 - abar) * c.from);
    double back = c.to > 0 ? sqrt(1 + c.to * c.to) : 1, up = 0;
    k_x0(s, c.sigma, output);
    if (c.to > 0) {
        k_draw(s);
        up = sqrt((1 - alpha) * (1 - abar_to) / (1 - abar));
    }
    COMBINE(s, s->x, { back * (keep + move), s->x }, { -back * move, s->x0 }, { back * up, s->drawn });
    return true;
}

/* Luo et al. 2023, "Latent Consistency Models", algorithm 3. */
static bool take_lcm(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    if (c.to > 0)
        k_draw(s);
    COMBINE(s, s->x, { 1, s->x0 }, { c.to, s->drawn });
    return true;
}

#define K .plan = k_plan, .calls_per_step = 1
const struct sampler_method method_k_euler = { K, .take = take_euler };
const struct sampler_method method_k_euler_ancestral = { K, .take = take_euler_ancestral, .draws = true };
const struct sampler_method method_k_heun = { K, .take = take_heun, .stages = stages_heun, .history = 1, .saves = true };
const struct sampler_method method_k_heunpp2 = {
    K, .take = take_heunpp2, .stages = stages_heunpp2, .history = STAGES_MAX, .saves = true
};
const struct sampler_method method_k_dpm_2 = {
    K, .take = take_dpm_2, .stages = k_stages_midpoint, .saves = true, .skips_last_but_one = true
};
const struct sampler_method method_k_dpm_2_ancestral = {
    K, .take = take_dpm_2_ancestral, .stages = k_stages_ancestral, .saves = true, .draws = true, .skips_last_but_one = true
};
const struct sampler_method method_k_dpmpp_2s_ancestral = {
    K, .take = take_dpmpp_2s_ancestral, .stages = k_stages_ancestral, .saves = true, .draws = true
};
const struct sampler_method method_k_ddpm = { K, .take = take_ddpm, .draws = true };
const struct sampler_method method_k_lcm = { K, .take = take_lcm, .draws = true };
