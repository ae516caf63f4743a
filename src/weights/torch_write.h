/* Writes what torch.load reads: a flat dictionary of tensors in PyTorch's zip (since 1.6), for programs that want a .ckpt or .bin. */
#ifndef LIMN_WEIGHTS_TORCH_WRITE_H
#define LIMN_WEIGHTS_TORCH_WRITE_H

#include "weights/weights.h"

/* Whole or not at all. data[i] belongs to entries[i], in its type: f32, f16 or bf16. The tensors' order in the dictionary is theirs.
 * errors  ERR_TYPE, ERR_LIMIT (more than 4 GB, which would need a longer zip, or 65535 tensors), ERR_IO, ERR_NOMEM. */
MUST_USE bool torch_save(const char *path, const struct weights_entry *entries, const void *const *data, size_t count, struct err *e);

#endif
