/* Stable Diffusion 1.x and 2.x (Rombach et al. 2022) and what is distilled from them: one CLIP text encoder, whose last states the
 * denoiser sees. SD 2's OpenCLIP-H has 23 of its 24 layers in diffusers' folders, so that the same rule holds. */
#include "model/family/family.h"

static bool agree(const struct model_parts *m, const char *where, struct err *e)
{
    if (m->unet.text_time)
        return err_set(e, ERR_TYPE, "%s: unet/config.json: \"addition_embed_type\" is \"text_time\"; Stable Diffusion 1 and 2 "
                       "have none", where);
    return true;
}

static const struct family_pipeline pipelines[] = {
    { "StableDiffusionPipeline", CORRECTS_OFFSET | CORRECTS_CLIP, 20, 7.5, { 0 } },
    { "StableDiffusionImg2ImgPipeline", CORRECTS_OFFSET | CORRECTS_CLIP, 20, 7.5, { .redraws = true } },
    { "StableDiffusionInpaintPipeline", CORRECTS_OFFSET | CORRECTS_PRK, 20, 7.5, { .fills_in = true } },
    { "LatentConsistencyModelPipeline", 0, 4, 8.5, { 0 } },
    { 0 },
};

const struct family family_sd = {
    .name = "sd", .pipelines = pipelines, .text = { { &text_clip, "CLIPTextModel", false } }, .states = TEXT_LAST, .agree = agree,
};
