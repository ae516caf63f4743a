/* The queue in one process: order, answers, stopping. */
#include "jobs/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "jobs/fake_work.h"
#include "test.h"

#define ANSWER_BYTES ((size_t)8 << 20)

/* A queue on a fresh database, and what its listener heard: "job:type " in order. */
struct bench {
    struct store *store;
    struct queue *queue;
    struct fake fake;
    pthread_mutex_t lock;
    char heard[20000];
    int64_t remaining;
    char root[300], folder[320], path[320];
};

static void hear(void *self, const struct queue_event *event)
{
    struct bench *b = self;
    pthread_mutex_lock(&b->lock);
    if (!strcmp(event->type, "status"))
        b->remaining = event->remaining;
    size_t used = strlen(b->heard);
    snprintf(b->heard + used, sizeof b->heard - used, "%s%s%s ", event->job ? event->job : "", event->job ? ":" : "", event->type);
    pthread_mutex_unlock(&b->lock);
}

static void bench_open(struct bench *b, const char *name, int workers)
{
    struct err e = { 0 };
    *b = (struct bench){ .lock = PTHREAD_MUTEX_INITIALIZER };
    fake_folder(b->root, name);
    snprintf(b->path, sizeof b->path, "%s/limn.db", b->root);
    snprintf(b->folder, sizeof b->folder, "%s/pictures", b->root);
    b->fake.folder = b->folder;
    REQUIRE(b->store = store_open(b->path, &e));
    struct queue_options options = { .store = b->store, .workers = workers, .run = fake_run, .run_self = &b->fake, .listen = hear,
                                     .listen_self = b, .poll_ms = 20 };
    REQUIRE(b->queue = queue_open(&options, &e));
}

static void bench_close(struct bench *b)
{
    queue_close(b->queue, true);
    store_close(b->store);
    fake_folder_remove(b->root);
}

/* The same database with workers. */
static void bench_start(struct bench *b, int workers)
{
    struct err e = { 0 };
    queue_close(b->queue, true);
    struct queue_options options = { .store = b->store, .workers = workers, .run = fake_run, .run_self = &b->fake, .listen = hear,
                                     .listen_self = b, .poll_ms = 20 };
    REQUIRE(b->queue = queue_open(&options, &e));
}

static double add(struct bench *b, const char *id, const char *prompt, struct job more)
{
    struct err e = { 0 };
    struct job_added added;
    more.id = id;
    more.prompt = prompt;
    REQUIRE(queue_add(b->queue, &more, &added, &e));
    assert_string_equal(added.id, id);
    return added.number;
}

#define ANSWER(name, call)                                          \
    struct text name;                                               \
    text_init(&name, ANSWER_BYTES);                                 \
    REQUIRE(call)

TEST(jobs_run_by_number_then_id)
{
    struct bench b;
    bench_open(&b, "order", 0);
    CHECK(add(&b, "c", "{\"n\":1}", (struct job){ 0 }) == 0, "the counter begins at 0");
    CHECK(add(&b, "b", "{\"n\":2}", (struct job){ 0 }) == 1, "and goes on");
    CHECK(add(&b, "front", "{\"n\":3}", (struct job){ .front = true }) == -2, "front negates it");
    add(&b, "last", "{\"n\":4}", (struct job){ .has_number = true, .number = 1e9 });
    add(&b, "half", "{\"n\":5}", (struct job){ .has_number = true, .number = 0.5 });
    add(&b, "a", "{\"n\":6}", (struct job){ .has_number = true, .number = 1 });
    struct err e = { 0 };
    ANSWER(list, queue_list(b.queue, NULL, &list, &e));
    json_t *j = json_text_tree(text_string(&list), "list", &e), *one;
    REQUIRE(j);
    char order[100] = "";
    size_t i;
    json_array_foreach(json_object_get(j, "queue_pending"), i, one)
        snprintf(order + strlen(order), sizeof order - strlen(order), "%s ", json_string_value(json_array_get(one, 1)));
    assert_string_equal(order, "front c half a b last ");
    json_decref(j);
    text_release(&list);
    bench_start(&b, 1);
    CHECK(fake_wait(b.queue, 20), "the jobs did not end");
    queue_close(b.queue, true);
    b.queue = NULL;
    assert_string_equal(b.fake.order, "front c half a b last ");
    bench_close(&b);
}

TEST(a_job_is_accepted_once)
{
    struct bench b;
    struct err e = { 0 };
    struct job_added added;
    bench_open(&b, "once", 0);
    add(&b, "x", "{\"n\":1}", (struct job){ 0 });
    struct job again = { .id = "x", .prompt = "{\"n\":1}" };
    REQUIRE(queue_add(b.queue, &again, &added, &e));
    CHECK(added.was_there && added.number == 0, "was_there %d", added.was_there);
    again.prompt = "{\"n\":2}";
    CHECK_FAILS(queue_add(b.queue, &again, &added, &e), ERR_ARG, "belongs to another job");
    int64_t count;
    REQUIRE(queue_remaining(b.queue, NULL, &count, &e));
    assert_int_equal(count, 1);
    static const char *const wrong[] = { "", "{", "{\"a\":1,}", "[1] 2", "{\"a\":01}", "\"\xff\"", "{\"a\":\"\n\"}", "nul", "{'a':1}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct job bad = { .prompt = wrong[i] };
        CHECK_FAILS(queue_add(b.queue, &bad, NULL, &e), ERR_ARG, "prompt");
    }
    struct job nothing = { .id = "" , .prompt = "{}" };
    CHECK_FAILS(queue_add(b.queue, &nothing, NULL, &e), ERR_ARG, "id");
    struct job named = { .prompt = "{}" };
    REQUIRE(queue_add(b.queue, &named, &added, &e));
    CHECK(strlen(added.id) == 36 && added.id[14] == '4', "%s", added.id);
    bench_close(&b);
}

TEST(what_was_handed_in_comes_back_to_the_byte)
{
    static const char prompt[] = "{ \"3\" : {\"seed\": 18446744073709551615, \"x\": 1e-3, \"words\": \"\\u4e2d \xe7\x8c\xab \\\"\"}}";
    struct bench b;
    struct err e = { 0 };
    bench_open(&b, "bytes", 0);
    add(&b, "x", prompt, (struct job){ .client = "me", .targets = "[\"3\"]", .workflow = "w1",
        .extra = "{\"auth_token_comfy_org\":\"secret1\",\"a\":[1,{\"api_key_comfy_org\":2}] , \"api_key_comfy_org\" : \"secret2\"}" });
    ANSWER(list, queue_list(b.queue, NULL, &list, &e));
    CHECK(strstr(text_string(&list), prompt), "%s", text_string(&list));
    CHECK(strstr(text_string(&list), "[0,\"x\",") && strstr(text_string(&list), ",{\"a\":[1,{\"api_key_comfy_org\":2}]},[\"3\"]]"), "%s",
          text_string(&list));
    CHECK(!strstr(text_string(&list), "secret"), "%s", text_string(&list));
    text_release(&list);
    ANSWER(job, queue_job(b.queue, NULL, "x", &job, &e));
    CHECK(strstr(text_string(&job), prompt) && strstr(text_string(&job), "\"status\":\"pending\"") &&
              strstr(text_string(&job), "\"workflow_id\":\"w1\""), "%s", text_string(&job));
    text_release(&job);
    text_init(&job, ANSWER_BYTES);
    CHECK_FAILS(queue_job(b.queue, NULL, "y", &job, &e), ERR_MISSING, "no job y");
    text_release(&job);
    bench_close(&b);
}

TEST(a_finished_job_is_history_before_its_end_is_told)
{
    struct bench b;
    struct err e = { 0 };
    bench_open(&b, "history", 0);
    add(&b, "good", "{\"n\":1}", (struct job){ .client = "me" });
    add(&b, "bad", "{\"n\":2,\"fails\":true}", (struct job){ 0 });
    bench_start(&b, 1); /* later, so that who tells first is known */
    CHECK(fake_wait(b.queue, 20), "no end");
    bench_start(&b, 0);
    assert_string_equal(b.heard, "status status status good:execution_start good:execution_success status good:executing "
                                 "status bad:execution_start status ");
    ANSWER(all, queue_history(b.queue, NULL, -1, -1, &all, &e));
    json_t *j = json_text_tree(text_string(&all), "history", &e);
    REQUIRE(j);
    const json_t *good = json_object_get(j, "good"), *bad = json_object_get(j, "bad");
    CHECK(json_is_true(json_object_get(json_object_get(good, "status"), "completed")) &&
              json_object_get(json_object_get(good, "outputs"), "9") && json_object_get(json_object_get(good, "meta"), "9") &&
              json_array_size(json_object_get(json_object_get(good, "status"), "messages")) == 2 &&
              json_array_size(json_object_get(good, "prompt")) == 5, "%s", text_string(&all));
    assert_string_equal(json_string_value(json_object_get(json_object_get(bad, "status"), "status_str")), "error");
    json_decref(j);
    text_release(&all);
    struct job_query query = { .states = 1 << JOB_FAILED | 1 << JOB_COMPLETED, .limit = 1, .ascending = true };
    ANSWER(jobs, queue_jobs(b.queue, &query, &jobs, &e));
    REQUIRE(j = json_text_tree(text_string(&jobs), "jobs", &e));
    json_t *first = json_array_get(json_object_get(j, "jobs"), 0);
    CHECK(json_array_size(json_object_get(j, "jobs")) == 1 && json_integer_value(json_object_get(first, "outputs_count")) == 1 &&
              json_integer_value(json_object_get(first, "previewable_outputs_count")) == 1, "%s", text_string(&jobs));
    assert_string_equal(json_string_value(json_object_get(json_object_get(first, "preview_output"), "nodeId")), "9");
    assert_string_equal(json_string_value(json_object_get(first, "status")), "completed");
    const json_t *pages = json_object_get(j, "pagination");
    CHECK(json_integer_value(json_object_get(pages, "total")) == 2 && json_is_true(json_object_get(pages, "has_more")) &&
              json_integer_value(json_object_get(pages, "limit")) == 1, "%s", text_string(&jobs));
    json_decref(j);
    text_release(&jobs);
    ANSWER(job, queue_job(b.queue, NULL, "bad", &job, &e));
    CHECK(strstr(text_string(&job), "\"status\":\"failed\"") &&
              strstr(text_string(&job), "\"exception_message\":\"the work of \\\"2\\\" fails\""), "%s", text_string(&job));
    text_release(&job);
    bench_close(&b);
}

TEST(history_is_paged_as_comfyui_pages_it)
{
    static const struct {
        int64_t most, offset;
        const char *ids;
    } cases[] = { { -1, -1, "01234" }, { 2, -1, "34" }, { 2, 0, "01" }, { -1, 3, "34" }, { 2, 4, "4" }, { 2, 9, "" }, { 0, -1, "" },
                  { 9, -1, "01234" } };
    struct bench b;
    struct err e = { 0 };
    bench_open(&b, "pages", 1);
    for (int i = 0; i < 5; i++) {
        char id[2] = { (char)('0' + i), 0 };
        add(&b, id, "{}", (struct job){ .owner = i == 3 ? "ann" : "" });
    }
    CHECK(fake_wait(b.queue, 20), "no end");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ANSWER(all, queue_history(b.queue, NULL, cases[i].most, cases[i].offset, &all, &e));
        json_t *j = json_text_tree(text_string(&all), "history", &e), *one;
        char ids[20] = "";
        const char *id;
        json_object_foreach(j, id, one)
            strcat(ids, id);
        CHECK(!strcmp(ids, cases[i].ids), "most %d, offset %d: %s instead of %s", (int)cases[i].most, (int)cases[i].offset, ids, cases[i].ids);
        json_decref(j);
        text_release(&all);
    }
    ANSWER(hers, queue_history(b.queue, "ann", -1, -1, &hers, &e));
    CHECK(!strncmp(text_string(&hers), "{\"3\":", 5) && !strstr(text_string(&hers), "\"4\":{"), "%s", text_string(&hers));
    text_release(&hers);
    REQUIRE(queue_history_delete(b.queue, "bob", (const char *const[]){ "1" }, 1, &e));
    ANSWER(still, queue_history_of(b.queue, NULL, "1", &still, &e));
    CHECK(strlen(text_string(&still)) > 2, "another user deleted it");
    text_release(&still);
    REQUIRE(queue_history_delete(b.queue, "", (const char *const[]){ "1", "nothing" }, 2, &e));
    ANSWER(gone, queue_history_of(b.queue, NULL, "1", &gone, &e));
    assert_string_equal(text_string(&gone), "{}");
    text_release(&gone);
    REQUIRE(queue_history_clear(b.queue, NULL, &e));
    ANSWER(none, queue_history(b.queue, NULL, -1, -1, &none, &e));
    assert_string_equal(text_string(&none), "{}");
    text_release(&none);
    bench_close(&b);
}

/* Waits until the first job runs. */
static void wait_for_run(struct bench *b, int runs)
{
    for (double begin = clock_seconds(); atomic_load(&b->fake.runs) < runs; usleep(500))
        CHECK(clock_seconds() - begin < 20, "no job was taken");
}

TEST(a_running_job_stops_within_200_ms_and_the_queue_goes_on)
{
    struct bench b;
    struct err e = { 0 };
    bool cancelled;
    bench_open(&b, "stop", 1);
    add(&b, "long", "{\"n\":1,\"ms\":30000}", (struct job){ 0 });
    add(&b, "next", "{\"n\":2,\"ms\":30000}", (struct job){ 0 });
    add(&b, "then", "{\"n\":3}", (struct job){ 0 });
    add(&b, "dropped", "{\"n\":4}", (struct job){ 0 });
    add(&b, "deleted", "{\"n\":5}", (struct job){ 0 });
    wait_for_run(&b, 1);
    REQUIRE(queue_interrupt(b.queue, NULL, "next", &e)); /* is not running: nothing */
    REQUIRE(queue_cancel(b.queue, NULL, "dropped", &cancelled, &e));
    CHECK(cancelled, "a pending job");
    int64_t deleted;
    REQUIRE(queue_delete(b.queue, NULL, (const char *const[]){ "deleted", "long", "nothing" }, 3, &deleted, &e));
    assert_int_equal(deleted, 1);
    double begin = clock_seconds();
    REQUIRE(queue_interrupt(b.queue, NULL, NULL, &e));
    wait_for_run(&b, 2);
    CHECK(clock_seconds() - begin < 0.2, "%.3f s", clock_seconds() - begin);
    begin = clock_seconds();
    REQUIRE(queue_cancel(b.queue, NULL, "next", &cancelled, &e));
    wait_for_run(&b, 3);
    CHECK(cancelled && clock_seconds() - begin < 0.2, "%.3f s", clock_seconds() - begin);
    CHECK(fake_wait(b.queue, 20), "no end");
    REQUIRE(queue_cancel(b.queue, NULL, "then", &cancelled, &e));
    CHECK(!cancelled, "a finished job");
    struct job_query query = { .ascending = true };
    ANSWER(jobs, queue_jobs(b.queue, &query, &jobs, &e));
    json_t *j = json_text_tree(text_string(&jobs), "jobs", &e), *one;
    char states[200] = "";
    size_t i;
    json_array_foreach(json_object_get(j, "jobs"), i, one)
        snprintf(states + strlen(states), sizeof states - strlen(states), "%s %s, ", json_string_value(json_object_get(one, "id")),
                 json_string_value(json_object_get(one, "status")));
    assert_string_equal(states, "long cancelled, next cancelled, then completed, dropped cancelled, ");
    json_decref(j);
    text_release(&jobs);
    bench_close(&b);
}

TEST(a_queue_that_closes_gives_its_job_back)
{
    struct bench b;
    struct err e = { 0 };
    bench_open(&b, "closing", 1);
    add(&b, "long", "{\"n\":1,\"ms\":30000}", (struct job){ 0 });
    wait_for_run(&b, 1);
    double begin = clock_seconds();
    queue_close(b.queue, false);
    CHECK(clock_seconds() - begin < 1, "%.3f s", clock_seconds() - begin);
    struct queue_options options = { .store = b.store };
    REQUIRE(b.queue = queue_open(&options, &e));
    ANSWER(list, queue_list(b.queue, NULL, &list, &e));
    CHECK(strstr(text_string(&list), "\"queue_running\":[],\"queue_pending\":[[0,\"long\""), "%s", text_string(&list));
    text_release(&list);
    int64_t deleted;
    REQUIRE(queue_clear(b.queue, NULL, &deleted, &e));
    assert_int_equal(deleted, 1);
    bench_close(&b);
}

struct client {
    struct bench *bench;
    int number, jobs;
    bool good;
};

static void *add_many(void *self)
{
    struct client *c = self;
    c->good = true;
    for (int i = 0; i < c->jobs; i++) {
        char id[40], prompt[60];
        struct err e = { 0 };
        snprintf(id, sizeof id, "%02d-%03d", c->number, i);
        snprintf(prompt, sizeof prompt, "{\"n\":%d}", c->number * 1000 + i);
        struct job job = { .id = id, .prompt = prompt };
        c->good &= queue_add(c->bench->queue, &job, NULL, &e);
    }
    return NULL;
}

static void *watch(void *self)
{
    struct bench *b = self;
    for (int64_t left = 1; left;) {
        struct err e = { 0 };
        struct text list;
        text_init(&list, ANSWER_BYTES);
        if (!queue_list(b->queue, NULL, &list, &e) || !queue_remaining(b->queue, NULL, &left, &e))
            break;
        text_release(&list);
        usleep(5000);
    }
    return NULL;
}

TEST(many_clients_lose_nothing_and_each_sees_its_order)
{
    enum { CLIENTS = 64, JOBS = 1000 };
    struct bench b;
    struct err e = { 0 };
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS], watcher;
    bench_open(&b, "many", 1);
    b.fake.order[0] = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){ &b, i, JOBS / CLIENTS + (i < JOBS % CLIENTS), false };
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &clients[i]), 0);
    }
    assert_int_equal(pthread_create(&watcher, NULL, watch, &b), 0);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(clients[i].good, "client %d", i);
    }
    CHECK(fake_wait(b.queue, 120), "they did not end");
    pthread_join(watcher, NULL);
    assert_int_equal(atomic_load(&b.fake.runs), JOBS);
    ANSWER(all, queue_history(b.queue, NULL, -1, -1, &all, &e));
    json_t *j = json_text_tree(text_string(&all), "history", &e), *one;
    assert_int_equal(json_object_size(j), JOBS);
    int next[CLIENTS] = { 0 };
    const char *id;
    json_object_foreach(j, id, one) {
        int client, i;
        CHECK(sscanf(id, "%d-%d", &client, &i) == 2 && next[client]++ == i, "client %d: job %d out of order", client, i);
        CHECK(json_is_true(json_object_get(json_object_get(one, "status"), "completed")), "%s", id);
    }
    json_decref(j);
    text_release(&all);
    int64_t count;
    struct gallery_query query = { 0 };
    REQUIRE(gallery_count(b.store, &query, &count, &e));
    assert_int_equal(count, JOBS);
    CHECK(b.remaining == 0, "the last status said %d", (int)b.remaining);
    bench_close(&b);
}
