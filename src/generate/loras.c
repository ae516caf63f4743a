/* The LoRAs of a pipeline: what modules its model has, and the files that were asked for. */
#include <sys/stat.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

/* Writes the part's graph at a small size, without weights, to see which modules it has. */
static bool note_part(struct pipeline *p, enum model_part part, struct err *e)
{
    const struct model_parts *m = p->source.model;
    enum { SIDE = 64 };
    struct draw_sizes s = { .rows = 1, .channels = m->vae.latent_channels, .h = SIDE, .w = SIDE, .tile_h = SIDE, .tile_w = SIDE, .extra = model_extra_channels(m),
                            .tokens = 1, .text_width = model_text_width(m), .pooled_width = model_pooled_width(m) };
    struct draw_request r = { .batch = 1 };
    struct stage stage = { 0 };
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = model_part_names[part], .trained = true, .params = &params };
    stage_graph(p, &n, part, &r, &s, &stage);
    bool good = graph_ok(&g, e) && lora_modules_add(&p->modules, model_part_names[part], &params, e);
    graph_release(&g);
    params_release(&params);
    return good;
}

static bool find_modules(struct pipeline *p, struct err *e)
{
    bool good = true;
    if (p->modules.part_count)
        return true;
    for (int part = 0; good && part < PART_COUNT; part++) /* parts that are not there have none (model/family/alone.h) */
        if (part == PART_UNET ? p->source.model->unet.blocks : part < TEXT_PARTS && p->source.model->text[part].kind)
            good = note_part(p, (enum model_part)part, e);
    if (!good)
        lora_modules_release(&p->modules);
    return good;
}

const struct lora *pipeline_lora(struct pipeline *p, const char *path, double alpha, struct err *e)
{
    struct text name;
    struct stat s = { 0 }; /* a training writes its LoRA again: what is there now is another one. No file: lora_open says so */
    (void)!stat(path, &s);
    text_init(&name, 2 * PATH_MAX_BYTES);
    text_addf(&name, "%s:%.17g:%lld-%lld-%ld", path, alpha, (long long)s.st_size, (long long)s.st_mtim.tv_sec, (long)s.st_mtim.tv_nsec);
    const struct lora *found = NULL;
    bool good = text_ok(&name, e) && find_modules(p, e);
    for (size_t i = 0; good && i < p->lora_count && !found; i++)
        found = strcmp(p->lora_paths[i], text_string(&name)) ? NULL : p->loras[i];
    if (good && !found) {
        size_t cap = p->lora_count, cap_paths = p->lora_count;
        struct lora **loras = mem_grow(p->loras, &cap, p->lora_count + 1, sizeof *loras);
        p->loras = loras ? loras : p->loras;
        char **paths = loras ? mem_grow(p->lora_paths, &cap_paths, p->lora_count + 1, sizeof *paths) : NULL;
        p->lora_paths = paths ? paths : p->lora_paths;
        char *copy = paths ? mem_string(text_string(&name)) : NULL;
        struct lora *l = copy ? lora_open(path, &p->modules, alpha, e) : NULL;
        if (l) {
            p->loras[p->lora_count] = l;
            p->lora_paths[p->lora_count++] = copy;
            found = l;
        } else {
            mem_free(copy);
            if (!e->code)
                err_nomem(e, "the list of LoRAs");
        }
    }
    text_release(&name);
    return found;
}

void pipeline_loras_release(struct pipeline *p)
{
    for (size_t i = 0; i < p->lora_count; i++) {
        lora_free(p->loras[i]);
        mem_free(p->lora_paths[i]);
    }
    mem_free(p->loras);
    mem_free(p->lora_paths);
    lora_modules_release(&p->modules);
}

size_t stage_loras(enum model_part part, const struct draw_request *r, struct lora_use *uses)
{
    for (size_t i = 0; part != PART_VAE && i < r->lora_count; i++)
        uses[i] = (struct lora_use){ r->loras[i].lora, (int)part < TEXT_PARTS ? r->loras[i].text : r->loras[i].unet };
    return part == PART_VAE ? 0 : r->lora_count;
}
