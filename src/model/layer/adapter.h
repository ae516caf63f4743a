/* What is added to a model's modules beside their own weights: low-rank branches, factors of outputs, changed weights. A
 * model is written as without them; layer.c and net.c ask here. The numbers come from somebody else: from files
 * (model/lora/lora_mix.h) through `fill`, or from a training that learns the pairs. */
#ifndef LIMN_MODEL_LAYER_ADAPTER_H
#define LIMN_MODEL_LAYER_ADAPTER_H

#include "model/layer/net.h"

/* A weight of an adapter in the graph; in a list of params beside the model's own. */
enum adapter_role {
    ADAPTER_NONE,   /* the model's own, as its file has it */
    ADAPTER_DOWN,   /* A: [rank, in], of a convolution [rank, in, kernel, kernel]; graph name "<name>.lora_A.weight" */
    ADAPTER_UP,     /* B: [out, rank]; "<name>.lora_B.weight" */
    ADAPTER_GAIN,   /* [out]: what the base's output is multiplied with, before the bias; "<name>.gain" */
    ADAPTER_WEIGHT, /* the model's own weight, changed: f32, its shape and name */
    ADAPTER_BIAS,   /* the model's own bias, changed */
};

/* One module's adapter:  y = gain * (W x) + scale * B (A x) + bias,  where any part may be left out. Where it is trained, the gain is
 * DoRA's magnitude m, and  y = m / norm * (W x + scale * B (A x)) + bias.  The norms |W + scale B A| of the rows are an input of the
 * program, "<name>.norm" [out]: they are held as they are at a step's beginning, and no gradient passes them (the paper's 4.3).
 * source  Hu et al. 2021, "LoRA", eq. 3; Liu et al. 2024, "DoRA", eq. 5. */
struct adapter {
    const char *name;    /* part and module, "unet/mid_block.attentions.0.proj_in"; borrowed */
    int64_t rank;        /* of the branch; 0: there is none */
    double scale;        /* of a trained branch: alpha / rank */
    bool gain;
    bool weight, bias;   /* the module's own are changed */
};

struct adapters {
    const struct adapter *at; /* sorted by name; borrowed */
    size_t count;
    double scale;             /* of all branches that are filled; 1 where `fill` has put it into B */
    bool trained;             /* the pairs are f32 and change; then they are asked for in `params` and fill is not used */
    bool gaussian;            /* a trained A begins normal with deviation 1 / rank, not as PEFT's default */
    struct params *params;    /* where the pairs are listed; NULL: with the model's own weights */
    /* Writes the numbers of adapter `index` in f32. base: the module's own weight as stored (for ADAPTER_BIAS its bias). */
    bool (*fill)(void *self, size_t index, enum adapter_role role, const struct weight *base, float *out, struct err *e);
    void *self;
};

/* The adapter of module `at` of n's part, or NULL. */
const struct adapter *net_adapter(const struct net *n, const char *at);
/* Whether own weight "<part>/<module>.weight" or ".bias" is changed by an adapter; its index is then in *index. */
enum adapter_role net_changed(const struct net *n, const char *whole_name, size_t *index);

/* A linear layer (k 0) or a k x k convolution with its adapter: x its input, y what it gives with its own weight, without
 * bias if the adapter has a gain. bias: is added behind the gain; VALUE_NONE otherwise. stride, pad: of the convolution. */
struct value adapter_join(struct net *n, const struct adapter *a, const char *at, struct value x, struct value y,
                          struct value bias, int64_t k, int64_t stride, const int64_t pad[4]);

#endif
