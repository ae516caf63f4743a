#include "test.h"

#include <stdlib.h>

#include "base/file.h"
#include "dataset/scene.h"

static struct dataset *mini(int size_px)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(test_data("emoji-mini"), &e);
    REQUIRE(d != NULL);
    REQUIRE(size_px == 0 || dataset_load(d, size_px, false, NULL, &e));
    return d;
}

static const enum dataset_language EN = DATASET_ENGLISH, ZH = DATASET_CHINESE;
enum { BALL, BOX, ARROW, EGG, LEAVES, HILL, RING_BALL, RING_EGG = 9 };

TEST(canonical_captions_say_what_the_facts_say)
{
    static const struct {
        struct scene_facts f;
        const char *caption;
    } cases[] = {
        { { .style_named = true, .picture = { BALL } }, "red ball, solid style" },
        { { .style_named = true, .picture = { BALL }, .language = DATASET_CHINESE }, "红球，实心风格" },
        { { .picture = { HILL } }, "brown hill" },
        { { .style_named = true, .picture = { RING_BALL }, .colour_named = true, .colour = 9 },
          "red ball on a blue background, ring style" },
        { { .style_named = true, .picture = { BALL }, .colour_named = true, .colour = 4 },
          "red ball on an orange background, solid style" },
        { { .style_named = true, .picture = { BALL }, .colour_named = true, .colour = 9, .language = DATASET_CHINESE },
          "蓝色背景上的红球，实心风格" },
        { { .kind = SCENE_PLACED, .style_named = true, .picture = { BALL }, .scale = SCENE_SMALL, .place = SCENE_TOP_LEFT },
          "small red ball in the top left corner, solid style" },
        { { .kind = SCENE_PLACED, .style_named = true, .picture = { BALL }, .scale = SCENE_SMALL, .place = SCENE_TOP_LEFT,
            .language = DATASET_CHINESE },
          "左上角的小红球，实心风格" },
        { { .kind = SCENE_PLACED, .style_named = true, .picture = { BALL }, .scale = SCENE_BIG, .place = SCENE_MIDDLE },
          "big red ball, solid style" },
        { { .kind = SCENE_PLACED, .picture = { BALL }, .scale = SCENE_TINY, .place = SCENE_BOTTOM, .colour_named = true,
            .colour = 1, .language = DATASET_CHINESE },
          "黑色背景，下方的很小的红球" },
        { { .kind = SCENE_PAIR, .style_named = true, .picture = { ARROW, LEAVES } },
          "an arrow on the left, green leaves on the right, solid style" },
        { { .kind = SCENE_PAIR, .style_named = true, .picture = { BALL, EGG }, .language = DATASET_CHINESE },
          "左边是一个红球，右边是一只橙蛋，实心风格" },
        { { .kind = SCENE_PAIR, .style_named = true, .picture = { BALL, RING_EGG }, .colour_named = true, .colour = 8 },
          "a red ball in solid style on the left, an orange egg in ring style on the right, light blue background" },
        { { .kind = SCENE_PAIR, .style_named = true, .picture = { LEAVES, RING_EGG }, .language = DATASET_CHINESE },
          "左边是实心风格的绿叶，右边是一只圆环风格的橙蛋" },
    };
    struct dataset *d = mini(0);
    char caption[SCENE_CAPTION_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_caption(d, &cases[i].f, caption);
        CHECK(strcmp(caption, cases[i].caption) == 0, "case %zu: came \"%s\", wanted \"%s\"", i, caption,
              cases[i].caption);
    }
    struct scene_facts f = scene_of(BALL, ZH);
    scene_caption(d, &f, caption);
    assert_string_equal(caption, "红球，实心风格");
    f = scene_of(RING_BALL, EN);
    scene_caption(d, &f, caption);
    assert_string_equal(caption, "red ball, ring style");
    dataset_free(d);
}

/* Every wording names what the scene shows, and none says what it does not. */
TEST(every_wording_holds_the_words_that_matter)
{
    struct dataset *d = mini(0);
    char caption[SCENE_CAPTION_BYTES];
    for (uint64_t i = 0; i < 20000; i++) {
        struct scene_facts f;
        struct err e = { 0 };
        REQUIRE(scene_choose(d, &scene_defaults, 3, i, &f, &e));
        scene_caption(d, &f, caption);
        for (int k = 0; k < (f.kind == SCENE_PAIR ? 2 : 1); k++) {
            const struct dataset_picture *p = dataset_picture(d, f.picture[k]);
            const char *label = p->label[f.language][0] == 'B' ? "brown hill" : p->label[f.language];
            CHECK(strstr(caption, label), "scene %d: \"%s\" lacks %s", (int)i, caption, label);
            const char *style = f.language == ZH ? p->style_phrase[ZH] : p->style;
            CHECK((strstr(caption, style) != NULL) == f.style_named, "scene %d: \"%s\": style %s", (int)i, caption, style);
        }
        const struct dataset_picture *p = dataset_picture(d, f.picture[0]), *q = dataset_picture(d, f.picture[1]);
        const char *word = strstr(caption, p->style_phrase[f.language]);
        CHECK(p->style_index != q->style_index || !word || !strstr(word + 1, p->style_phrase[f.language]),
              "scene %d: \"%s\" says the style twice", (int)i, caption);
        const char *background = f.language == ZH ? "背景" : "background";
        CHECK((strstr(caption, background) != NULL) == f.colour_named, "scene %d: \"%s\"", (int)i, caption);
        if (f.colour_named)
            CHECK(strstr(caption, scene_colours[f.colour].name[f.language]), "scene %d: \"%s\"", (int)i, caption);
        const char *left = strstr(caption, dataset_picture(d, f.picture[0])->label[f.language]);
        const char *right = strstr(caption, dataset_picture(d, f.picture[1])->label[f.language]);
        CHECK(f.kind != SCENE_PAIR || !left || !right || left < right, "scene %d: \"%s\"", (int)i, caption);
        CHECK(!strstr(caption, ",,") && !strstr(caption, "  ") && !strstr(caption, ", ,"), "\"%s\"", caption);
    }
    dataset_free(d);
}

TEST(a_scene_is_a_function_of_seed_and_index)
{
    enum { SIZE = 24, BYTES = SIZE * SIZE * 3 };
    struct dataset *d = mini(32);
    uint8_t a[BYTES], b[BYTES];
    char said[SCENE_CAPTION_BYTES], again[SCENE_CAPTION_BYTES];
    struct err e = { 0 };
    int differ = 0;
    for (uint64_t i = 50; i-- > 0;) {
        REQUIRE(scene_draw(d, &scene_defaults, 9, i, SIZE, a, said, NULL, &e));
        REQUIRE(scene_draw(d, &scene_defaults, 10, i, SIZE, b, again, NULL, &e));
        differ += memcmp(a, b, BYTES) != 0;
        REQUIRE(scene_draw(d, &scene_defaults, 9, i, SIZE, b, again, NULL, &e));
        assert_memory_equal(a, b, BYTES);
        assert_string_equal(said, again);
    }
    CHECK(differ > 30, "another seed gave the same scene %d times of 50", 50 - differ);
    dataset_free(d);
}

TEST(every_training_picture_comes_once_a_round_and_held_out_ones_never)
{
    struct dataset *d = mini(0);
    struct scene_options o = scene_defaults;
    for (int held = 0; held < 2; held++) {
        o.held_out = held;
        o.pair = 0; /* the first picture is then picture[0] */
        size_t n;
        const uint32_t *list = dataset_split(d, held, -1, &n);
        assert_int_equal(n, held ? 2 : 10);
        bool orders_differ = false;
        uint32_t order[2][12];
        for (uint64_t round = 0; round < 20; round++) {
            int seen[12] = { 0 };
            for (size_t i = 0; i < n; i++) {
                struct scene_facts f;
                struct err e = { 0 };
                REQUIRE(scene_choose(d, &o, 5, round * n + i, &f, &e));
                seen[f.picture[0]]++;
                order[round % 2][i] = f.picture[0];
            }
            for (size_t i = 0; i < n; i++)
                CHECK(seen[list[i]] == 1, "picture %u came %d times in round %d", list[i], seen[list[i]], (int)round);
            orders_differ |= round > 0 && memcmp(order[0], order[1], n * sizeof **order) != 0;
        }
        CHECK(orders_differ, "every round has the same order");
    }
    o = scene_defaults;
    o.pair = 1;
    o.placed = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        struct scene_facts f;
        struct err e = { 0 };
        REQUIRE(scene_choose(d, &o, 5, i, &f, &e));
        const struct dataset_picture *p = dataset_picture(d, f.picture[0]), *q = dataset_picture(d, f.picture[1]);
        CHECK(f.kind == SCENE_PAIR && !p->held_out && !q->held_out, "scene %d", (int)i);
        CHECK(p->concept_index != q->concept_index, "scene %d shows one thing twice", (int)i);
    }
    dataset_free(d);
}

TEST(chances_are_kept)
{
    enum { N = 20000 };
    struct dataset *d = mini(0);
    struct scene_options o = { .pair = 0.3f, .placed = 0.2f, .coloured = 0.25f, .same_style = 0.6f, .chinese = 0.4f,
                               .style_named = 0.9f };
    int pair = 0, placed = 0, coloured = 0, same = 0, chinese = 0, named = 0, first_left = 0;
    for (uint64_t i = 0; i < N; i++) {
        struct scene_facts f;
        struct err e = { 0 };
        REQUIRE(scene_choose(d, &o, 77, i, &f, &e));
        pair += f.kind == SCENE_PAIR;
        placed += f.kind == SCENE_PLACED;
        coloured += f.colour_named;
        chinese += f.language == ZH;
        named += f.style_named;
        if (f.kind == SCENE_PAIR) {
            struct scene_facts alone; /* the same scene's first picture, by itself */
            REQUIRE(scene_choose(d, &scene_plain, 77, i, &alone, &e));
            CHECK(f.picture[0] == alone.picture[0] || f.picture[1] == alone.picture[0], "scene %d", (int)i);
            first_left += f.picture[0] == alone.picture[0];
        }
        same += f.kind == SCENE_PAIR && dataset_picture(d, f.picture[0])->style_index ==
                                            dataset_picture(d, f.picture[1])->style_index;
        CHECK(f.colour_named || f.background == 0xFFFFFF, "scene %d: a background nobody speaks of", (int)i);
    }
    const double four_sigma = 4 * sqrt(0.25 / N); /* of a share, at worst */
    CHECK_NEAR(pair / (double)N, 0.3, four_sigma, "pair");
    CHECK_NEAR(placed / (double)N, 0.2, four_sigma, "placed");
    CHECK_NEAR(coloured / (double)N, 0.25, four_sigma, "coloured");
    CHECK_NEAR(chinese / (double)N, 0.4, four_sigma, "chinese");
    CHECK_NEAR(named / (double)N, 0.9, four_sigma, "style named");
    CHECK_NEAR(first_left / (double)pair, 0.5, 4 * sqrt(0.25 / pair), "left");
    /* A partner of its own style is still of the same one in about half of the tries: 0.6 + 0.4 / 2. */
    CHECK_NEAR(same / (double)pair, 0.8, 0.03, "same style");
    struct scene_facts f;
    struct err e = { 0 };
    o.placed = 0.8f;
    CHECK_FAILS(scene_choose(d, &o, 1, 1, &f, &e), ERR_ARG, "chances");
    o.placed = NAN;
    CHECK_FAILS(scene_choose(d, &o, 1, 1, &f, &e), ERR_ARG, "chances");
    dataset_free(d);
}

/* The mean x and y of what is not background, in [0, 1]; false if there is nothing. */
static bool centre_of(const uint8_t *rgb, int size, const uint8_t like[3], double *x, double *y)
{
    double n = 0, sx = 0, sy = 0;
    for (int v = 0; v < size; v++)
        for (int u = 0; u < size; u++)
            if (memcmp(rgb + (v * size + u) * 3, like, 3) == 0) {
                n++;
                sx += u + 0.5;
                sy += v + 0.5;
            }
    *x = n > 0 ? sx / n / size : 0;
    *y = n > 0 ? sy / n / size : 0;
    return n > 0;
}

TEST(left_is_left_and_places_are_where_they_are_said_to_be)
{
    enum { SIZE = 64 };
    static uint8_t rgb[SIZE * SIZE * 3];
    static const uint8_t red[3] = { 0xD0, 0x20, 0x20 }, blue[3] = { 0x20, 0x40, 0xD0 };
    struct dataset *d = mini(32);
    struct err e = { 0 };
    double x, y;
    struct scene_facts f = { .kind = SCENE_PAIR, .picture = { BALL, BOX }, .background = 0xFFFFFF };
    REQUIRE(scene_paint(d, &f, SIZE, rgb, &e));
    CHECK(centre_of(rgb, SIZE, red, &x, &y), "no ball");
    CHECK_NEAR(x, 0.25, 0.02, "the ball's x");
    CHECK_NEAR(y, 0.5, 0.02, "the ball's y");
    CHECK(centre_of(rgb, SIZE, blue, &x, &y), "no box");
    CHECK_NEAR(x, 0.75, 0.02, "the box's x");
    for (int place = 0; place < 9; place++)
        for (int scale = SCENE_SMALL; scale <= SCENE_TINY; scale++) {
            f = (struct scene_facts){ .kind = SCENE_PLACED, .picture = { BALL }, .scale = (enum scene_scale)scale,
                                      .place = (enum scene_place)place, .background = 0x2C5FD0 };
            REQUIRE(scene_paint(d, &f, SIZE, rgb, &e));
            struct scene_box b = scene_box(&f, 0, SIZE);
            double share = (double)b.side / SIZE;
            CHECK(centre_of(rgb, SIZE, red, &x, &y), "no ball at place %d", place);
            CHECK_NEAR(x, share / 2 + (1 - share) * (place % 3) / 2, 0.02, "x at place %d scale %d", place, scale);
            CHECK_NEAR(y, share / 2 + (1 - share) * (place / 3) / 2, 0.02, "y at place %d scale %d", place, scale);
        }
    dataset_free(d);
}

TEST(every_scene_stays_inside_its_canvas)
{
    static const int sizes[] = { 1, 2, 3, 31, 128 };
    struct dataset *d = mini(8);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t i = 0; i < 200; i++) {
            struct scene_facts f;
            struct err e = { 0 };
            REQUIRE(scene_choose(d, &scene_defaults, 2, i, &f, &e));
            for (int k = 0; k < 2; k++) {
                struct scene_box b = scene_box(&f, k, sizes[s]);
                CHECK(b.side >= 1 && b.x >= 0 && b.y >= 0 && b.x + b.side <= sizes[s] && b.y + b.side <= sizes[s],
                      "size %d scene %d: %d at (%d, %d)", sizes[s], (int)i, b.side, b.x, b.y);
            }
            size_t bytes = (size_t)(sizes[s] * sizes[s] * 3);
            uint8_t *rgb = malloc(bytes); /* exactly: the sanitizer sees a step outside */
            REQUIRE(scene_paint(d, &f, sizes[s], rgb, &e));
            free(rgb);
        }
    dataset_free(d);
}

TEST(a_plain_folder_gives_its_pictures_with_their_texts)
{
    struct err e = { 0 };
    const char *folder = test_scratch("plain");
    char path[PATH_MAX_BYTES], caption[SCENE_CAPTION_BYTES];
    REQUIRE(folder_make(folder, &e) && path_join(path, folder, "metadata.csv", &e));
    const char *list = "file_name,text\na.png,A Cat on a mat\n";
    REQUIRE(file_write_whole(path, list, strlen(list), &e));
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    for (uint64_t i = 0; i < 100; i++) {
        struct scene_facts f;
        REQUIRE(scene_choose(d, &scene_defaults, 1, i, &f, &e));
        scene_caption(d, &f, caption);
        assert_string_equal(caption, "A Cat on a mat");
        assert_int_equal(f.kind, SCENE_ONE);
        assert_int_equal(f.background, 0xFFFFFF);
    }
    struct scene_options o = scene_defaults;
    struct scene_facts f;
    o.held_out = true;
    CHECK_FAILS(scene_choose(d, &o, 1, 1, &f, &e), ERR_MISSING, "no held-out pictures");
    dataset_free(d);
}
