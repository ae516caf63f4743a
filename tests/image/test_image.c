#include "base/mem.h"
#include "image/image.h"
#include "test.h"

/* A picture with no symmetry: u8(37 x + 91 y + 53 c + 11 x y). */
static void pattern(struct image *out, int width, int height, int channels)
{
    struct err e = { 0 };
    REQUIRE(image_make(out, width, height, channels, &e));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                out->pixels[(y * width + x) * channels + c] = (uint8_t)(37 * x + 91 * y + 53 * c + 11 * x * y);
}

static const uint8_t *at(const struct image *image, int x, int y)
{
    return image->pixels + (y * image->width + x) * image->channels;
}

TEST(unit_floats_become_pixels_as_numpy_rounds_them)
{
    static const struct {
        float x;
        int wanted;
    } cases[] = {
        { -1, 0 },
        { 1, 255 },
        { -1.5f, 0 },
        { 7, 255 },
        { NAN, 0 },
        { INFINITY, 255 },
        { -INFINITY, 0 },
        { 0, 128 },                      /* 127.5: to even, up */
        { -0.00784314051270485f, 126 },  /* 126.5: to even, down */
        { 0.5725489854812622f, 200 },    /* 200.5: to even, down */
        { 0.9882351756095886f, 254 },    /* 253.5: to even, up */
        { 0.25f, 159 },                  /* 159.375 */
    };
    enum { N = sizeof cases / sizeof *cases };
    float x[3 * N];
    for (int i = 0; i < N; i++)
        x[3 * i] = x[3 * i + 1] = x[3 * i + 2] = cases[i].x;
    struct image image;
    struct err e = { 0 };
    REQUIRE(image_from_unit(&image, x, N, 1, 3, IMAGE_NHWC, &e));
    for (int i = 0; i < N; i++)
        CHECK(at(&image, i, 0)[1] == cases[i].wanted, "x %g came %d", (double)cases[i].x, at(&image, i, 0)[1]);
    image_release(&image);
}

TEST(pixels_survive_the_way_to_unit_floats_and_back_in_both_layouts)
{
    struct image image, back;
    struct err e = { 0 };
    REQUIRE(image_make(&image, 16, 16, 3, &e));
    for (size_t i = 0; i < image_bytes(&image); i++)
        image.pixels[i] = (uint8_t)(i / 3 + i % 3);
    static float planes[768], mixed[768];
    image_to_unit(planes, &image, IMAGE_NCHW);
    image_to_unit(mixed, &image, IMAGE_NHWC);
    CHECK(planes[256 + 5] == mixed[3 * 5 + 1] && mixed[0] == -1, "%g and %g", (double)planes[261], (double)mixed[16]);
    for (int layout = 0; layout < 2; layout++) {
        REQUIRE(image_from_unit(&back, layout ? mixed : planes, 16, 16, 3, layout ? IMAGE_NHWC : IMAGE_NCHW, &e));
        CHECK(memcmp(back.pixels, image.pixels, 768) == 0, "layout %d", layout);
        image_release(&back);
    }
    image_release(&image);
}

TEST(resizing_agrees_with_pillow)
{
    /* the red channel of Pillow 12's result; it rounds between its two passes, as our Lanczos and cubic do, so 2 of 255 may
     * lie between us where another filter is used */
    static const struct {
        enum image_filter filter;
        int width, height;
        uint8_t wanted[35];
    } cases[] = {
        { IMAGE_BILINEAR, 3, 4, { 104, 133, 133, 119, 131, 112, 121, 135, 121, 155, 146, 122 } },
        { IMAGE_BILINEAR, 7, 5, { 52,  95,  120, 164, 97,  140, 165, 113, 174, 106, 167, 99,
                                  159, 92,  108, 129, 74,  155, 116, 61,  142, 103, 124, 178,
                                  152, 125, 99,  152, 164, 155, 164, 136, 145, 118, 127 } },
        { IMAGE_BICUBIC, 3, 4, { 101, 134, 137, 124, 128, 110, 117, 134, 119, 158, 149, 121 } },
        { IMAGE_BICUBIC, 7, 5, { 50, 92, 122, 163, 97, 139, 169, 114, 182, 106, 167, 99, 159, 83, 108, 120, 71,
                                 158, 113, 58, 151, 102, 123, 178, 152, 125, 99, 153, 166, 161, 162, 135, 147, 119, 121 } },
        { IMAGE_LANCZOS, 3, 4, { 102, 135, 138, 127, 127, 108, 115, 132, 118, 160, 152, 121 } },
        { IMAGE_LANCZOS, 7, 5, { 55,  94,  119, 161, 99,  141, 166, 111, 189, 111, 169, 96,
                                 155, 76,  108, 108, 70,  158, 113, 57,  163, 105, 128, 173,
                                 154, 122, 103, 148, 161, 166, 165, 132, 150, 117, 116 } },
    };
    struct image image, out;
    struct err e = { 0 };
    pattern(&image, 7, 9, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(image_resize(&out, &image, cases[i].width, cases[i].height, cases[i].filter, &e));
        for (int k = 0; k < cases[i].width * cases[i].height; k++)
            CHECK_NEAR(out.pixels[3 * k], cases[i].wanted[k], cases[i].filter >= IMAGE_LANCZOS ? 0 : 2, "case %zu, pixel %d",
                       i, k);
        image_release(&out);
    }
    /* the first row of an enlargement to 11 x 13 by Pillow's Lanczos */
    static const uint8_t larger[] = { 0, 7, 34, 55, 70, 97, 139, 173, 196, 218, 230 };
    REQUIRE(image_resize(&out, &image, 11, 13, IMAGE_LANCZOS, &e));
    for (int k = 0; k < 11; k++)
        CHECK_NEAR(out.pixels[3 * k], larger[k], 0, "pixel %d", k);
    image_release(&out);
    image_release(&image);
}

TEST(area_resizing_is_the_exact_mean_and_the_same_size_changes_nothing)
{
    struct image image, out;
    struct err e = { 0 };
    pattern(&image, 6, 4, 3);
    REQUIRE(image_resize(&out, &image, 3, 2, IMAGE_AREA, &e));
    for (int y = 0; y < 2; y++)
        for (int x = 0; x < 3; x++) {
            int sum = at(&image, 2 * x, 2 * y)[2] + at(&image, 2 * x + 1, 2 * y)[2] +
                      at(&image, 2 * x, 2 * y + 1)[2] + at(&image, 2 * x + 1, 2 * y + 1)[2];
            CHECK_NEAR(at(&out, x, y)[2], sum / 4.0, 0.5, "%d, %d", x, y);
        }
    image_release(&out);
    for (int filter = IMAGE_AREA; filter <= IMAGE_BICUBIC; filter++) {
        REQUIRE(image_resize(&out, &image, 6, 4, (enum image_filter)filter, &e));
        CHECK(memcmp(out.pixels, image.pixels, image_bytes(&image)) == 0, "filter %d", filter);
        image_release(&out);
    }
    /* 3 -> 2 columns: weights 2/3, 1/3 */
    struct image three = { 3, 1, 3, (uint8_t[]){ 0, 0, 0, 90, 90, 90, 240, 240, 240 } };
    REQUIRE(image_resize(&out, &three, 2, 1, IMAGE_AREA, &e));
    CHECK(out.pixels[0] == 30 && out.pixels[3] == 190, "%d %d", out.pixels[0], out.pixels[3]);
    image_release(&out);
    image_release(&image);
}

TEST(what_is_transparent_does_not_bleed_when_resized)
{
    /* red beside a transparent green: the mean is red with half its alpha */
    struct image two = { 2, 1, 4, (uint8_t[]){ 99, 0, 0, 255, 0, 255, 0, 0 } }, out;
    struct err e = { 0 };
    REQUIRE(image_resize(&out, &two, 1, 1, IMAGE_AREA, &e));
    CHECK(out.pixels[0] == 99 && out.pixels[1] == 0 && out.pixels[3] == 128, "%d %d %d", out.pixels[0],
          out.pixels[1], out.pixels[3]);
    image_release(&out);
}

TEST(crop_and_mirror_take_the_right_pixels)
{
    struct image image, out;
    struct err e = { 0 };
    pattern(&image, 7, 5, 4);
    REQUIRE(image_crop(&out, &image, 2, 1, 4, 3, &e));
    CHECK(out.width == 4 && out.height == 3 && memcmp(at(&out, 3, 2), at(&image, 5, 3), 4) == 0, "wrong cut");
    image_mirror(&out);
    CHECK(memcmp(at(&out, 0, 2), at(&image, 5, 3), 4) == 0 && memcmp(at(&out, 2, 0), at(&image, 3, 1), 4) == 0,
          "wrong mirror");
    image_release(&out);
    static const int bad[][4] = { { -1, 0, 2, 2 }, { 0, -1, 2, 2 }, { 6, 0, 2, 1 }, { 0, 4, 1, 2 }, { 0, 0, 0, 1 },
                                  { 3, 3, INT32_MAX, 1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(image_crop(&out, &image, bad[i][0], bad[i][1], bad[i][2], bad[i][3], &e), ERR_ARG,
                    "does not lie inside 7x5");
    image_release(&image);
}

TEST(paste_cuts_what_sticks_out_and_obeys_alpha)
{
    struct image onto;
    struct err e = { 0 };
    REQUIRE(image_make(&onto, 4, 4, 3, &e));
    image_fill(&onto, 0x0000FF);
    struct image half = { 2, 2, 4, (uint8_t[]){ 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 128 } };
    image_paste(&onto, &half, -1, -1);
    image_paste(&onto, &half, 3, 3);
    image_paste(&onto, &half, 40, 0);
    CHECK(at(&onto, 0, 0)[0] == 128 && at(&onto, 0, 0)[2] == 127, "%d %d", at(&onto, 0, 0)[0], at(&onto, 0, 0)[2]);
    CHECK(at(&onto, 3, 3)[0] == 255 && at(&onto, 3, 3)[2] == 0, "corner");
    CHECK(at(&onto, 1, 1)[0] == 0 && at(&onto, 1, 1)[2] == 255, "touched");
    struct image faint = { 1, 1, 4, (uint8_t[]){ 1, 0, 0, 128 } }; /* 0.502: rounded, not cut */
    image_paste(&onto, &faint, 1, 1);
    CHECK(at(&onto, 1, 1)[0] == 1, "%d", at(&onto, 1, 1)[0]);
    image_release(&onto);
    /* over nothing, the colour stays and alpha is taken over */
    REQUIRE(image_make(&onto, 2, 2, 4, &e));
    image_paste(&onto, &half, 0, 0);
    CHECK(memcmp(at(&onto, 1, 1), (uint8_t[]){ 255, 0, 0, 128 }, 4) == 0, "alpha %d", at(&onto, 1, 1)[3]);
    image_release(&onto);
}

TEST(a_sheet_has_its_pictures_in_rows)
{
    struct image parts[5], sheet;
    struct err e = { 0 };
    for (int i = 0; i < 5; i++) {
        REQUIRE(image_make(&parts[i], i == 3 ? 2 : 4, i == 3 ? 2 : 4, 3, &e));
        image_fill(&parts[i], (uint32_t)(i + 1) << 16);
    }
    REQUIRE(image_grid(&sheet, parts, 5, 2, 3, 0xFFFFFF, &e));
    CHECK(sheet.width == 2 * 4 + 3 * 3 && sheet.height == 3 * 4 + 4 * 3, "%dx%d", sheet.width, sheet.height);
    CHECK(at(&sheet, 3, 3)[0] == 1 && at(&sheet, 10, 3)[0] == 2 && at(&sheet, 3, 10)[0] == 3 &&
              at(&sheet, 3, 17)[0] == 5,
          "places");
    CHECK(at(&sheet, 10, 10)[0] == 255 && at(&sheet, 11, 11)[0] == 4, "the small one is centred");
    CHECK(at(&sheet, 10, 17)[0] == 255, "the empty cell is background");
    image_release(&sheet);
    CHECK_FAILS(image_grid(&sheet, parts, 0, 2, 3, 0, &e), ERR_ARG, "0 pictures");
    CHECK_FAILS(image_grid(&sheet, parts, 5, 1, 9000, 0, &e), ERR_LIMIT, "sides are at most");
    for (int i = 0; i < 5; i++)
        image_release(&parts[i]);
}

TEST(psnr_of_a_known_difference)
{
    struct image a, b;
    struct err e = { 0 };
    double db;
    pattern(&a, 8, 8, 3);
    REQUIRE(image_copy(&b, &a, &e));
    REQUIRE(image_psnr(&a, &b, &db, &e));
    CHECK(isinf(db) && db > 0, "%g", db);
    for (size_t i = 0; i < image_bytes(&a); i++) {
        a.pixels[i] = 100;
        b.pixels[i] = i % 2 ? 110 : 90;
    }
    REQUIRE(image_psnr(&a, &b, &db, &e));
    CHECK_NEAR(db, 28.130803608679106, 1e-12, "10 log10(255^2 / 100)");
    b.width = 4;
    CHECK_FAILS(image_psnr(&a, &b, &db, &e), ERR_SHAPE, "8x8x3 with one of 4x8x3");
    image_release(&a);
    image_release(&b);
}

TEST(sizes_beyond_the_bounds_are_refused)
{
    static const struct {
        int width, height, channels;
        enum err_code code;
    } cases[] = { { 0, 1, 3, ERR_LIMIT },     { 1, -1, 3, ERR_LIMIT },        { IMAGE_MAX_SIDE + 1, 1, 3, ERR_LIMIT },
                  { 32768, 32768, 3, ERR_LIMIT }, { 4, 4, 1, ERR_ARG }, { 4, 4, 5, ERR_ARG } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct image image;
        CHECK(!image_make(&image, cases[i].width, cases[i].height, cases[i].channels, &e) && !image.pixels &&
                  e.code == cases[i].code,
              "case %zu: %s", i, e.text);
    }
}

TEST(out_of_memory_anywhere_leaves_nothing)
{
    struct image image, out;
    pattern(&image, 9, 9, 3);
    for (int what = 0; what < 4; what++)
        for (size_t n = 1;; n++) {
            struct err e = { 0 };
            mem_fail_at(n);
            bool good = what == 0   ? image_resize(&out, &image, 4, 5, IMAGE_LANCZOS, &e)
                        : what == 1 ? image_crop(&out, &image, 1, 1, 3, 3, &e)
                        : what == 2 ? image_grid(&out, &image, 1, 1, 1, 0, &e)
                                    : image_copy(&out, &image, &e);
            size_t made = mem_fail_at(0);
            CHECK(good == (made < n), "what %d, n %zu: %s", what, n, e.text);
            if (good) {
                image_release(&out);
                break;
            }
            CHECK(e.code == ERR_NOMEM && !out.pixels, "what %d, n %zu: %s", what, n, e.text);
        }
    image_release(&image);
}
