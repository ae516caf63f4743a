/* CONDITIONING: where, when and how strongly words count. */
#include "flow/nodes/nodes.h"

struct pair_args {
    const struct datum *a, *b;
    double strength;
};
struct area_args {
    const struct datum *conditioning;
    int64_t width, height, x, y;
    double part_width, part_height, part_x, part_y, strength;
};
struct mask_args {
    const struct datum *conditioning, *mask;
    double strength;
    const char *area;
};
struct range_args {
    const struct datum *conditioning;
    double start, end, strength;
};

static const struct node_input combine_inputs[] = {
    NODE_SOCKET("conditioning_1", "CONDITIONING", struct pair_args, a),
    NODE_SOCKET("conditioning_2", "CONDITIONING", struct pair_args, b),
    { 0 },
};
static const struct node_input concat_inputs[] = {
    NODE_SOCKET("conditioning_to", "CONDITIONING", struct pair_args, a),
    NODE_SOCKET("conditioning_from", "CONDITIONING", struct pair_args, b),
    { 0 },
};
static const struct node_input average_inputs[] = {
    NODE_SOCKET("conditioning_to", "CONDITIONING", struct pair_args, a),
    NODE_SOCKET("conditioning_from", "CONDITIONING", struct pair_args, b),
    { "conditioning_to_strength", "FLOAT", offsetof(struct pair_args, strength), "1.0", .min = 0, .max = 1, .step = 0.01 },
    { 0 },
};
#define STRENGTH(args) { "strength", "FLOAT", offsetof(struct args, strength), "1.0", .min = 0, .max = 10, .step = 0.01 }
#define PIXELS(label, member, initial, least)                                                                                         \
    { label, "INT", offsetof(struct area_args, member), initial, .min = least, .max = MOST_SIDE, .step = 8, .help = "pixels" }
#define PART(label, member, initial)                                                                                                  \
    { label, "FLOAT", offsetof(struct area_args, member), initial, .min = 0, .max = 1, .step = 0.01, .help = "part of the picture's side" }
static const struct node_input area_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct area_args, conditioning),
    PIXELS("width", width, "64", 64), PIXELS("height", height, "64", 64), PIXELS("x", x, "0", 0), PIXELS("y", y, "0", 0),
    STRENGTH(area_args),
    { 0 },
};
static const struct node_input area_part_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct area_args, conditioning),
    PART("width", part_width, "1.0"), PART("height", part_height, "1.0"), PART("x", part_x, "0.0"), PART("y", part_y, "0.0"),
    STRENGTH(area_args),
    { 0 },
};
static const struct node_input area_strength_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct range_args, conditioning),
    STRENGTH(range_args),
    { 0 },
};
static const char *const areas[] = { "default", "mask bounds", NULL };
static const struct node_input mask_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct mask_args, conditioning),
    NODE_SOCKET("mask", "MASK", struct mask_args, mask),
    STRENGTH(mask_args),
    { "set_cond_area", "COMBO", offsetof(struct mask_args, area), .choices = areas,
      .help = "mask bounds: only the rectangle around the mask is drawn by these words" },
    { 0 },
};
static const struct node_input zero_inputs[] = { NODE_SOCKET("conditioning", "CONDITIONING", struct range_args, conditioning), { 0 } };
static const struct node_input range_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct range_args, conditioning),
    { "start", "FLOAT", offsetof(struct range_args, start), "0.0", .min = 0, .max = 1, .step = 0.001, .help = "part of the run" },
    { "end", "FLOAT", offsetof(struct range_args, end), "1.0", .min = 0, .max = 1, .step = 0.001, .help = "part of the run" },
    { 0 },
};

static bool give(struct node_call *call, struct flow_conditioning *c, struct err *e)
{
    return node_give(call, 0, datum_of_object(&type_conditioning, c, e), e);
}

static bool combine_run(struct node_call *call, const void *args, struct err *e)
{
    const struct pair_args *a = args;
    const struct flow_conditioning *x = conditioning_of(a->a), *y = conditioning_of(a->b);
    struct flow_conditioning *c = flow_conditioning_new(x->count + y->count, e);
    for (size_t i = 0; c && i < c->count; i++)
        if (!stage_condition_copy(&c->at[i], i < x->count ? &x->at[i] : &y->at[i - x->count], e)) {
            flow_conditioning_free(c);
            c = NULL;
        }
    return give(call, c, e);
}

static bool same_width(const struct stage_condition *a, const struct stage_condition *b, struct err *e)
{
    return a->width == b->width || err_set(e, ERR_SHAPE, "words of width %lld and %lld: they are of different models", (long long)a->width,
                                           (long long)b->width);
}

/* The first of `from`, which is all that both nodes look at. */
static const struct stage_condition *first_of(struct node_call *call, const struct datum *d, struct err *e)
{
    const struct flow_conditioning *c = conditioning_of(d);
    if (!c->count)
        err_set(e, ERR_ARG, "conditioning_from has no words");
    else if (c->count > 1)
        node_tell(call, "conditioning_from has %zu texts: the first counts", c->count);
    return c->count ? &c->at[0] : NULL;
}

static bool concat_run(struct node_call *call, const void *args, struct err *e)
{
    const struct pair_args *a = args;
    const struct stage_condition *from = first_of(call, a->b, e);
    struct flow_conditioning *c = from ? flow_conditioning_copy(conditioning_of(a->a), e) : NULL;
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *to = &c->at[i];
        size_t own = (size_t)(to->tokens * to->width), more = (size_t)(from->tokens * from->width);
        float *states = same_width(to, from, e) ? mem_aligned((own + more) * sizeof *states) : NULL;
        if (!states) {
            if (!e->code)
                err_nomem(e, "words");
            flow_conditioning_free(c);
            return false;
        }
        memcpy(states, to->states, own * sizeof *states);
        memcpy(states + own, from->states, more * sizeof *states);
        mem_free(to->states);
        to->states = states;
        to->tokens += from->tokens;
    }
    return give(call, c, e);
}

/* A shorter `from` is filled with zeros, a longer one cut off. */
static bool average_run(struct node_call *call, const void *args, struct err *e)
{
    const struct pair_args *a = args;
    const struct stage_condition *from = first_of(call, a->b, e);
    struct flow_conditioning *c = from ? flow_conditioning_copy(conditioning_of(a->a), e) : NULL;
    float part = (float)a->strength, rest = (float)(1 - a->strength);
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *to = &c->at[i];
        if (!same_width(to, from, e)) {
            flow_conditioning_free(c);
            return false;
        }
        for (int64_t k = 0; k < to->tokens * to->width; k++)
            to->states[k] = to->states[k] * part + (k < from->tokens * from->width ? from->states[k] : 0) * rest;
        for (int64_t k = 0; from->pooled && k < to->pooled_width && k < from->pooled_width; k++)
            to->pooled[k] = to->pooled[k] * part + from->pooled[k] * rest;
    }
    return give(call, c, e);
}

static bool area_run(struct node_call *call, const void *args, struct err *e)
{
    const struct area_args *a = args;
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *at = &c->at[i];
        at->area = AREA_PIXELS;
        at->area_width = (double)a->width;
        at->area_height = (double)a->height;
        at->area_x = (double)a->x;
        at->area_y = (double)a->y;
        at->strength = a->strength;
        at->mask_bounds = false;
    }
    return give(call, c, e);
}

static bool area_part_run(struct node_call *call, const void *args, struct err *e)
{
    const struct area_args *a = args;
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *at = &c->at[i];
        at->area = AREA_PARTS;
        at->area_width = a->part_width;
        at->area_height = a->part_height;
        at->area_x = a->part_x;
        at->area_y = a->part_y;
        at->strength = a->strength;
        at->mask_bounds = false;
    }
    return give(call, c, e);
}

static bool area_strength_run(struct node_call *call, const void *args, struct err *e)
{
    const struct range_args *a = args;
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    for (size_t i = 0; c && i < c->count; i++)
        c->at[i].strength = a->strength;
    return give(call, c, e);
}

static bool mask_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_mask *m = mask_of(a->mask);
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    size_t numbers = (size_t)(m->n * m->h * m->w);
    for (size_t i = 0; c && i < c->count; i++) {
        struct stage_condition *at = &c->at[i];
        mem_free(at->mask);
        at->mask = mem_aligned(numbers * sizeof *at->mask);
        if (!at->mask) {
            flow_conditioning_free(c);
            return err_nomem(e, "a mask");
        }
        memcpy(at->mask, m->at, numbers * sizeof *at->mask);
        at->mask_n = m->n;
        at->mask_h = m->h;
        at->mask_w = m->w;
        at->mask_strength = a->strength;
        at->mask_bounds = strcmp(a->area, "default") != 0;
    }
    return give(call, c, e);
}

static bool zero_run(struct node_call *call, const void *args, struct err *e)
{
    const struct range_args *a = args;
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    for (size_t i = 0; c && i < c->count; i++) {
        memset(c->at[i].states, 0, (size_t)(c->at[i].tokens * c->at[i].width) * sizeof(float));
        if (c->at[i].pooled)
            memset(c->at[i].pooled, 0, (size_t)c->at[i].pooled_width * sizeof(float));
    }
    return give(call, c, e);
}

static bool range_run(struct node_call *call, const void *args, struct err *e)
{
    const struct range_args *a = args;
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(a->conditioning), e);
    for (size_t i = 0; c && i < c->count; i++) {
        c->at[i].start = a->start;
        c->at[i].end = a->end;
    }
    return give(call, c, e);
}

#define NODE(name_, title_, help_, category_, inputs_, args_, run_)                                                                   \
    { name_, title_, help_, category_, inputs_, conditioning_output, .args_bytes = sizeof(struct args_), .run = run_ }
const struct node nodes_conditioning[] = {
    NODE("ConditioningCombine", "Conditioning (Combine)", "Draws by two texts at a time: what the model says for them is averaged.",
         "conditioning", combine_inputs, pair_args, combine_run),
    NODE("ConditioningAverage", NULL, "Mixes two texts into one.", "conditioning", average_inputs, pair_args, average_run),
    NODE("ConditioningConcat", "Conditioning (Concat)", "Puts one text behind another.", "conditioning", concat_inputs, pair_args, concat_run),
    NODE("ConditioningSetArea", "Conditioning (Set Area)", "Lets words count in a rectangle only.", "conditioning", area_inputs, area_args,
         area_run),
    NODE("ConditioningSetAreaPercentage", "Conditioning (Set Area with Percentage)", "Lets words count in a part of the picture only.",
         "conditioning", area_part_inputs, area_args, area_part_run),
    NODE("ConditioningSetAreaStrength", NULL, "Lets words count more or less than others that are combined with them.", "conditioning",
         area_strength_inputs, range_args, area_strength_run),
    NODE("ConditioningSetMask", "Conditioning (Set Mask)", "Lets words count where a mask is white.", "conditioning", mask_inputs, mask_args,
         mask_run),
    NODE("ConditioningZeroOut", NULL, "Zeros in place of what the text encoders say.", "advanced/conditioning", zero_inputs, range_args,
         zero_run),
    NODE("ConditioningSetTimestepRange", NULL, "Lets words count in a part of the run only.", "advanced/conditioning", range_inputs, range_args,
         range_run),
    { 0 },
};
