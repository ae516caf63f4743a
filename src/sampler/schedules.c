#include "sampler/schedules.h"

#include <math.h>

#include "base/mem.h"
#include "base/text.h"
#include "sampler/sampler_internal.h"

void sigmas_release(struct sigmas *s)
{
    mem_free(s->at);
    *s = (struct sigmas){ 0 };
}

/* Room for `count` levels, all 0. */
MUST_USE static bool sigmas_room(struct sigmas *out, int64_t steps, int64_t count, struct err *e)
{
    *out = (struct sigmas){ 0 };
    if (steps < 1 || steps > SAMPLER_MAX_STEPS)
        return err_set(e, ERR_ARG, "%lld steps: want 1 to %d", (long long)steps, SAMPLER_MAX_STEPS);
    out->at = mem_zeroed((size_t)count, sizeof *out->at);
    if (!out->at)
        return err_nomem(e, "sigmas");
    out->count = count;
    return true;
}

/* Rounds to f32, and refuses levels that are no numbers or below 0. */
MUST_USE static bool sigmas_finish(struct sigmas *s, const char *schedule, struct err *e)
{
    for (int64_t i = 0; i < s->count; i++) {
        s->at[i] = f32(s->at[i]);
        if (!isfinite(s->at[i]) || s->at[i] < 0) {
            err_set(e, ERR_ARG, "schedule %s with these settings: noise level %lld is %g", schedule, (long long)i, s->at[i]);
            sigmas_release(s);
            return false;
        }
    }
    return true;
}

/* --- levels of a model --- */

/* The logarithms are f32, as ComfyUI keeps them. */
double schedule_sigma_at(const struct noise_schedule *n, double t)
{
    t = fmin(fmax(t, 0), (double)(n->count - 1));
    int64_t low = (int64_t)floor(t), high = (int64_t)ceil(t);
    double part = t - (double)low;
    return exp((1 - part) * f32(log(n->sigmas[low])) + part * f32(log(n->sigmas[high])));
}

/* Of two equally near ones the first. */
int64_t schedule_timestep_of(const struct noise_schedule *n, double sigma)
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

/* --- by name --- */

enum schedule_kind {
    SCHEDULE_NORMAL,
    SCHEDULE_KARRAS,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_SGM_UNIFORM,
    SCHEDULE_SIMPLE,
    SCHEDULE_DDIM_UNIFORM,
    SCHEDULE_BETA,
    SCHEDULE_LINEAR_QUADRATIC,
    SCHEDULE_KL_OPTIMAL,
};

const struct schedule_name schedule_names[] = {
    [SCHEDULE_NORMAL] = { "normal", "evenly spaced training timesteps" },
    [SCHEDULE_KARRAS] = { "karras", "more steps at low noise (Karras et al. 2022, rho 7)" },
    [SCHEDULE_EXPONENTIAL] = { "exponential", "evenly spaced in the logarithm of the noise" },
    [SCHEDULE_SGM_UNIFORM] = { "sgm_uniform", "evenly spaced timesteps that stop one step before the last" },
    [SCHEDULE_SIMPLE] = { "simple", "every so-many-th training timestep, from the noisiest on" },
    [SCHEDULE_DDIM_UNIFORM] = { "ddim_uniform", "every so-many-th training timestep, up from the second: the step count can differ" },
    [SCHEDULE_BETA] = { "beta", "more steps at both ends (Lee et al. 2024, Beta(0.6, 0.6))" },
    [SCHEDULE_LINEAR_QUADRATIC] = { "linear_quadratic", "slow in the first half of the steps, then ever faster" },
    [SCHEDULE_KL_OPTIMAL] = { "kl_optimal", "evenly spaced in the arc tangent of the noise" },
    { 0 }
};

/* NULL if there is none of that name ('-' and '_' count as the same). */
static const struct schedule_name *find(const char *name)
{
    for (const struct schedule_name *s = schedule_names; s->name; s++)
        if (text_same_name(s->name, name))
            return s;
    return NULL;
}

/* Genmo's Mochi: 1 - sigma rises linearly to 0.025 over half of the steps, then as the parabola that goes on with the same
 * slope and ends at 1. */
static double linear_quadratic(int64_t i, int64_t steps)
{
    const double threshold = 0.025;
    int64_t linear = steps / 2, curved = steps - linear;
    if (i >= steps)
        return 0;
    if (steps == 1)
        return 1;
    double slope = threshold / (double)linear;
    if (i < linear)
        return 1 - (double)i * slope;
    double missing = (double)linear - threshold * (double)steps, square = (double)(curved * curved);
    double bend = missing / ((double)linear * square), tilt = slope - 2 * missing / square;
    return 1 - (bend * (double)(i * i) + tilt * (double)i + bend * (double)(linear * linear));
}

/* Sabour et al. 2024, "Align Your Steps", in f32 like ComfyUI: near the noisy end of a zero-SNR model the tangent turns
 * the last bit of its argument into a third digit. */
static double kl_optimal(double most, double least, int64_t i, int64_t steps)
{
    float part = steps > 1 ? (float)i / (float)(steps - 1) : 0;
    return (double)tanf(part * (float)atan(least) + (1 - part) * (float)atan(most));
}

/* The i-th of `steps` levels of the schedules that have exactly so many. */
static double level_of(const struct noise_schedule *n, enum schedule_kind kind, int64_t i, int64_t steps)
{
    double last_t = (double)(n->count - 1), most = n->sigmas[n->count - 1], least = n->sigmas[0];
    switch (kind) {
    case SCHEDULE_NORMAL:
        return schedule_sigma_at(n, linspace(last_t, 0, i, steps));
    case SCHEDULE_KARRAS:
        return sigma_karras(most, least, 7, i, steps);
    case SCHEDULE_EXPONENTIAL:
        return sigma_exponential(most, least, i, steps);
    case SCHEDULE_SGM_UNIFORM:
        return schedule_sigma_at(n, linspace(last_t, 0, i, steps + 1));
    case SCHEDULE_SIMPLE:
        return n->sigmas[n->count - 1 - (int64_t)((double)i * ((double)n->count / (double)steps))];
    case SCHEDULE_LINEAR_QUADRATIC:
        return f32(linear_quadratic(i, steps)) * most;
    case SCHEDULE_KL_OPTIMAL:
        return kl_optimal(most, least, i, steps);
    case SCHEDULE_DDIM_UNIFORM:
    case SCHEDULE_BETA:
        break;
    }
    return 0;
}

MUST_USE static bool ddim_uniform(struct sigmas *out, const struct noise_schedule *n, int64_t steps, struct err *e)
{
    int64_t stride = n->count / steps > 1 ? n->count / steps : 1, levels = (n->count - 2) / stride + 1;
    if (n->count < 2)
        return err_set(e, ERR_ARG, "schedule ddim_uniform starts at the second training timestep: this model has one");
    if (!sigmas_room(out, steps, levels + 1, e))
        return false;
    for (int64_t i = 0; i < levels; i++)
        out->at[i] = n->sigmas[1 + (levels - 1 - i) * stride];
    return true;
}

bool schedule_sigmas_whole(struct sigmas *out, const struct noise_schedule *n, const char *name, int64_t steps, struct err *e)
{
    const struct schedule_name *found = find(name);
    *out = (struct sigmas){ 0 };
    if (!found) {
        err_set(e, ERR_ARG, "no schedule \"%s\"; there are:", name);
        for (const struct schedule_name *s = schedule_names; s->name; s++)
            sampler_list_name(e, s->name);
        return false;
    }
    enum schedule_kind kind = (enum schedule_kind)(found - schedule_names);
    if (kind == SCHEDULE_DDIM_UNIFORM)
        return ddim_uniform(out, n, steps, e);
    if (kind == SCHEDULE_BETA)
        return sigmas_beta(out, n, steps, 0.6, 0.6, e);
    if (kind == SCHEDULE_SIMPLE && steps > n->count)
        return err_set(e, ERR_ARG, "schedule simple has at most %lld steps on this model, %lld were asked for",
                       (long long)n->count, (long long)steps);
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    for (int64_t i = 0; i < steps; i++)
        out->at[i] = level_of(n, kind, i, steps);
    return sigmas_finish(out, name, e);
}

int64_t schedule_steps_before(int64_t steps, double denoise)
{
    return denoise > 0.9999 ? steps : (int64_t)fmin((double)steps / denoise, (double)INT32_MAX);
}

void sigmas_keep_last(struct sigmas *s, int64_t count)
{
    for (int64_t i = 0; s->count > count && i < count; i++)
        s->at[i] = s->at[s->count - count + i];
    s->count = s->count > count ? count : s->count;
}

bool schedule_sigmas(struct sigmas *out, const struct noise_schedule *n, const char *name, int64_t steps, double denoise,
                     struct err *e)
{
    *out = (struct sigmas){ 0 };
    if (!(denoise > 0 && denoise <= 1))
        return err_set(e, ERR_ARG, "denoise %g: want more than 0, at most 1", denoise);
    if (!schedule_sigmas_whole(out, n, name, schedule_steps_before(steps, denoise), e))
        return err_add(e, "%lld steps, denoise %g", (long long)steps, denoise);
    sigmas_keep_last(out, steps + 1);
    return true;
}

/* --- with settings --- */

bool sigmas_karras(struct sigmas *out, int64_t steps, double most, double least, double rho, struct err *e)
{
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    for (int64_t i = 0; i < steps; i++)
        out->at[i] = sigma_karras(most, least, rho, i, steps);
    return sigmas_finish(out, "karras", e);
}

bool sigmas_exponential(struct sigmas *out, int64_t steps, double most, double least, struct err *e)
{
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    for (int64_t i = 0; i < steps; i++)
        out->at[i] = sigma_exponential(most, least, i, steps);
    return sigmas_finish(out, "exponential", e);
}

bool sigmas_polyexponential(struct sigmas *out, int64_t steps, double most, double least, double rho, struct err *e)
{
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    for (int64_t i = 0; i < steps; i++)
        out->at[i] = exp(pow(linspace(1, 0, i, steps), rho) * (log(most) - log(least)) + log(least));
    return sigmas_finish(out, "polyexponential", e);
}

bool sigmas_laplace(struct sigmas *out, int64_t steps, double most, double least, double mu, double beta, struct err *e)
{
    if (!sigmas_room(out, steps, steps, e))
        return false;
    for (int64_t i = 0; i < steps; i++) {
        double from_middle = 0.5 - linspace(0, 1, i, steps), side = (from_middle > 0) - (from_middle < 0);
        double level = exp(mu - beta * side * log(1 - 2 * fabs(from_middle) + 1e-5));
        out->at[i] = fmin(fmax(level, least), most);
    }
    return sigmas_finish(out, "laplace", e);
}

bool sigmas_vp(struct sigmas *out, int64_t steps, double beta_d, double beta_min, double eps, struct err *e)
{
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    for (int64_t i = 0; i < steps; i++) {
        double t = linspace(1, eps, i, steps);
        out->at[i] = sqrt(expm1(beta_d * t * t / 2 + beta_min * t));
    }
    return sigmas_finish(out, "vp", e);
}

bool sigmas_beta(struct sigmas *out, const struct noise_schedule *n, int64_t steps, double alpha, double beta, struct err *e)
{
    *out = (struct sigmas){ 0 };
    if (!(alpha > 0 && alpha <= 1000 && beta > 0 && beta <= 1000))
        return err_set(e, ERR_ARG, "schedule beta: alpha %g, beta %g: want more than 0, at most 1000", alpha, beta);
    if (!sigmas_room(out, steps, steps + 1, e))
        return false;
    int64_t used = 0, before = -1;
    for (int64_t i = 0; i < steps; i++) {
        double part = beta_quantile(1 - (double)i / (double)steps, alpha, beta);
        int64_t t = (int64_t)rint(part * (double)(n->count - 1));
        if (t != before)
            out->at[used++] = n->sigmas[t];
        before = t;
    }
    out->at[used++] = 0;
    out->count = used;
    return true;
}

bool sigmas_sd_turbo(struct sigmas *out, const struct noise_schedule *n, int64_t steps, double denoise, struct err *e)
{
    *out = (struct sigmas){ 0 };
    int64_t first = denoise > 0 && denoise <= 1 ? 10 - (int64_t)(10 * denoise) : 10;
    if (steps < 1 || steps > 10 || first > 9)
        return err_set(e, ERR_ARG, "schedule sd_turbo: %lld steps, denoise %g: want 1 to 10 steps and 0.1 to 1",
                       (long long)steps, denoise);
    int64_t levels = steps < 10 - first ? steps : 10 - first;
    if (!sigmas_room(out, steps, levels + 1, e))
        return false;
    for (int64_t i = 0; i < levels; i++)
        out->at[i] = schedule_sigma_at(n, (double)(100 * (10 - first - i) - 1));
    return sigmas_finish(out, "sd_turbo", e);
}
