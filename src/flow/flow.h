/* A flow in ComfyUI's API format, {"3": {"class_type": "KSampler", "inputs": {"seed": 5, "model": ["4", 0], ...}}, ...}: reading
 * and checking it.
 *
 * Threads: any thread may call what is here; nothing is shared but the json that is handed in.
 * bounds  FLOW_MAX_NODES nodes, FLOW_MAX_BYTES of text. */
#ifndef LIMN_FLOW_FLOW_H
#define LIMN_FLOW_FLOW_H

#include "base/text.h"
#include "flow/node.h"

enum { FLOW_MAX_NODES = 10000 };
#define FLOW_MAX_BYTES ((size_t)32 << 20)

/* JSON text whose whole numbers may go up to 2^64 - 1 (seeds): those above INT64_MAX, for which jansson has no number, become texts
 * that flow_json_text writes as numbers again. Use these two for everything that holds flows. `where` names it in errors.
 * errors  ERR_FORMAT, ERR_LIMIT (FLOW_MAX_BYTES), ERR_NOMEM. */
MUST_USE json_t *flow_json_parse(const char *text, size_t bytes, const char *where, struct err *e);
/* ASCII, keys in their order, compact; appended to out, whose text_ok tells. */
void flow_json_text(struct text *out, const json_t *j);

/* What flow_check found. Release with flow_checked_release. */
struct flow_checked {
    json_t *outputs;     /* ["9", ...]: the output nodes that can run, in the flow's order; empty: nothing can */
    json_t *error;       /* NULL, or {"type", "message", "details", "extra_info"}: the answer is 400 then */
    json_t *node_errors; /* {id: {"errors": [...], "dependent_outputs": [...], "class_type"}}; may be filled without an error */
};

/* Checks a flow: every node and link that an output node needs. Constants are converted in place to what the node wants ("5" -> 5,
 * {"__value__": [..]} -> [..]), so the flow that runs and is recorded is the checked one. targets: an array of output nodes to which the run is
 * restricted, or NULL. flow may be any JSON at all, also NULL.
 * meaning  the errors are those of contract section 3: types, messages, details and extra_info as ComfyUI has them; a cycle is
 *          "dependency_cycle".
 * errors   false only for ERR_NOMEM and folders that cannot be read; then out holds nothing. */
MUST_USE bool flow_check(struct flow_checked *out, json_t *flow, const json_t *targets, const struct flow_host *host, struct err *e);
void flow_checked_release(struct flow_checked *c);

/* The error and the node errors as lines for people; "" if there are none. */
void flow_checked_text(const struct flow_checked *c, struct text *out);

/* Reads the flow of a file: API format in JSON; a picture of ours or ComfyUI's that tells its flow (image/picture_texts.h); or a workflow as the page
 * saves it (JSON, or in a picture), which flow_from_workflow turns. *workflow (may be NULL) gets the page's form if there is one, a new reference.
 * A new reference; NULL with e set: ERR_IO, ERR_FORMAT (the text says what was found), ERR_MISSING (a picture without a flow). */
MUST_USE json_t *flow_read(const char *path, const struct flow_host *host, json_t **workflow, struct err *e);

/* The page's form {"nodes": [...], "links": [...]} -> API format, a new reference: widgets in the order of the table, muted nodes left
 * out, bypassed ones replaced by what comes into them, reroutes and primitives resolved.
 * errors  ERR_MISSING (a node that limn does not have), ERR_FORMAT. */
MUST_USE json_t *flow_from_workflow(const json_t *workflow, const struct flow_host *host, struct err *e);

/* Sets "node.input" or "title.input" or "Class.input" to a value as a user types it; with a node's id, its title (_meta) or its class if
 * only one node has it.
 * errors  ERR_ARG: no such node or input (the text lists those there are), or several. */
MUST_USE bool flow_set(json_t *flow, const char *setting, const struct flow_host *host, struct err *e);

#endif
