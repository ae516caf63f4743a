/* How much noise each training timestep holds: x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise.
 * source  Ho et al. 2020 (betas), Nichol and Dhariwal 2021 (squaredcos_cap_v2), Lin et al. 2024, "Common
 * Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1 (zero terminal SNR). Numbers are those
 * that diffusers gets in f32 (betas and 1 - beta in f32, the product in f64, each abar rounded to f32): equal
 * to the last bit, but for zero SNR, where PyTorch's square root may be one rounding off (it comes from MKL).
 */
#ifndef LIMN_SAMPLER_NOISE_SCHEDULE_H
#define LIMN_SAMPLER_NOISE_SCHEDULE_H

#include "sampler/scheduler_config.h"

struct noise_schedule {
    int64_t count; /* training timesteps */
    double
        *alphas_cumprod; /* [count] owned, f32 values; falls with t; the last is 0 after a zero-SNR rescale */
    double
        *sigmas; /* [count] owned, sqrt((1 - abar) / abar) as ComfyUI has them: betas in f64, stored as f32.
                  * With zero SNR the last comes from abar = 4.8973451890853435e-08, not 0 (sigma 4518.8) */
    bool zero_snr;
    enum prediction prediction;
};

/* Builds the arrays. Release with noise_schedule_release. ERR_FORMAT if betas lie outside (0, 1), ERR_NOMEM.
 */
MUST_USE bool noise_schedule_init(struct noise_schedule *s, const struct scheduler_config *c, struct err *e);
void noise_schedule_release(struct noise_schedule *s);

/* abar / (1 - abar) at integer timestep t in [0, count). */
double noise_schedule_snr(const struct noise_schedule *s, int64_t t);

/* out = sqrt(abar) x0 + sqrt(1 - abar) noise; count elements, f32; out may be x0 or noise. */
void noise_schedule_add(const struct noise_schedule *s, int64_t t, const float *x0, const float *noise,
                        float *out, size_t count);
/* What the model is trained to say for that noisy sample: noise, v or x0, by s->prediction. out may be x0 or
 * noise. */
void noise_schedule_target(const struct noise_schedule *s, int64_t t, const float *x0, const float *noise,
                           float *out, size_t count);
/* Weight of the loss at t with min-SNR weighting (Hang et al. 2023): min(snr, gamma) divided by snr
 * (epsilon), by snr + 1 (v), or as it is (sample). With epsilon and snr = 0 it is 1, the limit. */
double noise_schedule_min_snr_weight(const struct noise_schedule *s, int64_t t, double gamma);

/* The timestep in [0, count) to train on, from a uniform number in [0, 1): u' count, u' = shift u / (1 + (shift - 1) u)
 * (Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", eq. 23). shift 1: all alike;
 * above 1: noisier ones more often, below 1 cleaner ones. shift > 0. */
int64_t noise_schedule_draw(const struct noise_schedule *s, double shift, double uniform);

#endif
