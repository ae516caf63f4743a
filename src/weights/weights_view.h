/* Another look at the tensors of an open file: under other names, in parts, turned. A view is a struct weights that models take
 * as they take a file; it copies nothing but names (and the few tensors that must be turned).
 *
 *     struct weights *view = weights_view_new(file, e);
 *     weights_view_add(view, "conv_in.weight", weights_find(file, "model.diffusion_model.input_blocks.0.0.weight"), e);
 *     weights_view_end(view, e);      ... now weights_find(view, ...) ...      weights_free(view);
 *
 * weights_path, weights_metadata and weights_forget of a view are the file's. */
#ifndef LIMN_WEIGHTS_WEIGHTS_VIEW_H
#define LIMN_WEIGHTS_WEIGHTS_VIEW_H

#include "base/progress.h"
#include "weights/weights.h"

/* An empty view. file is borrowed and must outlive it; so must every tensor that is added, which must be the file's. Free with
 * weights_free. */
MUST_USE struct weights *weights_view_new(const struct weights *file, struct err *e);
/* The tensor as it is, called `name` (copied). */
MUST_USE bool weights_view_add(struct weights *view, const char *name, const struct weight *t, struct err *e);
/* Part `part` of `parts` equal parts along the first dimension, in place: OpenCLIP's in_proj_weight [3 width, width] holds those
 * of query, key and value one after the other. ERR_SHAPE if the dimension has no such parts, or a quantised type
 * no whole blocks in them. */
MUST_USE bool weights_view_part(struct weights *view, const char *name, const struct weight *t, int part, int parts,
                                struct err *e);
/* A copy with rows and columns exchanged; of a quantised type, whose blocks run along the rows, in f32. ERR_SHAPE for other than
 * two dimensions. */
MUST_USE bool weights_view_turned(struct weights *view, const char *name, const struct weight *t, struct err *e);
/* A copy of integers whose rows have a scale each, as ChatGLM's own quantisation packs a matrix: t i8 [rows, columns], or two numbers
 * of 4 bit in a byte, the earlier one in its upper half (bits 4); scale [rows], floating. Where ggml's blocks can hold it
 * exactly (32 divides the columns and every scale is an f16) it is Q8_0 or Q4_0, otherwise f32. ERR_SHAPE, ERR_TYPE. */
MUST_USE bool weights_view_scaled(struct weights *view, const char *name, const struct weight *t, const struct weight *scale,
                                  int bits, struct err *e);
/* A copy in another type, of numbers that are not there before weights_view_fill: until then it takes no memory. A name that the file has,
 * too. ERR_TYPE if there is no such conversion. */
MUST_USE bool weights_view_typed(struct weights *view, const struct weight *t, enum dtype type, struct err *e);
/* Makes the numbers of those copies and lets go of the file's pages. Stoppable. ERR_FORMAT for a number that the type cannot hold. */
MUST_USE bool weights_view_fill(struct weights *view, const struct progress *progress, struct err *e);
/* Nothing is added after this, and the view can be asked. ERR_FORMAT if a name was added twice. */
MUST_USE bool weights_view_end(struct weights *view, struct err *e);

#endif
