/* LATENT <-> IMAGE. */
#include "flow/nodes/nodes.h"

struct decode_args {
    const struct datum *samples, *vae;
    int64_t tile, overlap, temporal, temporal_overlap;
};
struct encode_args {
    const struct datum *pixels, *vae, *mask;
    int64_t tile, overlap, temporal, temporal_overlap, grow;
};
struct inpaint_args {
    const struct datum *positive, *negative, *vae, *pixels, *mask;
    bool noise_mask;
};

static const struct node_input decode_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct decode_args, samples),
    NODE_SOCKET("vae", "VAE", struct decode_args, vae),
    { 0 },
};
static const struct node_input encode_inputs[] = {
    NODE_SOCKET("pixels", "IMAGE", struct encode_args, pixels),
    NODE_SOCKET("vae", "VAE", struct encode_args, vae),
    { 0 },
};
#define TILES(args, step_)                                                                                                            \
    { "tile_size", "INT", offsetof(struct args, tile), "512", .min = 64, .max = 4096, .step = step_, .help = "pixels of a side" },       \
    { "overlap", "INT", offsetof(struct args, overlap), "64", .min = 0, .max = 4096, .step = 32,                                        \
      .help = "tiles lie over each other by a quarter of their side, whatever is said here" },                                          \
    { "temporal_size", "INT", offsetof(struct args, temporal), "64", .min = 8, .max = 4096, .step = 4, .help = "for video: unused" },    \
    { "temporal_overlap", "INT", offsetof(struct args, temporal_overlap), "8", .min = 4, .max = 4096, .step = 4,                        \
      .help = "for video: unused" }
static const struct node_input decode_tiled_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct decode_args, samples),
    NODE_SOCKET("vae", "VAE", struct decode_args, vae),
    TILES(decode_args, 32),
    { 0 },
};
static const struct node_input encode_tiled_inputs[] = {
    NODE_SOCKET("pixels", "IMAGE", struct encode_args, pixels),
    NODE_SOCKET("vae", "VAE", struct encode_args, vae),
    TILES(encode_args, 64),
    { 0 },
};
static const struct node_input encode_inpaint_inputs[] = {
    NODE_SOCKET("pixels", "IMAGE", struct encode_args, pixels),
    NODE_SOCKET("vae", "VAE", struct encode_args, vae),
    NODE_SOCKET("mask", "MASK", struct encode_args, mask),
    { "grow_mask_by", "INT", offsetof(struct encode_args, grow), "6", .min = 0, .max = 64, .step = 1, .help = "pixels" },
    { 0 },
};
static const struct node_input inpaint_inputs[] = {
    NODE_SOCKET("positive", "CONDITIONING", struct inpaint_args, positive),
    NODE_SOCKET("negative", "CONDITIONING", struct inpaint_args, negative),
    NODE_SOCKET("vae", "VAE", struct inpaint_args, vae),
    NODE_SOCKET("pixels", "IMAGE", struct inpaint_args, pixels),
    NODE_SOCKET("mask", "MASK", struct inpaint_args, mask),
    { "noise_mask", "BOOLEAN", offsetof(struct inpaint_args, noise_mask), "true",
      .help = "keep what the mask does not cover as it is, too" },
    { 0 },
};
static const struct node_output inpaint_outputs[] = { { .type = "CONDITIONING", .name = "positive" }, { .type = "CONDITIONING", .name = "negative" }, { .type = "LATENT", .name = "latent" }, { 0 } };

static const struct vae_config *config_of(const struct flow_model *m)
{
    return &pipeline_model(m->weights->pipeline)->vae;
}

static bool decode(struct node_call *call, const struct decode_args *a, int64_t tile, struct err *e)
{
    const struct flow_latent *l = latent_of(a->samples);
    const struct flow_model *m = model_of(a->vae);
    const struct vae_config *vae = config_of(m);
    int64_t cell = vae_factor(vae);
    if (l->c != vae->latent_channels && !l->empty)
        return err_set(e, ERR_SHAPE, "latents of %lld channels for a VAE of %lld: they are of different models", (long long)l->c,
                       (long long)vae->latent_channels);
    struct flow_latent *own = latent_for(l, vae, e);
    if (!own)
        return false;
    l = own;
    struct flow_image *image = flow_image_new(l->n, l->h * cell, l->w * cell, e);
    bool good = image && pipeline_latents_to_pixels(engine_use(call_engine(call), m->weights), l->at, l->n, l->h, l->w, tile, call_progress(call), image->at, e);
    if (!good) {
        flow_image_free(image);
        flow_latent_free(own);
        return false;
    }
    size_t count = (size_t)(image->n * image->h * image->w) * 3;
    for (size_t i = 0; i < count; i++)
        image->at[i] = fminf(fmaxf((image->at[i] + 1) / 2, 0), 1);
    image->rounds = true;
    flow_latent_free(own);
    return node_give(call, 0, datum_of_object(&type_image, image, e), e);
}

static bool decode_run(struct node_call *call, const void *args, struct err *e)
{
    return decode(call, args, 0, e);
}

static bool decode_tiled_run(struct node_call *call, const void *args, struct err *e)
{
    const struct decode_args *a = args;
    return decode(call, a, a->tile, e);
}

/* The latents of pictures, cut around their middle to whole cells. anew (may be NULL): [mask n, h, w] of the pictures' size; grey where it
 * is more than half. */
static struct flow_latent *encode(struct node_call *call, const struct datum *pixels, const struct datum *with, const struct flow_mask *anew,
                                  int64_t tile, struct err *e)
{
    const struct flow_image *image = image_of(pixels);
    const struct flow_model *m = model_of(with);
    const struct vae_config *vae = config_of(m);
    int64_t cell = vae_factor(vae), h = image->h / cell * cell, w = image->w / cell * cell, y0 = image->h % cell / 2, x0 = image->w % cell / 2;
    if (!h || !w) {
        err_set(e, ERR_SHAPE, "a picture of %lldx%lld is smaller than a latent cell, %lld", (long long)image->w, (long long)image->h,
                (long long)cell);
        return NULL;
    }
    struct flow_latent *l = flow_latent_new(image->n, vae->latent_channels, h / cell, w / cell, cell, e);
    float *unit = l ? mem_aligned((size_t)(image->n * h * w) * 3 * sizeof *unit) : NULL;
    if (l && !unit)
        err_nomem(e, "a picture");
    for (int64_t i = 0; unit && i < image->n; i++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < 3 * w; x++) {
                float v = image->at[((i * image->h + y0 + y) * image->w + x0) * 3 + x];
                bool grey = anew && rintf(anew->at[(i % anew->n * image->h + y0 + y) * image->w + x0 + x / 3]) > 0;
                unit[(i * h + y) * w * 3 + x] = grey ? 0 : 2 * v - 1;
            }
    if (!unit || !pipeline_pixels_to_latents(engine_use(call_engine(call), m->weights), unit, image->n, w, h, tile, call_progress(call), l->at, e)) {
        flow_latent_free(l);
        l = NULL;
    }
    mem_free(unit);
    return l;
}

static bool give(struct node_call *call, int index, struct flow_latent *l, struct err *e)
{
    return node_give(call, index, datum_of_object(&type_latent, l, e), e);
}

static bool encode_run(struct node_call *call, const void *args, struct err *e)
{
    const struct encode_args *a = args;
    return give(call, 0, encode(call, a->pixels, a->vae, NULL, 0, e), e);
}

static bool encode_tiled_run(struct node_call *call, const void *args, struct err *e)
{
    const struct encode_args *a = args;
    return give(call, 0, encode(call, a->pixels, a->vae, NULL, a->tile, e), e);
}

/* The mask at a picture's size. */
static struct flow_mask *mask_at(const struct flow_mask *m, int64_t h, int64_t w, struct err *e)
{
    float *at = resize_planes(m->at, m->n, 1, m->h, m->w, h, w, "bilinear", "disabled", e);
    struct flow_mask *out = at ? flow_mask_new(m->n, h, w, e) : NULL;
    if (out)
        memcpy(out->at, at, (size_t)(m->n * h * w) * sizeof *at);
    mem_free(at);
    return out;
}

/* A mask cut to whole cells as the picture is, rounded, under a square of ones with `grow` a side. */
static struct flow_mask *grown(const struct flow_mask *m, int64_t cell, int64_t grow, struct err *e)
{
    int64_t h = m->h / cell * cell, w = m->w / cell * cell, y0 = m->h % cell / 2, x0 = m->w % cell / 2;
    struct flow_mask *out = flow_mask_new(m->n, h, w, e);
    int64_t size = grow > 0 ? grow : 1, before = grow > 0 ? (grow - 1 + 1) / 2 : 0;
    for (int64_t i = 0; out && i < m->n; i++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                bool any = false;
                for (int64_t j = y - before; !any && j < y - before + size; j++)
                    for (int64_t k = x - before; !any && k < x - before + size; k++)
                        any = j >= 0 && k >= 0 && j < h && k < w && rintf(m->at[(i * m->h + y0 + j) * m->w + x0 + k]) > 0;
                out->at[(i * h + y) * w + x] = any;
            }
    return out;
}

static bool encode_inpaint_run(struct node_call *call, const void *args, struct err *e)
{
    const struct encode_args *a = args;
    const struct flow_image *image = image_of(a->pixels);
    struct flow_mask *mask = mask_at(mask_of(a->mask), image->h, image->w, e);
    struct flow_latent *l = mask ? encode(call, a->pixels, a->vae, mask, 0, e) : NULL;
    if (l && !(l->noise_mask = grown(mask, vae_factor(config_of(model_of(a->vae))), a->grow, e))) {
        flow_latent_free(l);
        l = NULL;
    }
    flow_mask_free(mask);
    return give(call, 0, l, e);
}

/* The conditions with what a denoiser made for inpainting sees beside the latents. */
static bool give_with_picture(struct node_call *call, int index, const struct datum *from, const struct flow_latent *l, const float *mask,
                              struct err *e)
{
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(from), e);
    size_t cells = (size_t)(l->h * l->w), numbers = (size_t)l->c * cells;
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *at = &c->at[i];
        mem_free(at->beside);
        mem_free(at->beside_mask);
        at->beside = mem_aligned(numbers * sizeof *at->beside);
        at->beside_mask = mem_aligned(cells * sizeof *at->beside_mask);
        if (!at->beside || !at->beside_mask) {
            err_nomem(e, "a condition");
            flow_conditioning_free(c);
            return false;
        }
        at->beside_channels = l->c;
        at->beside_h = l->h;
        at->beside_w = l->w;
        memcpy(at->beside, l->at, numbers * sizeof *at->beside);
        memcpy(at->beside_mask, mask, cells * sizeof *at->beside_mask);
    }
    return node_give(call, index, datum_of_object(&type_conditioning, c, e), e);
}

static bool inpaint_run(struct node_call *call, const void *args, struct err *e)
{
    const struct inpaint_args *a = args;
    const struct flow_image *image = image_of(a->pixels);
    struct flow_mask *mask = mask_at(mask_of(a->mask), image->h, image->w, e);
    struct flow_latent *seen = mask ? encode(call, a->pixels, a->vae, mask, 0, e) : NULL;
    struct flow_latent *whole = seen ? encode(call, a->pixels, a->vae, NULL, 0, e) : NULL;
    float *cells = whole ? resize_planes(mask->at, 1, 1, mask->h, mask->w, seen->h, seen->w, "bilinear", "disabled", e) : NULL;
    bool good = cells && give_with_picture(call, 0, a->positive, seen, cells, e) && give_with_picture(call, 1, a->negative, seen, cells, e);
    if (good && a->noise_mask) {
        whole->noise_mask = mask;
        mask = NULL;
    }
    if (good)
        good = give(call, 2, whole, e);
    else
        flow_latent_free(whole);
    flow_latent_free(seen);
    flow_mask_free(mask);
    mem_free(cells);
    return good;
}

#define NODE(name_, title_, help_, category_, inputs_, outputs_, args_, run_)                                                         \
    { name_, title_, help_, category_, inputs_, outputs_, .args_bytes = sizeof(struct args_), .run = run_ }
const struct node nodes_vae[] = {
    NODE("VAEDecode", "VAE Decode", "Latents become pictures.", "latent", decode_inputs, image_output, decode_args, decode_run),
    NODE("VAEEncode", "VAE Encode", "Pictures become latents. What is no whole number of cells is cut off around.", "latent", encode_inputs,
         latent_output, encode_args, encode_run),
    NODE("VAEEncodeForInpaint", "VAE Encode (for Inpainting)", "Pictures become latents, grey below the mask: for denoise 1.", "latent/inpaint",
         encode_inpaint_inputs, latent_output, encode_args, encode_inpaint_run),
    NODE("InpaintModelConditioning", NULL, "Shows mask and picture to a denoiser that was made for inpainting.", "conditioning/inpaint",
         inpaint_inputs, inpaint_outputs, inpaint_args, inpaint_run),
    NODE("VAEDecodeTiled", "VAE Decode (Tiled)", "Latents become pictures, piece by piece: less memory, a little less exact.", "_for_testing",
         decode_tiled_inputs, image_output, decode_args, decode_tiled_run),
    NODE("VAEEncodeTiled", "VAE Encode (Tiled)", "Pictures become latents, piece by piece.", "_for_testing", encode_tiled_inputs, latent_output,
         encode_args, encode_tiled_run),
    { 0 },
};
