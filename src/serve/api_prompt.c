/* The queue as ComfyUI's clients see it: a flow comes in, waits, runs, and lies in the history. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "flow/flow.h"
#include "flow/object_info.h"
#include "serve/json_io.h"
#include "serve/server_internal.h"

#define ANSWER_MAX_BYTES ((size_t)1 << 30)

const char *owner_of(const struct exchange *x)
{
    return x->server->o->users ? x->user : NULL;
}

bool answer_queue_text(struct exchange *x, struct text *t, bool good, struct err *e)
{
    good = good && text_ok(t, e);
    if (good)
        answer_bytes(x, 200, "application/json; charset=utf-8", text_string(t), t->length);
    text_release(t);
    return good;
}

/* --- POST /prompt --- */

static bool refuse_id(struct exchange *x, struct err *e)
{
    return answer_json(x, 400, json_pack("{s:{s:s,s:s,s:s,s:{}},s:{}}", "error", "type", "invalid_prompt_id", "message", "prompt_id is no id", "details",
                                         "want a UUID in lower case; none: the server makes one", "extra_info", "node_errors"), e);
}

/* extra_data with what the server adds to it; a new reference. */
static json_t *extra_of(const json_t *body, const char *client)
{
    const json_t *given = json_object_get(body, "extra_data");
    json_t *extra = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (extra && client)
        json_object_set_new(extra, "client_id", json_string(client));
    if (extra)
        json_object_set_new(extra, "create_time", json_integer((json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000));
    return extra;
}

static bool add_job(struct exchange *x, struct job *job, json_t *flow, json_t *extra, json_t *outputs, struct job_added *added, struct err *e)
{
    struct text prompt, words, targets;
    text_init(&prompt, ANSWER_MAX_BYTES);
    text_init(&words, ANSWER_MAX_BYTES);
    text_init(&targets, ANSWER_MAX_BYTES);
    flow_json_text(&prompt, flow);
    flow_json_text(&words, extra);
    flow_json_text(&targets, outputs);
    bool good = text_ok(&prompt, e) && text_ok(&words, e) && text_ok(&targets, e);
    job->prompt = text_string(&prompt);
    job->extra = text_string(&words);
    job->targets = text_string(&targets);
    good = good && queue_add(x->server->queue, job, added, e);
    text_release(&prompt);
    text_release(&words);
    text_release(&targets);
    return good;
}

bool server_accept(struct exchange *x, json_t *body, struct flow_checked *checked, struct job_added *added, bool *accepted, struct err *e)
{
    json_t *flow = json_object_get(body, "prompt");
    const json_t *id = json_object_get(body, "prompt_id"), *number = json_object_get(body, "number");
    const char *client = json_string_value(json_object_get(body, "client_id")), *given = json_string_value(id);
    const json_t *targets = json_object_get(body, "partial_execution_targets");
    struct runner_place place;
    *accepted = false;
    bool read = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) &&
                flow_check(checked, flow, json_is_array(targets) ? targets : NULL, &place.host, e);
    runner_place_release(&place);
    if (!read)
        return false;
    if (checked->error)
        return true;
    json_t *extra = extra_of(body, client);
    struct job job = {
        .id = given, .owner = owner_of(x), .client = client, .has_number = json_is_number(number), .number = json_number_value(number),
        .front = json_is_true(json_object_get(body, "front")),
        .workflow = json_string_value(json_object_get(json_object_get(json_object_get(extra, "extra_pnginfo"), "workflow"), "id")),
    };
    *accepted = extra ? add_job(x, &job, flow, extra, checked->outputs, added, e) : err_nomem(e, "a job");
    json_decref(extra);
    if (!*accepted)
        flow_checked_release(checked);
    return *accepted;
}

static json_t *number_of(double number)
{
    return number == (double)(json_int_t)number ? json_integer((json_int_t)number) : json_real(number);
}

bool post_prompt(struct exchange *x, struct err *e)
{
    const json_t *id = json_object_get(x->json, "prompt_id");
    struct flow_checked checked;
    struct job_added added;
    bool accepted;
    if (id && !json_is_null(id) && (!json_is_string(id) || !is_job_uuid(json_string_value(id))))
        return refuse_id(x, e);
    if (!server_accept(x, x->json, &checked, &added, &accepted, e))
        return false;
    bool good = accepted ? answer_json(x, 200, json_pack("{s:s,s:o,s:O}", "prompt_id", added.id, "number", number_of(added.number), "node_errors",
                                                         checked.node_errors), e)
                         : answer_json(x, 400, json_pack("{s:O,s:O}", "error", checked.error, "node_errors", checked.node_errors), e);
    flow_checked_release(&checked);
    return good;
}

/* --- the queue --- */

bool get_prompt(struct exchange *x, struct err *e)
{
    int64_t remaining;
    return queue_remaining(x->server->queue, owner_of(x), &remaining, e) &&
           answer_json(x, 200, json_pack("{s:{s:I}}", "exec_info", "queue_remaining", (json_int_t)remaining), e);
}

bool get_queue(struct exchange *x, struct err *e)
{
    struct text t;
    text_init(&t, ANSWER_MAX_BYTES);
    return answer_queue_text(x, &t, queue_list(x->server->queue, owner_of(x), &t, e), e);
}

/* The texts of a list, borrowed from it; free the array with mem_free. Items that are no texts are left out. */
static const char **ids_of(const json_t *list, size_t *count, struct err *e)
{
    const char **ids = mem_zeroed(json_array_size(list) + 1, sizeof *ids);
    *count = 0;
    if (!ids)
        err_nomem(e, "a list of ids");
    for (size_t i = 0; ids && i < json_array_size(list); i++)
        if (json_is_string(json_array_get(list, i)))
            ids[(*count)++] = json_string_value(json_array_get(list, i));
    return ids;
}

bool post_queue(struct exchange *x, struct err *e)
{
    const json_t *list = json_object_get(x->json, "delete");
    size_t count;
    bool good = !json_is_true(json_object_get(x->json, "clear")) || queue_clear(x->server->queue, owner_of(x), NULL, e);
    if (good && json_is_array(list)) {
        const char **ids = ids_of(list, &count, e);
        good = ids && (!count || queue_delete(x->server->queue, owner_of(x), ids, count, NULL, e));
        mem_free(ids);
    }
    return good && answer_json(x, 200, json_object(), e);
}

bool post_interrupt(struct exchange *x, struct err *e)
{
    return queue_interrupt(x->server->queue, owner_of(x), json_string_value(json_object_get(x->json, "prompt_id")), e) &&
           answer_json(x, 200, json_object(), e);
}

bool post_free(struct exchange *x, struct err *e)
{
    bool results = json_is_true(json_object_get(x->json, "free_memory"));
    if (results || json_is_true(json_object_get(x->json, "unload_models")))
        runner_let_go(x->server->runner, results);
    return answer_json(x, 200, json_object(), e);
}

/* --- history --- */

bool get_history(struct exchange *x, struct err *e)
{
    int64_t most = -1, offset = -1;
    struct text t;
    if (!exchange_query_int(x, "max_items", INT64_MIN, INT64_MAX, &most, e) || !exchange_query_int(x, "offset", INT64_MIN, INT64_MAX, &offset, e))
        return false;
    text_init(&t, ANSWER_MAX_BYTES);
    return answer_queue_text(x, &t, queue_history(x->server->queue, owner_of(x), most < 0 ? -1 : most, offset < 0 ? -1 : offset, &t, e), e);
}

bool get_history_one(struct exchange *x, struct err *e)
{
    struct text t;
    text_init(&t, ANSWER_MAX_BYTES);
    return answer_queue_text(x, &t, queue_history_of(x->server->queue, owner_of(x), x->param[0], &t, e), e);
}

bool post_history(struct exchange *x, struct err *e)
{
    const json_t *list = json_object_get(x->json, "delete");
    size_t count;
    bool good = !json_is_true(json_object_get(x->json, "clear")) || queue_history_clear(x->server->queue, owner_of(x), e);
    if (good && json_is_array(list)) {
        const char **ids = ids_of(list, &count, e);
        good = ids && (!count || queue_history_delete(x->server->queue, owner_of(x), ids, count, e));
        mem_free(ids);
    }
    return good && answer_json(x, 200, json_object(), e);
}

/* --- nodes --- */

/* Loaders that ComfyUI's front end (1.27) takes for granted: it breaks where one of them is not listed. Those that limn does not have are
 * listed for it without files, and a flow that holds one is refused. */
static const struct { const char *class, *input; } expected[] = {
    { "ImageOnlyCheckpointLoader", "ckpt_name" }, { "ControlNetLoader", "control_net_name" }, { "UNETLoader", "unet_name" },
    { "UpscaleModelLoader", "model_name" }, { "StyleModelLoader", "style_model" }, { "GLIGENLoader", "gligen_name" },
};

static bool add_expected(json_t *info, struct err *e)
{
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *class = expected[i].class;
        if (json_object_get(info, class))
            continue;
        json_t *node = json_pack("{s:{s:{s:[[]]}},s:{s:[s]},s:[],s:[],s:[],s:s,s:s,s:s,s:s,s:s,s:b,s:b}", "input", "required", expected[i].input, "input_order",
                                 "required", expected[i].input, "output", "output_is_list", "output_name", "name", class, "display_name", class,
                                 "description", "limn has no such node.", "python_module", "nodes", "category", "_not_in_limn", "output_node", 0, "deprecated", 1);
        if (!node || json_object_set_new(info, class, node))
            return err_nomem(e, "a list of nodes");
    }
    return true;
}

json_t *server_nodes(void *self, const struct flow_host *host, struct err *e)
{
    const struct server *s = self;
    json_t *info = object_info(NULL, host, e);
    if (!info || !s->o->foreign_page || add_expected(info, e))
        return info;
    json_decref(info);
    return NULL;
}

bool get_object_info(struct exchange *x, struct err *e)
{
    struct runner_place place;
    bool good = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) && catalog_answer(x->server->catalog, x, &place.host, e);
    runner_place_release(&place);
    return good;
}

bool get_object_info_one(struct exchange *x, struct err *e)
{
    struct runner_place place;
    json_t *info = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) ? object_info(x->param[0], &place.host, e) : NULL;
    runner_place_release(&place);
    return info && answer_json(x, 200, info, e);
}
