#include "evaluate/judge.h"

#include "base/mem.h"
#include "test.h"

enum { SIDE = 128, CANVAS = SIDE * SIDE * 3, LOOK = 2 * LOOK_SIDE * LOOK_SIDE * 3 };

static struct dataset *mini(void)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(test_data("emoji-mini"), &e);
    REQUIRE(d != NULL);
    REQUIRE(dataset_load(d, SIDE, false, NULL, &e));
    return d;
}

TEST(a_picture_of_the_set_is_nearest_to_itself)
{
    struct err e = { 0 };
    static uint8_t rgb[CANVAS], look[LOOK];
    struct dataset *d = mini();
    struct looks whole;
    REQUIRE(looks_init(&whole, d, SIDE, false, &e));
    for (uint32_t i = 0; i < dataset_count(d); i++) {
        struct scene_facts f = scene_of(i, DATASET_ENGLISH);
        REQUIRE(scene_paint(d, &f, SIDE, rgb, &e));
        looks_of(&whole, rgb, 0, look);
        for (int among = AMONG_TRAINED; among <= AMONG_CONCEPT; among++) {
            struct verdict v = looks_judge(&whole, look, i, (enum looks_among)among);
            CHECK(v.right && v.nearest == i && v.rank == 0, "picture %u among %d: nearest %u, rank %ld", i, among, v.nearest,
                  v.rank);
        }
    }
    looks_release(&whole);
    dataset_free(d);
}

/* What is asked for is not what was drawn: the verdict names what was drawn, if it is among those that count. */
TEST(another_picture_is_recognised_only_among_those_that_count)
{
    struct err e = { 0 };
    static uint8_t rgb[CANVAS], look[LOOK];
    struct dataset *d = mini();
    struct looks whole;
    REQUIRE(looks_init(&whole, d, SIDE, false, &e));
    for (uint32_t drawn = 0; drawn < dataset_count(d); drawn++) {
        struct scene_facts f = scene_of(drawn, DATASET_ENGLISH);
        REQUIRE(scene_paint(d, &f, SIDE, rgb, &e));
        looks_of(&whole, rgb, 0, look);
        const struct dataset_picture *p = dataset_picture(d, drawn);
        for (uint32_t asked = 0; asked < dataset_count(d); asked++) {
            const struct dataset_picture *q = dataset_picture(d, asked);
            bool same_style = p->style_index == q->style_index, same_concept = p->concept_index == q->concept_index;
            const bool counts[] = { [AMONG_TRAINED] = same_style && !p->held_out, [AMONG_STYLE] = same_style,
                                    [AMONG_CONCEPT] = same_concept };
            for (int among = AMONG_TRAINED; asked != drawn && among <= AMONG_CONCEPT; among++) {
                struct verdict v = looks_judge(&whole, look, asked, (enum looks_among)among);
                if (counts[among])
                    CHECK(v.nearest == drawn && !v.right && v.rank > 0, "drawn %u, asked %u, among %d: %u", drawn, asked, among,
                          v.nearest);
                else
                    CHECK(v.nearest != drawn, "drawn %u, asked %u, among %d counted it", drawn, asked, among);
            }
        }
    }
    looks_release(&whole);
    dataset_free(d);
}

/* The pictures beside each other are of different sizes and kinds; each half must be found on its own side and not on the
 * other one. */
TEST(halves_of_a_pair_are_judged_each_by_itself)
{
    struct err e = { 0 };
    static uint8_t rgb[CANVAS], look[LOOK];
    struct dataset *d = mini();
    struct looks half;
    REQUIRE(looks_init(&half, d, SIDE, true, &e));
    size_t count;
    const uint32_t *trained = dataset_split(d, false, 0, &count);
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++) {
            struct scene_facts f = scene_of(trained[a], DATASET_ENGLISH);
            f.kind = SCENE_PAIR;
            f.picture[1] = trained[b];
            REQUIRE(scene_paint(d, &f, SIDE, rgb, &e));
            for (int k = 0; k < 2; k++) {
                looks_of(&half, rgb, k, look);
                struct verdict right = looks_judge(&half, look, f.picture[k], AMONG_TRAINED);
                struct verdict wrong = looks_judge(&half, look, f.picture[!k], AMONG_TRAINED);
                CHECK(right.right && right.candidates == (long)count, "%zu beside %zu, half %d", a, b, k);
                CHECK(memcmp(look, half.pixels + f.picture[k] * half.each_bytes, half.each_bytes) == 0,
                      "%zu beside %zu: half %d is not the one that is compared with", a, b, k);
                CHECK(wrong.right == (a == b), "%zu beside %zu, half %d: the other one was found", a, b, k);
            }
        }
    looks_release(&half);
    dataset_free(d);
}

TEST(a_look_is_the_mean_of_what_its_pixels_cover)
{
    struct err e = { 0 };
    static uint8_t rgb[CANVAS], look[LOOK];
    struct dataset *d = mini();
    struct looks whole;
    REQUIRE(looks_init(&whole, d, SIDE, false, &e));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                rgb[3 * (y * SIDE + x) + c] = (uint8_t)(c == 0 ? x : c == 1 ? y : 255 * (x < 2 && y < 4));
    looks_of(&whole, rgb, 0, look);
    for (int y = 0; y < LOOK_SIDE; y++)
        for (int x = 0; x < LOOK_SIDE; x++) {
            const uint8_t *p = look + 3 * (y * LOOK_SIDE + x);
            /* means of 4x .. 4x + 3: 4x + 1.5, rounded up; a block half white: 127.5 */
            CHECK(p[0] == 4 * x + 2 && p[1] == 4 * y + 2 && p[2] == (x == 0 && y == 0 ? 128 : 0), "(%d, %d): %d %d %d", x, y,
                  p[0], p[1], p[2]);
        }
    looks_release(&whole);
    CHECK_FAILS(looks_init(&whole, d, 48, false, &e), ERR_ARG, "48 pixels");
    CHECK_FAILS(looks_init(&whole, d, 96, true, &e), ERR_ARG, "a multiple of 64");
    dataset_free(d);
}

TEST(the_border_names_the_background)
{
    static uint8_t rgb[CANVAS];
    for (int colour = 0; colour < SCENE_COLOURS; colour++) {
        uint32_t wanted = scene_colours[colour].rgb;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                /* A thing of another colour that reaches the border at the top, over less than half of the frame. */
                bool thing = (y < 100 && x > 20 && x < 108) || (x > 8 && x < 120 && y > 8 && y < 120);
                for (int c = 0; c < 3; c++)
                    rgb[3 * (y * SIDE + x) + c] = (uint8_t)((thing ? ~wanted : wanted) >> (16 - 8 * c));
            }
        CHECK(border_colour(rgb, SIDE) == wanted, "%06x came as %06x", wanted, border_colour(rgb, SIDE));
        CHECK(nearest_scene_colour(wanted) == colour, "%06x", wanted);
        CHECK(nearest_scene_colour(wanted ^ 0x060606) == colour, "%06x moved a little", wanted);
    }
}

/* Its ends are where (share - x)^2 = 1.96^2 x (1 - x) / n: found by bisection. */
TEST(the_interval_is_wilsons)
{
    static const struct { long right, asked; double low, high; } cases[] = {
        { 5, 10, 0.2365931, 0.7634069 }, { 0, 20, 0, 0.1611252 }, { 120, 200, 0.5308367, 0.6653942 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double low, high;
        share_interval(cases[i].right, cases[i].asked, &low, &high);
        CHECK_NEAR(low, cases[i].low, 1e-5, "case %zu", i);
        CHECK_NEAR(high, cases[i].high, 1e-5, "case %zu", i);
    }
    CHECK(isinf(psnr_of(0, 10)), "equal pictures");
    CHECK_NEAR(psnr_of(10 * 25.5 * 25.5, 10), 20, 1e-12, "a tenth of the range is 20 dB");
}
