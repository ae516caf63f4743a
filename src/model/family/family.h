/* Families: the lines of models that people have (SD 1 and 2, SDXL, Kolors, ...), as data and a few functions. A family says which parts a
 * folder of its pipelines has and how they are joined; the parts themselves (text encoders, denoiser, VAE) know no families.
 * family_of looks one up by the class that model_index.json names. To add one: docs/adding-a-family.md. */
#ifndef LIMN_MODEL_FAMILY_FAMILY_H
#define LIMN_MODEL_FAMILY_FAMILY_H

#include "model/denoiser/unet.h"
#include "model/text/text.h"
#include "model/vae/vae.h"
#include "sampler/scheduler_config.h"

/* The parts of a model: sub-folders, and what begins the weights' names in graphs. */
enum model_part { PART_TEXT, PART_TEXT_2, PART_UNET, PART_VAE, PART_COUNT };
enum { TEXT_PARTS = PART_UNET }; /* parts 0 .. TEXT_PARTS are text encoders */
/* "text_encoder", "text_encoder_2", "unet", "vae". */
extern const char *const model_part_names[PART_COUNT];

/* What a model's own files say beside its parts' configs (model_index.json). */
struct model_settings {
    bool force_zeros;     /* no negative words: zeros in place of their states */
    bool aesthetic_score; /* the last time id is a score, not a size: SDXL's refiner */
    bool fills_in;        /* the pipeline's class is one for inpainting: a denoiser may have channels for mask and picture */
    bool redraws;         /* or one that begins with a picture */
};

/* What a denoiser is told about a picture's making, in pixels: SDXL. */
struct picture_facts {
    int64_t original_width, original_height; /* of the picture before it was scaled to the training size */
    int64_t crop_left, crop_top;
    int64_t target_width, target_height;
    double score;                            /* aesthetic, 0 .. 10 */
};
enum { FAMILY_MAX_TIME_IDS = 8 };

struct family_pipeline {
    const char *class;  /* diffusers' */
    unsigned corrects;  /* CORRECTS_..: what its constructor puts right in the scheduler, whatever the file says */
    int64_t steps;      /* that limn takes where nothing else is said */
    double cfg;         /* the class's own guidance_scale */
    struct model_settings settings; /* those that model_index.json does not change, and the defaults of those that it does */
};
enum {
    CORRECTS_OFFSET = 1, /* steps_offset 1 */
    CORRECTS_CLIP = 2,   /* clip_sample false */
    CORRECTS_PRK = 4,    /* skip_prk_steps true */
};

struct family_text {
    const struct text_kind *kind; /* NULL: none in this place */
    const char *class;            /* transformers' */
    bool optional;                /* model_index.json may have [null, null] */
};

struct model_parts;

struct family {
    const char *name; /* "sd", "sdxl", "kolors" */
    const struct family_pipeline *pipelines; /* ends with a NULL class */
    struct family_text text[TEXT_PARTS];
    enum text_states states;
    bool norms;       /* the pipelines apply the VAE's latents_mean and latents_std */
    bool pools;       /* the last text encoder's pooled vector goes to the denoiser */
    /* Contradictions between parts that only this family knows; `where` begins the error. */
    bool (*agree)(const struct model_parts *m, const char *where, struct err *e);
    /* The time ids of a picture, of the words or of the negative words, in the denoiser's order; returns how many. NULL: none. */
    size_t (*time_ids)(const struct model_settings *s, const struct picture_facts *facts, bool negative, float *out);
};

/* Every family. Ends with NULL. */
extern const struct family *const families[];
extern const struct family family_sd, family_sdxl, family_kolors;

/* SDXL's `agree` and `time_ids`, for every family whose denoiser is told a pooled text and sizes. */
MUST_USE bool sdxl_agree(const struct model_parts *m, const char *where, struct err *e);
size_t sdxl_time_ids(const struct model_settings *s, const struct picture_facts *facts, bool negative, float *out);

/* The family and the row of its table for a pipeline's class; NULL if there is none. */
const struct family *family_of(const char *class, const struct family_pipeline **pipeline);

/* What a model is made of. */
struct model_parts {
    const struct family *family;
    struct model_settings settings;
    struct text_encoder text[TEXT_PARTS]; /* kind NULL: none */
    struct unet_config unet;
    struct vae_config vae;
};

/* The width of all text encoders' states together, and of the pooled vector (0: none). */
int64_t model_text_width(const struct model_parts *m);
int64_t model_pooled_width(const struct model_parts *m);
/* The text encoder whose pooled vector a family that pools gives to the denoiser: the last one. */
enum model_part model_pooling_part(const struct model_parts *m);
/* Input channels of the denoiser beside the latent's: for inpainting a mask and the latent of what is kept. */
int64_t model_extra_channels(const struct model_parts *m);
/* Whether the parts fit each other. errors  ERR_FORMAT, ERR_TYPE: file and value of both sides. */
MUST_USE bool model_parts_agree(const struct model_parts *m, const char *where, struct err *e);

#endif
