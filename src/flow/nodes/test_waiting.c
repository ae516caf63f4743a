/* Nodes for tests that take time: ComfyUI's asynchronous ones. They do not wait but ask to be called again (node_again), so that others
 * run meanwhile; TestSyncProgressUpdate alone keeps the thread. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "flow/nodes/test_nodes.h"

static const struct node_output any_output[] = { NODE_OUT("*"), { 0 } };

struct sleep_args {
    const struct datum *value;
    double seconds;
};
struct sleeps_args {
    const struct datum *image[3];
    double sleep[3];
};
static const struct node_input sleep_inputs[] = {
    NODE_SOCKET("value", "*", struct sleep_args, value),
    { "seconds", "FLOAT", AT(sleep_args, seconds), "1.0", .min = 0, .max = 9999, .step = 0.01, .help = "how long" },
    { 0 },
};
#define SLEEP(n) { "sleep" #n, "FLOAT", AT(sleeps_args, sleep[n - 1]), "0.5", .min = 0, .max = 10, .step = 0.01 }
static const struct node_input sleeps_inputs[] = {
    NODE_SOCKET("image1", "IMAGE", struct sleeps_args, image[0]),
    NODE_SOCKET("image2", "IMAGE", struct sleeps_args, image[1]),
    NODE_SOCKET("image3", "IMAGE", struct sleeps_args, image[2]),
    SLEEP(1), SLEEP(2), SLEEP(3),
    { 0 },
};

static bool sleep_run(struct node_call *call, const void *args, struct err *e)
{
    enum { STEPS = 100 };
    const struct sleep_args *a = args;
    double waited = call_waited(call), left = a->seconds - waited;
    if (left <= 0)
        return node_progress(call, STEPS, STEPS, NULL, e) && give_same(call, 0, a->value, e);
    node_again(call, left < 0.1 ? left : 0.1);
    return node_progress(call, (int64_t)(STEPS * waited / a->seconds), STEPS, NULL, e);
}

static bool sleeps_run(struct node_call *call, const void *args, struct err *e)
{
    const struct sleeps_args *a = args;
    char ids[4][NODE_ID_BYTES], name[16];
    bool good = true;
    node_new_id(call, "blend", ids[3], sizeof ids[3]);
    for (int i = 0; good && i < 3; i++) {
        snprintf(name, sizeof name, "sleep%d", i);
        node_new_id(call, name, ids[i], sizeof ids[i]);
        good = node_expand(call, ids[i], "TestSleep", NULL, e) &&
               node_expand_datum(call, ids[i], "value", datum_keep((struct datum *)(uintptr_t)a->image[i]), e) &&
               node_expand_json(call, ids[i], "seconds", json_real(a->sleep[i]), e);
    }
    good = good && node_expand(call, ids[3], "TestVariadicAverage", NULL, e);
    for (int i = 0; good && i < 3; i++) {
        snprintf(name, sizeof name, "input%d", i + 1);
        good = node_expand_link(call, ids[3], name, ids[i], 0, e);
    }
    return good && node_give_link(call, 0, ids[3], 0, e);
}


/* True once so many seconds have passed since the first call; before, the node is called again. */
static bool has_waited(struct node_call *call, double seconds)
{
    double left = seconds - call_waited(call);
    if (left > 0)
        node_again(call, left);
    return left <= 0;
}

/* --- failures --- */

struct failing_args {
    const struct datum *value;
    double after, timeout, takes;
};
static const struct node_input error_inputs[] = {
    NODE_SOCKET("value", "*", struct failing_args, value),
    { "error_after", "FLOAT", AT(failing_args, after), "0.1", .min = 0, .max = 10 },
    { 0 },
};
static const struct node_input timeout_inputs[] = {
    NODE_SOCKET("value", "*", struct failing_args, value),
    { "timeout", "FLOAT", AT(failing_args, timeout), "1.0", .min = 0.1, .max = 10 },
    { "operation_time", "FLOAT", AT(failing_args, takes), "2.0", .min = 0.1, .max = 10 },
    { 0 },
};
static const struct node_input broken_inputs[] = { NODE_SOCKET("value", "*", struct failing_args, value), { 0 } };

static bool error_run(struct node_call *call, const void *args, struct err *e)
{
    return !has_waited(call, ((const struct failing_args *)args)->after) || err_set(e, ERR_ARG, "this node fails after a while, for a test");
}

static bool timeout_run(struct node_call *call, const void *args, struct err *e)
{
    const struct failing_args *a = args;
    if (!has_waited(call, a->timeout < a->takes ? a->timeout : a->takes))
        return true;
    return a->timeout < a->takes ? err_set(e, ERR_ARG, "timeout: not done after %g s", a->timeout) : give_same(call, 0, a->value, e);
}

static bool broken_run(struct node_call *call, const void *args, struct err *e)
{
    return err_set(e, ERR_ARG, "this node fails at once, for a test");
}

/* --- checks, lazy inputs --- */

struct limit_args {
    double value, most;
};
static const struct node_input threshold_inputs[] = {
    { "value", "FLOAT", AT(limit_args, value), .initial = "5.0" },
    { "threshold", "FLOAT", AT(limit_args, most), .initial = "10.0" },
    { 0 },
};
static const struct node_input most_inputs[] = {
    { "value", "FLOAT", AT(limit_args, value), .initial = "5.0" },
    { "max_value", "FLOAT", AT(limit_args, most), .initial = "10.0" },
    { 0 },
};

static bool limit_check(const struct node_check *check, const void *args, char why[400])
{
    const struct limit_args *a = args;
    if (a->value > a->most)
        snprintf(why, 400, "%g is more than %g", a->value, a->most);
    return a->value <= a->most;
}

static bool tenths_run(struct node_call *call, const void *args, struct err *e)
{
    return give_image(call, 0, constant(1, 512, 512, (float)(((const struct limit_args *)args)->value / 10), e), e);
}

static bool part_run(struct node_call *call, const void *args, struct err *e)
{
    const struct limit_args *a = args;
    return give_image(call, 0, constant(1, 512, 512, (float)(a->value / a->most), e), e);
}

struct choice_args {
    const struct datum *input1, *input2;
    bool condition;
};
static const struct node_input choice_inputs[] = {
    { "input1", "*", AT(choice_args, input1), .flags = NODE_LAZY },
    { "input2", "*", AT(choice_args, input2), .flags = NODE_LAZY },
    { "condition", "BOOLEAN", AT(choice_args, condition), .initial = "true" },
    { 0 },
};

static bool choice_lazy(struct node_call *call, const void *args, struct err *e)
{
    return node_need(call, ((const struct choice_args *)args)->condition ? "input1" : "input2", e);
}

static bool white_run(struct node_call *call, const void *args, struct err *e)
{
    return give_image(call, 0, constant(1, 512, 512, 1, e), e);
}

/* --- many at a time --- */

struct many_args {
    const struct datum *image[2];
    int64_t count;
    double seconds;
};
static const struct node_input many_inputs[] = {
    NODE_SOCKET("image1", "IMAGE", struct many_args, image[0]),
    NODE_SOCKET("image2", "IMAGE", struct many_args, image[1]),
    { "num_async_nodes", "INT", AT(many_args, count), "3", .min = 1, .max = 10 },
    { "sleep_duration", "FLOAT", AT(many_args, seconds), "0.2", .min = 0.1, .max = 1 },
    { 0 },
};

static bool many_run(struct node_call *call, const void *args, struct err *e)
{
    const struct many_args *a = args;
    char average[NODE_ID_BYTES], id[NODE_ID_BYTES], name[24];
    node_new_id(call, "average", average, sizeof average);
    bool good = node_expand(call, average, "TestVariadicAverage", NULL, e);
    for (int i = 0; good && i < a->count; i++) {
        snprintf(name, sizeof name, "sleep%d", i);
        node_new_id(call, name, id, sizeof id);
        snprintf(name, sizeof name, "input%d", i + 1);
        good = node_expand(call, id, "TestSleep", NULL, e) &&
               node_expand_datum(call, id, "value", datum_keep((struct datum *)(uintptr_t)a->image[i % 2]), e) &&
               node_expand_json(call, id, "seconds", json_real(a->seconds), e) && node_expand_link(call, average, name, id, 0, e);
    }
    return good && node_give_link(call, 0, average, 0, e);
}

struct use_args {
    const struct datum *value;
    const char *resource;
    double seconds;
};
static const struct node_input use_inputs[] = {
    NODE_SOCKET("value", "*", struct use_args, value),
    { "resource_id", "STRING", AT(use_args, resource), .initial = "resource_0" },
    { "duration", "FLOAT", AT(use_args, seconds), "0.1", .min = 0, .max = 1 },
    { 0 },
};
static const struct node_input progress_inputs[] = {
    NODE_SOCKET("value", "*", struct use_args, value),
    { "sleep_seconds", "FLOAT", AT(use_args, seconds), .initial = "1.0" },
    { 0 },
};

static bool use_run(struct node_call *call, const void *args, struct err *e)
{
    const struct use_args *a = args;
    return !has_waited(call, a->seconds) || give_same(call, 0, a->value, e);
}

enum { PERCENT = 100, STEP_MS = 10 };

static bool tell_part(struct node_call *call, double seconds, struct err *e)
{
    double part = seconds > 0 ? call_waited(call) / seconds : 1;
    return node_progress(call, (int64_t)(PERCENT * fmin(part, 1)), PERCENT, NULL, e);
}

static bool progress_run(struct node_call *call, const void *args, struct err *e)
{
    const struct use_args *a = args;
    if (!tell_part(call, a->seconds, e))
        return false;
    if (call_waited(call) >= a->seconds)
        return give_same(call, 0, a->value, e);
    node_again(call, 1e-3 * STEP_MS);
    return true;
}

static bool busy_run(struct node_call *call, const void *args, struct err *e)
{
    const struct use_args *a = args;
    for (double begun = clock_seconds(); clock_seconds() - begun < a->seconds; usleep(1000 * STEP_MS))
        if (!tell_part(call, a->seconds, e))
            return false;
    return tell_part(call, 0, e) && give_same(call, 0, a->value, e);
}

const struct node nodes_test_waiting[] = {
    TEST_NODE("TestSleep", "Test Sleep", "_for_testing", sleep_inputs, any_output, sleep_args, NODE_SEES_ID, sleep_run),
    TEST_NODE("TestParallelSleep", "Test Parallel Sleep", "_for_testing", sleeps_inputs, image_output, sleeps_args, NODE_OUTPUT | NODE_SEES_ID,
              sleeps_run),
    TEST_NODE("TestAsyncValidation", "Test Async Validation", "experimental/async", threshold_inputs, image_output, limit_args, 0, tenths_run,
              .check = limit_check, .checks = "value, threshold"),
    TEST_NODE("TestAsyncError", "Test Async Error", "experimental/async", error_inputs, any_output, failing_args, 0, error_run),
    TEST_NODE("TestAsyncValidationError", "Test Async Validation Error", "experimental/async", most_inputs, image_output, limit_args, 0, part_run,
              .check = limit_check, .checks = "value, max_value"),
    TEST_NODE("TestAsyncTimeout", "Test Async Timeout", "experimental/async", timeout_inputs, any_output, failing_args, 0, timeout_run),
    TEST_NODE("TestSyncError", "Test Sync Error", "experimental/async", broken_inputs, any_output, failing_args, 0, broken_run),
    TEST_NODE("TestAsyncLazyCheck", "Test Async Lazy Check", "experimental/async", choice_inputs, image_output, choice_args, 0, white_run,
              .lazy = choice_lazy),
    TEST_NODE("TestDynamicAsyncGeneration", "Test Dynamic Async Generation", "experimental/async", many_inputs, image_output, many_args, 0, many_run),
    TEST_NODE("TestAsyncResourceUser", "Test Async Resource User", "experimental/async", use_inputs, any_output, use_args, 0, use_run),
    TEST_NODE("TestAsyncProgressUpdate", "Async Progress Update Test Node", "experimental/async", progress_inputs, any_output, use_args, 0, progress_run),
    TEST_NODE("TestSyncProgressUpdate", "Sync Progress Update Test Node", "experimental/async", progress_inputs, any_output, use_args, 0, busy_run),
    { 0 },
};
