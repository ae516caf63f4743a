/* The executor: order, lazy inputs, lists, blockers, nodes inside of nodes, cache, stop. The flows are those of ComfyUI's own tests of its
 * executor (tests/execution/test_execution.py), smaller. */
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "flow/run_flow.h"
#include "test.h"

#define STUB(id, content) "'" id "': {'class_type': 'StubImage', 'inputs': {'content': '" content "', 'height': 16, 'width': 16, 'batch_size': 1}}"
#define MASK(id, value) "'" id "': {'class_type': 'StubMask', 'inputs': {'value': " value ", 'height': 16, 'width': 16, 'batch_size': 1}}"
#define MIX(id, a, b, m) "'" id "': {'class_type': 'TestLazyMixImages', 'inputs': {'image1': ['" a "', 0], 'image2': ['" b "', 0], 'mask': ['" m "', 0]}}"
#define SAVE(id, from) "'" id "': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': 'run', 'images': ['" from "', 0]}}"
#define SHOW(id, from) "'" id "': {'class_type': 'PreviewImage', 'inputs': {'images': ['" from "', 0]}}"

static struct flow_engine *engine(enum flow_cache how)
{
    struct err e = { 0 };
    struct flow_engine *made = flow_engine_new(&(struct flow_engine_options){ .cache = how, .cache_results = 100 }, &e);
    REQUIRE(made != NULL);
    return made;
}

/* All bytes of the picture are this. */
static void check_grey(const struct flow_seen *s, const char *id, size_t i, int wanted)
{
    struct image image = written(s, id, i);
    for (size_t k = 0; k < image_bytes(&image); k++)
        CHECK(image.pixels[k] == wanted, "node %s, picture %zu, byte %zu: %d, wanted %d", id, i, k, image.pixels[k], wanted);
    image_release(&image);
}

TEST(a_lazy_input_that_is_not_needed_is_not_run)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") "," MASK("3", "0.0") "," MIX("4", "1", "2", "3") "," SAVE("9", "4") "}", NULL);
    CHECK(did_run(&s, "1") && !did_run(&s, "2") && did_run(&s, "4"), "%s", s.messages);
    check_grey(&s, "9", 0, 0);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(messages_come_in_their_order)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    const char *flow = "{" STUB("1", "BLACK") "," SAVE("9", "1") "}";
    struct flow_seen first = run_flow(own, flow, NULL), second = run_flow(own, flow, NULL);
    CHECK(!strcmp(first.messages, "execution_start, execution_cached, executing 1, executing 9, executed 9"), "%s", first.messages);
    CHECK(!strcmp(second.messages, "execution_start, execution_cached, executed 9"), "%s", second.messages);
    CHECK(!strcmp(second.cached, " 1  9 "), "%s", second.cached);
    CHECK(!strcmp(second.result.last_type, "execution_success") && json_integer_value(json_object_get(second.result.last_data, "timestamp")) > 0,
          "%s", second.result.last_type);
    CHECK(json_array_size(second.result.messages) == 3, "%zu messages are kept", json_array_size(second.result.messages));
    CHECK(written_count(&second, "9") == 1, "a cached output node shows its pictures");
    const json_t *meta = json_object_get(first.result.meta, "9");
    CHECK(json_is_null(json_object_get(meta, "parent_node")) && !strcmp(json_string_value(json_object_get(meta, "display_node")), "9"), "meta");
    seen_release(&first);
    seen_release(&second);
    flow_engine_free(own);
}

TEST(only_what_changed_and_what_follows_is_run_again)
{
    static const char before[] = "{" STUB("1", "BLACK") "," STUB("2", "NOISE") "," MASK("3", "0.5") "," MIX("4", "1", "2", "3") "," SAVE("9", "4") "}";
    static const char behind[] = "{" STUB("a", "BLACK") "," STUB("b", "NOISE") "," MASK("c", "0.4") "," MIX("d", "a", "b", "c") "," SAVE("z", "d") "}";
    static const enum flow_cache hows[] = { FLOW_CACHE_CLASSIC, FLOW_CACHE_RECENT, FLOW_CACHE_NONE };
    for (size_t i = 0; i < 3; i++) {
        struct flow_engine *own = engine(hows[i]);
        bool keeps = hows[i] != FLOW_CACHE_NONE;
        struct flow_seen first = run_flow(own, before, NULL), second = run_flow(own, behind, NULL), third = run_flow(own, before, NULL);
        CHECK(did_run(&second, "a") == !keeps && did_run(&second, "b") == !keeps && did_run(&second, "c") && did_run(&second, "z"), "%zu: %s", i,
              second.messages);
        CHECK(did_run(&third, "3") == (hows[i] != FLOW_CACHE_RECENT), "%zu: what the last flow did not use is forgotten: %s", i, third.messages);
        seen_release(&first);
        seen_release(&second);
        seen_release(&third);
        flow_engine_free(own);
    }
}

TEST(a_change_token_decides_and_always_means_always)
{
#define CHANGES(value) "{" STUB("1", "BLACK") ", '2': {'class_type': 'TestCustomIsChanged', 'inputs': {'image': ['1', 0], 'should_change': " value "}}," SAVE("9", "2") "}"
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    static const char *const flows[] = { CHANGES("false"), CHANGES("false"), CHANGES("true"), CHANGES("true") };
    for (size_t i = 0; i < 4; i++) {
        struct flow_seen s = run_flow(own, flows[i], NULL);
        CHECK(did_run(&s, "2") == (i != 1) && did_run(&s, "9") == (i != 1), "run %zu: %s", i, s.messages);
        seen_release(&s);
    }
    flow_engine_free(own);
}

TEST(a_failure_is_told_with_the_node_and_what_was_done_stays)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    static const char flow[] = "{" STUB("1", "BLACK") ", '2': {'class_type': 'StubImage', 'inputs': {'content': 'WHITE', 'height': 8, 'width': 8, "
                               "'batch_size': 1}}," MASK("3", "0.5") "," MIX("4", "1", "2", "3") "," SAVE("9", "4") "}";
    struct flow_seen s = run_flow_with(own, flow, NULL, (struct flow_run_options){ .prompt_id = "p" });
    const json_t *d = s.result.last_data;
    CHECK(s.result.end == FLOW_ERROR && !strcmp(s.result.last_type, "execution_error"), "%s", s.messages);
    CHECK(!strcmp(json_string_value(json_object_get(d, "node_id")), "4") && !strcmp(json_string_value(json_object_get(d, "prompt_id")), "p") &&
              strstr(json_string_value(json_object_get(d, "exception_message")), "16x16 and 8x8") &&
              !strcmp(json_string_value(json_object_get(d, "node_type")), "TestLazyMixImages") &&
              json_array_size(json_object_get(d, "executed")) == 3 &&
              !strcmp(json_string_value(json_array_get(json_object_get(json_object_get(d, "current_inputs"), "mask"), 0)), "MASK"),
          "%s", json_dumps(d, 0));
    CHECK(json_object_size(s.result.outputs) == 0, "nothing was shown");
    seen_release(&s);
    s = run_flow_with(own, flow, NULL, (struct flow_run_options){ 0 });
    CHECK(!did_run(&s, "1") && !did_run(&s, "3"), "results of nodes that finished stay: %s", s.messages);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(undeclared_inputs_are_links_or_nothing)
{
    struct flow_engine *own = engine(FLOW_CACHE_NONE);
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '4': {'class_type': 'TestVariadicAverage', 'inputs': {'input1': "
                                       "['1', 0], 'input2': ['2', 0], 'input3': ['1', 0], 'input4': ['1', 0], 'input5': 3}}," SAVE("9", "4") "}", NULL);
    check_grey(&s, "9", 0, 255 / 4);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(a_loop_goes_round_as_often_as_it_shall)
{
    static const enum flow_cache hows[] = { FLOW_CACHE_CLASSIC, FLOW_CACHE_NONE };
    for (size_t h = 0; h < 2; h++) {
        struct flow_engine *own = engine(hows[h]);
        for (int rounds = 1; rounds < 5; rounds++) {
            char flow[2000];
            snprintf(flow, sizeof flow,
                     "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '3': {'class_type': 'TestForLoopOpen', 'inputs': {'remaining': %d, "
                     "'initial_value1': ['2', 0]}}, '4': {'class_type': 'TestVariadicAverage', 'inputs': {'input1': ['1', 0], 'input2': ['3', 2]}}, "
                     "'5': {'class_type': 'TestForLoopClose', 'inputs': {'flow_control': ['3', 0], 'initial_value1': ['4', 0]}}," SAVE("9", "5") "}", rounds);
            struct flow_seen s = run_flow(own, flow, NULL);
            check_grey(&s, "9", 0, 255 / (1 << rounds));
            seen_release(&s);
        }
        flow_engine_free(own);
    }
}

TEST(calls_of_a_list_may_give_results_or_nodes)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    struct flow_seen s = run_flow(own, "{'1': {'class_type': 'TestMakeListNode', 'inputs': {'value1': 0.1, 'value2': 0.2, 'value3': 0.3}}, '2': {'class_type': "
                                       "'TestMixedExpansionReturns', 'inputs': {'input1': ['1', 0]}}," SAVE("8", "2") ", '9': {'class_type': 'SaveImage', 'inputs': "
                                       "{'filename_prefix': 'white', 'images': ['2', 1]}}}", NULL);
    static const int wanted[] = { 25, 51, 76 };
    CHECK(written_count(&s, "8") == 3 && written_count(&s, "9") == 3, "%zu and %zu pictures", written_count(&s, "8"), written_count(&s, "9"));
    for (size_t i = 0; i < 3; i++) {
        check_grey(&s, "8", i, wanted[i]);
        check_grey(&s, "9", i, 255);
    }
    seen_release(&s);
    flow_engine_free(own);
}

TEST(lazy_inputs_of_a_list_are_asked_for_together)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    struct flow_seen s = run_flow(own, "{'0': {'class_type': 'TestMakeListNode', 'inputs': {'value1': 0.0, 'value2': 0.5, 'value3': 1.0}}," MASK("3", "['0', 0]") ","
                                       STUB("1", "BLACK") "," STUB("2", "WHITE") "," MIX("4", "1", "2", "3") ", '5': {'class_type': 'RebatchImages', 'inputs': "
                                       "{'images': ['4', 0], 'batch_size': 3}}," SAVE("9", "5") "}", NULL);
    static const int wanted[] = { 0, 127, 255 };
    for (size_t i = 0; i < 3; i++)
        check_grey(&s, "9", i, wanted[i]);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(a_blocker_leaves_out_one_of_a_list_and_speaks_if_it_has_words)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    for (int speaks = 0; speaks < 2; speaks++) {
        char flow[2000];
        snprintf(flow, sizeof flow,
                 "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '3': {'class_type': 'TestMakeListNode', 'inputs': {'value1': ['1', 0], 'value2': ['2', 0], "
                 "'value3': ['1', 0]}}, '4': {'class_type': 'TestMakeListNode', 'inputs': {'value1': 1, 'value2': 2, 'value3': 3}}, '5': {'class_type': "
                 "'TestIntConditions', 'inputs': {'a': ['4', 0], 'b': 2, 'operation': '=='}}, '6': {'class_type': 'TestExecutionBlocker', 'inputs': {'input': "
                 "['3', 0], 'block': ['5', 0], 'verbose': %s}}, '7': {'class_type': 'TestMakeListNode', 'inputs': {'value1': ['6', 0]}}," SHOW("9", "7") "}",
                 speaks ? "true" : "false");
        struct flow_seen s = run_flow(own, flow, NULL);
        CHECK(did_run(&s, "9") && written_count(&s, "9") == 2, "%zu pictures", written_count(&s, "9"));
        check_grey(&s, "9", 0, 0);
        check_grey(&s, "9", 1, 0);
        CHECK((strstr(s.messages, "execution_error") != NULL) == speaks, "%s", s.messages);
        seen_release(&s);
    }
    flow_engine_free(own);
}

TEST(a_circle_that_appears_while_running_is_an_error_of_its_node)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    struct flow_seen s = run_flow_with(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '4': {'class_type': 'TestDynamicDependencyCycle', 'inputs': {'input1': "
                                            "['1', 0], 'input2': ['2', 0]}}," SAVE("9", "4") "}", NULL, (struct flow_run_options){ 0 });
    CHECK(s.result.end == FLOW_ERROR && !strcmp(json_string_value(json_object_get(s.result.last_data, "node_id")), "4"), "%s",
          json_dumps(s.result.last_data, 0));
    seen_release(&s);
    flow_engine_free(own);
}

TEST(targets_run_with_what_they_need_and_nothing_else)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
#define OUTPUT(id, from) "'" id "': {'class_type': 'TestOutputNodeWithSocketOutput', 'inputs': {'image': ['" from "', 0], 'value': 1.5}}"
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") "," OUTPUT("3", "1") "," OUTPUT("4", "3") "," SAVE("7", "3") "," SAVE("8", "4") ","
                                       SAVE("9", "2") "}", "['8']");
    CHECK(did_run(&s, "1") && did_run(&s, "3") && did_run(&s, "4") && did_run(&s, "8"), "%s", s.messages);
    CHECK(!did_run(&s, "2") && !did_run(&s, "7") && !did_run(&s, "9"), "%s", s.messages);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(nodes_that_wait_wait_together)
{
#define SLEEP(id) "'" id "': {'class_type': 'TestSleep', 'inputs': {'value': ['1', 0], 'seconds': 0.6}}"
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    double begun = clock_seconds();
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," SLEEP("2") "," SLEEP("3") "," SLEEP("4") "," SHOW("7", "2") "," SHOW("8", "3") "," SHOW("9", "4") "}", NULL);
    double took = clock_seconds() - begun;
    CHECK(took >= 0.6 && took < 1.7, "%g s", took);
    CHECK(did_run(&s, "2") && did_run(&s, "3") && did_run(&s, "4"), "%s", s.messages);
    seen_release(&s);
    s = run_flow(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '9': {'class_type': 'TestParallelSleep', 'inputs': {'image1': ['1', 0], 'image2': ['2', 0], "
                      "'image3': ['2', 0], 'sleep1': 0.1, 'sleep2': 0.1, 'sleep3': 0.1}}," SAVE("8", "9") "}", NULL);
    check_grey(&s, "8", 0, 170);
    seen_release(&s);
    flow_engine_free(own);
}

TEST(nodes_that_wait_fail_expand_and_are_asked_as_others_are)
{
    static const struct { const char *node; enum flow_end end; } cases[] = {
        { "'2': {'class_type': 'TestAsyncError', 'inputs': {'value': ['1', 0], 'error_after': 0.1}}", FLOW_ERROR },
        { "'2': {'class_type': 'TestSyncError', 'inputs': {'value': ['1', 0]}}", FLOW_ERROR },
        { "'2': {'class_type': 'TestAsyncTimeout', 'inputs': {'value': ['1', 0], 'timeout': 0.1, 'operation_time': 0.2}}", FLOW_ERROR },
        { "'2': {'class_type': 'TestAsyncTimeout', 'inputs': {'value': ['1', 0], 'timeout': 0.2, 'operation_time': 0.1}}", FLOW_SUCCESS },
        { "'2': {'class_type': 'TestAsyncLazyCheck', 'inputs': {'input1': ['1', 0], 'input2': 'text', 'condition': false}}", FLOW_SUCCESS },
        { "'2': {'class_type': 'TestAsyncResourceUser', 'inputs': {'value': ['1', 0], 'resource_id': 'a', 'duration': 0.1}}", FLOW_SUCCESS },
        { "'2': {'class_type': 'TestAsyncProgressUpdate', 'inputs': {'value': ['1', 0], 'sleep_seconds': 0.1}}", FLOW_SUCCESS },
        { "'2': {'class_type': 'TestSyncProgressUpdate', 'inputs': {'value': ['1', 0], 'sleep_seconds': 0.1}}", FLOW_SUCCESS },
    };
    struct flow_engine *own = engine(FLOW_CACHE_NONE);
    char text[600];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{%s, %s, %s}", STUB("1", "BLACK"), cases[i].node, SHOW("9", "2"));
        struct flow_seen s = run_flow_with(own, text, NULL, (struct flow_run_options){ 0 });
        CHECK(s.result.end == cases[i].end, "case %zu: %s", i, s.result.last_type);
        if (cases[i].end == FLOW_ERROR)
            CHECK(!strcmp(json_string_value(json_object_get(s.result.last_data, "node_id")), "2"), "case %zu: which node", i);
        if (strstr(cases[i].node, "LazyCheck"))
            CHECK(!did_run(&s, "1"), "%s", s.messages);
        seen_release(&s);
    }
    double begun = clock_seconds();
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," STUB("2", "WHITE") ", '3': {'class_type': 'TestDynamicAsyncGeneration', 'inputs': "
                                       "{'image1': ['1', 0], 'image2': ['2', 0], 'num_async_nodes': 5, 'sleep_duration': 0.4}}," SAVE("9", "3") "}", NULL);
    CHECK(clock_seconds() - begun < 1.6, "five wait together"); /* 2 s one after another */
    check_grey(&s, "9", 0, 102); /* two of five are white */
    seen_release(&s);
    flow_engine_free(own);
    char *why = check_text("{'2': {'class_type': 'TestAsyncValidation', 'inputs': {'value': 5.0, 'threshold': 3.0}}," SHOW("9", "2") "}", NULL);
    CHECK(strstr(why, "custom_validation_failed") != NULL, "%s", why);
    mem_free(why);
}

/* Sets the flag in a while, and says when. */
struct canceller {
    atomic_bool flag;
    double at;
};

static void *cancel_soon(void *self)
{
    struct canceller *c = self;
    usleep(100000);
    c->at = clock_seconds();
    atomic_store(&c->flag, true);
    return NULL;
}

/* Seconds from the cancel to the end of the run. */
static double cancelled_run(struct flow_engine *own)
{
    struct canceller c = { 0 };
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, cancel_soon, &c), "a thread");
    struct flow_seen s = run_flow_with(own, "{" STUB("1", "BLACK") ", '2': {'class_type': 'TestSleep', 'inputs': {'value': ['1', 0], 'seconds': 60}}," SHOW("9", "2") "}", NULL,
                                       (struct flow_run_options){ .cancel = &c.flag });
    double end = clock_seconds();
    pthread_join(thread, NULL);
    CHECK(s.result.end == FLOW_INTERRUPTED && !strcmp(s.result.last_type, "execution_interrupted"), "%s", s.result.last_type);
    CHECK(!strcmp(json_string_value(json_object_get(s.result.last_data, "node_id")), "2"), "%s", json_dumps(s.result.last_data, 0));
    seen_release(&s);
    return end - c.at;
}

TEST(a_cancel_ends_a_run_at_once_and_the_next_goes_on)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    double best = INFINITY; /* of three: the machine may be busy */
    for (int i = 0; i < 3 && best > 0.2; i++)
        best = fmin(best, cancelled_run(own));
    CHECK(best <= 0.2, "%g s after the cancel", best);
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," SHOW("9", "1") "}", NULL);
    CHECK(written_count(&s, "9") == 1, "the next run");
    seen_release(&s);
    flow_engine_free(own);
}

TEST(two_equal_output_nodes_both_leave_a_picture)
{
    struct flow_engine *own = engine(FLOW_CACHE_CLASSIC);
    struct flow_seen s = run_flow(own, "{" STUB("1", "BLACK") "," SAVE("8", "1") "," SAVE("9", "1") "}", NULL);
    CHECK(written_count(&s, "8") == 1 && written_count(&s, "9") == 1, "%zu and %zu", written_count(&s, "8"), written_count(&s, "9"));
    seen_release(&s);
    flow_engine_free(own);
}
