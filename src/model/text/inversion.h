/* Textual inversions: vectors, learned from pictures, that stand in a prompt where a token's vector would.
 *
 * source  Gal et al. 2022, "An Image is Worth One Word". Files: ComfyUI's and stable-diffusion-webui's ("string_to_param" -> "*",
 *         "emb_params"), diffusers' (the token's name), SDXL's ("clip_l" and "clip_g": a set for each text encoder); safetensors
 *         or whatever else weights_open reads.
 * bounds  INVERSION_MAX_FILES files, folders INVERSION_MAX_DEPTH deep, INVERSION_MAX_VECTORS vectors. */
#ifndef LIMN_MODEL_TEXT_INVERSION_H
#define LIMN_MODEL_TEXT_INVERSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { INVERSION_MAX_FILES = 100000, INVERSION_MAX_DEPTH = 8, INVERSION_MAX_VECTORS = 4096 };

struct inversion {
    int64_t count, width;
    float *vectors; /* [count, width] */
};

/* Reads the vectors of `width` in a file: of several tensors that have it, the one called `key` ("clip_l", "clip_g"; may be
 * NULL), or "string_to_param.*", or "emb_params"; else there may be only one.
 * errors  ERR_SHAPE (no tensor of that width; the text says which there are), ERR_FORMAT (several; not finite), ERR_LIMIT, and
 *         those of weights_open. Release with inversion_release. */
MUST_USE bool inversion_read(struct inversion *v, const char *path, int64_t width, const char *key, struct err *e);
void inversion_release(struct inversion *v);

/* The files below folders, by name. */
struct inversions;
MUST_USE struct inversions *inversions_new(struct err *e);
/* Accepts NULL. */
void inversions_free(struct inversions *s);
/* Adds the .safetensors, .pt and .bin files below a folder; those of folders added before come first. Links are followed.
 * Nothing is opened. ERR_IO, ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool inversions_add(struct inversions *s, const char *folder, struct err *e);

size_t inversions_count(const struct inversions *s);
/* The file's name without its ending; borrowed. */
const char *inversions_name(const struct inversions *s, size_t i);
const char *inversions_path(const struct inversions *s, size_t i);
/* The file that ComfyUI finds for a name: below any of the folders, with or without ending (.safetensors before .pt before .bin);
 * the name may begin with sub-folders. False if there is none. */
bool inversions_find(const struct inversions *s, const char *name, size_t *i);

/* The vectors of file i for a text encoder; read once and kept, borrowed. NULL with e set: as inversion_read. */
MUST_USE const struct inversion *inversions_get(struct inversions *s, size_t i, int64_t width, const char *key, struct err *e);

#endif
