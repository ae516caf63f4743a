/* Picture files through libvips. Its objects stay inside this file. */
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <vips/vips.h>

#include "base/file.h"
#include "base/mem.h"
#include "image/image.h"
#include "image/png_text_internal.h"

static bool started;

static void quiet_log(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
    /* what matters comes back as an error; a warning about an odd file is not for our stderr */
    (void)domain, (void)level, (void)message, (void)data;
}

static void start(void)
{
    started = vips_init("limn") == 0;
    if (!started)
        return;
    g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG, quiet_log, NULL);
    vips_block_untrusted_set(TRUE);
    vips_concurrency_set(1);
    vips_cache_set_max(0);
}

bool image_init(struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    return started || err_set(e, ERR_BACKEND, "libvips does not start");
}

/* libvips keeps its reasons in one buffer for all threads: the text may hold another thread's lines, the code
 * does not. */
static bool vips_refuses(struct err *e, enum err_code code, const char *what, const char *where)
{
    char reason[300];
    snprintf(reason, sizeof reason, "%s", vips_error_buffer());
    vips_error_clear();
    reason[strcspn(reason, "\n")] = 0;
    return err_set(e, code, "%s: %s%s%s", where, what, reason[0] ? ": " : "", reason);
}

/* Replaces *image by *next, what a call made of it, and clears *next; on failure *image is gone. */
static bool step(VipsImage **image, int failed, VipsImage **next)
{
    g_object_unref(*image);
    *image = failed ? NULL : *next;
    *next = NULL;
    return !failed;
}

static bool to_srgb(VipsImage **image, enum image_alpha alpha, uint32_t background)
{
    VipsImage *next = NULL;
    if (!step(image, vips_autorot(*image, &next, NULL), &next))
        return false;
    if (vips_image_get_typeof(*image, VIPS_META_ICC_NAME)) {
        /* a profile that does not fit its pixels is common; then the plain conversion below serves */
        if (vips_icc_transform(*image, &next, "srgb", "embedded", TRUE, NULL) == 0)
            step(image, 0, &next);
        else
            vips_error_clear();
    }
    if (!step(image, vips_colourspace(*image, &next, VIPS_INTERPRETATION_sRGB, NULL), &next))
        return false;
    int bands = vips_image_get_bands(*image);
    if (bands > 4) {
        if (!step(image, vips_extract_band(*image, &next, 0, "n", 4, NULL), &next))
            return false;
        bands = 4;
    }
    if (bands == 4 && alpha == IMAGE_FLATTEN) {
        double colour[3] = { background >> 16 & 255, background >> 8 & 255, background & 255 };
        VipsArrayDouble *array = vips_array_double_new(colour, 3);
        int failed = vips_flatten(*image, &next, "background", array, NULL);
        vips_area_unref(VIPS_AREA(array));
        if (!step(image, failed, &next))
            return false;
    } else if (bands == 3 && alpha == IMAGE_WITH_ALPHA) {
        if (!step(image, vips_addalpha(*image, &next, NULL), &next))
            return false;
    }
    return step(image, vips_cast(*image, &next, VIPS_FORMAT_UCHAR, NULL), &next);
}

bool image_is_picture_name(const char *name)
{
    static const char *const endings[] = { ".png",  ".jpg",  ".jpeg", ".webp", ".gif", ".tif",
                                           ".tiff", ".avif", ".heic", ".jxl",  ".ppm" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

/* The picture with its header read and its size checked, or NULL. */
static VipsImage *open_checked(const void *data, size_t bytes, const char *where, struct err *e)
{
    VipsImage *image = vips_image_new_from_buffer(data, bytes, "", "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
    if (!image) {
        vips_refuses(e, ERR_FORMAT, "not a picture we can read", where);
        return NULL;
    }
    int width = vips_image_get_width(image), height = vips_image_get_height(image);
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE ||
        (int64_t)width * height > IMAGE_MAX_PIXELS) {
        g_object_unref(image);
        err_set(e, ERR_LIMIT, "%s: a picture of %dx%d; at most %d a side and %lld pixels are read",
                       where, width, height, IMAGE_MAX_SIDE, (long long)IMAGE_MAX_PIXELS);
        return NULL;
    }
    return image;
}

bool image_probe(struct image_facts *out, const void *data, size_t bytes, const char *where, struct err *e)
{
    *out = (struct image_facts){ 0 };
    VipsImage *image = image_init(e) ? open_checked(data, bytes, where, e) : NULL;
    if (!image)
        return false;
    /* "pngload_buffer": the loader's name without its ending */
    const char *loader = "";
    if (vips_image_get_typeof(image, VIPS_META_LOADER) && vips_image_get_string(image, VIPS_META_LOADER, &loader) == 0)
        snprintf(out->format, sizeof out->format, "%.*s", (int)(strstr(loader, "load") ? strstr(loader, "load") - loader : 0), loader);
    bool lies = vips_image_get_orientation_swap(image);
    out->width = lies ? vips_image_get_height(image) : vips_image_get_width(image);
    out->height = lies ? vips_image_get_width(image) : vips_image_get_height(image);
    out->alpha = vips_image_hasalpha(image);
    g_object_unref(image);
    return true;
}

bool image_decode(struct image *out, const void *data, size_t bytes, const char *where,
                  enum image_alpha alpha, uint32_t background, struct err *e)
{
    *out = (struct image){ 0 };
    if (!image_init(e))
        return false;
    /* opening reads the header only; pixels are decoded by vips_image_write_to_memory */
    VipsImage *image = open_checked(data, bytes, where, e);
    if (!image)
        return false;
    if (!to_srgb(&image, alpha, background))
        return vips_refuses(e, ERR_FORMAT, "the picture is broken", where);
    size_t count = 0;
    void *pixels = vips_image_write_to_memory(image, &count);
    int bands = vips_image_get_bands(image);
    int width = vips_image_get_width(image), height = vips_image_get_height(image); /* turned by EXIF */
    g_object_unref(image);
    if (!pixels)
        return vips_refuses(e, ERR_FORMAT, "the picture is broken", where);
    bool good = bands == 3 || bands == 4;
    if (!good)
        err_set(e, ERR_FORMAT, "%s: a picture of %d channels", where, bands);
    else
        good = image_make(out, width, height, bands, e);
    if (good && count != image_bytes(out)) {
        image_release(out);
        good = err_set(e, ERR_FORMAT, "%s: %zu bytes of pixels", where, count);
    }
    if (good)
        memcpy(out->pixels, pixels, count);
    g_free(pixels);
    return good;
}

bool image_load(struct image *out, const char *path, enum image_alpha alpha, uint32_t background,
                struct err *e)
{
    *out = (struct image){ 0 };
    char *data;
    size_t bytes;
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, e))
        return false;
    bool good = image_decode(out, data, bytes, path, alpha, background, e);
    mem_free(data);
    return good;
}

/* The picture for libvips: its pixels are borrowed. NULL on failure. */
static VipsImage *wrap(const struct image *image)
{
    VipsImage *raw = vips_image_new_from_memory(image->pixels, image_bytes(image), image->width, image->height,
                                                image->channels, VIPS_FORMAT_UCHAR);
    VipsImage *named = NULL;
    if (raw && vips_copy(raw, &named, "interpretation", VIPS_INTERPRETATION_sRGB, NULL) != 0)
        named = NULL;
    if (raw)
        g_object_unref(raw);
    return named;
}

bool image_encode_png(const struct image *image, const struct image_text *texts, size_t count, uint8_t **data,
                      size_t *bytes, struct err *e)
{
    *data = NULL;
    if (!image_init(e))
        return false;
    VipsImage *named = wrap(image);
    void *plain = NULL;
    size_t plain_bytes = 0;
    bool good = named && vips_pngsave_buffer(named, &plain, &plain_bytes, "compression", 6, "filter",
                                             VIPS_FOREIGN_PNG_FILTER_ALL, "strip", TRUE, NULL) == 0;
    if (!good)
        vips_refuses(e, ERR_BACKEND, "cannot be made", "a PNG");
    if (named)
        g_object_unref(named);
    good = good && png_text_insert(plain, plain_bytes, texts, count, data, bytes, e);
    g_free(plain);
    return good;
}

const char *image_format_ending(enum image_format format)
{
    static const char *const endings[] = { ".png", ".jpg", ".webp" };
    return endings[format];
}

bool image_encode(const struct image *image, enum image_format format, int quality, uint8_t **data, size_t *bytes,
                  struct err *e)
{
    *data = NULL;
    if (format == IMAGE_WEBP && (image->width > 16383 || image->height > 16383))
        return err_set(e, ERR_LIMIT, "a WebP of %dx%d: sides are at most 16383", image->width, image->height);
    if (!image_init(e))
        return false;
    VipsImage *named = wrap(image);
    void *plain = NULL;
    size_t count = 0;
    VipsImage *opaque = NULL;
    if (named && format == IMAGE_JPEG && image->channels == 4)
        step(&named, vips_extract_band(named, &opaque, 0, "n", 3, NULL), &opaque);
    int failed = !named ? 1
                 : format == IMAGE_JPEG
                     ? vips_jpegsave_buffer(named, &plain, &count, "Q", quality, "strip", TRUE, NULL)
                 : format == IMAGE_WEBP
                     ? vips_webpsave_buffer(named, &plain, &count, "Q", quality, "lossless", quality == 100, "effort", 2, "strip", TRUE,
                                            NULL)
                     : vips_pngsave_buffer(named, &plain, &count, "compression", 2, "filter", VIPS_FOREIGN_PNG_FILTER_SUB, "strip",
                                           TRUE, NULL);
    if (named)
        g_object_unref(named);
    bool good = failed ? vips_refuses(e, ERR_BACKEND, "cannot be made", image_format_ending(format)) : true;
    if (good && !(*data = mem_aligned(count)))
        good = err_nomem(e, "a picture's file");
    if (good)
        memcpy(*data, plain, *bytes = count);
    g_free(plain);
    return good;
}

const char *const image_part_names[] = { "centre", "entropy", "attention", "start", "end", NULL };

bool image_find_cut(const struct image *image, int width, int height, enum image_part part, int *x, int *y, struct err *e)
{
    if (width < 1 || height < 1 || width > image->width || height > image->height)
        return err_set(e, ERR_ARG, "a cut of %dx%d does not lie inside %dx%d", width, height, image->width, image->height);
    int right = image->width - width, down = image->height - height;
    *x = part == IMAGE_END ? right : part == IMAGE_START ? 0 : right / 2;
    *y = part == IMAGE_END ? down : part == IMAGE_START ? 0 : down / 2;
    if ((part != IMAGE_ENTROPY && part != IMAGE_ATTENTION) || (!right && !down))
        return true;
    if (!image_init(e))
        return false;
    VipsImage *named = wrap(image), *cut = NULL;
    bool good = named && vips_smartcrop(named, &cut, width, height, "interesting",
                                        part == IMAGE_ENTROPY ? VIPS_INTERESTING_ENTROPY : VIPS_INTERESTING_ATTENTION, NULL) == 0;
    if (!good) {
        vips_refuses(e, ERR_BACKEND, "cannot be found", "the part of a picture that is looked at");
    } else { /* a cut remembers where it was taken from */
        *x = -vips_image_get_xoffset(cut);
        *y = -vips_image_get_yoffset(cut);
        g_object_unref(cut);
    }
    if (named)
        g_object_unref(named);
    return good;
}

bool image_save_png(const char *path, const struct image *image, const struct image_text *texts, size_t count,
                    struct err *e)
{
    uint8_t *data;
    size_t bytes;
    if (!image_encode_png(image, texts, count, &data, &bytes, e))
        return err_add(e, "saving %s", path);
    bool good = file_write_whole(path, data, bytes, e);
    mem_free(data);
    return good;
}
