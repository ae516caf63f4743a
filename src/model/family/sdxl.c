/* Stable Diffusion XL (Podell et al. 2023), its refiner (the second text encoder alone) and what is distilled from them. The
 * denoiser sees the states before the last layer of both encoders side by side and, beside the timestep, the second's pooled
 * text and six numbers about the picture's making. */
#include "model/family/family.h"

size_t sdxl_time_ids(const struct model_settings *s, const struct picture_facts *f, bool negative, float *out)
{
    size_t n = 0;
    out[n++] = (float)f->original_height;
    out[n++] = (float)f->original_width;
    /* A refiner's negative words know of no crop; diffusers' other pipelines leave them the picture's. */
    out[n++] = s->aesthetic_score && negative ? 0 : (float)f->crop_top;
    out[n++] = s->aesthetic_score && negative ? 0 : (float)f->crop_left;
    if (s->aesthetic_score) {
        out[n++] = (float)f->score;
    } else {
        out[n++] = (float)f->target_height;
        out[n++] = (float)f->target_width;
    }
    return n;
}

bool sdxl_agree(const struct model_parts *m, const char *where, struct err *e)
{
    const struct unet_config *u = &m->unet;
    int64_t ids = m->settings.aesthetic_score ? 5 : 6, pooled = model_pooled_width(m);
    if (!u->text_time)
        return err_set(e, ERR_TYPE, "%s: unet/config.json has no \"addition_embed_type\"; that of %s is \"text_time\"", where,
                       m->family->pipelines[0].class);
    if (!u->time_ids_dim || !u->addition_width)
        return err_set(e, ERR_MISSING, "%s: unet/config.json: \"%s\" is missing", where,
                       u->time_ids_dim ? "projection_class_embeddings_input_dim" : "addition_time_embed_dim");
    if (pooled + ids * u->time_ids_dim != u->addition_width)
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"projection_class_embeddings_input_dim\" %lld; the pooled text "
                       "is %lld, and %lld time ids (\"requires_aesthetics_score\" is %s) take %lld each", where,
                       (long long)u->addition_width, (long long)pooled, (long long)ids,
                       m->settings.aesthetic_score ? "true" : "false", (long long)u->time_ids_dim);
    return true;
}

static const struct family_pipeline pipelines[] = {
    { "StableDiffusionXLPipeline", 0, 20, 5, { .force_zeros = true } },
    { "StableDiffusionXLImg2ImgPipeline", 0, 20, 5, { .force_zeros = true, .redraws = true } },
    { "StableDiffusionXLInpaintPipeline", 0, 20, 7.5, { .force_zeros = true, .fills_in = true } },
    { 0 },
};

const struct family family_sdxl = {
    .name = "sdxl", .pipelines = pipelines,
    .text = { { &text_clip, "CLIPTextModel", true }, { &text_clip, "CLIPTextModelWithProjection", false } },
    .states = TEXT_PENULTIMATE, .pools = true, .norms = true, .agree = sdxl_agree, .time_ids = sdxl_time_ids,
};
