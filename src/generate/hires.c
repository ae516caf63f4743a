/* The second pass of a drawing at another size ("hires fix"): a model that was made for small pictures lays out a small one, and
 * redraws it large. Between the passes stands ComfyUI's LatentUpscale, or its ImageScale between VAEDecode and VAEEncode; the second
 * pass begins as any drawing that begins with a picture, with the same seed. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

/* Those on pixels first, then those on latents, in the order of enum resample. */
const char *const hires_methods[] = { "pixel-lanczos", "pixel-nearest-exact", "pixel-bilinear", "pixel-bicubic", "pixel-area",
                                      "latent-nearest-exact", "latent-bilinear", "latent-bicubic", "latent-area",
                                      "latent-bislerp", NULL };
enum { PIXEL_LANCZOS = 0, FIRST_PIXEL = 1, FIRST_LATENT = 5 };

static int method_of(const struct draw_request *r)
{
    if (!r->hires.method)
        return PIXEL_LANCZOS;
    for (int i = 0; hires_methods[i]; i++)
        if (!strcmp(hires_methods[i], r->hires.method))
            return i;
    return -1;
}

bool hires_through_pixels(const struct draw_request *r)
{
    return method_of(r) < FIRST_LATENT;
}

bool hires_request(const struct pipeline *p, const struct draw_request *r, struct draw_request *out, struct draw_sizes *sizes,
                   struct err *e)
{
    static const float stands_for_the_first_pass[1];
    *out = *r;
    out->width = r->hires.width;
    out->height = r->hires.height;
    out->steps = r->hires.steps ? r->hires.steps : r->steps;
    out->strength = r->hires.strength > 0 ? r->hires.strength : 0.5;
    out->picture = stands_for_the_first_pass;
    out->mask = out->noise = NULL;
    out->hires = (struct draw_hires){ 0 };
    if (method_of(r) < 0)
        return err_set(e, ERR_ARG, "no hires method \"%s\"", r->hires.method);
    if (r->mask)
        return err_set(e, ERR_ARG, "a drawing with a mask has no second pass: draw the large picture from the small one");
    if (model_extra_channels(p->source.model))
        return err_set(e, ERR_ARG, "a model that fills in pictures has no second pass");
    if (!request_check(p, out, sizes, e))
        return err_add(e, "in the second pass");
    sizes->encodes = hires_through_pixels(r);
    return true;
}

bool hires_latents(const struct draw_request *r, const struct draw_sizes *from, const struct draw_sizes *to, const float *latents,
                   struct origin *out, struct err *e)
{
    size_t cell = latent_count(to, 1);
    float *large = mem_aligned(latent_count(to, r->batch) * sizeof *large);
    out->moments = mem_zeroed(2 * latent_count(to, r->batch), sizeof *out->moments);
    out->pictures = r->batch;
    bool good = (large && out->moments) || err_nomem(e, "the second pass");
    good = good && tensor_resample(large, latents, r->batch, from->channels, from->h, from->w, to->h, to->w,
                                   (enum resample)(method_of(r) - FIRST_LATENT), e);
    for (size_t i = 0; good && i < (size_t)r->batch; i++)
        memcpy(out->moments + 2 * i * cell, large + i * cell, cell * sizeof *large);
    out->exact = true;
    mem_free(large);
    return good;
}

bool hires_pixels(const struct draw_request *r, const struct draw_sizes *from, const struct draw_sizes *to, const float *small,
                  float *large, struct err *e)
{
    if (method_of(r) == PIXEL_LANCZOS) { /* on 8 bits, as both worlds */
        struct image a = { 0 }, b = { 0 };
        bool good = image_from_unit(&a, small, (int)from->width, (int)from->height, 3, IMAGE_NHWC, e) &&
                    image_resize(&b, &a, (int)to->width, (int)to->height, IMAGE_LANCZOS, e);
        if (good)
            image_to_unit(large, &b, IMAGE_NHWC);
        image_release(&a);
        image_release(&b);
        return good;
    }
    size_t few = (size_t)(from->width * from->height) * 3, many = (size_t)(to->width * to->height) * 3;
    float *planes = mem_aligned(few * sizeof *planes), *made = mem_aligned(many * sizeof *made);
    bool good = (planes && made) || err_nomem(e, "the second pass");
    if (good) {
        tensor_nhwc_to_nchw(planes, small, 1, 3, from->height, from->width);
        for (size_t i = 0; i < few; i++) /* a picture has no colours beyond white and black */
            planes[i] = fminf(fmaxf(planes[i], -1), 1);
        good = tensor_resample(made, planes, 1, 3, from->height, from->width, to->height, to->width,
                               (enum resample)(method_of(r) - FIRST_PIXEL), e);
    }
    if (good)
        tensor_nchw_to_nhwc(large, made, 1, 3, to->height, to->width);
    mem_free(planes);
    mem_free(made);
    return good;
}
