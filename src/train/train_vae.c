#include "train/train_vae.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "graph/passes.h"
#include "image/image.h"
#include "train/discriminator.h"

enum { LOOK_BATCH = 8, LOOK_PICTURES = 64, SCALE_SCENES = 256, STREAM_NOISE = 1, STREAM_HELD_OUT = 2 };

struct task {
    const struct train_vae_options *o;
    const struct backend *backend;
    float *pictures, *noise;         /* inputs of a batch: f32 [n, h, w, 3] in -1..1, [n, h', w', c] */
    float opinion[1];                /* what the discriminator's opinion counts in this step: input "opinion" */
    uint8_t *rgb;                    /* [n, h, w, 3] */
    struct program *look;            /* picture -> latent mean -> picture, LOOK_BATCH at a time; made at the first look */
    struct value look_mean, look_picture;
};

static int64_t picture_elements(const struct train_vae_options *o)
{
    return o->size * o->size * 3;
}

static int64_t latent_elements(const struct train_vae_options *o)
{
    int64_t side = o->size / vae_factor(&o->config);
    return side * side * o->config.latent_channels;
}

/* Paints `count` scenes from `first` on as f32 in -1..1. */
static bool paint(struct task *t, const struct scene_options *scenes, uint64_t seed, uint64_t first, int64_t count,
                  float *out, struct err *e)
{
    int64_t n = picture_elements(t->o);
    bool failed = false;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        struct err mine = { 0 };
        struct scene_facts facts;
        uint8_t *rgb = t->rgb + i * n;
        if (!scene_choose(t->o->dataset, scenes, seed, first + (uint64_t)i, &facts, &mine) ||
            !scene_paint(t->o->dataset, &facts, (int)t->o->size, rgb, &mine)) {
#pragma omp critical
            {
                failed = true;
                err_set(e, mine.code, "%s", mine.text);
            }
            continue;
        }
        for (int64_t k = 0; k < n; k++)
            out[i * n + k] = (float)rgb[k] * (2.0f / 255) - 1;
    }
    return !failed;
}

/* Batch `index` of scenes, with noise of a stream. */
static bool give(struct task *t, const struct scene_options *scenes, uint64_t seed, uint64_t stream, int64_t index, float opinion,
                 struct program *program, struct err *e)
{
    int64_t batch = t->o->run.batch, latent = latent_elements(t->o);
    if (!paint(t, scenes, seed, (uint64_t)(index * batch), batch, t->pictures, e))
        return false;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < batch; i++) {
        struct random r = random_of(seed + stream, (uint64_t)(index * batch + i));
        random_normals(&r, t->noise + i * latent, (size_t)latent);
    }
    t->opinion[0] = opinion;
    return program_set_input(program, "picture", t->pictures, e) && program_set_input(program, "noise", t->noise, e) &&
           (t->o->gan <= 0 || program_set_input(program, "opinion", t->opinion, e));
}

static bool fill(void *self, int64_t index, struct program *program, struct err *e)
{
    struct task *t = self;
    bool counts = index / t->o->run.accumulate >= t->o->gan_start;
    return give(t, &t->o->scenes, t->o->seed, STREAM_NOISE, index, counts ? (float)t->o->gan : 0, program, e);
}

/* Held-out pictures, whole and on white, whatever the run's seed; a discriminator has no say. */
static bool fill_held_out(void *self, int64_t index, struct program *program, struct err *e)
{
    struct scene_options plain = scene_plain;
    plain.held_out = true;
    return give(self, &plain, 0, STREAM_HELD_OUT, index, 0, program, e);
}

/* Batches of about LOOK_PICTURES pictures; 0 where nothing is held out. */
static int64_t held_out_batches(const struct train_vae_options *o)
{
    size_t count;
    dataset_split(o->dataset, true, -1, &count);
    int64_t wanted = count < LOOK_PICTURES ? (int64_t)count : LOOK_PICTURES;
    return (wanted + o->run.batch - 1) / o->run.batch;
}

static struct value picture_input(struct graph *g, const struct train_vae_options *o, int64_t batch)
{
    return graph_input(g, "picture", DTYPE_F32, SHAPE(batch, o->size, o->size, o->config.in_channels));
}

static bool make_look(struct task *t, const struct train_state *state, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = t->o->type, .part = "vae", .trained = true, .params = &params };
    struct value moments = vae_encode(&net, &t->o->config, op_cast(&g, picture_input(&g, t->o, LOOK_BATCH), net.type));
    struct value mean = op_slice(&g, moments, -1, 0, t->o->config.latent_channels);
    struct value decoded = op_cast(&g, vae_decode(&net, &t->o->config, mean), DTYPE_F32);
    t->look_mean = op_cast(&g, mean, DTYPE_F32);
    t->look_picture = decoded;
    graph_output(&g, t->look_mean);
    graph_output(&g, t->look_picture);
    graph_fuse(&g, true);
    params_release(&params);
    t->look = program_new(t->backend, &g, e);
    return t->look && state_bind(state, STATE_EMA, t->look, e) && program_set_input(t->look, "picture", t->pictures, e);
}

static bool tile(struct image *out, const struct task *t, const float *x, struct err *e)
{
    return image_from_unit(out, x, (int)t->o->size, (int)t->o->size, 3, IMAGE_NHWC, e);
}

/* Reconstructs held-out pictures: two rows of the first ones as a PNG, and the PSNR of all (over u8 values). */
static bool sample(void *self, const struct train_state *state, int64_t step, const char *png, json_t *metrics,
                   struct err *e)
{
    struct task *t = self;
    size_t held_out;
    dataset_split(t->o->dataset, true, -1, &held_out);
    struct scene_options plain = scene_plain;
    plain.held_out = held_out > 0;
    if (!t->look && !make_look(t, state, e))
        return false;
    int64_t n = picture_elements(t->o);
    struct image tiles[2 * LOOK_BATCH] = { { 0 } }, sheet = { 0 };
    double squares = 0;
    bool good = true;
    for (int64_t first = 0; good && first < LOOK_PICTURES; first += LOOK_BATCH) {
        good = paint(t, &plain, 0, (uint64_t)first, LOOK_BATCH, t->pictures, e) && program_run(t->look, e);
        const float *out = good ? program_output(t->look, t->look_picture) : NULL;
        for (int64_t k = 0; good && k < LOOK_BATCH * n; k++) {
            double v = nearbyint(fmin(fmax(out[k] / 2.0 + 0.5, 0), 1) * 255) - t->rgb[k];
            squares += v * v;
        }
        for (int i = 0; good && first == 0 && i < LOOK_BATCH; i++)
            good = tile(&tiles[i], t, t->pictures + i * n, e) &&
                   tile(&tiles[LOOK_BATCH + i], t, out + i * n, e);
    }
    good = good && image_grid(&sheet, tiles, 2 * LOOK_BATCH, LOOK_BATCH, 2, 0xFFFFFF, e) &&
           image_save_png(png, &sheet, NULL, 0, e);
    if (good && metrics)
        json_object_set_new(metrics, "psnr", json_real(10 * log10(255.0 * 255 * LOOK_PICTURES * (double)n / squares)));
    for (int i = 0; i < 2 * LOOK_BATCH; i++)
        image_release(&tiles[i]);
    image_release(&sheet);
    return good;
}

/* 1 / standard deviation of the latents of training scenes (Rombach et al. 2022, appendix G). */
static bool measure_scale(struct task *t, const struct train_state *state, double *scale, struct err *e)
{
    double squares = 0, sum = 0, count = 0;
    if (!t->look && !make_look(t, state, e))
        return false;
    for (int64_t first = 0; first < SCALE_SCENES; first += LOOK_BATCH) {
        if (!paint(t, &t->o->scenes, t->o->seed, (uint64_t)first, LOOK_BATCH, t->pictures, e) || !program_run(t->look, e))
            return false;
        const float *mean = program_output(t->look, t->look_mean);
        for (int64_t k = 0; k < LOOK_BATCH * latent_elements(t->o); k++) {
            squares += (double)mean[k] * mean[k];
            sum += mean[k];
            count++;
        }
    }
    double variance = squares / count - (sum / count) * (sum / count);
    *scale = variance > 1e-12 ? 1 / sqrt(variance) : 1;
    return true;
}

static bool export(void *self, const struct train_state *state, const char *folder, struct err *e)
{
    struct task *t = self;
    struct vae_config config = t->o->config;
    config.sample_size = t->o->size;
    char vae[PATH_MAX_BYTES], json[PATH_MAX_BYTES], weights[PATH_MAX_BYTES];
    if (!measure_scale(t, state, &config.scaling_factor, e) || !path_join(vae, folder, "vae", e) ||
        !path_join(json, vae, "config.json", e) || !path_join(weights, vae, "diffusion_pytorch_model.safetensors", e) ||
        !folder_make(vae, e))
        return false;
    json_t *j = vae_config_json(&config);
    bool good = j ? json_write(j, json, e) : err_nomem(e, "a config");
    json_decref(j);
    return good && state_export(state, STATE_EMA, "vae", weights, t->o->export_type, e);
}

static struct trainer *make_trainer(const struct train_vae_options *o, const struct backend *backend, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    int64_t side = o->size / vae_factor(&o->config);
    struct net net = { .g = &g, .type = o->type, .part = "vae", .stored = o->stored, .trained = true, .params = &params };
    struct value picture = picture_input(&g, o, o->run.batch), mean, logvar;
    struct value noise = graph_input(&g, "noise", DTYPE_F32, SHAPE(o->run.batch, side, side, o->config.latent_channels));
    struct value moments = vae_encode(&net, &o->config, op_cast(&g, picture, net.type));
    struct value latent = loss_vae_sample(&g, moments, noise, &mean, &logvar);
    struct value made = vae_decode(&net, &o->config, latent);
    struct trainer_goal goal = { .loss = loss_vae(&g, made, picture, mean, logvar, &o->loss) };
    if (o->gan > 0) {
        struct net judge = { .g = &g, .type = o->type, .part = DISCRIMINATOR_PART, .trained = true, .params = &params };
        struct value of_real = op_cast(&g, discriminator(&judge, op_cast(&g, picture, o->type), o->gan_width), DTYPE_F32);
        struct value of_made = op_cast(&g, discriminator(&judge, made, o->gan_width), DTYPE_F32);
        struct value counts = graph_input(&g, "opinion", DTYPE_F32, SHAPE(1));
        goal.loss = op_add(&g, goal.loss, op_mul(&g, discriminator_opinion(&g, of_made), counts));
        goal.rival = discriminator_loss(&g, of_real, of_made);
        goal.rival_part = DISCRIMINATOR_PART;
    }
    return trainer_new(backend, &g, &goal, &params, &o->run, o->recompute, o->seed, e);
}

bool train_vae_plan(const struct train_vae_options *o, const struct backend *backend, struct train_memory *memory,
                    struct err *e)
{
    struct trainer *t = make_trainer(o, backend, e);
    if (t)
        *memory = trainer_memory(t);
    trainer_free(t);
    return t != NULL;
}

bool train_vae(const struct train_vae_options *o, const struct backend *backend, const struct progress *progress,
               struct err *e)
{
    struct task t = { .o = o, .backend = backend };
    size_t most = (size_t)(o->run.batch > LOOK_BATCH ? o->run.batch : LOOK_BATCH);
    if (o->size % vae_factor(&o->config))
        return err_set(e, ERR_ARG, "the size %lld is not a multiple of the VAE's factor %lld", (long long)o->size,
                       (long long)vae_factor(&o->config));
    if (o->gan > 0 && o->size < DISCRIMINATOR_LEAST_PX)
        return err_set(e, ERR_ARG, "the size %lld is too small for a discriminator of patches: at least %d", (long long)o->size,
                       DISCRIMINATOR_LEAST_PX);
    if (o->gan > 0 && (o->gan_width < 4 || o->gan_width % 4))
        return err_set(e, ERR_ARG, "a discriminator's width of %lld: must be a multiple of 4", (long long)o->gan_width);
    struct trainer *trainer = make_trainer(o, backend, e);
    t.pictures = mem_aligned(most * (size_t)picture_elements(o) * sizeof(float));
    t.noise = mem_aligned(most * (size_t)latent_elements(o) * sizeof(float));
    t.rgb = mem_aligned(most * (size_t)picture_elements(o));
    bool good = trainer != NULL;
    if (good && !(t.pictures && t.noise && t.rgb))
        good = err_nomem(e, "a batch");
    struct train_task task = { .self = &t, .what = "training the VAE", .fill = fill, .sample = sample, .export = export };
    if (good && (task.held_out = held_out_batches(o)) > 0)
        task.fill_held_out = fill_held_out;
    good = good && trainer_run(trainer, &task, &o->run, progress, e);
    program_free(t.look);
    trainer_free(trainer);
    mem_free(t.pictures);
    mem_free(t.noise);
    mem_free(t.rgb);
    return good;
}
