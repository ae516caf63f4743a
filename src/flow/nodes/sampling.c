/* KSampler and KSamplerAdvanced. */
#include "flow/nodes/sampling.h"

#include "base/clock.h"
#include "tensor/resample.h"

struct sampler_args {
    const struct datum *model, *positive, *negative, *latent;
    uint64_t seed;
    int64_t steps, first, last;
    double cfg, denoise;
    const char *sampler, *schedule, *add_noise, *leftover;
};

/* ComfyUI's order, and then "model". */
const char *sampler_choice(int index)
{
    static const char *const names[] = {
        "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast",
        "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp",
        "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
        "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp",
        "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc",
        "uni_pc_bh2", "model",
    };
    return index >= 0 && (size_t)index < sizeof names / sizeof *names ? names[index] : NULL;
}

const char *scheduler_choice(int index)
{
    static const char *const names[] = { "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal",
                                         "linear_quadratic", "kl_optimal" };
    return index >= 0 && (size_t)index < sizeof names / sizeof *names ? names[index] : NULL;
}

/* --- previews --- */

struct watch {
    struct node_call *call;
    const struct stage_sampling *s;
    struct pipeline *pipeline;
    const struct vae_config *vae;
    bool decodes; /* the VAE is there, too */
    double shown_at, decoding; /* when the last preview was made, and how long that took */
};

/* Colours of a latent of Stable Diffusion 1 and 2, and of SDXL, as a linear map (ComfyUI's latent_formats.py). */
static const float sd1_colours[4][3] = { { 0.3512f, 0.2297f, 0.3227f }, { 0.3250f, 0.4974f, 0.2350f }, { -0.2829f, 0.1762f, 0.2721f },
                                         { -0.2120f, -0.2616f, -0.7177f } };
static const float sdxl_colours[4][3] = { { 0.3651f, 0.4232f, 0.4341f }, { -0.2533f, -0.0042f, 0.1068f }, { 0.1076f, 0.1111f, -0.0362f },
                                          { -0.3165f, -0.2492f, -0.2188f } };
static const float sdxl_base[3] = { 0.1084f, -0.0175f, -0.0011f };

static uint8_t to_byte(float v)
{
    return (uint8_t)(255 * fminf(fmaxf((v + 1) / 2, 0), 1));
}

static bool by_map(struct image *out, const struct watch *w, const float *x, struct err *e)
{
    int64_t area = w->s->h * w->s->w;
    bool xl = w->vae->scaling_factor < 0.15;
    if (!image_make(out, (int)w->s->w, (int)w->s->h, 3, e))
        return false;
    for (int64_t i = 0; i < area; i++)
        for (int k = 0; k < 3; k++) {
            float v = xl ? sdxl_base[k] : 0;
            for (int c = 0; c < 4; c++)
                v += x[c * area + i] * (xl ? sdxl_colours : sd1_colours)[c][k];
            out->pixels[3 * i + k] = to_byte(v);
        }
    return true;
}

/* Any other VAE decodes itself: exact, and for small models fast. */
static bool by_vae(struct image *out, const struct watch *w, const float *x, struct err *e)
{
    int64_t cell = vae_factor(w->vae), width = w->s->w * cell, height = w->s->h * cell;
    size_t count = (size_t)(w->vae->latent_channels * w->s->h * w->s->w);
    float *latent = mem_aligned(count * sizeof *latent), *pixels = mem_aligned((size_t)(width * height) * 3 * sizeof *pixels);
    bool good = (latent && pixels) || err_nomem(e, "a preview");
    if (good) {
        memcpy(latent, x, count * sizeof *latent);
        vae_unscale(w->vae, latent, 1, w->s->h * w->s->w);
    }
    good = good && pipeline_latents_to_pixels(w->pipeline, latent, 1, w->s->h, w->s->w, 0, NULL, pixels, e) &&
           image_make(out, (int)width, (int)height, 3, e);
    for (size_t i = 0; good && i < image_bytes(out); i++)
        out->pixels[i] = to_byte(pixels[i]);
    mem_free(latent);
    mem_free(pixels);
    return good;
}

/* At most `side` pixels a side. */
static bool shrink(struct image *image, int side, struct err *e)
{
    int longest = image->width > image->height ? image->width : image->height;
    struct image small;
    if (longest <= side)
        return true;
    int width = image->width * side / longest, height = image->height * side / longest;
    if (!image_resize(&small, image, width ? width : 1, height ? height : 1, IMAGE_BILINEAR, e))
        return false;
    image_release(image);
    *image = small;
    return true;
}

static bool on_step(void *self, int64_t done, int64_t total, const float *denoised, struct err *e)
{
    struct watch *w = self;
    int side = call_preview_side(w->call);
    struct image image = { 0 };
    bool mapped = w->vae->latent_channels == 4 && !w->vae->normed && w->vae->kind == VAE_KL;
    double now = clock_seconds();
    /* a preview may take a quarter of the time */
    bool shows = side > 0 && (mapped || (w->decodes && (done == total || now - w->shown_at > 4 * w->decoding)));
    bool good = !shows || ((mapped ? by_map(&image, w, denoised, e) : by_vae(&image, w, denoised, e)) && shrink(&image, side, e));
    if (shows) {
        w->shown_at = clock_seconds();
        w->decoding = w->shown_at - now;
    }
    good = good && node_progress(w->call, done, total, shows ? &image : NULL, e);
    image_release(&image);
    return good;
}

/* --- running --- */

struct flow_latent *sample(struct node_call *call, const struct datum *model, const struct datum *from, struct stage_sampling *s,
                           struct flow_latent **denoised, struct err *e)
{
    const struct flow_model *m = model_of(model);
    const struct vae_config *vae = &pipeline_model(m->weights->pipeline)->vae;
    struct flow_latent *l = latent_for(latent_of(from), vae, e), *out = l ? flow_latent_copy(l, e) : NULL;
    struct flow_latent *expected = out && denoised ? flow_latent_copy(l, e) : NULL;
    struct watch watch = { .call = call, .s = s, .pipeline = m->weights->pipeline, .vae = vae,
                           .decodes = !m->weights->alone || m->weights->alone->weights[PART_VAE] };
    const struct scheduler_config scheduler = flow_model_scheduler(m);
    bool good = out && (!denoised || expected);
    if (good && l->c != vae->latent_channels)
        good = err_set(e, ERR_SHAPE, "latents of %lld channels for a model of %lld: they are of different models", (long long)l->c,
                       (long long)vae->latent_channels);
    if (good) {
        s->loras = m->loras;
        s->lora_count = m->lora_count;
        s->cfg_rescale = m->cfg_rescale;
        s->scheduler = &scheduler;
        s->n = l->n;
        s->h = l->h;
        s->w = l->w;
        s->latents = l->at;
        s->batch_index = l->batch_index;
        if (l->noise_mask) {
            s->mask = l->noise_mask->at;
            s->mask_n = l->noise_mask->n;
            s->mask_h = l->noise_mask->h;
            s->mask_w = l->noise_mask->w;
        }
        s->step = on_step;
        s->self = &watch;
        const struct progress lines = { .line = call_progress(call)->line, .self = call };
        good = pipeline_latents_sample(engine_use(call_engine(call), m->weights), s, &lines, out->at, expected ? expected->at : NULL, e);
    }
    for (int i = 0; good && i < 2; i++) {
        struct flow_latent *made = i ? expected : out;
        if (made)
            made->empty = false;
    }
    flow_latent_free(l);
    if (denoised)
        *denoised = expected;
    if (good)
        return out;
    flow_latent_free(out);
    flow_latent_free(expected);
    if (denoised)
        *denoised = NULL;
    return NULL;
}

/* --- the nodes --- */

#define MODEL { "model", "MODEL", offsetof(struct sampler_args, model), .help = "the denoiser" }
#define STEPS                                                                                                                         \
    { "steps", "INT", offsetof(struct sampler_args, steps), "20", .min = 1, .max = 10000, .help = "denoising steps: more is finer and slower" }
#define CFG                                                                                                                           \
    { "cfg", "FLOAT", offsetof(struct sampler_args, cfg), "8.0", .min = 0, .max = 100, .step = 0.1, .round = 0.01,                    \
      .help = "how closely the words are followed; 1 leaves the negative words out and takes half the time" }
#define SAMPLER                                                                                                                       \
    { "sampler_name", "COMBO", offsetof(struct sampler_args, sampler), .choice = sampler_choice,                                      \
      .help = "how a step is taken; model: as the model's own scheduler says, in diffusers' way" }
#define SCHEDULER                                                                                                                     \
    { "scheduler", "COMBO", offsetof(struct sampler_args, schedule), .choice = scheduler_choice,                                      \
      .help = "which noise levels the steps go through; the sampler \"model\" has its own" }
#define TEXTS                                                                                                                         \
    { "positive", "CONDITIONING", offsetof(struct sampler_args, positive), .help = "what is to be seen" },                            \
    { "negative", "CONDITIONING", offsetof(struct sampler_args, negative), .help = "what is not" },                                   \
    { "latent_image", "LATENT", offsetof(struct sampler_args, latent), .help = "what it begins with, and how large it is" }

static const struct node_input sampler_inputs[] = {
    MODEL,
    { "seed", "INT", offsetof(struct sampler_args, seed), .flags = NODE_SEED, .help = "same seed, same picture" },
    STEPS, CFG, SAMPLER, SCHEDULER, TEXTS,
    { "denoise", "FLOAT", offsetof(struct sampler_args, denoise), "1.0", .min = 0, .max = 1, .step = 0.01,
      .help = "how much of what is there is drawn anew" },
    { 0 },
};
static const char *const noise_choices[] = { "enable", "disable", NULL };
static const char *const leftover_choices[] = { "disable", "enable", NULL };
static const struct node_input advanced_inputs[] = {
    MODEL,
    { "add_noise", "COMBO", offsetof(struct sampler_args, add_noise), .choices = noise_choices },
    { "noise_seed", "INT", offsetof(struct sampler_args, seed), .flags = NODE_SEED },
    STEPS, CFG, SAMPLER, SCHEDULER, TEXTS,
    { "start_at_step", "INT", offsetof(struct sampler_args, first), "0", .min = 0, .max = 10000, .help = "steps before it are left out" },
    { "end_at_step", "INT", offsetof(struct sampler_args, last), "10000", .min = 0, .max = 10000, .help = "steps from it on are left out" },
    { "return_with_leftover_noise", "COMBO", offsetof(struct sampler_args, leftover), .choices = leftover_choices,
      .help = "leave the noise of the step where it ends, for another sampler that goes on" },
    { 0 },
};

static bool give(struct node_call *call, struct flow_latent *l, struct err *e)
{
    return node_give(call, 0, datum_of_object(&type_latent, l, e), e);
}

static struct stage_sampling settings(const struct sampler_args *a)
{
    bool model = sampler_find(a->sampler) == sampler_names;
    return (struct stage_sampling){ .positive = conditions_of(a->positive), .negative = conditions_of(a->negative), .cfg = a->cfg,
                                    .sampler = a->sampler, .schedule = model ? NULL : a->schedule, .steps = a->steps, .denoise = 1,
                                    .eta = -1, .seed = a->seed };
}

static bool sampler_run_node(struct node_call *call, const void *args, struct err *e)
{
    const struct sampler_args *a = args;
    struct stage_sampling s = settings(a);
    if (a->denoise <= 0)
        return give_same(call, 0, a->latent, e);
    s.denoise = a->denoise;
    return give(call, sample(call, a->model, a->latent, &s, NULL, e), e);
}

static bool advanced_run(struct node_call *call, const void *args, struct err *e)
{
    const struct sampler_args *a = args;
    struct stage_sampling s = settings(a);
    int64_t last = a->last < a->steps ? a->last : a->steps;
    if (a->first >= last)
        return give_same(call, 0, a->latent, e);
    s.no_noise = !strcmp(a->add_noise, "disable");
    s.start_step = a->first;
    s.end_step = last < a->steps ? last : 0;
    s.leftover_noise = !strcmp(a->leftover, "enable");
    return give(call, sample(call, a->model, a->latent, &s, NULL, e), e);
}

const struct node nodes_sampling[] = {
    { "KSampler", NULL, "Draws: turns noise into a latent, step by step, by the words.", "sampling", sampler_inputs, latent_output,
      .args_bytes = sizeof(struct sampler_args), .run = sampler_run_node, .aliases = "sample, denoise, draw" },
    { "KSamplerAdvanced", "KSampler (Advanced)", "Draws some of the steps: what one sampler leaves another goes on with.", "sampling",
      advanced_inputs, latent_output, .args_bytes = sizeof(struct sampler_args), .run = advanced_run },
    { 0 },
};
