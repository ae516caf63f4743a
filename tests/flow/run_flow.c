#include "flow/run_flow.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "test.h"

static struct model_places places;

struct flow_host test_host(void)
{
    static char output[PATH_MAX_BYTES], input[PATH_MAX_BYTES], temp[PATH_MAX_BYTES], models[PATH_MAX_BYTES];
    struct err e = { 0 };
    if (!places.count) {
        snprintf(models, sizeof models, "%s", test_data("models"));
        snprintf(output, sizeof output, "%s", test_scratch("output"));
        snprintf(input, sizeof input, "%s", test_scratch("input"));
        snprintf(temp, sizeof temp, "%s", test_scratch("temp"));
        REQUIRE(model_places_add_own(&places, models, &e) && folder_make(input, &e));
    }
    return (struct flow_host){ .models = &places, .output = output, .input = input, .temp = temp, .version = "0", .test_nodes = true };
}

void test_add_place(const char *folder)
{
    struct err e = { 0 };
    test_host();
    REQUIRE(model_places_add_models(&places, folder, &e));
}

json_t *parse(const char *text)
{
    struct err e = { 0 };
    char *copy = mem_string(text);
    for (char *at = copy; *at; at++)
        *at = *at == '\'' ? '"' : *at;
    json_t *j = flow_json_parse(copy, strlen(copy), "the test's flow", &e);
    mem_free(copy);
    REQUIRE(j != NULL);
    return j;
}

struct watch {
    struct text messages, cached;
    int pictures;
};

static void on_message(void *self, const char *type, const json_t *data)
{
    struct watch *w = self;
    const char *node = json_string_value(json_object_get(data, "node"));
    size_t i;
    json_t *id;
    if (strcmp(type, "progress_state")) /* it comes with each of the others */
        text_addf(&w->messages, "%s%s%s%s", w->messages.length ? ", " : "", type, node ? " " : "", node ? node : "");
    if (!strcmp(type, "execution_cached"))
        json_array_foreach(json_object_get(data, "nodes"), i, id)
            text_addf(&w->cached, " %s ", json_string_value(id));
}

static void on_picture(void *self, const char *node, const char *display, const struct image *image, bool whole)
{
    struct watch *w = self;
    w->pictures += image->width > 0;
}

struct flow_seen run_flow_with(struct flow_engine *engine, const char *text, const char *targets, struct flow_run_options options)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    struct flow_checked checked;
    struct flow_seen seen = { 0 };
    struct watch watch = { 0 };
    json_t *flow = parse(text), *only = targets ? parse(targets) : NULL;
    text_init(&watch.messages, 1 << 20);
    text_init(&watch.cached, 1 << 16);
    REQUIRE(flow_check(&checked, flow, only, &host, &e));
    if (checked.error) {
        struct text said;
        text_init(&said, 1 << 20);
        flow_checked_text(&checked, &said);
        fail_msg("the flow is refused: %s", text_string(&said));
    }
    options.host = &host;
    options.events = (struct flow_events){ on_message, on_picture, NULL, &watch };
    REQUIRE(flow_run(engine, flow, checked.outputs, &options, &seen.result, &e));
    seen.messages = mem_string(text_string(&watch.messages));
    seen.cached = mem_string(text_string(&watch.cached));
    seen.pictures = watch.pictures;
    text_release(&watch.messages);
    text_release(&watch.cached);
    flow_checked_release(&checked);
    json_decref(flow);
    json_decref(only);
    return seen;
}

struct flow_seen run_flow(struct flow_engine *engine, const char *text, const char *targets)
{
    struct flow_seen seen = run_flow_with(engine, text, targets, (struct flow_run_options){ 0 });
    if (seen.result.end != FLOW_SUCCESS) {
        char *said = json_dumps(seen.result.last_data, 0);
        fail_msg("the flow failed: %s", said);
    }
    return seen;
}

void seen_release(struct flow_seen *s)
{
    flow_result_release(&s->result);
    mem_free(s->messages);
    mem_free(s->cached);
}

bool did_run(const struct flow_seen *s, const char *id)
{
    char wanted[300];
    size_t length = (size_t)snprintf(wanted, sizeof wanted, "executing %s", id);
    for (const char *at = s->messages; (at = strstr(at, wanted)); at++)
        if (at[length] == ',' || !at[length])
            return true;
    return false;
}

size_t written_count(const struct flow_seen *s, const char *id)
{
    return json_array_size(json_object_get(json_object_get(s->result.outputs, id), "images"));
}

struct image written(const struct flow_seen *s, const char *id, size_t i)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    struct image image = { 0 };
    const json_t *file = json_array_get(json_object_get(json_object_get(s->result.outputs, id), "images"), i);
    CHECK(file, "node %s wrote %zu pictures", id, written_count(s, id));
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    const char *type = json_string_value(json_object_get(file, "type"));
    REQUIRE(path_join(folder, strcmp(type, "temp") ? host.output : host.temp, json_string_value(json_object_get(file, "subfolder")), &e) &&
            path_join(path, folder, json_string_value(json_object_get(file, "filename")), &e) &&
            image_load(&image, path, IMAGE_FLATTEN, 0, &e));
    return image;
}

char *check_text(const char *text, const char *targets)
{
    struct err e = { 0 };
    struct flow_host host = test_host();
    struct flow_checked checked;
    struct text out;
    json_t *flow = parse(text), *only = targets ? parse(targets) : NULL, *entry, *error;
    const char *id;
    size_t i;
    text_init(&out, 1 << 20);
    REQUIRE(flow_check(&checked, flow, only, &host, &e));
    if (checked.error)
        text_addf(&out, "%s: %s\n", json_string_value(json_object_get(checked.error, "type")),
                  json_string_value(json_object_get(checked.error, "details")));
    json_object_foreach(checked.node_errors, id, entry)
        json_array_foreach(json_object_get(entry, "errors"), i, error)
            text_addf(&out, "%s %s: %s\n", id, json_string_value(json_object_get(error, "type")),
                      json_string_value(json_object_get(error, "details")));
    flow_checked_release(&checked);
    json_decref(flow);
    json_decref(only);
    char *said = mem_string(text_string(&out));
    text_release(&out);
    return said;
}
