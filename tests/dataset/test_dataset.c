#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "dataset/dataset.h"
#include "image/image.h"

/* A fresh folder with this list in it. */
static const char *folder_with(const char *name, const char *list, const char *content)
{
    static char folder[PATH_MAX_BYTES];
    char path[PATH_MAX_BYTES];
    struct err e = { 0 };
    snprintf(folder, sizeof folder, "%s", test_scratch(name));
    REQUIRE(folder_make(folder, &e));
    REQUIRE(path_join(path, folder, list, &e));
    REQUIRE(file_write_whole(path, content, strlen(content), &e));
    return folder;
}

static struct dataset *open_mini(void)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(test_data("emoji-mini"), &e);
    REQUIRE(d != NULL);
    return d;
}

TEST(a_list_of_concepts_and_styles_is_read_and_indexed)
{
    struct dataset *d = open_mini();
    assert_int_equal(dataset_count(d), 12);
    assert_int_equal(dataset_concepts(d), 6);
    assert_int_equal(dataset_styles(d), 2);
    assert_string_equal(dataset_style_name(d, 1), "ring");
    const struct dataset_picture *p = dataset_picture(d, 0);
    assert_string_equal(p->file_name, "solid-ball.png");
    assert_string_equal(p->label[DATASET_CHINESE], "红球");
    assert_string_equal(p->article, "a");
    assert_string_equal(p->counter, "个");
    assert_int_equal(p->tag_count[DATASET_ENGLISH], 2);
    assert_string_equal(p->tags[DATASET_ENGLISH][1], "toy");
    assert_true(p->worded && !p->held_out);
    long ring = dataset_find(d, "E1", "ring");
    assert_int_equal(ring, 9);
    assert_true(dataset_picture(d, 9)->held_out);
    assert_int_equal(dataset_find(d, "E1", "3d"), -1);
    assert_int_equal(dataset_at(d, 3, 1), 9); /* the fourth concept of the list */
    assert_int_equal(dataset_at(d, 6, 1), -1);
    size_t n;
    const uint32_t *held = dataset_split(d, true, -1, &n);
    assert_int_equal(n, 2);
    assert_int_equal(held[0], 1);
    assert_int_equal(held[1], 9);
    const uint32_t *train = dataset_split(d, false, 0, &n);
    assert_int_equal(n, 5);
    assert_int_equal(train[1], 2);
    dataset_free(d);
}

TEST(a_csv_list_may_have_its_columns_in_any_order_quotes_and_a_byte_order_mark)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(
        folder_with("csv", "metadata.csv",
                    "\xEF\xBB\xBFtext,extra,file_name\r\n\"a \"\"big\"\" cat, sitting\nstill\",x,one.png\r\n\r\n,,b/two.png"),
        &e);
    REQUIRE(d != NULL);
    assert_int_equal(dataset_count(d), 2);
    assert_string_equal(dataset_picture(d, 0)->text, "a \"big\" cat, sitting\nstill");
    assert_string_equal(dataset_picture(d, 1)->file_name, "b/two.png");
    assert_string_equal(dataset_picture(d, 1)->text, "");
    assert_false(dataset_picture(d, 0)->worded);
    assert_int_equal(dataset_concepts(d), 0);
    dataset_free(d);
}

TEST(a_broken_list_is_refused_with_its_line)
{
    static const struct {
        const char *list, *content;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\"}\n{\"file_name\"", ERR_FORMAT, "line 2: " },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\"}\n\n[]", ERR_FORMAT, "line 3: not a JSON object" },
        { "metadata.jsonl", "{\"text\":\"\"}", ERR_MISSING, "line 1: no file_name" },
        { "metadata.jsonl", "{\"file_name\":\"a\"}", ERR_MISSING, "line 1: no text" },
        { "metadata.jsonl", "{\"file_name\":7,\"text\":\"\"}", ERR_FORMAT, "line 1: file_name is not a text" },
        { "metadata.jsonl", "{\"file_name\":\"../a\",\"text\":\"\"}", ERR_FORMAT, "not a path inside" },
        { "metadata.jsonl", "{\"file_name\":\"a/../../b\",\"text\":\"\"}", ERR_FORMAT, "not a path inside" },
        { "metadata.jsonl", "{\"file_name\":\"/etc/passwd\",\"text\":\"\"}", ERR_FORMAT, "not a path inside" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\",\"split\":\"test\"}", ERR_FORMAT, "split \"test\"" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\",\"tags_en\":\"x\"}", ERR_FORMAT, "tags_en is not an array" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\",\"tags_zh\":[1]}", ERR_FORMAT, "tags_zh holds" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\"}\n{\"file_name\":\"a\",\"text\":\"\"}", ERR_FORMAT, "has a twice" },
        { "metadata.jsonl",
          "{\"file_name\":\"a\",\"text\":\"\",\"hexcode\":\"1\",\"style\":\"s\"}\n"
          "{\"file_name\":\"b\",\"text\":\"\",\"hexcode\":\"1\",\"style\":\"s\"}",
          ERR_FORMAT, "concept 1 in the style s twice" },
        { "metadata.jsonl", "\n", ERR_MISSING, "no pictures" },
        { "metadata.csv", "name,text\n", ERR_MISSING, "line 1: the first line must name" },
        { "metadata.csv", "file_name,text,text\n", ERR_FORMAT, "named twice" },
        { "metadata.csv", "file_name,text\na,b\nc\n", ERR_FORMAT, "line 3: 1 fields" },
        { "metadata.csv", "file_name,text\na,\"b\n\nc\"\n\"d", ERR_FORMAT, "line 5: a quote is not closed" },
        { "metadata.csv", "file_name,text\na,\"b\"c\n", ERR_FORMAT, "line 2: something follows" },
        { "metadata.csv", "file_name,text\na,b\"c\n", ERR_FORMAT, "line 2: a quote inside" },
        { "metadata.csv", "file_name,text\na,\xFF\n", ERR_FORMAT, "line 2: text is not UTF-8" },
        { "metadata.csv", "file_name,text\n,b\n", ERR_MISSING, "line 2: no file_name" },
        { "other.txt", "", ERR_MISSING, "neither metadata.jsonl nor metadata.csv" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        char name[32];
        snprintf(name, sizeof name, "broken-%zu", i);
        const char *folder = folder_with(name, cases[i].list, cases[i].content);
        CHECK_FAILS(dataset_open(folder, &e) != NULL, cases[i].code, cases[i].part);
    }
    struct err e = { 0 };
    CHECK_FAILS(dataset_open("/nowhere/at/all", &e) != NULL, ERR_MISSING, "/nowhere/at/all");
}

TEST(a_word_beyond_its_limit_is_refused)
{
    char list[600] = "{\"file_name\":\"a\",\"text\":\"\",\"label_en\":\"";
    size_t at = strlen(list);
    memset(list + at, 'x', 256);
    strcpy(list + at + 256, "\"}");
    struct err e = { 0 };
    CHECK_FAILS(dataset_open(folder_with("long", "metadata.jsonl", list), &e) != NULL, ERR_LIMIT, "256 bytes");
    memcpy(list + at + 255, "\" }", 3);
    struct dataset *d = dataset_open(folder_with("long", "metadata.jsonl", list), &e);
    REQUIRE(d != NULL);
    dataset_free(d);
}

TEST(pixels_are_premultiplied_and_lie_over_any_background)
{
    struct err e = { 0 };
    struct dataset *d = open_mini();
    REQUIRE(dataset_load(d, 32, false, NULL, &e));
    assert_int_equal(dataset_size_px(d), 32);
    const uint8_t *box = dataset_pixels(d, 1); /* a rectangle #2040d0 from (5, 5) to (27, 27) */
    static const uint8_t blue[4] = { 0x20, 0x40, 0xD0, 255 }, none[4] = { 0 };
    assert_memory_equal(box + (16 * 32 + 16) * 4, blue, 4);
    assert_memory_equal(box + (4 * 32 + 16) * 4, none, 4);
    uint8_t rgb[32 * 32 * 3], small[16 * 16 * 3];
    REQUIRE(dataset_read(d, 1, 32, 0xFF8000, rgb, &e));
    assert_memory_equal(rgb + (16 * 32 + 16) * 3, blue, 3);
    assert_memory_equal(rgb, "\xFF\x80\x00", 3);
    /* Halved, column 2 is the mean of columns 4 (background) and 5 (blue), each u8 rounded once. */
    REQUIRE(dataset_read(d, 1, 16, 0xFF8000, small, &e));
    const uint8_t *edge = small + (8 * 16 + 2) * 3;
    CHECK_NEAR(edge[0], (0xFF + 0x20) / 2.0, 1.01, "red");
    CHECK_NEAR(edge[1], (0x80 + 0x40) / 2.0, 1.01, "green");
    CHECK_NEAR(edge[2], (0x00 + 0xD0) / 2.0, 1.01, "blue");
    CHECK_FAILS(dataset_load(d, 32, false, NULL, &e), ERR_ARG, "already");
    dataset_free(d);
}

TEST(a_half_transparent_picture_is_weighted_by_its_alpha)
{
    struct err e = { 0 };
    const char *folder = folder_with("glass", "metadata.csv", "file_name,text\na.png,glass\n");
    char path[PATH_MAX_BYTES];
    struct image image = { 0 };
    REQUIRE(path_join(path, folder, "a.png", &e) && image_make(&image, 4, 4, 4, &e));
    for (int i = 0; i < 16; i++)
        memcpy(image.pixels + i * 4, "\xC8\x64\x32\x80", 4); /* 200 100 50 at 128 of 255 */
    REQUIRE(image_save_png(path, &image, NULL, 0, &e));
    image_release(&image);
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, 2, false, NULL, &e));
    assert_memory_equal(dataset_pixels(d, 0), "\x64\x32\x19\x80", 4);
    uint8_t rgb[12];
    REQUIRE(dataset_read(d, 0, 2, 0xFFFFFF, rgb, &e));
    assert_memory_equal(rgb, "\xE3\xB1\x98", 3); /* + 127 of white */
    dataset_free(d);
}

/* The mean of red, green, blue and alpha of a picture. */
static void means(const uint8_t *p, size_t pixels, double out[4])
{
    for (int c = 0; c < 4; c++) {
        double sum = 0;
        for (size_t i = 0; i < pixels; i++)
            sum += p[i * 4 + (size_t)c];
        out[c] = sum / (double)pixels;
    }
}

TEST(resizing_by_area_keeps_the_mean_of_every_channel)
{
    struct err e = { 0 };
    static const int sizes[] = { 7, 16, 31, 32 };
    double want[12][4], came[4];
    struct dataset *d = open_mini();
    REQUIRE(dataset_load(d, 32, false, NULL, &e));
    for (size_t i = 0; i < 12; i++)
        means(dataset_pixels(d, i), 32 * 32, want[i]);
    dataset_free(d);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        d = open_mini();
        REQUIRE(dataset_load(d, sizes[s], false, NULL, &e));
        for (size_t i = 0; i < 12; i++) {
            means(dataset_pixels(d, i), (size_t)(sizes[s] * sizes[s]), came);
            for (int c = 0; c < 4; c++) /* each value is rounded to a whole number: half of one at worst */
                CHECK_NEAR(came[c], want[i][c], 0.5, "picture %zu channel %d size %d", i, c, sizes[s]);
        }
        dataset_free(d);
    }
}

TEST(kept_pixels_are_made_once_and_anew_when_a_picture_changes)
{
    struct err e = { 0 };
    const char *folder = folder_with("keep", "metadata.csv", "file_name,text\na.png,red\nwide.png,left to right\n");
    char a[PATH_MAX_BYTES], wide[PATH_MAX_BYTES], pack[PATH_MAX_BYTES];
    REQUIRE(path_join(a, folder, "a.png", &e) && path_join(wide, folder, "wide.png", &e) &&
            path_join(pack, folder, "pixels-8.rgba", &e));
    struct image image = { 0 };
    REQUIRE(image_make(&image, 8, 8, 3, &e));
    image_fill(&image, 0xFF0000);
    REQUIRE(image_save_png(a, &image, NULL, 0, &e));
    image_release(&image);
    REQUIRE(image_make(&image, 24, 8, 3, &e)); /* only its middle is kept: green between black */
    memset(image.pixels, 0, image_bytes(&image));
    for (int y = 0; y < 8; y++)
        for (int x = 8; x < 16; x++)
            image.pixels[(y * 24 + x) * 3 + 1] = 200;
    REQUIRE(image_save_png(wide, &image, NULL, 0, &e));
    image_release(&image);

    struct stat before, after;
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, 8, true, NULL, &e));
    for (int i = 0; i < 64; i++) {
        assert_memory_equal(dataset_pixels(d, 0) + i * 4, "\xFF\0\0\xFF", 4);
        assert_memory_equal(dataset_pixels(d, 1) + i * 4, "\0\xC8\0\xFF", 4);
    }
    dataset_free(d);
    assert_int_equal(stat(pack, &before), 0);

    d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, 8, true, NULL, &e));
    dataset_free(d);
    assert_int_equal(stat(pack, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);

    REQUIRE(image_make(&image, 8, 8, 3, &e));
    image_fill(&image, 0x0000FF);
    REQUIRE(image_save_png(a, &image, NULL, 0, &e));
    image_release(&image);
    d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, 8, true, NULL, &e));
    assert_memory_equal(dataset_pixels(d, 0), "\0\0\xFF\xFF", 4);
    dataset_free(d);

    /* Cut short by somebody: not trusted. */
    assert_int_equal(truncate(pack, 4096 + 100), 0);
    d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, 8, true, NULL, &e));
    assert_memory_equal(dataset_pixels(d, 1), "\0\xC8\0\xFF", 4);
    dataset_free(d);
}

TEST(a_missing_or_broken_picture_is_named_and_leaves_no_file)
{
    struct err e = { 0 };
    const char *folder = folder_with("bad-picture", "metadata.csv", "file_name,text\nnot-there.png,x\n");
    char pack[PATH_MAX_BYTES];
    REQUIRE(path_join(pack, folder, "pixels-8.rgba", &e));
    for (int keep = 0; keep < 2; keep++) {
        struct dataset *d = dataset_open(folder, &e);
        REQUIRE(d != NULL);
        CHECK_FAILS(dataset_load(d, 8, keep, NULL, &e), ERR_IO, "not-there.png");
        dataset_free(d);
    }
    assert_false(path_exists(pack));
    struct dataset *d = dataset_open(folder_with("bad-picture", "not-there.png", "no picture"), &e);
    REQUIRE(d != NULL);
    CHECK_FAILS(dataset_load(d, 8, true, NULL, &e), ERR_FORMAT, "not-there.png");
    assert_false(path_exists(pack));
    CHECK_FAILS(dataset_load(d, 0, true, NULL, &e), ERR_ARG, "size 0");
    dataset_free(d);
}

TEST(a_stop_ends_the_reading_of_pictures)
{
    struct err e = { 0 };
    struct dataset *d = open_mini();
    stop_request();
    CHECK_FAILS(dataset_load(d, 16, false, NULL, &e), ERR_STOPPED, "");
    stop_forget();
    REQUIRE(dataset_load(d, 16, false, NULL, &e));
    dataset_free(d);
}

TEST(every_failing_allocation_while_opening_is_an_error)
{
    for (size_t n = 1;; n++) {
        struct err e = { 0 };
        mem_fail_at(n);
        struct dataset *d = dataset_open(test_data("emoji-mini"), &e);
        mem_fail_at(0);
        if (d) {
            CHECK(n > 5, "only %zu allocations", n);
            dataset_free(d);
            break;
        }
        CHECK(e.code == ERR_NOMEM, "allocation %zu: code %d, %s", n, (int)e.code, e.text);
    }
}
