#include "model/family/folder.h"

const char *const model_part_names[PART_COUNT] = { "text_encoder", "unet", "vae" };

static const char pipeline_class[] = "StableDiffusionPipeline";

/* path/part/name */
static bool part_path(char *out, const char *path, const char *part, const char *name, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    return path_join(folder, path, part, e) && path_join(out, folder, name, e);
}

/* The class that model_index.json gives a part: ["library", "class"]. */
static bool class_of(const json_t *index, const char *where, const char *part, const char **out, struct err *e)
{
    const json_t *pair = json_object_get(index, part);
    if (!pair)
        return err_set(e, ERR_MISSING, "%s: \"%s\" is missing", where, part);
    *out = json_string_value(json_array_get(pair, 1));
    return *out || err_set(e, ERR_FORMAT, "%s: \"%s\" must be [library, class]", where, part);
}

static bool classes_are_ours(const json_t *index, const char *where, struct err *e)
{
    static const struct { const char *part, *class, *other; } parts[] = {
        { "text_encoder", "CLIPTextModel", NULL }, { "tokenizer", "CLIPTokenizer", "CLIPTokenizerFast" },
        { "unet", "UNet2DConditionModel", NULL }, { "vae", "AutoencoderKL", NULL },
    };
    const char *class = NULL;
    if (!json_get_string(index, where, "_class_name", &class, e))
        return false;
    if (!class)
        return err_set(e, ERR_MISSING, "%s: \"_class_name\" is missing", where);
    if (strcmp(class, pipeline_class))
        return err_set(e, ERR_TYPE, "%s: \"_class_name\" is \"%s\"; only %s is known", where, class, pipeline_class);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!class_of(index, where, parts[i].part, &class, e))
            return false;
        if (strcmp(class, parts[i].class) && (!parts[i].other || strcmp(class, parts[i].other)))
            return err_set(e, ERR_TYPE, "%s: \"%s\" is a %s; only %s is known", where, parts[i].part, class, parts[i].class);
    }
    return true;
}

static bool recommendations(struct model_folder *f, const json_t *index, const char *where, struct err *e)
{
    const json_t *ours = json_object_get(index, "_limn");
    return !ours || (json_get_int(ours, where, "steps", 1, SCHEDULER_MAX_TIMESTEPS, &f->default_steps, e) &&
                     json_get_double(ours, where, "cfg", 0, 1000, &f->default_cfg, e));
}

/* diffusers makes the class of model_index.json from the scheduler's file, whatever class that names; then the pipeline's
 * constructor puts steps_offset and clip_sample right. */
static bool read_scheduler(struct model_folder *f, const json_t *index, const char *where, struct err *e)
{
    char path[PATH_MAX_BYTES];
    const char *class;
    if (!class_of(index, where, "scheduler", &class, e) ||
        !part_path(path, f->path, "scheduler", "scheduler_config.json", e))
        return false;
    json_t *json = json_read(path, e);
    if (!json)
        return false;
    bool good = json_is_object(json) || err_set(e, ERR_FORMAT, "%s: not a JSON object", path);
    if (good && json_object_set_new(json, "_class_name", json_string(class)))
        good = err_nomem(e, "the scheduler");
    good = good && scheduler_config_from_json(&f->scheduler, json, path, e);
    json_decref(json);
    f->scheduler.steps_offset = 1;
    f->scheduler.clip_sample = false;
    return good;
}

static bool parts_agree(const struct model_folder *f, struct err *e)
{
    const char *path = f->path;
    if (f->unet.cross_attention_dim != f->text.hidden_size)
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"cross_attention_dim\" %lld, text_encoder/config.json "
                       "has \"hidden_size\" %lld: they must be equal", path, (long long)f->unet.cross_attention_dim,
                       (long long)f->text.hidden_size);
    if (f->unet.in_channels != f->vae.latent_channels)
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"in_channels\" %lld, vae/config.json has "
                       "\"latent_channels\" %lld: they must be equal", path, (long long)f->unet.in_channels,
                       (long long)f->vae.latent_channels);
    if (f->unet.out_channels != f->unet.in_channels)
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"in_channels\" %lld and \"out_channels\" %lld: they must "
                       "be equal", path, (long long)f->unet.in_channels, (long long)f->unet.out_channels);
    if (f->vae.out_channels != 3)
        return err_set(e, ERR_TYPE, "%s: vae/config.json has \"out_channels\" %lld: pictures have 3", path,
                       (long long)f->vae.out_channels);
    if (f->vae.shift_factor != 0)
        return err_set(e, ERR_TYPE, "%s: vae/config.json has \"shift_factor\" %g: %s has none", path,
                       f->vae.shift_factor, pipeline_class);
    if (clip_tokenizer_size(f->tokenizer) > f->text.vocab_size)
        return err_set(e, ERR_FORMAT, "%s: the tokenizer has %d tokens, text_encoder/config.json has \"vocab_size\" %lld",
                       path, (int)clip_tokenizer_size(f->tokenizer), (long long)f->text.vocab_size);
    if (clip_tokenizer_max_length(f->tokenizer) > f->text.positions)
        return err_set(e, ERR_FORMAT, "%s: tokenizer/tokenizer_config.json has \"model_max_length\" %d, "
                       "text_encoder/config.json has \"max_position_embeddings\" %lld", path,
                       (int)clip_tokenizer_max_length(f->tokenizer), (long long)f->text.positions);
    return true;
}

static bool open_parts(struct model_folder *f, const json_t *index, const char *where, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!classes_are_ours(index, where, e) || !recommendations(f, index, where, e) ||
        !part_path(path, f->path, model_part_names[PART_TEXT], "config.json", e) ||
        !clip_config_read(&f->text, path, e) || !part_path(path, f->path, model_part_names[PART_UNET], "config.json", e) ||
        !unet_config_read(&f->unet, path, e) || !part_path(path, f->path, model_part_names[PART_VAE], "config.json", e) ||
        !vae_config_read(&f->vae, path, e) || !path_join(path, f->path, "tokenizer", e))
        return false;
    f->tokenizer = clip_tokenizer_open(path, e);
    return f->tokenizer && parts_agree(f, e) && read_scheduler(f, index, where, e);
}

bool model_folder_open(struct model_folder *f, const char *path, struct err *e)
{
    char where[PATH_MAX_BYTES];
    *f = (struct model_folder){ 0 };
    if (!path_join(f->path, "", path, e) || !path_join(where, path, "model_index.json", e))
        return false;
    if (!path_is_folder(path))
        return err_set(e, ERR_MISSING, "%s: %s", path, path_exists(path) ? "not a folder" : "no such folder");
    json_t *index = json_read(where, e);
    bool good = index && open_parts(f, index, where, e);
    json_decref(index);
    if (!good)
        model_folder_release(f);
    return good;
}

void model_folder_release(struct model_folder *f)
{
    for (int part = 0; part < PART_COUNT; part++)
        model_folder_close(f, (enum model_part)part);
    clip_tokenizer_free(f->tokenizer);
    scheduler_config_release(&f->scheduler);
    *f = (struct model_folder){ 0 };
}

const struct weights *model_folder_weights(struct model_folder *f, enum model_part part, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!f->weights[part] && path_join(path, f->path, model_part_names[part], e))
        f->weights[part] = weights_open(path, e);
    return f->weights[part];
}

void model_folder_close(struct model_folder *f, enum model_part part)
{
    weights_free(f->weights[part]);
    f->weights[part] = NULL;
}

int64_t model_folder_side(const struct model_folder *f)
{
    return f->unet.sample_size * vae_factor(&f->vae);
}
