/* What flow_check finds, in ComfyUI's words. */
#include <pthread.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "flow/node_page.h"
#include "flow/object_info.h"
#include "flow/run_flow.h"
#include "test.h"

#define SAVE(from) "'9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': 'x', 'images': ['" from "', 0]}}"
#define STUB(id) "'" id "': {'class_type': 'StubImage', 'inputs': {'content': 'BLACK', 'height': 8, 'width': 8, 'batch_size': 1}}"

TEST(every_mistake_has_its_type_and_its_words)
{
    static const struct { const char *flow, *targets, *wanted; } cases[] = {
        { "{}", NULL, "prompt_no_outputs: \n" },
        { "[1]", NULL, "no_prompt: No prompt provided\n" },
        { "{'1': {'inputs': {}}}", NULL, "invalid_prompt: Node ID '#1'\n" },
        { "{'1': {'class_type': 'Nonsense', 'inputs': {}}}", NULL, "missing_node_type: Node ID '#1'\n" },
        { "{" STUB("1") "}", NULL, "prompt_no_outputs: \n" },
        { "{" STUB("1") ", " SAVE("1") "}", "[]", "prompt_no_outputs: \n" },
        { "{" STUB("1") ", " SAVE("1") "}", "['7']", "prompt_no_outputs: \n" },
        { "{" STUB("1") ", " SAVE("1") "}", "['9']", "" },
        { "{'9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': 'x'}}}", NULL,
          "prompt_outputs_failed_validation: Required input is missing: images\n9 required_input_missing: images\n" },
        { "{'9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': 'x', 'images': ['1', 0, 2]}}}", NULL,
          "prompt_outputs_failed_validation: Bad linked input, must be a length-2 list of [node_id, slot_index]: images\n"
          "9 bad_linked_input: images\n" },
        { "{'1': {'class_type': 'StubInt', 'inputs': {'value': 3}}, " SAVE("1") "}", NULL,
          "prompt_outputs_failed_validation: Return type mismatch between linked nodes: images, received_type(INT) mismatch input_type(IMAGE)\n"
          "9 return_type_mismatch: images, received_type(INT) mismatch input_type(IMAGE)\n" },
        { "{'1': {'class_type': 'StubImage', 'inputs': {'content': 'RED', 'height': 0, 'width': 'wide', 'batch_size': 2000000000}}, " SAVE("1") "}",
          NULL,
          "prompt_outputs_failed_validation: \n"
          "1 value_not_in_list: content: 'RED' not in ['WHITE', 'BLACK', 'NOISE']\n"
          "1 value_smaller_than_min: height\n"
          "1 invalid_input_type: width, wide, invalid literal for int() with base 10: 'wide'\n"
          "1 value_bigger_than_max: batch_size\n" },
        { "{" SAVE("1") "}", NULL,
          "prompt_outputs_failed_validation: Exception when validating node: '1': input images is linked to a node that is not there\n"
          "9 exception_during_validation: '1': input images is linked to a node that is not there\n" },
        { "{'2': {'class_type': 'ImageInvert', 'inputs': {'image': ['1', 0]}}, " SAVE("2") "}", NULL,
          "prompt_outputs_failed_validation: \n"
          "2 exception_during_inner_validation: '1': input image is linked to a node that is not there\n" },
        { "{" STUB("1") ", '2': {'class_type': 'ImageInvert', 'inputs': {'image': ['1', 4]}}, " SAVE("2") "}", NULL,
          "prompt_outputs_failed_validation: \n"
          "2 exception_during_inner_validation: input image is linked to output 4 of node 1 (StubImage), which has 1\n" },
        { "{'2': {'class_type': 'ImageInvert', 'inputs': {'image': ['3', 0]}}, '3': {'class_type': 'ImageInvert', 'inputs': {'image': ['2', 0]}}, "
          SAVE("2") "}", NULL,
          "prompt_outputs_failed_validation: \n"
          "2 dependency_cycle: 2 (ImageInvert) -> 3 (ImageInvert) -> 2 (ImageInvert)\n"
          "3 dependency_cycle: 2 (ImageInvert) -> 3 (ImageInvert) -> 2 (ImageInvert)\n" },
        { "{'1': {'class_type': 'TestCustomValidation5', 'inputs': {'input1': 0.5, 'input2': 7.0}}, " SAVE("1") "}", NULL,
          "prompt_outputs_failed_validation: \n"
          "1 custom_validation_failed: input1 - 7s are not allowed. I've never liked 7s.\n"
          "1 custom_validation_failed: input2 - 7s are not allowed. I've never liked 7s.\n" },
        /* the node's own check stands in place of the range */
        { "{'1': {'class_type': 'TestCustomValidation5', 'inputs': {'input1': 0.5, 'input2': 5.0}}, " SAVE("1") "}", NULL, "" },
        { "{'1': {'class_type': 'LoadImage', 'inputs': {'image': '../secret.png'}}, " SAVE("1") "}", NULL,
          "prompt_outputs_failed_validation: \n1 custom_validation_failed: image - Invalid image file: ../secret.png\n" },
        /* one output is bad, the other runs */
        { "{" STUB("1") ", " SAVE("1") ", '8': {'class_type': 'PreviewImage', 'inputs': {'images': ['7', 0]}}}", NULL,
          "8 exception_during_validation: '7': input images is linked to a node that is not there\n" },
        /* what nobody needs may be wrong */
        { "{" STUB("1") ", " SAVE("1") ", '8': {'class_type': 'ImageInvert', 'inputs': {}}}", NULL, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *said = check_text(cases[i].flow, cases[i].targets);
        CHECK(!strcmp(said, cases[i].wanted), "case %zu: came\n%swanted\n%s", i, said, cases[i].wanted);
        mem_free(said);
    }
}

TEST(constants_become_what_the_node_wants)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    struct flow_checked checked;
    json_t *flow = parse("{'1': {'class_type': 'StubImage', 'inputs': {'content': 'BLACK', 'height': '8', 'width': 8.7, 'batch_size': true}},"
                         "'2': {'class_type': 'StubMask', 'inputs': {'value': 1, 'height': 8, 'width': 8, 'batch_size': 1}},"
                         "'3': {'class_type': 'TestLazyMixImages', 'inputs': {'image1': ['1', 0], 'image2': ['1', 0], 'mask': ['2', 0]}},"
                         "'9': {'class_type': 'SaveImage', 'inputs': {'filename_prefix': 12, 'images': ['3', 0], 'unknown': {'a': 1}}}}");
    REQUIRE(flow_check(&checked, flow, NULL, &host, &e));
    CHECK(!checked.error && json_array_size(checked.outputs) == 1, "it is refused");
    struct text text;
    text_init(&text, 1 << 16);
    flow_json_text(&text, flow);
    CHECK(strstr(text_string(&text), "\"height\":8,\"width\":8,\"batch_size\":1") && strstr(text_string(&text), "\"value\":1.0") &&
              strstr(text_string(&text), "\"filename_prefix\":\"12\""), "%s", text_string(&text));
    text_release(&text);
    flow_checked_release(&checked);
    json_decref(flow);
}

TEST(seeds_go_up_to_the_last_one)
{
    struct err e = { 0 };
    static const char *const cases[] = { "[18446744073709551615]", "[9223372036854775807,9223372036854775808]", "[-1,\"18446744073709551615\"]",
                                         "[1.5,{\"a 18446744073709551615 \\\" 18446744073709551615\":0}]" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = flow_json_parse(cases[i], strlen(cases[i]), "a case", &e);
        struct text text;
        REQUIRE(j != NULL);
        text_init(&text, 1000);
        flow_json_text(&text, j);
        CHECK(!strcmp(text_string(&text), cases[i]), "%s became %s", cases[i], text_string(&text));
        text_release(&text);
        json_decref(j);
    }
    char *said = check_text("{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': 'tiny-sd1'}},"
                            "'2': {'class_type': 'EmptyLatentImage', 'inputs': {'width': 64, 'height': 64, 'batch_size': 1}},"
                            "'3': {'class_type': 'CLIPTextEncode', 'inputs': {'text': '', 'clip': ['1', 1]}},"
                            "'4': {'class_type': 'KSampler', 'inputs': {'model': ['1', 0], 'seed': 18446744073709551615, 'steps': 2, 'cfg': 1,"
                            "'sampler_name': 'euler', 'scheduler': 'normal', 'positive': ['3', 0], 'negative': ['3', 0], 'latent_image': ['2', 0],"
                            "'denoise': 1}}, '5': {'class_type': 'VAEDecode', 'inputs': {'samples': ['4', 0], 'vae': ['1', 2]}}, " SAVE("5") "}",
                            NULL);
    CHECK(!*said, "%s", said);
    mem_free(said);
}

/* In a thread with the stack that the server's have, and less. */
static void *check_chain(void *self)
{
    struct text flow;
    const char *last = self; /* what the first node of the chain is linked to */
    enum { NODES = 9990 };
    text_init(&flow, 1 << 22);
    text_addf(&flow, "{%s, 'n0': {'class_type': 'ImageInvert', 'inputs': {'image': ['%s', 0]}}", STUB("1"), last);
    for (int i = 1; i < NODES; i++)
        text_addf(&flow, ", 'n%d': {'class_type': 'ImageInvert', 'inputs': {'image': ['n%d', 0]}}", i, i - 1);
    text_addf(&flow, ", '9': {'class_type': 'PreviewImage', 'inputs': {'images': ['n%d', 0]}}}", NODES - 1);
    char *said = check_text(text_string(&flow), NULL);
    text_release(&flow);
    return said;
}

TEST(a_long_flow_needs_no_long_stack)
{
    static const struct { const char *first, *wanted; } cases[] = { { "1", NULL }, { "n9989", "dependency_cycle" }, { "7", "exception_during_inner_validation" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pthread_attr_t small;
        pthread_t thread;
        void *said = NULL;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, (size_t)256 << 10);
        assert_int_equal(pthread_create(&thread, &small, check_chain, (char *)(uintptr_t)cases[i].first), 0);
        pthread_join(thread, &said);
        pthread_attr_destroy(&small);
        CHECK(cases[i].wanted ? strstr(said, cases[i].wanted) != NULL : !*(char *)said, "case %zu: %.300s", i, (char *)said);
        mem_free(said);
    }
}

TEST(a_model_that_is_not_there_is_told_with_the_folders)
{
    static const struct { const char *name; bool good; } cases[] = { { "tiny-sd1", true }, { "nowhere/tiny-sd1", false }, { "tiny-none", false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char flow[500];
        snprintf(flow, sizeof flow,
                 "{'1': {'class_type': 'CheckpointLoaderSimple', 'inputs': {'ckpt_name': '%s'}}, '2': {'class_type': 'EmptyLatentImage', 'inputs':"
                 "{'width': 64, 'height': 64, 'batch_size': 1}}, '3': {'class_type': 'VAEDecode', 'inputs': {'samples': ['2', 0], 'vae': "
                 "['1', 2]}}, " SAVE("3") "}", cases[i].name);
        char *said = check_text(flow, NULL);
        CHECK(cases[i].good ? !*said : strstr(said, "; looked in ") != NULL, "case %zu: %s", i, said);
        mem_free(said);
    }
}

TEST(all_nodes_are_described_in_full)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    json_t *all = object_info(NULL, &host, &e), *j, *one;
    const char *class;
    REQUIRE(all != NULL);
    json_object_foreach(all, class, j) {
        const char *const texts[] = { "name", "display_name", "description", "category", "python_module" };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            CHECK(json_string_length(json_object_get(j, texts[i])), "%s has no %s", class, texts[i]);
        json_t *inputs = json_object_get(json_object_get(j, "input"), "required"), *input;
        const char *name;
        CHECK(json_is_boolean(json_object_get(j, "output_node")) && json_is_object(inputs), "%s", class);
        CHECK(json_array_size(json_object_get(j, "output")) == json_array_size(json_object_get(j, "output_is_list")), "%s", class);
        json_object_foreach(inputs, name, input)
            CHECK(json_is_array(input) && (json_is_string(json_array_get(input, 0)) || json_is_array(json_array_get(input, 0))), "%s.%s", class, name);
    }
    one = object_info("KSampler", &host, &e);
    REQUIRE(one != NULL);
    j = json_object_get(json_object_get(json_object_get(one, "KSampler"), "input"), "required");
    CHECK(!strcmp(json_string_value(json_array_get(json_array_get(json_object_get(j, "sampler_name"), 0), 0)), "euler"), "the first sampler");
    struct text text;
    text_init(&text, 1 << 16);
    flow_json_text(&text, json_object_get(j, "seed"));
    CHECK(strstr(text_string(&text), "[\"INT\",{\"default\":0,\"min\":0,\"max\":18446744073709551615,\"control_after_generate\":true"), "%s",
          text_string(&text));
    text_release(&text);
    json_decref(one);
    one = object_info("NoSuchNode", &host, &e);
    CHECK(one && json_object_size(one) == 0, "an unknown class");
    json_decref(one);
    json_decref(all);
}

TEST(the_page_of_nodes_is_fresh)
{
    struct err e = { 0 };
    struct text page;
    char *kept;
    size_t bytes;
    text_init(&page, 1 << 22);
    node_page(&page);
    REQUIRE(file_read(test_data("../../docs/nodes.md"), 1 << 22, &kept, &bytes, &e));
    CHECK(!strcmp(kept, text_string(&page)), "docs/nodes.md is not what the table says: make docs");
    mem_free(kept);
    text_release(&page);
}
