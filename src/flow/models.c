/* Models that are loaded, and stay while somebody needs them. */
#include <string.h>

#include "base/mem.h"
#include "flow/run_internal.h"

/* A VAE without a model: the source of a pipeline that does nothing else. */
struct vae_alone {
    struct model_source file;  /* of a single file; empty: a folder */
    struct model_parts parts;  /* but for the VAE they are empty */
    struct weights *weights;
};

static const struct weights *alone_weights(void *self, enum model_part part, struct err *e)
{
    struct vae_alone *a = self;
    if (part != PART_VAE)
        err_set(e, ERR_MISSING, "a VAE alone has no %s", model_part_names[part]);
    return part == PART_VAE ? a->weights : NULL;
}

static void alone_free(struct vae_alone *a)
{
    if (!a)
        return;
    weights_free(a->weights);
    model_source_release(&a->file);
    mem_free(a);
}

/* The folder of a VAE, or that of a model which has it in a folder of its own. */
static bool alone_folder(struct vae_alone *a, const char *path, struct err *e)
{
    char folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    if (!path_join(folder, path, "vae", e) || (!path_is_folder(folder) && !path_join(folder, "", path, e)) ||
        !path_join(config, folder, "config.json", e) || !vae_config_read(&a->parts.vae, config, e))
        return false;
    a->weights = weights_open(folder, e);
    return a->weights != NULL;
}

static bool alone_file(struct vae_alone *a, const char *path, struct err *e)
{
    char where[PATH_MAX_BYTES];
    if (!model_source_open(&a->file, &(struct model_files){ .path = path }, e))
        return false;
    json_t *config = model_source_json(&a->file, "vae", where, e);
    bool good = config && vae_config_from_json(&a->parts.vae, config, where, e);
    json_decref(config);
    a->weights = good ? model_source_weights(&a->file, "vae", e) : NULL;
    return a->weights != NULL;
}

void flow_weights_drop(struct flow_weights *w)
{
    if (!w || --w->holders)
        return;
    pipeline_free(w->pipeline);
    alone_free(w->alone);
    mem_free(w->path);
    mem_free(w);
}

/* Every folder of embeddings: words may name what is in them. */
static bool add_embeddings(struct pipeline *p, const struct model_places *places, struct err *e)
{
    for (size_t i = 0; i < places->count; i++)
        if (places->items[i].kind == MODELS_EMBEDDINGS && path_is_folder(places->items[i].path) &&
            !pipeline_embeddings(p, places->items[i].path, e))
            return false;
    return true;
}

static void name_of(char *out, size_t bytes, const struct model_files *f)
{
    snprintf(out, bytes, "%s|%s|%s|%s|%s|%d", f->path ? f->path : "", f->config ? f->config : "", f->vae ? f->vae : "", f->unet ? f->unet : "",
             f->text_encoder ? f->text_encoder : "", (int)f->predicts);
}

/* The weights of this name, with a holder more; NULL: they are not there. */
static struct flow_weights *find(struct flow_engine *engine, const char *name)
{
    for (size_t i = 0; i < engine->model_count; i++)
        if (!strcmp(engine->models[i]->path, name)) {
            engine->models[i]->holders++;
            return engine->models[i];
        }
    return NULL;
}

/* Room for new ones. Those that nobody holds any more go first: the new one wants their memory. */
static struct flow_weights *make(struct flow_engine *engine, const char *name, struct err *e)
{
    flow_engine_unload(engine, false);
    struct flow_weights **grown = mem_grow(engine->models, &engine->model_cap, engine->model_count + 1, sizeof *grown);
    if (grown)
        engine->models = grown;
    struct flow_weights *w = grown ? mem_zeroed(1, sizeof *w) : NULL;
    char *path = w ? mem_string(name) : NULL;
    if (!path) {
        mem_free(w);
        err_nomem(e, "a model");
        return NULL;
    }
    w->path = path;
    w->holders = 1;
    return w;
}

/* The engine holds them, too, from now on. */
static struct flow_weights *enter(struct flow_engine *engine, struct flow_weights *w)
{
    pipeline_keep(w->pipeline, true);
    engine->models[engine->model_count++] = w;
    w->holders++;
    return w;
}

struct flow_weights *engine_weights(struct flow_engine *engine, const struct model_files *files, const struct model_places *places,
                                    struct err *e)
{
    char name[6 * PATH_MAX_BYTES];
    name_of(name, sizeof name, files);
    struct flow_weights *w = find(engine, name);
    if (w || !(w = make(engine, name, e)))
        return w;
    w->pipeline = pipeline_open_files(files, engine->backend, engine->type, e);
    if (w->pipeline && add_embeddings(w->pipeline, places, e))
        return enter(engine, w);
    flow_weights_drop(w);
    return NULL;
}

struct flow_weights *engine_vae(struct flow_engine *engine, const char *path, struct err *e)
{
    struct flow_weights *w = find(engine, path);
    if (w || !(w = make(engine, path, e)))
        return w;
    w->alone = mem_zeroed(1, sizeof *w->alone);
    if (!w->alone)
        err_nomem(e, "a VAE");
    if (w->alone && (path_is_folder(path) ? alone_folder(w->alone, path, e) : alone_file(w->alone, path, e))) {
        w->alone->parts.family = &family_sd; /* of which nothing counts but that there is one */
        w->pipeline = pipeline_new(&(struct pipeline_source){ .model = &w->alone->parts, .weights = alone_weights, .self = w->alone },
                                   engine->backend, engine->type, e);
    }
    if (w->pipeline)
        return enter(engine, w);
    flow_weights_drop(w);
    return NULL;
}

struct pipeline *engine_use(struct flow_engine *engine, const struct flow_weights *w)
{
    enum { ROOM = 1 << 30 };
    size_t others = 0, available = mem_available();
    for (size_t i = 0; i < engine->model_count; i++)
        others += engine->models[i] == w ? 0 : pipeline_memory(engine->models[i]->pipeline);
    for (size_t i = 0; others && available && available < others + ROOM && i < engine->model_count; i++)
        if (engine->models[i] != w)
            pipeline_rest(engine->models[i]->pipeline);
    return w->pipeline;
}
