/* Models in another layout or type, and merged. */
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "generate/generate.h"
#include "model/family/convert.h"
#include "model/family/ldm_names.h"
#include "model/family/merge.h"
#include "single.h"
#include "test.h"

/* A path in the scratch folder that stays valid. */
static const char *place(const char *name)
{
    static char paths[12][PATH_MAX_BYTES];
    static int turn;
    char *out = paths[turn++ % 12];
    snprintf(out, PATH_MAX_BYTES, "%s", test_scratch(name));
    return out;
}

static bool convert(const char *from, const char *config, const char *to, enum dtype type, enum convert_layout layout,
                    struct err *e)
{
    struct convert c = { .files = { .path = from, .config = config }, .output = to, .type = type, .layout = layout };
    return model_convert(&c, NULL, e);
}

/* Every tensor of one file is in the other, in the same bytes, and nothing else but the ids of places, which no list has. */
static void same_tensors(const char *one, const char *other)
{
    struct err e = { 0 };
    struct weights *a = weights_open(one, &e), *b = a ? weights_open(other, &e) : NULL;
    REQUIRE(b);
    size_t ids = weights_find(b, "cond_stage_model.transformer.text_model.embeddings.position_ids") != NULL;
    CHECK(weights_count(a) + ids == weights_count(b), "%zu tensors, wanted %zu", weights_count(b), weights_count(a));
    for (size_t i = 0; i < weights_count(a); i++) {
        const struct weight *t = weights_at(a, i), *u = weights_find(b, t->name);
        CHECK(u, "no %s", t->name);
        CHECK(t->type == u->type && weight_bytes(t) == weight_bytes(u) && !memcmp(t->data, u->data, weight_bytes(t)),
              "%s: other bytes", t->name);
    }
    weights_free(a);
    weights_free(b);
}

TEST(a_folder_becomes_the_file_that_diffusers_reads)
{
    static const char *const models[] = { "tiny-sd1", "tiny-sd2" };
    for (size_t i = 0; i < 2; i++) {
        struct err e = { 0 };
        char name[100];
        snprintf(name, sizeof name, "models/%s", models[i]);
        const char *made = place("made.safetensors");
        remove(made);
        REQUIRE(convert(test_data(name), NULL, made, DTYPE_COUNT, CONVERT_SINGLE, &e));
        same_tensors(single_of_folder(models[i], "want.safetensors"), made);
        struct weights *w = weights_open(made, &e);
        REQUIRE(w);
        const struct weight *q = weights_find(w, "first_stage_model.decoder.mid.attn_1.q.weight");
        CHECK(!q || q->shape.rank == 4, "LDM keeps it as a convolution");
        CHECK(!strcmp(weights_metadata(w, "modelspec.prediction_type"), i ? "v" : "epsilon"), "what it predicts");
        weights_free(w);
    }
}

/* The way out of our names is the way in: on the lists that diffusers' converters judged, of every family's full size. */
TEST(names_in_a_file_follow_from_configs)
{
    static const char *const models[] = { "sd1", "sd2", "sdxl", "sdxl-refiner" };
    static const struct { const char *part, *prefix; } parts[] = { { "unet", "model.diffusion_model." },
                                                                 { "vae", "first_stage_model." } };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct err e = { 0 };
        struct single_file *f = single_file_open(single_hollow(models[i], NULL), &e);
        REQUIRE(f);
        json_t *list = single_list(models[i]), *row;
        for (int p = 0; p < 2; p++) {
            json_t *config = single_file_json(f, parts[p].part, PREDICTS_AUTO, &e);
            struct ldm_unet u;
            struct ldm_vae v;
            struct name_map map;
            REQUIRE(config);
            name_map_init(&map);
            ldm_unet_of_config(&u, config);
            ldm_vae_of_config(&v, config);
            REQUIRE(p ? ldm_vae_names(&map, &v, &e) : ldm_unet_names(&map, &u, &e));
            size_t k;
            json_array_foreach(json_object_get(json_object_get(list, "parts"), parts[p].part), k, row) {
                struct renamed r;
                const char *inner = json_string_value(json_array_get(row, 0)), *want = json_string_value(json_array_get(row, 1));
                CHECK(name_map_outer(&map, inner, &r), "%s: %s", models[i], inner);
                CHECK(!strcmp(r.name, want + strlen(parts[p].prefix)), "%s: %s is %s, wanted %s", models[i], inner, r.name, want);
            }
            name_map_release(&map);
            json_decref(config);
        }
        json_decref(list);
        single_file_free(f);
    }
}

/* Matrices and kernels are packed in blocks; the rest stays; what is unpacked again is near. */
TEST(a_model_is_quantised_into_gguf_and_back)
{
    struct err e = { 0 };
    const char *packed = place("packed.gguf"), *plain = place("plain.safetensors");
    REQUIRE(convert(test_data("models/tiny-sd1"), NULL, packed, DTYPE_Q8_0, CONVERT_SINGLE, &e));
    REQUIRE(convert(packed, NULL, plain, DTYPE_COUNT, CONVERT_SINGLE, &e));
    struct weights *a = weights_open(single_of_folder("tiny-sd1", "whole.safetensors"), &e);
    struct weights *q = weights_open(packed, &e), *b = weights_open(plain, &e);
    REQUIRE(a && q && b);
    CHECK(!strcmp(weights_format(q), "gguf"), "%s", weights_format(q));
    size_t quantised = 0;
    for (size_t i = 0; i < weights_count(a); i++) {
        const struct weight *t = weights_at(a, i), *p = weights_find(q, t->name), *u = weights_find(b, t->name);
        CHECK(p && u && shape_count(t->shape) == shape_count(u->shape), "%s", t->name);
        CHECK(u->type == DTYPE_F16, "%s is %s", t->name, dtype_name(u->type));
        quantised += p->type == DTYPE_Q8_0;
        CHECK(p->type == DTYPE_Q8_0 || !memcmp(t->data, u->data, weight_bytes(t)), "%s has changed", t->name);
        double most = 0, off = 0;
        for (int64_t k = 0; k < shape_count(t->shape); k++) {
            double want = dtype_load(t->data, t->type, k);
            most = fmax(most, fabs(want));
            off = fmax(off, fabs(want - dtype_load(u->data, u->type, k)));
        }
        CHECK(off <= most / 127, "%s: %g of %g", t->name, off, most); /* half a step of 1/127, and f16's rounding of the scale */
    }
    CHECK(quantised > 50, "%zu tensors are quantised", quantised);
    weights_free(a);
    weights_free(q);
    weights_free(b);
    CHECK_FAILS(convert(test_data("models/tiny-sd1"), NULL, place("no.safetensors"), DTYPE_Q8_0, CONVERT_SINGLE, &e), ERR_TYPE, "q8_0");
}

static struct drawing draw(const char *path, const struct backend *backend)
{
    struct err e = { 0 };
    struct drawing d;
    struct pipeline *p = pipeline_open(path, backend, DTYPE_F32, &e);
    REQUIRE(p);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red apple on a blue ground";
    r.steps = 2;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    pipeline_free(p);
    return d;
}

TEST(a_file_becomes_a_folder_that_draws_the_same_picture)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(1, NULL, &e);
    REQUIRE(cpu);
    const char *folder = test_data("models/tiny-sd1"), *made = place("folder");
    REQUIRE(convert(single_of_folder("tiny-sd1", "in.safetensors"), folder, made, DTYPE_F32, CONVERT_FOLDER, &e));
    struct drawing a = draw(folder, cpu), b = draw(made, cpu); /* f16 in f32 are the same numbers */
    CHECK(!memcmp(a.latents, b.latents, (size_t)shape_count(a.shape) * sizeof *a.latents), "other latents");
    drawing_release(&a);
    drawing_release(&b);
    const char *again = place("again");
    REQUIRE(convert(made, NULL, again, DTYPE_F16, CONVERT_FOLDER, &e)); /* and back to f16 */
    b = draw(again, cpu);
    a = draw(folder, cpu);
    CHECK(!memcmp(a.latents, b.latents, (size_t)shape_count(a.shape) * sizeof *a.latents), "other latents");
    drawing_release(&a);
    drawing_release(&b);
    backend_cpu_free(cpu);
    CHECK_FAILS(convert(folder, NULL, made, DTYPE_COUNT, CONVERT_FOLDER, &e), ERR_ARG, "is there already and not empty");
}

TEST(what_f16_cannot_hold_is_told_and_nothing_is_left)
{
    struct err e = { 0 };
    const float values[] = { 1, 70000 };
    struct weights_entry entry = { "large", DTYPE_F32, { 1, { 2 } } };
    const char *in = place("large.safetensors"), *out = place("small.safetensors");
    char **names;
    size_t before, after;
    REQUIRE(weights_save(in, &entry, (const void *const[]){ values }, 1, NULL, 0, &e));
    REQUIRE(folder_names(test_scratch("."), NULL, &names, &before, &e));
    folder_names_free(names, before);
    CHECK_FAILS(convert(in, NULL, out, DTYPE_F16, CONVERT_SINGLE, &e), ERR_FORMAT, "\"large\" holds 70000, which f16 cannot");
    CHECK_FAILS(convert("/nowhere", NULL, out, DTYPE_F16, CONVERT_SINGLE, &e), ERR_MISSING, "/nowhere");
    CHECK_FAILS(convert(in, NULL, out, DTYPE_F16, CONVERT_FOLDER, &e), ERR_TYPE, "none of its 1 tensors");
    CHECK_FAILS(convert(in, NULL, in, DTYPE_F16, CONVERT_SINGLE, &e), ERR_ARG, "is there already");
    REQUIRE(folder_names(test_scratch("."), NULL, &names, &after, &e));
    folder_names_free(names, after);
    assert_int_equal(after, before);
    REQUIRE(convert(in, NULL, out, DTYPE_BF16, CONVERT_SINGLE, &e));
    struct weights *w = weights_open(out, &e);
    REQUIRE(w);
    const struct weight *t = weights_find(w, "large");
    CHECK_NEAR(dtype_load(t->data, t->type, 1), 70144, 0, "rounded to bf16"); /* 137 * 512 */
    weights_free(w);
}

/* A file of four tensors of one number each, and a count that is no number. */
static const char *small_model(const char *name, const float v[4])
{
    struct err e = { 0 };
    static const struct weights_entry entries[] = {
        { "model.diffusion_model.input_blocks.0.0.bias", DTYPE_F32, { 1, { 1 } } },
        { "model.diffusion_model.middle_block.0.bias", DTYPE_F32, { 1, { 1 } } },
        { "model.diffusion_model.output_blocks.0.0.bias", DTYPE_F32, { 1, { 1 } } },
        { "first_stage_model.bias", DTYPE_F32, { 1, { 1 } } },
        { "steps", DTYPE_I64, { 1, { 1 } } },
    };
    static const int64_t steps[] = { 9 };
    const void *data[] = { &v[0], &v[1], &v[2], &v[3], steps };
    const char *path = place(name);
    REQUIRE(weights_save(path, entries, data, 5, NULL, 0, &e));
    return path;
}

static void merged(const char *path, const float want[4], const char *what)
{
    struct err e = { 0 };
    struct weights *w = weights_open(path, &e);
    REQUIRE(w);
    static const char *const names[] = { "model.diffusion_model.input_blocks.0.0.bias", "model.diffusion_model.middle_block.0.bias",
                                         "model.diffusion_model.output_blocks.0.0.bias", "first_stage_model.bias" };
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(*(const float *)weights_find(w, names[i])->data, want[i], 1e-6, "%s: %s", what, names[i]);
    assert_int_equal(*(const int64_t *)weights_find(w, "steps")->data, 9);
    weights_free(w);
}

TEST(models_are_merged_by_sum_difference_and_block)
{
    struct err e = { 0 };
    const char *a = small_model("a.safetensors", (const float[]){ 1, 2, 3, 4 });
    const char *b = small_model("b.safetensors", (const float[]){ 5, 10, -5, 0 });
    const char *c = small_model("c.safetensors", (const float[]){ 1, 1, 1, 1 });
    struct merge sum = { .a = a, .b = b, .output = place("sum.safetensors"), .weight = 0.25, .type = DTYPE_COUNT };
    REQUIRE(model_merge(&sum, NULL, &e));
    merged(sum.output, (const float[]){ 2, 4, 1, 3 }, "sum");
    struct merge add = { .a = a, .b = b, .c = c, .output = place("add.safetensors"), .weight = 0.5, .type = DTYPE_COUNT };
    REQUIRE(model_merge(&add, NULL, &e));
    merged(add.output, (const float[]){ 3, 6.5f, 0, 3.5f }, "difference");
    struct merge block = { .a = a, .b = b, .output = place("block.safetensors"), .weight = 1, .type = DTYPE_COUNT,
                           .blocks = { 0, 0.5, 0.25 }, .block_count = 3 };
    REQUIRE(model_merge(&block, NULL, &e));
    merged(block.output, (const float[]){ 1, 6, 1, 0 }, "blocks");
    CHECK_FAILS(model_merge(&block, NULL, &e), ERR_ARG, "is there already");
    block.output = place("more.safetensors");
    block.block_count = 4;
    CHECK_FAILS(model_merge(&block, NULL, &e), ERR_ARG, "4 weights for blocks");
    const float one[] = { 1 };
    struct weights_entry entry = { "other", DTYPE_F32, { 1, { 1 } } };
    const char *other = place("other.safetensors");
    REQUIRE(weights_save(other, &entry, (const void *const[]){ one }, 1, NULL, 0, &e));
    struct merge none = { .a = a, .b = other, .output = place("none.safetensors"), .weight = 0.5, .type = DTYPE_COUNT };
    CHECK_FAILS(model_merge(&none, NULL, &e), ERR_MISSING, "has none of the tensors");
    entry = (struct weights_entry){ "first_stage_model.bias", DTYPE_F32, { 1, { 2 } } };
    const float two[] = { 1, 2 };
    remove(other);
    REQUIRE(weights_save(other, &entry, (const void *const[]){ two }, 1, NULL, 0, &e));
    CHECK_FAILS(model_merge(&none, NULL, &e), ERR_SHAPE, "models of one family");
}
