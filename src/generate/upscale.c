#include "generate/upscale.h"

#include <string.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "graph/passes.h"
#include "model/upscale/rrdb.h"

enum { LEAST_TILE = 32 };

struct upscaler {
    struct rrdb_file file;
    struct stage stage; /* of the last picture: its program and parameters */
    const struct backend *backend;
    enum dtype type;
    int64_t h, w; /* of its tiles, in cells: what the network sees as pixels */
};

struct upscaler *upscaler_open(const char *path, struct err *e)
{
    struct upscaler *u = mem_zeroed(1, sizeof *u);
    if (!u)
        err_nomem(e, path);
    if (u && rrdb_file_open(&u->file, path, e))
        return u;
    mem_free(u);
    return NULL;
}

static void drop(struct upscaler *u)
{
    program_free(u->stage.program);
    params_release(&u->stage.params);
    u->stage = (struct stage){ 0 };
}

void upscaler_free(struct upscaler *u)
{
    if (!u)
        return;
    drop(u);
    rrdb_file_release(&u->file);
    mem_free(u);
}

int64_t upscaler_scale(const struct upscaler *u)
{
    return rrdb_scale(&u->file.config);
}

/* The program for tiles of so many cells. */
static bool make(struct upscaler *u, const struct backend *backend, enum dtype type, int64_t h, int64_t w, struct err *e)
{
    const struct rrdb_config *c = &u->file.config;
    if (u->stage.program && u->backend == backend && u->type == type && u->h == h && u->w == w)
        return true;
    drop(u);
    struct graph g;
    graph_init(&g);
    params_init(&u->stage.params);
    struct net n = { .g = &g, .type = type, .part = "upscaler", .stored = u->file.weights, .params = &u->stage.params };
    u->stage.out[0] = rrdb(&n, c, graph_input(&g, "pixels", type, SHAPE(1, h, w, 3 * c->shuffle * c->shuffle)));
    graph_output(&g, u->stage.out[0]);
    if (graph_ok(&g, e)) {
        graph_fuse(&g, true);
        graph_prune(&g);
        u->stage.program = program_new(backend, &g, e);
    } else {
        graph_release(&g);
    }
    u->backend = backend;
    u->type = type;
    u->h = h;
    u->w = w;
    if (!u->stage.program)
        drop(u);
    return u->stage.program || err_add(e, "making the program of %s", path_name(u->file.path));
}

/* Makes it, with smaller tiles where it does not fit; then s has their size. */
static bool make_fitting(struct upscaler *u, const struct backend *backend, enum dtype type, int64_t tile, struct draw_sizes *s,
                         const struct progress *progress, struct err *e)
{
    int64_t shuffle = u->file.config.shuffle;
    for (;;) {
        int64_t cells = (tile + shuffle - 1) / shuffle;
        s->tile_h = cells < s->h ? cells : s->h;
        s->tile_w = cells < s->w ? cells : s->w;
        if (!make(u, backend, type, s->tile_h, s->tile_w, e))
            return false;
        struct program_memory m = program_memory(u->stage.program);
        size_t available = mem_available();
        if (u->stage.bound || !available || m.arena + m.packed <= available)
            return true;
        if (tile / 2 < LEAST_TILE)
            return err_set(e, ERR_NOMEM, "%s: a tile of %lld pixels takes %zu MiB, and %zu MiB are free", path_name(u->file.path), (long long)tile,
                           (m.arena + m.packed) >> 20, available >> 20);
        tile /= 2;
        progress_line(progress, "tiles of %lld pixels: larger ones do not fit into memory", (long long)tile);
    }
}

/* The picture with `shuffle` x `shuffle` pixels as channels, colour by colour; beyond its right and lower end it is mirrored. */
static void shuffled(float *out, const float *pixels, int64_t h, int64_t w, int64_t shuffle, const struct draw_sizes *s)
{
    for (int64_t y = 0; y < s->h; y++)
        for (int64_t x = 0; x < s->w; x++)
            for (int64_t c = 0; c < 3; c++)
                for (int64_t sy = 0; sy < shuffle; sy++)
                    for (int64_t sx = 0; sx < shuffle; sx++) {
                        int64_t at_y = y * shuffle + sy, at_x = x * shuffle + sx;
                        at_y = at_y < h ? at_y : h > 1 ? 2 * h - 2 - at_y : 0;
                        at_x = at_x < w ? at_x : w > 1 ? 2 * w - 2 - at_x : 0;
                        at_y = at_y < 0 ? 0 : at_y; /* pictures smaller than what is missing */
                        at_x = at_x < 0 ? 0 : at_x;
                        *out++ = pixels[(at_y * w + at_x) * 3 + c];
                    }
}

bool upscaler_run(struct upscaler *u, const struct backend *backend, enum dtype type, const float *pixels, int64_t h, int64_t w, int64_t tile,
                  const struct progress *progress, float *out, struct err *e)
{
    const struct rrdb_config *c = &u->file.config;
    int64_t scale = upscaler_scale(u), unit = (int64_t)1 << c->ups;
    tile = tile ? tile : UPSCALE_TILE;
    if (tile < LEAST_TILE)
        return err_set(e, ERR_ARG, "tiles of %lld pixels: at least %d", (long long)tile, LEAST_TILE);
    if (h < 1 || w < 1 || h * scale > IMAGE_MAX_SIDE || w * scale > IMAGE_MAX_SIDE || h * scale * w * scale > IMAGE_MAX_PIXELS)
        return err_set(e, ERR_LIMIT, "%lldx%lld pixels, %lld times as large: sides are at most %d, pixels %lld", (long long)w, (long long)h,
                       (long long)scale, IMAGE_MAX_SIDE, (long long)IMAGE_MAX_PIXELS);
    struct draw_sizes s = { .h = (h + c->shuffle - 1) / c->shuffle, .w = (w + c->shuffle - 1) / c->shuffle };
    if (!make_fitting(u, backend, type, tile, &s, progress, e) ||
        (!u->stage.bound && !params_bind(&u->stage.params, u->stage.program, u->file.weights, e)))
        return false;
    u->stage.bound = true;
    int64_t channels = 3 * c->shuffle * c->shuffle;
    float *from = mem_aligned((size_t)(s.h * s.w * channels) * sizeof *from);
    float *to = mem_aligned((size_t)(s.h * unit * s.w * unit * 3) * sizeof *to);
    bool good = (from && to) || err_nomem(e, "a larger picture");
    if (good) {
        shuffled(from, pixels, h, w, c->shuffle, &s);
        const struct tile_run run = { .input = "pixels", .from = from, .from_channels = channels, .from_cell = 1, .to = to, .to_channels = 3,
                                      .to_cell = unit, .progress = progress, .what = "upscaling" };
        good = tiles_run(type, &u->stage, &run, &s, e);
    }
    for (int64_t y = 0; good && y < h * scale; y++)
        memcpy(out + y * w * scale * 3, to + y * s.w * unit * 3, (size_t)(w * scale) * 3 * sizeof *out);
    mem_free(from);
    mem_free(to);
    return good;
}
