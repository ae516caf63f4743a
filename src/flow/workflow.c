/* The page's form of a flow (litegraph's) -> API format. */
#include <stdio.h>
#include <string.h>

#include "flow/flow_internal.h"

enum { MODE_MUTED = 2, MODE_BYPASSED = 4, MOST_HOPS = 1000 };

struct page {
    const json_t *nodes, *links;
};

/* Ids are numbers, or texts in newer files. */
static bool id_text(const json_t *id, char out[64])
{
    if (json_is_integer(id))
        snprintf(out, 64, "%lld", (long long)json_integer_value(id));
    else if (json_is_string(id) && json_string_length(id) < 64)
        strcpy(out, json_string_value(id));
    else
        return false;
    return true;
}

static bool same_id(const json_t *a, const json_t *b)
{
    char x[64], y[64];
    return id_text(a, x) && id_text(b, y) && !strcmp(x, y);
}

static const json_t *node_of(const struct page *p, const json_t *id)
{
    size_t i;
    json_t *n;
    json_array_foreach(p->nodes, i, n)
        if (same_id(json_object_get(n, "id"), id))
            return n;
    return NULL;
}

/* Where a link comes from: [id, from node, from slot, ...], or an object. */
static bool link_from(const struct page *p, const json_t *link, const json_t **node, int64_t *slot)
{
    size_t i;
    json_t *l;
    if (!link || json_is_null(link))
        return false;
    json_array_foreach(p->links, i, l) {
        bool list = json_is_array(l);
        if (!same_id(list ? json_array_get(l, 0) : json_object_get(l, "id"), link))
            continue;
        *node = node_of(p, list ? json_array_get(l, 1) : json_object_get(l, "origin_id"));
        *slot = json_integer_value(list ? json_array_get(l, 2) : json_object_get(l, "origin_slot"));
        return *node != NULL;
    }
    return false;
}

static const char *type_of(const json_t *node)
{
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "";
}

static bool is_type(const json_t *a, const json_t *b)
{
    return json_is_string(a) && json_is_string(b) && node_types_meet(json_string_value(a), json_string_value(b));
}

/* The link that goes through a bypassed node or a reroute to its output `slot`: the first input of the output's type, that of the same
 * number first. */
static const json_t *through(const json_t *node, int64_t slot)
{
    const json_t *inputs = json_object_get(node, "inputs");
    const json_t *type = json_object_get(json_array_get(json_object_get(node, "outputs"), (size_t)slot), "type");
    const json_t *same = json_array_get(inputs, (size_t)slot);
    size_t i;
    json_t *input;
    if (!strcmp(type_of(node), "Reroute"))
        return json_object_get(json_array_get(inputs, 0), "link");
    if (same && is_type(json_object_get(same, "type"), type))
        return json_object_get(same, "link");
    json_array_foreach(inputs, i, input)
        if (is_type(json_object_get(input, "type"), type))
            return json_object_get(input, "link");
    return NULL;
}

/* What a link brings, as API format has it: ["3", 0], a primitive's value, or NULL: nothing. A new reference. */
static json_t *resolve(const struct page *p, const json_t *link)
{
    const json_t *node;
    int64_t slot;
    char id[64];
    for (int hops = 0; hops < MOST_HOPS && link_from(p, link, &node, &slot) && slot >= 0; hops++) {
        int64_t mode = json_integer_value(json_object_get(node, "mode"));
        if (mode == MODE_MUTED)
            return NULL;
        if (!strcmp(type_of(node), "PrimitiveNode"))
            return json_incref(json_array_get(json_object_get(node, "widgets_values"), 0));
        if (mode != MODE_BYPASSED && strcmp(type_of(node), "Reroute"))
            return id_text(json_object_get(node, "id"), id) ? json_pack("[s, I]", id, (json_int_t)slot) : NULL;
        link = through(node, slot);
    }
    return NULL;
}

/* Whether the page shows a field for the input, whose value is in widgets_values. */
static bool is_widget(const struct node_input *i)
{
    static const char *const types[] = { "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO" };
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (!strcmp(i->type, types[k]))
            return !(i->flags & NODE_FORCE_INPUT);
    return false;
}

/* Values stand in the order of the fields; behind a seed what becomes of it, behind a picture the button for uploads. */
static void add_widgets(json_t *inputs, const struct node *known, const json_t *values)
{
    size_t at = 0;
    for (const struct node_input *i = known->inputs; i && i->name; i++) {
        if (!is_widget(i))
            continue;
        json_t *value = json_is_object(values) ? json_object_get(values, i->name) : json_array_get(values, at++);
        if (value)
            json_object_set(inputs, i->name, value);
        at += (i->flags & NODE_SEED) != 0;
        at += i->more && strstr(i->more, "image_upload") != NULL;
    }
}

static bool add_node(json_t *flow, const struct page *p, const json_t *node, const struct flow_host *host, struct err *e)
{
    const char *type = type_of(node);
    char id[64];
    const json_t *title = json_object_get(node, "title");
    int64_t mode = json_integer_value(json_object_get(node, "mode"));
    bool silent = !strcmp(type, "Note") || !strcmp(type, "MarkdownNote") || !strcmp(type, "PrimitiveNode") || !strcmp(type, "Reroute");
    if (mode == MODE_MUTED || mode == MODE_BYPASSED || silent)
        return true;
    if (!id_text(json_object_get(node, "id"), id))
        return err_set(e, ERR_FORMAT, "a node of the workflow has no id");
    const struct node *known = node_find(type, host->test_nodes);
    if (!known)
        return err_set(e, ERR_MISSING, "node %s of the workflow is a %s, which limn does not have", id, type);
    json_t *inputs = json_object(), *input;
    size_t i;
    add_widgets(inputs, known, json_object_get(node, "widgets_values"));
    json_array_foreach(json_object_get(node, "inputs"), i, input) {
        const char *name = json_string_value(json_object_get(input, "name"));
        json_t *value = resolve(p, json_object_get(input, "link"));
        if (name && value)
            json_object_set(inputs, name, value);
        json_decref(value);
    }
    json_t *made = json_pack("{s:o, s:s, s:{s:O}}", "inputs", inputs, "class_type", type, "_meta", "title",
                             json_is_string(title) ? title : json_object_get(node, "type"));
    return !json_object_set_new(flow, id, made) || err_nomem(e, "a flow");
}

json_t *flow_from_workflow(const json_t *workflow, const struct flow_host *host, struct err *e)
{
    struct page p = { json_object_get(workflow, "nodes"), json_object_get(workflow, "links") };
    json_t *flow = json_object(), *node;
    size_t i;
    bool good = flow || err_nomem(e, "a flow");
    if (good && !json_is_array(p.nodes))
        good = err_set(e, ERR_FORMAT, "a workflow without nodes");
    json_array_foreach(p.nodes, i, node)
        good = good && add_node(flow, &p, node, host, e);
    if (good)
        return flow;
    json_decref(flow);
    return NULL;
}
