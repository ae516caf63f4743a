/* ComfyUI's samplers with CFG++ (Chung et al. 2024, "CFG++: Manifold-constrained Classifier Free Guidance for Diffusion Models"):
 * x0 is the guided one, but the way on from it, the noise, is that of the unguided x0, in s->u0. */
#include "sampler/k_internal.h"

static void k_both_x0(struct sampler *s, double sigma, const float *output)
{
    k_x0(s, sigma, output);
    sampler_x0_from_ve(s, sigma, s->unguided, s->u0);
}

static bool euler(struct sampler *s, const float *output, double eta)
{
    struct k_call c = k_call(s);
    struct ancestral a = ancestral(c.from, c.to, eta);
    double ratio = a.down / c.from;
    k_both_x0(s, c.sigma, output);
    if (c.to <= 0)
        return k_end_at_x0(s);
    if (eta > 0)
        k_draw(s);
    COMBINE(s, s->x, { 1, s->x0 }, { ratio, s->x }, { -ratio, s->u0 }, { a.up, s->drawn });
    return true;
}

static bool take_euler(struct sampler *s, const float *output, struct err *e)
{
    return euler(s, output, 0);
}

static bool take_euler_ancestral(struct sampler *s, const float *output, struct err *e)
{
    return euler(s, output, s->eta);
}

/* The two calls follow the unguided x0; what guidance adds in the first, in history[0], is added at the end. */
static bool take_dpmpp_2s_ancestral(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    struct ancestral a = ancestral(c.from, c.to, s->eta);
    float *guidance = s->history[0];
    k_both_x0(s, c.sigma, output);
    if (c.stage == 0) {
        COMBINE(s, guidance, { 1, s->x0 }, { -1, s->u0 });
        COMBINE(s, s->saved, { 1, s->x });
    }
    if (c.stage == 0 && a.down > 0) {
        double ratio = s->planned[s->call + 1].sigma / c.from;
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->u0 });
        return true;
    }
    double ratio = a.down / c.from;
    if (c.to > 0)
        k_draw(s);
    else
        a.up = 0;
    COMBINE(s, s->x, { ratio, s->saved }, { 1 - ratio, s->u0 }, { a.up, s->drawn }, { 1, guidance });
    return true;
}

static bool take_dpmpp_2m(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    k_both_x0(s, c.sigma, output);
    float *now = sampler_history_push(s, 2);
    COMBINE(s, now, { 1, s->u0 });
    if (c.to <= 0)
        return k_end_at_x0(s);
    double h = log(c.from / c.to), ratio = c.to / c.from, before = 0;
    if (s->history_count > 1)
        before = -expm1(-h) * h / (2 * log(s->sigmas[c.i - 1] / c.from));
    COMBINE(s, s->x, { 1 + before, s->x0 }, { -ratio, now }, { -before, s->history[1] }, { ratio, s->x });
    return true;
}

static bool take_res_multistep(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double eta = s->method->draws ? s->eta : 0;
    struct ancestral a = ancestral(c.from, c.to, eta);
    double ratio = a.down / c.from;
    k_both_x0(s, c.sigma, output);
    float *now = sampler_history_push(s, 2);
    COMBINE(s, now, { 1, s->u0 });
    if (c.to > 0 && s->method->draws)
        k_draw(s);
    else
        a.up = 0;
    if (s->history_count == 1 || a.down <= 0) {
        COMBINE(s, s->x, { 1, s->x0 }, { ratio, s->x }, { -ratio, now }, { a.up, s->drawn });
        return true;
    }
    double part = res_second(s, c.i, eta);
    COMBINE(s, s->x, { ratio, s->x }, { ratio, s->x0 }, { 1 - 2 * ratio - part, now }, { part, s->history[1] },
            { a.up, s->drawn });
    return true;
}

static bool take_gradient_estimation(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double ratio = c.to / c.from, step = c.to - c.from;
    k_both_x0(s, c.sigma, output);
    float *slope = sampler_history_push(s, 2);
    COMBINE(s, slope, { 1 / c.from, s->x }, { -1 / c.from, s->u0 });
    if (c.to <= 0)
        return k_end_at_x0(s);
    double more = s->history_count > 1 ? step : 0;
    COMBINE(s, s->x, { 1, s->x0 }, { ratio, s->x }, { -ratio, s->u0 }, { more, slope }, { -more, s->history[1] });
    return true;
}

#define K .plan = k_plan, .calls_per_step = 1, .unguided = true
const struct sampler_method method_k_euler_cfg_pp = { K, .take = take_euler };
const struct sampler_method method_k_euler_ancestral_cfg_pp = { K, .take = take_euler_ancestral, .draws = true };
const struct sampler_method method_k_dpmpp_2s_ancestral_cfg_pp = {
    K, .take = take_dpmpp_2s_ancestral, .stages = k_stages_ancestral, .history = 1, .saves = true, .draws = true
};
const struct sampler_method method_k_dpmpp_2m_cfg_pp = { K, .take = take_dpmpp_2m, .history = 2 };
const struct sampler_method method_k_res_multistep_cfg_pp = { K, .take = take_res_multistep, .history = 2 };
const struct sampler_method method_k_res_multistep_ancestral_cfg_pp = {
    K, .take = take_res_multistep, .history = 2, .draws = true
};
const struct sampler_method method_k_gradient_estimation_cfg_pp = { K, .take = take_gradient_estimation, .history = 2 };
