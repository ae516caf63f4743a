/* limn gallery and limn generate --gallery, from argv on. */
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "test.h"

static char database[PATH_MAX_BYTES];
#define GALLERY(...) limn("gallery", __VA_ARGS__, "--database", database, NULL)

static void draw(const char *words, const char *seed, const char *png)
{
    CHECK(limn("generate", "-q", "-m", test_data("models/tiny-sd1"), "--steps", "1", "--width", "32", "--height", "32", "--seed", seed, "-o", png,
               "--gallery", "--database", database, words, NULL) == 0, "%s", complained);
}

TEST(pictures_are_kept_found_changed_and_brought_back)
{
    char png[PATH_MAX_BYTES], out[PATH_MAX_BYTES];
    snprintf(database, sizeof database, "%s", test_scratch("gallery/limn.db"));
    snprintf(png, sizeof png, "%s", test_scratch("drawn.png"));
    snprintf(out, sizeof out, "%s", test_scratch("exported"));
    draw("a red circle", "3", png);
    draw("一个圆圈", "4", png);
    draw("一个圆圈", "4", png); /* the same picture again */
    CHECK(GALLERY("list", "--json") == 0, "%s", complained);
    json_t *j = json_loads(said, 0, NULL);
    CHECK(json_integer_value(json_object_get(j, "count")) == 2, "%s", said);
    const json_t *last = json_array_get(json_object_get(j, "pictures"), 0);
    assert_string_equal(json_string_value(json_object_get(last, "prompt")), "一个圆圈");
    assert_int_equal(json_integer_value(json_object_get(last, "seed")), 4);
    json_decref(j);
    CHECK(GALLERY("search", "圆") == 0 && strstr(said, "一个圆圈") && !strstr(said, "circle"), "%s%s", said, complained);
    CHECK(GALLERY("search", "ircl", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("list", "--where", "seed=4", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("list", "--where", "sed=4") == 2 && strstr(complained, "no such name"), "%s", complained);
    CHECK(GALLERY("show", "1", "-q") == 0 && strstr(said, "a red circle") && strstr(said, "tiny-sd1"), "%s", said);
    CHECK(GALLERY("show", "9") == 1 && strstr(complained, "no picture 9"), "%s", complained);
    CHECK(GALLERY("show", "1", "--path") == 0, "%s", complained);
    said[strcspn(said, "\n")] = 0;
    CHECK(path_exists(said), "%s", said);
    CHECK(GALLERY("tag", "1-2", "--add", "round", "--add", "圆形") == 0, "%s", complained);
    CHECK(GALLERY("tag", "1") == 2 && strstr(complained, "--add"), "%s", complained);
    CHECK(GALLERY("rate", "2", "--rating", "4") == 0, "%s", complained);
    CHECK(GALLERY("collect", "2", "--add", "best") == 0, "%s", complained);
    CHECK(GALLERY("names", "tag") == 0 && strstr(said, "2  round"), "%s", said);
    CHECK(GALLERY("search", "圆形", "--where", "rating>=4", "--where", "collection=best", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("delete", "1") == 0 && strstr(said, "limn gallery undo"), "%s", said);
    CHECK(GALLERY("list", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("list", "--deleted", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("undo") == 0 && GALLERY("undo") == 1 && strstr(complained, "nothing was deleted"), "%s", complained);
    CHECK(limn("gallery", "export", out, "-q", "--search", "circle", "--database", database, NULL) == 0, "%s", complained);
    CHECK(limn("gallery", "import", out, "-q", "--json", "--database", database, NULL) == 0 && strstr(said, "{\"added\":0,\"known\":1,\"refused\":0}"),
          "%s%s", said, complained);
    CHECK(limn("gallery", "import", png, "-q", "--user", "ann", "--database", database, NULL) == 0 && strstr(said, "1 added"), "%s%s", said, complained);
    CHECK(GALLERY("list", "--user", "ann", "--count") == 0 && !strcmp(said, "1\n"), "%s", said);
    CHECK(GALLERY("list", "--count") == 0 && !strcmp(said, "2\n"), "%s", said);
    CHECK(GALLERY("rate", "1", "--user", "ann") == 1 && strstr(complained, "no picture 1"), "%s", complained);
    CHECK(GALLERY("show", "1", "--lineage") == 0 && strstr(said, "weights tiny-sd1"), "%s", said);
    CHECK(GALLERY("show", "1", "--similar", "64") == 0, "%s", complained);
    CHECK(limn("gallery", "list", "--database", test_data("models"), NULL) == 1, "a folder is no database");
    CHECK(limn("gallery", "list", "--database", png, NULL) == 1 && strstr(complained, "is no database of limn"), "%s", complained);
    CHECK(GALLERY("delete", "1", "2") == 0 && GALLERY("purge", "--days", "0") == 0 && !strcmp(said, "2 forgotten, 0 stray files removed\n"), "%s%s", said, complained);
}

static json_t *line_of(const char *list, int line)
{
    struct err e = { 0 };
    char *data, *at;
    size_t bytes;
    REQUIRE(file_read(list, 1 << 20, &data, &bytes, &e));
    for (at = data; line > 0 && at; line--)
        at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    CHECK(at, "no such line in %s", data);
    json_t *j = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
    mem_free(data);
    return j;
}

TEST(a_selection_of_the_gallery_becomes_a_data_set)
{
    char png[PATH_MAX_BYTES], set[PATH_MAX_BYTES], list[PATH_MAX_BYTES + 20];
    snprintf(database, sizeof database, "%s", test_scratch("selected/limn.db"));
    snprintf(png, sizeof png, "%s", test_scratch("selected.png"));
    snprintf(set, sizeof set, "%s", test_scratch("selection"));
    snprintf(list, sizeof list, "%s/metadata.jsonl", set);
    draw("a red circle", "3", png);
    draw("一个圆圈", "4", png);
    draw("a red square", "5", png);
    CHECK(GALLERY("tag", "3", "--add", "good") == 0, "%s", complained);
#define IMPORT(...) limn("dataset", "import", __VA_ARGS__, "-q", "--json", "--database", database, "--output", set, NULL)
    CHECK(IMPORT("--gallery", "red", "--where", "seed=5") == 0 && strstr(said, "\"taken\":1,\"there\":0,\"skipped\":0"), "%s%s", said, complained);
    json_t *line = line_of(list, 0), *of_gallery = json_object_get(line, "gallery");
    assert_string_equal(json_string_value(json_object_get(line, "text")), "a red square");
    assert_string_equal(json_string_value(json_object_get(line, "file_name")), "000003.png");
    CHECK(strstr(json_string_value(json_object_get(line, "source")), "/selected/gallery/"), "where it came from");
    assert_int_equal(json_integer_value(json_object_get(of_gallery, "id")), 3);
    assert_int_equal(json_integer_value(json_object_get(of_gallery, "seed")), 5);
    assert_string_equal(json_string_value(json_object_get(of_gallery, "model")), "tiny-sd1");
    assert_string_equal(json_string_value(json_array_get(json_object_get(of_gallery, "tags"), 0)), "good");
    json_decref(line);
    /* the file of one is lost: the others come, and what is there is left alone */
    CHECK(GALLERY("show", "1", "--path") == 0, "%s", complained);
    said[strcspn(said, "\n")] = 0;
    assert_int_equal(remove(said), 0);
    CHECK(IMPORT("--gallery", "", "--sort", "oldest") == 0 && strstr(said, "\"taken\":1,\"there\":1,\"skipped\":1"), "%s%s", said, complained);
    line = line_of(list, 1);
    assert_string_equal(json_string_value(json_object_get(line, "text")), "一个圆圈");
    json_decref(line);
    CHECK(IMPORT("--gallery", "blue") == 1 && strstr(complained, "has no such picture"), "%s", complained);
    CHECK(IMPORT("--gallery", "red", "--where", "sed=5") == 2 && strstr(complained, "no such name"), "%s", complained);
    CHECK(IMPORT("--gallery", "red", png) == 2 && strstr(complained, "say one place"), "%s", complained);
    CHECK(limn("dataset", "import", "--gallery", "red", "--database", database, NULL) == 2 && strstr(complained, "--output is missing"), "%s", complained);
    CHECK(limn("dataset", "import", NULL) == 2 && strstr(complained, "say one place"), "%s", complained);
}

TEST(a_flow_that_is_run_puts_its_pictures_into_the_gallery)
{
    static const char flow[] = "{\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"tiny-sd1\"}},"
        "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":32,\"height\":32,\"batch_size\":1}},"
        "\"6\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a 圆\",\"clip\":[\"4\",1]}},"
        "\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":18446744073709551615,\"steps\":1,\"cfg\":1.5,\"sampler_name\":\"euler\",\"scheduler\":"
        "\"karras\",\"denoise\":1.0,\"model\":[\"4\",0],\"positive\":[\"6\",0],\"negative\":[\"6\",0],\"latent_image\":[\"5\",0]}},"
        "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"3\",0],\"vae\":[\"4\",2]}},"
        "\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"x\",\"images\":[\"8\",0]}}}";
    char file[PATH_MAX_BYTES], out[PATH_MAX_BYTES];
    struct err e = { 0 };
    snprintf(database, sizeof database, "%s", test_scratch("run/limn.db"));
    snprintf(file, sizeof file, "%s", test_scratch("flow.json"));
    snprintf(out, sizeof out, "%s", test_scratch("run/out"));
    REQUIRE(file_write_whole(file, flow, strlen(flow), &e));
    setenv("LIMN_MODELS", test_data("models"), 1);
    CHECK(limn("run", file, "-q", "--gallery", "--database", database, "-o", out, NULL) == 0, "%s", complained);
    CHECK(GALLERY("search", "圆", "--where", "seed=18446744073709551615", "--where", "schedule=karras", "--where", "cfg=1.5", "--where",
                  "model=tiny-sd1", "--where", "source=run", "--count") == 0 && !strcmp(said, "1\n"), "%s%s", said, complained);
    CHECK(GALLERY("show", "1", "--json") == 0 && strstr(said, "\"seed\":\"18446744073709551615\"") && strstr(said, "\"graph\":"), "%s", said);
}

TEST(a_training_run_is_noted_and_lineage_leads_through_it)
{
    struct err e = { 0 };
    char run[PATH_MAX_BYTES], config[PATH_MAX_BYTES + 40], file[PATH_MAX_BYTES + 40], png[PATH_MAX_BYTES], log[PATH_MAX_BYTES + 40];
    char *weights;
    size_t bytes;
    snprintf(database, sizeof database, "%s", test_scratch("learn/limn.db"));
    snprintf(run, sizeof run, "%s", test_scratch("runs/kohya"));
    snprintf(png, sizeof png, "%s", test_scratch("learnt.png"));
    REQUIRE(folder_make(run, &e));
    CHECK(GALLERY("learn", run) == 1 && strstr(complained, "has no config.json"), "%s", complained);
    json_t *j = json_pack("{s:s,s:s,s:i}", "command", "train lora", "dataset", test_data("emoji-mini"), "rank", 4);
    snprintf(config, sizeof config, "%s/config.json", run);
    REQUIRE(json_write(j, config, &e));
    json_decref(j);
    snprintf(log, sizeof log, "%s/metrics.jsonl", run);
    REQUIRE(file_write_whole(log, "{\"step\":1}\n{\"step\":40,\"loss\":1}\n", 33, &e));
    REQUIRE(file_read(test_data("lora/kohya.safetensors"), 1 << 24, &weights, &bytes, &e));
    snprintf(file, sizeof file, "%s/kohya.safetensors", run);
    REQUIRE(file_write_whole(file, weights, bytes, &e));
    weights[bytes - 1] ^= 1; /* another step's are others */
    snprintf(file, sizeof file, "%s/kohya-step00000020.safetensors", run);
    REQUIRE(file_write_whole(file, weights, bytes, &e));
    mem_free(weights);
    CHECK(limn("gallery", "learn", "-q", "--json", run, "--database", database, NULL) == 0, "%s", complained);
    j = json_loads(said, 0, NULL);
    int64_t pictures = json_integer_value(json_object_get(j, "pictures"));
    CHECK(pictures > 10 && json_integer_value(json_object_get(j, "weights")) == 2, "%s", said);
    json_decref(j);
    CHECK(limn("generate", "-q", "-m", test_data("models/tiny-sd1"), "--steps", "1", "--width", "32", "--height", "32", "-o", png, "--gallery", "--database",
               database, "--lora", test_data("lora/kohya.safetensors"), "a red circle", NULL) == 0, "%s", complained);
    CHECK(GALLERY("show", "1", "--lineage", "--json") == 0, "%s", complained);
    j = json_loads(said, 0, NULL);
    const json_t *one, *lora = NULL;
    size_t i;
    json_array_foreach(json_object_get(j, "from"), i, one)
        if (json_object_get(one, "run"))
            lora = one;
    CHECK(lora && json_integer_value(json_object_get(lora, "step")) == 40, "%s", said);
    const json_t *training = json_array_get(json_object_get(lora, "from"), 0), *first = json_array_get(json_object_get(training, "from"), 0);
    CHECK(!strcmp(json_string_value(json_object_get(training, "run")), run), "%s", said);
    CHECK((int64_t)json_array_size(json_object_get(training, "from")) >= pictures && json_string_value(json_object_get(first, "caption")), "%s", said);
    char back[100];
    snprintf(back, sizeof back, "training:%s", json_string_value(json_object_get(first, "hash")));
    json_decref(j);
    CHECK(GALLERY("show", back, "--lineage") == 0 && strstr(said, "picture 1"), "%s%s", said, complained);
}
