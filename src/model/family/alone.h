/* Parts of a model by themselves, as ComfyUI's loaders take them: a denoiser without words and VAE, text encoders without a denoiser, a
 * VAE. What the others would say of the part is filled in, so that a pipeline can do the part's work with it.
 *
 * Where a config.json of diffusers lies beside a file it counts, and so do the folders beside that one (scheduler/, vae/, tokenizer/);
 * otherwise the file's own shapes and its family's numbers do, as for single files (single_file.h). */
#ifndef LIMN_MODEL_FAMILY_ALONE_H
#define LIMN_MODEL_FAMILY_ALONE_H

#include "base/file.h"
#include "model/family/family.h"
#include "model/family/single_file.h"

/* Which text encoders. */
enum alone_text {
    ALONE_TEXT_SD,     /* one of CLIP's: that of Stable Diffusion 1 or 2, or that of XL's refiner, as its tensors say */
    ALONE_TEXT_SDXL,   /* two of CLIP's, in any order where one of them is OpenCLIP's */
    ALONE_TEXT_KOLORS, /* ChatGLM3: a folder, or a file with the tokenizer beside it */
};

/* What is opened: one of the three. All borrowed. */
struct alone_files {
    const char *unet;             /* a file, or a folder in diffusers' layout */
    const char *text[TEXT_PARTS]; /* the same; the second with ALONE_TEXT_SDXL alone */
    const char *vae;              /* the same, or a whole model's folder */
    enum alone_text type;
};

struct model_alone {
    struct model_parts parts;
    struct scheduler_config scheduler;    /* of a denoiser */
    struct single_file *file[TEXT_PARTS]; /* owned; NULL: a folder */
    struct weights *weights[PART_COUNT];  /* owned; NULL: the part is not there */
};

/* Release with model_alone_release, behind whatever uses the weights.
 * errors  those of single_file_open and of the readers of configs; ERR_TYPE if the file holds another part than is wanted, ERR_MISSING. */
MUST_USE bool model_alone_open(struct model_alone *a, const struct alone_files *files, struct err *e);
void model_alone_release(struct model_alone *a);

#endif
