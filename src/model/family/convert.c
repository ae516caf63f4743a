#include "model/family/convert.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/leftovers.h"
#include "base/mem.h"
#include "model/family/convert_internal.h"
#include "model/family/family.h"
#include "model/family/glm_file.h"
#include "model/family/ldm_names.h"
#include "model/layer/net.h"

/* --- single files of folders --- */

/* Which line of models a folder's configs are of, as single files know it. */
static bool kind_of_configs(const struct model_source *s, const json_t *index, const json_t *unet, enum single_kind *kind,
                            struct err *e)
{
    const char *class = json_string_value(json_object_get(index, "_class_name"));
    const struct family_pipeline *pipeline;
    const struct family *family = class ? family_of(class, &pipeline) : NULL;
    const char *encoder = json_string_value(json_array_get(json_object_get(index, "text_encoder"), 1));
    bool linear = json_is_true(json_object_get(unet, "use_linear_projection"));
    if (family == &family_sd)
        *kind = linear ? KIND_SD2 : KIND_SD1;
    else if (family == &family_sdxl && (!encoder || !strcmp(encoder, "CLIPTextModel")))
        *kind = encoder ? KIND_SDXL : KIND_SDXL_REFINER;
    else if (family == &family_kolors || (encoder && !strcmp(encoder, family_kolors.text[PART_TEXT].class)))
        *kind = KIND_KOLORS;
    else
        return err_set(e, ERR_TYPE, "%s: a \"%s\" has no layout in one file; Stable Diffusion 1, 2 and XL and Kolors have", s->path,
                       class ? class : "?");
    return true;
}

/* What a part's names begin with in a single file, and the map of the rest. */
static bool outer_names(struct name_map *m, const char **prefix, enum single_kind kind, enum single_part part, const json_t *config,
                        struct err *e)
{
    struct ldm_unet u;
    struct ldm_vae v;
    switch (part) {
    case SINGLE_UNET:
        *prefix = "model.diffusion_model.";
        ldm_unet_of_config(&u, config);
        return ldm_unet_names(m, &u, e);
    case SINGLE_VAE:
        *prefix = "first_stage_model.";
        ldm_vae_of_config(&v, config);
        return ldm_vae_names(m, &v, e) && ldm_vae_old_names(m, e);
    case SINGLE_TEXT:
        if (kind != KIND_SD2) {
            *prefix = kind == KIND_SDXL || kind == KIND_KOLORS ? "conditioner.embedders.0.transformer." : "cond_stage_model.transformer.";
            return ldm_same_names(m, e);
        }
        *prefix = "cond_stage_model.model.";
        break;
    default:
        *prefix = kind == KIND_SDXL ? "conditioner.embedders.1.model." : "conditioner.embedders.0.model.";
    }
    return ldm_openclip_names(m, json_integer_value(json_object_get(config, "num_hidden_layers")), e);
}

/* transformers' encoders are written with and without their first word: here it is always there. */
static struct weights *whole_names(const struct weights *w, struct err *e)
{
    struct name_map m;
    if (weights_find(w, "transformer." GLM_WITNESS) || weights_find(w, GLM_WITNESS))
        return glm_view(w, weights_find(w, GLM_WITNESS) ? "" : "transformer.", false, e);
    name_map_init(&m);
    struct weights *view = ldm_clip_names(&m, e) ? name_map_view(&m, w, "", e) : NULL;
    name_map_release(&m);
    return view;
}

static bool add_part(struct output *out, const struct model_source *s, enum single_kind kind, enum single_part part,
                     struct err *e)
{
    char where[PATH_MAX_BYTES];
    struct name_map map;
    const char *prefix;
    const char *name = single_part_names[part];
    json_t *config = model_source_json(s, name, where, e);
    struct weights *file = config ? model_source_weights(s, name, e) : NULL;
    struct weights *w = file && part <= SINGLE_TEXT_2 ? whole_names(file, e) : file;
    name_map_init(&map);
    bool good = w && output_keep(out, file, e);
    if (file && !good)
        weights_free(file);
    if (w != file)
        good = good && output_keep(out, w, e);
    good = good && outer_names(&map, &prefix, kind, part, config, e);
    for (size_t i = 0; good && i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        struct renamed r;
        if (name_map_outer(&map, t->name, &r)) {
            struct path outer = path_of("%s%s", prefix, r.name);
            bool attention = part == SINGLE_VAE && strstr(r.name, ".attn_1.") && t->shape.rank == 2; /* 1x1 convolutions there */
            good = output_add(out, outer.s, t, r.how, attention ? 2 : 0, e);
        } else if (!strstr(t->name, "position_ids")) {
            good = err_set(e, ERR_TYPE, "%s: \"%.200s\" has no name in a single file", weights_path(w), t->name);
        }
    }
    name_map_release(&map);
    json_decref(config);
    return good;
}

/* ChatGLM3's tokenizer.model as a tensor, so that the file has all that drawing takes. */
static bool add_pieces(struct output *out, const struct model_source *s, struct weight *t, char **data, struct err *e)
{
    char where[PATH_MAX_BYTES];
    size_t bytes;
    if (!model_source_pieces(s, data, &bytes, where, e))
        return false;
    *t = (struct weight){ GLM_PIECES, out->format == WEIGHTS_GGUF ? DTYPE_I8 : DTYPE_U8, SHAPE((int64_t)bytes), *data };
    return output_add(out, GLM_PIECES, t, NAME_WHOLE, 0, e);
}

static bool to_single(const struct convert *c, const struct model_source *s, const struct progress *progress, struct err *e)
{
    char where[PATH_MAX_BYTES];
    struct output out;
    enum single_kind kind = KIND_NONE;
    json_t *index = model_source_json(s, "", where, e), *unet = index ? model_source_json(s, "unet", where, e) : NULL;
    bool good = unet && kind_of_configs(s, index, unet, &kind, e);
    output_init(&out, c->output, c->type);
    for (int part = 0; good && part < SINGLE_PARTS; part++) {
        bool two = kind == KIND_SDXL || kind == KIND_SDXL_REFINER;
        bool there = part == SINGLE_TEXT ? kind != KIND_SDXL_REFINER : part == SINGLE_TEXT_2 ? two : true;
        good = !there || add_part(&out, s, kind, (enum single_part)part, e);
    }
    struct weight pieces;
    char *words = NULL;
    good = good && (kind != KIND_KOLORS || add_pieces(&out, s, &pieces, &words, e));
    json_t *scheduler = good ? model_source_json(s, "scheduler", where, e) : NULL;
    const char *predicts = json_string_value(json_object_get(scheduler, "prediction_type"));
    bool v = predicts && !strcmp(predicts, "v_prediction");
    /* "pt" for transformers; the architecture for ggml's programs */
    struct weights_pair pairs[] = { { "modelspec.prediction_type", v ? "v" : "epsilon" },
                                    out.format == WEIGHTS_GGUF ? (struct weights_pair){ "general.architecture", single_kind_names[kind] }
                                                               : (struct weights_pair){ "format", "pt" } };
    good = scheduler && output_write(&out, c->output, pairs, 2, progress, e);
    output_release(&out);
    mem_free(words);
    json_decref(index);
    json_decref(unet);
    json_decref(scheduler);
    return good;
}

/* --- one file, its own names --- */

static bool same_names(const struct convert *c, const struct progress *progress, struct err *e)
{
    struct output out;
    struct weights *w = weights_open(c->files.path, e);
    size_t pairs;
    output_init(&out, c->output, c->type);
    bool good = w && output_keep(&out, w, e);
    if (w && !good)
        weights_free(w);
    for (size_t i = 0; good && i < weights_count(w); i++)
        good = output_add(&out, weights_at(w, i)->name, weights_at(w, i), NAME_WHOLE, 0, e);
    const struct weights_pair *said = good ? weights_pairs(w, &pairs) : NULL;
    good = good && output_write(&out, c->output, said, pairs, progress, e);
    output_release(&out);
    return good;
}

/* --- folders --- */

static bool is_weights(const char *name)
{
    static const char *const ends[] = { ".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".gguf", ".msgpack", ".onnx",
                                        ".index.json", ".index.fp16.json" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* Copies what is no weight from one folder to another: configs, vocabularies, words about the model. */
static bool copy_small(const char *from, const char *to, struct err *e)
{
    enum { MOST_BYTES = 64 << 20 };
    char **names, a[PATH_MAX_BYTES], b[PATH_MAX_BYTES];
    size_t count;
    if (!folder_make(to, e) || !folder_names(from, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        char *data = NULL;
        size_t bytes;
        good = path_join(a, from, names[i], e) && path_join(b, to, names[i], e);
        if (!good || path_is_folder(a) || is_weights(names[i]))
            continue;
        good = file_read(a, MOST_BYTES, &data, &bytes, e) && file_write_whole(b, data, bytes, e);
        mem_free(data);
    }
    folder_names_free(names, count);
    return good;
}

/* A part whose tensors are changed each as a whole, while the stream takes them in pieces. */
struct changes {
    const struct convert *c;
    const char *part;
    const struct output *out;
    float *whole;  /* tensor `index` after its change */
};

static bool change_piece(void *self, size_t index, size_t begin, float *x, size_t count, struct err *e)
{
    struct changes *h = self;
    const struct weight *t = h->out->tensors[index].from[0];
    size_t all = (size_t)shape_count(t->shape);
    if (begin == 0) {
        mem_free(h->whole);
        if (!(h->whole = mem_aligned(all * sizeof *h->whole)))
            return err_nomem(e, t->name);
        if (!dtype_convert(h->whole, DTYPE_F32, t->data, t->type, all))
            return err_set(e, ERR_TYPE, "\"%.200s\" is of the type %s, which is not converted", t->name, dtype_name(t->type));
        if (!h->c->change(h->c->self, h->part, t, h->whole, e))
            return false;
    }
    memcpy(x, h->whole + begin, count * sizeof *x);
    return true;
}

/* The file of a part's weights; 1x1 convolutions of a VAE's attention become what diffusers has now. */
static bool write_part(const struct convert *c, const struct model_source *s, const char *part, const char *folder,
                       const struct progress *progress, struct err *e)
{
    static const char *const linear[] = { ".to_q.", ".to_k.", ".to_v.", ".to_out.0.", ".query.", ".key.", ".value.", ".proj_attn." };
    char path[PATH_MAX_BYTES];
    struct output out;
    struct weights *w = model_source_weights(s, part, e);
    output_init(&out, "", c->type);
    struct changes changes = { c, part, &out, NULL };
    if (c->change) {
        out.change = change_piece;
        out.self = &changes;
    }
    bool good = w && output_keep(&out, w, e);
    if (w && !good)
        weights_free(w);
    bool text = !strncmp(part, "text_encoder", 12);
    for (size_t i = 0; good && i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        bool flat = false;
        if (c->change && dtype_is_quantised(t->type))
            good = err_set(e, ERR_TYPE, "%s is %s: numbers of that kind cannot be changed; limn model convert makes others of them",
                           t->name, dtype_name(t->type));
        for (size_t k = 0; !strcmp(part, "vae") && k < sizeof linear / sizeof *linear; k++)
            flat = flat || (t->shape.rank == 4 && strstr(t->name, ".attentions.") && strstr(t->name, linear[k]));
        good = good && output_add(&out, t->name, t, NAME_WHOLE, flat ? -2 : 0, e);
    }
    struct weights_pair pair = { "format", "pt" };
    good = good && folder_make(folder, e) &&
           path_join(path, folder, text ? "model.safetensors" : "diffusion_pytorch_model.safetensors", e) &&
           output_write(&out, path, &pair, 1, progress, e);
    mem_free(changes.whole);
    output_release(&out);
    return good;
}

/* A config that is made (of a file's family) into folder/name. */
static bool write_config(const struct model_source *s, const char *part, const char *folder, const char *name, struct err *e)
{
    char where[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    json_t *j = model_source_json(s, part, where, e);
    bool good = j && folder_make(folder, e) && path_join(path, folder, name, e) && json_write(j, path, e);
    json_decref(j);
    return good;
}

/* Of files: a folder's text encoder comes with its tokenizer. */
static bool kind_is_glm(const struct model_source *s)
{
    const struct single_file *f = s->text ? s->text : s->file;
    return f && single_file_is_glm(f);
}

/* ChatGLM3's tokenizer, wherever it is, as a folder's. */
static bool write_pieces(const struct model_source *s, const char *part, const char *folder, struct err *e)
{
    char where[PATH_MAX_BYTES], path[PATH_MAX_BYTES], *data = NULL;
    size_t bytes;
    json_t *config = single_file_json(s->text ? s->text : s->file, part, PREDICTS_AUTO, e);
    bool good = config && model_source_pieces(s, &data, &bytes, where, e) && folder_make(folder, e) &&
                path_join(path, folder, "tokenizer.model", e) && file_write_whole(path, data, bytes, e) &&
                path_join(path, folder, "tokenizer_config.json", e) && (path_exists(path) || json_write(config, path, e));
    mem_free(data);
    json_decref(config);
    return good;
}

static bool write_tokenizer(const struct model_source *s, const char *part, const char *folder, struct err *e)
{
    char list[PATH_MAX_BYTES], where[PATH_MAX_BYTES];
    if (kind_is_glm(s))
        return write_pieces(s, part, folder, e);
    json_t *config = clip_vocabulary_find(list, e) ? model_source_json(s, part, where, e) : NULL;
    bool good = config && clip_vocabulary_write(list, config, folder, e);
    json_decref(config);
    return good;
}

/* Whether model_index.json gives a part a class. */
static bool wanted(const json_t *index, const char *part)
{
    return json_is_string(json_array_get(json_object_get(index, part), 1));
}

static bool fill_folder(const struct convert *c, const struct model_source *s, const char *folder, const struct progress *progress,
                        struct err *e)
{
    static const char *const rest[] = { "scheduler", "tokenizer", "tokenizer_2", "feature_extractor" };
    char where[PATH_MAX_BYTES], from[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    const char *configs = model_source_configs(s);
    json_t *index = model_source_json(s, "", where, e);
    bool good = index && (configs ? copy_small(configs, folder, e) : write_config(s, "", folder, "model_index.json", e));
    for (int part = 0; good && part < SINGLE_PARTS; part++) {
        const char *name = single_part_names[part];
        if (!wanted(index, name))
            continue;
        /* a config that another VAE has changed is written as it is read */
        bool other = (part == SINGLE_VAE && s->vae_path[0]) || (part == SINGLE_TEXT && s->text);
        good = path_join(to, folder, name, e) && (!configs || path_join(from, configs, name, e));
        bool copy = configs && !other;
        good = good &&
               (copy ? copy_small(from, to, e) : write_config(s, name, to, "config.json", e)) &&
               write_part(c, s, name, to, progress, e);
    }
    for (size_t i = 0; good && i < sizeof rest / sizeof *rest; i++) {
        bool scheduler = i == 0;
        if (!wanted(index, rest[i]))
            continue;
        good = path_join(to, folder, rest[i], e) && (!configs || path_join(from, configs, rest[i], e));
        if (good && scheduler)
            good = write_config(s, rest[i], to, "scheduler_config.json", e);
        else if (good && configs)
            good = (!path_is_folder(from) || copy_small(from, to, e)) && (!kind_is_glm(s) || write_pieces(s, rest[i], to, e));
        else if (good)
            good = write_tokenizer(s, rest[i], to, e);
    }
    json_decref(index);
    return good;
}

/* A folder is made under another name beside its place, and renamed when all of it is there. */
static bool to_folder(const struct convert *c, const struct model_source *s, const struct progress *progress, struct err *e)
{
    char work[PATH_MAX_BYTES];
    size_t length = strlen(c->output);
    while (length > 1 && c->output[length - 1] == '/')
        length--;
    if (snprintf(work, sizeof work, "%.*s.part-%ld", (int)length, c->output, (long)getpid()) >= (int)sizeof work)
        return err_set(e, ERR_LIMIT, "the output's path is too long");
    leftovers_remove_beside(c->output);
    bool good = folder_make(work, e) && fill_folder(c, s, work, progress, e);
    bool swaps = c->replace && path_exists(c->output); /* then the old one is what is left at the working name */
    if (good && (swaps ? renameat2(AT_FDCWD, work, AT_FDCWD, c->output, RENAME_EXCHANGE) : rename(work, c->output)))
        good = err_errno(e, "cannot rename %s to %s", work, c->output);
    if (!good || swaps)
        folder_remove(work);
    return good;
}

static bool check_output(const struct convert *c, struct err *e)
{
    char **names;
    size_t count;
    if (!path_exists(c->output) || c->replace)
        return true;
    bool folder = path_is_folder(c->output);
    if (folder && c->layout == CONVERT_FOLDER) {
        if (!folder_names(c->output, NULL, &names, &count, e))
            return false;
        folder_names_free(names, count);
        return count == 0 || err_set(e, ERR_ARG, "%s is there already and not empty", c->output);
    }
    return err_set(e, ERR_ARG, "%s is there already%s", c->output, folder ? ": it is a folder" : "");
}

bool model_convert(const struct convert *c, const struct progress *progress, struct err *e)
{
    struct model_source s;
    if (!check_output(c, e))
        return false;
    if (!c->files.path || !path_exists(c->files.path))
        return err_set(e, ERR_MISSING, "%s: no such file or folder", c->files.path ? c->files.path : "a model in parts");
    if (c->layout == CONVERT_SINGLE && !path_is_folder(c->files.path) && !c->files.vae && !c->files.text_encoder)
        return same_names(c, progress, e);
    if (!model_source_open(&s, &c->files, e))
        return false;
    bool good = c->layout == CONVERT_SINGLE ? to_single(c, &s, progress, e) : to_folder(c, &s, progress, e);
    model_source_release(&s);
    return good;
}
