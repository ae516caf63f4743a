/* limn dataset crop and resize: their words and what they print; what they make is tests/dataset's. */
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "test.h"

static const char *made(void)
{
    static const char list[] = "{\"file_name\":\"cat.png\",\"text\":\"a cat\"}\n";
    static char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    struct err e = { 0 };
    char *data;
    size_t bytes;
    snprintf(folder, sizeof folder, "%s", test_scratch("shapes"));
    REQUIRE(folder_make(folder, &e) && file_read(test_data("similarity/cat.png"), 1 << 20, &data, &bytes, &e));
    REQUIRE(path_join(path, folder, "cat.png", &e) && file_write_whole(path, data, bytes, &e));
    REQUIRE(path_join(path, folder, "metadata.jsonl", &e) && file_write_whole(path, list, sizeof list - 1, &e));
    mem_free(data);
    return folder;
}

TEST(crop_resize_and_back)
{
    const char *folder = made();
    assert_int_equal(limn("dataset", "crop", folder, "--size", "128", "--buckets=kohya", "--bucket-min=64", "--bucket-step=32", "--json", NULL), 0);
    CHECK(strstr(said, "\"made\":1,") && strstr(said, "\"sizes\":{\"128x128\":1}"), "%s", said); /* 178x167 */
    assert_int_equal(limn("dataset", "resize", folder, "--size=64", "--measure=longer", "--format=jpeg", "-q", NULL), 0);
    CHECK(strstr(said, "1 pictures made") && strstr(said, "1  64x64"), "%s", said);
    assert_int_equal(limn("dataset", "info", folder, "resized/cropped/cat.jpg", NULL), 0);
    CHECK(strstr(said, "\"settings\": \"longer 64 multiple 1 jpg 95\""), "%s", said);
    assert_int_equal(limn("dataset", "resize", folder, "--undo", NULL), 0);
    assert_int_equal(limn("dataset", "crop", folder, "--undo", "--json", NULL), 0);
    CHECK(strstr(said, "{\"undone\":1}"), "%s", said);
    assert_int_equal(limn("dataset", "crop", folder, "-q", NULL), 0);
    CHECK(strstr(said, "1 too small"), "%s", said);
    assert_int_equal(limn("dataset", "crop", folder, "--size=64x160", "--part=attention", "-q", NULL), 0);
    CHECK(strstr(said, "1  64x160"), "%s", said);
}

TEST(wrong_sizes_are_refused)
{
    const char *folder = made();
    static const char *const wrong[] = { "x", "12x", "12y12", "0", "99999", "12x12x12", "" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(limn("dataset", "crop", folder, "--size", wrong[i], NULL), 2);
        CHECK(strstr(complained, "WIDTHxHEIGHT"), "%s: %s", wrong[i], complained);
    }
    assert_int_equal(limn("dataset", "crop", folder, "--size=64x128", "--buckets=kohya", NULL), 2);
    assert_int_equal(limn("dataset", "crop", folder, "--size=64", "--buckets=kohya", "--bucket-min=63", NULL), 2);
    assert_int_equal(limn("dataset", "crop", folder, "--into", "..", NULL), 2);
}
