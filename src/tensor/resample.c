#include "tensor/resample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

const char *const resample_names[RESAMPLE_COUNT + 1] = { "nearest-exact", "bilinear", "bicubic", "area", "bislerp", NULL };

enum { TAPS = 4 };

/* Output i is the sum of weights[i][k] times input at[i][k], or the mean of inputs at[i][0] .. at[i][1] - 1 (area). */
struct axis {
    int64_t (*at)[TAPS];
    float (*weights)[TAPS];
};

static void axis_release(struct axis *a)
{
    mem_free(a->at);
    mem_free(a->weights);
    *a = (struct axis){ 0 };
}

static int64_t clamp(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i < count ? i : count - 1;
}

/* Coordinates are f32, as PyTorch's: another rounding picks another neighbour. */
static bool axis_init(struct axis *a, int64_t in, int64_t out, enum resample how, struct err *e)
{
    float scale = (float)in / (float)out;
    a->at = mem_zeroed((size_t)out, sizeof *a->at);
    a->weights = mem_zeroed((size_t)out, sizeof *a->weights);
    if (!a->at || !a->weights) {
        axis_release(a);
        return err_nomem(e, "a resampling table");
    }
    for (int64_t i = 0; i < out; i++) {
        int64_t *at = a->at[i];
        float *weight = a->weights[i], centre = scale * ((float)i + 0.5f) - 0.5f;
        if (how == RESAMPLE_NEAREST) {
            at[0] = clamp((int64_t)floorf(((float)i + 0.5f) * scale), in);
            weight[0] = 1;
        } else if (how == RESAMPLE_AREA) {
            at[0] = i * in / out;
            at[1] = ((i + 1) * in + out - 1) / out;
        } else if (how == RESAMPLE_BICUBIC) {
            const float k = -0.75f;
            float low = floorf(centre), t = centre - low;
            for (int j = 0; j < TAPS; j++) {
                float x = fabsf(t + 1 - (float)j);
                at[j] = clamp((int64_t)low - 1 + j, in);
                weight[j] = x <= 1 ? ((k + 2) * x - (k + 3)) * x * x + 1 : ((k * x - 5 * k) * x + 8 * k) * x - 4 * k;
            }
        } else {
            centre = centre > 0 ? centre : 0;
            at[0] = clamp((int64_t)centre, in);
            at[1] = clamp(at[0] + 1, in);
            weight[1] = centre - (float)at[0];
            weight[0] = 1 - weight[1];
        }
    }
    return true;
}

static void resample_plane(float *to, const float *from, int64_t w, int64_t out_h, int64_t out_w, const struct axis *down,
                           const struct axis *across, int taps)
{
    for (int64_t y = 0; y < out_h; y++)
        for (int64_t x = 0; x < out_w; x++) {
            float sum = 0;
            for (int j = 0; j < taps; j++) {
                const float *row = from + down->at[y][j] * w;
                float part = 0;
                for (int k = 0; k < taps; k++)
                    part += across->weights[x][k] * row[across->at[x][k]];
                sum += down->weights[y][j] * part;
            }
            to[y * out_w + x] = sum;
        }
}

static void average_plane(float *to, const float *from, int64_t w, int64_t out_h, int64_t out_w, const struct axis *down,
                          const struct axis *across)
{
    for (int64_t y = 0; y < out_h; y++)
        for (int64_t x = 0; x < out_w; x++) {
            double sum = 0;
            for (int64_t j = down->at[y][0]; j < down->at[y][1]; j++)
                for (int64_t k = across->at[x][0]; k < across->at[x][1]; k++)
                    sum += (double)from[j * w + k];
            int64_t count = (down->at[y][1] - down->at[y][0]) * (across->at[x][1] - across->at[x][0]);
            to[y * out_w + x] = (float)(sum / (double)count);
        }
}

/* The vector of c channels, `step` apart, between a and b. Where they point the same way a stands for both, and where they are
 * opposite there is no shortest way round: then straight through. */
static void slerp(float *to, int64_t to_step, const float *a, const float *b, int64_t step, int64_t c, float t)
{
    float aa = 0, bb = 0, dot = 0;
    for (int64_t k = 0; k < c; k++) {
        aa += a[k * step] * a[k * step];
        bb += b[k * step] * b[k * step];
    }
    aa = sqrtf(aa);
    bb = sqrtf(bb);
    float per_a = aa > 0 ? 1 / aa : 0, per_b = bb > 0 ? 1 / bb : 0;
    for (int64_t k = 0; k < c; k++)
        dot += a[k * step] * per_a * b[k * step] * per_b;
    float keep = 1 - t, take = t;
    if (dot > 1 - 1e-5f) {
        keep = 1;
        take = 0;
    } else if (dot >= 1e-5f - 1) {
        float angle = acosf(dot), length = aa * (1 - t) + bb * t;
        keep = sinf((1 - t) * angle) / sinf(angle) * per_a * length;
        take = sinf(t * angle) / sinf(angle) * per_b * length;
    }
    for (int64_t k = 0; k < c; k++)
        to[k * to_step] = keep * a[k * step] + take * b[k * step];
}

/* One picture [c, h, w]; middle has room for [c, h, out_w]. */
static void bislerp(float *to, float *middle, const float *from, int64_t c, int64_t h, int64_t w, int64_t out_h, int64_t out_w,
                    const struct axis *down, const struct axis *across)
{
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < out_w; x++)
            slerp(middle + y * out_w + x, h * out_w, from + y * w + across->at[x][0], from + y * w + across->at[x][1], h * w, c,
                  across->weights[x][1]);
    for (int64_t y = 0; y < out_h; y++)
        for (int64_t x = 0; x < out_w; x++)
            slerp(to + y * out_w + x, out_h * out_w, middle + down->at[y][0] * out_w + x, middle + down->at[y][1] * out_w + x,
                  h * out_w, c, down->weights[y][1]);
}

bool tensor_resample(float *to, const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t out_h, int64_t out_w,
                     enum resample how, struct err *e)
{
    struct axis down = { 0 }, across = { 0 };
    float *middle = how == RESAMPLE_BISLERP ? mem_aligned((size_t)(c * h * out_w) * sizeof *middle) : NULL;
    bool good = (middle || how != RESAMPLE_BISLERP) || err_nomem(e, "a picture to resample");
    good = good && axis_init(&down, h, out_h, how, e);
    if (good && !axis_init(&across, w, out_w, how, e)) {
        axis_release(&down);
        good = false;
    }
    if (!good) {
        mem_free(middle);
        return false;
    }
    int taps = how == RESAMPLE_NEAREST ? 1 : how == RESAMPLE_BICUBIC ? TAPS : 2;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++) {
            const float *in = from + (i * c + k) * h * w;
            float *out = to + (i * c + k) * out_h * out_w;
            if (how == RESAMPLE_AREA)
                average_plane(out, in, w, out_h, out_w, &down, &across);
            else if (how != RESAMPLE_BISLERP)
                resample_plane(out, in, w, out_h, out_w, &down, &across, taps);
            else if (k == 0)
                bislerp(out, middle, in, c, h, w, out_h, out_w, &down, &across);
        }
    axis_release(&down);
    axis_release(&across);
    mem_free(middle);
    return true;
}
