/* LoRA files in one call of the UNet and of the text encoder against diffusers (tests/reference/make_lora.py), what is refused, and
 * the names of modules. A factor that is missing in one module costs 1e-3 and more. */
#include "base/file.h"
#include "base/mem.h"
#include "judge.h"
#include "model/denoiser/unet.h"
#include "model/lora/lora_internal.h"
#include "model/text/clip.h"

static const char model[] = "tiny-sd1";

/* The model's graphs at a small size, without weights, as lora_modules_add wants them. */
static struct value text_graph(struct net *n, struct shape ids)
{
    struct err e = { 0 };
    struct clip_config c;
    REQUIRE(clip_config_read(&c, judge_path(model, "text_encoder", "config.json"), &e));
    return clip_text(n, &c, graph_input(n->g, "ids", DTYPE_I32, ids), 0);
}

static struct value unet_graph(struct net *n, struct shape latent, struct shape time, struct shape text)
{
    struct err e = { 0 };
    struct unet_config c;
    REQUIRE(unet_config_read(&c, judge_path(model, "unet", "config.json"), &e));
    return unet(n, &c, graph_input(n->g, "latent", DTYPE_F32, latent), graph_input(n->g, "timestep", DTYPE_F32, time),
                graph_input(n->g, "text", DTYPE_F32, text), NULL);
}

static const struct lora_modules *modules(void)
{
    static struct lora_modules all;
    static const char *const parts[] = { "text_encoder", "unet" };
    struct err e = { 0 };
    for (int i = 0; i < 2 && all.part_count < 2; i++) {
        struct graph g;
        struct params params;
        graph_init(&g);
        params_init(&params);
        struct net n = { .g = &g, .type = DTYPE_F32, .part = parts[i], .trained = true, .params = &params };
        if (i == 0)
            text_graph(&n, SHAPE(1, 77));
        else
            unet_graph(&n, SHAPE(1, 8, 8, 4), SHAPE(1), SHAPE(1, 77, 48));
        REQUIRE(graph_ok(&g, &e));
        REQUIRE(lora_modules_add(&all, parts[i], &params, &e));
        graph_release(&g);
        params_release(&params);
    }
    return &all;
}

static const char *lora_path(const char *file)
{
    char path[200];
    snprintf(path, sizeof path, "lora/%s", file);
    return test_data(path);
}

static struct lora *open_lora(const char *file, double alpha)
{
    struct err e = { 0 };
    struct lora *l = lora_open(lora_path(file), modules(), alpha, &e);
    REQUIRE(l != NULL);
    return l;
}

/* --- against diffusers --- */

/* judge_run for a graph with adapters. */
static float *run(const struct judge_way *way, struct graph *g, struct params *params, const struct weights *stored,
                  struct value out, const char *const *names, const void *const *inputs)
{
    struct err e = { 0 };
    bool kept;
    REQUIRE(graph_ok(g, &e));
    graph_output(g, out);
    graph_prune(g);
    if (way->fused)
        graph_fuse(g, true);
    struct program *p = program_new(way->backend, g, &e);
    REQUIRE(p != NULL);
    REQUIRE(params_bind(params, p, stored, &e));
    for (kept = false;; kept = true) { /* twice: the second time as after a change of scales */
        REQUIRE(params_bind_adapted(params, p, kept, &e));
        if (kept)
            break;
    }
    for (size_t i = 0; names[i]; i++)
        REQUIRE(program_set_input(p, names[i], inputs[i], &e));
    REQUIRE(program_run(p, &e));
    size_t count = (size_t)shape_count(graph_value(program_graph(p), out)->shape);
    float *came = mem_zeroed(count, sizeof *came);
    assert_non_null(came);
    memcpy(came, program_output(p, out), count * sizeof *came);
    program_free(p);
    params_release(params);
    return came;
}

static void part_case(const json_t *c, const struct weights *expected, const char *part, const struct judge_way *way)
{
    struct err e = { 0 };
    bool text = !strcmp(part, "text_encoder");
    struct path key = path_of("%s.%s", json_string_value(json_object_get(c, "name")), text ? "text" : "unet");
    struct lora_use uses[4];
    struct lora *loras[4];
    const json_t *alpha = json_object_get(c, "alpha"), *l;
    size_t i, count = json_array_size(json_object_get(c, "loras"));
    if (!weights_find(expected, key.s))
        return;
    json_array_foreach(json_object_get(c, "loras"), i, l) {
        loras[i] = open_lora(json_string_value(json_object_get(l, "file")), alpha ? json_number_value(alpha) : NAN);
        uses[i] = (struct lora_use){ loras[i], json_number_value(json_object_get(l, text ? "text" : "unet")) };
        struct lora_facts f = lora_facts(loras[i]);
        CHECK(f.unused_count == 0, "%s: %zu keys are not used, %s", key.s, f.unused_count, f.unused[0]);
    }
    struct lora_mix *mix = lora_mix_new(modules(), part, uses, count, &e);
    REQUIRE(mix != NULL);
    struct weights *given = judge_expected(model), *stored = weights_open(judge_path(model, part, NULL), &e);
    REQUIRE(stored != NULL);
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = part, .stored = stored, .params = &params,
                     .adapters = lora_mix_adapters(mix) };
    struct shape s[3];
    float *came;
    if (text) {
        int32_t *ids = judge_ids(given, "text.ids", &s[0]);
        came = run(way, &g, &params, stored, text_graph(&n, SHAPE(1, 77)), (const char *[]){ "ids", NULL },
                   (const void *[]){ ids + 77 });
        mem_free(ids);
    } else {
        float *in[3] = { judge_floats(given, "unet.sample", true, &s[0]), judge_floats(given, "unet.timesteps", false, &s[1]),
                         judge_floats(given, "unet.states", false, &s[2]) };
        came = run(way, &g, &params, stored, unet_graph(&n, s[0], s[1], s[2]),
                   (const char *[]){ "latent", "timestep", "text", NULL }, (const void *[]){ in[0], in[1], in[2] });
        for (i = 0; i < 3; i++)
            mem_free(in[i]);
    }
    float *wanted = judge_floats(expected, key.s, !text, &s[0]);
    judge_near(came, wanted, shape_count(s[0]), 2e-5, 5e-6, "%s, %s", key.s, way->name);
    mem_free(came);
    mem_free(wanted);
    lora_mix_free(mix);
    for (i = 0; i < count; i++)
        lora_free(loras[i]);
    weights_free(given);
    weights_free(stored);
}

TEST(parts_with_loras_are_those_of_diffusers)
{
    struct err e = { 0 };
    json_t *info = json_read(test_data("lora/expected.json"), &e), *c;
    struct weights *expected = weights_open(test_data("lora/expected.safetensors"), &e);
    REQUIRE(info && expected);
    size_t i;
    json_array_foreach(json_object_get(info, "cases"), i, c)
        for (const struct judge_way *way = judge_ways(); way->backend; way++) {
            part_case(c, expected, "unet", way);
            part_case(c, expected, "text_encoder", way);
        }
    json_decref(info);
    weights_free(expected);
}
