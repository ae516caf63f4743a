/* The scope in which a model writes its graph: which graph, in which type, and where its weights come from. */
#ifndef LIMN_MODEL_LAYER_NET_H
#define LIMN_MODEL_LAYER_NET_H

#include "base/progress.h"
#include "graph/graph.h"
#include "graph/ops.h"
#include "graph/program.h"
#include "weights/weights.h"

/* How a weight begins when a model is trained from nothing. */
enum init {
    INIT_FAN_IN, /* uniform in +-scale; with scale sqrt(3 / fan in) what comes out has the variance of what goes in (LeCun et
                  * al. 1998, section 4.6). PyTorch's default, a third of that with biases as large, lets a picture fade
                  * against the biases on the way through a VAE: measured, it learns colours several times slower */
    INIT_ZEROS,
    INIT_ONES,
    INIT_NORMAL, /* mean 0, standard deviation `scale` */
    INIT_LOGVAR, /* first half 0, second half `scale`: the bias that makes mean and log variance of a VAE's latent */
};

struct adapters;

/* A weight that a model asked for. */
struct param {
    const char *name;  /* "unet/conv_in.weight": part and the file's name; owned by the list */
    struct shape shape;
    enum init init;
    double scale;      /* as INIT_... says */
    bool decay;        /* weight decay applies: matrices and kernels, not biases, norms and embeddings */
    const struct weight *stored; /* where it lies; borrowed from the file; NULL from nothing */
    /* Where an adapter gives it or changes it (adapter.h); role 0: none does. */
    int role;
    const struct adapters *adapters; /* borrowed */
    size_t adapter;                  /* which of them */
    float *made;                     /* what it was filled with, if the program reads it where it lies; owned */
};

struct params {
    struct param *at;
    size_t count, cap;
};
void params_init(struct params *p);
void params_release(struct params *p);
const struct param *params_find(const struct params *p, const char *name);
/* Adds a copy of *what under a name, once; one that is there stays as it is. */
MUST_USE bool params_add(struct params *p, const char *name, const struct param *what, struct err *e);

struct net {
    struct graph *g;
    enum dtype type;              /* of activations: f32 or bf16 (f64 in tests) */
    const char *part;             /* "unet", "vae", "text_encoder": begins the names of weights in the graph */
    const struct weights *stored; /* borrowed; NULL: from nothing, every weight has its config's shape */
    bool trained;                 /* weights are f32 and change; otherwise they have the type of the file */
    const char *only;             /* with trained: patterns with commas between them, as of a shell ('*' stands for '.' too); weights whose
                                     names match none stay as they are, and are listed in rest. NULL: all change */
    struct params *rest;
    enum dtype kept;              /* type of weights that stay and are in no file: to measure with; DTYPE_F32 is the first */
    bool in_place;                /* those that stay are read where they lie at every run, never packed: slower, and no second copy */
    struct params *params;        /* what was asked for is added here, once per name */
    const struct adapters *adapters; /* borrowed, outlives the params; NULL: none (adapter.h) */
};

/* Names below a prefix: "down_blocks.0.resnets.1". */
struct path {
    char s[200];
};
struct path path_of(const char *format, ...) PRINTF_LIKE(1, 2);

/* The weight `prefix.name`. With n->stored it must be there with this shape (dimensions of 1 aside); older spellings of a
 * name are tried (net.c lists them). Errors stick in the graph: ERR_MISSING, ERR_SHAPE. */
struct value net_weight(struct net *n, const char *prefix, const char *name, struct shape shape, enum init init,
                        double scale, bool decay);

/* The tensor that a name without its part means in a file, whatever its spelling there; NULL if there is none. */
const struct weight *net_stored(const struct weights *stored, const char *name);

/* Gives a program its weights from the files they lie in, but not those that adapters give or change; what was packed is
 * forgotten by the page cache's map. */
MUST_USE bool params_bind(const struct params *p, struct program *program, const struct weights *stored,
                          struct err *e);
/* Gives it those of adapters. again: their scales have changed and nothing else. What the program reads where it lies is kept
 * in p, which must outlive the program's last run. */
MUST_USE bool params_bind_adapted(struct params *p, struct program *program, bool again, struct err *e);

#endif
