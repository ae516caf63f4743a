/* A drawing by two models: the base takes the first steps, and a model made for the last of the noise (SDXL's refiner) the rest. Which
 * steps those are has two meanings:
 *
 *   diffusers (sampler "model"): the base's denoising_end and the refiner's denoising_start (StableDiffusionXLPipeline and
 *   ...Img2ImgPipeline): timesteps below (1 - start) of the training's are the refiner's, by each model's own schedule. The generator
 *   goes on, as if both pipelines were given the same.
 *   ComfyUI: two nodes KSamplerAdvanced of one number of steps, end_at_step of the first is start_at_step of the second, with what is
 *   left of the noise; each has the seed for the noise within its run. Between nodes latents are without a model's factor. */
#include <math.h>

#include "generate/generate_internal.h"

bool refine_check(const struct pipeline *p, const struct draw_request *r, struct err *e)
{
    const struct vae_config *a = &p->source.model->vae, *b = &r->refiner->source.model->vae;
    if (!(r->refiner_start > 0 && r->refiner_start < 1))
        return err_set(e, ERR_ARG, "refiner start %g: must be more than 0 and less than 1", r->refiner_start);
    if (r->picture || r->hires.width || r->hires.height || model_extra_channels(p->source.model))
        return err_set(e, ERR_ARG, "a refiner ends a drawing that begins with noise and has one pass: it goes with no picture, mask or "
                       "second pass");
    if (model_extra_channels(r->refiner->source.model))
        return err_set(e, ERR_ARG, "the refiner is a model that fills in pictures");
    if (a->latent_channels != b->latent_channels || vae_factor(a) != vae_factor(b))
        return err_set(e, ERR_ARG, "the refiner's latents have %lld channels and cells of %lld pixels, the model's %lld and %lld: they "
                       "must be equal", (long long)b->latent_channels, (long long)vae_factor(b), (long long)a->latent_channels,
                       (long long)vae_factor(a));
    return true;
}

/* What the sampler of a whole run knows. */
struct run_calls {
    int64_t calls, below; /* all, and those with a timestep below the border, at the end */
};

static bool count_calls(const struct pipeline *p, const struct draw_request *r, struct run_calls *out, struct err *e)
{
    struct torch_random unused = { 0 };
    const struct scheduler_config *c = p->source.scheduler;
    struct sampler_spec spec = { .steps = r->steps, .eta = r->eta, .noise = &unused, .shape = SHAPE(1, 1) };
    struct sampler *s;
    if (!sampler_new(&s, &spec, c, e))
        return false;
    double all = (double)c->train_steps, border = rint(all - r->refiner_start * all); /* Python's round, too, is to even */
    *out = (struct run_calls){ .calls = sampler_calls(s) };
    while (out->below < out->calls && sampler_timestep(s, out->calls - 1 - out->below) < border)
        out->below++;
    sampler_free(s);
    if (out->calls != r->steps && out->calls != 2 * r->steps - 1)
        return err_set(e, ERR_ARG, "the scheduler %s cannot go on in the middle of a run: another --sampler can",
                       scheduler_class_name(c->class));
    return true;
}

bool refine_legs(const struct pipeline *p, const struct draw_request *r, struct leg *base, struct leg *refiner, struct err *e)
{
    *base = *refiner = (struct leg){ 0 };
    const struct sampler_name *name = sampler_find(r->sampler ? r->sampler : "model");
    int64_t border = (int64_t)rint(r->refiner_start * (double)r->steps);
    bool good = border > 0 && border < r->steps;
    if (name != sampler_names) {
        base->end_step = refiner->start_step = border;
    } else {
        struct run_calls a, b;
        if (!count_calls(p, r, &a, e) || !count_calls(r->refiner, r, &b, e))
            return false;
        bool twice = b.calls != r->steps; /* a step of two calls begins with its first */
        if (twice && b.below % 2 == 0)
            b.below++;
        base->calls = a.calls - a.below;
        refiner->start_step = (b.calls - b.below) / (twice ? 2 : 1);
        good = base->calls > 0 && a.below > 0 && refiner->start_step < r->steps && b.below > 0;
    }
    return good || err_set(e, ERR_ARG, "refiner start %g of %lld steps leaves one of the models none: more steps, or another part",
                           r->refiner_start, (long long)r->steps);
}

struct draw_request refine_request(const struct draw_request *r, const struct draw_sizes *s)
{
    struct draw_request again = *r;
    again.width = s->width;
    again.height = s->height;
    again.refiner = NULL;
    again.control_count = 0; /* ControlNets are the base's */
    again.loras = NULL; /* they are the base's */
    again.lora_count = 0;
    again.noise = NULL;
    return again;
}

static bool same_scale(const struct vae_config *a, const struct vae_config *b)
{
    bool same = a->scaling_factor == b->scaling_factor && a->normed == b->normed;
    for (int64_t i = 0; same && a->normed && i < a->latent_channels; i++)
        same = a->mean[i] == b->mean[i] && a->deviation[i] == b->deviation[i];
    return same;
}

void refine_hand_over(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, float *latents, bool back)
{
    const struct vae_config *own = &p->source.model->vae, *other = &r->refiner->source.model->vae;
    if (!s->comfy || (back && same_scale(own, other))) /* diffusers hands latents over as they are */
        return;
    vae_unscale(back ? other : own, latents, r->batch, s->h * s->w);
    vae_scale(back ? own : other, latents, r->batch, s->h * s->w);
}
