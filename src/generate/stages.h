/* The stages of a drawing one by one, for callers that put them together themselves (flow/): words -> condition, pixels ->
 * latents -> latents -> pixels. pipeline_draw (generate.h) is these in a row: with the same settings the numbers are the same, bit for bit.
 *
 * Latents are f32 [n, c, h, w] without the model's factor, as ComfyUI's LATENT has them; pixels f32 [n, height, width, 3].
 * A pipeline works for one thread at a time. Its programs stay after a call if pipeline_keep says so. */
#ifndef LIMN_GENERATE_STAGES_H
#define LIMN_GENERATE_STAGES_H

#include "generate/generate.h"

/* A text as the denoiser gets it, and where and when it counts. Arrays are owned. */
struct stage_condition {
    int64_t tokens, width, pooled_width; /* pooled_width 0: the model's family has none */
    float *states;                       /* [tokens, width] */
    float *pooled;                       /* [pooled_width] or NULL */
    struct picture_facts facts;          /* SDXL; 0: as draw_request.facts */
    double strength;                     /* 1 */
    /* The rectangle that it counts in, in pixels (whole cells of it), or as parts of the sides. */
    enum { AREA_WHOLE, AREA_PIXELS, AREA_PARTS } area;
    double area_height, area_width, area_y, area_x;
    float *mask;                         /* [mask_n, mask_h, mask_w] 0..1: how much it counts where; NULL: everywhere alike */
    int64_t mask_n, mask_h, mask_w;
    double mask_strength;
    bool mask_bounds;                    /* the area is what the mask covers */
    double start, end;                   /* the part of the run that it counts in: 0 and 1, the whole */
    /* For denoisers made for inpainting: what they see beside the latents. */
    float *beside;                       /* [c, beside_h, beside_w] latent, without the model's factor; NULL: none */
    float *beside_mask;                  /* [beside_h, beside_w] in cells */
    int64_t beside_channels, beside_h, beside_w;
    struct draw_control *controls;       /* [control_count] nets are held, pictures owned */
    size_t control_count;
    bool controls_both;                  /* negative words without ControlNets get these */
};
/* Adds one more; picture [n, h, w, 3] is copied. ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool stage_condition_control(struct stage_condition *c, struct control_net *net, const float *picture, int64_t n, int64_t h, int64_t w,
                                      double strength, double start, double end, struct err *e);
void stage_condition_release(struct stage_condition *c);
/* A deep copy. ERR_NOMEM; then out holds nothing. */
MUST_USE bool stage_condition_copy(struct stage_condition *out, const struct stage_condition *from, struct err *e);

struct stage_text {
    const char *text;         /* UTF-8 */
    enum prompt_syntax syntax;
    int64_t clip_skip;        /* as draw_request.clip_skip */
    const struct draw_lora *loras;
    size_t lora_count;
};
/* errors  those of pipeline_draw for words. out is overwritten. */
MUST_USE bool pipeline_text(struct pipeline *p, const struct stage_text *t, const struct progress *progress, struct stage_condition *out,
                            struct err *e);

/* Size and channels of the latents of pictures of this size. */
struct shape pipeline_latent_shape(const struct pipeline *p, int64_t n, int64_t width, int64_t height);
/* Pixels in -1..1, sides multiples of the VAE's factor -> the latents' means. tile: as draw_request.vae_tile. */
MUST_USE bool pipeline_pixels_to_latents(struct pipeline *p, const float *pixels, int64_t n, int64_t width, int64_t height, int64_t tile,
                                         const struct progress *progress, float *latents, struct err *e);
/* The other way; pixels are about in -1..1. */
MUST_USE bool pipeline_latents_to_pixels(struct pipeline *p, const float *latents, int64_t n, int64_t h, int64_t w, int64_t tile,
                                         const struct progress *progress, float *pixels, struct err *e);

struct stage_conditions {
    const struct stage_condition *at;
    size_t count;
};

/* How what the denoiser says for several texts becomes one. With a = positive, b = negative, c = middle. */
enum stage_guide {
    GUIDE_CFG,         /* b + cfg (a - b); a alone where cfg is 1 or there is no b */
    GUIDE_DUAL,        /* b + cfg2 (c - b) + cfg (a - c) */
    GUIDE_DUAL_NESTED, /* b + cfg2 (c + cfg (a - c) - b) */
};

struct stage_sampling {
    const struct draw_lora *loras;
    size_t lora_count;
    enum stage_guide guide;
    struct stage_conditions positive, negative, middle; /* borrowed */
    double cfg, cfg2, cfg_rescale;
    /* As struct sampler_spec; sigmas NULL: by schedule and steps. */
    const char *sampler, *schedule;
    int64_t steps, start_step, end_step;
    bool leftover_noise;
    const struct sigmas *sigmas;
    const struct scheduler_config *scheduler; /* betas, and what the denoiser predicts; NULL: the pipeline's */
    double denoise; /* in (0, 1] */
    double eta, noise_strength, middle_step; /* eta negative: the sampler's */
    int most_order;
    uint64_t seed;
    bool no_noise;  /* none is added: the latents hold it */
    int64_t n, h, w;
    const float *latents;       /* [n, c, h, w]; all zeros: begin with noise alone */
    const int64_t *batch_index; /* [n] which picture of the noise's stream each is; NULL: all of one draw */
    const float *mask;          /* [mask_n, mask_h, mask_w] 1 where it is drawn anew, resized to the cells; NULL: everywhere */
    int64_t mask_n, mask_h, mask_w;
    /* Called behind each step; denoised [n, c, h, w] is what the latents would become, as the denoiser has them (vae_unscale). False stops with
     * e set. NULL: nobody. */
    bool (*step)(void *self, int64_t done, int64_t total, const float *denoised, struct err *e);
    void *self;
};
/* Latents -> out [n, c, h, w]; denoised (may be NULL) gets what the last call predicts. Neither overlaps latents.
 * source  ComfyUI 0.3.64's rules for areas, masks and ranges (samplers.py): conditions of one size share a denoiser call, what they say is
 *         averaged with mask times strength, an area fades over 8 cells inside of the picture; where nothing counts the picture is grey.
 * errors  ERR_ARG (settings; areas and masks that leave nothing), ERR_SHAPE (texts of another model), ERR_FORMAT, ERR_STOPPED, ERR_NOMEM,
 *         ERR_BACKEND. */
MUST_USE bool pipeline_latents_sample(struct pipeline *p, const struct stage_sampling *s, const struct progress *progress, float *out,
                                      float *denoised, struct err *e);

/* Bytes that its programs and packed weights take now. */
size_t pipeline_memory(const struct pipeline *p);
/* Drops every program and its packed weights, and the words that are known: the next call makes them again. */
void pipeline_rest(struct pipeline *p);

#endif
