/* Latents -> latents with any number of texts, each with its place and time: what ComfyUI's samplers do around the denoiser. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "generate/guidance.h"
#include "generate/start_noise.h"

enum { LISTS = 3, SLOTS = 4, FADE = 8, MOST_PARTS = 64 };
/* In the order of a denoiser call's rows: the negative words first, as pipeline_draw has them. */
enum { NEGATIVE, MIDDLE, POSITIVE };

/* A condition at this drawing's size. */
struct part {
    const struct stage_condition *c;
    int list;
    int64_t y, x, h, w; /* the rectangle, in cells */
    bool whole, even;   /* it is all of the picture; it counts 1 everywhere in it */
    float *weights;     /* [n, h, w] how much it counts; NULL if even */
    double first_sigma, last_sigma; /* counts from the first down to the last */
    const struct stage_condition *controlled; /* whose ControlNets speak; NULL: none do */
    int controls; /* parts with the same number have the same ones; 0: none */
};

/* The denoiser as a program for one shape, and what it is fed. */
struct slot {
    struct stage stage;
    struct controls controls; /* made for parts with this number, as `controlled` says */
    int controlled;
    struct draw_sizes sizes;
    struct controls_feed feed;
    int64_t rows, h, w, tokens, used; /* rows 0: empty; used: when it last was */
    void *latent, *text, *pooled, *extra; /* [rows, h, w, c], [rows, tokens, width], ... of the pipeline's type */
    float *time_ids, *guidance, *timestep, *host;
};

struct conditions {
    struct pipeline *p;
    const struct stage_sampling *s;
    struct draw_request request;
    int64_t channels, extra, h, w, text_width, pooled_width;
    size_t each; /* numbers in all latents */
    bool comfy;
    const struct scheduler_config *scheduler;
    struct part parts[MOST_PARTS];
    size_t count;
    struct slot slots[SLOTS];
    int64_t calls;
    float *said[LISTS], *weight; /* [n, c, h, w]; [n, h, w]: what is said for a list, and how much of it counted so far */
    bool asks[LISTS];
    double alpha, beta, sigma; /* of this call: input = alpha x0 + beta noise */
    enum prediction prediction;
};

/* --- where and when a condition counts --- */

static int64_t clamp(double v, int64_t least, int64_t most)
{
    return v < (double)least ? least : v > (double)most ? most : (int64_t)v;
}

/* The rows and columns that a mask [h, w] covers. False if it covers nothing. */
static bool mask_box(const float *mask, int64_t n, int64_t h, int64_t w, int64_t box[4])
{
    box[0] = h, box[1] = w, box[2] = box[3] = -1;
    for (int64_t i = 0; i < n * h * w; i++) {
        int64_t y = i / w % h, x = i % w;
        if (mask[i] == 0)
            continue;
        box[0] = y < box[0] ? y : box[0];
        box[1] = x < box[1] ? x : box[1];
        box[2] = y > box[2] ? y : box[2];
        box[3] = x > box[3] ? x : box[3];
    }
    return box[2] >= 0;
}

/* The mask at the latents' size, [mask_n, h, w]; NULL with e set on failure. */
static float *mask_in_cells(const struct conditions *k, const struct stage_condition *c, struct err *e)
{
    float *mask = mem_aligned((size_t)(c->mask_n * k->h * k->w) * sizeof *mask);
    if (!mask)
        err_nomem(e, "a mask");
    else if (!tensor_resample(mask, c->mask, c->mask_n, 1, c->mask_h, c->mask_w, k->h, k->w, RESAMPLE_BILINEAR, e)) {
        mem_free(mask);
        mask = NULL;
    }
    return mask;
}

static void set_rectangle(const struct conditions *k, struct part *part)
{
    const struct stage_condition *c = part->c;
    double sides[4] = { c->area_height, c->area_width, c->area_y, c->area_x };
    part->h = k->h;
    part->w = k->w;
    if (c->area == AREA_WHOLE)
        return;
    int64_t cell = vae_factor(&k->p->source.model->vae);
    for (int i = 0; i < 4; i++)
        sides[i] = c->area == AREA_PARTS ? rint(sides[i] * (double)(i % 2 ? k->w : k->h)) : floor(sides[i] / (double)cell);
    part->y = clamp(sides[2], 0, k->h - 1);
    part->x = clamp(sides[3], 0, k->w - 1);
    part->h = clamp(sides[0], 1, k->h - part->y);
    part->w = clamp(sides[1], 1, k->w - part->x);
}

/* An area without a mask fades towards its borders inside of the picture. */
static double fade(int64_t at, int64_t length, int64_t before, int64_t whole)
{
    int64_t reach = FADE < length / 4 ? FADE : length / 4;
    double v = 1;
    if (before > 0 && at < reach)
        v *= (double)(at + 1) / (double)reach;
    if (before + length < whole && length - 1 - at < reach)
        v *= (double)(length - at) / (double)reach;
    return v;
}

static bool set_weights(const struct conditions *k, struct part *part, const float *mask, struct err *e)
{
    const struct stage_condition *c = part->c;
    part->whole = part->h == k->h && part->w == k->w;
    part->even = !mask && c->strength == 1 && part->whole;
    if (part->even)
        return true;
    part->weights = mem_aligned((size_t)(k->s->n * part->h * part->w) * sizeof *part->weights);
    if (!part->weights)
        return err_nomem(e, "a condition's weights");
    float *out = part->weights;
    for (int64_t i = 0; i < k->s->n; i++)
        for (int64_t y = 0; y < part->h; y++)
            for (int64_t x = 0; x < part->w; x++) {
                double v = c->strength;
                if (mask)
                    v *= c->mask_strength * (double)mask[(i % c->mask_n * k->h + part->y + y) * k->w + part->x + x];
                else if (c->area != AREA_WHOLE)
                    v *= fade(y, part->h, part->y, k->h) * fade(x, part->w, part->x, k->w);
                *out++ = (float)v;
            }
    return true;
}

static bool check_condition(const struct conditions *k, const struct stage_condition *c, struct err *e)
{
    if (c->width != k->text_width || c->pooled_width < k->pooled_width)
        return err_set(e, ERR_SHAPE, "a text of width %lld (pooled %lld) for a denoiser that wants %lld (%lld): words and denoiser are of "
                       "different models", (long long)c->width, (long long)c->pooled_width, (long long)k->text_width,
                       (long long)k->pooled_width);
    if (!isfinite(c->strength) || !isfinite(c->mask_strength))
        return err_set(e, ERR_ARG, "a condition's strength is no number");
    return true;
}

static bool add_part(struct conditions *k, const struct noise_schedule *n, const struct stage_condition *c, int list, struct err *e)
{
    struct part *part = &k->parts[k->count];
    int64_t box[4];
    if (k->count == MOST_PARTS)
        return err_set(e, ERR_LIMIT, "more than %d conditions", MOST_PARTS);
    if (!check_condition(k, c, e))
        return false;
    *part = (struct part){ .c = c, .list = list, .first_sigma = sigma_of_part(n, c->start), .last_sigma = sigma_of_part(n, c->end) };
    set_rectangle(k, part);
    float *mask = c->mask ? mask_in_cells(k, c, e) : NULL;
    if (c->mask && !mask)
        return false;
    if (mask && c->mask_bounds && mask_box(mask, c->mask_n, k->h, k->w, box)) {
        part->y = box[0];
        part->x = box[1];
        part->h = clamp((double)(box[2] - box[0] + 1), k->h < FADE ? k->h : FADE, k->h);
        part->w = clamp((double)(box[3] - box[1] + 1), k->w < FADE ? k->w : FADE, k->w);
        part->y = part->y + part->h > k->h ? k->h - part->h : part->y;
        part->x = part->x + part->w > k->w ? k->w - part->w : part->x;
    }
    bool good = set_weights(k, part, mask, e);
    mem_free(mask);
    k->count += good;
    return good;
}

static bool covers(const struct part *a, const struct part *b)
{
    return a->y <= b->y && a->x <= b->x && a->y + a->h >= b->y + b->h && a->x + a->w >= b->x + b->w;
}

/* Where one list has a condition for an area, the other gets its words for the same area, from the smallest of its own that covers it:
 * else the guidance inside would compare a piece with the whole. */
static bool add_counterparts(struct conditions *k, int of, int list, struct err *e)
{
    size_t count = k->count;
    for (size_t i = 0; i < count; i++) {
        const struct part *wanted = &k->parts[i], *best = NULL;
        if (wanted->list != of || (wanted->c->area == AREA_WHOLE && !wanted->c->mask_bounds))
            continue;
        for (size_t j = 0; j < count; j++) {
            const struct part *x = &k->parts[j];
            if (x->list == list && covers(x, wanted) && (!best || x->h * x->w < best->h * best->w))
                best = x;
        }
        if (!best || (best->h == wanted->h && best->w == wanted->w && best->y == wanted->y && best->x == wanted->x))
            continue;
        if (k->count == MOST_PARTS)
            return err_set(e, ERR_LIMIT, "more than %d conditions", MOST_PARTS);
        struct part *part = &k->parts[k->count];
        *part = *wanted;
        part->list = list;
        part->c = best->c;
        size_t numbers = (size_t)(k->s->n * part->h * part->w);
        part->weights = wanted->weights ? mem_aligned(numbers * sizeof *part->weights) : NULL;
        if (wanted->weights && !part->weights)
            return err_nomem(e, "a condition's weights");
        if (part->weights)
            memcpy(part->weights, wanted->weights, numbers * sizeof *part->weights);
        k->count++;
    }
    return true;
}

/* --- the denoiser --- */

static void slot_release(struct conditions *k, struct slot *slot)
{
    struct stage kept = k->p->stages[PART_UNET];
    k->p->stages[PART_UNET] = slot->stage;
    stage_drop(k->p, PART_UNET);
    k->p->stages[PART_UNET] = kept;
    controls_release(&slot->controls);
    mem_free(slot->latent);
    mem_free(slot->text);
    mem_free(slot->pooled);
    mem_free(slot->extra);
    mem_free(slot->time_ids);
    mem_free(slot->guidance);
    mem_free(slot->timestep);
    mem_free(slot->host);
    *slot = (struct slot){ 0 };
}

static bool slot_buffers(const struct conditions *k, struct slot *slot, struct err *e)
{
    size_t rows = (size_t)slot->rows, bytes = dtype_bytes(k->p->type), cells = (size_t)(slot->h * slot->w);
    const struct unet_config *unet = &k->p->source.model->unet;
    struct program *program = slot->stage.program;
    slot->latent = mem_aligned(rows * cells * (size_t)k->channels * bytes);
    slot->host = mem_aligned(rows * cells * (size_t)(k->channels + k->extra) * sizeof(float) * 2);
    slot->text = mem_aligned(rows * (size_t)(slot->tokens * k->text_width) * bytes);
    slot->timestep = mem_aligned(rows * sizeof(float));
    slot->pooled = unet->text_time ? mem_aligned(rows * (size_t)k->pooled_width * bytes) : NULL;
    slot->time_ids = unet->text_time ? mem_aligned(rows * FAMILY_MAX_TIME_IDS * sizeof(float)) : NULL;
    slot->guidance = unet->guidance_dim ? mem_aligned(rows * sizeof(float)) : NULL;
    slot->extra = k->extra ? mem_aligned(rows * cells * (size_t)k->extra * bytes) : NULL;
    if (!slot->latent || !slot->host || !slot->text || !slot->timestep || (unet->text_time && (!slot->pooled || !slot->time_ids)) ||
        (unet->guidance_dim && !slot->guidance) || (k->extra && !slot->extra))
        return err_nomem(e, "the denoiser's inputs");
    return program_set_input(program, "latent", slot->latent, e) && program_set_input(program, "text", slot->text, e) &&
           program_set_input(program, "timestep", slot->timestep, e) &&
           (!slot->pooled || (program_set_input(program, "pooled", slot->pooled, e) &&
                              program_set_input(program, "time_ids", slot->time_ids, e))) &&
           (!slot->guidance || program_set_input(program, "guidance", slot->guidance, e)) &&
           (!slot->extra || program_set_input(program, "extra", slot->extra, e));
}

static bool slot_controls(const struct conditions *k, struct slot *slot, const struct part *part, struct err *e)
{
    if (!part->controls)
        return true;
    const struct stage_condition *c = part->controlled;
    slot->feed = (struct controls_feed){ .sizes = &slot->sizes, .unet = slot->stage.program, .latent = slot->latent, .text = slot->text,
                                         .pooled = slot->pooled, .timestep = slot->timestep, .time_ids = slot->time_ids, .scheduler = k->scheduler,
                                         .batch = k->s->n, .comfy = true };
    return controls_make(&slot->controls, k->p, c->controls, c->control_count, &slot->sizes, e) &&
           controls_begin(&slot->controls, k->p, c->controls, &slot->feed, e);
}

/* The slot of this shape; made if there is none, in place of the one that was not used longest. */
static struct slot *slot_for(struct conditions *k, int64_t rows, const struct part *part, int64_t tokens, const struct progress *progress, struct err *e)
{
    int64_t h = part->h, w = part->w;
    struct slot *slot = &k->slots[0];
    for (int i = 0; i < SLOTS; i++) {
        struct slot *other = &k->slots[i];
        if (other->rows == rows && other->h == h && other->w == w && other->tokens == tokens && other->controlled == part->controls) {
            other->used = ++k->calls;
            return other;
        }
        slot = other->used < slot->used ? other : slot;
    }
    if (slot->rows) /* an empty one may hold the program of the drawing before, which may be the one that is needed */
        slot_release(k, slot);
    struct draw_sizes sizes = { .rows = rows, .channels = k->channels, .h = h, .w = w, .extra = k->extra, .tokens = tokens,
                                .text_width = k->text_width, .pooled_width = k->pooled_width, .controlled = part->controls != 0 };
    slot->sizes = sizes;
    slot->controlled = part->controls;
    slot->rows = rows;
    slot->h = h;
    slot->w = w;
    slot->tokens = tokens;
    slot->used = ++k->calls;
    struct stage kept = k->p->stages[PART_UNET];
    k->p->stages[PART_UNET] = slot->stage;
    bool good = pipeline_load(k->p, PART_UNET, &k->request, &sizes, progress, e);
    slot->stage = k->p->stages[PART_UNET];
    k->p->stages[PART_UNET] = kept;
    return good && slot_buffers(k, slot, e) && slot_controls(k, slot, part, e) ? slot : NULL;
}

/* Row i of a call: the words of a part. */
static void feed_row(const struct conditions *k, struct slot *slot, const struct part *part, int64_t i, size_t *id_count)
{
    const struct stage_condition *c = part->c;
    size_t bytes = dtype_bytes(k->p->type), each = (size_t)(slot->tokens * k->text_width);
    size_t own = (size_t)(c->tokens * k->text_width);
    for (size_t at = 0; at < each; at += own)
        dtype_convert((char *)slot->text + ((size_t)i * each + at) * bytes, k->p->type, c->states, DTYPE_F32, own);
    if (slot->pooled) {
        const struct model_parts *m = k->p->source.model;
        struct draw_request told = k->request;
        bool negative = part->list == NEGATIVE;
        told.facts = c->facts;
        told.negative_score = c->facts.score;
        struct picture_facts facts = draw_request_facts(&told, k->w * vae_factor(&m->vae), k->h * vae_factor(&m->vae), negative);
        *id_count += m->family->time_ids(&m->settings, &facts, negative, slot->time_ids + *id_count);
        dtype_convert((char *)slot->pooled + (size_t)(i * k->pooled_width) * bytes, k->p->type, c->pooled, DTYPE_F32,
                      (size_t)k->pooled_width);
    }
    if (slot->guidance)
        slot->guidance[i] = (float)(1000 * (k->s->cfg - 1));
}

/* What a denoiser made for inpainting sees beside the latents: mask and picture of the condition, or, without, a grey picture that is
 * drawn anew everywhere. Grey is so in the latents of SD 1 (ComfyUI's numbers). */
static void feed_beside(const struct conditions *k, struct slot *slot, const struct part *part, int64_t row, float *planes, float *turned)
{
    static const float grey[4] = { 0.8223f, -0.6876f, 0.6364f, 0.1380f };
    const struct stage_condition *c = part->c;
    size_t cells = (size_t)(slot->h * slot->w);
    for (int64_t ch = 0; ch < k->extra; ch++)
        for (int64_t y = 0; y < slot->h; y++)
            for (int64_t x = 0; x < slot->w; x++) {
                int64_t at_y = part->y + y, at_x = part->x + x;
                bool inside = c->beside && at_y < c->beside_h && at_x < c->beside_w;
                float v = ch == 0 ? 1 : ch - 1 < 4 ? grey[ch - 1] : 0;
                if (inside)
                    v = ch == 0 ? rintf(c->beside_mask[at_y * c->beside_w + at_x])
                                : c->beside[((ch - 1) * c->beside_h + at_y) * c->beside_w + at_x];
                planes[((size_t)ch * (size_t)slot->h + (size_t)y) * (size_t)slot->w + (size_t)x] = v;
            }
    if (c->beside)
        vae_scale(&k->p->source.model->vae, planes + cells, 1, (int64_t)cells);
    tensor_nchw_to_nhwc(turned, planes, 1, k->extra, slot->h, slot->w);
    size_t each = cells * (size_t)k->extra;
    dtype_convert((char *)slot->extra + (size_t)row * each * dtype_bytes(k->p->type), k->p->type, turned, DTYPE_F32, each);
}

static int64_t lcm(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Adds what the denoiser said in `output` [n, h, w, c] for a part to its list. */
static void take_part(struct conditions *k, const struct part *part, const float *output, float *turned)
{
    float *said = k->said[part->list], *weight = k->weight + (size_t)part->list * (size_t)(k->s->n * k->h * k->w);
    int64_t area = k->h * k->w;
    tensor_nhwc_to_nchw(turned, output, k->s->n, k->channels, part->h, part->w);
    for (int64_t i = 0; i < k->s->n; i++)
        for (int64_t y = 0; y < part->h; y++)
            for (int64_t x = 0; x < part->w; x++) {
                int64_t at = (part->y + y) * k->w + part->x + x;
                float v = part->even ? 1 : part->weights[(i * part->h + y) * part->w + x];
                for (int64_t c = 0; c < k->channels; c++)
                    said[(i * k->channels + c) * area + at] += v * turned[((i * k->channels + c) * part->h + y) * part->w + x];
                weight[i * area + at] += v;
            }
}

/* One call of the denoiser for parts of one size: their rows behind each other. */
static bool run_group(struct conditions *k, const struct part *const *group, int64_t count, const float *input, double timestep,
                      const struct progress *progress, struct err *e)
{
    const struct part *first = group[0];
    int64_t n = k->s->n, tokens = 1;
    for (int64_t g = 0; g < count; g++)
        tokens = lcm(tokens, group[g]->c->tokens);
    enum { MOST_TOKENS = 1 << 15 };
    if (tokens > MOST_TOKENS)
        return err_set(e, ERR_LIMIT, "texts that come to %lld tokens together: write less in one of them, or as much in all", (long long)tokens);
    struct slot *slot = slot_for(k, count * n, first, tokens, progress, e);
    if (!slot)
        return false;
    size_t cells = (size_t)(slot->h * slot->w), one = cells * (size_t)k->channels, ids = 0;
    float *turned = slot->host + (size_t)slot->rows * cells * (size_t)(k->channels + k->extra);
    for (int64_t g = 0; g < count; g++) {
        const struct part *part = group[g];
        for (int64_t i = 0; i < n * k->channels; i++) /* the piece of the picture, as planes */
            for (int64_t y = 0; y < part->h; y++)
                memcpy(turned + ((size_t)(i * part->h + y)) * (size_t)part->w,
                       input + (i * k->h + part->y + y) * k->w + part->x, (size_t)part->w * sizeof *turned);
        tensor_nchw_to_nhwc(slot->host + (size_t)(g * n) * one, turned, n, k->channels, part->h, part->w);
        for (int64_t i = 0; i < n; i++) {
            feed_row(k, slot, part, g * n + i, &ids);
            slot->timestep[g * n + i] = (float)timestep;
        }
    }
    dtype_convert(slot->latent, k->p->type, slot->host, DTYPE_F32, (size_t)slot->rows * one);
    for (int64_t g = 0; slot->extra && g < count; g++)
        for (int64_t i = 0; i < n; i++)
            feed_beside(k, slot, group[g], g * n + i, slot->host, turned);
    const struct controls_time now = { .sigma = k->sigma };
    if (first->controls && !controls_run(&slot->controls, k->p, first->controlled->controls, &slot->feed, &now, e))
        return false;
    if (!program_run_stoppable(slot->stage.program, e))
        return false;
    dtype_convert(slot->host, DTYPE_F32, program_output(slot->stage.program, slot->stage.out[0]), k->p->type, (size_t)slot->rows * one);
    for (int64_t g = 0; g < count; g++)
        take_part(k, group[g], slot->host + (size_t)(g * n) * one, turned);
    return true;
}

/* Divides by what counted. Where nothing did, the output is the one that means x0 = 0. */
static void average(struct conditions *k, int list, const float *input)
{
    const float *weight = k->weight + (size_t)list * (size_t)(k->s->n * k->h * k->w);
    int64_t area = k->h * k->w;
    for (size_t i = 0; i < k->each; i++) {
        int64_t at = (int64_t)i / area / k->channels * area + (int64_t)i % area;
        float w = weight[at];
        if (w == 1)
            continue;
        if (w > 0)
            k->said[list][i] /= w;
        else if (k->prediction == PREDICTION_EPSILON)
            k->said[list][i] = (float)((double)input[i] / k->beta);
        else if (k->prediction == PREDICTION_V)
            k->said[list][i] = (float)(k->alpha / k->beta * (double)input[i]);
    }
}

/* input [n, c, h, w] -> k->said, for every list that is asked. */
static bool ask(struct conditions *k, const float *input, double timestep, const struct progress *progress, struct err *e)
{
    bool done[MOST_PARTS] = { false };
    const struct part *group[MOST_PARTS];
    for (int list = 0; list < LISTS; list++)
        if (k->asks[list])
            memset(k->said[list], 0, k->each * sizeof(float));
    memset(k->weight, 0, (size_t)(LISTS * k->s->n * k->h * k->w) * sizeof(float));
    for (size_t i = 0; i < k->count; i++)
        done[i] = !k->asks[k->parts[i].list] || k->sigma > k->parts[i].first_sigma || k->sigma < k->parts[i].last_sigma;
    for (size_t i = 0; i < k->count; i++) {
        int64_t count = 0;
        for (size_t j = i; !done[i] && j < k->count; j++)
            if (!done[j] && k->parts[j].h == k->parts[i].h && k->parts[j].w == k->parts[i].w && k->parts[j].controls == k->parts[i].controls)
                group[count++] = &k->parts[j];
        for (int64_t g = 0; g < count; g++)
            done[group[g] - k->parts] = true;
        if (count && !run_group(k, group, count, input, timestep, progress, e))
            return false;
    }
    for (int list = 0; list < LISTS; list++)
        if (k->asks[list])
            average(k, list, input);
    return true;
}

/* Whether the same is said to both. */
static bool same_controls(const struct stage_condition *a, const struct stage_condition *b)
{
    bool same = a->control_count == b->control_count;
    for (size_t i = 0; same && i < a->control_count; i++) {
        const struct draw_control *x = &a->controls[i], *y = &b->controls[i];
        same = x->net == y->net && x->strength == y->strength && x->start == y->start && x->end == y->end && x->picture_n == y->picture_n &&
               x->picture_h == y->picture_h && x->picture_w == y->picture_w &&
               !memcmp(x->picture, y->picture, (size_t)(x->picture_n * x->picture_h * x->picture_w) * 3 * sizeof *x->picture);
    }
    return same;
}

/* Which ControlNets speak to which part. Those that are also for negative words (ComfyUI's older node) go to the ones without. */
static bool find_controls(struct conditions *k, struct err *e)
{
    const struct stage_condition *both = NULL;
    for (size_t i = 0; i < k->count; i++)
        if (!both && k->parts[i].list == POSITIVE && k->parts[i].c->control_count && k->parts[i].c->controls_both)
            both = k->parts[i].c;
    for (size_t i = 0; i < k->count; i++) {
        struct part *part = &k->parts[i];
        part->controlled = part->c->control_count ? part->c : part->list == NEGATIVE ? both : NULL;
        if (!part->controlled)
            continue;
        if (!controls_check(k->p->source.model, part->controlled->controls, part->controlled->control_count, e))
            return false;
        part->controls = (int)i + 1;
        for (size_t j = 0; j < i; j++)
            if (k->parts[j].controlled && same_controls(k->parts[j].controlled, part->controlled)) {
                part->controls = k->parts[j].controls;
                break;
            }
    }
    return true;
}

/* --- the run --- */

static void conditions_release(struct conditions *k)
{
    struct slot *keep = &k->slots[0];
    for (int i = 1; i < SLOTS; i++) /* the latest is likely to be needed next */
        if (k->slots[i].used > keep->used)
            keep = &k->slots[i];
    stage_drop(k->p, PART_UNET);
    if (k->p->keep && keep->stage.bound) {
        k->p->stages[PART_UNET] = keep->stage;
        keep->stage = (struct stage){ 0 };
    }
    struct stage kept = k->p->stages[PART_UNET];
    k->p->stages[PART_UNET] = (struct stage){ 0 };
    for (int i = 0; i < SLOTS; i++)
        slot_release(k, &k->slots[i]);
    k->p->stages[PART_UNET] = kept;
    for (size_t i = 0; i < k->count; i++)
        mem_free(k->parts[i].weights);
    for (int i = 0; i < LISTS; i++)
        mem_free(k->said[i]);
    mem_free(k->weight);
}

static bool conditions_init(struct conditions *k, struct pipeline *p, const struct stage_sampling *s, const struct sampler_name *name,
                            struct err *e)
{
    const struct model_parts *m = p->source.model;
    struct noise_schedule n;
    k->p = p;
    k->s = s;
    k->request = (struct draw_request){ .sampler = s->sampler, .loras = s->loras, .lora_count = s->lora_count, .batch = s->n, .cfg = s->cfg };
    k->comfy = name != sampler_names;
    k->channels = m->vae.latent_channels;
    k->extra = model_extra_channels(m);
    k->h = s->h;
    k->w = s->w;
    k->text_width = model_text_width(m);
    k->pooled_width = model_pooled_width(m);
    k->each = (size_t)(s->n * k->channels * s->h * s->w);
    k->scheduler = s->scheduler ? s->scheduler : p->source.scheduler;
    k->prediction = k->scheduler->prediction;
    k->slots[0].stage = p->stages[PART_UNET]; /* lies here while the run lasts */
    p->stages[PART_UNET] = (struct stage){ 0 };
    bool guided = !m->unet.guidance_dim && s->negative.count && (s->guide != GUIDE_CFG || s->cfg != 1 || name->uses_unguided);
    k->asks[POSITIVE] = true;
    k->asks[NEGATIVE] = guided;
    k->asks[MIDDLE] = s->guide != GUIDE_CFG;
    for (int i = 0; i < LISTS; i++)
        if (k->asks[i] && !(k->said[i] = mem_aligned(k->each * sizeof(float))))
            return err_nomem(e, "what the denoiser says");
    k->weight = mem_aligned((size_t)(LISTS * s->n * s->h * s->w) * sizeof(float));
    if (!k->weight)
        return err_nomem(e, "what the denoiser says");
    if (!noise_schedule_init(&n, k->scheduler, e))
        return false;
    const struct stage_conditions *lists[LISTS] = { &s->negative, &s->middle, &s->positive };
    bool good = true;
    for (int list = 0; good && list < LISTS; list++)
        for (size_t i = 0; good && k->asks[list] && i < lists[list]->count; i++)
            good = add_part(k, &n, &lists[list]->at[i], list, e);
    for (int list = 0; good && list < POSITIVE; list++)
        good = !k->asks[list] || (add_counterparts(k, POSITIVE, list, e) && add_counterparts(k, list, POSITIVE, e));
    noise_schedule_release(&n);
    return good && find_controls(k, e);
}

/* Start noise [n, c, h, w]: one draw, or for pictures of a batch that were chosen one by one, as many draws as the last needs. */
static bool draw_noise(struct chain *c, const struct stage_sampling *s, struct shape shape, struct err *e)
{
    const struct start_noise start = { .seed = s->seed };
    start_noise_seed(&start, &c->random);
    if (!s->batch_index)
        return start_noise_draw(&start, &c->random, c->noise, shape, e);
    enum { MOST = 1 << 16 };
    int64_t last = 0;
    for (int64_t i = 0; i < s->n; i++)
        last = s->batch_index[i] > last ? s->batch_index[i] : last;
    if (last >= MOST)
        return err_set(e, ERR_LIMIT, "picture %lld of a batch: at most %d", (long long)last, MOST);
    float *one = mem_aligned(c->cell * sizeof *one);
    if (!one)
        return err_nomem(e, "noise");
    for (int64_t at = 0; at <= last; at++) {
        torch_random_normal(&c->random, one, c->cell);
        for (int64_t i = 0; i < s->n; i++)
            if (s->batch_index[i] == at)
                memcpy(c->noise + (size_t)i * c->cell, one, c->cell * sizeof *one);
    }
    mem_free(one);
    return true;
}

static bool begin(struct chain *c, struct conditions *k, float *mask, struct err *e)
{
    const struct stage_sampling *s = k->s;
    struct shape shape = SHAPE(s->n, k->channels, s->h, s->w);
    struct sampler_spec spec = { .sampler = s->sampler, .schedule = s->sigmas ? NULL : s->schedule, .steps = s->steps, .denoise = s->denoise,
                                 .start_step = s->start_step, .end_step = s->end_step, .leftover_noise = s->leftover_noise,
                                 .sigmas = s->sigmas, .eta = s->eta, .noise_strength = s->noise_strength, .middle = s->middle_step,
                                 .most_order = s->most_order, .seed = s->seed, .noise = &c->random, .shape = shape };
    c->each = k->each;
    c->cell = k->each / (size_t)s->n;
    c->area = (size_t)(s->h * s->w);
    c->prediction = k->prediction;
    c->masks = s->mask && k->comfy;
    c->blends = s->mask && !k->comfy;
    c->origin.mask = mask;
    c->origin.mask_pictures = s->mask_n;
    c->noise = mem_zeroed(c->each, sizeof *c->noise);
    c->latent = mem_aligned(c->each * sizeof *c->latent);
    c->input = s->mask ? mem_aligned(c->each * sizeof *c->input) : NULL;
    if (!c->noise || !c->latent || (s->mask && !c->input))
        return err_nomem(e, "noise");
    if (s->mask && !tensor_resample(mask, s->mask, s->mask_n, 1, s->mask_h, s->mask_w, s->h, s->w, RESAMPLE_BILINEAR, e))
        return false;
    bool empty = true;
    for (size_t i = 0; empty && i < c->each; i++)
        empty = s->latents[i] == 0;
    memcpy(c->latent, s->latents, c->each * sizeof *c->latent);
    if (!empty)
        vae_scale(&k->p->source.model->vae, c->latent, s->n, s->h * s->w);
    if (!sampler_new(&c->sampler, &spec, k->scheduler, e) || (!s->no_noise && !draw_noise(c, s, shape, e)))
        return false;
    bool from_noise = empty && !s->no_noise && !s->start_step && !(s->denoise < 1);
    sampler_begin(c->sampler, s->no_noise ? NULL : c->noise, from_noise ? NULL : c->latent);
    if (c->masks && sampler_find(s->sampler) == sampler_find("ddim") && !s->no_noise) { /* its noise on what stays is another */
        struct torch_random own;
        torch_random_seed(&own, s->seed + 1);
        torch_random_normal(&own, c->noise, c->each);
    }
    return true;
}

/* Makes one output of what was said for the lists. */
static void guide(const struct conditions *k, float *out)
{
    const struct stage_sampling *s = k->s;
    const float *a = k->said[POSITIVE], *b = k->said[NEGATIVE], *c = k->said[MIDDLE];
    if (s->guide == GUIDE_CFG && !k->asks[NEGATIVE])
        memcpy(out, a, k->each * sizeof *out);
    else if (s->guide == GUIDE_CFG)
        guidance_mix(out, b, a, (size_t)s->n, k->each / (size_t)s->n, s->cfg, s->cfg_rescale);
    else
        for (size_t i = 0; i < k->each; i++) {
            float nested = c[i] + (float)s->cfg * (a[i] - c[i]), base = b ? b[i] : c[i];
            out[i] = s->guide == GUIDE_DUAL_NESTED ? base + (float)s->cfg2 * (nested - base)
                                                   : base + (float)s->cfg2 * (c[i] - base) + (float)s->cfg * (a[i] - c[i]);
        }
}

static bool run(struct chain *c, struct conditions *k, float *work, const struct progress *progress, struct err *e)
{
    struct sampler *sampler = c->sampler;
    int64_t steps = sampler_steps(sampler), told = -1;
    while (!sampler_done(sampler)) {
        double signal, noise;
        progress_step(progress, "sampling", (long)sampler_steps_done(sampler), (long)steps, NULL);
        if (!stop_check(e))
            return false;
        sampler_level(sampler, &signal, &noise);
        k->sigma = signal > 0 ? noise / signal : INFINITY;
        k->alpha = signal > 0 ? 1 / sqrt(1 + k->sigma * k->sigma) : 0;
        k->beta = signal > 0 ? k->sigma * k->alpha : 1;
        double timestep = chain_input(c, work);
        if (!ask(k, work, timestep, progress, e))
            return false;
        guide(k, work);
        if (!chain_take(c, work, k->asks[NEGATIVE] ? k->said[NEGATIVE] : NULL, e))
            return false;
        int64_t done = sampler_steps_done(sampler);
        if (done != told && k->s->step && !k->s->step(k->s->self, done, steps, sampler_denoised(sampler), e))
            return false;
        told = done;
    }
    progress_step(progress, "sampling", (long)steps, (long)steps, NULL);
    return true;
}

static bool check(const struct pipeline *p, const struct stage_sampling *s, struct err *e)
{
    enum { MOST_BATCH = 4096 };
    if (s->n < 1 || s->n > MOST_BATCH || s->h < 1 || s->w < 1 || s->h > IMAGE_MAX_SIDE || s->w > IMAGE_MAX_SIDE)
        return err_set(e, ERR_ARG, "latents of %lld pictures of %lldx%lld cells", (long long)s->n, (long long)s->w, (long long)s->h);
    if (!(s->cfg >= 0) || !isfinite(s->cfg))
        return err_set(e, ERR_ARG, "cfg %g: must be 0 or more", s->cfg);
    if (!(s->cfg_rescale >= 0 && s->cfg_rescale <= 1))
        return err_set(e, ERR_ARG, "cfg rescale %g: must be 0 to 1", s->cfg_rescale);
    if (s->lora_count > LORA_MOST)
        return err_set(e, ERR_ARG, "%zu LoRAs: at most %d", s->lora_count, LORA_MOST);
    if (!s->positive.count)
        return err_set(e, ERR_ARG, "there are no words to draw by");
    if (p->source.model->unet.guidance_dim && sampler_find(s->sampler)->uses_unguided)
        return err_set(e, ERR_ARG, "sampler %s compares with the picture without words, and this model draws none: it is told cfg", s->sampler);
    return true;
}

bool pipeline_latents_sample(struct pipeline *p, const struct stage_sampling *s, const struct progress *progress, float *out,
                             float *denoised, struct err *e)
{
    const struct sampler_name *name = sampler_need(s->sampler, e);
    struct conditions *k = mem_zeroed(1, sizeof *k);
    struct chain *c = mem_zeroed(1, sizeof *c);
    size_t area = (size_t)(s->h * s->w);
    float *mask = NULL, *work = NULL;
    bool good = name && ((k && c) || err_nomem(e, "a run of the sampler")) && check(p, s, e);
    bool begun = good;
    good = good && conditions_init(k, p, s, name, e);
    work = good ? mem_aligned(k->each * sizeof *work) : NULL;
    mask = good && s->mask ? mem_aligned((size_t)s->mask_n * area * sizeof *mask) : NULL;
    good = good && ((work && (mask || !s->mask)) || err_nomem(e, "a run of the sampler"));
    good = good && begin(c, k, mask, e) && run(c, k, work, progress, e);
    const float *ends[2] = { good ? sampler_latents(c->sampler) : NULL, good ? sampler_denoised(c->sampler) : NULL };
    float *to[2] = { out, denoised };
    for (int i = 0; good && i < 2; i++)
        if (to[i]) {
            memcpy(to[i], ends[i], k->each * sizeof *out);
            vae_unscale(&p->source.model->vae, to[i], s->n, s->h * s->w);
        }
    if (begun)
        conditions_release(k);
    if (c)
        chain_release(c);
    mem_free(k);
    mem_free(c);
    mem_free(work);
    mem_free(mask);
    return good;
}
