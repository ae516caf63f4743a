#include "image/image.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

bool image_make(struct image *out, int width, int height, int channels, struct err *e)
{
    *out = (struct image){ 0 };
    if (channels != 3 && channels != 4)
        return err_set(e, ERR_ARG, "an image has 3 or 4 channels, not %d", channels);
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_LIMIT, "an image of %dx%d: sides are 1 to %d", width, height, IMAGE_MAX_SIDE);
    if ((int64_t)width * height > IMAGE_MAX_PIXELS)
        return err_set(e, ERR_LIMIT, "an image of %dx%d has more than %lld pixels", width, height,
                       (long long)IMAGE_MAX_PIXELS);
    uint8_t *pixels = mem_zeroed((size_t)width * (size_t)height, (size_t)channels);
    if (!pixels)
        return err_nomem(e, "an image");
    *out = (struct image){ width, height, channels, pixels };
    return true;
}

void image_release(struct image *image)
{
    mem_free(image->pixels);
    *image = (struct image){ 0 };
}

bool image_copy(struct image *out, const struct image *from, struct err *e)
{
    if (!image_make(out, from->width, from->height, from->channels, e))
        return false;
    memcpy(out->pixels, from->pixels, image_bytes(from));
    return true;
}

void image_fill(struct image *image, uint32_t rgb)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t *p = image->pixels;
    for (size_t i = 0; i < pixels; i++, p += image->channels) {
        p[0] = (uint8_t)(rgb >> 16);
        p[1] = (uint8_t)(rgb >> 8);
        p[2] = (uint8_t)rgb;
        if (image->channels == 4)
            p[3] = 255;
    }
}

/* Strides of (pixel, channel) in floats. */
static void strides(const struct image *image, enum image_layout layout, size_t *pixel, size_t *channel)
{
    *pixel = layout == IMAGE_NCHW ? 1 : (size_t)image->channels;
    *channel = layout == IMAGE_NCHW ? (size_t)image->width * (size_t)image->height : 1;
}

bool image_from_unit(struct image *out, const float *x, int width, int height, int channels,
                     enum image_layout layout, struct err *e)
{
    if (!image_make(out, width, height, channels, e))
        return false;
    size_t pixels = (size_t)width * (size_t)height, by_pixel, by_channel;
    strides(out, layout, &by_pixel, &by_channel);
    for (int c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) {
            float v = x[i * by_pixel + (size_t)c * by_channel] / 2 + 0.5f;
            v = v > 0 ? v : 0; /* written so that a NaN becomes 0 */
            v = v < 1 ? v : 1;
            out->pixels[i * (size_t)channels + (size_t)c] = (uint8_t)nearbyintf(v * 255);
        }
    return true;
}

void image_to_unit(float *x, const struct image *image, enum image_layout layout)
{
    size_t pixels = (size_t)image->width * (size_t)image->height, by_pixel, by_channel;
    strides(image, layout, &by_pixel, &by_channel);
    for (int c = 0; c < image->channels; c++)
        for (size_t i = 0; i < pixels; i++)
            x[i * by_pixel + (size_t)c * by_channel] =
                2 * ((float)image->pixels[i * (size_t)image->channels + (size_t)c] / 255) - 1;
}

bool image_crop(struct image *out, const struct image *from, int x, int y, int width, int height,
                struct err *e)
{
    *out = (struct image){ 0 };
    if (x < 0 || y < 0 || width < 1 || height < 1 || width > from->width - x || height > from->height - y)
        return err_set(e, ERR_ARG, "a cut of %dx%d at (%d, %d) does not lie inside %dx%d", width, height, x,
                       y, from->width, from->height);
    if (!image_make(out, width, height, from->channels, e))
        return false;
    size_t row = (size_t)width * (size_t)from->channels;
    for (int i = 0; i < height; i++)
        memcpy(out->pixels + (size_t)i * row,
               from->pixels + ((size_t)(y + i) * (size_t)from->width + (size_t)x) * (size_t)from->channels,
               row);
    return true;
}

void image_mirror(struct image *image)
{
    size_t c = (size_t)image->channels;
    for (int y = 0; y < image->height; y++) {
        uint8_t *left = image->pixels + (size_t)y * (size_t)image->width * c;
        uint8_t *right = left + ((size_t)image->width - 1) * c;
        for (; left < right; left += c, right -= c)
            for (size_t k = 0; k < c; k++) {
                uint8_t t = left[k];
                left[k] = right[k];
                right[k] = t;
            }
    }
}

/* One pixel of `from` over one of `onto`, not premultiplied:
 *   alpha = a + b (1 - a),  colour = (a A + b (1 - a) B) / alpha. */
static void pixel_over(uint8_t *onto, int onto_channels, const uint8_t *from, int from_channels)
{
    unsigned a = from_channels == 4 ? from[3] : 255, b = onto_channels == 4 ? onto[3] : 255;
    unsigned below = b * (255 - a), whole = 255 * a + below; /* both times 255 */
    if (whole == 0)
        return;
    for (int k = 0; k < 3; k++)
        onto[k] = (uint8_t)((from[k] * 255 * a + onto[k] * below + whole / 2) / whole);
    if (onto_channels == 4)
        onto[3] = (uint8_t)((whole + 127) / 255);
}

void image_paste(struct image *onto, const struct image *from, int x, int y)
{
    int x0 = x < 0 ? -x : 0, y0 = y < 0 ? -y : 0;
    int x1 = from->width < onto->width - x ? from->width : onto->width - x;
    int y1 = from->height < onto->height - y ? from->height : onto->height - y;
    size_t c = (size_t)onto->channels, d = (size_t)from->channels;
    for (int j = y0; j < y1; j++)
        for (int i = x0; i < x1; i++)
            pixel_over(onto->pixels + ((size_t)(y + j) * (size_t)onto->width + (size_t)(x + i)) * c,
                       onto->channels, from->pixels + ((size_t)j * (size_t)from->width + (size_t)i) * d,
                       from->channels);
}

bool image_grid(struct image *out, const struct image *images, size_t count, int columns, int gap,
                uint32_t background, struct err *e)
{
    *out = (struct image){ 0 };
    if (count == 0 || columns < 1 || gap < 0 || gap > IMAGE_MAX_SIDE)
        return err_set(e, ERR_ARG, "a sheet of %zu pictures in %d columns with a gap of %d", count, columns,
                       gap);
    if ((size_t)columns > count)
        columns = (int)count;
    int64_t width = 0, height = 0, rows = (int64_t)(count / (size_t)columns) + (count % (size_t)columns != 0);
    for (size_t i = 0; i < count; i++) {
        width = images[i].width > width ? images[i].width : width;
        height = images[i].height > height ? images[i].height : height;
    }
    int64_t all_width = columns * (width + gap) + gap, all_height = rows * (height + gap) + gap;
    if (all_width > IMAGE_MAX_SIDE || all_height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_LIMIT, "a sheet of %lldx%lld: sides are at most %d", (long long)all_width,
                       (long long)all_height, IMAGE_MAX_SIDE);
    if (!image_make(out, (int)all_width, (int)all_height, 3, e))
        return false;
    image_fill(out, background);
    for (size_t i = 0; i < count; i++) {
        int64_t column = (int64_t)(i % (size_t)columns), row = (int64_t)(i / (size_t)columns);
        image_paste(out, &images[i], (int)(gap + column * (width + gap) + (width - images[i].width) / 2),
                    (int)(gap + row * (height + gap) + (height - images[i].height) / 2));
    }
    return true;
}

bool image_psnr(const struct image *a, const struct image *b, double *out, struct err *e)
{
    if (a->width != b->width || a->height != b->height || a->channels != b->channels)
        return err_set(e, ERR_SHAPE, "cannot compare a picture of %dx%dx%d with one of %dx%dx%d", a->width,
                       a->height, a->channels, b->width, b->height, b->channels);
    uint64_t sum = 0;
    for (size_t i = 0; i < image_bytes(a); i++) {
        int d = a->pixels[i] - b->pixels[i];
        sum += (uint64_t)(d * d);
    }
    *out = sum ? 10 * log10(255.0 * 255.0 * (double)image_bytes(a) / (double)sum) : INFINITY;
    return true;
}
