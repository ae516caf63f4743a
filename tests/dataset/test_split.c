#include "dataset/split.h"

#include "base/file.h"
#include "test.h"

static struct manifest *with(const char *name, int pictures, int step)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(test_scratch(name), MANIFEST_MAKE, &e);
    REQUIRE(m != NULL);
    for (int i = 0; i < pictures; i++) {
        int picture = i * step % pictures;
        char file[40], id[65], group[20];
        snprintf(file, sizeof file, "%s-%d.png", name, picture);
        snprintf(id, sizeof id, "%064d", picture);
        snprintf(group, sizeof group, "%d", picture / 7);
        REQUIRE(manifest_add(m, json_pack("{s:s,s:s,s:s}", "file_name", file, "id", id, "group", group), "import", NULL, &e));
    }
    return m;
}

static bool is_held_out(const struct manifest *m, int picture)
{
    char id[65];
    snprintf(id, sizeof id, "%064d", picture);
    return !strcmp(manifest_picture(m, (size_t)manifest_find_id(m, id))->split, "held-out");
}

TEST(a_share_is_held_out_whatever_order_and_names)
{
    enum { PICTURES = 2003 };
    struct err e = { 0 };
    struct split_result r, again;
    struct split_options o = { .share = 0.2 };
    struct manifest *a = with("a", PICTURES, 1), *b = with("b", PICTURES, 5);
    REQUIRE(split_pictures(a, &o, &r, NULL, &e));
    assert_int_equal(r.train + r.held_out, PICTURES);
    CHECK_NEAR((double)r.held_out / PICTURES, 0.2, 0.05, "5 sigma: 0.045");
    REQUIRE(split_pictures(b, &o, &again, NULL, &e));
    for (int i = 0; i < PICTURES; i++)
        CHECK(is_held_out(a, i) == is_held_out(b, i), "picture %d", i);
    REQUIRE(split_pictures(a, &o, &again, NULL, &e));
    assert_int_equal(again.changed, 0);
    o.seed = 1;
    REQUIRE(split_pictures(a, &o, &again, NULL, &e));
    CHECK(again.changed > PICTURES / 5, "another seed changed %ld", again.changed);
    o = (struct split_options){ .count = 17 };
    REQUIRE(split_pictures(a, &o, &r, NULL, &e));
    assert_int_equal(r.held_out, 17);
    o.count = PICTURES + 1;
    CHECK_FAILS(split_pictures(a, &o, &r, NULL, &e), ERR_MISSING, "only 2003");
    o = (struct split_options){ .share = 0 };
    REQUIRE(split_pictures(a, &o, &r, NULL, &e));
    assert_int_equal(r.held_out, 0);
    o.share = 1.5;
    CHECK_FAILS(split_pictures(a, &o, &r, NULL, &e), ERR_ARG, "want 0 to 1");
    manifest_free(a);
    manifest_free(b);
}

TEST(pictures_that_belong_together_stay_together)
{
    struct err e = { 0 };
    struct split_result r;
    const struct split_options o = { .share = 0.3, .by = "group" };
    struct manifest *m = with("group", 700, 1);
    REQUIRE(split_pictures(m, &o, &r, NULL, &e));
    for (int i = 0; i < 700; i++)
        CHECK(is_held_out(m, i) == is_held_out(m, i / 7 * 7), "picture %d", i);
    CHECK(r.held_out > 70 && r.held_out < 420 && r.held_out % 7 == 0, "%ld", r.held_out);
    manifest_free(m);
}

TEST(a_picture_that_was_cropped_stays_on_its_side_and_an_excluded_one_is_left_alone)
{
    struct err e = { 0 };
    struct split_result r;
    const struct split_options o = { .share = 0.5 };
    struct manifest *m = with("crop", 100, 1);
    REQUIRE(split_pictures(m, &o, &r, NULL, &e));
    long before = r.held_out;
    for (size_t i = 0; i < 100; i++) {
        char id[65];
        snprintf(id, sizeof id, "%064zu", i + 1000);
        REQUIRE(manifest_change(m, i, json_pack("{s:s}", "id", id), "crop", NULL, &e));
    }
    REQUIRE(split_pictures(m, &o, &r, NULL, &e));
    assert_int_equal(r.changed, 0);
    assert_int_equal(r.held_out, before);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "excluded", "blurred"), "clean", NULL, &e));
    REQUIRE(split_pictures(m, &o, &r, NULL, &e));
    assert_int_equal(r.held_out + r.train, 99);
    REQUIRE(manifest_add(m, json_pack("{s:s}", "file_name", "gone.png"), "import", NULL, &e));
    CHECK_FAILS(split_pictures(m, &o, &r, NULL, &e), ERR_MISSING, "gone.png cannot be read");
    manifest_free(m);
}
