/* Pictures as pages and sockets want them: small and quick. */
#include <string.h>
#include <vips/vips.h>

#include "base/mem.h"
#include "image/image.h"

bool image_encode_for_web(const struct image *image, enum image_web_type type, int quality, uint8_t **data, size_t *bytes, struct err *e)
{
    *data = NULL;
    if (!image_init(e))
        return false;
    VipsImage *raw = vips_image_new_from_memory(image->pixels, image_bytes(image), image->width, image->height, image->channels,
                                                VIPS_FORMAT_UCHAR), *named = NULL, *flat = NULL;
    void *made = NULL;
    size_t made_bytes = 0;
    bool good = raw && !vips_copy(raw, &named, "interpretation", VIPS_INTERPRETATION_sRGB, NULL);
    if (good && type == IMAGE_JPEG && image->channels == 4) /* it has no alpha */
        good = !vips_extract_band(named, &flat, 0, "n", 3, NULL);
    if (good && type == IMAGE_JPEG)
        good = !vips_jpegsave_buffer(flat ? flat : named, &made, &made_bytes, "Q", quality, "strip", TRUE, NULL);
    else if (good)
        good = !vips_webpsave_buffer(named, &made, &made_bytes, "Q", quality, "effort", 2, "strip", TRUE, NULL);
    if (flat)
        g_object_unref(flat);
    if (named)
        g_object_unref(named);
    if (raw)
        g_object_unref(raw);
    if (good && (*data = mem_aligned(made_bytes))) {
        memcpy(*data, made, made_bytes);
        *bytes = made_bytes;
    } else {
        good = good ? err_nomem(e, "a picture's file")
                    : err_set(e, ERR_BACKEND, "a picture of %dx%d cannot become %s: %.200s", image->width, image->height,
                              type == IMAGE_JPEG ? "JPEG" : "WebP", vips_error_buffer());
        vips_error_clear();
    }
    g_free(made);
    return good;
}
