/* Drawings with ControlNets beside diffusers' StableDiffusionControlNetPipeline (tests/reference/make_control.py): same words, seed, pictures
 * and settings, f32. */
#include <math.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "generate/stages.h"
#include "test.h"

static const char *control_path(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "control/%s", name);
    return test_data(path);
}

/* The reference script's pictures: smooth, every channel its own. As floats in 0..1 of whole steps of 1/255. */
static float *hint(int64_t h, int64_t w, bool turned)
{
    float *out = mem_aligned((size_t)(h * w) * 3 * sizeof *out);
    for (int64_t i = 0; i < h * w; i++) {
        double y = (double)(i / w) / (double)(h - 1), x = (double)(i % w) / (double)(w - 1);
        double v[3] = { x, 0.5 + 0.5 * sin(9 * y + 4 * x), hypot(x - 0.5, y - 0.4) < 0.3 };
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = (float)(rint(255 * v[turned ? 2 - c : c]) / 255);
    }
    return out;
}

/* "sd1-b" is a config for the weights of "sd1". */
static struct control_net *open_net(const char *name)
{
    struct err e = { 0 };
    char folder[PATH_MAX_BYTES], config[PATH_MAX_BYTES], path[PATH_MAX_BYTES], from[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", control_path(name));
    if (!strcmp(name, "sd1-b")) {
        snprintf(from, sizeof from, "%s", folder);
        snprintf(folder, sizeof folder, "%s", test_scratch(name));
        REQUIRE(folder_make(folder, &e) && path_join(config, folder, "config.json", &e) &&
                path_join(path, folder, "diffusion_pytorch_model.safetensors", &e));
        unlink(config);
        unlink(path);
        char whole[PATH_MAX_BYTES];
        REQUIRE(path_join(whole, from, "config.json", &e) && !symlink(whole, config) &&
                !symlink(control_path("sd1/diffusion_pytorch_model.safetensors"), path));
    }
    struct control_net *net = control_net_open(folder, &e);
    REQUIRE(net != NULL);
    return net;
}

static double number(const json_t *c, const char *key, size_t i)
{
    const json_t *v = json_object_get(c, key);
    return json_number_value(json_is_array(v) ? json_array_get(v, i) : v);
}

static void draw_case(struct pipeline *p, const json_t *c, const struct weights *expected)
{
    struct err e = { 0 };
    struct drawing d;
    struct draw_control controls[CONTROL_MOST] = { { 0 } };
    struct draw_request r = draw_request_defaults(p);
    const char *name = json_string_value(json_object_get(c, "name"));
    char what[100];
    r.prompt = json_string_value(json_object_get(c, "prompt"));
    r.negative = json_string_value(json_object_get(c, "negative"));
    r.width = (int64_t)number(c, "width", 0);
    r.height = (int64_t)number(c, "height", 0);
    r.steps = (int64_t)number(c, "steps", 0);
    r.cfg = number(c, "cfg", 0);
    r.seed = (uint64_t)number(c, "seed", 0);
    r.control_guess = json_is_true(json_object_get(c, "guess"));
    r.control_count = json_array_size(json_object_get(c, "nets"));
    r.controls = controls;
    for (size_t i = 0; i < r.control_count; i++)
        controls[i] = (struct draw_control){ open_net(json_string_value(json_array_get(json_object_get(c, "nets"), i))), hint(r.height, r.width, i > 0), 1,
                                             r.height, r.width, number(c, "strength", i), number(c, "start", i), number(c, "end", i), NULL };
    struct draw_plan plan, without;
    REQUIRE(pipeline_plan(p, &r, &plan, &e) && pipeline_draw(p, &r, NULL, &d, &e));
    snprintf(what, sizeof what, "%s.final", name);
    const struct weight *final = weights_find(expected, what);
    snprintf(what, sizeof what, "%s.picture", name);
    const struct weight *picture = weights_find(expected, what);
    REQUIRE(final && picture && shape_same(final->shape, d.shape));
    struct difference off = tensor_difference(d.latents, final->data, shape_count(d.shape));
    double sum = 0;
    for (size_t i = 0; i < image_bytes(&d.images[0]); i++) {
        double x = (double)d.images[0].pixels[i] - ((const uint8_t *)picture->data)[i];
        sum += x * x;
    }
    double db = sum == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * (double)image_bytes(&d.images[0]) / sum);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-10s latents %.1e  picture %.1f dB\n", name, off.max, db);
    CHECK(off.max <= 2e-4 && db > 60, "%s: latents differ by %.2e, the picture is at %.1f dB", name, off.max, db);
    r.control_count = 0;
    REQUIRE(pipeline_plan(p, &r, &without, &e));
    CHECK(plan.activations > without.activations || plan.weights > without.weights, "%s: the plan does not count it", name);
    drawing_release(&d);
    for (size_t i = 0; i < CONTROL_MOST; i++) {
        control_net_drop(controls[i].net);
        mem_free(controls[i].picture);
    }
}

TEST(drawings_with_control_nets_are_those_of_diffusers)
{
    static const char *const models[] = { "tiny-sd1", "tiny-sdxl" };
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu);
    for (size_t i = 0; i < 2; i++) {
        char path[100];
        struct model_folder f;
        snprintf(path, sizeof path, "models/%s", models[i]);
        REQUIRE(model_folder_open(&f, test_data(path), &e));
        f.scheduler.class = SCHEDULER_DDIM;
        f.scheduler.clip_sample = false;
        f.scheduler.steps_offset = 1;
        struct pipeline_source source = pipeline_source_of(&f);
        struct pipeline *p = pipeline_new(&source, cpu, DTYPE_F32, &e);
        REQUIRE(p);
        snprintf(path, sizeof path, "%s.json", models[i]);
        json_t *info = json_read(control_path(path), &e), *c;
        snprintf(path, sizeof path, "%s.safetensors", models[i]);
        struct weights *expected = weights_open(control_path(path), &e);
        REQUIRE(info && expected);
        size_t k;
        json_array_foreach(json_object_get(info, "cases"), k, c)
            draw_case(p, c, expected);
        weights_free(expected);
        json_decref(info);
        pipeline_free(p);
        model_folder_release(&f);
    }
}

/* The stages that flows use, with ComfyUI's rules: the same bits as a drawing, also where a ControlNet counts in a part of the run. */
TEST(stages_with_control_nets_are_the_drawing_bit_for_bit)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(1, NULL, &e);
    REQUIRE(cpu);
    struct pipeline *p = pipeline_open(test_data("models/tiny-sd1"), cpu, DTYPE_F32, &e);
    REQUIRE(p);
    enum { H = 64, W = 72 };
    float *picture = hint(40, 80, false);
    struct draw_control controls[2] = { { open_net("sd1"), picture, 1, 40, 80, 0.7, 0.2, 0.6, NULL }, { open_net("sd1-b"), picture, 1, 40, 80, 1.1, 0, 1, NULL } };
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red circle";
    r.negative = "green";
    r.sampler = "euler";
    r.schedule = "normal";
    r.width = W;
    r.height = H;
    r.steps = 6;
    r.cfg = 3;
    r.seed = 4;
    r.controls = controls;
    r.control_count = 2;
    struct drawing d;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    struct stage_condition words[2];
    for (int i = 0; i < 2; i++) {
        struct stage_text t = { .text = i ? r.negative : r.prompt, .syntax = PROMPT_COMFY };
        REQUIRE(pipeline_text(p, &t, NULL, &words[i], &e));
        for (int k = 0; k < 2; k++)
            REQUIRE(stage_condition_control(&words[i], controls[k].net, picture, 1, 40, 80, controls[k].strength, controls[k].start, controls[k].end, &e));
    }
    float *zeros = mem_zeroed((size_t)shape_count(d.shape), sizeof *zeros), *out = mem_aligned((size_t)shape_count(d.shape) * sizeof *out);
    struct stage_sampling s = { .positive = { &words[0], 1 }, .negative = { &words[1], 1 }, .cfg = 3, .sampler = "euler", .schedule = "normal", .steps = 6,
                                .denoise = 1, .eta = -1, .seed = 4, .n = 1, .h = d.shape.dim[2], .w = d.shape.dim[3], .latents = zeros };
    REQUIRE(pipeline_latents_sample(p, &s, NULL, out, NULL, &e));
    vae_scale(&pipeline_model(p)->vae, out, 1, s.h * s.w);
    struct difference off = tensor_difference(out, d.latents, shape_count(d.shape));
    CHECK(off.max <= 1e-5, "the stages' latents differ by %.1e", off.max); /* they leave the model's factor and come back */
    /* the older node: words that have none of their own get those of the others */
    struct stage_condition alone;
    struct stage_text t = { .text = r.negative, .syntax = PROMPT_COMFY };
    REQUIRE(pipeline_text(p, &t, NULL, &alone, &e));
    words[0].controls_both = true;
    s.negative.at = &alone;
    float *both = mem_aligned((size_t)shape_count(d.shape) * sizeof *both);
    REQUIRE(pipeline_latents_sample(p, &s, NULL, both, NULL, &e));
    vae_scale(&pipeline_model(p)->vae, both, 1, s.h * s.w);
    CHECK(!memcmp(both, out, (size_t)shape_count(d.shape) * sizeof *both), "other latents where the negative words take the others' ControlNets");
    words[0].controls_both = false;
    REQUIRE(pipeline_latents_sample(p, &s, NULL, both, NULL, &e));
    vae_scale(&pipeline_model(p)->vae, both, 1, s.h * s.w);
    CHECK(memcmp(both, out, (size_t)shape_count(d.shape) * sizeof *both), "negative words have ControlNets that nobody gave them");
    for (int i = 0; i < 2; i++)
        stage_condition_release(&words[i]);
    stage_condition_release(&alone);
    drawing_release(&d);
    pipeline_free(p);
    control_net_drop(controls[0].net);
    control_net_drop(controls[1].net);
    mem_free(picture);
    mem_free(zeros);
    mem_free(out);
    mem_free(both);
}
