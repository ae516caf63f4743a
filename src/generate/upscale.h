/* Pictures made larger by a network (model/upscale/rrdb.h), in tiles that lie over each other. */
#ifndef LIMN_GENERATE_UPSCALE_H
#define LIMN_GENERATE_UPSCALE_H

#include "base/progress.h"
#include "graph/backend.h"
#include "tensor/tensor.h"

enum { UPSCALE_TILE = 256 }; /* pixels of a tile's side where nothing else is said */

struct upscaler;

/* errors  those of rrdb_file_open. NULL then. */
MUST_USE struct upscaler *upscaler_open(const char *path, struct err *e);
/* Accepts NULL. */
void upscaler_free(struct upscaler *u);
/* How much larger: 1, 2, 4 or 8 times. */
int64_t upscaler_scale(const struct upscaler *u);

/* pixels [h, w, 3] in 0..1 -> out [h scale, w scale, 3], about 0..1, overwritten. tile: pixels of a tile's side, at least 32; 0: UPSCALE_TILE.
 * Where one does not fit into memory it is halved (progress is told). Programs stay for the next picture of the same tiles, for one
 * backend and type.
 * errors  ERR_ARG, ERR_LIMIT (a picture too large), ERR_NOMEM, ERR_STOPPED, ERR_BACKEND. */
MUST_USE bool upscaler_run(struct upscaler *u, const struct backend *backend, enum dtype type, const float *pixels, int64_t h, int64_t w, int64_t tile,
                           const struct progress *progress, float *out, struct err *e);

#endif
