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

/* --- what a file may hold --- */

#define TO_Q "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
#define CONV "lora_unet_down_blocks_1_resnets_0_conv1"

struct tensor_case {
    const char *name;
    struct shape shape;
    double value; /* of all numbers */
};
enum { MOST_TENSORS = 4 };

/* A file of these tensors; the first name NULL ends them. */
static const char *made(const struct tensor_case *tensors)
{
    struct err e = { 0 };
    struct weights_entry entries[MOST_TENSORS];
    const void *data[MOST_TENSORS];
    size_t count = 0;
    for (; count < MOST_TENSORS && tensors[count].name; count++) {
        size_t elements = (size_t)shape_count(tensors[count].shape);
        float *f = mem_zeroed(elements, sizeof *f);
        assert_non_null(f);
        for (size_t i = 0; i < elements; i++)
            f[i] = (float)tensors[count].value;
        entries[count] = (struct weights_entry){ tensors[count].name, DTYPE_F32, tensors[count].shape };
        data[count] = f;
    }
    const char *path = test_scratch("made.safetensors");
    REQUIRE(weights_save(path, entries, data, count, NULL, 0, &e));
    for (size_t i = 0; i < count; i++)
        mem_free((void *)(uintptr_t)data[i]);
    return path;
}

TEST(a_file_that_does_not_fit_is_refused_with_its_key_and_shapes)
{
    static const struct {
        struct tensor_case tensors[MOST_TENSORS];
        enum err_code code;
        const char *part;
    } cases[] = {
        { { { TO_Q ".lora_down.weight", { 2, { 2, 21 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 } }, ERR_SHAPE,
          TO_Q ".lora_down.weight is [2, 21]; the model's unet/down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q is [20, 20], "
          "so [2, 20] is wanted; in the LoRA " },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 3 } }, 1 } }, ERR_SHAPE,
          ".lora_up.weight is [20, 3]" },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 } }, ERR_MISSING, "lora_down.weight has no lora_up (lora_B) beside it" },
        { { { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 } }, ERR_MISSING, "lora_up.weight has no lora_down (lora_A) beside it" },
        { { { TO_Q ".lora_down.weight", { 2, { 0, 20 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 0 } }, 1 } }, ERR_LIMIT,
          "rank 0; 1 to 16384 are known" },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, NAN }, { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 } }, ERR_FORMAT,
          TO_Q ".lora_down.weight" },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 }, { TO_Q ".lora_A.weight", { 2, { 2, 20 } }, 1 } }, ERR_FORMAT,
          "are both for unet/down_blocks.1.attentions.0" },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 },
            { TO_Q ".alpha", { 1, { 2 } }, 1 } }, ERR_SHAPE, ".alpha is [2]; one number is wanted" },
        { { { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 },
            { TO_Q ".diff", { 2, { 20, 20 } }, 1 } }, ERR_FORMAT, "is changed in two ways at once" },
        { { { TO_Q ".dora_scale", { 1, { 20 } }, 1 } }, ERR_MISSING, "dora_scale has nothing beside it" },
        { { { TO_Q ".diff", { 2, { 20, 20 } }, 1 }, { TO_Q ".dora_scale", { 1, { 7 } }, 1 } }, ERR_SHAPE,
          "a number for each of 20 outputs" },
        { { { CONV ".lora_down.weight", { 4, { 2, 10, 1, 1 } }, 1 }, { CONV ".lora_up.weight", { 4, { 20, 2, 1, 1 } }, 1 } },
          ERR_SHAPE, "[2, 10] with 9 pixels is wanted" },
        { { { CONV ".lokr_w1", { 2, { 3, 2 } }, 1 }, { CONV ".lokr_w2", { 4, { 5, 5, 3, 3 } }, 1 } }, ERR_SHAPE,
          "a product with [5, 5] to the model's size" },
        { { { CONV ".hada_w1_a", { 2, { 20, 2 } }, 1 }, { CONV ".hada_w1_b", { 2, { 2, 90 } }, 1 } }, ERR_MISSING,
          "has no hada_w2_a beside it" },
        { { { "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", { 2, { 2, 20 } }, 1 } }, ERR_MISSING,
          "none of its 1 keys is for this model (the first is lora_unet_double_blocks_0_img_attn_proj.lora_down.weight)" },
        { { { TO_Q ".alpha", { 0 }, 1 } }, ERR_MISSING, "none of its 1 keys" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lora *l = lora_open(made(cases[i].tensors), modules(), NAN, &e);
        CHECK(!l && e.code == cases[i].code && strstr(e.text, cases[i].part), "case %zu: code %d, %s", i, (int)e.code, e.text);
        err_clear(&e);
    }
    CHECK_FAILS(lora_open(test_data("models"), modules(), NAN, &e), ERR_MISSING, "has no pytorch_lora_weights.safetensors");
}

TEST(keys_without_a_place_are_named)
{
    struct err e = { 0 };
    static const struct tensor_case tensors[] = {
        { TO_Q ".lora_down.weight", { 2, { 2, 20 } }, 1 }, { TO_Q ".lora_up.weight", { 2, { 20, 2 } }, 1 },
        { "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", { 0 }, 1 }, { TO_Q ".diff_b", { 1, { 20 } }, 1 },
    };
    struct lora *l = lora_open(made(tensors), modules(), NAN, &e);
    REQUIRE(l != NULL);
    struct lora_facts f = lora_facts(l);
    assert_int_equal(f.modules, 1);
    assert_int_equal(f.most_rank, 2);
    assert_int_equal(f.unused_count, 2); /* to_q has no bias in this model */
    CHECK(strstr(f.unused[0], "te2") || strstr(f.unused[1], "te2"), "%s, %s", f.unused[0], f.unused[1]);
    CHECK(strstr(f.unused[0], "diff_b") || strstr(f.unused[1], "diff_b"), "%s, %s", f.unused[0], f.unused[1]);
    assert_string_equal(f.name, "made");
    CHECK(lora_touches(l, "unet") && !lora_touches(l, "text_encoder"), "parts");
    lora_free(l);
}

TEST(an_alpha_is_taken_from_the_file_or_assumed_aloud)
{
    static const struct { const char *file; double alpha, assumed; } cases[] = {
        { "diffsynth.safetensors", NAN, 4 }, { "diffsynth.safetensors", 9, 9 }, { "old.safetensors", NAN, 0 },
        { "old.safetensors", 3, 3 }, { "kohya.safetensors", 3, 0 }, { "attention.safetensors", 3, 0 }, { "peft", 3, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lora *l = open_lora(cases[i].file, cases[i].alpha);
        CHECK_NEAR(lora_facts(l).alpha_assumed, cases[i].assumed, 0, "%s, alpha %g", cases[i].file, cases[i].alpha);
        lora_free(l);
    }
}

TEST(every_spelling_of_a_key_finds_its_module)
{
    static const struct { const char *key, *part, *module; enum lora_role role; } cases[] = {
        { "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "unet", "unet/mid_block.attentions.0.proj_in", LORA_DOWN },
        { "lora_unet_middle_block_1_proj_in.alpha", "unet", "unet/mid_block.attentions.0.proj_in", LORA_ALPHA },
        { "lora_unet_input_blocks_3_0_op.lora_up.weight", "unet", "unet/down_blocks.0.downsamplers.0.conv", LORA_UP },
        { "lora_unet_output_blocks_2_1_conv.lora_mid.weight", "unet", "unet/up_blocks.0.upsamplers.0.conv", LORA_MID },
        { "lora_unet_output_blocks_5_2_conv.diff", "unet", "unet/up_blocks.1.upsamplers.0.conv", LORA_DIFF },
        { "lora_unet_output_blocks_8_0_skip_connection.diff_b", "unet", "unet/up_blocks.2.resnets.2.conv_shortcut", LORA_DIFF_BIAS },
        { "lora_unet_time_embed_2.lora_up.weight", "unet", "unet/time_embedding.linear_2", LORA_UP },
        { "model.diffusion_model.out.2.lora_up.weight", "unet", "unet/conv_out", LORA_UP },
        { "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight", "unet",
          "unet/up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0", LORA_UP },
        { "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.lora.down.weight", NULL,
          "unet/up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0", LORA_DOWN },
        { "base_model.model.conv_in.lora_magnitude_vector.default.weight", NULL, "unet/conv_in", LORA_MAGNITUDE },
        { "base_model.model.conv_in.lora_magnitude_vector", NULL, "unet/conv_in", LORA_MAGNITUDE },
        { "conv_in.lora_magnitude_vector.style", NULL, "unet/conv_in", LORA_MAGNITUDE },
        { "unet.conv_in.lora_B.style.weight", "unet", "unet/conv_in", LORA_UP },
        { "unet.conv_in.lora_B.bias", "unet", "unet/conv_in", LORA_UP_BIAS },
        { "blocks.1.transformer_blocks.0.attn1.to_out.lora_A.default.weight", NULL,
          "unet/down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0", LORA_DOWN },
        { "lora_te_text_model_encoder_layers_2_mlp_fc2.lokr_w2_b", "text_encoder", "text_encoder/text_model.encoder.layers.2.mlp.fc2",
          LORA_KRON_2B },
        { "lora_te1_text_model_encoder_layers_0_self_attn_k_proj.hada_t1", "text_encoder",
          "text_encoder/text_model.encoder.layers.0.self_attn.k_proj", LORA_HADA_T1 },
        { "text_encoder.encoder.layers.0.self_attn.out_proj.lora_linear_layer.up.weight", "text_encoder",
          "text_encoder/text_model.encoder.layers.0.self_attn.out_proj", LORA_UP },
        { "text_encoder.text_model.encoder.layers.0.self_attn.to_v_lora.down.weight", "text_encoder",
          "text_encoder/text_model.encoder.layers.0.self_attn.v_proj", LORA_DOWN },
        { "lora_unet_nothing.lora_up.weight", "unet", NULL, LORA_UP },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lora_key k;
        CHECK(lora_key_read(cases[i].key, &k), "%s", cases[i].key);
        CHECK(k.role == cases[i].role && (k.part ? cases[i].part && !strcmp(k.part, cases[i].part) : !cases[i].part),
              "%s: role %d, part %s", cases[i].key, (int)k.role, k.part ? k.part : "-");
        const struct lora_module *m = lora_modules_find(modules(), k.part ? k.part : !strncmp(k.stem, "text", 4) ? "text_encoder" : "unet", k.stem);
        CHECK(m ? cases[i].module && !strcmp(m->name, cases[i].module) : !cases[i].module, "%s is %s", cases[i].key, m ? m->name : "not found");
    }
    struct lora_key k;
    CHECK(!lora_key_read("unet.conv_in.weight", &k) && !lora_key_read(".alpha", &k) && !lora_key_read("", &k), "no keys");
}

/* --- as weights of a training --- */

/* The gradient of sum(y dy) by the pair's matrices, against differences in f64. */
TEST(a_pair_that_is_trained_has_the_gradient_of_finite_differences)
{
    enum { IN = 5, OUT = 4, RANK = 2, ROWS = 3 };
    const struct adapter one = { .name = "x/layer", .rank = RANK };
    struct params own, pairs;
    struct err e = { 0 };
    struct graph g;
    graph_init(&g);
    params_init(&own);
    params_init(&pairs);
    const struct adapters all = { .at = &one, .count = 1, .scale = 1.5, .trained = true, .params = &pairs };
    struct net n = { .g = &g, .type = DTYPE_F64, .part = "x", .trained = true, .params = &own, .adapters = &all };
    struct value x = graph_input(&g, "x", DTYPE_F64, SHAPE(ROWS, IN)), w = graph_weight(&g, "x/layer.weight", DTYPE_F64, SHAPE(OUT, IN), true);
    struct value y = adapter_join(&n, &one, "layer", x, op_linear(&g, x, w, VALUE_NONE), VALUE_NONE, 0, 1, NULL);
    struct value loss = op_mean(&g, op_unary(&g, y, UNARY_SQUARE)), gradients[2];
    struct value wanted[2] = { graph_find(&g, VALUE_WEIGHT, "x/layer.lora_A.weight"), graph_find(&g, VALUE_WEIGHT, "x/layer.lora_B.weight") };
    REQUIRE(graph_ok(&g, &e) && wanted[0].id && wanted[1].id);
    assert_int_equal(own.count, 0);
    assert_int_equal(pairs.count, 2);
    CHECK(pairs.at[0].decay && pairs.at[0].init == INIT_FAN_IN && pairs.at[1].init == INIT_ZEROS, "how they begin");
    REQUIRE(graph_gradient(&g, loss, wanted, 2, false, gradients, &e));
    for (int i = 0; i < 2; i++)
        graph_output(&g, gradients[i]);
    graph_output(&g, loss);
    struct program *p = program_new(judge_ways()[0].backend, &g, &e);
    REQUIRE(p != NULL);
    double xs[ROWS * IN], ws[OUT * IN], a[RANK * IN], b[OUT * RANK], *pair[2] = { a, b };
    const size_t counts[2] = { RANK * IN, OUT * RANK };
    for (size_t i = 0; i < sizeof xs / sizeof *xs; i++)
        xs[i] = sin(1.0 + (double)i);
    for (size_t i = 0; i < sizeof ws / sizeof *ws; i++)
        ws[i] = cos(2.0 * (double)i);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < counts[k]; i++)
            pair[k][i] = sin(3.0 + (double)(k * 7 + (int)i));
    bool kept;
    REQUIRE(program_bind_weight(p, "x/layer.weight", &(struct tensor){ DTYPE_F64, SHAPE(OUT, IN), ws }, &kept, &e));
    REQUIRE(program_bind_weight(p, "x/layer.lora_A.weight", &(struct tensor){ DTYPE_F64, SHAPE(RANK, IN), a }, &kept, &e));
    REQUIRE(program_bind_weight(p, "x/layer.lora_B.weight", &(struct tensor){ DTYPE_F64, SHAPE(OUT, RANK), b }, &kept, &e));
    REQUIRE(program_set_input(p, "x", xs, &e));
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < counts[k]; i++) {
            const double step = 1e-5, keep = pair[k][i];
            double at[2];
            for (int side = 0; side < 2; side++) {
                pair[k][i] = keep + (side ? step : -step);
                REQUIRE(program_run(p, &e));
                at[side] = *(const double *)program_output(p, loss);
            }
            pair[k][i] = keep;
            REQUIRE(program_run(p, &e));
            double slope = dtype_load(program_output(p, gradients[k]), graph_type(program_graph(p), gradients[k]), (int64_t)i);
            CHECK_NEAR(slope, (at[1] - at[0]) / (2 * step), 1e-7, "matrix %d, element %zu", k, i);
        }
    program_free(p);
    params_release(&own);
    params_release(&pairs);
}
