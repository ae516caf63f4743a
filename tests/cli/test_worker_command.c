/* limn worker: a flow that was accepted elsewhere is drawn, and its picture is in the gallery, on both kinds of database. */
#include <stdlib.h>

#include "base/file.h"
#include "base/json_text.h"
#include "cli/run_limn.h"
#include "jobs/queue.h"
#include "postgresql.h"

/* A flow on the test's nodes: no model is needed for what is tested here. */
static const char flow[] = "{\"1\":{\"class_type\":\"StubImage\",\"inputs\":{\"content\":\"NOISE\",\"height\":16,\"width\":24,\"batch_size\":2}},"
                           "\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"w\",\"images\":[\"1\",0]}}}";

static void add(const char *where, const char *id, const char *prompt)
{
    struct err e = { 0 };
    struct store *s;
    struct queue *q;
    struct queue_options options = { 0 };
    REQUIRE(options.store = s = store_open(where, &e));
    REQUIRE(q = queue_open(&options, &e));
    REQUIRE(queue_add(q, &(struct job){ .id = id, .prompt = prompt, .targets = "[\"9\"]" }, NULL, &e));
    queue_close(q, true);
    store_close(s);
}

static void works_for(const char *where, const char *base)
{
    struct err e = { 0 };
    struct text all;
    struct store *s;
    struct queue *q;
    int64_t pictures;
    char gallery[PATH_MAX_BYTES], picture[PATH_MAX_BYTES];
    struct queue_options options = { 0 };
    snprintf(gallery, sizeof gallery, "%s/gallery", base);
    add(where, "good", flow);
    add(where, "bad", "{\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"w\",\"images\":[\"7\",0]}}}");
    CHECK(limn("worker", "--once", "--test-nodes", "--database", where, "--gallery-folder", gallery, "--base-directory", base, NULL) == 0, "%s", complained);
    CHECK(strstr(complained, "job good: success"), "%s", complained);
    REQUIRE(options.store = s = store_open(where, &e));
    REQUIRE(q = queue_open(&options, &e));
    text_init(&all, 1 << 20);
    REQUIRE(queue_history(q, NULL, -1, -1, &all, &e));
    json_t *j = json_text_tree(text_string(&all), "history", &e);
    const json_t *good = json_object_get(j, "good"), *bad = json_object_get(j, "bad");
    CHECK(json_is_true(json_object_get(json_object_get(good, "status"), "completed")), "%s", text_string(&all));
    CHECK(bad && !json_is_true(json_object_get(json_object_get(bad, "status"), "completed")), "%s", text_string(&all));
    REQUIRE(gallery_count(s, &(struct gallery_query){ .filters = { "job=good" }, .filter_count = 1 }, &pictures, &e));
    assert_int_equal(pictures, 2);
    snprintf(picture, sizeof picture, "%s/output/w_00002_.png", base);
    CHECK(path_exists(picture), "%s", picture);
    json_decref(j);
    text_release(&all);
    queue_close(q, true);
    store_close(s);
}

TEST(a_worker_does_what_was_accepted_elsewhere)
{
    char where[PATH_MAX_BYTES], base[PATH_MAX_BYTES];
    snprintf(where, sizeof where, "%s", test_scratch("worker/limn.db"));
    snprintf(base, sizeof base, "%s", test_scratch("worker"));
    works_for(where, base);
    CHECK(limn("worker", "--once", "--database", "postgresql://127.0.0.1:1/none", "--base-directory", base, NULL) == 1 &&
              strstr(complained, "no connection to the database none on 127.0.0.1"), "%s", complained);
}

TEST(a_worker_does_what_was_accepted_in_a_shared_database)
{
    char base[PATH_MAX_BYTES];
    const char *url = pg_database();
    if (!url) {
        skip();
        return;
    }
    snprintf(base, sizeof base, "%s", test_scratch("shared"));
    works_for(url, base);
}
