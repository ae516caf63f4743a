#include "model/lora/lora_names.h"

#include <math.h>
#include <string.h>

/* The tensor that stands for a module: each of a kind has exactly one of these. rank: where its rank is; -1: nowhere. */
static const struct {
    const char *end, *kind, *layout;
    int rank;
} marks[] = {
    { ".lora_down.weight", "lora", "kohya", 0 },  { ".lora_A.weight", "lora", "peft", 0 },
    { ".lora_A.default.weight", "lora", "peft", 0 }, { ".lora.down.weight", "lora", "diffusers", 0 },
    { "_lora.down.weight", "lora", "diffusers", 0 }, { ".lora_linear_layer.down.weight", "lora", "diffusers", 0 },
    { ".hada_w1_b", "loha", "kohya", 0 },         { ".lokr_w1", "lokr", "kohya", -1 },
    { ".lokr_w1_b", "lokr", "kohya", 0 },         { ".diff", "diff", "kohya", -1 },
};

static const struct { const char *word, *part; } parts[] = {
    { "lora_te2_", "text_encoder_2" }, { "text_encoder_2.", "text_encoder_2" }, { "lora_te1_", "text_encoder" },
    { "lora_te_", "text_encoder" },    { "text_encoder.", "text_encoder" },     { "lora_unet_", "unet" },
    { "unet.", "unet" },               { "text_model.", "text_encoder" },       { "down_blocks", "unet" },
    { "up_blocks", "unet" },           { "mid_block", "unet" },                 { "blocks.", "unet" },
};

/* The first word that is there decides. */
static const struct { const char *word, *target; } targets[] = {
    { "attn", "attention" }, { "to_q", "attention" }, { "to_k", "attention" }, { "to_v", "attention" }, { "to_out", "attention" },
    { "ff_net", "feed_forward" }, { "ff.net", "feed_forward" }, { "mlp", "feed_forward" }, { "conv", "conv" },
    { "resnets", "conv" }, { "in_layers", "conv" }, { "out_layers", "conv" },
};

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcmp(s + n - m, end);
}

static void count(json_t *table, const char *key)
{
    json_object_set_new(table, key, json_integer(json_integer_value(json_object_get(table, key)) + 1));
}

struct range {
    double least, most;
};
static void widen(struct range *r, double v)
{
    r->least = fmin(r->least, v);
    r->most = fmax(r->most, v);
}
static json_t *range_json(struct range r)
{
    if (!(r.most >= r.least))
        return json_null();
    bool whole = r.least == floor(r.least) && r.most == floor(r.most) && fabs(r.most) < 1e15;
    return whole ? json_pack("[I, I]", (json_int_t)r.least, (json_int_t)r.most) : json_pack("[f, f]", r.least, r.most);
}

/* The width of the words' states tells the line of the model: what comes into the keys of a cross attention. */
static const char *base_of(const struct weight *t)
{
    static const struct { int64_t width; const char *name; } bases[] = { { 768, "sd1" }, { 1024, "sd2" }, { 2048, "sdxl" } };
    if (t->shape.rank < 2 || !(strstr(t->name, "attn2_to_k") || strstr(t->name, "attn2.to_k") || strstr(t->name, "attn2.processor.to_k")))
        return NULL;
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        if (t->shape.dim[1] == bases[i].width)
            return bases[i].name;
    return NULL;
}

json_t *lora_names(const struct weights *w, struct err *e)
{
    json_t *kinds = json_object(), *where = json_object(), *what = json_object();
    struct range ranks = { INFINITY, -INFINITY }, alphas = { INFINITY, -INFINITY };
    const char *layout = NULL, *base = NULL;
    size_t modules = 0;
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        if (ends_in(t->name, ".alpha") && shape_count(t->shape) == 1)
            widen(&alphas, dtype_load(t->data, t->type, 0));
        if (ends_in(t->name, ".dora_scale") || ends_in(t->name, ".lora_magnitude_vector"))
            count(kinds, "dora");
        size_t k = 0, most = sizeof marks / sizeof *marks;
        while (k < most && !ends_in(t->name, marks[k].end))
            k++;
        if (k == most)
            continue;
        modules++;
        count(kinds, marks[k].kind);
        layout = !layout || !strcmp(layout, marks[k].layout) ? marks[k].layout : "mixed";
        if (marks[k].rank >= 0 && t->shape.rank > marks[k].rank)
            widen(&ranks, (double)t->shape.dim[marks[k].rank]);
        base = base ? base : base_of(t);
        size_t p = 0;
        while (p < sizeof parts / sizeof *parts && !strstr(t->name, parts[p].word))
            p++;
        count(where, p < sizeof parts / sizeof *parts ? parts[p].part : "other");
        for (p = 0; p < sizeof targets / sizeof *targets && !strstr(t->name, targets[p].word); p++)
            ;
        count(what, p < sizeof targets / sizeof *targets ? targets[p].target : "other");
    }
    json_t *out = NULL;
    if (modules) {
        out = json_pack("{s:s, s:O, s:I, s:o, s:o, s:O, s:O, s:s?}", "naming", layout, "kinds", kinds, "modules",
                        (json_int_t)modules, "rank", range_json(ranks), "alpha", range_json(alphas), "parts", where, "targets",
                        what, "base", base);
        if (!out)
            err_nomem(e, weights_path(w));
    }
    json_decref(kinds);
    json_decref(where);
    json_decref(what);
    return out;
}
