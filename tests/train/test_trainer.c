/* Runs on the tiny set of pictures with tiny configs: resuming, accumulating, what a run leaves behind. */
#include "train/trainer.h"

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"
#include "train/train_base.h"
#include "train/train_vae.h"

static const struct vae_config tiny_vae = { .in_channels = 3, .out_channels = 3, .latent_channels = 4, .layers_per_block = 1,
                                            .groups = 2, .width = { 4, 8 }, .blocks = 2, .sample_size = 16, .quant_conv = true,
                                            .post_quant_conv = true, .scaling_factor = 1 };

struct fixture {
    const struct backend *backend;
    struct dataset *dataset;
};

static bool setup(struct fixture *f, struct err *e)
{
    f->dataset = dataset_open(test_data("emoji-mini"), e);
    f->backend = f->dataset && dataset_load(f->dataset, 16, false, NULL, e) ? backend_cpu_new(2, NULL, e) : NULL;
    return f->backend != NULL;
}

static void release(struct fixture *f)
{
    dataset_free(f->dataset);
    backend_cpu_free(f->backend);
}

static struct train_vae_options vae_options(const struct fixture *f, const char *folder)
{
    return (struct train_vae_options){
        .dataset = f->dataset, .scenes = scene_defaults, .config = tiny_vae, .size = 16, .type = DTYPE_F32, .seed = 3,
        .loss = { 1, 1, 0.5, 1e-3 },
        .run = { .folder = folder, .steps = 9, .warmup = 2, .accumulate = 1, .batch = 4, .rate = 3e-3, .beta1 = 0.9,
                 .beta2 = 0.99, .eps = 1e-8, .decay = 0.01, .clip = 1, .ema = 0.9, .schedule = RATE_COSINE,
                 .final_rate = 0.1, .log_every = 2, .save_every = 3 },
    };
}

/* The two files have the same bytes. */
static void check_same_file(const char *a, const char *b)
{
    struct err e = { 0 };
    struct weights *x = weights_open(a, &e), *y = weights_open(b, &e);
    CHECK(x && y, "%s", e.text);
    CHECK(weights_count(x) == weights_count(y), "%zu and %zu tensors", weights_count(x), weights_count(y));
    for (size_t i = 0; i < weights_count(x); i++) {
        const struct weight *v = weights_at(x, i), *w = weights_find(y, v->name);
        CHECK(w && !memcmp(v->data, w->data, weight_bytes(v)), "%s differs", v->name);
    }
    weights_free(x);
    weights_free(y);
}

/* A path in the scratch folder that stays. */
struct kept_path {
    char s[PATH_MAX_BYTES];
};
static struct kept_path scratch(const char *folder, const char *name)
{
    struct kept_path p;
    snprintf(p.s, sizeof p.s, "%s", test_scratch(path_of("%s%s", folder, name).s));
    return p;
}

TEST(a_resumed_run_ends_in_the_same_bits_as_an_unbroken_one)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    for (int kind = 0; kind <= OPTIMIZERS; kind++) { /* the last time without a running mean */
        const char *name = kind < OPTIMIZERS ? optimizer_name(kind) : "no-ema";
        struct kept_path whole = scratch("whole-", name), broken = scratch("broken-", name);
        struct train_vae_options o = vae_options(&f, whole.s);
        o.run.steps = 6;
        if (kind < OPTIMIZERS)
            o.run.optimizer = (enum optimizer_kind)kind;
        else
            o.run.ema = 0;
        REQUIRE(train_vae(&o, f.backend, NULL, &e));
        o.run.folder = broken.s;
        o.run.resume = true;
        for (int64_t stop = 2; stop <= 4; stop += 2) { /* 2 is between two saves: stopping saves */
            o.run.stop_at = stop;
            REQUIRE(train_vae(&o, f.backend, NULL, &e));
        }
        o.run.stop_at = 0;
        REQUIRE(train_vae(&o, f.backend, NULL, &e));
        check_same_file(path_of("%s/checkpoint.safetensors", whole.s).s, path_of("%s/checkpoint.safetensors", broken.s).s);
        check_same_file(path_of("%s/model/vae/diffusion_pytorch_model.safetensors", whole.s).s,
                        path_of("%s/model/vae/diffusion_pytorch_model.safetensors", broken.s).s);
        o.run.steps = 8;
        o.run.optimizer = (o.run.optimizer + 1) % OPTIMIZERS;
        CHECK_FAILS(train_vae(&o, f.backend, NULL, &e), ERR_ARG, "was trained with");
    }
    release(&f);
}

TEST(a_run_learns_and_leaves_what_it_promises)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", test_scratch("learns"));
    struct train_vae_options o = vae_options(&f, folder);
    o.run.steps = 60;
    o.run.log_every = 10;
    o.run.sample_every = 30;
    REQUIRE(train_vae(&o, f.backend, NULL, &e));
    static const char *const files[] = { "metrics.jsonl", "curve.png", "checkpoint.safetensors", "model/vae/config.json",
                                         "samples/step-00000030.png", "samples/step-00000060.png" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[PATH_MAX_BYTES];
        REQUIRE(path_join(path, folder, files[i], &e));
        CHECK(path_exists(path), "%s is missing", files[i]);
    }
    char *text;
    size_t bytes;
    REQUIRE(file_read(test_scratch("learns/metrics.jsonl"), 1 << 20, &text, &bytes, &e));
    double first = 0, last = 0;
    int lines = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        json_t *j = json_parse(line, (size_t)(strchr(line, '\n') - line), "metrics", &e);
        CHECK(j, "%s", e.text);
        last = json_number_value(json_object_get(j, "loss"));
        first = lines++ ? first : last;
        json_decref(j);
    }
    CHECK(lines == 6, "%d lines", lines);
    CHECK(last < 0.8 * first, "the loss went from %g to %g", first, last);
    mem_free(text);
    o.run.resume = false;
    CHECK_FAILS(train_vae(&o, f.backend, NULL, &e), ERR_ARG, "--resume");
    release(&f);
}

/* y = sum of w x over a batch of one-element inputs: gradients that can be written down. */
struct line_task {
    float x[2];
};

static bool fill_line(void *self, int64_t index, struct program *program, struct err *e)
{
    struct line_task *t = self;
    t->x[0] = (float)(index + 1);
    t->x[1] = (float)(2 * index + 1);
    return program_set_input(program, "x", t->x, e);
}

TEST(accumulated_batches_give_the_mean_gradient_and_clipping_its_norm)
{
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    CHECK(backend, "%s", e.text);
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "line", .trained = true, .params = &params };
    struct value x = graph_input(&g, "x", DTYPE_F32, SHAPE(2));
    struct value w = net_weight(&net, "", "w", SHAPE(2), INIT_ONES, 0, false);
    struct value loss = op_scale(&g, op_mean(&g, op_mul(&g, w, x)), 2, 0); /* w . x */
    struct train_options o = { .steps = 10, .accumulate = 2, .batch = 1, .rate = 0.125, .beta1 = 0.5, .beta2 = 0.5,
                               .clip = 1, .ema = 0.5 };
    struct trainer *t = trainer_new(backend, &g, &(struct trainer_goal){ .loss = loss }, &params, &o, false, 1, &e);
    CHECK(t, "%s", e.text);
    struct line_task line;
    struct train_task task = { .self = &line, .what = "a line", .fill = fill_line };
    /* two batches: x = (1, 1) and (2, 3); mean gradient (1.5, 2), norm 2.5; with m = v = 0 AdamW's first step is the rate */
    double mean, norm;
    REQUIRE(trainer_step(t, &task, &o, 0, &mean, &norm, &e));
    CHECK_NEAR(mean, 3.5, 1e-6, "loss");
    CHECK_NEAR(norm, 2.5, 1e-6, "norm");
    const float *m = trainer_state(t)->slot[0].data, *p = trainer_state(t)->array[STATE_VALUE];
    CHECK_NEAR(m[0], 0.5 * 1.5 / 2.5, 1e-6, "clipped moment");
    CHECK_NEAR(m[1], 0.5 * 2 / 2.5, 1e-6, "clipped moment");
    CHECK_NEAR(p[0], 1 - 0.125, 1e-6, "weight");
    line.x[0] = 0;
    struct train_options wild = o;
    wild.rate = INFINITY;
    REQUIRE(trainer_step(t, &task, &wild, 1, &mean, &norm, &e));
    CHECK_FAILS(trainer_step(t, &task, &o, 2, &mean, &norm, &e), ERR_FORMAT, "blown up");
    trainer_free(t);
    backend_cpu_free(backend);
}

/* loss = 3 a b, rival = a b + b: each weight learns its own loss, though both depend on both. */
TEST(a_rival_learns_its_own_loss_and_nothing_else)
{
    struct err e = { 0 };
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    CHECK(backend, "%s", e.text);
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "maker", .trained = true, .params = &params };
    struct value x = graph_input(&g, "x", DTYPE_F32, SHAPE(2)); /* ones, and one more to be left out */
    struct value a = net_weight(&net, "", "a", SHAPE(1), INIT_ONES, 0, false);
    net.part = "judge";
    struct value b = net_weight(&net, "", "b", SHAPE(1), INIT_ONES, 0, false);
    struct value both = op_mul(&g, op_mul(&g, a, b), op_slice(&g, x, 0, 0, 1));
    struct trainer_goal goal = { op_scale(&g, both, 3, 0), op_add(&g, both, b), "judge" };
    struct train_options o = { .steps = 10, .accumulate = 1, .batch = 1, .rate = 0.125, .beta1 = 0.5, .beta2 = 0.5 };
    struct trainer *t = trainer_new(backend, &g, &goal, &params, &o, false, 1, &e);
    CHECK(t, "%s", e.text);
    struct line_task line;
    struct train_task task = { .self = &line, .what = "a duel", .fill = fill_line };
    double mean, norm;
    REQUIRE(trainer_step(t, &task, &o, 0, &mean, &norm, &e));
    CHECK_NEAR(mean, 3, 1e-6, "the maker's loss");
    const struct train_state *s = trainer_state(t);
    static const float wanted[] = { 3, 2 }; /* d loss / da = 3 b, d rival / db = a + 1 */
    for (size_t i = 0; i < 2; i++)
        CHECK_NEAR(s->array[STATE_GRADIENT][s->offset[i]], wanted[i], 1e-6, "gradient of %s", s->params.at[i].name);
    trainer_free(t);
    backend_cpu_free(backend);
}

/* 40 pixels leave the discriminator patches; what it learned goes on in the same bits, and stays out of the model. */
TEST(a_run_with_a_discriminator_resumes_and_exports_the_vae_alone)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    dataset_free(f.dataset);
    f.dataset = dataset_open(test_data("emoji-mini"), &e);
    REQUIRE(f.dataset && dataset_load(f.dataset, 40, false, NULL, &e));
    char whole[PATH_MAX_BYTES], broken[PATH_MAX_BYTES];
    snprintf(whole, sizeof whole, "%s", test_scratch("duel"));
    snprintf(broken, sizeof broken, "%s", test_scratch("duel-broken"));
    struct train_vae_options o = vae_options(&f, whole);
    o.size = o.config.sample_size = 40;
    o.gan = 0.1;
    o.gan_start = 2;
    o.gan_width = 4;
    o.run.steps = 5;
    o.run.batch = 2;
    REQUIRE(train_vae(&o, f.backend, NULL, &e));
    o.run.folder = broken;
    o.run.resume = true;
    o.run.stop_at = 4;
    REQUIRE(train_vae(&o, f.backend, NULL, &e));
    o.run.stop_at = 0;
    REQUIRE(train_vae(&o, f.backend, NULL, &e));
    check_same_file(test_scratch("duel/checkpoint.safetensors"), test_scratch("duel-broken/checkpoint.safetensors"));
    struct weights *saved = weights_open(test_scratch("duel/checkpoint.safetensors"), &e);
    struct weights *model = weights_open(test_scratch("duel/model/vae/diffusion_pytorch_model.safetensors"), &e);
    REQUIRE(saved && model);
    const struct weight *moment = weights_find(saved, "moment1/discriminator/1.weight");
    CHECK(moment && ((const float *)moment->data)[0] != 0, "%s", "the discriminator learns");
    CHECK(weights_find(model, "decoder.conv_in.weight") && !weights_find(model, "1.weight"), "%s", "the VAE alone");
    weights_free(saved);
    weights_free(model);
    o.size = 16;
    CHECK_FAILS(train_vae(&o, f.backend, NULL, &e), ERR_ARG, "too small");
    release(&f);
}

TEST(the_rate_warms_up_and_falls_as_its_schedule_says)
{
    struct train_options o = { .steps = 110, .warmup = 10, .rate = 2, .final_rate = 0.1 };
    static const struct { enum rate_schedule schedule; int64_t step; double rate; } cases[] = {
        { RATE_CONSTANT, 0, 0.2 }, { RATE_CONSTANT, 9, 2 }, { RATE_CONSTANT, 109, 2 },
        { RATE_LINEAR, 10, 2 },    { RATE_LINEAR, 60, 1.1 }, { RATE_COSINE, 10, 2 },
        { RATE_COSINE, 60, 1.1 },  { RATE_COSINE, 110, 0.2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.schedule = cases[i].schedule;
        CHECK_NEAR(train_rate(&o, cases[i].step), cases[i].rate, 1e-12, "case %zu", i);
    }
}

TEST(recomputing_gives_the_same_training)
{
    struct err e = { 0 };
    struct fixture f;
    REQUIRE(setup(&f, &e));
    char kept[PATH_MAX_BYTES], again[PATH_MAX_BYTES];
    snprintf(kept, sizeof kept, "%s", test_scratch("kept"));
    snprintf(again, sizeof again, "%s", test_scratch("again"));
    struct train_vae_options o = vae_options(&f, kept);
    struct train_memory with, without;
    REQUIRE(train_vae_plan(&o, f.backend, &without, &e) && train_vae(&o, f.backend, NULL, &e));
    o.run.folder = again;
    o.recompute = true;
    REQUIRE(train_vae_plan(&o, f.backend, &with, &e) && train_vae(&o, f.backend, NULL, &e));
    CHECK(with.activations < without.activations, "%zu and %zu bytes", with.activations, without.activations);
    check_same_file(test_scratch("kept/checkpoint.safetensors"), test_scratch("again/checkpoint.safetensors"));
    release(&f);
}
