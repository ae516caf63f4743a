/* The stepper: from noise to a latent in a number of model calls. The caller owns the model, guidance,
 * progress and stop.
 *
 *     struct sampler *s;
 *     sampler_new(&s, &spec, &config, e);
 *     sampler_begin(s, noise, NULL);                  standard normal noise -> start latents
 *     while (!sampler_done(s)) {
 *         double t = sampler_input(s, input);         what the model gets, and its timestep
 *         ... output = model(input, t), guided ...
 *         sampler_take(s, output, NULL, e);           a raw prediction: epsilon, v or x0, as the config says
 *     }
 *     sampler_latents(s)
 *
 * Arrays are f32 [n, c, h, w] without gaps; a sampler sees n * (c*h*w) numbers (n matters to dynamic
 * thresholding and, with c, to nothing else). Sums are in double. A step is what a user counts; second-order
 * methods (heun, PNDM's Runge-Kutta start) take more than one model call a step, and PNDM's count is
 * diffusers' own (steps + 1 with skip_prk_steps).
 *
 * Two worlds. `sampler` = "model": the diffusers class of the config, with diffusers' timesteps; `schedule`
 * is not used; noise within the run goes on from the caller's generator (as diffusers does). Any other name:
 * ComfyUI's sampler of that name on k-diffusion sigmas, whose noise within the run comes from its own
 * generator seeded by seed + 1, or from a Brownian tree of the seed (dpmpp_sde, dpmpp_2m_sde, dpmpp_3m_sde:
 * torchsde's on the CPU; with _gpu behind the name: on a GPU); of the config only the betas, zero SNR and
 * prediction type count. */
#ifndef LIMN_SAMPLER_SAMPLER_H
#define LIMN_SAMPLER_SAMPLER_H

#include "base/progress.h"
#include "base/random.h"
#include "sampler/noise_schedule.h"
#include "sampler/schedules.h"
#include "tensor/tensor.h"

/* The table for flags, help and forms; ends with a NULL name. The first is "model". */
struct sampler_method;
struct sampler_name {
    const char *name, *help;
    const struct sampler_method *method; /* NULL for "model", whose method is its config's class */
    bool uses_schedule;                  /* false: --schedule is meaningless and must not be given */
    bool uses_eta;
    bool uses_unguided; /* sampler_take needs the output without guidance, also where guidance is 1 */
};
extern const struct sampler_name sampler_names[];
/* NULL if there is none of that name ('-' and '_' count as the same). */
const struct sampler_name *sampler_find(const char *name);
/* The same, with NULL for "model"; if there is none, ERR_ARG with the names there are. */
MUST_USE const struct sampler_name *sampler_need(const char *name, struct err *e);

#define SAMPLER_MAX_STEPS 10000

struct sampler_spec {
    const char *sampler;  /* in sampler_names; NULL: "model" */
    const char *schedule; /* in schedule_names; NULL: "normal"; must be NULL where !uses_schedule */
    int64_t steps;        /* >= 1 */
    /* How much of the way from noise is gone, in (0, 1]; 0: all of it. ComfyUI: the last `steps` of int(steps / denoise) steps.
     * "model": the last int(steps * denoise) of `steps` steps, diffusers' strength; it may then not be so small that none is
     * left, and start_step must be 0. */
    double denoise;
    int64_t start_step;   /* steps left out at the beginning, in [0, steps): img2img */
    /* Steps from end_step on are left out; 0, or the number of steps or more: none. The last step that is made goes to no noise
     * at all, or with leftover_noise to the level where the run would have gone on. ("model" can only leave it.) */
    int64_t end_step;
    bool leftover_noise;
    /* ComfyUI's: the levels of the run in place of a schedule, falling, all above 0 but for the last, which may be 0; borrowed
     * for the call of sampler_new. steps, denoise and schedule are then not used. */
    const struct sigmas *sigmas;
    /* DDIM: 0 none .. 1 DDPM; ComfyUI's where the table says uses_eta: 1 is theirs. Negative: the default. */
    double eta;
    /* ComfyUI's, 0 the default of each: what noise within the run is multiplied by (s_noise, 1); where in a step dpmpp_sde looks (r,
     * 0.5); the most steps whose slopes lms uses (4). */
    double noise_strength, middle;
    int most_order;
    uint64_t seed; /* ComfyUI's samplers that draw noise */
    /* ComfyUI's samplers: noise within the run is that of the CUDA generator of the seed, going on after the start noise of
     * this shape (which the caller drew from it), as A1111's web UI does. The Brownian trees are as their names say. */
    bool cuda_noise;
    /* Borrowed. "model" samplers that draw noise need it (ERR_ARG without it), others never use it. */
    struct torch_random *noise;
    struct shape shape; /* [n, c, h, w], or any rank >= 1 whose first dimension is the batch */
};

struct sampler;

/* errors  ERR_ARG: an unknown name (the text lists those there are), steps, start_step or end_step out of range (also: nothing
 * left to do), a setting of the config that this number of steps cannot have (DDIM: more steps than training timesteps);
 * ERR_NOMEM. *out is NULL then. */
MUST_USE bool sampler_new(struct sampler **out, const struct sampler_spec *spec,
                          const struct scheduler_config *config, struct err *e);
void sampler_free(struct sampler *s);

/* How often the model is called from start_step to the end, and how often it was called. dpm_adaptive chooses its steps as it
 * goes: until it is done nobody knows, and sampler_calls is 0. */
int64_t sampler_calls(const struct sampler *s);
int64_t sampler_calls_done(const struct sampler *s);
bool sampler_done(const struct sampler *s);
/* Steps (as the user counts them) from start_step to the end, and those finished. With dpm_adaptive the steps of the schedule,
 * and as many of them as the noise has fallen by then. */
int64_t sampler_steps(const struct sampler *s);
int64_t sampler_steps_done(const struct sampler *s);

/* The timestep that call i in [0, sampler_calls) tells the model; dpm_adaptive knows only that of the next call. */
double sampler_timestep(const struct sampler *s, int64_t i);
/* What standard normal noise is multiplied by when there is no picture below it (diffusers:
 * init_noise_sigma). */
double sampler_noise_scale(const struct sampler *s);

/* Sets the latents to where the run starts: noise * sampler_noise_scale with latent NULL; else the latent
 * with the noise of the start step on it (diffusers: add_noise; ComfyUI: noise_scaling). Both are copied.
 * noise NULL: none is added (the latent holds it already, from a run with leftover_noise). Starts the run anew. */
void sampler_begin(struct sampler *s, const float *noise, const float *latent);

/* Writes the model's input for the next call and returns its timestep (whole numbers but for Euler, Heun and
 * LMS). */
double sampler_input(struct sampler *s, float *input);
/* Takes the model's output for that call. unguided is the output for the negative prompt alone, before guidance: needed where
 * sampler_uses_unguided says so (NULL there stands for output: no guidance), not looked at elsewhere. ERR_FORMAT if a number in
 * them is NaN or infinite (the text says at which step); ERR_LIMIT if dpm_adaptive comes to no end. */
bool sampler_uses_unguided(const struct sampler *s);
MUST_USE bool sampler_take(struct sampler *s, const float *output, const float *unguided, struct err *e);

/* The latents now: after the last call the result. Borrowed; the caller may change them between steps
 * (inpainting). Before the end they are x0 + sigma noise (ComfyUI's, and the Euler, Heun and LMS classes) or
 * sqrt(abar) x0 + sqrt(1 - abar) noise (uni_pc and the other classes). */
float *sampler_latents(struct sampler *s);
/* How much of x0 and of standard noise the latents hold before the next call (1 and 0 after the last):
 * latents = signal x0 + noise n. Their quotient is the sigma of that call. */
void sampler_level(const struct sampler *s, double *signal, double *noise);
/* x0 as the last call's output predicts it: for previews. Borrowed. */
const float *sampler_denoised(const struct sampler *s);

/* The loop above, between sampler_begin and sampler_latents: calls predict until done, tells progress
 * ("sampling", in steps), and ends with ERR_STOPPED if the user asks. predict returns false with e set if it
 * fails; unguided is NULL unless sampler_uses_unguided. */
typedef bool sampler_predict(void *self, const float *input, double timestep, float *output, float *unguided, struct err *e);
MUST_USE bool sampler_run(struct sampler *s, sampler_predict *predict, void *self,
                          const struct progress *progress, struct err *e);

#endif
