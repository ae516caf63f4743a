/* Jobs from end to end, with limn-emoji: a flow comes in, its events go out, its picture is seen; and what simple APIs make of it. */
#include <glib.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "client.h"
#include "image/image.h"
#include "site.h"
#include "test.h"

/* The front end's default flow, small. %s: seed, steps, client's part, more of the request. */
static const char default_flow[] =
    "{\"prompt\":{\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":%s,\"steps\":%d,\"cfg\":7,\"sampler_name\":\"euler\",\"scheduler\":\"normal\",\"denoise\":1,"
    "\"model\":[\"4\",0],\"positive\":[\"6\",0],\"negative\":[\"7\",0],\"latent_image\":[\"5\",0]}},"
    "\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"limn-emoji\"}},"
    "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":64,\"height\":64,\"batch_size\":1}},"
    "\"6\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a red apple\",\"clip\":[\"4\",1]}},"
    "\"7\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"\",\"clip\":[\"4\",1]}},"
    "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"3\",0],\"vae\":[\"4\",2]}},"
    "\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"limn\",\"images\":[\"8\",0]}}}%s}";

/* Posts it; the answer's prompt_id into id. */
static void queue_flow(const char *seed, int steps, const char *more, char id[64])
{
    char text[4000];
    snprintf(text, sizeof text, default_flow, seed, steps, more);
    json_t *j = post_json(site_port, "/prompt", text, 200);
    snprintf(id, 64, "%s", json_string_value(json_object_get(j, "prompt_id")));
    CHECK(strlen(id) == 36 && json_is_integer(json_object_get(j, "number")) && json_object_size(json_object_get(j, "node_errors")) == 0, "%s", id);
    json_decref(j);
}

/* Waits until the job lies in the history; its entry, which the caller drops. */
static json_t *finished(const char *id)
{
    char path[100];
    snprintf(path, sizeof path, "/history/%s", id);
    for (int i = 0; i < 600; i++) {
        json_t *j = get_json(site_port, path, 200), *entry = json_object_get(j, id);
        if (entry) {
            json_incref(entry);
            json_decref(j);
            return entry;
        }
        json_decref(j);
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
    fail_msg("%s does not end", id);
    return NULL;
}

static const char *state_of(const json_t *entry)
{
    return json_string_value(json_object_get(json_object_get(entry, "status"), "status_str"));
}

/* The messages of a client up to "executing" with node null, a word each; binary frames by their event. */
static void listen_to(int s, const char *prompt, struct text *out)
{
    enum { MOST = 1 << 22 };
    char *data = malloc(MOST);
    size_t bytes;
    int opcode;
    bool end = false;
    while (!end && (opcode = ws_read(s, data, MOST, &bytes)) && opcode != 8) {
        if (opcode == 2) {
            text_addf(out, "frame%d ", data[3]);
            continue;
        }
        json_t *j = json_loadb(data, bytes, 0, NULL), *d = json_object_get(j, "data"), *node = json_object_get(d, "node");
        const char *type = json_string_value(json_object_get(j, "type")), *id = json_string_value(json_object_get(d, "prompt_id"));
        if (id)
            CHECK(!strcmp(id, prompt), "%s of %s", type, id);
        end = !strcmp(type, "executing") && json_is_null(node);
        if (strcmp(type, "progress_state")) /* it comes beside each of the others */
            text_addf(out, "%s%s%s ", type, json_is_string(node) ? ":" : end ? ":null" : "", json_is_string(node) ? json_string_value(node) : "");
        json_decref(j);
    }
    CHECK(end, "the end is not told: %s", text_string(out));
    free(data);
}

/* Whether words stand in a text in this order. */
static bool in_order(const char *text, const char *const *words)
{
    for (; *words; words++) {
        const char *at = strstr(text, *words);
        if (!at) {
            print_error("no \"%s\" in or behind its place in: %s\n", *words, text);
            return false;
        }
        text = at + strlen(*words);
    }
    return true;
}

TEST(a_flow_is_drawn_told_of_and_seen)
{
    struct err e = { 0 };
    struct text told;
    char id[64], path[200];
    int status;
    site_defaults();
    site_start();
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status), other = ws_connect(site_port, "/ws?clientId=other", "", &status);
    json_decref(ws_wait(s, "status"));
    queue_flow("18446744073709551615", 3, ",\"client_id\":\"me\",\"extra_data\":{\"extra_pnginfo\":{\"workflow\":{\"id\":\"w-1\",\"nodes\":[]}}}", id);
    text_init(&told, 1 << 20);
    listen_to(s, id, &told);
    CHECK(in_order(text_string(&told), (const char *const[]){ "status ", "execution_start ", "execution_cached ", "executing:3 ", "progress:3 ", "progress:3 ", "progress:3 ",
                                                              "executing:8 ", "executing:9 ", "executed:9 ", "execution_success ", "status ", "executing:null ", NULL }), "order");
    /* the history is complete when the end is told */
    snprintf(path, sizeof path, "/history/%s", id);
    json_t *history = get_json(site_port, path, 200), *entry = json_object_get(history, id);
    CHECK(entry && !strcmp(state_of(entry), "success"), "history");
    json_t *file = json_array_get(json_object_get(json_object_get(json_object_get(entry, "outputs"), "9"), "images"), 0);
    snprintf(path, sizeof path, "/view?filename=%s&subfolder=%s&type=%s", json_string_value(json_object_get(file, "filename")),
             json_string_value(json_object_get(file, "subfolder")), json_string_value(json_object_get(file, "type")));
    json_decref(history);
    struct answer a = ask_full(site_port, "GET", path, "", NULL, 0);
    struct image image;
    REQUIRE(image_decode(&image, a.body, a.body_bytes, path, IMAGE_KEEP_ALPHA, 0, &e));
    CHECK(image.width == 64 && image.height == 64, "%dx%d", image.width, image.height);
    image_release(&image);
    char *prompt = image_png_text_in(a.body, a.body_bytes, path, "prompt", &e), *workflow = image_png_text_in(a.body, a.body_bytes, path, "workflow", &e);
    CHECK(prompt && strstr(prompt, "18446744073709551615") && workflow && strstr(workflow, "w-1"), "the picture's texts: %s", e.text);
    mem_free(prompt);
    mem_free(workflow);
    answer_release(&a);
    /* another client heard of the queue only */
    char text[4096];
    size_t bytes;
    for (int i = 0; i < 3 && ws_read(other, text, sizeof text, &bytes) == 1; i++)
        CHECK(strstr(text, "\"status\""), "another client was told: %s", text);
    /* the queue and the history as text keep the seed to the digit */
    a = ask_full(site_port, "GET", "/history?max_items=1", "", NULL, 0);
    CHECK(strstr(a.body, "\"seed\":18446744073709551615"), "%s", a.body);
    answer_release(&a);
    /* the same again: nothing runs */
    text_clear(&told);
    queue_flow("18446744073709551615", 3, ",\"client_id\":\"me\",\"extra_data\":{\"extra_pnginfo\":{\"workflow\":{\"id\":\"w-1\",\"nodes\":[]}}}", id);
    listen_to(s, id, &told);
    CHECK(!strstr(text_string(&told), "executing:3") && in_order(text_string(&told), (const char *const[]){ "execution_cached ", "execution_success ", NULL }), "%s",
          text_string(&told));
    json_t *jobs = get_json(site_port, "/api/jobs?status=completed&workflow_id=w-1&limit=1", 200), *job = json_array_get(json_object_get(jobs, "jobs"), 0);
    CHECK(json_is_true(json_object_get(json_object_get(jobs, "pagination"), "has_more")) && json_is_integer(json_object_get(job, "create_time")) &&
          !strcmp(json_string_value(json_object_get(json_object_get(job, "preview_output"), "mediaType")), "images"), "jobs");
    json_decref(jobs);
    text_release(&told);
    close(s);
    close(other);
    site_stop();
}

TEST(previews_come_in_the_form_that_a_client_understands)
{
    struct text told;
    char id[64];
    int status;
    site_defaults();
    site_start();
    for (int metadata = 0; metadata < 2; metadata++) {
        int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
        json_decref(ws_wait(s, "status"));
        if (metadata) {
            const char flags[] = "{\"type\":\"feature_flags\",\"data\":{\"supports_preview_metadata\":true}}";
            ws_send(s, 1, flags, strlen(flags));
            json_decref(ws_wait(s, "feature_flags"));
        }
        queue_flow(metadata ? "1" : "2", 4, ",\"client_id\":\"me\",\"extra_data\":{\"preview_method\":\"auto\"}", id);
        text_init(&told, 1 << 20);
        listen_to(s, id, &told);
        CHECK(strstr(text_string(&told), metadata ? "frame4" : "frame1") && !strstr(text_string(&told), metadata ? "frame1" : "frame4"), "%s", text_string(&told));
        text_release(&told);
        close(s);
    }
    site_stop();
}

/* Whether LoraLoader offers this LoRA to a user. */
static bool offers(const char *user, const char *name)
{
    struct answer a = ask_full(site_port, "GET", "/object_info/LoraLoader", user, NULL, 0);
    char quoted[100];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    bool there = a.status == 200 && strstr(a.body, quoted);
    answer_release(&a);
    return there;
}

TEST(a_lora_that_was_just_trained_is_offered_and_used)
{
    static const char train[] =
        "{\"prompt\":{\"1\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"limn-emoji\"}},"
        "\"3\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a cat\",\"clip\":[\"1\",1]}},"
        "\"4\":{\"class_type\":\"EmptyImage\",\"inputs\":{\"width\":64,\"height\":64,\"batch_size\":1,\"color\":255}},"
        "\"5\":{\"class_type\":\"VAEEncode\",\"inputs\":{\"pixels\":[\"4\",0],\"vae\":[\"1\",2]}},"
        "\"6\":{\"class_type\":\"TrainLoraNode\",\"inputs\":{\"model\":[\"1\",0],\"latents\":[\"5\",0],\"positive\":[\"3\",0],\"batch_size\":1,"
        "\"grad_accumulation_steps\":1,\"steps\":2,\"learning_rate\":0.01,\"rank\":4,\"optimizer\":\"AdamW\",\"loss_function\":\"MSE\",\"seed\":3,"
        "\"training_dtype\":\"fp32\",\"lora_dtype\":\"fp32\",\"algorithm\":\"LoRA\",\"gradient_checkpointing\":false,\"existing_lora\":\"[None]\"}},"
        "\"7\":{\"class_type\":\"SaveLoRANode\",\"inputs\":{\"lora\":[\"6\",1],\"prefix\":\"loras/own\",\"steps\":[\"6\",3]}}}}";
    static const char use[] =
        "{\"prompt\":{\"1\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"limn-emoji\"}},"
        "\"2\":{\"class_type\":\"LoraLoader\",\"inputs\":{\"model\":[\"1\",0],\"clip\":[\"1\",1],\"lora_name\":\"own_2_steps_00001_.safetensors\","
        "\"strength_model\":1,\"strength_clip\":1}},"
        "\"3\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"a cat\",\"clip\":[\"2\",1]}},"
        "\"4\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":64,\"height\":64,\"batch_size\":1}},"
        "\"5\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":1,\"steps\":1,\"cfg\":1,\"sampler_name\":\"euler\",\"scheduler\":\"normal\",\"denoise\":1,"
        "\"model\":[\"2\",0],\"positive\":[\"3\",0],\"negative\":[\"3\",0],\"latent_image\":[\"4\",0]}},"
        "\"6\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"5\",0],\"vae\":[\"1\",2]}},"
        "\"9\":{\"class_type\":\"PreviewImage\",\"inputs\":{\"images\":[\"6\",0]}}}}";
    site_defaults();
    site_start();
    json_decref(post_json(site_port, "/prompt", use, 400));
    CHECK(!offers("", "own_2_steps_00001_.safetensors"), "before it is there");
    for (int i = 0; i < 2; i++) {
        json_t *j = post_json(site_port, "/prompt", i ? use : train, 200);
        json_t *entry = finished(json_string_value(json_object_get(j, "prompt_id")));
        CHECK(!strcmp(state_of(entry), "success"), "%s", json_dumps(entry, 0));
        json_decref(entry);
        json_decref(j);
        CHECK(offers("", "own_2_steps_00001_.safetensors"), "LoraLoader's list");
    }
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(site_path("output/loras/own_2_steps_00001_.safetensors"), (size_t)1 << 30, &data, &bytes, &e));
    site_write("output/runs/cat/lora.safetensors", data, bytes); /* what `limn train lora --output BASE/output/runs/cat` leaves */
    site_write("output/runs/cat/lora-step00000010.safetensors", data, bytes);
    CHECK(offers("", "cat.safetensors") && !offers("", "lora-step00000010.safetensors"), "a run's LoRA");
    json_t *list = get_json(site_port, "/models/loras", 200);
    CHECK(json_array_size(list) == 2, "%s", json_dumps(list, 0));
    json_decref(list);
    site_stop();

    site_defaults();
    site_options.users = true;
    site_start();
    json_t *ann = post_json(site_port, "/users", "{\"username\": \"Ann\"}", 200), *bob = post_json(site_port, "/users", "{\"username\": \"Bob\"}", 200);
    char name[200], her[200], his[200];
    snprintf(name, sizeof name, "output/%s/loras/hers.safetensors", json_string_value(ann));
    site_write(name, data, bytes);
    snprintf(her, sizeof her, "Comfy-User: %s\r\n", json_string_value(ann));
    snprintf(his, sizeof his, "Comfy-User: %s\r\n", json_string_value(bob));
    CHECK(offers(her, "hers.safetensors") && !offers(his, "hers.safetensors"), "a user's LoRA is her own");
    CHECK(status_of(site_port, "GET", "/view_metadata/loras?filename=hers.safetensors", his, NULL) == 404, "and so is what it tells");
    mem_free(data);
    json_decref(ann);
    json_decref(bob);
    site_stop();
}

static double computed_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for a message of this type of a node (NULL: any). */
static void wait_for(int s, const char *type, const char *node)
{
    for (bool there = false; !there;) {
        json_t *j = ws_wait(s, type);
        const char *id = json_string_value(json_object_get(json_object_get(j, "data"), "node"));
        CHECK(j, "no %s of %s came", type, node ? node : "any");
        there = !node || (id && !strcmp(id, node));
        json_decref(j);
    }
}

TEST(an_interrupt_ends_encoding_sampling_and_decoding_within_200_ms)
{
    static const struct { const char *node; int side; const char *samples; } cases[] = { { "6", 64, "3" }, { "3", 512, "3" }, { "8", 1024, "5" } };
    enum { REPEAT = 100, MOST = 8000 };
    char *words = malloc(REPEAT * 32), *flow = malloc(MOST);
    *words = 0;
    for (int i = 0; i < REPEAT; i++)
        strcat(words, "a red apple and a green pear ");
    int status;
    site_defaults();
    site_start();
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = snprintf(flow, MOST,
                         "{\"client_id\":\"me\",\"prompt\":{\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":1,\"steps\":40,\"cfg\":7,\"sampler_name\":\"euler\","
                         "\"scheduler\":\"normal\",\"denoise\":1,\"model\":[\"4\",0],\"positive\":[\"6\",0],\"negative\":[\"6\",0],\"latent_image\":[\"5\",0]}},"
                         "\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"limn-emoji\"}},"
                         "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":%d,\"height\":%d,\"batch_size\":1}},"
                         "\"6\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"%s\",\"clip\":[\"4\",1]}},"
                         "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"%s\",0],\"vae\":[\"4\",2]}},"
                         "\"9\":{\"class_type\":\"PreviewImage\",\"inputs\":{\"images\":[\"8\",0]}}}}",
                         cases[i].side, cases[i].side, i ? "a red apple" : words, cases[i].samples);
        assert_in_range(n, 1, MOST - 1);
        json_decref(post_json(site_port, "/prompt", flow, 200));
        wait_for(s, "executing", cases[i].node);
        if (*cases[i].node == '3')
            wait_for(s, "progress", "3");
        /* the time that is spent, not the time that goes by: others may have the processors */
        double begun = computed_seconds();
        json_decref(post_json(site_port, "/interrupt", "", 200));
        wait_for(s, "execution_interrupted", NULL);
        double took = computed_seconds() - begun;
        CHECK(took < 0.2, "node %s: %g s", cases[i].node, took);
    }
    close(s);
    free(words);
    free(flow);
    site_stop();
}

TEST(wrong_flows_are_refused_with_the_reason)
{
    site_defaults();
    site_start();
    static const struct { const char *body, *type; } cases[] = {
        { "{}", "no_prompt" }, { "{\"prompt\":{}}", "prompt_no_outputs" }, { "{\"prompt\":{\"1\":{\"inputs\":{}}}}", "invalid_prompt" },
        { "{\"prompt\":{\"1\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"a\"}}}}", "prompt_outputs_failed_validation" },
        { "{\"prompt_id\":\"\",\"prompt\":{}}", "invalid_prompt_id" }, { "{\"prompt_id\":\"mine\",\"prompt\":{}}", "invalid_prompt_id" },
        { "{\"prompt_id\":12,\"prompt\":{}}", "invalid_prompt_id" },
        { "{\"prompt_id\":\"AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE\",\"prompt\":{}}", "invalid_prompt_id" },
        { "{\"prompt_id\":\"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee\",\"prompt\":{}}", "prompt_no_outputs" },
        { "{\"prompt_id\":null,\"prompt\":{}}", "prompt_no_outputs" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = post_json(site_port, "/prompt", cases[i].body, 400), *error = json_object_get(j, "error");
        CHECK(!strcmp(json_string_value(json_object_get(error, "type")), cases[i].type) && json_is_object(json_object_get(j, "node_errors")), "case %zu: %s", i,
              json_string_value(json_object_get(error, "type")));
        json_decref(j);
    }
    json_decref(post_json(site_port, "/prompt", "[1]", 400));
    json_decref(post_json(site_port, "/prompt", "{\"prompt\": {}, \"number\": \"x\"}", 400));
    json_decref(get_json(site_port, "/jobs?status=lost", 400));
    json_decref(get_json(site_port, "/jobs?limit=0", 400));
    json_decref(get_json(site_port, "/jobs/nothing", 404));
    json_decref(post_json(site_port, "/jobs/cancel", "{\"job_ids\": [\"x\"]}", 400));
    json_t *j = get_json(site_port, "/history/nothing", 200);
    CHECK(json_object_size(j) == 0, "an unknown job");
    json_decref(j);
    site_stop();
}

TEST(a_job_that_runs_is_interrupted_and_one_that_waits_is_taken_out)
{
    char running[64], waiting[64], body[200];
    site_defaults();
    site_start();
    queue_flow("1", 3000, "", running);
    queue_flow("2", 3, "", waiting);
    for (int i = 0; i < 100; i++) { /* until it runs */
        json_t *q = get_json(site_port, "/queue", 200);
        size_t n = json_array_size(json_object_get(q, "queue_running"));
        json_decref(q);
        if (n)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    json_t *q = get_json(site_port, "/queue", 200), *first = json_array_get(json_object_get(q, "queue_pending"), 0);
    CHECK(json_array_size(first) == 5 && !strcmp(json_string_value(json_array_get(first, 1)), waiting), "pending");
    json_decref(q);
    snprintf(body, sizeof body, "{\"delete\": [\"%s\"]}", waiting);
    json_decref(post_json(site_port, "/queue", body, 200));
    json_decref(post_json(site_port, "/interrupt", "{\"prompt_id\": \"another\"}", 200));
    nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
    q = get_json(site_port, "/prompt", 200);
    CHECK(json_integer_value(json_object_get(json_object_get(q, "exec_info"), "queue_remaining")) == 1, "another's id ends nothing");
    json_decref(q);
    double start = clock_seconds();
    struct answer a = ask_full(site_port, "POST", "/interrupt", "", "", 0);
    CHECK(a.status == 200, "interrupt: %d", a.status);
    answer_release(&a);
    json_t *entry = finished(running);
    CHECK(!strcmp(state_of(entry), "error") && clock_seconds() - start < 5, "it ended %s after %.1f s", state_of(entry), clock_seconds() - start);
    json_decref(entry);
    json_t *job = get_json(site_port, "/jobs", 200);
    CHECK(json_array_size(json_object_get(job, "jobs")) == 1 &&
          !strcmp(json_string_value(json_object_get(json_array_get(json_object_get(job, "jobs"), 0), "status")), "cancelled"), "jobs");
    json_decref(job);
    site_stop();
}

TEST(what_waits_goes_on_after_a_restart)
{
    char first[64], second[64];
    site_defaults();
    site_options.workers = 0; /* nobody takes them */
    site_start();
    queue_flow("1", 3, "", first);
    queue_flow("2", 3, ",\"front\":true", second);
    site_stop();
    site_options.workers = 1;
    site_start();
    json_t *a = finished(first), *b = finished(second);
    CHECK(!strcmp(state_of(a), "success") && !strcmp(state_of(b), "success"), "both are done");
    json_decref(a);
    json_decref(b);
    json_t *history = get_json(site_port, "/history", 200);
    CHECK(!strcmp(json_object_iter_key(json_object_iter(history)), second), "the one that was put in front ran first");
    json_decref(history);
    site_stop();
}

TEST(a_client_that_comes_late_is_told_what_runs)
{
    char id[64];
    int status;
    site_defaults();
    site_start();
    queue_flow("1", 3000, ",\"client_id\":\"late\"", id);
    json_t *j = NULL;
    for (int i = 0; i < 50 && !j; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
        int s = ws_connect(site_port, "/ws?clientId=late", "", &status);
        json_decref(ws_wait(s, "status"));
        json_t *got = ws_wait(s, "executing");
        const char *node = json_string_value(json_object_get(json_object_get(got, "data"), "node"));
        if (node && !strcmp(node, "3"))
            j = json_incref(got);
        json_decref(got);
        close(s);
    }
    CHECK(j && !strcmp(json_string_value(json_object_get(json_object_get(j, "data"), "prompt_id")), id), "what runs");
    json_decref(j);
    json_decref(post_json(site_port, "/interrupt", "{}", 200));
    json_decref(finished(id));
    site_stop();
}

TEST(one_that_does_not_read_delays_no_job)
{
    char id[64], text[200];
    int status;
    site_defaults();
    site_start();
    int deaf = ws_connect(site_port, "/ws?clientId=deaf", "", &status); /* never reads again */
    CHECK(deaf >= 0, "%d", status);
    double start = clock_seconds();
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof text, ",\"client_id\":\"deaf\",\"extra_data\":{\"preview_method\":\"auto\",\"n\":%d}", i);
        queue_flow("5", 3 + i, text, id);
    }
    json_t *entry = finished(id);
    CHECK(!strcmp(state_of(entry), "success") && clock_seconds() - start < 60, "%.1f s", clock_seconds() - start);
    json_decref(entry);
    close(deaf);
    site_stop();
}

/* base64 of a picture as bytes; g_free them. */
static guchar *bytes_of_answer(const json_t *text, gsize *bytes)
{
    return g_base64_decode(json_string_value(text), bytes);
}

TEST(simple_apis_draw_the_same_picture)
{
    struct err e = { 0 };
    struct image image, again;
    char id[64];
    site_defaults();
    site_start();
    json_t *j = post_json(site_port, "/v1/images/generations", "{\"prompt\":\"a red apple\",\"size\":\"64x64\",\"steps\":3,\"seed\":7,\"n\":2,\"guidance\":7}", 200);
    json_t *data = json_object_get(j, "data");
    gsize bytes;
    CHECK(json_array_size(data) == 2, "%zu pictures", json_array_size(data));
    guchar *png = bytes_of_answer(json_object_get(json_array_get(data, 0), "b64_json"), &bytes);
    REQUIRE(image_decode(&image, png, bytes, "the answer", IMAGE_FLATTEN, 0, &e));
    CHECK(image.width == 64 && image.height == 64, "%dx%d", image.width, image.height);
    g_free(png);
    json_decref(j);
    j = post_json(site_port, "/sdapi/v1/txt2img", "{\"prompt\":\"a red apple\",\"width\":64,\"height\":64,\"steps\":3,\"seed\":7,\"cfg_scale\":7,\"sampler_name\":\"Euler\"}", 200);
    png = bytes_of_answer(json_array_get(json_object_get(j, "images"), 0), &bytes);
    REQUIRE(image_decode(&again, png, bytes, "the answer", IMAGE_FLATTEN, 0, &e));
    CHECK(!memcmp(image.pixels, again.pixels, image_bytes(&image)), "another picture");
    image_release(&again);
    json_t *info = json_loads(json_string_value(json_object_get(j, "info")), 0, NULL);
    CHECK(json_integer_value(json_object_get(info, "seed")) == 7, "info");
    json_decref(info);
    json_decref(j);
    queue_flow("7", 3, "", id);
    json_t *entry = finished(id), *file = json_array_get(json_object_get(json_object_get(json_object_get(entry, "outputs"), "9"), "images"), 0);
    char path[200];
    snprintf(path, sizeof path, "output/%s", json_string_value(json_object_get(file, "filename")));
    REQUIRE(image_load(&again, site_path(path), IMAGE_FLATTEN, 0, &e));
    CHECK(!memcmp(image.pixels, again.pixels, image_bytes(&image)), "another picture by the flow");
    image_release(&again);
    json_decref(entry);
    /* over a picture */
    uint8_t *encoded;
    size_t encoded_bytes;
    REQUIRE(image_encode_png(&image, NULL, 0, &encoded, &encoded_bytes, &e));
    gchar *base64 = g_base64_encode(encoded, encoded_bytes);
    struct text body;
    text_init(&body, 1 << 20);
    text_addf(&body, "{\"init_images\":[\"data:image/png;base64,%s\"],\"prompt\":\"a red apple\",\"width\":64,\"height\":64,\"steps\":4,\"denoising_strength\":0.5,\"seed\":1}", base64);
    j = post_json(site_port, "/sdapi/v1/img2img", text_string(&body), 200);
    CHECK(json_array_size(json_object_get(j, "images")) == 1, "img2img");
    json_decref(j);
    text_clear(&body);
    text_add(&body, "--BB\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na red apple\r\n--BB\r\nContent-Disposition: form-data; name=\"steps\"\r\n\r\n3\r\n"
                    "--BB\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n");
    text_add_bytes(&body, encoded, encoded_bytes);
    text_add(&body, "\r\n--BB--\r\n");
    struct answer a = ask_full(site_port, "POST", "/v1/images/edits", "Content-Type: multipart/form-data; boundary=BB\r\n", text_string(&body), body.length);
    CHECK(a.status == 200 && strstr(a.body, "b64_json"), "edits: %d %s", a.status, a.body);
    answer_release(&a);
    text_release(&body);
    g_free(base64);
    mem_free(encoded);
    image_release(&image);
    json_decref(post_json(site_port, "/v1/images/generations", "{\"prompt\":\"x\",\"size\":\"3x3\"}", 400));
    json_decref(post_json(site_port, "/v1/images/generations", "{\"prompt\":\"x\",\"model\":\"nothing\"}", 400));
    json_decref(post_json(site_port, "/sdapi/v1/txt2img", "{\"sampler_name\":\"nothing\"}", 400));
    json_decref(post_json(site_port, "/sdapi/v1/options", "{\"sd_model_checkpoint\":\"limn-emoji\"}", 200));
    j = get_json(site_port, "/sdapi/v1/options", 200);
    CHECK(!strcmp(json_string_value(json_object_get(j, "sd_model_checkpoint")), "limn-emoji"), "options");
    json_decref(j);
    json_decref(get_json(site_port, "/sdapi/v1/progress", 200));
    json_decref(get_json(site_port, "/sdapi/v1/samplers", 200));
    json_decref(get_json(site_port, "/sdapi/v1/sd-models", 200));
    site_stop();
}

TEST(users_see_their_own_jobs_only)
{
    char ann[200], bob[200], text[4000];
    site_defaults();
    site_options.users = true;
    site_start();
    json_t *a = post_json(site_port, "/users", "{\"username\": \"Ann\"}", 200), *b = post_json(site_port, "/users", "{\"username\": \"Bob\"}", 200);
    snprintf(ann, sizeof ann, "Comfy-User: %s\r\n", json_string_value(a));
    snprintf(bob, sizeof bob, "Comfy-User: %s\r\n", json_string_value(b));
    json_decref(a);
    json_decref(b);
    snprintf(text, sizeof text, default_flow, "1", 3, "");
    CHECK(status_of(site_port, "POST", "/prompt", ann, text) == 200 && status_of(site_port, "POST", "/prompt", "", text) == 401, "who may");
    struct answer x = { 0 };
    for (int i = 0; i < 200; i++) {
        x = ask_full(site_port, "GET", "/history", ann, NULL, 0);
        if (x.body_bytes > 2)
            break;
        answer_release(&x);
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
    CHECK(x.body && strstr(x.body, "success"), "Ann's: %s", x.body ? x.body : "none");
    answer_release(&x);
    x = ask_full(site_port, "GET", "/history", bob, NULL, 0);
    CHECK(!strcmp(x.body, "{}"), "Bob's: %s", x.body);
    answer_release(&x);
    CHECK(status_of(site_port, "GET", "/view?filename=limn_00001_.png", ann, NULL) == 200, "Ann sees it");
    CHECK(status_of(site_port, "GET", "/view?filename=limn_00001_.png", bob, NULL) == 404, "Bob does not");
    x = ask_full(site_port, "GET", "/limn/gallery", ann, NULL, 0);
    CHECK(strstr(x.body, "\"hash\""), "Ann's gallery: %s", x.body);
    answer_release(&x);
    x = ask_full(site_port, "GET", "/limn/gallery", bob, NULL, 0);
    CHECK(x.status == 200 && !strstr(x.body, "\"hash\""), "Bob's gallery: %s", x.body);
    answer_release(&x);
    site_stop();
}

/* Asks as Bob and checks that the answer holds none of Ann's secrets. */
static void check_hidden(const char *method, const char *path, const char *user, const char *body, const char *const *secrets)
{
    struct answer a = ask_full(site_port, method, path, user, body, body ? strlen(body) : 0);
    for (; *secrets; secrets++)
        CHECK(!a.body || !**secrets || !memmem(a.body, a.body_bytes, *secrets, strlen(*secrets)) || strstr(path, *secrets), "%s %s tells %s: %.300s", method, path, *secrets, a.body);
    CHECK(!a.body || a.body_bytes < 8 || memcmp(a.body, "\x89PNG", 4), "%s %s gives a picture", method, path);
    answer_release(&a);
}

TEST(users_reach_nothing_of_each_other_by_any_route)
{
    char ann[100], bob[100], path[400], id[64], long_id[64], ann_id[64], hash[70] = "", text[4000];
    int status;
    site_defaults();
    site_options.users = true;
    site_start();
    json_t *a = post_json(site_port, "/users", "{\"username\": \"Ann\"}", 200), *b = post_json(site_port, "/users", "{\"username\": \"Bob\"}", 200);
    snprintf(ann_id, sizeof ann_id, "%s", json_string_value(a));
    snprintf(ann, sizeof ann, "Comfy-User: %s\r\n", ann_id);
    snprintf(bob, sizeof bob, "Comfy-User: %s\r\n", json_string_value(b));
    snprintf(path, sizeof path, "/ws?clientId=shared&user=%s", json_string_value(b));
    /* Bob's socket has the name of Ann's, and is the newer one */
    char ann_path[200];
    snprintf(ann_path, sizeof ann_path, "/ws?clientId=shared&user=%s", ann_id);
    int hers = ws_connect(site_port, ann_path, "", &status), his = ws_connect(site_port, path, "", &status);
    json_decref(a);
    json_decref(b);
    json_decref(ws_wait(hers, "status"));
    json_decref(ws_wait(his, "status"));
    snprintf(text, sizeof text, default_flow, "77001", 3, ",\"client_id\":\"shared\",\"extra_data\":{\"preview_method\":\"auto\"}");
    struct answer x = ask_full(site_port, "POST", "/prompt", ann, text, strlen(text));
    json_t *j = json_loads(x.body, 0, NULL);
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(j, "prompt_id")));
    json_decref(j);
    answer_release(&x);
    json_t *told = ws_wait(hers, "execution_success");
    CHECK(told, "Ann's socket is told of her job");
    json_decref(told);
    x = ask_full(site_port, "GET", "/limn/gallery", ann, NULL, 0);
    j = json_loads(x.body, 0, NULL);
    json_t *picture = json_array_get(json_object_get(j, "pictures"), 0);
    int64_t number = json_integer_value(json_object_get(picture, "id"));
    snprintf(hash, sizeof hash, "%s", json_string_value(json_object_get(picture, "hash")));
    CHECK(number > 0 && strlen(hash) == 64, "Ann's picture: %s", x.body);
    json_decref(j);
    answer_release(&x);
    /* one of hers that runs, and one that waits */
    snprintf(text, sizeof text, default_flow, "77002", 10000, ",\"client_id\":\"shared\"");
    x = ask_full(site_port, "POST", "/prompt", ann, text, strlen(text));
    j = json_loads(x.body, 0, NULL);
    snprintf(long_id, sizeof long_id, "%s", json_string_value(json_object_get(j, "prompt_id")));
    json_decref(j);
    answer_release(&x);
    json_decref(ws_wait(hers, "progress"));
    snprintf(text, sizeof text, default_flow, "77003", 2, ",\"client_id\":\"shared\"");
    CHECK(status_of(site_port, "POST", "/prompt", ann, text) == 200, "a third one");

    const char *const secrets[] = { "77001", "77002", "77003", "a red apple", hash, ann_id, id, long_id, "limn_00001_", NULL };
    static const char *const gets[] = { "/queue", "/prompt", "/history", "/history/%1", "/history/%2", "/jobs", "/jobs/%1", "/jobs/%2", "/sdapi/v1/progress",
        "/view?filename=limn_00001_.png", "/view?filename=limn_00001_.png&subfolder=..%2F%u", "/view?filename=limn_00001_.png&subfolder=%u",
        "/view?filename=..%2F%u%2Flimn_00001_.png", "/view?filename=limn_00001_.png&type=temp", "/view?filename=limn_00001_.png&preview=webp",
        "/internal/files/output", "/internal/logs", "/internal/logs/raw", "/object_info", "/object_info/LoadImageOutput", "/limn/gallery", "/limn/gallery?words=apple",
        "/limn/gallery/%n", "/limn/gallery/%h", "/limn/gallery/%n/file", "/limn/gallery/%h/file", "/limn/gallery/%n/file?small=64", "/limn/gallery/%n/similar",
        "/limn/gallery/%n/lineage", "/limn/gallery/%h/lineage", "/limn/gallery/names/model", "/limn/gallery?deleted=true", "/userdata?dir=.", "/v2/userdata",
        "/userdata/..%2F%u%2Fcomfy.settings.json", "/settings", "/limn/runs", "/limn/datasets", "/metrics", "/system_stats", "/healthz",
        "/limn/similarity?a=limn_00001_.png&b=limn_00001_.png" };
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++) {
        struct text p;
        text_init(&p, 400);
        for (const char *c = gets[i]; *c; c++)
            if (*c == '%' && strchr("12nhu", c[1]) && !(c[1] == '2' && c[2] == 'F'))
                switch (*++c) {
                case '1': text_add(&p, id); break;
                case '2': text_add(&p, long_id); break;
                case 'n': text_addf(&p, "%lld", (long long)number); break;
                case 'h': text_add(&p, hash); break;
                default: text_add(&p, ann_id);
                }
            else
                text_add_bytes(&p, c, 1);
        check_hidden("GET", text_string(&p), bob, NULL, secrets);
        text_release(&p);
    }
    /* changes: none of them reaches hers */
    static const char *const posts[][2] = { { "/interrupt", "{}" }, { "/interrupt", "{\"prompt_id\":\"%2\"}" }, { "/jobs/%2/cancel", "{}" }, { "/jobs/cancel", "{\"job_ids\":[\"%2\"]}" },
        { "/queue", "{\"clear\":true}" }, { "/queue", "{\"delete\":[\"%1\",\"%2\"]}" }, { "/history", "{\"clear\":true}" }, { "/history", "{\"delete\":[\"%1\"]}" },
        { "/sdapi/v1/interrupt", "{}" }, { "/limn/gallery/delete", "{\"ids\":[%n]}" }, { "/limn/gallery/rate", "{\"ids\":[%n],\"rating\":5}" },
        { "/limn/gallery/tag", "{\"ids\":[%n],\"add\":[\"bobs\"]}" }, { "/limn/gallery/undo", "{}" } };
    for (size_t i = 0; i < sizeof posts / sizeof *posts; i++) {
        char both[2][300];
        for (int k = 0; k < 2; k++) {
            struct text p;
            text_init(&p, 299);
            for (const char *c = posts[i][k]; *c; c++)
                if (*c == '%')
                    switch (*++c) {
                    case '1': text_add(&p, id); break;
                    case '2': text_add(&p, long_id); break;
                    default: text_addf(&p, "%lld", (long long)number);
                    }
                else
                    text_add_bytes(&p, c, 1);
            snprintf(both[k], sizeof both[k], "%s", text_string(&p));
            text_release(&p);
        }
        check_hidden("POST", both[0], bob, both[1], secrets);
    }
    /* a job of his with her job's id is refused, and hers stays */
    snprintf(text, sizeof text, default_flow, "5", 2, "");
    snprintf(text + strlen(text) - 1, sizeof text - strlen(text), ",\"prompt_id\":\"%s\"}", long_id);
    CHECK(status_of(site_port, "POST", "/prompt", bob, text) == 400, "an id of hers");
    snprintf(path, sizeof path, "/jobs/%s", long_id);
    x = ask_full(site_port, "GET", path, ann, NULL, 0);
    CHECK(x.status == 200 && strstr(x.body, "in_progress"), "hers still runs: %s", x.body);
    answer_release(&x);
    x = ask_full(site_port, "GET", "/queue", ann, NULL, 0);
    CHECK(strstr(x.body, "77003"), "hers still waits: %s", x.body);
    answer_release(&x);
    snprintf(path, sizeof path, "/limn/gallery/%lld", (long long)number);
    x = ask_full(site_port, "GET", path, ann, NULL, 0);
    CHECK(x.status == 200 && strstr(x.body, "\"rating\":0") && !strstr(x.body, "bobs"), "her picture is as it was: %d %s", x.status, x.body);
    answer_release(&x);
    snprintf(path, sizeof path, "/history/%s", id);
    x = ask_full(site_port, "GET", path, ann, NULL, 0);
    CHECK(strstr(x.body, id), "her history is as it was: %s", x.body);
    answer_release(&x);
    snprintf(path, sizeof path, "/jobs/%s/cancel", long_id);
    CHECK(status_of(site_port, "POST", path, ann, "{}") == 200, "she ends it");
    json_decref(ws_wait(hers, "execution_interrupted"));
    /* his socket heard of the queue only */
    shutdown(his, SHUT_WR);
    size_t bytes;
    char *heard = malloc(1 << 20);
    for (int opcode; (opcode = ws_read(his, heard, 1 << 20, &bytes)) && opcode != 8;)
        CHECK(opcode == 1 && strstr(heard, "\"status\"") && !strstr(heard, id) && !strstr(heard, long_id), "Bob's socket is told: %.300s", heard);
    free(heard);
    close(hers);
    close(his);
    site_stop();
}

TEST(the_gallery_has_what_was_drawn_and_takes_changes_back)
{
    size_t bytes;
    char *png;
    struct err e = { 0 };
    site_defaults();
    site_start();
    REQUIRE(file_read(test_data("emoji-mini/ring-ball.png"), 1 << 20, &png, &bytes, &e));
    site_write("input/ball.png", png, bytes);
    mem_free(png);
    json_decref(post_json(site_port, "/prompt", "{\"prompt\": {\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"ball.png\"}}, \"2\": {\"class_type\": "
                                     "\"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"a\"}}}}", 200));
    json_t *page = NULL, *one = NULL;
    for (int i = 0; i < 400 && !one; i++) { /* until the job has ended */
        json_decref(page);
        page = get_json(site_port, "/limn/gallery?limit=5", 200);
        one = json_array_get(json_object_get(page, "pictures"), 0);
        usleep(25000);
    }
    CHECK(one, "no picture in the gallery");
    char path[100], body[100];
    long long id = json_integer_value(json_object_get(one, "id"));
    json_decref(page);
    snprintf(path, sizeof path, "/limn/gallery/%lld", id);
    json_t *whole = get_json(site_port, path, 200);
    const char *graph = json_string_value(json_object_get(whole, "graph"));
    CHECK(graph && strstr(graph, "SaveImage"), "its flow: %s", json_dumps(whole, 0));
    char hash[DIGEST_TEXT_BYTES];
    const char *parent = json_string_value(json_array_get(json_object_get(whole, "parents"), 0));
    REQUIRE(digest_file(site_path("input/ball.png"), 0, hash, NULL, NULL, &e));
    CHECK(parent && !strcmp(parent, hash), "the picture that it was made of: %s", parent ? parent : "none");
    json_decref(whole);
    snprintf(path, sizeof path, "/limn/gallery/%lld/file?small=16", id);
    struct answer small = ask_full(site_port, "GET", path, "", NULL, 0);
    CHECK(small.status == 200 && small.body_bytes > 12 && !memcmp(small.body + 8, "WEBP", 4), "status %d", small.status);
    answer_release(&small);
    snprintf(body, sizeof body, "{\"ids\": [%lld], \"add\": [\"round\"]}", id);
    json_decref(post_json(site_port, "/limn/gallery/tag", body, 200));
    page = get_json(site_port, "/limn/gallery?filter=tag%3Dround", 200);
    CHECK(json_array_size(json_object_get(page, "pictures")) == 1, "%s", json_dumps(page, 0));
    json_decref(page);
    snprintf(path, sizeof path, "/limn/gallery/%lld/similar", id);
    page = get_json(site_port, path, 200);
    CHECK(json_array_size(json_object_get(page, "pictures")) == 1, "it is like itself: %s", json_dumps(page, 0));
    json_decref(page);
    snprintf(body, sizeof body, "{\"ids\": [%lld]}", id);
    json_t *batch = post_json(site_port, "/limn/gallery/delete", body, 200);
    page = get_json(site_port, "/limn/gallery", 200);
    CHECK(json_array_size(json_object_get(page, "pictures")) == 0, "%s", json_dumps(page, 0));
    json_decref(page);
    char *text = json_dumps(batch, 0);
    json_decref(post_json(site_port, "/limn/gallery/undo", text, 200));
    free(text);
    json_decref(batch);
    page = get_json(site_port, "/limn/gallery", 200);
    CHECK(json_array_size(json_object_get(page, "pictures")) == 1, "%s", json_dumps(page, 0));
    json_decref(page);
    CHECK(status_of(site_port, "GET", "/limn/gallery?filter=nothing%3D1", "", NULL) == 400, "a filter that is none");
    CHECK(status_of(site_port, "GET", "/limn/gallery/999", "", NULL) == 404, "no such picture");
    CHECK(status_of(site_port, "POST", "/limn/gallery/rate", "", "{\"ids\": [\"a\"], \"rating\": 3}") == 400, "ids that are none");
    site_stop();
}
