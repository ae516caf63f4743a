/* What was found, and the four ways in which it is told. */
#include "evaluate/findings.h"

#include "base/file.h"
#include "base/mem.h"
#include "test.h"

static const uint8_t dot[] = { 255, 0, 0, 0, 0, 255 };

static void fill(struct findings *f)
{
    const double x[] = { 1, 2, 3, 4 }, y[] = { 0.5, NAN, 0.25, 1 };
    struct image two = { 2, 1, 3, (uint8_t *)dot };
    findings_init(f, "A & B");
    findings_number(f, NULL, "count", 3, 0);
    findings_number(f, "mean", "psnr", INFINITY, 2);
    findings_number(f, "mean", "ssim", 0.5, 3);
    findings_text(f, NULL, "name", "%s", "a \"quoted\", <name>\xFF");
    findings_words(f, "Look at <b>.");
    findings_table(f, "rows", "Rows", 2);
    findings_column(f, "name", "of the picture", 0);
    findings_column(f, "value", "", 1);
    findings_column(f, "picture", "", 0);
    findings_row(f);
    findings_cell_text(f, "猫");
    findings_cell_number(f, 1.25);
    findings_cell_picture(f, &two, "two < three");
    findings_row(f);
    findings_cell_text(f, "x,\"y\"");
    findings_cell_number(f, NAN);
    findings_mark(f);
    findings_row(f);
    findings_cell_text(f, "last");
    findings_cell_number(f, -2);
    findings_table(f, "grid", "Grid", 0);
    findings_page_only(f);
    findings_column(f, "words", "", 0);
    findings_row(f);
    findings_cell_text(f, "only here");
    findings_curve(f, "Curve", "step", "loss");
    findings_series(f, "one", x, y, 4, 2);
}

TEST(findings_are_told_to_programs_by_their_names)
{
    struct findings f;
    fill(&f);
    json_t *j = findings_json(&f), *wanted = json_loads(
        "{\"count\":3,\"mean\":{\"psnr\":\"inf\",\"ssim\":0.5},\"name\":\"a \\\"quoted\\\", <name>?\",\"rows\":["
        "{\"name\":\"猫\",\"value\":1.25},{\"name\":\"x,\\\"y\\\"\",\"value\":null,\"best\":true},{\"name\":\"last\",\"value\":-2}]}",
        0, NULL);
    char *came = json_dumps(j, 0);
    CHECK(wanted && json_equal(j, wanted), "%s", came);
    free(came);
    json_decref(j);
    json_decref(wanted);
    struct text t;
    text_init(&t, 1000);
    findings_csv(&f, &t);
    CHECK(!strcmp(text_string(&t), "name,value\r\n猫,1.25\r\n\"x,\"\"y\"\"\",\r\nlast,-2\r\n"), "%s", text_string(&t));
    text_release(&t);
    findings_release(&f);
}

TEST(findings_are_told_to_people_in_columns)
{
    struct findings f;
    struct text t;
    fill(&f);
    text_init(&t, 2000);
    findings_print(&f, &t);
    CHECK(!strcmp(text_string(&t), "count      3\n"
                                   "mean psnr  inf\n"
                                   "mean ssim  0.500\n"
                                   "name       a \"quoted\", <name>?\n"
                                   "\nRows\n"
                                   "name   value\n"
                                   "猫       1.2\n"
                                   "x,\"y\"      -  <\n"
                                   "... and 1 more\n"), "%s", text_string(&t));
    text_release(&t);
    findings_release(&f);
}

TEST(findings_are_told_in_markdown)
{
    struct findings f;
    struct text t;
    fill(&f);
    text_init(&t, 2000);
    findings_markdown(&f, &t);
    CHECK(!strcmp(text_string(&t), "- count: 3\n- mean psnr: inf\n- mean ssim: 0.500\n- name: a \"quoted\", <name>?\n"
                                   "\nLook at <b>.\n\n## Rows\n\n| name | value |\n|---|---:|\n| 猫 | 1.2 |\n"
                                   "| **x,\"y\"** | - |\n\n- name: of the picture\n"), "%s", text_string(&t));
    text_release(&t);
    findings_release(&f);
}

static uint8_t sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return (uint8_t)(strchr(digits, c) - digits);
}

TEST(a_page_is_one_file_with_its_pictures_and_nothing_that_runs)
{
    struct err e = { 0 };
    struct findings f;
    fill(&f);
    char path[4096], *page;
    snprintf(path, sizeof path, "%s", test_scratch("page.html"));
    size_t bytes;
    REQUIRE(findings_page(&f, path, "foot > text", &e));
    REQUIRE(file_read(path, 1 << 20, &page, &bytes, &e));
    CHECK(!strstr(page, "<script") && !strstr(page, "http") && !strstr(page, "<b>.") && !strstr(page, "<name>"), "%s", page);
    CHECK(strstr(page, "<title>A &amp; B</title>") && strstr(page, "Look at &lt;b&gt;.") && strstr(page, "foot &gt; text") &&
              strstr(page, "∞") && strstr(page, "猫") && strstr(page, "class=\"best\"") && strstr(page, "only here"), "%s", page);
    CHECK(!strstr(page, ">last<") && strstr(page, "The first 2 of 3"), "a row too many");
    /* Three points, one of them marked. */
    int circles = 0, large = 0;
    for (const char *c = page; (c = strstr(c, "<circle")); c++) {
        circles++;
        large += strstr(c, "r=\"6\"") && strstr(c, "r=\"6\"") < strstr(c, ">");
    }
    CHECK(circles == 3 && large == 1 && strstr(page, "<title>3: 0.25</title>"), "%d circles, %d large", circles, large);
    /* The picture is there, whole. */
    const char *begin = strstr(page, "base64,");
    REQUIRE(begin != NULL);
    uint8_t png[4000];
    size_t size = 0;
    for (begin += 7; *begin != '"'; begin += 4) {
        uint32_t three = 0;
        int pads = (begin[3] == '=') + (begin[2] == '=');
        for (int k = 0; k < 4; k++)
            three = three << 6 | (begin[k] == '=' ? 0 : sextet(begin[k]));
        for (int k = 0; k < 3 - pads; k++)
            png[size++] = (uint8_t)(three >> (16 - 8 * k));
    }
    struct image back;
    REQUIRE(image_decode(&back, png, size, "the page", IMAGE_FLATTEN, 0, &e));
    CHECK(back.width == 2 && back.height == 1 && !memcmp(back.pixels, dot, sizeof dot), "another picture");
    image_release(&back);
    mem_free(page);
    findings_release(&f);
}

TEST(a_row_shows_its_picture_behind_its_name)
{
    struct err e = { 0 };
    struct findings f;
    struct image one = { .width = 2, .height = 1, .channels = 3, .pixels = (uint8_t *)dot };
    struct text t;
    char path[4096], *page;
    size_t bytes;
    findings_init(&f, "Wide");
    findings_table(&f, "rows", "", 0);
    findings_column(&f, "file", "", 0);
    findings_column(&f, "width", "", 0);
    findings_column(&f, "words", "", 0);
    findings_column(&f, "picture", "", 0);
    findings_row(&f);
    findings_cell_text(&f, "new\nline\x1b[31m.png");
    findings_cell_number(&f, 512);
    findings_cell_text(&f, "a cat");
    findings_cell_picture(&f, &one, NULL);
    findings_row(&f);
    findings_cell_text(&f, "lost.png");
    snprintf(path, sizeof path, "%s", test_scratch("wide.html"));
    REQUIRE(findings_page(&f, path, NULL, &e) && file_read(path, 1 << 20, &page, &bytes, &e));
    const char *header = strstr(page, ">picture<"), *image = strstr(page, "<img");
    CHECK(header && header > strstr(page, ">file<") && header < strstr(page, ">width<"), "%s", page);
    CHECK(image && image > strstr(page, ".png<") && image < strstr(page, ">512<"), "%s", page);
    mem_free(page);
    text_init(&t, 2000);
    findings_print(&f, &t);
    CHECK(strstr(text_string(&t), "new line [31m.png    512  a cat\n"), "%s", text_string(&t));
    text_release(&t);
    findings_release(&f);
}

TEST(a_large_picture_is_shown_small)
{
    struct err e = { 0 };
    struct findings f;
    struct image large;
    REQUIRE(image_make(&large, 600, 300, 3, &e));
    findings_init(&f, "");
    findings_table(&f, "t", "", 0);
    findings_column(&f, "c", "", 0);
    findings_row(&f);
    findings_cell_picture(&f, &large, NULL);
    CHECK(findings_row_is_shown(&f), "all rows are shown");
    REQUIRE(findings_ok(&f, &e));
    const struct finding *v = &f.sections[0].table.cells[0];
    CHECK(v->width == FINDINGS_PICTURE_PX && v->height == FINDINGS_PICTURE_PX / 2, "%dx%d", v->width, v->height);
    findings_cell_none(&f);
    CHECK_FAILS(findings_ok(&f, &e), ERR_LIMIT, "a cell too many");
    image_release(&large);
    findings_release(&f);
}

TEST(findings_without_memory_are_an_error_and_nothing_leaks)
{
    for (size_t n = 1;; n++) {
        struct err e = { 0 };
        struct findings f;
        char path[4096];
        snprintf(path, sizeof path, "%s", test_scratch("poor.html"));
        mem_fail_at(n);
        fill(&f);
        bool good = findings_page(&f, path, NULL, &e);
        mem_fail_at(0);
        findings_release(&f);
        if (good)
            break;
        CHECK(e.code == ERR_NOMEM || e.code == ERR_LIMIT, "allocation %zu: %s", n, e.text);
        CHECK(n < 1000, "it never succeeds");
    }
}
