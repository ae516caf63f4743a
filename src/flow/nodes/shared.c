#include <stdio.h>
#include <sys/stat.h>

#include "flow/nodes/nodes.h"
#include "tensor/resample.h"

const struct node_output image_output[] = { NODE_OUT("IMAGE"), { 0 } };
const struct node_output mask_output[] = { NODE_OUT("MASK"), { 0 } };
const struct node_output latent_output[] = { NODE_OUT("LATENT"), { 0 } };
const struct node_output conditioning_output[] = { NODE_OUT("CONDITIONING"), { 0 } };
const struct node_output model_output[] = { NODE_OUT("MODEL"), { 0 } };
const struct node_output sigmas_output[] = { NODE_OUT("SIGMAS"), { 0 } };

const char *const upscale_methods[] = { "nearest-exact", "bilinear", "area", "bicubic", "lanczos", NULL };
const char *const latent_upscale_methods[] = { "nearest-exact", "bilinear", "area", "bicubic", "bislerp", NULL };

bool file_token(const char *path, char token[65], struct err *e)
{
    char inside[PATH_MAX_BYTES];
    struct stat s;
    if (path_is_folder(path) && !path_join(inside, path, "model_index.json", e))
        return false;
    if (stat(path_is_folder(path) && path_exists(inside) ? inside : path, &s))
        return err_errno(e, "%s", path);
    snprintf(token, 65, "%lld-%lld-%ld", (long long)s.st_size, (long long)s.st_mtim.tv_sec, (long)s.st_mtim.tv_nsec);
    return true;
}

static int64_t to_even(double v)
{
    return (int64_t)rint(v);
}

/* The middle of the planes with the proportions of the new size: a new array. */
static float *cut(const float *from, int64_t planes, int64_t *h, int64_t *w, int64_t to_h, int64_t to_w, struct err *e)
{
    double is = (double)*w / (double)*h, wanted = (double)to_w / (double)to_h;
    int64_t x = is > wanted ? to_even(((double)*w - (double)*w * (wanted / is)) / 2) : 0;
    int64_t y = is < wanted ? to_even(((double)*h - (double)*h * (is / wanted)) / 2) : 0;
    int64_t new_h = *h - 2 * y, new_w = *w - 2 * x;
    float *out = mem_aligned((size_t)(planes * new_h * new_w) * sizeof *out);
    if (!out) {
        err_nomem(e, "a cut picture");
        return NULL;
    }
    for (int64_t i = 0; i < planes; i++)
        for (int64_t k = 0; k < new_h; k++)
            memcpy(out + (i * new_h + k) * new_w, from + (i * *h + y + k) * *w + x, (size_t)new_w * sizeof *out);
    *h = new_h;
    *w = new_w;
    return out;
}

float *resize_planes(const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t to_h, int64_t to_w, const char *method,
                     const char *crop, struct err *e)
{
    float *middle = !strcmp(crop, "center") ? cut(from, n * c, &h, &w, to_h, to_w, e) : NULL, *out = NULL;
    if (e->code)
        return NULL;
    const float *planes = middle ? middle : from;
    if (to_h < 1 || to_w < 1 || to_h > IMAGE_MAX_SIDE || to_w > IMAGE_MAX_SIDE || n * to_h * to_w > 8 * IMAGE_MAX_PIXELS) {
        err_set(e, ERR_LIMIT, "%lldx%lld: sides are 1 to %d", (long long)to_w, (long long)to_h, IMAGE_MAX_SIDE);
    } else {
        int how = 0;
        while (resample_names[how] && strcmp(resample_names[how], method))
            how++;
        out = mem_aligned((size_t)(n * c * to_h * to_w) * sizeof *out);
        if (!out)
            err_nomem(e, "a resized picture");
        else if (!resample_names[how])
            err_set(e, ERR_ARG, "there is no way to resize called %s", method);
        if (e->code || !tensor_resample(out, planes, n, c, h, w, to_h, to_w, (enum resample)how, e)) {
            mem_free(out);
            out = NULL;
        }
    }
    mem_free(middle);
    return out;
}

/* On 8 bits, as ComfyUI does. */
static struct flow_image *lanczos(const struct flow_image *from, int64_t to_h, int64_t to_w, struct err *e)
{
    struct flow_image *out = flow_image_new(from->n, to_h, to_w, e);
    bool good = out != NULL;
    for (int64_t i = 0; good && i < from->n; i++) {
        struct image a = { 0 }, b = { 0 };
        good = image_to_bytes(from, i, &a, e) && image_resize(&b, &a, (int)to_w, (int)to_h, IMAGE_LANCZOS, e);
        for (size_t k = 0; good && k < image_bytes(&b); k++)
            out->at[(size_t)i * image_bytes(&b) + k] = (float)b.pixels[k] / 255;
        image_release(&a);
        image_release(&b);
    }
    if (good) {
        out->rounds = from->rounds;
        return out;
    }
    flow_image_free(out);
    return NULL;
}

struct flow_image *resize_image(const struct flow_image *from, int64_t to_h, int64_t to_w, const char *method, const char *crop, struct err *e)
{
    bool exact = !strcmp(method, "lanczos"), middle = !strcmp(crop, "center");
    if (exact && !middle)
        return lanczos(from, to_h, to_w, e);
    size_t numbers = (size_t)(from->n * from->h * from->w) * 3;
    float *planes = mem_aligned(numbers * sizeof *planes);
    if (!planes) {
        err_nomem(e, "a picture");
        return NULL;
    }
    tensor_nhwc_to_nchw(planes, from->at, from->n, 3, from->h, from->w);
    int64_t h = to_h, w = to_w;
    float *made = NULL;
    if (exact) {
        h = from->h;
        w = from->w;
        made = cut(planes, from->n * 3, &h, &w, to_h, to_w, e);
    } else {
        made = resize_planes(planes, from->n, 3, from->h, from->w, to_h, to_w, method, crop, e);
    }
    struct flow_image *out = made ? flow_image_new(from->n, h, w, e) : NULL;
    if (out) {
        tensor_nchw_to_nhwc(out->at, made, from->n, 3, h, w);
        out->rounds = from->rounds;
    }
    mem_free(planes);
    mem_free(made);
    if (!exact || !out)
        return out;
    struct flow_image *large = lanczos(out, to_h, to_w, e);
    flow_image_free(out);
    return large;
}

struct flow_latent *latent_for(const struct flow_latent *l, const struct vae_config *vae, struct err *e)
{
    int64_t cell = vae_factor(vae), h = l->h * l->cell / cell, w = l->w * l->cell / cell;
    if (!l->empty || (l->cell == cell && l->c == vae->latent_channels))
        return flow_latent_copy(l, e);
    struct flow_latent *out = flow_latent_new(l->n, vae->latent_channels, h ? h : 1, w ? w : 1, cell, e), *copy = out ? flow_latent_copy(l, e) : NULL;
    if (!copy) {
        flow_latent_free(out);
        return NULL;
    }
    out->noise_mask = copy->noise_mask; /* masks are in whatever size, indices are one a picture */
    out->batch_index = copy->batch_index;
    out->empty = true;
    copy->noise_mask = NULL;
    copy->batch_index = NULL;
    flow_latent_free(copy);
    return out;
}

bool image_to_bytes(const struct flow_image *image, int64_t index, struct image *out, struct err *e)
{
    size_t count = (size_t)(image->h * image->w) * 3;
    const float *at = image->at + (size_t)index * count;
    if (!image_make(out, (int)image->w, (int)image->h, 3, e))
        return false;
    for (size_t i = 0; i < count; i++) { /* a NaN becomes 0 */
        float v = 255 * at[i];
        v = v > 0 ? fminf(v, 255) : 0;
        out->pixels[i] = (uint8_t)(image->rounds ? rintf(v) : v);
    }
    return true;
}
