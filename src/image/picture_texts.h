/* What a picture's file tells of how it was made, in whatever place the program that made it has put it:
 *
 *   PNG   texts "parameters", "prompt", "workflow"; eXIf; an XMP text
 *   JPEG  EXIF, XMP, a comment
 *   WebP  EXIF, XMP
 *
 * In EXIF it is the UserComment (AUTOMATIC1111's web UI), the ImageDescription, XPComment, or any text of the first directory that begins with
 * "prompt:" or "workflow:" (ComfyUI); in XMP exif:UserComment or dc:description. A text is taken for what it is, not for where it lies: a
 * flow by its nodes, parameters by their "Steps: ".
 * sources  CIPA DC-008 (EXIF 2.32) 4.6, TIFF 6.0, ITU-T T.81 annex B, RFC 9649 (WebP), Adobe XMP part 1 and 3. */
#ifndef LIMN_IMAGE_PICTURE_TEXTS_H
#define LIMN_IMAGE_PICTURE_TEXTS_H

#include <stddef.h>

#include "base/err.h"

#define PICTURE_TEXTS_MAX_BYTES ((size_t)16 << 20) /* of one text */

/* UTF-8, NULL: the file tells none; owned, base/mem.h. */
struct picture_texts {
    char *parameters; /* as AUTOMATIC1111's web UI writes them */
    char *prompt;     /* a flow as ComfyUI's API has it, JSON */
    char *workflow;   /* a flow as its editor has it, JSON */
};
/* Reads them from a file's bytes. What is damaged, packed or too long is left out, and so is everything of other formats.
 * errors  ERR_NOMEM; then out holds nothing. */
MUST_USE bool picture_texts_read(struct picture_texts *out, const void *data, size_t bytes, struct err *e);
void picture_texts_release(struct picture_texts *t);

#endif
