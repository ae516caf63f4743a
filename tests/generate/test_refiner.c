/* A drawing by SDXL's base and refiner in one call, against diffusers' two pipelines and ComfyUI's two samplers (tests/reference/
 * make_refiner.py), f32. A refiner that takes over a step too early or late costs 1e-1. */
#include <math.h>
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "test.h"
#include "weights/weights.h"

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(0, NULL, &e);
    REQUIRE(made != NULL);
    return made;
}

/* The model's folder with another scheduler class, which also model_index.json names. */
static struct pipeline *open_as(const char *model, const char *class)
{
    struct err e = { 0 };
    char source[100], folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES], command[4 * PATH_MAX_BYTES];
    snprintf(source, sizeof source, "models/%s", model);
    snprintf(folder, sizeof folder, "%s", test_scratch(model));
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", folder, test_data(source), folder);
    assert_int_equal(system(command), 0);
    REQUIRE(path_join(path, folder, "model_index.json", &e));
    json_t *index = json_read(path, &e);
    REQUIRE(index);
    assert_int_equal(json_object_set_new(index, "scheduler", json_pack("[s, s]", "diffusers", class)), 0);
    REQUIRE(json_write(index, path, &e));
    json_decref(index);
    struct pipeline *p = pipeline_open(folder, cpu(), DTYPE_F32, &e);
    REQUIRE(p);
    return p;
}

static const char *word(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}
static int64_t number(const json_t *c, const char *key)
{
    return json_integer_value(json_object_get(c, key));
}

static struct draw_request request(struct pipeline *base, struct pipeline *refiner, const json_t *c)
{
    struct draw_request r = draw_request_defaults(base);
    r.prompt = word(c, "prompt");
    r.negative = word(c, "negative");
    r.width = number(c, "width");
    r.height = number(c, "height");
    r.steps = number(c, "steps");
    r.seed = (uint64_t)number(c, "seed");
    r.batch = number(c, "count");
    r.cfg = json_number_value(json_object_get(c, "cfg"));
    r.sampler = word(c, "sampler");
    r.refiner = refiner;
    r.refiner_start = json_number_value(json_object_get(c, "start"));
    return r;
}

static json_t *cases(void)
{
    static json_t *info;
    struct err e = { 0 };
    if (!info)
        info = json_read(test_data("expected/refiner.json"), &e);
    REQUIRE(info);
    return json_object_get(info, "cases");
}

TEST(base_and_refiner_draw_what_two_pipelines_of_diffusers_or_two_samplers_of_comfyui_draw)
{
    struct err e = { 0 };
    struct weights *expected = weights_open(test_data("expected/refiner.safetensors"), &e);
    REQUIRE(expected);
    size_t i;
    json_t *c;
    json_array_foreach(cases(), i, c) {
        for (int keep = 0; keep < 2; keep++) {
            struct pipeline *base = open_as("tiny-sdxl", word(c, "class")), *refiner = open_as("tiny-refiner", word(c, "class"));
            pipeline_keep(base, keep);
            pipeline_keep(refiner, keep);
            struct draw_request r = request(base, refiner, c);
            struct drawing d;
            char key[100];
            REQUIRE(pipeline_draw(base, &r, NULL, &d, &e));
            snprintf(key, sizeof key, "%s.final", word(c, "name"));
            const struct weight *final = weights_need(expected, key, &e);
            REQUIRE(final);
            assert_int_equal(shape_count(d.shape), shape_count(final->shape));
            struct difference off = tensor_difference(d.latents, final->data, shape_count(d.shape));
            snprintf(key, sizeof key, "%s.picture", word(c, "name"));
            const struct weight *picture = weights_need(expected, key, &e);
            REQUIRE(picture);
            int most = 0;
            size_t each = image_bytes(&d.images[0]);
            for (size_t k = 0; k < (size_t)d.batch * each; k++)
                most = abs(d.images[k / each].pixels[k % each] - ((const uint8_t *)picture->data)[k]) > most
                           ? abs(d.images[k / each].pixels[k % each] - ((const uint8_t *)picture->data)[k]) : most;
            if (getenv("LIMN_TEST_VERBOSE"))
                print_message("%-10s final %.1e, picture %d, %lld calls\n", word(c, "name"), off.max, most, (long long)d.calls);
            CHECK(off.max <= 2e-4, "%s: final latents differ by %.2e", word(c, "name"), off.max);
            CHECK(most <= 1, "%s: pixels differ by %d", word(c, "name"), most);
            drawing_release(&d);
            pipeline_free(base);
            pipeline_free(refiner);
        }
    }
    weights_free(expected);
}

/* Two prompts and seeds at a time are what each is alone. */
TEST(pictures_of_several_seeds_are_refined_each_from_its_own)
{
    struct err e = { 0 };
    const json_t *c = json_array_get(cases(), 2); /* noise in its steps */
    struct pipeline *base = open_as("tiny-sdxl", word(c, "class")), *refiner = open_as("tiny-refiner", word(c, "class"));
    struct draw_request r = request(base, refiner, c);
    const char *prompts[] = { "a red circle", "green stripes" };
    const uint64_t seeds[] = { 4, 9 };
    struct drawing both, one;
    r.batch = 2;
    r.prompts = prompts;
    r.seeds = seeds;
    REQUIRE(pipeline_draw(base, &r, NULL, &both, &e));
    for (int i = 0; i < 2; i++) {
        r = request(base, refiner, c);
        r.prompt = prompts[i];
        r.seed = seeds[i];
        REQUIRE(pipeline_draw(base, &r, NULL, &one, &e));
        int64_t each = shape_count(one.shape);
        struct difference off = tensor_difference(both.latents + i * each, one.latents, each);
        CHECK(off.max <= 1e-4, "picture %d: %g", i, off.max);
        drawing_release(&one);
    }
    drawing_release(&both);
    pipeline_free(base);
    pipeline_free(refiner);
}

TEST(what_a_refiner_cannot_do_is_said)
{
    struct err e = { 0 };
    const json_t *c = json_array_get(cases(), 0);
    struct pipeline *base = open_as("tiny-sdxl", "EulerDiscreteScheduler"), *refiner = open_as("tiny-refiner", "EulerDiscreteScheduler");
    struct pipeline *other = open_as("tiny-emoji", "DDIMScheduler"), *pndm = open_as("tiny-sdxl", "PNDMScheduler");
    static const struct { double start; int64_t steps; const char *part; } cases_of[] = {
        { 0, 10, "refiner start 0: must be more than 0" }, { 1, 10, "refiner start 1" }, { NAN, 10, "refiner start nan" },
        { 0.9, 1, "leaves one of the models none" }, { 0.001, 4, "leaves one of the models none" },
    };
    struct draw_request r = request(base, refiner, c);
    struct drawing d;
    for (size_t i = 0; i < sizeof cases_of / sizeof *cases_of; i++)
        for (int comfy = 0; comfy < 2; comfy++) {
            r.refiner_start = cases_of[i].start;
            r.steps = cases_of[i].steps;
            r.sampler = comfy ? "euler" : NULL;
            CHECK_FAILS(pipeline_draw(base, &r, NULL, &d, &e), ERR_ARG, cases_of[i].part);
        }
    r = request(base, refiner, c);
    r.hires = (struct draw_hires){ .width = 128, .height = 128 };
    CHECK_FAILS(pipeline_draw(base, &r, NULL, &d, &e), ERR_ARG, "no picture, mask or second pass");
    r = request(base, other, c);
    CHECK_FAILS(pipeline_draw(base, &r, NULL, &d, &e), ERR_ARG, "latents have 16 channels");
    r = request(pndm, refiner, c);
    CHECK_FAILS(pipeline_draw(pndm, &r, NULL, &d, &e), ERR_ARG, "PNDMScheduler cannot go on in the middle");
    pipeline_free(base);
    pipeline_free(refiner);
    pipeline_free(other);
    pipeline_free(pndm);
}
