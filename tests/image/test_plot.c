#include "base/mem.h"
#include "base/text.h"
#include "image/ink_internal.h"
#include "image/plot.h"
#include "test.h"

static const double x[] = { 0, 1, 2, 3, 4 }, y[] = { 0, 1, 2, 3, 4 };

/* The mean place of pixels near the first series' blue in a column; -1 if none. */
static double line_at(const struct image *image, int column)
{
    double sum = 0, weight = 0;
    for (int j = 0; j < image->height; j++) {
        const uint8_t *p = image->pixels + (j * image->width + column) * 3;
        if (p[2] > 150 && p[0] < 120) {
            sum += j + 0.5;
            weight++;
        }
    }
    return weight ? sum / weight : -1;
}

TEST(a_straight_series_is_a_straight_line_on_white)
{
    struct plot_series series = { NULL, x, y, 5, 0 };
    struct plot plot = { .series = &series, .series_count = 1, .width = 400, .height = 300 };
    struct image image;
    struct err e = { 0 };
    REQUIRE(plot_draw(&image, &plot, &e));
    CHECK(image.width == 400 && image.height == 300 && image.pixels[0] == 255, "size or paper");
    double a = line_at(&image, 120), b = line_at(&image, 200), c = line_at(&image, 280);
    CHECK(a > b && b > c && c > 0, "it rises: %g %g %g", a, b, c);
    CHECK_NEAR(a - b, b - c, 1.5, "line_at counts whole pixels: each of four is off by up to half a one");
    image_release(&image);
}

TEST(a_log_axis_makes_an_exponential_straight)
{
    double fall[] = { 1000, 100, 10, 1, 0.1 };
    struct plot_series series = { NULL, x, fall, 5, 0 };
    struct plot plot = { .series = &series, .series_count = 1, .width = 400, .height = 300, .log_y = true };
    struct image image;
    struct err e = { 0 };
    REQUIRE(plot_draw(&image, &plot, &e));
    double a = line_at(&image, 120), b = line_at(&image, 200), c = line_at(&image, 280);
    CHECK(a > 0 && a < b && b < c, "it falls: %g %g %g", a, b, c);
    CHECK_NEAR(a - b, b - c, 1.5, "line_at counts whole pixels: each of four is off by up to half a one");
    image_release(&image);
}

TEST(odd_series_draw_without_harm)
{
    double bad[] = { NAN, INFINITY, -1, 0, -INFINITY }, same[] = { 5, 5, 5, 5, 5 }, tiny[] = { 1e-300, 0, 0, 0, 1e300 };
    double negative[] = { -4, -3, -2, -1, -0.5 };
    const double *const cases[] = { bad, same, tiny, negative };
    for (size_t i = 0; i < 4; i++)
        for (int log = 0; log < 2; log++)
            for (size_t count = 0; count <= 5; count++) {
                struct plot_series series[2] = { { "a", x, cases[i], count, 0.9 }, { "红", x, cases[i], count, 0 } };
                struct plot plot = { "t", "x", "y", 160, 120, log != 0, series, 2 };
                struct image image;
                struct err e = { 0 };
                REQUIRE(plot_draw(&image, &plot, &e));
                image_release(&image);
            }
    struct plot small = { .width = 100, .height = 100 };
    struct image image;
    struct err e = { 0 };
    CHECK_FAILS(plot_draw(&image, &small, &e), ERR_ARG, "100x100");
}

TEST(every_letter_has_ink_of_its_own)
{
    struct err e = { 0 };
    struct ink ink;
    static float seen[95][30 * 40];
    REQUIRE(ink_init(&ink, 30, 40, &e));
    for (int c = 33; c < 127; c++) {
        memset(ink.cover, 0, sizeof seen[0]);
        ink_text(&ink, 0, 0, (char[]){ (char)c, 0 }, 5, false);
        memcpy(seen[c - 32], ink.cover, sizeof seen[0]);
        for (int other = 32; other < c; other++)
            CHECK(memcmp(seen[c - 32], seen[other - 32], sizeof seen[0]) != 0 || (c == 'O' && other == '0'),
                  "%c looks as %c", c, other);
    }
    ink_release(&ink);
    CHECK_NEAR(ink_text_width("ab", 2), 22, 1e-9, "5 + 1 + 5 cells");
    CHECK_NEAR(ink_text_width("红", 2), 10, 1e-9, "one sign");
}

TEST(plotting_without_memory_fails_cleanly)
{
    struct plot_series series = { "loss", x, y, 5, 0.5 };
    struct plot plot = { "t", "x", "y", 200, 150, false, &series, 1 };
    for (size_t n = 1;; n++) {
        struct err e = { 0 };
        mem_fail_at(n);
        bool good = plot_save_png(test_scratch("plot.png"), &plot, &e);
        size_t made = mem_fail_at(0);
        CHECK(good == (made < n), "n %zu: %s", n, e.text);
        if (good)
            break;
        CHECK(e.code == ERR_NOMEM, "n %zu: %s", n, e.text);
    }
}

TEST(a_terminal_gets_what_it_can_show)
{
    static const struct {
        const char *environment[4];
        const char *part; /* of what is written; NULL: nothing is */
    } cases[] = {
        { { "TERM=dumb", "LANG=C.UTF-8" }, NULL },
        { { "LANG=C.UTF-8" }, NULL },
        { { "TERM=xterm-256color", "LANG=C.UTF-8", "COLORTERM=truecolor" }, "\033[" },
        { { "TERM=xterm-256color", "LANG=C" }, "\033[" },
        { { "TERM=xterm-kitty", "KITTY_PID=1", "LANG=C.UTF-8" }, "\033_G" },
        { { "TERM=mlterm", "LANG=C.UTF-8" }, "\033P" },
    };
    struct image image;
    struct err e = { 0 };
    REQUIRE(image_make(&image, 32, 32, 3, &e));
    image_fill(&image, 0xD04020);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text text;
        text_init(&text, 1 << 20);
        REQUIRE(image_terminal_text(&text, &image, (char *const *)cases[i].environment, 20, 10, 8, 16, &e));
        CHECK(cases[i].part ? strstr(text_string(&text), cases[i].part) != NULL : text.length == 0, "case %zu: %zu bytes: %.40s", i,
              text.length, text_string(&text) + 1);
        text_release(&text);
    }
    image_release(&image);
}
