/* What a run's folder holds, whatever training left it. */
#include "evaluate/run_folder.h"

#include "base/file.h"
#include "test.h"

static const char *put(const char *run, const char *name, const char *text)
{
    static char folder[4096];
    struct err e = { 0 };
    char path[8192], above[8192];
    snprintf(folder, sizeof folder, "%s", test_scratch(run));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(above, sizeof above, "%s", path);
    *strrchr(above, '/') = 0;
    REQUIRE(folder_make(above, &e));
    REQUIRE(file_write_whole(path, text, strlen(text), &e));
    return folder;
}

static void check(const char *folder, const int64_t *steps, size_t count, bool whole)
{
    struct err e = { 0 };
    struct run_folder r;
    REQUIRE(run_folder_open(&r, folder, &e));
    CHECK(r.count == count, "%zu checkpoints", r.count);
    for (size_t i = 0; i < count; i++)
        CHECK(r.checkpoints[i].step == steps[i] && r.checkpoints[i].whole == whole, "checkpoint %zu: step %lld", i,
              (long long)r.checkpoints[i].step);
    run_folder_release(&r);
}

TEST(checkpoints_are_found_by_their_names)
{
    put("loras", "config.json", "{\"model\": null, \"dataset\": \"d\"}");
    put("loras", "lora-step00000020.safetensors", "");
    put("loras", "lora-step00000100.safetensors", "");
    put("loras", "lora-stepxx.safetensors", "");
    put("loras", "lora-step00000030.txt", "");
    put("loras", "metrics.jsonl", "{\"step\": 50, \"loss\": 1}\n{\"step\": 120, \"loss\": 0.5}\n");
    check(put("loras", "lora.safetensors", ""), (int64_t[]){ 20, 100, 120 }, 3, false);
    put("course", "config.json", "{}");
    put("course", "lora.ckpt", "");
    put("course", "metrics.jsonl", "{\"step\": 8, \"loss\": 1}\n");
    put("course", "checkpoints/epoch=1-step=8.ckpt", "");
    check(put("course", "checkpoints/epoch=0-step=4.ckpt", ""), (int64_t[]){ 4, 8 }, 2, false);
    put("whole", "config.json", "{\"vae\": \"v\"}");
    check(put("whole", "model/model_index.json", "{}"), (int64_t[]){ 0 }, 1, true);
}

TEST(a_folder_that_is_no_run_is_refused)
{
    struct err e = { 0 };
    struct run_folder r;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", put("empty", "config.json", "{\"model\": \"m\"}"));
    CHECK_FAILS(run_folder_open(&r, folder, &e), ERR_MISSING, "no checkpoint");
    run_folder_release(&r);
    snprintf(folder, sizeof folder, "%s", put("broken", "config.json", "{\"model\": 7}"));
    CHECK_FAILS(run_folder_open(&r, folder, &e), ERR_FORMAT, "model");
    run_folder_release(&r);
    CHECK_FAILS(run_folder_open(&r, test_scratch("nowhere"), &e), ERR_MISSING, "no such folder");
    run_folder_release(&r);
}
