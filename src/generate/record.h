/* What is written into a picture's file about how it was made. */
#ifndef LIMN_GENERATE_RECORD_H
#define LIMN_GENERATE_RECORD_H

#include <jansson.h>

#include "base/text.h"
#include "generate/generate.h"

/* The text that the AUTOMATIC1111 web UI writes under the key "parameters" and many programs read: the prompt, "Negative
 * prompt: ..." if there is one, then "Steps: 20, Sampler: euler, ...". */
void record_parameters(struct text *out, const struct draw_request *r, int64_t width, int64_t height, const char *model,
                       const char *version);

/* A ComfyUI graph in API form that does the same, for the key "prompt": one line of ASCII. Sampler and schedule have our
 * names, which are ComfyUI's but for "model". p: the pipeline that drew. */
MUST_USE bool record_graph(struct text *out, const struct pipeline *p, const struct draw_request *r, int64_t width, int64_t height,
                           const char *model, struct err *e);

#endif
