/* Words -> CONDITIONING. */
#include "flow/nodes/nodes.h"

struct text_args {
    const char *text;
    const struct datum *clip;
};
struct layer_args {
    const struct datum *clip;
    int64_t layer;
};
struct sdxl_args {
    const struct datum *clip;
    int64_t width, height, crop_w, crop_h, target_width, target_height;
    const char *text_g, *text_l;
};
struct refiner_args {
    double score;
    int64_t width, height;
    const char *text;
    const struct datum *clip;
};

static const struct node_input text_inputs[] = {
    { "text", "STRING", offsetof(struct text_args, text), .flags = NODE_MULTILINE | NODE_DYNAMIC_PROMPTS,
      .help = "what is to be seen; (word:1.2) counts more, embedding:NAME is a textual inversion" },
    { "clip", "CLIP", offsetof(struct text_args, clip), .help = "the text encoders" },
    { 0 },
};
static const struct node_input layer_inputs[] = {
    NODE_SOCKET("clip", "CLIP", struct layer_args, clip),
    { "stop_at_clip_layer", "INT", offsetof(struct layer_args, layer), "-1", .min = -24, .max = -1, .step = 1,
      .help = "the layer whose states are taken, counted from the last, which is -1" },
    { 0 },
};
static const struct node_output clip_output[] = { NODE_OUT("CLIP"), { 0 } };

#define SIZE(label, member, initial) { label, "INT", offsetof(struct sdxl_args, member), initial, .min = 0, .max = MOST_SIDE, .step = 1 }
static const struct node_input sdxl_inputs[] = {
    NODE_SOCKET("clip", "CLIP", struct sdxl_args, clip),
    SIZE("width", width, "1024"), SIZE("height", height, "1024"), SIZE("crop_w", crop_w, "0"), SIZE("crop_h", crop_h, "0"),
    SIZE("target_width", target_width, "1024"), SIZE("target_height", target_height, "1024"),
    { "text_g", "STRING", offsetof(struct sdxl_args, text_g), .flags = NODE_MULTILINE | NODE_DYNAMIC_PROMPTS },
    { "text_l", "STRING", offsetof(struct sdxl_args, text_l), .flags = NODE_MULTILINE | NODE_DYNAMIC_PROMPTS },
    { 0 },
};
static const struct node_input refiner_inputs[] = {
    { "ascore", "FLOAT", offsetof(struct refiner_args, score), "6.0", .min = 0, .max = 1000, .step = 0.01 },
    { "width", "INT", offsetof(struct refiner_args, width), "1024", .min = 0, .max = MOST_SIDE, .step = 1 },
    { "height", "INT", offsetof(struct refiner_args, height), "1024", .min = 0, .max = MOST_SIDE, .step = 1 },
    { "text", "STRING", offsetof(struct refiner_args, text), .flags = NODE_MULTILINE | NODE_DYNAMIC_PROMPTS },
    NODE_SOCKET("clip", "CLIP", struct refiner_args, clip),
    { 0 },
};

/* One condition of the words. */
static struct flow_conditioning *encode(struct node_call *call, const struct datum *clip, const char *text, struct err *e)
{
    const struct flow_model *m = model_of(clip);
    struct stage_text t = { .text = text, .syntax = PROMPT_COMFY, .clip_skip = m->clip_skip, .loras = m->loras, .lora_count = m->lora_count };
    struct flow_conditioning *c = flow_conditioning_new(1, e);
    if (c && pipeline_text(engine_use(call_engine(call), m->weights), &t, call_progress(call), &c->at[0], e))
        return c;
    flow_conditioning_free(c);
    return NULL;
}

static bool text_run(struct node_call *call, const void *args, struct err *e)
{
    const struct text_args *a = args;
    return node_give(call, 0, datum_of_object(&type_conditioning, encode(call, a->clip, a->text, e), e), e);
}

/* clip_skip counts from the layer that the family takes: the last, or with SDXL and SD 2 the one before. */
static bool layer_run(struct node_call *call, const void *args, struct err *e)
{
    const struct layer_args *a = args;
    struct flow_model *m = flow_model_copy(model_of(a->clip), e);
    if (m) {
        const struct family *family = pipeline_model(m->weights->pipeline)->family;
        m->clip_skip = -1 - a->layer - (family->states == TEXT_PENULTIMATE);
        m->clip_skip = m->clip_skip < 0 ? 0 : m->clip_skip;
    }
    return node_give(call, 0, datum_of_object(&type_clip, m, e), e);
}

static bool sdxl_run(struct node_call *call, const void *args, struct err *e)
{
    const struct sdxl_args *a = args;
    struct flow_conditioning *c = encode(call, a->clip, a->text_g, e);
    struct flow_conditioning *l = c && strcmp(a->text_g, a->text_l) ? encode(call, a->clip, a->text_l, e) : NULL;
    if (!c || (strcmp(a->text_g, a->text_l) && !l)) {
        flow_conditioning_free(c);
        return false;
    }
    if (l) { /* the first encoder's states are those of the other words; a text that is shorter is repeated */
        struct stage_condition *g = &c->at[0];
        const struct model_parts *parts = pipeline_model(model_of(a->clip)->weights->pipeline);
        int64_t first = parts->text[PART_TEXT].width;
        for (int64_t t = 0; parts->text[PART_TEXT_2].kind && t < g->tokens; t++)
            memcpy(g->states + t * g->width, l->at[0].states + t % l->at[0].tokens * g->width, (size_t)first * sizeof *g->states);
        flow_conditioning_free(l);
    }
    c->at[0].facts = (struct picture_facts){ .original_width = a->width, .original_height = a->height, .crop_left = a->crop_w,
                                             .crop_top = a->crop_h, .target_width = a->target_width, .target_height = a->target_height };
    return node_give(call, 0, datum_of_object(&type_conditioning, c, e), e);
}

static bool refiner_run(struct node_call *call, const void *args, struct err *e)
{
    const struct refiner_args *a = args;
    struct flow_conditioning *c = encode(call, a->clip, a->text, e);
    if (c)
        c->at[0].facts = (struct picture_facts){ .original_width = a->width, .original_height = a->height, .score = a->score };
    return node_give(call, 0, datum_of_object(&type_conditioning, c, e), e);
}

const struct node nodes_text[] = {
    { "CLIPTextEncode", "CLIP Text Encode (Prompt)", "Words for the denoiser to draw by.", "conditioning", text_inputs, conditioning_output,
      .args_bytes = sizeof(struct text_args), .run = text_run, .aliases = "text, prompt, words" },
    { "CLIPSetLastLayer", "CLIP Set Last Layer", "Leaves out the last layers of the text encoders.", "conditioning", layer_inputs, clip_output,
      .args_bytes = sizeof(struct layer_args), .run = layer_run },
    { "CLIPTextEncodeSDXL", NULL, "Words for SDXL, with what it is told of the picture's size.", "advanced/conditioning", sdxl_inputs,
      conditioning_output, .args_bytes = sizeof(struct sdxl_args), .run = sdxl_run },
    { "CLIPTextEncodeSDXLRefiner", NULL, "Words for SDXL's refiner, with the picture's size and how beautiful it shall be.",
      "advanced/conditioning", refiner_inputs, conditioning_output, .args_bytes = sizeof(struct refiner_args), .run = refiner_run },
    { 0 },
};
