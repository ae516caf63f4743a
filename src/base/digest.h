/* SHA-256 of bytes, as 64 hexadecimal digits (FIPS 180-4; GLib computes it). */
#ifndef LIMN_BASE_DIGEST_H
#define LIMN_BASE_DIGEST_H

#include <stddef.h>

#include "base/progress.h"

enum { DIGEST_TEXT_BYTES = 65 };

/* Of the file's bytes from `from` to its end, and in the same pass of the whole file: the first is what LoRA trainers call the
 * hash of the weights, where `from` is the place behind the header. weights may be NULL. progress (may be NULL) counts MiB.
 * errors  ERR_IO, ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool digest_file(const char *path, size_t from, char whole[DIGEST_TEXT_BYTES], char weights[DIGEST_TEXT_BYTES],
                          const struct progress *progress, struct err *e);
/* Of bytes in memory. False without memory. */
MUST_USE bool digest_bytes(const void *data, size_t bytes, char out[DIGEST_TEXT_BYTES]);

#endif
