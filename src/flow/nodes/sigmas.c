/* SIGMAS: the noise levels of a run. */
#include "flow/nodes/sampling.h"

struct schedule_args {
    const struct datum *model;
    const char *schedule;
    int64_t steps;
    double denoise, most, least, rho, mu, beta, alpha, beta_d, beta_min, eps;
};
struct split_args {
    const struct datum *sigmas;
    int64_t step;
    double denoise, sigma;
};

#define AT(member) offsetof(struct schedule_args, member)
#define STEPS { "steps", "INT", AT(steps), "20", .min = 1, .max = 10000 }
#define DENOISE { "denoise", "FLOAT", AT(denoise), "1.0", .min = 0, .max = 1, .step = 0.01 }
#define NUMBER(label, member, initial, least_, most_, step_)                                                                          \
    { label, "FLOAT", AT(member), initial, .min = least_, .max = most_, .step = step_, .round = step_ < 0.01 ? step_ : 0, .flags = NODE_ADVANCED }
#define MOST_SIGMA NUMBER("sigma_max", most, "14.614642", 0, 5000, 0.01)
#define LEAST_SIGMA NUMBER("sigma_min", least, "0.0291675", 0, 5000, 0.01)

static const struct node_input basic_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct schedule_args, model),
    { "scheduler", "COMBO", AT(schedule), .choice = scheduler_choice },
    STEPS, DENOISE,
    { 0 },
};
static const struct node_input karras_inputs[] = { STEPS, MOST_SIGMA, LEAST_SIGMA, NUMBER("rho", rho, "7.0", 0, 100, 0.01), { 0 } };
static const struct node_input exponential_inputs[] = { STEPS, MOST_SIGMA, LEAST_SIGMA, { 0 } };
static const struct node_input poly_inputs[] = { STEPS, MOST_SIGMA, LEAST_SIGMA, NUMBER("rho", rho, "1.0", 0, 100, 0.01), { 0 } };
static const struct node_input laplace_inputs[] = { STEPS, MOST_SIGMA, LEAST_SIGMA, NUMBER("mu", mu, "0.0", -10, 10, 0.1),
                                                    NUMBER("beta", beta, "0.5", 0, 10, 0.1), { 0 } };
static const struct node_input vp_inputs[] = { STEPS, NUMBER("beta_d", beta_d, "19.9", 0, 5000, 0.01), NUMBER("beta_min", beta_min, "0.1", 0, 5000, 0.01),
                                               NUMBER("eps_s", eps, "0.001", 0, 1, 0.0001), { 0 } };
static const struct node_input beta_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct schedule_args, model),
    STEPS, NUMBER("alpha", alpha, "0.6", 0, 50, 0.01), NUMBER("beta", beta, "0.6", 0, 50, 0.01),
    { 0 },
};
static const struct node_input turbo_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct schedule_args, model),
    { "steps", "INT", AT(steps), "1", .min = 1, .max = 10 },
    DENOISE,
    { 0 },
};
static const struct node_input split_inputs[] = {
    NODE_SOCKET("sigmas", "SIGMAS", struct split_args, sigmas),
    { "step", "INT", offsetof(struct split_args, step), "0", .min = 0, .max = 10000 },
    { 0 },
};
static const struct node_input split_denoise_inputs[] = {
    NODE_SOCKET("sigmas", "SIGMAS", struct split_args, sigmas),
    { "denoise", "FLOAT", offsetof(struct split_args, denoise), "1.0", .min = 0, .max = 1, .step = 0.01 },
    { 0 },
};
static const struct node_input flip_inputs[] = { NODE_SOCKET("sigmas", "SIGMAS", struct split_args, sigmas), { 0 } };
static const struct node_input first_inputs[] = {
    NODE_SOCKET("sigmas", "SIGMAS", struct split_args, sigmas),
    { "sigma", "FLOAT", offsetof(struct split_args, sigma), "136.0", .min = 0, .max = 20000, .step = 0.001, .round = 0.001 },
    { 0 },
};
static const struct node_output split_outputs[] = { { .type = "SIGMAS", .name = "high_sigmas" }, { .type = "SIGMAS", .name = "low_sigmas" }, { 0 } };

/* Gives levels, which are taken if `good`. */
static bool give(struct node_call *call, int index, struct sigmas levels, bool good, struct err *e)
{
    struct sigmas *own = good ? mem_zeroed(1, sizeof *own) : NULL;
    if (good && !own) {
        sigmas_release(&levels);
        err_nomem(e, "noise levels");
    }
    if (own)
        *own = levels;
    return node_give(call, index, datum_of_object(&type_sigmas, own, e), e);
}

/* No levels at all: a sampler then does nothing. */
static struct sigmas no_levels(void)
{
    return (struct sigmas){ mem_zeroed(1, sizeof(double)), 0 };
}

/* The model's schedule; released by the caller. */
static bool schedule_of(const struct datum *model, struct noise_schedule *out, struct err *e)
{
    const struct scheduler_config c = flow_model_scheduler(model_of(model));
    return noise_schedule_init(out, &c, e);
}

static bool basic_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct noise_schedule n;
    struct sigmas levels = { 0 };
    if (a->denoise <= 0)
        return give(call, 0, no_levels(), true, e);
    bool good = schedule_of(a->model, &n, e);
    if (good) {
        good = schedule_sigmas(&levels, &n, a->schedule, a->steps, a->denoise, e);
        noise_schedule_release(&n);
    }
    return give(call, 0, levels, good, e);
}

static bool karras_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct sigmas levels = { 0 };
    bool good = sigmas_karras(&levels, a->steps, a->most, a->least, a->rho, e);
    return give(call, 0, levels, good, e);
}

static bool exponential_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct sigmas levels = { 0 };
    bool good = sigmas_exponential(&levels, a->steps, a->most, a->least, e);
    return give(call, 0, levels, good, e);
}

static bool poly_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct sigmas levels = { 0 };
    bool good = sigmas_polyexponential(&levels, a->steps, a->most, a->least, a->rho, e);
    return give(call, 0, levels, good, e);
}

static bool laplace_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct sigmas levels = { 0 };
    bool good = sigmas_laplace(&levels, a->steps, a->most, a->least, a->mu, a->beta, e);
    return give(call, 0, levels, good, e);
}

static bool vp_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct sigmas levels = { 0 };
    bool good = sigmas_vp(&levels, a->steps, a->beta_d, a->beta_min, a->eps, e);
    return give(call, 0, levels, good, e);
}

static bool beta_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct noise_schedule n;
    struct sigmas levels = { 0 };
    bool good = schedule_of(a->model, &n, e);
    if (good) {
        good = sigmas_beta(&levels, &n, a->steps, a->alpha, a->beta, e);
        noise_schedule_release(&n);
    }
    return give(call, 0, levels, good, e);
}

static bool turbo_run(struct node_call *call, const void *args, struct err *e)
{
    const struct schedule_args *a = args;
    struct noise_schedule n;
    struct sigmas levels = { 0 };
    bool good = schedule_of(a->model, &n, e);
    if (good) {
        good = sigmas_sd_turbo(&levels, &n, a->steps, a->denoise, e);
        noise_schedule_release(&n);
    }
    return give(call, 0, levels, good, e);
}

/* Levels first .. last - 1 as new ones. */
static bool give_part(struct node_call *call, int index, const struct sigmas *from, int64_t first, int64_t last, struct err *e)
{
    int64_t count = last > first ? last - first : 0;
    struct sigmas part = { mem_zeroed((size_t)(count ? count : 1), sizeof(double)), count };
    if (part.at && count)
        memcpy(part.at, from->at + first, (size_t)count * sizeof *part.at);
    return give(call, index, part, part.at || err_nomem(e, "noise levels"), e);
}

static bool split_run(struct node_call *call, const void *args, struct err *e)
{
    const struct split_args *a = args;
    const struct sigmas *s = sigmas_of(a->sigmas);
    int64_t step = a->step < s->count ? a->step : s->count;
    return give_part(call, 0, s, 0, step + 1 < s->count ? step + 1 : s->count, e) && give_part(call, 1, s, step, s->count, e);
}

static bool split_denoise_run(struct node_call *call, const void *args, struct err *e)
{
    const struct split_args *a = args;
    const struct sigmas *s = sigmas_of(a->sigmas);
    int64_t steps = s->count > 1 ? s->count - 1 : 0, low = (int64_t)rint((double)steps * a->denoise);
    return give_part(call, 0, s, 0, s->count - low, e) && give_part(call, 1, s, low ? s->count - low - 1 : s->count, s->count, e);
}

static bool flip_run(struct node_call *call, const void *args, struct err *e)
{
    const struct sigmas *s = sigmas_of(((const struct split_args *)args)->sigmas);
    struct sigmas turned = { mem_zeroed((size_t)(s->count ? s->count : 1), sizeof(double)), s->count };
    for (int64_t i = 0; turned.at && i < s->count; i++)
        turned.at[i] = s->at[s->count - 1 - i];
    if (turned.at && s->count && turned.at[0] == 0)
        turned.at[0] = 0.0001;
    return give(call, 0, turned, turned.at || err_nomem(e, "noise levels"), e);
}

static bool first_run(struct node_call *call, const void *args, struct err *e)
{
    const struct split_args *a = args;
    const struct sigmas *s = sigmas_of(a->sigmas);
    struct sigmas changed = { mem_zeroed((size_t)(s->count ? s->count : 1), sizeof(double)), s->count };
    if (changed.at && s->count) {
        memcpy(changed.at, s->at, (size_t)s->count * sizeof *changed.at);
        changed.at[0] = a->sigma;
    }
    return give(call, 0, changed, changed.at || err_nomem(e, "noise levels"), e);
}

#define SCHEDULE(name_, help_, inputs_, run_)                                                                                         \
    { name_, NULL, help_, "sampling/custom_sampling/schedulers", inputs_, sigmas_output, .args_bytes = sizeof(struct schedule_args), .run = run_ }
#define CHANGE(name_, help_, inputs_, outputs_, run_)                                                                                 \
    { name_, NULL, help_, "sampling/custom_sampling/sigmas", inputs_, outputs_, .args_bytes = sizeof(struct split_args), .run = run_ }
const struct node nodes_sigmas[] = {
    SCHEDULE("BasicScheduler", "Noise levels of a model by the name of a schedule.", basic_inputs, basic_run),
    SCHEDULE("KarrasScheduler", "Noise levels as Karras and others have them.", karras_inputs, karras_run),
    SCHEDULE("ExponentialScheduler", "Noise levels that are equally far apart in their logarithm.", exponential_inputs, exponential_run),
    SCHEDULE("PolyexponentialScheduler", "Noise levels along a power in their logarithm.", poly_inputs, poly_run),
    SCHEDULE("LaplaceScheduler", "Noise levels at quantiles of a Laplace distribution.", laplace_inputs, laplace_run),
    SCHEDULE("VPScheduler", "Noise levels of a variance preserving process.", vp_inputs, vp_run),
    SCHEDULE("BetaSamplingScheduler", "Noise levels of a model at quantiles of a Beta distribution.", beta_inputs, beta_run),
    SCHEDULE("SDTurboScheduler", "Noise levels for models that draw in one to ten steps.", turbo_inputs, turbo_run),
    CHANGE("SplitSigmas", "Cuts a run in two at a step.", split_inputs, split_outputs, split_run),
    CHANGE("SplitSigmasDenoise", "Cuts a run in two where so much of it is left.", split_denoise_inputs, split_outputs, split_denoise_run),
    CHANGE("FlipSigmas", "The levels from behind: a run from picture to noise.", flip_inputs, sigmas_output, flip_run),
    CHANGE("SetFirstSigma", "Another level to begin with.", first_inputs, sigmas_output, first_run),
    { 0 },
};
