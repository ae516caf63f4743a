/* Running a checked flow.
 *
 *     struct flow_engine *engine = flow_engine_new(&(struct flow_engine_options){ .backend = b, .type = DTYPE_BF16 }, e);
 *     for each job:
 *         flow_check(&checked, flow, NULL, &host, e)        in any thread, when it is accepted
 *         flow_run(engine, flow, checked.outputs, &options, &result, e)
 *         ... store result, then send result.last_type with result.last_data ...
 *         flow_result_release(&result);
 *     flow_engine_free(engine);
 *
 * Threads: an engine (models, cache) belongs to the thread that is inside of one of its functions: one at a time, which may be another
 * one each time; several engines work side by side. Callbacks come from that thread and must not call the engine. The only thing that other
 * threads may touch during a run is options.cancel. */
#ifndef LIMN_FLOW_RUN_H
#define LIMN_FLOW_RUN_H

#include "flow/node.h"
#include "generate/generate.h"

enum flow_cache {
    FLOW_CACHE_CLASSIC, /* what the last flow used stays */
    FLOW_CACHE_RECENT,  /* the last `cache_results` results stay, used or not */
    FLOW_CACHE_NONE,
};

struct flow_engine_options {
    const struct backend *backend; /* borrowed; outlives the engine */
    enum dtype type;               /* what models compute in */
    enum flow_cache cache;
    size_t cache_results;          /* FLOW_CACHE_RECENT */
};
MUST_USE struct flow_engine *flow_engine_new(const struct flow_engine_options *options, struct err *e);
/* Accepts NULL. */
void flow_engine_free(struct flow_engine *engine);
/* Forgets models that no kept result holds, or with `results` every kept result and so every model: POST /free. */
void flow_engine_unload(struct flow_engine *engine, bool results);

struct flow_events {
    /* A message of contract section 2.2: "execution_start", "execution_cached", "progress_state", "executing", "progress", "executed"; data is
     * what the socket gets, borrowed. (status and "executing" with node null are the queue's to send.) Must not block. */
    void (*message)(void *self, const char *type, const json_t *data);
    /* A preview or, with `whole`, a picture of SaveImageWebsocket (PNG, unscaled). Encoding is the receiver's: it knows who looks. */
    void (*picture)(void *self, const char *node_id, const char *display_id, const struct image *image, bool whole);
    /* A line for people's log. */
    void (*line)(void *self, const char *text);
    void *self;
};

struct flow_run_options {
    const struct flow_host *host; /* borrowed */
    const char *prompt_id;        /* in every message; NULL: "" */
    const json_t *extra_data;     /* of the request: extra_pnginfo, preview_method; NULL: none */
    struct flow_events events;    /* each function may be NULL */
    const atomic_bool *cancel;    /* borrowed; set by any thread: the run ends within 200 ms. NULL: only by the process's stop */
    int preview_side;             /* the longest side of previews in pixels; 0: none, unless preview_method asks for them (512 then) */
};

enum flow_end { FLOW_SUCCESS, FLOW_ERROR, FLOW_INTERRUPTED };

/* What a run left. All new references, owned. */
struct flow_result {
    enum flow_end end;
    json_t *outputs;   /* {id: {"images": [...]}}: also of output nodes that were not run again */
    json_t *meta;      /* {id: {"node_id", "display_node", "parent_node", "real_node_id"}} */
    json_t *messages;  /* [[type, data], ...] of execution_*, the last one too: history's status.messages */
    /* The message that ends the run, which was not sent: execution_success, execution_error or execution_interrupted. */
    const char *last_type;
    json_t *last_data; /* borrowed from messages */
};
void flow_result_release(struct flow_result *r);

/* Runs the output nodes `outputs` (flow_checked.outputs) of a checked flow and what they need. The flow is not changed.
 * A node's failure, a cancel and a lack of memory are results, not errors of this function: true.
 * errors  ERR_NOMEM before anything ran; then result holds nothing. */
MUST_USE bool flow_run(struct flow_engine *engine, const json_t *flow, const json_t *outputs, const struct flow_run_options *options,
                       struct flow_result *result, struct err *e);

#endif
