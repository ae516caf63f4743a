/* ComfyUI's samplers without noise of their own that remember steps before: history[0] is what this step adds to it, a slope
 * or an x0. Where a step goes to no noise at all they take x0. */
#include "sampler/k_internal.h"

/* x0 and the slope of this call, the latter in history[0]. */
static const float *push_slope(struct sampler *s, struct k_call c, const float *output, int keep)
{
    k_x0(s, c.sigma, output);
    float *slope = sampler_history_push(s, keep);
    k_slope(s, c.from, slope);
    return slope;
}

/* The same for a copy of x0. */
static const float *push_x0(struct sampler *s, struct k_call c, const float *output, int keep)
{
    k_x0(s, c.sigma, output);
    float *copy = sampler_history_push(s, keep);
    COMBINE(s, copy, { 1, s->x0 });
    return copy;
}

/* x += sum of factors[j] times history[j]. */
static void move_along(struct sampler *s, const double *factors, int count)
{
    struct term terms[TERMS_MAX] = { { 1, s->x } };
    for (int j = 0; j < count; j++)
        terms[1 + j] = (struct term){ factors[j], s->history[j] };
    sampler_combine(s->x, s->count, terms, 1 + count);
}

/* --- Adams-Bashforth on slopes --- */

static bool take_lms(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double factors[4];
    int most = s->spec.most_order;
    push_slope(s, c, output, most > 0 && most < 4 ? most : 4);
    if (c.to <= 0)
        return k_end_at_x0(s);
    for (int j = 0; j < s->history_count; j++)
        factors[j] = sampler_lms_factor(s->sigmas, c.i, s->history_count, j);
    move_along(s, factors, s->history_count);
    return true;
}

/* Zhang and Chen 2022, "Fast Sampling of Diffusion Models with Exponential Integrator", iPNDM: as if the steps were equally
 * long. */
static bool take_ipndm(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double factors[4];
    push_slope(s, c, output, 4);
    if (c.to <= 0)
        return k_end_at_x0(s);
    for (int j = 0; j < s->history_count; j++)
        factors[j] = (c.to - c.from) * adams_bashforth[s->history_count - 1][j];
    move_along(s, factors, s->history_count);
    return true;
}

/* The same for steps of unequal length, as zju-pi's diff-sampler has it and ComfyUI with it. In Adams-Bashforth the
 * share of the third order would be (1 - r) q / 2 and the last factor of the fourth -v h2 / h3; theirs are (1 - r q) / 2 and -v h1 /
 * h2, and pictures depend on it. */
static bool take_ipndm_v(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    push_slope(s, c, output, 4);
    if (c.to <= 0)
        return k_end_at_x0(s);
    int order = s->history_count;
    double h0 = c.to - c.from, h1 = order > 1 ? c.from - s->sigmas[c.i - 1] : 0;
    double h2 = order > 2 ? s->sigmas[c.i - 1] - s->sigmas[c.i - 2] : 0;
    double h3 = order > 3 ? s->sigmas[c.i - 2] - s->sigmas[c.i - 3] : 0;
    double factors[4] = { 1 };
    if (order > 1) {
        factors[0] += h0 / h1 / 2;
        factors[1] = -h0 / h1 / 2;
    }
    if (order > 2) {
        double r = h0 / (3 * (h0 + h1)), q = h0 * (h0 + h1) / (h1 * (h1 + h2)), third = (1 - r * q) / 2;
        factors[0] += third;
        factors[1] -= third * (1 + h1 / h2);
        factors[2] = third * h1 / h2;
    }
    if (order > 3) {
        double all = h0 + h1 + h2, r = h0 / (3 * (h0 + h1)), q = h0 * (h0 + h1) * all / (h1 * (h1 + h2) * (h1 + h2 + h3));
        double fourth = ((1 - r) / 2 + (1 - h0 / (2 * (h0 + h1))) * h0 / (6 * all)) * q;
        double u = h1 / h2, v = h1 * (h1 + h2) / (h2 * (h2 + h3));
        factors[0] += fourth;
        factors[1] -= fourth * (1 + u + v);
        factors[2] += fourth * (u + v * (1 + h2 / h3));
        factors[3] = -fourth * v * u;
    }
    for (int j = 0; j < order; j++)
        factors[j] *= h0;
    move_along(s, factors, order);
    return true;
}

/* --- DEIS (Zhang and Chen 2022, tAB-DEIS): the slopes' polynomial in the time of a linear-beta process from 0.002 to 80 --- */

struct deis_time {
    double beta_0, slope; /* beta(t) = beta_0 + slope t */
};

static struct deis_time deis_time(void)
{
    const double first = 1e-3, least = log(0.002 * 0.002 + 1), most = log(80.0 * 80 + 1);
    double slope = 2 * (least / first - most) / (first - 1);
    return (struct deis_time){ most - slope / 2, slope };
}

static double deis_t(struct deis_time d, double sigma)
{
    return (sqrt(d.beta_0 * d.beta_0 + 2 * d.slope * log(sigma * sigma + 1)) - d.beta_0) / d.slope;
}

/* d sigma over the polynomial of node j of `order`, from t_from to t_to: the sum of 10000 values with both ends that ComfyUI takes,
 * so that its small error is the same. */
static double deis_factor(struct deis_time d, const double *nodes, int order, int j, double t_from, double t_to)
{
    enum { POINTS = 10000 };
    double sum = 0;
    for (int64_t k = 0; k < POINTS; k++) {
        double t = linspace(t_from, t_to, k, POINTS), poly = 1;
        double alpha = exp(-0.5 * t * t * d.slope - t * d.beta_0);
        for (int m = 0; m < order; m++)
            if (m != j)
                poly *= (t - nodes[m]) / (nodes[j] - nodes[m]);
        sum += poly * 0.5 * (t * d.slope + d.beta_0) / sqrt(alpha * (1 - alpha));
    }
    return sum * (t_to - t_from) / POINTS;
}

static bool take_deis(struct sampler *s, const float *output, struct err *e)
{
    enum { ORDER = 3 };
    struct k_call c = k_call(s);
    struct deis_time d = deis_time();
    double nodes[ORDER], factors[ORDER] = { c.to - c.from };
    push_slope(s, c, output, ORDER);
    int order = c.to > 0 ? s->history_count : 1;
    for (int k = 0; k < order; k++)
        nodes[k] = deis_t(d, s->sigmas[c.i - k]);
    for (int j = 0; j < order && order > 1; j++)
        factors[j] = deis_factor(d, nodes, order, j, nodes[0], deis_t(d, c.to));
    move_along(s, factors, order);
    return true;
}

/* Permenter and Yuan 2024, "Interpreting and Improving Diffusion Models from an Optimization Perspective": the slope is carried
 * on by its last change, gamma 2. */
static bool take_gradient_estimation(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double step = c.to - c.from;
    push_slope(s, c, output, 2);
    if (c.to <= 0)
        return k_end_at_x0(s);
    double factors[2] = { s->history_count > 1 ? 2 * step : step, -step };
    move_along(s, factors, s->history_count);
    return true;
}

/* --- on x0, in steps of -log sigma --- */

/* Lu et al. 2022, "DPM-Solver++", the multistep second order; h is a difference of -log sigma. */
static bool take_dpmpp_2m(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double h = log(c.from / c.to), pull = -expm1(-h), before = 0;
    const float *now = push_x0(s, c, output, 2), *old = s->history[1];
    if (s->history_count > 1 && c.to > 0)
        before = h / (2 * log(s->sigmas[c.i - 1] / c.from));
    COMBINE(s, s->x, { c.to / c.from, s->x }, { pull * (1 + before), now }, { -pull * before, old });
    return true;
}

/* Zhang et al. 2023, "Improved Order Analysis and Design of Exponential Integrator for Diffusion Models Sampling" (RES), the
 * multistep second order, from c.from to a.down. */
static bool take_res_multistep(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    double eta = s->method->draws ? s->eta : 0;
    struct ancestral a = ancestral(c.from, c.to, eta);
    const float *now = push_x0(s, c, output, 2), *old = s->history[1];
    double ratio = a.down / c.from, part = 0;
    if (s->history_count > 1 && a.down > 0)
        part = res_second(s, c.i, eta);
    if (s->method->draws && c.to > 0)
        k_draw(s);
    COMBINE(s, s->x, { ratio, s->x }, { 1 - ratio - part, now }, { part, old },
            { c.to > 0 && s->method->draws ? a.up : 0, s->drawn });
    return true;
}

double res_second(const struct sampler *s, int64_t i, double eta)
{
    double from = s->sigmas[i], before = s->sigmas[i - 1], down = ancestral(from, s->sigmas[i + 1], eta).down;
    double old_down = ancestral(before, from, eta).down, h = log(from / down), c2 = log(old_down / before) / h;
    double phi1 = expm1(-h) / -h, part = h * ((phi1 - 1) / -h) / c2;
    return isfinite(part) ? part : 0;
}

#define K .plan = k_plan, .calls_per_step = 1
const struct sampler_method method_k_lms = { K, .take = take_lms, .history = 4 };
const struct sampler_method method_k_ipndm = { K, .take = take_ipndm, .history = 4 };
const struct sampler_method method_k_ipndm_v = { K, .take = take_ipndm_v, .history = 4 };
const struct sampler_method method_k_deis = { K, .take = take_deis, .history = 3 };
const struct sampler_method method_k_gradient_estimation = { K, .take = take_gradient_estimation, .history = 2 };
const struct sampler_method method_k_dpmpp_2m = { K, .take = take_dpmpp_2m, .history = 2 };
const struct sampler_method method_k_res_multistep = { K, .take = take_res_multistep, .history = 2 };
const struct sampler_method method_k_res_multistep_ancestral = { K, .take = take_res_multistep, .history = 2, .draws = true };
