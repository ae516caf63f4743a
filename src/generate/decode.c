/* Latents -> pixels. */
#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

bool pipeline_decode(struct pipeline *p, const struct draw_sizes *s, const struct progress *progress, struct drawing *out,
                     struct err *e)
{
    struct stage *stage = &p->stages[PART_VAE];
    size_t count = latent_count(s, 1), pixels = (size_t)(s->width * s->height) * 3;
    float *scaled = mem_aligned(count * sizeof *scaled), *turned = mem_aligned(count * sizeof *turned);
    float *picture = mem_aligned(pixels * sizeof *picture);
    void *latent = mem_aligned(count * dtype_bytes(p->type));
    bool good = (scaled && turned && picture && latent) || err_nomem(e, "a picture");
    good = good && program_set_input(stage->program, "latent", latent, e);
    for (int64_t i = 0; good && i < out->batch; i++) {
        progress_step(progress, "decoding", (long)i, (long)out->batch, NULL);
        memcpy(scaled, out->latents + (size_t)i * count, count * sizeof *scaled);
        vae_unscale(&p->source.model->vae, scaled, 1, s->h * s->w);
        tensor_nchw_to_nhwc(turned, scaled, 1, s->channels, s->h, s->w);
        dtype_convert(latent, p->type, turned, DTYPE_F32, count);
        good = program_run_stoppable(stage->program, e);
        if (!good)
            break;
        dtype_convert(picture, DTYPE_F32, program_output(stage->program, stage->out[0]), p->type, pixels);
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
