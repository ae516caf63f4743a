/* limn eval from argv to figures, pages and exit status. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "test.h"

static json_t *told(void)
{
    json_t *j = json_loads(said, 0, NULL);
    CHECK(j && strchr(said, '\n') == said + strlen(said) - 1, "not one line of JSON: %s", said);
    return j;
}

/* A path of the test data, kept (test_data's own is used again). */
static const char *data(const char *name)
{
    static char kept[4][300];
    static int next;
    char *out = kept[next++ % 4];
    snprintf(out, 300, "%s", test_data(name));
    return out;
}

static long pictures_in(const char *path)
{
    struct err e = { 0 };
    char *text;
    size_t bytes;
    long n = 0;
    REQUIRE(file_read(path, 64 << 20, &text, &bytes, &e));
    CHECK(!strncmp(text, "<!doctype html>", 15) && !strstr(text, "http://") && !strstr(text, "<script"), "%.200s", text);
    for (const char *c = text; (c = strstr(c, "src=\"data:image/png;base64,")); c++)
        n++;
    mem_free(text);
    return n;
}

TEST(equal_pictures_are_told_in_one_object)
{
    const char *cat = data("similarity/cat.png");
    int status = limn("eval", "images", cat, cat, "--metrics", "psnr,ssim,ssim-uniform,ms-ssim,gmsd", "--json", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told(), *wanted = json_loads("{\"psnr\":\"inf\",\"ssim\":1,\"ssim-uniform\":1,\"ms-ssim\":1,\"gmsd\":0}", 0, NULL);
    CHECK(json_object_size(j) == 5 && !strcmp(json_string_value(json_object_get(j, "psnr")), "inf"), "%s", said);
    const char *key;
    json_t *v;
    json_object_foreach(wanted, key, v)
        if (json_is_number(v))
            CHECK_NEAR(json_number_value(json_object_get(j, key)), json_number_value(v), 1e-12, "%s", key);
    json_decref(j);
    json_decref(wanted);
}

TEST(a_page_and_a_list_come_beside_the_table)
{
    struct err e = { 0 };
    char html[4096], csv[4096], *list;
    size_t bytes;
    snprintf(html, sizeof html, "%s", test_scratch("images.html"));
    snprintf(csv, sizeof csv, "%s", test_scratch("images.csv"));
    const char *folder = data("similarity");
    int status = limn("eval", "images", folder, folder, "--html", html, "--csv", csv, "-q", NULL);
    CHECK(status == 0 && strstr(said, "mean psnr") && strstr(said, "jpeg.png"), "status %d: %s%s", status, said, complained);
    CHECK(pictures_in(html) == 8, "%ld pictures", pictures_in(html));
    REQUIRE(file_read(csv, 1 << 16, &list, &bytes, &e));
    CHECK(strstr(list, "name,psnr,ssim\r\n") == list && strstr(list, "cat.png,inf,1\r\n"), "%s", list);
    mem_free(list);
    status = limn("eval", "images", folder, data("similarity/cat.png"), NULL);
    CHECK(status == 2 && strstr(complained, "not one of each"), "status %d: %s", status, complained);
    status = limn("eval", "images", folder, folder, "--metrics", "psnr,beauty", NULL);
    CHECK(status == 2 && strstr(complained, "no metric \"beauty\""), "status %d: %s", status, complained);
}

TEST(a_vae_is_measured_on_held_out_pictures)
{
    char html[4096];
    snprintf(html, sizeof html, "%s", test_scratch("vae.html"));
    int status = limn("eval", "vae", "--model", data("models/tiny-sd1"), "--dataset", data("emoji-mini"), "--split", "held-out",
                      "--size", "32", "--precision", "f32", "--html", html, "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told();
    CHECK(json_integer_value(json_object_get(j, "pictures")) == 2 && json_array_size(json_object_get(j, "images")) == 2 &&
              json_object_get(json_object_get(j, "mean"), "ssim") && pictures_in(html) == 4, "%s", said);
    json_decref(j);
    status = limn("eval", "vae", "--model", data("models/tiny-sd1"), "--dataset", data("emoji-mini"), "--size", "33", NULL);
    CHECK(status == 2 && strstr(complained, "33 pixels"), "status %d: %s", status, complained);
}

TEST(a_repeated_training_picture_is_named)
{
    char html[4096];
    snprintf(html, sizeof html, "%s", test_scratch("leak.html"));
    int status = limn("eval", "leak", data("evaluate/photos/trained/coffee-0.jpg"), "--dataset", data("evaluate/photos/trained"),
                      "--html", html, "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told(), *repeated = json_object_get(j, "repeated");
    CHECK(json_integer_value(json_object_get(j, "copies")) == 1 && json_array_size(repeated) == 1 &&
              !strcmp(json_string_value(json_object_get(json_array_get(repeated, 0), "name")), "coffee-0.jpg"), "%s", said);
    CHECK(pictures_in(html) == 5, "%ld pictures", pictures_in(html)); /* it, three that are near, and the repeated one */
    json_decref(j);
    status = limn("eval", "leak", data("evaluate/photos/trained"), NULL);
    CHECK(status == 2 && strstr(complained, "needs --dataset"), "status %d: %s", status, complained);
}

TEST(styles_of_a_data_set_are_held_against_each_other)
{
    const char *mini = data("emoji-mini"), *photos = data("evaluate/photos/other");
    int status = limn("eval", "style", mini, "--size", "32", "-q", NULL);
    CHECK(status == 0 && strstr(said, "recognised") && strstr(said, "solid"), "status %d: %s%s", status, said, complained);
    status = limn("eval", "style", mini, photos, mini, "--size", "32", "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told(), *sets = json_object_get(j, "sets");
    CHECK(json_array_size(sets) == 2 && json_is_true(json_object_get(json_array_get(sets, 1), "best")) &&
              json_number_value(json_object_get(json_array_get(sets, 0), "style")) > 0.2, "%s", said);
    json_decref(j);
    status = limn("eval", "style", photos, "--size", "32", NULL);
    CHECK(status == 1 && strstr(complained, "names 0 styles"), "status %d: %s", status, complained);
}

static void write_text(const char *path, const char *text)
{
    struct err e = { 0 };
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    REQUIRE(folder_make(folder, &e));
    REQUIRE(file_write_whole(path, text, strlen(text), &e));
}

static const json_t *row(const json_t *j, const char *table, size_t i)
{
    return json_array_get(json_object_get(j, table), i);
}

TEST(a_lora_is_shown_at_its_strengths_and_models_side_by_side)
{
    char words[4096], html[4096], both[700];
    snprintf(words, sizeof words, "%s", test_scratch("words.txt"));
    snprintf(html, sizeof html, "%s", test_scratch("sweep.html"));
    write_text(words, "a red apple\n\na cat\n");
    const char *model = data("models/tiny-sd1"), *lora = data("lora/kohya.safetensors");
    int status = limn("eval", "sweep", "--model", model, "--lora", lora, "--strengths", "0,0.5,1", "--prompts", words, "--steps", "2",
                      "--unrelated", "none", "--style", data("emoji-mini"), "--precision", "f32", "--html", html, "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told();
    CHECK(json_array_size(json_object_get(j, "variants")) == 3 && pictures_in(html) == 2 * 2 * 3, "%s", said);
    CHECK(json_number_value(json_object_get(row(j, "variants", 1), "strength")) == 0.5 &&
              json_number_value(json_object_get(row(j, "variants", 0), "change")) == 0 &&
              json_number_value(json_object_get(row(j, "variants", 2), "change")) >
                  json_number_value(json_object_get(row(j, "variants", 1), "change")), "%s", said);
    json_decref(j);
    snprintf(both, sizeof both, "lora=%s+%s:0.7", model, data("lora/kohya.safetensors"));
    char base[400];
    snprintf(base, sizeof base, "base=%s", model);
    status = limn("eval", "compare", base, both, "--dataset", data("emoji-mini"), "--steps", "1", "--count", "1", "--unrelated", "none",
                  "--best-by", "loss", "--precision", "f32", "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    j = told();
    CHECK(!strcmp(json_string_value(json_object_get(row(j, "variants", 1), "name")), "lora") &&
              json_object_get(row(j, "variants", 1), "loss") && json_object_get(row(j, "variants", 1), "file_mib"), "%s", said);
    json_decref(j);
    status = limn("eval", "sweep", "--lora", lora, "--strengths", "0,much", "--prompts", words, NULL);
    CHECK(status == 2 && strstr(complained, "0,much"), "status %d: %s", status, complained);
    status = limn("eval", "compare", "base", "--prompts", words, NULL);
    CHECK(status == 2 && strstr(complained, "NAME=MODEL"), "status %d: %s", status, complained);
}

/* A run as limn train lora leaves it: links to LoRAs of the test data as its checkpoints. */
TEST(all_checkpoints_of_a_run_are_measured_and_the_best_is_told)
{
    char run[4096], text[5000], path[4200], html[4096];
    snprintf(run, sizeof run, "%s", test_scratch("run"));
    snprintf(html, sizeof html, "%s", test_scratch("run.html"));
    snprintf(path, sizeof path, "%s/config.json", run);
    snprintf(text, sizeof text, "{\"model\": \"%s\", \"dataset\": \"%s\", \"vae\": null, \"lora_rank\": 4}", data("models/tiny-sd1"),
             data("emoji-mini"));
    write_text(path, text);
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    write_text(path, "{\"step\": 10, \"loss\": 0.5}\n{\"step\": 20, \"loss\": 0.25}\n{\"step\": 30, \"lo");
    static const char *const files[][2] = { { "lora-step00000010.safetensors", "lora/old.safetensors" },
                                            { "lora-step00000020.safetensors", "lora/kohya.safetensors" },
                                            { "lora.safetensors", "lora/kohya.safetensors" } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", run, files[i][0]);
        unlink(path);
        assert_int_equal(symlink(data(files[i][1]), path), 0);
    }
    int status = limn("eval", "run", run, "--steps", "1", "--precision", "f32", "--html", html, "--json", "-q", NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = told(), *rows = json_object_get(j, "variants");
    CHECK(json_array_size(rows) == 3 && !strcmp(json_string_value(json_object_get(row(j, "variants", 0), "name")), "base") &&
              json_integer_value(json_object_get(row(j, "variants", 2), "step")) == 20, "%s", said);
    const char *best = json_string_value(json_object_get(json_object_get(j, "best"), "name"));
    double least = 1e9;
    for (size_t i = 0; i < 3; i++) {
        double loss = json_number_value(json_object_get(row(j, "variants", i), "loss"));
        bool marked = json_is_true(json_object_get(row(j, "variants", i), "best"));
        least = loss < least ? loss : least;
        CHECK(marked == !strcmp(best, json_string_value(json_object_get(row(j, "variants", i), "name"))), "row %zu", i);
        CHECK(json_object_get(row(j, "variants", i), "psnr") && json_object_get(row(j, "variants", i), "drift") &&
                  json_object_get(row(j, "variants", i), "style"), "%s", said);
    }
    CHECK_NEAR(json_number_value(json_object_get(json_object_get(j, "best"), "value")), least, 1e-12, "the best loss");
    json_decref(j);
    struct err e = { 0 };
    char *page;
    size_t bytes;
    REQUIRE(file_read(html, 64 << 20, &page, &bytes, &e));
    CHECK(strstr(page, "<h2>training loss</h2>") && strstr(page, "<h2>drift</h2>") && strstr(page, "r=\"6\""), "curves");
    mem_free(page);
    status = limn("eval", "run", data("emoji-mini"), NULL);
    CHECK(status == 1 && strstr(complained, "no config.json"), "status %d: %s", status, complained);
}

TEST(networks_must_be_brought)
{
    const char *photos = data("evaluate/photos/other");
    int status = limn("eval", "networks", photos, NULL);
    CHECK(status == 2 && strstr(complained, "--inception FILE"), "status %d: %s", status, complained);
    status = limn("eval", "networks", photos, "--inception", "nowhere.pth", NULL);
    CHECK(status == 2 && strstr(complained, "belong together"), "status %d: %s", status, complained);
    status = limn("eval", "networks", photos, "--inception", data("lora/kohya.safetensors"), "--reference", photos, NULL);
    CHECK(status == 1 && strstr(complained, "not the Inception network"), "status %d: %s", status, complained);
}
