/* The messages of a run: contract section 2.2. */
#include <string.h>
#include <sys/time.h>

#include "flow/run_internal.h"

static const char *prompt_id(const struct run *run)
{
    return run->o->prompt_id ? run->o->prompt_id : "";
}

static void send(struct run *run, const char *type, const json_t *data)
{
    if (run->o->events.message)
        run->o->events.message(run->o->events.self, type, data);
}

static int64_t now_ms(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (int64_t)t.tv_sec * 1000 + t.tv_usec / 1000;
}

void run_message(struct run *run, const char *type, json_t *data)
{
    bool kept = !strncmp(type, "execution_", 10);
    if (!data)
        return;
    json_object_set_new(data, "prompt_id", json_string(prompt_id(run)));
    if (kept) {
        json_object_set_new(data, "timestamp", json_integer(now_ms()));
        json_array_append_new(run->messages, json_pack("[s, O]", type, data));
    }
    send(run, type, data);
    json_decref(data);
}

/* Every node that is not pending; in flows of thousands, where each message would be megabytes, those that are finished are left out but
 * for the one at hand. */
void run_tell_state(struct run *run)
{
    enum { MOST_FINISHED = 500 };
    json_t *nodes = json_object();
    size_t shown = 0;
    for (size_t i = 0; i < run->count; i++)
        shown += run->nodes[i]->shown != NULL;
    for (size_t i = 0; i < run->count; i++) {
        const struct run_node *n = run->nodes[i];
        if (n->shown && (shown <= MOST_FINISHED || n == run->at || strcmp(n->shown, "finished")))
            json_object_set_new(nodes, n->id,
                                json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s?, s:s}", "value", (json_int_t)n->done, "max", (json_int_t)n->total,
                                          "state", n->shown, "node_id", n->id, "prompt_id", prompt_id(run), "display_node_id", n->display,
                                          "parent_node_id", n->parent, "real_node_id", n->id));
    }
    run_message(run, "progress_state", json_pack("{s:o}", "nodes", nodes));
}

void run_tell_executing(struct run *run, const struct run_node *n)
{
    run_message(run, "executing", json_pack("{s:s, s:s}", "node", n->id, "display_node", n->display));
}

void run_tell_executed(struct run *run, const struct run_node *n)
{
    json_t *ui = n->result->ui;
    run_message(run, "executed", json_pack("{s:s, s:s, s:O?}", "node", n->id, "display_node", n->display, "output", ui));
    if (!ui)
        return;
    json_object_set(run->ui, n->id, ui);
    json_object_set_new(run->meta, n->id, json_pack("{s:s, s:s, s:s?, s:s}", "node_id", n->id, "display_node", n->display, "parent_node",
                                                    n->parent, "real_node_id", n->id));
}
