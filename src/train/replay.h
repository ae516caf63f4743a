/* Batches from a file, so that any two trainers can be compared step by step: a safetensors file that holds for N from 0
 *     stepN.latents, stepN.noise            f32 [b, c, h, w], latents as the denoiser has them (scaled)
 *     stepN.timesteps                       i64 [b]
 *     stepN.encoder_hidden_states           f32 [b, tokens, width]
 *     or stepN.input_ids                    i64 [b, tokens], of the (first) text encoder; stepN.input_ids_2 of the second
 *     stepN.text_embeds, stepN.time_ids     f32 [b, width], [b, k]: SDXL, Kolors
 *     stepN.weights, stepN.mask             f32 [b], [b, 1, h, w]: optional
 * Every step has the shapes of the first. */
#ifndef LIMN_TRAIN_REPLAY_H
#define LIMN_TRAIN_REPLAY_H

#include "train/batch.h"
#include "train/encoders.h"
#include "weights/weights.h"

struct replay {
    struct weights *file;
    struct batch_sizes sizes;
    int64_t steps;
    /* What frozen encoders made of input_ids, [steps, n, tokens, text_width] and [steps, n, pooled_width]; NULL: the file has it. */
    float *states, *pooled;
};

/* learns: the text encoders that are run in the step, whose ids must be there. Frozen ones are run now, where the file has ids only.
 * encoders is borrowed for the call. Release with replay_release.
 * errors  ERR_MISSING (no step 0, a tensor), ERR_SHAPE, ERR_TYPE, ERR_FORMAT (a timestep or id outside its range); text: file and
 *         tensor. */
MUST_USE bool replay_open(struct replay *r, const char *path, const struct model_parts *model, int64_t timesteps,
                          const bool learns[TEXT_PARTS], struct encoders *encoders, struct err *e);
void replay_release(struct replay *r);
/* For batch_source; self is a struct replay. ERR_ARG behind the last step. */
MUST_USE bool replay_fill(void *self, int64_t index, struct batch *b, struct err *e);

#endif
