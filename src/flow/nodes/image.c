/* IMAGE: made, resized, put together, changed. */
#include "flow/nodes/nodes.h"

struct empty_args {
    int64_t width, height, batch, color;
};
struct scale_args {
    const struct datum *image;
    const char *method, *crop;
    int64_t width, height;
    double scale;
};
struct pair_args {
    const struct datum *image1, *image2;
};
struct pad_args {
    const struct datum *image;
    int64_t left, top, right, bottom, feathering;
};
struct crop_args {
    const struct datum *image;
    int64_t width, height, x, y;
};
struct blend_args {
    const struct datum *image1, *image2;
    double factor;
    const char *mode;
};
struct blur_args {
    const struct datum *image;
    int64_t radius;
    double sigma, alpha;
};
struct composite_args {
    const struct datum *destination, *source, *mask;
    int64_t x, y;
    bool resize;
};
struct batch_args {
    const struct datum *image;
    int64_t index, length, amount;
};
struct rebatch_args {
    const struct datum_list *images, *size;
};

static const char *const crops[] = { "disabled", "center", NULL };
static const char *const modes[] = { "normal", "multiply", "screen", "overlay", "soft_light", "difference", NULL };

#define SIDE(args, label, member, initial, least, step_)                                                                              \
    { label, "INT", offsetof(struct args, member), initial, .min = least, .max = MOST_SIDE, .step = step_, .help = "pixels" }
static const struct node_input empty_inputs[] = {
    SIDE(empty_args, "width", width, "512", 1, 1),
    SIDE(empty_args, "height", height, "512", 1, 1),
    { "batch_size", "INT", offsetof(struct empty_args, batch), "1", .min = 1, .max = 4096 },
    { "color", "INT", offsetof(struct empty_args, color), "0", .min = 0, .max = 0xFFFFFF, .step = 1, .more = "{\"display\": \"color\"}" },
    { 0 },
};
static const struct node_input scale_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct scale_args, image),
    { "upscale_method", "COMBO", offsetof(struct scale_args, method), .choices = upscale_methods },
    SIDE(scale_args, "width", width, "512", 0, 1),
    SIDE(scale_args, "height", height, "512", 0, 1),
    { "crop", "COMBO", offsetof(struct scale_args, crop), .choices = crops },
    { 0 },
};
static const struct node_input scale_by_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct scale_args, image),
    { "upscale_method", "COMBO", offsetof(struct scale_args, method), .choices = upscale_methods },
    { "scale_by", "FLOAT", offsetof(struct scale_args, scale), "1.0", .min = 0.01, .max = 8, .step = 0.01 },
    { 0 },
};
static const struct node_input pair_inputs[] = {
    NODE_SOCKET("image1", "IMAGE", struct pair_args, image1),
    NODE_SOCKET("image2", "IMAGE", struct pair_args, image2),
    { 0 },
};
static const struct node_input one_inputs[] = { NODE_SOCKET("image", "IMAGE", struct pair_args, image1), { 0 } };
static const struct node_input pad_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct pad_args, image),
    SIDE(pad_args, "left", left, "0", 0, 8), SIDE(pad_args, "top", top, "0", 0, 8), SIDE(pad_args, "right", right, "0", 0, 8),
    SIDE(pad_args, "bottom", bottom, "0", 0, 8), SIDE(pad_args, "feathering", feathering, "40", 0, 1),
    { 0 },
};
static const struct node_output pad_outputs[] = { NODE_OUT("IMAGE"), NODE_OUT("MASK"), { 0 } };
static const struct node_input crop_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct crop_args, image),
    SIDE(crop_args, "width", width, "512", 1, 1), SIDE(crop_args, "height", height, "512", 1, 1), SIDE(crop_args, "x", x, "0", 0, 1),
    SIDE(crop_args, "y", y, "0", 0, 1),
    { 0 },
};
static const struct node_input blend_inputs[] = {
    NODE_SOCKET("image1", "IMAGE", struct blend_args, image1),
    NODE_SOCKET("image2", "IMAGE", struct blend_args, image2),
    { "blend_factor", "FLOAT", offsetof(struct blend_args, factor), "0.5", .min = 0, .max = 1, .step = 0.01 },
    { "blend_mode", "COMBO", offsetof(struct blend_args, mode), .choices = modes },
    { 0 },
};
static const struct node_input blur_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct blur_args, image),
    { "blur_radius", "INT", offsetof(struct blur_args, radius), "1", .min = 1, .max = 31, .step = 1 },
    { "sigma", "FLOAT", offsetof(struct blur_args, sigma), "1.0", .min = 0.1, .max = 10, .step = 0.1 },
    { 0 },
};
static const struct node_input sharpen_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct blur_args, image),
    { "sharpen_radius", "INT", offsetof(struct blur_args, radius), "1", .min = 1, .max = 31, .step = 1 },
    { "sigma", "FLOAT", offsetof(struct blur_args, sigma), "1.0", .min = 0.1, .max = 10, .step = 0.01 },
    { "alpha", "FLOAT", offsetof(struct blur_args, alpha), "1.0", .min = 0, .max = 5, .step = 0.01 },
    { 0 },
};
static const struct node_input composite_inputs[] = {
    NODE_SOCKET("destination", "IMAGE", struct composite_args, destination),
    NODE_SOCKET("source", "IMAGE", struct composite_args, source),
    SIDE(composite_args, "x", x, "0", 0, 1),
    SIDE(composite_args, "y", y, "0", 0, 1),
    { "resize_source", "BOOLEAN", offsetof(struct composite_args, resize), .initial = "false" },
    { "mask", "MASK", offsetof(struct composite_args, mask), .flags = NODE_OPTIONAL },
    { 0 },
};
static const struct node_input from_batch_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct batch_args, image),
    { "batch_index", "INT", offsetof(struct batch_args, index), "0", .min = 0, .max = 4095 },
    { "length", "INT", offsetof(struct batch_args, length), "1", .min = 1, .max = 4096 },
    { 0 },
};
static const struct node_input repeat_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct batch_args, image),
    { "amount", "INT", offsetof(struct batch_args, amount), "1", .min = 1, .max = 4096 },
    { 0 },
};
static const struct node_input rebatch_inputs[] = {
    NODE_SOCKET("images", "IMAGE", struct rebatch_args, images),
    { "batch_size", "INT", offsetof(struct rebatch_args, size), "1", .min = 1, .max = 4096 },
    { 0 },
};
static const struct node_output rebatch_outputs[] = { { .type = "IMAGE", .list = true }, { 0 } };

static bool give(struct node_call *call, struct flow_image *image, struct err *e)
{
    return node_give(call, 0, datum_of_object(&type_image, image, e), e);
}

/* A picture of the same size, for a function of its own numbers. */
static struct flow_image *like(const struct flow_image *from, struct err *e)
{
    struct flow_image *image = flow_image_new(from->n, from->h, from->w, e);
    if (image)
        image->rounds = from->rounds;
    return image;
}

static int64_t count(const struct flow_image *image)
{
    return image->n * image->h * image->w * 3;
}

static bool empty_run(struct node_call *call, const void *args, struct err *e)
{
    const struct empty_args *a = args;
    struct flow_image *image = flow_image_new(a->batch, a->height, a->width, e);
    for (int64_t i = 0; image && i < count(image); i++)
        image->at[i] = (float)(a->color >> (16 - 8 * (i % 3)) & 0xFF) / 0xFF;
    return give(call, image, e);
}

static bool scale_run(struct node_call *call, const void *args, struct err *e)
{
    const struct scale_args *a = args;
    const struct flow_image *from = image_of(a->image);
    double width = (double)a->width, height = (double)a->height;
    if (a->width == 0 && a->height == 0)
        return give_same(call, 0, a->image, e);
    if (a->width == 0)
        width = fmax(1, rint((double)(from->w * a->height) / (double)from->h));
    else if (a->height == 0)
        height = fmax(1, rint((double)(from->h * a->width) / (double)from->w));
    return give(call, resize_image(from, (int64_t)height, (int64_t)width, a->method, a->crop, e), e);
}

static bool scale_by_run(struct node_call *call, const void *args, struct err *e)
{
    const struct scale_args *a = args;
    const struct flow_image *from = image_of(a->image);
    return give(call, resize_image(from, (int64_t)rint((double)from->h * a->scale), (int64_t)rint((double)from->w * a->scale), a->method,
                                   "disabled", e), e);
}

/* One behind the other; the second at the first's size. */
static struct flow_image *join(const struct flow_image *a, const struct flow_image *b, struct err *e)
{
    bool same = a->h == b->h && a->w == b->w;
    struct flow_image *fit = same ? NULL : resize_image(b, a->h, a->w, "bilinear", "center", e);
    if (!same && !fit)
        return NULL;
    struct flow_image *out = flow_image_new(a->n + b->n, a->h, a->w, e);
    if (out) {
        memcpy(out->at, a->at, (size_t)count(a) * sizeof *out->at);
        memcpy(out->at + count(a), fit ? fit->at : b->at, (size_t)(count(out) - count(a)) * sizeof *out->at);
        out->rounds = a->rounds && b->rounds;
    }
    flow_image_free(fit);
    return out;
}

static bool batch_run(struct node_call *call, const void *args, struct err *e)
{
    const struct pair_args *a = args;
    return give(call, join(image_of(a->image1), image_of(a->image2), e), e);
}

static bool invert_run(struct node_call *call, const void *args, struct err *e)
{
    const struct flow_image *from = image_of(((const struct pair_args *)args)->image1);
    struct flow_image *image = like(from, e);
    for (int64_t i = 0; image && i < count(image); i++)
        image->at[i] = 1 - from->at[i];
    return give(call, image, e);
}

/* The mask that says what was added: 1 outside, and from the edges that were added to it falls as the square of the distance. */
static float padded(const struct pad_args *a, int64_t y, int64_t x, int64_t h, int64_t w)
{
    int64_t j = y - a->top, i = x - a->left;
    if (j < 0 || i < 0 || j >= h || i >= w)
        return 1;
    if (a->feathering < 1 || a->feathering * 2 >= h || a->feathering * 2 >= w)
        return 0;
    int64_t near = a->top ? j : h;
    near = a->bottom && h - j < near ? h - j : near;
    near = a->left && i < near ? i : near;
    near = a->right && w - i < near ? w - i : near;
    if (near >= a->feathering)
        return 0;
    float v = (float)(a->feathering - near) / (float)a->feathering;
    return v * v;
}

static bool pad_run(struct node_call *call, const void *args, struct err *e)
{
    const struct pad_args *a = args;
    const struct flow_image *from = image_of(a->image);
    int64_t h = from->h + a->top + a->bottom, w = from->w + a->left + a->right;
    struct flow_image *image = flow_image_new(from->n, h, w, e);
    struct flow_mask *mask = image ? flow_mask_new(1, h, w, e) : NULL;
    for (int64_t i = 0; mask && i < count(image); i++)
        image->at[i] = 0.5f;
    for (int64_t n = 0; mask && n < from->n; n++)
        for (int64_t y = 0; y < from->h; y++)
            memcpy(image->at + ((n * h + a->top + y) * w + a->left) * 3, from->at + (n * from->h + y) * from->w * 3,
                   (size_t)from->w * 3 * sizeof *image->at);
    for (int64_t i = 0; mask && i < h * w; i++)
        mask->at[i] = padded(a, i / w, i % w, from->h, from->w);
    bool good = give(call, image, e);
    return node_give(call, 1, datum_of_object(&type_mask, mask, e), e) && good;
}

static struct flow_image *piece(const struct flow_image *from, int64_t y, int64_t x, int64_t h, int64_t w, struct err *e)
{
    struct flow_image *image = flow_image_new(from->n, h, w, e);
    for (int64_t n = 0; image && n < from->n; n++)
        for (int64_t j = 0; j < h; j++)
            memcpy(image->at + (n * h + j) * w * 3, from->at + ((n * from->h + y + j) * from->w + x) * 3, (size_t)w * 3 * sizeof *image->at);
    if (image)
        image->rounds = from->rounds;
    return image;
}

static bool crop_run(struct node_call *call, const void *args, struct err *e)
{
    const struct crop_args *a = args;
    const struct flow_image *from = image_of(a->image);
    int64_t x = a->x < from->w - 1 ? a->x : from->w - 1, y = a->y < from->h - 1 ? a->y : from->h - 1;
    int64_t w = a->width < from->w - x ? a->width : from->w - x, h = a->height < from->h - y ? a->height : from->h - y;
    return give(call, piece(from, y, x, h, w, e), e);
}

/* source  the W3C's "Compositing and Blending", and for soft_light Adobe's form of it. */
static float blended(char mode, char second, float a, float b)
{
    switch (mode) {
    case 'm': return a * b;
    case 's': {
        if (second == 'c')
            return 1 - (1 - a) * (1 - b);
        float g = a <= 0.25f ? ((16 * a - 12) * a + 4) * a : sqrtf(a);
        return b <= 0.5f ? a - (1 - 2 * b) * a * (1 - a) : a + (2 * b - 1) * (g - a);
    }
    case 'o': return a <= 0.5f ? 2 * a * b : 1 - 2 * (1 - a) * (1 - b);
    case 'd': return a - b;
    default: return b;
    }
}

static bool blend_run(struct node_call *call, const void *args, struct err *e)
{
    const struct blend_args *a = args;
    const struct flow_image *x = image_of(a->image1), *y = image_of(a->image2);
    struct flow_image *fit = x->h == y->h && x->w == y->w ? NULL : resize_image(y, x->h, x->w, "bicubic", "center", e);
    if (e->code)
        return false;
    y = fit ? fit : y;
    struct flow_image *image = flow_image_new(x->n > y->n ? x->n : y->n, x->h, x->w, e);
    for (int64_t i = 0; image && i < count(image); i++) {
        float p = x->at[i % count(x)], q = y->at[i % count(y)], v = blended(a->mode[0], a->mode[1], p, q);
        v = p * (1 - (float)a->factor) + v * (float)a->factor;
        image->at[i] = fminf(fmaxf(v, 0), 1);
    }
    flow_image_free(fit);
    return give(call, image, e);
}

/* Index i reflected at the ends of 0..n-1, as often as it takes. */
static int64_t mirrored(int64_t i, int64_t n)
{
    if (n == 1)
        return 0;
    i = (i % (2 * n - 2) + 2 * n - 2) % (2 * n - 2);
    return i < n ? i : 2 * n - 2 - i;
}

/* A Gaussian over a square of 2 radius + 1, once along each axis; beyond the edge lies what is inside, mirrored. */
static struct flow_image *blurred(const struct flow_image *from, int64_t radius, double sigma, struct err *e)
{
    enum { MOST_RADIUS = 31 };
    float weights[2 * MOST_RADIUS + 1];
    double sum = 0;
    for (int64_t k = -radius; k <= radius; k++)
        sum += exp(-(double)(k * k) / (2 * sigma * sigma));
    for (int64_t k = -radius; k <= radius; k++)
        weights[k + radius] = (float)(exp(-(double)(k * k) / (2 * sigma * sigma)) / sum);
    struct flow_image *across = like(from, e), *out = across ? like(from, e) : NULL;
    for (int turn = 0; out && turn < 2; turn++) {
        const float *a = turn ? across->at : from->at;
        float *b = turn ? out->at : across->at;
        for (int64_t i = 0; i < count(from); i++) {
            int64_t c = i % 3, x = i / 3 % from->w, y = i / 3 / from->w % from->h, n = i / 3 / from->w / from->h;
            float v = 0;
            for (int64_t k = -radius; k <= radius; k++) {
                int64_t j = turn ? mirrored(y + k, from->h) : y, l = turn ? x : mirrored(x + k, from->w);
                v += weights[k + radius] * a[((n * from->h + j) * from->w + l) * 3 + c];
            }
            b[i] = v;
        }
    }
    flow_image_free(across);
    return out;
}

static bool blur_run(struct node_call *call, const void *args, struct err *e)
{
    const struct blur_args *a = args;
    return give(call, blurred(image_of(a->image), a->radius, a->sigma, e), e);
}

static bool sharpen_run(struct node_call *call, const void *args, struct err *e)
{
    const struct blur_args *a = args;
    const struct flow_image *from = image_of(a->image);
    /* their kernel is -10 alpha times a Gaussian, whose middle makes the sum 1 */
    struct flow_image *image = blurred(from, a->radius, a->sigma, e);
    float by = 10 * (float)a->alpha;
    for (int64_t i = 0; image && i < count(image); i++)
        image->at[i] = fminf(fmaxf(from->at[i] + by * (from->at[i] - image->at[i]), 0), 1);
    return give(call, image, e);
}

static bool composite_run(struct node_call *call, const void *args, struct err *e)
{
    const struct composite_args *a = args;
    const struct flow_image *to = image_of(a->destination), *from = image_of(a->source);
    struct flow_image *fit = a->resize ? resize_image(from, to->h, to->w, "bilinear", "disabled", e) : NULL;
    if (e->code)
        return false;
    from = fit ? fit : from;
    const struct flow_mask *m = a->mask ? mask_of(a->mask) : NULL;
    float *mask = m ? resize_planes(m->at, m->n, 1, m->h, m->w, from->h, from->w, "bilinear", "disabled", e) : NULL;
    struct flow_image *image = e->code ? NULL : like(to, e);
    if (image)
        memcpy(image->at, to->at, (size_t)count(to) * sizeof *image->at);
    for (int64_t n = 0; image && n < to->n; n++)
        for (int64_t y = 0; y < from->h && a->y + y < to->h; y++)
            for (int64_t x = 0; x < from->w && a->x + x < to->w; x++) {
                float part = mask ? mask[(n % m->n * from->h + y) * from->w + x] : 1;
                float *at = image->at + ((n * to->h + a->y + y) * to->w + a->x + x) * 3;
                const float *source = from->at + ((n % from->n * from->h + y) * from->w + x) * 3;
                for (int c = 0; c < 3; c++)
                    at[c] = part * source[c] + (1 - part) * at[c];
            }
    mem_free(mask);
    flow_image_free(fit);
    return give(call, image, e);
}

/* Pictures first, first + 1, ..., from the beginning again after the last. */
static struct flow_image *choose(const struct flow_image *from, int64_t first, int64_t n, struct err *e)
{
    struct flow_image *image = flow_image_new(n, from->h, from->w, e);
    size_t each = (size_t)(from->h * from->w * 3);
    for (int64_t i = 0; image && i < n; i++)
        memcpy(image->at + (size_t)i * each, from->at + (size_t)((first + i) % from->n) * each, each * sizeof *image->at);
    if (image)
        image->rounds = from->rounds;
    return image;
}

static bool from_batch_run(struct node_call *call, const void *args, struct err *e)
{
    const struct batch_args *a = args;
    const struct flow_image *from = image_of(a->image);
    int64_t first = a->index < from->n - 1 ? a->index : from->n - 1;
    return give(call, choose(from, first, a->length < from->n - first ? a->length : from->n - first, e), e);
}

static bool repeat_run(struct node_call *call, const void *args, struct err *e)
{
    const struct batch_args *a = args;
    const struct flow_image *from = image_of(a->image);
    return give(call, choose(from, 0, from->n * a->amount, e), e);
}

/* Pictures of all batches in order, in batches of one size; where the size of pictures changes a new batch begins. */
static bool rebatch_run(struct node_call *call, const void *args, struct err *e)
{
    const struct rebatch_args *a = args;
    int64_t most = a->size->at[0]->whole;
    struct flow_image *open = NULL;
    bool good = true;
    for (size_t i = 0; good && i < a->images->count; i++) {
        const struct flow_image *from = image_of(a->images->at[i]);
        for (int64_t k = 0; good && k < from->n; k++) {
            struct flow_image *one = choose(from, k, 1, e);
            bool joins = open && one && open->n < most && open->h == one->h && open->w == one->w;
            struct flow_image *both = joins ? join(open, one, e) : NULL;
            good = one && (!joins || both);
            if (joins) {
                flow_image_free(open);
                flow_image_free(one);
            } else if (open && good) {
                good = give(call, open, e);
            }
            open = joins ? both : one;
        }
    }
    if (!good || !open) {
        flow_image_free(open);
        return good;
    }
    return give(call, open, e);
}

#define NODE(name_, title_, help_, category_, inputs_, outputs_, args_, run_)                                                         \
    { name_, title_, help_, category_, inputs_, outputs_, .args_bytes = sizeof(struct args_), .run = run_ }
const struct node nodes_image[] = {
    NODE("EmptyImage", NULL, "A picture of one colour.", "image", empty_inputs, image_output, empty_args, empty_run),
    NODE("ImageScale", "Upscale Image", "Resizes pictures. A width or height of 0 keeps the proportions.", "image/upscaling", scale_inputs,
         image_output, scale_args, scale_run),
    NODE("ImageScaleBy", "Upscale Image By", "Makes pictures so many times as large.", "image/upscaling", scale_by_inputs, image_output,
         scale_args, scale_by_run),
    NODE("ImageBatch", "Batch Images", "Puts pictures behind each other; the second are cut and resized to the first's size.", "image", pair_inputs,
         image_output, pair_args, batch_run),
    NODE("ImageInvert", "Invert Image", "Black becomes white.", "image", one_inputs, image_output, pair_args, invert_run),
    NODE("ImagePadForOutpaint", "Pad Image for Outpainting", "Adds grey at the sides, and a mask that says where.", "image", pad_inputs,
         pad_outputs, pad_args, pad_run),
    NODE("ImageCrop", NULL, "Cuts a piece out of pictures.", "image/transform", crop_inputs, image_output, crop_args, crop_run),
    NODE("ImageBlend", NULL, "Mixes two pictures.", "image/postprocessing", blend_inputs, image_output, blend_args, blend_run),
    NODE("ImageBlur", NULL, "Blurs pictures.", "image/postprocessing", blur_inputs, image_output, blur_args, blur_run),
    NODE("ImageSharpen", NULL, "Sharpens pictures.", "image/postprocessing", sharpen_inputs, image_output, blur_args, sharpen_run),
    NODE("ImageCompositeMasked", NULL, "Lays one picture over another, where a mask says so.", "image", composite_inputs, image_output,
         composite_args, composite_run),
    NODE("ImageFromBatch", NULL, "Takes pictures out of a batch.", "image/batch", from_batch_inputs, image_output, batch_args, from_batch_run),
    NODE("RepeatImageBatch", NULL, "Repeats the pictures of a batch.", "image/batch", repeat_inputs, image_output, batch_args, repeat_run),
    { "RebatchImages", "Rebatch Images", "Puts pictures of many batches into batches of one size.", "image/batch", rebatch_inputs, rebatch_outputs,
      .args_bytes = sizeof(struct rebatch_args), .flags = NODE_INPUT_LISTS, .run = rebatch_run },
    { 0 },
};
