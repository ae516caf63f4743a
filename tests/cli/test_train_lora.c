/* `limn train lora` against diffusers and PEFT (tests/reference/make_train_lora.py), and what a run promises by itself. */
#include <stdlib.h>

#include "cli/run_limn.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "model/layer/net.h"
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

static void check_weights(const struct trial *t, const char *folder, const char *file)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, file, &e));
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
        check_weights(t, folder.s, "lora-step00000003.safetensors");
    }
    json_decref(report);
}

TEST(three_steps_of_chosen_whole_weights_agree_with_pytorch)
{
    struct err e = { 0 };
    const struct trial t = { "full", "tiny-sd2", "0", { 0 } };
    struct place model = model_of(t.model), file = data_of(t.name, ""), folder = place_of(test_scratch(t.name));
    json_t *report = json_read(test_data("train/lora.json"), &e);
    REQUIRE(report != NULL);
    for (int again = 0; again < 2; again++) { /* stopped and resumed: the model's folder gives way to a new one */
        int status = limn("train", "full", "-q", "--model", model.s, "--replay", file.s, "--blocks", "*attn2*,mid_block.*", "--save-every",
                          "1", "--output", folder.s, "--learning-rate", "1e-3", "--precision", "f32", "--export", "f32", "--threads", "1",
                          "--stop-at", again ? "0" : "2", again ? "--resume" : "-q", NULL);
        CHECK(status == 0, "%s", complained);
    }
    const json_t *losses = json_object_get(json_object_get(report, t.name), "losses");
    for (int step = 0; step < 3; step++)
        CHECK_NEAR(loss_at(folder.s, step, &e), json_number_value(json_array_get(losses, (size_t)step)), 1e-5, "step %d", step);
    check_weights(&t, folder.s, "model/unet");
    json_decref(report);
    CHECK(limn("generate", "-q", "a cat", "-m", test_scratch("full/model"), "--steps", "1", "-o", test_scratch("full.png"), NULL) == 0, "%s",
          complained);
    CHECK(limn("train", "full", "-q", "--model", model.s, "--replay", file.s, "--blocks", "attn9", "--output", test_scratch("none"), NULL) ==
              2 && strstr(complained, "attn9"), "%s", complained);
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

/* The files' metadata may differ, their tensors may not. */
static void same_tensors(const char *a, const char *b)
{
    struct err e = { 0 };
    struct weights *x = weights_open(a, &e), *y = x ? weights_open(b, &e) : NULL;
    REQUIRE(x && y);
    CHECK(weights_count(x) == weights_count(y), "%zu and %zu tensors", weights_count(x), weights_count(y));
    for (size_t i = 0; i < weights_count(x); i++) {
        const struct weight *v = weights_at(x, i), *w = weights_find(y, v->name);
        CHECK(w && weight_bytes(v) == weight_bytes(w) && !memcmp(v->data, w->data, weight_bytes(v)), "%s differs", v->name);
    }
    weights_free(x);
    weights_free(y);
}

/* Two ways to the same numbers: recomputed activations; packed weights only change the order in which they lie. */
TEST(recomputing_inner_activations_changes_no_bit)
{
    static const char *const ways[] = { "--gradient-checkpointing", "--gradient-checkpointing-all" };
    struct place plain = place_of(test_scratch("plain/lora.safetensors"));
    struct trial t = trials[0];
    CHECK(replay(&t, place_of(test_scratch("plain")).s, NULL, NULL) == 0, "%s", complained);
    for (int i = 0; i < 2; i++) {
        struct place again = place_of(test_scratch(i ? "again-all" : "again"));
        t.more[0] = ways[i];
        CHECK(replay(&t, again.s, NULL, NULL) == 0, "%s", complained);
        same_tensors(plain.s, place_of(test_scratch(i ? "again-all/lora.safetensors" : "again/lora.safetensors")).s);
    }
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
    struct place model = model_of("tiny-sdxl"), file = data_of("sd1", ""), out = place_of(test_scratch("lacks"));
    CHECK(limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--output", out.s, NULL) == 1, "it ran");
    CHECK(strstr(complained, "step0."), "%s", complained);
    CHECK(limn("train", "lora", "-q", "--model", model.s, "--replay", file.s, "--output", out.s, "--lora-targets", "to_q,to_x", NULL) ==
              2, "it ran");
    CHECK(strstr(complained, "to_x"), "%s", complained);
}

/* The course's data: train/metadata.csv with its columns the other way round, and pictures. */
static struct place course_data(void)
{
    struct err e = { 0 };
    static const char *const pictures[] = { "ring-box", "solid-ball", "ring-egg" };
    struct place data = place_of(test_scratch("course")), train = place_of(test_scratch("course/train"));
    struct text csv;
    text_init(&csv, 1 << 12);
    text_add(&csv, "text,file_name\n");
    REQUIRE(folder_make(train.s, &e));
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        char from[100], to[100], *bytes;
        size_t count;
        snprintf(from, sizeof from, "emoji-mini/%s.png", pictures[i]);
        snprintf(to, sizeof to, "course/train/%s.png", pictures[i]);
        REQUIRE(file_read(test_data(from), 1 << 20, &bytes, &count, &e));
        REQUIRE(file_write_whole(test_scratch(to), bytes, count, &e));
        mem_free(bytes);
        text_addf(&csv, "\"a %s, 画\",%s.png\n", pictures[i], pictures[i]);
    }
    REQUIRE(file_write_whole(test_scratch("course/train/metadata.csv"), csv.s, csv.length, &e));
    text_release(&csv);
    return data;
}

TEST(the_course_command_line_trains_kolors_as_it_stands)
{
    struct err e = { 0 };
    struct place data = course_data(), models = place_of(test_scratch("course-models"));
    struct place unet = place_of(test_data("models/tiny-kolors/unet/diffusion_pytorch_model.safetensors"));
    struct place text = place_of(test_data("models/tiny-kolors/text_encoder"));
    struct place vae = place_of(test_data("models/tiny-kolors/vae/diffusion_pytorch_model.safetensors"));
    for (int version = 0; version < 2; version++) { /* the second leaves the first alone */
        int status = limn("train", "lora", "--pretrained_unet_path", unet.s, "--pretrained_text_encoder_path", text.s,
                          "--pretrained_fp16_vae_path", vae.s, "--lora_rank", "16", "--lora_alpha", "4.0", "--dataset_path", data.s,
                          "--output_path", models.s, "--max_epochs", "2", "--center_crop", "--use_gradient_checkpointing", "--precision",
                          "16-mixed", "--height", "64", "--width", "64", "--steps_per_epoch", "4", "--threads", "1", NULL);
        CHECK(status == 0, "%s", complained);
        for (int epoch = 0; epoch < 2; epoch++) {
            char name[120];
            snprintf(name, sizeof name, "course-models/lightning_logs/version_%d/checkpoints/epoch=%d-step=%d.ckpt", version, epoch,
                     4 * (epoch + 1));
            struct weights *w = weights_open(test_scratch(name), &e);
            REQUIRE(w != NULL);
            const struct weight *a = weights_find(w, "blocks.5.transformer_blocks.0.attn1.to_out.lora_A.default.weight");
            const struct weight *b = weights_find(w, "blocks.5.transformer_blocks.0.attn1.to_out.lora_B.default.weight");
            CHECK(!strcmp(weights_format(w), "pytorch") && weights_count(w) == 176, "%s, %zu", weights_format(w), weights_count(w));
            CHECK(a && b && a->type == DTYPE_F32 && shape_same(a->shape, SHAPE(16, 12)) && shape_same(b->shape, SHAPE(12, 16)), "%s",
                  "shapes");
            double sum = 0;
            for (int64_t i = 0; i < shape_count(b->shape); i++)
                sum += fabs((double)((const float *)b->data)[i]);
            CHECK(sum > 0 && sum < 1, "B moved by %g in all", sum); /* at most rate * steps each: 16 * 12 * 8e-4 */
            weights_free(w);
        }
    }
}

TEST(what_the_course_command_lacks_is_said)
{
    struct place data = place_of(test_data("emoji-mini"));
    CHECK(limn("train", "lora", "--pretrained_unet_path", "x", "--dataset_path", data.s, NULL) == 2, "it ran");
    CHECK(strstr(complained, "go together"), "%s", complained);
    CHECK(limn("train", "lora", "--max_epochs", "2", NULL) == 2 && strstr(complained, "--dataset-path"), "%s", complained);
    CHECK(limn("train", "lora", "--dataset_path", data.s, "--steps_per_epoch", "5", "--accumulate_grad_batches", "2", NULL) == 2 &&
              strstr(complained, "divide"), "%s", complained);
}

/* Both layouts hold the same numbers, and a file of ours is read back as the pairs it came of. */
TEST(a_lora_of_either_layout_is_where_the_next_training_begins)
{
    static const char *const layouts[] = { "kohya", "peft" };
    static const char *const models[] = { "tiny-sd1", "tiny-sdxl" };
    for (int m = 0; m < 2; m++) {
        struct place model = model_of(models[m]), data = place_of(test_data("emoji-mini"));
        struct place first[2], second[2];
        for (int i = 0; i < 2; i++) {
            char name[60];
            snprintf(name, sizeof name, "%s-%s", models[m], layouts[i]);
            struct place out = place_of(test_scratch(name)), on;
            CHECK(limn("train", "lora", "-q", "-m", model.s, "-d", data.s, "-o", out.s, "--steps", "2", "--resolution", "64", "--lora-targets",
                       "to_q,conv1,q_proj", "--lora-rank", "2", "--lora-alpha", "3", "--dora", "--text-learning-rate", "1e-3", "--lora-format", layouts[i],
                       "--precision", "f32", "--threads", "1", NULL) == 0, "%s", complained);
            snprintf(name, sizeof name, "%s-%s/lora.safetensors", models[m], layouts[i]);
            first[i] = place_of(test_scratch(name));
            snprintf(name, sizeof name, "%s-%s-on", models[m], layouts[i]);
            on = place_of(test_scratch(name));
            CHECK(limn("train", "lora", "-q", "-m", model.s, "-d", data.s, "-o", on.s, "--steps", "1", "--resolution", "64", "--init-lora",
                       first[i].s, "--text-learning-rate", "1e-3", "--lora-format", "peft", "--precision", "f32", "--threads", "1", NULL) ==
                      0, "%s", complained);
            snprintf(name, sizeof name, "%s-%s-on/lora.safetensors", models[m], layouts[i]);
            second[i] = place_of(test_scratch(name));
        }
        same_tensors(second[0].s, second[1].s);
    }
}

TEST(the_objectives_options_go_together)
{
    struct err e = { 0 };
    struct place model = model_of("tiny-sd2"), data = place_of(test_data("emoji-mini")), out = place_of(test_scratch("objective"));
    CHECK(limn("train", "lora", "-q", "-m", model.s, "-d", data.s, "-o", out.s, "--steps", "3", "--resolution", "64x32", "--loss", "huber",
               "--min-snr", "5", "--noise-offset", "0.1", "--zero-terminal-snr", "--timesteps", "logit-normal", "--masks", "alpha",
               "--caption-dropout", "0.5", "--shuffle-caption", "--regular", data.s, "--regular-weight", "0.5", "--threads", "1", NULL) ==
              0, "%s", complained);
    /* the set holds pictures out: their loss is measured, and the best is kept */
    char *metrics;
    size_t bytes;
    REQUIRE(file_read(test_scratch("objective/metrics.jsonl"), 1 << 20, &metrics, &bytes, &e));
    CHECK(strstr(metrics, "\"held_out\":") && path_exists(test_scratch("objective/lora-best.safetensors")), "%s", metrics);
    mem_free(metrics);
    struct place sd1 = model_of("tiny-sd1");
    CHECK(limn("train", "lora", "-q", "-m", sd1.s, "-d", data.s, "-o", test_scratch("zero"), "--resolution", "64", "--zero-terminal-snr",
               NULL) == 2 && strstr(complained, "zero terminal SNR"), "%s", complained);
}

TEST(dreambooth_draws_the_kind_itself_and_needs_no_list)
{
    struct err e = { 0 };
    struct place model = model_of("tiny-sd1"), thing = place_of(test_scratch("thing")), out = place_of(test_scratch("dream"));
    static const char *const pictures[] = { "ring-box.png", "solid-box.png" };
    REQUIRE(folder_make(thing.s, &e));
    for (int i = 0; i < 2; i++) {
        char from[60], to[60], *bytes;
        size_t count;
        snprintf(from, sizeof from, "emoji-mini/%s", pictures[i]);
        snprintf(to, sizeof to, "thing/%s", pictures[i]);
        REQUIRE(file_read(test_data(from), 1 << 20, &bytes, &count, &e));
        REQUIRE(file_write_whole(test_scratch(to), bytes, count, &e));
        mem_free(bytes);
    }
    CHECK(limn("train", "dreambooth", "-q", "-m", model.s, "-d", thing.s, "-o", out.s, "--prompt", "a sks box", "--class-prompt", "a box",
               "--prior-pictures", "2", "--sample-steps", "1", "--resolution", "64", "--steps", "2", "--threads", "1", NULL) == 0, "%s",
          complained);
    /* a plan draws nothing, and counts the pictures that will be drawn as those that are there */
    char plan[2][24]; /* "activations       12.3 M" */
    for (int i = 0; i < 2; i++) {
        CHECK(limn("train", "dreambooth", "-q", "-m", model.s, "-d", thing.s, "-o", test_scratch("dream3"), "--prompt", "a sks box", "--class-prompt",
                   "a box", "--resolution", "64", "--steps", "2", "--threads", "1", "--plan", "-q", i ? path_of("--regular=%s", test_scratch("dream/prior")).s : "-q", NULL) == 0, "%s", complained);
        const char *line = strstr(said, "activations ");
        CHECK(line && strstr(said, " s a step"), "%s", said);
        snprintf(plan[i], sizeof plan[i], "%s", line);
    }
    CHECK(!strcmp(plan[0], plan[1]) && !path_exists(test_scratch("dream3")), "%s is not %s", plan[0], plan[1]);
    CHECK(path_exists(test_scratch("dream/prior/00001.png")) && path_exists(test_scratch("dream/lora.safetensors")), "%s", "no files");
    CHECK(limn("train", "dreambooth", "-q", "-m", model.s, "-d", thing.s, "-o", test_scratch("dream2"), "--resolution", "64", NULL) == 1 &&
              strstr(complained, "metadata"), "%s", complained);
}

TEST(memory_is_planned_first_and_what_fits_is_chosen)
{
    struct place model = model_of("tiny-sd1"), file = data_of("sd1", ""), out = place_of(test_scratch("memory"));
    size_t planned[2];
    for (int i = 0; i < 2; i++) {
        CHECK(limn("train", "lora", "-q", "-m", model.s, "--replay", file.s, "-o", out.s, "--plan", "--json", "--threads", "1", "--precision",
                   "f32", i ? "--gradient-checkpointing" : "-q", NULL) == 0, "%s", complained);
        struct err e = { 0 };
        json_t *j = json_parse(said, strlen(said), "the plan", &e);
        REQUIRE(j != NULL);
        planned[i] = (size_t)json_integer_value(json_object_get(j, "together"));
        json_decref(j);
    }
    CHECK(strstr(said, "\"seconds_per_step\":"), "%s", said);
    CHECK(!path_exists(out.s) && planned[1] < planned[0], "%zu and %zu bytes", planned[0], planned[1]);
    CHECK(limn("train", "lora", "-q", "-m", model.s, "--replay", file.s, "-o", out.s, "--memory", "1K", "--threads", "1", NULL) == 1 &&
              strstr(complained, "--memory"), "%s", complained);
}

TEST(a_quantised_model_in_one_file_learns_as_it_is)
{
    struct place folder = model_of("tiny-sd1"), file = place_of(test_scratch("q8.gguf")), data = place_of(test_data("emoji-mini"));
    CHECK(limn("model", "convert", "-q", folder.s, file.s, "--type", "q8_0", NULL) == 0, "%s", complained);
    for (int whole = 0; whole < 2; whole++) {
        struct place out = place_of(test_scratch(whole ? "q8-full" : "q8-lora"));
        int status = limn("train", whole ? "full" : "lora", "-q", "-m", file.s, "--model-config", folder.s, "-d", data.s, "-o", out.s,
                          "--resolution", "64", "--steps", "2", "--sample-prompts", "a box", "--sample-steps", "1", "--threads", "1", NULL);
        CHECK(status == (whole ? 1 : 0), "%s", complained);
        CHECK(!whole || strstr(complained, "q8_0"), "%s", complained); /* said before the first step */
    }
    CHECK(path_exists(test_scratch("q8-lora/lora.safetensors")) && !path_exists(test_scratch("q8-full/metrics.jsonl")), "%s", "files");
}

static int train_eight(const char *output, const char *a, const char *b, const char *c, const char *d)
{
    struct place model = model_of("tiny-sd1"), data = place_of(test_data("emoji-mini"));
    return limn("train", "lora", "-q", "-m", model.s, "-d", data.s, "-o", output, "--resolution", "64", "--steps", "3", "--validate-every", "100",
                "--threads", "1", "--precision", "f32", "--learning-rate", "1e-2", "--json", a, b, c, d, NULL);
}

TEST(a_run_that_was_made_to_fit_goes_on_as_it_began)
{
    static const char kept[] = "{\"gradient_checkpointing\": true, \"batch\": 2, \"accumulate\": 4, \"frozen_type\": \"q8_0\"}";
    struct err e = { 0 };
    struct place whole = place_of(test_scratch("fit-whole")), broken = place_of(test_scratch("fit-broken"));
    CHECK(train_eight(whole.s, "--batch=2", "--accumulate=4", "--gradient-checkpointing", "--frozen-type=q8_0") == 0, "%s", complained);
    REQUIRE(folder_make(broken.s, &e) && file_write_whole(test_scratch("fit-broken/fit.json"), kept, strlen(kept), &e));
    CHECK(train_eight(broken.s, "--batch=8", "--resume", "--stop-at=1", "-q") == 0, "%s", complained);
    CHECK(train_eight(broken.s, "--batch=8", "--resume", "--memory=8G", "-q") == 0 && strstr(said, "\"batch\":2,\"accumulate\":4"), "%s%s",
          complained, said);
    same_tensors(place_of(test_scratch("fit-whole/lora.safetensors")).s, place_of(test_scratch("fit-broken/lora.safetensors")).s);
    /* all that can be given up */
    CHECK(train_eight(test_scratch("fit-none"), "--batch=8", "--memory=1K", "--plan", "-q") == 0, "%s", complained);
    CHECK(strstr(said, "\"batch\":1,\"accumulate\":8,\"optimizer\":\"adamw\",\"frozen_type\":\"q4_0\""), "%s", said);
}

/* What is learnt beside q8_0 is what is learnt beside a file in q8_0. */
TEST(frozen_weights_in_another_type_are_those_of_a_converted_file)
{
    struct place folder = model_of("tiny-sdxl"), file = place_of(test_scratch("frozen.gguf")), data = place_of(test_data("emoji-mini"));
    struct place cache = place_of(test_scratch("frozen-cache"));
    double loss[2];
    struct err e = { 0 };
    char config[PATH_MAX_BYTES + 20];
    snprintf(config, sizeof config, "--model-config=%s", folder.s);
    CHECK(limn("model", "convert", "-q", folder.s, file.s, "--type", "q8_0", NULL) == 0, "%s", complained);
    for (int i = 0; i < 2; i++) {
        struct place out = place_of(test_scratch(i ? "frozen-cast" : "frozen-file"));
        int status = limn("train", "lora", "-q", "-m", i ? folder.s : file.s, i ? "-q" : config, "-d", data.s, "-o", out.s, "--cache", cache.s,
                          "--resolution", "64", "--steps", "3", "--log-every", "1", "--threads", "1", "--precision", "f32", "--vae", folder.s, "--dora",
                          "--frozen-type", i ? "q8_0" : "keep", NULL);
        CHECK(status == 0, "%s", complained);
        loss[i] = loss_at(out.s, 2, &e);
    }
    CHECK(loss[0] > 0 && fabs(loss[0] - loss[1]) < 2e-3 * loss[0], "%.9g and %.9g", loss[0], loss[1]);
}
