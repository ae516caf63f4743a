/* MASK: made, changed, and to and from pictures. */
#include "flow/nodes/nodes.h"

struct solid_args {
    double value;
    int64_t width, height;
};
struct mask_args {
    const struct datum *mask, *image, *other;
    int64_t x, y, width, height, left, top, right, bottom, expand, color;
    double value;
    const char *channel, *operation;
    bool tapered;
};

#define AT(member) offsetof(struct mask_args, member)
#define SIDE(label, member, initial, least) { label, "INT", AT(member), initial, .min = least, .max = MOST_SIDE, .step = 1, .help = "pixels" }
static const char *const channels[] = { "red", "green", "blue", "alpha", NULL };
static const char *const operations[] = { "multiply", "add", "subtract", "and", "or", "xor", NULL };

static const struct node_input solid_inputs[] = {
    { "value", "FLOAT", offsetof(struct solid_args, value), "1.0", .min = 0, .max = 1, .step = 0.01 },
    { "width", "INT", offsetof(struct solid_args, width), "512", .min = 1, .max = MOST_SIDE, .step = 1 },
    { "height", "INT", offsetof(struct solid_args, height), "512", .min = 1, .max = MOST_SIDE, .step = 1 },
    { 0 },
};
static const struct node_input mask_inputs[] = { NODE_SOCKET("mask", "MASK", struct mask_args, mask), { 0 } };
static const struct node_input to_mask_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct mask_args, image),
    { "channel", "COMBO", AT(channel), .choices = channels },
    { 0 },
};
static const struct node_input color_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct mask_args, image),
    { "color", "INT", AT(color), "0", .min = 0, .max = 0xFFFFFF, .step = 1, .more = "{\"display\": \"color\"}" },
    { 0 },
};
static const struct node_input crop_inputs[] = {
    NODE_SOCKET("mask", "MASK", struct mask_args, mask),
    SIDE("x", x, "0", 0), SIDE("y", y, "0", 0), SIDE("width", width, "512", 1), SIDE("height", height, "512", 1),
    { 0 },
};
static const struct node_input composite_inputs[] = {
    NODE_SOCKET("destination", "MASK", struct mask_args, mask),
    NODE_SOCKET("source", "MASK", struct mask_args, other),
    SIDE("x", x, "0", 0), SIDE("y", y, "0", 0),
    { "operation", "COMBO", AT(operation), .choices = operations },
    { 0 },
};
static const struct node_input feather_inputs[] = {
    NODE_SOCKET("mask", "MASK", struct mask_args, mask),
    SIDE("left", left, "0", 0), SIDE("top", top, "0", 0), SIDE("right", right, "0", 0), SIDE("bottom", bottom, "0", 0),
    { 0 },
};
static const struct node_input grow_inputs[] = {
    NODE_SOCKET("mask", "MASK", struct mask_args, mask),
    { "expand", "INT", AT(expand), "0", .min = -MOST_SIDE, .max = MOST_SIDE, .step = 1, .help = "pixels; less than 0 shrinks" },
    { "tapered_corners", "BOOLEAN", AT(tapered), .initial = "true" },
    { 0 },
};
static const struct node_input threshold_inputs[] = {
    NODE_SOCKET("mask", "MASK", struct mask_args, mask),
    { "value", "FLOAT", AT(value), "0.5", .min = 0, .max = 1, .step = 0.01 },
    { 0 },
};
static bool give(struct node_call *call, struct flow_mask *m, struct err *e)
{
    return node_give(call, 0, datum_of_object(&type_mask, m, e), e);
}

static struct flow_mask *copy(const struct flow_mask *from, struct err *e)
{
    struct flow_mask *m = flow_mask_new(from->n, from->h, from->w, e);
    if (m)
        memcpy(m->at, from->at, (size_t)(m->n * m->h * m->w) * sizeof *m->at);
    return m;
}

static bool solid_run(struct node_call *call, const void *args, struct err *e)
{
    const struct solid_args *a = args;
    struct flow_mask *m = flow_mask_new(1, a->height, a->width, e);
    for (int64_t i = 0; m && i < m->h * m->w; i++)
        m->at[i] = (float)a->value;
    return give(call, m, e);
}

static bool invert_run(struct node_call *call, const void *args, struct err *e)
{
    const struct flow_mask *from = mask_of(((const struct mask_args *)args)->mask);
    struct flow_mask *m = flow_mask_new(from->n, from->h, from->w, e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++)
        m->at[i] = 1 - from->at[i];
    return give(call, m, e);
}

static bool to_image_run(struct node_call *call, const void *args, struct err *e)
{
    const struct flow_mask *m = mask_of(((const struct mask_args *)args)->mask);
    struct flow_image *image = flow_image_new(m->n, m->h, m->w, e);
    for (int64_t i = 0; image && i < m->n * m->h * m->w * 3; i++)
        image->at[i] = m->at[i / 3];
    return node_give(call, 0, datum_of_object(&type_image, image, e), e);
}

/* limn's pictures have three channels: alpha is 1. */
static bool to_mask_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_image *image = image_of(a->image);
    int channel = *a->channel == 'r' ? 0 : *a->channel == 'g' ? 1 : *a->channel == 'b' ? 2 : 3;
    struct flow_mask *m = flow_mask_new(image->n, image->h, image->w, e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++)
        m->at[i] = channel < 3 ? image->at[3 * i + channel] : 1;
    return give(call, m, e);
}

static bool color_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_image *image = image_of(a->image);
    struct flow_mask *m = flow_mask_new(image->n, image->h, image->w, e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++) {
        int64_t color = 0;
        for (int c = 0; c < 3; c++)
            color = color << 8 | (int64_t)rintf(fminf(fmaxf(image->at[3 * i + c], 0), 1) * 255);
        m->at[i] = color == a->color;
    }
    return give(call, m, e);
}

static bool crop_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_mask *from = mask_of(a->mask);
    if (a->x >= from->w || a->y >= from->h)
        return err_set(e, ERR_ARG, "the piece at %lld, %lld lies outside of a mask of %lldx%lld", (long long)a->x, (long long)a->y,
                       (long long)from->w, (long long)from->h);
    int64_t w = a->width < from->w - a->x ? a->width : from->w - a->x, h = a->height < from->h - a->y ? a->height : from->h - a->y;
    struct flow_mask *m = flow_mask_new(from->n, h, w, e);
    for (int64_t i = 0; m && i < m->n * h; i++)
        memcpy(m->at + i * w, from->at + (i / h * from->h + a->y + i % h) * from->w + a->x, (size_t)w * sizeof *m->at);
    return give(call, m, e);
}

static float composed(const char *operation, float to, float from)
{
    bool a = rintf(to) != 0, b = rintf(from) != 0;
    switch (*operation) {
    case 'm': return to * from;
    case 's': return to - from;
    case 'o': return a || b;
    case 'x': return a != b;
    default: return operation[1] == 'd' ? to + from : a && b;
    }
}

static bool composite_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    const struct flow_mask *from = mask_of(a->other);
    struct flow_mask *m = copy(mask_of(a->mask), e);
    for (int64_t n = 0; m && n < m->n; n++)
        for (int64_t y = 0; y < from->h && a->y + y < m->h; y++)
            for (int64_t x = 0; x < from->w && a->x + x < m->w; x++) {
                float *at = m->at + (n * m->h + a->y + y) * m->w + a->x + x;
                *at = composed(a->operation, *at, from->at[(n % from->n * from->h + y) * from->w + x]);
            }
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++)
        m->at[i] = fminf(fmaxf(m->at[i], 0), 1);
    return give(call, m, e);
}

static bool feather_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    struct flow_mask *m = copy(mask_of(a->mask), e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++) {
        int64_t x = i % m->w, y = i / m->w % m->h;
        const int64_t away[4] = { x, y, m->w - 1 - x, m->h - 1 - y };
        const int64_t reach[4] = { a->left < m->w ? a->left : m->w, a->top < m->h ? a->top : m->h, a->right < m->w ? a->right : m->w,
                                   a->bottom < m->h ? a->bottom : m->h };
        for (int k = 0; k < 4; k++)
            if (away[k] < reach[k])
                m->at[i] *= (float)(away[k] + 1) / (float)reach[k];
    }
    return give(call, m, e);
}

/* One step: the largest (or smallest) of a cell and its neighbours, those at the corners only where corners are not tapered. */
static void grow_once(float *to, const float *from, int64_t h, int64_t w, bool shrinks, bool tapered)
{
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            float v = from[y * w + x];
            for (int64_t j = y - 1; j <= y + 1; j++)
                for (int64_t i = x - 1; i <= x + 1; i++) {
                    bool corner = j != y && i != x, inside = j >= 0 && i >= 0 && j < h && i < w;
                    if ((corner && tapered) || !inside)
                        continue;
                    v = shrinks ? fminf(v, from[j * w + i]) : fmaxf(v, from[j * w + i]);
                }
            to[y * w + x] = v;
        }
}

static bool grow_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    struct flow_mask *m = copy(mask_of(a->mask), e);
    size_t area = m ? (size_t)(m->h * m->w) : 0;
    float *next = m ? mem_aligned(area * sizeof *next) : NULL;
    bool good = next || (m && err_nomem(e, "a mask"));
    int64_t longest = m && m->h > m->w ? m->h : m ? m->w : 0, times = llabs(a->expand) < longest ? llabs(a->expand) : longest;
    for (int64_t n = 0; good && n < m->n; n++)
        for (int64_t k = 0; good && k < times; k++) {
            float *at = m->at + (size_t)n * area;
            good = stop_check(e);
            grow_once(next, at, m->h, m->w, a->expand < 0, a->tapered);
            memcpy(at, next, area * sizeof *at);
        }
    mem_free(next);
    if (!good) {
        flow_mask_free(m);
        return false;
    }
    return give(call, m, e);
}

static bool threshold_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mask_args *a = args;
    struct flow_mask *m = copy(mask_of(a->mask), e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++)
        m->at[i] = m->at[i] > (float)a->value;
    return give(call, m, e);
}

#define NODE(name_, title_, help_, inputs_, outputs_, run_)                                                                           \
    { name_, title_, help_, "mask", inputs_, outputs_, .args_bytes = sizeof(struct mask_args), .run = run_ }
const struct node nodes_mask[] = {
    { "SolidMask", NULL, "A mask that is the same everywhere.", "mask", solid_inputs, mask_output, .args_bytes = sizeof(struct solid_args),
      .run = solid_run },
    NODE("InvertMask", NULL, "Black becomes white.", mask_inputs, mask_output, invert_run),
    NODE("CropMask", NULL, "Cuts a piece out of a mask.", crop_inputs, mask_output, crop_run),
    NODE("MaskComposite", NULL, "Puts two masks together.", composite_inputs, mask_output, composite_run),
    NODE("FeatherMask", NULL, "Lets a mask fade towards its sides.", feather_inputs, mask_output, feather_run),
    NODE("GrowMask", NULL, "Makes what is white larger or smaller.", grow_inputs, mask_output, grow_run),
    NODE("ThresholdMask", NULL, "Makes a mask black and white.", threshold_inputs, mask_output, threshold_run),
    NODE("MaskToImage", "Convert Mask to Image", "A mask as a grey picture.", mask_inputs, image_output, to_image_run),
    NODE("ImageToMask", "Convert Image to Mask", "A channel of a picture as a mask.", to_mask_inputs, mask_output, to_mask_run),
    NODE("ImageColorToMask", NULL, "White where a picture has one colour.", color_inputs, mask_output, color_run),
    { 0 },
};
