/* Named tensors from files, mapped read-only. A format is told by a file's bytes, never by its name:
 *
 * safetensors  u64 header length, a JSON object name -> {dtype, shape, data_offsets} (and "__metadata__": name -> text), then
 *              the tensors' bytes, little-endian, row-major, without gaps or overlaps. What upstream checks is checked here
 *              (header at most 100 MB, offsets contiguous from 0 to the file's end, size equal to shape times type).
 * pytorch      what torch.save writes (.ckpt, .pt, .pth, .bin), both its zip and the pickles before 1.6, read by a pickle
 *              machine that can put tensors, dictionaries, lists, numbers and strings together and nothing else
 *              (unpickle.h); torch_file.c says which names come of nested dictionaries.
 * gguf         versions 2 and 3; quantised tensors stay as they are (tensor/quant.h). Shapes are outermost first like
 *              everywhere here, and a tensor that was stored as rows of blocks has its true shape again (gguf.h).
 *
 * bounds  rank at most SHAPE_MAX_RANK, at most WEIGHTS_MAX_SHARDS files; those of a format are in its file. A type that enum
 *         dtype does not have is an error that names it. */
#ifndef LIMN_WEIGHTS_WEIGHTS_H
#define LIMN_WEIGHTS_WEIGHTS_H

#include <stddef.h>

#include "base/err.h"
#include "tensor/tensor.h"

#define WEIGHTS_HEADER_MAX_BYTES ((size_t)100000000)
#define WEIGHTS_MAX_SHARDS 1024

/* One tensor. Everything is borrowed from the struct weights and lives as long as it. data is aligned to its type: a
 * tensor that its file has at an odd place (old writers did so) is copied when the file is opened: to memory, or beyond 256 MiB to a
 * nameless file on the disk. */
struct weight {
    const char *name;
    enum dtype type;
    struct shape shape;
    const void *data;
};

struct weights;

/* Opens
 *  - a file of one of the formats above,
 *  - an index (*.safetensors.index.json, pytorch_model.bin.index.json), whose "weight_map" names the shards beside it,
 *  - or a folder: the first that is there of {diffusion_pytorch_model, model}.safetensors, their .safetensors.index.json,
 *    then {diffusion_pytorch_model, model}.fp16.safetensors, .safetensors.index.fp16.json, .fp16.safetensors.index.json,
 *    then {diffusion_pytorch_model, pytorch_model}.bin, their .bin.index.json, .fp16.bin, .bin.index.fp16.json.
 * All headers are read and checked; the tensors' bytes are not touched (but those at odd places, and those of PyTorch's
 * tensors that are strided views: both are copied).
 * errors  ERR_MISSING (nothing there, or the index names what no shard has), ERR_FORMAT, ERR_LIMIT, ERR_TYPE, ERR_IO,
 *         ERR_NOMEM; the text names the file and, where there is one, the tensor. */
MUST_USE struct weights *weights_open(const char *path, struct err *e);
/* Accepts NULL. */
void weights_free(struct weights *w);

/* What was opened: for a folder the file that was found in it. Borrowed. */
const char *weights_path(const struct weights *w);

/* "safetensors", "pytorch", "gguf": of the (first) file. */
const char *weights_format(const struct weights *w);

/* The tensor with this name, or NULL. One hash lookup. */
const struct weight *weights_find(const struct weights *w, const char *name);
/* The same, but a missing one is ERR_MISSING with the name and the path. */
MUST_USE const struct weight *weights_need(const struct weights *w, const char *name, struct err *e);

/* All tensors in the order of their bytes in the files (shard after shard, in order of the shards' names). */
size_t weights_count(const struct weights *w);
const struct weight *weights_at(const struct weights *w, size_t i);
/* Bytes of all tensors together, without headers. */
size_t weights_bytes(const struct weights *w);

/* A word that the file says about itself (of the first shard that has the key), or NULL. Borrowed. Of safetensors what is in
 * "__metadata__", of PyTorch's files the texts and numbers of the outermost dictionary, of GGUF all its
 * metadata: numbers as text, lists as "[1, 2]" (of one longer than 64 the first 64). */
const char *weights_metadata(const struct weights *w, const char *key);
/* All of them. Borrowed. */
struct weights_pair {
    const char *key, *value;
};
const struct weights_pair *weights_pairs(const struct weights *w, size_t *count);

size_t weight_bytes(const struct weight *t);

/* The tensor was converted or copied: the system may take its pages back now (they would be read again from the file if
 * touched). `t` must come from `w`. */
void weights_forget(const struct weights *w, const struct weight *t);

/* ERR_FORMAT with the name and the index of the first NaN or infinity in t; integers always pass. As fast as memory is read. */
MUST_USE bool weights_check_finite(const struct weight *t, struct err *e);

/* ---- writing: one file, whole or not at all (base/file.h) ----
 * safetensors: the header is padded with spaces to a multiple of 8. Tensors lie in the file in the order of upstream's writer
 * (widest type first, then by name), so that each is aligned to its type; the caller writes them in that order, which
 * weights_writer_at tells.
 * GGUF, version 3: tensors in the order of the entries, each at a multiple of 32. Types F32, F16, BF16, F64, I8 to I64 and all
 * quantised ones; a tensor of a quantised type whose rows are no whole blocks is stored as rows of blocks with its true shape in
 * the metadata (gguf.h). Metadata are texts; what the writer itself states (general.alignment, general.quantization_version,
 * true shapes) is left out of the caller's, so that a file's metadata can be handed on. ggml's programs want
 * "general.architecture" among them, and at most four dimensions. */
enum weights_format { WEIGHTS_SAFETENSORS, WEIGHTS_GGUF };

struct weights_entry {
    const char *name;
    enum dtype type;
    struct shape shape;
};

struct weights_writer;

/* Plans the file and writes its header. entries and metadata are copied (metadata may be NULL with pairs 0).
 * errors  ERR_ARG for a name given twice, an invalid UTF-8 name or a bad shape; ERR_TYPE for a quantised type, which safetensors does
 *         not have; ERR_IO, ERR_NOMEM. */
MUST_USE struct weights_writer *weights_write_begin(const char *path, const struct weights_entry *entries, size_t count,
                                                    const struct weights_pair *metadata, size_t pairs, struct err *e);
/* The same for either format. ERR_TYPE also for a type that GGUF has no word for, ERR_ARG for a key that is there twice. */
MUST_USE struct weights_writer *weights_write_begin_as(enum weights_format format, const char *path,
                                                       const struct weights_entry *entries, size_t count,
                                                       const struct weights_pair *metadata, size_t pairs, struct err *e);
/* The index into `entries` of the tensor that must be written i-th. */
size_t weights_writer_at(const struct weights_writer *w, size_t i);
/* Writes the whole data of entries[entry], which must be the next one in weights_writer_at's order (ERR_ARG if not).
 * After an error only weights_write_abandon is allowed. */
MUST_USE bool weights_write_tensor(struct weights_writer *w, size_t entry, const void *data, struct err *e);
/* The same in pieces that follow one another, for what is not in memory as a whole: a tensor is written when its bytes are. One
 * without bytes takes one piece of none. */
MUST_USE bool weights_write_piece(struct weights_writer *w, size_t entry, const void *data, size_t bytes, struct err *e);
/* The same from data of another type (what dtype_convert can), a few MB at a time: no second copy of the tensor is made. The
 * numbers must be finite if the entry's type is quantised. ERR_TYPE if there is no such conversion. */
MUST_USE bool weights_write_converted(struct weights_writer *w, size_t entry, const void *data, enum dtype type, struct err *e);
/* Flushes, syncs, renames. Frees the writer whether it succeeds or not; on failure nothing is left on the disk and what
 * was at `path` before is untouched. ERR_ARG if a tensor was not written. */
MUST_USE bool weights_write_commit(struct weights_writer *w, struct err *e);
/* Leaves nothing and frees the writer. Accepts NULL. */
void weights_write_abandon(struct weights_writer *w);

/* All of the above for tensors that are in memory: data[i] belongs to entries[i]. */
MUST_USE bool weights_save(const char *path, const struct weights_entry *entries, const void *const *data, size_t count,
                           const struct weights_pair *metadata, size_t pairs, struct err *e);

#endif
