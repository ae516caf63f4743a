/* Pictures in pairs: sets by their names, and what a VAE makes of them. */
#include "evaluate/compare.h"

#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "test.h"

/* A link in a scratch folder to one of the test data's pictures. */
static void put(const char *name, const char *picture)
{
    struct err e = { 0 };
    char data[300], folder[4096], path[4096];
    snprintf(path, sizeof path, "%s", test_scratch(name));
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    REQUIRE(folder_make(folder, &e));
    snprintf(data, sizeof data, "similarity/%s", picture);
    unlink(path);
    assert_int_equal(symlink(test_data(data), path), 0);
}

static void open_set(struct picture_set *s, const char *path)
{
    struct err e = { 0 };
    REQUIRE(picture_set_open(s, path, PICTURES_ALL, &e));
}

static double number(const json_t *j, const char *group, const char *key)
{
    const json_t *object = *group ? json_object_get(j, group) : j;
    CHECK(json_object_get(object, key), "no %s %s", group, key);
    return json_number_value(json_object_get(object, key));
}

TEST(sets_are_paired_by_name_and_the_worst_pair_is_first)
{
    struct err e = { 0 };
    struct picture_set a, b;
    struct findings f;
    struct compare_metrics m;
    char expected_path[300];
    put("compare/a/sub/one.png", "cat.png");
    put("compare/a/two.png", "cat.png");
    put("compare/a/alone.png", "cat.png");
    put("compare/b/one.webp", "blur.png"); /* a PNG file of another name: told by its bytes */
    put("compare/b/two.png", "jpeg.png");
    put("compare/b/three.png", "noise.png");
    put("compare/b/four.png", "noise.png");
    open_set(&a, test_scratch("compare/a"));
    open_set(&b, test_scratch("compare/b"));
    CHECK(a.count == 3 && b.count == 4 && !strcmp(a.at[1].name, "sub/one.png"), "%zu and %zu, %s", a.count, b.count, a.at[1].name);
    REQUIRE(similarity_list("ssim,psnr,gmsd", m.at, &m.count, &e));
    findings_init(&f, "");
    REQUIRE(compare_sets(&f, &a, &b, &m, false, true, NULL, &e));
    json_t *j = findings_json(&f), *rows = json_object_get(j, "images");
    snprintf(expected_path, sizeof expected_path, "%s/expected.json", test_data("similarity"));
    json_t *expected = json_read(expected_path, &e);
    REQUIRE(expected);
    CHECK(json_array_size(rows) == 2 && number(j, "", "pairs") == 2 && number(j, "", "unpaired") == 3, "%zu rows",
          json_array_size(rows));
    static const struct { const char *name, *like; } order[] = { { "sub/one.png", "blur" }, { "two.png", "jpeg" } };
    for (size_t i = 0; i < 2; i++) {
        json_t *row = json_array_get(rows, i);
        CHECK(!strcmp(json_string_value(json_object_get(row, "name")), order[i].name), "row %zu", i);
        for (int k = 0; k < m.count; k++)
            CHECK_NEAR(number(row, "", m.at[k]->name), number(expected, order[i].like, m.at[k]->name), 1e-9, "%s of row %zu",
                       m.at[k]->name, i);
    }
    for (int k = 0; k < m.count; k++)
        CHECK_NEAR(number(j, "mean", m.at[k]->name),
                   (number(expected, "blur", m.at[k]->name) + number(expected, "jpeg", m.at[k]->name)) / 2, 1e-9, "mean %s",
                   m.at[k]->name);
    CHECK(f.sections[0].table.cells[4].kind == FINDING_PICTURE, "the worst pair is not shown");
    json_decref(j);
    findings_release(&f);
    /* By GMSD, of which less is better, the other one would be worst if "less" were read as "worse". */
    REQUIRE(similarity_list("gmsd", m.at, &m.count, &e));
    findings_init(&f, "");
    REQUIRE(compare_sets(&f, &a, &b, &m, false, false, NULL, &e));
    j = findings_json(&f);
    bool blurred = number(expected, "blur", "gmsd") > number(expected, "jpeg", "gmsd");
    const char *worst = json_string_value(json_object_get(json_object_get(j, "worst"), "name"));
    CHECK(!strcmp(worst, blurred ? "sub/one.png" : "two.png"), "%s", worst);
    json_decref(j);
    json_decref(expected);
    findings_release(&f);
    picture_set_release(&a);
    picture_set_release(&b);
}

TEST(pictures_of_other_sizes_are_compared_if_asked)
{
    struct err e = { 0 };
    char cat[300], small[4096];
    struct image whole, half;
    struct compare_metrics m;
    struct findings f;
    snprintf(cat, sizeof cat, "%s", test_data("similarity/cat.png"));
    snprintf(small, sizeof small, "%s", test_scratch("small.png"));
    REQUIRE(similarity_list("psnr", m.at, &m.count, &e));
    REQUIRE(image_load(&whole, cat, IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_resize(&half, &whole, whole.width / 2, whole.height / 2, IMAGE_AREA, &e));
    REQUIRE(image_save_png(small, &half, NULL, 0, &e));
    findings_init(&f, "");
    CHECK_FAILS(compare_pair(&f, cat, small, &m, false, &e), ERR_SHAPE, "178x167 and 89x83");
    REQUIRE(compare_pair(&f, cat, small, &m, true, &e));
    CHECK(f.fact_count == 1 && f.facts[0].value.number > 20 && f.facts[0].value.number < 40, "%g dB", f.facts[0].value.number);
    findings_release(&f);
    image_release(&whole);
    image_release(&half);
}

TEST(a_list_tells_training_pictures_from_held_out_ones)
{
    struct err e = { 0 };
    struct picture_set all, trained, held_out;
    const char *mini = test_data("emoji-mini");
    REQUIRE(picture_set_open(&all, mini, PICTURES_ALL, &e));
    REQUIRE(picture_set_open(&trained, mini, PICTURES_TRAINED, &e));
    REQUIRE(picture_set_open(&held_out, mini, PICTURES_HELD_OUT, &e));
    CHECK(all.count == 12 && trained.count == 10 && held_out.count == 2, "%zu, %zu, %zu", all.count, trained.count, held_out.count);
    CHECK(all.listed && !strcmp(all.at[0].caption, "red ball, solid style") && !strcmp(all.at[0].style, "solid"), "%s",
          all.at[0].caption);
    for (size_t i = 0; i < all.count; i++)
        for (size_t k = 0; k < all.count; k++)
            CHECK((all.at[i].subject == all.at[k].subject) == !strcmp(strchr(all.at[i].name, '-'), strchr(all.at[k].name, '-')),
                  "%s and %s", all.at[i].name, all.at[k].name);
    size_t seen = 0;
    for (size_t k = 0; k < picture_set_thinned(&all, 5); k++)
        seen |= (size_t)1 << picture_set_nth(&all, 5, k);
    CHECK(seen == (1 | 1 << 2 | 1 << 4 | 1 << 7 | 1 << 9), "%zx", seen); /* 12 k / 5, rounded down */
    picture_set_release(&all);
    picture_set_release(&trained);
    picture_set_release(&held_out);
    CHECK_FAILS(picture_set_open(&all, test_data("models/tiny-sd1/vae"), PICTURES_ALL, &e), ERR_MISSING, "has no pictures");
    picture_set_release(&all);
    CHECK_FAILS(picture_set_open(&all, test_scratch("nowhere"), PICTURES_ALL, &e), ERR_MISSING, "no such");
}

static void open_vae(struct vae_files *v, const char *model)
{
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s", test_data(model));
    REQUIRE(vae_files_open(v, &(struct model_files){ .path = path }, &e));
}

/* tests/reference/make_evaluate.py */
TEST(latents_are_those_of_diffusers)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu != NULL);
    struct vae_files files;
    struct reconstruction vae;
    struct picture_set set;
    open_vae(&files, "models/tiny-emoji");
    json_t *expected = json_read(test_data("evaluate/expected.json"), &e), *one;
    REQUIRE(expected);
    REQUIRE(reconstruction_init(&vae, &files, 32, 3, false, DTYPE_F32, cpu, &e));
    REQUIRE(picture_set_open(&set, test_data("emoji-mini"), PICTURES_ALL, &e));
    const char *name;
    json_object_foreach(json_object_get(expected, "latents"), name, one) {
        struct image in;
        float latents[2 * 2 * 16];
        size_t i = 0;
        while (strcmp(set.at[i].name, name))
            i++;
        CHECK(json_array_size(one) == sizeof latents / sizeof *latents, "%s: another size", name);
        REQUIRE(picture_set_square(&set, i, 32, &in, &e));
        REQUIRE(reconstruction_encode(&vae, in.pixels, 1, latents, &e));
        for (size_t k = 0; k < json_array_size(one); k++) /* blending with white may round the other way */
            CHECK_NEAR(latents[k], json_number_value(json_array_get(one, k)), 0.02, "%s, number %zu", name, k);
        image_release(&in);
    }
    json_decref(expected);
    picture_set_release(&set);
    reconstruction_release(&vae);
    vae_files_release(&files);
}

TEST(a_vae_is_judged_by_what_comes_back)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu != NULL);
    struct vae_files files;
    struct reconstruction vae;
    struct picture_set set;
    struct compare_metrics m;
    struct findings f;
    open_vae(&files, "models/tiny-emoji");
    REQUIRE(reconstruction_init(&vae, &files, 64, 5, true, DTYPE_F32, cpu, &e));
    REQUIRE(picture_set_open(&set, test_data("emoji-mini"), PICTURES_ALL, &e));
    REQUIRE(similarity_list("psnr,ssim", m.at, &m.count, &e));
    findings_init(&f, "");
    REQUIRE(compare_reconstructed(&f, &set, &vae, 7, &m, true, NULL, &e));
    json_t *j = findings_json(&f), *rows = json_object_get(j, "images");
    CHECK(json_array_size(rows) == 7 && number(j, "", "pictures") == 7, "%zu rows", json_array_size(rows));
    /* Every row by hand, and the pooled figure from the rows': mean squared errors are added up. */
    double squares = 0, last = -1;
    for (size_t r = 0; r < 7; r++) {
        json_t *row = json_array_get(rows, r);
        struct image in;
        uint8_t out[64 * 64 * 3];
        size_t i = 0;
        while (strcmp(set.at[i].name, json_string_value(json_object_get(row, "name"))))
            i++;
        REQUIRE(picture_set_square(&set, i, 64, &in, &e));
        REQUIRE(reconstruction_run(&vae, in.pixels, 1, out, &e));
        double sum = 0, psnr = number(row, "", "psnr");
        for (size_t k = 0; k < sizeof out; k++)
            sum += (in.pixels[k] - out[k]) * (in.pixels[k] - out[k]);
        CHECK_NEAR(psnr, 10 * log10(255.0 * 255 * sizeof out / sum), 1e-9, "row %zu", r);
        CHECK(psnr >= last, "row %zu is worse than the one before", r);
        last = psnr;
        squares += sum;
        image_release(&in);
    }
    CHECK_NEAR(number(j, "", "pooled_psnr"), 10 * log10(255.0 * 255 * 7 * 64 * 64 * 3 / squares), 1e-9, "pooled");
    json_decref(j);
    findings_release(&f);
    picture_set_release(&set);
    reconstruction_release(&vae);
    CHECK_FAILS(reconstruction_init(&vae, &files, 65, 1, true, DTYPE_F32, cpu, &e), ERR_ARG, "65 pixels");
    reconstruction_release(&vae);
    vae_files_release(&files);
}
