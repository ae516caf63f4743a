/* The pixels of a dataset: every picture once, square and small, in memory or in a mapped file. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "dataset/dataset_internal.h"
#include "image/image.h"

/* The file of `keep`: this header, zeros up to PACK_HEAD_BYTES (so that the pixels begin on a page), the pixels. */
struct pack_head {
    char magic[8];
    uint64_t count, size_px, made_from;
};
enum { PACK_HEAD_BYTES = 4096, PACK_BATCH = 64 };
static const char pack_magic[8] = "limnpix1";

/* What the pack was made from: each file's name, size and time. */
static bool files_hash(const struct dataset *d, uint64_t *out, struct err *e)
{
    uint64_t h = 0xCBF29CE484222325;
    for (size_t i = 0; i < d->count; i++) {
        char path[PATH_MAX_BYTES];
        struct stat s;
        if (!path_join(path, d->folder, d->pictures[i].file_name, e))
            return false;
        if (stat(path, &s) != 0)
            return err_errno(e, "%s", path);
        for (const char *c = d->pictures[i].file_name; *c; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001B3;
        const uint64_t facts[3] = { (uint64_t)s.st_size, (uint64_t)s.st_mtim.tv_sec, (uint64_t)s.st_mtim.tv_nsec };
        for (int k = 0; k < 3; k++)
            h = (h ^ facts[k]) * 0x100000001B3;
    }
    *out = h;
    return true;
}

/* How much of each of the source pixels from, from + 1, ... output pixel i covers; returns how many. */
static int cover(int i, int side, int to, int *from, float *weights)
{
    double scale = (double)side / to, low = i * scale, high = (i + 1) * scale;
    int first = (int)low, n = 0;
    *from = first;
    for (int s = first; s < side && s < high - 1e-9; s++) {
        double a = s > low ? s : low, b = s + 1 < high ? s + 1 : high;
        weights[n++] = (float)((b - a) / scale);
    }
    return n;
}

void pixels_resize(const uint8_t *from, int side, uint8_t *out, int to, float *scratch)
{
    float weights[DATASET_MAX_SIZE + 2];
    int first;
    if (side == to) {
        memcpy(out, from, (size_t)side * (size_t)side * 4);
        return;
    }
    /* Rows first: scratch is [to, side, 4]. */
    for (int y = 0; y < to; y++) {
        float *line = scratch + (size_t)y * (size_t)side * 4;
        int n = cover(y, side, to, &first, weights);
        memset(line, 0, (size_t)side * 4 * sizeof *line);
        for (int k = 0; k < n; k++) {
            const uint8_t *row = from + (size_t)(first + k) * (size_t)side * 4;
            for (int x = 0; x < side * 4; x++)
                line[x] += weights[k] * row[x];
        }
    }
    for (int x = 0; x < to; x++) {
        int n = cover(x, side, to, &first, weights);
        for (int y = 0; y < to; y++) {
            const float *line = scratch + ((size_t)y * (size_t)side + (size_t)first) * 4;
            float sum[4] = { 0.5f, 0.5f, 0.5f, 0.5f };
            for (int k = 0; k < n; k++)
                for (int c = 0; c < 4; c++)
                    sum[c] += weights[k] * line[k * 4 + c];
            for (int c = 0; c < 4; c++)
                out[((size_t)y * (size_t)to + (size_t)x) * 4 + (size_t)c] = (uint8_t)(sum[c] > 255 ? 255 : sum[c]);
        }
    }
}

/* Picture i as [size, size, 4] premultiplied. Large pictures are shrunk by libvips to the size's square first. */
static bool read_picture(const struct dataset *d, size_t i, int size, uint8_t *out, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct image whole = { 0 }, square = { 0 };
    if (!path_join(path, d->folder, d->pictures[i].file_name, e) || !image_load(&whole, path, IMAGE_WITH_ALPHA, 0, e))
        return false;
    int side = whole.width < whole.height ? whole.width : whole.height;
    bool good = image_crop(&square, &whole, (whole.width - side) / 2, (whole.height - side) / 2, side, side, e);
    image_release(&whole);
    if (good && (side > DATASET_MAX_SIZE || side < size)) { /* too large for our scratch, or to be made larger */
        good = image_resize(&whole, &square, size, size, side < size ? IMAGE_BILINEAR : IMAGE_AREA, e);
        image_release(&square);
        square = whole;
        side = size;
    }
    float *scratch = good ? mem_aligned((size_t)side * (size_t)size * 4 * sizeof *scratch) : NULL;
    if (good && !scratch)
        good = err_nomem(e, path);
    if (good) {
        uint8_t *p = square.pixels;
        for (size_t k = 0; k < (size_t)side * (size_t)side; k++, p += 4)
            for (int c = 0; c < 3; c++)
                p[c] = (uint8_t)((p[c] * p[3] + 127) / 255);
        pixels_resize(square.pixels, side, out, size, scratch);
    }
    mem_free(scratch);
    image_release(&square);
    return good || err_add(e, "reading picture %zu of %s", i, d->folder);
}

/* Pictures from, from + 1, ... (count of them) by all threads; the error is that of the first one that fails. */
static bool read_batch(const struct dataset *d, size_t from, size_t count, int size, uint8_t *out, struct err *e)
{
    size_t each = (size_t)size * (size_t)size * 4;
    size_t failed = SIZE_MAX;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < count; i++) {
        struct err mine = { 0 };
        if (!read_picture(d, from + i, size, out + i * each, &mine)) {
#pragma omp critical(dataset_read_batch)
            if (i < failed) {
                failed = i;
                *e = mine;
            }
        }
    }
    return failed == SIZE_MAX;
}

/* Reads all: into d->pages, or through a buffer of one batch into w. */
static bool read_all(struct dataset *d, int size, struct file_write *w, uint8_t *pixels, const struct progress *progress,
                     struct err *e)
{
    size_t each = (size_t)size * (size_t)size * 4;
    for (size_t i = 0; i < d->count; i += PACK_BATCH) {
        size_t n = d->count - i < PACK_BATCH ? d->count - i : PACK_BATCH;
        uint8_t *to = w ? pixels : pixels + i * each;
        if (!stop_check(e) || !read_batch(d, i, n, size, to, e) || (w && !file_put(w, to, n * each, e)))
            return false;
        if (progress)
            progress_step(progress, "reading pictures", (long)(i + n), (long)d->count, NULL);
    }
    return true;
}

static bool write_pack(struct dataset *d, int size, const char *path, const struct pack_head *head,
                       const struct progress *progress, struct err *e)
{
    struct file_write w;
    size_t batch_bytes = (size_t)size * (size_t)size * 4 * PACK_BATCH;
    uint8_t *batch = mem_aligned(batch_bytes > PACK_HEAD_BYTES ? batch_bytes : PACK_HEAD_BYTES);
    if (!batch)
        return err_nomem(e, "a batch of pictures");
    if (!file_begin(&w, path, e)) {
        mem_free(batch);
        return false;
    }
    memset(batch, 0, PACK_HEAD_BYTES);
    memcpy(batch, head, sizeof *head);
    bool good = file_put(&w, batch, PACK_HEAD_BYTES, e) && read_all(d, size, &w, batch, progress, e);
    mem_free(batch);
    if (good)
        return file_commit(&w, e);
    file_abandon(&w);
    return false;
}

/* True if the file is there and was made from these pictures; then it is mapped. */
static bool map_pack(struct dataset *d, const char *path, const struct pack_head *head)
{
    struct err ignored = { 0 };
    if (!path_exists(path) || !file_map(&d->map, path, &ignored))
        return false;
    uint64_t bytes = PACK_HEAD_BYTES + head->count * head->size_px * head->size_px * 4;
    if (d->map.bytes == bytes && memcmp(d->map.data, head, sizeof *head) == 0)
        return true;
    file_unmap(&d->map);
    return false;
}

bool dataset_load(struct dataset *d, int size_px, bool keep, const struct progress *progress, struct err *e)
{
    if (d->size_px)
        return err_set(e, ERR_ARG, "%s: its pixels are loaded already", d->folder);
    if (size_px < 1 || size_px > DATASET_MAX_SIZE)
        return err_set(e, ERR_ARG, "size %d; want 1 to %d", size_px, DATASET_MAX_SIZE);
    if (!image_init(e))
        return false;
    size_t bytes = d->count * (size_t)size_px * (size_t)size_px * 4;
    if (!keep) {
        d->pages = mem_pages(bytes);
        if (!d->pages)
            return err_nomem(e, "the pixels of a dataset");
        d->pages_bytes = bytes;
        if (!read_all(d, size_px, NULL, d->pages, progress, e)) {
            pixels_release(d);
            return false;
        }
        d->pixels = d->pages;
    } else {
        char path[PATH_MAX_BYTES], name[64];
        struct pack_head head = { .count = d->count, .size_px = (uint64_t)size_px };
        memcpy(head.magic, pack_magic, sizeof head.magic);
        snprintf(name, sizeof name, "pixels-%d.rgba", size_px);
        if (!path_join(path, d->folder, name, e) || !files_hash(d, &head.made_from, e))
            return false;
        if (!map_pack(d, path, &head)) {
            if (!write_pack(d, size_px, path, &head, progress, e))
                return false;
            if (!map_pack(d, path, &head))
                return err_set(e, ERR_IO, "%s: changed while it was made", path);
        }
        d->pixels = d->map.data + PACK_HEAD_BYTES;
    }
    d->size_px = size_px;
    return true;
}

void pixels_release(struct dataset *d)
{
    if (d->map.data)
        file_unmap(&d->map);
    if (d->pages)
        mem_pages_free(d->pages, d->pages_bytes);
    d->map = (struct file_map){ 0 };
    d->pages = NULL;
    d->pixels = NULL;
    d->size_px = 0;
}

/* Lays premultiplied RGBA [side, side, 4] over rgb. */
static void lay(uint8_t *rgb, int size_px, int left, int top, int side, const uint8_t *rgba)
{
    for (int y = 0; y < side; y++) {
        uint8_t *to = rgb + ((size_t)(top + y) * (size_t)size_px + (size_t)left) * 3;
        const uint8_t *from = rgba + (size_t)y * (size_t)side * 4;
        for (int x = 0; x < side; x++, to += 3, from += 4)
            for (int c = 0; c < 3; c++) {
                unsigned v = from[c] + (to[c] * (255u - from[3]) + 127) / 255;
                to[c] = (uint8_t)(v > 255 ? 255 : v); /* both parts are rounded up at times */
            }
    }
}

bool pixels_lay(const struct dataset *d, size_t i, uint8_t *rgb, int size_px, int left, int top, int side,
                struct err *e)
{
    const uint8_t *pixels = dataset_pixels(d, i);
    if (d->size_px == side) {
        lay(rgb, size_px, left, top, side, pixels);
        return true;
    }
    float *scratch = mem_aligned((size_t)d->size_px * (size_t)side * 4 * sizeof *scratch);
    uint8_t *resized = mem_aligned((size_t)side * (size_t)side * 4);
    bool good = scratch && resized;
    if (good) {
        pixels_resize(pixels, d->size_px, resized, side, scratch);
        lay(rgb, size_px, left, top, side, resized);
    }
    mem_free(scratch);
    mem_free(resized);
    return good || err_nomem(e, "a picture");
}

void pixels_fill(uint8_t *rgb, int size_px, uint32_t background)
{
    const uint8_t colour[3] = { (uint8_t)(background >> 16), (uint8_t)(background >> 8), (uint8_t)background };
    for (size_t i = 0; i < (size_t)size_px * (size_t)size_px; i++)
        memcpy(rgb + i * 3, colour, 3);
}

bool dataset_read(const struct dataset *d, size_t i, int size_px, uint32_t background, uint8_t *out, struct err *e)
{
    pixels_fill(out, size_px, background);
    return pixels_lay(d, i, out, size_px, 0, 0, size_px, e);
}
