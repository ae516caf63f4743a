/* What the node files share. */
#ifndef LIMN_FLOW_NODES_NODES_H
#define LIMN_FLOW_NODES_NODES_H

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "flow/run_internal.h"

enum { MOST_SIDE = 16384 };

extern const struct node_output image_output[], mask_output[], latent_output[], conditioning_output[], model_output[], sigmas_output[];

/* Ways to resize, as nodes offer them: for pictures, for latents. End with NULL. */
extern const char *const upscale_methods[], *const latent_upscale_methods[];

/* Passes a datum on as it is. */
static inline bool give_same(struct node_call *call, int index, const struct datum *d, struct err *e)
{
    return node_give(call, index, datum_keep((struct datum *)(uintptr_t)d), e);
}

/* Into token: what tells this state of a file (or of a folder's model_index.json) from another: size and time. */
MUST_USE bool file_token(const char *path, char token[65], struct err *e);

/* Planes [n, c, h, w] at another size, by a name of upscale_methods or latent_upscale_methods; `crop` "center" first cuts them to the
 * proportions of the new size. A new array; NULL with e set. "lanczos" is resize_image's. */
MUST_USE float *resize_planes(const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t to_h, int64_t to_w, const char *method,
                              const char *crop, struct err *e);
/* The same for IMAGE. */
MUST_USE struct flow_image *resize_image(const struct flow_image *from, int64_t to_h, int64_t to_w, const char *method, const char *crop,
                                         struct err *e);

/* A latent as a model wants it: an empty one in its cells and channels, another as it is (a copy). */
MUST_USE struct flow_latent *latent_for(const struct flow_latent *l, const struct vae_config *vae, struct err *e);

/* One picture of an IMAGE in 8 bits. */
MUST_USE bool image_to_bytes(const struct flow_image *image, int64_t index, struct image *out, struct err *e);

#endif
