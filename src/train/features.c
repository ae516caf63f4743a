#include "train/features.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/leftovers.h"
#include "base/mem.h"
#include "image/image.h"

/* Two FNV-1a sums with different beginnings: 128 bits. */
static void mix(struct feature_key *k, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) {
        k->high = (k->high ^ p[i]) * 0x100000001B3;
        k->low = (k->low ^ p[i]) * 0x100000001B3 + 1;
    }
}

static void mix_text(struct feature_key *k, const char *text)
{
    mix(k, text, strlen(text) + 1);
}

static void key_begin(struct feature_key *k, const char *what)
{
    *k = (struct feature_key){ .high = 0xCBF29CE484222325, .low = 0x6C62272E07BB0142 };
    mix_text(k, what);
}

static void key_end(struct feature_key *k)
{
    snprintf(k->s, sizeof k->s, "%016llx%016llx", (unsigned long long)k->high, (unsigned long long)k->low);
}

/* Of a part's weights: names, types, shapes, and of each tensor its first and last bytes. A training moves all of them, so weights
 * that differ anywhere differ there; reading gigabytes would take longer than encoding. */
static bool print_of(struct features *f, enum model_part part, uint64_t *out, struct err *e)
{
    enum { LOOK = 2048 };
    if (f->prints[part]) {
        *out = f->prints[part];
        return true;
    }
    const struct weights *w = model_folder_weights(f->encoders->model, part, e);
    struct feature_key k;
    if (!w)
        return false;
    key_begin(&k, model_part_names[part]);
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        size_t bytes = weight_bytes(t), few = bytes < LOOK ? bytes : LOOK;
        mix_text(&k, t->name);
        mix_text(&k, dtype_name(t->type));
        mix(&k, t->shape.dim, (size_t)t->shape.rank * sizeof *t->shape.dim);
        mix(&k, t->data, few);
        mix(&k, (const char *)t->data + bytes - few, few);
    }
    *out = f->prints[part] = k.high | 1;
    return true;
}

bool features_open(struct features *f, const char *folder, struct encoders *encoders, struct err *e)
{
    *f = (struct features){ .encoders = encoders };
    leftovers_remove(folder);
    return path_join(f->folder, "", folder, e);
}

bool features_key_of_picture(struct features *f, const struct picture_cut *cut, struct feature_key *key, struct err *e)
{
    uint64_t print;
    const struct vae_config *vae = &f->encoders->model->parts.vae;
    const int64_t numbers[] = { cut->width, cut->height, cut->scaled_width, cut->scaled_height, cut->left, cut->top, cut->flip,
                                f->encoders->type };
    if (!print_of(f, PART_VAE, &print, e))
        return false;
    key_begin(key, "picture 1");
    mix(key, &print, sizeof print);
    mix(key, &vae->scaling_factor, sizeof vae->scaling_factor);
    mix_text(key, cut->id);
    mix_text(key, cut->mask ? cut->mask : "-");
    mix(key, numbers, sizeof numbers);
    key_end(key);
    return true;
}

bool features_key_of_words(struct features *f, const char *words, struct feature_key *key, struct err *e)
{
    const int64_t type = f->encoders->type;
    key_begin(key, "words 1");
    for (int i = 0; i < TEXT_PARTS; i++) {
        uint64_t print;
        if (!f->encoders->model->parts.text[i].kind)
            continue;
        if (!print_of(f, (enum model_part)i, &print, e))
            return false;
        mix(key, &print, sizeof print);
    }
    mix(key, &type, sizeof type);
    mix_text(key, words);
    key_end(key);
    return true;
}

static bool path_of_key(const struct features *f, const struct feature_key *key, char *path, struct err *e)
{
    return path_join(path, f->folder, path_of("%s.safetensors", key->s).s, e);
}

bool features_have(const struct features *f, const struct feature_key *key)
{
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    return path_of_key(f, key, path, &ignored) && path_exists(path);
}

/* The cut of a picture: scaled, cut, turned. */
static bool cut_out(struct image *out, const char *path, const struct picture_cut *c, enum image_alpha alpha, struct err *e)
{
    struct image whole, scaled = { 0 };
    if (!image_load(&whole, path, alpha, 0xFFFFFF, e))
        return false;
    bool good = image_resize(&scaled, &whole, (int)c->scaled_width, (int)c->scaled_height, IMAGE_BILINEAR, e) &&
                image_crop(out, &scaled, (int)c->left, (int)c->top, (int)c->width, (int)c->height, e);
    image_release(&whole);
    image_release(&scaled);
    if (good && c->flip)
        image_mirror(out);
    return good || err_add(e, "in the picture %s", path);
}

/* How much each cell counts: the mean of the mask's brightness, or of the alpha, over its pixels. */
static bool read_mask(const struct picture_cut *c, int64_t factor, float *mask, struct err *e)
{
    bool alpha = !*c->mask;
    struct image m;
    if (!cut_out(&m, alpha ? c->path : c->mask, c, alpha ? IMAGE_WITH_ALPHA : IMAGE_FLATTEN, e))
        return false;
    int64_t w = c->width / factor;
    memset(mask, 0, (size_t)(c->height / factor * w) * sizeof *mask);
    for (int64_t y = 0; y < c->height; y++)
        for (int64_t x = 0; x < c->width; x++) {
            const uint8_t *p = m.pixels + (y * c->width + x) * m.channels;
            float v = alpha ? (float)p[3] : (float)(p[0] + p[1] + p[2]) / 3;
            mask[y / factor * w + x / factor] += v / (255.0f * (float)(factor * factor));
        }
    image_release(&m);
    return true;
}

bool features_make_picture(struct features *f, const struct picture_cut *c, const struct feature_key *key, struct err *e)
{
    const struct vae_config *vae = &f->encoders->model->parts.vae;
    int64_t factor = vae_factor(vae), h = c->height / factor, w = c->width / factor;
    size_t pixels = (size_t)(c->width * c->height * 3), numbers = (size_t)(2 * h * w * vae->latent_channels);
    char path[PATH_MAX_BYTES];
    struct image image;
    if (!folder_make(f->folder, e) || !path_of_key(f, key, path, e) || !cut_out(&image, c->path, c, IMAGE_FLATTEN, e))
        return false;
    float *x = mem_aligned(pixels * sizeof *x), *moments = mem_aligned(numbers * sizeof *moments);
    float *mask = mem_zeroed((size_t)(h * w), sizeof *mask);
    bool good = (x && moments && mask) || err_nomem(e, "a picture");
    if (good)
        image_to_unit(x, &image, IMAGE_NHWC);
    image_release(&image);
    const struct weights_entry entries[] = { { "moments", DTYPE_F32, SHAPE(2, h, w, vae->latent_channels) },
                                             { "mask", DTYPE_F32, SHAPE(h, w) } };
    good = good && (!c->mask || read_mask(c, factor, mask, e)) && encoders_picture(f->encoders, x, c->height, c->width, moments, e) &&
           weights_save(path, entries, (const void *const[]){ moments, mask }, c->mask ? 2 : 1, NULL, 0, e);
    mem_free(x);
    mem_free(moments);
    mem_free(mask);
    return good || err_add(e, "encoding %s", c->path);
}

bool features_make_words(struct features *f, const char *words, const struct feature_key *key, struct err *e)
{
    const struct model_parts *m = &f->encoders->model->parts;
    int64_t tokens = 0, width = model_text_width(m), pooled_width = model_pooled_width(m);
    for (int i = 0; i < TEXT_PARTS; i++)
        tokens = m->text[i].kind ? m->text[i].tokens : tokens;
    enum dtype type = f->encoders->type; /* what the encoders give: nothing is lost */
    size_t numbers = (size_t)(tokens * width), pooled_numbers = (size_t)pooled_width;
    char path[PATH_MAX_BYTES];
    float *states = mem_zeroed(numbers, sizeof *states), *pooled = mem_zeroed(pooled_numbers + 1, sizeof *pooled);
    void *kept = mem_aligned((numbers + pooled_numbers) * dtype_bytes(type));
    void *kept_pooled = kept ? (char *)kept + numbers * dtype_bytes(type) : NULL;
    bool good = (states && pooled && kept) || err_nomem(e, "the text states");
    good = good && folder_make(f->folder, e) && path_of_key(f, key, path, e) && encoders_words(f->encoders, words, states, pooled, e);
    if (good) {
        const struct weights_entry entries[] = { { "states", type, SHAPE(tokens, width) }, { "pooled", type, SHAPE(pooled_width) } };
        dtype_convert(kept, type, states, DTYPE_F32, numbers);
        dtype_convert(kept_pooled, type, pooled, DTYPE_F32, pooled_numbers);
        good = weights_save(path, entries, (const void *const[]){ kept, kept_pooled }, pooled_width ? 2 : 1, NULL, 0, e);
    }
    mem_free(states);
    mem_free(pooled);
    mem_free(kept);
    return good;
}

/* One tensor of so many numbers, in f32. */
static bool take(const struct weights *w, const char *name, float *out, size_t numbers, struct err *e)
{
    const struct weight *t = weights_need(w, name, e);
    if (!t)
        return false;
    if (shape_count(t->shape) != (int64_t)numbers || !dtype_convert(out, DTYPE_F32, t->data, t->type, numbers))
        return err_set(e, ERR_FORMAT, "%s: %s is %s %s, want %zu numbers: delete the file, it is made anew", weights_path(w), name,
                       dtype_name(t->type), shape_text(t->shape).s, numbers);
    return true;
}

bool features_read_picture(const struct features *f, const struct feature_key *key, float *moments, size_t numbers, float *mask,
                           size_t cells, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct weights *w = path_of_key(f, key, path, e) ? weights_open(path, e) : NULL;
    bool good = w && take(w, "moments", moments, numbers, e) && (!mask || take(w, "mask", mask, cells, e));
    weights_free(w);
    return good;
}

bool features_read_words(const struct features *f, const struct feature_key *key, float *states, size_t numbers, float *pooled,
                         size_t pooled_numbers, struct err *e)
{
    char path[PATH_MAX_BYTES];
    struct weights *w = path_of_key(f, key, path, e) ? weights_open(path, e) : NULL;
    bool good = w && take(w, "states", states, numbers, e) && (!pooled || take(w, "pooled", pooled, pooled_numbers, e));
    weights_free(w);
    return good;
}
