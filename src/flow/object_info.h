/* What /object_info answers: the node table as JSON, in the form N of contract section 1.4. Any thread. Model folders are looked
 * through at each call, so that new files appear. */
#ifndef LIMN_FLOW_OBJECT_INFO_H
#define LIMN_FLOW_OBJECT_INFO_H

#include "flow/node.h"

/* {class: N, ...} of all nodes, or of one (`class`; {} if there is none); a new reference. NULL with e set: ERR_NOMEM, ERR_IO. */
MUST_USE json_t *object_info(const char *class, const struct flow_host *host, struct err *e);

#endif
