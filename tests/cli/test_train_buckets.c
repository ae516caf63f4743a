/* Aspect buckets in a fine-tuning: pictures of several shapes, a program for each, one set of weights. */
#include "cli/run_limn.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"
#include "model/layer/net.h"
#include "test.h"

/* Cuts of a picture of 96x64, and the buckets that they get. */
static const struct picture { int left, width; const char *bucket; } pictures[] = {
    { 0, 96, "80x48" }, { 30, 40, "48x80" }, { 20, 64, "64x64" },
};
enum { PICTURES = 3, ROUNDS = 4, STEPS = PICTURES * ROUNDS };

struct place {
    char s[PATH_MAX_BYTES];
};

/* A data set of those pictures whose bit is set. */
static struct place make_set(const char *name, unsigned which)
{
    struct err e = { 0 };
    struct place folder;
    struct text list;
    snprintf(folder.s, sizeof folder.s, "%s", test_scratch(name));
    text_init(&list, 1 << 12);
    REQUIRE(folder_make(folder.s, &e));
    for (int i = 0; i < PICTURES; i++) {
        struct image cat, cut;
        char path[PATH_MAX_BYTES];
        if (!(which >> i & 1))
            continue;
        REQUIRE(image_load(&cat, test_data("pictures/cat.png"), IMAGE_FLATTEN, 0, &e));
        REQUIRE(image_crop(&cut, &cat, pictures[i].left, 0, pictures[i].width, cat.height, &e));
        REQUIRE(path_join(path, folder.s, path_of("%d.png", i).s, &e) && image_save_png(path, &cut, NULL, 0, &e));
        image_release(&cat);
        image_release(&cut);
        text_addf(&list, "{\"file_name\":\"%d.png\",\"text\":\"picture %d\"}\n", i, i);
    }
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder.s, "metadata.jsonl", &e) && file_write_whole(path, list.s, list.length, &e));
    text_release(&list);
    return folder;
}

/* A training with words of its own; NULL ends them. */
static int train(const char *set, const char *output, const char *a, const char *b, const char *c, const char *d)
{
    struct place model, cache;
    snprintf(model.s, sizeof model.s, "%s", test_data("models/tiny-sdxl"));
    snprintf(cache.s, sizeof cache.s, "%s", test_scratch("cache"));
    return limn("train", "lora", "-q", "-m", model.s, "-d", set, "-o", output, "--cache", cache.s, "--precision", "f32", "--threads", "1",
                "--log-every", "1", "--save-every", "3", "--random-crop", "--random-flip", "--bucket-min", "32", "--bucket-step", "16", a, b,
                c, d, NULL);
}

static void read_losses(const char *folder, double *out)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES], *text;
    size_t bytes;
    for (int i = 0; i < STEPS; i++)
        out[i] = NAN;
    REQUIRE(path_join(path, folder, "metrics.jsonl", &e) && file_read(path, 1 << 20, &text, &bytes, &e));
    for (char *line, *rest = text; (line = strsep(&rest, "\n"));) {
        json_t *j = *line ? json_parse(line, strlen(line), path, &e) : NULL;
        json_int_t step = json_integer_value(json_object_get(j, "step"));
        if (step >= 1 && step <= STEPS)
            out[step - 1] = json_number_value(json_object_get(j, "loss"));
        json_decref(j);
    }
    mem_free(text);
}

/* With a rate of 0 the loss of step i depends on its picture alone: noise, timestep, cut and words are functions of (seed, i). So it must
 * be, to the last bit, that of a training in one shape which has that picture alone. SDXL's time ids are in it, too. */
TEST(each_batch_has_the_loss_of_a_training_in_its_shape_alone)
{
    struct err e = { 0 };
    double mixed[STEPS], alone[PICTURES][STEPS];
    struct place all = make_set("all", 7), begin, out;
    struct path settings;
    snprintf(begin.s, sizeof begin.s, "%s", test_scratch("begin"));
    /* a LoRA that does something */
    CHECK(train(all.s, begin.s, "--steps=3", "--buckets=kohya", "--resolution=64", "--learning-rate=1e-2") == 0, "%s", complained);
    struct text text;
    text_init(&text, 1 << 12);
    text_addf(&text, "{\"init-lora\": \"%s/lora.safetensors\", \"learning-rate\": 0, \"steps\": %d}", begin.s, STEPS);
    REQUIRE(file_write_whole(test_scratch("still.json"), text.s, text.length, &e));
    text_release(&text);
    settings = path_of("--settings=%s", test_scratch("still.json"));
    snprintf(out.s, sizeof out.s, "%s", test_scratch("mixed"));
    CHECK(train(all.s, out.s, settings.s, "--buckets=kohya", "--resolution=64", NULL) == 0, "%s", complained);
    read_losses(out.s, mixed);
    for (int k = 0; k < PICTURES; k++) {
        char name[20], size[40];
        snprintf(name, sizeof name, "only-%d", k);
        struct place one = make_set(name, 1U << k);
        snprintf(size, sizeof size, "--resolution=%s", pictures[k].bucket);
        snprintf(name, sizeof name, "alone-%d", k);
        snprintf(out.s, sizeof out.s, "%s", test_scratch(name));
        CHECK(train(one.s, out.s, settings.s, size, NULL, NULL) == 0, "%s", complained);
        read_losses(out.s, alone[k]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int times[PICTURES] = { 0 };
        for (int i = round * PICTURES; i < (round + 1) * PICTURES; i++) {
            int like = 0;
            for (int k = 0; k < PICTURES; k++)
                if (mixed[i] == alone[k][i]) {
                    like++;
                    times[k]++;
                }
            CHECK(like == 1, "step %d: loss %.9g, alone %.9g %.9g %.9g", i + 1, mixed[i], alone[0][i], alone[1][i], alone[2][i]);
        }
        CHECK(times[0] == 1 && times[1] == 1 && times[2] == 1, "round %d: %d %d %d", round, times[0], times[1], times[2]);
    }
}

static void check_same_file(const char *a, const char *b)
{
    struct err e = { 0 };
    char *data[2];
    size_t bytes[2];
    REQUIRE(file_read(a, 1 << 26, &data[0], &bytes[0], &e) && file_read(b, 1 << 26, &data[1], &bytes[1], &e));
    CHECK(bytes[0] == bytes[1] && !memcmp(data[0], data[1], bytes[0]), "%s and %s differ", a, b);
    mem_free(data[0]);
    mem_free(data[1]);
}

TEST(a_run_with_buckets_resumes_in_the_same_bits)
{
    struct place all = make_set("again", 7), whole, broken;
    snprintf(whole.s, sizeof whole.s, "%s", test_scratch("whole"));
    snprintf(broken.s, sizeof broken.s, "%s", test_scratch("broken"));
    CHECK(train(all.s, whole.s, "--steps=7", "--buckets=kohya", "--resolution=64", "--dora") == 0, "%s", complained);
    for (int at = 2; at <= 6; at += 2) {
        char stop[20];
        snprintf(stop, sizeof stop, "--stop-at=%d", at);
        int status = limn("train", "lora", "-q", "--settings", path_of("%s/config.json", whole.s).s, "-o", broken.s, "--resume",
                          at == 6 ? "-q" : stop, NULL);
        CHECK(status == 0, "%s", complained);
    }
    check_same_file(test_scratch("whole/lora.safetensors"), test_scratch("broken/lora.safetensors"));
}

TEST(the_plan_names_the_buckets_and_counts_the_largest)
{
    struct err e = { 0 };
    struct place all = make_set("plan", 7);
    CHECK(train(all.s, test_scratch("planned"), "--plan", "--json", "--buckets=kohya", "--resolution=64") == 0, "%s", complained);
    json_t *j = json_parse(said, strlen(said), "the plan", &e);
    REQUIRE(j != NULL);
    const json_t *buckets = json_object_get(j, "buckets");
    json_int_t most = 0;
    CHECK(json_array_size(buckets) == PICTURES, "%s", said);
    for (size_t i = 0; i < PICTURES; i++) {
        const json_t *b = json_array_get(buckets, i);
        char size[24];
        snprintf(size, sizeof size, "%dx%d", (int)json_integer_value(json_object_get(b, "width")),
                 (int)json_integer_value(json_object_get(b, "height")));
        CHECK(!strcmp(size, pictures[i].bucket) && json_integer_value(json_object_get(b, "pictures")) == 1, "%s", said);
        json_int_t own = json_integer_value(json_object_get(b, "activations"));
        most = own > most ? own : most;
    }
    CHECK(json_integer_value(json_object_get(j, "activations")) == most, "%s", said);
    json_decref(j);
    CHECK(train(all.s, test_scratch("planned"), "--plan", "--buckets=kohya", "--resolution=64", NULL) == 0 && strstr(said, "80x48"), "%s", said);
    CHECK(train(all.s, test_scratch("planned"), "--buckets=kohya", "--resolution=64x32", NULL, NULL) == 2 && strstr(complained, "64x32"), "%s",
          complained);
    CHECK(train(all.s, test_scratch("planned"), "--buckets=kohya", "--resolution=64", "--bucket-step=9", "--bucket-min=9") == 2 &&
              strstr(complained, "multiples"), "%s", complained);
}
