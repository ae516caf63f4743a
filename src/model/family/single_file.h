/* A model in one file (a "checkpoint" of other programs), seen as the diffusers folder that it would be: a config for each part,
 * and views of its tensors under the names that our models ask for.
 *
 * source  the layouts of CompVis' and Stability AI's files: "model.diffusion_model." (UNet), "first_stage_model." (VAE),
 *         "cond_stage_model." and "conditioner.embedders.N." (text encoders), as they and ComfyUI write them; files that hold
 *         one part alone, under LDM's or diffusers' names; Kolors the same way, its ChatGLM3 as glm_file.h says. What a file is comes from its tensors and their shapes, never from
 *         its name.
 * A file carries no configs: those of the family are taken (single_config.c), sizes come from the shapes. What shapes cannot
 * tell (heads, groups, activations, what a UNet predicts) is the family's; a file of a model with other ones needs the configs
 * of a folder (model_source.h). */
#ifndef LIMN_MODEL_FAMILY_SINGLE_FILE_H
#define LIMN_MODEL_FAMILY_SINGLE_FILE_H

#include "base/json.h"
#include "weights/weights.h"

/* What a UNet in a file predicts: seen in the file, or said by the user. */
enum predicts { PREDICTS_AUTO, PREDICTS_EPSILON, PREDICTS_V, PREDICTS_COUNT };
extern const char *const predicts_names[PREDICTS_COUNT]; /* "auto", "epsilon", "v_prediction" */

/* The parts in the names of a folder. */
enum single_part { SINGLE_TEXT, SINGLE_TEXT_2, SINGLE_UNET, SINGLE_VAE, SINGLE_PARTS };
extern const char *const single_part_names[SINGLE_PARTS]; /* "text_encoder", "text_encoder_2", "unet", "vae" */

/* A model line as single files have it. */
enum single_kind { KIND_NONE, KIND_SD1, KIND_SD2, KIND_SDXL, KIND_SDXL_REFINER, KIND_KOLORS, KIND_COUNT };
extern const char *const single_kind_names[KIND_COUNT]; /* "none", "sd1", "sd2", "sdxl", "sdxl-refiner", "kolors" */
extern const char *const single_kind_titles[KIND_COUNT]; /* "Stable Diffusion 1" ... for people */

struct single_file;

/* Opens and recognises. A file with one part is good too.
 * errors  as weights_open; ERR_TYPE if it holds no part that is known (the text says what it looks like) or one that our models
 *         cannot be (the text names the tensor). */
MUST_USE struct single_file *single_file_open(const char *path, struct err *e);
/* The same for a ControlNet (Zhang et al. 2023), which is then its SINGLE_UNET: in the names of its makers ("control_model."), or in
 * diffusers'. single_file_open refuses one. ERR_TYPE if it is none. */
MUST_USE struct single_file *single_control_open(const char *path, struct err *e);
/* Accepts NULL. */
void single_file_free(struct single_file *f);

/* All of the file's tensors under its own names. Borrowed. */
const struct weights *single_file_all(const struct single_file *f);
/* KIND_NONE: only a VAE or a text encoder, which several families have. */
enum single_kind single_file_kind(const struct single_file *f);
/* The UNet takes a mask and a masked picture beside the latents (9 channels). */
bool single_file_inpaints(const struct single_file *f);
bool single_file_has(const struct single_file *f, enum single_part part);
/* Whose a text encoder without a UNet is, by its depth: KIND_SD1 (CLIP-L, which is XL's first, too), KIND_SD2 (OpenCLIP-H), KIND_SDXL
 * (OpenCLIP-bigG, XL's second). */
enum single_kind single_file_text(const struct single_file *f);
/* What the part's names begin with in the file, "" for none, and whether they are diffusers' already. */
const char *single_file_prefix(const struct single_file *f, enum single_part part);
bool single_file_is_plain(const struct single_file *f, enum single_part part);
/* The text encoder is ChatGLM3 (glm_file.h), and the bytes of its tokenizer.model where the file has them, too; NULL: it has not. */
bool single_file_is_glm(const struct single_file *f);
const struct weight *single_file_pieces(const struct single_file *f);
/* What the UNet predicts, and how that is known (for people). PREDICTS_EPSILON without a UNet. */
enum predicts single_file_predicts(const struct single_file *f, const char **how);

/* A view of a part's tensors; free with weights_free, before the file. ERR_MISSING if the file does not have the part. */
MUST_USE struct weights *single_file_weights(const struct single_file *f, enum single_part part, struct err *e);

/* The config that would lie in the folder, a new reference (json_decref). part: "" (model_index.json), "unet", "scheduler",
 * "tokenizer_2" (tokenizer_config.json), ...
 * `how` says what the UNet predicts. ERR_MISSING for a part that is not there; ERR_TYPE where sizes are none that the family
 * has, so that heads or groups cannot be known. */
MUST_USE json_t *single_file_json(const struct single_file *f, const char *part, enum predicts how, struct err *e);
/* What a model line says of a part whatever its sizes are, "vae" or "scheduler": the same without a file. */
MUST_USE json_t *single_kind_json(enum single_kind kind, const char *part, struct err *e);

#endif
