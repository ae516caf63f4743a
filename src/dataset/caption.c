/* Captions of scenes, in many wordings. `wording` is read as digits of mixed radix: each choice takes the next one, and
 * digit 0 is always the canonical way, so that wording 0 is the canonical caption. */
#include <stdio.h>
#include <string.h>

#include "dataset/scene.h"

/* A caption that grows. Nothing is ever cut: the words of a dataset are bounded (DATASET_MAX_WORD_BYTES). */
struct say {
    char *s;
    size_t at;
    uint32_t digits;
    const struct dataset *d;
    const struct scene_facts *f;
};

static void add(struct say *w, const char *s)
{
    size_t n = strlen(s);
    if (w->at + n >= SCENE_CAPTION_BYTES)
        n = SCENE_CAPTION_BYTES - 1 - w->at;
    memcpy(w->s + w->at, s, n);
    w->at += n;
    w->s[w->at] = 0;
}

static uint32_t pick(struct say *w, uint32_t n)
{
    uint32_t digit = w->digits % n;
    w->digits /= n;
    return digit;
}

static const struct dataset_picture *picture(const struct say *w, int which)
{
    return dataset_picture(w->d, w->f->picture[which]);
}

/* "a " or "an " before a word, by its letter: right for the style and colour words. */
static const char *article_of(const char *word)
{
    return strchr("aeioAEIO", *word) && *word ? "an " : "a ";
}

static const char *const places[9][DATASET_LANGUAGES] = {
    { " in the top left corner", "左上角" },    { " at the top", "上方" },    { " in the top right corner", "右上角" },
    { " on the left", "左边" },                 { " in the middle", "中间" }, { " on the right", "右边" },
    { " in the bottom left corner", "左下角" }, { " at the bottom", "下方" }, { " in the bottom right corner", "右下角" },
};
static const char *const scales[3][DATASET_LANGUAGES] = {
    [SCENE_BIG] = { "big ", "大" }, [SCENE_SMALL] = { "small ", "小" }, [SCENE_TINY] = { "tiny ", "很小的" }
};

/* One or two tags that are not in the label anyway, each behind a comma. */
static void add_tags(struct say *w, const char *comma)
{
    const struct dataset_picture *p = picture(w, 0);
    enum dataset_language l = w->f->language;
    uint32_t how_many = pick(w, 8);
    how_many = how_many < 6 ? 0 : how_many - 5;
    for (int from = 0; how_many > 0 && p->tag_count[l] > 0; how_many--) {
        /* From a random place on, so that the two are different. */
        int i = from + (int)pick(w, (uint32_t)p->tag_count[l]);
        while (i < p->tag_count[l] && (strlen(p->tags[l][i]) < 2 || strstr(p->label[l], p->tags[l][i])))
            i++; /* one letter says nothing */
        if (i >= p->tag_count[l])
            return;
        add(w, comma);
        add(w, p->tags[l][i]);
        from = i + 1;
    }
}

static void add_noun(struct say *w, int which, bool article)
{
    const struct dataset_picture *p = picture(w, which);
    bool scaled = w->f->kind == SCENE_PLACED;
    if (article && *p->article) {
        add(w, scaled ? "a" : p->article);
        add(w, " ");
    }
    if (scaled)
        add(w, scales[w->f->scale][DATASET_ENGLISH]);
    add(w, p->label[DATASET_ENGLISH]);
}

static void add_place(struct say *w)
{
    if (w->f->kind == SCENE_PLACED && w->f->scale != SCENE_BIG)
        add(w, places[w->f->place][w->f->language]);
}

static void add_background(struct say *w, bool as_list)
{
    if (!w->f->colour_named)
        return;
    const char *name = scene_colours[w->f->colour].name[DATASET_ENGLISH];
    if (as_list) {
        add(w, ", ");
    } else {
        add(w, " on ");
        add(w, article_of(name));
    }
    add(w, name);
    add(w, " background");
}

static void english_one(struct say *w)
{
    const struct dataset_picture *p = picture(w, 0);
    uint32_t how = w->f->style_named ? pick(w, 8) : 0; /* 0 to 3: behind a comma */
    bool article = pick(w, 2), list = pick(w, 4) == 3;
    const char *phrase = p->style_phrase[DATASET_ENGLISH];
    if (how == 5) { /* 3d style red apple */
        add(w, phrase);
        add(w, " ");
        article = false;
    } else if (how == 6) { /* a 3d picture of a red apple */
        add(w, article_of(p->style));
        add(w, p->style);
        add(w, " picture of ");
        article = true;
    } else if (how == 7) { /* 3d style, red apple */
        add(w, phrase);
        add(w, ", ");
    }
    add_noun(w, 0, article);
    if (how == 4) { /* red apple in 3d style on the left */
        add(w, " in ");
        add(w, phrase);
    }
    add_place(w);
    add_background(w, list);
    add_tags(w, ", ");
    if (w->f->style_named && how < 4) {
        add(w, ", ");
        add(w, phrase);
    }
}

static void english_side(struct say *w, int which, bool article, bool own_style)
{
    add_noun(w, which, article);
    if (own_style) {
        add(w, " in ");
        add(w, picture(w, which)->style_phrase[DATASET_ENGLISH]);
    }
}

static void english_pair(struct say *w)
{
    bool same = picture(w, 0)->style_index == picture(w, 1)->style_index;
    bool own = w->f->style_named && !same, common = w->f->style_named && same;
    uint32_t how = pick(w, 4); /* 0, 1: on the left, on the right; 2: to the left of; 3: as 0 without articles */
    bool first = common && pick(w, 4) == 3;
    if (first) {
        add(w, picture(w, 0)->style_phrase[DATASET_ENGLISH]);
        add(w, ", ");
    }
    english_side(w, 0, how != 3, own);
    add(w, how == 2 ? " to the left of " : " on the left, ");
    english_side(w, 1, how != 3, own);
    if (how != 2)
        add(w, " on the right");
    add_background(w, true);
    if (common && !first) {
        add(w, ", ");
        add(w, picture(w, 0)->style_phrase[DATASET_ENGLISH]);
    }
}

static void add_counted(struct say *w, int which)
{
    const struct dataset_picture *p = picture(w, which);
    if (*p->counter) {
        add(w, "一");
        add(w, p->counter);
    }
}

static void chinese_background(struct say *w, const char *behind)
{
    add(w, scene_colours[w->f->colour].name[DATASET_CHINESE]);
    add(w, behind);
}

static void chinese_one(struct say *w)
{
    const struct dataset_picture *p = picture(w, 0);
    uint32_t how = w->f->style_named ? pick(w, 8) : 0; /* 0 to 4: behind a comma */
    bool counted = pick(w, 4) == 3, list = pick(w, 2);
    const char *phrase = p->style_phrase[DATASET_CHINESE];
    bool placed = w->f->kind == SCENE_PLACED && w->f->scale != SCENE_BIG;
    if (how == 6) { /* 一张3D风格的图片，红苹果 */
        add(w, "一张");
        add(w, phrase);
        add(w, "的图片，");
    } else if (how == 7) { /* 3D风格，红苹果 */
        add(w, phrase);
        add(w, "，");
    }
    if (w->f->colour_named && !list)
        chinese_background(w, placed ? "背景，" : "背景上的");
    if (placed) {
        add_place(w);
        add(w, counted ? "有" : "的");
    }
    /* 蓝色背景上的一个红苹果 is odd, 一个红苹果 and 左上角有一个红苹果 are not */
    if (counted && (placed || !w->f->colour_named || list))
        add_counted(w, 0);
    if (how == 5) { /* 3D风格的红苹果 */
        add(w, phrase);
        add(w, "的");
    }
    if (w->f->kind == SCENE_PLACED)
        add(w, scales[w->f->scale][DATASET_CHINESE]);
    add(w, p->label[DATASET_CHINESE]);
    if (w->f->colour_named && list) {
        add(w, "，");
        chinese_background(w, "背景");
    }
    add_tags(w, "，");
    if (w->f->style_named && how < 5) {
        add(w, "，");
        add(w, phrase);
    }
}

static void chinese_side(struct say *w, int which, bool counted, bool own_style)
{
    if (counted)
        add_counted(w, which);
    if (own_style) {
        add(w, picture(w, which)->style_phrase[DATASET_CHINESE]);
        add(w, "的");
    }
    add(w, picture(w, which)->label[DATASET_CHINESE]);
}

static void chinese_pair(struct say *w)
{
    bool same = picture(w, 0)->style_index == picture(w, 1)->style_index;
    bool own = w->f->style_named && !same, common = w->f->style_named && same;
    uint32_t how = pick(w, 4); /* 0, 1: 左边是…右边是…; 2: …在左边，…在右边; 3: as 0 without counters */
    bool first = common && pick(w, 4) == 3;
    if (first) {
        add(w, picture(w, 0)->style_phrase[DATASET_CHINESE]);
        add(w, "，");
    }
    for (int k = 0; k < 2; k++) {
        if (how != 2)
            add(w, k ? "右边是" : "左边是");
        chinese_side(w, k, how != 3, own);
        if (how == 2)
            add(w, k ? "在右边" : "在左边");
        if (!k)
            add(w, "，");
    }
    if (w->f->colour_named) {
        add(w, "，");
        chinese_background(w, "背景");
    }
    if (common && !first) {
        add(w, "，");
        add(w, picture(w, 0)->style_phrase[DATASET_CHINESE]);
    }
}

/* Some people type the narrow comma in Chinese. */
static void narrow_commas(char *s)
{
    static const char wide[] = "，";
    char *to = s;
    while (*s) {
        if (strncmp(s, wide, sizeof wide - 1) == 0) {
            *to++ = ',';
            s += sizeof wide - 1;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

void scene_caption(const struct dataset *d, const struct scene_facts *facts, char *caption)
{
    struct say w = { .s = caption, .digits = facts->wording, .d = d, .f = facts };
    *caption = 0;
    if (!picture(&w, 0)->worded) {
        add(&w, picture(&w, 0)->text);
        return;
    }
    if (facts->language == DATASET_CHINESE) {
        bool narrow = pick(&w, 8) == 7;
        facts->kind == SCENE_PAIR ? chinese_pair(&w) : chinese_one(&w);
        if (narrow)
            narrow_commas(caption);
        return;
    }
    facts->kind == SCENE_PAIR ? english_pair(&w) : english_one(&w);
    for (char *c = caption; *c; c++)
        *c += *c >= 'A' && *c <= 'Z' ? 'a' - 'A' : 0;
}
