#include "flow/picture_record.h"

#include <string.h>

#include "base/mem.h"
#include "flow/flow_internal.h"

enum { MOST_STEPS = 200 };

static const json_t *inputs_of(const json_t *flow, const char *id)
{
    return json_object_get(json_object_get(flow, id), "inputs");
}

static const char *class_of(const json_t *flow, const char *id)
{
    const char *class = json_string_value(json_object_get(json_object_get(flow, id), "class_type"));
    return class ? class : "";
}

/* The nearest node upstream of `id`, itself too, that has all of these inputs. steps bounds the walk: a flow may be a large web. */
static const char *find_up(const json_t *flow, const char *id, const char *const wanted[2], int *steps)
{
    const json_t *inputs = inputs_of(flow, id);
    const char *name, *from;
    json_t *value;
    int64_t output;
    if (!inputs || (*steps)++ > MOST_STEPS)
        return NULL;
    if (json_object_get(inputs, wanted[0]) && json_object_get(inputs, wanted[1]))
        return id;
    json_object_foreach((json_t *)(uintptr_t)inputs, name, value) {
        const char *found = flow_is_link(value, &from, &output) ? find_up(flow, from, wanted, steps) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

static const char *linked(const json_t *flow, const char *id, const char *input)
{
    const char *from;
    int64_t output;
    return flow_is_link(json_object_get(inputs_of(flow, id), input), &from, &output) ? from : NULL;
}

/* A constant input as a text, or that of the node it is linked to, one step. */
static void add_value(struct text *out, const json_t *flow, const char *id, const char *input)
{
    const json_t *value = json_object_get(inputs_of(flow, id), input);
    int64_t bits;
    bool large;
    if (flow_json_is_whole(value, &bits, &large))
        text_addf(out, large ? "%llu" : "%lld", (long long)bits);
    else if (json_is_string(value))
        text_add(out, json_string_value(value));
    else if (json_is_number(value))
        text_addf(out, "%g", json_number_value(value));
}

static void add_named(struct text *out, const json_t *flow, const char *id, const char *label, const char *input)
{
    const json_t *value = id ? json_object_get(inputs_of(flow, id), input) : NULL;
    if (!value || json_is_array(value))
        return;
    text_addf(out, "%s: ", label);
    add_value(out, flow, id, input);
    text_add(out, ", ");
}

static void add_words(struct text *out, const json_t *flow, const char *sampler, const char *input, const char *label)
{
    const char *from = linked(flow, sampler, input), *const wanted[2] = { "text", "clip" };
    int steps = 0;
    const char *words = from ? find_up(flow, from, wanted, &steps) : NULL;
    const json_t *text = words ? json_object_get(inputs_of(flow, words), "text") : NULL;
    if (!json_is_string(text) || (label && !json_string_length(text)))
        return;
    if (label)
        text_addf(out, "\n%s: ", label);
    text_add(out, json_string_value(text));
}

/* The prompt, then "Negative prompt: ...", then "Steps: 20, Sampler: euler, ...". False: there is no sampler to tell of. */
static bool parameters(struct text *out, const json_t *flow, const char *id, const struct flow_host *host, int64_t width, int64_t height)
{
    const char *const plain[2] = { "sampler_name", "positive" }, *const checkpoint[2] = { "ckpt_name", "ckpt_name" };
    int steps = 0;
    const char *sampler = find_up(flow, id, plain, &steps);
    if (!sampler)
        return false;
    add_words(out, flow, sampler, "positive", NULL);
    add_words(out, flow, sampler, "negative", "Negative prompt");
    text_add(out, "\n");
    add_named(out, flow, sampler, "Steps", "steps");
    add_named(out, flow, sampler, "Sampler", "sampler_name");
    add_named(out, flow, sampler, "Schedule type", "scheduler");
    add_named(out, flow, sampler, "CFG scale", "cfg");
    add_named(out, flow, sampler, "Seed", json_object_get(inputs_of(flow, sampler), "seed") ? "seed" : "noise_seed");
    text_addf(out, "Size: %lldx%lld, ", (long long)width, (long long)height);
    steps = 0;
    const char *model = find_up(flow, sampler, checkpoint, &steps);
    add_named(out, flow, model, "Model", "ckpt_name");
    const json_t *denoise = json_object_get(inputs_of(flow, sampler), "denoise");
    if (json_is_number(denoise) && json_number_value(denoise) < 1)
        add_named(out, flow, sampler, "Denoising strength", "denoise");
    text_addf(out, "Version: limn %s", host->version ? host->version : "");
    return strcmp(class_of(flow, sampler), "") != 0;
}

static struct text *add(struct picture_record *r, const char *key)
{
    struct text *t = &r->values[r->count];
    text_init(t, FLOW_MAX_BYTES);
    r->texts[r->count].key = key;
    r->count++;
    return t;
}

/* What a PNG's key may be. */
static bool is_key(const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < length; i++)
        if (key[i] < ' ' || key[i] > '~')
            return false;
    return length >= 1 && length <= 79 && strcmp(key, "prompt") && strcmp(key, "parameters");
}

bool picture_record_init(struct picture_record *r, const json_t *flow, const json_t *png_info, const char *id, const struct flow_host *host,
                         int64_t width, int64_t height, struct err *e)
{
    const char *key;
    json_t *value;
    *r = (struct picture_record){ 0 };
    if (!flow)
        return true;
    flow_json_text(add(r, "prompt"), flow);
    json_object_foreach((json_t *)(uintptr_t)png_info, key, value)
        if (is_key(key) && r->count < PICTURE_TEXTS - 1)
            flow_json_text(add(r, key), value);
    struct text *line = add(r, "parameters");
    if (!parameters(line, flow, id, host, width, height))
        text_clear(line);
    if (!line->length)
        text_release(&r->values[--r->count]);
    for (size_t i = 0; i < r->count; i++) {
        r->texts[i].value = text_string(&r->values[i]);
        if (!text_ok(&r->values[i], e)) {
            picture_record_release(r);
            return false;
        }
    }
    return true;
}

void picture_record_release(struct picture_record *r)
{
    for (size_t i = 0; i < r->count; i++)
        text_release(&r->values[i]);
    *r = (struct picture_record){ 0 };
}
