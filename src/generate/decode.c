/* Latents -> pixels. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

bool pipeline_decode_raw(struct pipeline *p, const struct draw_sizes *s, const float *latent, float *pixels, struct err *e)
{
    struct stage *stage = &p->stages[PART_VAE];
    size_t count = latent_count(s, 1), numbers = (size_t)(s->width * s->height) * 3;
    float *turned = mem_aligned(count * sizeof *turned);
    bool good = turned || err_nomem(e, "a picture");
    if (good) {
        tensor_nchw_to_nhwc(turned, latent, 1, s->channels, s->h, s->w);
        struct tile_run run = { "latent", turned, s->channels, 1, pixels, 3, s->height / s->h, NULL, NULL };
        good = tiles_run(p->type, stage, &run, s, e);
    }
    for (size_t k = 0; good && k < numbers; k++)
        if (!isfinite(pixels[k]))
            good = err_set(e, ERR_FORMAT, "the VAE gives %f at value %zu of the picture", (double)pixels[k], k);
    mem_free(turned);
    return good;
}

bool pipeline_decode_one(struct pipeline *p, const struct draw_sizes *s, const float *latent, float *pixels, struct err *e)
{
    size_t count = latent_count(s, 1);
    float *scaled = mem_aligned(count * sizeof *scaled);
    bool good = scaled || err_nomem(e, "a picture");
    if (good) {
        memcpy(scaled, latent, count * sizeof *scaled);
        vae_unscale(&p->source.model->vae, scaled, 1, s->h * s->w);
        good = pipeline_decode_raw(p, s, scaled, pixels, e);
    }
    mem_free(scaled);
    return good;
}

bool pipeline_decode(struct pipeline *p, const struct draw_sizes *s, const struct progress *progress, struct drawing *out,
                     struct err *e)
{
    float *picture = mem_aligned((size_t)(s->width * s->height) * 3 * sizeof *picture);
    bool good = picture || err_nomem(e, "a picture");
    for (int64_t i = 0; good && i < out->batch; i++) {
        progress_step(progress, "decoding", (long)i, (long)out->batch, NULL);
        good = pipeline_decode_one(p, s, out->latents + (size_t)i * latent_count(s, 1), picture, e) &&
               image_from_unit(&out->images[i], picture, (int)s->width, (int)s->height, 3, IMAGE_NHWC, e);
    }
    if (good)
        progress_step(progress, "decoding", (long)out->batch, (long)out->batch, NULL);
    mem_free(picture);
    return good;
}
