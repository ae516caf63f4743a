/* From words to pictures: text encoders, denoiser with a sampler, VAE decoder, each as a program of a backend.
 *
 *     struct pipeline *p = pipeline_open("models/x", backend, DTYPE_BF16, e);
 *     struct draw_request r = draw_request_defaults(p);
 *     r.prompt = "a red apple";
 *     pipeline_draw(p, &r, &progress, &drawing, e);  ... drawing.images[i] ...   drawing_release(&drawing);
 *     pipeline_free(p);
 *
 * The picture is that of diffusers' pipeline for the same folder, words, seed and settings (`sampler` "model"), or ComfyUI's (any
 * other sampler). With a picture to begin with, and a mask of what is drawn anew, it is that of diffusers' image-to-image and
 * inpainting pipelines, or of ComfyUI's VAEEncode, SetLatentNoiseMask and KSampler (for denoisers made for inpainting:
 * InpaintModelConditioning; they draw everything anew where no picture is given). A pipeline works for one thread at a time. */
#ifndef LIMN_GENERATE_GENERATE_H
#define LIMN_GENERATE_GENERATE_H

#include "generate/control.h"
#include "generate/prompt.h"
#include "image/image.h"
#include "model/family/folder.h"
#include "model/lora/lora.h"
#include "sampler/sampler.h"

/* Where the parts of a pipeline come from. A folder gives all of it; a training gives what it holds in memory. */
struct pipeline_source {
    /* All borrowed; they must outlive the pipeline. */
    const struct model_parts *model;
    const struct scheduler_config *scheduler;
    /* The weights of a part, for as long as the pipeline lives; NULL with *e clear: they lie in memory in f32, and `bind`
     * gives those named "<part>/..." to a program, which reads them in place at every run: they may change between drawings. */
    const struct weights *(*weights)(void *self, enum model_part part, struct err *e);
    bool (*bind)(void *self, enum model_part part, struct program *program, struct err *e);
    void *self;
};

struct pipeline;

/* Reads a model folder. type: DTYPE_F32 or DTYPE_BF16, what the models compute in (latents and samplers are f32). backend is
 * borrowed. NULL with e set: as model_folder_open. */
MUST_USE struct pipeline *pipeline_open(const char *folder, const struct backend *backend, enum dtype type, struct err *e);
/* A pipeline for a folder that is open; all of it is borrowed. */
struct pipeline_source pipeline_source_of(struct model_folder *folder);
/* The same for a single file, configs of another folder, a VAE of its own (model/family/model_source.h). */
MUST_USE struct pipeline *pipeline_open_files(const struct model_files *files, const struct backend *backend, enum dtype type,
                                              struct err *e);
MUST_USE struct pipeline *pipeline_new(const struct pipeline_source *source, const struct backend *backend, enum dtype type,
                                       struct err *e);
/* Accepts NULL. */
void pipeline_free(struct pipeline *p);
/* The folder behind it; NULL if there is none. */
const struct model_folder *pipeline_folder(const struct pipeline *p);
/* What it draws with; borrowed. The scheduler may be NULL where the source has a VAE alone. */
const struct model_parts *pipeline_model(const struct pipeline *p);
const struct scheduler_config *pipeline_scheduler(const struct pipeline *p);
/* Whether programs and packed weights stay after a drawing: faster for several pictures, but text encoder, denoiser and VAE
 * then lie in memory together. Off at the beginning: each is made, run and freed in turn. */
void pipeline_keep(struct pipeline *p, bool keep);

/* A LoRA in a drawing, and how strongly it changes the denoiser and the text encoders: 1 as it was trained, 0 not at all. */
struct draw_lora {
    const struct lora *lora; /* of pipeline_lora */
    double unet, text;
    bool in_words;           /* the prompt says so itself: a picture's record need not */
};
/* The LoRA in this file or folder for the pipeline's model; read once, then kept as long as the pipeline. alpha and errors: as
 * lora_open (another alpha, or a file that was written anew, is read again: both stay). */
MUST_USE const struct lora *pipeline_lora(struct pipeline *p, const char *path, double alpha, struct err *e);

/* The files of a folder are the embeddings that words may name (model/text/inversion.h). Before the first drawing. */
MUST_USE bool pipeline_embeddings(struct pipeline *p, const char *folder, struct err *e);

/* The names of the ways to a larger picture, NULL at the end: "pixel-..." through the VAE, "latent-..." without; the first is the
 * default. */
extern const char *const hires_methods[];
/* A second pass at another size, as image to image of the first. */
struct draw_hires {
    int64_t width, height; /* pixels, multiples of the VAE's factor; 0: no second pass */
    const char *method;    /* in hires_methods; NULL: the first */
    double strength;       /* as draw_request.strength; 0: 0.5 */
    int64_t steps;         /* 0: those of the first pass */
};

struct draw_request {
    const char *prompt_syntax;     /* in prompt_syntax_names; NULL: "plain" with sampler "model", else "comfy" (prompt.h). LoRAs
                                      that the words name are taken out; they are the caller's to apply */
    const char *prompt, *negative; /* UTF-8; NULL is "", but see model_settings.force_zeros for the negative words */
    int64_t width, height;         /* pixels, multiples of the VAE's factor; 0: the model's own */
    int64_t steps;                 /* >= 1 */
    const char *sampler;           /* in sampler_names; NULL: "model", the folder's own scheduler */
    const char *schedule;          /* in schedule_names; NULL: the default; only for samplers that use one */
    double cfg;                    /* >= 0. 1: no second pass, the negative prompt is unused (with sampler "model" also below
                                      1, as diffusers) */
    double cfg_rescale;            /* 0 to 1: how much of guidance's change in contrast is taken back (guidance.h) */
    double eta;                    /* negative: the sampler's default */
    uint64_t seed;
    bool cuda_noise;               /* noise of PyTorch's CUDA generator in place of its CPU generator's */
    uint64_t subseed;              /* with subseed_strength above 0: a variation of the seed's noise (start_noise.h) */
    double subseed_strength;       /* 0 to 1 */
    int64_t clip_skip;             /* layers of the text encoder left out below those that the family takes: for the prompt and
                                      not the negative words with "plain" (diffusers), for both otherwise. ComfyUI's
                                      stop_at_clip_layer is -1 - clip_skip (SDXL: -2 - clip_skip), webui's Clip skip 1 + clip_skip */
    int64_t batch;                 /* pictures drawn together from one noise stream */
    const float *noise;            /* [batch, c, h, w] standard normal start noise; NULL: drawn from the seed */
    /* A picture to begin with (image to image), borrowed: [height, width, 3] in -1..1; NULL: begin with noise. width and
     * height must be given with it. edit.h makes it and the mask from picture files. */
    const float *picture;
    const float *mask; /* [height, width] 0..1, 1 where the picture is drawn anew (inpainting); NULL: everywhere */
    /* How much of the picture is drawn anew, in (0, 1]; counts with a picture only. Sampler "model" (diffusers): the last
     * int(steps strength) steps are taken. Others (ComfyUI's "denoise"): `steps` steps are taken, the last of
     * int(steps / strength). */
    double strength;
    struct draw_hires hires; /* not with a mask */
    /* A model that takes the last steps: SDXL's refiner, or any with latents of the same kind. The drawing is decoded by this
     * pipeline's VAE, and LoRAs are this pipeline's. Not with a picture or a second pass. NULL: none. Borrowed. */
    struct pipeline *refiner;
    double refiner_start;       /* in (0, 1): the part of the run after which it takes over (refine.c) */
    const char *refiner_name;   /* of its file, for the record only */
    const char *picture_name, *mask_name; /* of their files, for the record only; NULL: unknown, or the mask is the picture's alpha */
    /* Pixels of a side of the pieces in which pictures go through the VAE, at least 8 cells; 0: whole, or as large as memory allows;
     * negative: whole. Tiles lie over each other by a quarter. */
    int64_t vae_tile;
    /* What SDXL is told of the picture's making; 0: the default, which is the picture's size (with a ComfyUI sampler 768) for
     * the original, the picture's size (the original's) for the target, and a score of 6 (2.5 for the negative words). */
    struct picture_facts facts;
    double negative_score;
    /* At most LORA_MOST, in any order. Between drawings with pipeline_keep, scales change at once; leaving one out or giving it the
     * scale 0 makes the program again, which is then the one without it. */
    const struct draw_lora *loras;
    size_t lora_count;
    /* At most CONTROL_MOST; what they say is added up. */
    const struct draw_control *controls;
    size_t control_count;
    bool control_guess; /* diffusers' guess mode: they speak to what is drawn with words alone, and less at the fine levels */
    /* Several drawings in the same denoiser calls, which is faster: [batch] words and seeds in place of `prompt` and `seed`
     * (both or neither). Picture i is that of a drawing of one with prompts[i] and seeds[i], up to the rounding of sums. */
    const char *const *prompts;
    const uint64_t *seeds;
};
/* steps and cfg of the folder, or 20 and 7.5; eta -1; batch 1; strength 0.75; the rest 0. The folder's come from its maker or its pipeline's class. */
struct draw_request draw_request_defaults(const struct pipeline *p);

/* How the words are read where the model's text encoders know weights (all of CLIP's kind). ERR_ARG: no such syntax. */
MUST_USE bool draw_request_syntax(const struct draw_request *r, enum prompt_syntax *out, struct err *e);

/* What a drawing of this size tells SDXL for the words or for the negative ones: the request's, and defaults where they are 0. */
struct picture_facts draw_request_facts(const struct draw_request *r, int64_t width, int64_t height, bool negative);

struct drawing {
    int64_t batch;
    struct image *images;  /* [batch], RGB */
    float *latents;        /* [batch, c, h, w] after the last step, as the denoiser has them */
    struct shape shape;    /* of latents */
    int64_t calls;         /* of the denoiser */
    /* seconds: making programs and giving them their weights; text encoders; the VAE's encoder; all denoiser calls; from the beginning of the
     * drawing to the end of the first call; VAE; everything */
    double load_seconds, text_seconds, encode_seconds, sample_seconds, first_call_seconds, decode_seconds, seconds;
};
void drawing_release(struct drawing *d);

/* Draws. progress (may be NULL) is told "loading", "encoding" (a picture), "sampling" (in steps) and
 * "decoding". out need not be initialised.
 * errors  ERR_ARG (a setting; the text names it and its value), ERR_SHAPE (sizes), ERR_FORMAT (weights or outputs not finite),
 *         ERR_STOPPED, ERR_NOMEM, ERR_BACKEND, and those of opening weights. On failure out holds nothing. */
MUST_USE bool pipeline_draw(struct pipeline *p, const struct draw_request *r, const struct progress *progress,
                            struct drawing *out, struct err *e);

/* What the denoiser says of latents: one call for the whole batch, without sampler and guidance, for measuring a model. latents and
 * out [batch, c, h, w], noisy as the model's noise schedule has them (noise_schedule_add) at timesteps[batch]; they may be the same.
 * Words, LoRAs and sizes count as in a drawing.
 * errors  as pipeline_draw; ERR_TYPE for a denoiser made for inpainting. */
MUST_USE bool pipeline_predict(struct pipeline *p, const struct draw_request *r, const float *latents, const double *timesteps,
                               float *out, const struct progress *progress, struct err *e);

/* Bytes that a drawing will have in memory at its highest, by kind, beside what the process holds already. Makes the programs
 * (pipeline_draw then finds them made), reads no weights. */
struct draw_plan {
    size_t weights;     /* mapped from files or packed for the backend, at the highest stage */
    size_t activations; /* the arena of that stage */
    size_t caches;      /* text states, latents, pictures */
    size_t process;     /* resident now */
    size_t peak;        /* all of it */
    int64_t vae_tile;   /* pixels of a side of the VAE's tiles, the request's or chosen because the whole does not fit; 0: whole */
    const char *stage;  /* in model_part_names, or "vae encoder", or "all" with pipeline_keep */
};
MUST_USE bool pipeline_plan(struct pipeline *p, const struct draw_request *r, struct draw_plan *out, struct err *e);

/* Adds a table of where the denoiser's, the decoder's and the text encoder's time went, by kind of op: of programs that are
 * still there (pipeline_keep). */
void pipeline_profile(const struct pipeline *p, struct text *out);

#endif
