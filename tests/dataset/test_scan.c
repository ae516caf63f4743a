#include "dataset/scan.h"

#include "base/file.h"
#include "base/mem.h"
#include "test.h"

TEST(words_are_what_white_space_cuts_and_each_chinese_character)
{
    static const struct {
        const char *text;
        long words;
    } cases[] = {
        { "", 0 }, { "  ", 0 }, { "a", 1 }, { " a  red\tapple\n", 3 }, { "红苹果", 3 }, { "3D风格", 3 }, { "a红b", 3 },
        { "カタ かな", 4 }, { "한국어", 3 }, { "caf\xC3\xA9, noir", 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(scan_words(cases[i].text) == cases[i].words, "\"%s\": %ld", cases[i].text, scan_words(cases[i].text));
}

static bool count_bytes(void *self, const char *text, long *count, struct err *e)
{
    (void)self, (void)e;
    *count = (long)strlen(text);
    return true;
}

TEST(figures_are_ranked_counted_and_leave_out_what_is_not_known)
{
    enum { PICTURES = 7 };
    static const struct {
        int width, height;
        double blur;
        const char *text, *more; /* more: of the list */
        enum survey_state state;
    } pictures[PICTURES] = {
        { 100, 100, 0.1, "Cat, red", "", SURVEY_SEEN },
        { 200, 100, 0.2, "cat , blue,,", "", SURVEY_SEEN },
        { 160, 90, 0.4, "Cat, red", ",\"split\":\"held-out\"", SURVEY_SEEN },
        { 90, 160, 0.7, "", "", SURVEY_SEEN },
        { 0, 0, 0, "dog", "", SURVEY_BROKEN },
        { 0, 0, 0, "dog two", "", SURVEY_MISSING },
        { 5, 5, 1, "dog", ",\"excluded\":\"blurred\"", SURVEY_NOT_YET },
    };
    struct err e = { 0 };
    char list[4096] = "";
    struct survey_picture seen[PICTURES] = { 0 };
    for (int i = 0; i < PICTURES; i++) {
        snprintf(list + strlen(list), sizeof list - strlen(list), "{\"file_name\":\"%d.png\",\"text\":\"%s\"%s}\n", i, pictures[i].text,
                 pictures[i].more);
        seen[i] = (struct survey_picture){ .state = pictures[i].state, .bytes = 1000, .width = pictures[i].width, .alpha = i == 1,
                                           .height = pictures[i].height, .measures = { .blur = pictures[i].blur, .mean = { i, 2, 255 } } };
    }
    REQUIRE(folder_make(test_scratch("scan"), &e) && file_write_whole(test_scratch("scan/metadata.jsonl"), list, strlen(list), &e));
    struct manifest *m = manifest_open(test_scratch("scan"), MANIFEST_READ, &e);
    REQUIRE(m != NULL);
    const struct survey s = { seen, PICTURES };
    const struct scan_options o = { .tokens = count_bytes, .room = 7 };
    struct scan r;
    REQUIRE(scan_make(&r, m, &s, &o, &e));
    assert_int_equal(r.pictures, 7);
    assert_int_equal(r.excluded, 1);
    assert_int_equal(r.used, 6);
    assert_int_equal(r.held_out, 1);
    assert_int_equal(r.broken, 1);
    assert_int_equal(r.missing, 1);
    assert_int_equal(r.with_alpha, 1);
    assert_int_equal(r.without_text, 1);
    assert_int_equal(r.same_text, 1);
    assert_int_equal(r.too_long, 3);
    assert_int_equal(r.bytes, 6000);
    CHECK_NEAR(r.mean_colour[0], 1.5, 1e-12, "red");
    CHECK_NEAR(r.mean_colour[2], 255, 1e-12, "blue");
    /* numpy.percentile([0.1, 0.2, 0.4, 0.7], [5, 50, 95]) */
    const struct scan_range *blur = &r.range[SCAN_BLUR];
    assert_int_equal(blur->count, 4);
    CHECK_NEAR(blur->least, 0.1, 1e-12, "least");
    CHECK_NEAR(blur->low, 0.115, 1e-12, "5%%");
    CHECK_NEAR(blur->median, 0.3, 1e-12, "median");
    CHECK_NEAR(blur->high, 0.655, 1e-12, "95%%");
    CHECK_NEAR(blur->most, 0.7, 1e-12, "most");
    CHECK_NEAR(blur->mean, 0.35, 1e-12, "mean");
    CHECK_NEAR(r.of[2][SCAN_ASPECT], 16 / 9.0, 1e-12, "aspect");
    assert_true(isnan(r.of[4][SCAN_BLUR]) && isnan(r.of[6][SCAN_WIDTH]) && isnan(r.of[3][SCAN_TOKENS]));
    assert_int_equal(r.range[SCAN_WORDS].count, 5);
    static const size_t shapes[SCAN_SHAPES] = { 0, 1, 0, 0, 1, 0, 0, 1, 1 };
    assert_memory_equal(r.shape, shapes, sizeof shapes);
    assert_int_equal(r.tag_count, 5);
    assert_string_equal(r.tags[0].tag, "cat");
    assert_int_equal(r.tags[0].count, 3);
    assert_string_equal(r.tags[1].tag, "red");
    assert_string_equal(r.tags[2].tag, "blue");
    scan_release(&r);
    manifest_free(m);
}

TEST(every_failing_allocation_while_scanning_is_an_error)
{
    struct err e = { 0 };
    REQUIRE(folder_make(test_scratch("memory"), &e));
    static const char list[] = "{\"file_name\":\"a.png\",\"text\":\"a, b\"}";
    REQUIRE(file_write_whole(test_scratch("memory/metadata.jsonl"), list, sizeof list - 1, &e));
    struct manifest *m = manifest_open(test_scratch("memory"), MANIFEST_READ, &e);
    REQUIRE(m != NULL);
    struct survey_picture seen = { .state = SURVEY_SEEN, .width = 1, .height = 1 };
    const struct survey s = { &seen, 1 };
    const struct scan_options o = { 0 };
    bool good = false;
    for (size_t n = 1; !good; n++) {
        struct scan r;
        CHECK(n < 100, "never succeeds");
        err_clear(&e);
        mem_fail_at(n);
        good = scan_make(&r, m, &s, &o, &e);
        mem_fail_at(0);
        CHECK(good || e.code == ERR_NOMEM, "allocation %zu: %s", n, e.text);
        scan_release(&r);
    }
    manifest_free(m);
}
