/* The parts of a sampling one by one: SAMPLER, NOISE, GUIDER, and the nodes that run them. */
#include "flow/nodes/sampling.h"

struct select_args {
    const char *name, *solver, *device;
    double eta, s_noise, r;
    int64_t order;
};
struct noise_args {
    uint64_t seed;
};
struct guider_args {
    const struct datum *model, *positive, *negative, *middle;
    double cfg, cfg2;
    const char *style;
};
struct custom_args {
    const struct datum *model, *positive, *negative, *sampler, *sigmas, *latent;
    bool add_noise;
    uint64_t seed;
    double cfg;
};
struct advanced_args {
    const struct datum *noise, *guider, *sampler, *sigmas, *latent;
};

static const char *const solvers[] = { "midpoint", "heun", NULL };
static const char *const devices[] = { "gpu", "cpu", NULL };
static const char *const styles[] = { "regular", "nested", NULL };

#define AT(member) offsetof(struct select_args, member)
#define ETA { "eta", "FLOAT", AT(eta), "1.0", .min = 0, .max = 100, .step = 0.01, .round = 0, .help = "noise added in the steps" }
#define S_NOISE { "s_noise", "FLOAT", AT(s_noise), "1.0", .min = 0, .max = 100, .step = 0.01, .help = "what that noise is multiplied by" }
#define DEVICE { "noise_device", "COMBO", AT(device), .choices = devices, .help = "whose noise: PyTorch's on a GPU, or on the CPU" }
static const struct node_input select_inputs[] = { { "sampler_name", "COMBO", AT(name), .choice = sampler_choice }, { 0 } };
static const struct node_input ancestral_inputs[] = { ETA, S_NOISE, { 0 } };
static const struct node_input dpmpp_2m_sde_inputs[] = { { "solver_type", "COMBO", AT(solver), .choices = solvers }, ETA, S_NOISE, DEVICE, { 0 } };
static const struct node_input dpmpp_sde_inputs[] = {
    ETA, S_NOISE,
    { "r", "FLOAT", AT(r), "0.5", .min = 0, .max = 100, .step = 0.01, .help = "where in a step it looks ahead" },
    DEVICE,
    { 0 },
};
static const struct node_input dpmpp_3m_sde_inputs[] = { ETA, S_NOISE, DEVICE, { 0 } };
static const struct node_input lms_inputs[] = {
    { "order", "INT", AT(order), "4", .min = 1, .max = 100, .help = "steps that it remembers; limn goes up to 4" },
    { 0 },
};
static const struct node_output sampler_output[] = { NODE_OUT("SAMPLER"), { 0 } };
static const struct node_input noise_inputs[] = { { "noise_seed", "INT", offsetof(struct noise_args, seed), .flags = NODE_SEED }, { 0 } };
static const struct node_output noise_output[] = { NODE_OUT("NOISE"), { 0 } };

#define CFG(label, member)                                                                                                            \
    { label, "FLOAT", offsetof(struct guider_args, member), "8.0", .min = 0, .max = 100, .step = 0.1, .round = 0.01 }
static const struct node_input basic_guider_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct guider_args, model),
    NODE_SOCKET("conditioning", "CONDITIONING", struct guider_args, positive),
    { 0 },
};
static const struct node_input cfg_guider_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct guider_args, model),
    NODE_SOCKET("positive", "CONDITIONING", struct guider_args, positive),
    NODE_SOCKET("negative", "CONDITIONING", struct guider_args, negative),
    CFG("cfg", cfg),
    { 0 },
};
static const struct node_input dual_guider_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct guider_args, model),
    NODE_SOCKET("cond1", "CONDITIONING", struct guider_args, positive),
    NODE_SOCKET("cond2", "CONDITIONING", struct guider_args, middle),
    NODE_SOCKET("negative", "CONDITIONING", struct guider_args, negative),
    CFG("cfg_conds", cfg),
    CFG("cfg_cond2_negative", cfg2),
    { "style", "COMBO", offsetof(struct guider_args, style), .choices = styles },
    { 0 },
};
static const struct node_output guider_output[] = { NODE_OUT("GUIDER"), { 0 } };
static const struct node_input custom_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct custom_args, model),
    { "add_noise", "BOOLEAN", offsetof(struct custom_args, add_noise), .initial = "true" },
    { "noise_seed", "INT", offsetof(struct custom_args, seed), .flags = NODE_SEED },
    { "cfg", "FLOAT", offsetof(struct custom_args, cfg), "8.0", .min = 0, .max = 100, .step = 0.1, .round = 0.01 },
    NODE_SOCKET("positive", "CONDITIONING", struct custom_args, positive),
    NODE_SOCKET("negative", "CONDITIONING", struct custom_args, negative),
    NODE_SOCKET("sampler", "SAMPLER", struct custom_args, sampler),
    NODE_SOCKET("sigmas", "SIGMAS", struct custom_args, sigmas),
    NODE_SOCKET("latent_image", "LATENT", struct custom_args, latent),
    { 0 },
};
static const struct node_input advanced_inputs[] = {
    NODE_SOCKET("noise", "NOISE", struct advanced_args, noise),
    NODE_SOCKET("guider", "GUIDER", struct advanced_args, guider),
    NODE_SOCKET("sampler", "SAMPLER", struct advanced_args, sampler),
    NODE_SOCKET("sigmas", "SIGMAS", struct advanced_args, sigmas),
    NODE_SOCKET("latent_image", "LATENT", struct advanced_args, latent),
    { 0 },
};
static const struct node_output custom_outputs[] = { { .type = "LATENT", .name = "output" }, { .type = "LATENT", .name = "denoised_output" }, { 0 } };

/* --- samplers --- */

static bool give_sampler(struct node_call *call, const char *name, struct flow_sampler settings, struct err *e)
{
    const struct sampler_name *found = sampler_need(name, e);
    struct flow_sampler *s = found ? mem_zeroed(1, sizeof *s) : NULL;
    if (found && !s)
        err_nomem(e, "a sampler");
    if (s) {
        *s = settings;
        s->name = found->name;
    }
    return node_give(call, 0, datum_of_object(&type_sampler, s, e), e);
}

static bool select_run(struct node_call *call, const void *args, struct err *e)
{
    return give_sampler(call, ((const struct select_args *)args)->name, (struct flow_sampler){ .eta = -1 }, e);
}

/* s_noise 0 is no noise, which sampler_spec has as eta 0 only for samplers whose drift does not ask for eta; so a strength that is
 * next to nothing stands for it. */
static struct flow_sampler noisy(const struct select_args *a)
{
    return (struct flow_sampler){ .eta = a->eta, .noise_strength = a->s_noise > 0 ? a->s_noise : 1e-30 };
}

static bool euler_run(struct node_call *call, const void *args, struct err *e)
{
    return give_sampler(call, "euler_ancestral", noisy(args), e);
}

static bool dpmpp_2s_run(struct node_call *call, const void *args, struct err *e)
{
    return give_sampler(call, "dpmpp_2s_ancestral", noisy(args), e);
}

static bool on_gpu(const struct select_args *a)
{
    return *a->device == 'g';
}

static bool dpmpp_2m_sde_run(struct node_call *call, const void *args, struct err *e)
{
    const struct select_args *a = args;
    bool heun = *a->solver == 'h';
    return give_sampler(call, on_gpu(a) ? (heun ? "dpmpp_2m_sde_heun_gpu" : "dpmpp_2m_sde_gpu") : heun ? "dpmpp_2m_sde_heun" : "dpmpp_2m_sde",
                        noisy(a), e);
}

static bool dpmpp_3m_sde_run(struct node_call *call, const void *args, struct err *e)
{
    return give_sampler(call, on_gpu(args) ? "dpmpp_3m_sde_gpu" : "dpmpp_3m_sde", noisy(args), e);
}

static bool dpmpp_sde_run(struct node_call *call, const void *args, struct err *e)
{
    const struct select_args *a = args;
    struct flow_sampler s = noisy(a);
    if (!(a->r > 0))
        return err_set(e, ERR_ARG, "r %g: must be more than 0", a->r);
    s.middle = a->r;
    return give_sampler(call, on_gpu(a) ? "dpmpp_sde_gpu" : "dpmpp_sde", s, e);
}

static bool lms_run(struct node_call *call, const void *args, struct err *e)
{
    const struct select_args *a = args;
    enum { MOST = 4 };
    if (a->order > MOST)
        return err_set(e, ERR_ARG, "order %lld: limn's lms goes up to %d", (long long)a->order, MOST);
    return give_sampler(call, "lms", (struct flow_sampler){ .eta = -1, .most_order = (int)a->order }, e);
}

/* --- noise and guidance --- */

static bool give_noise(struct node_call *call, bool none, uint64_t seed, struct err *e)
{
    struct flow_noise *n = mem_zeroed(1, sizeof *n);
    if (!n)
        err_nomem(e, "noise");
    else
        *n = (struct flow_noise){ none, seed };
    return node_give(call, 0, datum_of_object(&type_noise, n, e), e);
}

static bool random_run(struct node_call *call, const void *args, struct err *e)
{
    return give_noise(call, false, ((const struct noise_args *)args)->seed, e);
}

static bool no_noise_run(struct node_call *call, const void *args, struct err *e)
{
    return give_noise(call, true, 0, e);
}

static struct datum *keep(const struct datum *d)
{
    return d ? datum_keep((struct datum *)(uintptr_t)d) : NULL;
}

static bool guider_run(struct node_call *call, const void *args, struct err *e)
{
    const struct guider_args *a = args;
    struct flow_guider *g = mem_zeroed(1, sizeof *g);
    if (!g)
        return err_nomem(e, "a guider");
    *g = (struct flow_guider){ keep(a->model), keep(a->positive), keep(a->negative), keep(a->middle), GUIDE_CFG, a->negative ? a->cfg : 1, a->cfg2 };
    if (a->middle)
        g->guide = *a->style == 'n' ? GUIDE_DUAL_NESTED : GUIDE_DUAL;
    return node_give(call, 0, datum_of_object(&type_guider, g, e), e);
}

/* --- running --- */

static bool run(struct node_call *call, const struct datum *model, const struct datum *sampler, const struct datum *sigmas,
                const struct datum *latent, struct stage_sampling s, struct err *e)
{
    const struct flow_sampler *how = sampler_of(sampler);
    const struct sigmas *levels = sigmas_of(sigmas);
    if (levels->count < 2) /* there is nothing to do */
        return give_same(call, 0, latent, e) && give_same(call, 1, latent, e);
    s.sampler = how->name;
    s.eta = how->eta;
    s.noise_strength = how->noise_strength;
    s.middle_step = how->middle;
    s.most_order = how->most_order;
    s.sigmas = levels;
    s.steps = levels->count - 1;
    s.denoise = 1;
    struct flow_latent *denoised, *out = sample(call, model, latent, &s, &denoised, e);
    bool good = node_give(call, 0, datum_of_object(&type_latent, out, e), e);
    return node_give(call, 1, datum_of_object(&type_latent, denoised, e), e) && good;
}

static bool custom_run(struct node_call *call, const void *args, struct err *e)
{
    const struct custom_args *a = args;
    return run(call, a->model, a->sampler, a->sigmas, a->latent,
               (struct stage_sampling){ .positive = conditions_of(a->positive), .negative = conditions_of(a->negative), .cfg = a->cfg,
                                        .no_noise = !a->add_noise, .seed = a->seed }, e);
}

static bool advanced_run(struct node_call *call, const void *args, struct err *e)
{
    const struct advanced_args *a = args;
    const struct flow_guider *g = guider_of(a->guider);
    const struct flow_noise *n = noise_of(a->noise);
    return run(call, g->model, a->sampler, a->sigmas, a->latent,
               (struct stage_sampling){ .guide = g->guide, .positive = conditions_of(g->positive), .negative = conditions_of(g->negative),
                                        .middle = conditions_of(g->middle), .cfg = g->cfg, .cfg2 = g->cfg2, .no_noise = n->none,
                                        .seed = n->seed }, e);
}

#define SAMPLER(name_, help_, inputs_, run_)                                                                                          \
    { name_, NULL, help_, "sampling/custom_sampling/samplers", inputs_, sampler_output, .args_bytes = sizeof(struct select_args), .run = run_ }
#define GUIDER(name_, help_, inputs_)                                                                                                 \
    { name_, NULL, help_, "sampling/custom_sampling/guiders", inputs_, guider_output, .args_bytes = sizeof(struct guider_args), .run = guider_run }
const struct node nodes_custom_sampling[] = {
    SAMPLER("KSamplerSelect", "A sampler by its name.", select_inputs, select_run),
    SAMPLER("SamplerEulerAncestral", "euler_ancestral with settings.", ancestral_inputs, euler_run),
    SAMPLER("SamplerDPMPP_2S_Ancestral", "dpmpp_2s_ancestral with settings.", ancestral_inputs, dpmpp_2s_run),
    SAMPLER("SamplerDPMPP_2M_SDE", "dpmpp_2m_sde with settings.", dpmpp_2m_sde_inputs, dpmpp_2m_sde_run),
    SAMPLER("SamplerDPMPP_SDE", "dpmpp_sde with settings.", dpmpp_sde_inputs, dpmpp_sde_run),
    SAMPLER("SamplerDPMPP_3M_SDE", "dpmpp_3m_sde with settings.", dpmpp_3m_sde_inputs, dpmpp_3m_sde_run),
    SAMPLER("SamplerLMS", "lms with settings.", lms_inputs, lms_run),
    { "RandomNoise", NULL, "The noise of a seed.", "sampling/custom_sampling/noise", noise_inputs, noise_output,
      .args_bytes = sizeof(struct noise_args), .run = random_run },
    { "DisableNoise", NULL, "No noise: the latent holds it already.", "sampling/custom_sampling/noise", NULL, noise_output, .run = no_noise_run },
    GUIDER("BasicGuider", "Draws by one text, without negative words.", basic_guider_inputs),
    GUIDER("CFGGuider", "Draws by a text and away from another.", cfg_guider_inputs),
    GUIDER("DualCFGGuider", "Draws by two texts and away from a third.", dual_guider_inputs),
    { "SamplerCustom", NULL, "Draws with a sampler and noise levels of its own.", "sampling/custom_sampling", custom_inputs, custom_outputs,
      .args_bytes = sizeof(struct custom_args), .run = custom_run },
    { "SamplerCustomAdvanced", NULL, "Draws with noise, guidance, a sampler and noise levels of its own.", "sampling/custom_sampling",
      advanced_inputs, custom_outputs, .args_bytes = sizeof(struct advanced_args), .run = advanced_run },
    { 0 },
};
