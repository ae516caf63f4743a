/* Which folders hold models of which kind, and what lies in them: limn's own folders, an installation of ComfyUI that is used in
 * place, and the folders that an extra_model_paths.yaml names.
 *
 * source  ComfyUI's folder names and their aliases, its endings, its order (folders that are added first are looked at first) and
 *         its names: the path below the folder of the kind.
 * bounds  PLACES_MOST folders, PLACES_MOST_FILES files in one walk, PLACES_MAX_DEPTH folders deep. */
#ifndef LIMN_MODEL_PLACES_PLACES_H
#define LIMN_MODEL_PLACES_PLACES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"

enum { PLACES_MOST = 4096, PLACES_MOST_FILES = 1000000, PLACES_MAX_DEPTH = 16 };

/* In the order of lists. */
enum model_kind {
    MODELS_CHECKPOINTS, /* whole models in one file */
    MODELS_DIFFUSERS,   /* whole models in folders with a model_index.json */
    MODELS_DIFFUSION_MODELS,
    MODELS_TEXT_ENCODERS,
    MODELS_VAE,
    MODELS_VAE_APPROX,
    MODELS_LORAS,
    MODELS_EMBEDDINGS,
    MODELS_CONTROLNET,
    MODELS_UPSCALE_MODELS,
    MODELS_CLIP_VISION,
    MODELS_STYLE_MODELS,
    MODELS_GLIGEN,
    MODELS_HYPERNETWORKS,
    MODELS_PHOTOMAKER,
    MODELS_CLASSIFIERS,
    MODELS_MODEL_PATCHES,
    MODELS_AUDIO_ENCODERS,
    MODELS_KINDS
};
/* "checkpoints", "diffusers" ...: ComfyUI's keys. */
extern const char *const model_kind_names[MODELS_KINDS];
/* The kind of a key, an alias ("unet", "clip") too; MODELS_KINDS: none. */
enum model_kind model_kind_of(const char *key);

enum place_form {
    PLACE_PLAIN,
    PLACE_ROOT, /* the folders of the kinds lie in it, too: they are left out at its top */
    PLACE_RUNS, /* folders of trainings: the LoRA of each, RUN_LORA, is called as its folder, with the ending of the file */
};
#define RUN_LORA "lora.safetensors"

struct model_place {
    enum model_kind kind;
    char *path; /* owned; it may not be there */
    enum place_form form;
};
struct model_places {
    struct model_place *items; /* in the order in which they are looked at */
    size_t count, cap;
    struct text notes;         /* what looks like a mistake in a file of model paths, a line each, with its place there; at most 4 KB */
};

/* Starts empty ({ 0 } is empty, too); release gives all of it back. */
void model_places_release(struct model_places *p);

/* Adds a folder behind the others, or before them (`first`). One that is there already for this kind is not added again, but
 * `first` moves it. ERR_LIMIT, ERR_NOMEM; then p is as it was. */
MUST_USE bool model_places_add(struct model_places *p, enum model_kind kind, const char *path, bool first, struct err *e);
/* Adds the folders of the kinds below a folder as ComfyUI's models: checkpoints, loras, unet and diffusion_models, ... */
MUST_USE bool model_places_add_models(struct model_places *p, const char *folder, struct err *e);
/* The same of a folder of limn's, in which whole models lie, too. */
MUST_USE bool model_places_add_own(struct model_places *p, const char *folder, struct err *e);
/* Adds an installation of ComfyUI: its models, what it has written to output/, and what its own extra_model_paths.yaml names.
 * ERR_MISSING if there is no folder models in it. */
MUST_USE bool model_places_add_comfyui(struct model_places *p, const char *folder, struct err *e);
/* Adds what flows leave in a folder of outputs: output/checkpoints, clip, vae, diffusion_models and loras, as ComfyUI does, whole models in
 * output/diffusers, and the LoRAs of the trainings in output/runs. */
MUST_USE bool model_places_add_output(struct model_places *p, const char *folder, struct err *e);
/* Adds all of `from`. */
MUST_USE bool model_places_add_all(struct model_places *p, const struct model_places *from, struct err *e);
/* Adds what a file in the form of ComfyUI's extra_model_paths.yaml names (extra_paths.c). Keys that are no kinds are left out:
 * plug-ins have their own; one that is nearly a kind's, and a folder that is not there, are noted. ERR_FORMAT with file and line; ERR_LIMIT, ERR_IO, ERR_MISSING. */
MUST_USE bool model_places_add_file(struct model_places *p, const char *path, struct err *e);
/* The same of text[0..bytes); path is the file's, for errors and for paths relative to its folder. */
MUST_USE bool model_places_add_yaml(struct model_places *p, const char *text, size_t bytes, const char *path, struct err *e);

/* One model. All borrowed. */
struct model_found {
    enum model_kind kind;
    const char *name, *path; /* name: below the folder of its kind, with '/' */
    int64_t bytes;           /* of the file, or of all files of the folder */
    bool folder;
    const char *why;         /* NULL, or why this folder or file cannot be looked at */
};
/* Calls visit for every model of a kind, place by place, by name; stops when it returns false. Links are followed, names that
 * begin with a dot are left out, places that are not there hold nothing. Nothing is opened.
 * errors  ERR_LIMIT, ERR_NOMEM, ERR_STOPPED, and what visit sets. */
MUST_USE bool model_places_walk(const struct model_places *p, enum model_kind kind,
                                bool (*visit)(void *self, const struct model_found *found, struct err *e), void *self, struct err *e);

/* Calls enter for every folder that a walk over any kind looks into, and for places that are not there (yet): what lists of models say
 * can only have changed if one of these has. A folder may come several times. Errors as above. */
MUST_USE bool model_places_folders(const struct model_places *p, bool (*enter)(void *self, const char *folder, struct err *e), void *self,
                                   struct err *e);

/* The model of a name among kinds (bits 1 << kind) into out[PATH_MAX_BYTES]: its name as a list shows it, with '/' or '\', with or
 * without its ending; or its last part alone, if only one has it. For MODELS_DIFFUSERS and MODELS_VAE a folder will do.
 * `what` is for errors ("LoRA").
 * errors  ERR_MISSING with the folders that were looked at, ERR_ARG (several have it, or the name leaves the folder), those of
 *         model_places_walk. */
MUST_USE bool model_places_find(const struct model_places *p, unsigned kinds, const char *what, const char *name, char *out,
                                struct err *e);

#endif
