/* Where a drawing begins, and how what must stay stays. Two rules:
 *
 *   diffusers (sampler "model"): after each step the part that stays is set to the picture's latent with the noise of the next
 *   step on it (Lugmayr et al. 2022, "RePaint", without its resampling).
 *   ComfyUI: the sampler goes its way over everything, but the denoiser sees the part that stays with this call's noise on it,
 *   and what it says of that part is replaced by the picture. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "generate/start_noise.h"

void chain_release(struct chain *c)
{
    sampler_free(c->sampler);
    mem_free(c->latent);
    mem_free(c->noise);
    mem_free(c->input);
    *c = (struct chain){ 0 };
}

/* Latents of so many pictures by mean and deviation; diffusers draws them from the generator, ComfyUI takes the mean. */
static void sample_moments(struct chain *c, const struct draw_sizes *s, const float *moments, size_t pictures, float *out)
{
    bool draws = !s->comfy && !c->origin.exact;
    if (draws)
        torch_random_normal(&c->random, out, pictures * c->cell);
    for (size_t k = 0; k < pictures; k++)
        for (size_t i = 0; i < c->cell; i++) {
            const float *at = moments + 2 * k * c->cell + i;
            float *x = out + k * c->cell + i;
            *x = draws ? at[0] + at[c->cell] * *x : at[0];
        }
}

/* ComfyUI's ddim is euler but for the noise on the part that stays. */
static bool has_noise_of_its_own(const struct draw_request *r)
{
    return sampler_find(r->sampler) == sampler_find("ddim");
}

static bool set_beginning(struct chain *c, const struct draw_request *r, const struct draw_sizes *s, uint64_t seed,
                          struct shape shape, const float *given, float *extra, struct err *e)
{
    const struct origin *o = &c->origin;
    const struct start_noise start = { seed, r->cuda_noise, r->subseed, r->subseed_strength };
    c->noise = mem_aligned(c->each * sizeof *c->noise);
    c->latent = o->moments ? mem_aligned(c->each * sizeof *c->latent) : NULL;
    c->input = c->masks || c->blends ? mem_aligned(c->each * sizeof *c->input) : NULL;
    if (!c->noise || (o->moments && !c->latent) || ((c->masks || c->blends) && !c->input))
        return err_nomem(e, "noise");
    start_noise_seed(&start, &c->random);
    /* The generator is asked in diffusers' order: the picture's latent, the noise, the latent without what is drawn anew. From
     * nothing but noise begins what has no picture, and diffusers' inpainting at full strength. */
    bool from_noise = !o->moments || (!s->comfy && r->mask && r->strength == 1);
    if (o->moments && !(from_noise && s->extra)) {
        size_t pictures = o->pictures == 1 ? 1 : c->each / c->cell;
        sample_moments(c, s, o->moments, pictures, c->latent);
        for (size_t i = pictures * c->cell; i < c->each; i++)
            c->latent[i] = c->latent[i % c->cell];
    }
    if (given)
        memcpy(c->noise, given, c->each * sizeof *c->noise);
    else if (!start_noise_draw(&start, &c->random, c->noise, shape, e))
        return false;
    sampler_begin(c->sampler, c->noise, from_noise ? NULL : c->latent);
    if (s->extra) {
        for (size_t i = 0; i < c->area; i++)
            extra[i] = rintf(o->mask[i]);
        sample_moments(c, s, o->masked, 1, extra + c->area);
    } else if (c->blends) {
        torch_random_normal(&c->random, c->input, c->cell); /* diffusers draws it here, too, and does not use it */
    }
    if (c->masks && has_noise_of_its_own(r)) {
        const struct start_noise next = { .seed = seed + 1, .cuda = r->cuda_noise };
        struct torch_random own;
        start_noise_seed(&next, &own);
        torch_random_normal(&own, c->noise, c->each);
    }
    return true;
}

bool chain_begin(struct chain *c, const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                 const struct origin *origin, int64_t pictures, uint64_t seed, const float *given, const struct leg *leg,
                 float *extra, struct err *e)
{
    struct shape shape = SHAPE(pictures, s->channels, s->h, s->w);
    struct sampler_spec spec = { .sampler = r->sampler, .schedule = r->schedule, .steps = r->steps,
                                 .denoise = origin->moments ? r->strength : 0, .eta = r->eta, .seed = seed,
                                 .cuda_noise = r->cuda_noise, .noise = &c->random, .shape = shape };
    if (leg) {
        spec.start_step = leg->start_step;
        spec.end_step = leg->end_step;
        spec.leftover_noise = leg->end_step > 0;
        c->limit = leg->calls;
    }
    c->origin = *origin;
    c->each = latent_count(s, pictures);
    c->cell = latent_count(s, 1);
    c->area = (size_t)(s->h * s->w);
    c->prediction = p->source.scheduler->prediction;
    c->blends = r->mask && !s->comfy && !s->extra;
    c->masks = r->mask && s->comfy;
    if (!sampler_new(&c->sampler, &spec, p->source.scheduler, e))
        return false;
    if (!leg || !leg->latents)
        return set_beginning(c, r, s, seed, shape, given, extra, e);
    c->random = *leg->random;
    sampler_begin(c->sampler, NULL, leg->latents);
    return true;
}

bool chain_done(const struct chain *c)
{
    return sampler_done(c->sampler) || (c->limit && sampler_calls_done(c->sampler) >= c->limit);
}

/* The mask at number i of the chain's latents. */
static double mask_at(const struct chain *c, size_t i)
{
    size_t picture = c->origin.mask_pictures > 1 ? i / c->cell % (size_t)c->origin.mask_pictures : 0;
    return (double)c->origin.mask[picture * c->area + i % c->area];
}

/* The denoiser's input at number i without a mask, and with the part that stays as it is at this call. */
static double seen(const struct chain *c, size_t i, double m)
{
    return m * (double)c->input[i] + (1 - m) * (c->alpha * (double)c->latent[i] + c->beta * (double)c->noise[i]);
}

double chain_input(struct chain *c, float *input)
{
    double timestep = sampler_input(c->sampler, input), signal, noise;
    if (!c->masks)
        return timestep;
    /* each of ComfyUI's samplers gives the denoiser alpha x0 + beta noise with alpha^2 + beta^2 = 1 */
    sampler_level(c->sampler, &signal, &noise);
    c->alpha = 1 / sqrt(1 + noise / signal * (noise / signal));
    c->beta = noise / signal * c->alpha;
    memcpy(c->input, input, c->each * sizeof *input);
    for (size_t i = 0; i < c->each; i++) {
        double m = mask_at(c, i);
        if (m != 1)
            input[i] = (float)seen(c, i, m);
    }
    return timestep;
}

/* What the denoiser would have had to say of the input without a mask for the sampler to see
 * x0 = m x0(input with the mask) + (1 - m) latent; or, for what it says without guidance, the first of these x0 alone. */
static void mask_output(const struct chain *c, enum prediction prediction, bool mixes, float *output)
{
    double alpha = c->alpha, beta = c->beta;
    for (size_t i = 0; i < c->each; i++) {
        double m = mask_at(c, i), said = (double)output[i], input = (double)c->input[i];
        if (m == 1)
            continue;
        double with = seen(c, i, m), x0 = said;
        if (prediction == PREDICTION_EPSILON)
            x0 = (with - beta * said) / alpha;
        else if (prediction == PREDICTION_V)
            x0 = alpha * with - beta * said;
        if (mixes)
            x0 = m * x0 + (1 - m) * (double)c->latent[i];
        if (prediction == PREDICTION_EPSILON)
            x0 = (input - alpha * x0) / beta;
        else if (prediction == PREDICTION_V)
            x0 = (alpha * input - x0) / beta;
        output[i] = (float)x0;
    }
}

bool chain_take(struct chain *c, float *output, float *unguided, struct err *e)
{
    if (c->masks)
        mask_output(c, c->prediction, true, output);
    if (c->masks && unguided)
        mask_output(c, c->prediction, false, unguided);
    if (!sampler_take(c->sampler, output, unguided, e))
        return false;
    if (c->blends) {
        double signal, noise;
        float *x = sampler_latents(c->sampler);
        sampler_level(c->sampler, &signal, &noise);
        for (size_t i = 0; i < c->each; i++) {
            double m = mask_at(c, i);
            if (m != 1)
                x[i] = (float)(m * (double)x[i] + (1 - m) * (signal * (double)c->latent[i] + noise * (double)c->noise[i]));
        }
    }
    return true;
}
