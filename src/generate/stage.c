#include <stdio.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "graph/passes.h"

static bool is_text(int stage)
{
    return stage < TEXT_PARTS;
}

/* One row of ids at a time: texts may have several, and negative words need none where they are zeros. */
static void text_graph(struct pipeline *p, struct net *n, enum model_part part, const struct draw_request *r,
                       const struct draw_sizes *s, struct stage *stage)
{
    const struct model_parts *m = p->source.model;
    const struct text_encoder *t = &m->text[part];
    unsigned has = (m->family->pools && part == model_pooling_part(m) ? TEXT_POOLED : 0) | (s->given[part] ? TEXT_VECTORS : 0);
    struct text_values v = t->kind->graph(n, t, m->family->states, r->clip_skip, has);
    stage->out[0] = v.states;
    stage->out[1] = v.unskipped;
    stage->out[2] = v.pooled;
}

void add_text_time(const struct pipeline *p, struct net *n, const struct draw_sizes *s, struct unet_extra *extra)
{
    const struct model_parts *m = p->source.model;
    float ids[FAMILY_MAX_TIME_IDS];
    int64_t count = (int64_t)m->family->time_ids(&m->settings, &(struct picture_facts){ 0 }, false, ids);
    extra->pooled = graph_input(n->g, "pooled", n->type, SHAPE(s->rows, s->pooled_width));
    extra->time_ids = graph_input(n->g, "time_ids", DTYPE_F32, SHAPE(s->rows, count));
}

static void unet_graph(struct pipeline *p, struct net *n, const struct draw_sizes *s, struct stage *stage)
{
    const struct model_parts *m = p->source.model;
    struct value latent = graph_input(n->g, "latent", n->type, SHAPE(s->rows, s->h, s->w, s->channels));
    if (s->extra)
        latent = op_concat(n->g, latent, graph_input(n->g, "extra", n->type, SHAPE(s->rows, s->h, s->w, s->extra)), -1);
    struct value timestep = graph_input(n->g, "timestep", DTYPE_F32, SHAPE(s->rows));
    struct value text = graph_input(n->g, "text", n->type, SHAPE(s->rows, s->tokens, s->text_width));
    struct unet_extra extra = { .pooled = VALUE_NONE, .controlled = s->controlled };
    if (m->unet.text_time)
        add_text_time(p, n, s, &extra);
    if (m->unet.guidance_dim)
        extra.guidance = graph_input(n->g, "guidance", DTYPE_F32, SHAPE(s->rows));
    stage->out[0] = unet(n, &m->unet, latent, timestep, text, &extra);
}

static void vae_graph(struct pipeline *p, struct net *n, const struct draw_sizes *s, struct stage *stage)
{
    struct value latent = graph_input(n->g, "latent", n->type, SHAPE(1, s->tile_h, s->tile_w, s->channels));
    stage->out[0] = vae_decode(n, &p->source.model->vae, latent);
}

static void encoder_graph(struct pipeline *p, struct net *n, const struct draw_sizes *s, struct stage *stage)
{
    const struct vae_config *vae = &p->source.model->vae;
    int64_t cell = vae_factor(vae);
    struct value picture = graph_input(n->g, "picture", n->type, SHAPE(1, s->tile_h * cell, s->tile_w * cell, vae->in_channels));
    stage->out[0] = vae_encode(n, vae, picture);
}

void stage_graph(struct pipeline *p, struct net *n, int which, const struct draw_request *r, const struct draw_sizes *s,
                 struct stage *stage)
{
    if (is_text(which))
        text_graph(p, n, stage_part(which), r, s, stage);
    else if (which == PART_UNET)
        unet_graph(p, n, s, stage);
    else if (which == STAGE_ENCODER)
        encoder_graph(p, n, s, stage);
    else
        vae_graph(p, n, s, stage);
}

bool stage_make(struct pipeline *p, int which, const struct draw_request *r, const struct draw_sizes *s, struct err *e)
{
    struct stage *stage = &p->stages[which];
    enum model_part part = stage_part(which);
    const int64_t of_text[STAGE_KEYS] = { 1, r->clip_skip, is_text(which) && s->given[part] };
    const int64_t of_unet[STAGE_KEYS] = { s->rows, s->h, s->w, s->tokens, s->controlled }, of_vae[STAGE_KEYS] = { 1, s->tile_h, s->tile_w };
    const int64_t *key = is_text(which) ? of_text : which == PART_UNET ? of_unet : of_vae;
    struct lora_use uses[LORA_MOST];
    size_t count = stage_loras(part, r, uses);
    if (stage->program && !memcmp(stage->key, key, sizeof stage->key) &&
        lora_mix_serves(stage->mix, model_part_names[part], uses, count)) {
        stage->rescaled = lora_mix_rescale(stage->mix, uses, count) || stage->rescaled;
        return true;
    }
    stage_drop(p, which);
    if (count && !(stage->mix = lora_mix_new(&p->modules, model_part_names[part], uses, count, e)))
        return false;
    const struct weights *stored = p->source.weights(p->source.self, part, e);
    if (e->code) {
        stage_drop(p, which);
        return false;
    }
    struct graph g;
    graph_init(&g);
    params_init(&stage->params);
    struct net n = { .g = &g, .type = p->type, .part = model_part_names[part], .stored = stored, .trained = !stored,
                     .params = &stage->params, .adapters = lora_mix_adapters(stage->mix) };
    stage_graph(p, &n, which, r, s, stage);
    for (int i = 0; i < STAGE_OUTPUTS; i++)
        if (stage->out[i].id)
            graph_output(&g, stage->out[i]);
    if (graph_ok(&g, e)) {
        graph_fuse(&g, true);
        graph_prune(&g);
        stage->program = program_new(p->backend, &g, e);
    } else {
        graph_release(&g);
    }
    memcpy(stage->key, key, sizeof stage->key);
    if (!stage->program)
        stage_drop(p, which);
    return stage->program || err_add(e, "making the %s program", stage_name(which));
}

bool stage_bind(struct pipeline *p, int which, struct err *e)
{
    struct stage *stage = &p->stages[which];
    enum model_part part = stage_part(which);
    if (stage->bound && !stage->rescaled)
        return true;
    bool again = stage->bound;
    if (!again) {
        const struct weights *stored = p->source.weights(p->source.self, part, e);
        stage->bound = !e->code && (stored ? params_bind(&stage->params, stage->program, stored, e)
                                           : p->source.bind(p->source.self, part, stage->program, e));
    }
    stage->rescaled = true; /* until it has succeeded */
    if (!stage->bound || !params_bind_adapted(&stage->params, stage->program, again, e)) {
        stage->bound = stage->bound && again;
        return false;
    }
    stage->rescaled = false;
    return true;
}

void stage_drop(struct pipeline *p, int which)
{
    struct stage *stage = &p->stages[which];
    struct err ignored = { 0 };
    program_free(stage->program);
    if (which == PART_UNET)
        controls_release(&p->controls);
    const struct weights *stored = stage->bound ? p->source.weights(p->source.self, stage_part(which), &ignored) : NULL;
    for (size_t i = 0; stored && i < stage->params.count; i++)
        if (stage->params.at[i].stored)
            weights_forget(stored, stage->params.at[i].stored);
    params_release(&stage->params);
    lora_mix_free(stage->mix);
    *stage = (struct stage){ 0 };
}

struct program_memory stage_memory(const struct stage *s)
{
    return s->program ? program_memory(s->program) : (struct program_memory){ 0 };
}
