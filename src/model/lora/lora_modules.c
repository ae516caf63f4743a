/* The modules of a model and every name that files give them. Names are never guessed: each spelling is made from a module that
 * the model's graph asked for, so what is found is there. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/lora/lora_internal.h"

/* A name with '_' for every '.', as kohya writes it; part and module of it. */
struct lora_spelling {
    char *text;    /* "unet/down_blocks_0_..."; owned */
    size_t module; /* index into lora_modules.at */
};

void lora_modules_init(struct lora_modules *m)
{
    *m = (struct lora_modules){ 0 };
}

void lora_modules_release(struct lora_modules *m)
{
    for (size_t i = 0; i < m->count; i++)
        mem_free(m->at[i].name);
    for (size_t i = 0; i < m->spelling_count; i++)
        mem_free(m->spellings[i].text);
    for (size_t i = 0; i < m->part_count; i++)
        mem_free((char *)(uintptr_t)m->parts[i]);
    mem_free(m->at);
    mem_free(m->spellings);
    lora_modules_init(m);
}

static bool spell(struct lora_modules *m, size_t module, const char *part, const char *name, struct err *e)
{
    struct lora_spelling *grown = mem_grow(m->spellings, &m->spelling_cap, m->spelling_count + 1, sizeof *grown);
    if (grown)
        m->spellings = grown;
    char *text = grown ? mem_string(path_of("%s/%s", part, name).s) : NULL;
    if (!text)
        return err_nomem(e, "the names of modules");
    for (char *p = text + strlen(part); *p; p++)
        if (*p == '.')
            *p = '_';
    m->spellings[m->spelling_count++] = (struct lora_spelling){ text, module };
    return true;
}

static int by_spelling(const void *a, const void *b)
{
    const struct lora_spelling *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->module > y->module) - (x->module < y->module);
}

/* --- the UNet's shape, read from its names --- */

enum { MOST_BLOCKS = 16 };

struct unet_names {
    int downs, ups;
    int down_layers[MOST_BLOCKS], up_layers[MOST_BLOCKS]; /* resnets of a block */
    bool down_attention[MOST_BLOCKS], up_attention[MOST_BLOCKS], mid_attention;
    bool sampler[2][MOST_BLOCKS]; /* a block of down_blocks, up_blocks ends in one */
};

static void note(struct unet_names *u, const char *name)
{
    char kind[16], sort[32];
    int block, layer;
    if (!strncmp(name, "mid_block.attentions.", 21))
        u->mid_attention = true;
    if (sscanf(name, "%15[a-z]_blocks.%d.%31[a-z].%d", kind, &block, sort, &layer) != 4 || block < 0 || layer < 0 ||
        block >= MOST_BLOCKS || layer >= 1000)
        return;
    bool up = !strcmp(kind, "up");
    if (!up && strcmp(kind, "down"))
        return;
    int *blocks = up ? &u->ups : &u->downs, *layers = up ? u->up_layers : u->down_layers;
    *blocks = block + 1 > *blocks ? block + 1 : *blocks;
    if (!strcmp(sort, "resnets"))
        layers[block] = layer + 1 > layers[block] ? layer + 1 : layers[block];
    if (!strcmp(sort, "attentions"))
        (up ? u->up_attention : u->down_attention)[block] = true;
    if (!strcmp(sort, up ? "upsamplers" : "downsamplers"))
        u->sampler[up][block] = true;
}

/* Number of the LDM module that holds a layer: input_blocks and output_blocks count layers and downsamplers in a row (Rombach et
 * al. 2022, openaimodel.py), input_blocks.0 being conv_in. */
static int ldm_number(const struct unet_names *u, bool up, int block, int layer)
{
    int number = up ? 0 : 1;
    for (int i = 0; i < block; i++)
        number += up ? u->up_layers[i] : u->down_layers[i] + 1;
    return number + layer;
}

/* The same in DiffSynth, whose UNet is one list: a layer is resnet, attention (where there is one) and the push of its result,
 * a downsampler is followed by a push; on the way up a pop comes before each resnet. place: 0 resnet, 1 attention. */
static int diffsynth_number(const struct unet_names *u, bool up, bool mid, int block, int layer, int place)
{
    int number = 0;
    for (int i = 0; i < u->downs; i++) {
        int each = 2 + u->down_attention[i];
        if (!up && !mid && i == block)
            return number + layer * each + place;
        number += u->down_layers[i] * each + 2 * u->sampler[0][i];
    }
    if (mid)
        return number + (layer ? 1 + u->mid_attention : place);
    number += 2 + u->mid_attention;
    for (int i = 0; i < u->ups; i++) {
        int each = 2 + u->up_attention[i];
        if (i == block)
            return number + layer * each + 1 + place;
        number += u->up_layers[i] * each + u->sampler[1][i];
    }
    return number;
}

/* Inside a resnet. */
static const struct { const char *ours, *ldm; } resnet_names[] = {
    { "norm1", "in_layers.0" }, { "conv1", "in_layers.2" }, { "time_emb_proj", "emb_layers.1" }, { "norm2", "out_layers.0" },
    { "conv2", "out_layers.3" }, { "conv_shortcut", "skip_connection" },
};
/* Outside of blocks. */
static const struct { const char *ours, *ldm; } single_names[] = {
    { "conv_in", "input_blocks.0.0" }, { "conv_norm_out", "out.0" }, { "conv_out", "out.2" },
    { "time_embedding.linear_1", "time_embed.0" }, { "time_embedding.linear_2", "time_embed.2" },
    { "add_embedding.linear_1", "label_emb.0.0" }, { "add_embedding.linear_2", "label_emb.0.2" },
};

static const char *inside_resnet(const char *rest)
{
    for (size_t i = 0; i < sizeof resnet_names / sizeof *resnet_names; i++)
        if (!strcmp(rest, resnet_names[i].ours))
            return resnet_names[i].ldm;
    return rest;
}

/* The name that LDM (SD 1 and 2, SDXL single files, and so kohya's SDXL files) gives a UNet module; "" for none. */
static struct path ldm_name(const struct unet_names *u, const char *name)
{
    char kind[16], sort[32];
    int block, layer, at = 0;
    for (size_t i = 0; i < sizeof single_names / sizeof *single_names; i++)
        if (!strcmp(name, single_names[i].ours))
            return path_of("%s", single_names[i].ldm);
    if (sscanf(name, "mid_block.%31[a-z].%d.%n", sort, &layer, &at) == 2 && at) {
        if (!strcmp(sort, "attentions"))
            return path_of("middle_block.1.%s", name + at);
        return path_of("middle_block.%d.%s", layer ? 1 + u->mid_attention : 0, inside_resnet(name + at));
    }
    at = 0;
    if (sscanf(name, "%15[a-z]_blocks.%d.%31[a-z].%d.%n", kind, &block, sort, &layer, &at) != 4 || !at || block < 0 ||
        block >= MOST_BLOCKS)
        return path_of("%s", "");
    bool up = !strcmp(kind, "up");
    const char *row = up ? "output_blocks" : "input_blocks";
    if (!strcmp(sort, "resnets"))
        return path_of("%s.%d.0.%s", row, ldm_number(u, up, block, layer), inside_resnet(name + at));
    if (!strcmp(sort, "attentions"))
        return path_of("%s.%d.1.%s", row, ldm_number(u, up, block, layer), name + at);
    if (up) /* behind the last layer of its block */
        return path_of("%s.%d.%d.conv", row, ldm_number(u, up, block, u->up_layers[block] - 1), 1 + u->up_attention[block]);
    return path_of("%s.%d.0.op", row, ldm_number(u, up, block, u->down_layers[block]));
}

/* DiffSynth's name of what lies in an attention block; "" for the rest, which its LoRA trainer does not touch. */
static struct path diffsynth_name(const struct unet_names *u, const char *name)
{
    char kind[16];
    int block = 0, layer = 0, at = 0;
    bool mid = sscanf(name, "mid_block.attentions.%d.%n", &layer, &at) == 1 && at;
    if (!mid && (sscanf(name, "%15[a-z]_blocks.%d.attentions.%d.%n", kind, &block, &layer, &at) != 3 || !at || block < 0 ||
                 block >= MOST_BLOCKS))
        return path_of("%s", "");
    bool up = !mid && !strcmp(kind, "up");
    return path_of("blocks.%d.%s", diffsynth_number(u, up, mid, block, mid ? 0 : layer, 1), name + at);
}

/* --- all spellings of one module --- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* What old diffusers files call the projections of an attention, whose module was one object: "attn1.processor.to_q_lora". */
static const struct { const char *end, *other; } projections[] = {
    { ".to_q", ".processor.to_q" }, { ".to_k", ".processor.to_k" }, { ".to_v", ".processor.to_v" },
    { ".to_out.0", ".processor.to_out" }, { ".to_out.0", ".to_out" },
    { ".q_proj", ".to_q" }, { ".k_proj", ".to_k" }, { ".v_proj", ".to_v" }, { ".out_proj", ".to_out" },
};

static bool spell_with_projections(struct lora_modules *m, size_t module, const char *part, const char *name, struct err *e)
{
    if (!name[0])
        return true;
    if (!spell(m, module, part, name, e))
        return false;
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++)
        if (ends_with(name, projections[i].end)) {
            int kept = (int)(strlen(name) - strlen(projections[i].end));
            if (!spell(m, module, part, path_of("%.*s%s", kept, name, projections[i].other).s, e))
                return false;
        }
    return true;
}

static bool spell_all(struct lora_modules *m, size_t module, const char *part, const struct unet_names *unet, struct err *e)
{
    static const char text[] = "text_model.";
    const char *name = m->at[module].name + strlen(part) + 1;
    if (!spell_with_projections(m, module, part, name, e))
        return false;
    if (!strncmp(name, text, sizeof text - 1) && !spell_with_projections(m, module, part, name + sizeof text - 1, e))
        return false;
    return strcmp(part, "unet") || (spell_with_projections(m, module, part, ldm_name(unet, name).s, e) &&
                                    spell_with_projections(m, module, part, diffsynth_name(unet, name).s, e));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lora_module *)a)->name, ((const struct lora_module *)b)->name);
}

/* The module of "<name>.weight" in params, if this is one. */
static bool add_module(struct lora_modules *m, const struct params *params, const struct param *p, struct err *e)
{
    size_t length = strlen(p->name) - 7;
    struct lora_module *grown = mem_grow(m->at, &m->cap, m->count + 1, sizeof *grown);
    if (grown)
        m->at = grown;
    char *name = grown ? mem_zeroed(length + 1, 1) : NULL;
    if (!name)
        return err_nomem(e, "the modules of a model");
    memcpy(name, p->name, length);
    bool bias = params_find(params, path_of("%s.bias", name).s) != NULL;
    /* what decays in training are the matrices and kernels of layers; norms and embeddings have no input to branch from */
    m->at[m->count++] = (struct lora_module){ name, p->shape, bias, p->decay };
    return true;
}

bool lora_modules_add(struct lora_modules *m, const char *part, const struct params *params, struct err *e)
{
    struct unet_names unet = { 0 };
    size_t first = m->count, length = strlen(part);
    if (m->part_count == sizeof m->parts / sizeof *m->parts)
        return err_set(e, ERR_LIMIT, "a model of more than %zu parts", m->part_count);
    if (!(m->parts[m->part_count] = mem_string(part)))
        return err_nomem(e, part);
    m->part_count++;
    for (size_t i = 0; i < params->count; i++) {
        const char *name = params->at[i].name;
        bool ours = !strncmp(name, part, length) && name[length] == '/' && ends_with(name, ".weight");
        if (ours && !add_module(m, params, &params->at[i], e))
            return false;
    }
    if (m->count > first)
        qsort(m->at + first, m->count - first, sizeof *m->at, by_name);
    for (size_t i = first; i < m->count; i++)
        note(&unet, m->at[i].name + length + 1);
    for (size_t i = first; i < m->count; i++)
        if (!spell_all(m, i, part, &unet, e))
            return false;
    if (m->spelling_count)
        qsort(m->spellings, m->spelling_count, sizeof *m->spellings, by_spelling);
    return true;
}

/* Whether it is one of the UNet's; then what all names together tell of the blocks. */
static bool of_unet(const struct lora_modules *m, const struct lora_module *module, struct unet_names *unet)
{
    if (strncmp(module->name, "unet/", 5))
        return false;
    for (size_t i = 0; i < m->count; i++)
        if (!strncmp(m->at[i].name, "unet/", 5))
            note(unet, m->at[i].name + 5);
    return true;
}

struct path lora_module_ldm_name(const struct lora_modules *m, const struct lora_module *module)
{
    struct unet_names unet = { 0 };
    return of_unet(m, module, &unet) ? ldm_name(&unet, module->name + 5) : path_of("%s", "");
}

struct path lora_module_diffsynth_name(const struct lora_modules *m, const struct lora_module *module)
{
    struct unet_names unet = { 0 };
    struct path name = of_unet(m, module, &unet) ? diffsynth_name(&unet, module->name + 5) : path_of("%s", "");
    if (ends_with(name.s, ".to_out.0")) /* there it is the layer itself */
        name.s[strlen(name.s) - 2] = 0;
    return name;
}

static int by_text(const void *text, const void *spelling)
{
    return strcmp(text, ((const struct lora_spelling *)spelling)->text);
}

const struct lora_module *lora_modules_find(const struct lora_modules *m, const char *part, const char *stem)
{
    char text[400];
    if (snprintf(text, sizeof text, "%s/%s", part, stem) >= (int)sizeof text || !m->spelling_count)
        return NULL;
    const struct lora_spelling *s = bsearch(text, m->spellings, m->spelling_count, sizeof *s, by_text);
    return s ? &m->at[s->module] : NULL;
}
