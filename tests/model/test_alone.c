/* Parts of a model by themselves: what they are is told by the files alone. Full-size files without numbers (single.h) stand for the
 * published ones. */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/family/alone.h"
#include "single.h"
#include "test.h"

static void denoiser(json_t *tensors)
{
    single_keep(tensors, "model.diffusion_model.");
}
static void clip_l(json_t *tensors)
{
    single_keep(tensors, "cond_stage_model.transformer.");
}
static void clip_h(json_t *tensors)
{
    single_keep(tensors, "cond_stage_model.model.");
}
static void first_of_xl(json_t *tensors)
{
    single_keep(tensors, "conditioner.embedders.0.transformer.");
}
static void second_of_xl(json_t *tensors)
{
    single_keep(tensors, "conditioner.embedders.1.model.");
}

TEST(a_denoiser_alone_knows_its_family_its_words_and_its_latents)
{
    static const struct {
        const char *model, *family;
        int64_t words, pooled;
        double factor;
        bool v;
    } cases[] = {
        { "sd1", "sd", 768, 0, 0.18215, false },         { "sd1-inpaint", "sd", 768, 0, 0.18215, false },
        { "sd2", "sd", 1024, 0, 0.18215, false },        { "sdxl", "sdxl", 2048, 1280, 0.13025, false },
        { "sdxl-refiner", "sdxl", 1280, 1280, 0.13025, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct model_alone a;
        REQUIRE(model_alone_open(&a, &(struct alone_files){ .unet = single_hollow(cases[i].model, denoiser) }, &e));
        CHECK(!strcmp(a.parts.family->name, cases[i].family) && model_text_width(&a.parts) == cases[i].words &&
                  model_pooled_width(&a.parts) == cases[i].pooled && a.parts.vae.scaling_factor == cases[i].factor &&
                  vae_factor(&a.parts.vae) == 8 && a.scheduler.prediction == PREDICTION_EPSILON &&
                  (model_extra_channels(&a.parts) == 5) == !strcmp(cases[i].model, "sd1-inpaint"),
              "%s: %s, words %lld and %lld, factor %g", cases[i].model, a.parts.family->name, (long long)model_text_width(&a.parts),
              (long long)model_pooled_width(&a.parts), a.parts.vae.scaling_factor);
        model_alone_release(&a);
    }
}

TEST(text_encoders_alone_are_told_apart_by_their_depth)
{
    struct err e = { 0 };
    struct model_alone a;
    FILE *list = fopen(test_scratch("list.txt"), "w");
    REQUIRE(list && fputs("a title\na p\n", list) > 0 && !fclose(list));
    char *kept = getenv("LIMN_CLIP_VOCABULARY") ? mem_string(getenv("LIMN_CLIP_VOCABULARY")) : NULL;
    setenv("LIMN_CLIP_VOCABULARY", test_scratch("list.txt"), 1);
    static const struct {
        const char *model, *family;
        void (*change)(json_t *);
        int64_t layers, width;
        enum unary act;
        int part;
    } cases[] = {
        { "sd1", "sd", clip_l, 12, 768, UNARY_QUICK_GELU, PART_TEXT },
        { "sd2", "sd", clip_h, 23, 1024, UNARY_GELU, PART_TEXT },
        { "sdxl", "sdxl", second_of_xl, 32, 1280, UNARY_GELU, PART_TEXT_2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(model_alone_open(&a, &(struct alone_files){ .text = { single_hollow(cases[i].model, cases[i].change) } }, &e));
        const struct text_encoder *t = &a.parts.text[cases[i].part];
        CHECK(!strcmp(a.parts.family->name, cases[i].family) && t->layers == cases[i].layers && t->width == cases[i].width &&
                  t->clip.act == cases[i].act && t->clip.projects == (cases[i].part == PART_TEXT_2),
              "%s: %s, %lld layers of %lld", cases[i].model, a.parts.family->name, (long long)t->layers, (long long)t->width);
        model_alone_release(&a);
    }
    /* the order does not matter */
    for (int turned = 0; turned < 2; turned++) {
        char *l = mem_string(single_hollow("sdxl", first_of_xl)), *named = mem_string(test_scratch("first.safetensors"));
        REQUIRE(!rename(l, named));
        const char *g = single_hollow("sdxl", second_of_xl);
        REQUIRE(model_alone_open(&a, &(struct alone_files){ .text = { turned ? g : named, turned ? named : g }, .type = ALONE_TEXT_SDXL }, &e));
        CHECK(a.parts.text[0].width == 768 && a.parts.text[1].width == 1280 && model_pooled_width(&a.parts) == 1280, "turned %d", turned);
        model_alone_release(&a);
        mem_free(l);
        mem_free(named);
    }
    CHECK_FAILS(model_alone_open(&a, &(struct alone_files){ .text = { single_hollow("sd1", denoiser) } }, &e), ERR_TYPE, "no text encoder");
    CHECK_FAILS(model_alone_open(&a, &(struct alone_files){ .unet = single_hollow("sd1", clip_l) }, &e), ERR_TYPE, "no denoiser");
    if (kept)
        setenv("LIMN_CLIP_VOCABULARY", kept, 1);
    else
        unsetenv("LIMN_CLIP_VOCABULARY");
    mem_free(kept);
}
