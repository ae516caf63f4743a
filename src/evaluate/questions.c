#include "evaluate/questions.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const long question_counts[QUESTION_KINDS] = {
    [QUESTION_TRAINED] = 200, [QUESTION_HELD_OUT] = 0, [QUESTION_PAIR] = 100, [QUESTION_COLOUR] = 104, /* 8 a colour */
    [QUESTION_FREE] = FREE_PROMPTS,
};

/* Things the set has, in styles it has and without one; sizes, places, numbers of things, colours; and things it has not. */
const char *const free_prompts[FREE_PROMPTS] = {
    "a red apple", "红苹果", "a cat, 3d style", "一只猫，3D风格", "a dog, flat style", "一只狗，扁平风格",
    "a rocket, noto style", "火箭", "a blue apple", "蓝苹果", "一只戴帽子的猫", "a cat with a hat",
    "a green horse", "绿色的马", "a purple banana", "紫色的香蕉", "a pink elephant", "粉色的大象",
    "a smiling sun", "微笑的太阳", "a crying face", "大哭的脸", "an angry pumpkin", "戴眼镜的狗",
    "a cat on the left, a dog on the right", "左边是一只猫，右边是一只狗", "a house on the left, a tree on the right, 3d style",
    "左边是一个苹果，右边是一根香蕉", "a fish on a blue background", "蓝色背景上的鱼", "a star on a black background",
    "黑色背景上的星星", "small dog in the top left corner", "左上角的小狗", "big red heart", "很小的红心",
    "two apples", "三只小鸟", "a robot riding a bicycle", "骑自行车的机器人", "a castle on a mountain", "山上的城堡",
    "a bowl of noodles", "一碗面条", "a panda eating bamboo", "吃竹子的熊猫", "a dragon made of ice", "冰做的龙",
};

/* FNV-1a over "salt/hexcode/style", then splitmix64's finish, which FNV's weak high bits need. */
static uint64_t hash_of(const char *salt, const struct dataset_picture *p)
{
    const char *const parts[] = { salt, "/", p->hexcode, "/", p->style };
    uint64_t h = 0xCBF29CE484222325;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (const char *c = parts[i]; *c; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001B3;
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9;
    h = (h ^ h >> 27) * 0x94D049BB133111EB;
    return h ^ h >> 31;
}

struct ranked {
    uint64_t hash;
    uint32_t picture;
};

static int by_hash(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : (x->picture > y->picture) - (x->picture < y->picture);
}

/* The worded pictures of a split in the order of their hashes; *count of them. NULL with e set: no memory. */
static struct ranked *rank_pictures(const struct dataset *d, bool held_out, const char *salt, size_t *count, struct err *e)
{
    size_t all;
    const uint32_t *list = dataset_split(d, held_out, -1, &all);
    struct ranked *out = mem_zeroed(all + 1, sizeof *out);
    *count = 0;
    if (!out) {
        err_nomem(e, "the questions");
        return NULL;
    }
    for (size_t i = 0; i < all; i++)
        if (dataset_picture(d, list[i])->worded)
            out[(*count)++] = (struct ranked){ hash_of(salt, dataset_picture(d, list[i])), list[i] };
    qsort(out, *count, sizeof *out, by_hash);
    return out;
}

/* The next picture of its style in the order, and so of another concept. False if there is none. */
static bool find_partner(const struct dataset *d, const struct ranked *order, size_t count, size_t first, uint32_t *out)
{
    const struct dataset_picture *p = dataset_picture(d, order[first].picture);
    for (size_t k = 1; k < count; k++) {
        uint32_t other = order[(first + k) % count].picture;
        if (dataset_picture(d, other)->style_index == p->style_index) {
            *out = other;
            return true;
        }
    }
    return false;
}

/* What question `number` shows; false if there is none for this picture. */
static bool facts_of(const struct dataset *d, enum question_kind kind, long number, const struct ranked *order, size_t count,
                     size_t at, struct scene_facts *facts)
{
    *facts = scene_of(order[at].picture, number % 2 ? DATASET_CHINESE : DATASET_ENGLISH);
    if (kind == QUESTION_COLOUR) {
        facts->colour_named = true;
        facts->colour = (int)(number % SCENE_COLOURS);
        facts->background = scene_colours[facts->colour].rgb;
    }
    if (kind == QUESTION_PAIR)
        facts->kind = SCENE_PAIR;
    return kind != QUESTION_PAIR || find_partner(d, order, count, at, &facts->picture[1]);
}

static bool add(struct question **list, size_t *count, size_t *cap, const struct question *q, const char *prompt,
                struct err *e)
{
    struct question *grown = mem_grow(*list, cap, *count + 1, sizeof *grown);
    char *copy = grown ? mem_string(prompt) : NULL;
    if (grown)
        *list = grown;
    if (!copy)
        return err_nomem(e, "the questions");
    grown[*count] = *q;
    grown[(*count)++].prompt = copy;
    return true;
}

bool questions_add(const struct dataset *d, enum question_kind kind, long most, struct question **list, size_t *count,
                   struct err *e)
{
    static const char *const salts[] = { "trained", "held-out", "pair", "colour", "" };
    size_t cap = *count, pictures = 0;
    long limit = question_counts[kind];
    if (most && (!limit || most < limit))
        limit = most;
    if (kind == QUESTION_FREE) {
        for (long i = 0; i < limit; i++)
            if (!add(list, count, &cap, &(struct question){ .kind = kind, .number = i }, free_prompts[i], e))
                return false;
        return true;
    }
    struct ranked *order = rank_pictures(d, kind == QUESTION_HELD_OUT, salts[kind], &pictures, e);
    bool good = order != NULL;
    struct question q = { .kind = kind };
    for (size_t i = 0; good && i < pictures && (!limit || q.number < limit); i++) {
        char caption[SCENE_CAPTION_BYTES];
        if (!facts_of(d, kind, q.number, order, pictures, i, &q.facts))
            continue;
        scene_caption(d, &q.facts, caption);
        good = add(list, count, &cap, &q, caption, e);
        q.number++;
    }
    mem_free(order);
    return good;
}

void questions_free(struct question *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(list[i].prompt);
    mem_free(list);
}
