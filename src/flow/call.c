/* What a node's functions can ask and give: node.h. */
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "flow/run_internal.h"

bool check_has(const struct node_check *check, const char *input)
{
    const json_t *value = json_object_get(check->inputs, input);
    return value && !json_is_array(value);
}

const struct flow_host *call_host(const struct node_call *call)
{
    return call->run->o->host;
}

const char *call_id(const struct node_call *call)
{
    return call->n->id;
}

const json_t *call_prompt(const struct node_call *call)
{
    return call->run->flow;
}

const json_t *call_png_info(const struct node_call *call)
{
    return json_object_get(call->run->o->extra_data, "extra_pnginfo");
}

const struct datum_list *call_input(const struct node_call *call, const char *name)
{
    for (size_t i = 0; i < call->input_count; i++)
        if (!strcmp(call->inputs[i].name, name))
            return call->inputs[i].list;
    return NULL;
}

bool call_input_at(const struct node_call *call, size_t i, const char **name, const struct datum_list **values)
{
    if (i >= call->input_count)
        return false;
    *name = call->inputs[i].name;
    *values = call->inputs[i].list;
    return true;
}

size_t call_index(const struct node_call *call)
{
    return call->index;
}

struct flow_engine *call_engine(const struct node_call *call)
{
    return call->run->engine;
}

int call_preview_side(const struct node_call *call)
{
    return call->run->o->events.picture ? call->run->preview_side : 0;
}

double call_waited(const struct node_call *call)
{
    return clock_seconds() - call->n->first_call;
}

void node_again(struct node_call *call, double seconds)
{
    call->again = true;
    call->seconds = seconds;
}

bool node_need(struct node_call *call, const char *input, struct err *e)
{
    enum { MOST = sizeof call->needed / sizeof *call->needed };
    if (call->needed_count == MOST || strlen(input) >= sizeof call->needed[0])
        return err_set(e, ERR_LIMIT, "%s asks for more than %d inputs", call->n->node->name, (int)MOST);
    strcpy(call->needed[call->needed_count++], input);
    return true;
}

/* --- outputs --- */

static bool check_output(const struct node_call *call, int index, struct err *e)
{
    if (index >= 0 && (size_t)index < call->result->count)
        return true;
    return err_set(e, ERR_ARG, "%s has no output %d", call->n->node->name, index);
}

/* Remembers in order what an output gets, a datum (taken) or a link. */
static bool remember(struct node_call *call, int index, struct datum *d, const char *id, int output, struct err *e)
{
    struct expansion *x = call->expansion ? call->expansion : mem_zeroed(1, sizeof *x);
    call->expansion = x;
    struct given *given = x ? mem_grow(x->given, &x->cap, x->count + 1, sizeof *given) : NULL;
    if (given)
        x->given = given;
    int *outputs = given ? mem_grow(x->outputs, &x->outputs_cap, x->count + 1, sizeof *outputs) : NULL;
    if (outputs)
        x->outputs = outputs;
    char *copy = outputs && id ? mem_string(id) : NULL;
    if (!outputs || (id && !copy)) {
        datum_drop(d);
        return err_nomem(e, "a node's results");
    }
    x->given[x->count] = (struct given){ d, copy, output };
    x->outputs[x->count++] = index;
    return true;
}

void expansion_free(struct expansion *x)
{
    for (size_t i = 0; x && i < x->count; i++) {
        datum_drop(x->given[i].datum);
        mem_free(x->given[i].id);
    }
    if (x) {
        mem_free(x->given);
        mem_free(x->outputs);
    }
    mem_free(x);
}

bool node_give(struct node_call *call, int index, struct datum *d, struct err *e)
{
    if (!check_output(call, index, e)) {
        datum_drop(d);
        return false;
    }
    return datum_list_add(&call->fresh[index], d, e);
}

bool node_give_link(struct node_call *call, int index, const char *id, int output, struct err *e)
{
    return check_output(call, index, e) && remember(call, index, NULL, id, output, e);
}

bool node_show(struct node_call *call, const char *key, json_t *list, struct err *e)
{
    json_t *ui = call->result->ui ? call->result->ui : json_object(), *there = json_object_get(ui, key);
    call->result->ui = ui;
    bool good = ui && list && !(there ? json_array_extend(there, list) : json_object_set(ui, key, list));
    json_decref(list);
    return good || err_nomem(e, "what a node shows");
}

/* --- nodes inside of a node --- */

void node_new_id(const struct node_call *call, const char *name, char *out, size_t bytes)
{
    if (snprintf(out, bytes, "%s.%zu.%s", call->n->id, call->index, name) < (int)bytes)
        return;
    /* loops in loops make long names: a hash of it is as good a name */
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, (const guchar *)call->n->id, -1);
    g_checksum_update(sum, (const guchar *)name, -1);
    snprintf(out, bytes, "%.60s~%zu~%.40s", call->n->id, call->index, g_checksum_get_string(sum));
    g_checksum_free(sum);
}

bool node_expand(struct node_call *call, const char *id, const char *class, const char *display_id, struct err *e)
{
    const struct node *node = node_find(class, call->run->o->host->test_nodes);
    if (!node)
        return err_set(e, ERR_MISSING, "%s expands to a node %s, which there is not", call->n->node->name, class);
    if (run_find(call->run, id))
        return err_set(e, ERR_ARG, "%s expands to two nodes of the id %s", call->n->node->name, id);
    json_t *json = json_pack("{s:s, s:{}}", "class_type", class, "inputs");
    if (!json)
        return err_nomem(e, "a node");
    const struct run_node *shown = display_id ? run_find(call->run, display_id) : NULL;
    bool good = run_add_node(call->run, id, node, json, shown ? shown->display : call->n->display, call->n->id, e);
    json_decref(json);
    return good;
}

static struct run_node *inside(struct node_call *call, const char *id, struct err *e)
{
    struct run_node *n = run_find(call->run, id);
    if (!n || !n->parent)
        err_set(e, ERR_ARG, "%s changes a node %s that is none of its own", call->n->node->name, id);
    return e->code ? NULL : n;
}

bool node_expand_json(struct node_call *call, const char *id, const char *input, json_t *value, struct err *e)
{
    struct run_node *n = inside(call, id, e);
    if (!n) {
        json_decref(value);
        return false;
    }
    return !json_object_set_new(json_object_get(n->json, "inputs"), input, value) || err_nomem(e, "a node");
}

bool node_expand_datum(struct node_call *call, const char *id, const char *input, struct datum *d, struct err *e)
{
    struct run_node *n = inside(call, id, e);
    if (!n) {
        datum_drop(d);
        return false;
    }
    return datum_list_add(&n->held, d, e) &&
           node_expand_json(call, id, input, json_pack("{s:I}", "__held__", (json_int_t)n->held.count - 1), e);
}

bool node_expand_link(struct node_call *call, const char *id, const char *input, const char *from, int output, struct err *e)
{
    return node_expand_json(call, id, input, json_pack("[s, i]", from, output), e);
}

bool node_expand_copy(struct node_call *call, const char *id, const char *input, const char *from, struct err *e)
{
    const struct run_node *n = run_find(call->run, from);
    const json_t *value = n ? json_object_get(json_object_get(n->json, "inputs"), input) : NULL, *held = json_object_get(value, "__held__");
    if (!value)
        return err_set(e, ERR_ARG, "there is no input %s of a node %s to be copied", input, from);
    if (held)
        return node_expand_datum(call, id, input, datum_keep(n->held.at[json_integer_value(held)]), e);
    return node_expand_json(call, id, input, json_deep_copy(value), e);
}

const json_t *call_node(const struct node_call *call, const char *id)
{
    const struct run_node *n = run_find(call->run, id);
    return n ? n->json : NULL;
}

/* --- progress --- */

static void tell_picture(struct node_call *call, const struct image *image, bool whole)
{
    const struct flow_events *events = &call->run->o->events;
    if (image && events->picture && (whole || call->run->preview_side))
        events->picture(events->self, call->n->id, call->n->display, image, whole);
}

static void tell_steps(struct node_call *call, int64_t done, int64_t total, const struct image *image, bool whole)
{
    struct run_node *n = call->n;
    n->done = done;
    n->total = total;
    run_tell_state(call->run);
    tell_picture(call, image, whole);
    run_message(call->run, "progress", json_pack("{s:I, s:I, s:s}", "value", (json_int_t)done, "max", (json_int_t)total, "node", n->id));
}

bool node_progress(struct node_call *call, int64_t done, int64_t total, const struct image *preview, struct err *e)
{
    tell_steps(call, done, total, preview, false);
    return stop_check(e);
}

bool node_send_picture(struct node_call *call, const struct image *image, int64_t done, int64_t total, struct err *e)
{
    tell_steps(call, done, total, image, true);
    return stop_check(e);
}

static void on_step(void *self, const char *what, long done, long total, const char *note)
{
    struct node_call *call = self;
    if (total > 0 && (done != call->n->done || total != call->n->total))
        tell_steps(call, done, total, NULL, false);
}

static void on_line(void *self, const char *text)
{
    const struct node_call *call = self;
    if (call->run->o->events.line)
        call->run->o->events.line(call->run->o->events.self, text);
}

const struct progress *call_progress(struct node_call *call)
{
    call->progress = (struct progress){ on_step, on_line, call };
    return &call->progress;
}

void node_tell(struct node_call *call, const char *format, ...)
{
    char text[2000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    on_line(call, text);
}
