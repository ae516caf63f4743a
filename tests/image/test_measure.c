/* Real pictures against the figures of imagehash, scikit-image, SciPy and NumPy (tests/reference/make_measure.py). */
#include "image/measure.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/random.h"
#include "image/phash.h"
#include "test.h"

static void load(struct image *out, const char *name)
{
    struct err e = { 0 };
    REQUIRE(image_load(out, test_data(name), IMAGE_FLATTEN, 0xFFFFFF, &e));
}

static double figure(const json_t *of, const char *name)
{
    return json_real_value(json_object_get(of, name));
}

static uint64_t digits(const json_t *of, const char *name)
{
    uint64_t v = 0;
    const char *text = json_string_value(json_object_get(of, name));
    CHECK(phash_read(&v, text), "%s", text);
    return v;
}

TEST(figures_are_those_of_the_programs_that_people_use)
{
    struct err e = { 0 };
    json_t *expected = json_read(test_data("measure/expected.json"), &e), *of;
    REQUIRE(expected);
    const char *name;
    json_object_foreach(expected, name, of) {
        struct image image;
        struct image_measures m;
        load(&image, name);
        REQUIRE(image_measure(&m, &image, &e));
        CHECK_NEAR(m.sharpness, figure(of, "sharpness"), 1e-9 * (1 + m.sharpness), "sharpness of %s", name);
        CHECK_NEAR(m.blur, figure(of, "blur"), 1e-9, "blur of %s", name);
        CHECK_NEAR(m.entropy, figure(of, "entropy"), 1e-9, "entropy of %s", name);
        CHECK_NEAR(m.deviation, figure(of, "deviation"), 1e-9, "deviation of %s", name);
        CHECK_NEAR(m.colourfulness, figure(of, "colourfulness"), 1e-9, "colourfulness of %s", name);
        for (size_t k = 0; k < 3; k++)
            CHECK_NEAR(m.mean[k], json_real_value(json_array_get(json_object_get(of, "mean"), k)), 1e-9, "mean of %s", name);
        image_release(&image);
    }
    CHECK(json_object_size(expected) == 19, "%zu pictures", json_object_size(expected));
    json_decref(expected);
}

TEST(the_hash_is_imagehashs_wherever_the_picture_decides_a_bit)
{
    struct err e = { 0 };
    json_t *expected = json_read(test_data("measure/expected.json"), &e), *of;
    REQUIRE(expected);
    const char *name;
    int bits = 0;
    json_object_foreach(expected, name, of) {
        struct image image;
        uint64_t hash, wanted = digits(of, "phash"), decided = digits(of, "decided");
        load(&image, name);
        REQUIRE(phash_of(&hash, &image, &e));
        char text[PHASH_TEXT_BYTES];
        phash_text(hash, text);
        CHECK((hash & decided) == (wanted & decided), "%s: %s", name, text);
        CHECK((hash & ~decided) == 0, "%s: undecided bits are 0: %s", name, text);
        bits += __builtin_popcountll(decided);
        image_release(&image);
    }
    CHECK(bits > 1000, "%d bits were compared", bits);
    json_decref(expected);
}

/* A picture of bands: a frame of `colour` around noise, sides in the order of enum image_side. */
static void framed(struct image *out, int width, int height, const int px[IMAGE_SIDES], int colour)
{
    struct err e = { 0 };
    REQUIRE(image_make(out, width, height, 3, &e));
    image_fill(out, (uint32_t)colour);
    struct random r = random_of(7, 0);
    for (int y = px[IMAGE_TOP]; y < height - px[IMAGE_BOTTOM]; y++)
        for (int x = px[IMAGE_LEFT]; x < width - px[IMAGE_RIGHT]; x++)
            for (int c = 0; c < 3; c++)
                out->pixels[(y * width + x) * 3 + c] = (uint8_t)random_below(&r, 256);
}

TEST(frames_are_found_line_by_line)
{
    static const struct {
        int width, height, px[IMAGE_SIDES], colour;
    } cases[] = {
        { 60, 40, { 0, 0, 0, 0 }, 0 },         { 60, 40, { 0, 5, 0, 7 }, 0 },        { 60, 40, { 3, 0, 9, 0 }, 0xFFFFFF },
        { 60, 40, { 1, 2, 3, 4 }, 0x102030 },  { 40, 60, { 19, 0, 19, 0 }, 0x00FF00 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image image;
        struct image_measures m;
        struct err e = { 0 };
        framed(&image, cases[i].width, cases[i].height, cases[i].px, cases[i].colour);
        /* what a JPEG does to a frame: all within the tolerance, and a stray pixel */
        for (size_t k = 0; k < image_bytes(&image); k += 5)
            image.pixels[k] = (uint8_t)(image.pixels[k] + (image.pixels[k] < 248 ? 7 : -7));
        REQUIRE(image_measure(&m, &image, &e));
        for (int side = 0; side < IMAGE_SIDES; side++) {
            CHECK(m.border_px[side] == cases[i].px[side], "case %zu side %d: %d", i, side, m.border_px[side]);
            CHECK(cases[i].px[side] ? m.border_edge[side] > 0.4 : m.border_edge[side] == 0, "case %zu side %d: %g", i, side,
                  m.border_edge[side]);
        }
        image_release(&image);
    }
}

TEST(a_thing_before_a_plain_background_has_no_straight_edge)
{
    struct image image;
    struct image_measures m;
    struct err e = { 0 };
    REQUIRE(image_make(&image, 100, 100, 3, &e));
    image_fill(&image, 0xF0F0F0);
    for (int y = 0; y < 100; y++)
        for (int x = 0; x < 100; x++)
            if ((x - 50) * (x - 50) + (y - 50) * (y - 50) < 900)
                image.pixels[(y * 100 + x) * 3] = 20;
    REQUIRE(image_measure(&m, &image, &e));
    for (int side = 0; side < IMAGE_SIDES; side++)
        CHECK((m.border_px[side] == 20 || m.border_px[side] == 21) && m.border_edge[side] < 0.3, "side %d: %d, %g", side,
              m.border_px[side], m.border_edge[side]);
    image_release(&image);
}

TEST(plain_and_tiny_pictures_have_figures_too)
{
    for (int side = 1; side < 14; side++) {
        struct image image;
        struct image_measures m;
        uint64_t hash;
        struct err e = { 0 };
        REQUIRE(image_make(&image, side, 15 - side, side % 2 ? 3 : 4, &e));
        image_fill(&image, 0x406080);
        REQUIRE(image_measure(&m, &image, &e));
        CHECK(m.sharpness == 0 && m.blur == 0 && m.entropy == 0 && m.deviation == 0 && m.border_px[0] == 0, "side %d", side);
        CHECK(m.mean[0] == 64 && m.mean[1] == 96 && m.mean[2] == 128, "side %d", side);
        REQUIRE(phash_of(&hash, &image, &e));
        CHECK(hash == (uint64_t)1 << 63, "a plain picture has a mean and nothing else: %llx", (unsigned long long)hash);
        image_release(&image);
    }
}

TEST(blur_shrinking_and_noise_move_the_figures_the_right_way)
{
    struct image cat, blurred, noisy;
    struct image_measures m, b, n;
    struct err e = { 0 };
    load(&cat, "similarity/cat.png");
    load(&blurred, "similarity/blur.png");
    load(&noisy, "similarity/noise.png");
    REQUIRE(image_measure(&m, &cat, &e));
    REQUIRE(image_measure(&b, &blurred, &e));
    REQUIRE(image_measure(&n, &noisy, &e));
    CHECK(b.blur > m.blur + 0.1 && n.blur < m.blur, "blur %g %g %g", b.blur, m.blur, n.blur);
    CHECK(b.sharpness < m.sharpness / 5 && n.sharpness > m.sharpness, "sharpness %g %g %g", b.sharpness, m.sharpness, n.sharpness);
    image_release(&cat);
    image_release(&blurred);
    image_release(&noisy);
}

TEST(out_of_memory_is_an_error)
{
    struct image image;
    load(&image, "measure/rocket.png");
    for (size_t n = 1;; n++) {
        struct err e = { 0 };
        struct image_measures m;
        uint64_t hash;
        mem_fail_at(n);
        struct phash_index *index = phash_index_new(&e);
        bool good = index && image_measure(&m, &image, &e) && phash_of(&hash, &image, &e) && phash_index_add(index, hash, 1, &e);
        size_t made = mem_fail_at(0);
        phash_index_free(index);
        CHECK(good == (made < n), "n %zu: %s", n, e.text);
        if (good)
            break;
        CHECK(e.code == ERR_NOMEM, "n %zu: %s", n, e.text);
    }
    image_release(&image);
}
