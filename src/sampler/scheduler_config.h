/* A diffusers scheduler_config.json, read once and checked. Missing keys take the defaults of the class
 * itself (they differ between classes); a key that the class does not know is ignored, as diffusers ignores
 * it, unless it asks for another process (flow matching) than the diffusion we run: then it is an error.
 * Source: diffusers 0.42.1, the classes' constructors. */
#ifndef LIMN_SAMPLER_SCHEDULER_CONFIG_H
#define LIMN_SAMPLER_SCHEDULER_CONFIG_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

enum scheduler_class {
    SCHEDULER_DDIM,
    SCHEDULER_PNDM,
    SCHEDULER_EULER,
    SCHEDULER_EULER_ANCESTRAL,
    SCHEDULER_HEUN,
    SCHEDULER_DPM_MULTISTEP,
    SCHEDULER_LMS,
    SCHEDULER_UNIPC,
    SCHEDULER_DPM_SINGLESTEP,
    SCHEDULER_KDPM2,
    SCHEDULER_KDPM2_ANCESTRAL,
    SCHEDULER_DEIS,
    SCHEDULER_DDPM,
    SCHEDULER_LCM,
    SCHEDULER_TCD,
};

/* What the denoiser's output means: the noise, v = sqrt(abar) noise - sqrt(1 - abar) x0 (Salimans and Ho
 * 2022), or x0. */
enum prediction { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };

enum beta_schedule { BETAS_LINEAR, BETAS_SCALED_LINEAR, BETAS_SQUAREDCOS, BETAS_EXP };
enum timestep_spacing { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING };
enum sigma_spacing { SIGMAS_PLAIN, SIGMAS_KARRAS, SIGMAS_EXPONENTIAL, SIGMAS_BETA };
enum dpm_algorithm { DPM_PLUS, DPM_PLAIN, DPM_SDE_PLUS, DPM_SDE_PLAIN };
enum solver_type { SOLVER_MIDPOINT, SOLVER_HEUN, SOLVER_BH1, SOLVER_BH2 };

#define SCHEDULER_MAX_TIMESTEPS 100000
#define UNIPC_MAX_ORDER 6

struct scheduler_config {
    enum scheduler_class class;
    /* all classes */
    int64_t train_steps; /* num_train_timesteps */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    float *trained_betas; /* [train_steps] owned, or NULL */
    enum prediction prediction;
    enum timestep_spacing spacing;
    int64_t steps_offset;
    bool rescale_zero_snr;
    /* DDIM, PNDM */
    bool set_alpha_to_one, skip_prk_steps;
    /* DDPM: variance_type fixed_large, not fixed_small */
    bool large_variance;
    /* LCM, TCD: the timesteps are some of so many evenly spaced ones; LCM: timestep_scaling */
    int64_t original_steps;
    double timestep_scaling;
    /* DDIM, DDPM, LCM, Heun: x0 is clipped to [-clip_range, clip_range] */
    bool clip_sample;
    double clip_range;
    /* DDIM, DDPM, LCM, DPM, DEIS, UniPC: dynamic thresholding of x0 (Saharia et al. 2022) */
    bool thresholding;
    double threshold_ratio, threshold_max;
    /* Euler, Heun, KDPM2, DPM, DEIS, LMS, UniPC */
    enum sigma_spacing sigmas;
    bool log_linear;           /* Euler: interpolation_type */
    bool continuous_timesteps; /* Euler: timestep_type; changes what the model is told only with v_prediction
                                */
    double sigma_min,
        sigma_max; /* Euler, UniPC: ends of karras and exponential sigmas; negative: the schedule's own */
    bool final_sigma_min; /* Euler, DPM, UniPC: final_sigmas_type "sigma_min" */
    /* DPM, DEIS, UniPC */
    int solver_order;
    enum solver_type solver;
    bool lower_order_final, euler_at_final, lu_lambdas;
    enum dpm_algorithm algorithm;
    double lambda_min_clipped; /* -INFINITY: none */
    /* UniPC */
    bool predict_x0;
    int64_t disable_corrector[64];
    size_t disable_corrector_count;
};

/* Reads the file at `path`. On success release with scheduler_config_release.
 * errors  ERR_IO; texts name file, key and value: ERR_FORMAT for a value of the wrong kind, a contradiction
 * or an unknown word, ERR_MISSING if there is no _class_name, ERR_TYPE for a class or a process we do not
 * run. */
MUST_USE bool scheduler_config_read(struct scheduler_config *c, const char *path, struct err *e);
/* The same from parsed JSON; `where` names it in errors. */
MUST_USE bool scheduler_config_from_json(struct scheduler_config *c, const json_t *json, const char *where,
                                         struct err *e);
/* All defaults of the class (SD 1.x needs more: scaled_linear, 0.00085, 0.012). Nothing to release. */
void scheduler_config_defaults(struct scheduler_config *c, enum scheduler_class class);
void scheduler_config_release(struct scheduler_config *c);

/* The JSON that diffusers reads back to the same scheduler: every key the class knows. NULL without memory.
 * Free with json_decref. */
MUST_USE json_t *scheduler_config_json(const struct scheduler_config *c);

/* "DDIMScheduler" */
const char *scheduler_class_name(enum scheduler_class class);
/* "epsilon" */
const char *prediction_name(enum prediction p);

#endif
