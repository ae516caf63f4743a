/* limn dataset clean on a folder of real pictures and broken files: listed, left out, taken back. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "dataset/dataset.h"
#include "test.h"

static char folder[PATH_MAX_BYTES];

static char *content(const char *path, size_t *bytes)
{
    struct err e = { 0 };
    char *data;
    REQUIRE(file_read(path, 1 << 24, &data, bytes, &e));
    return data;
}

static void put(const char *name, const char *data, size_t bytes)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, name, &e) && file_write_whole(path, data, bytes, &e));
}

static void put_picture(const char *name, const char *from, int cut)
{
    size_t bytes;
    char *data = content(test_data(from), &bytes);
    put(name, data, bytes / (size_t)cut);
    mem_free(data);
}

static void make(void)
{
    static const char list[] = "{\"file_name\":\"cat.png\",\"text\":\"a cat\"}\n"
                               "{\"file_name\":\"jpeg.png\",\"text\":\"a cat of a camera\"}\n"
                               "{\"file_name\":\"<b>.png\",\"text\":\"half a cup\"}\n"
                               "{\"file_name\":\"rocket.png\",\"text\":\"a rocket\",\"mine\":[1,2]}\n";
    struct err e = { 0 };
    snprintf(folder, sizeof folder, "%s", test_scratch("clean"));
    REQUIRE(folder_make(folder, &e));
    put_picture("cat.png", "similarity/cat.png", 1);
    put_picture("jpeg.png", "similarity/jpeg.png", 1);
    put_picture("rocket.png", "measure/rocket.png", 1);
    put_picture("<b>.png", "measure/coffee.png", 2);
    put("metadata.jsonl", list, sizeof list - 1);
}

static json_t *cleaned(const char *more, const char *value)
{
    int status = limn("dataset", "clean", folder, "--json", "--min-side=64", more, value, NULL);
    CHECK(status == 0, "status %d: %s", status, complained);
    json_t *j = json_loads(said, 0, NULL);
    CHECK(j, "%s", said);
    return j;
}

static const char *list(void)
{
    static char text[4000];
    size_t bytes;
    char path[PATH_MAX_BYTES + 20];
    snprintf(path, sizeof path, "%s/metadata.jsonl", folder);
    char *data = content(path, &bytes);
    snprintf(text, sizeof text, "%s", data);
    mem_free(data);
    return text;
}

static size_t used(void)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d);
    size_t count = dataset_count(d);
    dataset_free(d);
    return count;
}

TEST(a_dry_run_lists_and_changes_nothing)
{
    make();
    char before[4000];
    strcpy(before, list());
    json_t *j = cleaned(NULL, NULL), *rows = json_object_get(j, "left_out"), *faults = json_object_get(j, "faults");
    CHECK(json_number_value(json_object_get(j, "pictures")) == 4, "%s", said);
    CHECK(json_number_value(json_object_get(j, "good")) == 2 && json_array_size(rows) == 2, "%s", said);
    CHECK(json_number_value(json_object_get(faults, "broken")) == 1, "%s", said);
    CHECK(json_number_value(json_object_get(faults, "near-duplicate")) == 1, "%s", said);
    CHECK(strstr(said, "\"file_name\":\"<b>.png\",\"reason\":\"broken\""), "%s", said);
    json_decref(j);
    CHECK(!strcmp(before, list()) && used() == 4, "the list is as it was: %s", list());
    assert_int_equal(limn("dataset", "clean", folder, "-q", NULL), 0);
    CHECK(strstr(said, "--apply") && strstr(said, "rocket.png") && strstr(said, "too small"), "%s", said);
}

TEST(apply_leaves_out_and_undo_takes_back)
{
    make();
    json_decref(cleaned("--apply", NULL));
    CHECK(used() == 2, "%s", list());
    CHECK(strstr(list(), "\"mine\":[1,2]}") && strstr(list(), "\"excluded\":\"near duplicate\""), "%s", list());
    json_t *j = cleaned(NULL, NULL);
    CHECK(json_number_value(json_object_get(j, "excluded_before")) == 2 && !json_array_size(json_object_get(j, "left_out")), "%s", said);
    json_decref(j);
    assert_int_equal(limn("dataset", "clean", folder, "--undo", NULL), 0);
    CHECK(!strcmp(said, "2 pictures are used again\n") && used() == 4, "%s", said);
    assert_int_equal(limn("dataset", "clean", folder, "--undo", "--json", NULL), 0);
    CHECK(!strcmp(said, "{\"undone\":0}\n"), "%s", said);
}

TEST(the_page_holds_its_pictures_and_no_foreign_markup)
{
    make();
    char page[PATH_MAX_BYTES];
    size_t bytes;
    snprintf(page, sizeof page, "%s", test_scratch("page.html"));
    json_decref(cleaned("--html", page));
    char *html = content(page, &bytes);
    int pictures = 0;
    for (const char *at = html; (at = strstr(at, "src=\"data:image/png;base64,")); at++)
        pictures++;
    CHECK(pictures == 2, "the near duplicate and what it resembles: %d pictures", pictures);
    CHECK(!strstr(html, "<b>.png") && strstr(html, "&lt;b&gt;.png"), "names are escaped");
    mem_free(html);
}

TEST(wrong_words_are_refused)
{
    make();
    assert_int_equal(limn("dataset", "clean", folder, "--checks", "blurred,blured", NULL), 2);
    CHECK(strstr(complained, "no \"blured\""), "%s", complained);
    assert_int_equal(limn("dataset", "clean", folder, "--apply", "--undo", NULL), 2);
    assert_int_equal(limn("dataset", "clean", test_scratch("nowhere"), NULL), 1);
    CHECK(strstr(complained, "nowhere"), "%s", complained);
}
