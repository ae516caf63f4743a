/* A backend runs ops on a device. It is one struct of functions; program.c is its only caller, cli/ (and serve/) the
 * only ones that name one. All functions are called from one thread at a time per program. */
#ifndef LIMN_GRAPH_BACKEND_H
#define LIMN_GRAPH_BACKEND_H

#include "graph/graph.h"

/* One op of a program, with the memory it works on. */
struct op_call {
    const struct graph *graph; /* borrowed */
    const struct op_node *node;
    struct tensor in[OP_MAX_IN], out[OP_MAX_OUT]; /* type and shape always; data only while running. An input that is
                                                     packed has data = what `pack` wrote. data NULL: not given */
    bool is_constant[OP_MAX_IN]; /* a weight that never changes: may be packed */
    void *scratch;               /* scratch_bytes, 64-byte aligned, contents undefined */

    /* Set by prepare: */
    size_t scratch_bytes;
    size_t packed_bytes[OP_MAX_IN]; /* > 0: program.c calls pack once for this input and then hands over the result */
    void *state;                    /* the backend's own; freed by release */
};

struct backend {
    const char *name;
    void *self;
    /* Whether it has a kernel for these types and shapes. The table of cases in tests/ walks this: a surprise fails. */
    bool (*can)(const struct backend *b, const struct op_call *call);
    /* Chooses a kernel, sets scratch_bytes, packed_bytes and state. May fail: ERR_BACKEND, ERR_NOMEM, ERR_TYPE. */
    bool (*prepare)(const struct backend *b, struct op_call *call, struct err *e);
    /* Writes input `index` (whose bytes are at src, of type call->in[index].type) in the form run wants. */
    bool (*pack)(const struct backend *b, const struct op_call *call, int index, const void *src, void *packed,
                 struct err *e);
    bool (*run)(const struct backend *b, struct op_call *call, struct err *e);
    void (*release)(const struct backend *b, struct op_call *call);
};

#endif
