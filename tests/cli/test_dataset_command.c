/* A set of real pictures, broken ones among them, through `limn dataset`: in, looked at, captioned, split, out, and into a trainer's hands. */
#include "cli/run_limn.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "dataset/dataset.h"
#include "test.h"

static json_t *json_said(void)
{
    struct err e = { 0 };
    json_t *j = json_parse(said, strlen(said), "what was said", &e);
    REQUIRE(j != NULL);
    return j;
}

static long number(const json_t *j, const char *key)
{
    CHECK(json_is_number(json_object_get(j, key)), "no %s in %s", key, said);
    return (long)json_number_value(json_object_get(j, key));
}

static long said_number(const char *key)
{
    json_t *j = json_said();
    long n = number(j, key);
    json_decref(j);
    return n;
}

/* A folder with the test's pictures and one that breaks off. */
static void fill(const char *folder)
{
    static const char *const names[] = { "cat.png", "coffee.jpg", "astronaut.webp", "rocket.jpg", "cut.png" };
    struct err e = { 0 };
    REQUIRE(folder_make(folder, &e));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool cut = !strcmp(names[i], "cut.png");
        char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES], *data;
        size_t bytes;
        snprintf(from, sizeof from, "%s/%s", test_data("pictures"), cut ? "cat.png" : names[i]);
        REQUIRE(path_join(to, folder, names[i], &e) && file_read(from, 1 << 20, &data, &bytes, &e) &&
                file_write_whole(to, data, cut ? bytes / 2 : bytes, &e));
        mem_free(data);
    }
}

TEST(a_set_goes_from_raw_pictures_to_what_a_trainer_reads)
{
    char raw[PATH_MAX_BYTES], set[PATH_MAX_BYTES], out[PATH_MAX_BYTES], page[PATH_MAX_BYTES], *html;
    size_t bytes;
    struct err e = { 0 };
    snprintf(raw, sizeof raw, "%s", test_scratch("raw"));
    snprintf(set, sizeof set, "%s", test_scratch("set"));
    snprintf(out, sizeof out, "%s", test_scratch("out"));
    snprintf(page, sizeof page, "%s", test_scratch("page.html"));
    fill(raw);
    CHECK(limn("dataset", "import", raw, "--output", set, "--json", "-q", NULL) == 0, "%s", complained);
    assert_int_equal(said_number("taken"), 5);
    CHECK(limn("dataset", "scan", set, "--json", "-q", "--html", page, NULL) == 0, "%s", complained);
    json_t *scan = json_said(), *list = json_object_get(scan, "list");
    assert_int_equal(number(scan, "used"), 5);
    assert_int_equal(number(scan, "broken"), 1);
    assert_int_equal(number(scan, "without_caption"), 5);
    assert_int_equal(json_array_size(list), 5);
    assert_int_equal(number(json_array_get(list, 1), "width"), 96);
    json_decref(scan);
    REQUIRE(file_read(page, 1 << 24, &html, &bytes, &e));
    CHECK(strstr(html, "data:image/png;base64,") && strstr(html, "cut.png"), "%zu bytes of page", bytes);
    mem_free(html);
    CHECK(limn("dataset", "clean", set, "--min-side", "32", "--apply", "-q", "--checks", "broken,small", NULL) == 0, "%s", complained);
    CHECK(limn("dataset", "caption", set, "--template", "a photo of {name}", "--json", "-q", NULL) == 0, "%s", complained);
    assert_int_equal(said_number("changed"), 4);
    CHECK(limn("dataset", "split", set, "--count", "1", "--json", "-q", NULL) == 0, "%s", complained);
    assert_int_equal(said_number("held_out"), 1);
    CHECK(limn("dataset", "info", set, "--json", NULL) == 0, "%s", complained);
    assert_int_equal(said_number("train"), 3);
    CHECK(limn("dataset", "info", set, "cat.png", NULL) == 0 && strstr(said, "\"op\": \"caption\""), "%s", said);
    CHECK(limn("dataset", "export", set, "-o", out, "-q", NULL) == 0, "%s", complained);
    static const int counts[] = { 4, 3 };
    for (int exported = 0; exported < 2; exported++) {
        struct dataset *d = dataset_open(exported ? out : set, &e);
        REQUIRE(d != NULL && dataset_load(d, 32, false, NULL, &e));
        assert_int_equal(dataset_count(d), counts[exported]);
        CHECK(!strncmp(dataset_picture(d, 0)->text, "a photo of ", 11), "%s", dataset_picture(d, 0)->text);
        dataset_free(d);
    }
}

TEST(wrong_words_to_limn_dataset_are_told)
{
    char empty[PATH_MAX_BYTES];
    struct err e = { 0 };
    snprintf(empty, sizeof empty, "%s", test_scratch("empty"));
    REQUIRE(folder_make(empty, &e));
    assert_int_equal(limn("dataset", "import", "/nowhere/at/all", NULL), 1);
    assert_int_equal(limn("dataset", "import", empty, NULL), 1);
    CHECK(strstr(complained, "no pictures"), "%s", complained);
    assert_int_equal(limn("dataset", "export", empty, NULL), 2);
    CHECK(strstr(complained, "--output is missing"), "%s", complained);
    assert_int_equal(limn("dataset", "scan", empty, NULL), 1);
    CHECK(strstr(complained, "limn dataset import makes a data set"), "%s", complained);
    assert_int_equal(limn("dataset", "scan", empty, "--sort", "beauty", NULL), 2);
    assert_int_equal(limn("dataset", "caption", test_data("emoji-mini"), "--dry-run", "--template", "{", NULL), 2);
    assert_int_equal(limn("dataset", "info", test_data("emoji-mini"), "not-there.png", NULL), 1);
}
