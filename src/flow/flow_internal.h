/* What the files of this folder share. */
#ifndef LIMN_FLOW_FLOW_INTERNAL_H
#define LIMN_FLOW_FLOW_INTERNAL_H

#include "flow/flow.h"
#include "flow/node_table.h"

/* json.c: a whole number above INT64_MAX as flow_json_parse keeps it; whether j is a whole number in either form, its bits into *bits and
 * in *large whether it is above INT64_MAX. */
json_t *flow_json_u64(uint64_t v);
bool flow_json_is_whole(const json_t *j, int64_t *bits, bool *large);

/* ["3", 0]: a link; id is borrowed. */
bool flow_is_link(const json_t *value, const char **id, int64_t *output);

/* object_info.c: ["INT", {...}], as /object_info has it and errors quote it. choices: those of a COMBO, borrowed; NULL. */
json_t *node_input_config(const struct node_input *input, json_t *choices);
/* The default as JSON, a new reference; NULL: none. */
json_t *node_default(const struct node_input *input);
bool node_is_choice(const struct node_input *input);

/* args.c: fills a node's arguments from data, one list an input (NULL: none is known) of which the index-th counts, the last if
 * there are fewer. args: args_bytes zeros.
 * errors  ERR_TYPE: a datum of another type than the input's, which only an undeclared link or a text in place of a link can bring. */
MUST_USE bool args_fill(const struct node *n, void *args, const struct datum_list *const *inputs, size_t index, struct err *e);
/* The same from constants alone, for node.check and node.changed: links are left out. The data live in *held, to be released after
 * the call. */
MUST_USE bool args_of_constants(const struct node *n, const json_t *inputs, void *args, struct datum_list *held, struct err *e);
/* A constant of a checked flow as a datum, by the input it goes to (NULL: an undeclared one). */
struct datum *datum_of_constant(const json_t *value, const struct node_input *input, struct err *e);

#endif
