#include <stdlib.h>
#include <vips/vips.h>

#include "base/file.h"
#include "base/mem.h"
#include "image/image.h"
#include "image/png_text_internal.h"
#include "test.h"

static void pattern(struct image *out, int width, int height, int channels)
{
    struct err e = { 0 };
    REQUIRE(image_make(out, width, height, channels, &e));
    for (size_t i = 0; i < image_bytes(out); i++)
        out->pixels[i] = (uint8_t)(i * i / 7 + i);
}

static const struct image_text texts[] = {
    { "parameters", "a red apple, 3d style\nSteps: 20, Seed: 1" },
    { "prompt", "红苹果,3D风格 – ü" },
    { "empty", "" },
};

TEST(a_png_comes_back_with_its_pixels_and_texts)
{
    for (int channels = 3; channels <= 4; channels++) {
        struct image image, back;
        struct err e = { 0 };
        const char *path = test_scratch("round.png");
        pattern(&image, 33, 17, channels);
        REQUIRE(image_save_png(path, &image, texts, 3, &e));
        REQUIRE(image_load(&back, path, IMAGE_KEEP_ALPHA, 0, &e));
        CHECK(back.width == 33 && back.height == 17 && back.channels == channels, "%dx%dx%d", back.width, back.height,
              back.channels);
        CHECK(memcmp(back.pixels, image.pixels, image_bytes(&image)) == 0, "channels %d", channels);
        for (size_t i = 0; i < 3; i++) {
            char *value = image_png_text(path, texts[i].key, &e);
            CHECK(value && strcmp(value, texts[i].value) == 0, "%s came: %s %s", texts[i].key, value ? value : "NULL",
                  e.text);
            mem_free(value);
        }
        CHECK_FAILS(image_png_text(path, "workflow", &e), ERR_MISSING, "no text workflow");
        CHECK_FAILS(image_png_text(path, "paramete", &e), ERR_MISSING, "no text paramete");
        image_release(&back);
        image_release(&image);
    }
}

TEST(alpha_is_kept_added_or_laid_over_a_colour_as_asked)
{
    struct image two = { 2, 1, 4, (uint8_t[]){ 10, 20, 30, 255, 200, 200, 200, 0 } }, back;
    struct err e = { 0 };
    uint8_t *data;
    size_t bytes;
    REQUIRE(image_encode_png(&two, NULL, 0, &data, &bytes, &e));
    REQUIRE(image_decode(&back, data, bytes, "two", IMAGE_FLATTEN, 0xFF8001, &e));
    CHECK(back.channels == 3 && memcmp(back.pixels, (uint8_t[]){ 10, 20, 30, 255, 128, 1 }, 6) == 0, "flattened");
    image_release(&back);
    mem_free(data);
    struct image one = { 1, 1, 3, (uint8_t[]){ 1, 2, 3 } };
    REQUIRE(image_encode_png(&one, NULL, 0, &data, &bytes, &e));
    REQUIRE(image_decode(&back, data, bytes, "one", IMAGE_WITH_ALPHA, 0, &e));
    CHECK(back.channels == 4 && memcmp(back.pixels, (uint8_t[]){ 1, 2, 3, 255 }, 4) == 0, "alpha added");
    image_release(&back);
    mem_free(data);
}

/* Encodes through libvips itself what image_encode_png never writes: other formats, depths and colour spaces. */
static void decodes_to(const char *suffix, int bands, VipsBandFormat format, VipsInterpretation space,
                       const void *pixels, size_t bytes, int orientation, struct image *out)
{
    struct err e = { 0 };
    REQUIRE(image_init(&e));
    VipsImage *raw = vips_image_new_from_memory(pixels, bytes, 4, 2, bands, format), *named = NULL;
    void *data = NULL;
    size_t count = 0;
    CHECK(raw && vips_copy(raw, &named, "interpretation", space, NULL) == 0, "%s", vips_error_buffer());
    if (orientation)
        vips_image_set_int(named, VIPS_META_ORIENTATION, orientation);
    CHECK(vips_image_write_to_buffer(named, suffix, &data, &count, NULL) == 0, "%s", vips_error_buffer());
    REQUIRE(image_decode(out, data, count, suffix, IMAGE_KEEP_ALPHA, 0, &e));
    g_free(data);
    g_object_unref(named);
    g_object_unref(raw);
}

TEST(grey_deep_and_turned_pictures_become_upright_8_bit_srgb)
{
    struct image image;
    uint16_t deep[8];
    for (int i = 0; i < 8; i++)
        deep[i] = (uint16_t)(i * 30 * 257);
    decodes_to(".png", 1, VIPS_FORMAT_USHORT, VIPS_INTERPRETATION_GREY16, deep, sizeof deep, 0, &image);
    CHECK(image.channels == 3 && image.width == 4, "%d channels", image.channels);
    for (int i = 0; i < 8; i++)
        CHECK_NEAR(image.pixels[3 * i + 2], 30 * i, 1, "pixel %d", i);
    image_release(&image);

    uint8_t grey_alpha[16];
    for (int i = 0; i < 16; i++)
        grey_alpha[i] = (uint8_t)(i % 2 ? 255 - i : 10 * i);
    decodes_to(".png", 2, VIPS_FORMAT_UCHAR, VIPS_INTERPRETATION_B_W, grey_alpha, sizeof grey_alpha, 0, &image);
    CHECK(image.channels == 4 && image.pixels[4] == 20 && image.pixels[7] == 252, "grey with alpha: %d %d",
          image.pixels[4], image.pixels[7]);
    image_release(&image);

    /* EXIF 6: to be turned by 90 degrees clockwise; left half dark, right half bright becomes top dark */
    uint8_t halves[24];
    for (int i = 0; i < 24; i++)
        halves[i] = i / 3 % 4 < 2 ? 20 : 230;
    decodes_to(".jpg[Q=100]", 3, VIPS_FORMAT_UCHAR, VIPS_INTERPRETATION_sRGB, halves, sizeof halves, 6, &image);
    CHECK(image.width == 2 && image.height == 4, "%dx%d", image.width, image.height);
    CHECK(image.pixels[0] < 60 && image.pixels[image_bytes(&image) - 1] > 190, "%d %d", image.pixels[0],
          image.pixels[image_bytes(&image) - 1]);
    image_release(&image);

    decodes_to(".webp[lossless]", 3, VIPS_FORMAT_UCHAR, VIPS_INTERPRETATION_sRGB, halves, sizeof halves, 0, &image);
    CHECK(image.pixels[0] == 20 && image.pixels[9] == 230, "webp %d %d", image.pixels[0], image.pixels[9]);
    image_release(&image);
}

static uint32_t crc(const uint8_t *p, size_t bytes)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < bytes; i++)
        for (int k = (c ^= p[i], 0); k < 8; k++)
            c = c & 1 ? 0xEDB88320 ^ c >> 1 : c >> 1;
    return ~c;
}

TEST(files_that_are_no_good_pictures_are_refused_with_their_name)
{
    struct image image, whole;
    struct err e = { 0 };
    const char *path = test_scratch("bad");
    CHECK_FAILS(image_load(&image, test_scratch("none.png"), IMAGE_FLATTEN, 0, &e), ERR_IO, "none.png");
    static const char *const texts_not_pictures[] = {
        "", "hello", "\x89PNG\r\n\x1a\n",
        /* a loader that libvips does not trust must not run */
        "<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'><rect width='4' height='4'/></svg>",
    };
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(file_write_whole(path, texts_not_pictures[i], strlen(texts_not_pictures[i]), &e));
        CHECK_FAILS(image_load(&image, path, IMAGE_FLATTEN, 0, &e), ERR_FORMAT, "/bad: ");
        CHECK(!image.pixels, "case %zu", i);
    }
    pattern(&whole, 64, 64, 3);
    uint8_t *data;
    size_t bytes;
    REQUIRE(image_encode_png(&whole, NULL, 0, &data, &bytes, &e));
    for (size_t cut = 0; cut < bytes - 20; cut += 97) { /* the last 12 bytes are the end mark, which carries nothing */
        CHECK_FAILS(image_decode(&image, data, cut, "cut", IMAGE_FLATTEN, 0, &e), ERR_FORMAT, "cut: ");
        CHECK(!image.pixels, "cut at %zu", cut);
    }
    /* a header that promises 30000 x 30000 pixels */
    const uint8_t side[4] = { 0, 0, 0x75, 0x30 };
    memcpy(data + 16, side, 4);
    memcpy(data + 20, side, 4);
    uint32_t sum = crc(data + 12, 17);
    for (int i = 0; i < 4; i++)
        data[29 + i] = (uint8_t)(sum >> (24 - 8 * i));
    CHECK_FAILS(image_decode(&image, data, bytes, "bomb", IMAGE_FLATTEN, 0, &e), ERR_LIMIT, "30000x30000");
    mem_free(data);
    image_release(&whole);
}

TEST(texts_that_a_png_cannot_keep_are_refused_and_nothing_is_written)
{
    struct image image;
    struct err e = { 0 };
    pattern(&image, 4, 4, 3);
    char long_key[100];
    memset(long_key, 'k', 99);
    long_key[99] = 0;
    const struct image_text bad[] = { { "", "x" }, { long_key, "x" }, { "a\nb", "x" }, { "k\xC3\xBC", "x" },
                                      { "good", "\xFF\xFE" } };
    const char *path = test_scratch("texts.png");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_FAILS(image_save_png(path, &image, &bad[i], 1, &e), ERR_ARG, "PNG text");
        CHECK(!path_exists(path), "case %zu", i);
    }
    CHECK_FAILS(image_save_png("/no/such/folder/x.png", &image, NULL, 0, &e), ERR_IO, "/no/such/folder/x.png");
    image_release(&image);
}

TEST(a_damaged_png_gives_an_error_or_its_text_but_never_a_wrong_one)
{
    struct image image;
    struct err e = { 0 };
    uint8_t *data;
    size_t bytes;
    pattern(&image, 4, 4, 3);
    REQUIRE(image_encode_png(&image, texts, 3, &data, &bytes, &e));
    for (size_t cut = 0; cut < bytes; cut++) {
        uint8_t *part = malloc(cut + 1); /* its own block, so that a sanitizer sees a read past the end */
        memcpy(part, data, cut);
        err_clear(&e);
        char *value = image_png_text_in(part, cut, "cut", "prompt", &e);
        CHECK(value ? strcmp(value, texts[1].value) == 0 : e.code == ERR_FORMAT || e.code == ERR_MISSING,
              "cut at %zu: %s", cut, e.text);
        mem_free(value);
        free(part);
    }
    for (size_t i = 0; i < bytes; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            data[i] ^= (uint8_t)(1 << bit);
            err_clear(&e);
            char *value = image_png_text_in(data, bytes, "flipped", "prompt", &e);
            CHECK(!value || strcmp(value, texts[1].value) == 0, "byte %zu bit %d: %s", i, bit, value);
            mem_free(value);
            data[i] ^= (uint8_t)(1 << bit);
        }
    mem_free(data);
    image_release(&image);
}

/* A chunk behind the header of a PNG of one pixel. */
static char *text_of(const char *kind, const char *body, size_t body_bytes, struct err *e)
{
    struct image one = { 1, 1, 3, (uint8_t[]){ 1, 2, 3 } };
    uint8_t *data, all[600];
    size_t bytes;
    if (!image_encode_png(&one, NULL, 0, &data, &bytes, e))
        fail_msg("%s", e->text);
    memcpy(all, data, 33);
    uint8_t *p = all + 33;
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(body_bytes >> (24 - 8 * i));
    memcpy(p + 4, kind, 4);
    memcpy(p + 8, body, body_bytes);
    uint32_t sum = crc(p + 4, body_bytes + 4);
    for (int i = 0; i < 4; i++)
        p[8 + body_bytes + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
    memcpy(p + 12 + body_bytes, data + 33, bytes - 33);
    char *value = image_png_text_in(all, bytes + 12 + body_bytes, "made", "k", e);
    mem_free(data);
    return value;
}

TEST(text_chunks_of_other_programs_are_read_or_refused)
{
    struct err e = { 0 };
    char *value = text_of("tEXt", "k\0caf\xE9", 6, &e);
    CHECK(value && strcmp(value, "caf\xC3\xA9") == 0, "Latin-1: %s", value ? value : e.text);
    mem_free(value);
    value = text_of("iTXt", "k\0\0\0zh\0name\0\xE7\xBA\xA2", 15, &e);
    CHECK(value && strcmp(value, "红") == 0, "with language: %s", value ? value : e.text);
    mem_free(value);
    CHECK_FAILS(text_of("zTXt", "k\0\0xxxx", 7, &e), ERR_TYPE, "compressed");
    CHECK_FAILS(text_of("iTXt", "k\0\1\0\0\0xx", 8, &e), ERR_TYPE, "compressed");
    CHECK_FAILS(text_of("iTXt", "k\0\0\0zh", 6, &e), ERR_FORMAT, "cut off");
    CHECK_FAILS(text_of("iTXt", "k\0\0\0\0\0\xFF", 7, &e), ERR_FORMAT, "UTF-8");
    CHECK_FAILS(text_of("tEXt", "k\0a\0b", 5, &e), ERR_FORMAT, "zero byte");
}

TEST(saving_without_memory_leaves_no_file)
{
    struct image image;
    struct err e = { 0 };
    pattern(&image, 4, 4, 3);
    const char *path = test_scratch("nomem.png");
    for (size_t n = 1;; n++) {
        err_clear(&e);
        mem_fail_at(n);
        bool good = image_save_png(path, &image, texts, 3, &e);
        size_t made = mem_fail_at(0);
        CHECK(good == (made < n) && good == path_exists(path), "n %zu: %s", n, e.text);
        if (good)
            break;
        CHECK(e.code == ERR_NOMEM, "n %zu: %s", n, e.text);
    }
    image_release(&image);
}

TEST(pictures_are_written_in_formats_of_other_programs)
{
    struct image cat, drawing, back;
    struct err e = { 0 };
    REQUIRE(image_load(&cat, test_data("similarity/cat.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_load(&drawing, test_data("emoji-mini/ring-egg.png"), IMAGE_WITH_ALPHA, 0, &e));
    static const struct {
        enum image_format format;
        int quality;
        const char *begins; /* of the file */
        double psnr;        /* at least; INFINITY: to the bit */
        int channels;       /* of the drawing when it comes back */
    } cases[] = {
        { IMAGE_PNG, 1, "\x89PNG", INFINITY, 4 }, { IMAGE_WEBP, 100, "RIFF", INFINITY, 4 }, { IMAGE_WEBP, 90, "RIFF", 34, 4 },
        { IMAGE_JPEG, 95, "\xFF\xD8", 34, 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *data, *again;
        size_t bytes, bytes_again;
        double psnr;
        REQUIRE(image_encode(&cat, cases[i].format, cases[i].quality, &data, &bytes, &e));
        REQUIRE(image_encode(&cat, cases[i].format, cases[i].quality, &again, &bytes_again, &e));
        CHECK(bytes == bytes_again && !memcmp(data, again, bytes), "case %zu: the same bytes", i);
        CHECK(!memcmp(data, cases[i].begins, strlen(cases[i].begins)), "case %zu", i);
        REQUIRE(image_decode(&back, data, bytes, "cat", IMAGE_KEEP_ALPHA, 0, &e) && image_psnr(&cat, &back, &psnr, &e));
        CHECK(psnr >= cases[i].psnr, "case %zu: %g dB", i, psnr);
        image_release(&back);
        mem_free(data);
        mem_free(again);
        REQUIRE(image_encode(&drawing, cases[i].format, cases[i].quality, &data, &bytes, &e));
        REQUIRE(image_decode(&back, data, bytes, "drawing", IMAGE_KEEP_ALPHA, 0, &e));
        CHECK(back.channels == cases[i].channels, "case %zu: %d channels", i, back.channels);
        image_release(&back);
        mem_free(data);
    }
    image_release(&cat);
    image_release(&drawing);
}

/* Noise on the right, a plain ground elsewhere; and libvips' own cut of a photograph. */
TEST(the_part_that_is_kept_is_the_one_with_something_in_it)
{
    struct image image, cut;
    struct err e = { 0 };
    int x, y;
    REQUIRE(image_make(&image, 200, 80, 3, &e));
    image_fill(&image, 0xC0C0C0);
    for (int j = 20; j < 60; j++)
        for (int i = 150; i < 190; i++)
            image.pixels[3 * (j * 200 + i)] = (uint8_t)(i * j * 7 + i * 13);
    static const struct {
        enum image_part part;
        int least, most;
    } cases[] = { { IMAGE_CENTRE, 60, 60 }, { IMAGE_START, 0, 0 }, { IMAGE_END, 120, 120 }, { IMAGE_ENTROPY, 110, 120 },
                  { IMAGE_ATTENTION, 110, 120 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(image_find_cut(&image, 80, 80, cases[i].part, &x, &y, &e));
        CHECK(x >= cases[i].least && x <= cases[i].most && y == 0, "case %zu: %d, %d", i, x, y);
    }
    CHECK_FAILS(image_find_cut(&image, 80, 81, IMAGE_CENTRE, &x, &y, &e), ERR_ARG, "does not lie inside");
    image_release(&image);
    REQUIRE(image_load(&image, test_data("measure/coffee.png"), IMAGE_FLATTEN, 0, &e));
    for (int part = IMAGE_ENTROPY; part <= IMAGE_ATTENTION; part++) {
        VipsImage *raw = vips_image_new_from_memory(image.pixels, image_bytes(&image), 151, 100, 3, VIPS_FORMAT_UCHAR), *named = NULL,
                  *wanted = NULL;
        size_t bytes;
        CHECK(raw && !vips_copy(raw, &named, "interpretation", VIPS_INTERPRETATION_sRGB, NULL) &&
                  !vips_smartcrop(named, &wanted, 60, 90, "interesting",
                                  part == IMAGE_ENTROPY ? VIPS_INTERESTING_ENTROPY : VIPS_INTERESTING_ATTENTION, NULL),
              "%s", vips_error_buffer());
        void *pixels = vips_image_write_to_memory(wanted, &bytes);
        REQUIRE(image_find_cut(&image, 60, 90, (enum image_part)part, &x, &y, &e) && image_crop(&cut, &image, x, y, 60, 90, &e));
        CHECK(bytes == image_bytes(&cut) && !memcmp(pixels, cut.pixels, bytes), "part %d: (%d, %d)", part, x, y);
        g_free(pixels);
        g_object_unref(wanted);
        g_object_unref(named);
        g_object_unref(raw);
        image_release(&cut);
    }
    image_release(&image);
}
