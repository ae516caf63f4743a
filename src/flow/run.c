/* The executor: which node is next, and what becomes of what it gives. */
#include "flow/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "flow/run_internal.h"

enum { PREVIEW_SIDE = 512, MOST_RUN_NODES = 200000 };

/* --- the engine --- */

struct flow_engine *flow_engine_new(const struct flow_engine_options *o, struct err *e)
{
    struct flow_engine *engine = mem_zeroed(1, sizeof *engine);
    if (!engine) {
        err_nomem(e, "an engine");
        return NULL;
    }
    engine->backend = o->backend;
    engine->type = o->type;
    engine->cache.how = o->cache;
    engine->cache.most = o->cache_results;
    return engine;
}

void flow_engine_unload(struct flow_engine *engine, bool results)
{
    if (results)
        cache_release(&engine->cache);
    for (size_t i = 0; i < engine->model_count;) {
        struct flow_weights *w = engine->models[i];
        if (w->holders > 1) {
            pipeline_rest(w->pipeline);
            i++;
            continue;
        }
        flow_weights_drop(w);
        engine->models[i] = engine->models[--engine->model_count];
    }
}

void flow_engine_free(struct flow_engine *engine)
{
    if (!engine)
        return;
    flow_engine_unload(engine, true);
    mem_free(engine->models);
    mem_free(engine);
}

/* --- nodes --- */

void run_node_free(struct run_node *n)
{
    if (!n)
        return;
    mem_free(n->id);
    mem_free(n->display);
    mem_free(n->parent);
    json_decref(n->json);
    datum_list_release(&n->held);
    result_drop(n->result);
    mem_free(n->needs);
    mem_free(n->users);
    expansion_free(n->expansion);
    mem_free(n);
}

struct run_node *run_find(const struct run *run, const char *id)
{
    return g_hash_table_lookup(run->by_id, id);
}

bool run_add_node(struct run *run, const char *id, const struct node *node, json_t *json, const char *display, const char *parent,
                  struct err *e)
{
    if (run->count == MOST_RUN_NODES)
        return err_set(e, ERR_LIMIT, "a run of more than %d nodes", MOST_RUN_NODES);
    struct run_node **grown = mem_grow(run->nodes, &run->cap, run->count + 1, sizeof *grown);
    if (grown)
        run->nodes = grown;
    struct run_node *n = grown ? mem_zeroed(1, sizeof *n) : NULL;
    if (!n)
        return err_nomem(e, "a flow's nodes");
    n->id = mem_string(id);
    n->display = mem_string(display);
    n->parent = parent ? mem_string(parent) : NULL;
    n->json = json_incref(json);
    n->node = node;
    n->total = 1;
    n->index = run->count;
    run->nodes[run->count++] = n;
    if (!n->id || !n->display || (parent && !n->parent))
        return err_nomem(e, "a flow's nodes");
    g_hash_table_insert(run->by_id, n->id, n);
    return true;
}

static bool add_need(struct run_node *n, struct run_node *from, struct err *e)
{
    size_t *needs = mem_grow(n->needs, &n->need_cap, n->need_count + 1, sizeof *needs);
    if (needs)
        n->needs = needs;
    size_t *users = needs ? mem_grow(from->users, &from->user_cap, from->user_count + 1, sizeof *users) : NULL;
    if (!users)
        return err_nomem(e, "a flow's links");
    from->users = users;
    n->needs[n->need_count++] = from->index;
    from->users[from->user_count++] = n->index;
    return true;
}

/* Whether the result is known from before. */
static bool is_cached(struct run *run, struct run_node *n)
{
    if (!n->result) {
        run_set_key(run, n);
        struct result *known = cache_find(&run->engine->cache, n->key);
        n->result = known ? result_keep(known) : NULL;
    }
    return n->result != NULL;
}

static bool is_lazy(const struct run_node *n, const char *name)
{
    const struct node_input *input = node_input_find(n->node, name);
    return input && input->flags & NODE_LAZY;
}

/* Wants a node and, unless its result is known, all that it needs. Without recursion: a flow may be long. */
static bool want(struct run *run, struct run_node *first, struct err *e)
{
    struct run_node **stack = NULL;
    size_t count = 0, cap = 0;
    bool good = true;
    if (first->state != NODE_IDLE)
        return true;
    stack = mem_grow(stack, &cap, 1, sizeof *stack);
    if (!stack)
        return err_nomem(e, "a flow's links");
    first->state = NODE_WANTED;
    stack[count++] = first;
    while (good && count) {
        struct run_node *n = stack[--count];
        if (is_cached(run, n))
            continue;
        const char *name, *id;
        json_t *value;
        int64_t output;
        json_object_foreach(json_object_get(n->json, "inputs"), name, value) {
            if (!good || !flow_is_link(value, &id, &output) || is_lazy(n, name))
                continue;
            struct run_node *from = run_find(run, id);
            good = from || err_set(e, ERR_MISSING, "%s (%s): input %s is linked to a node %s, which there is not", n->id, n->node->name, name, id);
            good = good && add_need(n, from, e);
            if (!good || from->state != NODE_IDLE)
                continue;
            struct run_node **grown = mem_grow(stack, &cap, count + 1, sizeof *grown);
            good = grown || err_nomem(e, "a flow's links");
            if (grown) {
                stack = grown;
                from->state = NODE_WANTED;
                stack[count++] = from;
            }
        }
    }
    mem_free(stack);
    return good;
}

static bool is_ready(const struct run *run, const struct run_node *n)
{
    if (n->state != NODE_WANTED)
        return false;
    for (size_t i = 0; i < n->need_count; i++)
        if (run->nodes[n->needs[i]]->state != NODE_DONE)
            return false;
    return true;
}

/* How near to an output node: 0 is one, 1 feeds one, 2 feeds such a one, 3 is further. */
static int distance(const struct run *run, const struct run_node *n, int depth)
{
    if (n->node->flags & NODE_OUTPUT)
        return 0;
    int best = 3;
    for (size_t i = 0; depth < 2 && i < n->user_count; i++) {
        const struct run_node *other = run->nodes[n->users[i]];
        int d = other->state == NODE_WANTED ? 1 + distance(run, other, depth + 1) : 3;
        best = d < best ? d : best;
    }
    return best;
}

/* Something that leaves results soon goes first: people see it sooner and its memory is free sooner. */
static struct run_node *next_ready(struct run *run)
{
    struct run_node *best = NULL;
    int least = 4;
    for (size_t i = 0; i < run->count && least > 0; i++) {
        struct run_node *n = run->nodes[i];
        int d = is_ready(run, n) ? distance(run, n, 0) : 4;
        if (d < least) {
            least = d;
            best = n;
        }
    }
    return best;
}

/* --- one node --- */

static void call_release(struct node_call *call)
{
    for (size_t i = 0; call->fresh && i < call->result->count; i++)
        datum_list_release(&call->fresh[i]);
    mem_free(call->fresh);
    for (size_t i = 0; i < call->input_count; i++)
        if (call->inputs[i].owned) {
            datum_list_release((struct datum_list *)(uintptr_t)call->inputs[i].list);
            mem_free((void *)(uintptr_t)call->inputs[i].list);
        }
    mem_free(call->inputs);
    mem_free(call->declared);
    result_drop(call->result);
    expansion_free(call->expansion);
}

/* A constant as a list of one. */
static struct datum_list *constant_list(struct run_node *n, const struct node_input *input, const json_t *value, struct err *e)
{
    const json_t *held = json_object_get(value, "__held__");
    struct datum_list *list = mem_zeroed(1, sizeof *list);
    struct datum *d = !list ? NULL : held ? datum_keep(n->held.at[json_integer_value(held)]) : datum_of_constant(value, input, e);
    if (list && datum_list_add(list, d, e))
        return list;
    mem_free(list);
    err_nomem(e, "an input");
    return NULL;
}

static bool call_init(struct node_call *call, struct run *run, struct run_node *n, struct err *e)
{
    json_t *inputs = json_object_get(n->json, "inputs"), *value;
    const char *name, *id;
    int64_t output;
    size_t declared = 0;
    *call = (struct node_call){ .run = run, .n = n, .result = result_new(n->node, e) };
    for (const struct node_input *i = n->node->inputs; i && i->name; i++)
        declared++;
    if (!call->result)
        return false;
    call->inputs = mem_zeroed(json_object_size(inputs) + 1, sizeof *call->inputs);
    call->declared = mem_zeroed(declared + 1, sizeof *call->declared);
    call->fresh = mem_zeroed(call->result->count + 1, sizeof *call->fresh);
    if (!call->inputs || !call->declared || !call->fresh)
        return err_nomem(e, "a node's inputs");
    json_object_foreach(inputs, name, value) {
        const struct node_input *input = node_input_find(n->node, name);
        const struct datum_list *list = NULL;
        bool owned = false, link = flow_is_link(value, &id, &output) && !(input && input->flags & NODE_RAW_LINK);
        if (link) {
            const struct run_node *from = run_find(run, id);
            if (from && from->result && output >= 0 && (size_t)output < from->result->count)
                list = &from->result->outputs[output];
        } else if (input || json_object_get(value, "__held__")) {
            owned = true;
            list = constant_list(n, input, value, e);
            if (!list)
                return false;
        }
        if (!list)
            continue;
        call->inputs[call->input_count].name = name;
        call->inputs[call->input_count].list = list;
        call->inputs[call->input_count++].owned = owned;
        if (input)
            call->declared[input - n->node->inputs] = list;
    }
    return true;
}

static size_t call_count(const struct node_call *call)
{
    size_t most = 0;
    bool any = false;
    if (call->n->node->flags & NODE_INPUT_LISTS)
        return 1;
    for (size_t i = 0; i < call->input_count; i++) {
        any = true;
        most = call->inputs[i].list->count > most ? call->inputs[i].list->count : most;
    }
    return any ? most : 1;
}

/* The blocker among the inputs of this call; NULL: none. */
static const struct datum *find_blocker(const struct node_call *call)
{
    bool all = call->n->node->flags & NODE_INPUT_LISTS;
    for (size_t i = 0; i < call->input_count; i++) {
        const struct datum_list *l = call->inputs[i].list;
        for (size_t k = 0; k < l->count; k++)
            if (l->at[k]->kind == DATUM_BLOCKER && (all || k == (call->index < l->count ? call->index : l->count - 1)))
                return l->at[k];
    }
    return NULL;
}

/* A blocked call gives blockers. One that has a text is told once, and goes on without. */
static bool block(struct node_call *call, const struct datum *blocker, struct err *e)
{
    struct run *run = call->run;
    if (blocker->text) {
        json_t *data = json_pack("{s:s, s:s, s:O, s:o, s:s, s:[], s:{}, s:[]}", "node_id", call->n->id, "node_type", call->n->node->name, "executed",
                                 run->executed, "exception_message", json_sprintf("Execution Blocked: %s", blocker->text), "exception_type",
                                 "ExecutionBlocked", "traceback", "current_inputs", "current_outputs");
        run_message(run, "execution_error", data);
    }
    for (size_t i = 0; i < call->result->count; i++)
        if (!datum_list_add(&call->fresh[i], datum_of_blocker(NULL, e), e))
            return false;
    return true;
}

/* Moves what the call gave to the result. */
static bool collect(struct node_call *call, struct err *e)
{
    for (size_t i = 0; i < call->result->count; i++) {
        struct datum_list *fresh = &call->fresh[i];
        for (size_t k = 0; k < fresh->count; k++) {
            struct datum *d = fresh->at[k];
            fresh->at[k] = NULL;
            bool good = datum_list_add(&call->result->outputs[i], d, e);
            if (!good) {
                datum_list_release(fresh);
                return false;
            }
        }
        fresh->count = 0;
    }
    return true;
}

/* Whether every output of the call has something: a datum or a link. */
static bool check_given(const struct node_call *call, size_t links_before, struct err *e)
{
    for (size_t i = 0; i < call->result->count; i++) {
        bool given = call->fresh[i].count > 0 || call->n->node->outputs[i].list;
        for (size_t k = links_before; call->expansion && k < call->expansion->count; k++)
            given |= call->expansion->outputs[k] == (int)i;
        if (!given)
            return err_set(e, ERR_ARG, "%s gave no output %zu: a mistake in limn", call->n->node->name, i);
    }
    return true;
}

/* Once a link was given, data of this and later calls go into the list of what is still to come: so their order stays. */
static bool order_given(struct node_call *call, size_t links_before, struct err *e)
{
    struct expansion *x = call->expansion;
    if (!x)
        return true;
    for (size_t i = 0; i < call->result->count; i++) {
        bool linked = false;
        for (size_t k = links_before; k < x->count; k++)
            linked |= x->outputs[k] == (int)i;
        for (size_t k = 0; !linked && k < call->fresh[i].count; k++) {
            struct given *given = mem_grow(x->given, &x->cap, x->count + 1, sizeof *given);
            if (given)
                x->given = given;
            int *outputs = given ? mem_grow(x->outputs, &x->outputs_cap, x->count + 1, sizeof *outputs) : NULL;
            if (!outputs)
                return err_nomem(e, "a node's results");
            x->outputs = outputs;
            x->given[x->count] = (struct given){ .datum = datum_keep(call->fresh[i].at[k]) };
            x->outputs[x->count++] = (int)i;
        }
        if (!linked)
            datum_list_release(&call->fresh[i]);
    }
    return true;
}

/* Calls `run` for each index. */
static bool call_all(struct node_call *call, struct err *e)
{
    const struct node *node = call->n->node;
    size_t count = call_count(call);
    for (call->index = 0; call->index < count; call->index++) {
        const struct datum *blocker = find_blocker(call);
        size_t links = call->expansion ? call->expansion->count : 0;
        if (!stop_check(e))
            return false;
        if (blocker) {
            if (!block(call, blocker, e))
                return false;
        } else {
            void *args = mem_zeroed(1, node->args_bytes ? node->args_bytes : 1);
            bool good = (args || err_nomem(e, "a node's inputs")) && args_fill(node, args, call->declared, call->index, e) &&
                        node->run(call, args, e) && (call->again || check_given(call, links, e));
            mem_free(args);
            if (!good)
                return false;
            if (call->again)
                return true;
        }
        if (!order_given(call, links, e) || !collect(call, e))
            return false;
    }
    return true;
}

/* Asks which lazy inputs are needed and not known yet; *more: it must wait for them. */
static bool ask_lazy(struct node_call *call, bool *more, struct err *e)
{
    struct run_node *n = call->n;
    size_t count = call_count(call);
    bool any = false;
    for (const struct node_input *i = n->node->inputs; i && i->name; i++)
        any |= (i->flags & NODE_LAZY) != 0;
    *more = false;
    if (!any)
        return true;
    for (call->index = 0; n->node->lazy && call->index < count; call->index++) {
        void *args = mem_zeroed(1, n->node->args_bytes ? n->node->args_bytes : 1);
        bool good = (args || err_nomem(e, "a node's inputs")) &&
                    (find_blocker(call) || (args_fill(n->node, args, call->declared, call->index, e) && n->node->lazy(call, args, e)));
        mem_free(args);
        if (!good)
            return false;
    }
    for (const struct node_input *i = n->node->inputs; i && i->name; i++) {
        const char *id;
        int64_t output;
        bool needed = !n->node->lazy;
        for (size_t k = 0; k < call->needed_count; k++)
            needed |= !strcmp(call->needed[k], i->name);
        if (!(i->flags & NODE_LAZY) || !needed || call->declared[i - n->node->inputs] ||
            !flow_is_link(json_object_get(json_object_get(n->json, "inputs"), i->name), &id, &output))
            continue;
        struct run_node *from = run_find(call->run, id);
        if (!from)
            return err_set(e, ERR_MISSING, "input %s is linked to a node %s, which there is not", i->name, id);
        if (!want(call->run, from, e) || !add_need(n, from, e))
            return false;
        *more = true;
    }
    return true;
}

/* Everything that the node expanded to is done: its outputs are those of nodes inside. */
static bool resolve(struct run *run, struct run_node *n, struct result *r, struct err *e)
{
    struct expansion *x = n->expansion;
    for (size_t i = 0; i < x->count; i++) {
        struct datum_list *to = &r->outputs[x->outputs[i]];
        if (x->given[i].datum) {
            if (!datum_list_add(to, datum_keep(x->given[i].datum), e))
                return false;
            continue;
        }
        const struct run_node *from = run_find(run, x->given[i].id);
        if (!from || !from->result || x->given[i].output < 0 || (size_t)x->given[i].output >= from->result->count)
            return err_set(e, ERR_MISSING, "there is no output %d of a node %s", x->given[i].output, x->given[i].id);
        const struct datum_list *values = &from->result->outputs[x->given[i].output];
        for (size_t k = 0; k < values->count; k++)
            if (!datum_list_add(to, datum_keep(values->at[k]), e))
                return false;
    }
    return true;
}

static bool finish(struct run *run, struct run_node *n, struct result *r, struct err *e)
{
    const struct run_node *owner = n->parent ? run_find(run, n->parent) : NULL;
    n->result = result_keep(r);
    n->state = NODE_DONE;
    n->ran = true;
    if (r->ui)
        run_tell_executed(run, n);
    run_set_key(run, n);
    n->done = n->total;
    n->shown = "finished";
    run_tell_state(run);
    json_array_append_new(run->executed, json_string(n->id));
    return cache_add(&run->engine->cache, n->key, owner ? owner->key : "", r, e);
}

/* What it expanded to is wanted; so are output nodes among it. */
static bool begin_inside(struct run *run, struct run_node *n, size_t first, struct err *e)
{
    for (size_t i = first; i < run->count; i++)
        if (run->nodes[i]->node->flags & NODE_OUTPUT && !want(run, run->nodes[i], e))
            return false;
    for (size_t i = 0; i < n->expansion->count; i++) {
        struct run_node *from = n->expansion->given[i].id ? run_find(run, n->expansion->given[i].id) : NULL;
        if (n->expansion->given[i].id && !from)
            return err_set(e, ERR_MISSING, "%s gives an output of a node %s, which there is not", n->node->name, n->expansion->given[i].id);
        if (from && (!want(run, from, e) || !add_need(n, from, e)))
            return false;
    }
    return true;
}

static bool execute_calls(struct run *run, struct run_node *n, struct node_call *call, struct err *e)
{
    bool more;
    size_t first = run->count;
    if (!ask_lazy(call, &more, e))
        return false;
    if (more)
        return true;
    if (!call_all(call, e))
        return false;
    if (call->again) {
        n->state = NODE_PARKED;
        n->wake = clock_seconds() + call->seconds;
        return true;
    }
    if (!call->expansion)
        return finish(run, n, call->result, e);
    n->expansion = call->expansion;
    call->expansion = NULL;
    n->result = result_keep(call->result);
    return begin_inside(run, n, first, e);
}

static bool execute(struct run *run, struct run_node *n, struct err *e)
{
    struct node_call call;
    run->at = n;
    if (n->result && !n->expansion) { /* known from before */
        n->state = NODE_DONE;
        if (n->node->flags & NODE_OUTPUT || n->result->ui)
            run_tell_executed(run, n);
        n->done = n->total;
        n->shown = "finished";
        run_tell_state(run);
        return true;
    }
    if (n->expansion) {
        struct result *r = n->result;
        n->result = NULL;
        bool good = resolve(run, n, r, e) && finish(run, n, r, e);
        expansion_free(n->expansion);
        n->expansion = NULL;
        result_drop(r);
        return good;
    }
    if (!n->first_call) {
        n->first_call = clock_seconds();
        n->shown = "running";
        run_tell_state(run);
    }
    if (n->state != NODE_PARKED)
        run_tell_executing(run, n);
    n->state = NODE_WANTED;
    bool good = call_init(&call, run, n, e) && execute_calls(run, n, &call, e);
    call_release(&call);
    return good;
}

/* --- the whole --- */

static struct run_node *next_parked(const struct run *run)
{
    struct run_node *best = NULL;
    for (size_t i = 0; i < run->count; i++)
        if (run->nodes[i]->state == NODE_PARKED && (!best || run->nodes[i]->wake < best->wake))
            best = run->nodes[i];
    return best;
}

/* Until it is time, or a stop. */
static bool sleep_until(double time, struct err *e)
{
    enum { SLICE_MS = 20 };
    for (double left; (left = time - clock_seconds()) > 0;) {
        if (!stop_check(e))
            return false;
        usleep(left < 1e-3 * SLICE_MS ? (useconds_t)(1e6 * left) : 1000 * SLICE_MS);
    }
    return true;
}

/* A node that waits for itself, if any waits: going from one to what it waits for ends in the circle. */
static struct run_node *find_circle(const struct run *run)
{
    struct run_node *n = NULL;
    for (size_t i = 0; i < run->count && !n; i++)
        n = run->nodes[i]->state == NODE_WANTED ? run->nodes[i] : NULL;
    for (size_t steps = 0; n && steps < run->count; steps++)
        for (size_t i = 0; i < n->need_count; i++)
            if (run->nodes[n->needs[i]]->state != NODE_DONE) {
                n = run->nodes[n->needs[i]];
                break;
            }
    return n;
}

static bool run_nodes(struct run *run, struct err *e)
{
    size_t i;
    json_t *id;
    json_array_foreach(run->outputs, i, id) {
        struct run_node *n = json_is_string(id) ? run_find(run, json_string_value(id)) : NULL;
        if (!n)
            return err_set(e, ERR_MISSING, "there is no output node %s", json_is_string(id) ? json_string_value(id) : "of that kind");
        run->at = n;
        if (!want(run, n, e))
            return false;
    }
    for (;;) {
        struct run_node *n = next_ready(run), *parked = next_parked(run);
        if (!stop_check(e))
            return false;
        if (parked && (!n || parked->wake <= clock_seconds())) {
            run->at = parked;
            if (!sleep_until(parked->wake, e))
                return false;
            n = parked;
        }
        if (!n)
            break;
        if (!execute(run, n, e))
            return false;
    }
    struct run_node *left = find_circle(run);
    if (!left)
        return true;
    run->at = left;
    return err_set(e, ERR_ARG, "Dependency cycle detected: node %s (%s) waits for itself", left->id, left->node->name);
}

/* The nodes of the flow whose results are known. */
static void tell_cached(struct run *run)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < run->original; i++)
        if (is_cached(run, run->nodes[i]))
            json_array_append_new(ids, json_string(run->nodes[i]->id));
    run_message(run, "execution_cached", json_pack("{s:o}", "nodes", ids));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool begin(struct run *run, struct err *e)
{
    const char *id;
    json_t *json;
    json_object_foreach((json_t *)(uintptr_t)run->flow, id, json) {
        const char *class = json_string_value(json_object_get(json, "class_type"));
        const struct node *node = class ? node_find(class, run->o->host->test_nodes) : NULL;
        if (!node || !json_is_object(json_object_get(json, "inputs")))
            continue; /* flow_check has found that nothing needs it */
        if (!run_add_node(run, id, node, json, id, NULL, e))
            return false;
    }
    run->original = run->count;
    const char **keys = mem_zeroed(run->count + 1, sizeof *keys);
    if (!keys)
        return err_nomem(e, "a flow's nodes");
    size_t count = 0;
    for (size_t i = 0; i < run->count; i++) {
        run_set_key(run, run->nodes[i]);
        if (*run->nodes[i]->key)
            keys[count++] = run->nodes[i]->key;
    }
    if (count)
        qsort(keys, count, sizeof *keys, by_text);
    cache_trim(&run->engine->cache, keys, count);
    mem_free(keys);
    return true;
}

/* Python's names, which clients know, for ours. */
static const char *exception_type(enum err_code code)
{
    switch (code) {
    case ERR_MISSING: return "FileNotFoundError";
    case ERR_TYPE: return "TypeError";
    case ERR_IO: return "OSError";
    case ERR_NOMEM: return "MemoryError";
    case ERR_BACKEND: return "RuntimeError";
    default: return "ValueError";
    }
}

static json_t *shown_value(const struct datum *d)
{
    switch (d->kind) {
    case DATUM_INT: return json_integer(d->whole);
    case DATUM_FLOAT: return isfinite(d->real) ? json_real(d->real) : json_null();
    case DATUM_BOOL: return json_boolean(d->whole);
    case DATUM_TEXT: return json_string(d->text);
    case DATUM_JSON: return json_incref(d->json);
    case DATUM_OBJECT: return json_string(d->type->name);
    default: return json_null();
    }
}

/* {name: [values]} of the node that failed. */
static json_t *current_inputs(struct run *run, struct run_node *n)
{
    struct node_call call;
    struct err ignored = { 0 };
    json_t *all = json_object();
    if (call_init(&call, run, n, &ignored))
        for (size_t i = 0; i < call.input_count; i++) {
            json_t *values = json_array();
            for (size_t k = 0; k < call.inputs[i].list->count; k++)
                json_array_append_new(values, shown_value(call.inputs[i].list->at[k]));
            json_object_set_new(all, call.inputs[i].name, values);
        }
    call_release(&call);
    return all;
}

static void tell_failure(struct run *run, struct flow_result *out, const struct err *e)
{
    struct run_node *n = run->at;
    json_t *data = json_pack("{s:s, s:s, s:O}", "node_id", n ? n->display : "", "node_type", n ? n->node->name : "", "executed", run->executed);
    out->end = e->code == ERR_STOPPED ? FLOW_INTERRUPTED : FLOW_ERROR;
    out->last_type = e->code == ERR_STOPPED ? "execution_interrupted" : "execution_error";
    if (e->code != ERR_STOPPED) {
        json_t *done = json_array();
        for (size_t i = 0; i < run->count; i++)
            if (run->nodes[i]->state == NODE_DONE)
                json_array_append_new(done, json_string(run->nodes[i]->id));
        const char *tip = e->code == ERR_NOMEM ? "\nTip: a smaller picture or batch takes less memory; the models have been put away." : "";
        json_object_set_new(data, "exception_message", json_sprintf("%s%s", e->text, tip));
        json_object_set_new(data, "exception_type", json_string(exception_type(e->code)));
        json_object_set_new(data, "traceback", json_array());
        json_object_set_new(data, "current_inputs", n ? current_inputs(run, n) : json_object());
        json_object_set_new(data, "current_outputs", done);
    }
    out->last_data = data;
    if (n && e->code != ERR_STOPPED) {
        n->shown = "error";
        run_tell_state(run);
    }
}

static int wanted_previews(const struct flow_run_options *o)
{
    const char *method = json_string_value(json_object_get(o->extra_data, "preview_method"));
    if (method && !strcmp(method, "none"))
        return 0;
    bool asked = method && (!strcmp(method, "auto") || !strcmp(method, "latent2rgb") || !strcmp(method, "taesd"));
    return o->preview_side ? o->preview_side : asked ? PREVIEW_SIDE : 0;
}

/* The last message is kept, and not sent. */
static void keep_last(struct run *run, struct flow_result *out)
{
    struct flow_run_options silent = *run->o;
    const struct flow_run_options *told = run->o;
    json_t *data = out->last_data ? out->last_data : json_object();
    silent.events.message = NULL;
    run->o = &silent;
    run_message(run, out->last_type, json_incref(data));
    run->o = told;
    json_decref(data);
    out->last_data = json_array_get(json_array_get(run->messages, json_array_size(run->messages) - 1), 1);
}

static void run_release(struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        run_node_free(run->nodes[i]);
    mem_free(run->nodes);
    if (run->by_id)
        g_hash_table_destroy(run->by_id);
    json_decref(run->executed);
}

bool flow_run(struct flow_engine *engine, const json_t *flow, const json_t *outputs, const struct flow_run_options *o,
              struct flow_result *result, struct err *e)
{
    struct run run = { .engine = engine, .o = o, .flow = flow, .outputs = outputs, .ui = json_object(), .meta = json_object(),
                       .messages = json_array(), .executed = json_array(), .preview_side = wanted_previews(o),
                       .by_id = g_hash_table_new(g_str_hash, g_str_equal) };
    struct err failure = { 0 };
    *result = (struct flow_result){ .end = FLOW_SUCCESS, .outputs = run.ui, .meta = run.meta, .messages = run.messages,
                                    .last_type = "execution_success" };
    bool good = (run.ui && run.meta && run.messages && run.executed) || err_nomem(e, "a run");
    const atomic_bool *before = stop_watch(o->cancel);
    if (good && (good = begin(&run, e))) {
        run_message(&run, "execution_start", json_object());
        tell_cached(&run);
        if (!run_nodes(&run, &failure))
            tell_failure(&run, result, &failure);
        keep_last(&run, result);
    }
    run_release(&run);
    stop_watch(before);
    if (failure.code == ERR_NOMEM)
        flow_engine_unload(engine, true);
    if (!good) {
        result->last_data = NULL;
        flow_result_release(result);
    }
    return good;
}

void flow_result_release(struct flow_result *r)
{
    json_decref(r->outputs);
    json_decref(r->meta);
    json_decref(r->messages);
    *r = (struct flow_result){ 0 };
}
