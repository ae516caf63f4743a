/* Training a text encoder and a denoiser together, from nothing, on latents of a trained VAE. */
#ifndef LIMN_TRAIN_TRAIN_BASE_H
#define LIMN_TRAIN_TRAIN_BASE_H

#include "base/random.h"
#include "model/denoiser/unet.h"
#include "model/text/clip.h"
#include "sampler/noise_schedule.h"
#include "tokenizer/clip_tokenizer.h"
#include "train/latents.h"
#include "train/trainer.h"

struct train_base_options {
    const struct dataset *dataset;        /* borrowed, as all pointers here */
    const struct latents *latents;        /* the pool; its scenes are those of latents_options with this seed */
    struct scene_options scenes;
    uint64_t pool_seed;                   /* the pool's */
    const struct latents *held_out;       /* scenes of held-out pictures, chosen with the same chances and seed; NULL: none */
    const struct clip_tokenizer *tokenizer;
    struct clip_config text;
    struct unet_config unet;
    struct scheduler_config scheduler;
    const struct weights *stored_text, *stored_unet; /* begin with these; NULL: from nothing */
    const char *vae_folder, *tokenizer_folder;       /* copied into the exported model */
    enum dtype type, export_type;
    bool recompute;
    uint64_t seed;
    double caption_dropout;               /* share of samples with an empty caption */
    double min_snr;                       /* gamma of min-SNR weighting (Hang et al. 2023); 0: every timestep counts alike */
    double min_weight;                    /* and no timestep less than this: with zero terminal SNR the last has weight 0, but
                                             sampling begins there */
    double timestep_shift;                /* noise_schedule_draw's: 1 all timesteps alike, above 1 noisy ones more often */
    struct train_options run;
    /* Draws the preview from an exported model folder; NULL: none. */
    bool (*preview)(void *self, const char *model, int64_t step, const char *png, json_t *metrics, struct err *e);
    void *preview_self;
};

MUST_USE bool train_base_plan(const struct train_base_options *o, const struct backend *backend,
                              struct train_memory *memory, struct err *e);
/* The run (trainer.h). run.folder/model is a whole diffusers folder. */
MUST_USE bool train_base(const struct train_base_options *o, const struct backend *backend,
                         const struct progress *progress, struct err *e);

/* What the text encoder's own training (train_text.h) shares. How long a text is, filled up: */
int64_t train_base_tokens(const struct train_base_options *o);
/* A scene of the pool said in one of its ways, or with the chance `dropout` not at all: ids[train_base_tokens]. */
MUST_USE bool train_base_words(const struct train_base_options *o, const struct scene_options *scenes, uint64_t scene, double dropout,
                               struct random *r, int32_t *ids, struct err *e);
/* Writes j as folder/part/name and releases it; j may be NULL: ERR_NOMEM. */
MUST_USE bool train_base_write_json(const char *folder, const char *part, const char *name, json_t *j, struct err *e);

#endif
