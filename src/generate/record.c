#include "generate/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "generate/generate_internal.h"

static const char *sampler_of(const struct draw_request *r)
{
    return r->sampler ? r->sampler : "model";
}

void record_parameters(struct text *out, const struct draw_request *r, int64_t width, int64_t height, const char *model,
                       const char *version)
{
    text_add(out, r->prompt ? r->prompt : "");
    for (size_t i = 0; i < r->lora_count; i++) {
        const struct draw_lora *l = &r->loras[i];
        const char *name = lora_facts(l->lora).name;
        if (l->in_words)
            continue;
        if (l->unet == l->text)
            text_addf(out, " <lora:%s:%g>", name, l->unet);
        else /* theirs have the text encoder's first */
            text_addf(out, " <lora:%s:%g:%g>", name, l->text, l->unet);
    }
    if (r->negative && *r->negative)
        text_addf(out, "\nNegative prompt: %s", r->negative);
    text_addf(out, "\nSteps: %lld, Sampler: %s, ", (long long)r->steps, sampler_of(r));
    if (r->schedule)
        text_addf(out, "Schedule type: %s, ", r->schedule);
    text_addf(out, "CFG scale: %g, Seed: %llu, Size: %lldx%lld, Model: %s, ", r->cfg, (unsigned long long)r->seed,
              (long long)width, (long long)height, model);
    if (r->hires.width)
        text_addf(out, "Hires resize: %lldx%lld, Hires upscaler: %s, Hires denoising strength: %g, ", (long long)r->hires.width,
                  (long long)r->hires.height, r->hires.method, r->hires.strength);
    if (r->refiner)
        text_addf(out, "Refiner: %s, Refiner switch at: %g, ", r->refiner_name ? r->refiner_name : "?", r->refiner_start);
    if (r->picture)
        text_addf(out, "Denoising strength: %g, ", r->strength);
    if (r->eta >= 0)
        text_addf(out, "Eta: %g, ", r->eta);
    if (r->cfg_rescale > 0)
        text_addf(out, "CFG rescale: %g, ", r->cfg_rescale);
    if (r->subseed_strength > 0)
        text_addf(out, "Variation seed: %llu, Variation seed strength: %g, ", (unsigned long long)r->subseed,
                  r->subseed_strength);
    if (r->cuda_noise) /* A1111's word for CUDA's noise on any device */
        text_add(out, "RNG: NV, ");
    if (r->clip_skip) /* theirs counts the layer that is used from the end: 1 skips none */
        text_addf(out, "Clip skip: %lld, ", (long long)r->clip_skip + 1);
    if (r->prompt_syntax)
        text_addf(out, "Prompt syntax: %s, ", r->prompt_syntax);
    const struct picture_facts *f = &r->facts;
    if (f->original_width)
        text_addf(out, "Original size: %lldx%lld, ", (long long)f->original_width, (long long)f->original_height);
    if (f->crop_left || f->crop_top)
        text_addf(out, "Crop: %lld,%lld, ", (long long)f->crop_left, (long long)f->crop_top);
    if (f->target_width)
        text_addf(out, "Target size: %lldx%lld, ", (long long)f->target_width, (long long)f->target_height);
    if (f->score > 0)
        text_addf(out, "Aesthetic score: %g, ", f->score);
    if (r->negative_score > 0)
        text_addf(out, "Negative aesthetic score: %g, ", r->negative_score);
    for (size_t i = 0; i < r->control_count; i++) { /* A1111's words for what its extension says */
        const struct draw_control *c = &r->controls[i];
        text_addf(out, "ControlNet %zu: \"Model: %s, Weight: %g, Guidance Start: %g, Guidance End: %g\", ", i, path_name(c->net->file.path), c->strength,
                  c->start, c->end);
    }
    text_addf(out, "Version: limn %s", version);
}

static json_t *node(const char *class, json_t *inputs)
{
    return inputs ? json_pack("{s:s,s:o}", "class_type", class, "inputs", inputs) : NULL;
}

/* The words' node; one of those for SDXL where the request says something of the picture. */
static json_t *words(const struct draw_request *r, const char *text, bool negative, int64_t width, int64_t height,
                     const char *clip_from, int clip_slot)
{
    const struct picture_facts *said = &r->facts, f = draw_request_facts(r, width, height, negative);
    if (said->score > 0 || r->negative_score > 0)
        return node("CLIPTextEncodeSDXLRefiner",
                    json_pack("{s:f,s:[s,i],s:I,s:s,s:I}", "ascore", f.score, "clip", clip_from, clip_slot, "height",
                              (json_int_t)f.original_height, "text", text ? text : "", "width", (json_int_t)f.original_width));
    if (said->original_width || said->target_width || said->crop_left || said->crop_top)
        return node("CLIPTextEncodeSDXL",
                    json_pack("{s:[s,i],s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:I}", "clip", clip_from, clip_slot, "crop_h",
                              (json_int_t)f.crop_top, "crop_w", (json_int_t)f.crop_left, "height", (json_int_t)f.original_height,
                              "target_height", (json_int_t)f.target_height, "target_width", (json_int_t)f.target_width, "text_g",
                              text ? text : "", "text_l", text ? text : "", "width", (json_int_t)f.original_width));
    return node("CLIPTextEncode", json_pack("{s:[s,i],s:s}", "clip", clip_from, clip_slot, "text", text ? text : ""));
}

/* A chain of LoraLoader nodes 20, 21, ... behind the checkpoint, which is node 4. */
static bool add_loras(json_t *graph, const struct draw_request *r)
{
    char before[16] = "4", own[16];
    for (size_t i = 0; graph && i < r->lora_count; i++) {
        const struct draw_lora *l = &r->loras[i];
        snprintf(own, sizeof own, "%zu", 20 + i);
        json_t *inputs = json_pack("{s:[s,i],s:s,s:[s,i],s:f,s:f}", "clip", before, 1, "lora_name",
                                   path_name(lora_facts(l->lora).path), "model", before, 0, "strength_clip", l->text,
                                   "strength_model", l->unet);
        if (json_object_set_new(graph, own, node("LoraLoader", inputs)))
            return false;
        strcpy(before, own);
    }
    return graph != NULL;
}

/* ControlNets behind the words 6 and 7: 40, 43, ... loads one, the next its picture, and the one behind that applies it. */
static bool add_controls(json_t *graph, const struct draw_request *r)
{
    enum { FIRST = 40, EACH = 3 };
    char positive[16] = "6", negative[16] = "7";
    int slot = 0;
    for (size_t i = 0; graph && i < r->control_count; i++) {
        const struct draw_control *c = &r->controls[i];
        char names[EACH][16];
        for (size_t k = 0; k < EACH; k++)
            snprintf(names[k], sizeof names[k], "%zu", FIRST + EACH * i + k);
        json_t *apply = json_pack("{s:[s,i],s:[s,i],s:[s,i],s:[s,i],s:f,s:f,s:f}", "control_net", names[0], 0, "image", names[1], 0, "negative", negative,
                                  slot, "positive", positive, 0, "end_percent", c->end, "start_percent", c->start, "strength", c->strength);
        if (json_object_set_new(graph, names[0], node("ControlNetLoader", json_pack("{s:s}", "control_net_name", path_name(c->net->file.path)))) ||
            json_object_set_new(graph, names[1], node("LoadImage", json_pack("{s:s}", "image", c->picture_name ? c->picture_name : "control.png"))) ||
            json_object_set_new(graph, names[2], node("ControlNetApplyAdvanced", apply)))
            return false;
        strcpy(positive, names[2]);
        strcpy(negative, names[2]);
        slot = 1;
    }
    if (!graph || !r->control_count)
        return graph != NULL;
    static const char *const samplers[] = { "3", "18" };
    for (int i = 0; i < 2; i++) {
        json_t *inputs = json_object_get(json_object_get(graph, samplers[i]), "inputs");
        if (inputs && (json_object_set_new(inputs, "positive", json_pack("[s,i]", positive, 0)) ||
                       json_object_set_new(inputs, "negative", json_pack("[s,i]", negative, 1))))
            return false;
    }
    return true;
}

static json_t *decode(const char *latent)
{
    return node("VAEDecode", json_pack("{s:[s,i],s:[s,i]}", "samples", latent, 0, "vae", "4", 2));
}

static json_t *encode(const char *image)
{
    return node("VAEEncode", json_pack("{s:[s,i],s:[s,i]}", "pixels", image, 0, "vae", "4", 2));
}

/* What a drawing begins with, in place of the empty latent 5: 11 is the picture, 12 its latent, 13 the mask. */
static void begin_with_picture(json_t *graph, const struct draw_request *r)
{
    const char *name = r->picture_name ? r->picture_name : "picture.png", *latent = "12";
    json_object_set_new(graph, "11", node("LoadImage", json_pack("{s:s}", "image", name)));
    json_object_set_new(graph, "12", encode("11"));
    if (r->mask && r->mask_name)
        json_object_set_new(graph, "13", node("LoadImageMask", json_pack("{s:s,s:s}", "image", r->mask_name, "channel", "red")));
    if (r->mask) {
        json_object_set_new(graph, "14", node("SetLatentNoiseMask", json_pack("{s:[s,i],s:[s,i]}", "samples", "12", 0, "mask",
                                                                              r->mask_name ? "13" : "11", r->mask_name ? 0 : 1)));
        latent = "14";
    }
    json_object_set_new(graph, "5", node("RepeatLatentBatch", json_pack("{s:[s,i],s:I}", "samples", latent, 0, "amount",
                                                                        (json_int_t)r->batch)));
}

/* The second pass: 15 is the larger picture or latent, 18 its sampler. */
static void draw_again(json_t *graph, const struct draw_request *r)
{
    const struct draw_hires *h = &r->hires;
    bool pixels = !strncmp(h->method, "pixel-", 6);
    const char *how = strchr(h->method, '-') + 1;
    json_object_set_new(graph, "15", node(pixels ? "ImageScale" : "LatentUpscale",
                                          json_pack("{s:[s,i],s:s,s:I,s:I,s:s}", pixels ? "image" : "samples", pixels ? "16" : "3",
                                                    0, "upscale_method", how, "width", (json_int_t)h->width, "height",
                                                    (json_int_t)h->height, "crop", "disabled")));
    if (pixels) {
        json_object_set_new(graph, "16", decode("3"));
        json_object_set_new(graph, "17", encode("15"));
    }
    json_t *sampler = json_deep_copy(json_object_get(graph, "3")), *inputs = json_object_get(sampler, "inputs");
    json_object_set_new(inputs, "denoise", json_real(h->strength > 0 ? h->strength : 0.5));
    json_object_set_new(inputs, "latent_image", json_pack("[s,i]", pixels ? "17" : "15", 0));
    json_object_set_new(inputs, "steps", json_integer(h->steps ? h->steps : r->steps));
    json_object_set_new(graph, "18", sampler);
    json_object_set_new(graph, "8", decode("18"));
}

/* The last steps by another model: 40 loads it, 41 and 42 are its words, 43 its sampler; 3 leaves the noise in. */
static void hand_over(json_t *graph, const struct draw_request *r, const char *positive, int64_t width, int64_t height)
{
    struct draw_request told = *r;
    told.facts.score = told.facts.score > 0 ? told.facts.score : draw_request_facts(r, width, height, false).score;
    json_int_t border = (json_int_t)rint(r->refiner_start * (double)r->steps), all = 10000;
    json_t *inputs = json_object_get(json_object_get(graph, "3"), "inputs");
    json_object_set_new(json_object_get(graph, "3"), "class_type", json_string("KSamplerAdvanced"));
    json_object_set_new(inputs, "noise_seed", json_incref(json_object_get(inputs, "seed")));
    json_object_del(inputs, "seed");
    json_object_del(inputs, "denoise");
    json_t *last = json_deep_copy(json_object_get(graph, "3")), *own = json_object_get(last, "inputs");
    json_object_update_new(inputs, json_pack("{s:s, s:I, s:I, s:s}", "add_noise", "enable", "start_at_step", (json_int_t)0,
                                             "end_at_step", border, "return_with_leftover_noise", "enable"));
    json_object_update_new(own, json_pack("{s:s, s:I, s:I, s:s, s:[s,i], s:[s,i], s:[s,i], s:[s,i]}", "add_noise", "disable",
                                          "start_at_step", border, "end_at_step", all, "return_with_leftover_noise", "disable",
                                          "model", "40", 0, "positive", "41", 0, "negative", "42", 0, "latent_image", "3", 0));
    json_object_set_new(graph, "40", node("CheckpointLoaderSimple",
                                          json_pack("{s:s}", "ckpt_name", r->refiner_name ? r->refiner_name : "refiner.safetensors")));
    json_object_set_new(graph, "41", words(&told, positive, false, width, height, "40", 1));
    json_object_set_new(graph, "42", words(&told, r->negative, true, width, height, "40", 1));
    json_object_set_new(graph, "43", last);
    json_object_set_new(graph, "8", decode("43"));
}

bool record_graph(struct text *out, const struct pipeline *p, const struct draw_request *r, int64_t width, int64_t height,
                  const char *model, struct err *e)
{
    enum prompt_syntax syntax;
    struct prompt read; /* LoRAs are nodes there, not words */
    if (!draw_request_syntax(r, &syntax, e) || !prompt_parse(&read, syntax, r->prompt ? r->prompt : "", e))
        return false;
    bool skips = r->clip_skip > 0, negative_skips = skips && syntax != PROMPT_PLAIN;
    int own_last = p->source.model->family->states == TEXT_PENULTIMATE ? 2 : 1; /* from the end, as ComfyUI counts layers */
    char last[16] = "4"; /* what gives model and clip */
    if (r->lora_count)
        snprintf(last, sizeof last, "%zu", 19 + r->lora_count);
    json_t *sampler = node("KSampler",
                           json_pack("{s:f,s:f,s:[s,i],s:[s,i],s:[s,i],s:[s,i],s:s,s:s,s:I,s:I}", "cfg", r->cfg, "denoise",
                                     r->picture ? r->strength : 1, "latent_image", "5", 0, "model", last, 0, "negative", "7", 0, "positive", "6", 0,
                                     "sampler_name", sampler_of(r), "scheduler", r->schedule ? r->schedule : "normal",
                                     "seed", (json_int_t)r->seed, "steps", (json_int_t)r->steps));
    json_t *load = node("CheckpointLoaderSimple", json_pack("{s:s}", "ckpt_name", model));
    json_t *empty = node("EmptyLatentImage", json_pack("{s:I,s:I,s:I}", "batch_size", (json_int_t)r->batch, "height",
                                                       (json_int_t)(r->hires.width ? r->height : height), "width",
                                                       (json_int_t)(r->hires.width ? r->width : width)));
    json_t *graph = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "3", sampler, "4", load, "5", empty, "6",
                              words(r, read.bare, false, width, height, skips ? "10" : last, skips ? 0 : 1), "7",
                              words(r, r->negative, true, width, height, negative_skips ? "10" : last, negative_skips ? 0 : 1), "8",
                              decode("3"), "9",
                              node("SaveImage", json_pack("{s:s,s:[s,i]}", "filename_prefix", "limn", "images", "8", 0)));
    if (graph && skips)
        json_object_set_new(graph, "10", node("CLIPSetLastLayer", json_pack("{s:[s,i],s:I}", "clip", last, 1,
                                                                            "stop_at_clip_layer",
                                                                            (json_int_t)(-own_last - r->clip_skip))));
    if (graph && r->picture)
        begin_with_picture(graph, r);
    if (graph && r->hires.width)
        draw_again(graph, r);
    if (graph && r->refiner)
        hand_over(graph, r, read.bare, width, height);
    prompt_release(&read);
    char *line = add_loras(graph, r) && add_controls(graph, r) ? json_dumps(graph, JSON_ENSURE_ASCII | JSON_COMPACT) : NULL;
    json_decref(graph);
    if (!line)
        return err_set(e, ERR_NOMEM, "no memory for the picture's record, or its words are not UTF-8");
    text_add(out, line);
    free(line);
    return text_ok(out, e);
}
