#include <stdio.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "graph/passes.h"

/* ids i32 [rows, tokens]: the prompt, then with two rows the negative prompt. Layers are skipped for the prompt only. */
static void text_graph(struct pipeline *p, struct net *n, const struct draw_request *r, const struct draw_sizes *s,
                       struct stage *stage)
{
    const struct clip_config *c = p->source.text;
    int64_t rows = s->guided ? 2 : 1;
    if (rows == 2 && r->clip_skip) {
        stage->out[0] = clip_text(n, c, graph_input(n->g, "ids", DTYPE_I32, SHAPE(1, s->tokens)), r->clip_skip);
        stage->out[1] = clip_text(n, c, graph_input(n->g, "negative", DTYPE_I32, SHAPE(1, s->tokens)), 0);
    } else {
        stage->out[0] = clip_text(n, c, graph_input(n->g, "ids", DTYPE_I32, SHAPE(rows, s->tokens)), r->clip_skip);
    }
}

static void unet_graph(struct pipeline *p, struct net *n, const struct draw_sizes *s, struct stage *stage)
{
    struct value latent = graph_input(n->g, "latent", n->type, SHAPE(s->rows, s->h, s->w, s->channels));
    struct value timestep = graph_input(n->g, "timestep", DTYPE_F32, SHAPE(s->rows));
    struct value text = graph_input(n->g, "text", n->type, SHAPE(s->rows, s->tokens, s->text_width));
    stage->out[0] = unet(n, p->source.unet, latent, timestep, text);
}

static void vae_graph(struct pipeline *p, struct net *n, const struct draw_sizes *s, struct stage *stage)
{
    struct value latent = graph_input(n->g, "latent", n->type, SHAPE(1, s->h, s->w, s->channels));
    stage->out[0] = vae_decode(n, p->source.vae, latent);
}

bool stage_make(struct pipeline *p, enum model_part part, const struct draw_request *r, const struct draw_sizes *s,
                struct err *e)
{
    struct stage *stage = &p->stages[part];
    int64_t keys[PART_COUNT][STAGE_KEYS] = {
        [PART_TEXT] = { s->guided, r->clip_skip, s->tokens },
        [PART_UNET] = { s->rows, s->h, s->w },
        [PART_VAE] = { 1, s->h, s->w },
    };
    if (stage->program && !memcmp(stage->key, keys[part], sizeof stage->key))
        return true;
    stage_drop(p, part);
    const struct weights *stored = p->source.weights(p->source.self, part, e);
    if (e->code)
        return false;
    struct graph g;
    graph_init(&g);
    params_init(&stage->params);
    struct net n = { &g, p->type, model_part_names[part], stored, !stored, &stage->params };
    if (part == PART_TEXT)
        text_graph(p, &n, r, s, stage);
    else if (part == PART_UNET)
        unet_graph(p, &n, s, stage);
    else
        vae_graph(p, &n, s, stage);
    for (int i = 0; i < 2; i++)
        if (stage->out[i].id)
            graph_output(&g, stage->out[i]);
    if (graph_ok(&g, e)) {
        graph_fuse(&g, true);
        graph_prune(&g);
        stage->program = program_new(p->backend, &g, e);
    } else {
        graph_release(&g);
    }
    memcpy(stage->key, keys[part], sizeof stage->key);
    if (!stage->program)
        stage_drop(p, part);
    return stage->program || err_add(e, "making the %s program", model_part_names[part]);
}

bool stage_bind(struct pipeline *p, enum model_part part, struct err *e)
{
    struct stage *stage = &p->stages[part];
    if (stage->bound)
        return true;
    const struct weights *stored = p->source.weights(p->source.self, part, e);
    stage->bound = !e->code && (stored ? params_bind(&stage->params, stage->program, stored, e)
                                       : p->source.bind(p->source.self, part, stage->program, e));
    return stage->bound;
}

void stage_drop(struct pipeline *p, enum model_part part)
{
    struct stage *stage = &p->stages[part];
    struct err ignored = { 0 };
    program_free(stage->program);
    const struct weights *stored = stage->bound ? p->source.weights(p->source.self, part, &ignored) : NULL;
    for (size_t i = 0; stored && i < stage->params.count; i++)
        weights_forget(stored, stage->params.at[i].stored);
    params_release(&stage->params);
    *stage = (struct stage){ 0 };
}

struct program_memory stage_memory(const struct stage *s)
{
    return s->program ? program_memory(s->program) : (struct program_memory){ 0 };
}
