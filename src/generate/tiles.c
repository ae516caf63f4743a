/* A network in pieces: a picture too large for memory is brought through it, the VAE above all, tile by tile, and tiles are laid over each other with
 * weights that fall towards their inner edges. Nothing is cut off at a border of the picture, and where one tile covers everything
 * its numbers are those of the whole. What tiles cannot have is the mean and variance of the whole picture in the VAE's group
 * norms: neighbours differ a little in brightness and colour, and the overlap makes that a slope instead of a seam. */
#include "base/mem.h"
#include "generate/generate_internal.h"

/* One side of the picture: where the tiles begin, in cells, and how much each counts at each of its units (a unit is a pixel or a
 * cell); over all tiles that sums up to 1 everywhere. */
struct side {
    int64_t count, units; /* tiles; units of a tile */
    int64_t *first;       /* [count], in cells */
    float *weights;       /* [count, units] */
};

static void side_release(struct side *a)
{
    mem_free(a->first);
    mem_free(a->weights);
    *a = (struct side){ 0 };
}

int64_t tile_overlap(int64_t tile)
{
    return tile / 4 > 0 ? tile / 4 : 1;
}

/* How much unit k of a slope counts: nothing in the first quarter, where the convolutions saw the tile's end instead of the
 * picture, everything in the last; what the neighbour counts there is the rest. */
static float slope_at(int64_t k, int64_t slope)
{
    float t = 2 * ((float)k + 0.5f) / (float)slope - 0.5f;
    return t < 0 ? 0 : t < 1 ? t : 1;
}

static bool side_init(struct side *a, int64_t cells, int64_t tile, int64_t unit, struct err *e)
{
    int64_t overlap = tile_overlap(tile), step = tile - overlap > 0 ? tile - overlap : 1;
    a->count = tile >= cells ? 1 : (cells - tile + step - 1) / step + 1;
    a->units = tile * unit;
    a->first = mem_zeroed((size_t)a->count, sizeof *a->first);
    a->weights = mem_zeroed((size_t)(a->count * a->units), sizeof *a->weights);
    float *sums = mem_zeroed((size_t)(cells * unit), sizeof *sums);
    if (!a->first || !a->weights || !sums) {
        mem_free(sums);
        side_release(a);
        return err_nomem(e, "tiles");
    }
    for (int64_t i = 0; i < a->count; i++) {
        a->first[i] = a->count > 1 ? i * (cells - tile) / (a->count - 1) : 0;
        for (int64_t k = 0; k < a->units; k++) {
            int64_t slope = overlap * unit;
            float before = i > 0 ? slope_at(k, slope) : 1;
            float behind = i + 1 < a->count ? slope_at(a->units - 1 - k, slope) : 1;
            a->weights[i * a->units + k] = before * behind;
            sums[a->first[i] * unit + k] += before * behind;
        }
    }
    for (int64_t i = 0; i < a->count; i++)
        for (int64_t k = 0; k < a->units; k++)
            a->weights[i * a->units + k] /= sums[a->first[i] * unit + k];
    mem_free(sums);
    return true;
}

/* What one run needs: a tile in f32 and in the models' type, and what comes of it in f32. */
struct work {
    float *tile, *made;
    void *input;
};

static bool run_tile(enum dtype type, struct stage *stage, const struct tile_run *run, const struct draw_sizes *s,
                     const struct side *down, const struct side *across, int64_t j, int64_t i, struct work *w, struct err *e)
{
    size_t row = (size_t)(s->tile_w * run->from_cell * run->from_channels);
    int64_t rows = s->tile_h * run->from_cell, wide = s->w * run->from_cell * run->from_channels;
    const float *from = run->from + down->first[j] * run->from_cell * wide + across->first[i] * run->from_cell * run->from_channels;
    for (int64_t y = 0; y < rows; y++)
        memcpy(w->tile + (size_t)y * row, from + y * wide, row * sizeof *w->tile);
    dtype_convert(w->input, type, w->tile, DTYPE_F32, (size_t)rows * row);
    if (!stop_check(e) || !program_run_stoppable(stage->program, e))
        return false;
    int64_t channels = run->to_channels, line = s->w * run->to_cell * channels;
    dtype_convert(w->made, DTYPE_F32, program_output(stage->program, stage->out[0]), type,
                  (size_t)(down->units * across->units * channels));
    float *to = run->to + down->first[j] * run->to_cell * line + across->first[i] * run->to_cell * channels;
    const float *made = w->made;
    for (int64_t y = 0; y < down->units; y++)
        for (int64_t x = 0; x < across->units; x++) {
            float weight = down->weights[j * down->units + y] * across->weights[i * across->units + x];
            for (int64_t c = 0; c < channels; c++)
                to[y * line + x * channels + c] += weight * *made++;
        }
    return true;
}

bool tiles_run(enum dtype type, struct stage *stage, const struct tile_run *run, const struct draw_sizes *s, struct err *e)
{
    struct side down = { 0 }, across = { 0 };
    size_t in = (size_t)(s->tile_h * s->tile_w * run->from_cell * run->from_cell * run->from_channels);
    size_t out = (size_t)(s->tile_h * s->tile_w * run->to_cell * run->to_cell * run->to_channels);
    struct work w = { mem_aligned(in * sizeof(float)), mem_aligned(out * sizeof(float)), mem_aligned(in * dtype_bytes(type)) };
    bool good = (w.tile && w.made && w.input) || err_nomem(e, "a tile of a picture");
    good = good && side_init(&down, s->h, s->tile_h, run->to_cell, e) && side_init(&across, s->w, s->tile_w, run->to_cell, e) &&
           program_set_input(stage->program, run->input, w.input, e);
    if (good)
        memset(run->to, 0, (size_t)(s->h * s->w * run->to_cell * run->to_cell * run->to_channels) * sizeof *run->to);
    for (int64_t j = 0; good && j < down.count; j++)
        for (int64_t i = 0; good && i < across.count; i++) {
            if (run->progress)
                progress_step(run->progress, run->what, (long)(j * across.count + i), (long)(down.count * across.count), NULL);
            good = run_tile(type, stage, run, s, &down, &across, j, i, &w, e);
        }
    if (good && run->progress)
        progress_step(run->progress, run->what, (long)(down.count * across.count), (long)(down.count * across.count), NULL);
    side_release(&down);
    side_release(&across);
    mem_free(w.tile);
    mem_free(w.made);
    mem_free(w.input);
    return good;
}
