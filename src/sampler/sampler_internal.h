/* What the stepper (sampler.c) shares with the methods behind it. Nearly every method is a linear combination
 * of arrays whose factors are computed in double for each step; sampler_combine is the only loop over latents
 * most of them need. */
#ifndef LIMN_SAMPLER_SAMPLER_INTERNAL_H
#define LIMN_SAMPLER_SAMPLER_INTERNAL_H

#include <math.h>

#include "sampler/sampler.h"

#define HISTORY_MAX (UNIPC_MAX_ORDER + 1)
#define STAGES_MAX 3
#define TERMS_MAX (HISTORY_MAX + 4)

/* One model call of the plan. */
struct planned_call {
    double timestep; /* what the model is told */
    float divisor;   /* the model gets x / divisor: sqrt(sigma^2 + 1), or 1 */
    int stage;       /* which call of its step it is, from 0 */
    int64_t step;    /* the step, from 0 at the start step */
    double sigma;    /* the noise level of x at this call; not of classes that work with timesteps */
};

struct sampler {
    struct scheduler_config config; /* without trained_betas, which are in schedule by then */
    struct noise_schedule schedule;
    const struct sampler_method *method;
    struct sampler_spec spec; /* its names, sigmas and the rest are not looked at after sampler_new */
    int64_t steps;            /* as asked for, those before start_step included */
    int64_t start_step;
    double eta;
    struct torch_random *noise;    /* the caller's */
    struct torch_random own_noise; /* of ComfyUI's samplers */
    size_t count;

    /* The plan, made once. A sampler that plans as it goes (method->adaptive) has a plan of one call, which it changes. */
    int64_t planned_calls; /* model calls from start_step on to the last step */
    int64_t calls;         /* those that are made: fewer with end_step */
    struct planned_call *planned; /* [planned_calls] */
    double *sigmas;        /* where the run goes through; NULL for the classes that work with timesteps */
    int64_t sigma_count;   /* of them */
    int64_t first; /* the start step as an index into sigmas (0 for ComfyUI's, whose sigmas begin there) */
    double noise_scale;                 /* without a picture */
    double latent_factor, noise_factor; /* with one */
    int64_t *train_timesteps;           /* DDIM, PNDM and the like: [all_calls] of the whole run, start_step or not */
    int64_t all_calls, prk_count;       /* PNDM: how many of them are Runge-Kutta's */
    bool finish_in_vp; /* ComfyUI's uni_pc works on x / sqrt(sigma^2 + 1) and gives x / alpha(0.001) at the
                          end */

    /* The run. */
    int64_t call, counter; /* counter: PNDM */
    int history_count;     /* outputs kept: history[0] is the newest */
    int this_order;        /* UniPC: order of the last prediction */
    double t, t_step;      /* dpm_adaptive: -log sigma at the step's beginning, and the length that is tried */
    const float *unguided; /* of the call at hand: the model's output without guidance; borrowed, may be NULL */
    float *x, *x0, *saved, *drawn;
    float *u0; /* x0 without guidance, where method->unguided */
    float *history[HISTORY_MAX];
};

struct sampler_method {
    /* Fills the plan. */
    bool (*plan)(struct sampler *s, struct err *e);
    /* One model output: moves s->x, sets s->x0. */
    bool (*take)(struct sampler *s, const float *output, struct err *e);
    int history;        /* arrays of history that it keeps; 0: none */
    bool saves, draws;  /* whether it needs s->saved and s->drawn (for noise, or PNDM's sums) */
    int calls_per_step; /* but for the last step, which takes one; ComfyUI's: see `stages` */
    /* ComfyUI's samplers with several calls a step: writes the noise level of x at each call of step i of the run's sigmas and
     * returns how many there are, at most STAGES_MAX. NULL: one call, at the step's sigma. */
    int (*stages)(const struct sampler *s, int64_t i, double *sigmas);
    bool skips_last_but_one; /* ComfyUI's rule: a step more is computed, and the last level above 0 left out */
    bool unguided;           /* looks at the output without guidance */
    bool cuda_tree;          /* draws the Brownian tree's numbers as a GPU does */
    bool adaptive;           /* plans as it goes */
};

/* Of class_methods: diffusers' */
extern const struct sampler_method method_ddim, method_pndm, method_euler, method_euler_ancestral,
    method_heun, method_dpm, method_lms, method_unipc, method_dpm_singlestep, method_kdpm2, method_kdpm2_ancestral, method_deis,
    method_ddpm, method_lcm, method_tcd;

/* sampler.c */
struct term {
    double factor;
    const float *array; /* borrowed */
};
/* out = sum of the terms; out may be one of the arrays. Terms of factor 0 are left out, whatever their array
 * holds. */
void sampler_combine(float *out, size_t count, const struct term *terms, int term_count);
#define COMBINE(s, out, ...)                                                                                 \
    sampler_combine(out, (s)->count, (struct term[]){ __VA_ARGS__ },                                         \
                    (int)(sizeof((struct term[]){ __VA_ARGS__ }) / sizeof(struct term)))
/* Makes room in the plan for `calls` calls, method->calls_per_step of them a step, and `sigma_count` sigmas. */
MUST_USE bool sampler_plan_room(struct sampler *s, int64_t calls, int64_t sigma_count, struct err *e);
/* Moves history by one; what was the oldest is history[0] and may be overwritten. */
float *sampler_history_push(struct sampler *s, int keep);
/* x0 from a model output at point sigma of the variance exploding form (x = x0 + sigma noise). */
void sampler_x0_from_ve(const struct sampler *s, double sigma, const float *output, float *x0);
/* The same for the variance preserving form x = alpha x0 + sigma noise, and the noise instead of x0. */
void sampler_x0_from_vp(const struct sampler *s, double alpha, double sigma, const float *output, float *x0);
void sampler_eps_from_vp(const struct sampler *s, double alpha, double sigma, const float *output,
                         float *eps);
/* Dynamic thresholding of x0 as the config says; ERR_NOMEM. */
MUST_USE bool sampler_threshold(const struct sampler *s, float *x0, struct err *e);
/* Appends " name" to a text that lists names. */
void sampler_list_name(struct err *e, const char *name);
/* s->drawn = normals from the generator. */
void sampler_draw(struct sampler *s, struct torch_random *noise);
/* Adams-Bashforth weights for 1 to 4 slopes at equal distances, newest first. */
extern const double adams_bashforth[4][4];
/* Integral of the Lagrange polynomial of node j of `order` nodes (newest first, sigmas[i], sigmas[i - 1],
 * ...) from sigmas[i] to sigmas[i + 1]. order <= 4. */
double sampler_lms_factor(const double *sigmas, int64_t i, int order, int j);

/* k_dpm_solver.c: at the beginning of a run of dpm_adaptive */
void adaptive_begin(struct sampler *s);

/* sigmas.c */
/* numpy.linspace */
double linspace(double first, double last, int64_t i, int64_t count);
/* Karras et al. 2022, eq. 5; the i-th of count from first (largest) to last. */
double sigma_karras(double first, double last, double rho, int64_t i, int64_t count);
double sigma_exponential(double first, double last, int64_t i, int64_t count);
/* Spaced by quantiles of the Beta(0.6, 0.6) distribution (Lee et al. 2024). */
double sigma_beta(double first, double last, int64_t i, int64_t count);
/* The x with incomplete beta function I_x(a, b) = p. */
double beta_quantile(double p, double a, double b);
/* Linear interpolation of values[0..count) at position t, held at the ends. */
double interpolate(const double *values, int64_t count, double t);
/* The fractional t whose log sigma is that of sigma, between integers linear; log_sigmas rise. */
double sigma_to_t(const double *log_sigmas, int64_t count, double sigma);

/* schedules.c: schedule_sigmas in two parts. The schedule of so many steps, whatever denoise; how many steps are computed for
 * a denoise; and the last `count` levels of it. */
MUST_USE bool schedule_sigmas_whole(struct sigmas *out, const struct noise_schedule *n, const char *name, int64_t steps,
                                    struct err *e);
int64_t schedule_steps_before(int64_t steps, double denoise);
void sigmas_keep_last(struct sigmas *s, int64_t count);

/* multistep.c: the take of UniPC, for both worlds, and its solver: the n by n system in place by elimination; the answer is in
 * b. The matrices are Vandermonde's of distinct points, so there is one. */
bool unipc_take(struct sampler *s, const float *output, struct err *e);
void solve_linear(double a[UNIPC_MAX_ORDER][UNIPC_MAX_ORDER], double *b, int n);

/* brownian.c */
/* W(to) - W(from) of the Brownian motion of torchsde.BrownianTree(t0, zeros, t1, entropy=seed), for t0 <=
 * from <= to <= t1; count f32 numbers into out. cuda: of the tree that lies on a GPU, whose normals are the CUDA generator's. */
MUST_USE bool brownian_increment(uint64_t seed, bool cuda, double t0, double t1, double from, double to, float *out,
                                 size_t count, struct err *e);

static inline double f32(double v)
{
    return (double)(float)v;
}

#endif
