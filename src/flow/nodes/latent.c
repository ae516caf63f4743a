/* LATENT: made, resized, cut, turned, put together. */
#include "flow/nodes/nodes.h"

struct empty_args {
    int64_t width, height, batch;
};
struct upscale_args {
    const struct datum *samples;
    const char *method, *crop;
    int64_t width, height;
    double scale;
};
struct batch_args {
    const struct datum *samples;
    int64_t amount, index, length;
};
struct turn_args {
    const struct datum *samples;
    const char *how;
};
struct crop_args {
    const struct datum *samples;
    int64_t width, height, x, y;
};
struct composite_args {
    const struct datum *to, *from;
    int64_t x, y, feather;
};
struct mask_args {
    const struct datum *samples, *mask;
};

#define SIDE(struct_name, label, member, initial, least, step_)                                                                       \
    { label, "INT", offsetof(struct struct_name, member), initial, .min = least, .max = MOST_SIDE, .step = step_, .help = "pixels" }

static const struct node_input empty_inputs[] = {
    SIDE(empty_args, "width", width, "512", 16, 8),
    SIDE(empty_args, "height", height, "512", 16, 8),
    { "batch_size", "INT", offsetof(struct empty_args, batch), "1", .min = 1, .max = 4096, .help = "pictures drawn together" },
    { 0 },
};
static const char *const crops[] = { "disabled", "center", NULL };
static const struct node_input upscale_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct upscale_args, samples),
    { "upscale_method", "COMBO", offsetof(struct upscale_args, method), .choices = latent_upscale_methods },
    SIDE(upscale_args, "width", width, "512", 0, 8),
    SIDE(upscale_args, "height", height, "512", 0, 8),
    { "crop", "COMBO", offsetof(struct upscale_args, crop), .choices = crops },
    { 0 },
};
static const struct node_input upscale_by_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct upscale_args, samples),
    { "upscale_method", "COMBO", offsetof(struct upscale_args, method), .choices = latent_upscale_methods },
    { "scale_by", "FLOAT", offsetof(struct upscale_args, scale), "1.5", .min = 0.01, .max = 8, .step = 0.01 },
    { 0 },
};
static const struct node_input repeat_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct batch_args, samples),
    { "amount", "INT", offsetof(struct batch_args, amount), "1", .min = 1, .max = 64 },
    { 0 },
};
static const struct node_input from_batch_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct batch_args, samples),
    { "batch_index", "INT", offsetof(struct batch_args, index), "0", .min = 0, .max = 63 },
    { "length", "INT", offsetof(struct batch_args, length), "1", .min = 1, .max = 64 },
    { 0 },
};
static const char *const flips[] = { "x-axis: vertically", "y-axis: horizontally", NULL };
static const char *const rotations[] = { "none", "90 degrees", "180 degrees", "270 degrees", NULL };
static const struct node_input flip_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct turn_args, samples),
    { "flip_method", "COMBO", offsetof(struct turn_args, how), .choices = flips },
    { 0 },
};
static const struct node_input rotate_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct turn_args, samples),
    { "rotation", "COMBO", offsetof(struct turn_args, how), .choices = rotations },
    { 0 },
};
static const struct node_input crop_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct crop_args, samples),
    SIDE(crop_args, "width", width, "512", 64, 8),
    SIDE(crop_args, "height", height, "512", 64, 8),
    SIDE(crop_args, "x", x, "0", 0, 8),
    SIDE(crop_args, "y", y, "0", 0, 8),
    { 0 },
};
static const struct node_input composite_inputs[] = {
    NODE_SOCKET("samples_to", "LATENT", struct composite_args, to),
    NODE_SOCKET("samples_from", "LATENT", struct composite_args, from),
    SIDE(composite_args, "x", x, "0", 0, 8),
    SIDE(composite_args, "y", y, "0", 0, 8),
    SIDE(composite_args, "feather", feather, "0", 0, 8),
    { 0 },
};
static const struct node_input mask_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct mask_args, samples),
    { "mask", "MASK", offsetof(struct mask_args, mask), .help = "white is drawn anew" },
    { 0 },
};

enum { CELL = 8, CHANNELS = 4 };

static bool give(struct node_call *call, struct flow_latent *l, struct err *e)
{
    return node_give(call, 0, datum_of_object(&type_latent, l, e), e);
}

static bool empty_run(struct node_call *call, const void *args, struct err *e)
{
    const struct empty_args *a = args;
    struct flow_latent *l = flow_latent_new(a->batch, CHANNELS, a->height / CELL, a->width / CELL, CELL, e);
    if (l)
        l->empty = true;
    return give(call, l, e);
}

/* Numbers (taken) in place of those of a latent, at another size; the mask and the indices go along. */
static struct flow_latent *with_numbers(const struct flow_latent *from, float *at, int64_t h, int64_t w, struct err *e)
{
    struct flow_latent *l = at ? flow_latent_copy(from, e) : NULL;
    if (!l) {
        mem_free(at);
        return NULL;
    }
    mem_free(l->at);
    l->at = at;
    l->h = h;
    l->w = w;
    return l;
}

static struct flow_latent *resized(const struct flow_latent *l, int64_t h, int64_t w, const char *method, const char *crop, struct err *e)
{
    return with_numbers(l, resize_planes(l->at, l->n, l->c, l->h, l->w, h, w, method, crop, e), h, w, e);
}

static bool upscale_run(struct node_call *call, const void *args, struct err *e)
{
    const struct upscale_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    enum { LEAST = 64 };
    double width = (double)a->width, height = (double)a->height;
    if (a->width == 0 && a->height == 0)
        return give_same(call, 0, a->samples, e);
    if (a->width == 0)
        width = fmax(LEAST, rint((double)(l->w * a->height) / (double)l->h));
    else if (a->height == 0)
        height = fmax(LEAST, rint((double)(l->h * a->width) / (double)l->w));
    height = fmax(LEAST, height);
    width = fmax(LEAST, width);
    return give(call, resized(l, (int64_t)height / l->cell, (int64_t)width / l->cell, a->method, a->crop, e), e);
}

static bool upscale_by_run(struct node_call *call, const void *args, struct err *e)
{
    const struct upscale_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    return give(call, resized(l, (int64_t)rint((double)l->h * a->scale), (int64_t)rint((double)l->w * a->scale), a->method, "disabled", e), e);
}

/* Picture number k of a mask that is repeated over a batch. */
static void copy_mask(struct flow_mask *to, int64_t i, const struct flow_mask *from, int64_t k)
{
    memcpy(to->at + i * to->h * to->w, from->at + k % from->n * to->h * to->w, (size_t)(to->h * to->w) * sizeof *to->at);
}

/* Pictures first, first + 1, ... of a latent, n of them, from the beginning again after the last; their indices in the noise go on where
 * they are repeated. */
static struct flow_latent *choose(const struct flow_latent *from, int64_t first, int64_t n, bool indices, struct err *e)
{
    struct flow_latent *l = flow_latent_new(n, from->c, from->h, from->w, from->cell, e);
    const struct flow_mask *m = from->noise_mask;
    size_t each = (size_t)(from->c * from->h * from->w);
    if (!l)
        return NULL;
    l->empty = from->empty;
    if (m && !(l->noise_mask = flow_mask_new(m->n == 1 ? 1 : n, m->h, m->w, e))) {
        flow_latent_free(l);
        return NULL;
    }
    l->batch_index = indices ? mem_zeroed((size_t)n, sizeof *l->batch_index) : NULL;
    if (indices && !l->batch_index) {
        err_nomem(e, "a latent");
        flow_latent_free(l);
        return NULL;
    }
    int64_t least = 0, most = 0;
    for (int64_t i = 0; from->batch_index && i < from->n; i++) {
        least = !i || from->batch_index[i] < least ? from->batch_index[i] : least;
        most = from->batch_index[i] > most ? from->batch_index[i] : most;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t k = (first + i) % from->n, turn = (first + i) / from->n;
        memcpy(l->at + (size_t)i * each, from->at + (size_t)k * each, each * sizeof *l->at);
        if (indices)
            l->batch_index[i] = from->batch_index ? from->batch_index[k] + turn * (most - least + 1) : k;
    }
    for (int64_t i = 0; m && i < l->noise_mask->n; i++)
        copy_mask(l->noise_mask, i, m, first + i);
    return l;
}

static bool repeat_run(struct node_call *call, const void *args, struct err *e)
{
    const struct batch_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    return give(call, choose(l, 0, l->n * a->amount, l->batch_index != NULL, e), e);
}

static bool from_batch_run(struct node_call *call, const void *args, struct err *e)
{
    const struct batch_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    int64_t first = a->index < l->n ? a->index : l->n - 1, n = a->length < l->n - first ? a->length : l->n - first;
    return give(call, choose(l, first, n, true, e), e);
}

/* Fills to, whose number (y, x) of each plane is that of from at (place[0], place[1]). */
static float *move_cells(const struct flow_latent *from, int64_t h, int64_t w,
                         void (*place)(const struct flow_latent *from, const void *how, int64_t y, int64_t x, int64_t out[2]), const void *how,
                         struct err *e)
{
    float *at = mem_aligned((size_t)(from->n * from->c * h * w) * sizeof *at);
    if (!at) {
        err_nomem(e, "a latent");
        return NULL;
    }
    for (int64_t p = 0; p < from->n * from->c; p++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                int64_t k[2];
                place(from, how, y, x, k);
                at[(p * h + y) * w + x] = from->at[(p * from->h + k[0]) * from->w + k[1]];
            }
    return at;
}

static void flipped(const struct flow_latent *from, const void *how, int64_t y, int64_t x, int64_t out[2])
{
    bool vertically = *(const char *)how == 'x';
    out[0] = vertically ? from->h - 1 - y : y;
    out[1] = vertically ? x : from->w - 1 - x;
}

static bool flip_run(struct node_call *call, const void *args, struct err *e)
{
    const struct turn_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    return give(call, with_numbers(l, move_cells(l, l->h, l->w, flipped, a->how, e), l->h, l->w, e), e);
}

/* Clockwise. */
static void rotated(const struct flow_latent *from, const void *how, int64_t y, int64_t x, int64_t out[2])
{
    switch (*(const char *)how) {
    case '9': out[0] = from->h - 1 - x, out[1] = y; break;
    case '1': out[0] = from->h - 1 - y, out[1] = from->w - 1 - x; break;
    case '2': out[0] = x, out[1] = from->w - 1 - y; break;
    default: out[0] = y, out[1] = x; break;
    }
}

static bool rotate_run(struct node_call *call, const void *args, struct err *e)
{
    const struct turn_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    bool turns = *a->how == '9' || *a->how == '2';
    int64_t h = turns ? l->w : l->h, w = turns ? l->h : l->w;
    return give(call, with_numbers(l, move_cells(l, h, w, rotated, a->how, e), h, w, e), e);
}

static void moved(const struct flow_latent *from, const void *how, int64_t y, int64_t x, int64_t out[2])
{
    const int64_t *corner = how;
    out[0] = corner[0] + y;
    out[1] = corner[1] + x;
}

static bool crop_run(struct node_call *call, const void *args, struct err *e)
{
    const struct crop_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    enum { LEAST = 8 }; /* cells are left, if the latent has them */
    int64_t corner[2] = { a->y / l->cell, a->x / l->cell };
    corner[0] = corner[0] > l->h - LEAST ? (l->h > LEAST ? l->h - LEAST : 0) : corner[0];
    corner[1] = corner[1] > l->w - LEAST ? (l->w > LEAST ? l->w - LEAST : 0) : corner[1];
    int64_t h = a->height / l->cell < l->h - corner[0] ? a->height / l->cell : l->h - corner[0];
    int64_t w = a->width / l->cell < l->w - corner[1] ? a->width / l->cell : l->w - corner[1];
    return give(call, with_numbers(l, move_cells(l, h, w, moved, corner, e), h, w, e), e);
}

static bool composite_run(struct node_call *call, const void *args, struct err *e)
{
    const struct composite_args *a = args;
    const struct flow_latent *from = latent_of(a->from), *to = latent_of(a->to);
    int64_t x = a->x / to->cell, y = a->y / to->cell, feather = a->feather / to->cell;
    if (from->c != to->c)
        return err_set(e, ERR_SHAPE, "latents of %lld and %lld channels: they are of different models", (long long)to->c, (long long)from->c);
    struct flow_latent *out = flow_latent_copy(to, e);
    if (out)
        out->empty = to->empty && from->empty;
    int64_t h = out && from->h < to->h - y ? from->h : to->h - y, w = from->w < to->w - x ? from->w : to->w - x;
    for (int64_t p = 0; out && p < to->n * to->c; p++)
        for (int64_t j = 0; j < h; j++)
            for (int64_t i = 0; i < w; i++) {
                float *at = out->at + (p * to->h + y + j) * to->w + x + i, m = 1;
                int64_t picture = p / to->c % from->n, plane = picture * from->c + p % to->c;
                float v = from->at[(plane * from->h + j) * from->w + i];
                /* it fades towards those of its sides that lie inside of the other */
                for (int64_t t = 0; t < feather; t++) {
                    float part = (float)(t + 1) / (float)feather;
                    m *= y > 0 && j == t ? part : 1;
                    m *= y + from->h < to->h && j == from->h - 1 - t ? part : 1;
                    m *= x > 0 && i == t ? part : 1;
                    m *= x + from->w < to->w && i == from->w - 1 - t ? part : 1;
                }
                *at = v * m + *at * (1 - m);
            }
    return give(call, out, e);
}

static bool mask_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_mask *m = mask_of(a->mask);
    struct flow_latent *l = flow_latent_copy(latent_of(a->samples), e);
    struct flow_mask *own = l ? flow_mask_new(m->n, m->h, m->w, e) : NULL;
    if (!own) {
        flow_latent_free(l);
        return false;
    }
    memcpy(own->at, m->at, (size_t)(m->n * m->h * m->w) * sizeof *m->at);
    flow_mask_free(l->noise_mask);
    l->noise_mask = own;
    return give(call, l, e);
}

#define NODE(name_, title_, help_, category_, inputs_, args_, run_)                                                                   \
    { name_, title_, help_, category_, inputs_, latent_output, .args_bytes = sizeof(struct args_), .run = run_ }
const struct node nodes_latent[] = {
    NODE("EmptyLatentImage", "Empty Latent Image", "Where a drawing from nothing begins, and how large it is.", "latent", empty_inputs,
         empty_args, empty_run),
    NODE("LatentUpscale", "Upscale Latent", "Resizes latents. A width or height of 0 keeps the proportions.", "latent", upscale_inputs,
         upscale_args, upscale_run),
    NODE("LatentUpscaleBy", "Upscale Latent By", "Makes latents so many times as large.", "latent", upscale_by_inputs, upscale_args,
         upscale_by_run),
    NODE("LatentComposite", "Latent Composite", "Lays one latent over another.", "latent", composite_inputs, composite_args, composite_run),
    NODE("SetLatentNoiseMask", "Set Latent Noise Mask", "Says which part of a latent is drawn anew.", "latent/inpaint", mask_inputs, mask_args,
         mask_run),
    NODE("RepeatLatentBatch", "Repeat Latent Batch", "Repeats the latents of a batch.", "latent/batch", repeat_inputs, batch_args, repeat_run),
    NODE("LatentFromBatch", "Latent From Batch", "Takes latents out of a batch; they get the noise that they had in it.", "latent/batch",
         from_batch_inputs, batch_args, from_batch_run),
    NODE("LatentFlip", "Flip Latent", "Mirrors latents.", "latent/transform", flip_inputs, turn_args, flip_run),
    NODE("LatentRotate", "Rotate Latent", "Turns latents clockwise.", "latent/transform", rotate_inputs, turn_args, rotate_run),
    NODE("LatentCrop", "Crop Latent", "Cuts a piece out of latents.", "latent/transform", crop_inputs, crop_args, crop_run),
    { 0 },
};
