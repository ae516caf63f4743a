#include "train/finetune.h"

#include "base/mem.h"
#include "train/dora.h"

struct finetune {
    struct finetune_options o;
    const struct backend *backend;
    struct trainer *trainer;
    struct params frozen[PART_COUNT], learnt; /* learnt: until the trainer takes it over */
    struct adapters adapters;                 /* the targets', with the list that this run keeps */
    struct dora dora;
    struct batch batch;
    float *noisy, *target, *timestep, *weight; /* inputs of the program */
    int32_t *place[TEXT_PARTS]; /* of a text encoder that is run: CLIP's pooled tokens [n]; ChatGLM's places [n, tokens] */
    int32_t *pads[TEXT_PARTS];  /* ChatGLM's [n] */
    int64_t step;               /* done, as far as batches tell */
    bool measures;              /* the last batch was of what is held out */
};

static const char *const ids_names[TEXT_PARTS] = { "ids", "ids_2" };
static const char *const place_names[TEXT_PARTS] = { "place", "place_2" };

static struct net net_of(struct finetune *f, struct graph *g, enum model_part part, struct err *e)
{
    const struct weights *stored = model_folder_weights(f->o.model, part, e);
    struct net n = { .g = g, .type = f->o.type, .part = model_part_names[part], .stored = stored, .in_place = f->o.in_place,
                     .params = &f->frozen[part] };
    if (f->o.targets)
        n.adapters = &f->adapters;
    else if (part == PART_UNET || f->o.learns[part]) {
        n.trained = true;
        n.only = part == PART_UNET ? f->o.blocks : NULL;
        n.params = &f->learnt;
        n.rest = &f->frozen[part];
    }
    return n;
}

/* A text encoder as part of the step: states [n, tokens, width], and the pooled vectors where it pools. */
static struct value text_graph(struct finetune *f, struct graph *g, enum model_part part, struct value *pooled, struct err *e)
{
    const struct model_parts *m = &f->o.model->parts;
    const struct text_encoder *t = &m->text[part];
    const struct batch_sizes *s = &f->o.sizes;
    struct net n = net_of(f, g, part, e);
    bool pools = m->family->pools && part == model_pooling_part(m), last = m->family->states == TEXT_LAST;
    struct value ids = graph_input(g, ids_names[part], DTYPE_I32, SHAPE(s->n, s->tokens));
    if (!n.stored)
        return VALUE_NONE;
    if (t->kind == &text_clip) {
        const struct clip_config *c = &t->clip;
        struct value x = clip_layers(&n, c, clip_embed(&n, c, ids, VALUE_NONE, VALUE_NONE), 0, c->layers - !last);
        struct value states = last ? clip_norm(&n, c, x) : x;
        if (pools)
            *pooled = clip_pool(&n, c, clip_norm(&n, c, last ? x : clip_layers(&n, c, x, c->layers - 1, c->layers)),
                                graph_input(g, place_names[part], DTYPE_I32, SHAPE(s->n)));
        return states;
    }
    const struct chatglm_config *c = &t->chatglm;
    struct chatglm_input in = { ids, graph_input(g, place_names[part], DTYPE_I32, SHAPE(s->n, s->tokens)),
                                graph_input(g, "pads", DTYPE_I32, SHAPE(s->n)) };
    struct value x = chatglm_layers(&n, c, &in, chatglm_embed(&n, c, &in), 0, c->layers - !last);
    if (pools && !last)
        *pooled = chatglm_last_token(&n, c, &in, x, c->layers - 1, c->layers);
    return x;
}

/* The states of all encoders side by side: those that are run, and columns of what was made before. */
static struct value all_states(struct finetune *f, struct graph *g, struct value *pooled, struct err *e)
{
    const struct model_parts *m = &f->o.model->parts;
    const struct batch_sizes *s = &f->o.sizes;
    bool any = s->ids[0] || s->ids[1], all = true;
    for (int i = 0; i < TEXT_PARTS; i++)
        all &= s->ids[i] || !m->text[i].kind;
    struct value made = VALUE_NONE, states = VALUE_NONE;
    if (!all)
        made = op_cast(g, graph_input(g, "states", DTYPE_F32, SHAPE(s->n, s->tokens, s->text_width)), f->o.type);
    if (!any)
        return made;
    int64_t column = 0;
    for (int i = 0; i < TEXT_PARTS; i++) {
        int64_t width = m->text[i].width;
        if (!m->text[i].kind)
            continue;
        struct value own = s->ids[i] ? text_graph(f, g, (enum model_part)i, pooled, e) : op_slice(g, made, -1, column, width);
        states = states.id ? op_concat(g, states, own, -1) : own;
        column += width;
    }
    return states;
}

static struct value loss_graph(struct finetune *f, struct graph *g, struct batch_shape size, struct err *e)
{
    const struct model_parts *m = &f->o.model->parts;
    const struct batch_sizes *s = &f->o.sizes;
    struct shape latents = SHAPE(s->n, size.h, size.w, s->channels);
    struct value latent = graph_input(g, "latent", DTYPE_F32, latents), target = graph_input(g, "target", DTYPE_F32, latents);
    struct value timestep = graph_input(g, "timestep", DTYPE_F32, SHAPE(s->n));
    struct value weight = graph_input(g, "weight", DTYPE_F32, SHAPE(s->n));
    struct value mask = s->mask ? graph_input(g, "mask", DTYPE_F32, SHAPE(s->n, size.h, size.w, 1)) : VALUE_NONE;
    struct unet_extra extra = { .pooled = VALUE_NONE };
    struct value text = all_states(f, g, &extra.pooled, e);
    struct net n = net_of(f, g, PART_UNET, e);
    if (!n.stored)
        return VALUE_NONE;
    if (m->unet.text_time) {
        if (!extra.pooled.id)
            extra.pooled = op_cast(g, graph_input(g, "pooled", DTYPE_F32, SHAPE(s->n, s->pooled_width)), f->o.type);
        extra.time_ids = graph_input(g, "time_ids", DTYPE_F32, SHAPE(s->n, s->time_ids));
    }
    struct value said = unet(&n, &m->unet, op_cast(g, latent, f->o.type), timestep, text, &extra);
    return objective_graph(&f->o.objective->o, g, said, target, weight, mask);
}

/* Whole weights that learn must be of a type that a model folder can hold. */
static bool check_learnt(const struct finetune *f, struct err *e)
{
    for (size_t i = 0; !f->o.targets && i < f->learnt.count; i++)
        if (dtype_is_quantised(f->learnt.at[i].stored->type))
            return err_set(e, ERR_TYPE, "%s is %s: a model folder cannot hold what is learnt of it; limn model convert makes another type of "
                           "it, and a LoRA learns beside it as it is", f->learnt.at[i].name, dtype_name(f->learnt.at[i].stored->type));
    return true;
}

/* The program of a shape of batches: the first makes the trainer. */
static bool add_shape(struct finetune *f, struct batch_shape size, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct trainer_goal goal = { .loss = loss_graph(f, &g, size, e) };
    if (!e->code && graph_ok(&g, e) && !f->learnt.count)
        err_set(e, ERR_ARG, "no weight learns: no name fits \"%s\"", f->o.blocks);
    if (e->code || (!f->trainer && f->o.targets && !targets_begin(f->o.targets, &f->learnt, e)) || !check_learnt(f, e)) {
        graph_release(&g);
        return false;
    }
    for (size_t i = 0; i < f->learnt.count; i++)
        f->learnt.at[i].decay = true; /* biases and norms too: what other fine-tuners do, so that runs can be compared */
    if (f->trainer) {
        params_release(&f->learnt); /* the trainer has them */
        return trainer_add(f->trainer, &g, &goal, f->o.recompute, e);
    }
    f->trainer = trainer_new(f->backend, &g, &goal, &f->learnt, &f->o.run, f->o.recompute, f->o.seed, e);
    return f->trainer != NULL;
}

static bool make(struct finetune *f, struct err *e)
{
    const struct model_parts *m = &f->o.model->parts;
    const struct batch_source *source = &f->o.source;
    if (model_extra_channels(m) || m->unet.guidance_dim)
        return err_set(e, ERR_TYPE, "%s: a denoiser %s is not taught here", f->o.model->path,
                       m->unet.guidance_dim ? "that is told its guidance" : "made for inpainting");
    if (f->o.targets)
        f->adapters = f->o.targets->adapters;
    f->adapters.params = &f->learnt;
    bool good = source->shapes || add_shape(f, (struct batch_shape){ f->o.sizes.h, f->o.sizes.w }, e);
    for (size_t i = 0; good && source->shapes && i < source->shape_count; i++)
        good = add_shape(f, source->shapes[i], e);
    return good;
}

struct finetune *finetune_new(const struct finetune_options *o, const struct backend *backend, struct err *e)
{
    struct finetune *f = mem_zeroed(1, sizeof *f);
    if (!f) {
        err_nomem(e, "a training");
        return NULL;
    }
    f->o = *o;
    f->backend = backend;
    if (make(f, e))
        return f;
    finetune_free(f);
    return NULL;
}

void finetune_free(struct finetune *f)
{
    if (!f)
        return;
    dora_release(&f->dora);
    trainer_free(f->trainer);
    for (int part = 0; part < PART_COUNT; part++)
        params_release(&f->frozen[part]);
    params_release(&f->learnt);
    batch_release(&f->batch);
    mem_free(f->noisy);
    mem_free(f->target);
    mem_free(f->timestep);
    mem_free(f->weight);
    for (int i = 0; i < TEXT_PARTS; i++) {
        mem_free(f->place[i]);
        mem_free(f->pads[i]);
    }
    mem_free(f);
}

struct train_memory finetune_memory(const struct finetune *f)
{
    struct train_memory m = trainer_memory(f->trainer);
    for (int part = 0; part < PART_COUNT; part++)
        for (size_t i = 0; f->o.in_place && i < f->frozen[part].count; i++)
            m.weights += weight_bytes(f->frozen[part].at[i].stored);
    return m;
}

size_t finetune_activations(const struct finetune *f, size_t shape)
{
    return program_memory(trainer_program(f->trainer, shape)).arena;
}

double finetune_flops(const struct finetune *f, size_t shape, bool conv)
{
    const struct graph *g = program_graph(trainer_program(f->trainer, shape));
    double sum = 0;
    for (size_t o = 0; o < g->n_ops; o++) {
        enum op op = g->ops[o].op;
        if (op != OP_NONE && conv == (op == OP_CONV2D || op == OP_CONV2D_GRAD_X || op == OP_CONV2D_GRAD_W))
            sum += op_flops(g, &g->ops[o]);
    }
    return sum;
}

int64_t finetune_learns(const struct finetune *f)
{
    const struct params *p = &trainer_state(f->trainer)->params;
    int64_t numbers = 0;
    for (size_t i = 0; i < p->count; i++)
        numbers += shape_count(p->at[i].shape);
    return numbers;
}

/* ids of an encoder that is run, and what its kind derives from them. */
static bool give_ids(struct finetune *f, int part, struct program *program, struct err *e)
{
    const struct text_encoder *t = &f->o.model->parts.text[part];
    const struct batch_sizes *s = &f->o.sizes;
    const int32_t *ids = f->batch.ids[part];
    for (int64_t i = 0; i < s->n; i++) {
        const int32_t *row = ids + i * s->tokens;
        if (t->kind == &text_clip)
            f->place[part][i] = (int32_t)(i * s->tokens) + clip_pooled_place(&t->clip, row, s->tokens);
        else
            f->pads[part][i] = chatglm_tokenizer_places(t->pieces, row, (size_t)s->tokens, f->place[part] + i * s->tokens);
    }
    const struct graph *g = program_graph(program);
    bool places = graph_find(g, VALUE_INPUT, place_names[part]).id != 0;
    return program_set_input(program, ids_names[part], ids, e) &&
           (!places || program_set_input(program, place_names[part], f->place[part], e)) &&
           (t->kind == &text_clip || program_set_input(program, "pads", f->pads[part], e));
}

/* Noise is put to the batch that is there, and all of it is given to the program. */
static bool give(struct finetune *f, struct program *program, struct err *e)
{
    struct batch *b = &f->batch;
    const struct graph *g = program_graph(program);
    objective_apply(f->o.objective, b, f->noisy, f->target, f->timestep, f->weight);
    const struct { const char *name; const void *data; } inputs[] = {
        { "latent", f->noisy }, { "target", f->target }, { "timestep", f->timestep }, { "weight", f->weight }, { "mask", b->mask },
        { "states", b->states }, { "pooled", b->pooled }, { "time_ids", b->time_ids },
    };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (graph_find(g, VALUE_INPUT, inputs[i].name).id && !program_set_input(program, inputs[i].name, inputs[i].data, e))
            return false;
    for (int i = 0; i < TEXT_PARTS; i++)
        if (f->o.sizes.ids[i] && !give_ids(f, i, program, e))
            return false;
    return true;
}

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    struct finetune *f = self;
    int64_t step = index / f->o.run.accumulate + 1;
    bool begins = step != f->step; /* of several processes each sees some batches of a step, and not always the first */
    f->step = step;
    f->measures = false;
    return f->o.source.fill(f->o.source.self, index, &f->batch, e) && (!begins || dora_step(&f->dora, e)) &&
           dora_give(&f->dora, program, e) && give(f, program, e);
}

static bool fill_held_out(void *self, int64_t index, struct program *program, struct err *e)
{
    struct finetune *f = self;
    bool begins = !f->measures; /* of several processes each sees some batches, and not always the first */
    f->measures = true;
    return f->o.source.fill_held_out(f->o.source.self, index, &f->batch, e) && (!begins || dora_step(&f->dora, e)) &&
           dora_give(&f->dora, program, e) && give(f, program, e);
}

static size_t shape(void *self, int64_t index)
{
    const struct finetune *f = self;
    return f->o.source.shape(f->o.source.self, index);
}

static size_t held_out_shape(void *self, int64_t index)
{
    const struct finetune *f = self;
    return f->o.source.held_out_shape(f->o.source.self, index);
}

static enum state_kind learnt_kind(const struct finetune *f)
{
    return f->o.run.ema > 0 ? STATE_EMA : STATE_VALUE;
}

static bool write_lora(const struct finetune *f, const struct train_state *state, const char *name, char *path, struct err *e)
{
    return path_join(path, f->o.run.folder, name, e) &&
           lora_write(state, learnt_kind(f), f->o.targets, &f->o.output, path, e);
}

static const char *ending(const struct finetune *f)
{
    return f->o.output.layout == LORA_DIFFSYNTH ? "ckpt" : "safetensors";
}

static bool export_model(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    const struct finetune *f = self;
    return model_write(state, learnt_kind(f), f->o.files, f->o.export_type, folder, e);
}

/* The folder "model" of other trainings stays away: what is learnt is a file. */
static bool export_lora(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    const struct finetune *f = self;
    int64_t step = f->step, epoch = f->o.epoch_steps;
    char path[PATH_MAX_BYTES], checkpoints[PATH_MAX_BYTES];
    if (!strcmp(path_name(folder), "best"))
        return write_lora(f, state, path_of("lora-best.%s", ending(f)).s, path, e);
    struct path kept = path_of("lora-step%08lld.%s", (long long)step, ending(f));
    if (epoch) {
        kept = path_of("checkpoints/epoch=%lld-step=%lld.%s", (long long)(step / epoch - 1), (long long)step, ending(f));
        if (!path_join(checkpoints, f->o.run.folder, "checkpoints", e) || !folder_make(checkpoints, e))
            return false;
    }
    bool keeps = !epoch || step % epoch == 0;
    return (!keeps || write_lora(f, state, kept.s, path, e)) && write_lora(f, state, path_of("lora.%s", ending(f)).s, path, e);
}

static bool sample(void *self, const struct train_state *state, int64_t step, const char *png, json_t *metrics, struct err *e)
{
    const struct finetune *f = self;
    char path[PATH_MAX_BYTES];
    if (!f->o.targets)
        return path_join(path, f->o.run.folder, "model", e) && export_model(self, state, path, e) &&
               f->o.look(f->o.look_self, path, step, png, metrics, e);
    return write_lora(f, state, path_of("lora.%s", ending(f)).s, path, e) && f->o.look(f->o.look_self, path, step, png, metrics, e);
}

static bool make_inputs(struct finetune *f, struct err *e)
{
    const struct batch_sizes *s = &f->o.sizes;
    size_t n = (size_t)s->n, latents = n * (size_t)(s->h * s->w * s->channels);
    f->noisy = mem_aligned(latents * sizeof(float));
    f->target = mem_aligned(latents * sizeof(float));
    f->timestep = mem_aligned(n * sizeof(float));
    f->weight = mem_aligned(n * sizeof(float));
    bool good = f->noisy && f->target && f->timestep && f->weight;
    for (int i = 0; i < TEXT_PARTS; i++) {
        f->place[i] = mem_zeroed(n * (size_t)s->tokens, sizeof(int32_t));
        f->pads[i] = mem_zeroed(n, sizeof(int32_t));
        good = good && f->place[i] && f->pads[i];
    }
    return good ? batch_init(&f->batch, s, e) : err_nomem(e, "a batch");
}

static bool bind_frozen(struct finetune *f, struct err *e)
{
    for (int part = 0; part < PART_COUNT; part++) {
        if (!f->frozen[part].count)
            continue;
        const struct weights *stored = model_folder_weights(f->o.model, (enum model_part)part, e);
        if (!stored)
            return false;
        for (size_t i = 0; i < trainer_programs(f->trainer); i++)
            if (!params_bind(&f->frozen[part], trainer_program(f->trainer, i), stored, e))
                return false;
    }
    return true;
}

bool finetune_run(struct finetune *f, const struct progress *progress, struct err *e)
{
    struct train_state *state = trainer_state(f->trainer);
    if (!make_inputs(f, e) || !bind_frozen(f, e) ||
        (f->o.targets && (!dora_init(&f->dora, f->o.targets, f->o.model, f->backend, state, e) || !dora_begin(&f->dora, state, e))))
        return false;
    struct train_task task = { .self = f, .what = "fine-tuning", .fill = fill, .sample = f->o.look ? sample : NULL,
                               .export = f->o.targets ? export_lora : export_model };
    if (f->o.source.shapes) {
        task.shape = shape;
        task.held_out_shape = held_out_shape;
    }
    if (f->o.source.held_out) {
        task.fill_held_out = fill_held_out;
        task.held_out = f->o.source.held_out;
    }
    return trainer_run(f->trainer, &task, &f->o.run, progress, e);
}
