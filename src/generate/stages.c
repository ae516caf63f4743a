/* Words and pictures by themselves; conditions.c has the sampling. */
#include "generate/stages.h"

#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

/* --- a condition --- */

void stage_condition_release(struct stage_condition *c)
{
    mem_free(c->states);
    mem_free(c->pooled);
    mem_free(c->mask);
    mem_free(c->beside);
    mem_free(c->beside_mask);
    for (size_t i = 0; i < c->control_count; i++) {
        control_net_drop(c->controls[i].net);
        mem_free(c->controls[i].picture);
    }
    mem_free(c->controls);
    *c = (struct stage_condition){ 0 };
}

/* NULL stays NULL. */
static bool copy_numbers(float **out, const float *from, int64_t count, struct err *e)
{
    *out = from ? mem_aligned((size_t)count * sizeof **out) : NULL;
    if (from && !*out)
        return err_nomem(e, "a condition");
    if (from)
        memcpy(*out, from, (size_t)count * sizeof **out);
    return true;
}

bool stage_condition_control(struct stage_condition *c, struct control_net *net, const float *picture, int64_t n, int64_t h, int64_t w,
                             double strength, double start, double end, struct err *e)
{
    if (c->control_count == CONTROL_MOST)
        return err_set(e, ERR_LIMIT, "more than %d ControlNets", CONTROL_MOST);
    if (!c->controls)
        c->controls = mem_zeroed(CONTROL_MOST, sizeof *c->controls);
    struct draw_control one = { .picture_n = n, .picture_h = h, .picture_w = w, .strength = strength, .start = start, .end = end };
    if (!c->controls)
        return err_nomem(e, "a ControlNet");
    if (!copy_numbers(&one.picture, picture, n * h * w * 3, e))
        return false;
    one.net = control_net_keep(net);
    c->controls[c->control_count++] = one;
    return true;
}

bool stage_condition_copy(struct stage_condition *out, const struct stage_condition *from, struct err *e)
{
    int64_t cells = from->beside_h * from->beside_w;
    *out = *from;
    out->states = out->pooled = out->mask = out->beside = out->beside_mask = NULL;
    out->controls = NULL;
    out->control_count = 0;
    bool good = copy_numbers(&out->states, from->states, from->tokens * from->width, e) &&
                copy_numbers(&out->pooled, from->pooled, from->pooled_width, e) &&
                copy_numbers(&out->mask, from->mask, from->mask_n * from->mask_h * from->mask_w, e) &&
                copy_numbers(&out->beside, from->beside, from->beside_channels * cells, e) &&
                copy_numbers(&out->beside_mask, from->beside_mask, cells, e);
    for (size_t i = 0; good && i < from->control_count; i++) {
        const struct draw_control *c = &from->controls[i];
        good = stage_condition_control(out, c->net, c->picture, c->picture_n, c->picture_h, c->picture_w, c->strength, c->start, c->end, e);
    }
    if (!good)
        stage_condition_release(out);
    return good;
}

bool pipeline_text(struct pipeline *p, const struct stage_text *t, const struct progress *progress, struct stage_condition *out,
                   struct err *e)
{
    bool plain = t->syntax == PROMPT_PLAIN;
    struct draw_request r = { .prompt = t->text, .sampler = plain ? NULL : "euler", .steps = 1, .cfg = 1, .eta = -1, .batch = 1,
                              .strength = 1, .clip_skip = t->clip_skip, .loras = t->loras, .lora_count = t->lora_count,
                              .prompt_syntax = t->syntax == PROMPT_A1111 ? prompt_syntax_names[PROMPT_A1111] : NULL };
    struct draw_sizes s;
    *out = (struct stage_condition){ .strength = 1, .mask_strength = 1, .end = 1 };
    if (!request_check(p, &r, &s, e) || !pipeline_words(p, &r, &s, progress, NULL, e))
        return false;
    size_t states = (size_t)(s.tokens * s.text_width), pooled = (size_t)s.pooled_width;
    out->tokens = s.tokens;
    out->width = s.text_width;
    out->pooled_width = s.pooled_width;
    out->states = mem_aligned(states * sizeof *out->states);
    out->pooled = pooled ? mem_aligned(pooled * sizeof *out->pooled) : NULL;
    if (!out->states || (pooled && !out->pooled)) {
        stage_condition_release(out);
        return err_nomem(e, "the text states");
    }
    dtype_convert(out->states, DTYPE_F32, p->words.states, p->type, states);
    if (pooled)
        dtype_convert(out->pooled, DTYPE_F32, p->words.pooled, p->type, pooled);
    return true;
}

/* --- the VAE --- */

struct shape pipeline_latent_shape(const struct pipeline *p, int64_t n, int64_t width, int64_t height)
{
    const struct vae_config *vae = &p->source.model->vae;
    int64_t cell = vae_factor(vae);
    return SHAPE(n, vae->latent_channels, height / cell, width / cell);
}

static bool vae_sizes(const struct pipeline *p, int64_t h, int64_t w, int64_t tile, struct draw_sizes *out, struct err *e)
{
    const struct vae_config *vae = &p->source.model->vae;
    int64_t cell = vae_factor(vae), cells = tile > 0 ? tile / cell : IMAGE_MAX_SIDE;
    if (h < 1 || w < 1 || h * cell > IMAGE_MAX_SIDE || w * cell > IMAGE_MAX_SIDE || h * cell * w * cell > IMAGE_MAX_PIXELS)
        return err_set(e, ERR_LIMIT, "a picture of %lldx%lld: sides are 1 to %d, pixels at most %lld", (long long)(w * cell),
                       (long long)(h * cell), IMAGE_MAX_SIDE, (long long)IMAGE_MAX_PIXELS);
    if (vae->in_channels != 3 || vae->out_channels != 3)
        return err_set(e, ERR_TYPE, "the VAE reads pictures of %lld channels", (long long)vae->in_channels);
    if (cells < MIN_TILE_CELLS)
        return err_set(e, ERR_ARG, "VAE tile %lld: at least %lld", (long long)tile, (long long)(MIN_TILE_CELLS * cell));
    *out = (struct draw_sizes){ .width = w * cell, .height = h * cell, .rows = 1, .channels = vae->latent_channels, .h = h, .w = w,
                                .tile_h = cells < h ? cells : h, .tile_w = cells < w ? cells : w };
    return true;
}

/* Makes a half of the VAE; where tile is 0 and the whole does not fit, in tiles. */
static bool load_vae(struct pipeline *p, int stage, int64_t tile, struct draw_sizes *s, const struct progress *progress, struct err *e)
{
    const struct draw_request r = { .batch = 1 };
    for (;;) {
        if (!stage_make(p, stage, &r, s, e))
            return false;
        struct program_memory m = stage_memory(&p->stages[stage]);
        size_t available = mem_available(), held = 0;
        for (int i = 0; i < STAGE_COUNT; i++)
            if (i != stage && p->stages[i].bound)
                held += stage_memory(&p->stages[i]).arena + stage_memory(&p->stages[i]).packed;
        bool fits = tile || !available || p->stages[stage].bound || m.arena + m.packed <= available + held;
        int64_t larger = s->tile_h > s->tile_w ? s->tile_h : s->tile_w, half = (larger + 1) / 2;
        if (fits || half < MIN_TILE_CELLS)
            return pipeline_load(p, stage, &r, s, progress, e);
        s->tile_h = s->tile_h < half ? s->tile_h : half;
        s->tile_w = s->tile_w < half ? s->tile_w : half;
    }
}

bool pipeline_pixels_to_latents(struct pipeline *p, const float *pixels, int64_t n, int64_t width, int64_t height, int64_t tile,
                                const struct progress *progress, float *latents, struct err *e)
{
    struct shape shape = pipeline_latent_shape(p, n, width, height);
    struct draw_sizes s;
    if (!vae_sizes(p, shape.dim[2], shape.dim[3], tile, &s, e))
        return false;
    if (s.width != width || s.height != height)
        return err_set(e, ERR_SHAPE, "%lldx%lld pixels: sides must be multiples of %lld", (long long)width, (long long)height,
                       (long long)vae_factor(&p->source.model->vae));
    size_t each = latent_count(&s, 1);
    float *moments = mem_aligned(2 * each * sizeof *moments);
    bool good = (moments || err_nomem(e, "a picture's latent")) && load_vae(p, STAGE_ENCODER, tile, &s, progress, e);
    for (int64_t i = 0; good && i < n; i++) {
        progress_step(progress, "encoding", (long)i, (long)n, NULL);
        good = pipeline_encode_raw(p, &s, pixels + i * width * height * 3, moments, e);
        if (good)
            memcpy(latents + (size_t)i * each, moments, each * sizeof *latents);
    }
    if (good)
        progress_step(progress, "encoding", (long)n, (long)n, NULL);
    pipeline_unload(p, STAGE_ENCODER);
    mem_free(moments);
    return good;
}

bool pipeline_latents_to_pixels(struct pipeline *p, const float *latents, int64_t n, int64_t h, int64_t w, int64_t tile,
                                const struct progress *progress, float *pixels, struct err *e)
{
    struct draw_sizes s;
    if (!vae_sizes(p, h, w, tile, &s, e) || !load_vae(p, PART_VAE, tile, &s, progress, e))
        return false;
    bool good = true;
    for (int64_t i = 0; good && i < n; i++) {
        progress_step(progress, "decoding", (long)i, (long)n, NULL);
        good = pipeline_decode_raw(p, &s, latents + (size_t)i * latent_count(&s, 1), pixels + i * s.width * s.height * 3, e);
    }
    if (good)
        progress_step(progress, "decoding", (long)n, (long)n, NULL);
    pipeline_unload(p, PART_VAE);
    return good;
}
