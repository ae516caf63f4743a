/* Resizing of one channel. */
#ifndef LIMN_IMAGE_RESIZE_INTERNAL_H
#define LIMN_IMAGE_RESIZE_INTERNAL_H

#include "image/image.h"

/* out[height, width] from plane[plane_height, plane_width], u8: Lanczos, to the bit as Pillow's of a grey picture. Sides are
 * image.h's. errors  ERR_NOMEM. */
MUST_USE bool resize_plane(uint8_t *out, int width, int height, const uint8_t *plane, int plane_width, int plane_height,
                           struct err *e);

#endif
