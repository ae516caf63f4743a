#include "flow/types.h"

#include <string.h>

#include "base/mem.h"
#include "image/image.h"

/* --- pictures, masks, latents --- */

/* How many numbers a thing of this shape has; 0 with e set if it is too large or nothing. */
static size_t check_count(const char *what, int64_t n, int64_t c, int64_t h, int64_t w, struct err *e)
{
    if (n < 1 || c < 1 || h < 1 || w < 1) {
        err_set(e, ERR_ARG, "%s of %lld pictures of %lldx%lld", what, (long long)n, (long long)w, (long long)h);
        return 0;
    }
    if (h > IMAGE_MAX_SIDE || w > IMAGE_MAX_SIDE || n > IMAGE_MAX_PIXELS || h * w > IMAGE_MAX_PIXELS || n * h * w > 8 * IMAGE_MAX_PIXELS) {
        err_set(e, ERR_LIMIT, "%s of %lld pictures of %lldx%lld: sides are at most %d, pixels %lld", what, (long long)n, (long long)w,
                (long long)h, IMAGE_MAX_SIDE, (long long)IMAGE_MAX_PIXELS);
        return 0;
    }
    return (size_t)(n * c * h * w);
}

/* The numbers, 0 each, or NULL with e set. */
static float *numbers(const char *what, int64_t n, int64_t c, int64_t h, int64_t w, struct err *e)
{
    size_t count = check_count(what, n, c, h, w, e);
    float *at = count ? mem_zeroed(count, sizeof *at) : NULL;
    if (count && !at)
        err_nomem(e, what);
    return at;
}

struct flow_image *flow_image_new(int64_t n, int64_t h, int64_t w, struct err *e)
{
    float *at = numbers("a picture", n, 3, h, w, e);
    struct flow_image *image = at ? mem_zeroed(1, sizeof *image) : NULL;
    if (image)
        *image = (struct flow_image){ n, h, w, at, false };
    else
        mem_free(at);
    if (at && !image)
        err_nomem(e, "a picture");
    return image;
}

void flow_image_free(void *image)
{
    struct flow_image *i = image;
    if (i)
        mem_free(i->at);
    mem_free(i);
}

static size_t image_size(const void *image)
{
    const struct flow_image *i = image;
    return (size_t)(i->n * i->h * i->w) * 3 * sizeof *i->at;
}

struct flow_mask *flow_mask_new(int64_t n, int64_t h, int64_t w, struct err *e)
{
    float *at = numbers("a mask", n, 1, h, w, e);
    struct flow_mask *mask = at ? mem_zeroed(1, sizeof *mask) : NULL;
    if (mask)
        *mask = (struct flow_mask){ n, h, w, at };
    else
        mem_free(at);
    if (at && !mask)
        err_nomem(e, "a mask");
    return mask;
}

void flow_mask_free(void *mask)
{
    struct flow_mask *m = mask;
    if (m)
        mem_free(m->at);
    mem_free(m);
}

static size_t mask_size(const void *mask)
{
    const struct flow_mask *m = mask;
    return (size_t)(m->n * m->h * m->w) * sizeof *m->at;
}

struct flow_latent *flow_latent_new(int64_t n, int64_t c, int64_t h, int64_t w, int64_t cell, struct err *e)
{
    float *at = numbers("a latent", n, c, h, w, e);
    struct flow_latent *latent = at ? mem_zeroed(1, sizeof *latent) : NULL;
    if (latent)
        *latent = (struct flow_latent){ .n = n, .c = c, .h = h, .w = w, .cell = cell, .at = at };
    else
        mem_free(at);
    if (at && !latent)
        err_nomem(e, "a latent");
    return latent;
}

struct flow_latent *flow_latent_copy(const struct flow_latent *from, struct err *e)
{
    struct flow_latent *l = flow_latent_new(from->n, from->c, from->h, from->w, from->cell, e);
    const struct flow_mask *m = from->noise_mask;
    if (!l)
        return NULL;
    memcpy(l->at, from->at, (size_t)(l->n * l->c * l->h * l->w) * sizeof *l->at);
    l->empty = from->empty;
    if (m && (l->noise_mask = flow_mask_new(m->n, m->h, m->w, e)))
        memcpy(l->noise_mask->at, m->at, mask_size(m));
    if (from->batch_index && (l->batch_index = mem_zeroed((size_t)l->n, sizeof *l->batch_index)))
        memcpy(l->batch_index, from->batch_index, (size_t)l->n * sizeof *l->batch_index);
    if ((m && !l->noise_mask) || (from->batch_index && !l->batch_index)) {
        err_nomem(e, "a latent");
        flow_latent_free(l);
        return NULL;
    }
    return l;
}

void flow_latent_free(void *latent)
{
    struct flow_latent *l = latent;
    if (!l)
        return;
    mem_free(l->at);
    flow_mask_free(l->noise_mask);
    mem_free(l->batch_index);
    mem_free(l);
}

static size_t latent_size(const void *latent)
{
    const struct flow_latent *l = latent;
    return (size_t)(l->n * l->c * l->h * l->w) * sizeof *l->at;
}

/* --- models --- */

struct flow_model *flow_model_new(struct flow_weights *weights, struct err *e)
{
    struct flow_model *m = mem_zeroed(1, sizeof *m);
    if (!m) {
        err_nomem(e, "a model");
        return NULL;
    }
    m->weights = weights;
    weights->holders++;
    return m;
}

struct scheduler_config flow_model_scheduler(const struct flow_model *m)
{
    struct scheduler_config c = *pipeline_scheduler(m->weights->pipeline);
    if (m->samples) {
        c.prediction = m->predicts;
        c.rescale_zero_snr = m->zero_snr;
    }
    return c;
}

struct flow_model *flow_model_copy(const struct flow_model *from, struct err *e)
{
    struct flow_model *m = flow_model_new(from->weights, e);
    if (m)
        *m = *from;
    return m;
}

void flow_model_free(void *model)
{
    struct flow_model *m = model;
    if (m)
        flow_weights_drop(m->weights);
    mem_free(m);
}

/* --- conditions --- */

struct flow_conditioning *flow_conditioning_new(size_t count, struct err *e)
{
    struct flow_conditioning *c = mem_zeroed(1, sizeof *c);
    if (c && (c->at = mem_zeroed(count ? count : 1, sizeof *c->at))) {
        c->count = count;
        return c;
    }
    mem_free(c);
    err_nomem(e, "conditions");
    return NULL;
}

struct flow_conditioning *flow_conditioning_copy(const struct flow_conditioning *from, struct err *e)
{
    struct flow_conditioning *c = flow_conditioning_new(from->count, e);
    for (size_t i = 0; c && i < c->count; i++)
        if (!stage_condition_copy(&c->at[i], &from->at[i], e)) {
            flow_conditioning_free(c);
            return NULL;
        }
    return c;
}

void flow_conditioning_free(void *conditioning)
{
    struct flow_conditioning *c = conditioning;
    for (size_t i = 0; c && i < c->count; i++)
        stage_condition_release(&c->at[i]);
    if (c)
        mem_free(c->at);
    mem_free(c);
}

static size_t conditioning_size(const void *conditioning)
{
    const struct flow_conditioning *c = conditioning;
    size_t bytes = 0;
    for (size_t i = 0; i < c->count; i++)
        bytes += (size_t)(c->at[i].tokens * c->at[i].width + c->at[i].mask_n * c->at[i].mask_h * c->at[i].mask_w) * sizeof(float);
    return bytes;
}

/* --- parts of a sampling --- */

static void sigmas_free(void *sigmas)
{
    sigmas_release(sigmas);
    mem_free(sigmas);
}

static void guider_free(void *guider)
{
    struct flow_guider *g = guider;
    datum_drop(g->model);
    datum_drop(g->positive);
    datum_drop(g->negative);
    datum_drop(g->middle);
    mem_free(g);
}

const struct datum_type type_image = { "IMAGE", flow_image_free, image_size };
const struct datum_type type_mask = { "MASK", flow_mask_free, mask_size };
const struct datum_type type_latent = { "LATENT", flow_latent_free, latent_size };
const struct datum_type type_model = { "MODEL", flow_model_free, NULL };
const struct datum_type type_clip = { "CLIP", flow_model_free, NULL };
const struct datum_type type_vae = { "VAE", flow_model_free, NULL };
const struct datum_type type_conditioning = { "CONDITIONING", flow_conditioning_free, conditioning_size };
const struct datum_type type_sigmas = { "SIGMAS", sigmas_free, NULL };
const struct datum_type type_sampler = { "SAMPLER", mem_free, NULL };
const struct datum_type type_noise = { "NOISE", mem_free, NULL };
const struct datum_type type_guider = { "GUIDER", guider_free, NULL };

static void control_free(void *net)
{
    control_net_drop(net);
}
const struct datum_type type_control_net = { "CONTROL_NET", control_free, NULL };

const struct datum_type *type_find(const char *name)
{
    static const struct datum_type *const types[] = { &type_image, &type_mask, &type_latent, &type_model, &type_clip, &type_vae,
                                                      &type_conditioning, &type_sigmas, &type_sampler, &type_noise, &type_guider,
                                                      &type_lora_model, &type_loss_map, &type_control_net,
                                                      &type_upscale_model };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i]->name, name))
            return types[i];
    return NULL;
}
