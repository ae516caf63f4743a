/* Flows from files, in either form, and settings on them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "flow/flow_internal.h"
#include "image/picture_texts.h"

static bool is_api(const json_t *j)
{
    const char *id;
    json_t *node;
    json_object_foreach((json_t *)(uintptr_t)j, id, node)
        if (!json_is_string(json_object_get(node, "class_type")))
            return false;
    return json_object_size(j) > 0;
}

static bool is_workflow(const json_t *j)
{
    return json_is_array(json_object_get(j, "nodes"));
}

/* Whatever form it has -> API format. Takes j. */
static json_t *to_flow(json_t *j, const char *path, const struct flow_host *host, json_t **workflow, struct err *e)
{
    json_t *flow = NULL, *wrapped = json_object_get(j, "prompt");
    if (is_api(j)) {
        flow = json_incref(j);
    } else if (is_api(wrapped)) { /* the body of POST /prompt */
        flow = json_incref(wrapped);
    } else if (is_workflow(j)) {
        flow = flow_from_workflow(j, host, e);
        if (workflow && flow)
            *workflow = json_incref(j);
    } else {
        err_set(e, ERR_FORMAT, "%s holds no flow: neither {\"3\": {\"class_type\": ...}} nor {\"nodes\": [...]}", path);
    }
    json_decref(j);
    return flow;
}

/* Why a picture tells no flow: a PNG may have a text that is damaged or packed. */
static void tell_missing(const char *path, const char *bytes, size_t count, struct err *e)
{
    if (!memcmp(bytes, "\x89PNG", 4))
        mem_free(image_png_text_in(bytes, count, path, "prompt", e));
    err_set(e, ERR_MISSING, "%s: the picture does not tell how it was made", path);
}

static json_t *read_picture(const char *path, const char *bytes, size_t count, const struct flow_host *host, json_t **workflow, struct err *e)
{
    struct err none = { 0 };
    struct picture_texts texts;
    if (!picture_texts_read(&texts, bytes, count, e))
        return NULL;
    json_t *form = texts.workflow ? flow_json_parse(texts.workflow, strlen(texts.workflow), path, &none) : NULL, *flow = NULL;
    json_t *j = texts.prompt ? flow_json_parse(texts.prompt, strlen(texts.prompt), path, e) : NULL;
    if (j)
        flow = to_flow(j, path, host, NULL, e);
    else if (!texts.prompt && is_workflow(form))
        flow = flow_from_workflow(form, host, e);
    else if (!texts.prompt)
        tell_missing(path, bytes, count, e);
    if (workflow && flow && is_workflow(form))
        *workflow = json_incref(form);
    json_decref(form);
    picture_texts_release(&texts);
    return flow;
}

json_t *flow_read(const char *path, const struct flow_host *host, json_t **workflow, struct err *e)
{
    char *bytes;
    size_t count;
    if (workflow)
        *workflow = NULL;
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &bytes, &count, e))
        return NULL;
    json_t *flow = NULL;
    if (count >= 4 && (!memcmp(bytes, "\x89PNG", 4) || !memcmp(bytes, "\xff\xd8\xff", 3) || !memcmp(bytes, "RIFF", 4))) {
        flow = read_picture(path, bytes, count, host, workflow, e);
    } else {
        json_t *j = flow_json_parse(bytes, count, path, e);
        if (j)
            flow = to_flow(j, path, host, workflow, e);
    }
    mem_free(bytes);
    return flow;
}

/* --- settings --- */

static bool matches(const char *id, const json_t *node, const char *name, size_t length, int how)
{
    const char *texts[3] = { id, json_string_value(json_object_get(json_object_get(node, "_meta"), "title")),
                             json_string_value(json_object_get(node, "class_type")) };
    return texts[how] && strlen(texts[how]) == length && !strncmp(texts[how], name, length);
}

/* The node of an id, else of a title, else of a class, if only one has it. */
static json_t *find_node(json_t *flow, const char *name, size_t length, struct err *e)
{
    const char *id;
    json_t *node, *found = NULL;
    for (int how = 0; how < 3 && !found; how++) {
        size_t count = 0;
        json_object_foreach(flow, id, node)
            if (matches(id, node, name, length, how)) {
                found = node;
                count++;
            }
        if (count > 1) {
            err_set(e, ERR_ARG, "--set %.*s: %zu nodes have this %s; name one by its id:", (int)length, name, count, how == 1 ? "title" : "class");
            json_object_foreach(flow, id, node)
                if (matches(id, node, name, length, how))
                    snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text), " %s", id);
            return NULL;
        }
    }
    if (found)
        return found;
    err_set(e, ERR_ARG, "--set %.*s: there is no such node; there are:", (int)length, name);
    json_object_foreach(flow, id, node)
        snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text), " %s (%s)", id,
                 json_string_value(json_object_get(node, "class_type")));
    return NULL;
}

/* A value as it is typed: a number, true, false and a link stay those where they can be, anything else is a text. */
static json_t *read_value(const struct node_input *input, const char *text)
{
    struct err ignored = { 0 };
    bool words = input && (!strcmp(input->type, "STRING") || node_is_choice(input));
    json_t *j = NULL;
    if (!words) {
        char wrapped[2000];
        if (snprintf(wrapped, sizeof wrapped, "[%s]", text) < (int)sizeof wrapped) {
            json_t *list = flow_json_parse(wrapped, strlen(wrapped), "--set", &ignored);
            j = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;
            json_decref(list);
        }
    }
    return j ? j : json_string(text);
}

bool flow_set(json_t *flow, const char *setting, const struct flow_host *host, struct err *e)
{
    const char *equals = strchr(setting, '='), *dot = NULL;
    for (const char *at = setting; equals && at < equals; at++)
        dot = *at == '.' ? at : dot;
    if (!dot)
        return err_set(e, ERR_ARG, "--set %s: want node.input=value", setting);
    json_t *node = find_node(flow, setting, (size_t)(dot - setting), e);
    if (!node)
        return false;
    char name[200];
    const char *class = json_string_value(json_object_get(node, "class_type"));
    const struct node *known = class ? node_find(class, host->test_nodes) : NULL;
    snprintf(name, sizeof name, "%.*s", (int)(equals - dot - 1), dot + 1);
    const struct node_input *input = known ? node_input_find(known, name) : NULL;
    if (known && !input) {
        err_set(e, ERR_ARG, "--set %s: %s has no input %s; it has:", setting, known->name, name);
        for (const struct node_input *i = known->inputs; i && i->name; i++)
            snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text), " %s", i->name);
        return false;
    }
    return !json_object_set_new(json_object_get(node, "inputs"), name, read_value(input, equals + 1)) ||
           err_set(e, ERR_ARG, "--set %s: the node has no inputs, or the value is not UTF-8", setting);
}
