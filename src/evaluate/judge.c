#include "evaluate/judge.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static int look_height(const struct looks *l)
{
    return l->half ? 2 * LOOK_SIDE : LOOK_SIDE;
}

void looks_of(const struct looks *l, const uint8_t *rgb, int which, uint8_t *look)
{
    int height = look_height(l), factor = l->side_px / height, left = l->half && which ? l->side_px / 2 : 0;
    unsigned area = (unsigned)(factor * factor);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < LOOK_SIDE; x++) {
            unsigned sum[3] = { area / 2, area / 2, area / 2 };
            for (int v = 0; v < factor; v++) {
                const uint8_t *p = rgb + 3 * ((size_t)(y * factor + v) * (size_t)l->side_px + (size_t)(left + x * factor));
                for (int u = 0; u < factor; u++, p += 3)
                    for (int c = 0; c < 3; c++)
                        sum[c] += p[c];
            }
            for (int c = 0; c < 3; c++)
                *look++ = (uint8_t)(sum[c] / area);
        }
}

bool looks_init(struct looks *l, const struct dataset *d, int side_px, bool half, struct err *e)
{
    *l = (struct looks){ .dataset = d, .side_px = side_px, .half = half };
    int height = look_height(l);
    if (side_px < height || side_px % height)
        return err_set(e, ERR_ARG, "pictures of %d pixels: to be judged they must be a multiple of %d", side_px, height);
    l->each_bytes = (size_t)(height * LOOK_SIDE) * 3;
    size_t count = dataset_count(d), canvas = (size_t)side_px * (size_t)side_px * 3;
    l->pixels = mem_aligned(count * l->each_bytes);
    if (!l->pixels)
        return err_nomem(e, "what is compared");
    bool failed = false;
#pragma omp parallel
    {
        uint8_t *rgb = mem_aligned(canvas);
#pragma omp for schedule(static)
        for (size_t i = 0; i < count; i++) {
            struct err ignored = { 0 };
            struct scene_facts facts = scene_of((uint32_t)i, DATASET_ENGLISH);
            facts.kind = half ? SCENE_PAIR : SCENE_ONE;
            if (rgb && scene_paint(d, &facts, side_px, rgb, &ignored)) {
                looks_of(l, rgb, 0, l->pixels + i * l->each_bytes);
            } else {
#pragma omp atomic write
                failed = true;
            }
        }
        mem_free(rgb);
    }
    return !failed || err_nomem(e, "what is compared");
}

void looks_release(struct looks *l)
{
    mem_free(l->pixels);
    *l = (struct looks){ 0 };
}

static int64_t distance(const uint8_t *a, const uint8_t *b, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

struct verdict looks_judge(const struct looks *l, const uint8_t *look, uint32_t asked, enum looks_among among)
{
    const struct dataset_picture *wanted = dataset_picture(l->dataset, asked);
    int64_t of_asked = distance(look, l->pixels + asked * l->each_bytes, l->each_bytes), least = of_asked;
    struct verdict v = { .nearest = asked, .right = true, .candidates = 1 };
    for (size_t i = 0; i < dataset_count(l->dataset); i++) {
        const struct dataset_picture *p = dataset_picture(l->dataset, i);
        bool among_them = among == AMONG_CONCEPT ? p->concept_index == wanted->concept_index
                                                 : p->style_index == wanted->style_index &&
                                                       (among == AMONG_STYLE || !p->held_out);
        if (i == asked || !among_them)
            continue;
        int64_t now = distance(look, l->pixels + i * l->each_bytes, l->each_bytes);
        v.candidates++;
        v.rank += now < of_asked;
        if (now < least) {
            least = now;
            v.nearest = (uint32_t)i;
            v.right = false;
        }
    }
    return v;
}

uint32_t border_colour(const uint8_t *rgb, int side_px)
{
    int frame = side_px / 32 > 0 ? side_px / 32 : 1;
    uint32_t out = 0;
    for (int c = 0; c < 3; c++) {
        long count[256] = { 0 }, all = 0, below = 0;
        for (int y = 0; y < side_px; y++)
            for (int x = 0; x < side_px; x++)
                if (x < frame || y < frame || x >= side_px - frame || y >= side_px - frame) {
                    count[rgb[3 * ((size_t)y * (size_t)side_px + (size_t)x) + (size_t)c]]++;
                    all++;
                }
        uint32_t median = 0;
        while (median < 255 && 2 * (below += count[median]) < all)
            median++;
        out = out << 8 | median;
    }
    return out;
}

int nearest_scene_colour(uint32_t rgb)
{
    int best = 0, least = INT32_MAX;
    for (int i = 0; i < SCENE_COLOURS; i++) {
        int sum = 0;
        for (int shift = 0; shift < 24; shift += 8) {
            int off = (int)(rgb >> shift & 255) - (int)(scene_colours[i].rgb >> shift & 255);
            sum += off * off;
        }
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return best;
}

double psnr_of(double squares, double count)
{
    return squares > 0 ? 10 * log10(255.0 * 255 * count / squares) : INFINITY;
}

void share_interval(long right, long asked, double *low, double *high)
{
    *low = 0;
    *high = 1;
    if (asked <= 0)
        return;
    const double z = 1.959964, n = (double)asked, p = (double)right / n;
    double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *low = fmax(middle - half, 0);
    *high = fmin(middle + half, 1);
}
