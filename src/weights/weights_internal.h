/* What the files of weights/ share: the list of tensors, and how one file of each format is added to it. */
#ifndef LIMN_WEIGHTS_WEIGHTS_INTERNAL_H
#define LIMN_WEIGHTS_WEIGHTS_INTERNAL_H

#include "base/file.h"
#include "weights/weights.h"

struct words; /* names and metadata, each ended by 0; they never move */

struct shard {
    struct file_map map;
    const char *format;
    struct words *words;
    size_t word_bytes;
    void *aligned;    /* copies of tensors whose place in the file does not suit their type; NULL if there are none */
    size_t aligned_bytes;
    struct file_map spilled; /* the same, where they are many: on the disk */
    void *gathered;   /* copies of tensors that do not lie in row-major order; NULL if there are none */
    size_t gathered_bytes;
};

struct weights {
    char *path;
    struct shard *shards;
    size_t shard_count, shard_cap;
    struct weight *list;
    size_t count, cap;
    struct weights_pair *metadata; /* borrowed from the shards' words */
    size_t pairs, pairs_cap;
    const struct weights *base;    /* what a view looks at, borrowed; NULL: a file */
    void **owned;                  /* a view's names and turned tensors */
    size_t owned_count, owned_cap;
    uint32_t *slots;               /* open addressing, index + 1 into list, 0 is free; slot_mask + 1 is a power of 2 */
    size_t slot_mask;
};

/* "file: tensor "name"" for errors. A name longer than this is cut: it is somebody else's. */
struct where {
    char s[600];
};
struct where weight_where(const char *path, const char *name);

/* The number of bytes of a shape, or false if a dimension is negative, the product passes 2^60, or the numbers of a quantised type
 * are no whole number of blocks. Zeros count as one in the
 * bound, so that no partial product of the dimensions can overflow either. */
MUST_USE bool weight_size(enum dtype type, const struct shape *shape, size_t *bytes);

/* A copy of the text, ended by 0, that lives as long as the shard; NULL with e filled. */
MUST_USE char *shard_word(struct shard *s, const char *text, size_t bytes, const char *path, struct err *e);
void shard_release(struct shard *s);

/* Appends a tensor; its name must be a word of a shard. */
MUST_USE bool weights_add(struct weights *w, struct weight t, struct err *e);
/* Appends metadata; key and value are copied into the shard's words. */
MUST_USE bool weights_add_pair(struct weights *w, struct shard *s, const char *key, size_t key_bytes, const char *value,
                               size_t value_bytes, const char *path, struct err *e);
/* Copies the tensors (from index first on) whose address does not suit their type to where it does: to memory, or beyond
 * WEIGHTS_ALIGNED_MOST bytes to a nameless file, if there is room for one, so that memory holds what is in use and no more. */
#define WEIGHTS_ALIGNED_MOST ((size_t)256 << 20)
MUST_USE bool weights_align(struct weights *w, struct shard *s, size_t first, const char *path, struct err *e);

/* A format: it is told by the first bytes, and appends the tensors of a mapped file to w. On failure w may hold some of
 * them (weights_free frees all). */
bool safetensors_add(struct weights *w, struct shard *s, const char *path, struct err *e);
bool torch_is(const struct file_map *m);
bool torch_add(struct weights *w, struct shard *s, const char *path, struct err *e);
bool gguf_is(const struct file_map *m);
bool gguf_add(struct weights *w, struct shard *s, const char *path, struct err *e);

/* Fills the hash table once the list is complete; a name that is there twice is an error. */
MUST_USE bool weights_make_slots(struct weights *w, struct err *e);

#endif
