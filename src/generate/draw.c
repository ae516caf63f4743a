/* One drawing: words -> states, noise -> latents, latents -> pixels. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "generate/generate_internal.h"

enum { MOST_BATCH = 256 };

static bool check_side(const char *name, int64_t pixels, int64_t factor, struct err *e)
{
    if (pixels < factor || pixels % factor)
        return err_set(e, ERR_ARG, "%s %lld: must be a multiple of %lld, the model's latent cell", name, (long long)pixels,
                       (long long)factor);
    if (pixels > IMAGE_MAX_SIDE)
        return err_set(e, ERR_ARG, "%s %lld: at most %d", name, (long long)pixels, IMAGE_MAX_SIDE);
    return true;
}

bool request_check(const struct pipeline *p, const struct draw_request *r, struct draw_sizes *out, struct err *e)
{
    const struct pipeline_source *s = &p->source;
    int64_t factor = vae_factor(s->vae), side = s->unet->sample_size * factor;
    bool model = !r->sampler || sampler_find(r->sampler) == sampler_names;
    *out = (struct draw_sizes){ .width = r->width ? r->width : side, .height = r->height ? r->height : side };
    if (!check_side("width", out->width, factor, e) || !check_side("height", out->height, factor, e))
        return false;
    if (out->width * out->height > IMAGE_MAX_PIXELS)
        return err_set(e, ERR_ARG, "%lldx%lld: at most %lld pixels", (long long)out->width, (long long)out->height,
                       (long long)IMAGE_MAX_PIXELS);
    if (r->steps < 1 || r->steps > SAMPLER_MAX_STEPS)
        return err_set(e, ERR_ARG, "steps %lld: must be 1 to %d", (long long)r->steps, SAMPLER_MAX_STEPS);
    if (!(r->cfg >= 0) || !isfinite(r->cfg))
        return err_set(e, ERR_ARG, "cfg %g: must be 0 or more", r->cfg);
    if (r->batch < 1 || r->batch > MOST_BATCH)
        return err_set(e, ERR_ARG, "batch %lld: must be 1 to %d", (long long)r->batch, MOST_BATCH);
    if (!r->prompts != !r->seeds)
        return err_set(e, ERR_ARG, "a drawing of several %s needs %s of each picture", r->prompts ? "prompts" : "seeds",
                       r->prompts ? "the seed" : "the prompt");
    if (r->clip_skip < 0 || r->clip_skip >= s->text->layers)
        return err_set(e, ERR_ARG, "clip skip %lld: the text encoder has %lld layers", (long long)r->clip_skip,
                       (long long)s->text->layers);
    out->guided = model ? r->cfg > 1 : r->cfg != 1;
    out->rows = r->batch * (out->guided ? 2 : 1);
    out->channels = s->unet->in_channels;
    out->h = out->height / factor;
    out->w = out->width / factor;
    out->tokens = pipeline_tokens(p);
    out->text_width = s->text->hidden_size;
    return true;
}

/* f32 -> the models' type and back. */
static void to_model(const struct pipeline *p, void *dst, const float *src, size_t count)
{
    dtype_convert(dst, p->type, src, DTYPE_F32, count);
}

static void from_model(const struct pipeline *p, float *dst, const void *src, size_t count)
{
    dtype_convert(dst, DTYPE_F32, src, p->type, count);
}

static const char *words(const char *s)
{
    return s ? s : "";
}

bool pipeline_knows(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s)
{
    return p->states && p->prompt && !r->prompts && p->skip == r->clip_skip && !strcmp(p->prompt, words(r->prompt)) &&
           (s->guided ? p->guided && !strcmp(p->negative, words(r->negative)) : true);
}

static void forget_words(struct pipeline *p)
{
    mem_free(p->prompt);
    mem_free(p->negative);
    mem_free(p->states);
    p->prompt = p->negative = p->states = NULL;
}

/* One run of the text encoder: a prompt's states, and the negative ones unless `negative` is NULL. ids: of both. */
static bool encode_one(struct pipeline *p, const char *prompt, int32_t *ids, void *states, void *negative, size_t bytes,
                       struct err *e)
{
    struct stage *stage = &p->stages[PART_TEXT];
    size_t tokens = (size_t)pipeline_tokens(p), count;
    if (!clip_tokenizer_encode(p->source.tokenizer, prompt, true, ids, tokens, &count, e))
        return err_add(e, "in the prompt");
    if (!program_set_input(stage->program, "ids", ids, e) ||
        (stage->out[1].id && !program_set_input(stage->program, "negative", ids + tokens, e)) ||
        !program_run(stage->program, e))
        return false;
    const char *out = program_output(stage->program, stage->out[0]);
    memcpy(states, out, bytes);
    if (negative)
        memcpy(negative, stage->out[1].id ? program_output(stage->program, stage->out[1]) : out + bytes, bytes);
    return true;
}

static bool encode(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, struct err *e)
{
    size_t tokens = (size_t)s->tokens, prompts = r->prompts ? (size_t)r->batch : 1, count;
    size_t bytes = tokens * (size_t)s->text_width * dtype_bytes(p->type);
    int32_t *ids = mem_zeroed(2 * tokens, sizeof *ids);
    forget_words(p);
    p->prompt_count = (int64_t)prompts;
    p->guided = s->guided;
    p->skip = r->clip_skip;
    p->prompt = r->prompts ? NULL : mem_string(words(r->prompt));
    p->negative = mem_string(words(r->negative));
    p->states = mem_aligned((prompts + s->guided) * bytes);
    bool good = (ids && (p->prompt || r->prompts) && p->negative && p->states) || err_nomem(e, "the text states");
    good = good && (!s->guided ||
                    clip_tokenizer_encode(p->source.tokenizer, p->negative, true, ids + tokens, tokens, &count, e) ||
                    err_add(e, "in the negative prompt"));
    for (size_t i = 0; good && i < prompts; i++)
        good = encode_one(p, words(r->prompts ? r->prompts[i] : r->prompt), ids, (char *)p->states + i * bytes,
                          s->guided ? (char *)p->states + prompts * bytes : NULL, bytes, e);
    mem_free(ids);
    if (!good)
        forget_words(p);
    return good;
}

/* What a denoiser call needs; all arrays are one drawing's. */
struct denoiser {
    struct pipeline *p;
    const struct draw_sizes *sizes;
    int64_t batch;
    float cfg;
    void *latent, *text;    /* [rows, h, w, c], [rows, tokens, text_width] of the models' type */
    float *timestep, *host; /* [rows], [rows, h, w, c] */
    double begun;
    double first_call_seconds; /* 0: not yet */
};

static size_t latent_count(const struct draw_sizes *s, int64_t pictures)
{
    return (size_t)(pictures * s->channels * s->h * s->w);
}

static void denoiser_release(struct denoiser *d)
{
    mem_free(d->latent);
    mem_free(d->text);
    mem_free(d->timestep);
    mem_free(d->host);
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
    if (!d->latent || !d->text || !d->timestep || !d->host)
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

/* input and output: [batch, c, h, w]; may be the same array. */
static bool predict(struct denoiser *d, const float *input, double timestep, float *output, struct err *e)
{
    const struct draw_sizes *s = d->sizes;
    struct stage *stage = &d->p->stages[PART_UNET];
    size_t count = latent_count(s, d->batch);
    tensor_nchw_to_nhwc(d->host, input, d->batch, s->channels, s->h, s->w);
    if (s->guided)
        memcpy(d->host + count, d->host, count * sizeof(float));
    to_model(d->p, d->latent, d->host, latent_count(s, s->rows));
    for (int64_t i = 0; i < s->rows; i++)
        d->timestep[i] = (float)timestep;
    if (!program_run(stage->program, e))
        return false;
    from_model(d->p, d->host, program_output(stage->program, stage->out[0]), latent_count(s, s->rows));
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

/* sampler_run over several samplers, whose inputs share the denoiser's calls. work: [count * each]. */
static bool run_chains(const struct chain *chains, int64_t count, size_t each, struct denoiser *d, float *work,
                       const struct progress *progress, struct err *e)
{
    const struct sampler *first = chains[0].sampler;
    long steps = (long)sampler_steps(first);
    while (!sampler_done(first)) {
        double timestep = 0;
        progress_step(progress, "sampling", (long)sampler_steps_done(first), steps, NULL);
        if (!stop_check(e))
            return false;
        for (int64_t i = 0; i < count; i++)
            timestep = sampler_input(chains[i].sampler, work + (size_t)i * each);
        if (!predict(d, work, timestep, work, e))
            return false;
        for (int64_t i = 0; i < count; i++)
            if (!sampler_take(chains[i].sampler, work + (size_t)i * each, e))
                return false;
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

static bool sample(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, double begun,
                   const struct progress *progress, struct drawing *out, struct err *e)
{
    int64_t count = r->prompts ? r->batch : 1;
    struct shape shape = SHAPE(r->batch / count, s->channels, s->h, s->w);
    size_t each = (size_t)shape_count(shape);
    struct chain *chains = mem_zeroed((size_t)count, sizeof *chains);
    float *work = mem_aligned((size_t)count * each * sizeof *work);
    struct denoiser denoiser = { .begun = begun };
    bool good = (chains && work) || err_nomem(e, "noise");
    good = good && denoiser_init(&denoiser, p, r, s, e);
    for (int64_t i = 0; good && i < count; i++)
        good = chain_begin(&chains[i], p, r, shape, r->seeds ? r->seeds[i] : r->seed,
                           r->noise ? r->noise + (size_t)i * each : NULL, work, e);
    good = good && run_chains(chains, count, each, &denoiser, work, progress, e);
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
    return good;
}

static bool decode(struct pipeline *p, const struct draw_sizes *s, const struct progress *progress, struct drawing *out,
                   struct err *e)
{
    struct stage *stage = &p->stages[PART_VAE];
    size_t count = latent_count(s, 1), pixels = (size_t)(s->width * s->height) * 3;
    float *scaled = mem_aligned(count * sizeof *scaled), *turned = mem_aligned(count * sizeof *turned);
    float *picture = mem_aligned(pixels * sizeof *picture);
    void *latent = mem_aligned(count * dtype_bytes(p->type));
    float factor = (float)p->source.vae->scaling_factor;
    bool good = (scaled && turned && picture && latent) || err_nomem(e, "a picture");
    good = good && program_set_input(stage->program, "latent", latent, e);
    for (int64_t i = 0; good && i < out->batch; i++) {
        progress_step(progress, "decoding", (long)i, (long)out->batch, NULL);
        for (size_t k = 0; k < count; k++)
            scaled[k] = out->latents[(size_t)i * count + k] / factor;
        tensor_nchw_to_nhwc(turned, scaled, 1, s->channels, s->h, s->w);
        to_model(p, latent, turned, count);
        good = stop_check(e) && program_run(stage->program, e);
        if (!good)
            break;
        from_model(p, picture, program_output(stage->program, stage->out[0]), pixels);
        for (size_t k = 0; good && k < pixels; k++)
            if (!isfinite(picture[k]))
                good = err_set(e, ERR_FORMAT, "the VAE gives %f at value %zu of the picture", (double)picture[k], k);
        good = good && image_from_unit(&out->images[i], picture, (int)s->width, (int)s->height, 3, IMAGE_NHWC, e);
    }
    if (good)
        progress_step(progress, "decoding", (long)out->batch, (long)out->batch, NULL);
    mem_free(scaled);
    mem_free(turned);
    mem_free(picture);
    mem_free(latent);
    return good;
}

static bool check_memory(struct pipeline *p, const struct draw_request *r, struct err *e)
{
    struct draw_plan plan;
    if (!pipeline_plan(p, r, &plan, e))
        return false;
    size_t available = mem_available(), more = plan.weights + plan.activations + plan.caches;
    if (available && more > available)
        return err_set(e, ERR_NOMEM, "this takes %.2f GiB more memory (weights %.2f, activations %.2f, at the %s), and %.2f "
                       "GiB are free: a smaller picture or batch, or --precision bf16, takes less", ldexp((double)more, -30),
                       ldexp((double)plan.weights, -30), ldexp((double)plan.activations, -30), plan.stage,
                       ldexp((double)available, -30));
    return true;
}

static bool load(struct pipeline *p, enum model_part part, const struct draw_request *r, const struct draw_sizes *s,
                 const struct progress *progress, struct drawing *out, struct err *e)
{
    double begun = clock_seconds();
    if (!p->stages[part].bound)
        progress_step(progress, "loading", part, PART_COUNT, model_part_names[part]);
    bool good = stop_check(e) && stage_make(p, part, r, s, e) && stage_bind(p, part, e);
    out->load_seconds += clock_seconds() - begun;
    return good;
}

/* A stage that is done makes room for the next. */
static void unload(struct pipeline *p, enum model_part part)
{
    if (!p->keep)
        stage_drop(p, part);
}

static bool draw(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const struct progress *progress,
                 struct drawing *out, struct err *e)
{
    double begun = clock_seconds();
    out->batch = r->batch;
    out->shape = SHAPE(r->batch, s->channels, s->h, s->w);
    out->images = mem_zeroed((size_t)r->batch, sizeof *out->images);
    out->latents = mem_zeroed(latent_count(s, r->batch), sizeof *out->latents);
    if (!out->images || !out->latents)
        return err_nomem(e, "a drawing");
    struct err ignored = { 0 };
    if (!p->source.weights(p->source.self, PART_TEXT, &ignored) && !ignored.code)
        forget_words(p); /* weights in memory may have changed since */
    if (!check_memory(p, r, e))
        return false;
    out->load_seconds = clock_seconds() - begun;
    if (!pipeline_knows(p, r, s)) {
        if (!load(p, PART_TEXT, r, s, progress, out, e))
            return false;
        double start = clock_seconds();
        if (!encode(p, r, s, e))
            return false;
        out->text_seconds = clock_seconds() - start;
    }
    unload(p, PART_TEXT);
    if (!load(p, PART_UNET, r, s, progress, out, e))
        return false;
    double start = clock_seconds();
    if (!sample(p, r, s, begun, progress, out, e))
        return false;
    out->sample_seconds = clock_seconds() - start;
    unload(p, PART_UNET);
    if (!load(p, PART_VAE, r, s, progress, out, e))
        return false;
    start = clock_seconds();
    if (!decode(p, s, progress, out, e))
        return false;
    out->decode_seconds = clock_seconds() - start;
    unload(p, PART_VAE);
    out->seconds = clock_seconds() - begun;
    return true;
}

bool pipeline_draw(struct pipeline *p, const struct draw_request *r, const struct progress *progress, struct drawing *out,
                   struct err *e)
{
    struct draw_sizes sizes;
    *out = (struct drawing){ 0 };
    if (!request_check(p, r, &sizes, e))
        return false;
    bool good = draw(p, r, &sizes, progress, out, e);
    if (!good) {
        drawing_release(out);
        for (int part = 0; !p->keep && part < PART_COUNT; part++)
            stage_drop(p, (enum model_part)part);
    }
    return good;
}

void drawing_release(struct drawing *d)
{
    for (int64_t i = 0; d->images && i < d->batch; i++)
        image_release(&d->images[i]);
    mem_free(d->images);
    mem_free(d->latents);
    *d = (struct drawing){ 0 };
}
