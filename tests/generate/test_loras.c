/* Drawings with LoRA files of every layout against diffusers with the same files (tests/reference/make_lora.py), f32. The final
 * latents of diffusers in f32 and f64 differ by up to 3e-5 without a LoRA; a wrong alpha, a module left out or a text encoder's scale
 * in the UNet costs 1e-2 and more. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
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
    if (!made)
        fail_msg("%s", e.text);
    return made;
}

static struct pipeline *open_model(void)
{
    struct err e = { 0 };
    struct pipeline *p = pipeline_open(test_data("models/tiny-sd1"), cpu(), DTYPE_F32, &e);
    REQUIRE(p != NULL);
    return p;
}

static const struct lora *lora_of(struct pipeline *p, const char *file, double alpha)
{
    struct err e = { 0 };
    char path[200];
    snprintf(path, sizeof path, "lora/%s", file);
    const struct lora *l = pipeline_lora(p, test_data(path), alpha, &e);
    REQUIRE(l != NULL);
    return l;
}

static json_t *info(void)
{
    static json_t *j;
    struct err e = { 0 };
    if (!j)
        j = json_read(test_data("lora/expected.json"), &e);
    REQUIRE(j != NULL);
    return j;
}

static struct draw_request request(const struct pipeline *p)
{
    struct draw_request r = draw_request_defaults(p);
    r.prompt = json_string_value(json_object_get(info(), "prompt"));
    r.negative = json_string_value(json_object_get(info(), "negative"));
    r.seed = (uint64_t)json_integer_value(json_object_get(info(), "seed"));
    r.steps = json_integer_value(json_object_get(info(), "steps"));
    r.cfg = json_number_value(json_object_get(info(), "cfg"));
    r.width = r.height = 64;
    return r;
}

/* The LoRAs of a case into loras[4]. */
static size_t loras_of(struct pipeline *p, const json_t *c, struct draw_lora *loras)
{
    const json_t *list = json_object_get(c, "loras"), *alpha = json_object_get(c, "alpha"), *l;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, l)
        loras[i] = (struct draw_lora){
            lora_of(p, json_string_value(json_object_get(l, "file")), alpha ? json_number_value(alpha) : NAN),
            json_number_value(json_object_get(l, "unet")), json_number_value(json_object_get(l, "text")), false,
        };
    return json_array_size(list);
}

static void case_of(struct pipeline *p, const json_t *c, const struct weights *expected)
{
    struct err e = { 0 };
    struct drawing d;
    struct draw_lora loras[4];
    const char *name = json_string_value(json_object_get(c, "name"));
    char key[100];
    struct draw_request r = request(p);
    r.loras = loras;
    r.lora_count = loras_of(p, c, loras);
    for (size_t i = 0; i < r.lora_count; i++) {
        struct lora_facts f = lora_facts(loras[i].lora);
        CHECK(f.unused_count == 0, "%s: %zu keys are not used, %s", f.path, f.unused_count, f.unused[0]);
    }
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    snprintf(key, sizeof key, "%s.final", name);
    const struct weight *final = weights_need(expected, key, &e);
    REQUIRE(final != NULL);
    struct difference off = tensor_difference(d.latents, final->data, shape_count(d.shape));
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-20s final %.1e\n", name, off.max);
    CHECK(off.max <= 5e-4, "%s: final latents differ by %.2e", name, off.max);
    drawing_release(&d);
}

TEST(pictures_with_loras_are_those_of_diffusers)
{
    struct err e = { 0 };
    struct weights *expected = weights_open(test_data("lora/expected.safetensors"), &e);
    REQUIRE(expected != NULL);
    struct pipeline *p = open_model();
    pipeline_keep(p, true); /* so that some scales change in programs that stay */
    json_t *c;
    size_t i;
    json_array_foreach(json_object_get(info(), "cases"), i, c)
        case_of(p, c, expected);
    pipeline_free(p);
    weights_free(expected);
}

static struct drawing draw(struct pipeline *p, const struct draw_lora *loras, size_t count)
{
    struct err e = { 0 };
    struct drawing d;
    struct draw_request r = request(p);
    r.steps = 2;
    r.loras = loras;
    r.lora_count = count;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    return d;
}

static bool same(const struct drawing *a, const struct drawing *b)
{
    return !memcmp(a->latents, b->latents, (size_t)shape_count(a->shape) * sizeof *a->latents) &&
           !memcmp(a->images[0].pixels, b->images[0].pixels, image_bytes(&a->images[0]));
}

TEST(a_scale_of_zero_gives_the_base_picture_and_every_turn_is_that_of_a_fresh_pipeline)
{
    static const struct { const char *file[2]; double unet[2], text[2]; bool base; } turns[] = {
        { .base = true },
        { { "attention.safetensors", "layers.safetensors" }, { 0, 0 }, { 0, 0 }, true },
        { { "attention.safetensors", "layers.safetensors" }, { 0.5, 1 }, { 0, 1 }, false },
        { { "attention.safetensors", "layers.safetensors" }, { 0.8, -1 }, { 0, 0.5 }, false },
        { { "attention.safetensors", "layers.safetensors" }, { 0.8, 0 }, { 0, 0.5 }, false },
        { { "lycoris.safetensors", "dora.safetensors" }, { 1, 1 }, { 1, 1 }, false },
        { { "lycoris.safetensors", "dora.safetensors" }, { 0.3, -0.5 }, { 1, 1 }, false },
        { { "lycoris.safetensors", "dora.safetensors" }, { 0, 0 }, { 1, 1 }, true },
        { .base = true },
    };
    struct pipeline *kept = open_model();
    pipeline_keep(kept, true);
    struct drawing base = draw(kept, NULL, 0);
    for (size_t t = 0; t < sizeof turns / sizeof *turns; t++) {
        struct draw_lora loras[2], own[2];
        struct pipeline *fresh = open_model();
        size_t count = turns[t].file[0] ? 2 : 0;
        for (size_t i = 0; i < count; i++) {
            loras[i] = (struct draw_lora){ lora_of(kept, turns[t].file[i], NAN), turns[t].unet[i], turns[t].text[i], false };
            own[i] = (struct draw_lora){ lora_of(fresh, turns[t].file[i], NAN), turns[t].unet[i], turns[t].text[i], false };
        }
        struct drawing a = draw(kept, loras, count), b = draw(fresh, own, count);
        CHECK(same(&a, &b), "turn %zu: a fresh pipeline draws another picture", t);
        CHECK(same(&a, &base) == turns[t].base, "turn %zu: %s the base picture", t, turns[t].base ? "is not" : "is");
        drawing_release(&a);
        drawing_release(&b);
        pipeline_free(fresh);
    }
    drawing_release(&base);
    pipeline_free(kept);
}

TEST(bf16_with_a_lora_gives_nearly_the_picture_of_f32)
{
    struct err e = { 0 };
    struct drawing d[2];
    static const char *const files[] = { "layers.safetensors", "dora.safetensors", "lycoris.safetensors" };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct pipeline *p = pipeline_open(test_data("models/tiny-sd1"), cpu(), bf16 ? DTYPE_BF16 : DTYPE_F32, &e);
            REQUIRE(p != NULL);
            struct draw_lora l = { lora_of(p, files[f], NAN), 0.5, 0.5, false };
            struct draw_request r = request(p);
            r.cfg = 3;
            r.steps = 4;
            r.loras = &l;
            r.lora_count = 1;
            REQUIRE(pipeline_draw(p, &r, NULL, &d[bf16], &e));
            pipeline_free(p);
        }
        double sum = 0;
        size_t count = image_bytes(&d[0].images[0]);
        for (size_t i = 0; i < count; i++)
            sum += pow(d[0].images[0].pixels[i] - (double)d[1].images[0].pixels[i], 2);
        double db = 10 * log10(255.0 * 255.0 * (double)count / sum);
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%s: bf16 against f32 %.1f dB\n", files[f], db);
        CHECK(db > 30 && db < 80, "%s: %.1f dB", files[f], db);
        drawing_release(&d[0]);
        drawing_release(&d[1]);
    }
}

TEST(wrong_requests_are_refused)
{
    struct err e = { 0 };
    struct drawing d;
    struct pipeline *p = open_model(), *other = open_model();
    struct draw_lora l = { lora_of(p, "attention.safetensors", NAN), INFINITY, 1, false };
    struct draw_request r = request(p);
    r.loras = &l;
    r.lora_count = 1;
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_ARG, "LoRA 1: its scales inf and 1 must be numbers");
    l.unet = 1;
    r.lora_count = LORA_MOST + 1;
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_ARG, "65 LoRAs: at most 64");
    r.lora_count = 1;
    CHECK_FAILS(pipeline_draw(other, &r, NULL, &d, &e), ERR_ARG, "was read for another model");
    CHECK_FAILS(pipeline_lora(p, test_data("lora/nothing.safetensors"), NAN, &e), ERR_MISSING, "is not there");
    CHECK_FAILS(pipeline_lora(p, test_data("expected/tiny-sd1.safetensors"), NAN, &e), ERR_MISSING, "is for this model");
    pipeline_free(p);
    pipeline_free(other);
}
