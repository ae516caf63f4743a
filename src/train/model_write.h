/* Writes a model folder of what a training of whole weights has learnt: the model as it was, with these weights in place of its own. */
#ifndef LIMN_TRAIN_MODEL_WRITE_H
#define LIMN_TRAIN_MODEL_WRITE_H

#include "model/family/convert.h"
#include "train/state.h"

/* folder: a diffusers folder, which is there whole or not at all; one that is there gives way. type: of all weights; DTYPE_COUNT:
 * each as its file has it. kind: the values, or their running mean. errors  those of model_convert. */
MUST_USE bool model_write(const struct train_state *s, enum state_kind kind, const struct model_files *files, enum dtype type,
                          const char *folder, struct err *e);

#endif
