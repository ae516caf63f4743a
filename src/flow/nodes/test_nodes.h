/* What the nodes for tests share. */
#ifndef LIMN_FLOW_NODES_TEST_NODES_H
#define LIMN_FLOW_NODES_TEST_NODES_H

#include "flow/nodes/nodes.h"

#define AT(args, member) offsetof(struct args, member)

#define TEST_NODE(name_, title_, category_, inputs_, outputs_, args_, flags_, run_, ...)                                               \
    { name_, title_, "For tests.", category_, inputs_, outputs_, .args_bytes = sizeof(struct args_), .flags = NODE_TEST | (flags_),      \
      .run = run_, __VA_ARGS__ }

static inline bool give_image(struct node_call *call, int index, struct flow_image *image, struct err *e)
{
    return node_give(call, index, datum_of_object(&type_image, image, e), e);
}

static inline struct flow_image *constant(int64_t n, int64_t h, int64_t w, float v, struct err *e)
{
    struct flow_image *image = flow_image_new(n, h, w, e);
    for (int64_t i = 0; image && i < n * h * w * 3; i++)
        image->at[i] = v;
    return image;
}

#endif
