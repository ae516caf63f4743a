/* A picture and its mask -> what a drawing begins with. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "tensor/resample.h"

void origin_release(struct origin *o)
{
    mem_free(o->moments);
    mem_free(o->masked);
    mem_free(o->mask);
    *o = (struct origin){ 0 };
}

/* Both worlds cut the mask at one half, but for a half itself: diffusers' binarize takes it, ComfyUI's round (to even) not. */
static bool is_drawn_anew(const struct draw_sizes *s, float mask)
{
    return !s->comfy ? mask >= 0.5f : mask > 0.5f;
}

/* The mask in latent cells. diffusers takes the left top pixel of each cell of the cut mask, ComfyUI interpolates. */
static bool read_mask(const struct draw_request *r, const struct draw_sizes *s, struct origin *out, struct err *e)
{
    out->mask = mem_aligned((size_t)(s->h * s->w) * sizeof *out->mask);
    if (!out->mask)
        return err_nomem(e, "a mask");
    if (!r->mask) {
        for (int64_t i = 0; i < s->h * s->w; i++)
            out->mask[i] = 1;
        return true;
    }
    if (s->comfy)
        return tensor_resample(out->mask, r->mask, 1, 1, s->height, s->width, s->h, s->w, RESAMPLE_BILINEAR, e);
    int64_t factor = s->height / s->h;
    for (int64_t y = 0; y < s->h; y++)
        for (int64_t x = 0; x < s->w; x++)
            out->mask[y * s->w + x] = is_drawn_anew(s, r->mask[y * factor * s->width + x * factor]);
    return true;
}

bool pipeline_encode_raw(struct pipeline *p, const struct draw_sizes *s, const float *pixels, float *moments, struct err *e)
{
    size_t count = latent_count(s, 1);
    float *made = mem_aligned(2 * count * sizeof *made);
    struct tile_run run = { "picture", pixels, 3, s->height / s->h, made, 2 * s->channels, 1, NULL, NULL };
    bool good = (made || err_nomem(e, "a picture's latent")) && tiles_run(p->type, &p->stages[STAGE_ENCODER], &run, s, e);
    if (good)
        tensor_nhwc_to_nchw(moments, made, 1, 2 * s->channels, s->h, s->w);
    for (size_t i = 0; good && i < 2 * count; i++)
        if (!isfinite(moments[i]))
            good = err_set(e, ERR_FORMAT, "the VAE gives %f at value %zu of the picture's latent", (double)moments[i], i);
    mem_free(made);
    return good;
}

/* A log variance is kept in -30..20, as diffusers' DiagonalGaussianDistribution does. */
bool pipeline_encode_pixels(struct pipeline *p, const struct draw_sizes *s, const float *pixels, float *moments, struct err *e)
{
    const struct vae_config *vae = &p->source.model->vae;
    size_t count = latent_count(s, 1), area = (size_t)(s->h * s->w);
    bool good = pipeline_encode_raw(p, s, pixels, moments, e);
    if (good)
        vae_scale(vae, moments, 1, s->h * s->w);
    for (size_t i = 0; good && i < count; i++) {
        float norm = vae->normed ? (float)vae->deviation[i / area] : 1;
        moments[count + i] = (float)vae->scaling_factor / norm * expf(0.5f * fminf(fmaxf(moments[count + i], -30), 20));
    }
    return good;
}

static bool read_all(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, float *pixels,
                     const struct progress *progress, struct origin *out, struct err *e)
{
    size_t area = (size_t)(s->width * s->height), moments = 2 * latent_count(s, 1);
    bool masked = s->extra > 0; /* what lies under the mask is seen by denoisers made for inpainting only */
    long runs = (r->picture != NULL) + masked, done = 0;
    if ((r->mask || s->extra) && !read_mask(r, s, out, e))
        return false;
    if (r->picture) {
        progress_step(progress, "encoding", done++, runs, NULL);
        out->moments = mem_aligned(moments * sizeof *out->moments);
        out->pictures = 1;
        if (!out->moments)
            return err_nomem(e, "a picture's latent");
        if (!pipeline_encode_pixels(p, s, r->picture, out->moments, e))
            return false;
    }
    if (masked) {
        progress_step(progress, "encoding", done++, runs, NULL);
        for (size_t i = 0; i < area; i++)
            for (size_t k = 0; k < 3; k++)
                pixels[3 * i + k] = !r->mask || is_drawn_anew(s, r->mask[i]) ? 0 : r->picture[3 * i + k];
        out->masked = mem_aligned(moments * sizeof *out->masked);
        if (!out->masked)
            return err_nomem(e, "a picture's latent");
        if (!pipeline_encode_pixels(p, s, pixels, out->masked, e))
            return false;
    }
    progress_step(progress, "encoding", runs, runs, NULL);
    return true;
}

bool pipeline_read_picture(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                           const struct progress *progress, struct origin *out, struct err *e)
{
    float *pixels = s->extra ? mem_aligned((size_t)(s->width * s->height) * 3 * sizeof *pixels) : NULL;
    bool good = (pixels || !s->extra) || err_nomem(e, "a picture to encode");
    good = good && read_all(p, r, s, pixels, progress, out, e);
    mem_free(pixels);
    if (!good)
        origin_release(out);
    return good;
}
