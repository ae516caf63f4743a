#include "model/family/alone.h"

#include <stdio.h>
#include <string.h>

#include "model/family/apart.h"
#include "model/family/model_source.h"

/* A file of a folder beside the part's own, as "../vae/config.json"; false with *e clear if it is not there. */
static bool beside(char *out, const char *path, const char *name, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    return apart_folder(folder, path, e) && path_join(out, folder, name, e) && path_exists(out);
}

/* Weights of a folder, or of the part that a file is. */
static struct weights *open_weights(const struct single_file *f, const char *path, enum single_part part, struct err *e)
{
    return f ? single_file_weights(f, part, e) : weights_open(path, e);
}

/* A file that has this part; a folder has none. */
static bool open_file(struct single_file **out, const char *path, enum single_part part, const char *what, struct err *e)
{
    if (path_is_folder(path))
        return true;
    *out = single_file_open(path, e);
    return *out && (single_file_has(*out, part) || err_set(e, ERR_TYPE, "%s holds no %s", path, what));
}

/* --- the denoiser --- */

static bool unet_config_of(struct model_alone *a, const char *path, bool *configured, struct err *e)
{
    char where[PATH_MAX_BYTES] = "";
    json_t *j = apart_config(path, "_class_name", "UNet2DConditionModel", where, e);
    *configured = j != NULL;
    if (!j && !e->code && a->file[0])
        j = single_file_json(a->file[0], "unet", PREDICTS_AUTO, e), snprintf(where, sizeof where, "%s", path);
    else if (!j && !e->code)
        err_set(e, ERR_MISSING, "%s: no config.json of a UNet2DConditionModel", where);
    bool good = j && unet_config_from_json(&a->parts.unet, j, where, e);
    json_decref(j);
    return good;
}

static bool scheduler_of(struct model_alone *a, const char *path, enum single_kind kind, bool configured, struct err *e)
{
    char where[PATH_MAX_BYTES] = "";
    json_t *j = NULL;
    if (configured && beside(where, path, "../scheduler/scheduler_config.json", e))
        j = json_read(where, e);
    else if (!e->code)
        j = a->file[0] ? single_file_json(a->file[0], "scheduler", PREDICTS_AUTO, e) : single_kind_json(kind, "scheduler", e);
    bool good = j && scheduler_config_from_json(&a->scheduler, j, *where ? where : path, e);
    json_decref(j);
    return good;
}

/* What the latents of this denoiser are: channels, cells, factor. */
static bool latents_of(struct model_alone *a, const char *path, enum single_kind kind, bool configured, struct err *e)
{
    char where[PATH_MAX_BYTES] = "";
    bool there = configured && beside(where, path, "../vae/config.json", e);
    json_t *j = e->code ? NULL : there ? json_read(where, e) : single_kind_json(kind, "vae", e);
    if (j && !there && json_object_set_new(j, "block_out_channels", json_pack("[i, i, i, i]", 128, 256, 512, 512)))
        err_nomem(e, "a VAE's config");
    bool good = j && !e->code && vae_config_from_json(&a->parts.vae, j, *where ? where : path, e);
    json_decref(j);
    if (good && !there)
        a->parts.vae.latent_channels = a->parts.unet.out_channels;
    return good;
}

static bool open_unet(struct model_alone *a, const char *path, struct err *e)
{
    bool configured;
    if (!open_file(&a->file[0], path, SINGLE_UNET, "denoiser", e) ||
        !(a->weights[PART_UNET] = open_weights(a->file[0], path, SINGLE_UNET, e)) || !unet_config_of(a, path, &configured, e))
        return false;
    struct unet_config *u = &a->parts.unet;
    struct model_parts *m = &a->parts;
    enum single_kind kind = a->file[0] ? single_file_kind(a->file[0]) : u->text_dim ? KIND_KOLORS : u->text_time ? KIND_SDXL : KIND_SD1;
    m->family = u->text_dim ? &family_kolors : u->text_time ? &family_sdxl : &family_sd;
    m->settings = m->family->pipelines[0].settings;
    m->settings.fills_in = u->in_channels != u->out_channels;
    m->settings.aesthetic_score = kind == KIND_SDXL_REFINER;
    /* the words that it will be given, of which only the widths are known */
    int64_t ids = m->settings.aesthetic_score ? 5 : 6;
    m->text[0].width = unet_text_width(u);
    m->text[0].pooled = u->text_time ? u->addition_width - ids * u->time_ids_dim : 0;
    if (u->text_time && m->text[0].pooled < 1)
        return err_set(e, ERR_FORMAT, "%s: %lld numbers beside the timestep are too few for %lld sizes of %lld", path,
                       (long long)u->addition_width, (long long)ids, (long long)u->time_ids_dim);
    return scheduler_of(a, path, kind, configured, e) && latents_of(a, path, kind, configured, e);
}

/* --- text encoders --- */

/* One of CLIP's in place `part`, from a folder with configs or from a file's shapes. part TEXT_PARTS: where its own tensors say;
 * it is then the second for OpenCLIP's larger one. */
static bool open_clip(struct model_alone *a, int part, int index, const char *path, struct err *e)
{
    char where[PATH_MAX_BYTES] = "", encoder[PATH_MAX_BYTES], words[PATH_MAX_BYTES];
    struct single_file *f = a->file[index];
    json_t *beside_it = apart_config(path, "architectures", "CLIPTextModel", where, e);
    if (e->code)
        return false;
    const char *own = json_string_value(json_array_get(json_object_get(beside_it, "architectures"), 0));
    bool configured = own != NULL, second = own ? !strcmp(own, "CLIPTextModelWithProjection") : f && single_file_text(f) == KIND_SDXL;
    json_decref(beside_it);
    part = part < TEXT_PARTS ? part : second ? PART_TEXT_2 : PART_TEXT;
    const char *class = part == PART_TEXT_2 ? "CLIPTextModelWithProjection" : "CLIPTextModel";
    struct text_encoder *t = &a->parts.text[part];
    bool good = (a->weights[part] = open_weights(f, path, SINGLE_TEXT, e)) != NULL;
    if (good && configured) {
        static const char *const places[] = { "../tokenizer_2", "../tokenizer", "" };
        size_t i = part == PART_TEXT_2 ? 0 : 1;
        while (i < 2 && !beside(where, path, path_of("%s/vocab.json", places[i]).s, e) && !e->code)
            i++;
        good = !e->code && apart_folder(encoder, path, e) && path_join(words, encoder, places[i], e) &&
               text_clip.open(t, class, encoder, words, e);
    } else if (good && !f) {
        good = err_set(e, ERR_MISSING, "%s: no config.json of a CLIPTextModel", path);
    } else if (good) {
        json_t *config = single_file_json(f, "text_encoder", PREDICTS_AUTO, e);
        bool open = single_file_text(f) != KIND_SD1; /* OpenCLIP fills up with another token */
        struct clip_tokenizer *tokenizer = config ? model_source_tokenizer(f, open ? "tokenizer_2" : "tokenizer", e) : NULL;
        good = tokenizer && text_clip_open(t, class, config, path, tokenizer, path, e);
        json_decref(config);
    }
    return good;
}

static bool open_glm(struct model_alone *a, const char *path, struct err *e)
{
    struct model_source s = { 0 };
    a->file[0] = path_join(s.text_path, "", path, e) ? single_file_open(path, e) : NULL;
    s.text = a->file[0];
    return s.text && (single_file_is_glm(s.text) || err_set(e, ERR_TYPE, "%s holds no ChatGLM3", path)) &&
           (a->weights[PART_TEXT] = single_file_weights(s.text, SINGLE_TEXT, e)) && model_source_glm(&s, &a->parts.text[PART_TEXT], e);
}

static bool open_text(struct model_alone *a, const struct alone_files *files, struct err *e)
{
    struct model_parts *m = &a->parts;
    int count = files->type == ALONE_TEXT_SDXL ? 2 : 1;
    for (int i = 0; i < count; i++) {
        if (!files->text[i] || !path_exists(files->text[i]))
            return err_set(e, ERR_MISSING, "%s: no such folder or file, for a text encoder", files->text[i] ? files->text[i] : "");
        if (files->type != ALONE_TEXT_KOLORS && !open_file(&a->file[i], files->text[i], SINGLE_TEXT, "text encoder of CLIP's", e))
            return false;
    }
    bool good;
    if (files->type == ALONE_TEXT_KOLORS) {
        good = open_glm(a, files->text[0], e);
    } else if (files->type == ALONE_TEXT_SDXL) {
        int first = a->file[0] && single_file_text(a->file[0]) == KIND_SDXL && a->file[1] && single_file_text(a->file[1]) != KIND_SDXL;
        good = open_clip(a, PART_TEXT, first, files->text[first], e) && open_clip(a, PART_TEXT_2, !first, files->text[!first], e);
    } else {
        good = open_clip(a, TEXT_PARTS, 0, files->text[0], e);
    }
    m->family = files->type == ALONE_TEXT_KOLORS ? &family_kolors : m->text[PART_TEXT_2].kind ? &family_sdxl : &family_sd;
    m->settings = m->family->pipelines[0].settings;
    m->unet.sample_size = m->unet.out_channels = m->unet.in_channels = m->vae.latent_channels = m->vae.blocks = 1; /* of no picture */
    if (good && m->text[0].kind && m->text[1].kind && m->text[0].tokens != m->text[1].tokens)
        good = err_set(e, ERR_FORMAT, "%s takes %lld tokens, %s %lld: they must be equal", files->text[0], (long long)m->text[0].tokens,
                       files->text[1], (long long)m->text[1].tokens);
    return good;
}

/* --- the VAE --- */

static bool open_vae(struct model_alone *a, const char *path, struct err *e)
{
    char folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    a->parts.family = &family_sd; /* of which nothing counts but that there is one */
    if (path_is_folder(path))
        return path_join(folder, path, "vae", e) && (path_is_folder(folder) || path_join(folder, "", path, e)) &&
               path_join(config, folder, "config.json", e) && vae_config_read(&a->parts.vae, config, e) &&
               (a->weights[PART_VAE] = weights_open(folder, e)) != NULL;
    if (!open_file(&a->file[0], path, SINGLE_VAE, "VAE", e))
        return false;
    json_t *j = apart_config(path, "_class_name", "Autoencoder", config, e);
    if (!j && !e->code)
        j = single_file_json(a->file[0], "vae", PREDICTS_AUTO, e), snprintf(config, sizeof config, "%s", path);
    bool good = j && vae_config_from_json(&a->parts.vae, j, config, e) &&
                (a->weights[PART_VAE] = single_file_weights(a->file[0], SINGLE_VAE, e)) != NULL;
    json_decref(j);
    return good;
}

bool model_alone_open(struct model_alone *a, const struct alone_files *files, struct err *e)
{
    *a = (struct model_alone){ 0 };
    bool good = files->unet ? open_unet(a, files->unet, e) : files->vae ? open_vae(a, files->vae, e) : open_text(a, files, e);
    if (!good)
        model_alone_release(a);
    return good;
}

void model_alone_release(struct model_alone *a)
{
    for (int part = 0; part < PART_COUNT; part++)
        weights_free(a->weights[part]);
    for (int i = 0; i < TEXT_PARTS; i++) {
        text_encoder_release(&a->parts.text[i]);
        single_file_free(a->file[i]);
    }
    scheduler_config_release(&a->scheduler);
    *a = (struct model_alone){ 0 };
}
