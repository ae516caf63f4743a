/* `limn train lora` against diffusers and PEFT (tests/reference/make_train_lora.py), and what a run promises by itself. */
#include <stdlib.h>

#include "cli/run_limn.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "test.h"
#include "weights/weights.h"

struct trial {
    const char *name, *model, *alpha;
    const char *more[4]; /* words of the command; NULL: none */
};
static const struct trial trials[] = {
    { "sd1", "tiny-sd1", "1", { 0 } },
    { "sd2", "tiny-sd2", "1", { 0 } },
    { "sdxl", "tiny-sdxl", "4", { 0 } },
    { "kolors", "tiny-kolors", "2", { 0 } },
    { "dora", "tiny-sd1", "0.5", { 0 } },
    { "text", "tiny-sd1", "2", { "--text-learning-rate", "1e-3" } },
};
enum { TRIALS = sizeof trials / sizeof *trials };

/* A path in a buffer of its own: test_scratch and test_data keep only a few. */
struct place {
    char s[PATH_MAX_BYTES];
};
static struct place place_of(const char *path)
{
    struct place p;
    snprintf(p.s, sizeof p.s, "%s", path);
    return p;
}

static struct place data_of(const char *name, const char *end)
{
    char file[100];
    snprintf(file, sizeof file, "train/lora-%s%s.safetensors", name, end);
    return place_of(test_data(file));
}

static struct place model_of(const char *name)
{
    char folder[100];
    snprintf(folder, sizeof folder, "models/%s", name);
    return place_of(test_data(folder));
}

/* Replays a trial into a folder; more words may follow, NULL ends. */
static int replay(const struct trial *t, const char *folder, const char *word, const char *value)
{
    struct place model = model_of(t->model), file = data_of(t->name, ""), init = data_of(t->name, ".init");
    return limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--init-lora", init.s, "--save-every", "1",
                "--lora-format", "peft", "--output", folder, "--learning-rate", "1e-3", "--precision", "f32", "--lora-alpha",
                t->alpha, "--threads", "1", word ? word : "--seed", word ? value : "0", t->more[0], t->more[1], NULL);
}

static double loss_at(const char *folder, int step, struct err *e)
{
    char path[PATH_MAX_BYTES], *text = NULL;
    size_t bytes;
    double loss = NAN;
    if (!path_join(path, folder, "metrics.jsonl", e) || !file_read(path, 1 << 20, &text, &bytes, e))
        return NAN;
    char *line = text;
    for (int i = 0; line && *line; i++) {
        char *end = strchr(line, '\n');
        json_t *j = json_parse(line, end ? (size_t)(end - line) : strlen(line), path, e);
        if (json_integer_value(json_object_get(j, "step")) == step + 1)
            loss = json_number_value(json_object_get(j, "loss"));
        json_decref(j);
        line = end ? end + 1 : NULL;
    }
    mem_free(text);
    return loss;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct weight *const *)a)->name, (*(const struct weight *const *)b)->name);
}

/* 6 numbers of a tensor, its norm, its sum. */
static void few(const struct weight *w, double out[8])
{
    const float *x = w->data;
    int64_t n = shape_count(w->shape);
    out[6] = out[7] = 0;
    for (int64_t i = 0; i < n; i++) {
        out[6] += (double)x[i] * x[i];
        out[7] += (double)x[i];
    }
    out[6] = sqrt(out[6]);
    for (int i = 0; i < 6; i++)
        out[i] = (double)x[i * (n / 6)];
}

static void check_weights(const struct trial *t, const char *folder)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, "lora-step00000003.safetensors", &e));
    struct weights *came = weights_open(path, &e), *wanted = came ? weights_open(data_of(t->name, ".after").s, &e) : NULL;
    REQUIRE(came && wanted);
    const struct weight *after = weights_need(wanted, "after", &e);
    REQUIRE(after != NULL);
    size_t count = weights_count(came);
    CHECK((int64_t)count == after->shape.dim[0], "%s: %zu tensors, PEFT has %lld", t->name, count, (long long)after->shape.dim[0]);
    const struct weight **sorted = mem_zeroed(count, sizeof(struct weight *));
    assert_non_null(sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = weights_at(came, i);
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count; i++) {
        double have[8];
        few(sorted[i], have);
        for (int k = 0; k < 8; k++) /* the last is a sum of many; worst of the others seen: 2e-5 */
            CHECK_NEAR(have[k], (double)((const float *)after->data)[i * 8 + (size_t)k], k == 7 ? 1e-3 : 1e-4, "%s: %s, number %d",
                       t->name, sorted[i]->name, k);
    }
    mem_free(sorted);
    weights_free(came);
    weights_free(wanted);
}

TEST(three_steps_of_lora_agree_with_peft_in_loss_and_weights)
{
    struct err e = { 0 };
    json_t *report = json_read(test_data("train/lora.json"), &e);
    REQUIRE(report != NULL);
    for (int i = 0; i < TRIALS; i++) {
        const struct trial *t = &trials[i];
        struct place folder = place_of(test_scratch(t->name));
        CHECK(replay(t, folder.s, NULL, NULL) == 0, "%s: %s", t->name, complained);
        const json_t *losses = json_object_get(json_object_get(report, t->name), "losses");
        for (int step = 0; step < 3; step++) /* worst seen: 3e-7 */
            CHECK_NEAR(loss_at(folder.s, step, &e), json_number_value(json_array_get(losses, (size_t)step)), 1e-5, "%s, step %d",
                       t->name, step);
        check_weights(t, folder.s);
    }
    json_decref(report);
}

static void same_file(const char *a, const char *b, const char *name)
{
    struct err e = { 0 };
    char path[2][PATH_MAX_BYTES], *data[2];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE(path_join(path[i], i ? b : a, name, &e));
        REQUIRE(file_read(path[i], 1 << 26, &data[i], &bytes[i], &e));
    }
    CHECK(bytes[0] == bytes[1] && !memcmp(data[0], data[1], bytes[0]), "%s and %s differ", path[0], path[1]);
    mem_free(data[0]);
    mem_free(data[1]);
}

TEST(recomputing_inner_activations_changes_no_bit)
{
    struct place plain = place_of(test_scratch("plain")), again = place_of(test_scratch("again"));
    CHECK(replay(&trials[0], plain.s, NULL, NULL) == 0, "%s", complained);
    struct trial t = trials[0];
    t.more[0] = "--gradient-checkpointing";
    CHECK(replay(&t, again.s, NULL, NULL) == 0, "%s", complained);
    same_file(plain.s, again.s, "lora.safetensors");
}

TEST(a_stopped_and_resumed_run_ends_in_the_same_bits)
{
    for (int i = 0; i < TRIALS; i++) {
        char names[2][40];
        snprintf(names[0], sizeof names[0], "whole-%s", trials[i].name);
        snprintf(names[1], sizeof names[1], "broken-%s", trials[i].name);
        struct place whole = place_of(test_scratch(names[0])), broken = place_of(test_scratch(names[1]));
        struct trial t = trials[i];
        CHECK(replay(&t, whole.s, NULL, NULL) == 0, "%s", complained);
        CHECK(replay(&t, broken.s, "--stop-at", "1") == 0, "%s", complained);
        CHECK(replay(&t, broken.s, NULL, NULL) == 2 && strstr(complained, "--resume"), "it overwrote a run: %s", complained);
        t.more[t.more[0] ? 2 : 0] = "--resume";
        struct place model = model_of(t.model), file = data_of(t.name, ""), init = data_of(t.name, ".init");
        int status = limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--init-lora", init.s, "--save-every", "1",
                          "--lora-format", "peft", "--output", broken.s, "--learning-rate", "1e-3", "--precision", "f32",
                          "--lora-alpha", t.alpha, "--threads", "1", "--resume", t.more[0], t.more[1], NULL);
        CHECK(status == 0, "%s", complained);
        same_file(whole.s, broken.s, "lora.safetensors");
        same_file(whole.s, broken.s, "lora-step00000002.safetensors");
    }
}

TEST(what_a_replay_lacks_is_said_by_name)
{
    struct err e = { 0 };
    struct place model = model_of("tiny-sdxl"), file = data_of("sd1", ""), out = place_of(test_scratch("lacks"));
    CHECK(limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--output", out.s, NULL) == 1, "it ran");
    CHECK(strstr(complained, "step0."), "%s", complained);
    CHECK(limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--output", out.s, "--lora-targets", "to_q,to_x", NULL) ==
              2, "it ran");
    CHECK(strstr(complained, "to_x"), "%s", complained);
    (void)e;
}
