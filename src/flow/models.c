/* Models that are loaded, and stay while somebody needs them. */
#include <string.h>

#include "base/mem.h"
#include "flow/run_internal.h"

static const struct weights *alone_weights(void *self, enum model_part part, struct err *e)
{
    const struct model_alone *a = self;
    if (!a->weights[part])
        err_set(e, ERR_MISSING, "what was loaded has no %s", model_part_names[part]);
    return a->weights[part];
}

static void alone_free(struct model_alone *a)
{
    if (a)
        model_alone_release(a);
    mem_free(a);
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

struct flow_weights *engine_alone(struct flow_engine *engine, const struct alone_files *files, const struct model_places *places, struct err *e)
{
    char name[4 * PATH_MAX_BYTES];
    const char *text = files->text[0] ? files->text[0] : "", *second = files->text[1] ? files->text[1] : "";
    snprintf(name, sizeof name, "alone|%s|%s|%s|%s|%d", files->unet ? files->unet : "", text, second, files->vae ? files->vae : "", (int)files->type);
    struct flow_weights *w = find(engine, name);
    if (w || !(w = make(engine, name, e)))
        return w;
    w->alone = mem_zeroed(1, sizeof *w->alone);
    bool good = w->alone ? model_alone_open(w->alone, files, e) : err_nomem(e, "a model's part");
    if (good)
        w->pipeline = pipeline_new(&(struct pipeline_source){ .model = &w->alone->parts, .scheduler = &w->alone->scheduler,
                                                              .weights = alone_weights, .self = w->alone }, engine->backend, engine->type, e);
    if (w->pipeline && (!files->text[0] || add_embeddings(w->pipeline, places, e)))
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
