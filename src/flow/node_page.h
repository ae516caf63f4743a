/* The node table as a page for people: docs/nodes.md, and what `limn nodes` prints of one node. */
#ifndef LIMN_FLOW_NODE_PAGE_H
#define LIMN_FLOW_NODE_PAGE_H

#include "base/text.h"
#include "flow/node.h"

/* All nodes but those for tests, by category, in Markdown; the same in every place, so nothing of folders is in it. */
void node_page(struct text *out);
/* One node: its sentence, inputs and outputs, as plain lines. */
void node_page_one(struct text *out, const struct node *n);

#endif
