/* What `limn bench` measures: programs of one op, of a model's part, and training steps, all with random weights. */
#ifndef LIMN_CLI_BENCH_H
#define LIMN_CLI_BENCH_H

#include "base/text.h"
#include "cli/engine.h"
#include "graph/passes.h"
#include "train/optimizer.h"

/* The sizes that subjects have. */
struct bench_shape {
    const char *name;
    struct clip_config text;         /* of several the largest */
    struct unet_config unet;
    struct vae_config vae;
    int64_t side;                    /* of latents */
    int64_t batch_vae, batch_unet;   /* of training steps */
    int64_t train_pixels;            /* side of the pictures of train_vae */
};
/* "sd15", "sdxl", or a folder with text_encoder/ (or text_encoder_2/), unet/ and vae/config.json. */
MUST_USE bool bench_shape_read(struct bench_shape *s, const char *name, struct err *e);

struct bench_options {
    const struct bench_shape *shape;
    const struct backend *backend;
    enum dtype type;
    int64_t runs;
    bool profile;
};
struct bench_result {
    double seconds; /* median of the runs, after two that are not counted */
    double flops;   /* of one run; 0: not known */
    int64_t batch;
    bool trains;    /* batch / seconds is pictures per second */
    struct text profile;
};

struct bench_subject {
    const char *name, *help;
    /* False with *e clear: not at this shape. */
    bool (*run)(const struct bench_options *o, struct bench_result *out, struct err *e);
};
extern const struct bench_subject bench_subjects[]; /* ends with a NULL name */

/* bench_ops.c */
bool bench_matmul(const struct bench_options *o, struct bench_result *out, struct err *e);
bool bench_conv(const struct bench_options *o, struct bench_result *out, struct err *e);
bool bench_attention(const struct bench_options *o, struct bench_result *out, struct err *e);
bool bench_norm(const struct bench_options *o, struct bench_result *out, struct err *e);

/* bench.c: ends the graph with `outs` as its outputs, fuses it, gives it random weights and inputs, and times it. Takes over
 * g and params. */
bool bench_graph(const struct bench_options *o, struct graph *g, struct params *params, const struct value *outs, size_t count,
                 struct bench_result *out, struct err *e);

/* A training step to be timed: AdamW, no running mean, one batch a step. */
struct bench_training {
    struct graph *g;        /* taken over, as params */
    struct params *params;  /* what learns */
    struct params *frozen;  /* what does not, with its types in g; NULL: nothing */
    struct value loss;
    int64_t batch;
    enum recompute recompute;
    enum optimizer_kind optimizer;
};
MUST_USE bool bench_train(const struct bench_options *o, const struct bench_training *t, struct bench_result *out, struct err *e);
/* The shape's denoiser with all the inputs that its config asks for; latent and text are given. */
struct value bench_denoiser(struct net *n, const struct bench_shape *s, int64_t batch, struct value latent, struct value text);

/* bench_lora.c: a step of LoRA (rank 16, attention), the same recomputing, and of all weights; latents and text states as inputs. */
bool bench_lora(const struct bench_options *o, struct bench_result *out, struct err *e);
bool bench_lora_recompute(const struct bench_options *o, struct bench_result *out, struct err *e);
bool bench_full(const struct bench_options *o, struct bench_result *out, struct err *e);

#endif
