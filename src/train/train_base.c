#include "train/train_base.h"

#include <math.h>

#include "base/file.h"
#include "base/mem.h"
#include "train/loss.h"

enum { STREAM_SAMPLE = 2, STREAM_HELD_OUT = 3 };

struct task {
    const struct train_base_options *o;
    struct noise_schedule noise;
    float *latent, *target, *timestep, *weight; /* inputs: x_t and what to say of it [n, h, w, c]; [n]; [n] */
    int32_t *ids;                               /* [n, tokens] */
};

int64_t train_base_tokens(const struct train_base_options *o)
{
    int64_t longest = clip_tokenizer_max_length(o->tokenizer);
    return longest < o->text.positions ? longest : o->text.positions;
}

/* What of a sample is not left to chance in a validation. */
struct sample {
    const struct latents *latents;
    struct scene_options scenes;
    uint64_t scene;
    double when, caption_dropout; /* when: 0..1, the place among the timesteps */
};

bool train_base_words(const struct train_base_options *o, const struct scene_options *scenes, uint64_t scene, double dropout,
                      struct random *r, int32_t *ids, struct err *e)
{
    struct scene_facts facts;
    if (!scene_choose(o->dataset, scenes, o->pool_seed, scene, &facts, e))
        return false;
    facts.language = random_uniform(r) < o->scenes.chinese ? DATASET_CHINESE : DATASET_ENGLISH;
    facts.wording = random_u32(r) >> 1;
    facts.style_named = random_uniform(r) < o->scenes.style_named;
    char caption[SCENE_CAPTION_BYTES];
    scene_caption(o->dataset, &facts, caption);
    if (random_uniform(r) < (float)dropout)
        caption[0] = 0;
    size_t count, most = (size_t)train_base_tokens(o);
    return clip_tokenizer_encode(o->tokenizer, caption, true, ids, most, &count, e) ||
           err_add(e, "in the caption \"%.80s\"", caption);
}

/* A sample into row i: its scene's words, noise, and what to say of it. */
static bool fill_one(struct task *t, int64_t i, const struct sample *s, struct random r, struct err *e)
{
    const struct train_base_options *o = t->o;
    int64_t each = s->latents->height * s->latents->width * s->latents->channels;
    if (!train_base_words(o, &s->scenes, s->scene, s->caption_dropout, &r, t->ids + i * train_base_tokens(o), e))
        return false;
    double chance = (double)random_uniform(&r);
    int64_t step = noise_schedule_draw(&t->noise, o->timestep_shift, s->when >= 0 ? s->when : chance);
    float *x = t->latent + i * each, *y = t->target + i * each;
    float *noise = mem_aligned((size_t)each * sizeof *noise);
    if (!noise)
        return err_nomem(e, "noise");
    latents_read(s->latents, (int64_t)s->scene, x);
    random_normals(&r, noise, (size_t)each);
    noise_schedule_target(&t->noise, step, x, noise, y, (size_t)each);
    noise_schedule_add(&t->noise, step, x, noise, x, (size_t)each);
    mem_free(noise);
    double weight = o->min_snr > 0 ? noise_schedule_min_snr_weight(&t->noise, step, o->min_snr) : 1;
    t->timestep[i] = (float)step;
    t->weight[i] = (float)(weight > o->min_weight ? weight : o->min_weight);
    return true;
}

/* Sample `index` of the run: everything is left to chance. */
static bool fill_trained(struct task *t, int64_t i, int64_t index, struct err *e)
{
    const struct train_base_options *o = t->o;
    struct random r = random_of(o->seed + STREAM_SAMPLE, (uint64_t)index);
    struct sample s = { o->latents, o->scenes, random_below(&r, (uint64_t)o->latents->count), -1, o->caption_dropout };
    return fill_one(t, i, &s, r, e);
}

/* The samples of a validation are the same every time, and in every run of these pictures: each scene once, timesteps spread evenly. */
static bool fill_held_out_one(struct task *t, int64_t i, int64_t index, struct err *e)
{
    const struct train_base_options *o = t->o;
    const double golden = 0.618033988749895; /* its multiples fill 0..1 evenly, however many there are */
    struct random r = random_of(STREAM_HELD_OUT, (uint64_t)index);
    struct sample s = { o->held_out, o->scenes, (uint64_t)(index % o->held_out->count), fmod((double)(index + 1) * golden, 1), 0 };
    s.scenes.held_out = true;
    return fill_one(t, i, &s, r, e);
}

static bool fill_batch(struct task *t, int64_t index, bool (*one)(struct task *t, int64_t i, int64_t index, struct err *e),
                       struct program *program, struct err *e)
{
    int64_t batch = t->o->run.batch;
    bool failed = false;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < batch; i++) {
        struct err mine = { 0 };
        if (!one(t, i, index * batch + i, &mine)) {
#pragma omp critical
            {
                failed = true;
                err_set(e, mine.code, "%s", mine.text);
            }
        }
    }
    return !failed && program_set_input(program, "latent", t->latent, e) &&
           program_set_input(program, "target", t->target, e) && program_set_input(program, "timestep", t->timestep, e) &&
           program_set_input(program, "weight", t->weight, e) && program_set_input(program, "ids", t->ids, e);
}

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    return fill_batch(self, index, fill_trained, program, e);
}

static bool fill_held_out(void *self, int64_t index, struct program *program, struct err *e)
{
    return fill_batch(self, index, fill_held_out_one, program, e);
}

static bool copy_folder(const char *from, const char *to, struct err *e)
{
    char **names;
    size_t count;
    if (!folder_make(to, e) || !folder_names(from, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        char source[PATH_MAX_BYTES], target[PATH_MAX_BYTES];
        struct file_map m;
        good = path_join(source, from, names[i], e) && path_join(target, to, names[i], e);
        if (!good || path_is_folder(source))
            continue;
        good = file_map(&m, source, e);
        if (good) {
            good = file_write_whole(target, m.data, m.bytes, e);
            file_unmap(&m);
        }
    }
    folder_names_free(names, count);
    return good;
}

bool train_base_write_json(const char *folder, const char *part, const char *name, json_t *j, struct err *e)
{
    char inside[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    bool good = j ? path_join(inside, folder, part, e) && folder_make(inside, e) && path_join(path, inside, name, e) &&
                        json_write(j, path, e)
                  : err_nomem(e, name);
    json_decref(j);
    return good;
}

static bool write_weights(const struct task *t, const struct train_state *state, const char *folder, const char *part,
                          const char *name, struct err *e)
{
    char inside[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    return path_join(inside, folder, part, e) && path_join(path, inside, name, e) &&
           state_export(state, STATE_EMA, part, path, t->o->export_type, e);
}

static bool export(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    const struct task *t = self;
    char vae[PATH_MAX_BYTES], tokenizer[PATH_MAX_BYTES];
    json_t *index = json_pack("{s:s,s:s,s:[ss],s:[ss],s:[ss],s:[ss],s:[ss],s:[nn],s:[nn],s:b}", "_class_name",
                              "StableDiffusionPipeline", "_diffusers_version", "0.42.1", "scheduler", "diffusers",
                              scheduler_class_name(t->o->scheduler.class), "text_encoder", "transformers",
                              "CLIPTextModel", "tokenizer", "transformers", "CLIPTokenizer", "unet", "diffusers",
                              "UNet2DConditionModel", "vae", "diffusers", "AutoencoderKL", "safety_checker",
                              "feature_extractor", "requires_safety_checker", false);
    return train_base_write_json(folder, "", "model_index.json", index, e) &&
           train_base_write_json(folder, "scheduler", "scheduler_config.json", scheduler_config_json(&t->o->scheduler), e) &&
           train_base_write_json(folder, "text_encoder", "config.json", clip_config_json(&t->o->text), e) &&
           train_base_write_json(folder, "unet", "config.json", unet_config_json(&t->o->unet), e) &&
           path_join(vae, folder, "vae", e) && copy_folder(t->o->vae_folder, vae, e) &&
           path_join(tokenizer, folder, "tokenizer", e) && copy_folder(t->o->tokenizer_folder, tokenizer, e) &&
           write_weights(t, state, folder, "text_encoder", "model.safetensors", e) &&
           write_weights(t, state, folder, "unet", "diffusion_pytorch_model.safetensors", e);
}

static bool sample(void *self, const struct train_state *state, int64_t step, const char *png, json_t *metrics,
                   struct err *e)
{
    struct task *t = self;
    char model[PATH_MAX_BYTES];
    return path_join(model, t->o->run.folder, "model", e) && export(self, state, model, e) &&
           t->o->preview(t->o->preview_self, model, step, png, metrics, e);
}

static struct trainer *make_trainer(const struct train_base_options *o, const struct backend *backend, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    int64_t n = o->run.batch;
    struct net net = { .g = &g, .type = o->type, .part = "text_encoder", .stored = o->stored_text, .trained = true,
                       .params = &params };
    struct shape image = SHAPE(n, o->latents->height, o->latents->width, o->latents->channels);
    struct value ids = graph_input(&g, "ids", DTYPE_I32, SHAPE(n, train_base_tokens(o)));
    struct value latent = graph_input(&g, "latent", DTYPE_F32, image), target = graph_input(&g, "target", DTYPE_F32, image);
    struct value timestep = graph_input(&g, "timestep", DTYPE_F32, SHAPE(n));
    struct value weight = graph_input(&g, "weight", DTYPE_F32, SHAPE(n));
    struct value text = clip_text(&net, &o->text, ids, 0);
    net.part = "unet";
    net.stored = o->stored_unet;
    struct value said = unet(&net, &o->unet, op_cast(&g, latent, net.type), timestep, text, NULL);
    struct value loss = loss_weighted_mse(&g, said, target, weight);
    return trainer_new(backend, &g, &(struct trainer_goal){ .loss = loss }, &params, &o->run, o->recompute, o->seed, e);
}

/* What the parts must agree on. */
static bool check(const struct train_base_options *o, struct err *e)
{
    if (o->unet.in_channels != o->latents->channels || o->unet.out_channels != o->latents->channels)
        return err_set(e, ERR_SHAPE, "the UNet has %lld channels in and %lld out, the VAE's latents have %lld",
                       (long long)o->unet.in_channels, (long long)o->unet.out_channels, (long long)o->latents->channels);
    if (o->unet.cross_attention_dim != o->text.hidden_size)
        return err_set(e, ERR_SHAPE, "the UNet's cross_attention_dim is %lld, the text encoder's hidden_size %lld",
                       (long long)o->unet.cross_attention_dim, (long long)o->text.hidden_size);
    if (clip_tokenizer_size(o->tokenizer) > o->text.vocab_size)
        return err_set(e, ERR_SHAPE, "the tokenizer has %d tokens, the text encoder's vocab_size is %lld",
                       (int)clip_tokenizer_size(o->tokenizer), (long long)o->text.vocab_size);
    return true;
}

bool train_base_plan(const struct train_base_options *o, const struct backend *backend, struct train_memory *memory,
                     struct err *e)
{
    struct trainer *t = check(o, e) ? make_trainer(o, backend, e) : NULL;
    if (t)
        *memory = trainer_memory(t);
    trainer_free(t);
    return t != NULL;
}

bool train_base(const struct train_base_options *o, const struct backend *backend, const struct progress *progress,
                struct err *e)
{
    struct task t = { .o = o };
    size_t n = (size_t)o->run.batch;
    size_t elements = n * (size_t)(o->latents->height * o->latents->width * o->latents->channels);
    struct trainer *trainer = check(o, e) ? make_trainer(o, backend, e) : NULL;
    bool good = trainer && noise_schedule_init(&t.noise, &o->scheduler, e);
    t.latent = mem_aligned(elements * sizeof(float));
    t.target = mem_aligned(elements * sizeof(float));
    t.timestep = mem_aligned(n * sizeof(float));
    t.weight = mem_aligned(n * sizeof(float));
    t.ids = mem_aligned(n * (size_t)train_base_tokens(o) * sizeof(int32_t));
    if (good && !(t.latent && t.target && t.timestep && t.weight && t.ids))
        good = err_nomem(e, "a batch");
    struct train_task task = { .self = &t, .what = "training text encoder and denoiser", .fill = fill,
                               .sample = o->preview ? sample : NULL, .export = export };
    if (o->held_out) {
        task.fill_held_out = fill_held_out;
        task.held_out = (o->held_out->count + o->run.batch - 1) / o->run.batch;
    }
    good = good && trainer_run(trainer, &task, &o->run, progress, e);
    trainer_free(trainer);
    noise_schedule_release(&t.noise);
    mem_free(t.latent);
    mem_free(t.target);
    mem_free(t.timestep);
    mem_free(t.weight);
    mem_free(t.ids);
    return good;
}
