#include "evaluate/kid.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"

static double kernel(const float *a, const float *b, int64_t dims)
{
    double dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < dims; i++)
        dot += (double)a[i] * (double)b[i];
    double v = dot / (double)dims + 1;
    return v * v * v;
}

double kernel_distance(const float *a, int64_t n, const float *b, int64_t m, int64_t dims)
{
    double same[2] = { 0 }, cross = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : same[:2], cross)
    for (int64_t i = 0; i < n + m; i++) {
        const float *x = i < n ? a + i * dims : b + (i - n) * dims;
        for (int64_t k = 0; k < (i < n ? i : i - n); k++)
            same[i >= n] += kernel(x, (i < n ? a : b) + k * dims, dims);
        for (int64_t k = 0; i < n && k < m; k++)
            cross += kernel(x, b + k * dims, dims);
    }
    return 2 * same[0] / (double)(n * (n - 1)) + 2 * same[1] / (double)(m * (m - 1)) - 2 * cross / (double)(n * m);
}

/* numpy.random.RandomState.choice(count, replace=False): all numbers below count are shuffled, the first ones are the choice. Its
 * generator is mt19937 with the usual seeding; a number up to i is drawn by cutting off bits until it fits. */
static void draw(struct torch_random *r, uint32_t *numbers, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)i;
    for (uint32_t i = (uint32_t)count - 1; i > 0; i--) {
        uint32_t mask = UINT32_MAX >> __builtin_clz(i), at, kept = numbers[i];
        while ((at = torch_random_u32(r) & mask) > i)
            ;
        numbers[i] = numbers[at];
        numbers[at] = kept;
    }
}

static void gather(float *out, const float *points, const uint32_t *numbers, int64_t size, int64_t dims)
{
    for (int64_t i = 0; i < size; i++)
        memcpy(out + i * dims, points + numbers[i] * dims, (size_t)dims * sizeof *out);
}

bool kid_of(struct kid *out, const float *a, int64_t n, const float *b, int64_t m, int64_t dims, int64_t subsets, int64_t size,
            const struct progress *progress, struct err *e)
{
    enum { SEED = 2020 };
    int64_t smaller = n < m ? n : m;
    *out = (struct kid){ .subsets = subsets ? subsets : KID_SUBSETS };
    out->size = size ? size : smaller >= KID_SIZE ? KID_SIZE : smaller >= 4 ? smaller / 2 : 2;
    if (out->size < 2 || out->size > smaller || n > UINT32_MAX || m > UINT32_MAX)
        return err_set(e, ERR_ARG, "KID by subsets of %lld: they need at least 2 pictures, and no more than the smaller set's %lld",
                       (long long)out->size, (long long)smaller);
    size_t points = (size_t)(out->size * dims), most = (size_t)(n > m ? n : m);
    float *x = mem_aligned(2 * points * sizeof *x);
    uint32_t *numbers = mem_aligned(most * sizeof *numbers);
    double *values = mem_aligned((size_t)out->subsets * sizeof *values), apart = 0;
    struct torch_random r;
    bool good = (x && numbers && values) || err_nomem(e, "subsets of pictures");
    torch_random_seed(&r, SEED);
    for (int64_t i = 0; good && i < out->subsets; i++) {
        progress_step(progress, "comparing subsets", (long)i, (long)out->subsets, NULL);
        draw(&r, numbers, n);
        gather(x, a, numbers, out->size, dims);
        draw(&r, numbers, m);
        gather(x + points, b, numbers, out->size, dims);
        values[i] = kernel_distance(x, out->size, x + points, out->size, dims);
        out->mean += values[i] / (double)out->subsets;
        good = stop_check(e);
    }
    for (int64_t i = 0; good && i < out->subsets; i++)
        apart += (values[i] - out->mean) * (values[i] - out->mean);
    out->deviation = sqrt(apart / (double)out->subsets);
    mem_free(x);
    mem_free(numbers);
    mem_free(values);
    return good;
}
