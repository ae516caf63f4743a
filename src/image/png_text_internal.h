/* Text chunks of PNG files: W3C, "Portable Network Graphics (PNG) Specification", sections 5 and 11.3.4. */
#ifndef LIMN_IMAGE_PNG_TEXT_INTERNAL_H
#define LIMN_IMAGE_PNG_TEXT_INTERNAL_H

#include "image/image.h"

#define PNG_TEXT_MAX_BYTES ((size_t)16 << 20)

/* The bytes of `png` (as an encoder made it) with a chunk per text behind its header. *out is freed with
 * mem_free.
 * errors  ERR_ARG for a bad key or a value that is not UTF-8, ERR_LIMIT beyond PNG_TEXT_MAX_BYTES, ERR_NOMEM. */
MUST_USE bool png_text_insert(const uint8_t *png, size_t bytes, const struct image_text *texts, size_t count,
                              uint8_t **out, size_t *out_bytes, struct err *e);

#endif
