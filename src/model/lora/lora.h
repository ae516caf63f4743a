/* LoRA files: small changes to a model's weights, kept apart from it. Every layout that people share is read into one neutral
 * form, checked against the modules that the model has, and mixed into what a graph asks for (layer/adapter.h).
 *
 *   the model's graphs -> lora_modules    what modules there are, and all their spellings
 *   a file + modules   -> lora            targets: module, kind, tensors, alpha / rank
 *   loras with scales  -> lora_mix        adapters of one part, and the numbers behind them
 *
 * layouts  kohya and LyCORIS (lora_unet_, lora_te_, lora_te1_, lora_te2_; modules in diffusers' or in LDM's names), PEFT
 *          (base_model.model., lora_A, lora_B, adapter_config.json beside the file), diffusers old (processor.to_q_lora.down) and new
 *          (lora.down, lora_A, lora_adapter_metadata), DiffSynth (blocks.B.transformer_blocks). A key says for itself what
 *          it is, so a file may mix them.
 * kinds    low rank (also of convolutions, with or without a middle kernel), Hadamard (LoHa), Kronecker (LoKr), whole
 *          differences, each also with DoRA's magnitudes. */
#ifndef LIMN_MODEL_LORA_LORA_H
#define LIMN_MODEL_LORA_LORA_H

#include "model/layer/adapter.h"

#define LORA_MAX_RANK 16384
#define LORA_MOST 64 /* at a time */

/* Something of the model that has a weight. */
struct lora_module {
    char *name;         /* "unet/mid_block.attentions.0.proj_in": part and diffusers' name; owned */
    struct shape shape; /* of its weight */
    bool bias;          /* it has one */
    bool branch;        /* a linear layer or a convolution, which may have a branch beside it */
};

struct lora_modules {
    struct lora_module *at; /* sorted by name within a part; parts in the order they were added */
    size_t count, cap;
    struct lora_spelling *spellings; /* sorted */
    size_t spelling_count, spelling_cap;
    const char *parts[8]; /* owned */
    size_t part_count;
};
void lora_modules_init(struct lora_modules *m);
void lora_modules_release(struct lora_modules *m);
/* Adds the modules of one part: `params` is what its graph asked for, `part` the beginning of their names ("unet").
 * errors  ERR_NOMEM; ERR_LIMIT for more than 8 parts. */
MUST_USE bool lora_modules_add(struct lora_modules *m, const char *part, const struct params *params, struct err *e);

/* What LDM's single files, and so kohya's SDXL files, call a module of the UNet ("input_blocks.4.1.proj_in"); "" where it has no name
 * there, and for other parts. */
struct path lora_module_ldm_name(const struct lora_modules *m, const struct lora_module *module);
/* What DiffSynth's LoRA trainer calls it ("blocks.7.transformer_blocks.0.attn1.to_out"), likewise. */
struct path lora_module_diffsynth_name(const struct lora_modules *m, const struct lora_module *module);

struct lora;

/* Reads a file, or a folder that holds pytorch_lora_weights or adapter_model (.safetensors, .bin). modules is borrowed and
 * outlives the result. alpha: for what the file gives no alpha; NAN: not known, then 4 for DiffSynth's files (its trainer's
 * default) and the rank for all others.
 * errors  those of weights_open; ERR_MISSING (nothing in it is for this model, or half of a pair is not there), ERR_SHAPE (a tensor
 *         does not fit its module), ERR_FORMAT (a key twice, numbers that are not finite), ERR_TYPE, ERR_LIMIT, ERR_NOMEM; the text
 *         names file, key and shapes. */
MUST_USE struct lora *lora_open(const char *path, const struct lora_modules *modules, double alpha, struct err *e);
/* Accepts NULL. */
void lora_free(struct lora *l);

/* What was read. Everything is borrowed from the lora. */
struct lora_facts {
    const char *path;          /* the file */
    const char *name;          /* what people call it: the file's or the folder's name without its ending */
    size_t modules;            /* that it changes */
    int64_t least_rank, most_rank; /* 0: none has a rank */
    size_t unused_count;       /* keys that this model has no place for */
    const char *const *unused; /* their names */
    double alpha_assumed;      /* > 0: the file gives no alpha and should; this was taken */
};
struct lora_facts lora_facts(const struct lora *l);
/* Whether it changes a module of this part. */
bool lora_touches(const struct lora *l, const char *part);

/* One module's change of low rank as the file has it, for a training that goes on from it. */
struct lora_pair {
    const char *module;            /* as lora_module.name; borrowed, as all here */
    const struct weight *down, *up; /* A [rank, in ..] and B [out, rank ..] */
    const struct weight *magnitude; /* DoRA's, [out] in any shape; NULL: none */
    int64_t rank;
    double scale;                  /* alpha / rank */
};
/* The i-th of lora_facts' modules, in the order of the model's. ERR_TYPE where it is of another kind than a plain pair. */
MUST_USE bool lora_pair(const struct lora *l, size_t i, struct lora_pair *out, struct err *e);

/* A lora with its scale, for one part. */
struct lora_use {
    const struct lora *lora; /* borrowed; outlives the mix */
    double scale;            /* finite; 0 leaves it out */
};

/* The adapters of one part for several loras together: modules where all are of low rank get one branch, whose rank is the
 * sum; any other module's own weights are changed (computed when they are bound, so nothing is kept twice).
 * meaning  y = W x + sum_i scale_i (alpha_i / rank_i) B_i A_i x, as PEFT runs several active adapters; with DoRA's magnitude m
 *          the i-th adds (m_i / |W + s_i B_i A_i|) (W + s_i B_i A_i) x - W x. A bias is not scaled by DoRA. */
struct lora_mix;
MUST_USE struct lora_mix *lora_mix_new(const struct lora_modules *modules, const char *part, const struct lora_use *uses,
                                       size_t count, struct err *e);
/* The functions below take NULL for a mix of nothing. */
void lora_mix_free(struct lora_mix *m);
/* For struct net; NULL if nothing is changed in this part. Borrowed from m. */
const struct adapters *lora_mix_adapters(const struct lora_mix *m);
/* Whether a graph made with m serves these uses of the part too: the same loras in the same order, those of scale 0 left out. */
bool lora_mix_serves(const struct lora_mix *m, const char *part, const struct lora_use *uses, size_t count);
/* Takes over their scales, which m must serve. Returns whether one is another (then params_bind_adapted again). */
bool lora_mix_rescale(struct lora_mix *m, const struct lora_use *uses, size_t count);

/* What tensor `name` of a part's weights ("mid_block.attentions.0.proj_in.weight", ".bias") is with these loras: numbers[count], in
 * f32, is changed in place. For writing a model with them baked in. *changed: whether any of them changes it.
 * errors  ERR_SHAPE if the tensor has not as many numbers as the model's, ERR_NOMEM. */
MUST_USE bool lora_bake(const struct lora_use *uses, size_t count, const char *part, const char *name, float *numbers,
                        size_t elements, bool *changed, struct err *e);

#endif
