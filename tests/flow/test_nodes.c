/* Nodes against the numbers of tests/reference/make_flow.py, and what the file nodes leave behind. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "flow/run_flow.h"
#include "model/layer/net.h"
#include "tensor/tensor.h"
#include "test.h"
#include "weights/weights.h"

static const struct backend *backend(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    made = made ? made : backend_cpu_new(1, NULL, &e);
    REQUIRE(made != NULL);
    return made;
}

static struct flow_engine *engine(void)
{
    struct err e = { 0 };
    struct flow_engine *made = flow_engine_new(&(struct flow_engine_options){ .backend = backend(), .type = DTYPE_F32 }, &e);
    REQUIRE(made != NULL);
    return made;
}

/* The file that a SaveLatent node wrote. */
static struct weights *written_latent(const struct flow_seen *s, const char *id)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    const json_t *file = json_array_get(json_object_get(json_object_get(s->result.outputs, id), "latents"), 0);
    CHECK(file != NULL, "node %s wrote no latent", id);
    REQUIRE(path_join(folder, host.output, json_string_value(json_object_get(file, "subfolder")), &e) &&
            path_join(path, folder, json_string_value(json_object_get(file, "filename")), &e));
    struct weights *w = weights_open(path, &e);
    REQUIRE(w != NULL);
    return w;
}

TEST(flows_end_in_the_latents_of_the_rules_written_out)
{
    struct err e = { 0 };
    json_t *info = json_read(test_data("expected/flow.json"), &e), *c;
    struct weights *expected = weights_open(test_data("expected/flow.safetensors"), &e);
    struct flow_engine *own = engine();
    size_t i;
    REQUIRE(info && expected);
    json_array_foreach(json_object_get(info, "cases"), i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        json_t *flow = json_object_get(c, "flow");
        json_object_set_new(flow, "m", json_pack("{s:s, s:{s:s}}", "class_type", "CheckpointLoaderSimple", "inputs", "ckpt_name", "tiny-sd1"));
        json_object_set_new(flow, "save", json_pack("{s:s, s:{s:[O, i], s:s}}", "class_type", "SaveLatent", "inputs", "samples", json_object_get(c, "end"),
                                                    0, "filename_prefix", "case"));
        char *text = json_dumps(flow, 0);
        struct flow_seen s = run_flow(own, text, NULL);
        free(text);
        struct weights *file = written_latent(&s, "save");
        const struct weight *came = weights_find(file, "latent_tensor"), *wanted = weights_find(expected, name);
        CHECK(came && wanted && shape_same(came->shape, wanted->shape), "%s: %s", name, shape_text(came->shape).s);
        /* range_negative grows to thousands: what counts is how far it is off beside its size */
        struct difference d = tensor_difference(came->data, wanted->data, shape_count(came->shape));
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%-16s relative %.1e, max %.1e\n", name, d.relative, d.max);
        CHECK(d.relative <= 2e-5, "%s: latents differ by %.2e of their size", name, d.relative);
        weights_free(file);
        seen_release(&s);
    }
    flow_engine_free(own);
    weights_free(expected);
    json_decref(info);
}

TEST(an_empty_latent_fits_itself_to_the_model)
{
    struct flow_engine *own = engine();
    struct flow_seen s = run_flow(own, "{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-emoji'}},"
                                       "'2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 32, 'batch_size': 2}},"
                                       "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cat', 'clip': ['1', 1]}},"
                                       "'4': {'class_type': 'KSampler', 'inputs': {'model': ['1', 0], 'seed': 1, 'steps': 2, 'cfg': 1, 'sampler_name': 'euler',"
                                       "'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0], 'denoise': 1}},"
                                       "'5': {'class_type': 'VAEDecode', 'inputs': {'samples': ['4', 0], 'vae': ['1', 2]}},"
                                       "'6': {'class_type': 'PreviewImage', 'inputs': {'images': ['5', 0]}}}", NULL);
    struct image image = written(&s, "6", 1);
    CHECK(image.width == 64 && image.height == 32, "%dx%d", image.width, image.height);
    image_release(&image);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(previews_come_where_they_are_asked_for)
{
    static const char flow[] = "{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': '%s'}},"
                               "'2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 1}},"
                               "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cat', 'clip': ['1', 1]}},"
                               "'4': {'class_type': 'KSampler', 'inputs': {'model': ['1', 0], 'seed': 1, 'steps': 3, 'cfg': 1, 'sampler_name': 'euler',"
                               "'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0], 'denoise': 1}},"
                               "'5': {'class_type': 'VAEDecode', 'inputs': {'samples': ['4', 0], 'vae': ['1', 2]}},"
                               "'6': {'class_type': '%s', 'inputs': {'images': ['5', 0]}}}";
    static const struct { const char *model, *end, *method; int side, least, most; } cases[] = {
        { "tiny-sd1", "PreviewImage", NULL, 0, 0, 0 },     { "tiny-sd1", "PreviewImage", "auto", 0, 3, 3 },
        { "tiny-emoji", "PreviewImage", NULL, 64, 1, 3 },  { "tiny-sd1", "PreviewImage", "none", 64, 0, 0 },
        { "tiny-sd1", "SaveImageWebsocket", NULL, 0, 1, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flow_engine *own = engine();
        char text[2000];
        snprintf(text, sizeof text, flow, cases[i].model, cases[i].end);
        json_t *extra = cases[i].method ? json_pack("{s:s}", "preview_method", cases[i].method) : NULL;
        struct flow_seen s = run_flow_with(own, text, NULL, (struct flow_run_options){ .extra_data = extra, .preview_side = cases[i].side });
        CHECK(s.result.end == FLOW_SUCCESS && s.pictures >= cases[i].least && s.pictures <= cases[i].most, "case %zu: %d pictures", i, s.pictures);
        CHECK(strstr(s.messages, "progress 4, progress 4, progress 4"), "case %zu: %s", i, s.messages);
        json_decref(extra);
        seen_release(&s);
        flow_engine_free(own);
    }
}

TEST(saved_files_count_on_and_stay_in_the_folder)
{
#define EMPTY "'1': {'class_type': 'EmptyImage', 'inputs': {'width': 20, 'height': 10, 'batch_size': 2, 'color': 16711680}}"
    struct flow_engine *own = engine();
    static const struct { const char *prefix, *first, *second; } cases[] = {
        { "count", "count_00001_.png", "count_00002_.png" },
        { "count", "count_00003_.png", "count_00004_.png" },
        { "deep/er/%width%x%height%", "20x10_00001_.png", "20x10_00002_.png" },
        { "b%batch_num%", "b0_00001_.png", "b1_00002_.png" },
        { "%date:yyyy%", "%date:yyyy%_00001_.png", "%date:yyyy%_00002_.png" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char flow[500];
        snprintf(flow, sizeof flow, "{" EMPTY ", '9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': '%s', 'images': ['1', 0]}}}", cases[i].prefix);
        flow_engine_unload(own, true);
        struct flow_seen s = run_flow(own, flow, NULL);
        json_t *files = json_object_get(json_object_get(s.result.outputs, "9"), "images");
        const char *first = json_string_value(json_object_get(json_array_get(files, 0), "filename"));
        const char *second = json_string_value(json_object_get(json_array_get(files, 1), "filename"));
        CHECK(!strcmp(first, cases[i].first) && !strcmp(second, cases[i].second), "case %zu: %s, %s", i, first, second);
        struct image image = written(&s, "9", 0);
        CHECK(image.width == 20 && image.pixels[0] == 255 && image.pixels[1] == 0, "case %zu: the picture", i);
        image_release(&image);
        seen_release(&s);
    }
    static const char *const escapes[] = { "../x", "/tmp/x", "a/../../x" };
    for (size_t i = 0; i < 3; i++) {
        char flow[500];
        snprintf(flow, sizeof flow, "{" EMPTY ", '9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': '%s', 'images': ['1', 0]}}}", escapes[i]);
        struct flow_seen s = run_flow_with(own, flow, NULL, (struct flow_run_options){ 0 });
        CHECK(s.result.end == FLOW_ERROR && strstr(json_string_value(json_object_get(s.result.last_data, "exception_message")), "leaves the output folder"),
              "%s", escapes[i]);
        seen_release(&s);
    }
    flow_engine_free(own);
}

TEST(a_loaded_picture_and_its_transparency_are_those_of_the_file)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    struct flow_engine *own = engine();
    struct image image;
    char path[PATH_MAX_BYTES];
    REQUIRE(image_make(&image, 16, 8, 4, &e) && path_join(path, host.input, "seen.png", &e));
    for (size_t i = 0; i < image_bytes(&image); i++)
        image.pixels[i] = (uint8_t)(i * 7);
    REQUIRE(image_save_png(path, &image, NULL, 0, &e));
    static const char flow[] = "{'1': {'class_type': 'LoadImage', 'inputs': {'image': 'seen.png'}}, '2': {'class_type': 'MaskToImage', 'inputs': {'mask': ['1', 1]}},"
                               "'3': {'class_type': 'LoadImageMask', 'inputs': {'image': 'seen.png', 'channel': 'green'}}, '4': {'class_type': 'MaskToImage', "
                               "'inputs': {'mask': ['3', 0]}}, '7': {'class_type': 'PreviewImage', 'inputs': {'images': ['1', 0]}}, '8': {'class_type': "
                               "'PreviewImage', 'inputs': {'images': ['2', 0]}}, '9': {'class_type': 'PreviewImage', 'inputs': {'images': ['4', 0]}}}";
    struct flow_seen s = run_flow(own, flow, NULL);
    struct image seen = written(&s, "7", 0), alpha = written(&s, "8", 0), green = written(&s, "9", 0);
    for (int i = 0; i < 16 * 8; i++) {
        CHECK(!memcmp(seen.pixels + 3 * i, image.pixels + 4 * i, 3), "pixel %d", i);
        CHECK(abs(alpha.pixels[3 * i] - (255 - image.pixels[4 * i + 3])) <= 1, "alpha %d: %d", i, alpha.pixels[3 * i]);
        CHECK(green.pixels[3 * i] == image.pixels[4 * i + 1], "green %d", i);
    }
    seen_release(&s);
    image_release(&seen);
    image_release(&alpha);
    image_release(&green);
    s = run_flow(own, flow, NULL);
    CHECK(!did_run(&s, "1"), "the same file is not read again: %s", s.messages);
    seen_release(&s);
    image.pixels[0] ^= 1;
    REQUIRE(image_save_png(path, &image, NULL, 0, &e));
    s = run_flow(own, flow, NULL);
    CHECK(did_run(&s, "1") && did_run(&s, "7"), "another file of the same name is: %s", s.messages);
    seen_release(&s);
    image_release(&image);
    flow_engine_free(own);
}

TEST(words_of_another_model_are_refused_in_words)
{
    struct flow_engine *own = engine();
    struct flow_seen s = run_flow_with(own, "{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-sd1'}},"
                                            "'0': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-sdxl'}},"
                                            "'2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 1}},"
                                            "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cat', 'clip': ['0', 1]}},"
                                            "'4': {'class_type': 'KSampler', 'inputs': {'model': ['1', 0], 'seed': 1, 'steps': 2, 'cfg': 1, 'sampler_name': 'euler',"
                                            "'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0], 'denoise': 1}},"
                                            "'6': {'class_type': 'SaveLatent', 'inputs': {'samples': ['4', 0], 'filename_prefix': 'x'}}}", NULL,
                                       (struct flow_run_options){ 0 });
    CHECK(s.result.end == FLOW_ERROR && strstr(json_string_value(json_object_get(s.result.last_data, "exception_message")), "different models"), "%s",
          json_dumps(s.result.last_data, 0));
    seen_release(&s);
    flow_engine_free(own);
}

/* A place of models made of links to the tiny ones. */
static void link_model(const char *folder, const char *name, const char *model)
{
    struct err e = { 0 };
    char below[PATH_MAX_BYTES], path[PATH_MAX_BYTES], from[PATH_MAX_BYTES];
    snprintf(from, sizeof from, "models/%s", model);
    REQUIRE(path_join(below, test_scratch("places"), folder, &e) && folder_make(below, &e) && path_join(path, below, name, &e));
    unlink(path);
    CHECK(!symlink(test_data(from), path), "a link %s", path);
}

TEST(a_vae_of_its_own_and_a_model_in_parts_draw_as_the_whole)
{
#define DRAW_BY(loaders, model, clip, decoder)                                                                                         \
    "{" loaders ", '2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 1}},"                    \
    "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cat', 'clip': [" clip "]}},"                                          \
    "'4': {'class_type': 'KSampler', 'inputs': {'model': [" model "], 'seed': 1, 'steps': 2, 'cfg': 2, 'sampler_name': 'euler',"        \
    "'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0], 'denoise': 1}},"                       \
    "'5': {'class_type': 'VAEDecode', 'inputs': {'samples': ['4', 0], 'vae': [" decoder "]}},"                                         \
    "'6': {'class_type': 'PreviewImage', 'inputs': {'images': ['5', 0]}}}"
#define DRAW(loader, decoder) DRAW_BY(loader, "'1', 0", "'1', 1", decoder)
#define WHOLE(name) "'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': '" name "'}}"
#define ALONE(model, words)                                                                                                           \
    DRAW_BY("'10': {'class_type': 'UNETLoader', 'inputs': {'unet_name': '" model "/diffusion_pytorch_model.safetensors', 'weight_dtype': 'default'}}," \
            "'11': {" words "}, '12': {'class_type': 'VAELoader', 'inputs': {'vae_name': '" model "-vae'}}", "'10', 0", "'11', 0", "'12', 0")
    static const struct { const char *whole, *parts; } cases[] = {
        { DRAW(WHOLE("tiny-sd1"), "'1', 2"), DRAW(WHOLE("tiny-sd1") ", '7': {'class_type': 'VAELoader', 'inputs': {'vae_name': 'own'}}", "'7', 0") },
        { DRAW(WHOLE("tiny-kolors"), "'1', 2"),
          DRAW("'1': {'class_type': 'KolorsLoader', 'inputs': {'unet_name': 'k\\\\diffusion_pytorch_model.safetensors', 'text_encoder_name': 'glm', 'vae_name': 'kolors'}}", "'1', 2") },
        { DRAW(WHOLE("tiny-sd1"), "'1', 2"), ALONE("sd1", "'class_type': 'CLIPLoader', 'inputs': {'clip_name': 'sd1', 'type': 'stable_diffusion'}") },
        { DRAW(WHOLE("tiny-kolors"), "'1', 2"), ALONE("kolors", "'class_type': 'CLIPLoader', 'inputs': {'clip_name': 'glm', 'type': 'kolors'}") },
        { DRAW(WHOLE("tiny-sdxl"), "'1', 2"), ALONE("sdxl", "'class_type': 'DualCLIPLoader', 'inputs': {'clip_name1': 'sdxl/model.safetensors',"
                                                            "'clip_name2': 'sdxl-2/model.safetensors', 'type': 'sdxl', 'device': 'cpu'}") },
        { DRAW(WHOLE("tiny-sd1"), "'1', 2"),
          DRAW("'1': {'class_type': 'CheckpointLoader', 'inputs': {'config_name': 'v1-inference.yaml', 'ckpt_name': 'tiny-sd1'}}", "'1', 2") },
    };
    static const char *const models[] = { "sd1", "sdxl", "kolors" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        link_model("diffusion_models", models[i], path_of("tiny-%s/unet", models[i]).s);
        link_model("text_encoders", models[i], path_of("tiny-%s/text_encoder", models[i]).s);
        link_model("vae", path_of("%s-vae", models[i]).s, path_of("tiny-%s/vae", models[i]).s);
    }
    link_model("text_encoders", "sdxl-2", "tiny-sdxl/text_encoder_2");
    link_model("vae", "own", "tiny-sd1/vae");
    link_model("vae", "kolors", "tiny-kolors/vae");
    link_model("diffusion_models", "k", "tiny-kolors/unet");
    link_model("text_encoders", "glm", "tiny-kolors/text_encoder");
    test_add_place(test_scratch("places"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flow_engine *own = engine();
        struct flow_seen a = run_flow(own, cases[i].whole, NULL), b = run_flow(own, cases[i].parts, NULL);
        struct image x = written(&a, "6", 0), y = written(&b, "6", 0);
        CHECK(image_bytes(&x) == image_bytes(&y) && !memcmp(x.pixels, y.pixels, image_bytes(&x)), "case %zu: two pictures", i);
        image_release(&x);
        image_release(&y);
        seen_release(&a);
        seen_release(&b);
        flow_engine_free(own);
    }
}

/* What a config says and what nodes say instead. */
TEST(a_model_is_sampled_as_its_config_or_a_node_says)
{
#define CONFIG(name) "'1': {'class_type': 'CheckpointLoader', 'inputs': {'config_name': '" name "', 'ckpt_name': 'tiny-sd1'}}"
#define PATCHED(class, inputs) WHOLE("tiny-sd1") ", '7': {'class_type': '" class "', 'inputs': {'model': ['1', 0], " inputs "}}"
    static const struct { const char *a, *b; bool same; } cases[] = {
        { DRAW(CONFIG("v1-inference.yaml"), "'1', 2"), DRAW(WHOLE("tiny-sd1"), "'1', 2"), true },
        { DRAW(CONFIG("v2-inference-v.yaml"), "'1', 2"), DRAW(WHOLE("tiny-sd1"), "'1', 2"), false },
        { DRAW(CONFIG("v2-inference-v.yaml"), "'1', 2"),
          DRAW_BY(PATCHED("ModelSamplingDiscrete", "'sampling': 'v_prediction', 'zsnr': false"), "'7', 0", "'1', 1", "'1', 2"), true },
        { DRAW(CONFIG("v2-inference-v.yaml"), "'1', 2"),
          DRAW_BY(PATCHED("ModelSamplingDiscrete", "'sampling': 'v_prediction', 'zsnr': true"), "'7', 0", "'1', 1", "'1', 2"), false },
        { DRAW(CONFIG("v2-inference-v.yaml"), "'1', 2"),
          DRAW_BY(PATCHED("ModelSamplingDiscrete", "'sampling': 'x0', 'zsnr': false"), "'7', 0", "'1', 1", "'1', 2"), false },
        { DRAW(CONFIG("v1-inference_clip_skip_2.yaml"), "'1', 2"),
          DRAW_BY(WHOLE("tiny-sd1") ", '7': {'class_type': 'CLIPSetLastLayer', 'inputs': {'clip': ['1', 1], 'stop_at_clip_layer': -2}}", "'1', 0",
                  "'7', 0", "'1', 2"), true },
        { DRAW(WHOLE("tiny-sd1"), "'1', 2"), DRAW_BY(PATCHED("RescaleCFG", "'multiplier': 0"), "'7', 0", "'1', 1", "'1', 2"), true },
    };
    struct flow_engine *own = engine();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flow_seen a = run_flow(own, cases[i].a, NULL), b = run_flow(own, cases[i].b, NULL);
        struct image x = written(&a, "6", 0), y = written(&b, "6", 0);
        bool same = image_bytes(&x) == image_bytes(&y) && !memcmp(x.pixels, y.pixels, image_bytes(&x));
        CHECK(same == cases[i].same, "case %zu: %s", i, same ? "the same picture" : "two pictures");
        image_release(&x);
        image_release(&y);
        seen_release(&a);
        seen_release(&b);
    }
    flow_engine_free(own);
}

TEST(a_lora_is_taught_kept_and_used)
{
#define SAMPLE(id, model)                                                                                                             \
    "'" id "': {'class_type': 'KSampler', 'inputs': {'model': [" model "], 'seed': 1, 'steps': 2, 'cfg': 1, 'sampler_name': 'euler',"    \
    "'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0], 'denoise': 1}},"                       \
    "'" id "s': {'class_type': 'SaveLatent', 'inputs': {'samples': ['" id "', 0], 'filename_prefix': 'taught'}}"
    struct flow_engine *own = engine();
    struct flow_seen s = run_flow(
        own,
        "{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-sd1'}},"
        "'2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 1}},"
        "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cat', 'clip': ['1', 1]}},"
        "'4': {'class_type': 'EmptyImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 2, 'color': 16711680}},"
        "'5': {'class_type': 'VAEEncode', 'inputs': {'pixels': ['4', 0], 'vae': ['1', 2]}},"
        "'6': {'class_type': 'TrainLoraNode', 'inputs': {'model': ['1', 0], 'latents': ['5', 0], 'positive': ['3', 0], 'batch_size': 2,"
        "'grad_accumulation_steps': 1, 'steps': 5, 'learning_rate': 0.01, 'rank': 4, 'optimizer': 'AdamW', 'loss_function': 'MSE', 'seed': 3,"
        "'training_dtype': 'fp32', 'lora_dtype': 'fp32', 'algorithm': 'LoRA', 'gradient_checkpointing': false, 'existing_lora': '[None]'}},"
        "'7': {'class_type': 'SaveLoRANode', 'inputs': {'lora': ['6', 1], 'prefix': 'loras/own', 'steps': ['6', 3]}},"
        "'8': {'class_type': 'LossGraphNode', 'inputs': {'loss': ['6', 2], 'filename_prefix': 'loss'}},"
        "'9': {'class_type': 'LoraModelLoader', 'inputs': {'model': ['1', 0], 'lora': ['6', 1], 'strength_model': 1.0}},"
        SAMPLE("a", "'1', 0") "," SAMPLE("b", "'6', 0") "," SAMPLE("c", "'9', 0") "}", NULL);
    struct weights *files[3];
    const float *at[3];
    static const char *const ids[] = { "as", "bs", "cs" };
    for (int i = 0; i < 3; i++) {
        files[i] = written_latent(&s, ids[i]);
        at[i] = weights_find(files[i], "latent_tensor")->data;
    }
    CHECK(tensor_difference(at[1], at[0], 256).relative > 1e-3, "what was taught changes nothing");
    CHECK(!memcmp(at[1], at[2], 256 * sizeof(float)), "the model with the LoRA and the LoRA on the model are two");
    json_t *lora = json_array_get(json_object_get(json_object_get(s.result.outputs, "7"), "loras"), 0);
    CHECK(!strcmp(json_string_value(json_object_get(lora, "filename")), "own_5_steps_00001_.safetensors"), "%s",
          json_string_value(json_object_get(lora, "filename")));
    struct image plot = written(&s, "8", 0);
    CHECK(plot.width > 100, "the plot");
    image_release(&plot);
    for (int i = 0; i < 3; i++)
        weights_free(files[i]);
    seen_release(&s);
    flow_engine_free(own);
}

/* A picture of one colour in the input folder, and words beside it if there are any. */
static void put_file(const char *name, int width, int height, uint32_t colour, const char *words)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    char path[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    struct image image;
    REQUIRE(image_make(&image, width, height, 3, &e) && path_join(path, host.input, name, &e));
    snprintf(folder, sizeof folder, "%.*s", (int)(path_name(path) - path - 1), path);
    image_fill(&image, colour);
    REQUIRE(folder_make(folder, &e) && image_save_png(path, &image, NULL, 0, &e));
    image_release(&image);
    strcpy(strrchr(path, '.'), ".txt");
    if (words)
        REQUIRE(file_write_whole(path, words, strlen(words), &e));
}

TEST(folders_of_pictures_are_read_with_their_words)
{
    struct flow_engine *own = engine();
    put_file("set/a.png", 64, 64, 0xFF0000, "a red wall\n");
    put_file("set/b.png", 64, 32, 0x00FF00, NULL);
    put_file("set/2_more/c.png", 32, 32, 0x0000FF, "blue");
    static const char flow[] = "{'1': {'class_type': '%s', 'inputs': {'folder': 'set'%s}}, '9': {'class_type': 'PreviewImage', 'inputs': {'images': ['1', 0]}}}";
    static const struct { const char *class, *more; size_t count; int width, height; const char *error; } cases[] = {
        { "LoadImageSetFromFolderNode", "", 0, 0, 0, "choose how it shall be resized" },
        { "LoadImageSetFromFolderNode", ", 'resize_method': 'Stretch'", 2, 64, 64, NULL },
        { "LoadImageSetFromFolderNode", ", 'resize_method': 'Pad'", 2, 64, 64, NULL },
        { "LoadImageSetFromFolderNode", ", 'resize_method': 'Crop'", 2, 64, 64, NULL },
        { "LoadImageDataSetFromFolder", "", 2, 64, 32, NULL },
        { "LoadImageTextDataSetFromFolder", "", 4, 64, 32, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[500];
        snprintf(text, sizeof text, flow, cases[i].class, cases[i].more);
        struct flow_seen s = run_flow_with(own, text, NULL, (struct flow_run_options){ 0 });
        if (cases[i].error) {
            CHECK(s.result.end == FLOW_ERROR && strstr(json_string_value(json_object_get(s.result.last_data, "exception_message")), cases[i].error), "case %zu", i);
            seen_release(&s);
            continue;
        }
        CHECK(s.result.end == FLOW_SUCCESS && written_count(&s, "9") == cases[i].count, "case %zu: %zu pictures", i, written_count(&s, "9"));
        struct image image = written(&s, "9", cases[i].count - 1);
        CHECK(image.width == cases[i].width && image.height == cases[i].height, "case %zu: %dx%d", i, image.width, image.height);
        const uint8_t *corner = image.pixels, *middle = image.pixels + 3 * (image.height / 2 * image.width + image.width / 2);
        bool pads = strstr(cases[i].more, "Pad") != NULL;
        CHECK(middle[1] == 255 && (corner[1] == 0) == pads, "case %zu: %d in the middle, %d in the corner", i, middle[1], corner[1]);
        image_release(&image);
        seen_release(&s);
    }
    struct flow_seen s = run_flow(own, "{'0': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-sd1'}}, '1': {'class_type': "
                                       "'LoadImageTextSetFromFolderNode', 'inputs': {'folder': 'set', 'clip': ['0', 1], 'resize_method': 'Crop', 'width': 32, 'height': 32}},"
                                       "'9': {'class_type': 'PreviewImage', 'inputs': {'images': ['1', 0]}}}", NULL);
    CHECK(written_count(&s, "9") == 4, "%zu pictures, of which one folder's count twice", written_count(&s, "9"));
    seen_release(&s);
    static const char *const escapes[] = { "..", "set/../..", ".hidden" };
    for (size_t i = 0; i < 3; i++) {
        char text[500];
        snprintf(text, sizeof text, "{'1': {'class_type': 'LoadImageDataSetFromFolder', 'inputs': {'folder': '%s'}}, '9': {'class_type': 'PreviewImage', 'inputs': "
                                    "{'images': ['1', 0]}}}", escapes[i]);
        char *said_of = check_text(text, NULL);
        CHECK(strstr(said_of, "value_not_in_list"), "%s: %s", escapes[i], said_of);
        mem_free(said_of);
    }
    flow_engine_free(own);
}

TEST(a_data_set_is_looked_through_and_pictures_are_compared)
{
    struct flow_engine *own = engine();
    put_file("cleaned/a.png", 300, 300, 0xFF0000, NULL);
    put_file("cleaned/b.png", 20, 300, 0xFF0000, NULL);
    static const char list[] = "{\"file_name\": \"a.png\", \"text\": \"red\"}\n{\"file_name\": \"b.png\", \"text\": \"red\"}\n";
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, test_host().input, "cleaned/metadata.jsonl", &e) && file_write_whole(path, list, strlen(list), &e));
    for (int apply = 0; apply < 3; apply++) {
        char text[500];
        snprintf(text, sizeof text, "{'1': {'class_type': 'CleanDataset', 'inputs': {'folder': 'cleaned', 'min_side': 256, 'elongated': 4.0, 'blur': 1.0, "
                                    "'near_duplicates': 6, 'captions': false, 'apply': %s}}}", apply ? "true" : "false");
        struct flow_seen s = run_flow(own, text, NULL);
        const char *words = json_string_value(json_array_get(json_object_get(json_object_get(s.result.outputs, "1"), "text"), 0));
        const char *wanted = apply == 0 ? "2 of 2 pictures would be left out" : apply == 1 ? "2 of 2 pictures are now left out" : "0 of 0";
        CHECK(!strncmp(words, wanted, strlen(wanted)) && (apply == 2 || strstr(words, "b.png: too small, ")), "%d: %s", apply, words);
        seen_release(&s);
    }
    struct flow_seen s = run_flow(own, "{'1': {'class_type': 'EmptyImage', 'inputs': {'width': 32, 'height': 32, 'batch_size': 1, 'color': 0}}, '2': {'class_type': "
                                       "'EmptyImage', 'inputs': {'width': 32, 'height': 32, 'batch_size': 2, 'color': 1644825}}, '3': {'class_type': 'CompareImages', "
                                       "'inputs': {'image1': ['1', 0], 'image2': ['2', 0], 'metrics': 'psnr'}}}", NULL);
    const char *words = json_string_value(json_array_get(json_object_get(json_object_get(s.result.outputs, "3"), "text"), 0));
    CHECK(fabs(strtod(words + 5, NULL) - 20 * log10(255.0 / 25)) < 1e-3, "25 levels apart: %s", words);
    seen_release(&s);
    flow_engine_free(own);
}
