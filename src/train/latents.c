#include "train/latents.h"

#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "graph/passes.h"
#include "model/layer/net.h"

enum { BATCH = 16 };

/* FNV-1a over all that decides what is in the file. */
static uint64_t mix(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001B3;
    return h;
}

static uint64_t key_of(const struct latents_options *o)
{
    uint64_t h = 0xCBF29CE484222325, list = dataset_fingerprint(o->dataset);
    const float chances[] = { o->scenes.pair, o->scenes.placed, o->scenes.coloured, o->scenes.same_style,
                              o->scenes.chinese, o->scenes.style_named, o->scenes.canonical, o->scenes.held_out };
    const int64_t numbers[] = { o->size, o->count, (int64_t)o->seed, o->type };
    h = mix(h, &list, sizeof list);
    h = mix(h, chances, sizeof chances);
    h = mix(h, numbers, sizeof numbers);
    h = mix(h, &o->vae->scaling_factor, sizeof o->vae->scaling_factor);
    for (size_t i = 0; i < weights_count(o->weights); i++) {
        const struct weight *w = weights_at(o->weights, i);
        h = mix(h, w->name, strlen(w->name));
        h = mix(h, w->data, weight_bytes(w));
    }
    return h;
}

static struct program *encoder(const struct latents_options *o, const struct backend *backend, struct value *mean,
                               struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct params params;
    params_init(&params);
    struct net net = { .g = &g, .type = o->type, .part = "vae", .stored = o->weights, .params = &params };
    struct value picture = graph_input(&g, "picture", DTYPE_F32, SHAPE(BATCH, o->size, o->size, o->vae->in_channels));
    struct value moments = vae_encode(&net, o->vae, op_cast(&g, picture, net.type));
    struct value latent = op_cast(&g, op_slice(&g, moments, -1, 0, o->vae->latent_channels), DTYPE_F32);
    *mean = op_scale(&g, latent, o->vae->scaling_factor, 0);
    graph_output(&g, *mean);
    graph_fuse(&g, true);
    struct program *p = program_new(backend, &g, e);
    if (p && !params_bind(&params, p, o->weights, e)) {
        program_free(p);
        p = NULL;
    }
    params_release(&params);
    return p;
}

static bool paint_batch(const struct latents_options *o, int64_t first, uint8_t *rgb, float *pictures, struct err *e)
{
    int64_t n = o->size * o->size * 3;
    bool failed = false;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < BATCH; i++) {
        struct err mine = { 0 };
        struct scene_facts facts;
        if (!scene_choose(o->dataset, &o->scenes, o->seed, (uint64_t)(first + i), &facts, &mine) ||
            !scene_paint(o->dataset, &facts, (int)o->size, rgb + i * n, &mine)) {
#pragma omp critical
            {
                failed = true;
                err_set(e, mine.code, "%s", mine.text);
            }
            continue;
        }
        for (int64_t k = 0; k < n; k++)
            pictures[i * n + k] = (float)rgb[i * n + k] * (2.0f / 255) - 1;
    }
    return !failed;
}

static bool make(const char *path, const struct latents_options *o, const char *key, const struct backend *backend,
                 const struct progress *progress, struct err *e)
{
    int64_t side = o->size / vae_factor(o->vae), each = side * side * o->vae->latent_channels;
    int64_t rounded = (o->count + BATCH - 1) / BATCH * BATCH, n = o->size * o->size * 3;
    struct value mean;
    struct program *p = encoder(o, backend, &mean, e);
    uint16_t *all = mem_pages((size_t)(rounded * each) * sizeof *all);
    uint8_t *rgb = mem_aligned((size_t)(BATCH * n));
    float *pictures = mem_aligned((size_t)(BATCH * n) * sizeof *pictures);
    bool good = p && all && rgb && pictures;
    if (p && !good)
        err_nomem(e, "latents");
    good = good && program_set_input(p, "picture", pictures, e);
    for (int64_t first = 0; good && first < o->count; first += BATCH) {
        good = stop_check(e) && paint_batch(o, first, rgb, pictures, e) && program_run(p, e);
        if (good)
            dtype_convert(all + first * each, DTYPE_F16, program_output(p, mean), DTYPE_F32, (size_t)(BATCH * each));
        progress_step(progress, "encoding scenes", (long)(first + BATCH < o->count ? first + BATCH : o->count),
                      (long)o->count, NULL);
    }
    struct weights_entry entry = { "latents", DTYPE_F16, SHAPE(o->count, side, side, o->vae->latent_channels) };
    struct weights_pair fact = { "key", key };
    good = good && weights_save(path, &entry, (const void *const[]){ all }, 1, &fact, 1, e);
    program_free(p);
    mem_pages_free(all, (size_t)(rounded * each) * sizeof *all);
    mem_free(rgb);
    mem_free(pictures);
    return good;
}

/* Whether the file is there, whole and of this key. */
static bool fits(struct latents *l, const char *path, const char *key)
{
    struct err ignored = { 0 };
    l->file = path_exists(path) ? weights_open(path, &ignored) : NULL;
    const char *came = l->file ? weights_metadata(l->file, "key") : NULL;
    if (came && !strcmp(came, key))
        return true;
    latents_release(l);
    return false;
}

bool latents_open(struct latents *l, const char *path, const struct latents_options *o, const struct backend *backend,
                  const struct progress *progress, struct err *e)
{
    char key[20];
    *l = (struct latents){ 0 };
    snprintf(key, sizeof key, "%016llx", (unsigned long long)key_of(o));
    if (!fits(l, path, key)) {
        if (!make(path, o, key, backend, progress, e))
            return false;
        if (!fits(l, path, key))
            return err_set(e, ERR_IO, "%s was written and cannot be read back", path);
    }
    const struct weight *w = weights_need(l->file, "latents", e);
    if (!w || w->type != DTYPE_F16 || w->shape.rank != 4) {
        err_set(e, ERR_FORMAT, "%s holds no f16 latents [n, h, w, c]", path);
        latents_release(l);
        return false;
    }
    l->data = w->data;
    l->count = w->shape.dim[0];
    l->height = w->shape.dim[1];
    l->width = w->shape.dim[2];
    l->channels = w->shape.dim[3];
    return true;
}

void latents_release(struct latents *l)
{
    weights_free(l->file);
    *l = (struct latents){ 0 };
}

void latents_read(const struct latents *l, int64_t i, float *out)
{
    int64_t each = l->height * l->width * l->channels;
    for (int64_t k = 0; k < each; k++)
        out[k] = f16_to_f32(l->data[i * each + k]);
}
