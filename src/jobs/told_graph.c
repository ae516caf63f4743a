/* The flow in a picture's file. Only what is asked for often is read: the flow itself is kept whole beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_text.h"
#include "jobs/told_internal.h"

enum { MOST_DEPTH = 64 };

/* The node behind a link ["4", 0], or NULL. */
static const json_t *linked(const json_t *graph, const json_t *value)
{
    const char *id = json_array_size(value) == 2 ? json_string_value(json_array_get(value, 0)) : NULL;
    const json_t *node = id ? json_object_get(graph, id) : NULL;
    return json_is_object(node) ? node : NULL;
}

static const json_t *input(const json_t *node, const char *name)
{
    return json_object_get(json_object_get(node, "inputs"), name);
}

static const char *class_of(const json_t *node)
{
    const char *class = json_string_value(json_object_get(node, "class_type"));
    return class ? class : "";
}

/* A constant of an input, or of the node of one value that is linked to it (a primitive). */
static const json_t *constant(const json_t *graph, const json_t *node, const char *name)
{
    static const char *const names[] = { "value", "text", "string", "seed", "noise_seed", "int", "float" };
    const json_t *value = input(node, name), *from = linked(graph, value);
    if (!json_is_array(value))
        return value;
    for (size_t i = 0; from && i < sizeof names / sizeof *names; i++) {
        const json_t *own = input(from, names[i]);
        if (own && !json_is_array(own))
            return own;
    }
    return NULL;
}

/* A graph may lead to one node by very many ways: each step back is along one chain, so that the work is bounded. */
static const json_t *chain(const json_t *graph, const json_t *node, const char *const *inputs, bool (*is)(const json_t *node))
{
    for (int depth = 0; node && depth < MOST_DEPTH; depth++) {
        if (is(node))
            return node;
        const json_t *next = NULL;
        for (int i = 0; !next && inputs[i]; i++)
            next = linked(graph, input(node, inputs[i]));
        node = next;
    }
    return NULL;
}

static bool has_text(const json_t *node)
{
    return input(node, "text") || input(node, "text_g");
}

static bool is_sampler(const json_t *node)
{
    return !strncmp(class_of(node), "KSampler", 8) ? strcmp(class_of(node), "KSamplerSelect") != 0 : !strncmp(class_of(node), "SamplerCustom", 13);
}

static bool is_empty_or_picture(const json_t *node)
{
    return !strcmp(class_of(node), "LoadImage") || input(node, "batch_size");
}

static const char *keep_text(struct told *t, const json_t *value)
{
    const char *s = json_string_value(value);
    return s ? told_keep(t, s, strlen(s)) : NULL;
}

static int64_t whole_of(const json_t *value)
{
    return json_is_integer(value) ? json_integer_value(value) : json_is_real(value) ? (int64_t)json_real_value(value) : 0;
}

static void read_words(struct told *t, const json_t *graph, const json_t *from, const char **out)
{
    static const char *const ways[] = { "conditioning", "conditioning_1", "conditioning_to", "positive", NULL };
    const json_t *node = chain(graph, from, ways, has_text);
    if (node && !*out)
        *out = keep_text(t, input(node, "text") ? constant(graph, node, "text") : constant(graph, node, "text_g"));
}

/* Names without folder and ending, as people write them. */
static const char *keep_name(struct told *t, const json_t *value)
{
    const char *s = json_string_value(value), *slash = s ? strrchr(s, '/') : NULL, *back = s ? strrchr(s, '\\') : NULL;
    const char *name = slash || back ? (slash > back ? slash : back) + 1 : s, *dot = name ? strrchr(name, '.') : NULL;
    bool ending = dot && dot > name && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".ckpt") || !strcmp(dot, ".pt") || !strcmp(dot, ".gguf"));
    return name ? told_keep(t, name, ending ? (size_t)(dot - name) : strlen(name)) : NULL;
}

/* The model behind a sampler, through LoRAs. */
static void read_model(struct told *t, struct gallery_facts *f, const json_t *graph, const json_t *node)
{
    static const char *const names[] = { "ckpt_name", "unet_name", "model_name", "model_path", NULL };
    bool has_loras = f->lora_count > 0;
    for (int depth = 0; node && depth < MOST_DEPTH; depth++) {
        if (!has_loras && input(node, "lora_name") && f->lora_count < GALLERY_MOST_LORAS) {
            const char *name = keep_name(t, constant(graph, node, "lora_name"));
            double scale = json_number_value(constant(graph, node, "strength_model"));
            const json_t *clip = constant(graph, node, "strength_clip");
            if (name)
                f->loras[f->lora_count++] = (struct picture_lora){ .name = name, .scale = scale,
                                                                   .text_scale = clip ? json_number_value(clip) : 0 };
        }
        for (int i = 0; names[i] && !f->model; i++)
            f->model = keep_name(t, constant(graph, node, names[i]));
        node = linked(graph, input(node, "model"));
    }
}

static void read_number(struct gallery_facts *f, const json_t *graph, const json_t *sampler)
{
    const json_t *node = sampler, *seed = constant(graph, node, "seed");
    seed = seed ? seed : constant(graph, node, "noise_seed");
    if (!seed && (node = linked(graph, input(sampler, "noise"))))
        seed = constant(graph, node, "noise_seed");
    if (f->has_seed || !seed)
        return;
    f->has_seed = json_is_integer(seed) || json_is_string(seed); /* texts: beyond 2^63 - 1 */
    f->seed = json_is_integer(seed) ? (uint64_t)json_integer_value(seed) : json_is_string(seed) ? strtoull(json_string_value(seed), NULL, 10) : 0;
}

bool told_graph(struct told *t, struct gallery_facts *f, const char *text)
{
    static const char *const ways[] = { "images", "image", "samples", "pixels", "latent_image", "latent", NULL };
    static const char *const latent_ways[] = { "latent_image", "samples", "pixels", "image", NULL };
    struct err ignored = { 0 };
    json_t *graph = json_text_tree(text, "prompt", &ignored), *node;
    const char *id;
    const json_t *sampler = NULL;
    json_object_foreach(graph, id, node) {
        if (!sampler && json_is_object(node) && (!strncmp(class_of(node), "SaveImage", 9) || !strcmp(class_of(node), "PreviewImage")))
            sampler = chain(graph, node, ways, is_sampler);
    }
    json_object_foreach(graph, id, node) {
        if (!sampler && json_is_object(node) && is_sampler(node))
            sampler = node;
    }
    if (!sampler) {
        json_decref(graph);
        return false;
    }
    const json_t *guider = linked(graph, input(sampler, "guider")), *sigmas = linked(graph, input(sampler, "sigmas"));
    const json_t *chosen = linked(graph, input(sampler, "sampler")), *words = guider ? guider : sampler;
    read_number(f, graph, sampler);
    const json_t *steps = constant(graph, sampler, "steps"), *cfg = constant(graph, guider ? guider : sampler, "cfg");
    const json_t *strength = constant(graph, sampler, "denoise"), *latent;
    f->steps = f->steps ? f->steps : whole_of(steps ? steps : constant(graph, sigmas, "steps"));
    f->cfg = f->cfg > 0 ? f->cfg : json_number_value(cfg);
    f->sampler = f->sampler ? f->sampler : keep_text(t, constant(graph, chosen ? chosen : sampler, "sampler_name"));
    f->schedule = f->schedule ? f->schedule : keep_text(t, constant(graph, sigmas ? sigmas : sampler, "scheduler"));
    const json_t *positive = input(words, "positive");
    read_words(t, graph, linked(graph, positive ? positive : input(words, "conditioning")), &f->prompt);
    read_words(t, graph, linked(graph, input(words, "negative")), &f->negative);
    read_model(t, f, graph, linked(graph, input(words, "model")));
    latent = chain(graph, linked(graph, input(sampler, "latent_image")), latent_ways, is_empty_or_picture);
    if (latent && f->strength == 0 && !strcmp(class_of(latent), "LoadImage"))
        f->strength = json_number_value(strength ? strength : constant(graph, sigmas, "denoise"));
    json_decref(graph);
    return true;
}
