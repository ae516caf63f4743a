/* The three trainings in a row on the tiny set of pictures: a vocabulary, a VAE, text encoder and denoiser; then a picture from
 * what they left. */
#include "train/train_text.h"

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "test.h"
#include "train/train_vae.h"

enum { SIZE = 16, POOL = 24 };

static const struct vae_config vae = { .in_channels = 3, .out_channels = 3, .latent_channels = 4, .layers_per_block = 1, .groups = 2,
                                       .width = { 4, 8 }, .blocks = 2, .sample_size = SIZE, .quant_conv = true,
                                       .post_quant_conv = true, .scaling_factor = 1 };
static const struct clip_config text = { 600, 16, 32, 1, 2, 24, UNARY_GELU, 1e-5, .end = 599 };
static const struct unet_config denoiser = {
    .in_channels = 4, .out_channels = 4, .sample_size = 8, .cross_attention_dim = 16, .groups = 2, .blocks = 2,
    .width = { 8, 12 }, .layers = { 1, 1 }, .heads = { 2, 2 }, .depth = { 1, 1 }, .down_attention = { true, false },
    .up_attention = { false, true }, .use_linear_projection = true, .flip_sin_to_cos = true, .eps = 1e-5,
    .downsample_padding = 1,
};

struct fixture {
    const struct backend *backend;
    struct dataset *dataset;
    struct clip_tokenizer *tokenizer;
    struct weights *vae_weights;
    struct vae_config vae_config;
    struct scheduler_config scheduler;
    struct latents latents;
    char vae_folder[200], tokenizer_folder[200];
};

static struct train_options run_options(const char *folder, int64_t steps)
{
    return (struct train_options){ .folder = folder, .steps = steps, .warmup = 2, .accumulate = 1, .batch = 4, .rate = 3e-3,
                                   .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .clip = 1, .ema = 0.9, .log_every = 5,
                                   .save_every = 4 };
}

static struct latents_options pool_options(const struct fixture *f)
{
    return (struct latents_options){ .dataset = f->dataset, .scenes = scene_defaults, .vae = &f->vae_config,
                                     .weights = f->vae_weights, .size = SIZE, .count = POOL, .seed = 5, .type = DTYPE_F32 };
}

static bool setup(struct fixture *f, struct err *e)
{
    *f = (struct fixture){ 0 };
    static const char *const captions[] = { "red apple, 3d style", "a red circle", "a blue square on the left" };
    char run[100], json[200];
    snprintf(run, sizeof run, "%s", test_scratch("vae"));
    snprintf(f->vae_folder, sizeof f->vae_folder, "%s/model/vae", run);
    snprintf(json, sizeof json, "%s/model/vae/config.json", run);
    snprintf(f->tokenizer_folder, sizeof f->tokenizer_folder, "%s", test_scratch("tokenizer"));
    f->backend = backend_cpu_new(2, NULL, e);
    f->dataset = f->backend ? dataset_open(test_data("emoji-mini"), e) : NULL;
    if (!f->dataset || !dataset_load(f->dataset, SIZE, false, NULL, e) ||
        !clip_tokenizer_train(captions, 3, 600, 24, f->tokenizer_folder, NULL, e) ||
        !(f->tokenizer = clip_tokenizer_open(f->tokenizer_folder, e)))
        return false;
    struct train_vae_options o = { .dataset = f->dataset, .scenes = scene_defaults, .config = vae, .size = SIZE,
                                   .loss = { 1, 1, 0, 1e-6 }, .run = run_options(run, 10) };
    o.run.save_every = 0;
    if ((!path_exists(f->vae_folder) && !train_vae(&o, f->backend, NULL, e)) || !vae_config_read(&f->vae_config, json, e) ||
        !(f->vae_weights = weights_open(f->vae_folder, e)))
        return false;
    scheduler_config_defaults(&f->scheduler, SCHEDULER_DDIM);
    f->scheduler.prediction = PREDICTION_V;
    f->scheduler.rescale_zero_snr = true;
    f->scheduler.spacing = SPACING_TRAILING;
    struct latents_options pool = pool_options(f);
    return latents_open(&f->latents, test_scratch("pool.safetensors"), &pool, f->backend, NULL, e);
}

static void release(struct fixture *f)
{
    latents_release(&f->latents);
    weights_free(f->vae_weights);
    clip_tokenizer_free(f->tokenizer);
    dataset_free(f->dataset);
    backend_cpu_free(f->backend);
}

static struct train_base_options base_options(const struct fixture *f, const char *folder, int64_t steps)
{
    return (struct train_base_options){
        .dataset = f->dataset, .latents = &f->latents, .scenes = scene_defaults, .pool_seed = 5, .tokenizer = f->tokenizer,
        .text = text, .unet = denoiser, .scheduler = f->scheduler, .vae_folder = f->vae_folder,
        .tokenizer_folder = f->tokenizer_folder, .caption_dropout = 0.1, .min_snr = 5, .min_weight = 0.25, .timestep_shift = 2,
        .seed = 9,
        .run = run_options(folder, steps),
    };
}

TEST(latents_are_made_once_and_again_only_when_what_they_depend_on_changes)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    CHECK(f.latents.count == POOL && f.latents.height == 8 && f.latents.channels == 4, "%s", "shape");
    double squares = 0;
    float one[8 * 8 * 4];
    for (int64_t i = 0; i < POOL; i++) {
        latents_read(&f.latents, i, one);
        for (size_t k = 0; k < sizeof one / sizeof *one; k++)
            squares += (double)one[k] * one[k];
    }
    double deviation = sqrt(squares / (POOL * 256));
    CHECK(deviation > 0.5 && deviation < 2, "the scaled latents' deviation is %g", deviation); /* scaling_factor's purpose */
    char *before, *after;
    size_t bytes, same;
    const char *path = test_scratch("pool.safetensors");
    REQUIRE(file_read(path, 1 << 24, &before, &bytes, &e));
    struct latents again;
    struct latents_options pool = pool_options(&f);
    for (int changed = 0; changed < 2; changed++) {
        pool.seed += (uint64_t)changed;
        REQUIRE(latents_open(&again, path, &pool, f.backend, NULL, &e));
        REQUIRE(file_read(path, 1 << 24, &after, &same, &e));
        bool equal = bytes == same && !memcmp(before, after, bytes);
        CHECK(equal == !changed, "seed %s", changed ? "changed" : "same");
        mem_free(after);
        latents_release(&again);
    }
    mem_free(before);
    release(&f);
}

TEST(a_resumed_base_training_ends_in_the_same_bits)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    char folders[2][PATH_MAX_BYTES];
    snprintf(folders[0], sizeof folders[0], "%s", test_scratch("whole"));
    snprintf(folders[1], sizeof folders[1], "%s", test_scratch("broken"));
    for (int broken = 0; broken < 2; broken++) {
        struct train_base_options o = base_options(&f, folders[broken], 10);
        o.run.stop_at = broken ? 6 : 0;
        REQUIRE(train_base(&o, f.backend, NULL, &e));
        o.run.stop_at = 0;
        o.run.resume = true;
        if (broken)
            REQUIRE(train_base(&o, f.backend, NULL, &e));
    }
    struct weights *a = weights_open(test_scratch("whole/checkpoint.safetensors"), &e);
    struct weights *b = weights_open(test_scratch("broken/checkpoint.safetensors"), &e);
    CHECK(a && b, "%s", e.text);
    for (size_t i = 0; i < weights_count(a); i++) {
        const struct weight *v = weights_at(a, i), *w = weights_find(b, v->name);
        CHECK(w && !memcmp(v->data, w->data, weight_bytes(v)), "%s differs", v->name);
    }
    weights_free(a);
    weights_free(b);
    release(&f);
}

TEST(what_a_base_training_leaves_is_a_model_folder_that_draws)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", test_scratch("draws"));
    struct train_base_options o = base_options(&f, folder, 3);
    REQUIRE(train_base(&o, f.backend, NULL, &e));
    struct pipeline *p = pipeline_open(test_scratch("draws/model"), f.backend, DTYPE_F32, &e);
    CHECK(p, "%s", e.text);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red circle";
    r.steps = 3;
    struct drawing drawing;
    REQUIRE(pipeline_draw(p, &r, NULL, &drawing, &e));
    CHECK(drawing.images[0].width == SIZE && drawing.images[0].height == SIZE, "%d x %d", drawing.images[0].width,
          drawing.images[0].height);
    drawing_release(&drawing);
    pipeline_free(p);
    release(&f);
}

/* Frozen noise says nothing: what is learned here came from words. A text encoder that saw no words could reach the mean picture's loss
 * and no less; broken and resumed it ends in the same bits; and train_base begins where it ended. */
TEST(a_text_encoder_learns_to_say_what_pictures_look_like)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    enum { EACH = 8 * 8 * 4 };
    double mean[EACH] = { 0 }, spread = 0;
    float one[EACH];
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < POOL; i++) {
            latents_read(&f.latents, i, one);
            for (size_t k = 0; k < EACH; k++)
                if (pass)
                    spread += (one[k] - mean[k]) * (one[k] - mean[k]) / (POOL * EACH);
                else
                    mean[k] += one[k] / (double)POOL;
        }
    struct weights *ended[2];
    static const char *const folders[] = { "text-whole", "text-broken" };
    for (int broken = 0; broken < 2; broken++) {
        struct train_base_options o = base_options(&f, test_scratch(folders[broken]), 400);
        o.run.rate = 1e-2;
        o.caption_dropout = 0;
        o.run.stop_at = broken ? 150 : 0;
        REQUIRE(train_text(&o, 2, f.backend, NULL, &e));
        o.run.stop_at = 0;
        o.run.resume = true;
        if (broken)
            REQUIRE(train_text(&o, 2, f.backend, NULL, &e));
    }
    char *lines;
    size_t bytes;
    REQUIRE(file_read(test_scratch("text-whole/metrics.jsonl"), 1 << 20, &lines, &bytes, &e));
    const char *last = NULL;
    for (const char *at = lines; (at = strstr(at, "\"loss\":")); at++)
        last = at;
    CHECK(last && strtod(last + 7, NULL) < 0.9 * spread, "loss%.12s, of the mean picture %g", last ? last + 6 : " ?", spread);
    mem_free(lines);
    ended[0] = weights_open(test_scratch("text-whole/checkpoint.safetensors"), &e);
    ended[1] = weights_open(test_scratch("text-broken/checkpoint.safetensors"), &e);
    CHECK(ended[0] && ended[1], "%s", e.text);
    for (size_t i = 0; i < weights_count(ended[0]); i++) {
        const struct weight *v = weights_at(ended[0], i), *w = weights_find(ended[1], v->name);
        CHECK(w && !memcmp(v->data, w->data, weight_bytes(v)), "%s differs", v->name);
    }
    weights_free(ended[0]);
    weights_free(ended[1]);
    struct weights *taught = weights_open(test_scratch("text-whole/model/text_encoder"), &e);
    CHECK(taught, "%s", e.text);
    struct train_base_options o = base_options(&f, test_scratch("after-text"), 2);
    o.stored_text = taught;
    REQUIRE(train_base(&o, f.backend, NULL, &e));
    weights_free(taught);
    o = base_options(&f, test_scratch("refused"), 3);
    CHECK_FAILS(train_text(&o, 3, f.backend, NULL, &e), ERR_ARG, "--places 3");
    CHECK_FAILS(train_text(&o, 4, f.backend, NULL, &e), ERR_ARG, "24 tokens");
    release(&f);
}

TEST(parts_that_do_not_fit_together_are_refused)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    struct train_base_options o = base_options(&f, test_scratch("refused"), 3);
    o.unet.in_channels = 5;
    CHECK_FAILS(train_base(&o, f.backend, NULL, &e), ERR_SHAPE, "5 channels");
    o = base_options(&f, test_scratch("refused"), 3);
    o.unet.cross_attention_dim = 20;
    CHECK_FAILS(train_base(&o, f.backend, NULL, &e), ERR_SHAPE, "cross_attention_dim is 20");
    o = base_options(&f, test_scratch("refused"), 3);
    o.text.vocab_size = 100;
    CHECK_FAILS(train_base(&o, f.backend, NULL, &e), ERR_SHAPE, "vocab_size is 100");
    release(&f);
}
