/* Image to image and inpainting against diffusers' pipelines and ComfyUI's written rules (tests/reference/make_edit.py). f32
 * latents of diffusers in f32 and f64 differ by up to 3e-5 (test_generate.c), more where a sampler amplifies. */
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "generate/generate_internal.h"
#include "test.h"

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

/* A tiny model; for `nine` its denoiser has the door for inpainting, whose weights come from the expected file. */
struct opened {
    struct model_folder folder;
    struct weights *unet;
    struct pipeline *pipeline;
};

static const struct weights *weights_of(void *self, enum model_part part, struct err *e)
{
    struct opened *o = self;
    return part == PART_UNET && o->unet ? o->unet : model_folder_weights(&o->folder, part, e);
}

static struct weights *with_nine(const struct weights *plain, const struct weight *door)
{
    enum { MOST = 2000 };
    static struct weights_entry entries[MOST];
    static const void *data[MOST];
    struct err e = { 0 };
    size_t count = weights_count(plain);
    assert_true(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        const struct weight *w = weights_at(plain, i);
        if (!strcmp(w->name, "conv_in.weight"))
            w = door;
        entries[i] = (struct weights_entry){ weights_at(plain, i)->name, w->type, w->shape };
        data[i] = w->data;
    }
    const char *path = test_scratch("nine.safetensors");
    REQUIRE(weights_save(path, entries, data, count, NULL, 0, &e));
    struct weights *made = weights_open(path, &e);
    REQUIRE(made != NULL);
    return made;
}

static void open_case(struct opened *o, const json_t *c, const struct weights *expected)
{
    struct err e = { 0 };
    char path[200];
    *o = (struct opened){ 0 };
    snprintf(path, sizeof path, "models/%s", json_string_value(json_object_get(c, "model")));
    REQUIRE(model_folder_open(&o->folder, test_data(path), &e));
    const json_t *scheduler = json_object_get(c, "scheduler");
    if (json_is_object(scheduler)) {
        scheduler_config_release(&o->folder.scheduler);
        REQUIRE(scheduler_config_from_json(&o->folder.scheduler, scheduler, "case", &e));
        o->folder.scheduler.steps_offset = 1;
        o->folder.scheduler.clip_sample = false;
    }
    if (json_is_true(json_object_get(c, "nine"))) {
        const struct weights *plain = model_folder_weights(&o->folder, PART_UNET, &e);
        REQUIRE(plain != NULL);
        o->unet = with_nine(plain, weights_need(expected, "conv_in", &e));
        o->folder.parts.unet.in_channels = 9;
    }
    struct pipeline_source source = pipeline_source_of(&o->folder);
    source.weights = weights_of;
    source.self = o;
    o->pipeline = pipeline_new(&source, cpu(), DTYPE_F32, &e);
    REQUIRE(o->pipeline != NULL);
}

static void close_case(struct opened *o)
{
    pipeline_free(o->pipeline);
    weights_free(o->unet);
    model_folder_release(&o->folder);
}

static const struct weight *named(const struct weights *w, const char *format, const char *name)
{
    char text[200];
    snprintf(text, sizeof text, format, name);
    return weights_find(w, text);
}

/* The request of a case; *picture and *mask are freed with mem_free. */
static struct draw_request request_of(const struct opened *o, const json_t *c, const struct weights *expected, float **picture,
                                      float **mask)
{
    struct draw_request r = draw_request_defaults(o->pipeline);
    int64_t side = json_integer_value(json_object_get(c, "side"));
    size_t area = (size_t)(side * side);
    char text[20];
    snprintf(text, sizeof text, "%d", (int)side);
    const uint8_t *pixels = named(expected, "picture.%s", text)->data, *soft = named(expected, "mask.%s", text)->data;
    *picture = mem_aligned(3 * area * sizeof **picture);
    *mask = json_is_true(json_object_get(c, "mask")) ? mem_aligned(area * sizeof **mask) : NULL;
    struct image image = { (int)side, (int)side, 3, (uint8_t *)pixels };
    image_to_unit(*picture, &image, IMAGE_NHWC);
    for (size_t i = 0; *mask && i < area; i++)
        (*mask)[i] = (float)soft[i] / 255;
    r.prompt = json_string_value(json_object_get(c, "prompt"));
    r.negative = json_string_value(json_object_get(c, "negative"));
    r.width = r.height = side;
    r.steps = json_integer_value(json_object_get(c, "steps"));
    r.cfg = json_number_value(json_object_get(c, "cfg"));
    r.seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    r.sampler = json_string_value(json_object_get(c, "sampler"));
    r.schedule = json_string_value(json_object_get(c, "schedule"));
    r.eta = strcmp(r.sampler, "model") ? -1 : json_number_value(json_object_get(c, "eta"));
    r.batch = json_integer_value(json_object_get(c, "count"));
    r.strength = json_number_value(json_object_get(c, "strength"));
    r.picture = *picture;
    r.mask = *mask;
    return r;
}

static double psnr(const uint8_t *a, const uint8_t *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * (double)count / sum);
}

static json_t *cases(json_t **info, struct weights **expected)
{
    struct err e = { 0 };
    *info = json_read(test_data("expected/edit.json"), &e);
    *expected = weights_open(test_data("expected/edit.safetensors"), &e);
    if (!*info || !*expected)
        fail_msg("%s", e.text);
    return json_object_get(*info, "cases");
}

TEST(edited_latents_and_pictures_are_those_of_diffusers_and_of_comfyui)
{
    json_t *info, *c;
    struct weights *expected;
    size_t i;
    json_array_foreach(cases(&info, &expected), i, c) {
        struct err e = { 0 };
        struct opened o;
        struct drawing d;
        float *picture, *mask;
        const char *name = json_string_value(json_object_get(c, "name"));
        open_case(&o, c, expected);
        struct draw_request r = request_of(&o, c, expected, &picture, &mask);
        REQUIRE(pipeline_draw(o.pipeline, &r, NULL, &d, &e));
        const struct weight *final = named(expected, "%s.final", name), *drawn = named(expected, "%s.drawn", name);
        assert_non_null(final);
        CHECK(shape_same(final->shape, d.shape), "%s: %s", name, shape_text(d.shape).s);
        double off = tensor_difference(d.latents, final->data, shape_count(d.shape)).max;
        double db = drawn ? psnr(d.images[0].pixels, drawn->data, image_bytes(&d.images[0])) : INFINITY;
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%-32s latents %.1e  picture %.1f dB\n", name, off, db);
        CHECK(off <= 1e-4, "%s: latents differ by %.2e", name, off);
        CHECK(db > 60, "%s: picture at %.1f dB", name, db);
        drawing_release(&d);
        mem_free(picture);
        mem_free(mask);
        close_case(&o);
    }
    json_decref(info);
    weights_free(expected);
}

/* The first case with this name, opened. */
static struct draw_request open_named(struct opened *o, const char *name, float **picture, float **mask)
{
    json_t *info, *c, *all;
    struct weights *expected;
    size_t i;
    struct draw_request r = { 0 };
    all = cases(&info, &expected);
    json_array_foreach(all, i, c)
        if (!strcmp(json_string_value(json_object_get(c, "name")), name)) {
            open_case(o, c, expected);
            r = request_of(o, c, expected, picture, mask);
        }
    r.prompt = "a red circle";
    r.negative = NULL;
    r.sampler = r.schedule = NULL;
    json_decref(info);
    weights_free(expected);
    return r;
}

/* A tile that covers everything is the whole, bit for bit. Smaller ones differ by what group norms see of the picture; a seam or a
 * tile at the wrong place costs tens of dB. */
TEST(tiles_give_nearly_the_picture_of_the_whole)
{
    struct err e = { 0 };
    struct opened o;
    float *picture, *mask;
    struct drawing whole, tiled;
    struct draw_request r = open_named(&o, "tiny-sd1.img2img", &picture, &mask);
    r.steps = 2;
    r.width = r.height = 256;
    r.picture = NULL;
    r.vae_tile = -1;
    REQUIRE(pipeline_draw(o.pipeline, &r, NULL, &whole, &e));
    static const struct { int64_t tile; double least; } cases[] = { { 256, INFINITY }, { 1000, INFINITY }, { 128, 20 }, { 64, 20 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r.vae_tile = cases[i].tile;
        REQUIRE(pipeline_draw(o.pipeline, &r, NULL, &tiled, &e));
        double db = psnr(tiled.images[0].pixels, whole.images[0].pixels, image_bytes(&whole.images[0]));
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("tiles of %lld: %.1f dB\n", (long long)cases[i].tile, db);
        CHECK(db >= cases[i].least, "tiles of %lld: %.1f dB", (long long)cases[i].tile, db);
        drawing_release(&tiled);
    }
    drawing_release(&whole);
    mem_free(picture);
    mem_free(mask);
    close_case(&o);
}

TEST(the_plan_takes_tiles_where_the_whole_does_not_fit)
{
    struct err e = { 0 };
    struct opened o;
    float *picture, *mask;
    struct draw_plan whole, tiled;
    struct draw_request r = open_named(&o, "tiny-sd1.img2img", &picture, &mask);
    r.width = r.height = 512;
    r.picture = NULL;
    REQUIRE(pipeline_plan_within(o.pipeline, &r, (size_t)1 << 40, &whole, &e));
    CHECK(whole.vae_tile == 0 && !strcmp(whole.stage, "vae"), "%lld, highest at the %s", (long long)whole.vae_tile, whole.stage);
    size_t need = whole.weights + whole.activations + whole.caches;
    REQUIRE(pipeline_plan_within(o.pipeline, &r, need - 1, &tiled, &e));
    CHECK(tiled.vae_tile == 256 && tiled.activations < whole.activations / 2, "tiles of %lld, %zu of %zu bytes",
          (long long)tiled.vae_tile, tiled.activations, whole.activations);
    r.vae_tile = -1;
    REQUIRE(pipeline_plan_within(o.pipeline, &r, need - 1, &tiled, &e));
    CHECK(tiled.vae_tile == 0, "tiles of %lld although none are wanted", (long long)tiled.vae_tile);
    r.vae_tile = 8;
    CHECK_FAILS(pipeline_plan(o.pipeline, &r, &tiled, &e), ERR_ARG, "VAE tile 8: at least");
    mem_free(picture);
    mem_free(mask);
    close_case(&o);
}

/* Through pixels the second pass is what a user would do by hand: draw, enlarge, begin again with that. */
TEST(a_second_pass_is_image_to_image_of_the_first_made_larger)
{
    struct err e = { 0 };
    struct opened o;
    float *picture, *mask, *large;
    struct drawing first, hand, both;
    struct image enlarged;
    struct draw_request r = open_named(&o, "tiny-sd1.img2img", &picture, &mask);
    r.picture = NULL;
    r.steps = 4;
    r.batch = 2;
    r.sampler = "euler";
    int64_t side = r.width, wide = 2 * side;
    REQUIRE(pipeline_draw(o.pipeline, &r, NULL, &first, &e));
    r.hires = (struct draw_hires){ .width = wide, .height = side, .method = "pixel-lanczos", .strength = 0.6, .steps = 3 };
    REQUIRE(pipeline_draw(o.pipeline, &r, NULL, &both, &e));
    CHECK(both.images[1].width == wide && both.calls == 7 && both.shape.dim[3] == 2 * first.shape.dim[3], "%dx%d, %lld calls",
          both.images[1].width, both.images[1].height, (long long)both.calls);
    REQUIRE(image_resize(&enlarged, &first.images[0], (int)wide, (int)side, IMAGE_LANCZOS, &e));
    large = mem_aligned(image_bytes(&enlarged) * sizeof *large);
    image_to_unit(large, &enlarged, IMAGE_NHWC);
    struct draw_request again = r;
    again.hires = (struct draw_hires){ 0 };
    again.width = wide;
    again.picture = large;
    again.strength = 0.6;
    again.steps = 3;
    REQUIRE(pipeline_draw(o.pipeline, &again, NULL, &hand, &e));
    /* picture 0 has picture 0's pixels and noise in both */
    double off = tensor_difference(hand.latents, both.latents, shape_count(both.shape) / 2).max;
    CHECK(off <= 2e-5, "latents differ by %.2e", off);
    drawing_release(&both);
    drawing_release(&hand);

    /* at the same size every way over latents leaves them alone, so all second passes are the same */
    r.hires.width = side;
    for (int i = 5; hires_methods[i]; i++) {
        r.hires.method = hires_methods[i];
        REQUIRE(pipeline_draw(o.pipeline, &r, NULL, i == 5 ? &hand : &both, &e));
        if (i == 5)
            continue;
        off = tensor_difference(hand.latents, both.latents, shape_count(both.shape)).max;
        CHECK(off <= 2e-4, "%s: latents differ by %.2e", hires_methods[i], off);
        drawing_release(&both);
    }
    CHECK(tensor_difference(hand.latents, first.latents, shape_count(first.shape)).max > 1e-2, "the second pass did nothing");
    r.hires.method = "pixel-best";
    CHECK_FAILS(pipeline_draw(o.pipeline, &r, NULL, &both, &e), ERR_ARG, "no hires method \"pixel-best\"");
    r.hires = (struct draw_hires){ .width = side + 1, .height = side };
    CHECK_FAILS(pipeline_draw(o.pipeline, &r, NULL, &both, &e), ERR_ARG, "in the second pass");
    drawing_release(&hand);
    drawing_release(&first);
    image_release(&enlarged);
    mem_free(large);
    mem_free(picture);
    mem_free(mask);
    close_case(&o);
}
