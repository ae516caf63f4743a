/* Two spellings of the same tensors: the names that a file has ("outer") and those that the models ask for ("inner"). A map is a
 * list of pairs of beginnings; the rest of a name stays. Where several fit, the longest does:
 *
 *     input_blocks.1.0               <->  down_blocks.0.resnets.0
 *     input_blocks.1.0.in_layers.0   <->  down_blocks.0.resnets.0.norm1       so input_blocks.1.0.in_layers.0.weight is
 *                                                                             down_blocks.0.resnets.0.norm1.weight
 * A beginning ends where a name has a dot or its end; "" fits every name. */
#ifndef LIMN_WEIGHTS_NAME_MAP_H
#define LIMN_WEIGHTS_NAME_MAP_H

#include "weights/weights_view.h"

/* What becomes of a tensor's values on the way in. */
enum name_how {
    NAME_WHOLE,                           /* nothing */
    NAME_FIRST, NAME_SECOND, NAME_THIRD,  /* the inner tensor is this third of the outer one */
    NAME_TURNED,                          /* rows and columns are exchanged */
};

struct name_pair {
    char *outer, *inner; /* owned by the map */
    enum name_how how;
};
struct name_map {
    struct name_pair *at;
    size_t count, cap;
};

enum { NAME_MAX_BYTES = 400, NAME_MOST = 3 };
struct renamed {
    char name[NAME_MAX_BYTES];
    enum name_how how;
};

void name_map_init(struct name_map *m);
void name_map_release(struct name_map *m);
/* Both are copied. */
MUST_USE bool name_map_add(struct name_map *m, enum name_how how, const char *outer, const char *inner, struct err *e);
/* The inner names of an outer one: none, one, or three for a tensor that holds three. Names that would be longer than
 * NAME_MAX_BYTES are none of ours. */
size_t name_map_inner(const struct name_map *m, const char *outer, struct renamed out[NAME_MOST]);
/* The outer name of an inner one; false if the map has none. */
bool name_map_outer(const struct name_map *m, const char *inner, struct renamed *out);

/* A view of all tensors of the file that begin with `prefix` (which is cut off) and that the map knows, under their inner names.
 * ERR_FORMAT if two tensors would get one name; ERR_SHAPE as weights_view.h. */
MUST_USE struct weights *name_map_view(const struct name_map *m, const struct weights *file, const char *prefix,
                                       struct err *e);

#endif
