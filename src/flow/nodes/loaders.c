/* Files -> MODEL, CLIP, VAE; LoRAs on them. */
#include "flow/nodes/nodes.h"

struct checkpoint_args {
    const char *name;
};
struct config_args {
    const char *config, *name;
};
struct unet_args {
    const char *name, *type;
};
struct clip_args {
    const char *name, *second, *type, *device;
};
struct vae_args {
    const char *name;
};
struct kolors_args {
    const char *unet, *text, *vae;
};
struct lora_args {
    const struct datum *model, *clip;
    const char *name;
    double strength_model, strength_clip;
};

static const struct node_input checkpoint_inputs[] = {
    { "ckpt_name", "COMBO", offsetof(struct checkpoint_args, name), .folder = "checkpoints", .help = "a model: a file, or a folder in diffusers' layout" },
    { 0 },
};
static const struct node_output checkpoint_outputs[] = {
    { "MODEL", NULL, false, "the denoiser" },
    { "CLIP", NULL, false, "the text encoders" },
    { "VAE", NULL, false, "the autoencoder between pixels and latents" },
    { 0 },
};
/* The configs that ComfyUI comes with: of all that they say, what the files of models do not say themselves. */
static const struct { const char *name; enum predicts predicts; int64_t clip_skip; } config_facts[] = {
    { "anything_v3.yaml", PREDICTS_EPSILON, 1 },
    { "v1-inference.yaml", PREDICTS_EPSILON, 0 },
    { "v1-inference_clip_skip_2.yaml", PREDICTS_EPSILON, 1 },
    { "v1-inference_clip_skip_2_fp16.yaml", PREDICTS_EPSILON, 1 },
    { "v1-inference_fp16.yaml", PREDICTS_EPSILON, 0 },
    { "v1-inpainting-inference.yaml", PREDICTS_EPSILON, 0 },
    { "v2-inference-v.yaml", PREDICTS_V, 0 },
    { "v2-inference-v_fp32.yaml", PREDICTS_V, 0 },
    { "v2-inference.yaml", PREDICTS_EPSILON, 0 },
    { "v2-inference_fp32.yaml", PREDICTS_EPSILON, 0 },
    { "v2-inpainting-inference.yaml", PREDICTS_EPSILON, 0 },
};
static const char *config_choice(int index)
{
    return index >= 0 && (size_t)index < sizeof config_facts / sizeof *config_facts ? config_facts[index].name : NULL;
}
static const struct node_input config_inputs[] = {
    { "config_name", "COMBO", offsetof(struct config_args, config), .choice = config_choice, .help = "what the denoiser predicts, and which layer of the text encoder counts" },
    { "ckpt_name", "COMBO", offsetof(struct config_args, name), .folder = "checkpoints" },
    { 0 },
};

static const char *const weight_types[] = { "default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2", NULL };
static const struct node_input unet_inputs[] = {
    { "unet_name", "COMBO", offsetof(struct unet_args, name), .folder = "diffusion_models", .help = "a denoiser alone" },
    { "weight_dtype", "COMBO", offsetof(struct unet_args, type), .choices = weight_types, .flags = NODE_ADVANCED,
      .help = "weights stay in the file's own type, whatever is chosen here" },
    { 0 },
};
static const char *const clip_types[] = { "stable_diffusion", "kolors", NULL }, *const dual_types[] = { "sdxl", NULL };
static const char *const devices[] = { "default", "cpu", NULL };
#define DEVICE                                                                                                                         \
    { "device", "COMBO", offsetof(struct clip_args, device), "default", .choices = devices, .flags = NODE_OPTIONAL | NODE_ADVANCED,    \
      .help = "limn has one device: both are it" }
static const struct node_input clip_inputs[] = {
    { "clip_name", "COMBO", offsetof(struct clip_args, name), .folder = "text_encoders", .flags = NODE_ANY_TEXT, .help = "a text encoder alone" },
    { "type", "COMBO", offsetof(struct clip_args, type), .choices = clip_types, .help = "whose it is: Stable Diffusion 1, 2 and XL's refiner are told apart by the file" },
    DEVICE,
    { 0 },
};
static const struct node_input dual_inputs[] = {
    { "clip_name1", "COMBO", offsetof(struct clip_args, name), .folder = "text_encoders", .help = "CLIP-L" },
    { "clip_name2", "COMBO", offsetof(struct clip_args, second), .folder = "text_encoders", .help = "OpenCLIP-bigG" },
    { "type", "COMBO", offsetof(struct clip_args, type), .choices = dual_types },
    DEVICE,
    { 0 },
};
static const struct node_output clip_outputs[] = { NODE_OUT("CLIP"), { 0 } };

static const struct node_input vae_inputs[] = {
    { "vae_name", "COMBO", offsetof(struct vae_args, name), .folder = "vae" },
    { 0 },
};
static const struct node_input kolors_inputs[] = {
    { "unet_name", "COMBO", offsetof(struct kolors_args, unet), .folder = "diffusion_models", .help = "the denoiser" },
    { "text_encoder_name", "COMBO", offsetof(struct kolors_args, text), .folder = "text_encoders", .flags = NODE_ANY_TEXT,
      .help = "ChatGLM3: its folder, or a file with the tokenizer beside it" },
    { "vae_name", "COMBO", offsetof(struct kolors_args, vae), .folder = "vae", .help = "SDXL's" },
    { 0 },
};
static const struct node_output vae_outputs[] = { NODE_OUT("VAE"), { 0 } };

#define STRENGTH(label, member, text)                                                                                                  \
    { label, "FLOAT", offsetof(struct lora_args, member), "1.0", .min = -100, .max = 100, .step = 0.01, .help = text }
static const struct node_input lora_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct lora_args, model),
    NODE_SOCKET("clip", "CLIP", struct lora_args, clip),
    { "lora_name", "COMBO", offsetof(struct lora_args, name), .folder = "loras" },
    STRENGTH("strength_model", strength_model, "how strongly the denoiser is changed; it may be negative"),
    STRENGTH("strength_clip", strength_clip, "how strongly the text encoders are changed; it may be negative"),
    { 0 },
};
static const struct node_output lora_outputs[] = { NODE_OUT("MODEL"), NODE_OUT("CLIP"), { 0 } };
static const struct node_input lora_model_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct lora_args, model),
    { "lora_name", "COMBO", offsetof(struct lora_args, name), .folder = "loras" },
    STRENGTH("strength_model", strength_model, "how strongly the denoiser is changed; it may be negative"),
    { 0 },
};

/* The file of a name, in a place of these kinds. */
static bool find(const struct node_call *call, unsigned kinds, const char *what, const char *name, char *out, struct err *e)
{
    return model_places_find(call_host(call)->models, kinds, what, name, out, e);
}

/* Gives output `index` a view of the weights. */
static bool give_view(struct node_call *call, int index, const struct datum_type *type, struct flow_weights *w, struct err *e)
{
    return node_give(call, index, datum_of_object(type, flow_model_new(w, e), e), e);
}

static bool checkpoint_run(struct node_call *call, const void *args, struct err *e)
{
    const struct checkpoint_args *a = args;
    char path[PATH_MAX_BYTES];
    if (!find(call, 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS, "model", a->name, path, e))
        return false;
    struct flow_weights *w = engine_weights(call_engine(call), &(struct model_files){ .path = path }, call_host(call)->models, e);
    bool good = w && give_view(call, 0, &type_model, w, e) && give_view(call, 1, &type_clip, w, e) && give_view(call, 2, &type_vae, w, e);
    flow_weights_drop(w);
    return good;
}

static bool config_run(struct node_call *call, const void *args, struct err *e)
{
    const struct config_args *a = args;
    char path[PATH_MAX_BYTES];
    size_t i = 0;
    while (i + 1 < sizeof config_facts / sizeof *config_facts && strcmp(config_facts[i].name, a->config))
        i++;
    if (!find(call, 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS, "model", a->name, path, e))
        return false;
    const struct model_files files = { .path = path, .predicts = config_facts[i].predicts };
    struct flow_weights *w = engine_weights(call_engine(call), &files, call_host(call)->models, e);
    struct flow_model *clip = w ? flow_model_new(w, e) : NULL;
    if (clip)
        clip->clip_skip = config_facts[i].clip_skip;
    bool good = clip && node_give(call, 1, datum_of_object(&type_clip, clip, e), e) && give_view(call, 0, &type_model, w, e) &&
                give_view(call, 2, &type_vae, w, e);
    flow_weights_drop(w);
    return good;
}

/* Gives output 0 a part that is loaded alone. */
static bool give_alone(struct node_call *call, const struct datum_type *type, const struct alone_files *files, struct err *e)
{
    struct flow_weights *w = engine_alone(call_engine(call), files, call_host(call)->models, e);
    bool good = w && give_view(call, 0, type, w, e);
    flow_weights_drop(w);
    return good;
}

static bool unet_run(struct node_call *call, const void *args, struct err *e)
{
    const struct unet_args *a = args;
    char path[PATH_MAX_BYTES];
    return find(call, 1U << MODELS_DIFFUSION_MODELS, "denoiser", a->name, path, e) &&
           give_alone(call, &type_model, &(struct alone_files){ .unet = path }, e);
}

/* A file is another one when its size or time is: hashing gigabytes for each flow would be slow. */
static bool file_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const char *const *name = args; /* the first member of the structs */
    char path[PATH_MAX_BYTES];
    enum model_kind kind = model_kind_of(check->node->inputs[0].folder);
    unsigned kinds = kind == MODELS_VAE ? 1U << MODELS_VAE | 1U << MODELS_VAE_APPROX
                   : kind == MODELS_CHECKPOINTS ? 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS : 1U << kind;
    if (!*name || !model_places_find(check->host->models, kinds, "model", *name, path, e))
        return false;
    return file_token(path, token, e);
}

/* A folder of text encoders' own, which lists of files do not show; else a file. */
static bool find_text(const struct node_call *call, const char *name, char *out, struct err *e)
{
    const struct model_places *places = call_host(call)->models;
    for (size_t i = 0; i < places->count; i++) {
        if (places->items[i].kind != MODELS_TEXT_ENCODERS || !*name || *name == '/' || *name == '.' || strstr(name, ".."))
            continue;
        if (!path_join(out, places->items[i].path, name, e))
            return false;
        if (path_is_folder(out))
            return true;
    }
    return find(call, 1U << MODELS_TEXT_ENCODERS, "text encoder", name, out, e);
}

static bool clip_run(struct node_call *call, const void *args, struct err *e)
{
    const struct clip_args *a = args;
    char first[PATH_MAX_BYTES], second[PATH_MAX_BYTES];
    struct alone_files files = { .text = { first, a->second ? second : NULL },
                                 .type = a->second ? ALONE_TEXT_SDXL : strcmp(a->type, "kolors") ? ALONE_TEXT_SD : ALONE_TEXT_KOLORS };
    return find_text(call, a->name, first, e) && (!a->second || find_text(call, a->second, second, e)) &&
           give_alone(call, &type_clip, &files, e);
}

static bool kolors_run(struct node_call *call, const void *args, struct err *e)
{
    const struct kolors_args *a = args;
    char unet[PATH_MAX_BYTES], text[PATH_MAX_BYTES], vae[PATH_MAX_BYTES];
    if (!find(call, 1U << MODELS_DIFFUSION_MODELS, "denoiser", a->unet, unet, e) ||
        !find_text(call, a->text, text, e) || !find(call, 1U << MODELS_VAE, "VAE", a->vae, vae, e))
        return false;
    const struct model_files files = { .unet = unet, .text_encoder = text, .vae = vae };
    struct flow_weights *w = engine_weights(call_engine(call), &files, call_host(call)->models, e);
    bool good = w && give_view(call, 0, &type_model, w, e) && give_view(call, 1, &type_clip, w, e) && give_view(call, 2, &type_vae, w, e);
    flow_weights_drop(w);
    return good;
}

static bool vae_run(struct node_call *call, const void *args, struct err *e)
{
    const struct vae_args *a = args;
    char path[PATH_MAX_BYTES];
    if (!find(call, 1U << MODELS_VAE | 1U << MODELS_VAE_APPROX, "VAE", a->name, path, e))
        return false;
    return give_alone(call, &type_vae, &(struct alone_files){ .vae = path }, e);
}

/* A view with one LoRA more. */
static struct datum *with_lora(struct node_call *call, const struct datum_type *type, const struct datum *from, const char *path, double unet,
                               double text, struct err *e)
{
    struct flow_model *m = flow_model_copy(model_of(from), e);
    if (!m)
        return NULL;
    const struct lora *lora = NULL;
    if (m->lora_count == LORA_MOST)
        err_set(e, ERR_LIMIT, "more than %d LoRAs", LORA_MOST);
    else
        lora = pipeline_lora(m->weights->pipeline, path, 0, e);
    if (!lora) {
        flow_model_free(m);
        return NULL;
    }
    m->loras[m->lora_count++] = (struct draw_lora){ .lora = lora, .unet = unet, .text = text };
    struct lora_facts f = lora_facts(lora);
    if (f.unused_count)
        node_tell(call, "%s: the model has no place for %zu of its keys, as %s", path_name(path), f.unused_count, f.unused[0]);
    return datum_of_object(type, m, e);
}

static bool lora_run(struct node_call *call, const void *args, struct err *e)
{
    const struct lora_args *a = args;
    char path[PATH_MAX_BYTES];
    if (a->strength_model == 0 && a->strength_clip == 0)
        return give_same(call, 0, a->model, e) &&
               give_same(call, 1, a->clip, e);
    return find(call, 1U << MODELS_LORAS, "LoRA", a->name, path, e) &&
           node_give(call, 0, with_lora(call, &type_model, a->model, path, a->strength_model, a->strength_clip, e), e) &&
           node_give(call, 1, with_lora(call, &type_clip, a->clip, path, a->strength_model, a->strength_clip, e), e);
}

static bool lora_model_run(struct node_call *call, const void *args, struct err *e)
{
    const struct lora_args *a = args;
    char path[PATH_MAX_BYTES];
    if (a->strength_model == 0)
        return give_same(call, 0, a->model, e);
    return find(call, 1U << MODELS_LORAS, "LoRA", a->name, path, e) &&
           node_give(call, 0, with_lora(call, &type_model, a->model, path, a->strength_model, 0, e), e);
}

static bool lora_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const struct lora_args *a = args;
    char path[PATH_MAX_BYTES];
    return a->name && model_places_find(check->host->models, 1U << MODELS_LORAS, "LoRA", a->name, path, e) && file_token(path, token, e);
}

const struct node nodes_loaders[] = {
    { "CheckpointLoaderSimple", "Load Checkpoint", "Loads a model: denoiser, text encoders and VAE.", "loaders", checkpoint_inputs,
      checkpoint_outputs, .args_bytes = sizeof(struct checkpoint_args), .run = checkpoint_run, .changed = file_changed,
      .aliases = "load model, checkpoint, kolors, sdxl" },
    { "CheckpointLoader", "Load Checkpoint With Config (DEPRECATED)", "Loads a model whose file does not say what it predicts.", "advanced/loaders",
      config_inputs, checkpoint_outputs, .args_bytes = sizeof(struct config_args), .run = config_run, .flags = NODE_DEPRECATED },
    { "UNETLoader", "Load Diffusion Model", "Loads a denoiser alone.", "advanced/loaders", unet_inputs, model_output,
      .args_bytes = sizeof(struct unet_args), .run = unet_run, .changed = file_changed, .aliases = "unet, denoiser" },
    { "CLIPLoader", "Load CLIP", "Loads a text encoder alone: CLIP's of Stable Diffusion 1 or 2, that of XL's refiner, or Kolors' ChatGLM3.",
      "advanced/loaders", clip_inputs, clip_outputs, .args_bytes = sizeof(struct clip_args), .run = clip_run },
    { "DualCLIPLoader", NULL, "Loads SDXL's two text encoders, which lie apart.", "advanced/loaders", dual_inputs, clip_outputs,
      .args_bytes = sizeof(struct clip_args), .run = clip_run },
    { "KolorsLoader", "Load Kolors", "Loads a Kolors whose parts lie apart: denoiser, ChatGLM3 and VAE.", "loaders", kolors_inputs,
      checkpoint_outputs, .args_bytes = sizeof(struct kolors_args), .run = kolors_run },
    { "VAELoader", "Load VAE", "Loads a VAE of its own, in place of a model's.", "loaders", vae_inputs, vae_outputs,
      .args_bytes = sizeof(struct vae_args), .run = vae_run, .changed = file_changed },
    { "LoraLoader", "Load LoRA", "Changes denoiser and text encoders by a LoRA. Several are put behind each other.", "loaders", lora_inputs,
      lora_outputs, .args_bytes = sizeof(struct lora_args), .run = lora_run, .changed = lora_changed },
    { "LoraLoaderModelOnly", NULL, "Changes the denoiser by a LoRA, and leaves the text encoders.", "loaders", lora_model_inputs,
      model_output, .args_bytes = sizeof(struct lora_args), .run = lora_model_run, .changed = lora_changed },
    { 0 },
};
