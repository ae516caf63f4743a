/* What the files of weights/ share: the list of tensors, and how one safetensors file is added to it. */
#ifndef LIMN_WEIGHTS_WEIGHTS_INTERNAL_H
#define LIMN_WEIGHTS_WEIGHTS_INTERNAL_H

#include "base/file.h"
#include "weights/weights.h"

struct shard {
    struct file_map map;
    size_t data_at;   /* where the tensors' bytes begin in map */
    char *words;      /* names, and metadata keys and values, each ended by 0 */
    void *aligned;    /* copies of tensors whose place in the file does not suit their type; NULL if there are none */
    size_t aligned_bytes;
};

struct weights {
    char *path;
    struct shard *shards;
    size_t shard_count, shard_cap;
    struct weight *list;
    size_t count, cap;
    struct weights_pair *metadata; /* borrowed from the shards' words */
    size_t pairs, pairs_cap;
    uint32_t *slots;               /* open addressing, index + 1 into list, 0 is free; slot_mask + 1 is a power of 2 */
    size_t slot_mask;
};

/* The number of bytes of a shape, or false if a dimension is negative or the product passes 2^60. Zeros count as one in the
 * bound, so that no partial product of the dimensions can overflow either. */
MUST_USE bool weight_size(enum dtype type, const struct shape *shape, size_t *bytes);

/* Maps the file, checks its header and appends its tensors to w. On failure w may hold the shard (weights_free frees it). */
MUST_USE bool safetensors_add(struct weights *w, const char *path, struct err *e);

#endif
