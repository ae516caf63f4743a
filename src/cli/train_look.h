/* Sample pictures of a fine-tuning: the same words and the same noise at every look, side by side in one PNG. */
#ifndef LIMN_CLI_TRAIN_LOOK_H
#define LIMN_CLI_TRAIN_LOOK_H

#include "cli/engine.h"
#include "train/batch.h"

struct train_look {
    const struct model_files *files; /* borrowed */
    const struct engine *engine;     /* borrowed */
    char **prompts;
    uint64_t *seeds;
    size_t count;
    int64_t steps, width, height;
    double alpha; /* of files that do not tell theirs; NAN: they do */
};

/* words: each a text, or a file with one on every line. steps 0: the model's own. Pictures are of width x height pixels. */
MUST_USE bool train_look_init(struct train_look *l, const struct model_files *files, const struct engine *engine,
                              const struct option_texts *words, int64_t steps, int64_t width, int64_t height, struct err *e);
void train_look_release(struct train_look *l);
/* For finetune_options.look. made: a LoRA file, or the folder of a whole model. */
MUST_USE bool train_look_draw(void *self, const char *made, int64_t step, const char *png, json_t *metrics, struct err *e);

#endif
