/* A file of tensors that is planned first and written as a stream: what converting and merging share. */
#ifndef LIMN_MODEL_FAMILY_CONVERT_INTERNAL_H
#define LIMN_MODEL_FAMILY_CONVERT_INTERNAL_H

#include "base/progress.h"
#include "weights/name_map.h"

/* One tensor of the output. */
struct output_tensor {
    const struct weight *from[NAME_MOST]; /* one, or three that follow one another */
    int count;
    bool turned;
};

struct output {
    enum weights_format format;
    enum dtype type;               /* of floating-point tensors; DTYPE_COUNT: as they are. A quantised one is for the large
                                    * matrices and kernels only, see output_add */
    struct weights_entry *entries; /* names are owned */
    struct output_tensor *tensors; /* of the same index */
    size_t count, entries_cap, tensors_cap;
    struct weights *kept[16];      /* what tensors lie in; owned */
    size_t kept_count;
    /* Changes `count` numbers of tensor `index` from its number `begin` on, in f32, before they get their type; NULL: nothing. */
    bool (*change)(void *self, size_t index, size_t begin, float *x, size_t count, struct err *e);
    void *self;
};

/* path says the format: GGUF if it ends so. */
void output_init(struct output *o, const char *path, enum dtype type);
void output_release(struct output *o);
/* Keeps a file or a view until the release, which frees the last kept first. On failure w is still the caller's. */
MUST_USE bool output_keep(struct output *o, struct weights *w, struct err *e);
/* Plans a tensor of this name; thirds of one outer tensor (how) are put together. ones: dimensions of 1 that are appended to the
 * shape, or with a minus taken off. Where a quantised type is asked for, tables of words, the first and last convolution and what
 * has no whole blocks stay as they are, as others do: they are small, and pictures suffer. ERR_FORMAT for a name twice. */
MUST_USE bool output_add(struct output *o, const char *name, const struct weight *t, enum name_how how, int ones, struct err *e);
/* Whether a type is of numbers that can be converted; whether a tensor is large and of a kind that can bear to be quantised, and has
 * whole blocks. */
bool output_is_number(enum dtype t);
bool output_may_be_quantised(const char *name, const struct weight *t, enum dtype type);
/* Writes all of it. ERR_FORMAT: a third that is missing, or a number that the type cannot hold; ERR_TYPE: a type that the format
 * has no word for. */
MUST_USE bool output_write(struct output *o, const char *path, const struct weights_pair *pairs, size_t pair_count,
                           const struct progress *progress, struct err *e);

#endif
