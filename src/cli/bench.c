#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "graph/passes.h"
#include "train/loss.h"
#include "train/trainer.h"

enum { WARM_UPS = 2, MOST_RUNS = 1000, MOST_INPUTS = 64 };

/* --- shapes --- */

static void sd15(struct bench_shape *s)
{
    s->text = (struct clip_config){ 49408, 768, 3072, 12, 12, 77, UNARY_QUICK_GELU, 1e-5, .end = 49407 };
    s->unet = (struct unet_config){
        .in_channels = 4, .out_channels = 4, .sample_size = 64, .cross_attention_dim = 768, .groups = 32, .blocks = 4,
        .width = { 320, 640, 1280, 1280 }, .layers = { 2, 2, 2, 2 }, .heads = { 8, 8, 8, 8 }, .depth = { 1, 1, 1, 1 },
        .down_attention = { true, true, true, false }, .up_attention = { false, true, true, true },
        .flip_sin_to_cos = true, .eps = 1e-5, .downsample_padding = 1,
    };
    s->vae = (struct vae_config){
        .in_channels = 3, .out_channels = 3, .latent_channels = 4, .layers_per_block = 2, .groups = 32,
        .width = { 128, 256, 512, 512 }, .blocks = 4, .sample_size = 512, .mid_attention = true, .quant_conv = true,
        .post_quant_conv = true, .scaling_factor = 0.18215,
    };
    s->side = 64;
    s->batch_vae = s->batch_unet = 1;
    s->train_pixels = 256;
}

static void sdxl(struct bench_shape *s)
{
    sd15(s);
    s->text = (struct clip_config){ 49408, 1280, 5120, 32, 20, 77, UNARY_GELU, 1e-5, .end = 49407, .projection_dim = 1280,
                                    .projects = true };
    s->unet = (struct unet_config){
        .in_channels = 4, .out_channels = 4, .sample_size = 128, .cross_attention_dim = 2048, .groups = 32, .blocks = 3,
        .width = { 320, 640, 1280 }, .layers = { 2, 2, 2 }, .heads = { 5, 10, 20 }, .depth = { 1, 2, 10 },
        .down_attention = { false, true, true }, .up_attention = { true, true, false }, .use_linear_projection = true,
        .flip_sin_to_cos = true, .eps = 1e-5, .downsample_padding = 1, .text_time = true, .time_ids_dim = 256,
        .addition_width = 1280 + 6 * 256,
    };
    s->vae.sample_size = 1024;
    s->vae.scaling_factor = 0.13025;
    s->side = 128;
}

bool bench_shape_read(struct bench_shape *s, const char *name, struct err *e)
{
    static const struct { const char *name; void (*fill)(struct bench_shape *s); } known[] = {
        { "sd15", sd15 }, { "sdxl", sdxl },
    };
    *s = (struct bench_shape){ .name = name };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            known[i].fill(s);
            return true;
        }
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s/%s/config.json", name, model_part_names[PART_TEXT_2]);
    if (!path_exists(path))
        snprintf(path, sizeof path, "%s/%s/config.json", name, model_part_names[PART_TEXT]);
    if (!clip_config_read(&s->text, path, e))
        return err_add(e, "--shape wants sd15, sdxl or a model folder");
    snprintf(path, sizeof path, "%s/unet/config.json", name);
    if (!unet_config_read(&s->unet, path, e))
        return false;
    snprintf(path, sizeof path, "%s/vae/config.json", name);
    if (!vae_config_read(&s->vae, path, e))
        return false;
    s->side = s->unet.sample_size;
    s->batch_vae = 16; /* what bench/peers/torch_train.py takes */
    s->batch_unet = 64;
    s->train_pixels = s->vae.sample_size;
    return true;
}

/* --- timing --- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of `runs` calls after those that warm up. */
static bool timed(int64_t runs, bool (*call)(void *self, struct err *e), void *self, double *seconds, struct err *e)
{
    double times[MOST_RUNS];
    runs = runs < MOST_RUNS ? runs : MOST_RUNS;
    for (int64_t i = -WARM_UPS; i < runs; i++) {
        double begun = clock_seconds();
        if (!stop_check(e) || !call(self, e))
            return false;
        if (i >= 0)
            times[i] = clock_seconds() - begun;
    }
    qsort(times, (size_t)runs, sizeof *times, compare_doubles);
    *seconds = (times[(runs - 1) / 2] + times[runs / 2]) / 2;
    return true;
}

static bool run_program(void *self, struct err *e)
{
    return program_run(self, e);
}

/* Numbers of about the size that trained weights have: sums neither die out nor overflow. */
static void fill(float *x, size_t count, double scale, uint64_t key)
{
    struct random r = random_of(key, 0);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(scale * (2 * (double)random_uniform(&r) - 1));
}

static void *random_input(const struct value_info *info, int64_t id, int64_t id_limit)
{
    size_t count = (size_t)shape_count(info->shape);
    float *numbers = mem_aligned(count * sizeof *numbers);
    void *out = mem_aligned(count * dtype_bytes(info->type));
    struct random r = random_of(7, (uint64_t)id);
    if (numbers && out) {
        for (size_t i = 0; i < count; i++)
            if (info->type == DTYPE_I32)
                ((int32_t *)out)[i] = (int32_t)random_below(&r, (uint64_t)id_limit);
            else
                numbers[i] = random_normal(&r);
        if (info->type != DTYPE_I32)
            dtype_convert(out, info->type, numbers, DTYPE_F32, count);
    }
    mem_free(numbers);
    return out;
}

/* Gives a program random inputs, freed by release_inputs. Ids lie below id_limit. */
static bool give_inputs(struct program *p, int64_t id_limit, void **inputs, struct err *e)
{
    const struct graph *g = program_graph(p);
    size_t n = 0;
    for (size_t v = 1; v < g->n_values && n < MOST_INPUTS; v++) {
        if (g->values[v].kind != VALUE_INPUT)
            continue;
        inputs[n] = random_input(&g->values[v], (int64_t)v, id_limit);
        if (!inputs[n])
            return err_nomem(e, "an input");
        if (!program_set_input(p, g->values[v].name, inputs[n++], e))
            return false;
    }
    return true;
}

static void release_inputs(void **inputs)
{
    for (int i = 0; i < MOST_INPUTS; i++)
        mem_free(inputs[i]);
}

/* kept[i]: memory of weight i that the program reads where it lies. */
static bool give_weights(struct program *p, const struct params *params, float **kept, struct err *e)
{
    for (size_t i = 0; i < params->count; i++) {
        const struct param *w = &params->at[i];
        size_t count = (size_t)shape_count(w->shape);
        float *data = mem_aligned(count * sizeof *data);
        if (!data)
            return err_nomem(e, w->name);
        double scale = w->init == INIT_ONES || w->init == INIT_ZEROS ? 0.02 : sqrt(3) * w->scale;
        fill(data, count, scale, i);
        for (size_t k = 0; w->init == INIT_ONES && k < count; k++)
            data[k] += 1;
        bool keeps = false;
        bool good = program_bind_weight(p, w->name, &(struct tensor){ DTYPE_F32, w->shape, data }, &keeps, e);
        if (good && keeps)
            kept[i] = data;
        else
            mem_free(data);
        if (!good)
            return false;
    }
    return true;
}

static double graph_flops(const struct graph *g)
{
    double sum = 0;
    for (size_t o = 0; o < g->n_ops; o++)
        if (g->ops[o].op != OP_NONE)
            sum += op_flops(g, &g->ops[o]);
    return sum;
}

bool bench_graph(const struct bench_options *o, struct graph *g, struct params *params, const struct value *outs, size_t count,
                 struct bench_result *out, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (outs[i].id)
            graph_output(g, outs[i]);
    if (!graph_ok(g, e)) {
        graph_release(g);
        params_release(params);
        return false;
    }
    graph_fuse(g, true);
    graph_prune(g);
    struct program *p = program_new(o->backend, g, e);
    void *inputs[MOST_INPUTS] = { 0 };
    float **kept = mem_zeroed(params->count + 1, sizeof *kept);
    bool good = p && (kept || err_nomem(e, "a list of weights")) && give_weights(p, params, kept, e) &&
                give_inputs(p, o->shape->text.vocab_size, inputs, e) && timed(o->runs, run_program, p, &out->seconds, e);
    if (good) {
        out->flops = graph_flops(program_graph(p));
        if (o->profile)
            program_profile_text(p, &out->profile);
    }
    program_free(p);
    release_inputs(inputs);
    for (size_t i = 0; kept && i < params->count; i++)
        mem_free(kept[i]);
    mem_free(kept);
    params_release(params);
    return good;
}

/* --- a model's parts --- */

struct value bench_denoiser(struct net *n, const struct bench_shape *s, int64_t batch, struct value latent, struct value text)
{
    const struct unet_config *c = &s->unet;
    struct unet_extra extra = { .pooled = VALUE_NONE };
    if (c->text_time) {
        int64_t ids = c->time_ids_dim ? (c->addition_width - s->text.projection_dim) / c->time_ids_dim : 0;
        extra.pooled = graph_input(n->g, "pooled", n->type, SHAPE(batch, s->text.projection_dim));
        extra.time_ids = graph_input(n->g, "time_ids", DTYPE_F32, SHAPE(batch, ids));
    }
    if (c->guidance_dim)
        extra.guidance = graph_input(n->g, "guidance", DTYPE_F32, SHAPE(batch));
    return unet(n, c, latent, graph_input(n->g, "timestep", DTYPE_F32, SHAPE(batch)), text, &extra);
}

static bool unet_step(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = o->type, .part = "unet", .params = &params };
    out->batch = 2;
    struct value y = bench_denoiser(&n, s, 2, graph_input(&g, "latent", o->type, SHAPE(2, s->side, s->side, s->unet.in_channels)),
                              graph_input(&g, "text", o->type, SHAPE(2, s->text.positions, s->unet.cross_attention_dim)));
    return bench_graph(o, &g, &params, &y, 1, out, e);
}

static bool vae_decoding(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = o->type, .part = "vae", .params = &params };
    out->batch = 1;
    struct value y = vae_decode(&n, &s->vae,
                                graph_input(&g, "latent", o->type, SHAPE(1, s->side, s->side, s->vae.latent_channels)));
    return bench_graph(o, &g, &params, &y, 1, out, e);
}

static bool text_encoding(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = o->type, .part = "text_encoder", .params = &params };
    out->batch = 2;
    struct value y = clip_text(&n, &s->text, graph_input(&g, "ids", DTYPE_I32, SHAPE(2, s->text.positions)), 0);
    return bench_graph(o, &g, &params, &y, 1, out, e);
}

/* --- training steps --- */

struct step {
    struct trainer *trainer;
    struct train_task task;
    struct train_options options;
    int64_t at;
};

static bool nothing_new(void *self, int64_t index, struct program *program, struct err *e)
{
    return true; /* the same random batch every time */
}

static bool one_step(void *self, struct err *e)
{
    struct step *s = self;
    double loss, norm;
    return trainer_step(s->trainer, &s->task, &s->options, s->at++, &loss, &norm, e);
}

/* Frozen weights, in the types that the graph has; kept[i] is what the program reads where it lies. */
static bool give_frozen(struct program *p, const struct params *frozen, void **kept, struct err *e)
{
    float numbers[1 << 12];
    fill(numbers, sizeof numbers / sizeof *numbers, 1, 3);
    for (size_t i = 0; i < frozen->count; i++) {
        const struct param *w = &frozen->at[i];
        struct value v = graph_find(program_graph(p), VALUE_WEIGHT, w->name);
        if (!v.id)
            continue;
        size_t count = (size_t)shape_count(w->shape), most = sizeof numbers / sizeof *numbers;
        enum dtype type = graph_type(program_graph(p), v);
        double scale = w->init == INIT_ONES || w->init == INIT_ZEROS ? 0.02 : sqrt(3) * w->scale;
        char *data = mem_aligned(count * dtype_bytes(type));
        if (!data)
            return err_nomem(e, w->name);
        for (size_t at = 0; at < count; at += most) { /* the same few numbers again and again: what they are costs no time */
            float piece[1 << 12];
            size_t n = count - at < most ? count - at : most;
            for (size_t k = 0; k < n; k++)
                piece[k] = (float)scale * numbers[k] + (w->init == INIT_ONES ? 1 : 0);
            dtype_convert(data + at * dtype_bytes(type), type, piece, DTYPE_F32, n);
        }
        bool keeps = false;
        bool good = program_bind_weight(p, w->name, &(struct tensor){ type, w->shape, data }, &keeps, e);
        kept[i] = good && keeps ? data : NULL;
        if (!kept[i])
            mem_free(data);
        if (!good)
            return false;
    }
    return true;
}

bool bench_train(const struct bench_options *o, const struct bench_training *t, struct bench_result *out, struct err *e)
{
    size_t state = 0, available = mem_available(), frozen = t->frozen ? t->frozen->count : 0;
    /* weight, gradient and two moments, of 8 bits where they are asked for */
    double each = t->optimizer == OPTIMIZER_ADAMW8BIT ? 10.1 : 4.0 * sizeof(float);
    for (size_t i = 0; i < t->params->count; i++)
        state += (size_t)((double)shape_count(t->params->at[i].shape) * each);
    if (available && state > available / 10 * 8) {
        graph_release(t->g);
        params_release(t->params);
        fprintf(stderr, "limn bench: left out: the training state takes %.1f GiB, %.1f GiB are free\n",
                ldexp((double)state, -30), ldexp((double)available, -30));
        return false;
    }
    void *inputs[MOST_INPUTS] = { 0 }, **kept = mem_zeroed(frozen + 1, sizeof *kept);
    struct step s = { .task = { .what = "bench", .fill = nothing_new },
                      .options = { .steps = 1 << 20, .accumulate = 1, .batch = t->batch, .rate = 1e-4, .beta1 = 0.9, .beta2 = 0.999,
                                   .eps = 1e-8, .decay = 0.01, .optimizer = t->optimizer } };
    s.trainer = trainer_new(o->backend, t->g, &(struct trainer_goal){ .loss = t->loss }, t->params, &s.options, t->recompute, 1, e);
    bool good = s.trainer && (kept || err_nomem(e, "a list of weights")) &&
                (!t->frozen || give_frozen(trainer_program(s.trainer, 0), t->frozen, kept, e)) &&
                give_inputs(trainer_program(s.trainer, 0), o->shape->text.vocab_size, inputs, e) &&
                timed(o->runs, one_step, &s, &out->seconds, e);
    out->batch = t->batch;
    out->trains = true;
    if (good) {
        out->flops = graph_flops(program_graph(trainer_program(s.trainer, 0)));
        if (o->profile)
            program_profile_text(trainer_program(s.trainer, 0), &out->profile);
    }
    trainer_free(s.trainer);
    release_inputs(inputs);
    for (size_t i = 0; kept && i < frozen; i++)
        mem_free(kept[i]);
    mem_free(kept);
    return good;
}

/* Everything learns, by AdamW; inner activations are recomputed where they are large. What bench/peers/torch_train.py does. */
static bool time_training(const struct bench_options *o, struct graph *g, struct params *params, struct value loss,
                          int64_t batch, struct bench_result *out, struct err *e)
{
    return bench_train(o, &(struct bench_training){ .g = g, .params = params, .loss = loss, .batch = batch,
                                                    .recompute = o->shape->side >= 64 }, out, e);
}

static bool training_vae(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    int64_t pixels = s->train_pixels, latent = pixels / vae_factor(&s->vae);
    struct vae_loss_weights weights = { .l1 = 1, .kl = 1e-6 };
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = o->type, .part = "vae", .trained = true, .params = &params };
    struct value x = graph_input(&g, "picture", DTYPE_F32, SHAPE(s->batch_vae, pixels, pixels, s->vae.in_channels));
    struct value noise = graph_input(&g, "noise", DTYPE_F32, SHAPE(s->batch_vae, latent, latent, s->vae.latent_channels));
    struct value mean, logvar;
    struct value z = loss_vae_sample(&g, vae_encode(&n, &s->vae, op_cast(&g, x, o->type)), noise, &mean, &logvar);
    struct value loss = loss_vae(&g, vae_decode(&n, &s->vae, z), x, mean, logvar, &weights);
    return time_training(o, &g, &params, loss, s->batch_vae, out, e);
}

static bool training_unet(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    const struct bench_shape *s = o->shape;
    int64_t batch = s->batch_unet;
    struct shape latents = SHAPE(batch, s->side, s->side, s->unet.in_channels);
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net text = { .g = &g, .type = o->type, .part = "text_encoder", .trained = true, .params = &params }, n = text;
    n.part = "unet";
    struct value states = clip_text(&text, &s->text, graph_input(&g, "ids", DTYPE_I32, SHAPE(batch, s->text.positions)), 0);
    if (s->unet.cross_attention_dim != s->text.hidden_size) /* of several text encoders one is trained */
        states = graph_input(&g, "text", o->type, SHAPE(batch, s->text.positions, s->unet.cross_attention_dim));
    struct value y = bench_denoiser(&n, s, batch, graph_input(&g, "latent", o->type, latents), states);
    struct value weight = graph_input(&g, "weight", DTYPE_F32, SHAPE(batch));
    struct value loss = loss_weighted_mse(&g, y, graph_input(&g, "target", DTYPE_F32, latents), weight);
    return time_training(o, &g, &params, loss, batch, out, e);
}

const struct bench_subject bench_subjects[] = {
    { "matmul", "linear layers of the denoiser's transformer blocks", bench_matmul },
    { "conv", "its 3x3 convolutions", bench_conv },
    { "attention", "its self and cross attention", bench_attention },
    { "norm", "its group norms and layer norms", bench_norm },
    { "text_encoder", "two texts", text_encoding },
    { "unet_step", "one call for a guided picture (batch 2)", unet_step },
    { "vae_decode", "one picture", vae_decoding },
    { "train_vae", "a training step of the VAE", training_vae },
    { "train_unet", "a training step of denoiser and text encoder", training_unet },
    { "lora_step", "a step of LoRA (attention, rank 16) beside frozen weights of the same type", bench_lora },
    { "lora_recompute", "the same with cheap inner activations computed twice", bench_lora_recompute },
    { "full_step", "a step of all the denoiser's weights, with moments of 8 bits", bench_full },
    { 0 },
};
