#include "evaluate/run_compare.h"

#include "base/file.h"
#include "test.h"

/* A run's folder as trainer.h leaves it, with losses of our own and samples of one colour. */
static const char *make_run(const char *name, const char *metrics, const char *config, uint32_t colour, int64_t step)
{
    struct err e = { 0 };
    static char folder[4][PATH_MAX_BYTES];
    static int next;
    char *out = folder[next++ % 4], path[PATH_MAX_BYTES], samples[PATH_MAX_BYTES], sample[40];
    snprintf(out, PATH_MAX_BYTES, "%s", test_scratch(name));
    REQUIRE(path_join(samples, out, "samples", &e) && folder_make(samples, &e));
    REQUIRE(path_join(path, out, "metrics.jsonl", &e) && file_write_whole(path, metrics, strlen(metrics), &e));
    REQUIRE(path_join(path, out, "config.json", &e) && file_write_whole(path, config, strlen(config), &e));
    snprintf(sample, sizeof sample, "step-%08lld.png", (long long)step);
    struct image image;
    REQUIRE(image_make(&image, 64, 32, 3, &e));
    image_fill(&image, colour);
    REQUIRE(path_join(path, samples, sample, &e) && image_save_png(path, &image, NULL, 0, &e));
    image_release(&image);
    return out;
}

static double number(const json_t *table, size_t row, const char *key)
{
    return json_number_value(json_object_get(json_array_get(table, row), key));
}

TEST(runs_side_by_side_say_which_was_better_and_what_they_did_otherwise)
{
    struct err e = { 0 };
    const char *runs[] = {
        make_run("first", "{\"step\":10,\"loss\":0.5,\"pictures_per_second\":2,\"seconds\":5,\"held_out\":0.6}\n"
                          "{\"step\":20,\"loss\":0.25,\"pictures_per_second\":4,\"seconds\":9,\"held_out\":0.4}\n"
                          "{\"step\":30,\"loss\":0.2,\"pictures_per_second\":6,\"seconds\":14,\"held_out\":0.5}\n{\"step\":40,\"lo",
                 "{\"learning_rate\": 0.001, \"batch\": 4, \"output\": \"a\"}", 0xFF0000, 20),
        make_run("second", "{\"step\":10,\"loss\":0.4,\"held_out\":0.45}\n", "{\"learning_rate\": 0.01, \"batch\": 4, \"output\": \"b\"}",
                 0x00FF00, 30),
    };
    struct findings f;
    findings_init(&f, "runs");
    REQUIRE(run_compare(&f, runs, 2, true, &e) && findings_ok(&f, &e));
    json_t *j = findings_json(&f), *table = json_object_get(j, "runs"), *settings = json_object_get(j, "settings");
    CHECK(json_array_size(table) == 2 && json_array_size(settings) == 1, "%s", json_dumps(j, 0));
    CHECK_NEAR(number(table, 0, "held_out"), 0.4, 1e-9, "lowest");
    CHECK_NEAR(number(table, 0, "at_step"), 20, 0, "where");
    CHECK_NEAR(number(table, 0, "held_out_last"), 0.5, 1e-9, "last");
    CHECK_NEAR(number(table, 0, "steps"), 30, 0, "steps");
    CHECK_NEAR(number(table, 0, "pictures_per_second"), 4, 1e-9, "speed");
    CHECK(json_is_true(json_object_get(json_array_get(table, 0), "best")) && !json_object_get(json_array_get(table, 1), "best"), "%s",
          "the first is better");
    CHECK(!strcmp(json_string_value(json_object_get(json_array_get(settings, 0), "option")), "learning_rate"), "%s", "the one option");
    CHECK(json_array_size(json_object_get(j, "samples")) == 2, "%s", "a row for each step");
    json_decref(j);
    findings_release(&f);
    REQUIRE(run_compare_png(test_scratch("runs.png"), runs, 2, &e));
    struct image image;
    REQUIRE(image_load(&image, test_scratch("runs.png"), IMAGE_FLATTEN, 0, &e));
    const uint8_t *left = image.pixels + 3 * ((size_t)(image.height - 60) * (size_t)image.width + (size_t)image.width / 4);
    const uint8_t *right = left + 3 * (size_t)image.width / 2;
    CHECK(left[0] > 250 && left[1] < 5 && right[0] < 5 && right[1] > 250, "%d %d %d, %d %d %d", left[0], left[1], left[2], right[0],
          right[1], right[2]);
    image_release(&image);
    findings_init(&f, "runs");
    const char *none[] = { runs[0], "/no/such/run" };
    CHECK_FAILS(run_compare(&f, none, 2, false, &e), ERR_IO, "no folder of a training run");
    const char *many[9] = { runs[0] };
    CHECK_FAILS(run_compare(&f, many, 9, false, &e), ERR_ARG, "at most 8");
    findings_release(&f);
}
