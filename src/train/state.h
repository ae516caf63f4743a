/* What a training changes: the weights in f32, what the optimizer keeps of each, the running mean of the weights (EMA), and
 * the gradients of the step being made.
 *
 * Each kind is one flat array, so that a step of the optimizer is one op over a stretch of memory. A stretch holds the
 * weights that are treated alike: the same class (which the optimizer names), the same group (which rate), decay or none
 * (biases, norms, embeddings have none). Each weight begins at a multiple of STATE_ALIGN elements; gaps are 0. */
#ifndef LIMN_TRAIN_STATE_H
#define LIMN_TRAIN_STATE_H

#include "model/layer/net.h"

enum { STATE_ALIGN = 16, STATE_BLOCK = 256, STATE_SLOTS_MAX = 6, STATE_NUMBERS = 4 };

enum state_kind { STATE_VALUE, STATE_EMA, STATE_GRADIENT, STATE_KINDS };

/* What an optimizer keeps of a weight of shape [.., rows, columns]. */
enum slot_extent {
    SLOT_ELEMENT, /* a number for each element */
    SLOT_BLOCK,   /* for each STATE_BLOCK elements in a row, the last ones fewer */
    SLOT_ROW,     /* [.., rows] */
    SLOT_COLUMN,  /* [.., columns] */
};
struct slot_desc {
    const char *name; /* begins its tensors' names in a checkpoint */
    enum dtype type;
    enum slot_extent extent;
    unsigned classes; /* bit c: weights of class c have it */
};
struct state_plan {
    int (*class_of)(const struct param *p); /* 0..7; NULL: all are of class 0 */
    unsigned blocks;                        /* bit c: weights of class c begin at multiples of STATE_BLOCK elements */
    unsigned apart;                         /* bit c: each weight of class c is a stretch of its own */
    struct slot_desc slot[STATE_SLOTS_MAX]; /* up to the first without a name */
};

/* Weights whose names match learn at their own rate: "text_encoder" is the part, "unet*attn2*" a pattern as of a shell (fnmatch,
 * '*' stands for '/' too). The first that matches counts. */
struct train_group {
    const char *pattern;
    double rate; /* 0: they stay as they are */
};

struct state_stretch {
    size_t begin, end;  /* elements of the arrays */
    size_t first, last; /* its weights are order[first..last) */
    int class, group;   /* group 0: the run's rate; i + 1: groups[i] */
    bool decay, apart;
};

struct state_slot {
    struct slot_desc desc;
    size_t *offset; /* per param: first number; of no use where its class has no such slot */
    size_t count;
    void *data;     /* mem_pages */
};

struct train_state {
    struct params params;       /* what is learned; owned */
    size_t *offset;             /* per param: first element */
    size_t *order;              /* params in the order of their places */
    int *class;                 /* per param */
    size_t count;               /* elements of an array */
    float *array[STATE_KINDS];  /* mem_pages; without a running mean STATE_EMA is the array of STATE_VALUE */
    bool ema;
    struct state_slot slot[STATE_SLOTS_MAX];
    int slots;
    struct state_stretch *stretch;
    size_t stretches;
    double number[STATE_NUMBERS]; /* the optimizer's own; it says what they mean */
};

struct state_options {
    const struct state_plan *plan;
    const struct train_group *groups;
    size_t group_count;
    bool ema;      /* keep a running mean */
    uint64_t seed;
};

/* Takes over params (p is empty afterwards). Weights that lie in a file (param.stored) begin as copies of it, the others by
 * their rule, drawn from Philox streams named by (seed, the weight's place in the list). EMA begins as the weights.
 * ERR_ARG for a group that no weight belongs to. */
MUST_USE bool state_init(struct train_state *s, struct params *p, const struct state_options *o, struct err *e);
void state_release(struct train_state *s);
/* Bytes of the weights; of all that is kept besides (gradients, EMA, slots). */
size_t state_weight_bytes(const struct train_state *s);
size_t state_other_bytes(const struct train_state *s);

/* Weight i in an array. */
struct tensor state_tensor(const struct train_state *s, enum state_kind kind, size_t i);
/* Weight i in a slot; data NULL where its class has none. */
struct tensor state_slot_tensor(const struct train_state *s, int slot, size_t i);
/* The numbers of a stretch in a slot, as one row; data NULL where its class has none. A stretch of one weight that is apart keeps
 * its shape. */
struct tensor state_slot_stretch(const struct train_state *s, int slot, const struct state_stretch *stretch);
/* Binds every weight of params that a program's graph has to an array (values to train, EMA to look at). */
MUST_USE bool state_bind(const struct train_state *s, enum state_kind kind, struct program *program, struct err *e);

/* The whole state but the gradients, with facts beside it, atomically. */
MUST_USE bool state_save(const struct train_state *s, const char *path, const struct weights_pair *facts, size_t count,
                         struct err *e);
/* Reads it back bit for bit. ERR_SHAPE or ERR_MISSING if the file is of another model or optimizer. */
MUST_USE bool state_load(struct train_state *s, const struct weights *file, struct err *e);

/* Writes the weights of one part ("unet") as a model file in `type`, names without the part. */
MUST_USE bool state_export(const struct train_state *s, enum state_kind kind, const char *part, const char *path,
                           enum dtype type, struct err *e);

#endif
