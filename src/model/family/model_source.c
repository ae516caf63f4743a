#include "model/family/model_source.h"

#include <string.h>

#include "base/mem.h"
#include "model/family/apart.h"
#include "tokenizer/chatglm_tokenizer.h"

/* A VAE of its own: a file, or a folder. */
static bool open_vae(struct model_source *s, const char *path, struct err *e)
{
    if (!path_join(s->vae_path, "", path, e) || path_is_folder(s->vae_path))
        return !e->code;
    s->vae = single_file_open(s->vae_path, e);
    return s->vae && (single_file_has(s->vae, SINGLE_VAE) || err_set(e, ERR_TYPE, "%s holds no VAE", s->vae_path));
}

/* A text encoder of its own: whatever weights.h opens. */
static bool open_text(struct model_source *s, const char *path, struct err *e)
{
    if (!path_join(s->text_path, "", path, e))
        return false;
    s->text = single_file_open(s->text_path, e);
    return s->text && (single_file_has(s->text, SINGLE_TEXT) || err_set(e, ERR_TYPE, "%s holds no text encoder", s->text_path));
}

static bool open_apart(struct model_source *s, const struct model_files *files, struct err *e)
{
    const struct { const char *what, *path; } parts[] = { { "denoiser", files->unet }, { "text encoder", files->text_encoder },
                                                          { "VAE", files->vae } };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i].path)
            return err_set(e, ERR_ARG, "the %s of a model in parts is not named", parts[i].what);
        if (!path_exists(parts[i].path))
            return err_set(e, ERR_MISSING, "%s: no such folder or file, for the %s", parts[i].path, parts[i].what);
    }
    s->apart = true;
    if (path_join(s->path, "", files->unet, e) && open_text(s, files->text_encoder, e) && open_vae(s, files->vae, e))
        return true;
    model_source_release(s);
    return false;
}

bool model_source_open(struct model_source *s, const struct model_files *files, struct err *e)
{
    *s = (struct model_source){ .predicts = files->predicts };
    if (!files->path)
        return open_apart(s, files, e);
    if (!path_join(s->path, "", files->path, e))
        return false;
    if (!path_exists(s->path))
        return err_set(e, ERR_MISSING, "%s: no such folder or file", s->path);
    bool folder = path_is_folder(s->path), good = true;
    if (folder && files->config)
        return err_set(e, ERR_ARG, "%s is a folder, which has its own configs: a config folder is for a file", s->path);
    if (folder || files->config)
        good = path_join(s->config, "", folder ? s->path : files->config, e);
    if (good && files->config && !path_is_folder(s->config))
        good = err_set(e, ERR_MISSING, "%s: no such folder", s->config);
    if (good && !folder)
        good = (s->file = single_file_open(s->path, e)) != NULL;
    if (good && files->vae)
        good = open_vae(s, files->vae, e);
    if (good && files->text_encoder)
        good = open_text(s, files->text_encoder, e);
    if (!good)
        model_source_release(s);
    return good;
}

void model_source_release(struct model_source *s)
{
    single_file_free(s->file);
    single_file_free(s->vae);
    single_file_free(s->text);
    *s = (struct model_source){ 0 };
}

/* folder/part/name of a config */
static bool config_path(char *out, const char *folder, const char *part, struct err *e)
{
    const char *name = !*part ? "model_index.json" : !strcmp(part, "scheduler") ? "scheduler_config.json"
                     : !strncmp(part, "tokenizer", 9) ? "tokenizer_config.json" : "config.json";
    char below[PATH_MAX_BYTES];
    return path_join(below, folder, part, e) && path_join(out, *part ? below : folder, name, e);
}

/* A VAE of its own in a folder may be the folder of the VAE or of a whole model. */
static bool vae_folder(char *out, const struct model_source *s, struct err *e)
{
    return path_join(out, s->vae_path, "vae", e) && (path_is_folder(out) || path_join(out, "", s->vae_path, e));
}

/* Sizes of a VAE's file in the model's own config: groups and scaling are what its latents were made with. */
static json_t *vae_json(const struct model_source *s, json_t *model, struct err *e)
{
    static const char *const from_shapes[] = { "block_out_channels", "down_block_types", "up_block_types", "latent_channels",
                                               "layers_per_block", "mid_block_add_attention", "use_quant_conv",
                                               "use_post_quant_conv" };
    json_t *own = single_file_json(s->vae, "vae", PREDICTS_AUTO, e);
    const char *class = json_string_value(json_object_get(own, "_class_name"));
    if (class && !strcmp(class, "AutoencoderTiny")) { /* its latents are the denoiser's own, whatever the model's VAE is */
        json_decref(model);
        return own;
    }
    if (!own && e->code == ERR_TYPE) { /* unusual sizes: those of the model's config must be right */
        err_clear(e);
        return model;
    }
    for (size_t i = 0; own && i < sizeof from_shapes / sizeof *from_shapes; i++)
        json_object_set(model, from_shapes[i], json_object_get(own, from_shapes[i]));
    if (!own) {
        json_decref(model);
        model = NULL;
    }
    json_decref(own);
    return model;
}

/* A named text encoder's: of the config folder, or beside it, or of its shapes. */
static json_t *text_json(const struct model_source *s, char where[PATH_MAX_BYTES], struct err *e)
{
    char folder[PATH_MAX_BYTES];
    if (s->config[0] && (!config_path(where, s->config, "text_encoder", e) || path_exists(where)))
        return e->code ? NULL : json_read(where, e);
    if (!apart_folder(folder, s->text_path, e) || !path_join(where, folder, "config.json", e))
        return NULL;
    json_t *j = path_exists(where) ? json_read(where, e) : NULL;
    if (e->code || (j && json_object_get(j, "model_type") && !json_object_get(j, "_class_name")))
        return j;
    json_decref(j); /* of something else that lies there */
    return path_join(where, "", s->text_path, e) ? single_file_json(s->text, "text_encoder", PREDICTS_AUTO, e) : NULL;
}

json_t *model_source_json(const struct model_source *s, const char *part, char where[PATH_MAX_BYTES], struct err *e)
{
    char folder[PATH_MAX_BYTES];
    bool vae = s->vae_path[0] && !strcmp(part, "vae");
    if (vae && !s->vae)
        return vae_folder(folder, s, e) && path_join(where, folder, "config.json", e) ? json_read(where, e) : NULL;
    json_t *j = NULL;
    if (s->text && !strcmp(part, "text_encoder")) {
        j = text_json(s, where, e);
    } else if (s->apart) {
        j = apart_json(part, vae ? s->vae_path : s->path, where, e);
    } else if (s->config[0]) {
        j = config_path(where, s->config, part, e) ? json_read(where, e) : NULL;
    } else if (path_join(where, "", s->path, e)) {
        bool lent = vae && !single_file_has(s->file, SINGLE_VAE);
        j = lent ? single_kind_json(single_file_kind(s->file), part, e) : single_file_json(s->file, part, s->predicts, e);
        if (!j && *part && e->code == ERR_MISSING)
            err_add(e, "--vae and --text-encoder name such a part, or --config a folder that has it");
    }
    if (j && s->predicts != PREDICTS_AUTO && !strcmp(part, "scheduler") &&
        json_object_set_new(j, "prediction_type", json_string(predicts_names[s->predicts]))) {
        json_decref(j);
        j = NULL;
        err_nomem(e, where);
    }
    return j && vae ? vae_json(s, j, e) : j;
}

const char *model_source_configs(const struct model_source *s)
{
    return s->config[0] ? s->config : NULL;
}

bool model_source_text(const struct model_source *s, const char *part, const char *tokenizer_part, char *encoder, char *tokenizer,
                       struct err *e)
{
    return path_join(encoder, s->config, part, e) && path_join(tokenizer, s->config, tokenizer_part, e);
}

bool model_source_pieces(const struct model_source *s, char **data, size_t *bytes, char where[PATH_MAX_BYTES], struct err *e)
{
    char beside[2][PATH_MAX_BYTES] = { "", "" };
    const struct single_file *files[] = { s->text, s->file };
    if ((s->text_path[0] && !apart_folder(beside[0], s->text_path, e)) ||
        (s->file && !apart_folder(beside[1], s->path, e)))
        return false;
    /* Kolors' first folder keeps it beside the weights */
    const struct { const char *folder, *below; } places[] = {
        { s->config, "tokenizer" }, { s->config, "text_encoder" }, { beside[0], "../tokenizer" }, { beside[0], "" }, { beside[1], "" },
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char folder[PATH_MAX_BYTES];
        if (!places[i].folder[0])
            continue;
        if (!path_join(folder, places[i].folder, places[i].below, e) || !path_join(where, folder, "tokenizer.model", e))
            return false;
        if (path_exists(where))
            return file_read(where, CHATGLM_MODEL_MAX_BYTES, data, bytes, e);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct weight *t = files[i] ? single_file_pieces(files[i]) : NULL;
        if (!t)
            continue;
        *bytes = weight_bytes(t);
        *data = mem_aligned(*bytes + 1);
        if (!*data)
            return err_nomem(e, "a tokenizer");
        memcpy(*data, t->data, *bytes);
        return path_join(where, "", weights_path(single_file_all(files[i])), e);
    }
    return err_set(e, ERR_MISSING, "no tokenizer.model, by which ChatGLM3 reads words: it is looked for in --config's folder, beside the "
                   "text encoder, and within its file");
}

bool model_source_glm(const struct model_source *s, struct text_encoder *t, struct err *e)
{
    char where[PATH_MAX_BYTES], place[PATH_MAX_BYTES], *data = NULL;
    size_t bytes = 0;
    json_t *config = model_source_json(s, "text_encoder", where, e);
    struct chatglm_tokenizer *words = NULL;
    if (config && model_source_pieces(s, &data, &bytes, place, e))
        words = chatglm_tokenizer_parse(data, bytes, place, e);
    bool good = words && text_chatglm_open(t, config, where, words, place, e);
    mem_free(data);
    json_decref(config);
    return good;
}

struct weights *model_source_weights(const struct model_source *s, const char *part, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    bool vae = s->vae_path[0] && !strcmp(part, "vae");
    const struct single_file *file = vae ? s->vae : s->file;
    if (s->text && !strcmp(part, "text_encoder"))
        return single_file_weights(s->text, SINGLE_TEXT, e);
    if (s->apart && !vae)
        return weights_open(s->path, e);
    for (int i = 0; file && i < SINGLE_PARTS; i++)
        if (!strcmp(part, single_part_names[i]) && (single_file_has(file, (enum single_part)i) || !s->config[0]))
            return single_file_weights(file, (enum single_part)i, e);
    if (!(vae ? vae_folder(folder, s, e) : path_join(folder, s->config, part, e)))
        return NULL;
    struct weights *w = weights_open(folder, e);
    if (!w && s->file && e->code == ERR_MISSING)
        err_add(e, "%s has none; --vae and --text-encoder name such a part", s->path);
    return w;
}

struct clip_tokenizer *model_source_tokenizer(const struct single_file *file, const char *part, struct err *e)
{
    char path[PATH_MAX_BYTES];
    json_t *config = single_file_json(file, part, PREDICTS_AUTO, e);
    struct clip_tokenizer *t = NULL;
    if (config && clip_vocabulary_find(path, e))
        t = clip_tokenizer_open_vocabulary(path, config, e);
    json_decref(config);
    return t;
}
