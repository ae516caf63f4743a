#include "sampler/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "sampler/sampler_internal.h"

const struct sampler_name sampler_names[] = {
    { "model", "what the model folder's scheduler_config.json says, as diffusers runs it", false, true },
    { "ddim", "deterministic; in ComfyUI's sigmas the same as euler", true, false },
    { "euler", "one slope a step; plain and steady", true, false },
    { "euler_ancestral", "euler with fresh noise each step; more steps change the picture", true, true },
    { "heun", "two model calls a step; accurate and slow", true, false },
    { "dpmpp_2m", "second order from two steps; good in 15 to 30 steps", true, false },
    { "dpmpp_2m_sde", "dpmpp_2m with fresh noise each step", true, true },
    { "lms", "fourth order from four steps", true, false },
    { "uni_pc", "predictor and corrector of third order; good in few steps", true, false },
    { 0 }
};

/* In the order of sampler_names from 1 on. */
static const struct sampler_method *const named_methods[] = {
    NULL,
    &method_k_euler,
    &method_k_euler,
    &method_k_euler_ancestral,
    &method_k_heun,
    &method_k_dpmpp_2m,
    &method_k_dpmpp_2m_sde,
    &method_k_lms,
    &method_k_unipc,
};
/* In the order of scheduler_class. */
static const struct sampler_method *const class_methods[] = {
    &method_ddim, &method_pndm, &method_euler, &method_euler_ancestral,
    &method_heun, &method_dpm,  &method_lms,   &method_unipc,
};

const struct sampler_name *sampler_find(const char *name)
{
    for (const struct sampler_name *s = sampler_names; s->name; s++)
        if (text_same_name(s->name, name))
            return s;
    return NULL;
}

const struct schedule_name *schedule_find(const char *name)
{
    for (const struct schedule_name *s = schedule_names; s->name; s++)
        if (text_same_name(s->name, name))
            return s;
    return NULL;
}

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
    size_t each = s->count / (size_t)s->shape.dim[0];
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
    s->calls = calls;
    s->timesteps = mem_zeroed((size_t)calls, sizeof(double));
    s->divisors = mem_zeroed((size_t)calls, sizeof(float));
    if (sigma_count)
        s->sigmas = mem_zeroed((size_t)sigma_count, sizeof(double));
    if (!s->timesteps || !s->divisors || (sigma_count && !s->sigmas))
        return err_nomem(e, "a sampler's plan");
    for (int64_t i = 0; i < calls; i++)
        s->divisors[i] = 1;
    return true;
}

static void list_samplers(struct err *e)
{
    for (const struct sampler_name *n = sampler_names; n->name; n++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, " %s", n->name);
    }
}

static void list_schedules(struct err *e)
{
    for (const struct schedule_name *n = schedule_names; n->name; n++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, " %s", n->name);
    }
}

/* The spec's words and numbers; *method is what it asks for. */
MUST_USE static bool check_spec(const struct sampler_spec *spec, const struct scheduler_config *config,
                                const struct sampler_method **method, struct err *e)
{
    const char *name = spec->sampler ? spec->sampler : "model";
    const struct sampler_name *found = sampler_find(name);
    if (!found) {
        err_set(e, ERR_ARG, "no sampler \"%s\"; there are:", name);
        list_samplers(e);
        return false;
    }
    if (spec->schedule && !found->uses_schedule)
        return err_set(e, ERR_ARG,
                       "sampler %s takes its schedule from the model: schedule %s cannot be given", name,
                       spec->schedule);
    if (spec->schedule && !schedule_find(spec->schedule)) {
        err_set(e, ERR_ARG, "no schedule \"%s\"; there are:", spec->schedule);
        list_schedules(e);
        return false;
    }
    if (spec->steps < 1 || spec->steps > SAMPLER_MAX_STEPS)
        return err_set(e, ERR_ARG, "%lld steps: want 1 to %d", (long long)spec->steps, SAMPLER_MAX_STEPS);
    if (spec->start_step < 0 || spec->start_step >= spec->steps)
        return err_set(e, ERR_ARG, "start step %lld of %lld steps", (long long)spec->start_step,
                       (long long)spec->steps);
    if (isnan(spec->eta) || spec->eta > 10)
        return err_set(e, ERR_ARG, "eta %g: want 0 to 10", spec->eta);
    if (spec->shape.rank < 1 || spec->shape.rank > SHAPE_MAX_RANK || shape_count(spec->shape) < 1)
        return err_set(e, ERR_SHAPE, "latents of shape %s", shape_text(spec->shape).s);
    *method = found == sampler_names ? class_methods[config->class] : named_methods[found - sampler_names];
    return true;
}

MUST_USE static bool make_arrays(struct sampler *s, struct err *e)
{
    float **wanted[HISTORY_MAX + 4] = { &s->x, &s->x0 };
    int n = 2;
    if (s->method->saves)
        wanted[n++] = &s->saved;
    if (s->method->draws)
        wanted[n++] = &s->drawn;
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
    return c->class == SCHEDULER_EULER_ANCESTRAL || (c->class == SCHEDULER_DDIM && s->eta > 0) ||
           (c->class == SCHEDULER_DPM_MULTISTEP &&
            (c->algorithm == DPM_SDE_PLUS || c->algorithm == DPM_SDE_PLAIN));
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
    s->schedule_name = spec->schedule ? schedule_find(spec->schedule)->name : NULL;
    s->steps = spec->steps;
    s->start_step = spec->start_step;
    bool diffusers = !spec->sampler || sampler_find(spec->sampler) == sampler_names;
    s->eta = spec->eta >= 0 ? spec->eta : diffusers ? 0 : 1;
    s->seed = spec->seed;
    s->noise = spec->noise;
    s->shape = spec->shape;
    s->count = (size_t)shape_count(spec->shape);
    if (!noise_schedule_init(&s->schedule, config, e) || !method->plan(s, e) || !make_arrays(s, e)) {
        sampler_free(s);
        return false;
    }
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
    mem_free(s->timesteps);
    mem_free(s->divisors);
    mem_free(s->sigmas);
    mem_free(s->train_timesteps);
    mem_free(s->x);
    mem_free(s->x0);
    mem_free(s->saved);
    mem_free(s->drawn);
    for (int i = 0; i < HISTORY_MAX; i++)
        mem_free(s->history[i]);
    mem_free(s);
}

/* --- running it --- */

int64_t sampler_calls(const struct sampler *s)
{
    return s->calls;
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
    int64_t per = s->method->calls_per_step;
    return (s->calls + per - 1) / per;
}

int64_t sampler_steps_done(const struct sampler *s)
{
    return sampler_done(s) ? sampler_steps(s) : s->call / s->method->calls_per_step;
}

double sampler_timestep(const struct sampler *s, int64_t i)
{
    return s->timesteps[i];
}

double sampler_noise_scale(const struct sampler *s)
{
    return s->noise_scale;
}

void sampler_begin(struct sampler *s, const float *noise, const float *latent)
{
    s->call = s->counter = 0;
    s->history_count = s->this_order = 0;
    torch_random_seed(&s->own_noise, s->seed + 1);
    if (latent)
        COMBINE(s, s->x, { s->noise_factor, noise }, { s->latent_factor, latent });
    else
        COMBINE(s, s->x, { s->noise_scale, noise });
}

double sampler_input(struct sampler *s, float *input)
{
    float divisor = s->divisors[s->call];
    for (size_t i = 0; i < s->count; i++)
        input[i] = s->x[i] / divisor;
    return s->timesteps[s->call];
}

static bool all_finite(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

bool sampler_take(struct sampler *s, const float *output, struct err *e)
{
    long long step = (long long)(sampler_steps_done(s) + 1), steps = (long long)sampler_steps(s);
    if (!all_finite(output, s->count))
        return err_set(e, ERR_FORMAT, "the model gave NaN or infinity at step %lld of %lld (timestep %g)",
                       step, steps, s->timesteps[s->call]);
    if (!s->method->take(s, output, e))
        return err_add(e, "step %lld of %lld", step, steps);
    if (!all_finite(s->x, s->count))
        return err_set(e, ERR_FORMAT, "the latents became NaN or infinite at step %lld of %lld (timestep %g)",
                       step, steps, s->timesteps[s->call]);
    s->call++;
    if (s->finish_in_vp && sampler_done(s)) {
        double last = s->sigmas[s->calls];
        COMBINE(s, s->x, { sqrt(last * last + 1), s->x });
    }
    return true;
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
    bool ok = input && output;
    if (!ok)
        err_nomem(e, "a model's input and output");
    long steps = (long)sampler_steps(s);
    while (ok && !sampler_done(s)) {
        progress_step(progress, "sampling", (long)sampler_steps_done(s), steps, NULL);
        ok = stop_check(e);
        double timestep = sampler_input(s, input);
        ok = ok && predict(self, input, timestep, output, e) && sampler_take(s, output, e);
    }
    if (ok)
        progress_step(progress, "sampling", steps, steps, NULL);
    mem_free(input);
    mem_free(output);
    return ok;
}
