/* The gallery: each claim on SQLite and on PostgreSQL. */
#include "store/gallery.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "postgresql.h"
#include "store/picture_files.h"

static const char hex[] = "0123456789abcdef";

/* A hash that begins with the number's digits. */
static const char *hash_of(int n)
{
    static char out[8][GALLERY_HASH_BYTES];
    static int turn;
    char *h = out[turn++ % 8];
    snprintf(h, GALLERY_HASH_BYTES, "%08x", n);
    for (int i = 8; i < 64; i++)
        h[i] = hex[(n + i) % 16];
    h[64] = 0;
    return h;
}

static int64_t add(struct store *s, int n, struct gallery_facts facts)
{
    struct err e = { 0 };
    int64_t id = 0;
    bool added;
    facts.hash = hash_of(n);
    struct db *db = store_begin(s, STORE_WRITE, &e);
    REQUIRE(store_end(db, db && gallery_add(db, &facts, &id, &added, &e), &e));
    CHECK(added && id > 0, "picture %d", n);
    return id;
}

/* The numbers of the pictures that a query finds, "3 1 " */
static const char *found(struct store *s, struct gallery_query query)
{
    static char out[4000];
    struct err e = { 0 };
    json_t *page, *one;
    size_t i;
    int64_t count = 0;
    out[0] = 0;
    REQUIRE(gallery_search(s, &query, &page, &e));
    json_array_foreach(page, i, one) {
        char digits[9] = "";
        snprintf(digits, sizeof digits, "%s", json_string_value(json_object_get(one, "hash")));
        snprintf(out + strlen(out), sizeof out - strlen(out), "%ld ", strtol(digits, NULL, 16));
    }
    REQUIRE(gallery_count(s, &query, &count, &e));
    CHECK(query.limit || query.before || (size_t)count == json_array_size(page), "a count of %d, a page of %zu", (int)count, json_array_size(page));
    json_decref(page);
    return out;
}

#define FOUND(query, want)                                                                  \
    do {                                                                                    \
        const char *came_ = found(s, query);                                                \
        CHECK(!strcmp(came_, want), "%s: came \"%s\", wanted \"%s\"", #query, came_, want); \
    } while (0)
#define WORDS(text) ((struct gallery_query){ .words = text })
#define FILTER(text) ((struct gallery_query){ .filters = { text }, .filter_count = 1 })

/* Runs a claim on both kinds of database. */
static void on_both(const char *name, void (*claim)(struct store *s))
{
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s.db", test_scratch(name));
    const char *const places[] = { path, pg_database() };
    for (int i = 0; i < 2 && places[i]; i++) {
        struct store *s;
        REQUIRE(s = store_open(places[i], &e));
        claim(s);
        store_close(s);
    }
    if (!places[1])
        print_message("%s: not on PostgreSQL, whose package is missing\n", name);
}

static void fill(struct store *s)
{
    add(s, 1, (struct gallery_facts){ .prompt = "A red apple on a table, 3d style", .negative = "blurry", .model = "limn-emoji",
                                      .sampler = "euler", .schedule = "karras", .steps = 20, .cfg = 7.5, .seed = 5, .has_seed = true,
                                      .width = 512, .height = 512, .created_ms = 1769817600000 /* 2026-01-31 */ });
    add(s, 2, (struct gallery_facts){ .prompt = "一只红苹果，扁平风格", .model = "kolors", .sampler = "dpmpp_2m", .steps = 25, .cfg = 5,
                                      .seed = UINT64_MAX, .has_seed = true, .width = 1024, .height = 768, .created_ms = 1769904000000 });
    add(s, 3, (struct gallery_facts){ .prompt = "concatenation of green pineapples", .model = "limn-emoji", .sampler = "euler_ancestral",
                                      .steps = 30, .name = "50%_off\\x.png", .created_ms = 1769990400000, .loras = { { .name = "Inkstyle",
                                      .hash = "abcdef123456", .scale = 0.5 } }, .lora_count = 1 });
    add(s, 4, (struct gallery_facts){ .prompt = "a cat says \"hello\"; DROP TABLE pictures", .negative = "狗", .steps = 8 });
    add(s, 5, (struct gallery_facts){ .prompt = "猫", .model = "kolors" });
}

static void words_claim(struct store *s)
{
    static const struct {
        const char *words, *want;
    } cases[] = {
        { "apple", "3 1 " },          { "\"apple\"", "1 " },         { "APPLE", "3 1 " },     { "ppl", "3 1 " },
        { "cat", "4 3 " },            { "\"cat\"", "4 " },           { "cat -green", "4 " },  { "-apple", "5 4 2 " },
        { "苹果", "2 " },             { "红", "2 " },                { "只红", "2 " },        { "红苹果", "2 " },
        { "果苹", "" },               { "猫", "5 " },                { "狗", "4 " },          { "-狗 -apple", "5 2 " },
        { "扁平风格", "2 " },         { "平风", "2 " },              { "a", "4 3 1 " },       { "re", "1 " },
        { "\"red apple\"", "1 " },    { "\"apple red\"", "" },       { "\"re\"", "" },        { "inkstyle", "3 " },
        { "\"hello\"", "4 " },        { "drop table", "4 " },        { "50%_off", "3 " },     { "off\\x", "3 " },
        { "%", "5 4 3 2 1 " },        { "apple 红", "" },            { "kolors", "5 2 " },    { "", "5 4 3 2 1 " },
        { "-", "5 4 3 2 1 " },        { "\"hello\"\"", NULL },       { "\"", NULL },          { "euler", "3 1 " },
        { "say", "4 " },              { "says \"cat", NULL },        { "ap", "1 " },          { "* OR cat", "" },
        { "NEAR(red, apple)", "" },   { "3d", "1 " },
    };
    fill(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        json_t *page;
        if (!cases[i].want) {
            struct gallery_query query = { .words = cases[i].words };
            CHECK_FAILS(gallery_search(s, &query, &page, &e), ERR_ARG, "quote");
            continue;
        }
        const char *came = found(s, WORDS(cases[i].words));
        CHECK(!strcmp(came, cases[i].want), "%s: came \"%s\", wanted \"%s\"", cases[i].words, came, cases[i].want);
    }
}

TEST(words_and_parts_of_words_are_found_in_english_and_chinese)
{
    on_both("words", words_claim);
}

static void filters_claim(struct store *s)
{
    static const struct {
        const char *filter, *want;
    } cases[] = {
        { "steps>=25", "3 2 " },       { "steps<20", "4 " },           { "steps=20", "1 " },             { "steps!=20", "4 3 2 " },
        { "sampler=euler", "1 " },     { "sampler~euler", "3 1 " },    { "sampler=EULER", "1 " },        { "sampler!=euler", "5 4 3 2 " },
        { "model~emoji", "3 1 " },     { "cfg>5", "1 " },              { "cfg<=5", "2 " },               { "seed=5", "1 " },
        { "seed=18446744073709551615", "2 " }, { "width>=1024", "2 " }, { "schedule=karras", "1 " },     { "lora=inkstyle", "3 " },
        { "lora~ink", "3 " },          { "lora!=inkstyle", "5 4 2 1 " }, { "created=2026-02-01", "2 " }, { "created<2026-02-01", "1 " },
        { "created<=2026-02-01", "2 1 " }, { "prompt~猫", "5 " },      { "negative~狗", "4 " },          { "name~50%_", "3 " },
        { "rating>=1", "" },           { "hash~00000002", "2 " },      { "created=2026-01-31T00:00", "1 " }, { "tag=none", "" },
    };
    static const char *const wrong[] = { "step=5", "steps", "steps=", "steps=x", "steps~5", "=5", "seed>5", "created=yesterday", "tag>=x",
                                         "steps=5; DROP TABLE pictures", "cfg=nan" };
    struct err e = { 0 };
    fill(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *came = found(s, FILTER(cases[i].filter));
        CHECK(!strcmp(came, cases[i].want), "%s: came \"%s\", wanted \"%s\"", cases[i].filter, came, cases[i].want);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct gallery_query query = FILTER(wrong[i]);
        json_t *page;
        CHECK_FAILS(gallery_search(s, &query, &page, &e), ERR_ARG, "the filter \"");
    }
    struct gallery_query both = { .words = "apple", .filters = { "model=limn-emoji", "steps>20" }, .filter_count = 2 };
    FOUND(both, "3 ");
}

TEST(every_fact_can_be_filtered)
{
    on_both("filters", filters_claim);
}

static void changes_claim(struct store *s)
{
    struct err e = { 0 };
    int64_t ids[6], batch, other, count;
    fill(s);
    struct db *db = store_begin(s, STORE_READ, &e);
    for (int n = 1; n <= 5; n++)
        REQUIRE(db && gallery_find(db, "", hash_of(n), &ids[n], &e));
    CHECK_FAILS(gallery_find(db, "", "0000", &other, &e), ERR_ARG, "several pictures");
    CHECK_FAILS(gallery_find(db, "ann", hash_of(1), &other, &e), ERR_MISSING, "no picture");
    CHECK_FAILS(gallery_find(db, "", "999", &other, &e), ERR_MISSING, "no picture 999");
    REQUIRE(gallery_find(db, "", "00000004", &other, &e));
    CHECK(other == ids[4], "by the beginning of a hash");
    REQUIRE(store_end(db, true, &e));

    REQUIRE(gallery_rate(s, "", &ids[2], 2, 4, &e));
    FOUND(FILTER("rating=4"), "3 2 ");
    CHECK_FAILS(gallery_rate(s, "", ids + 1, 1, 6, &e), ERR_ARG, "0 to 5");
    CHECK_FAILS(gallery_rate(s, "ann", ids + 1, 1, 1, &e), ERR_MISSING, "no picture");
    REQUIRE(gallery_tag(s, "", ids + 1, 2, (const char *const[]){ "still life", "水果" }, 2, NULL, 0, &e));
    REQUIRE(gallery_collect(s, "", ids + 1, 3, (const char *const[]){ "best" }, 1, NULL, 0, &e));
    FOUND(FILTER("tag=水果"), "2 1 ");
    FOUND(WORDS("水果"), "2 1 ");
    FOUND(WORDS("\"still life\""), "2 1 ");
    FOUND(FILTER("collection=best"), "3 2 1 ");
    REQUIRE(gallery_tag(s, "", ids + 1, 1, NULL, 0, (const char *const[]){ "水果", "nothing" }, 2, &e));
    FOUND(WORDS("水果"), "2 ");
    CHECK_FAILS(gallery_tag(s, "", ids + 1, 1, (const char *const[]){ "a,b" }, 1, NULL, 0, &e), ERR_ARG, "commas");
    CHECK_FAILS(gallery_tag(s, "", (const int64_t[]){ ids[1], 999 }, 2, (const char *const[]){ "new" }, 1, NULL, 0, &e), ERR_MISSING, "999");
    FOUND(FILTER("tag=new"), "");

    json_t *names;
    REQUIRE(gallery_names(s, "", "tag", 10, &names, &e));
    CHECK(json_array_size(names) == 2, "%zu tags", json_array_size(names));
    json_decref(names);
    REQUIRE(gallery_names(s, "", "model", 10, &names, &e));
    CHECK(json_array_size(names) == 2 && json_integer_value(json_object_get(json_array_get(names, 0), "count")) == 2, "models");
    json_decref(names);
    REQUIRE(gallery_names(s, "", "lora", 10, &names, &e));
    CHECK(!strcmp(json_string_value(json_object_get(json_array_get(names, 0), "name")), "Inkstyle"), "loras");
    json_decref(names);
    CHECK_FAILS(gallery_names(s, "", "steps", 10, &names, &e), ERR_ARG, "steps");

    REQUIRE(gallery_delete(s, "", ids + 1, 2, &batch, &e));
    FOUND(WORDS(""), "5 4 3 ");
    FOUND(WORDS("苹果"), "");
    FOUND(((struct gallery_query){ .deleted = true }), "2 1 ");
    REQUIRE(gallery_delete(s, "", ids + 4, 1, &other, &e));
    CHECK_FAILS(gallery_delete(s, "", (const int64_t[]){ ids[5], ids[1] }, 2, &count, &e), ERR_MISSING, "no picture");
    FOUND(WORDS(""), "5 3 ");
    REQUIRE(gallery_undo(s, "", 0, &count, &e));
    CHECK(count == 1, "the latest deletion");
    REQUIRE(gallery_undo(s, "", batch, &count, &e));
    CHECK(count == 2, "the one before");
    FOUND(WORDS(""), "5 4 3 2 1 ");
    CHECK_FAILS(gallery_undo(s, "", 0, &count, &e), ERR_MISSING, "nothing was deleted");
    FOUND(FILTER("tag=still life"), "2 1 ");
}

TEST(pictures_are_rated_tagged_collected_deleted_and_brought_back)
{
    on_both("changes", changes_claim);
}

static void again_claim(struct store *s)
{
    struct err e = { 0 };
    int64_t first, second, batch, other;
    bool added;
    first = add(s, 1, (struct gallery_facts){ .prompt = "one" });
    REQUIRE(gallery_delete(s, "", &first, 1, &batch, &e));
    struct gallery_facts more = { .hash = hash_of(1), .prompt = "other", .model = "m", .steps = 3 };
    struct db *db = store_begin(s, STORE_WRITE, &e);
    REQUIRE(store_end(db, db && gallery_add(db, &more, &second, &added, &e), &e));
    CHECK(!added && second == first, "the same content is one picture");
    FOUND(WORDS("\"one\""), "1 ");
    FOUND(FILTER("model=m"), "1 ");
    FOUND(WORDS("other"), "");
    more.owner = "ann";
    db = store_begin(s, STORE_WRITE, &e);
    REQUIRE(store_end(db, db && gallery_add(db, &more, &other, &added, &e), &e));
    CHECK(added && other != first, "another owner's is another");
    FOUND(((struct gallery_query){ .owner = "ann", .words = "other" }), "1 ");
    FOUND(WORDS(""), "1 ");
    more.hash = "xyz";
    db = store_begin(s, STORE_WRITE, &e);
    CHECK(db && !gallery_add(db, &more, &other, &added, &e) && e.code == ERR_ARG, "%s", e.text);
    CHECK(!store_end(db, false, &e), "taken back");
    err_clear(&e);
    more.hash = hash_of(9);
    more.prompt = "\xff";
    db = store_begin(s, STORE_WRITE, &e);
    CHECK(db && !gallery_add(db, &more, &other, &added, &e) && strstr(e.text, "UTF-8"), "%s", e.text);
    CHECK(!store_end(db, false, &e), "taken back");
}

TEST(the_same_content_is_in_the_gallery_once)
{
    on_both("again", again_claim);
}

static void pages_claim(struct store *s)
{
    struct err e = { 0 };
    int64_t ids[8];
    for (int n = 1; n <= 7; n++)
        ids[n] = add(s, n, (struct gallery_facts){ .prompt = "apple", .created_ms = 1000 * ((n * 3) % 8), .has_look = true,
                                                   .look = n == 7 ? UINT64_MAX : (1ULL << n) - 1 });
    FOUND(((struct gallery_query){ .limit = 3 }), "7 6 5 ");
    FOUND(((struct gallery_query){ .limit = 3, .before = ids[5] }), "4 3 2 ");
    FOUND(((struct gallery_query){ .limit = 3, .before = ids[5], .words = "apple" }), "4 3 2 ");
    FOUND(((struct gallery_query){ .limit = 2, .before = ids[5], .sort = GALLERY_OLDEST }), "6 7 ");
    FOUND(((struct gallery_query){ .limit = 3, .offset = 2, .sort = GALLERY_CREATED }), "7 4 1 ");
    REQUIRE(gallery_rate(s, "", ids + 3, 1, 5, &e));
    FOUND(((struct gallery_query){ .limit = 2, .sort = GALLERY_RATING }), "3 7 ");
    json_t *page, *one;
    size_t i;
    char near[100] = "";
    REQUIRE(gallery_similar(s, "", 7, 2, 10, &page, &e));
    json_array_foreach(page, i, one)
        snprintf(near + strlen(near), sizeof near - strlen(near), "%d:%d ", (int)json_integer_value(json_object_get(one, "id")) - (int)ids[1] + 1,
                 (int)json_integer_value(json_object_get(one, "distance")));
    assert_string_equal(near, "3:0 4:1 2:1 5:2 1:2 ");
    json_decref(page);
    REQUIRE(gallery_similar(s, "", UINT64_MAX, 0, 10, &page, &e));
    CHECK(json_array_size(page) == 1 && !strcmp(json_string_value(json_object_get(json_array_get(page, 0), "look")), "ffffffffffffffff"), "all ones");
    json_decref(page);
}

TEST(pages_sorts_and_pictures_that_look_alike)
{
    on_both("pages", pages_claim);
}

static bool holds(const json_t *list, const char *key, const char *value)
{
    json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        const char *own = json_string_value(json_object_get(one, key));
        if (own && !strcmp(own, value))
            return true;
    }
    return false;
}

struct walk {
    char seen[4000];
    int left;
};

static bool note_picture(void *self, const json_t *picture, struct err *e)
{
    struct walk *w = self;
    size_t length = strlen(w->seen);
    if (w->left-- == 0)
        return err_set(e, ERR_STOPPED, "enough");
    snprintf(w->seen + length, sizeof w->seen - length, "%s ", json_string_value(json_object_get(picture, "prompt")));
    return true;
}

/* The prompts of the pictures that a walk with this query meets. */
static const char *walked(struct store *s, struct gallery_query query)
{
    static struct walk w;
    struct err e = { 0 };
    w = (struct walk){ .left = -1 };
    REQUIRE(gallery_each(s, &query, note_picture, &w, &e));
    return w.seen;
}

/* "450 449 ... 1 " or up, without `skip` at the beginning and no more than `most`. */
static const char *numbers(int from, int to, int most)
{
    static char out[4000];
    out[0] = 0;
    for (int n = from; most-- > 0; n += from < to ? 1 : -1) {
        snprintf(out + strlen(out), sizeof out - strlen(out), "%d ", n);
        if (n == to)
            break;
    }
    return out;
}

static void walk_claim(struct store *s)
{
    enum { PICTURES = 450 }; /* three pages */
    char word[12];
    struct err e = { 0 };
    struct db *db = store_begin(s, STORE_WRITE, &e);
    bool good = db != NULL;
    for (int i = 1; good && i <= PICTURES; i++) {
        int64_t id;
        bool added;
        snprintf(word, sizeof word, "%d", i);
        good = gallery_add(db, &(struct gallery_facts){ .hash = hash_of(i), .prompt = word, .created_ms = 1000 * (1000 - i) }, &id, &added, &e);
    }
    REQUIRE(store_end(db, good, &e));
    assert_string_equal(walked(s, (struct gallery_query){ 0 }), numbers(PICTURES, 1, PICTURES));
    assert_string_equal(walked(s, (struct gallery_query){ .sort = GALLERY_OLDEST, .limit = 401 }), numbers(1, PICTURES, 401));
    assert_string_equal(walked(s, (struct gallery_query){ .offset = 5, .limit = 300 }), numbers(PICTURES - 5, 1, 300));
    assert_string_equal(walked(s, (struct gallery_query){ .sort = GALLERY_CREATED, .offset = 7 }), numbers(8, PICTURES, PICTURES));
    assert_string_equal(walked(s, (struct gallery_query){ .filters = { "id<=0" }, .filter_count = 1 }), "");
    struct walk w = { .left = 201 };
    CHECK_FAILS(gallery_each(s, &(struct gallery_query){ 0 }, note_picture, &w, &e), ERR_STOPPED, "enough");
    assert_string_equal(w.seen, numbers(PICTURES, 1, 201));
}

TEST(a_walk_meets_every_picture_of_a_query_once)
{
    on_both("walk", walk_claim);
}

static void lineage_claim(struct store *s)
{
    struct err e = { 0 };
    const char *lora = hash_of(100), *inside = hash_of(200), *train = hash_of(300), *base = hash_of(1);
    char short_hash[13];
    snprintf(short_hash, sizeof short_hash, "%.12s", inside);
    add(s, 1, (struct gallery_facts){ .prompt = "parent" });
    int64_t id = add(s, 2, (struct gallery_facts){ .prompt = "drawn", .model = "base", .loras = { { .name = "ink", .hash = short_hash, .scale = 1 } },
                                                   .lora_count = 1, .parents = { base }, .parent_count = 1 });
    struct weights_facts weights = { .hash = lora, .weights_hash = inside, .kind = "lora", .name = "ink", .path = "/runs/ink/ink.safetensors",
                                     .run = "/runs/ink", .step = 500 };
    struct training_facts training = { .run = "/runs/ink", .kind = "lora", .settings = "{\"rank\":8}", .started_ms = 5 };
    struct training_picture pictures[] = { { train, "a.png", "ink cat" }, { hash_of(301), "b.png", "ink dog" } };
    struct db *db = store_begin(s, STORE_WRITE, &e);
    REQUIRE(store_end(db, db && gallery_add_weights(db, &weights, &e) && gallery_add_training(db, &training, &e) &&
                      gallery_add_training_pictures(db, "/runs/ink", pictures, 2, &e), &e));
    char which[100];
    json_t *l;
    snprintf(which, sizeof which, "%d", (int)id);
    REQUIRE(gallery_lineage(s, "", which, &l, &e));
    json_t *from = json_object_get(l, "from"), *one, *weight = NULL;
    size_t i;
    CHECK(holds(from, "hash", lora) && holds(from, "name", "base") && holds(from, "hash", base), "%s", json_dumps(l, 0));
    json_array_foreach(from, i, one)
        if (json_object_get(one, "run"))
            weight = one;
    CHECK(json_integer_value(json_object_get(weight, "step")) == 500, "the step");
    const json_t *run = json_array_get(json_object_get(weight, "from"), 0);
    assert_string_equal(json_string_value(json_object_get(run, "run")), "/runs/ink");
    CHECK(holds(json_object_get(run, "from"), "caption", "ink dog") && json_array_size(json_object_get(run, "from")) == 2, "training pictures");
    json_decref(l);

    snprintf(which, sizeof which, "training:%s", train);
    REQUIRE(gallery_lineage(s, "", which, &l, &e));
    run = json_array_get(json_object_get(l, "to"), 0);
    weight = json_array_get(json_object_get(run, "to"), 0);
    CHECK(weight && json_integer_value(json_object_get(json_array_get(json_object_get(weight, "to"), 0), "id")) == id, "and onward: %s",
          json_dumps(l, 0));
    json_decref(l);
    snprintf(which, sizeof which, "picture:%.10s", base);
    REQUIRE(gallery_lineage(s, "", which, &l, &e));
    CHECK(json_array_size(json_object_get(l, "to")) == 1 && json_array_size(json_object_get(l, "from")) == 0, "drawn over");
    json_decref(l);
    CHECK_FAILS(gallery_lineage(s, "", "run:/nothing", &l, &e), ERR_MISSING, "nothing is known");
    /* users: the run lies in nobody's folder but that of a user called runs */
    CHECK_FAILS(gallery_lineage(s, "ann", "run:/runs/ink", &l, &e), ERR_MISSING, "nothing is known");
    CHECK_FAILS(gallery_lineage(s, "ink", "run:/runs/ink", &l, &e), ERR_MISSING, "nothing is known");
    snprintf(which, sizeof which, "training:%s", pictures[0].hash);
    CHECK_FAILS(gallery_lineage(s, "ann", which, &l, &e), ERR_MISSING, "nothing is known");
    snprintf(which, sizeof which, "weights:%s", lora);
    REQUIRE(gallery_lineage(s, "ann", which, &l, &e));
    CHECK(!json_array_size(json_object_get(l, "from")) && !json_string_value(json_object_get(json_object_get(l, "what"), "path")), "where Ann's LoRA comes from");
    json_decref(l);
    REQUIRE(gallery_lineage(s, "runs", which, &l, &e));
    CHECK(json_array_size(json_object_get(l, "from")) == 1, "a user called runs");
    json_decref(l);
}

TEST(lineage_leads_from_a_picture_to_what_was_learnt_and_back)
{
    on_both("lineage", lineage_claim);
}

TEST(files_lie_under_their_content_and_never_outside)
{
    struct err e = { 0 };
    char hash[GALLERY_HASH_BYTES], path[PATH_MAX_BYTES], folder[300];
    struct stat s;
    snprintf(folder, sizeof folder, "%s", test_scratch("files"));
    REQUIRE(picture_file_put(folder, "abc", 3, "png", hash, &e));
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4's example */
    REQUIRE(picture_file_path(path, folder, hash, "png", &e));
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 3);
    REQUIRE(picture_file_put(folder, "abc", 3, "png", hash, &e));
    picture_file_forget(folder, hash, "png");
    CHECK(path_exists(path), "one that was just put stays");
    const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    picture_file_forget(folder, hash, "png");
    CHECK(!path_exists(path), "an old one goes");
    static const char *const hashes[] = { "..", "../../../../etc/passwd", "", "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        CHECK_FAILS(picture_file_path(path, folder, hashes[i], "png", &e), ERR_ARG, "SHA-256");
    CHECK_FAILS(picture_file_path(path, folder, hash, "../x", &e), ERR_ARG, "type");
}

static void purge_claim(struct store *s)
{
    struct err e = { 0 };
    char folder[300], hash[GALLERY_HASH_BYTES], path[PATH_MAX_BYTES];
    int64_t ids[2], batch, count;
    bool added;
    snprintf(folder, sizeof folder, "%s", test_scratch("purged"));
    for (int i = 0; i < 2; i++) {
        REQUIRE(picture_file_put(folder, i ? "b" : "a", 1, "png", hash, &e));
        struct gallery_facts facts = { .hash = hash, .type = "png", .prompt = "gone" };
        struct db *db = store_begin(s, STORE_WRITE, &e);
        REQUIRE(store_end(db, db && gallery_add(db, &facts, &ids[i], &added, &e), &e));
    }
    REQUIRE(picture_file_path(path, folder, hash, "png", &e));
    const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    REQUIRE(gallery_delete(s, "", &ids[1], 1, &batch, &e));
    REQUIRE(gallery_purge(s, folder, 1000, &count, &e));
    CHECK(count == 0 && path_exists(path), "deleted just now");
    REQUIRE(gallery_purge(s, folder, INT64_MAX, &count, &e));
    CHECK(count == 1 && !path_exists(path), "%d", (int)count);
    FOUND(((struct gallery_query){ .deleted = true }), "");
    CHECK_FAILS(gallery_undo(s, "", batch, &count, &e), ERR_MISSING, "no deletion");
    struct gallery_query left = { .words = "gone" };
    REQUIRE(gallery_count(s, &left, &count, &e));
    assert_int_equal(count, 1);
}

TEST(what_was_deleted_long_ago_is_forgotten_for_good)
{
    on_both("purge", purge_claim);
}

static void sweep_claim(struct store *s)
{
    static const char *const names[] = { "kept", "old stray", "new stray" };
    struct err e = { 0 };
    char folder[300], path[3][PATH_MAX_BYTES], other[PATH_MAX_BYTES], half[PATH_MAX_BYTES + 20], hash[GALLERY_HASH_BYTES];
    int64_t id, count;
    bool added;
    const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    snprintf(folder, sizeof folder, "%s", test_scratch("swept"));
    for (int i = 0; i < 3; i++) {
        REQUIRE(picture_file_put(folder, names[i], strlen(names[i]), "png", hash, &e));
        REQUIRE(picture_file_path(path[i], folder, hash, "png", &e));
        struct gallery_facts facts = { .hash = hash, .type = "png" };
        struct db *db = i == 0 ? store_begin(s, STORE_WRITE, &e) : NULL;
        if (i == 0)
            REQUIRE(store_end(db, db && gallery_add(db, &facts, &id, &added, &e), &e));
        assert_int_equal(i == 2 ? 0 : utimensat(AT_FDCWD, path[i], old, 0), 0);
    }
    REQUIRE(path_join(other, folder, "notes.txt", &e));
    snprintf(half, sizeof half, "%s.part-12", path[1]);
    REQUIRE(file_write_whole(other, "x", 1, &e) && file_write_whole(half, "x", 1, &e));
    assert_int_equal(utimensat(AT_FDCWD, other, old, 0) + utimensat(AT_FDCWD, half, old, 0), 0);
    REQUIRE(gallery_sweep(s, folder, &count, &e));
    CHECK(count == 2 && path_exists(path[0]) && !path_exists(path[1]) && path_exists(path[2]) && path_exists(other) && !path_exists(half),
          "%d went", (int)count);
    REQUIRE(gallery_sweep(s, "/nothing/here", &count, &e));
    assert_int_equal(count, 0);
}

TEST(files_without_a_picture_are_swept_away)
{
    on_both("sweep", sweep_claim);
}
