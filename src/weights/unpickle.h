/* A restricted unpickler: reads what torch.save writes, runs nothing, makes no object but those below.
 *
 * source  Python's pickle format, protocols 2 to 5 (Lib/pickletools.py names and explains every opcode), and the calls that
 *         torch._utils of PyTorch 2.13 and before leaves in files.
 * safety  A pickle is a program. Here it can only put values together: an opcode that is not needed for tensors, dictionaries,
 *         lists, numbers and strings is refused by its name, and so is a global that is not in the table of unpickle.c.
 * bounds  PICKLE_MAX_OPS opcodes in all; every count is checked against what is there. Nothing here recurses; a value may
 *         hold itself (pickles can say so), so who walks values must bound the walk.
 * owner   strings are borrowed from the bytes read; values live until pickle_release. */
#ifndef LIMN_WEIGHTS_UNPICKLE_H
#define LIMN_WEIGHTS_UNPICKLE_H

#include "base/bytes.h"
#include "tensor/tensor.h"

#define PICKLE_MAX_OPS ((size_t)8000000)

enum pickle_kind {
    PICKLE_NONE, /* None, and what is read but not kept (a numpy scalar, a set) */
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_BIG,  /* an integer of more than 64 bits: text holds its little-endian bytes */
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT, /* items: key, value, key, value, ... */
    PICKLE_GLOBAL,
    PICKLE_STORAGE,
    PICKLE_TENSOR,
    PICKLE_MARK,
};

struct pickle_value {
    enum pickle_kind kind;
    bool module; /* a dictionary that was a torch.nn.Module: its state is in it */
    union {
        int64_t number; /* also of BOOL; index into storages or tensors; index into the table of globals */
        double real;
        struct { const char *s; size_t bytes; } text; /* not ended by 0 */
        struct { uint32_t *at; size_t count, cap; } items;
    };
};

/* What a tensor's numbers lie in. */
struct pickle_storage {
    const char *key; /* not ended by 0 */
    size_t key_bytes;
    enum dtype type; /* DTYPE_U8 for one without a type: then count is in bytes */
    bool untyped;
    int64_t count;              /* elements of the whole storage */
    int64_t view_at, view_count; /* the part that tensors see (files of PyTorch before 1.0 have such) */
};

struct pickle_tensor {
    size_t storage;
    enum dtype type;
    int64_t offset; /* in elements, from the storage's view */
    struct shape shape;
    int64_t stride[SHAPE_MAX_RANK]; /* in elements */
};

struct pickle {
    const char *where; /* begins every error; borrowed */
    struct pickle_value *values; /* index 0 is None */
    size_t count, cap;
    struct pickle_storage *storages;
    size_t storage_count, storage_cap;
    struct pickle_tensor *tensors;
    size_t tensor_count, tensor_cap;
    size_t ops;

    struct bytes from;
    uint32_t *stack, *memo; /* of the pickle that is read now */
    size_t depth, stack_cap, memo_count, memo_cap;
    struct err *e;
};

void pickle_init(struct pickle *p, const char *where);
void pickle_release(struct pickle *p);
/* Reads one pickle, to its STOP, and moves `from` behind it. *result is an index into values.
 * errors  ERR_FORMAT (also for refused opcodes and globals), ERR_TYPE, ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool pickle_read(struct pickle *p, struct bytes *from, uint32_t *result, struct err *e);
/* The value of a dictionary's key, or NULL (also if `dict` is none). */
const struct pickle_value *pickle_get(const struct pickle *p, const struct pickle_value *dict, const char *key);
/* Whether a value is this text. */
bool pickle_is(const struct pickle_value *v, const char *text);
/* "a list": for errors. */
const char *pickle_kind_name(enum pickle_kind kind);

#endif
