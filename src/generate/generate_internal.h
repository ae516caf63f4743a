/* The programs of a pipeline and how they come and go. */
#ifndef LIMN_GENERATE_GENERATE_INTERNAL_H
#define LIMN_GENERATE_GENERATE_INTERNAL_H

#include "generate/chunk.h"
#include "generate/control.h"
#include "generate/generate.h"
#include "generate/stages.h"
#include "sampler/noise_schedule.h"
#include "tensor/resample.h"

enum { STAGE_KEYS = 5, STAGE_OUTPUTS = 3, MIN_TILE_CELLS = 8 };

/* A stage for each part of the model, in their order, and one for the VAE's other half. */
enum { STAGE_ENCODER = PART_COUNT, STAGE_COUNT };
static inline enum model_part stage_part(int stage)
{
    return stage == STAGE_ENCODER ? PART_VAE : (enum model_part)stage;
}
static inline const char *stage_name(int stage)
{
    return stage == STAGE_ENCODER ? "vae encoder" : model_part_names[stage];
}

/* One part of the model as a program for one shape.
 *
 *   empty --stage_make--> made (planned, no weights) --stage_bind--> bound (may run) --stage_drop--> empty */
struct stage {
    struct program *program; /* NULL: empty */
    struct params params;
    struct value out[STAGE_OUTPUTS]; /* text: states, those without clip skip, pooled (each may be none); else one */
    int64_t key[STAGE_KEYS]; /* the shape it was made for; what the numbers mean is the part's own */
    bool bound;
    struct lora_mix *mix; /* what is added to the part's weights; NULL: nothing */
    bool rescaled;        /* its scales are not yet those in the program */
};

/* The words of a request as rows of tokens for each text encoder, in the order of struct words: the prompts, then the negative
 * words where they are encoded. */
struct texts {
    int64_t count;
    struct chunk_rows (*rows)[TEXT_PARTS]; /* [count]; those of no encoder are empty */
    int64_t tokens;         /* a multiple of every text's: states are repeated up to it, which attention does not see */
    bool given[TEXT_PARTS]; /* an encoder gets vectors from outside (TEXT_VECTORS) */
};

/* What the text encoders made of the last words: a row for each text, the prompts', then, with guidance, the negative one's.
 * All arrays are of the pipeline's type. */
struct words {
    char *prompt;   /* NULL after a drawing of several prompts: those are not known again */
    char *negative; /* NULL: none were given, and the family takes zeros for them */
    int64_t skip, prompt_count, tokens;
    enum prompt_syntax syntax;
    bool guided;
    struct lora_use loras[LORA_MOST]; /* in the text encoders, with their scales there */
    size_t lora_count;
    struct texts texts;
    void *states;   /* [texts, tokens, text_width]: all encoders' side by side; NULL: nothing is known */
    void *pooled;   /* [texts, pooled_width]; NULL if the family has none */
};

/* control.c: one ControlNet as a program. */
struct control_stage {
    struct control_net *net; /* held */
    struct program *program;
    struct params params;
    struct value out[CONTROLNET_MOST];
    size_t count;
    bool bound;
    void *picture; /* [rows, h, w, 3] of the pipeline's type */
    double first_sigma, last_sigma; /* it counts from the first down to the last */
};
/* Those of one denoiser program, and what they say together: its inputs "residual.N". */
struct controls {
    struct control_stage at[CONTROL_MOST];
    size_t count;
    int64_t key[STAGE_KEYS];
    void *residual[CONTROLNET_MOST];
    float *sum; /* [2, most] */
    size_t most;
    bool silent; /* the residuals are zeros */
};

struct pipeline {
    struct pipeline_source source;
    struct model_folder folder; /* its path is "" if there is none */
    const struct backend *backend;
    enum dtype type;
    bool keep;
    struct stage stages[STAGE_COUNT];
    struct controls controls; /* of the drawing's denoiser */
    struct words words;
    struct lora_modules modules; /* filled when the first LoRA is asked for */
    struct lora **loras;         /* all that were asked for, in no order; owned */
    char **lora_paths;           /* beside them: path, alpha and state of the file; owned */
    size_t lora_count;
    struct inversions *inversions; /* NULL: no embeddings are known */
};

/* Sizes of one drawing, after the checks of request_check. */
struct draw_sizes {
    int64_t width, height, rows; /* pixels; rows: of a denoiser call, batch or twice that */
    int64_t channels, h, w;      /* of the latents */
    int64_t extra;               /* channels that the denoiser sees beside them: a mask and a picture's latent, or 0 */
    int64_t tokens;              /* of a text, for the denoiser: texts.tokens */
    enum prompt_syntax syntax;
    bool given[TEXT_PARTS];      /* texts.given */
    int64_t text_width, pooled_width; /* of all text encoders together; 0: no pooled text */
    bool controlled;             /* ControlNets speak to the denoiser */
    bool guided;                 /* the denoiser is asked twice: with and without the words */
    bool comfy;                  /* a ComfyUI sampler: its defaults and rules, not diffusers' */
    bool encodes;                /* a picture goes through the VAE */
    int64_t tile_h, tile_w;      /* cells of the pieces in which it does; h and w: whole */
};
MUST_USE bool request_check(const struct pipeline *p, const struct draw_request *r, struct draw_sizes *out, struct err *e);

/* control.c: whether the request's ControlNets are for this model: ERR_ARG, ERR_TYPE. */
MUST_USE bool controls_check(const struct model_parts *m, const struct draw_control *list, size_t count, struct err *e);
/* Makes the programs of ControlNets for these sizes, unless they are there. */
MUST_USE bool controls_make(struct controls *c, struct pipeline *p, const struct draw_control *list, size_t count, const struct draw_sizes *s,
                            struct err *e);
void controls_release(struct controls *c);
struct program_memory controls_memory(const struct controls *c);
/* What the denoiser is fed, which they see, too. All borrowed for the run. */
struct controls_feed {
    const struct draw_sizes *sizes;
    struct program *unet;
    const void *latent, *text, *pooled;
    const float *timestep, *time_ids;
    const struct scheduler_config *scheduler;
    int64_t batch;        /* pictures: rows i and i + batch are of one */
    bool comfy;           /* ComfyUI's rules for sizes and for when they count, not diffusers' */
    bool guess, guided;   /* draw_request.control_guess; the first half of the rows is without words */
};
/* Gives them weights and inputs, and the denoiser theirs. */
MUST_USE bool controls_begin(struct controls *c, struct pipeline *p, const struct draw_control *list, const struct controls_feed *f, struct err *e);
/* Where in the run a call of the denoiser is. */
struct controls_time {
    double sigma;
    int64_t call, calls; /* calls 0: not known */
};
/* Before the call: sets the residuals. */
MUST_USE bool controls_run(struct controls *c, const struct pipeline *p, const struct draw_control *list, const struct controls_feed *f,
                           const struct controls_time *t, struct err *e);
/* The sigma where so much of the run is gone. */
double sigma_of_part(const struct noise_schedule *n, double part);

/* stage.c: the inputs of a denoiser that is told of the picture's making. */
void add_text_time(const struct pipeline *p, struct net *n, const struct draw_sizes *s, struct unet_extra *extra);

/* Makes the stage's program for these sizes, unless it is there. */
MUST_USE bool stage_make(struct pipeline *p, int stage, const struct draw_request *r, const struct draw_sizes *s, struct err *e);
MUST_USE bool stage_bind(struct pipeline *p, int stage, struct err *e);
/* Writes the stage's ops and sets stage->out. */
void stage_graph(struct pipeline *p, struct net *n, int which, const struct draw_request *r,
                 const struct draw_sizes *s, struct stage *stage);
void stage_drop(struct pipeline *p, int stage);
/* Bytes of weights and of the arena. */
struct program_memory stage_memory(const struct stage *s);

/* loras.c: the LoRAs of a request with their scales for this part into uses[LORA_MOST]; returns how many. */
size_t stage_loras(enum model_part part, const struct draw_request *r, struct lora_use *uses);
void pipeline_loras_release(struct pipeline *p);

/* pipeline_plan for a machine with so many bytes free. */
MUST_USE bool pipeline_plan_within(struct pipeline *p, const struct draw_request *r, size_t available, struct draw_plan *out,
                                   struct err *e);

/* Whether the states that are kept are those of these words. */
bool pipeline_knows(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s);
void pipeline_forget_words(struct pipeline *p);

/* Numbers in the latents of so many pictures. */
static inline size_t latent_count(const struct draw_sizes *s, int64_t pictures)
{
    return (size_t)(pictures * s->channels * s->h * s->w);
}

/* texts.c: words -> rows of tokens; s->guided, s->comfy and s->syntax are known. progress is told what was left out. */
MUST_USE bool texts_make(struct texts *out, const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                         const struct progress *progress, struct err *e);
void texts_release(struct texts *t);
/* Where diffusers takes zeros in place of the states of negative words that were not given. ComfyUI always encodes. */
bool negative_is_zero(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s);
/* How the words of a request are read by this model: ERR_ARG for a name that is none, or that is not for its text encoders. */
MUST_USE bool texts_syntax(const struct pipeline *p, const struct draw_request *r, enum prompt_syntax *out, struct err *e);

/* encode.c: words -> p->words. begin makes room; then pipeline_encode once for each text encoder, with its stage bound. */
MUST_USE bool pipeline_encode_begin(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                                    const struct progress *progress, struct err *e);
MUST_USE bool pipeline_encode(struct pipeline *p, enum model_part part, const struct draw_sizes *s, struct err *e);

/* draw.c: makes a stage and gives it its weights; where memory is short for that, other stages go. */
MUST_USE bool pipeline_load(struct pipeline *p, int stage, const struct draw_request *r, const struct draw_sizes *s,
                            const struct progress *progress, struct err *e);
/* A stage that is done makes room for the next. */
void pipeline_unload(struct pipeline *p, int stage);
/* draw.c: the words of a request -> p->words, unless they are known; seconds (may be NULL) of loading and of the encoders are added. */
MUST_USE bool pipeline_words(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const struct progress *progress,
                             struct drawing *seconds, struct err *e);

/* tiles.c: a network that works on pieces of a picture: the VAE's two halves, a network that makes pictures larger. Arrays are of one
 * picture, pixels or latents: [h cell, w cell, channels]. */
struct tile_run {
    const char *input; /* of the program */
    const float *from; /* borrowed */
    int64_t from_channels, from_cell; /* numbers a side that a cell has there: 1, or vae_factor */
    float *to;         /* overwritten */
    int64_t to_channels, to_cell;
    const struct progress *progress; /* told of each tile as `what`; NULL: nobody */
    const char *what;
};
/* type: of the program's input and of its output stage->out[0]. Of s only h, w, tile_h and tile_w count. */
MUST_USE bool tiles_run(enum dtype type, struct stage *stage, const struct tile_run *run, const struct draw_sizes *s, struct err *e);
/* Cells by which tiles of this size lie over each other at least. */
int64_t tile_overlap(int64_t tile);

/* What a drawing begins with beside noise: the picture in latents. Arrays are owned; all NULL without a picture. */
struct origin {
    float *moments; /* [pictures, 2, c, h, w]: mean and standard deviation of the picture's latent, scaled as the denoiser has it */
    int64_t pictures; /* 1: all begin with the same; else the batch's */
    bool exact;     /* the mean is taken in both worlds */
    float *masked;  /* the same of the picture without what is drawn anew; NULL if the denoiser does not see it */
    float *mask;    /* [mask_pictures, h, w] 0..1; NULL: everything is drawn anew */
    int64_t mask_pictures; /* 0 and 1: the same for all */
};
void origin_release(struct origin *o);

/* hires.c: the request and the sizes of r's second pass; ERR_ARG. Then, with the first pass's latents [batch, c, h, w], what it begins
 * with; or the pixels [height, width, 3] of one picture at the other size, which then go through picture.c. */
MUST_USE bool hires_request(const struct pipeline *p, const struct draw_request *r, struct draw_request *out,
                            struct draw_sizes *sizes, struct err *e);
bool hires_through_pixels(const struct draw_request *r);
MUST_USE bool hires_latents(const struct draw_request *r, const struct draw_sizes *from, const struct draw_sizes *to,
                            const float *latents, struct origin *out, struct err *e);
MUST_USE bool hires_pixels(const struct draw_request *r, const struct draw_sizes *from, const struct draw_sizes *to,
                           const float *small, float *large, struct err *e);

/* refine.c: the part of a run that one of two models takes; all 0: the whole. */
struct leg {
    int64_t start_step, end_step; /* as sampler_spec has them; what ends early leaves the noise in */
    int64_t calls;                /* no more than so many calls; 0: all */
    const float *latents;         /* [batch, c, h, w] that a run goes on with, noise and all; NULL: it begins. Borrowed */
    struct torch_random *random;  /* [1 or, with prompts, batch] the generators, which the first leg leaves and the second takes up; NULL: no
                                     other leg. Borrowed */
};
/* Whether the two models can share a drawing: ERR_ARG. Then who takes which steps, and what the second is asked for. */
MUST_USE bool refine_check(const struct pipeline *p, const struct draw_request *r, struct err *e);
MUST_USE bool refine_legs(const struct pipeline *p, const struct draw_request *r, struct leg *base, struct leg *refiner, struct err *e);
struct draw_request refine_request(const struct draw_request *r, const struct draw_sizes *s);
/* Latents from the base's scale to the refiner's, or back. */
void refine_hand_over(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, float *latents, bool back);

/* picture.c: mean and log variance of pixels [height, width, 3] as the VAE gives them, [2, c, h, w], with the stage bound. */
MUST_USE bool pipeline_encode_raw(struct pipeline *p, const struct draw_sizes *s, const float *pixels, float *moments, struct err *e);
/* picture.c: mean and deviation of pixels [height, width, 3], as origin.moments of one picture, with the stage bound. */
MUST_USE bool pipeline_encode_pixels(struct pipeline *p, const struct draw_sizes *s, const float *pixels, float *moments,
                                     struct err *e);
/* picture.c: r->picture and r->mask -> out, which holds nothing yet and nothing after a failure. */
MUST_USE bool pipeline_read_picture(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                                    const struct progress *progress, struct origin *out, struct err *e);

/* inpaint.c: one noise stream and the pictures drawn from it. A drawing of several prompts has a chain for each picture, so
 * that none knows of the others; any other has one. */
struct chain {
    struct sampler *sampler;
    struct torch_random random;
    struct origin origin;        /* of the chain's first picture; borrowed */
    size_t each, cell, area;     /* numbers in the chain's latents, in one picture's, in one channel of that */
    enum prediction prediction;
    bool blends, masks; /* diffusers' rule after each step; ComfyUI's around each call */
    /* [each], NULL where there is no need: the picture's latent, repeated; the noise that the drawing began with; what the
     * denoiser would have got without a mask, and the factors of picture and noise in that. */
    float *latent, *noise, *input;
    double alpha, beta;
    int64_t limit; /* calls; 0: all */
};
/* Makes the sampler and sets where it begins. given: [pictures, c, h, w] noise in place of the seed's, or NULL. leg (NULL: the
 * whole run) has the latents and the generator of this chain alone. extra: gets what the denoiser sees beside the latents,
 * [extra channels, h, w], the same for all pictures of the chain. */
MUST_USE bool chain_begin(struct chain *chain, const struct pipeline *p, const struct draw_request *r,
                          const struct draw_sizes *s, const struct origin *origin, int64_t pictures, uint64_t seed,
                          const float *given, const struct leg *leg, float *extra, struct err *e);
bool chain_done(const struct chain *chain);
/* What the denoiser gets for the next call, and what the sampler takes of its output and of that without guidance (NULL: no
 * sampler asks); they may be changed. All [each]. */
double chain_input(struct chain *chain, float *input);
MUST_USE bool chain_take(struct chain *chain, float *output, float *unguided, struct err *e);
void chain_release(struct chain *chain);

/* denoise.c: noise -> out->latents, with the stage bound. leg NULL: the whole run. begun: clock_seconds of the drawing's beginning. */
MUST_USE bool pipeline_sample(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                              const struct origin *origin, const struct leg *leg, double begun, const struct progress *progress,
                              struct drawing *out, struct err *e);
/* denoise.c: one call without guidance, as pipeline_predict, with the stage bound. */
MUST_USE bool pipeline_ask(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, const float *latents,
                           const double *timesteps, float *out, struct err *e);
/* decode.c, with the stage bound: latent [c, h, w], raw: without the model's factor -> pixels [height, width, 3]; out->latents -> out->images. */
MUST_USE bool pipeline_decode_raw(struct pipeline *p, const struct draw_sizes *s, const float *latent, float *pixels, struct err *e);
MUST_USE bool pipeline_decode_one(struct pipeline *p, const struct draw_sizes *s, const float *latent, float *pixels, struct err *e);
MUST_USE bool pipeline_decode(struct pipeline *p, const struct draw_sizes *s, const struct progress *progress,
                              struct drawing *out, struct err *e);

#endif
