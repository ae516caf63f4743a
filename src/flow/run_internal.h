/* The insides of a run: nodes with their state, results, the cache, and what a node's functions see of it. */
#ifndef LIMN_FLOW_RUN_INTERNAL_H
#define LIMN_FLOW_RUN_INTERNAL_H

#include <glib.h>

#include "base/digest.h"
#include "flow/flow_internal.h"
#include "flow/run.h"
#include "flow/types.h"

/* What a node gave. Shared by the cache and the nodes of a run; counted, by one thread. */
struct result {
    int holders;
    struct datum_list *outputs; /* [count] */
    size_t count;
    json_t *ui; /* NULL: it shows nothing */
};
struct result *result_new(const struct node *n, struct err *e);
struct result *result_keep(struct result *r);
void result_drop(struct result *r);

/* cache.c */
struct cache_entry {
    char key[DIGEST_TEXT_BYTES], owner[DIGEST_TEXT_BYTES]; /* owner: of the node that expanded to this one; "" */
    struct result *result;
    uint64_t used;
};
struct cache {
    enum flow_cache how;
    size_t most;
    struct cache_entry *entries;
    size_t count, cap;
    uint64_t clock;
};
void cache_release(struct cache *c);
/* NULL: not known. Borrowed. */
struct result *cache_find(struct cache *c, const char *key);
MUST_USE bool cache_add(struct cache *c, const char *key, const char *owner, struct result *r, struct err *e);
/* Forgets what none of these keys, sorted, has or owns (FLOW_CACHE_CLASSIC), or what was not used longest. */
void cache_trim(struct cache *c, const char *const *keys, size_t count);

struct flow_engine {
    const struct backend *backend;
    enum dtype type;
    struct cache cache;
    struct flow_weights **models; /* each held */
    size_t model_count, model_cap;
};
/* models.c: a model's weights, opened or those that are there already; a new holder. NULL with e set. */
MUST_USE struct flow_weights *engine_weights(struct flow_engine *engine, const struct model_files *files, const struct model_places *places,
                                             struct err *e);

/* The same for a part alone: a denoiser, text encoders or a VAE. */
MUST_USE struct flow_weights *engine_alone(struct flow_engine *engine, const struct alone_files *files, const struct model_places *places,
                                           struct err *e);

/* The pipeline of weights that are about to work. Where memory is short, programs of all others go: their nodes make them again. */
struct pipeline *engine_use(struct flow_engine *engine, const struct flow_weights *w);

/* One node of a run.
 *
 *     idle --want--> wanted --its needs are done--> run --> done
 *                      ^  |                          |
 *                      |  +--- parked (node_again) <-+
 *                      +------ more needs: lazy inputs, what it expanded to */
enum node_state { NODE_IDLE, NODE_WANTED, NODE_PARKED, NODE_DONE };

struct run_node {
    char *id, *display, *parent; /* owned; parent NULL: it is the flow's own */
    const struct node *node;
    json_t *json;                /* {"class_type", "inputs"}; a reference */
    struct datum_list held;      /* data that stand as constants: {"__held__": index} */
    enum node_state state;
    struct result *result;
    char key[DIGEST_TEXT_BYTES]; /* "": never the same */
    bool keyed, keying, lazy_asked, ran;
    size_t index;                /* in run.nodes */
    size_t *needs, *users;       /* indices of nodes that must be done first, and of those that wait for this one */
    size_t need_count, need_cap, user_count, user_cap;
    struct expansion *expansion; /* what was given in place of outputs; NULL */
    double first_call, wake;     /* clock_seconds */
    int64_t done, total;         /* progress */
    const char *shown;           /* "running", "finished", "error" of progress_state; NULL: pending */
};

/* Outputs that are links to nodes inside, call by call. */
struct given {
    struct datum *datum; /* held, or NULL: a link */
    char *id;
    int output;
};
struct expansion {
    struct given *given; /* in order */
    int *outputs;        /* beside them: which output each belongs to */
    size_t count, cap, outputs_cap;
};
void expansion_free(struct expansion *x);

struct run {
    struct flow_engine *engine;
    const struct flow_run_options *o;
    struct run_node **nodes;
    GHashTable *by_id;           /* id -> node */
    size_t count, cap, original; /* the first `original` are the flow's own */
    const json_t *flow, *outputs;
    json_t *ui, *meta, *messages, *executed;
    int preview_side;
    struct run_node *at;         /* the one that runs */
};
MUST_USE bool run_add_node(struct run *run, const char *id, const struct node *node, json_t *json, const char *display, const char *parent,
                           struct err *e);
struct run_node *run_find(const struct run *run, const char *id);
void run_node_free(struct run_node *n);

/* keys.c: sets n->key, and those of what it depends on. */
void run_set_key(struct run *run, struct run_node *n);

/* run_events.c: the messages of a run. */
void run_message(struct run *run, const char *type, json_t *data); /* takes data; execution_* get prompt_id and timestamp and are kept */
void run_tell_state(struct run *run);
void run_tell_executing(struct run *run, const struct run_node *n);
void run_tell_executed(struct run *run, const struct run_node *n);

/* What a node's functions get: one call for one index of its lists. */
struct node_call {
    struct run *run;
    struct run_node *n;
    const struct datum_list **declared; /* in the table's order; NULL: not known */
    struct { const char *name; const struct datum_list *list; bool owned; } *inputs; /* all of them, by name */
    size_t input_count, index;
    struct result *result;
    struct datum_list *fresh; /* [outputs] of this call */
    struct expansion *expansion; /* NULL: no link was given */
    bool again;
    double seconds;
    struct progress progress;
    char needed[32][64]; /* lazy inputs that were asked for */
    size_t needed_count;
};

#endif
