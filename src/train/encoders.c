#include "train/encoders.h"

#include <math.h>

#include "base/mem.h"
#include "graph/passes.h"

void encoders_init(struct encoders *c, struct model_folder *model, const struct backend *backend, enum dtype type)
{
    *c = (struct encoders){ .model = model, .backend = backend, .type = type };
}

static void drop(struct encoder *m)
{
    program_free(m->program);
    params_release(&m->params);
    *m = (struct encoder){ 0 };
}

void encoders_release(struct encoders *c)
{
    for (int i = 0; i < TEXT_PARTS; i++)
        drop(&c->text[i]);
    drop(&c->vae);
}

/* The graph is written; makes the program and gives it its weights. */
static bool finish(struct encoders *c, struct encoder *m, struct graph *g, const struct weights *stored, struct err *e)
{
    graph_output(g, m->out);
    if (m->pooled.id)
        graph_output(g, m->pooled);
    if (!graph_ok(g, e)) {
        graph_release(g);
        return false;
    }
    graph_fuse(g, true);
    graph_prune(g);
    m->program = program_new(c->backend, g, e);
    return m->program && params_bind(&m->params, m->program, stored, e);
}

static bool make_text(struct encoders *c, enum model_part part, struct err *e)
{
    const struct model_parts *parts = &c->model->parts;
    const struct text_encoder *t = &parts->text[part];
    struct encoder *m = &c->text[part];
    const struct weights *stored = model_folder_weights(c->model, part, e);
    struct graph g;
    if (!stored)
        return false;
    graph_init(&g);
    struct net n = { .g = &g, .type = c->type, .part = model_part_names[part], .stored = stored, .params = &m->params };
    bool pools = parts->family->pools && part == model_pooling_part(parts);
    struct text_values v = t->kind->graph(&n, t, parts->family->states, 0, pools ? TEXT_POOLED : 0);
    m->out = v.states;
    m->pooled = v.pooled;
    if (finish(c, m, &g, stored, e))
        return true;
    drop(m);
    return err_add(e, "making the program of %s", model_part_names[part]);
}

bool encoders_row(struct encoders *c, enum model_part part, const int32_t *ids, float *states, float *pooled, struct err *e)
{
    const struct model_parts *parts = &c->model->parts;
    const struct text_encoder *t = &parts->text[part];
    struct encoder *m = &c->text[part];
    if ((!m->program && !make_text(c, part, e)) || !t->kind->run(t, m->program, ids, e))
        return err_add(e, "encoding words");
    int64_t column = 0, width = model_text_width(parts);
    for (int i = 0; i < (int)part; i++)
        column += parts->text[i].width;
    const char *from = program_output(m->program, m->out);
    for (int64_t k = 0; k < t->tokens; k++)
        dtype_convert(states + k * width + column, DTYPE_F32, from + (size_t)(k * t->width) * dtype_bytes(c->type), c->type,
                      (size_t)t->width);
    if (m->pooled.id && pooled)
        dtype_convert(pooled, DTYPE_F32, program_output(m->program, m->pooled), c->type, (size_t)t->pooled);
    return true;
}

bool encoders_words(struct encoders *c, const char *words, float *states, float *pooled, struct err *e)
{
    for (int i = 0; i < TEXT_PARTS; i++) {
        const struct text_encoder *t = &c->model->parts.text[i];
        if (!t->kind)
            continue;
        int32_t *ids = mem_zeroed((size_t)t->tokens, sizeof *ids);
        bool good = ids ? t->kind->ids(t, words, ids, e) && encoders_row(c, (enum model_part)i, ids, states, pooled, e)
                        : err_nomem(e, "the words' tokens");
        mem_free(ids);
        if (!good)
            return err_add(e, "in the words \"%.80s\"", words);
    }
    return true;
}

static bool make_vae(struct encoders *c, int64_t h, int64_t w, struct err *e)
{
    const struct vae_config *vae = &c->model->parts.vae;
    const struct weights *stored = model_folder_weights(c->model, PART_VAE, e);
    struct encoder *m = &c->vae;
    struct graph g;
    if (!stored)
        return false;
    drop(m);
    graph_init(&g);
    struct net n = { .g = &g, .type = c->type, .part = model_part_names[PART_VAE], .stored = stored, .params = &m->params };
    struct value picture = graph_input(&g, "picture", DTYPE_F32, SHAPE(1, h, w, vae->in_channels));
    m->out = op_cast(&g, vae_encode(&n, vae, op_cast(&g, picture, n.type)), DTYPE_F32);
    m->h = h;
    m->w = w;
    if (finish(c, m, &g, stored, e))
        return true;
    drop(m);
    return err_add(e, "making the VAE's program");
}

bool encoders_picture(struct encoders *c, const float *pixels, int64_t h, int64_t w, float *moments, struct err *e)
{
    const struct vae_config *vae = &c->model->parts.vae;
    struct encoder *m = &c->vae;
    if ((!m->program || m->h != h || m->w != w) && !make_vae(c, h, w, e))
        return false;
    if (!program_set_input(m->program, "picture", pixels, e) || !program_run_stoppable(m->program, e))
        return err_add(e, "encoding a picture");
    int64_t factor = vae_factor(vae), cells = h / factor * (w / factor), channels = vae->latent_channels;
    const float *said = program_output(m->program, m->out);
    float *mean = moments, *deviation = moments + cells * channels;
    for (int64_t i = 0; i < cells; i++)
        for (int64_t k = 0; k < channels; k++) {
            double norm = vae->normed ? vae->deviation[k] : 1, centre = vae->normed ? vae->mean[k] : 0;
            double scale = vae->scaling_factor / norm, logvar = (double)said[i * 2 * channels + channels + k];
            mean[i * channels + k] = (float)(((double)said[i * 2 * channels + k] - centre) * scale);
            /* as diffusers keeps a log variance in -30..20 */
            deviation[i * channels + k] = (float)(scale * exp(0.5 * fmin(fmax(logvar, -30), 20)));
            if (!isfinite(mean[i * channels + k]))
                return err_set(e, ERR_FORMAT, "the VAE gives %g for a picture", (double)mean[i * channels + k]);
        }
    return true;
}
