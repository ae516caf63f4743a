/* ComfyUI's samplers that integrate a stochastic differential equation in -log sigma; eta 0 makes most of them deterministic, 1 is
 * the equation of the process itself. Where a step goes to no noise at all they take x0. s->saved is x at the step's beginning. */
#include "sampler/k_internal.h"

/* --- DPM-Solver++ with a Brownian tree (Lu et al. 2022, "DPM-Solver++", the SDE forms) --- */

/* Single step, with x0 at a middle of the step, by default half: on a line through both x0, at the step's half. */
static bool take_dpmpp_sde(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    if (c.to <= 0)
        return k_end_at_x0(s);
    double to = c.stage ? c.to : s->planned[s->call + 1].sigma, noise = 0;
    struct ancestral a = ancestral(c.from, to, s->eta);
    if (s->eta > 0 && !k_draw_tree(s, c.from, to, &noise, e))
        return false;
    if (c.stage == 0) {
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->history[0], { 1, s->x0 });
    }
    double ratio = a.down / c.from, of_middle = c.stage && s->spec.middle > 0 ? 0.5 / s->spec.middle : 1;
    COMBINE(s, s->x, { ratio, s->saved }, { (1 - ratio) * of_middle, s->x0 }, { (1 - ratio) * (1 - of_middle), s->history[0] },
            { noise * a.up, s->drawn });
    return true;
}

/* Multistep of the second or third order. D1 and D2 are the first and second differences of x0 as in diffusers' DPM-Solver
 * (multistep.c); midpoint is another second order. */
static bool take_dpmpp_multistep(struct sampler *s, const float *output, int most_order, bool midpoint, struct err *e)
{
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    float *now = sampler_history_push(s, most_order);
    COMBINE(s, now, { 1, s->x0 });
    if (c.to <= 0)
        return k_end_at_x0(s);
    double h = log(c.from / c.to), h_eta = h * (s->eta + 1), pull = -expm1(-h_eta), noise = 0;
    double keep = c.to / c.from * exp(-h * s->eta);
    double of_now = pull, of_old = 0, of_older = 0, phi_2 = expm1(-h_eta) / h_eta + 1, phi_3 = phi_2 / h_eta - 0.5;
    int order = s->history_count;
    double r0 = order > 1 ? log(s->sigmas[c.i - 1] / c.from) / h : 1;
    double r1 = order > 2 ? log(s->sigmas[c.i - 2] / s->sigmas[c.i - 1]) / h : 1;
    if (order == 2) {
        double slope = (midpoint ? 0.5 * pull : phi_2) / r0;
        of_now += slope;
        of_old -= slope;
    } else if (order == 3) {
        /* D1 = d0 + (d0 - d1) r0 / (r0 + r1), D2 = (d0 - d1) / (r0 + r1), d0 = (now - old) / r0, d1 = (old - older) / r1 */
        double bend = (phi_2 * r0 - phi_3) / (r0 + r1), d0 = (phi_2 + bend) / r0, d1 = -bend / r1;
        of_now += d0;
        of_old += d1 - d0;
        of_older -= d1;
    }
    if (s->eta > 0) {
        if (!k_draw_tree(s, c.from, c.to, &noise, e))
            return false;
        noise *= c.to * sqrt(-expm1(-2 * h * s->eta));
    }
    COMBINE(s, s->x, { keep, s->x }, { of_now, now }, { of_old, s->history[1] }, { of_older, s->history[2] },
            { noise, s->drawn });
    return true;
}

static bool take_dpmpp_2m_sde(struct sampler *s, const float *output, struct err *e)
{
    return take_dpmpp_multistep(s, output, 2, true, e);
}

static bool take_dpmpp_2m_sde_heun(struct sampler *s, const float *output, struct err *e)
{
    return take_dpmpp_multistep(s, output, 2, false, e);
}

static bool take_dpmpp_3m_sde(struct sampler *s, const float *output, struct err *e)
{
    return take_dpmpp_multistep(s, output, 3, false, e);
}

/* --- ER-SDE-Solver-3 (Cui et al. 2023, "Elucidating the Solution Space of Extended Reverse-Time SDE") --- */

static double er_scale(double sigma)
{
    return sigma * (exp(pow(sigma, 0.3)) + 10);
}

static bool take_er_sde(struct sampler *s, const float *output, struct err *e)
{
    enum { POINTS = 200 };
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    float *now = sampler_history_push(s, 3);
    COMBINE(s, now, { 1, s->x0 });
    if (c.to <= 0)
        return k_end_at_x0(s);
    double r = er_scale(c.to) / er_scale(c.from), step = c.to - c.from, part = -step / POINTS, sum = 0, bent = 0;
    for (int k = 0; k < POINTS; k++) {
        double at = c.to + k * part;
        sum += part / er_scale(at);
        bent += part * (at - c.from) / er_scale(at);
    }
    double of_now = 1 - r, of_old = 0, of_older = 0;
    int order = s->history_count;
    if (order > 1) {
        double before = c.from - s->sigmas[c.i - 1], first = step + sum * er_scale(c.to), slope = first / before;
        if (order > 2) {
            double second = step * step / 2 + bent * er_scale(c.to);
            double curve = second / ((c.from - s->sigmas[c.i - 2]) / 2);
            double older = curve / (s->sigmas[c.i - 1] - s->sigmas[c.i - 2]);
            slope += curve / before;
            of_old -= older;
            of_older += older;
        }
        of_now += slope;
        of_old -= slope;
    }
    k_draw(s);
    double up = sqrt(fmax(0, c.to * c.to - c.from * c.from * r * r));
    COMBINE(s, s->x, { r, s->x }, { of_now, now }, { of_old, s->history[1] }, { of_older, s->history[2] }, { up, s->drawn });
    return true;
}

/* --- SEEDS (Gonzalez et al. 2023, "SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models") --- */

/* The levels at the given parts of the way in log sigma. */
static int stages_seeds_3(const struct sampler *s, int64_t i, double *sigmas)
{
    double from = s->sigmas[i], to = s->sigmas[i + 1];
    if (to <= 0)
        return 1;
    sigmas[1] = from * pow(to / from, 1.0 / 3);
    sigmas[2] = from * pow(to / from, 2.0 / 3);
    return 3;
}

/* Adds to the step's noise, s->history[2] in units of sigma, what comes on the way between two parts of the step, of h in all. */
static void seeds_noise(struct sampler *s, double part, double next, double h)
{
    double segment = (part - next) * h * s->eta;
    float *noise = s->history[2];
    if (s->eta <= 0)
        return;
    k_draw(s);
    COMBINE(s, noise, { part > 0 ? exp(segment) : 0, noise }, { sqrt(-expm1(2 * segment)), s->drawn });
}

/* x = saved at `part` of the step: a, b are the factors of the outputs kept in history[0] and of this call's x0. */
static void seeds_move(struct sampler *s, double part, double to, struct k_call c, double h, double a, double b)
{
    double keep = to / c.from * exp(-part * h * s->eta), noise = s->eta > 0 ? to : 0;
    COMBINE(s, s->x, { keep, s->saved }, { a, s->history[0] }, { b, s->x0 }, { noise, s->history[2] });
}

static bool take_seeds_2(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    k_x0(s, c.sigma, output);
    if (c.to <= 0)
        return k_end_at_x0(s);
    double h = log(c.from / c.to), h_eta = h * (s->eta + 1);
    if (c.stage == 0) {
        COMBINE(s, s->saved, { 1, s->x });
        seeds_noise(s, 0, 0.5, h);
        seeds_move(s, 0.5, s->planned[s->call + 1].sigma, c, h, 0, -expm1(-0.5 * h_eta));
        return true;
    }
    seeds_noise(s, 0.5, 1, h);
    seeds_move(s, 1, c.to, c, h, 0, -expm1(-h_eta));
    return true;
}

/* h phi_2(h) of the exponential integrators; phi_1's is expm1. */
static double h_phi_2(double h)
{
    return (expm1(h) - h) / h;
}

static bool take_seeds_3(struct sampler *s, const float *output, struct err *e)
{
    struct k_call c = k_call(s);
    const double r1 = 1.0 / 3, r2 = 2.0 / 3;
    k_x0(s, c.sigma, output);
    if (c.to <= 0)
        return k_end_at_x0(s);
    double h = log(c.from / c.to), h_eta = h * (s->eta + 1);
    if (c.stage == 0) {
        COMBINE(s, s->saved, { 1, s->x });
        COMBINE(s, s->history[0], { 1, s->x0 });
        seeds_noise(s, 0, r1, h);
        seeds_move(s, r1, s->planned[s->call + 1].sigma, c, h, 0, -expm1(-r1 * h_eta));
    } else if (c.stage == 1) {
        double second = r2 / r1 * h_phi_2(-r2 * h_eta);
        seeds_noise(s, r1, r2, h);
        seeds_move(s, r2, s->planned[s->call + 1].sigma, c, h, second - expm1(-r2 * h_eta), -second);
    } else {
        double third = h_phi_2(-h_eta) / r2;
        seeds_noise(s, r2, 1, h);
        seeds_move(s, 1, c.to, c, h, third - expm1(-h_eta), -third);
    }
    return true;
}

/* --- SA-Solver (Xue et al. 2023, "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models") --- */

/* tau of the equation: noise is added between 20 % and 80 % of the training timesteps. */
static double sa_tau(const struct sampler *s, double sigma)
{
    double high = schedule_sigma_at(&s->schedule, f32(0.8 * 999)), low = schedule_sigma_at(&s->schedule, f32((1 - 0.8) * 999));
    return sigma <= f32(high) && sigma >= f32(low) ? 1 : 0;
}

/* Factors of the x0 at levels sigmas[newest], sigmas[newest - 1], ... in a step from level `from` to `to`: (1 + tau^2) times the
 * integral of exp((1 + tau^2)(lambda - lambda_to)) times each node's Lagrange polynomial, eq. 14 and 17. lambda is counted from
 * lambda_to, which keeps the system well conditioned. */
static void sa_factors(const struct sampler *s, int64_t newest, int order, double from, double to, double tau, double *factors)
{
    double matrix[UNIPC_MAX_ORDER][UNIPC_MAX_ORDER], m = 1 + tau * tau, before = 0;
    double start = log(to / from); /* lambda_from - lambda_to */
    for (int p = 0; p < order; p++) {
        for (int j = 0; j < order; j++)
            matrix[p][j] = pow(-log(s->sigmas[newest - j] / to), p);
        double ends = (p == 0) - pow(start, p) * exp(m * start);
        before = factors[p] = ends - p / m * before;
    }
    solve_linear(matrix, factors, order);
}

/* x = keep * saved + the outputs of history, newest first, + the last step's noise, which stays in s->drawn. */
static void sa_move(struct sampler *s, double keep, const double *factors, int order, double noise)
{
    struct term terms[TERMS_MAX] = { { keep, s->saved }, { noise, s->drawn } };
    for (int j = 0; j < order; j++)
        terms[2 + j] = (struct term){ factors[j], s->history[j] };
    sampler_combine(s->x, s->count, terms, 2 + order);
}

static double sa_keep(double from, double to, double tau)
{
    return to / from * exp(-tau * tau * log(from / to));
}

static double sa_noise(double from, double to, double tau)
{
    return tau > 0 ? to * sqrt(-expm1(-2 * tau * tau * log(from / to))) : 0;
}

/* s->saved is the corrected x of the step before, then of this one; s->x the predicted one. With PECE the model is asked again, at
 * the corrected x, and that answer takes the place of the first. */
static bool sa_take(struct sampler *s, const float *output, bool pece)
{
    enum { PREDICTOR = 3, CORRECTOR = 4 };
    struct k_call c = k_call(s);
    double factors[CORRECTOR];
    bool to_zero = s->sigmas[s->sigma_count - 1] == 0, again = c.stage == 1;
    int left = (int)fmin((double)(s->sigma_count - 1 - c.i), 100);
    k_x0(s, c.sigma, output);
    float *now = again ? s->history[0] : sampler_history_push(s, CORRECTOR);
    COMBINE(s, now, { 1, s->x0 });
    if (!again && c.i > 0 && (c.to > 0 || pece)) {
        int order = s->history_count;
        if (to_zero && order > left)
            order = left;
        double before = s->sigmas[c.i - 1], tau = sa_tau(s, c.from);
        sa_factors(s, c.i, order, before, c.from, tau, factors);
        sa_move(s, sa_keep(before, c.from, tau), factors, order, sa_noise(before, c.from, tau));
        if (pece)
            return true;
    }
    if (c.to <= 0)
        return k_end_at_x0(s);
    COMBINE(s, s->saved, { 1, s->x });
    int order = s->history_count < PREDICTOR ? s->history_count : PREDICTOR;
    if (to_zero && order > left - 1)
        order = left - 1;
    double tau = sa_tau(s, c.to);
    sa_factors(s, c.i, order, c.from, c.to, tau, factors);
    if (tau > 0)
        k_draw(s);
    sa_move(s, sa_keep(c.from, c.to, tau), factors, order, sa_noise(c.from, c.to, tau));
    return true;
}

static bool take_sa_solver(struct sampler *s, const float *output, struct err *e)
{
    return sa_take(s, output, false);
}

static bool take_sa_solver_pece(struct sampler *s, const float *output, struct err *e)
{
    return sa_take(s, output, true);
}

static int stages_pece(const struct sampler *s, int64_t i, double *sigmas)
{
    sigmas[1] = s->sigmas[i];
    return i > 0 ? 2 : 1;
}

#define K .plan = k_plan, .calls_per_step = 1, .draws = true
#define DPMPP_SDE K, .take = take_dpmpp_sde, .stages = k_stages_sde, .history = 1, .saves = true
#define DPMPP_2M_SDE K, .take = take_dpmpp_2m_sde, .history = 2
#define DPMPP_2M_SDE_HEUN K, .take = take_dpmpp_2m_sde_heun, .history = 2
#define DPMPP_3M_SDE K, .take = take_dpmpp_3m_sde, .history = 3
const struct sampler_method method_k_dpmpp_sde = { DPMPP_SDE };
const struct sampler_method method_k_dpmpp_sde_gpu = { DPMPP_SDE, .cuda_tree = true };
const struct sampler_method method_k_dpmpp_2m_sde = { DPMPP_2M_SDE };
const struct sampler_method method_k_dpmpp_2m_sde_gpu = { DPMPP_2M_SDE, .cuda_tree = true };
const struct sampler_method method_k_dpmpp_2m_sde_heun = { DPMPP_2M_SDE_HEUN };
const struct sampler_method method_k_dpmpp_2m_sde_heun_gpu = { DPMPP_2M_SDE_HEUN, .cuda_tree = true };
const struct sampler_method method_k_dpmpp_3m_sde = { DPMPP_3M_SDE };
const struct sampler_method method_k_dpmpp_3m_sde_gpu = { DPMPP_3M_SDE, .cuda_tree = true };
const struct sampler_method method_k_er_sde = { K, .take = take_er_sde, .history = 3 };
const struct sampler_method method_k_seeds_2 = {
    K, .take = take_seeds_2, .stages = k_stages_midpoint, .history = 3, .saves = true
};
const struct sampler_method method_k_seeds_3 = {
    K, .take = take_seeds_3, .stages = stages_seeds_3, .history = 3, .saves = true
};
const struct sampler_method method_k_sa_solver = { K, .take = take_sa_solver, .history = 4, .saves = true };
const struct sampler_method method_k_sa_solver_pece = {
    K, .take = take_sa_solver_pece, .stages = stages_pece, .history = 4, .saves = true
};
