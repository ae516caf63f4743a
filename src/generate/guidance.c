#include "generate/guidance.h"

#include <math.h>

/* With n - 1, as PyTorch counts. */
static double deviation(const float *x, size_t count)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        mean += (double)x[i];
    mean /= (double)count;
    for (size_t i = 0; i < count; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return sqrt(squares / (double)(count - 1));
}

static void mix_one(float *out, const float *unguided, const float *guided, size_t each, double cfg, double rescale)
{
    double wanted = rescale > 0 ? deviation(guided, each) : 0;
    float factor = (float)cfg;
    for (size_t i = 0; i < each; i++)
        out[i] = unguided[i] + factor * (guided[i] - unguided[i]);
    double came = rescale > 0 ? deviation(out, each) : 0;
    if (!(came > 0))
        return;
    double scale = rescale * wanted / came + (1 - rescale);
    for (size_t i = 0; i < each; i++)
        out[i] = (float)(scale * (double)out[i]);
}

void guidance_mix(float *out, const float *unguided, const float *guided, size_t pictures, size_t each, double cfg,
                  double rescale)
{
    for (size_t i = 0; i < pictures; i++)
        mix_one(out + i * each, unguided + i * each, guided + i * each, each, cfg, rescale);
}
