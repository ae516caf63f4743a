/* Choosing scenes and painting them; their captions are caption.c's. */
#include "dataset/scene.h"

#include <math.h>

#include "base/random.h"
#include "dataset/dataset_internal.h"

const struct scene_colour scene_colours[SCENE_COLOURS] = {
    { { "white", "白色" }, 0xFFFFFF },      { { "black", "黑色" }, 0x161616 },  { { "grey", "灰色" }, 0x8C8C8C },
    { { "red", "红色" }, 0xD9302C },        { { "orange", "橙色" }, 0xF59128 }, { { "yellow", "黄色" }, 0xFADA3C },
    { { "green", "绿色" }, 0x46A74C },      { { "teal", "青色" }, 0x0A9A94 },   { { "light blue", "浅蓝色" }, 0xA2D2F2 },
    { { "blue", "蓝色" }, 0x2C5FD0 },       { { "purple", "紫色" }, 0x7E44AC }, { { "pink", "粉色" }, 0xF5A8C4 },
    { { "brown", "棕色" }, 0x80532F },
};

const struct scene_options scene_defaults = {
    .pair = 0.28f,
    .placed = 0.10f,
    .coloured = 0.20f,
    .same_style = 0.7f,
    .chinese = 0.5f,
    .style_named = 0.85f,
};

const struct scene_options scene_plain = { .chinese = 0.5f, .style_named = 0.85f };

/* A permutation of [0, n): a Feistel network over the next power of four, walked until it lands inside (Black and
 * Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). So a round visits every picture once, without a list. */
static uint64_t permute(uint64_t at, uint64_t n, uint64_t key, uint64_t round)
{
    int half = 1;
    while ((uint64_t)1 << 2 * half < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = at >> half, right = at & mask;
        for (uint64_t k = 0; k < 4; k++) {
            uint32_t word[4];
            philox(key, right << 2 | k, ~round, word);
            uint64_t next = left ^ (word[0] & mask);
            left = right;
            right = next;
        }
        at = left << half | right;
    } while (at >= n);
    return at;
}

static bool is_chance(float x)
{
    return x >= 0 && x <= 1;
}

/* Another picture for a pair: of another concept, worded. False if sixteen tries find none (tiny sets). */
static bool choose_partner(const struct dataset *d, const struct scene_options *o, uint32_t first, struct random *r,
                           uint32_t *out)
{
    const struct dataset_picture *p = dataset_picture(d, first);
    bool same = random_uniform(r) < o->same_style;
    size_t n;
    const uint32_t *list = dataset_split(d, o->held_out, same ? p->style_index : -1, &n);
    for (int tries = 0; tries < 16; tries++) {
        uint32_t other = list[random_below(r, n)];
        const struct dataset_picture *q = dataset_picture(d, other);
        if (q->worded && q->concept_index != p->concept_index) {
            *out = other;
            return true;
        }
    }
    return false;
}

static uint32_t moved_a_little(uint32_t rgb, struct random *r)
{
    uint32_t out = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        int c = (int)(rgb >> shift & 255) + (int)random_below(r, 17) - 8;
        out |= (uint32_t)(c < 0 ? 0 : c > 255 ? 255 : c) << shift;
    }
    return out;
}

bool scene_choose(const struct dataset *d, const struct scene_options *o, uint64_t seed, uint64_t index,
                  struct scene_facts *facts, struct err *e)
{
    if (!is_chance(o->pair) || !is_chance(o->placed) || !is_chance(o->pair + o->placed) || !is_chance(o->coloured) ||
        !is_chance(o->same_style) || !is_chance(o->chinese) || !is_chance(o->style_named))
        return err_set(e, ERR_ARG, "the chances of scenes: each, and pair + placed, must be in [0, 1]");
    size_t n;
    const uint32_t *list = dataset_split(d, o->held_out, -1, &n);
    if (n == 0)
        return err_set(e, ERR_MISSING, "%s: no %s pictures", dataset_folder(d), o->held_out ? "held-out" : "training");
    /* The order of a round and the words of a scene come from different counters of one key: see permute's ~round. */
    struct random r = random_of(seed, index);
    uint32_t first = list[permute(index % n, n, seed, index / n)];
    const struct dataset_picture *p = dataset_picture(d, first);
    *facts = (struct scene_facts){ .kind = SCENE_ONE, .picture = { first, first }, .background = scene_colours[0].rgb,
                                   .place = SCENE_MIDDLE };
    float kind = random_uniform(&r);
    facts->language = random_uniform(&r) < o->chinese ? DATASET_CHINESE : DATASET_ENGLISH;
    facts->style_named = random_uniform(&r) < o->style_named || o->canonical;
    facts->wording = o->canonical ? 0 : random_u32(&r);
    if (!p->worded) {
        facts->style_named = false;
        return true;
    }
    if (random_uniform(&r) < o->coloured) {
        facts->colour_named = true;
        facts->colour = (int)random_below(&r, SCENE_COLOURS);
        if (facts->colour > 0)
            facts->background = moved_a_little(scene_colours[facts->colour].rgb, &r);
    }
    uint32_t other;
    if (kind < o->pair && choose_partner(d, o, first, &r, &other)) {
        facts->kind = SCENE_PAIR;
        bool swap = random_below(&r, 2);
        facts->picture[swap] = first;
        facts->picture[!swap] = other;
    } else if (kind >= o->pair && kind < o->pair + o->placed) {
        facts->kind = SCENE_PLACED;
        uint64_t size = random_below(&r, 8); /* big 1, tiny 2, small 5 of 8 */
        facts->scale = size == 0 ? SCENE_BIG : size < 3 ? SCENE_TINY : SCENE_SMALL;
        if (facts->scale != SCENE_BIG)
            facts->place = (enum scene_place)random_below(&r, 9);
    }
    return true;
}

struct scene_box scene_box(const struct scene_facts *facts, int which, int size_px)
{
    static const float shares[] = { [SCENE_BIG] = 1, [SCENE_SMALL] = 0.47f, [SCENE_TINY] = 0.31f };
    struct scene_box b = { 0, 0, size_px };
    if (facts->kind == SCENE_PAIR) {
        int margin = (int)lrintf((float)size_px / 128); /* a seam between the two */
        b.side = size_px / 2 - 2 * margin;
        b.x = margin + (which ? size_px / 2 : 0);
        b.y = (size_px - b.side) / 2;
    } else if (facts->kind == SCENE_PLACED) {
        b.side = (int)lrintf(shares[facts->scale] * (float)size_px);
        b.x = (size_px - b.side) * ((int)facts->place % 3) / 2;
        b.y = (size_px - b.side) * ((int)facts->place / 3) / 2;
    }
    /* On a canvas of a pixel or two the shares round to nothing. */
    b.side = b.side < 1 ? 1 : b.side;
    b.x = b.x + b.side > size_px ? size_px - b.side : b.x;
    b.y = b.y + b.side > size_px ? size_px - b.side : b.y;
    return b;
}

bool scene_paint(const struct dataset *d, const struct scene_facts *facts, int size_px, uint8_t *rgb, struct err *e)
{
    pixels_fill(rgb, size_px, facts->background);
    for (int k = 0; k < (facts->kind == SCENE_PAIR ? 2 : 1); k++) {
        struct scene_box b = scene_box(facts, k, size_px);
        if (!pixels_lay(d, facts->picture[k], rgb, size_px, b.x, b.y, b.side, e))
            return false;
    }
    return true;
}

bool scene_draw(const struct dataset *d, const struct scene_options *o, uint64_t seed, uint64_t index, int size_px,
                uint8_t *rgb, char *caption, struct scene_facts *facts, struct err *e)
{
    struct scene_facts mine;
    facts = facts ? facts : &mine;
    if (!scene_choose(d, o, seed, index, facts, e) || !scene_paint(d, facts, size_px, rgb, e))
        return false;
    scene_caption(d, facts, caption);
    return true;
}

struct scene_facts scene_of(uint32_t picture, enum dataset_language language)
{
    return (struct scene_facts){ .kind = SCENE_ONE, .language = language, .picture = { picture, picture },
                                 .background = scene_colours[0].rgb, .style_named = true, .place = SCENE_MIDDLE };
}
