#include "train/train_text.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/layer/layer.h"

enum { STREAM_SAMPLE = 4, STREAM_HELD_OUT = 5 };

struct task {
    const struct train_base_options *o;
    int64_t places;
    float *latent, *patches; /* a batch [n, h, w, c], and the same as [n, places^2, what a patch holds] */
    int32_t *ids;            /* [n, tokens] */
};

/* A latent [h, w, c] as patches [places^2, h / places, w / places, c], row by row. */
static void cut_patches(const float *latent, int64_t h, int64_t w, int64_t c, int64_t places, float *patches)
{
    int64_t rows = h / places, run = w / places * c;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < places; x++, latent += run)
            memcpy(patches + ((y / rows * places + x) * rows + y % rows) * run, latent, (size_t)run * sizeof *latent);
}

static bool fill_one(struct task *t, int64_t i, const struct latents *latents, const struct scene_options *scenes, uint64_t scene,
                     double dropout, struct random r, struct err *e)
{
    int64_t each = latents->height * latents->width * latents->channels;
    latents_read(latents, (int64_t)scene, t->latent + i * each);
    cut_patches(t->latent + i * each, latents->height, latents->width, latents->channels, t->places, t->patches + i * each);
    return train_base_words(t->o, scenes, scene, dropout, &r, t->ids + i * train_base_tokens(t->o), e);
}

/* Sample `index` of the run: any scene, said in any way. */
static bool fill_trained(struct task *t, int64_t i, int64_t index, struct err *e)
{
    const struct train_base_options *o = t->o;
    struct random r = random_of(o->seed + STREAM_SAMPLE, (uint64_t)index);
    uint64_t scene = random_below(&r, (uint64_t)o->latents->count);
    return fill_one(t, i, o->latents, &o->scenes, scene, o->caption_dropout, r, e);
}

/* Those of a validation are the same every time. */
static bool fill_held_out_one(struct task *t, int64_t i, int64_t index, struct err *e)
{
    const struct train_base_options *o = t->o;
    struct scene_options scenes = o->scenes;
    scenes.held_out = true;
    return fill_one(t, i, o->held_out, &scenes, (uint64_t)(index % o->held_out->count), 0,
                    random_of(STREAM_HELD_OUT, (uint64_t)index), e);
}

static bool fill_batch(struct task *t, int64_t index, bool (*one)(struct task *t, int64_t i, int64_t index, struct err *e),
                       struct program *program, struct err *e)
{
    int64_t batch = t->o->run.batch;
    for (int64_t i = 0; i < batch; i++)
        if (!one(t, i, index * batch + i, e))
            return false;
    return program_set_input(program, "patches", t->patches, e) && program_set_input(program, "ids", t->ids, e);
}

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    return fill_batch(self, index, fill_trained, program, e);
}

static bool fill_held_out(void *self, int64_t index, struct program *program, struct err *e)
{
    return fill_batch(self, index, fill_held_out_one, program, e);
}

static bool export(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    const struct train_base_options *o = ((const struct task *)self)->o;
    char inside[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    return folder_make(folder, e) &&
           train_base_write_json(folder, "scheduler", "scheduler_config.json", scheduler_config_json(&o->scheduler), e) &&
           train_base_write_json(folder, "unet", "config.json", unet_config_json(&o->unet), e) &&
           train_base_write_json(folder, "text_encoder", "config.json", clip_config_json(&o->text), e) &&
           path_join(inside, folder, "text_encoder", e) && path_join(path, inside, "model.safetensors", e) &&
           state_export(state, STATE_EMA, "text_encoder", path, o->export_type, e);
}

/* The mean square of what the eye reads wrong. */
static struct trainer *make_trainer(const struct train_base_options *o, int64_t places, const struct backend *backend, struct err *e)
{
    const struct latents *l = o->latents;
    int64_t count = places * places, n = o->run.batch, length = train_base_tokens(o);
    if (l->height % places || l->width % places || 2 * count > length) {
        err_set(e, ERR_ARG, "--places %lld: it must divide the latents' sides %lld x %lld, and its square be at most half of a text's "
                "%lld tokens", (long long)places, (long long)l->height, (long long)l->width, (long long)length);
        return NULL;
    }
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = o->type, .part = "text_encoder", .stored = o->stored_text, .trained = true, .params = &params };
    int64_t patch = l->height * l->width * l->channels / count;
    struct value ids = graph_input(&g, "ids", DTYPE_I32, SHAPE(n, length));
    struct value patches = graph_input(&g, "patches", DTYPE_F32, SHAPE(n, count, patch));
    struct value states = op_slice(&g, clip_text(&net, &o->text, ids, 0), 1, length - count, count);
    net.part = "eye";
    net.stored = NULL;
    struct value seen = op_cast(&g, layer_linear(&net, states, "patch", patch, true), DTYPE_F32);
    struct value loss = op_mean(&g, op_unary(&g, op_sub(&g, seen, patches), UNARY_SQUARE));
    return trainer_new(backend, &g, &(struct trainer_goal){ .loss = loss }, &params, &o->run, o->recompute, o->seed, e);
}

bool train_text_plan(const struct train_base_options *o, int64_t places, const struct backend *backend,
                     struct train_memory *memory, struct err *e)
{
    struct trainer *t = make_trainer(o, places, backend, e);
    if (t)
        *memory = trainer_memory(t);
    trainer_free(t);
    return t != NULL;
}

bool train_text(const struct train_base_options *o, int64_t places, const struct backend *backend,
                const struct progress *progress, struct err *e)
{
    struct task t = { .o = o, .places = places };
    size_t n = (size_t)o->run.batch;
    size_t elements = n * (size_t)(o->latents->height * o->latents->width * o->latents->channels);
    struct trainer *trainer = make_trainer(o, places, backend, e);
    bool good = trainer != NULL;
    t.latent = mem_aligned(elements * sizeof(float));
    t.patches = mem_aligned(elements * sizeof(float));
    t.ids = mem_aligned(n * (size_t)train_base_tokens(o) * sizeof(int32_t));
    if (good && !(t.latent && t.patches && t.ids))
        good = err_nomem(e, "a batch");
    struct train_task task = { .self = &t, .what = "training the text encoder", .fill = fill, .export = export };
    if (o->held_out) {
        task.fill_held_out = fill_held_out;
        task.held_out = (o->held_out->count + o->run.batch - 1) / o->run.batch;
    }
    good = good && trainer_run(trainer, &task, &o->run, progress, e);
    trainer_free(trainer);
    mem_free(t.latent);
    mem_free(t.patches);
    mem_free(t.ids);
    return good;
}
