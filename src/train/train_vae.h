/* Training a VAE from nothing (or from a file) on the pictures and scenes of a dataset. */
#ifndef LIMN_TRAIN_TRAIN_VAE_H
#define LIMN_TRAIN_TRAIN_VAE_H

#include "dataset/scene.h"
#include "model/vae/vae.h"
#include "train/loss.h"
#include "train/trainer.h"

struct train_vae_options {
    const struct dataset *dataset;   /* loaded; borrowed */
    struct scene_options scenes;
    struct vae_config config;
    const struct weights *stored;    /* begin with these; NULL: from nothing */
    int64_t size;                    /* pixels of a side, a multiple of the factor */
    enum dtype type, export_type;    /* of activations; of the weights in model/ */
    bool recompute;
    uint64_t seed;
    struct vae_loss_weights loss;
    double gan;                      /* weight of a patch discriminator's opinion (discriminator.h); 0: there is none */
    int64_t gan_width;               /* of its first layer */
    int64_t gan_start;               /* step from which it counts; the discriminator learns from the first */
    struct train_options run;
};

/* What a run of these options would take. */
MUST_USE bool train_vae_plan(const struct train_vae_options *o, const struct backend *backend,
                             struct train_memory *memory, struct err *e);
/* The run (trainer.h). run.folder/model/vae/ holds config.json (with a scaling_factor that makes the latents' standard
 * deviation 1) and the weights. metrics.jsonl has "psnr" of held-out pictures (of training ones where none are held out). */
MUST_USE bool train_vae(const struct train_vae_options *o, const struct backend *backend,
                        const struct progress *progress, struct err *e);

#endif
