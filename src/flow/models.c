/* Models that are loaded, and stay while somebody needs them. */
#include <string.h>

#include "base/mem.h"
#include "flow/run_internal.h"

void flow_weights_drop(struct flow_weights *w)
{
    if (!w || --w->holders)
        return;
    pipeline_free(w->pipeline);
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
    snprintf(out, bytes, "%s|%s|%s|%d", f->path, f->config ? f->config : "", f->vae ? f->vae : "", (int)f->predicts);
}

struct flow_weights *engine_weights(struct flow_engine *engine, const struct model_files *files, const struct model_places *places,
                                    struct err *e)
{
    char name[3 * PATH_MAX_BYTES];
    name_of(name, sizeof name, files);
    for (size_t i = 0; i < engine->model_count; i++)
        if (!strcmp(engine->models[i]->path, name)) {
            engine->models[i]->holders++;
            return engine->models[i];
        }
    flow_engine_unload(engine, false); /* nobody holds them any more, and the new one wants the room */
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
    w->pipeline = pipeline_open_files(files, engine->backend, engine->type, e);
    if (!w->pipeline || !add_embeddings(w->pipeline, places, e)) {
        flow_weights_drop(w);
        return NULL;
    }
    pipeline_keep(w->pipeline, true);
    engine->models[engine->model_count++] = w;
    w->holders++;
    return w;
}
