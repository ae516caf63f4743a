/* One drawing: what it may ask for, and its parts in turn (encode.c for each text encoder, denoise.c, decode.c). */
#include <math.h>

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

/* Clip skip leaves each text encoder a layer below the states that the family takes. */
static bool check_skip(const struct model_parts *m, int64_t skip, struct err *e)
{
    for (int i = 0; i < TEXT_PARTS; i++) {
        int64_t layers = m->text[i].layers - (m->family->states == TEXT_PENULTIMATE);
        if (m->text[i].kind && (skip < 0 || skip >= layers))
            return err_set(e, ERR_ARG, "clip skip %lld: the text encoder has %lld layers%s", (long long)skip,
                           (long long)m->text[i].layers, layers == m->text[i].layers ? "" : ", the last is never used");
    }
    return true;
}

static bool check_facts(const struct picture_facts *f, double negative_score, struct err *e)
{
    const struct { const char *name; int64_t pixels; } sizes[] = {
        { "original width", f->original_width }, { "original height", f->original_height }, { "crop left", f->crop_left },
        { "crop top", f->crop_top }, { "target width", f->target_width }, { "target height", f->target_height },
    };
    enum { MOST = 1 << 20, MOST_SCORE = 100 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].pixels < 0 || sizes[i].pixels > MOST)
            return err_set(e, ERR_ARG, "%s %lld: must be 0 to %d", sizes[i].name, (long long)sizes[i].pixels, MOST);
    if (!(f->score >= 0 && f->score <= MOST_SCORE && negative_score >= 0 && negative_score <= MOST_SCORE))
        return err_set(e, ERR_ARG, "aesthetic score %g, %g: must be 0 to %d", f->score, negative_score, MOST_SCORE);
    return true;
}

static bool is_comfy(const struct draw_request *r)
{
    return r->sampler && sampler_find(r->sampler) != sampler_names;
}

struct picture_facts draw_request_facts(const struct draw_request *r, int64_t width, int64_t height, bool negative)
{
    enum { COMFY_SIDE = 768 };
    struct picture_facts f = r->facts;
    bool comfy = is_comfy(r);
    if (!f.original_width || !f.original_height) {
        f.original_width = comfy ? COMFY_SIDE : width;
        f.original_height = comfy ? COMFY_SIDE : height;
    }
    if (!f.target_width || !f.target_height) {
        f.target_width = comfy ? f.original_width : width;
        f.target_height = comfy ? f.original_height : height;
    }
    f.score = negative ? (r->negative_score > 0 ? r->negative_score : 2.5) : r->facts.score > 0 ? r->facts.score : 6;
    return f;
}

/* What the drawing begins with, and how far that goes. */
static bool check_picture(const struct model_parts *m, const struct draw_request *r, struct draw_sizes *out, struct err *e)
{
    out->extra = model_extra_channels(m);
    out->encodes = r->picture || out->extra;
    if (r->mask && !r->picture)
        return err_set(e, ERR_ARG, "a mask says which part of a picture is drawn anew, and there is no picture");
    if (out->encodes && m->vae.in_channels != 3)
        return err_set(e, ERR_TYPE, "the VAE reads pictures of %lld channels", (long long)m->vae.in_channels);
    if (!r->picture)
        return true;
    if (!(r->strength > 0) || r->strength > 1)
        return err_set(e, ERR_ARG, "strength %g: must be more than 0 and at most 1", r->strength);
    if (!r->width || !r->height)
        return err_set(e, ERR_ARG, "a drawing that begins with a picture needs its width and height");
    if (!out->comfy && (int64_t)((double)r->steps * r->strength) < 1)
        return err_set(e, ERR_ARG, "strength %g of %lld steps is less than one step: more steps or more strength", r->strength,
                       (long long)r->steps);
    return true;
}

bool request_check(const struct pipeline *p, const struct draw_request *r, struct draw_sizes *out, struct err *e)
{
    const struct model_parts *m = p->source.model;
    int64_t factor = vae_factor(&m->vae), side = m->unet.sample_size * factor;
    const struct sampler_name *sampler = sampler_need(r->sampler, e);
    if (!sampler)
        return false;
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
    if (!(r->cfg_rescale >= 0 && r->cfg_rescale <= 1))
        return err_set(e, ERR_ARG, "cfg rescale %g: must be 0 to 1", r->cfg_rescale);
    if (!(r->subseed_strength >= 0 && r->subseed_strength <= 1))
        return err_set(e, ERR_ARG, "subseed strength %g: must be 0 to 1", r->subseed_strength);
    if (r->subseed_strength > 0 && r->noise)
        return err_set(e, ERR_ARG, "subseed strength %g: the start noise is given, a subseed cannot vary it", r->subseed_strength);
    if (r->batch < 1 || r->batch > MOST_BATCH)
        return err_set(e, ERR_ARG, "batch %lld: must be 1 to %d", (long long)r->batch, MOST_BATCH);
    if (!r->prompts != !r->seeds)
        return err_set(e, ERR_ARG, "a drawing of several %s needs %s of each picture", r->prompts ? "prompts" : "seeds",
                       r->prompts ? "the seed" : "the prompt");
    if (!check_skip(m, r->clip_skip, e) || !check_facts(&r->facts, r->negative_score, e))
        return false;
    if (r->lora_count > LORA_MOST)
        return err_set(e, ERR_ARG, "%zu LoRAs: at most %d", r->lora_count, LORA_MOST);
    for (size_t i = 0; i < r->lora_count; i++)
        if (!isfinite(r->loras[i].unet) || !isfinite(r->loras[i].text))
            return err_set(e, ERR_ARG, "LoRA %zu: its scales %g and %g must be numbers", i + 1, r->loras[i].unet, r->loras[i].text);
    out->comfy = is_comfy(r);
    out->controlled = r->control_count > 0;
    if (!controls_check(m, r->controls, r->control_count, e) || !check_picture(m, r, out, e) || (r->refiner && !refine_check(p, r, e)))
        return false;
    if (m->unet.guidance_dim && sampler->uses_unguided)
        return err_set(e, ERR_ARG, "sampler %s compares with the picture without words, and this model draws none: it is told cfg",
                       sampler->name);
    /* A denoiser that is told the guidance is asked once; diffusers' pipelines also below 1. */
    out->guided = m->unet.guidance_dim ? false : out->comfy ? r->cfg != 1 || sampler->uses_unguided : r->cfg > 1;
    out->rows = r->batch * (out->guided ? 2 : 1);
    out->channels = m->vae.latent_channels;
    out->h = out->height / factor;
    out->w = out->width / factor;
    struct texts texts;
    if (!texts_syntax(p, r, &out->syntax, e) || !texts_make(&texts, p, r, out, NULL, e))
        return false;
    out->tokens = texts.tokens;
    memcpy(out->given, texts.given, sizeof out->given);
    texts_release(&texts);
    int64_t tile = r->vae_tile > 0 ? r->vae_tile / factor : IMAGE_MAX_SIDE;
    if (tile < MIN_TILE_CELLS)
        return err_set(e, ERR_ARG, "VAE tile %lld: at least %lld", (long long)r->vae_tile, (long long)(MIN_TILE_CELLS * factor));
    out->tile_h = tile < out->h ? tile : out->h;
    out->tile_w = tile < out->w ? tile : out->w;
    out->text_width = model_text_width(m);
    out->pooled_width = model_pooled_width(m);
    return true;
}

/* Sets *tile to that of the plan. */
static bool check_memory(struct pipeline *p, const struct draw_request *r, int64_t *tile, struct err *e)
{
    struct draw_plan plan;
    if (!pipeline_plan(p, r, &plan, e))
        return false;
    *tile = plan.vae_tile ? plan.vae_tile : -1;
    size_t available = mem_available(), more = plan.weights + plan.activations + plan.caches;
    if (available && more > available)
        return err_set(e, ERR_NOMEM, "this takes %.2f GiB more memory (weights %.2f, activations %.2f, at the %s), and %.2f "
                       "GiB are free: a smaller picture or batch, or --precision bf16, takes less", ldexp((double)more, -30),
                       ldexp((double)plan.weights, -30), ldexp((double)plan.activations, -30), plan.stage,
                       ldexp((double)available, -30));
    return true;
}

static bool load(struct pipeline *p, int stage, const struct draw_request *r, const struct draw_sizes *s,
                 const struct progress *progress, struct drawing *out, struct err *e)
{
    double begun = clock_seconds();
    if (!p->stages[stage].bound)
        progress_step(progress, "loading", stage_part(stage), PART_COUNT, stage_name(stage));
    bool good = stop_check(e) && stage_make(p, stage, r, s, e) && stage_bind(p, stage, e);
    out->load_seconds += clock_seconds() - begun;
    return good;
}

bool pipeline_load(struct pipeline *p, int stage, const struct draw_request *r, const struct draw_sizes *s,
                   const struct progress *progress, struct err *e)
{
    struct drawing seconds = { 0 };
    if (!stage_make(p, stage, r, s, e))
        return false;
    struct program_memory m = stage_memory(&p->stages[stage]);
    size_t available = mem_available();
    for (int i = 0; available && !p->stages[stage].bound && m.arena + m.packed > available && i < STAGE_COUNT; i++)
        if (i != stage && p->stages[i].bound) {
            stage_drop(p, i);
            available = mem_available();
        }
    return load(p, stage, r, s, progress, &seconds, e);
}

static void unload(struct pipeline *p, int stage)
{
    if (!p->keep)
        stage_drop(p, stage);
}

void pipeline_unload(struct pipeline *p, int stage)
{
    unload(p, stage);
}

size_t pipeline_memory(const struct pipeline *p)
{
    size_t bytes = 0;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        struct program_memory m = stage_memory(&p->stages[stage]);
        bytes += m.arena + m.packed;
    }
    return bytes;
}

void pipeline_rest(struct pipeline *p)
{
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        stage_drop(p, stage);
    pipeline_forget_words(p);
}

/* Whether the text encoders' weights lie in memory, where they may have changed since the last drawing. */
static bool text_changes(const struct pipeline *p)
{
    for (int i = 0; i < TEXT_PARTS; i++) {
        struct err ignored = { 0 };
        if (p->source.model->text[i].kind && !p->source.weights(p->source.self, (enum model_part)i, &ignored) && !ignored.code)
            return true;
    }
    return false;
}

bool pipeline_words(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const struct progress *progress,
                    struct drawing *out, struct err *e)
{
    struct drawing unseen = { 0 };
    out = out ? out : &unseen;
    if (text_changes(p))
        pipeline_forget_words(p);
    bool known = pipeline_knows(p, r, s);
    if (!known && !pipeline_encode_begin(p, r, s, progress, e))
        return false;
    for (int i = 0; i < TEXT_PARTS; i++) {
        enum model_part part = (enum model_part)i;
        if (!known && p->source.model->text[i].kind) {
            if (!load(p, part, r, s, progress, out, e)) {
                pipeline_forget_words(p);
                return false;
            }
            double start = clock_seconds();
            if (!pipeline_encode(p, part, s, e))
                return false;
            out->text_seconds += clock_seconds() - start;
        }
        unload(p, part);
    }
    return true;
}

/* The first pass's latents at the second's size: as they are, or through the VAE. */
static bool enlarge(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const struct draw_request *again,
                    const struct draw_sizes *large, const struct progress *progress, struct origin *origin, struct drawing *out,
                    struct err *e)
{
    if (!hires_through_pixels(r))
        return hires_latents(r, s, large, out->latents, origin, e);
    size_t few = (size_t)(s->width * s->height) * 3, many = (size_t)(large->width * large->height) * 3;
    float *small = mem_aligned(few * sizeof *small), *pixels = mem_aligned((size_t)r->batch * many * sizeof *pixels);
    origin->moments = mem_aligned(2 * latent_count(large, r->batch) * sizeof *origin->moments);
    origin->pictures = r->batch;
    bool good = (small && pixels && origin->moments) || err_nomem(e, "the second pass");
    good = good && load(p, PART_VAE, r, s, progress, out, e);
    for (int64_t i = 0; good && i < r->batch; i++)
        good = pipeline_decode_one(p, s, out->latents + (size_t)i * latent_count(s, 1), small, e) &&
               hires_pixels(r, s, large, small, pixels + (size_t)i * many, e);
    unload(p, PART_VAE);
    good = good && load(p, STAGE_ENCODER, again, large, progress, out, e);
    for (int64_t i = 0; good && i < r->batch; i++)
        good = pipeline_encode_pixels(p, large, pixels + (size_t)i * many,
                                      origin->moments + 2 * (size_t)i * latent_count(large, 1), e);
    unload(p, STAGE_ENCODER);
    mem_free(small);
    mem_free(pixels);
    return good;
}

static bool second_pass(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                        const struct draw_request *again, const struct draw_sizes *large, double begun,
                        const struct progress *progress, struct drawing *out, struct err *e)
{
    struct origin origin = { 0 };
    int64_t calls = out->calls;
    double first = out->first_call_seconds, start = clock_seconds();
    bool good = enlarge(p, r, s, again, large, progress, &origin, out, e);
    out->encode_seconds += clock_seconds() - start;
    float *latents = good ? mem_zeroed(latent_count(large, r->batch), sizeof *latents) : NULL;
    good = good && (latents || err_nomem(e, "the second pass"));
    if (good) {
        mem_free(out->latents);
        out->latents = latents;
        out->shape = SHAPE(r->batch, large->channels, large->h, large->w);
    }
    good = good && load(p, PART_UNET, again, large, progress, out, e);
    start = clock_seconds();
    good = good && pipeline_sample(p, again, large, &origin, NULL, begun, progress, out, e);
    out->sample_seconds += clock_seconds() - start;
    out->calls += calls;
    out->first_call_seconds = first;
    unload(p, PART_UNET);
    origin_release(&origin);
    return good;
}

/* The last steps, by the other model. */
static bool refine(struct pipeline *base, const struct draw_request *r, const struct draw_sizes *s, struct leg *leg, double begun,
                   const struct progress *progress, struct drawing *out, struct err *e)
{
    struct pipeline *p = r->refiner;
    struct draw_request again = refine_request(r, s);
    struct draw_sizes sizes;
    struct origin none = { 0 };
    int64_t calls = out->calls;
    double first = out->first_call_seconds, start;
    leg->latents = out->latents;
    refine_hand_over(base, r, s, out->latents, false);
    bool good = request_check(p, &again, &sizes, e) && pipeline_words(p, &again, &sizes, progress, out, e) &&
                load(p, PART_UNET, &again, &sizes, progress, out, e);
    start = clock_seconds();
    good = good && pipeline_sample(p, &again, &sizes, &none, leg, begun, progress, out, e);
    out->sample_seconds += clock_seconds() - start;
    out->calls += calls;
    out->first_call_seconds = first;
    if (good)
        refine_hand_over(base, r, s, out->latents, true);
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        unload(p, stage);
    return good || err_add(e, "in the refiner");
}

static bool draw(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, double begun,
                 const struct progress *progress, struct origin *origin, struct torch_random *random, struct drawing *out,
                 struct err *e)
{
    out->batch = r->batch;
    out->shape = SHAPE(r->batch, s->channels, s->h, s->w);
    out->images = mem_zeroed((size_t)r->batch, sizeof *out->images);
    out->latents = mem_zeroed(latent_count(s, r->batch), sizeof *out->latents);
    if (!out->images || !out->latents)
        return err_nomem(e, "a drawing");
    out->load_seconds = clock_seconds() - begun;
    if (!pipeline_words(p, r, s, progress, out, e))
        return false;
    if (s->encodes) {
        if (!load(p, STAGE_ENCODER, r, s, progress, out, e))
            return false;
        double begin = clock_seconds();
        if (!pipeline_read_picture(p, r, s, progress, origin, e))
            return false;
        out->encode_seconds = clock_seconds() - begin;
        unload(p, STAGE_ENCODER);
    }
    if (!load(p, PART_UNET, r, s, progress, out, e))
        return false;
    struct leg first = { 0 }, second = { 0 };
    if (r->refiner && !refine_legs(p, r, &first, &second, e))
        return false;
    first.random = second.random = random;
    double start = clock_seconds();
    if (!pipeline_sample(p, r, s, origin, r->refiner ? &first : NULL, begun, progress, out, e))
        return false;
    out->sample_seconds = clock_seconds() - start;
    unload(p, PART_UNET);
    if (r->refiner && !refine(p, r, s, &second, begun, progress, out, e))
        return false;
    struct draw_request again;
    struct draw_sizes large;
    if (r->hires.width || r->hires.height) {
        if (!hires_request(p, r, &again, &large, e) || !second_pass(p, r, s, &again, &large, begun, progress, out, e))
            return false;
        r = &again;
        s = &large;
    }
    if (!load(p, PART_VAE, r, s, progress, out, e))
        return false;
    start = clock_seconds();
    if (!pipeline_decode(p, s, progress, out, e))
        return false;
    out->decode_seconds = clock_seconds() - start;
    unload(p, PART_VAE);
    out->seconds = clock_seconds() - begun;
    return true;
}

bool pipeline_draw(struct pipeline *p, const struct draw_request *r, const struct progress *progress, struct drawing *out,
                   struct err *e)
{
    double begun = clock_seconds();
    struct draw_request request = *r;
    struct draw_sizes sizes;
    struct origin origin = { 0 };
    struct torch_random *random = NULL;
    *out = (struct drawing){ 0 };
    if (text_changes(p))
        pipeline_forget_words(p);
    bool good = check_memory(p, r, &request.vae_tile, e) && request_check(p, &request, &sizes, e);
    if (good && r->refiner) /* of each chain */
        good = (random = mem_zeroed((size_t)r->batch, sizeof *random)) != NULL || err_nomem(e, "a drawing by two models");
    good = good && draw(p, &request, &sizes, begun, progress, &origin, random, out, e);
    mem_free(random);
    origin_release(&origin);
    if (!good) {
        drawing_release(out);
        for (int stage = 0; !p->keep && stage < STAGE_COUNT; stage++)
            stage_drop(p, stage);
    }
    return good;
}

bool pipeline_predict(struct pipeline *p, const struct draw_request *r, const float *latents, const double *timesteps, float *out,
                      const struct progress *progress, struct err *e)
{
    struct draw_request request = *r;
    struct draw_sizes sizes;
    struct drawing times = { 0 };
    request.cfg = 1;
    request.sampler = NULL;
    request.picture = request.mask = NULL;
    request.hires = (struct draw_hires){ 0 };
    request.control_count = 0;
    request.refiner = NULL;
    bool good = request_check(p, &request, &sizes, e);
    if (good && sizes.extra)
        good = err_set(e, ERR_TYPE, "a denoiser made for inpainting is asked with a picture and a mask, not with latents alone");
    good = good && pipeline_words(p, &request, &sizes, progress, &times, e) &&
           load(p, PART_UNET, &request, &sizes, progress, &times, e) && pipeline_ask(p, &request, &sizes, latents, timesteps, out, e);
    for (int stage = 0; !p->keep && stage < STAGE_COUNT; stage++)
        stage_drop(p, stage);
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
