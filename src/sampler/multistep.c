/* diffusers' DPMSolverMultistepScheduler (Lu et al. 2022, "DPM-Solver" and "DPM-Solver++") and
 * UniPCMultistepScheduler (Zhao et al. 2023, "UniPC"). Both work on x = alpha x0 + sigma noise with alpha^2 +
 * sigma^2 = 1 and take steps in lambda = log(alpha / sigma) = -log of the variance exploding sigma, which the
 * plan holds. */
#include <math.h>

#include "base/mem.h"
#include "sampler/diffusers_internal.h"

static struct point point_of(double ve_sigma)
{
    double alpha = 1 / sqrt(ve_sigma * ve_sigma + 1);
    return (struct point){ alpha, ve_sigma * alpha, -log(ve_sigma) };
}

struct point point_at(const struct sampler *s, int64_t index)
{
    return point_of(s->sigmas[index]);
}

/* --- DPM-Solver --- */

bool dpm_convert(struct sampler *s, struct point p, const float *output, float *to, struct err *e)
{
    bool plus = s->config.algorithm == DPM_PLUS || s->config.algorithm == DPM_SDE_PLUS;
    sampler_x0_from_vp(s, p.alpha, p.sigma, output, s->x0);
    if (s->config.thresholding && !sampler_threshold(s, s->x0, e))
        return false;
    if (plus)
        COMBINE(s, to, { 1, s->x0 });
    else if (s->config.thresholding)
        COMBINE(s, to, { 1 / p.sigma, s->x }, { -p.alpha / p.sigma, s->x0 });
    else
        sampler_eps_from_vp(s, p.alpha, p.sigma, output, to);
    return true;
}

struct dpm_factors dpm_factors_of(enum dpm_algorithm algorithm, struct point from, struct point to)
{
    double h = to.lambda - from.lambda, ratio = to.sigma / from.sigma;
    struct dpm_factors f = { 0 };
    switch (algorithm) {
    case DPM_PLUS:
        f.keep = ratio;
        f.first = -to.alpha * expm1(-h);
        f.second = to.alpha * (expm1(-h) / h + 1);
        f.third = -to.alpha * ((expm1(-h) + h) / (h * h) - 0.5);
        break;
    case DPM_PLAIN:
        f.keep = to.alpha / from.alpha;
        f.first = -to.sigma * expm1(h);
        f.second = -to.sigma * (expm1(h) / h - 1);
        f.third = -to.sigma * ((expm1(h) - h) / (h * h) - 0.5);
        break;
    case DPM_SDE_PLUS:
        f.keep = ratio * exp(-h);
        f.first = -to.alpha * expm1(-2 * h);
        f.second = to.alpha * (expm1(-2 * h) / (2 * h) + 1);
        f.third = to.alpha * ((-expm1(-2 * h) - 2 * h) / (4 * h * h) - 0.5);
        f.noise = to.sigma * sqrt(-expm1(-2 * h));
        break;
    case DPM_SDE_PLAIN:
        f.keep = to.alpha / from.alpha;
        f.first = -2 * to.sigma * expm1(h);
        f.second = -2 * to.sigma * (expm1(h) / h - 1);
        f.noise = to.sigma * sqrt(expm1(2 * h));
        break;
    }
    f.midpoint = 0.5 * f.first;
    return f;
}

static bool take_dpm(struct sampler *s, const float *output, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t at = s->first + s->call, steps = s->first + s->planned_calls;
    struct point now = point_at(s, at), next = point_at(s, at + 1);
    float *m0 = sampler_history_push(s, c->solver_order);
    if (!dpm_convert(s, now, output, m0, e))
        return false;
    struct dpm_factors f = dpm_factors_of(c->algorithm, now, next);
    if (c->algorithm == DPM_SDE_PLUS || c->algorithm == DPM_SDE_PLAIN)
        sampler_draw(s, s->noise);

    bool few = c->lower_order_final && steps < 15;
    bool last = at == steps - 1 && (c->euler_at_final || few || !c->final_sigma_min);
    bool second_last = at == steps - 2 && few;
    int order = s->history_count < c->solver_order ? s->history_count : c->solver_order;
    if (last)
        order = 1;
    else if (second_last && order > 2)
        order = 2;

    if (order == 1) {
        COMBINE(s, s->x, { f.keep, s->x }, { f.first, m0 }, { f.noise, s->drawn });
        return true;
    }
    double h = next.lambda - now.lambda, r0 = (now.lambda - point_at(s, at - 1).lambda) / h;
    const float *m1 = s->history[1];
    if (order == 2) {
        /* D1 = (m0 - m1) / r0 */
        double slope = (c->solver == SOLVER_HEUN ? f.second : f.midpoint) / r0;
        COMBINE(s, s->x, { f.keep, s->x }, { f.first + slope, m0 }, { -slope, m1 }, { f.noise, s->drawn });
        return true;
    }
    double r1 = (point_at(s, at - 1).lambda - point_at(s, at - 2).lambda) / h;
    /* D1_0 = (m0 - m1) / r0, D1_1 = (m1 - m2) / r1, D1 = D1_0 + r0 / (r0 + r1) (D1_0 - D1_1), D2 = (D1_0 -
     * D1_1) / (r0 + r1) */
    double d0 = f.second * (1 + r0 / (r0 + r1)) + f.third / (r0 + r1);
    double d1 = -f.second * r0 / (r0 + r1) - f.third / (r0 + r1);
    COMBINE(s, s->x, { f.keep, s->x }, { f.first + d0 / r0, m0 }, { d1 / r1 - d0 / r0, m1 },
            { -d1 / r1, s->history[2] }, { f.noise, s->drawn });
    return true;
}

/* --- UniPC --- */

void solve_linear(double a[UNIPC_MAX_ORDER][UNIPC_MAX_ORDER], double *b, int n)
{
    for (int col = 0; col < n; col++) {
        int best = col;
        for (int row = col + 1; row < n; row++)
            if (fabs(a[row][col]) > fabs(a[best][col]))
                best = row;
        for (int k = 0; k < n; k++) {
            double t = a[col][k];
            a[col][k] = a[best][k];
            a[best][k] = t;
        }
        double t = b[col];
        b[col] = b[best];
        b[best] = t;
        for (int row = col + 1; row < n; row++) {
            double factor = a[row][col] / a[col][col];
            for (int k = col; k < n; k++)
                a[row][k] -= factor * a[col][k];
            b[row] -= factor * b[col];
        }
    }
    for (int row = n - 1; row >= 0; row--) {
        for (int k = row + 1; k < n; k++)
            b[row] -= a[row][k] * b[k];
        b[row] /= a[row][row];
    }
}

/* One update from point index `from` to from + 1 with the outputs older[0] (at from), older[1], ... and, for
 * the corrector, the output `newest` at from + 1 (NULL: the predictor): eq. 3 and 9 of the paper with B(h) of
 * the config. base is x at `from`. */
static void unipc_update(struct sampler *s, int64_t from, int order, const float *base, float *const *older,
                         const float *newest)
{
    bool x0 = s->config.predict_x0;
    struct point p = point_at(s, from), t = point_at(s, from + 1);
    double h = t.lambda - p.lambda, hh = x0 ? -h : h, phi = expm1(hh);
    double size = x0 ? t.alpha : t.sigma, keep = x0 ? t.sigma / p.sigma : t.alpha / p.alpha;
    struct term terms[TERMS_MAX] = { { keep, base }, { -size * phi, older[0] } };
    int count = 2;

    double rk[UNIPC_MAX_ORDER], rho[UNIPC_MAX_ORDER] = { 0.5 };
    for (int i = 1; i < order; i++)
        rk[i - 1] = (point_at(s, from - i).lambda - p.lambda) / h;
    rk[order - 1] = 1;
    int unknowns = newest ? order : order - 1;
    /* The paper's simplification: with one unknown the predictor of order 2 and the corrector of order 1 take
     * 1/2. */
    if (unknowns > 1) {
        double matrix[UNIPC_MAX_ORDER][UNIPC_MAX_ORDER], b = s->config.solver == SOLVER_BH1 ? hh : phi;
        double phi_k = phi / hh - 1, factorial = 1;
        for (int i = 0; i < unknowns; i++) {
            for (int k = 0; k < unknowns; k++)
                matrix[i][k] = pow(rk[k], i);
            rho[i] = phi_k * factorial / b;
            factorial *= i + 2;
            phi_k = phi_k / hh - 1 / factorial;
        }
        solve_linear(matrix, rho, unknowns);
    }
    if (unknowns > 0) {
        double factor = -size * (s->config.solver == SOLVER_BH1 ? hh : phi);
        for (int i = 1; i < order; i++) {
            double part = factor * rho[i - 1] / rk[i - 1];
            terms[count++] = (struct term){ part, older[i] };
            terms[1].factor -= part;
        }
        if (newest) {
            double part = factor * rho[order - 1];
            terms[count++] = (struct term){ part, newest };
            terms[1].factor -= part;
        }
    }
    sampler_combine(s->x, s->count, terms, count);
}

static bool corrector_is_off(const struct scheduler_config *c, int64_t step)
{
    for (size_t i = 0; i < c->disable_corrector_count; i++)
        if (c->disable_corrector[i] == step)
            return true;
    return false;
}

bool unipc_take(struct sampler *s, const float *output, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t at = s->first + s->call, steps = s->first + s->planned_calls;
    struct point now = point_at(s, at);
    sampler_x0_from_vp(s, now.alpha, now.sigma, output, s->x0);
    if (c->predict_x0 && c->thresholding && !sampler_threshold(s, s->x0, e))
        return false;
    /* The newest output goes where the oldest was, which nobody needs any more: a correction looks back
     * this_order outputs, and history has one array more than solver_order. */
    int keep = c->solver_order + 1;
    float *m = sampler_history_push(s, keep);
    if (c->predict_x0)
        COMBINE(s, m, { 1, s->x0 });
    else
        sampler_eps_from_vp(s, now.alpha, now.sigma, output, m);
    if (s->call > 0 && !corrector_is_off(c, at - 1))
        unipc_update(s, at - 1, s->this_order, s->saved, s->history + 1, m);

    int64_t left = steps - at;
    int order = s->history_count < c->solver_order ? s->history_count : c->solver_order;
    if (c->lower_order_final && order > left)
        order = (int)left;
    s->this_order = order;
    COMBINE(s, s->saved, { 1, s->x });
    unipc_update(s, at, order, s->saved, s->history, NULL);
    return true;
}

const struct sampler_method method_dpm = {
    .plan = diffusers_plan_sigmas, .take = take_dpm, .history = 3, .draws = true, .calls_per_step = 1
};
const struct sampler_method method_unipc = {
    .plan = diffusers_plan_sigmas, .take = unipc_take, .history = HISTORY_MAX, .saves = true, .calls_per_step = 1
};
