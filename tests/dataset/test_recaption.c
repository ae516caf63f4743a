#include "dataset/recaption.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"

static const char *by_template(const char *template, const char *picture)
{
    static char said[1000];
    struct err e = { 0 };
    struct text out;
    json_t *j = json_parse(picture, strlen(picture), "a picture", &e);
    text_init(&out, 900);
    REQUIRE(j && recaption_template(template, j, &out, &e));
    snprintf(said, sizeof said, "%s", text_string(&out));
    text_release(&out);
    json_decref(j);
    return said;
}

TEST(a_template_is_filled_from_names_and_fields)
{
    static const struct {
        const char *template, *picture, *wanted;
    } cases[] = {
        { "{name}", "{\"file_name\":\"x/a_red-apple_01.png\"}", "a red apple" },
        { "{name}", "{\"file_name\":\"IMG_2041.JPG\"}", "IMG" },
        { "{name}", "{\"file_name\":\"7.png\"}", "7" },
        { "{name}", "{\"file_name\":\"__a..b__.png\"}", "a b" },
        { "{name}", "{\"file_name\":\"红_苹果.png\"}", "红 苹果" },
        { "{folder}, {text}", "{\"file_name\":\"y/10_my_cat/1.png\",\"text\":\"on a mat\"}", "my cat, on a mat" },
        { "{folder}, {text}", "{\"file_name\":\"1.png\",\"text\":\"on a mat\"}", "on a mat" },
        { "{text}, {style}, {tags}", "{\"file_name\":\"1.png\",\"text\":\"cat\",\"tags\":[\"a\",\"b\"]}", "cat, a, b" },
        { "{text}, {style}", "{\"file_name\":\"1.png\",\"text\":\"cat\"}", "cat" },
        { "{{{width}x{height}}}", "{\"file_name\":\"1.png\",\"width\":5,\"height\":7}", "{5x7}" },
        { "plain", "{\"file_name\":\"1.png\"}", "plain" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(by_template(cases[i].template, cases[i].picture), cases[i].wanted);
    struct err e = { 0 };
    struct text out;
    json_t *j = json_pack("{s:s}", "file_name", "a.png");
    text_init(&out, 100);
    static const char *const bad[] = { "{", "{text", "a}", "{}", "{a{b}}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(recaption_template(bad[i], j, &out, &e), ERR_ARG, "the template");
    text_release(&out);
    json_decref(j);
}

static const char *by_rules(const struct recaption_options *o, const char *text, const char *own)
{
    static char said[1000];
    struct err e = { 0 };
    struct text out;
    text_init(&out, 900);
    REQUIRE(recaption_rules(o, text, own, &out, &e));
    snprintf(said, sizeof said, "%s", text_string(&out));
    text_release(&out);
    return said;
}

TEST(tags_are_replaced_removed_and_framed)
{
    static const char *const gone[] = { "signed*", "BLURRY" };
    static const char *const pairs[] = { "red hair=ginger, long hair", "cat=", "a b=c" };
    const struct recaption_options o = { .spaces = true, .unique = true, .remove = gone, .removes = 2, .replace = pairs, .replaces = 3,
                                         .prefix = "sks style", .suffix = "best" };
    assert_string_equal(by_rules(&o, " red_hair,smile,, Cat, blurry ,smile , signed by me,a_b,Smile", "1"),
                        "sks style, ginger, long hair, smile, c, best");
    assert_string_equal(by_rules(&o, "", "1"), "sks style, best");
    const struct recaption_options none = { 0 };
    assert_string_equal(by_rules(&none, " as it,was ,", "1"), " as it,was ,");
    struct err e = { 0 };
    struct text out;
    static const char *const odd[] = { "no sign" };
    const struct recaption_options bad = { .replace = odd, .replaces = 1 };
    text_init(&out, 100);
    CHECK_FAILS(recaption_rules(&bad, "a", "1", &out, &e), ERR_ARG, "want TAG=OTHER");
    text_release(&out);
}

TEST(kept_tags_stay_and_the_others_are_shuffled_and_dropped_by_chance)
{
    enum { TRIES = 4000, TAGS = 6 };
    struct recaption_options o = { .keep = 2, .shuffle = true, .drop = 0.25 };
    long left = 0, first[TAGS] = { 0 };
    for (int i = 0; i < TRIES; i++) {
        char own[20];
        snprintf(own, sizeof own, "picture %d", i);
        const char *said = by_rules(&o, "k1, k2, t0, t1, t2, t3", own);
        CHECK(!strncmp(said, "k1, k2", 6), "%s", said);
        for (const char *at = said + 6; *at; at += 4, left++) {
            CHECK(at[0] == ',' && at[2] == 't' && at[3] >= '0' && at[3] <= '3', "%s", said);
            first[at[3] - '0'] += at == said + 6;
        }
    }
    CHECK_NEAR((double)left / (4 * TRIES), 0.75, 0.02, "tags left"); /* 5 sigma of 16000 draws: 0.017 */
    for (int t = 0; t < 4; t++)
        CHECK_NEAR((double)first[t] / TRIES, 0.25, 0.04, "tag %d is the first of the others", t);
    char once[1000];
    snprintf(once, sizeof once, "%s", by_rules(&o, "k1, k2, t0, t1, t2, t3", "x"));
    assert_string_equal(by_rules(&o, "k1, k2, t0, t1, t2, t3", "x"), once);
}

/* ---- a data set ---- */

static struct manifest *fresh(const char *name, int pictures)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(test_scratch(name), MANIFEST_MAKE, &e);
    REQUIRE(m != NULL);
    for (int i = 0; i < pictures; i++) {
        char file[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
        snprintf(file, sizeof file, "it's a \"%d\".png", i);
        REQUIRE(path_join(path, manifest_folder(m), file, &e) && file_write_whole(path, file, strlen(file), &e));
        REQUIRE(manifest_add(m, json_pack("{s:s,s:s}", "file_name", file, "text", i % 2 ? "" : "old"), "import", NULL, &e));
    }
    REQUIRE(manifest_save(m, &e));
    return m;
}

static void count_shown(void *self, const char *file_name, const char *was, const char *now)
{
    (void)file_name, (void)was, (void)now;
    ++*(int *)self;
}

TEST(a_command_writes_captions_once_and_undo_takes_them_back)
{
    struct err e = { 0 };
    struct recaption_result r;
    struct manifest *m = fresh("command", 5);
    struct recaption_options o = { .command = "cat", .jobs = 2, .prefix = "p" };
    int shown = 0;
    REQUIRE(dataset_recaption(m, &o, true, count_shown, &shown, &r, NULL, &e));
    assert_int_equal(shown, 5);
    assert_string_equal(manifest_picture(m, 0)->text, "old");
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.changed, 5);
    assert_string_equal(manifest_picture(m, 3)->text, "p, it's a \"3\".png");
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.done_before, 5);
    o.again = true;
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.same, 5);
    long count;
    REQUIRE(recaption_undo(m, &count, &e)); /* the second run's */
    REQUIRE(recaption_undo(m, &count, &e));
    assert_int_equal(count, 5);
    assert_string_equal(manifest_picture(m, 0)->text, "old");
    assert_string_equal(manifest_picture(m, 1)->text, "");
    o = (struct recaption_options){ .template = "{name}", .only_missing = true };
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.changed, 2);
    manifest_free(m);
}

TEST(a_caption_that_fails_leaves_the_old_one_and_ten_in_a_row_end_it)
{
    struct err e = { 0 };
    struct recaption_result r;
    struct manifest *m = fresh("failing", 30);
    struct recaption_options o = { .command = "grep -v 0" };
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.failed, 3); /* 0, 10, 20 */
    assert_int_equal(r.changed, 27);
    assert_string_equal(manifest_picture(m, 10)->text, "old");
    manifest_free(m);
    m = fresh("failing-all", 30);
    o.command = "exit 7 #";
    CHECK_FAILS(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e), ERR_IO, "10 failed one behind the other, the first: exit 7 #: ended "
                                                                                   "with status 7");
    o.command = "printf '\\377'; :";
    CHECK_FAILS(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e), ERR_IO, "is not UTF-8");
    o.template = "x";
    CHECK_FAILS(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e), ERR_ARG, "one of them");
    manifest_free(m);
}

static void stop_soon(void *self, const char *what, long done, long total, const char *note)
{
    (void)self, (void)what, (void)total, (void)note;
    if (done >= 3)
        stop_request();
}

TEST(captions_go_on_where_they_were_stopped)
{
    struct err e = { 0 };
    struct recaption_result r;
    struct manifest *m = fresh("stopped", 8);
    const struct recaption_options o = { .command = "cat" };
    const struct progress stops = { .step = stop_soon };
    CHECK_FAILS(dataset_recaption(m, &o, false, NULL, NULL, &r, &stops, &e), ERR_STOPPED, "");
    stop_forget();
    manifest_free(m);
    REQUIRE((m = manifest_open(test_scratch("stopped"), MANIFEST_CHANGE, &e)) != NULL);
    REQUIRE(dataset_recaption(m, &o, false, NULL, NULL, &r, NULL, &e));
    assert_int_equal(r.done_before, 3);
    assert_int_equal(r.changed, 5);
    manifest_free(m);
}
