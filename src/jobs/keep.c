#include "jobs/keep.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "image/phash.h"
#include "image/picture_texts.h"
#include "jobs/told_internal.h"
#include "store/picture_files.h"

/* The ending for a file's first bytes; NULL: a kind that is not named here. */
static const char *type_of(const unsigned char *p, size_t bytes)
{
    static const struct {
        const char *begin;
        size_t bytes;
        const char *type;
    } kinds[] = { { "\x89PNG\r\n\x1a\n", 8, "png" }, { "\xff\xd8\xff", 3, "jpg" }, { "GIF8", 4, "gif" }, { "II*\0", 4, "tif" }, { "MM\0*", 4, "tif" } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (bytes >= kinds[i].bytes && !memcmp(p, kinds[i].begin, kinds[i].bytes))
            return kinds[i].type;
    return bytes > 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4) ? "webp" : NULL;
}

static bool read_texts(struct kept *k, struct told *told, const void *data, size_t bytes, struct err *e)
{
    struct picture_texts texts;
    if (!picture_texts_read(&texts, data, bytes, e))
        return false;
    k->facts.parameters = texts.parameters ? told_keep(told, texts.parameters, strlen(texts.parameters)) : NULL;
    k->facts.graph = texts.prompt ? told_keep(told, texts.prompt, strlen(texts.prompt)) : NULL;
    k->facts.workflow = texts.workflow ? told_keep(told, texts.workflow, strlen(texts.workflow)) : NULL;
    picture_texts_release(&texts);
    int64_t width = k->facts.width, height = k->facts.height;
    /* who writes both says more in words: which sampler a model's own is, for one; but LoRAs may be told by the graph alone */
    struct gallery_facts graph = { 0 }, *f = &k->facts;
    bool worded = f->parameters && told_parameters(told, f, f->parameters);
    if (f->graph && told_graph(told, worded ? &graph : f, f->graph) && worded && !f->lora_count) {
        memcpy(f->loras, graph.loras, sizeof f->loras);
        f->lora_count = graph.lora_count;
    }
    k->facts.width = width; /* the file's, whatever its texts say */
    k->facts.height = height;
    return true;
}

bool kept_read(struct kept *k, const void *data, size_t bytes, const char *name, struct err *e)
{
    struct image image = { 0 };
    const char *type = type_of(data, bytes);
    *k = (struct kept){ .texts = mem_zeroed(1, sizeof(struct told)) };
    struct told *told = k->texts;
    if (!told)
        return err_nomem(e, "a picture");
    k->facts = (struct gallery_facts){ .type = k->type, .bytes = (int64_t)bytes };
    bool good = image_decode(&image, data, bytes, name, IMAGE_FLATTEN, 0xffffff, e) && phash_of(&k->facts.look, &image, e);
    if (good) {
        strcpy(k->type, type ? type : "img");
        k->facts.has_look = true;
        k->facts.width = image.width;
        k->facts.height = image.height;
        k->facts.name = told_keep(told, name, strlen(name));
    }
    image_release(&image);
    good = good && read_texts(k, told, data, bytes, e);
    if (!good)
        kept_release(k);
    return good;
}

void kept_release(struct kept *k)
{
    if (k->texts)
        told_release(k->texts);
    mem_free(k->texts);
    *k = (struct kept){ 0 };
}

/* What `more` knows wins over what was read. */
static void lay_over(struct gallery_facts *f, const struct gallery_facts *more)
{
    const struct gallery_facts *m = more;
    f->owner = m->owner ? m->owner : f->owner;
    f->created_ms = m->created_ms ? m->created_ms : f->created_ms;
    f->prompt = m->prompt ? m->prompt : f->prompt;
    f->negative = m->negative ? m->negative : f->negative;
    f->model = m->model ? m->model : f->model;
    f->model_hash = m->model_hash ? m->model_hash : f->model_hash;
    f->vae = m->vae ? m->vae : f->vae;
    f->sampler = m->sampler ? m->sampler : f->sampler;
    f->schedule = m->schedule ? m->schedule : f->schedule;
    f->steps = m->steps ? m->steps : f->steps;
    f->clip_skip = m->clip_skip ? m->clip_skip : f->clip_skip;
    f->cfg = m->cfg > 0 ? m->cfg : f->cfg;
    f->strength = m->strength > 0 ? m->strength : f->strength;
    f->seed = m->has_seed ? m->seed : f->seed;
    f->has_seed = f->has_seed || m->has_seed;
    f->name = m->name ? m->name : f->name;
    f->source = m->source ? m->source : f->source;
    f->job = m->job ? m->job : f->job;
    f->graph = m->graph ? m->graph : f->graph;
    f->workflow = m->workflow ? m->workflow : f->workflow;
    f->parameters = m->parameters ? m->parameters : f->parameters;
    if (m->lora_count) {
        memcpy(f->loras, m->loras, sizeof f->loras);
        f->lora_count = m->lora_count;
    }
    if (m->parent_count) {
        memcpy(f->parents, m->parents, sizeof f->parents);
        f->parent_count = m->parent_count;
    }
}

bool keep_picture(struct store *s, const char *folder, const void *data, size_t bytes, const struct gallery_facts *more, int64_t *id,
                  bool *added, struct err *e)
{
    struct kept k;
    if (!kept_read(&k, data, bytes, more && more->name ? more->name : "picture", e))
        return false;
    if (more)
        lay_over(&k.facts, more);
    k.facts.hash = k.hash;
    struct db *db = picture_file_put(folder, data, bytes, k.type, k.hash, e) ? store_begin(s, STORE_WRITE, e) : NULL;
    bool good = store_end(db, db && gallery_add(db, &k.facts, id, added, e), e);
    kept_release(&k);
    return good;
}

bool keep_file(struct store *s, const char *folder, const char *path, const char *source, struct err *e)
{
    char *data;
    size_t bytes;
    int64_t id;
    bool added;
    struct gallery_facts more = { .owner = "", .name = path_name(path), .source = source };
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, e))
        return false;
    bool good = keep_picture(s, folder, data, bytes, &more, &id, &added, e);
    mem_free(data);
    return good;
}
