/* A server that runs nothing itself and a worker in a process of its own, on one PostgreSQL: callers of the server see the worker's
 * progress and previews, and end its jobs. */
#include <sys/wait.h>

#include "base/clock.h"
#include "base/file.h"
#include "client.h"
#include "image/image.h"
#include "postgresql.h"
#include "site.h"

static pid_t worker;
static FILE *worker_says;

/* %d: seed, steps, size. */
static const char drawing[] =
    "{\"client_id\":\"me\",\"extra_data\":{\"preview_method\":\"auto\"},"
    "\"prompt\":{\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":%d,\"steps\":%d,\"cfg\":3,\"sampler_name\":\"euler\",\"scheduler\":\"normal\","
    "\"denoise\":1,\"model\":[\"4\",0],\"positive\":[\"6\",0],\"negative\":[\"6\",0],\"latent_image\":[\"5\",0]}},"
    "\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"limn-emoji\"}},"
    "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":%d,\"height\":%d,\"batch_size\":1}},"
    "\"6\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a red apple\",\"clip\":[\"4\",1]}},"
    "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"3\",0],\"vae\":[\"4\",2]}},"
    "\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"far\",\"images\":[\"8\",0]}}}}";

static void queue_drawing(int seed, int steps, int side, char id[64])
{
    char text[4000];
    snprintf(text, sizeof text, drawing, seed, steps, side, side);
    json_t *j = post_json(site_port, "/prompt", text, 200);
    snprintf(id, 64, "%s", json_string_value(json_object_get(j, "prompt_id")));
    json_decref(j);
}

/* A server without workers and one worker elsewhere, which has the same folders. False: no PostgreSQL is installed. */
static bool start(void)
{
    static char base[PATH_MAX_BYTES], gallery[PATH_MAX_BYTES], models[PATH_MAX_BYTES];
    const char *where = pg_database();
    struct err e = { 0 };
    if (!where)
        return false;
    site_defaults();
    site_options.database = where;
    site_options.workers = 0;
    site_start();
    snprintf(base, sizeof base, "%s", site_options.base);
    snprintf(gallery, sizeof gallery, "%s", site_options.gallery);
    REQUIRE(path_join(models, base, "paths.yaml", &e));
    char yaml[PATH_MAX_BYTES + 100];
    snprintf(yaml, sizeof yaml, "ours:\n  diffusers: %s\n", test_data("../../models"));
    REQUIRE(file_write_whole(models, yaml, strlen(yaml), &e));
    worker = site_program((const char *const[]){ "worker", "--database", where, "--gallery-folder", gallery, "--base-directory", base,
                                                 "--extra-model-paths", models, "--threads", "1", "--precision", "f32", "--quiet", NULL }, &worker_says);
    return true;
}

static void stop(void)
{
    int status;
    kill(worker, SIGTERM);
    waitpid(worker, &status, 0);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "the worker ended with %d", status);
    fclose(worker_says);
    site_stop();
}

TEST(progress_and_previews_of_a_worker_elsewhere_reach_the_client)
{
    enum { MOST = 1 << 20, STEPS = 12 };
    static char data[MOST];
    char id[64];
    int status, opcode, previews = 0, steps = 0;
    size_t bytes;
    bool end = false, executed = false;
    struct err e = { 0 };
    if (!start()) {
        skip();
        return;
    }
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status), other = ws_connect(site_port, "/ws?clientId=other", "", &status);
    json_decref(ws_wait(s, "status"));
    queue_drawing(1, STEPS, 128, id);
    while (!end && (opcode = ws_read(s, data, MOST, &bytes)) && opcode != 8) {
        if (opcode == 2) { /* frame 1, a JPEG */
            struct image image;
            CHECK(bytes > 8 && data[3] == 1 && data[7] == 1, "a frame of %zu bytes, %d %d", bytes, data[3], data[7]);
            CHECK(bytes < 64 << 10, "a preview of %zu bytes", bytes);
            REQUIRE(image_decode(&image, data + 8, bytes - 8, "the preview", IMAGE_FLATTEN, 0, &e));
            image_release(&image);
            previews++;
            continue;
        }
        json_t *j = json_loadb(data, bytes, 0, NULL), *d = json_object_get(j, "data");
        const char *type = json_string_value(json_object_get(j, "type"));
        int64_t value = json_integer_value(json_object_get(d, "value"));
        const char *node = json_string_value(json_object_get(d, "node"));
        if (!strcmp(type, "progress") && node && !strcmp(node, "3")) {
            CHECK(value >= steps && json_integer_value(json_object_get(d, "max")) == STEPS, "step %lld behind %d", (long long)value, steps);
            steps = (int)value;
        }
        executed = executed || !strcmp(type, "executed");
        end = !strcmp(type, "executing") && json_is_null(json_object_get(d, "node"));
        json_decref(j);
    }
    CHECK(end && executed && steps == STEPS, "end %d, executed %d, step %d", end, executed, steps);
    CHECK(previews > 0, "no preview came");
    char text[4096];
    while (ws_read(other, text, sizeof text, &bytes) == 1 && strstr(text, "queue_remaining\":1")) /* another client hears of the queue only */
        CHECK(strstr(text, "\"status\""), "another client was told: %s", text);
    snprintf(text, sizeof text, "/history/%s", id);
    json_t *history = get_json(site_port, text, 200);
    CHECK(json_object_get(history, id), "the history");
    json_decref(history);
    close(s);
    close(other);
    stop();
}

/* Its end is stored a moment behind the message. */
static void check_cancelled(const char *id)
{
    char path[100], state[20] = "";
    snprintf(path, sizeof path, "/jobs/%s", id);
    for (int turn = 0; turn < 500 && (!*state || !strcmp(state, "in_progress")); turn++) {
        json_t *job = get_json(site_port, path, 200);
        snprintf(state, sizeof state, "%s", json_string_value(json_object_get(job, "status")));
        json_decref(job);
        usleep(20000);
    }
    CHECK(!strcmp(state, "cancelled"), "%s is %s", id, state);
}

TEST(a_job_that_runs_elsewhere_ends_within_a_second_of_its_cancel)
{
    static const char *const ways[] = { "/jobs/%s/cancel", "/interrupt" };
    char id[64], path[100], body[100];
    int status;
    if (!start()) {
        skip();
        return;
    }
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
    json_decref(ws_wait(s, "status"));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        double best = 1e9;
        for (int turn = 0; turn < 5 && best >= 1; turn++) { /* where other programs want the processor, one may take longer */
            queue_drawing((int)i * 10 + turn, 10000, 64, id);
            json_decref(ws_wait(s, "progress")); /* it runs */
            snprintf(path, sizeof path, ways[i], id);
            snprintf(body, sizeof body, "{\"prompt_id\":\"%s\"}", id);
            double begin = clock_seconds();
            CHECK(status_of(site_port, "POST", path, "", body) == 200, "%s", path);
            json_t *told = ws_wait(s, "execution_interrupted");
            CHECK(told, "%s: its end is not told", path);
            best = clock_seconds() - begin < best ? clock_seconds() - begin : best;
            json_decref(told);
            check_cancelled(id);
        }
        CHECK(best < 1, "%s: %.3f s", ways[i], best);
    }
    close(s);
    stop();
}
