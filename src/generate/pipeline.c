#include <stdio.h>

#include "base/mem.h"
#include "generate/generate_internal.h"

static const struct weights *folder_weights(void *self, enum model_part part, struct err *e)
{
    return model_folder_weights(self, part, e);
}

struct pipeline_source pipeline_source_of(struct model_folder *folder)
{
    return (struct pipeline_source){ &folder->parts, &folder->scheduler, folder_weights, NULL, folder };
}

struct pipeline *pipeline_new(const struct pipeline_source *source, const struct backend *backend, enum dtype type,
                              struct err *e)
{
    struct pipeline *p = mem_zeroed(1, sizeof *p);
    if (!p) {
        err_nomem(e, "a pipeline");
        return NULL;
    }
    p->source = *source;
    p->backend = backend;
    p->type = type;
    return p;
}

struct pipeline *pipeline_open(const char *folder, const struct backend *backend, enum dtype type, struct err *e)
{
    return pipeline_open_files(&(struct model_files){ .path = folder }, backend, type, e);
}

struct pipeline *pipeline_open_files(const struct model_files *files, const struct backend *backend, enum dtype type,
                                     struct err *e)
{
    struct pipeline *p = pipeline_new(&(struct pipeline_source){ 0 }, backend, type, e);
    if (p && !model_folder_open_files(&p->folder, files, e)) {
        mem_free(p);
        return NULL;
    }
    if (p)
        p->source = pipeline_source_of(&p->folder);
    return p;
}

void pipeline_free(struct pipeline *p)
{
    if (!p)
        return;
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        stage_drop(p, stage);
    pipeline_forget_words(p);
    pipeline_loras_release(p);
    inversions_free(p->inversions);
    model_folder_release(&p->folder);
    mem_free(p);
}

const struct model_folder *pipeline_folder(const struct pipeline *p)
{
    return p->folder.path[0] ? &p->folder : NULL;
}

const struct model_parts *pipeline_model(const struct pipeline *p)
{
    return p->source.model;
}

const struct scheduler_config *pipeline_scheduler(const struct pipeline *p)
{
    return p->source.scheduler;
}

bool pipeline_embeddings(struct pipeline *p, const char *folder, struct err *e)
{
    if (!p->inversions && !(p->inversions = inversions_new(e)))
        return false;
    return inversions_add(p->inversions, folder, e);
}

void pipeline_keep(struct pipeline *p, bool keep)
{
    p->keep = keep;
}

struct draw_request draw_request_defaults(const struct pipeline *p)
{
    return (struct draw_request){
        .steps = p->folder.default_steps ? p->folder.default_steps : 20,
        .cfg = p->folder.default_cfg > 0 ? p->folder.default_cfg : 7.5,
        .eta = -1,
        .batch = 1,
        .strength = 0.75,
    };
}

/* One pass. */
static bool plan_pass(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *sizes, struct draw_plan *out,
                      struct err *e)
{
    struct draw_sizes s = *sizes;
    struct program_memory all = { 0 };
    size_t held = 0;
    *out = (struct draw_plan){ .stage = "", .vae_tile = r->vae_tile > 0 ? r->vae_tile : 0 };
    for (int which = 0; which < STAGE_COUNT; which++) {
        struct stage *stage = &p->stages[which];
        bool needed = which != STAGE_ENCODER || s.encodes;
        if (which < TEXT_PARTS)
            needed = p->source.model->text[which].kind && !pipeline_knows(p, r, &s);
        if (needed && !stage_make(p, which, r, &s, e))
            return false;
        struct program_memory m = stage_memory(stage);
        if (which == PART_UNET && r->control_count) {
            if (!controls_make(&p->controls, p, r->controls, r->control_count, &s, e))
                return false;
            struct program_memory more = controls_memory(&p->controls);
            m.arena += more.arena;
            m.packed += more.packed;
            m.borrowed += more.borrowed;
        }
        size_t weights = m.packed + m.borrowed;
        if (stage->bound)
            held += weights + m.arena;
        if (weights + m.arena > out->weights + out->activations) {
            out->weights = weights;
            out->activations = m.arena;
            out->stage = stage_name(which);
        }
        all.arena += m.arena;
        all.packed += weights;
    }
    if (p->keep) {
        out->weights = all.packed;
        out->activations = all.arena;
        out->stage = "all";
    }
    enum { SAMPLER_ARRAYS = 12 };
    size_t latents = (size_t)(r->batch * s.channels * s.h * s.w) * sizeof(float);
    size_t states = (size_t)(s.rows * (s.tokens * s.text_width + s.pooled_width)) * dtype_bytes(p->type);
    out->caches = SAMPLER_ARRAYS * latents + 2 * states + (size_t)(s.width * s.height) * 3 * ((size_t)r->batch + 4);
    if (s.encodes) /* moments twice, and a latent, noise and input of each picture; pixels in f32 and `type` */
        out->caches += (4 + 3 * (size_t)r->batch) * latents / (size_t)r->batch + (size_t)(s.width * s.height) * 3 * 8;
    out->process = mem_rss();
    out->process -= held < out->process ? held : out->process;
    out->peak = out->process + out->weights + out->activations + out->caches;
    return true;
}

/* Both passes, the second first: the drawing then finds the programs of the first. */
static bool plan_once(struct pipeline *p, const struct draw_request *r, struct draw_plan *out, struct err *e)
{
    struct draw_request again;
    struct draw_sizes s;
    struct draw_plan second = { 0 };
    if (!request_check(p, r, &s, e))
        return false;
    if (r->hires.width || r->hires.height) {
        struct draw_sizes large;
        if (!hires_request(p, r, &again, &large, e) || !plan_pass(p, &again, &large, &second, e))
            return false;
    }
    if (r->refiner) { /* whose stages come when the base's are gone, unless those stay */
        struct draw_sizes sizes;
        again = refine_request(r, &s);
        if (!request_check(r->refiner, &again, &sizes, e) || !plan_pass(r->refiner, &again, &sizes, &second, e))
            return err_add(e, "in the refiner");
    }
    if (!plan_pass(p, r, &s, out, e))
        return false;
    if (r->refiner && r->refiner->keep) {
        out->weights += second.weights;
        out->activations += second.activations;
        out->peak += second.weights + second.activations;
    }
    if (second.peak > out->peak)
        *out = second;
    return true;
}

bool pipeline_plan_within(struct pipeline *p, const struct draw_request *r, size_t available, struct draw_plan *out,
                          struct err *e)
{
    struct draw_request tiled = *r;
    if (!plan_once(p, r, out, e))
        return false;
    int64_t cell = vae_factor(&p->source.model->vae), whole = p->source.model->unet.sample_size * cell;
    int64_t width = r->width ? r->width : whole, height = r->height ? r->height : whole;
    tiled.vae_tile = width > height ? width : height;
    while (r->vae_tile == 0 && available && out->weights + out->activations + out->caches > available) {
        bool vae = p->keep || !strcmp(out->stage, stage_name(PART_VAE)) || !strcmp(out->stage, stage_name(STAGE_ENCODER));
        tiled.vae_tile = (tiled.vae_tile / 2 + cell - 1) / cell * cell;
        if (!vae || tiled.vae_tile < MIN_TILE_CELLS * cell)
            break;
        if (!plan_once(p, &tiled, out, e))
            return false;
    }
    return true;
}

bool pipeline_plan(struct pipeline *p, const struct draw_request *r, struct draw_plan *out, struct err *e)
{
    return pipeline_plan_within(p, r, mem_available(), out, e);
}

void pipeline_profile(const struct pipeline *p, struct text *out)
{
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        if (p->stages[stage].bound) {
            text_addf(out, "%s\n", stage_name(stage));
            program_profile_text(p->stages[stage].program, out);
        }
}
