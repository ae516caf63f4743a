/* What is written into a picture's file about the flow that made it: "prompt" (the flow in API format), every key of extra_pnginfo (normally
 * "workflow", the page's form), and "parameters", the line of A1111's web UI that many programs read. */
#ifndef LIMN_FLOW_PICTURE_RECORD_H
#define LIMN_FLOW_PICTURE_RECORD_H

#include "base/text.h"
#include "flow/node.h"
#include "image/image.h"

enum { PICTURE_TEXTS = 8 };

struct picture_record {
    struct text values[PICTURE_TEXTS];
    struct image_text texts[PICTURE_TEXTS]; /* borrow from values and from the png_info */
    size_t count;
};

/* flow NULL: nothing is written. id: the node that writes the picture, whose sampler's settings are the parameters; no sampler, no
 * parameters. png_info (may be NULL) is borrowed until the release.
 * errors  ERR_NOMEM, ERR_LIMIT; then out holds nothing. */
MUST_USE bool picture_record_init(struct picture_record *out, const json_t *flow, const json_t *png_info, const char *id,
                                  const struct flow_host *host, int64_t width, int64_t height, struct err *e);
void picture_record_release(struct picture_record *r);

#endif
