/* A model folder in diffusers' layout: what its model_index.json and the config of every part say, checked against each
 * other, the tokenizer, the scheduler, and the weights of a part once they are asked for.
 *
 *   model_index.json   _class_name StableDiffusionPipeline; the class of every part
 *   text_encoder/  unet/  vae/   config.json and weights (weights.h says which files are looked for)
 *   tokenizer/         vocab.json, merges.txt, ...
 *   scheduler/         scheduler_config.json */
#ifndef LIMN_MODEL_FAMILY_FOLDER_H
#define LIMN_MODEL_FAMILY_FOLDER_H

#include "base/file.h"
#include "model/denoiser/unet.h"
#include "model/text/clip.h"
#include "model/vae/vae.h"
#include "sampler/scheduler_config.h"
#include "tokenizer/clip_tokenizer.h"

enum model_part { PART_TEXT, PART_UNET, PART_VAE, PART_COUNT };
/* "text_encoder", "unet", "vae": the sub-folder, and what begins the weights' names in graphs. */
extern const char *const model_part_names[PART_COUNT];

struct model_folder {
    char path[PATH_MAX_BYTES];
    struct clip_config text;
    struct unet_config unet;
    struct vae_config vae;
    /* As StableDiffusionPipeline runs it: the class of model_index.json, steps_offset 1 and clip_sample false whatever
     * the file says. */
    struct scheduler_config scheduler;
    struct clip_tokenizer *tokenizer; /* owned */
    struct weights *weights[PART_COUNT]; /* owned; NULL until asked for */
    /* What the maker of the model recommends ("_limn" in model_index.json, which diffusers ignores); 0: nothing said. */
    int64_t default_steps;
    double default_cfg;
};

/* Reads everything but weights. Release with model_folder_release.
 * errors  name the file and the value: ERR_MISSING, ERR_FORMAT (also contradictions between parts: width of the text states,
 *         latent channels, vocabulary, positions), ERR_TYPE (another pipeline or part than this family has), ERR_IO. */
MUST_USE bool model_folder_open(struct model_folder *f, const char *path, struct err *e);
void model_folder_release(struct model_folder *f);

/* The weights of a part, opened at the first call; borrowed, until model_folder_close or the release. NULL with e set. */
MUST_USE const struct weights *model_folder_weights(struct model_folder *f, enum model_part part, struct err *e);
void model_folder_close(struct model_folder *f, enum model_part part);

/* Pixels of a side that the model was made for: the UNet's sample_size times the VAE's factor. */
int64_t model_folder_side(const struct model_folder *f);

#endif
