/* limn generate and limn tokenize from argv to files and exit status. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "image/image.h"
#include "test.h"
#include "weights/weights.h"

static const char *model(const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "models/%s", name);
    return test_data(path);
}

TEST(a_picture_and_its_record_are_written_and_facts_told)
{
    struct err e = { 0 };
    struct image image;
    const char *png = test_scratch("apple.png"), *latents = test_scratch("final.safetensors");
    int status = limn("generate", "--model", model("tiny-sd1"), "-o", png, "--steps", "3", "--seed=7", "--negative", "green",
                      "--save_latents", latents, "--width", "80", "--json", "--plan", "--precision", "f32", "红苹果", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    REQUIRE(image_load(&image, png, IMAGE_FLATTEN, 0, &e));
    CHECK(image.width == 80 && image.height == 64, "%dx%d", image.width, image.height);
    image_release(&image);
    char *parameters = image_png_text(png, "parameters", &e), *prompt = image_png_text(png, "prompt", &e);
    CHECK(parameters && strstr(parameters, "红苹果\nNegative prompt: green\nSteps: 3, Sampler: model, ") &&
              strstr(parameters, "Seed: 7, Size: 80x64, Model: tiny-sd1"), "%s", parameters ? parameters : e.text);
    json_t *graph = prompt ? json_loads(prompt, 0, NULL) : NULL;
    CHECK(graph && json_object_get(graph, "3"), "%s", prompt ? prompt : e.text);
    json_decref(graph);
    mem_free(parameters);
    mem_free(prompt);
    json_t *facts = json_loads(said, 0, NULL);
    CHECK(facts && strchr(said, '\n') == said + strlen(said) - 1, "not one line of JSON: %s", said);
    CHECK(json_integer_value(json_object_get(facts, "steps")) == 3 && json_object_get(facts, "seconds"), "%s", said);
    json_decref(facts);
    CHECK(strstr(complained, "plan: peak") != NULL, "%s", complained);
    struct weights *w = weights_open(latents, &e);
    REQUIRE(w != NULL);
    const struct weight *t = weights_need(w, "latents", &e);
    CHECK(t && shape_same(t->shape, SHAPE(1, 4, 8, 10)), "%s", e.text);
    weights_free(w);
}

TEST(what_sdxl_is_told_is_in_the_picture_and_its_record)
{
    struct err e = { 0 };
    const char *png = test_scratch("told.png"), *latents = test_scratch("told.safetensors");
    static const char *const wanted[] = { "\"crop_h\":33", "\"crop_w\":5", "\"width\":200", "\"height\":120", "\"target_width\":72",
                                          "\"target_height\":96", "CLIPTextEncodeSDXL\"" };
    int status = limn("generate", "-m", model("tiny-sdxl"), "-q", "-o", png, "--steps", "6", "--seed", "1234", "--cfg", "5",
                      "--negative", "green stripes", "--batch", "2", "--original-size", "200x120", "--crop", "5,33",
                      "--target-size", "72x96", "--save-latents", latents, "--precision", "f32",
                      "a red circle on a blue ground", NULL);
    CHECK(status == 0, "%s", complained);
    struct weights *expected = weights_open(test_data("expected/tiny-sdxl.safetensors"), &e), *came = weights_open(latents, &e);
    REQUIRE(expected && came);
    const struct weight *a = weights_need(came, "latents", &e), *b = weights_need(expected, "sizes.final", &e);
    REQUIRE(a && b);
    struct difference d = tensor_difference(a->data, b->data, shape_count(b->shape));
    CHECK(shape_same(a->shape, b->shape) && d.max < 2e-4, "%g", d.max);
    weights_free(expected);
    weights_free(came);
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%.*s-0001.png", (int)strlen(png) - 4, png);
    char *parameters = image_png_text(path, "parameters", &e), *graph = image_png_text(path, "prompt", &e);
    REQUIRE(parameters && graph);
    CHECK(strstr(parameters, "Original size: 200x120, Crop: 5,33, Target size: 72x96, "), "%s", parameters);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        CHECK(strstr(graph, wanted[i]), "no %s in %s", wanted[i], graph);
    mem_free(parameters);
    mem_free(graph);
    static const struct { const char *option, *value, *part; } bad[] = {
        { "--original-size", "200", "want two numbers up to" }, { "--crop", "5x3", "as in 640,480" },
        { "--target-size", "12x-3", "--target-size 12x-3" }, { "--crop", "1,99999999999999999999", "--crop" },
        { "--original-size", " 1x1", "--original-size  1x1" }, { "--crop", "1,2,3", "--crop 1,2,3" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        status = limn("generate", "-m", model("tiny-sdxl"), "-q", bad[i].option, bad[i].value, "x", NULL);
        CHECK(status == 2 && strstr(complained, bad[i].part), "case %zu, status %d: %s", i, status, complained);
    }
    status = limn("generate", "-m", model("tiny-sd1"), "-q", "--crop", "1,2", "x", NULL);
    CHECK(status == 2 && strstr(complained, "are for SDXL"), "status %d: %s", status, complained);
}

TEST(start_noise_from_a_file_gives_the_picture_of_its_seed)
{
    struct err e = { 0 };
    const char *expected = test_data("expected/tiny-sd2.safetensors"), *noise = test_scratch("noise.safetensors");
    struct weights *w = weights_open(expected, &e);
    REQUIRE(w != NULL);
    const struct weight *start = weights_need(w, "square.start", &e), *final = weights_need(w, "square.final", &e);
    REQUIRE(start && final);
    struct weights_entry entry = { "latents", start->type, start->shape };
    REQUIRE(weights_save(noise, &entry, (const void *const[]){ start->data }, 1, NULL, 0, &e));
    const char *latents = test_scratch("final.safetensors");
    int status = limn("generate", "-m", model("tiny-sd2"), "-q", "-o", test_scratch("x.png"), "--latents", noise,
                      "--save-latents", latents, "--negative", "green stripes", "--precision", "f32",
                      "a red circle on a blue ground", NULL);
    CHECK(status == 0, "%s", complained);
    struct weights *came = weights_open(latents, &e);
    REQUIRE(came != NULL);
    const struct weight *t = weights_need(came, "latents", &e);
    REQUIRE(t != NULL);
    struct difference d = tensor_difference(t->data, final->data, shape_count(final->shape));
    CHECK(d.max < 2e-4, "%g", d.max);
    weights_free(came);
    weights_free(w);
}

TEST(many_pictures_get_numbers_and_seeds)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    const char *lines = test_scratch("prompts.txt"), *folder = test_scratch("many/");
    REQUIRE(file_write_whole(lines, "a cat\n\na dog\r\n", 14, &e));
    int status = limn("generate", "-m", model("tiny-emoji"), "--prompts", lines, "-o", folder, "--steps", "1", "--count", "2",
                      "--seed", "5", "--batch", "2", "--json", "-q", NULL);
    CHECK(status == 0, "%s", complained);
    for (int i = 1; i <= 8; i++) {
        snprintf(path, sizeof path, "%s%04d.png", folder, i);
        CHECK(path_exists(path), "%s", path);
    }
    json_t *facts = json_loads(said, 0, NULL), *images = json_object_get(facts, "images"), *last = json_array_get(images, 7);
    CHECK(json_array_size(images) == 8 && json_integer_value(json_object_get(last, "seed")) == 6 &&
              !strcmp(json_string_value(json_object_get(last, "prompt")), "a dog"), "%s", said);
    json_decref(facts);
}

TEST(words_name_weights_embeddings_and_loras)
{
    struct err e = { 0 };
    char words[PATH_MAX_BYTES + 100];
    const char *png = test_scratch("words.png");
    snprintf(words, sizeof words, "a (red:1.3) embedding:waves cat <lora:%s:0.5:0.25>", test_data("lora/kohya.safetensors"));
    int status = limn("generate", "-m", model("tiny-sd1"), "-o", png, "--sampler", "euler", "--steps", "1", "--embeddings",
                      test_data("prompts"), "--json", "--clip-skip", "1", words, NULL);
    CHECK(status == 0, "%s", complained);
    CHECK(!strstr(complained, "left out"), "%s", complained);
    json_t *facts = json_loads(said, 0, NULL), *lora = json_array_get(json_object_get(facts, "loras"), 0);
    CHECK(json_number_value(json_object_get(lora, "unet")) == 0.5 && json_number_value(json_object_get(lora, "text")) == 0.25, "%s",
          said);
    json_decref(facts);
    char *parameters = image_png_text(png, "parameters", &e), *prompt = image_png_text(png, "prompt", &e);
    CHECK(parameters && !strncmp(parameters, words, strlen(words)) && strstr(parameters, "Clip skip: 2, "), "%s", parameters);
    json_t *graph = prompt ? json_loads(prompt, 0, NULL) : NULL;
    json_t *clip = json_object_get(json_object_get(json_object_get(graph, "7"), "inputs"), "clip");
    CHECK(clip && !strcmp(json_string_value(json_array_get(clip, 0)), "10"), "the negative words' graph: %s", prompt);
    const char *bare = json_string_value(json_object_get(json_object_get(json_object_get(graph, "6"), "inputs"), "text"));
    CHECK(bare && !strcmp(bare, "a (red:1.3) embedding:waves cat "), "%s", prompt);
    json_decref(graph);
    mem_free(parameters);
    mem_free(prompt);
    status = limn("generate", "-m", model("tiny-sd1"), "-o", png, "--steps", "1", "--prompt-syntax", "plain",
                  "a (red:1.3) cat", NULL);
    CHECK(status == 0 && strstr(complained, "is read as plain words; --prompt-syntax comfy"), "%s", complained);
    parameters = image_png_text(png, "parameters", &e);
    CHECK(parameters && strstr(parameters, "Prompt syntax: plain, "), "%s", parameters);
    mem_free(parameters);
    status = limn("generate", "-m", model("tiny-sd1"), "-o", png, "--prompt-syntax", "comfy", "a <lora:nowhere:1>", NULL);
    CHECK(status == 1 && strstr(complained, "no LoRA called nowhere in ") && strstr(complained, "in the prompt"), "%s", complained);
    status = limn("generate", "-m", model("tiny-sd1"), "-o", png, "--embeddings", "/proc/none", "a", NULL);
    CHECK(status == 1 && strstr(complained, "--embeddings /proc/none: there is no such folder"), "%s", complained);
}

/* ComfyUI counts layers from the end, and XL's denoiser is made for the states before the last. */
TEST(the_graph_of_a_picture_names_the_layer_that_clip_skip_leaves)
{
    static const struct { const char *model, *skip; long long layer; } cases[] = { { "tiny-sd1", "1", -2 }, { "tiny-sdxl", "1", -3 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        const char *png = test_scratch("skip.png");
        int status = limn("generate", "-m", model(cases[i].model), "-q", "-o", png, "--sampler", "euler", "--steps", "1", "-W", "32",
                          "-H", "32", "--clip-skip", cases[i].skip, "a cat", NULL);
        CHECK(status == 0, "%s", complained);
        char *prompt = image_png_text(png, "prompt", &e);
        json_t *graph = prompt ? json_loads(prompt, 0, NULL) : NULL;
        json_t *inputs = json_object_get(json_object_get(graph, "10"), "inputs");
        CHECK(json_integer_value(json_object_get(inputs, "stop_at_clip_layer")) == cases[i].layer, "%s: %s", cases[i].model, prompt);
        json_decref(graph);
        mem_free(prompt);
    }
}

static char *bytes_of(const char *path, size_t *size)
{
    struct err e = { 0 };
    char *bytes;
    REQUIRE(file_read(path, 1 << 24, &bytes, size, &e));
    return bytes;
}

/* The file too, for it says how to draw the picture alone. With a subseed --count goes through subseeds. */
TEST(a_picture_of_count_is_the_picture_of_its_seed_drawn_alone_bit_for_bit)
{
    static const char *const ways[][4] = { { "--sampler", "model", "--eta", "1" },
                                           { "--sampler", "euler_ancestral", "--rng", "philox" },
                                           { "--sampler", "dpmpp_2m_sde_gpu", "--cfg-rescale", "0.5" },
                                           { "--sampler", "euler_cfg_pp", "--cfg", "1" },
                                           { "--sampler", "model", "--subseed-strength", "0.3" } };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const char *const *w = ways[i], *folder = test_scratch("counted/"), *alone = test_scratch("alone.png");
        char path[PATH_MAX_BYTES];
        bool varies = !strcmp(w[2], "--subseed-strength");
        int status = limn("generate", "-m", model("tiny-emoji"), "-o", folder, "--steps", "2", "--count", "3", "--seed", "5",
                          "--subseed", "8", "-q", w[0], w[1], w[2], w[3], "a cat", NULL);
        CHECK(status == 0, "%s", complained);
        status = limn("generate", "-m", model("tiny-emoji"), "-o", alone, "--steps", "2", "--seed", varies ? "5" : "7",
                      "--subseed", varies ? "10" : "8", "-q", w[0], w[1], w[2], w[3], "a cat", NULL);
        CHECK(status == 0, "%s", complained);
        snprintf(path, sizeof path, "%s0003.png", folder);
        size_t sizes[2];
        char *counted = bytes_of(path, &sizes[0]), *single = bytes_of(alone, &sizes[1]);
        CHECK(sizes[0] == sizes[1] && !memcmp(counted, single, sizes[0]), "way %zu: other bytes", i);
        mem_free(counted);
        snprintf(path, sizeof path, "%s0001.png", folder);
        counted = bytes_of(path, &sizes[0]);
        CHECK(sizes[0] != sizes[1] || memcmp(counted, single, sizes[0]), "way %zu: all pictures are one", i);
        mem_free(counted);
        mem_free(single);
    }
}

TEST(wrong_usage_exits_with_2_and_failure_with_1)
{
    static const struct { int status; const char *part; const char *words[8]; } cases[] = {
        { 2, "--steps 0: the value must be", { "--steps", "0", "x" } },
        { 2, "--cfg -1: the value must be", { "--cfg=-1", "x" } },
        { 2, "width 100: must be a multiple of 8", { "--width", "100", "x" } },
        { 2, "needs words in quotes", { NULL } },
        { 2, "not both", { "--prompts", "/dev/null", "x" } },
        { 2, "--sampler eular", { "--sampler", "eular", "x" } },
        { 2, "--rng gpu", { "--rng", "gpu", "x" } },
        { 2, "--cfg-rescale 2: the value must be", { "--cfg-rescale", "2", "x" } },
        { 2, "takes its schedule from the model", { "--schedule", "karras", "x" } },
        { 2, "pictures are written as PNG", { "-o", "/tmp/x.jpg", "x" } },
        { 2, "--count 2 would draw one picture", { "--latents", "/dev/null", "--count", "2", "x" } },
        { 2, "--strength says how a picture is drawn anew", { "--strength", "0.5", "x" } },
        { 2, "--outpaint 1,2: want four whole numbers", { "-i", "/dev/null", "--outpaint", "1,2", "x" } },
        { 2, "--hires 2x: want a number", { "--hires", "2x", "x" } },
        { 2, "in the second pass", { "--hires", "33x32", "x" } },
        { 1, "/proc/none/i.png", { "-i", "/proc/none/i.png", "x" } },
        { 1, "cannot write /proc/none/x.png", { "-o", "/proc/none/x.png", "x" } },
        { 1, "cannot write /proc/x.png", { "-o", "/proc/x.png", "x" } },
        { 1, "cannot write /proc/none/l.safetensors", { "--save-latents", "/proc/none/l.safetensors", "x" } },
        { 1, "/dev/null is not a file", { "--prompts", "/dev/null" } },
        { 1, "/proc/none/p", { "--prompts", "/proc/none/p" } },
        { 1, "/proc/none/l", { "--latents", "/proc/none/l", "x" } },
        { 1, "no such folder", { "--model", "/proc/none/m", "x" } },
        { 1, "no model called nix in", { "--model", "nix", "x" } },
        { 1, "--refiner", { "--refiner", "nix", "x" } },
    };
    assert_int_equal(chdir(test_scratch("")), 0); /* pictures without --output would lie here */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words;
        int status = limn("generate", "--model", model("tiny-sd1"), "--precision", "f32", w[0], w[1], w[2], w[3], w[4], w[5],
                          NULL);
        CHECK(status == cases[i].status && strstr(complained, cases[i].part), "case %zu: status %d: %s", i, status, complained);
        CHECK(!*said, "case %zu said %s", i, said);
    }
    CHECK(!path_exists("limn-0.png"), "a failure left a picture");
}

static void read_png(struct image *out, const char *path)
{
    struct err e = { 0 };
    REQUIRE(image_load(out, path, IMAGE_FLATTEN, 0, &e));
}

/* The right half is drawn anew; on the left each byte comes back, unless that is not wanted. */
TEST(what_a_mask_keeps_comes_back_and_the_record_says_how_much_was_drawn)
{
    enum { SIDE = 32 };
    struct err e = { 0 };
    struct image picture, mask, drawn;
    REQUIRE(image_make(&picture, SIDE, SIDE, 3, &e));
    REQUIRE(image_make(&mask, SIDE, SIDE, 3, &e));
    for (int i = 0; i < SIDE * SIDE; i++) {
        picture.pixels[3 * i] = (uint8_t)(i * 7);
        if (i % SIDE >= SIDE / 2)
            memset(mask.pixels + 3 * i, 255, 3);
    }
    char from[200], over[200], to[200];
    snprintf(from, sizeof from, "%s", test_scratch("from.png"));
    snprintf(over, sizeof over, "%s", test_scratch("over.png"));
    snprintf(to, sizeof to, "%s", test_scratch("to.png"));
    REQUIRE(image_save_png(from, &picture, NULL, 0, &e));
    REQUIRE(image_save_png(over, &mask, NULL, 0, &e));
    for (int paste = 0; paste < 2; paste++) {
        int status = limn("generate", "--model", model("tiny-sd1"), "--precision", "f32", "-q", "-i", from, "--mask", over, "--strength",
                          "0.5", "--steps", "4", "-o", to, paste ? "--paste" : "--no-paste", "a red circle", NULL);
        CHECK(status == 0, "status %d: %s", status, complained);
        read_png(&drawn, to);
        int kept = 0, changed = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            bool same = !memcmp(drawn.pixels + 3 * i, picture.pixels + 3 * i, 3);
            kept += i % SIDE < SIDE / 2 && same;
            changed += i % SIDE >= SIDE / 2 && !same;
        }
        CHECK((kept == SIDE * SIDE / 2) == paste && changed > SIDE * SIDE / 4, "paste %d: %d kept, %d changed", paste, kept, changed);
        image_release(&drawn);
    }
    char *record = image_png_text(to, "parameters", &e);
    REQUIRE(record != NULL);
    CHECK(strstr(record, "Denoising strength: 0.5"), "%s", record);
    mem_free(record);
    record = image_png_text(to, "prompt", &e);
    REQUIRE(record != NULL);
    CHECK(strstr(record, "\"denoise\":0.5") && strstr(record, "{\"image\":\"from.png\"}") && strstr(record, "SetLatentNoiseMask"), "%s",
          record);
    mem_free(record);
    image_release(&picture);
    image_release(&mask);
}

TEST(tokens_and_ids_come_with_start_and_end)
{
    int status = limn("tokenize", "--model", model("tiny-sd1"), "--json", "a red 苹果", NULL);
    CHECK(status == 0, "%s", complained);
    json_t *facts = json_loads(said, 0, NULL), *ids = json_object_get(facts, "ids");
    CHECK(json_array_size(ids) == 7 && json_array_size(json_object_get(facts, "tokens")) == 7 &&
              json_integer_value(json_array_get(ids, 0)) == 598 && json_integer_value(json_array_get(ids, 6)) == 599, "%s", said);
    CHECK(!strcmp(json_string_value(json_array_get(json_object_get(facts, "tokens"), 1)), "a</w>"), "%s", said);
    json_decref(facts);
    status = limn("tokenize", "--model", test_data("models/tiny-sd1/tokenizer"), "a", NULL);
    CHECK(status == 0 && strstr(said, "a</w>"), "%s", complained);
}

/* The facts' entry `key` of LoRA i. */
static json_t *lora_fact(const json_t *facts, size_t i, const char *key)
{
    return json_object_get(json_array_get(json_object_get(facts, "loras"), i), key);
}

TEST(loras_are_found_by_path_name_and_prompt_and_written_down)
{
    struct err e = { 0 };
    const char *png = test_scratch("lora.png"), *attention = test_data("lora/attention.safetensors");
    char word[PATH_MAX_BYTES + 20];
    setenv("LIMN_LORAS", test_data("lora"), 1);
    snprintf(word, sizeof word, "%s:0.5", attention);
    int status = limn("generate", "-m", model("tiny-sd1"), "-q", "-o", png, "--steps", "1", "--json", "--lora", word, "--lora",
                      "diffsynth:0.25:0", "--sampler", "euler", "a cat <lora:kohya:0.75:-1>", NULL);
    CHECK(status == 0, "%s", complained);
    CHECK(strstr(complained, "diffsynth.safetensors does not tell its alpha: 4 is taken (--lora-alpha)"), "%s", complained);
    json_t *facts = json_loads(said, 0, NULL);
    CHECK(json_array_size(json_object_get(facts, "loras")) == 3, "%s", said);
    static const struct { const char *name; double unet, text; } wanted[] = {
        { "attention", 0.5, 0.5 }, { "diffsynth", 0.25, 0 }, { "kohya", 0.75, -1 },
    };
    for (size_t i = 0; i < 3; i++)
        CHECK(!strcmp(json_string_value(lora_fact(facts, i, "name")), wanted[i].name) &&
                  json_number_value(lora_fact(facts, i, "unet")) == wanted[i].unet &&
                  json_number_value(lora_fact(facts, i, "text")) == wanted[i].text, "LoRA %zu: %s", i, said);
    json_decref(facts);
    char *parameters = image_png_text(png, "parameters", &e), *prompt = image_png_text(png, "prompt", &e);
    CHECK(parameters && strstr(parameters, "a cat <lora:kohya:0.75:-1> <lora:attention:0.5> <lora:diffsynth:0:0.25>"), "%s",
          parameters ? parameters : e.text);
    json_t *graph = prompt ? json_loads(prompt, 0, NULL) : NULL, *node = json_object_get(graph, "22");
    CHECK(!strcmp(json_string_value(json_object_get(json_object_get(node, "inputs"), "lora_name")), "kohya.safetensors") &&
              !strcmp(json_string_value(json_object_get(node, "class_type")), "LoraLoader"), "%s", prompt ? prompt : e.text);
    json_decref(graph);
    mem_free(parameters);
    mem_free(prompt);
    status = limn("generate", "-m", model("tiny-sd1"), "-o", png, "--steps", "1", "--sampler", "euler", "--negative", "a dog <lora:kohya:1>",
                  "a cat", NULL);
    CHECK(status == 0 && strstr(complained, "the negative prompt names the LoRA \"kohya\": it is left out"), "%d: %s", status, complained);
    status = limn("generate", "-m", model("tiny-sd2"), "-q", "-o", png, "--steps", "1", "--lora", "old:1", "a cat", NULL);
    CHECK(status == 1 && strstr(complained, "so [") && strstr(complained, "old.safetensors"), "%d: %s", status, complained);
    status = limn("generate", "-m", model("tiny-sd1"), "-q", "-o", png, "--lora", "nothing:0.5", "a cat", NULL);
    CHECK(status == 1 && strstr(complained, "no LoRA called nothing in "), "%d: %s", status, complained);
    status = limn("generate", "-m", model("tiny-sd1"), "-q", "-o", png, "--lora", "kohya:nan", "a cat", NULL);
    CHECK(status == 2 && strstr(complained, "a scale must be a number"), "%d: %s", status, complained);
    unsetenv("LIMN_LORAS");
}

static float *latents_of(const char *path, struct shape *shape)
{
    struct err e = { 0 };
    struct weights *w = weights_open(path, &e);
    const struct weight *t = w ? weights_need(w, "latents", &e) : NULL;
    REQUIRE(t != NULL);
    *shape = t->shape;
    float *copy = mem_zeroed((size_t)shape_count(t->shape), sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, t->data, weight_bytes(t));
    weights_free(w);
    return copy;
}

/* Every kind of LoRA, in both parts. A module that is left out costs 1e-2; the order of sums 2e-4 at most. */
TEST(a_model_with_loras_baked_in_draws_what_it_draws_with_them)
{
    static const char *const names[] = { "baked", "a.safetensors", "b.safetensors", "baked.png", "same" };
    char paths[5][200]; /* test_scratch's own do not last */
    for (int i = 0; i < 5; i++)
        snprintf(paths[i], sizeof paths[i], "%s", test_scratch(names[i]));
    const char *baked = paths[0], *first = paths[1], *second = paths[2], *png = paths[3], *unchanged = paths[4];
    struct shape a, b;
    setenv("LIMN_LORAS", test_data("lora"), 1);
    int status = limn("model", "bake", model("tiny-sd1"), "lycoris:0.6", "dora:0.5", "kohya:0.8:-0.5", "diffsynth", baked, "--type",
                      "f32", "-q", NULL);
    CHECK(status == 0, "%s", complained);
    CHECK(limn("generate", "-m", baked, "-q", "-o", png, "--steps", "4", "--precision", "f32", "--save-latents", first, "a cat", NULL)
              == 0, "%s", complained);
    CHECK(limn("generate", "-m", model("tiny-sd1"), "-q", "-o", png, "--steps", "4", "--precision", "f32", "--save-latents", second,
               "--lora", "lycoris:0.6", "--lora", "dora:0.5", "--lora", "kohya:0.8:-0.5", "--lora", "diffsynth", "a cat", NULL) == 0,
          "%s", complained);
    float *x = latents_of(first, &a), *y = latents_of(second, &b);
    struct difference off = tensor_difference(x, y, shape_count(a));
    CHECK(shape_same(a, b) && off.max < 5e-4, "latents differ by %g", off.max);
    status = limn("model", "bake", model("tiny-sd1"), "kohya:0", unchanged, "-q", NULL);
    CHECK(status == 0, "%s", complained);
    CHECK(limn("generate", "-m", unchanged, "-q", "-o", png, "--steps", "4", "--precision", "f32", "--save-latents", first,
               "a cat", NULL) == 0 &&
              limn("generate", "-m", model("tiny-sd1"), "-q", "-o", png, "--steps", "4", "--precision", "f32", "--save-latents",
                   second, "a cat", NULL) == 0, "%s", complained);
    mem_free(x);
    mem_free(y);
    x = latents_of(first, &a);
    y = latents_of(second, &b);
    CHECK(!memcmp(x, y, (size_t)shape_count(a) * sizeof *x), "scale 0 is not the base model");
    mem_free(x);
    mem_free(y);
    status = limn("model", "bake", model("tiny-sd1"), "kohya", baked, "-q", NULL);
    CHECK(status == 2 && strstr(complained, "is there already"), "%d: %s", status, complained);
    unsetenv("LIMN_LORAS");
}
