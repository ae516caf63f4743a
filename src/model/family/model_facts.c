#include "model/family/model_facts.h"

#include <string.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/file.h"
#include "model/family/family.h"
#include "model/family/single_file.h"
#include "model/lora/lora_names.h"

enum { SHORT_DIGITS = 10 };

/* Sums over tensors. */
struct sums {
    json_int_t tensors, parameters, bytes;
    json_int_t types[DTYPE_COUNT];
};

static void add_weights(struct sums *s, const struct weights *w)
{
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        s->tensors++;
        s->parameters += shape_count(t->shape);
        s->bytes += (json_int_t)weight_bytes(t);
        s->types[t->type]++;
    }
}

static json_t *sums_json(const struct sums *s)
{
    json_t *types = json_object();
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (s->types[t])
            json_object_set_new(types, dtype_name((enum dtype)t), json_integer(s->types[t]));
    return json_pack("{s:I, s:I, s:I, s:o}", "tensors", s->tensors, "parameters", s->parameters, "bytes", s->bytes, "types", types);
}

static bool put(json_t *j, const char *key, json_t *value, struct err *e)
{
    return !json_object_set_new(j, key, value) || err_nomem(e, "facts");
}

/* All of it, and what no part has. */
static bool put_sums(json_t *facts, json_t *parts, const struct sums *all, const struct sums *known, struct err *e)
{
    struct sums rest = { all->tensors - known->tensors, all->parameters - known->parameters, all->bytes - known->bytes, { 0 } };
    for (int t = 0; t < DTYPE_COUNT; t++)
        rest.types[t] = all->types[t] > known->types[t] ? all->types[t] - known->types[t] : 0;
    bool some = json_object_size(parts) > 0 && rest.bytes > 0 && rest.tensors > 0;
    json_t *sums = sums_json(all);
    bool good = (!some || put(parts, "other", sums_json(&rest), e)) && !json_object_update(facts, sums);
    json_decref(sums);
    return good && put(facts, "parts", json_incref(parts), e);
}

static bool put_metadata(json_t *facts, const struct weights *w, struct err *e)
{
    size_t count;
    const struct weights_pair *pairs = weights_pairs(w, &count);
    json_t *metadata = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(metadata, pairs[i].key, json_string(pairs[i].value));
    return put(facts, "metadata", metadata, e);
}

/* Where a safetensors file's tensors begin; 0: another format. */
static bool data_begin(const char *path, const char *format, size_t *at, struct err *e)
{
    struct file_map map;
    *at = 0;
    if (strcmp(format, "safetensors"))
        return true;
    if (!file_map(&map, path, e))
        return false;
    struct bytes b = bytes_of(map.data, map.bytes);
    *at = 8 + (size_t)bytes_u64(&b);
    file_unmap(&map);
    return true;
}

static bool put_hash(json_t *list, const struct weights *w, const struct progress *progress, struct err *e)
{
    char whole[DIGEST_TEXT_BYTES], weights[DIGEST_TEXT_BYTES];
    const char *path = weights_path(w), *dot = strrchr(path, '.');
    size_t from;
    if (dot && !strcmp(dot, ".json")) /* an index: its shards are many files */
        return true;
    if (!data_begin(path, weights_format(w), &from, e) ||
        !digest_file(path, from, whole, from ? weights : NULL, progress, e))
        return false;
    json_t *row = json_pack("{s:s, s:s, s:s%}", "path", path, "sha256", whole, "short", whole, (size_t)SHORT_DIGITS);
    return row && (!from || put(row, "weights_sha256", json_string(weights), e)) && !json_array_append_new(list, row);
}

/* --- a file --- */

static bool put_single(json_t *facts, json_t *parts, const struct single_file *f, struct sums *known, struct err *e)
{
    enum single_kind kind = single_file_kind(f);
    const char *how;
    bool good = put(facts, "kind", json_string(single_file_has(f, SINGLE_UNET) && kind != KIND_NONE &&
                                                       (single_file_has(f, SINGLE_TEXT) || single_file_has(f, SINGLE_TEXT_2))
                                                   ? "model" : "part"), e);
    if (good && kind != KIND_NONE) {
        enum predicts predicts = single_file_predicts(f, &how);
        good = put(facts, "family", json_string(single_kind_names[kind]), e) &&
               put(facts, "title", json_string(single_kind_titles[kind]), e) &&
               put(facts, "inpaints", json_boolean(single_file_inpaints(f)), e) &&
               put(facts, "predicts", json_string(predicts_names[predicts]), e) && put(facts, "predicts_how", json_string(how), e);
    } else if (good && single_file_is_glm(f)) {
        good = put(facts, "family", json_string(single_kind_names[KIND_KOLORS]), e) &&
               put(facts, "title", json_string("ChatGLM3, the text encoder of Kolors"), e);
    }
    for (int part = 0; good && part < SINGLE_PARTS; part++) {
        struct weights *view = single_file_has(f, (enum single_part)part) ? single_file_weights(f, (enum single_part)part, e) : NULL;
        struct sums sums = { 0 };
        if (!view) {
            good = !e->code;
            continue;
        }
        add_weights(&sums, view);
        add_weights(known, view);
        good = put(parts, single_part_names[part], sums_json(&sums), e);
        weights_free(view);
    }
    return good;
}

static bool put_file(json_t *facts, const char *path, bool hash, const struct progress *progress, struct err *e)
{
    struct weights *w = weights_open(path, e);
    if (!w)
        return false;
    struct sums all = { 0 }, known = { 0 };
    json_t *parts = json_object(), *hashes = json_array(), *lora = lora_names(w, e);
    add_weights(&all, w);
    bool good = parts && hashes && !e->code && put(facts, "layout", json_string("single"), e) &&
                put(facts, "format", json_string(weights_format(w)), e) && put_metadata(facts, w, e);
    if (good && lora) {
        good = put(facts, "kind", json_string("lora"), e) && put(facts, "lora", json_incref(lora), e) &&
               put(facts, "family", json_incref(json_object_get(lora, "base")), e);
    } else if (good && (weights_find(w, "emb_params") || weights_find(w, "clip_l") || weights_find(w, "clip_g"))) {
        good = put(facts, "kind", json_string("embedding"), e);
    } else if (good) {
        struct err unknown = { 0 };
        struct single_file *f = single_file_open(path, &unknown);
        good = f ? put_single(facts, parts, f, &known, e)
                 : put(facts, "kind", json_string("unknown"), e) && put(facts, "why", json_string(unknown.text), e);
        single_file_free(f);
    }
    good = good && put_sums(facts, parts, &all, &known, e) && (!hash || put_hash(hashes, w, progress, e)) &&
           put(facts, "files", json_incref(hashes), e);
    json_decref(parts);
    json_decref(hashes);
    json_decref(lora);
    weights_free(w);
    return good;
}

/* --- a folder --- */

static bool put_folder_part(json_t *parts, json_t *hashes, struct sums *all, const char *folder, const char *part, bool hash,
                            const struct progress *progress, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct sums sums = { 0 };
    if (!path_join(path, folder, part, e))
        return false;
    if (!path_is_folder(path))
        return true;
    struct weights *w = weights_open(path, e);
    if (!w)
        return false;
    add_weights(&sums, w);
    add_weights(all, w);
    bool good = put(parts, part, sums_json(&sums), e) && (!hash || put_hash(hashes, w, progress, e));
    weights_free(w);
    return good;
}

/* Stable Diffusion 1 and 2 share a pipeline: their UNets' projections differ. */
static bool put_family(json_t *facts, const char *path, const json_t *index, const char *where, struct err *e)
{
    char part[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    const char *class = NULL;
    const struct family_pipeline *pipeline;
    bool linear = false;
    if (!json_get_string(index, where, "_class_name", &class, e))
        return false;
    const struct family *family = class ? family_of(class, &pipeline) : NULL;
    const char *encoder = json_string_value(json_array_get(json_object_get(index, "text_encoder"), 1));
    if (family && encoder && !strcmp(encoder, family_kolors.text[PART_TEXT].class))
        family = &family_kolors; /* whose first folders call themselves pipelines of SDXL */
    if (!path_join(part, path, "unet", e) || !path_join(config, part, "config.json", e))
        return false;
    if (path_exists(config)) {
        json_t *unet = json_read(config, e);
        bool read = unet && json_get_bool(unet, config, "use_linear_projection", &linear, e);
        json_decref(unet);
        if (!read)
            return false;
    }
    const char *name = !family ? NULL : strcmp(family->name, "sd") ? family->name : linear ? "sd2" : "sd1";
    return put(facts, "pipeline", class ? json_string(class) : json_null(), e) &&
           put(facts, "family", name ? json_string(name) : json_null(), e);
}

static bool put_folder(json_t *facts, const char *path, const char *where, bool hash, const struct progress *progress,
                       struct err *e)
{
    json_t *index = json_read(where, e), *parts = json_object(), *hashes = json_array(), *scheduler = NULL;
    struct sums all = { 0 };
    char folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    bool good = index && parts && hashes && put(facts, "kind", json_string("model"), e) &&
                put(facts, "layout", json_string("folder"), e) && put_family(facts, path, index, where, e);
    for (int part = 0; good && part < PART_COUNT; part++)
        good = put_folder_part(parts, hashes, &all, path, model_part_names[part], hash, progress, e);
    good = good && path_join(folder, path, "scheduler", e) && path_join(config, folder, "scheduler_config.json", e);
    if (good && path_exists(config)) {
        const char *predicts = predicts_names[PREDICTS_EPSILON];
        good = (scheduler = json_read(config, e)) && json_get_string(scheduler, config, "prediction_type", &predicts, e) &&
               put(facts, "predicts", json_string(predicts), e) &&
               put(facts, "predicts_how", json_string("the scheduler's config says so"), e);
    }
    good = good && put_sums(facts, parts, &all, &all, e) && put(facts, "files", json_incref(hashes), e);
    json_decref(index);
    json_decref(parts);
    json_decref(hashes);
    json_decref(scheduler);
    return good;
}

json_t *model_facts(const char *path, bool hash, const struct progress *progress, struct err *e)
{
    char where[PATH_MAX_BYTES];
    json_t *facts = json_object();
    bool good = (facts && put(facts, "path", json_string(path), e)) || err_nomem(e, path);
    if (good && !path_exists(path))
        good = err_set(e, ERR_MISSING, "%s: no such file or folder", path);
    good = good && path_join(where, path, "model_index.json", e) &&
           (path_exists(where) ? put_folder(facts, path, where, hash, progress, e) : put_file(facts, path, hash, progress, e));
    if (good)
        return facts;
    if (!e->code)
        err_nomem(e, path);
    json_decref(facts);
    return NULL;
}
