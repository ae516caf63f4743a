/* Which timesteps and sigmas the diffusers classes choose: their set_timesteps, with numpy's and torch's
 * roundings. */
#include "sampler/diffusers_internal.h"

#include <math.h>

#include "base/mem.h"

static const unsigned on_timesteps = 1u << SCHEDULER_DDIM | 1u << SCHEDULER_PNDM | 1u << SCHEDULER_DDPM | 1u << SCHEDULER_LCM |
                                     1u << SCHEDULER_TCD;

/* abar as the class uses it: those on sigmas put 2^-24 where a zero-SNR rescale left 0, so that sigma stays
 * finite. */
static double abar_at(const struct sampler *s, int64_t t)
{
    bool last = t == s->schedule.count - 1;
    if (last && s->config.rescale_zero_snr && !(on_timesteps >> s->config.class & 1))
        return 0x1p-24;
    return s->schedule.alphas_cumprod[t];
}

/* sqrt((1 - abar) / abar) in f32. */
static double ve_sigma(const struct sampler *s, int64_t t)
{
    float abar = (float)abar_at(s, t);
    return (double)sqrtf((1 - abar) / abar);
}

/* numpy.arange(total, 0, -ratio)[i], whose step is the rounded difference of its first two values. */
static double trailing(double total, double ratio, int64_t i)
{
    return rint(total + (double)i * ((total - ratio) - total));
}

/* The i-th timestep, falling, of `steps`; DPM and UniPC (one_more) space one point more than steps and leave
 * out the last. `total` is the number of training timesteps, or fewer where lambda_min_clipped cuts off the
 * noisiest. numpy gives one timestep too many (-1) for some step counts with trailing spacing (61, 103, ...):
 * those runs end a step earlier here. */
static double timestep(const struct scheduler_config *c, int64_t i, int64_t steps, int64_t total,
                       bool one_more, bool whole)
{
    int64_t points = one_more ? steps + 1 : steps, up = points - 1 - i;
    switch (c->spacing) {
    case SPACING_LINSPACE: {
        double t = linspace(0, (double)(total - 1), up, points);
        return whole ? rint(t) : f32(t);
    }
    case SPACING_LEADING:
        return (double)(up * (total / points) + c->steps_offset);
    case SPACING_TRAILING:
        break;
    }
    return trailing((double)total, (double)c->train_steps / (double)steps, i) - 1;
}

/* torch.searchsorted on lambda, rising: how many of the noisiest timesteps lie below lambda_min_clipped. */
static int64_t clipped_away(const struct sampler *s)
{
    int64_t n = s->schedule.count, cut = 0;
    while (cut < n) {
        float abar = (float)abar_at(s, n - 1 - cut);
        if (logf(sqrtf(abar)) - logf(sqrtf(1 - abar)) >= (float)s->config.lambda_min_clipped)
            break;
        cut++;
    }
    return cut;
}

MUST_USE static bool check_timestep(const struct sampler *s, double t, struct err *e)
{
    if (t >= 0 && t <= (double)(s->schedule.count - 1))
        return true;
    return err_set(e, ERR_ARG,
                   "%lld steps of %s ask for timestep %g: the model has 0 to %lld (steps_offset is %lld)",
                   (long long)s->steps, scheduler_class_name(s->config.class), t,
                   (long long)(s->schedule.count - 1), (long long)s->config.steps_offset);
}

MUST_USE static bool check_steps(const struct sampler *s, int64_t least, struct err *e)
{
    if (s->steps <= s->schedule.count && s->steps >= least)
        return true;
    return err_set(e, ERR_ARG, "%lld steps: %s takes %lld to %lld here", (long long)s->steps,
                   scheduler_class_name(s->config.class), (long long)least, (long long)s->schedule.count);
}

/* --- DDIM and PNDM: integer timesteps and abar --- */

double diffusers_abar(const struct sampler *s, int64_t t)
{
    if (t >= 0)
        return abar_at(s, t < s->schedule.count ? t : s->schedule.count - 1);
    return s->config.set_alpha_to_one ? 1 : s->schedule.alphas_cumprod[0];
}

/* Takes over the whole run's timesteps from start_step on. */
MUST_USE static bool plan_timesteps(struct sampler *s, struct err *e)
{
    if (s->start_step >= s->all_calls)
        return err_set(e, ERR_ARG, "start step %lld of %lld", (long long)s->start_step,
                       (long long)s->all_calls);
    if (!sampler_plan_room(s, s->all_calls - s->start_step, 0, e))
        return false;
    for (int64_t i = 0; i < s->calls; i++) {
        s->planned[i].timestep = (double)s->train_timesteps[s->start_step + i];
        if (!check_timestep(s, s->planned[i].timestep, e))
            return false;
    }
    double abar = diffusers_abar(s, (int64_t)s->planned[0].timestep);
    if (abar <= 0 && s->config.prediction == PREDICTION_EPSILON)
        return err_set(e, ERR_ARG,
                       "%s starts at timestep %g, which holds no signal (rescale_betas_zero_snr): "
                       "prediction_type epsilon says nothing there; timestep_spacing leading or another "
                       "class can be used",
                       scheduler_class_name(s->config.class), s->planned[0].timestep);
    s->noise_scale = 1;
    s->latent_factor = sqrt(abar);
    s->noise_factor = sqrt(1 - abar);
    return true;
}

bool diffusers_plan_ddim(struct sampler *s, struct err *e)
{
    if (!check_steps(s, 1, e))
        return false;
    s->all_calls = s->steps;
    s->train_timesteps = mem_zeroed((size_t)s->all_calls, sizeof(int64_t));
    if (!s->train_timesteps)
        return err_nomem(e, "timesteps");
    for (int64_t i = 0; i < s->steps; i++)
        s->train_timesteps[i] = (int64_t)timestep(&s->config, i, s->steps, s->schedule.count, false, true);
    return plan_timesteps(s, e);
}

/* Every train_steps / original_steps-th timestep was trained for, counted so that the last is one of them; of these, falling, as
 * evenly as whole numbers allow. */
bool diffusers_plan_few(struct sampler *s, struct err *e)
{
    int64_t original = s->config.original_steps, stride = s->config.train_steps / original;
    if (stride < 1)
        return err_set(e, ERR_ARG, "%s: original_inference_steps is %lld, of %lld training timesteps",
                       scheduler_class_name(s->config.class), (long long)original, (long long)s->config.train_steps);
    if (s->steps > original)
        return err_set(e, ERR_ARG, "%lld steps: %s takes 1 to %lld here (original_inference_steps)", (long long)s->steps,
                       scheduler_class_name(s->config.class), (long long)original);
    s->all_calls = s->steps;
    s->train_timesteps = mem_zeroed((size_t)s->all_calls, sizeof(int64_t));
    if (!s->train_timesteps)
        return err_nomem(e, "timesteps");
    for (int64_t i = 0; i < s->steps; i++) {
        int64_t from_top = (int64_t)floor((double)i * ((double)original / (double)s->steps));
        s->train_timesteps[i] = (original - from_top) * stride - 1;
    }
    return plan_timesteps(s, e);
}

/* Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds". With Runge-Kutta's start the
 * first three of the spaced timesteps take four calls each, at the whole, half and next timestep; without it
 * the second timestep is asked for twice. */
bool diffusers_plan_pndm(struct sampler *s, struct err *e)
{
    bool skip = s->config.skip_prk_steps;
    if (!check_steps(s, skip ? 1 : 4, e))
        return false;
    int64_t n = s->steps;
    s->prk_count = skip ? 0 : 12;
    s->all_calls = skip ? (n > 1 ? n + 1 : 1) : 12 + n - 3;
    s->train_timesteps = mem_zeroed((size_t)s->all_calls, sizeof(int64_t));
    if (!s->train_timesteps)
        return err_nomem(e, "timesteps");
    int64_t at = 0, half = s->schedule.count / n / 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t t = (int64_t)timestep(&s->config, i, n, s->schedule.count, false, true);
        if (skip) {
            s->train_timesteps[at++] = t;
            if (i == 1)
                s->train_timesteps[at++] = t;
            continue;
        }
        /* Falling: t0 | t1 + half, t1 + half, t1 | t1, t2 + half, ... : each of the first three starts at a
         * whole timestep and ends at the next one. */
        if (i > 0 && i <= 3) {
            s->train_timesteps[at++] = t + half;
            s->train_timesteps[at++] = t + half;
            s->train_timesteps[at++] = t;
        }
        s->train_timesteps[at++] = t;
    }
    return plan_timesteps(s, e);
}

/* --- the classes on sigmas --- */

static bool spaces_sigmas(const struct scheduler_config *c)
{
    return c->sigmas != SIGMAS_PLAIN || (c->class == SCHEDULER_DPM_MULTISTEP && c->lu_lambdas);
}

/* The classes that work on x = alpha x0 + sigma noise and tell the model whole timesteps. */
static bool works_in_vp(const struct scheduler_config *c)
{
    return c->class == SCHEDULER_DPM_MULTISTEP || c->class == SCHEDULER_UNIPC || c->class == SCHEDULER_DPM_SINGLESTEP ||
           c->class == SCHEDULER_DEIS;
}

static bool is_kdpm2(const struct scheduler_config *c)
{
    return c->class == SCHEDULER_KDPM2 || c->class == SCHEDULER_KDPM2_ANCESTRAL;
}

/* KDPM2's second call of each step lies in the middle, in log sigma, of the step, or of its part without noise: s->planned.sigma,
 * 0 at the last step. */
static void plan_middles(struct sampler *s)
{
    int64_t n = s->schedule.count;
    bool ancestral = s->config.class == SCHEDULER_KDPM2_ANCESTRAL;
    for (int64_t call = 0; call < s->planned_calls; call++) {
        struct planned_call *p = &s->planned[call];
        double from = s->sigmas[s->first + p->step], to = s->sigmas[s->first + p->step + 1];
        float up;
        double down = ancestral ? (double)diffusers_down((float)from, (float)to, &up) : to;
        p->sigma = f32(sqrt(from * down));
        if (p->stage == 0)
            continue;
        /* the place between the whole timesteps around it, by log sigma */
        int64_t low = 0;
        while (low < n - 2 && ve_sigma(s, low + 1) <= p->sigma)
            low++;
        double logs[2] = { (double)logf((float)ve_sigma(s, low)), (double)logf((float)ve_sigma(s, low + 1)) };
        p->timestep = f32((double)low + sigma_to_t(logs, 2, p->sigma));
        p->divisor = (float)sqrt(p->sigma * p->sigma + 1);
    }
}

/* The whole run's s->steps sigmas, the last one behind them, and its timesteps. The multistep classes tell
 * the model whole timesteps. `asked` is what the spacing is computed with; `total` is how many training
 * timesteps are used. */
MUST_USE static bool fill_sigmas(struct sampler *s, int64_t asked, int64_t total, double *sigmas, double *ts,
                                 struct err *e)
{
    const struct scheduler_config *c = &s->config;
    int64_t n = s->schedule.count, steps = s->steps;
    bool dpm = c->class == SCHEDULER_DPM_MULTISTEP, unipc = c->class == SCHEDULER_UNIPC, whole = works_in_vp(c);
    bool repeats = unipc || c->class == SCHEDULER_DEIS, kdpm2 = is_kdpm2(c);
    double *table = mem_aligned(sizeof(double) * (size_t)n), *logs = mem_aligned(sizeof(double) * (size_t)n);
    bool ok = table && logs;
    if (!ok)
        err_nomem(e, "sigmas");
    for (int64_t t = 0; ok && t < n; t++) {
        table[t] = ve_sigma(s, t);
        logs[t] = (double)logf((float)table[t]);
    }
    for (int64_t i = 0; ok && i < steps; i++) {
        ts[i] = timestep(c, i, asked, total, whole, whole);
        sigmas[i] = interpolate(table, n, ts[i]);
        ok = spaces_sigmas(c) || check_timestep(s, ts[i], e);
    }
    if (ok) {
        /* The ends of a spacing by sigma: the whole table for the multistep classes, this run's own for the
         * others. */
        double most = whole ? table[n - 1] : sigmas[0], least = whole ? table[0] : sigmas[steps - 1];
        if (c->class == SCHEDULER_EULER && c->log_linear) {
            for (int64_t i = 0; i < steps; i++)
                sigmas[i] = exp(f32(linspace(logs[n - 1], logs[0], i, steps + 1)));
            most = table[n - 1];
            least = table[0];
        }
        if (c->class != SCHEDULER_LMS || c->sigmas != SIGMAS_KARRAS) {
            most = c->sigma_max > 0 ? c->sigma_max : most;
            least = c->sigma_min > 0 ? c->sigma_min : least;
        }
        bool spaced = spaces_sigmas(c), lu = dpm && c->lu_lambdas && c->sigmas != SIGMAS_KARRAS;
        for (int64_t i = 0; spaced && i < steps; i++) {
            if (lu)
                sigmas[i] = exp(linspace(logs[n - 1], logs[0], i, steps));
            else if (c->sigmas == SIGMAS_KARRAS)
                sigmas[i] = sigma_karras(most, least, 7, i, steps);
            else if (c->sigmas == SIGMAS_EXPONENTIAL)
                sigmas[i] = sigma_exponential(most, least, i, steps);
            else
                sigmas[i] = sigma_beta(most, least, i, steps);
            ts[i] = sigma_to_t(logs, n, sigmas[i]);
            bool rounds = unipc ? c->sigmas == SIGMAS_KARRAS
                                : (c->sigmas == SIGMAS_KARRAS || lu) && c->beta_schedule != BETAS_SQUAREDCOS;
            if (c->class == SCHEDULER_DPM_SINGLESTEP || c->class == SCHEDULER_DEIS)
                rounds = c->sigmas == SIGMAS_KARRAS;
            if (whole)
                ts[i] = rounds ? rint(ts[i]) : trunc(ts[i]);
            else if (kdpm2 && c->sigmas == SIGMAS_KARRAS)
                ts[i] = rint(ts[i]);
        }
        for (int64_t i = 0; i < steps; i++) {
            sigmas[i] = f32(sigmas[i]);
            ts[i] = f32(ts[i]);
        }
        double end = 0;
        if (c->class == SCHEDULER_EULER && c->log_linear && !spaced)
            end = f32(exp(f32(logs[0]))); /* its last step ends here and not at final_sigmas_type */
        else if (c->final_sigma_min)
            end = repeats && spaced ? sigmas[steps - 1] : table[0];
        sigmas[steps] = end;
    }
    mem_free(table);
    mem_free(logs);
    return ok;
}

bool diffusers_plan_sigmas(struct sampler *s, struct err *e)
{
    const struct scheduler_config *c = &s->config;
    bool in_vp = works_in_vp(c);
    int64_t asked = s->steps, per = s->method->calls_per_step, total = s->schedule.count;
    if (!check_steps(s, 1, e))
        return false;
    if (c->class == SCHEDULER_DPM_MULTISTEP || c->class == SCHEDULER_DPM_SINGLESTEP)
        total -= clipped_away(s);
    if (total < 1)
        return err_set(e, ERR_FORMAT, "lambda_min_clipped %g leaves no timestep", c->lambda_min_clipped);
    /* With trailing spacing the stride stays that of all training timesteps, so that what is clipped away
     * costs steps. */
    if (c->spacing == SPACING_TRAILING && total < c->train_steps && !spaces_sigmas(c))
        s->steps = (int64_t)ceil((double)total / ((double)c->train_steps / (double)asked));
    int64_t left = s->steps - s->start_step;
    if (left < 1)
        return err_set(e, ERR_ARG, "start step %lld: lambda_min_clipped leaves %lld steps",
                       (long long)s->start_step, (long long)s->steps);
    if (!sampler_plan_room(s, per * left - (per - 1), s->steps + 1, e))
        return false;
    double *ts = mem_zeroed((size_t)s->steps, sizeof(double));
    if (!ts)
        return err_nomem(e, "timesteps");
    bool ok = fill_sigmas(s, asked, total, s->sigmas, ts, e);
    s->first = s->start_step;
    double most = 0;
    for (int64_t i = 0; ok && i < s->steps; i++)
        most = fmax(most, s->sigmas[i]);
    bool continuous = c->class == SCHEDULER_EULER && c->continuous_timesteps && c->prediction == PREDICTION_V;
    for (int64_t call = 0; ok && call < s->calls; call++) {
        int64_t at = s->first + (per == 2 ? (call + 1) / 2 : call);
        s->planned[call].timestep = continuous ? f32(0.25 * f32(log(s->sigmas[at]))) : ts[at];
        s->planned[call].sigma = s->sigmas[at];
        s->planned[call].divisor = in_vp ? 1 : (float)sqrt(s->sigmas[at] * s->sigmas[at] + 1);
    }
    mem_free(ts);
    if (!ok)
        return false;
    if (is_kdpm2(c))
        plan_middles(s);
    double first = s->sigmas[s->first];
    if (in_vp) {
        s->noise_scale = 1;
        s->latent_factor = 1 / sqrt(first * first + 1);
        s->noise_factor = first * s->latent_factor;
    } else {
        s->noise_scale = c->spacing == SPACING_LEADING ? sqrt(most * most + 1) : most;
        s->latent_factor = 1;
        s->noise_factor = first;
    }
    return true;
}
