#include "sampler/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sampler/diffusers_internal.h"

/* In the order of scheduler_class. */
static const struct sampler_method *const class_methods[] = {
    &method_ddim, &method_pndm, &method_euler, &method_euler_ancestral,
    &method_heun, &method_dpm,  &method_lms,   &method_unipc,
    &method_dpm_singlestep, &method_kdpm2, &method_kdpm2_ancestral, &method_deis, &method_ddpm, &method_lcm, &method_tcd,
};

/* --- loops over latents --- */

void sampler_combine(float *out, size_t count, const struct term *terms, int term_count)
{
    struct term used[TERMS_MAX];
    int n = 0;
    for (int k = 0; k < term_count; k++)
        if (terms[k].factor != 0)
            used[n++] = terms[k];
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (int k = 0; k < n; k++)
            sum += used[k].factor * (double)used[k].array[i];
        out[i] = (float)sum;
    }
}

float *sampler_history_push(struct sampler *s, int keep)
{
    float *oldest = s->history[keep - 1];
    memmove(s->history + 1, s->history, sizeof *s->history * (size_t)(keep - 1));
    s->history[0] = oldest;
    s->history_count = s->history_count < keep ? s->history_count + 1 : keep;
    return oldest;
}

void sampler_x0_from_ve(const struct sampler *s, double sigma, const float *output, float *x0)
{
    double above = sigma * sigma + 1;
    switch (s->config.prediction) {
    case PREDICTION_EPSILON:
        COMBINE(s, x0, { 1, s->x }, { -sigma, output });
        break;
    case PREDICTION_V:
        COMBINE(s, x0, { 1 / above, s->x }, { -sigma / sqrt(above), output });
        break;
    case PREDICTION_SAMPLE:
        COMBINE(s, x0, { 1, output });
        break;
    }
}

void sampler_x0_from_vp(const struct sampler *s, double alpha, double sigma, const float *output, float *x0)
{
    switch (s->config.prediction) {
    case PREDICTION_EPSILON:
        COMBINE(s, x0, { 1 / alpha, s->x }, { -sigma / alpha, output });
        break;
    case PREDICTION_V:
        COMBINE(s, x0, { alpha, s->x }, { -sigma, output });
        break;
    case PREDICTION_SAMPLE:
        COMBINE(s, x0, { 1, output });
        break;
    }
}

void sampler_eps_from_vp(const struct sampler *s, double alpha, double sigma, const float *output, float *eps)
{
    switch (s->config.prediction) {
    case PREDICTION_EPSILON:
        COMBINE(s, eps, { 1, output });
        break;
    case PREDICTION_V:
        COMBINE(s, eps, { alpha, output }, { sigma, s->x });
        break;
    case PREDICTION_SAMPLE:
        COMBINE(s, eps, { 1 / sigma, s->x }, { -alpha / sigma, output });
        break;
    }
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

bool sampler_threshold(const struct sampler *s, float *x0, struct err *e)
{
    size_t each = s->count / (size_t)s->spec.shape.dim[0];
    float *sorted = mem_aligned(sizeof(float) * each);
    if (!sorted)
        return err_nomem(e, "dynamic thresholding");
    for (size_t first = 0; first < s->count; first += each) {
        float *sample = x0 + first;
        for (size_t i = 0; i < each; i++)
            sorted[i] = fabsf(sample[i]);
        qsort(sorted, each, sizeof *sorted, compare_floats);
        /* torch.quantile: the rank in f32, linear between neighbours */
        float rank = (float)s->config.threshold_ratio * (float)(each - 1);
        size_t low = (size_t)rank, high = low + 1 < each ? low + 1 : low;
        float bound = sorted[low] + (rank - (float)low) * (sorted[high] - sorted[low]);
        bound = fminf(fmaxf(bound, 1), (float)s->config.threshold_max);
        for (size_t i = 0; i < each; i++)
            sample[i] = fminf(fmaxf(sample[i], -bound), bound) / bound;
    }
    mem_free(sorted);
    return true;
}

void sampler_draw(struct sampler *s, struct torch_random *noise)
{
    torch_random_normal(noise, s->drawn, s->count);
}

const double adams_bashforth[4][4] = { { 1 },
                                       { 3.0 / 2, -1.0 / 2 },
                                       { 23.0 / 12, -16.0 / 12, 5.0 / 12 },
                                       { 55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24 } };

/* The product has degree order - 1 <= 3, for which two Gauss points are exact. */
double sampler_lms_factor(const double *sigmas, int64_t i, int order, int j)
{
    double middle = (sigmas[i] + sigmas[i + 1]) / 2, half = (sigmas[i + 1] - sigmas[i]) / 2, sum = 0;
    for (int side = -1; side <= 1; side += 2) {
        double at = middle + half * side * 0.57735026918962576451, product = 1;
        for (int k = 0; k < order; k++)
            if (k != j)
                product *= (at - sigmas[i - k]) / (sigmas[i - j] - sigmas[i - k]);
        sum += product;
    }
    return half * sum;
}

/* --- making one --- */

bool sampler_plan_room(struct sampler *s, int64_t calls, int64_t sigma_count, struct err *e)
{
    s->calls = s->planned_calls = calls;
    s->planned = mem_zeroed((size_t)calls, sizeof *s->planned);
    if (sigma_count) {
        s->sigmas = mem_zeroed((size_t)sigma_count, sizeof(double));
        s->sigma_count = sigma_count;
    }
    if (!s->planned || (sigma_count && !s->sigmas))
        return err_nomem(e, "a sampler's plan");
    int per = s->method->calls_per_step;
    for (int64_t i = 0; i < calls; i++)
        s->planned[i] = (struct planned_call){ .divisor = 1, .step = i / per, .stage = (int)(i % per) };
    return true;
}

/* The spec's words and numbers; *method is what it asks for. */
MUST_USE static bool check_spec(const struct sampler_spec *spec, const struct scheduler_config *config,
                                const struct sampler_method **method, struct err *e)
{
    const struct sampler_name *found = sampler_need(spec->sampler, e);
    if (!found)
        return false;
    const char *name = found->name;
    if (spec->schedule && !found->uses_schedule)
        return err_set(e, ERR_ARG,
                       "sampler %s takes its schedule from the model: schedule %s cannot be given", name,
                       spec->schedule);
    bool model = found == sampler_names;
    if (spec->sigmas && model)
        return err_set(e, ERR_ARG, "sampler %s takes its noise levels from the model: others cannot be given", name);
    if (!spec->sigmas && (spec->steps < 1 || spec->steps > SAMPLER_MAX_STEPS))
        return err_set(e, ERR_ARG, "%lld steps: want 1 to %d", (long long)spec->steps, SAMPLER_MAX_STEPS);
    if (!(spec->denoise >= 0 && spec->denoise <= 1))
        return err_set(e, ERR_ARG, "denoise %g: want 0 to 1", spec->denoise);
    if (spec->start_step < 0 || (model && spec->start_step >= spec->steps))
        return err_set(e, ERR_ARG, "start step %lld of %lld steps", (long long)spec->start_step,
                       (long long)spec->steps);
    if (spec->end_step && spec->end_step <= spec->start_step)
        return err_set(e, ERR_ARG, "start step %lld, end step %lld: nothing to do", (long long)spec->start_step,
                       (long long)spec->end_step);
    bool ends_early = spec->end_step && spec->end_step < spec->steps;
    if (model && ends_early && !spec->leftover_noise)
        return err_set(e, ERR_ARG, "end step %lld of %lld: sampler %s can only leave the noise that is there",
                       (long long)spec->end_step, (long long)spec->steps, name);
    if (model && spec->denoise > 0 && spec->denoise < 1 && spec->start_step)
        return err_set(e, ERR_ARG, "start step %lld and denoise %g: sampler %s takes one of them",
                       (long long)spec->start_step, spec->denoise, name);
    if (isnan(spec->eta) || spec->eta > 10)
        return err_set(e, ERR_ARG, "eta %g: want 0 to 10", spec->eta);
    if (!(spec->noise_strength >= 0 && spec->noise_strength <= 100) || !(spec->middle >= 0 && spec->middle <= 100) || spec->most_order < 0)
        return err_set(e, ERR_ARG, "s_noise %g, r %g, order %d: want numbers of 0 to 100", spec->noise_strength, spec->middle,
                       spec->most_order);
    if (spec->shape.rank < 1 || spec->shape.rank > SHAPE_MAX_RANK || shape_count(spec->shape) < 1)
        return err_set(e, ERR_SHAPE, "latents of shape %s", shape_text(spec->shape).s);
    *method = model ? class_methods[config->class] : found->method;
    return true;
}

MUST_USE static bool make_arrays(struct sampler *s, struct err *e)
{
    float **wanted[HISTORY_MAX + 5] = { &s->x, &s->x0 };
    int n = 2;
    if (s->method->saves)
        wanted[n++] = &s->saved;
    if (s->method->draws)
        wanted[n++] = &s->drawn;
    if (s->method->unguided)
        wanted[n++] = &s->u0;
    for (int i = 0; i < s->method->history; i++)
        wanted[n++] = &s->history[i];
    for (int i = 0; i < n; i++) {
        *wanted[i] = mem_zeroed(s->count, sizeof(float));
        if (!*wanted[i])
            return err_nomem(e, "a sampler's latents");
    }
    return true;
}

static bool needs_generator(const struct sampler *s)
{
    const struct scheduler_config *c = &s->config;
    switch (c->class) {
    case SCHEDULER_EULER_ANCESTRAL:
    case SCHEDULER_KDPM2_ANCESTRAL:
    case SCHEDULER_DDPM:
    case SCHEDULER_LCM:
        return true;
    case SCHEDULER_DDIM:
    case SCHEDULER_TCD:
        return s->eta > 0;
    case SCHEDULER_DPM_MULTISTEP:
    case SCHEDULER_DPM_SINGLESTEP:
        return c->algorithm == DPM_SDE_PLUS || c->algorithm == DPM_SDE_PLAIN;
    default:
        return false;
    }
}

bool sampler_new(struct sampler **out, const struct sampler_spec *spec, const struct scheduler_config *config,
                 struct err *e)
{
    *out = NULL;
    const struct sampler_method *method = NULL;
    if (!check_spec(spec, config, &method, e))
        return false;
    struct sampler *s = mem_zeroed(1, sizeof *s);
    if (!s)
        return err_nomem(e, "a sampler");
    s->config = *config;
    s->config.trained_betas = NULL;
    s->method = method;
    s->spec = *spec;
    s->steps = spec->steps;
    s->start_step = spec->start_step;
    bool diffusers = !spec->sampler || sampler_find(spec->sampler) == sampler_names;
    if (diffusers && spec->denoise > 0 && spec->denoise < 1)
        s->start_step = spec->steps - (int64_t)((double)spec->steps * spec->denoise);
    if (diffusers && s->start_step >= spec->steps) {
        sampler_free(s);
        return err_set(e, ERR_ARG, "%lld steps with denoise %g are none", (long long)spec->steps, spec->denoise);
    }
    s->eta = spec->eta >= 0 ? spec->eta : diffusers ? 0 : 1;
    s->noise = spec->noise;
    s->count = (size_t)shape_count(spec->shape);
    if (!noise_schedule_init(&s->schedule, config, e) || !method->plan(s, e) || !make_arrays(s, e)) {
        sampler_free(s);
        return false;
    }
    if (diffusers && spec->end_step && spec->end_step < spec->steps)
        while (s->calls > 1 && s->planned[s->calls - 1].step + s->start_step >= spec->end_step)
            s->calls--;
    if (diffusers && !s->noise && needs_generator(s)) {
        sampler_free(s);
        return err_set(e, ERR_ARG, "%s draws noise in its steps and was given no generator",
                       scheduler_class_name(config->class));
    }
    *out = s;
    return true;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    noise_schedule_release(&s->schedule);
    mem_free(s->planned);
    mem_free(s->sigmas);
    mem_free(s->train_timesteps);
    mem_free(s->x);
    mem_free(s->x0);
    mem_free(s->saved);
    mem_free(s->drawn);
    mem_free(s->u0);
    for (int i = 0; i < HISTORY_MAX; i++)
        mem_free(s->history[i]);
    mem_free(s);
}

/* --- running it --- */

/* Where the plan of the call at hand is. */
static struct planned_call *current(const struct sampler *s)
{
    return s->planned + (s->method->adaptive ? 0 : s->call);
}

int64_t sampler_calls(const struct sampler *s)
{
    return s->method->adaptive && s->call < s->calls ? 0 : s->calls;
}

int64_t sampler_calls_done(const struct sampler *s)
{
    return s->call;
}

bool sampler_done(const struct sampler *s)
{
    return s->call >= s->calls;
}

int64_t sampler_steps(const struct sampler *s)
{
    return s->method->adaptive ? s->sigma_count - 1 : s->planned[s->calls - 1].step + 1;
}

int64_t sampler_steps_done(const struct sampler *s)
{
    return sampler_done(s) ? sampler_steps(s) : current(s)->step;
}

double sampler_timestep(const struct sampler *s, int64_t i)
{
    return s->planned[s->method->adaptive ? 0 : i].timestep;
}

double sampler_noise_scale(const struct sampler *s)
{
    return s->noise_scale;
}

bool sampler_uses_unguided(const struct sampler *s)
{
    return s->method->unguided;
}

/* The generator of ComfyUI's samplers; with the CUDA generator the start noise has been drawn from it. */
static void seed_own_noise(struct sampler *s)
{
    if (!s->spec.cuda_noise) {
        torch_random_seed(&s->own_noise, s->spec.seed + 1);
        return;
    }
    torch_random_seed_cuda(&s->own_noise, s->spec.seed);
    torch_random_skip_normals(&s->own_noise, s->count);
}

void sampler_begin(struct sampler *s, const float *noise, const float *latent)
{
    s->call = s->counter = 0;
    s->history_count = s->this_order = 0;
    seed_own_noise(s);
    double none = noise ? 1 : 0;
    if (latent)
        COMBINE(s, s->x, { none * s->noise_factor, noise }, { s->latent_factor, latent });
    else
        COMBINE(s, s->x, { none * s->noise_scale, noise });
    if (s->method->adaptive)
        adaptive_begin(s);
}

double sampler_input(struct sampler *s, float *input)
{
    const struct planned_call *call = current(s);
    for (size_t i = 0; i < s->count; i++)
        input[i] = s->x[i] / call->divisor;
    return call->timestep;
}

static bool all_finite(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

bool sampler_take(struct sampler *s, const float *output, const float *unguided, struct err *e)
{
    long long step = (long long)(sampler_steps_done(s) + 1), steps = (long long)sampler_steps(s);
    double timestep = current(s)->timestep;
    s->unguided = s->method->unguided && unguided ? unguided : output;
    if (!all_finite(output, s->count) || !all_finite(s->unguided, s->count))
        return err_set(e, ERR_FORMAT, "the model gave NaN or infinity at step %lld of %lld (timestep %g)",
                       step, steps, timestep);
    if (!s->method->take(s, output, e))
        return err_add(e, "step %lld of %lld", step, steps);
    if (!all_finite(s->x, s->count))
        return err_set(e, ERR_FORMAT, "the latents became NaN or infinite at step %lld of %lld (timestep %g)",
                       step, steps, timestep);
    s->call++;
    if (s->finish_in_vp && sampler_done(s)) {
        double last = s->sigmas[s->sigma_count - 1];
        COMBINE(s, s->x, { sqrt(last * last + 1), s->x });
    }
    return true;
}

void sampler_level(const struct sampler *s, double *signal, double *noise)
{
    *signal = 1;
    *noise = 0;
    if (sampler_done(s))
        return;
    if (s->train_timesteps) {
        double abar = diffusers_abar(s, (int64_t)current(s)->timestep);
        *signal = sqrt(abar);
        *noise = sqrt(1 - abar);
        return;
    }
    double sigma = current(s)->sigma;
    if (s->latent_factor < 1) /* the run keeps alpha x0 + sigma noise with alpha^2 + sigma^2 = 1 */
        *signal = 1 / sqrt(sigma * sigma + 1);
    *noise = sigma * *signal;
}

float *sampler_latents(struct sampler *s)
{
    return s->x;
}

const float *sampler_denoised(const struct sampler *s)
{
    return s->x0;
}

bool sampler_run(struct sampler *s, sampler_predict *predict, void *self, const struct progress *progress,
                 struct err *e)
{
    float *input = mem_aligned(sizeof(float) * s->count), *output = mem_aligned(sizeof(float) * s->count);
    bool unguides = sampler_uses_unguided(s);
    float *unguided = unguides ? mem_aligned(sizeof(float) * s->count) : NULL;
    bool ok = input && output && (unguided || !unguides);
    if (!ok)
        err_nomem(e, "a model's input and output");
    long steps = (long)sampler_steps(s);
    while (ok && !sampler_done(s)) {
        progress_step(progress, "sampling", (long)sampler_steps_done(s), steps, NULL);
        ok = stop_check(e);
        double timestep = sampler_input(s, input);
        ok = ok && predict(self, input, timestep, output, unguided, e) && sampler_take(s, output, unguided, e);
    }
    if (ok)
        progress_step(progress, "sampling", steps, steps, NULL);
    mem_free(input);
    mem_free(output);
    mem_free(unguided);
    return ok;
}
