#include "generate/start_noise.h"

#include <math.h>

#include "base/mem.h"

static void seed(struct torch_random *r, bool cuda, uint64_t value)
{
    if (cuda)
        torch_random_seed_cuda(r, value);
    else
        torch_random_seed(r, value);
}

/* Cosine of the angle between two columns of h numbers that lie w apart, held within [-1, 1]. */
static double column_cosine(const float *a, const float *b, int64_t h, int64_t w)
{
    double dot = 0, aa = 0, bb = 0;
    for (int64_t y = 0; y < h; y++) {
        double x = (double)a[y * w], z = (double)b[y * w];
        dot += x * z;
        aa += x * x;
        bb += z * z;
    }
    return fmin(fmax(dot / sqrt(aa * bb), -1), 1);
}

static void turn_column(float *a, const float *b, int64_t h, int64_t w, double strength)
{
    double angle = acos(column_cosine(a, b, h, w)), sine = sin(angle);
    double of_a = 1 - strength, of_b = strength;
    if (sine > 0) { /* else, with one number a column, the limit for equal ones */
        of_a = sin((1 - strength) * angle) / sine;
        of_b = sin(strength * angle) / sine;
    }
    for (int64_t y = 0; y < h; y++)
        a[y * w] = (float)(of_a * (double)a[y * w] + of_b * (double)b[y * w]);
}

/* One picture [c, h, w]. */
static void vary(float *noise, const float *other, int64_t c, int64_t h, int64_t w, double strength)
{
    double sum = 0;
    for (int64_t i = 0; i < c * w; i++) {
        int64_t at = i / w * h * w + i % w;
        sum += column_cosine(noise + at, other + at, h, w);
    }
    if (sum / (double)(c * w) > 0.9995) {
        /* (they exchange the two weights here, where it hardly matters) */
        for (int64_t i = 0; i < c * h * w; i++)
            noise[i] = (float)(strength * (double)noise[i] + (1 - strength) * (double)other[i]);
        return;
    }
    for (int64_t i = 0; i < c * w; i++) {
        int64_t at = i / w * h * w + i % w;
        turn_column(noise + at, other + at, h, w, strength);
    }
}

void start_noise_seed(const struct start_noise *n, struct torch_random *r)
{
    seed(r, n->cuda, n->seed);
}

bool start_noise_draw(const struct start_noise *n, struct torch_random *r, float *out, struct shape shape, struct err *e)
{
    size_t count = (size_t)shape_count(shape);
    torch_random_normal(r, out, count);
    if (!(n->subseed_strength > 0))
        return true;
    float *other = mem_aligned(count * sizeof *other);
    struct torch_random *subseed = mem_zeroed(1, sizeof *subseed);
    bool good = (other && subseed) || err_nomem(e, "the subseed's noise");
    if (good) {
        seed(subseed, n->cuda, n->subseed);
        torch_random_normal(subseed, other, count);
        int64_t c = shape.dim[1], h = shape.dim[2], w = shape.dim[3];
        for (int64_t i = 0; i < shape.dim[0]; i++)
            vary(out + i * c * h * w, other + i * c * h * w, c, h, w, n->subseed_strength);
    }
    mem_free(other);
    mem_free(subseed);
    return good;
}
