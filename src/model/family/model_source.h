/* Where the configs and weights of a model come from: a folder in diffusers' layout, a single file (single_file.h), or a single
 * file with the configs of a folder; and a VAE or a text encoder of its own where one is named. What the file does not hold is taken
 * from the config folder, where that has weights. */
#ifndef LIMN_MODEL_FAMILY_MODEL_SOURCE_H
#define LIMN_MODEL_FAMILY_MODEL_SOURCE_H

#include "base/file.h"
#include "model/family/single_file.h"
#include "model/text/text.h"

/* What a user names. All borrowed. */
struct model_files {
    const char *path;       /* a folder or a file; NULL: the parts of a Kolors lie apart */
    const char *config;     /* a folder with the configs and tokenizers of the file's model; NULL: the family's */
    const char *vae;        /* a file or folder whose VAE is taken in place of the model's; NULL: none */
    const char *unet;       /* where it is, with path NULL (then text_encoder and vae are needed, too): apart.h */
    const char *text_encoder; /* a file or folder whose text encoder is taken in place of the model's first; NULL: none */
    enum predicts predicts; /* what the UNet predicts; PREDICTS_AUTO: what file or folder say */
};

struct model_source {
    char path[PATH_MAX_BYTES], config[PATH_MAX_BYTES], vae_path[PATH_MAX_BYTES]; /* config is path for a folder; "": none */
    char text_path[PATH_MAX_BYTES]; /* of a text encoder that is named by itself; "": none */
    bool apart;                     /* parts lie apart, the denoiser is at path */
    struct single_file *file, *vae, *text; /* owned; NULL: folders (of vae and text also: none is named) */
    enum predicts predicts;
};

/* Opens files, reads no configs. Release with model_source_release.
 * errors  ERR_MISSING (nothing there), those of single_file_open, ERR_ARG (a config folder for a folder). */
MUST_USE bool model_source_open(struct model_source *s, const struct model_files *files, struct err *e);
void model_source_release(struct model_source *s);

/* The config of a part ("" is model_index.json, "scheduler", "unet", "tokenizer" ...), a new reference. where gets its place for
 * errors. */
MUST_USE json_t *model_source_json(const struct model_source *s, const char *part, char where[PATH_MAX_BYTES], struct err *e);
/* The folder that configs and tokenizers are in; NULL: the file's family has them. Borrowed. */
const char *model_source_configs(const struct model_source *s);
/* The folders of a CLIP's config and of its tokenizer, where model_source_configs gives one. */
MUST_USE bool model_source_text(const struct model_source *s, const char *part, const char *tokenizer_part, char *encoder,
                                char *tokenizer, struct err *e);
/* ChatGLM3's tokenizer.model, from the config folder, from beside the text encoder or from within its file: the bytes, to be freed
 * with mem_free, and their place. ERR_MISSING says where it may lie. */
MUST_USE bool model_source_pieces(const struct model_source *s, char **data, size_t *bytes, char where[PATH_MAX_BYTES],
                                  struct err *e);
/* ChatGLM3 with that tokenizer. */
MUST_USE bool model_source_glm(const struct model_source *s, struct text_encoder *t, struct err *e);
/* The weights of a part; free with weights_free, before the source. */
MUST_USE struct weights *model_source_weights(const struct model_source *s, const char *part, struct err *e);
/* A tokenizer ("tokenizer", "tokenizer_2") of a file without a config folder: CLIP's, of the installed vocabulary
 * (clip_tokenizer.h). Free with clip_tokenizer_free. */
MUST_USE struct clip_tokenizer *model_source_tokenizer(const struct single_file *file, const char *part, struct err *e);

#endif
