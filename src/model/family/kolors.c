/* Kolors (Kuaishou 2024): SDXL's denoiser and VAE with ChatGLM3 as the one text encoder, for Chinese and English. The denoiser
 * projects the states before the last layer to its own width, attends to all 256 of them, padding too, and is told the last
 * token's state after the last layer, and six sizes. */
#include "model/family/family.h"

/* KolorsPipeline encodes negative words that are not given as "". */
static const struct family_pipeline pipelines[] = {
    { "KolorsPipeline", 0, 25, 5, { 0 } },
    { "KolorsImg2ImgPipeline", 0, 25, 5, { .redraws = true } },
    { "KolorsInpaintPipeline", 0, 25, 5, { .fills_in = true } },
    { 0 },
};

const struct family family_kolors = {
    .name = "kolors", .pipelines = pipelines, .text = { { &text_chatglm, "ChatGLMModel", false } }, .states = TEXT_PENULTIMATE,
    .pools = true, .agree = sdxl_agree, .time_ids = sdxl_time_ids,
};
