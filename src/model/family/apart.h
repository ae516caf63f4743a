/* A part of a model that lies by itself, and what lies beside it; above all a Kolors whose parts lie apart, as its LoRA trainers name
 * them: the denoiser's file, ChatGLM3's folder, a VAE's file. Where a
 * config.json lies beside a part it counts; otherwise the model's own (Kwai-Kolors/Kolors, 2024) is meant. */
#ifndef LIMN_MODEL_FAMILY_APART_H
#define LIMN_MODEL_FAMILY_APART_H

#include "base/file.h"
#include "base/json.h"

/* The config of a part ("" is model_index.json, "scheduler", "unet", "vae"), whose weights lie at `path` (a file or a folder; for
 * "scheduler" the denoiser's, beside whose folder there may be a scheduler/). A new reference; where gets its place for errors. */
MUST_USE json_t *apart_json(const char *part, const char *path, char where[PATH_MAX_BYTES], struct err *e);
/* The config.json beside a part, which is there and whose `key` ("_class_name", "architectures") begins with `begins`: a new reference.
 * NULL with *e clear: there is none. where gets its place. */
MUST_USE json_t *apart_config(const char *path, const char *key, const char *begins, char where[PATH_MAX_BYTES], struct err *e);
/* The folder that a file lies in, or the folder itself. */
MUST_USE bool apart_folder(char *out, const char *path, struct err *e);

#endif
