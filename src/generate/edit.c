#include "generate/edit.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/resample.h"

void edit_release(struct edit *edit)
{
    image_release(&edit->picture);
    mem_free(edit->pixels);
    mem_free(edit->mask);
    *edit = (struct edit){ 0 };
}

/* A mask on its way: [height, width] 0..1. */
struct plane {
    int64_t width, height;
    float *at; /* NULL: none */
};

static bool plane_make(struct plane *p, int64_t width, int64_t height, struct err *e)
{
    *p = (struct plane){ width, height, mem_zeroed((size_t)(width * height), sizeof(float)) };
    return p->at || err_nomem(e, "a mask");
}

/* Replaces *p by *next. */
static void plane_take(struct plane *p, struct plane *next)
{
    mem_free(p->at);
    *p = *next;
    *next = (struct plane){ 0 };
}

/* --- what the files say --- */

static bool take_colours(struct image *out, const struct image *picture, enum edit_alpha alpha, struct err *e)
{
    if (picture->channels == 3)
        return image_copy(out, picture, e);
    if (!image_make(out, picture->width, picture->height, 3, e))
        return false;
    if (alpha == EDIT_ALPHA_WHITE) {
        image_fill(out, 0xFFFFFF);
        image_paste(out, picture, 0, 0);
        return true;
    }
    size_t pixels = (size_t)picture->width * (size_t)picture->height;
    for (size_t i = 0; i < pixels; i++)
        memcpy(out->pixels + 3 * i, picture->pixels + 4 * i, 3);
    return true;
}

/* Luminance as Pillow's convert("L"): ITU-R BT.601 in 16 bits. */
static bool take_mask(struct plane *out, const struct image *mask, struct err *e)
{
    if (!plane_make(out, mask->width, mask->height, e))
        return false;
    const uint8_t *p = mask->pixels;
    for (int64_t i = 0; i < out->width * out->height; i++, p += mask->channels)
        out->at[i] = (float)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16) / 255;
    return true;
}

/* 1 - alpha, if anything is transparent. */
static bool take_alpha(struct plane *out, const struct image *picture, struct err *e)
{
    size_t pixels = (size_t)picture->width * (size_t)picture->height, seen = 0;
    for (size_t i = 0; i < pixels; i++)
        seen += picture->pixels[4 * i + 3] < 255;
    if (!seen)
        return true;
    if (!plane_make(out, picture->width, picture->height, e))
        return false;
    for (size_t i = 0; i < pixels; i++)
        out->at[i] = 1 - (float)picture->pixels[4 * i + 3] / 255;
    return true;
}

/* --- sizes --- */

/* A mask is resized as its world does: by Lanczos in u8, or between neighbours. */
static bool plane_resize(struct plane *p, int64_t width, int64_t height, bool comfy, struct err *e)
{
    struct plane next;
    if (!p->at || (p->width == width && p->height == height))
        return true;
    if (!plane_make(&next, width, height, e))
        return false;
    bool good;
    if (comfy) {
        good = tensor_resample(next.at, p->at, 1, 1, p->height, p->width, height, width, RESAMPLE_BILINEAR, e);
    } else {
        struct image small = { 0 }, large = { 0 };
        good = image_make(&small, (int)p->width, (int)p->height, 3, e);
        for (int64_t i = 0; good && i < p->width * p->height; i++)
            memset(small.pixels + 3 * i, (int)rintf(p->at[i] * 255), 3);
        good = good && image_resize(&large, &small, (int)width, (int)height, IMAGE_LANCZOS, e);
        for (int64_t i = 0; good && i < width * height; i++)
            next.at[i] = (float)large.pixels[3 * i] / 255;
        image_release(&small);
        image_release(&large);
    }
    if (good)
        plane_take(p, &next);
    mem_free(next.at);
    return good;
}

/* The mask inside the picture at (x, y): nothing, but towards the sides that were added. */
static float feathered(const struct edit_options *o, int64_t x, int64_t y, int64_t width, int64_t height)
{
    if (o->feather < 1 || 2 * o->feather >= width || 2 * o->feather >= height)
        return 0;
    int64_t near = o->feather;
    if (o->left && x < near)
        near = x;
    if (o->top && y < near)
        near = y;
    if (o->right && width - x < near)
        near = width - x;
    if (o->bottom && height - y < near)
        near = height - y;
    float v = (float)(o->feather - near) / (float)o->feather;
    return v * v;
}

static bool enlarge(struct image *picture, struct plane *mask, const struct edit_options *o, struct err *e)
{
    int64_t w = picture->width, h = picture->height, width = w + o->left + o->right, height = h + o->top + o->bottom;
    struct image next = { 0 };
    struct plane larger = { 0 };
    if (width == w && height == h)
        return true;
    if (!plane_resize(mask, w, h, o->cut, e) || !image_make(&next, (int)width, (int)height, 3, e))
        return false;
    if (!plane_make(&larger, width, height, e)) {
        image_release(&next);
        return false;
    }
    image_fill(&next, 0x808080);
    image_paste(&next, picture, (int)o->left, (int)o->top);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            int64_t i = x - o->left, j = y - o->top;
            bool inside = i >= 0 && j >= 0 && i < w && j < h;
            float edge = inside ? feathered(o, i, j, w, h) : 1, given = inside && mask->at ? mask->at[j * w + i] : 0;
            larger.at[y * width + x] = edge > given ? edge : given;
        }
    image_release(picture);
    *picture = next;
    plane_take(mask, &larger);
    return true;
}

static int64_t whole_cells(double pixels, int64_t cell)
{
    int64_t cells = (int64_t)pixels / cell;
    return (cells < 1 ? 1 : cells) * cell;
}

static bool cut_to(struct image *picture, struct plane *mask, int64_t width, int64_t height, struct err *e)
{
    struct image next;
    int64_t x = (picture->width - width) / 2, y = (picture->height - height) / 2;
    if (!image_crop(&next, picture, (int)x, (int)y, (int)width, (int)height, e))
        return false;
    image_release(picture);
    *picture = next;
    if (!mask->at)
        return true;
    struct plane part;
    if (!plane_make(&part, width, height, e))
        return false;
    for (int64_t j = 0; j < height; j++)
        memcpy(part.at + j * width, mask->at + (y + j) * mask->width + x, (size_t)width * sizeof *part.at);
    plane_take(mask, &part);
    return true;
}

static bool fit(struct image *picture, struct plane *mask, const struct edit_options *o, struct err *e)
{
    double w = picture->width, h = picture->height;
    int64_t width = o->width, height = o->height;
    bool own = !width && !height;
    if (own) {
        width = whole_cells(w, o->cell);
        height = whole_cells(h, o->cell);
    } else if (!width) {
        width = whole_cells(w * (double)height / h + 0.5, o->cell);
    } else if (!height) {
        height = whole_cells(h * (double)width / w + 0.5, o->cell);
    }
    if (own && o->cut && w >= (double)width && h >= (double)height)
        return plane_resize(mask, picture->width, picture->height, true, e) && cut_to(picture, mask, width, height, e);
    struct image next;
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return err_set(e, ERR_LIMIT, "a picture of %lldx%lld: sides are at most %d", (long long)width, (long long)height,
                       IMAGE_MAX_SIDE);
    if (picture->width != width || picture->height != height) {
        if (!image_resize(&next, picture, (int)width, (int)height, IMAGE_LANCZOS, e))
            return false;
        image_release(picture);
        *picture = next;
    }
    return plane_resize(mask, width, height, o->cut, e);
}

/* --- the mask --- */

/* Each pixel becomes the largest of those from `before` in front of it to before + count - 1 behind that, along lines of n that
 * are `step` apart. */
static void spread(float *at, float *line, int64_t n, int64_t step, int64_t before, int64_t count)
{
    for (int64_t i = 0; i < n; i++) {
        line[i] = 0;
        for (int64_t k = i - before; k < i - before + count; k++)
            if (k >= 0 && k < n && at[k * step] > line[i])
                line[i] = at[k * step];
    }
    for (int64_t i = 0; i < n; i++)
        at[i * step] = line[i];
}

/* A cut mask under a square of ones, grow on a side, that looks (grow - 1) / 2, rounded up, back: torch's conv2d with that
 * padding, as VAEEncodeForInpaint. */
static bool grow_mask(struct plane *p, int64_t grow, struct err *e)
{
    int64_t longest = p->width > p->height ? p->width : p->height, before = grow / 2;
    float *line = mem_aligned((size_t)longest * sizeof *line);
    if (!line)
        return err_nomem(e, "a mask");
    for (int64_t y = 0; y < p->height; y++)
        spread(p->at + y * p->width, line, p->width, 1, before, grow);
    for (int64_t x = 0; x < p->width; x++)
        spread(p->at + x, line, p->height, p->width, before, grow);
    mem_free(line);
    return true;
}

static void blur_line(float *at, float *line, int64_t n, int64_t step, const float *weights, int64_t reach)
{
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int64_t k = -reach; k <= reach; k++) {
            int64_t j = i + k < 0 ? 0 : i + k < n ? i + k : n - 1;
            sum += weights[k < 0 ? -k : k] * at[j * step];
        }
        line[i] = sum;
    }
    for (int64_t i = 0; i < n; i++)
        at[i * step] = line[i] < 1e-6f ? 0 : line[i] > 1 - 1e-6f ? 1 : line[i];
}

/* A Gaussian cut at three standard deviations; beyond the edge lies what is at it. */
static bool blur_mask(struct plane *p, double deviation, struct err *e)
{
    int64_t longest = p->width > p->height ? p->width : p->height, reach = (int64_t)ceil(3 * deviation);
    float *line = mem_aligned((size_t)longest * sizeof *line), *weights = mem_aligned((size_t)(reach + 1) * sizeof *weights);
    bool good = (line && weights) || err_nomem(e, "a mask");
    double sum = 0;
    for (int64_t k = -reach; k <= reach; k++)
        sum += exp(-(double)(k * k) / (2 * deviation * deviation));
    for (int64_t k = 0; good && k <= reach; k++)
        weights[k] = (float)(exp(-(double)(k * k) / (2 * deviation * deviation)) / sum);
    for (int64_t y = 0; good && y < p->height; y++)
        blur_line(p->at + y * p->width, line, p->width, 1, weights, reach);
    for (int64_t x = 0; good && x < p->width; x++)
        blur_line(p->at + x, line, p->height, p->width, weights, reach);
    mem_free(line);
    mem_free(weights);
    return good;
}

/* The steps from 1 - alpha to a finished mask that come after the sizes, and the pixels. */
static bool finish(struct edit *out, struct plane *mask, const struct edit_options *o, const int64_t added[4], struct err *e)
{
    const struct image *p = &out->picture;
    out->pixels = mem_aligned(image_bytes(p) * sizeof *out->pixels);
    if (!out->pixels)
        return err_nomem(e, "a picture");
    image_to_unit(out->pixels, p, IMAGE_NHWC);
    for (int64_t y = 0; y < p->height; y++) /* u8 has no middle grey; what was added is exactly that */
        for (int64_t x = 0; x < p->width; x++)
            if (x < added[0] || y < added[1] || x >= p->width - added[2] || y >= p->height - added[3])
                memset(out->pixels + 3 * (y * p->width + x), 0, 3 * sizeof *out->pixels);
    if (!mask->at)
        return true;
    int64_t pixels = mask->width * mask->height;
    for (int64_t i = 0; (o->grow || o->grey) && i < pixels; i++) {
        mask->at[i] = rintf(mask->at[i]);
        if (o->grey && mask->at[i] > 0)
            memset(out->pixels + 3 * i, 0, 3 * sizeof *out->pixels);
    }
    return (!o->grow || grow_mask(mask, o->grow, e)) && (!(o->blur > 0) || blur_mask(mask, o->blur, e));
}

static bool check(const struct edit_options *o, struct err *e)
{
    enum { MOST = 512 };
    const struct { const char *name; int64_t pixels, most; } all[] = {
        { "left", o->left, IMAGE_MAX_SIDE }, { "top", o->top, IMAGE_MAX_SIDE }, { "right", o->right, IMAGE_MAX_SIDE },
        { "bottom", o->bottom, IMAGE_MAX_SIDE }, { "feather", o->feather, IMAGE_MAX_SIDE }, { "mask grow", o->grow, MOST },
        { "width", o->width, IMAGE_MAX_SIDE }, { "height", o->height, IMAGE_MAX_SIDE },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].pixels < 0 || all[i].pixels > all[i].most)
            return err_set(e, ERR_ARG, "%s %lld: must be 0 to %lld", all[i].name, (long long)all[i].pixels,
                           (long long)all[i].most);
    if (!(o->blur >= 0) || o->blur > MOST)
        return err_set(e, ERR_ARG, "mask blur %g: must be 0 to %d", o->blur, MOST);
    if (o->cell < 1 || o->width % o->cell || o->height % o->cell)
        return err_set(e, ERR_ARG, "%lldx%lld: sides must be multiples of %lld, the model's latent cell", (long long)o->width,
                       (long long)o->height, (long long)o->cell);
    return true;
}

bool edit_prepare(struct edit *out, const struct image *picture, const struct image *mask, const struct edit_options *o,
                  struct err *e)
{
    struct plane plane = { 0 };
    *out = (struct edit){ 0 };
    bool good = check(o, e) && take_colours(&out->picture, picture, o->alpha, e);
    if (good && mask)
        good = take_mask(&plane, mask, e);
    else if (good && picture->channels == 4 && o->alpha == EDIT_ALPHA_MASK)
        good = take_alpha(&plane, picture, e);
    good = good && enlarge(&out->picture, &plane, o, e);
    int64_t width = out->picture.width, height = out->picture.height, cut_x, cut_y;
    good = good && fit(&out->picture, &plane, o, e);
    bool cut = !o->width && !o->height && o->cut;
    cut_x = (width - out->picture.width) / 2;
    cut_y = (height - out->picture.height) / 2;
    bool resized = !cut && (width != out->picture.width || height != out->picture.height);
    int64_t lost_right = width - out->picture.width - cut_x, lost_bottom = height - out->picture.height - cut_y;
    int64_t added[4] = { o->left - cut_x, o->top - cut_y, o->right - lost_right, o->bottom - lost_bottom };
    if (resized || width < out->picture.width || height < out->picture.height)
        memset(added, 0, sizeof added);
    good = good && finish(out, &plane, o, added, e);
    if (good)
        out->mask = plane.at;
    else {
        mem_free(plane.at);
        edit_release(out);
    }
    return good;
}

void edit_paste(struct image *drawn, const struct edit *edit)
{
    const struct image *was = &edit->picture;
    size_t pixels = (size_t)was->width * (size_t)was->height;
    for (size_t i = 0; edit->mask && i < pixels; i++) {
        float m = edit->mask[i];
        uint8_t *p = drawn->pixels + 3 * i;
        const uint8_t *q = was->pixels + 3 * i;
        for (int k = 0; k < 3 && m < 1; k++)
            p[k] = m > 0 ? (uint8_t)rintf(m * (float)p[k] + (1 - m) * (float)q[k]) : q[k];
    }
}
