#include "train/rate.h"

#include <math.h>
#include <stddef.h>

const char *const rate_schedule_names[] = { "constant", "linear", "cosine", "cosine-with-restarts", "polynomial", NULL };

static double falls(const struct rate_options *o, double p)
{
    switch (o->schedule) {
    case RATE_LINEAR: return 1 - p;
    case RATE_COSINE: return 0.5 + 0.5 * cos(M_PI * p);
    case RATE_RESTARTS: return p >= 1 ? 0 : 0.5 + 0.5 * cos(M_PI * fmod((o->cycles > 0 ? o->cycles : 1) * p, 1));
    case RATE_POLYNOMIAL: return pow(1 - p, o->power > 0 ? o->power : 1);
    default: return 1;
    }
}

double rate_factor(const struct rate_options *o, int64_t step)
{
    if (step < o->warmup)
        return (double)(step + 1) / (double)o->warmup;
    int64_t span = o->steps - o->warmup;
    double p = span > 0 ? (double)(step - o->warmup) / (double)span : 1;
    return o->schedule == RATE_CONSTANT ? 1 : o->final + (1 - o->final) * falls(o, fmin(p, 1));
}
