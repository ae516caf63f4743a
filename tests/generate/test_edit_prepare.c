/* Pictures and masks made ready: the rules of Pillow, of diffusers' VaeImageProcessor and of ComfyUI's nodes, by small numbers. */
#include "base/mem.h"
#include "generate/edit.h"
#include "test.h"

/* RGB of (x, y, 7), with alpha where channels is 4. */
static struct image ramp(int width, int height, int channels)
{
    struct image image;
    struct err e = { 0 };
    REQUIRE(image_make(&image, width, height, channels, &e));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = image.pixels + (y * width + x) * channels;
            p[0] = (uint8_t)x;
            p[1] = (uint8_t)y;
            p[2] = 7;
            if (channels == 4)
                p[3] = 255;
        }
    return image;
}

static const uint8_t *pixel(const struct image *image, int x, int y)
{
    return image->pixels + (y * image->width + x) * image->channels;
}

TEST(comfyui_cuts_to_whole_cells_around_the_middle_and_diffusers_resizes)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(21, 30, 3), small;
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8, .cut = true }, &e));
    CHECK(edit.picture.width == 16 && edit.picture.height == 24 && !edit.mask, "%dx%d", edit.picture.width, edit.picture.height);
    CHECK(pixel(&edit.picture, 0, 0)[0] == 2 && pixel(&edit.picture, 0, 0)[1] == 3, "cut at (%d, %d)",
          pixel(&edit.picture, 0, 0)[0], pixel(&edit.picture, 0, 0)[1]);
    CHECK_NEAR(edit.pixels[0], 2 * (2.0 / 255) - 1, 1e-7, "the first number");
    edit_release(&edit);
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8 }, &e));
    REQUIRE(image_resize(&small, &from, 16, 24, IMAGE_LANCZOS, &e));
    CHECK(!memcmp(small.pixels, edit.picture.pixels, image_bytes(&small)), "another resizing");
    edit_release(&edit);
    image_release(&small);
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8, .cut = true, .width = 48 }, &e));
    CHECK(edit.picture.width == 48 && edit.picture.height == 64, "%dx%d", edit.picture.width, edit.picture.height);
    edit_release(&edit);
    image_release(&from);
}

TEST(transparency_is_a_mask_and_keeps_the_colours_below_it)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(8, 8, 4);
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8 }, &e));
    CHECK(!edit.mask, "an opaque picture has a mask");
    edit_release(&edit);
    from.pixels[4 * 9 + 3] = 51;
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8 }, &e));
    CHECK_NEAR(edit.mask[9], 0.8, 1e-6, "1 - alpha");
    CHECK(edit.mask[8] == 0 && pixel(&edit.picture, 1, 1)[0] == 1, "%g, colour %d", (double)edit.mask[8],
          pixel(&edit.picture, 1, 1)[0]);
    edit_release(&edit);
    REQUIRE(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8, .alpha = EDIT_ALPHA_WHITE }, &e));
    CHECK(!edit.mask && pixel(&edit.picture, 1, 1)[0] == 204, "%d over white", pixel(&edit.picture, 1, 1)[0]);
    edit_release(&edit);
    image_release(&from);
}

TEST(outpainting_adds_grey_and_feathers_inside_of_the_added_edges)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(16, 16, 3);
    struct edit_options o = { .cell = 8, .cut = true, .left = 8, .bottom = 16, .feather = 4 };
    REQUIRE(edit_prepare(&edit, &from, NULL, &o, &e));
    int64_t w = edit.picture.width;
    CHECK(w == 24 && edit.picture.height == 32, "%dx%d", edit.picture.width, edit.picture.height);
    /* ImagePadForOutpaint: ((feather - d) / feather)^2, d counted from 0 at the left and top, from 1 at the right and bottom */
    static const struct { int x, y; double mask; } cases[] = {
        { 7, 0, 1 }, { 8, 0, 1 }, { 9, 0, 0.5625 }, { 10, 0, 0.25 }, { 12, 0, 0 }, { 20, 15, 0.5625 }, { 20, 13, 0.0625 },
        { 20, 12, 0 }, { 20, 16, 1 }, { 23, 5, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_NEAR(edit.mask[cases[i].y * w + cases[i].x], cases[i].mask, 1e-6, "at (%d, %d)", cases[i].x, cases[i].y);
    CHECK(edit.pixels[3 * 7] == 0 && edit.pixels[3 * (16 * w + 20)] == 0, "what was added is no grey");
    CHECK_NEAR(edit.pixels[3 * 8], -1, 1e-7, "the picture's first pixel");
    edit_release(&edit);
    image_release(&from);
}

TEST(a_mask_grows_as_comfyuis_and_grey_lies_below_what_it_was)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(16, 16, 3), mask;
    REQUIRE(image_make(&mask, 16, 16, 3, &e));
    memset(mask.pixels + 3 * (8 * 16 + 8), 255, 3);
    REQUIRE(edit_prepare(&edit, &from, &mask, &(struct edit_options){ .cell = 8, .grow = 6, .grey = true }, &e));
    /* conv2d of ones 6x6 with padding 3: an output sees from 3 before it to 2 behind it */
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++)
            CHECK(edit.mask[y * 16 + x] == (x >= 6 && x <= 11 && y >= 6 && y <= 11), "at (%d, %d)", x, y);
    CHECK(edit.pixels[3 * (8 * 16 + 8)] == 0 && edit.pixels[3 * (8 * 16 + 9)] != 0, "grey at the wrong place");
    edit_release(&edit);
    REQUIRE(edit_prepare(&edit, &from, &mask, &(struct edit_options){ .cell = 8, .blur = 1 }, &e));
    double sum = 0, weights = 0;
    for (int k = -3; k <= 3; k++)
        weights += exp(-k * k / 2.0);
    for (int i = 0; i < 256; i++)
        sum += (double)edit.mask[i];
    CHECK_NEAR(sum, 1, 1e-5, "what is softened");
    CHECK_NEAR(edit.mask[8 * 16 + 10], exp(-2) / (weights * weights), 1e-6, "two pixels from the middle");
    edit_release(&edit);
    image_release(&mask);
    image_release(&from);
}

TEST(what_is_kept_comes_back_byte_by_byte)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(8, 8, 3), mask, drawn;
    REQUIRE(image_make(&mask, 8, 8, 3, &e));
    memset(mask.pixels, 255, 3 * 8);
    memset(mask.pixels + 3 * 8, 51, 3 * 8);
    REQUIRE(edit_prepare(&edit, &from, &mask, &(struct edit_options){ .cell = 8 }, &e));
    REQUIRE(image_make(&drawn, 8, 8, 3, &e));
    image_fill(&drawn, 0xC8C8C8);
    edit_paste(&drawn, &edit);
    CHECK(pixel(&drawn, 3, 0)[0] == 200 && pixel(&drawn, 3, 2)[0] == 3, "%d %d", pixel(&drawn, 3, 0)[0], pixel(&drawn, 3, 2)[0]);
    CHECK(pixel(&drawn, 3, 1)[0] == 42, "%d: a fifth of 200 and the rest of 3", pixel(&drawn, 3, 1)[0]);
    image_release(&drawn);
    image_release(&mask);
    image_release(&from);
    edit_release(&edit);
}

TEST(wrong_options_are_named_and_no_memory_leaves_nothing)
{
    struct err e = { 0 };
    struct edit edit;
    struct image from = ramp(16, 16, 4);
    from.pixels[3] = 0;
    static const struct { struct edit_options o; const char *text; } bad[] = {
        { { .cell = 8, .left = -1 }, "left -1" }, { { .cell = 8, .grow = 513 }, "mask grow 513: must be 0 to 512" },
        { { .cell = 8, .blur = NAN }, "mask blur nan" }, { { .cell = 8, .width = 12 }, "12x0: sides must be multiples of 8" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(edit_prepare(&edit, &from, NULL, &bad[i].o, &e), ERR_ARG, bad[i].text);
    CHECK_FAILS(edit_prepare(&edit, &from, NULL, &(struct edit_options){ .cell = 8, .top = 32768 }, &e), ERR_LIMIT, "sides");
    struct edit_options all = { .cell = 8, .width = 24, .height = 24, .left = 4, .grow = 2, .blur = 1, .grey = true };
    for (size_t n = 1;; n++) {
        mem_fail_at(n);
        err_clear(&e);
        bool good = edit_prepare(&edit, &from, NULL, &all, &e);
        mem_fail_at(0);
        if (good)
            break;
        CHECK(e.code == ERR_NOMEM && !edit.pixels && !edit.mask && !edit.picture.pixels, "allocation %zu: %s", n, e.text);
    }
    edit_release(&edit);
    image_release(&from);
}
