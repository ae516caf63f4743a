/* Pictures of other programs come into the gallery with what their files tell. */
#include "jobs/keep.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "image/image.h"
#include "jobs/fake_work.h"
#include "store/picture_files.h"
#include "test.h"

/* A picture of one colour with a spot, with these texts. */
static uint8_t *make_png(uint32_t colour, const struct image_text *texts, size_t count, size_t *bytes)
{
    struct err e = { 0 };
    struct image image = { 0 };
    uint8_t *data;
    REQUIRE(image_make(&image, 24, 16, 3, &e));
    image_fill(&image, colour);
    image.pixels[(size_t)(colour % 300) * 3] ^= 0xff;
    REQUIRE(image_encode_png(&image, texts, count, &data, bytes, &e));
    image_release(&image);
    return data;
}

static const char *or_none(const char *s)
{
    return s ? s : "-";
}

/* The facts as a line. */
static const char *line_of(const struct gallery_facts *f)
{
    static char out[4000];
    char seed[24] = "-";
    if (f->has_seed)
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)f->seed);
    int used = snprintf(out, sizeof out, "%s|%s|%s|%s|%s|%s|%s|steps %d|cfg %g|seed %s|skip %d|strength %g", or_none(f->prompt), or_none(f->negative),
                        or_none(f->model), or_none(f->model_hash), or_none(f->vae), or_none(f->sampler), or_none(f->schedule), (int)f->steps,
                        f->cfg, seed, (int)f->clip_skip, f->strength);
    for (size_t i = 0; i < f->lora_count; i++)
        used += snprintf(out + used, sizeof out - (size_t)used, "|%s:%s:%g:%g", f->loras[i].name, or_none(f->loras[i].hash), f->loras[i].scale,
                         f->loras[i].text_scale);
    return out;
}

TEST(what_a_pictures_file_tells_is_read)
{
    static const struct {
        const char *parameters, *prompt, *want;
    } cases[] = {
        /* AUTOMATIC1111's web UI, old and new */
        { "a cat, (best:1.2) <lora:ink:0.8>\nNegative prompt: blurry, low quality\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: "
          "18446744073709551615, Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2, Lora hashes: \"ink: abcdef012345, "
          "other: 0123456789ab\", Version: v1.6.0", NULL,
          "a cat, (best:1.2) <lora:ink:0.8>|blurry, low quality|v1-5-pruned-emaonly|6ce0161689|-|dpmpp_2m|karras|steps 20|cfg 7|seed "
          "18446744073709551615|skip 1|strength 0|ink:abcdef012345:0.8:0.8|other:0123456789ab:1:1" },
        { "一只猫\n第二行\nSteps: 30, Sampler: Euler a, Schedule type: Automatic, CFG scale: 5.5, Seed: 1, Denoising strength: 0.4, VAE: vae-ft", NULL,
          "一只猫\n第二行|-|-|-|vae-ft|euler_ancestral|-|steps 30|cfg 5.5|seed 1|skip 0|strength 0.4" },
        /* ours, which has a graph beside it */
        { "a red apple\nSteps: 2, Sampler: model, CFG scale: 3, Seed: 0, Size: 128x128, Model: limn-emoji, Version: limn 0.1.0",
          "{\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"scheduler\":\"normal\",\"seed\":9}}}",
          "a red apple|-|limn-emoji|-|-|model|-|steps 2|cfg 3|seed 0|skip 0|strength 0" },
        /* what only looks so is words */
        { "Steps: to heaven", NULL, "-|-|-|-|-|-|-|steps 0|cfg 0|seed -|skip 0|strength 0" },
        { "", NULL, "-|-|-|-|-|-|-|steps 0|cfg 0|seed -|skip 0|strength 0" },
        /* ComfyUI */
        { NULL, "{\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"sub\\\\sd.safetensors\"}},"
          "\"20\":{\"class_type\":\"LoraLoader\",\"inputs\":{\"lora_name\":\"style/ink.safetensors\",\"strength_model\":0.5,\"strength_clip\":1,\"model\":[\"4\",0],"
          "\"clip\":[\"4\",1]}},\"6\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a cat\",\"clip\":[\"20\",1]}},"
          "\"7\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"dog\",\"clip\":[\"20\",1]}},"
          "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":512,\"height\":512,\"batch_size\":1}},"
          "\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":18446744073709551615,\"steps\":20,\"cfg\":8.0,\"sampler_name\":\"euler\",\"scheduler\":\"normal\","
          "\"denoise\":1.0,\"model\":[\"20\",0],\"positive\":[\"6\",0],\"negative\":[\"7\",0],\"latent_image\":[\"5\",0]}},"
          "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"3\",0],\"vae\":[\"4\",2]}},"
          "\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"images\":[\"8\",0],\"filename_prefix\":\"x\"}}}",
          "a cat|dog|sd|-|-|euler|normal|steps 20|cfg 8|seed 18446744073709551615|skip 0|strength 0|ink:-:0.5:1" },
        /* its custom sampling, words through a joiner, a primitive, a picture to begin with */
        { NULL, "{\"1\":{\"class_type\":\"UNETLoader\",\"inputs\":{\"unet_name\":\"k.gguf\"}},\"p\":{\"class_type\":\"PrimitiveString\",\"inputs\":{\"value\":\"a 猫\"}},"
          "\"c\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":[\"p\",0]}},\"j\":{\"class_type\":\"ConditioningConcat\",\"inputs\":{\"conditioning_to\":"
          "[\"c\",0]}},\"g\":{\"class_type\":\"CFGGuider\",\"inputs\":{\"model\":[\"1\",0],\"positive\":[\"j\",0],\"cfg\":4.5}},\"n\":{\"class_type\":\"RandomNoise\","
          "\"inputs\":{\"noise_seed\":7}},\"b\":{\"class_type\":\"BasicScheduler\",\"inputs\":{\"scheduler\":\"beta\",\"steps\":12,\"denoise\":0.6}},\"k\":{\"class_type\":"
          "\"KSamplerSelect\",\"inputs\":{\"sampler_name\":\"dpmpp_2m\"}},\"l\":{\"class_type\":\"LoadImage\",\"inputs\":{\"image\":\"a.png\"}},\"v\":{\"class_type\":"
          "\"VAEEncode\",\"inputs\":{\"pixels\":[\"l\",0]}},\"s\":{\"class_type\":\"SamplerCustomAdvanced\",\"inputs\":{\"noise\":[\"n\",0],\"guider\":[\"g\",0],"
          "\"sampler\":[\"k\",0],\"sigmas\":[\"b\",0],\"latent_image\":[\"v\",0]}},\"d\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"s\",0]}},\"o\":{"
          "\"class_type\":\"PreviewImage\",\"inputs\":{\"images\":[\"d\",0]}}}",
          "a 猫|-|k|-|-|dpmpp_2m|beta|steps 12|cfg 4.5|seed 7|skip 0|strength 0.6" },
        /* a ring of links, and no graph at all */
        { NULL, "{\"1\":{\"class_type\":\"SaveImage\",\"inputs\":{\"images\":[\"2\",0]}},\"2\":{\"class_type\":\"X\",\"inputs\":{\"image\":[\"1\",0]}}}",
          "-|-|-|-|-|-|-|steps 0|cfg 0|seed -|skip 0|strength 0" },
        { NULL, "[1, 2", "-|-|-|-|-|-|-|steps 0|cfg 0|seed -|skip 0|strength 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct image_text texts[2];
        size_t count = 0, bytes;
        struct kept k;
        if (cases[i].parameters)
            texts[count++] = (struct image_text){ "parameters", cases[i].parameters };
        if (cases[i].prompt)
            texts[count++] = (struct image_text){ "prompt", cases[i].prompt };
        uint8_t *data = make_png(0x405060, texts, count, &bytes);
        REQUIRE(kept_read(&k, data, bytes, "x.png", &e));
        CHECK(!strcmp(line_of(&k.facts), cases[i].want), "case %zu: came\n%s\nwanted\n%s", i, line_of(&k.facts), cases[i].want);
        CHECK(k.facts.width == 24 && k.facts.height == 16 && !strcmp(k.type, "png") && k.facts.has_look, "case %zu", i);
        kept_release(&k);
        mem_free(data);
    }
    struct kept k;
    struct err e = { 0 };
    CHECK_FAILS(kept_read(&k, "no picture", 10, "x.png", &e), ERR_FORMAT, "x.png");
}

static void write_file(const char *folder, const char *name, const void *data, size_t bytes)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES], below[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, name, &e));
    strcpy(below, path);
    *strrchr(below, '/') = 0;
    REQUIRE(folder_make(below, &e));
    REQUIRE(file_write_whole(path, data, bytes, &e));
}

TEST(a_folder_goes_into_the_gallery_once_and_comes_out_as_a_data_set)
{
    char root[300], from[320], folder[320], where[320], out[320], path[PATH_MAX_BYTES];
    struct err e = { 0 };
    struct import_count count = { 0 };
    size_t bytes;
    fake_folder(root, "import");
    snprintf(from, sizeof from, "%s/from", root);
    snprintf(folder, sizeof folder, "%s/gallery", root);
    snprintf(where, sizeof where, "%s/limn.db", root);
    snprintf(out, sizeof out, "%s/out", root);
    uint8_t *one = make_png(1, &(struct image_text){ "parameters", "one\nSteps: 1, Seed: 2, Size: 3x4" }, 1, &bytes);
    write_file(from, "one.png", one, bytes);
    write_file(from, "deep/er/the same.PNG", one, bytes);
    mem_free(one);
    uint8_t *two = make_png(2, &(struct image_text){ "parameters", "二\nSteps: 1, Seed: 2, Size: 3x4" }, 1, &bytes);
    write_file(from, "deep/two.png", two, bytes);
    mem_free(two);
    write_file(from, "broken.png", "no picture", 10);
    write_file(from, "notes.txt", "words", 5);
    assert_int_equal(symlink(".", test_scratch("x")) + symlink("..", strcat(strcpy(path, from), "/deep/ring")), 0);
    struct store *s;
    REQUIRE(s = store_open(where, &e));
    REQUIRE(keep_folder(s, folder, from, "", NULL, &count, &e));
    CHECK(count.added == 2 && count.known == 1 && count.refused == 1, "%d added, %d known, %d refused", (int)count.added, (int)count.known,
          (int)count.refused);
    REQUIRE(keep_folder(s, folder, from, "", NULL, &count, &e));
    CHECK(count.added == 2 && count.known == 4, "again: %d added", (int)count.added);
    json_t *page, *first;
    REQUIRE(gallery_search(s, &(struct gallery_query){ .words = "二" }, &page, &e));
    first = json_array_get(page, 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "deep/two.png");
    json_decref(page);
    CHECK_FAILS(keep_folder(s, folder, "/nothing/here", "", NULL, &count, &e), ERR_IO, "/nothing/here");

    int64_t exported;
    REQUIRE(keep_export(s, folder, &(struct gallery_query){ .sort = GALLERY_OLDEST }, NULL, 0, out, NULL, &exported, &e));
    assert_int_equal(exported, 2);
    char *list;
    REQUIRE(path_join(path, out, "metadata.jsonl", &e));
    REQUIRE(file_read(path, 1 << 20, &list, &bytes, &e));
    char *newline = strchr(list, '\n');
    json_t *line = json_loadb(list, (size_t)(newline - list), 0, NULL);
    const char *name = json_string_value(json_object_get(line, "file_name"));
    CHECK(name && path_join(path, out, name, &e) && path_exists(path), "%s", list);
    CHECK(strstr(list, "\"text\":\"二\"") && strstr(list, "\"text\":\"one\"") && strstr(list, "\"steps\":1"), "%s", list);
    json_decref(line);
    mem_free(list);
    CHECK_FAILS(keep_export(s, folder, &(struct gallery_query){ 0 }, NULL, 0, out, NULL, &exported, &e), ERR_IO, "without a list");
    store_close(s);
    fake_folder_remove(root);
}
