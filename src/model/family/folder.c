#include "model/family/folder.h"

#include <stdio.h>

#include "base/mem.h"
#include "model/family/convert_internal.h"
#include "weights/weights_view.h"

static const char *const tokenizer_names[TEXT_PARTS] = { "tokenizer", "tokenizer_2" };

/* The class that model_index.json gives a part: ["library", "class"]. */
static bool class_of(const json_t *index, const char *where, const char *part, const char **out, struct err *e)
{
    const json_t *pair = json_object_get(index, part);
    if (!pair)
        return err_set(e, ERR_MISSING, "%s: \"%s\" is missing", where, part);
    *out = json_string_value(json_array_get(pair, 1));
    return *out || err_set(e, ERR_FORMAT, "%s: \"%s\" must be [library, class]", where, part);
}

/* Whether model_index.json leaves a part out: not there, null or [null, null]. */
static bool left_out(const json_t *index, const char *part)
{
    const json_t *pair = json_object_get(index, part);
    return !pair || json_is_null(pair) || (json_array_size(pair) == 2 && json_is_null(json_array_get(pair, 1)));
}

/* The part's class, which must be in the list. */
static bool class_in(const json_t *index, const char *where, const char *part, const char *const *known, const char **out,
                     struct err *e)
{
    if (!class_of(index, where, part, out, e))
        return false;
    for (size_t i = 0; known[i]; i++)
        if (!strcmp(known[i], *out))
            return true;
    return err_set(e, ERR_TYPE, "%s: \"%s\" is a %s; only %s is known", where, part, *out, known[0]);
}

static bool knows_class(const struct family *family, const char *encoder)
{
    return family->text[PART_TEXT].class && !strcmp(family->text[PART_TEXT].class, encoder);
}

/* Kolors' first folders call themselves pipelines of SDXL: the class of the text encoder says what they are. The row is the one
 * that does the same with a picture. */
static void by_text_encoder(struct model_folder *f, const json_t *index, const struct family_pipeline **pipeline)
{
    const char *encoder = json_string_value(json_array_get(json_object_get(index, model_part_names[PART_TEXT]), 1));
    if (!encoder || !f->parts.family || knows_class(f->parts.family, encoder))
        return;
    for (const struct family *const *k = families; *k; k++)
        if (knows_class(*k, encoder)) {
            const struct model_settings *was = &(*pipeline)->settings;
            f->parts.family = *k;
            *pipeline = (*k)->pipelines;
            for (const struct family_pipeline *p = (*k)->pipelines; p->class; p++)
                if (p->settings.fills_in == was->fills_in && p->settings.redraws == was->redraws) {
                    *pipeline = p;
                    break;
                }
            return;
        }
}

static bool find_family(struct model_folder *f, const json_t *index, const char *where,
                        const struct family_pipeline **pipeline, struct err *e)
{
    const char *class = NULL;
    if (!json_get_string(index, where, "_class_name", &class, e))
        return false;
    if (!class)
        return err_set(e, ERR_MISSING, "%s: \"_class_name\" is missing", where);
    f->parts.family = family_of(class, pipeline);
    by_text_encoder(f, index, pipeline);
    if (f->parts.family)
        return true;
    err_set(e, ERR_TYPE, "%s: \"_class_name\" is \"%s\"; known are", where, class);
    for (const struct family *const *k = families; *k; k++)
        for (const struct family_pipeline *p = (*k)->pipelines; p->class; p++) {
            size_t used = strlen(e->text);
            snprintf(e->text + used, sizeof e->text - used, "%s %s", k == families && p == (*k)->pipelines ? "" : ",", p->class);
        }
    return false;
}

static bool read_settings(struct model_folder *f, const json_t *index, const char *where,
                          const struct family_pipeline *pipeline, struct err *e)
{
    const json_t *ours = json_object_get(index, "_limn");
    f->parts.settings = pipeline->settings;
    f->default_steps = pipeline->steps;
    f->default_cfg = pipeline->cfg;
    return json_get_bool(index, where, "force_zeros_for_empty_prompt", &f->parts.settings.force_zeros, e) &&
           json_get_bool(index, where, "requires_aesthetics_score", &f->parts.settings.aesthetic_score, e) &&
           (!ours || (json_get_int(ours, where, "steps", 1, SCHEDULER_MAX_TIMESTEPS, &f->default_steps, e) &&
                      json_get_double(ours, where, "cfg", 0, 1000, &f->default_cfg, e)));
}

/* diffusers makes the class of model_index.json from the scheduler's file, whatever class that names; then the pipeline's
 * constructor puts some settings right. */
static bool read_scheduler(struct model_folder *f, const json_t *index, const char *where,
                           const struct family_pipeline *pipeline, struct err *e)
{
    char path[PATH_MAX_BYTES];
    const char *class;
    if (!class_of(index, where, "scheduler", &class, e))
        return false;
    json_t *json = model_source_json(&f->source, "scheduler", path, e);
    if (!json)
        return false;
    bool good = json_is_object(json) || err_set(e, ERR_FORMAT, "%s: not a JSON object", path);
    if (good && json_object_set_new(json, "_class_name", json_string(class)))
        good = err_nomem(e, "the scheduler");
    good = good && scheduler_config_from_json(&f->scheduler, json, path, e);
    json_decref(json);
    if (pipeline->corrects & CORRECTS_OFFSET)
        f->scheduler.steps_offset = 1;
    if (pipeline->corrects & CORRECTS_CLIP)
        f->scheduler.clip_sample = false;
    if (pipeline->corrects & CORRECTS_PRK)
        f->scheduler.skip_prk_steps = true;
    return good;
}

/* An encoder of CLIP's kind that is not, or not wholly, in a folder. */
static bool open_clip(struct model_folder *f, int part, const char *class, struct err *e)
{
    char where[PATH_MAX_BYTES], ignored[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    json_t *config = model_source_json(&f->source, model_part_names[part], where, e);
    struct clip_tokenizer *words = NULL;
    if (config && !model_source_configs(&f->source))
        words = model_source_tokenizer(f->source.file, tokenizer_names[part], e);
    else if (config && model_source_text(&f->source, model_part_names[part], tokenizer_names[part], ignored, folder, e))
        words = clip_tokenizer_open(folder, e);
    bool good = words && text_clip_open(&f->parts.text[part], class, config, where, words, where, e);
    json_decref(config);
    return good;
}

static bool open_text(struct model_folder *f, int part, const json_t *index, const char *where, struct err *e)
{
    char encoder[PATH_MAX_BYTES], tokenizer[PATH_MAX_BYTES];
    const struct family_text *text = &f->parts.family->text[part];
    const char *const classes[] = { text->class, NULL };
    const char *class, *ignored;
    if (!text->kind || (text->optional && left_out(index, model_part_names[part])))
        return true;
    if (!class_in(index, where, model_part_names[part], classes, &class, e) ||
        !class_in(index, where, tokenizer_names[part], text->kind->tokenizers, &ignored, e))
        return false;
    if (text->kind == &text_chatglm)
        return model_source_glm(&f->source, &f->parts.text[part], e);
    if (!model_source_configs(&f->source) || (f->source.text && part == PART_TEXT))
        return open_clip(f, part, class, e);
    return model_source_text(&f->source, model_part_names[part], tokenizer_names[part], encoder, tokenizer, e) &&
           text->kind->open(&f->parts.text[part], class, encoder, tokenizer, e);
}

static bool open_parts(struct model_folder *f, const json_t *index, const char *where, struct err *e)
{
    static const char *const unet_classes[] = { "UNet2DConditionModel", NULL }, *const vae_classes[] = { "AutoencoderKL", "AutoencoderTiny", NULL };
    char path[PATH_MAX_BYTES];
    const struct family_pipeline *pipeline;
    const char *ignored;
    if (!find_family(f, index, where, &pipeline, e) ||
        !class_in(index, where, model_part_names[PART_UNET], unet_classes, &ignored, e) ||
        !class_in(index, where, model_part_names[PART_VAE], vae_classes, &ignored, e) ||
        !read_settings(f, index, where, pipeline, e))
        return false;
    for (int part = 0; part < TEXT_PARTS; part++)
        if (!open_text(f, part, index, where, e))
            return false;
    json_t *unet = model_source_json(&f->source, model_part_names[PART_UNET], path, e);
    bool good = unet && unet_config_from_json(&f->parts.unet, unet, path, e);
    json_t *vae = good ? model_source_json(&f->source, model_part_names[PART_VAE], path, e) : NULL;
    good = vae && vae_config_from_json(&f->parts.vae, vae, path, e) && model_parts_agree(&f->parts, f->path, e) &&
           read_scheduler(f, index, where, pipeline, e);
    json_decref(unet);
    json_decref(vae);
    return good;
}

bool model_folder_open_files(struct model_folder *f, const struct model_files *files, struct err *e)
{
    char where[PATH_MAX_BYTES];
    *f = (struct model_folder){ 0 };
    if (!path_join(f->path, "", files->path ? files->path : files->unet ? files->unet : "", e) || !model_source_open(&f->source, files, e))
        return false;
    json_t *index = model_source_json(&f->source, "", where, e);
    bool good = index && open_parts(f, index, where, e);
    json_decref(index);
    if (!good)
        model_folder_release(f);
    return good;
}

bool model_folder_open(struct model_folder *f, const char *path, struct err *e)
{
    return model_folder_open_files(f, &(struct model_files){ .path = path }, e);
}

void model_folder_release(struct model_folder *f)
{
    for (int part = 0; part < PART_COUNT; part++)
        model_folder_close(f, (enum model_part)part);
    for (int part = 0; part < TEXT_PARTS; part++)
        text_encoder_release(&f->parts.text[part]);
    scheduler_config_release(&f->scheduler);
    model_source_release(&f->source);
    *f = (struct model_folder){ 0 };
}

const struct weights *model_folder_weights(struct model_folder *f, enum model_part part, struct err *e)
{
    if (!f->weights[part])
        f->weights[part] = model_source_weights(&f->source, model_part_names[part], e);
    return f->cast[part] ? f->cast[part] : f->weights[part];
}

bool model_folder_cast(struct model_folder *f, enum model_part part, enum dtype type, struct err *e)
{
    weights_free(f->cast[part]);
    f->cast[part] = NULL;
    if (type == DTYPE_COUNT)
        return true;
    const struct weights *file = model_folder_weights(f, part, e);
    struct weights *view = file ? weights_view_new(file, e) : NULL;
    bool good = view != NULL;
    for (size_t i = 0; good && i < weights_count(file); i++) {
        const struct weight *t = weights_at(file, i);
        bool changes = t->type != type && t->shape.rank >= 2 && output_is_number(t->type) &&
                       (!dtype_is_quantised(type) || output_may_be_quantised(t->name, t, type));
        good = changes ? weights_view_typed(view, t, type, e) : weights_view_add(view, t->name, t, e);
    }
    if (good && weights_view_end(view, e)) {
        f->cast[part] = view;
        return true;
    }
    weights_free(view);
    return false;
}

bool model_folder_cast_fill(struct model_folder *f, enum model_part part, const struct progress *progress, struct err *e)
{
    return !f->cast[part] || weights_view_fill(f->cast[part], progress, e);
}

void model_folder_close(struct model_folder *f, enum model_part part)
{
    weights_free(f->cast[part]);
    f->cast[part] = NULL;
    weights_free(f->weights[part]);
    f->weights[part] = NULL;
}

int64_t model_folder_side(const struct model_folder *f)
{
    return f->parts.unet.sample_size * vae_factor(&f->parts.vae);
}
