/* The plan of ComfyUI's samplers, and its uni_pc. */
#include "sampler/k_internal.h"

#include "base/mem.h"

/* The levels of the run: a schedule's or the caller's, cut by denoise, end_step and start_step, in this order. */
MUST_USE static bool run_sigmas(const struct sampler *s, struct sigmas *out, struct err *e)
{
    const struct sampler_spec *spec = &s->spec;
    double denoise = spec->denoise > 0 ? spec->denoise : 1;
    if (spec->sigmas) {
        *out = (struct sigmas){ mem_zeroed((size_t)spec->sigmas->count, sizeof(double)), spec->sigmas->count };
        if (!out->at)
            return err_nomem(e, "sigmas");
        for (int64_t i = 0; i < out->count; i++)
            out->at[i] = f32(spec->sigmas->at[i]);
    } else {
        bool skips = s->method->skips_last_but_one;
        int64_t computed = schedule_steps_before(spec->steps, denoise) + (skips ? 1 : 0);
        if (!schedule_sigmas_whole(out, &s->schedule, spec->schedule ? spec->schedule : "normal", computed, e))
            return false;
        if (skips && out->count > 2) {
            out->at[out->count - 2] = out->at[out->count - 1];
            out->count--;
        }
        if (denoise <= 0.9999)
            sigmas_keep_last(out, spec->steps + 1);
    }
    if (spec->end_step && spec->end_step < out->count - 1) {
        out->count = spec->end_step + 1;
        if (!spec->leftover_noise)
            out->at[out->count - 1] = 0;
    }
    if (spec->start_step >= out->count - 1)
        return err_set(e, ERR_ARG, "start step %lld of %lld steps", (long long)spec->start_step,
                       (long long)(out->count - 1));
    sigmas_keep_last(out, out->count - spec->start_step);
    for (int64_t i = 0; i < out->count; i++)
        if (!isfinite(out->at[i]) || out->at[i] < 0 || (out->at[i] == 0 && i < out->count - 1))
            return err_set(e, ERR_ARG, "noise level %lld of %lld is %g: want numbers above 0, and 0 only at the end",
                           (long long)(i + 1), (long long)out->count, out->at[i]);
    return true;
}

void k_plan_call(const struct sampler *s, struct planned_call *call, double sigma)
{
    call->sigma = sigma;
    call->timestep = (double)schedule_timestep_of(&s->schedule, sigma);
    call->divisor = (float)sqrt(sigma * sigma + 1);
}

static int stages_of(const struct sampler *s, int64_t step, double *sigmas)
{
    sigmas[0] = s->sigmas[step];
    return s->method->stages ? s->method->stages(s, step, sigmas) : 1;
}

MUST_USE static bool plan_calls(struct sampler *s, const struct sigmas *run, struct err *e)
{
    double sigmas[STAGES_MAX];
    s->sigmas = mem_zeroed((size_t)run->count, sizeof *s->sigmas);
    if (!s->sigmas)
        return err_nomem(e, "a sampler's plan");
    s->sigma_count = run->count;
    for (int64_t i = 0; i < run->count; i++)
        s->sigmas[i] = run->at[i];
    int64_t calls = 0, at = 0;
    for (int64_t step = 0; step < run->count - 1; step++)
        calls += stages_of(s, step, sigmas);
    if (!sampler_plan_room(s, calls, 0, e))
        return false;
    for (int64_t step = 0; step < run->count - 1; step++) {
        int stages = stages_of(s, step, sigmas);
        for (int stage = 0; stage < stages; stage++) {
            struct planned_call *call = &s->planned[at++];
            call->step = step;
            call->stage = stage;
            k_plan_call(s, call, f32(sigmas[stage]));
        }
    }
    return true;
}

bool k_plan(struct sampler *s, struct err *e)
{
    struct sigmas run = { 0 };
    bool ok = run_sigmas(s, &run, e) && plan_calls(s, &run, e);
    sigmas_release(&run);
    if (!ok)
        return false;
    double first = s->sigmas[0], most = s->schedule.sigmas[s->schedule.count - 1];
    bool from_noise = first > most || fabs(first - most) <= 1e-5 * fmax(first, most);
    s->noise_scale = from_noise ? sqrt(1 + first * first) : first;
    s->noise_factor = s->noise_scale;
    s->latent_factor = 1;
    return true;
}

int k_stages_midpoint(const struct sampler *s, int64_t i, double *sigmas)
{
    sigmas[1] = sqrt(s->sigmas[i] * s->sigmas[i + 1]);
    return s->sigmas[i + 1] > 0 ? 2 : 1;
}

int k_stages_sde(const struct sampler *s, int64_t i, double *sigmas)
{
    int stages = k_stages_midpoint(s, i, sigmas);
    if (stages > 1 && s->spec.middle > 0 && s->spec.middle != 0.5)
        sigmas[1] = s->sigmas[i] * pow(s->sigmas[i + 1] / s->sigmas[i], s->spec.middle);
    return stages;
}

int k_stages_ancestral(const struct sampler *s, int64_t i, double *sigmas)
{
    double down = ancestral(s->sigmas[i], s->sigmas[i + 1], s->eta).down;
    sigmas[1] = sqrt(s->sigmas[i] * down);
    return down > 0 ? 2 : 1;
}

/* --- uni_pc: the step is that of diffusers' class (multistep.c) --- */

/* It works on x / sqrt(sigma^2 + 1), which is what the model gets, and ends at 0.001 in place of 0. */
MUST_USE static bool plan_unipc(struct sampler *s, enum solver_type solver, struct err *e)
{
    if (!k_plan(s, e))
        return false;
    double first = s->sigmas[0], to_vp = 1 / sqrt(1 + first * first), *last = &s->sigmas[s->sigma_count - 1];
    s->noise_scale *= to_vp;
    s->noise_factor *= to_vp;
    s->latent_factor *= to_vp;
    for (int64_t i = 0; i < s->calls; i++)
        s->planned[i].divisor = 1;
    if (*last == 0)
        *last = f32(0.001);
    s->finish_in_vp = true;
    /* Order 0, which ComfyUI comes to with a single step, would give the noise back: the least that is an
     * image is order 1. */
    int order = (int)(s->calls - 1 < 3 ? s->calls - 1 : 3);
    s->config.solver_order = order < 1 ? 1 : order;
    s->config.solver = solver;
    s->config.predict_x0 = true;
    s->config.lower_order_final = true;
    s->config.thresholding = false;
    s->config.disable_corrector_count = 0;
    return true;
}

MUST_USE static bool plan_unipc_bh1(struct sampler *s, struct err *e)
{
    return plan_unipc(s, SOLVER_BH1, e);
}

MUST_USE static bool plan_unipc_bh2(struct sampler *s, struct err *e)
{
    return plan_unipc(s, SOLVER_BH2, e);
}

#define UNIPC .take = unipc_take, .history = HISTORY_MAX, .saves = true, .calls_per_step = 1, .skips_last_but_one = true
const struct sampler_method method_k_unipc = { .plan = plan_unipc_bh1, UNIPC };
const struct sampler_method method_k_unipc_bh2 = { .plan = plan_unipc_bh2, UNIPC };
