/* Pictures. An image is u8 sRGB, rows top down, channels interleaved, alpha (if any) not premultiplied.
 *
 * An `out` image is overwritten, not released: hand in one that holds nothing. After a failure it holds
 * nothing. Every function that needs libvips starts it; nothing here needs a call before it. All are
 * thread-safe. */
#ifndef LIMN_IMAGE_IMAGE_H
#define LIMN_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_MAX_SIDE 32768
#define IMAGE_MAX_PIXELS ((int64_t)128 << 20)
#define IMAGE_FILE_MAX_BYTES ((size_t)512 << 20)

struct image {
    int width, height, channels; /* channels: 3 (RGB) or 4 (RGBA) */
    uint8_t *pixels;             /* [height, width, channels]; base/mem.h, owned */
};

/* Starts libvips once: no operation cache, one thread of its own (the engine has the cores), untrusted
 * loaders off. */
MUST_USE bool image_init(struct err *e);

/* An image of zeros. ERR_LIMIT if a side is not in [1, IMAGE_MAX_SIDE] or pixels pass IMAGE_MAX_PIXELS. */
MUST_USE bool image_make(struct image *out, int width, int height, int channels, struct err *e);
void image_release(struct image *image);
MUST_USE bool image_copy(struct image *out, const struct image *from, struct err *e);
/* Every pixel becomes 0xRRGGBB, opaque. */
void image_fill(struct image *image, uint32_t rgb);
static inline size_t image_bytes(const struct image *image)
{
    return (size_t)image->width * (size_t)image->height * (size_t)image->channels;
}

/* What an image with alpha becomes when read. */
enum image_alpha {
    IMAGE_KEEP_ALPHA, /* 4 channels if the file has alpha, else 3 */
    IMAGE_WITH_ALPHA, /* always 4 channels */
    IMAGE_FLATTEN,    /* always 3 channels: laid over the background colour */
};

/* Reads PNG, JPEG, WebP, GIF (its first picture), TIFF and what else libvips trusts: turned as its EXIF says,
 * into sRGB by its colour profile, to 8 bits. `background` (0xRRGGBB) counts for IMAGE_FLATTEN only.
 * errors  ERR_IO, ERR_FORMAT (not a picture, or a broken one), ERR_LIMIT (file or picture too large: checked
 *         before pixels are decoded). The text names the path. */
MUST_USE bool image_load(struct image *out, const char *path, enum image_alpha alpha, uint32_t background,
                         struct err *e);
/* The same from memory; `where` names it in errors. */
MUST_USE bool image_decode(struct image *out, const void *data, size_t bytes, const char *where,
                           enum image_alpha alpha, uint32_t background, struct err *e);

/* Whether a file's ending is one of those that pictures have. */
bool image_is_picture_name(const char *name);

/* What a picture's file says of it before pixels are decoded: a probe is quick, and finds most files that are no pictures, but
 * not one that breaks off in its middle. */
struct image_facts {
    int width, height; /* turned as its EXIF says */
    bool alpha;        /* as image_load would see it */
    char format[16];   /* "png", "jpeg", "webp", "gif", "tiff", ... */
};
/* errors  as image_decode. */
MUST_USE bool image_probe(struct image_facts *out, const void *data, size_t bytes, const char *where, struct err *e);

/* A text kept in a PNG file, key and value as UTF-8. A key is 1 to 79 printable ASCII characters. Values that
 * are ASCII become tEXt chunks, others iTXt: what other programs write and read. */
struct image_text {
    const char *key, *value;
};
/* Writes a PNG with these texts, whole or not at all. */
MUST_USE bool image_save_png(const char *path, const struct image *image, const struct image_text *texts,
                             size_t count, struct err *e);
/* The bytes of such a file. *data is freed with mem_free. */
MUST_USE bool image_encode_png(const struct image *image, const struct image_text *texts, size_t count,
                               uint8_t **data, size_t *bytes, struct err *e);
/* Formats that are written for other programs, as against pictures of our own, which keep their record in a PNG. */
enum image_format {
    IMAGE_PNG,  /* lossless; alpha is kept. Packed for speed: seven times as fast as image_encode_png, a third larger */
    IMAGE_JPEG, /* quality 1 to 100; alpha is dropped: lay the picture over a colour first */
    IMAGE_WEBP, /* quality 1 to 100, lossless at 100; alpha is kept */
};
/* ".png", ".jpg", ".webp" */
const char *image_format_ending(enum image_format format);
/* *data is freed with mem_free. The same picture gives the same bytes. errors  ERR_LIMIT where the format holds no picture so
 * large (WebP: 16383 a side), ERR_BACKEND, ERR_NOMEM. */
MUST_USE bool image_encode(const struct image *image, enum image_format format, int quality, uint8_t **data, size_t *bytes,
                           struct err *e);
/* The same, for pages and sockets. */
static inline bool image_encode_for_web(const struct image *image, enum image_format format, int quality, uint8_t **data,
                                        size_t *bytes, struct err *e)
{
    return image_encode(image, format, quality, data, bytes, e);
}

/* The value of the first text with this key, as UTF-8, freed with mem_free. NULL with ERR_MISSING if there is
 * none, ERR_FORMAT if the file is no PNG or is broken, ERR_TYPE if the text is compressed (we read plain ones
 * only). */
MUST_USE char *image_png_text(const char *path, const char *key, struct err *e);
/* The same from memory; `where` names it in errors. */
MUST_USE char *image_png_text_in(const void *data, size_t bytes, const char *where, const char *key,
                                 struct err *e);

/* How the floats of one picture lie. */
enum image_layout {
    IMAGE_NCHW, /* [channels, height, width] */
    IMAGE_NHWC, /* [height, width, channels] */
};
/* u8 = round(clip(x / 2 + 0.5, 0, 1) * 255), halves to even, as diffusers; a NaN becomes 0. For the i-th
 * picture of a batch hand in x + i * channels * height * width. */
MUST_USE bool image_from_unit(struct image *out, const float *x, int width, int height, int channels,
                              enum image_layout layout, struct err *e);
/* x = 2 * (u8 / 255) - 1, into x[channels * height * width] of the caller. */
void image_to_unit(float *x, const struct image *image, enum image_layout layout);

/* Filters of image_resize; when shrinking each is widened by the factor (as Pillow's, so that no pixel is
 * skipped). Colours are weighted by alpha. */
enum image_filter {
    IMAGE_AREA,     /* box: the mean of what a pixel covers */
    IMAGE_BILINEAR, /* triangle */
    IMAGE_LANCZOS,  /* windowed sinc, a = 3; of RGB to the bit as Pillow's */
    IMAGE_BICUBIC,  /* cubic convolution with a = -1/2 (Keys 1981); the same */
};
MUST_USE bool image_resize(struct image *out, const struct image *from, int width, int height,
                           enum image_filter filter, struct err *e);
/* The rectangle must lie inside (ERR_ARG). */
MUST_USE bool image_crop(struct image *out, const struct image *from, int x, int y, int width, int height,
                         struct err *e);
/* Which part of a picture a cut keeps. */
enum image_part {
    IMAGE_CENTRE,
    IMAGE_ENTROPY,   /* libvips' smartcrop: strips with less to see in them are taken away first */
    IMAGE_ATTENTION, /* libvips' smartcrop: edges, skin and saturated colours draw the eye */
    IMAGE_START,     /* left, or top */
    IMAGE_END,       /* right, or bottom */
};
extern const char *const image_part_names[]; /* "centre", ..., by enum, NULL behind the last */
/* Where the cut of width x height lies: for image_crop. ERR_ARG if the picture is smaller, ERR_BACKEND, ERR_NOMEM. */
MUST_USE bool image_find_cut(const struct image *image, int width, int height, enum image_part part, int *x, int *y,
                             struct err *e);
/* The other way round from left to right. */
void image_mirror(struct image *image);
/* Lays `from` over `onto` with its left top corner at (x, y); what sticks out is cut, alpha of `from` is
 * obeyed. */
void image_paste(struct image *onto, const struct image *from, int x, int y);
/* A contact sheet: `columns` beside each other, row by row, each picture centred in a cell as large as the
 * largest, `gap` pixels between cells and around; 3 channels over `background` (0xRRGGBB). */
MUST_USE bool image_grid(struct image *out, const struct image *images, size_t count, int columns, int gap,
                         uint32_t background, struct err *e);

/* Peak signal to noise ratio in dB over all channels; INFINITY if equal. ERR_SHAPE if sizes differ. */
MUST_USE bool image_psnr(const struct image *a, const struct image *b, double *out, struct err *e);

/* Shows the picture in the terminal that stdout or else stderr is (kitty, sixel or coloured characters, as
 * chafa detects it), at most `columns` wide (0: 60). Does nothing, successfully, where neither is a terminal
 * that can. */
MUST_USE bool image_show(const struct image *image, int columns, struct err *e);

struct text;
/* What image_show would write to a terminal of this size with this environment (NULL-ended "NAME=value").
 * Adds nothing if such a terminal cannot. cell_width and cell_height: a character's pixels, 0 if unknown. */
MUST_USE bool image_terminal_text(struct text *out, const struct image *image, char *const *environment,
                                  int columns, int rows, int cell_width, int cell_height, struct err *e);

#endif
