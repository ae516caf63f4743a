#include "train/replay.h"

#include "base/mem.h"

static struct path name_of(int64_t step, const char *what)
{
    return path_of("step%lld.%s", (long long)step, what);
}

static const struct weight *find(const struct replay *r, int64_t step, const char *what)
{
    return weights_find(r->file, name_of(step, what).s);
}

/* The tensor of this shape and kind, which must be there. whole: whole numbers. */
static const struct weight *need(const struct replay *r, int64_t step, const char *what, bool whole, struct shape shape,
                                 struct err *e)
{
    const struct weight *w = weights_need(r->file, name_of(step, what).s, e);
    if (!w)
        return NULL;
    enum dtype wanted = whole ? DTYPE_I64 : DTYPE_F32;
    if (w->type != wanted)
        err_set(e, ERR_TYPE, "%s: %s is %s, want %s", weights_path(r->file), w->name, dtype_name(w->type), dtype_name(wanted));
    else if (!shape_same(w->shape, shape))
        err_set(e, ERR_SHAPE, "%s: %s is %s, want %s", weights_path(r->file), w->name, shape_text(w->shape).s, shape_text(shape).s);
    else if (whole || weights_check_finite(w, e))
        return w;
    return NULL;
}

static const char *const ids_names[TEXT_PARTS] = { "input_ids", "input_ids_2" };

static bool check_range(const struct replay *r, const struct weight *w, int64_t end, struct err *e)
{
    for (int64_t i = 0; i < shape_count(w->shape); i++) {
        int64_t v = ((const int64_t *)w->data)[i];
        if (v < 0 || v >= end)
            return err_set(e, ERR_FORMAT, "%s: %s holds %lld, want 0 to %lld", weights_path(r->file), w->name, (long long)v,
                           (long long)end - 1);
    }
    return true;
}

static bool check_ids(const struct replay *r, int64_t step, const struct model_parts *m, int part, struct err *e)
{
    const struct text_encoder *t = &m->text[part];
    const struct weight *w = need(r, step, ids_names[part], true, SHAPE(r->sizes.n, t->tokens), e);
    return w && check_range(r, w, t->kind == &text_clip ? t->clip.vocab_size : t->chatglm.vocab_size, e);
}

/* Whether the states of a step are given, or made of its ids. */
static bool has_states(const struct replay *r)
{
    return find(r, 0, "encoder_hidden_states") != NULL;
}

static bool check_step(const struct replay *r, int64_t step, const struct model_parts *m, int64_t timesteps, struct err *e)
{
    const struct batch_sizes *s = &r->sizes;
    struct shape latents = SHAPE(s->n, s->channels, s->h, s->w);
    const struct weight *t;
    if (!need(r, step, "latents", false, latents, e) || !need(r, step, "noise", false, latents, e) ||
        !(t = need(r, step, "timesteps", true, SHAPE(s->n), e)) || !check_range(r, t, timesteps, e) ||
        (s->mask && !need(r, step, "mask", false, SHAPE(s->n, 1, s->h, s->w), e)) ||
        (find(r, step, "weights") && !need(r, step, "weights", false, SHAPE(s->n), e)) ||
        (s->time_ids && !need(r, step, "time_ids", false, SHAPE(s->n, s->time_ids), e)))
        return false;
    bool learns = false;
    for (int i = 0; i < TEXT_PARTS; i++)
        learns |= s->ids[i];
    if (s->pooled_width && (has_states(r) || find(r, step, "text_embeds")) && !learns &&
        !need(r, step, "text_embeds", false, SHAPE(s->n, s->pooled_width), e))
        return false;
    if (has_states(r) && !learns)
        return need(r, step, "encoder_hidden_states", false, SHAPE(s->n, s->tokens, s->text_width), e) != NULL;
    for (int i = 0; i < TEXT_PARTS; i++)
        if (m->text[i].kind && !check_ids(r, step, m, i, e))
            return false;
    return true;
}

/* One row of ids of a step. */
static void ids_of(const struct replay *r, int64_t step, int part, int64_t row, int32_t *out)
{
    const int64_t *ids = find(r, step, ids_names[part])->data;
    for (int64_t k = 0; k < r->sizes.tokens; k++)
        out[k] = (int32_t)ids[row * r->sizes.tokens + k];
}

/* Runs the frozen encoders for every step. */
static bool encode(struct replay *r, struct encoders *encoders, struct err *e)
{
    const struct batch_sizes *s = &r->sizes;
    size_t rows = (size_t)(r->steps * s->n), state = (size_t)(s->tokens * s->text_width);
    r->states = mem_zeroed(rows * state, sizeof *r->states);
    r->pooled = s->pooled_width ? mem_zeroed(rows * (size_t)s->pooled_width, sizeof *r->pooled) : NULL;
    int32_t *ids = mem_zeroed((size_t)s->tokens, sizeof *ids);
    bool good = (r->states && ids && (r->pooled || !s->pooled_width)) || err_nomem(e, "the text states");
    for (int64_t row = 0; good && row < (int64_t)rows; row++)
        for (int i = 0; good && i < TEXT_PARTS; i++) {
            if (!encoders->model->parts.text[i].kind || s->ids[i])
                continue;
            ids_of(r, row / s->n, i, row % s->n, ids);
            good = encoders_row(encoders, (enum model_part)i, ids, r->states + (size_t)row * state,
                                r->pooled ? r->pooled + row * s->pooled_width : NULL, e);
        }
    mem_free(ids);
    return good;
}

bool replay_open(struct replay *r, const char *path, const struct model_parts *m, int64_t timesteps, const bool learns[TEXT_PARTS],
                 struct encoders *encoders, struct err *e)
{
    *r = (struct replay){ .file = weights_open(path, e) };
    const struct weight *first = r->file ? weights_need(r->file, "step0.latents", e) : NULL;
    float ids[FAMILY_MAX_TIME_IDS];
    if (first && (first->shape.rank != 4 || first->shape.dim[1] != m->vae.latent_channels))
        err_set(e, ERR_SHAPE, "%s: step0.latents is %s, want [n, %lld, h, w]", path, shape_text(first->shape).s,
                (long long)m->vae.latent_channels);
    if (!first || e->code)
        goto fail;
    r->sizes = (struct batch_sizes){ .n = first->shape.dim[0], .channels = first->shape.dim[1], .h = first->shape.dim[2],
                                     .w = first->shape.dim[3], .text_width = model_text_width(m),
                                     .pooled_width = model_pooled_width(m), .mask = find(r, 0, "mask") != NULL };
    for (int i = 0; i < TEXT_PARTS; i++) {
        r->sizes.tokens = m->text[i].kind ? m->text[i].tokens : r->sizes.tokens;
        r->sizes.ids[i] = learns[i];
    }
    if (m->family->time_ids)
        r->sizes.time_ids = (int64_t)m->family->time_ids(&m->settings, &(struct picture_facts){ 0 }, false, ids);
    bool any = learns[0] || learns[1];
    const struct weight *states = find(r, 0, "encoder_hidden_states");
    if (states && states->shape.rank == 3 && !any) /* of any length: the denoiser attends to what there is */
        r->sizes.tokens = states->shape.dim[1];
    while (find(r, r->steps, "latents") && check_step(r, r->steps, m, timesteps, e))
        r->steps++;
    if (!e->code && (any || !has_states(r)) && !encode(r, encoders, e))
        goto fail;
    if (!e->code)
        return true;
fail:
    replay_release(r);
    return err_add(e, "in the steps to replay, %s", path);
}

void replay_release(struct replay *r)
{
    weights_free(r->file);
    mem_free(r->states);
    mem_free(r->pooled);
    *r = (struct replay){ 0 };
}

static void copy(float *to, const void *from, int64_t count)
{
    memcpy(to, from, (size_t)count * sizeof *to);
}

bool replay_fill(void *self, int64_t index, struct batch *b, struct err *e)
{
    const struct replay *r = self;
    const struct batch_sizes *s = &r->sizes;
    if (index >= r->steps)
        return err_set(e, ERR_ARG, "%s holds %lld steps, and step %lld is asked for", weights_path(r->file), (long long)r->steps,
                       (long long)index);
    tensor_nchw_to_nhwc(b->latent, find(r, index, "latents")->data, s->n, s->channels, s->h, s->w);
    tensor_nchw_to_nhwc(b->noise, find(r, index, "noise")->data, s->n, s->channels, s->h, s->w);
    memcpy(b->timestep, find(r, index, "timesteps")->data, (size_t)s->n * sizeof *b->timestep);
    int64_t state = s->n * s->tokens * s->text_width, pooled = s->n * s->pooled_width;
    const struct weight *weights = find(r, index, "weights"), *embeds = find(r, index, "text_embeds");
    copy(b->states, r->states ? r->states + index * state : find(r, index, "encoder_hidden_states")->data, state);
    if (weights)
        copy(b->weight, weights->data, s->n);
    if (s->mask)
        copy(b->mask, find(r, index, "mask")->data, s->n * s->h * s->w);
    if (pooled)
        copy(b->pooled, embeds ? embeds->data : r->pooled + index * pooled, pooled);
    if (s->time_ids)
        copy(b->time_ids, find(r, index, "time_ids")->data, s->n * s->time_ids);
    for (int i = 0; i < TEXT_PARTS; i++)
        for (int64_t row = 0; s->ids[i] && row < s->n; row++)
            ids_of(r, index, i, row, b->ids[i] + row * s->tokens);
    return true;
}
