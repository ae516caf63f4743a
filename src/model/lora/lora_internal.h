/* The neutral form of a LoRA file. */
#ifndef LIMN_MODEL_LORA_LORA_INTERNAL_H
#define LIMN_MODEL_LORA_LORA_INTERNAL_H

#include "model/lora/lora.h"

/* What a tensor is for its module. */
enum lora_role {
    LORA_DOWN,      /* A [rank, in], of a convolution [rank, in, kh, kw], or [rank, in, 1, 1] with a middle */
    LORA_UP,        /* B [out, rank] */
    LORA_UP_BIAS,   /* [out], scaled as the product */
    LORA_MID,       /* [rank, rank, kh, kw] between the two */
    LORA_ALPHA,     /* one number */
    LORA_MAGNITUDE, /* DoRA: a number for each output in any shape; called dora_scale it may be [1, in] */
    LORA_DIFF,      /* the weight's shape */
    LORA_DIFF_BIAS, /* the bias's shape */
    LORA_HADA_1A,   /* [out, rank]; with a kernel [rank, out] */
    LORA_HADA_1B,   /* [rank, in] */
    LORA_HADA_2A,
    LORA_HADA_2B,
    LORA_HADA_T1,   /* [rank, rank, kh, kw] */
    LORA_HADA_T2,
    LORA_KRON_1,    /* [out1, in1] */
    LORA_KRON_1A,   /* [out1, rank] */
    LORA_KRON_1B,   /* [rank, in1] */
    LORA_KRON_2,    /* [out2, in2] or [out2, in2, kh, kw] */
    LORA_KRON_2A,   /* [out2, rank]; with a kernel [rank, out2] */
    LORA_KRON_2B,   /* [rank, in2] or [rank, in2 kh kw]... */
    LORA_KRON_T2,   /* [rank, rank, kh, kw] */
    LORA_ROLES,
};

enum lora_kind { LORA_KIND_NONE, LORA_KIND_PAIR, LORA_KIND_DIFF, LORA_KIND_HADAMARD, LORA_KIND_KRONECKER };

/* What a file does to one module. */
struct lora_target {
    const struct lora_module *module; /* borrowed */
    const struct weight *tensor[LORA_ROLES]; /* borrowed from the file; NULL where it has none */
    enum lora_kind kind;  /* of the weight's change; NONE: only the bias is changed */
    int64_t rank;         /* 0: the kind has none */
    double scale;         /* alpha / rank: what the product is multiplied with beside the user's scale */
    bool per_input;       /* the magnitude is one number an input channel, not an output channel */
    double *norms;        /* DoRA on a branch: lora_delta.c fills it at first use; [3, out] */
};

struct lora {
    const struct lora_modules *modules; /* borrowed */
    struct weights *file;
    char *name;
    struct lora_target *targets; /* sorted by module */
    size_t count, cap;
    const char **unused;
    size_t unused_count, unused_cap;
    double alpha_assumed;
};

/* --- lora_keys.c --- */

struct lora_key {
    enum lora_role role;
    const char *part;  /* "unet"; NULL: the key does not say */
    char stem[256];    /* the module's name as spelled, without part and role; every '.' is a '_' */
    bool diffsynth;    /* spelled as DiffSynth does */
};
/* False if no layout has such a key. */
bool lora_key_read(const char *key, struct lora_key *out);

/* --- lora_modules.c --- */

/* The module with this spelling in a part, or NULL. */
const struct lora_module *lora_modules_find(const struct lora_modules *m, const char *part, const char *stem);

/* --- lora_delta.c: the arithmetic --- */

/* Tensors of a target fit its module and each other; sets kind, rank and per_input. Text without the file's name. */
MUST_USE bool lora_target_check(struct lora_target *t, struct err *e);
/* Whether it may run as a branch beside the module's own weight. */
bool lora_target_is_branch(const struct lora_target *t);
/* A tensor of the target in f32. Free with mem_free. */
MUST_USE float *lora_tensor_f32(const struct weight *w, struct err *e);
/* A in full: [rank, in kh kw], a middle kernel multiplied in. */
MUST_USE bool lora_target_down(const struct lora_target *t, float *out, struct err *e);
/* Factors of the output channels, DoRA's m / |W + scale BA|, of a branch with a magnitude: base is W. */
MUST_USE bool lora_target_gain(struct lora_target *t, const struct weight *base, double scale, double *gain, struct err *e);
/* weight += what the target adds to it at this scale. base: the weight without any adapter, f32; only DoRA reads it. */
MUST_USE bool lora_target_add(const struct lora_target *t, const float *base, double scale, float *weight, struct err *e);
MUST_USE bool lora_target_add_bias(const struct lora_target *t, double scale, float *bias, struct err *e);

#endif
