/* Models from one layout and type into another, as a stream: whatever the model's size, little of it is in memory at a time. */
#ifndef LIMN_MODEL_FAMILY_CONVERT_H
#define LIMN_MODEL_FAMILY_CONVERT_H

#include "base/progress.h"
#include "model/family/model_source.h"

enum convert_layout { CONVERT_SINGLE, CONVERT_FOLDER };

struct convert {
    struct model_files files; /* what is converted */
    const char *output;       /* a file (GGUF if its name ends so, else safetensors), or a folder that is not there or empty */
    enum dtype type;          /* of all floating-point tensors: f32, f16, bf16, for GGUF also what quant.h can pack, then of the large
                               * ones only (convert_internal.h); DTYPE_COUNT: each as it is (quantised ones are f16 in safetensors) */
    enum convert_layout layout;
    bool replace;             /* a folder that is at output gives way, when the new one is whole */
    /* Changes a part's tensor t ("unet"), which is numbers[its count] in f32, before it is written; only with CONVERT_FOLDER, and not
     * where a part is quantised (ERR_TYPE). NULL: nothing is changed. */
    bool (*change)(void *self, const char *part, const struct weight *t, float *numbers, struct err *e);
    void *self;
};

/* What it does:
 *   folder -> single   names as CompVis and Stability AI write them (single_file.h); one file
 *   single -> folder   configs, tokenizers (of files.config, or the installed vocabulary), a weight file for each part
 *   folder -> folder   the same files with another type
 *   file   -> single   any file of weights, its own names and metadata; another type
 * The output is there whole or not at all. Numbers are rounded to nearest even.
 * errors  those of model_source_open; ERR_ARG (the output is there already or is the input), ERR_TYPE (a family without such a
 *         layout), ERR_FORMAT (numbers beyond the range of f16, with the tensor's name), ERR_IO, ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool model_convert(const struct convert *c, const struct progress *progress, struct err *e);

#endif
