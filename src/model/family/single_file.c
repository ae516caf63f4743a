#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/family/glm_file.h"
#include "model/family/single_internal.h"
#include "model/layer/net.h"

const char *const predicts_names[PREDICTS_COUNT] = { "auto", "epsilon", "v_prediction" };
const char *const single_part_names[SINGLE_PARTS] = { "text_encoder", "text_encoder_2", "unet", "vae" };
const char *const single_kind_names[KIND_COUNT] = { "none", "sd1", "sd2", "sdxl", "sdxl-refiner", "kolors" };
const char *const single_kind_titles[KIND_COUNT] = { "no kind", "Stable Diffusion 1", "Stable Diffusion 2",
                                                         "Stable Diffusion XL", "Stable Diffusion XL refiner", "Kolors" };

/* Where parts may lie: the first row of a part whose witness is there. ComfyUI and others write the same prefixes. */
static const struct {
    enum single_part part;
    const char *prefix, *witness;
    enum single_naming naming;
} places[] = {
    { SINGLE_UNET, "model.diffusion_model.", "input_blocks.0.0.weight", NAMING_LDM },
    { SINGLE_UNET, "", "input_blocks.0.0.weight", NAMING_LDM },
    { SINGLE_UNET, "control_model.", "input_blocks.0.0.weight", NAMING_LDM },
    { SINGLE_UNET, "", "down_blocks.0.resnets.0.norm1.weight", NAMING_DIFFUSERS },
    { SINGLE_UNET, "unet.", "down_blocks.0.resnets.0.norm1.weight", NAMING_DIFFUSERS },
    { SINGLE_VAE, "first_stage_model.", "decoder.mid.block_1.norm1.weight", NAMING_LDM },
    { SINGLE_VAE, "", "decoder.mid.block_1.norm1.weight", NAMING_LDM },
    { SINGLE_VAE, "vae.", "decoder.mid.block_1.norm1.weight", NAMING_LDM },
    { SINGLE_VAE, "", "decoder.mid_block.resnets.0.norm1.weight", NAMING_DIFFUSERS },
    { SINGLE_VAE, "vae.", "decoder.mid_block.resnets.0.norm1.weight", NAMING_DIFFUSERS },
    { SINGLE_VAE, "", "decoder.layers.2.conv.0.weight", NAMING_DIFFUSERS },
    { SINGLE_VAE, "", "taesd_decoder.3.conv.0.weight", NAMING_TINY },
    { SINGLE_VAE, "", "3.conv.0.weight", NAMING_TINY_DECODER },
    { SINGLE_TEXT, "cond_stage_model.transformer.", "text_model.embeddings.token_embedding.weight", NAMING_LDM },
    { SINGLE_TEXT, "cond_stage_model.transformer.", "embeddings.token_embedding.weight", NAMING_LDM },
    { SINGLE_TEXT, "cond_stage_model.model.", "transformer.resblocks.0.attn.in_proj_weight", NAMING_OPENCLIP },
    { SINGLE_TEXT, "conditioner.embedders.0.transformer.", "text_model.embeddings.token_embedding.weight", NAMING_LDM },
    { SINGLE_TEXT, "", "text_model.embeddings.token_embedding.weight", NAMING_LDM },
    { SINGLE_TEXT, "", "embeddings.token_embedding.weight", NAMING_LDM },
    { SINGLE_TEXT, "", "transformer.resblocks.0.attn.in_proj_weight", NAMING_OPENCLIP },
    { SINGLE_TEXT, "conditioner.embedders.0.transformer.", GLM_WITNESS, NAMING_GLM },
    { SINGLE_TEXT, "cond_stage_model.transformer.", GLM_WITNESS, NAMING_GLM },
    { SINGLE_TEXT, "text_encoder.", GLM_WITNESS, NAMING_GLM },
    { SINGLE_TEXT, "transformer.", GLM_WITNESS, NAMING_GLM },
    { SINGLE_TEXT, "", GLM_WITNESS, NAMING_GLM },
    { SINGLE_TEXT, "", GLM_GGML_WITNESS, NAMING_GLM_GGML },
    { SINGLE_TEXT_2, "conditioner.embedders.1.model.", "transformer.resblocks.0.attn.in_proj_weight", NAMING_OPENCLIP },
    { SINGLE_TEXT_2, "conditioner.embedders.0.model.", "transformer.resblocks.0.attn.in_proj_weight", NAMING_OPENCLIP },
};

/* What other lines of models have, for an error that helps. */
static const struct { const char *witness, *what; } strangers[] = {
    { "double_blocks.0.img_attn.qkv.weight", "a Flux model" },
    { "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a Flux model" },
    { "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "a Stable Diffusion 3 model" },
    { "joint_blocks.0.context_block.attn.qkv.weight", "a Stable Diffusion 3 model" },
    { "control_model.input_blocks.0.0.weight", "a ControlNet" },
    { "controlnet_cond_embedding.conv_in.weight", "a ControlNet" },
    { "input_hint_block.0.weight", "a ControlNet" },
    { "emb_params", "a textual-inversion embedding" },
    { "clip_l", "a textual-inversion embedding" },
};

const struct weight *single_find(const struct single_file *f, enum single_part part, const char *name)
{
    return weights_find(f->all, path_of("%s%s", f->place[part].prefix, name).s);
}

static bool has(const struct single_file *f, enum single_part part, struct path name)
{
    return single_find(f, part, name.s) != NULL;
}

static bool strange(const struct single_file *f, const char *what, struct path where, struct err *e)
{
    return err_set(e, ERR_TYPE, "%s: %s at %s%s, which no model that is known here has", weights_path(f->all), what,
                   f->place[SINGLE_UNET].prefix, where.s);
}

/* One resnet of the way down: which level it belongs to is seen from the blocks that halve the size. */
static bool unet_block(struct single_file *f, size_t level, int block, struct err *e)
{
    struct ldm_unet *u = &f->unet;
    bool attention = has(f, SINGLE_UNET, path_of("input_blocks.%d.1.norm.weight", block));
    if (u->layers[level] == LDM_MAX_LAYERS)
        return strange(f, "too many blocks of one size", path_of("input_blocks.%d", block), e);
    if (u->layers[level] && attention != u->down_attention[level])
        return strange(f, attention ? "an attention" : "no attention", path_of("input_blocks.%d.1", block), e);
    u->down_attention[level] = attention;
    u->layers[level]++;
    return true;
}

/* The numbered blocks of LDM's UNet, walked as they are. */
static bool unet_layout(struct single_file *f, struct err *e)
{
    struct ldm_unet *u = &f->unet;
    size_t level = 0;
    for (int block = 1; level < LDM_MAX_LEVELS; block++) {
        if (has(f, SINGLE_UNET, path_of("input_blocks.%d.0.op.weight", block)))
            level++;
        else if (!has(f, SINGLE_UNET, path_of("input_blocks.%d.0.in_layers.0.weight", block)))
            break;
        else if (!unet_block(f, level, block, e))
            return false;
    }
    if (level == LDM_MAX_LEVELS)
        return strange(f, "too many sizes", path_of("input_blocks"), e);
    u->levels = level + 1;
    if (f->control)
        return true;
    int block = 0;
    for (size_t i = u->levels; i-- > 0; block += (int)u->layers[i] + 1) {
        u->up_attention[i] = has(f, SINGLE_UNET, path_of("output_blocks.%d.1.norm.weight", block));
        for (int j = 0; j <= u->layers[i]; j++) {
            if (!has(f, SINGLE_UNET, path_of("output_blocks.%d.0.in_layers.0.weight", block + j)))
                return strange(f, "nothing", path_of("output_blocks.%d.0", block + j), e);
            if (has(f, SINGLE_UNET, path_of("output_blocks.%d.1.norm.weight", block + j)) != u->up_attention[i])
                return strange(f, "another kind of block", path_of("output_blocks.%d.1", block + j), e);
        }
    }
    if (!has(f, SINGLE_UNET, path_of("middle_block.1.norm.weight")))
        return strange(f, "no attention", path_of("middle_block.1"), e);
    return true;
}

static void vae_layout(struct single_file *f)
{
    struct ldm_vae *v = &f->vae;
    while (v->levels < LDM_MAX_LEVELS && has(f, SINGLE_VAE, path_of("decoder.up.%zu.block.0.norm1.weight", v->levels)))
        v->levels++;
    while (v->layers < LDM_MAX_LAYERS &&
           has(f, SINGLE_VAE, path_of("decoder.up.0.block.%d.norm1.weight", (int)v->layers + 1)))
        v->layers++;
}

/* The UNet tells the family by how it is made, whatever its sizes. */
static enum single_kind kind_of(const struct single_file *f)
{
    bool diffusers = f->place[SINGLE_UNET].naming == NAMING_DIFFUSERS;
    if (!f->place[SINGLE_UNET].there)
        return KIND_NONE;
    if (has(f, SINGLE_UNET, path_of("encoder_hid_proj.weight")))
        return KIND_KOLORS; /* the only one here that brings text states to another width */
    bool label = has(f, SINGLE_UNET, path_of(diffusers ? "add_embedding.linear_1.weight" : "label_emb.0.0.weight"));
    if (label && !f->place[SINGLE_TEXT].there && f->place[SINGLE_TEXT_2].there)
        return KIND_SDXL_REFINER;
    if (label && (f->place[SINGLE_TEXT].there || f->place[SINGLE_TEXT_2].there))
        return KIND_SDXL;
    static const char *const cross[] = { "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
                                         "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight" };
    const struct weight *k = single_find(f, SINGLE_UNET, cross[diffusers]);
    if (label) /* a UNet alone: base and refiner have different text states */
        return k && shape_last(k->shape) == 1280 ? KIND_SDXL_REFINER : KIND_SDXL;
    static const char *const inside[][2] = { { "input_blocks.1.1.proj_in.weight", "input_blocks.4.1.proj_in.weight" },
                                             { "down_blocks.0.attentions.0.proj_in.weight",
                                               "down_blocks.1.attentions.0.proj_in.weight" } };
    const struct weight *proj = single_find(f, SINGLE_UNET, inside[diffusers][0]);
    proj = proj ? proj : single_find(f, SINGLE_UNET, inside[diffusers][1]);
    return proj && proj->shape.rank == 2 ? KIND_SD2 : KIND_SD1;
}

static bool unknown(const struct single_file *f, struct err *e)
{
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        if (weights_find(f->all, strangers[i].witness))
            return err_set(e, ERR_TYPE, "%s: this looks like %s; models of Stable Diffusion 1, 2 and XL and Kolors, and VAEs and "
                           "text encoders of those, are known", weights_path(f->all), strangers[i].what);
    for (size_t i = 0; i < weights_count(f->all); i++) {
        const char *name = weights_at(f->all, i)->name;
        if (!strncmp(name, "lora_", 5) || strstr(name, ".lora_") || strstr(name, "_lora."))
            return err_set(e, ERR_TYPE, "%s: this is a LoRA (\"%.100s\"), not a model", weights_path(f->all), name);
    }
    return err_set(e, ERR_TYPE, "%s: none of its %zu tensors are those of a UNet, a VAE or a text encoder that is known here (the "
                   "first is \"%.100s\")", weights_path(f->all), weights_count(f->all),
                   weights_count(f->all) ? weights_at(f->all, 0)->name : "");
}

static bool recognise(struct single_file *f, struct err *e)
{
    bool any = false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct single_place *p = &f->place[places[i].part];
        if (p->there || !weights_find(f->all, path_of("%s%s", places[i].prefix, places[i].witness).s))
            continue;
        *p = (struct single_place){ true, places[i].prefix, places[i].naming };
        any = true;
    }
    if (!any)
        return unknown(f, e);
    f->kind = kind_of(f);
    f->control = has(f, SINGLE_UNET, path_of("input_hint_block.0.weight")) ||
                 has(f, SINGLE_UNET, path_of("controlnet_cond_embedding.conv_in.weight"));
    /* The one text encoder of Stable Diffusion 2 may lie where XL's refiner has its own. */
    struct single_place *first = &f->place[SINGLE_TEXT], *second = &f->place[SINGLE_TEXT_2];
    if (f->kind == KIND_SD2 && !first->there && second->there) {
        *first = *second;
        *second = (struct single_place){ 0 };
    }
    for (int part = 0; part < SINGLE_PARTS; part++) {
        if (!f->place[part].prefix)
            f->place[part].prefix = "";
        while (f->place[part].naming == NAMING_OPENCLIP &&
               has(f, (enum single_part)part, path_of("transformer.resblocks.%lld.ln_1.weight",
                                                      (long long)f->text_layers[part])))
            f->text_layers[part]++;
    }
    if (f->place[SINGLE_VAE].there && f->place[SINGLE_VAE].naming == NAMING_LDM)
        vae_layout(f);
    return !f->place[SINGLE_UNET].there || f->place[SINGLE_UNET].naming != NAMING_LDM || unet_layout(f, e);
}

static struct single_file *open_as(const char *path, bool control, struct err *e)
{
    struct single_file *f = mem_zeroed(1, sizeof *f);
    if (!f) {
        err_nomem(e, path);
        return NULL;
    }
    bool good = (f->all = weights_open(path, e)) && recognise(f, e);
    if (good && control && !f->control)
        good = err_set(e, ERR_TYPE, "%s is no ControlNet: it has no \"input_hint_block\" or \"controlnet_cond_embedding\"", path);
    if (good && f->control != control)
        good = unknown(f, e);
    if (good)
        return f;
    single_file_free(f);
    return NULL;
}

struct single_file *single_file_open(const char *path, struct err *e)
{
    return open_as(path, false, e);
}

struct single_file *single_control_open(const char *path, struct err *e)
{
    return open_as(path, true, e);
}

void single_file_free(struct single_file *f)
{
    if (!f)
        return;
    weights_free(f->all);
    mem_free(f);
}

const struct weights *single_file_all(const struct single_file *f)
{
    return f->all;
}

enum single_kind single_file_kind(const struct single_file *f)
{
    return f->kind;
}

bool single_file_has(const struct single_file *f, enum single_part part)
{
    return f->place[part].there;
}

enum { MOST_OF_L = 12, MOST_OF_H = 24 }; /* OpenCLIP-bigG has 32 layers, H 24, CLIP-L 12 */

static int64_t text_layers(const struct single_file *f)
{
    int64_t n = f->text_layers[SINGLE_TEXT];
    while (n < 1000 && (has(f, SINGLE_TEXT, path_of("text_model.encoder.layers.%lld.layer_norm1.weight", (long long)n)) ||
                        has(f, SINGLE_TEXT, path_of("encoder.layers.%lld.layer_norm1.weight", (long long)n))))
        n++;
    return n;
}

enum single_kind single_file_text(const struct single_file *f)
{
    int64_t layers = text_layers(f);
    return layers > MOST_OF_H ? KIND_SDXL : layers > MOST_OF_L ? KIND_SD2 : KIND_SD1;
}

const char *single_file_prefix(const struct single_file *f, enum single_part part)
{
    return f->place[part].prefix;
}

bool single_file_is_plain(const struct single_file *f, enum single_part part)
{
    return f->place[part].naming == NAMING_DIFFUSERS;
}

bool single_file_is_glm(const struct single_file *f)
{
    const struct single_place *p = &f->place[SINGLE_TEXT];
    return p->there && (p->naming == NAMING_GLM || p->naming == NAMING_GLM_GGML);
}

const struct weight *single_file_pieces(const struct single_file *f)
{
    const struct weight *t = single_find(f, SINGLE_TEXT, GLM_PIECES);
    t = t ? t : weights_find(f->all, GLM_PIECES);
    return t && t->shape.rank == 1 && (t->type == DTYPE_U8 || t->type == DTYPE_I8) ? t : NULL;
}

bool single_file_inpaints(const struct single_file *f)
{
    const struct weight *w = single_find(f, SINGLE_UNET, single_file_is_plain(f, SINGLE_UNET) ? "conv_in.weight"
                                                                                              : "input_blocks.0.0.weight");
    return w && w->shape.rank == 4 && w->shape.dim[1] == 9;
}

static double deviation(const struct weight *w)
{
    int64_t count = shape_count(w->shape);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        double v = dtype_load(w->data, w->type, i);
        sum += v;
        squares += v * v;
    }
    double mean = count ? sum / (double)count : 0;
    return count ? sqrt(fmax(squares / (double)count - mean * mean, 0)) : 0;
}

/* Nothing in the tensors' names or shapes tells it. The file's own word is asked first (modelspec, and the empty tensors "v_pred"
 * that makers of XL models add); then, for Stable Diffusion 2, how far the biases of one norm are spread, as ComfyUI
 * (comfy/supported_models.py, SD20.model_type): those of 768-v are spread wider than 0.09. */
enum predicts single_file_predicts(const struct single_file *f, const char **how)
{
    const char *said = weights_metadata(f->all, "modelspec.prediction_type");
    const char *ignored;
    how = how ? how : &ignored;
    *how = "as its family";
    if (said && (!strcmp(said, "v") || !strcmp(said, "v_prediction") || !strcmp(said, "epsilon"))) {
        *how = "the file's metadata says so";
        return *said == 'v' ? PREDICTS_V : PREDICTS_EPSILON;
    }
    if (weights_find(f->all, "v_pred")) {
        *how = "the file has a tensor \"v_pred\"";
        return PREDICTS_V;
    }
    if (f->kind != KIND_SD2 || single_file_inpaints(f))
        return PREDICTS_EPSILON;
    const struct weight *bias =
        single_find(f, SINGLE_UNET, single_file_is_plain(f, SINGLE_UNET)
                                        ? "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
                                        : "output_blocks.11.1.transformer_blocks.0.norm1.bias");
    if (!bias)
        return PREDICTS_EPSILON;
    *how = "as the spread of output_blocks.11's biases says";
    return deviation(bias) > 0.09 ? PREDICTS_V : PREDICTS_EPSILON;
}

struct weights *single_file_weights(const struct single_file *f, enum single_part part, struct err *e)
{
    const struct single_place *p = &f->place[part];
    struct name_map map;
    if (part == SINGLE_TEXT && single_file_is_glm(f))
        return glm_view(f->all, p->prefix, p->naming == NAMING_GLM_GGML, e);
    name_map_init(&map);
    bool good = p->there || err_set(e, ERR_MISSING, "%s has no %s", weights_path(f->all), single_part_names[part]);
    if (good && p->naming == NAMING_DIFFUSERS)
        good = ldm_same_names(&map, e);
    else if (good && p->naming == NAMING_OPENCLIP)
        good = ldm_openclip_names(&map, f->text_layers[part], e);
    else if (good && p->naming >= NAMING_TINY)
        good = ldm_tiny_vae_names(&map, p->naming == NAMING_TINY, e);
    else if (good && part == SINGLE_UNET)
        good = ldm_unet_names(&map, &f->unet, e) && (!f->control || ldm_control_names(&map, e));
    else if (good && part == SINGLE_VAE)
        good = ldm_vae_names(&map, &f->vae, e);
    else if (good)
        good = ldm_clip_names(&map, e);
    struct weights *view = good ? name_map_view(&map, f->all, p->prefix, e) : NULL;
    name_map_release(&map);
    return view;
}
