/* What one batch of a fine-tuning is made of, in host memory, before noise is put to the latents: filled from a dataset
 * (samples.h) or from a file (replay.h). */
#ifndef LIMN_TRAIN_BATCH_H
#define LIMN_TRAIN_BATCH_H

#include "model/family/family.h"

struct batch_sizes {
    int64_t n, h, w, channels;                /* of the latents; of several shapes those of the largest */
    int64_t tokens, text_width, pooled_width; /* of the states; pooled 0: the family has none */
    int64_t time_ids;                         /* 0: none */
    bool ids[TEXT_PARTS];                     /* this encoder is run in the step: its ids are given, not its states */
    bool mask;
};

struct batch {
    struct batch_sizes sizes;
    float *latent, *noise; /* [n, h, w, channels]: x0 as the denoiser has it, and the noise of the step */
    int64_t *timestep;     /* [n] */
    float *weight;         /* [n]: how much a sample counts beside the others; 1 */
    float *mask;           /* [n, h, w], 0..1: how much a place counts; NULL: all alike */
    float *states;         /* [n, tokens, text_width]; of encoders that are run in the step nothing is read */
    float *pooled;         /* [n, pooled_width]; NULL: none */
    float *time_ids;       /* [n, time_ids]; NULL: none */
    int32_t *ids[TEXT_PARTS]; /* [n, tokens]; NULL: not run in the step */
};

/* Arrays of zeros, weights of 1. Release with batch_release, also after a failure. */
MUST_USE bool batch_init(struct batch *b, const struct batch_sizes *s, struct err *e);
void batch_release(struct batch *b);

struct batch_shape {
    int64_t h, w; /* of the latents */
};

/* Where batches come from. */
struct batch_source {
    void *self;
    /* Batch `index` of the run: a function of the index alone. Sets b->sizes.h and w to those of its shape, where there are several; b has
     * room for the largest. */
    bool (*fill)(void *self, int64_t index, struct batch *b, struct err *e);
    /* Batch `index` < held_out of what is held out. */
    bool (*fill_held_out)(void *self, int64_t index, struct batch *b, struct err *e);
    int64_t held_out;
    /* Aspect buckets: which shapes there are, and which of them a batch has. NULL: one, that of the sizes. */
    const struct batch_shape *shapes;
    size_t shape_count;
    size_t (*shape)(void *self, int64_t index);
    size_t (*held_out_shape)(void *self, int64_t index);
};

#endif
