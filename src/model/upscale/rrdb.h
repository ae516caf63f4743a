/* Networks that make a picture larger: RRDBNet of ESRGAN and Real-ESRGAN.
 *
 * source  Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", figures 3 and 4; Wang et al. 2021,
 *         "Real-ESRGAN", section 3.4 (pixel-unshuffle for less than four times). Names: BasicSR's (conv_first, body.N.rdbM.convK ...), those of
 *         ESRGAN's first code (RRDB_trunk) and of the code before it (model.1.sub.N ...); all are read under BasicSR's. */
#ifndef LIMN_MODEL_UPSCALE_RRDB_H
#define LIMN_MODEL_UPSCALE_RRDB_H

#include "base/file.h"
#include "model/layer/net.h"

enum { RRDB_MOST_BLOCKS = 64, RRDB_MOST_UPS = 3 };

struct rrdb_config {
    int64_t width, growth, blocks; /* features; channels that a layer of a dense block adds; residual-in-residual blocks */
    int64_t ups;                   /* times that the size is doubled */
    int64_t shuffle;               /* pixels of a side that become channels first: 1, 2 or 4 */
};

struct rrdb_file {
    char path[PATH_MAX_BYTES];
    struct rrdb_config config;
    struct weights *all, *weights; /* owned: the file, and its tensors under BasicSR's names */
};

/* Sizes are those of the tensors. Release with rrdb_file_release.
 * errors  those of weights_open; ERR_TYPE for another network (the text says what it looks like), ERR_SHAPE. */
MUST_USE bool rrdb_file_open(struct rrdb_file *f, const char *path, struct err *e);
void rrdb_file_release(struct rrdb_file *f);

/* How much larger a picture becomes: 1, 2, 4 or 8 times. */
int64_t rrdb_scale(const struct rrdb_config *c);

/* x [n, h, w, 3 shuffle^2] in 0..1, channels in the order colour, row, column of what was shuffled -> [n, h 2^ups, w 2^ups, 3], about 0..1. */
struct value rrdb(struct net *n, const struct rrdb_config *c, struct value x);

#endif
