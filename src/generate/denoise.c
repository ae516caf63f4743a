/* Noise -> latents: samplers and the denoiser in turns. */
#include "base/clock.h"
#include "base/mem.h"
#include "generate/generate_internal.h"

/* What a denoiser call needs; all arrays are one drawing's. */
struct denoiser {
    struct pipeline *p;
    const struct draw_sizes *sizes;
    int64_t batch;
    float cfg;
    void *latent, *text;    /* [rows, h, w, c], [rows, tokens, text_width] of the models' type */
    float *timestep, *host; /* [rows], [rows, h, w, c] */
    float *unguided;        /* [batch, c, h, w] what the last call said without guidance, or NULL: no sampler asks */
    double begun;
    double first_call_seconds; /* 0: not yet */
};

static void denoiser_release(struct denoiser *d)
{
    mem_free(d->latent);
    mem_free(d->text);
    mem_free(d->timestep);
    mem_free(d->host);
    mem_free(d->unguided);
}

/* diffusers' order of rows: negative first, then the prompt. */
static bool denoiser_init(struct denoiser *d, struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                          struct err *e)
{
    size_t each_bytes = (size_t)(s->tokens * s->text_width) * dtype_bytes(p->type);
    size_t rows = (size_t)s->rows, count = latent_count(s, s->rows);
    d->p = p;
    d->sizes = s;
    d->batch = r->batch;
    d->cfg = (float)r->cfg;
    d->latent = mem_aligned(count * dtype_bytes(p->type));
    d->text = mem_aligned(rows * each_bytes);
    d->timestep = mem_aligned(rows * sizeof(float));
    d->host = mem_aligned(count * sizeof(float));
    bool unguides = sampler_find(r->sampler ? r->sampler : "model")->uses_unguided;
    if (unguides)
        d->unguided = mem_aligned(latent_count(s, r->batch) * sizeof(float));
    if (!d->latent || !d->text || !d->timestep || !d->host || (unguides && !d->unguided))
        return err_nomem(e, "the denoiser's inputs");
    for (size_t i = 0; i < rows; i++) {
        size_t prompts = (size_t)p->prompt_count, picture = i % (size_t)r->batch;
        size_t row = s->guided && i < (size_t)r->batch ? prompts : prompts == 1 ? 0 : picture;
        memcpy((char *)d->text + i * each_bytes, (char *)p->states + row * each_bytes, each_bytes);
    }
    struct program *program = p->stages[PART_UNET].program;
    return program_set_input(program, "latent", d->latent, e) && program_set_input(program, "text", d->text, e) &&
           program_set_input(program, "timestep", d->timestep, e);
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
    if (!program_run(stage->program, e))
        return false;
    dtype_convert(d->host, DTYPE_F32, program_output(stage->program, stage->out[0]), d->p->type, latent_count(s, s->rows));
    if (d->unguided)
        tensor_nhwc_to_nchw(d->unguided, d->host, d->batch, s->channels, s->h, s->w);
    if (s->guided)
        for (size_t i = 0; i < count; i++)
            d->host[i] += d->cfg * (d->host[count + i] - d->host[i]);
    tensor_nhwc_to_nchw(output, d->host, d->batch, s->channels, s->h, s->w);
    if (d->first_call_seconds == 0)
        d->first_call_seconds = clock_seconds() - d->begun;
    return true;
}

/* One noise stream and the pictures drawn from it. A drawing of several prompts has a chain for each picture, so that none
 * knows of the others; any other has one. */
struct chain {
    struct sampler *sampler;
    struct torch_random random;
};

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
            if (sampler_done(chains[i].sampler))
                memcpy(work + (size_t)i * each, sampler_latents(chains[i].sampler), each * sizeof *work);
            else
                timesteps[i] = sampler_input(chains[i].sampler, work + (size_t)i * each);
        }
        if (!predict(d, work, timesteps, count, work, e))
            return false;
        working = 0;
        for (int64_t i = 0; i < count; i++) {
            const float *unguided = d->unguided ? d->unguided + (size_t)i * each : NULL;
            if (!sampler_done(chains[i].sampler) &&
                !sampler_take(chains[i].sampler, work + (size_t)i * each, unguided, e))
                return false;
            working += !sampler_done(chains[i].sampler);
        }
    }
    progress_step(progress, "sampling", steps, steps, NULL);
    return true;
}

static bool chain_begin(struct chain *chain, const struct pipeline *p, const struct draw_request *r, struct shape shape,
                        uint64_t seed, const float *given, float *noise, struct err *e)
{
    struct sampler_spec spec = { .sampler = r->sampler, .schedule = r->schedule, .steps = r->steps, .eta = r->eta,
                                 .seed = seed, .noise = &chain->random, .shape = shape };
    if (!sampler_new(&chain->sampler, &spec, p->source.scheduler, e))
        return false;
    torch_random_seed(&chain->random, seed);
    if (!given)
        torch_random_normal(&chain->random, noise, (size_t)shape_count(shape));
    sampler_begin(chain->sampler, given ? given : noise, NULL);
    return true;
}

bool pipeline_sample(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, double begun,
                   const struct progress *progress, struct drawing *out, struct err *e)
{
    int64_t count = r->prompts ? r->batch : 1;
    struct shape shape = SHAPE(r->batch / count, s->channels, s->h, s->w);
    size_t each = (size_t)shape_count(shape);
    struct chain *chains = mem_zeroed((size_t)count, sizeof *chains);
    float *work = mem_aligned((size_t)count * each * sizeof *work);
    double *timesteps = mem_zeroed((size_t)count, sizeof *timesteps);
    struct denoiser denoiser = { .begun = begun };
    bool good = (chains && work && timesteps) || err_nomem(e, "noise");
    good = good && denoiser_init(&denoiser, p, r, s, e);
    for (int64_t i = 0; good && i < count; i++)
        good = chain_begin(&chains[i], p, r, shape, r->seeds ? r->seeds[i] : r->seed,
                           r->noise ? r->noise + (size_t)i * each : NULL, work, e);
    good = good && run_chains(chains, count, each, &denoiser, work, timesteps, progress, e);
    for (int64_t i = 0; good && i < count; i++)
        memcpy(out->latents + (size_t)i * each, sampler_latents(chains[i].sampler), each * sizeof *out->latents);
    if (good) {
        out->calls = sampler_calls_done(chains[0].sampler);
        out->first_call_seconds = denoiser.first_call_seconds;
    }
    denoiser_release(&denoiser);
    for (int64_t i = 0; chains && i < count; i++)
        sampler_free(chains[i].sampler);
    mem_free(chains);
    mem_free(work);
    mem_free(timesteps);
    return good;
}
