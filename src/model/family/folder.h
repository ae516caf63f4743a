/* A model folder in diffusers' layout: what its model_index.json and the config of every part say, checked against each
 * other, the tokenizers, the scheduler, and the weights of a part once they are asked for.
 *
 *   model_index.json   _class_name: a pipeline that a family knows (family.h); the class of every part
 *   text_encoder/  text_encoder_2/  unet/  vae/   config.json and weights (weights.h says which files are looked for)
 *   tokenizer/  tokenizer_2/   vocab.json, merges.txt, ...
 *   scheduler/         scheduler_config.json */
#ifndef LIMN_MODEL_FAMILY_FOLDER_H
#define LIMN_MODEL_FAMILY_FOLDER_H

#include "base/file.h"
#include "base/progress.h"
#include "model/family/family.h"
#include "model/family/model_source.h"

struct model_folder {
    char path[PATH_MAX_BYTES];
    struct model_source source; /* where all of it comes from: the folder, or a file seen as one */
    struct model_parts parts; /* with the tokenizers, which are the folder's */
    /* As the pipeline runs it: the class of model_index.json, and what the pipeline's constructor puts right. */
    struct scheduler_config scheduler;
    struct weights *weights[PART_COUNT]; /* owned; NULL until asked for */
    struct weights *cast[PART_COUNT];    /* owned; what model_folder_cast made of them */
    /* What the maker of the model recommends ("_limn" in model_index.json, which diffusers ignores), or the pipeline's. */
    int64_t default_steps;
    double default_cfg;
};

/* Reads everything but weights. Release with model_folder_release.
 * errors  name the file and the value: ERR_MISSING, ERR_FORMAT (also contradictions between parts: width of the text states,
 *         latent channels, vocabulary, positions), ERR_TYPE (another pipeline or part than a family has), ERR_IO. */
MUST_USE bool model_folder_open(struct model_folder *f, const char *path, struct err *e);
/* The same for whatever a user may name: a single file, configs of another folder, a VAE of its own (model_source.h). */
MUST_USE bool model_folder_open_files(struct model_folder *f, const struct model_files *files, struct err *e);
void model_folder_release(struct model_folder *f);

/* The weights of a part, opened at the first call; borrowed, until model_folder_close or the release. NULL with e set. */
MUST_USE const struct weights *model_folder_weights(struct model_folder *f, enum model_part part, struct err *e);
void model_folder_close(struct model_folder *f, enum model_part part);

/* From now on model_folder_weights gives the part's large matrices and kernels in another type, in memory of their own; DTYPE_COUNT: as the
 * files have them again. Of a quantised type: what a conversion to it would quantise (convert.h). Programs that were made before have
 * what is then gone. The numbers are there after model_folder_cast_fill, which is stoppable.
 * errors  ERR_TYPE, ERR_FORMAT (a number that the type cannot hold), ERR_NOMEM. */
MUST_USE bool model_folder_cast(struct model_folder *f, enum model_part part, enum dtype type, struct err *e);
MUST_USE bool model_folder_cast_fill(struct model_folder *f, enum model_part part, const struct progress *progress, struct err *e);

/* Pixels of a side that the model was made for: the UNet's sample_size times the VAE's factor. */
int64_t model_folder_side(const struct model_folder *f);

#endif
