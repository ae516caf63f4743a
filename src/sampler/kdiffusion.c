/* ComfyUI's samplers on k-diffusion sigmas (Karras et al. 2022, "Elucidating the Design Space of
 * Diffusion-Based Generative Models"): x = x0 + sigma noise, the model gets x / sqrt(sigma^2 + 1) and the
 * nearest training timestep. Sigmas are f32 numbers, the factors of a step are computed from them in double.
 */
#include <math.h>

#include "base/mem.h"
#include "sampler/sampler_internal.h"

enum schedule_kind {
    SCHEDULE_NORMAL,
    SCHEDULE_KARRAS,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_SGM_UNIFORM,
    SCHEDULE_SIMPLE
};

/* In the order of schedule_kind. */
const struct schedule_name schedule_names[] = {
    { "normal", "evenly spaced training timesteps" },
    { "karras", "more steps at low noise (Karras et al. 2022, rho 7)" },
    { "exponential", "evenly spaced in the logarithm of the noise" },
    { "sgm_uniform", "evenly spaced timesteps that stop one step before the last" },
    { "simple", "every so-many-th training timestep" },
    { 0 }
};

/* sigma at a fractional timestep: linear in log sigma, whose logarithms are f32. */
static double sigma_at(const struct noise_schedule *n, double t)
{
    t = fmin(fmax(t, 0), (double)(n->count - 1));
    int64_t low = (int64_t)floor(t), high = (int64_t)ceil(t);
    double part = t - (double)low;
    return exp((1 - part) * f32(log(n->sigmas[low])) + part * f32(log(n->sigmas[high])));
}

/* The training timestep whose log sigma is nearest; of two equally near ones the first. */
static int64_t timestep_of(const struct noise_schedule *n, double sigma)
{
    double wanted = log(sigma), least = INFINITY;
    int64_t best = 0;
    for (int64_t t = 0; t < n->count; t++) {
        double distance = fabs(wanted - f32(log(n->sigmas[t])));
        if (distance < least) {
            least = distance;
            best = t;
        }
    }
    return best;
}

/* The i-th of `steps` sigmas (the zero behind them is not one). */
static double schedule_sigma(const struct noise_schedule *n, enum schedule_kind kind, int64_t i,
                             int64_t steps)
{
    double last_t = (double)(n->count - 1), most = n->sigmas[n->count - 1], least = n->sigmas[0];
    switch (kind) {
    case SCHEDULE_NORMAL:
        return sigma_at(n, linspace(last_t, 0, i, steps));
    case SCHEDULE_KARRAS:
        return sigma_karras(most, least, i, steps);
    case SCHEDULE_EXPONENTIAL:
        return sigma_exponential(most, least, i, steps);
    case SCHEDULE_SGM_UNIFORM:
        return sigma_at(n, linspace(last_t, 0, i, steps + 1));
    case SCHEDULE_SIMPLE:
        break;
    }
    int64_t back = 1 + (int64_t)((double)i * ((double)n->count / (double)steps));
    return n->sigmas[n->count - back];
}

/* Plans a run of n steps whose sigmas are those of `computed` steps without the last computed - n. */
MUST_USE static bool plan_sigmas(struct sampler *s, int64_t computed, struct err *e)
{
    const struct noise_schedule *n = &s->schedule;
    enum schedule_kind kind =
        (enum schedule_kind)(schedule_find(s->schedule_name ? s->schedule_name : "normal") - schedule_names);
    int64_t left = s->steps - s->start_step, per = s->method->calls_per_step;
    if (kind == SCHEDULE_SIMPLE && computed > n->count)
        return err_set(e, ERR_ARG, "schedule simple has at most %lld steps on this model",
                       (long long)n->count);
    if (!sampler_plan_room(s, per * left - (per - 1), left + 1, e))
        return false;
    for (int64_t i = 0; i < left; i++)
        s->sigmas[i] = f32(schedule_sigma(n, kind, s->start_step + i, computed));
    s->sigmas[left] = 0;
    for (int64_t call = 0; call < s->calls; call++) {
        double sigma = s->sigmas[per == 2 ? (call + 1) / 2 : call];
        s->timesteps[call] = (double)timestep_of(n, sigma);
        s->divisors[call] = (float)sqrt(sigma * sigma + 1);
    }
    double first = s->sigmas[0], most = n->sigmas[n->count - 1];
    bool from_noise = first > most || fabs(first - most) <= 1e-5 * fmax(first, most);
    s->noise_scale = from_noise ? sqrt(1 + first * first) : first;
    s->noise_factor = s->noise_scale;
    s->latent_factor = 1;
    return true;
}

MUST_USE static bool plan_k(struct sampler *s, struct err *e)
{
    return plan_sigmas(s, s->steps, e);
}

/* The sigmas of one step more, without the last but zero. It works on x / sqrt(sigma^2 + 1), which is what
 * the model gets. */
MUST_USE static bool plan_k_unipc(struct sampler *s, struct err *e)
{
    if (!plan_sigmas(s, s->steps + 1, e))
        return false;
    double first = s->sigmas[0], to_vp = 1 / sqrt(1 + first * first);
    s->noise_scale *= to_vp;
    s->noise_factor *= to_vp;
    s->latent_factor *= to_vp;
    for (int64_t i = 0; i < s->calls; i++)
        s->divisors[i] = 1;
    s->sigmas[s->calls] = f32(0.001);
    s->finish_in_vp = true;
    /* Order 0, which ComfyUI comes to with a single step, would give the noise back: the least that is an
     * image is order 1. */
    int order = (int)(s->calls - 1 < 3 ? s->calls - 1 : 3);
    s->config.solver_order = order < 1 ? 1 : order;
    s->config.solver = SOLVER_BH1;
    s->config.predict_x0 = true;
    s->config.lower_order_final = true;
    s->config.thresholding = false;
    s->config.disable_corrector_count = 0;
    return true;
}

static void x0_at(struct sampler *s, double sigma, const float *output)
{
    sampler_x0_from_ve(s, sigma, output, s->x0);
}

static bool take_euler(struct sampler *s, const float *output, struct err *e)
{
    double from = s->sigmas[s->call], to = s->sigmas[s->call + 1], ratio = to / from;
    x0_at(s, from, output);
    COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
    return true;
}

static bool take_euler_ancestral(struct sampler *s, const float *output, struct err *e)
{
    double from = s->sigmas[s->call], to = s->sigmas[s->call + 1];
    double up = fmin(to, s->eta * sqrt(to * to * (from * from - to * to) / (from * from)));
    double down = sqrt(to * to - up * up), ratio = down / from;
    x0_at(s, from, output);
    if (down > 0)
        sampler_draw(s, &s->own_noise);
    else
        up = 0;
    COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 }, { up, s->drawn });
    return true;
}

static bool take_heun(struct sampler *s, const float *output, struct err *e)
{
    int64_t step = s->call / 2;
    double from = s->sigmas[step], to = s->sigmas[step + 1], ratio = to / from;
    if (s->call % 2 == 0) {
        x0_at(s, from, output);
        /* history[0] is the slope here, saved where it began */
        float *slope = sampler_history_push(s, 1);
        COMBINE(s, slope, { 1 / from, s->x }, { -1 / from, s->x0 });
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio, s->x0 });
        return true;
    }
    double half = (to - from) / 2;
    x0_at(s, to, output);
    COMBINE(s, s->x, { 1, s->saved }, { half, s->history[0] }, { half / to, s->x }, { -half / to, s->x0 });
    return true;
}

static bool take_lms(struct sampler *s, const float *output, struct err *e)
{
    double from = s->sigmas[s->call], to = s->sigmas[s->call + 1];
    x0_at(s, from, output);
    float *slope = sampler_history_push(s, 4);
    COMBINE(s, slope, { 1 / from, s->x }, { -1 / from, s->x0 });
    if (to <= 0) {
        COMBINE(s, s->x, { 1, s->x0 });
        return true;
    }
    struct term terms[TERMS_MAX] = { { 1, s->x } };
    int order = s->history_count;
    for (int j = 0; j < order; j++)
        terms[1 + j] = (struct term){ sampler_lms_factor(s->sigmas, s->call, order, j), s->history[j] };
    sampler_combine(s->x, s->count, terms, 1 + order);
    return true;
}

/* Lu et al. 2022, "DPM-Solver++", the multistep second order; h is a difference of -log sigma. */
static bool take_dpmpp_2m(struct sampler *s, const float *output, struct err *e)
{
    double from = s->sigmas[s->call], to = s->sigmas[s->call + 1], h = log(from / to);
    x0_at(s, from, output);
    float *now = sampler_history_push(s, 2);
    COMBINE(s, now, { 1, s->x0 });
    double pull = -expm1(-h), before = 0;
    if (s->history_count > 1 && to > 0) {
        double ratio = log(s->sigmas[s->call - 1] / from) / h;
        before = 1 / (2 * ratio);
    }
    const float *old = s->history_count > 1 ? s->history[1] : now;
    COMBINE(s, s->x, { to / from, s->x }, { pull * (1 + before), now }, { -pull * before, old });
    return true;
}

static bool take_dpmpp_2m_sde(struct sampler *s, const float *output, struct err *e)
{
    double from = s->sigmas[s->call], to = s->sigmas[s->call + 1], h = log(from / to);
    x0_at(s, from, output);
    float *now = sampler_history_push(s, 2);
    COMBINE(s, now, { 1, s->x0 });
    if (to <= 0) {
        COMBINE(s, s->x, { 1, now });
        return true;
    }
    double pull = -expm1(-h * (s->eta + 1)), before = 0, noise = 0;
    if (s->history_count > 1)
        before = 0.5 * pull * h / log(s->sigmas[s->call - 1] / from);
    if (s->eta > 0) {
        double least = s->sigmas[s->calls - 1], most = s->sigmas[0];
        if (!brownian_increment(s->seed, least, most, to, from, s->drawn, s->count, e))
            return false;
        /* The tree runs upwards in sigma, the steps downwards. */
        noise = -to * sqrt(-expm1(-2 * h * s->eta)) / sqrt(f32(from - to));
    }
    const float *old = s->history_count > 1 ? s->history[1] : now;
    COMBINE(s, s->x, { to / from * exp(-h * s->eta), s->x }, { pull + before, now }, { -before, old },
            { noise, s->drawn });
    return true;
}

const struct sampler_method method_k_euler = { plan_k, take_euler, 0, false, false, 1 };
const struct sampler_method method_k_euler_ancestral = { plan_k, take_euler_ancestral, 0, false, true, 1 };
const struct sampler_method method_k_heun = { plan_k, take_heun, 1, true, false, 2 };
const struct sampler_method method_k_lms = { plan_k, take_lms, 4, false, false, 1 };
const struct sampler_method method_k_dpmpp_2m = { plan_k, take_dpmpp_2m, 2, false, false, 1 };
const struct sampler_method method_k_dpmpp_2m_sde = { plan_k, take_dpmpp_2m_sde, 2, false, true, 1 };
const struct sampler_method method_k_unipc = { plan_k_unipc, unipc_take, HISTORY_MAX, true, false, 1 };
