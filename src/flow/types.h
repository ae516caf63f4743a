/* The objects that go along the links, and their types. Numbers are f32. Objects do not change once they are given to a link. */
#ifndef LIMN_FLOW_TYPES_H
#define LIMN_FLOW_TYPES_H

#include "flow/datum.h"
#include "generate/stages.h"
#include "model/family/alone.h"
#include "tensor/tensor.h"

/* The type of a socket's name, NULL: a number, a text, or no type that limn knows. */
const struct datum_type *type_find(const char *name);

/* IMAGE: pictures of one size. */
struct flow_image {
    int64_t n, h, w;
    float *at; /* [n, h, w, 3] 0..1 */
    bool rounds;   /* becomes 8 bits by rounding, not by cutting off: docs/decisions/011-pictures-of-a-vae-are-rounded.md */
};
extern const struct datum_type type_image;
/* Zeros; NULL with e set: ERR_LIMIT, ERR_NOMEM. */
MUST_USE struct flow_image *flow_image_new(int64_t n, int64_t h, int64_t w, struct err *e);
void flow_image_free(void *image);
/* The datum's object, which is of the type (args_fill has seen to that). */
static inline const struct flow_image *image_of(const struct datum *d) { return d->object; }

/* MASK */
struct flow_mask {
    int64_t n, h, w;
    float *at; /* [n, h, w] 0..1; 1 is what is drawn anew */
};
extern const struct datum_type type_mask;
MUST_USE struct flow_mask *flow_mask_new(int64_t n, int64_t h, int64_t w, struct err *e);
void flow_mask_free(void *mask);
static inline const struct flow_mask *mask_of(const struct datum *d) { return d->object; }

/* LATENT: without the model's factor, as the VAE has it. */
struct flow_latent {
    int64_t n, c, h, w;
    int64_t cell;          /* pixels of a cell's side: 8 with Stable Diffusion */
    bool empty;            /* nothing but a size: a sampler takes it in its model's cells and channels */
    float *at;             /* [n, c, h, w] */
    struct flow_mask *noise_mask; /* owned; NULL: everything is drawn */
    int64_t *batch_index;  /* [n]: which picture of the noise stream each is; NULL: 0, 1, ... */
};
extern const struct datum_type type_latent;
MUST_USE struct flow_latent *flow_latent_new(int64_t n, int64_t c, int64_t h, int64_t w, int64_t cell, struct err *e);
/* A latent of the same size with the numbers, mask and indices of another. */
MUST_USE struct flow_latent *flow_latent_copy(const struct flow_latent *from, struct err *e);
void flow_latent_free(void *latent);
static inline const struct flow_latent *latent_of(const struct datum *d) { return d->object; }

/* A model as it was loaded; MODEL, CLIP and VAE are views of one. */
struct flow_weights {
    int holders;
    struct pipeline *pipeline;
    char *path;              /* what it was loaded from, as a key; owned */
    struct model_alone *alone; /* a part without the others; NULL: a whole model */
};
void flow_weights_drop(struct flow_weights *w);

/* MODEL, CLIP and VAE: what was loaded, and what is changed in it. */
struct flow_model {
    struct flow_weights *weights;     /* a holder */
    struct draw_lora loras[LORA_MOST]; /* borrowed from the pipeline */
    size_t lora_count;
    int64_t clip_skip;                /* CLIP */
    double cfg_rescale;               /* MODEL */
    bool samples;                     /* MODEL: the next two count in place of what the model's own files say */
    enum prediction predicts;
    bool zero_snr;
};
extern const struct datum_type type_model, type_clip, type_vae;
MUST_USE struct flow_model *flow_model_new(struct flow_weights *weights, struct err *e);
MUST_USE struct flow_model *flow_model_copy(const struct flow_model *from, struct err *e);
void flow_model_free(void *model);
/* What a MODEL is sampled by. What it points to is borrowed from the pipeline. */
struct scheduler_config flow_model_scheduler(const struct flow_model *m);
static inline const struct flow_model *model_of(const struct datum *d) { return d->object; }

/* CONDITIONING: a list of texts with where and when they count (generate/stages.h). */
struct flow_conditioning {
    struct stage_condition *at; /* each owns what is behind it */
    size_t count;
};
extern const struct datum_type type_conditioning;
MUST_USE struct flow_conditioning *flow_conditioning_new(size_t count, struct err *e);
/* A copy whose entries can be changed. */
MUST_USE struct flow_conditioning *flow_conditioning_copy(const struct flow_conditioning *from, struct err *e);
void flow_conditioning_free(void *conditioning);
static inline const struct flow_conditioning *conditioning_of(const struct datum *d) { return d->object; }

/* CONTROL_NET */
extern const struct datum_type type_control_net;
static inline struct control_net *control_net_of(const struct datum *d) { return d->object; }

/* UPSCALE_MODEL (generate/upscale.h) */
extern const struct datum_type type_upscale_model;

/* LORA_MODEL, LOSS_MAP: what a training made (nodes/training.c) */
extern const struct datum_type type_lora_model, type_loss_map;

/* SIGMAS, SAMPLER, NOISE, GUIDER */
extern const struct datum_type type_sigmas, type_sampler, type_noise, type_guider;
static inline const struct sigmas *sigmas_of(const struct datum *d) { return d->object; }

struct flow_sampler {
    const char *name; /* in sampler_names; borrowed from there */
    double eta, noise_strength, middle; /* as struct sampler_spec */
    int most_order;
};
static inline const struct flow_sampler *sampler_of(const struct datum *d) { return d->object; }

struct flow_noise {
    bool none;
    uint64_t seed;
};
static inline const struct flow_noise *noise_of(const struct datum *d) { return d->object; }

struct flow_guider {
    struct datum *model, *positive, *negative, *middle; /* held; negative and middle may be NULL */
    enum stage_guide guide;
    double cfg, cfg2;
};
static inline const struct flow_guider *guider_of(const struct datum *d) { return d->object; }

#endif
