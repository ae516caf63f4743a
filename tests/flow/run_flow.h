/* Flows written as JSON with ' for ", checked and run in a test. */
#ifndef LIMN_TESTS_FLOW_RUN_FLOW_H
#define LIMN_TESTS_FLOW_RUN_FLOW_H

#include "flow/flow.h"
#include "flow/run.h"

/* What there was of a run. */
struct flow_seen {
    struct flow_result result;
    char *messages; /* "execution_start, execution_cached, executing 3, ..." in order; owned */
    char *cached;   /* ids of execution_cached, " 1 2 "; owned */
    int pictures;   /* previews and whole pictures */
};

/* Folders below test_scratch, the models of tests/data; test nodes are there. */
struct flow_host test_host(void);
/* A folder as ComfyUI's models beside them, from now on. */
void test_add_place(const char *folder);
json_t *parse(const char *text);
/* Checks and runs; requires that it is good. targets may be NULL. */
struct flow_seen run_flow(struct flow_engine *engine, const char *text, const char *targets);
/* The same with these options but for host and events. */
struct flow_seen run_flow_with(struct flow_engine *engine, const char *text, const char *targets, struct flow_run_options options);
void seen_release(struct flow_seen *s);
/* Whether a node was run, not taken from the cache. */
bool did_run(const struct flow_seen *s, const char *id);
/* The i-th picture that a node wrote, loaded; the test fails if there is none. */
struct image written(const struct flow_seen *s, const char *id, size_t i);
size_t written_count(const struct flow_seen *s, const char *id);

/* What flow_check says: "type: details" of the error, then of each node's errors, "id type: details", a line each; freed by the caller. */
char *check_text(const char *text, const char *targets);

#endif
