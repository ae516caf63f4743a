#include "evaluate/style.h"

#include <math.h>

#include "base/mem.h"

enum { COLOUR_SIDE = 32, SHADING_SIDE = 128, SHADING_SCALES = 3, SHADING_EVERY = 2 };

const char *const style_part_names[STYLE_PARTS] = { "latents", "colour", "shading" };

bool style_init(struct style *s, const struct reconstruction *vae, struct err *e)
{
    *s = (struct style){ 0 };
    if (cloud_init(&s->part[STYLE_LATENTS], reconstruction_channels(vae), e) && cloud_init(&s->part[STYLE_COLOUR], 3, e) &&
        cloud_init(&s->part[STYLE_SHADING], SHADING_SCALES, e))
        return true;
    style_release(s);
    return false;
}

void style_release(struct style *s)
{
    for (int i = 0; i < STYLE_PARTS; i++)
        cloud_release(&s->part[i]);
    *s = (struct style){ 0 };
}

void style_oklab(const uint8_t rgb[3], float lab[3])
{
    static const double to_lms[3][3] = { { 0.4122214708, 0.5363325363, 0.0514459929 },
                                         { 0.2119034982, 0.6806995451, 0.1073969566 },
                                         { 0.0883024619, 0.2817188376, 0.6299787005 } };
    static const double to_lab[3][3] = { { 0.2104542553, 0.7936177850, -0.0040720468 },
                                         { 1.9779984951, -2.4285922050, 0.4505937099 },
                                         { 0.0259040371, 0.7827717662, -0.8086757660 } };
    double linear[3], lms[3];
    for (int c = 0; c < 3; c++) {
        double v = rgb[c] / 255.0; /* IEC 61966-2-1 */
        linear[c] = v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
    }
    for (int i = 0; i < 3; i++)
        lms[i] = cbrt(to_lms[i][0] * linear[0] + to_lms[i][1] * linear[1] + to_lms[i][2] * linear[2]);
    for (int i = 0; i < 3; i++)
        lab[i] = (float)(to_lab[i][0] * lms[0] + to_lab[i][1] * lms[1] + to_lab[i][2] * lms[2]);
}

static bool add_colours(struct style *s, const struct image *image, struct err *e)
{
    struct image small;
    float lab[3 * COLOUR_SIDE * COLOUR_SIDE];
    if (!picture_square(image, COLOUR_SIDE, &small, e))
        return false;
    for (int i = 0; i < COLOUR_SIDE * COLOUR_SIDE; i++)
        style_oklab(small.pixels + 3 * i, lab + 3 * i);
    cloud_add(&s->part[STYLE_COLOUR], lab, COLOUR_SIDE * COLOUR_SIDE);
    image_release(&small);
    return true;
}

/* Means of 2x2 pixels of lab [side, side, 3], in place. */
static void halve(float *lab, int side)
{
    for (int y = 0; y < side / 2; y++)
        for (int x = 0; x < side / 2; x++)
            for (int c = 0; c < 3; c++) {
                const float *at = lab + 3 * (2 * y * side + 2 * x) + c;
                lab[3 * (y * (side / 2) + x) + c] = (at[0] + at[3] + at[3 * side] + at[3 * side + 3]) / 4;
            }
}

/* log(0.004 + gradient) of each pixel; 0 at the border counts as no gradient. */
static void steepness(const float *lab, int side, float *out)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const float *at = lab + 3 * (y * side + x);
            double sum = 0;
            for (int c = 0; c < 3; c++) {
                double across = x > 0 && x < side - 1 ? (double)(at[3 + c] - at[c - 3]) / 2 : 0;
                double along = y > 0 && y < side - 1 ? (double)(at[3 * side + c] - at[c - 3 * side]) / 2 : 0;
                sum += across * across + along * along;
            }
            out[y * side + x] = (float)log(0.004 + sqrt(sum));
        }
}

static bool add_shading(struct style *s, const struct image *image, struct err *e)
{
    enum { N = SHADING_SIDE, PLACES = (N / SHADING_EVERY) * (N / SHADING_EVERY) };
    struct image square = { 0 };
    float *lab = mem_aligned((size_t)(3 * N * N + N * N + SHADING_SCALES * PLACES) * sizeof *lab);
    bool good = (lab || err_nomem(e, "a picture's shading")) && picture_square(image, N, &square, e);
    if (good) {
        float *steep = lab + 3 * N * N, *points = steep + N * N;
        for (int i = 0; i < N * N; i++)
            style_oklab(square.pixels + 3 * i, lab + 3 * i);
        for (int scale = 0; scale < SHADING_SCALES; scale++) {
            int side = N >> scale;
            steepness(lab, side, steep);
            for (int p = 0; p < PLACES; p++) {
                int x = p % (N / SHADING_EVERY) * SHADING_EVERY >> scale, y = p / (N / SHADING_EVERY) * SHADING_EVERY >> scale;
                points[p * SHADING_SCALES + scale] = steep[y * side + x];
            }
            halve(lab, side);
        }
        cloud_add(&s->part[STYLE_SHADING], points, PLACES);
    }
    image_release(&square);
    mem_free(lab);
    return good;
}

bool style_add(struct style *s, struct reconstruction *vae, const struct image *image, struct err *e)
{
    int64_t cells = reconstruction_cells(vae) * reconstruction_cells(vae);
    float *latents = mem_aligned((size_t)(cells * reconstruction_channels(vae)) * sizeof *latents);
    struct image square = { 0 };
    bool good = latents || err_nomem(e, "a picture's latent");
    good = good && picture_square(image, (int)vae->side, &square, e) && reconstruction_encode(vae, square.pixels, 1, latents, e) &&
           add_colours(s, image, e) && add_shading(s, image, e);
    if (good) {
        cloud_add(&s->part[STYLE_LATENTS], latents, cells);
        s->pictures++;
    }
    image_release(&square);
    mem_free(latents);
    return good;
}

bool style_add_set(struct style *s, struct reconstruction *vae, const struct picture_set *set, int64_t most, int half,
                   const struct progress *progress, struct err *e)
{
    size_t count = picture_set_thinned(set, most);
    bool good = true;
    for (size_t k = 0; good && k < count; k++) {
        struct image image = { 0 };
        progress_step(progress, "looking at the style", (long)k, (long)count, NULL);
        if (half >= 0 && (int)(k % 2) != half)
            continue;
        size_t i = picture_set_nth(set, most, k);
        good = stop_check(e) && picture_set_load(set, i, &image, e) &&
               (style_add(s, vae, &image, e) || err_add(e, "%s", set->at[i].path));
        image_release(&image);
    }
    progress_step(progress, "looking at the style", (long)count, (long)count, NULL);
    return good;
}

bool style_distance(const struct style *of, const struct style *reference, struct style_distance *out, struct err *e)
{
    out->style = 0;
    for (int i = 0; i < STYLE_PARTS; i++) {
        double squared;
        if (!cloud_distance(&of->part[i], &reference->part[i], true, &squared, e))
            return err_add(e, "in the style of %lld and of %lld pictures", (long long)of->pictures, (long long)reference->pictures);
        out->part[i] = sqrt(squared / (double)reference->part[i].dims);
        out->style += out->part[i] / STYLE_PARTS;
    }
    return true;
}

bool style_floor(struct reconstruction *vae, const struct picture_set *set, int64_t most, struct style_distance *out,
                 const struct progress *progress, struct err *e)
{
    struct style half[2] = { 0 };
    struct style_distance d[2];
    bool good = true;
    for (int h = 0; good && h < 2; h++)
        good = style_init(&half[h], vae, e) && style_add_set(&half[h], vae, set, most, h, progress, e);
    for (int h = 0; good && h < 2; h++)
        good = style_distance(&half[h], &half[!h], &d[h], e);
    style_release(&half[0]);
    style_release(&half[1]);
    for (int i = 0; good && i < STYLE_PARTS; i++)
        out->part[i] = (d[0].part[i] + d[1].part[i]) / 2;
    if (good)
        out->style = (d[0].style + d[1].style) / 2;
    return good;
}
