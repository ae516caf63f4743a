/* The steps of diffusers' DDIM, PNDM, EulerDiscrete, EulerAncestralDiscrete, HeunDiscrete and LMSDiscrete
 * schedulers. */
#include <math.h>

#include "sampler/diffusers_internal.h"

void diffusers_clip(const struct sampler *s, float *x0)
{
    float bound = (float)s->config.clip_range;
    for (size_t i = 0; i < s->count; i++)
        x0[i] = fminf(fmaxf(x0[i], -bound), bound);
}

/* Song et al. 2021, "Denoising Diffusion Implicit Models", eq. 12 and 16. The direction is the model's own
 * noise, also where x0 was clipped. */
static bool take_ddim(struct sampler *s, const float *output, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t t = (int64_t)s->planned[s->call].timestep, before = t - c->train_steps / s->steps;
    double abar = diffusers_abar(s, t), abar_before = diffusers_abar(s, before);
    double alpha = sqrt(abar), sigma = sqrt(1 - abar);
    double deviation = s->eta * sqrt((1 - abar_before) / (1 - abar) * (1 - abar / abar_before));
    double towards = sqrt(1 - abar_before - deviation * deviation);
    float *eps = s->saved;
    sampler_x0_from_vp(s, alpha, sigma, output, s->x0);
    sampler_eps_from_vp(s, alpha, sigma, output, eps);
    if (c->thresholding) {
        if (!sampler_threshold(s, s->x0, e))
            return false;
    } else if (c->clip_sample) {
        diffusers_clip(s, s->x0);
    }
    if (s->eta > 0)
        sampler_draw(s, s->noise);
    COMBINE(s, s->x, { sqrt(abar_before), s->x0 }, { towards, eps }, { deviation, s->drawn });
    return true;
}

/* PNDM's transfer from timestep t to `before` along `direction`, eq. 11 of the paper; from `base` into s->x.
 */
static void transfer(struct sampler *s, const float *base, int64_t t, int64_t before, const float *direction)
{
    double abar = diffusers_abar(s, t), abar_before = diffusers_abar(s, before);
    double keep = sqrt(abar_before / abar);
    double divisor = abar * sqrt(1 - abar_before) + sqrt(abar * (1 - abar) * abar_before);
    double move = -(abar_before - abar) / divisor;
    if (s->config.prediction == PREDICTION_V) {
        keep += move * sqrt(1 - abar);
        move *= sqrt(abar);
    }
    COMBINE(s, s->x, { keep, base }, { move, direction });
}

/* The four calls of a Runge-Kutta step: outputs weigh 1/6, 1/3, 1/3, 1/6 in s->drawn. */
static void take_prk(struct sampler *s, const float *output)
{
    int64_t told = (int64_t)s->planned[s->call].timestep, part = s->counter % 4;
    int64_t half = s->counter % 2 ? 0 : s->config.train_steps / s->steps / 2;
    int64_t t = s->train_timesteps[s->counter / 4 * 4], before = told - half;
    float *sum = s->drawn;
    const float *direction = output;
    if (part == 0) {
        float *newest = sampler_history_push(s, 4);
        COMBINE(s, newest, { 1, output });
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, sum, { 1.0 / 6, output });
    } else if (part < 3) {
        COMBINE(s, sum, { 1, sum }, { 1.0 / 3, output });
    } else {
        COMBINE(s, sum, { 1, sum }, { 1.0 / 6, output });
        direction = sum;
    }
    transfer(s, s->saved, t, before, direction);
}

static void take_plms(struct sampler *s, const float *output)
{
    int64_t stride = s->config.train_steps / s->steps, t = (int64_t)s->planned[s->call].timestep,
            before = t - stride;
    float *direction = s->drawn;
    if (s->counter == 1) {
        /* The second call repeats the first step with the mean of both outputs. */
        COMBINE(s, direction, { 0.5, output }, { 0.5, s->history[0] });
        transfer(s, s->saved, t + stride, t, direction);
        return;
    }
    float *newest = sampler_history_push(s, 4);
    COMBINE(s, newest, { 1, output });
    if (s->counter == 0)
        COMBINE(s, s->saved, { 1, s->x });
    struct term terms[4];
    for (int i = 0; i < s->history_count; i++)
        terms[i] = (struct term){ adams_bashforth[s->history_count - 1][i], s->history[i] };
    sampler_combine(direction, s->count, terms, s->history_count);
    transfer(s, s->x, t, before, direction);
}

static bool take_pndm(struct sampler *s, const float *output, struct err *e)
{
    double abar = diffusers_abar(s, (int64_t)s->planned[s->call].timestep);
    sampler_x0_from_vp(s, sqrt(abar), sqrt(1 - abar), output, s->x0);
    if (s->counter < s->prk_count)
        take_prk(s, output);
    else
        take_plms(s, output);
    s->counter++;
    return true;
}

/* One Euler step in f32 with a rounding after each operation, in diffusers' order: where sigma is in the
 * thousands (zero SNR, cosine betas) x and x0 are five digits apart, and the roundings can be seen in the
 * picture. */
static void euler_step(struct sampler *s, const float *output, float from, float to)
{
    enum prediction prediction = s->config.prediction;
    float dt = to - from, above = from * from + 1, of_v = -from / sqrtf(above);
    for (size_t i = 0; i < s->count; i++) {
        float x = s->x[i], x0 = output[i];
        if (prediction == PREDICTION_EPSILON)
            x0 = x - from * x0;
        else if (prediction == PREDICTION_V)
            x0 = x0 * of_v + x / above;
        float slope = (x - x0) / from, move = slope * dt;
        s->x0[i] = x0;
        s->x[i] = x + move;
    }
}

static bool take_euler(struct sampler *s, const float *output, struct err *e)
{
    int64_t at = s->first + s->call;
    euler_step(s, output, (float)s->sigmas[at], (float)s->sigmas[at + 1]);
    return true;
}

float diffusers_down(float from, float to, float *up)
{
    float from2 = from * from, to2 = to * to;
    *up = sqrtf(to2 * (from2 - to2) / from2);
    return sqrtf(fmaxf(to2 - *up * *up, 0));
}

static bool take_euler_ancestral(struct sampler *s, const float *output, struct err *e)
{
    int64_t at = s->first + s->call;
    float from = (float)s->sigmas[at], up, down = diffusers_down(from, (float)s->sigmas[at + 1], &up);
    euler_step(s, output, from, down);
    sampler_draw(s, s->noise);
    COMBINE(s, s->x, { 1, s->x }, { (double)up, s->drawn });
    return true;
}

static bool take_heun(struct sampler *s, const float *output, struct err *e)
{
    int64_t step = s->first + s->call / 2;
    double from = s->sigmas[step], to = s->sigmas[step + 1], at = s->call % 2 ? to : from;
    sampler_x0_from_ve(s, at, output, s->x0);
    if (s->config.clip_sample)
        diffusers_clip(s, s->x0);
    if (s->call % 2 == 0) {
        float *slope = sampler_history_push(s, 1);
        COMBINE(s, slope, { 1 / from, s->x }, { -1 / from, s->x0 });
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { to / from, s->x }, { 1 - to / from, s->x0 });
        return true;
    }
    double half = (to - from) / 2;
    COMBINE(s, s->x, { 1, s->saved }, { half, s->history[0] }, { half / to, s->x }, { -half / to, s->x0 });
    return true;
}

/* The order counts the steps of the whole run, so that with start_step the first steps use fewer slopes than
 * factors: that is what diffusers does. */
static bool take_lms(struct sampler *s, const float *output, struct err *e)
{
    int64_t at = s->first + s->call;
    double from = s->sigmas[at];
    sampler_x0_from_ve(s, from, output, s->x0);
    float *slope = sampler_history_push(s, 4);
    COMBINE(s, slope, { 1 / from, s->x }, { -1 / from, s->x0 });
    int order = at + 1 < 4 ? (int)at + 1 : 4;
    struct term terms[TERMS_MAX] = { { 1, s->x } };
    for (int j = 0; j < s->history_count && j < order; j++)
        terms[1 + j] = (struct term){ sampler_lms_factor(s->sigmas, at, order, j), s->history[j] };
    sampler_combine(s->x, s->count, terms, 1 + (s->history_count < order ? s->history_count : order));
    return true;
}

const struct sampler_method method_ddim = {
    .plan = diffusers_plan_ddim, .take = take_ddim, .saves = true, .draws = true, .calls_per_step = 1
};
const struct sampler_method method_pndm = {
    .plan = diffusers_plan_pndm, .take = take_pndm, .history = 4, .saves = true, .draws = true, .calls_per_step = 1
};
#define ON_SIGMAS .plan = diffusers_plan_sigmas
const struct sampler_method method_euler = { ON_SIGMAS, .take = take_euler, .calls_per_step = 1 };
const struct sampler_method method_euler_ancestral = {
    ON_SIGMAS, .take = take_euler_ancestral, .draws = true, .calls_per_step = 1
};
const struct sampler_method method_heun = { ON_SIGMAS, .take = take_heun, .history = 1, .saves = true, .calls_per_step = 2 };
const struct sampler_method method_lms = { ON_SIGMAS, .take = take_lms, .history = 4, .calls_per_step = 1 };
