/* Noise -> latents: samplers and the denoiser in turns. */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "generate/generate_internal.h"
#include "generate/guidance.h"

/* What a denoiser call needs; all arrays are one drawing's. */
struct denoiser {
    struct pipeline *p;
    const struct draw_sizes *sizes;
    const struct draw_request *request;
    struct controls_feed feed;  /* with ControlNets */
    struct controls_time time;
    int64_t batch;
    double cfg, cfg_rescale;
    void *latent, *text;    /* [rows, h, w, c], [rows, tokens, text_width] of the models' type */
    void *pooled, *extra;   /* [rows, pooled_width], [rows, h, w, extra]; NULL: the model has no such input */
    float *time_ids, *guidance; /* [rows, ids], [rows]; the same */
    float *timestep, *host; /* [rows], [rows, h, w, c] */
    float *unguided;        /* [batch, c, h, w] what the last call said without guidance, or NULL: no sampler asks */
    double begun;
    double first_call_seconds; /* 0: not yet */
};

static void denoiser_release(struct denoiser *d)
{
    mem_free(d->latent);
    mem_free(d->text);
    mem_free(d->pooled);
    mem_free(d->extra);
    mem_free(d->time_ids);
    mem_free(d->guidance);
    mem_free(d->timestep);
    mem_free(d->host);
    mem_free(d->unguided);
}

/* diffusers' order of rows: negative first, then the prompt. Whether row i is one of the negative words, and which text it is. */
static bool is_negative(const struct denoiser *d, int64_t i)
{
    return d->sizes->guided && i < d->batch;
}

static int64_t text_of_row(const struct denoiser *d, int64_t i)
{
    int64_t prompts = d->p->words.prompt_count;
    return is_negative(d, i) ? prompts : prompts == 1 ? 0 : i % d->batch;
}

/* The inputs that some denoisers have beside latent, timestep and text. extra: [batch, extra, h, w]. */
static bool extra_inputs(struct denoiser *d, const struct draw_request *r, const float *extra, struct err *e)
{
    const struct draw_sizes *s = d->sizes;
    const struct model_parts *m = d->p->source.model;
    struct program *program = d->p->stages[PART_UNET].program;
    size_t rows = (size_t)s->rows, bytes = dtype_bytes(d->p->type), pooled = (size_t)s->pooled_width * bytes;
    if (m->unet.text_time) {
        d->pooled = mem_aligned(rows * pooled);
        d->time_ids = mem_aligned(rows * FAMILY_MAX_TIME_IDS * sizeof(float));
        if (!d->pooled || !d->time_ids)
            return err_nomem(e, "the denoiser's inputs");
        for (int64_t i = 0, count = 0; i < s->rows; i++) {
            struct picture_facts facts = draw_request_facts(r, s->width, s->height, is_negative(d, i));
            count += (int64_t)m->family->time_ids(&m->settings, &facts, is_negative(d, i), d->time_ids + count);
            memcpy((char *)d->pooled + (size_t)i * pooled, (char *)d->p->words.pooled + (size_t)text_of_row(d, i) * pooled, pooled);
        }
        if (!program_set_input(program, "pooled", d->pooled, e) || !program_set_input(program, "time_ids", d->time_ids, e))
            return false;
    }
    if (m->unet.guidance_dim) {
        d->guidance = mem_aligned(rows * sizeof(float));
        if (!d->guidance)
            return err_nomem(e, "the denoiser's inputs");
        for (size_t i = 0; i < rows; i++) /* diffusers: get_guidance_scale_embedding of guidance_scale - 1 */
            d->guidance[i] = (float)(1000 * (r->cfg - 1));
        if (!program_set_input(program, "guidance", d->guidance, e))
            return false;
    }
    if (s->extra) {
        size_t each = (size_t)(r->batch * s->extra * s->h * s->w);
        float *turned = mem_aligned(each * sizeof *turned);
        d->extra = mem_aligned(rows / (size_t)r->batch * each * bytes);
        bool good = (turned && d->extra) || err_nomem(e, "the denoiser's inputs");
        if (good)
            tensor_nchw_to_nhwc(turned, extra, r->batch, s->extra, s->h, s->w);
        for (size_t i = 0; good && i < rows / (size_t)r->batch; i++)
            dtype_convert((char *)d->extra + i * each * bytes, d->p->type, turned, DTYPE_F32, each);
        mem_free(turned);
        return good && program_set_input(program, "extra", d->extra, e);
    }
    return true;
}

static bool begin_controls(struct denoiser *d, const struct draw_request *r, struct err *e)
{
    struct pipeline *p = d->p;
    if (!r->control_count)
        return true;
    d->feed = (struct controls_feed){ .sizes = d->sizes, .unet = p->stages[PART_UNET].program, .latent = d->latent, .text = d->text,
                                      .pooled = d->pooled, .timestep = d->timestep, .time_ids = d->time_ids, .scheduler = p->source.scheduler,
                                      .batch = d->batch, .comfy = d->sizes->comfy, .guess = r->control_guess, .guided = d->sizes->guided };
    if (!d->sizes->comfy && r->controls[0].net->file.config.means) /* diffusers' pipelines: a first one that gives means guesses */
        d->feed.guess = true;
    return controls_make(&p->controls, p, r->controls, r->control_count, d->sizes, e) && controls_begin(&p->controls, p, r->controls, &d->feed, e);
}

static bool denoiser_init(struct denoiser *d, struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                          const float *extra, struct err *e)
{
    size_t each_bytes = (size_t)(s->tokens * s->text_width) * dtype_bytes(p->type);
    size_t rows = (size_t)s->rows, count = latent_count(s, s->rows);
    d->p = p;
    d->sizes = s;
    d->request = r;
    d->batch = r->batch;
    d->cfg = r->cfg;
    d->cfg_rescale = r->cfg_rescale;
    d->latent = mem_aligned(count * dtype_bytes(p->type));
    d->text = mem_aligned(rows * each_bytes);
    d->timestep = mem_aligned(rows * sizeof(float));
    d->host = mem_aligned(count * sizeof(float));
    bool unguides = sampler_find(r->sampler ? r->sampler : "model")->uses_unguided;
    if (unguides)
        d->unguided = mem_aligned(latent_count(s, r->batch) * sizeof(float));
    if (!d->latent || !d->text || !d->timestep || !d->host || (unguides && !d->unguided))
        return err_nomem(e, "the denoiser's inputs");
    for (int64_t i = 0; i < s->rows; i++)
        memcpy((char *)d->text + (size_t)i * each_bytes, (char *)p->words.states + (size_t)text_of_row(d, i) * each_bytes,
               each_bytes);
    struct program *program = p->stages[PART_UNET].program;
    return program_set_input(program, "latent", d->latent, e) && program_set_input(program, "text", d->text, e) &&
           program_set_input(program, "timestep", d->timestep, e) && extra_inputs(d, r, extra, e) && begin_controls(d, r, e);
}

/* input and output: [batch, c, h, w]; may be the same array. timesteps: [count], each for batch / count pictures. */
static bool predict(struct denoiser *d, const float *input, const double *timesteps, int64_t timestep_count, float *output,
                    struct err *e)
{
    const struct draw_sizes *s = d->sizes;
    struct stage *stage = &d->p->stages[PART_UNET];
    size_t count = latent_count(s, d->batch);
    tensor_nchw_to_nhwc(d->host, input, d->batch, s->channels, s->h, s->w);
    if (s->guided)
        memcpy(d->host + count, d->host, count * sizeof(float));
    dtype_convert(d->latent, d->p->type, d->host, DTYPE_F32, latent_count(s, s->rows));
    for (int64_t i = 0; i < s->rows; i++)
        d->timestep[i] = (float)timesteps[i % d->batch * timestep_count / d->batch];
    if (d->request->control_count && !controls_run(&d->p->controls, d->p, d->request->controls, &d->feed, &d->time, e))
        return false;
    if (!program_run_stoppable(stage->program, e))
        return false;
    dtype_convert(d->host, DTYPE_F32, program_output(stage->program, stage->out[0]), d->p->type, latent_count(s, s->rows));
    if (d->unguided)
        tensor_nhwc_to_nchw(d->unguided, d->host, d->batch, s->channels, s->h, s->w);
    if (s->guided)
        guidance_mix(d->host, d->host, d->host + count, (size_t)d->batch, count / (size_t)d->batch, d->cfg, d->cfg_rescale);
    tensor_nhwc_to_nchw(output, d->host, d->batch, s->channels, s->h, s->w);
    if (d->first_call_seconds == 0)
        d->first_call_seconds = clock_seconds() - d->begun;
    return true;
}

/* sampler_run over several samplers, whose inputs share the denoiser's calls. One that is done before the others (dpm_adaptive)
 * goes along unasked. work: [count * each]; timesteps: [count]. */
static bool run_chains(struct chain *chains, int64_t count, size_t each, struct denoiser *d, float *work, double *timesteps,
                       const struct progress *progress, struct err *e)
{
    const struct sampler *first = chains[0].sampler;
    long steps = (long)sampler_steps(first);
    for (int64_t working = count; working;) {
        progress_step(progress, "sampling", (long)sampler_steps_done(first), steps, NULL);
        if (!stop_check(e))
            return false;
        for (int64_t i = 0; i < count; i++) {
            if (chain_done(&chains[i]))
                memcpy(work + (size_t)i * each, sampler_latents(chains[i].sampler), each * sizeof *work);
            else
                timesteps[i] = chain_input(&chains[i], work + (size_t)i * each);
        }
        double signal, noise; /* all that are working are at the same level */
        sampler_level(first, &signal, &noise);
        d->time = (struct controls_time){ signal > 0 ? noise / signal : INFINITY, sampler_calls_done(first), sampler_calls(first) };
        if (!predict(d, work, timesteps, count, work, e))
            return false;
        working = 0;
        for (int64_t i = 0; i < count; i++) {
            float *unguided = d->unguided ? d->unguided + (size_t)i * each : NULL;
            if (!chain_done(&chains[i]) &&
                !chain_take(&chains[i], work + (size_t)i * each, unguided, e))
                return false;
            working += !chain_done(&chains[i]);
        }
    }
    progress_step(progress, "sampling", steps, steps, NULL);
    return true;
}

bool pipeline_sample(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                     const struct origin *origin, const struct leg *leg, double begun, const struct progress *progress,
                     struct drawing *out, struct err *e)
{
    int64_t count = r->prompts ? r->batch : 1, pictures = r->batch / count;
    size_t each = latent_count(s, pictures), beside = (size_t)(s->extra * s->h * s->w);
    struct chain *chains = mem_zeroed((size_t)count, sizeof *chains);
    float *work = mem_aligned((size_t)count * each * sizeof *work);
    float *extra = s->extra ? mem_zeroed((size_t)r->batch * beside, sizeof *extra) : NULL;
    double *timesteps = mem_zeroed((size_t)count, sizeof *timesteps);
    struct denoiser denoiser = { .begun = begun };
    bool good = (chains && work && timesteps && (extra || !s->extra)) || err_nomem(e, "noise");
    for (int64_t i = 0; good && i < count; i++) {
        float *first = extra ? extra + (size_t)(i * pictures) * beside : NULL;
        struct origin own = *origin;
        if (origin->moments && origin->pictures > 1)
            own.moments += (size_t)i * 2 * each;
        struct leg part = leg ? *leg : (struct leg){ 0 };
        part.latents = part.latents ? part.latents + (size_t)i * each : NULL;
        part.random = part.random ? part.random + i : NULL;
        good = chain_begin(&chains[i], p, r, s, &own, pictures, r->seeds ? r->seeds[i] : r->seed,
                           r->noise ? r->noise + (size_t)i * each : NULL, leg ? &part : NULL, first, e);
        for (int64_t k = 1; good && first && k < pictures; k++)
            memcpy(first + (size_t)k * beside, first, beside * sizeof *first);
    }
    good = good && denoiser_init(&denoiser, p, r, s, extra, e) &&
           run_chains(chains, count, each, &denoiser, work, timesteps, progress, e);
    for (int64_t i = 0; good && leg && leg->random && i < count; i++)
        leg->random[i] = chains[i].random;
    for (int64_t i = 0; good && i < count; i++)
        memcpy(out->latents + (size_t)i * each, sampler_latents(chains[i].sampler), each * sizeof *out->latents);
    if (good) {
        out->calls = sampler_calls_done(chains[0].sampler);
        out->first_call_seconds = denoiser.first_call_seconds;
    }
    denoiser_release(&denoiser);
    for (int64_t i = 0; chains && i < count; i++)
        chain_release(&chains[i]);
    mem_free(chains);
    mem_free(work);
    mem_free(timesteps);
    mem_free(extra);
    return good;
}

bool pipeline_ask(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const float *latents,
                  const double *timesteps, float *out, struct err *e)
{
    struct denoiser denoiser = { .begun = clock_seconds() };
    bool good = denoiser_init(&denoiser, p, r, s, NULL, e) && predict(&denoiser, latents, timesteps, r->batch, out, e);
    denoiser_release(&denoiser);
    return good;
}
