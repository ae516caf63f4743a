/* A real picture and damaged copies against the numbers of scikit-image and pytorch-msssim (tests/reference/make_similarity.py). */
#include "evaluate/similarity.h"

#include <math.h>

#include "base/json.h"
#include "test.h"

static void load(struct image *out, const char *name)
{
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/%s.png", test_data("similarity"), name);
    REQUIRE(image_load(out, path, IMAGE_FLATTEN, 0xFFFFFF, &e));
}

TEST(figures_are_those_of_the_programs_that_people_use)
{
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/expected.json", test_data("similarity"));
    json_t *expected = json_read(path, &e), *figures;
    REQUIRE(expected);
    struct image cat, other;
    load(&cat, "cat");
    const char *name;
    json_object_foreach(expected, name, figures) {
        load(&other, name);
        for (const struct similarity_metric *m = similarity_metrics; m->name; m++) {
            double got, wanted = json_real_value(json_object_get(figures, m->name));
            REQUIRE(similarity_measure(m, &cat, &other, &got, &e));
            /* pytorch-msssim keeps window and exponents in f32 */
            CHECK_NEAR(got, wanted, strcmp(m->name, "ms-ssim") ? 1e-9 : 1e-6, "%s of %s", m->name, name);
        }
        image_release(&other);
    }
    json_decref(expected);
    image_release(&cat);
}

TEST(equal_pictures_are_equal)
{
    struct err e = { 0 };
    struct image cat;
    load(&cat, "cat");
    for (const struct similarity_metric *m = similarity_metrics; m->name; m++) {
        double got;
        REQUIRE(similarity_measure(m, &cat, &cat, &got, &e));
        CHECK(got == (!strcmp(m->name, "psnr") ? INFINITY : !strcmp(m->name, "gmsd") ? 0 : 1) || fabs(got - 1) < 1e-12, "%s: %.17g",
              m->name, got);
    }
    image_release(&cat);
}

TEST(what_cannot_be_compared_is_refused)
{
    struct err e = { 0 };
    struct image cat, part;
    double got;
    load(&cat, "cat");
    REQUIRE(image_crop(&part, &cat, 0, 0, 100, 100, &e));
    const struct similarity_metric *ssim = similarity_find("ssim", 4, &e), *ms = similarity_find("MS", 2, &e);
    CHECK(ssim && !ms && e.code == ERR_ARG, "%s", e.text);
    CHECK_FAILS(similarity_measure(ssim, &cat, &part, &got, &e), ERR_SHAPE, "178x167 and 100x100");
    REQUIRE((ms = similarity_find("ms_ssim", 7, &e)) != NULL);
    CHECK_FAILS(similarity_measure(ms, &part, &part, &got, &e), ERR_ARG, "at least 161");
    image_release(&cat);
    image_release(&part);
}
