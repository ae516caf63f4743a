/* ComfyUI's dpm_fast and dpm_adaptive: DPM-Solver (Lu et al. 2022, "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model
 * Sampling in Around 10 Steps") in its single-step forms, with t = -log sigma. Of the run's sigmas they use the first and the last
 * above 0, where they end: a little noise stays, as in ComfyUI. s->saved is x at the step's beginning, history[0] and history[1] are
 * the noise that its first and second call predict. */
#include "sampler/k_internal.h"

#include "base/mem.h"

static double last_level(const struct sampler *s)
{
    double last = s->sigmas[s->sigma_count - 1];
    return last > 0 ? last : s->sigmas[s->sigma_count - 2];
}

MUST_USE static bool check_way(const struct sampler *s, const char *name, struct err *e)
{
    if (last_level(s) < s->sigmas[0])
        return true;
    return err_set(e, ERR_ARG, "sampler %s ends at the last noise level above 0, and with %lld step%s that is where it begins: it "
                   "needs 2 or more", name, (long long)(s->sigma_count - 1), s->sigma_count == 2 ? "" : "s");
}

/* The noise that x holds, after k_x0: into history[place]. */
static void keep_noise(struct sampler *s, double sigma, int place)
{
    k_slope(s, sigma, s->history[place]);
}

/* x for the second call of a step of length h, at r h, algorithms 1 and 2. */
static void to_second(struct sampler *s, double t, double r, double h)
{
    COMBINE(s, s->x, { 1, s->saved }, { -exp(-t - r * h) * expm1(r * h), s->history[0] });
}

/* x for the third call, at 2/3 h, algorithm 2 with r1 = 1/3, r2 = 2/3. */
static void to_third(struct sampler *s, double t, double h)
{
    double part = 2 * h / 3, sigma = exp(-t - part), second = -sigma * 2 * (expm1(part) / part - 1);
    COMBINE(s, s->x, { 1, s->saved }, { -sigma * expm1(part) - second, s->history[0] }, { second, s->history[1] });
}

/* out = the end of a step by its first and second call (r1 as given), or by its first and third, whose noise is `newest`. */
static void to_end_second(struct sampler *s, float *out, double t, double r, double h, const float *newest)
{
    double whole = -exp(-t - h) * expm1(h), part = whole / (2 * r);
    COMBINE(s, out, { 1, s->saved }, { whole - part, s->history[0] }, { part, newest });
}

static void to_end_third(struct sampler *s, float *out, double t, double h, const float *newest)
{
    double sigma = exp(-t - h), part = -sigma * 1.5 * (expm1(h) / h - 1);
    COMBINE(s, out, { 1, s->saved }, { -sigma * expm1(h) - part, s->history[0] }, { part, newest });
}

/* --- dpm_fast: as many calls as steps, in steps of three calls and at the end one of fewer --- */

struct fast_step {
    int order;
    double t, h;
};

static struct fast_step fast_step(const struct sampler *s, int64_t i)
{
    int64_t calls = s->sigma_count - 1, steps = calls / 3 + 1, rest = calls % 3;
    double first = -log(s->sigmas[0]), last = -log(last_level(s));
    double t = linspace(first, last, i, steps + 1), next = linspace(first, last, i + 1, steps + 1);
    int order = i < steps - 2 ? 3 : i == steps - 2 ? (rest ? 3 : 2) : rest ? (int)rest : 1;
    return (struct fast_step){ order, t, next - t };
}

MUST_USE static bool plan_fast(struct sampler *s, struct err *e)
{
    if (!k_plan(s, e) || !check_way(s, "dpm_fast", e))
        return false;
    int64_t call = 0;
    for (int64_t i = 0; call < s->calls; i++) {
        struct fast_step f = fast_step(s, i);
        for (int stage = 0; stage < f.order; stage++, call++) {
            double part = (double)stage / (f.order == 2 ? 2 : 3);
            k_plan_call(s, &s->planned[call], f32(exp(-f.t - part * f.h)));
            s->planned[call].stage = stage;
        }
    }
    return true;
}

static bool take_fast(struct sampler *s, const float *output, struct err *e)
{
    const struct planned_call *call = &s->planned[s->call];
    /* Which of its own steps this is; all but the last two have three calls. */
    int64_t i = (s->call - call->stage + 2) / 3;
    struct fast_step f = fast_step(s, i);
    k_x0(s, call->sigma, output);
    if (call->stage == 0)
        COMBINE(s, s->saved, { 1, s->x });
    keep_noise(s, call->sigma, call->stage);
    const float *newest = s->history[call->stage];
    if (f.order == 1)
        COMBINE(s, s->x, { 1, s->saved }, { -exp(-f.t - f.h) * expm1(f.h), newest });
    else if (call->stage == 0)
        to_second(s, f.t, f.order == 2 ? 0.5 : 1.0 / 3, f.h);
    else if (f.order == 2)
        to_end_second(s, s->x, f.t, 0.5, f.h, newest);
    else if (call->stage == 1)
        to_third(s, f.t, f.h);
    else
        to_end_third(s, s->x, f.t, f.h, newest);
    return true;
}

/* --- dpm_adaptive: the difference of orders two and three says how long a step may be --- */

enum { LOW = 2, BEFORE = 3, ADAPTIVE_HISTORY = 4, ADAPTIVE_MOST_CALLS = 100000 };

MUST_USE static bool plan_adaptive(struct sampler *s, struct err *e)
{
    if (!k_plan(s, e) || !check_way(s, "dpm_adaptive", e))
        return false;
    s->calls = ADAPTIVE_MOST_CALLS;
    return true;
}

static double adaptive_end(const struct sampler *s)
{
    return -log(last_level(s));
}

/* Length of the step that is tried. */
static double adaptive_length(const struct sampler *s)
{
    return fmin(adaptive_end(s) - s->t, s->t_step);
}

void adaptive_begin(struct sampler *s)
{
    s->calls = ADAPTIVE_MOST_CALLS;
    s->t = -log(s->sigmas[0]);
    s->t_step = 0.05;
    COMBINE(s, s->history[BEFORE], { 1, s->x });
    s->planned[0].stage = 0;
    s->planned[0].step = 0;
    k_plan_call(s, &s->planned[0], s->sigmas[0]);
}

/* Size of the difference in units of what is allowed: 0.0078, or 5 % of x. */
static double adaptive_error(const struct sampler *s)
{
    const float *low = s->history[LOW], *before = s->history[BEFORE];
    double sum = 0;
    for (size_t i = 0; i < s->count; i++) {
        double allowed = fmax(0.0078, 0.05 * (double)fmaxf(fabsf(low[i]), fabsf(before[i])));
        double part = ((double)low[i] - (double)s->x[i]) / allowed;
        sum += part * part;
    }
    return sqrt(sum / (double)s->count);
}

/* Takes or refuses the step in s->x, and chooses the length of the next try. A refused step keeps its first call's noise. */
static void adaptive_judge(struct sampler *s)
{
    double h = adaptive_length(s), factor = 1 + atan(pow(1 / (adaptive_error(s) + 1e-8), 1.0 / 3) - 1);
    struct planned_call *call = &s->planned[0];
    s->t_step *= factor;
    if (factor >= 0.81) {
        COMBINE(s, s->history[BEFORE], { 1, s->history[LOW] });
        s->t += h;
        double first = -log(s->sigmas[0]), gone = (s->t - first) / (adaptive_end(s) - first);
        call->step = (int64_t)fmin(gone * (double)(s->sigma_count - 1), (double)(s->sigma_count - 2));
        call->stage = 0;
        k_plan_call(s, call, f32(exp(-s->t)));
        if (s->t >= adaptive_end(s) - 1e-5)
            s->calls = s->call + 1;
        return;
    }
    h = adaptive_length(s);
    to_second(s, s->t, 1.0 / 3, h);
    call->stage = 1;
    k_plan_call(s, call, f32(exp(-s->t - h / 3)));
}

static bool take_adaptive(struct sampler *s, const float *output, struct err *e)
{
    struct planned_call *call = &s->planned[0];
    double h = adaptive_length(s);
    if (s->call == ADAPTIVE_MOST_CALLS - 1)
        return err_set(e, ERR_LIMIT, "dpm_adaptive came to no end in %d model calls", ADAPTIVE_MOST_CALLS);
    k_x0(s, call->sigma, output);
    if (call->stage == 0) {
        COMBINE(s, s->saved, { 1, s->x });
        keep_noise(s, call->sigma, 0);
        to_second(s, s->t, 1.0 / 3, h);
        call->stage = 1;
        k_plan_call(s, call, f32(exp(-s->t - h / 3)));
    } else if (call->stage == 1) {
        keep_noise(s, call->sigma, 1);
        to_end_second(s, s->history[LOW], s->t, 1.0 / 3, h, s->history[1]);
        to_third(s, s->t, h);
        call->stage = 2;
        k_plan_call(s, call, f32(exp(-s->t - 2 * h / 3)));
    } else {
        keep_noise(s, call->sigma, 1);
        to_end_third(s, s->x, s->t, h, s->history[1]);
        adaptive_judge(s);
    }
    return true;
}

const struct sampler_method method_k_dpm_fast = {
    .plan = plan_fast, .take = take_fast, .calls_per_step = 1, .history = 3, .saves = true
};
const struct sampler_method method_k_dpm_adaptive = {
    .plan = plan_adaptive, .take = take_adaptive, .calls_per_step = 1, .history = ADAPTIVE_HISTORY, .saves = true,
    .adaptive = true
};
