/* limn dataset cache: what it keeps is what limn train lora looks for, bit for bit. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run_limn.h"
#include "test.h"

struct place {
    char s[PATH_MAX_BYTES];
};
static struct place place_of(const char *path)
{
    struct place p;
    snprintf(p.s, sizeof p.s, "%s", path);
    return p;
}

static struct place inside(const char *folder, const char *name)
{
    struct place p;
    struct err e = { 0 };
    REQUIRE(path_join(p.s, folder, name, &e));
    return p;
}

static struct place pictures(const char *name)
{
    struct place to = place_of(test_scratch(name));
    char command[3 * PATH_MAX_BYTES];
    snprintf(command, sizeof command, "rm -rf -- '%s' && cp -r '%s' '%s'", to.s, test_data("emoji-mini"), to.s);
    assert_int_equal(system(command), 0);
    return to;
}

static size_t kept(const char *folder)
{
    char **names;
    size_t count;
    struct err e = { 0 };
    REQUIRE(folder_names(folder, ".safetensors", &names, &count, &e));
    folder_names_free(names, count);
    return count;
}

static void train(const char *model, const char *set, const char *output)
{
    int status = limn("train", "lora", "-q", "--model", model, "--dataset", set, "--output", output, "--resolution", "32", "--epochs", "1",
                      "--random-flip", "--shuffle-caption", "--seed", "5", "--precision", "f32", "--threads", "1", NULL);
    CHECK(status == 0, "%s", complained);
}

static long number(const char *key)
{
    json_t *j = json_loads(said, 0, NULL);
    long n = (long)json_integer_value(json_object_get(j, key));
    CHECK(j, "%s", said);
    json_decref(j);
    return n;
}

static void cache(const char *model, const char *set)
{
    int status = limn("dataset", "cache", set, "-q", "--model", model, "--resolution", "32", "--random-flip", "--shuffle-caption", "--seed", "5",
                      "--precision", "f32", "--threads", "1", "--json", NULL);
    CHECK(status == 0, "%s", complained);
}

TEST(a_training_finds_all_that_it_needs_and_learns_the_same_bits)
{
    static const char *const models[] = { "models/tiny-sd1", "models/tiny-kolors" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct err e = { 0 };
        struct place model = place_of(test_data(models[i])), set = pictures("cached"), bare = pictures("bare");
        struct place run = place_of(test_scratch(i ? "run-kolors" : "run-sd1")), bare_run = place_of(test_scratch(i ? "bare-kolors" : "bare-sd1"));
        struct place folder = inside(set.s, "cache");
        cache(model.s, set.s);
        long made = number("made");
        /* two files for each of 10 pictures and 2 held-out ones; words may be alike */
        CHECK(number("pictures") == 10 && made >= 22 && made <= 24 && number("there") == 0 && kept(folder.s) == (size_t)made, "%s", said);
        train(model.s, set.s, run.s);
        CHECK(kept(folder.s) == (size_t)made && !path_exists(inside(run.s, "cache").s), "%s: the training made more: %zu", models[i],
              kept(folder.s));
        train(model.s, bare.s, bare_run.s);
        CHECK(kept(inside(bare_run.s, "cache").s) == (size_t)made && !path_exists(inside(bare.s, "cache").s), "%s: without a cache", models[i]);
        char *one, *other;
        size_t bytes, other_bytes;
        REQUIRE(file_read(inside(run.s, "lora.safetensors").s, 1 << 24, &one, &bytes, &e));
        REQUIRE(file_read(inside(bare_run.s, "lora.safetensors").s, 1 << 24, &other, &other_bytes, &e));
        size_t head = 8 + *(uint64_t *)one; /* the header holds the data set's name */
        CHECK(bytes - head == other_bytes - (8 + *(uint64_t *)other) && !memcmp(one + head, other + other_bytes - (bytes - head), bytes - head),
              "%s: the LoRAs differ", models[i]);
        mem_free(one);
        mem_free(other);
    }
}

TEST(what_is_there_is_taken_and_what_is_missing_is_made)
{
    struct place model = place_of(test_data("models/tiny-sd1")), set = pictures("part"), folder = inside(set.s, "cache");
    struct err e = { 0 };
    char **names;
    size_t count;
    cache(model.s, set.s);
    long made = number("made");
    REQUIRE(folder_names(folder.s, ".safetensors", &names, &count, &e));
    for (size_t i = 0; i < 7; i++)
        unlink(inside(folder.s, names[i]).s);
    folder_names_free(names, count);
    cache(model.s, set.s);
    CHECK(number("made") == 7 && number("there") == made - 7, "%s", said);
    cache(model.s, set.s);
    CHECK(number("made") == 0 && number("there") == made, "%s", said);
    /* other weights, other files */
    cache(test_data("models/tiny-sd2"), set.s);
    CHECK(number("made") == made && number("there") == made, "%s", said);
}
